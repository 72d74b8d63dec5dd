"""How much of a chip each kind of kernel reaches, and where that figure comes from.

A kernel takes T = t0 + ((F / (P·e_c))² + (B / (BW·e_m))²)^½: launch cost, and a smooth maximum of compute at e_c of the
peak and memory at e_m of the bandwidth. A prompt's attention reaches e_c only on long sequences: e_c·s / (s + s_half).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from llmcost.algebra import Number
from llmcost.operators import (
    Attention,
    CausalConv,
    Collective,
    Elementwise,
    Gemm,
    GroupedGemm,
    Lookup,
    Operator,
    Scan,
    TokenProduct,
    TokenShift,
)

KINDS: dict[Any, str] = {
    Gemm: "gemm",
    GroupedGemm: "grouped_gemm",
    TokenProduct: "gemm",
    Attention: "attention_prefill",
    CausalConv: "scan",
    Scan: "scan",
    TokenShift: "scan",
    Elementwise: "elementwise",
    Lookup: "elementwise",
    Collective: "node",
}
KERNELS = (*dict.fromkeys(KINDS.values()), "attention_decode", "fabric")  # kinds that an Efficiency has figures for


def kind_of(op: Operator) -> str:
    """The kind of kernel that an operator is."""
    kind = KINDS[type(op)]
    return "attention_decode" if kind == "attention_prefill" and op.decode else kind  # type: ignore[attr-defined]


class Kernel(NamedTuple):
    """Shares and launch cost of one kind of kernel. Of an exchange: the share of the link, and the time of an empty one."""

    compute: Number  # e_c, share of the peak
    memory: Number  # e_m, share of the bandwidth, or of the link
    launch_seconds: Number  # t0
    half: Number = 0  # s_half, tokens at which half of e_c is reached


class Efficiency(NamedTuple):
    """A figure for every kind of kernel, what they rest on, and the error that this basis has shown."""

    kernels: Mapping[str, Kernel]
    basis: str
    error: float | None  # mean absolute relative error on held-out measurements of this basis


# Compute, memory and launch of every kernel alike: chosen on, and scored with, 30,303 timings of single fp16 GEMMs (cuBLAS) from
# microsoft/vidur, data/profiling/compute/*/*/mlp.csv. Mean absolute error: A100 7.3 %, H100 9.5 %, A40 7.9 %; the largest of
# the three is stated. Whole steps, attention, other data types and other makers' chips have not been measured.
GEMM_DEFAULT = Kernel(compute=0.74, memory=0.85, launch_seconds=5e-6)
# Exchanges: the share of a link that NCCL's ring all-reduce reaches at large sizes, and what an almost empty one takes.
# In a node: A100 78 %, H200 82 %, B200 76 %, MI300X 70 % (stas00/ml-engineering, network/README.md, busbw at 4 to 16 GiB);
# 4.7 to 7.4 µs on 8 GPUs in a CUDA graph (vLLM's custom all-reduce of 256 B on A100, H100, H200, B200: tables of
# ai-dynamo/aiconfigurator). Between nodes: 92 to 96 % of the ring's bytes over the NICs (NVIDIA/nccl-tests#290,
# NVIDIA/nccl#812), 95 % on EFA (stas00); 46 µs (NVIDIA/nccl#1244), 17 to 24 µs for one message (microsoft/vidur, send_recv.csv).
EXCHANGE_DEFAULTS = {"node": Kernel(1, 0.77, 5e-6), "fabric": Kernel(1, 0.9, 2e-5)}
DEFAULT = Efficiency(dict.fromkeys(KERNELS, GEMM_DEFAULT) | EXCHANGE_DEFAULTS, basis="defaults", error=0.095)
"""Used for every chip without a measured profile."""
