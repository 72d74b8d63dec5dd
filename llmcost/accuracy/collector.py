"""Tables of measured kernels as ai-dynamo/aiconfigurator's collectors write them, as sizes for the forms of kernels.py.

A folder for each GPU holds one Parquet file for each table, engine and version: `h200_sxm/gemm-vllm-0.24.0.parquet`.
Each row is one kernel. `latency` is its time in milliseconds. Tables of products, experts, attention and collectives
are read here, those of kernels that come in some models alone in collector_blocks.py.

Source of the columns' meaning: collectors and their names, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmcost.ground.errors import InputError, SpecError, UnknownNameError
from llmcost.machine.chip import links_of
from llmcost.machine.forms_products import WIDTHS, experts_seconds, overlapped
from llmcost.machine.kernels import SECONDS, figures_of
from llmcost.model.operators.sequence import causal_pairs
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import HardwareSpec

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
CACHE_BYTES = {"bf16": 2, "fp8": 1}
EXPONENTS = {  # of experts' shares
    "balanced": 0.0,
    "uniform": 0.0,
    "power_law_0.6": 0.6,
    "power_law_0.8": 0.8,
    "power_law_1.01": 1.01,
    "power_law_1.02": 1.02,
    "power_law_1.2": 1.2,
}
LATENT = 576  # elements that DeepSeek's attention keeps of a token: 512 of the latent and 64 with rotary positions
MIXED = ("wide", "one")  # variants of attention that are with and without a window
EVERY = 10**9  # keys of a window that leaves out none
WIDEST = 32  # query heads of a KV head that most kernels take together at most
UNGATED = {  # (hidden, inter) of models without gates
    (1024, 2688),
    (2048, 5120),
    (2688, 1856),
    (4096, 2688),
    (8192, 5120),
}
HOST_OVERLAP = 6  # exponent of the smooth maximum of a module's kernels and of the host that starts them
EXCHANGES = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}
ELEMENT = {"half": 2, "int8": 1, "bfloat16": 2}
_NAME = re.compile(r"(?P<kind>[a-z0-9_]+)-(?P<engine>[a-z0-9.]+)-(?P<version>.+)")

Arrays = dict[str, Any]


class Table(NamedTuple):
    """One file of measured kernels. `gpu`: our name of it; empty where the folder's name is none that is known."""

    path: Path
    kind: str
    engine: str
    version: str
    gpu: str

    @property
    def name(self) -> str:
        """The GPU's folder and the file, as the layout has them."""
        return f"{self.path.parent.name}/{self.path.stem}"


class Group(NamedTuple):
    """The rows of one form and variant on one GPU: sizes by name, seconds, and the least that a row can take.

    `kernel`: of experts, what ran, as the table has it; empty where several did.
    """

    form: str
    variant: str
    sizes: Arrays
    seconds: Any  # (rows)
    least: Any  # (rows)
    gpu: str = ""
    kernel: str = ""


Readers = Callable[[HardwareSpec, Arrays], Iterator[Group]]


