"""Training adapters: what is frozen has no gradient, no moments, no master copy, and costs what it still costs."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.model.architecture import forward
from llmcost.model.lora import ALL_LINEAR, NF4_BITS, Lora, trainable_params
from llmcost.model.sizes import ElementBytes, Load
from llmcost.parallel.layout import Layout
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.conventions import CONVENTIONS, counts_of
from llmcost.training.memory import held_by, trained_part
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.recipe import Recipe
from llmcost.training.step import training_chip, training_step

H100 = load_hardware("h100-sxm")
TORCHTUNE = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
EVERY = Lora(16, (ALL_LINEAR,))
ONE_GPU = Layout(zero=0, micro_batch=2, global_batch=2)
PLAIN = Recipe(master_weights=False, grad_bytes=2, reduce_bytes=2, grad_buffer=False)  # as peft trains on one GPU


def step(model="llama3-8b", layout=ONE_GPU, recipe=PLAIN, hardware=H100, seq=2048, **changes):
    return training_step(load_model(model), hardware, layout, recipe._replace(**changes), seq)


def adapters_of(model, lora):
    return trainable_params(forward(load_model(model), ElementBytes(2, 2, 2), Load(1, 1, 1)).layers, lora)


@pytest.mark.parametrize("model", ["llama3-8b", "mixtral-8x7b", "deepseek-v2-lite", "granite-4.0-h-small"])
@pytest.mark.parametrize("lora", [EVERY, Lora(4, ("o_proj",))], ids=["all-linear", "o_proj"])
def test_states_are_of_the_adapters_alone(model, lora):
    trained, whole = adapters_of(model, lora), step(model)
    tuned = step(model, lora=lora)
    assert tuned.first.optimizer == pytest.approx(4 * trained)  # two moments of the weights' own type, no master copy
    assert tuned.first.params == pytest.approx(whole.first.params + 2 * trained)
    assert max(moment.grads for moment in tuned.first.moments) == pytest.approx(2 * trained)


def test_flops_are_four_a_frozen_parameter_and_six_of_an_adapters():
    """Llama 3 8B: the frozen products and the LM head four, attention twelve, adapters six FLOPs."""
    tuned, k = step(lora=EVERY), counts_of(load_model("llama3-8b"), 2048)
    expected = CONVENTIONS["megatron"].model_flops(k, frozen=True) + 6 * adapters_of("llama3-8b", EVERY)
    assert tuned.flops.model == pytest.approx(tuned.tokens * expected)


def test_frozen_weights_are_not_exchanged_unless_they_are_divided():
    spread = Layout(zero=1, dp=8, global_batch=16, micro_batch=2)
    assert step(layout=spread, lora=EVERY).seconds.exposed.data < 0.05 * step(layout=spread).seconds.exposed.data
    divided = spread._replace(zero=3)
    assert step(layout=divided, lora=EVERY).seconds.exposed.data > 0.3 * step(layout=divided).seconds.exposed.data


@pytest.mark.parametrize("model", ["llama3-8b", "mixtral-8x7b", "deepseek-v2-lite"])
def test_adapters_on_many_gpus_sum_to_all_of_them(model):
    """A's and B's that are not split are the same on every GPU of a tensor-parallel group; those that are add up."""
    spec, layout = load_model(model), Layout(tp=2, dp=2, global_batch=4)
    at = Setup(spec, layout, Recipe(lora=EVERY), 512, training_chip(H100, Recipe(), layout), None)
    single = at._replace(layout=Layout(global_batch=4))
    held, whole = (held_by(trained_part(forward_pass(each), each.recipe).layers) for each in (at, single))
    assert whole.dense + whole.experts == adapters_of(model, EVERY)
    assert whole.dense / 2 <= held.dense <= whole.dense
    assert whole.experts / 2 <= held.experts <= whole.experts


@settings(max_examples=15, deadline=None)
@given(rank=st.integers(1, 256), recompute=st.sampled_from(["none", "selective", "full"]), dp=st.sampled_from([1, 8]))
def test_adapters_need_less_of_everything_than_all_weights(rank, recompute, dp):
    layout = Layout(zero=1, dp=dp, micro_batch=1, global_batch=dp, recompute=recompute)
    lora = Lora(rank, ("q_proj", "v_proj"))
    full, tuned, quantised = (
        step(layout=layout, lora=each) for each in (None, lora, lora._replace(frozen_bits=NF4_BITS))
    )
    assert quantised.memory_bytes() < tuned.memory_bytes() < full.memory_bytes()
    assert tuned.flops.model < full.flops.model
    assert tuned.seconds.total < full.seconds.total
    assert tuned.seconds.total < quantised.seconds.total  # weights are expanded before each use


def test_four_bits_are_stored_of_the_layers_products_alone():
    """6,979,321,856 weights of Llama 3 8B's layers in 4.127 bits; embedding, LM head and norms stay."""
    inside = 32 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336)
    plain, few = step(lora=EVERY), step(lora=EVERY._replace(frozen_bits=NF4_BITS))
    assert plain.first.params - few.first.params == pytest.approx(inside * (2 - NF4_BITS / 8))


