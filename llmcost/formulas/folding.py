"""A long formula in a few lines: what is long in it stands as its value, and products that add nothing are left out.

The formula itself stays as it is: `--json`, `--latex` and `--html` have all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from llmcost.formulas.naming import is_term
from llmcost.ground.symbols import Atom, Expression, evaluate, lift, show, symbol_of

LONG = 400  # letters of a formula that stands as it is
INSIDE = 60  # letters of a function in a longer formula that stands as it is
NOTHING = 1e-9  # of the largest product: less is what roundings leave


class Folded(NamedTuple):
    """The formulas that tell how a figure comes about, each in letters and with sizes.

    `formulas`: by name, the figure's own first. `letters`: those that they name. `values`: whether a value stands for a
    longer formula. `left_out`: products that add nothing.
    """

    formulas: dict[str, tuple[str, str]]
    letters: set[str]
    values: bool
    left_out: int


def folded(formulas: Mapping[str, Expression], parts: Mapping[str, Any], known: Mapping[str, Any]) -> Folded:
    """Formulas with their intermediate results, as far as what is shown of them names these.

    `parts`: sums that are told part by part, in full. `known`: figures that have an explanation of their own.
    """
    first = next(iter(formulas))
    shown: dict[str, tuple[str, str]] = {}
    letters: set[str] = set()
    values, left_out, waiting = False, 0, [first]
    while waiting:
        name = waiting.pop(0)
        if name in shown:
            continue
        whole = formulas[name]
        short = whole if name in parts else _short(whole)
        values |= short is not whole
        left_out += len(whole.terms) - len(short.terms)
        shown[name] = (show(short, sizes=False), show(short, sizes=True))
        for atom in short.atoms():
            if not isinstance(atom.value, Expression):
                letters.add(atom.letter)
            elif atom.letter not in known:
                waiting.append(atom.letter)
    return Folded({name: shown[name] for name in formulas if name in shown}, letters, values, left_out)


def _short(formula: Expression) -> Expression:
    """A formula whose long functions are their values, without products that add nothing; a short one as it is."""
    if len(show(formula, sizes=False)) <= LONG and not any(map(is_term, formula.atoms())):
        return formula
    amounts = {key: abs(evaluate(Expression({key: term}))) for key, term in formula.terms.items()}
    least = NOTHING * max(amounts.values())
    found = lift(0)
    for key, (coefficient, factors) in formula.terms.items():
        if amounts[key] > least or len(amounts) == 1:
            product = lift(coefficient)
            for atom, power in factors:
                product = product * _value_if_long(atom, power)
            found = found + product
    return found


def _value_if_long(atom: Atom, power: float) -> Expression:
    """A power of a function that is long as its value; the larger or smaller of some with values of those that are."""
    raised = symbol_of(atom) ** power
    if is_term(atom):
        return symbol_of(_value(symbol_of(atom))) ** power
    if not atom.arguments or _is_short(raised):
        return raised
    if atom.letter not in ("max", "min"):
        return symbol_of(_value(raised))
    arguments = tuple(each if _is_short(each) else symbol_of(_value(each)) for each in atom.arguments)
    return symbol_of(Atom(atom.letter, arguments=arguments)) ** power


def _is_short(formula: Expression) -> bool:
    return len(show(formula, sizes=False)) <= INSIDE and not any(map(is_term, formula.atoms()))


def _value(formula: Expression) -> Atom:
    """A letter that prints as the value of a formula."""
    value = evaluate(formula)
    return Atom(f"‹{show(value, sizes=True)}›", value)
