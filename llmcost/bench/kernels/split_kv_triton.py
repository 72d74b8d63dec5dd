"""Decode attention in Triton: the keys of every sequence are split among programs, so that few sequences fill the chip.

One program takes one KV head of one sequence and one stretch of its keys, for all query heads that share it. A second
kernel weighs the answers of the stretches by their sums of exponentials. This is flash decoding; FlashAttention
(arXiv 2205.14135, section 3.1) gives the algebra.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

LOG2_E = 1.4426950408889634
ROWS = 16  # the fewest that tl.dot takes
# One program a multiprocessor, with three stages of loads under way: on an H200 4 % to 34 % faster than four programs.


def decode(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sinks: torch.Tensor | None = None) -> torch.Tensor:
    """The answer (b, a, 1, dv) to queries (b, a, 1, d) over contiguous keys (b, g, c, d) and values (b, g, c, dv).

    sinks: a score of each head, (a,), that takes part in the softmax without a value.
    """
    b, a, _, d = q.shape
    g, keys, dv = k.shape[1], k.shape[2], v.shape[3]
    share = a // g
    block = 64 if max(d, dv) > 128 else 128
    units = torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 4
    splits = max(1, min(triton.cdiv(keys, block), triton.cdiv(units, b * g)))
    stretch = triton.cdiv(triton.cdiv(keys, splits), block) * block
    splits = triton.cdiv(keys, stretch)
    out = q.new_empty((b, a, 1, dv))
    part = out if splits == 1 else q.new_empty((splits, b, a, dv), dtype=torch.float32)
    weight = q.new_empty((splits, b, a), dtype=torch.float32)
    _stretch[(b * g, splits)](
        q, k, v, q if sinks is None else sinks, part, weight, b * a, g, keys, stretch, q.stride(0), q.stride(1),
        d**-0.5 * LOG2_E, LOG2_E, SINKS=sinks is not None, SHARE=share, D=d, DV=dv, DP=triton.next_power_of_2(d),
        DVP=triton.next_power_of_2(dv), M=max(ROWS, triton.next_power_of_2(share)), BLOCK=block,
        num_warps=4, num_stages=3,
    )  # fmt: skip
    if splits > 1:
        combine(part, weight, out)
    return out


def combine(part: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
    """Weigh the answers of stretches, (splits, b, a, dv), by their sums' binary logarithms (splits, b, a), into out."""
    splits, b, a, dv = part.shape
    padded = {"DVP": triton.next_power_of_2(dv), "SPLITS": triton.next_power_of_2(splits)}
    _combine[(b * a,)](part, weight, out, b * a, splits, DV=dv, **padded)


@triton.jit
def _stretch(
    q, k, v, sinks, part, weight, heads, g, keys, stretch, q_sequence, q_head, scale, log2_e, SINKS: tl.constexpr,
    SHARE: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, DP: tl.constexpr, DVP: tl.constexpr, M: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    kv, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    sequence, kv_head = kv // g, kv % g
    rows, cols, vcols = tl.arange(0, M), tl.arange(0, DP), tl.arange(0, DVP)
    head = kv_head * SHARE + rows
    mine = rows < SHARE
    query = tl.load(
        q + sequence * q_sequence + head[:, None] * q_head + cols, mask=mine[:, None] & (cols < D), other=0.0
    )
    top = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    if SINKS:  # noqa: SIM102 - known when it is compiled, the next is not
        if split == 0:  # the first stretch begins with the sink, as a key before all others whose value is 0
            top = tl.load(sinks + head, mask=mine, other=0.0).to(tl.float32) * log2_e
            total = tl.full((M,), 1.0, tl.float32)
    answer = tl.zeros((M, DVP), tl.float32)
    begin = split * stretch
    end = tl.minimum(begin + stretch, keys)
    for start in range(begin, end, BLOCK):
        key = start + tl.arange(0, BLOCK)
        there = key < end
        ks = tl.load(k + (kv * keys + key[:, None]) * D + cols, mask=there[:, None] & (cols < D), other=0.0)
        scores = tl.dot(query, tl.trans(ks)) * scale
        scores = tl.where(there, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        p = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(p, 1)
        vs = tl.load(v + (kv * keys + key[:, None]) * DV + vcols, mask=there[:, None] & (vcols < DV), other=0.0)
        answer = answer * fade[:, None] + tl.dot(p.to(vs.dtype), vs)
        top = higher
    row = sequence * g * SHARE + head
    to = part + (split.to(tl.int64) * heads + row[:, None]) * DV + vcols
    tl.store(to, (answer / total[:, None]).to(part.dtype.element_ty), mask=mine[:, None] & (vcols < DV))
    tl.store(weight + split * heads + row, top + tl.log2(total), mask=mine)


@triton.jit
def _combine(part, weight, out, heads, splits, DV: tl.constexpr, DVP: tl.constexpr, SPLITS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    each, cols = tl.arange(0, SPLITS), tl.arange(0, DVP)
    logs = tl.load(weight + each * heads + row, mask=each < splits, other=float("-inf"))
    shares = tl.exp2(logs - tl.max(logs, 0))
    mask = (each[:, None] < splits) & (cols < DV)
    parts = tl.load(part + (each[:, None] * heads + row) * DV + cols, mask=mask, other=0.0)
    answer = tl.sum(parts * shares[:, None], 0) / tl.sum(shares, 0)
    tl.store(out + row * DV + cols, answer.to(out.dtype.element_ty), mask=cols < DV)
