"""Every operator of one micro-batch on one GPU: its time in both directions, and what it keeps for backward."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import sum_of
from llmcost.machine.timing import kernel_seconds
from llmcost.model.lora import is_trained
from llmcost.model.operators import Gemm, GroupedGemm, Stored
from llmcost.training.activations import kept
from llmcost.training.passes import Setup, forward_pass, kernels


class MicroBatchRow(NamedTuple):
    """One operator of a micro-batch on one GPU, all its executions together.

    times: how many executions. where: before the layers, in them, or after them. kept_bytes: for the backward pass.
    weight_seconds: of the backward pass, what computes gradients of weights.
    """

    name: str
    where: str
    times: float
    forward_seconds: float
    backward_seconds: float
    kept_bytes: float
    weight_seconds: float


def micro_batch_rows(at: Setup) -> list[MicroBatchRow]:
    """Every operator of one micro-batch, of all layers."""
    rows = []
    for where, ops in zip(("embedding", "layers", "head"), forward_pass(at), strict=True):
        for op, held in zip(ops, kept(ops, at.layout, at.recipe, at.model.norm), strict=True):
            if isinstance(op, Stored):
                continue
            run = kernels([op], at.model, at.recipe)
            ahead = sum_of(kernel_seconds(run, at.chip, at.efficiency) or ())
            trained = is_trained(op, at.recipe.lora)
            behind = ahead * op.backward(frozen=not trained)
            weight = ahead if trained and isinstance(op, Gemm | GroupedGemm) else 0.0
            rows.append(MicroBatchRow(op.name, where, op.count, ahead, behind, float(op.count * held), weight))
    return rows
