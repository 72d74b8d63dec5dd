"""The engine that trains: which one it is, and what it makes of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_training_engine
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.recipe import Overlap, Recipe

if TYPE_CHECKING:
    from llmcost.specs.training_engine import TrainingEngine

USUAL = {"Google": "maxtext"}  # vendor -> engine; megatron-core on all other GPUs
DIVIDED = "torchtitan"  # what trains with all states divided (FSDP)
ADAPTERS = "hf-trainer"  # what trains adapters, on any of them


def engine_of(hardware: HardwareSpec, options: Any) -> TrainingEngine:
    """The engine that the options name, or the usual one. Raises InputError where it does not run on the GPU."""
    if options.engine is None and options.zero == 3 and hardware.vendor not in USUAL:
        return load_training_engine(DIVIDED)
    if options.engine is None:
        usual = USUAL.get(hardware.vendor, "megatron-core")
        return load_training_engine(usual if options.lora_rank is None or hardware.vendor in USUAL else ADAPTERS)
    engine = load_training_engine(options.engine)
    if not engine.runs_on(hardware):
        known = ", ".join(engine.vendors)
        raise InputError(f"--engine {engine.name}: runs on GPUs of {known}, not on {hardware.title}")
    return engine


def recipe_under(engine: TrainingEngine) -> Recipe:
    """How a program computes under an engine; what it says nothing of as any program does."""
    return Recipe(**engine.recipe(), overlap=Overlap()._replace(**engine.overlap))
