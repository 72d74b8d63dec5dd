"""Pipeline stages that are not as even as can be: their memory, their time, the bubble, and what is refused."""

import numpy as np
import pytest

from llmcost.formulas.training import symbolic_train
from llmcost.ground.errors import InputError
from llmcost.ground.symbols import evaluate
from llmcost.parallel.stages import dealt_out, parse_stages
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.breakdown import micro_batch_rows
from llmcost.training.options import Options
from llmcost.training.setup import setup_of
from llmcost.training.step import evaluate_step
from llmcost.training.timeline import timeline
from llmcost.training.train import train

H100, MODEL = load_hardware("h100"), load_model("llama3-8b")
LAYOUT = {"gpus": 8, "tp": 1, "zero": 1, "recompute": "none", "vp": 1, "global_batch": 64}


def answer(model=MODEL, **options):
    return train(model, H100, Options(tokens=10**9, **LAYOUT | options))


@pytest.mark.parametrize("vp", [1, 2])
def test_stages_that_layers_do_not_divide_into_are_the_same_told_or_not(vp):
    # 32 layers on 5 stages: 6 each and two left over, dealt out from the first stage on
    more = {"gpus": 5, "vp": vp, "global_batch": 60}
    told, usual = answer(stages=(7, 7, 6, 6, 6), **more), answer(pp=5, **more)
    assert usual.step_seconds == told.step_seconds
    assert usual.breakdown.bubble == told.breakdown.bubble
    assert usual.memory.total_bytes == told.memory.total_bytes
    assert [stage.layers for stage in usual.memory.stages] == [7, 7, 6]


def test_arrays_of_stages_are_timed_as_each_alone():
    at, _ = setup_of(MODEL, H100, Options(tokens=10**9, **LAYOUT | {"gpus": 60, "pp": 5, "global_batch": 60}), None)
    several = np.array([1.0, 2.0, 5.0, 15.0, 30.0])
    layouts = at.layout._replace(pp=several, dp=60 / several)
    alone = [
        evaluate_step(at._replace(layout=at.layout._replace(pp=int(pp), dp=int(60 / pp)))).seconds.total
        for pp in several
    ]
    assert evaluate_step(at._replace(layout=layouts)).seconds.total == pytest.approx(alone, rel=1e-12)


def test_even_stages_told_one_by_one_are_the_same_run():
    told, usual = answer(stages=(8, 8, 8, 8)), answer(pp=4)
    assert told.step_seconds == pytest.approx(usual.step_seconds, rel=1e-12)
    assert told.memory.total_bytes == usual.memory.total_bytes
    # of every stage, where a pipeline as even as can be shows one that is like those between the first and the last
    assert len(told.memory.stages) == 4
    assert len(usual.memory.stages) == 3


def test_megatron_deals_out_layers_beside_embedding_and_loss():
    assert dealt_out(126, 16, 1, None, None, "both") == (7, *[8] * 14, 7)  # Llama 3 405B (arXiv 2407.21783, 3.3.2)
    assert dealt_out(126, 16, 4, None, None, "both") == (7, *[8] * 14, 7)
    assert dealt_out(61, 16, 1, 1, 4, None) == (1, *[4] * 15)
    assert dealt_out(31, 4, 1, None, None, "embedding") == (7, 8, 8, 8)
    assert dealt_out(31, 4, 1, None, None, "loss") == (8, 8, 8, 7)
    assert dealt_out(32, 4, 1, None, 2, None) == (10, 10, 10, 2)
    assert parse_stages("15,16*2,13") == (15, 16, 16, 13)


def test_the_slowest_stage_sets_the_pace_and_others_wait_for_it():
    run = answer(stages=(8, 10, 8, 6))
    slowest, pipeline = max(run.breakdown.stages), sum(run.breakdown.stages)
    assert run.breakdown.micro_batch == slowest == run.breakdown.stages[1]
    assert run.breakdown.bubble == pytest.approx(pipeline - slowest)
    layer = (run.breakdown.stages[1] - run.breakdown.stages[2]) / 2
    assert run.breakdown.stages[1] == pytest.approx(10 * layer)  # between the ends there are layers alone


def test_fewer_layers_beside_the_head_are_faster():
    even, spared = answer(pp=4), answer(stages=(9, 9, 8, 6))
    assert spared.step_seconds < even.step_seconds


def test_a_stage_of_the_head_alone_has_its_weights_and_logits_and_no_layer():
    run = answer(stages=(16, 16, 0), gpus=6, global_batch=48)
    last = run.memory.stages[-1]
    assert last.layers == 0
    assert last.params_bytes == 2 * (MODEL.vocab_size + 1) * MODEL.hidden_size  # bf16, with the norm before the head
    assert last.logits_bytes > 0 == run.memory.stages[1].logits_bytes
    between = run.memory.stages[1]
    assert run.memory.total_bytes == max(run.memory.stages[0].total_bytes, between.total_bytes)


def test_the_fullest_gpu_may_be_between_the_ends():
    run = answer(stages=(2, 20, 8, 2), recompute="full")
    assert [stage.layers for stage in run.memory.stages] == [2, 20, 8, 2]
    assert run.memory.total_bytes == run.memory.stages[1].total_bytes
    assert run.memory.params_bytes == run.memory.stages[1].params_bytes


