"""The shares and launch costs that hold where no profile was measured, each with what it rests on.

Where that is the name of a source under accuracy/published/, `python -m llmcost.accuracy.fit_defaults` makes the figure
from that source. efficiency.py makes these figures into shares for each kind of kernel. Training has shares of its own:
training_shares.py. A name that ends in a family of GPUs or a link (`narrow.compute@Hopper`) holds there alone; the same
name without an end holds everywhere else.
"""

from __future__ import annotations

from typing import Literal

from llmcost.ground.constants import Constant

# How kernels are started: replayed from a CUDA graph, put into a stream one by one, or one alone, launch not counted.
Launch = Literal["graph", "stream", "alone"]


FAMILIES = {  # architecture -> family, where GPUs of one architecture are alike
    "Hopper": "Hopper",
    "CDNA 2": "CDNA 2",
    "CDNA 3": "CDNA 3",
    "CDNA 4": "CDNA 3",
    "GCN 5.1": "GCN",
    **dict.fromkeys(("RDNA 3", "RDNA 3.5"), "RDNA"),
    "RDNA 4": "RDNA 4",
    **dict.fromkeys(("M1", "M2", "M3", "M4", "M5"), "Apple"),
    **dict.fromkeys(("Zen 4", "Zen 5"), "CPU"),
    **dict.fromkeys(("Golden Cove", "Redwood Cove"), "AMX"),  # CPUs with matrix units
}
# Architecture -> the family of its GPUs with HBM, or with ECC in their GDDR, and how their names begin; its others are
# "<architecture> GDDR".
DATA_CENTRE = {
    "Ada Lovelace": ("Ada", ("l4", "l20", "l40", "rtx4000-ada", "rtx5000-ada", "rtx6000-ada")),
    "Ampere": ("A100", ("a100", "a800", "a30")),
    "Blackwell": ("B200", ("b200", "gb200")),
    "Blackwell Ultra": ("B200", ("b300", "gb300")),
}

# Family -> the GPU whose shipped profile all of its GPUs take: one die, and what is left of it on each card. Their
# kernels reach the same shares, so that GPUs of a family are told apart by their peaks, bandwidths and links alone.
MEASURED = {"Hopper": "h200"}

