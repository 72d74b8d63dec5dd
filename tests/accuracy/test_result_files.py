"""Result files of benchmarks: what each says, and what is refused."""

import json
import math
from pathlib import Path

import pytest

from llmcost.accuracy.result_files import read_runs
from llmcost.ground.errors import SpecError

RESULTS = Path(__file__).parent / "results"


def only(name):
    (run,) = read_runs(RESULTS / name)
    return run


def test_a_closed_loop_of_vllm_has_mean_lengths_and_what_was_in_flight():
    run = only("serve-c8.json")
    # 81,920 and 40,960 tokens of 80 requests
    assert run.told == {
        "model": "Qwen/Qwen3-32B", "engine": "vllm", "prompt": 1024, "output": 512, "concurrency": 8, "requests": 80,
    }  # fmt: skip
    assert run.measured == {"ttft_seconds": 0.152, "tpot_seconds": 0.0166, "output_tokens_per_s": 474.1}
    assert run.phase == "mix"


def test_vllms_latency_and_throughput_tell_no_lengths():
    assert (only("latency.json").phase, only("latency.json").measured) == ("batch", {"latency_seconds": 2.412})
    run = only("throughput.json")
    assert run.told == {"engine": "vllm", "requests": 1000, "tokens": 640}
    assert run.measured == {"requests_per_s": 16.53}


def test_sglangs_lines_are_a_run_each_in_a_loop_or_at_a_rate():
    loop, rate = read_runs(RESULTS / "sglang-serving.jsonl")
    assert (loop.line, loop.told["concurrency"], loop.told["requests"], "rate" in loop.told) == (1, 16, 160, False)
    assert (rate.line, rate.told["rate"], rate.told["requests"], "concurrency" in rate.told) == (2, 4.0, 320, False)


def test_one_batch_of_sglang_has_its_prompts_and_its_steps():
    first, second = read_runs(RESULTS / "sglang-batch.jsonl")
    assert first.measured == {"prefill_seconds": 0.045, "tpot_seconds": 0.0072}
    assert (second.told["batch"], second.told["prompt"], second.told["output"]) == (16, 1024, 128)


def test_a_report_of_tensorrt_llm_names_model_gpu_and_degrees():
    run = only("trtllm.json")
    assert (run.told["model"], run.told["hw"], run.told["tp"]) == ("meta-llama/Llama-3.1-8B", "NVIDIA H200", 1)
    assert run.told["mean_concurrency"] == 63.2
    assert run.measured["tpot_seconds"] == pytest.approx(0.0121)


@pytest.mark.parametrize(
    ("name", "depth"), [("llama-bench.json", 1), ("llama-bench.csv", 4096), ("llama-bench.md", 4096)]
)
def test_llama_bench_says_the_same_in_every_form(name, depth):
    prompt, decode = read_runs(RESULTS / name)
    # 512 tokens at 10,240 a second
    assert (prompt.phase, prompt.measured) == ("prompt", {"prefill_seconds": pytest.approx(0.05)})
    assert (decode.phase, decode.told["prompt"], decode.told["output"]) == ("decode", depth, 128)
    assert {run.told["quantised"] for run in (prompt, decode)} == {"q4_k_m"}


