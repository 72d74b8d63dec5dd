"""Fit the kernels of serving engines to public tables of them: `kernel_fits.py fit TABLES -o hardware/kernels`.

The tables are those of ai-dynamo/aiconfigurator (Apache-2.0): a folder for each GPU with one Parquet file for each
table, engine and version. They stay where they are; what is written is a few numbers for each kind of kernel, data
type, GPU and engine, in the forms of llmcost/machine/kernels.py, with the errors on rows that the fit did not see.

Beside them it reads layers of Llama 3.1 8B as LLMServingSim timed them inside vLLM (MIT): a folder `layers-<gpu>` of
CSV files for each GPU in LAYERS, whose rows are in the same fits.

`llmcost calibrate TABLES --score` predicts the rows of other tables by the numbers that ship.

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
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmcost.accuracy.collector import GPUS, Group, possible, seconds_of, share_of, tables_of
from llmcost.accuracy.collector_modules import attention_group, attention_of, kernels_group
from llmcost.accuracy.collector_tables import MODULES, READERS, SENT, left_out, read_groups
from llmcost.machine import kernels
from llmcost.machine.chip import links_of
from llmcost.machine.efficiency import family_of
from llmcost.machine.kernels import FAMILY_FILES, FORMAT, FORMS, Kernels, load_kernels
from llmcost.specs.catalog import load_engine, load_hardware, shipped

SOURCE = "https://github.com/ai-dynamo/aiconfigurator, tables of commit 095f58a5 (Apache-2.0)"
LAYERS = {"layers-rtx4090-llama-3.1-8b": "rtx4090", "layers-rtxpro6000-llama-3.1-8b": "rtx-pro-6000"}  # folder -> GPU
LAYERS_VERSION = "0.19"  # of vLLM
LAYERS_SOURCE = "LLMServingSim, profiler/perf: layers of Llama-3.1-8B in vLLM 0.19 (MIT), https://github.com/casys-kaist/LLMServingSim"
PROJECTIONS = {  # inputs and outputs of Llama 3.1 8B's products
    "qkv_proj": (4096, 6144),
    "o_proj": (4096, 4096),
    "gate_up_proj": (4096, 28672),
    "down_proj": (14336, 4096),
}
QUANTISED = ("fp8", "fp8-block128", "nvfp4")
CHOSEN = "glm5_dsa_attn_module"  # tables of attention to chosen latents, as prompts have it
FEWEST = 25  # rows that a fit needs
# ---------------------------------------------------------------------------------------------------------------- rows


def by_usual_kernel(groups: list[Group]) -> list[Group]:
    """Groups of a table of experts, in which the kernel that most rows of a format ran with has the format's name."""
    usual: dict[str, Group] = {}
    for group in sorted(groups, key=lambda each: each.variant):
        name = group.variant.partition("/")[0]
        if not group.variant.endswith("/ungated") and (
            name not in usual or len(group.seconds) > len(usual[name].seconds)
        ):
            usual[name] = group
    names = {id(group): name for name, group in usual.items()}
    return [group._replace(variant=names.get(id(group), group.variant)) for group in groups]


def all_groups(folder: Path) -> dict[tuple[str, str], list[Group]]:
    """The groups of kernels that were measured alone, of each (engine, GPU)."""
    found: dict[tuple[str, str], list[Group]] = defaultdict(list)
    tables = tables_of(folder)
    for kind in READERS:
        for table in tables if kind not in MODULES and kind not in SENT else ():
            if table.kind != kind or not table.gpu or (kind == "nccl") != (table.engine == "nccl"):
                continue
            groups = list(read_groups(table, table.gpu))
            found[table.engine, table.gpu] += by_usual_kernel(groups) if kind == "moe" else groups
    for name, gpu in LAYERS.items():
        for kind in ("gemm", "context_attention", "generation_attention") if (folder / name).is_dir() else ():
            rows = list(layer_rows(folder / name, kind))
            columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
            found["vllm", gpu] += READERS[kind](load_hardware(gpu), columns)
    return found


