"""Profiles put to use: the shares and launch costs that were measured on a GPU, in place of the defaults.

A shipped profile stands in hardware/profiles under the name of its GPU and is used unasked; a user's own is used by
`--profile`. reached.py asks here for either. specs/profile.py reads profiles, bench/ measures and fits them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from llmcost.ground.errors import InputError
from llmcost.machine.efficiency import DEFAULT, UNQUANTISED, Efficiency, Kernel
from llmcost.model.operators import UNSAID, AvoidableCollective, Collective, Elementwise, Operator
from llmcost.model.sizes import activation_dtype, computed_in
from llmcost.specs.profile import Error, Fit, Profile, StepRow, load_fits, load_profile

LINEAR = ("gemm", "grouped_gemm")  # kernels that compute in the weights' type; all others do in the activations'


def measured_efficiency(
    path: Path, gpus: Collection[str], dtype: str, default: Efficiency, phase: str | None, weights: str, *, own: bool
) -> Efficiency:
    """What kernels reach by the profile at `path`; kinds that it has no fit for keep the default's figures.

    `gpus`: names of the GPUs that it may have been measured on. The error stated is the one on whole passes of a
    `phase` (decode, prefill, train); None: on passes of a user's `own` profile, of which every row is checked, which
    takes longer, and on single products of one that ships. Raises SpecError for a profile that cannot be read,
    InputError for another GPU's.
    """
    profile = _read(path, path.stat().st_mtime_ns if path.is_file() else 0, own, phase is not None)
    if profile.hardware not in gpus:
        measured = profile.hardware or profile.device.get("name")
        raise InputError(f"{path}: measured on {measured}, not on {' or '.join(gpus)}")
    return efficiency_of(profile, dtype, default, phase, weights)


@lru_cache(maxsize=8)  # a sweep asks again and again
def _read(path: Path, _changed: int, own: bool, passes: bool) -> Profile:
    return load_profile(path) if own else load_fits(path, passes=passes)


def efficiency_of(
    profile: Profile, dtype: str, default: Efficiency = DEFAULT, phase: str | None = None, weights: str = ""
) -> Efficiency:
    """What kernels reach by a profile, for layers that compute in `dtype` on weights kept in another type.

    Products with weights of a type of its own (fp8 with a scale for each block) have a fit of their own, where there is
    one. Kinds that the profile has no fit for keep the default's figures; without a fit of matrix products in `dtype`,
    all do. Norms take the figures of other elementwise kernels where too few of them were measured for a fit.
    """
    products = profile.fit.get("gemm", {}).get(dtype)
    if products is None:
        return default
    kernels = dict(default.kernels)
    plain = activation_dtype(dtype)
    fits = {
        kind: by_type.get(weights, by_type.get(dtype)) if kind in LINEAR and computed_in(weights) == dtype
        else by_type.get(dtype if kind in LINEAR else plain)
        for kind, by_type in profile.fit.items()
    }  # fmt: skip
    if UNQUANTISED in kernels:
        fits[UNQUANTISED] = profile.fit["gemm"].get(plain)
        if dtype == plain and kernels["gemm"] is not kernels[UNQUANTISED]:  # weights alone are narrow
            fits |= {kind: _weights_alone(profile, kind, fits[kind]) for kind in LINEAR}
    for kind, fit in fits.items():
        if fit is not None:
            wait = profile.wait_us if kind == "node" else 0
            start = (fit.launch_us + profile.between_us + wait) / 1e6
            kernel = Kernel(fit.compute, fit.memory, start, fit.half, fit.overlap, fit.backward)
            if fit.cached:
                kernel = kernel._replace(cached=fit.cached, cache_bytes=profile.near_bytes())
            kernels[kind] = kernel._replace(ranks=fit.ranks, beyond=kernels[kind]) if kind == "node" else kernel
    if "norm" not in profile.fit:
        kernels["norm"] = kernels["elementwise"]
    shown = step_error(profile.steps, phase) or products.heldout
    basis = f"profile {profile.name} ({', '.join([profile.date, *profile.cautions()])})"
    return Efficiency(kernels, basis, shown.mean if shown else None)


def _weights_alone(profile: Profile, kind: str, fit: Fit | None) -> Fit | None:
    """A fit for narrow weights under 16-bit products: its share of the peak, the rest as of products in fp8.

    Those were measured with as many bytes of weights; the others were not. The fit itself where there are none.
    """
    narrow = profile.fit.get(kind, {}).get("fp8")
    return fit if fit is None or narrow is None else narrow._replace(compute=fit.compute)


def step_error(steps: tuple[StepRow, ...], phase: str | None = None, tp: int = 1) -> Error | None:
    """Errors of the predictions of whole passes, of models that the fit never saw; None where there are none.

    `phase`: of decode, prefill or train alone. `tp`: GPUs that shared the models.
    """
    off = [
        abs(step.predicted_us / step.median_us - 1)
        for step in steps
        if step.heldout and step.predicted_us and step.median_us and step.tp == tp and phase in (None, step.phase)
    ]
    return Error(len(off), round(sum(off) / len(off), 4), round(max(off), 4)) if off else None


def distinct(op: Operator) -> Operator:
    """The operator without what its time does not depend on: its place in the model and how often it runs.

    Two operators whose kernels take equally long are then equal. An elementwise kernel keeps its name, which says what
    it computes.
    """
    if isinstance(op, AvoidableCollective):
        op = Collective(*op)
    same: dict[str, Any] = {"count": 1}
    if "facts" in op._fields:
        same["facts"] = UNSAID
    if not isinstance(op, Elementwise):
        same |= {"name": type(op).__name__.lower(), "part": "mlp"}
    alike: Operator = op._replace(**same)
    return alike


def executions(ops: Sequence[Operator]) -> Iterator[Operator]:
    """Operators in the order in which they run, each as often as it runs.

    Neighbours in the list that run equally often are a layer, and take turns.
    """
    for count, layer in groupby(ops, key=lambda op: int(op.count)):
        each = list(layer)
        for _ in range(count):
            yield from each
