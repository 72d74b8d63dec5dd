"""`plan --serve` where the formula of a mix is rough: figures are those that `estimate` gives of the same layout."""

import json

import pytest

import llmcost
from llmcost.parallel.layout import DEGREES
from llmcost.search.serving_runs import RUNS

OF_LLAMA = {"prompt": 1024, "output": 64, "engine": "vllm"}


def estimated(each, hw, **options):
    degrees = {axis: getattr(each.layout, axis) for axis in DEGREES}
    return llmcost.estimate("llama3.1-8b", hw, **options, **degrees, concurrency=each.concurrency).serving


@pytest.mark.parametrize("limits", [{}, {"ttft": 1000}])
def test_each_row_has_the_figures_of_estimate_of_the_same_layout(limits):
    """Two RTX 4090s, whose cache does not hold all in flight at their whole length."""
    found = llmcost.plan_serving("llama3.1-8b", "rtx4090", 2, **OF_LLAMA, **limits).best
    assert any(each.simulated_requests for each in found)
    for each in found:
        mix = estimated(each, "rtx4090", **OF_LLAMA)
        assert each.ttft_seconds == pytest.approx(mix.expected.ttft_seconds)
        assert each.tpot_seconds == pytest.approx(mix.expected.tpot_seconds)
        assert each.tokens_per_s_per_gpu == pytest.approx(mix.expected.output_tokens_per_s_per_gpu)  # none is idle
        assert (each.rough, each.simulated_requests) == (
            (None, None) if mix.simulated is None else (mix.simulated.because, mix.simulated.requests)
        )


def test_where_so_many_miss_a_limit_in_the_simulator_fewer_are_in_flight():
    """SGLang's prompts delay others: of as many as the formula lets in, the first token comes later than it says."""
    asked = {"prompt": 1024, "output": 128, "engine": "sglang"}
    found = llmcost.plan_serving("llama3.1-8b", "h100", 1, **asked, ttft=400).best[0]
    assert found.simulated_requests == 10 * found.concurrency
    assert found.ttft_seconds <= 0.4
    more = estimated(found._replace(concurrency=found.concurrency * 4 // 3), "h100", **asked)
    assert more.expected.ttft_seconds > 0.4


def test_few_layouts_are_simulated_and_how_many_are_listed_changes_none():
    few, many = (
        llmcost.plan_serving("llama3.1-8b", "h100", 4, prompt=1024, output=128, engine="sglang", top=top).best
        for top in (2, 30)
    )
    assert few == many[:2]
    assert 0 < sum(each.simulated_requests is not None for each in many) <= RUNS
    assert sum(each.rough is not None for each in many) > RUNS


def test_what_tokens_cost_follows_the_simulated_rate():
    asked = {**OF_LLAMA, "price": 3.6}
    first = llmcost.plan_serving("llama3.1-8b", "rtx4090", 1, **asked).best[0]
    assert first.simulated_requests
    assert first.price_per_million_tokens == pytest.approx(1000 / first.tokens_per_s_per_gpu)  # 0.1 cent a second
    assert first.joules_per_million_tokens == pytest.approx(450e6 / first.tokens_per_s_per_gpu)  # its TDP is 450 W


def test_the_answer_says_which_rows_are_simulated_and_which_are_by_a_rough_formula(cli):
    asked = ["plan", "llama3.1-8b", "--serve", "--hw", "h100", "--gpus", 4, "--prompt", "1k", "--output", 128]
    told = cli(*asked, "--engine", "sglang").out
    assert "Simulated, as a formula is rough there (prompts take much of the time): " in told
    assert "By a formula that is rough there (prompts take much of the time): " in told
    assert "rough" not in cli(*asked, "--tpot", 12).out
    rows = json.loads(cli(*asked, "--engine", "sglang", "--json").out)["best"]
    assert {each["rough"] for each in rows} == {"prompts"}
    assert 0 < sum(each["simulated_requests"] is not None for each in rows) < len(rows)


def test_a_part_in_the_hosts_memory_is_planned_beside_one_gpu(cli):
    asked = ["plan", "mixtral-8x7b", "--serve", "--hw", "rtx4090", "--output", 32, "--offload", "experts"]
    found = json.loads(cli(*asked, "--gpus", 1, "--host", "epyc-9654", "--json").out)["best"][0]
    mix = llmcost.estimate(
        *("mixtral-8x7b", "rtx4090"), prompt=1024, output=32, concurrency=found["concurrency"], offload="experts",
        host="epyc-9654",
    ).serving  # fmt: skip
    assert found["tokens_per_s_per_gpu"] == pytest.approx(mix.expected.output_tokens_per_s)
    for more, message in (
        (["--gpus", 2, "--host", "epyc-9654"], "--offload experts: it is counted beside one GPU alone, not 2"),
        (["--gpus", 1], "--offload experts: on which CPU? --host epyc-9654"),
    ):
        refused = cli(*asked, *more)
        assert (refused.code, refused.out) == (2, "")
        assert message in refused.err