def test_layers_that_are_recomputed_are_counted_by_stage():
    # 4 of each stage, but of the last one its 2: 14 of 32 layers
    some, none, full = (
        answer(stages=(10, 10, 10, 2), recompute=kind, recompute_layers=n)
        for kind, n in (("full", 4), ("none", None), ("full", None))
    )
    again, everything = (each.flops.hardware - none.flops.hardware for each in (some, full))
    assert again / everything == pytest.approx(14 / 32)


def test_chunks_of_uneven_stages_shorten_the_bubble():
    one, two = answer(stages=(8, 9, 9, 6)), answer(stages=(8, 9, 9, 6), vp=2)
    assert two.breakdown.bubble == pytest.approx(one.breakdown.bubble / 2)


def test_formulas_say_what_the_numbers_are():
    options = Options(tokens=10**9, **LAYOUT | {"stages": (8, 10, 8, 6)})
    found, run = symbolic_train(MODEL, H100, options), train(MODEL, H100, options)
    assert evaluate(found.step_seconds) == pytest.approx(run.step_seconds)
    assert evaluate(found.breakdown.bubble) == pytest.approx(run.breakdown.bubble)
    assert evaluate(found.memory.total_bytes) == pytest.approx(run.memory.total_bytes)


def test_the_timeline_draws_each_stage_as_long_as_it_takes():
    options = Options(tokens=10**9, **LAYOUT | {"stages": (8, 10, 8, 6)})
    run = train(MODEL, H100, options)
    turns = timeline(run, micro_batch_rows(setup_of(MODEL, H100, options, None)[0]))
    took = [sum(turn.end - turn.start for turn in turns if (turn.stage, turn.micro_batch) == (n, 0)) for n in range(4)]
    assert took == pytest.approx(run.breakdown.stages)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stages": (15, 16)}, "--stages 15,16: have 31 layers, and llama3-8b has 32; nearest: 15,17"),
        ({"stages": (32,)}, "layers of each stage, of at least two"),
        ({"stages": (16, 0, 16), "gpus": 6}, "stage 2 has no layer; nearest: 1"),
        ({"stages": (30, 2), "vp": 4}, r"stage 2 has 2 layers for 4 chunks \(--vp\); nearest: 3"),
        ({"stages": (16, 16), "pp": 4}, "2 stages, and --pp is 4"),
        ({"stages": (16, 16), "account_for": "loss"}, "leave out --account-for"),
        ({"stages": (16, 16), "schedule": "dualpipe"}, "two equal stages on a GPU; leave out --stages"),
        ({"account_for": "both"}, "of how many stages"),
        ({"account_for": "both", "pp": 4}, "34 layers .* which 4 stages do not divide; nearest: --pp 2"),
        ({"account_for": "loss", "pp": 4, "first_stage_layers": 7}, "not both"),
        ({"first_stage_layers": 40, "pp": 2}, "share the 0 layers left evenly; nearest: --first-stage-layers 32"),
        ({"first_stage_layers": 12, "last_stage_layers": 19, "pp": 2}, "nearest: --last-stage-layers 20"),
        ({"first_stage_layers": 32, "pp": 4}, "nearest: --first-stage-layers 29"),  # the others have a layer each
        ({"pp": 4, "vp": 9}, "--vp 9 times --pp 4 is more than the 32 layers of llama3-8b; nearest: 8"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_can(options, says):
    with pytest.raises(InputError, match=says):
        answer(**options)


def test_stages_that_are_told_have_one_chunk_unless_chunks_are_told_too():
    """Two layers beside the embedding would not divide into the four chunks that even stages of 8 are given."""
    options = Options(tokens=10**9, gpus=8, pp=4)
    even = train(MODEL, H100, options).layout.vp
    assert even > 1
    assert train(MODEL, H100, options._replace(first_stage_layers=2)).layout.vp == 1
    assert train(MODEL, H100, options._replace(stages=(0, 16, 16, 0))).layout.vp == 1


def test_more_stages_than_layers_are_refused_where_the_rest_of_a_layout_is_chosen():
    with pytest.raises(InputError, match="--pp 16 times --vp 1 is more than the 12 layers of gpt2; nearest: 12"):
        train(load_model("gpt2"), H100, Options(tokens=10**9, gpus=16, pp=16))


@pytest.mark.parametrize(
    "options", [{"drop_tokens": True}, {"recompute_modules": ("moe",)}, {"recompute_modules": ("mlp", "moe_act")}]
)
def test_what_is_said_of_experts_is_refused_where_there_are_none(options):
    with pytest.raises(InputError, match="of experts, and llama3-8b has none"):
        train(MODEL, H100, Options(tokens=10**9, gpus=8, **options))


def test_stages_are_joined_by_commas_or_by_plus():
    assert parse_stages("15,16*2,13") == parse_stages("15+16*2+13") == (15, 16, 16, 13)


@pytest.mark.parametrize("text", ["x", "", "4,,4", "4*x", "-1,33", "8*4*1", "8*1000000000", "9999999,1"])
def test_no_list_of_layers_is_told_so(text):
    with pytest.raises(ValueError, match="layers of each stage"):
        parse_stages(text)
