"""The page that `llmcost estimate` prints."""

from __future__ import annotations

from typing import Any

from llmcost.formulas.quantities import QUANTITIES
from llmcost.ground.units import amount, scaled, seconds, significant
from llmcost.machine.defaults import BASIS, ENGINE_ERROR, ENGINE_MEDIAN_ERROR, ERROR, MEDIAN_ERROR
from llmcost.model.formats import FORMATS
from llmcost.model.sizes import activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.report.tables import Table
from llmcost.serving.options import Workload
from llmcost.serving.results import Estimate, Hardware, Memory, Request, Serving, leaves

UNKNOWN = "not known"


def estimate_tables(model: ModelSpec, e: Estimate) -> list[Table]:
    """Counts, then speeds on three bases, then what they mean in words."""
    w = e.workload
    place = f" on {e.hardware.title}" if e.hardware else ""
    kinds = (
        w.dtype
        if w.dtype == w.weight_dtype == w.kv_dtype
        else f"{w.dtype}, weights {w.weight_dtype}, KV cache {w.kv_dtype}"
    )
    title = f"{model.title}{place}: {kinds}, {_gpus(w)}batch {w.batch:,}, context {w.context:,}"
    tables = [Table(title, ("", "", ""), "lrl", _counts(e))]
    if e.hardware:
        tables.append(_speeds(e))
        if e.serving:
            tables.append(_serving(w, e.serving))
        tables.append(Table("", ("",), "l", (), tuple(_verdict(model, e))))
    else:
        tables.append(
            Table("", ("",), "l", (), ("Times and fit need a GPU: --hw rtx4090 (llmcost hardware lists them).",))
        )
    return tables


def _gpus(w: Workload) -> str:
    degrees = [f"{name} {getattr(w, name)}" for name in ("tp", "pp", "dp", "ep") if getattr(w, name) > 1]
    return f"{w.gpus:,} GPUs ({', '.join(degrees)}), " if degrees else ""


def estimate_rows(e: Estimate) -> list[tuple[str, Any, str]]:
    """Every figure as (path, value, unit), for CSV."""
    rows = []
    for path, value in leaves(e):
        unit = QUANTITIES[path].unit if path in QUANTITIES else ""
        rows.append((path, int(value) if isinstance(value, float) and value.is_integer() else value, unit))
    return rows


def _counts(e: Estimate) -> list[tuple[str, str, str]]:
    p, f, w, m, t = e.model.params, e.flops.per_token, e.workload, e.memory, e.traffic.decode
    parts = (
        ("embedding", p.embedding),
        ("attention", p.attention),
        ("MLP", p.mlp),
        ("norms", p.norm),
        ("LM head", p.lm_head),
    )
    tied = "the embedding's weights" if p.lm_head == 0 else ""
    rows = [("Parameters", amount(p.total), f"{p.total:,}")]
    rows += [(f"  {name}", amount(n), f"{n:,}" if n or not tied else tied) for name, n in parts]
    rows += [
        (
            "FLOPs a token",
            scaled(f.total, "FLOP"),
            f"2 a multiply-add of matrix products; every query sees all {w.context:,} keys",
        ),
        ("  linear layers", scaled(f.linear, "FLOP"), "attention projections and MLP"),
        ("  attention", scaled(f.attention, "FLOP"), "scores and values"),
        ("  LM head", scaled(f.lm_head, "FLOP"), ""),
        (
            "FLOPs of prefill",
            scaled(e.flops.prefill.causal, "FLOP"),
            f"{w.batch:,} × {w.prompt:,} tokens, causal pairs only; {scaled(e.flops.prefill.full, 'FLOP')} with all pairs",
        ),
        ("Memory" + " a GPU" * (w.gpus > 1), scaled(m.total_bytes, "B"), _capacity(m)),
        (
            "  weights",
            scaled(m.weights_bytes, "B"),
            _weights(w),
        ),
        ("  KV cache", scaled(m.kv_cache_bytes, "B"), _cache(e)),
        ("  activations", scaled(m.activation_bytes, "B"), f"at the worst kernel, prompts {_at_once(w)} at a time"),
    ]
    if m.overhead_bytes is not None:
        aside = f"fragmentation and all else (--memory-utilization {w.memory_utilization:g})"
        rows.append(
            (
                "  runtime",
                scaled(m.runtime_bytes, "B"),
                "CUDA context" + ", buffers of exchanges" * (w.tp * w.pp * w.ep > 1),
            )
        )
        rows.append(("  set aside", scaled(m.overhead_bytes - m.runtime_bytes, "B"), aside))
    rows += [
        (
            "Traffic a decode step" + ", a GPU" * (w.gpus > 1),
            scaled(t.total_bytes, "B"),
            "what no implementation can avoid reading",
        ),
        ("  weights", scaled(t.weight_bytes, "B"), ""),
        ("  KV cache", scaled(t.kv_cache_bytes, "B"), ""),
    ]
    return rows


