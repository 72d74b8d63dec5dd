"""What it costs to start a kernel, apart from what the kernel takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from llmcost.bench.cases import Bench
from llmcost.bench.timers import Timing

CALLS = 1000  # in a burst
ROUNDS = 20


def launches(bench: Bench) -> dict[str, Callable[[], Timing]]:
    """Timings of an almost empty kernel, by how it is started.

    It is a node of a graph, one of many that the host queues, or one that the host waits for.
    """
    x = bench.device.normal((32,), "fp32")

    def call() -> object:
        return x.add_(0.0)

    found = {"host, queued": lambda: _host(bench, call, CALLS), "host, waited for": lambda: _host(bench, call, 1)}
    return {"graph node": lambda: bench.clock.time([call]), **found} if bench.device.graphs else found


def _host(bench: Bench, call: Callable[[], object], calls: int) -> Timing:
    """Seconds a call on the host's clock, where the host waits after so many calls."""
    call()
    bench.device.synchronize()
    samples = []
    for _ in range(ROUNDS * (1 if calls > 1 else 10)):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        bench.device.synchronize()
        samples.append(time.perf_counter() - start)
    return bench.clock.summary(samples, calls, "perf_counter", bench.clock.sensors.read())
