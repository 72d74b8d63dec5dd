"""The fit of a profile: it finds numbers that times were made with, and predicts what it never saw."""

import pytest
from bench_setup import BESIDE, GPU, SHIPPED

from llmcost.bench import fit_profile
from llmcost.bench.passes import step_operators
from llmcost.bench.rates import row_flops
from llmcost.bench.runner import row_of
from llmcost.bench.step import pass_of
from llmcost.bench.suites import CASES, Scope, StepPoint
from llmcost.machine.calibration import distinct, efficiency_of, step_error
from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import DEFAULT, UNQUANTISED, Efficiency, Kernel
from llmcost.machine.timing import kernel_seconds
from llmcost.model.operators import Gemm
from llmcost.model.sizes import computed_in
from llmcost.specs.catalog import load_model, shipped
from llmcost.specs.profile import StepRow, load_profile


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
        if not step.heldout:
            continue
        point = StepPoint(step.model, step.phase, step.batch, step.tokens, step.dtype, tp=step.tp)
        run = pass_of(load_model(step.model), point, 10**12)
        assert not {distinct(op)[3:] for op in run.ops if isinstance(op, Gemm)} & fitted


@pytest.mark.parametrize("path", SHIPPED + BESIDE, ids=lambda path: path.stem)
def test_the_fit_in_a_profile_is_that_of_its_rows_and_predicts_as_it_says(path):
    profile = load_profile(path)
    assert fit_profile.fitted(profile) == profile


def test_passes_say_what_a_kernel_and_a_collective_take_beside_others():
    """A step of k kernels that takes 0.5 k µs more than they do, and one that takes 2 µs more a collective beside."""
    alone = StepRow("llama3-8b", "decode", 1, 512, "bf16", "ok", 32, 32)
    shared = alone._replace(tp=2)
    kernels, on_two = (sum(op.count for op in step_operators(step)) for step in (alone, shared))
    waits = on_two - kernels
    assert waits == 2 * 32 + 2  # after attention and MLP of each layer; the embedding's sum, the logits' gather
    alone = alone._replace(operators_us=1000.0, median_us=1000 + 0.5 * kernels)
    shared = shared._replace(operators_us=800.0, median_us=800 + 0.5 * on_two + 2 * waits)
    held = alone._replace(median_us=9000.0, heldout=True)
    assert fit_profile.between_us([alone, shared, held]) == 0.5
    assert fit_profile.wait_us([alone, shared, held], 0.5) == 2
    assert fit_profile.between_us([held]) == 0
    assert fit_profile.between_us([alone._replace(median_us=900.0)]) == 0  # no less than nothing


def test_backward_passes_that_take_longer_than_their_work_says_are_fitted_too():
    """Times made of 1.5 times the work: the factor comes out, and the profile's passes of training have it."""
    chip = Chip(1e15, 1e15, 1e15, 4e12, None)
    kernel = Kernel(0.7, 0.9, 3e-6, 400.0)
    points = [point for point in CASES["prefill"](Scope(GPU, full=True)) if point.case.dtype == "bf16"]
    reached = Efficiency({**DEFAULT.kernels, "attention_prefill": kernel}, "")
    times = kernel_seconds([point.case.op for point in points], chip, reached)
    rows = [
        row_of(point)._replace(status="ok", median_us=1e6 * time * (1.5 * 2.5 if point.case.backward else 1))
        for point, time in zip(points, times, strict=True)
    ]
    fit = fit_profile.fits(rows, lambda _dtype: chip)["attention_prefill"]["bf16"]
    assert fit.backward == pytest.approx(1.5, rel=0.02)


def test_streams_have_a_rate_of_their_own_while_the_cache_holds_them():
    """Bytes up to the cache's at twice the bandwidth, those beyond at 0.8 of it: both shares come out."""
    chip, near = Chip(1e15, 1e15, 1e15, 4e12, None), 30_000_000
    points = [point for point in CASES["elementwise"](Scope(GPU, full=True)) if not point.case.backward]
    ops = [point.case.op for point in points if point.case.op.kind == "elementwise"]
    moved = [float(op.moved_bytes()) for op in ops]
    times = [1e-6 + min(each, near) / 8e12 + max(0, each - near) / 3.2e12 for each in moved]
    samples = [fit_profile.Sample(op, time) for op, time in zip(ops, times, strict=True)]
    found = fit_profile.best("elementwise", samples, chip, near)
    assert found.cached == pytest.approx(2, rel=0.02)
    assert found.memory == pytest.approx(0.8, rel=0.02)
    assert found.launch_seconds == pytest.approx(1e-6, rel=0.02)


def test_weights_with_a_scale_for_each_block_have_a_fit_of_their_own():
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    whole, blocks = (efficiency_of(profile, "fp8", weights=weights).kernels for weights in ("fp8", "fp8-block128"))
    assert whole["gemm"].launch_seconds < blocks["gemm"].launch_seconds
    assert whole["attention_decode"] == blocks["attention_decode"]
    assert efficiency_of(profile, "bf16", weights="fp8-block128") == efficiency_of(profile, "bf16")


def test_a_collective_measured_among_two_gpus_says_nothing_of_eight():
    measured = Kernel(1, 0.5, 6e-6, ranks=2, beyond=Kernel(1, 0.9, 8e-6))
    assert measured.among(2)[1:3] == (0.5, 6e-6)
    assert measured.among(8)[1:3] == (0.9, 8e-6)
    assert Kernel(1, 0.5, 6e-6).among(8)[1:3] == (0.5, 6e-6)


def test_the_h200_is_predicted_as_well_as_the_documents_say():
    """The figures of docs/bench.md: kernels that predict whole passes, and a fit that predicts what it never saw."""
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    alone = [step for step in profile.steps if step.tp == 1]
    for phase, mean, worst in (("decode", 0.03, 0.10), ("prefill", 0.05, 0.10), ("train", 0.08, 0.10)):
        off = [abs(step.operators_us / step.median_us - 1) for step in alone if step.phase == phase]
        assert sum(off) / len(off) <= mean
        assert max(off) <= worst
    decode = [step for step in alone if step.phase == "decode" and step.heldout]
    experts = [step for step in decode if load_model(step.model).has_experts()]
    shared = [step for step in profile.steps if step.tp == 2 and step.heldout]
    assert (len(decode), len(experts), len(shared)) == (36, 8, 20)
    assert step_error(tuple(step for step in decode if step not in experts)).mean <= 0.03
    assert step_error(tuple(experts)).mean <= 0.06
    assert step_error(tuple(alone), "prefill").mean <= 0.03
    assert step_error(tuple(alone), "train").mean <= 0.05
    assert step_error(tuple(shared), tp=2).mean <= 0.06
    for kind in ("gemm", "attention_decode"):
        assert profile.fit[kind]["bf16"].heldout.mean <= 0.09
        assert profile.fit[kind]["bf16"].heldout.points >= 20
    gemms = [row for row in profile.rows if row.operator == "Gemm"]
    assert all(
        row_flops(row) / row.median_us * 1e6 <= profile.peaks["flops_per_s"][computed_in(row.dtype)] for row in gemms
    )
