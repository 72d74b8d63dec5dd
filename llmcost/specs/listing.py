"""GPUs, systems and engines as the rows of their lists, in base units; None is what no source gives."""

from __future__ import annotations

from llmcost.specs.catalog import load_engine
from llmcost.specs.engine import EngineSpec
from llmcost.specs.hardware import Figure, HardwareSpec
from llmcost.specs.optimised import OPTIMISED
from llmcost.specs.training_engine import TrainingEngine

LISTED_PEAKS = ("bf16", "fp16", "fp8", "int8", "fp4")


def hardware_row(h: HardwareSpec) -> dict[str, object]:
    """One GPU; the interconnect is the sum of both directions."""
    return {
        "name": h.name,
        "memory_bytes": h.memory.value,
        "bandwidth_bytes_per_s": _value(h.bandwidth),
        **{f"{dtype}_flops_per_s": _value(h.peak.get(dtype)) for dtype in LISTED_PEAKS},
        "interconnect_bytes_per_s": _value(h.interconnect),
        "sm_count": _value(h.sm_count),
        "l2_bytes": _value(h.l2),
        "l3_bytes": _value(h.l3),
        "tdp_watts": _value(h.tdp),
        "launch_year": _value(h.launch_year),
    }


def system_row(h: HardwareSpec) -> dict[str, object]:
    """One system; rates are of one GPU in one direction."""
    return {
        "name": h.name,
        "title": h.title,
        "gpu": h.gpu,
        "node_gpus": _value(h.node_gpus),
        "node_bytes_per_s": h.interconnect.value / 2 if h.interconnect else None,
        "fabric": h.fabric_kind,
        "fabric_bytes_per_s": _value(h.fabric),
    }


def engine_row(e: EngineSpec) -> dict[str, object]:
    """One engine; its defaults are those on the largest GPUs."""
    return {
        "name": e.name,
        "title": e.title,
        "version": e.version,
        "vendors": ", ".join(e.vendors),
        "launch": e.launch,
        "chunk": e.chunk[-1].value if e.chunk else None,
        "max_num_seqs": e.max_num_seqs[-1].value if e.max_num_seqs else None,
        "host_seconds_a_step": e.figures.get("host.step"),
    }


def optimised_engine() -> EngineSpec:
    """The engine that is no program, as a list shows it."""
    return EngineSpec(
        name=OPTIMISED,
        title="none in particular: a well-optimised one",
        version="",
        url="docs/engines.md",
        vendors=load_engine("ideal").vendors,
        launch="graph",
        sources={},
        notes=("It has no scheduler, no host time and no formats of its own. Without --engine: docs/engines.md.",),
    )


def training_engine_row(e: TrainingEngine) -> dict[str, object]:
    """One training engine; what it says nothing of is None."""
    return {
        "name": e.name,
        "title": e.title,
        "version": e.version,
        "vendors": ", ".join(e.vendors),
        "kernels": e.choices.get("kernels"),
        "host_seconds_a_layer": e.choices.get("host_layer_seconds"),
        "aliases": ", ".join(e.aliases),
    }


def _value(figure: Figure | None) -> int | float | None:
    return None if figure is None else figure.value
