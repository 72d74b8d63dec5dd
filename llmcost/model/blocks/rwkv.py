"""RWKV: recurrences in the place of attention, and an MLP that looks at the token before too.

RWKV-4 (arXiv 2305.13048): a decaying weighted average of values, channel by channel. RWKV-7 (arXiv 2503.14456): a state
a head with a generalised delta rule.
"""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import CHANNELS, COLUMNS, ON_EVERY_GPU, ROWS, TOKENS, Builder
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


class TimeMix7(NamedTuple):
    """`num_attention_heads` of `head_dim` channels of key and value, each with a state of one by the other in 32 bits.

    Decay, learning rate, gate and, but in the first layer (0), the share of the first layer's values come from the
    input through bottlenecks of these ranks.
    """

    num_attention_heads: Number
    head_dim: Number
    decay_low_rank_dim: Number
    a_low_rank_dim: Number
    gate_low_rank_dim: Number
    v_low_rank_dim: Number = 0

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Mixing with the token before, projections, scan, norm of each head, gate, output projection."""
        h, heads, d = build.hidden, self.num_attention_heads, self.head_dim
        ranks = {"decay": self.decay_low_rank_dim, "rate": self.a_low_rank_dim, "gate": self.gate_low_rank_dim}
        ranks |= {"value": self.v_low_rank_dim} if present(self.v_low_rank_dim) else {}
        yield build.shift("time_shift", "attention", h, 6, TOKENS)
        yield build.grouped("time_mix_proj", "attention", h, h, 3, 3, THREE_OF_A_TOKEN)
        for name, rank in ranks.items():
            yield build.gemm(f"{name}_down_proj", "attention", h, rank, ON_EVERY_GPU)
            yield build.gemm(f"{name}_up_proj", "attention", rank, h, COLUMNS, bias=name != "gate")
        # Weights a channel: of the removal key, of the learning rate's part in it, of the current token's bonus.
        yield build.scan(heads, d, d, CHANNELS, reads=6 * h, writes=h, weights=3 * h, delta=True, fp32=True)
        yield build.elementwise("time_mix_gate", "norm", 2 * h, h, CHANNELS, weights=2 * h)
        yield build.gemm("time_mix_out_proj", "attention", h, h, OUT)


class ChannelMix(NamedTuple):
    """r(x)·down(relu(up(x))²), where both look at the token before too; without `receptance` it has no first factor."""

    intermediate_size: Number
    receptance: bool = True

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Mixing with the token before, up, activation, down, receptance, product."""
        h, i = build.hidden, self.intermediate_size
        yield build.shift("channel_shift", "mlp", h, 2 if self.receptance else 1, TOKENS)
        yield build.gemm("up_proj", "mlp", h, i, UP)
        yield build.elementwise("activation", "mlp", i, i, PLAIN.activation)
        yield build.gemm("down_proj", "mlp", i, h, PLAIN.down)
        if self.receptance:
            yield build.gemm("receptance_proj", "mlp", h, h, ON_EVERY_GPU)
            yield build.elementwise("receptance", "mlp", 2 * h, h, TOKENS)
