"""A simulation: traffic and an engine in, what requests see out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.model.spec import ModelSpec
from llmcost.serving.batching import request_bytes
from llmcost.serving.caches import PAGE
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options, Workload
from llmcost.simulate.options import SimulationOptions
from llmcost.simulate.scheduler import Counters, Policy, Scheduler, Served
from llmcost.simulate.steptime import StepTime
from llmcost.simulate.traffic import Lengths, Request, at_a_rate, closed_loop, read_trace
from llmcost.specs.catalog import load_engine
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.simulate/1"
USUAL_REQUESTS = 1000  # at a rate
TIMES_CONCURRENCY = 10  # requests of a closed loop, over those in flight
PROMPT, OUTPUT = 1024, 256  # tokens of a request
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Spread(NamedTuple):
    """Mean and percentiles of one time over all requests, in seconds; None where no request has it."""

    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class Simulation(NamedTuple):
    """What the requests of one run saw. Times are in seconds from the arrival of a request.

    `goodput`: the share of requests within the limits asked for; None: no limit was. `kv_tokens`: room in the cache;
    None: no bound is known. `busy_share`: of the duration in which the GPUs ran steps.
    """

    schema: str
    model: str
    hardware: str
    engine: str | None
    workload: Workload
    requests: int
    input_tokens: int
    output_tokens: int
    duration_seconds: float
    requests_per_s: float
    output_tokens_per_s: float
    ttft_seconds: Spread
    tpot_seconds: Spread
    latency_seconds: Spread
    queue_seconds: Spread
    goodput: float | None
    kv_tokens: int | None
    most_kv_tokens: int | None
    preemptions: int
    steps: int
    busy_share: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost simulate --json`."""
        spreads = {name: value._asdict() for name, value in self._asdict().items() if isinstance(value, Spread)}
        return self._asdict() | spreads | {"workload": self.workload._asdict()}

    def rows(self) -> list[dict[str, Any]]:
        """A row a time: its name, its mean and its percentiles, in seconds."""
        return [
            {"time": name.removesuffix("_seconds"), **value._asdict()}
            for name, value in self._asdict().items()
            if isinstance(value, Spread)
        ]

    def __repr__(self) -> str:
        """In one line: how many requests, how fast, what the slowest hundredth saw."""
        slowest = self.ttft_seconds.p99
        seen = "" if slowest is None else f", p99 TTFT {slowest:.3g} s"
        return f"<Simulation of {self.requests:,} requests: {self.output_tokens_per_s:,.0f} tokens/s{seen}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


class Times:
    """The times of all requests so far, in eight bytes each."""

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = limits
        self.seen = {name: array("d") for name in ("ttft", "tpot", "latency", "queue")}
        self.requests = self.within = self.input = self.output = 0
        self.first, self.last = float("inf"), 0.0

    def add(self, done: Served) -> None:
        """One more request is answered."""
        ttft, tpot, latency = done.ttft, done.tpot, done.latency
        self.seen["ttft"].append(ttft)
        self.seen["latency"].append(latency)
        self.seen["queue"].append(done.scheduled - done.arrival)
        if done.request.output > 1:
            self.seen["tpot"].append(tpot)
        times = {"ttft": ttft, "tpot": tpot, "latency": latency}
        self.within += all(times[name] <= limit for name, limit in self.limits.items())
        self.requests += 1
        self.input += done.request.prompt
        self.output += done.request.output
        self.first, self.last = min(self.first, done.arrival), max(self.last, done.last)

    def spread(self, name: str) -> Spread:
        """Mean and percentiles of one time."""
        import numpy as np

        seen = np.frombuffer(self.seen[name]) if self.seen[name] else None
        if seen is None:
            return Spread(None, None, None, None, None)
        return Spread(float(seen.mean()), *map(float, np.quantile(seen, [*QUANTILES.values()])))


def simulate(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options = Options(),  # noqa: B008
    chosen: SimulationOptions = SimulationOptions(),  # noqa: B008
) -> Simulation:
    """What every request sees, of a trace or of drawn traffic, on one replica.

    Raises InputError where options contradict each other or the model, SpecError for a trace that cannot be read.
    """
    times = Times(limits_of(chosen))
    simulated, scheduler = served(model, hardware, options, chosen)
    for done in simulated:
        times.add(done)
    return result(model, hardware, options, times, scheduler)


