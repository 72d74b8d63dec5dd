"""Figures as text in human units: one by its path in the JSON, a rate, a price, the degrees of a layout."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from llmcost.formulas.quantities import QUANTITIES
from llmcost.ground.units import amount, counted, scaled, seconds, significant
from llmcost.machine.efficiency import Band
from llmcost.serving.results import Hardware

UNKNOWN = "not known"


def cell(path: str, value: Any) -> str:
    """A figure as text: `19.3 GFLOP`, `8.03 B`, `1.92 s`; its path tells the unit. What is None is not known."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    unit = QUANTITIES[path].unit if path in QUANTITIES else ""
    if unit == "s":
        return seconds(value)
    if unit in ("B", "FLOP"):
        return scaled(value, unit)
    if unit == "parameters":
        return amount(value)
    if path.endswith(("_share_of_limit", ".error")):
        return f"{value:.0%}"
    return f"{value:,}" if isinstance(value, int) else significant(value)


def off_by(band: Band) -> str:
    """The mean error of a kind of figures, where enough were published."""
    return UNKNOWN if band.mean_error is None else f"{band.mean_error:.0%}"


def band_in_words(band: Band) -> str:
    """How far off figures of this kind were, and how many there are; or that there are too few."""
    if band.mean_error is not None:
        median = "" if band.median_error is None else f", {band.median_error:.0%} in the median"
        sources = "one source" if band.sources == 1 else f"{band.sources:,} sources"
        return f"{band.mean_error:.0%} on average{median}" + f", {counted(band.figures, 'figure')} of {sources}" * bool(
            band.figures
        )
    if band.figures:
        return f"{UNKNOWN}: {_counted(band.figures)} too few to say"
    return f"{UNKNOWN}: no such figure was published"


def _counted(figures: int) -> str:
    return "one figure is" if figures == 1 else f"{figures:,} figures are"


def degrees_of(layout: Any, names: Iterable[str]) -> str:
    """Degrees of parallelism above 1, by these names of fields: `tp 8, pp 2`; "" where there is none."""
    return ", ".join(f"{name} {getattr(layout, name)}" for name in names if getattr(layout, name) > 1)


def context_of(hardware: Hardware | None) -> str:
    """What the program's own memory on a GPU is called: CUDA is NVIDIA's."""
    return "CUDA context" if hardware is not None and hardware.vendor == "NVIDIA" else "the runtime's context"


def of_tdp(basis: str, *shares: float) -> str:
    """What GPUs draw, and what that rests on: `at 54% of TDP: ...`, or from the least share to the largest."""
    least, most = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return f"at {least if least == most else f'{least} to {most}'} of TDP: {basis}"


def draws(known: Iterable[tuple[str, str, float]]) -> list[str]:
    """A line for each basis: what GPUs draw of their TDP, and their names. known: of each GPU basis, name and share."""
    kinds: dict[str, dict[str, list[float]]] = {}
    for basis, name, share in known:
        kinds.setdefault(basis, {}).setdefault(name, []).append(share)
    return [
        f"Joules {of_tdp(basis, *chain.from_iterable(of.values()))}: {', '.join(of)}." for basis, of in kinds.items()
    ]
