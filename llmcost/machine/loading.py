"""How many bytes a second the multiprocessors (SMs) of a GPU load together, where its memory could give more.

An SM has so many loads under way at most. What is left of a die on a cheaper card keeps its memory and loses SMs: an
H20 has 78 of Hopper's 132 for 4 TB/s, and its kernels draw 2.7. Of other families nothing is known.
"""

from __future__ import annotations

from llmcost.ground.constants import Constant
from llmcost.specs.hardware import HardwareSpec

PER_SM = {  # architecture -> bytes/s
    "Hopper": Constant(
        3.65e10,
        "FlashAttention 3 over caches on an H20: what predicts every other row of published/infersim-attention.yaml "
        "best; the rows between are 4 % off in the median, by the whole bandwidth 22 %. An H200's SMs draw all of its",
        "bytes/s",
    )
}


def loaded_by_sms(hardware: HardwareSpec) -> float:
    """The share of the bandwidth that the SMs can draw together; 1 where the memory binds, or nothing is known."""
    per_sm = PER_SM.get(hardware.architecture)
    if per_sm is None or hardware.sm_count is None or hardware.bandwidth is None:
        return 1.0
    share: float = per_sm.value * hardware.sm_count.value / hardware.bandwidth.value
    return min(1.0, share)
