"""What `estimate` says of requests under load, beside the simulator: within a tenth, or the simulator's own answer."""

import json
import shlex

import pytest

import llmcost
from llmcost.search.compare import compare
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.simulation.run import simulate
from llmcost.simulation.steady import MEMORY, PROMPTS, SATURATION, as_run, steady
from llmcost.specs.catalog import load_hardware, load_model

LLAMA, H100, SMALL = load_model("llama3.1-8b"), load_hardware("h100"), load_hardware("rtx4090")
DRAWN = 0.8  # lengths from 80 to 100 %, as benchmarks draw them
APART = {"prefill_gpus": 1, "decode_gpus": 1, "tp": 1}
FIGURES = ("ttft_seconds", "tpot_seconds", "latency_seconds")


def asked(engine, prompt, output, **more):
    return Options(engine=engine, prompt=prompt, output=output, range_ratio=DRAWN, **more)


@pytest.mark.parametrize(
    "options",
    [
        asked("vllm", 1024, 256, concurrency=16),
        asked("vllm", 128, 512, concurrency=64),
        asked("vllm", 4096, 512, concurrency=8),
        asked("trtllm", 1024, 256, concurrency=32),
        asked("vllm", 1024, 128, concurrency=16),
        asked("trtllm", 1024, 128, concurrency=16),
        asked("trtllm", 2048, 256, concurrency=32),
        asked("trtllm", 4096, 512, concurrency=8),
        asked("sglang", 8192, 512, concurrency=4),
        asked("sglang", 1024, 512, concurrency=16),
        asked("sglang", 128, 512, concurrency=64),
        asked("sglang", 1024, 512, concurrency=64),
        asked("vllm", 1024, 128, rate=8.0, requests=300),
        asked("vllm", 4096, 256, rate=2.0, requests=100),
        asked("trtllm", 1024, 128, rate=8.0, requests=300),
        asked("sglang", 1024, 128, rate=8.0, requests=300),
        asked("vllm", 1024, 256, concurrency=32, **APART),
        asked("sglang", 2048, 16, rate=6.0, **APART),
    ],
    ids=lambda o: f"{o.engine} {o.prompt}/{o.output} c{o.concurrency} r{o.rate} {'apart' * bool(o.prefill_gpus)}",
)
def test_the_formula_is_near_the_simulator(options):
    found, seen = steady(LLAMA, H100, options).serving, simulate(LLAMA, H100, options)
    assert found.simulated is None
    assert found.expected == estimate(LLAMA, H100, options).serving.expected
    near = (
        0.15 if options.engine == "trtllm" and options.concurrency else 0.1
    )  # its host holds requests for 0.1 s: 13 %
    for name in FIGURES:
        assert getattr(found.expected, name) == pytest.approx(getattr(seen, name).mean, rel=near), name


@pytest.mark.parametrize("running", [8, 32, 128])
def test_the_formula_is_near_the_simulator_where_an_engine_looks_for_requests_every_30_steps(running):
    b200, options = load_hardware("b200"), asked("sglang", 1024, 1024, concurrency=running)
    found, seen = steady(LLAMA, b200, options).serving.expected, simulate(LLAMA, b200, options)
    assert found.ttft_seconds == pytest.approx(seen.ttft_seconds.mean, rel=0.15)
    assert found.tpot_seconds == pytest.approx(seen.tpot_seconds.mean, rel=0.1)


@pytest.mark.parametrize(
    ("chip", "options", "because"),
    [
        (H100, asked("vllm", 1024, 256, rate=20.0, requests=300), SATURATION),
        (H100, asked("sglang", 1024, 256, rate=40.0, requests=300), SATURATION),  # more than is ever answered
        (H100, asked("vllm", 2048, 16, rate=22.0, **APART), SATURATION),
        (H100, asked("vllm", 8192, 128, rate=2.0, requests=100), PROMPTS),
        (SMALL, asked("vllm", 1024, 256, concurrency=40, requests=120), MEMORY),
        (H100, asked("vllm", 2048, 128, concurrency=32, **APART), PROMPTS),
        (H100, asked("sglang", 1024, 128, concurrency=32), PROMPTS),
    ],
)
def test_where_the_formula_is_rough_the_simulator_answers(chip, options, because):
    found, seen = steady(LLAMA, chip, options).serving, simulate(LLAMA, chip, options)
    lengths = (options.prompt, options.output, DRAWN)
    assert found.simulated == (because, seen.requests, *lengths, seen.ttft_seconds.p50)
    for name in FIGURES:
        assert getattr(found.expected, name) == getattr(seen, name).mean, name
    assert found.expected.output_tokens_per_s == seen.output_tokens_per_s
    assert found.running == estimate(LLAMA, chip, options).serving.running


def test_the_load_share_is_what_arrives_over_what_is_answered_at_most():
    """As many as have room answer so many: at twice that rate, twice as many arrive."""
    full = estimate(LLAMA, H100, asked("vllm", 1024, 256, concurrency=10_000)).serving.expected.requests_per_s
    for share in (0.5, 2):
        found = estimate(LLAMA, H100, asked("vllm", 1024, 256, rate=share * full)).serving
        assert found.load_share == pytest.approx(share, rel=0.1)  # a loop's prompts come together, and some again


