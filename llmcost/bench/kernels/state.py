"""Kernels with a state: convolutions along the tokens, and one step of a linear recurrence, as torch compiles them."""

from __future__ import annotations

import torch
from torch.nn import functional

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, Kind, Operands, Tensor, UnsupportedError
from llmcost.bench.kernels.elementwise import compiled
from llmcost.model.operators import CausalConv, Scan

DECAY = 0.9


def conv_operands(op: CausalConv, dtype: str, device: Device) -> Operands:
    """Tokens (b, channels, s), the last inputs of each sequence, the weights a channel."""
    if op.bias:
        raise UnsupportedError("no convolution with a bias here")
    x = device.normal((op.b, op.channels, op.s), dtype)
    return Operands(
        (x,),
        (device.normal((op.b, op.channels, op.kernel - 1), dtype), device.normal((op.channels, 1, op.kernel), dtype)),
    )


def convolve(x: Tensor, last: Tensor, weight: Tensor) -> Tensor:
    """A prompt through torch's convolution; a token as a product with its window."""
    window = torch.cat([last, x], dim=2)
    if x.shape[2] > 1:
        return functional.conv1d(window, weight, groups=weight.shape[0])
    return (window * weight.squeeze(1)).sum(2, keepdim=True)


def conv_expected(_op: CausalConv, given: Operands) -> tuple[Index, Tensor]:
    """The last sequence."""
    return (slice(-1, None),), convolve(given.hot[0][-1:].float(), given.cold[0][-1:].float(), given.cold[1].float())


def scan_operands(op: Scan, dtype: str, device: Device) -> Operands:
    """Query and key (b, heads, dk), value (b, heads, dv), the state (b, heads, dk, dv)."""
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
    """The state decays and takes in k·vᵀ; q reads it."""
    after = state * DECAY + k[..., None] * v[..., None, :]
    return (q[..., None] * after).sum(-2), after


def delta_step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The same with what the state holds for k taken off v first."""
    faded = state * DECAY
    after = faded + k[..., None] * (v - (k[..., None] * faded).sum(-2))[..., None, :]
    return (q[..., None] * after).sum(-2), after


def scan_expected(op: Scan, given: Operands) -> tuple[Index, Tensor]:
    """The last sequence."""
    last = [each[-1:].float() for each in (*given.hot, *given.cold)]
    return (slice(-1, None),), (delta_step if op.delta else step)(*last)[0]


CONV = Kind(conv_operands, conv_expected, lambda _case, device: compiled("convolution", convolve, device))
SCAN = Kind(
    scan_operands,
    scan_expected,
    lambda case, device: compiled("scan", delta_step if getattr(case.op, "delta", False) else step, device),
)
