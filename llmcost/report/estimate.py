"""The page that `llmcost estimate` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llmcost.formulas.quantities import QUANTITIES
from llmcost.ground.units import amount, counted, scaled, seconds, significant
from llmcost.machine.defaults import BASIS
from llmcost.machine.efficiency import OWN_RUNS
from llmcost.model.formats import FORMATS
from llmcost.model.sizes import activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.report.figures import UNKNOWN, band_in_words, context_of, degrees_of, of_tdp, off_by
from llmcost.report.tables import Alarm, Table
from llmcost.search.prices import Cost
from llmcost.serving.options import DEGREES, IMAGE_SIZE, Workload
from llmcost.serving.results import NOTICED, Accuracy, Estimate, Hardware, Memory, Offloaded, Pool, Serving, leaves

NO_GPU = "Times and fit need a GPU: --hw rtx4090 (llmcost hardware lists them)."
BINDS = {  # what keeps the number of running requests where it is
    "memory": "the cache has no room for more",
    "chunk": "more would not fit into a chunk (--chunk)",
    "max_num_seqs": "the most that run at a time (--max-num-seqs)",
    "concurrency": "all that may (--concurrency)",
    "requests": "all that there are (--requests)",
    "rate": "as many as arrive meanwhile (--rate)",
    "prefill": "as many as prompts are computed for (--prefill-gpus)",
}
LIMITED_BY = {"capacity": "the size of the memory, which is too small"}
SHOWN = 0.005  # share of the cache that is pages not full and padding, from which it is said
OFF = "off by"  # heading of the mean errors of expected figures
NAMES = {"ttft": "TTFT", "tpot": "TPOT"}


class Shown(NamedTuple):
    """What the page of an estimate shows.

    `bases`: the columns of its times, the last of which the answer above them is on. `training`: rows of training.
    `remedies`: what would make the model fit, each with the command that asks for it. `cost`: of tokens.
    """

    bases: tuple[str, ...] = ("limit", "expected")
    training: bool = False
    remedies: tuple[tuple[str, str], ...] = ()
    cost: Cost | None = None


def estimate_tables(model: ModelSpec, e: Estimate, shown: Shown = Shown()) -> list[Table]:  # noqa: B008
    """The answer in a few lines; then times, memory and counts, and what these rest on."""
    answer = Table(_title(model, e), ("", ""), "ll", _verdict(model, e, shown))
    rows = [*_memory(e), *_offload(e.offload, e.workload), *_traffic(e, model), *_counts(model, e, shown)]
    counts = [Table("", ("", "", ""), "lrl", rows)]
    if e.hardware is None:
        return [answer, *counts, Table("", ("",), "l", (), (NO_GPU,))]
    mix = [_serving(e.workload, e.serving, e.accuracy)] if e.serving else []
    notes = (*_notes(e, shown), *_bases(e, shown))
    return [answer, *mix, _speeds(e, shown), *counts, Table("", ("",), "l", (), notes)]


def _title(model: ModelSpec, e: Estimate) -> str:
    """What was asked: the model, where, under which engine, in which data types, how much at a time."""
    w = e.workload
    place = f" on {e.hardware.title}" if e.hardware else ""
    dtypes = w.dtype
    if not model.generates and w.dtype != w.weight_dtype:
        dtypes = f"{w.dtype}, weights {w.weight_dtype}"
    elif model.generates and not w.dtype == w.weight_dtype == w.kv_dtype:
        dtypes = f"{w.dtype}, weights {w.weight_dtype}, KV cache {w.kv_dtype}"
    under = "" if w.engine is None else f" under {w.engine}"
    load = f"batch {w.batch:,}, context {w.context:,}"
    if e.serving is not None:
        load = f"{_arrivals(w)}, {w.prompt:,} tokens in and {w.output:,} out"
    on = _gpus(w)
    if e.serving is not None and e.serving.pools is not None:
        on = f"{_pool(e.serving.pools.prefill)} for prompts, {_pool(e.serving.pools.decode)} for decode, "
    return f"{model.title}{place}{under}: {dtypes}, {on}{load}"


# -- the answer -------------------------------------------------------------------------------------


def _verdict(model: ModelSpec, e: Estimate, shown: Shown) -> list[tuple[str, str]]:
    """Whether it fits, and what would; how fast it is; what binds. Without a GPU, what it weighs."""
    m = e.memory
    if e.hardware is None:
        cache = f"; KV cache {scaled(m.kv_cache_bytes, 'B')}" * _generates(e)
        return [("Weighs", f"{amount(e.model.params.total)} parameters, {scaled(m.weights_bytes, 'B')}{cache}")]
    fits = [("Fits", _fit(model, e))] if m.fits else [(Alarm("DOES NOT FIT"), Alarm(_misfit(e)))]
    would = [
        ("Would fit" if not number else "or", f"{what}: {how}") for number, (what, how) in enumerate(shown.remedies)
    ]
    cost = [("Cost", _cost(shown.cost))] if shown.cost is not None and m.fits else []
    if e.prefill.limited_by is None:
        missing = f"{_missing(e, e.hardware)} is not known from any source: neither is what depends on it."
        return [*fits, *would, ("Not known", missing), *cost]
    speed = ("Speed", _speed(e, shown.bases[-1]))
    return [*fits, *would, *_overload(e), speed, *cost, ("Binds", _binds(e))]


def _overload(e: Estimate) -> list[tuple[str, str]]:
    """A row where more requests arrive than are answered."""
    s, rate = e.serving, e.workload.rate
    if s is None or rate is None or s.limited_by in (None, "rate", "requests"):
        return []
    answered = _per_second(s.expected.requests_per_s, "requests")
    told = f"{rate:g} requests/s arrive, {answered} are answered: more and more wait. TTFT here is without that wait"
    return [(Alarm("OVERLOADED"), Alarm(told))]


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
        ttft = "" if s.ttft_seconds is None and s.tpot_seconds is not None else f"TTFT {_time(s.ttft_seconds)}, "
        rates = f"{_rate(s.output_tokens_per_s)} out, {_per_second(s.requests_per_s, 'requests')}"
        return f"{ttft}TPOT {_time(s.tpot_seconds)}; {rates}, with {_running(e.serving)} running"
    prefill, decode = getattr(e.prefill, basis), getattr(e.decode, basis)
    told = "" if basis == "expected" else f", {basis}"
    if not _generates(e):
        return f"the batch in {_time(prefill.seconds)}, {_per_second(prefill.sequences_per_s, 'sequences')}{told}"
    if e.request is not None:
        r = getattr(e.request, basis)
        whole = f"{w.output:,} tokens in {_time(r.latency_seconds)}, {_rate(r.output_tokens_per_s)}"
        return f"TTFT {_time(r.ttft_seconds)}, TPOT {_time(r.tpot_seconds)}; {whole}{told}"
    times = f"TTFT {_time(prefill.seconds)}, TPOT {_time(decode.seconds_per_step)}"
    return f"{times}; {_rate(decode.tokens_per_s)}{told}"


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


def _running(s: Serving) -> str:
    return significant(s.running) if s.running < 1 else f"{s.running:,.0f}"


def _binds(e: Estimate) -> str:
    if not _generates(e):
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


# -- counts and memory ------------------------------------------------------------------------------


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


def _counts(model: ModelSpec, e: Estimate, shown: Shown) -> list[tuple[str, str, str]]:
    """Rows of parameters and FLOPs: what it is, rounded with its unit, and the exact count or a remark."""
    p, f, prefill, w = e.model.params, e.flops.per_token, e.flops.prefill, e.workload
    parts = (
        ("embedding", p.embedding),
        ("attention", p.attention),
        ("MLP", p.mlp),
        ("norms", p.norm),
        ("LM head" if model.head == "lm" else "head", p.lm_head),
        *([("towers", p.towers)] if p.towers else []),
    )
    tied = "the embedding's weights" if p.lm_head == 0 and model.head == "lm" else ""
    rows = [("Parameters", amount(p.total), f"{p.total:,}")]
    if e.model.counted != "all":
        rows.append(("  counted", "", e.model.counted))
    rows += [(f"  {name}", amount(n), f"{n:,}" if n or not tied else tied) for name, n in parts]
    products = f"2 a multiply-add of matrix products; every query sees all {w.context:,} keys"
    course = shown.bases == ("textbook",)
    pairs, others = ("all", "causal ones alone") if course else ("causal", "all of them")
    whole, other = (prefill.full, prefill.causal) if course else (prefill.causal, prefill.full)
    prompts = f"{w.batch:,} × {w.prompt:,} tokens, {pairs} pairs; {scaled(other, 'FLOP')} with {others}"
    if model.encoder is not None:
        own = w.context - w.prompt + 1
        products = f"2 a multiply-add; the decoder sees {w.prompt:,} of the encoder's states and {own:,} of its tokens"
        prompts = f"{w.batch:,} × {w.prompt:,} tokens through the encoder, and the decoder's first token"
    if model.bidirectional:
        prompts = f"{w.batch:,} × {w.prompt:,} tokens, each of which sees all of its sequence"
    seen = []
    if e.encoding is not None:
        of = f"{_inputs(w)} a prompt, {e.encoding.prompt_tokens:,} of its tokens"
        seen = [("  of which towers", scaled(e.encoding.flops, "FLOP"), of)]
    return [
        *rows,
        ("FLOPs a token", scaled(f.total, "FLOP"), products),
        ("  linear layers", scaled(f.linear, "FLOP"), "attention projections and MLP"),
        ("  attention", scaled(f.attention, "FLOP"), "scores and values"),
        ("  LM head" if model.head == "lm" else "  head", scaled(f.lm_head, "FLOP"), ""),
        ("FLOPs of prefill" if model.generates else "FLOPs of the batch", scaled(whole, "FLOP"), prompts),
        *seen,
    ]


def _inputs(w: Workload) -> str:
    """What a prompt has beside text, in words."""
    images = f"{w.images:,} image{'s' * (w.images > 1)} of {w.image_size or IMAGE_SIZE} pixels" if w.images else ""
    sound = f"{w.audio:g} s of sound" if w.audio else ""
    return " and ".join(filter(None, (images, sound)))


def _memory(e: Estimate) -> list[tuple[str, str, str]]:
    m, w = e.memory, e.workload
    at_once = "prompts " + ("all at a time" if w.chunk is None else f"{w.chunk:,} tokens at a time (--chunk)")
    if not _generates(e):
        at_once = "all sequences at once"
    used, cache, of_cache = m.used_bytes, m.kv_cache_bytes, _cache(e)
    if e.serving is not None and e.serving.kv_cache_bytes is not None and m.fits is not False:
        used, cache = used - cache + e.serving.kv_cache_bytes, e.serving.kv_cache_bytes
        of_cache = f"of the {_running(e.serving)} requests that run, each half answered"
    rows = [
        ("Memory used" + " a GPU" * (w.gpus > 1), scaled(used, "B"), _capacity(m)),
        ("  weights", scaled(m.weights_bytes, "B"), _weights(w, mixed=e.model.mixed_weights)),
        ("  KV cache", scaled(cache, "B"), of_cache),
        ("  activations", scaled(m.activation_bytes, "B"), f"worst kernel, {at_once}"),
    ]
    if m.sampler_bytes is not None and m.sampler_bytes >= m.activation_bytes:
        sampled = f"the sampler, {counted(w.max_num_seqs, 'sequence')} at once (--max-num-seqs)"
        rows[-1] = ("  activations", scaled(m.activation_bytes, "B"), sampled)
    if not _generates(e):
        del rows[2]
    if m.set_aside_bytes is None:
        return rows
    runtime = context_of(e.hardware) + ", communication buffers" * (w.tp * w.pp * w.ep > 1)
    runtime += ", room for weights that are copied" * (e.offload is not None)
    aside = f"fragmentation and all else (--memory-utilization {w.memory_utilization:g})"
    return [
        *rows,
        ("  runtime", scaled(m.runtime_bytes, "B"), runtime),
        ("Memory set aside", scaled(m.set_aside_bytes, "B"), aside),
    ]


def _generates(e: Estimate) -> bool:
    """Whether the model gives tokens one by one: if not, it has neither a cache nor decode."""
    return e.traffic.decode.total_bytes is not None


def _traffic(e: Estimate, model: ModelSpec) -> list[tuple[str, str, str]]:
    t = e.traffic.decode
    if not _generates(e):
        return []
    batch = f" of batch {e.workload.batch:,}" * (e.serving is not None)
    heading = f"Traffic a decode step{batch}" + ", a GPU" * (e.workload.gpus > 1)
    routed = model.has_experts()
    of_experts = f"those that {e.workload.routing} routing touches; the limit reads those of one token" * routed
    return [
        (heading, scaled(t.total_bytes, "B"), "" if routed else "what no implementation can avoid reading"),
        ("  weights", scaled(t.weight_bytes, "B"), of_experts),
        ("  KV cache", scaled(t.kv_cache_bytes, "B"), ""),
    ]


def _cache(e: Estimate) -> str:
    tokens, kv = f"{e.workload.batch:,} × {e.workload.context:,} tokens", e.kv_cache
    if e.workload.gpus > 1:
        return f"of {scaled(kv.bytes, 'B')}, {tokens}, on all GPUs"
    beside = 1 - e.memory.kv_cache_least_bytes / e.memory.kv_cache_bytes if e.memory.kv_cache_bytes else 0
    if beside > SHOWN:
        return f"as allocated; {tokens} need {scaled(kv.bytes, 'B')}"
    if kv.bytes == e.workload.batch * e.workload.context * kv.bytes_per_token:
        return f"{tokens} of {kv.bytes_per_token:,} B"
    if kv.bytes == e.workload.batch * (e.workload.context + 1) * kv.bytes_per_token:
        return f"{tokens} and each decoder's first, of {kv.bytes_per_token:,} B"
    return f"{tokens}; one adds {kv.bytes_per_token:,.0f} B until windows are full, states do not grow"


def _offload(o: Offloaded | None, w: Workload) -> list[tuple[str, str, str]]:
    """Rows of what is in the host's memory, if anything is."""
    if o is None:
        return []
    part, _, count = w.offload.partition(":")
    layers = f"{count} layers"
    if part == "experts":
        layers = "routed experts" + (f" of {layers}" if count else "")
    room = f"of {scaled(o.usable_bytes, 'B')}: {'fits' if o.fits else 'DOES NOT FIT'}"
    rows = [
        ("In the host's memory", scaled(o.weights_bytes + o.kv_cache_bytes, "B"), room),
        ("  weights", scaled(o.weights_bytes, "B"), f"{layers} on {o.host}"),
    ]
    if o.kv_cache_bytes:
        rows.append(("  KV cache", scaled(o.kv_cache_bytes, "B"), "of the layers that are there"))
    if o.sent_bytes_of_prefill is not None:
        rows.append(("  sent in prefill", scaled(o.sent_bytes_of_prefill, "B"), "over PCIe, for all prompts"))
    if o.sent_bytes_per_step is not None:
        step = f"over PCIe; {scaled(o.read_bytes, 'B')} are read from the host's memory"
        rows.append(("  sent in a step", scaled(o.sent_bytes_per_step, "B"), step))
    return rows


