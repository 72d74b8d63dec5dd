"""Where a block runs: everything its kernels need to know that is not the block's own."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from llmcost.ground.algebra import Number, present
from llmcost.model.operators import (
    Attention,
    CausalConv,
    Elementwise,
    Gemm,
    GroupedGemm,
    Operator,
    Part,
    Scan,
    Span,
    TokenProduct,
    TokenShift,
)
from llmcost.model.sizes import ElementBytes, Load

NORM_WEIGHTS = {"rms": 1, "layer": 2, "layer-no-bias": 1, "none": 0}  # a channel: a weight, and LayerNorm's bias


class Site(NamedTuple):
    """A kind of layer inside a model under a load. Its methods build operators that run once a layer and pass."""

    count: Number
    hidden: Number
    rotary: bool
    norm: str
    load: Load
    bytes: ElementBytes
    unquantized: tuple[
        str, ...
    ] = ()  # linear layers kept as activations are: parts, "experts", "shared_experts", operators
    reused: bool = False  # the weights are an earlier layer's: read, but not stored once more

    def gemm(
        self,
        name: str,
        part: Part,
        k: Number,
        n: Number,
        *,
        bias: bool = False,
        tied: bool = False,
        plain: bool = False,
    ) -> Operator:
        """A linear layer on every token, k in, n out; a `plain` one is kept in the activations' type (routers)."""
        Bw = self.bytes.Bx if plain else self.weight(name, "shared_experts" if name.startswith("shared_") else part, k)
        return Gemm(
            name, part, self.count, self.load.b, self.load.s, k, n, bias, tied or self.reused, Bw, self.bytes.Bx
        )

    def grouped(
        self,
        name: str,
        part: Part,
        k: Number,
        n: Number,
        groups: Number,
        active: Number,
        *,
        bias: bool = False,
        experts: bool = False,
    ) -> Operator:
        """`groups` linear layers, of which each token takes `active`."""
        b, s = self.load.b, self.load.s
        Bw = self.weight(name, "experts" if experts else part, k)
        return GroupedGemm(name, part, self.count, b, s, k, n, groups, active, bias, Bw, self.bytes.Bx)

    def shift(self, name: str, part: Part, channels: Number, mixes: Number) -> Operator:
        """Each token mixed with the one before it, in so many mixes."""
        return TokenShift(name, part, self.count, self.load.b, self.load.s, channels, mixes, self.bytes.Bx)

    def weight(self, name: str, module: str, k: Number) -> Number:
        """Bytes a weight of a linear layer of k inputs, with its part of the output channel's scale."""
        size = self.bytes
        if module in self.unquantized or name in self.unquantized:
            return size.Bx
        if module == "experts" and present(size.Be):
            return size.Be
        return size.Bw + size.Bc / k if present(size.Bc) else size.Bw

    def stream(self, name: str, part: Part, reads: Number, writes: Number, weights: Number = 0) -> Operator:
        """A kernel that reads and writes so many elements a token."""
        weights = 0 if self.reused else weights
        return Elementwise(name, part, self.count, self.load.b, self.load.s, reads, writes, weights, self.bytes.Bx)

    def conv(self, name: str, part: Part, channels: Number, kernel: Number, *, bias: bool = False) -> Operator:
        """A causal convolution, channel by channel."""
        return CausalConv(name, part, self.count, self.load.b, self.load.s, channels, kernel, bias, self.bytes.Bx)

    def scan(
        self,
        heads: Number,
        dk: Number,
        dv: Number,
        *,
        reads: Number,
        writes: Number,
        weights: Number = 0,
        delta: bool = False,
        fp32: bool = False,
    ) -> Operator:
        """A linear recurrence, with a state of dk by dv a head."""
        b, s, Bx = self.load.b, self.load.s, self.bytes.Bx
        Bs = 4 if fp32 else Bx
        return Scan("scan", "attention", self.count, b, s, heads, dk, dv, delta, weights, reads, writes, Bx, Bs)

    def product(self, name: str, part: Part, m: Number, k: Number, n: Number) -> Operator:
        """A product of two activations of each token, (m, k) by (k, n)."""
        return TokenProduct(name, part, self.count, self.load.b, self.load.s, m, k, n, self.bytes.Bx)

    def attention(
        self,
        name: str,
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
    ) -> Attention:
        """An attention kernel over the cache."""
        return Attention(
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
            Bx=self.bytes.Bx,
            Bkv=self.bytes.Bkv,
            every=every,
            kv_heads=kv_heads,
            decode=self.load.decode,
        )

    def input_gate(self, name: str, rank: Number) -> Iterator[Operator]:
        """A block's input scaled channel by channel by a low-rank map of itself."""
        h = self.hidden
        yield self.gemm(f"{name}_down", "mlp", h, rank)
        yield self.gemm(f"{name}_up", "mlp", rank, h)
        yield self.stream(name, "mlp", 2 * h, h)

    def layer_norm(self, name: str) -> Operator:
        """The residual addition and the norm after it, one kernel: residual and branch in, both sums out."""
        h = self.hidden
        return self.stream(name, "norm", 2 * h, 2 * h, NORM_WEIGHTS[self.norm] * h)


class Block(Protocol):
    """A named tuple: sizes (annotated Number, so that they may be symbols), flags (bool) and choices (Literal)."""

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **fields: Any) -> Any: ...

    def operators(self, site: Site) -> Iterator[Operator]:
        """Its kernels in the order in which they run, norms of the layer apart."""


class NoBlock(NamedTuple):
    """Nothing: a layer that is only a mixer, or only an MLP."""

    def operators(self, site: Site) -> Iterator[Operator]:  # noqa: ARG002 - as every block's
        """No kernel."""
        yield from ()


def sizes_of(block: Any) -> dict[str, Any]:
    """The sizes that a named tuple (a block, a model) has, without its flags and choices and those that are 0."""
    kinds = type(block).__annotations__
    return {field: value for field, value in block._asdict().items() if kinds[field] is Number and value}
