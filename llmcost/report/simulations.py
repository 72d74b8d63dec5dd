"""What `llmcost simulate` prints of several runs: a row each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmcost.ground.units import counted, seconds, significant
from llmcost.report.tables import Table, differing
from llmcost.search.simulations import Simulations

SHOWN = {
    "ttft_seconds": ("TTFT", ("p50", "p99")),
    "tpot_seconds": ("TPOT", ("p50", "p99")),
    "latency_seconds": ("last token", ("p99",)),
}


def simulations_table(title: str, found: Simulations, *, priced: bool) -> Table:
    """What was chosen, rates, percentiles of times, and goodput where limits are given."""
    answered = [(each, each.found) for each in found.runs if each.found is not None]
    limited = any(run.goodput is not None for _, run in answered)
    engines = "engine" not in found.varied and differing(run.engine for _, run in answered)
    heads = [
        "hw",
        *["engine"] * engines,
        *(name.replace("_", " ") for name in found.varied),
        "GPUs",
        "requests/s",
        "tokens/s",
    ]
    heads += [f"{name} {share}" for name, shares in SHOWN.values() for share in shares]
    heads += ["goodput"] * limited + ["$/M tokens"] * priced
    rows = []
    for each, run in answered:
        chosen = [_told(value) for value in each.chosen.values()]
        rates = [significant(run.requests_per_s), significant(run.output_tokens_per_s)]
        row = [each.hardware, *([run.engine or ""] if engines else []), *chosen, str(run.gpus), *rates, *_times(run)]
        row += [f"{run.goodput:.0%}"] if limited and run.goodput is not None else []
        row += [_dollars(run.dollars_per_million_output_tokens)] * priced
        rows.append(tuple(row))
    return Table(title, tuple(heads), "l" + "r" * (len(heads) - 1), rows, tuple(_notes(found)))


def _times(run: Any) -> Iterator[str]:
    for name, (_, shares) in SHOWN.items():
        for share in shares:
            value = getattr(getattr(run, name), share)
            yield "–" if value is None else seconds(value)


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dollars(amount: float | None) -> str:
    return "–" if amount is None else f"{significant(amount)}"


def _notes(found: Simulations) -> Iterator[str]:
    """How many runs are overloaded, and why others have no answer."""
    overloaded = sum(each.found.overloaded for each in found.runs if each.found is not None)
    if overloaded:
        yield f"{counted(overloaded, 'run')} overloaded: more requests arrive than are answered."
    if found.interrupted:
        yield "Interrupted: the runs that were done until then."
    reasons = dict.fromkeys(each.why_not for each in found.runs if each.found is None)
    for reason in reasons:
        number = sum(each.why_not == reason for each in found.runs)
        yield f"{number:,} left out: {reason}."
