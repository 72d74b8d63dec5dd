"""Fit the kernels of serving engines to public tables of them: `kernel_fits.py fit TABLES -o hardware/kernels`.

The tables are those of ai-dynamo/aiconfigurator (Apache-2.0): a folder for each GPU with one Parquet file for each
table, engine and version. They stay where they are; what is written is a few numbers for each kind of kernel, data
type, GPU and engine, in the forms of llmcost/machine/kernels.py, with the errors on rows that the fit did not see.

Beside them it reads layers of Llama 3.1 8B as LLMServingSim timed them inside vLLM (MIT): a folder `layers-<gpu>` of
CSV files for each GPU in LAYERS, whose rows are in the same fits.

`kernel_fits.py check TABLES` predicts the rows of other tables by the numbers that ship, and prints how far off they
are. GPUs without numbers of their own take those of their family.

Left out of a fit are rows faster than the limit: less time than all FLOPs take at the data type's peak, or the
compulsory bytes (weights, keys and values) at the full bandwidth. Such a time was measured on operands that were still
in a cache, or is wrong.

Needs numpy and pyarrow. A fit minimises a robust norm of log(predicted / measured), by Levenberg and Marquardt's
method, once for every combination of tile sizes that is tried, on two thirds of the rows. The errors are those on the
last third. The numbers are then fitted again to all rows.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmcost.machine import kernels
from llmcost.machine.efficiency import family_of
from llmcost.machine.kernels import FAMILY_FILES, FORMAT, FORMS, WIDTHS, Figures, figures_of
from llmcost.model.operators.sequence import causal_pairs
from llmcost.specs.catalog import load_hardware, shipped

SOURCE = "ai-dynamo/aiconfigurator, kernel tables of commit 095f58a5 (2026-08, Apache-2.0), https://github.com/ai-dynamo/aiconfigurator"
LAYERS = {"layers-rtx4090-llama-3.1-8b": "rtx4090", "layers-rtxpro6000-llama-3.1-8b": "rtx-pro-6000"}  # folder -> GPU
LAYERS_VERSION = "0.19"  # of vLLM
LAYERS_SOURCE = "LLMServingSim, profiler/perf: layers of Llama-3.1-8B in vLLM 0.19 (MIT), https://github.com/casys-kaist/LLMServingSim"
PROJECTIONS = {  # inputs and outputs of Llama 3.1 8B's products
    "qkv_proj": (4096, 6144),
    "o_proj": (4096, 4096),
    "gate_up_proj": (4096, 28672),
    "down_proj": (14336, 4096),
}
GPUS = {  # folder of tables -> our name of the GPU
    "a100_sxm": "a100-80gb-sxm",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200",
    "b200_sxm": "b200",
    "b300_sxm": "b300",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "l4": "l4",
    "a30": "a30",
    "a100_pcie": "a100-80gb-pcie",
    "h100_pcie": "h100-pcie",
    "h20_sxm": "h20",
    "rtx_pro_6000_server": "rtx-pro-6000",
    "b60": "arc-pro-b60",
}
FORMATS = {  # the tables' data types -> ours
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8-block128",
    "nvfp4": "nvfp4",
    "sq": "int8",
    "int8_wo": "int8-weights",
    "int4_wo": "int4-weights",
    "w4a16_mxfp4": "mxfp4-weights",
    "w4a8_mxfp4_mxfp8": "mxfp4-fp8",
}
QUANTISED = ("fp8", "fp8-block128", "nvfp4")
CACHE_BYTES = {"bfloat16": 2, "fp8": 1}
SKEW = {"balanced": 0.0, "power_law_1.01": 1.0, "power_law_1.2": 1.3}
LATENT = 576  # elements that DeepSeek's attention keeps of a token: 512 of the latent and 64 with rotary positions
MIXED = ("wide", "one")  # variants of attention that are with and without a window
EVERY = 10**9  # keys of a window that leaves out none
WIDEST = 32  # query heads of a KV head that most kernels take together at most
FEWEST = 30  # rows that a fit needs
EXCHANGES = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}
ELEMENT = {"half": 2, "int8": 1, "bfloat16": 2}

Arrays = dict[str, Any]


class Group(NamedTuple):
    """The rows of one form and variant on one GPU: sizes by name, seconds, and the least that a row can take."""

    form: str
    variant: str
    sizes: Arrays
    seconds: Any
    least: Any
    gpu: str = ""


# ---------------------------------------------------------------------------------------------------------------- rows


def tables(folder: Path, kind: str) -> Iterator[tuple[str, str, str, Arrays]]:
    """GPU, engine, version and columns of each table of a kind under a folder."""
    from pyarrow import parquet

    for path in sorted(folder.glob(f"*/{kind}-*.parquet")):
        match = re.fullmatch(rf"{kind}-([a-z0-9]+)-(.+)", path.stem)
        if match and path.parent.name in GPUS:
            columns = parquet.read_table(path).to_pydict()
            yield GPUS[path.parent.name], match[1], match[2], {key: np.array(values) for key, values in columns.items()}
    for name, gpu in LAYERS.items():
        rows = list(layer_rows(folder / name, kind)) if (folder / name).is_dir() else []
        if rows:
            yield gpu, "vllm", LAYERS_VERSION, {key: np.array([row[key] for row in rows]) for key in rows[0]}


def layer_rows(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Rows of Llama 3.1 8B's layers as those of a table of a kind: products, or attention of one phase alone."""
    if kind == "gemm":
        for row in csv.DictReader((folder / "dense.csv").open(encoding="utf-8")):
            if row["layer"] in PROJECTIONS:
                k, n = PROJECTIONS[row["layer"]]
                sizes = {"m": int(row["tokens"]), "n": n, "k": k, "gemm_dtype": "bfloat16"}
                yield sizes | {"latency": float(row["time_us"]) / 1e3}
    elif kind in ("context_attention", "generation_attention"):
        heads = {"num_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
        types = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16"}
        for row in csv.DictReader((folder / "attention.csv").open(encoding="utf-8")):
            chunk, before, decoding, keys = (
                int(row[name]) for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
            )
            sizes = {"batch_size": 1, "isl": chunk, "step": before}
            if kind == "generation_attention":
                sizes, chunk, decoding = {"batch_size": decoding, "isl": 1, "step": keys - 1}, decoding, chunk
            if chunk and not decoding:
                yield sizes | heads | types | {"latency": float(row["time_us"]) / 1e3}


def numbers(table: Arrays, *names: str) -> list[Any]:
    """Columns of a table as arrays of floats."""
    return [table[name].astype(float) for name in names]


def figures(gpu: str, width: str) -> Figures:
    """A GPU's figures for a type; ends the program where its spec lacks one."""
    found = figures_of(load_hardware(gpu), width)
    if found is None:
        raise SystemExit(f"{gpu}: no peak, bandwidth or number of SMs in its spec")
    return found


def groups_of(labels: Any, make: Callable[[str, Any], Group | None]) -> Iterator[Group]:
    """One group for each label of the rows."""
    for label in sorted(set(labels)):
        made = make(label, np.array([each == label for each in labels]))
        if made is not None:
            yield made


def product_groups(gpu: str, table: Arrays) -> Iterator[Group]:
    """Matrix products, by format; block scales that do not divide the sizes are a variant of their own."""
    m, n, k, ms = numbers(table, "m", "n", "k", "latency")

    odd = (k % 128 != 0) | (n % 64 != 0)  # scales of blocks of 128 then need another kernel
    names = [FORMATS[name] for name in table["gemm_dtype"]]
    labels = [
        f"{name}/unaligned" if name == "fp8-block128" and each else name for name, each in zip(names, odd, strict=True)
    ]

    def make(name: str, rows: Any) -> Group:
        width = WIDTHS[name.partition("/")[0]]
        f = figures(gpu, width.compute)
        sizes = {"f": f, "m": m[rows], "n": n[rows], "k": k[rows], "width": width}
        least = np.maximum(2 * m * n * k / f.peak, k * n * width.weight / f.bandwidth)[rows]
        return Group("product", name, sizes, ms[rows] / 1e3, least, gpu)

    yield from groups_of(labels, make)


UNGATED = {
    (1024, 2688),
    (2048, 5120),
    (2688, 1856),
    (4096, 2688),
    (8192, 5120),
}  # (hidden, inter) of models without gates


def expert_groups(gpu: str, table: Arrays) -> Iterator[Group]:
    """A format's groups: the kernel that most rows were run with has the format's own name."""
    names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size", "latency")
    tokens, hidden, inter, topk, experts, tp, parts, ms = numbers(table, *names)
    skew = np.array([SKEW[name] for name in table["distribution"]])
    gated = np.array([(int(h), int(i)) not in UNGATED for h, i in zip(hidden, inter, strict=True)])
    labels = np.array(
        [f"{FORMATS[dtype]}/{source}" for dtype, source in zip(table["moe_dtype"], table["kernel_source"], strict=True)]
    )
    labels = np.array(
        [label if gate else f"{label.split('/')[0]}/ungated" for label, gate in zip(labels, gated, strict=True)]
    )
    usual = {}
    for label in set(labels):
        name = label.partition("/")[0]
        if not label.endswith("/ungated") and (labels == label).sum() > (labels == usual.get(name)).sum():
            usual[name] = label

    def make(label: str, rows: Any) -> Group:
        name = label.partition("/")[0]
        width = WIDTHS[name]
        f = figures(gpu, width.compute)
        products = 2 if label.endswith("/ungated") else 3
        size = {
            "tokens": tokens, "experts": experts, "topk": topk, "hidden": hidden, "inter": inter / tp,
            "parts": parts, "skew": skew,
        }  # fmt: skip
        sizes = {key: value[rows] for key, value in size.items()} | {"f": f, "width": width, "products": products}
        weights = np.minimum(experts, tokens * topk) / parts * hidden * inter / tp * products * width.weight
        flops = tokens * topk / parts * hidden * inter / tp * products * 2
        even = (skew == 0) * np.maximum(weights / f.bandwidth, flops / f.peak)
        return Group("experts", name if usual.get(name) == label else label, sizes, ms[rows] / 1e3, even[rows], gpu)

    yield from groups_of(labels, make)


def attention_sizes(table: Arrays, latent: bool) -> Arrays:
    """Batch, queries, keys, heads and their sizes of a table of attention; a latent's key has 192, its value 128."""
    batch, queries, step, heads = numbers(table, "batch_size", "isl", "step", "num_heads")
    sizes = {"batch": batch, "queries": queries, "keys": queries + step, "heads": heads}
    if latent:
        every = np.ones_like(batch)
        return sizes | {"kv_heads": heads, "d": 192 * every, "dv": 128 * every, "window": 0 * every}
    kv, d = numbers(table, "num_key_value_heads", "head_dim")
    window = table["window_size"].astype(float) if "window_size" in table else 0 * batch
    return sizes | {"kv_heads": kv, "d": d, "dv": d, "window": window}


def attention_labels(table: Arrays, window: Any, d: Any, latent: bool) -> list[str]:
    """`queries/cache`, with `/window`, `/latent` or the size of heads that is not 128: engines have other kernels."""
    types = [FORMATS[name] for name in table.get("attn_dtype", table.get("mla_dtype"))]
    caches = [FORMATS[name] for name in table["kv_cache_dtype"]]
    ends = [
        "/latent" if latent else f"{'/window' if w else ''}{f'/{int(x)}' if x != 128 else ''}"
        for w, x in zip(window, d, strict=True)
    ]
    return [f"{a}/{b}{end}" for a, b, end in zip(types, caches, ends, strict=True)]


def prefill_groups(gpu: str, table: Arrays, latent: bool = False) -> Iterator[Group]:
    """Attention of prompts, by the types of queries and cache, window and size of heads."""
    size = attention_sizes(table, latent)
    seconds = table["latency"].astype(float) / 1e3

    def make(label: str, rows: Any) -> Group:
        dtype, cache = label.split("/")[:2]
        f = figures(gpu, dtype)
        sizes = {key: value[rows] for key, value in size.items()} | {
            "f": f,
            "cache_bytes": {"bf16": 2, "fp8": 1}[cache],
        }
        if "window" not in label:
            sizes["window"] = 0
        q, keys, window = sizes["queries"], sizes["keys"], sizes["window"]
        pairs = causal_pairs(q, keys, window)
        least = sizes["batch"] * sizes["heads"] * pairs * 2 * (sizes["d"] + sizes["dv"]) / f.peak
        return Group("prefill", label, sizes, seconds[rows], least, gpu)

    yield from groups_of(attention_labels(table, size["window"], size["d"], latent), make)


def context_groups(gpu: str, table: Arrays) -> Iterator[Group]:
    """Attention of prompts; those of one token are steps of the decoding kernel, over a cache of one key: `/one`."""
    one = table["isl"] == 1
    for rows, reader in ((~one, prefill_groups), (one, one_token_groups)):
        if rows.any():
            yield from reader(gpu, {name: values[rows] for name, values in table.items()})


def one_token_groups(gpu: str, table: Arrays) -> Iterator[Group]:
    """Attention of prompts of one token."""
    return decode_groups(gpu, table, one=True)


def decode_groups(gpu: str, table: Arrays, latent: bool = False, one: bool = False) -> Iterator[Group]:
    """Attention of one token a sequence, by the same and by how many heads share a key."""
    size = attention_sizes(table, latent)
    seconds = table["latency"].astype(float) / 1e3

    def make(label: str, rows: Any) -> Group:
        dtype, cache = label.split("/")[:2]
        sizes = {key: size[key][rows] for key in ("batch", "keys", "heads")}
        sizes |= {"f": figures(gpu, dtype), "cache_bytes": {"bf16": 2, "fp8": 1}[cache]}
        sizes["kv_heads"] = np.ones_like(sizes["batch"]) if latent else size["kv_heads"][rows]
        sizes["cached"] = LATENT if latent else 2 * size["d"][rows]
        sizes["window"], inside = 0, sizes["keys"]
        if label.rsplit("/", maxsplit=1)[-1] in MIXED or "window" in label:
            sizes["window"] = np.where(size["window"] > 0, size["window"], EVERY)[rows]
            inside = np.minimum(sizes["keys"], sizes["window"])
        least = (
            sizes["batch"] * inside * sizes["kv_heads"] * sizes["cached"] * sizes["cache_bytes"] / sizes["f"].bandwidth
        )
        return Group("decode", label, sizes, seconds[rows], least, gpu)

    labels = attention_labels(table, size["window"], size["d"], latent)
    wide = (size["heads"] > WIDEST * size["kv_heads"]) & (not latent)
    labels = [
        "/".join([*label.split("/")[:2], "one" if one else "wide"]) if one or each else label
        for label, each in zip(labels, wide, strict=True)
    ]
    yield from groups_of(labels, make)


def exchange_groups(gpu: str, table: Arrays) -> Iterator[Group]:
    """NCCL's collectives by their kind; an engine's own all-reduce as `all_reduce`, or `all_reduce/eager`."""
    own = "allreduce_dtype" in table
    gpus, elements, ms = numbers(table, "num_gpus", "message_size", "latency")
    types = table["allreduce_dtype" if own else "nccl_dtype"]
    payload = elements * np.array([ELEMENT[name] for name in types])
    link = float(load_hardware(gpu).interconnect.value) / 2  # type: ignore[union-attr]
    eager = [str(name).endswith("eager") for name in table.get("backend", [""] * len(ms))]
    labels = [
        "custom_all_reduce" + ("/eager" if late else "") if own else EXCHANGES[name]
        for name, late in zip(table["op_name"], eager, strict=True)
    ]

    def make(label: str, rows: Any) -> Group:
        sizes = {"link": link, "payload": payload[rows], "gpus": gpus[rows]}
        least = (payload * (gpus - 1) / gpus / link)[rows]
        return Group("collective", label, sizes, ms[rows] / 1e3, least, gpu)

    yield from groups_of(labels, make)


READERS: dict[str, Callable[[str, Arrays], Iterator[Group]]] = {
    "gemm": product_groups,
    "moe": expert_groups,
    "context_attention": context_groups,
    "generation_attention": decode_groups,
    "context_mla": lambda gpu, table: prefill_groups(gpu, table, latent=True),
    "generation_mla": lambda gpu, table: decode_groups(gpu, table, latent=True),
    "custom_allreduce": exchange_groups,
    "nccl": exchange_groups,
}


def all_groups(folder: Path) -> tuple[dict[tuple[str, str], list[Group]], dict[tuple[str, str], dict[str, None]]]:
    """The groups of each (engine, GPU), and the versions of the engine that its tables are of."""
    found: dict[tuple[str, str], list[Group]] = defaultdict(list)
    versions: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for kind, reader in READERS.items():
        for gpu, engine, version, table in tables(folder, kind):
            if kind == "nccl" and engine != "nccl":
                continue
            found[engine, gpu] += reader(gpu, table)
            for of in (gpu, family_file(gpu)):
                versions[engine, of][version] = None
    return found, versions


# ---------------------------------------------------------------------------------------------------------------- fits


class Free(NamedTuple):
    """A number that is fitted: where it starts, and the ends that it stays between."""

    start: float
    least: float
    most: float


LAUNCH = Free(8e-6, 3e-7, 3e-4)
SHARE = Free(0.8, 0.03, 0.9995)
OVERLAP = Free(2.0, 1.0, 8.0)
FREE: dict[str, dict[str, Free]] = {
    "product": {
        "launch": Free(2.5e-6, 1e-7, 3e-4),
        "compute": Free(0.85, 0.1, 0.9995),
        "memory": SHARE,
        "overlap": OVERLAP,
        "draw": Free(200e9, 5e9, 5e12),
        "tile": Free(5e-7, 1e-9, 2e-5),
        "split": Free(3e-6, 1e-7, 2e-4),
        "quantise": Free(1.5e-6, 1e-8, 5e-5),
        "quantise_memory": Free(0.5, 0.02, 0.9995),
        "quantise_row": Free(1e-7, 1e-10, 5e-6),
        "later": Free(1e-6, 1e-9, 2e-4),
        "host": Free(3e-5, 1e-6, 1e-3),
    },
    "experts": {
        "launch": Free(20e-6, 1e-6, 3e-4),
        "compute": Free(0.75, 0.03, 0.9995),
        "memory": SHARE,
        "overlap": OVERLAP,
        "draw": Free(150e9, 3e9, 5e12),
        "tile": Free(4e-7, 1e-9, 2e-5),
        "moved": Free(1.0, 1e-3, 30),
        "scattered": Free(0.3, 1e-4, 30),
        "expert": Free(5e-9, 1e-11, 2e-6),
        "token": Free(5e-8, 1e-10, 1e-5),
        "skew": Free(0.25, 1e-3, 1.2),
        "spread": Free(0.7, 0.05, 2.0),
    },
    "prefill": {
        "launch": LAUNCH,
        "compute": SHARE,
        "pair": Free(2e-11, 1e-13, 2e-9),
        "memory": Free(0.6, 0.03, 0.9995),
        "overlap": OVERLAP,
        "tile": Free(1e-6, 1e-9, 3e-5),
        "store": Free(0.5, 1e-3, 30),
        "token": Free(5e-8, 1e-10, 1e-5),
        "outside": Free(0.05, 1e-4, 0.9999),
    },
    "decode": {
        "launch": LAUNCH,
        "memory": Free(0.85, 0.03, 0.9995),
        "overlap": OVERLAP,
        "start": Free(1e-6, 1e-9, 5e-5),
        "draw": Free(60e9, 5e8, 2e12),
        "key": Free(3e-10, 1e-13, 5e-8),
        "head": Free(5e-8, 1e-10, 1e-5),
        "split": Free(1e-6, 1e-8, 5e-5),
        "outside": Free(0.02, 1e-5, 0.9999),
    },
    "collective": {
        "launch": Free(6e-6, 5e-7, 5e-4),
        "peer": Free(5e-7, 1e-9, 1e-4),
        "link": Free(0.6, 0.005, 0.9995),
        "pair": Free(0.2, 1e-4, 1),
        "overlap": Free(1.5, 1.0, 8.0),
        "change": Free(1e-5, 1e-7, 1e-3),
        "small": Free(0.2, 0.002, 0.9995),
    },
}
FOUR = ((64, 64), (64, 128), (128, 128), (128, 256))
CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {  # numbers that are tried one after the other
    "product": {"tiles": (FOUR, ((64, 128), (128, 128)), ((128, 128),), ((16, 64), *FOUR), ((128, 128), (256, 128)))},
    "experts": {
        "tiles": (
            ((16, 64), (64, 64), (64, 128), (128, 128)),
            ((16, 128), (64, 128), (128, 128)),
            ((128, 128),),
            ((64, 128), (128, 128)),
            ((16, 128),),
            ((16, 64), (16, 128)),
            ((64, 64), (64, 128)),
        )
    },
    "prefill": {"queries": (64, 128, 256)},
    "decode": {"heads": (1, 16, 64, 128), "keys": (64, 128), "parts": (1, 16, 64, 4096)},
    "collective": {},
}


def seconds_of(form: str, x: Any, sizes: Arrays) -> Any:
    """The form's seconds for arrays of sizes."""
    return getattr(kernels, f"{form}_seconds")(x, **sizes)


def skewed(x: Any, sizes: Arrays) -> Any:
    """Seconds of experts for rows of which some have even routing and others a skew: a form branches on which."""
    even = sizes["skew"] == 0
    seconds = np.empty(len(even))
    for rows, skew in ((even, 0), (~even, sizes["skew"][~even])):
        if rows.any():
            part = {key: value[rows] if isinstance(value, np.ndarray) else value for key, value in sizes.items()}
            seconds[rows] = kernels.experts_seconds(x, **part | {"skew": skew})
    return seconds


def predict(group: Group, x: Any) -> Any:
    """The form's seconds for the rows of a group."""
    return skewed(x, group.sizes) if group.form == "experts" else seconds_of(group.form, x, group.sizes)


def share_of(group: Group, rows: Any) -> Group:
    """Some rows of a group."""
    sizes = {key: value[rows] if isinstance(value, np.ndarray) else value for key, value in group.sizes.items()}
    return group._replace(sizes=sizes, seconds=group.seconds[rows], least=group.least[rows])


class Model(NamedTuple):
    """A form with its chosen numbers fixed; those that are free are found by `solve`."""

    form: str
    chosen: dict[str, Any]
    names: tuple[str, ...]

    def made(self, free: Any) -> Any:
        """The form's numbers, of a vector of free ones: each by its logistic way between its ends, in logarithms."""
        values = {}
        for name, z in zip(self.names, free, strict=True):
            low, high = (math.log(end) for end in FREE[self.form][name][1:])
            values[name] = math.exp(low + (high - low) / (1 + math.exp(-max(-40.0, min(40.0, z)))))
        missing = {name: 0.0 for name in FORMS[self.form]._fields if name not in values and name not in self.chosen}
        return FORMS[self.form](**missing | self.chosen | values)

    def start(self) -> Any:
        """The vector of free numbers at which a fit starts."""

        def z(name: str) -> float:
            free = FREE[self.form][name]
            at = math.log(free.start / free.least) / math.log(free.most / free.least)
            return math.log(at / (1 - at))

        return np.array([z(name) for name in self.names])


WIDE = 0.1  # differences in log(predicted / measured) above this count less than their squares
PRIOR = 0.02  # how strongly free numbers are held where they start, so that those of no effect stay plausible


def solve(model: Model, groups: list[Group], start: Any | None = None, steps: int = 25) -> tuple[Any, float]:
    """The free numbers that fit best, and the mean robust loss: Levenberg and Marquardt, reweighted at each step."""
    first = model.start()
    z = first.copy() if start is None else np.array(start)
    logs = [np.log(group.seconds) for group in groups]

    def residual(z: Any) -> Any:
        x = model.made(z)
        return np.concatenate([np.log(predict(group, x)) - log for group, log in zip(groups, logs, strict=True)])

    def loss(r: Any, z: Any) -> float:
        return float(np.sum(WIDE**2 * (np.sqrt(1 + (r / WIDE) ** 2) - 1)) + PRIOR * np.sum((z - first) ** 2) / 2)

    r, damping = residual(z), 1e-2
    best = loss(r, z)
    for _ in range(steps):
        weights = 1 / np.sqrt(1 + (r / WIDE) ** 2)
        jacobian = np.stack([(residual(z + 1e-3 * unit) - r) / 1e-3 for unit in np.eye(len(z))], axis=1)
        normal = jacobian.T @ (weights[:, None] * jacobian) + PRIOR * np.eye(len(z))
        slope = jacobian.T @ (weights * r) + PRIOR * (z - first)
        gained = 0.0
        for _ in range(6):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -slope)
            trial = z + np.clip(step, -2, 2)
            new = residual(trial)
            value = loss(new, trial)
            if value < best:
                gained, z, r, best, damping = best - value, trial, new, value, max(damping / 5, 1e-6)
                break
            damping *= 5
        if gained < 1e-5 * best:
            break
    return z, best / len(r)


