"""Prompts apart from decode, in the steady state: two pools of replicas, between which keys and values are sent.

A prompt runs on a replica of the first pool, its keys and values go over the links, and a replica of the second pool
gives all its tokens, the first one too (SGLang, docs/advanced_features/pd_disaggregation). The simulator does the same
request by request (simulation/cluster.py); here it is told of means.

decode     n requests on a rank run in steps that have nothing else. Each takes S steps, so that D ranks answer
           D·n/(S·step(n)) requests a second. n is the least of what has room, what may run, and what comes: at a rate,
           or as fast as the first pool computes prompts (Little's law), or of all N requests those that are not
           elsewhere.
prompts    run alone, or several in a step where a chunk has room for them. A replica that is never idle runs full
           chunks. Who comes while a step runs waits for it: a queue with P servers of equal service (M/D/c, by
           Sakasegawa's approximation of 1977), whose service is of all that wait together.
between    a request waits for its keys and values, for the host of the second pool, which takes it in as that of the
           first one did (vLLM's proxy and TensorRT-LLM's orchestrator send it again), and for the next step of its
           rank that is not prepared yet.

In a closed loop the first N prompts come at once, and wait for half of the others'; afterwards they come one after the
other, as they were computed, but for the steps by which their outputs differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from llmcost.ground.algebra import Number, ceil_div, divide, is_one, least, maximum, minimum, name_of_least, named
from llmcost.ground.errors import InputError
from llmcost.machine.timing import bound, collective_seconds
from llmcost.model.operators import Collective
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.pipeline import Server, in_flight
from llmcost.serving.batching import Tokens, in_system, rates
from llmcost.serving.options import OF_POOLS, OF_PROMPTS, Options, Workload
from llmcost.serving.results import Memory, Pool, Pools, Serving, ServingRates, ServingTimes
from llmcost.serving.room import cached_tokens, held, refuse_states, request_bytes, room, steps_of_decode
from llmcost.serving.speculation import Speculation
from llmcost.serving.turns import BRIDGE, REQUESTS_A_SLOT, SATURATED, spread_of

ROUNDS = 10  # in which a loop's requests settle on their places


class OfPool(NamedTuple):
    """The options of one replica of a pool, and how many there are."""

    options: Options
    replicas: Number


def pool_options(options: Options) -> tuple[OfPool, OfPool]:
    """The pool that runs prompts, where nothing is guessed, and the one that decodes.

    Raises InputError where they do not say how many GPUs there are, or say it twice.
    """
    options.refuse_alone()
    if options.gpus is not None or options.dp is not None:
        raise InputError("--prefill-gpus and --decode-gpus say how many GPUs there are: leave --gpus and --dp away")
    plain = plain_pools(options)
    prompts = plain._replace(
        **{name: getattr(options, f"prefill_{name}") or getattr(options, name) for name in OF_PROMPTS},
        **{name: Options._field_defaults[name] for name in ("speculate", "accept", "draft")},
    )
    return _pool(prompts, "--prefill-gpus", options.prefill_gpus), _pool(plain, "--decode-gpus", options.decode_gpus)


@contextmanager
def naming_prompts(options: Options) -> Iterator[None]:
    """What is wrong with the pool that runs prompts is said of its options as they were typed: of --prefill-pp."""
    try:
        yield
    except InputError as error:
        typed = "|".join(name for name in OF_PROMPTS if getattr(options, f"prefill_{name}") is not None)
        if not typed or not re.match(rf"--({typed}) ", str(error)):
            raise
        raise InputError(f"--prefill-{str(error)[2:]}") from None


def _pool(options: Options, flag: str, gpus: Number) -> OfPool:
    """So many GPUs in replicas of a layout; without one, a single replica. Raises InputError where GPUs are left over.

    A replica has the data-parallel ranks that share its experts.
    """
    if options.tp is options.pp is options.ep is None:
        return OfPool(options._replace(gpus=gpus), 1)
    of_one = replica_gpus(options.tp or 1, options.pp or 1, options.ep or 1)
    if gpus % of_one:
        layout = f"tp {options.tp or 1}, pp {options.pp or 1}, ep {options.ep or 1}"
        raise InputError(f"{flag} {gpus}: no multiple of the {of_one} GPUs of a replica ({layout})")
    return OfPool(options, gpus // of_one)


def plain_pools(options: Options) -> Options:
    """The same without what is said of pools."""
    return options._replace(**{name: Options._field_defaults[name] for name in OF_POOLS})


def replica_gpus(tp: Number, pp: Number, ep: Number) -> Number:
    """GPUs of a replica: tp times pp, or as many times that as its experts are spread over ranks."""
    return tp * pp * replica_ranks(tp, ep)


def replica_ranks(tp: Number, ep: Number) -> Number:
    """Data-parallel ranks of a replica, which share its experts."""
    return max(1, ep // tp)


def check_apart(model: ModelSpec, options: Options, asked: str = "--prefill-gpus and --decode-gpus") -> None:
    """Raise InputError for what has no steady state of its own where prompts run apart, as is `asked`."""
    if options.requests is not None:
        raise InputError(f"--requests {options.requests:,}: all at once; where prompts run apart, use llmcost simulate")
    if options.output == 1:
        raise InputError(f"--output 1: nothing is decoded; leave {asked} away")
    if model.encoder is not None:
        raise InputError(f"{asked}: {model.name}'s encoder runs beside its decoder in engines that serve it")


def prompts_workload(w: Workload) -> Workload:
    """The workload of a replica that runs prompts, where one that decodes has `w`."""
    tp, pp, ep = w.prefill_tp, w.prefill_pp, w.prefill_ep
    gpus = replica_gpus(tp, pp, ep)
    return w._replace(tp=tp, pp=pp, ep=ep, gpus=gpus, dp=gpus // (tp * pp), chunk=w.prefill_chunk)


def sending(
    prompts: Server, w: Workload, decode: Workload, layerwise: bool, together: bool
) -> Callable[[Number], Number]:
    """Seconds in which the keys and values of so many tokens reach the other pool; None where a link is not known.

    Each GPU of a replica sends its part. `w`, `decode`: layouts of both pools. `layerwise`: all but those of the last
    layer are sent while the prompt runs. `together`: both pools are in one node.
    """
    apart = 1 if together else w.gpus_per_node
    at_once = minimum(w.tp * w.pp, decode.tp * decode.pp)
    share = (w.tp * w.pp) / at_once / (prompts.model.num_hidden_layers if layerwise else 1)

    def seconds(tokens: Number) -> Number:
        each = request_bytes(prompts, tokens, tokens) * share
        send = Collective("kv_send", "attention", 1, "send", each, 1, 2, apart, w.gpus_per_node, 1)
        return collective_seconds(send, prompts.chip.links, prompts.efficiency)

    return seconds


class Loop(NamedTuple):
    """Requests of a closed loop for each replica that runs prompts.

    others: beside the one that is looked at. decoding: seconds that each decodes. window: by which those differ.
    """

    others: Number
    decoding: Number
    window: Number


class Prompts(NamedTuple):
    """The pool that runs prompts, in seconds of a replica.

    alone: of a prompt by itself. more: that each further one adds to its step. each: of a prompt, where ranks are never
    idle. most: prompts of a step. ranks: data-parallel ranks of all replicas.
    """

    alone: Number
    more: Number
    each: Number
    most: Number
    ranks: Number

    def per_s(self) -> Number:
        """Prompts a second that all ranks compute at most."""
        return self.ranks / self.each

    def busy(self, per_s: Number) -> Number:
        """The share of a full pool's work that so many prompts a second are."""
        return minimum(1, per_s / self.per_s())

    def seconds(self, per_s: Number, arriving: Number = None, loop: Loop | None = None) -> Number:
        """Seconds from a prompt's arrival to its end, where so many are computed a second.

        `arriving`: requests a second, if they come at a rate, at random times. Of more than are computed ever more
        wait: a queue without end, which is left out.
        `loop`: where requests come when others end. Those whose prompts ran one after the other come back one after the
        other, spread by the lengths of their output too, so that the pool is as busy as in that time; no longer queue
        grows than one of random arrivals in it, beside those that decode has no work for.
        """
        of_one = per_s / self.ranks
        left = maximum(SATURATED, 1 - of_one * self.more)
        at_once = minimum(maximum(1, self.most), maximum(1, of_one * (self.alone - self.more) / left))
        step = self.alone + (at_once - 1) * self.more
        busy, of_full = minimum(1, of_one * step / at_once), self.busy(per_s)
        if loop is not None:
            requests, prompts = loop.others + 1, (loop.others + 1) * self.each
            found, dense = loop.others / requests, prompts / (prompts + loop.window)
            busy, of_full = found * maximum(busy, dense), found * maximum(of_full, dense)
        waits = busy ** ((2 * (self.ranks + 1)) ** 0.5 - 1) / self.ranks
        queue = waits * step / 2 / maximum(SATURATED, 1 - of_full)
        if loop is not None:
            queue = minimum(queue, maximum(0, prompts - loop.decoding) + BRIDGE * self.each * loop.others**0.5)
        if arriving is not None:
            queue = queue * minimum(1, maximum(0, self.per_s() / arriving - 1) / SATURATED)  # 1, or 0 beyond per_s
        return step + queue