@pytest.mark.parametrize(
    "model, gpus, lora, gibibytes",
    [
        # torchtune's README, batch 2 of 2048, one 4090 or eight A100s with FSDP. From its configs: adapters of all
        # products of a layer but the keys', activations computed again, logits in parts; AdamW in bf16 without a
        # master copy.
        ("llama3.1-8b", 1, Lora(8, TORCHTUNE), 16.2),
        ("llama3.1-8b", 1, Lora(8, TORCHTUNE, NF4_BITS), 7.4),
        ("llama3.1-70b", 8, Lora(16, TORCHTUNE), 27.6 + 128256 * 8192 * 2 / 2**30),  # beside: its head is whole alone
    ],
)
def test_memory_is_near_torchtunes(model, gpus, lora, gibibytes):
    layout = ONE_GPU._replace(recompute="full", dp=gpus, global_batch=2 * gpus, zero=3 if gpus > 1 else 0)
    tuned = step(model, layout, lora=lora, loss="fused", hardware=load_hardware("a100-80gb-sxm"))
    assert tuned.first.allocated() / 2**30 == pytest.approx(gibibytes, rel=0.08)


# -- the command ------------------------------------------------------------------------------------

TUNE = [
    "train",
    "llama3-8b",
    "--hw",
    "rtx4090",
    "--seq",
    "2k",
    "--global-batch",
    8,
    "--tokens",
    "100M",
    "--lora-rank",
    8,
]


def test_the_command_says_what_is_trained(cli):
    answer = json.loads(cli(*TUNE, "--qlora", "--recompute", "full", "--json").out)
    assert answer["run"]["trained_params"] == 32 * 8 * (8192 + 5120)  # q of (4096, 4096), v of (4096, 1024)
    assert answer["run"]["lora"]["frozen_bits"] == NF4_BITS
    assert answer["memory"]["fits"]
    assert answer["with_interruptions"]["interruptions"]["checkpoint_bytes"] == 14 * answer["run"]["trained_params"]
    assert "rank 8 on q_proj, v_proj: 3,407,872 parameters trained" in cli(*TUNE).out
    everything = 32 * 8 * (8192 + 2 * 5120 + 8192 + 2 * (4096 + 14336) + 18432)  # q; k, v; o; gate, up; down
    assert f"rank 8 on all-linear: {everything:,} parameters trained" in cli(*TUNE, "--lora-targets", "all-linear").out


def test_the_run_goes_through_failures_and_checkpoints(cli):
    """Twice the failures, twice as many expected and never fewer days; money follows the GPU-hours."""
    command = ["train", "llama3-8b", "--hw", "h100", "--gpus", 64, "--tokens", "1T", "--price", 2, "--json"]
    seldom, often = (
        json.loads(cli(*command, "--mtbf-hours", hours).out)["with_interruptions"] for hours in (20_000, 10_000)
    )
    assert often["days"] > seldom["days"] > json.loads(cli(*command).out)["days"]
    assert often["interruptions"]["failures"] == pytest.approx(2 * seldom["interruptions"]["failures"], rel=0.02)
    assert often["dollars"] == pytest.approx(2 * often["gpu_hours"])
    assert sum(often["interruptions"]["goodput"].values()) == pytest.approx(1)
    assert often["energy_joules"] == pytest.approx(700 * 3600 * often["gpu_hours"])  # an H100's TDP


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--qlora"], "--qlora: the rank of the adapters is wanted too"),
        (["--lora-rank", 0], "--lora-rank 0: at least 1"),
        (["--lora-rank", 8, "--lora-targets", "query"], "--lora-targets query: one of all-linear, q_proj"),
        (["--mtbf-hours", 0], "--mtbf-hours: above 0"),
        (["--mtbf-hours", 0.001], "it gets nowhere"),
        (["--checkpoint-minutes", 0], "--checkpoint-minutes: above 0"),
        (["--restart-minutes", -1], "--restart-minutes -1: expected a number"),
        (["--power-share", 2], "--power-share 2: a share of 1"),
        (["--pue", 0.5], "--pue 0.5: the data centre's energy"),
    ],
)
def test_a_run_that_cannot_be_is_refused(cli, arguments, message):
    answer = cli("train", "llama3-8b", "--hw", "rtx4090", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_shares_of_the_peak_are_those_of_the_convention_that_bears_the_name(cli, recompute):
    answer = json.loads(cli("train", "llama3-8b", "--hw", "h100", "--gpus", 8, "--recompute", recompute, "--json").out)
    own = next(each for each in answer["conventions"] if each["convention"] == "llmcost")
    assert (own["mfu"], own["hfu"]) == (pytest.approx(answer["mfu"]), pytest.approx(answer["hfu"]))
