"""What a model keeps beside the residual stream of its layers: inputs of each layer's own, or several streams.

These are no blocks of one layer: each has kernels before the layers (once a pass), in every layer, and after them (at
the positions whose logits are wanted). A model has any number of them; each is there when its first size is.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from llmcost.ground.algebra import Number
from llmcost.model.blocks.builder import ON_EVERY_GPU, TOKENS, Builder
from llmcost.model.operators import EVERYWHERE, OWN, Facts, Lookup, Operator

HALF = Facts("tokens", saves="half")  # a norm and an addition: what is added needs no gradient of its own
ROUTED = Facts("tokens", saves="nothing")  # one of the streams, all of which the prediction keeps
CORRECTION = Facts("tokens", saves="rest")  # what was predicted wrongly
OPENS = Facts("tokens", OWN, opens=True)
STREAMS = "streams"  # all residual streams, as they are before mixer and MLP each
WEIGHTS, OF_STREAMS = Facts("tokens", STREAMS, opens=True), Facts("tokens", STREAMS)
COPIES = Facts("tokens", saves="nothing")
SPREAD = Facts("tokens", saves="rest")  # the block's output, and the weights


class Streams(Protocol):
    """A named tuple of sizes and flags, like a block's."""

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **fields: Any) -> Any: ...

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:
        """Kernels between the embedding and the first of `depth` layers."""

    def inside(self, build: Builder) -> Iterator[Operator]:
        """Kernels that run in every layer."""

    def after(self, build: Builder) -> Iterator[Operator]:
        """Kernels between the last layer and the final norm."""


