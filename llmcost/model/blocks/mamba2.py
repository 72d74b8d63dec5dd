"""The state space of Mamba 2 (arXiv 2405.21060)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.blocks.builder import CHANNELS, Builder
from llmcost.model.blocks.mamba import IN, OUT
from llmcost.model.operators import Operator


class Mamba2(NamedTuple):
    """`mamba_n_heads` heads of `mamba_d_head` channels, each with a state of `mamba_d_state` a channel and one decay.

    `mamba_n_groups` groups of heads share B and C. `mamba_gate_norm`: a norm after the gate, before the output
    projection. `state_fp32`: the states are kept in 32 bits whatever the activations are.
    """

    mamba_n_heads: Number
    mamba_d_head: Number
    mamba_d_state: Number
    mamba_d_conv: Number
    mamba_n_groups: Number = 1
    mamba_conv_bias: bool = True
    mamba_proj_bias: bool = False
    mamba_out_bias: bool = False
    mamba_gate_norm: bool = True
    state_fp32: bool = False

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "Mamba 2, arXiv 2405.21060"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projection to gate, input, B, C and step, convolution, scan, gate and norm, output projection."""
        heads, n = self.mamba_n_heads, self.mamba_d_state
        channels = heads * self.mamba_d_head
        mixed = channels + 2 * self.mamba_n_groups * n
        yield build.gemm(
            "mamba_in_proj", "attention", build.hidden, channels + mixed + heads, IN, bias=self.mamba_proj_bias
        )
        yield build.conv("mamba_conv", "attention", mixed, self.mamba_d_conv, CHANNELS, bias=self.mamba_conv_bias)
        # Per head: a decay, a bias of the step, the skip's weight.
        yield build.scan(
            heads,
            n,
            self.mamba_d_head,
            CHANNELS,
            reads=mixed + heads,
            writes=channels,
            weights=3 * heads,
            fp32=self.state_fp32,
        )
        yield build.elementwise(
            "mamba_gate", "norm", 2 * channels, channels, CHANNELS, weights=channels if self.mamba_gate_norm else 0
        )
        yield build.gemm("mamba_out_proj", "attention", channels, build.hidden, OUT, bias=self.mamba_out_bias)
