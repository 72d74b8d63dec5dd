"""What an estimate shows, and how it says rates, times and what binds."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.units import counted, seconds, significant
from llmcost.report.figures import UNKNOWN
from llmcost.search.prices import Cost
from llmcost.serving.options import Workload
from llmcost.serving.results import Estimate, Serving

BINDS = {  # what keeps the number of running requests where it is
    "memory": "the cache has no room for more",
    "chunk": "more would not fit into a chunk (--chunk)",
    "max_num_seqs": "the most that run at a time (--max-num-seqs)",
    "concurrency": "all that may (--concurrency)",
    "requests": "all that there are (--requests)",
    "rate": "as many as arrive meanwhile (--rate)",
    "prefill": "as many as prompts are computed for (--prefill-gpus)",
}
OFF = "off by"  # heading of the mean errors of expected figures


class Shown(NamedTuple):
    """What the page of an estimate shows.

    `bases`: the columns of its times, the last of which the answer above them is on. `training`: rows of training.
    `remedies`: what would make the model fit, each with the command that asks for it. `cost`: of tokens. `run`: the
    command that runs the mix request by request; "" where none runs the same. `engine`: what is said of one that nobody
    named.
    """

    bases: tuple[str, ...] = ("limit", "expected")
    training: bool = False
    remedies: tuple[tuple[str, str], ...] = ()
    cost: Cost | None = None
    run: str = ""
    engine: tuple[str, ...] = ()


def generates(e: Estimate) -> bool:
    """Whether the model gives tokens one by one: if not, it has neither a cache nor decode."""
    return e.traffic.decode.total_bytes is not None


def running(s: Serving) -> str:
    """Requests that run at a time, on average."""
    if s.running is None:
        return UNKNOWN
    return significant(s.running) if s.running < 1 else f"{s.running:,.0f}"


def rate(tokens_per_s: float | None) -> str:
    """Tokens a second."""
    return per_second(tokens_per_s, "tokens")


def sequences(sequences_per_s: float | None) -> str:
    """Sequences a second."""
    return per_second(sequences_per_s, "sequences")


def per_second(value: float | None, what: str) -> str:
    """So many of something a second; in words where it is not known."""
    return UNKNOWN if value is None else f"{significant(value)} {what}/s"


def timed(value: float | None) -> str:
    """Seconds; in words where they are not known."""
    return UNKNOWN if value is None else seconds(value)


def years(value: float | None) -> str:
    """GPU-years; in words where they are not known."""
    return UNKNOWN if value is None else f"{significant(value)} GPU-years"


def arrivals(w: Workload) -> str:
    """How the requests of a mix come, in words."""
    parts = []
    if w.rate is not None:
        parts.append(f"{w.rate:g} requests a second arrive" if w.rate != 1 else "1 request a second arrives")
    if w.requests is not None:
        parts.append(f"{w.requests:,} in all" if parts else f"{counted(w.requests, 'request')}, all there at once")
    if w.concurrency is not None:
        parts.append(
            f"at most {w.concurrency:,} at a time" if parts else f"{counted(w.concurrency, 'request')} in flight"
        )
    return ", ".join(parts)
