"""What kernels reach in whole training runs, by GPU generation, where no profile was measured.

Less than a kernel reaches by itself (efficiency.py): a GPU that trains for hours runs at its power limit. Chosen on some published
step times: A100, 61 of MosaicML's (llm-foundry); H100, 77 of them; V100, 23 of BigScience's (1.3B); B200, 22 of SimuMax's. Mean
absolute errors on those: 6, 5, 9, 11 %. On sources that had no part in the choice: Korthikanti 2022 3 %, InternEvo 8 %, BLOOM
14 %, YaFSDP 15 % (all A100), torchtitan in bf16 8 %, in fp8 18 % (H100).
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.efficiency import DEFAULT, Efficiency, Kernel
from llmcost.specs.hardware import HardwareSpec


class Shares(NamedTuple):
    """Of the peak that products reach, products in fp8, and attention (its causal pairs, forward and backward)."""

    products: float
    fp8: float
    attention: float


ARCHITECTURES = {
    "Volta": Shares(0.68, 0.68, 0.30),
    "Ampere": Shares(0.76, 0.76, 0.30),
    "Hopper": Shares(0.60, 0.47, 0.18),
    "Blackwell": Shares(0.42, 0.42, 0.40),
}
OTHERS = Shares(0.60, 0.47, 0.25)  # between those above; nothing measured
GROUPED = 0.8  # of which experts' products reach this: chosen on SimuMax's 6 measurements of DeepSeek-V2
ERROR = 0.12  # mean absolute error over the sources that had no part in the choice


def shares_for(hardware: HardwareSpec, dtype: str = "bf16") -> Efficiency:
    """The defaults of training on a GPU; memory, launches and exchanges as everywhere."""
    if dtype == "fp32":  # on vector units, which draw less: single kernels' shares hold (25 of NeuSight's measurements: 10 %)
        return DEFAULT
    known = ARCHITECTURES.get(hardware.architecture.split(" ")[0], OTHERS)
    kernels = dict(DEFAULT.kernels)
    product = kernels["gemm"]._replace(compute=known.fp8 if dtype == "fp8" else known.products)
    kernels |= {"gemm": product, "grouped_gemm": product._replace(compute=GROUPED * product.compute)}
    kernels["attention_prefill"] = Kernel(known.attention, product.memory, product.launch_seconds)
    return Efficiency(kernels, "training defaults", ERROR)
