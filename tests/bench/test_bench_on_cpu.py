"""`llmcost bench` on the CPU, at small sizes: every suite and way, faults of all kinds, the fit, profiles, what is printed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from llmcost.bench import fit_profile, session
from llmcost.bench.cases import Bench, calls, rotated
from llmcost.bench.device import Device, Reading, Sensors, find_device
from llmcost.bench.kernels import KernelCase, Way, kind_of
from llmcost.bench.rates import row_flops
from llmcost.bench.runner import Runner
from llmcost.bench.step import Chain, cases_of, executions, pass_of
from llmcost.bench.suites import CASES, Point, Scope, StepPoint, steps
from llmcost.bench.timers import Clock, Timing, quantile
from llmcost.ground.units import scaled
from llmcost.machine.calibration import distinct, efficiency_of, step_error
from llmcost.machine.chip import Chip
from llmcost.machine.defaults import ENGINE, ENGINE_ERROR
from llmcost.machine.efficiency import DEFAULT, Efficiency, Kernel, default_for
from llmcost.machine.reached import efficiency_for
from llmcost.machine.timing import kernel_seconds
from llmcost.model.operators import Attention, Elementwise, Gemm, GroupedGemm
from llmcost.specs.catalog import load_hardware, load_model, shipped
from llmcost.specs.profile import load_profile, profile_text

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((shipped("hardware") / "profiles").glob("*.json"))
BESIDE = sorted((Path(__file__).parents[2] / "docs" / "profiles").glob("*.json"))  # measured too, and not used unasked
TINY = """
name: tiny
title: Tiny
source: of this test's own making
hidden_size: 64
intermediate_size: 96
num_hidden_layers: 2
num_attention_heads: 4
num_key_value_heads: 2
vocab_size: 128
max_position_embeddings: 256
tie_word_embeddings: false
"""
EXPERTS = (
    TINY.replace("intermediate_size: 96\n", "")
    + "mlp: experts\nnum_experts: 4\nnum_experts_per_tok: 2\nmoe_intermediate_size: 32\n"
)
GPU = Device("cuda", "a GPU", "cuda", "sm_90", 132, 60 * 2**20, 10**11, "")


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads of a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bench():
    device = find_device("cpu")
    return Bench(device, Clock(device, Sensors(device), 1e-3, 1e-3))


@pytest.fixture(scope="module")
def quick(tmp_path_factory, cli):
    """The profile of a whole quick run on the CPU, and what it printed."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("bench") / "cpu.json"
    answer = cli("bench", "--device", "cpu", "-o", path)
    assert answer.code == 0, answer.err
    return load_profile(path), path, answer


# -- a whole run ------------------------------------------------------------------------------------


def test_a_quick_run_times_every_case_of_every_suite(quick):
    profile, path, _ = quick
    assert profile.complete
    assert profile.scope == "quick"
    scope = Scope(find_device("cpu"), full=False)
    cases = [point for suite in CASES if suite != "collectives" for point in CASES[suite](scope)]
    assert [row.suite for row in profile.rows if row.suite not in ("launch", "step")] == [
        point.suite for point in cases
    ]
    assert {row.status for row in profile.measured()} == {"ok"}
    assert [(step.model, step.phase) for step in profile.steps] == [
        (point.model, point.phase) for point in steps(scope)
    ]
    assert not path.with_name("cpu.json.part").exists()


def test_every_row_says_how_it_was_timed(quick):
    profile = quick[0]
    for row in profile.rows:
        assert row.p05_us <= row.median_us <= row.p95_us
        assert row.samples >= 5
        assert row.timer == "perf_counter"
    for row in profile.rows:
        if row.suite != "launch":
            assert row.way
            assert row.cache
    decode = next(row for row in profile.rows if row.suite == "decode")
    tried = {decode.way, *decode.others}
    assert {
        "sdpa flash, gqa",
        "sdpa flash, folded",
        "sdpa flash, repeated",
        "sdpa math, gqa",
        "matmul, softmax, matmul",
    } <= tried


def test_a_profile_reads_back_as_it_was_written(quick, tmp_path):
    profile, path, _ = quick
    (tmp_path / "again.json").write_text(profile_text(profile), "utf-8")
    assert load_profile(tmp_path / "again.json") == profile
    assert path.read_text("utf-8") == profile_text(profile)