def prompt_pool(server: Server, w: Workload, replicas: Number = 1) -> Prompts | None:
    """The pool that runs prompts in so many replicas of a layout; None where a figure of the chip is not known."""
    computed = w.prompt - cached_tokens(w)
    pieces: Number = 1
    begun: Number = 1
    if w.chunk is not None:
        pieces, begun = ceil_div(computed, w.chunk), w.chunk / computed
    if w.max_num_seqs is not None:
        begun = minimum(begun, w.max_num_seqs)
    sharing = server.layout.expert_ranks()
    lonely = server._replace(filled=divide(1, sharing))
    alone, two = _prompt_step(lonely, w, 1 / pieces), _prompt_step(lonely, w, 2)
    full, one = _prompt_step(server._replace(filled=1), w, begun), _prompt_step(lonely, w, 1)
    if alone is None or two is None or full is None or one is None:
        return None
    each = named("prompt_seconds_a_replica", full / begun)
    return Prompts(pieces * alone, minimum(each, maximum(0, two - one)), each, begun, replicas * w.dp)


def _prompt_step(server: Server, w: Workload, begun: Number) -> Number:
    """Seconds of a step with so many prompts in it, or such a part of one."""
    load = Load(begun, w.prompt - cached_tokens(w), w.prompt)
    stages = server.times(server.share(load), load)
    return None if stages is None else server.with_host(stages.through(), maximum(1, begun))


