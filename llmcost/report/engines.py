"""What is said of an engine that nobody named: that it is the usual one, and how to ask for another."""

from __future__ import annotations

from llmcost.machine.efficiency import family_of
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.optimised import OPTIMISED

# Data-centre GPUs, by the family that they share figures with, and the engines that people run there.
SERVERS = {
    **dict.fromkeys(("A100", "Ada", "Hopper", "B200"), "vllm, sglang or trtllm"),
    **dict.fromkeys(("CDNA 2", "CDNA 3"), "vllm or sglang"),
}
OTHERS = {"vllm": "sglang", "mlx": "llama.cpp", "llama.cpp": "vllm"}  # the next that a user would ask about


def usual_engine_note(engine: str | None, hardware: HardwareSpec) -> list[str]:
    """A line about an engine that was taken as none was named; none where there is nothing to choose."""
    if engine in OTHERS:
        other = f"another: --engine {OTHERS[engine]}"
        return [f"engine    default: {engine}; {other}; none in particular: --engine {OPTIMISED}"]
    there = SERVERS.get(family_of(hardware))
    if engine != OPTIMISED or there is None:
        return []
    return [f"engine    none in particular; of those that people run here: --engine {there}"]
