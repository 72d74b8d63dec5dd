"""A whole pass of a model, with random weights: every operator of its list, in its order, as often as it runs.

Each kernel takes the newest tensor of the size that it reads, so what one writes the next finds in the cache, as in a
real pass; weights and caches are every layer's own. A decode step is one CUDA graph, and so are a prompt and the
forward and backward passes of training, from random gradients of the logits: no loss, no optimizer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch

from llmcost.bench.cases import Bench, TooLargeError
from llmcost.bench.kernels import KernelCase, Tensor, Way, kind_of
from llmcost.bench.suites import StepPoint
from llmcost.bench.timers import Timing
from llmcost.machine.calibration import distinct
from llmcost.model.architecture import operators
from llmcost.model.operators import Operator, Stored
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import ModelSpec

GROWTH = 1.3  # memory over weights and caches: activations of the largest kernel, two pools of the allocator
TRAINING = 2  # a gradient for every weight


class TimedPass(NamedTuple):
    """The operators of one pass, those of repeated layers counted down to `layers` where memory is short."""

    ops: list[Operator]
    layers: int
    of_layers: int
    backward: bool


def pass_of(model: ModelSpec, point: StepPoint, room: int) -> TimedPass:
    """What a step runs on a device with so many bytes free. Raises TooLargeError if one layer of each kind is too large."""
    size = element_bytes(point.dtype, point.dtype, point.dtype)
    decode, train = point.phase == "decode", point.phase == "train"
    load = Load(point.b, 1, point.c, decode=True) if decode else Load(point.b, point.c, point.c)
    ops = [op for op in operators(model, size, load, load.s if train else 1) if not isinstance(op, Stored)]
    once = sum(held(op, train) for op in ops if op.count == 1)
    layered = sum(op.count * held(op, train) for op in ops if op.count > 1)
    share = min(1.0, (room / GROWTH - once) / layered) if layered else 1.0
    cut = [op._replace(count=int(op.count * share)) if op.count > 1 else op for op in ops]
    if share <= 0 or any(op.count < 1 for op in cut):
        raise TooLargeError(
            f"a layer of each kind needs {(once + layered / model.num_hidden_layers) / 1e9:.1f} GB, {room / 1e9:.1f} GB free"
        )
    return TimedPass(cut, int(model.num_hidden_layers * share), model.num_hidden_layers, train)


def held(op: Operator, train: bool) -> int:
    """Bytes that one execution keeps: weights and caches; in training gradients and what the backward pass reads."""
    weights = int(op.stored_bytes() or op.weight_bytes())
    return TRAINING * weights + int(op.io_bytes()) if train else weights + int(op.cache_bytes())


def bytes_of(model: ModelSpec, point: StepPoint) -> int:
    """Bytes that a pass of all layers keeps; where a device has less free, fewer layers run."""
    run = pass_of(model, point, sys.maxsize)
    return sum(op.count * held(op, run.backward) for op in run.ops)


class Link(NamedTuple):
    """One execution: its operator, how it is run, its cold operands, and shapes or fixed values of its hot ones."""

    case: KernelCase
    way: Way
    cold: tuple[Tensor, ...]
    hot: tuple[Tensor, ...]


class Chain:
    """The pass as one program. `way_of` says how each kind of operator is run."""

    def __init__(self, run: TimedPass, dtype: str, bench: Bench, way_of: Callable[[KernelCase], str]) -> None:
        self._fixed: dict[tuple[torch.Size, torch.dtype], Tensor] = {}
        self._train = run.backward
        self.links = [
            self._link(KernelCase(distinct(op), dtype, run.backward), bench, way_of) for op in executions(run.ops)
        ]
        self._weights = [each for link in self.links for each in link.cold if each.requires_grad]
        self._slope: Tensor | None = None

    def _link(self, case: KernelCase, bench: Bench, way_of: Callable[[KernelCase], str]) -> Link:
        kind = kind_of(case.op)
        given = kind.operands(case.op, case.dtype, bench.device)
        way = kind.ways(case, bench.device)[way_of(case)]
        cold = tuple(each.requires_grad_(self._train) for each in way.layout(*given.cold))
        hot = tuple(
            self._fixed.setdefault((each.shape, each.dtype), each) if each.is_floating_point() else each
            for each in given.hot
        )
        return Link(case, way, cold, hot)

    def __call__(self) -> Any:
        """Run it once: the logits, or the gradients of all weights."""
        newest: dict[int, Tensor] = {}
        residual: dict[int, Tensor] = {}
        answer: Any = None
        for case, way, cold, hot in self.links:
            first, *others = hot
            if first.is_floating_point():
                first = newest.get(first.numel(), first).reshape(first.shape)
            others = [residual.get(each.numel(), each).reshape(each.shape) for each in others]
            answer = way.run(case.op, first, *others, *cold)
            if isinstance(answer, tuple):  # a norm and the sum that it is of
                answer, kept = answer
                residual[kept.numel()] = kept
            newest[answer.numel()] = answer
        if not self._train:
            return answer
        if self._slope is None:
            self._slope = torch.randn_like(answer)
        return torch.autograd.grad(answer, self._weights, self._slope, allow_unused=True)


def executions(ops: Sequence[Operator]) -> Iterator[Operator]:
    """Operators in the order in which they run: those that run equally often, one after the other, are a layer."""
    for count, layer in groupby(ops, key=lambda op: int(op.count)):
        each = list(layer)
        for _ in range(count):
            yield from each


def time_pass(run: TimedPass, dtype: str, bench: Bench, way_of: Callable[[KernelCase], str]) -> Timing:
    """The whole pass, measured."""
    chain = Chain(run, dtype, bench, way_of)
    if bench.device.kind == "cuda":
        torch.cuda.empty_cache()
    return bench.clock.time([chain], settle=True)


def cases_of(run: TimedPass, dtype: str) -> list[tuple[Operator, list[KernelCase]]]:
    """Each operator with what has to be timed for it: forward, and backward in training."""
    passes = (False, True) if run.backward else (False,)
    return [(op, [KernelCase(distinct(op), dtype, backward) for backward in passes]) for op in run.ops]