class Decoding(NamedTuple):
    """The pool that decodes, in so many `replicas` of a workload's layout."""

    server: Server
    w: Workload
    guess: Speculation
    replicas: Number = 1

    @property
    def ranks(self) -> Number:
        """Data-parallel ranks of all replicas."""
        return self.replicas * self.w.dp

    def step(self, running: Number) -> Number:
        """Seconds of a step of a rank with so many requests; None where a figure of the chip is not known."""
        server, w = self.server, self.w
        passes = in_flight(running, server.pp)
        context = w.prompt + w.output / 2
        load = Tokens(running / passes, context, 0, w.prompt, w.output, 0, self.guess.new).decode_load()
        stages = server.times(server.share(load), load)
        guessing = self.guess.seconds(server, running, context, passes)
        if stages is None or guessing is None:
            return None
        seconds = server.with_host(stages.round(passes), running)
        return seconds + guessing if self.guess.tokens else seconds

    def seconds(self, running: Number) -> Number:
        """Seconds of all steps of a request among so many on its rank."""
        step = self.step(running)
        return None if step is None else steps_of_decode(self.w, self.guess) * step


class Apart(NamedTuple):
    """Both pools, and how long keys and values of a prompt take between them."""

    prompts: Prompts
    decoding: Decoding
    sent_seconds: Number

    def first_token_seconds(self, per_s: Number, step: Number) -> Number:
        """TTFT where so many requests a second are answered, and decode has steps of so many seconds."""
        w = self.decoding.w
        loop, burst = None, 0
        if w.rate is None:
            others, burst = maximum(0, w.concurrency / self.prompts.ranks - 1), self.burst_seconds()
            decoding = steps_of_decode(w, self.decoding.guess) * step
            loop = Loop(others, decoding, spread_of(w) * decoding)
        before = self.decoding.server.request_seconds(w.prompt) + self.prompts.seconds(per_s, w.rate, loop)
        return burst + before + self.behind(step)

    def behind(self, step: Number) -> Number:
        """Seconds of TTFT behind the end of the prompt.

        Keys and values are sent, the second pool's host takes the request in too, and it waits for the next step of its
        rank and those that were prepared before.
        """
        server = self.decoding.server
        return self.sent_seconds + server.request_seconds(self.decoding.w.prompt) + (1 / 2 + server.lag()) * step

    def answered(self, most: Number) -> Number:
        """Requests a second that are answered where `most` decode on a rank."""
        return minimum(self.prompts.per_s(), self.decoding.ranks * most / self.decoding.seconds(most))

    def in_a_loop(self, most: Number) -> Number:
        """Requests of a loop that decode on a rank, up to `most`: half of the way to them in each round."""
        w, decoding = self.decoding.w, self.decoding
        running: Number = most
        for _ in range(ROUNDS):
            seconds = decoding.seconds(running)
            per_s = minimum(decoding.ranks * running / seconds, self.prompts.per_s())
            first = self.first_token_seconds(per_s, seconds / steps_of_decode(w, decoding.guess))
            found = minimum(most, w.concurrency / decoding.ranks * seconds / (first + seconds))
            running = (running + found) / 2
        return running

    def burst_seconds(self) -> Number:
        """Seconds of TTFT that come of the first prompts of a loop, all there at once: in the mean of all requests."""
        pool, of_one = self.prompts, self.decoding.w.concurrency / self.prompts.ranks
        together = minimum(of_one, pool.most)
        return maximum(0, of_one + together - 2) / 2 * pool.each / REQUESTS_A_SLOT.value


