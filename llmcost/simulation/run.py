"""A simulation: traffic, replicas and an engine in, what requests see out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.options import check_options, declared
from llmcost.ground.units import HOUR
from llmcost.machine.efficiency import Host
from llmcost.machine.host import copies_to_host
from llmcost.machine.power import basis_of, drawn_by
from llmcost.machine.timing import binding
from llmcost.model.lora import ALL_LINEAR, Lora, trainable_params
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.pipeline import FEW, Server
from llmcost.serving.apart import naming_prompts, pool_options, sending
from llmcost.serving.caches import page_of
from llmcost.serving.estimate import estimate, under_usual
from llmcost.serving.options import Options
from llmcost.serving.results import Estimate
from llmcost.serving.room import request_bytes
from llmcost.simulation.cluster import MOST_REPLICAS, Cluster, Pool, Router, Unit
from llmcost.simulation.histograms import HISTOGRAMS, LogNormal
from llmcost.simulation.means import at_the_means, power_share
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.policy import HeldBack, NoRoomError, Policy, Served
from llmcost.simulation.results import SCHEMA, Bounds, Simulation, Timeline, Times
from llmcost.simulation.scheduler import HOLDS, Scheduler
from llmcost.simulation.steptime import StepTime
from llmcost.simulation.traces import read_trace
from llmcost.simulation.traffic import Lengths, Request, at_a_rate, closed_loop, first, requests_of, retimed
from llmcost.specs.catalog import named_engine
from llmcost.specs.engine import EngineSpec
from llmcost.specs.hardware import HardwareSpec

PROMPT, OUTPUT = 1024, 256  # tokens of a request
MILLION = 10**6
WITH = {"adapter_rank": "adapters", "host_link": "kv_host", "prefixes": "prefix_hit"}


class Run:
    """One run: `served` gives the requests one by one, `result` the answer from those so far.

    `serves`: GPUs and replicas that were made before; None: by the options. Raises InputError where options contradict
    each other or the model.
    """

    def __init__(
        self,
        model: ModelSpec,
        hardware: HardwareSpec,
        options: Options,
        chosen: SimulationOptions,
        serves: tuple[int, Cluster] | None = None,
    ) -> None:
        check_options(chosen)
        _refuse_alone(options, chosen)
        options = under_usual(model, hardware, with_lengths(model, options), mix=True)._replace(
            prompt=options.prompt, output=options.output
        )
        self.model, self.hardware, self.options, self.chosen = model, hardware, options, chosen
        self.gpus, self.cluster = serves or cluster_of(model, hardware, options, chosen)
        _refuse_router(chosen, self.cluster)
        traffic = traffic_of(model, options, chosen)
        self.requests = _within(traffic, model, chosen.trace)
        self.times = Times(limits_of(chosen))
        self.timeline = Timeline(self.cluster.replicas(), self.times)
        self.cluster.watch = self.timeline.watch
        self.told: Callable[[Served], None] | None = None  # called with every request that is answered

    def served(self) -> Iterator[Served]:
        """Every request, in the order in which they are answered."""
        for done in self._answered():
            self.times.add(done)
            if self.told is not None:
                self.told(done)
            yield done

    def _answered(self) -> Iterator[Served]:
        """The same. Raises InputError, with the trace's name and line, for a request that no replica has room for."""
        trace = self.chosen.trace
        try:
            yield from self.cluster.served(self.requests)
        except NoRoomError as refusal:
            where = "" if trace is None else f"{trace}:{refusal.line}: "
            raise InputError(f"{where}{refusal}") from None

    def result(self, interrupted: bool = False) -> Simulation:
        """The answer, from the requests that were answered. Raises InputError where there are none."""
        times, replicas = self.times, self.cluster.replicas()
        if not times.requests:
            trace = "" if self.chosen.trace is None else f"{self.chosen.trace}: "
            raise InputError("no request was answered: interrupted" if interrupted else f"{trace}it has no requests")
        duration = times.last - times.first
        policies = {each.policy.blocks for each in replicas}
        largest = replicas[-1].policy  # of a replica that decodes
        asked = sum(each.asked for each in replicas)
        means = at_the_means(self.model, self.hardware, self.cluster, times)
        share = power_share(self.hardware, self.cluster, times, means[1], self.gpus)
        watts = None if self.hardware.tdp is None else self.hardware.tdp.value * share * self.chosen.pue
        made, read = times.output / MILLION, times.input / MILLION
        dollars = None if self.chosen.price is None else self.chosen.price * self.gpus * duration / HOUR
        joules = None if watts is None else watts * self.gpus * duration
        return Simulation(
            schema=SCHEMA,
            model=self.model.name,
            hardware=self.hardware.name,
            engine=self.options.engine,
            workload=self.options,
            gpus=self.gpus,
            replicas=len(replicas),
            requests=times.requests,
            input_tokens=times.input,
            output_tokens=times.output,
            duration_seconds=duration,
            requests_per_s=times.requests / duration,
            output_tokens_per_s=times.output / duration,
            **{f"{name}_seconds": times.spread(name) for name in ("ttft", "tpot", "latency", "queue")},
            host_seconds=largest.host_seconds(times.input / times.requests),
            goodput=times.within / times.requests if times.limits else None,
            goodput_requests_per_s=times.within / duration if times.limits else None,
            kv_tokens=None if None in policies else largest.blocks * largest.block,  # type: ignore[operator]
            most_kv_tokens=None if None in policies else max(each.pool.most_used for each in replicas) * largest.block,
            cache_hit_rate=sum(each.hits for each in replicas) / asked if asked else 0.0,
            host_tokens=sum(each.loaded for each in replicas),
            preemptions=sum(each.preemptions for each in replicas),
            recomputed_tokens=sum(each.recomputed for each in replicas),
            steps=sum(each.steps for each in replicas),
            busy_share=sum(each.busy for each in replicas) / (duration * len(replicas)),
            limited_by=self._bounds(*means),
            overloaded=self.options.concurrency is None and self.timeline.overloaded(),
            interrupted=interrupted,
            dollars_per_million_output_tokens=None if dollars is None else dollars / made,
            joules_per_million_output_tokens=None if joules is None else joules / made,
            dollars_per_million_tokens=None if dollars is None else dollars / (made + read),
            joules_per_million_tokens=None if joules is None else joules / (made + read),
            power_share=share,
            power_basis=basis_of(drawn_by(self.hardware)),
            lengths=None if self.chosen.lengths is None else HISTOGRAMS[self.chosen.lengths].told(),
            timeline=tuple(self.timeline.moments),
        )

    def _bounds(self, prompts: Estimate, decode: Estimate) -> Bounds:
        """What each phase was bound by, of a replica of either at the means, and what kept requests waiting."""
        held = {name: sum(each.held[name] for each in self.cluster.replicas()) for name in HOLDS}
        most = max(held, key=held.__getitem__)
        of_prompts, of_decode = binding(prompts.prefill.bound, fits=True), binding(decode.decode.bound, fits=True)
        return Bounds(of_prompts, of_decode, most if held[most] else None)


