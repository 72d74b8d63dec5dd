"""The page that `llmcost estimate` prints."""

from __future__ import annotations

from typing import Any

from llmcost.formulas.quantities import QUANTITIES
from llmcost.ground.units import amount, scaled, seconds, significant
from llmcost.machine.defaults import BASIS
from llmcost.model.formats import FORMATS
from llmcost.model.sizes import activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.report.figures import UNKNOWN, band_in_words, context_of, degrees_of, off_by
from llmcost.report.tables import Table
from llmcost.serving.options import DEGREES, IMAGE_SIZE, Workload
from llmcost.serving.results import NOTICED, Accuracy, Estimate, Hardware, Memory, Offloaded, Request, Serving, leaves

NO_GPU = "Times and fit need a GPU: --hw rtx4090 (llmcost hardware lists them)."
BINDS = {  # what keeps the number of running requests where it is
    "memory": "the cache of more has no room",
    "chunk": "tokens of more do not fit into a chunk",
    "max_num_seqs": "the most that run at a time (--max-num-seqs)",
    "concurrency": "all of them",
    "requests": "all of them",
    "rate": "as many as arrive meanwhile",
}
SHOWN = 0.005  # share of the cache that is pages not full and padding, from which it is said
OFF = "off by"  # heading of the mean errors of expected figures
NAMES = {"ttft": "TTFT", "tpot": "TPOT"}
OVERLOADED = (
    "More requests arrive than are answered: the line of those that wait grows as long as they do. "
    "That wait is not in the times above."
)


def estimate_tables(model: ModelSpec, e: Estimate) -> list[Table]:
    """Counts, then speeds on three bases, then what they mean in words."""
    w = e.workload
    place = f" on {e.hardware.title}" if e.hardware else ""
    dtypes = w.dtype
    if not model.generates and w.dtype != w.weight_dtype:
        dtypes = f"{w.dtype}, weights {w.weight_dtype}"
    elif model.generates and not w.dtype == w.weight_dtype == w.kv_dtype:
        dtypes = f"{w.dtype}, weights {w.weight_dtype}, KV cache {w.kv_dtype}"
    under = "" if w.engine is None else f" under {w.engine}"
    title = f"{model.title}{place}{under}: {dtypes}, {_gpus(w)}batch {w.batch:,}, context {w.context:,}"
    counts = Table(title, ("", "", ""), "lrl", [*_counts(model, e), *_memory(e), *_offload(e.offload, w), *_traffic(e)])
    if e.hardware is None:
        return [counts, Table("", ("",), "l", (), (NO_GPU,))]
    mix = [_serving(w, e.serving, e.accuracy)] if e.serving else []
    notes = (_fit(model, e), *_binding(e), *_bases(e))
    return [counts, _speeds(e), *mix, Table("", ("",), "l", (), notes)]


def _gpus(w: Workload) -> str:
    degrees = degrees_of(w, DEGREES)
    return f"{w.gpus:,} GPUs ({degrees}), " if degrees else ""


def estimate_rows(e: Estimate) -> list[tuple[str, Any, str]]:
    """Every figure as (path, value, unit), for CSV."""
    rows = []
    for path, value in leaves(e):
        unit = QUANTITIES[path].unit if path in QUANTITIES else ""
        rows.append((path, int(value) if isinstance(value, float) and value.is_integer() else value, unit))
    return [*rows, ("textbook_beyond_limit", e.beyond_limit(), "")]


def _counts(model: ModelSpec, e: Estimate) -> list[tuple[str, str, str]]:
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
    prompts = f"{w.batch:,} × {w.prompt:,} tokens, causal pairs only; {scaled(prefill.full, 'FLOP')} with all pairs"
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
        ("FLOPs of prefill" if model.generates else "FLOPs of the batch", scaled(prefill.causal, "FLOP"), prompts),
        *seen,
    ]


def _inputs(w: Workload) -> str:
    """What a prompt has beside text, in words."""
    images = f"{w.images:,} image{'s' * (w.images > 1)} of {w.image_size or IMAGE_SIZE} pixels" if w.images else ""
    sound = f"{w.audio:g} s of sound" if w.audio else ""
    return " and ".join(filter(None, (images, sound)))


def _memory(e: Estimate) -> list[tuple[str, str, str]]:
    m, w = e.memory, e.workload
    at_once = "prompts " + ("all" if w.chunk is None else f"{w.chunk:,} tokens") + " at a time (--chunk)"
    if not _generates(e):
        at_once = "all sequences at once"
    rows = [
        ("Memory used" + " a GPU" * (w.gpus > 1), scaled(m.used_bytes, "B"), _capacity(m)),
        ("  weights", scaled(m.weights_bytes, "B"), _weights(w, mixed=e.model.mixed_weights)),
        ("  KV cache", scaled(m.kv_cache_bytes, "B"), _cache(e)),
        ("  activations", scaled(m.activation_bytes, "B"), f"worst kernel, {at_once}"),
    ]
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


