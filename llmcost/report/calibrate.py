"""Calibration: what was fitted and how far off runs are before and after; scores of tables of kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmcost.accuracy.calibrate import HOST, Calibration, Errors
from llmcost.accuracy.kernel_scores import KernelScores, TableScore
from llmcost.report.tables import Table

MEANING = {
    "time.kernels": "all kernels take so many times as long",
    "time.products": "matrix products take so many times as long",
    "time.experts": "products of experts",
    "time.prompt_attention": "attention of prompts",
    "time.decode_attention": "attention over the cache",
    "time.elementwise": "norms, activations, scans",
    "time.communication": "communication inside a layer",
    "share.compute": "kernels reach so many times the share of the peak",
    "share.memory": "and of the bandwidth",
    "host.step": "the host, each step",
    "host.sequence": "the host, each sequence of a step",
    "host.request": "the host, each request before its first step",
}
QUANTITIES = {
    "tpot_seconds": "TPOT",
    "ttft_seconds": "TTFT",
    "prefill_seconds": "prefill",
    "latency_seconds": "latency",
}
MOST_LINES = 40  # runs that are shown one by one
SCORE_COLUMNS = ("rows", "median_error", "mean_error", "median_ratio", "impossible", "unpriced")


def percent(share: float | None) -> str:
    """A share in per cent with a digit; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f}%"


def seconds(value: float) -> str:
    """A time with three digits."""
    for size, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs" if value else "0 s"


def _value(name: str, value: float) -> str:
    return seconds(value) if name in HOST else f"{value:.3g}"


def calibration_tables(found: Calibration) -> Iterator[Table]:
    """What was fitted, the errors, and each measured time beside its predictions."""
    asked = found.questions[0]
    count = len(found.questions)
    title = (
        f"{found.base.title} {found.base.version}: {asked.model.title} on {asked.hardware.title}, "
        f"{count} run{'s' if count > 1 else ''}"
    )
    rows = [(MEANING[each.name], _value(each.name, each.base), _value(each.name, each.value)) for each in found.numbers]
    if found.nearby:
        rows.append(("times near a run go with what that run took", "–", f"{len(found.nearby)} runs"))
    notes = (f"Kept: {found.why}.",) if found.why else ()
    yield Table(title, ("fitted", "base", "now"), "lrr", rows, notes)
    yield _error_table(found)
    yield _line_table(found)


def _error_table(found: Calibration) -> Table:
    rows = []
    for words, first_tokens in (("times of tokens, latencies, rates", False), ("time to the first token", True)):
        before, after = (found.errors(after=later, first_tokens=first_tokens) for later in (False, True))
        if before.figures:
            rows.append(
                (words, f"{before.figures:,}", *map(percent, (before.median, after.median, before.mean, after.mean)))
            )
    how = "after: of each run by a fit to the others" if found.left_out else "after: of the very run that was fitted to"
    columns = ("error", "figures", "median before", "after", "mean before", "after")
    return Table("", columns, "lrrrrr", rows, (how,) if found.numbers or found.nearby else ())


def _line_table(found: Calibration) -> Table:
    rows = []
    for line in found.lines[:MOST_LINES]:
        name = QUANTITIES.get(line.quantity, f"1 / {line.quantity}")
        place = f"{line.run.file}:{line.run.line}" if line.run.line else line.run.file
        off = [f"{100 * (value / line.measured - 1):+.0f}%" for value in (line.before, line.after)]
        rows.append((place, name, *map(seconds, (line.measured, line.before)), off[0], seconds(line.after), off[1]))
    more = len(found.lines) - len(rows)
    notes = (f"and {more:,} more (--csv has all)",) if more > 0 else ()
    return Table("", ("run", "", "measured", "before", "", "after", ""), "llrrrrr", rows, notes)


def calibration_rows(found: Calibration) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Each measured time in seconds, before and after, as rows of CSV."""
    columns = ("file", "line", "quantity", "measured_seconds", "before_seconds", "after_seconds")
    return columns, [(each.run.file, each.run.line, each.quantity, *each[2:]) for each in found.lines]


def _errors(of: Errors) -> dict[str, Any]:
    return {"figures": of.figures, "median": of.median, "mean": of.mean}


def calibration_document(found: Calibration, output: str | None) -> dict[str, Any]:
    """The calibration as a JSON document."""
    asked = found.questions[0]
    errors = {
        name: {when: _errors(found.errors(after=when == "after", first_tokens=first)) for when in ("before", "after")}
        for name, first in (("tokens", False), ("ttft", True))
    }
    return {
        "schema": "llmcost.calibrate/1",
        "engine": found.base.name,
        "model": asked.model.name,
        "hardware": asked.hardware.name,
        "runs": len(found.questions),
        "fitted": [each._asdict() for each in found.numbers],
        "nearby": [run._asdict() for run in found.nearby],
        "kept": bool(found.why),
        "why": found.why or None,
        "left_out": found.left_out,
        "error": errors,
        "output": output,
    }


def score_tables_of(found: KernelScores) -> Iterator[Table]:
    """The scores by what tables measure."""
    priced = {name: each for name, each in found.tables.items() if each.rows}
    rows = [(name, *_cells(each)) for name, each in priced.items()]
    columns = ("table", "rows", "median error", "mean error", "median ratio", "impossible", "unpriced")
    by = f"profile {found.profile}" if found.profile else f"engine: {found.engine}"
    left = sum(each.unpriced for each in found.tables.values())
    notes = ["ratio: predicted over measured; impossible: faster than the GPU allows, left out"] if rows else []
    if left:
        others = [name for name in found.tables if name not in priced]
        notes.append(f"{left:,} rows cannot be priced: {', '.join(_reasons(found))}")
        notes += [f"tables without a form: {', '.join(others)}"] if others else []
    yield Table(f"Tables of measured kernels, by {by}", columns, "lrrrrrr", rows, tuple(notes))


def _reasons(found: KernelScores) -> list[str]:
    return [f"{reason} ({count:,})" for reason, count in list(found.reasons.items())[:8]]


def _cells(score: TableScore) -> tuple[str, ...]:
    ratio = "–" if score.median_ratio is None else f"{score.median_ratio:.2f}"
    shares = (percent(score.median_error), percent(score.mean_error), ratio)
    return (f"{score.rows:,}", *shares, f"{score.impossible:,}", f"{score.unpriced:,}")


def score_rows(found: KernelScores) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The scores file by file, as rows of CSV."""
    return ("table", *SCORE_COLUMNS), [(name, *each) for name, each in found.files.items()]
