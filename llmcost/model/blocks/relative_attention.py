"""Grouped attention with short convolutions and relative logits that depend on the token (Inkling)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.attention import ATTENTION, OUTPUT
from llmcost.model.blocks.builder import CACHE_WRITE, CHANNELS, COLUMNS_OF_INPUT, ON_EVERY_GPU, TOKENS, Builder
from llmcost.model.operators import Operator

PACKED = COLUMNS_OF_INPUT._replace(modules=("q_proj k_proj v_proj r_proj",))


class RelativeAttention(NamedTuple):
    """Keys and values, the block's output and that of the MLP behind it each pass a convolution of `conv_kernel_size`.

    Each head of a token mixes `relative_rank` learned profiles of the last `relative_extent` distances, which are added
    to its scores. `sliding_window`: keys that a query sees (0: all).
    (github.com/huggingface/transformers, src/transformers/models/inkling/modeling_inkling.py)
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    conv_kernel_size: Number
    relative_rank: Number
    relative_extent: Number
    sliding_window: Number = 0

    def source(self) -> str:
        """Where what it keeps of a token beside keys and values is described."""
        return "short convolutions: Inkling's modeling_inkling.py in transformers"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projections, convolutions, norms, profiles, attention, output, and the convolutions behind both blocks."""
        a, g, d, kernel = self.num_attention_heads, self.num_key_value_heads, self.head_dim, self.conv_kernel_size
        q, kv, mixes, h = a * d, g * d, a * self.relative_rank, build.hidden
        yield build.gemm("qkvr_proj", "attention", h, q + 2 * kv + mixes, PACKED)
        yield build.conv("kv_conv", "attention", 2 * kv, kernel, CHANNELS)
        yield build.elementwise("qk_norm", "norm", q + kv, q + kv, CHANNELS, weights=2 * d)
        of_heads = build._replace(load=build.load._replace(s=build.load.s * a))
        yield of_heads.gemm("relative_logits", "attention", self.relative_rank, self.relative_extent, ON_EVERY_GPU)
        if build.load.cached:
            yield build.elementwise("cache_write", "attention", 2 * kv, 2 * kv, CACHE_WRITE)
        yield build.attention(
            "attention",
            ATTENTION,
            heads=a,
            d=d,
            dv=d,
            cached=2 * kv,
            span="window" if present(self.sliding_window) else "all",
            w=self.sliding_window,
            kv_heads=g,
            scales=2 * g,
        )
        yield build.gemm("o_proj", "attention", q, h, OUTPUT)
        yield build.conv("attention_conv", "attention", h, kernel, TOKENS)
        yield build.conv("mlp_conv", "mlp", h, kernel, TOKENS)