def _at_once(w: Workload) -> str:
    return "one" if w.chunk is None else f"{w.chunk:,} tokens"


def _cache(e: Estimate) -> str:
    tokens, kv = f"{e.workload.batch:,} × {e.workload.context:,} tokens", e.kv_cache
    if e.workload.gpus > 1:
        return f"of {scaled(kv.bytes, 'B')}, {tokens}, on all GPUs"
    if kv.bytes == e.workload.batch * e.workload.context * kv.bytes_per_token:
        return f"{tokens} of {kv.bytes_per_token:,} B"
    return f"{tokens}; one adds {kv.bytes_per_token:,.0f} B until windows are full, states do not grow"


def _capacity(m: Memory) -> str:
    if m.capacity_bytes is None:
        return ""
    vendors = (
        "" if m.usable_bytes == m.capacity_bytes else f" that drivers report ({scaled(m.capacity_bytes, 'B')} as sold)"
    )
    return f"of {scaled(m.usable_bytes, 'B')}{vendors}: {'fits' if m.fits else 'DOES NOT FIT'}"


def _speeds(e: Estimate) -> Table:
    pre, dec, tra, w = e.prefill, e.decode, e.training, e.workload
    rows = [
        ("Prefill", *(_rate(r.tokens_per_s) for r in (pre.textbook, pre.limit, pre.expected))),
        (f"  {w.batch * w.prompt:,} tokens", *(_time(r.seconds) for r in (pre.textbook, pre.limit, pre.expected))),
        ("Decode", *(_rate(r.tokens_per_s) for r in (dec.textbook, dec.limit, dec.expected))),
        ("  one step", *(_time(r.seconds_per_step) for r in (dec.textbook, dec.limit, dec.expected))),
    ]
    if w.gpus > 1:
        rows.insert(2, ("  a GPU", *(_rate(r.tokens_per_s_per_gpu) for r in (pre.textbook, pre.limit, pre.expected))))
        rows.append(("  a GPU", *(_rate(r.tokens_per_s_per_gpu) for r in (dec.textbook, dec.limit, dec.expected))))
    if w.batch > 1:
        rows.append(("  a user", *(_rate(r.tokens_per_s_per_user) for r in (dec.textbook, dec.limit, dec.expected))))
    if e.request:
        rows += _request(w, e.request)
    rows.append(
        (
            "Training" + " on one GPU" * (w.gpus > 1),
            *(_rate(r.tokens_per_s) for r in (tra.textbook, tra.limit, tra.expected)),
        )
    )
    length = f"  {amount(w.tokens, 2).replace(' ', '')} tokens"
    rows.append((length, *(_years(r.gpu_years) for r in (tra.textbook, tra.limit, tra.expected))))
    return Table("", ("", "textbook", "limit", "expected"), "lrrr", rows)


def _request(w: Workload, r: Request) -> list[tuple[str, ...]]:
    many = f"{w.batch:,} requests at once" if w.batch > 1 else "A request"
    return [
        (f"{many}: {w.prompt:,} tokens in, {w.output:,} out", *(_time(basis.latency_seconds) for basis in r)),
        ("  first token", *(_time(basis.ttft_seconds) for basis in r)),
        ("  each other token", *(_time(basis.tpot_seconds) for basis in r)),
        ("  output", *(_rate(basis.output_tokens_per_s) for basis in r)),
    ]


def _serving(w: Workload, s: Serving) -> Table:
    """The mix of requests; what keeps the number of running ones where it is."""
    x, y = s.limit, s.expected
    why = {
        "memory": "the cache of more has no room",
        "chunk": "tokens of more do not fit into a chunk",
        "concurrency": "all of them",
        "requests": "all of them",
        "rate": "as many as arrive meanwhile",
    }
    running = f"{significant(s.running) if s.running < 1 else f'{s.running:,.0f}'} run at a time" + (
        f", {why[s.limited_by]}" if s.limited_by else ""
    )
    room = "" if s.max_concurrency is None else f"; the cache has room for {s.max_concurrency:,}"
    title = f"Continuous batching, {_arrivals(w)}, {w.prompt:,} tokens in and {w.output:,} out: {running}{room}."
    rows = [
        ("Requests", _per_second(x.requests_per_s, "requests"), _per_second(y.requests_per_s, "requests")),
        ("Output", _rate(x.output_tokens_per_s), _rate(y.output_tokens_per_s)),
        ("  with prompts", _rate(x.total_tokens_per_s), _rate(y.total_tokens_per_s)),
    ]
    if w.gpus > 1:
        rows.append(("  a GPU", _rate(x.output_tokens_per_s_per_gpu), _rate(y.output_tokens_per_s_per_gpu)))
    notes = []
    if w.rate is not None and s.limited_by not in (None, "rate", "requests"):
        notes = ["More requests arrive than are answered: the line of those that wait grows as long as they do."]
    times = (
        ("First token", y.ttft_seconds),
        ("  each other token", y.tpot_seconds),
        ("  last token", y.latency_seconds),
    )
    rows += [(name, "", _time(value)) for name, value in times]
    return Table(title, ("", "limit", "expected"), "lrr", rows, tuple(notes))


