"""Tables of whole attention modules, as the operators of our own models: priced by the code that estimates use.

A module is the mixer of one kind of layer without its norm: projections, attention, what chooses its keys. The model's
spec has its sizes; a row says how many heads a GPU has, in which format weights are, and what runs.

Source of the columns' meaning: collectors and their names, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from llmcost.accuracy.collector import FORMATS, Arrays, Group, labelled, numbers, share_of
from llmcost.machine.chip import Chip, chip_of
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.forms_products import WIDTHS
from llmcost.machine.kernel_sequences import sparse_of, sparse_sizes, sparse_variants
from llmcost.machine.kernel_times import prefill_sizes
from llmcost.machine.kernels import figures_of
from llmcost.machine.reached import efficiency_for
from llmcost.machine.timing import kernel_seconds, least_kernel_seconds
from llmcost.model.architecture import layer_operators
from llmcost.model.blocks import NoBlock
from llmcost.model.operators import Attention, Operator
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import Layer, ModelSpec
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.specs.engine import EngineSpec
from llmcost.specs.hardware import HardwareSpec

ENDINGS = ("-FP8", "-NVFP4")  # of names of checkpoints, whose weights' format a row has beside it
MODELS = {  # names in the tables, without their owners -> ours
    "DeepSeek-R1": "deepseek-r1",
    "DeepSeek-V3": "deepseek-v3",
    "DeepSeek-V3.1": "deepseek-v3",
    "DeepSeek-V3.2": "deepseek-v3.2",
    "DeepSeek-V4-Flash": "deepseek-v4-flash",
    "DeepSeek-V4-Pro": "deepseek-v4-pro",
    "GLM-5": "glm-5",
    "GLM-5.2": "glm-5.2",
    "MiniMax-M3": "minimax-m3",
}
SEEN = 1.3  # times the host's time from which on a module's kernels are seen
FASTEST, HELD_BACK = 0.02, 1.5  # rows of a table, and how often their other kernels' time, that hold a host to blame
BY_HOST = "dsa_context_module"  # whose kernels a host starts, which takes longer where it quantises too
CACHES = {"bfloat16": "bf16", "fp8": "fp8", "fp8_e4m3": "fp8"}


@lru_cache(maxsize=32)
def _model(name: str) -> ModelSpec | None:
    """The model that a row names, whatever its weights' format; None for one that is not known."""
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    known = MODELS.get(name.rpartition("/")[2])
    return None if known is None else load_model(known)


def _layer(model: ModelSpec, ratio: float) -> Layer:
    """The kind of layers whose mixer has most to do: of DeepSeek-V4, those with a compressed key for so many tokens."""

    def sizes(layer: Layer) -> tuple[bool, bool]:
        mixer = layer.mixer._asdict()
        return mixer.get("compress_rate", 0) == ratio, bool(mixer.get("index_n_heads", 0) or ratio)

    return max(model.layers, key=sizes)


def _shared_out(mixer: Any, heads: Any) -> Any:
    """The mixer of a GPU that has so many of its query heads."""
    whole = mixer._asdict()
    share = {"num_attention_heads": heads}
    for name in ("num_key_value_heads", "o_groups"):
        if whole.get(name):
            share[name] = np.maximum(1, whole[name] * heads / whole["num_attention_heads"])
    return mixer._replace(**share)


def module_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Whole attention modules, by model, format, cache and what is in them."""
    batch, queries, step, heads, ms = numbers(table, "batch_size", "isl", "step", "num_heads", "latency")
    names = table["op_name"]
    of_decode = np.array(["generation" in name for name in names])
    if str(names[0]) == "mla_generation":  # one token behind so many
        step, queries = queries + step - 1, np.ones_like(queries)
    ratio = table["compress_ratio"].astype(float) if "compress_ratio" in table else np.zeros_like(ms)

    def label_of(name: str, model: str, gemm: str, cache: str, ratio: float) -> str | None:
        if FORMATS.get(gemm) is None or cache not in CACHES or _model(str(model)) is None:
            return None
        return f"{name}|{model}|{FORMATS[gemm]}|{CACHES[cache]}|{ratio:g}"

    columns = [names, table["model"], table["gemm_type"], table["kv_cache_dtype"], ratio]
    for label, rows in labelled(columns, label_of):
        name, model, form, cache, compressed = label.split("|")
        sizes = {
            "batch": batch[rows], "queries": queries[rows], "keys": (queries + step)[rows], "heads": heads[rows],
            "model": model, "format": form, "cache": cache, "ratio": float(compressed),
            "decode": bool(of_decode[rows][0]), "chooses": "skip_indexer" not in name,
        }  # fmt: skip
        variant = f"{name}/{form}" if name.startswith(BY_HOST) else name
        group = Group("module", variant, sizes, ms[rows] / 1e3, 0 * ms[rows], hardware.name)
        yield group._replace(least=_least(group))


STREAM_PARTS = {"pre": ("weights", "sum"), "post": ("mix", "spread")}  # how names of hyper-connections' kernels end
OF_WIDTH = {4096: "DeepSeek-V4-Flash", 7168: "DeepSeek-V4-Pro"}


def stream_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """What DeepSeek-V4's residual streams take before and behind both blocks of a layer."""
    tokens, hidden, ms = numbers(table, "num_tokens", "hidden_size", "latency")

    def label_of(part: str, hidden: float) -> str | None:
        return f"streams_{part}|{OF_WIDTH[int(hidden)]}" if part in STREAM_PARTS and int(hidden) in OF_WIDTH else None

    for label, rows in labelled([table["op_name"], hidden], label_of):
        name, model = label.split("|")
        size = {"batch": tokens[rows], "queries": 1, "keys": 1, "heads": 1, "model": model, "format": "bf16"}
        sizes = size | {"cache": "bf16", "ratio": 0.0, "decode": False, "chooses": True}
        yield Group("module", name, sizes, ms[rows] / 1e3, 0 * ms[rows], hardware.name)