@pytest.mark.parametrize("name", ["genai-perf.json", "aiperf.json"])
def test_perf_finds_the_model_and_the_load_inside_its_configuration(name):
    run = only(name)
    assert run.told["model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert (run.told["concurrency"], run.told["prompt"], run.told["output"]) == (16, 1024, 256)
    assert (run.measured["ttft_seconds"], run.measured["tpot_seconds"]) == (0.18, pytest.approx(0.0193))


def test_a_csv_of_ones_own_is_a_run_a_line():
    runs = read_runs(RESULTS / "own.csv")
    assert [run.told["concurrency"] for run in runs] == [8, 32, 128]
    assert [run.line for run in runs] == [2, 3, 4]
    assert runs[0].told["tp"] == 2
    assert runs[0].date == "2026-11-28"


def test_requests_one_by_one_are_cut_into_parts_that_arrive_together(tmp_path):
    # 45 requests, one a second, 1 s to the first token and 0.1 s for each of the 10 others: two parts, as 45 // 20 = 2
    lines = [f"100,11,{at},{at + 1},{at + 2}" for at in range(45)]
    path = tmp_path / "requests.csv"
    path.write_text("\n".join(["input_tokens,output_tokens,arrival_s,first_token_s,last_token_s", *lines]), "utf-8")
    runs = read_runs(path)
    assert [run.part for run in runs] == [(0, 22), (22, 45)]
    assert runs[0].measured == {"ttft_seconds": pytest.approx(1), "tpot_seconds": pytest.approx(0.1)}


def changed(**fields):
    data = json.loads((RESULTS / "serve-c8.json").read_text("utf-8")) | fields
    return json.dumps({name: value for name, value in data.items() if value != "away"})


WRONG = [
    ("", "", "the file is empty"),
    ("hello", "", "no result of a benchmark that is known"),
    ('{"a": 1}', "", "it has a"),
    ('{"a": 1', "", "not valid JSON"),
    ("[]", "", "no run in it"),
    ("[1]", "[0]", "expected an object"),
    ('{"a": 1}\nno\n', "", "not valid JSON"),
    (changed(mean_tpot_ms=math.nan), "mean_tpot_ms", "cannot be 'nan'"),
    (changed(mean_tpot_ms=-3), "mean_tpot_ms", "cannot be '-3'"),
    (changed(mean_ttft_ms=0), "mean_ttft_ms", "cannot be '0'"),
    (changed(mean_ttft_ms=True), "mean_ttft_ms", "cannot be 'True'"),
    (changed(total_input_tokens="away"), "total_input_tokens", "missing"),
    (changed(completed=0), "completed", "no request was answered"),
    (changed(request_rate=3.0), "max_concurrency", "at a rate and were held back"),
    (changed(spec_decode_acceptance_length=2.7), "spec_decode_acceptance_length", "tokens were guessed"),
    (changed(mean_tpot_ms="away", mean_ttft_ms="away", output_throughput="away"), "", "no time and no rate"),
    (
        (RESULTS / "aiperf.json").read_text("utf-8").replace('"1.5"', '"2.0"'),
        "schema_version",
        "'2.0' is not understood",
    ),
    (
        (RESULTS / "aiperf.json")
        .read_text("utf-8")
        .replace('"concurrency": 16', '"concurrency": 16}, "b": {"concurrency": 8'),
        "input_config …concurrency",
        "several values",
    ),
    (changed(mean_tpot_ms=10**400), "mean_tpot_ms", "a number above 1e-09 and below 1e+12"),
    (changed(mean_tpot_ms=1e-300), "mean_tpot_ms", "cannot be '1e-300'"),
    ("[" * 5000, "", "JSON"),
    ("[" * 200_000, "", "no JSON that can be read: nested too deeply"),
    (changed(failed=1000), "failed", "of 1,"),
    (changed(failed=-1), "failed", "cannot be '-1'"),
    (changed(failed="many"), "failed", "cannot be 'many'"),
    (changed(duration="long"), "duration", "cannot be 'long'"),
    (changed(duration=1), "request_throughput", "completed over duration is"),
    (changed(request_throughput=1e6), "request_throughput", "which of them is wrong?"),
    (changed(output_throughput=1e6), "output_throughput", "total_output_tokens over duration is"),
    ('{"a": ' + "1" * 5000 + "}", "", "no JSON that can be read"),
    (
        (RESULTS / "trtllm.json").read_text("utf-8").replace('"tp_size": 1', '"tp_size": "two"'),
        "world_info.tp_size",
        "cannot be 'two'",
    ),
    (
        (RESULTS / "llama-bench.json").read_text("utf-8").replace('"n_gpu_layers": 99', '"n_gpu_layers": 20'),
        "n_gpu_layers",
        "may have stayed on the CPU",
    ),
    ("input_tokens,output_tokens,speed\n1,2,3\n", "speed", "not a column that is understood"),
    ("input_tokens,concurrency\n1,2\n", "output_tokens", "this column is missing"),
    ("input_tokens,output_tokens,concurrency,tpot_seconds\n", "", "no run in it"),
    ("input_tokens,output_tokens,concurrency,tpot_seconds\n1,2,3\n", "", "not as many cells"),
    ("input_tokens,output_tokens,concurrency,tpot_seconds\n1,,3,4\n", "output_tokens", "missing"),
    ("input_tokens,output_tokens,concurrency,rate,tpot_seconds\n1,2,3,4,5\n", "concurrency", "one of"),
    ("input_tokens,output_tokens,tpot_seconds\n1,2,5\n", "concurrency", "this is missing"),
    ("input_tokens,output_tokens,arrival_s,first_token_s,last_token_s\n1,2,0,2,1\n", "first_token_s", "arrives"),
    ("| model | t/s |\n| --- | --- |\n| x | 3 |\n", "test", "missing"),
    ("| model | test | t/s |\n| --- | --- | --- |\n| llama 8B Q8_0 | pp9+tg3 | 3 |\n", "test", "not understood"),
]


@pytest.mark.parametrize(("text", "field", "says"), WRONG)
def test_a_wrong_file_is_refused_with_its_field(tmp_path, text, field, says):
    path = tmp_path / "results"
    path.write_text(text, "utf-8")
    with pytest.raises(SpecError) as error:
        read_runs(path)
    assert error.value.field == field
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
