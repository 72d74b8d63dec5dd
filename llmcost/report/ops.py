"""The operator table: every operator of a phase with its shapes, FLOPs, parameters and bytes, and a total."""

from __future__ import annotations

from llmcost.formulas.operators import OperatorRow, PhaseOperators
from llmcost.ground.units import scaled, seconds
from llmcost.report.tables import Table


def operator_table(title: str, found: PhaseOperators) -> Table:
    """The rows as a page: shapes in letters above the same in numbers, FLOPs and parameters likewise, a total below."""
    total = found.total
    timed = total.seconds is not None
    columns = ("operator", "×", "shapes", "FLOPs", "parameters", "bytes", "FLOP/B") + ("time", "share") * timed
    counts = (f"{total.flops:,}", f"{total.params:,}", scaled(total.bytes, "B"), f"{total.intensity:,.1f}")
    times = (seconds(total.seconds or 0.0), "100%") if timed else ()
    rows = [*(_cells(row, timed) for row in found.operators), ("total", "", "each × its count", *counts, *times)]
    return Table(title, columns, "lrlrrrr" + "rr" * timed, rows)


def _cells(row: OperatorRow, timed: bool) -> tuple[str, ...]:
    pairs = zip(row.shape.split("; "), row.sizes.split("; "), strict=True)
    return (
        row.operator,
        f"{row.executions:,}",
        "\n".join(line for pair in pairs for line in pair),
        f"{row.flops_formula}\n{row.flops_each:,}" if row.flops else "",
        f"{row.params_formula}\n{row.params_each:,}" if row.params else "",
        scaled(row.bytes_each, "B") if row.bytes else "",
        f"{row.intensity:,.1f}" if row.flops else "",
        *((seconds(row.seconds or 0.0), f"{row.share:.1%}") if timed else ()),
    )
