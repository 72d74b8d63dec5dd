"""Engines that are fitted to runs: what few runs change, what is written, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from llmcost import estimate
from llmcost.accuracy.calibrate import NUMBERS, Design, choose
from llmcost.machine.nearby import Nearby
from llmcost.specs.catalog import load_engine
from llmcost.specs.engine import NearRun

RESULTS = Path(__file__).parent / "results"
LOADS = (4, 8, 16, 32, 64, 128, 4, 16, 64, 128)
OUTPUTS = (256,) * 6 + (1024,) * 4
RUN = NearRun("llama3.1-8b", "bf16", 8, 1024, 256, 1, 1, 1, 1, 0, 0.1, 0.2)
COLUMNS = "model,hw,engine,concurrency,input_tokens,output_tokens,ttft_seconds,tpot_seconds"


@pytest.fixture
def ask(cli):
    """A command's answer as its JSON document."""

    def asked(*arguments):
        answer = cli(*arguments, "--json")
        assert answer.code == 0, answer.err
        return json.loads(answer.out)

    return asked


def slower_engine(folder, **figures):
    """vLLM's file with some figures, as one who knew the truth would write it."""
    data = yaml.safe_load((RESULTS.parents[2] / "hardware" / "engines" / "vllm.yaml").read_text("utf-8"))
    data["figures"] |= {name: {"value": value, "source": "docs"} for name, value in figures.items()}
    path = folder / "true.yaml"
    path.write_text(yaml.safe_dump(data), "utf-8")
    return path


def runs_under(path, folder, loads=LOADS, factors=None):
    """A CSV of what an engine's file predicts, each time by a factor of its own."""
    lines = []
    for number, (load, output) in enumerate(zip(loads, OUTPUTS, strict=False)):
        found = estimate("llama3.1-8b", "h100", engine=str(path), concurrency=load, prompt=1024, output=output)
        factor = 1 if factors is None else factors[number]
        times = [factor * getattr(found.serving.expected, name) for name in ("ttft_seconds", "tpot_seconds")]
        lines.append(f"llama3.1-8b,h100,vllm,{load},1024,{output},{times[0]!r},{times[1]!r}")
    results = folder / "runs.csv"
    results.write_text("\n".join([COLUMNS, *lines]) + "\n", "utf-8")
    return results


def test_ten_runs_of_an_engine_that_is_slower_bring_its_times_back(tmp_path, ask):
    true = slower_engine(tmp_path, **{"time.kernels": 1.25, "host.step": 2e-3})
    found = ask("calibrate", runs_under(true, tmp_path), "-o", tmp_path / "mine.yaml")
    errors = found["error"]["tokens"]
    assert errors["before"]["mean"] > 0.2
    assert errors["after"]["mean"] < 0.02
    # and of a load and a length that no run had
    asked = {"concurrency": 24, "prompt": 2048, "output": 512}
    mine, truth = (
        estimate("llama3.1-8b", "h100", engine=str(path), **asked).serving.expected.tpot_seconds
        for path in (tmp_path / "mine.yaml", true)
    )
    assert mine == pytest.approx(truth, rel=0.03)


def test_three_runs_carry_two_numbers_at_most(tmp_path, ask):
    true = slower_engine(tmp_path, **{"time.kernels": 1.25, "host.step": 2e-3})
    found = ask("calibrate", runs_under(true, tmp_path, loads=(8, 32, 128)))
    assert 1 <= len(found["fitted"]) <= 2
    assert found["error"]["tokens"]["after"]["mean"] < found["error"]["tokens"]["before"]["mean"] / 3


def test_one_run_moves_the_base_by_a_part_of_the_way(tmp_path, ask):
    true = slower_engine(tmp_path, **{"time.kernels": 1.25})
    found = ask("calibrate", runs_under(true, tmp_path, loads=(8,)))
    (number,) = found["fitted"]
    assert number["name"] == "time.kernels"
    assert 1.02 < number["value"] < 1.15
    assert found["left_out"] is False


