"""Few numbers of an engine on one GPU, fitted to runs of the user's own, on top of a base engine's.

The numbers are times by which groups of kernels take longer than the base says (`time.products` and the like,
efficiency.SLOWER), and the host's seconds a step, a sequence and a request. Where the base has no kernels of its own on
the GPU, they are times by which the shares of peak and bandwidth are larger (SHARES). Times of tokens and of prompts
are linear in them, but for waiting and for shares: so they are made linear at the base, fitted, and made linear again
where that was too far off.

Each number is held at the base as if a run had said so: spread over `SPREAD`, against the noise `NOISE` of a measured
time. How many are fitted goes by how many runs there are (MODELS). Then each run, or each tenth of them, is left out
once and predicted by the others: a model that does not lessen that error is not taken, of fewer than FEW runs one that
does not lessen it by more than 1/n. So few runs change little. One run alone cannot tell: it moves the base by a
quarter of the way. What the numbers leave of runs is kept beside them, for loads near these (calibrate_nearby.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmcost.accuracy.calibrate_nearby import Rests, closeness_of, rests_of, weighed
from llmcost.accuracy.result_files import Run
from llmcost.ground.errors import InputError, SpecError
from llmcost.machine.efficiency import SHARES, SLOWER
from llmcost.machine.kernels import load_kernels
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import estimate_workload, workload_of
from llmcost.serving.options import Options
from llmcost.serving.results import Estimate
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.run import Run as Simulated
from llmcost.specs.catalog import engine_of
from llmcost.specs.catalog import names as names_of
from llmcost.specs.engine import EngineSpec, NearRun
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.reader import Document
from llmcost.specs.writer import spec_text

HOST = ("host.step", "host.sequence", "host.request")
ALL_KERNELS = "time.kernels"
GROUPS = tuple(name for name in SLOWER if name != ALL_KERNELS)
NUMBERS = (*GROUPS, *HOST, *SHARES)  # that are fitted; all groups of kernels by one factor, or each by its own
SPREAD = {  # how far from the base a number may well be: of factors the logarithm, of the host's figures seconds
    ALL_KERNELS: 0.2,
    **dict.fromkeys((*GROUPS, *SHARES), 0.3),
    "host.step": 1e-3,
    "host.sequence": 2e-5,
    "host.request": 0.1,
}
STEP = {"host.step": 1e-3, "host.sequence": 1e-5, "host.request": 0.1} | dict.fromkeys((*GROUPS, *SHARES), 0.1)
NOISE = {"ttft_seconds": 0.3}  # of a measured time, as a share of it; of any other OTHER_NOISE
OTHER_NOISE = 0.05
# Runs -> the numbers that they carry. Spreads, noises and these were chosen on every draw of 3 and of 10 of the open
# runs of 33 set-ups (benchmarks/calibrate_silicon.py).
MODELS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (1, (ALL_KERNELS,)),
    (3, (ALL_KERNELS, "host.step")),
    (6, (ALL_KERNELS, *HOST)),
    (10, (*GROUPS, *HOST)),
)
MODELS_OF_SHARES: tuple[tuple[int, tuple[str, ...]], ...] = (
    (1, (ALL_KERNELS,)),
    (2, SHARES),
    (4, (*SHARES, "host.step")),
    (6, (*SHARES, *HOST)),
)
FEW = 6  # runs
HELD = 0.5  # how strongly numbers are held at the base, as measured times their noises would; of few runs HELD_BY_FEW
HELD_BY_FEW = 3.0
HELD_ALONE = 50.0  # of one run, which says nothing of other loads: it moves the base a quarter of the way
ROBUST = 2.0  # noises beyond which a run counts less than its square
FOLDS = 10
WAITING = 0.02  # how far off linear times may be
AGAIN = 2  # times that times are made linear again
LEAST = 0.05  # of the base's time that a linear one may fall to
FIRST_TOKENS = 1.1  # by how much the error of times to the first token may grow where that of tokens lessens
LARGER = 1.25  # by how much the error of times left out may grow by the rests of FEW runs and more (of fewer: lessen)
SIMPLER = 0.02  # by how much of the error a larger model has to be better than a smaller one

Floats = Any  # arrays of float64


class Question(NamedTuple):
    """A run as it is asked about: all but the engine."""

    run: Run
    model: ModelSpec
    hardware: HardwareSpec
    options: Options
    kv_tokens: int | None = None  # of a trace: room of the cache, where it is known


class Line(NamedTuple):
    """One measured time, what the base says of it, and what the others' fit does; seconds, of rates one over them."""

    run: Run
    quantity: str
    measured: float
    before: float
    after: float


