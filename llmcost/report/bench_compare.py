"""Two profiles of one GPU as a table: what became faster or slower by more than the timings scatter."""

from __future__ import annotations

from llmcost.bench.differences import Difference
from llmcost.bench.rates import RowRates
from llmcost.ground.units import significant
from llmcost.report.bench_rows import shape
from llmcost.report.tables import Table
from llmcost.specs.profile import Profile, StepRow

COLUMNS = ("measurement", "old_us", "new_us", "ratio", "clear")
CONTEXT = ("torch", "cuda", "cudnn", "triton")


def _what(new: RowRates | StepRow) -> str:
    """What was measured, in words."""
    if isinstance(new, StepRow):
        return f"{new.model} {new.phase}, batch {new.batch:,}, {new.tokens:,} tokens"
    row = new.row
    return f"{row.suite}: {row.name} {shape(new)} {row.dtype}{', backward' if row.backward else ''}"


def flat_differences(found: list[Difference]) -> list[tuple[object, ...]]:
    """Every measurement that two profiles have for CSV and JSON, with the figures of COLUMNS in their order."""
    return [(_what(each.new), each.old_us, each.new_us, each.ratio, each.clear) for each in found]


def compare_table(old: Profile, new: Profile, found: list[Difference], threshold: float) -> Table:
    """The table of what differs clearly by more than a share (`threshold`), from slowest to fastest.

    Notes say how many measurements there are, by how much half of them differ, and what else was not the same.
    """
    moved = sorted(
        (each for each in found if each.clear and abs(each.ratio - 1) > threshold), key=lambda each: -each.ratio
    )
    rows = [
        (
            _what(each.new),
            significant(each.old_us),
            significant(each.new_us),
            f"{each.ratio - 1:+.1%}",
            "SLOWER" if each.ratio > 1 else "faster",
        )
        for each in moved
    ]
    sizes = sorted(abs(each.ratio - 1) for each in found)
    half = f"half differ by at most {sizes[len(sizes) // 2]:.1%}"
    notes = [f"{len(found)} measurements in both; {half}, {len(moved)} clearly by more than {threshold:.1%}."]
    for key in CONTEXT:
        then, now = old.environment.get(key), new.environment.get(key)
        if then != now:
            notes.append(f"Not the same software: {key} {then} then, {now} now.")
    then, now = old.device.get("power_limit_w"), new.device.get("power_limit_w")
    if then != now:
        notes.append(f"Not the same power limit: {then} W then, {now} W now.")
    title = f"{old.name}, {old.created} → {new.created}"
    return Table(title, ("measurement", "then, µs", "now, µs", "", ""), "lrrrl", rows, tuple(notes))
