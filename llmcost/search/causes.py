"""Why a layout loses: what it spends more on than the best one does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmcost.ground.algebra import Number
from llmcost.search.space import Column
from llmcost.training.step_time import StepSeconds

CAUSES = {
    "kernels": "slower kernels, or layers that do not divide evenly",
    "recompute": "recomputation",
    "bubble": "the pipeline's bubble",
    "tensor": "communication of tensor parallelism",
    "context": "communication of context parallelism",
    "expert": "communication of experts",
    "pipeline": "sends between stages",
    "data": "communication of gradients and weights",
    "optimizer": "the optimizer's update",
}
"""Parts of a step, and how they are called as a reason."""


class Lost(NamedTuple):
    """Layouts that lose to the best one for the same reason. Seconds are of a step."""

    cause: str
    layouts: int
    fastest_seconds: float
    median_seconds: float


def spent(seconds: StepSeconds) -> list[Number]:
    """A step's time in the order of CAUSES; the parts add up to it."""
    exposed = seconds.exposed
    shown = (exposed.tensor, exposed.context, exposed.expert, exposed.pipeline, exposed.data)
    return [
        seconds.compute + seconds.memory + seconds.host,
        seconds.recompute,
        seconds.bubble,
        *shown,
        seconds.optimizer,
    ]


def cause_of(parts: Column, best: Column) -> NDArray[np.intp]:
    """For each row of `parts`, the place in CAUSES of what it spends most more on than `best`."""
    return np.asarray(np.argmax(parts - best, axis=1))


def lost(seconds: Column, causes: NDArray[np.intp]) -> list[Lost]:
    """All layouts but the best, by cause, the most frequent first."""
    found = []
    for place, cause in enumerate(CAUSES):
        those = seconds[causes == place]
        if len(those):
            found.append(Lost(cause, len(those), float(those.min()), float(np.median(those))))
    return sorted(found, key=lambda each: -each.layouts)