def tables_of(folder: Path) -> list[Table]:
    """The tables of a folder that holds GPUs' folders, or of one GPU's folder. Raises InputError where there are none.

    A file with another name than TABLE-ENGINE-VERSION.parquet is refused too.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of tables")
    found = []
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")]):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise InputError(f"{path}: not named TABLE-ENGINE-VERSION.parquet")
        found.append(Table(path, match["kind"], match["engine"], match["version"], gpu_of(path.resolve().parent.name)))
    if not found:
        raise InputError(f"{folder}: no GPU/TABLE-ENGINE-VERSION.parquet in it")
    return found


def gpu_of(folder: str) -> str:
    """Our name of the GPU that a folder is named after; "" where none is known by that name."""
    for name in (GPUS.get(folder, ""), folder.replace("_", "-"), folder.partition("_")[0]):
        try:
            return load_hardware(name).name if name else ""
        except UnknownNameError:
            continue
    return ""


@contextmanager
def opened(table: Table) -> Iterator[Any]:
    """A table's file. Raises InputError without pyarrow, SpecError for what is no such file."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError("tables of kernels need pyarrow: pip install 'llmcost-calculator[parquet]'") from None
    try:
        with parquet.ParquetFile(table.path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise SpecError(str(table.path), 0, "", f"not a Parquet file: {str(error).splitlines()[0][:120]}") from None


def rows_of(table: Table) -> int:
    """How many rows a table has, without reading them. Raises InputError or SpecError."""
    with opened(table) as file:
        return int(file.metadata.num_rows)


def numbers(table: Arrays, *names: str) -> list[Any]:
    """Columns of a table as arrays of floats."""
    return [table[name].astype(float) for name in names]


def labelled(columns: list[Any], label_of: Callable[..., str | None]) -> Iterator[tuple[str, Any]]:
    """Each label that rows have, and which rows: `label_of` the values of a row in these columns; None: none."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        codes = codes * len(values) + inverse
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    labels = [label_of(*[column[row] for column in columns]) for row in first]
    for label in sorted({label for label in labels if label is not None}):
        yield label, np.array([each == label for each in labels])[inverse]


def product_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Matrix products, by format; block scales that do not divide the sizes are a variant of their own."""
    m, n, k, ms = numbers(table, "m", "n", "k", "latency")
    odd = (k % 128 != 0) | (n % 64 != 0)  # scales of blocks of 128 then need another kernel

    def label_of(dtype: str, odd: bool) -> str | None:
        name = FORMATS.get(dtype)
        return f"{name}/unaligned" if name == "fp8-block128" and odd else name

    for name, rows in labelled([table["gemm_dtype"], odd], label_of):
        width = WIDTHS[name.partition("/")[0]]
        f = figures_of(hardware, width.compute)
        if f is None:
            continue
        sizes = {"f": f, "m": m[rows], "n": n[rows], "k": k[rows], "width": width}
        least = np.maximum(2 * m * n * k / f.peak, k * n * width.weight / f.bandwidth)[rows]
        yield Group("product", name, sizes, ms[rows] / 1e3, least, hardware.name)


def expert_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Mixtures of experts, by format and kernel; those without gates are a variant of their own."""
    names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size", "latency")
    tokens, hidden, inter, topk, experts, tp, parts, ms = numbers(table, *names)
    exponent = np.array([EXPONENTS.get(name, np.nan) for name in table["distribution"]])

    def label_of(dtype: str, kernel: str, hidden: float, inter: float, exponent: float) -> str | None:
        name = FORMATS.get(dtype)
        if name is None or np.isnan(exponent):
            return None
        return f"{name}/ungated" if (int(hidden), int(inter)) in UNGATED else f"{name}/{kernel}"

    for label, rows in labelled([table["moe_dtype"], table["kernel_source"], hidden, inter, exponent], label_of):
        width = WIDTHS[label.partition("/")[0]]
        f = figures_of(hardware, width.compute)
        if f is None:
            continue
        products = 2 if label.endswith("/ungated") else 3
        size = {
            "tokens": tokens, "experts": experts, "topk": topk, "hidden": hidden, "inter": inter / tp,
            "parts": parts, "fullest": fullest_share(tokens, experts, topk, parts, exponent),
        }  # fmt: skip
        sizes = {key: value[rows] for key, value in size.items()} | {"f": f, "width": width, "products": products}
        weights = np.minimum(experts, tokens * topk) / parts * hidden * inter / tp * products * width.weight
        flops = tokens * topk / parts * hidden * inter / tp * products * 2
        even = (exponent == 0) * np.maximum(weights / f.bandwidth, flops / f.peak)
        ran = set(table["kernel_source"][rows])
        yield Group("experts", label, sizes, ms[rows] / 1e3, even[rows], hardware.name, *(ran if len(ran) == 1 else ()))


def fullest_share(tokens: Any, experts: Any, topk: Any, parts: Any, exponent: Any) -> Any:
    """How often the mean's rows the fullest GPU is expected to have, with experts' shares drawn by a power law.

    Shares are drawn from 1 to 0.8 of the tokens, or over a range of 200 where tokens choose fewer experts than there
    are. A GPU's sum of them is taken as gamma distributed: the cube of a normal number (Wilson and Hilferty), of which
    the mean largest of `parts` is taken; an expert's largest share bounds it. Within 4 % in the mean of 400 draws of
    8 to 384 experts. 0 where all have as much.
    """
    ends = np.where(tokens * topk > experts, np.maximum(2, 0.8 * tokens), 200)
    moments = [(ends ** (n + 1 - exponent) - 1) / (n + 1 - exponent) for n in range(3)]
    mean, square = moments[1] / moments[0], moments[2] / moments[0]
    shape = experts / parts / (square / mean**2 - 1)
    deviation = 1 / (3 * np.sqrt(shape))
    largest, variance = np.maximum(0, np.sqrt(2 * np.log(parts)) - 0.6), 1 / (1 + 0.8 * np.log(parts))
    root = np.maximum(0, 1 - deviation**2 + deviation * largest)
    expected = root**3 + 3 * root * deviation**2 * variance
    return (exponent > 0) * np.clip(expected, 1, np.minimum(parts, ends / mean))


def _attention_sizes(table: Arrays, *, latent: bool) -> Arrays:
    """Batch, queries, keys, heads and their sizes of a table of attention; a latent's key has 192, its value 128."""
    batch, queries, step, heads = numbers(table, "batch_size", "isl", "step", "num_heads")
    sizes = {"batch": batch, "queries": queries, "keys": queries + step, "heads": heads}
    if latent:
        every = np.ones_like(batch)
        return sizes | {"kv_heads": heads, "d": 192 * every, "dv": 128 * every, "window": 0 * every}
    kv, d = numbers(table, "num_key_value_heads", "head_dim")
    window = table["window_size"].astype(float) if "window_size" in table else 0 * batch
    return sizes | {"kv_heads": kv, "d": d, "dv": d, "window": window}


def _attention_labels(table: Arrays, size: Arrays, ending: Callable[..., str], *more: Any) -> Iterator[tuple[str, Any]]:
    """`queries/cache` and an ending, by which engines have other kernels; types that are not understood have none."""
    queries = table["attn_dtype"] if "attn_dtype" in table else table["mla_dtype"]
    windowed = size["window"] > 0

    def label_of(queries: str, cache: str, windowed: bool, d: float, *more: Any) -> str | None:
        types = [FORMATS.get(queries), FORMATS.get(cache)]
        if not all(each in CACHE_BYTES for each in types):
            return None
        return f"{types[0]}/{types[1]}{ending(windowed, d, *more)}"

    yield from labelled([queries, table["kv_cache_dtype"], windowed, size["d"], *more], label_of)


def _usual_ending(windowed: bool, d: float) -> str:
    return f"{'/window' if windowed else ''}{f'/{int(d)}' if d != 128 else ''}"


def prefill_groups(hardware: HardwareSpec, table: Arrays, *, latent: bool = False) -> Iterator[Group]:
    """Attention of prompts, by the types of queries and cache, window and size of heads."""
    size = _attention_sizes(table, latent=latent)
    seconds = table["latency"].astype(float) / 1e3
    ending = (lambda *_: "/latent") if latent else _usual_ending
    for label, rows in _attention_labels(table, size, ending):
        dtype, cache = label.split("/")[:2]
        f = figures_of(hardware, dtype)
        if f is None:
            continue
        sizes = {key: value[rows] for key, value in size.items()} | {"f": f, "cache_bytes": CACHE_BYTES[cache]}
        if "window" not in label:
            sizes["window"] = 0
        pairs = causal_pairs(sizes["queries"], sizes["keys"], sizes["window"])
        least = sizes["batch"] * sizes["heads"] * pairs * 2 * (sizes["d"] + sizes["dv"]) / f.peak
        yield Group("prefill", label, sizes, seconds[rows], least, hardware.name)


def context_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Attention of prompts; those of one token are steps of the decoding kernel, over a cache of one key: `/one`."""
    one = table["isl"] == 1
    for rows, reader in ((~one, prefill_groups), (one, _one_token_groups)):
        if rows.any():
            yield from reader(hardware, {name: values[rows] for name, values in table.items()})


def _one_token_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Attention of prompts of one token."""
    return decode_groups(hardware, table, one=True)


def decode_groups(hardware: HardwareSpec, table: Arrays, *, latent: bool = False, one: bool = False) -> Iterator[Group]:
    """Attention of one token a sequence, by the same and by how many heads share a key."""
    size = _attention_sizes(table, latent=latent)
    seconds = table["latency"].astype(float) / 1e3
    wide = (size["heads"] > WIDEST * size["kv_heads"]) & (not latent)

    def ending(windowed: bool, d: float, wide: bool) -> str:
        usual = "/latent" if latent else _usual_ending(windowed, d)
        return "/one" if one else "/wide" if wide else usual

    for label, rows in _attention_labels(table, size, ending, wide):
        dtype, cache = label.split("/")[:2]
        f = figures_of(hardware, dtype)
        if f is None:
            continue
        sizes = {key: size[key][rows] for key in ("batch", "keys", "heads")}
        sizes |= {"f": f, "cache_bytes": CACHE_BYTES[cache]}
        sizes["kv_heads"] = np.ones_like(sizes["batch"]) if latent else size["kv_heads"][rows]
        sizes["cached"] = LATENT if latent else 2 * size["d"][rows]
        sizes["window"], inside = 0, sizes["keys"]
        if label.rsplit("/", maxsplit=1)[-1] in MIXED or "window" in label:
            sizes["window"] = np.where(size["window"] > 0, size["window"], EVERY)[rows]
            inside = np.minimum(sizes["keys"], sizes["window"])
        kept = sizes["batch"] * inside * sizes["kv_heads"] * sizes["cached"] * sizes["cache_bytes"]
        yield Group("decode", label, sizes, seconds[rows], kept / f.bandwidth, hardware.name)


def exchange_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """NCCL's collectives by their kind; an engine's own all-reduce as `custom_all_reduce`, or `…/eager`."""
    own = "allreduce_dtype" in table
    gpus, elements, ms = numbers(table, "num_gpus", "message_size", "latency")
    types = table["allreduce_dtype" if own else "nccl_dtype"]
    payload = elements * np.array([ELEMENT.get(name, np.nan) for name in types])
    link = links_of(hardware).node_bytes_per_s
    if link is None:
        return
    late = np.array([str(name).endswith("eager") for name in table.get("backend", [""] * len(ms))])

    def label_of(kind: str, dtype: str, late: bool) -> str | None:
        if dtype not in ELEMENT:
            return None
        return "custom_all_reduce" + ("/eager" if late else "") if own else EXCHANGES.get(kind)

    for label, rows in labelled([table["op_name"], types, late], label_of):
        sizes = {"link": float(link), "payload": payload[rows], "gpus": gpus[rows]}
        least = (payload * (gpus - 1) / gpus / link)[rows]
        yield Group("collective", label, sizes, ms[rows] / 1e3, least, hardware.name)


def seconds_of(group: Group, x: Any) -> Any:
    """The form's seconds for the rows of a group, with some numbers of the form."""
    if "rest" in group.sizes:
        return _in_a_module(group, x)
    if group.form not in ("experts", "spread"):
        return SECONDS[group.form](x, **group.sizes)
    even = group.sizes["fullest"] == 0  # a form branches on whether routing is even
    seconds = np.empty(len(even))
    for rows, fullest in ((even, 0), (~even, group.sizes["fullest"][~even])):
        if rows.any():
            seconds[rows] = experts_seconds(x, **share_of(group, rows).sizes | {"fullest": fullest})
    return seconds


def _in_a_module(group: Group, x: Any) -> Any:
    """The seconds of a module in which the other operators take `rest`, and the host as long as `host` to start all."""
    sizes = {name: value for name, value in group.sizes.items() if name not in ("rest", "host")}
    return overlapped((SECONDS[group.form](x, **sizes) + group.sizes["rest"], group.sizes["host"]), HOST_OVERLAP)


def share_of(group: Group, rows: Any) -> Group:
    """Some rows of a group."""
    sizes = {key: value[rows] if isinstance(value, np.ndarray) else value for key, value in group.sizes.items()}
    return group._replace(sizes=sizes, seconds=group.seconds[rows], least=group.least[rows])


def possible(group: Group) -> Group:
    """The rows that are not faster than the GPU allows: all FLOPs at the peak, all weights, keys and values once."""
    return share_of(group, group.seconds >= group.least)


def stand_ins(variant: str) -> list[str]:
    """What stands in for a variant without numbers: the same with fewer distinctions."""
    parts = variant.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
