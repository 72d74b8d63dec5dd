"""A mix of requests under continuous batching, in its steady state.

So many requests are in flight at any time, each with a prompt of s tokens and an output of o. An engine works in steps:
every running request gets its next token, and the prompts of requests that begin run beside, in the same kernels (Orca,
OSDI 2022; in chunks: Sarathi-Serve, arXiv 2403.02310).

How requests arrive is told in one of three ways:

concurrency   where a request has its last token, the next one comes in: as many as that are always in flight.
rate          requests come at random times. By Little's law (Oper. Res. 9, 1961) as many are in flight as arrive while
              one runs: n = rate·L·step(n). A request that comes waits for half a step. Where more arrive than are
              answered, n is what there is room for, and the queue grows: of `requests` in all, the mean one waits for
              half of what it has grown to. Where no end is given, the time in the queue is left out.
requests      alone: a batch job, all there at once. Waves of n follow each other, the last one smaller and thereby
              longer than its share. TTFT depends on the order in which prompts are taken, and is not told.

With a rate or in a batch job, `concurrency` is the most that run at a time.

A request runs for L = k + o - 1 steps: k that have a part of its prompt, the last of which gives the first token, and
one for each other token. So in a mean step n running requests have n·s/L tokens of prompts and n·(o-1)/L tokens of
decode, the latter at a mean context of s + o/2, where windows and chunks read what they do on average. Prompts come in
pieces, a whole prompt or what the chunk has room for: some steps have one and take longer, the others decode alone. In
some of its steps a request waits for the prompts of others; that belongs to its TTFT.

n is the least of three numbers: the concurrency; the requests whose caches have room in pages, of which a hundredth is
kept free (vLLM's watermark), each at its mean length, or at its full one where the engine reserves room for all of the
output; and the requests whose tokens fill the chunk. All others wait in the queue.

Where not one request has room, its memory does not fit, and the answer is as if there were enough.

A share of a prompt may stand in the cache already: a beginning that all prompts have (`--prefix-hit`). In whole pages,
it is held once and not computed again. Where K tokens are guessed and verified in a step, a step gives a of them on
average (serving/speculation.py): a request runs for L = k + (o - 1)/a steps, each of which computes 1 + K tokens of it.

Engines that run prompts alone have L = o - 1 steps, all of decode, with passes of prompts between them that decode
waits for. Requests that end at about the same time begin together there, and wait for each other. Where all have the
same length (`--range-ratio 1`) everyone always does, and no prompt interrupts decode.

s and o are means. With `--range-ratio r`, lengths are drawn from r to 1 of what is asked for: (1+r)/2 of it on average.

In a closed loop of more requests than have room, engines that reserve none for the output start requests as soon as
their prompts have it, and take it away again from those that started last (`preempted`).

Left out: time on the host between steps where no engine is named, such preemption at a rate and in a job, that a chunk
reads the keys of the chunks before it again. The limit takes all prompts at once, spreads computing and reading
evenly over ranks and time, fills the whole memory with weights and cache, and knows no chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from llmcost.ground.algebra import (
    Number,
    divide,
    floor_div,
    is_one,
    least,
    maximum,
    minimum,
    name_of_least,
    named,
    present,
)
from llmcost.machine.timing import bound, rate
from llmcost.model.architecture import Pass
from llmcost.model.operators import Operator, Stored
from llmcost.model.sizes import Load
from llmcost.parallel.pipeline import Server, filled, in_flight, mean_share, rank_share
from llmcost.serving.options import Workload
from llmcost.serving.results import Memory, Serving, ServingRates, ServingTimes
from llmcost.serving.room import (
    Preempted,
    cached_tokens,
    held,
    of_mean_lengths,
    preempted,
    refuse_states,
    request_bytes,
    room,
    steps_of_decode,
)
from llmcost.serving.speculation import Speculation
from llmcost.serving.turns import (
    SATURATED,
    Alone,
    Joining,
    behind_at_random,
    half_a_step,
    share_of_queue,
)

NEWTON_STEPS, NEWTON_WIDTH = 6, 1 / 2  # of Little's law; the slope is taken over half of the number: steps have kinks


def serving(server: Server, w: Workload, memory: Memory, guess: Speculation) -> Serving:
    """Throughput and latency of the mix, expected and at most; `memory`: what the fullest GPU holds of it."""
    if w.prefix_hit is not None:
        refuse_states(server)
    w = of_mean_lengths(w)
    asked = {"concurrency": w.concurrency, "requests": w.requests}
    bounds = {name: mean_share(amount, w.dp) for name, amount in asked.items() if amount is not None}
    at_once = [*bounds.values()]  # requests of a rank that the limit lets run together, each of these at most
    of_decode = steps_of_decode(w, guess)
    computed = w.prompt - cached_tokens(w)
    steps = 1 + of_decode if w.chunk is None else maximum(1, computed / w.chunk) + of_decode  # L
    mixed = server.efficiency.mixed
    if not mixed:
        steps = maximum(1, of_decode)
    have_room, of_mean_length = None, request_bytes(server, w.prompt + w.output / 2, w.prompt, guess)
    if memory.usable_bytes is not None:
        found = room(server, w, memory, guess, of_mean_length)
        have_room, of_room = found.beside_activations, found.or_as_if_enough(at_once)
        bounds["memory"] = of_room.beside_activations
        at_once.append(of_room.whole_memory)
    if w.chunk is not None and mixed:
        bounds["chunk"] = server.pp * w.chunk * steps / (computed + guess.new * of_decode)
    if w.max_num_seqs is not None:
        bounds["max_num_seqs"] = w.max_num_seqs
    most = named("running", least(bounds.values())) if bounds else None
    if w.at_most() and w.rate is None:
        server = server._replace(filled=minimum(1, filled(least(w.at_most()), most, server.layout)))
    full = request_bytes(server, w.prompt + w.output, w.prompt, guess)
    lost = preempted(w, bounds, of_mean_length, full)
    mix = Mix(server, w, steps, guess, lost)
    answered = None
    running = most if is_one(lost.run) else named("running_beside_preempted", most * lost.run)
    if w.rate is not None and most is not None:
        arriving = mix.arriving(most)
        running = None if arriving is None else minimum(arriving, most)
        bounds |= {} if arriving is None else {"rate": arriving}
        answered = mix.answered(most)
    return Serving(
        running=None if running is None else mix.of_all_ranks(running),
        max_concurrency=None if have_room is None else have_room * w.dp,
        kv_cache_bytes=None if running is None else held(server, w, guess, named("running", running), of_mean_length),
        limited_by=name_of_least(bounds) if bounds else None,
        limit=mix.limit(least(at_once) if at_once else 1),
        expected=mix.expected(running, most),
        draft_bytes=guess.held_bytes(server, memory.weights_bytes),
        load_share=None if answered is None else w.rate / answered,
    )


class Tokens(NamedTuple):
    """What a mean step has of one pass in flight: tokens of decode at their mean context, and prompts that begin.

    decoding: sequences, each of which has `new` tokens computed. begin: how many prompts. prompt: tokens of each, of
    which all but `cached` are computed. output: tokens that each request gives.
    """

    decoding: Number
    context: Number
    begin: Number
    prompt: Number
    output: Number
    cached: Number = 0
    new: int = 1

    def decode_load(self) -> Load:
        """The tokens of decode alone."""
        over = steps_behind(self.prompt, self.output)
        context = self.context if self.new == 1 else self.context + self.new - 1
        return Load(self.decoding, self.new, context, decode=True, over=over, memory=self.prompt)

    def prompt_load(self) -> Load:
        """The prompts alone."""
        return Load(self.begin, self.prompt - self.cached, self.prompt)


def steps_behind(prompt: Number, output: Number) -> tuple[Number, Number]:
    """The decode steps of a request: the context before the first of them, and how many; at least one."""
    return prompt, maximum(1, output - 1)


class Beginning(NamedTuple):
    """A step in which prompts begin beside `tokens` of decode, or alone under engines that do not mix them.

    decode: the pass of the whole model with the tokens of decode alone. passes: in flight. near: what runs of one's own
    near it took, over what is said of them. guessing: seconds in which tokens are guessed, None where none are.
    of: of which requests, for formulas.
    """

    server: Server
    tokens: Tokens
    decode: Pass
    passes: Number
    near: Number
    guessing: Number
    of: str

    def seconds(self, begin: Number, name: str) -> Number:
        """Seconds of the step with so many prompts, by `name` in formulas; None: a figure is not known."""
        server, mixed = self.server, self.server.efficiency.mixed
        tokens = self.tokens._replace(begin=begin)
        prompts = tokens.prompt_load()
        share, load = joined(server, tokens, self.decode) if mixed else (server.share(prompts), prompts)
        stages = server.times(share, load)
        if stages is None:
            return None
        sequences = tokens.decoding if mixed else begin
        seconds = self.near * server.with_host(stages.round(self.passes, name), sequences, name)
        return seconds + self.guessing if mixed and self.guessing is not None else seconds


class Pace(NamedTuple):
    """How requests that run together get on, in seconds: a mean step, a request's prompt, each other token of it.

    What a request's steps take besides, it waits for the prompts of others; `waits`: for a look besides its steps.
    """

    step: Number
    prefill: Number
    each: Number
    waits: Number = 0


class Mix(NamedTuple):
    """A mix of requests on a server; each of them runs for so many `steps`.

    Numbers of requests are those of a data-parallel rank on average, unless they say otherwise.
    """

    server: Server
    w: Workload
    steps: Number
    guess: Speculation
    lost: Preempted = Preempted()

    def of_all_ranks(self, running: Number) -> Number:
        """Requests in flight on all ranks, each of which runs so many."""
        return running if is_one(self.w.dp) else least([*self.w.at_most(), running * self.w.dp])

    def mean_step(self, running: Number) -> Tokens:
        """What so many running requests have in a mean step."""
        w, begin = self.w, named("prompts_a_step", running / self.steps)
        decoding = named("decode_tokens_a_step", begin * steps_of_decode(w, self.guess))
        context = named("mean_context", w.prompt + w.output / 2)
        return Tokens(decoding, context, begin, w.prompt, w.output, cached_tokens(w), self.guess.new)

    def pace(self, running: Number, of: str = "") -> Pace | None:
        """The pace of so many requests; None where a figure of the chip is not known. `of`: which, for formulas."""
        server, w, steps, guess, _ = self
        passes, near = in_flight(running, server.pp), server.of_near_runs(running)
        tokens = self.mean_step(running / passes)
        decoding = tokens.decode_load()
        decode = server.whole(decoding)
        without = server.times(server.divided(decode), decoding)
        guessing = guess.seconds(server, tokens.decoding * passes, tokens.context, passes)
        if without is None or guessing is None:
            return None
        alone = near * server.with_host(without.round(passes, "decode"), tokens.decoding, "decode")
        if guess.tokens:
            guessing = named("guessing_seconds", guessing, of)
            alone = alone + guessing
        alone = named("step_of_decode", alone, of)
        begins = Beginning(server, tokens, decode, passes, near, guessing if guess.tokens else None, of)
        found = self.beside_prompts(running, begins, alone)
        if found is None:
            return None
        step, prefill, turn = found
        # a prompt in tiny pieces may leave fewer steps than there are tokens
        rest = maximum(steps_of_decode(w, guess) * alone, steps * step - turn - prefill)
        if server.efficiency.mixed:
            return Pace(step, prefill, rest / maximum(1, w.output - 1))
        waits: Number = 0
        if not is_one(server.looks(w.concurrency)) and w.concurrency is not None:
            waits = maximum(0, rest + turn + prefill - steps * step)
        return Pace(step, prefill, rest * minimum(1, w.output - 1) / maximum(1, w.output - 1), waits)

    def beside_prompts(self, running: Number, begins: Beginning, alone: Number) -> tuple[Number, Number, Number] | None:
        """Seconds of a mean step, of the steps of a request's prompt, and until it has its turn.

        `alone`: seconds of a step of decode.
        """
        server, w, tokens, of = self.server, self.w, begins.tokens, begins.of
        mixed, loop = server.efficiency.mixed, w.rate is None and w.concurrency is not None
        computed = w.prompt - tokens.cached
        prompt_tokens = tokens.begin * (computed + self.lost.again if present(self.lost.again) else computed)
        has_room = None if w.chunk is None else w.chunk - (tokens.new * tokens.decoding if mixed else 0)
        most = running if has_room is None else minimum(running, has_room / computed)
        joining, ahead = None, None
        piece = computed
        if loop:
            most = maximum(most, prompt_tokens / computed) if not mixed else most
            all_ready, host = begins.seconds(most, "full of prompts"), server.request_seconds(w.prompt)
            if all_ready is None:
                return None
            if mixed:
                joining = Joining.of(w, running, most, self.steps)
                joining = joining._replace(step=alone, host=host, each=maximum(0, all_ready - alone) / most)
                piece = computed * joining.together().of_a_step()
            else:
                ahead = Alone.of(w, running, steps_of_decode(w, self.guess), alone, server.looks(w.concurrency), host)
                ahead = ahead._replace(most=most, each=all_ready / most)
                piece = computed * ahead.together().of_a_step()
        elif has_room is not None:
            piece = minimum(piece, has_room)
        piece = maximum(prompt_tokens, piece)
        piece = named("piece", piece if mixed or w.chunk is None else minimum(piece, w.chunk))
        own = begins.seconds(piece / computed, "with prompts")
        if own is None:
            return None
        own = named("step_with_prompts", own, of)
        shorter, longer = alone, own
        if not mixed:  # decode waits for prompts, and then goes on
            shorter = alone * minimum(1, w.output - 1)
            longer = own + shorter
        busy = prompt_tokens / piece  # the share of steps with a piece of a prompt, or pieces before one of decode
        step = named("mean_step_seconds", busy * longer + (1 - busy) * shorter, of)
        prefill = maximum(1, computed / piece) * own
        if joining is not None:
            full = maximum(piece, computed * joining.most)
            of_full = named("step_full_of_prompts", begins.seconds(full / computed, "full of prompts"), of)
            beyond = minimum(1, maximum(0, computed * joining.together().mean() - piece) / maximum(1, full - piece))
            prefill = maximum(1, computed / full) * (own + beyond * (of_full - own))
            turn = joining.queue_seconds(server.request_seconds(w.prompt), shorter, of_full * computed / full)
            if present(server.request_seconds(w.prompt)):  # else the next step begins where the last request has ended
                turn = turn + minimum(1, joining.others) * half_a_step(busy, longer, shorter, step)
        elif ahead is not None:
            mine = maximum(piece / computed, ahead.together().mean())
            prefill = maximum(1, computed / piece) * begins.seconds(mine, "with one's own prompt")
            turn = ahead.queue_seconds()
        else:
            turn = self.turn(running, step, busy * longer / step, computed / piece * longer)
        return step, named("prompt_steps_seconds", prefill, of), named("turn", turn, of)

    def turn(self, running: Number, step: Number, busy: Number, each: Number) -> Number:
        """Mean seconds until a request has its turn where requests come at random times, and in a job.

        `busy`: the share of the time that steps with a piece of a prompt take; `each`: seconds that a prompt adds to
        them. In a job a prompt finds half of a step to wait for, unless it is alone; the first ones come all at once,
        and wait for half of the others'.
        """
        w, others = self.w, maximum(0, running - 1)
        if w.rate is not None:
            return behind_at_random(others, busy, each)
        first = minimum(1, running * w.dp / w.requests)
        return (1 - first) * minimum(1, others) * step / 2 + first * others / 2 * each

    def arriving(self, most: Number) -> Number:
        """Requests that arrive while one runs, where up to `most` run; None where a figure of the chip is not known."""

        def seconds(running: Number) -> Number:
            pace = self.pace(self.beside(running, most))
            return None if pace is None else self.steps * pace.step

        return in_system(divide(self.w.rate, self.w.dp), seconds, most)

    def answered(self, most: Number) -> Number:
        """Requests a second that are answered where `most` run; None where a figure of the chip is not known."""
        pace = self.pace(most)
        return None if pace is None else self.of_all_ranks(most) / (self.steps * pace.step)

    def beside(self, running: Number, most: Number) -> Number:
        """Itself and what a request that comes at a random time finds, the mean number that run; `most` have room."""
        return maximum(1, minimum(most, running + 1))

    def expected(self, running: Number, most: Number) -> ServingTimes:
        """Throughput and latency of so many requests, where there is room for `most`."""
        w, reached = self.w, self.server.efficiency
        shown = (reached.basis, reached.band("throughput").mean_error)
        pace = None if running is None else self.pace(running if w.rate is None else self.beside(running, most))
        if pace is None:
            return ServingTimes(None, None, None, None, None, None, None, *shown)
        residence = self.steps * pace.step + pace.waits + self.server.request_seconds(w.prompt)
        if present(self.server.lag()) and not self.in_rounds():
            others = minimum(1, maximum(0, running - 1))  # one that is alone waits for nobody
            residence = residence + others * self.server.lag() * self.guess.accepted * pace.each
        latency, requests, seconds = None, self.of_all_ranks(running), residence
        if w.rate is not None:
            latency = self.until_a_look(running, pace.step) + residence
        elif w.concurrency is not None:
            of_room = self.of_all_ranks(running) / w.concurrency
            whole = residence / of_room  # Little's law
            between = 0 if is_one(self.lost.run) else whole * (1 - self.lost.run)  # tokens, of those that are preempted
            latency = residence + between + share_of_queue(w, of_room) * maximum(0, whole - residence - between)
            pace = pace._replace(each=pace.each + between / maximum(1, w.output - 1))
        if w.requests is not None:
            requests, seconds = w.requests, self.job_seconds(most)
            if w.rate is not None:
                arriving = w.requests / w.rate
                queued = 1 - minimum(1, most * w.dp / w.requests)
                latency = latency + queued * maximum(0, seconds - arriving) / 2
                seconds = maximum(seconds, arriving + residence)
        ttft = None if latency is None else latency - (w.output - 1) * pace.each
        if ttft is not None and reached.nearby is not None:
            on_all = self.of_all_ranks(running)
            more = ttft * (reached.nearby.first_token(on_all) / reached.nearby.tokens(on_all) - 1)
            if w.concurrency is not None and w.requests is None:
                seconds = seconds * (1 + more / latency)  # Little's law
            ttft, latency = ttft + more, latency + more
        return ServingTimes(*rates(w, requests, seconds), ttft, pace.each, latency, *shown)

    def in_rounds(self) -> bool:
        """Whether all requests of a loop begin and end together, so that none decodes while another one begins."""
        alike = self.w.range_ratio is not None and is_one(self.w.range_ratio)
        return alike and not self.server.efficiency.mixed and self.w.rate is None

    def until_a_look(self, running: Number, step: Number) -> Number:
        """Mean seconds until the engine sees a request that comes at a random time; nothing runs: at the next step."""
        return step / 2 * (1 + minimum(1, running) * (self.server.looks(None) - 1))

    def job_seconds(self, most: Number) -> Number:
        """Seconds of all requests of a batch job, `most` at a time on a rank: full waves, and what is left over."""
        at_a_time = self.of_all_ranks(most)
        waves = named("waves", floor_div(self.w.requests, at_a_time))
        rest = named("last_wave", rank_share(self.w.requests - waves * at_a_time, self.w.dp))
        full, last = self.pace(most), self.pace(maximum(1, rest), "last wave")
        if full is None or last is None:
            return None
        return waves * self.steps * full.step + minimum(1, rest) * self.steps * last.step

    def limit(self, running: Number) -> ServingRates:
        """The throughput that no engine beats, with so many requests at a time.

        All requests begin together: of all ways to spread their prompts over steps, this touches the fewest experts.
        """
        server, w, _, guess, _ = self
        passes, context = in_flight(running, server.pp), w.prompt + w.output / 2
        each = running / passes
        whole = Tokens(each, context, each, w.prompt, w.output, cached_tokens(w), guess.new)
        steps = 1 + steps_of_decode(w, guess)
        begin, decoding = whole.prompt_load(), whole.decode_load()
        prompts, step = (server.cost(server.share(load), load) for load in (begin, decoding))
        cost = prompts.mean_with(step, steps)
        on_a_stage = cost if is_one(server.pp) else cost.over(server.pp / passes)
        least_step = bound(on_a_stage, server.chip, "mean_step_flops", "mean_step_bytes", passes).seconds()
        if least_step is None:
            return ServingRates(None, None, None, None)
        requests, seconds = self.of_all_ranks(running), steps * named("least_step_seconds", least_step)
        if w.rate is not None:  # no more are answered than arrive
            seconds = maximum(seconds, requests / w.rate)
        return ServingRates(*rates(w, requests, seconds))


def in_system(per_s: Number, seconds: Callable[[Number], Number], most: Number) -> Number:
    """Requests that arrive while one runs, up to `most`, of `per_s`: Little's law, solved by Newton's method.

    `seconds`: in which one runs among so many, that grow with the number ever faster or not at all, so that each step
    comes closer from below; where it gives None, so does this.
    """
    running: Number = 1.0
    for _ in range(NEWTON_STEPS):
        here, beside = seconds(running), seconds(running * (1 + NEWTON_WIDTH))
        if here is None or beside is None:
            return None
        slope = (beside - here) / (running * NEWTON_WIDTH)
        left = maximum(per_s * (here - slope * running), most * SATURATED)
        running = minimum(most, maximum(SATURATED, left / maximum(SATURATED, 1 - per_s * slope)))
    settled = seconds(running)
    return None if settled is None else per_s * settled


def rates(w: Workload, requests: Number, seconds: Number) -> tuple[Number, Number, Number, Number]:
    """Requests, output tokens, all tokens, and output tokens of one GPU, each a second.

    `seconds`: what so many requests take on all GPUs; None: not known.
    """
    requests_per_s = rate(requests, seconds)
    if requests_per_s is None:
        return None, None, None, None
    output = requests_per_s * w.output
    return requests_per_s, output, requests_per_s * (w.prompt + w.output), output if is_one(w.gpus) else output / w.gpus


def joined(server: Server, tokens: Tokens, decode: Pass) -> tuple[Pass, Load]:
    """One pass with decode and prompts in it, on one GPU of each stage, and its tokens as a load.

    `decode`: the pass of the whole model with the tokens of decode alone.
    """
    beside = tokens.prompt_load()
    prompts = server.whole(beside)
    load = Load(tokens.decoding * tokens.new + beside.b * beside.s, 1, tokens.context, decode=True)
    whole = Pass(*[list(join(ours, theirs)) for ours, theirs in zip(decode, prompts, strict=True)])
    return server.divided(whole), load


def join(decoding: Iterable[Operator], prompts: Iterable[Operator]) -> Iterator[Operator]:
    """The operators of a pass with decode and prompts.

    Kernels that treat each token by itself run once, on all tokens; those that look at other tokens run for each of the
    two.
    """
    theirs = dict(_numbered(prompts))
    for key, op in _numbered(decoding):
        other = theirs.pop(key, None)
        if other is None or isinstance(op, Stored):
            yield op if other is None or isinstance(other, Stored) else other
        elif op.scope != "token":
            yield op
            yield other
        else:
            yield op._replace(b=op.b * op.s + other.b * other.s, s=1)
    yield from theirs.values()


def _numbered(operators: Iterable[Any]) -> Iterator[tuple[tuple[str, int], Any]]:
    """Operators by name and number: kinds of layers may share a name."""
    seen: Counter[str] = Counter()
    for op in operators:
        seen[op.name] += 1
        yield (op.name, seen[op.name]), op
