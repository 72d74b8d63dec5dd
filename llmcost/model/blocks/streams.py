"""What a model keeps beside the residual stream of its layers: inputs of each layer's own, or several streams.

These are no blocks of one layer: each has kernels before the layers (once a pass), in every layer, and after them (at
the positions whose logits are wanted). A model has any number of them; each is there when its first size is.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from llmcost.ground.algebra import Number
from llmcost.model.blocks.builder import Site
from llmcost.model.operators import Lookup, Operator


class Streams(Protocol):
    """A named tuple of sizes and flags, like a block's."""

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **fields: Any) -> Any: ...

    def before(self, site: Site, depth: Number) -> Iterator[Operator]:
        """Kernels between the embedding and the first of `depth` layers."""

    def inside(self, site: Site) -> Iterator[Operator]:
        """Kernels in every layer."""

    def after(self, site: Site) -> Iterator[Operator]:
        """Kernels between the last layer and the final norm."""


class LayerInputs(NamedTuple):
    """Per-layer embeddings (Gemma 3n): a token has a vector of its own for every layer, added behind a gate.

    One table has the vectors of all layers side by side; a projection of the token's embedding is added to them.
    """

    hidden_size_per_layer_input: Number
    vocab_size_per_layer_input: Number

    def before(self, site: Site, depth: Number) -> Iterator[Operator]:
        """The lookup, the projection and its norm, for all layers at once."""
        size, b, s = self.hidden_size_per_layer_input, site.load.b, site.load.s
        width = depth * size
        yield Lookup("layer_embeddings", "embedding", 1, b, s, self.vocab_size_per_layer_input, width, site.bytes.Bx)
        yield site.gemm("layer_inputs_proj", "mlp", site.hidden, width)
        yield site.stream("layer_inputs_norm", "norm", 2 * width, width, size)

    def inside(self, site: Site) -> Iterator[Operator]:
        """Down to the size of the layer's input, times that input, up again, norm and addition."""
        size = self.hidden_size_per_layer_input
        yield site.gemm("layer_input_gate", "mlp", site.hidden, size)
        yield site.stream("layer_input_product", "mlp", 2 * size, size)
        yield site.gemm("layer_input_proj", "mlp", size, site.hidden)
        yield site.stream("layer_input_norm", "norm", 2 * site.hidden, site.hidden, site.hidden)

    def after(self, site: Site) -> Iterator[Operator]:  # noqa: ARG002 - as every one's
        """No kernel."""
        yield from ()


class AlternatingUpdates(NamedTuple):
    """AltUp (arXiv 2301.13310) with LAuReL (arXiv 2411.07501), as in Gemma 3n: n streams, of which a layer computes
    one.

    Each layer predicts all streams from all, runs on the active one and corrects the others by what came
    out. A low-rank map of rank `laurel_rank` stands beside the attention.
    """

    altup_num_inputs: Number
    laurel_rank: Number

    def before(self, site: Site, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """The other streams from the embedding."""
        yield site.gemm("altup_proj", "mlp", site.hidden, (self.altup_num_inputs - 1) * site.hidden)

    def inside(self, site: Site) -> Iterator[Operator]:
        """Prediction (router, coefficients, product), low-rank map, correction (router, coefficients, sum)."""
        n, r, h = self.altup_num_inputs, self.laurel_rank, site.hidden
        yield site.stream("altup_router_norm", "norm", h, h, h)
        yield site.gemm("altup_router", "mlp", h, n)
        yield site.gemm("altup_prediction_coefficients", "mlp", n, n * n)
        yield site.product("altup_predict", "mlp", h, n, n)
        yield site.gemm("laurel_left", "mlp", h, r)
        yield site.gemm("laurel_right", "mlp", r, h)
        yield site.stream("laurel_norm", "norm", 2 * h, h, h)
        yield site.stream("altup_output_norm", "norm", h, h)  # the router's norm again: the weights are the first one's
        yield site.gemm("altup_output_router", "mlp", h, n, tied=True)
        yield site.gemm("altup_correction_coefficients", "mlp", n, n)
        yield site.stream("altup_correct", "mlp", (n + 1) * h, n * h, h)

    def after(self, site: Site) -> Iterator[Operator]:
        """The other streams' own maps, then the mean of all."""
        n, h = self.altup_num_inputs, site.hidden
        yield site.grouped("altup_unembed_proj", "mlp", h, h, n - 1, n - 1)
        yield site.stream("altup_mean", "mlp", n * h, h)


class HyperConnections(NamedTuple):
    """Hyper-connections (arXiv 2409.19606; mHC, arXiv 2512.24880): `hc_mult` residual streams.

    Before mixer and MLP each, a linear map of all streams gives the weights with which they are summed into the
    block's input and its output is spread over them; with `hc_mixing` also those with which the streams are
    mixed. The sums are counted as bytes, the mixing as the matrix product that it is.
    """

    hc_mult: Number
    hc_mixing: bool = False

    def before(self, site: Site, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """Copies of the embedding."""
        yield site.stream("hc_expand", "mlp", site.hidden, self.hc_mult * site.hidden)

    def inside(self, site: Site) -> Iterator[Operator]:
        """For mixer and MLP: the weights, the sum of the streams, their mixing and the spreading of the output."""
        n, h = self.hc_mult, site.hidden
        outputs, scales = (2 * n + n * n, 3) if self.hc_mixing else (2 * n, 2)
        for block in ("attention", "mlp"):
            yield site.gemm(f"{block}_hc_weights", "mlp", n * h, outputs)
            yield site.stream(f"{block}_hc_sum", "mlp", n * h + outputs, h, outputs + scales)
            if self.hc_mixing:
                yield site.product(f"{block}_hc_mix", "mlp", n, n, h)
            yield site.stream(f"{block}_hc_spread", "mlp", (n + 1) * h, n * h)

    def after(self, site: Site) -> Iterator[Operator]:
        """The weighted sum of the streams."""
        n, h = self.hc_mult, site.hidden
        yield site.gemm("hc_head_weights", "mlp", n * h, n)
        yield site.stream("hc_head_sum", "mlp", n * h + n, h, n + 1)
