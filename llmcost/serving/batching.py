"""A mix of requests under continuous batching, in its steady state.

So many requests (`concurrency`) are in flight at any time: where one has its last token, the next one comes in. Each
brings a prompt of s tokens and takes o. An engine works in steps: every running request gets its next token, and
prompts of those that begin run beside, in the same kernels (Orca, OSDI 2022; in chunks: Sarathi-Serve, arXiv
2403.02310).

A request runs for L = k + o - 1 steps: k that have a part of its prompt, the last of which gives the first token, and
one for each other token. So in a mean step n running requests have n·s/L tokens of prompts and n·(o-1)/L of decode,
the latter at a mean context of s + o/2. Prompts come in pieces of a prompt or of what the chunk has room for: some
steps have one and take longer, the others decode alone.

n is the least of the concurrency, of the requests whose caches have room in pages, a hundredth of them kept free
(vLLM's watermark), each at its mean length; and of those whose tokens fill the chunk. Who is not running waits in line.

Left out: time on the host between steps, prompts that share a beginning, requests that differ in length, preemption,
and that a chunk reads the keys of those before it once more. The limit takes all prompts at once (spread over steps
they would touch more experts), computes and reads evenly, fills the whole memory with weights and cache, and knows no
chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, floor_div, is_one, least, maximum, minimum, name_of_least, named
from llmcost.ground.constants import Constant
from llmcost.machine.timing import bound, rate
from llmcost.model.architecture import Pass
from llmcost.model.counting import kept_bytes
from llmcost.model.operators import Operator, Stored
from llmcost.model.sizes import Load
from llmcost.parallel.pipeline import Server, filled, in_flight, rank_share
from llmcost.serving.memory import PAGE, cache_bounds
from llmcost.serving.options import Workload
from llmcost.serving.results import Memory, Serving, ServingRates, ServingTimes

WATERMARK = Constant(0.01, "share of the pages that vLLM keeps free (vllm/core/block_manager.py, watermark)")


class Mix(NamedTuple):
    """What a mean step of one pass in flight has: tokens of decode, at their mean context, and prompts that begin."""

    decoding: Number
    context: Number
    begin: Number
    prompt: Number


def serving(server: Server, w: Workload, memory: Memory) -> Serving:
    """Throughput and latency of the mix, expected and at most."""
    room = None if memory.usable_bytes is None else memory.usable_bytes - memory.overhead_bytes - memory.weights_bytes
    beside = None if room is None else named("room_for_caches", room - memory.activation_bytes)
    most = (
        None
        if beside is None
        else maximum(0, floor_div((1 - WATERMARK.value) * beside, named("request_bytes", request_bytes(server, w))))
    )
    sequences = rank_share(w.concurrency, w.dp)
    steps = w.output if w.chunk is None else maximum(1, w.prompt / w.chunk) + w.output - 1  # L
    places = {"concurrency": sequences}
    if most is not None:
        places["memory"] = maximum(1, most)
    if w.chunk is not None:
        places["chunk"] = server.pp * w.chunk * steps / (w.prompt + w.output - 1)
    running = named("running", least(places.values()))
    server = server._replace(filled=minimum(1, filled(w.concurrency, running, server.layout)))
    at_most = sequences if memory.usable_bytes is None else minimum(sequences, _whole_memory(server, w, memory))
    return Serving(
        running=running if is_one(w.dp) else minimum(w.concurrency, running * w.dp),
        max_concurrency=None if most is None else most * w.dp,
        limited_by=name_of_least(places),
        limit=_limit(server, w, at_most),
        expected=_expected(server, w, running, steps),
    )


def _expected(server: Server, w: Workload, running: Number, steps: Number) -> ServingTimes:
    passes = in_flight(running, server.pp)
    mix = mean_step(w, running / passes, steps)
    tokens = mix.begin * w.prompt
    piece = w.prompt if w.chunk is None else minimum(w.prompt, w.chunk - mix.decoding)
    piece = named("piece", maximum(tokens, piece))
    decoding = Load(mix.decoding, 1, mix.context, decode=True)
    with_prompt = server.times(*joined(server, mix._replace(begin=piece / w.prompt)))
    without = server.times(server.share(decoding), decoding)
    if with_prompt is None or without is None:
        return ServingTimes(None, None, None, None, None, None, None)
    longer = named("step_with_prompts", with_prompt.round(passes, "with prompts"))
    shorter = named("step_of_decode", without.round(passes, "decode"))
    share = tokens / piece
    step = named("mean_step_seconds", share * longer + (1 - share) * shorter)
    prefill = named("prompt_steps_seconds", maximum(1, w.prompt / piece) * longer)
    waiting = (rank_share(w.concurrency, w.dp) - running) / running * steps * step
    each = maximum(0, steps * step - prefill) / maximum(1, w.output - 1)  # rounding takes a single token's below 0
    first = waiting + prefill
    return ServingTimes(*rates(w, running, steps * step), first, each, first + (w.output - 1) * each)


def _limit(server: Server, w: Workload, running: Number) -> ServingRates:
    """All requests begin together: of all ways to spread their prompts over steps, this touches the fewest experts."""
    passes = in_flight(running, server.pp)
    begin = Load(running / passes, w.prompt, w.prompt)
    decoding = Load(running / passes, 1, w.prompt + w.output / 2, decode=True)
    prompts, step = (server.cost(server.share(load), load) for load in (begin, decoding))
    cost = prompts.mean_with(step, w.output)
    floor = bound(
        cost if is_one(server.pp) else cost.over(server.pp / passes), server.chip, "mean_step_flops", "mean_step_bytes"
    )
    least_step = floor.seconds()
    return ServingRates(
        *rates(w, running, None if least_step is None else w.output * named("least_step_seconds", least_step))
    )


def rates(w: Workload, running: Number, residence: Number) -> tuple[Number, Number, Number, Number]:
    """Requests, output tokens, all tokens a second, and output tokens of one GPU, where each of them runs for so long."""
    everyone = running if is_one(w.dp) else minimum(w.concurrency, running * w.dp)
    requests = rate(everyone, residence)
    if requests is None:
        return None, None, None, None
    output = requests * w.output
    return requests, output, requests * (w.prompt + w.output), output if is_one(w.gpus) else output / w.gpus


def mean_step(w: Workload, running: Number, steps: Number) -> Mix:
    """What so many running requests have in a mean step, if each runs for so many steps."""
    begin = named("prompts_a_step", running / steps)
    return Mix(
        named("decode_tokens_a_step", begin * (w.output - 1)),
        named("mean_context", w.prompt + w.output / 2),
        begin,
        w.prompt,
    )


def request_bytes(server: Server, w: Workload) -> Number:
    """Cache of one request on a GPU, at its mean length: half of its last page is empty, on average."""
    layers = server.share(Load(1, 1, w.prompt + w.output / 2, decode=True)).layers
    spare = (PAGE.value - 1) / 2 * cache_bounds(layers, 1, 0)[-1].position
    kept = kept_bytes(layers) + spare
    return kept if is_one(server.pp) else kept / server.pp


def _whole_memory(server: Server, w: Workload, memory: Memory) -> Number:
    """Requests that the memory holds beside the weights, if nothing else were in it."""
    return maximum(1, (memory.usable_bytes - memory.weights_bytes) / request_bytes(server, w))


def joined(server: Server, mix: Mix) -> tuple[Pass, Load]:
    """One pass with decode and prompts in it, on one GPU of each stage, and its tokens."""
    step = server.whole(Load(mix.decoding, 1, mix.context, decode=True))
    prompts = server.whole(Load(mix.begin, mix.prompt, mix.prompt))
    load = Load(mix.decoding + mix.begin * mix.prompt, 1, mix.context, decode=True)
    return server.divided(Pass(*[list(join(ours, theirs)) for ours, theirs in zip(step, prompts, strict=True)])), load


def join(decoding: Iterable[Operator], prompts: Iterable[Operator]) -> Iterator[Operator]:
    """Kernels that treat each token by itself run once on all of them; those that look at others, for each of the two."""
    theirs = dict(_numbered(prompts))
    for key, op in _numbered(decoding):
        other = theirs.pop(key, None)
        if other is None or isinstance(op, Stored):
            yield op
        elif op.scope != "token":
            yield op
            yield other
        else:
            yield op._replace(b=op.b * op.s + other.b * other.s, s=1)
    yield from theirs.values()


def _numbered(operators: Iterable[Any]) -> Iterator[tuple[tuple[str, int], Any]]:
    """Operators by name, numbered where kinds of layers share one."""
    seen: Counter[str] = Counter()
    for op in operators:
        seen[op.name] += 1
        yield (op.name, seen[op.name]), op
