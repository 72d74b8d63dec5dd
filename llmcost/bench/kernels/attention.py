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
    """Queries (b, a, s, d), keys (b, g, c, d) and values (b, g, c, dv); copies only of keys that were chosen.

    sinks: a learned score of each head, (a,), that takes part in the softmax and has no value; None where there are
    none.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    sinks: Tensor | None


def kv_heads(op: Attention) -> int:
    """How many heads keys and values have.

    There is one for each query head where they are expanded from a latent, and a single one where the latent is read.
    """
    return int(op.a if op.streamed else op.kv_heads)


def from_prompt(op: Attention) -> bool:
    """Whether keys and values are those of the same tokens as the queries, so that none come from a cache."""
    return bool(op.s == op.c)


def operands(op: Attention, dtype: str, device: Device) -> Operands:
    """Projected q, k and v side by side, (tokens, all heads), as the kernel before wrote them; cache; sinks (a,).

    Only decode steps have a cache: keys (b, g, keys, d) and values (b, g, keys, dv), or one latent for both. Where a
    query sees chosen keys, their rows in the cache, (b·g·chosen,), are the second hot operand, as an indexer wrote
    them. Raises UnsupportedError for attention that no kernel here computes.
    """
    if dtype == "fp8":
        raise UnsupportedError("no attention in fp8 here")
    if not from_prompt(op) and op.s > 1:
        raise UnsupportedError("no kernel here for a chunk of a prompt")
    g, keys = kv_heads(op), int(op.kept())
    if keys == 0:
        raise UnsupportedError(f"no key yet: one for {op.every} tokens, after {op.c}")
    if from_prompt(op) and op.s > 1 and (op.every or op.dv == 0 or (op.span == "top" and op.w < op.s)):
        raise UnsupportedError("no kernel here for prompts over compressed or chosen keys, or for scores alone")
    packed = device.normal((op.b * op.s, op.a * op.d + g * (op.d + op.dv)), dtype)
    sinks = (device.normal((op.a,), dtype),) if op.sinks else ()
    if from_prompt(op):
        return Operands((packed,), sinks)
    if _latent(op):
        cache: tuple[Tensor, ...] = (device.normal((op.b, 1, keys, op.cached), dtype),)
    else:
        cache = (device.normal((op.b, g, keys, op.d), dtype), device.normal((op.b, g, keys, op.dv), dtype))
    return Operands((packed, *_chosen_rows(op, device)), cache + sinks)


def chooses(op: Attention) -> bool:
    """Whether a decode step reads some of its keys alone: those that an indexer chose."""
    return bool(op.span == "top" and not from_prompt(op) and op.read() < op.kept())


def _chosen_rows(op: Attention, device: Device) -> tuple[Tensor, ...]:
    """The rows of the cache, (b·g·chosen,), that hold the chosen keys of each sequence and head: drawn, in order."""
    if not chooses(op):
        return ()
    heads, keys, chosen = op.b * (1 if _latent(op) else kv_heads(op)), int(op.kept()), int(op.read())
    drawn = torch.rand((heads, keys), device=device.kind).topk(chosen, dim=1).indices.sort(dim=1).values
    return ((drawn + torch.arange(heads, device=device.kind)[:, None] * keys).flatten(),)


def _latent(op: Attention) -> bool:
    """Whether the cache is a latent: values are a part of the cached keys."""
    return bool(op.cached < op.d + op.dv)


def views(op: Attention, packed: Tensor, *others: Tensor) -> Views:
    """Queries, keys, values and sinks as kernels take them, out of the operands. Chosen keys are copied together."""
    g = kv_heads(op)
    q = packed[:, : op.a * op.d].view(op.b, op.s, op.a, op.d).transpose(1, 2)
    cache, sinks = (others[:-1], others[-1]) if op.sinks else (others, None)
    if chooses(op):
        rows, *whole = cache
        cache = tuple(_gathered(each, rows) for each in whole)
    if len(cache) == 2:
        return Views(q, *cache, sinks)
    if cache:
        return Views(q, cache[0][..., : op.d], cache[0][..., : op.dv], sinks)
    _, k, v = torch.split(packed, [op.a * op.d, g * op.d, g * op.dv], dim=1)
    k, v = (each.view(op.b, op.s, g, -1).transpose(1, 2) for each in (k, v))
    return Views(q, k, v, sinks)


def _gathered(cache: Tensor, rows: Tensor) -> Tensor:
    """The given rows of a cache (b, g, keys, d), as a cache of fewer keys."""
    b, g, _, d = cache.shape
    return cache.view(-1, d).index_select(0, rows).view(b, g, -1, d)


def token_major(answer: Tensor) -> Tensor:
    """An answer (b, heads, s, dv) as the next kernel reads it, (b, s, heads, dv); copied only if stored otherwise."""
    return answer.transpose(1, 2).contiguous()


def expected(op: Attention, given: Operands) -> tuple[Index, Tensor]:
    """The answer to the last queries of the last sequence, from scores that are written out in float32."""
    seen = views(op, *given.hot, *given.cold)
    q, k, v = (each[-1].float() for each in seen[:3])
    queries = min(CHECKED_QUERIES, op.s)
    shared = op.a // k.shape[0]
    k, v = k.repeat_interleave(shared, 0), v.repeat_interleave(shared, 0)
    scores = q[:, -queries:] @ k.transpose(1, 2) * op.d**-0.5
    where = (slice(op.b - 1, op.b), slice(op.s - queries, op.s))
    if op.dv == 0:
        return where, scores[None].transpose(1, 2)
    if op.s > 1:
        scores = scores.masked_fill(~_mask(op, q.device)[-queries:], float("-inf"))
    sinks = None if seen.sinks is None else seen.sinks.float()[:, None, None]
    return where, (weights(scores, sinks) @ v)[None].transpose(1, 2)


def weights(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """The softmax of scores (…, keys), in which a head's sink, (…, 1), takes its share as a key without a value."""
    if sinks is None:
        return scores.softmax(-1)
    return torch.cat([scores, sinks.expand(*scores.shape[:-1], 1)], dim=-1).softmax(-1)[..., :-1]


