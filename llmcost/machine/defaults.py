"""The shares and launch costs that hold where nothing was measured: each with what it rests on.

Where that is the name of a source under published/, `python -m llmcost.accuracy.fit_defaults` makes the figure from it.
efficiency.py makes them into figures of each kind of kernel. Training has shares of its own: training/shares.py.
A name with a family or a link after it (`narrow.compute@Hopper`) holds there alone, one without everywhere else.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Launch = Literal["graph", "stream", "alone"]


class Default(NamedTuple):
    """A figure, and the measurements or pages that it rests on."""

    value: float
    rests_on: str


FAMILIES = {  # architecture -> family, where GPUs of one architecture are alike
    "Ada Lovelace": "Ada",
    "Hopper": "Hopper",
    "CDNA 2": "CDNA 2",
    "CDNA 3": "CDNA 3",
    "CDNA 4": "CDNA 3",
}
DATA_CENTRE = {  # architecture -> the family of its GPUs with HBM, and how their names begin; the others are "<architecture> GDDR"
    "Ampere": ("A100", ("a100", "a800")),
    "Blackwell": ("B200", ("b200", "gb200")),
    "Blackwell Ultra": ("B200", ("b300", "gb300")),
}

DEFAULTS: dict[str, Default] = {
    # Linear layers in 16 bits: share of the peak and of the bandwidth.
    "gemm.compute": Default(0.74, "vidur: linear layers of two Llama 2 models, fp16, on A100, H100 and A40"),
    "gemm.memory": Default(0.8, "vidur, as gemm.compute"),
    "gemm.compute@CDNA 2": Default(0.652, "llmcompass: products of 0.5 ms and more on MI210"),
    "gemm.compute@CDNA 3": Default(
        0.51, "mamf: best shapes of three GPUs reach 0.51, 0.60 and 0.68; elsewhere typical ones reach 0.85 of that"
    ),
    # Linear layers in 8 or 4 bits; weights in fewer bits than the type that they are multiplied in.
    "narrow.compute": Default(0.709, "as on Hopper; nothing was fitted for other families"),
    "narrow.compute@Hopper": Default(0.709, "trtllm-0.17: one H100"),
    "narrow.compute@Ada": Default(0.625, "trtllm-0.17: one L40S"),
    "narrow.compute@B200": Default(0.384, "trtllm-1.0-dense: one B200, fp4"),
    "narrow.compute@Blackwell GDDR": Default(0.635, "trtllm-1.0-dense: RTX PRO 6000, fp4"),
    "weight_only.memory": Default(0.943, "mlc-perf-bench: one RTX 4090, RTX 3090 Ti, and A10Gs one after the other"),
    "weight_only.memory@A100": Default(0.72, "mlc-perf-bench: ExLlamaV2 on A100s, one after the other"),
    # Attention of prompts (half of the share at so many tokens) and over a cache; streams.
    "attention.compute": Default(
        0.662,
        "infersim-kernels: latent prompts on H800 (H100: 0.66, Dao-AILab/flash-attention, assets/flash3_fp16_fwd.png)",
    ),
    "attention.half": Default(
        600, "FlashAttention 3 on H100, causal, from 512 to 16k tokens: assets of Dao-AILab/flash-attention"
    ),
    "attention.memory": Default(0.936, "infersim-kernels: FlashInfer over caches on H800, 0.2 ms and more"),
    "elementwise.memory": Default(0.586, "vidur: norms and activations on A100, H100 and A40"),
    # Seconds that a kernel takes however small it is, of products and of streams; and between two kernels.
    "launch": Default(4.29e-06, "vidur, as gemm.compute"),
    "launch_small": Default(4.46e-06, "vidur, as elementwise.memory"),
    "gap.graph": Default(
        1.3e-6, "RRZE-HPC/gpu-benches, gpu-small-kernels: 1.3 µs in a CUDA graph, 2.4 µs in a stream, on A100 and H200"
    ),
    "gap.stream": Default(2.88e-06, "trtllm-0.6.1: static batches on one A100"),
    # Exchanges: share of the link, and seconds of an empty one. In a CUDA graph a GPU reads its peers' memory at once.
    "link.share": Default(0.915, "vidur: NCCL all-reduce over 2, 4 and 8 H100s"),
    "link.share@A100": Default(0.586, "vidur: NCCL all-reduce over 2, 4 and 8 A100s"),
    "link.share@PCIe": Default(0.545, "trtllm-0.17: 4 and 8 L40S"),
    "exchange.graph": Default(
        6e-6,
        "vLLM's all-reduce of 256 B on 8 GPUs, 4.7 to 7.4 µs (A100, H100, H200, B200: tables of ai-dynamo/aiconfigurator)",
    ),
    "exchange.stream": Default(3.78e-05, "vidur, as link.share"),
    "exchange.stream@A100": Default(4.61e-05, "vidur, as link.share@A100"),
    "fabric.share": Default(
        0.9,
        "92 to 96 % of the ring's bytes over the NICs: NVIDIA/nccl-tests#290, NVIDIA/nccl#812; 95 % on EFA (stas00)",
    ),
    "fabric.launch": Default(
        2e-5, "17 to 24 µs for one message (microsoft/vidur, send_recv.csv); 46 µs in NVIDIA/nccl#1244"
    ),
}

# A profile has the fastest kernels that are installed, and nothing between them: an engine's steps take this much
# longer.
ENGINE = Default(0.87, "trtllm-0.17: 43 runs on H100, by docs/profiles/h100-sxm.json")

# |predicted / measured - 1| of the decode, prefill and whole-request figures of optimised engines that no default was
# fitted on: its mean and its median (docs/accuracy.md; tests/accuracy/test_scoreboard.py computes them anew).
BASIS = "defaults"  # what predictions say that they rest on
ERROR = 0.12
MEDIAN_ERROR = 0.06
# The same of a profile's kernels in an engine: offline throughput of optimised engines on H200s, none of which had a
# part in ENGINE.
ENGINE_ERROR = 0.05
ENGINE_MEDIAN_ERROR = 0.03
