"""Tables of kernels that come in some models alone: latent attention's products, sparse attention, recurrences.

Source of the columns' meaning: collectors and their names, https://github.com/ai-dynamo/aiconfigurator (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from llmcost.accuracy.collector import FORMATS, LATENT, Arrays, Group, labelled, numbers
from llmcost.machine.forms_products import WIDTHS
from llmcost.machine.kernels import figures_of
from llmcost.model.operators.sequence import causal_pairs
from llmcost.specs.hardware import HardwareSpec

NOPE, RANK = 128, 512  # of a head of DeepSeek-V3's queries without positions, and of its latent
TOP = 2048  # keys that GLM-5's indexer chooses
INDEX_HEADS, INDEX_HEAD = {"glm5": 32, "dsv4": 64}, 128
WINDOW, HEAVY, LIGHT = 128, 128, 4  # DeepSeek-V4's window, and tokens of a compressed key of its two kinds of layers
COMPRESSED = 584  # bytes of such a key: 448 in fp8 and 64 with positions in bf16, and 8 for scales (FlashMLA)
STATE_BYTES = 4  # of an element of linear attention's states
CONVOLVED = 128  # channels that a block of a convolution is counted for
KERNELS = {  # a name's part -> what the kernel is: those without are their table's usual ones
    "fused_decode": "/fused",
    "fused_kda_decode": "/fused",
    "fused_sigmoid_gating": "/several",
    "qkv3": "/three",
}


def absorbed_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """The products that latent attention has for each head, in decode: onto the latents and back."""
    tokens, heads, ms = numbers(table, "num_tokens", "num_heads", "latency")
    into = table["op_name"] == "mla_gen_pre"

    def label_of(dtype: str, into: bool) -> str | None:
        name = FORMATS.get(dtype)
        return None if name is None else f"{name}/{'absorb_key' if into else 'absorb_value'}"

    for label, rows in labelled([table["bmm_dtype"], into], label_of):
        width = WIDTHS[label.partition("/")[0]]
        f = figures_of(hardware, width.compute)
        if f is None:
            continue
        k, n = (NOPE, RANK) if label.endswith("key") else (RANK, NOPE)
        sizes = {"f": f, "m": tokens[rows], "n": n, "k": k, "width": width, "groups": heads[rows]}
        least = heads[rows] * np.maximum(2 * tokens[rows] * n * k / f.peak, n * k * width.weight / f.bandwidth)
        yield Group("product", label, sizes, ms[rows] / 1e3, least, hardware.name)


def recurrence_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Short convolutions, and linear attention's recurrences, each by phase."""
    f = figures_of(hardware, "bf16")
    if f is None:
        return
    batch, tokens, ms = numbers(table, "batch_size", "seq_len", "latency")
    conv = np.array(["conv1d" in name for name in table["kernel_source"]])
    if "nheads" in table:  # Mamba 2, whose convolutions alone were measured
        heads, size, state, groups = numbers(table, "nheads", "head_dim", "d_state", "n_groups")
        channels, io, states = heads * size + 2 * groups * state, 0 * heads, 0 * heads
    else:
        nk, dk, nv, dv = numbers(table, "num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim")
        channels, decays = 2 * nk * dk + nv * dv, nk * dk if table["op_name"][0] == "kda" else nv
        io, states, heads = channels + nv + decays + nv * dv, nv * dk * dv * STATE_BYTES, nv
    (kept,) = numbers(table, "d_conv")
    io = np.where(conv, 2 * channels, io) * 2 * batch * tokens
    states = np.where(conv, channels * (kept - 1) * 2, states) * batch
    heads = np.where(conv, channels / CONVOLVED, heads)
    convolution = "conv-mamba" if "nheads" in table else "conv"
    kind = str(table["op_name"][0]).replace("gdn", "delta").replace("kda", "delta-channels")
    phases = {"context": "prefill", "generation": "decode", "verify": "verify"}

    def label_of(conv: bool, phase: str, kernel: str) -> str | None:
        more = next((end for part, end in KERNELS.items() if part in kernel), "")
        return f"{convolution if conv else kind}/{phases[phase]}{more}" if phase in phases else None

    for label, rows in labelled([conv, table["phase"], table["kernel_source"]], label_of):
        size = {"batch": batch, "tokens": tokens, "heads": heads, "io": io, "state": states}
        sizes = {key: value[rows] for key, value in size.items()} | {"f": f}
        least = (io + states)[rows] / f.bandwidth
        yield Group("recurrence", label, sizes, ms[rows] / 1e3, least, hardware.name)


