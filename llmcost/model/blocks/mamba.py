"""The selective state space of Mamba (arXiv 2312.00752)."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number, ceil_div, present
from llmcost.model.blocks.builder import CHANNELS, COLUMNS, COLUMNS_OF_INPUT, ROWS, TOKENS, Builder
from llmcost.model.operators import Facts, Operator

IN = COLUMNS_OF_INPUT._replace(modules=("in_proj",))
OUT = ROWS._replace(modules=("out_proj",))
CONVOLVED = "convolved input"  # from which step, B and C come, and which the scan takes in
SELECTION, SCAN = Facts("rows", CONVOLVED), Facts("heads", CONVOLVED, saves="rest")


class Mamba(NamedTuple):
    """Every channel has a state of `mamba_d_state` elements, with a decay each.

    There are `mamba_intermediate_size` channels, or `mamba_expand`·h where that is 0. Steps go through a bottleneck of
    `mamba_dt_rank` (0: h/16, rounded up). `mamba_norm`: RMSNorm of step, B and C, without weights (Falcon Mamba) or
    with them (Jamba).
    """

    mamba_expand: Number
    mamba_d_state: Number
    mamba_d_conv: Number
    mamba_dt_rank: Number = 0
    mamba_intermediate_size: Number = 0
    mamba_conv_bias: bool = True
    mamba_proj_bias: bool = False
    mamba_norm: Literal["none", "plain", "weighted"] = "none"

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "Mamba, arXiv 2312.00752"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projection to input and gate, convolution, projection to step, B and C, scan and gate, output projection."""
        given, n = self.mamba_intermediate_size, self.mamba_d_state
        channels = given if present(given) else self.mamba_expand * build.hidden
        rank = self.mamba_dt_rank if present(self.mamba_dt_rank) else ceil_div(build.hidden, 16)
        selected = rank + 2 * n
        yield build.gemm("mamba_in_proj", "attention", build.hidden, 2 * channels, IN, bias=self.mamba_proj_bias)
        yield build.conv("mamba_conv", "attention", channels, self.mamba_d_conv, CHANNELS, bias=self.mamba_conv_bias)
        yield build.gemm("mamba_x_proj", "attention", channels, selected, SELECTION)
        if self.mamba_norm != "none":
            yield build.elementwise(
                "mamba_norm",
                "norm",
                selected,
                selected,
                TOKENS,
                weights=selected if self.mamba_norm == "weighted" else 0,
            )
        yield build.gemm("mamba_dt_proj", "attention", rank, channels, COLUMNS, bias=True)
        # Per channel: input, step and gate in, a decay a state element, the skip's weight.
        yield build.scan(
            channels, n, 1, SCAN, reads=3 * channels + 2 * n, writes=channels, weights=channels * n + channels
        )
        yield build.gemm("mamba_out_proj", "attention", channels, build.hidden, OUT, bias=self.mamba_proj_bias)
