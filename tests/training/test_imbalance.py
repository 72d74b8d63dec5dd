"""Ranks that have more to do than others, and modules that predict further tokens."""

import pytest

from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.options import Options
from llmcost.training.recipe import PACKED, PRODUCTION, Imbalance, imbalance_of
from llmcost.training.setup import setup_of
from llmcost.training.step import evaluate_step

H100 = load_hardware("h100")
LAYOUT = {"gpus": 8, "tp": 1, "pp": 1, "zero": 1, "recompute": "none", "global_batch": 8, "dtype": "bf16"}


def step(model, **options):
    return evaluate_step(setup_of(load_model(model), H100, Options(**LAYOUT | options), None)[0])


def compute(model, expert=1.0, context=1.0, **options):
    """Seconds of products and attention."""
    return step(model, imbalance=Imbalance(expert, context), **options).seconds.compute


def test_the_fullest_expert_rank_is_waited_for_in_proportion_to_its_tokens():
    once, twice, thrice = (compute("mixtral-8x7b", expert=n, ep=8) for n in (1, 2, 3))
    assert thrice - twice == pytest.approx(twice - once)
    # of the parameters that a token is multiplied with, experts have 11.3 of 12.7 billion
    assert 0.75 * once < twice - once < 0.95 * once


def test_nobody_waits_for_experts_that_every_gpu_has_or_a_model_lacks():
    assert compute("mixtral-8x7b", expert=2, ep=1) == compute("mixtral-8x7b", ep=1)
    assert compute("llama3-8b", expert=2) == compute("llama3-8b")


def test_packed_documents_cost_attention_in_proportion_to_the_sequence():
    def more(seq):
        one, two = (compute("llama3-8b", context=n, seq=seq, cp=8, global_batch=1) for n in (1, 2))
        return two - one

    # twice the tokens, four times the pairs, and twice the excess of each
    assert more(PACKED // 2) / more(PACKED // 4) == pytest.approx(8, rel=0.01)
    # beyond what was measured the excess stays as it is
    assert more(PACKED * 2) / more(PACKED) == pytest.approx(4, rel=0.01)


def test_dropped_tokens_leave_no_rank_fuller_and_what_is_not_named_is_as_in_real_runs():
    at, _ = setup_of(load_model("mixtral-8x7b"), H100, Options(**LAYOUT, ep=8, drop_tokens=True), None)
    assert at.recipe.imbalance == Imbalance(1, PRODUCTION.context)
    assert imbalance_of("expert=2") == Imbalance(2, PRODUCTION.context)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("expert=0.5", "--imbalance expert=0.5: a factor from 1"),
        ("expert=nan", "--imbalance expert=nan: a factor from 1"),
        ("experts=2", "--imbalance experts: one of expert, context"),
        ("expert=2,expert=3", "expert comes twice"),
        ("2", "expected factors such as expert=1.2"),
    ],
)
def test_factors_that_make_no_sense_are_refused(text, says):
    with pytest.raises(InputError, match=says):
        imbalance_of(text)


def test_a_module_that_predicts_a_further_token_is_a_layer_a_projection_and_the_head():
    h, heads, vocabulary, seq = 7168, 128, 129_280, 4096
    attention = h * 1536 + 1536 * heads * 192 + h * 576 + 512 * heads * 256 + heads * 128 * h
    experts = 9 * 3 * h * 2048 + h * 256  # eight of them and the shared one; the router
    pairs = seq * heads * (192 + 128)
    none, one = (step("deepseek-v3", seq=seq, ep=8, mtp_layers=n) for n in (0, 1))
    flops = (one.flops.model - none.flops.model) / one.tokens
    assert flops == pytest.approx(6 * (attention + experts + 2 * h * h + h * vocabulary + pairs))
    assert one.last.peak().logits == none.last.peak().logits  # one head's at a time


def test_deepseek_v3_is_trained_with_the_module_that_it_was_trained_with():
    assert setup_of(load_model("deepseek-v3"), H100, Options(**LAYOUT, ep=8), None)[0].recipe.mtp == 1
    assert setup_of(load_model("mixtral-8x7b"), H100, Options(**LAYOUT, ep=8), None)[0].recipe.mtp == 0
