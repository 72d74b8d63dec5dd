"""Names of intermediate results: each stands for one alone, and what is long and stands several times has one, too.

Two results that are called alike and differ, as an operator's bytes in two steps, are told apart by a number. Long
functions that stand more than once in a formula are `term[1]`, `term[2]`, …: written out, some formulas would have more
letters than memory holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container
from typing import Any

from llmcost.ground.symbols import Atom, Expression, Product, lift, show, symbol_of

OF_OPERATOR = re.compile(r"(?:F|B|exchange|kernel)\[([^,]+)(?:, \d+)?\]")  # FLOPs, bytes, communication, seconds
TERM = "term"  # what these are called
LONG = 120  # letters of a function that has a name where it stands more than once


def operator_of(name: str) -> str | None:
    """The operator that an intermediate result or a letter is of; None: of none."""
    found = OF_OPERATOR.fullmatch(name)
    return found and found[1]


def is_term(atom: Atom) -> bool:
    """Whether an atom stands for a long function, and has its name for being one alone."""
    return isinstance(atom.value, Expression) and atom.letter.startswith(f"{TERM}[")


def with_names(formula: Expression, known: Container[str]) -> Expression:
    """A formula in which a name stands for one result alone, and long functions stand once.

    `known`: figures that have an explanation of their own, and are not opened.
    """
    shared = _Shared(known)
    return _Named(known, shared).formula(shared.formula(formula))


class _Shared:
    """Formulas in which what is equal is one object, and how often each stands somewhere, by its identity."""

    def __init__(self, known: Container[str]) -> None:
        self.known = known
        self.places: Counter[int] = Counter()
        self.found: dict[int, Any] = {}  # of objects that came in -> the one that stands for all that equal it
        self.alike: dict[Any, Any] = {}
        self.kept: list[Any] = []  # whose identities are in use

    def formula(self, formula: Expression) -> Expression:
        """The formula that stands for all that equal this one."""
        if id(formula) not in self.found:
            terms = {}
            for coefficient, factors in formula.terms.values():
                product = tuple((self.atom(atom), power) for atom, power in factors)
                terms[frozenset(product)] = (coefficient, product)
            key = frozenset((coefficient, self._identities(each)) for coefficient, each in terms.values())
            self._keep(formula, key, Expression(terms))
        shared: Expression = self.found[id(formula)]
        return shared

    @staticmethod
    def _identities(product: Product) -> frozenset[Any]:
        return frozenset((id(atom), power) for atom, power in product)

    def atom(self, atom: Atom) -> Atom:
        """The atom that stands for all that equal this one; names of figures are not opened."""
        if id(atom) not in self.found:
            arguments = tuple(self.formula(each) for each in atom.arguments)
            opened = isinstance(atom.value, Expression) and atom.letter not in self.known
            value = self.formula(atom.value) if opened else atom.value
            key: Any = atom
            if arguments or opened:
                key = (atom.letter, tuple(map(id, arguments)), id(value) if opened else None)
            self._keep(atom, key, Atom(atom.letter, value, atom.meaning, arguments) if key is not atom else atom)
        shared: Atom = self.found[id(atom)]
        return shared

    def _keep(self, given: Any, key: Any, new: Any) -> None:
        one = self.alike.setdefault(key, new)
        self.found[id(given)] = one
        self.kept += [given, one]
        if one is new:  # it stands in no formula that was counted before
            inside = one.arguments if isinstance(one, Atom) else [a for _, each in one.terms.values() for a, _ in each]
            self.places.update(id(each) for each in inside)


class _Named:
    """Formulas with the new names."""

    def __init__(self, known: Container[str], shared: _Shared) -> None:
        self.known, self.places = known, shared.places
        self.new: dict[int, Expression] = {}  # by the identity of what it stands for
        self.arguments: dict[int, Expression] = {}
        self.called: Counter[str] = Counter()

    def formula(self, formula: Expression) -> Expression:
        """The formula with names in it."""
        if id(formula) not in self.new:
            found = lift(0)
            for coefficient, factors in formula.terms.values():
                product = lift(coefficient)
                for atom, power in factors:
                    product = product * self._atom(atom) ** power
                found = found + product
            self.new[id(formula)] = found
        return self.new[id(formula)]

    def _atom(self, atom: Atom) -> Expression:
        if id(atom) not in self.new:
            self.new[id(atom)] = self._of(atom)
        return self.new[id(atom)]

    def _of(self, atom: Atom) -> Expression:
        if atom.arguments:
            whole = symbol_of(Atom(atom.letter, arguments=tuple(self._argument(each) for each in atom.arguments)))
            return self._once(whole, self.places[id(atom)])
        if not isinstance(atom.value, Expression) or atom.letter in self.known:
            return symbol_of(atom)
        name = self._numbered(atom.letter)
        return symbol_of(Atom(name, self.formula(atom.value), atom.meaning))

    def _argument(self, formula: Expression) -> Expression:
        if id(formula) not in self.arguments:
            whole = self.formula(formula)
            alone = len(whole.terms) < 2  # then its factors have names, if any
            self.arguments[id(formula)] = whole if alone else self._once(whole, self.places[id(formula)])
        return self.arguments[id(formula)]

    def _once(self, whole: Expression, places: int) -> Expression:
        """A formula by a name, where it is long and stands in several places."""
        if places < 2 or len(show(whole, sizes=False)) <= LONG:
            return whole
        return symbol_of(Atom(self._numbered(TERM, always=True), whole))

    def _numbered(self, name: str, *, always: bool = False) -> str:
        """A name with a number, inside its brackets where it has some, if another result has it."""
        self.called[name] += 1
        number = self.called[name]
        if number == 1 and not always:
            return name
        return f"{name[:-1]}, {number}]" if name.endswith("]") else f"{name}[{number}]"
