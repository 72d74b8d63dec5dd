"""What a simulation answers, and what is kept of every request on the way: eight bytes a time."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import fsum
from typing import Any, NamedTuple

from llmcost.ground.html import html_table
from llmcost.ground.units import counted
from llmcost.serving.options import Workload
from llmcost.simulation.policy import Served
from llmcost.simulation.scheduler import Scheduler

SCHEMA = "llmcost.simulate/1"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
MOST_MOMENTS, FIRST_GAP = 400, 0.01  # of a timeline: how many are kept, and seconds between them at first
GROWN, LEAST_WAITING = 1.4, 20  # a queue that is so many times as long at the end as at half time grows without end


class Spread(NamedTuple):
    """Mean and percentiles of one time over all requests, in seconds; None where no request has it."""

    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class Bounds(NamedTuple):
    """What each phase was bound by at the mean load; None: not known.

    prefill, decode: compute, memory bandwidth or network, of the mean prompt and of a step with the mean number of
    sequences. requests: what kept them from starting in most of the steps in which one could have and did not: memory,
    max_num_seqs or chunk; None: they started when they came.
    """

    prefill: str | None
    decode: str | None
    requests: str | None


class Moment(NamedTuple):
    """All replicas together at one time. The counts of hits, preemptions and answers are those since the start.

    kv_used: share of the blocks of the KV cache that requests hold; None where its size is not known.
    """

    seconds: float
    waiting: int
    running: int
    kv_used: float | None
    hit_tokens: int
    preemptions: int
    answered: int


class Simulation(NamedTuple):
    """What the requests of one run saw. Times are in seconds from the arrival of a request.

    `goodput`: the share of requests within the limits asked for; None: no limit was. `kv_tokens`: room in the cache of
    a replica; None: no bound is known. `busy_share`: of the duration in which replicas ran steps, on average.
    `cache_hit_rate`: tokens of prompts that the prefix cache held, over all of them. `host_tokens`: that came back from
    the host's memory. `recomputed_tokens`: computed once
    more after a preemption. `overloaded`: more requests arrived than were answered, so that the queue grew to the end.
    `queue_seconds`: until the first step with a piece of its prompt, without `host_seconds`, what the engine's host
    takes before a request can start. `interrupted`: not all requests were answered when the run was broken off.
    `power_share`: of its TDP that a GPU drew on average, those that waited included. `lengths`: the published requests
    that lengths were drawn as, and their source.
    """

    schema: str
    model: str
    hardware: str
    engine: str | None
    workload: Workload
    gpus: int
    replicas: int
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
    host_seconds: float
    goodput: float | None
    goodput_requests_per_s: float | None
    kv_tokens: int | None
    most_kv_tokens: int | None
    cache_hit_rate: float
    host_tokens: int
    preemptions: int
    recomputed_tokens: int
    steps: int
    busy_share: float
    limited_by: Bounds
    overloaded: bool
    interrupted: bool
    dollars_per_million_output_tokens: float | None
    joules_per_million_output_tokens: float | None
    dollars_per_million_tokens: float | None  # in and out
    joules_per_million_tokens: float | None
    power_share: float = 1
    power_basis: str = ""
    lengths: str | None = None
    timeline: tuple[Moment, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost simulate --json`."""
        spreads = {name: value._asdict() for name, value in self._asdict().items() if isinstance(value, Spread)}
        whole = (
            self._asdict()
            | spreads
            | {
                "workload": self.workload._asdict(),
                "limited_by": self.limited_by._asdict(),
            }
        )
        timeline = [moment._asdict() for moment in whole.pop("timeline")]
        return whole | ({"timeline": timeline} if timeline else {})

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
        return f"<Simulation of {counted(self.requests, 'request')}: {self.output_tokens_per_s:,.0f} tokens/s{seen}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


class Times:
    """The times of all requests so far."""

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = limits
        self.seen = {name: array("d") for name in ("ttft", "tpot", "latency", "queue")}
        self.requests = self.within = self.input = self.output = 0
        self.first, self.last, self.last_arrival = float("inf"), 0.0, 0.0

    def add(self, done: Served) -> None:
        """One more request is answered."""
        ttft, latency = done.ttft, done.latency
        self.seen["ttft"].append(ttft)
        self.seen["latency"].append(latency)
        self.seen["queue"].append(done.queue)
        tpot = 0.0
        if done.request.output > 1:
            tpot = done.tpot
            self.seen["tpot"].append(tpot)
        if self.limits:
            times = {"ttft": ttft, "tpot": tpot, "latency": latency}
            self.within += all(times[name] <= limit for name, limit in self.limits.items())
        self.requests += 1
        self.input += done.request.prompt
        self.output += done.request.output
        self.first, self.last = min(self.first, done.arrival), max(self.last, done.last)
        self.last_arrival = max(self.last_arrival, done.arrival)

    def spread(self, name: str) -> Spread:
        """Mean and percentiles of one time."""
        seen = self.seen[name]
        if not seen:
            return Spread(None, None, None, None, None)
        return Spread(fsum(seen) / len(seen), *self.below(name, [*QUANTILES.values()]))

    def below(self, name: str, shares: Sequence[float]) -> list[float]:
        """The values of one time below which these shares of the requests are; none where no request has it.

        Between two requests' values as far as the share is between theirs (numpy's default).
        """
        seen = sorted(self.seen[name])
        if not seen:
            return []
        places = [(len(seen) - 1) * share for share in shares]
        pairs = [(seen[int(place)], seen[min(int(place) + 1, len(seen) - 1)], place % 1) for place in places]
        return [low + (high - low) * inside for low, high, inside in pairs]


class Timeline:
    """Moments of a run, evenly spread over it: every second one is dropped when they are too many."""

    def __init__(self, replicas: list[Scheduler], times: Times) -> None:
        self.replicas, self.times = replicas, times
        self.moments: list[Moment] = []
        self._next, self._gap = 0.0, FIRST_GAP

    def watch(self, now: float) -> None:
        """Keep this moment, if the last one is long enough ago."""
        if now < self._next:
            return
        replicas = self.replicas
        blocks = sum(each.policy.blocks or 0 for each in replicas)
        self.moments.append(
            Moment(
                now,
                sum(len(each.waiting) for each in replicas),
                sum(each.running for each in replicas),
                sum(each.pool.used for each in replicas) / blocks if blocks else None,
                sum(each.hits for each in replicas),
                sum(each.preemptions for each in replicas),
                self.times.requests,
            )
        )
        if len(self.moments) > MOST_MOMENTS:
            self.moments = self.moments[::2]
            self._gap = (self.moments[-1].seconds - self.moments[0].seconds) / len(self.moments)
        self._next = now + self._gap

    def overloaded(self) -> bool:
        """Whether the queue grew as long as requests arrived."""
        start, end = self.times.first, self.times.last_arrival
        half = [each for each in self.moments if each.seconds <= (start + end) / 2]
        until = [each for each in self.moments if each.seconds <= end]
        if not half or until[-1].waiting < LEAST_WAITING:
            return False
        return until[-1].waiting > GROWN * half[-1].waiting and until[-1].waiting > 2 * until[-1].running / 10
