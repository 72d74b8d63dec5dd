"""What `llmcost explain --plot` draws: a figure beside others of its kind, and how it grows with the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmcost.formulas.quantities import Quantity
from llmcost.formulas.serving import Explanation
from llmcost.ground.units import significant
from llmcost.report.charts import Bars, Line, Panel

BASES = ("textbook", "textbook_recompute", "limit", "expected")  # parts of paths: figures of the same on other grounds
BESIDE = ("memory.weights_bytes", "memory.usable_bytes")  # what bytes that have no others of their kind stand beside
MOST_PANELS = 4
SEEN = 0.01  # of the longest bar: a bar that is shorter is not seen
PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
POWERS = {"k": "³", "M": "⁶", "G": "⁹", "T": "¹²", "P": "¹⁵", "E": "¹⁸"}
PREFIXED = ("B", "FLOP")  # units that take a prefix


class Known(NamedTuple):
    """The figures of an answer by their paths, and what each is.

    `curve`: of the only one that is asked about, contexts and values, the answer's own last.
    """

    values: Mapping[str, Any]
    quantities: Mapping[str, Quantity]
    curve: Sequence[tuple[int, float]] = ()


def explanation_panels(asked: Sequence[Explanation], known: Known) -> list[Panel]:
    """A panel for each kind of figure that is asked about, the asked ones marked; of one alone also its curve."""
    families = dict.fromkeys(family for each in asked if (family := _family(each.quantity, known)))  # zeros have none
    marked = {each.quantity for each in asked}
    panels: list[Panel] = []
    for family in families:
        heights = [known.values[path] for path in family]
        others = [bars.heights for panel in panels for bars in panel.bars]
        panel = _bars(family, marked, known)
        if sum(each >= SEEN * max(heights) for each in heights) > 1 and panel.bars[0].heights not in others:
            panels.append(panel)
    if len({value for _, value in known.curve}) > 1:
        panels.append(_curve(asked[0], known.curve))
    return panels[:MOST_PANELS]


def _family(path: str, known: Known) -> tuple[str, ...]:
    """Figures that one is held against: the same on other grounds, or its neighbours of the same unit."""
    unit, parts = known.quantities[path].unit, path.split(".")
    place = next((place for place, part in enumerate(parts) if part in BASES), None)
    if place is not None:
        others = [".".join([*parts[:place], basis, *parts[place + 1 :]]) for basis in BASES]
    else:
        others = [each for each in known.values if each.rpartition(".")[0] == path.rpartition(".")[0]]
        if unit == "B" and parts[0] != "memory" and len([each for each in others if _drawable(each, unit, known)]) < 3:
            others = [*BESIDE[:1], path, *BESIDE[1:]]
    return tuple(each for each in others if _drawable(each, unit, known))


def _drawable(path: str, unit: str, known: Known) -> bool:
    value = known.values.get(path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(value) and known.quantities[path].unit == unit


def _bars(family: Sequence[str], marked: set[str], known: Known) -> Panel:
    unit, scale = _unit(known.quantities[family[0]].unit, max(known.values[path] for path in family))
    heights = {path: known.values[path] / scale for path in family}
    bars = [Bars("others of its kind", 0, [None if path in marked else heights[path] for path in family])]
    bars.append(Bars("asked about", 1, [heights[path] if path in marked else None for path in family]))
    shown = [each for each in bars if any(height is not None for height in each.heights)]
    head = _head(family)
    names = [path.removeprefix(head).removesuffix(_tail(family)) for path in family]
    note = "; ".join(
        f"{path} = {significant(heights[path])}{' ×' * unit.startswith('10')} {unit}"
        for path in family
        if path in marked
    )
    return Panel(_title(family), unit, "", bars=shown, groups=names, note=note, stacked=True, sideways=True)


def _head(family: Sequence[str]) -> str:
    """What all paths begin with, up to a point."""
    heads = {path[: path.find(".") + 1] for path in family}
    if len(heads) > 1 or heads == {""} or len(family) < 2:
        return ""
    head = heads.pop()
    return head + _head([path.removeprefix(head) for path in family])


def _tail(family: Sequence[str]) -> str:
    """What all paths end with, from a point on."""
    tails = {path.partition(".")[2] for path in (each.removeprefix(_head(family)) for each in family)}
    return f".{tails.pop()}" if len(tails) == 1 and tails != {""} else ""


def _title(family: Sequence[str]) -> str:
    return f"{_head(family)}*{_tail(family)}" if _head(family) or _tail(family) else "Bytes"


def _curve(asked: Explanation, points: Sequence[tuple[int, float]]) -> Panel:
    """The figure by the context, the one that is asked about solid."""
    unit, scale = _unit(asked.unit, max(value for _, value in points))
    x, y = [context for context, _ in points], [value / scale for _, value in points]
    solid, notes = [each == x[-1] for each in x], [*[""] * (len(y) - 1), significant(y[-1])]
    line = Line("", 1, x, y, solid, notes=notes)
    return Panel("As the context grows", "context, tokens", unit, [line], log=(False, False), note=asked.quantity)


def _unit(unit: str, largest: float) -> tuple[str, float]:
    """A unit in which the largest figure has few digits, and what it is of the plain one."""
    if unit == "s":
        return next(((name, scale) for name, scale in (("s", 1), ("ms", 1e-3)) if largest >= scale), ("µs", 1e-6))
    scale, prefix = next(((scale, prefix) for scale, prefix in PREFIXES if largest >= scale), (1.0, ""))
    if unit in PREFIXED:
        return prefix + unit, scale
    if not prefix or largest < 1e5:
        return unit, 1.0
    return f"10{POWERS[prefix]} {unit}", scale
