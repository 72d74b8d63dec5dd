"""A whole pass of a model with random weights: every operator of its list, in its order, as often as it runs.

Each kernel takes the newest tensor of the size that it reads, so that what one kernel writes the next one finds in the
cache, as in a real pass. Each layer has weights and caches of its own. A decode step is one CUDA graph; so is a prompt,
and so are the forward and the backward pass of training. Training starts backward from random gradients of the logits:
it has no loss and no optimizer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from llmcost.bench.cases import Bench, TooLargeError
from llmcost.bench.kernels import KernelCase, Tensor, Way, kind_of
from llmcost.bench.passes import of_share, pass_operators
from llmcost.bench.suites import StepPoint
from llmcost.bench.timers import Timing
from llmcost.machine.calibration import distinct, executions
from llmcost.model.operators import Operator
from llmcost.model.spec import ModelSpec

GROWTH = 1.3  # memory over that of weights and caches: activations of the largest kernel, two pools of the allocator
TRAINING = 2  # memory of a weight over that in inference: it has a gradient


class TimedPass(NamedTuple):
    """What a device runs of a pass: its operators, those of repeated layers for `layers` of `of_layers`."""

    ops: list[Operator]
    layers: int
    of_layers: int
    backward: bool


def pass_of(model: ModelSpec, point: StepPoint, room: int) -> TimedPass:
    """What a device with so many bytes free (`room`) runs of a pass.

    Raises TooLargeError if it has no room for a layer of each kind.
    """
    train = point.phase == "train"
    ops = pass_operators(model, point.phase, point.b, point.c, point.dtype, point.tp)
    once = sum(held(op, train) for op in ops if op.count == 1)
    layered = sum(op.count * held(op, train) for op in ops if op.count > 1)
    share = min(1.0, (room / GROWTH - once) / layered) if layered else 1.0
    cut = of_share(ops, share)
    if share <= 0 or any(op.count < 1 for op in cut):
        need = once + layered / model.num_hidden_layers
        raise TooLargeError(f"a layer of each kind needs {need / 1e9:.1f} GB, {room / 1e9:.1f} GB free")
    return TimedPass(cut, int(model.num_hidden_layers * share), model.num_hidden_layers, train)


def held(op: Operator, train: bool) -> int:
    """Bytes that one execution of an operator keeps.

    They are weights and caches; in training weights, their gradients and what the backward pass reads.
    """
    weights = int(op.stored_bytes() or op.weight_bytes())
    return TRAINING * weights + int(op.io_bytes()) if train else weights + int(op.cache_bytes())


def bytes_of(model: ModelSpec, point: StepPoint) -> int:
    """Bytes that a pass of all layers keeps. On a device that has less free, fewer layers are run."""
    run = pass_of(model, point, sys.maxsize)
    return sum(op.count * held(op, run.backward) for op in run.ops)


class Link(NamedTuple):
    """One execution of an operator: the case, how it is run, and its operands.

    Of hot operands that are activations only the shapes matter: the pass puts the newest tensors in their place.
    """

    case: KernelCase
    way: Way
    cold: tuple[Tensor, ...]
    hot: tuple[Tensor, ...]


class Chain:
    """A pass as one program. `way_of` names the way in which each case is run."""

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
        """Run the pass once, and give its logits, or in training the gradients of all weights."""
        newest: dict[int, Tensor] = {}
        residual: dict[int, Tensor] = {}
        answer: Any = None
        for case, way, cold, hot in self.links:
            first, *others = hot
            if first.is_floating_point():
                first = newest.get(first.numel(), first).reshape(first.shape)
            others = [
                residual.get(each.numel(), each).reshape(each.shape) if each.is_floating_point() else each
                for each in others
            ]
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


def time_pass(run: TimedPass, dtype: str, bench: Bench, way_of: Callable[[KernelCase], str]) -> Timing:
    """The time of a whole pass that runs each case in the way that `way_of` names."""
    chain = Chain(run, dtype, bench, way_of)
    if bench.device.kind == "cuda":
        torch.cuda.empty_cache()
    return bench.clock.time([chain], settle=True)


def cases_of(run: TimedPass, dtype: str) -> list[tuple[Operator, list[KernelCase]]]:
    """Each operator of a pass with its cases: forward, and in training also backward."""
    passes = (False, True) if run.backward else (False,)
    return [(op, [KernelCase(distinct(op), dtype, backward) for backward in passes]) for op in run.ops]