class Errors(NamedTuple):
    """|predicted / measured - 1| of some times; None where there are none."""

    figures: int
    median: float | None
    mean: float | None


class Fitted(NamedTuple):
    """A number that was fitted."""

    name: str
    base: float
    value: float


class Calibration(NamedTuple):
    """What came of it.

    numbers: those that were fitted. nearby: the runs that times near them follow. Neither where the base is kept, and
    `why` in words. lines: of each measured time the prediction by the base and by a fit to the other runs (of one run
    alone, to it). left_out: whether it is that.
    """

    base: EngineSpec
    questions: tuple[Question, ...]
    numbers: tuple[Fitted, ...]
    nearby: tuple[NearRun, ...]
    why: str
    lines: tuple[Line, ...]
    left_out: bool

    def errors(self, *, after: bool, first_tokens: bool) -> Errors:
        """Errors of times to the first token, or of all other times, before or after."""
        found = [
            abs((line.after if after else line.before) / line.measured - 1)
            for line in self.lines
            if (line.quantity == "ttft_seconds") == first_tokens
        ]
        return Errors(len(found), *(float(f(found)) if found else None for f in (np.median, np.mean)))


# ------------------------------------------------------------------------------------------------------- predicting


def quantities_of(run: Run) -> tuple[str, ...]:
    """The measured figures that say something of their own: a request's parts come before its sum, and that a rate."""
    known = run.measured
    parts = tuple(name for name in ("tpot_seconds", "ttft_seconds", "prefill_seconds") if name in known)
    if "tpot_seconds" in parts or "prefill_seconds" in parts:
        return parts
    return tuple(name for name in ("latency_seconds", "output_tokens_per_s", "requests_per_s") if name in known)[:1]


def _seconds(quantity: str, value: float) -> float:
    """A figure as a time: a rate as one over it."""
    return 1 / value if quantity.endswith("_per_s") else value


@contextmanager
def _engine_file(document: Document) -> Iterator[str]:
    """A file of an engine, for as long as it is asked."""
    with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
        path = Path(folder) / "engine.yaml"
        path.write_text(spec_text(document), "utf-8")
        yield str(path)


def with_figures(document: Document, figures: Mapping[str, float], source: str, note: str) -> Document:
    """An engine's document with some figures in place of its own."""
    fields = dict(document.data)
    added = {name: {"value": value, "source": source, "note": note} for name, value in figures.items()}
    fields["figures"] = {**fields.get("figures", {}), **added}
    fields["sources"] = fields["sources"] | {source: {"title": "runs of the user's own"}}
    return Document(document.file, fields, {})


def predict(questions: Sequence[Question], engine: str) -> Floats:
    """Seconds of every figure of the runs, under an engine: of a name, or of a file. Raises InputError."""
    traces: dict[str, list[tuple[float, float]]] = {}
    found: list[float] = []
    for asked in questions:
        options = asked.options._replace(engine=engine)
        if asked.run.phase == "trace":
            if asked.run.file not in traces:
                traces[asked.run.file] = _simulated(asked, options)
            found += _of_part(asked.run, traces[asked.run.file])
            continue
        answer = _answer(asked, options)
        found += [_read(asked.run, name, answer) for name in quantities_of(asked.run)]
    return np.array(found)


