"""Cross-attention of a decoder: on the states of an encoder (arXiv 1706.03762, section 3.2.3), or of images."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.attention import ATTENTION, OUTPUT
from llmcost.model.blocks.builder import (
    CACHE_WRITE,
    CHANNELS,
    COLUMNS,
    COLUMNS_OF_INPUT,
    NORM_OF_INPUT,
    NORM_WEIGHTS,
    RESIDUAL_NORM,
    Builder,
)
from llmcost.model.blocks.mlp import gated
from llmcost.model.operators import Facts, Operator, Stored

QUERIES = COLUMNS_OF_INPUT._replace(modules=("q_proj",))
KEYS = COLUMNS._replace(modules=("k_proj",))
VALUES = COLUMNS._replace(modules=("v_proj",))
KEYS_AND_VALUES = COLUMNS._replace(modules=("k_proj v_proj",))
HEADS = Facts("heads")
GATES = Facts("tokens")


class CrossAttention(NamedTuple):
    """Queries of the decoder on keys and values of an encoder's states, which are `cross_attention_size` wide.

    Keys and values are computed once, with the prompt that the encoder read, and cached. A decoder without an encoder
    has nothing to look at: its weights, and those of the norm that belongs to it, are stored and nothing of it runs.
    Heads and biases are those of the layer's attention. `cross_output_norm`: a norm stands behind it too.
    `cross_merged`: the layer's own queries see the encoder's keys beside its own, which its own projections and norm
    make: cross-attention stores nothing (T5Gemma 2, arXiv 2512.14856).
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    cross_attention_size: Number
    cross_output_norm: bool = False
    cross_merged: bool = False
    attention_bias: bool = False
    attention_output_bias: bool = False
    no_key_bias: bool = False

    def operators(self, build: Builder) -> Iterator[Operator]:
        """The norm, queries, keys and values where they are new, attention, output projection; or all of it stored."""
        if not present(build.load.memory):
            if not self.cross_merged:
                yield from self.stored(build)
            return
        a, g, d = self.num_attention_heads, self.num_key_value_heads, self.head_dim
        inner, h = a * d, build.hidden
        if not self.cross_merged:
            yield build.layer_norm("cross_attention_norm", NORM_OF_INPUT)
            yield build.gemm("cross_q_proj", "attention", h, inner, QUERIES, bias=self.attention_bias)
        yield from self.keys_and_values(build, g * d)
        seen = build._replace(load=build.load._replace(c=build.load.memory, over=None), both_ways=True)
        attention = seen.attention(
            "cross_attention", ATTENTION, heads=a, d=d, dv=d, cached=2 * g * d, kv_heads=g, scales=2 * g
        )
        yield attention._replace(crosses=True)
        if not self.cross_merged:
            yield build.gemm("cross_o_proj", "attention", inner, h, OUTPUT, bias=self.attention_output_bias)
        if self.cross_output_norm:
            yield build.layer_norm("post_cross_attention_norm", RESIDUAL_NORM)

    def keys_and_values(self, build: Builder, inner: Number) -> Iterator[Operator]:
        """Keys and values of the encoder's states and their way into the cache; in decode, their weights alone."""
        load, size, bias = build.load, self.cross_attention_size, self.attention_bias
        states = build._replace(load=load._replace(s=load.memory))
        if self.cross_merged:
            if not load.decode:
                yield states.gemm("cross_kv_proj", "attention", size, 2 * inner, KEYS_AND_VALUES, tied=True)
                yield states.elementwise("cross_k_norm", "norm", inner, inner, CHANNELS)
                yield states.elementwise("cross_cache_write", "attention", 2 * inner, 2 * inner, CACHE_WRITE)
            return
        parts = [("cross_kv_proj", 2 * inner, KEYS_AND_VALUES, bias)]
        if bias and self.no_key_bias:
            parts = [("cross_k_proj", inner, KEYS, False), ("cross_v_proj", inner, VALUES, True)]
        for name, width, facts, biased in parts:
            if load.decode:
                weights = size * width + width if biased else size * width
                yield Stored(
                    name, "attention", build.count, weights, build.weight(name, "attention", size, width, facts), HEADS
                )
            else:
                yield states.gemm(name, "attention", size, width, facts, bias=biased)
        if not load.decode:
            yield states.elementwise("cross_cache_write", "attention", 2 * inner, 2 * inner, CACHE_WRITE)

    def stored(self, build: Builder) -> Iterator[Operator]:
        """The four projections and the norm, stored."""
        inner, kv = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        weights = 2 * inner * build.hidden + 2 * kv * self.cross_attention_size
        if self.attention_bias:
            weights = weights + inner + (1 if self.no_key_bias else 2) * kv
        if self.attention_output_bias:
            weights = weights + build.hidden
        yield Stored("cross_attention", "attention", build.count, weights, build.bytes.Bw)
        norms = (2 if self.cross_output_norm else 1) * NORM_WEIGHTS[build.norm]
        yield Stored("cross_attention_norm", "norm", build.count, norms * build.hidden, build.bytes.Bx)


