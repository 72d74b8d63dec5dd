"""The best layouts of a plan to serve as `estimate` answers them: simulated where the formula of their mix is rough.

Layouts are found and ranked by the formula. Of the first `LEADERS`, those for which it is rough run in the simulator,
the best ones first and `RUNS` of them at most, with fewer requests in flight where so many miss a limit there. By these
figures the leaders are ranked again.
"""

from __future__ import annotations

from math import floor
from typing import NamedTuple

from llmcost.search.plan_serving import ServingPlan
from llmcost.search.prices import price_per_million_tokens
from llmcost.search.serving_layouts import ServingCandidate, ServingQuestion, workload_of_candidate
from llmcost.serving.estimate import estimate
from llmcost.simulation.steady import rough, steady

LEADERS = 10  # layouts that are ranked again, as many as are listed unless others are asked for
RUNS = 3  # layouts that are simulated
TRIES = 4  # runs of a layout, a second each at most, with ever fewer in flight until the limits are kept
CHECKED = 100  # layouts of which it is told whether the formula is rough: each takes 13 ms


class _Row(NamedTuple):
    """A layout, and whether the formula is rough for its mix in a way that a run can mend."""

    candidate: ServingCandidate
    may_run: bool


def with_runs(found: ServingPlan, top: int) -> ServingPlan:
    """The `top` best layouts of a plan that has more of them, the first ones simulated where the formula is rough."""
    asked = found.question
    rows = [_checked(asked, each) for each in found.best[:LEADERS]]
    for _ in range(RUNS):
        waiting = [place for place, row in enumerate(rows) if row.may_run]
        if not waiting:
            break
        rows[waiting[0]] = _Row(_simulated(asked, rows[waiting[0]].candidate), may_run=False)
        rows.sort(key=lambda row: _rank(asked, row.candidate))
    leaders = [row.candidate for row in rows]
    others = [_checked(asked, each).candidate for each in found.best[LEADERS : min(top, CHECKED)]]
    best = [*leaders, *others, *found.best[max(LEADERS, CHECKED) :]]
    return found._replace(best=best[:top])


def _rank(question: ServingQuestion, each: ServingCandidate) -> tuple[bool, float, int]:
    """What is sorted by: those within the limits first, then the most tokens, then the fewest GPUs."""
    return question.within(each) < 1, -each.tokens_per_s_per_gpu, int(each.layout.gpus())


def _checked(question: ServingQuestion, each: ServingCandidate) -> _Row:
    """A layout with the reason why the formula of its mix is rough, if it is."""
    w = workload_of_candidate(question, each)
    found = rough(estimate(question.model, question.hardware, w), w)
    if found is None:
        return _Row(each, may_run=False)
    return _Row(each._replace(rough=found.because), may_run=found.requests is not None)


def _simulated(question: ServingQuestion, each: ServingCandidate) -> ServingCandidate:
    """A layout with the figures of a run of its mix; with fewer in flight where so many miss a limit there."""
    for _ in range(TRIES):
        run = _run(question, each)
        share = question.within(run)
        fewer = floor(each.concurrency * share / each.layout.dp) * each.layout.dp
        if share >= 1 or not fewer:
            break
        each = each._replace(concurrency=fewer)
    return run


def _run(question: ServingQuestion, each: ServingCandidate) -> ServingCandidate:
    """A layout with the figures that `estimate` gives of its mix: by a run, or by the formula where that holds."""
    found = steady(question.model, question.hardware, workload_of_candidate(question, each)).serving
    assert found is not None
    servers = 1 if each.prefill_gpus is not None else each.replicas  # prompts apart: one deployment of all GPUs
    a_gpu = servers * float(found.expected.output_tokens_per_s) / question.gpus
    joules = each.joules_per_million_tokens
    return each._replace(
        tokens_per_s_per_gpu=a_gpu,
        ttft_seconds=found.expected.ttft_seconds,
        tpot_seconds=found.expected.tpot_seconds,
        rough=found.simulated and found.simulated.because,
        simulated_requests=found.simulated and found.simulated.requests,
        price_per_million_tokens=price_per_million_tokens(question.price, a_gpu),
        joules_per_million_tokens=None if joules is None else joules * each.tokens_per_s_per_gpu / a_gpu,
    )
