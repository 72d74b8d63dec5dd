"""Residual streams that are mixed channel by channel, with embeddings of n-grams beside them (Qwen4-Exp)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, floor_div, present
from llmcost.model.blocks.builder import ON_EVERY_GPU, TOKENS, Builder
from llmcost.model.blocks.streams import COPIES, OF_STREAMS, SPREAD, WEIGHTS
from llmcost.model.operators import OWN, Facts, Lookup, Operator

NORM_OF_STREAMS = Facts("tokens", saves="half")
TABLES = Facts("table")
INTO_STREAMS = Facts("tokens", OWN)


class GatedResiduals(NamedTuple):
    """`hc_count` residual streams, whose norm a map of rank `hc_lowrank` weighs channel by channel for each block.

    Mixer and MLP read the mean of the weighted streams; a linear map gives the weight with which a block's output is
    added to each. `ngram_layers` of the layers add embeddings of n-grams first: `ngram_heads` rows of one of their
    tables, which have `ngram_rows` together, `ngram_embed_dim` wide side by side, become a value and a key for each
    stream, whose product with the stream is the value's gate; a convolution over every `ngram_size`-th of the tokens
    before, `ngram_conv_kernel` of them, is added. Hashing the n-grams is left out.
    (github.com/huggingface/transformers, src/transformers/models/qwen4_exp/modeling_qwen4_exp.py)
    """

    hc_count: Number
    hc_lowrank: Number
    ngram_layers: Number = 0
    ngram_heads: Number = 0
    ngram_rows: Number = 0
    ngram_embed_dim: Number = 0
    ngram_conv_kernel: Number = 0
    ngram_size: Number = 0

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002 - as every stream's
        """The embedding, copied to every stream; and what layers add of n-grams, of all of them."""
        yield build.elementwise("hc_expand", "mlp", build.hidden, self.hc_count * build.hidden, COPIES)
        if present(self.ngram_layers):
            yield from self.ngrams(build, self.hc_count * build.hidden)

    def ngrams(self, build: Builder, wide: Number) -> Iterator[Operator]:
        """Rows of the tables, keys and values, norms and gates, convolution."""
        e, heads, kernel, size = self.ngram_embed_dim, self.ngram_heads, self.ngram_conv_kernel, build.bytes
        looked_up = build.load.s * heads * self.ngram_layers
        width = floor_div(e, heads)
        yield Lookup(
            "ngram_embedding", "embedding", 1, build.load.b, looked_up, self.ngram_rows, width, size.Bx, TABLES
        )
        each = build._replace(count=self.ngram_layers)
        yield each.gemm("ngram_kv_proj", "mlp", e, wide + build.hidden, ON_EVERY_GPU)
        yield each.elementwise("ngram_gate", "norm", 2 * wide + build.hidden, 2 * wide, INTO_STREAMS, weights=3 * wide)
        yield each.conv("ngram_conv", "mlp", wide, kernel, TOKENS)
        yield each.shift("ngram_conv_gaps", "mlp", wide * (kernel - 1) * (self.ngram_size - 1), 0, TOKENS)
        yield each.elementwise("ngram_add", "mlp", 3 * wide, wide, COPIES)

    def inside(self, build: Builder) -> Iterator[Operator]:
        """For mixer and MLP: the norm, the weights of channels, the mean, and the spreading of the output."""
        wide = self.hc_count * build.hidden
        for block in ("attention", "mlp"):
            yield from self.mixed(build, block)
            yield build.gemm(f"{block}_hc_inject", "mlp", wide, self.hc_count, OF_STREAMS)
            yield build.elementwise(f"{block}_hc_spread", "mlp", wide + build.hidden, wide, SPREAD)

    def mixed(self, build: Builder, block: str) -> Iterator[Operator]:
        """The mean of the streams, each channel by its weight."""
        wide = self.hc_count * build.hidden
        yield build.elementwise(f"{block}_hc_norm", "norm", wide, wide, NORM_OF_STREAMS, weights=wide)
        yield build.gemm(f"{block}_hc_down", "mlp", wide, self.hc_lowrank, WEIGHTS)
        yield build.gemm(f"{block}_hc_up", "mlp", self.hc_lowrank, wide, ON_EVERY_GPU)
        yield build.elementwise(f"{block}_hc_mean", "mlp", 2 * wide, build.hidden, OF_STREAMS)

    def after(self, build: Builder) -> Iterator[Operator]:
        """The mean of the streams once more."""
        yield from self.mixed(build, "output")
