"""Predictions against measurements: how far off, by source, GPU and engine, and what beats the limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from statistics import median
from typing import NamedTuple

from llmcost.accuracy.cases import FOLDER, KINDS, Case, class_of, file_of, load_cases, source_names
from llmcost.accuracy.fit_defaults import role_of
from llmcost.accuracy.predict import Answer, answers, fits
from llmcost.accuracy.runs import program_of
from llmcost.ground.errors import InputError, UnknownNameError
from llmcost.specs.catalog import load_engine, load_hardware, load_training_engine, names, trains
from llmcost.specs.reader import read_yaml
from llmcost.specs.schema import TEXT, mapping, validate


class Check(NamedTuple):
    """One figure of a case beside its prediction; `why` says how it can beat the limit, if it does."""

    case: Case
    answer: Answer
    why: str

    @property
    def error(self) -> float | None:
        """Distance of prediction and measurement, as a share of the measurement."""
        return None if self.answer.ratio is None else abs(self.answer.ratio - 1)


class Group(NamedTuple):
    """Checks that belong together, and what they show; None where nothing was predicted."""

    of: tuple[str, ...]
    figures: int
    predicted: int
    median_ratio: float | None
    median_error: float | None
    p90_error: float | None
    beat_limit: int
    unexplained: int


class Fits(NamedTuple):
    """Of cases that say whether they fitted, how many were called right."""

    of: tuple[str, ...]
    cases: int
    right: int
    out_of_memory: int
    out_of_memory_right: int


def chosen(source: str | None, gpu: str | None, engine: str | None, kind: str | None) -> list[Case]:
    """The cases of one source, GPU, engine or class, and kind, or of all. Raises UnknownNameError or InputError.

    `engine`: a shipped engine, whose runs are those that it predicts; an engine or a class as published runs call it;
    or a file, which predicts the runs of the shipped engine of its name.
    """
    if kind not in (None, *KINDS):
        raise InputError(f"--kind {kind}: one of {', '.join(KINDS)}")
    if source not in (None, *source_names()):
        raise UnknownNameError("source", str(source), get_close_matches(str(source), source_names(), n=4, cutoff=0.3))
    place = None if gpu is None else load_hardware(gpu).name
    cases = [
        case
        for case in load_cases(kind)
        if source in (None, case.source.name) and place in (None, case.settings["gpu"])
    ]
    cases = cases if engine is None else of_engine(cases, engine)
    if not cases:
        raise InputError("no published measurement is of that source, GPU, engine and kind at once")
    return cases


def of_engine(cases: Iterable[Case], engine: str) -> list[Case]:
    """Those of an engine or class. Raises UnknownNameError for none, SpecError for a file that cannot be used."""
    if engine not in names("hardware/engines"):  # a shipped engine's own name comes before what runs call theirs
        called = [case for case in cases if engine in (case.engine, case.settings["engine"], class_of(case))]
        if called:
            return called
    if trains(engine):
        name = load_training_engine(engine).name
        return [case for case in cases if case.source.kind == "training" and program_of(case).get("engine") == name]
    name = load_engine(engine).name
    found = [case for case in cases if file_of(case) == name]
    if engine.endswith((".yaml", ".yml")):
        return [case._replace(settings=case.settings | {"spec": engine}) for case in found]
    return found


def check(cases: Iterable[Case], profile: str | None = None) -> list[Check]:
    """Every figure of these cases that there is a prediction for, by the defaults or a profile."""
    reasons = explained()
    return [Check(case, answer, reasons.get(case.name, "")) for case in cases for answer in answers(case, profile)]


def explained() -> dict[str, str]:
    """Case -> why its measurement may beat the limit."""
    return validate(read_yaml(FOLDER / "explained.yaml"), mapping(TEXT))


def group(checks: Iterable[Check], key: Callable[[Check], tuple[str, ...]]) -> list[Group]:
    """The checks by a key, in the order of the keys."""
    found: dict[tuple[str, ...], list[Check]] = {}
    for each in checks:
        found.setdefault(key(each), []).append(each)
    return [_summary(of, members) for of, members in sorted(found.items())]


def fit_calls(cases: Iterable[Case], key: Callable[[Case], tuple[str, ...]]) -> list[Fits]:
    """How often the call whether a case fits its GPUs was right; batches that engines queue themselves are left out."""
    found: dict[tuple[str, ...], list[tuple[bool, bool]]] = {}
    for case in cases:
        told = case.source.kind == "training" or case.settings["phase"] not in ("offline", "online", None)
        called = fits(case) if told else None
        if called is not None:
            found.setdefault(key(case), []).append((called, not case.settings["oom"]))
    return [_calls(of, calls) for of, calls in sorted(found.items())]


def _calls(of: tuple[str, ...], calls: list[tuple[bool, bool]]) -> Fits:
    """Pairs of whether a case should fit and whether it did, counted."""
    too_large = [called for called, fitted in calls if not fitted]
    right = sum(called == fitted for called, fitted in calls)
    return Fits(of, len(calls), right, len(too_large), too_large.count(False))


def beating(checks: Iterable[Check]) -> list[Check]:
    """The checks whose measurement is faster than our limit."""
    return [each for each in checks if each.answer.beats_limit]


def worst(checks: Iterable[Check], number: int) -> list[Check]:
    """The predictions that are furthest off, times and rates on one scale: the larger of the two over the smaller."""
    ratios = [(each.answer.ratio, each) for each in checks if each.answer.ratio]
    furthest = sorted(ratios, key=lambda pair: max(pair[0], 1 / pair[0]), reverse=True)
    return [each for _, each in furthest[:number]]


def by_source(each: Check) -> tuple[str, ...]:
    """The key of a group by source: source, class of engine, what was measured, and role (`role_of`)."""
    return (each.case.source.name, class_of(each.case), each.answer.quantity, role_of(each.case))


def by_gpu(each: Check) -> tuple[str, ...]:
    """The key of a group by GPU."""
    return (each.case.settings["gpu"],)


def by_engine(each: Check) -> tuple[str, ...]:
    """The key of a group by engine: its class, and its name with the version."""
    nameless = "single kernels" if each.case.source.kind == "micro" else "not said"
    return (class_of(each.case), each.case.settings["engine"] or nameless)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of them lies, between neighbours in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def _summary(of: tuple[str, ...], members: list[Check]) -> Group:
    errors = [each.error for each in members if each.error is not None]
    ratios = [each.answer.ratio for each in members if each.answer.ratio is not None]
    faster = beating(members)
    return Group(
        of=of,
        figures=len(members),
        predicted=len(errors),
        median_ratio=median(ratios) if ratios else None,
        median_error=median(errors) if errors else None,
        p90_error=percentile(errors, 0.9) if errors else None,
        beat_limit=len(faster),
        unexplained=sum(not each.why for each in faster),
    )
