"""Logs of training programs: what a step took, whose convention the program counts by, and what is refused."""

import json
from pathlib import Path

import pytest

import llmcost
from llmcost.ground.errors import InputError, SpecError
from llmcost.training.logs import read_log

TITAN = (
    "[rank0]:[titan] 2025-06-16 22:30:{second} - root - INFO - \x1b[31mstep: {step}  \x1b[32mloss: 6.1  "
    "memory: 49.66GiB(52.28%)  tps: {tps}  tflops: {tflops}  mfu: {mfu}%\n"
)
TITAN_STEPS = (
    (1, "856", 49.2, 4.29),
    (10, "5,856", 339.16, 34.29),
    (20, "5,593", 323.92, 32.75),
    (30, "5,868", 339.82, 34.36),
)
MEGATRON = (
    " [2024-04-06 03:02:12] iteration {step}/ 100 | consumed samples: 9088 | elapsed time per iteration (ms): {ms} | "
    "throughput per GPU (TFLOP/s/GPU): {tflops} | learning rate: 1.42E-05 | global batch size:   128 | lm loss: 1.8 |\n"
)
ARGUMENTS = (
    "  seq_length ...................................... 8192\n  world_size ...................................... 16\n"
)


def titan_log() -> str:
    """Four steps, each written by two ranks; the first compiles."""
    return "".join(
        TITAN.format(second=step, step=step, tps=tps, tflops=tflops, mfu=mfu)
        for step, tps, tflops, mfu in TITAN_STEPS
        for _ in range(2)
    )


def written(folder: Path, text: str, name: str = "train.log") -> Path:
    """The log's file."""
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_torchtitan_prints_the_mfu_that_our_convention_of_its_name_gives(tmp_path: Path) -> None:
    """Of Llama 3 8B with 8,192 tokens on H100s: published lines of torchtitan's own log (its pull request 1287)."""
    found = llmcost.mfu("llama3-8b", "h100", log=written(tmp_path, titan_log()), seq=8192)
    assert found.tokens_per_s_per_gpu == 5856  # the median of the three steps behind the first
    assert found.log is not None
    assert (found.log.program, found.log.steps, found.log.convention) == ("torchtitan", 3, "torchtitan")
    assert found.log.ratio == pytest.approx(1, abs=1e-3)
    assert found.log.memory_bytes == 49.66 * 2**30


def test_tokens_a_second_of_megatron_follow_from_batch_length_time_and_gpus(tmp_path: Path) -> None:
    """Its log says all of them where it lists its arguments: 128 · 8,192 tokens in 10 s on 16 GPUs."""
    lines = "".join(
        MEGATRON.format(step=step, ms=ms, tflops=337.4) for step, ms in ((1, 60000), (2, 10000.0), (3, 10000))
    )
    found = llmcost.mfu("llama3-8b", "h100", log=written(tmp_path, ARGUMENTS + lines))
    assert found.seq == 8192
    assert found.tokens_per_s_per_gpu == 128 * 8192 / 10 / 16
    assert found.log is not None
    assert found.log.step_seconds == 10
    assert found.log.convention == "megatron-bridge"  # 6,554 tokens/s · 51.5 GFLOP


def test_a_log_of_all_gpus_needs_their_number(tmp_path: Path) -> None:
    """Without its arguments Megatron's log leaves it to --gpus."""
    log = written(tmp_path, MEGATRON.format(step=2, ms=10000, tflops=337.4))
    with pytest.raises(InputError, match="--gpus: on how many GPUs did it run"):
        llmcost.mfu("llama3-8b", "h100", log=log, seq=8192)
    assert llmcost.mfu("llama3-8b", "h100", log=log, seq=8192, gpus=16).tokens_per_s_per_gpu == 6553.6


def test_nanogpt_counts_all_gpus_tokens_and_its_first_mfu_is_none(tmp_path: Path) -> None:
    """The walk's run: 491,520 tokens an iteration on 8 A100s in 250 ms."""
    text = "tokens per iteration will be: 491,520\niter 0: loss 10.9, time 40000.10ms, mfu -100.00%\n"
    text += "iter 10: loss 8.9, time 250.00ms, mfu 67.33%\n"
    found = llmcost.mfu("gpt2", "a100", log=written(tmp_path, text), gpus=8)
    assert found.tokens_per_s_per_gpu == 491_520 / 0.25 / 8
    assert found.log is not None
    assert (found.log.mfu, found.log.convention) == (0.6733, "nanogpt")


