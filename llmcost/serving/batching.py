"""A mix of requests under continuous batching, in its steady state.

So many requests are in flight at any time. Each brings a prompt of s tokens and takes o. An engine works in steps: every running request gets its next token, and
prompts of those that begin run beside, in the same kernels (Orca, OSDI 2022; in chunks: Sarathi-Serve, arXiv
2403.02310).

What arrives is told in one of three ways. `concurrency`: where a request has its last token, the next one comes in, as
above. `rate`: requests come at random times; by Little's law (Oper. Res. 9, 1961) as many are in flight as arrive while
one runs, n = rate·L·step(n). A request that comes waits for half a step. Where more arrive than are answered, n is what
there is room for and the line grows: of so many `requests` in all, the mean one waits for half of what it has grown to;
without an end the wait in line is left out. `requests` alone: a batch job, all there at once. Waves of n follow each
other, the last one smaller and thereby longer than its share; how soon the first tokens come depends on the order in
which prompts are taken, and is not told. With a rate or in a batch job, `concurrency` is the most that run at a time.

A request runs for L = k + o - 1 steps: k that have a part of its prompt, the last of which gives the first token, and
one for each other token. So in a mean step n running requests have n·s/L tokens of prompts and n·(o-1)/L of decode,
the latter at a mean context of s + o/2. Prompts come in pieces of a prompt or of what the chunk has room for: some
steps have one and take longer, the others decode alone.

n is the least of the concurrency, of the requests whose caches have room in pages, a hundredth of them kept free
(vLLM's watermark), each at its mean length (or at its full one, where the engine keeps room for all of its output); and
of those whose tokens fill the chunk. Who is not running waits in line.

Left out: time on the host between steps, prompts that share a beginning, requests that differ in length, preemption,
and that a chunk reads the keys of those before it once more. The limit takes all prompts at once (spread over steps
they would touch more experts), computes and reads evenly, fills the whole memory with weights and cache, and knows no
chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div, is_one, least, maximum, minimum, name_of_least, named
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

NEWTON_STEPS, NEWTON_WIDTH = 6, 1 / 16  # of Little's law; the slope is taken over a sixteenth of the number
SATURATED = 1e-9  # where requests arrive faster than any number is answered
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
    most = None
    if beside is not None:
        kept = w.prompt + (w.output if w.reserve_output else w.output / 2)
        request = named("request_bytes", request_bytes(server, kept))
        most = maximum(0, floor_div((1 - WATERMARK.value) * beside, request))
    told = {"concurrency": w.concurrency, "requests": w.requests}
    places = {name: rank_share(amount, w.dp) for name, amount in told.items() if amount is not None}
    at_once = [*places.values()]
    steps = w.output if w.chunk is None else maximum(1, w.prompt / w.chunk) + w.output - 1  # L
    if most is not None:
        places["memory"] = maximum(1, most)
    if w.chunk is not None:
        places["chunk"] = server.pp * w.chunk * steps / (w.prompt + w.output - 1)
    running = named("running", least(places.values())) if places else None
    if at_once and w.rate is None:
        server = server._replace(filled=minimum(1, filled(least(w.at_most()), running, server.layout)))
    if memory.usable_bytes is not None:
        at_once.append(_whole_memory(server, w, memory))
    room_for = running
    if w.rate is not None and room_for is not None:
        arriving = _in_flight(server, w, room_for, steps)
        running = None if arriving is None else minimum(arriving, room_for)
        places |= {} if arriving is None else {"rate": arriving}
    return Serving(
        running=None if running is None else _of_all_ranks(w, running),
        max_concurrency=None if most is None else most * w.dp,
        limited_by=name_of_least(places) if places else None,
        limit=_limit(server, w, least(at_once) if at_once else 1),
        expected=_expected(server, w, running, room_for, steps),
    )


def _of_all_ranks(w: Workload, running: Number) -> Number:
    """Requests in flight on all ranks, of which the fullest runs so many."""
    return running if is_one(w.dp) else least([*w.at_most(), running * w.dp])


class Pace(NamedTuple):
    """How requests get on that run together, in seconds: a mean step, a request's prompt, each other token of it."""

    step: Number
    prefill: Number
    each: Number


