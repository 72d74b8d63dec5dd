"""Attention: each formulation on each of torch's backends, flex attention, and the decode kernels that are installed.

A formulation is how a kernel is given grouped heads. It may take them natively (`enable_gqa`). The group may be folded
into the queries' length, so that one query of each head becomes a/g queries of each KV head. Keys and values may be
repeated for every head. Or two plain matrix products stand around a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.model.operators import Attention

CHECKED_QUERIES = 16
BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
ON_CPU = ("flash", "math")
MATH_BYTES = 4 * 10**9  # the most that scores may take where they are written out


class Views(NamedTuple):
    """Queries (b, a, s, d), keys (b, g, c, d) and values (b, g, c, dv), no copies."""

    q: Tensor
    k: Tensor
    v: Tensor


def kv_heads(op: Attention) -> int:
    """How many heads keys and values have.

    There is one for each query head where they are expanded from a latent, and a single one where the latent is read.
    """
    return int(op.a if op.streamed else op.kv_heads)


def from_prompt(op: Attention) -> bool:
    """Whether keys and values are those of the same tokens as the queries, so that none come from a cache."""
    return bool(op.s == op.c)


def operands(op: Attention, dtype: str, device: Device) -> Operands:
    """Projected q, k and v side by side, (tokens, all heads), as the kernel before wrote them; and the cache.

    Only decode steps have a cache: keys (b, g, keys, d) and values (b, g, keys, dv), or one latent for both. Raises
    UnsupportedError for attention that no kernel here computes.
    """
    if op.sinks or op.every or op.span == "top" or op.dv == 0 or dtype == "fp8":
        raise UnsupportedError("no kernel here for sinks, compressed or chosen keys, or scores alone")
    if not from_prompt(op) and op.s > 1:
        raise UnsupportedError("no kernel here for a chunk of a prompt")
    if from_prompt(op) and op.span != "all" and op.w < op.s:
        raise UnsupportedError("no kernel here for windows shorter than the prompt")
    g, keys = kv_heads(op), int(op.kept())
    packed = device.normal((op.b * op.s, op.a * op.d + g * (op.d + op.dv)), dtype)
    if from_prompt(op):
        return Operands((packed,), ())
    if _latent(op):
        return Operands((packed,), (device.normal((op.b, 1, keys, op.cached), dtype),))
    cache = (device.normal((op.b, g, keys, op.d), dtype), device.normal((op.b, g, keys, op.dv), dtype))
    return Operands((packed,), cache)


def _latent(op: Attention) -> bool:
    """Whether the cache is a latent: values are a part of the cached keys."""
    return bool(op.cached < op.d + op.dv)


def views(op: Attention, packed: Tensor, *cache: Tensor) -> Views:
    """Queries, keys and values as kernels take them, out of the operands."""
    g = kv_heads(op)
    q = packed[:, : op.a * op.d].view(op.b, op.s, op.a, op.d).transpose(1, 2)
    if len(cache) == 2:
        return Views(q, *cache)
    if cache:
        return Views(q, cache[0][..., : op.d], cache[0][..., : op.dv])
    _, k, v = torch.split(packed, [op.a * op.d, g * op.d, g * op.dv], dim=1)
    return Views(q, k.view(op.b, op.s, g, op.d).transpose(1, 2), v.view(op.b, op.s, g, op.dv).transpose(1, 2))


def token_major(answer: Tensor) -> Tensor:
    """An answer (b, heads, s, dv) as the next kernel reads it, (b, s, heads, dv); copied only if stored otherwise."""
    return answer.transpose(1, 2).contiguous()


def expected(op: Attention, given: Operands) -> tuple[Index, Tensor]:
    """The answer to the last queries of the last sequence, from scores that are written out in float32."""
    q, k, v = (each[-1].float() for each in views(op, *given.hot, *given.cold))
    queries = min(CHECKED_QUERIES, op.s)
    shared = op.a // k.shape[0]
    k, v = k.repeat_interleave(shared, 0), v.repeat_interleave(shared, 0)
    scores = q[:, -queries:] @ k.transpose(1, 2) * op.d**-0.5
    keys = k.shape[1]
    if op.s > 1:
        seen = torch.arange(keys, device=q.device) <= torch.arange(keys - queries, keys, device=q.device)[:, None]
        scores = scores.masked_fill(~seen, float("-inf"))
    return (slice(op.b - 1, op.b), slice(op.s - queries, op.s)), (scores.softmax(-1) @ v)[None].transpose(1, 2)


def ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """The ways that installed software offers for prompts, or for decode steps."""
    op: Any = case.op
    prompt = from_prompt(op) and op.s > 1
    found = _prompt_ways(op, device) if prompt else _decode_ways(op, case.dtype, device)
    if case.every and device.graphs and not (op.streamed or _latent(op)):
        found["flex"] = Way(_flex_prompt if prompt else _flex_decode, compiles=True)
    return found


def _prompt_ways(op: Attention, device: Device) -> dict[str, Way]:
    found = {}
    shared = kv_heads(op) < op.a
    for name, backend in _backends(device):
        if name == "math" and 4 * op.b * op.a * op.s * op.s > MATH_BYTES:
            continue
        found[f"sdpa {name}, gqa" if shared else f"sdpa {name}"] = _sdpa(backend, _natively, causal=True)
        if shared and name != "math":
            found[f"sdpa {name}, repeated"] = _sdpa(backend, _repeated, causal=True)
    if find_spec("flash_attn") and device.graphs:
        found["flash_attn"] = Way(_flash_attn)
    return found


def _decode_ways(op: Attention, dtype: str, device: Device) -> dict[str, Way]:
    found = {}
    for name, backend in _backends(device):
        for how, formulation in (("gqa", _natively), ("folded", _folded), ("repeated", _repeated)):
            found[f"sdpa {name}, {how}"] = _sdpa(backend, formulation, causal=False)
    found["matmul, softmax, matmul"] = Way(_written_out)
    if device.graphs and find_spec("triton") and not _latent(op):
        from llmcost.bench.kernels.split_kv_triton import decode

        found["split-kv (triton)"] = Way(lambda op, packed, *cache: token_major(decode(*views(op, packed, *cache))))
    if find_spec("flash_attn") and device.graphs and not _latent(op):
        found["flash_attn with kv cache"] = Way(_flash_attn_decode, lambda k, v: (_tokens_first(k), _tokens_first(v)))
    if find_spec("flashinfer") and device.graphs and not _latent(op):
        found["flashinfer"] = _flashinfer(op, dtype)
    return found


def _backends(device: Device) -> list[tuple[str, SDPBackend]]:
    return [(name, backend) for name, backend in BACKENDS.items() if device.kind != "cpu" or name in ON_CPU]


def _sdpa(backend: SDPBackend, formulation: Callable[..., Tensor], *, causal: bool) -> Way:
    def run(op: Attention, packed: Tensor, *cache: Tensor) -> Tensor:
        with _only(backend):
            return token_major(formulation(*views(op, packed, *cache), causal))

    return Way(run)


def _only(backend: SDPBackend) -> AbstractContextManager[Any]:
    context: AbstractContextManager[Any] = sdpa_kernel(backend)
    return context


def _natively(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    return sdpa(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def _folded(q: Tensor, k: Tensor, v: Tensor, _causal: bool) -> Tensor:
    b, a, _, d = q.shape
    return sdpa(q.reshape(b, k.shape[1], -1, d), k, v).reshape(b, a, 1, -1)


def _repeated(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    shared = q.shape[1] // k.shape[1]
    return sdpa(q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1), is_causal=causal)


def _written_out(op: Attention, packed: Tensor, *cache: Tensor) -> Tensor:
    q, k, v = views(op, packed, *cache)
    b, a, _, d = q.shape
    scores = q.reshape(b, k.shape[1], -1, d) * d**-0.5 @ k.transpose(2, 3)
    answer: Tensor = (scores.softmax(-1) @ v).view(b, 1, a, -1)
    return answer


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


@lru_cache(maxsize=4)
def _causal_blocks(s: int, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(lambda _b, _h, query, key: query >= key, None, None, s, s, device=str(device))


def _flex_prompt(op: Attention, packed: Tensor) -> Tensor:
    q, k, v = views(op, packed)
    return token_major(
        _compiled_flex()(q, k, v, block_mask=_causal_blocks(op.s, packed.device), enable_gqa=q.shape[1] != k.shape[1])
    )


def _flex_decode(op: Attention, packed: Tensor, *cache: Tensor) -> Tensor:
    q, k, v = views(op, packed, *cache)
    return token_major(_compiled_flex()(q, k, v, enable_gqa=q.shape[1] != k.shape[1]))


def _tokens_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous()


def _flash_attn(op: Attention, packed: Tensor) -> Tensor:
    from flash_attn import flash_attn_func

    q, k, v = (each.transpose(1, 2) for each in views(op, packed))
    answer: Tensor = flash_attn_func(q, k, v, causal=True)
    return answer


def _flash_attn_decode(op: Attention, packed: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from flash_attn import flash_attn_with_kvcache

    q = packed[:, : op.a * op.d].view(op.b, 1, op.a, op.d)
    answer: Tensor = flash_attn_with_kvcache(q, k, v, cache_seqlens=k.shape[1])
    return answer


def _flashinfer(op: Attention, dtype: str) -> Way:
    """FlashInfer's batched decode over a paged cache: pages of 16 tokens of a sequence, in order."""
    import flashinfer

    from llmcost.bench.device import DTYPES

    page, pages = 16, -(-int(op.kept()) // 16)
    workspace = torch.empty(2**27, dtype=torch.uint8, device="cuda")
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD")
    starts = torch.arange(op.b + 1, dtype=torch.int32, device="cuda") * pages
    order = torch.arange(op.b * pages, dtype=torch.int32, device="cuda")
    last = torch.full((op.b,), int(op.kept()) - (pages - 1) * page, dtype=torch.int32, device="cuda")
    wrapper.plan(starts, order, last, op.a, kv_heads(op), op.d, page, q_data_type=DTYPES[dtype])

    def paged(x: Tensor) -> Tensor:
        b, g, c, d = x.shape
        room = x.new_zeros((b, pages * page, g, d))
        room[:, :c] = x.transpose(1, 2)
        return room.view(b * pages, page, g, d)

    def run(op: Attention, packed: Tensor, cache: Tensor) -> Tensor:
        answer: Tensor = wrapper.run(packed[:, : op.a * op.d].view(op.b, op.a, op.d), cache).view(op.b, 1, op.a, -1)
        return answer

    return Way(run, lambda k, v: (torch.stack([paged(k), paged(v)], dim=1),))


ATTENTION = Kind(operands, expected, ways)
