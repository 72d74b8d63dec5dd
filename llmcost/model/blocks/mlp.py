"""Dense MLPs."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import (
    CHANNELS,
    COLUMNS,
    COLUMNS_OF_INPUT,
    INPUT_ON_EVERY_GPU,
    ON_EVERY_GPU,
    ROWS,
    Builder,
)
from llmcost.model.operators import OWN, Facts, Operator, Routing, Stored

ACTIVATION = Facts("heads", computes="activation")
GATE_UP = COLUMNS_OF_INPUT._replace(modules=("gate_proj up_proj", "gate_up_proj", "w1 w3"))
GATED_DOWN = ROWS._replace(modules=("down_proj", "w2"), last=True)
UP = COLUMNS_OF_INPUT._replace(modules=("up_proj", "fc1", "c_fc"))
PLAIN_DOWN = ROWS._replace(modules=("down_proj", "fc2", "c_proj"), last=True)


class MlpFacts(NamedTuple):
    """Facts of the three kernels of an MLP."""

    up: Facts
    activation: Facts
    down: Facts

    def of(self, expert: Literal["routed", "shared"]) -> "MlpFacts":
        """The same of a mixture's experts. Routed ones read rows that were copied for them."""
        reads = OWN if expert == "routed" else self.up.reads
        return MlpFacts(
            self.up._replace(reads=reads, expert=expert),
            self.activation._replace(expert=expert),
            self.down._replace(expert=expert),
        )

    def routed_by(self, routing: Routing) -> "MlpFacts":
        """The same of experts to which tokens are sent so."""
        return MlpFacts(*[facts._replace(routing=routing) for facts in self])


GATED = MlpFacts(GATE_UP, ACTIVATION, GATED_DOWN)
PLAIN = MlpFacts(UP, ACTIVATION, PLAIN_DOWN)
# An adapter behind the MLP: the norm before it is a new input's.
ADAPTER_NORM = Facts("tokens", saves="half", opens=True)


class GatedMlp(NamedTuple):
    """down(act(gate(x))·up(x)) (arXiv 2002.05202); `sub_norm` stands before the down projection.

    `activation_weights`: learned scales of gate and up. `down_bias`: the down projection alone has a bias.
    """

    intermediate_size: Number
    mlp_bias: bool = False
    sub_norm: bool = False
    activation_weights: Number = 0
    down_bias: bool = False

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Gate and up in one GEMM, act(gate)·up, down."""
        size, weights = self.intermediate_size, self.activation_weights
        *kernels, down = gated(build, "", size, bias=self.mlp_bias, sub_norm=self.sub_norm, weights=weights)
        yield from kernels
        yield down._replace(bias=not build.reused) if self.down_bias else down


class AdaptedMlp(NamedTuple):
    """The gated MLP of a transformer block that several layers share (Zamba2, arXiv 2411.15242).

    Each layer has a low-rank addition of its own to gate and up, of `mlp_adapter_rank` (0: none), and a projection of
    the block's output.
    """

    intermediate_size: Number
    mlp_bias: bool = False
    mlp_adapter_rank: Number = 0

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Gate and up with their adapter, activation, down, the layer's own projection."""
        i, r, own = self.intermediate_size, self.mlp_adapter_rank, build._replace(reused=False)
        yield build.gemm("gate_up_proj", "mlp", build.hidden, 2 * i, GATE_UP, bias=self.mlp_bias)
        if present(r):
            yield own.gemm("mlp_adapter_down_proj", "mlp", build.hidden, r, INPUT_ON_EVERY_GPU)
            yield own.gemm("mlp_adapter_up_proj", "mlp", r, 2 * i, COLUMNS)
        yield build.elementwise("activation", "mlp", 2 * i, i, ACTIVATION)
        yield build.gemm("down_proj", "mlp", i, build.hidden, GATED_DOWN, bias=self.mlp_bias)
        yield own.gemm("shared_block_out_proj", "mlp", build.hidden, build.hidden, ON_EVERY_GPU)


class PlainMlp(NamedTuple):
    """down(act(up(x))); an activation may have a few learned weights.

    After it may stand an adapter (arXiv 1902.00751), a narrow MLP with biases, of which there are `num_adapters`,
    one a language (X-MOD, arXiv 2205.06266): a pass runs one, the others are stored.
    """

    intermediate_size: Number
    mlp_bias: bool = False
    activation_weights: Number = 0
    num_adapters: Number = 0
    adapter_size: Number = 0

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Up, activation and down projection, and the adapter where there is one."""
        yield from plain(build, "", self.intermediate_size, bias=self.mlp_bias, weights=self.activation_weights)
        if present(self.adapter_size):
            h, t = build.hidden, self.adapter_size
            # Its weights are those of the norm after the MLP.
            yield build.elementwise("adapter_norm", "norm", 2 * h, 2 * h, ADAPTER_NORM)
            yield build.gemm("adapter_up_proj", "mlp", h, t, COLUMNS_OF_INPUT, bias=True)
            yield build.elementwise("adapter_activation", "mlp", t, t, ACTIVATION)
            yield build.gemm("adapter_down_proj", "mlp", t, h, ROWS, bias=True)
            yield Stored("adapters", "mlp", build.count, (self.num_adapters - 1) * (2 * h * t + h + t), build.bytes.Bw)


def plain(
    build: Builder, prefix: str, size: Number, *, bias: bool = False, weights: Number = 0, facts: MlpFacts = PLAIN
) -> Iterator[Operator]:
    """The kernels of one MLP without a gate."""
    yield build.gemm(f"{prefix}up_proj", "mlp", build.hidden, size, facts.up, bias=bias)
    yield build.elementwise(f"{prefix}activation", "mlp", size, size, facts.activation, weights=weights)
    yield build.gemm(f"{prefix}down_proj", "mlp", size, build.hidden, facts.down, bias=bias)


def gated(
    build: Builder,
    prefix: str,
    size: Number,
    *,
    bias: bool = False,
    sub_norm: bool = False,
    weights: Number = 0,
    facts: MlpFacts = GATED,
) -> Iterator[Operator]:
    """The kernels of one gated MLP; experts shared by every token have one too."""
    yield build.gemm(f"{prefix}gate_up_proj", "mlp", build.hidden, 2 * size, facts.up, bias=bias)
    yield build.elementwise(f"{prefix}activation", "mlp", 2 * size, size, facts.activation, weights=weights)
    if sub_norm:
        yield build.elementwise(f"{prefix}mlp_sub_norm", "norm", size, size, CHANNELS, weights=size)
    yield build.gemm(f"{prefix}down_proj", "mlp", size, build.hidden, facts.down, bias=bias)
