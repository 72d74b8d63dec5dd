"""Explanations as a person reads them."""

from __future__ import annotations

from typing import Any

from llmcost.formulas.explanations import Explanations
from llmcost.formulas.quantities import QUANTITIES
from llmcost.ground.units import scaled, seconds, significant

SMALL = 0.01  # below it, digits after the point would be too many


def explanation_text(found: Explanations) -> str:
    """Formula, the same with sizes, value, source and errata of each figure; the letters once at the end."""
    lines: list[str] = []
    legend: dict[str, tuple[Any, str]] = {}
    for each in found.explanations:
        legend |= each.legend
        lines += [f"{each.quantity}: {each.what}", f"  = {each.letters}"]
        if each.sizes != each.letters:
            lines.append(f"  = {each.sizes}")
        lines.append(f"  = {_value(each.value, each.unit)}")
        lines += [
            f"    with {name} = {letters} = {_value(value, '')}"
            for name, letters, _, value in each.where
            if name not in QUANTITIES
        ]
        lines.append(f"  source: {each.source}")
        lines += [f"  {entry.document} {entry.printed}: {entry.why}" for entry in each.published]
        lines.append("")
    if not legend:
        return "\n".join(lines[:-1])
    lines.append("where")
    lines += [f"  {letter} = {_value(value, '')}: {meaning}" for letter, (value, meaning) in legend.items()]
    return "\n".join(lines)


def _value(value: Any, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "s":
        return f"{value:.6g} s ({seconds(value)})"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    rounded = f" ({scaled(value, unit)})" if unit in ("B", "FLOP") and value >= 1000 else ""
    return f"{_exact(value)} {unit}".rstrip() + rounded


def _exact(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return significant(value, 6) if abs(value) >= SMALL else f"{value:.6g}"
