"""The tables that list rows of a profile, with their sizes in words."""

from __future__ import annotations

from collections.abc import Iterable

from llmcost.bench.rates import RowRates
from llmcost.bench.summary import MeasuredPass
from llmcost.ground.units import scaled, seconds, significant
from llmcost.report.tables import Table

COLUMNS = (
    "suite", "name", "operator", "sizes", "dtype", "backward", "heldout", "status", "way", "median_us", "p05_us",
    "p95_us", "samples", "tflops", "gbps", "timer", "cache", "sm_mhz", "mem_mhz", "watts", "temp_c", "slowdown",
    "reason", "routing",
)  # fmt: skip


def shape(each: RowRates) -> str:
    """The sizes of a row, in the words of its kind of operator."""
    row, z = each.row, each.row.sizes
    if row.operator == "Gemm":
        return f"{z['b'] * z['s']}×{z['n']}×{z['k']}"
    if row.operator == "GroupedGemm":
        law = f", {row.routing}" if row.routing else ""
        return f"{z['b'] * z['s']} tokens, {z['active']} of {z['groups']}, {z['n']}×{z['k']}{law}"
    if row.operator == "Attention":
        return (
            f"b {z['b']}, {'c' if z.get('decode') else 's'} {z['c']}, {z['a']}/{z.get('kv_heads', 1)} heads of {z['d']}"
        )
    if row.operator == "Elementwise":
        return scaled(each.bytes, "B") if row.suite == "memory" else f"{z['b'] * z['s']}×{z['reads']}→{z['writes']}"
    if row.operator == "Lookup":
        return f"{z['b'] * z['s']} rows of {z['width']}"
    if row.operator == "Collective":
        return f"{scaled(z['rows'] * z['width'] * z['Bx'], 'B')}, {z['ranks']} ranks"
    return ""


def rows_table(rows: Iterable[RowRates]) -> Table:
    """The table of every row: its kernel, its time and its rates."""
    found: list[tuple[str, ...]] = []
    for each in rows:
        row = each.row
        head = (row.suite, f"{row.name}, backward" if row.backward else row.name, shape(each), row.dtype)
        if row.median_us is None:
            found.append((*head, row.status, "", "", "", row.reason[:60]))
            continue
        rates = ((each.flops_per_s, 1e12), (each.bytes_per_s, 1e9))
        reached = ("" if rate is None else significant(rate / unit) for rate, unit in rates)
        spread = f"{significant(row.p05_us or 0)}–{significant(row.p95_us or 0)}"
        found.append((*head, significant(row.median_us), spread, *reached, row.way))
    return Table("", ("suite", "kernel", "sizes", "", "µs", "5–95 %", "TFLOPS", "GB/s", "way"), "llllrrrrl", found)


def flat_rows(rows: Iterable[RowRates]) -> list[tuple[object, ...]]:
    """Every row for CSV, with the figures of COLUMNS in their order."""
    found = []
    for each in rows:
        columns = each.row._asdict() | {
            "sizes": shape(each),
            "tflops": None if each.flops_per_s is None else each.flops_per_s / 1e12,
            "gbps": None if each.bytes_per_s is None else each.bytes_per_s / 1e9,
            "slowdown": " ".join(each.row.slowdown),
        }
        found.append(tuple(columns[column] for column in COLUMNS))
    return found


def pass_table(p: MeasuredPass) -> Table:
    """The table of a measured pass: each operator's time, of all its executions, beside what it should take."""
    step = p.step
    found = [
        (
            each.name,
            f"{each.executions}",
            ", ".join(each.ways),
            _time(each.seconds),
            _time(each.predicted_seconds),
            _off(each.predicted_seconds, each.seconds),
        )
        for each in p.operators
    ]
    whole = (step.median_us or 0) / 1e6
    found.append(("sum", "", "", _time((step.operators_us or 0) / 1e6), _time(p.predicted_seconds), ""))
    found.append(("whole pass", "", step.timer, _time(whole), "", _off(p.predicted_seconds, whole)))
    layers = "" if step.layers == step.of_layers else f", {step.layers} of {step.of_layers} layers"
    shared = "" if step.tp == 1 else f" on {step.tp} GPUs"
    title = f"{step.model}, {step.phase}{shared}: {step.dtype}, batch {step.batch:,}, {step.tokens:,} tokens{layers}"
    note = "Nothing is predicted for a device without a data sheet." if p.basis is None else f"Predicted: {p.basis}."
    columns = ("operator", "runs", "fastest way", "measured", "predicted", "off")
    return Table(title, columns, "lrlrrr", found, (note,))


def _time(value: float | None) -> str:
    return seconds(value) if value else ""


def _off(guess: float | None, measured: float) -> str:
    return f"{guess / measured - 1:+.0%}" if guess and measured else ""