def _capacity(m: Memory) -> str:
    if m.capacity_bytes is None:
        return ""
    sold = ""
    if m.usable_bytes != m.capacity_bytes:
        sold = f" that drivers report ({scaled(m.capacity_bytes, 'B')} as sold)"
    return f"of {scaled(m.usable_bytes, 'B')}{sold}: {'fits' if m.fits else 'DOES NOT FIT'}"


# -- times ------------------------------------------------------------------------------------------


def _speeds(e: Estimate, shown: Shown) -> Table:
    """Prompts, decode, a request, and where it is asked for training, on the bases that are shown."""
    w, many = e.workload, e.workload.gpus > 1

    def row(name: str, of: Any, text: Callable[[Any], str], figure: str, error: str = "") -> tuple[str, ...]:
        found = [text(getattr(getattr(of, basis), figure)) for basis in shown.bases]
        return (name, *found, *([error] if "expected" in shown.bases else []))

    rows = [
        row("Prefill", e.prefill, _rate, "tokens_per_s", off_by(e.accuracy.prefill)),
        row(f"  {w.batch * w.prompt:,} tokens", e.prefill, _time, "seconds"),
    ]
    if many:
        rows.append(row("  a GPU", e.prefill, _rate, "tokens_per_s_per_gpu"))
    if _generates(e):
        rows.append(row("Decode", e.decode, _rate, "tokens_per_s", off_by(e.accuracy.decode)))
        rows.append(row("  one step", e.decode, _time, "seconds_per_step"))
        if many:
            rows.append(row("  a GPU", e.decode, _rate, "tokens_per_s_per_gpu"))
        if w.batch > 1:
            rows.append(row("  a user", e.decode, _rate, "tokens_per_s_per_user"))
    else:
        rows.insert(0, row("Whole batch", e.prefill, _sequences, "sequences_per_s"))
        rows[1] = ("  tokens", *rows[1][1:])
    if e.request:
        rows += [
            row(f"{_requests(w)}: {w.prompt:,} tokens in, {w.output:,} out", e.request, _time, "latency_seconds"),
            row("  first token (TTFT)", e.request, _time, "ttft_seconds"),
            row("  each other token (TPOT)", e.request, _time, "tpot_seconds"),
            row("  output", e.request, _rate, "output_tokens_per_s"),
        ]
    if shown.training:
        length = f"  {amount(w.tokens, 2).replace(' ', '')} tokens"
        rows.append(
            row("Training" + " on one GPU" * many, e.training, _rate, "tokens_per_s", off_by(e.accuracy.training))
        )
        rows.append(row(length, e.training, _years, "gpu_years"))
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


