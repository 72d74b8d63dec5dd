"""The operator table: every operator of a phase with its shapes, FLOPs, parameters and bytes, and a total."""

from __future__ import annotations

from llmcost.formulas.operators import OperatorRow, PhaseOperators
from llmcost.ground.units import scaled, seconds
from llmcost.report.tables import Table


def operator_table(title: str, found: PhaseOperators) -> Table:
    """The rows as a page: shapes in letters above the same in numbers, FLOPs and parameters likewise, a total below."""
    total = found.total
    timed = total.seconds is not None
    columns = ("operator", "×", "shapes", "FLOPs", "parameters", "bytes", "FLOP/B") + (
        "time",
        "share",
        "FLOP/s",
    ) * timed
    causal = f"\n{total.causal_flops:,} causal" if total.causal_flops != total.flops else ""
    counts = (f"{total.flops:,}{causal}", f"{total.params:,}", scaled(total.bytes, "B"), f"{total.intensity:,.1f}")
    times = (seconds(total.seconds or 0.0), "100%", "") if timed else ()
    rows = [*(_cells(row, timed) for row in found.operators), ("total", "", "each × its count", *counts, *times)]
    return Table(title, columns, "lrlrrrr" + "rrr" * timed, rows, last=("×", "bytes", "FLOP/B", "time", "share"))


def _cells(row: OperatorRow, timed: bool) -> tuple[str, ...]:
    each = row.causal_flops / row.executions
    causal = f"\n{each:,.0f} causal" if row.causal_flops != row.flops else ""
    pairs = zip(row.shape.split("; "), row.sizes.split("; "), strict=True)
    return (
        row.operator,
        f"{row.executions:,}",
        "\n".join(line for pair in pairs for line in pair if line),
        f"{row.flops_formula}\n{row.flops_each:,}{causal}" if row.flops else "",
        f"{row.params_formula}\n{row.params_each:,}" if row.params else "",
        scaled(row.bytes_each, "B") if row.bytes else "",
        f"{row.intensity:,.1f}" if row.flops else "",
        *(
            (
                seconds(row.seconds or 0.0),
                f"{row.share:.1%}",
                scaled(row.flops_per_s, "FLOP/s") if row.flops_per_s else "",
            )
            if timed
            else ()
        ),
    )
