"""The page that `llmcost estimate` prints."""

from __future__ import annotations

from typing import Any

from llmcost.formulas.quantities import QUANTITIES
from llmcost.ground.units import amount, counted, scaled, seconds, significant
from llmcost.model.spec import ModelSpec
from llmcost.report.estimate_basis import bases_of, lacking, notes_of
from llmcost.report.estimate_counts import count_rows, memory_rows, offload_rows, traffic_rows
from llmcost.report.estimate_shown import BINDS, Shown, arrivals, generates, per_second, rate, running, timed
from llmcost.report.estimate_times import serving_table, speed_table
from llmcost.report.figures import UNKNOWN, degrees_of, of_tdp
from llmcost.report.tables import Alarm, Table, under
from llmcost.search.prices import Cost
from llmcost.serving.options import DEGREES, Workload
from llmcost.serving.results import Estimate, Offloaded, Pool, leaves

NO_GPU = "Times and fit need a GPU: --hw rtx4090 (llmcost hardware lists them)."
LIMITED_BY = {"capacity": "the size of the memory, which is too small"}


def estimate_tables(model: ModelSpec, e: Estimate, shown: Shown = Shown()) -> list[Table]:  # noqa: B008
    """The answer in a few lines; then times, memory and counts, and what these rest on."""
    answer = Table(_title(model, e), ("", ""), "ll", _verdict(model, e, shown))
    rows = [
        *memory_rows(e),
        *offload_rows(e.offload, e.workload),
        *traffic_rows(e, model),
        *count_rows(model, e, shown),
    ]
    counts = [Table("", ("", "", ""), "lrl", rows)]
    if e.hardware is None:
        return [answer, *counts, Table("", ("",), "l", (), (NO_GPU,))]
    mix = [serving_table(e.workload, e.serving, e.accuracy, shown.run)] if e.serving else []
    notes = (*notes_of(e, shown), *bases_of(e, shown))
    return [answer, *mix, speed_table(e, shown), *counts, Table("", ("",), "l", (), notes)]


def _title(model: ModelSpec, e: Estimate) -> str:
    """What was asked: the model, where, under which engine, in which data types, how much at a time."""
    w = e.workload
    place = f" on {e.hardware.title}" if e.hardware else ""
    dtypes = w.dtype
    if not model.generates and w.dtype != w.weight_dtype:
        dtypes = f"{w.dtype}, weights {w.weight_dtype}"
    elif model.generates and not w.dtype == w.weight_dtype == w.kv_dtype:
        dtypes = f"{w.dtype}, weights {w.weight_dtype}, KV cache {w.kv_dtype}"
    load = f"batch {w.batch:,}, context {w.context:,}"
    if e.serving is not None:
        load = f"{arrivals(w)}, {w.prompt:,} tokens in and {w.output:,} out"
    on = _gpus(w)
    if e.serving is not None and e.serving.pools is not None:
        on = f"{_pool(e.serving.pools.prefill)} for prompts, {_pool(e.serving.pools.decode)} for decode, "
    return f"{model.title}{place}{under(w.engine)}: {dtypes}, {on}{load}"


def _verdict(model: ModelSpec, e: Estimate, shown: Shown) -> list[tuple[str, str]]:
    """Whether it fits, and what would; how fast it is; what binds. Without a GPU, what it weighs."""
    m = e.memory
    if e.hardware is None:
        cache = f"; KV cache {scaled(m.kv_cache_bytes, 'B')}" * generates(e)
        return [("Weighs", f"{amount(e.model.params.total)} parameters, {scaled(m.weights_bytes, 'B')}{cache}")]
    fits = [("Fits", _fit(model, e))] if m.fits else [(Alarm("DOES NOT FIT"), Alarm(_misfit(e)))]
    would = [
        ("Would fit" if not number else "or", f"{what}: {how}") for number, (what, how) in enumerate(shown.remedies)
    ]
    cost = [("Cost", _cost(shown.cost))] if shown.cost is not None and m.fits else []
    if e.prefill.limited_by is None:
        missing = f"{lacking(e, e.hardware)} is not known from any source: neither is what depends on it."
        return [*fits, *would, ("Not known", missing), *cost]
    speed = ("Speed", _speed(e, shown.bases[-1]))
    return [*fits, *would, *_overload(e, shown), speed, *cost, ("Binds", _binds(e))]