def _queries(table: Arrays) -> tuple[Any, Any, Any, Any]:
    """Sequences, new tokens of each, its keys, and seconds."""
    batch, queries, step, ms = numbers(table, "batch_size", "isl", "step", "latency")
    return batch, queries, queries + step, ms / 1e3


def chosen_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Attention over the latents that an indexer chose, which are kept in 16 bits."""
    f = figures_of(hardware, "bf16")
    if f is None:
        return
    batch, queries, keys, seconds = _queries(table)
    pairs = causal_pairs(queries, keys, TOP)
    heads, tp = numbers(table, "num_heads", "tp_size")
    sizes = {
        "f": f, "queries": batch * queries, "keys": pairs / queries, "places": TOP, "heads": heads / tp,
        "d": LATENT, "dv": RANK, "key_bytes": 2 * LATENT, "read": batch * np.minimum(keys, queries * TOP),
    }  # fmt: skip
    least = batch * pairs * heads / tp * 2 * (LATENT + RANK) / f.peak
    yield Group("sparse", "latent", sizes, seconds, least, hardware.name)


def compressed_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Attention over a window and heavily compressed keys, which are kept in fp8 and multiplied in 16 bits."""
    f = figures_of(hardware, "bf16")
    if f is None:
        return
    batch, queries, keys, seconds = _queries(table)
    heads, tp = numbers(table, "num_heads", "tp_size")
    pairs = causal_pairs(queries, keys, WINDOW) + queries * keys / HEAVY - queries * (queries - 1) / 2 / HEAVY
    sizes = {
        "f": f, "queries": batch * queries, "keys": pairs / queries, "places": 0, "heads": heads / tp,
        "d": RANK, "dv": RANK, "key_bytes": COMPRESSED,
        "read": batch * (np.minimum(keys, queries + WINDOW) + keys / HEAVY),
    }  # fmt: skip
    least = batch * pairs * heads / tp * 4 * RANK / f.peak
    yield Group("sparse", "compressed", sizes, seconds, least, hardware.name)


def score_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """An indexer's scores of all keys, or of DeepSeek-V4's compressed ones through pages."""
    f = figures_of(hardware, "fp8")
    if f is None or hardware.peak_of("fp8") is None:
        return
    batch, queries, keys, seconds = _queries(table)
    name = str(table["op_name"][0])
    every, heads = (LIGHT, INDEX_HEADS["dsv4"]) if name.startswith("dsv4") else (1, INDEX_HEADS["glm5"])
    pairs = batch * causal_pairs(queries, keys) / every
    sizes = {
        "f": f, "queries": batch * queries, "pairs": pairs, "heads": heads, "d": INDEX_HEAD,
        "key_bytes": INDEX_HEAD + 4, "read": batch * keys / every,
    }  # fmt: skip
    label = "paged" if every > 1 else "prompts"
    yield Group("scores", label, sizes, seconds, 0 * seconds, hardware.name)


def choice_groups(hardware: HardwareSpec, table: Arrays) -> Iterator[Group]:
    """Choosing the best keys of each query by their scores."""
    f = figures_of(hardware, "bf16")
    if f is None:
        return
    batch, queries, keys, seconds = _queries(table)
    size = {"queries": batch * queries, "pairs": batch * causal_pairs(queries, keys)}

    def label_of(mode: str) -> str:
        return "flat" if mode == "flat" else "top"  # all scores alike; the last keys' scores the highest

    for label, rows in labelled([table["score_mode"]], label_of):
        sizes = {key: value[rows] for key, value in size.items()} | {"f": f}
        yield Group("choice", label, sizes, seconds[rows], 0 * seconds[rows], hardware.name)
