"""Operators that only move bytes: streaming kernels, lookups, and parameters that no kernel reads."""

from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.operators.base import Part, Shape


class Elementwise(NamedTuple):
    """A kernel that streams: `reads` and `writes` elements a token, and a few weights (a norm's)."""

    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    reads: Number
    writes: Number
    weights: Number
    Bx: Number

    def params(self) -> Number:
        return self.weights

    def active_params(self) -> Number:
        return self.params()

    def flops(self, causal: bool) -> Number:
        return 0

    def stored_bytes(self) -> Number:
        return self.weights * self.Bx

    def weight_bytes(self) -> Number:
        return self.weights * self.Bx

    def cache_bytes(self) -> Number:
        return 0

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.reads + self.writes) * self.Bx

    def moved_bytes(self) -> Number:
        return (self.b * self.s * (self.reads + self.writes) + self.weights) * self.Bx

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        return []


class Lookup(NamedTuple):
    """Rows of a table: b·s rows of `width` out of `rows`. Only the rows asked for are read."""

    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    rows: Number
    width: Number
    Bx: Number

    def params(self) -> Number:
        return self.rows * self.width

    def active_params(self) -> Number:
        return self.params()

    def flops(self, causal: bool) -> Number:
        return 0

    def stored_bytes(self) -> Number:
        return self.rows * self.width * self.Bx

    def weight_bytes(self) -> Number:
        return self.b * self.s * self.width * self.Bx

    def cache_bytes(self) -> Number:
        return 0

    def io_bytes(self) -> Number:
        return self.b * self.s * self.width * self.Bx

    def moved_bytes(self) -> Number:
        return 2 * self.b * self.s * self.width * self.Bx

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        return []


class Stored(NamedTuple):
    """Parameters that a checkpoint has and a pass of the language model alone does not use: no kernel runs."""

    name: str
    part: Part
    count: Number
    weights: Number
    Bx: Number

    def params(self) -> Number:
        return self.weights

    def active_params(self) -> Number:
        return 0

    def flops(self, causal: bool) -> Number:
        return 0

    def stored_bytes(self) -> Number:
        return self.weights * self.Bx

    def weight_bytes(self) -> Number:
        return 0

    def cache_bytes(self) -> Number:
        return 0

    def io_bytes(self) -> Number:
        return 0

    def moved_bytes(self) -> Number:
        return 0

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        return []