def _overload(e: Estimate, shown: Shown) -> list[tuple[str, str]]:
    """A row where more requests arrive than are answered."""
    s, rate = e.serving, e.workload.rate
    if s is None or rate is None or s.limited_by in (None, "rate", "requests"):
        return []
    answered = per_second(s.expected.requests_per_s, "requests")
    ran = None if s.simulated is None else s.simulated.requests
    told = f"{rate:g} requests/s arrive, {answered} are answered: more and more wait"
    here = "; TTFT here is without that wait" if ran is None else f"; TTFT here is of the first {ran:,} requests"
    of_the_load = shown.bases[-1] == "expected"  # the last basis, of which the TTFT below is
    return [(Alarm("OVERLOADED"), Alarm(f"{told}{here * of_the_load}"))]


def _fit(model: ModelSpec, e: Estimate) -> str:
    m = e.memory
    usable = scaled(m.usable_bytes, "B") + " a GPU" * (e.workload.gpus > 1)
    if e.serving is not None and e.serving.max_concurrency is not None:
        weights = f"{scaled(m.weights_bytes, 'B')} of weights in {usable}"
        return f"{weights}; room for {e.serving.max_concurrency:,} requests at a time{_at_length(e.workload)}"
    used = f"{scaled(m.used_bytes, 'B')} used of {usable}"
    at_most = ", its maximum" if m.max_context == model.max_position_embeddings else ""
    return f"{used}; up to batch {m.max_batch:,} at this context, up to {m.max_context:,} tokens at this batch{at_most}"


def _at_length(w: Workload) -> str:
    """At which length requests of a mix are counted."""
    return "" if w.reserve_output else ", each half answered"


def _misfit(e: Estimate) -> str:
    m, a_gpu = e.memory, " a GPU" * (e.workload.gpus > 1)
    needs = f"{scaled(m.used_bytes, 'B')} needed{a_gpu}, {scaled(m.usable_bytes - m.set_aside_bytes, 'B')} usable"
    return f"{needs}. Speeds are as if there were enough"


def _speed(e: Estimate, basis: str) -> str:
    """TTFT and TPOT at the load that was asked for, tokens a second, on one basis."""
    w = e.workload
    if e.serving is not None and basis == "expected":
        s = e.serving.expected
        ttft = "" if s.ttft_seconds is None and s.tpot_seconds is not None else f"TTFT {timed(s.ttft_seconds)}, "
        rates = f"{rate(s.output_tokens_per_s)} out, {per_second(s.requests_per_s, 'requests')}"
        how = ", simulated" if e.serving.simulated is not None and e.serving.simulated.requests else ""
        at_a_time = "" if e.serving.running is None else f", with {running(e.serving)} running"
        return f"{ttft}TPOT {timed(s.tpot_seconds)}{how}; {rates}{at_a_time}"
    prefill, decode = getattr(e.prefill, basis), getattr(e.decode, basis)
    told = "" if basis == "expected" else f", {basis}"
    told += f" at batch {w.batch:,}, whatever the load" * (e.serving is not None)
    if not generates(e):
        return f"the batch in {timed(prefill.seconds)}, {per_second(prefill.sequences_per_s, 'sequences')}{told}"
    if e.request is not None:
        r = getattr(e.request, basis)
        whole = f"{w.output:,} tokens in {timed(r.latency_seconds)}, {rate(r.output_tokens_per_s)}"
        return f"TTFT {timed(r.ttft_seconds)}, TPOT {timed(r.tpot_seconds)}; {whole}{told}"
    times = f"TTFT {timed(prefill.seconds)}, TPOT {timed(decode.seconds_per_step)}"
    return f"{times}; {rate(decode.tokens_per_s)}{told}"


