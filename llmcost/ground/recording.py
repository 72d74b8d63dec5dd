"""Recording one run of the engine, to play it again on arrays.

Hand `Recorded` values to an evaluation in place of numbers, and a `Tape` keeps every operation that it does to them.
Each operation is kept once: a product that ten formulas need is one entry. The entries stand in an order in which they
can be done. A `Program` holds those that some figures need, and `play` does them on arrays of any shape. That is the
formulas' own arithmetic, operation by operation, so the results are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from llmcost.ground.algebra import Number, Symbolic, present

Array: TypeAlias = npt.NDArray[Any]
Function: TypeAlias = Callable[..., Any]
# A function and the places of the entries that it is applied to; ("input", (name,)); or ("constant", (value,)).
Entry: TypeAlias = tuple[Function | str, tuple[Any, ...]]
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
    """Operations in the order in which they were recorded, each on earlier entries, which it knows by their places."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.places: dict[Entry, int] = {}

    def input(self, name: str) -> Recorded:
        """A value that is given, by this name, when the tape is played."""
        return self.entry("input", name)

    def entry(self, function: Function | str, *operands: Any) -> Recorded:
        """The result of a function of earlier entries; the entry is a new one only where none is the same."""
        key = (function, operands)
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = len(self.entries)
            self.entries.append(key)
        return Recorded(self, place)

    def place(self, x: Any) -> int:
        """Where a value stands on the tape; a constant is put there.

        A plain number is kept as the float64 that numpy would make of it beside an array.
        """
        if isinstance(x, Recorded):
            return x.place
        return self.entry("constant", float(x) if isinstance(x, (int, float)) else x).place

    def program(self, wanted: Sequence[Recorded]) -> Program:
        """The operations that these results need, and no others."""
        return Program(self.entries, [x.place for x in wanted])


class Operation(NamedTuple):
    """One step of a program: a function of values at some places, the place of its result, and what is done with."""

    function: Function
    operands: tuple[int, ...]
    place: int
    done: list[int]  # places whose values no later operation needs


class Program:
    """The part of a tape that some results need.

    Each value is let go after the last operation that needs it, so that large arrays do not pile up.
    """

    def __init__(self, entries: Sequence[Entry], results: list[int]) -> None:
        self.results = results
        self.inputs: dict[int, str] = {}
        self.constants: dict[int, Any] = {}
        self.steps: list[Operation] = []
        last_use = dict.fromkeys(results, len(entries))  # place -> the last operation that needs it; results stay
        for place in reversed(range(len(entries))):  # from the end: the first use that is met is the last
            if place not in last_use:
                continue
            function, operands = entries[place]
            if function == "input":
                self.inputs[place] = operands[0]
            elif function == "constant":
                self.constants[place] = operands[0]
            else:
                assert callable(function)
                done = [each for each in dict.fromkeys(operands) if last_use.setdefault(each, place) == place]
                self.steps.append(Operation(function, operands, place, done))
        self.steps.reverse()

    def play(self, inputs: Mapping[str, Array]) -> list[Array]:
        """The results on these inputs, in the order in which they were wanted.

        The inputs are arrays that broadcast against each other. What depends on one axis is computed along it alone.
        """
        values: dict[int, Any] = self.constants | {place: inputs[name] for place, name in self.inputs.items()}
        for function, operands, place, done in self.steps:
            values[place] = function(*[values[each] for each in operands])
            for each in done:
                del values[each]
        return [values[place] for place in self.results]


class Recorded(Symbolic):
    """A value that stands for an entry of a tape; what is done to it becomes another entry."""

    __slots__ = ("place", "tape")

    def __init__(self, tape: Tape, place: int) -> None:
        self.tape, self.place = tape, place

    def apply(self, function: str, *arguments: Number) -> Recorded:
        """The value that stands for a function of FUNCTIONS, applied to these arguments."""
        return self.word(FUNCTIONS[function], *arguments)

    def word(self, function: Function, *arguments: Any) -> Recorded:
        """The value that stands for any function of arrays, applied to these arguments."""
        return self.tape.entry(function, *map(self.tape.place, arguments))

    def named(self, name: str) -> Recorded:  # noqa: ARG002 - names are for printing
        """The value as it is: a recording prints nothing."""
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
        return self.apply("*", self, other) if present(other) else 0  # what is absent stays absent

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
