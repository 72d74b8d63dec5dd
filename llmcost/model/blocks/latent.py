"""Multi-head latent attention (MLA, DeepSeek-V2, arXiv 2405.04434, section 2.1), with an indexer where it is sparse.

The indexer (DeepSeek Sparse Attention, arXiv 2512.02556, section 2.1) scores every key with a few small heads and one
cached key a token; the attention itself then sees the best `index_topk` keys.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.attention import (
    ATTENTION,
    GATE_OF_ATTENDED,
    INDEXER,
    INDEXER_WRITE,
    OUTPUT,
    OUTPUT_BEHIND,
    QUERY,
)
from llmcost.model.blocks.builder import (
    CHANNELS,
    COLUMNS,
    COLUMNS_OF_INPUT,
    INPUT_ON_EVERY_GPU,
    ROTARY,
    TOKENS,
    Builder,
)
from llmcost.model.operators import OWN, Attention, Facts, Operator, Stored

QUERY_LATENT = "query latent"  # from which queries come, and the indexer's
QUERY_DOWN = INPUT_ON_EVERY_GPU._replace(modules=("q_a_proj",))
QUERY_UP = Facts("columns", QUERY_LATENT, modules=("q_b_proj",))
LATENT_DOWN = INPUT_ON_EVERY_GPU._replace(modules=("kv_a_proj_with_mqa",))
LATENT_UP = Facts("columns", OWN, modules=("kv_b_proj",))
ABSORBED = Facts("heads", OWN, modules=("kv_b_proj",))
INDEXER_QUERY = Facts("tokens", QUERY_LATENT)


class LatentAttention(NamedTuple):
    """Keys and values of all heads are projected from a cached latent, with one rotary key beside it.

    The cache holds `kv_lora_rank` + `qk_rope_head_dim` elements a token. Queries come from a latent too, of
    `q_lora_rank`, unless that is 0. A prompt expands the latents into keys and values of every head;
    decode moves the expansion onto queries and outputs ("absorbed") and attends to the latents themselves.

    A query sees the last `sliding_window` keys, the best `index_topk`, or all (0); without `index_n_heads` the
    choice is an earlier layer's. `attention_gate` scales each head's or channel's output by a projection of the
    input ("latent": a channel's, by one of the queries' latent before and after its norm, from which q comes too).
    `input_gate_rank`: the block's input is scaled by a low-rank map of itself. `index_every`: the indexer's keys are
    sums of so many tokens', weighed by a gate a channel and a learned part of each place (GLM-5.3-Flash).
    `softmax_scales`: a slope and an offset a head scale the scores by the logarithm of the position, also the
    indexer's; `rotary_scales`: learned scales of the angles, which the first layer stores; `shared_latent`: latents
    are an earlier layer's, whose cache this one reads (Mistral Large 4). Without a latent of queries the indexer's come
    from the normed input.
    """

    num_attention_heads: Number
    kv_lora_rank: Number
    qk_nope_head_dim: Number
    v_head_dim: Number
    qk_rope_head_dim: Number = 0
    q_lora_rank: Number = 0
    sliding_window: Number = 0
    index_topk: Number = 0
    index_n_heads: Number = 0
    index_head_dim: Number = 0
    index_every: Number = 0
    rotary_scales: Number = 0
    input_gate_rank: Number = 0
    attention_bias: bool = False
    attention_output_bias: bool = False
    attention_sinks: bool = False
    attention_gate: Literal["none", "head", "channel", "latent"] = "none"
    rotary_key_norm: bool = False
    softmax_scales: bool = False
    shared_latent: bool = False

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "MLA: DeepSeek-V2, arXiv 2405.04434, section 2.1"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Query and latent projections with their norms, indexer, attention expanded or absorbed, output projection."""
        a, rkv, h = self.num_attention_heads, self.kv_lora_rank, build.hidden
        dn, dr, dv = self.qk_nope_head_dim, self.qk_rope_head_dim, self.v_head_dim
        latent = rkv + dr
        if present(self.input_gate_rank):
            yield from build.input_gate("attention_input_gate", self.input_gate_rank)
        yield from self.queries(build)
        yield from self.latents(build)
        if present(self.index_n_heads):
            yield from self.indexer(build)
        if build.load.decode:
            yield build.grouped("absorb_key", "attention", dn, rkv, a, a, ABSORBED)
            yield self.kernel(build, latent, rkv, streamed=0)
            yield build.grouped("absorb_value", "attention", rkv, dv, a, a, ABSORBED)
        else:
            yield build.gemm("kv_b_proj", "attention", rkv, a * (dn + dv), LATENT_UP)
            yield self.kernel(build, dn + dr, dv, streamed=a * (dn + dr + dv))
        if self.attention_gate != "none":
            gate = a if self.attention_gate == "head" else a * dv
            if self.attention_gate != "latent":
                yield build.gemm("attention_gate_proj", "attention", h, gate, COLUMNS_OF_INPUT)
            yield build.elementwise("attention_gate", "attention", a * dv + gate, a * dv, GATE_OF_ATTENDED)
        output = OUTPUT if self.attention_gate == "none" else OUTPUT_BEHIND
        yield build.gemm("o_proj", "attention", a * dv, h, output, bias=self.attention_output_bias)

    def queries(self, build: Builder) -> Iterator[Operator]:
        """Queries from the input, or from a latent of their own."""
        a, rq, h = self.num_attention_heads, self.q_lora_rank, build.hidden
        q = a * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        if not present(rq):
            yield build.gemm("q_proj", "attention", h, q, QUERY)
            return
        yield build.gemm("q_a_proj", "attention", h, rq, QUERY_DOWN, bias=self.attention_bias)
        yield build.elementwise("q_a_norm", "norm", rq, rq, TOKENS, weights=rq)
        if self.attention_gate == "latent":
            yield build.gemm("q_gate_proj", "attention", 2 * rq, q + a * self.v_head_dim, COLUMNS)
        else:
            yield build.gemm("q_b_proj", "attention", rq, q, QUERY_UP)

    def latents(self, build: Builder) -> Iterator[Operator]:
        """The latent and its norm, unless it is an earlier layer's; scales; rotary embedding and cache write."""
        a, rkv, dr = self.num_attention_heads, self.kv_lora_rank, self.qk_rope_head_dim
        latent, q = rkv + dr, a * (self.qk_nope_head_dim + dr)
        if not self.shared_latent:
            yield build.gemm("kv_a_proj", "attention", build.hidden, latent, LATENT_DOWN, bias=self.attention_bias)
            yield build.elementwise("kv_a_norm", "norm", rkv, rkv, TOKENS, weights=rkv)
        if self.rotary_key_norm:
            yield build.elementwise("rotary_key_norm", "norm", dr, dr, TOKENS, weights=dr)
        if self.softmax_scales:
            yield build.elementwise("softmax_scale", "attention", q, q, CHANNELS, weights=2 * a)
        if present(self.rotary_scales):
            yield Stored("rotary_scales", "attention", build.count, self.rotary_scales, build.bytes.Bx)
        new = 0 if self.shared_latent else latent
        yield build.rotary_embedding(a * dr + dr, a * dr + new, ROTARY)

    def indexer(self, build: Builder) -> Iterator[Operator]:
        """Its queries from the queries' latent, one key a token, a weight a head, the scores.

        The kernel is attention's without softmax: q·k of every pair and head, then the weighted sum over the heads,
        which costs as much as a value of one channel. Its cache is counted in the KV cache's data type.
        """
        heads, d = self.index_n_heads, self.index_head_dim
        if present(self.q_lora_rank):
            yield build.gemm("indexer_q_proj", "attention", self.q_lora_rank, heads * d, INDEXER_QUERY)
        else:
            h = build.hidden
            yield build.elementwise("indexer_input_norm", "norm", h, h, TOKENS, weights=2 * h)
            yield build.gemm("indexer_q_proj", "attention", h, heads * d, INDEXER_QUERY)
        yield build.gemm("indexer_k_weights_proj", "attention", build.hidden, d + heads, INPUT_ON_EVERY_GPU)
        yield build.elementwise("indexer_k_norm", "norm", d, d, TOKENS, weights=2 * d)
        if present(self.index_every):
            yield build.gemm("indexer_pool_gate", "attention", build.hidden, d, INPUT_ON_EVERY_GPU)
            yield build.elementwise("indexer_pool", "attention", 2 * d, d, TOKENS, weights=self.index_every * d)
        if self.softmax_scales:
            yield build.elementwise("indexer_scale", "attention", heads * d, heads * d, INDEXER, weights=2 * heads)
        yield build.rotary_embedding((heads + 1) * d, (heads + 1) * d, INDEXER_WRITE, "indexer_")
        yield build.attention("indexer", INDEXER, heads=heads, d=d, dv=1, cached=d, every=self.index_every, latent=True)

    def kernel(self, build: Builder, d: Number, dv: Number, streamed: Number) -> Attention:
        """The attention kernel, on latents or on expanded keys and values."""
        return build.attention(
            "attention",
            ATTENTION,
            heads=self.num_attention_heads,
            d=d,
            dv=dv,
            cached=self.kv_lora_rank + self.qk_rope_head_dim,
            rotary=self.qk_rope_head_dim,
            streamed=streamed,
            span="window" if present(self.sliding_window) else "top" if present(self.index_topk) else "all",
            w=self.sliding_window if present(self.sliding_window) else self.index_topk,
            sinks=self.attention_sinks,
            shared=self.shared_latent,
            latent=True,
        )
