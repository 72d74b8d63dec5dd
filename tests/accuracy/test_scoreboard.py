"""The scoreboard: its arithmetic by hand, its predictions by hand, what it must reach, and the command."""

import json
from functools import cache
from math import exp, log
from pathlib import Path
from statistics import fmean, median

import pytest

from llmcost.accuracy import ask, fit_defaults
from llmcost.accuracy.cases import class_of, load_cases
from llmcost.accuracy.fit_defaults import Distance, fitted, role_of
from llmcost.accuracy.models import spec_of
from llmcost.accuracy.predict import ANSWERS, Answer, answers, fits
from llmcost.accuracy.score import Check, beating, check, explained, fit_calls, group, percentile, worst
from llmcost.machine.defaults import DATA_CENTRE, DEFAULTS, ENGINE, FAMILIES
from llmcost.machine.efficiency import FIGURES, default_for, in_an_engine
from llmcost.parallel.layout import Layout
from llmcost.specs.catalog import load_hardware, load_training_engine, names, shipped
from llmcost.specs.hardware import Figure
from llmcost.training.recipe import Overlap, Recipe
from llmcost.training.shares import training_efficiency
from llmcost.training.step import training_step

CASES = load_cases()
FIRST = CASES[0]


@cache
def checks_of(kind):
    """Every published figure of a kind with its prediction, made by the first test of a process that asks."""
    return check(load_cases(kind))


H200 = shipped("hardware") / "profiles" / "h200.json"
H100 = Path(__file__).parents[2] / "docs" / "profiles" / "h100-sxm.json"


def errors_of(quantity, *sources, role=None):
    found = [
        each for each in checks_of("inference") if each.case.source.name in sources and each.answer.quantity in quantity
    ]
    found = [each.error for each in found if each.error is not None and role in (None, role_of(each.case))]
    assert len(found) > 10
    return found


# -- arithmetic of the scoreboard -------------------------------------------------------------------


def checks(*of):
    return [
        Check(FIRST, Answer(quantity, measured, expected, limit), why)
        for quantity, measured, expected, limit, why in of
    ]


def test_a_time_beats_the_limit_below_it_and_a_rate_above_it():
    below, equal, above, rate, unknown = checks(
        ("seconds", 0.9, 1, 1, ""),
        ("seconds", 1, 1, 1, ""),
        ("seconds", 1.1, 1, 1, ""),
        ("output_tokens_per_s", 1.1, 1, 1, ""),
        ("seconds", 1, 1, None, ""),
    )
    assert beating([below, equal, above, rate, unknown]) == [below, rate]


def test_a_group_by_hand():
    """Ratios 0.5, 1.1, 2: errors 0.5, 0.1, 1; nine tenths of the way from the first to the third is 0.5 + 0.8 · 0.5."""
    members = checks(("s", 2, 1, 1, ""), ("s", 1, 1.1, 2, "because"), ("s", 1, 2, 1.5, ""), ("s", 1, None, None, ""))
    (found,) = group(members, lambda each: (each.answer.quantity,))
    assert found.of == ("s",)
    assert (found.figures, found.predicted, found.beat_limit, found.unexplained) == (4, 3, 2, 1)
    assert (found.median_ratio, found.median_error, found.p90_error) == pytest.approx((1.1, 0.5, 0.9))


@pytest.mark.parametrize("share, value", [(0, 1), (0.5, 2.5), (0.9, 3.7), (1, 4)])
def test_a_percentile_lies_between_neighbours(share, value):
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)


def test_the_worst_are_the_furthest_off_on_either_side():
    twice, third, close = checks(("s", 1, 2, 1, ""), ("s", 3, 1, 1, ""), ("s", 1, 1.1, 1, ""))
    assert worst([close, twice, third], 2) == [third, twice]


# -- predictions ------------------------------------------------------------------------------------


def case_of(source, **settings):
    return next(
        case
        for case in CASES
        if case.source.name == source and all(case.settings[name] == value for name, value in settings.items())
    )


def test_a_training_run_is_one_step_in_its_layout():
    """BLOOM's 1.3B: eight V100s in nodes of four, attention unfused, each with all states but the optimizer's."""
    case = case_of("bigscience-1.3b", tp=1, pp=1, micro_batch=1, gpu="v100-32gb-sxm")
    gpu = load_hardware("v100-32gb-sxm")._replace(fabric=Figure(125 * 10**8, "", ""))
    layout = Layout(dp=8, global_batch=512, gpus_per_node=4, sequence_parallel=False, recompute="full")
    recipe = Recipe("fp16", attention="unfused", loss="cloned", dropout=True, overlap=Overlap(context=0, data=0))
    reached = training_efficiency(gpu, None, recipe, 8, load_training_engine("bigscience"), asked=True)
    step = training_step(spec_of("gpt-1.3b-bigscience"), gpu, layout, recipe, 2048, reached)
    seconds, memory = answers(case)
    assert (seconds.quantity, seconds.measured, seconds.expected, seconds.limit) == (
        "step_seconds",
        29,
        step.seconds.total,
        step.bound.seconds(),
    )
    assert (memory.quantity, memory.expected) == ("memory_bytes", step.memory_bytes())