def _cost(c: Cost) -> str:
    """Dollars and joules of a million tokens: of those that bear them all, and of prompts or of all where known."""
    prompts = _spent(c.dollars_per_million_prompt_tokens, c.joules_per_million_prompt_tokens)
    output = _spent(c.dollars_per_million_output_tokens, c.joules_per_million_output_tokens)
    both = _spent(c.dollars_per_million_tokens, c.joules_per_million_tokens)
    told = {"of prompts": prompts, "of output": output, "in and out": both}
    rates = ", ".join(f"{text} {of}" for of, text in told.items() if text)
    inputs = _spent(c.dollars_per_million_input_tokens_of_mix, c.joules_per_million_input_tokens_of_mix)
    outputs = _spent(c.dollars_per_million_output_tokens_of_mix, c.joules_per_million_output_tokens_of_mix)
    if inputs:
        rates += f"; by their time {inputs} of input, {outputs} of output"
    hour = "" if c.price_per_gpu_hour is None else f" at ${significant(c.price_per_gpu_hour)} a GPU-hour"
    known = c.joules_per_million_output_tokens is not None
    power = f"; joules {of_tdp(c.power_basis, c.power_share)}" if known else ""
    return f"a million tokens: {rates or UNKNOWN}{hour}{power}"


def _spent(dollars: float | None, joules: float | None) -> str:
    """Money and energy, as far as they are known."""
    told = [] if dollars is None else [f"${significant(dollars)}"]
    return " and ".join(told + ([] if joules is None else [scaled(joules, "J").replace("KJ", "kJ")]))


def _binds(e: Estimate) -> str:
    if not generates(e):
        return str(e.prefill.limited_by)
    requests = e.serving and e.serving.limited_by and f"; requests, {BINDS[e.serving.limited_by]}"
    prefill, decode = e.prefill.limited_by, LIMITED_BY.get(e.decode.limited_by or "", e.decode.limited_by)
    if e.offload is not None:
        o = e.offload
        prefill = _over_the_link(o, o.sent_bytes_of_prefill, e.prefill.expected.seconds) or prefill
        decode = _over_the_link(o, o.sent_bytes_per_step, e.decode.expected.seconds_per_step) or decode
    return f"prefill, {prefill}; decode, {decode}{requests or ''}"


def _over_the_link(o: Offloaded, sent: float | None, expected: float | None) -> str:
    """That copies from the host bind, where they take most of the expected time, which no limit counts."""
    if sent is None or expected is None or sent / o.link_bytes_per_s < expected / 2:
        return ""
    return f"PCIe ({seconds(sent / o.link_bytes_per_s)} of copies from the host)"


def _gpus(w: Workload) -> str:
    degrees = degrees_of(w, DEGREES)
    return f"{w.gpus:,} GPUs ({degrees}), " if degrees else ""


def _pool(pool: Pool) -> str:
    """The GPUs of a pool, and their replicas in brackets; nothing for one GPU."""
    degrees = degrees_of(pool, DEGREES) or "tp 1"
    told = degrees if pool.replicas == 1 else f"{pool.replicas:,} × {degrees}"
    return counted(pool.gpus, "GPU") + (f" ({told})" if pool.gpus > 1 else "")


def estimate_rows(e: Estimate, cost: Cost | None = None) -> list[tuple[str, Any, str]]:
    """Every figure as (path, value, unit), for CSV; with what tokens cost, where that is asked."""
    rows = []
    for path, value in leaves(e):
        unit = QUANTITIES[path].unit if path in QUANTITIES else ""
        rows.append((path, int(value) if isinstance(value, float) and value.is_integer() else value, unit))
    for path, value in () if cost is None else leaves(cost, "cost."):
        unit = "J" if "joules" in path else "" if "power" in path else "$"
        rows.append((path, value, unit))
    return [*rows, ("textbook_beyond_limit", e.beyond_limit(), "")]