def served(
    model: ModelSpec, hardware: HardwareSpec, options: Options, chosen: SimulationOptions
) -> tuple[Iterator[Served], Scheduler]:
    """Every request in the order in which they are answered, and the scheduler that answers them."""
    lengths = (options.prompt or PROMPT, options.output or OUTPUT)
    one = options._replace(prompt=lengths[0], output=lengths[1], concurrency=None, rate=None, requests=None)
    step = StepTime(model, hardware, one)
    traffic = traffic_of(options, chosen, Lengths(*lengths, chosen.range_ratio))
    longest = model.max_position_embeddings
    policy = policy_of(model, hardware, step, chosen.kv_tokens)
    scheduler = Scheduler(step, policy)
    return scheduler.served(_within(traffic, longest, chosen.trace)), scheduler


def limits_of(chosen: SimulationOptions) -> dict[str, float]:
    """The limits asked for, in seconds."""
    asked = {"ttft": chosen.ttft, "tpot": chosen.tpot, "latency": chosen.latency}
    return {name: limit / 1000 for name, limit in asked.items() if limit is not None}


def traffic_of(options: Options, chosen: SimulationOptions, lengths: Lengths) -> Iterator[Request]:
    """The requests that are asked for: a trace, a rate, or so many at a time. Raises InputError unless it is one."""
    asked = {"--trace": chosen.trace, "--rate": options.rate, "--concurrency": options.concurrency}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        told = " and ".join(given) or "none of them is given"
        raise InputError(f"traffic comes by one of --trace, --rate and --concurrency: {told}")
    if chosen.trace is not None:
        return read_trace(Path(chosen.trace))
    if options.rate is not None:
        requests = options.requests or USUAL_REQUESTS
        return at_a_rate(options.rate, chosen.burstiness, lengths, requests, chosen.seed)
    requests = options.requests or TIMES_CONCURRENCY * options.concurrency
    return closed_loop(options.concurrency, lengths, requests, chosen.seed)


def _within(requests: Iterator[Request], longest: int, trace: str | None) -> Iterator[Request]:
    """The requests as they are. Raises InputError for one that has more tokens than the model takes."""
    for request in requests:
        if request.prompt + request.output > longest:
            where = f"{trace}:{request.line}: " if request.line else ""
            raise InputError(
                f"{where}a request of {request.prompt:,} tokens in and {request.output:,} out: the model takes "
                f"{longest:,} (max_position_embeddings)"
            )
        yield request


def policy_of(model: ModelSpec, hardware: HardwareSpec, step: StepTime, kv_tokens: int | None) -> Policy:
    """How the engine schedules, with the cache that the memory leaves or `kv_tokens`."""
    w = step.workload
    engine = None if w.engine is None else load_engine(w.engine)
    block = int(PAGE.value)
    blocks, fixed = None, 0
    if kv_tokens is not None:
        blocks = kv_tokens // block
    else:
        memory = estimate(model, hardware, w).memory
        if memory.usable_bytes is not None:
            room = memory.usable_bytes - memory.overhead_bytes - memory.weights_bytes - memory.activation_bytes
            short, long = request_bytes(step.server, w.context), request_bytes(step.server, 2 * w.context)
            position = (long - short) / w.context
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
        request_seconds=0.0 if engine is None else engine.figures.get("host.request", 0.0),
    )


def result(
    model: ModelSpec, hardware: HardwareSpec, options: Options, times: Times, scheduler: Scheduler
) -> Simulation:
    """The answer, from the times of the requests that were answered. Raises InputError where there are none."""
    if not times.requests:
        raise InputError("no request was answered: the trace has none")
    counters: Counters = scheduler.counters()
    policy, duration = scheduler.policy, times.last - times.first
    return Simulation(
        schema=SCHEMA,
        model=model.name,
        hardware=hardware.name,
        engine=options.engine,
        workload=options,
        requests=times.requests,
        input_tokens=times.input,
        output_tokens=times.output,
        duration_seconds=duration,
        requests_per_s=times.requests / duration,
        output_tokens_per_s=times.output / duration,
        **{f"{name}_seconds": times.spread(name) for name in ("ttft", "tpot", "latency", "queue")},
        goodput=times.within / times.requests if times.limits else None,
        kv_tokens=None if policy.blocks is None else policy.blocks * policy.block,
        most_kv_tokens=None if policy.blocks is None else counters.most_blocks * policy.block,
        preemptions=counters.preemptions,
        steps=counters.steps,
        busy_share=counters.seconds / duration,
    )
