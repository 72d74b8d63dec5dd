"""Symbols: put them where sizes go, and a formula prints itself.

An Expression is a sum of products, kept in the author's order. Like products are merged, so that two GEMMs of h·i and
one of i·h read 3·h·i. It prints in letters or with the sizes put in, and evaluates exactly: ints and fractions never
pass through a float. It has no truth value: the engine may branch on structure only, and code that asks whether a
symbol is larger gets a TypeError that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, expm1, floor
from typing import Any

from llmcost.ground.algebra import Number, Symbolic

Product = tuple[tuple["Atom", int | float], ...]  # factors with their powers, in the order written
ONE = {frozenset[Any]()}  # the factors of a number
LARGE_POWER = 64
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Atom:
    """What a product is made of: a letter, a function of expressions, or a reference to another figure.

    A letter has a value (a number) and a meaning; a reference has the other figure's name as its letter and its
    expression as its value; a function has its arguments, and a name of FUNCTIONS as its letter.
    """

    __slots__ = ("arguments", "hashed", "key", "letter", "meaning", "result", "value")

    def __init__(self, letter: str, value: Any = None, meaning: str = "", arguments: tuple[Any, ...] = ()) -> None:
        self.letter, self.value, self.meaning, self.arguments = letter, value, meaning, arguments
        self.result: Any = None  # its value, once computed: formulas refer to the same figures over and over
        self.key = (letter, arguments, value if isinstance(value, Expression) else None)
        self.hashed = hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Atom) and self.hashed == other.hashed and self.key == other.key)

    def __hash__(self) -> int:
        return self.hashed

    def show(self, sizes: bool) -> str:
        """The letter, or with `sizes` the value; a function shows its arguments either way."""
        if self.arguments:
            inner = [show(argument, sizes) for argument in self.arguments]
            return FUNCTIONS[self.letter][1](*inner)
        return _figure(self.evaluate()) if sizes else self.letter

    def evaluate(self) -> Any:
        """The value: a number, or for `fits` a bool. It is computed once."""
        if self.result is None:
            inner = [evaluate(argument) for argument in self.arguments]
            self.result = FUNCTIONS[self.letter][0](*inner) if inner else evaluate(self.value)
        return self.result


def _power(base: Any, power: Any) -> Any:
    """A power; a float of a fraction to more than LARGE_POWER, which would have too many digits to be exact."""
    return (float(base) if isinstance(base, Fraction) and power > LARGE_POWER else base) ** power


# letter -> (what it computes, how it prints)
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., str]]] = {
    "max": (max, lambda *a: f"max({', '.join(a)})"),
    "min": (min, lambda *a: f"min({', '.join(a)})"),
    "floor": (floor, lambda a: f"⌊{a}⌋"),
    "ceil": (ceil, lambda a: f"⌈{a}⌉"),
    "expm1": (expm1, lambda a: f"(e^({a}) - 1)"),
    "power": (_power, lambda a, b: f"({a})^({b})"),
    "group": (lambda a: a, lambda a: f"({a})"),
    "fits": (lambda a, b: a <= b, lambda a, b: f"{a} ≤ {b}"),
}


class Expression(Symbolic):
    """A sum of products of atoms.

    `terms` has each product's coefficient and its factors as written, under the same factors without an order.
    """

    __slots__ = ("hashed", "inside", "terms")

    def __init__(self, terms: dict[frozenset[Any], tuple[Any, Product]]) -> None:
        self.terms = {key: term for key, term in terms.items() if term[0] != 0}
        self.hashed: int | None = None  # computed once, as are its atoms (`inside`)
        self.inside: list[Atom] | None = None

    def number(self) -> Any:
        """The number that the formula gives."""
        return evaluate(self)

    # -- arithmetic ---------------------------------------------------------------------------------
    def __add__(self, other: Number) -> Expression:
        terms = dict(self.terms)
        for key, (coefficient, factors) in lift(other).terms.items():
            mine, order = terms.get(key, (0, factors))
            terms[key] = (mine + coefficient, order)
        return Expression(terms)

    def __radd__(self, other: Number) -> Expression:
        return lift(other) + self

    def __neg__(self) -> Expression:
        return self * -1

    def __sub__(self, other: Number) -> Expression:
        return self + -lift(other)

    def __rsub__(self, other: Number) -> Expression:
        return lift(other) - self

    def __mul__(self, other: Number) -> Expression:
        by = lift(other)
        if by.terms.keys() == ONE:  # a number alone
            ((number, _),) = by.terms.values()
            return self if number == 1 else Expression({k: (c * number, f) for k, (c, f) in self.terms.items()})
        terms: dict[frozenset[Any], tuple[Any, Product]] = {}
        for ours, left in self.terms.values():
            for theirs, right in by.terms.values():
                factors = _merged(left + right)
                key = frozenset(factors)
                mine, order = terms.get(key, (0, factors))
                terms[key] = (mine + ours * theirs, order)
        return Expression(terms)

    def __rmul__(self, other: Number) -> Expression:
        return lift(other) * self

    def __truediv__(self, other: Number) -> Expression:
        return self * lift(other) ** -1

    def __rtruediv__(self, other: Number) -> Expression:
        return lift(other) * self**-1

    def __pow__(self, power: Number) -> Expression:
        if isinstance(power, Expression):
            return self.apply("power", self, power) if self.terms else self
        if isinstance(power, int) and 0 <= power <= 4:  # multiplied out
            result = lift(1)
            for _ in range(power):
                result = result * self
            return result
        if len(self.terms) == 1:  # of a single product, each factor is raised
            ((coefficient, factors),) = self.terms.values()
            raised = tuple((atom, exponent * power) for atom, exponent in factors)
            if coefficient == 1:
                return _product(1, raised)
            if power == -1:
                return _product(Fraction(1) / coefficient, raised)
        return _product(1, ((Atom("group", arguments=(self,)), power),))

    def __le__(self, other: Number) -> Expression:
        return self.apply("fits", self, other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expression | int | float | Fraction):
            return NotImplemented
        than = lift(other)
        if hash(self) != hash(than):
            return False
        return {k: c for k, (c, _) in self.terms.items()} == {k: c for k, (c, _) in than.terms.items()}

    def __hash__(self) -> int:
        if self.hashed is None:
            self.hashed = hash(frozenset((key, coefficient) for key, (coefficient, _) in self.terms.items()))
        return self.hashed

    def __bool__(self) -> bool:
        raise TypeError(f"'{self}' is a symbol and has no truth value: branch on structure, never on a size")

    def apply(self, function: str, *arguments: Number) -> Expression:
        """A function of expressions, one of FUNCTIONS or floor_div, as an expression that prints it."""
        lifted = tuple(map(lift, arguments))
        if function == "floor_div":
            return _rounded_down(lifted[0] / lifted[1])
        if function in ("max", "min"):
            return _extreme(function, lifted)
        return symbol_of(Atom(function, arguments=lifted))

    def of_numbers(self, function: Callable[..., float], *arguments: Number) -> Expression:
        """A function of plain numbers as an expression that prints its name."""
        name = function.__name__
        FUNCTIONS.setdefault(name, (lambda *a: function(*map(float, a)), lambda *a: f"{name}({', '.join(a)})"))
        return self.apply(name, *arguments)

    def named(self, name: str) -> Expression:
        """The same value, which prints as `name` from here on; a lone number or letter stays as it is."""
        alone = self.atom()
        is_letter = alone is not None and not alone.arguments
        is_number = all(not factors for _, factors in self.terms.values())
        return self if is_letter or is_number else symbol_of(Atom(name, self))

    def atom(self) -> Atom | None:
        """The atom that this expression is, where it is a single one; otherwise None."""
        if len(self.terms) == 1:
            ((coefficient, factors),) = self.terms.values()
            if coefficient == 1 and len(factors) == 1 and factors[0][1] == 1:
                return factors[0][0]
        return None

    # -- reading ------------------------------------------------------------------------------------
    def __str__(self) -> str:
        return show(self, sizes=False)

    __repr__ = __str__

    def atoms(self) -> list[Atom]:
        """Every letter and reference that occurs, once, in the order written; those in arguments of functions too."""
        if self.inside is None:
            found: dict[Atom, None] = {}
            for _, factors in self.terms.values():
                for atom, _ in factors:
                    if atom.arguments:
                        found |= dict.fromkeys(each for argument in atom.arguments for each in argument.atoms())
                    else:
                        found[atom] = None
            self.inside = list(found)
        return self.inside


def _rounded_down(quotient: Expression) -> Expression:
    """A quotient rounded down; one that begins with a minus as minus its negative rounded up, as `ceil_div` means."""
    if quotient.terms and next(iter(quotient.terms.values()))[0] < 0:
        return -symbol_of(Atom("ceil", arguments=(-quotient,)))
    return symbol_of(Atom("floor", arguments=(quotient,)))


def _extreme(function: str, arguments: tuple[Expression, ...]) -> Expression:
    """The max or min of some expressions, as short as it can be written.

    A max of a max is one max, and equal arguments stand once. The smaller of 0 and a size is 0: no size is below it.
    """
    if function == "min" and not all(each.terms for each in arguments) and any(each.atom() for each in arguments):
        return lift(0)
    flat: list[Expression] = []
    for argument in arguments:
        nested = argument.atom()
        inner = nested.arguments if nested and nested.letter == function else (argument,)
        flat += [each for each in inner if each not in flat]
    return flat[0] if len(flat) == 1 else symbol_of(Atom(function, arguments=tuple(flat)))


def symbol(letter: str, value: Any, meaning: str) -> Expression:
    """The size that the documents call `letter`, with its value in this model or workload and what it means."""
    return symbol_of(Atom(letter, value, meaning))


def symbol_of(atom: Atom) -> Expression:
    """The expression that consists of this atom."""
    return _product(1, ((atom, 1),))


def lift(x: Number) -> Expression:
    """A number as an expression; an expression stays as it is."""
    if isinstance(x, Expression):
        return x
    return Expression({frozenset(): (x, ())})


def evaluate(x: Number) -> Any:
    """The value of an expression, or a number as it is.

    It is exact as long as all sizes are ints and fractions, and a float where a measured figure is among them.
    """
    if not isinstance(x, Expression):
        return x
    total: Any = 0
    for coefficient, factors in x.terms.values():
        value: Any = coefficient
        for atom, power in factors:
            factor = _raised(atom.evaluate(), power)
            value = value * factor if value != 1 else factor
        total = total + value if total else value
    return int(total) if isinstance(total, Fraction) and total.denominator == 1 else total


def _raised(base: Any, power: float) -> Any:
    """A power, which is a fraction where an int is raised to a negative int.

    A sum of terms multiplied out may come out a little below 0 where it is 0: a root of it is 0, not complex.
    """
    if power == 1:
        return base
    if not isinstance(power, int):
        return max(base, 0) ** power
    return Fraction(base) ** power if isinstance(base, int) else base**power


def show(x: Number, sizes: bool) -> str:
    """A formula as text, in letters or, with `sizes`, with every letter's value in its place."""
    if not isinstance(x, Expression):
        return _figure(x)
    parts = []
    for coefficient, factors in x.terms.values():
        sign = "-" if coefficient < 0 else "+"
        parts += [sign, _show_product(abs(coefficient), factors, sizes)]
    if not parts:
        return "0"
    text = " ".join(parts).replace(" - ", " − ")
    return text[2:] if text.startswith("+ ") else "−" + text[2:]


