"""What a GPU's multiprocessors draw together, where its memory could give more."""

import pytest

from llmcost import estimate
from llmcost.accuracy.cases import FOLDER, source_cases
from llmcost.accuracy.predict import answers
from llmcost.machine.loading import PER_SM, loaded_by_sms
from llmcost.model.card import params_of
from llmcost.specs.catalog import load_hardware, load_model


def test_an_h20_has_the_memory_of_an_h200_and_too_few_multiprocessors_for_it():
    """78 of them at 36.5 GB/s are 2.85 of its 4.0 TB/s."""
    assert PER_SM["Hopper"].value == 36.5e9
    assert loaded_by_sms(load_hardware("h20")) == pytest.approx(78 * 36.5 / 4000)


@pytest.mark.parametrize("gpu", ["h100-sxm", "h100-pcie", "h200", "h800-sxm", "a100-80gb-sxm", "b200", "mi300x"])
def test_memory_binds_where_multiprocessors_are_many_or_nothing_was_measured(gpu):
    assert loaded_by_sms(load_hardware(gpu)) == 1


@pytest.mark.parametrize("engine", [None, "vllm", "sglang", "trtllm", "vllm-0.6"])
def test_no_engine_decodes_faster_than_an_h20s_multiprocessors_load(engine):
    """At batch 1 all weights but the embedding are read: over 2.85 TB/s, however the engine's kernels are known."""
    found = estimate("llama3-8b", "h20", engine=engine, context=1)
    read = params_of(load_model("llama3-8b")) - 128_256 * 4096
    least = read * 2 / (78 * 36.5e9)
    assert found.decode.expected.seconds_per_step > least
    assert found.decode.limit.seconds_per_step < least  # the limit knows the memory alone


def test_attention_over_a_cache_on_an_h20_is_predicted():
    """InferSim's rows that had no part in the figure: every second one."""
    cases = [case for case in source_cases(FOLDER / "infersim-attention.yaml") if case.settings["gpu"] == "h20"]
    off = sorted(abs(answers(case)[0].ratio - 1) for case in cases if case.row % 2 == 0)
    assert len(off) == 22
    assert off[11] < 0.05
