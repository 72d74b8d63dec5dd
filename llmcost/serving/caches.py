"""The caches of the sequences on one GPU as engines allocate them, which is more than keys and values need.

The way of vLLM's hybrid cache manager (vllm/v1/core/kv_cache_utils.py, vllm/v1/kv_cache_interface.py): memory is cut
into pages of one size, and every page serves one group of layers.

pages     A sequence takes whole pages, of 16 tokens or as the engine's file says. Beside attention, a layer with a
          state takes one page for it; a page then has as many tokens as a state has room in.
windows   A layer with a window keeps what the next token sees. It may begin anywhere in a page, so that it touches one
          page more. While a piece of a prompt runs, its tokens stand beside the w - 1 before them.
groups    Layers of one kind, so many as the kind with the fewest layers has (or as the largest kind, where that is less
          than a quarter larger): the last group of a kind is filled up with layers that do not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, ceil_div, divide, floor_div, largest, least, maximum, minimum, named, present
from llmcost.ground.constants import Constant
from llmcost.model.counting import cache_bytes_per_token, kept_bytes, state_bytes
from llmcost.model.operators import Attention, Operator, Scan
from llmcost.specs.catalog import named_engine

PAGE = Constant(  # of the KV cache
    16, "vLLM's block_size on CUDA (docs.vllm.ai, CacheConfig; PagedAttention, arXiv 2309.06180)", "tokens"
)


class CacheBound(NamedTuple):
    """An upper bound of the bytes of all sequences' caches on a GPU, linear in the context.

    fixed: bytes for any context. position: bytes that each position adds, in whole pages of so many tokens (`page`).
    """

    fixed: Number
    position: Number
    page: Number = PAGE.value

    def positions(self, room: Number, longest: Number) -> Number:
        """Positions that surely fit into `room` bytes, at most `longest` where positions cost nothing.

        Then all of them fit or none does.
        """
        if present(self.position):
            return self.page * floor_div(room - self.fixed, self.page * self.position)
        if not present(self.fixed):
            return longest
        fits = minimum(1, floor_div(room, self.fixed))
        return longest * fits

    def beside_a_prompt(self, room: Number, in_prompt: Number) -> Number:
        """Positions that surely fit where each is a token of the prompt too, which takes `in_prompt` bytes.

        First as many full pages as fit, then as much of the next page as its prompt's activations leave room for: the
        page itself is taken whole.
        """
        without_pages = floor_div(room - self.fixed, self.position + in_prompt)
        if not present(self.position):
            return without_pages
        full = self.page * floor_div(without_pages, self.page)
        next_page = full + self.page
        in_next_page = floor_div(room - self.fixed - next_page * self.position, in_prompt)
        return maximum(full, minimum(next_page, in_next_page))


class Windowed(NamedTuple):
    """Layers with one window. position: bytes a position of one sequence; the rest are positions that are kept."""

    position: Number
    decoding: Number
    prompting: Number  # while a piece of the prompt runs


class Allocation(NamedTuple):
    """Caches of one GPU. page: tokens; states: bytes of a sequence; growing: bytes a position of a sequence."""

    page: Number
    states: Number
    growing: Number
    windows: tuple[Windowed, ...]

    def scaled(self, share: Number) -> Allocation:
        """The caches of a share of the layers."""
        windows = tuple(each._replace(position=each.position * share) for each in self.windows)
        states, growing = (each * share if present(each) else 0 for each in (self.states, self.growing))
        return Allocation(self.page, states, growing, windows)

    def sequence(self, context: Number) -> Number:
        """Bytes of one sequence with this context, between its steps of decode."""
        length = self._in_pages(context)
        found = self.states + self.growing * length if present(self.growing) else self.states
        for each in self.windows:
            found = found + each.position * minimum(length, each.decoding)
        return found

    def _in_pages(self, context: Number) -> Number:
        """Tokens that whole pages with this context have room for; its own name in formulas where it is said often."""
        length = self.page * ceil_div(context, self.page)
        return named("context_in_pages", length) if self.windows else length

    def of_mean_length(self, context: Number) -> Number:
        """Bytes of a sequence whose last page is half empty, as it is on average."""
        length = context + (self.page - 1) / 2
        found = self.states + self.growing * length if present(self.growing) else self.states
        for each in self.windows:
            found = found + each.position * minimum(length, each.decoding)
        return found

    def prompt(self, context: Number) -> Number:
        """Bytes that the sequence whose prompt runs has beside that: the piece of it, in layers with windows."""
        length, found = self._in_pages(context), 0
        for each in self.windows:
            found = found + each.position * (minimum(length, each.prompting) - minimum(length, each.decoding))
        return found

    def bounds(self, sequences: Number) -> list[CacheBound]:
        """Upper bounds of the caches of some sequences, of which one has a prompt running: at any context one is exact.

        Windows are taken as growing with the context, then as full, the one beside a prompt last. (Where windows differ
        in width, contexts between them have no exact bound.)
        """
        states = sequences * self.states if present(self.states) else 0
        growing = sequences * self.growing if present(self.growing) else 0
        windows = sum([each.position for each in self.windows])
        every = named("cache_a_position", growing + sequences * windows if self.windows else growing)
        found = [CacheBound(states, every, self.page)]
        if self.windows:
            decoding = sum([each.position * each.decoding for each in self.windows])
            others = states + (sequences - 1) * decoding
            found.append(CacheBound(others, named("cache_a_position", growing + windows, "prompt"), self.page))
            full = others + sum([each.position * each.prompting for each in self.windows])
            position = named("cache_a_position", growing, "growing layers") if present(growing) else 0
            found.append(CacheBound(named("full_windows", full), position, self.page))
        return found


def page_of(engine: str | None) -> int:
    """Tokens of a page under an engine, or vLLM's."""
    spec = named_engine(engine)
    return (spec and spec.block_size) or int(PAGE.value)