def _answer(asked: Question, options: Options) -> Estimate:
    """What is predicted of a run. Raises SpecError where its memory is too small."""
    workload = workload_of(asked.model, asked.hardware, options)
    answer = estimate_workload(asked.model, asked.hardware, workload, prompt_is_context=False)
    if not answer.memory.fits:
        raise asked.run.wrong("", _too_large(asked, answer))
    return answer


def load_of(asked: Question, engine: str) -> NearRun | None:
    """The load of a run in which requests come and go, without weights; None of others, whose passes are all alike."""
    if asked.run.phase != "mix":
        return None
    answer = _answer(asked, asked.options._replace(engine=engine))
    if answer.serving is None or answer.serving.running is None:
        return None
    w = answer.workload
    sizes = (w.prompt, w.output, w.tp, w.pp, w.dp, w.ep, w.speculate or 0)
    return NearRun(asked.model.name, w.weight_dtype, round(float(answer.serving.running), 1), *sizes, 0.0, 0.0)


def _too_large(asked: Question, answer: Estimate) -> str:
    """What is wrong with a run that the GPUs do not hold."""
    w, memory = answer.workload, answer.memory
    needed, usable = (f"{size / 1e9:.3g} GB" for size in (memory.used_bytes, memory.usable_bytes))
    assumed = f"tp {w.tp}, weights in {w.weight_dtype or w.dtype}"
    return (
        f"{w.gpus} × {asked.hardware.name} cannot hold {asked.model.name} so ({assumed}): {needed} a GPU of {usable}; "
        "say --tp or --weight-dtype if it ran otherwise"
    )


def _read(run: Run, quantity: str, answer: Estimate) -> float:
    """One figure of an answer as a time. Raises SpecError where there is none."""
    if quantity == "prefill_seconds":
        value = answer.prefill.expected.seconds
    else:
        of = answer.serving if run.phase == "mix" else answer.request
        value = None if of is None else getattr(of.expected, quantity)
    if value is None or not value > 0:
        problem = "no figure of this run can be predicted: a figure of the GPU is not known, or the model does not fit"
        raise run.wrong(quantity, problem)
    return _seconds(quantity, float(value))


def _simulated(asked: Question, options: Options) -> list[tuple[float, float]]:
    """TTFT and TPOT of every request of a trace, in the order in which they arrive."""
    run = Simulated(
        asked.model, asked.hardware, options, SimulationOptions(trace=asked.run.file, kv_tokens=asked.kv_tokens)
    )
    try:
        served = sorted(run.served(), key=lambda each: each.order)
    except SpecError:
        raise
    except InputError as error:
        raise InputError(f"{asked.run.file}: {error}") from None
    return [(each.ttft, each.tpot) for each in served]


def _of_part(run: Run, requests: Sequence[tuple[float, float]]) -> list[float]:
    """Mean TPOT and TTFT of the requests of a part."""
    members = requests[slice(*run.part)]
    means = {
        "ttft_seconds": float(np.mean([ttft for ttft, _ in members])),
        "tpot_seconds": float(np.mean([tpot for _, tpot in members if tpot > 0] or [0.0])),
    }
    return [means[name] for name in quantities_of(run)]


# ---------------------------------------------------------------------------------------------------------- fitting


