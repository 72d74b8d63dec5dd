"""How many requests have room for their caches on a GPU, and what preemption costs where they start without it.

Also what of a prompt stands in the cache already, and the lengths that requests have on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div, is_one, least, maximum, minimum, named, present
from llmcost.ground.constants import Constant
from llmcost.ground.errors import InputError
from llmcost.model.counting import kept_bytes
from llmcost.model.sizes import Load
from llmcost.parallel.pipeline import Server
from llmcost.serving.caches import Allocation, allocation, page_of
from llmcost.serving.options import Workload
from llmcost.serving.results import Memory
from llmcost.serving.speculation import Speculation
from llmcost.serving.turns import SATURATED

AGAIN = Constant(
    0.76,
    "of the tokens of output, less where prompts are longer (LONG_PROMPTS): llmcost simulate, eight pairs of lengths, "
    "prompts from a quarter to eight times the output, of Llama 3.1 8B on an RTX 4090",
)
LONG_PROMPTS = Constant(0.07, "for each time that a prompt is as long as the output: the same runs")
SOME_WAIT = Constant(
    0.5, "share of that where as many are in flight as have room, all from half more on: the same runs"
)
IDLE = Constant(
    0.19,
    "share of the room that nobody has where as many are in flight as it is for, of requests that are all output: the "
    "same runs",
)
WATERMARK = Constant(0.01, "share of the pages that vLLM keeps free (vllm/core/block_manager.py, watermark)")

AS_IF_ENOUGH = 10  # times what is asked for, so that nobody waits for room and none is preempted


class Preempted(NamedTuple):
    """What preemption costs: tokens that a request has computed again on average, and the share of requests that run.

    Of those that have room: a request that was preempted waits until another one ends.
    """

    again: Number = 0
    run: Number = 1


def preempted(w: Workload, bounds: dict[str, Number], of_mean_length: Number, full: Number) -> Preempted:
    """The preemption of a closed loop; none where engines keep room for all of the output.

    A request that ends leaves more room than the next one's prompt takes. The one after that starts too, and what all
    of them grow by drives it out again. Requests that begin together have their full length together, so that fewer
    than have room at their mean length do. `bounds`: requests of a rank by what bounds them. `of_mean_length`, `full`:
    bytes of a request that is half answered, and of one at its end.
    """
    others = [bound for name, bound in bounds.items() if name != "memory"]
    if w.concurrency is None or w.reserve_output or len(others) == len(bounds) or not present(full):
        return Preempted()
    beyond = least(others) / bounds["memory"] - 1
    lacks = maximum(SATURATED, 1 - of_mean_length / full)
    below = 1 + minimum(0, beyond) / lacks
    share = minimum(1, SOME_WAIT.value * maximum(0, below) + maximum(0, beyond))
    grown = 2 * lacks * (w.prompt + w.output)  # tokens by which its bytes grow
    again = share * AGAIN.value * grown / (1 + LONG_PROMPTS.value * w.prompt / w.output)
    idle = maximum(0, minimum(below, 1 - 2 * beyond)) * IDLE.value * (2 * lacks) ** 2
    return Preempted(named("computed_again", again), 1 - idle)


def held(server: Server, w: Workload, guess: Speculation, running: Number, of_mean_length: Number) -> Number:
    """Bytes of the caches of so many requests; what they share is held once."""
    if w.prefix_hit is None:
        return running * of_mean_length
    shared = shared_bytes(server, cached_tokens(w), guess)
    return shared + running * (of_mean_length - shared)


def of_mean_lengths(w: Workload) -> Workload:
    """The workload with the lengths that requests have on average, where they are drawn from a share of them on."""
    if w.range_ratio is None:
        return w
    mean = (1 + w.range_ratio) / 2
    return w._replace(prompt=maximum(1, mean * w.prompt), output=maximum(1, mean * w.output))  # none has no token


def cached_tokens(w: Workload) -> Number:
    """Tokens of a prompt that stand in the cache in whole pages; its last one is always computed."""
    if w.prefix_hit is None:
        return 0
    page = page_of(w.engine)
    shared = page * floor_div(minimum(w.prefix_hit * w.prompt, w.prompt - 1), page)
    return named("cached_tokens", shared)


def refuse_states(server: Server) -> None:
    """Raise InputError for a model that keeps states, which have all tokens in them, not a beginning alone."""
    if present(allocation(server.share(Load(1, 1, 1, decode=True)).layers, 0, server.page).states):
        why = "layers keep a state, from which no beginning of a prompt can be taken"
        raise InputError(f"--prefix-hit: {server.model.name}'s {why}")


def steps_of_decode(w: Workload, guess: Speculation) -> Number:
    """Steps in which a request gets its tokens but the first."""
    return w.output - 1 if is_one(guess.accepted) else (w.output - 1) / guess.accepted


class Room(NamedTuple):
    """Requests of one rank that have room for their caches.

    beside_activations: beside all that an engine holds, in pages. whole_memory: beside the weights alone, at least 1.
    """

    beside_activations: Number
    whole_memory: Number

    def or_as_if_enough(self, asked: Sequence[Number]) -> Room:
        """The same; where not one request has room, for all that are `asked` for, as what does not fit is answered.

        Where no number is asked for, as of a rate alone, for one.
        """
        enough = (AS_IF_ENOUGH * least(asked) if asked else 1) * (1 - minimum(1, self.beside_activations))
        return Room(self.beside_activations + enough, self.whole_memory + enough)


def room(server: Server, w: Workload, memory: Memory, guess: Speculation, of_mean_length: Number) -> Room:
    """Requests that have room on the fullest rank, where the GPU's memory is known.

    `of_mean_length`: bytes of one that is half answered.
    """
    usable = memory.usable_bytes
    mean_length = w.prompt + w.output / 2
    kept = request_bytes(server, w.prompt + w.output, w.prompt, guess) if w.reserve_output else of_mean_length
    caches = usable - memory.overhead_bytes - memory.weights_bytes
    if guess.tokens:
        caches = caches - guess.weights_bytes(server, memory.weights_bytes)
    caches = named("room_for_caches", caches - memory.activation_bytes)
    if w.prefix_hit is not None:  # held once
        shared = shared_bytes(server, cached_tokens(w), guess)
        caches, kept = caches - shared, kept - shared
    if not present(kept):  # a model without a cache of its own: as many as run at a time
        of_a_rank = divide(memory.max_batch, w.dp)
        return Room(of_a_rank, of_a_rank)
    requests = floor_div((1 - WATERMARK.value) * caches, named("request_bytes", kept))
    needed = kept_bytes(server.share(Load(1, 1, mean_length, decode=True, memory=w.prompt)).layers)
    needed = needed if is_one(server.pp) else server.on_a_stage(needed)
    if w.prefix_hit is not None:
        needed = needed * (1 - cached_tokens(w) / mean_length)
    return Room(maximum(0, requests), maximum(1, (usable - memory.weights_bytes) / needed))


def request_bytes(
    server: Server,
    length: Number,
    prompt: Number = 0,
    guess: Speculation = Speculation(),  # noqa: B008
) -> Number:
    """Bytes that engines allocate for the cache of one request of this length on a GPU; half of its last page is empty.

    `prompt`: of the length, what an encoder read. `guess`: what guesses tokens, and has a cache too. That is the mean
    over requests of many lengths.
    """
    caches = allocation(server.share(Load(1, 1, length, decode=True, memory=prompt)).layers, 0, server.page)
    found = caches.of_mean_length(length)
    found = found if is_one(server.pp) else server.on_a_stage(found)
    return found + length * guess.position_bytes(server, _a_position(server, caches)) if guess.tokens else found


def shared_bytes(server: Server, tokens: Number, guess: Speculation) -> Number:
    """Bytes on a GPU of the pages of a beginning that requests share, as far as layers keep all of it."""
    caches = allocation(server.share(Load(1, 1, tokens, decode=True)).layers, 0, server.page)
    a_position = _a_position(server, caches)
    beside = guess.position_bytes(server, a_position) if guess.tokens else 0
    return named("shared_prefix_bytes", tokens * (a_position + beside))


def _a_position(server: Server, caches: Allocation) -> Number:
    """Bytes on a GPU of one position of a sequence, in layers that keep all of them."""
    return caches.growing if is_one(server.pp) else server.on_a_stage(caches.growing)