class LayerInputs(NamedTuple):
    """Per-layer embeddings (Gemma 3n): a token has a vector of its own for every layer, added behind a gate.

    One table has the vectors of all layers side by side; a projection of the token's embedding is added to them.
    """

    hidden_size_per_layer_input: Number
    vocab_size_per_layer_input: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:
        """The lookup, the projection and its norm, for all layers at once."""
        size, b, s = self.hidden_size_per_layer_input, build.load.b, build.load.s
        width = depth * size
        yield Lookup(
            "layer_embeddings", "embedding", 1, b, s, self.vocab_size_per_layer_input, width, build.bytes.Bx, EVERYWHERE
        )
        yield build.gemm("layer_inputs_proj", "mlp", build.hidden, width, ON_EVERY_GPU)
        yield build.elementwise("layer_inputs_norm", "norm", 2 * width, width, HALF, weights=size)

    def inside(self, build: Builder) -> Iterator[Operator]:
        """Down to the size of the layer's input, times that input, up again, norm and addition."""
        size = self.hidden_size_per_layer_input
        yield build.gemm("layer_input_gate", "mlp", build.hidden, size, OPENS)
        yield build.elementwise("layer_input_product", "mlp", 2 * size, size, TOKENS)
        yield build.gemm("layer_input_proj", "mlp", size, build.hidden, ON_EVERY_GPU)
        yield build.elementwise("layer_input_norm", "norm", 2 * build.hidden, build.hidden, HALF, weights=build.hidden)

    def after(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002 - as every one's
        """No kernel: the last layer has used its input."""
        yield from ()


class Glyphs(NamedTuple):
    """What RoCBert (aclanthology.org/2022.acl-long.65) knows of a token's sound and shape: two tables beside its own.

    The three vectors side by side are projected to the hidden size.
    """

    pronunciation_embed_dim: Number
    pronunciation_vocab_size: Number
    shape_embed_dim: Number
    shape_vocab_size: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """Both lookups and the projection."""
        b, s, Bx, h = build.load.b, build.load.s, build.bytes.Bx, build.hidden
        sound, shape = self.pronunciation_embed_dim, self.shape_embed_dim
        rows = (self.pronunciation_vocab_size, self.shape_vocab_size)
        yield Lookup("pronunciation_embedding", "embedding", 1, b, s, rows[0], sound, Bx, EVERYWHERE)
        yield Lookup("shape_embedding", "embedding", 1, b, s, rows[1], shape, Bx, EVERYWHERE)
        yield build.gemm("glyphs_proj", "embedding", h + sound + shape, h, ON_EVERY_GPU, bias=True)

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()


class TargetStates(NamedTuple):
    """Of a draft model: projections from and to states of its target, which are `backbone_hidden_size` wide.

    The target's embedding and last state of a token come in side by side, and a state of its width is handed on to the
    next draft (Gemma 4's assistants). The target's embedding is not the draft's, whose own table its LM head alone has.
    """

    backbone_hidden_size: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """The projection of what the target knows of the token."""
        yield build.gemm("pre_projection", "embedding", 2 * self.backbone_hidden_size, build.hidden, ON_EVERY_GPU)

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:
        """The projection to the target's width."""
        yield build.gemm("post_projection", "embedding", build.hidden, self.backbone_hidden_size, ON_EVERY_GPU)


class DraftInput(NamedTuple):
    """Of a draft model: what its target knows of a token, `target_states_size` elements, becomes a state of the draft.

    EAGLE (arXiv 2401.15077) puts the token's embedding and the target's last state side by side, EAGLE-3 (arXiv
    2503.01840) states of three of its layers, DFlash (arXiv 2602.06036) of several: with a norm behind the projection.
    EAGLE 3.1 may have norms before it, one of each layer's states (github.com/sgl-project/SpecForge, llama3_eagle.py).
    `drafts_together`: it guesses all tokens of a step in one pass, each without the others, as DFlash does.
    """

    target_states_size: Number
    target_states_bias: bool
    target_states_norm: bool
    drafts_together: bool = False
    target_layer_norms: bool = False

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """The norms of what comes from the target, the projection, and its norm."""
        h, bias, states = build.hidden, self.target_states_bias, self.target_states_size
        if self.target_layer_norms:
            yield build.elementwise("target_layer_norms", "norm", states, states, TOKENS, weights=states)
        yield build.gemm("target_states_proj", "mlp", states, h, ON_EVERY_GPU, bias=bias)
        if self.target_states_norm:
            yield build.elementwise("target_states_norm", "norm", h, h, TOKENS, weights=h)

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()


class AlternatingUpdates(NamedTuple):
    """AltUp (arXiv 2301.13310) with LAuReL (arXiv 2411.07501), as in Gemma 3n: several streams.

    Each layer predicts all `altup_num_inputs` streams from all, runs on one of them, and corrects the others by its
    output. A low-rank map of rank `laurel_rank` stands beside the attention.
    """

    altup_num_inputs: Number
    laurel_rank: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """The other streams from the embedding."""
        yield build.gemm("altup_proj", "mlp", build.hidden, (self.altup_num_inputs - 1) * build.hidden, ON_EVERY_GPU)

    def inside(self, build: Builder) -> Iterator[Operator]:
        """Prediction (router, coefficients, product), low-rank map, correction (router, coefficients, sum)."""
        n, r, h = self.altup_num_inputs, self.laurel_rank, build.hidden
        yield build.elementwise("altup_router_norm", "norm", h, h, ROUTED, weights=h)
        yield build.gemm("altup_router", "mlp", h, n, ON_EVERY_GPU)
        yield build.gemm("altup_prediction_coefficients", "mlp", n, n * n, ON_EVERY_GPU)
        yield build.product("altup_predict", "mlp", h, n, n, TOKENS)
        yield build.gemm("laurel_left", "mlp", h, r, ON_EVERY_GPU)
        yield build.gemm("laurel_right", "mlp", r, h, ON_EVERY_GPU)
        yield build.elementwise("laurel_norm", "norm", 2 * h, h, HALF, weights=h)
        # The router's norm again: the weights are the first one's.
        yield build.elementwise("altup_output_norm", "norm", h, h, TOKENS)
        yield build.gemm("altup_output_router", "mlp", h, n, ON_EVERY_GPU, tied=True)
        yield build.gemm("altup_correction_coefficients", "mlp", n, n, ON_EVERY_GPU)
        yield build.elementwise("altup_correct", "mlp", (n + 1) * h, n * h, CORRECTION, weights=h)

    def after(self, build: Builder) -> Iterator[Operator]:
        """The other streams' own maps, then the mean of all."""
        n, h = self.altup_num_inputs, build.hidden
        yield build.grouped("altup_unembed_proj", "mlp", h, h, n - 1, n - 1, ON_EVERY_GPU)
        yield build.elementwise("altup_mean", "mlp", n * h, h, COPIES)


class AttentionResiduals(NamedTuple):
    """Attention residuals (Kimi K3, arXiv 2607.24653, section 2.2): earlier sums of layers, attended to by each block.

    Every block of layers leaves the sum of its outputs; there are `attn_res_blocks` of them in the end. Mixer and MLP
    each read a weighted sum of those that are there, on average half, and of the running one: a score is the product
    of the normed sum and a learned query.
    """

    attn_res_blocks: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel: the embedding is the first sum."""
        yield from ()

    def inside(self, build: Builder) -> Iterator[Operator]:
        """For mixer and MLP: scores, their softmax and the weighted sum."""
        for block in ("attention", "mlp"):
            yield self.mix(build, f"{block}_residual", self.attn_res_blocks / 2 + 1)

    def after(self, build: Builder) -> Iterator[Operator]:
        """The weighted sum of all."""
        yield self.mix(build, "output_residual", self.attn_res_blocks + 1)

    def mix(self, build: Builder, name: str, sums: Number) -> Operator:
        """One weighted sum of so many, with the weights of a norm and a query."""
        return build.elementwise(name, "mlp", sums * build.hidden, build.hidden, COPIES, weights=2 * build.hidden)


class HyperConnections(NamedTuple):
    """Hyper-connections (arXiv 2409.19606; mHC, arXiv 2512.24880): `hc_mult` residual streams.

    Before mixer and MLP each, a linear map of all streams gives the weights with which they are summed into the
    block's input and its output is spread over them; with `hc_mixing` also those with which the streams are
    mixed. The sums are counted as bytes, the mixing as the matrix product that it is. `hc_mean`: in the end stands the
    streams' mean, without weights.
    """

    hc_mult: Number
    hc_mixing: bool = False
    hc_mean: bool = False

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """The embedding, copied to every stream."""
        yield build.elementwise("hc_expand", "mlp", build.hidden, self.hc_mult * build.hidden, COPIES)

    def inside(self, build: Builder) -> Iterator[Operator]:
        """For mixer and MLP: the weights, the sum of the streams, their mixing and the spreading of the output."""
        n, h = self.hc_mult, build.hidden
        outputs, scales = (2 * n + n * n, 3) if self.hc_mixing else (2 * n, 2)
        for block in ("attention", "mlp"):
            yield build.gemm(f"{block}_hc_weights", "mlp", n * h, outputs, WEIGHTS)
            yield build.elementwise(f"{block}_hc_sum", "mlp", n * h + outputs, h, OF_STREAMS, weights=outputs + scales)
            if self.hc_mixing:
                yield build.product(f"{block}_hc_mix", "mlp", n, n, h, OF_STREAMS)
            yield build.elementwise(f"{block}_hc_spread", "mlp", (n + 1) * h, n * h, SPREAD)

    def after(self, build: Builder) -> Iterator[Operator]:
        """The weighted sum of the streams."""
        n, h = self.hc_mult, build.hidden
        if self.hc_mean:
            yield build.elementwise("hc_mean", "mlp", n * h, h, COPIES)
            return
        yield build.gemm("hc_head_weights", "mlp", n * h, n, WEIGHTS)
        yield build.elementwise("hc_head_sum", "mlp", n * h + n, h, OF_STREAMS, weights=n + 1)