def off(group: Group, x: Any) -> Any:
    """|predicted / measured - 1| of a group's rows."""
    return np.abs(predict(group, x) / group.seconds - 1)


def seen_rows(group: Group) -> Any:
    """Which rows a fit sees: two thirds, by a hash of the row's sizes and time, the same every time."""
    names = sorted(name for name, value in group.sizes.items() if isinstance(value, np.ndarray))
    lines = zip(*(group.sizes[name] for name in names), group.seconds, strict=True)
    return np.array([zlib.crc32(repr(tuple(map(float, line))).encode()) % 3 > 0 for line in lines])


def models_of(form: str, variant: str) -> Iterator[Model]:
    """A model for every combination of the numbers that are tried one after the other."""
    fixed: dict[str, Any] = {}
    names = tuple(FREE[form])
    if form == "product" and variant.partition("/")[0] not in QUANTISED:
        names = tuple(name for name in names if not name.startswith("quantise"))
    if form == "product" and not variant.startswith("fp8-block128"):
        names = tuple(name for name in names if name not in ("later", "host"))
    if form in ("prefill", "decode") and "window" not in variant and "wide" not in variant:
        names = tuple(name for name in names if name != "outside")
    tried = CHOICES[form]
    for values in itertools.product(*tried.values()):
        yield Model(form, fixed | dict(zip(tried, values, strict=True)), names)