def versions_of(folder: Path) -> dict[tuple[str, str], str]:
    """The versions of each engine that tables of a GPU, or of its family, are of."""
    found: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    tables = [(table.kind, table.engine, table.gpu, table.version) for table in tables_of(folder)]
    layers = [("gemm", "vllm", gpu, LAYERS_VERSION) for name, gpu in LAYERS.items() if (folder / name).is_dir()]
    kinds = list(READERS)
    known = [each for each in tables if each[0] in kinds and each[2] and (each[0] == "nccl") == (each[1] == "nccl")]
    for _, engine, gpu, version in [*sorted(known, key=lambda each: kinds.index(each[0])), *layers]:
        for of in (gpu, family_file(gpu)):
            found[engine, of][version] = None
    return {key: " ".join(versions) for key, versions in found.items()}


def module_groups(folder: Path, *, attention: bool) -> dict[tuple[str, str], list[Group]]:
    """The groups of whole modules of each (engine, GPU): for their attention's forms, or for the modules' own.

    Their other kernels take what the numbers that ship say, so that those have to be there before.
    """
    found: dict[tuple[str, str], list[Group]] = defaultdict(list)
    tables = tables_of(folder)
    chosen = {table.engine for table in tables if table.kind == CHOSEN}
    for table in tables:
        if table.kind not in MODULES or left_out(table) or not table.gpu:
            continue
        engine, known = load_engine(table.engine), load_kernels(table.engine, table.gpu)
        for group in read_groups(table, table.gpu):
            if not attention:
                made = kernels_group(group, engine)
            elif known is None or not MODULES[table.kind] or measured_alone(group, known, table.engine in chosen):
                continue
            else:
                made = attention_group(group, engine)
            if made is not None:
                found[table.engine, table.gpu].append(made)
    return found


def measured_alone(group: Group, known: Kernels, chosen: bool) -> bool:
    """Whether a module's attention was measured alone too, in a CUDA graph; `chosen`: that to chosen latents was."""
    form, variants, *_ = attention_of(group)
    if form == "sparse":
        return chosen and variants[0] == "latent"
    usual = known.find(form, variants[0].removesuffix("/module"))
    return usual is not None and not usual.by_host()


