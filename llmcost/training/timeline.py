"""When each GPU of a pipeline runs which micro-batch: a step of each schedule as it unfolds.

Times are those of the step's prediction (step_time.py): the fullest stage takes what a micro-batch takes there, the
others what is left of the way through all of them. With equal stages the last backward pass ends when the prediction
says that the micro-batches and the bubble do; where one is fuller it ends earlier, as its forward passes run while the
others wait, which the prediction leaves out. Zero bubble and DualPipe unfold as each GPU takes what is ready; papers
find their orders by hand or by search, and this meets their bubbles, which the prediction has, or stays near them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from llmcost.training.breakdown import MicroBatchRow
from llmcost.training.results import Train

ROUNDS = 2  # times as many micro-batches as stages are shown at most, one time with several chunks a stage


class Turn(NamedTuple):
    """One micro-batch on one GPU of a pipeline, in one direction, with one chunk of its layers; seconds.

    `weights`: gradients of weights alone, where a schedule runs them apart from the rest of the backward pass.
    """

    stage: int
    forward: bool
    micro_batch: int
    chunk: int
    start: float
    end: float
    weights: bool = False


def timeline(answer: Train, rows: Sequence[MicroBatchRow]) -> list[Turn]:
    """Turns of the first micro-batches, as if a step had no more; none without a pipeline.

    `rows`: the operators of a micro-batch, which say how long its two directions are beside each other. What is
    recomputed belongs to the backward pass.
    """
    at, spent = answer.layout, answer.breakdown
    if at.pp == 1:
        return []
    ahead = sum(row.forward_seconds for row in rows)
    share = ahead / (ahead + sum(row.backward_seconds for row in rows))
    again = spent.recompute / (at.micro_batches * spent.micro_batch)  # share of a micro-batch
    forward = share * (1 - again)
    if at.schedule != "1f1b":
        weight = sum(row.weight_seconds for row in rows) / ahead * forward  # a product's backward pass is two of it
        shares = (forward, 1 - forward - weight, weight)
        fullest, both = spent.micro_batch, at.schedule == "dualpipe"
        left = 1 - 2 * weight  # of the plain bubble (step_time.bubble_seconds)
        others = fullest if both else spent.bubble / left / (at.pp - 1)
        stages = [fullest, *[others] * (at.pp - 1)]
        return unfold_ready(stages, shares, min(at.micro_batches, ROUNDS * at.pp), both=both)
    others = spent.bubble * at.vp / (at.pp - 1)
    times = spent.stages or (spent.micro_batch, *[others] * (at.pp - 1))
    stages = [each / at.vp for each in times]
    return unfold(stages, forward, at.vp, min(at.micro_batches, at.pp * (ROUNDS if at.vp == 1 else 1)))


class _Job(NamedTuple):
    """What is ready to run; the least is taken first: backward passes, forward passes, then gradients of weights."""

    kind: int
    micro_batch: int
    place: int
    way: int


_BACKWARD, _FORWARD, _WEIGHTS = range(3)


class _Unfolding:
    """GPUs of a pipeline that take what is ready. `shares` of a stage's seconds: forward, backward, weights."""

    def __init__(self, stages: Sequence[float], shares: tuple[float, float, float], ways: int) -> None:
        self.stages, self.ways = stages, ways
        self.shares = (shares[1], shares[0], shares[2])  # by kind
        self.ready: list[list[_Job]] = [[] for _ in stages]
        self.held = [[0] * ways for _ in stages]  # micro-batches in flight, by way
        self.running: list[tuple[float, int, _Job]] = []
        self.turns: list[Turn] = []

    def gpu(self, job: _Job) -> int:
        """Micro-batches of the second way go through the GPUs from the other end."""
        return job.place if job.way == 0 else len(self.stages) - 1 - job.place

    def add(self, job: _Job) -> None:
        heappush(self.ready[self.gpu(job)], job)

    def _may(self, job: _Job) -> bool:
        """Whether a forward pass keeps activations within those of 1F1B: p - i; with two ways half of them and one."""
        behind = len(self.stages) - job.place
        most = behind if self.ways == 1 else (behind + 1) // 2 + 1
        return job.kind != _FORWARD or self.held[self.gpu(job)][job.way] < most

    def start(self, gpu: int, now: float) -> bool:
        """Start the first job of a GPU that may run; False where there is none."""
        job = min(filter(self._may, self.ready[gpu]), default=None)
        if job is None:
            return False
        self.ready[gpu].remove(job)
        heapify(self.ready[gpu])
        self.held[gpu][job.way] += job.kind == _FORWARD
        end = now + self.stages[gpu] * self.shares[job.kind]
        heappush(self.running, (end, gpu, job))
        number = job.micro_batch * self.ways + job.way
        self.turns.append(Turn(gpu, job.kind == _FORWARD, number, job.way, now, end, job.kind == _WEIGHTS))
        return True

    def end(self, gpu: int, job: _Job) -> None:
        """What a job that has ended makes ready."""
        if job.kind == _FORWARD:
            at_end = job.place == len(self.stages) - 1
            self.add(job._replace(kind=_BACKWARD) if at_end else job._replace(place=job.place + 1))
        elif job.kind == _BACKWARD:
            self.held[gpu][job.way] -= 1
            self.add(job._replace(kind=_WEIGHTS))
            if job.place:
                self.add(job._replace(place=job.place - 1))


def unfold_ready(
    stages: Sequence[float], shares: tuple[float, float, float], micro_batches: int, *, both: bool
) -> list[Turn]:
    """Every turn where each GPU takes what is ready: backward passes first, gradients of weights where it would wait.

    `both`: micro-batches enter from both ends, each GPU having a stage of either way (DualPipe).
    """
    ways = 2 if both else 1
    unfolding, idle = _Unfolding(stages, shares, ways), set(range(len(stages)))
    for number in range(micro_batches):
        unfolding.add(_Job(_FORWARD, number // ways, 0, number % ways))
    now = 0.0
    while True:
        idle -= {gpu for gpu in sorted(idle) if unfolding.start(gpu, now)}
        if not unfolding.running:
            return unfolding.turns
        now = unfolding.running[0][0]
        while unfolding.running and unfolding.running[0][0] <= now * (1 + 1e-12):
            _, gpu, job = heappop(unfolding.running)
            idle.add(gpu)
            unfolding.end(gpu, job)


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