class Design(NamedTuple):
    """Times as linear functions of the numbers, and what was measured; m times of n runs, k numbers."""

    at: Floats  # (k) the numbers at which it is linear
    seconds: Floats  # (m) there
    slopes: Floats  # (k, m) seconds for a number that is larger by 1
    measured: Floats  # (m) seconds
    noise: Floats  # (m) as shares
    of: Floats  # (m) which run
    close: Floats  # (n, n) how alike runs are to each other
    models: tuple[tuple[int, tuple[str, ...]], ...] = MODELS

    def rows(self, chosen: Floats) -> Design:
        """Some of the times."""
        return Design(
            self.at, self.seconds[chosen], self.slopes[:, chosen], self.measured[chosen], self.noise[chosen],
            self.of[chosen], self.close, self.models,
        )  # fmt: skip

    def predicted(self, numbers: Floats) -> Floats:
        """Seconds by some numbers, (m)."""
        return np.maximum(self.seconds + (numbers - self.at) @ self.slopes, LEAST * self.seconds)

    def first(self) -> Floats:
        """Which are times to the first token, (m)."""
        return self.noise != OTHER_NOISE

    def rests(self, numbers: Floats) -> Rests:
        """Weights of what some numbers leave of these times."""
        return rests_of(self.close, np.log(self.measured / self.predicted(numbers)), self.of, self.first())

    def beside(self, rests: Rests) -> Floats:
        """By what the rests of other runs multiply these times, (m)."""
        return rests.factors(self.close[self.of], self.first())


def design_of(questions: Sequence[Question], document: Document, at: Floats, loads: Sequence[NearRun | None]) -> Design:
    """Times of the runs of these `loads`, linear at some numbers: one more prediction of all for each number."""
    rows = [
        (_seconds(name, asked.run.measured[name]), NOISE.get(name, OTHER_NOISE), number)
        for number, asked in enumerate(questions)
        for name in quantities_of(asked.run)
    ]
    measured, noise, of = (np.array(column) for column in zip(*rows, strict=True))
    here = _seconds_by(questions, document, at)
    models = _models_for(questions[0], engine_of(document))
    used = {NUMBERS[place] for _, names in models for name in names for place in _places(name)}
    slopes = []
    for place, name in enumerate(NUMBERS):
        if name not in used:
            slopes.append(np.zeros(len(here)))
            continue
        beside = at.copy()
        beside[place] += STEP[name]
        slopes.append((_seconds_by(questions, document, beside) - here) / STEP[name])
    return Design(at, here, np.array(slopes), measured, noise, of, closeness_of(loads), models)


def _models_for(asked: Question, engine: EngineSpec) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """The numbers that runs carry, for an engine with kernels of its own on the GPU, or with shares alone."""
    gpu = asked.hardware.gpu or asked.hardware.name
    own = engine.kernels and gpu in names_of("hardware") and load_kernels(engine.kernels, gpu) is not None
    return MODELS if own else MODELS_OF_SHARES


def _places(name: str) -> list[int]:
    """Which of NUMBERS a number of a model stands for."""
    return list(range(len(GROUPS))) if name == ALL_KERNELS else [NUMBERS.index(name)]


def _numbers(base: Floats, names: Sequence[str], z: Floats) -> Floats:
    """The numbers, of how many spreads each of a model's is away from the base."""
    found = base.copy()
    for name, away in zip(names, z, strict=True):
        for place in _places(name):
            if name in HOST:
                found[place] = max(0.0, base[place] + away * SPREAD[name])
            else:
                found[place] = base[place] * exp(away * SPREAD[name])
    return found


def solve(design: Design, base: Floats, names: Sequence[str], held: float, start: Floats | None = None) -> Floats:
    """How many spreads each number is away from the base: Gauss and Newton's method, reweighted, within bounds."""
    z = np.zeros(len(names)) if start is None else start.copy()
    low = np.array([-base[NUMBERS.index(name)] / SPREAD[name] if name in HOST else -10.0 for name in names])
    for _ in range(20 if start is None else 6):
        numbers = _numbers(base, names, z)
        predicted = design.predicted(numbers)
        rest = np.log(predicted / design.measured) / design.noise
        rows = []
        for name in names:
            places = _places(name)
            spread = SPREAD[name] * (np.ones(1) if name in HOST else numbers[places])
            rows.append(spread @ design.slopes[places] / predicted / design.noise)
        jacobian = np.array(rows)
        weights = 1 / np.sqrt(1 + (rest / ROBUST) ** 2)
        normal = (jacobian * weights) @ jacobian.T + held * np.eye(len(z))
        slope = jacobian @ (weights * rest) + held * z
        free = ~((z <= low) & (slope > 0))
        step = np.zeros(len(z))
        if free.any():
            step[free] = np.linalg.solve(normal[np.ix_(free, free)], -slope[free])
        moved = np.maximum(z + np.clip(step, -1.5, 1.5), low)
        change, z = float(np.abs(moved - z).max()), moved
        if change < 1e-3:
            break
    return z


