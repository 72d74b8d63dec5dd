"""How much of a chip each kind of kernel reaches, and where that figure comes from.

A kernel takes T = t0 + ((F / (P·e_c))^p + (B / (BW·e_m))^p)^(1/p): launch cost, and a smooth maximum of compute at
e_c of the peak and memory at e_m of the bandwidth. The exponent p says how far they overlap: 1, one after the other;
the more, the closer to the longer of them alone. It is 2 where no profile says otherwise. A prompt's attention
reaches e_c only on long sequences: e_c·s / (s + s_half).

An `Efficiency` is what timing.py asks. There are three kinds: `default_for` here, from the figures of defaults.py,
for serving and single kernels; training/shares.py's, for training; and, in place of either, calibration.py's, of a
profile that was measured (for serving, `in_an_engine`). reached.py picks between profile and defaults.
"""

from collections.abc import Mapping
from typing import NamedTuple, get_args

from llmcost.ground.algebra import Number
from llmcost.ground.units import BITS
from llmcost.machine.defaults import BASIS, DATA_CENTRE, DEFAULTS, ENGINE, ENGINE_ERROR, ERROR, FAMILIES, Launch
from llmcost.model.formats import FORMATS
from llmcost.model.operators import Kind
from llmcost.specs.hardware import HardwareSpec

KERNELS: tuple[str, ...] = get_args(Kind)  # kinds that an Efficiency has figures for


class Kernel(NamedTuple):
    """Shares and launch cost of one kind of kernel. Of an exchange: the share of the link, and the time of an empty one."""

    compute: Number  # e_c, share of the peak
    memory: Number  # e_m, share of the bandwidth, or of the link
    launch_seconds: Number  # t0
    half: Number = 0  # s_half, tokens at which half of e_c is reached
    overlap: Number = 2  # p, the exponent of the smooth maximum


class Efficiency(NamedTuple):
    """A figure for every kind of kernel, what they rest on, and the error that this basis has shown."""

    kernels: Mapping[str, Kernel]
    basis: str
    error: float | None  # mean absolute relative error on held-out measurements of this basis


DEFAULT_LAUNCH: Launch = "graph"
FIGURES = {name: default.value for name, default in DEFAULTS.items()}


def family_of(hardware: HardwareSpec | None) -> str:
    """The family of GPUs that share default figures."""
    if hardware is None:
        return ""
    family, prefixes = DATA_CENTRE.get(hardware.architecture, ("", ()))
    if family:
        return family if (hardware.gpu or hardware.name).startswith(prefixes) else f"{hardware.architecture} GDDR"
    return FAMILIES.get(hardware.architecture, "")


def _bits(weights: str) -> float:
    linear = weights.partition("+")[0]  # experts may have a format of their own
    return FORMATS[linear].bits if linear in FORMATS else BITS[linear]


def default_for(
    hardware: HardwareSpec | None, compute: str = "bf16", weights: str = "bf16", launch: Launch = DEFAULT_LAUNCH
) -> Efficiency:
    """The defaults for a GPU, for layers that compute in one type on weights kept in another.

    `launch`: kernels replayed from a CUDA graph, launched one by one from C++, or one kernel alone, its launch not
    counted.
    """
    return from_figures(FIGURES, hardware, compute, weights, launch)


def from_figures(
    figures: Mapping[str, float], hardware: HardwareSpec | None, compute: str, weights: str, launch: Launch
) -> Efficiency:
    """The same from a table of figures, named as those in defaults.py are."""
    family = family_of(hardware)

    def of(name: str, where: str = family) -> float:
        return figures.get(f"{name}@{where}", figures[name])

    narrow, weight_only = BITS[compute] < 16, _bits(weights) < BITS[compute] and BITS[compute] >= 16
    gap = 0 if launch == "alone" else of(f"gap.{launch}")
    share, start, small = of("gemm.memory"), of("launch") + gap, of("launch_small") + gap
    gemm = Kernel(
        of("narrow.compute" if narrow else "gemm.compute"), of("weight_only.memory") if weight_only else share, start
    )
    link = "PCIe" if hardware and hardware.interconnect_kind.startswith("PCIe") else ""
    stream = Kernel(1, of("elementwise.memory"), small)
    kernels = {
        "gemm": gemm,
        "grouped_gemm": gemm,
        "attention_prefill": Kernel(of("attention.compute"), share, start, of("attention.half")),
        "attention_decode": Kernel(of("gemm.compute"), of("attention.memory"), start),
        "scan": Kernel(of("gemm.compute"), of("elementwise.memory"), start),
        "elementwise": stream,
        "norm": stream,
        "node": Kernel(
            1,
            of("link.share", link or family),
            of("exchange.stream" if link or launch == "stream" else "exchange.graph", link or family),
        ),
        "fabric": Kernel(1, of("fabric.share"), of("fabric.launch")),
    }
    return Efficiency(kernels, BASIS, ERROR)


def in_an_engine(alone: Efficiency, default: Efficiency, share: float = ENGINE.value) -> Efficiency:
    """What an engine reaches that runs kernels which were measured: a share of what they reach alone, for what it
    does around them.

    Those that have the default's figures (exchanges, scans) stay as they are: these stand for an engine already.
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