def _arrivals(w: Workload) -> str:
    """How the requests of a mix come, in words."""
    parts = []
    if w.rate is not None:
        parts.append(f"{w.rate:g} requests a second arrive")
    if w.requests is not None:
        parts.append(f"{w.requests:,} in all" if parts else f"{w.requests:,} requests that are all there at once")
    if w.concurrency is not None:
        parts.append(f"at most {w.concurrency:,} at a time" if parts else f"{w.concurrency:,} requests in flight")
    return ", ".join(parts)


def _verdict(model: ModelSpec, e: Estimate) -> list[str]:
    return [_fit(model, e), *_binding(e), *_bases(e)]


def _fit(model: ModelSpec, e: Estimate) -> str:
    m = e.memory
    if m.fits:
        at_most = ", the model's maximum" if m.max_context == model.max_position_embeddings else ""
        return f"Fits: up to batch {m.max_batch:,} at this context; up to {m.max_context:,} tokens of context at this batch{at_most}."
    if m.max_context:
        return f"Does not fit: at this batch there is room for {m.max_context:,} tokens of context."
    usable = scaled(m.usable_bytes - m.overhead_bytes, "B")
    return f"Does not fit: {scaled(m.weights_bytes, 'B')} of weights, {usable} of usable memory. The speeds are of such a GPU, large enough."


def _binding(e: Estimate) -> list[str]:
    assert e.hardware is not None
    if e.prefill.limited_by is None:
        return [f"{_missing(e, e.hardware)} is not known from any source: neither is what depends on it."]
    state = f"Training would keep {scaled(e.training.state_bytes, 'B')} of weights, gradients and Adam's moments (16 bytes a parameter)"
    short = "" if e.training.state_bytes <= e.hardware.memory_bytes else ", more than one such GPU has"
    return [f"What binds: prefill, {e.prefill.limited_by}; decode, {e.decode.limited_by}.", f"{state}{short}."]


def _missing(e: Estimate, chip: Hardware) -> str:
    if chip.bandwidth_bytes_per_s is None:
        return "The memory bandwidth of this GPU"
    if chip.peak_flops_per_s is None:
        return f"The dense {e.workload.dtype} peak of this GPU"
    return "How fast such GPUs reach each other, in a node or between nodes,"


def _bases(e: Estimate) -> list[str]:
    return [
        f"textbook  {e.workload.mfu:.0%} of peak (--mfu) and every (query, key) pair; decode at full bandwidth",
        "limit     no implementation is faster: causal pairs at peak, compulsory bytes at full bandwidth",
        *_expected(e.decode.expected.basis),
    ]


def _expected(basis: str) -> list[str]:
    if basis != BASIS:
        return [
            f"expected  kernel by kernel, {basis};",
            f"          on engines' published runs on H200s {ENGINE_ERROR:.0%} off on average, half less than {ENGINE_MEDIAN_ERROR:.0%}",
        ]
    return [
        "expected  kernel by kernel, at the shares of peak and bandwidth that such kernels have reached where others",
        f"          measured them; on runs that these were not fitted to, {ERROR:.0%} off on average, half less than {MEDIAN_ERROR:.0%}",
    ]


def _rate(tokens_per_s: float | None) -> str:
    return _per_second(tokens_per_s, "tokens")


def _per_second(value: float | None, what: str) -> str:
    return UNKNOWN if value is None else f"{significant(value)} {what}/s"


def _time(value: float | None) -> str:
    return "" if value is None else seconds(value)


def _years(value: float | None) -> str:
    return "" if value is None else f"{significant(value)} GPU-years"


def _weights(w: Workload) -> str:
    rest = activation_dtype(w.dtype)
    if w.weight_dtype == rest:
        return rest
    matrices = "all matrices" if w.weight_dtype in FORMATS and FORMATS[w.weight_dtype].everywhere else "linear layers"
    linear, _, experts = w.weight_dtype.partition("+")
    return f"{matrices} {linear}, {f'experts {experts}, ' if experts else ''}the rest {rest}"