def apart_of(prompts: Server, wp: Workload, decoding: Decoding) -> Apart:
    """Both pools, of which `prompts` runs prompts in the layout of `wp`. Raises InputError for an unknown figure."""
    w, pool = decoding.w, prompt_pool(prompts, wp, wp.prefill_gpus // wp.gpus)
    sent = sending(prompts, wp, w, w.layerwise, w.all_gpus() <= w.gpus_per_node)(w.prompt)
    if pool is None or decoding.step(1) is None:
        raise InputError("--prefill-gpus: no source gives all figures of the GPU that a step's time takes")
    if sent is None:
        raise InputError("--prefill-gpus: no source gives the speed of the links that keys and values are sent over")
    return Apart(pool, decoding, sent)


def serving_apart(apart: Apart, prompts: Server, wp: Workload, memory: Memory) -> Serving:
    """Throughput and latency of a mix of requests on two pools, expected and at most.

    `prompts`, `wp`: what runs prompts, and its workload; `memory`: what the fullest GPU that decodes holds.
    """
    decoding, first_pool = apart.decoding, apart.prompts
    server, w, guess, _ = decoding
    if w.prefix_hit is not None:
        refuse_states(server)
    of_mean_length = request_bytes(server, w.prompt + w.output / 2, w.prompt, guess)
    bounds = {} if w.max_num_seqs is None else {"max_num_seqs": w.max_num_seqs}
    at_most = [] if w.concurrency is None else [w.concurrency / decoding.ranks]
    have_room = None
    if memory.usable_bytes is not None:
        found = room(server, w, memory, guess, of_mean_length)
        have_room, of_room = found.beside_activations, found.or_as_if_enough(at_most)
        bounds["memory"] = of_room.beside_activations
        at_most.append(of_room.whole_memory)
    most = least([*bounds.values(), *at_most[:1]])
    running = named("running", least(_running(apart, bounds, most, at_most).values()))
    step = decoding.step(maximum(1, running))
    per_s = decoding.ranks * running / (steps_of_decode(w, guess) * step)
    per_s = per_s if w.rate is None else minimum(per_s, w.rate)
    ttft, each = apart.first_token_seconds(per_s, step), step / guess.accepted
    latency = ttft + (w.output - 1) * each
    if w.rate is None:
        latency = w.concurrency / per_s  # Little's law
        ttft = latency - (w.output - 1) * each
    reached = server.efficiency
    shown = (reached.basis, reached.band("throughput").mean_error)
    return Serving(
        running=running * decoding.ranks,
        max_concurrency=None if have_room is None else have_room * decoding.ranks,
        kv_cache_bytes=held(server, w, guess, running, of_mean_length),
        limited_by=name_of_least(bounds),
        limit=_limit(prompts, apart, at_most),
        expected=ServingTimes(*rates(w._replace(gpus=w.all_gpus()), per_s, 1), ttft, each, latency, *shown),
        pools=Pools(
            _pool_of(wp, w.prefill_gpus, first_pool.busy(per_s)),
            _pool_of(w, w.decode_gpus, None if have_room is None else running / of_room.beside_activations),
            ttft - apart.behind(step),
            apart.sent_seconds,
        ),
        draft_bytes=guess.held_bytes(server, memory.weights_bytes),
        load_share=None if w.rate is None else w.rate / apart.answered(most),
    )


def _running(apart: Apart, bounds: dict[str, Number], most: Number, at_most: list[Number]) -> dict[str, Number]:
    """What keeps the requests that decode on a rank from being more, with those that are found here added."""
    decoding, w = apart.decoding, apart.decoding.w
    for name, per_s in (("rate", w.rate), ("prefill", apart.prompts.per_s())):
        if per_s is not None:
            bounds[name] = in_system(divide(per_s, decoding.ranks), lambda n: decoding.seconds(maximum(1, n)), most)
    if w.concurrency is not None:
        bounds["concurrency"] = apart.in_a_loop(most) if w.rate is None else at_most[0]
    return bounds


def _pool_of(w: Workload, gpus: Number, busy: Number) -> Pool:
    return Pool(gpus, divide(gpus, w.gpus), w.tp, w.pp, w.dp, w.ep, busy)


def _limit(prompts: Server, apart: Apart, at_most: list[Number]) -> ServingRates:
    """The throughput that no engine beats: of the slower of both pools, each with all requests at once."""
    server, w, guess, _ = apart.decoding
    ranks, at_once = apart.decoding.ranks, least(at_most) if at_most else 1
    of_decode = Tokens(at_once, w.prompt + w.output / 2, 0, w.prompt, w.output, 0, guess.new).decode_load()
    beginning = maximum(1, at_once * ranks / apart.prompts.ranks)
    begin = Load(beginning, w.prompt - cached_tokens(w), w.prompt)
    of_prompts, of_step = _least(prompts, begin), _least(server, of_decode)
    if of_prompts is None or of_step is None:
        return ServingRates(None, None, None, None)
    decoded = ranks * at_once / (maximum(1, steps_of_decode(w, guess)) * of_step)
    per_s = minimum(apart.prompts.ranks * beginning / of_prompts, decoded)
    per_s = per_s if w.rate is None else minimum(per_s, w.rate)
    return ServingRates(*rates(w._replace(gpus=w.all_gpus()), per_s, 1))


def _least(server: Server, load: Load) -> Number:
    """Seconds that a rank takes for a load at least, spread evenly over its stages."""
    cost = server.cost(server.share(load), load)
    cost = cost if is_one(server.pp) else cost.over(server.pp)
    return bound(cost, server.chip, "mean_step_flops", "mean_step_bytes", 1).seconds()