def _serving(w: Workload, s: Serving, accuracy: Accuracy) -> Table:
    """A mix of requests: how many run at a time and why no more, rates, and expected times of one among them."""
    limit, expected = s.limit, s.expected
    why = f", {BINDS[s.limited_by]}" if s.limited_by else ""
    room = f"; the cache has room for {s.max_concurrency:,}"
    room *= s.max_concurrency is not None and s.limited_by != "memory"
    asked = f"Continuous batching{_guessed(w)}"
    title = f"{asked}: {_running(s)} run at a time{why}{room}."
    bases = (limit, expected)
    rows: list[tuple[str, ...]] = [
        ("Requests", *(_per_second(basis.requests_per_s, "requests") for basis in bases)),
        ("Output", *(_rate(basis.output_tokens_per_s) for basis in bases), off_by(accuracy.throughput)),
        ("  with prompts", *(_rate(basis.total_tokens_per_s) for basis in bases)),
    ]
    if w.all_gpus() > 1:
        rows.append(("  a GPU", *(_rate(basis.output_tokens_per_s_per_gpu) for basis in bases)))
    rows += [
        ("First token (TTFT)", "", _time(expected.ttft_seconds), off_by(accuracy.ttft)),
        *_of_pools(s),
        ("  each other token (TPOT)", "", _time(expected.tpot_seconds), off_by(accuracy.tpot)),
        ("  last token", "", _time(expected.latency_seconds)),
    ]
    columns = ("", "limit", "expected", OFF)
    table = [_filled(row, len(columns)) for row in rows]
    return Table(title, columns, "lrrr", table)