def layer_rows(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Rows of Llama 3.1 8B's layers as those of a table of a kind: products, or attention of one phase alone."""
    if kind == "gemm":
        for row in csv.DictReader((folder / "dense.csv").open(encoding="utf-8")):
            if row["layer"] in PROJECTIONS:
                k, n = PROJECTIONS[row["layer"]]
                sizes = {"m": int(row["tokens"]), "n": n, "k": k, "gemm_dtype": "bfloat16"}
                yield sizes | {"latency": float(row["time_us"]) / 1e3}
        return
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


# ---------------------------------------------------------------------------------------------------------------- fits


class Free(NamedTuple):
    """A number that is fitted: where it starts, and the ends that it stays between."""

    start: float
    least: float
    most: float


LAUNCH = Free(8e-6, 3e-7, 3e-4)
SHARE = Free(0.8, 0.03, 0.9995)
OVERLAP = Free(2.0, 1.0, 8.0)
# Bytes/s that an SM of a Hopper draws at most for experts. Without a bound fits find up to 2e12, which is 260 TB/s on
# 132 SMs and far more than a cache gives; on rows that they did not see they are no nearer. It was looked for when
# Mixtral's four MLPerf runs came out 25 to 34 % too fast without it: these are not unseen.
DRAWN = 2.5e11
HELD_BACK = 1e-3  # seconds in which a host that no CUDA graph helps starts a module's kernels
# Seconds that an attention's launch takes at most, where that is told from a whole module's time. Decode's to chosen
# latents may take more, which is the host's: another engine's numbers then stand for it.
LAUNCHED = (3.5e-5, 4.5e-5)
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
        "spread": Free(1.0, 0.05, 30),
        "passed": Free(0.3, 1e-3, 30),
        "padded": Free(4.0, 0.01, 128),
        "fewest": Free(2.0, 1.0, 2000),
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
        "host": Free(3e-5, 1e-6, 1e-3),
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
        "host": Free(3e-5, 1e-6, 1e-3),
    },
    "collective": {
        "launch": Free(6e-6, 5e-7, 5e-4),
        "peer": Free(5e-7, 1e-9, 1e-4),
        "link": Free(0.6, 0.005, 0.9995),
        "pair": Free(0.2, 1e-4, 1),
        "overlap": Free(1.5, 1.0, 8.0),
        "change": Free(1e-5, 1e-7, 1e-3),
        "small": Free(0.2, 0.002, 0.9995),
        "crowd": Free(0.3, 1e-3, 1),
    },
    "sparse": {
        "launch": LAUNCH,
        "compute": Free(0.6, 0.03, 0.9995),
        "memory": SHARE,
        "overlap": OVERLAP,
        "start": Free(1e-6, 1e-9, 1e-4),
        "draw": Free(60e9, 5e8, 2e12),
        "split": Free(1e-6, 1e-8, 1e-4),
        "absent": Free(0.5, 1e-3, 0.9999),
    },
    "scores": {
        "launch": LAUNCH,
        "compute": Free(0.6, 0.03, 0.9995),
        "memory": SHARE,
        "overlap": OVERLAP,
        "key": Free(1e-9, 1e-13, 1e-7),
        "row": Free(1e-7, 1e-10, 1e-5),
    },
    "choice": {
        "launch": LAUNCH,
        "memory": SHARE,
        "overlap": OVERLAP,
        "row": Free(1e-6, 1e-9, 1e-4),
        "key": Free(1e-10, 1e-13, 1e-8),
    },
    "module": {
        "launch": Free(5e-6, 1e-9, 1e-3),
        "host": Free(5e-5, 1e-7, 1e-2),
        "overlap": Free(4.0, 1.0, 8.0),
        "compute": Free(0.95, 0.3, 0.9995),
    },
    "recurrence": {
        "launch": LAUNCH,
        "moved": Free(2.0, 1.0, 100),
        "states": Free(2.0, 1.0, 100),
        "overlap": OVERLAP,
        "step": Free(1e-6, 1e-10, 1e-4),
        "block": Free(1e-6, 1e-10, 1e-3),
        "head": Free(1e-7, 1e-10, 1e-4),
    },
}
FREE["spread"] = FREE["experts"]
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
    "module": {},
    "sparse": {"heads": (1, 16, 64, 128), "parts": (1, 16, 64)},
    "scores": {},
    "choice": {},
    "recurrence": {},
}

CHOICES["spread"] = CHOICES["experts"]


# Where nobody tuned SGLang's and vLLM's Triton kernel for a GPU and a layer: their get_default_config, by tokens.
UNTUNED = {"tiles": ((16, 32), (64, 64)), "by_tokens": 1.0}
TRITON, MARLIN = ("triton", "fused_moe"), ("marlin",)  # parts of names of kernels; those of flashinfer are others


