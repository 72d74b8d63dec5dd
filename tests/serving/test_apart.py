"""Prompts apart from decode in the steady state: the simulator, which runs every request, is the oracle."""

import pytest

from llmcost.ground.errors import InputError
from llmcost.search.plan_serving import plan_serving
from llmcost.search.question import ask_serving
from llmcost.serving.estimate import estimate, workload_of
from llmcost.serving.launch import launch_of
from llmcost.serving.launch_figures import Asked
from llmcost.serving.options import Options
from llmcost.simulation.run import simulate
from llmcost.specs.catalog import load_engine, load_hardware, load_model

LLAMA, H100 = load_model("llama3.1-8b"), load_hardware("h100")
SPREAD = 0.8  # the least length over the largest, as benchmarks draw them: the mean is 0.9 of the largest
FIGURES = ("ttft_seconds", "tpot_seconds", "latency_seconds")


def steady(**chosen):
    return estimate(LLAMA, H100, Options(engine="vllm", **chosen)).serving


@pytest.mark.parametrize(
    "chosen",
    [
        {"prefill_gpus": 1, "decode_gpus": 1, "rate": 20.0, "prompt": 1000, "output": 100},
        {"prefill_gpus": 2, "decode_gpus": 1, "tp": 1, "rate": 4.0, "prompt": 8000, "output": 100},
        {"prefill_gpus": 1, "decode_gpus": 2, "tp": 1, "concurrency": 64, "prompt": 1000, "output": 100},
        {
            "prefill_gpus": 2,
            "decode_gpus": 2,
            "prefill_tp": 1,
            "tp": 2,
            "concurrency": 12,
            "prompt": 8000,
            "output": 400,
        },
    ],
    ids=["one and one", "two for prompts", "two that decode", "layouts of their own"],
)
def test_figures_are_those_of_the_simulator(chosen):
    drawn = chosen | {
        "prompt": round(chosen["prompt"] * 2 / (1 + SPREAD)),
        "output": round(chosen["output"] * 2 / (1 + SPREAD)),
    }
    requests = 15 * chosen.get("concurrency", 100)
    seen = simulate(LLAMA, H100, Options(engine="vllm", requests=requests, range_ratio=SPREAD, **drawn))
    found = steady(**chosen).expected
    for name in FIGURES:  # of TTFT a loop's figure depends on how few requests queue by chance
        off = 0.15 if name == "ttft_seconds" and "concurrency" in chosen else 0.1
        assert getattr(found, name) == pytest.approx(getattr(seen, name).mean, rel=off), name
    if "concurrency" in chosen:
        assert found.requests_per_s == pytest.approx(seen.requests_per_s, rel=0.1)


def test_no_more_is_answered_than_prompts_are_computed_and_no_more_than_the_limit_allows():
    full = steady(prefill_gpus=1, decode_gpus=3, tp=1, concurrency=256, prompt=8000, output=100)
    assert full.limited_by == "prefill"
    assert full.pools.prefill.busy_share == pytest.approx(1)
    twice = steady(prefill_gpus=2, decode_gpus=3, tp=1, concurrency=256, prompt=8000, output=100)
    assert twice.expected.requests_per_s == pytest.approx(2 * full.expected.requests_per_s, rel=0.02)
    for each in (full, twice):
        assert each.expected.requests_per_s <= each.limit.requests_per_s


def test_tokens_come_as_fast_as_decode_alone_runs():
    """No prompt delays them: beside decode, prompts of 8,000 tokens do."""
    load = {"concurrency": 16, "prompt": 8000, "output": 200}
    apart, beside = steady(prefill_gpus=1, decode_gpus=1, tp=1, **load), steady(dp=2, **load)
    assert apart.expected.tpot_seconds < beside.expected.tpot_seconds
    step = estimate(
        LLAMA, H100, Options(engine="vllm", batch=round(apart.running), prompt=8100, output=1, context=8101)
    )
    assert apart.expected.tpot_seconds == pytest.approx(step.decode.expected.seconds_per_step, rel=0.02)


def test_a_rate_is_answered_and_gpus_of_both_pools_bear_it():
    found = steady(prefill_gpus=1, decode_gpus=2, tp=1, rate=5.0, prompt=1000, output=100)
    assert (found.limited_by, found.expected.requests_per_s) == ("rate", 5.0)
    assert found.expected.output_tokens_per_s_per_gpu == pytest.approx(5 * 100 / 3)
    assert (found.pools.prefill.gpus, found.pools.decode.gpus, found.pools.decode.replicas) == (1, 2, 2)


def test_where_more_prompts_arrive_than_are_computed_ttft_is_without_the_queue_that_never_ends():
    """A prompt fills chunks of its own, so that one replica takes at most TTFT's prompt for each that it answers."""
    found = steady(prefill_gpus=1, decode_gpus=2, tp=1, rate=20.0, prompt=8192, output=100)
    assert found.expected.requests_per_s < 20
    host = 0.01 + 8192 * 5e-6
    assert found.pools.prompt_seconds - host == pytest.approx(1 / found.expected.requests_per_s, rel=0.2)


