"""Two profiles of one GPU: what became faster or slower by more than the timings scatter."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.bench.rates import RowRates, rates_of
from llmcost.ground.errors import InputError
from llmcost.specs.profile import Profile, Row, StepRow

SCATTER = 0.005  # a difference of this share or less is none


class Difference(NamedTuple):
    """One measurement that two profiles have; `clear`: its times differ by more than both scatter."""

    new: RowRates | StepRow
    old_us: float
    new_us: float
    clear: bool

    @property
    def ratio(self) -> float:
        """New time over old: above 1 is slower."""
        return self.new_us / self.old_us


def differences(old: Profile, new: Profile) -> list[Difference]:
    """Every row that two profiles have in common. Raises InputError where there is none, or the GPUs are two."""
    if (old.hardware, old.device["name"]) != (new.hardware, new.device["name"]):
        raise InputError(f"a profile of {old.device['name']} cannot be compared with one of {new.device['name']}")
    before = {row.key(): row for row in old.measured() if row.median_us}
    found = [_difference(before[row.key()], row) for row in new.measured() if row.median_us and row.key() in before]
    if not found:
        raise InputError("the two profiles have no measurement in common")
    return found


def _difference(old: Row | StepRow, new: Row | StepRow) -> Difference:
    before, after = old.median_us or 0.0, new.median_us or 0.0
    apart = (new.p05_us or 0) > (old.p95_us or 0) or (new.p95_us or 0) < (old.p05_us or 0)
    clear = apart and abs(after / before - 1) > SCATTER
    return Difference(new if isinstance(new, StepRow) else rates_of(new), before, after, clear)


def slower(found: list[Difference], threshold: float) -> list[Difference]:
    """The measurements that have become clearly slower, by more than a share of their time (`threshold`)."""
    return [each for each in found if each.clear and each.ratio > 1 + threshold]
