"""How far off training is on what nobody had measured: each source, engine or GPU left out of the fit in turn.

The shares that kernels reach (machine/training_shares.py) are chosen anew on all runs of dense models but the group's,
and predict the group. A stage moves its shares one at a time, by ever smaller steps, as long as the mean distance of
prediction and measurement shrinks, |log(predicted / measured)|: first over the runs of a source and GPU, then over
these, by the roots of how many runs they have. Shares that an engine states of itself are left out with the last of its
runs. What else an engine's file or a source's says, its host's seconds or what overlaps, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from llmcost.accuracy.cases import Case, load_cases
from llmcost.accuracy.models import spec_of
from llmcost.accuracy.predict import time_of
from llmcost.accuracy.runs import Run, run_of
from llmcost.ground.errors import InputError, shortened
from llmcost.ground.recording import Program, Tape
from llmcost.machine.training_shares import OTHERS, SHARES, TORCH, VENDOR, Shares, generation_of

GROUPS: dict[str, Callable[[Case], str]] = {
    "source": lambda case: case.source.name,
    "engine": lambda case: case.engine or "not told",
    "gpu": lambda case: str(case.settings["gpu"]),
}
STEPS = (1.25, 1.08, 1.02)
LARGEST = 0.95  # share of a peak
FAR = 0.7  # |log| at which a run counts no more: a factor of two
LEAST = 1e-4  # that a move makes the mean distance shorter
FEWEST = 4  # runs that a stage's shares are chosen on; of fewer, those of generations that nobody measured are taken
NONE = "--leave-out {}: of training runs whose layout is told, and none of these cases is one"
TABLES = {"torch": TORCH, "vendor": VENDOR}

Point = tuple[float, ...]  # of the space of shares, in the order of SHARES
Key = tuple[str, str]  # whose kernels, and the GPU's generation


class Told(NamedTuple):
    """A run whose layout is told, its case, and which shares it depends on; `stage` None: on none."""

    case: Case
    run: Run
    stage: Key | None


class LeftOut(NamedTuple):
    """One group of runs: |predicted / measured - 1| of each one's time, as shipped and by shares chosen without it.

    `speed`: predicted over measured speed without it, median. `shares`: those of each stage of the group.
    """

    group: str
    models: str
    shipped: list[float]
    errors: list[float]
    speed: float
    shares: dict[Key, Shares]

    def to_dict(self) -> dict[str, Any]:
        """As the document of `llmcost accuracy --json` has it."""
        return {
            "group": self.group,
            "models": self.models,
            "runs": len(self.errors),
            "median_error": median(self.errors),
            "median_error_as_shipped": median(self.shipped),
            "median_speed_ratio": self.speed,
            "shares": {
                " ".join(stage): {name: getattr(shares, name) for name in SHARES}
                for stage, shares in self.shares.items()
            },
        }


def check_group(by: str, cases: Iterable[Case]) -> None:
    """Raise InputError for a kind of group that there is not, or of which these cases have no run."""
    if by not in GROUPS:
        raise InputError(f"--leave-out {shortened(by)}: one of {', '.join(GROUPS)}")
    if all(case.source.kind != "training" for case in cases):
        raise InputError(NONE.format(by))


def left_out(by: str, shown: Container[str]) -> list[LeftOut]:
    """Every group of runs, in the order of the names, dense models and those with experts apart.

    `shown`: the cases that are asked about, by name; the others still have a part in the fits. Raises InputError where
    no run is asked about.
    """
    told = [each for case in load_cases("training") for each in _told(case)]
    fits = {stage: Fit([each for each in told if each.stage == stage]) for stage in {each.stage for each in told}}
    groups: dict[tuple[str, str], list[Told]] = {}
    for each in told:
        if each.case.name in shown:
            groups.setdefault((GROUPS[by](each.case), _models(each.case)), []).append(each)
    if not groups:
        raise InputError(NONE.format(by))
    found = []
    for (name, models), members in sorted(groups.items()):
        apart = {each.case.name for each in told if GROUPS[by](each.case) == name}
        stages = {each.stage for each in members if each.stage is not None}
        shares = {stage: fits[stage].without(apart, TABLES[stage[0]][stage[1]]) for stage in sorted(stages)}
        lost = _engines(members) - _engines(each for each in told if each.case.name not in apart)
        shipped = [_speed(each, None, own=True) for each in members]
        speeds = [_speed(each, shares.get(each.stage or ("", "")), own=each.run.engine not in lost) for each in members]
        found.append(LeftOut(name, models, _errors(shipped), _errors(speeds), median(speeds), shares))
    return found


def _told(case: Case) -> list[Told]:
    """The run of a case, if its step can be predicted and was timed."""
    run = None if case.settings["oom"] else run_of(case)
    step = None if run is None else run.step()
    if run is None or step is None or time_of(case, step) is None:
        return []
    kernels, generation = ("vendor" if run.recipe.kernels == "vendor" else "torch"), generation_of(run.hardware())
    moved = run.recipe.dtype != "fp32" and generation in TABLES[kernels]
    if kernels == "vendor" and VENDOR[generation] is TORCH.get(generation):
        kernels = "torch"
    return [Told(case, run, (kernels, generation) if moved else None)]


def _models(case: Case) -> str:
    model = spec_of(case.settings["model"])
    return "experts" if model is not None and model.has_experts() else "dense"


def _engines(told: Iterable[Told]) -> set[str | None]:
    return {each.run.engine for each in told}


def _speed(each: Told, known: Shares | None, *, own: bool) -> float:
    """Predicted over measured speed of a run."""
    step = each.run.step(known, shares_of_its_own=own)
    answer = None if step is None else time_of(each.case, step)
    assert answer is not None
    ratio: float = answer.ratio
    return ratio if answer.is_rate else 1 / ratio


def _errors(speeds: Iterable[float]) -> list[float]:
    """|predicted / measured - 1| of times."""
    return [abs(1 / each - 1) for each in speeds]


class Fit:
    """The runs of dense models that a stage's shares are chosen on, as functions of these.

    Each run is predicted once, with recordings in place of the shares; what is done to them is played for each try.
    """

    def __init__(self, told: Sequence[Told]) -> None:
        self.runs = [each for each in told if each.stage is not None and _models(each.case) == "dense"]
        tape = Tape()
        known = _shares([tape.input(name) for name in SHARES])
        ratios = [self._ratio(each, known) for each in self.runs]
        self.known: dict[Point, list[float]] = {}  # where the shares were tried -> how far off each run is there
        self.program: Program = tape.program([tape.entry("*", tape.place(ratio), tape.place(1.0)) for ratio in ratios])

    def _ratio(self, each: Told, known: Shares) -> Any:
        step = each.run.step(known)
        answer = None if step is None else time_of(each.case, step)
        assert answer is not None
        return answer.ratio

    def without(self, apart: set[str], start: Shares) -> Shares:
        """The shares that predict all runs but those `apart` best; where too few are left, OTHERS."""
        seen = [place for place, each in enumerate(self.runs) if each.case.name not in apart]
        if len(seen) < FEWEST:
            return OTHERS
        best = tuple(getattr(start, name) for name in SHARES)
        far = self._distances([best], seen)[0]
        for step in STEPS:
            while True:
                tried = [moved for place in range(len(best)) for moved in _moves(best, place, step)]
                distances = self._distances(tried, seen)
                nearest = min(distances)
                if nearest > far - LEAST:
                    break
                far, best = nearest, tried[distances.index(nearest)]
        return _shares(best)

    def _distances(self, points: Sequence[Point], seen: Sequence[int]) -> list[float]:
        """How far off the runs that are `seen` are at each of some points."""
        new = [point for point in dict.fromkeys(points) if point not in self.known]
        if new:
            import numpy as np

            from llmcost.ground.arrays import play

            inputs = {name: np.array([point[place] for point in new]) for place, name in enumerate(SHARES)}
            ratios = np.array([np.broadcast_to(each, len(new)) for each in play(self.program, inputs)])
            off = np.minimum(np.abs(np.log(ratios)), FAR)
            self.known |= {point: off[:, place].tolist() for place, point in enumerate(new)}
        return [self._mean([self.known[point][place] for place in seen], seen) for point in points]

    def _mean(self, off: Sequence[float], seen: Sequence[int]) -> float:
        groups: dict[tuple[str, str], list[float]] = {}
        for place, each in zip(seen, off, strict=True):
            case = self.runs[place].case
            groups.setdefault((case.source.name, case.settings["gpu"]), []).append(each)
        return fmean([fmean(group) for group in groups.values()], [len(group) ** 0.5 for group in groups.values()])


def _shares(values: Iterable[Any]) -> Shares:
    """Shares from the values of SHARES in their order."""
    return OTHERS._replace(**dict(zip(SHARES, values, strict=True)), source="chosen anew")


def _moves(point: Point, place: int, step: float) -> list[Point]:
    """A point with one of its shares a step larger, and a step smaller."""
    larger, smaller = min(LARGEST, point[place] * step), point[place] / step
    return [(*point[:place], moved, *point[place + 1 :]) for moved in (larger, smaller)]
