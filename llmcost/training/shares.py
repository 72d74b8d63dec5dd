"""What kernels reach in whole training runs, by GPU generation, where no profile was measured.

Less than a kernel reaches by itself (defaults.py): a GPU that trains for hours runs at its power limit. Chosen on
some published step times: PyTorch's kernels on 61 of MosaicML's llm-foundry (A100) and 77 (H100), 23 of BigScience's
1.3B (V100), 22 of SimuMax's (B200); the vendor's on 8 of NeMo 24.07's and 5 of Megatron-Bridge's (H100) and 8 of its
B200s. Mean absolute errors there: 6, 5, 8, 9, 6, 7 and 6 %. On sources that had no part in the choice: Narayanan 2021
5 %, Korthikanti 2022 3 %, YaFSDP 16 %, BLOOM 16 %, InternEvo 17 % (A100), torchtitan in bf16 6 %, in fp8 15 %, MLPerf
GPT-3 8 % (H100), Megatron-Bridge 6 % (GB200).
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.machine.efficiency import KERNELS, Efficiency, Kernel
from llmcost.machine.reached import by_profile
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.recipe import Recipe


class Shares(NamedTuple):
    """Of the peak that products reach, products in fp8, and attention (its causal pairs, forward and backward)."""

    products: float
    fp8: float
    attention: float


TORCH = {  # PyTorch's kernels: FlashAttention-2, casts to fp8 apart
    "Volta": Shares(0.68, 0.68, 0.30),
    "Ampere": Shares(0.76, 0.76, 0.30),
    "Hopper": Shares(0.60, 0.47, 0.18),
    "Blackwell": Shares(0.42, 0.42, 0.40),
}
VENDOR = TORCH | {  # the vendor's: cuDNN's attention, Transformer Engine
    "Hopper": Shares(0.60, 0.64, 0.35),
    "Blackwell": Shares(0.42, 0.66, 0.25),
}
OTHERS = Shares(0.60, 0.47, 0.25)  # between those above; nothing measured
# What the shares were chosen beside. Memory and launches: with 0.74 of the peak, 7.3, 9.5 and 7.9 % off on single
# fp16 GEMMs on A100, H100 and A40 (microsoft/vidur, data/profiling/compute). Exchanges: NCCL's ring all-reduce
# reaches 70 to 82 % of a node's links at large sizes (stas00/ml-engineering, network/README.md); between nodes as in
# defaults.py.
KERNEL = Kernel(compute=0.74, memory=0.85, launch_seconds=5e-6)
EXCHANGES = {"node": Kernel(1, 0.77, 5e-6), "fabric": Kernel(1, 0.9, 2e-5)}
GROUPED = 0.8  # of which experts' products reach this: chosen on SimuMax's 6 measurements of DeepSeek-V2
ERROR = 0.10  # mean absolute error over the sources that had no part in the choice


def training_efficiency(hardware: HardwareSpec, profile: str | None, recipe: Recipe, gpus: int) -> Efficiency:
    """What training reaches on GPUs, as `efficiency_for` (machine/reached.py) says it of serving.

    By the profile asked for; on one GPU alone by the one that ships for it; else what published runs have reached.
    Raises SpecError, or InputError for another GPU's profile.
    """
    default = shares_for(hardware, recipe)
    if profile is None and gpus > 1:
        return default
    return by_profile(hardware, profile, recipe.dtype, default, "train")


def shares_for(hardware: HardwareSpec, recipe: Recipe) -> Efficiency:
    """What published training runs have reached on GPUs of this generation, with the recipe's kernels and data type."""
    kernels = dict.fromkeys(KERNELS, KERNEL) | EXCHANGES
    if (
        recipe.dtype != "fp32"
    ):  # on vector units, which draw less, a single kernel's share holds: 25 of NeuSight's measurements, 11 %
        known = (VENDOR if recipe.kernels == "vendor" else TORCH).get(hardware.architecture.split(" ")[0], OTHERS)
        product = KERNEL._replace(compute=known.fp8 if recipe.dtype == "fp8" else known.products)
        kernels |= {"gemm": product, "grouped_gemm": product._replace(compute=GROUPED * product.compute)}
        kernels["attention_prefill"] = Kernel(known.attention, product.memory, product.launch_seconds)
    return Efficiency(kernels, "training defaults", ERROR)
