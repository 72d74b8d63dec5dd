"""What kernels reach under a recipe and an engine: of machine/training_shares.py, but for what the engine knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcost.ground.units import BITS
from llmcost.machine.efficiency import Efficiency, Host
from llmcost.machine.training_shares import Shares, generation_of, narrowest, trained_at, trained_by
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.recipe import Recipe

if TYPE_CHECKING:
    from llmcost.specs.training_engine import TrainingEngine


def training_efficiency(
    hardware: HardwareSpec,
    profile: str | None,
    recipe: Recipe,
    gpus: int,
    engine: TrainingEngine | None = None,
    *,
    asked: bool = False,
    known: Shares | None = None,
) -> Efficiency:
    """What training reaches on so many GPUs with a recipe under an engine. Raises as `trained_by` does.

    `asked`: the engine was named: then the profile that ships for a GPU says nothing of it. `known`: shares in place
    of those of the GPU's generation.
    """
    if asked and profile is None:
        return under_engine(shares_for(hardware, recipe, known), hardware, recipe, engine)
    found = trained_by(hardware, profile, recipe.dtype, gpus, vendor=recipe.kernels == "vendor", known=known)
    return found if found.error is not None else under_engine(found, hardware, recipe, engine)


def shares_for(hardware: HardwareSpec, recipe: Recipe, known: Shares | None = None) -> Efficiency:
    """What published training runs have reached on GPUs of this generation with a recipe; `known`: in its place."""
    return trained_at(hardware, recipe.dtype, vendor=recipe.kernels == "vendor", known=known)


def under_engine(
    found: Efficiency, hardware: HardwareSpec, recipe: Recipe, engine: TrainingEngine | None
) -> Efficiency:
    """The shares of an engine in place of those that hold for all, and the seconds of its host."""
    if engine is None:
        return found
    family = engine.shares.get(generation_of(hardware), {})
    own = {} if recipe.dtype == "fp32" else engine.shares.get(hardware.gpu or hardware.name, family)
    products = own.get("fp8" if BITS[recipe.dtype] < 16 else "products")
    if products is not None:
        products = products * narrowest(recipe.dtype)
    kernels = dict(found.kernels)
    of_experts = kernels["grouped_gemm"].compute / kernels["gemm"].compute
    if products is not None:
        kernels["gemm"] = kernels["gemm"]._replace(compute=products)
    if products is not None or "grouped" in own:
        share = own.get("grouped", 1) * of_experts * kernels["gemm"].compute
        kernels["grouped_gemm"] = kernels["grouped_gemm"]._replace(compute=share)
    if "attention" in own:
        kernels["attention_prefill"] = kernels["attention_prefill"]._replace(compute=own["attention"])
    if "links" in own:
        kernels["node"] = kernels["node"]._replace(memory=own["links"])
    wait = engine.choices.get("collective_seconds")
    if wait is not None:
        kernels["node"] = kernels["node"]._replace(launch_seconds=wait)
    host = _host(engine, recipe)
    return found._replace(kernels=kernels, host=host if any(host) else found.host)


def _host(engine: TrainingEngine, recipe: Recipe) -> Host:
    """The seconds of an engine's host: none for layers of CUDA graphs, those of any layer where no token is counted."""
    of = {name: engine.choices.get(f"host_{name}_seconds", 0) for name in ("step", "layer", "expert_layer")}
    if recipe.cuda_graphs:
        return Host(step=of["step"])
    if recipe.drop_tokens or "host_expert_layer_seconds" not in engine.choices:
        of["expert_layer"] = of["layer"]
    return Host(**of)
