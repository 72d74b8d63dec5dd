"""Operators that look at other tokens: attention, convolutions along the sequence, linear recurrences."""

from typing import Any, Literal, NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div, is_one, maximum, minimum, named, present
from llmcost.model.operators.base import Kind, Operator, Part, Scope, Shape, Span
from llmcost.model.operators.elementwise import saved_elements
from llmcost.model.operators.facts import UNSAID, Facts


class _Attention(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    c: Number
    a: Number
    d: Number
    dv: Number
    cached: Number
    streamed: Number
    span: Span
    w: Number
    sinks: bool
    shared: bool
    Bx: Number
    Bkv: Number
    every: Number = 0
    kv_heads: Number = 1
    decode: bool = False
    caches: bool = True
    both_ways: bool = False
    latent: bool = False
    mean_read: Number = 0
    mean_of: Literal["", "all", "window", "chunk", "top"] = ""
    top: Number = 0
    dense: Number = 0
    dense_keys: Number = 0
    crosses: bool = False
    apart: bool = False
    facts: Facts = UNSAID


class Attention(_Attention, Operator):
    """Softmax attention in one kernel: `a` query heads, s queries, keys of size d and values of size dv.

    Scores and probabilities stay on the chip (FlashAttention, arXiv 2205.14135): queries come in, outputs go out, and
    each key and value is read once. A query sees all keys before it, the last w of them, those of its own chunk of w,
    or the top w that an indexer chose (`span`).

    cached: elements a token that are kept and read, g·(d+dv) for grouped heads, however many queries share them.
    streamed: elements a key that are read but not kept: keys and values expanded from a latent. sinks: learned logits,
    one a head. shared: the cache is another layer's, read but not kept once more. every: one key for so many tokens
    (0: one a token). kv_heads: heads that the cached elements divide into; a GPU holds one at least. decode: a step of
    one token, for which engines have kernels of their own. caches: whether keys are kept; if not, `cached` elements
    a key are activations like all others. both_ways: a query sees the keys after it too, as in an encoder. latent: all
    heads share one key a token, which holds the value (latent attention): in a decode step a tile of the matrix units
    is full of heads, where grouped heads leave most of it empty, so that such kernels reach other shares of the peak.
    mean_read: keys that are read, where it stands for several passes (`over`; 0: for itself). mean_of: the span of
    those passes. top: keys that are chosen for a query at most, where it stands for passes of prompts whose keys are
    chosen; dense: the share of these passes that have no more keys than that, dense_keys: keys of those. crosses:
    keys and values are an encoder's; tokens that come later add none. apart: they are of no
    position of the context, but beside it.
    """

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        if not self.decode:
            return "attention_prefill"
        return "attention_latent" if self.latent else "attention_decode"

    scope: Scope = "sequence"

    def keys(self) -> Number:
        """How many keys a whole sequence has."""
        return floor_div(self.c, self.every) if present(self.every) else self.c

    def kept(self) -> Number:
        """Keys in the cache of one sequence: never more than a window or chunk needs; any may be among the top."""
        return self.keys() if self.span in ("all", "top") else minimum(self.c, self.w)

    def seen(self) -> Number:
        """Keys that the query with the most of them sees: the last one, but where a new chunk begins before it."""
        if self.span == "chunk":
            before = self.c - self.s
            so_far = before - floor_div(before, self.w) * self.w  # keys of the first query's chunk before it
            return minimum(so_far + self.s, self.w)
        return self.keys() if self.span == "all" else minimum(self.keys(), self.w)

    def read(self) -> Number:
        """Keys of one sequence that are read: of the chosen ones, at most w a query."""
        if present(self.mean_read):
            return self.mean_read
        return minimum(self.keys(), self.s * self.w) if self.span == "top" else self.seen()

    def over(self, first: Number, steps: Number) -> "Attention":
        """One pass that computes and reads what `steps` of them do on average; `first`: keys before the first of them.

        Of a window, a chunk or the top keys that is not what a pass in the middle does: full windows grow no more,
        chunks begin anew. What sees all keys stays as it is, at the context that it was given.
        """
        if self.span == "all":
            return self
        queries = steps * self.s
        together: Attention = self._replace(s=queries, c=first + queries)
        keys = named("mean_keys", together.pairs(causal=True) / queries, self.span)
        several = minimum(1, steps - 1) if self.span == "window" else 1
        mean: Attention = self._replace(
            span="window",
            w=self.w + several * (keys - self.w),  # each query sees so many; one pass alone is what it is
            c=first + self.s + several * (keys - first),
            every=0,
            mean_of=self.span,
        )
        if is_one(self.s):
            return mean
        begin: Attention = self._replace(c=first + self.s)  # whose last query sees more than its mean one
        more = begin.read() - begin.pairs(causal=True) / self.s
        read: Attention = mean._replace(mean_read=named("mean_read", keys + more / steps, self.span))
        if self.span != "top" or present(self.every):
            return read
        few = minimum(steps, floor_div(maximum(0, self.w - first), self.s))
        chosen: Attention = read._replace(
            top=self.w, dense=few / steps, dense_keys=first + self.s * maximum(1, (few + 1) / 2)
        )
        return chosen

    def pairs(self, causal: bool) -> Number:
        """(query, key) pairs of one sequence and head.

        `causal`: those that a causal mask leaves; the query at position x sees x keys, (c-s+1) + … + c in all. Else
        every query counts with as many keys as the one that sees most.
        """
        if not causal or self.both_ways:
            return self.s * self.seen()
        if self.span == "all" and not present(self.every):
            return causal_pairs(self.s, self.c)
        return self._pairs_up_to(self.c) - self._pairs_up_to(self.c - self.s)

    def _pairs_up_to(self, x: Number) -> Number:
        """Pairs of the first x queries: min(1, w) + … + min(x, w), or 1 + … + w again in each chunk."""
        if present(self.every):
            near = minimum(x, self.w * self.every - 1) if self.span == "top" else x
            groups = floor_div(near, self.every)
            seen = self.every * _half(groups * (groups - 1)) + groups * (near - groups * self.every + 1)
            return seen + (x - near) * self.w
        if self.span != "chunk":
            return _in_window(x, self.w)
        whole = floor_div(x, self.w)
        rest = x - whole * self.w
        return whole * _half(self.w * (self.w + 1)) + _half(rest * (rest + 1))

    def params(self) -> Number:
        return self.a if self.sinks else 0

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.a * (self.d + self.dv) * self.pairs(causal)  # q·kᵀ and p·v

    def cache_bytes_per_token(self) -> Number:
        """Bytes that one token of one sequence leaves in the cache."""
        each = 0 if self.shared or self.crosses or not self.caches else self.cached * self.Bkv
        return each / self.every if present(self.every) else each

    def kept_bytes(self) -> Number:
        """Bytes of the cache of all sequences."""
        return 0 if self.shared or not self.caches else self.b * self.kept() * self.cached * self.Bkv

    def cache_bytes(self) -> Number:
        return self.b * self.read() * self.cached * self.Bkv if self.caches else 0

    def io_bytes(self) -> Number:
        keys = self.streamed if self.caches else self.streamed + self.cached
        return self.b * (self.s * self.a * (self.d + self.dv) + self.read() * keys) * self.Bx

    def moved_bytes(self) -> Number:
        return self.cache_bytes() + self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        b, s, a, keys = self.b, self.s, self.a, self.seen()
        return [
            (f"{self.name}_score", (b, a, s, self.d), (b, a, self.d, keys), (b, a, s, keys)),
            (f"{self.name}_over_value", (b, a, s, keys), (b, a, keys, self.dv), (b, a, s, self.dv)),
        ]

    def output_bytes(self) -> Number:
        return self.b * self.s * self.a * self.dv * self.Bx

    def output_width(self) -> Number:
        return self.a * self.dv

    def saved_bytes(self) -> tuple[Number, Number]:
        """Queries; and keys and values, cached or expanded from a latent, unless they are another layer's."""
        kept = 0 if self.shared else self.b * self.keys() * maximum(self.streamed, self.cached)
        return self.b * self.s * self.a * self.d * self.Bx, kept * self.Bx

    def backward(self, *, frozen: bool = False) -> Number:
        """FlashAttention computes the scores again: five products for two (arXiv 2205.14135, algorithm 4)."""
        return 2.5

    def context_divided(self, parts: Number, tokens: Number) -> Operator:
        """The whole sequence's attention with a share of its heads: every part has as many pairs as any other.

        Parts are dealt in zigzag (arXiv 2311.09431) or by heads (arXiv 2309.14509).
        """
        return self._shared(parts, "a")

    def heads_divided(self, parts: Number) -> Operator:
        """A share of the query heads, and of the cached heads as long as there are as many."""
        apart = minimum(parts, self.kv_heads)
        share: Operator = self._replace(
            a=divide(self.a, parts),
            kv_heads=divide(self.kv_heads, apart),
            cached=divide(self.cached, apart),
            streamed=divide(self.streamed, parts),
        )
        return share


class _Neighbours(Operator):
    """What convolutions and shifts have in common: each channel by itself sees a token and those just before it."""

    __slots__ = ()
    kind: Kind = "scan"
    scope: Scope = "neighbours"

    def state_bytes(self) -> Number:
        return self.cache_bytes()

    def saved_bytes(self: Any) -> tuple[Number, Number]:
        """Its input is all that its gradients need."""
        return 0, self.b * self.s * self.channels * self.Bx

    def heads_divided(self, parts: Number) -> Operator:
        return self._shared(parts, "channels")


class _CausalConv(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    channels: Number
    kernel: Number
    bias: bool
    Bx: Number
    facts: Facts = UNSAID
    tied: bool = False


class CausalConv(_CausalConv, _Neighbours):
    """A causal convolution along the tokens, each of so many channels by itself: y[t] = Σ w[j]·x[t-j], j < kernel.

    Counted as the product of each channel's windows with its weights: 2·channels·kernel FLOPs a token. A
    sequence keeps its last kernel - 1 inputs, in the activations' type, however long it is. `tied`: the weights are
    another operator's, stored there.
    """

    __slots__ = ()

    def params(self) -> Number:
        weights = 0 if self.tied else self.channels * self.kernel
        return weights + self.channels if self.bias and not self.tied else weights

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.channels * self.kernel

    def cache_bytes(self) -> Number:
        return self.b * self.channels * (self.kernel - 1) * self.Bx

    def io_bytes(self) -> Number:
        return 2 * self.b * self.s * self.channels * self.Bx

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        b, s, c = self.b, self.s, self.channels
        return [(self.name, (b, c, s, self.kernel), (c, self.kernel, 1), (b, c, s, 1))]

    def output_bytes(self) -> Number:
        return self.b * self.s * self.channels * self.Bx

    def output_width(self) -> Number:
        return self.channels


class _TokenShift(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    channels: Number
    mixes: Number
    Bx: Number
    facts: Facts = UNSAID


class TokenShift(_TokenShift, _Neighbours):
    """Each token mixed with the one before it, channel by channel, in `mixes` learned ways (RWKV, arXiv 2305.13048).

    A sequence keeps its last token's channels, however long it is.
    """

    __slots__ = ()

    def params(self) -> Number:
        return self.mixes * self.channels

    def cache_bytes(self) -> Number:
        return self.b * self.channels * self.Bx

    def io_bytes(self) -> Number:
        return self.b * self.s * (1 + self.mixes) * self.channels * self.Bx

    def output_bytes(self) -> Number:
        return self.b * self.s * self.mixes * self.channels * self.Bx

    def output_width(self) -> Number:
        return self.mixes * self.channels


class _Scan(NamedTuple):
    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    heads: Number
    dk: Number
    dv: Number
    delta: bool
    weights: Number
    reads: Number
    writes: Number
    Bx: Number
    Bs: Number
    facts: Facts = UNSAID
    by_channel: bool = False


class Scan(_Scan, Operator):
    """A linear recurrence. Each head keeps a state S of dk by dv: a token decays it, adds k·vᵀ to it, and reads qᵀ·S.

    State-space models (dk is their state size, dv the channels of a head) and linear attention alike. FLOPs are those
    of the recurrence, in whatever form it is computed: 2·dk·dv a token and head for the update, as many for the
    readout, and with the `delta` rule as many for reading what the state holds for k. Left out: decay, gates, and the
    products inside a chunk of the chunked form. A sequence keeps one state a head, of Bs bytes an element, however long
    it is; a step reads it and writes it back. `weights`: of decay and skip. `reads`, `writes`: activations, in elements
    a token. `by_channel`: each channel of a key decays by a factor of its own.
    """

    __slots__ = ()
    kind: Kind = "scan"
    scope: Scope = "sequence"

    def state(self) -> Number:
        """Elements of the states of one sequence, all heads together."""
        return self.heads * self.dk * self.dv

    def params(self) -> Number:
        return self.weights

    def flops(self, causal: bool) -> Number:
        return (6 if self.delta else 4) * self.b * self.s * self.state()

    def cache_bytes(self) -> Number:
        return self.b * self.state() * self.Bs

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.reads + self.writes) * self.Bx

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        each, state = (self.b, self.s, self.heads), (self.dk, self.dv)
        update = ("state_update", (*each, self.dk, 1), (*each, 1, self.dv), (*each, *state))
        readout = ((*each, 1, self.dk), (*each, *state), (*each, 1, self.dv))
        recall = [("state_recall", *readout)] if self.delta else []
        return [*recall, update, ("state_readout", *readout)]

    def state_bytes(self) -> Number:
        return self.cache_bytes()

    def output_bytes(self) -> Number:
        return self.b * self.s * self.writes * self.Bx

    def output_width(self) -> Number:
        return self.writes

    def saved_bytes(self) -> tuple[Number, Number]:
        """Its inputs; the states between are computed again (arXiv 2312.00752, section 3.3.2)."""
        named, own = saved_elements(self.facts, self.reads, self.writes)
        return self.b * self.s * named * self.Bx, self.b * self.s * own * self.Bx

    def heads_divided(self, parts: Number) -> Operator:
        return self._shared(parts, "heads", "reads", "writes", "weights")


def causal_pairs(queries: Number, keys: Number, window: Number = 0) -> Number:
    """Causal (query, key) pairs of the last so many queries over so many keys, or over the last `window` of them."""
    if not present(window):
        return _half(queries * (2 * keys - queries + 1))
    return _in_window(keys, window) - _in_window(keys - queries, window)


def _in_window(queries: Number, window: Number) -> Number:
    """Pairs of the first so many queries: min(1, window) + … + min(queries, window)."""
    near = minimum(queries, window)
    return _half(near * (near + 1)) + (queries - near) * window


def _half(even: Number) -> Number:
    """Half of a product of neighbours: whole numbers stay whole."""
    return divide(even, 2)
