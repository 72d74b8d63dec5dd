"""One run of the engine, recorded: what it did to its sizes, played again on arrays.

Hand `Recorded` values to `evaluate` in place of numbers, and the tape holds every operation once (a product that ten
formulas need is one entry) in an order in which each can be done. `play` then does those that some figures need, on
arrays of any shape: operation by operation the same arithmetic as the formulas', so the same results.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from llmcost.ground.algebra import Number, Symbolic, present

Array: TypeAlias = npt.NDArray[Any]
Function: TypeAlias = Callable[..., Any]
Entry: TypeAlias = tuple[
    Function | str, tuple[Any, ...]
]  # an operation on earlier entries; "input" name, "constant" value
FUNCTIONS: dict[str, Function] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "floor_div": np.floor_divide,
    "**": operator.pow,  # numpy then takes a square root for a power of a half
    "max": np.maximum,
    "min": np.minimum,
    "<=": np.less_equal,
}


class Tape:
    """Operations in the order recorded, each on the places of earlier entries."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.places: dict[Entry, int] = {}

    def input(self, name: str) -> Recorded:
        """A value to be given when the tape is played."""
        return self.entry("input", name)

    def entry(self, function: Function | str, *operands: Any) -> Recorded:
        """The result of a function, as a value to go on with; the same one where it was asked for before."""
        key = (function, operands)
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = len(self.entries)
            self.entries.append(key)
        return Recorded(self, place)

    def place(self, x: Any) -> int:
        """Where a value stands. A number is kept as the float64 that numpy makes of it beside an array."""
        if isinstance(x, Recorded):
            return x.place
        return self.entry("constant", float(x) if isinstance(x, (int, float)) else x).place

    def program(self, wanted: Sequence[Recorded]) -> Program:
        """What has to be done for some results, and nothing else."""
        return Program(self.entries, [x.place for x in wanted])


class Program:
    """The part of a tape that some results need, with the places whose value is not needed after each operation."""

    def __init__(self, entries: Sequence[Entry], results: list[int]) -> None:
        self.results = results
        self.inputs: dict[int, str] = {}
        self.constants: dict[int, Any] = {}
        self.steps: list[tuple[Function, tuple[int, ...], int, list[int]]] = []
        last = dict.fromkeys(results, len(entries))  # place -> the operation after which nothing needs it
        for place in reversed(range(len(entries))):
            function, operands = entries[place]
            if place not in last:
                continue
            if function == "input":
                self.inputs[place] = operands[0]
            elif function == "constant":
                self.constants[place] = operands[0]
            else:
                assert callable(function)
                done = [each for each in dict.fromkeys(operands) if last.setdefault(each, place) == place]
                self.steps.append((function, operands, place, done))
        self.steps.reverse()

    def play(self, inputs: Mapping[str, Array | float]) -> list[Array]:
        """The results on these inputs, which broadcast together: what depends on one axis alone is computed on it alone."""
        values: dict[int, Any] = self.constants | {place: inputs[name] for place, name in self.inputs.items()}
        for function, operands, place, done in self.steps:
            values[place] = function(*[values[each] for each in operands])
            for each in done:
                del values[each]
        return [values[place] for place in self.results]


class Recorded(Symbolic):
    """A value that stands for an entry of a tape, and puts what is done to it there."""

    __slots__ = ("place", "tape")

    def __init__(self, tape: Tape, place: int) -> None:
        self.tape, self.place = tape, place

    def apply(self, function: str, *arguments: Number) -> Recorded:
        """An entry for the function, and the value that stands for it."""
        return self.word(FUNCTIONS[function], *arguments)

    def word(self, function: Function, *arguments: Any) -> Recorded:
        """The same, of any function."""
        return self.tape.entry(function, *map(self.tape.place, arguments))

    def named(self, name: str) -> Recorded:  # noqa: ARG002 - names are for printing
        """The value as it is."""
        return self

    def __add__(self, other: Number) -> Recorded:
        return self.apply("+", self, other)

    def __radd__(self, other: Number) -> Recorded:
        return self.apply("+", other, self)

    def __sub__(self, other: Number) -> Recorded:
        return self.apply("-", self, other)

    def __rsub__(self, other: Number) -> Recorded:
        return self.apply("-", other, self)

    def __mul__(self, other: Number) -> Number:
        return self.apply("*", self, other) if present(other) else 0  # and absent it stays

    def __rmul__(self, other: Number) -> Number:
        return self.apply("*", other, self) if present(other) else 0

    def __truediv__(self, other: Number) -> Recorded:
        return self.apply("/", self, other)

    def __rtruediv__(self, other: Number) -> Number:
        return self.apply("/", other, self) if present(other) else 0

    def __pow__(self, other: Number) -> Recorded:
        return self.apply("**", self, other)

    def __rpow__(self, other: Number) -> Recorded:
        return self.apply("**", other, self)

    def __le__(self, other: Number) -> Recorded:
        return self.apply("<=", self, other)

    def __ge__(self, other: Number) -> Recorded:
        return self.apply("<=", other, self)

    def __bool__(self) -> bool:
        raise TypeError("a recorded value has no truth value: branch on structure, never on a size")

    def __neg__(self) -> Recorded:
        return self.apply("*", self, -1)
