"""What a training program's allocator holds over what it hands out, fitted to logs that tell their memory.

torchtitan and Megatron-LM log the most that the allocator reserved (torch.cuda.max_memory_reserved). One number is
fitted: that over what is counted to be allocated, the geometric mean over the runs and the base, which counts as one
more run. Each run is left out once and predicted by the others; a number that does not lessen that error is not taken.
One run alone cannot tell: it moves the base half of the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from statistics import fmean, median
from typing import NamedTuple

from llmcost.accuracy.calibrate import Errors, short
from llmcost.accuracy.training_runs import TrainingRun
from llmcost.ground.algebra import largest
from llmcost.training.memory import reserved_share
from llmcost.training.step import evaluate_step

LEAST, MOST = 0.5, 2  # of the number; beyond, the log is of another layout


class MemoryCalibration(NamedTuple):
    """What came of it, for the runs whose logs tell their memory, in bytes of the fullest GPU.

    `share`: what is held over what is allocated, None where the base's is kept. `before`, `after`: by the base, and by
    a fit to the others.
    """

    runs: tuple[TrainingRun, ...]
    base: float
    share: float | None
    before: tuple[float, ...]
    after: tuple[float, ...]

    def measured(self) -> tuple[float, ...]:
        """Bytes that each log says one GPU held."""
        return tuple(run.log.memory_bytes or 0 for run in self.runs)

    def errors(self, *, after: bool) -> Errors:
        """|predicted / measured - 1| of the memory."""
        found = self.after if after else self.before
        off = [abs(bytes_ / held - 1) for bytes_, held in zip(found, self.measured(), strict=True)]
        return Errors(len(off), median(off), fmean(off))


def calibrate_memory(runs: Sequence[TrainingRun]) -> MemoryCalibration | None:
    """Fit the number to the runs whose logs tell their memory; None where no log does."""
    told = tuple(run for run in runs if run.log.memory_bytes)
    held = [run.log.memory_bytes for run in told if run.log.memory_bytes]
    if not told:
        return None
    allocated = [_allocated(run) for run in told]
    base = float(reserved_share(told[0].at.recipe))
    ratios = [log(each / bytes_) for each, bytes_ in zip(held, allocated, strict=True)]

    def fitted(places: Sequence[int]) -> float:
        return exp(fmean([log(base), *(ratios[place] for place in places)]))

    places = range(len(told))
    shares = [fitted([other for other in places if other != place or len(told) == 1]) for place in places]
    before = tuple(base * bytes_ for bytes_ in allocated)
    after = tuple(share * bytes_ for share, bytes_ in zip(shares, allocated, strict=True))
    found = MemoryCalibration(told, base, short(fitted(places)), before, after)
    lessens = (found.errors(after=True).mean or 0) < (found.errors(after=False).mean or 0)
    if lessens and LEAST <= fitted(places) <= MOST:
        return found
    return found._replace(share=None, after=before)


def _allocated(run: TrainingRun) -> float:
    """Bytes that are counted to be handed out on the fullest GPU, of each stream the most."""
    return float(largest([stage.pooled() for stage in evaluate_step(run.at).stages()]))