def _left_out(design: Design, base: Floats, names: Sequence[str], held: float, z: Floats) -> tuple[Floats, Floats]:
    """Seconds of each time by a fit to the runs of the other folds, (m), and by what their rests multiply it, (m)."""
    runs = int(design.of.max()) + 1
    folds = min(runs, FOLDS)
    seconds, beside = np.empty((2, len(design.measured)))
    for fold in range(folds):
        out = design.of % folds == fold
        mine, others = design.rows(out), design.rows(~out)
        numbers = _numbers(base, names, solve(others, base, names, held, z)) if names else base
        seconds[out], beside[out] = mine.predicted(numbers), mine.beside(others.rests(numbers))
    return seconds, beside


def _off(seconds: Floats, design: Design, *, first_tokens: bool) -> float:
    """Mean |log(predicted / measured)| of the times to the first token, or of the others; 0 where there are none."""
    rows = design.first() == first_tokens
    off = np.minimum(np.abs(np.log(seconds[rows] / design.measured[rows])), 1.0)
    return float(off.mean()) if rows.any() else 0.0


class Choice(NamedTuple):
    """A model that was chosen: its names, the numbers, what they leave of runs, and the times of runs left out."""

    names: tuple[str, ...]
    numbers: Floats
    rests: Rests
    left_out: Floats

    def changes(self) -> bool:
        """Whether any time is another than by the base."""
        return bool(self.names) or self.rests.any()


def choose(design: Design, base: Floats, start: Floats) -> Choice:
    """The model that predicts left-out runs best; no names where none is enough better than the base.

    `start`: seconds of the times by the base. A number that changes no time is left out; of no more numbers than runs.
    """
    runs = int(design.of.max()) + 1
    held = HELD_ALONE if runs == 1 else HELD_BY_FEW if runs < FEW else HELD
    alone = not (design.noise == OTHER_NOISE).any()  # nothing but times to the first token was measured
    waited = np.inf if alone else FIRST_TOKENS * _off(start, design, first_tokens=True)
    least = _off(start, design, first_tokens=alone) * (1 - 1 / runs if runs < FEW else 1)
    none = Rests(*np.zeros((2, len(design.close))))
    chosen = Choice((), base, none, start)
    for names in _tried(design, runs):
        z = solve(design, base, names, held)
        numbers = _numbers(base, names, z)
        if runs == 1:
            return Choice(names, numbers, none, design.predicted(numbers))
        seconds, _ = _left_out(design, base, names, held, z)
        off = _off(seconds, design, first_tokens=alone)
        if off < least and _off(seconds, design, first_tokens=True) <= waited:
            chosen, least = Choice(names, numbers, none, seconds), off * (1 - SIMPLER)
    return _with_rests(chosen, design, base, held) if runs > 1 else chosen


def _with_rests(chosen: Choice, design: Design, base: Floats, held: float) -> Choice:
    """The same with the rests of runs, of each kind of time whose error on runs left out they do not enlarge."""
    runs = int(design.of.max()) + 1
    z = solve(design, base, chosen.names, held) if chosen.names else base
    seconds, beside = _left_out(design, base, chosen.names, held, z)
    found = design.rests(chosen.numbers)
    for first in (False, True):
        without, within = (_off(each, design, first_tokens=first) for each in (seconds, seconds * beside))
        if within >= without * (1 - 1 / runs if runs < FEW else LARGER):
            beside[design.first() == first] = 1
            found = found.without(first_token=first)
    if not design.first().any():
        found = found._replace(first_token=found.tokens)
    return chosen._replace(rests=found, left_out=seconds * beside)