def test_maxtext_gives_the_rate_of_one_device(tmp_path: Path) -> None:
    """Tokens/s/device stands in the line itself."""
    line = "completed step: {}, seconds: 10.2, TFLOP/s/device: 406.9, Tokens/s/device: 7900.1, total_weights: 8192\n"
    found = llmcost.mfu("llama3-8b", "h100", log=written(tmp_path, line.format(4) + line.format(5)), seq=8192)
    assert found.tokens_per_s_per_gpu == 7900.1
    assert found.log is not None
    assert found.log.convention in ("maxtext", "megatron-bridge")


STATE = {
    "epoch": 1.0,
    "log_history": [
        {"loss": 3.1, "step": 10},
        {"train_runtime": 408.6, "train_samples_per_second": 16.0, "train_steps_per_second": 0.25, "step": 100},
    ],
}


@pytest.mark.parametrize("text", [str(STATE["log_history"][1]), json.dumps(STATE, indent=2)], ids=["printed", "state"])
def test_the_trainer_of_transformers_counts_samples_of_all_gpus(tmp_path: Path, text: str) -> None:
    """16 samples a second of 1,024 tokens on 8 GPUs."""
    found = llmcost.mfu("gpt2", "a100", log=written(tmp_path, text), gpus=8, seq=1024)
    assert found.tokens_per_s_per_gpu == 16 * 1024 / 8


def test_the_trainer_s_own_count_of_tokens_comes_before_its_samples(tmp_path: Path) -> None:
    """Samples may be shorter than a sequence."""
    text = json.dumps({"train_runtime": 10.0, "train_samples_per_second": 16.0, "train_tokens_per_second": 4000.0})
    assert llmcost.mfu("gpt2", "a100", log=written(tmp_path, text), gpus=8).tokens_per_s_per_gpu == 500


def test_a_log_of_another_model_is_said_to_be_by_no_convention(tmp_path: Path) -> None:
    """Llama 3 8B's log as one of GPT-2's."""
    found = llmcost.mfu("gpt2", "h100", log=written(tmp_path, titan_log()))
    assert found.log is not None
    assert found.log.convention is None
    assert found.log.ratio is not None
    assert found.log.ratio > 10


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("step 1 loss 3\n", {}, "no step of a training program that is known"),
        ("", {}, "no step of a training program"),
        (titan_log(), {"gpus": 8}, "--gpus 8: .*gives the throughput of one GPU"),
        (titan_log(), {"tokens_per_s": 9000.0}, "--log: it tells the throughput"),
        (titan_log().replace("5,593", "0"), {}, "train.log:5: tps: cannot be 0"),
        (ARGUMENTS + MEGATRON.format(step=2, ms="nan", tflops=1), {}, "train.log:3: elapsed time .*cannot be nan"),
        (ARGUMENTS + MEGATRON.format(step=2, ms=10, tflops=1), {"seq": 4096}, "--seq 4096: .*says 8,192"),
        (ARGUMENTS + MEGATRON.format(step=2, ms=10, tflops=1), {"gpus": 8}, "--gpus 8: .*says 16"),
        ("iter 1: loss 8.9, time 250.00ms, mfu -100.00%\n", {"gpus": 1}, "neither tokens a second nor"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str, options: dict[str, float], message: str) -> None:
    """With the line, where a line is to blame."""
    with pytest.raises(InputError, match=message):
        llmcost.mfu("llama3-8b", "h100", log=written(tmp_path, text), **options)  # type: ignore[arg-type]


def test_no_file_and_gpus_without_a_log_are_refused(tmp_path: Path) -> None:
    """One message each."""
    with pytest.raises(SpecError, match="no such file"):
        read_log(tmp_path / "none.log")
    with pytest.raises(InputError, match=r"--gpus 8: .*several are for --log"):
        llmcost.mfu("llama3-8b", "h100", 9000, gpus=8)
