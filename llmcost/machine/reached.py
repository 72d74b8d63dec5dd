"""What kernels reach on a GPU: by a profile that was measured on it, or by default. `by_profile` decides between them.

`efficiency_for` asks it for serving, `trained_by` (training_shares.py) for training, each with defaults of
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
    """What kernels reach on a GPU, for layers that compute in one type on weights kept in another.

    They are taken from the profile asked for (a path), from the one that ships for the GPU, or from the defaults.
    `launch`: how kernels are started, which matters to the defaults. `engine`: whether a profile's kernels run inside
    an engine, which takes time of its own, or one directly after the other. Raises SpecError for a profile that cannot
    be read, InputError for another GPU's.
    """
    default = default_for(hardware, compute, weights, launch)
    found = default if hardware is None else by_profile(hardware, profile, compute, default)
    return in_an_engine(found, default) if engine and found is not default else found


def by_profile(
    hardware: HardwareSpec, profile: str | None, dtype: str, default: Efficiency, phase: str | None = None
) -> Efficiency:
    """What kernels reach by a profile, None being the one that ships for the GPU; `default` where there is none.

    `phase`: the kind of passes whose error is stated; None: all. Raises as `efficiency_for` does.
    """
    path = find_profile(hardware.gpu or hardware.name) if profile is None else Path(profile)
    if path is None:
        return default
    from llmcost.machine.calibration import measured_efficiency  # most GPUs have no profile, and need none of this

    return measured_efficiency(path, hardware, dtype, default, phase)
