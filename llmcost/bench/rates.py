"""The work of each kernel that a profile has timed, in FLOPs and bytes, and the rates that it reached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llmcost.bench.passes import step_operators
from llmcost.specs.profile import Row, StepRow

BACKWARD = {"Attention": 2.5}  # FLOPs of the backward pass over those of the forward one; two for any other product


class RowRates(NamedTuple):
    """A row with its work: FLOPs, and bytes moved (of a collective, bus bytes).

    A rate is None where the kernel was not timed or has no such work.
    """

    row: Row
    flops: float
    bytes: float
    flops_per_s: float | None
    bytes_per_s: float | None


def rates_of(row: Row) -> RowRates:
    """The work of a row and its rates."""
    flops, moved = (row_flops(row), row_bytes(row)) if row.operator else (0.0, 0.0)
    return RowRates(row, flops, moved, _rate(flops, row), _rate(moved, row))


def row_flops(row: Row) -> float:
    """FLOPs of a row, causal pairs only.

    A backward pass of attention has five products for two of the forward pass, that of a GEMM two for one.
    """
    forward = float(row.op().flops(causal=True))
    return forward * BACKWARD.get(row.operator, 2) if row.backward else forward


def row_bytes(row: Row) -> float:
    """Bytes that a row moves; of a collective, nccl-tests' bus bytes, so that rates compare with a link's."""
    return float(row.op().moved_bytes()) or bus_bytes(row)


def bus_bytes(row: Row) -> float:
    """Bytes that a collective sends from each GPU, whatever the algorithm (nccl-tests, doc/PERFORMANCE.md).

    That is the array times 2(n-1)/n for an all-reduce among n, and times (n-1)/n for the others.
    """
    if row.operator != "Collective":
        return 0.0
    z = row.sizes
    each = z["rows"] * z["width"] * z["Bx"] * (z["ranks"] - 1) / z["ranks"]
    return float(2 * each if z["exchange"] == "all_reduce" else each)


def step_flops(step: StepRow) -> float:
    """FLOPs of a whole pass, causal pairs only; training counts as three forward passes."""
    forward = sum(op.count * op.flops(causal=True) for op in step_operators(step))
    return float(forward) * (3 if step.phase == "train" else 1)


def step_bytes(step: StepRow) -> float:
    """Bytes of weights and cache that a whole pass reads."""
    return float(sum(op.count * (op.weight_bytes() + op.cache_bytes()) for op in step_operators(step)))


def _rate(amount: float, row: Row) -> float | None:
    return amount / (row.median_us / 1e6) if amount and row.median_us else None


def fastest(rows: Iterable[RowRates], figure: str) -> RowRates | None:
    """The row with the highest rate of those that went well; `figure` is `flops_per_s` or `bytes_per_s`."""
    timed = [each for each in rows if each.row.status == "ok" and getattr(each, figure) is not None]
    return max(timed, key=lambda each: float(getattr(each, figure)), default=None)
