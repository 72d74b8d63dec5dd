"""Lightning attention (MiniMax-01, arXiv 2501.08313): linear attention with a fixed decay a head."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, floor_div, present
from llmcost.model.blocks.builder import CHANNELS, COLUMNS_OF_INPUT, ROWS, Builder
from llmcost.model.operators import Operator

IN = COLUMNS_OF_INPUT._replace(modules=("qkv_proj",))
OUT = ROWS._replace(modules=("out_proj",))


class LightningAttention(NamedTuple):
    """Each head keeps a state of `linear_head_dim` squared (0: h over the heads).

    The decays are fixed, so the scan has no weights.
    """

    linear_num_heads: Number
    linear_head_dim: Number = 0

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "lightning attention: MiniMax-01, arXiv 2501.08313"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projection to q, k, v and output gate, scan, norm and gate, output projection."""
        heads = self.linear_num_heads
        d = self.linear_head_dim if present(self.linear_head_dim) else floor_div(build.hidden, heads)
        out = heads * d
        yield build.gemm("lightning_in_proj", "attention", build.hidden, 4 * out, IN)
        yield build.scan(heads, d, d, CHANNELS, reads=3 * out, writes=out)
        yield build.elementwise("lightning_gate", "norm", 2 * out, out, CHANNELS, weights=out)
        yield build.gemm("lightning_out_proj", "attention", out, build.hidden, OUT)
