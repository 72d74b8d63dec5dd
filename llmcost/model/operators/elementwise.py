"""Operators that only move bytes: elementwise kernels, lookups, and parameters that no kernel reads."""

from typing import NamedTuple

from llmcost.ground.algebra import Number, divide
from llmcost.model.operators.base import Again, Kind, Operator, Part
from llmcost.model.operators.facts import EVERYWHERE, UNSAID, Facts


class _Elementwise(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    reads: Number
    writes: Number
    weights: Number
    Bx: Number
    facts: Facts = UNSAID


class Elementwise(_Elementwise, Operator):
    """A kernel that reads and writes so many elements a token, and a few weights (a norm's)."""

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        """Norms, which wait for a sum over each row, are a kind of their own."""
        return "norm" if self.part == "norm" else "elementwise"

    again: Again = "always"

    def params(self) -> Number:
        return self.weights

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.reads + self.writes) * self.Bx

    def moved_bytes(self) -> Number:
        return (self.b * self.s * (self.reads + self.writes) + self.weights) * self.Bx

    def output_bytes(self) -> Number:
        return self.b * self.s * self.writes * self.Bx

    def output_width(self) -> Number:
        return self.writes

    def saved_bytes(self) -> tuple[Number, Number]:
        named, own = saved_elements(self.facts, self.reads, self.writes)
        return self.b * self.s * named * self.Bx, self.b * self.s * own * self.Bx

    def backward(self, *, frozen: bool = False) -> Number:
        """Quantised weights are expanded once more."""
        return 1 if self.facts.role == "expansion" else 2

    def heads_divided(self, parts: Number) -> Operator:
        return self._shared(parts, "reads", "writes", "weights")


class _Lookup(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    rows: Number
    width: Number
    Bx: Number
    facts: Facts = UNSAID


class Lookup(_Lookup, Operator):
    """Rows of a table, looked up: b·s rows of `width` elements, out of `rows`. No other row is read."""

    __slots__ = ()
    kind: Kind = "elementwise"
    again: Again = "always"

    def params(self) -> Number:
        return self.rows * self.width

    def weight_bytes(self) -> Number:
        return self.b * self.s * self.width * self.Bx

    def io_bytes(self) -> Number:
        return self.b * self.s * self.width * self.Bx

    def moved_bytes(self) -> Number:
        return 2 * self.b * self.s * self.width * self.Bx

    def output_bytes(self) -> Number:
        return self.b * self.s * self.width * self.Bx

    def output_width(self) -> Number:
        return self.width

    def saved_bytes(self) -> tuple[Number, Number]:
        """The indices of the rows, 8 bytes each."""
        return 0, self.b * self.s * 8

    def backward(self, *, frozen: bool = False) -> Number:
        """Gradients of the rows are scattered once."""
        return 0 if frozen else 1

    def rows_divided(self, parts: Number) -> Operator:
        """One of so many parts of the table, with the tokens whose rows it has."""
        return self._replace(rows=divide(self.rows, parts), s=divide(self.s, parts))


class _Stored(NamedTuple):
    name: str
    part: Part
    count: Number
    weights: Number
    Bx: Number
    facts: Facts = EVERYWHERE


class Stored(_Stored, Operator):
    """Parameters that a checkpoint has and that no kernel of a pass uses. Every GPU has all of them, or a share."""

    __slots__ = ()
    kind: Kind = "elementwise"

    def params(self) -> Number:
        return self.weights

    def active_params(self) -> Number:
        return 0

    def weight_bytes(self) -> Number:
        return 0

    def moved_bytes(self) -> Number:
        return 0

    def output_bytes(self) -> Number:
        return 0

    def saved_bytes(self) -> tuple[Number, Number]:
        return 0, 0

    def tokens_divided(self, parts: Number) -> Operator:
        return self

    def heads_divided(self, parts: Number) -> Operator:
        return self._shared(parts, "weights")


class Buffer(Stored):
    """Numbers that are loaded with the weights and that the reference counts as no parameters.

    The few bytes that a pass reads of them are left out.
    """

    __slots__ = ()

    def params(self) -> Number:
        return 0

    def stored_bytes(self) -> Number:
        return self.weights * self.Bx


class Wider(Buffer):
    """Bytes that norms, biases and the like take beyond those of the activations' type: no parameters of their own."""

    __slots__ = ()


def saved_elements(facts: Facts, reads: Number, writes: Number) -> tuple[Number, Number]:
    """Elements a token that a backward pass needs: of the tensor that `facts.reads` names, and of others."""
    if facts.saves == "nothing":
        return 0, 0
    if facts.saves == "half":
        return 0, reads / 2
    if facts.saves == "rest":
        return writes if facts.reads else 0, reads - writes
    return (reads, 0) if facts.reads else (0, reads)
