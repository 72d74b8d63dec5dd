"""Rows of all points, whatever happens to single ones."""

import sys

import pytest
import torch

from llmcost.bench.cases import Bench
from llmcost.bench.device import Reading
from llmcost.bench.kernels import KernelCase, kind_of
from llmcost.bench.runner import Runner, timed
from llmcost.bench.suites import Point
from llmcost.model.operators import Attention, Elementwise, Gemm


@pytest.mark.parametrize(
    ("error", "status"),
    [(torch.OutOfMemoryError("tried to allocate 3 GB"), "oom"), (OSError("the device fell off"), "failed")],
    ids=["memory", "failure"],
)
def test_one_fault_leaves_the_other_rows_alone(bench, monkeypatch, error, status):
    def operands(op, dtype, device):
        if op.s == 2:
            raise error
        return kind.operands(op, dtype, device)

    kind = kind_of(Gemm("gemm", "mlp", 1, 1, 1, 8, 8, False, False, 4, 4))
    monkeypatch.setitem(sys.modules["llmcost.bench.kernels"].KINDS, Gemm, kind._replace(operands=operands))
    runner = Runner(bench, lambda _line: None)
    runner.run_cases(
        [Point("gemm", KernelCase(Gemm("gemm", "mlp", 1, 1, s, 8, 8, False, False, 4, 4), "fp32")) for s in (1, 2, 3)]
    )
    assert [row.status for row in runner.rows] == ["ok", status, "ok"]
    assert str(error) in runner.rows[1].reason


def test_after_five_failures_in_a_row_the_device_is_given_up(bench, monkeypatch):
    monkeypatch.setattr(Bench, "measure", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no longer there")))
    runner = Runner(bench, lambda _line: None)
    runner.run_cases(
        [Point("gemm", KernelCase(Gemm("gemm", "mlp", 1, 1, s, 8, 8, False, False, 4, 4), "fp32")) for s in range(1, 8)]
    )
    assert [row.status for row in runner.rows] == ["failed"] * 5 + ["skipped"] * 2
    assert "no longer answers" in runner.rows[-1].reason


def test_what_is_held_back_by_a_fault_is_tried_again_and_marked(bench, monkeypatch):
    tries = []

    def hot(_self, _case, **_):
        tries.append(1)
        return type(measured)(
            *measured[:1], measured.timing._replace(reading=Reading(slowdown=("thermal, by hardware",))), *measured[2:]
        )

    case = KernelCase(Elementwise("copy", "mlp", 1, 1, 1, 64, 64, 0, 4), "fp32")
    measured = bench.measure(case)
    monkeypatch.setattr(Bench, "measure", hot)
    monkeypatch.setattr("llmcost.bench.runner.COOL_DOWN", 0.0)
    runner = Runner(bench, lambda _line: None)
    runner.run_cases([Point("memory", case)])
    assert len(tries) == 2
    assert runner.rows[0].status == "throttled"


def test_what_no_kernel_here_can_run_is_skipped_with_the_reason(bench):
    chunk = Attention("attention", "attention", 1, 1, 2, 8, 4, 16, 16, 64, 0, "all", 0, False, False, 4, 4, kv_heads=2)
    huge = Gemm("gemm", "mlp", 1, 1, 1, 10**6, 10**6, False, False, 4, 4)
    half = Gemm("gemm", "mlp", 1, 16, 1, 32, 32, False, False, 1, 1)
    runner = Runner(bench, lambda _line: None)
    runner.run_cases(
        [
            Point("decode", KernelCase(chunk, "fp32")),
            Point("gemm", KernelCase(huge, "fp32")),
            Point("gemm", KernelCase(half, "fp8")),
        ]
    )
    assert [row.status for row in runner.rows] == ["skipped"] * 3
    assert "chunk of a prompt" in runner.rows[0].reason
    assert "GB free" in runner.rows[1].reason
    assert "8-bit" in runner.rows[2].reason


def test_what_is_timed_with_pauses_stands_for_nothing_else(bench, monkeypatch):
    """A case of the suite `ceiling` that was held back is timed again; the same product in a step is not that time."""
    case = KernelCase(Gemm("gemm", "mlp", 1, 4, 1, 32, 16, False, False, 4, 4), "fp32")
    usual = bench.measure(case)
    rested = usual._replace(timing=usual.timing._replace(median=usual.timing.median / 2))
    held_back = rested._replace(timing=rested.timing._replace(reading=Reading(slowdown=("thermal, by hardware",))))
    tries = iter([held_back, rested])
    monkeypatch.setattr(Bench, "measure", lambda _self, _case, *, spaced=False: next(tries) if spaced else usual)
    monkeypatch.setattr("llmcost.bench.runner.COOL_DOWN", 0.0)
    runner = Runner(bench, lambda _line: None)
    runner.run_cases([Point("ceiling", case), Point("gemm", case)])
    assert [row.status for row in runner.rows] == ["ok", "ok"]
    assert [row.median_us for row in runner.rows] == [
        timed(each.timing)["median_us"] for each in (rested, usual)
    ]  # half of the other
