"""Grouped query attention (arXiv 2305.13245), with multi-head and multi-query attention as its ends."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import (
    CACHE_WRITE,
    CHANNELS,
    COLUMNS_OF_INPUT,
    INPUT_ON_EVERY_GPU,
    ROTARY,
    Builder,
)
from llmcost.model.operators import INPUT, OWN, Attention, Facts, Operator, Span, Stored

ATTENDED = "attended"  # attention's output, which its own backward pass needs too
ATTENTION = Facts("heads", "queries", writes=ATTENDED)
PACKED = ("q_proj k_proj v_proj", "qkv_proj", "query_key_value")
QUERY, KEY = COLUMNS_OF_INPUT._replace(modules=("q_proj",)), COLUMNS_OF_INPUT._replace(modules=("k_proj",))
ADAPTER_UP = Facts("heads", OWN)  # one for each of queries, keys and values
OUTPUT = Facts("rows", ATTENDED, modules=("o_proj", "out_proj", "dense"))
OUTPUT_BEHIND = OUTPUT._replace(reads=OWN)  # where a gate or a norm stands between
OF_ATTENDED = Facts("heads", ATTENDED)
ALL_CHANNELS = CHANNELS._replace(sums=2)  # of queries and of keys, each over all of their heads
GATE_OF_ATTENDED = Facts("heads", ATTENDED, saves="rest")
CONCATENATED = Facts("tokens", saves="half")
MASK = Facts("tokens", OWN)
HEADS = Facts("heads")
# The indexer is on every GPU.
INDEXER = Facts("tokens")
INDEXER_WRITE = Facts("tokens", saves="nothing")


class GroupedAttention(NamedTuple):
    """`num_attention_heads` query heads share `num_key_value_heads` keys and values.

    A query sees the last `sliding_window` keys, those of its own `attention_chunk_size`, the best `index_topk` by an
    indexer (which scores every key with `index_n_heads` heads and one cached key a token, or with `index_every` the
    mean of so many), or all (0).
    `attention_bias` is that of q, k and v, but not of k with `no_key_bias`. `attention_sinks`: a learned logit a
    head. `attention_gate` scales each head's or channel's output by a projection of the input, which
    `attention_gate_weights` scale or shift. `qk_norm` is over each head (one weight a channel, or weight and bias) or
    has a weight for every channel of all heads, or of the queries; `sub_norm` stands before the output projection.

    `keys_and_values`: "own"; "tied", one projection for both (the cache still holds both, only keys are turned); or
    "shared", an earlier layer's, whose cache this layer reads. `differential`: pairs of heads are subtracted
    (arXiv 2410.05258), each head attending to the values of both.

    `on_embedding`: queries, keys and values come from the stream and the token's embedding side by side (Zamba, arXiv
    2405.16712), with a norm over both; `qkv_adapter_rank`: with low-rank additions of the layer's own (arXiv
    2411.15242).

    `position_buckets`: a score for each distance, by buckets of distances and heads, is added (T5, arXiv 1910.10683,
    section 2.1). `dynamic_mask`: a projection of the values adds one for each key (Doge, arXiv 2412.11834).
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    v_head_dim: Number
    sliding_window: Number = 0
    attention_chunk_size: Number = 0
    index_topk: Number = 0
    index_n_heads: Number = 0
    index_head_dim: Number = 0
    index_every: Number = 0
    attention_bias: bool = False
    attention_output_bias: bool = False
    attention_sinks: bool = False
    attention_gate: Literal["none", "head", "channel"] = "none"
    attention_gate_weights: Number = 0
    qk_norm: Literal["none", "head", "head-bias", "full", "query"] = "none"
    sub_norm: bool = False
    keys_and_values: Literal["own", "tied", "shared"] = "own"
    differential: bool = False
    no_key_bias: bool = False
    on_embedding: bool = False
    qkv_adapter_rank: Number = 0
    position_buckets: Number = 0
    dynamic_mask: bool = False

    def operators(self, build: Builder) -> Iterator[Operator]:
        """QKV projection (and gate), rotary embedding and cache write, attention, output projection."""
        a, g, d, dv = self.num_attention_heads, self.num_key_value_heads, self.head_dim, self.v_head_dim
        own = self.keys_and_values != "shared"
        q, k, out = a * d, g * d if own else 0, a * dv
        kv = k + g * dv if own else 0
        gate = {"none": 0, "head": a, "channel": out}[self.attention_gate]
        yield from self.projections(build, q, k, kv, gate)
        if self.qk_norm != "none":
            of_each = d if own else 0
            weights = {"head": d + of_each, "head-bias": 2 * (d + of_each), "full": q + k, "query": q}[self.qk_norm]
            facts = ALL_CHANNELS if self.qk_norm == "full" else CHANNELS
            yield build.elementwise("qk_norm", "norm", q + k, q + k, facts, weights=weights)
        if build.rotary:  # turns q and k, and puts k and v where the cache wants them
            yield build.rotary_embedding(q + k, q + kv, ROTARY)
        elif own and build.load.cached:
            yield build.elementwise("cache_write", "attention", kv, kv, CACHE_WRITE)
        if present(self.index_topk):
            yield from self.indexer(build)
        if self.dynamic_mask:
            yield build.gemm("mask_proj", "attention", g * dv, g, MASK, bias=self.attention_bias)
            yield build.elementwise("mask", "attention", g, g, CHANNELS, weights=g)
        if present(self.position_buckets):
            yield Stored("position_biases", "attention", build.count, a * self.position_buckets, build.bytes.Bx, HEADS)
        yield self.kernel(build)
        attended = True  # whether the next kernel reads attention's own output
        if self.differential:
            yield build.elementwise("differential_norm", "attention", 2 * out, out, OF_ATTENDED, weights=4 * d)
            attended = False
        if self.attention_gate != "none":
            facts = GATE_OF_ATTENDED if attended else CHANNELS
            weights = self.attention_gate_weights
            yield build.elementwise("attention_gate", "attention", out + gate, out, facts, weights=weights)
            attended = False
        if self.sub_norm:
            facts = OF_ATTENDED if attended else CHANNELS
            yield build.elementwise("attention_sub_norm", "norm", out, out, facts, weights=out)
            attended = False
        facts = OUTPUT if attended else OUTPUT_BEHIND
        yield build.gemm("o_proj", "attention", out, build.hidden, facts, bias=self.attention_output_bias)

    def projections(self, build: Builder, q: Number, k: Number, kv: Number, gate: Number) -> Iterator[Operator]:
        """The projections of the block's input to queries, keys, values and gate."""
        h, shared = build.hidden, self.keys_and_values == "shared"
        if self.on_embedding:
            yield build.elementwise("embedding_concat", "norm", 4 * h, 2 * h, CONCATENATED, weights=h)
            h = 2 * h
        # A gate a channel is part of the query projection; a gate a head is a projection of its own, without bias.
        inside = gate if self.attention_gate == "channel" else 0
        bias, query, value = self.attention_bias, q + inside, kv - k
        if shared:
            yield build.gemm("q_proj", "attention", h, query, QUERY, bias=bias)
        elif self.keys_and_values == "tied":
            packed = Facts("columns", INPUT, modules=("q_proj k_proj", *PACKED), widths=(query, k))
            yield build.gemm("qkv_proj", "attention", h, query + k, packed, bias=bias)
        elif bias and self.no_key_bias:
            yield build.gemm("k_proj", "attention", h, k, KEY)
            packed = Facts("columns", INPUT, modules=("q_proj v_proj",), widths=(query, value))
            yield build.gemm("qv_proj", "attention", h, query + value, packed, bias=True)
        else:
            packed = Facts("columns", INPUT, modules=PACKED, widths=(query, k, value))
            yield build.gemm("qkv_proj", "attention", h, query + kv, packed, bias=bias)
        if present(self.qkv_adapter_rank):
            layer, r = build._replace(reused=False), self.qkv_adapter_rank
            yield layer.gemm("qkv_adapter_down_proj", "attention", h, 3 * r, INPUT_ON_EVERY_GPU)
            yield layer.grouped("qkv_adapter_up_proj", "attention", r, h, 3, 3, ADAPTER_UP)
        if self.attention_gate == "head":
            yield build.gemm("attention_gate_proj", "attention", h, gate, COLUMNS_OF_INPUT)

    def indexer(self, build: Builder) -> Iterator[Operator]:
        """The indexer's queries and key with their norms, and its scores: an attention kernel without values."""
        heads, d = self.index_n_heads, self.index_head_dim
        width = (heads + 1) * d
        yield build.gemm("indexer_qk_proj", "attention", build.hidden, width, INPUT_ON_EVERY_GPU)
        yield build.elementwise("indexer_qk_norm", "norm", width, width, INDEXER, weights=2 * d)
        yield build.rotary_embedding(width, width, INDEXER_WRITE, "indexer_")
        yield build.attention("indexer", INDEXER, heads=heads, d=d, dv=0, cached=d, every=self.index_every)

    def kernel(self, build: Builder) -> Attention:
        """The attention kernel over the whole context, a window, a chunk, or the keys that the indexer chose."""
        spans: dict[Span, Number] = {
            "window": self.sliding_window,
            "chunk": self.attention_chunk_size,
            "top": self.index_topk,
        }
        span: Span = next((span for span, size in spans.items() if present(size)), "all")
        return build.attention(
            "attention",
            ATTENTION,
            heads=self.num_attention_heads,
            d=self.head_dim,
            dv=2 * self.v_head_dim if self.differential else self.v_head_dim,
            cached=self.num_key_value_heads * (self.head_dim + self.v_head_dim),
            span=span,
            w=spans.get(span, 0),
            sinks=self.attention_sinks,
            shared=self.keys_and_values == "shared",
            kv_heads=self.num_key_value_heads,
            scales=2 * self.num_key_value_heads,
        )