def _pace(server: Server, w: Workload, running: Number, steps: Number, of: str = "") -> Pace | None:
    """Of so many on the fullest rank; None where a figure of the chip is not known. `of`: which, for formulas."""
    passes = in_flight(running, server.pp)
    mix = mean_step(w, running / passes, steps)
    tokens = mix.begin * w.prompt
    piece = w.prompt if w.chunk is None else minimum(w.prompt, w.chunk - mix.decoding)
    piece = named("piece", maximum(tokens, piece))
    decoding = Load(mix.decoding, 1, mix.context, decode=True)
    with_prompt = server.times(*joined(server, mix._replace(begin=piece / w.prompt)))
    without = server.times(server.share(decoding), decoding)
    if with_prompt is None or without is None:
        return None
    longer = named("step_with_prompts", with_prompt.round(passes, "with prompts"), of)
    shorter = named("step_of_decode", without.round(passes, "decode"), of)
    share = tokens / piece
    step = named("mean_step_seconds", share * longer + (1 - share) * shorter, of)
    prefill = named("prompt_steps_seconds", maximum(1, w.prompt / piece) * longer, of)
    each = maximum(0, steps * step - prefill) / maximum(1, w.output - 1)  # rounding takes a single token's below 0
    return Pace(step, prefill, each)


def _expected(server: Server, w: Workload, running: Number, most: Number, steps: Number) -> ServingTimes:
    """Throughput and latency of so many requests on the fullest rank, which has room for `most`."""
    pace = None if running is None else _pace(server, w, running if w.rate is None else maximum(1, running), steps)
    if pace is None:
        return ServingTimes(None, None, None, None, None, None, None)
    residence, decoding = steps * pace.step, (w.output - 1) * pace.each
    waiting, everyone, seconds = None, _of_all_ranks(w, running), residence
    if w.rate is not None:
        waiting = pace.step / 2
    elif w.concurrency is not None:
        waiting = (rank_share(w.concurrency, w.dp) - running) / running * residence
    if w.requests is not None:
        everyone, seconds = w.requests, _job_seconds(server, w, most, steps)
        if w.rate is not None:
            arriving = w.requests / w.rate
            in_line = 1 - minimum(1, most * w.dp / w.requests)
            waiting = waiting + in_line * maximum(0, seconds - arriving) / 2
            seconds = maximum(seconds, arriving + pace.prefill + decoding)
    first = None if waiting is None else waiting + pace.prefill
    latency = None if first is None else first + decoding
    return ServingTimes(*rates(w, everyone, seconds), first, pace.each, latency)


def _job_seconds(server: Server, w: Workload, most: Number, steps: Number) -> Number:
    """Seconds of all requests, so many at a time on the fullest rank: full waves, and what is left over."""
    requests = rank_share(w.requests, w.dp)
    waves = named("waves", floor_div(requests, most))
    rest = named("last_wave", requests - waves * most)
    full, last = _pace(server, w, most, steps), _pace(server, w, maximum(1, rest), steps, "last wave")
    if full is None or last is None:
        return None
    return waves * steps * full.step + minimum(1, rest) * steps * last.step


def _in_flight(server: Server, w: Workload, most: Number, steps: Number) -> Number:
    """Requests that arrive on a rank while one runs, where as many run, up to `most`: Little's law, solved by Newton's method.

    The time grows with the number ever faster or not at all, so that each step comes closer from below. None where
    a figure of the chip is not known.
    """
    rate, running = divide(w.rate, w.dp), 1.0
    for _ in range(NEWTON_STEPS):
        here, beside = (_pace(server, w, each, steps) for each in (running, running * (1 + NEWTON_WIDTH)))
        if here is None or beside is None:
            return None
        slope = steps * (beside.step - here.step) / (running * NEWTON_WIDTH)
        left = rate * (steps * here.step - slope * running)
        running = minimum(most, maximum(1, left / maximum(SATURATED, 1 - rate * slope)))
    settled = _pace(server, w, running, steps)
    return None if settled is None else rate * steps * settled.step


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
    least_step, everyone = floor.seconds(), _of_all_ranks(w, running)
    if least_step is None:
        return ServingRates(None, None, None, None)
    residence = w.output * named("least_step_seconds", least_step)
    return ServingRates(*rates(w, everyone, residence if w.rate is None else maximum(residence, everyone / w.rate)))


def rates(w: Workload, everyone: Number, seconds: Number) -> tuple[Number, Number, Number, Number]:
    """Requests, output tokens, all tokens a second, and output tokens of one GPU, where so many requests take so long."""
    requests = rate(everyone, seconds)
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


def request_bytes(server: Server, length: Number) -> Number:
    """Cache of one request of this length on a GPU: half of its last page is empty, on average."""
    layers = server.share(Load(1, 1, length, decode=True)).layers
    spare = (PAGE.value - 1) / 2 * cache_bounds(layers, 1, 0)[-1].position
    kept = kept_bytes(layers) + spare
    return kept if is_one(server.pp) else kept / server.pp


def _whole_memory(server: Server, w: Workload, memory: Memory) -> Number:
    """Requests that the memory holds beside the weights, if nothing else were in it."""
    return maximum(1, (memory.usable_bytes - memory.weights_bytes) / request_bytes(server, w.prompt + w.output / 2))


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