def allocation(layers: Sequence[Operator], piece: Number, page: Number) -> Allocation:
    """The caches of some layers on one GPU. `piece`: tokens of a prompt that run at a time, and are kept meanwhile.

    `page`: tokens of a page where no layer keeps a state.

    Layers that share another's cache add nothing. Where a decoder looks at an encoder's states, a position is either
    a token of the prompt, in the cache of cross-attention, or one that was generated, in that of self-attention; each
    takes as many bytes, and is counted once.
    """
    own = [op for op in layers if isinstance(op, Attention) and op.caches and not op.shared and not op.crosses]
    growing = [op for op in own if op.span not in ("window", "chunk")]
    windowed = [op for op in own if op.span in ("window", "chunk")]
    kinds = {str(op.w): [each for each in windowed if str(each.w) == str(op.w)] for op in windowed}
    states = state_bytes([op._replace(b=1) for op in layers if op.scope != "token" and not isinstance(op, Attention)])
    beside = kept_bytes([op._replace(b=1) for op in layers if isinstance(op, Attention) and op.apart])
    of_states = sum([op.count for op in layers if isinstance(op, Scan)])
    counts = [_layers(ops) for ops in (*kinds.values(), growing) if ops]
    if any(present(op.every) for op in own):
        counts = []  # compressed caches have groups of their own making
    elif growing and present(of_states):
        counts.append(of_states)
        main = [op for op in growing if op.name == "attention"]
        a_token = divide(cache_bytes_per_token(main), _layers(main))
        page = page * ceil_div(divide(states, of_states), page * a_token)
        states = _filled_up(of_states, counts, "states") * page * a_token
    windows = []
    for ops in kinds.values():
        w, anywhere = ops[0].w, page if ops[0].span == "window" else 0
        of = f"window of {w}"
        decoding = named("kept_tokens", page * ceil_div(w, page) + anywhere, of)
        prompting = named("kept_beside_a_prompt", page * ceil_div(w - 1 + maximum(1, piece), page) + anywhere, of)
        windows.append(Windowed(_position(ops, counts, of), decoding, prompting))
    states = states + beside if present(beside) else states
    return Allocation(page, states, _position(growing, counts, "growing") if growing else 0, tuple(windows))


def _position(ops: Sequence[Attention], counts: Sequence[Number], of: str) -> Number:
    """Bytes that a position of one sequence takes in the layers of a kind, filled up to whole groups."""
    bytes_a_position, layers = cache_bytes_per_token(ops), _layers(ops)
    if len(counts) < 2:
        return bytes_a_position
    return named("bytes_a_position", divide(bytes_a_position * _filled_up(layers, counts, of), layers), of)


def _layers(ops: Sequence[Attention]) -> Number:
    """How many layers have these caches; an indexer's cache is in a layer that has another."""
    return sum([op.count for op in ops if op.name != "indexer"])


def _filled_up(layers: Number, counts: Sequence[Number], of: str) -> Number:
    """Layers of a kind, filled up to whole groups; `counts`: of all kinds. `of`: the kind, in formulas."""
    fewest, most = least(counts), largest(counts)
    near = minimum(1, floor_div(5 * fewest - 1, 4 * most))  # 1 where the largest kind is less than a quarter larger
    group = named("layers_a_group", near * most + (1 - near) * fewest)
    return named("allocated_layers", group * ceil_div(layers, group), of)
