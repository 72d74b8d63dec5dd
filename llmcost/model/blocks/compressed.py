"""Compressed attention (DeepSeek-V4): a sliding window of keys beside one compressed key for every few tokens.

Heavily compressed layers attend to all compressed keys; compressed sparse layers take fewer tokens a key,
overlapping, and attend to the best of them by an indexer, which keeps compressed keys of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, floor_div, present
from llmcost.model.blocks.attention import ATTENDED, ATTENTION, INDEXER
from llmcost.model.blocks.builder import INPUT_ON_EVERY_GPU, ROTARY, ROWS, TOKENS, Builder
from llmcost.model.blocks.latent import INDEXER_QUERY, QUERY_DOWN, QUERY_UP
from llmcost.model.operators import Facts, Operator

KEY = INPUT_ON_EVERY_GPU._replace(modules=("kv_proj",))
GROUPS_DOWN = Facts("heads", ATTENDED, modules=("o_a_proj",))
GROUPS_UP = ROWS._replace(modules=("o_b_proj",))


class CompressedAttention(NamedTuple):
    """All heads share one key, which is the value too; queries and output pass through low ranks, the output in groups.

    A query sees the last `sliding_window` tokens and one compressed key for every `compress_rate` tokens before it
    (0: none), of those the best `index_topk` (0: all). Not counted: the unfinished group's tokens, which
    the compressor keeps beside the cache.
    """

    num_attention_heads: Number
    head_dim: Number
    q_lora_rank: Number
    o_groups: Number
    o_lora_rank: Number
    sliding_window: Number
    compress_rate: Number = 0
    index_topk: Number = 0
    index_n_heads: Number = 0
    index_head_dim: Number = 0
    attention_sinks: bool = False

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Query, key, compressors, indexer, attention to window and compressed keys, output in two steps."""
        a, d, rq, h = self.num_attention_heads, self.head_dim, self.q_lora_rank, build.hidden
        yield build.gemm("q_a_proj", "attention", h, rq, QUERY_DOWN)
        yield build.elementwise("q_a_norm", "norm", rq, rq, TOKENS, weights=rq)
        yield build.gemm("q_b_proj", "attention", rq, a * d, QUERY_UP)
        yield build.gemm("kv_proj", "attention", h, d, KEY)
        yield build.elementwise("kv_norm", "norm", d, d, TOKENS, weights=d)
        yield build.rotary_embedding((a + 1) * d, (a + 1) * d, ROTARY)
        yield build.attention(
            "window_attention",
            ATTENTION,
            heads=a,
            d=d,
            dv=d,
            cached=d,
            span="window",
            w=self.sliding_window,
            sinks=self.attention_sinks,
            latent=True,
        )
        if present(self.compress_rate):
            m, top, overlaps = self.compress_rate, self.index_topk, present(self.index_topk)
            yield from self.compressor(build, "", d, overlaps=overlaps)
            if overlaps:
                heads, di = self.index_n_heads, self.index_head_dim
                yield from self.compressor(build, "indexer_", di, overlaps=True)
                yield build.gemm("indexer_q_proj", "attention", rq, heads * di, INDEXER_QUERY)
                yield build.gemm("indexer_weights_proj", "attention", h, heads, INPUT_ON_EVERY_GPU)
                yield build.attention("indexer", INDEXER, heads=heads, d=di, dv=0, cached=di, every=m, latent=True)
            span = {"span": "top", "w": top} if overlaps else {}
            shapes = {"heads": a, "d": d, "dv": d, "cached": d, "every": m, "latent": True}
            yield build.attention("compressed_attention", ATTENTION, **shapes, **span)
        yield build.grouped(
            "o_a_proj",
            "attention",
            floor_div(a * d, self.o_groups),
            self.o_lora_rank,
            self.o_groups,
            self.o_groups,
            GROUPS_DOWN,
        )
        yield build.gemm("o_b_proj", "attention", self.o_groups * self.o_lora_rank, h, GROUPS_UP)

    def compressor(self, build: Builder, prefix: str, d: Number, *, overlaps: bool) -> Iterator[Operator]:
        """Each token's candidates and gates, their gated mean over a group, a norm; twice as wide if groups overlap."""
        width = 2 * d if overlaps else d
        yield build.gemm(f"{prefix}compressor_proj", "attention", build.hidden, 2 * width, INPUT_ON_EVERY_GPU)
        yield build.elementwise(
            f"{prefix}compress",
            "attention",
            2 * width,
            d / self.compress_rate,
            TOKENS,
            weights=self.compress_rate * width + d,
        )