def _tried(design: Design, runs: int) -> Iterator[tuple[str, ...]]:
    """The models that so many runs carry, the smallest first, each without the host's seconds a request too."""
    for needed, model in design.models:
        names = tuple(name for name in model if np.abs(design.slopes[_places(name)]).max() > 0)
        if names and runs >= max(needed, len(names)):
            yield names
            if "host.request" in names:
                yield tuple(name for name in names if name != "host.request")


def base_numbers(engine: EngineSpec) -> Floats:
    """The numbers as an engine has them: no seconds of the host, and factors of 1, where it says nothing of them."""
    known = engine.figures
    absent = {**dict.fromkeys(GROUPS, known.get(ALL_KERNELS, 1.0)), **dict.fromkeys(SHARES, 1.0)}
    return np.array([known.get(name, absent.get(name, 0.0)) for name in NUMBERS])


def calibrate(questions: Sequence[Question], document: Document) -> Calibration:
    """Fit an engine's numbers to runs. Raises InputError for what cannot be predicted."""
    if not questions:
        raise InputError("no run to fit to")
    engine = engine_of(document)
    base = base_numbers(engine)
    with _engine_file(document) as path:
        loads = [load_of(asked, path) for asked in questions]
    design = design_of(questions, document, base, loads)
    before = design.seconds
    choice = choose(design, base, before)
    for _ in range(AGAIN):
        if not choice.names or _is_linear(questions, document, design, choice.numbers):
            break
        design = design_of(questions, document, choice.numbers, loads)
        choice = choose(design, base, before)
    quantities = [(asked.run, name) for asked in questions for name in quantities_of(asked.run)]
    lines = tuple(
        Line(run, name, *map(float, values))
        for (run, name), *values in zip(quantities, design.measured, before, choice.left_out, strict=True)
    )
    why = "" if choice.changes() else "no number lessens the error of runs that are left out: the base stays as it is"
    left_out = len(questions) > 1 and choice.changes()
    nearby = weighed(loads, choice.rests)
    return Calibration(engine, tuple(questions), _fitted(engine, base, choice), nearby, why, lines, left_out)


def _fitted(engine: EngineSpec, base: Floats, choice: Choice) -> tuple[Fitted, ...]:
    """The numbers of a choice as they are written: groups of kernels apart where the base tells them apart."""
    apart = any(name in engine.figures for name in GROUPS)
    names = [each for name in choice.names for each in (GROUPS if apart and name == ALL_KERNELS else (name,))]
    firsts = [_places(name)[0] for name in names]
    return tuple(
        Fitted(name, float(base[at]), short(choice.numbers[at])) for name, at in zip(names, firsts, strict=True)
    )


def _seconds_by(questions: Sequence[Question], document: Document, numbers: Floats) -> Floats:
    """Seconds by some numbers, as the engine's file will give them."""
    figures = dict(zip(NUMBERS, map(float, numbers), strict=True))
    with _engine_file(with_figures(document, figures, "runs", "tried")) as path:
        return predict(questions, path)


def _is_linear(questions: Sequence[Question], document: Document, design: Design, numbers: Floats) -> bool:
    """Whether times by some numbers are what their linear form says."""
    off = np.log(_seconds_by(questions, document, numbers) / design.predicted(numbers))
    return float(np.abs(off).max()) < WAITING


def short(value: float) -> float:
    """A number with three digits."""
    return float(f"{value:.3g}")


def spread_of(name: str, base: float, value: float) -> float:
    """How many spreads a number was moved away from the base."""
    return (value - base) / SPREAD[name] if name in HOST else log(value / base) / SPREAD[name]
