"""The builder, which makes the kernels of a block for a model and a load; and facts that many kernels share."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from llmcost.ground.algebra import Number, present
from llmcost.model.formats import Format, format_of
from llmcost.model.operators import (
    INPUT,
    OWN,
    UNIFORM,
    Attention,
    CausalConv,
    Elementwise,
    Facts,
    Gemm,
    GroupedGemm,
    Operator,
    Part,
    Routing,
    Scan,
    Span,
    TokenProduct,
    TokenShift,
)
from llmcost.model.sizes import ElementBytes, Load, bytes_of

# Linear layers by how GPUs divide them: on the block's input, on what the kernel before wrote.
COLUMNS_OF_INPUT = Facts("columns", INPUT)
COLUMNS = Facts("columns", OWN)
ROWS = Facts("rows", OWN)
INPUT_ON_EVERY_GPU = Facts("tokens", INPUT)
ON_EVERY_GPU = Facts("tokens", OWN)
FROM_UNGATED = Facts("tokens", "ungated input")
# Elementwise kernels: of heads or channels that are divided, of whole tokens, moving what no gradient needs.
CHANNELS = Facts("heads")
TOKENS = Facts("tokens")
GATED_INPUT = Facts("tokens", "ungated input", saves="rest")
ROTARY = Facts("heads", saves="nothing", computes="rotary")
CACHE_WRITE = Facts("heads", saves="nothing")
# Norms with the residual addition before them, at the start of a block and elsewhere: of both inputs the sum is kept.
NORM_OF_INPUT = Facts("tokens", saves="half", opens=True)
RESIDUAL_NORM = Facts("tokens", saves="half")

NORM_WEIGHTS = {"rms": 1, "layer": 2, "layer-no-bias": 1, "none": 0}  # a channel: a weight, and LayerNorm's bias


class Builder(NamedTuple):
    """One kind of layer, in a model under a load. Its methods make kernels that run once a layer in a pass.

    `unquantized`: linear layers whose weights are kept in the activations' type, as `Layer.unquantized` names them;
    `formats`: those that have a format of their own, as `Layer.formats` does.
    `reused`: the weights are an earlier layer's: read, but not stored once more. `both_ways`: a token sees all others.
    `routing`: by which law routers send tokens to experts.
    """

    count: Number
    hidden: Number
    rotary: bool
    norm: str
    load: Load
    bytes: ElementBytes
    unquantized: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    reused: bool = False
    both_ways: bool = False
    routing: Routing = UNIFORM

    def gemm(
        self,
        name: str,
        part: Part,
        k: Number,
        n: Number,
        facts: Facts,
        *,
        bias: bool = False,
        tied: bool = False,
    ) -> Operator:
        """A linear layer on every token, k in, n out."""
        b, s, Bw = self.load.b, self.load.s, self.weight(name, part, k, n, facts)
        bias = bias and not self.reused
        return Gemm(name, part, self.count, b, s, k, n, bias, tied or self.reused, Bw, self.bytes.Bx, facts)

    def grouped(
        self,
        name: str,
        part: Part,
        k: Number,
        n: Number,
        groups: Number,
        active: Number,
        facts: Facts,
        *,
        bias: bool = False,
    ) -> Operator:
        """`groups` linear layers, of which each token takes `active`."""
        b, s, Bw = self.load.b, self.load.s, self.weight(name, part, k, n, facts)
        Bx, tied = self.bytes.Bx, self.reused
        return GroupedGemm(name, part, self.count, b, s, k, n, groups, active, bias, Bw, Bx, facts, tied)

    def weight(self, name: str, part: Part, k: Number, n: Number, facts: Facts) -> Number:
        """Bytes a weight of a linear layer, k in, n out, with its part of scales of channels and of codebooks.

        Weights of routers are kept in the activations' type, unless `formats` names them.
        """
        size = self.bytes
        module = name if facts.role == "router" else facts.module(part)
        if self.unquantized and (module in self.unquantized or name in self.unquantized):
            return size.Bx
        if self.formats and (kept := own_format(self.formats, name, module)):
            each, channel, inputs, matrix = map(bytes_of, (kept.bits_a_weight, kept.channel, kept.inputs, kept.matrix))
            return _with_shared(each, channel, inputs, matrix, k, n, facts)
        if facts.role == "router":
            return size.Bx
        if facts.expert == "routed" and present(size.Be):
            return size.Be
        return _with_shared(size.Bw, size.Bc, size.Bi, size.Bq, k, n, facts)

    def shift(self, name: str, part: Part, channels: Number, mixes: Number, facts: Facts) -> Operator:
        """Each token mixed with the one before it, in so many mixes."""
        return TokenShift(name, part, self.count, self.load.b, self.load.s, channels, mixes, self.bytes.Bx, facts)

    def elementwise(
        self, name: str, part: Part, reads: Number, writes: Number, facts: Facts, *, weights: Number = 0
    ) -> Operator:
        """An elementwise kernel or norm, which reads and writes so many elements a token."""
        b, s, weights = self.load.b, self.load.s, 0 if self.reused else weights
        return Elementwise(name, part, self.count, b, s, reads, writes, weights, self.bytes.Bx, facts)

    def conv(
        self, name: str, part: Part, channels: Number, kernel: Number, facts: Facts, *, bias: bool = False
    ) -> Operator:
        """A causal convolution, channel by channel."""
        b, s = self.load.b, self.load.s
        Bx, tied = self.bytes.Bx, self.reused
        return CausalConv(name, part, self.count, b, s, channels, kernel, bias, Bx, facts, tied)

    def scan(
        self,
        heads: Number,
        dk: Number,
        dv: Number,
        facts: Facts,
        *,
        reads: Number,
        writes: Number,
        weights: Number = 0,
        delta: bool = False,
        fp32: bool = False,
        by_channel: bool = False,
    ) -> Operator:
        """A linear recurrence, with a state of dk by dv elements a head."""
        b, s, Bx = self.load.b, self.load.s, self.bytes.Bx
        Bs = 4 if fp32 else Bx
        sizes = (self.count, b, s, heads, dk, dv, delta, weights, reads, writes, Bx, Bs)
        return Scan("scan", "attention", *sizes, facts, by_channel)

    def product(self, name: str, part: Part, m: Number, k: Number, n: Number, facts: Facts) -> Operator:
        """A product of two activations of each token, (m, k) by (k, n)."""
        return TokenProduct(name, part, self.count, self.load.b, self.load.s, m, k, n, self.bytes.Bx, facts)

    def attention(
        self,
        name: str,
        facts: Facts,
        *,
        heads: Number,
        d: Number,
        dv: Number,
        cached: Number,
        streamed: Number = 0,
        span: Span = "all",
        w: Number = 0,
        sinks: bool = False,
        shared: bool = False,
        every: Number = 0,
        kv_heads: Number = 1,
        rotary: Number = 0,
        scales: Number = 1,
        latent: bool = False,
    ) -> Attention:
        """An attention kernel over the cache.

        `rotary`: how many of the `cached` elements are the rotary part of a latent; `scales`: how many a token has.
        """
        size = self.bytes
        each = size.Bkv
        if present(size.Br) and present(rotary):
            cached, each = (cached - rotary) * size.Bkv + rotary * size.Br, 1
        if present(size.Bs):
            cached, each = cached * each + scales * size.Bs, 1
        op = Attention(
            name=name,
            part="attention",
            count=self.count,
            b=self.load.b,
            s=self.load.s,
            c=self.load.c,
            a=heads,
            d=d,
            dv=dv,
            cached=cached,
            streamed=streamed,
            span=span,
            w=w,
            sinks=sinks,
            shared=shared,
            Bx=size.Bx,
            Bkv=each,
            every=every,
            kv_heads=kv_heads,
            decode=self.load.decode,
            caches=self.load.cached,
            both_ways=self.both_ways,
            latent=latent,
            facts=facts,
        )
        return op if self.load.over is None else op.over(*self.load.over)

    def rotary_embedding(self, turned: Number, cached: Number, facts: Facts, prefix: str = "") -> Operator:
        """Turns `turned` elements a token and puts what is `cached`, of these and others, where the cache wants it.

        Without a cache the others are left where they are. Both are elements that the kernel reads and writes.
        """
        name, width = ("rotary_cache_write", cached) if self.load.cached else ("rotary", turned)
        return self.elementwise(f"{prefix}{name}", "attention", width, width, facts)

    def input_gate(self, name: str, rank: Number) -> Iterator[Operator]:
        """A block's input scaled channel by channel by a low-rank map of itself."""
        h = self.hidden
        yield self.gemm(f"{name}_down", "mlp", h, rank, FROM_UNGATED)
        yield self.gemm(f"{name}_up", "mlp", rank, h, ON_EVERY_GPU)
        yield self.elementwise(name, "mlp", 2 * h, h, GATED_INPUT)

    def layer_norm(self, name: str, facts: Facts, scales: Number = 0) -> Operator:
        """The residual addition and the norm after it in one kernel: residual and branch in, sum and normed sum out.

        `scales`: vectors by which residual and branch are scaled and shifted.
        """
        h = self.hidden
        weights = NORM_WEIGHTS[self.norm] * h
        if present(scales):
            weights = weights + scales * h
        return self.elementwise(name, "norm", 2 * h, 2 * h, facts, weights=weights)


