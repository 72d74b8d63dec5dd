"""The figures of a GPU that times depend on: peaks, bandwidth, memory and links, from its spec or from a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.constants import Constant
from llmcost.model.operators import Attention, Gemm, GroupedGemm, Operator
from llmcost.model.sizes import activation_dtype, computed_in
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import OWN, Figure, HardwareSpec

if TYPE_CHECKING:
    from llmcost.machine.efficiency import Efficiency
    from llmcost.specs.profile import Profile  # most answers read none


# Formats whose weights are numbers of fp4, which wider floats hold exactly, and the types that tensor cores multiply
# them in, with activations quantised to fp4 or fp8 (TensorRT-LLM, examples/models/core/gpt_oss/README.md: mxfp8;
# vllm-project/vllm#37800: fp4; on Hopper fp8, sgl-project/sglang#34967).
IN_FP4 = ("fp4", "mxfp4", "nvfp4", "mlx-mxfp4")
HOLD_FP4 = ("fp4", "fp6", "fp8")
UNIFIED = "unified memory"  # how the note on memory begins that is shared with the CPU
GIB_SHARE = {  # of the vendor's GB, read as GiB: what a process sees
    "NVIDIA": Constant(0.98, "median of the cards in hardware/ whose CUDA memory a source has: 0.92 to 0.99"),
    "AMD": Constant(1.0, "rocminfo of an MI300X: 196592 MiB of 192 GB (hardware/mi300x.yaml)"),
}


class Links(NamedTuple):
    """How fast a GPU sends to others: bytes a second of one GPU in one direction; None where it is not known."""

    node_bytes_per_s: Number  # to others in its node
    fabric_bytes_per_s: Number  # to other nodes
    over_pcie: bool = False  # whether those in its node are reached over PCIe alone


class HostSide(NamedTuple):
    """The CPU beside a GPU: its figures, what kernels reach there, and bytes a second of copies from the host."""

    chip: Chip
    efficiency: Efficiency
    copies: Number


class Chip(NamedTuple):
    """The figures of a GPU for computing in some data types; None where no source gives one.

    Peaks are dense, and of the matrix units.
    """

    peak: Number  # FLOP/s of the linear layers' data type
    plain_peak: Number  # FLOP/s of the activations' data type: LM head, scans
    attention_peak: Number  # FLOP/s of the data type that attention is computed in
    bandwidth: Number  # bytes/s
    capacity: Number  # bytes, as the vendor calls it
    links: Links | None = None
    usable: Number = None  # bytes, as the driver reports it to a process
    cached_peak: Number = None  # FLOP/s of the cache's data type, where the best kernels compute attention in that
    on_chip: Number = 0  # bytes that caches on the chip hold; 0 where no source says
    half_sums: Number = None  # FLOP/s of fp16 products that are added up in fp16, where that is faster
    least_peak: Number = None  # FLOP/s of the fastest type that holds the weights of linear layers, if not theirs
    beside: HostSide | None = None  # where a part of the model is in the host's memory
    vendor: str = ""  # whose it is; "" where nothing is known of it

    def peak_of(self, op: Operator) -> Number:
        """The peak of the data type that an operator computes in, as engines run it.

        Linear layers compute in the type that weights are quantised for, attention in its own, the LM head and
        everything else in that of the activations.
        """
        if isinstance(op, Attention):
            return self.attention_peak
        return self.peak if isinstance(op, (Gemm, GroupedGemm)) and op.part != "lm_head" else self.plain_peak


def chip_of(
    hardware: HardwareSpec | None, dtype: str, kv_dtype: str, attention: str | None = None, weights: str = ""
) -> Chip:
    """A GPU's figures by its spec, for linear layers in `dtype` and a cache kept in `kv_dtype`; None what is not known.

    `weights`: the format of the weights, which a faster implementation may compute in.

    `attention`: the type that attention is computed in; None: that of activations, as most kernels widen what they read
    from a narrow cache. What the matrix units have no rate for (fp32) is computed on the vector units.
    """
    if hardware is None:
        return Chip(None, None, None, None, None)
    plain = activation_dtype(dtype)
    attended = attention or plain
    cached = kv_dtype if kv_dtype in hardware.peak and kv_dtype != attended else None
    return Chip(
        peak=_value(hardware.peak_of(dtype)),
        plain_peak=_value(hardware.peak_of(plain)),
        attention_peak=_value(hardware.peak_of(attended)),
        bandwidth=_value(hardware.bandwidth),
        capacity=hardware.memory.value,
        links=links_of(hardware),
        usable=usable_bytes(hardware),
        cached_peak=_value(hardware.peak_of(cached)) if cached else None,
        on_chip=hardware.on_chip_bytes(),
        half_sums=_half_sums(hardware) if plain == "fp16" else None,
        least_peak=_least_peak(hardware, dtype, weights),
        vendor=hardware.vendor,
    )


def _half_sums(hardware: HardwareSpec) -> Number:
    """FLOP/s of fp16 products that are added up in fp16, where that is faster than in fp32: on GeForce cards.

    They have four int8 operations for one of fp16 with sums in fp32, other NVIDIA cards two; sums in fp16 cost two
    (NVIDIA's GA102 and Ada whitepapers, appendix A).
    """
    own, int8 = hardware.peak.get("fp16"), hardware.peak.get("int8")
    geforce = own is not None and int8 is not None and int8.value > 3 * own.value
    return int8.value / 2 if geforce and int8 is not None else None


def _least_peak(hardware: HardwareSpec, dtype: str, weights: str) -> Number:
    """The highest peak of the types that hold weights of fp4; None where `dtype` is as fast or there are no such."""
    if not {*weights.split("+")} & {*IN_FP4}:
        return None
    known = [hardware.peak[each].value for each in HOLD_FP4 if each in hardware.peak]
    own = hardware.peak_of(dtype)
    return max(known) if known and own is not None and max(known) > own.value else None


def has_the_hosts_memory(hardware: HardwareSpec) -> bool:
    """Whether a CPU and a GPU share its memory: a CPU, or a GPU with unified memory."""
    return hardware.is_cpu() or hardware.memory.note.startswith(UNIFIED)


def usable_bytes(hardware: HardwareSpec) -> Number:
    """The memory that a GPU's driver reports to a process.

    Where no source has it, as the vendor's other cards have it whose vendor means GiB by GB; else what is said.
    """
    if hardware.usable_memory is not None:
        return int(hardware.usable_memory.value)
    memory = hardware.memory
    share = GIB_SHARE.get(hardware.vendor)
    if share is None or memory.source == OWN or has_the_hosts_memory(hardware):
        return int(memory.value)
    return int(memory.value / 10**9 * 2**30 * share.value)


def chip_by_profile(profile: Profile, dtype: str) -> Chip:
    """The figures that a profile's shares are of.

    Peaks that were looked up when it was measured, and the links of the GPU's spec; no memory.
    """
    peaks, computed = profile.peaks["flops_per_s"], computed_in(dtype)
    plain = activation_dtype(computed)
    links = None if profile.hardware is None else links_of(load_hardware(profile.hardware))
    return Chip(peaks.get(computed), peaks.get(plain), peaks.get(plain), profile.peaks["bytes_per_s"], None, links)


def links_of(hardware: HardwareSpec) -> Links:
    """How fast GPUs of this kind send to each other; the spec has the sum of both directions inside a node."""
    both_ways = _value(hardware.interconnect)
    over_pcie = hardware.interconnect_kind.startswith("PCIe")
    return Links(both_ways and both_ways / 2, _value(hardware.fabric), over_pcie)


def _value(figure: Figure | None) -> Number:
    return None if figure is None else figure.value