def simulate(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options = Options(),  # noqa: B008
    chosen: SimulationOptions = SimulationOptions(),  # noqa: B008
) -> Simulation:
    """What every request sees, of a trace or of drawn traffic.

    Raises InputError where options contradict each other or the model, SpecError for a trace that cannot be read.
    """
    run = Run(model, hardware, options, chosen)
    for _ in run.served():
        pass
    return run.result()


def _refuse_router(chosen: SimulationOptions, cluster: Cluster) -> None:
    """Raise InputError for a router that has nothing to choose among."""
    option, pools = declared(SimulationOptions)["router"], (cluster.pool, cluster.decode)
    if chosen.router != option.value and all(pool is None or len(pool.router.replicas) == 1 for pool in pools):
        raise InputError(f"{option.flag} {chosen.router}: it chooses among replicas, and there is one; give --dp too")


def _refuse_alone(options: Options, chosen: SimulationOptions) -> None:
    """Raise InputError for an option that changes nothing without another one, where that is not given."""
    gaps = declared(SimulationOptions)["burstiness"]
    if chosen.burstiness != gaps.value and options.rate is None:
        raise InputError(f"{gaps.flag} {chosen.burstiness:g}: the shape of the gaps at a rate; give --rate too")
    options.refuse_alone()
    if chosen.seed and not _draws(options, chosen):
        raise InputError(
            f"--seed {chosen.seed}: nothing is drawn; give --rate, --range-ratio, --lengths or --log-normal too"
        )
    if not chosen.prefix_caching and chosen.trace is None and not options.prefix_hit:
        raise InputError(
            "--no-prefix-caching: no prompts begin alike; give --prefix-hit, or a --trace whose prompts do"
        )
    known, given = declared(Options) | declared(SimulationOptions), options._asdict() | chosen._asdict()
    for name, other in WITH.items():
        option, needed = known[name], known[other]
        if given[name] != option.value and given[other] in (needed.value, 0):
            raise InputError(f"{option.flag}: it changes nothing alone; give {needed.flag} too")


