"""Budgets: what scaling laws call best."""

import json

import pytest

from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_hardware
from llmcost.training.scaling import CORRECTED, LAWS, budget, worth_of


def law(name, flops):
    return next(each for each in budget(flops).laws if each.law == name)


@pytest.mark.parametrize("flops", [1e19, 1e22, 1e24, 1e26])
def test_every_split_spends_the_budget_and_no_more(flops):
    for each in budget(flops).laws:
        assert 6 * each.params * each.tokens == pytest.approx(flops)


@pytest.mark.parametrize("flops", [1e20, 1e24])
def test_the_third_approach_is_where_its_own_loss_is_least(flops):
    best = law("chinchilla-3", flops)
    for factor in (0.5, 0.9, 1.1, 2):
        assert CORRECTED.loss(best.params * factor, best.tokens / factor) > best.loss


def test_the_corrected_fit_asks_for_about_twenty_tokens_a_parameter():
    # Besiroglu et al., arXiv 2404.10102: consistent with the 20 of Chinchilla, 70B parameters on 1.4T tokens
    assert law("chinchilla-3", 6 * 70e9 * 1.4e12).tokens_per_param == pytest.approx(20, rel=0.15)


def test_laws_say_what_their_authors_print():
    # Hoffmann et al., tables 3 and A3; Llama 3, section 3.2.1 and figure 3; DeepSeek LLM, equation 4
    assert law("chinchilla-1", 5.76e23).tokens == pytest.approx(1.5e12)
    assert law("chinchilla-1", 1.21e20).tokens == pytest.approx(20.2e9, rel=0.1)
    assert law("chinchilla-2", 1.20e20).tokens == pytest.approx(20.0e9, rel=0.1)
    llama = law("llama-3", 3.8e25)
    assert llama.tokens == pytest.approx(16.55e12)
    assert llama.params == pytest.approx(402e9, rel=0.06)
    for flops in (1e20, 1e22, 3.8e25):
        assert law("llama-3", flops).tokens == pytest.approx(0.299 * flops**0.537, rel=0.02)  # figure 3
    assert law("deepseek", 1e22).tokens == pytest.approx(5.8316 * 1e22**0.4757)


def test_the_best_split_is_worth_itself_and_every_other_less():
    best = law("chinchilla-3", 1e23)
    itself, small = worth_of(best.params, best.tokens), worth_of(best.params / 10, best.tokens * 10)
    assert itself.least_flops == pytest.approx(1e23, rel=1e-6)
    assert small.least_flops < 0.9e23


def test_hours_and_dollars_become_flops_at_the_peak():
    h100 = load_hardware("h100")
    hours = budget(gpu_hours=1000, hardware=h100, mfu=0.4)
    assert hours.flops == 1000 * 3600 * h100.peak["bf16"].value * 0.4
    assert budget(dollars=2000, price=2, hardware=h100, mfu=0.4).flops == hours.flops


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "one budget, of FLOPS, --gpu-hours, --dollars; given: none"),
        ({"flops": 1e20, "gpu_hours": 3}, "given: FLOPS, --gpu-hours"),
        ({"flops": 0}, "FLOPS 0: above 0"),
        ({"gpu_hours": 3}, "--gpu-hours: needs --hw"),
        ({"dollars": 3, "hardware": load_hardware("h100")}, "--dollars: needs --price"),
    ],
)
def test_a_budget_that_says_too_little_or_too_much_is_refused(asked, says):
    with pytest.raises(InputError, match=says):
        budget(**asked)


def test_every_law_names_its_source_and_the_runs_it_was_fitted_on():
    for each in LAWS:
        assert "arXiv" in each.source
        assert each.least < each.most
    assert law("deepseek", 3e21).stretched == pytest.approx(10)
    assert law("deepseek", 1e16).stretched == pytest.approx(10)  # as far below the least


def test_train_alone_with_a_budget_is_what_the_laws_say_of_it(cli):
    alone, laws = (
        json.loads(cli(*asked, "--json").out) for asked in (("train", "--budget", "1e24"), ("budget", "1e24"))
    )
    assert alone == laws


@pytest.mark.parametrize(
    ("arguments", "of_the_run"),
    [
        (("--budget", "1e24"), lambda run: 6 * run["model"]["params"]["active"] * run["run"]["tokens"] / 1e24),
        # whole steps, with failures and checkpoints
        (("--gpu-hours", "100k"), lambda run: run["with_interruptions"]["gpu_hours"] / 1e5),
        (("--dollars", "100k", "--price", "2"), lambda run: run["with_interruptions"]["dollars"] / 1e5),
    ],
)
def test_a_model_runs_for_as_many_tokens_as_a_budget_buys(cli, arguments, of_the_run):
    run = json.loads(cli("train", "llama3-8b", "--hw", "h100", "--gpus", 8, *arguments, "--json").out)
    assert of_the_run(run) == pytest.approx(1, rel=2e-6)
    assert run["budget"]["worth"]["tokens"] == run["run"]["tokens"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "MODEL: of which model? or --budget 1e24"),
        (("--budget", "1e24", "--tp", 2), "--tp: of the run of a model"),
        (("llama3-8b",), "--hw: on which GPU? this option is required"),
        (("llama3-8b", "--hw", "h100", "--budget", "1e24", "--tokens", "3T"), "--tokens: follow from --budget"),
        (("llama3-8b", "--hw", "h100", "--budget", "1e24", "--gpu-hours", 3), "one budget"),
        (("llama3-8b", "--hw", "h100", "--dollars", 3), "--dollars: needs --price"),
        (("llama3-8b", "--hw", "h100", "--budget", "3"), "--budget 3: less than a step of"),
    ],
)
def test_a_budget_of_a_run_that_says_too_little_or_too_much_is_refused(cli, arguments, says):
    answer = cli("train", *arguments)
    assert (answer.code, says in answer.err) == (2, True), answer.err
