"""Matrix products: linear layers, grouped ones, products of activations."""

from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, is_plain
from llmcost.model.operators.base import Again, Kind, Operator, Part, Shape
from llmcost.model.operators.facts import UNSAID, Facts


class _Linear(Operator):
    """What one linear layer and a group of them have in common: k inputs, n outputs, a weight."""

    __slots__ = ()

    @property
    def again(self) -> Again:
        return "never" if self.facts.last else "every second"

    def moved_bytes(self) -> Number:
        return self.weight_bytes() + self.io_bytes()

    def backward(self, *, frozen: bool = False) -> Number:
        """Gradients of input and weight, a product of its size each; a frozen weight has none."""
        return 1 if frozen else 2

    def columns_divided(self, parts: Number) -> Operator:
        return self._shared(parts, "n")

    def rows_divided(self, parts: Number) -> Operator:
        return self._shared(parts, "k")


class _Gemm(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    k: Number
    n: Number
    bias: bool
    tied: bool
    Bw: Number
    Bx: Number
    facts: Facts = UNSAID


class Gemm(_Gemm, _Linear):
    """A linear layer, y = x·W + bias: x (b, s, k), W (k, n), y (b, s, n).

    `tied`: W is another operator's; it costs FLOPs and traffic but is stored once (a bias is its own).
    """

    __slots__ = ()
    kind: Kind = "gemm"

    def params(self) -> Number:
        weight = 0 if self.tied else self.k * self.n
        return weight + self.n if self.bias else weight

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.k * self.n

    def stored_bytes(self) -> Number:
        weight = 0 if self.tied else self.k * self.n * self.Bw
        return weight + self.n * self.Bx if self.bias else weight

    def weight_bytes(self) -> Number:
        weight = self.k * self.n * self.Bw
        return weight + self.n * self.Bx if self.bias else weight

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.k + self.n) * self.Bx

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        return [(self.name, (self.b, self.s, self.k), (self.k, self.n), (self.b, self.s, self.n))]

    def output_bytes(self) -> Number:
        return self.b * self.s * self.n * self.Bx

    def output_width(self) -> Number:
        return self.n

    def saved_bytes(self) -> tuple[Number, Number]:
        """The gradient of its weight needs its input."""
        return self.b * self.s * self.k * self.Bx, 0


class _GroupedGemm(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    k: Number
    n: Number
    groups: Number
    active: Number
    bias: bool
    Bw: Number
    Bx: Number
    facts: Facts = UNSAID
    tied: bool = False


class GroupedGemm(_GroupedGemm, _Linear):
    """Linear layers of which each token takes `active` out of `groups`: a mixture's experts, or one a head.

    Stored for every group, computed for the active ones, read for those that the b·s tokens touch: with uniform
    routing groups·(1 - (1 - active/groups)^tokens) of them are expected to be hit (routing.py). The fewest are the
    active ones, where all tokens take the same. `tied`: the weights are another operator's, stored there.
    """

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        """Groups that all tokens take, such as heads, are one batched product: its kernels are those of plain ones."""
        if self.facts.expert == "routed":
            return "grouped_gemm"
        equal: Any = self.active is self.groups or self.active == self.groups
        return "gemm" if (equal.all() if hasattr(equal, "all") else equal) else "grouped_gemm"  # arrays: of layouts

    def _weights(self) -> Number:
        return self.k * self.n + self.n if self.bias else self.k * self.n

    def params(self) -> Number:
        return 0 if self.tied else self.groups * self._weights()

    def active_params(self) -> Number:
        return 0 if self.tied else self.active * self._weights()

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.active * self.k * self.n

    def _group_bytes(self) -> Number:
        weight = self.k * self.n * self.Bw
        return weight + self.n * self.Bx if self.bias else weight

    def _takes_all(self) -> bool:
        """Whether every token takes all groups: one a head, or a mix."""
        return is_plain(self.active) and is_plain(self.groups) and bool(self.active == self.groups)

    def touched(self) -> Number:
        """Groups that the tokens of one pass are expected to use, by the law of routing."""
        if self._takes_all():
            return self.groups
        return self.facts.routing.touched(self.groups, self.active, self.b * self.s)

    def stored_bytes(self) -> Number:
        return 0 if self.tied else self.groups * self._group_bytes()

    def weight_bytes(self) -> Number:
        return self.touched() * self._group_bytes()

    def spared_bytes(self) -> Number:
        return 0 if self._takes_all() else (self.touched() - self.active) * self._group_bytes()

    def io_bytes(self) -> Number:
        return self.b * self.s * self.active * (self.k + self.n) * self.Bx

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        rows = self.b * self.s * self.active
        return [(self.name, (rows, self.k), (self.groups, self.k, self.n), (rows, self.n))]

    def output_bytes(self) -> Number:
        return self.b * self.s * self.active * self.n * self.Bx

    def output_width(self) -> Number:
        return self.active * self.n

    def saved_bytes(self) -> tuple[Number, Number]:
        """The gradients of its weights need its inputs, one for each group that a token takes."""
        return self.b * self.s * self.active * self.k * self.Bx, 0

    def heads_divided(self, parts: Number) -> Operator:
        """One of so many equal shares of the groups."""
        return self._shared(parts, "groups", "active")


class _TokenProduct(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    m: Number
    k: Number
    n: Number
    Bx: Number
    facts: Facts = UNSAID


class TokenProduct(_TokenProduct, Operator):
    """A matrix product of two activations of each token, (m, k) by (k, n): no weights, no cache."""

    __slots__ = ()
    kind: Kind = "gemm"

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.m * self.k * self.n

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.m * self.k + self.k * self.n + self.m * self.n) * self.Bx

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        b, s = self.b, self.s
        return [(self.name, (b, s, self.m, self.k), (b, s, self.k, self.n), (b, s, self.m, self.n))]

    def output_bytes(self) -> Number:
        return self.b * self.s * self.m * self.n * self.Bx

    def output_width(self) -> Number:
        return self.m * self.n

    def saved_bytes(self) -> tuple[Number, Number]:
        """Each operand is needed for the other's gradient; `facts.reads` names the second."""
        b, s, Bx = self.b, self.s, self.Bx
        first, second = b * s * self.m * self.k * Bx, b * s * self.k * self.n * Bx
        return (second, first) if self.facts.reads else (0, first + second)
