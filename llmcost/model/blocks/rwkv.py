"""RWKV-4 (arXiv 2305.13048): a decaying weighted average of values, channel by channel, and an MLP behind a gate."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import Site
from llmcost.model.operators import Operator


class TimeMix(NamedTuple):
    """`attention_hidden_size` channels (0: h), each with a numerator, a denominator and the largest exponent so far, in 32 bits."""

    attention_hidden_size: Number = 0

    def operators(self, site: Site) -> Iterator[Operator]:
        """Mixing with the token before, projection to key, value and receptance, scan, output projection."""
        h, u = site.hidden, self.attention_hidden_size if present(self.attention_hidden_size) else site.hidden
        yield site.shift("time_shift", "attention", h, 3)
        yield site.grouped("time_mix_proj", "attention", h, u, 3, 3)
        yield site.scan(u, 1, 3, reads=3 * u, writes=u, weights=2 * u, fp32=True)
        yield site.gemm("time_mix_out_proj", "attention", u, h)


class ChannelMix(NamedTuple):
    """r(x)·down(relu(up(x))²), where both look at the token before too."""

    intermediate_size: Number

    def operators(self, site: Site) -> Iterator[Operator]:
        """Mixing with the token before, up, activation, down, receptance, product."""
        h, i = site.hidden, self.intermediate_size
        yield site.shift("channel_shift", "mlp", h, 2)
        yield site.gemm("up_proj", "mlp", h, i)
        yield site.stream("activation", "mlp", i, i)
        yield site.gemm("down_proj", "mlp", i, h)
        yield site.gemm("receptance_proj", "mlp", h, h)
        yield site.stream("receptance", "mlp", 2 * h, h)