def sees(op: Attention) -> Callable[..., Any]:
    """Whether a query sees a key, by their positions: those before it, of its window, or of its chunk."""
    if op.span == "chunk":
        return lambda query, key: (query >= key) & (query // op.w == key // op.w)
    if op.span == "window":
        return lambda query, key: (query >= key) & (query - key < op.w)
    return lambda query, key: query >= key


def plain(op: Attention) -> bool:
    """Whether a prompt's queries see all tokens before them, and nothing but tokens: what every backend computes."""
    return not op.sinks and (op.span in ("all", "top") or bool(op.w >= op.s))


@lru_cache(maxsize=4)
def _mask(op: Attention, device: torch.device) -> Tensor:
    """Which keys each query of a prompt sees, (s, s)."""
    place = torch.arange(op.s, device=device)
    seen: Tensor = sees(op)(place[:, None], place)
    return seen


def ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """The ways that installed software offers for prompts, or for decode steps."""
    op: Any = case.op
    if op.dv == 0:
        return {"matmul": Way(_scores)}
    prompt = from_prompt(op) and op.s > 1
    flex = {"flex": Way(_flex, compiles=True)} if device.graphs and not (op.streamed or _latent(op)) else {}
    if prompt and not plain(op):  # flex passes over blocks that no query sees: the likely winner
        return flex | _masked_ways(op, device)
    found = _prompt_ways(op, device) if prompt else _decode_ways(op, case.dtype, device)
    return found | flex if case.every or (op.sinks and not prompt) else found


def _masked_ways(op: Attention, device: Device) -> dict[str, Way]:
    """Ways that compute all pairs of a prompt and are told by a mask which of them count."""
    few = 4 * op.b * op.a * op.s * op.s <= MATH_BYTES
    found = {"matmul, softmax, matmul": Way(_written_out)} if few else {}
    if op.sinks:
        return found
    backends = [(name, backend) for name, backend in _backends(device) if name in ("efficient", "cudnn")]
    return found | {f"sdpa {name}, masked": _sdpa(backend, _masked) for name, backend in backends}


def _prompt_ways(op: Attention, device: Device) -> dict[str, Way]:
    found = {}
    shared = kv_heads(op) < op.a
    for name, backend in _backends(device):
        if name == "math" and 4 * op.b * op.a * op.s * op.s > MATH_BYTES:
            continue
        slow = device.graphs and name == "math"
        found[f"sdpa {name}, gqa" if shared else f"sdpa {name}"] = _sdpa(backend, _natively)._replace(last_resort=slow)
        if shared and name != "math":
            found[f"sdpa {name}, repeated"] = _sdpa(backend, _repeated)._replace(last_resort=device.graphs)
    if find_spec("flash_attn") and device.graphs:
        found["flash_attn"] = Way(_flash_attn)
    return found


def _decode_ways(op: Attention, dtype: str, device: Device) -> dict[str, Way]:
    found = {}
    for name, backend in () if op.sinks else _backends(device):
        for how, formulation in (("gqa", _natively), ("folded", _folded), ("repeated", _repeated)):
            slow = device.graphs and (name == "math" or (how == "repeated" and kv_heads(op) < op.a))
            found[f"sdpa {name}, {how}"] = _sdpa(backend, formulation)._replace(last_resort=slow)
    found["matmul, softmax, matmul"] = Way(_written_out)
    if device.graphs and find_spec("triton") and not _latent(op):
        from llmcost.bench.kernels.split_kv_triton import decode

        found["split-kv (triton)"] = Way(lambda op, packed, *others: token_major(decode(*views(op, packed, *others))))
    if device.graphs and find_spec("triton") and _latent(op):
        found["latents (triton)"] = Way(_by_latents)
    if op.sinks or chooses(op) or _latent(op) or not device.graphs:
        return found
    if find_spec("flash_attn"):
        found["flash_attn with kv cache"] = Way(_flash_attn_decode, lambda k, v: (_tokens_first(k), _tokens_first(v)))
    if find_spec("flashinfer"):
        found["flashinfer"] = _flashinfer(op, dtype)
    return found


def _by_latents(op: Attention, packed: Tensor, *others: Tensor) -> Tensor:
    from llmcost.bench.kernels.latent_triton import decode

    q, k, _, sinks = views(op, packed, *others)
    return token_major(decode(q, k, op.dv, sinks))


def _backends(device: Device) -> list[tuple[str, SDPBackend]]:
    return [(name, backend) for name, backend in BACKENDS.items() if device.kind != "cpu" or name in ON_CPU]


def _sdpa(backend: SDPBackend, formulation: Callable[..., Tensor]) -> Way:
    def run(op: Attention, packed: Tensor, *others: Tensor) -> Tensor:
        q, k, v, _ = views(op, packed, *others)
        with _only(backend):
            return token_major(formulation(op, q, k, v))

    return Way(run)


def _only(backend: SDPBackend) -> AbstractContextManager[Any]:
    context: AbstractContextManager[Any] = sdpa_kernel(backend)
    return context


def _natively(op: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return sdpa(q, k, v, is_causal=op.s > 1, enable_gqa=q.shape[1] != k.shape[1])


def _folded(_op: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    b, a, _, d = q.shape
    return sdpa(q.reshape(b, k.shape[1], -1, d), k, v).reshape(b, a, 1, -1)


def _repeated(op: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    shared = q.shape[1] // k.shape[1]
    return sdpa(q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1), is_causal=op.s > 1)


def _masked(op: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    shared = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    return sdpa(q, k, v, attn_mask=_mask(op, q.device))


def _scores(op: Attention, packed: Tensor, *others: Tensor) -> Tensor:
    """The scores (b, 1, a, keys) of a decode step, all that an indexer computes; no kernel here takes the best."""
    q, k, _, _ = views(op, packed, *others)
    b, a, _, d = q.shape
    scores: Tensor = q.reshape(b, k.shape[1], -1, d) * d**-0.5 @ k.transpose(2, 3)
    return scores.view(b, 1, a, -1)


def _written_out(op: Attention, packed: Tensor, *others: Tensor) -> Tensor:
    q, k, v, sinks = views(op, packed, *others)
    b, a, s, d = q.shape
    g = k.shape[1]
    scores = q.reshape(b, g, -1, d) * d**-0.5 @ k.transpose(2, 3)
    if s > 1:
        scores = scores.view(b, a, s, s).masked_fill(~_mask(op, q.device), float("-inf")).view(b, g, -1, s)
    if sinks is not None:
        sinks = sinks.view(g, a // g, 1, 1).expand(-1, -1, s, -1).reshape(g, -1, 1).expand(b, -1, -1, -1)
    return token_major((weights(scores, sinks) @ v).view(b, a, s, -1))


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


@lru_cache(maxsize=4)
def _blocks(op: Attention, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    seen = sees(op)
    return create_block_mask(lambda _b, _h, query, key: seen(query, key), None, None, op.s, op.s, device=str(device))


def _flex(op: Attention, packed: Tensor, *others: Tensor) -> Tensor:
    """Flex attention. A sink takes from all weights of its head alike: σ(ln Σ exp(scores) - sink) is left of them."""
    q, k, v, sinks = views(op, packed, *others)
    blocks: Any = _blocks(op, packed.device) if op.s > 1 else None
    grouped = q.shape[1] != k.shape[1]
    if sinks is None:
        return token_major(_compiled_flex()(q, k, v, block_mask=blocks, enable_gqa=grouped))
    answer, log_total = _compiled_flex()(q, k, v, block_mask=blocks, enable_gqa=grouped, return_lse=True)
    return token_major(answer * torch.sigmoid(log_total - sinks[:, None])[..., None].to(answer.dtype))


def _tokens_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous()


def _flash_attn(op: Attention, packed: Tensor) -> Tensor:
    from flash_attn import flash_attn_func

    q, k, v = (each.transpose(1, 2) for each in views(op, packed)[:3])
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
