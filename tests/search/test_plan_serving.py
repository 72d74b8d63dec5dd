"""Planning to serve: figures are those of `llmcost estimate --concurrency`, for the most requests within the limits."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmcost
from llmcost.parallel.layout import DEGREES, Layout
from llmcost.parallel.rules import broken, shape_of
from llmcost.search.plan_serving import plan_serving, serve, spreads
from llmcost.search.serving_layouts import ServingQuestion
from llmcost.serving.estimate import Options, estimate, workload_of
from llmcost.specs.catalog import load_hardware, load_model

LENGTHS = Options(prompt=512, output=64)


def asked(model="llama3-8b", hardware="h100-sxm", gpus=8, ttft=None, tpot=None, options=LENGTHS):
    spec, chip = load_model(model), load_hardware(hardware)
    return ServingQuestion(spec, chip, gpus, workload_of(spec, chip, options, mix=True), ttft, tpot)


def estimated(question, layout, concurrency):
    """The same layout and requests by the main job."""
    w = question.workload
    degrees = {name: getattr(layout, name) for name in DEGREES} | {"gpus_per_node": layout.gpus_per_node}
    options = Options(prompt=w.prompt, output=w.output, chunk=w.chunk, concurrency=concurrency, **degrees)
    return estimate(question.model, question.hardware, options)


LAYOUTS = [
    ("llama3-8b", Layout()),
    ("llama3-8b", Layout(2, 4, 1, 1)),
    ("mixtral-8x7b", Layout(2, 1, 4, 8)),
    ("llama3-70b", Layout(8, 2, 1, 1)),
]


@pytest.mark.parametrize(("model", "layout"), LAYOUTS)
@pytest.mark.parametrize("share", [1, 24])
@pytest.mark.parametrize("chunk", [None, 256])
def test_figures_are_those_of_the_main_job(model, layout, share, chunk):
    question = asked(model, options=LENGTHS._replace(chunk=chunk))
    found = serve(question, [layout], np.array([[float(share)]]))
    mix = estimated(question, layout, share * layout.dp).serving
    assert found.ttft_seconds[0, 0] == pytest.approx(mix.expected.ttft_seconds)
    assert found.tpot_seconds[0, 0] == pytest.approx(mix.expected.tpot_seconds)
    assert found.tokens_per_s[0, 0] == pytest.approx(mix.expected.output_tokens_per_s)
    assert found.max_concurrency[0, 0] == pytest.approx(mix.max_concurrency)


def test_arrays_of_layouts_are_served_as_one_by_one():
    question = asked("mixtral-8x7b")
    group = [layout for layout in spreads(question)[0] if layout.gpus() > 1]
    share = np.tile([1.0, 3.0, 50.0], (len(group), 1))
    together = serve(question, group, share)
    for row, layout in enumerate(group):
        alone = serve(question, [layout], share[row : row + 1])
        for ours, theirs in zip(together, alone, strict=True):
            assert ours[row] == pytest.approx(theirs[0])


@pytest.mark.parametrize("limits", [{}, {"tpot": 0.02}, {"ttft": 0.05, "tpot": 0.03}])
def test_requests_in_flight_are_the_most_that_keep_every_limit(limits):
    """One more request a rank misses what bounds it, or is served no faster: some would be preempted."""
    question = asked("llama3-70b", gpus=16, **limits)
    for each in plan_serving(question, top=5).best:
        most = question.workload.max_num_seqs
        counts = (each.concurrency, each.concurrency + each.layout.dp)
        here, more = (serve(question, [each.layout], np.array([[n / each.layout.dp]])) for n in counts)

        def kept(served, number):
            return {
                "max_num_seqs": most is None or number <= most * each.layout.dp,  # noqa: B023 - called here
                "memory": bool(served.fits[0, 0]),
                "ttft": question.ttft is None or served.ttft_seconds[0, 0] <= question.ttft,
                "tpot": question.tpot is None or served.tpot_seconds[0, 0] <= question.tpot,
            }

        assert all(kept(here, counts[0]).values())
        if each.bound != "requests" and kept(more, counts[1])[each.bound]:
            assert more.tokens_per_s[0, 0] <= 1.001 * here.tokens_per_s[0, 0]  # of many, not all numbers are tried
        else:
            assert each.bound != "requests" or each.concurrency == 4096 * each.layout.dp


def test_the_best_is_the_best_of_a_loop():
    question = asked("llama3-8b", gpus=2, tpot=0.01)
    best = 0
    for layout in spreads(question)[0]:
        for share in range(1, 120):
            each = serve(question, [layout], np.array([[float(share)]]))
            assert share < 119 or each.tpot_seconds[0, 0] > question.tpot  # the loop is long enough
            if each.fits[0, 0] and each.tpot_seconds[0, 0] <= question.tpot:
                best = max(best, each.tokens_per_s[0, 0] * (2 // layout.gpus()) / 2)
    assert plan_serving(question, top=1).best[0].tokens_per_s_per_gpu == pytest.approx(best)


def test_every_spread_is_legal_and_no_larger_than_the_gpus():
    question = asked("deepseek-v3", "h200", 64)
    legal, illegal = spreads(question)
    assert all(layout.gpus() <= 64 and broken(layout, shape_of(question.model)) is None for layout in legal)
    assert all((layout.tp * layout.dp) % layout.ep == 0 for layout in legal)
    more_than_layers, cut_blocks = illegal  # 61 layers; 18,432 channels in blocks of 128
    assert more_than_layers.rule.startswith("--pp 64 is more")
    assert cut_blocks.rule.startswith("--tp 32 leaves a GPU parts of the 18,432 MLP channels")
    assert broken(Layout(tp=32, dp=2, ep=64), shape_of(question.model, question.workload.weight_dtype)) is not None


@settings(max_examples=15, deadline=None)
@given(tpot=st.floats(0.005, 0.2), looser=st.floats(1, 4), gpus=st.sampled_from([1, 4, 8]))
def test_a_looser_limit_never_serves_fewer(tpot, looser, gpus):
    tight, loose = (plan_serving(asked(gpus=gpus, tpot=each), top=1).best for each in (tpot, tpot * looser))
    assert not tight or loose[0].tokens_per_s_per_gpu >= tight[0].tokens_per_s_per_gpu


def test_what_serves_nobody_is_told_why():
    too_large = plan_serving(asked("llama3-70b", "rtx4090", 1), top=1)
    assert (too_large.best, too_large.unfit) == ([], {"memory": 1})
    assert plan_serving(asked("llama3-8b", gpus=1, tpot=1e-4), top=1).unfit == {"tpot": 1}
    assert plan_serving(asked("llama3-8b", gpus=1, ttft=1e-4), top=1).unfit == {"ttft": 1}


def test_links_that_are_not_known_leave_out_what_uses_them():
    alone, inside = (
        asked(gpus=16)._replace(hardware=load_hardware("h100-sxm")._replace(fabric=None, **gone))
        for gone in ({"interconnect": None}, {})
    )
    alone, node = plan_serving(alone, top=99), plan_serving(inside, top=99)
    assert {each.layout.gpus() for each in alone.best} == {1}
    assert {each.layout.gpus() for each in node.best} == {1, 2, 4, 8}
    assert node.unfit["links"] > 0


@pytest.mark.parametrize("serve", [[], ["--serve"]])
def test_a_degree_that_no_layout_has_is_told_with_the_nearest_ones(cli, serve):
    answer = cli("plan", "llama3-8b", "--hw", "h100", "--gpus", 12, "--tp", 3, *serve)
    assert answer.code == 1
    assert "--tp 3 does not divide the 32 attention heads of llama3-8b; nearest: 2 or 4" in answer.out


# -- the command ------------------------------------------------------------------------------------

SMALL = [
    "plan",
    "llama3-8b",
    "--serve",
    "--hw",
    "h100",
    "--gpus",
    4,
    "--prompt",
    512,
    "--output",
    64,
    "--tpot",
    20,
    "--top",
    3,
]


def test_the_command_shows_the_best_and_what_keeps_it_from_more(cli, snapshot):
    answer = cli(*SMALL)
    assert answer.code == 0
    snapshot("plan_serving.txt", answer.out)


def test_the_document_has_the_table(cli):
    document = json.loads(cli(*SMALL, "--json").out)
    assert document["schema"] == "llmcost.plan-serving/1"
    assert document["tpot_seconds"] == 0.02
    best = document["best"][0]
    assert best["tpot_seconds"] <= 0.02
    rows = cli(*SMALL, "--csv").out.splitlines()
    assert rows[0].startswith("tp,pp,dp,ep,concurrency,replicas,tokens_per_s_per_gpu")
    assert int(rows[1].split(",")[4]) == best["concurrency"]


def test_axes_can_be_held(cli):
    best = json.loads(cli(*SMALL, "--tp", "2,4", "--json").out)["best"]
    assert {each["tp"] for each in best} <= {2, 4}


def test_nobody_served_is_an_answer_and_the_exit_code_1(cli):
    answer = cli("plan", "llama3-70b", "--serve", "--hw", "rtx4090", "--gpus", 1)
    assert answer.code == 1
    assert "1 serve nobody: memory with one request a rank." in answer.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--serve", "--seq", "2k"], "--seq: of training, and --serve plans to serve"),
        (["--serve", "--zero", "3"], "--zero: of training"),
        (["--serve", "--lora-rank", 3], "--lora-rank: of training"),
        (["--tpot", 5], "--tpot: of serving; give --serve too"),
        (["--chunk", 512], "--chunk: of serving"),
        (["--serve", "--chunk", 0], "--chunk 0: at least 1"),
        (["--serve", "--tpot", 0], "--tpot 0: milliseconds above 0"),
        (["--serve", "--ttft", "nan"], "--ttft nan: expected a number"),
        (["--serve", "--tp", "2;4"], "--tp 2;4: expected a number"),
        (["--serve", "--dtype", "fp3"], "--dtype fp3: one of"),
        (["--serve", "--apart", "--hw", "m1-max"], "--apart: no source gives the speed of the links that keys"),
        (["--serve", "--apart", "--output", 1], "--output 1: nothing is decoded; leave --apart away"),
    ],
)
def test_a_question_that_is_none_is_refused(cli, arguments, message):
    chip = [] if "--hw" in arguments else ["--hw", "h100"]
    answer = cli("plan", "llama3-8b", *chip, "--gpus", 8, *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_no_layout_has_more_requests_in_flight_than_its_engine_runs_at_a_time():
    """vLLM 0.6 runs 256: one H100 has room for more of these, eight of them for many more."""
    options = LENGTHS._replace(engine="vllm-0.6")
    best = plan_serving(asked("llama3-8b", gpus=8, options=options), top=5).best
    assert {(each.concurrency, each.bound) for each in best} == {(256, "max_num_seqs")}
    assert all(each.max_concurrency > 256 for each in best)
    fewer = plan_serving(asked("llama3-8b", gpus=8, options=options._replace(max_num_seqs=4)), top=5).best
    assert {each.concurrency for each in fewer} == {4}


def test_how_many_tokens_to_guess_is_found_and_each_is_what_it_is_alone():
    asked = {"gpus": 4, "tpot": 30, "draft": "ngram", "accept": 0.7, "top": 100}
    alone = [llmcost.plan_serving("llama3.1-8b", "h100", **asked, speculate=k).best for k in (1, 4)]
    both = llmcost.plan_serving("llama3.1-8b", "h100", **asked, speculate=[1, 4]).best
    assert sorted(map(str, both)) == sorted(map(str, [*alone[0], *alone[1]]))
    assert both[0].tokens_per_s_per_gpu == max(found[0].tokens_per_s_per_gpu for found in alone)
    assert {each.speculate for each in both} == {1, 4}


def test_prompts_run_apart_in_a_node_whose_links_alone_are_known():
    """No source gives an A800's links to other nodes, which two GPUs of one do not use."""
    found = llmcost.plan_serving("llama3.1-8b", "a800-80gb-sxm", 2, prompt=64, output=32, apart=True).best
    assert any(each.prefill_gpus == 1 for each in found)


def test_one_gpu_cannot_run_prompts_apart(cli):
    refused = cli("plan", "llama3-8b", "--hw", "h100", "--gpus", 1, "--serve", "--apart")
    assert (refused.code, refused.err) == (
        2,
        "llmcost: --apart: splits the GPUs, and --gpus 1 is one; nearest: --gpus 2\n",
    )
