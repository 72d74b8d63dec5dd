"""The engine that trains: which one it is, and what it makes of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_training_engine
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.recipe import Overlap, Recipe

if TYPE_CHECKING:
    from llmcost.specs.training_engine import TrainingEngine

USUAL = {"NVIDIA": "megatron-core", "AMD": "megatron-core", "Google": "maxtext"}  # vendor -> engine
DIVIDED = "torchtitan"  # what trains with all states divided (FSDP)
OTHERWISE = "hf-trainer"  # of other vendors, of GPUs that only PCIe joins, and of adapters


def usual_engine(hardware: HardwareSpec, options: Any, zero: int | None) -> str:
    """What is run on such a GPU today where nobody says otherwise."""
    usual = USUAL.get(hardware.vendor, OTHERWISE)
    if usual != USUAL["NVIDIA"]:
        return usual
    if hardware.interconnect_kind.startswith("PCIe") or options.lora_rank is not None:
        return OTHERWISE
    return DIVIDED if zero == 3 else usual


def engine_of(hardware: HardwareSpec, options: Any, zero: int | None = None) -> TrainingEngine:
    """The engine that the options name, or the usual one at a stage of ZeRO (None: theirs).

    Raises InputError where it does not run on the GPU.
    """
    if hardware.is_cpu():
        raise InputError(f"--hw {hardware.name}: training is counted on GPUs, and {hardware.title} is a CPU")
    if options.engine is None:
        return load_training_engine(usual_engine(hardware, options, options.zero if zero is None else zero))
    engine = load_training_engine(options.engine)
    if not engine.runs_on(hardware):
        known = ", ".join(engine.vendors)
        raise InputError(f"--engine {engine.name}: runs on GPUs of {known}, not on {hardware.title}")
    return engine


def recipe_under(engine: TrainingEngine) -> Recipe:
    """How a program computes under an engine; what it says nothing of as any program does."""
    return Recipe(**engine.recipe(), overlap=Overlap()._replace(**engine.overlap))
