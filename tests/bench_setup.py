"""What tests of bench share: two tiny models, a GPU that is not here, and the profiles that were measured."""

from pathlib import Path

from llmcost.bench.device import Device
from llmcost.specs.catalog import shipped

SHIPPED = sorted((shipped("hardware") / "profiles").glob("*.json"))


BESIDE = sorted((Path(__file__).parents[1] / "docs" / "profiles").glob("*.json"))  # measured too, and not used unasked


TINY = """
name: tiny
title: Tiny
source: of this test's own making
hidden_size: 64
intermediate_size: 96
num_hidden_layers: 2
num_attention_heads: 4
num_key_value_heads: 2
vocab_size: 128
max_position_embeddings: 256
tie_word_embeddings: false
"""


EXPERTS = (
    TINY.replace("intermediate_size: 96\n", "")
    + "mlp: experts\nnum_experts: 4\nnum_experts_per_tok: 2\nmoe_intermediate_size: 32\n"
)


GPU = Device("cuda", "a GPU", "cuda", "sm_90", 132, 60 * 2**20, 10**11, "")