_STRIX = "softab, hardware/strix-halo.yaml; of other CPUs none here"
DEFAULTS: dict[str, Constant] = {
    # Linear layers in 16 bits: shares of the peak and of the bandwidth.
    "gemm.compute": Constant(0.74, "vidur: linear layers of two Llama 2 models, fp16, on A100, H100 and A40"),
    "gemm.memory": Constant(0.8, "vidur, as gemm.compute"),
    "gemm.compute@CDNA 2": Constant(0.652, "llmcompass: products of 0.5 ms and more on MI210"),
    "gemm.compute@CDNA 3": Constant(
        0.51, "mamf: best shapes of three GPUs reach 0.51, 0.60 and 0.68; elsewhere typical ones reach 0.85 of that"
    ),
    "gemm.compute@AMX": Constant(
        0.19,
        "KTransformers, doc/en/AMX.md: 21 TFLOPS in bf16 on a Xeon of the fourth generation, of 32 cores at 3.4 GHz",
    ),
    **{
        f"{kind}.memory@{family}": Constant(share, source)
        for kinds, share, source in (
            (("attention", "elementwise"), 0.84, f"about 215 of 256 GB/s of Strix Halo's memory ({_STRIX})"),
            (
                ("gemm", "narrow"),
                0.5,
                "kvcache-ai/ktransformers, issue 477: DeepSeek-R1 on an EPYC 9654, 14 tokens/s",
            ),
        )
        for kind in kinds
        for family in ("CPU", "AMX")
    },
    # Linear layers that compute in 8 or 4 bits; and those whose weights have fewer bits than they are multiplied in.
    "narrow.compute": Constant(0.721, "as on Hopper; nothing was fitted for other families"),
    "narrow.compute@Hopper": Constant(0.721, "trtllm-0.17: one H100"),
    "narrow.compute@Ada": Constant(0.616, "trtllm-0.17: one L40S"),
    "narrow.compute@Ada Lovelace GDDR": Constant(0.616, "as narrow.compute@Ada"),
    "narrow.compute@B200": Constant(0.378, "trtllm-1.0-dense: one B200, fp4"),
    "narrow.compute@Blackwell GDDR": Constant(0.635, "trtllm-1.0-dense: RTX PRO 6000, fp4"),
    # Weights narrower than activations, whatever they are multiplied in.
    "narrow.memory": Constant(0.8, "as gemm.memory, with which TensorRT-LLM's fp8 runs on H100 and H200 agree"),
    "narrow.memory@A100": Constant(0.72, "mlc-perf-bench: ExLlamaV2 on A100s, one after the other"),
    "narrow.memory@Ada Lovelace GDDR": Constant(0.943, "mlc-perf-bench: one RTX 4090"),
    "narrow.memory@Ampere GDDR": Constant(0.943, "mlc-perf-bench: one RTX 3090 Ti, and A10Gs one after the other"),
    # Attention of prompts (with the tokens at which it reaches half) and over a cache; elementwise kernels.
    "attention.compute": Constant(
        0.662,
        "infersim-kernels: latent prompts on H800 (H100: 0.66, Dao-AILab/flash-attention, assets/flash3_fp16_fwd.png)",
    ),
    "attention.half": Constant(
        600, "FlashAttention 3 on H100, causal, from 512 to 16k tokens: assets of Dao-AILab/flash-attention"
    ),
    "attention.memory": Constant(0.936, "infersim-kernels: FlashInfer over caches on H800, 0.2 ms and more"),
    "elementwise.memory": Constant(0.586, "vidur: norms and activations on A100, H100 and A40"),
    # Seconds that a kernel takes however small it is: a product, an elementwise one. Seconds between two kernels.
    "launch": Constant(4.29e-06, "vidur, as gemm.compute"),
    "launch_small": Constant(4.46e-06, "vidur, as elementwise.memory"),
    "gap.graph": Constant(
        1.3e-6, "RRZE-HPC/gpu-benches, gpu-small-kernels: 1.3 µs in a CUDA graph, 2.4 µs in a stream, on A100 and H200"
    ),
    "gap.stream": Constant(2.88e-06, "trtllm-0.6.1: static batches on one A100"),
    # Collectives: share of the link, seconds of an empty one. In a CUDA graph a GPU reads its peers' memory directly.
    "link.share": Constant(0.915, "vidur: NCCL all-reduce over 2, 4 and 8 H100s"),
    "link.share@A100": Constant(0.586, "vidur: NCCL all-reduce over 2, 4 and 8 A100s"),
    "link.share@PCIe": Constant(0.545, "trtllm-0.17: 4 and 8 L40S"),
    "exchange.graph": Constant(
        6e-6,
        "vLLM's all-reduce of 256 B on 8 GPUs, 4.7 to 7.4 µs "
        "(A100, H100, H200, B200: tables of ai-dynamo/aiconfigurator)",
    ),
    "exchange.stream": Constant(3.78e-05, "vidur, as link.share"),
    "exchange.stream@A100": Constant(4.61e-05, "vidur, as link.share@A100"),
    "fabric.share": Constant(
        0.9,
        "92 to 96 % of the ring's bytes over the NICs: NVIDIA/nccl-tests#290, NVIDIA/nccl#812; 95 % on EFA (stas00)",
    ),
    "fabric.launch": Constant(
        2e-5, "17 to 24 µs for one message (microsoft/vidur, send_recv.csv); 46 µs in NVIDIA/nccl#1244"
    ),
}

# A profile has the fastest kernels that are installed, and nothing between them. Around them an engine has work of its
# own: its kernels reach this share of what they reach alone.
ENGINE = Constant(0.87, "trtllm-0.17: 43 runs on H100, by docs/profiles/h100-sxm.json")

BASIS = "defaults"  # what a prediction with these figures says that it rests on
