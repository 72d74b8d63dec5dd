"""Streaming kernels in Triton: residual and norm, gated activation, rotary embedding, copy, fill. One pass over memory each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

EPS = 1e-6
BLOCK = 1024  # elements a program, where rows do not matter


def add_norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """RMSNorm of the sum, and the sum: a program a token."""
    y, total = torch.empty_like(x), torch.empty_like(x)
    width = x.shape[1]
    block = triton.next_power_of_2(width)
    _add_norm[(x.shape[0],)](
        x, residual, weight, y, total, width, EPS, BLOCK=block, num_warps=max(4, min(16, block // 512))
    )
    return y, total


def gated(x: torch.Tensor) -> torch.Tensor:
    """SiLU of the first half times the second."""
    tokens, width = x.shape[0], x.shape[1] // 2
    out = x.new_empty((tokens, width))
    _gated[(tokens, triton.cdiv(width, BLOCK))](x, out, width, BLOCK=BLOCK, num_warps=4)
    return out


def rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Pairs (tokens, heads, 2, half) turned by angles (tokens, 1, half)."""
    tokens, heads, _, half = x.shape
    out = torch.empty_like(x)
    pairs = heads * half
    _rotary[(tokens, triton.cdiv(pairs, BLOCK))](x, cos, sin, out, pairs, HALF=half, BLOCK=BLOCK, num_warps=4)
    return out


def copy(x: torch.Tensor) -> torch.Tensor:
    """16 kB a program."""
    out, block = torch.empty_like(x), 8 * BLOCK
    _copy[(triton.cdiv(x.numel(), block),)](x, out, x.numel(), BLOCK=block, num_warps=8)
    return out


def fill(x: torch.Tensor) -> torch.Tensor:
    """The same number everywhere."""
    block = 8 * BLOCK
    _fill[(triton.cdiv(x.numel(), block),)](x, x.numel(), BLOCK=block, num_warps=8)
    return x


@triton.jit
def _add_norm(x, residual, weight, y, total, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    cols = tl.arange(0, BLOCK)
    mask = cols < width
    left = tl.load(x + row + cols, mask=mask, other=0.0).to(tl.float32)
    right = tl.load(residual + row + cols, mask=mask, other=0.0).to(tl.float32)
    both = left + right
    scale = tl.rsqrt(tl.sum(both * both, 0) / width + eps)
    tl.store(total + row + cols, both.to(total.dtype.element_ty), mask=mask)
    gain = tl.load(weight + cols, mask=mask, other=0.0).to(tl.float32)
    tl.store(y + row + cols, (both * scale * gain).to(y.dtype.element_ty), mask=mask)


@triton.jit
def _gated(x, out, width, BLOCK: tl.constexpr):
    row, cols = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < width
    gate = tl.load(x + row * 2 * width + cols, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * width + width + cols, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row * width + cols, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), mask=mask)


@triton.jit
def _rotary(x, cos, sin, out, pairs, HALF: tl.constexpr, BLOCK: tl.constexpr):
    row, pair = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = pair < pairs
    channel = pair % HALF
    at = row * 2 * pairs + (pair // HALF) * 2 * HALF + channel
    left, right = tl.load(x + at, mask=mask).to(tl.float32), tl.load(x + at + HALF, mask=mask).to(tl.float32)
    c, s = (
        tl.load(cos + row * HALF + channel, mask=mask).to(tl.float32),
        tl.load(sin + row * HALF + channel, mask=mask).to(tl.float32),
    )
    tl.store(out + at, (left * c - right * s).to(out.dtype.element_ty), mask=mask)
    tl.store(out + at + HALF, (right * c + left * s).to(out.dtype.element_ty), mask=mask)


@triton.jit
def _copy(x, out, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < count), mask=at < count)


@triton.jit
def _fill(x, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + at, tl.full((BLOCK,), 1.5, x.dtype.element_ty), mask=at < count)


KERNELS = {"write": fill, "residual and norm": add_norm, "silu and product": gated, "rotary": rotary, "copy": copy}
