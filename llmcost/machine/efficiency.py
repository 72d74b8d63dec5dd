"""How much of a chip each kind of kernel reaches, and where that figure comes from.

A kernel takes T = t0 + ((F / (P·e_c))^p + (B / (BW·e_m))^p)^(1/p). That is a launch cost t0 and a smooth maximum of two
times: F FLOPs at the share e_c of the peak P, and B bytes at the share e_m of the bandwidth BW. The exponent p says how
far the two overlap: with 1 they take place one after the other; the larger it is, the closer T comes to the longer of
them alone. It is 2 where no profile says otherwise. Attention of a prompt reaches e_c only on long sequences; for s
tokens it reaches e_c·s / (s + s_half).

An `Efficiency` has these figures for every kind of kernel, and timing.py asks it. There are three sources of one:
`default_for`, from the figures of defaults.py, for serving and for single kernels; training/shares.py, for training;
and calibration.py, from a measured profile, in place of either (in serving by way of `in_an_engine`). reached.py
chooses between profile and defaults.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, get_args

from llmcost.ground.algebra import Number
from llmcost.ground.units import BITS
from llmcost.machine.defaults import BASIS, DATA_CENTRE, DEFAULTS, ENGINE, ENGINE_ERROR, ERROR, FAMILIES, Launch
from llmcost.model.formats import FORMATS
from llmcost.model.operators import Kind, Operator
from llmcost.specs.hardware import HardwareSpec

KERNELS: tuple[str, ...] = get_args(Kind)  # kinds that an Efficiency has figures for


class Kernel(NamedTuple):
    """What one kind of kernel reaches. Of a collective: the share of the link, and the seconds of an empty one."""

    compute: Number  # e_c, share of the peak
    memory: Number  # e_m, share of the bandwidth, or of the link
    launch_seconds: Number  # t0
    half: Number = 0  # s_half, tokens at which half of e_c is reached
    overlap: Number = 2  # p, the exponent of the smooth maximum


class OwnKernels(Protocol):
    """Kernels with forms of time of their own, such as an engine's (kernel_times.py)."""

    def seconds(self, op: Operator) -> Number | None:
        """Seconds of one execution of an operator; None where it has no kernel for it."""


class Efficiency(NamedTuple):
    """What every kind of kernel reaches, what these figures rest on, and the error that this basis has shown.

    `own` kernels come before the figures of their kind, for the operators that they know.
    """

    kernels: Mapping[str, Kernel]
    basis: str
    error: float | None  # mean of |predicted / measured - 1| on measurements that had no part in the figures
    own: OwnKernels | None = None


DEFAULT_LAUNCH: Launch = "graph"
FIGURES = {name: default.value for name, default in DEFAULTS.items()}


def family_of(hardware: HardwareSpec | None) -> str:
    """The family of GPUs that a GPU shares default figures with; "" where there is none."""
    if hardware is None:
        return ""
    family, prefixes = DATA_CENTRE.get(hardware.architecture, ("", ()))
    if family:
        has_hbm = (hardware.gpu or hardware.name).startswith(prefixes)
        return family if has_hbm else f"{hardware.architecture} GDDR"
    return FAMILIES.get(hardware.architecture, "")


def _bits(weights: str) -> float:
    """Bits of a linear layer's weight in this format; routed experts may have another, written after a `+`."""
    linear = weights.partition("+")[0]
    return FORMATS[linear].bits if linear in FORMATS else BITS[linear]


def default_for(
    hardware: HardwareSpec | None, compute: str = "bf16", weights: str = "bf16", launch: Launch = DEFAULT_LAUNCH
) -> Efficiency:
    """The defaults for a GPU (None: an unknown one), for layers that compute in one type on weights kept in another.

    `launch`: kernels are replayed from a CUDA graph ("graph"), launched one by one from C++ ("stream"), or one kernel
    is timed alone, its launch not counted ("alone").
    """
    return from_figures(FIGURES, hardware, compute, weights, launch)


def from_figures(
    figures: Mapping[str, float], hardware: HardwareSpec | None, compute: str, weights: str, launch: Launch
) -> Efficiency:
    """The defaults of `default_for`, from a table of figures that are named as those of defaults.py are."""
    family = family_of(hardware)
    over_pcie = hardware is not None and hardware.interconnect_kind.startswith("PCIe")
    link = "PCIe" if over_pcie else family

    def of(name: str, where: str = family) -> float:
        return figures.get(f"{name}@{where}", figures[name])

    narrow = BITS[compute] < 16
    weight_only = not narrow and _bits(weights) < BITS[compute]
    weights_share = of("weight_only.memory" if weight_only else "gemm.memory")
    gap = 0 if launch == "alone" else of(f"gap.{launch}")
    start, start_small = of("launch") + gap, of("launch_small") + gap
    empty = "exchange.stream" if over_pcie or launch == "stream" else "exchange.graph"

    product = Kernel(of("narrow.compute" if narrow else "gemm.compute"), weights_share, start)
    elementwise = Kernel(1, of("elementwise.memory"), start_small)
    kernels = {
        "gemm": product,
        "grouped_gemm": product,
        "attention_prefill": Kernel(of("attention.compute"), of("gemm.memory"), start, of("attention.half")),
        "attention_decode": Kernel(of("gemm.compute"), of("attention.memory"), start),
        "scan": Kernel(of("gemm.compute"), of("elementwise.memory"), start),
        "elementwise": elementwise,
        "norm": elementwise,
        "node": Kernel(1, of("link.share", link), of(empty, link)),
        "fabric": Kernel(1, of("fabric.share"), of("fabric.launch")),
    }
    return Efficiency(kernels, BASIS, ERROR)


def in_an_engine(alone: Efficiency, default: Efficiency, share: float = ENGINE.value) -> Efficiency:
    """What measured kernels reach inside an engine: a share of what they reach alone.

    The rest goes into what the engine does around them. Kernels that have the figures of `default` (collectives, scans)
    stay as they are, as these already stand for an engine.
    """

    def slower(kernel: Kernel) -> Kernel:
        return kernel._replace(
            compute=kernel.compute * share, memory=kernel.memory * share, launch_seconds=kernel.launch_seconds / share
        )

    kernels = {
        kind: kernel if kernel is default.kernels[kind] else slower(kernel) for kind, kernel in alone.kernels.items()
    }
    return Efficiency(kernels, f"{alone.basis}, in an engine", ENGINE_ERROR)


DEFAULT = default_for(None)
"""Used for a chip of which nothing is known, not even its family."""
