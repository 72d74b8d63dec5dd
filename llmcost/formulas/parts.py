"""A long time as named parts: the seconds of each operator, of starting kernels, of what is left."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from llmcost.formulas.naming import operator_of
from llmcost.ground.symbols import Atom, Expression, evaluate, show

FEWEST = 4  # products of a sum that is told by parts
LAUNCHES = re.compile(r"t0(\[.+\])?")
STARTED, OTHERS = "starting kernels", "others"


class Part(NamedTuple):
    """A part of a sum: the operator that it is of, its formula in letters, and its value.

    `named`: those of the intermediate results in it that are of this operator.
    """

    name: str
    letters: str
    value: Any
    named: tuple[str, ...] = ()


def parts_of(formula: Expression) -> list[Part]:
    """The products of a sum, those of one operator together; none where no operator is in it, or the sum is short.

    Like products of several operators are one in a formula: the launches of kernels stand together.
    """
    if len(formula.terms) < FEWEST:
        return []
    sums: dict[str, Expression] = {}
    for key, term in formula.terms.items():
        name = _name(term[1])
        sums[name] = sums.get(name, Expression({})) + Expression({key: term})
    if sums.keys() <= {STARTED, OTHERS}:
        return []
    ordered = sorted(sums, key=lambda name: (STARTED, OTHERS).index(name) if name in (STARTED, OTHERS) else -1)
    return [_part(name, sums[name]) for name in ordered]


def _part(name: str, formula: Expression) -> Part:
    return Part(name, show(formula, sizes=False), evaluate(formula), _named(name, formula))


def _named(operator: str, formula: Expression) -> tuple[str, ...]:
    """The intermediate results of an operator that a formula names."""
    results = (atom.letter for atom in formula.atoms() if isinstance(atom.value, Expression))
    return tuple(name for name in results if operator_of(name) == operator)


def _name(factors: tuple[tuple[Atom, int | float], ...]) -> str:
    """The operator that a product is of."""
    letters = [atom.letter for factor, _ in factors for atom in ([factor] if not factor.arguments else _inside(factor))]
    operators = [name for letter in letters if (name := operator_of(letter))]
    if operators:
        return operators[0]
    return STARTED if any(LAUNCHES.fullmatch(letter) for letter in letters) else OTHERS


def _inside(atom: Atom) -> list[Atom]:
    return [each for argument in atom.arguments for each in argument.atoms()]
