"""What others have measured on a chip: the figures that a run here is held against, each with where it was read."""

from __future__ import annotations

from typing import NamedTuple

MAMF = "stas00/ml-engineering, compute/accelerator/README.md, maximum achievable matmul"


class PublishedRate(NamedTuple):
    """The best credible rate of one kind: FLOP/s of matrix products in a data type, or bytes a second read and
    written.
    """

    rate: float
    source: str


# GPU -> data type of matrix products, or "memory".
PUBLISHED: dict[str, dict[str, PublishedRate]] = {
    "rtx4090": {
        "bf16": PublishedRate(164.8e12, "zzc0721/torch-performance-test-data#78"),
        "memory": PublishedRate(922e9, "krrishnarraj/clpeak#106"),
    },
    "a100-80gb-sxm": {
        "bf16": PublishedRate(271.2e12, MAMF),
        "memory": PublishedRate(1794e9, "RRZE-HPC/gpu-benches, gpu-stream/a100_80.txt, triad"),
    },
    "h100-sxm": {
        "bf16": PublishedRate(794.5e12, MAMF),
        "fp8": PublishedRate(1402.6e12, MAMF),
        "memory": PublishedRate(2959e9, "NVIDIA/cuda-samples#392, copy"),
    },
    "h200": {
        "bf16": PublishedRate(794.5e12, f"{MAMF}, of the H100: the same die"),
        "fp8": PublishedRate(1453.4e12, MAMF),
        "memory": PublishedRate(4432e9, "NVIDIA/cccl#2086, addition of 2^28 128-bit integers in 2.907 ms"),
    },
    "b200": {"bf16": PublishedRate(1745e12, MAMF), "fp8": PublishedRate(3432.5e12, MAMF)},
    "mi300x": {
        "bf16": PublishedRate(668e12, MAMF),
        "fp8": PublishedRate(1273e12, MAMF),
        "memory": PublishedRate(4000e9, "RRZE-HPC/gpu-benches, gpu-stream/mi300x.txt, triad"),
    },
}
