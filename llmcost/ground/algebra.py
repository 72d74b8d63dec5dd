"""The arithmetic that works on ints, floats, float64 arrays and symbols alike.

Every formula of the engine is written with `+ - * / **` and the functions below, and never branches on a size. So one
formula answers three questions: on ints it gives a number, on arrays a sweep, on symbols the formula itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

# An int, a float, a float64 array or a symbol: Python has no type that says "supports arithmetic".
Number: TypeAlias = Any
PLAIN = (int, float)


class Symbolic:
    """A value that records arithmetic instead of doing it: symbols.Expression, recording.Recorded.

    The functions below call these methods where one of their arguments is such a value.
    """

    __slots__ = ()

    def apply(self, function: str, *arguments: Number) -> Number:
        """Record `function` of `arguments`, one of which is this value."""
        raise NotImplementedError

    def named(self, name: str) -> Number:
        """The same value, which formulas that use it print as `name`."""
        raise NotImplementedError

    def divided(self, x: Number, y: Number) -> Number:
        """The quotient, of which this value is a part. A recording keeps it whole where whole numbers divide."""
        return x / y

    def of_numbers(self, function: Callable[..., float], *arguments: Number) -> Number:
        """Record a `function` of plain numbers, one of whose arguments is this value."""
        raise NotImplementedError

    def number(self) -> Any:
        """The plain number that this value stands for; None where it stands for many, as a recording does."""
        return None

    def word(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ARG002 - a formula has no words in it
        """Record a `function` that gives words, such as the name of a limit; None for what records numbers alone."""
        return None


def is_plain(x: Number) -> bool:
    """Whether x is an ordinary number, which may be compared."""
    return isinstance(x, PLAIN)


def present(size: Number) -> bool:
    """Whether a size is there at all: a plain 0 is absent, an array or a symbol never is.

    That is structure, on which formulas may branch: a block without a window, a layout without exchanges.
    """
    return size.__class__ not in PLAIN or size != 0


def is_one(amount: Number) -> bool:
    """Whether something is there exactly once, so that nothing is divided or repeated; no array or symbol is.

    That is structure, on which formulas may branch: one GPU, one micro-batch.
    """
    return amount.__class__ is int and bool(amount == 1)


def number_behind(size: Number) -> Any:
    """The plain number that a size is or that its letter stands for; None for an array or a recording.

    Not for arithmetic: for what is looked up by a size, as numbers that were measured for heads of one size.
    """
    return size.number() if isinstance(size, Symbolic) else size if is_plain(size) else None


def sum_of(amounts: Iterable[Number]) -> Number:
    """The sum of some numbers, from the first on.

    Python's own sum() rounds floats in another way from 3.12 on: an estimate would depend on the version of Python,
    and a recorded one would differ from the first in its last digits.
    """
    added: Number = 0
    for amount in amounts:
        added = added + amount
    return added


def maximum(x: Number, y: Number) -> Number:
    """The larger of two numbers; of arrays, element by element."""
    if isinstance(x, PLAIN) and isinstance(y, PLAIN):
        return max(x, y)
    return _elementwise("max", x, y)


def minimum(x: Number, y: Number) -> Number:
    """The smaller of two numbers; of arrays, element by element."""
    if isinstance(x, PLAIN) and isinstance(y, PLAIN):
        return min(x, y)
    return _elementwise("min", x, y)


def _elementwise(function: str, x: Number, y: Number) -> Number:
    for value in (x, y):
        if isinstance(value, Symbolic):
            return value.apply(function, x, y)
    import numpy as np  # only reached when the caller passed an array

    return np.maximum(x, y) if function == "max" else np.minimum(x, y)


def expm1(x: Number) -> Number:
    """e^x - 1, exact for small x; of arrays, element by element."""
    if isinstance(x, PLAIN):
        return math.expm1(x)
    if isinstance(x, Symbolic):
        return x.apply("expm1", x)
    import numpy as np  # only reached when the caller passed an array

    return np.expm1(x)


def of_numbers(function: Callable[..., float], *arguments: Number) -> Number:
    """A function that can only be had of plain numbers: of arrays element by element, of symbols by its name."""
    if all(map(is_plain, arguments)):
        return function(*arguments)
    for argument in arguments:
        if isinstance(argument, Symbolic):
            return argument.of_numbers(function, *arguments)
    import numpy as np  # only reached when the caller passed an array

    return np.frompyfunc(function, len(arguments), 1)(*arguments).astype(float)


def largest(values: Sequence[Number]) -> Number:
    """The largest of several numbers; of arrays, element by element."""
    return max(values) if all(map(is_plain, values)) else reduce(maximum, values)


def of_largest(keys: Sequence[Number], values: Sequence[Number]) -> Number:
    """The value that stands beside the largest key, the first of equal ones; of arrays, element by element.

    Symbols, whose values are not compared, raise ValueError.
    """
    return _of_largest(*keys, *values)


def _of_largest(*both: Number) -> Number:
    """The same in the form in which it is recorded."""
    keys, values = both[: len(both) // 2], both[len(both) // 2 :]
    if all(map(is_plain, keys)):
        return values[keys.index(max(keys))]
    for key in keys:
        if isinstance(key, Symbolic):
            found = key.word(_of_largest, *both)
            if found is None:
                raise ValueError("symbols do not tell which of them is the largest")
            return found
    import numpy as np  # only reached when the caller passed an array

    largest_key, found = keys[0], values[0]
    for key, value in zip(keys[1:], values[1:], strict=True):
        found = np.where(key > largest_key, value, found)
        largest_key = np.maximum(key, largest_key)
    return found


def least(values: Iterable[Number]) -> Number:
    """The smallest of several numbers; of arrays, element by element."""
    return reduce(minimum, values)


def name_of_least(values: Mapping[str, Number]) -> Any:
    """The name of the smallest of several numbers, the first of equal ones: an array of names for arrays.

    None for symbols, which cannot be compared.
    """
    return _name_of_least(tuple(values), *values.values())


def _name_of_least(names: tuple[str, ...], *values: Number) -> Any:
    """The same in the form in which it is recorded."""
    if all(map(is_plain, values)):
        return names[values.index(min(values))]
    for value in values:
        if isinstance(value, Symbolic):
            return value.word(_name_of_least, names, *values)
    import numpy as np  # only reached when the caller passed an array

    first, *others = values
    smallest, place_of_smallest = first, np.asarray(0)
    for place, value in enumerate(others, start=1):
        place_of_smallest = np.where(value < smallest, place, place_of_smallest)
        smallest = np.minimum(smallest, value)
    return np.array(names, dtype=object)[place_of_smallest]


def either(condition: Number, yes: Any, no: Any) -> Any:
    """One of two words: `yes` where the condition holds, else `no`. An array of words for arrays, None for symbols."""
    if isinstance(condition, bool):
        return yes if condition else no
    for value in (condition, yes):
        if isinstance(value, Symbolic):
            return value.word(either, condition, yes, no)
    import numpy as np  # only reached when the caller passed an array

    return np.where(condition, np.asarray(yes, dtype=object), no)


def divide(x: Number, y: Number) -> Number:
    """The quotient of x and y: an int where plain ints divide without a remainder."""
    if isinstance(x, int) and isinstance(y, int):
        return x // y if x % y == 0 else x / y
    for value in (x, y):
        if isinstance(value, Symbolic):
            return value.divided(x, y)
    return x / y


def ceil_div(x: Number, y: Number) -> Number:
    """The quotient of x and y, rounded up; an int for plain numbers, as it counts something."""
    return -floor_div(-x, y)


def floor_div(x: Number, y: Number) -> Number:
    """The quotient of x and y, rounded down; an int for plain numbers, as it counts something."""
    for value in (x, y):
        if isinstance(value, Symbolic):
            return value.apply("floor_div", x, y)
    return int(x // y) if is_plain(x) and is_plain(y) else x // y


def more_than(amount: Number, room: Number) -> Number:
    """1 where an amount is more than there is room for, else 0."""
    return minimum(1, ceil_div(maximum(0, amount - room), room))


def named(name: str, x: Number, of: str = "") -> Number:
    """Give an intermediate result a name, by which later formulas print it; numbers and arrays pass through.

    `of`: the operator that the result belongs to, so that `F[qkv_proj]` and `F[lm_head]` are two.
    """
    if not isinstance(x, Symbolic):
        return x
    return x.named(f"{name}[{of}]" if of else name)
