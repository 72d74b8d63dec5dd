"""What stands behind the layers of NV-Embed (arXiv 2405.17428, section 3.1): tokens look at learned vectors."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.blocks.attention import ATTENTION
from llmcost.model.blocks.builder import ON_EVERY_GPU, TOKENS, Builder
from llmcost.model.operators import Operator

VECTORS = TOKENS._replace(role="constant")
OF_VECTORS = ON_EVERY_GPU._replace(role="constant")


class LatentPooling(NamedTuple):
    """Every token attends to `num_latents` learned vectors as wide as it is, then passes a gated MLP of four its width.

    Before each stands a LayerNorm. Keys and values of the vectors are computed once a batch. The mean of the tokens,
    which is the embedding, is left out. (huggingface.co/nvidia/NV-Embed-v2, modeling_nvembed.py)
    """

    num_latents: Number
    latent_heads: Number
    latent_head_dim: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002 - as every stream's
        """No kernel."""
        yield from ()

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:
        """Queries of tokens, keys and values of the vectors, attention, output; the MLP."""
        h, n, d = build.hidden, self.num_latents, self.latent_head_dim
        inner = self.latent_heads * d
        vectors = build._replace(load=build.load._replace(b=1, s=n))
        yield build.elementwise("pooling_norm", "norm", h, h, TOKENS, weights=2 * h)
        yield build.gemm("pooling_q_proj", "lm_head", h, inner, ON_EVERY_GPU)
        yield vectors.elementwise("latents_norm", "norm", h, h, VECTORS, weights=n * h + 2 * h)
        yield vectors.gemm("pooling_kv_proj", "lm_head", h, 2 * inner, OF_VECTORS)
        seen = build._replace(load=build.load._replace(c=n), both_ways=True)
        attention = seen.attention(
            "pooling_attention",
            ATTENTION,
            heads=self.latent_heads,
            d=d,
            dv=d,
            cached=2 * inner,
            shared=True,  # by all sequences of a batch
            kv_heads=self.latent_heads,
        )
        yield attention._replace(crosses=True)
        yield build.gemm("pooling_o_proj", "lm_head", inner, h, ON_EVERY_GPU)
        yield build.elementwise("pooling_mlp_norm", "norm", 2 * h, 2 * h, TOKENS, weights=2 * h)
        yield build.gemm("pooling_gate_up_proj", "lm_head", h, 8 * h, ON_EVERY_GPU, bias=True)
        yield build.elementwise("pooling_activation", "lm_head", 8 * h, 4 * h, TOKENS)
        yield build.gemm("pooling_down_proj", "lm_head", 4 * h, h, ON_EVERY_GPU, bias=True)