def test_a_run_that_would_take_long_is_not_made_and_the_answer_says_so():
    options = asked("vllm", 1024, 256, concurrency=2000)
    found = steady(LLAMA, H100, options).serving
    assert found.simulated == (MEMORY, *[None] * 5)
    assert found.expected == estimate(LLAMA, H100, options).serving.expected


def test_a_rate_with_a_bound_on_those_that_run_is_simulated_with_it():
    options = asked("vllm", 1024, 256, rate=20.0, requests=100, concurrency=8, dp=2)
    run = as_run(LLAMA, options)
    assert run == options._replace(concurrency=None, max_num_seqs=4)
    found, seen = steady(LLAMA, H100, options).serving, simulate(LLAMA, H100, run)
    assert found.expected.ttft_seconds == seen.ttft_seconds.mean


def test_lengths_that_nothing_tells_differ_about_their_means_where_the_model_takes_them():
    """From three tenths of the largest to all of it: the mean is 65 % of it."""
    means = Options(prompt=1300, context=1560, output=260, concurrency=4)
    run = as_run(LLAMA, means)
    assert (run.prompt, run.output, run.context) == (2000, 400, None)
    assert run.range_ratio == pytest.approx(0.3)
    few = as_run(LLAMA, means._replace(prompt=3, output=1, context=None))
    assert (few.prompt, few.output) == (4, 1)  # from 2 to 4; of one token none that differ
    long = as_run(LLAMA, means._replace(prompt=120_000, output=300, context=None))
    assert (long.prompt, long.output, long.range_ratio) == (120_000, 300, 1)


def test_python_and_compare_give_the_same_answer_and_the_page_says_what_it_rests_on(cli):
    of = {"engine": "vllm", "prompt": 1024, "output": 32, "rate": 90.0}
    one = llmcost.estimate("llama3.1-8b", "h100", **of).serving
    [entry] = compare([LLAMA], [H100], Options(**of)).entries
    assert one.simulated is not None
    assert entry.estimate.serving == one
    typed = [word for name, value in of.items() for word in (f"--{name}", str(value))]
    page = cli("estimate", "llama3.1-8b", "--hw", "h100", *typed).out
    assert "Expected: 1,000 requests simulated, as a formula is rough here" in page
    assert "more and more wait; TTFT here is of the first 1,000 requests" in page
    [run] = [line.split(": ")[1] for line in page.splitlines() if line.startswith("Other percentiles: llmcost ")]
    seen = json.loads(cli(*shlex.split(run)[1:], "--json").out)
    assert seen["ttft_seconds"]["mean"] == pytest.approx(one.expected.ttft_seconds)
    assert seen["ttft_seconds"]["p50"] == pytest.approx(one.simulated.ttft_p50_seconds)
    beside = cli("compare", "llama3.1-8b", "--hw", "h100", *typed).out
    assert "Requests in flight simulated: llama3.1-8b on h100-sxm under vllm." in beside


def test_a_formula_that_is_rough_says_so_where_it_is_explained(cli):
    """The cache has room for some 380 of 400 requests: a short run is simulated, one of 600 is not."""
    of = ["--hw", "h100", "--engine", "vllm", "--prompt", 1000, "--output", 300]
    explained = ["explain", "llama3-8b", "serving.expected.tpot_seconds", *of]
    note = "note: the formula of expected times is rough for this mix: "
    assert note + "estimate's are of 500 requests simulated" in _said(
        cli, *explained, "--concurrency", 400, "--requests", 500
    )
    assert note + "llmcost simulate runs every request" in _said(cli, *explained, "--concurrency", 600)
    assert "rough" not in _said(cli, *explained, "--concurrency", 20)


def test_a_sweep_says_where_the_formula_of_its_mixes_is_rough(cli):
    of = ["sweep", "llama3-8b", "--hw", "h100"]
    mix = [*of, "--prompt", 1000, "--output", 300]
    beyond = "by a formula, which is rough where {}: llmcost simulate."
    assert beyond.format("load_share is 0.7 or more") in cli(*mix, "--rate", "2,20").out
    assert beyond.format("not all have room for their whole length") in cli(*mix, "--concurrency", "8,400").out
    assert "rough" not in cli(*of, "--batch", "8,400").out


def _said(cli, *typed):
    return " ".join(cli(*typed).err.split())


def test_where_the_longest_of_lengths_that_nobody_asked_for_have_no_room_all_are_alike(cli):
    """Prompts of 36,000 tokens on average: drawn ones have up to 55,384, and the cache has room for about 45,000."""
    asked = ["llama3.1-8b", "--hw", "rtx4090", "--engine", "vllm", "--prompt", 36_000, "--output", 500]
    asked = [*asked, "--concurrency", 3]
    found = json.loads(cli("estimate", *asked, "--json").out)["serving"]
    seen = json.loads(cli("simulate", *asked, "--json").out)
    assert {name: found["simulated"][name] for name in ("because", "requests", "prompt", "range_ratio")} == {
        "because": MEMORY, "requests": 30, "prompt": 36_000, "range_ratio": 1,
    }  # fmt: skip
    assert found["expected"]["ttft_seconds"] == seen["ttft_seconds"]["mean"]
    [typed] = [line for line in cli("estimate", *asked).out.splitlines() if "llmcost simulate" in line]
    assert "--prompt 36000 --output 500" in typed
