"""The search: every legal layout timed and weighed by the training engine, on arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import Efficiency
from llmcost.model.spec import ModelSpec
from llmcost.parallel.training_layout import Layout, shape_of
from llmcost.search.causes import CAUSES, Lost, cause_of, lost, spent
from llmcost.search.fit import price_per_million_tokens
from llmcost.search.space import Broken, Choices, Column, Space, allowed, space
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.passes import Setup
from llmcost.training.recipe import Recipe
from llmcost.training.step import Step, evaluate

SCHEMA = "llmcost.plan/1"
AT_ONCE = 16_384  # layouts: arrays that stay in a core's cache


class Question(NamedTuple):
    """What is to be planned. `base` has batch, node and structure; `usable`: bytes of a GPU's memory that may be used."""

    model: ModelSpec
    hardware: HardwareSpec
    gpus: int
    seq: int
    base: Layout
    usable: float
    chip: Chip
    efficiency: Efficiency
    recipe: Recipe = Recipe()
    choices: Choices = Choices()
    price: float | None = None  # dollars a GPU-hour


class Candidate(NamedTuple):
    """One layout, and why it is not the best: what it spends more on."""

    layout: Layout
    step_seconds: float
    memory_bytes: float
    cause: str | None


class Cell(NamedTuple):
    """The best of all layouts with so many tensor-parallel GPUs and pipeline stages: seconds where one fits, else missing bytes."""

    tp: int
    pp: int
    step_seconds: float | None
    missing_bytes: float


class Plan(NamedTuple):
    """The best layouts by step time, and what became of all others. `timed`: legal ones; `fit`: those that fit."""

    spreads: int
    illegal: list[Broken]
    timed: int
    fit: int
    best: list[Candidate]
    lost: list[Lost]
    too_large: list[
        Candidate
    ]  # that do not fit: the fastest, if it beats all that do; if none does, the one that needs least too
    grid: list[Cell]


class Timed(NamedTuple):
    """Figures of layouts that share ZeRO's stage and what is recomputed: rows of the space, seconds, bytes; of those that fit, parts."""

    base: Layout
    rows: NDArray[np.intp]
    seconds: Column
    memory: Column
    parts: Column


def plan(question: Question, top: int) -> Plan:
    """The `top` best layouts, ties to the one that needs less memory."""
    shape = shape_of(question.model)
    ways = space(question.base, question.gpus, shape, question.seq, question.choices)
    found = _timed(question, ways)
    if not found:
        return Plan(ways.spreads, ways.illegal, 0, 0, [], [], [], [])
    group = np.repeat(np.arange(len(found)), [len(each.rows) for each in found])
    rows = np.concatenate([each.rows for each in found])
    seconds, memory = (np.concatenate([getattr(each, figure) for each in found]) for figure in ("seconds", "memory"))
    parts = np.concatenate([each.parts for each in found])
    fits = memory <= question.usable

    def candidate(place: int, cause: str | None = None) -> Candidate:
        layout = ways.single(found[group[place]].base, int(rows[place]))
        return Candidate(layout, float(seconds[place]), float(memory[place]), cause)

    inside, outside = np.flatnonzero(fits), np.flatnonzero(~fits)
    sorting = np.lexsort((memory[inside], seconds[inside]))
    order, parts = inside[sorting], parts[sorting]
    too_large = [candidate(place) for place in _too_large(outside, order, seconds, memory)]
    grid = _grid(
        ways.columns["tp"][rows], ways.columns["pp"][rows], np.where(fits, seconds, np.inf), memory - question.usable
    )
    if not len(order):
        return Plan(ways.spreads, ways.illegal, len(rows), 0, [], [], too_large, grid)
    causes = cause_of(parts, parts[0])
    names = list(CAUSES)
    best = [
        candidate(int(place), names[cause] if rank else None)
        for rank, (place, cause) in enumerate(zip(order[:top], causes, strict=False))
    ]
    others = lost(seconds[order[1:]], causes[1:])
    return Plan(ways.spreads, ways.illegal, len(rows), len(order), best, others, too_large, grid)


def _too_large(outside: NDArray[np.intp], order: NDArray[np.intp], seconds: Column, memory: Column) -> list[int]:
    """Of layouts that do not fit: the fastest where it beats all that do; the smallest where none does."""
    if not len(outside):
        return []
    fastest = int(outside[np.argmin(seconds[outside])])
    smallest = int(outside[np.argmin(memory[outside])])
    if not len(order):
        return [smallest] if smallest == fastest else [smallest, fastest]
    return [fastest] if seconds[fastest] < seconds[order[0]] else []


def _grid(tp: Column, pp: Column, seconds: Column, missing: Column) -> list[Cell]:
    """The best of each tp and pp."""
    pairs, which = np.unique(np.stack([tp, pp]), axis=1, return_inverse=True)
    best, least = np.full(pairs.shape[1], np.inf), np.full(pairs.shape[1], np.inf)
    np.minimum.at(best, which.ravel(), seconds)
    np.minimum.at(least, which.ravel(), missing)
    found = zip(*pairs.tolist(), best.tolist(), least.tolist(), strict=True)
    return [Cell(int(t), int(p), None if step == np.inf else step, max(0.0, more)) for t, p, step, more in found]


def _timed(question: Question, ways: Space) -> list[Timed]:
    shape, found = shape_of(question.model), []
    for zero in question.choices.zero:
        divided = question.base._replace(zero=zero)
        rows = np.flatnonzero(allowed(ways.layout(divided, slice(None)), shape, question.seq))
        for recompute in question.choices.recompute if len(rows) else ():
            base = divided._replace(recompute=recompute)
            pieces = [
                _figures(question, ways.layout(base, rows[at : at + AT_ONCE])) for at in range(0, len(rows), AT_ONCE)
            ]
            found.append(Timed(base, rows, *[np.concatenate(column) for column in zip(*pieces, strict=True)]))
    return found


def price_of(question: Question, step_seconds: float) -> float:
    """Dollars for a million tokens of training, at a price."""
    assert question.price is not None
    tokens_per_s = question.base.global_batch * question.seq / step_seconds
    return float(price_per_million_tokens(question.price * question.gpus, tokens_per_s))


def step_of(question: Question, layout: Layout) -> Step:
    """The training engine's own answer, of one layout or of arrays of them."""
    return evaluate(Setup(question.model, layout, question.recipe, question.seq, question.chip, question.efficiency))


def _figures(question: Question, layout: Layout) -> tuple[Column, Column, Column]:
    """Seconds, bytes, and of layouts that fit the parts of the time, as columns."""
    step = step_of(question, layout)
    seconds = np.asarray(step.seconds.total, float)
    memory = np.broadcast_to(step.memory_bytes(), seconds.shape)
    parts = np.stack(
        [np.broadcast_to(part, seconds.shape)[memory <= question.usable] for part in spent(step.seconds)], axis=1
    )
    return seconds, memory, parts.astype(np.float32)
