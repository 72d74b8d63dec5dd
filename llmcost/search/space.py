"""Every legal layout of a training run, as arrays: a column an axis, a row a layout.

Degrees multiply to the GPUs, so each divides them. A grid of degrees comes first and the rules (parallel/rules.py)
thin it out; what is left is crossed with micro-batches and with chunks a stage, and thinned out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmcost.model.training_kernels import Schedule
from llmcost.parallel.layout import Layout, Recompute
from llmcost.parallel.rules import Shape, divides, divisors, rules

Column: TypeAlias = NDArray[np.float64]
DEGREES = ("tp", "cp", "pp", "dp", "ep")


class Choices(NamedTuple):
    """Values that an axis may take; None: all, of schedules the engine's alone."""

    tp: tuple[int, ...] | None = None
    cp: tuple[int, ...] | None = None
    pp: tuple[int, ...] | None = None
    dp: tuple[int, ...] | None = None
    ep: tuple[int, ...] | None = None
    micro_batch: tuple[int, ...] | None = None
    vp: tuple[int, ...] | None = None
    zero: tuple[int, ...] = (0, 1, 2, 3)
    recompute: tuple[Recompute, ...] = ("none", "selective", "full")
    schedule: tuple[Schedule, ...] | None = None

    def allows(self, axis: str, values: Column) -> NDArray[np.bool_]:
        """Which of some values of an axis may be taken."""
        chosen = getattr(self, axis)
        return np.ones(len(values), bool) if chosen is None else np.isin(values, chosen)


class Broken(NamedTuple):
    """A rule in the words for one layout that breaks it, and how many layouts break it and no rule before it."""

    rule: str
    layouts: int


class Space(NamedTuple):
    """Legal layouts, and what made the other ways to spread the GPUs illegal.

    columns: an array for each axis, all of the same length; row i of each is layout i.
    """

    columns: dict[str, Column]
    spreads: int  # ways to spread the GPUs that were looked at, before micro-batches and chunks
    illegal: list[Broken]

    def __len__(self) -> int:
        return len(self.columns["tp"])

    def layout(self, base: Layout, rows: slice | NDArray[np.intp]) -> Layout:
        """Some rows as one layout whose axes are arrays; `base` has what is no axis."""
        return _with(base, {axis: column[rows] for axis, column in self.columns.items()})

    def single(self, base: Layout, row: int) -> Layout:
        """One row as a layout of whole numbers."""
        return _single(base, self.columns, row)


def _with(base: Layout, axes: Mapping[str, Any]) -> Layout:
    return base._replace(**axes)


def _single(base: Layout, columns: Mapping[str, Column], row: int) -> Layout:
    return _with(base, {axis: int(column[row]) for axis, column in columns.items()})


def degrees_in_words(layout: Layout) -> str:
    """The degrees above 1 of one layout, as in "tp 8, pp 4"."""
    above_one = [f"{axis} {n}" for axis in DEGREES if (n := getattr(layout, axis)) > 1]
    return ", ".join(above_one) or "one GPU"


def space(base: Layout, gpus: int, shape: Shape, seq: int, choices: Choices) -> Space:
    """All legal layouts of `gpus` GPUs; `base` has what is not an axis: batch, node, structure."""
    grid = _degrees(gpus, shape, choices)
    any_zero = base._replace(zero=1)  # what a stage of ZeRO forbids is asked once stages are chosen (`allowed`)
    legal, illegal = _thinned(grid, any_zero, shape, seq)
    spreads = len(grid["tp"])

    batches = divisors(int(base.global_batch))
    legal = _crossed(legal, "micro_batch", np.array(batches, float))
    chosen = choices.allows("micro_batch", legal["micro_batch"])
    whole = divides(legal["dp"] * legal["micro_batch"], float(base.global_batch))
    legal = _kept(legal, chosen & whole)
    chunks = np.arange(1, shape.layers + 1, dtype=float)
    legal = _crossed(legal, "vp", chunks[choices.allows("vp", chunks)])
    if choices.vp is None:  # chunks of equal layers, as programs want them, where none was asked for
        a_stage, a_chunk = np.ceil(shape.layers / legal["pp"]), np.ceil(shape.layers / (legal["pp"] * legal["vp"]))
        legal = _kept(legal, a_chunk * legal["vp"] == a_stage)
    legal, _ = _thinned(legal, any_zero, shape, seq)
    return Space(legal, spreads, illegal)


def _degrees(gpus: int, shape: Shape, choices: Choices) -> dict[str, Column]:
    """Every way to multiply tp, cp, pp and dp to the GPUs, and every ep that divides the experts."""
    each = np.array(divisors(gpus), float)
    found = {"tp": each[choices.allows("tp", each)]}
    for axis in ("cp", "pp"):
        found = _crossed(found, axis, each[choices.allows(axis, each)])
        used = np.prod(list(found.values()), axis=0)
        found = _kept(found, np.floor(gpus / used) * used == gpus)
    found["dp"] = gpus / (found["tp"] * found["cp"] * found["pp"])
    found = _kept(found, choices.allows("dp", found["dp"]))
    experts = np.array(sorted({each for count in shape.experts for each in divisors(count)} or {1}), float)
    return _crossed(found, "ep", experts[choices.allows("ep", experts)])


def _thinned(
    columns: dict[str, Column], base: Layout, shape: Shape, seq: int
) -> tuple[dict[str, Column], list[Broken]]:
    """The rows that keep every rule, and for each rule how many rows break it before any other."""
    layout = _with(base, columns)
    left = np.ones(len(columns["tp"]), bool)
    broken: list[Broken] = []
    for number, rule in enumerate(rules(layout, shape, seq)):
        fails = left & ~np.broadcast_to(rule.holds, left.shape)
        if fails.any():
            example = _single(base, columns, int(np.flatnonzero(fails)[0]))
            broken.append(Broken(list(rules(example, shape, seq))[number].message(example), int(fails.sum())))
            left &= ~fails
    return _kept(columns, left), broken


def allowed(layout: Layout, shape: Shape, seq: int) -> NDArray[np.bool_]:
    """A mask of the rows of a layout of arrays that are legal.

    A stage of ZeRO that has nothing to divide is no layout of its own, and left out.
    """
    left = np.ones(len(layout.tp), bool)
    for rule in rules(layout, shape, seq):
        left &= rule.holds
    if layout.zero:
        left &= (layout.replicas() > 1) | (layout.expert_replicas() > 1)
    return left


def _crossed(columns: dict[str, Column], axis: str, values: Column) -> dict[str, Column]:
    """Every row with every value of one more axis."""
    rows = len(next(iter(columns.values())))
    repeated = {name: np.repeat(column, len(values)) for name, column in columns.items()}
    return repeated | {axis: np.tile(values, rows)}


def _kept(columns: dict[str, Column], rows: NDArray[np.bool_]) -> dict[str, Column]:
    """The rows of a mask, of every axis."""
    return {axis: column[rows] for axis, column in columns.items()}
