"""Linear attention with the gated delta rule.

Gated DeltaNet (arXiv 2412.06464), Kimi Delta Attention (arXiv 2510.26692).
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import CHANNELS, COLUMNS, COLUMNS_OF_INPUT, ROWS, Builder
from llmcost.model.operators import Operator

NAMINGS = ("in_proj_qkvz", "in_proj_qkv in_proj_z", "q_proj k_proj v_proj", "q_proj k_proj v_proj g_proj")
IN = COLUMNS_OF_INPUT._replace(modules=NAMINGS)
OUT = ROWS._replace(modules=("out_proj", "o_proj"))


class GatedDelta(NamedTuple):
    """Each value head keeps a state of key size by value size; what it held for a key is replaced, not added to.

    The state decays by one factor a head, or one a key channel (`linear_decay`). Output gate, and decay a
    channel, come from the input by a full matrix or through a bottleneck of `linear_gate_rank`; with
    `linear_full_gate` the output gate alone by a full matrix. `linear_decay_scales`: how many weights scale the decay,
    if not one a head (Kimi K3: one a channel of a head).
    `state_fp32`: the states are kept in 32 bits whatever the activations are.
    """

    linear_num_key_heads: Number
    linear_num_value_heads: Number
    linear_key_head_dim: Number
    linear_value_head_dim: Number
    linear_conv_kernel_dim: Number
    linear_decay: Literal["head", "channel"] = "head"
    linear_gate_rank: Number = 0
    linear_full_gate: bool = False
    linear_decay_scales: Number = 0
    state_fp32: bool = False

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projections, convolution of q, k and v, scan, norm and gate, output projection."""
        heads, rank = self.linear_num_value_heads, self.linear_gate_rank
        keys = self.linear_num_key_heads * self.linear_key_head_dim
        values = heads * self.linear_value_head_dim
        decays = heads if self.linear_decay == "head" else keys
        gates = (values if self.linear_full_gate else rank) + rank if present(rank) else values + decays
        mixed = 2 * keys + values
        scales = self.linear_decay_scales if present(self.linear_decay_scales) else heads
        yield build.gemm("delta_in_proj", "attention", build.hidden, mixed + heads + gates, IN)
        if present(rank):
            yield build.gemm("decay_proj", "attention", rank, decays, COLUMNS)
            if not self.linear_full_gate:
                yield build.gemm("gate_proj", "attention", rank, values, COLUMNS)
        yield build.conv("delta_conv", "attention", mixed, self.linear_conv_kernel_dim, CHANNELS)
        yield build.scan(
            heads,
            self.linear_key_head_dim,
            self.linear_value_head_dim,
            CHANNELS,
            reads=mixed + heads + decays,
            writes=values,
            weights=scales + decays,  # the decay's scales and its bias
            delta=True,
            fp32=self.state_fp32,
            by_channel=self.linear_decay == "channel",
        )
        yield build.elementwise("delta_gate", "norm", 2 * values, values, CHANNELS, weights=self.linear_value_head_dim)
        yield build.gemm("delta_out_proj", "attention", values, build.hidden, OUT)
