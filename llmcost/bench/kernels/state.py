"""Kernels with a state: convolutions along the tokens, and linear recurrences, of a step or over a prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch.nn import functional

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.bench.kernels.elementwise import compiled
from llmcost.model.operators import CausalConv, Scan

DECAY = 0.9  # of the state a step
CHUNK = 64  # tokens that a prompt's recurrence takes at a time


def conv_operands(op: CausalConv, dtype: str, device: Device) -> Operands:
    """Tokens (b, channels, s), the last inputs of each sequence (b, channels, kernel - 1), weights and bias."""
    x = device.normal((op.b, op.channels, op.s), dtype)
    last = device.normal((op.b, op.channels, op.kernel - 1), dtype)
    weight = device.normal((op.channels, 1, op.kernel), dtype)
    return Operands((x,), (last, weight, *((device.normal((op.channels,), dtype),) if op.bias else ())))


def convolve(x: Tensor, last: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution of a prompt by torch's own; of a single token as a product with its window."""
    window = torch.cat([last, x], dim=2)
    if x.shape[2] > 1:
        return functional.conv1d(window, weight, bias, groups=weight.shape[0])
    answer = (window * weight.squeeze(1)).sum(2, keepdim=True)
    return answer if bias is None else answer + bias[:, None]


def conv_expected(_op: CausalConv, given: Operands) -> tuple[Index, Tensor]:
    """The answer for the last sequence."""
    last, *weights = given.cold
    right = convolve(given.hot[0][-1:].float(), last[-1:].float(), *(each.float() for each in weights))
    return (slice(-1, None),), right


def scan_operands(op: Scan, dtype: str, device: Device) -> Operands:
    """Query and key (b, s, heads, dk) and value (b, s, heads, dv); of a step also the state (b, heads, dk, dv).

    A prompt begins without a state. Raises UnsupportedError for prompts of state-space models in which every channel
    decays by itself (Mamba 1).
    """
    if op.s > 1 and op.dv == 1:
        raise UnsupportedError("no kernel here for a prompt's recurrence in which every channel decays by itself")
    keys = (op.b, op.s, op.heads, op.dk)
    values = (op.b, op.s, op.heads, op.dv)
    hot = device.normal(keys, dtype), device.normal(keys, dtype, op.dk**-0.5), device.normal(values, dtype)
    if op.s > 1:
        return Operands(hot, ())
    token = tuple(each.squeeze(1) for each in hot)
    return Operands(token, (device.normal((op.b, op.heads, op.dk, op.dv), "fp32" if op.Bs == 4 else dtype),))


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
    """The answer for the last sequence; of a prompt, token after token."""
    each: Callable[..., tuple[Tensor, Tensor]] = delta_step if op.delta else step
    last = [x[-1:].float() for x in (*given.hot, *given.cold)]
    if op.s == 1:
        return (slice(-1, None),), each(*last)[0]
    state = torch.zeros((1, op.heads, op.dk, op.dv), device=last[0].device)
    answers = []
    for token in zip(*(x.unbind(1) for x in last), strict=True):
        answer, state = each(*token, state)
        answers.append(answer)
    return (slice(-1, None),), torch.stack(answers, dim=1)


def in_chunks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention over a prompt, in chunks of CHUNK tokens (arXiv 2405.21060, section 6).

    Inside a chunk it is a product of scores that decay with the distance; states go from chunk to chunk.
    """
    s = q.shape[1]
    q, k, v = (_chunked(x) for x in (q, k, v))
    place = torch.arange(CHUNK, device=q.device)
    distance = place[:, None] - place
    fade = torch.where(distance >= 0, DECAY ** distance.clamp(min=0), 0.0).to(q.dtype)
    inside = (q @ k.transpose(-1, -2) * fade) @ v
    left = (k * DECAY ** (CHUNK - 1 - place)[:, None]).to(v.dtype).transpose(-1, -2) @ v  # of each chunk, at its end
    state, before = torch.zeros_like(left[:, 0], dtype=torch.float32), []
    for of_chunk in left.unbind(1):
        before.append(state)
        state = state * DECAY**CHUNK + of_chunk
    carried = (q * DECAY ** (place + 1)[:, None]).to(v.dtype) @ torch.stack(before, dim=1).to(v.dtype)
    return (inside + carried).transpose(2, 3).flatten(1, 2)[:, :s]


def _chunked(x: Tensor) -> Tensor:
    """Tokens (b, s, heads, d) as (b, chunks, heads, CHUNK, d), the last chunk filled with zeros."""
    b, s, heads, d = x.shape
    return functional.pad(x, (0, 0, 0, 0, 0, -s % CHUNK)).view(b, -1, CHUNK, heads, d).transpose(2, 3)


def scan_ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """A step as torch compiles it; a prompt by flash-linear-attention where it is installed, or in chunks by torch.

    Raises UnsupportedError for a prompt under the delta rule without that library: no plain form is near its time.
    """
    op: Any = case.op
    if op.s == 1:
        return compiled("scan", delta_step if op.delta else step, device)
    found = {}
    if device.graphs and find_spec("fla"):
        found["flash-linear-attention"] = Way(_by_library)
    if not op.delta:
        return found | {"chunks": Way(lambda _op, *given: in_chunks(*given))}
    if not found:
        raise UnsupportedError("a prompt under the delta rule needs flash-linear-attention (fla), which is not there")
    return found


def _by_library(op: Scan, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Kernels of github.com/fla-org/flash-linear-attention."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.simple_gla import chunk_simple_gla

    fade = torch.full(q.shape[:3], math.log(DECAY), device=q.device)
    if op.delta:
        answer = chunk_gated_delta_rule(q, k, v, fade, torch.ones_like(fade).to(q.dtype), 1.0, output_final_state=True)
    else:
        answer = chunk_simple_gla(q, k, v, fade, scale=1.0, output_final_state=True)
    return cast("Tensor", answer[0])


CONV = Kind(conv_operands, conv_expected, lambda _case, device: compiled("convolution", convolve, device))
SCAN = Kind(scan_operands, scan_expected, scan_ways)
