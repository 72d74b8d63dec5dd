"""One run, from the machine as it stands to a profile: warm up, measure, fit, and keep what there is at any moment."""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.bench import SUITES
from llmcost.bench.cases import Bench
from llmcost.bench.device import HARD, Device, Sensors, environment
from llmcost.bench.fit_profile import fitted
from llmcost.bench.kernels.collective import join, rank, ranks, slowest
from llmcost.bench.runner import Runner, planned, progress
from llmcost.bench.step import bytes_of
from llmcost.bench.suites import Point, Scope, StepPoint
from llmcost.bench.timers import Clock, quantile, soak
from llmcost.ground import __version__
from llmcost.ground.errors import InputError, UnknownNameError
from llmcost.ground.files import check_place, write_file
from llmcost.parallel.layout import Layout
from llmcost.parallel.rules import check, shape_of
from llmcost.serving.estimate import DEFAULT_CONTEXT
from llmcost.specs.catalog import load_beside, load_hardware, load_model
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.profile import Profile, Row, StepRow, load_profile, profile_text

SOAK_SECONDS = {"quick": 3.0, "full": 5.0, "chosen": 3.0}  # of warming up, by scope
PASS_DTYPES = ("bf16", "fp16", "fp32")  # in which a whole pass can be run
CPU_CONTEXT = 128  # tokens of a pass on a CPU, where none are asked for
SECONDS, TRIAL_SECONDS = 0.06, 0.01  # sampling a case, and trying one way to run it
CPU_SECONDS, CPU_TRIAL_SECONDS = 0.005, 0.001
CASE_SECONDS, CPU_CASE_SECONDS, STEP_SECONDS = 0.6, 0.05, 6.0  # that a case or a pass took on an H200, and on a CPU


def suites_asked(names: str | None) -> tuple[str, ...]:
    """The suites named. None: all but collectives; under torchrun those, and whole passes. Raises InputError."""
    if names is None:
        return ("collectives", "step") if ranks() > 1 else tuple(suite for suite in SUITES if suite != "collectives")
    asked = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in asked:
        if name not in SUITES:
            raise InputError(f"--suite {name}: one of {', '.join(SUITES)}")
    return asked


def pass_asked(
    model: str, phase: str, batch: int, context: int | None, dtype: str | None, device: Device, tp: int | None = None
) -> StepPoint:
    """The pass of a model that a user means, with defaults that suit the device.

    `tp`: GPUs that share the model; None: as many as torchrun started. Raises InputError where the model cannot run it.
    """
    spec = load_beside(model)
    together = ranks() if tp is None else tp
    if together != ranks():
        raise InputError(
            f"--tp {together}: one process a GPU is needed, and here {'is 1' if ranks() == 1 else f'are {ranks()}'} "
            f"(torchrun --nproc-per-node {together} -m llmcost bench {model} --tp {together})"
        )
    usual = min(spec.max_position_embeddings, DEFAULT_CONTEXT if device.graphs else CPU_CONTEXT)
    tokens = usual if context is None else context
    kind = dtype or ("fp32" if device.kind == "cpu" else "bf16")
    if kind not in PASS_DTYPES:
        raise InputError(f"--dtype {kind}: one of {', '.join(PASS_DTYPES)}")
    if batch < 1:
        raise InputError(f"--batch {batch}: at least 1")
    if not 1 <= tokens <= spec.max_position_embeddings:
        raise InputError(
            f"--context {tokens}: {spec.name} takes 1 to {spec.max_position_embeddings:,} positions "
            "(max_position_embeddings)"
        )
    check(Layout(tp=together, gpus_per_node=together, sequence_parallel=False), shape_of(spec, kind))
    return StepPoint(model, phase, batch, tokens, kind, heldout=False, tp=together)


class BenchRequest(NamedTuple):
    """What to measure, and where to keep it."""

    suites: Sequence[str] = SUITES
    full: bool = False
    hardware: str | None = None  # the spec to compare with, where the device's name is in none
    output: Path | None = None
    passes: tuple[StepPoint, ...] = ()  # of a model that was asked for; then no suites are measured
    resume: Path | None = None  # an earlier run, whose rows are kept: an interrupted one, or one that gets more suites

    @property
    def scope(self) -> str:
        """How much is measured: every suite, quick or full; or chosen suites, or passes of a model."""
        if self.passes or not set(self.suites) >= set(SUITES) - {"collectives"}:
            return "chosen"
        return "full" if self.full else "quick"


