"""Lists and ranges of an option's values, as the command line writes them.

    1,2,8        1, 2 and 8
    1..64        every whole number from 1 to 64
    1..64:8      1, 9, 17, … in steps of 8, not past 64
    1..256:x2    1, 2, 4, … each twice the one before, not past 256

Items of a list may be ranges: `1,2,4..64:4`. Numbers are written as the option takes a single one: 8k, 0.9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias, TypeVar

from llmcost.ground.errors import InputError, shortened

MOST_LISTED = 10**6  # values that are spelled out
Exact: TypeAlias = int | Fraction  # a decimal is a fraction, so that ten steps of 0.1 make 1
Read: TypeAlias = Callable[[str], Exact]
Value = TypeVar("Value", int, float, str)


class Steps(NamedTuple):
    """The values from `first` to at most `last`, each `step` above the one before."""

    first: Exact
    last: Exact
    step: Exact

    def size(self) -> int:
        """How many values there are, without listing them."""
        return int((self.last - self.first) // self.step) + 1

    def values(self) -> Iterator[Exact]:
        """Every value, the smallest first."""
        return (self.first + k * self.step for k in range(self.size()))


class Powers(NamedTuple):
    """The values from `first` to at most `last`, each `factor` times the one before."""

    first: Exact
    last: Exact
    factor: int

    def size(self) -> int:
        """How many values there are: few, as they grow at least twofold."""
        return len(list(self.values()))

    def values(self) -> Iterator[Exact]:
        """Every value, the smallest first."""
        value = self.first
        while value <= self.last:
            yield value
            value *= self.factor


class Axis(NamedTuple):
    """The numbers that one option takes, as items of its list.

    They are listed only when asked for, so that a billion of them can be counted and refused.
    """

    option: str
    items: tuple[Steps | Powers, ...]

    def size(self) -> int:
        """How many values there are, without listing them."""
        return sum(item.size() for item in self.items)

    def values(self) -> Sequence[float]:
        """Every value in the order written, whole ones as ints. Raises InputError where one comes twice."""
        first, *others = self.items
        if not others and isinstance(first, Steps) and isinstance(first.first, int) and isinstance(first.step, int):
            return range(first.first, int(first.last) + 1, first.step)  # ten million take no memory
        if self.size() > MOST_LISTED:
            raise InputError(
                f"{self.option}: {self.size():,} values; above {MOST_LISTED:,} they are one range of whole numbers"
            )
        exact = (value for item in self.items for value in item.values())
        return distinct(self.option, [value if isinstance(value, int) else float(value) for value in exact])


class Names(NamedTuple):
    """What one option lists that is no number: GPUs, data types; True or False of a flag."""

    option: str
    names: tuple[Any, ...]

    def size(self) -> int:
        """How many names there are."""
        return len(self.names)

    def values(self) -> list[Any]:
        """Every name in the order written. Raises InputError where one comes twice."""
        return distinct(self.option, self.names)


def parse_axis(option: str, text: str, read: Read) -> Axis:
    """The values that `text` means. `read` makes a number of each word, or raises ValueError.

    Raises InputError, which names the option, for a text that is no list or range.
    """
    try:
        return Axis(option, tuple(_item(item.strip(), read) for item in text.split(",")))
    except ValueError as error:
        raise InputError(f"{option} {shortened(text)}: {error}") from None


def parse_names(option: str, text: str) -> Names:
    """The names that `text` lists, between commas. Raises InputError where one is empty."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"{option} {shortened(text)!r}: an item of the list is empty")
    return Names(option, names)


def distinct(option: str, values: Sequence[Value]) -> list[Value]:
    """The same values as a list. Raises InputError where one comes twice."""
    seen: set[Value] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{option}: {value} comes twice")
        seen.add(value)
    return list(values)


def _item(text: str, read: Read) -> Steps | Powers:
    """One item of a list: a single number, or a range. Raises ValueError in words."""
    if not text:
        raise ValueError("an item of the list is empty")
    bounds, colon, step = text.partition(":")
    first, dots, last = bounds.partition("..")
    if not dots:
        if colon:
            raise ValueError(f"{shortened(text)!r}: a step needs a range, as in 1..64:8")
        return Steps(read(first), read(first), 1)
    start, end = read(first), read(last)
    if start > end:
        raise ValueError(f"{shortened(text)!r} is empty: it starts above its end")
    if step.startswith("x"):
        factor = read(step[1:])
        if not isinstance(factor, int) or factor < 2 or start == 0:
            raise ValueError(
                f"{shortened(text)!r}: a factor is a whole number from 2 on, as in 1..256:x2, "
                "and what it multiplies is not 0"
            )
        return Powers(start, end, factor)
    by = read(step) if colon else 1
    if by == 0:
        raise ValueError(f"{shortened(text)!r}: a step is above 0")
    return Steps(start, end, by)
