"""The figures of a GPU that times depend on: peaks, bandwidth, memory and links, from its spec."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.operators import Attention, Gemm, GroupedGemm, Operator
from llmcost.model.sizes import activation_dtype
from llmcost.specs.hardware import Figure, HardwareSpec


class Links(NamedTuple):
    """How GPUs reach each other: bytes a second of one GPU in one direction; None where it is not known."""

    node_bytes_per_s: Number  # to others in its node
    fabric_bytes_per_s: Number  # to other nodes


class Chip(NamedTuple):
    """The figures of a GPU that times depend on, peaks dense and of the matrix units; None where no source gives one."""

    peak: Number  # FLOP/s of the linear layers' data type
    plain_peak: Number  # FLOP/s of the activations' data type: LM head, scans
    attention_peak: Number  # FLOP/s of the cache's data type, in which scores are computed
    bandwidth: Number  # bytes/s
    capacity: Number  # bytes, as the vendor calls it
    links: Links | None = None
    usable: Number = None  # bytes, as the driver reports it

    def peak_of(self, op: Operator) -> Number:
        """The peak of the data type that an operator computes in: layers' weights are quantised, all else stays."""
        if isinstance(op, Attention):
            return self.attention_peak
        return self.peak if isinstance(op, (Gemm, GroupedGemm)) and op.part != "lm_head" else self.plain_peak


def chip_of(hardware: HardwareSpec | None, dtype: str, kv_dtype: str) -> Chip:
    """The GPU's figures for computing in one type on a cache kept in another; what is not known stays None.

    Attention computes in the cache's type where the GPU does, else in that of the activations.
    """
    if hardware is None:
        return Chip(None, None, None, None, None)
    plain = activation_dtype(dtype)
    cached = kv_dtype if kv_dtype in hardware.peak else plain
    peak, plain_peak, attention_peak = (_value(hardware.peak_of(each)) for each in (dtype, plain, cached))
    return Chip(
        peak,
        plain_peak,
        attention_peak,
        _value(hardware.bandwidth),
        hardware.memory.value,
        links_of(hardware),
        usable_bytes(hardware),
    )


def usable_bytes(hardware: HardwareSpec) -> Number:
    """The memory that a GPU's driver reports, or, where no source has it, what the vendor calls it."""
    return (hardware.usable_memory or hardware.memory).value


def links_of(hardware: HardwareSpec) -> Links:
    """How fast GPUs of this kind reach each other."""
    both_ways = _value(hardware.interconnect)
    return Links(both_ways and both_ways / 2, _value(hardware.fabric))


def _value(figure: Figure | None) -> Number:
    return None if figure is None else figure.value
