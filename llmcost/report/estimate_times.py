"""The tables of an estimate that tell times: of steps and prompts, and of a mix of requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmcost.ground.units import amount, counted
from llmcost.report.estimate_shown import (
    BINDS,
    OFF,
    Shown,
    generates,
    per_second,
    rate,
    running,
    sequences,
    timed,
    years,
)
from llmcost.report.figures import off_by
from llmcost.report.tables import Table
from llmcost.serving.options import Workload
from llmcost.serving.results import Accuracy, Estimate, Serving
from llmcost.serving.turns import SHORTEST, SPREAD
from llmcost.simulation.steady import ENDS, MEMORY, PROMPTS, SATURATION

ROUGH = {  # why a formula does not hold, beside the share of the load
    ENDS: "much of such a run is its beginning and its end",
    MEMORY: "not all in flight have room for their whole length",
    PROMPTS: "prompts take much of the time",
}


def speed_table(e: Estimate, shown: Shown) -> Table:
    """Prompts, decode, a request, and where it is asked for training, on the bases that are shown."""
    w, many = e.workload, e.workload.gpus > 1

    def row(name: str, of: Any, text: Callable[[Any], str], figure: str, error: str = "") -> tuple[str, ...]:
        found = [text(getattr(getattr(of, basis), figure)) for basis in shown.bases]
        return (name, *found, *([error] if "expected" in shown.bases else []))

    rows = [
        row("Prefill", e.prefill, rate, "tokens_per_s", off_by(e.accuracy.prefill)),
        row(f"  {w.batch * w.prompt:,} tokens", e.prefill, timed, "seconds"),
    ]
    if many:
        rows.append(row("  a GPU", e.prefill, rate, "tokens_per_s_per_gpu"))
    if generates(e):
        rows.append(row("Decode", e.decode, rate, "tokens_per_s", off_by(e.accuracy.decode)))
        rows.append(row("  one step", e.decode, timed, "seconds_per_step"))
        if many:
            rows.append(row("  a GPU", e.decode, rate, "tokens_per_s_per_gpu"))
        if w.batch > 1:
            rows.append(row("  a user", e.decode, rate, "tokens_per_s_per_user"))
    else:
        rows.insert(0, row("Whole batch", e.prefill, sequences, "sequences_per_s"))
        rows[1] = ("  tokens", *rows[1][1:])
    if e.request:
        rows += [
            row(f"{_requests(w)}: {w.prompt:,} tokens in, {w.output:,} out", e.request, timed, "latency_seconds"),
            row("  first token (TTFT)", e.request, timed, "ttft_seconds"),
            row("  each other token (TPOT)", e.request, timed, "tpot_seconds"),
            row("  output", e.request, rate, "output_tokens_per_s"),
        ]
    if shown.training:
        length = f"  {amount(w.tokens, 2).replace(' ', '')} tokens"
        rows.append(
            row("Training" + " on one GPU" * many, e.training, rate, "tokens_per_s", off_by(e.accuracy.training))
        )
        rows.append(row(length, e.training, years, "gpu_years"))
    columns = ("", *shown.bases, *([OFF] if "expected" in shown.bases else []))
    apart = f"{_batch(w)}, whatever the load (which stands above):" if e.serving else ""
    return Table(apart, columns, "l" + "r" * (len(columns) - 1), rows, last=("expected", OFF))


def _requests(w: Workload) -> str:
    return f"{w.batch:,} requests at once" if w.batch > 1 else "A request"


def _batch(w: Workload) -> str:
    """The batch that passes are of, apart from any mix of requests."""
    return f"One prompt pass and one decode step at batch {w.batch:,}"


def _filled(row: tuple[str, ...], columns: int) -> tuple[str, ...]:
    return row + ("",) * (columns - len(row))


def serving_table(w: Workload, s: Serving, accuracy: Accuracy, run: str = "") -> Table:
    """A mix of requests: how many run at a time and why no more, rates, and expected times of one among them.

    `run`: the command that simulates it.
    """
    limit, expected = s.limit, s.expected
    why = f", {BINDS[s.limited_by]}" if s.limited_by else ""
    room = f"; the cache has room for {s.max_concurrency:,}"
    room *= s.max_concurrency is not None and s.limited_by != "memory"
    asked = f"Continuous batching{_guessed(w)}"
    told = "how many run at a time is not known" if s.running is None else f"{running(s)} run at a time{why}"
    title = f"{asked}: {told}{room}."
    bases = (limit, expected)
    rows: list[tuple[str, ...]] = [
        ("Requests", *(per_second(basis.requests_per_s, "requests") for basis in bases)),
        ("Output", *(rate(basis.output_tokens_per_s) for basis in bases), off_by(accuracy.throughput)),
        ("  with prompts", *(rate(basis.total_tokens_per_s) for basis in bases)),
    ]
    if w.all_gpus() > 1:
        rows.append(("  a GPU", *(rate(basis.output_tokens_per_s_per_gpu) for basis in bases)))
    rows += [
        ("First token (TTFT)", "", timed(expected.ttft_seconds), off_by(accuracy.ttft)),
        *_of_pools(s),
        ("  each other token (TPOT)", "", timed(expected.tpot_seconds), off_by(accuracy.tpot)),
        ("  last token", "", timed(expected.latency_seconds)),
    ]
    columns = ("", "limit", "expected", OFF)
    table = [_filled(row, len(columns)) for row in rows]
    return Table(title, columns, "lrrr", table, (*_lengths(w, s), *_simulated(s, run)))


def _lengths(w: Workload, s: Serving) -> tuple[str, ...]:
    """How lengths differ of which only the means were told; nothing where they do not, or a formula leaves it out."""
    told = w.range_ratio is not None or (s.simulated and s.simulated.range_ratio == 1)
    loop = w.rate is None and w.requests is None
    if told or not (loop or (s.simulated and s.simulated.requests)):
        return ()
    least, most = SHORTEST / (1 - SPREAD.value / 2), 1 / (1 - SPREAD.value / 2)
    return (f"Lengths differ: {least:.0%} to {most:.0%} of these means, in and out (all alike: --range-ratio 1).",)


def _simulated(s: Serving, run: str) -> tuple[str, ...]:
    """Of which run expected times are, where the formula does not hold, or that they are the formula's all the same."""
    if s.simulated is None:
        return ()
    arriving = f"{s.load_share or 0:.0%} of what is answered at most arrives"
    why = {SATURATION: arriving, **ROUGH}[s.simulated.because]
    if s.simulated.requests is None:
        every = (f"Every request runs in: {run}",) if run else ()
        return (f"Expected by a formula that is rough here ({why}).", *every)
    percentiles = (f"Other percentiles: {run}",) if run else ()
    return (
        f"Expected: {s.simulated.requests:,} requests simulated, as a formula is rough here ({why}).",
        f"Half of them have their first token within {timed(s.simulated.ttft_p50_seconds)}.",
        *percentiles,
    )


def _of_pools(s: Serving) -> list[tuple[str, ...]]:
    """Where prompts run apart: how long they and the way of their keys and values take, and how busy those GPUs are."""
    if s.pools is None:
        return []
    return [
        ("  of which the prompt", "", timed(s.pools.prompt_seconds)),
        ("  its keys and values", "", timed(s.pools.sent_seconds)),
        ("  GPUs for prompts, busy", "", f"{s.pools.prefill.busy_share:.0%}"),
    ]


def _guessed(w: Workload) -> str:
    """What requests need not compute, and what is guessed of them, in words."""
    parts = []
    if w.prefix_hit is not None:
        parts.append(f"{w.prefix_hit:.0%} of each prompt in the cache")
    if w.speculate:
        of = {"mtp": "by a layer of the model's own", "ngram": "from the text"}.get(w.draft, f"by {w.draft}")
        parts.append(f"{counted(w.speculate, 'token')} guessed {of}, each right in {w.accept:.0%} of cases")
    return "".join(f", {part}" for part in parts)
