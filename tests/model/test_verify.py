"""The verifier catches lists of operators that no pass may hand on."""

import pytest

from llmcost.bench.passes import step_operators
from llmcost.model import verify
from llmcost.model.architecture import operators
from llmcost.model.operators import OWN, UNSAID, Collective, Elementwise, Facts, Gemm, Stored
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.verify import WrongListError
from llmcost.parallel.layout import Layout
from llmcost.parallel.split import shard
from llmcost.specs.catalog import load_model
from llmcost.specs.profile import StepRow

BF16 = element_bytes("bf16", "bf16", "bf16")
WHOLE = operators(load_model("llama3-8b"), BF16, Load(1, 64, 64))
GEMM = next(op for op in WHOLE if op.name == "qkv_proj")
SUM = Collective("sum", "mlp", 1, "all_reduce", rows=1, width=8, ranks=2, stride=1, node=8, Bx=2)


def facts(**changes):
    return GEMM._replace(facts=GEMM.facts._replace(**changes))


def test_the_tests_run_verified():
    assert verify.ON
    verify.forward_pass(WHOLE)


@pytest.mark.parametrize(
    ("op", "claim"),
    [
        (GEMM._replace(facts=UNSAID), "must say how GPUs divide it"),
        (facts(reads=""), "must name the tensor"),
        (facts(widths=(4096, 1024)), "widths"),
        (facts(widths=(4096, 1024, 1025)), "widths"),
        (facts(split="heads"), "know how to be divided"),
        (facts(split="table"), "a table is looked up"),
        (facts(role="adapter"), "adapters come with training"),
        (SUM, "no collective"),
    ],
)
def test_a_wrong_operator_is_named_with_the_claim_that_does_not_hold(op, claim):
    with pytest.raises(WrongListError, match=f"{op.name}.*{claim}"):
        verify.forward_pass([*WHOLE, op])


def test_partial_sums_that_nobody_adds_up_are_found():
    share = shard(WHOLE, Layout(tp=2, sequence_parallel=False))
    verify.split_pass(WHOLE, share)
    without = [op for op in share if op.name != "o_proj_all_reduce"]
    with pytest.raises(WrongListError, match=r"o_proj.*added up"):
        verify.split_pass(WHOLE, without)


def test_a_kernel_that_a_split_loses_is_found():
    with pytest.raises(WrongListError, match="the kernels of the whole"):
        verify.split_pass(WHOLE, [op for op in WHOLE if op.name != "activation"])


def test_one_name_for_two_tensors_is_found():
    """down_proj takes i elements a token in and gate_up_proj h: one name for both would count one of them alone."""
    (gate_up,) = [op for op in WHOLE if op.name == "gate_up_proj"]
    (down,) = [op for op in WHOLE if op.name == "down_proj"]
    verify.training_pass([gate_up, down])
    with pytest.raises(WrongListError, match="'input' has"):
        verify.training_pass([gate_up, down._replace(facts=down.facts._replace(reads="input"))])


def test_what_does_not_run_is_not_measured():
    row = StepRow("gpt2", "decode", 1, 64, "bf16", "ok")
    verify.measured_pass(step_operators(row))
    with pytest.raises(WrongListError, match="not measured"):
        verify.measured_pass([Stored("pooler", "lm_head", 1, 10, 2)])


def test_a_kernel_of_a_recipe_has_facts_too():
    with pytest.raises(WrongListError, match="softmax"):
        verify.recipe_pass([Elementwise("softmax", "attention", 1, 1, 1, 8, 8, 0, 2)])


def test_the_operators_that_a_split_makes_are_refused_where_nothing_was_said():
    with pytest.raises(ValueError, match="gate: its facts do not say"):
        shard([Gemm("gate", "mlp", 1, 1, 1, 8, 8, False, False, 2, 2)], Layout(tp=2, sequence_parallel=False))
    verify.recipe_pass([Gemm("gate", "mlp", 1, 1, 1, 8, 8, False, False, 2, 2, Facts("tokens", OWN))])
