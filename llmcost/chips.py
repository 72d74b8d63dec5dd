"""A GPU's spec in, what times rest on out: its peaks and links for some data types, and the shares of them that kernels reach.

For training, training/train.py's `training_chip` and training/shares.py's `shares_for` do the same.
"""

from __future__ import annotations

from pathlib import Path

from llmcost.algebra import Number
from llmcost.defaults import Launch
from llmcost.efficiency import DEFAULT_LAUNCH, Efficiency, default_for, in_an_engine
from llmcost.sizes import activation_dtype
from llmcost.specs.catalog import find_profile
from llmcost.specs.hardware import Figure, HardwareSpec
from llmcost.timing import Chip, Links


def chip_of(hardware: HardwareSpec | None, dtype: str, kv_dtype: str) -> Chip:
    """The GPU's figures for computing in one type on a cache kept in another; what is not known stays None.

    Attention computes in the cache's type where the GPU does, else in that of the activations.
    """
    if hardware is None:
        return Chip(None, None, None, None, None)
    plain = activation_dtype(dtype)
    cached = kv_dtype if kv_dtype in hardware.peak else plain
    peak, plain_peak, attention_peak = (_value(hardware.peak.get(each)) for each in (dtype, plain, cached))
    usable = hardware.usable_memory or hardware.memory  # where no driver's figure is known, the vendor's
    return Chip(peak, plain_peak, attention_peak, _value(hardware.bandwidth), hardware.memory.value, links_of(hardware), usable.value)


def efficiency_for(
    hardware: HardwareSpec | None, profile: str | None, compute: str, weights: str, launch: Launch = DEFAULT_LAUNCH, *, engine: bool = True
) -> Efficiency:
    """What an engine reaches on the GPU, by the profile asked for, by the one that ships for it, or by default. Raises InputError.

    `launch`: how it starts its kernels, for the defaults. Without an `engine`, a profile's kernels are meant, one after the other.
    """
    default = default_for(hardware, compute, weights, launch)
    found = default if hardware is None else by_profile(hardware, profile, compute, default)
    return in_an_engine(found, default) if engine and found is not default else found


def by_profile(hardware: HardwareSpec, profile: str | None, dtype: str, default: Efficiency, phase: str | None = None) -> Efficiency:
    """What the GPU reaches by a profile, None being the one that ships for it; the default where there is none.

    `phase`: the one whose error is told. Raises SpecError, or InputError for another GPU's profile.
    """
    path = find_profile(hardware.gpu or hardware.name) if profile is None else Path(profile)
    if path is None:
        return default
    from llmcost.calibration import measured_efficiency  # most GPUs have no profile, and nothing needs to be read

    return measured_efficiency(path, hardware, dtype, default, phase)


def links_of(hardware: HardwareSpec) -> Links:
    """How fast GPUs of this kind reach each other."""
    both_ways = _value(hardware.interconnect)
    return Links(both_ways and both_ways / 2, _value(hardware.fabric))


def _value(figure: Figure | None) -> Number:
    return None if figure is None else figure.value