def _draws(options: Options, chosen: SimulationOptions) -> bool:
    """Whether anything of the traffic is drawn: when requests come, how long they are, or how they begin."""
    if options.rate is not None or chosen.trace is not None:
        return options.rate is not None
    drawn = chosen.lengths is not None or chosen.log_normal is not None
    return drawn or options.range_ratio not in (None, 1) or (bool(options.prefix_hit) and chosen.prefixes > 1)


def limits_of(chosen: SimulationOptions) -> dict[str, float]:
    """The limits asked for, in seconds."""
    asked = {"ttft": chosen.ttft, "tpot": chosen.tpot, "latency": chosen.latency}
    return {name: limit / 1000 for name, limit in asked.items() if limit is not None}


def mean_lengths(model: ModelSpec, options: Options, chosen: SimulationOptions) -> tuple[int, int]:
    """Tokens in and out of the mean request of drawn traffic."""
    return lengths_of(model, options) if chosen.lengths is None else HISTOGRAMS[chosen.lengths].mean()


def lengths_of(model: ModelSpec, options: Options) -> tuple[int, int]:
    """Tokens in and out of a drawn request."""
    longest = model.max_position_embeddings
    output = options.output or min(OUTPUT, longest // 4)
    return options.prompt or min(PROMPT, _longest_prompt(model, output)), output


def with_lengths(model: ModelSpec, options: Options) -> Options:
    """The options with the tokens of a drawn request."""
    prompt, output = lengths_of(model, options)
    return options._replace(prompt=prompt, output=output)


def longest_of(model: ModelSpec, options: Options, chosen: SimulationOptions, otherwise: int) -> int:
    """Tokens in and out of the longest request that may come; of a distribution without an end, all that fit the model.

    `otherwise`: where all are as long as prompt and output that were given. Raises what reading a trace raises.
    """
    most = int(model.max_position_embeddings)
    if chosen.trace is not None:
        requests = first(read_trace(Path(chosen.trace), timed=False), options.requests)
        return min(most, max((each.prompt + each.output for each in requests), default=1))
    if chosen.lengths is not None:
        return min(most, HISTOGRAMS[chosen.lengths].longest())
    return most if chosen.log_normal is not None else otherwise


def _longest_prompt(model: ModelSpec, output: int) -> int:
    """The most tokens that a model takes in where it gives so many: an encoder has positions of its own for them."""
    if model.encoder is not None:
        return model.encoder.max_position_embeddings  # type: ignore[no-any-return]
    return model.max_position_embeddings - output  # type: ignore[no-any-return]


def traffic_of(model: ModelSpec, options: Options, chosen: SimulationOptions) -> Iterator[Request]:
    """The requests that are asked for: of a trace, at a rate, or so many at a time. Raises InputError for neither."""
    rate, concurrency = options.rate, options.concurrency
    if rate is not None and concurrency is not None:
        raise InputError("--rate and --concurrency: traffic comes by one of them")
    if chosen.trace is not None:
        drawn = {
            "--lengths": chosen.lengths,
            "--prefix-hit": options.prefix_hit,
            "--range-ratio": options.range_ratio,
            "--log-normal": chosen.log_normal,
            "--prompt": options.prompt,
            "--output": options.output,
        }
        if given := [name for name, value in drawn.items() if value is not None]:
            raise InputError(f"--trace and {given[0]}: the trace says what requests have")
        timed = rate is None and concurrency is None
        requests = first(read_trace(Path(chosen.trace), timed), options.requests)
        return requests if timed else retimed(requests, rate, chosen.burstiness, concurrency, chosen.seed)
    drawn_from = (*lengths_of(model, options), options.range_ratio or 1.0, options.prefix_hit or 0.0)
    lengths = Lengths(*drawn_from, chosen.prefixes, _spread_of(model, options, chosen))
    if rate is not None:
        return at_a_rate(rate, chosen.burstiness, lengths, requests_of(options), chosen.seed)
    if concurrency is not None:
        return closed_loop(concurrency, lengths, requests_of(options), chosen.seed)
    raise InputError("traffic comes by one of --trace, --rate and --concurrency: none of them is given")


def _spread_of(
    model: ModelSpec, options: Options, chosen: SimulationOptions
) -> Callable[[Random], tuple[int, int]] | None:
    """What draws tokens in and out of requests that differ, within what the model takes; None: a range, or all alike.

    Raises InputError for several ways to draw them.
    """
    draw: Callable[[Random], tuple[int, int]]
    if chosen.lengths is None and chosen.log_normal is None:
        return None
    told = "--log-normal" if chosen.lengths is None else f"--lengths {chosen.lengths}"
    if options.range_ratio is not None:
        raise InputError(f"--range-ratio {options.range_ratio:g}: of --prompt and --output; leave {told} out")
    if chosen.lengths is not None:
        if chosen.log_normal is not None:
            raise InputError(f"{told}: it draws the lengths, --log-normal too")
        if options.prompt is not None or options.output is not None:
            raise InputError(f"{told}: it draws the lengths, --prompt and --output too")
        draw = HISTOGRAMS[chosen.lengths].draw
    else:
        draw = LogNormal(*lengths_of(model, options), chosen.log_normal).draw  # type: ignore[arg-type]

    def within(drawn: Random) -> tuple[int, int]:
        prompt, output = draw(drawn)
        output = min(output, model.max_position_embeddings - 1)
        return min(prompt, _longest_prompt(model, output)), output

    return within


def _within(requests: Iterator[Request], model: ModelSpec, trace: str | None) -> Iterator[Request]:
    """The requests as they are. Raises InputError for one that has more tokens than the model takes."""
    longest, encoder = model.max_position_embeddings, model.encoder
    for request in requests:
        answered = request.output if encoder is not None else request.prompt + request.output
        if answered > longest or (encoder is not None and request.prompt > encoder.max_position_embeddings):
            where = f"{trace}:{request.line}: " if request.line else ""
            raise InputError(
                f"{where}a request of {request.prompt:,} tokens in and {request.output:,} out: the model takes "
                f"{'' if encoder is None else f'{encoder.max_position_embeddings:,} in and '}{longest:,}"
                f"{'' if encoder is None else ' out'} (max_position_embeddings)"
            )
        yield request


class Kind(NamedTuple):
    """Replicas that are alike: seconds of their steps, and how they schedule."""

    step: StepTime
    policy: Policy

    def pool(self, numbers: Iterator[int], router: str, replicas: int | None = None) -> Pool:
        """All data-parallel replicas of the layout, or so many; those that share experts step together."""
        number = replicas or self.step.workload.dp
        if number > MOST_REPLICAS:
            raise InputError(
                f"{number:,} replicas: at most {MOST_REPLICAS:,} are simulated; less traffic on fewer does"
            )
        ranks = [Scheduler(self.policy, next(numbers)) for _ in range(number)]
        together = self.step.ranks
        units = [Unit(ranks[at : at + together], self.step) for at in range(0, len(ranks), together)]
        return Pool(units, Router(ranks, router))


def cluster_of(
    model: ModelSpec, hardware: HardwareSpec, options: Options, chosen: SimulationOptions
) -> tuple[int, Cluster]:
    """How many GPUs serve, and what serves. Raises InputError where options contradict each other."""
    one = with_lengths(model, options)._replace(concurrency=None, rate=None, requests=None)
    if options.prefill_gpus is None:
        kind = kind_of(model, hardware, one, chosen)
        pool = kind.pool(count(), chosen.router)
        return kind.step.workload.gpus, Cluster(pool)
    first, second = pool_options(one)
    with naming_prompts(options):
        prompts = Replicas(kind_of(model, hardware, first.options, chosen), first.replicas)
    decode = Replicas(kind_of(model, hardware, second.options, chosen), second.replicas)
    return cluster_apart(prompts, decode, chosen.router, layerwise=options.layerwise)


class Replicas(NamedTuple):
    """So many replicas of a kind."""

    kind: Kind
    number: int

    @property
    def gpus(self) -> Number:
        """GPUs of all of them."""
        return self.number * self.kind.step.workload.gpus

    def pool(self, numbers: Iterator[int], router: str) -> Pool:
        """All of them behind a router."""
        return self.kind.pool(numbers, router, self.number * self.kind.step.workload.dp)


def cluster_apart(prompts: Replicas, decode: Replicas, router: str, *, layerwise: bool) -> tuple[int, Cluster]:
    """How many GPUs serve, and what serves: prompts on replicas of their own.

    Raises InputError where a link between them is not known.
    """
    gpus, numbers, (first, second) = prompts.gpus + decode.gpus, count(), (prompts.kind.step, decode.kind.step)
    together = gpus <= first.workload.gpus_per_node
    send = sending(first.server, first.workload, second.workload, layerwise, together)
    if send(1.0) is None:
        raise InputError("no source gives the speed of the links that keys and values are sent over")
    taken_in = decode.kind.policy.host_seconds

    def between(tokens: int) -> float:
        """Seconds from a prompt's end until its request can decode: the second pool's host takes it in too."""
        seconds: float = send(tokens) + taken_in(tokens)
        return seconds

    return gpus, Cluster(prompts.pool(numbers, router), decode.pool(numbers, router), between)


def kind_of(model: ModelSpec, hardware: HardwareSpec, options: Options, chosen: SimulationOptions) -> Kind:
    """The replicas of some options, with prompt and output. Raises InputError where the model does not fit."""
    step = StepTime(model, hardware, options)
    policy = policy_of(model, hardware, step, chosen)
    policy = policy._replace(caching=chosen.prefix_caching and not policy.state_blocks)
    return Kind(step, _with_host(policy, hardware, step, chosen) if chosen.kv_host else policy)


def _with_host(policy: Policy, hardware: HardwareSpec, step: StepTime, chosen: SimulationOptions) -> Policy:
    """The same with a second level of the cache in the host's memory; each GPU sends its part over its own link.

    Raises InputError where nothing is found again, or the link to the host is not known.
    """
    if not policy.caching:
        why = "engines find nothing again where layers keep states" if policy.state_blocks else "--no-prefix-caching"
        raise InputError(f"--kv-host {chosen.kv_host:g}: it keeps what is found again, and nothing is: {why}")
    copies = copies_to_host(f"--kv-host {chosen.kv_host:g}", hardware, chosen.host_link, "--host-link")
    w = step.workload
    short, long = (request_bytes(step.server, each * w.context, w.prompt, step.guess) for each in (1, 2))
    position = (long - short) / w.context
    blocks = int(chosen.kv_host * 2**30 / (w.tp * w.pp * position * policy.block))
    return policy._replace(host_blocks=blocks, load_seconds=position / copies)


def policy_of(model: ModelSpec, hardware: HardwareSpec, step: StepTime, chosen: SimulationOptions) -> Policy:
    """How the engine schedules, with the cache that the memory leaves or `--kv-tokens`. Raises InputError for none."""
    w, guess, kv_tokens = step.workload, step.guess, chosen.kv_tokens
    engine = named_engine(w.engine)
    block = page_of(w.engine)
    blocks, fixed, host = None, 0, step.server.efficiency.host or Host()
    if kv_tokens is not None:
        if chosen.adapters:
            raise InputError(
                "--adapters: of the memory, which --kv-tokens says the cache's part of; leave one of them out"
            )
        blocks = kv_tokens // block
    else:
        memory = estimate(model, hardware, w.without_mix()).memory
        if memory.usable_bytes is not None:
            room = memory.usable_bytes - memory.overhead_bytes - memory.weights_bytes - memory.activation_bytes
            room -= guess.weights_bytes(step.server, memory.weights_bytes)
            room -= adapters_bytes(step.server, chosen.adapters, chosen.adapter_rank)
            short, long = (request_bytes(step.server, each * w.context, w.prompt, guess) for each in (1, 2))
            position = (long - short) / w.context
            if room <= 0:
                raise InputError(f"{model.name} does not fit on {hardware.title}: no memory is left for its cache")
            if position > 0:
                fixed = max(0, round((short - position * (w.context + (block - 1) / 2)) / (position * block)))
                blocks = max(0, int(room // (position * block)))
    return Policy(
        budget=w.chunk,
        most=w.max_num_seqs,
        blocks=blocks,
        block=block,
        state_blocks=fixed,
        mixed=engine is None or engine.mixed,
        reserve=w.reserve_output,
        whole_prompts=True,
        request_seconds=host.request,
        token_seconds=host.token,
        lag=int(host.lag),
        looks=int(step.server.looks(FEW.value)),
        looks_few=int(step.server.looks(1)),
        speculated=guess.tokens,
        accepted=guess.accepted,
        held_back=None if engine is None else held_back(engine),
    )


def held_back(engine: EngineSpec) -> HeldBack | None:
    """What new requests leave room for under an engine that holds some back for those that run."""
    figures = [engine.figures.get(f"room.{name}") for name in HeldBack._fields]
    return HeldBack(*(each for each in figures if each is not None)) if None not in figures else None


def adapters_bytes(server: Server, number: int, rank: int) -> Number:
    """Bytes on a GPU of so many LoRA adapters of all linear layers, in the type of activations.

    As vLLM sets them aside (docs.vllm.ai, LoRAConfig: max_loras, max_lora_rank): the part of each that stands beside a
    product which GPUs divide is divided with it.
    """
    if not number:
        return 0
    layers = server.share(Load(1, 1, 1, decode=True)).layers
    return number * server.on_a_stage(trainable_params(layers, Lora(rank, (ALL_LINEAR,)))) * server.size.Bx
