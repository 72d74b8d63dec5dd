"""What kernels reach in whole training runs, by generation of GPU, where no profile was measured.

That is less than a kernel reaches alone (machine/defaults.py): a GPU that trains for hours runs at its power limit.
The shares were chosen so that predicted step times come nearest to published ones; each says to which, and with which
mean absolute error. On runs that had no part in the choice the errors are, on A100: Narayanan 2021 6 %, Korthikanti
2022 3 %, PyTorch's FSDP 8 %, BLOOM 10 %, InternEvo 5 %; on H100: torchtitan 6 %, MLPerf GPT-3 11 %; on GB200:
Megatron-Bridge 5 %. What they are for a source, an engine or a GPU that nobody had measured, `llmcost accuracy
--leave-out` says.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, is_one
from llmcost.ground.constants import Constant
from llmcost.ground.units import BITS
from llmcost.machine.defaults import DEFAULTS
from llmcost.machine.efficiency import KERNELS, Efficiency, Kernel
from llmcost.machine.reached import by_profile
from llmcost.specs.hardware import HardwareSpec


class Shares(NamedTuple):
    """Shares of the peak that kernels reach, and the published step times on which they were chosen.

    products: matrix products in 16 bits. fp8: those in fp8. attention: of the FLOPs of causal pairs, both passes.
    """

    products: float
    fp8: float
    attention: float
    source: str


SHARES = Shares._fields[:-1]  # those that are chosen

# PyTorch's kernels: FlashAttention-2, or cuDNN's attention on Hopper and later.
TORCH = {
    "Volta": Shares(0.78, 0.78, 0.30, "23 runs of BigScience's 1.3B on V100, 4 % off"),
    "Ampere": Shares(
        *(0.78, 0.78, 0.50),
        "products: 61 runs of MosaicML's llm-foundry on A100, 6 % off; attention: 16 of YaFSDP's, 7 % off",
    ),
    "Hopper": Shares(
        *(0.62, 0.64, 0.50),
        "products: 77 runs of MosaicML's llm-foundry on H100, 3 % off; attention: FSDP2 of Llama 3 8B on two H200s "
        "(torch 2.11), 1,070 ms of 8,192 tokens with full recomputation, 470 ms of 4,096 without, 1 and 3 % off",
    ),
    "Blackwell": Shares(0.44, 0.44, 0.40, "16 runs of dense models of SimuMax's on B200, 7 % off"),
}
# The vendor's kernels: cuDNN's attention, Transformer Engine.
VENDOR = TORCH | {
    "Hopper": Shares(
        *(0.62, 0.67, 0.50),
        "bf16 and attention: as PyTorch's; with them 2 of NeMo 25.04's are 2 % off, 3 of Llama 3.1 405B 6 %; fp8: 12 "
        "runs of NeMo 24.07's on H100, 6 % off, 6 of Megatron-Bridge's, 3 %",
    ),
    "Blackwell": Shares(
        *(0.50, 0.49, 0.50),
        "bf16 and fp8: 12 runs of NeMo 25.04's on GB200, 5 % off; fp8: 2 of Megatron-Bridge's on B200, 8 %",
    ),
}
ULTRA = Constant(
    1400 / 1200,
    "GPUs that train run at their power limit: a GB300 has 1,400 W for the peak that a GB200 reaches with 1,200 "
    "(hardware/gb300.yaml, hardware/gb200.yaml); nothing was fitted",
    spread="1.12 to 1.24 in 6 pairs of runs that differ in the GPU alone (Megatron-Bridge, performance summary)",
)
OTHERS = Shares(0.60, 0.47, 0.25, "other generations: between those above, nothing was measured")

MEMORY = Constant(
    0.85,
    "share of the bandwidth, chosen with LAUNCH: with both, and the default share of a product, single fp16 GEMMs on "
    "A100, H100 and A40 are 7.3, 9.5 and 7.9 % off (microsoft/vidur, data/profiling/compute)",
)
LAUNCH = Constant(5e-6, "as MEMORY; taken for collectives inside a node too", "seconds")
NODE_LINKS = Constant(
    0.77,
    "share of a node's links that NCCL's ring all-reduce reaches at large sizes (stas00/ml-engineering, "
    "network/README.md)",
    spread="70 to 82 % (the same page)",
)
EXPERT_ROWS = Constant(
    150,
    "rows of an expert at which its products reach half of a single product's share: on an H200 0.28 and 0.50 of the "
    "peak at 128 and 512 rows, 0.66 at 2,048, single products 0.67 (hardware/profiles/h200.json, suite grouped)",
    "rows",
)

_EXPERTS = "tables of TensorRT-LLM 1.3 (ai-dynamo/aiconfigurator), balanced, of 8,192 tokens and more: of the peak "
NARROW_EXPERTS = {  # what experts' products in fp8 reach of the share that those in bf16 do
    "Hopper": Constant(0.75, f"{_EXPERTS}0.40 for 0.56 on an H100, 0.47 for 0.60 on an H200"),
    "Blackwell": Constant(0.92, f"{_EXPERTS}0.37 for 0.40 on a B200"),
}

NARROWEST = Constant(
    0.8,
    "what products in fp4 reach of the share that those in fp8 do: 0.40 for 0.54 on a B200, 0.43 for 0.49 on a GB200 "
    "(tables of TensorRT-LLM 1.3, ai-dynamo/aiconfigurator: from 4,096 rows and 4,096 channels on)",
)

PRODUCT = Kernel(DEFAULTS["gemm.compute"].value, MEMORY.value, LAUNCH.value)
ELEMENTWISE = PRODUCT._replace(memory=DEFAULTS["elementwise.memory"].value)
COLLECTIVES = {
    "node": Kernel(1, NODE_LINKS.value, LAUNCH.value),
    "fabric": Kernel(1, DEFAULTS["fabric.share"].value, DEFAULTS["fabric.launch"].value),
}


def narrowest(dtype: str) -> Number:
    """What products reach of the share that those in fp8 do, in this narrow type."""
    return NARROWEST.value if BITS[dtype] < BITS["fp8"] else 1


def shares_of(hardware: HardwareSpec | None, *, vendor: bool) -> Shares:
    """What kernels reach on GPUs of this generation, the vendor's or PyTorch's. Blackwell Ultra has more power."""
    found = (VENDOR if vendor else TORCH).get(generation_of(hardware), OTHERS)
    if hardware is None or hardware.architecture != "Blackwell Ultra":
        return found
    return found._replace(products=found.products * ULTRA.value, fp8=found.fp8 * ULTRA.value)


def generation_of(hardware: HardwareSpec | None) -> str:
    """The first word of a GPU's architecture; "" where there is no GPU."""
    return "" if hardware is None else hardware.architecture.split(" ")[0]