class ImageLayer(NamedTuple):
    """A layer that looks at images: cross-attention and a gated MLP, with a norm before and a gate behind each.

    In Llama 3.2 Vision (arXiv 2407.21783, section 7). Keys and values of the images' states are computed once, with the
    prompt, and cached beside the tokens'. Where there is no image, the decoder skips the layer: its weights are stored
    and nothing runs.
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    image_mlp_size: Number

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Norm, queries, keys and values where they are new, their norms, attention and output; norm and MLP."""
        a, g, d, h = self.num_attention_heads, self.num_key_value_heads, self.head_dim, build.hidden
        if not present(build.load.memory):
            yield Stored("image_attention", "attention", build.count, 2 * (a + g) * d * h, build.bytes.Bw)
            yield Stored("image_mlp", "mlp", build.count, 3 * h * self.image_mlp_size, build.bytes.Bw)
            yield Stored("image_norms", "norm", build.count, 2 * h + 2 * d + 2, build.bytes.Bx)
            return
        yield build.layer_norm("image_attention_norm", NORM_OF_INPUT)
        yield build.gemm("image_q_proj", "attention", h, a * d, QUERIES)
        yield from self.keys_and_values(build, g * d)
        yield build.elementwise("image_q_norm", "norm", a * d, a * d, CHANNELS, weights=d)
        seen = build._replace(load=build.load._replace(c=build.load.memory, over=None), both_ways=True)
        kernel = seen.attention(
            "image_attention", ATTENTION, heads=a, d=d, dv=d, cached=2 * g * d, kv_heads=g, scales=2 * g
        )
        yield kernel._replace(crosses=True, apart=True)
        yield build.gemm("image_o_proj", "attention", a * d, h, OUTPUT)
        yield build.layer_norm("image_mlp_norm", NORM_OF_INPUT)
        yield build.elementwise("image_gates", "norm", 2 * h, 2 * h, GATES, weights=2)
        yield from gated(build, "image_", self.image_mlp_size)

    def keys_and_values(self, build: Builder, kv: Number) -> Iterator[Operator]:
        """Keys and values of the images' states, the keys' norm and their way into the cache; in decode, weights."""
        h, d, load = build.hidden, self.head_dim, build.load
        if load.decode:
            Bw = build.weight("image_kv_proj", "attention", h, 2 * kv, KEYS_AND_VALUES)
            yield Stored("image_kv_proj", "attention", build.count, 2 * kv * h, Bw, HEADS)
            yield Stored("image_k_norm", "norm", build.count, d, build.bytes.Bx)
            return
        states = build._replace(load=load._replace(s=load.memory))
        yield states.gemm("image_kv_proj", "attention", h, 2 * kv, KEYS_AND_VALUES)
        yield states.elementwise("image_k_norm", "norm", kv, kv, CHANNELS, weights=d)
        yield states.elementwise("image_cache_write", "attention", 2 * kv, 2 * kv, CACHE_WRITE)