def _with_shared(
    each: Number, output: Number, inputs: Number, matrix: Number, k: Number, n: Number, facts: Facts
) -> Number:
    """Bytes a weight with its part of what channels and whole matrices have; several matrices may be packed in one."""
    if present(output):
        each = each + output / k
    packed = len(facts.modules[0].split()) if facts.modules else 1
    if present(inputs):
        each = each + packed * inputs / n
    return each + packed * matrix / (k * n) if present(matrix) else each


def own_format(formats: tuple[str, ...], *names: str) -> Format | None:
    """The format that a list such as `Layer.formats` gives what goes by these names; None where it has none of them."""
    for each in formats:
        named, _, form = each.partition("=")
        if named in names:
            return format_of(form)
    return None


class Block(Protocol):
    """A named tuple: sizes (annotated Number, so that they may be symbols), flags (bool) and choices (Literal)."""

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **fields: Any) -> Any: ...

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Its kernels in the order in which they run, norms of the layer apart."""


class NoBlock(NamedTuple):
    """No block: the layer is only a mixer, or only an MLP."""

    def operators(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002 - as every block's
        """No kernel: nothing stands in this place of the layer."""
        yield from ()


def sizes_of(block: Any) -> dict[str, Any]:
    """The sizes of a block or a model by field, without flags, choices and sizes of 0."""
    kinds = type(block).__annotations__
    return {field: value for field, value in block._asdict().items() if kinds[field] is Number and value}
