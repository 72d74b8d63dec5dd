"""What kernels reach on a GPU: by a profile that was measured on it, or by default. `by_profile` decides between them.

`efficiency_for` asks it for serving, `training_efficiency` (training/shares.py) for training, each with defaults of
its own.
"""

from __future__ import annotations

from pathlib import Path

from llmcost.machine.defaults import Launch
from llmcost.machine.efficiency import DEFAULT_LAUNCH, Efficiency, default_for, in_an_engine
from llmcost.specs.catalog import find_profile
from llmcost.specs.hardware import HardwareSpec


def efficiency_for(
    hardware: HardwareSpec | None,
    profile: str | None,
    compute: str,
    weights: str,
    launch: Launch = DEFAULT_LAUNCH,
    *,
    engine: bool = True,
) -> Efficiency:
    """What an engine reaches on the GPU, by the profile asked for, by the one that ships for it, or by default.
    Raises InputError.

    `launch`: how it starts its kernels, for the defaults. Without an `engine`, a profile's kernels are meant, one
    after the other.
    """
    default = default_for(hardware, compute, weights, launch)
    found = default if hardware is None else by_profile(hardware, profile, compute, default)
    return in_an_engine(found, default) if engine and found is not default else found


def by_profile(
    hardware: HardwareSpec, profile: str | None, dtype: str, default: Efficiency, phase: str | None = None
) -> Efficiency:
    """What the GPU reaches by a profile, None being the one that ships for it; the default where there is none.

    `phase`: the one whose error is told. Raises SpecError, or InputError for another GPU's profile.
    """
    path = find_profile(hardware.gpu or hardware.name) if profile is None else Path(profile)
    if path is None:
        return default
    from llmcost.machine.calibration import (
        measured_efficiency,
    )  # most GPUs have no profile, and nothing needs to be read

    return measured_efficiency(path, hardware, dtype, default, phase)
