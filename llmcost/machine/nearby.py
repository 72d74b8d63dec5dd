"""What runs of one's own took over what an engine's numbers say, at loads near theirs.

Numbers that were fitted to runs (`llmcost calibrate`) leave a rest: a run took some per cent more or less than they
say. Loads that are alike have alike rests. So the engine's file keeps the runs, and a time at another load is
multiplied by exp(Σ w·k). w is the weight that was fitted to a run, and k its closeness to the load: 1 at the run's own
load, 0.6 where one size is four times as large, next to nothing far away, where the numbers alone hold. (This is the
mean of a Gaussian process, also called kriging; accuracy/calibrate_nearby.py fits the weights.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log2
from typing import NamedTuple

from llmcost.ground.algebra import Number, named, of_numbers
from llmcost.specs.engine import NearRun, near_sizes

DOUBLINGS = 2  # of one size, at which closeness has fallen to e^(-1/2)
MOST = 2.0  # the logarithm of a factor is held within this, whatever a file says


class Nearby(NamedTuple):
    """The runs of an engine's file, of `of` with their weights as they count for one model, layout and length."""

    runs: tuple[NearRun, ...]

    def of(self, model: str, weights: str, *sizes: Number) -> Nearby:
        """The runs of a model and a format of its weights, the weight of each times its closeness to some sizes.

        `sizes`: those of `near_sizes`. An output that is not told counts as the run's own.
        """
        asked = near_sizes(*sizes)
        alike = [run for run in self.runs if (run.model, run.weights) == (model, weights)]
        near = [(run, _closeness(run.sizes(), asked)) for run in alike]
        return Nearby(tuple(run._replace(tokens=run.tokens * k, first_token=run.first_token * k) for run, k in near))

    def tokens(self, in_flight: Number) -> Number:
        """Times what the numbers say that a step takes, with so many requests in flight on all ranks."""
        return self._factor("step_of_near_runs", [run.tokens for run in self.runs], in_flight)

    def first_token(self, in_flight: Number) -> Number:
        """The same of the time to the first token."""
        return self._factor("prompt_of_near_runs", [run.first_token for run in self.runs], in_flight)

    def _factor(self, name: str, weights: Sequence[Number], in_flight: Number) -> Number:
        if not self.runs:
            return 1
        return named(name, of_numbers(near_runs, in_flight, *weights, *(run.in_flight for run in self.runs)))


def _closeness(one: Sequence[Number], other: Sequence[Number]) -> Number:
    known = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return of_numbers(closeness, *(a for a, _ in known), *(b for _, b in known))


def closeness(*sizes: float) -> float:
    """How alike two loads are, from 1 for the same down to 0: sizes of the one, then those of the other."""
    half = len(sizes) // 2
    apart = (log2(one / other) / DOUBLINGS for one, other in zip(sizes[:half], sizes[half:], strict=True))
    return exp(-sum(each * each for each in apart) / 2)


def near_runs(in_flight: float, *runs: float) -> float:
    """The factor of a time with so many requests in flight: weights of runs, then how many each had in flight."""
    half = len(runs) // 2
    found = sum(weight * closeness(in_flight, load) for weight, load in zip(runs[:half], runs[half:], strict=True))
    return exp(max(-MOST, min(MOST, found)))
