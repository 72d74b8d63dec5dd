"""A training engine fitted to logs: what is read, what is fitted, that it never gets worse, and what is refused."""

import json
from math import isclose

import pytest

from llmcost.accuracy.calibrate_training import Numbers, with_numbers
from llmcost.ground.errors import SpecError
from llmcost.machine.process import TRAINING_COMMUNICATORS, TRAINING_CONTEXT
from llmcost.specs.catalog import load_hardware, load_model, load_training_engine
from llmcost.training.log_settings import settings_of
from llmcost.training.options import Options
from llmcost.training.setup import setup_of
from llmcost.training.step import evaluate_step

MODEL, H100 = load_model("llama3.1-8b"), load_hardware("h100")
LAYOUTS = ({"gpus": 8, "micro_batch": 1}, {"gpus": 8, "micro_batch": 2}, {"gpus": 4, "micro_batch": 1, "seq": 4096})
ARGUMENTS = """using world size: 16
  context_parallel_size ........................... 1
  global_batch_size ............................... 128
  micro_batch_size ................................ 2
  pipeline_model_parallel_size .................... 2
  recompute_granularity ........................... None
  seq_length ...................................... 8192
  tensor_model_parallel_size ...................... 4
  use_distributed_optimizer ....................... True
  world_size ...................................... 16
"""
STEP = " iteration {step}/ 100 | elapsed time per iteration (ms): {ms} | global batch size:   128 |\n"


def seconds_of(slower, engine="torchtitan", **layout):
    """Seconds of a step where kernels reach so much less than the engine says."""
    options = Options(engine=engine, zero=3, recompute="full", tp=1, pp=1, **layout)
    at, _ = setup_of(MODEL, H100, options._replace(global_batch=layout["gpus"] * layout["micro_batch"]), None)
    at = at._replace(efficiency=with_numbers(at.efficiency, Numbers(1 / slower, at.efficiency.host.layer)))
    return at.seq * layout["micro_batch"] / evaluate_step(at).seconds.total


def allocated_of(**layout):
    """Bytes that are counted to be allocated on a GPU of such a run."""
    options = Options(engine="torchtitan", zero=3, recompute="full", tp=1, pp=1, **layout)
    at, _ = setup_of(MODEL, H100, options._replace(global_batch=layout["gpus"] * layout["micro_batch"]), None)
    return evaluate_step(at).first.pooled()


def titan_logs(folder, slower):
    """A log of torchtitan for each layout, and what is said of it on the command line."""
    found = []
    for number, layout in enumerate(LAYOUTS):
        rate = seconds_of(slower, **layout)
        lines = [f"step: {step}  loss: 6.1  memory: 50.00GiB(52%)  tps: {rate:.3f}\n" for step in (1, 10, 20)]
        path = folder / f"run{number}.log"
        path.write_text("".join(lines))
        found.append(f"{path}@{','.join(f'{name}={value}' for name, value in layout.items())}")
    return found


ASKED = ("--model", "llama3.1-8b", "--hw", "h100", "--zero", 3, "--recompute", "full", "--train")


def test_a_factor_that_made_the_runs_is_found_and_the_file_predicts_them(cli, tmp_path):
    out = tmp_path / "my.yaml"
    done = cli("calibrate", *titan_logs(tmp_path, 1.25), *ASKED, "-o", out, "--json")
    found = json.loads(done.out)
    # held at the base as if a run had said so, so a little less than 1 / 1.25
    assert 0.80 <= found["fitted"]["share"] < 0.84
    assert found["left_out"]
    assert found["error"]["step"]["after"]["mean"] < 0.05 < found["error"]["step"]["before"]["mean"]
    engine = load_training_engine(str(out))
    at, _ = setup_of(MODEL, H100, Options(engine="torchtitan", gpus=8, tp=1, pp=1, zero=3, recompute="full"), None)
    base = at.efficiency.kernels["gemm"].compute
    assert isclose(engine.shares["h100-sxm"]["products"], base * found["fitted"]["share"], rel_tol=0.01)
    assert engine.choices["error"] == round(found["error"]["step"]["after"]["mean"], 4)
    run = json.loads(
        cli("train", "llama3.1-8b", "--hw", "h100", "--gpus", 8, "--zero", 3, "--engine", out, "--json").out
    )
    assert (run["run"]["engine"], run["expected"]["error"]) == ("my", engine.choices["error"])
    assert "training engine my, sound" in cli("check", out).out


