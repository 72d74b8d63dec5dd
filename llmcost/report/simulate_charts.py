"""What `llmcost simulate --plot` draws: requests and cache over time, and how the times of requests are distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmcost.ground.units import counted, significant
from llmcost.report.charts import Line, Panel
from llmcost.search.simulations import TIMES, Simulations
from llmcost.simulation.results import Simulation

SHARES = tuple(place / 100 for place in range(1, 100))
LOADS = ("rate", "concurrency")  # what lines join
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "latency": "last token"}


def simulation_panels(s: Simulation, spread: Mapping[str, Sequence[float]]) -> list[Panel]:
    """Charts of one run. `spread`: seconds below which each of SHARES of the requests are, by the name of the time."""
    seconds = [moment.seconds for moment in s.timeline]
    requests = [
        Line(name, number, seconds, [getattr(moment, name) for moment in s.timeline], marker="")
        for number, name in enumerate(("waiting", "running"))
    ]
    panels = [
        Panel("Requests over time", "seconds", "requests", requests, log=(False, False), note="of all replicas"),
    ]
    if s.kv_tokens is not None:
        used = [100 * (moment.kv_used or 0) for moment in s.timeline]
        line = Line("KV cache in use", 2, seconds, used, marker="")
        note = f"{counted(s.preemptions, 'preemption')}, {s.cache_hit_rate:.0%} of prompt tokens hit"
        panels.append(Panel("KV cache over time", "seconds", "% of its blocks", [line], log=(False, False), note=note))
    lines = [
        Line(NAMES[name], 3 + number, seconds_below, [100 * share for share in SHARES], marker="")
        for number, (name, seconds_below) in enumerate(spread.items())
        if seconds_below and seconds_below[0] > 0
    ]
    note = f"{significant(s.requests_per_s)} requests/s, {significant(s.output_tokens_per_s)} output tokens/s"
    return [*panels, Panel("How long requests take", "seconds", "% of requests", lines, log=(True, False), note=note)]


def simulations_panels(found: Simulations) -> list[Panel]:
    """Throughput against the 99th percentile of each time: a point a run, a line from load to load."""
    lines: dict[str, list[Simulation]] = {}
    for each in found.runs:
        if each.found is not None:
            chosen = [f"{name.replace('_', ' ')} {value}" for name, value in each.chosen.items() if name not in LOADS]
            lines.setdefault(", ".join([each.hardware, *chosen]), []).append(each.found)
    panels = []
    for name in TIMES:
        drawn = []
        for number, (label, runs) in enumerate(lines.items()):
            seen = [(p99, run.output_tokens_per_s) for run in runs if (p99 := getattr(run, name).p99)]
            drawn.append(Line(label, number, [p99 for p99, _ in seen], [rate for _, rate in seen]))
        title = f"Throughput against {NAMES[name.removesuffix('_seconds')]}"
        panels.append(Panel(title, "seconds, p99", "output tokens/s", drawn, log=(True, False)))
    return panels