class Model(NamedTuple):
    """A form with its chosen numbers fixed; those that are free are found by `solve`."""

    form: str
    chosen: dict[str, Any]
    names: tuple[str, ...]
    hopper: bool = False
    host: float = 0.0  # seconds that its host's time starts from, if not where FREE says
    launched: float = 0.0  # seconds of a launch at most, if not what FREE says

    def ends(self, name: str) -> Free:
        """A number's start and ends on the GPUs that are fitted."""
        free = FREE[self.form][name]
        if self.launched and name == "launch":
            return free._replace(most=self.launched)
        if self.host and name == "host":
            return free._replace(start=self.host)
        bounded = self.hopper and self.form == "experts" and name == "draw"
        return free._replace(most=DRAWN) if bounded else free

    def made(self, free: Any) -> Any:
        """The form's numbers, of a vector of free ones: each by its logistic way between its ends, in logarithms."""
        values = {}
        for name, z in zip(self.names, free, strict=True):
            low, high = (math.log(end) for end in self.ends(name)[1:])
            values[name] = math.exp(low + (high - low) / (1 + math.exp(-max(-40.0, min(40.0, z)))))
        missing = {name: 0.0 for name in FORMS[self.form]._fields if name not in values and name not in self.chosen}
        return FORMS[self.form](**missing | self.chosen | values)

    def start(self) -> Any:
        """The vector of free numbers at which a fit starts."""

        def z(name: str) -> float:
            free = self.ends(name)
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
        return np.concatenate([np.log(seconds_of(group, x)) - log for group, log in zip(groups, logs, strict=True)])

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
    return np.abs(seconds_of(group, x) / group.seconds - 1)


def seen_rows(group: Group) -> Any:
    """Which rows a fit sees: two thirds, by a hash of the row's sizes and time, the same every time."""
    names = sorted(name for name, value in group.sizes.items() if isinstance(value, np.ndarray))
    lines = zip(*(group.sizes[name] for name in names), group.seconds, strict=True)
    return np.array([zlib.crc32(repr(tuple(map(float, line))).encode()) % 3 > 0 for line in lines])


class Place(NamedTuple):
    """Where kernels were measured: `hosted`: no graph held them, a host started each; `pcie`: between the GPUs."""

    hosted: bool
    pcie: bool


def place_of(groups: list[Group]) -> Place:
    """The place of groups that are fitted together."""
    gpus = [load_hardware(group.gpu) for group in groups]
    return Place(all(gpu.vendor == "Intel" for gpu in gpus), all(links_of(gpu).over_pcie for gpu in gpus))


def names_of(form: str, variant: str, place: Place) -> tuple[str, ...]:
    """The numbers of a form that are free for a variant."""
    without: set[str] = set()
    if form == "product" and variant.partition("/")[0] not in QUANTISED:
        without |= {"quantise", "quantise_memory", "quantise_row"}
    if form == "product" and not variant.startswith("fp8-block128"):
        without |= {"later"} if place.hosted else {"later", "host"}
    if form == "collective" and not place.pcie:
        without |= {"crowd"}
    if form in ("prefill", "decode"):
        without |= set() if place.hosted else {"host"}
        without |= set() if "window" in variant or "wide" in variant else {"outside"}
    return tuple(name for name in FREE[form] if name not in without)


def models_of(form: str, variant: str, ran: str, place: Place) -> Iterator[Model]:
    """A model for every combination of the numbers that are tried one after the other. `ran`: the kernel's name."""
    names, tried = names_of(form, variant, place), CHOICES[form]
    if form == "prefill" and "latent" in variant and place.pcie:
        tried = tried | {"queries": (16, 32, 64, 128, 256)}  # keys of 192 leave workstations' SMs less room for queries
    if form == "sparse" and "decode" in variant:
        tried = tried | {"parts": (64,)}  # a host may hide what few sequences take, and no kernel leaves SMs idle
    for values in itertools.product(*tried.values()):
        yield Model(form, dict(zip(tried, values, strict=True)), names)
    if form == "module":
        yield Model(form, {}, names, host=HELD_BACK)
    triton = "flashinfer" not in ran and any(name in ran for name in TRITON)
    if triton:
        yield Model(form, UNTUNED, names)
    if triton or any(name in ran for name in MARLIN):
        yield from (Model(form, {"tiles": tiles, "whole": 1.0}, names) for tiles in tried["tiles"])


