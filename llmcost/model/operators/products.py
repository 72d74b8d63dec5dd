"""Matrix products: linear layers, grouped ones, products of activations."""

from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.operators.base import Part, Shape


class Gemm(NamedTuple):
    """A linear layer, y = x·W + bias: x (b, s, k), W (k, n), y (b, s, n).

    `tied`: W is another operator's; it costs FLOPs and traffic but is stored once (a bias is its own).
    """

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

    def params(self) -> Number:
        weight = 0 if self.tied else self.k * self.n
        return weight + self.n if self.bias else weight

    def active_params(self) -> Number:
        return self.params()

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.k * self.n

    def stored_bytes(self) -> Number:
        weight = 0 if self.tied else self.k * self.n * self.Bw
        return weight + self.n * self.Bx if self.bias else weight

    def weight_bytes(self) -> Number:
        weight = self.k * self.n * self.Bw
        return weight + self.n * self.Bx if self.bias else weight

    def cache_bytes(self) -> Number:
        return 0

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.k + self.n) * self.Bx

    def moved_bytes(self) -> Number:
        return self.weight_bytes() + self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        return [(self.name, (self.b, self.s, self.k), (self.k, self.n), (self.b, self.s, self.n))]


class GroupedGemm(NamedTuple):
    """Linear layers of which each token takes `active` out of `groups`: a mixture's experts, or one a head.

    Stored for every group, computed for the active ones, read for those that the b·s tokens touch: with
    uniform routing groups·(1 - (1 - active/groups)^tokens) of them are expected to be hit.
    """

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

    def _weights(self) -> Number:
        return self.k * self.n + self.n if self.bias else self.k * self.n

    def params(self) -> Number:
        return self.groups * self._weights()

    def active_params(self) -> Number:
        return self.active * self._weights()

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.active * self.k * self.n

    def _group_bytes(self) -> Number:
        weight = self.k * self.n * self.Bw
        return weight + self.n * self.Bx if self.bias else weight

    def touched(self) -> Number:
        """Groups that the tokens of one pass are expected to use."""
        missed = (1 - self.active / self.groups) ** (self.b * self.s)
        return self.groups * (1 - missed)

    def stored_bytes(self) -> Number:
        return self.groups * self._group_bytes()

    def weight_bytes(self) -> Number:
        return self.touched() * self._group_bytes()

    def cache_bytes(self) -> Number:
        return 0

    def io_bytes(self) -> Number:
        return self.b * self.s * self.active * (self.k + self.n) * self.Bx

    def moved_bytes(self) -> Number:
        return self.weight_bytes() + self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        rows = self.b * self.s * self.active
        return [(self.name, (rows, self.k), (self.groups, self.k, self.n), (rows, self.n))]


class TokenProduct(NamedTuple):
    """A matrix product of two activations of each token, (m, k) by (k, n): no weights, no cache."""

    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    m: Number
    k: Number
    n: Number
    Bx: Number

    def params(self) -> Number:
        return 0

    def active_params(self) -> Number:
        return 0

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.m * self.k * self.n

    def stored_bytes(self) -> Number:
        return 0

    def weight_bytes(self) -> Number:
        return 0

    def cache_bytes(self) -> Number:
        return 0

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.m * self.k + self.k * self.n + self.m * self.n) * self.Bx

    def moved_bytes(self) -> Number:
        return self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        b, s = self.b, self.s
        return [(self.name, (b, s, self.m, self.k), (b, s, self.k, self.n), (b, s, self.m, self.n))]
