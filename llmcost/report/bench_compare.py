"""Two profiles of one GPU side by side: what became faster or slower by more than the timings scatter."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.units import significant
from llmcost.report.bench_rows import shape
from llmcost.report.tables import Table
from llmcost.specs.profile import Profile, Row, StepRow

SCATTER = 0.005  # a change by less is none
CONTEXT = ("torch", "cuda", "cudnn", "triton")


class Change(NamedTuple):
    """One row in both: new over old time, and whether that is more than both rows scatter."""

    what: str
    old_us: float
    new_us: float
    clear: bool

    @property
    def ratio(self) -> float:
        """New time over old: above 1 is slower."""
        return self.new_us / self.old_us


def changes(old: Profile, new: Profile) -> list[Change]:
    """Every row that both have. Raises InputError for profiles of two GPUs, or with nothing in common."""
    if (old.hardware, old.device["name"]) != (new.hardware, new.device["name"]):
        raise InputError(f"a profile of {old.device['name']} cannot be compared with one of {new.device['name']}")
    before = {row.key(): row for row in old.measured() if row.median_us}
    found = [_change(before[row.key()], row) for row in new.measured() if row.median_us and row.key() in before]
    if not found:
        raise InputError("the two profiles have no measurement in common")
    return found


def _change(old: Row | StepRow, new: Row | StepRow) -> Change:
    before, after = old.median_us or 0.0, new.median_us or 0.0
    apart = (new.p05_us or 0) > (old.p95_us or 0) or (new.p95_us or 0) < (old.p05_us or 0)
    if isinstance(new, StepRow):
        what = f"{new.model} {new.phase}, batch {new.batch:,}, {new.tokens:,} tokens"
    else:
        what = f"{new.suite}: {new.name} {shape(new)} {new.dtype}{', backward' if new.backward else ''}"
    return Change(what, before, after, apart and abs(after / before - 1) > SCATTER)


def slower(found: list[Change], threshold: float) -> list[Change]:
    """Those that are slower by more than the threshold, and clearly so."""
    return [change for change in found if change.clear and change.ratio > 1 + threshold]


def compare_table(old: Profile, new: Profile, found: list[Change], threshold: float) -> Table:
    """What moved, the largest first, and the middle of all."""
    moved = sorted(
        (change for change in found if change.clear and abs(change.ratio - 1) > threshold),
        key=lambda change: -change.ratio,
    )
    rows = [
        (
            c.what,
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
