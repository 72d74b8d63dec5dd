"""What kernels reach under a recipe: of machine/training_shares.py, what its data type and its kernels ask for."""

from __future__ import annotations

from llmcost.machine.efficiency import Efficiency
from llmcost.machine.training_shares import trained_at, trained_by
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.recipe import Recipe


def training_efficiency(hardware: HardwareSpec, profile: str | None, recipe: Recipe, gpus: int) -> Efficiency:
    """What training reaches on so many GPUs with a recipe. Raises as `trained_by` does."""
    return trained_by(hardware, profile, recipe.dtype, gpus, vendor=recipe.kernels == "vendor")


def shares_for(hardware: HardwareSpec, recipe: Recipe) -> Efficiency:
    """What published training runs have reached on GPUs of this generation with a recipe."""
    return trained_at(hardware, recipe.dtype, vendor=recipe.kernels == "vendor")