def plain(x: Any) -> dict[str, Any]:
    """Numbers as they are written: three digits, shares never rounded up to more than 1; defaults left out."""
    values = {}
    for name, value in x._asdict().items():
        written = short(value) if isinstance(value, float) else value
        if written != x._field_defaults.get(name):
            values[name] = written
    return values


class Result(NamedTuple):
    """A fit, as it is written, and the errors on each group's unseen rows."""

    form: str
    variant: str
    written: dict[str, Any]
    unseen: Any
    others: list[float]


FEW = 300  # rows of a GPU on which combinations are tried
MANY = 1200  # rows of a GPU that a fit sees at most


def thinned(group: Group, most: int) -> Group:
    """At most so many rows, drawn the same every time."""
    count = len(group.seconds)
    if count <= most:
        return group
    rows = np.zeros(count, dtype=bool)
    rows[np.random.default_rng(0).permutation(count)[:most]] = True
    return share_of(group, rows)


def possible_rows(groups: list[Group]) -> list[Group]:
    """The rows that are not faster than the GPU allows."""
    return [share_of(group, group.seconds >= group.least) for group in groups if (group.seconds >= group.least).any()]


def choose(form: str, variant: str, groups: list[Group]) -> tuple[Model, Any]:
    """The combination that fits best, and its free numbers on a few rows."""
    few = [thinned(group, FEW // math.ceil(len({group.gpu for group in groups}) / 2)) for group in groups]
    models = list(models_of(form, variant))
    tried = [solve(model, few, steps=10) for model in models]
    best = min(range(len(models)), key=lambda each: tried[each][1])
    return models[best], tried[best][0]


def fit(form: str, variant: str, groups: list[Group]) -> Result | None:
    """Fit one form to the rows of one variant, of one GPU or of several together; None where there are too few."""
    possible = possible_rows(groups)
    count = sum(len(group.seconds) for group in possible)
    if count < FEWEST:
        return None
    seen = [seen_rows(group) for group in possible]
    training = [share_of(group, rows) for group, rows in zip(possible, seen, strict=True)]
    testing = [share_of(group, ~rows) for group, rows in zip(possible, seen, strict=True)]
    model, z = choose(form, variant, [group for group in training if len(group.seconds)])
    z, _ = solve(model, [thinned(group, MANY) for group in training], z)
    x = model.made(z)
    unseen = np.concatenate([off(group, x) for group in testing])
    final, _ = solve(model, [thinned(group, MANY) for group in possible], z, steps=12)
    others = other_gpus(model, z, possible)
    written = plain(model.made(final)) | {"rows": count}
    if left_out := sum(len(group.seconds) for group in groups) - count:
        written["left_out"] = left_out
    written |= {"median": short(np.median(unseen)), "mean": short(np.mean(unseen))}
    if others:
        written["other_gpu"] = short(np.median(others))
    return Result(form, variant, written, unseen, others)


def other_gpus(model: Model, z: Any, groups: list[Group]) -> list[float]:
    """The median error on each GPU by numbers that were fitted to the others alone; none where there is but one."""
    found = []
    gpus = sorted({group.gpu for group in groups})
    for gpu in gpus if len(gpus) > 1 else ():
        rest = [thinned(group, MANY // 2) for group in groups if group.gpu != gpu]
        x = model.made(solve(model, rest, z, steps=10)[0])
        found.append(float(np.median(np.concatenate([off(group, x) for group in groups if group.gpu == gpu]))))
    return found


def short(value: Any) -> float:
    """A number with three digits."""
    return float(f"{value:.3g}")


def by_variant(groups: list[Group]) -> dict[tuple[str, str], list[Group]]:
    """Groups by their form and variant."""
    found: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in groups:
        found[group.form, group.variant].append(group)
    return found


class Task(NamedTuple):
    """One file's part: the rows of a variant, on one GPU or on the GPUs of a family."""

    engine: str
    of: str
    form: str
    variant: str
    groups: list[Group]


def run(task: Task) -> tuple[Task, Result | None]:
    """The fit of one task, in a process of its own."""
    return task._replace(groups=[]), fit(task.form, task.variant, task.groups)


def family_file(gpu: str) -> str:
    """The name of the file of a GPU's family; empty where it has none."""
    return FAMILY_FILES.get(family_of(load_hardware(gpu)), "")


def tasks_of(found: dict[tuple[str, str], list[Group]], families: bool) -> Iterator[Task]:
    """The fits of every GPU, and those of every family."""
    of_family: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for (engine, gpu), groups in found.items():
        for (form, variant), rows in by_variant(groups).items():
            yield Task(engine, gpu, form, variant, rows)
        if family_file(gpu) not in ("", *GPUS.values()):  # a family of one GPU has that one's numbers
            of_family[engine, family_file(gpu)] += groups
    if families:
        for (engine, family), groups in of_family.items():
            for (form, variant), rows in by_variant(groups).items():
                yield Task(engine, family, form, variant, rows)


def compact(fit: dict[str, Any]) -> str:
    """A fit as JSON without spaces, its numbers in as few characters as they need."""

    def text(value: Any) -> str:
        if not isinstance(value, float):
            return json.dumps(value, separators=(",", ":"))
        digits = f"{value:.2e}"
        mantissa, exponent = digits.split("e")
        return min(f"{float(mantissa):g}e{int(exponent)}", f"{value:.6g}", key=len)

    return "{" + ",".join(f'"{name}":{text(value)}' for name, value in fit.items()) + "}"


def write(out: Path, engine: str, version: str, of: str, fits: dict[str, dict[str, Any]]) -> None:
    """One file: a line for each fit. Fits that the file has and that were not made anew (--only) stay."""
    path = out / engine / f"{of}.json"
    if path.is_file():
        for form, kept in json.loads(path.read_text(encoding="utf-8"))["fits"].items():
            fits[form] = kept | fits.get(form, {})
    only_layers = of in LAYERS.values() and of not in GPUS.values()
    sources = [] if only_layers else [SOURCE]
    sources += [LAYERS_SOURCE] if engine == "vllm" and of in LAYERS.values() else []
    head = {"schema": FORMAT, "engine": engine, "version": version, "of": of, "source": "; ".join(sources)}
    lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    forms = [
        f'"{form}": {{\n'
        + ",\n".join(f"{json.dumps(name)}:{compact(fit)}" for name, fit in sorted(variants.items()))
        + "\n}"
        for form, variants in sorted(fits.items())
    ]
    lines.append('"fits": {\n' + ",\n".join(forms) + "\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def is_fitted(out: Path, task: Task) -> bool:
    """Whether a file has the numbers of a task."""
    path = out / task.engine / f"{task.of}.json"
    return path.is_file() and task.variant in json.loads(path.read_text("utf-8"))["fits"].get(task.form, {})


def fit_all(folder: Path, out: Path, only: str, families: bool, missing: bool, jobs: int) -> None:
    """Fit all tables of a folder, write a file for each engine and GPU or family, print errors."""
    found, versions = all_groups(folder)
    chosen = re.compile(only)
    tasks = [task for task in tasks_of(found, families) if chosen.search("/".join(task[:4]))]
    tasks = [task for task in tasks if not (missing and is_fitted(out, task))]
    print(f"{len(tasks)} fits", file=sys.stderr)
    written: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    unseen: dict[tuple[str, str], list[Any]] = defaultdict(list)
    left: dict[str, list[float]] = defaultdict(list)
    with ProcessPoolExecutor(jobs) as pool:
        for task, result in pool.map(run, tasks, chunksize=1):
            if result is None:
                continue
            shown = result.written
            written[task.engine, task.of][task.form][task.variant] = shown
            version = " ".join(versions[task.engine, task.of])
            write(out, task.engine, version, task.of, written[task.engine, task.of])
            unseen[task.form, task.of].append(result.unseen)
            left[task.form] += result.others
            print(
                f"{task.engine:7} {task.of:14} {task.form:10} {task.variant:30.30} {shown['rows']:6} "
                f"{100 * shown['median']:5.1f} {100 * shown['mean']:5.1f} "
                + " ".join(f"{100 * each:.0f}" for each in result.others),
                flush=True,
            )
    summary(unseen, left)


def summary(unseen: dict[tuple[str, str], list[Any]], left: dict[str, list[float]]) -> None:
    """Median and mean error on unseen rows of each form and GPU, and of GPUs left out whole."""
    for form in FORMS:
        for of in sorted({of for each, of in unseen if each == form}):
            rows = np.concatenate(unseen[form, of])
            print(f"{form:10} {of:14} {len(rows):7} rows {100 * np.median(rows):5.1f} {100 * rows.mean():5.1f}")
        if left[form]:
            print(f"{form:10} GPUs left out, medians of fits: {100 * np.median(left[form]):5.1f}")


def check(folder: Path) -> None:
    """Print how far the numbers that ship are off on the rows of some tables."""
    found, _ = all_groups(folder)
    unseen: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for (engine, gpu), groups in found.items():
        known = kernels.load_kernels(engine, gpu)
        for group in groups:
            fitted = known and known.find(group.form, group.variant, *usual_variants(group.variant))
            rows = share_of(group, group.seconds >= group.least)
            if fitted and len(rows.seconds):
                unseen[group.form, f"{engine} {gpu}"].append(off(rows, fitted.numbers))
            elif len(rows.seconds):
                print(f"no numbers: {engine} {gpu} {group.form} {group.variant}, {len(rows.seconds)} rows")
    summary(unseen, defaultdict(list))


def errors() -> str:
    """The errors that the shipped files state, as a table: form by form, GPU by GPU, weighted by rows."""
    found: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for path in sorted((shipped("hardware") / "kernels").glob("*/*.json")):
        known = kernels.read_kernels(path)
        for form, variants in known.fits.items():
            found[form, known.engine, known.of] += variants.values()
    lines = [
        "| kernels | engine | GPU or family | rows | left out | median error | mean error | on a GPU left out |",
        "| --- | --- | --- | --: | --: | --: | --: | --: |",
    ]
    for (form, engine, of), fits in sorted(found.items(), key=lambda each: (list(FORMS).index(each[0][0]), each[0])):
        rows = sum(fit.rows for fit in fits)
        cells = [form, engine, of, f"{rows:,}", f"{sum(fit.left_out for fit in fits):,}"]
        for error in ("median", "mean"):
            share = sum(getattr(fit, error) * fit.rows for fit in fits) / rows
            cells += [f"{100 * share:.1f} %"]
        others = [(fit.other_gpu, fit.rows) for fit in fits if fit.other_gpu is not None]
        weight = sum(rows for _, rows in others)
        cells.append(f"{100 * sum(error * rows for error, rows in others) / weight:.1f} %" if others else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def usual_variants(variant: str) -> list[str]:
    """What stands in for a variant without numbers: the same with fewer distinctions."""
    parts = variant.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def main() -> None:
    """Read the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit", help="fit, write the numbers, print their errors")
    fitting.add_argument("tables", type=Path)
    fitting.add_argument("-o", "--out", type=Path, required=True)
    fitting.add_argument("--only", default="", help="a pattern of engine/gpu/form/variant")
    fitting.add_argument("--no-families", dest="families", action="store_false")
    fitting.add_argument("--missing", action="store_true", help="leave alone what the files have already")
    fitting.add_argument("--jobs", type=int, default=2)
    checking = commands.add_parser("check", help="print the errors of the numbers that ship, on some tables")
    checking.add_argument("tables", type=Path)
    commands.add_parser("errors", help="print the errors that the shipped numbers state, as a table")
    asked = parser.parse_args()
    if asked.command == "errors":
        print(errors(), end="")
    elif asked.command == "fit":
        fit_all(asked.tables, asked.out, asked.only, asked.families, asked.missing, asked.jobs)
    else:
        check(asked.tables)


if __name__ == "__main__":
    main()