def operators_of(group: Group) -> list[Operator]:
    """The operators of a module's rows, whose sizes are arrays."""
    of, model = group.sizes, _model(group.sizes["model"])
    assert model is not None
    layer = _layer(model, of["ratio"])
    load = Load(of["batch"], of["queries"], of["keys"], decode=of["decode"])
    compute = WIDTHS[of["format"]].compute
    size = element_bytes(of["format"], compute, of["cache"])
    if group.variant.startswith("streams_"):
        ends = STREAM_PARTS[group.variant.removeprefix("streams_")]
        found = layer_operators(model, layer._replace(count=1), size, load)
        return [op for op in found if "_hc_" in op.name and op.name.endswith(ends)]
    mixer = _shared_out(layer.mixer, of["heads"])
    if not of["chooses"]:
        mixer = mixer._replace(index_n_heads=0)
    nothing: Any = NoBlock()
    alone = layer._replace(count=1, mixer=mixer, mlp=nothing)
    return list(layer_operators(model._replace(streams=()), alone, size, load))[1:]  # without the norm


def _chip(group: Group) -> tuple[HardwareSpec, Chip, str]:
    hardware, compute = load_hardware(group.gpu), WIDTHS[group.sizes["format"]].compute
    return hardware, chip_of(hardware, compute, group.sizes["cache"]), compute


def _least(group: Group) -> Any:
    """Seconds that a module's products and attention need at least, one after the other."""
    _, chip, _ = _chip(group)
    least = 0 * group.seconds
    for op in operators_of(group):
        if isinstance(op, Attention) and op.name != "indexer":
            each = least_kernel_seconds(op, chip)
            least = least if each is None else least + each
    return least


def module_efficiency(group: Group, engine: EngineSpec | None, profile: str | None) -> Efficiency:
    """What the kernels of a module reach under an engine or by a profile."""
    hardware, _, compute = _chip(group)
    of = group.sizes
    launch: Any = engine.launch if engine is not None else "graph"
    return efficiency_for(hardware, profile, compute, of["format"], launch, engine, of["cache"], alone=True)


def seconds_by_operator(group: Group, efficiency: Efficiency) -> dict[str, Any] | None:
    """Seconds of each operator of a module's rows; None where a figure of the GPU is not known."""
    operators = operators_of(group)
    times = kernel_seconds(operators, _chip(group)[1], efficiency)
    if times is None:
        return None
    return {op.name: time + np.zeros(len(group.seconds)) for op, time in zip(operators, times, strict=True)}


def attention_of(group: Group) -> tuple[str, tuple[str, ...], Arrays, list[str]]:
    """The form, variants and sizes of a module's attention, and the names of its operators.

    A window and compressed keys beside it are one kernel.
    """
    found = [op for op in operators_of(group) if isinstance(op, Attention) and op.name != "indexer"]
    op, names = found[-1], [each.name for each in found]
    if sparse_of(op):
        sizes = sparse_sizes(op)
        for other in found[:-1]:
            more = sparse_sizes(other)
            sizes |= {name: sizes[name] + more[name] for name in ("keys", "read")}
        return "sparse", sparse_variants(op), sizes, names
    types = "fp8" if group.sizes["cache"] == "fp8" else "bf16"
    return "prefill", (f"bf16/{types}/latent/module",), prefill_sizes(op), names


def kernels_group(group: Group, engine: EngineSpec) -> Group | None:
    """A module's rows for the form of modules: what its kernels take one after the other by the numbers that ship."""
    times = seconds_by_operator(group, module_efficiency(group, engine, None))
    return None if times is None else group._replace(sizes={"kernels": sum(times.values())})


def attention_group(group: Group, engine: EngineSpec) -> Group | None:
    """A module's rows for its attention's form: `rest` is what the other operators take, `host` what the host does.

    The host is taken to hold back the fastest rows, where these take far longer than their other kernels, and to take
    what those near them take in the median. Rows of not much more say nothing of a kernel, and are left out. None where
    a figure of the GPU is not known, or no row is left.
    """
    times = seconds_by_operator(group, module_efficiency(group, engine, None))
    form, variants, sizes, names = attention_of(group)
    compute = figures_of(load_hardware(group.gpu), "bf16")
    if times is None or compute is None:
        return None
    rest = sum(time for name, time in times.items() if name not in names) + np.zeros(len(group.seconds))
    floor, other = float(np.quantile(group.seconds, FASTEST)), float(np.quantile(rest, FASTEST))
    held = float(np.median(group.seconds[group.seconds < HELD_BACK * floor])) if floor > HELD_BACK * other else 0.0
    sizes |= {"f": compute, "rest": rest, "host": held}
    found = group._replace(form=form, variant=variants[0], sizes=sizes)
    seen = group.seconds > SEEN * held
    if form == "sparse" and engine.figures.get("attention.dense"):
        seen &= group.sizes["keys"] > sizes["places"]
    found = share_of(found, seen)
    return found if len(found.seconds) else None
