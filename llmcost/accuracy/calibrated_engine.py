"""The file of an engine that was fitted to runs: the base's, with the fitted figures and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmcost.accuracy.calibrate import Calibration, spread_of, with_figures
from llmcost.ground.errors import shortened
from llmcost.specs.engine import MOST_RUNS
from llmcost.specs.reader import Document
from llmcost.specs.writer import OneLine

SOURCE = "own-runs"


def calibrated(found: Calibration, base: Document, files: Sequence[str], output: str | None) -> Document:
    """The document of the engine's file; where the base was kept, the base's figures under the new name."""
    asked = found.questions[0]
    counted = _files_and_dates(found, files)
    document = with_figures(base, {}, SOURCE, "")
    for each in found.numbers:
        away = spread_of(each.name, each.base, each.value)
        note = f"fitted to {_runs(found)}; the base has {each.base:g}, {abs(away):.1f} spreads away"
        document = with_figures(document, {each.name: each.value}, SOURCE, note)
    fields: dict[str, Any] = dict(document.data)
    if found.nearby:
        note = "what each run took beside what the figures say, as weights of times near it"
        runs = [*fields.get("nearby", {}).get("runs", ()), *(run._asdict() for run in found.nearby)]
        fields["nearby"] = {"source": SOURCE, "note": note, "runs": [OneLine(run) for run in runs[-MOST_RUNS:]]}
    fields["name"] = Path(output).stem if output else f"{found.base.name}-on-{asked.hardware.name}"
    version = found.base.version.partition(",")[0]
    fields["version"] = f"{version}, fitted to {_runs(found)} of {asked.model.title} on {asked.hardware.title}"
    fields["gpu"] = asked.hardware.gpu or asked.hardware.name
    fields.pop("aliases", None)
    fields["sources"] = fields["sources"] | {SOURCE: {"title": counted}}
    fields["errors"] = _errors(found)
    fields["notes"] = [*fields.get("notes", ()), *([f"Base kept: {found.why}."] if found.why else [])]
    return Document(output or "", {name: value for name, value in fields.items() if value != {}}, {})


def _runs(found: Calibration) -> str:
    count = len(found.questions)
    return f"{count} run{'s' if count > 1 else ''}"


def _files_and_dates(found: Calibration, files: Sequence[str]) -> str:
    """Which files, how many runs, of which days, and when they were fitted to."""
    dates = sorted({asked.run.date[:10] for asked in found.questions if asked.run.date})
    names = ", ".join(Path(name).name for name in files)
    of = f", of {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "") if dates else ""
    today = datetime.now(UTC).date().isoformat()
    return f"{_runs(found)} of {shortened(names)}{of}; fitted on {today}"


def _errors(found: Calibration) -> dict[str, Any]:
    """The mean errors of runs that were left out of the fit; none where there was no fit, or none to leave out."""
    stated: dict[str, Any] = {}
    for name, first_tokens in (("tpot", False), ("ttft", True)):
        before, after = (found.errors(after=later, first_tokens=first_tokens) for later in (False, True))
        if found.left_out and after.mean is not None:
            note = f"{after.figures} times of runs left out; {before.mean:.1%} before"
            stated[name] = {"value": round(after.mean, 4), "source": SOURCE, "note": note}
    return stated