def test_runs_that_speak_for_no_number_leave_the_base_as_it_is(cli, tmp_path):
    out = tmp_path / "my.yaml"
    found = json.loads(cli("calibrate", *titan_logs(tmp_path, 1.0), *ASKED, "-o", out, "--json").out)
    assert found["kept"]
    assert found["error"]["step"]["before"] == found["error"]["step"]["after"]
    assert load_training_engine(str(out)).shares == load_training_engine("torchtitan").shares


def test_one_run_alone_moves_the_base_by_a_part_of_the_way(cli, tmp_path):
    found = json.loads(cli("calibrate", titan_logs(tmp_path, 1.25)[0], *ASKED, "--json").out)
    assert 0.9 < found["fitted"]["share"] < 1
    assert not found["left_out"]


def test_memory_that_logs_tell_is_fitted_too_and_the_file_predicts_it(cli, tmp_path):
    """The allocator of these runs held a fifth more than was handed out; the base says a twentieth."""
    logs = titan_logs(tmp_path, 1.0)
    for log, layout in zip(logs, LAYOUTS, strict=True):
        path = tmp_path / log.rpartition("@")[0]
        held = 1.2 * allocated_of(**layout) / 2**30
        path.write_text(path.read_text().replace("50.00GiB", f"{held:.4f}GiB"))
    out = tmp_path / "my.yaml"
    found = json.loads(cli("calibrate", *logs, *ASKED, "-o", out, "--json").out)
    assert (found["kept"], found["lines"][0]["quantity"]) == (True, "step_seconds")  # times are those of the base
    assert found["memory"]["reserved_share"] == pytest.approx(1.05 ** (1 / 4) * 1.2 ** (3 / 4), abs=0.01)
    assert found["memory"]["error"]["after"]["mean"] < 0.06 < found["memory"]["error"]["before"]["mean"]
    asked = ("train", "llama3.1-8b", "--hw", "h100", "--gpus", 8, "--tp", 1, "--pp", 1, "--zero", 3)
    totals = [
        json.loads(cli(*asked, "--recompute", "full", "--engine", engine, "--json").out)["memory"]
        for engine in ("torchtitan", out)
    ]
    beside = TRAINING_CONTEXT.value + TRAINING_COMMUNICATORS.value
    before, after = (each["total_bytes"] - beside for each in totals)
    assert after / before == pytest.approx(found["memory"]["reserved_share"] / 1.05)
    assert "over what is allocated" in cli("calibrate", *logs, *ASKED).out


def test_memory_of_another_layout_is_not_taken(cli, tmp_path):
    (log,) = titan_logs(tmp_path, 1.0)[:1]
    path = tmp_path / log.rpartition("@")[0]
    path.write_text(path.read_text().replace("50.00GiB", "2000GiB"))
    memory = json.loads(cli("calibrate", log, *ASKED, "--json").out)["memory"]
    assert memory["reserved_share"] is None
    assert memory["error"]["after"] == memory["error"]["before"]
    path.write_text(path.read_text().replace("2000GiB", "-1GiB"))
    answer = cli("calibrate", log, *ASKED)
    assert (answer.code, f"{path}:1: memory: cannot be -1" in answer.err) == (2, True)


