"""The search: every legal layout timed and weighed by the training engine, on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmcost.ground.html import html_table
from llmcost.ground.units import seconds
from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import Efficiency
from llmcost.model.spec import ModelSpec
from llmcost.model.training_kernels import Schedule
from llmcost.parallel.layout import Layout
from llmcost.parallel.rules import shape_of
from llmcost.search.causes import CAUSES, Lost, cause_of, lost, spent
from llmcost.search.prices import price_per_million_tokens
from llmcost.search.space import Broken, Choices, Column, Space, allowed, degrees_in_words, space
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.passes import ALL_DIVIDED, Divided, Setup
from llmcost.training.recipe import Overlap, Recipe
from llmcost.training.step import Step, evaluate_step

SCHEMA = "llmcost.plan/1"
AXES = ("tp", "pp", "vp", "cp", "ep", "dp", "zero", "micro_batch", "recompute")
AT_ONCE = 16_384  # layouts: arrays that stay in a core's cache


class TrainingQuestion(NamedTuple):
    """What is to be planned.

    `seq`: tokens of a sequence. `base`: the layout with all that is no axis: batch, node and structure. `usable`: bytes
    of a GPU's memory that may be used.
    """

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
    divided: Divided | None = None  # of layouts with ZeRO-3, if they have another engine
    programs: tuple[str, ...] = ()  # fields of the recipe that are searched too
    program: Mapping[str, Any] = {}  # what was asked of each of these
    others: tuple[TrainingQuestion, ...] = ()  # the same question with other values of these

    def schedules(self) -> tuple[Schedule, ...]:
        """The schedules of pipelines that are compared: those asked for, or the engine's."""
        return self.choices.schedule or (self.base.schedule,)

    def axes(self) -> tuple[str, ...]:
        """What layouts differ in."""
        return (*AXES, *("schedule",) * (len(self.schedules()) > 1), *self.programs)

    def recipe_at(self, layout: Layout) -> Recipe:
        """How a layout computes."""
        return self.recipe if self.divided is None or layout.zero < ALL_DIVIDED else self.divided.recipe


class TrainingCandidate(NamedTuple):
    """One layout, and why it is not the best (`cause`): what it spends more on.

    `memory_bytes`: of the fullest GPU. `excess_bytes`: what it needs above what a GPU has, below 0 where it fits.
    """

    layout: Layout
    step_seconds: float
    tokens_per_s_per_gpu: float
    mfu: float
    memory_bytes: float
    excess_bytes: float
    cause: str | None
    price_per_million_tokens: float | None = None  # dollars, where there is a price
    recipe: Recipe = Recipe()

    def axes(self, names: tuple[str, ...] = AXES) -> dict[str, Any]:
        """The layout, axis by axis, and what was searched of how it computes."""
        return {axis: in_words(_of(self, axis)) for axis in names}


def _of(candidate: TrainingCandidate, axis: str) -> Any:
    return getattr(candidate.layout if axis in Layout._fields else candidate.recipe, axis)


def in_words(value: Any) -> Any:
    """A value of an axis as a table shows it: shares of overlap as they can be typed."""
    if not isinstance(value, Overlap):
        return value
    return ",".join(f"{kind}={share:g}" for kind, share in value._asdict().items())


class Program(NamedTuple):
    """One way to compute that was compared, by name and value; its fastest step that fits (None: none does).

    `cause`: why that is not the best. `fit`: how many layouts fit.
    """

    axes: dict[str, Any]
    step_seconds: float | None
    cause: str | None
    fit: int


class GridCell(NamedTuple):
    """The best of all layouts with so many tensor-parallel GPUs and pipeline stages.

    `step_seconds`: of the fastest that fits; None where none does. `missing_bytes`: of the one that needs least.
    """

    tp: int
    pp: int
    step_seconds: float | None
    missing_bytes: float


