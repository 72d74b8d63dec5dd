"""Experts spread over GPUs and nodes, routing that may be chosen, batches that ranks do not divide evenly."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost import Options, estimate, load_hardware, load_model
from llmcost.ground.errors import InputError
from llmcost.search.plan_serving import plan_serving
from llmcost.search.question import ask_serving

DEEPSEEK, MIXTRAL, LLAMA = (load_model(name) for name in ("deepseek-v3", "mixtral-8x7b", "llama3-8b"))
H100, H200 = load_hardware("h100-sxm"), load_hardware("h200")
LAWS = ("uniform", "balanced", "power-law:1.01")


@pytest.mark.parametrize(("prompt", "published"), [(1024, 57_674), (2048, 54_543), (4096, 50_302)])
def test_prompts_of_deepseek_v3_over_four_nodes_are_as_fast_as_published(prompt, published):
    """SGLang, EP 32 on 4 nodes of H100s with 400 Gb/s a GPU, 16,384 tokens a GPU: input tokens a second of a node
    (lmsys.org/blog/2025-05-05-large-scale-ep). The limit lies above, expected within a tenth.
    """
    options = Options(ep=32, prompt=prompt, context=prompt, batch=32 * 16_384 // prompt, dtype="fp8")
    found = estimate(DEEPSEEK, H100, options).prefill
    assert found.limit.tokens_per_s / 4 > published
    assert found.expected.tokens_per_s / 4 == pytest.approx(published, rel=0.1)


def test_experts_over_two_nodes_cost_little_beside_one():
    """Half of a token's experts are a node away, yet at EP 16 a GPU holds half the experts and has more room."""
    options = Options(dtype="fp8")
    found = plan_serving(ask_serving(DEEPSEEK, H200, 16, options, {"tp": (1,)}), top=10).best
    per_gpu = {each.layout.ep: each.tokens_per_s_per_gpu for each in found}
    assert 0.8 < per_gpu[16] / per_gpu[8] < 1.25


@pytest.mark.parametrize("model", [MIXTRAL, DEEPSEEK], ids=lambda model: model.name)
@pytest.mark.parametrize("ep", [1, 8])
def test_the_limit_knows_no_routing(model, ep):
    """It holds for tokens that all want the same experts, whatever the law that counts and expected times take."""
    found = [estimate(model, H200, Options(batch=64, prompt=512, output=64, ep=ep, routing=law)) for law in LAWS]
    for phase in ("prefill", "decode", "request"):
        limits = [getattr(each, phase).limit for each in found]
        assert [tuple(each) for each in limits] == [pytest.approx(tuple(limits[0]))] * 3


def test_the_least_that_a_step_reads_of_experts_is_those_of_one_token():
    """Mixtral, 64 sequences: 2 of 8 experts a layer, three matrices of 4096 · 14336 in bf16; a step touches all 8."""
    found = estimate(MIXTRAL, H200, Options(batch=64, context=1024))
    expert = 3 * 4096 * 14_336 * 2
    least = found.traffic.decode.total_bytes - 32 * (8 * (1 - (3 / 4) ** 64) - 2) * expert
    assert found.decode.bound.memory_seconds == pytest.approx(least / 4.8e12, rel=1e-3)


def test_a_steeper_law_touches_fewer_experts_and_fills_the_busiest_gpu_more():
    """Decode reads fewer weights, prompts wait for the GPU that most tokens go to."""
    asked = Options(batch=512, prompt=1024, context=1024, ep=32, dtype="fp8")
    found = {law: estimate(DEEPSEEK, H100, asked._replace(routing=law)) for law in LAWS}
    read = {law: each.traffic.decode.weight_bytes for law, each in found.items()}
    assert read["power-law:1.01"] < read["uniform"] < read["balanced"]
    speed = {law: each.prefill.expected.tokens_per_s for law, each in found.items()}
    assert speed["power-law:1.01"] < 0.8 * speed["uniform"]
    assert speed["uniform"] < speed["balanced"]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([DEEPSEEK, MIXTRAL, load_model("qwen3-30b-a3b")]),
    st.sampled_from([H100, H200, load_hardware("l40s")]),
    st.sampled_from([(1, 1, 8), (1, 2, 2), (2, 4, 8), (4, 2, 4), (8, 1, 8), (1, 8, 4), (2, 8, 8)]),
    st.integers(1, 700),
    st.sampled_from(LAWS),
    st.sampled_from([2, 8]),
)
def test_the_limit_is_never_slower_than_expected_however_experts_are_spread(model, gpu, degrees, batch, law, node):
    tp, dp, ep = degrees
    options = Options(
        batch=batch, prompt=300, output=20, tp=tp, dp=dp if tp * dp >= ep else ep // tp, ep=ep, routing=law,
        gpus_per_node=node, concurrency=batch,
    )  # fmt: skip
    if gpu.fabric is None:
        options = options._replace(gpus_per_node=64)
    found = estimate(model, gpu, options)
    for phase in (found.prefill, found.decode):
        assert phase.limit.tokens_per_s >= phase.expected.tokens_per_s * (1 - 1e-9)
    assert found.serving.limit.output_tokens_per_s >= found.serving.expected.output_tokens_per_s * (1 - 1e-9)


