"""RWKV-4 (arXiv 2305.13048): a decaying weighted average of values, channel by channel, and an MLP behind a gate."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import CHANNELS, ON_EVERY_GPU, ROWS, TOKENS, Builder
from llmcost.model.blocks.mlp import PLAIN
from llmcost.model.operators import OWN, Facts, Operator

THREE_OF_A_TOKEN = Facts("heads", OWN)  # key, value and receptance, each of a mix of its own
UP = PLAIN.up._replace(reads=OWN)
OUT = ROWS._replace(modules=("output",))


class TimeMix(NamedTuple):
    """`attention_hidden_size` channels (0: h), each with a state of three numbers in 32 bits.

    These are a numerator, a denominator and the largest exponent so far.
    """

    attention_hidden_size: Number = 0

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "RWKV-4, arXiv 2305.13048"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Mixing with the token before, projection to key, value and receptance, scan, output projection."""
        h, u = build.hidden, self.attention_hidden_size if present(self.attention_hidden_size) else build.hidden
        yield build.shift("time_shift", "attention", h, 3, TOKENS)
        yield build.grouped("time_mix_proj", "attention", h, u, 3, 3, THREE_OF_A_TOKEN)
        yield build.scan(u, 1, 3, CHANNELS, reads=3 * u, writes=u, weights=2 * u, fp32=True)
        yield build.gemm("time_mix_out_proj", "attention", u, h, OUT)


class ChannelMix(NamedTuple):
    """r(x)·down(relu(up(x))²), where both look at the token before too."""

    intermediate_size: Number

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Mixing with the token before, up, activation, down, receptance, product."""
        h, i = build.hidden, self.intermediate_size
        yield build.shift("channel_shift", "mlp", h, 2, TOKENS)
        yield build.gemm("up_proj", "mlp", h, i, UP)
        yield build.elementwise("activation", "mlp", i, i, PLAIN.activation)
        yield build.gemm("down_proj", "mlp", i, h, PLAIN.down)
        yield build.gemm("receptance_proj", "mlp", h, h, ON_EVERY_GPU)
        yield build.elementwise("receptance", "mlp", 2 * h, h, TOKENS)
