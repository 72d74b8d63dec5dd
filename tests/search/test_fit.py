"""Which GPUs hold a model: offers are estimates, the table's choice, prices, exit codes."""

import csv
import io
import json

import pytest

from llmcost import Options, estimate, load_hardware, load_model
from llmcost.search.fit import Precision, best, fit, ranked, usual_precisions

H100, L4, LLAMA = load_hardware("h100-sxm"), load_hardware("l4"), load_model("llama3-70b")


def test_an_offer_is_an_estimate():
    (offer,) = fit(
        LLAMA, [H100], Options(batch=4, context=4096), gpus=[4], precisions=[Precision(None, "fp8")], prices={"": 2.0}
    ).offers
    e = estimate(LLAMA, H100, Options(batch=4, context=4096, dtype="fp8", weight_dtype="fp8", tp=4))
    assert (offer.fits, offer.max_batch, offer.max_context) == (e.memory.fits, e.memory.max_batch, e.memory.max_context)
    assert (offer.weights_bytes, offer.usable_bytes) == (e.memory.weights_bytes, e.memory.usable_bytes)
    assert offer.decode_tokens_per_s == e.decode.expected.tokens_per_s
    assert offer.decode_tokens_per_s_per_user == e.decode.expected.tokens_per_s_per_user
    assert offer.prefill_tokens_per_s == e.prefill.expected.tokens_per_s


def test_a_million_tokens_cost_the_hours_that_they_take():
    """4 GPUs at $2 an hour: $8 for 3600 seconds of decode at the largest batch."""
    (offer,) = fit(LLAMA, [H100], gpus=[4], precisions=[Precision(None, "fp8")], prices={"": 2.0}).offers
    full = estimate(LLAMA, H100, Options(batch=offer.max_batch, dtype="fp8", weight_dtype="fp8", tp=4))
    assert full.memory.fits
    assert offer.most_tokens_per_s == full.decode.expected.tokens_per_s
    assert offer.price_per_million_tokens == pytest.approx(8 / 3600 / offer.most_tokens_per_s * 10**6)


def test_a_price_of_one_kind_stands_before_that_of_all():
    offers = fit(
        LLAMA,
        [H100, load_hardware("h200")],
        gpus=[4],
        precisions=[Precision(None, "fp8")],
        prices={"h200": 4.0, "": 1.0},
    ).offers
    assert [offer.price_per_gpu_hour for offer in offers] == [1.0, 4.0]


@pytest.mark.parametrize("basis", ["textbook", "limit", "expected"])
def test_rates_are_of_the_basis_asked_for(basis):
    (offer,) = fit(LLAMA, [H100], gpus=[4], precisions=[Precision(None, "bf16")], basis=basis).offers
    assert offer.decode_tokens_per_s == getattr(estimate(LLAMA, H100, Options(tp=4)).decode, basis).tokens_per_s


def test_what_does_not_fit_has_no_rates():
    (offer,) = fit(LLAMA, [L4], gpus=[1], precisions=[Precision(None, "bf16")], prices={"": 1.0}).offers
    assert not offer.fits
    assert offer.decode_tokens_per_s is offer.most_tokens_per_s is offer.price_per_million_tokens is None


def test_precisions_are_the_models_own_and_smaller_ones():
    assert [each.weight_dtype for each in usual_precisions(LLAMA)] == [None, "fp8", "int4-g128"]
    assert [each.weight_dtype for each in usual_precisions(load_model("deepseek-v3"))] == [None, "fp8", "int4-g128"]
    assert [each.weight_dtype for each in usual_precisions(load_model("gpt-oss-20b"))] == [None, "int4-g128"]


def test_what_estimate_refuses_is_left_out_with_its_reason():
    """12 heads and 12 layers on 13 GPUs; an A100 has no matrix units for fp8."""
    found = fit(load_model("gpt2"), [H100], gpus=[13])
    assert (found.offers, len(found.left_out)) == ((), 3)
    assert found.left_out[0].why.startswith("--gpus 13 is --tp 1 --pp 13; --pp 13 is more than the 12 layers of gpt2")
    found = fit(LLAMA, [H100, load_hardware("a100-80gb-sxm")], gpus=[8], precisions=[Precision("fp8", "fp8")])
    assert [offer.hardware for offer in found.offers] == ["h100-sxm"]
    (left_out,) = found.left_out
    assert left_out[:4] == ("a100-80gb-sxm", 8, "fp8", "fp8")
    assert left_out.why.startswith("--dtype fp8: no source gives NVIDIA A100 80GB SXM4 a peak for it")


HALF = """
name: half
title: Half
version: "1"
url: https://example.com
vendors: [Intel]
launch: {value: graph, source: own}
activations: {value: fp16, source: own}
sources:
  own: {title: "an engine whose kernels take fp16 alone"}
"""


def test_what_stays_in_caches_on_a_chip_without_a_peak_has_no_limit(tmp_path):
    """Gaudi 2 has no fp16: no time of computing bounds a step, and eight of them read GPT-2 from their caches."""
    (tmp_path / "half.yaml").write_text(HALF, "utf-8")
    engine = str(tmp_path / "half.yaml")
    (offer,) = fit(
        load_model("gpt2"), [load_hardware("gaudi2")], Options(engine=engine), (8,), [Precision(None, None)]
    ).offers
    assert offer.fits
    assert estimate("gpt2", "gaudi2", engine=engine, gpus=8).decode.limit.seconds_per_step is None


