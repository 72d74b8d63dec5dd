"""Dense MLPs."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import Site
from llmcost.model.operators import Operator, Stored


class GatedMlp(NamedTuple):
    """down(act(gate(x))·up(x)) (arXiv 2002.05202); `sub_norm` stands before the down projection."""

    intermediate_size: Number
    mlp_bias: bool = False
    sub_norm: bool = False

    def operators(self, site: Site) -> Iterator[Operator]:
        """Gate and up in one GEMM, act(gate)·up, down."""
        yield from gated(site, "", self.intermediate_size, bias=self.mlp_bias, sub_norm=self.sub_norm)


class AdaptedMlp(NamedTuple):
    """The gated MLP of a transformer that several layers share (Zamba2, arXiv 2411.15242), and what each has for
    itself.

    That is a low-rank addition of `mlp_adapter_rank` to gate and up (0: none), and a projection of the block's output.
    """

    intermediate_size: Number
    mlp_bias: bool = False
    mlp_adapter_rank: Number = 0

    def operators(self, site: Site) -> Iterator[Operator]:
        """Gate and up with their adapter, activation, down, the layer's own projection."""
        i, r, own = self.intermediate_size, self.mlp_adapter_rank, site._replace(reused=False)
        yield site.gemm("gate_up_proj", "mlp", site.hidden, 2 * i, bias=self.mlp_bias)
        if present(r):
            yield own.gemm("mlp_adapter_down_proj", "mlp", site.hidden, r)
            yield own.gemm("mlp_adapter_up_proj", "mlp", r, 2 * i)
        yield site.stream("activation", "mlp", 2 * i, i)
        yield site.gemm("down_proj", "mlp", i, site.hidden, bias=self.mlp_bias)
        yield own.gemm("shared_block_out_proj", "mlp", site.hidden, site.hidden)


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

    def operators(self, site: Site) -> Iterator[Operator]:
        """Up, activation, down."""
        yield from plain(site, "", self.intermediate_size, bias=self.mlp_bias, weights=self.activation_weights)
        if present(self.adapter_size):
            h, t = site.hidden, self.adapter_size
            yield site.stream("adapter_norm", "norm", 2 * h, 2 * h)  # the weights of the norm after the MLP again
            yield site.gemm("adapter_up_proj", "mlp", h, t, bias=True)
            yield site.stream("adapter_activation", "mlp", t, t)
            yield site.gemm("adapter_down_proj", "mlp", t, h, bias=True)
            yield Stored("adapters", "mlp", site.count, (self.num_adapters - 1) * (2 * h * t + h + t), site.bytes.Bw)


def plain(site: Site, prefix: str, size: Number, *, bias: bool = False, weights: Number = 0) -> Iterator[Operator]:
    """The kernels of one MLP without a gate."""
    yield site.gemm(f"{prefix}up_proj", "mlp", site.hidden, size, bias=bias)
    yield site.stream(f"{prefix}activation", "mlp", size, size, weights)
    yield site.gemm(f"{prefix}down_proj", "mlp", size, site.hidden, bias=bias)


def gated(site: Site, prefix: str, size: Number, *, bias: bool = False, sub_norm: bool = False) -> Iterator[Operator]:
    """The kernels of one gated MLP; experts shared by every token have one too."""
    yield site.gemm(f"{prefix}gate_up_proj", "mlp", site.hidden, 2 * size, bias=bias)
    yield site.stream(f"{prefix}activation", "mlp", 2 * size, size)
    if sub_norm:
        yield site.stream(f"{prefix}mlp_sub_norm", "norm", size, size, size)
    yield site.gemm(f"{prefix}down_proj", "mlp", size, site.hidden, bias=bias)
