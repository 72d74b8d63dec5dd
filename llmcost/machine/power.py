"""What GPUs draw, as a share of their TDP, where it was measured; elsewhere nothing is known but the TDP itself.

A GPU that waits draws a part of its TDP, and more with the share of its bandwidth and of its peak that a step makes use
of, up to all of it: share = min(1, idle + memory·u_mem + compute·u_comp), with u_mem the bytes that a step needs over
its time at full bandwidth, u_comp its causal FLOPs over its time at the peak.

H200: fitted to 44 whole steps of six models (hardware/profiles/h200.json). B200, GB200: 8,000 attention modules each
(vLLM 0.22, in the tables of https://github.com/ai-dynamo/aiconfigurator), whose mean draw was taken over short runs.
On the H200 both were measured, and the same law of such modules has 0.237, 0.085 and 0.605: so idle, memory and compute
of the others are taken times 1.4, 0.75 and 4.7. Errors are of what was left out: each model in turn; each GPU in turn,
its modules by the law of the others.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, maximum, minimum
from llmcost.ground.constants import Constant
from llmcost.specs.hardware import HardwareSpec

MODULES = "attention modules of DeepSeek V3"


class Draw(NamedTuple):
    """The law of one GPU. `error`: mean of |predicted / measured - 1|; `source`: what was measured."""

    idle: float
    memory: float
    compute: float
    error: float
    source: str


DRAWN = {
    "h200": Draw(0.326, 0.064, 2.843, 0.14, "whole steps of six models"),
    "b200": Draw(0.42, 0.06, 2.93, 0.31, MODULES),
    "gb200": Draw(0.29, 0.0, 1.66, 0.44, MODULES),
}


# Large products are bound by what a Hopper may draw, not by its peak: an H200 draws 692 W of its 700 at 1,258 TFLOPS in
# fp8 and at 662 in bf16, its clock at 1,420 MHz of 1,980 (products of 8,192, normal numbers, torch 2.11, 2026-11-29).
PAID = Constant(
    700 / 1979e12, "TDP and peak of the H200, on which the shares of its family were measured", "W a FLOP/s"
)


def _watts(hardware: HardwareSpec) -> float | None:
    """Watts a FLOP of a card of Hopper, over those of the H200; None of others, or where one is not known."""
    peak = hardware.peak.get("fp8")
    if hardware.architecture != "Hopper" or peak is None or hardware.tdp is None:
        return None
    return hardware.tdp.value / (peak.value * PAID.value)


def paid_for(hardware: HardwareSpec) -> float:
    """What its TDP pays for of the share of the peak that a card's family reaches: 1 where it has as many watts.

    An H100 NVL has the H100's units and four sevenths of its watts. Watts a FLOP are taken to be the same, though at
    lower clocks they are fewer. Known of Hopper alone.
    """
    return min(1.0, _watts(hardware) or 1.0)


UNBOUND = Constant(
    0.93,
    "662 of an H200's 989 TFLOPS at 1,420 MHz, were its clock the whole 1,980. FlashAttention 3 reaches as much on an "
    "H20, that has 3.8 times an H200's watts a FLOP: the rows of published/infersim-kernels.yaml that had no part in "
    "it are 3 % off in the median",
    "share of peak",
)
BY_TENSOR_CORES = ("gemm", "grouped_gemm", "unquantised", "attention_prefill")


def share_paid(kind: str, share: Number, hardware: HardwareSpec) -> Number:
    """The share of the peak that a kind of kernel reaches on a card of a family, by what it reaches on the H200.

    Less where the TDP pays for less. What keeps its watts and loses tensor cores, as an H20 does, runs them at full
    clock, and all else of a kernel beside them.
    """
    watts = _watts(hardware) or 1.0
    return maximum(share, UNBOUND.value) if watts > 2 and kind in BY_TENSOR_CORES else share * min(1.0, watts)


def drawn_by(hardware: HardwareSpec) -> Draw | None:
    """The law of a GPU; None where nothing was measured."""
    return DRAWN.get(hardware.gpu or hardware.name)


def share_drawn(draw: Draw, memory: Number, compute: Number) -> Number:
    """The share of its TDP that a GPU draws which makes use of these shares of its bandwidth and its peak."""
    return minimum(1, draw.idle + draw.memory * memory + draw.compute * compute)


def basis_of(draw: Draw | None, *, given: bool = False) -> str:
    """What a share of the TDP rests on, in words."""
    if given:
        return "--power-share"
    if draw is None:
        return "no draw of this GPU was measured"
    return f"measured of {draw.source}, {draw.error:.0%} off"
