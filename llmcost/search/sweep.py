"""Every combination of some options: the engine recorded once for each GPU, data type and layout, played on arrays.

What shapes the formulas (GPU, data types, layout) is a structure, and each structure is recorded by itself. Sizes
(batch, context, …) that vary are axes of arrays, played in blocks that stay in a core's cache. Points are numbered in
the order of nested loops: structures outside, then the axes, the last one innermost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from llmcost.ground.algebra import Number, maximum, minimum
from llmcost.ground.arrays import Array, play
from llmcost.ground.errors import InputError, UnknownFigureError
from llmcost.ground.options import declared
from llmcost.ground.recording import Recorded, Tape
from llmcost.model.spec import ModelSpec
from llmcost.search.prices import cost_of_rates
from llmcost.serving.estimate import check_mix, estimate, estimate_workload, prompt_is_context, with_sizes, workload_of
from llmcost.serving.options import MIXES, SIZES, Options, Workload
from llmcost.serving.results import Estimate, leaves
from llmcost.specs.hardware import HardwareSpec

SHAPES = tuple(name for name in declared(Options) if name not in SIZES)  # data types, layouts, all else that is no size
ANY_FORMAT = "bf16"  # of weights, where lengths alone are looked at
LENGTHS = ("prompt", "context", "output")
MOST_STRUCTURES = 20_000  # tried in about a second where none is legal
TOGETHER = ("prompt", "output", *MIXES)  # sizes that make sense only beside others
BLOCK = 16_384  # points at a time: 128 KB an array (benchmarks/sweep.py measures other sizes)
FITS, LEGAL = "memory.fits", "legal"
COST = "cost."  # how the paths of what tokens cost begin

Axis = Array | range
Columns = dict[str, Array]  # the path of a figure, as in the JSON of an estimate -> its value at each point


class Structure(NamedTuple):
    """A GPU, and the options that all points on it share; each size that varies holds one of its values."""

    hardware: HardwareSpec
    options: Options


class Priced(NamedTuple):
    """Dollars a GPU-hour by the name of the GPU, and the data centre's energy over its GPUs'."""

    prices: Mapping[str, float] = MappingProxyType({})
    pue: float = 1


class Recording:
    """The figures of a structure: those that no axis changes as they are, a program for the others.

    `money`: with it, what tokens cost too.
    """

    def __init__(
        self,
        model: ModelSpec,
        structure: Structure,
        axes: Iterable[str],
        paths: Sequence[str],
        money: Priced | None = None,
    ) -> None:
        tape = Tape()
        hardware, options = structure
        w = with_sizes(model, hardware, options, {name: tape.input(name) for name in axes})
        found = estimate_workload(model, hardware, w, prompt_is_context(options))
        figures = dict(leaves(found)) | _costs(found, hardware, money)
        figures[LEGAL] = _room(model, w) >= 0
        self.figures = {path: figures[path] for path in paths}
        self.recorded = [path for path in paths if isinstance(figures[path], Recorded)]
        self.program = tape.program([figures[path] for path in self.recorded])

    def play(self, inputs: Mapping[str, Array], shape: tuple[int, ...]) -> Columns:
        """The figures at the points of a block, whose shape is what the inputs broadcast to."""
        values = self.figures | dict(zip(self.recorded, play(self.program, inputs), strict=True))
        return {path: np.broadcast_to(np.asarray(value), shape).reshape(-1) for path, value in values.items()}


def _costs(found: Estimate, hardware: HardwareSpec, money: Priced | None) -> dict[str, Any]:
    """What tokens cost, as figures with paths; none without money."""
    if money is None:
        return {}
    price = money.prices.get(hardware.name, money.prices.get(""))
    return {
        f"{COST}{name}": each
        for name, each in cost_of_rates(found, hardware, price, money.pue)._asdict().items()
        if not name.startswith("power_")
    }


def _room(model: ModelSpec, w: Workload) -> Number:
    """Tokens that are left where least are: of the prompt, of the context, or of the rows of a table of positions.

    Below 0 where lengths contradict each other.
    """
    out = 0 if w.output is None else w.output
    room = minimum(w.prompt - 1, w.context - out - w.prompt)
    rows = [(model, w.context)]
    if model.encoder is not None:
        rows = [(model.encoder, w.prompt), (model, maximum(1, w.context - w.prompt))]
    for each, tokens in rows:
        if each.has_position_table:
            room = minimum(room, each.max_position_embeddings - tokens)
    return room


class Sweep:
    """One model at every combination of GPUs and option values.

    `values` has the options that are chosen, each with at least one value; the others have their defaults.
    Combinations of values that contradict each other are left out: a data type that a GPU lacks, a prompt longer than
    its context. `money`: with it, what tokens cost is among the figures. Raises InputError where a value makes no sense
    by itself.
    """

    def __init__(
        self,
        model: ModelSpec,
        hardware: Sequence[HardwareSpec],
        values: Mapping[str, Sequence[Any]],
        money: Priced | None = None,
    ) -> None:
        self.model, self.money = model, money
        sizes = {name: values[name] for name in SIZES if name in values}
        self.axes = {
            name: each if isinstance(each, range) else np.array(each, np.float64)
            for name, each in sizes.items()
            if len(each) > 1
        }
        self.lengths = tuple(len(axis) for axis in self.axes.values())
        self.inside = prod(self.lengths)  # points of a structure
        self.structures, refused = _structures(model, hardware, _checked(model, sizes), values)
        self.refused = {reason: number * self.inside for reason, number in refused.items()}
        first = estimate(model, *self.structures[0])
        costs = _costs(first, self.structures[0].hardware, money)
        self.figures = (*(path for path, _ in leaves(first)), *costs)

    def __len__(self) -> int:
        return len(self.structures) * self.inside

    def legal(self) -> int:
        """How many points are left in."""
        lengths = {name: axis for name, axis in self.axes.items() if name in LENGTHS}  # all that this depends on
        first = Recording(self.model, self.structures[0], lengths, [LEGAL])  # the lengths are the same in all
        legal = sum(int(first.play(inputs, shape)[LEGAL].sum()) for shape, inputs in _spans(lengths))
        others = prod(len(axis) for name, axis in self.axes.items() if name not in LENGTHS)
        return len(self.structures) * legal * others

    def left_out(self) -> dict[str, int]:
        """Why combinations are left out, and how many."""
        no_room = {"the context has no room for prompt and output": len(self) - self.legal()}
        return {reason: number for reason, number in (self.refused | no_room).items() if number}

    def blocks(self, paths: Sequence[str], *, only_fitting: bool = False) -> Iterator[tuple[Array, Columns]]:
        """All points in order, a block at a time: their numbers and the figures at them."""
        masks = (LEGAL, FITS) if only_fitting else (LEGAL,)
        start = 0
        for structure in self.structures:
            recording = Recording(self.model, structure, self.axes, [*paths, *masks], self.money)
            for shape, inputs in _spans(self.axes):
                columns = recording.play(inputs, shape)
                keep = np.logical_and.reduce([columns[mask] for mask in masks])
                everything = bool(keep.all())
                yield (
                    start + np.flatnonzero(keep),
                    {path: columns[path] if everything else columns[path][keep] for path in paths},
                )
                start += prod(shape)

    def at(self, points: Array, paths: Sequence[str]) -> Iterator[Columns]:
        """Any points in any order, a block at a time."""
        recording = lru_cache(maxsize=64)(
            lambda n: Recording(self.model, self.structures[n], self.axes, paths, self.money)
        )
        for start in range(0, len(points), BLOCK):
            numbers, inside = np.divmod(points[start : start + BLOCK], self.inside)
            parts, places = [], []
            for number in np.unique(numbers):
                places.append(np.flatnonzero(numbers == number))
                index = np.unravel_index(inside[places[-1]], self.lengths) if self.lengths else ()
                inputs = {name: _taken(axis, each) for (name, axis), each in zip(self.axes.items(), index, strict=True)}
                parts.append(recording(number).play(inputs, (len(places[-1]),)))
            order = np.argsort(np.concatenate(places))
            yield {path: np.concatenate([part[path] for part in parts])[order] for path in paths}

    def select(
        self, path: str | None = None, *, descending: bool = False, top: int | None = None, only_fitting: bool = False
    ) -> Array:
        """The numbers of all points, or of the first `top`, in the order of a figure.

        Points where it is not known come last. Raises InputError for a figure that is no number.
        """
        found: list[tuple[Array, Array]] = []
        for numbers, columns in self.blocks([] if path is None else [path], only_fitting=only_fitting):
            try:
                keys = numbers if path is None else columns[path].astype(np.float64)
            except ValueError:
                raise InputError(f"{path} is not a number: nothing to sort by") from None
            found.append((-keys if descending else keys, numbers))
            if top is not None:
                found = [_first(found, top)]
        return _first(found, top)[1]

    def find(self, name: str) -> str:
        """The path of the figure called so: in full, or as much of its end as no other shares. Raises InputError."""
        matches = [path for path in self.figures if path == name] or [
            path for path in self.figures if path.endswith(f".{name}")
        ]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InputError(f"{name!r} could be {', '.join(matches)}")
        raise UnknownFigureError(name, self.figures, f" (all of them: llmcost explain {self.model.name})")


def _first(found: Sequence[tuple[Array, Array]], top: int | None) -> tuple[Array, Array]:
    """Keys and points of the smallest keys, in order; of equal ones, those that come first."""
    keys, points = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.argsort(keys, kind="stable")[:top]
    return keys[order], points[order]


def _taken(axis: Axis, places: Array | slice) -> Array:
    """Some values of an axis. A range is not spelled out as a whole: of a billion values, a block is."""
    if isinstance(axis, range):
        if isinstance(places, slice):
            part = axis[places]
            return np.arange(part.start, part.stop, part.step, dtype=np.float64)
        return axis.start + axis.step * places.astype(np.float64)
    return axis[places]


def _spans(axes: Mapping[str, Axis]) -> Iterator[tuple[tuple[int, ...], dict[str, Array]]]:
    """Blocks of a grid in the order of its points: the shape of each, and its part of every axis.

    Parts are arrays along dimensions of their own: they broadcast to the shape.
    """
    lengths = [len(axis) for axis in axes.values()]
    pieces = []
    for place, length in enumerate(lengths):
        width = min(max(BLOCK // prod(lengths[place + 1 :]), 1), length)
        pieces.append([slice(start, min(start + width, length)) for start in range(0, length, width)])
    for block in product(*pieces):
        parts = [_taken(axis, piece) for axis, piece in zip(axes.values(), block, strict=True)]
        yield tuple(len(part) for part in parts), dict(zip(axes, np.ix_(*parts), strict=True))


def _checked(model: ModelSpec, sizes: Mapping[str, Sequence[Any]]) -> Options:
    """The sizes at the point with most room in its context.

    Raises InputError unless that point makes sense, and both ends of every axis by themselves.
    """
    ends: dict[str, Any] = {
        name: (each[0], each[-1]) if isinstance(each, range) else each for name, each in sizes.items()
    }
    for end in (min, max):
        alone = {name: end(each) for name, each in ends.items() if name not in TOGETHER}
        workload_of(model, None, Options(**alone, weight_dtype=ANY_FORMAT))
    roomiest = Options(**{name: max(each) if name == "context" else min(each) for name, each in ends.items()})
    workload_of(model, None, roomiest._replace(weight_dtype=ANY_FORMAT))
    return roomiest


def _structures(
    model: ModelSpec, hardware: Sequence[HardwareSpec], sizes: Options, values: Mapping[str, Sequence[Any]]
) -> tuple[list[Structure], Counter[str]]:
    """Every GPU with every data type and layout that it and the model can have; and why others cannot be, counted.

    Raises InputError where none can be.
    """
    shapes = {name: values.get(name, (option.value,)) for name, option in declared(Options).items() if name in SHAPES}
    for name in values.keys() & shapes.keys():
        for value in shapes[name]:
            declared(Options)[name].check(declared(Options)[name].flag, value)
    kinds = len(hardware) * prod(len(each) for each in shapes.values())
    if kinds > MOST_STRUCTURES:
        raise InputError(
            f"{kinds:,} combinations of GPUs, data types and layouts, above {MOST_STRUCTURES:,}, which are tried one "
            "by one: choose fewer values (a factor helps, as in --tp 1..64:x2)"
        )
    found, refused = [], Counter[str]()
    asked: Options | None = None
    for chip, kind in product(hardware, product(*shapes.values())):
        structure = Structure(chip, sizes._replace(**dict(zip(SHAPES, kind, strict=True))))
        try:
            engine = workload_of(model, *structure).engine
        except InputError as refusal:
            refused[str(refusal)] += 1
        else:
            asked = asked or structure.options
            found.append(structure._replace(options=structure.options._replace(engine=engine)))
    if asked is None:
        raise InputError(next(iter(refused)))
    check_mix(model, asked)  # before engines are named
    return found, refused