def _traffic(e: Estimate) -> list[tuple[str, str, str]]:
    t = e.traffic.decode
    if not _generates(e):
        return []
    heading = "Traffic a decode step" + ", a GPU" * (e.workload.gpus > 1)
    routed = e.model.params.active < e.model.params.text
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


def _speeds(e: Estimate) -> Table:
    w = e.workload
    prefill = (e.prefill.textbook, e.prefill.limit, e.prefill.expected)
    decode = (e.decode.textbook, e.decode.limit, e.decode.expected)
    training = (e.training.textbook, e.training.limit, e.training.expected)
    rows: list[tuple[str, ...]] = [
        ("Prefill", *(_rate(basis.tokens_per_s) for basis in prefill), off_by(e.accuracy.prefill)),
        (f"  {w.batch * w.prompt:,} tokens", *(_time(basis.seconds) for basis in prefill)),
    ]
    if w.gpus > 1:
        rows.append(("  a GPU", *(_rate(basis.tokens_per_s_per_gpu) for basis in prefill)))
    if not _generates(e):
        rows.insert(0, ("Whole batch", *(_per_second(basis.sequences_per_s, "sequences") for basis in prefill)))
        rows[1] = ("  tokens", *rows[1][1:])
    else:
        rows.append(("Decode", *(_rate(basis.tokens_per_s) for basis in decode), off_by(e.accuracy.decode)))
        rows.append(("  one step", *(_time(basis.seconds_per_step) for basis in decode)))
    if w.gpus > 1 and _generates(e):
        rows.append(("  a GPU", *(_rate(basis.tokens_per_s_per_gpu) for basis in decode)))
    if w.batch > 1 and _generates(e):
        rows.append(("  a user", *(_rate(basis.tokens_per_s_per_user) for basis in decode)))
    if e.request:
        rows += _request(w, e.request)
    length = f"  {amount(w.tokens, 2).replace(' ', '')} tokens"
    one_gpu = "Training" + " on one GPU" * (w.gpus > 1)
    rows.append((one_gpu, *(_rate(basis.tokens_per_s) for basis in training), off_by(e.accuracy.training)))
    rows.append((length, *(_years(basis.gpu_years) for basis in training)))
    columns = ("", "textbook", "limit", "expected", OFF)
    apart = f"{_batch(w)}, whatever the load (which stands below):" if e.serving else ""
    return Table(apart, columns, "lrrrr", [_filled(row, len(columns)) for row in rows])


def _batch(w: Workload) -> str:
    """The batch that passes are of, apart from any mix of requests."""
    return f"One prompt pass and one decode step at batch {w.batch:,}"


def _filled(row: tuple[str, ...], columns: int) -> tuple[str, ...]:
    return row + ("",) * (columns - len(row))


def _request(w: Workload, r: Request) -> list[tuple[str, ...]]:
    many = f"{w.batch:,} requests at once" if w.batch > 1 else "A request"
    return [
        (f"{many}: {w.prompt:,} tokens in, {w.output:,} out", *(_time(basis.latency_seconds) for basis in r)),
        ("  first token (TTFT)", *(_time(basis.ttft_seconds) for basis in r)),
        ("  each other token (TPOT)", *(_time(basis.tpot_seconds) for basis in r)),
        ("  output", *(_rate(basis.output_tokens_per_s) for basis in r)),
    ]


def _serving(w: Workload, s: Serving, accuracy: Accuracy) -> Table:
    """A mix of requests: how many run at a time and why no more, rates, and expected times of one among them."""
    limit, expected = s.limit, s.expected
    running = f"{significant(s.running) if s.running < 1 else f'{s.running:,.0f}'} run at a time"
    why = f", {BINDS[s.limited_by]}" if s.limited_by else ""
    room = "" if s.max_concurrency is None else f"; the cache has room for {s.max_concurrency:,}"
    title = f"Continuous batching, {_arrivals(w)}, {w.prompt:,} tokens in and {w.output:,} out: {running}{why}{room}."
    bases = (limit, expected)
    rows: list[tuple[str, ...]] = [
        ("Requests", *(_per_second(basis.requests_per_s, "requests") for basis in bases)),
        ("Output", *(_rate(basis.output_tokens_per_s) for basis in bases), off_by(accuracy.throughput)),
        ("  with prompts", *(_rate(basis.total_tokens_per_s) for basis in bases)),
    ]
    if w.gpus > 1:
        rows.append(("  a GPU", *(_rate(basis.output_tokens_per_s_per_gpu) for basis in bases)))
    rows += [
        ("First token (TTFT)", "", _time(expected.ttft_seconds), off_by(accuracy.ttft)),
        ("  each other token (TPOT)", "", _time(expected.tpot_seconds), off_by(accuracy.tpot)),
        ("  last token", "", _time(expected.latency_seconds)),
    ]
    overloaded = w.rate is not None and s.limited_by not in (None, "rate", "requests")
    columns = ("", "limit", "expected", OFF)
    table = [_filled(row, len(columns)) for row in rows]
    return Table(title, columns, "lrrr", table, (OVERLOADED,) if overloaded else ())


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