class TrainingPlan(NamedTuple):
    """The best layouts by step time, and what became of all others.

    `programs`: the best of each way to compute, where several were compared; all but `best` is then of the best way
    alone. `spreads`: ways to spread the GPUs that were looked at. `timed`: legal layouts. `fit`: those of them that
    fit. `too_large`: of those that do not fit, the fastest if it beats all that do; if none does, also the one that
    needs least.
    """

    question: TrainingQuestion
    spreads: int
    illegal: list[Broken]
    timed: int
    fit: int
    best: list[TrainingCandidate]
    lost: list[Lost]
    too_large: list[TrainingCandidate]
    grid: list[GridCell]
    programs: list[Program] = []  # noqa: RUF012 - nothing writes to it

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what a row of `rows` has, in order."""
        price = () if self.question.price is None else ("price_per_million_tokens",)
        return ("step_seconds", "tokens_per_s_per_gpu", "mfu", "memory_bytes", *self.question.axes(), "cause", *price)

    def rows(self) -> list[dict[str, Any]]:
        """The best layouts, the fastest first, in base units."""
        known = [each._asdict() | each.axes(self.question.axes()) for each in self.best]
        return [{name: figures[name] for name in self.columns} for figures in known]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost plan --json`."""
        question = self.question
        return {
            "schema": SCHEMA,
            "model": question.model.name,
            "hardware": question.hardware.name,
            "gpus": question.gpus,
            "global_batch": question.base.global_batch,
            "seq": question.seq,
            "usable_bytes": question.usable,
            "layouts": {"spreads": self.spreads, "legal": self.timed, "fit": self.fit},
            "best": self.rows(),
            "lost": [each._asdict() for each in self.lost],
            "too_large": [
                {
                    "step_seconds": each.step_seconds,
                    "memory_bytes": each.memory_bytes,
                    "excess_bytes": each.excess_bytes,
                }
                | each.axes(question.axes())
                for each in self.too_large
            ],
            "grid": [each._asdict() for each in self.grid],
            "illegal": [each._asdict() for each in self.illegal],
            **({"stages": question.base.stages} if question.base.stages is not None else {}),
            **({"programs": [each._asdict() for each in self.programs]} if self.programs else {}),
        }

    def __hash__(self) -> int:  # a list or a dictionary in it has none
        return hash(repr(self))

    def __repr__(self) -> str:
        """In one line, with the best layout."""
        asked = self.question
        where = f"{asked.model.name} on {asked.gpus:,} × {asked.hardware.name}"
        if not self.best:
            return f"<Plan for training {where}: none of {self.timed:,} legal layouts fits>"
        first = self.best[0]
        best = f"{degrees_in_words(first.layout)}, {seconds(first.step_seconds)} a step, MFU {first.mfu:.1%}"
        return f"<Plan for training {where}: {self.fit:,} of {self.timed:,} legal layouts fit, best {best}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


class Timed(NamedTuple):
    """Figures of the layouts that share a stage of ZeRO, a schedule and what is recomputed (`base`).

    rows: of the space, one a layout. seconds: of a step. memory: bytes of the fullest GPU. parts: of the layouts that
    fit alone, a row each, seconds of a step in the order of CAUSES.
    """

    base: Layout
    rows: NDArray[np.intp]
    seconds: Column
    memory: Column
    parts: Column


def plan(question: TrainingQuestion, top: int) -> TrainingPlan:
    """The `top` best layouts, of equally fast ones first the one that needs less memory; and why the others lose.

    Several ways to compute are tried one after the other, so that memory holds the layouts of one.
    """
    if not question.others:
        return _plan_one(question, top)
    each = [_plan_one(one, top) for one in (question, *question.others)]
    ranked = sorted((found for plan in each for found in plan.best), key=lambda found: found.step_seconds)[:top]
    if not ranked:
        return min(each, key=lambda plan: min((one.memory_bytes for one in plan.too_large), default=inf))
    spends = [_spent_by(question, found) for found in ranked]
    best = [
        found._replace(cause=_cause(parts, spends[0]) if rank else None)
        for rank, (found, parts) in enumerate(zip(ranked, spends, strict=True))
    ]
    programs = []
    for one in each:
        first = one.best[0] if one.best else None
        cause = None if first is None or first is ranked[0] else _cause(_spent_by(question, first), spends[0])
        ways = {name: in_words(one.question.program[name]) for name in question.programs}
        programs.append(Program(ways, first and first.step_seconds, cause, one.fit))
    winner = next(one for one in each if one.best and one.best[0] is ranked[0])
    return winner._replace(best=best, programs=programs)


def _spent_by(question: TrainingQuestion, found: TrainingCandidate) -> Column:
    """Seconds of a candidate's step in the order of CAUSES."""
    asked = next(one for one in (question, *question.others) if one.recipe_at(found.layout) == found.recipe)
    return np.array([float(part) for part in spent(step_of(asked, found.layout).seconds)])


def _cause(parts: Column, best: Column) -> str:
    return list(CAUSES)[int(cause_of(parts[None, :], best)[0])]


def _plan_one(question: TrainingQuestion, top: int) -> TrainingPlan:
    """The same for one way to compute."""
    shape = shape_of(question.model)
    ways = space(question.base, question.gpus, shape, question.seq, question.choices)
    found = _timed(question, ways)
    if not found:
        return TrainingPlan(question, ways.spreads, ways.illegal, 0, 0, [], [], [], [])
    group = np.repeat(np.arange(len(found)), [len(each.rows) for each in found])
    rows = np.concatenate([each.rows for each in found])
    seconds, memory = (np.concatenate([getattr(each, figure) for each in found]) for figure in ("seconds", "memory"))
    parts = np.concatenate([each.parts for each in found])
    fits = memory <= question.usable

    def candidate(place: int, cause: str | None = None) -> TrainingCandidate:
        layout = ways.single(found[group[place]].base, int(rows[place]))
        return _candidate(question, layout, float(seconds[place]), float(memory[place]), cause)

    inside, outside = np.flatnonzero(fits), np.flatnonzero(~fits)
    sorting = np.lexsort((memory[inside], seconds[inside]))
    order, parts = inside[sorting], parts[sorting]
    too_large = [candidate(place) for place in _too_large(outside, order, seconds, memory)]
    tp, pp = ways.columns["tp"][rows], ways.columns["pp"][rows]
    grid = _grid(tp, pp, np.where(fits, seconds, np.inf), memory - question.usable)
    if not len(order):
        return TrainingPlan(question, ways.spreads, ways.illegal, len(rows), 0, [], [], too_large, grid)
    causes = cause_of(parts, parts[0])
    names = list(CAUSES)
    best = [
        candidate(int(place), names[cause] if rank else None)
        for rank, (place, cause) in enumerate(zip(order[:top], causes, strict=False))
    ]
    others = lost(seconds[order[1:]], causes[1:])
    return TrainingPlan(question, ways.spreads, ways.illegal, len(rows), len(order), best, others, too_large, grid)


