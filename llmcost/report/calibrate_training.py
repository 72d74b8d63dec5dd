"""Calibration of a training engine: what was fitted, and how far off step times are before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmcost.accuracy.calibrate_training import TrainingCalibration
from llmcost.ground.titles import keep
from llmcost.report.calibrate import percent, seconds
from llmcost.report.figures import degrees_of
from llmcost.report.tables import Table


def training_tables(found: TrainingCalibration) -> Iterator[Table]:
    """What was fitted, the errors, and each run beside its predictions."""
    asked, count = found.runs[0].at, len(found.runs)
    runs = f"{count} run{'s' if count > 1 else ''}"
    title = f"{found.base.title} {found.base.version}: {asked.model.title} on {found.hardware.title}, {runs}"
    rows = []
    if found.numbers is not None:
        rows.append(("kernels reach so many times the share of the peak", "1", f"{found.numbers.share:.3g}"))
        if found.numbers.layer != found.base_layer:
            layer = (seconds(found.base_layer), seconds(found.numbers.layer))
            rows.append(("the host, each layer in one direction", *layer))
    kept = ("Kept: no number lessens the error of runs that are left out: the base stays as it is.",)
    yield Table(title, ("fitted", "base", "now"), "lrr", rows, kept if found.numbers is None else ())
    before, after = found.errors(after=False), found.errors(after=True)
    how = "after: of each run by a fit to the others" if found.left_out else "after: of the very run that was fitted to"
    cells = ("time of a step", f"{before.figures:,}", *map(percent, (before.median, after.median)))
    yield Table(
        "",
        ("error", "figures", "median before", "after", "mean before", "after"),
        "lrrrrr",
        [(*cells, *map(percent, (before.mean, after.mean)))],
        (how,) if found.numbers is not None else (),
    )
    lines = []
    keep(*(run.log.file for run in found.runs))
    for run, early, late in zip(found.runs, found.before, found.after, strict=True):
        measured = run.seconds()
        off = [f"{100 * (value / measured - 1):+.0f}%" for value in (early, late)]
        spread = degrees_of(run.at.layout, ("tp", "cp", "pp", "vp", "dp", "ep")) or "one GPU"
        lines.append((run.log.file, spread, *map(seconds, (measured, early)), off[0], seconds(late), off[1]))
    yield Table("", ("run", "", "measured", "before", "", "after", ""), "llrrrrr", lines)


def training_rows(found: TrainingCalibration) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Each step time in seconds, before and after, as rows of CSV."""
    columns = ("file", "quantity", "measured_seconds", "before_seconds", "after_seconds")
    pairs = zip(found.runs, found.before, found.after, strict=True)
    return columns, [(run.log.file, "step_seconds", run.seconds(), before, after) for run, before, after in pairs]


def training_document(found: TrainingCalibration, output: str | None) -> dict[str, Any]:
    """The calibration as a JSON document."""
    columns, rows = training_rows(found)
    return {
        "schema": "llmcost.calibrate/1",
        "engine": found.base.name,
        "model": found.runs[0].at.model.name,
        "hardware": found.hardware.name,
        "runs": len(found.runs),
        "fitted": None if found.numbers is None else found.numbers._asdict(),
        "kept": found.numbers is None,
        "left_out": found.left_out,
        "error": {"step": {when: found.errors(after=when == "after")._asdict() for when in ("before", "after")}},
        "lines": [dict(zip(columns, row, strict=True)) for row in rows],
        "file": output,
    }
