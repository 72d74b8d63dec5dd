"""Kernels with a state, as torch compiles them: convolutions along the tokens, and a step of a linear recurrence."""

from __future__ import annotations

import torch
from torch.nn import functional

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, Kind, Operands, Tensor, UnsupportedError
from llmcost.bench.kernels.elementwise import compiled
from llmcost.model.operators import CausalConv, Scan

DECAY = 0.9  # of the state a step


def conv_operands(op: CausalConv, dtype: str, device: Device) -> Operands:
    """Tokens (b, channels, s), the last inputs of each sequence (b, channels, kernel - 1), weights of each channel."""
    if op.bias:
        raise UnsupportedError("no convolution with a bias here")
    x = device.normal((op.b, op.channels, op.s), dtype)
    return Operands(
        (x,),
        (device.normal((op.b, op.channels, op.kernel - 1), dtype), device.normal((op.channels, 1, op.kernel), dtype)),
    )


def convolve(x: Tensor, last: Tensor, weight: Tensor) -> Tensor:
    """The convolution of a prompt by torch's own; of a single token as a product with its window."""
    window = torch.cat([last, x], dim=2)
    if x.shape[2] > 1:
        return functional.conv1d(window, weight, groups=weight.shape[0])
    return (window * weight.squeeze(1)).sum(2, keepdim=True)


def conv_expected(_op: CausalConv, given: Operands) -> tuple[Index, Tensor]:
    """The answer for the last sequence."""
    return (slice(-1, None),), convolve(given.hot[0][-1:].float(), given.cold[0][-1:].float(), given.cold[1].float())


def scan_operands(op: Scan, dtype: str, device: Device) -> Operands:
    """Query and key (b, heads, dk), value (b, heads, dv), and the state (b, heads, dk, dv)."""
    if op.s > 1:
        raise UnsupportedError("no kernel here for a recurrence over a whole prompt")
    keys = (op.b, op.heads, op.dk)
    hot = (
        device.normal(keys, dtype),
        device.normal(keys, dtype, op.dk**-0.5),
        device.normal((op.b, op.heads, op.dv), dtype),
    )
    return Operands(hot, (device.normal((op.b, op.heads, op.dk, op.dv), "fp32" if op.Bs == 4 else dtype),))


def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One step of linear attention, its answer and state: the state decays and takes in k·vᵀ, then q reads it."""
    after = state * DECAY + k[..., None] * v[..., None, :]
    return (q[..., None] * after).sum(-2), after


def delta_step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the delta rule: as `step`, but what the state already has for k is first taken off v."""
    faded = state * DECAY
    after = faded + k[..., None] * (v - (k[..., None] * faded).sum(-2))[..., None, :]
    return (q[..., None] * after).sum(-2), after


def scan_expected(op: Scan, given: Operands) -> tuple[Index, Tensor]:
    """The answer for the last sequence."""
    last = [each[-1:].float() for each in (*given.hot, *given.cold)]
    return (slice(-1, None),), (delta_step if op.delta else step)(*last)[0]


CONV = Kind(conv_operands, conv_expected, lambda _case, device: compiled("convolution", convolve, device))
SCAN = Kind(
    scan_operands,
    scan_expected,
    lambda case, device: compiled("scan", delta_step if getattr(case.op, "delta", False) else step, device),
)
