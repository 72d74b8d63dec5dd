"""A simulation as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open.

The format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsNchNAySU.
"""

from __future__ import annotations

import json
from typing import Any, TextIO

from llmcost.simulation.cluster import Unit
from llmcost.simulation.policy import Mix, Served
from llmcost.simulation.scheduler import Scheduler

NANOSECONDS, OF_MICROSECOND = 10**9, 1000  # what Perfetto keeps; times are written in microseconds


class ChromeTrace:
    """Writes events as they come: every step of a replica, its queue and cache, and every request in its phases."""

    def __init__(self, file: TextIO, units: list[Unit]) -> None:
        self.file, self._before = file, "["
        for unit in units:
            unit.record = self.step
            for rank in unit.ranks:
                self._write(name="process_name", ph="M", pid=rank.number, args={"name": f"replica {rank.number}"})

    def step(self, rank: Scheduler, mix: Mix, seconds: float) -> None:
        """One step of a replica, and what waits and runs as it begins."""
        start, end = _written(rank.now), _written(rank.now + seconds)
        prompt_tokens = round(mix.prompts * mix.tokens)
        names = [f"decode {mix.decoding}"] * bool(mix.decoding) + [f"prompts {prompt_tokens}"] * bool(prompt_tokens)
        self._write(
            name=" + ".join(names),
            ph="X",
            pid=rank.number,
            tid=0,
            ts=start,
            dur=round(end - start, 3),
            args={"decoding": mix.decoding, "context": mix.context, "prompts": mix.prompts, "tokens": prompt_tokens},
        )
        counts = {"waiting": len(rank.waiting), "running": rank.running}
        self._write(name="requests", ph="C", pid=rank.number, ts=start, args=counts)
        if rank.policy.blocks:
            self._write(name="KV blocks", ph="C", pid=rank.number, ts=start, args={"used": rank.pool.used})

    def request(self, done: Served) -> None:
        """The phases of a request that is answered."""
        ready = done.arrival + done.host
        on_the_host = {"host": (done.arrival, ready)} if done.host else {}
        phases = on_the_host | {
            "queue": (ready, done.scheduled),
            "prompt": (done.scheduled, done.first),
            "decode": (done.first, done.last),
        }
        of = {"cat": "request", "id": done.order, "pid": done.replica}
        told = {"input_tokens": done.request.prompt, "output_tokens": done.request.output, "cached": done.cached}
        for name, (begin, end) in phases.items():
            self._write(name=name, ph="b", ts=_written(begin), **of, args=told)
            self._write(name=name, ph="e", ts=_written(end), **of)

    def close(self) -> None:
        """Finish the document."""
        self.file.write("\n]\n")

    def _write(self, **event: Any) -> None:
        self.file.write(f"{self._before}\n{json.dumps(event)}")
        self._before = ","


def _written(seconds: float) -> float:
    """A time in microseconds, in whole nanoseconds: steps that follow each other must not overlap by a rounding."""
    return round(seconds * NANOSECONDS) / OF_MICROSECOND