def test_runs_that_say_nothing_in_common_keep_the_base(tmp_path, ask):
    factors = (1.12, 0.88) * 5
    found = ask("calibrate", runs_under("vllm", tmp_path, factors=factors), "-o", tmp_path / "mine.yaml")
    assert found["kept"]
    assert found["fitted"] == []
    assert load_engine(str(tmp_path / "mine.yaml")).figures == load_engine("vllm").figures


def test_the_file_has_a_source_beside_every_number_and_is_of_its_gpu_alone(tmp_path, cli):
    out = tmp_path / "mine.yaml"
    files = [RESULTS / f"serve-c{load}.json" for load in (8, 32, 128)]
    assert cli("calibrate", *files, "--hw", "h100", "--tp", 2, "-o", out).code == 0
    engine = load_engine(str(out))
    stated = {name: figure for name, figure in engine.stated.items() if figure.source == "own-runs"}
    assert {"figures.time.kernels", "errors.tpot", "errors.ttft"} <= stated.keys()
    assert (
        "3 runs of serve-c8.json, serve-c32.json, serve-c128.json, of 2026-11-28" in engine.sources["own-runs"]["title"]
    )
    assert (engine.gpu, engine.name) == ("h100-sxm", "mine")
    assert cli("check", out).out == f"{out}: engine mine, sound\n"
    asked = ("estimate", "qwen3-32b", "--tp", 2, "--concurrency", 8, "--prompt", "1k", "--output", 512, "--engine", out)
    assert "runs of one's own that were left out" in cli(*asked, "--hw", "h100").out
    other = cli(*asked, "--hw", "h200")
    assert (other.code, "fitted to runs on h100-sxm" in other.err) == (2, True)
    assert (
        cli("simulate", "qwen3-32b", "--hw", "h100", "--tp", 2, "--rate", 1, "--requests", 5, "--engine", out).code == 0
    )


def test_what_is_shown_after_is_what_the_file_answers(tmp_path, ask):
    true = slower_engine(tmp_path, **{"time.kernels": 1.25})
    rows = runs_under(true, tmp_path, loads=(8,))
    found = ask("calibrate", rows, "-o", tmp_path / "mine.yaml")
    asked = {"concurrency": 8, "prompt": 1024, "output": 256}
    mine = estimate("llama3.1-8b", "h100", engine=str(tmp_path / "mine.yaml"), **asked).serving.expected
    measured = float(rows.read_text("utf-8").splitlines()[1].split(",")[-1])
    assert abs(mine.tpot_seconds / measured - 1) == pytest.approx(found["error"]["tokens"]["after"]["mean"], abs=0.002)


def test_numbers_that_change_nothing_are_not_fitted():
    """Ten runs whose times depend on products alone: of all numbers that one is left."""
    slopes = np.zeros((len(NUMBERS), 10))
    slopes[NUMBERS.index("time.products")] = 0.01
    base = np.array([1.0] * 6 + [0.0] * 3 + [1.0] * 2)
    seconds = np.full(10, 0.01)
    design = Design(base, seconds, slopes, 1.2 * seconds, np.full(10, 0.05), np.arange(10), np.eye(10))
    found = choose(design, base, seconds)
    assert set(found.names) <= {"time.kernels", "time.products"}
    assert found.numbers[NUMBERS.index("time.products")] == pytest.approx(1.2, rel=0.02)


WRONG = [
    ("own.csv", ("--hw", "h200"), "hw: 'h100' is h100-sxm; --hw says h200"),
    ("own.csv", ("--tp", 4), "tp: the file says 2; --tp says 4"),
    ("own.csv", ("--engine", "sglang"), "engine: a run of vllm; --engine says sglang"),
    ("own.csv", ("--profile", "x.json"), "--profile x.json: for --score"),
    ("own.csv", ("--kv-tokens", "1k"), "--kv-tokens: it is for files with requests one by one"),
    ("serve-c8.json", (), "the file does not tell the GPU: say --hw"),
    ("serve-c8.json", ("--hw", "t4"), "1 × t4 cannot hold qwen3-32b so (tp 1, weights in fp16)"),
    ("serve-c8.json", ("--hw", "h100", "--tp", "2", "--batch", "4"), "--batch: requests of this run come and go"),
    ("serve-c8.json", ("--hw", "h100", "--model", "llama3.1-8b"), "is qwen3-32b; --model says llama3.1-8b"),
    ("latency.json", ("--hw", "h100"), "the file does not tell it: say --model"),
    ("latency.json", ("--hw", "h100", "--model", "llama3.1-8b"), "say --batch"),
    ("throughput.json", ("--hw", "h100", "--model", "llama3.1-8b", "--prompt", 9, "--output", 9), "has 640 tokens"),
    ("genai-perf.json", ("--hw", "h100"), "--engine: of which engine are these runs?"),
]


