"""Running what was planned: every point becomes a row, whatever happens to the others, and no row is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch

from llmcost.bench.cases import Bench, Measured, TooLargeError, WrongAnswerError
from llmcost.bench.device import HARD
from llmcost.bench.kernels import KernelCase, UnsupportedError
from llmcost.bench.launch import launches
from llmcost.bench.step import cases_of, pass_of, time_pass
from llmcost.bench.suites import CASES, Point, Scope, StepPoint, steps
from llmcost.bench.timers import Timing
from llmcost.machine.calibration import distinct
from llmcost.model.operators import sizes_of
from llmcost.model.operators.routing import routing_words
from llmcost.specs.catalog import load_model
from llmcost.specs.profile import Profile, Row, StepRow

MOST_FAILURES = 5  # one after the other: then the device is taken for gone, and the rest is skipped
COOL_DOWN = 5.0  # seconds before a case that was throttled is tried once more
AnyRow = TypeVar("AnyRow", Row, StepRow)
Columns = dict[str, Any]


class Runner:
    """Measures points, and collects their rows.

    Rows of an `earlier` run that succeeded are kept, and are not measured again. `tell` gets a line of progress.
    """

    def __init__(self, bench: Bench, tell: Callable[[str], None], earlier: Profile | None = None) -> None:
        self.bench, self.tell = bench, tell
        self.rows: list[Row] = [row for row in earlier.rows if row.status == "ok"] if earlier else []
        self.steps: list[StepRow] = [step for step in earlier.steps if step.status == "ok"] if earlier else []
        self._places = {row.key(): place for place, row in enumerate(self.rows)}
        self._places |= {step.key(): place for place, step in enumerate(self.steps)}
        self._known: dict[KernelCase, Measured] = {}
        self._failures = 0

    def run_cases(self, points: Sequence[Point]) -> None:
        """Time the cases of some suites, a row each."""
        for number, point in enumerate(points, 1):
            self.tell(f"{point.suite} {number} of {len(points)}: {point.case.op.name} {point.case.dtype}")
            self._add(self.rows, row_of(point), partial(self._case, point.case, spaced=point.suite == "ceiling"))

    def run_launches(self) -> None:
        """Time starting a kernel in each way, a row each."""
        for name, measure in launches(self.bench).items():
            self.tell(f"launch: {name}")
            self._add(self.rows, Row("launch", name, "fp32", "skipped"), partial(_launch, measure))

    def run_steps(self, points: Iterable[StepPoint]) -> None:
        """Time whole passes, a row each, and each of their operators, which have rows of the suite `step`."""
        for point in points:
            self.tell(f"step: {point.model} {point.phase}, batch {point.b}, {point.c} tokens")
            row = StepRow(
                point.model, point.phase, point.b, point.c, point.dtype, "skipped", heldout=point.heldout, tp=point.tp
            )
            self._add(self.steps, row, partial(self._step, point))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _case(self, case: KernelCase, *, spaced: bool = False) -> Columns:
        """The columns of a case; one that a fault held back is measured once more, after a rest."""
        measured = self.bench.measure(case, spaced=True) if spaced else self._measured(case)
        if self.bench.held_back(measured):
            time.sleep(COOL_DOWN)
            measured = self.bench.measure(case, spaced=spaced)
            if not spaced:  # what is timed with pauses stands for nothing else
                self._known[case] = measured
        others = {
            name: round(value * 1e6, 2) if isinstance(value, float) else value
            for name, value in measured.others.items()
        }
        return timed(measured.timing) | {"way": measured.way, "others": others, "cache": measured.cache}

    def _measured(self, case: KernelCase) -> Measured:
        """What a case takes without pauses, measured once in a run."""
        if case not in self._known:
            self._known[case] = self.bench.measure(case)
        return self._known[case]

    def _step(self, point: StepPoint) -> Columns:
        """The columns of a pass that runs each operator in its fastest way.

        In training that is the way whose backward pass is fastest, as it is the longer one.
        """
        run = pass_of(load_model(point.model), point, self.bench.room())
        total, ways = 0.0, {}
        for op, cases in cases_of(run, point.dtype):
            for case in cases:
                self._measured(case)  # raises what the whole pass is skipped for
                heldout = point.heldout or self._held_out(case)
                self._add(self.rows, row_of(Point("step", case, heldout)), partial(self._case, case))
            way = self._measured(cases[-1]).way
            total += float(op.count) * sum(_by_way(self._measured(case), way) for case in cases)
            ways[distinct(op)] = way
        timing = time_pass(run, point.dtype, self.bench, lambda case: ways[case.op])
        return timed(timing) | {"layers": run.layers, "of_layers": run.of_layers, "operators_us": round(total * 1e6, 2)}

    def _held_out(self, case: KernelCase) -> bool:
        """Whether a suite has the same case among those that the fit never sees."""
        return any(row.heldout and row.dtype == case.dtype and row.op() == case.op for row in self.rows)

    def _add(self, rows: list[AnyRow], row: AnyRow, measure: Callable[[], Columns]) -> None:
        """Measure a row and add it, unless one of the same work is there: that one is then held out if this one is."""
        place = self._places.setdefault(row.key(), len(rows))
        if place == len(rows):
            rows.append(self._guarded(row, measure))
        elif row.heldout:
            rows[place] = rows[place]._replace(heldout=True)

    def _guarded(self, row: AnyRow, measure: Callable[[], Columns]) -> AnyRow:
        """The row with what was measured, or with the reason why nothing was."""
        if self._failures >= MOST_FAILURES:
            return row._replace(reason=f"{MOST_FAILURES} failures in a row: the device no longer answers")
        try:
            columns = measure()
        except (UnsupportedError, TooLargeError) as reason:
            return row._replace(status="skipped", reason=_words(reason))
        except WrongAnswerError as reason:
            return row._replace(status="wrong", reason=_words(reason))
        except torch.OutOfMemoryError as reason:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return row._replace(status="oom", reason=_words(reason))
        except Exception as reason:  # noqa: BLE001 - a kernel may fail in any way; the other rows are wanted all the same
            self._failures += 1
            return row._replace(status="failed", reason=_words(f"{type(reason).__name__}: {reason}"))
        self._failures = 0
        return row._replace(status="throttled" if HARD & set(columns["slowdown"]) else "ok", **columns)


def _words(reason: object) -> str:
    return " ".join(str(reason).split())[:200]


def _by_way(measured: Measured, way: str) -> float:
    """The seconds of a case in a given way, or in its own fastest one if that way was not timed."""
    other = measured.others.get(way)
    return other if isinstance(other, float) else measured.timing.median


def _launch(measure: Callable[[], Timing]) -> Columns:
    return timed(measure())


def row_of(point: Point) -> Row:
    """The row of a point before it is measured: skipped."""
    case = point.case
    return Row(
        point.suite,
        case.op.name,
        case.dtype,
        "skipped",
        type(case.op).__name__,
        sizes_of(case.op),
        backward=case.backward,
        heldout=point.heldout,
        routing="" if case.op.facts.routing.law == "uniform" else routing_words(case.op.facts.routing),
    )


def timed(timing: Timing) -> Columns:
    """A timing as columns of a row, in µs to five figures."""
    median, p05, p95 = (float(f"{value * 1e6:.5g}") for value in (timing.median, timing.p05, timing.p95))
    columns = {"median_us": median, "p05_us": p05, "p95_us": p95, "samples": timing.samples, "timer": timing.timer}
    return columns | timing.reading._asdict()


def planned(scope: Scope, suites: Iterable[str]) -> tuple[list[Point], list[StepPoint]]:
    """The cases and the whole passes that the named suites measure."""
    named = list(suites)
    points = [point for suite in named if suite in CASES for point in CASES[suite](scope)]
    return points, list(steps(scope)) if "step" in named else []


def progress() -> Callable[[str], None]:
    """A function that shows a line of progress in place of the one before, on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        return lambda _line: None
    began = time.monotonic()
    return lambda line: print(
        f"\r\x1b[K{time.monotonic() - began:5.0f} s  {line}" if line else "\r\x1b[K",
        end="",
        file=sys.stderr,
        flush=True,
    )
