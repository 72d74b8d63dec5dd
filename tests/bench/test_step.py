"""Whole passes of small models on the CPU."""

import pytest
from bench_setup import EXPERTS, TINY

from llmcost.bench.kernels import kind_of
from llmcost.bench.step import Chain, cases_of, executions, pass_of
from llmcost.bench.suites import StepPoint
from llmcost.specs.catalog import load_model
from llmcost.specs.profile import load_profile


@pytest.mark.parametrize("text", [TINY, EXPERTS], ids=["dense", "experts"])
@pytest.mark.parametrize("phase", ["decode", "prefill", "train"])
def test_a_models_operators_and_a_whole_pass_are_timed(text, phase, cli, tmp_path):
    (tmp_path / "tiny.yaml").write_text(text, "utf-8")
    answer = cli(
        "bench",
        tmp_path / "tiny.yaml",
        "--device",
        "cpu",
        "--phase",
        phase,
        "-b",
        2,
        "-c",
        16,
        "-o",
        tmp_path / "p.json",
    )
    assert answer.code == 0, answer.out
    (step,) = load_profile(tmp_path / "p.json").steps
    assert (step.status, step.layers, step.batch, step.tokens) == ("ok", 2, 2, 16)
    assert step.operators_us > 0
    lines = answer.out.splitlines()
    for op in cases_of(
        pass_of(load_model(str(tmp_path / "tiny.yaml")), StepPoint("tiny", phase, 2, 16, "fp32"), 10**9), "fp32"
    ):
        assert any(line.startswith(op[0].name) for line in lines)
    assert any(line.startswith("whole pass") for line in lines)


def test_a_pass_runs_every_operator_as_often_as_it_counts_and_reaches_every_weight(bench, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY, "utf-8")
    run = pass_of(load_model(str(tmp_path / "tiny.yaml")), StepPoint("tiny", "train", 1, 8, "fp32"), 10**9)
    names = [op.name for op in executions(run.ops)]
    assert len(names) == sum(op.count for op in run.ops)
    assert names.count("qkv_proj") == 2
    assert names[0] == "token_embedding"
    assert names[-1] == "lm_head"
    chain = Chain(run, "fp32", bench, lambda case: next(iter(kind_of(case.op).ways(case, bench.device))))
    gradients = chain()
    weights = [each for link in chain.links for each in link.cold]
    assert len(gradients) == len(weights)
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients), (
        "a kernel's output went nowhere"
    )


def test_layers_are_left_out_where_memory_is_short(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY, "utf-8")
    model = load_model(str(tmp_path / "tiny.yaml"))._replace()
    whole = pass_of(model, StepPoint("tiny", "decode", 1, 16, "fp32"), 10**9)
    assert (whole.layers, whole.of_layers) == (2, 2)
    short = pass_of(
        model, StepPoint("tiny", "decode", 1, 16, "fp32"), 260_000
    )  # embedding and head take 66 kB, a layer 127 kB
    assert (short.layers, short.of_layers) == (1, 2)
    assert {op.count for op in short.ops} == {1}
