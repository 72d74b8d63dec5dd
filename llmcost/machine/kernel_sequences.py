"""Operators of some models alone, priced by an engine's kernels: sparse attention, indexers, recurrences, convolutions.

Each is None where the engine has no numbers of such a kernel on the GPU.
"""

from __future__ import annotations

from llmcost.ground.algebra import Number, is_one, more_than, present
from llmcost.ground.units import BITS
from llmcost.machine.forms_products import WIDTHS, product_seconds
from llmcost.machine.forms_sequence import choice_seconds, recurrence_seconds, scores_seconds, sparse_seconds
from llmcost.machine.kernels import Kernels, figures_of
from llmcost.model.operators import Attention, CausalConv, Gemm, GroupedGemm, Operator, Scan
from llmcost.specs.hardware import HardwareSpec

LATENT = (
    576,
    512,
)  # sizes of a key and a value in DeepSeek's and GLM's latents, which prompts attend to as decode does
CHANNELS = 128  # of a convolution, which a block is counted for


ATTENDED = {
    "latent": "attention to chosen latents",
    "grouped": "attention to chosen keys",
    "compressed": "attention to compressed keys",
}


def word_of(op: Operator) -> str:
    """What kind of kernel an operator is, of those that an engine has numbers of, or should have; empty for others."""
    if isinstance(op, Scan):
        return "linear attention" if op.delta else "state-space scans"
    if isinstance(op, CausalConv):
        return "short convolutions"
    if isinstance(op, Attention):
        return "indexers" if op.name == "indexer" else ATTENDED.get(sparse_of(op), "attention")
    if isinstance(op, GroupedGemm):
        return "experts" if op.facts.expert == "routed" else "products of each head" * op.name.startswith("absorb_")
    return "matrix products" if isinstance(op, Gemm) else ""


def absorbed_seconds(op: GroupedGemm, own: Kernels, hardware: HardwareSpec, compute: str) -> Number | None:
    """One of the products by which latent attention's decode goes to the latents of all heads, and back."""
    if not op.name.startswith("absorb_"):
        return None
    for name in ("fp8", "bf16") if BITS[compute] < 16 else ("bf16",):
        fit, f = own.find("product", f"{name}/{op.name}"), figures_of(hardware, WIDTHS[name].compute)
        if fit is not None and f is not None and not fit.by_host():
            return product_seconds(fit.numbers, f, op.b * op.s, op.n, op.k, WIDTHS[name], op.groups)
    return None


def recurrence_of(op: Scan | CausalConv) -> str:
    """The variant's name of a recurrence or a convolution in its phase."""
    phase = "decode" if is_one(op.s) else "prefill"
    if isinstance(op, CausalConv):
        return f"{'conv-mamba' if op.name.startswith('mamba') else 'conv'}/{phase}"
    kind = "delta-channels" if op.by_channel else "delta" if op.delta else "states"
    return f"{kind}/{phase}"


def recurrent_seconds(op: Scan | CausalConv, own: Kernels, hardware: HardwareSpec) -> Number | None:
    """A recurrence or a convolution along the sequence."""
    fit, f = own.find("recurrence", recurrence_of(op)), figures_of(hardware, "bf16")
    if fit is None or f is None or fit.by_host():
        return None
    heads = op.heads if isinstance(op, Scan) else op.channels / CHANNELS
    return recurrence_seconds(fit.numbers, f, op.b, op.s, heads, op.io_bytes(), op.cache_bytes())


def sparse_of(op: Attention) -> str:
    """The variant's name of an attention in which queries have keys of their own; empty for any other.

    latent: latents that an indexer chose. compressed: DeepSeek-V4's keys, each for a few or for many tokens, and its
    window. grouped: keys of grouped heads that an indexer chose.
    """
    if op.name == "indexer":
        return ""
    chosen = "top" in (op.span, op.mean_of)
    if not op.latent:
        return "grouped" if chosen else ""
    if op.d is op.dv and not present(op.streamed):  # a prompt's latents are expanded to keys and values, which stream
        return "compressed" if present(op.every) or op.span == "window" else ""
    return "latent" if chosen else ""


def sparse_variants(op: Attention) -> tuple[str, ...]:
    """The variants of its form, the nearest first: of decode, or of a cache in 8 bits, before all."""
    name = sparse_of(op)
    caches = ("/fp8", "") if is_eight(op) else ("", "/fp8") if name == "compressed" else ("",)  # which is always in fp8
    ends = ("/decode", "") if op.decode else ("",)
    return tuple(f"{name}{end}{cache}" for end in ends for cache in caches) if name else ()


def is_eight(op: Attention) -> bool:
    """Whether an attention's cache is in 8 bits, with scales of its own or without."""
    return bool(op.Bkv == 1)


def sparse_sizes(op: Attention) -> dict[str, Number]:
    """The sizes that the form of attention with keys of each query's own takes."""
    name = sparse_of(op)
    d, dv = LATENT if name == "latent" else (op.d, op.dv)
    return {
        "queries": op.b * op.s * (op.kv_heads if name == "grouped" else 1),
        "keys": op.pairs(causal=True) / op.s,
        "places": 0 if name == "compressed" else op.top if present(op.top) else op.w,
        "heads": op.a / op.kv_heads if name == "grouped" else op.a,
        "d": d,
        "dv": dv,
        "key_bytes": op.cached / op.kv_heads * op.Bkv,
        "read": op.b * op.read() * op.kv_heads,
    }


def sparse_attention_seconds(op: Attention, own: Kernels, hardware: HardwareSpec) -> Number | None:
    """Attention over the keys that an indexer chose, or DeepSeek-V4's over its window and its compressed keys.

    Those two are one kernel: the window's part of it has no launch of its own.
    """
    fit, f = own.find("sparse", *sparse_variants(op)), figures_of(hardware, "bf16")
    if fit is None or f is None or fit.by_host():
        return None
    x = fit.numbers
    if sparse_of(op) == "compressed" and not present(op.every):
        x = x._replace(launch=0, start=0)
    return sparse_seconds(x, f, **sparse_sizes(op))


def indexer_seconds(op: Attention, own: Kernels, hardware: HardwareSpec) -> Number | None:
    """An indexer's scores and the choice of the best keys by them: two kernels."""
    if op.name != "indexer" or not op.latent:
        return None
    scores, choice = own.find("scores", "paged" if op.decode else "prompts", "prompts"), own.find("choice", "top")
    eight, sixteen = figures_of(hardware, "fp8"), figures_of(hardware, "bf16")
    if scores is None or choice is None or eight is None or sixteen is None:
        return None
    queries, pairs = op.b * op.s, op.b * op.pairs(causal=True)
    read = op.b * op.read()
    scored = scores_seconds(scores.numbers, eight, queries, pairs, op.a, op.d, op.cached * op.Bkv, read)
    return scored + choice_seconds(choice.numbers, sixteen, queries, pairs)


def to_all_keys(op: Attention) -> Attention:
    """An attention of prompts whose keys are chosen, or of the mean of such passes, where none need be chosen."""
    dense: Attention = op._replace(span="all", mean_of="", c=op.dense_keys if op.mean_of else op.c)
    return dense


def dense_below(op: Attention, sparse: Number, dense: Number | None) -> Number:
    """Seconds of attention of prompts whose keys are chosen: all of them at once, as long as no more are chosen.

    `dense`: of an attention to all keys (`to_all_keys`).
    """
    if dense is None or op.decode:
        return sparse
    if op.mean_of:
        return sparse + op.dense * (dense - sparse)
    return dense + more_than(op.c, op.w) * (sparse - dense)