@pytest.mark.parametrize("ep", [1, 8])
def test_one_sequence_more_than_ranks_slows_no_limit_down(ep):
    model = MIXTRAL if ep > 1 else LLAMA
    found = [estimate(model, H100, Options(dp=8, ep=ep, batch=b, prompt=1024, output=64)) for b in range(7, 18)]
    for phase in ("prefill", "decode", "request"):
        rates = [getattr(each, phase).limit[-1 if phase == "request" else 1] for each in found]
        assert all(less <= more * (1 + 1e-9) for less, more in pairwise(rates))


def test_replicas_that_share_no_experts_go_on_alone():
    """9 sequences on 8 ranks: one has two, and takes longer; seven have one and do not wait for it."""
    nine, eight, two, one = (
        estimate(LLAMA, H100, Options(dp=dp, batch=b, prompt=1024, output=64))
        for dp, b in ((8, 9), (8, 8), (1, 2), (1, 1))
    )
    for phase in ("prefill", "decode"):
        of_two, of_one = (getattr(each, phase).expected.tokens_per_s for each in (two, one))
        assert getattr(nine, phase).expected.tokens_per_s == pytest.approx(of_two + 7 * of_one)
        assert getattr(eight, phase).expected.tokens_per_s == pytest.approx(8 * of_one)
    whole = nine.request.expected.output_tokens_per_s
    assert whole == pytest.approx(
        two.request.expected.output_tokens_per_s + 7 * one.request.expected.output_tokens_per_s
    )


def test_requests_that_ranks_do_not_divide_run_no_slower_than_fewer():
    for model, ep in ((LLAMA, 1), (MIXTRAL, 8)):
        mixes = [
            estimate(model, H100, Options(dp=8, ep=ep, prompt=1024, output=64, concurrency=n)) for n in range(7, 18)
        ]
        for basis in ("limit", "expected"):
            rates = [getattr(each.serving, basis).output_tokens_per_s for each in mixes]
            assert all(less <= more * (1 + 1e-9) for less, more in pairwise(rates))


@pytest.mark.parametrize(
    ("degrees", "says"),
    [
        ({"ep": 3}, "--ep 3 does not divide the 8 experts of mixtral-8x7b; nearest: 2 or 4"),
        ({"ep": 16}, "--ep 16 does not divide the 8 experts of mixtral-8x7b; nearest: 8"),
        ({"ep": 4, "dp": 6}, "--ep 4 does not divide the 6 GPUs of a pipeline stage; nearest: 3 or 6"),
        ({"ep": 2, "tp": 4, "dp": 1}, None),
        ({"ep": 2, "tp": 8, "dp": 3}, "--ep 2 with --tp 8 does not divide the 24 GPUs of a pipeline stage"),
    ],
)
def test_experts_that_gpus_do_not_share_evenly_are_refused(degrees, says):
    options = Options(batch=8, prompt=128, **degrees)
    if says is None:
        assert estimate(MIXTRAL, H200, options).prefill.expected.tokens_per_s > 0
        return
    with pytest.raises(InputError, match=says):
        estimate(MIXTRAL, H200, options)


@pytest.mark.parametrize(
    "command",
    [
        ["estimate", "qwen3-30b-a3b", "--hw", "h100"],
        ["ops", "qwen3-30b-a3b", "--hw", "h100", "-b", "64", "-c", "1024"],
        ["fit", "qwen3-30b-a3b", "--hw", "h100"],
        ["compare", "qwen3-30b-a3b", "--hw", "h100", "-b", "64"],
        ["sweep", "qwen3-30b-a3b", "--hw", "h100", "--batch", "64"],
        ["explain", "qwen3-30b-a3b", "decode.expected.seconds_per_step", "--hw", "h100", "-b", "64"],
        ["plan", "qwen3-30b-a3b", "--serve", "--hw", "h100", "--gpus", "1"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_that_times_a_server_takes_a_law_of_routing(cli, command):
    uniform, few = (cli(*command, "--routing", law, "--json") for law in ("uniform", "power_law_1.01"))
    assert uniform.code == few.code == 0
    if command[0] != "sweep":  # which has a column for the law
        assert json.loads(uniform.out) == json.loads(cli(*command, "--json").out)
    if command[0] != "fit":
        assert json.loads(uniform.out) != json.loads(few.out)
    refused = cli(*command, "--routing", "zipf")
    assert refused.code == 2
    assert "--routing zipf: none of uniform, balanced, or power-law:A" in refused.err


def test_the_law_stands_in_the_document(cli):
    out = cli("estimate", "mixtral-8x7b", "--hw", "h200", "--routing", "Power_Law_1.01", "--json").out
    assert json.loads(out)["workload"]["routing"] == "power-law:1.01"
