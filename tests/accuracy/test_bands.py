"""The error that an answer states is that of its own kind of case, from published runs that no share was fitted to."""

import json
from functools import cache
from pathlib import Path
from statistics import fmean, median

import pytest

from llmcost import estimate, train
from llmcost.accuracy.bands import NO_TIMES, KindErrors, by_kind, kind_of_check, text, with_nameless
from llmcost.accuracy.cases import class_of, load_cases
from llmcost.accuracy.fit_defaults import role_of
from llmcost.accuracy.score import check
from llmcost.machine import bands
from llmcost.machine.bands import FEWEST, FILE, band_of, trained_on
from llmcost.report.accuracy import summary
from llmcost.report.tables import to_markdown
from llmcost.specs.catalog import shipped

LOAD = {"prompt": 512, "output": 128, "concurrency": 16, "engine": "optimised"}
TYPED = [word for name, value in LOAD.items() for word in (f"--{name}", value)]


@cache
def checks():
    """Every published figure with its prediction, made once a process and by the first test that asks."""
    return check(load_cases())


@cache
def unnamed():
    """The same where optimised engines are asked about without a name."""
    return check(case._replace(nameless=class_of(case) == "optimised") for case in load_cases())


def errors(where):
    """Those of the scored figures that a rule picks, of optimised engines asked about without a name."""
    found = [each for each in unnamed() if each.error is not None and role_of(each.case) == "scored" and where(each)]
    return [each.error for each in found]


def of(each, **settings):
    return all(each.case.settings[name] == value for name, value in settings.items())