def test_the_page_says_what_was_reached_and_that_no_data_sheet_is_known(quick):
    out = quick[2].out
    for words in (
        "GEMM fp32, without a break",
        "attention, decode",
        "memory, triad",
        "whole passes",
        "on shapes held out",
    ):
        assert words in out
    assert "No data sheet is known for this device" in out


def test_other_formats_and_charts(quick, cli, tmp_path):
    pytest.importorskip("matplotlib")
    profile, path, _ = quick
    assert json.loads(cli("bench", "--show", path, "--json").out)["schema"] == "llmcost.profile/1"
    assert len(cli("bench", "--show", path, "--csv").out.splitlines()) == len(profile.rows) + 1
    assert "| gemm | gemm | 1×96×64 |" in cli("bench", "--show", path, "--rows", "--markdown").out
    answer = cli("bench", "--show", path, "--plot", tmp_path / "charts")
    assert answer.code == 0
    assert sorted(file.name.rpartition("-")[2] for file in (tmp_path / "charts").iterdir()) == [
        "bandwidth.svg",
        "gemm.svg",
        "roofline.svg",
    ]


def test_a_plan_measures_nothing(cli, monkeypatch):
    monkeypatch.setattr(session.Session, "run", lambda _self: pytest.fail("it ran"))
    out = cli("bench", "--device", "cpu", "--plan").out
    assert re.search(r"gemm +7 ", out)
    assert "step" in out
    held = 2 * 8_030_261_248 + 128 * 131_072  # bf16 weights, and the cache
    assert scaled(held, "B") in cli("bench", "llama3-8b", "--device", "cpu", "--dtype", "bf16", "-c", 128, "--plan").out


def test_two_profiles_are_compared_and_a_threshold_missed_is_an_answer(quick, cli, tmp_path):
    profile, path, _ = quick
    times = ("median_us", "p05_us", "p95_us")
    faster = [row._replace(**{name: getattr(row, name) / 2 for name in times}) for row in profile.rows]
    (tmp_path / "old.json").write_text(profile_text(profile._replace(rows=tuple(faster))), "utf-8")
    same = cli("bench", "--show", path, "--compare", path, "--fail-above", "5%")
    assert same.code == 0
    assert "half differ by at most 0.0%, 0 clearly by more than 5.0%" in same.out
    worse = cli("bench", "--show", path, "--compare", tmp_path / "old.json", "--fail-above", "5%")
    assert worse.code == 1
    assert "+100.0%   SLOWER" in worse.out
    assert cli("bench", "--show", path, "--compare", tmp_path / "old.json").code == 0


# -- a model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [TINY, EXPERTS], ids=["dense", "experts"])
@pytest.mark.parametrize("phase", ["decode", "prefill", "train"])
def test_a_models_operators_and_a_whole_pass_are_timed(text, phase, cli, tmp_path):
    (tmp_path / "tiny.yaml").write_text(text, "utf-8")
    answer = cli(
        "bench",
        tmp_path / "tiny.yaml",
        "--device",
        "cpu",
        "--phase",
        phase,
        "-b",
        2,
        "-c",
        16,
        "-o",
        tmp_path / "p.json",
    )
    assert answer.code == 0, answer.out
    (step,) = load_profile(tmp_path / "p.json").steps
    assert (step.status, step.layers, step.batch, step.tokens) == ("ok", 2, 2, 16)
    assert step.operators_us > 0
    lines = answer.out.splitlines()
    for op in cases_of(
        pass_of(load_model(str(tmp_path / "tiny.yaml")), StepPoint("tiny", phase, 2, 16, "fp32"), 10**9), "fp32"
    ):
        assert any(line.startswith(op[0].name) for line in lines)
    assert any(line.startswith("whole pass") for line in lines)


def test_a_pass_runs_every_operator_as_often_as_it_counts_and_reaches_every_weight(bench, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY, "utf-8")
    run = pass_of(load_model(str(tmp_path / "tiny.yaml")), StepPoint("tiny", "train", 1, 8, "fp32"), 10**9)
    names = [op.name for op in executions(run.ops)]
    assert len(names) == sum(op.count for op in run.ops)
    assert names.count("qkv_proj") == 2
    assert names[0] == "token_embedding"
    assert names[-1] == "lm_head"
    chain = Chain(run, "fp32", bench, lambda case: next(iter(kind_of(case.op).ways(case, bench.device))))
    gradients = chain()
    weights = [each for link in chain.links for each in link.cold]
    assert len(gradients) == len(weights)
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients), (
        "a kernel's output went nowhere"
    )


