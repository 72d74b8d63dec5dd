"""What a profile shows: the best rates beside peaks and published ones, errors of predictions, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from llmcost.bench.passes import pass_seconds, step_operators
from llmcost.bench.published import PUBLISHED, PublishedRate
from llmcost.bench.rates import RowRates, fastest, rates_of, step_bytes, step_flops
from llmcost.machine.calibration import distinct, step_error
from llmcost.machine.chip import chip_by_profile
from llmcost.machine.reached import efficiency_for
from llmcost.model.operators import Operator
from llmcost.model.sizes import computed_in
from llmcost.specs.catalog import load_hardware
from llmcost.specs.profile import Error, Profile, Row, StepRow

CLOSE = 0.95  # of a published figure: from there on a rate counts as equal
USUAL_GEMM, USUAL_MEMORY = 0.7, 0.85  # shares of the peaks that a GPU without a published figure should reach


class Reached(NamedTuple):
    """The highest rate of some rows, in FLOP/s or bytes/s (`unit`), its share of the peak, and what others reached."""

    what: str
    unit: str
    rate: float
    share: float | None
    published: PublishedRate | None
    best: RowRates


class PassUse(NamedTuple):
    """A whole pass: how far the sum of its kernels and the fit's prediction are off, and the share of the peak it uses.

    For decode that is a share of the bandwidth, otherwise of the FLOP/s. All are None where the pass was not timed.
    """

    step: StepRow
    kernels_off: float | None
    predicted_off: float | None
    share: float | None


class PhaseErrors(NamedTuple):
    """Errors of a phase's passes on `tp` GPUs: of the sums of their kernels, of the fit on models that it never saw."""

    phase: str
    tp: int
    kernels: Error
    predicted: Error | None


class AgainstOthers(NamedTuple):
    """A share of the peak beside the one that it should be: what others have published, or what is usual."""

    what: str
    share: float
    wanted: float
    published: bool

    def slow(self) -> bool:
        """Whether the share is clearly below the one that it should be."""
        return self.share < self.wanted * (CLOSE if self.published else 1)


class Summary(NamedTuple):
    """Everything that the page of `llmcost bench` tells of a profile.

    `gemm` is the fastest bf16 product. `shares` are what prompts and training in bf16 use of the peak. `verdict` is
    empty where no peak is known. `causes` says what is likely to blame, where a part of the verdict is slow.
    """

    profile: Profile
    rows: tuple[RowRates, ...]
    reached: tuple[Reached, ...]
    passes: tuple[PassUse, ...]
    phases: tuple[PhaseErrors, ...]
    gemm: Reached | None
    shares: tuple[float, ...]
    verdict: tuple[AgainstOthers, ...]
    causes: tuple[str, ...]


def summary_of(p: Profile) -> Summary:
    """The rows of a profile put against its peaks."""
    rows = tuple(rates_of(row) for row in p.rows)
    products = [each for each in rows if each.row.suite in ("gemm", "ceiling") and each.row.dtype == "bf16"]
    known = p.hardware is not None and bool(p.peaks["flops_per_s"].get("bf16"))
    passes = tuple(_use(p, step) for step in p.steps)
    alone = [each for each in passes if each.step.tp == 1 and each.step.dtype == "bf16"]
    whole = [each for each in alone if each.step.phase != "decode"]
    verdict = () if p.hardware is None else tuple(_against_others(p, rows, products))
    return Summary(
        profile=p,
        rows=rows,
        reached=tuple(each for each in _reached(p, rows) if each is not None),
        passes=passes,
        phases=tuple(_phases(p)),
        gemm=_best(p, products, "", "bf16") if known else None,
        shares=tuple(each.share for each in whole if each.share is not None) if known else (),
        verdict=verdict,
        causes=tuple(_causes(p)) if any(each.slow() for each in verdict) else (),
    )


def _reached(p: Profile, rows: tuple[RowRates, ...]) -> Iterable[Reached | None]:
    def best(what: str, published: str = "", against: str = "flops", **wanted: Any) -> Reached | None:
        return _best(p, filter(partial(_is, **wanted), rows), what, published, against)

    for dtype in dict.fromkeys(row.dtype for row in p.rows if row.suite == "gemm"):
        yield best(f"GEMM {dtype}, with pauses", dtype, suite="ceiling", dtype=dtype)
        yield best(f"GEMM {dtype}, without a break", suite="gemm", dtype=dtype)
    yield best("attention, prompt", suite="prefill")
    yield best("attention, prompt, backward", suite="prefill", backward=True)
    yield best("attention, decode", against="bandwidth", suite="decode")
    for name in ("read", "write", "copy", "triad"):
        yield best(f"memory, {name}", "memory", "bandwidth", suite="memory", name=name)
    for name in dict.fromkeys(row.name for row in p.rows if row.suite == "collectives"):
        yield best(f"{name}, bus bandwidth", against="link", suite="collectives", name=name)


def _is(
    each: RowRates, *, suite: str, dtype: str | None = None, name: str | None = None, backward: bool = False
) -> bool:
    row = each.row
    return row.suite == suite and dtype in (None, row.dtype) and name in (None, row.name) and row.backward == backward