def test_a_training_run_of_which_too_little_is_known_has_no_prediction():
    sources = {case.source.name for case in CASES if case.source.kind == "training"}
    predicted = {each.case.source.name for each in checks_of("training")}
    assert sources - predicted == {
        "maxtext-v5e", "megatron-sc21",  # no micro-batch
        "mlperf-training-lora", "qwen-finetune",  # adapters
    }  # fmt: skip


def test_nothing_is_expected_below_its_limit():
    for each in [*checks_of("inference"), *checks_of("training")]:
        expected, limit = each.answer.expected, each.answer.limit
        if expected is not None and limit is not None:
            assert expected <= limit * 1.000001 if each.answer.is_rate else expected >= limit * 0.999999, each.case.name


def test_a_figure_is_none_where_its_chip_or_its_lengths_are_not_known():
    assert {each.case.source.name for each in checks_of("inference") if each.answer.expected is None} == {
        "mlperf-inference-4.1",  # GPT-J's lengths, and how many GPUs share a model in two runs
        "mlc-perf-bench",  # llama.cpp with rows of weights on each GPU
    }


def test_every_phase_of_an_inference_case_has_answers_or_is_about_memory():
    phases = {case.settings["phase"] for case in CASES if case.source.kind == "inference"}
    assert phases - {"fit"} == set(ANSWERS)


# -- what it must reach -----------------------------------------------------------------------------


def test_no_measurement_beats_the_limit_unexplained():
    assert {each.case.name for each in beating(check(CASES))} == set(explained())


@pytest.mark.parametrize(
    "source, quantity",
    [
        ("gpt-fast", ("decode_tokens_per_s",)),
        ("fastertransformer", ("latency_seconds",)),
        ("lmdeploy", ("output_tokens_per_s", "token_seconds")),
        ("trtllm-0.6.1", ("output_tokens_per_s", "first_token_seconds")),
        ("mlc-perf-bench", ("decode_tokens_per_s",)),
    ],
)
def test_static_batches_of_optimised_engines_come_within_an_eighth(source, quantity):
    found = [
        each for each in checks_of("inference") if each.case.source.name == source and each.answer.quantity in quantity
    ]
    found = [each for each in found if class_of(each.case) == "optimised" and role_of(each.case) == "scored"]
    assert median(each.error for each in found) <= 0.12


@pytest.mark.parametrize("source", ["trtllm-0.17", "trtllm-1.0-dense", "trtllm-0.14-online"])
def test_throughput_of_optimised_engines_comes_within_a_fifth(source):
    assert median(errors_of(("output_tokens_per_s",), source, role="scored")) <= 0.2


def mlperf(**settings):
    """MLPerf's offline figures of such runs."""
    cases = [
        case for case in CASES if case.source.name == "mlperf-inference-4.1" and case.settings["phase"] == "offline"
    ]
    return check(case for case in cases if all(case.settings[name] == value for name, value in settings.items()))


def test_mlperfs_llama_comes_within_a_fifth_and_its_mixtral_within_a_half():
    """Means of the lengths stand for all of them; kernels are TensorRT-LLM's own, of a later version."""
    llama = mlperf(model="llama2-70b", engine="tensorrt-llm mlperf-4.1")
    assert median(each.error for each in llama if each.error is not None) <= 0.2
    assert max(each.error for each in mlperf(model="mixtral-8x7b")) <= 0.5


def test_mlperf_has_the_limit_alone_where_lengths_or_degrees_are_not_told():
    untold = [*mlperf(model="gpt-j-6b"), *mlperf(model="llama2-70b", gpu="h100-pcie"), *mlperf(gpu="mi300x", gpus=8)]
    assert len(untold) == 16
    assert all(each.answer.expected is None and each.answer.limit > each.answer.measured for each in untold)


def test_memory_comes_within_seven_percent():
    assert median(errors_of(("memory_bytes",), "qwen2.5-speed", "fastertransformer")) <= 0.07