def test_layers_are_left_out_where_memory_is_short(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY, "utf-8")
    model = load_model(str(tmp_path / "tiny.yaml"))._replace()
    whole = pass_of(model, StepPoint("tiny", "decode", 1, 16, "fp32"), 10**9)
    assert (whole.layers, whole.of_layers) == (2, 2)
    short = pass_of(
        model, StepPoint("tiny", "decode", 1, 16, "fp32"), 260_000
    )  # embedding and head take 66 kB, a layer 127 kB
    assert (short.layers, short.of_layers) == (1, 2)
    assert {op.count for op in short.ops} == {1}


# -- the right answer, or none ----------------------------------------------------------------------


def test_a_wrong_kernel_is_not_timed_and_a_row_says_so(bench, monkeypatch):
    case = KernelCase(Gemm("gemm", "mlp", 1, 4, 1, 32, 16, False, False, 4, 4), "fp32")
    kind = kind_of(case.op)
    ways = {
        "wrong": Way(lambda _op, x, weight: x @ weight.t() + 1),
        "right": Way(lambda _op, x, weight: x @ weight.t()),
    }
    monkeypatch.setitem(
        sys.modules["llmcost.bench.kernels"].KINDS, Gemm, kind._replace(ways=lambda _case, _device: ways)
    )
    measured = bench.measure(case)
    assert measured.way == "right"
    assert measured.others["wrong"].startswith("wrong: relative error")
    del ways["right"]
    runner = Runner(bench, lambda _line: None)
    runner.run_cases([Point("gemm", case)])
    assert runner.rows[0].status == "wrong"


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


def test_a_quick_run_waits_for_a_compiler_only_where_nothing_else_works(bench, monkeypatch):
    case = KernelCase(Gemm("gemm", "mlp", 1, 4, 1, 32, 16, False, False, 4, 4), "fp32")
    run, kind = lambda _op, x, weight: x @ weight.t(), kind_of(case.op)
    ready, refused = Way(run), Way(lambda *_: (_ for _ in ()).throw(RuntimeError("no such shape")))
    for first, tried in ((ready, {"ready"}), (refused, {"fused"})):
        ways = {"ready": first, "fused": Way(run, compiles=True)}
        monkeypatch.setattr("llmcost.bench.cases.kind_of", lambda _op, ways=ways: kind._replace(ways=lambda *_: ways))
        measured = bench._replace(quick=True).measure(case)
        assert {measured.way} == tried
        assert measured.others == (
            {"fused": "not tried in a quick run"} if first is ready else {"ready": "unsupported"}
        )
        full = bench.measure(case)
        assert {full.way, *full.others} == set(ways)
        assert ("unsupported" in full.others.values()) == (first is refused)  # what works is timed


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
    sinks = Attention(
        "attention", "attention", 1, 1, 1, 8, 4, 16, 16, 64, 0, "all", 0, True, False, 4, 4, kv_heads=2, decode=True
    )
    huge = Gemm("gemm", "mlp", 1, 1, 1, 10**6, 10**6, False, False, 4, 4)
    half = Gemm("gemm", "mlp", 1, 16, 1, 32, 32, False, False, 1, 1)
    runner = Runner(bench, lambda _line: None)
    runner.run_cases(
        [
            Point("decode", KernelCase(sinks, "fp32")),
            Point("gemm", KernelCase(huge, "fp32")),
            Point("gemm", KernelCase(half, "fp8")),
        ]
    )
    assert [row.status for row in runner.rows] == ["skipped"] * 3
    assert "sinks" in runner.rows[0].reason
    assert "GB free" in runner.rows[1].reason
    assert "8-bit" in runner.rows[2].reason


def test_cold_operands_are_elsewhere_in_memory_each_time(bench):
    case = KernelCase(Gemm("gemm", "mlp", 1, 1, 1, 8, 8, False, False, 4, 4), "fp32")
    given = kind_of(case.op).operands(case.op, "fp32", bench.device)
    colds = rotated(given, 3)
    assert len({cold[0].data_ptr() for cold in colds}) == 3
    assert len(calls(case, Way(lambda _op, x, weight: x @ weight.t()), given.hot, colds)) == 3
    assert Bench(GPU, bench.clock)._sets(given) == 256  # a set takes 256 bytes: as many as are allowed


