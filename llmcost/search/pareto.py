"""What a plan to serve trades: tokens a second of a GPU against those of a user, of every layout and load.

More requests in flight give a GPU more tokens a second and each user fewer. The front has the points that no other one
beats in both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llmcost.parallel.layout import Layout
from llmcost.search.plan_serving import OCTAVES, linked, serve, spreads
from llmcost.search.serving_layouts import ServingQuestion

PER_OCTAVE = 2  # loads tried between one and its double


class Point(NamedTuple):
    """A layout with so many requests in flight on a replica; `front`: no other point is better in both rates.

    `tokens_per_s_per_gpu`: output tokens, over all GPUs, idle ones included. `tokens_per_s_per_user`: 1 / TPOT.
    `allowed`: within the limits on TTFT and TPOT.
    """

    layout: Layout
    concurrency: int
    tokens_per_s_per_gpu: float
    tokens_per_s_per_user: float
    allowed: bool
    front: bool


def points(question: ServingQuestion) -> list[Point]:
    """Every legal layout with every load that has room in memory, the fastest for a user first."""
    layouts = [layout for layout in spreads(question)[0] if linked(question, layout)]
    share = np.unique(np.round(2 ** np.linspace(0, OCTAVES, PER_OCTAVE * OCTAVES + 1)))
    most = question.workload.max_num_seqs
    found = []
    for several in (False, True):  # degrees of 1 are structure
        group = [layout for layout in layouts if (layout.gpus() > 1) is several]
        if not group:
            continue
        served = serve(question, group, np.tile(share, (len(group), 1)))
        room = served.fits.astype(bool) & (share <= (np.inf if most is None else most))
        allowed = (served.ttft_seconds <= (question.ttft or np.inf)) & (
            served.tpot_seconds <= (question.tpot or np.inf)
        )
        for row, column in zip(*np.nonzero(room), strict=True):
            layout = group[row]
            a_gpu = question.gpus // layout.gpus() * float(served.tokens_per_s[row, column]) / question.gpus
            a_user = 1 / float(served.tpot_seconds[row, column])
            load = int(share[column]) * layout.dp
            found.append(Point(layout, load, a_gpu, a_user, bool(allowed[row, column]), front=False))
    found.sort(key=lambda each: (-each.tokens_per_s_per_user, -each.tokens_per_s_per_gpu))
    best = 0.0
    for place, each in enumerate(found):
        if each.tokens_per_s_per_gpu > best:
            best = each.tokens_per_s_per_gpu
            found[place] = each._replace(front=True)
    return found