def _of_pools(s: Serving) -> list[tuple[str, ...]]:
    """Where prompts run apart: how long they and the way of their keys and values take, and how busy those GPUs are."""
    if s.pools is None:
        return []
    return [
        ("  of which the prompt", "", _time(s.pools.prompt_seconds)),
        ("  its keys and values", "", _time(s.pools.sent_seconds)),
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


def _arrivals(w: Workload) -> str:
    """How the requests of a mix come, in words."""
    parts = []
    if w.rate is not None:
        parts.append(f"{w.rate:g} requests a second arrive")
    if w.requests is not None:
        parts.append(f"{w.requests:,} in all" if parts else f"{counted(w.requests, 'request')}, all there at once")
    if w.concurrency is not None:
        parts.append(
            f"at most {w.concurrency:,} at a time" if parts else f"{counted(w.concurrency, 'request')} in flight"
        )
    return ", ".join(parts)


# -- what the figures rest on ----------------------------------------------------------------------


def _notes(e: Estimate, shown: Shown) -> list[str]:
    """What training would keep, where it is shown."""
    assert e.hardware is not None
    if not shown.training or e.prefill.limited_by is None:
        return []
    state = f"{scaled(e.training.state_bytes, 'B')} of weights, gradients and Adam's moments (16 bytes a parameter)"
    short = "" if e.training.state_bytes <= e.hardware.memory_bytes else ", more than one such GPU has"
    speed = "Its speed is that of a micro-batch forward and backward on one GPU; llmcost train times whole steps."
    return [
        f"Training would keep {state}{short}.",
        *([] if e.training.limit.tokens_per_s is None else [speed]),
    ]


def _missing(e: Estimate, chip: Hardware) -> str:
    if chip.bandwidth_bytes_per_s is None:
        return "The memory bandwidth of this GPU"
    if chip.peak_flops_per_s is None:
        return f"The dense {e.workload.dtype} peak of this GPU"
    return "How fast such GPUs reach each other, in a node or between nodes,"


def _bases(e: Estimate, shown: Shown) -> list[str]:
    """What the bases that are shown mean, and how far off expected figures were."""
    decode = "; decode at full bandwidth" * _generates(e)
    both_ways = e.flops.prefill.causal == e.flops.prefill.full
    pairs = "all" if both_ways else "causal"
    placed = "" if e.offload is None else "; all on the GPU"
    limit = f"limit     no implementation is faster: {pairs} pairs at peak, compulsory bytes at full bandwidth"
    textbook = f"textbook  {e.workload.mfu:.0%} of peak (--mfu) and every (query, key) pair{decode}{placed}"
    said = {
        "textbook": [textbook, *_beyond_limit(e)],
        "limit": [limit, *_held_on_chip(e)],
        "expected": [*_expected(e.decode.expected.basis), *_errors(e)],
    }
    return [line for basis in shown.bases for line in said[basis]]


def _held_on_chip(e: Estimate) -> list[str]:
    """What the limit leaves in the chip's caches, where that is all weights or more."""
    assert e.hardware is not None
    chip, floor = e.hardware, e.decode.bound.memory_seconds
    if floor is None or e.traffic.decode.total_bytes is None:
        return []
    here = e.traffic.decode.total_bytes - (e.offload.read_bytes if e.offload is not None else 0)
    if floor >= here / chip.bandwidth_bytes_per_s * (1 - NOTICED):
        return []
    return [f"          what fits the chip's caches ({scaled(chip.cache_bytes, 'B')}) is not read from memory again"]


def _beyond_limit(e: Estimate) -> list[str]:
    """Where the textbook is faster than the limit, which it may be by its definition."""
    phases = e.beyond_limit()
    if not phases:
        return []
    return [f"          faster than the limit in {' and '.join(phases)}: its rule counts FLOPs or bytes alone"]


def _expected(basis: str) -> list[str]:
    """What expected times rest on: a profile, or the defaults."""
    if basis != BASIS:
        return [f"expected  kernel by kernel, {basis}"]
    return ["expected  kernel by kernel, at the shares of peak and bandwidth that others measured of such kernels"]


def _errors(e: Estimate) -> list[str]:
    """How far off each kind of expected figure was on published runs, or that too few are known."""
    phases = ["prefill", "decode"] + ["throughput", "ttft", "tpot"] * (e.serving is not None)
    said = [f"{NAMES.get(phase, phase):12}{band_in_words(getattr(e.accuracy, phase))}" for phase in phases]
    if not _generates(e):
        said = [f"{'whole batch':12}{band_in_words(e.accuracy.prefill)}"]
    kind = e.accuracy.prefill.of
    if not kind:
        of = "by a profile of your own" if e.offload is None else "of a model that is partly on the host"
        return [f"error     {UNKNOWN}: no published run was predicted {of}"]
    if kind == OWN_RUNS:
        known = [each for each in said if UNKNOWN not in each]
        return [f"error     {kind}:", *(f"          {each}" for each in known)]
    whose = "optimised engines'" if e.workload.engine is None else f"{e.workload.engine}'s"
    return [
        f"error     {whose} published runs of {kind} that no share was fitted to:",
        *(f"          {each}" for each in said),
    ]


def _rate(tokens_per_s: float | None) -> str:
    return _per_second(tokens_per_s, "tokens")


def _sequences(sequences_per_s: float | None) -> str:
    return _per_second(sequences_per_s, "sequences")


def _per_second(value: float | None, what: str) -> str:
    return UNKNOWN if value is None else f"{significant(value)} {what}/s"


def _time(value: float | None) -> str:
    return UNKNOWN if value is None else seconds(value)


def _years(value: float | None) -> str:
    return UNKNOWN if value is None else f"{significant(value)} GPU-years"


def _weights(w: Workload, *, mixed: bool) -> str:
    """Data types of the weights: `linear layers fp8, the rest bf16`."""
    if mixed:
        return f"most linear layers {w.weight_dtype}, the others as the checkpoint has each"
    rest = activation_dtype(w.dtype)
    if w.weight_dtype == rest:
        return rest
    matrices = "all matrices" if w.weight_dtype in FORMATS and FORMATS[w.weight_dtype].everywhere else "linear layers"
    linear, _, experts = w.weight_dtype.partition("+")
    return f"{matrices} {linear}, {f'experts {experts}, ' if experts else ''}the rest {rest}"
