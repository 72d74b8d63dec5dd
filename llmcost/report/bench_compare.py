"""Two profiles of one GPU side by side: what became faster or slower by more than the timings scatter."""

from __future__ import annotations

from llmcost.bench.differences import Difference
from llmcost.bench.rates import RowRates
from llmcost.ground.units import significant
from llmcost.report.bench_rows import shape
from llmcost.report.tables import Table
from llmcost.specs.profile import Profile, StepRow

CONTEXT = ("torch", "cuda", "cudnn", "triton")


def _what(new: RowRates | StepRow) -> str:
    if isinstance(new, StepRow):
        return f"{new.model} {new.phase}, batch {new.batch:,}, {new.tokens:,} tokens"
    row = new.row
    return f"{row.suite}: {row.name} {shape(new)} {row.dtype}{', backward' if row.backward else ''}"


def compare_table(old: Profile, new: Profile, found: list[Difference], threshold: float) -> Table:
    """What moved, the largest first, and the middle of all."""
    moved = sorted(
        (change for change in found if change.clear and abs(change.ratio - 1) > threshold),
        key=lambda change: -change.ratio,
    )
    rows = [
        (
            _what(c.new),
            significant(c.old_us),
            significant(c.new_us),
            f"{c.ratio - 1:+.1%}",
            "SLOWER" if c.ratio > 1 else "faster",
        )
        for c in moved
    ]
    sizes = sorted(abs(change.ratio - 1) for change in found)
    half = sizes[len(sizes) // 2]
    notes = [
        f"{len(found)} measurements in both; half differ by at most {half:.1%}, {len(moved)} clearly by more than {threshold:.1%}."
    ]
    notes += [
        f"Not the same software: {key} {old.environment.get(key)} then, {new.environment.get(key)} now."
        for key in CONTEXT
        if old.environment.get(key) != new.environment.get(key)
    ]
    if old.device.get("power_limit_w") != new.device.get("power_limit_w"):
        notes.append(
            f"Not the same power limit: {old.device.get('power_limit_w')} W then, {new.device.get('power_limit_w')} W now."
        )
    return Table(
        f"{old.name}, {old.created} → {new.created}",
        ("measurement", "then, µs", "now, µs", "", ""),
        "lrrrl",
        rows,
        tuple(notes),
    )
