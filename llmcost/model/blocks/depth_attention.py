"""Grouped attention with relative logits whose inputs are drawn from sums of earlier layers (Inkling 2)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.attention import ATTENTION, GATE_OF_ATTENDED, OUTPUT_BEHIND
from llmcost.model.blocks.builder import CACHE_WRITE, CHANNELS, COLUMNS_OF_INPUT, ON_EVERY_GPU, TOKENS, Builder
from llmcost.model.blocks.streams import COPIES
from llmcost.model.operators import Operator, Stored

PACKED = COLUMNS_OF_INPUT._replace(modules=("q_proj k_proj v_proj gate_proj sink_proj",))
QUERIES = COLUMNS_OF_INPUT._replace(modules=("q_proj gate_proj sink_proj",))
KEYS = COLUMNS_OF_INPUT._replace(modules=("k_proj",))
VALUES = COLUMNS_OF_INPUT._replace(modules=("v_proj",))
MESSAGES = ("q", "k", "v", "mlp")


class DepthAttention(NamedTuple):
    """Attention as Inkling's, with an output gate a channel, a sink by a projection, and learned scales of queries.

    Every block of layers leaves the sum of its outputs. The inputs of attention (`mixed_inputs`, not of the first
    layer) and MLP are weighted sums of these and the running one, by a learned query each; there are `block_sums` in
    the end, on average half. With `own_inputs` queries, keys and values have one each, with norms, and the convolutions
    of keys and values have weights of the token's own. `message_rank`: of a layer that runs several times, what the
    passes after the first mix into the inputs, by gates of that rank, from the sums of the pass before.
    (github.com/huggingface/transformers, src/transformers/models/inkling2_loop/modeling_inkling2_loop.py)
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    conv_kernel_size: Number
    relative_rank: Number
    relative_extent: Number
    block_sums: Number
    sliding_window: Number = 0
    message_rank: Number = 0
    own_inputs: bool = False
    mixed_inputs: bool = True

    def source(self) -> str:
        """Where what it keeps of a token beside keys and values is described."""
        return "short convolutions: Inkling 2's modeling_inkling2.py in transformers"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Inputs, messages, projections, convolutions, profiles, attention, gate, output; the MLP's input."""
        a, g, d, kernel = self.num_attention_heads, self.num_key_value_heads, self.head_dim, self.conv_kernel_size
        q, kv, h, sums = a * d, g * d, build.hidden, self.block_sums / 2 + 1
        inputs = 3 if self.own_inputs else 1
        if self.mixed_inputs:
            drawn = inputs * h
            yield build.elementwise("attention_inputs", "mlp", sums * h, drawn, COPIES, weights=drawn)
        if self.own_inputs:
            yield build.elementwise("kv_input_norms", "norm", 2 * h, 2 * h, TOKENS, weights=2 * h)
        if present(self.message_rank):
            yield from self.messages(build, sums)
        yield from self.projections(build, q, kv)
        yield build.conv("kv_conv", "attention", 2 * kv, kernel, CHANNELS)
        scales = q + a * self.relative_rank
        yield build.elementwise("qkv_norm", "norm", scales + 2 * kv, scales + 2 * kv, CHANNELS, weights=scales)
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
        yield build.elementwise("attention_gate", "attention", 2 * q, q, GATE_OF_ATTENDED)
        yield build.gemm("o_proj", "attention", q, h, OUTPUT_BEHIND)
        yield build.conv("attention_conv", "attention", h, kernel, TOKENS)
        yield build.elementwise("mlp_input", "mlp", sums * h, h, COPIES, weights=h)
        yield build.conv("mlp_conv", "mlp", h, kernel, TOKENS)

    def projections(self, build: Builder, q: Number, kv: Number) -> Iterator[Operator]:
        """Queries, gate, sinks, keys, values and mixes of profiles; where inputs differ, in three."""
        a, h = self.num_attention_heads, build.hidden
        of_queries = 2 * q + a + a * self.relative_rank
        if self.own_inputs:
            own = kv + self.num_key_value_heads * self.conv_kernel_size
            yield build.gemm("q_proj", "attention", h, of_queries, QUERIES)
            yield build.gemm("k_proj", "attention", h, own, KEYS)
            yield build.gemm("v_proj", "attention", h, own, VALUES)
        else:
            yield build.gemm("qkv_proj", "attention", h, of_queries + 2 * kv, PACKED)

    def messages(self, build: Builder, sums: Number) -> Iterator[Operator]:
        """In passes after the first: the messages, and their gates. The first stores these weights."""
        h, rank = build.hidden, self.message_rank
        if not build.reused:
            weights = len(MESSAGES) * (4 * h * rank + h)
            yield Stored("message_gates", "mlp", build.count, weights, build.bytes.Bx)
            return
        yield build.elementwise("messages", "mlp", sums * h, len(MESSAGES) * h, COPIES)
        for name in MESSAGES:
            yield build.gemm(f"{name}_message_down", "mlp", 2 * h, rank, ON_EVERY_GPU)
            yield build.gemm(f"{name}_message_up", "mlp", rank, 2 * h, ON_EVERY_GPU)
            yield build.elementwise(f"{name}_message_mix", "mlp", 4 * h, h, TOKENS)


class LastSum(NamedTuple):
    """The weighted sum of `last_sums` sums of layers and the running one before the final norm, by a learned query."""

    last_sums: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002 - as every stream's
        """No kernel: the embedding is the first sum."""
        yield from ()

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel: each layer draws its inputs by itself."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:
        """The weighted sum of all."""
        h = build.hidden
        yield build.elementwise("output_sum", "mlp", (self.last_sums + 1) * h, h, COPIES, weights=h)