def test_training_steps_that_no_share_was_chosen_on_come_within_a_sixth_and_their_memory_within_an_eighth():
    scored = [each for each in checks_of("training") if role_of(each.case) == "scored"]
    assert median(each.error for each in scored if each.answer.quantity != "memory_bytes") <= 0.15
    assert median(each.error for each in scored if each.answer.quantity == "memory_bytes") <= 0.12


def test_whether_a_case_fits_is_called_right():
    inference, training = fit_calls(CASES, lambda case: (case.source.kind,))
    assert inference.right / inference.cases >= 0.95
    assert training.right / training.cases >= 0.95
    assert inference.out_of_memory_right / inference.out_of_memory >= 0.9
    assert fits(case_of("gpt-fast", oom=True)) is False


# -- defaults ---------------------------------------------------------------------------------------


def offline_by_profile(path, **of):
    """Throughput of optimised engines that queue all requests at once, by a profile of their GPU."""
    found = check([case for case in load_cases("inference") if case.settings["gpu"] == path.stem], str(path))
    found = [each for each in found if class_of(each.case) == "optimised" and each.case.settings["phase"] == "offline"]
    return [
        each
        for each in found
        if each.error is not None and each.case.source.name == of.get("source", each.case.source.name)
    ]


def test_engines_take_longer_than_their_kernels_by_what_their_runs_on_h100s_say(monkeypatch):
    def far(share):
        ask.answered.cache_clear()
        monkeypatch.setattr("llmcost.machine.reached.in_an_engine", lambda *kernels: in_an_engine(*kernels, share))
        return fmean(abs(log(each.answer.ratio)) for each in offline_by_profile(H100, source="trtllm-0.17"))

    assert far(ENGINE.value) < min(far(ENGINE.value - 0.02), far(ENGINE.value + 0.02))
    ask.answered.cache_clear()  # those by another share


def test_what_was_measured_on_a_gpu_says_more_of_it_than_the_defaults_do():
    """79 throughputs of optimised engines on H200s: 6 % off on average by its profile."""
    found = offline_by_profile(H200)
    assert len(found) == 79
    by_profile = fmean(each.error for each in found)
    assert by_profile < 0.065
    same = {each.case.name: each.case for each in found}
    ratios = [each.ratio for case in same.values() for each in answers(case, figures=FIGURES) if each.ratio]
    assert fmean(abs(ratio - 1) for ratio in ratios) > 1.3 * by_profile


def test_the_profile_of_a_sibling_predicts_as_well_as_the_defaults_do():
    """Throughputs on H100s and GH200s, which take the H200's shares: within a point of the defaults' error."""
    cases = [
        case
        for case in load_cases("inference")
        if case.settings["gpu"] in ("h100-sxm", "gh200", "gh200-144gb") and class_of(case) == "optimised"
    ]
    cases = [case for case in cases if case.settings["phase"] in ("offline", "online")]
    pairs = [
        (by_sibling.ratio, by_default.ratio)
        for case in cases
        for by_sibling, by_default in zip(answers(case), answers(case, figures=FIGURES), strict=True)
        if by_default.ratio is not None and by_default.quantity == "output_tokens_per_s"
    ]
    assert len(pairs) > 100
    sibling, default = (fmean(abs(ratio - 1) for ratio in each) for each in zip(*pairs, strict=True))
    assert sibling < default + 0.01


def test_a_profile_of_another_gpu_predicts_nothing(cli):
    shown = cli("accuracy", "--gpu", "a100", "--profile", H200)
    assert (shown.code, shown.out) == (2, "")
    assert "measured on h200, not on a100" in shown.err


def test_every_default_says_what_it_rests_on():
    sources = {case.source.name for case in CASES}
    assert all(default.source for default in DEFAULTS.values())
    for stage in fit_defaults.STAGES:
        of = {case.source.name for case in CASES if stage.cases(case)}
        assert len(of) == 1 and of <= sources
        for name in stage.figures:
            assert DEFAULTS[name].source.startswith(tuple(of)), name


def test_the_committed_defaults_are_what_the_fit_finds():
    for name, value in fitted().items():
        assert float(f"{value:.3g}") == DEFAULTS[name].value, name


