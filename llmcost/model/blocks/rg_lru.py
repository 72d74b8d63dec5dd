"""The recurrent block of Griffin and RecurrentGemma (arXiv 2402.19427): a gated linear recurrence on single channels."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, floor_div, present
from llmcost.model.blocks.builder import Site
from llmcost.model.operators import Operator


class RgLru(NamedTuple):
    """`lru_width` channels (0: h) with a state of one number each, kept in 32 bits; each of `lru_blocks` blocks has its own gates."""

    lru_blocks: Number
    conv1d_width: Number
    lru_width: Number = 0

    def operators(self, site: Site) -> Iterator[Operator]:
        """Projection to input and gate, convolution, both gates of the recurrence, scan and gate, output projection."""
        width, blocks = self.lru_width if present(self.lru_width) else site.hidden, self.lru_blocks
        each = floor_div(width, blocks)
        yield site.gemm("lru_in_proj", "attention", site.hidden, 2 * width, bias=True)
        yield site.conv("lru_conv", "attention", width, self.conv1d_width, bias=True)
        yield site.grouped("lru_gates", "attention", each, 2 * each, blocks, blocks, bias=True)
        yield site.scan(width, 1, 1, reads=4 * width, writes=width, weights=width, fp32=True)
        yield site.gemm("lru_out_proj", "attention", width, site.hidden, bias=True)