def _show_product(coefficient: Any, factors: Product, sizes: bool) -> str:
    """A product as text: `2·h·i / (t·p)`. What has a negative power stands below the line, so does a denominator."""
    above = [_show_power(atom, power, sizes) for atom, power in factors if power > 0]
    below = [_show_power(atom, -power, sizes) for atom, power in factors if power < 0]
    if isinstance(coefficient, Fraction):
        if coefficient.denominator != 1:
            below = [_figure(coefficient.denominator), *below]
        coefficient = coefficient.numerator
    if coefficient != 1 or not above:
        above = [_figure(coefficient), *above]
    text = "·".join(above)
    if not below:
        return text
    return f"{text} / {below[0]}" if len(below) == 1 else f"{text} / ({'·'.join(below)})"


def _show_power(atom: Atom, power: float, sizes: bool) -> str:
    text = atom.show(sizes)
    if power == 0.5:
        return f"√{text}"
    if power == 1:
        return text
    return text + (str(power).translate(SUPERSCRIPTS) if isinstance(power, int) else f"^{power:g}")


def _product(coefficient: Any, factors: Product) -> Expression:
    """The expression of a single product."""
    kept = _merged(factors)
    return Expression({frozenset(kept): (coefficient, kept)})


def _merged(factors: Product) -> Product:
    """A product's factors with equal ones merged and powers of 0 left out."""
    powers: dict[Atom, int | float] = {}
    for atom, power in factors:
        powers[atom] = powers.get(atom, 0) + power
    return tuple((atom, power) for atom, power in powers.items() if power != 0)


def _figure(value: Any) -> str:
    """A number inside a formula: whole numbers in full, others to six figures."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        whole = int(value)
        for exponent in (12, 9):  # peaks, bandwidths, tokens: 165e12 rather than twelve zeros
            if whole and whole % 10**exponent == 0:
                return f"{whole // 10**exponent:,}e{exponent}"
        return f"{whole:,}"
    return f"{float(value):.6g}"
