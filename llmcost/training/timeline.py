"""When each GPU of a pipeline runs which micro-batch: a step of the 1F1B schedule, plain or interleaved, as it unfolds.

Times are those of the step's prediction (step_time.py): the fullest stage takes what a micro-batch takes there, the
others what is left of the way through all of them. With equal stages the last backward pass ends when the prediction
says that the micro-batches and the bubble do; where one is fuller it ends earlier, as its forward passes run while the
others wait, which the prediction leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llmcost.training.breakdown import MicroBatchRow
from llmcost.training.results import Train

ROUNDS = 2  # times as many micro-batches as stages are shown at most, one time with several chunks a stage


class Turn(NamedTuple):
    """One micro-batch on one GPU of a pipeline, in one direction, with one chunk of its layers; seconds."""

    stage: int
    forward: bool
    micro_batch: int
    chunk: int
    start: float
    end: float


def timeline(answer: Train, rows: Sequence[MicroBatchRow]) -> list[Turn]:
    """Turns of the first micro-batches, as if a step had no more; none without a pipeline, or under another schedule.

    `rows`: the operators of a micro-batch, which say how long its two directions are beside each other. What is
    recomputed belongs to the backward pass.
    """
    at, spent = answer.layout, answer.breakdown
    if at.pp == 1 or at.schedule != "1f1b":
        return []
    ahead = sum(row.forward_seconds for row in rows)
    share = ahead / (ahead + sum(row.backward_seconds for row in rows))
    again = spent.recompute / (at.micro_batches * spent.micro_batch)  # share of a micro-batch
    forward = share * (1 - again)
    others = spent.bubble * at.vp / (at.pp - 1)
    times = spent.stages or (spent.micro_batch, *[others] * (at.pp - 1))
    stages = [each / at.vp for each in times]
    return unfold(stages, forward, at.vp, min(at.micro_batches, at.pp * (ROUNDS if at.vp == 1 else 1)))


def unfold(stages: Sequence[float], forward: float, chunks: int, micro_batches: int) -> list[Turn]:
    """Every turn of 1F1B, each as soon as its GPU and what it needs are ready.

    `stages`: seconds of one chunk on each GPU, both directions; `forward`: the share of the forward pass. With several
    chunks the micro-batches are a multiple of the stages.
    """
    last = len(stages) * chunks - 1
    orders = [iter(list(_order(len(stages), stage, chunks, micro_batches))) for stage in range(len(stages))]
    waiting: list[tuple[bool, int, int] | None] = [next(order) for order in orders]
    free = [0.0] * len(stages)
    done: dict[tuple[bool, int, int], float] = {}  # direction, micro-batch, place in the whole pipeline -> when
    turns = []
    while any(waiting):
        for stage, turn in enumerate(waiting):
            if turn is None:
                continue
            ahead, micro_batch, chunk = turn
            place = chunk * len(stages) + stage
            if ahead:
                needs = None if place == 0 else (True, micro_batch, place - 1)
            else:
                needs = (True, micro_batch, place) if place == last else (False, micro_batch, place + 1)
            if needs is not None and needs not in done:
                continue
            start = max(free[stage], 0.0 if needs is None else done[needs])
            free[stage] = done[ahead, micro_batch, place] = start + stages[stage] * (forward if ahead else 1 - forward)
            turns.append(Turn(stage, ahead, micro_batch, chunk, start, free[stage]))
            waiting[stage] = next(orders[stage], None)
    return turns


def _order(stages: int, stage: int, chunks: int, micro_batches: int) -> Iterator[tuple[bool, int, int]]:
    """What a GPU runs one after the other: forward, micro-batch and chunk.

    Forward passes that fill the pipeline come first (parallel/layout.stage_of), then one forward and one backward pass
    in turn, then the backward passes that are left. Interleaved, each chunk runs as many micro-batches as there are
    stages before the next one does (arXiv 2104.04473, section 2.2.2).
    """
    total = micro_batches * chunks
    behind = stages - stage - 1
    first = min(behind if chunks == 1 else 2 * behind + (chunks - 1) * stages, total)

    def turn(ahead: bool, number: int) -> tuple[bool, int, int]:
        if chunks == 1:
            return ahead, number, 0
        chunk = number // stages % chunks
        micro_batch = number // (stages * chunks) * stages + number % stages
        return ahead, micro_batch, chunk if ahead else chunks - 1 - chunk

    yield from (turn(True, number) for number in range(first))
    for number in range(total):
        if first + number < total:
            yield turn(True, first + number)
        yield turn(False, number)
