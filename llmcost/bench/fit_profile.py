"""From measured rows to a few numbers for each kind of kernel, and their error on rows that the fit never saw.

The formula is that of machine/efficiency.py, computed by the same code: T = t0 + ((F / (P·e_c))^p +
(B / (BW·e_m))^p)^(1/p), with e_c·s / (s + s_half) in place of e_c for attention of prompts. The exponent p is fitted to
matrix products, whose kernels load the next operands while they compute; elsewhere it is 2. The fit minimises the mean
of the absolute relative errors, which outliers move little. It is a simplex search (Nelder and Mead, The Computer
Journal 7(4), 1965) on the logarithms of the numbers, from several starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

from llmcost.bench.passes import predicted_us, step_operators
from llmcost.machine.calibration import LINEAR
from llmcost.machine.chip import Chip, chip_by_profile
from llmcost.machine.efficiency import DEFAULT, UNQUANTISED, Efficiency, Kernel
from llmcost.machine.timing import kernel_seconds
from llmcost.model.operators import Collective, Elementwise, Operator
from llmcost.specs.profile import FITTED, Error, Fit, Profile, Row, StepRow

FEWEST = 6  # rows of a kind and data type: one more than there are numbers
STARTS = [  # e_c, e_m, t0, s_half, p
    (0.8, 0.85, 2e-6, 500.0, 2.0),
    (0.6, 0.7, 4e-6, 1500.0, 3.0),
    (0.9, 0.95, 1e-6, 100.0, 1.5),
]
MOST_OVERLAP = 6.0  # from there on the smooth maximum is hardly more than the larger of the two
ROUNDS = 400  # of the search, at most
STREAMS = ("elementwise", "norm")  # kinds whose operands the kernel before has just written
NOT_FITTED = ("memory", "ceiling")  # suites of no kernels of a model, or not timed as in a model


class Sample(NamedTuple):
    """An operator and the seconds that one execution of it took."""

    op: Operator
    seconds: float


def fitted(profile: Profile) -> Profile:
    """The profile with a fit of its rows, and with what this fit predicts of its whole passes."""
    profile = profile._replace(fit=fits(profile.rows, partial(chip_by_profile, profile), profile.near_bytes()))
    between = between_us(profile.steps)
    profile = profile._replace(between_us=between, wait_us=wait_us(profile.steps, between))
    return profile._replace(
        steps=tuple(
            step._replace(predicted_us=predicted_us(step, profile)) if step.status == "ok" else step
            for step in profile.steps
        )
    )


def between_us(steps: Iterable[StepRow]) -> float:
    """What a kernel takes in a pass of many kinds over what it takes among its like, µs.

    It is the median over decode steps of models that the fit may see, of what a step takes over the sum of its kernels'
    own times, a kernel; 0 where there are none, or where steps take less than their kernels.
    """
    over = [over / sum(op.count for op in ops) for over, ops in _over_its_kernels(steps) if not _collectives(ops)]
    return max(0.0, round(median(over), 3)) if over else 0.0


def wait_us(steps: Iterable[StepRow], between: float) -> float:
    """What a collective takes in a pass over what it takes among its like, µs, beside what any kernel does."""
    over = [
        (over - between * sum(op.count for op in ops)) / waits
        for over, ops in _over_its_kernels(steps)
        if (waits := _collectives(ops))
    ]
    return max(0.0, round(median(over), 3)) if over else 0.0


def _over_its_kernels(steps: Iterable[StepRow]) -> Iterator[tuple[float, list[Operator]]]:
    """Of decode steps of models that the fit may see: what a step takes over the sum of its kernels, µs, and these."""
    for step in steps:
        if step.phase == "decode" and not step.heldout and step.median_us and step.operators_us:
            yield step.median_us - step.operators_us, step_operators(step)


def _collectives(ops: Iterable[Operator]) -> float:
    return sum(float(op.count) for op in ops if isinstance(op, Collective))


def fits(rows: Iterable[Row], chip_for: Callable[[str], Chip], near_bytes: int = 0) -> dict[str, dict[str, Fit]]:
    """A fit for every kind of kernel and data type that has enough rows: `{kind: {data type: fit}}`.

    Rows of other suites than a model's kernels play no part. `chip_for` has the peaks of a type.
    `near_bytes`: what the L2 holds of what a kernel streams; 0: not known.
    """
    used: dict[tuple[str, str], list[Sample]] = {}
    kept: dict[tuple[str, str], list[Sample]] = {}
    behind: dict[tuple[str, str], list[Sample]] = {}
    for row in rows:
        if row.status != "ok" or not row.operator or not row.median_us or row.suite in NOT_FITTED:
            continue
        if row.backward and row.heldout:
            continue
        op = row.op()
        if isinstance(op, Elementwise) and op.name == "softmax":  # no model's list has one
            continue
        samples = (behind if row.backward else kept if row.heldout else used).setdefault((op.kind, row.dtype), [])
        samples.append(Sample(op, row.median_us / 1e6))
    found: dict[str, dict[str, Fit]] = {}
    for (kind, dtype), samples in used.items():
        chip = chip_for(dtype)
        if kind in FITTED and len(samples) >= FEWEST and chip.peak and chip.bandwidth:
            key = (kind, dtype)
            found.setdefault(kind, {})[dtype] = _fit(
                kind, samples, kept.get(key, []), behind.get(key, []), chip, near_bytes
            )
    return found


def _fit(
    kind: str,
    samples: Sequence[Sample],
    heldout: Sequence[Sample],
    behind: Sequence[Sample],
    chip: Chip,
    near_bytes: int,
) -> Fit:
    """The fit of some samples, its numbers to four figures, with its error on them and on those held out.

    `behind`: samples of backward passes. The median says how many times what their work says they take.
    """
    kernel = best(kind, samples, chip, near_bytes)
    ratios = [
        sample.seconds / (ahead * sample.op.backward())
        for sample, ahead in zip(behind, predicted(kind, kernel, behind, chip), strict=True)
    ]
    return Fit(
        compute=_rounded(kernel.compute),
        memory=_rounded(kernel.memory),
        launch_us=_rounded(kernel.launch_seconds * 1e6),
        half=_rounded(kernel.half),
        fitted=error(kind, kernel, samples, chip),
        heldout=error(kind, kernel, heldout, chip) if heldout else None,
        overlap=_rounded(kernel.overlap),
        backward=_rounded(median(ratios)) if ratios else 1,
        cached=_rounded(kernel.cached or 0),
        ranks=max((sample.op.ranks for sample in samples if isinstance(sample.op, Collective)), default=0),
    )


def _rounded(x: float) -> float:
    return float(f"{x:.4g}")


def best(kind: str, samples: Sequence[Sample], chip: Chip, near_bytes: int = 0) -> Kernel:
    """The numbers of a kind of kernel that have the least mean absolute error on the samples."""

    def cost(x: Sequence[float]) -> float:
        return sum(abs(e) for e in errors(kind, _kernel(kind, x, near_bytes), samples, chip))

    found = [minimise(cost, [math.log(value) for value in start]) for start in STARTS]
    return _kernel(kind, min(found, key=cost), near_bytes)


def _kernel(kind: str, x: Sequence[float], near_bytes: int = 0) -> Kernel:
    """The numbers whose logarithms are given, kept within their bounds; those that a kind does not have stay fixed.

    A kernel that streams hardly computes: its first number is the share of the bandwidth while the L2 holds all.
    """
    compute, memory, launch, half, overlap = (math.exp(min(value, 20.0)) for value in x)
    memory = min(memory, 1.0)  # never above the limit
    if kind in STREAMS and near_bytes:
        return Kernel(1.0, memory, launch, cached=max(compute, memory), cache_bytes=near_bytes)
    return Kernel(
        min(compute, 1.0),
        memory,
        launch,
        half if kind == "attention_prefill" else 0,
        min(max(overlap, 1.0), MOST_OVERLAP) if kind in LINEAR else 2,
    )


def errors(kind: str, kernel: Kernel, samples: Sequence[Sample], chip: Chip) -> list[float]:
    """The logarithm of predicted over measured, for each sample: close to a relative error, and alike both ways."""
    guesses = predicted(kind, kernel, samples, chip)
    return [math.log(guess / sample.seconds) for guess, sample in zip(guesses, samples, strict=True)]


def predicted(kind: str, kernel: Kernel, samples: Sequence[Sample], chip: Chip) -> list[float]:
    """Seconds of the forward pass of each sample by the numbers of its kind."""
    others = {name: known for name, known in DEFAULT.kernels.items() if name != UNQUANTISED}
    times = kernel_seconds([sample.op for sample in samples], chip, Efficiency({**others, kind: kernel}, ""))
    assert times is not None
    return times


def error(kind: str, kernel: Kernel, samples: Sequence[Sample], chip: Chip) -> Error:
    """The mean and the worst relative error on the samples."""
    each = [abs(math.expm1(e)) for e in errors(kind, kernel, samples, chip)]
    return Error(len(each), round(sum(each) / len(each), 4), round(max(each), 4))


def minimise(cost: Callable[[Sequence[float]], float], start: list[float]) -> list[float]:
    """Where a cost is least, near a start: a simplex of points that walks, stretches and shrinks downhill.

    In each round the worst corner moves through the centre of the others: once as far, twice, or half, whichever lowers
    the cost. Where none does, all corners move halfway to the best one. It ends where all corners cost the same.
    """
    size = len(start)
    corners = [start, *([x + 0.3 * (k == j) for k, x in enumerate(start)] for j in range(size))]
    scored = sorted((cost(corner), corner) for corner in corners)
    for _ in range(ROUNDS):
        centre = [sum(corner[k] for _, corner in scored[:-1]) / size for k in range(size)]
        worst = scored[-1][1]

        def along(step: float, centre: list[float] = centre, worst: list[float] = worst) -> tuple[float, list[float]]:
            point = [c + step * (c - w) for c, w in zip(centre, worst, strict=True)]
            return cost(point), point

        moved = along(1.0)
        if moved[0] < scored[0][0]:
            moved = min(moved, along(2.0))
        elif moved[0] >= scored[-2][0]:
            moved = min(along(0.5), along(-0.5))
        if moved[0] < scored[-1][0]:
            scored[-1] = moved
        else:
            lowest = scored[0][1]
            halfway = [[(x + y) / 2 for x, y in zip(corner, lowest, strict=True)] for _, corner in scored[1:]]
            scored = [scored[0], *((cost(point), point) for point in halfway)]
        scored.sort()
        if scored[-1][0] - scored[0][0] < 1e-6 * scored[0][0]:
            break
    return scored[0][1]
