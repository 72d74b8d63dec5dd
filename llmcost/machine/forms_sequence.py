"""Forms of time of sparse attention, of what chooses its keys, and of recurrences; kernels.py says what each is."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, ceil_div, floor_div, least, maximum, minimum
from llmcost.machine.forms_products import Figures, overlapped

QUERIES = 4  # of an indexer in one block of threads
CHUNK = 64  # tokens of a sequence that linear attention takes at a time
SCORE_BYTES = 4  # of an indexer's score


class Sparse(NamedTuple):
    """The numbers of attention in which each query has keys of its own: chosen ones, compressed ones, a window."""

    launch: float
    compute: float  # share of the peak
    memory: float  # share of the bandwidth
    overlap: float
    start: float  # seconds of a block of threads besides its keys
    draw: float  # bytes/s at which one block gathers keys
    absent: float  # share of the time that a place for a key takes where there is no key yet
    heads: int  # query heads in one block, which is as slow with fewer
    parts: int  # into how many parts the keys of a query are split at most
    split: float = 0.0  # seconds of adding up the parts, where a query's keys are split


class Scores(NamedTuple):
    """The numbers of an indexer's scores: all of its heads over all keys, written in 32 bits."""

    launch: float
    compute: float  # share of the peak
    memory: float  # share of the bandwidth
    overlap: float
    key: float  # seconds that a block of threads, which has QUERIES queries, takes for a key
    row: float  # seconds that an SM takes for a query, however few keys it has


class Choice(NamedTuple):
    """The numbers of choosing each query's best keys by their scores."""

    launch: float
    memory: float  # share of the bandwidth at which scores are read
    overlap: float
    row: float  # seconds of a block of threads, which has one query, besides its scores
    key: float  # seconds of a block a score


class Recurrence(NamedTuple):
    """The numbers of recurrences along the sequence and of short convolutions, by the kernel."""

    launch: float
    moved: float  # times that inputs and outputs are moved, at full bandwidth
    states: float  # times that states are moved, of which once is reading them
    overlap: float
    step: float  # seconds of CHUNK tokens of a sequence, which wait for those before them
    block: float  # seconds of an SM for a head's CHUNK tokens
    head: float  # seconds of an SM for a head of a sequence, however few tokens it has


class Module(NamedTuple):
    """The numbers of a whole module beside those of its kernels."""

    launch: float  # seconds of small kernels that no operator stands for
    host: float  # seconds in which a host starts the kernels one by one, where no CUDA graph holds them
    overlap: float
    compute: float = 1.0  # share of its kernels' times that it takes: a kernel may begin before the last one's end


def module_seconds(x: Module, kernels: Number) -> Number:
    """Seconds of a module whose kernels take so long one after the other."""
    return overlapped((kernels * x.compute + x.launch, x.host), x.overlap)


def sparse_seconds(
    x: Sparse,
    f: Figures,
    queries: Number,
    keys: Number,
    places: Number,
    heads: Number,
    d: Number,
    dv: Number,
    key_bytes: Number,
    read: Number,
) -> Number:
    """Seconds of attention of so many queries, each over `keys` of its own in the mean, with `places` for such keys.

    `key_bytes`: of a key with its value; `read`: keys that are read from memory, each once.
    """
    seen = keys + x.absent * maximum(0, places - keys)
    blocks = queries * ceil_div(heads, x.heads)
    each = 2 * x.heads * (d + dv) * f.sms / (f.peak * x.compute) + key_bytes / x.draw
    waves = ceil_div(blocks, f.sms)
    parts = minimum(x.parts, maximum(1, floor_div(f.sms, maximum(1, blocks))))
    computed = least((waves * (x.start + seen * each), waves * (x.start + seen / parts * each) + x.split))
    moved = read * key_bytes + 2 * queries * heads * (d + dv)
    flops = 2 * queries * keys * heads * (d + dv) / (f.peak * x.compute)
    return x.launch + overlapped((moved / (f.bandwidth * x.memory), computed, flops), x.overlap)


def scores_seconds(
    x: Scores,
    f: Figures,
    queries: Number,
    pairs: Number,
    heads: Number,
    d: Number,
    key_bytes: Number,
    read: Number,
) -> Number:
    """Seconds of the scores of so many queries, and (query, key) pairs, by `heads` small heads of size d.

    `read` keys are read once.
    """
    computed = pairs * 2 * heads * d / (f.peak * x.compute) + queries * x.row / f.sms
    longest = ceil_div(queries, QUERIES * f.sms) * pairs / maximum(1, queries) * x.key
    moved = (pairs * SCORE_BYTES + read * key_bytes) / (f.bandwidth * x.memory)
    return x.launch + overlapped((computed, longest, moved), x.overlap)


def choice_seconds(x: Choice, f: Figures, queries: Number, pairs: Number) -> Number:
    """Seconds of choosing the best keys of so many queries, which have `pairs` scores together."""
    blocks = ceil_div(queries, f.sms) * (x.row + pairs / maximum(1, queries) * x.key)
    return x.launch + overlapped((blocks, pairs * SCORE_BYTES / (f.bandwidth * x.memory)), x.overlap)


def recurrence_seconds(
    x: Recurrence, f: Figures, batch: Number, tokens: Number, heads: Number, io: Number, state: Number
) -> Number:
    """Seconds of a recurrence over `tokens` of each of `batch` sequences.

    `io`: bytes of inputs and outputs of all tokens, `state` those of the states of all sequences.
    """
    chunks = ceil_div(tokens, CHUNK)
    moved = (io * x.moved + state * x.states) / f.bandwidth
    blocks = batch * heads * (x.head + chunks * x.block) / f.sms
    return x.launch + overlapped((moved, chunks * x.step, blocks), x.overlap)