@pytest.mark.parametrize(("name", "options", "says"), WRONG)
def test_what_contradicts_a_file_or_is_missing_is_refused_and_nothing_written(tmp_path, cli, name, options, says):
    out = tmp_path / "mine.yaml"
    answer = cli("calibrate", RESULTS / name, *options, "-o", out)
    assert (answer.code, answer.out) == (2, "")
    assert says in answer.err
    assert list(tmp_path.iterdir()) == []


def test_mixed_models_and_files_given_twice_are_refused(tmp_path, cli):
    text = (RESULTS / "own.csv").read_text("utf-8").replace("qwen3-32b,h100,vllm,2,32", "llama3.1-8b,h100,vllm,2,32")
    mixed = tmp_path / "mixed.csv"
    mixed.write_text(text, "utf-8")
    assert f"{mixed}:3: model: a run of llama3.1-8b beside runs of qwen3-32b" in cli("calibrate", mixed).err
    assert "given twice" in cli("calibrate", mixed, mixed).err
    assert "is what is read here" in cli("calibrate", RESULTS / "own.csv", "-o", RESULTS / "own.csv").err


def test_requests_one_by_one_are_fitted_by_simulation(tmp_path, ask, cli):
    """Forty requests, simulated under an engine a quarter slower, are read back and bring the factor back."""
    true = slower_engine(tmp_path, **{"time.kernels": 1.25})
    arrivals = [f"500,{100 + 10 * (number % 7)},{0.1 * number:.2f}" for number in range(60)]
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(["input_tokens,output_tokens,arrival_s", *arrivals]), "utf-8")
    asked = ("simulate", "llama3.1-8b", "--hw", "h100", "--engine", true, "--trace", trace, "--csv")
    head, *rows = [line.split(",") for line in cli(*asked).out.splitlines()]
    column = {name: head.index(name) for name in head}
    lines = []
    for row in sorted(rows, key=lambda each: float(each[column["arrival_s"]])):
        at = {name: float(row[place]) for name, place in column.items() if row[place]}
        arrival = at["arrival_s"]
        first = arrival + at["ttft_seconds"]
        last = arrival + at["latency_seconds"]
        lines.append(f"{int(at['input_tokens'])},{int(at['output_tokens'])},{arrival},{first},{last}")
    results = tmp_path / "requests.csv"
    names = "input_tokens,output_tokens,arrival_s,first_token_s,last_token_s"
    results.write_text("\n".join([names, *lines]), "utf-8")
    found = ask("calibrate", results, "--model", "llama3.1-8b", "--hw", "h100", "--engine", "vllm")
    assert found["runs"] == 3
    assert found["error"]["tokens"]["before"]["mean"] > 0.15
    assert found["error"]["tokens"]["after"]["mean"] < 0.05


def test_an_engine_without_kernels_of_its_own_is_fitted_by_shares_of_peak_and_bandwidth(tmp_path, ask):
    """Prompts run at the peak, steps at the bandwidth: four tests of llama-bench tell both shares."""
    table = "| model | test | t/s |\n| --- | --- | --- |\n"
    for number, (test, speed) in enumerate({"pp512": 4300, "pp2048": 4900, "tg128": 110, "tg256": 109}.items()):
        table += f"| llama 8B Q4_K - Medium | {test} | {speed}.0{number} ± 1.00 |\n"
    path = tmp_path / "bench.md"
    path.write_text(table, "utf-8")
    of = ("--model", "llama3.1-8b", "--hw", "4090", "--engine", "llama.cpp-b2900")
    found = ask("calibrate", path, *of)
    shares = {each["name"]: each["value"] for each in found["fitted"]}
    assert {"share.compute", "share.memory"} <= shares.keys()
    assert shares["share.compute"] < 0.8
    errors = found["error"]["tokens"]
    assert errors["after"]["mean"] < errors["before"]["mean"] / 2


