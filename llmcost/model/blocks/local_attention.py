"""Attention of an encoder in which a token sees its neighbourhood, and a few others that stand for the whole."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, floor_div, maximum, minimum, present
from llmcost.model.blocks.attention import ATTENTION, HEADS, OUTPUT, PACKED
from llmcost.model.blocks.builder import COLUMNS, COLUMNS_OF_INPUT, Builder
from llmcost.model.operators import Facts, Operator, Stored

QKV = COLUMNS_OF_INPUT._replace(modules=PACKED)
KEYS_AND_VALUES = COLUMNS._replace(modules=("k_proj v_proj",))
SUMS = Facts("tokens")
MOST, SEEING_ALL = Facts("heads", "local_queries"), Facts("heads", "global_queries")  # parts of what `o_proj` reads


class LocalAttention(NamedTuple):
    """A query sees `local_window` keys around it, and all see `global_tokens`, which see all (0: there are none).

    Global tokens are among the sequence's own, as BigBird's first and last block (arXiv 2007.14062, section 2), or the
    encoder's (`own_tokens` of the model, Pegasus-X, arXiv 2208.04347, section 3.2), with a norm of their own
    (`global_norm`) in every layer. `summary_tokens`: a query also sees the sums of so many tokens each, normed, with
    keys and values by the layer's projections (LongT5, arXiv 2112.07916, section 3.1.2). `global_projections`: others
    for tokens that a request makes global, which nobody has to: they are stored (LED, arXiv 2004.05150, section 3.1).
    `position_buckets`: a score for each distance, by buckets and heads, and one for those to sums.
    Every query counts with a full neighbourhood, also those at the ends of a sequence.
    """

    num_attention_heads: Number
    head_dim: Number
    local_window: Number
    global_tokens: Number = 0
    summary_tokens: Number = 0
    attention_bias: bool = False
    attention_output_bias: bool = False
    global_norm: bool = False
    global_projections: bool = False
    position_buckets: Number = 0

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projections, sums where there are some, attention of most tokens and of the global ones, output."""
        a, h, load = self.num_attention_heads, build.hidden, build.load
        inner = a * self.head_dim
        yield build.gemm("qkv_proj", "attention", h, 3 * inner, QKV, bias=self.attention_bias)
        yield from self.stored(build, inner)
        if present(self.position_buckets):
            tables = 2 if present(self.summary_tokens) else 1
            biases = tables * a * self.position_buckets
            yield Stored("position_biases", "attention", build.count, biases, build.bytes.Bx, HEADS)
        if present(self.global_tokens):
            seeing_all = minimum(load.s, self.global_tokens)
            left = load.s - seeing_all  # without any there is no such kernel
            others = build._replace(load=load._replace(s=maximum(1, left)), count=build.count * minimum(1, left))
            yield self.kernel(others, "attention", MOST, window=self.local_window + self.global_tokens)
            yield self.kernel(build._replace(load=load._replace(s=seeing_all)), "global_attention", SEEING_ALL)
        else:
            yield self.kernel(build, "attention", window=self.local_window)
        if present(self.summary_tokens):
            yield from self.of_sums(build, inner)
        yield build.gemm("o_proj", "attention", inner, h, OUTPUT, bias=self.attention_output_bias)

    def stored(self, build: Builder, inner: Number) -> Iterator[Operator]:
        """The weights of what a request may ask for, and of the global tokens' norm, which runs with the others'."""
        h = build.hidden
        if self.global_projections:
            weights = 3 * (h * inner + inner) if self.attention_bias else 3 * h * inner
            yield Stored("global_qkv_proj", "attention", build.count, weights, build.bytes.Bw, HEADS)
        if self.global_norm:
            yield Stored("global_norm", "norm", build.count, 2 * h, build.bytes.Bx)

    def of_sums(self, build: Builder, inner: Number) -> Iterator[Operator]:
        """Sums of tokens, their norm, keys and values by weights that are read already, and attention to them."""
        h, each = build.hidden, self.summary_tokens
        few = build._replace(load=build.load._replace(s=floor_div(build.load.s, each)))
        yield few.elementwise("summaries", "attention", each * h, h, SUMS)
        yield few.elementwise("summary_norm", "norm", h, h, SUMS, weights=h)
        yield few.gemm("summary_kv_proj", "attention", h, 2 * inner, KEYS_AND_VALUES, tied=True)
        yield self.kernel(build, "summary_attention", every=each)

    def kernel(
        self, build: Builder, name: str, facts: Facts = ATTENTION, *, window: Number = 0, every: Number = 0
    ) -> Operator:
        """An attention kernel over a window, one key for so many tokens, or the whole sequence."""
        a, d = self.num_attention_heads, self.head_dim
        return build.attention(
            name,
            facts,
            heads=a,
            d=d,
            dv=d,
            cached=2 * a * d,
            span="window" if present(window) else "all",
            w=window,
            every=every,
            kv_heads=a,
            scales=2 * a,
        )
