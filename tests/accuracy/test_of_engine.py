"""`accuracy --engine`: which published runs an engine's name keeps, and what a file of one predicts."""

import pytest

from llmcost.accuracy.cases import class_of
from llmcost.accuracy.score import check, chosen
from llmcost.ground.errors import InputError, SpecError, UnknownNameError
from llmcost.specs.catalog import shipped

VLLM = shipped("hardware/engines") / "vllm.yaml"


def runs(engine, source=None):
    return {case.engine for case in chosen(source, None, engine, None)}


def test_a_shipped_engine_keeps_the_runs_that_it_predicts():
    """The runs of published/engines.yaml whose `spec` it is, whatever they call themselves."""
    assert runs("vllm") == {"vllm-v1"}
    assert runs("vllm-0.6") == {"vllm"}
    assert runs("trtllm") == {"trtllm", "tensorrt-llm"}  # the latter are MLPerf's alone
    assert runs("ollama") == {"llama.cpp"}  # by an alias
    assert {case.source.name for case in chosen(None, None, "megatron-core", None)} == {
        "dgxc-benchmarking",
        "famous-runs",
        "llama3-paper",
        "megatron-bridge",
        "megatron-moe-zoo",
    }


def test_what_runs_call_themselves_and_classes_are_known_too():
    assert runs("tensorrt-llm") == {"tensorrt-llm"}  # an alias of trtllm, whose runs these are not but for MLPerf's
    assert {case.settings["engine"] for case in chosen(None, None, "vllm 0.6.3", None)} == {"vllm 0.6.3"}
    assert {class_of(case) for case in chosen(None, None, "eager", None)} == {"eager"}


def test_a_file_predicts_the_runs_of_the_engine_of_its_name(tmp_path):
    slower = tmp_path / "mine.yaml"
    slower.write_text(VLLM.read_text("utf-8").replace("{value: 1.0e-5, ", "{value: 1.0e-3, "), "utf-8")
    cases = [chosen("silicon-2026", "h200", str(engine), None)[:9] for engine in (VLLM, slower)]
    assert [case.name for case in cases[0]] == [case.name for case in cases[1]]
    plain, by_file, by_slower = (check(each) for each in (chosen("silicon-2026", "h200", "vllm", None)[:9], *cases))
    for own, same, late in zip(plain, by_file, by_slower, strict=True):
        assert own.answer == same.answer
        assert late.answer.expected > own.answer.expected  # a millisecond a sequence and step in place of 10 µs


@pytest.mark.parametrize(
    ("engine", "error", "message"),
    [
        ("vllm-0.9", UnknownNameError, "unknown engine 'vllm-0.9'; nearest: vllm"),
        ("ideal", InputError, "no published measurement is of that source, GPU, engine and kind at once"),
        ("nowhere.yaml", SpecError, "nowhere.yaml: no such file"),
    ],
)
def test_an_engine_that_nobody_ran_is_one_message(engine, error, message):
    with pytest.raises(error, match=message):
        chosen(None, None, engine, None)