def _best(
    p: Profile, rows: Iterable[RowRates], what: str, published: str = "", against: str = "flops"
) -> Reached | None:
    """The fastest of some rows, against the peak of its data type ("flops"), the "bandwidth" or a "link".

    The peak of a link is not known.
    """
    figure, unit = ("flops_per_s", "FLOPS") if against == "flops" else ("bytes_per_s", "B/s")
    found = fastest(rows, figure)
    if found is None:
        return None
    peaks = {"flops": p.peaks["flops_per_s"].get(computed_in(found.row.dtype)), "bandwidth": p.peaks["bytes_per_s"]}
    rate, peak = float(getattr(found, figure)), peaks.get(against)
    known = PUBLISHED.get(p.hardware or "", {}).get(published)
    return Reached(what, unit, rate, rate / peak if peak else None, known, found)


def _use(p: Profile, step: StepRow) -> PassUse:
    if not step.median_us:
        return PassUse(step, None, None, None)
    decode = step.phase == "decode"
    peak = p.peaks["bytes_per_s"] if decode else p.peaks["flops_per_s"].get(step.dtype)
    work = step_bytes(step) if decode else step_flops(step)
    share = work / (step.median_us / 1e6) / peak if peak else None
    return PassUse(step, _off(step.operators_us, step), _off(step.predicted_us, step), share)


def _off(predicted: float | None, step: StepRow) -> float | None:
    return predicted / step.median_us - 1 if predicted and step.median_us else None


def _phases(p: Profile) -> Iterable[PhaseErrors]:
    for phase, tp in dict.fromkeys((step.phase, step.tp) for step in p.steps):
        timed = [step for step in p.steps if (step.phase, step.tp) == (phase, tp) and step.median_us]
        sums = [abs((step.operators_us or 0) / (step.median_us or 1) - 1) for step in timed]
        if sums:
            yield PhaseErrors(
                phase, tp, Error(len(sums), sum(sums) / len(sums), max(sums)), step_error(p.steps, phase, tp)
            )


def _against_others(p: Profile, rows: tuple[RowRates, ...], products: list[RowRates]) -> Iterable[AgainstOthers]:
    published_names = ("copy", "triad")
    moves = [each for each in rows if each.row.suite == "memory" and each.row.name in published_names]
    for what, of, published, against, usual in (
        ("bf16 GEMM", products, "bf16", "flops", USUAL_GEMM),
        ("memory", moves, "memory", "bandwidth", USUAL_MEMORY),
    ):
        found = _best(p, of, what, published, against)
        if found is not None and found.share is not None:
            peak = p.peaks["flops_per_s"]["bf16"] if against == "flops" else p.peaks["bytes_per_s"]
            wanted = usual if found.published is None else found.published.rate / peak
            yield AgainstOthers(what, found.share, wanted, found.published is not None)


def _causes(p: Profile) -> list[str]:
    device, state = p.device, p.state
    found = [state["contended"]] if state["contended"] else []
    found += state["slowdown"]
    if 0 < device.get("power_limit_w", 0) < device.get("default_power_limit_w", 0):
        found.append(
            f"a power limit of {device['power_limit_w']:.0f} W instead of {device['default_power_limit_w']:.0f} W"
        )
    if state.get("sm_mhz") and state["sm_mhz"] < 0.75 * device.get("max_sm_mhz", 0):
        found.append(f"clocks at {state['sm_mhz']:,} of {device['max_sm_mhz']:,} MHz")
    if not p.environment.get("triton"):
        found.append("no Triton installed")
    return found or ["a driver or torch of another age than those of the published figures"]


class PassOperator(NamedTuple):
    """An operator of a measured pass, of all its executions: seconds in its fastest way, 0 where it was not timed."""

    name: str
    executions: int
    ways: tuple[str, ...]
    seconds: float
    predicted_seconds: float | None


class MeasuredPass(NamedTuple):
    """A measured pass, operator by operator, beside what `estimate` predicts; `basis` is None where it cannot."""

    step: StepRow
    operators: tuple[PassOperator, ...]
    predicted_seconds: float | None
    basis: str | None


def measured_passes(p: Profile, profile: str | None) -> list[MeasuredPass]:
    """Every pass that was timed, beside predictions by another profile, by the one that ships, or by default."""
    hardware = None if p.hardware is None else load_hardware(p.hardware)
    found = []
    for step in p.steps:
        if step.median_us is None:
            continue
        efficiency = efficiency_for(hardware, profile, step.dtype, step.dtype, alone=True)
        guesses = None if hardware is None else pass_seconds(step, chip_by_profile(p, step.dtype), efficiency)
        total, basis = (sum(guesses), efficiency.basis) if guesses else (None, None)
        found.append(MeasuredPass(step, tuple(_operators(p, step, guesses)), total, basis))
    return found


def _operators(p: Profile, step: StepRow, guesses: list[float] | None) -> Iterable[PassOperator]:
    known: dict[Operator, list[Row]] = {}
    for row in p.rows:
        of_this = row.suite == "step" and row.median_us and row.dtype == step.dtype
        if of_this and (step.phase == "train" or not row.backward):
            known.setdefault(row.op(), []).append(row)
    ops = step_operators(step)
    each: Sequence[float | None] = guesses or [None] * len(ops)
    for op, guess in zip(ops, each, strict=True):
        rows = known.get(distinct(op), [])
        seconds = sum(row.median_us or 0 for row in rows) * op.count / 1e6
        yield PassOperator(op.name, op.count, tuple(dict.fromkeys(row.way for row in rows)), seconds, guess)
