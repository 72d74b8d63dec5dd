"""A formula as LaTeX: what `show` of ground/symbols.py prints, in the marks that papers are set with."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from llmcost.ground.symbols import Atom, Expression, Product, lift, show

LETTER = re.compile(r"(?P<letter>[A-Za-z])(?:_(?P<below>\w+)|(?P<digit>\d)|(?P<small>[a-z]{1,2}))?")
GREEK = {"λ": r"\lambda"}
AROUND = {
    "floor": (r"\left\lfloor ", r" \right\rfloor"),
    "ceil": (r"\left\lceil ", r" \right\rceil"),
    "group": (r"\left(", r"\right)"),
    "expm1": (r"\left(e^{", r"} - 1\right)"),
}


def latex(formula: Any) -> str:
    """The formula in letters as LaTeX, without the marks of a display around it."""
    terms = lift(formula).terms.values()
    text = " ".join(
        f"{'-' if coefficient < 0 else '+'} {_product(abs(coefficient), each)}" for coefficient, each in terms
    )
    return text.removeprefix("+ ") or "0"


def latex_name(letter: str) -> str:
    r"""A letter or a figure's name: `B_{kv}`, `t_{0,\mathrm{gemm}}`, `\mathrm{kv\_cache.bytes}`."""
    base, _, kind = letter.partition("[")
    kind = f"\\mathrm{{{_plain(kind.removesuffix(']'))}}}" if kind else ""
    found = LETTER.fullmatch(base)
    below = found and (found["below"] or found["digit"] or found["small"])
    capital = found and (found["letter"].isupper() or not found["small"])
    if base in GREEK or (found and not below):
        name, below = GREEK.get(base, base), ""
    elif found and capital:
        name, below = found["letter"], str(below) if len(str(below)) == 1 else f"\\mathrm{{{_plain(str(below))}}}"
    else:
        name, below = f"\\mathrm{{{_plain(base)}}}", ""
    marks = ",".join(filter(None, (below, kind)))
    return f"{name}_{{{marks}}}" if marks else name


def _plain(text: str) -> str:
    return text.replace("_", r"\_").replace(" ", r"\ ")


def _product(coefficient: Any, factors: Product) -> str:
    above = [_power(atom, power) for atom, power in factors if power > 0]
    below = [_power(atom, -power) for atom, power in factors if power < 0]
    if isinstance(coefficient, Fraction):
        if coefficient.denominator != 1:
            below = [_number(coefficient.denominator), *below]
        coefficient = coefficient.numerator
    if coefficient != 1 or not above:
        above = [_number(coefficient), *above]
    text, divisor = r" \, ".join(above), r" \, ".join(below)
    return rf"\frac{{{text}}}{{{divisor}}}" if below else text


def _number(value: Any) -> str:
    """A number with thousands apart, as a formula has it."""
    mantissa, _, exponent = show(value, sizes=False).partition("e")
    text = mantissa.replace(",", "{,}")
    return rf"{text} \cdot 10^{{{int(exponent)}}}" if exponent else text


def _power(atom: Atom, power: float) -> str:
    text = _atom(atom)
    if power == 1:
        return text
    if power == 0.5:
        return rf"\sqrt{{{text}}}"
    raised = rf"\left({text}\right)" if "^" in text or (atom.arguments and atom.letter not in AROUND) else text
    return f"{raised}^{{{power:g}}}"


def _atom(atom: Atom) -> str:
    if not atom.arguments:
        return latex_name(atom.letter)
    inner = [latex(argument) for argument in atom.arguments]
    if atom.letter in AROUND:
        opening, closing = AROUND[atom.letter]
        return f"{opening}{inner[0]}{closing}"
    if atom.letter == "power":
        return rf"\left({inner[0]}\right)^{{{inner[1]}}}"
    if atom.letter == "fits":
        return rf"{inner[0]} \leq {inner[1]}"
    name = rf"\{atom.letter}" if atom.letter in ("max", "min") else f"\\mathrm{{{_plain(atom.letter)}}}"
    return rf"{name}\left({', '.join(inner)}\right)"


def latex_of_figure(name: str, formula: Expression) -> str:
    """A figure's name, an equals sign, and its formula."""
    return f"{latex_name(name)} = {latex(formula)}"
