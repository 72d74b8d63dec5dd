"""Recording one run of the engine, to do it again to other sizes.

Hand `Recorded` values to an evaluation in place of numbers, and a `Tape` keeps every operation that it does to them.
Each operation is kept once: a product that ten formulas need is one entry. The entries stand in an order in which they
can be done. A `Program` holds those that some figures need. That is the formulas' own arithmetic, operation by
operation, so the results are the same. arrays.py does it to arrays, compiling.py makes it a Python function of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from llmcost.ground.algebra import Number, Symbolic, of_numbers, present

Function: TypeAlias = Callable[..., Any]
# What is done, by name (the keys of arrays.FUNCTIONS) or a function of words, and the places of what it is done to;
# or "input" and its name; or "constant", its value and type (1, 1.0 and True are three).
Entry: TypeAlias = tuple[Function | str, tuple[Any, ...]]


class Tape:
    """Operations in the order in which they were recorded, each on earlier entries, which it knows by their places."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.places: dict[Entry, int] = {}

    def input(self, name: str) -> Recorded:
        """A value that is given, by this name, when the operations are done again."""
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
        """Where a value stands on the tape; a constant is put there."""
        return x.place if isinstance(x, Recorded) else self.entry("constant", x, type(x)).place

    def program(self, wanted: Sequence[Recorded]) -> Program:
        """The operations that these results need, and no others."""
        return Program(self.entries, [x.place for x in wanted])


class Operation(NamedTuple):
    """One operation of a program: what is done to the values at some places, and the place of its result."""

    function: Function | str
    operands: tuple[int, ...]
    place: int
    done: list[int]  # places whose values no later operation needs


class Program:
    """The part of a tape that some results need, in order.

    Each value is let go after the last operation that needs it, so that large arrays do not pile up.
    """

    def __init__(self, entries: Sequence[Entry], results: list[int]) -> None:
        self.results = results
        self.inputs: dict[int, str] = {}
        self.constants: dict[int, Any] = {}
        self.operations: list[Operation] = []
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
                done = [each for each in dict.fromkeys(operands) if last_use.setdefault(each, place) == place]
                self.operations.append(Operation(function, operands, place, done))
        self.operations.reverse()


class Recorded(Symbolic):
    """A value that stands for an entry of a tape; what is done to it becomes another entry."""

    __slots__ = ("place", "tape")

    def __init__(self, tape: Tape, place: int) -> None:
        self.tape, self.place = tape, place

    def apply(self, function: Function | str, *arguments: Any) -> Recorded:
        """The value that stands for a function, applied to these arguments."""
        return self.tape.entry(function, *map(self.tape.place, arguments))

    def of_numbers(self, function: Function, *arguments: Any) -> Recorded:
        """The same, of a function that can only be had of plain numbers."""
        return self.apply(of_numbers, function, *arguments)

    def word(self, function: Function, *arguments: Any) -> Recorded:
        """The same, of a function that answers in words."""
        return self.apply(function, *arguments)

    def named(self, name: str) -> Number:  # noqa: ARG002 - names are for printing
        """The value as it is: a recording prints nothing."""
        return self

    def divided(self, x: Number, y: Number) -> Number:
        """A quotient that is whole where whole numbers divide."""
        return self.apply("divide", x, y) if present(x) else 0

    def __add__(self, other: Number) -> Recorded:
        return self if _is(other, 0) else self.apply("+", self, other)

    def __radd__(self, other: Number) -> Recorded:
        return self if _is(other, 0) else self.apply("+", other, self)

    def __sub__(self, other: Number) -> Recorded:
        return self.apply("-", self, other)

    def __rsub__(self, other: Number) -> Recorded:
        return self.apply("-", other, self)

    def __mul__(self, other: Number) -> Number:
        if _is(other, 1):
            return self
        return self.apply("*", self, other) if present(other) else 0  # what is absent stays absent

    def __rmul__(self, other: Number) -> Number:
        if _is(other, 1):
            return self
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


def _is(other: Number, neutral: int) -> bool:
    """Whether an operand changes nothing, not even a whole number into a float."""
    return other.__class__ is int and bool(other == neutral)
