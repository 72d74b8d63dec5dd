"""Training by shares that were chosen without a group, and what moves a step beside the shares."""

from statistics import fmean

import pytest

from llmcost.accuracy.cases import file_of, load_cases
from llmcost.accuracy.fit_defaults import left_out as of_engine
from llmcost.accuracy.left_out import check_group, left_out
from llmcost.accuracy.predict import answers
from llmcost.ground.errors import InputError
from llmcost.machine.training_shares import OTHERS, TORCH
from llmcost.model.operators import Collective
from llmcost.training.communication import ring_seconds


def test_a_generation_that_nobody_else_measured_falls_back_on_others():
    (found,) = left_out("source", {f"bigscience-1.3b/{row}" for row in range(1, 28)})
    assert found.shares == {("torch", "Volta"): OTHERS}
    assert found.speed < 1  # OTHERS is slower than what V100s reached
    assert len(found.errors) == len(found.shipped) == 23


def test_a100_runs_predict_torchtune_about_as_well_without_it():
    (found,) = left_out("source", {f"torchtune/{row}" for row in range(10, 15)})
    assert found.shares["torch", "Ampere"].products == pytest.approx(TORCH["Ampere"].products, rel=0.05)
    assert max(found.errors) < 0.1


def test_a_kind_of_group_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="--leave-out model: one of source, engine, gpu"):
        check_group("model", [])


def test_leaving_out_says_so_where_no_training_run_is_asked_about():
    with pytest.raises(InputError, match="--leave-out gpu: of training runs"):
        left_out("gpu", {"gpt-fast/1"})


def test_a_ring_hands_on_between_all_but_one_of_its_ranks():
    of = Collective(
        "gather", "mlp", 1, "all_gather", 1, 1, 1024, 1, 8, 2
    )  # 128 nodes of 8: 896 hops inside, 127 between
    assert ring_seconds(of) == pytest.approx(896 * 3.4e-6 + 127 * 9.6e-6)
    assert ring_seconds(of._replace(exchange="all_reduce")) == pytest.approx(2 * ring_seconds(of))
    assert ring_seconds(of._replace(ranks=1)) == 0


@pytest.mark.parametrize("by", ["gpu", "model", "weights"])
def test_an_engines_figures_are_fitted_anew_without_each_group(by):
    """ExLlamaV2's 15 figures of decode: each group's predictions by a fit that had no part of it."""
    groups = of_engine("exllamav2", by)
    cases = [case for case in load_cases("inference") if file_of(case) == "exllamav2"]
    assert {group for _, group in groups} == {case.settings[by] for case in cases}
    assert sum(map(len, groups.values())) == 15
    if by == "gpu":  # without A100s nothing tells their share, and an engine's of all GPUs is taken
        shipped = [each.ratio for case in cases if case.settings[by] == "a100-80gb-pcie" for each in answers(case)]
        assert fmean(groups["decode", "a100-80gb-pcie"]) > fmean(shipped) * 1.1
