"""The gated short convolution of LFM2 (arXiv 2511.23404)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.blocks.builder import Site
from llmcost.model.operators import Operator


class ShortConv(NamedTuple):
    """out(C·conv(B·x)): three projections of the input, a convolution of a few tokens between two gates."""

    conv_L_cache: Number
    conv_bias: bool = False

    def operators(self, site: Site) -> Iterator[Operator]:
        """Projection to B, C and x, gate, convolution, gate, output projection."""
        h = site.hidden
        yield site.gemm("conv_in_proj", "attention", h, 3 * h, bias=self.conv_bias)
        yield site.stream("conv_in_gate", "attention", 2 * h, h)
        yield site.conv("short_conv", "attention", h, self.conv_L_cache, bias=self.conv_bias)
        yield site.stream("conv_out_gate", "attention", 2 * h, h)
        yield site.gemm("conv_out_proj", "attention", h, h, bias=self.conv_bias)
