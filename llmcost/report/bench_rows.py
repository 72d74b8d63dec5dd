"""Rows of a profile: their rates, their sizes in words, and the tables that list them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmcost.ground.units import scaled, seconds, significant
from llmcost.machine.calibration import distinct, step_operators
from llmcost.model.operators import Operator
from llmcost.report.tables import Table
from llmcost.specs.profile import Profile, Row, StepRow

BACKWARD = {"Attention": 2.5}  # FLOPs of the backward pass over those of the forward one; two for any other product
COLUMNS = (
    "suite", "name", "operator", "sizes", "dtype", "backward", "heldout", "status", "way", "median_us", "p05_us", "p95_us", "samples",
    "tflops", "gbps", "timer", "cache", "sm_mhz", "mem_mhz", "watts", "temp_c", "slowdown", "reason",
)  # fmt: skip


def row_flops(row: Row) -> float:
    """FLOPs of a row; a backward pass of attention has five products for the forward pass's two, of a GEMM two for one."""
    forward = float(row.op().flops(causal=True))
    return forward * BACKWARD.get(row.operator, 2) if row.backward else forward


def row_bytes(row: Row) -> float:
    """Bytes that a row moves; of an exchange, nccl-tests' bus bytes, so that rates compare with a link's."""
    op = row.op()
    return float(op.moved_bytes()) or bus_bytes(row)


def bus_bytes(row: Row) -> float:
    """Bytes that an exchange sends a GPU, whatever the algorithm: the array times 2(n-1)/n for an all-reduce, (n-1)/n for the others."""
    if row.operator != "Collective":
        return 0.0
    z = row.sizes
    each = z["rows"] * z["width"] * z["Bx"] * (z["ranks"] - 1) / z["ranks"]
    return float(2 * each if z["exchange"] == "all_reduce" else each)


def rate(amount: float, row: Row | StepRow) -> float:
    """That amount a second."""
    return amount / ((row.median_us or 0.0) / 1e6)


def best(p: Profile, wanted: Callable[[Row], bool], amount: Callable[[Row], float]) -> Row | None:
    """The row with the highest rate of those that are wanted."""
    rows = [row for row in p.rows if row.status == "ok" and row.operator and row.median_us and wanted(row)]
    return max(rows, key=lambda row: rate(amount(row), row), default=None)


def shape(row: Row) -> str:
    """The sizes of a row in the words of its kind."""
    z = row.sizes
    if row.operator == "Gemm":
        return f"{z['b'] * z['s']}×{z['n']}×{z['k']}"
    if row.operator == "GroupedGemm":
        return f"{z['b'] * z['s']} tokens, {z['active']} of {z['groups']}, {z['n']}×{z['k']}"
    if row.operator == "Attention":
        return f"b {z['b']}, {'c' if z['decode'] else 's'} {z['c']}, {z['a']}/{z['kv_heads']} heads of {z['d']}"
    if row.operator == "Elementwise":
        return scaled(row_bytes(row), "B") if row.suite == "memory" else f"{z['b'] * z['s']}×{z['reads']}→{z['writes']}"
    if row.operator == "Lookup":
        return f"{z['b'] * z['s']} rows of {z['width']}"
    if row.operator == "Collective":
        return f"{scaled(z['rows'] * z['width'] * z['Bx'], 'B')}, {z['ranks']} ranks"
    return ""


def rows_table(p: Profile) -> Table:
    """Every row."""
    found = []
    for row in p.rows:
        head = (row.suite, f"{row.name}, backward" if row.backward else row.name, shape(row), row.dtype)
        if row.median_us is None:
            found.append((*head, row.status, "", "", "", row.reason[:60]))
            continue
        flops, moved = (significant(rate(amount, row) / unit) if amount else "" for amount, unit in _amounts(row))
        spread = f"{significant(row.p05_us or 0)}–{significant(row.p95_us or 0)}"
        found.append((*head, significant(row.median_us), spread, flops, moved, row.way))
    return Table("", ("suite", "kernel", "sizes", "", "µs", "5–95 %", "TFLOPS", "GB/s", "way"), "llllrrrrl", found)


def _amounts(row: Row) -> tuple[tuple[float, float], tuple[float, float]]:
    return ((row_flops(row), 1e12), (row_bytes(row), 1e9)) if row.operator else ((0.0, 1e12), (0.0, 1e9))


def flat_rows(p: Profile) -> list[tuple[object, ...]]:
    """Every row for CSV, in the order of COLUMNS."""
    found = []
    for row in p.rows:
        flops, moved = (
            rate(amount, row) / unit if amount and row.median_us else None for amount, unit in _amounts(row)
        )
        columns = row._asdict() | {
            "sizes": shape(row),
            "tflops": flops,
            "gbps": moved,
            "slowdown": " ".join(row.slowdown),
        }
        found.append(tuple(columns[column] for column in COLUMNS))
    return found


def pass_table(p: Profile, step: StepRow, guesses: Sequence[float] | None) -> Table:
    """A measured pass operator by operator, beside what each should take by `guesses` (seconds, all its executions)."""
    known: dict[Operator, list[Row]] = {}
    for row in p.rows:
        if (
            row.suite == "step"
            and row.median_us
            and row.dtype == step.dtype
            and (step.phase == "train" or not row.backward)
        ):
            known.setdefault(row.op(), []).append(row)
    ops = step_operators(step)
    found = []
    each: Sequence[float | None] = guesses or [None] * len(ops)
    for op, guess in zip(ops, each, strict=True):
        rows = known.get(distinct(op), [])
        total = sum(row.median_us or 0 for row in rows) * op.count / 1e6
        ways = ", ".join(dict.fromkeys(row.way for row in rows))
        found.append((op.name, f"{op.count}", ways, _time(total), _time(guess), _off(guess, total)))
    whole, whole_guess = (step.median_us or 0) / 1e6, None if guesses is None else sum(guesses)
    found.append(("sum", "", "", _time((step.operators_us or 0) / 1e6), _time(whole_guess), ""))
    found.append(("whole pass", "", step.timer, _time(whole), "", _off(whole_guess, whole)))
    layers = "" if step.layers == step.of_layers else f", {step.layers} of {step.of_layers} layers"
    title = f"{step.model}, {step.phase}: {step.dtype}, batch {step.batch:,}, {step.tokens:,} tokens{layers}"
    return Table(title, ("operator", "runs", "fastest way", "measured", "predicted", "off"), "lrlrrr", found)


def _time(value: float | None) -> str:
    return seconds(value) if value else ""


def _off(guess: float | None, measured: float) -> str:
    return f"{guess / measured - 1:+.0%}" if guess and measured else ""