def test_runs_that_follow_a_law_of_their_own_are_followed_near_them(tmp_path, ask):
    """Times that grow with the load as no number of the engine's does: what is left of runs tells those between."""
    factors = [0.9 * (load / 4) ** 0.06 * (output / 256) ** 0.03 for load, output in zip(LOADS, OUTPUTS, strict=True)]
    rows = runs_under("vllm", tmp_path, factors=factors)
    found = ask("calibrate", rows, "-o", tmp_path / "mine.yaml")
    assert len(found["nearby"]) == len(LOADS)
    assert found["error"]["tokens"]["after"]["mean"] < found["error"]["tokens"]["before"]["mean"] / 2
    between = {"concurrency": 24, "prompt": 1024, "output": 256}  # a load that no run had
    mine, base = (
        estimate("llama3.1-8b", "h100", engine=str(path), **between).serving.expected
        for path in (tmp_path / "mine.yaml", "vllm")
    )
    law = 0.9 * (24 / 4) ** 0.06
    assert mine.tpot_seconds / base.tpot_seconds == pytest.approx(law, rel=0.02)
    assert mine.ttft_seconds / base.ttft_seconds == pytest.approx(law, rel=0.03)
    # Little's law holds of what is shown
    assert mine.requests_per_s * mine.latency_seconds == pytest.approx(24)
    assert mine.latency_seconds == pytest.approx(mine.ttft_seconds + 255 * mine.tpot_seconds)


def test_runs_of_another_model_say_nothing_of_this_one():
    sizes = (1024, 256, 1, 1, 1, 1, 0)
    known = Nearby((RUN,))
    assert known.of("llama3.1-8b", "bf16", *sizes).tokens(8) == pytest.approx(np.exp(0.1))
    assert known.of("llama3.1-8b", "bf16", *sizes).first_token(8) == pytest.approx(np.exp(0.2))
    assert known.of("llama3.1-8b", "fp8", *sizes).tokens(8) == 1
    assert known.of("qwen3-32b", "bf16", *sizes).tokens(8) == 1
    # four times as many in flight are two doublings away: e^(-1/2); twice the length, of both numbers, one: e^(-1/8)
    assert known.of("llama3.1-8b", "bf16", *sizes).tokens(32) == pytest.approx(np.exp(0.1 * np.exp(-1 / 2)))
    longer = known.of("llama3.1-8b", "bf16", 2048, 512, *sizes[2:])
    assert longer.tokens(8) == pytest.approx(np.exp(0.1 * np.exp(-1 / 8 - 1 / 8)))
    # at loads far away, and whatever a file says, factors stay where they can be
    assert known.of("llama3.1-8b", "bf16", *sizes).tokens(1e6) == pytest.approx(1)
    assert Nearby((RUN._replace(tokens=10.0),)).of("llama3.1-8b", "bf16", *sizes).tokens(8) == pytest.approx(np.exp(2))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source": "nowhere"}, "nearby.source: 'nowhere' is not one of this file's sources"),
        ({"runs": [{"model": "llama3.1-8b"}]}, "nearby.runs.0"),
        ({"runs": [{**RUN._asdict(), "tokens": 11}]}, "tokens: expected a number from -10 to 10"),
        ({"runs": [{**RUN._asdict(), "tp": 0}]}, "tp: expected a number above 0"),
    ],
)
def test_an_engine_whose_runs_say_nothing_sensible_is_refused(tmp_path, cli, change, says):
    data = yaml.safe_load((RESULTS.parents[2] / "hardware" / "engines" / "vllm.yaml").read_text("utf-8"))
    data["nearby"] = {"source": "docs", "runs": [RUN._asdict()]} | change
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data), "utf-8")
    answer = cli("check", path)
    assert answer.code != 0
    assert says in answer.err + answer.out