def test_the_committed_bands_are_what_the_scoreboard_says(request):
    """Made by `python -m llmcost.accuracy.bands`; `pytest --update-snapshots` writes them too."""
    if request.config.getoption("--update-snapshots"):
        FILE.write_text(text(), encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text()


PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "accuracy.md"


def test_the_page_begins_with_the_errors_of_each_engine(request):
    """`pytest --update-snapshots` writes them."""
    table = summary(by_kind(with_nameless(checks())))
    rows = "".join(line + "\n" for line in to_markdown([table]).splitlines() if line.startswith("|"))
    text = PAGE.read_text("utf-8")
    before, rest = text.split("<!-- summary -->\n")
    _, after = rest.split("<!-- end of summary -->\n")
    shown = f"{before}<!-- summary -->\n{rows}<!-- end of summary -->\n{after}"
    if request.config.getoption("--update-snapshots"):
        PAGE.write_text(shown, "utf-8")
    assert text == shown or request.config.getoption("--update-snapshots")


def test_the_summary_weighs_kinds_by_their_figures_and_leaves_out_those_of_too_few():
    def kind(family, models, phase, figures, error):
        return KindErrors(("vLLM", "vllm", family, models, phase), figures, error, error, 1)

    table = summary(
        [
            kind("Hopper", "dense", "tpot", 30, 0.06),
            kind("Hopper", "experts", "decode", 10, 0.10),  # a token's time too: (30 · 6 % + 10 · 10 %) / 40 = 7 %
            kind("B200", "dense", "tpot", FEWEST, 0.05),
            kind("Ada", "dense", "tpot", FEWEST - 1, 0.01),
            kind("A100", "dense", "throughput", 9, 0.2),
        ]
    )
    assert table.rows == [("vllm", "B200 5%, Hopper 7%", "–", "–", "A100 20%")]


# Each kind as a rule on the scoreboard's own rows, written apart from the program's.
KINDS = [
    (
        "experts on B200s under load: Qwen3 30B and 235B on TensorRT-LLM 1.0",
        ("qwen3-30b-a3b", "gb200", LOAD, "throughput"),
        lambda each: (
            each.case.source.name == "trtllm-1.0-qwen3-moe"
            and each.case.settings["gpu"] in ("b200", "gb200", "b300", "gb300")
        ),
    ),
    (
        "dense models on Ada, decode: MLC and ExLlamaV2 on RTX 4090s, static batches on L40Ss",
        ("llama3-8b", "rtx4090", {}, "decode"),
        lambda each: (
            each.case.settings["gpu"] in ("rtx4090", "l40s")
            and class_of(each.case) == "optimised"
            and each.case.settings["phase"] in ("decode", "request")
        ),
    ),
    (
        "dense models on Hopper, TTFT under load",
        ("llama3-8b", "h100", LOAD, "ttft"),
        lambda each: each.case.source.name == "trtllm-0.14-online" and each.answer.quantity == "first_token_seconds",
    ),
    (
        "experts on A100s, decode: gpt-fast's Mixtral",
        ("mixtral-8x7b", "a100", {}, "decode"),
        lambda each: each.case.source.name == "gpt-fast" and of(each, model="mixtral-8x7b"),
    ),
]


@pytest.mark.parametrize(("asked", "rule"), [each[1:] for each in KINDS], ids=[each[0] for each in KINDS])
def test_an_answer_states_the_mean_and_the_median_of_its_kind(asked, rule):
    model, chip, options, phase = asked
    band, found = getattr(estimate(model, chip, **options).accuracy, phase), errors(rule)
    assert (band.figures, band.mean_error, band.median_error) == (
        len(found),
        round(fmean(found), 2),
        round(median(found), 2),
    )


def test_only_rows_that_no_share_was_fitted_to_count():
    assert {role_of(each.case) for each in checks()} == {"scored", "fitted"}
    of_fitted = [each for each in checks() if role_of(each.case) == "fitted"]
    assert by_kind(of_fitted) == []
    # The share of kernels in an engine was chosen on TensorRT-LLM 0.17's runs on H100s.
    assert {
        role_of(each.case) for each in checks() if each.case.source.name == "trtllm-0.17" and of(each, gpu="h100-sxm")
    } == {"fitted"}


def test_a_measurement_in_several_units_counts_once_and_a_rate_that_is_given_not_at_all():
    """Of a run at a rate that the GPUs keep up with, the throughput is that rate: a prediction of it says nothing."""
    online = [each for each in checks() if each.case.source.name == "trtllm-0.14-online"]
    kinds = {(each.case.name, each.answer.quantity): kind_of_check(each) for each in online}
    for (_, quantity), kind in kinds.items():
        assert quantity not in ("requests_per_s", "total_tokens_per_s") or kind is None
    throughputs = [kind for (_, quantity), kind in kinds.items() if quantity == "output_tokens_per_s"]
    assert None in throughputs and len({*throughputs}) == 2


def test_the_errors_of_json_are_those_of_the_kind(cli):
    found = json.loads(cli("estimate", "llama3-8b", "--hw", "h100", *TYPED, "--json").out)
    for figure, kind in (("prefill", "prefill"), ("decode", "decode"), ("serving", "throughput")):
        assert found[figure]["expected"]["error"] == found["accuracy"][kind]["mean_error"] is not None
        assert found[figure]["expected"]["basis"].startswith("profile h200")
    assert found["training"]["expected"]["error"] is None  # of these sums of kernels no run was predicted
    assert found["accuracy"]["prefill"]["of"] == "dense models on Hopper"


def test_the_screen_has_the_error_beside_the_figure_and_says_of_what_it_is(cli):
    shown = cli("estimate", "llama3-8b", "--hw", "h100", *TYPED).out
    band = estimate("llama3-8b", "h100", **LOAD).accuracy
    rows = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert rows["Prefill"].endswith(f"{band.prefill.mean_error:.0%}")
    assert rows["Output"].endswith(f"{band.throughput.mean_error:.0%}")
    assert rows["First token (TTFT)"].endswith(f"{band.ttft.mean_error:.0%}")
    assert "error     optimised engines' published runs of dense models on Hopper that no share was fitted to:" in shown
    errors_of_ttft = f"{band.ttft.mean_error:.0%} on average, {band.ttft.median_error:.0%} in the median"
    assert f"TTFT        {errors_of_ttft}, 30 figures of one source" in shown


def test_too_few_figures_and_none_are_said(cli):
    """Two figures of decode were published on an MI210, none of decode on an MI300X."""
    shown = cli("estimate", "llama3-8b", "--hw", "mi210").out
    assert "decode      not known: 2 figures are too few to say" in shown
    assert "decode      not known: no such figure was published" in cli("estimate", "llama3-8b", "--hw", "mi300x").out
    assert estimate("llama3-8b", "mi210").decode.expected.error is None
    kind = ("defaults", "optimised", "CDNA 2", "dense", "decode")
    assert band_of(kind, FEWEST - 1, 0.1, 0.1, 1)[:3] == (None, None, FEWEST - 1)
    assert band_of(kind, FEWEST, 0.1, 0.2, 1)[:3] == (0.1, 0.2, FEWEST)


def test_a_profile_of_ones_own_has_no_published_runs():
    path = shipped("hardware") / "profiles" / "h200.json"
    by_own = estimate("llama3-8b", "h200", profile=str(path))
    assert by_own.decode.expected.seconds_per_step == estimate("llama3-8b", "h200").decode.expected.seconds_per_step
    assert by_own.decode.expected.error is None
    assert by_own.accuracy.decode == (None, None, 0, 0, "")


@pytest.mark.parametrize(
    ("gpus", "node", "words"),
    [
        (1, 8, "trained on one GPU"),
        (2, 8, "trained in one node"),
        (8, 8, "trained in one node"),
        (16, 8, "trained on many nodes"),
    ],
)
def test_training_is_told_apart_by_where_it_runs(gpus, node, words):
    assert trained_on(gpus, node) == words


def test_training_states_the_error_of_such_runs_and_the_days_that_follow():
    dense = train("llama3-8b", "a100", gpus=64, seq=2048)
    found = errors(
        lambda each: (
            each.case.source.kind == "training"
            and each.answer.quantity not in NO_TIMES
            and each.case.settings["gpu"] in ("a100-80gb-sxm", "a100-40gb-sxm", "a100-80gb-pcie", "a800-80gb-sxm")
            and each.case.settings["gpus"] > 8
        )
    )
    assert dense.accuracy[:3] == (round(fmean(found), 2), round(median(found), 2), len(found))
    assert dense.accuracy.sources == 4  # BLOOM, InternEvo, Korthikanti 2022, YaFSDP
    assert dense.accuracy.of == "dense models trained on many nodes, A100"
    assert dense.expected.error == dense.accuracy.mean_error
    assert dense.expected.days_high == pytest.approx(dense.days * (1 + dense.expected.error))
    experts = train("deepseek-v3", "h100", gpus=2048, seq=4096)
    assert (experts.accuracy.of, experts.accuracy.sources) == ("models with experts trained on many nodes, Hopper", 3)
    assert experts.expected.days_low == pytest.approx(experts.days * (1 - experts.expected.error))
    inside = train("qwen3-30b-a3b", "h100", gpus=8, seq=4096)  # of experts in one node of Hoppers nothing was published
    assert (inside.expected.error, inside.expected.days_low, inside.accuracy.figures) == (None, None, 0)
    adapters = train("llama3-8b", "h100", gpus=8, lora_rank=16)  # of which no source tells enough for a prediction
    assert adapters.accuracy == (None, None, 0, 0, "")


def test_what_a_profile_measured_of_whole_passes_stands_in_where_nothing_was_published():
    one = train("llama3-8b", "h200", gpus=1)
    assert 0 < one.expected.error < 0.2
    assert one.accuracy.of == "whole passes that the profile's fit never saw"


def test_the_bands_are_read_when_a_gpu_is_asked_about_and_are_a_small_file(monkeypatch, tmp_path):
    bands._known.cache_clear()
    monkeypatch.setattr(bands, "FILE", tmp_path / "none.json")
    assert estimate("gpt2").hardware is None
    with pytest.raises(FileNotFoundError):
        estimate("gpt2", "t4", batch=17)
    assert FILE.stat().st_size < 20_000
