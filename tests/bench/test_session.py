"""`llmcost bench` on the CPU, at small sizes: whole runs, interrupted ones, faults of the machine and of the user."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bench_setup import SHIPPED

from llmcost.bench import session
from llmcost.bench.device import find_device
from llmcost.bench.runner import Runner
from llmcost.bench.suites import CASES, Scope, steps
from llmcost.ground.units import scaled
from llmcost.specs.profile import load_profile, profile_text

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_plan_measures_nothing(cli, monkeypatch):
    monkeypatch.setattr(session.Session, "run", lambda _self: pytest.fail("it ran"))
    out = cli("bench", "--device", "cpu", "--plan").out
    assert re.search(r"gemm +7 ", out)
    assert "step" in out
    held = 2 * 8_030_261_248 + 128 * 131_072  # bf16 weights, and the cache
    assert scaled(held, "B") in cli("bench", "llama3-8b", "--device", "cpu", "--dtype", "bf16", "-c", 128, "--plan").out


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
    planned = cli("bench", "--plan")  # what is measured depends on what torch finds
    assert planned.code == 3
    assert planned.err.startswith("llmcost: --plan asks torch which GPU is here")


def test_an_interrupted_run_keeps_its_rows_and_can_be_gone_on_with(cli, monkeypatch, tmp_path):
    stop = monkeypatch.context
    with stop() as patch:
        patch.setattr(Runner, "run_launches", lambda _self: (_ for _ in ()).throw(KeyboardInterrupt))
        answer = cli("bench", "--device", "cpu", "--suite", "gemm,launch,memory", "-o", tmp_path / "half.json")
    assert answer.code == 130
    assert not (tmp_path / "half.json").exists()
    half = load_profile(tmp_path / "half.json.part")
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
        tmp_path / "half.json.part",
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
    assert load_profile(tmp_path / "run.json.part").cautions() == ["interrupted"]
    assert not (tmp_path / "run.json").exists()


def test_an_interrupted_run_leaves_the_profile_of_an_earlier_one(cli, monkeypatch, tmp_path):
    keep = tmp_path / "keep.json"
    keep.write_bytes(SHIPPED[0].read_bytes())
    monkeypatch.setattr(Runner, "run_cases", lambda _self, _points: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli("bench", "--device", "cpu", "--suite", "gemm", "-o", keep).code == 130
    assert keep.read_bytes() == SHIPPED[0].read_bytes()


def test_a_gpu_may_have_any_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    device = find_device("cpu")._replace(name="GeForce / GTX\n" + "x" * 300)
    run = session.Session(device, session.BenchRequest())
    run.complete = True
    run.write(run.profile())
    (written,) = tmp_path.iterdir()
    assert written.name.startswith("profile-GeForce-GTX-xxx")


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
        (["--device", "cpu", "-o", "no/where.json"], "cannot be written: No such file"),
        (["--device", "cpu", "-o", "x" * 252], "cannot be written: File name too long"),  # with .part
        (["--compare", SHIPPED[0], "-o", SHIPPED[0]], "is what is read here"),
        (["--device", "cpu", "--plot", __file__], "no folder"),  # said before anything is measured
    ],
    ids=lambda value: " ".join(map(str, value[:3]))[:40] if isinstance(value, list) else "",
)
def test_bad_usage_is_one_message(arguments, says, cli):
    answer = cli("bench", *arguments)
    assert answer.code == 2
    assert says in answer.err
    assert answer.err.count("\n") == 1