def test_the_distance_is_the_mean_over_groups_of_the_mean_over_cases(monkeypatch):
    """Two cases of one source and GPU, off by e^0.2 and e^0.4, one of another by e^0.1, one far off that counts 0.7."""
    ratios = {0: 0.2, 1: -0.4, 2: 0.1, 3: 5}
    gpus = {0: "a40", 1: "a40", 2: "t4", 3: "l4"}
    cases = [FIRST._replace(row=row, settings=FIRST.settings | {"gpu": gpu}) for row, gpu in gpus.items()]

    def answered(case, figures):
        return [Answer("seconds", 1, figures["one"] * exp(ratios[case.row]), None)]

    monkeypatch.setattr(fit_defaults, "answers", answered)
    distance = Distance(cases, FIGURES, ["one"])
    assert distance.at({"one": 1.0}) == pytest.approx((0.3 + 0.1 + 0.7) / 3)
    assert distance.at({"one": exp(0.1)}) == pytest.approx(((0.3 + 0.3) / 2 + 0.2 + 0.7) / 3)


def test_the_fit_plays_what_the_product_answers():
    """A recording of the answer with a figure in it gives what asking with that figure does."""
    cases = [case_of("trtllm-0.6.1", gpu="a100-80gb-sxm", tp=1, phase="request"), case_of("vidur", op="gemm")]
    figures = FIGURES | {"gap.stream": 1e-5, "gemm.compute": 0.6}
    played = Distance(cases, FIGURES, ["gap.stream", "gemm.compute"]).at(figures)
    apart = [fmean(abs(log(each.ratio)) for each in answers(case, figures=figures)) for case in cases]
    assert played == pytest.approx(fmean(apart))


def test_every_gpu_has_defaults_and_those_of_one_family_share_them():
    devices = [load_hardware(name) for name in (*names("hardware"), *names("hardware/cpus"))]
    for device in devices:
        shares = default_for(device).kernels
        assert all(0 < kernel.memory <= 1 for kernel in shares.values())
    assert default_for(load_hardware("a100-80gb-sxm")) == default_for(load_hardware("a100-40gb-sxm"))
    assert default_for(load_hardware("h200"), "fp8", "fp8") != default_for(load_hardware("l40s"), "fp8", "fp8")
    assert set(FAMILIES) | set(DATA_CENTRE) <= {device.architecture for device in devices}


# -- the command ------------------------------------------------------------------------------------


def test_one_source_and_its_worst(cli):
    shown = cli("accuracy", "--source", "gpt-fast", "--worst", 3)
    assert shown.code == 0
    assert "Whether it fits" in shown.out and "No measurement beats our limit." in shown.out
    last = shown.out.split("Furthest off")[1]
    assert last.count("gpt-fast/") == 3
    assert "fastertransformer" not in shown.out


@pytest.mark.parametrize(
    "option, chosen",
    [("gpu", "t4"), ("gpu", "a100-80gb-sxm"), ("source", "lmdeploy"), ("engine", "gpt-fast"), ("class", "llama.cpp")],
)
def test_the_cases_can_be_chosen(cli, option, chosen):
    found = json.loads(cli("accuracy", "--engine" if option == "class" else f"--{option}", chosen, "--json").out)
    assert found["schema"] == "llmcost.accuracy/1"
    assert {row[option] for row in found["figures"]} == {chosen}


def test_the_document_has_every_figure_and_the_groups(cli):
    found = json.loads(cli("accuracy", "--source", "lmdeploy", "--json").out)
    assert sum(each["figures"] for each in found["by_source"]) == len(found["figures"])
    assert [each["case"] for each in found["beating_limit"]] == ["lmdeploy/24"]
    assert found["beating_limit"][0]["why"]


def test_rows_for_a_spreadsheet_and_a_table_for_a_page(cli):
    rows = cli("accuracy", "--source", "gpt-fast", "--csv").out.splitlines()
    assert rows[0].startswith("case,source,engine,class,gpu,gpus,model,quantity,measured,expected,limit")
    assert len(rows) > 30
    assert all(row.startswith("gpt-fast/") for row in rows[1:])
    assert "| source" in cli("accuracy", "--source", "gpt-fast", "--markdown").out


@pytest.mark.parametrize(
    "options, problem",
    [
        ("--source gptfast", "gpt-fast"),
        ("--source nobody", "all of them: llmcost accuracy"),
        ("--kind learning", "one of inference, training, micro"),
        ("--gpu h1000", "h100"),
        ("--gpu t4 --source gpt-fast", "no published measurement"),
        ("--worst -1", "expected a number"),
        ("--json --csv", "--json"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(cli, options, problem):
    shown = cli("accuracy", *options.split())
    assert (shown.code, shown.out) == (2, "")
    assert problem in shown.err


def test_a_measurement_that_beats_the_limit_unexplained_is_an_error(cli, monkeypatch):
    monkeypatch.setattr("llmcost.accuracy.score.explained", dict)
    shown = cli("accuracy", "--source", "lmdeploy")
    assert shown.code == 1
    assert "NOT EXPLAINED" in shown.out
