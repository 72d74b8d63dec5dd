"""Operators that look at other tokens: attention, convolutions along the sequence, linear recurrences."""

from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div, minimum, present
from llmcost.model.operators.base import Part, Shape, Span


class Attention(NamedTuple):
    """Softmax attention in one kernel: `a` query heads, s queries, keys of size d and values of size dv.

    Scores and probabilities stay on the chip (FlashAttention, arXiv 2205.14135): the traffic is queries
    in, outputs out, and each key and value once. `cached` elements a token are kept and read (g·(d+dv) for
    grouped heads, however many queries share them), `streamed` ones a key are read but not kept (keys
    and values expanded from a latent). A query sees all keys before it, the last w of them, those of
    its own chunk of w, or the top w that an indexer chose. `sinks`: learned logits, one a head. `shared`: the
    cache is another layer's, read but not kept once more. `every`: one key for so many tokens (0: one a token).
    `kv_heads`: heads that the cached elements divide into, of which no GPU can hold less than one. `decode`: a step
    of one token, for which engines have kernels of their own.
    """

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

    def keys(self) -> Number:
        """Keys of a whole sequence."""
        return floor_div(self.c, self.every) if present(self.every) else self.c

    def kept(self) -> Number:
        """Keys in the cache of one sequence: never more than a window or chunk needs; any may be among the top."""
        return self.keys() if self.span in ("all", "top") else minimum(self.c, self.w)

    def seen(self) -> Number:
        """Keys that the last query sees."""
        return self.keys() if self.span == "all" else minimum(self.keys(), self.w)

    def read(self) -> Number:
        """Keys of one sequence that are read: of the chosen ones, at most w a query."""
        return minimum(self.keys(), self.s * self.w) if self.span == "top" else self.kept()

    def pairs(self, causal: bool) -> Number:
        """(query, key) pairs of one sequence and head: as many keys for every query as for the last, or what the mask
        leaves.

        With a causal mask the query at position x sees x keys: (c-s+1) + … + c of them in all.
        """
        if not causal:
            return self.s * self.seen()
        if self.span == "all" and not present(self.every):
            return _half(self.s * (2 * self.c - self.s + 1))
        return self._pairs_up_to(self.c) - self._pairs_up_to(self.c - self.s)

    def _pairs_up_to(self, x: Number) -> Number:
        """Pairs of the first x queries: min(1, w) + … + min(x, w), or 1 + … + w again in each chunk."""
        if present(self.every):
            near = minimum(x, self.w * self.every - 1) if self.span == "top" else x
            groups = floor_div(near, self.every)
            seen = self.every * _half(groups * (groups - 1)) + groups * (near - groups * self.every + 1)
            return seen + (x - near) * self.w
        if self.span != "chunk":
            near = minimum(x, self.w)
            return _half(near * (near + 1)) + (x - near) * self.w
        whole = floor_div(x, self.w)
        rest = x - whole * self.w
        return whole * _half(self.w * (self.w + 1)) + _half(rest * (rest + 1))

    def params(self) -> Number:
        return self.a if self.sinks else 0

    def active_params(self) -> Number:
        return self.params()

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.a * (self.d + self.dv) * self.pairs(causal)  # q·kᵀ and p·v

    def stored_bytes(self) -> Number:
        return self.params() * self.Bx

    def weight_bytes(self) -> Number:
        return self.params() * self.Bx

    def cache_bytes_per_token(self) -> Number:
        """Bytes that one token of one sequence leaves in the cache."""
        each = 0 if self.shared else self.cached * self.Bkv
        return each / self.every if present(self.every) else each

    def kept_bytes(self) -> Number:
        """Bytes of the cache of all sequences."""
        return 0 if self.shared else self.b * self.kept() * self.cached * self.Bkv

    def cache_bytes(self) -> Number:
        return self.b * self.read() * self.cached * self.Bkv

    def io_bytes(self) -> Number:
        return self.b * (self.s * self.a * (self.d + self.dv) + self.read() * self.streamed) * self.Bx

    def moved_bytes(self) -> Number:
        return self.cache_bytes() + self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        b, s, a, keys = self.b, self.s, self.a, self.seen()
        return [
            (f"{self.name}_score", (b, a, s, self.d), (b, a, self.d, keys), (b, a, s, keys)),
            (f"{self.name}_over_value", (b, a, s, keys), (b, a, keys, self.dv), (b, a, s, self.dv)),
        ]


