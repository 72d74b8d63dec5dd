"""Forms of time of attention and of collectives; kernels.py says what each is made of."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, ceil_div, floor_div, least, maximum, minimum, present
from llmcost.machine.forms_products import Figures, overlapped
from llmcost.model.operators.sequence import causal_pairs

LEAST_STEPS = 2  # steps along the keys that are not divided any further


class Prefill(NamedTuple):
    """The numbers of attention of prompts."""

    launch: float
    compute: float  # share of the peak
    pair: float  # seconds that an SM takes for a (query, key) pair besides its FLOPs: exponentials
    memory: float
    overlap: float
    tile: float  # seconds of a tile of queries besides
    store: float  # times that new keys and values are written to the cache, at the share `memory` of the bandwidth
    token: float  # seconds of an SM a token
    queries: int  # queries in a tile
    outside: float = 0.0  # share of the pairs outside of the window that is computed all the same
    host: float = 0.0  # seconds in which the host launches its kernels, where these were not in a CUDA graph


class Decode(NamedTuple):
    """The numbers of attention of one new token a sequence over a cache."""

    launch: float
    memory: float
    overlap: float
    start: float  # seconds of a block of threads besides its keys
    draw: float  # bytes/s at which one block reads keys and values
    key: float  # seconds of a block a key, however narrow
    head: float  # seconds of an SM a query head: reading, writing
    heads: int  # query heads of a KV head in one block
    keys: int  # keys in a block's step
    parts: int  # into how many parts the keys are split at most
    outside: float = 0.0  # share of the keys outside of the window that is read all the same
    split: float = 0.0  # seconds of adding up the parts, where keys are split
    host: float = 0.0  # as of prompts


class Exchange(NamedTuple):
    """The numbers of a collective inside a node."""

    launch: float  # seconds of an empty one between two GPUs
    peer: float  # seconds more for each further GPU
    link: float  # share of the link's bandwidth, between many GPUs
    pair: float  # 0 where two GPUs reach that share too, 1 where they reach half of it
    overlap: float
    change: float  # seconds more that an empty one takes in the way that reaches that share
    small: float  # share of the link's bandwidth in the way that small arrays are sent
    crowd: float = 0.0  # exponent by which these shares fall as more than two GPUs send through one host


def prefill_seconds(
    x: Prefill,
    f: Figures,
    batch: Number,
    queries: Number,
    keys: Number,
    heads: Number,
    kv_heads: Number,
    d: Number,
    dv: Number,
    window: Number = 0,
    *,
    cache_bytes: float = 2,
) -> Number:
    """Seconds of causal attention of the last `queries` of `keys` tokens of each sequence; `window` 0: all keys.

    `d` and `dv` are the sizes of a key and of a value, `cache_bytes` those of an element of the cache.
    """
    padded = ceil_div(queries, x.queries) * x.queries
    last = keys - queries + padded
    pairs = causal_pairs(padded, last) + padded * x.queries / 2
    if present(window):
        inside = causal_pairs(padded, last, window) + padded * x.queries / 2
        pairs = inside + x.outside * maximum(0, pairs - inside)
        seen = minimum(keys, window) + x.outside * (keys - minimum(keys, window))
    else:
        seen = keys
    pair = 2 * (d + dv) * f.sms / (f.peak * x.compute) + x.pair
    waves = ceil_div(batch * heads * ceil_div(queries, x.queries), f.sms) * x.tile
    computed = batch * heads * pairs * pair / f.sms + waves
    longest = x.queries * (seen + x.queries) * pair + waves
    fresh = queries * kv_heads * (d + dv)
    moved = batch * (2 * queries * heads * (d + dv) + 2 * fresh + (keys - queries) * kv_heads * (d + dv) * cache_bytes)
    rate = f.bandwidth * x.memory
    stored = batch * fresh * (2 + cache_bytes) * x.store / rate + batch * queries * x.token / f.sms
    seconds = x.launch + overlapped((computed, longest, moved / rate), x.overlap) + stored
    return overlapped((seconds, x.host), x.overlap) if x.host else seconds


def decode_seconds(
    x: Decode,
    f: Figures,
    batch: Number,
    keys: Number,
    heads: Number,
    kv_heads: Number,
    cached: Number,
    window: Number = 0,
    *,
    cache_bytes: float = 2,
) -> Number:
    """Seconds of attention of one new token of each sequence over `keys` tokens; `window` 0: all of them.

    `cached` are the elements that a KV head keeps of a token: d + dv, or those of a latent.
    """
    inside = minimum(keys, window) if present(window) else keys
    outside = keys - inside
    read = inside + x.outside * outside
    key_bytes = cached * cache_bytes
    blocks = batch * kv_heads * ceil_div(heads, kv_heads * x.heads)
    steps = ceil_div(read, x.keys)
    step = x.keys * (key_bytes / x.draw + x.key)
    waves = ceil_div(blocks, f.sms)
    parts = minimum(x.parts, maximum(1, floor_div(f.sms, maximum(1, blocks))))
    in_parts = maximum(steps / parts, minimum(steps, LEAST_STEPS))
    computed = least((waves * (x.start + steps * step), waves * (x.start + in_parts * step) + x.split))
    moved = batch * kv_heads * inside * key_bytes / (f.bandwidth * x.memory)
    seconds = x.launch + overlapped((moved, computed), x.overlap) + batch * heads * x.head / f.sms
    return overlapped((seconds, x.host), x.overlap) if x.host else seconds


def collective_seconds(x: Exchange, link: Number, payload: Number, gpus: Number) -> Number:
    """Seconds of a collective of `payload` bytes, the whole array, among GPUs that each send `link` bytes/s.

    Each sends (gpus - 1) / gpus of the array, and reaches a share of the link that grows with them. A single GPU: 0.
    """
    sent = payload * (gpus - 1 + x.pair) / (gpus * link)
    if x.crowd:
        sent = sent * maximum(1, gpus / 2) ** x.crowd
    start = x.launch + x.peer * maximum(0, gpus - 2)
    small = overlapped((start, sent / x.small), x.overlap)
    large = overlapped((start + x.change, sent / x.link), x.overlap)
    return minimum(1, gpus - 1) * minimum(small, large)
