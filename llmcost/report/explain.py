"""Explanations as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

from llmcost.formulas.explanations import Explanations
from llmcost.formulas.folding import Folded
from llmcost.formulas.parts import Part
from llmcost.formulas.serving import Explanation
from llmcost.ground.units import scaled, seconds, significant
from llmcost.report.tables import Table, under
from llmcost.report.words import told
from llmcost.report.wrapping import fill, wide

SMALL = 0.01  # below it, digits after the point would be too many
SHARE, SMALLER = 0.01, "less than 1% each"  # of a long sum that is told with values for what is long in it
WIDTH = 110  # of formulas that no terminal bounds: one of a thousand letters is broken there too
BRANCH, LAST, TRUNK, FREE = "├─ ", "└─ ", "│  ", "   "


def explanation_text(found: Explanations, width: int | None = None) -> str:
    """Formula, the same with sizes, value, source and errata of each figure; the letters once at the end.

    A long time is told as a tree: its parts with their seconds, each with what it is made of.
    """
    lines: list[str] = []
    legend: dict[str, tuple[Any, str]] = {}
    for each in found.explanations:
        short = each.folded()
        legend |= {letter: told_of for letter, told_of in each.legend.items() if letter in short.letters}
        lines += [*_figure(each, short, width, found.engine), ""]
    if not legend:
        return "\n".join(lines[:-1])
    lines.append(told("where"))
    for letter, (value, meaning) in legend.items():
        lines += fill(f"  {letter} = {value_text(value, '')}: {told(meaning)}", width, "    ")
    return "\n".join(lines)


def explanation_table(found: Explanations, asked: str) -> Table:
    """Several figures that some words are said of, a row each."""
    rows = [(each.quantity, _rounded(each.value, each.unit), each.what) for each in found.explanations]
    note = f"Asked for by its path, as {rows[0][0]}, each says how it comes about."
    return Table(f"{asked}{under(found.engine)}: {len(rows)} figures", ("", "", ""), "lrl", rows, (note,))


def latex_text(found: Explanations, width: int | None = None) -> str:
    """Each figure's formula as LaTeX, then those of its intermediate results; what letters mean as comments."""
    lines: list[str] = []
    for each in found.explanations:
        lines += fill(f"% {each.quantity}{under(found.engine)}: {each.what}", width or WIDTH, "% ")
        for formula in each.latex():  # broken at spaces alone: marks belong to what they stand behind
            lines += ["\\[", *wrap(formula, width or WIDTH, break_long_words=False, break_on_hyphens=False), "\\]"]
        for letter, (value, meaning) in each.legend.items():
            lines += fill(f"% {letter} = {value_text(value, '')}: {meaning}", width or WIDTH, "%   ")
    return "\n".join(lines)


def _figure(each: Explanation, short: Folded, room: int | None, engine: str | None) -> Iterator[str]:
    """The lines of one figure; `room`: columns of the terminal; None: there is none, and sentences are whole lines."""
    width = room or WIDTH
    yield from fill(f"{told(f'{each.quantity}{under(engine)}')}: {told(each.what)}", room, "  ")
    values = {name: value for name, _, _, value in each.where}
    inside = {name: (letters, values[name]) for name, (letters, _) in short.formulas.items() if name in values}
    parts = each.parts.get(each.quantity) if each.unit == "s" else None
    if parts:
        yield from fill(f"  = {value_text(each.value, each.unit)}: {told('the sum of')}", width, "      ")
        yield from _tree(_large(parts) if short.values else parts, inside, width, "    ")
    else:
        letters, sizes = short.formulas[each.quantity]
        if letters != "0":
            yield from fill(f"  = {letters}", width, "      ")
        if sizes != letters:
            yield from fill(f"  = {sizes}", width, "      ")
        yield told(f"  = {value_text(each.value, each.unit)}")
    shown: set[str] = {name for part in parts or () for name in _inside(part, inside)}
    for name, (letters, value) in inside.items():
        if name in shown:
            continue
        branches = each.parts.get(name)
        if branches:
            head = f"    {told('with')} {name} = {value_text(value, 's')}: {told('the sum of')}"
            yield from fill(head, width, "        ")
            yield from _tree(_large(branches) if short.values else branches, inside, width, "        ")
            shown |= {inner for part in branches for inner in _inside(part, inside)}
        else:
            plain = value_text(value, "")
            formula = letters if letters == plain else f"{letters} = {plain}"
            yield from fill(f"    {told('with')} {name} = {formula}", width, "        ")
    if short.values or short.left_out:
        yield from fill(told(f"  {_left_out(short)}"), room, "    ")
    yield from fill(f"  {told('source')}: {each.source}", room, "    ")
    for entry in each.published:
        yield from fill(told(f"  {entry.document} {entry.printed}: {entry.why}"), room, "    ")


def _left_out(short: Folded) -> str:
    """What is folded, and where all of it is."""
    nothing = f"; products without effect that are left out: {short.left_out:,}" if short.left_out else ""
    return f"‹…›: the value of a longer formula{nothing}; --json has all of it."


def _inside(part: Part, inside: Iterable[str]) -> list[str]:
    """Intermediate results of the operator that a part is of."""
    return [name for name in inside if name in part.named]


def _large(parts: list[Part]) -> list[Part]:
    """Parts of a long sum, those that are a small share of it together."""
    total = sum(part.value for part in parts)
    small = [part for part in parts if part.value < SHARE * total]
    if len(small) < 2:
        return parts
    names = ", ".join(told(part.name) for part in small)
    return [*(part for part in parts if part not in small), Part(SMALLER, names, sum(part.value for part in small))]


def _tree(parts: list[Part], inside: dict[str, tuple[str, Any]], width: int, indent: str) -> Iterator[str]:
    """A line for each part with its seconds, and below it its formula and what that names."""
    names = [told(part.name) for part in parts]
    room = max(map(wide, names))
    for number, (part, name) in enumerate(zip(parts, names, strict=True), start=1):
        at_end = number == len(parts)
        stem = f"{indent}{FREE if at_end else TRUNK}"
        yield f"{indent}{LAST if at_end else BRANCH}{name}{' ' * (room - wide(name))}  {seconds(part.value):>9}"
        of = part.letters if part.name == SMALLER else f"= {part.letters}"
        yield from fill(f"{stem}  {of}", width, f"{stem}      ")
        for inner in _inside(part, inside):
            letters, value = inside[inner]
            yield from fill(f"{stem}    {inner} = {letters} = {value_text(value, '')}", width, f"{stem}        ")


def _rounded(value: Any, unit: str) -> str:
    """A value as a list shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "s":
        return seconds(value)
    if unit in ("B", "FLOP"):
        return scaled(value, unit)
    return f"{f'{int(value):,}' if float(value).is_integer() else significant(value)} {unit}".rstrip()


def value_text(value: Any, unit: str) -> str:
    """A value in full, with its unit and rounded where it is long."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "s":
        return f"{value:.6g} s ({seconds(value)})" if value else seconds(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    rounded = f" ({scaled(value, unit)})" if unit in ("B", "FLOP") and value >= 1000 else ""
    return f"{_exact(value)} {unit}".rstrip() + rounded


def _exact(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return significant(value, 6) if abs(value) >= SMALL else f"{value:.6g}"
