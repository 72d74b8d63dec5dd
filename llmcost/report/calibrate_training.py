"""Calibration of a training engine: what was fitted, and how far off step times are before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmcost.accuracy.calibrate_memory import MemoryCalibration
from llmcost.accuracy.calibrate_training import TrainingCalibration
from llmcost.ground.titles import keep
from llmcost.ground.units import scaled
from llmcost.report.calibrate import percent, seconds
from llmcost.report.figures import degrees_of
from llmcost.report.tables import Table

MEMORY_KEPT = "memory: the base stays as it is; far off, is the layout that of the run?"


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
    m = found.memory
    if m is not None and m.share is not None:
        rows.append(("the allocator holds, over what is allocated", f"{m.base:.3g}", f"{m.share:.3g}"))
    kept = ("Kept: no number lessens the error of runs that are left out: the base stays as it is.",)
    yield Table(title, ("fitted", "base", "now"), "lrr", rows, () if rows else kept)
    errors = [("time of a step", found.errors(after=False), found.errors(after=True))]
    errors += [] if m is None else [("memory of a GPU", m.errors(after=False), m.errors(after=True))]
    how = "after: of each run by a fit to the others" if found.left_out else "after: of the very run that was fitted to"
    yield Table(
        "",
        ("error", "figures", "median before", "after", "mean before", "after"),
        "lrrrrr",
        [
            (what, f"{by.figures:,}", *map(percent, (by.median, now.median, by.mean, now.mean)))
            for what, by, now in errors
        ],
        ((how,) if rows else ()) + ((MEMORY_KEPT,) if m is not None and m.share is None else ()),
    )
    lines = []
    keep(*(run.log.file for run in found.runs))
    for run, early, late in zip(found.runs, found.before, found.after, strict=True):
        measured = run.seconds()
        off = [f"{100 * (value / measured - 1):+.0f}%" for value in (early, late)]
        spread = degrees_of(run.at.layout, ("tp", "cp", "pp", "vp", "dp", "ep")) or "one GPU"
        lines.append((run.log.file, spread, *map(seconds, (measured, early)), off[0], seconds(late), off[1]))
    for run, measured, early, late in [] if m is None else zip(m.runs, m.measured(), m.before, m.after, strict=True):
        off = [f"{100 * (value / measured - 1):+.0f}%" for value in (early, late)]
        sizes = [scaled(value, "B") for value in (measured, early, late)]
        lines.append((run.log.file, "memory", sizes[0], sizes[1], off[0], sizes[2], off[1]))
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
        "memory": None if found.memory is None else _memory_document(found.memory),
        "file": output,
    }


def _memory_document(found: MemoryCalibration) -> dict[str, Any]:
    """What was fitted to the memory of the logs, its errors, and each of them."""
    runs = zip(found.runs, found.measured(), found.before, found.after, strict=True)
    return {
        "reserved_share": found.share,
        "error": {when: found.errors(after=when == "after")._asdict() for when in ("before", "after")},
        "lines": [
            {"file": run.log.file, "measured_bytes": measured, "before_bytes": before, "after_bytes": after}
            for run, measured, before, after in runs
        ],
    }