class CausalConv(NamedTuple):
    """A causal convolution along the tokens, each of so many channels by itself: y[t] = Σ w[j]·x[t-j], j < kernel.

    Counted as the product of each channel's windows with its weights: 2·channels·kernel FLOPs a token. A
    sequence keeps its last kernel - 1 inputs, in the activations' type, however long it is.
    """

    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    channels: Number
    kernel: Number
    bias: bool
    Bx: Number

    def params(self) -> Number:
        weights = self.channels * self.kernel
        return weights + self.channels if self.bias else weights

    def active_params(self) -> Number:
        return self.params()

    def flops(self, causal: bool) -> Number:
        return 2 * self.b * self.s * self.channels * self.kernel

    def stored_bytes(self) -> Number:
        return self.params() * self.Bx

    def weight_bytes(self) -> Number:
        return self.params() * self.Bx

    def cache_bytes(self) -> Number:
        return self.b * self.channels * (self.kernel - 1) * self.Bx

    def io_bytes(self) -> Number:
        return 2 * self.b * self.s * self.channels * self.Bx

    def moved_bytes(self) -> Number:
        return self.weight_bytes() + 2 * self.cache_bytes() + self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        b, s, c = self.b, self.s, self.channels
        return [(self.name, (b, c, s, self.kernel), (c, self.kernel, 1), (b, c, s, 1))]


class TokenShift(NamedTuple):
    """Each token mixed with the one before it, channel by channel, by learned shares, `mixes` times (RWKV, arXiv
    2305.13048).

    A sequence keeps its last token's channels, however long it is.
    """

    name: str
    part: Part
    count: Number
    b: Number
    s: Number
    channels: Number
    mixes: Number
    Bx: Number

    def params(self) -> Number:
        return self.mixes * self.channels

    def active_params(self) -> Number:
        return self.params()

    def flops(self, causal: bool) -> Number:
        return 0

    def stored_bytes(self) -> Number:
        return self.params() * self.Bx

    def weight_bytes(self) -> Number:
        return self.params() * self.Bx

    def cache_bytes(self) -> Number:
        return self.b * self.channels * self.Bx

    def io_bytes(self) -> Number:
        return self.b * self.s * (1 + self.mixes) * self.channels * self.Bx

    def moved_bytes(self) -> Number:
        return self.weight_bytes() + 2 * self.cache_bytes() + self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        return []


class Scan(NamedTuple):
    """A linear recurrence: each head keeps a state of dk by dv, which decays and takes in k·vᵀ a token, and answers
    qᵀ·S.

    State-space models (dk their state size, dv a head's channels) and linear attention alike. FLOPs are those of
    the recurrence, in any form that computes it: an update and a readout of 2·dk·dv each a token and head, and
    with the `delta` rule the readout of what the state holds for k. Decay, gates and the chunked form's products
    inside a chunk are left out. A sequence keeps one state a head of Bs bytes an element, however
    long it is; a step reads it and writes it back. `weights` are those of decay and skip; `reads` and `writes`
    elements a token are activations.
    """

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

    def state(self) -> Number:
        """Elements of one sequence's state."""
        return self.heads * self.dk * self.dv

    def params(self) -> Number:
        return self.weights

    def active_params(self) -> Number:
        return self.params()

    def flops(self, causal: bool) -> Number:
        return (6 if self.delta else 4) * self.b * self.s * self.state()

    def stored_bytes(self) -> Number:
        return self.weights * self.Bx

    def weight_bytes(self) -> Number:
        return self.weights * self.Bx

    def cache_bytes(self) -> Number:
        return self.b * self.state() * self.Bs

    def io_bytes(self) -> Number:
        return self.b * self.s * (self.reads + self.writes) * self.Bx

    def moved_bytes(self) -> Number:
        return self.weight_bytes() + 2 * self.cache_bytes() + self.io_bytes()

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        each, state = (self.b, self.s, self.heads), (self.dk, self.dv)
        update = ("state_update", (*each, self.dk, 1), (*each, 1, self.dv), (*each, *state))
        readout = ((*each, 1, self.dk), (*each, *state), (*each, 1, self.dv))
        recall = [("state_recall", *readout)] if self.delta else []
        return [*recall, update, ("state_readout", *readout)]


def _half(even: Number) -> Number:
    """Half of a product of neighbours: whole numbers stay whole."""
    return divide(even, 2)
