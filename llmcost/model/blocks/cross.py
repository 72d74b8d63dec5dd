"""Cross-attention of a decoder that was trained beside an encoder (arXiv 1706.03762, section 3.2.3)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.blocks.builder import NORM_WEIGHTS, Builder
from llmcost.model.operators import Operator, Stored


class CrossAttention(NamedTuple):
    """Queries of the decoder on keys and values of an encoder's states, which are `cross_attention_size` wide.

    As a language model the decoder has no encoder to look at: its weights, and those of the norm that
    belongs to it, are stored and nothing of it runs. Heads and biases are those of the layer's attention.
    """

    num_attention_heads: Number
    head_dim: Number
    cross_attention_size: Number
    attention_bias: bool = False
    attention_output_bias: bool = False
    no_key_bias: bool = False

    def operators(self, build: Builder) -> Iterator[Operator]:
        """The four projections and the norm, stored."""
        inner = self.num_attention_heads * self.head_dim
        weights = 2 * inner * (build.hidden + self.cross_attention_size)
        if self.attention_bias:
            weights = weights + (2 if self.no_key_bias else 3) * inner
        if self.attention_output_bias:
            weights = weights + build.hidden
        yield Stored("cross_attention", "attention", build.count, weights, build.bytes.Bw)
        yield Stored(
            "cross_attention_norm", "norm", build.count, NORM_WEIGHTS[build.norm] * build.hidden, build.bytes.Bx
        )


class IdleLayer(NamedTuple):
    """A layer that looks at an image: cross-attention and a gated MLP, with a gate each.

    In Llama 3.2 Vision (arXiv 2407.21783, section 7). As a language model the decoder has no image to look at and skips
    the layer: its weights are stored and nothing runs.
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    idle_mlp_size: Number

    def operators(self, build: Builder) -> Iterator[Operator]:
        """All weights of the layer, stored."""
        a, g, d, h = self.num_attention_heads, self.num_key_value_heads, self.head_dim, build.hidden
        yield Stored("idle_attention", "attention", build.count, 2 * (a + g) * d * h, build.bytes.Bw)
        yield Stored("idle_mlp", "mlp", build.count, 3 * h * self.idle_mlp_size, build.bytes.Bw)
        yield Stored("idle_norms", "norm", build.count, 2 * h + 2 * d + 2, build.bytes.Bx)