def test_a_plan_splits_the_gpus_as_estimate_then_answers():
    """The time of a token binds: GPUs that have not a prompt too much to do have a TTFT that hangs on the last one."""
    asked = ask_serving(LLAMA, H100, 8, Options(engine="vllm", prompt=4096, output=256), tpot_ms=10, apart=True)
    best = plan_serving(asked, 1).best[0]
    assert best.prefill_gpus is not None
    at = best.layout
    found = steady(
        prompt=4096,
        output=256,
        concurrency=best.concurrency,
        tp=at.tp,
        pp=at.pp,
        ep=at.ep,
        prefill_gpus=best.prefill_gpus,
        decode_gpus=best.replicas * at.gpus(),
        **{name: getattr(best, name) for name in ("prefill_tp", "prefill_pp", "prefill_ep")},
    )
    assert found.expected.output_tokens_per_s / 8 == pytest.approx(best.tokens_per_s_per_gpu, rel=0.01)
    assert found.expected.ttft_seconds == pytest.approx(best.ttft_seconds, rel=0.02)
    assert found.expected.tpot_seconds == pytest.approx(best.tpot_seconds, rel=0.01)
    beside = plan_serving(asked._replace(apart=False), 1).best[0]
    assert best.tokens_per_s_per_gpu > beside.tokens_per_s_per_gpu


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"prefill_gpus": 1, "rate": 1.0}, "give --decode-gpus too"),
        ({"layerwise": True, "rate": 1.0}, "give --prefill-gpus too"),
        ({"prefill_gpus": 1, "decode_gpus": 1, "requests": 5}, "use llmcost simulate"),
        ({"prefill_gpus": 1, "decode_gpus": 1, "rate": 1.0, "output": 1}, "nothing is decoded"),
        ({"prefill_gpus": 1, "decode_gpus": 1}, "of a mix of requests"),
        ({"prefill_gpus": 1, "decode_gpus": 1, "rate": 1.0, "dp": 2}, "leave --gpus and --dp away"),
        ({"prefill_gpus": 1, "decode_gpus": 3, "rate": 1.0, "tp": 2}, "no multiple of the 2 GPUs of a replica"),
    ],
)
def test_what_makes_no_sense_is_refused(chosen, said):
    with pytest.raises(InputError, match=said):
        steady(**{"prompt": 100, "output": 10} | chosen)


def test_engines_are_started_for_prompts_and_for_decode_or_it_is_said_that_they_cannot_be():
    asked = {"prompt": 1000, "output": 100, "concurrency": 64, "tp": 2, "prefill_gpus": 3, "prefill_tp": 1}
    options = Options(decode_gpus=4, **asked)

    def launch(engine):
        found = estimate(LLAMA, H100, options._replace(engine=engine))
        return launch_of(load_engine(engine), Asked(LLAMA, H100, found.workload, found.memory, "llama3.1-8b"))

    lines = "\n".join(launch("sglang").lines)
    prompts, decode = lines.split("# Decode:")
    assert "3 such servers" in prompts
    assert "--disaggregation-mode prefill" in prompts
    assert "2 such servers" in decode
    assert "--tp-size 2" in decode
    assert "--disaggregation-mode decode" in decode
    assert "--pd-disaggregation" in decode
    assert '"kv_role": "kv_consumer"' in "\n".join(launch("vllm").lines)
    assert "cannot say: what the server does where prompts run apart" in launch("trtllm").missing


def test_each_pool_has_the_chunk_that_its_own_layout_gives_it():
    """SGLang divides 16,384 tokens by the ranks of data-parallel attention: 32 of them decode, prompts run on one."""
    model, chip = load_model("deepseek-v3"), load_hardware("gb200")
    pools = {"prefill_gpus": 4, "prefill_tp": 4, "prefill_ep": 1, "decode_gpus": 32, "tp": 1, "ep": 32}
    asked = Options(engine="sglang", prompt=8192, output=256, concurrency=64, **pools)
    w = workload_of(model, chip, asked)
    assert (w.prefill_chunk, w.chunk) == (16_384, 16_384 // 32)
    assert workload_of(model, chip, asked._replace(chunk=4096)).prefill_chunk == 4096
    told = workload_of(model, chip, asked._replace(prefill_chunk=2048))
    assert (told.prefill_chunk, told.chunk) == (2048, 512)
    with pytest.raises(InputError, match=r"--prefill-chunk 2,?048: it changes nothing alone; give --prefill-gpus too"):
        estimate(model, chip, Options(prefill_chunk=2048, concurrency=4, prompt=64, output=8, tp=8))
