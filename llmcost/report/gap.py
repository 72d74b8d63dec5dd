"""A measured step beside the predicted one, operator by operator, as tables, rows, a document and a chart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmcost.bench.gap import Gap
from llmcost.ground.units import seconds, significant
from llmcost.report.charts import Bars, Panel
from llmcost.report.tables import Table

SCHEMA = "llmcost.gap/1"
COLUMNS = ("operators", "executions", "kernels", "measured_seconds", "predicted_seconds")
LONGEST_NAME = 90  # letters of a kernel's name
MOST_OTHERS, MOST_CAUSES = 8, 3  # that are listed


def gap_tables(found: Gap) -> list[Table]:
    """The operators; the kernels that none of them stands for; and the largest causes in words."""
    rows = [
        (row.operators, f"{row.executions:,}", f"{row.kernels:,}", seconds(row.measured_seconds),
         seconds(row.predicted_seconds), _off(row.measured_seconds, row.predicted_seconds))
        for row in found.rows
    ]  # fmt: skip
    rows += [
        ("the GPU waits", "", "", seconds(found.idle_seconds), seconds(found.predicted_idle_seconds), ""),
        ("whole step", "", "", seconds(found.span_seconds), seconds(found.predicted_seconds),
         _off(found.span_seconds, found.predicted_seconds)),
    ]  # fmt: skip
    title = f"{found.model}, {found.phase}: {'1 step' if found.steps == 1 else f'{found.steps:,} steps'} in the trace"
    columns = ("operators", "runs", "kernels", "measured", "predicted", "off")
    tables = [Table(title, columns, "lrrrrr", rows, tuple(_notes(found)))]
    if found.others:
        others = [(significant(each.executions), seconds(each.seconds), _short(each.name)) for each in found.others]
        more = len(others) - MOST_OTHERS
        note = (f"{more:,} more kinds of kernels (--json has all, and whole names).",) if more > 0 else ()
        tables.append(
            Table("No operator of the model", ("runs", "measured", "kernel"), "rrl", others[:MOST_OTHERS], note)
        )
    return tables


def _short(kernel: str) -> str:
    """A kernel's name, of a long one its beginning and its end."""
    return kernel if len(kernel) <= LONGEST_NAME else f"{kernel[: LONGEST_NAME - 31]}…{kernel[-30:]}"


def _off(measured: float, predicted: float) -> str:
    return f"{predicted / measured - 1:+.0%}" if measured else "not found"


def _notes(found: Gap) -> Iterator[str]:
    if found.doubts:
        yield f"Is it another phase, batch, length or GPU? {'; '.join(found.doubts)}."
    yield f"Predicted: {found.basis}. Seconds of a step; all kernels between two products stand in one row."
    if found.exposed_seconds:
        yield f"Communication that nothing hides: {seconds(found.exposed_seconds)} of a step."
    largest = [(name, more) for name, more in found.causes()[:MOST_CAUSES] if more]
    words = "; ".join(f"{name}, {seconds(abs(more))} {'more' if more > 0 else 'less'}" for name, more in largest)
    yield f"Where measured and predicted differ most: {words}."


def flat(found: Gap) -> list[tuple[object, ...]]:
    """A row for CSV for each row of operators, in the order of COLUMNS."""
    return [tuple(row) for row in found.rows]


def document(found: Gap) -> dict[str, Any]:
    """The document of `gap --json`."""
    return {
        "schema": SCHEMA,
        **found._asdict(),
        "rows": [row._asdict() for row in found.rows],
        "others": [each._asdict() for each in found.others],
        "idle_seconds": found.idle_seconds,
        "predicted_idle_seconds": found.predicted_idle_seconds,
        "causes": [{"what": name, "more_seconds": more} for name, more in found.causes()],
    }


def gap_panels(found: Gap) -> list[Panel]:
    """Measured and predicted time of a step by operator, and of waiting."""
    names = [*(row.operators for row in found.rows), "the GPU waits"]
    measured = [*(row.measured_seconds for row in found.rows), found.idle_seconds]
    predicted = [*(row.predicted_seconds for row in found.rows), found.predicted_idle_seconds]
    whole = [True] * len(names)
    bars = [
        Bars("measured", 0, [1e3 * each for each in measured], whole),
        Bars("predicted", 1, [1e3 * each for each in predicted], whole),
    ]
    note = f"measured {seconds(found.span_seconds)}, predicted {seconds(found.predicted_seconds)}"
    groups = [name.replace(", ", ",\n") for name in names]
    return [Panel(f"{found.model}, {found.phase}: a step by operator", "", "ms", bars=bars, groups=groups, note=note)]
