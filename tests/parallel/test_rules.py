"""One set of rules for layouts to serve and to train: alike for numbers and arrays, with the nearest legal values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.errors import InputError
from llmcost.parallel.layout import Layout
from llmcost.parallel.rules import broken, check, divisors, layout_of, rules, shape_of, tensor_degrees
from llmcost.specs.catalog import load_hardware, load_model

LLAMA, MIXTRAL = shape_of(load_model("llama3-8b")), shape_of(load_model("mixtral-8x7b"))
DEGREES = st.integers(1, 12)


@pytest.mark.parametrize("seq", [None, 4096])
@pytest.mark.parametrize(
    "layout, words",
    [
        (Layout(tp=5), "--tp 5 does not divide the 32 attention heads of llama3-8b; nearest: 4 or 8"),
        (Layout(ep=2, dp=2, global_batch=2), "--ep 2: llama3-8b has no experts; nearest: 1"),
    ],
)
def test_serving_and_training_refuse_alike(layout, words, seq):
    with pytest.raises(InputError) as refused:
        check(layout, LLAMA, seq)
    assert str(refused.value) == words


@pytest.mark.parametrize("seq", [None, 4096])
def test_some_stages_may_have_a_layer_more_but_every_stage_has_one(seq):
    assert broken(Layout(pp=5, global_batch=5), LLAMA, seq) is None
    assert broken(Layout(pp=33, global_batch=33), LLAMA, seq).axis == "pp"  # 32 layers


def test_tensor_degrees_divide_every_size_or_copy_kv_heads():
    """32 heads, 8 KV heads, 14,336 = 2^11·7 channels: powers of two up to 32, beyond 8 with copies."""
    assert tensor_degrees(LLAMA) == (1, 2, 4, 8, 16, 32)
    assert tensor_degrees(LLAMA._replace(kv_heads=(6,))) == (1, 2)  # 4, 8, … neither divide 6 nor are multiples of it
    assert tensor_degrees(LLAMA._replace(state_heads=(12,))) == (1, 2, 4)


def test_experts_are_split_over_the_gpus_that_have_one_not_over_the_whole_group():
    """2 GPUs have each expert where 8 share a stage and 4 of them the experts: 10 channels are five each."""
    narrow = MIXTRAL._replace(expert_widths=(10,))
    assert broken(Layout(tp=8, ep=4), narrow) is None
    layout = Layout(tp=8, ep=2)  # 4 GPUs an expert
    assert broken(layout, narrow).message(layout) == (
        "--tp 8 with --ep 2 splits experts over 4 GPUs, "
        "which do not divide the 10 channels of an expert of mixtral-8x7b"
    )


def test_sets_of_experts_fill_a_stage():
    """4 GPUs times 2 of a tensor-parallel group hold the experts once; 12 GPUs have one and a half such sets."""
    layout = Layout(tp=2, dp=6, ep=4)
    assert (
        broken(layout, MIXTRAL).message(layout) == "--ep 4 with --tp 2 does not divide the 12 GPUs of a pipeline stage"
    )
    assert broken(layout._replace(dp=8), MIXTRAL) is None


def test_a_number_of_gpus_is_told_as_the_degrees_that_it_became():
    nothing = dict.fromkeys(("tp", "pp", "dp", "ep", "gpus_per_node"))
    with pytest.raises(
        InputError,
        match=r"^--gpus 24 is --tp 8 --pp 3; --pp 3 is more than the 2 layers of two-layers; "
        r"legal on as many GPUs: --dp 24$",  # 24 divides neither its 128 heads nor its 256 experts
    ):
        model = load_model("deepseek-v3")
        few = model._replace(name="two-layers", layers=tuple(each._replace(count=1) for each in model.layers))
        layout_of(few, load_hardware("h200"), None, 24, **nothing)


@pytest.mark.parametrize(
    ("model", "gpus", "given", "degrees"),
    [
        ("llama3-70b", 8, {}, (8, 1, 1, 1)),
        ("llama3-70b", 16, {}, (8, 2, 1, 1)),  # 80 layers make two stages, each in a node of its own
        ("gpt2-xl", 4, {}, (1, 4, 1, 1)),  # 25 heads, 48 layers
        ("gpt2-xl", 5, {}, (5, 1, 1, 1)),
        ("deepseek-v3", 16, {}, (8, 2, 1, 1)),  # 31 and 30 layers
        ("deepseek-v3", 16, {"tp": 8}, (8, 2, 1, 1)),
        ("mixtral-8x7b", 16, {"ep": 8}, (2, 1, 8, 8)),  # a rank of attention for each of the 8 that share experts
    ],
)
def test_a_number_of_gpus_is_the_first_legal_layout_that_fills_them(model, gpus, given, degrees):
    nothing = dict.fromkeys(("tp", "pp", "dp", "ep", "gpus_per_node"))
    assert layout_of(load_model(model), load_hardware("h200"), None, gpus, **nothing | given)[:4] == degrees


def test_where_nothing_fills_them_what_is_legal_on_as_many_is_named():
    """--pp 64 is held, and there are 61 layers; 128 heads and 256 experts divide by 64."""
    with pytest.raises(InputError, match=r"legal on as many GPUs: --tp 64 or --ep 64 or --dp 64$"):
        layout_of(load_model("deepseek-v3"), load_hardware("h200"), None, 64, None, 64, None, None, None)


@settings(deadline=None)
@given(DEGREES, DEGREES, DEGREES, DEGREES, st.booleans())
def test_arrays_keep_the_rules_that_their_elements_keep(tp, pp, dp, ep, serve):
    layout, seq = Layout(tp, pp, dp, ep, global_batch=24), None if serve else 4096
    arrays = Layout(*(np.array([1.0, float(degree)]) for degree in layout[:4]), global_batch=24)
    one_by_one = [bool(rule.holds) for rule in rules(layout, MIXTRAL, seq)]
    together = [bool(np.broadcast_to(rule.holds, 2)[1]) for rule in rules(arrays, MIXTRAL, seq)]
    assert together == one_by_one


@settings(deadline=None)
@given(DEGREES, DEGREES, DEGREES)
def test_the_nearest_values_that_are_named_keep_the_rule(tp, pp, ep):
    layout = Layout(tp=tp, pp=pp, dp=ep, ep=ep)
    rule = broken(layout, MIXTRAL)
    if rule is not None:
        for value in rule.legal:
            mended = broken(layout._replace(**{rule.axis: value}), MIXTRAL)
            assert mended is None or mended.axis != rule.axis or mended.says != rule.says


@given(st.integers(1, 10_000))
def test_divisors_are_all_of_them(whole):
    assert list(divisors(whole)) == [n for n in range(1, whole + 1) if whole % n == 0]
