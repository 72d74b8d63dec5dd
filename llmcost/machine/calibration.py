"""Profiles put to use: the shares and launch costs that were measured on a GPU, in place of the defaults.

A shipped profile stands in hardware/profiles under the name of its GPU and is used unasked; a user's own by
`--profile`. reached.py asks here for either; bench/ fits a profile, and specs/profile.py reads it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from llmcost.ground.errors import InputError
from llmcost.machine.chip import Chip, chip_by_profile
from llmcost.machine.efficiency import DEFAULT, Efficiency, Kernel
from llmcost.machine.timing import kernel_seconds
from llmcost.model import verify
from llmcost.model.architecture import operators
from llmcost.model.operators import UNSAID, Elementwise, Operator, Stored
from llmcost.model.sizes import Load, activation_dtype, element_bytes
from llmcost.specs.catalog import load_model
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.profile import Error, Profile, StepRow, load_profile

LINEAR = ("gemm", "grouped_gemm")  # what computes in the type of the weights; all else does in that of the activations


def measured_efficiency(
    path: Path, hardware: HardwareSpec, dtype: str, default: Efficiency, phase: str | None = None
) -> Efficiency:
    """What a GPU reaches by a profile, and by default where that has nothing; the error is that of a phase, or of all.

    Raises SpecError, or InputError for another GPU's profile.
    """
    profile = _read(path, path.stat().st_mtime_ns if path.is_file() else 0)
    if profile.hardware not in (hardware.name, hardware.gpu):
        raise InputError(
            f"{path}: measured on {profile.hardware or profile.device.get('name')}, not on {hardware.name}"
        )
    return efficiency_of(profile, dtype, default, phase)


@lru_cache(maxsize=8)  # a sweep asks again and again
def _read(path: Path, _changed: int) -> Profile:
    return load_profile(path)


def efficiency_of(profile: Profile, dtype: str, default: Efficiency = DEFAULT, phase: str | None = None) -> Efficiency:
    """A profile's figures for computing in `dtype`; kinds that it has none for keep the defaults."""
    kernels = dict(default.kernels)
    for kind, by_type in profile.fit.items():
        fit = by_type.get(dtype if kind in LINEAR else activation_dtype(dtype))
        if fit is not None:
            kernels[kind] = Kernel(fit.compute, fit.memory, fit.launch_us / 1e6, fit.half, fit.overlap)
    if "norm" not in profile.fit:
        kernels["norm"] = kernels["elementwise"]  # too few of them were measured: one figure for all that streams
    if profile.fit.get("gemm", {}).get(dtype) is None:
        return default
    found = step_error(profile.steps, phase) or profile.fit["gemm"][dtype].heldout
    return Efficiency(
        kernels,
        f"profile {profile.name} ({', '.join([profile.date, *profile.cautions()])})",
        found.mean if found else None,
    )


def step_error(steps: tuple[StepRow, ...], phase: str | None = None) -> Error | None:
    """How far the predictions were off on whole passes of models that the fit never saw."""
    off = [
        abs(step.predicted_us / step.median_us - 1)
        for step in steps
        if step.heldout and step.predicted_us and step.median_us and phase in (None, step.phase)
    ]
    return Error(len(off), round(sum(off) / len(off), 4), round(max(off), 4)) if off else None


def distinct(op: Operator) -> Operator:
    """The operator by which executions are alike: a kernel's time depends on its sizes, not on where in the model it stands."""
    same: dict[str, Any] = {"count": 1}
    if "facts" in op._fields:
        same["facts"] = UNSAID
    if not isinstance(op, Elementwise):  # its name says what it computes
        same |= {"name": type(op).__name__.lower(), "part": "mlp"}
    alike: Operator = op._replace(**same)
    return alike


def step_operators(step: StepRow) -> list[Operator]:
    """The operators of a measured pass, repeated layers as often as they were run."""
    size = element_bytes(step.dtype, step.dtype, step.dtype)
    decode, train = step.phase == "decode", step.phase == "train"
    load = Load(step.batch, 1, step.tokens, decode=True) if decode else Load(step.batch, step.tokens, step.tokens)
    ops = operators(load_model(step.model), size, load, load.s if train else 1)
    share = (step.layers or 1) / (step.of_layers or 1)
    run = [op._replace(count=int(op.count * share)) if op.count > 1 else op for op in ops if not isinstance(op, Stored)]
    if verify.ON:
        verify.measured_pass(run)
    return run


def pass_seconds(step: StepRow, chip: Chip, efficiency: Efficiency) -> list[float] | None:
    """What each operator of a pass should take, all its executions; in training with its backward pass."""
    ops = step_operators(step)
    times = kernel_seconds(ops, chip, efficiency)
    if times is None or step.phase != "train":
        return times
    return [time * (1 + op.backward()) for op, time in zip(ops, times, strict=True)]


def predicted_us(step: StepRow, profile: Profile) -> float | None:
    """What the profile's fit says of a measured pass."""
    times = pass_seconds(step, chip_by_profile(profile, step.dtype), efficiency_of(profile, step.dtype))
    if times is None or step.dtype not in profile.fit.get("gemm", {}):
        return None
    return float(round(sum(times) * 1e6, 2))