def plain(x: Any) -> dict[str, Any]:
    """Numbers as they are written: three digits, shares never rounded up to more than 1; defaults left out."""
    values = {}
    for name, value in x._asdict().items():
        written = short(value) if isinstance(value, float) else value
        if written != x._field_defaults.get(name) and not (name == "split" and getattr(x, "parts", 0) == 1):
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
    return [rows for rows in map(possible, groups) if len(rows.seconds)]


def choose(form: str, variant: str, groups: list[Group]) -> tuple[Model, Any]:
    """The combination that fits best, and its free numbers on a few rows."""
    few = [thinned(group, FEW // math.ceil(len({group.gpu for group in groups}) / 2)) for group in groups]
    hopper = all(load_hardware(group.gpu).architecture == "Hopper" for group in groups)
    inside = any("rest" in group.sizes for group in groups)
    most = LAUNCHED[variant.startswith("latent/decode")] if inside else 0.0
    models = [
        each._replace(hopper=hopper, launched=most)
        for each in models_of(form, variant, min(group.kernel for group in groups), place_of(groups))
    ]
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
    written = plain(model.made(final))
    if left_out := sum(len(group.seconds) for group in groups) - count:
        written["left_out"] = left_out
    left = [error(np.median(others))] if others else []
    written["errors"] = [count, error(np.median(unseen)), error(np.mean(unseen)), *left]
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


def error(value: Any) -> float:
    """An error to a tenth of a percent."""
    return round(float(value), 3)


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


FAMILIES_ALONE = ("spread", "sparse", "scores", "choice", "recurrence", "module")  # forms without numbers of each GPU


def of_families_alone(form: str, variant: str) -> bool:
    """Whether a kernel's numbers are those of its family alone, so that all of them stay few."""
    return form in FAMILIES_ALONE or "/absorb" in variant or variant.endswith("/module")


def tasks_of(found: dict[tuple[str, str], list[Group]], families: bool) -> Iterator[Task]:
    """The fits of every GPU, and those of every family."""
    of_family: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for (engine, gpu), groups in found.items():
        alone = family_file(gpu) in ("", gpu)
        for (form, variant), rows in by_variant(groups).items():
            if alone or not of_families_alone(form, variant):
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
        if isinstance(value, list) and all(isinstance(each, (int, float)) for each in value):
            return f"[{','.join(map(text, value))}]"
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


STAGES = ("kernels", "attention", "modules")  # each by the numbers of those before it


def fit_all(folder: Path, out: Path, only: str, families: bool, missing: bool, jobs: int, stages: list[str]) -> None:
    """Fit all tables of a folder, stage by stage."""
    versions = versions_of(folder)
    for stage in stages:
        found = all_groups(folder) if stage == "kernels" else module_groups(folder, attention=stage == "attention")
        fit_stage(found, versions, out, only, families, missing, jobs)


def fit_stage(
    found: dict[tuple[str, str], list[Group]],
    versions: dict[tuple[str, str], str],
    out: Path,
    only: str,
    families: bool,
    missing: bool,
    jobs: int,
) -> None:
    """Fit all groups, write a file for each engine and GPU or family, print errors."""
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
            write(out, task.engine, versions[task.engine, task.of], task.of, written[task.engine, task.of])
            unseen[task.form, task.of].append(result.unseen)
            left[task.form] += result.others
            rows, median, mean = shown["errors"][:3]
            print(
                f"{task.engine:7} {task.of:14} {task.form:10} {task.variant:30.30} {rows:6} "
                f"{100 * median:5.1f} {100 * mean:5.1f} " + " ".join(f"{100 * each:.0f}" for each in result.others),
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
    fitting.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="which kinds of tables")
    fitting.add_argument("--jobs", type=int, default=2)
    commands.add_parser("errors", help="print the errors that the shipped numbers state, as a table")
    asked = parser.parse_args()
    if asked.command == "errors":
        print(errors(), end="")
    else:
        fit_all(asked.tables, asked.out, asked.only, asked.families, asked.missing, asked.jobs, asked.stages)


if __name__ == "__main__":
    main()
