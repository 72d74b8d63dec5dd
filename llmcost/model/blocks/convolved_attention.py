"""Compressed convolutional attention (arXiv 2510.04476; ZAYA1)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, present
from llmcost.model.blocks.attention import ATTENTION, OUTPUT
from llmcost.model.blocks.builder import CHANNELS, COLUMNS_OF_INPUT, ROTARY, Builder
from llmcost.model.operators import OWN, Facts, Operator

PACKED = COLUMNS_OF_INPUT._replace(modules=("q_proj k_proj v_proj_current v_proj_delayed",))
OF_HEADS = Facts("heads", OWN)


class ConvolvedAttention(NamedTuple):
    """Grouped attention whose queries and keys pass two convolutions: of each channel, then of each head's channels.

    They span `cca_time0` and `cca_time1` tokens. Half of each value is the token's own, half that of the token before
    it. Keys have a learned scale a head. `sliding_window`: keys that a query sees (0: all).
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    cca_time0: Number
    cca_time1: Number
    sliding_window: Number = 0
    attention_bias: bool = False

    def source(self) -> str:
        """Where what it keeps of a token beside keys and values is described."""
        return "compressed convolutional attention, arXiv 2510.04476"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projections, shift of values, convolutions, norm, rotary embedding and cache write, attention, output."""
        a, g, d, bias = self.num_attention_heads, self.num_key_value_heads, self.head_dim, self.attention_bias
        q, kv, mixed = a * d, g * d, (a + g) * d
        yield build.gemm("qkv_proj", "attention", build.hidden, mixed + kv, PACKED, bias=bias)
        yield build.shift("value_shift", "attention", divide(kv, 2), 0, CHANNELS)
        yield build.conv("qk_conv", "attention", mixed, self.cca_time0, CHANNELS, bias=True)
        yield build.shift("qk_shift", "attention", mixed * (self.cca_time1 - 1), 0, CHANNELS)
        yield build.grouped("qk_head_conv", "attention", self.cca_time1 * d, d, a + g, a + g, OF_HEADS, bias=True)
        yield build.elementwise("qk_norm", "norm", 2 * mixed, mixed, CHANNELS, weights=g)
        yield build.rotary_embedding(mixed, mixed + kv, ROTARY)
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
        yield build.gemm("o_proj", "attention", q, build.hidden, OUTPUT, bias=bias)
