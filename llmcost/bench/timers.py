"""Seconds a call, as kernels run in a real step: inside a CUDA graph, one after the other, on a warm device.

A sample is one replay of a graph of many calls. Samples are queued without waiting in between, so that neither launches
nor the host are part of them. Where there are no graphs, a sample is many calls between two events, or between two
readings of the host's clock. Every timing names its timer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from llmcost.bench.device import Device, Reading, Sensors

Call = Callable[[], object]
SAMPLE_SECONDS = 1e-3  # that a graph takes at least: starting one costs some microseconds
MOST_CALLS = 1000  # in a graph
EAGER_CALLS = 20  # that the host starts one after the other in a sample
FEWEST, MOST = 10, 200  # samples,
FEWEST_OF_TRIAL = 5  # where ways are only compared,
LONG, FEWEST_LONG = 0.02, 5  # but fewer of what takes so many seconds
SETTLE_SECONDS = 0.15  # after which clocks and power are those of such work
FLUSH_BYTES, SPACED_CALLS = 2**28, 100  # written over the cache before each of so many calls that are timed with pauses


class Timing(NamedTuple):
    """Seconds a call: median, 5th and 95th percentile of the samples; `reading` was taken while they ran."""

    median: float
    p05: float
    p95: float
    samples: int
    timer: str
    reading: Reading


class Clock(NamedTuple):
    """Times calls on one device."""

    device: Device
    sensors: Sensors
    seconds: float  # of all samples of a case together
    trial_seconds: float  # the same, when ways are only compared
    agree: Callable[[float], float] = float  # makes one figure of those of several ranks: the slowest one's

    def time(self, calls: Sequence[Call], *, trial: bool = False, settle: bool = False) -> Timing:
        """Time some calls, which take turns; their operands should differ and together be larger than the cache.

        `trial`: roughly, to compare ways. `settle`: the calls run for a while before the first sample, and then for
        longer, until clocks and power are those of such work.
        """
        seconds, fewest = (self.trial_seconds, FEWEST_OF_TRIAL) if trial else (self.seconds, FEWEST)
        for call in calls[:2]:
            call()  # compiles, allocates, creates handles
        self.device.synchronize()
        if self.device.graphs:
            try:
                return self._graph(calls, seconds, fewest, settle=settle)
            except RuntimeError as error:
                if "captur" not in str(error):  # torch's words for what a graph cannot hold
                    raise
                self.device.synchronize()
                return self._events(calls, seconds)
        return self._host(calls, seconds)

    def eager(self, calls: Sequence[Call]) -> Timing:
        """Time calls that the host starts one by one, as outside of a graph: roughly, to compare with a graph."""
        for call in calls[:2]:
            call()
        self.device.synchronize()
        run = self._events if self.device.graphs else self._host
        return run([calls[k % len(calls)] for k in range(EAGER_CALLS)], self.trial_seconds)

    def spaced(self, calls: Sequence[Call]) -> Timing:
        """Time each call between two events of its own, after writing over the cache, as most published figures were.

        The chip rests in the pauses, and clocks higher than under such work without a break.
        """
        flush = torch.empty(max(FLUSH_BYTES, 4 * self.device.l2_bytes), dtype=torch.int8, device=self.device.kind)

        def burst() -> list[float]:
            pairs = [(_event(), _event()) for _ in range(SPACED_CALLS)]
            for number, (before, after) in enumerate(pairs):
                flush.zero_()
                before.record()
                calls[number % len(calls)]()
                after.record()
            self.device.synchronize()
            return [before.elapsed_time(after) / 1e3 for before, after in pairs]

        end = time.monotonic() + 2 * SETTLE_SECONDS
        while time.monotonic() < end:
            burst()
        return self.summary(burst(), 1, "events around each call, cache flushed between", self.sensors.read())

    def once(self, call: Call) -> float:
        """Roughly the seconds of one call, its launch included: the least of three, or one if that takes long."""

        def single() -> float:
            start = time.perf_counter()
            call()
            self.device.synchronize()
            return time.perf_counter() - start

        call()
        self.device.synchronize()
        first = self.agree(single())
        return first if first > LONG else self.agree(min(first, single(), single()))

    def _graph(self, calls: Sequence[Call], seconds: float, fewest: int, *, settle: bool) -> Timing:
        """Time replays of a graph of the calls, repeated until it is long enough."""
        if 3 * torch.cuda.memory_reserved() > torch.cuda.mem_get_info()[1]:
            torch.cuda.empty_cache()  # a graph has memory of its own
        graph, size = capture(calls), len(calls)
        once = self.agree(self._replays(graph, 3)[-1])
        if once < SAMPLE_SECONDS and size < MOST_CALLS:
            size = min(MOST_CALLS, round(size * SAMPLE_SECONDS / once) + 1)
            graph = capture([calls[k % len(calls)] for k in range(size)])
            once *= size / len(calls)
        if settle:
            self._replays(graph, _number(SETTLE_SECONDS, once))
            seconds = SETTLE_SECONDS
        samples, reading = self._queued(graph.replay, _number(seconds, once, fewest))
        return self.summary(samples, size, "graph", reading)

    def _replays(self, graph: torch.cuda.CUDAGraph, number: int) -> list[float]:
        return self._queued(graph.replay, number, read=False)[0]

    def _queued(self, run: Call, number: int, *, read: bool = True) -> tuple[list[float], Reading]:
        """Seconds of each of so many runs, queued without waiting, and a reading taken while they run."""
        events = [_event() for _ in range(number + 2)]
        events[0].record()
        for event in events[1:]:
            run()
            event.record()
        reading = self.sensors.read() if read else Reading()
        self.device.synchronize()
        times = [before.elapsed_time(after) / 1e3 for before, after in pairwise(events)]
        return times[1:], reading  # one more was run first, which began before the queue was full

    def _events(self, calls: Sequence[Call], seconds: float) -> Timing:
        """Time rounds of the calls between events, where they cannot be captured into a graph."""

        def once() -> None:
            for call in calls:
                call()

        first = self.agree(self._queued(once, 2, read=False)[0][-1])
        samples, reading = self._queued(once, _number(seconds, first))
        return self.summary(samples, len(calls), "events", reading)

    def _host(self, calls: Sequence[Call], seconds: float) -> Timing:
        """Time rounds of the calls by the host's clock, where the device has neither graphs nor events."""

        def sample(rounds: int) -> float:
            start = time.perf_counter()
            for _ in range(rounds):
                for call in calls:
                    call()
            self.device.synchronize()
            return (time.perf_counter() - start) / rounds

        first = self.agree(sample(1))
        rounds = round(SAMPLE_SECONDS / first) + 1
        samples = [sample(rounds) for _ in range(_number(seconds, first * rounds))]
        return self.summary(samples, len(calls), "perf_counter", self.sensors.read())

    def summary(self, samples: list[float], calls: int, timer: str, reading: Reading) -> Timing:
        """A timing in seconds a call, of samples that took so many calls each."""
        ordered = sorted(sample / calls for sample in samples)
        median, p05, p95 = (self.agree(quantile(ordered, share)) for share in (0.5, 0.05, 0.95))
        return Timing(median, p05, p95, len(ordered), timer, reading)


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def capture(calls: Sequence[Call]) -> torch.cuda.CUDAGraph:
    """The calls as one graph, in which a call may use memory that the one before freed, as in a real step.

    It cannot be captured on the default stream. Other threads, such as NCCL's own that looks after its collectives, go
    on meanwhile.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        for call in calls:
            call()
    return graph


def soak(device: Device, seconds: float) -> None:
    """Run matrix products for so many seconds, so that the chip is warm: a cold one is faster."""
    side = 8192 if device.kind == "cuda" else 256
    x = device.normal((side, side), "bf16" if device.kind == "cuda" else "fp32")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(20):
            x @ x
        device.synchronize()


def _number(seconds: float, each: float, fewest: int = FEWEST) -> int:
    """How many samples of `each` seconds to take in so many seconds: within bounds."""
    return max(FEWEST_LONG if each > LONG else fewest, min(MOST, round(seconds / each)))


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of sorted numbers; where it falls between two, as far between them."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
