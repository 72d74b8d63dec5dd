"""Attention whose queries and outputs are experts': a mixture of attention heads (arXiv 2210.05144), as in JetMoE."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.blocks.attention import ATTENTION, OUTPUT_BEHIND
from llmcost.model.blocks.builder import COLUMNS, COLUMNS_OF_INPUT, ROTARY, TOKENS, Builder
from llmcost.model.blocks.experts import ROUTER
from llmcost.model.operators import Operator

KEYS_AND_VALUES = COLUMNS_OF_INPUT._replace(modules=("kv_proj",))
QUERIES = COLUMNS._replace(modules=("input_linear",))  # of rows that were copied for them
OUTPUTS = OUTPUT_BEHIND._replace(modules=("output_linear",))


class RoutedAttention(NamedTuple):
    """Each token takes `num_experts_per_tok` of `num_experts` query projections and the same output projections.

    Each gives `num_key_value_heads` heads of queries, so that there are `num_attention_heads` in all; keys and values
    are the same for all of them. One bias is added to the sum of the outputs.
    """

    num_attention_heads: Number
    num_key_value_heads: Number
    head_dim: Number
    num_experts: Number
    num_experts_per_tok: Number

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Router, queries, keys and values, rotary embedding and cache write, attention, outputs and their sum."""
        E, k, h = self.num_experts, self.num_experts_per_tok, build.hidden
        kv = self.num_key_value_heads * self.head_dim
        q = self.num_attention_heads * self.head_dim
        yield build.gemm("attention_router", "attention", h, E, ROUTER)
        yield build.grouped("q_proj", "attention", h, kv, E, k, QUERIES)
        yield build.gemm("kv_proj", "attention", h, 2 * kv, KEYS_AND_VALUES)
        yield build.rotary_embedding(q + kv, q + 2 * kv, ROTARY)
        yield build.attention(
            "attention",
            ATTENTION,
            heads=self.num_attention_heads,
            d=self.head_dim,
            dv=self.head_dim,
            cached=2 * kv,
            kv_heads=self.num_key_value_heads,
            scales=2 * self.num_key_value_heads,
        )
        yield build.grouped("o_proj", "attention", kv, h, E, k, OUTPUTS)
        yield build.elementwise("attention_sum", "attention", k * h, h, TOKENS, weights=h)
