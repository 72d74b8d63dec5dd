"""Decode attention over a latent cache in Triton: all heads of a token share one key, whose first part is the value.

One program takes some heads of one sequence and one stretch of its latents. Each tile of latents is read once and used
twice, as keys and as values. A second kernel weighs the answers of the stretches, as in split_kv_triton.py. This is
what DeepSeek's absorbed form asks for (arXiv 2405.04434, section 2.1.2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from llmcost.bench.kernels.split_kv_triton import LOG2_E, combine


class Tile(NamedTuple):
    """How one program works: heads at a time, latents a tile, warps, and tiles under way."""

    heads: int
    latents: int
    warps: int
    stages: int


# Up to so many heads: on an H200 the fastest of some twenty tiles, over 8 to 64 sequences of 2,048 and 4,096 latents.
TILES = {16: Tile(16, 32, 4, 2), 10**6: Tile(32, 64, 4, 3)}


def decode(q: torch.Tensor, latents: torch.Tensor, dv: int, sinks: torch.Tensor | None = None) -> torch.Tensor:
    """The answer (b, a, 1, dv) to queries (b, a, 1, d) over contiguous latents (b, 1, c, d), values their first dv.

    sinks: a score of each head, (a,), that takes part in the softmax without a value.
    """
    b, a, _, d = q.shape
    keys = latents.shape[2]
    tile = next(tile for heads, tile in TILES.items() if a <= heads)
    blocks, least = triton.cdiv(a, tile.heads), 4 * tile.latents
    units = torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 4
    splits = max(1, min(triton.cdiv(keys, least), triton.cdiv(2 * units, b * blocks)))
    stretch = triton.cdiv(triton.cdiv(keys, splits), tile.latents) * tile.latents
    splits = triton.cdiv(keys, stretch)
    out = q.new_empty((b, a, 1, dv))
    part = out if splits == 1 else q.new_empty((splits, b, a, dv), dtype=torch.float32)
    weight = q.new_empty((splits, b, a), dtype=torch.float32)
    _stretch[(b, blocks, splits)](
        q, latents, q if sinks is None else sinks, part, weight, b, keys, stretch, q.stride(0), q.stride(1),
        d**-0.5 * LOG2_E, LOG2_E, SINKS=sinks is not None, A=a, D=d, DV=dv, DVP=triton.next_power_of_2(dv),
        REST=d - dv, RESTP=triton.next_power_of_2(max(16, d - dv)), M=tile.heads, TILE=tile.latents,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    if splits > 1:
        combine(part, weight, out)
    return out


@triton.jit
def _stretch(
    q, latents, sinks, part, weight, b, keys, stretch, q_sequence, q_head, scale, log2_e, SINKS: tl.constexpr,
    A: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, DVP: tl.constexpr, REST: tl.constexpr, RESTP: tl.constexpr,
    M: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    sequence, block, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    head = block * M + tl.arange(0, M)
    mine = head < A
    cols, rest = tl.arange(0, DVP), tl.arange(0, RESTP)
    at = q + sequence * q_sequence + head[:, None] * q_head
    query = tl.load(at + cols, mask=mine[:, None] & (cols < DV), other=0.0)
    other = tl.load(at + DV + rest, mask=mine[:, None] & (rest < REST), other=0.0)
    top = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    if SINKS:  # noqa: SIM102 - known when it is compiled, the next is not
        if split == 0:
            top = tl.load(sinks + head, mask=mine, other=0.0).to(tl.float32) * log2_e
            total = tl.full((M,), 1.0, tl.float32)
    answer = tl.zeros((M, DVP), tl.float32)
    begin = split * stretch
    end = tl.minimum(begin + stretch, keys)
    for start in range(begin, end, TILE):
        key = start + tl.arange(0, TILE)
        there = key < end
        row = latents + (sequence * keys + key[:, None]) * D
        tile = tl.load(row + cols, mask=there[:, None] & (cols < DV), other=0.0)
        scores = tl.dot(query, tl.trans(tile))
        if REST > 0:
            more = tl.load(row + DV + rest, mask=there[:, None] & (rest < REST), other=0.0)
            scores += tl.dot(other, tl.trans(more))
        scores = tl.where(there, scores * scale, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        p = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(p, 1)
        answer = answer * fade[:, None] + tl.dot(p.to(tile.dtype), tile)
        top = higher
    place = (split.to(tl.int64) * b + sequence) * A + head
    to = part + place[:, None] * DV + cols
    tl.store(to, (answer / total[:, None]).to(part.dtype.element_ty), mask=mine[:, None] & (cols < DV))
    tl.store(weight + place, top + tl.log2(total), mask=mine)
