"""Few numbers of a training engine on one GPU, fitted to logs of the user's own, on top of a base engine's.

The numbers are the share of the peak that matrix products and attention reach, times one factor for both, and from four
runs on the seconds in which the host starts a layer's kernels. A grid of both is predicted for each run; between its
points logarithms of times are linear. Each number is held at the base as if a run had said so (SPREAD), as in
calibrate.py. Then each run is left out once and predicted by the others: numbers that do not lessen that error are not
taken. One run alone cannot tell: it moves the base by a quarter of the way. Memory is fitted beside, by itself
(calibrate_memory.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmcost.accuracy.calibrate import FEW, HELD, HELD_ALONE, HELD_BY_FEW, OTHER_NOISE, ROBUST, SIMPLER, Errors, short
from llmcost.accuracy.calibrate_memory import MemoryCalibration, calibrate_memory
from llmcost.accuracy.calibrated_engine import SOURCE
from llmcost.accuracy.training_runs import TrainingRun
from llmcost.ground.errors import shortened
from llmcost.ground.units import BITS
from llmcost.machine.efficiency import Efficiency, Host
from llmcost.machine.training_shares import narrowest
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.reader import Document
from llmcost.specs.training_engine import TrainingEngine
from llmcost.training.step import evaluate_step

FACTORS = np.exp(np.linspace(-0.7, 0.7, 15))  # of the shares
FINE = np.exp(np.linspace(-0.7, 0.7, 281))
HOST_SECONDS = (0.0, 2e-4, 5e-4, 1e-3, 2e-3, 4e-3)  # a layer, where the base has none, or beside what it has
SPREAD, HOST_SPREAD = 0.2, 1e-3  # how far from the base the logarithm of a factor, and seconds of a layer, may well be
WITH_HOST = 4  # runs from which on the host's seconds are fitted
ATTENTION, PRODUCTS = ("attention_prefill",), ("gemm", "grouped_gemm")

Floats = Any  # arrays of float64


class Numbers(NamedTuple):
    """A factor of the shares, and seconds of the host a layer."""

    share: float
    layer: float


class TrainingCalibration(NamedTuple):
    """What came of it. `before`, `after`: seconds of each run's step by the base, and by a fit to the others.

    `numbers`: None where the base is kept. `left_out`: whether `after` is of runs left out. `memory`: None where no log
    tells any.
    """

    base: TrainingEngine
    hardware: HardwareSpec
    runs: tuple[TrainingRun, ...]
    base_layer: float
    numbers: Numbers | None
    before: tuple[float, ...]
    after: tuple[float, ...]
    left_out: bool
    memory: MemoryCalibration | None = None

    def errors(self, *, after: bool) -> Errors:
        """|predicted / measured - 1| of the step times."""
        seconds = self.after if after else self.before
        off = [abs(each / run.seconds() - 1) for each, run in zip(seconds, self.runs, strict=True)]
        return Errors(len(off), float(np.median(off)), float(np.mean(off)))


def with_numbers(found: Efficiency, numbers: Numbers) -> Efficiency:
    """What is reached with other shares and another host."""
    kernels = dict(found.kernels)
    for name in (*PRODUCTS, *ATTENTION):
        kernels[name] = kernels[name]._replace(compute=min(1.0, kernels[name].compute * numbers.share))
    host = found.host or Host(step=0, layer=0, expert_layer=0)
    more = numbers.layer - host.layer
    host = host._replace(layer=numbers.layer, expert_layer=max(0.0, host.expert_layer + more))
    return found._replace(kernels=kernels, host=host if any(host) else None)


def _seconds(run: TrainingRun, numbers: Numbers) -> float:
    """Expected seconds of a run's step."""
    at = run.at._replace(efficiency=with_numbers(run.at.efficiency, numbers))
    return float(evaluate_step(at).seconds.total)


def calibrate_training(
    runs: Sequence[TrainingRun], engine: TrainingEngine, hardware: HardwareSpec
) -> TrainingCalibration:
    """Fit an engine's numbers to runs."""
    base = Numbers(1.0, float(engine.choices.get("host_layer_seconds", 0)))
    layers = [base.layer] if len(runs) < WITH_HOST else sorted({base.layer, *HOST_SECONDS})
    # (runs, layers, factors): logarithms of predicted over measured
    coarse = np.log(
        [[[_seconds(run, Numbers(float(f), layer)) for f in FACTORS] for layer in layers] for run in runs]
    ) - np.log([[[run.seconds()]] for run in runs])
    off = np.array([[np.interp(np.log(FINE), np.log(FACTORS), row) for row in rows] for rows in coarse])
    before = np.array([_seconds(run, base) for run in runs])
    measured = np.array([run.seconds() for run in runs])

    everyone, best = np.arange(len(runs)), None
    for free in ([base.layer], layers) if len(layers) > 1 else (layers,):
        allowed = np.isin(layers, free)
        if len(runs) == 1:
            best = (off, allowed, np.exp(off[:, *_best(off, everyone, layers, allowed, base)]))
            break
        left = np.array(
            [np.exp(off[one][_best(off, np.delete(everyone, one), layers, allowed, base)]) for one in everyone]
        )
        error = float(np.mean(np.abs(left - 1)))
        known = float(np.mean(np.abs((before / measured if best is None else best[2]) - 1)))
        needed = 1 - 1 / len(runs) if best is None and len(runs) < FEW else 1 - SIMPLER * (best is not None)
        if error < known * needed:
            best = (off, allowed, left)
    common, memory = (engine, hardware, tuple(runs), base.layer), calibrate_memory(runs)
    if best is None:
        return TrainingCalibration(*common, None, tuple(before), tuple(before), False, memory)
    layer, factor = _best(off, everyone, layers, best[1], base)
    numbers = Numbers(short(float(FINE[factor])), layers[layer])
    after = tuple(float(each) for each in best[2] * measured)
    return TrainingCalibration(*common, numbers, tuple(map(float, before)), after, len(runs) > 1, memory)


