"""Whole passes as operators of one GPU: those that are to be timed, and those that a profile holds and predicts."""

from __future__ import annotations

from math import ceil
from typing import cast

from llmcost.machine.calibration import efficiency_of
from llmcost.machine.chip import Chip, chip_by_profile
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.timing import kernel_seconds
from llmcost.model import verify
from llmcost.model.architecture import operators
from llmcost.model.operators import Operator, Stored, sizes_of
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.split import shard
from llmcost.specs.catalog import load_model
from llmcost.specs.profile import Profile, StepRow


def pass_operators(model: ModelSpec, phase: str, batch: int, tokens: int, dtype: str, tp: int = 1) -> list[Operator]:
    """The kernels of a pass on one of `tp` GPUs that share the model, and between them what these add up and gather.

    `phase`: decode (one new token of each sequence, `tokens` of context), prefill or train. A vocabulary that the GPUs
    do not divide is rounded up, as engines pad it.
    """
    size = element_bytes(dtype, dtype, dtype)
    load = Load(batch, 1, tokens, decode=True) if phase == "decode" else Load(batch, tokens, tokens)
    whole = operators(model, size, load, load.s if phase == "train" else 1)
    share = shard(whole, Layout(tp=tp, gpus_per_node=tp, sequence_parallel=False), size)
    return [_whole(op) for op in share if not isinstance(op, Stored)]


def _whole(op: Operator) -> Operator:
    """The operator with sizes that a kernel can have."""
    odd = {name: ceil(size) for name, size in sizes_of(op).items() if isinstance(size, float) and name[0] != "B"}
    return cast("Operator", op._replace(**odd)) if odd else op


def of_share(ops: list[Operator], share: float) -> list[Operator]:
    """A pass with a share of its layers, rounded down; what runs once stays."""
    return [op._replace(count=int(op.count * share)) if op.count > 1 else op for op in ops]


def step_operators(step: StepRow) -> list[Operator]:
    """The operators of a measured pass; those of repeated layers count as many layers as were run."""
    ops = pass_operators(load_model(step.model), step.phase, step.batch, step.tokens, step.dtype, step.tp)
    run = of_share(ops, (step.layers or 1) / (step.of_layers or 1))
    if verify.ON and step.tp == 1:
        verify.measured_pass(run)
    return run


def pass_seconds(step: StepRow, chip: Chip, efficiency: Efficiency) -> list[float] | None:
    """Expected seconds of each operator of a measured pass, of all its executions; in training forward and backward.

    None where a peak, the bandwidth or a link is not known.
    """
    ops = step_operators(step)
    times = kernel_seconds(ops, chip, efficiency)
    if times is None or step.phase != "train":
        return times
    return [time * (1 + efficiency.behind(op)) for op, time in zip(ops, times, strict=True)]


def predicted_us(step: StepRow, profile: Profile) -> float | None:
    """The µs that the profile's own fit predicts for a measured pass; None where it has no fit for the data type."""
    times = pass_seconds(step, chip_by_profile(profile, step.dtype), efficiency_of(profile, step.dtype))
    if times is None or step.dtype not in profile.fit.get("gemm", {}):
        return None
    return float(round(sum(times) * 1e6, 2))
