"""What `llmcost simulate` prints: a table of percentiles, and a row a request as CSV."""

from __future__ import annotations

from collections.abc import Mapping

from llmcost.ground.units import counted, significant
from llmcost.ground.units import seconds as in_words
from llmcost.report.figures import of_tdp
from llmcost.report.tables import Table, under
from llmcost.simulation.policy import Served
from llmcost.simulation.results import Bounds, Simulation

REQUEST_COLUMNS = (
    *("input_tokens", "output_tokens", "arrival_s", "scheduled_s", "first_token_s", "last_token_s"),
    *("ttft_seconds", "tpot_seconds", "latency_seconds", "cached_tokens", "replica"),
)
NAMES = {
    "ttft": "first token (TTFT)",
    "tpot": "each other token (TPOT)",
    "latency": "last token",
    "queue": "of which in the queue",
}


HELD = {
    "memory": "the cache has no room",
    "max_num_seqs": "the most that run at a time (--max-num-seqs)",
    "chunk": "the tokens of a step (--chunk)",
}


def request_row(done: Served) -> tuple[float, ...]:
    """One request as a row of CSV, in seconds."""
    times = (done.arrival, done.scheduled, done.first, done.last, done.ttft, done.tpot, done.latency)
    return (done.request.prompt, done.request.output, *times, done.cached, done.replica)


def simulation_tables(
    model: str, hardware: str, s: Simulation, limits: Mapping[str, float], engine: tuple[str, ...] = ()
) -> list[Table]:
    """Percentiles of each time, and what the run was; `engine`: what is said of one that nobody named."""
    heads = ("", "mean", "p50", "p90", "p95", "p99")
    rows = []
    for each in s.rows():
        times = [each[name] for name in ("mean", "p50", "p90", "p95", "p99")]
        rows.append((NAMES[each["time"]], *("–" if time is None else in_words(time) for time in times)))
    on = f"{s.gpus} × {hardware}" if s.gpus > 1 else hardware
    title = f"{model} on {on}{under(s.engine)}: what requests see"
    return [Table(title, heads, "lrrrrr", rows, (*_notes(s, limits), *engine))]


def _notes(s: Simulation, limits: Mapping[str, float]) -> list[str]:
    tokens = f"{s.input_tokens:,} tokens in and {s.output_tokens:,} out"
    rates = f"{significant(s.requests_per_s)} requests/s, {significant(s.output_tokens_per_s)} output tokens/s"
    on = f" on {s.replicas} replicas" if s.replicas > 1 else ""
    notes = [
        f"{counted(s.requests, 'request')}, {tokens}, in {in_words(s.duration_seconds)}: {rates}.",
        f"{counted(s.steps, 'step')}{on}, busy {s.busy_share:.0%} of the time.",
    ]
    if s.lengths is not None:
        notes.append(f"Lengths are drawn as those of {s.lengths}.")
    if phases := _phases(s.limited_by):
        notes.append(f"Binds: {'; '.join(phases)}.")
    if s.host_seconds:
        notes.insert(
            0, f"First token and latency include {in_words(s.host_seconds)} on the engine's host, the queue not."
        )
    if s.overloaded:
        notes.append("Overloaded: more requests arrive than are answered, and the queue grows until they end.")
    if s.interrupted:
        notes.append("Interrupted: of the requests that were answered until then.")
    if s.kv_tokens is not None:
        each = " of a replica" if s.replicas > 1 else ""
        notes.append(
            f"KV cache{each}: room for {s.kv_tokens:,} tokens, {s.most_kv_tokens:,} in use at most; "
            f"{counted(s.preemptions, 'preemption')}."
        )
    if s.cache_hit_rate:
        back = f"; {s.host_tokens:,} tokens came back from the host's memory" if s.host_tokens else ""
        notes.append(f"Prefix cache: {s.cache_hit_rate:.1%} of the prompts' tokens were found in it{back}.")
    elif s.host_tokens:
        notes.append(f"{s.host_tokens:,} tokens came back from the host's memory after preemptions.")
    if s.goodput is not None:
        told = ", ".join(f"{name.upper() if name != 'latency' else name} {in_words(x)}" for name, x in limits.items())
        rate = significant(s.goodput_requests_per_s or 0)
        notes.append(f"Goodput: {s.goodput:.1%} of the requests are within {told}; {rate} requests/s.")
    return [*notes, *_spent(s)]


def _spent(s: Simulation) -> list[str]:
    """What tokens cost, as far as it is known."""
    both = _cost(s.dollars_per_million_tokens, s.joules_per_million_tokens)
    output = _cost(s.dollars_per_million_output_tokens, s.joules_per_million_output_tokens)
    told = f"A million output tokens, with their prompts: {output}; a million in and out: {both}."
    return [told, f"MJ: megajoules {of_tdp(s.power_basis, s.power_share)}."] if both else []


def _phases(by: Bounds) -> list[str]:
    """What each phase was bound by, as far as it is known."""
    told = {"prefill": by.prefill, "decode": by.decode, "requests that wait": by.requests and HELD[by.requests]}
    return [f"{name}, {why}" for name, why in told.items() if why]


def _cost(dollars: float | None, joules: float | None) -> str:
    """Money and energy of a million tokens, as far as they are known."""
    told = [] if dollars is None else [f"${significant(dollars)}"]
    return ", ".join(told + ([] if joules is None else [f"{significant(joules / 1e6)} MJ"]))