def _best(off: Floats, chosen: Floats, layers: Sequence[float], allowed: Floats, base: Numbers) -> tuple[int, int]:
    """Places of the seconds of a layer and of the factor that some runs (`chosen`) speak for, held at the base."""
    held = HELD_ALONE if len(off) == 1 else HELD_BY_FEW if len(off) < FEW else HELD
    misses = np.abs(off[chosen] / OTHER_NOISE)
    robust = (misses < ROBUST) | (len(off) == 1)  # alone, a run is no outlier among others
    costs = np.where(robust, misses**2, ROBUST * (2 * misses - ROBUST)).sum(axis=0)
    costs = costs + held * (np.log(FINE) / SPREAD)[None, :] ** 2
    costs = costs + held * ((np.array(layers) - base.layer) / HOST_SPREAD)[:, None] ** 2
    costs = np.where(np.asarray(allowed)[:, None], costs, np.inf)
    layer, factor = np.unravel_index(int(np.argmin(costs)), costs.shape)
    return int(layer), int(factor)


def calibrated_training(
    found: TrainingCalibration, base: Document, files: Sequence[str], output: str | None
) -> Document:
    """The document of the engine's file; where the base was kept, the base's figures under the new name."""
    fields: dict[str, Any] = dict(base.data)
    count, gpu = len(found.runs), found.hardware.gpu or found.hardware.name
    of = f"{count} run{'s' if count > 1 else ''}"
    fields["name"] = Path(output).stem if output else f"{found.base.name}-on-{gpu}"
    fields["version"] = f"{found.base.version}, fitted to {of} on {found.hardware.title}"
    fields.pop("aliases", None)
    listed = shortened(", ".join(Path(name).name for name in files))
    today = datetime.now(UTC).date().isoformat()
    fields["sources"] = fields["sources"] | {SOURCE: {"title": f"{of} of {listed}; fitted on {today}"}}
    if found.memory is not None and found.memory.share is not None:
        said = f"fitted to the memory of {len(found.memory.runs)} of them; the base has {found.memory.base:g}"
        fields["reserved_share"] = {"value": found.memory.share, "source": SOURCE, "note": said}
    if found.numbers is None:
        kept = "Base's times kept: no number lessens the error of runs that are left out."
        fields["notes"] = [*fields.get("notes", ()), kept]
        return Document(output or "", fields, {})
    note = f"fitted to {of}: {found.numbers.share:g} times the base's"
    family = fields.get("shares", {}).get(found.hardware.architecture.split(" ")[0], {})
    own = dict(fields.get("shares", {}).get(gpu, family))
    for run in found.runs:
        dtype, kernels = run.at.recipe.dtype, run.at.efficiency.kernels
        products = "fp8" if BITS[dtype] < BITS["bf16"] else "products"
        reached = {
            products: kernels[PRODUCTS[0]].compute / narrowest(dtype),
            "attention": kernels[ATTENTION[0]].compute,
        }
        for name, share in reached.items():
            value = short(min(1.0, float(share) * found.numbers.share))
            own[name] = {"value": value, "source": SOURCE, "note": note}
    fields["shares"] = {**fields.get("shares", {}), gpu: own}
    if found.numbers.layer != found.base_layer:
        more = found.numbers.layer - found.base_layer
        for name in ("host_layer_seconds", "host_expert_layer_seconds"):
            value = found.base.choices.get(name, found.base_layer)
            of_base = f"fitted to {of}; the base has {value:g}"
            fields[name] = {"value": short(max(0.0, value + more)), "source": SOURCE, "note": of_base}
    if found.left_out:
        after, before = found.errors(after=True).mean or 0.0, found.errors(after=False).mean or 0.0
        note = f"{count} step times of runs left out; {before:.1%} before"
        fields["error"] = {"value": round(after, 4), "source": SOURCE, "note": note}
    return Document(output or "", fields, {})