def test_what_computes_outside_the_matrix_units_is_an_offer_too():
    """fp32 on an RTX 4090 has a rate, of its vector units."""
    chip = load_hardware("rtx4090")
    (offer,) = fit(load_model("gpt2"), [chip], gpus=[1], precisions=[Precision("fp32", None)]).offers
    assert offer.decode_tokens_per_s == estimate(load_model("gpt2"), chip, Options(dtype="fp32")).decode.expected[1]


def test_the_same_types_under_two_names_are_one_offer():
    precisions = [Precision("fp8", None), Precision("fp8", "fp8")]  # weights have the type of computing
    assert len(fit(LLAMA, [H100], gpus=[8], precisions=precisions).offers) == 1


def test_the_table_has_the_fewest_gpus_of_a_kind_at_the_widest_precision():
    offers = best(fit(LLAMA, [H100, L4]).offers)
    assert [(offer.hardware, offer.gpus, offer.weight_dtype) for offer in offers] == [
        ("h100-sxm", 1, "int4-g128"),
        ("l4", 4, "fp8"),
    ]


def test_the_cheapest_comes_first_where_prices_are_known():
    offers = fit(LLAMA, [H100, load_hardware("h200")], prices={"h100-sxm": 10.0, "h200": 0.1}).offers
    prices = [offer.price_per_million_tokens for offer in ranked(offer for offer in offers if offer.fits)]
    assert prices == sorted(prices)
    assert ranked(offers)[0].hardware == "h200"


# -- the command ------------------------------------------------------------------------------------


def test_the_answer_is_a_table_and_exit_code_0_or_1(cli):
    found = cli("fit", "llama3-8b", "--hw", "rtx4090,l4", "--gpus", "1")
    assert (found.code, found.err) == (0, "")
    assert "1 × rtx4090" in found.out
    none = cli("fit", "llama3.1-405b", "--hw", "rtx4090")
    assert (none.code, none.err) == (1, "")
    assert "No GPU asked about holds it." in none.out


def test_the_table_says_its_order_and_what_is_left_out(cli):
    plain = cli("fit", "gpt2", "--hw", "h100,a100", "--gpus", "1,13", "--dtype", "fp8,bf16").out
    assert "In order: the fewest GPUs first, of as many the fastest." in plain
    assert "Left out, 15 of " in plain  # on 13 GPUs all 12: 12 layers; on one A100 the 3 formats in fp8
    assert "In order: the cheapest million output tokens first." in cli("fit", "gpt2", "--hw", "h100", "--price", 2).out


def test_json_and_csv_have_every_offer_whether_it_fits_or_not(cli):
    arguments = ("fit", "llama3-8b", "--hw", "rtx4090", "--hw", "h100", "--price", "h100=2", "--price", 1)
    document = json.loads(cli(*arguments, "--json").out)
    assert (document["schema"], document["model"], document["basis"]) == ("llmcost.fit/1", "llama3-8b", "expected")
    assert len(document["offers"]) == 2 * 4 * 3
    assert {offer["price_per_gpu_hour"] for offer in document["offers"]} == {1, 2}
    header, *rows = csv.reader(io.StringIO(cli(*arguments, "--csv").out))
    assert header == list(document["offers"][0])
    assert len(rows) == len(document["offers"])


def test_without_gpus_all_are_asked(cli):
    offers = json.loads(cli("fit", "llama3-8b", "--json").out)["offers"]
    known = {row["name"] for row in json.loads(cli("hardware", "--json").out)["hardware"]}
    assert {offer["hardware"] for offer in offers} == known


def test_the_page(cli, snapshot):
    snapshot("fit.txt", cli("fit", "llama3-70b", "--hw", "h100,l40s", "--price", "h100=2.5", "--price", "l40s=1").out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--hw", "h1000"], "unknown hardware 'h1000'"),
        (["--gpus", "two"], "--gpus two: expected a number"),
        (["--gpus", "0"], "--gpus 0"),
        (["--gpus", "1,,2"], "--gpus 1,,2: an item of the list is empty"),
        (["--price", "cheap"], "--price cheap: dollars a GPU-hour, from 0 on, as in 2.5 or h100=2.5"),
        (["--price", "h100=-1"], "--price h100=-1"),
        (["--price", "nan"], "--price nan"),
        (["--price", "h1000=1"], "unknown hardware 'h1000'"),
        (["--basis", "hope"], "--basis hope: one of textbook, limit, expected"),
        (["--dtype", "bf16,fp7"], "--dtype fp7: one of"),
        (["--weight-dtype", "int5"], "--weight-dtype int5: one of"),
        (["--context", "0"], "--context 0: at least 1"),
        (["--json", "--csv"], "choose one"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(cli, options, words):
    answer = cli("fit", "llama3-70b", *options)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_a_price_of_a_gpu_that_is_not_asked_about_is_refused(cli):
    for command in ("fit", "compare"):
        answer = cli(command, "llama3-8b", "--hw", "h100", "--price", "h200=3")
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == "llmcost: --price h200=3: h200 is not among the GPUs asked about (--hw)\n"
