"""The fit of a profile: it finds numbers that times were made with, and predicts what it never saw."""

import pytest
from bench_setup import BESIDE, GPU, SHIPPED

from llmcost.bench import fit_profile
from llmcost.bench.rates import row_flops
from llmcost.bench.step import pass_of
from llmcost.bench.suites import CASES, Scope, StepPoint
from llmcost.machine.calibration import distinct, step_error
from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import DEFAULT, UNQUANTISED, Efficiency, Kernel
from llmcost.machine.timing import kernel_seconds
from llmcost.model.operators import Gemm
from llmcost.specs.catalog import load_model, shipped
from llmcost.specs.profile import load_profile


@pytest.mark.parametrize("kind", ["gemm", "attention_prefill"])
def test_the_fit_finds_the_numbers_that_times_were_made_with(kind):
    half, overlap = (400.0, 2) if kind == "attention_prefill" else (0, 2.6)
    chip, kernel = Chip(1e15, 1e15, 1e15, 4e12, None), Kernel(0.7, 0.9, 3e-6, half, overlap)
    suite = {"gemm": "gemm", "attention_prefill": "prefill"}[kind]
    ops = [
        point.case.op
        for point in CASES[suite](Scope(GPU, full=True))
        if point.case.dtype == "bf16" and not point.case.backward
    ]
    times = kernel_seconds(ops, chip, Efficiency({**DEFAULT.kernels, UNQUANTISED: kernel, kind: kernel}, ""))
    found = fit_profile.best(kind, [fit_profile.Sample(op, time) for op, time in zip(ops, times, strict=True)], chip)
    assert found.compute == pytest.approx(kernel.compute, rel=0.01)
    assert found.launch_seconds == pytest.approx(kernel.launch_seconds, rel=0.05)
    assert found.overlap == pytest.approx(kernel.overlap, rel=0.02)
    if kind == "gemm":
        assert found.memory == pytest.approx(kernel.memory, rel=0.01)
    else:
        assert found.half == pytest.approx(kernel.half, rel=0.05)


def test_shares_of_the_peaks_never_pass_them():
    ops = [point.case.op for point in CASES["gemm"](Scope(GPU, full=False)) if point.case.dtype == "bf16"]
    chip = Chip(1e12, 1e12, 1e12, 1e10, None)
    faster = [
        fit_profile.Sample(op, time / 3) for op, time in zip(ops, kernel_seconds(ops, chip, DEFAULT), strict=True)
    ]
    found = fit_profile.best("gemm", faster, chip)
    assert found.compute <= 1
    assert found.memory <= 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_held_out_is_held_out(path):
    """No matrix of a model whose pass is predicted, and no shape that an error is stated for, was fitted."""
    profile = load_profile(path)
    fitted = {
        row.op()[3:]
        for row in profile.rows
        if not row.heldout and row.suite not in fit_profile.NOT_FITTED and row.operator == "Gemm"
    }
    held = {row.op()[3:] for row in profile.rows if row.heldout and row.operator == "Gemm"}
    assert held
    assert not held & fitted
    for step in profile.steps:
        model = load_model(step.model)
        run = pass_of(model, StepPoint(step.model, step.phase, step.batch, step.tokens, step.dtype), 10**12)
        assert not {distinct(op)[3:] for op in run.ops if isinstance(op, Gemm)} & fitted


@pytest.mark.parametrize("path", SHIPPED + BESIDE, ids=lambda path: path.stem)
def test_the_fit_in_a_profile_is_that_of_its_rows_and_predicts_as_it_says(path):
    profile = load_profile(path)
    assert fit_profile.fitted(profile) == profile


def test_the_h200_is_predicted_as_well_as_the_documents_say():
    """The figures of docs/bench.md: kernels that predict whole passes, and a fit that predicts what it never saw."""
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    for phase, mean, worst in (("decode", 0.03, 0.10), ("prefill", 0.05, 0.10), ("train", 0.08, 0.10)):
        off = [abs(step.operators_us / step.median_us - 1) for step in profile.steps if step.phase == phase]
        assert sum(off) / len(off) <= mean
        assert max(off) <= worst
    decode = [step for step in profile.steps if step.phase == "decode"]
    experts = [step for step in decode if load_model(step.model).has_experts()]
    assert (len(decode), len(experts)) == (36, 8)
    assert step_error(tuple(step for step in decode if step not in experts)).mean <= 0.045
    assert step_error(tuple(experts)).mean <= 0.04
    for kind in ("gemm", "attention_decode"):
        assert profile.fit[kind]["bf16"].heldout.mean <= 0.09
        assert profile.fit[kind]["bf16"].heldout.points >= 20
    gemms = [row for row in profile.rows if row.operator == "Gemm"]
    assert all(row_flops(row) / row.median_us * 1e6 <= profile.peaks["flops_per_s"][row.dtype] for row in gemms)
