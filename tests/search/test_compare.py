"""`llmcost compare`: models and GPUs side by side, in every format, and what is refused."""

import csv
import io
import json

import pytest

from llmcost.search.prices import price_per_million_tokens

PNG, SVG = b"\x89PNG\r\n", b"<svg"


COMPARED = (
    "compare",
    "llama3-8b",
    "mixtral-8x7b",
    "--hw",
    "h100,mi300x",
    "--batch",
    "16",
    "--price",
    "h100=2.5",
    "--price",
    "mi300x=2",
)


def test_the_comparison(cli, snapshot):
    snapshot("compare.txt", cli(*COMPARED).out)


def test_the_comparison_in_markdown(cli, snapshot):
    snapshot("compare.md", cli(*COMPARED, "--markdown").out)


def test_where_the_textbook_is_faster_than_the_limit_it_is_said(cli):
    """16 tokens: their FLOPs take less time than to read the weights, which the rule of prompts leaves out."""
    said = "Textbook faster than the limit, since its rule counts FLOPs or bytes alone: gpt2 on h100-sxm."
    assert cli("compare", "gpt2", "--hw", "h100", "-c", 16).out.splitlines()[-1] == said
    assert "faster than the limit" not in cli("compare", "gpt2", "--hw", "h100").out


def test_a_comparison_holds_whole_estimates(cli):
    entries = json.loads(cli(*COMPARED, "--json").out)["entries"]
    assert [(e["model"]["name"], e["hardware"]["name"]) for e in entries] == [
        (model, chip) for model in ("llama3-8b", "mixtral-8x7b") for chip in ("h100-sxm", "mi300x")
    ]
    alone = json.loads(cli("estimate", "llama3-8b", "--hw", "mi300x", "--batch", "16", "--json").out)
    derived = entries[1].pop("derived")
    assert entries[1] == alone
    rate = alone["decode"]["expected"]["tokens_per_s"]
    assert derived["decode_share_of_limit"] == rate / alone["decode"]["limit"]["tokens_per_s"]
    assert derived["decode_tokens_per_s_per_watt"] == rate / 750  # the MI300X's TDP
    full = json.loads(
        cli("estimate", "llama3-8b", "--hw", "mi300x", "--batch", alone["memory"]["max_batch"], "--json").out
    )
    most = full["decode"]["expected"]["tokens_per_s"]
    assert derived["most_tokens_per_s"] == most
    assert derived["price_per_million_output_tokens"] == pytest.approx(2 / 3600 * 1e6 / most, rel=1e-15)


def test_what_does_not_fit_has_no_cost(cli):
    rows = list(csv.DictReader(io.StringIO(cli(*COMPARED, "--csv").out)))
    assert [(row["memory.fits"], bool(row["derived.price_per_million_output_tokens"])) for row in rows] == [
        ("True", True), ("True", True), ("False", False), ("True", True),  # Mixtral in bf16 is 93 GB, the H100 has 80
    ]  # fmt: skip


def test_dollars_a_million_tokens():
    assert price_per_million_tokens(3.6, 1000) == pytest.approx(
        1
    )  # a million tokens take 1000 s, at a tenth of a cent each
    assert price_per_million_tokens(3.6, None) is None
    assert price_per_million_tokens(None, 1000) is None


def test_four_gpus_cost_four_times_as_much_an_hour(cli):
    (entry,) = json.loads(cli("compare", "llama3-70b", "--hw", "h100", "--tp", 4, "--price", "2.5", "--json").out)[
        "entries"
    ]
    rate, derived = entry["decode"]["expected"]["tokens_per_s"], entry["derived"]
    most = derived["most_tokens_per_s"]
    assert derived["price_per_million_output_tokens"] == pytest.approx(4 * 2.5 / 3600 * 1e6 / most, rel=1e-15)
    assert derived["price_per_million_prompt_tokens"] == pytest.approx(
        4 * 2.5 / 3600 * 1e6 / entry["prefill"]["expected"]["tokens_per_s"], rel=1e-15
    )
    assert derived["decode_tokens_per_s_per_watt"] == pytest.approx(rate / (4 * 700), rel=1e-15)


def test_models_are_compared_at_a_context_that_all_take(cli):
    rows = list(csv.DictReader(io.StringIO(cli("compare", "gpt2", "llama3-8b", "--hw", "4090", "--csv").out)))
    alone = json.loads(
        cli("estimate", "llama3-8b", "--hw", "4090", "--context", "1024", "--json").out
    )  # GPT-2's longest
    assert float(rows[1]["memory.total_bytes"]) == alone["memory"]["total_bytes"]


def test_a_comparison_is_drawn(cli, tmp_path):
    pytest.importorskip("matplotlib")
    assert cli(*COMPARED, "--plot", tmp_path / "chart.png") == (0, "", "")
    assert (tmp_path / "chart.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("llama3-8b", "llama3-8b", "--hw", "h100"), "MODEL: llama3-8b comes twice"),
        (
            ("llama3-8b", "--hw", "h100", "--price", "cheap"),
            "--price cheap: dollars a GPU-hour, from 0 on, as in 2.5 or h100=2.5",
        ),
        (("llama3-8b", "--hw", "a100", "--dtype", "fp8"), "--dtype fp8: no source gives NVIDIA A100"),
        (("gpt2", "llama3-8b", "--hw", "h100", "--context", "8k"), "--context 8192: gpt2 takes 1 to 1,024 positions"),
        (("llama3-8b",), "Missing option '--hw'"),
        (("llama3-8b", "--hw", "h100,"), "an item of the list is empty"),
        (("no-such-model", "--hw", "h100"), "unknown model 'no-such-model'"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(cli, arguments, message):
    answer = cli("compare", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


def test_a_mix_of_requests_stands_in_the_title_and_no_error_beside_what_is_not_known(cli):
    """Four Macs have no link that is known, so nothing is expected of them, and nothing can be off."""
    asked = "compare llama3.1-70b --hw h100,m4-max --gpus 4 --prompt 2k --output 500 --concurrency 64"
    table = cli(*asked.split()).out
    assert table.startswith("At 4 GPUs, batch 1, context 2,548, prompt 2,048, output 500, 64 requests in flight under ")
    rows = [line.split("  ") for line in table.splitlines() if line.startswith("  off by")]
    assert [row[-1].strip() for row in rows] == ["not known", "not known"]
