"""The gated short convolution of LFM2 (arXiv 2511.23404)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.blocks.builder import CHANNELS, COLUMNS_OF_INPUT, ROWS, Builder
from llmcost.model.operators import Operator

IN = COLUMNS_OF_INPUT._replace(modules=("in_proj",))
OUT = ROWS._replace(modules=("out_proj",))


class ShortConv(NamedTuple):
    """out(C·conv(B·x)): three projections of the input, a convolution of a few tokens between two gates."""

    conv_L_cache: Number
    conv_bias: bool = False

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "LFM2, arXiv 2511.23404"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projection to B, C and x, gate, convolution, gate, output projection."""
        h = build.hidden
        yield build.gemm("conv_in_proj", "attention", h, 3 * h, IN, bias=self.conv_bias)
        yield build.elementwise("conv_in_gate", "attention", 2 * h, h, CHANNELS)
        yield build.conv("short_conv", "attention", h, self.conv_L_cache, CHANNELS, bias=self.conv_bias)
        yield build.elementwise("conv_out_gate", "attention", 2 * h, h, CHANNELS)
        yield build.gemm("conv_out_proj", "attention", h, h, OUT, bias=self.conv_bias)
