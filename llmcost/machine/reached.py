"""What kernels reach on a GPU: by a profile that was measured on it, or by default. `by_profile` decides between them.

`efficiency_for` asks it for serving, `trained_by` (training_shares.py) for training, each with defaults of
its own.
"""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from llmcost.machine.defaults import MEASURED, Launch
from llmcost.machine.efficiency import (
    DEFAULT_LAUNCH,
    FIGURES,
    Efficiency,
    default_for,
    family_of,
    from_figures,
    in_an_engine,
    within_sms,
)
from llmcost.machine.power import share_paid
from llmcost.specs.catalog import find_profile
from llmcost.specs.hardware import HardwareSpec

if TYPE_CHECKING:
    from llmcost.specs.engine import EngineSpec  # most answers ask for no engine


def efficiency_for(
    hardware: HardwareSpec | None,
    profile: str | None,
    compute: str,
    weights: str,
    launch: Launch = DEFAULT_LAUNCH,
    engine: EngineSpec | None = None,
    cache: str = "bf16",
    *,
    alone: bool = False,
) -> Efficiency:
    """What kernels reach on a GPU, for layers that compute in one type on weights kept in another.

    They are taken from the profile asked for (a path), from the engine, from the profile that ships for the GPU or its
    family, or from the defaults. `launch`: how kernels are started, which matters to the defaults. `alone`: a profile's
    kernels run one directly after the other, not inside an engine, which takes time of its own. Raises SpecError for a
    profile that cannot be read, InputError for another GPU's.
    """
    if engine is not None:
        default = under_engine(engine, hardware, compute, weights, launch, cache)
        if hardware is None or profile is None:
            return default
        return by_profile(hardware, profile, compute, default)
    default = default_for(hardware, compute, weights, launch)
    kept = weights if alone else ""  # engines bring products of their own for weights of their own types
    found = default if hardware is None else by_profile(hardware, profile, compute, default, weights=kept)
    return found if alone or found is default else in_an_engine(found, default)


def under_engine(
    engine: EngineSpec, hardware: HardwareSpec | None, compute: str, weights: str, launch: Launch, cache: str
) -> Efficiency:
    """What kernels reach under an engine: by its measured kernels, else by figures of its own, else by the defaults.

    `cache`: the data type of the KV cache.
    """
    found = from_figures(figures_of(engine), hardware, compute, weights, launch)
    own = None
    if engine.kernels and hardware is not None:
        from llmcost.machine.kernel_times import engine_kernels  # an answer without an engine reads none

        own = engine_kernels(engine.kernels, hardware, compute, weights, cache, engine.kernels_shared)
    if own is not None:
        family = family_of(hardware)

        def of(name: str) -> float:
            return engine.figures.get(f"{name}@{family}", engine.figures.get(name, 0))

        own = own._replace(wait=of("collective.wait"), select=of("experts.select"), beside=engine.beside or 0)
        own = own._replace(
            joined=of("attention.joined") == 1, block=of("attention.block"), normed=of("norm.joined") == 1
        )
        own = own._replace(marlin=of("experts.marlin") == 1, padded=of("experts.padded"))
        own = own._replace(padded_tp=engine.figures.get("experts.padded_tp", inf), usual=of("experts.usual") == 1)
        own = own._replace(quantised=of("quantise.joined") == 1, dense=of("attention.dense") == 1)
    found = found._replace(basis=f"{engine.title} {engine.version}", own=own, mixed=engine.mixed)
    if not engine.nearby:
        return found
    from llmcost.machine.nearby import Nearby  # few engines' files have runs

    return found._replace(nearby=Nearby(engine.nearby))


def figures_of(engine: EngineSpec) -> dict[str, float]:
    """The defaults with an engine's figures in place of those of the same name, whatever family they are of."""
    others = {name: value for name, value in FIGURES.items() if name.partition("@")[0] not in engine.figures}
    return others | engine.figures


def by_profile(
    hardware: HardwareSpec,
    profile: str | None,
    dtype: str,
    default: Efficiency,
    phase: str | None = None,
    weights: str = "",
) -> Efficiency:
    """What kernels reach by a profile, None being the one that ships; `default` where there is none.

    Shipped are profiles of some GPUs; those of their families take them too. `phase`: the kind of passes whose error
    the profile states; None: all. `weights`: the type that they are kept in. Raises as `efficiency_for` does.
    """
    own = hardware.gpu or hardware.name
    measured = MEASURED.get(family_of(hardware), own)
    path = find_profile(measured) if profile is None else Path(profile)
    if path is None:
        return default
    from llmcost.machine.calibration import measured_efficiency  # most GPUs have no profile, and need none of this

    gpus = dict.fromkeys((hardware.name, own, measured))
    found = measured_efficiency(path, gpus, dtype, default, phase, weights, own=profile is not None)
    if found is default or profile is not None or own == measured:
        return found
    kernels = {
        kind: kernel
        if kernel is default.kernels[kind]
        else within_sms(kind, kernel._replace(compute=share_paid(kind, kernel.compute, hardware)), hardware)
        for kind, kernel in found.kernels.items()
    }
    return found._replace(kernels=kernels)
