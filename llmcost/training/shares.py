"""What kernels reach in whole training runs, by generation of GPU, where no profile was measured.

That is less than a kernel reaches alone (machine/defaults.py): a GPU that trains for hours runs at its power limit.

The shares were chosen on published step times, with these mean absolute errors. PyTorch's kernels: 61 runs of
MosaicML's llm-foundry on A100 (6 %) and 77 on H100 (5 %), 23 of BigScience's 1.3B on V100 (8 %), 22 of SimuMax's on
B200 (9 %). The vendor's: 8 of NeMo 24.07's on H100 (6 %), 5 of Megatron-Bridge's on H100 (7 %) and 8 on B200 (6 %).

On sources that had no part in the choice the errors are, on A100: Narayanan 2021 5 %, Korthikanti 2022 3 %, YaFSDP
16 %, BLOOM 16 %, InternEvo 17 %; on H100: torchtitan 6 % in bf16 and 15 % in fp8, MLPerf GPT-3 8 %; on GB200:
Megatron-Bridge 6 %.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.machine.efficiency import KERNELS, Efficiency, Kernel
from llmcost.machine.reached import by_profile
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.recipe import Recipe


class Shares(NamedTuple):
    """Shares of the peak that kernels reach: products, products in fp8, attention (causal pairs, both passes)."""

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
OTHERS = Shares(0.60, 0.47, 0.25)  # other generations: between those above, nothing was measured
# All other figures, beside which the shares were chosen. Memory and launches: with 0.74 of the peak they are 7.3, 9.5
# and 7.9 % off on single fp16 GEMMs on A100, H100 and A40 (microsoft/vidur, data/profiling/compute). Collectives:
# NCCL's ring all-reduce reaches 70 to 82 % of a node's links at large sizes (stas00/ml-engineering, network/README.md);
# between nodes the figures are those of machine/defaults.py.
KERNEL = Kernel(compute=0.74, memory=0.85, launch_seconds=5e-6)
EXCHANGES = {"node": Kernel(1, 0.77, 5e-6), "fabric": Kernel(1, 0.9, 2e-5)}
GROUPED = 0.8  # of a product's share that experts' products reach: chosen on SimuMax's 6 measurements of DeepSeek-V2
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
    """What published training runs have reached on GPUs of this generation, with the recipe's kernels and data type.

    In fp32 products run on the vector units, which draw less power: there a single kernel's share holds (25 of
    NeuSight's measurements, 11 % off).
    """
    kernels = dict.fromkeys(KERNELS, KERNEL) | EXCHANGES
    if recipe.dtype != "fp32":
        known = (VENDOR if recipe.kernels == "vendor" else TORCH).get(hardware.architecture.split(" ")[0], OTHERS)
        product = KERNEL._replace(compute=known.fp8 if recipe.dtype == "fp8" else known.products)
        kernels |= {"gemm": product, "grouped_gemm": product._replace(compute=GROUPED * product.compute)}
        kernels["attention_prefill"] = Kernel(known.attention, product.memory, product.launch_seconds)
    return Efficiency(kernels, "training defaults", ERROR)