def test_megatron_says_its_layout_itself(cli, tmp_path):
    log = tmp_path / "megatron.log"
    log.write_text(ARGUMENTS + "".join(STEP.format(step=step, ms=9000) for step in (1, 2, 3)))
    told = {name: each.value for name, each in settings_of(log).items()}
    assert told == {
        "cp": 1,
        "global_batch": 128,
        "micro_batch": 2,
        "pp": 2,
        "recompute": "none",
        "seq": 8192,
        "tp": 4,
        "zero": 1,
        "gpus": 16,
    }
    with log.open("a") as more:
        more.write(
            "[Rank 0] (after 2 iterations) memory (MB) | allocated: 1 | max allocated: 2 | max reserved: 60000.5\n"
        )
        more.write(
            "[Rank 8] (after 2 iterations) memory (MB) | allocated: 1 | max allocated: 2 | max reserved: 50000\n"
        )
    found = json.loads(cli("calibrate", log, "--train", "--model", "llama3-8b", "--hw", "h100", "--json").out)
    assert found["memory"]["lines"][0]["measured_bytes"] == 60000.5 * 2**20
    assert (found["engine"], found["lines"][0]["measured_seconds"]) == ("megatron-core", 9.0)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (ARGUMENTS + STEP.format(step=1, ms=1) + "step: 2  tps: 9,000\n", 12, "is torchtitan here and Megatron-LM"),
        (
            STEP.format(step=1, ms=1) + STEP.format(step=2, ms=1).replace("128", "256"),
            2,
            "is 256 here and 128 in line 1",
        ),
        ("step: 1  tps: 9\nstep: 1  tps: 9\nstep: 2  tps: 9\nstep: 1  tps: 9\n", 4, "1 again, after 2"),
        (ARGUMENTS + ARGUMENTS.replace(" 4\n", " 8\n"), 18, "is 8 here and 4 in line 8"),
    ],
)
def test_a_log_of_more_than_one_run_is_refused_with_the_line(text, line, says, tmp_path):
    path = tmp_path / "train.log"
    path.write_text(text)
    with pytest.raises(SpecError, match=says) as refused:
        settings_of(path)
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run.log@tp=2", "--gpus", 8), "--zero; say it, or run.log@zero=…"),
        (("run.log@x=2",), "'x' is no option of a layout"),
        (("run.log@tp=2,tp=4",), "run.log@tp=2,tp=4: tp comes twice"),
        (("run.log@tp=x",), "run.log@tp=x: --tp x: expected a number"),
        (("run.log", "--concurrency", 4), "--concurrency: of serving"),
        (("run.log", "--engine", "megatron-core"), "--engine megatron-core writes no such logs; torchtitan does"),
        (("run.log", "run.log@tp=2"), "a file is given twice"),
        (("run.log", "--score"), "--score: of an engine that serves"),
        (("megatron.log@tp=2",), "megatron.log:8: tp: the log says 4; --tp says 2"),
    ],
)
def test_what_a_log_does_not_tell_or_contradicts_is_refused(cli, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.log").write_text("step: 1  tps: 9,000\nstep: 2  tps: 9,000\n")
    (tmp_path / "megatron.log").write_text(ARGUMENTS + STEP.format(step=1, ms=9000))
    answer = cli("calibrate", *arguments, "--train", "--model", "llama3.1-8b", "--hw", "h100")
    assert (answer.code, says in answer.err) == (2, True), answer.err


def test_options_of_training_are_for_logs_alone(cli, tmp_path):
    answer = cli("calibrate", tmp_path / "run.json", "--zero", 3)
    assert (answer.code, answer.err) == (2, "llmcost: --zero: of training; give --train too\n")


def test_stages_of_one_log_are_said_with_plus(cli, tmp_path):
    log = tmp_path / "megatron.log"
    log.write_text(ARGUMENTS + "".join(STEP.format(step=step, ms=9000) for step in (1, 2, 3)))
    asked = ("--train", "--model", "llama3-8b", "--hw", "h100", "--json")
    even, uneven = (json.loads(cli("calibrate", f"{log}@stages={stages}", *asked).out) for stages in ("16+16", "6+26"))
    assert uneven["lines"][0]["before_seconds"] > 1.3 * even["lines"][0]["before_seconds"]
    answer = cli("calibrate", f"{log}@stages=16+15", *asked)
    assert (answer.code, "have 31 layers" in answer.err) == (2, True)