def _fit(model: ModelSpec, e: Estimate) -> str:
    m = e.memory
    if m.fits:
        at_most = ", the model's maximum" if m.max_context == model.max_position_embeddings else ""
        context = f"up to {m.max_context:,} tokens of context at this batch{at_most}"
        return f"Fits: up to batch {m.max_batch:,} at this context; {context}."
    if m.max_context:
        return f"Does not fit: at this batch there is room for {m.max_context:,} tokens of context."
    sizes = (
        f"{scaled(m.weights_bytes, 'B')} of weights, {scaled(m.usable_bytes - m.overhead_bytes, 'B')} of usable memory"
    )
    return f"Does not fit: {sizes}. The speeds are those of such a GPU with enough memory."


def _binding(e: Estimate) -> list[str]:
    """What limits prefill and decode, and what training would keep; or the figure that no source gives."""
    assert e.hardware is not None
    if e.prefill.limited_by is None:
        return [f"{_missing(e, e.hardware)} is not known from any source: neither is what depends on it."]
    state = f"{scaled(e.training.state_bytes, 'B')} of weights, gradients and Adam's moments (16 bytes a parameter)"
    short = "" if e.training.state_bytes <= e.hardware.memory_bytes else ", more than one such GPU has"
    return [
        f"What binds: prefill, {e.prefill.limited_by}; decode, {e.decode.limited_by}."
        if _generates(e)
        else f"What binds: {e.prefill.limited_by}.",
        f"Training would keep {state}{short}.",
        "Its speed is that of a micro-batch forward and backward on one GPU; llmcost train times whole steps.",
    ]


def _missing(e: Estimate, chip: Hardware) -> str:
    if chip.bandwidth_bytes_per_s is None:
        return "The memory bandwidth of this GPU"
    if chip.peak_flops_per_s is None:
        return f"The dense {e.workload.dtype} peak of this GPU"
    return "How fast such GPUs reach each other, in a node or between nodes,"


def _bases(e: Estimate) -> list[str]:
    decode = "; decode at full bandwidth" * _generates(e)
    both_ways = e.flops.prefill.causal == e.flops.prefill.full
    pairs = "all" if both_ways else "causal"
    placed = "" if e.offload is None else "; all on the GPU"
    return [
        f"textbook  {e.workload.mfu:.0%} of peak (--mfu) and every (query, key) pair{decode}{placed}",
        f"limit     no implementation is faster: {pairs} pairs at peak, compulsory bytes at full bandwidth",
        *_held_on_chip(e),
        *_beyond_limit(e),
        *_expected(e.decode.expected.basis),
        *_errors(e),
    ]


def _held_on_chip(e: Estimate) -> list[str]:
    """What the limit leaves in the chip's caches, where that is all weights or more."""
    assert e.hardware is not None
    chip, floor = e.hardware, e.decode.bound.memory_seconds
    here = e.traffic.decode.total_bytes - (e.offload.read_bytes if e.offload is not None else 0)
    if floor is None or floor >= here / chip.bandwidth_bytes_per_s * (1 - NOTICED):
        return []
    return [f"          what fits the chip's caches ({scaled(chip.cache_bytes, 'B')}) is not read from memory again"]


def _beyond_limit(e: Estimate) -> list[str]:
    """Where the textbook is faster than the limit, which it may be by its definition."""
    phases = e.beyond_limit()
    if not phases:
        return []
    return [f"          textbook is faster in {' and '.join(phases)}: its rule counts FLOPs or bytes alone"]


def _expected(basis: str) -> list[str]:
    """What expected times rest on: a profile, or the defaults."""
    if basis != BASIS:
        return [f"expected  kernel by kernel, {basis}"]
    return [
        "expected  kernel by kernel, at the shares of peak and bandwidth that such kernels have reached where others",
        "          measured them",
    ]


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
    whose = "optimised engines'" if e.workload.engine is None else f"{e.workload.engine}'s"
    return [
        f"error     {whose} published runs of {kind} that no share was fitted to:",
        *(f"          {each}" for each in said),
    ]


def _rate(tokens_per_s: float | None) -> str:
    return _per_second(tokens_per_s, "tokens")


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