@pytest.mark.skipif(not any((Path(place) / "triton").is_dir() for place in sys.path), reason="Triton is not installed")
def test_tritons_kernels_give_the_right_answers_in_its_interpreter():
    code = """
import torch
from llmcost.bench.kernels.split_kv_triton import decode
q, k, v = torch.randn(2, 8, 1, 64), torch.randn(2, 2, 300, 64), torch.randn(2, 2, 300, 64)
right = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
assert (decode(q, k, v) - right).norm() / right.norm() < 2e-3
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr


# -- faults of the machine and of the user ----------------------------------------------------------


def test_without_a_gpu_one_line_says_so(cli, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    answer = cli("bench")
    assert answer.code == 3
    assert answer.out == ""
    assert re.fullmatch(r"llmcost: no GPU that torch \S+ can use \(--device cpu .*\)\n", answer.err)


def test_without_torch_one_line_says_so(cli, monkeypatch):
    monkeypatch.setattr("llmcost.bench.find_spec", lambda _name: None)
    answer = cli("bench")
    assert answer.code == 3
    assert "pip install" in answer.err
    assert answer.err.count("\n") == 1


def test_an_interrupted_run_keeps_its_rows_and_can_be_gone_on_with(cli, monkeypatch, tmp_path):
    stop = monkeypatch.context
    with stop() as patch:
        patch.setattr(Runner, "run_launches", lambda _self: (_ for _ in ()).throw(KeyboardInterrupt))
        answer = cli("bench", "--device", "cpu", "--suite", "gemm,launch,memory", "-o", tmp_path / "half.json")
    assert answer.code == 130
    half = load_profile(tmp_path / "half.json")
    assert not half.complete
    assert half.cautions() == ["interrupted"]
    assert {row.suite for row in half.rows} == {"gemm"}
    again = cli(
        "bench",
        "--device",
        "cpu",
        "--suite",
        "gemm,launch,memory",
        "--resume",
        tmp_path / "half.json",
        "-o",
        tmp_path / "all.json",
    )
    assert again.code == 0
    whole = load_profile(tmp_path / "all.json")
    assert whole.complete
    assert whole.rows[: len(half.rows)] == half.rows
    assert {row.suite for row in whole.rows} == {"gemm", "launch", "memory"}


def test_a_run_that_is_told_to_stop_keeps_what_it_has(tmp_path):
    command = [sys.executable, "-m", "llmcost", "bench", "--device", "cpu", "--full", "-o", tmp_path / "run.json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while not (tmp_path / "run.json.part").exists() and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)  # the other way is Ctrl-C
    assert run.returncode == 130
    assert load_profile(tmp_path / "run.json").cautions() == ["interrupted"]
    assert not (tmp_path / "run.json.part").exists()


def test_what_a_killed_run_leaves_is_fitted_where_it_is_shown(cli, tmp_path):
    whole = load_profile(SHIPPED[0])
    bare = whole._replace(fit={}, steps=tuple(step._replace(predicted_us=None) for step in whole.steps), complete=False)
    (tmp_path / "run.json.part").write_text(profile_text(bare), "utf-8")
    shown = cli("bench", "--show", tmp_path / "run.json.part").out
    assert "interrupted" in shown
    assert shown.partition("fitted")[2] == cli("bench", "--show", SHIPPED[0]).out.partition("fitted")[2]
    assert load_profile(tmp_path / "run.json.part") == bare  # shown, not changed
    assert cli("bench", "--show", tmp_path / "run.json.part", "-o", tmp_path / "run.json").code == 0
    assert load_profile(tmp_path / "run.json") == whole._replace(complete=False)


def test_a_disk_that_fills_up_loses_no_answer(cli, monkeypatch, tmp_path):
    def full(path, _text):
        raise session.InputError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(session, "write_file", full)
    answer = cli("bench", "--device", "cpu", "--suite", "launch", "-o", tmp_path / "p.json")
    assert answer.code == 2
    assert "host, queued" in answer.out
    assert answer.err.count("No space left") == 2  # once while it runs, and at the end


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--suite", "gem"], "--suite gem: one of gemm, "),
        (["tiny", "--suite", "gemm"], "either suites or a model"),
        (["llama3-8b", "--phase", "x"], "one of decode, prefill, train"),
        (["llama3-8b", "--device", "cpu", "-c", "9k"], "takes 1 to 8,192 positions"),
        (["llama3-8b", "--device", "cpu", "--dtype", "fp8"], "one of bf16, fp16, fp32"),
        (["--device", "tpu"], "one of cuda, mps, cpu"),
        (["-b", "16"], "--batch is of a whole pass: give its MODEL too"),
        (["--phase", "train", "--suite", "gemm"], "--phase is of a whole pass"),
        (["-c", "8k"], "--context is of a whole pass"),
        (["--dtype", "fp16"], "--dtype is of a whole pass"),
        (["--fail-above", "5%"], "needs --compare"),
        (["--show", "no.json"], "no.json: no such file"),
        (["--show", "no.json", "--plan"], "leave --plan out"),
        (["--device", "cpu", "-o", "no/where.json"], "no such folder"),
        (["--device", "cpu", "--plot", __file__], "no folder"),  # said before anything is measured
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_bad_usage_is_one_message(arguments, says, cli):
    answer = cli("bench", *arguments)
    assert answer.code == 2
    assert says in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d | {"schema": "llmcost.profile/0"}, "measure again"),
        (lambda d: d | {"extra": 1}, "extra: not a field that is understood"),
        (lambda d: d | {"fit": {"gemm": {"bf16": {"compute": "x"}}}}, "fit.gemm.bf16"),
        (lambda d: d | {"rows": [d["rows"][0] | {"sizes": {"m": 1}}]}, "rows.0.sizes: not the sizes of Gemm"),
        (lambda d: d | {"rows": [d["rows"][0] | {"status": "fine"}]}, "rows.0.status"),
        (lambda _d: [1], "expected an object"),
    ],
    ids=["old", "unknown key", "text for a number", "sizes", "status", "list"],
)
def test_a_profile_that_is_none_is_refused_with_its_field(change, says, quick, cli, tmp_path):
    (tmp_path / "bad.json").write_text(json.dumps(change(json.loads(quick[1].read_text("utf-8")))), "utf-8")
    for arguments in (["bench", "--show"], ["estimate", "gpt2", "--hw", "h200", "--profile"]):
        answer = cli(*arguments, tmp_path / "bad.json")
        assert answer.code == 2
        assert says in answer.err
        assert answer.err.count("\n") == 1


def test_nothing_but_bench_imports_torch():
    importing = re.compile(r"^\s*(import|from) torch\b", re.MULTILINE)
    files = [path for path in (ROOT / "llmcost").rglob("*.py") if importing.search(path.read_text("utf-8"))]
    assert files
    assert {path.relative_to(ROOT / "llmcost").parts[0] for path in files} == {"bench"}


# -- several ranks ----------------------------------------------------------------------------------


def test_exchanges_between_two_processes(tmp_path):
    command = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--no-python",
        sys.executable,
        "-m",
        "llmcost",
        "bench",
    ]
    whole = [sys.executable, *command, "--device", "cpu", "-o", str(tmp_path / "p.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    rows = load_profile(tmp_path / "p.json").rows
    assert [row.name for row in rows[::2]] == ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]
    assert {(row.status, row.way) for row in rows} == {("ok", "gloo")}
    assert done.stdout.count("all_reduce, bus bandwidth") == 1  # one process reports for all


# -- the fit ----------------------------------------------------------------------------------------


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
    times = kernel_seconds(ops, chip, Efficiency({**DEFAULT.kernels, kind: kernel}, "", None))
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


def test_quantiles_lie_between_neighbours():
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([7.0], 0.95) == 7.0


# -- profiles that ship -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_is_whole_and_of_a_gpu_left_alone(path):
    profile = load_profile(path)
    assert profile.hardware == path.stem
    assert profile.scope == "full"
    assert not profile.cautions()
    assert {row.status for row in profile.measured()} == {"ok"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_a_full_run_measures_is_in_a_shipped_profile(path):
    profile = load_profile(path)
    known = {(row.suite, row.op(), row.dtype, row.backward) for row in profile.rows if row.operator}
    scope = Scope(GPU, full=True)
    for suite in CASES:
        if suite != "collectives":
            assert {
                (suite, point.case.op, point.case.dtype, point.case.backward) for point in CASES[suite](scope)
            } <= known
    assert {(point.model, point.phase, point.b, point.c) for point in steps(scope)} <= {
        step[:4] for step in profile.steps
    }


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


def test_norms_of_a_profile_with_few_of_them_take_what_all_that_streams_takes():
    profile = load_profile(SHIPPED[0])
    fits = {kind: by_type for kind, by_type in profile.fit.items() if kind != "norm"}
    kernels = efficiency_of(profile, "bf16").kernels
    assert kernels["norm"] != kernels["elementwise"]
    kernels = efficiency_of(profile._replace(fit=fits), "bf16").kernels
    assert kernels["norm"] == kernels["elementwise"]


def test_the_h200_is_predicted_as_well_as_the_documents_say():
    """The figures of docs/bench.md: kernels that predict whole passes, and a fit that predicts what it never saw."""
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    for phase, mean, worst in (("decode", 0.03, 0.10), ("prefill", 0.05, 0.10), ("train", 0.08, 0.10)):
        off = [abs(step.operators_us / step.median_us - 1) for step in profile.steps if step.phase == phase]
        assert sum(off) / len(off) <= mean
        assert max(off) <= worst
    assert sum(step.phase == "decode" for step in profile.steps) == 32
    assert step_error(profile.steps).mean <= 0.045
    for kind in ("gemm", "attention_decode"):
        assert profile.fit[kind]["bf16"].heldout.mean <= 0.08
        assert profile.fit[kind]["bf16"].heldout.points >= 20
    gemms = [row for row in profile.rows if row.operator == "Gemm"]
    assert all(row_flops(row) / row.median_us * 1e6 <= profile.peaks["flops_per_s"][row.dtype] for row in gemms)


def test_estimate_uses_the_profile_of_its_gpu(cli):
    expected = json.loads(cli("estimate", "llama3-8b", "--hw", "h200", "--json").out)["decode"]["expected"]
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    assert expected["basis"] == f"profile h200 ({profile.date}), in an engine"
    assert expected["error"] == ENGINE_ERROR
    h200 = load_hardware("h200")
    alone, engine = (efficiency_for(h200, None, "bf16", "bf16", engine=engine) for engine in (False, True))
    assert (
        alone.kernels == efficiency_of(profile, "bf16", default_for(h200)).kernels
    )  # what `bench` compares its own passes with
    assert engine.kernels["gemm"].memory == ENGINE.value * alone.kernels["gemm"].memory
    assert engine.kernels["gemm"].launch_seconds == alone.kernels["gemm"].launch_seconds / ENGINE.value
    for kind in ("node", "fabric", "scan"):  # not among the kernels that were measured: the defaults are an engine's
        assert engine.kernels[kind] == alone.kernels[kind] == default_for(h200).kernels[kind]
    other = json.loads(cli("estimate", "llama3-8b", "--hw", "h100", "--json").out)["decode"]["expected"]
    assert other["basis"] == "defaults"
    answer = cli("estimate", "llama3-8b", "--hw", "h100", "--profile", shipped("hardware") / "profiles" / "h200.json")
    assert answer.code == 2
    assert "measured on h200, not on h100-sxm" in answer.err


def test_a_contended_profile_is_used_with_a_warning(cli, tmp_path):
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    busy = profile._replace(state=profile.state | {"contended": "busy 40 % of the time with the work of others"})
    (tmp_path / "busy.json").write_text(profile_text(busy), "utf-8")
    assert busy.cautions() == ["of a GPU in use"]
    assert (
        "2026-11-24, of a GPU in use)"
        in cli("estimate", "gpt2", "--hw", "h200", "--profile", tmp_path / "busy.json").out
    )
    assert (
        "likely busy 40 % of the time" not in cli("bench", "--show", tmp_path / "busy.json").out
    )  # it was as fast as it should be


def test_timings_of_a_graph_are_seconds_a_call(bench):
    timing = bench.clock.summary([4.0, 2.0, 6.0], 2, "graph", Reading())
    assert timing == Timing(2.0, pytest.approx(1.1), pytest.approx(2.9), 3, "graph", Reading())


def test_experts_rows_are_those_of_the_routing():
    from llmcost.bench.kernels.grouped import routing

    assert sum(routing(100, 8, 2)) == 200
    assert routing(5, 3, 3) == (5, 5, 5)
    op = GroupedGemm("experts", "mlp", 1, 100, 1, 16, 16, 8, 2, False, 4, 4)
    assert kind_of(op).operands(op, "fp32", find_device("cpu")).hot[0].shape == (200, 16)
