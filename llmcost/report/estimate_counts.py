"""The rows of an estimate that count: memory, traffic, parameters, FLOPs."""

from __future__ import annotations

from llmcost.ground.units import amount, counted, scaled
from llmcost.model.formats import FORMATS
from llmcost.model.sizes import activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.report.estimate_shown import Shown, generates, running
from llmcost.report.figures import context_of
from llmcost.serving.options import IMAGE_SIZE, Workload
from llmcost.serving.results import Estimate, Memory, Offloaded

SHOWN = 0.005  # share of the cache that is pages not full and padding, from which it is said


def count_rows(model: ModelSpec, e: Estimate, shown: Shown) -> list[tuple[str, str, str]]:
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


def memory_rows(e: Estimate) -> list[tuple[str, str, str]]:
    """Bytes of a GPU by part, used and set aside."""
    m, w = e.memory, e.workload
    at_once = "prompts " + ("all at a time" if w.chunk is None else f"{w.chunk:,} tokens at a time (--chunk)")
    if not generates(e):
        at_once = "all sequences at once"
    used, cache, of_cache = m.used_bytes, m.kv_cache_bytes, _cache(e)
    if e.serving is not None and e.serving.kv_cache_bytes is not None and m.fits is not False:
        used, cache = used - cache + e.serving.kv_cache_bytes, e.serving.kv_cache_bytes
        of_cache = f"of the {running(e.serving)} requests that run, each half answered"
    drafts = []
    if e.serving is not None and e.serving.draft_bytes is not None:
        used = used + e.serving.draft_bytes
        drafts = [("  draft", scaled(e.serving.draft_bytes, "B"), "weights of what guesses (--draft)")]
    rows = [
        ("Memory used" + " a GPU" * (w.gpus > 1), scaled(used, "B"), _capacity(m)),
        ("  weights", scaled(m.weights_bytes, "B"), _weights(w, mixed=e.model.mixed_weights)),
        *drafts,
        ("  KV cache", scaled(cache, "B"), of_cache),
        ("  activations", scaled(m.activation_bytes, "B"), f"worst kernel, {at_once}"),
    ]
    if m.sampler_bytes is not None and m.sampler_bytes >= m.activation_bytes:
        sampled = f"the sampler, {counted(w.max_num_seqs, 'sequence')} at once (--max-num-seqs)"
        rows[-1] = ("  activations", scaled(m.activation_bytes, "B"), sampled)
    if not generates(e):
        del rows[2]
    if m.set_aside_bytes is None:
        return rows
    runtime = context_of(e.hardware) + ", communication buffers" * (w.tp * w.pp * w.ep > 1)
    runtime += ", room for weights that are copied" * (e.offload is not None)
    share = f"--memory-utilization {w.memory_utilization or 0:g}"
    if m.mem_fraction_static is not None:
        share = f"--mem-fraction-static {m.mem_fraction_static:.3g}"
    if w.free_memory_fraction is not None:
        share = f"--free-memory-fraction {w.free_memory_fraction:g}"
    aside = f"fragmentation and all else ({share})"
    return [
        *rows,
        ("  runtime", scaled(m.runtime_bytes, "B"), runtime),
        ("Memory set aside", scaled(m.set_aside_bytes, "B"), aside),
    ]


def traffic_rows(e: Estimate, model: ModelSpec) -> list[tuple[str, str, str]]:
    """Bytes that a decode step reads at least, by part."""
    t = e.traffic.decode
    if not generates(e):
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


def offload_rows(o: Offloaded | None, w: Workload) -> list[tuple[str, str, str]]:
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