def trained_by(
    hardware: HardwareSpec | None,
    profile: str | None,
    dtype: str,
    gpus: Number,
    *,
    vendor: bool = False,
    known: Shares | None = None,
) -> Efficiency:
    """What training reaches on GPUs, as `efficiency_for` (reached.py) says it of serving.

    By the profile asked for; on one GPU alone by the one that ships for it; else what published runs have reached.
    `dtype`: of matrix products. `vendor`: with the vendor's kernels. `known`: shares in place of the generation's.
    Raises SpecError, or InputError for another GPU's profile.
    """
    default = trained_at(hardware, dtype, vendor=vendor, known=known)
    if hardware is None or (profile is None and not is_one(gpus)):
        return default
    return by_profile(hardware, profile, dtype, default, "train")


def trained_at(
    hardware: HardwareSpec | None, dtype: str, *, vendor: bool = False, known: Shares | None = None
) -> Efficiency:
    """What published training runs have reached on GPUs of this generation, in a data type, with the vendor's kernels.

    In fp32 products run on the vector units, which draw less power: there a single kernel's share holds (25 of
    NeuSight's measurements, 11 % off).
    """
    kernels = dict.fromkeys(KERNELS, PRODUCT) | dict.fromkeys(("elementwise", "norm"), ELEMENTWISE) | COLLECTIVES
    if dtype != "fp32":
        known = known or shares_of(hardware, vendor=vendor)
        product = PRODUCT._replace(compute=known.fp8 * narrowest(dtype) if BITS[dtype] < 16 else known.products)
        kernels["gemm"] = product
        narrow = NARROW_EXPERTS.get(generation_of(hardware)) if BITS[dtype] < 16 else None
        of_experts = product.compute * (1 if narrow is None else narrow.value)
        kernels["grouped_gemm"] = product._replace(compute=of_experts, half=EXPERT_ROWS.value)
        kernels["attention_prefill"] = product._replace(compute=known.attention)
    return Efficiency(kernels, "training defaults")
