"""Attention that scores contents and relative positions apart (DeBERTa, arXiv 2006.03654, section 3.1)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, minimum, present
from llmcost.model.blocks.attention import ATTENTION, KEY, OUTPUT, PACKED
from llmcost.model.blocks.builder import COLUMNS, COLUMNS_OF_INPUT, ON_EVERY_GPU, Builder
from llmcost.model.operators import Facts, Operator, Stored

QKV = COLUMNS_OF_INPUT._replace(modules=PACKED)
QUERIES_AND_VALUES = COLUMNS_OF_INPUT._replace(modules=("q_proj v_proj",))
EVERYWHERE = Facts("tokens")
OF_POSITIONS = COLUMNS._replace(role="constant")


class DisentangledAttention(NamedTuple):
    """Attention with biases, to whose scores come `position_scores` kinds of products with relative positions.

    These are of contents with positions and of positions with contents. A table of `relative_positions` vectors, with a
    norm where `relative_norm`, is the first layer's to store (`stores_positions`); each layer projects it once a batch,
    by its queries' and keys' weights, or by others (`position_projections`). In the first DeBERTa others project them
    for contents with positions (`position_keys`), without a bias as keys have none, and for positions with contents
    (`position_queries`), with one; it looks at those positions alone that the sequence has. `conv_kernel_size`: tokens
    that a convolution over all channels spans, with a norm, beside the first layer (0: there is none).
    """

    num_attention_heads: Number
    head_dim: Number
    relative_positions: Number
    position_scores: Number = 0
    position_projections: bool = False
    no_key_bias: bool = False
    position_keys: bool = False
    position_queries: bool = False
    relative_norm: bool = False
    stores_positions: bool = False
    conv_kernel_size: Number = 0

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projections of tokens and of positions, scores by position, attention, output."""
        a, d, h, rows = self.num_attention_heads, self.head_dim, build.hidden, self.relative_positions
        inner, kinds = a * d, self.position_scores
        if self.no_key_bias:
            yield build.gemm("k_proj", "attention", h, inner, KEY)
            yield build.gemm("qv_proj", "attention", h, 2 * inner, QUERIES_AND_VALUES, bias=True)
        else:
            yield build.gemm("qkv_proj", "attention", h, 3 * inner, QKV, bias=True)
        if self.stores_positions:
            table = rows * h + 2 * h if self.relative_norm else rows * h
            yield Stored("relative_positions", "embedding", build.count, table, build.bytes.Bx, EVERYWHERE)
        if present(kinds):
            if self.no_key_bias:
                rows = minimum(rows, 2 * build.load.s)
            of_table, own = build._replace(load=build.load._replace(b=1, s=rows)), self.position_projections
            if self.position_keys:
                yield of_table.gemm("position_k_proj", "attention", h, inner, OF_POSITIONS)
            if self.position_queries:
                yield of_table.gemm("position_q_proj", "attention", h, inner, OF_POSITIONS, bias=True)
            if not (self.position_keys or self.position_queries):
                width = kinds * inner
                yield of_table.gemm("position_proj", "attention", h, width, OF_POSITIONS, bias=own, tied=not own)
            yield build.gemm("position_scores", "attention", inner, kinds * rows, COLUMNS, tied=True)
        yield build.attention("attention", ATTENTION, heads=a, d=d, dv=d, cached=2 * inner, kv_heads=a, scales=2 * a)
        yield build.gemm("o_proj", "attention", inner, h, OUTPUT, bias=True)
        if present(self.conv_kernel_size):
            yield build.gemm("convolution", "attention", self.conv_kernel_size * h, h, ON_EVERY_GPU, bias=True)
            yield build.elementwise("convolution_norm", "norm", 2 * h, h, EVERYWHERE, weights=2 * h)
