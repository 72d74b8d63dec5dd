"""The recurrent block of Griffin and RecurrentGemma (arXiv 2402.19427): a gated linear recurrence a channel."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, floor_div, present
from llmcost.model.blocks.builder import CHANNELS, COLUMNS_OF_INPUT, ROWS, Builder
from llmcost.model.operators import Facts, Operator

OUT = ROWS._replace(modules=("linear_out",))
CONVOLVED = "convolved input"  # which both gates and the scan take in
GATES, SCAN = Facts("heads", CONVOLVED), Facts("heads", CONVOLVED, saves="rest")


class RgLru(NamedTuple):
    """`lru_width` channels (0: h), each with a state of one number in 32 bits.

    Each of `lru_blocks` blocks of channels has gates of its own.
    """

    lru_blocks: Number
    conv1d_width: Number
    lru_width: Number = 0

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "Griffin, arXiv 2402.19427"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projection to input and gate, convolution, both gates of the recurrence, scan and gate, output projection."""
        width, blocks = self.lru_width if present(self.lru_width) else build.hidden, self.lru_blocks
        each = floor_div(width, blocks)
        yield build.gemm("lru_in_proj", "attention", build.hidden, 2 * width, COLUMNS_OF_INPUT, bias=True)
        yield build.conv("lru_conv", "attention", width, self.conv1d_width, CHANNELS, bias=True)
        yield build.grouped("lru_gates", "attention", each, 2 * each, blocks, blocks, GATES, bias=True)
        yield build.scan(width, 1, 1, SCAN, reads=4 * width, writes=width, weights=width, fp32=True)
        yield build.gemm("lru_out_proj", "attention", width, build.hidden, OUT, bias=True)
