"""The arithmetic that works on ints, floats, float64 arrays and symbols alike.

Every formula of the engine is written with `+ - * / **` and the functions below, and never branches on
a size, so one formula answers three questions: ints give a number, arrays a sweep, symbols the formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

# An int, a float, a float64 array or a symbol: no type of Python's says "supports arithmetic".
Number: TypeAlias = Any
PLAIN = (int, float)


class Symbolic:
    """What the functions below hand on to: a value that records arithmetic (see symbols.Expression)."""

    __slots__ = ()

    def apply(self, function: str, *arguments: Number) -> Number:
        """Record `function` of `arguments`, one of which is this value."""
        raise NotImplementedError

    def named(self, name: str) -> Number:
        """The same value as a reference that prints as `name`."""
        raise NotImplementedError

    def divided(self, x: Number, y: Number) -> Number:
        """The quotient, of which this value is a part. A recording keeps it whole where whole numbers divide."""
        return x / y

    def word(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ARG002 - a formula has no words in it
        """What `function` says of `arguments`, one of which is this value, in words: nothing, unless they are recorded."""
        return None


def is_plain(x: Number) -> bool:
    """Whether x is an ordinary number: one that may be compared."""
    return isinstance(x, PLAIN)


def present(size: Number) -> bool:
    """Whether a size is there at all. That is structure, which formulas may branch on: 0 is absent, a symbol never is."""
    return size.__class__ not in PLAIN or size != 0


def is_one(amount: Number) -> bool:
    """Whether something is there once, and nothing is divided or repeated. That is structure: a symbol or an array never is one."""
    return amount.__class__ is int and bool(amount == 1)


def maximum(x: Number, y: Number) -> Number:
    """The larger of two numbers, elementwise for arrays."""
    if isinstance(x, PLAIN) and isinstance(y, PLAIN):
        return max(x, y)
    return _elementwise("max", x, y)


def minimum(x: Number, y: Number) -> Number:
    """The smaller of two numbers, elementwise for arrays."""
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
    """e^x - 1, exact for small x; elementwise for arrays."""
    if isinstance(x, PLAIN):
        return math.expm1(x)
    if isinstance(x, Symbolic):
        return x.apply("expm1", x)
    import numpy as np  # only reached when the caller passed an array

    return np.expm1(x)


def largest(values: Sequence[Number]) -> Number:
    """The largest of several numbers, elementwise for arrays."""
    return max(values) if {*map(type, values)} <= {*PLAIN} else reduce(maximum, values)


def least(values: Iterable[Number]) -> Number:
    """The smallest of several numbers, elementwise for arrays."""
    return reduce(minimum, values)


def name_of_least(values: Mapping[str, Number]) -> Any:
    """Which of several numbers is the smallest, by name; of equal ones the first. Elementwise for arrays, None for symbols."""
    return _name_of_least(tuple(values), *values.values())


def _name_of_least(names: tuple[str, ...], *values: Number) -> Any:
    """The same in the form in which it is recorded."""
    if all(map(is_plain, values)):
        return names[values.index(min(values))]
    for value in values:
        if isinstance(value, Symbolic):
            return value.word(_name_of_least, names, *values)
    import numpy as np  # only reached when the caller passed an array

    least, which = values[0], np.asarray(0)
    for place, value in enumerate(values[1:], start=1):
        which = np.where(value < least, place, which)
        least = np.minimum(least, value)
    return np.array(names, dtype=object)[which]


def either(condition: Number, yes: Any, no: Any) -> Any:
    """One of two words. Elementwise for arrays, None for symbols."""
    if isinstance(condition, bool):
        return yes if condition else no
    for value in (condition, yes):
        if isinstance(value, Symbolic):
            return value.word(either, condition, yes, no)
    import numpy as np  # only reached when the caller passed an array

    return np.where(condition, np.asarray(yes, dtype=object), no)


def divide(x: Number, y: Number) -> Number:
    """Divide: a whole number where plain whole numbers divide."""
    if isinstance(x, int) and isinstance(y, int):
        return x // y if x % y == 0 else x / y
    for value in (x, y):
        if isinstance(value, Symbolic):
            return value.divided(x, y)
    return x / y


def ceil_div(x: Number, y: Number) -> Number:
    """Divide and round up."""
    return -floor_div(-x, y)


def floor_div(x: Number, y: Number) -> Number:
    """Divide and round down; an int for plain numbers, as it counts something."""
    for value in (x, y):
        if isinstance(value, Symbolic):
            return value.apply("floor_div", x, y)
    return int(x // y) if is_plain(x) and is_plain(y) else x // y


def named(name: str, x: Number, of: str = "") -> Number:
    """Give an intermediate result a name (`of` an operator), by which later formulas print it. Numbers pass through."""
    return x.named(f"{name}[{of}]" if of else name) if isinstance(x, Symbolic) else x