class Session:
    """A run on one device. It raises InputError before anything is measured, where the request cannot be met."""

    def __init__(self, device: Device, request: BenchRequest, tell: Callable[[str], None] | None = None) -> None:
        self.device, self.request = device, request
        self.hardware = spec_of(device, request.hardware)
        self.target = self._target()
        several = ranks() > 1
        self.sensors = Sensors(device)
        if several:
            join(device)
        self.silent = several and rank() > 0  # one process reports for all
        self.contended = self.sensors.contention()
        self.limits = self.sensors.limits()
        seconds, trial = (CPU_SECONDS, CPU_TRIAL_SECONDS) if device.kind == "cpu" else (SECONDS, TRIAL_SECONDS)
        clock = Clock(device, self.sensors, seconds, trial, slowest if several else float)
        earlier = self._earlier()
        self._scope = earlier.scope if earlier and earlier.complete else request.scope
        self.runner = Runner(Bench(self.device, clock, request.scope == "quick"), tell or progress(), earlier)
        self.complete = self._unwritable = False
        self.began = time.monotonic() - (earlier.state.get("seconds", 0.0) if earlier else 0.0)

    def _target(self) -> Path | None:
        """Where the profile will stand, and while it is unfinished its part. Raises InputError if it cannot.

        Where no place was asked for, whole runs are written into the working folder, chosen ones nowhere.
        """
        target = self.request.output
        if target is None and self.request.scope != "chosen":
            name = self.hardware.name if self.hardware else self.device.name
            time_of_day = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            target = Path(f"profile-{_file_name(name)}-{time_of_day}.json")
        if target is not None:
            check_place(target)
            if not target.exists() or target.is_file():  # what is no file, as /dev/null, has no part either
                check_place(part_of(target))
        return target

    def _earlier(self) -> Profile | None:
        """The run to go on with. Raises InputError if it was on another GPU or with another torch."""
        if self.request.resume is None:
            return None
        earlier = load_profile(self.request.resume)
        now = (self.device.name, environment()["torch"])
        if (earlier.device["name"], earlier.environment["torch"]) != now:
            raise InputError(
                f"{self.request.resume}: measured on another GPU or with another torch than {now[0]} and {now[1]}"
            )
        return earlier

    def run(self) -> Profile:
        """Measure what was asked for, and fit it. After Ctrl-C the profile has what was measured until then."""
        points, steps = self.plan()
        try:
            with self.device.stream(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a backend that takes no such shape says why
                self.runner.tell("warming up")
                soak(self.device, 0.0 if self.device.kind == "cpu" else SOAK_SECONDS[self.request.scope])
                for suite in self.request.suites if not self.request.passes else ():
                    self.runner.run_cases([point for point in points if point.suite == suite])
                    if suite == "launch":
                        self.runner.run_launches()
                    self.keep()
                for step in steps:
                    self.runner.run_steps([step])
                    self.keep()
            self.complete = True
        except KeyboardInterrupt:
            self.runner.tell("interrupted: keeping what was measured\n")
        return fitted(self.profile())

    def plan(self) -> tuple[list[Point], list[StepPoint]]:
        """The cases and the whole passes of this run."""
        if self.request.passes:
            return [], list(self.request.passes)
        return planned(Scope(self.device, self.request.full), self.request.suites)

    def outline(self) -> list[tuple[str, int, int, float]]:
        """What a run would measure, by suite: its name, its cases, bytes of the largest, and roughly its seconds."""
        points, steps = self.plan()
        each = CPU_CASE_SECONDS if self.device.kind == "cpu" else CASE_SECONDS
        found = []
        for suite in dict.fromkeys(point.suite for point in points):
            cases = [point.case for point in points if point.suite == suite]
            largest = max(int(case.op.moved_bytes()) for case in cases)
            found.append((suite, len(cases), largest, len(cases) * each))
        if steps:
            largest = max(bytes_of(load_model(step.model), step) for step in steps)
            found.append(("step", len(steps), largest, len(steps) * STEP_SECONDS))
        return found

    def write(self, profile: Profile) -> None:
        """Write a complete profile to its place, and take its part away; of an interrupted run write the part.

        So what an earlier run has left in that place is only replaced by a whole run.
        """
        if self.target is None:
            return
        part = part_of(self.target)
        place = self.target if profile.complete else part
        write_file(place, profile_text(profile))
        if profile.complete:
            part.unlink(missing_ok=True)
        print(f"llmcost: wrote {place}", file=sys.stderr)

    def keep(self) -> None:
        """Write what there is so far beside the final place, so that a crash loses nothing.

        Where that fails, as on a full disk, it is said once, and measuring goes on.
        """
        if self.target is not None and not self.silent and not self._unwritable:
            try:
                write_file(part_of(self.target), profile_text(self.profile()))
            except InputError as error:
                self._unwritable = True
                print(f"llmcost: {error}", file=sys.stderr)

    def profile(self) -> Profile:
        """A profile of what was measured so far, without a fit."""
        return Profile(
            name=self.hardware.name if self.hardware else self.device.name,
            hardware=self.hardware.name if self.hardware else None,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            scope=self._scope,
            complete=self.complete,
            device={key: value for key, value in self.device._asdict().items() if key != "uuid"} | self.limits,
            environment={"llmcost": __version__} | environment(),
            state=self._state(),
            peaks=peaks_of(self.hardware, self.runner.rows),
            fit={},
            steps=tuple(self.runner.steps),
            rows=tuple(self.runner.rows),
        )

    def _state(self) -> dict[str, Any]:
        """How the device was while it was timed: medians of its readings, faults, other users, seconds of the run."""
        measured: list[Row | StepRow] = [*self.runner.rows, *self.runner.steps]
        rows = [row for row in measured if row.status in ("ok", "throttled")]
        middle = {
            name: _median([getattr(row, name) for row in rows]) for name in ("sm_mhz", "mem_mhz", "watts", "temp_c")
        }
        faults = sorted(HARD & {word for row in rows for word in row.slowdown})
        known = {name: value for name, value in middle.items() if value is not None}
        return known | {
            "contended": self.contended,
            "slowdown": faults,
            "seconds": round(time.monotonic() - self.began, 1),
        }


def part_of(output: Path) -> Path:
    """The file in which an unfinished run is kept, beside that of the finished one."""
    return output.with_name(f"{output.name}.part")


def _file_name(name: str) -> str:
    """A device's name as a part of a file's name: letters, digits and . _ - of it, at most 100."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]


def spec_of(device: Device, named: str | None) -> HardwareSpec | None:
    """The spec of a GPU: the one named, or the one with the driver's name of it among its aliases; None without one."""
    if named is not None:
        return load_hardware(named)
    try:
        return load_hardware(device.name.replace("/", " "))
    except UnknownNameError:
        return None


def peaks_of(hardware: HardwareSpec | None, rows: Sequence[Any]) -> dict[str, Any]:
    """The peaks that shares are shares of: a data sheet's; of a device without a spec, the best that was measured."""
    if hardware is not None:
        flops = {dtype: figure.value for dtype, figure in hardware.peak.items()}
        return {
            "flops_per_s": flops,
            "bytes_per_s": hardware.bandwidth and hardware.bandwidth.value,
            "source": f"data sheet, hardware/{hardware.name}.yaml",
        }
    best: dict[str, float] = {}
    bandwidth = 0.0
    for row in rows:
        if row.status == "ok" and row.operator == "Gemm":
            best[row.dtype] = max(best.get(row.dtype, 0.0), row.op().flops(causal=True) / row.median_us * 1e6)
        if row.status == "ok" and row.suite == "memory":
            bandwidth = max(bandwidth, row.op().moved_bytes() / row.median_us * 1e6)
    return {
        "flops_per_s": best,
        "bytes_per_s": bandwidth or None,
        "source": "the best measured in this run: no data sheet is known",
    }


def _median(values: Sequence[float | None]) -> float | int | None:
    """The median of the values that are known, of ints as an int; None where none is known."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return round(quantile(known, 0.5), 1 if isinstance(known[0], float) else None)