def _candidate(
    question: TrainingQuestion, layout: Layout, seconds: float, memory: float, cause: str | None
) -> TrainingCandidate:
    """A layout with its figures; `cause`: why it is not the best. `seconds`: of a step; `memory`: bytes of a GPU."""
    rate = question.base.global_batch * question.seq / seconds / question.gpus
    mfu = step_of(question, layout).mfu()
    price = price_per_million_tokens(question.price, rate)
    excess = memory - question.usable
    recipe = question.recipe_at(layout)
    return TrainingCandidate(layout, seconds, float(rate), float(mfu), memory, excess, cause, price, recipe)


def _too_large(outside: NDArray[np.intp], order: NDArray[np.intp], seconds: Column, memory: Column) -> list[int]:
    """Of layouts that do not fit: the fastest where it beats all that do; the smallest where none does."""
    if not len(outside):
        return []
    fastest = int(outside[np.argmin(seconds[outside])])
    smallest = int(outside[np.argmin(memory[outside])])
    if not len(order):
        return [smallest] if smallest == fastest else [smallest, fastest]
    return [fastest] if seconds[fastest] < seconds[order[0]] else []


def _grid(tp: Column, pp: Column, seconds: Column, missing: Column) -> list[GridCell]:
    """The best step and the least that is missing in memory, of every pair of tp and pp."""
    pairs, which = np.unique(np.stack([tp, pp]), axis=1, return_inverse=True)
    best, least = np.full(pairs.shape[1], np.inf), np.full(pairs.shape[1], np.inf)
    np.minimum.at(best, which.ravel(), seconds)
    np.minimum.at(least, which.ravel(), missing)
    found = zip(*pairs.tolist(), best.tolist(), least.tolist(), strict=True)
    return [GridCell(int(t), int(p), None if step == np.inf else step, max(0.0, more)) for t, p, step, more in found]


def _timed(question: TrainingQuestion, ways: Space) -> list[Timed]:
    """Figures of every legal layout, with every stage of ZeRO, schedule and recomputation that may be chosen."""
    shape, found = shape_of(question.model), []
    for zero, schedule in product(question.choices.zero, question.schedules()):
        divided = question.base._replace(zero=zero, schedule=schedule)
        rows = np.flatnonzero(allowed(ways.layout(divided, slice(None)), shape, question.seq))
        if schedule != question.schedules()[0]:  # without a pipeline all are the same
            rows = rows[ways.columns["pp"][rows] > 1]
        for recompute in question.choices.recompute if len(rows) else ():
            base = divided._replace(recompute=recompute)
            blocks = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
            alike = [part for block in blocks for part in _by_slowest(question, ways, base, block)]
            pieces = [_figures(question, ways.layout(base, block), slowest) for block, slowest in alike]
            rows = np.concatenate([block for block, _ in alike])
            found.append(Timed(base, rows, *[np.concatenate(column) for column in zip(*pieces, strict=True)]))
    return found


def _by_slowest(
    question: TrainingQuestion, ways: Space, base: Layout, rows: NDArray[np.intp]
) -> list[tuple[NDArray[np.intp], int | None]]:
    """The rows by the stage that takes longest, where stages were chosen; else all of them, and None."""
    if base.stages is None or not len(rows):
        return [(rows, None)]
    times = step_of(question, ways.layout(base, rows), 0).seconds.stages
    longest = np.argmax([np.broadcast_to(np.asarray(each, float), rows.shape) for each in times], axis=0)
    return [(rows[longest == stage], int(stage)) for stage in np.unique(longest)]


def step_of(question: TrainingQuestion, layout: Layout, slowest: int | None = None) -> Step:
    """The training engine's own answer, of one layout or of arrays of them.

    `slowest`: of arrays of chosen stages, the place of the one that takes longest.
    """
    return evaluate_step(
        Setup(
            *(question.model, layout, question.recipe, question.seq, question.chip, question.efficiency),
            question.divided,
            slowest,
        )
    )


def _figures(question: TrainingQuestion, layout: Layout, slowest: int | None) -> tuple[Column, Column, Column]:
    """Seconds, bytes and parts of the time of a layout whose axes are arrays: the columns of Timed."""
    step = step_of(question, layout, slowest)
    seconds = np.asarray(step.seconds.total, float)
    memory = np.broadcast_to(step.memory_bytes(), seconds.shape)
    fits = memory <= question.usable
    parts = np.stack([np.broadcast_to(part, seconds.shape)[fits] for part in spent(step.seconds)], axis=1)
    return seconds, memory, parts.astype(np.float32)
