"""The published closed forms of training come out of the operator list as special cases."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_setup import A100, PAPER, ZERO_PAPER, gpt, passes, setup

from llmcost.model.counting import count_params
from llmcost.model.operators import Collective
from llmcost.parallel.layout import Layout, stage_of
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.activations import kept
from llmcost.training.communication import Held, data_collectives, stage_send
from llmcost.training.memory import layer_kept, stage_memory, stage_params
from llmcost.training.recipe import Recipe
from llmcost.training.step import evaluate_step, training_step

SIZES = st.fixed_dictionaries(
    {"b": st.integers(1, 8), "s": st.sampled_from([256, 1024, 4096]), "heads": st.sampled_from([8, 16, 32])}
)


def a_layer(b, s, heads, recipe=PAPER, **layout):
    """h, and what a layer has, keeps, and takes in."""
    model = gpt(h=heads * 64, heads=heads, positions=s)
    at, a_pass = passes(model, Layout(micro_batch=b, global_batch=b, **layout), recipe, s)
    return heads * 64, layer_kept(at, a_pass)


# -- activations: Korthikanti et al. (arXiv 2205.05198), equations 1 to 6 and table 2
# -----------------------------------------


@settings(max_examples=20, deadline=None)
@given(SIZES, st.sampled_from([1, 2, 4, 8]))
def test_activations_of_a_layer_are_those_of_korthikanti(sizes, t):
    b, s, a = sizes["b"], sizes["s"], sizes["heads"]
    h, (whole, _, _) = a_layer(b, s, a)
    sbh = s * b * h
    assert whole == sbh * (34 + 5 * a * s / h)
    _, (split, _, _) = a_layer(b, s, a, tp=t, sequence_parallel=False)
    assert split == pytest.approx(sbh * (10 + 24 / t + 5 * a * s / (h * t)))
    _, (spread, _, _) = a_layer(b, s, a, tp=t)
    assert spread == pytest.approx(sbh / t * (34 + 5 * a * s / h))


@settings(max_examples=10, deadline=None)
@given(SIZES, st.sampled_from([1, 2, 4, 8]))
def test_recomputation_keeps_what_korthikanti_says(sizes, t):
    b, s, a = sizes["b"], sizes["s"], sizes["heads"]
    h, (_, some, _) = a_layer(b, s, a, tp=t, recompute="selective")
    assert some == pytest.approx(34 * s * b * h / t)
    _, (_, plain, _) = a_layer(b, s, a, tp=t, recompute="selective", sequence_parallel=False)
    assert plain == pytest.approx(s * b * h * (10 + 24 / t))
    _, (_, inputs, _) = a_layer(b, s, a, tp=t, recompute="full", sequence_parallel=False)
    assert inputs == 2 * s * b * h  # not divided by t: mistake 5 of the calculators


def test_a_modern_block_keeps_34_sbh_in_llama_3_8b():
    # 8 + 4ad/h + 4gd/h + 6i/h = 8 + 4 + 1 + 21 = 34, and 4 bytes a query and head of attention's statistic
    at, a_pass = passes(load_model("llama3-8b"), Layout(), Recipe(), 8192)
    assert layer_kept(at, a_pass)[0] == 8192 * (34 * 4096 + 4 * 32)


def test_fp8_keeps_products_inputs_in_one_byte():
    model, layout = load_model("llama3-8b"), Layout()
    at, a_pass = passes(model, layout, Recipe(dtype="fp8"), 8192, load_hardware("h100"))
    inputs = sum(op.k for op in a_pass.layers if op.name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"))
    output = 2 * 4096  # attention's own, in bf16, beside the copy of it in 8 bits that o_proj reads
    assert layer_kept(at, a_pass)[0] == 8192 * (34 * 4096 + 4 * 32 - inputs + output)


def test_the_first_stage_holds_every_layers_worth_and_interleaving_a_little_more():
    at = Layout(pp=8, global_batch=64)
    assert [stage_of(at, 96, i).in_flight for i in range(8)] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [stage_of(at, 96, i).layers for i in range(8)] == [12] * 8
    assert stage_of(at._replace(global_batch=4), 96, 0).in_flight == 4  # min(1, m/p) of them
    assert stage_of(at._replace(vp=3), 96, 0).in_flight == pytest.approx(8 * (1 + 7 / (8 * 3)))  # section 4.2.3


def test_layers_that_do_not_divide_leave_the_fullest_stage():
    assert stage_of(Layout(pp=16, vp=8, global_batch=128), 126, 0).layers == 8  # Llama 3 405B
    # 112 chunks of one layer, and 14 layers more for 16 stages: one has 7 or 8, not 7 chunks of 2.
    assert stage_of(Layout(pp=16, vp=7, global_batch=128), 126, 0).layers == 7 + 1
    assert stage_of(Layout(pp=4, vp=3, global_batch=128), 31, 0).layers == 3 * 2 + 2  # 24 in chunks of 2, 7 over
    assert stage_of(Layout(pp=16, global_batch=128), 126, 0).layers == 8  # 112 and 14 over


def test_korthikantis_first_stage_of_the_175b():
    # Figure 1 there, as digitised: 12.35 GiB with selective recomputation and sequence parallelism
    model = gpt(12288, 96, 96)
    layout = Layout(tp=8, pp=8, vp=3, global_batch=64, recompute="selective")
    at, a_pass = passes(model, layout, PAPER, 2048)
    first = stage_memory(at, a_pass, 0).moments[0].activations
    assert first / 2**30 == pytest.approx(12.35, rel=0.01)


# -- model states: ZeRO (arXiv 1910.02054), section 5; Megatron-LM's theoretical_memory_usage
# ----------------------------------


@pytest.mark.parametrize(
    "zero, a_param", [(0, lambda _: 16), (1, lambda n: 4 + 12 / n), (2, lambda n: 2 + 14 / n), (3, lambda n: 16 / n)]
)
def test_states_are_those_of_zero(zero, a_param):
    model = gpt()
    psi = count_params([op for part in passes(model)[1] for op in part]).total
    for n in (1, 8, 64):
        layout = Layout(dp=n, global_batch=n, zero=zero)
        at, a_pass = passes(model, layout, ZERO_PAPER)
        memory = stage_memory(at, a_pass, 0)
        assert memory.params + memory.optimizer + memory.moments[0].grads == pytest.approx(psi * a_param(n))


def test_states_of_fsdp_are_16_bytes_a_parameter():
    """fp32 weights, gradients and two moments, and no 16-bit weights at rest: 29 GB reserved of Llama 2 7B on 4 GPUs.

    meta-llama/llama-cookbook#100; Megatron-LM's 18 bytes would be 30.3 GB of states alone.
    """
    at, a_pass = passes(gpt(), Layout(dp=4, global_batch=4, zero=3))
    memory = stage_memory(at, a_pass, 0)
    psi = stage_params(a_pass, stage_of(at.layout, 8, 0), 8).dense
    parts = (memory.params, memory.optimizer, memory.moments[0].grads)
    assert parts == pytest.approx((4 * psi / 4, 8 * psi / 4, 4 * psi / 4))


@pytest.mark.parametrize("zero, a_param", [(0, lambda _: 18), (1, lambda n: 6 + 12 / n)])
def test_states_are_those_of_megatron(zero, a_param):
    at, a_pass = passes(gpt(), Layout(dp=4, global_batch=4, zero=zero))
    memory = stage_memory(at, a_pass, 0)
    psi = stage_params(a_pass, stage_of(at.layout, 8, 0), 8).dense
    assert memory.params + memory.optimizer + memory.moments[0].grads == pytest.approx(psi * a_param(4))


def test_stages_and_splits_divide_parameters():
    model = load_model("llama3-8b")
    at, a_pass = passes(model, Layout(tp=8, pp=4, global_batch=32), Recipe(), 8192)
    parts = [stage_params(a_pass, stage_of(at.layout, 32, i), 32).dense for i in range(4)]
    norms = 266_240 * 7 / 8  # held by every tensor-parallel rank
    assert 8 * sum(parts) == pytest.approx(8_030_261_248 + 8 * norms)


def test_experts_are_divided_by_the_ranks_that_share_them_and_their_states_by_the_rest():
    model, n = load_model("mixtral-8x7b"), 16
    held = [passes(model, Layout(dp=n, ep=ep, global_batch=n), Recipe(), 4096) for ep in (1, 8)]
    experts = [stage_params(a_pass, stage_of(at.layout, 32, 0), 32).experts for at, a_pass in held]
    assert experts[0] == 8 * experts[1] == 32 * 8 * 3 * 4096 * 14336
    assert held[1][0].layout.expert_replicas() == 2  # world / (e·etp·p), not dp
    dense = stage_params(held[1][1], stage_of(held[1][0].layout, 32, 0), 32).dense
    assert stage_memory(*held[1], 0).optimizer == pytest.approx(12 * (dense / 16 + experts[1] / 2))


# -- FLOPs: Narayanan et al. (arXiv 2104.04473), equation 3; Korthikanti, equations 7 and 8
# ------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1024, 2048]), st.integers(1, 8), st.sampled_from([16, 64]), st.sampled_from([4, 24]))
def test_flops_of_a_step_are_those_of_the_papers(s, B, heads, L):
    h, V = heads * 64, 51200
    model = gpt(h, heads, L, V, s)
    step = {
        recompute: evaluate_step(setup(model, Layout(global_batch=B, recompute=recompute), PAPER, s)).flops
        for recompute in ("none", "selective", "full")
    }
    assert step["none"].model == pytest.approx(72 * B * L * s * h**2 * (1 + s / (6 * h) + V / (12 * h * L)))
    # the paper prints s/3h: an erratum (NVIDIA/Megatron-LM#523)
    assert step["selective"].hardware == pytest.approx(72 * B * L * s * h**2 * (1 + 2 * s / (9 * h) + V / (12 * h * L)))
    assert step["full"].hardware == pytest.approx(96 * B * s * L * h**2 * (1 + s / (6 * h) + V / (16 * L * h)))


def test_flash_backward_counts_for_hfu_and_not_for_mfu():
    step = training_step(load_model("llama3-8b"), load_hardware("h100"), Layout(global_batch=1), Recipe(), 8192)
    attention = 32 * 4 * 8192**2 * 4096
    assert step.flops.model == 3 * 158_140_695_838_720 == 474_422_087_516_160  # torch's counter on the meta device
    assert step.flops.hardware - step.flops.model == attention / 2


def test_experts_flops_are_those_that_tokens_take():
    flops = training_step(
        load_model("mixtral-8x7b"), load_hardware("h100"), Layout(global_batch=1), Recipe(), 4096
    ).flops.model
    assert flops == pytest.approx(339.7e12, rel=0.02)  # with all 8 experts it would be above 1,000


# -- pipeline: Narayanan et al., section 2.2; zero bubble, arXiv 2401.10241
# ----------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([2, 4, 8]), st.sampled_from([1, 2, 4]), st.integers(1, 6))
def test_the_bubble_of_equal_stages(p, v, rounds):
    m = p * rounds
    model = gpt(4096, 32, 64, vocab=1, positions=1)._replace(
        position_embedding="none"
    )  # nothing to speak of at the ends
    overlap = Recipe()._replace(overlap=Recipe().overlap._replace(pipeline=1))
    seconds = evaluate_step(setup(model, Layout(pp=p, vp=v, global_batch=m), overlap)).seconds
    assert seconds.bubble == pytest.approx(m * seconds.micro_batch * (p - 1) / (v * m), rel=0.01)


def test_zero_bubble_leaves_what_gradients_of_weights_do_not_fill():
    model, layout = gpt(4096, 32, 64, vocab=64), Layout(pp=4, global_batch=8)
    plain = evaluate_step(setup(model, layout)).seconds
    filled = evaluate_step(setup(model, layout._replace(schedule="zero-bubble"))).seconds
    assert 1 / 3 < filled.bubble / plain.bubble < 0.45  # a third of F + B where all is products of weights


def test_sends_between_stages():
    send = stage_send(12288, 2048, Layout(tp=8, pp=8, micro_batch=2, global_batch=16), Recipe())
    assert send.payload_bytes() * 8 == 2 * 2 * 2048 * 12288  # 2bsh, of which each of t ranks sends its part


# -- exchanges: Megatron-LM (arXiv 1909.08053), ZeRO (section 7)
# --------------------------------------------------------------


def test_tensor_parallelism_exchanges_four_times_2bsh_a_layer():
    _, a_pass = passes(gpt(), Layout(tp=4, sequence_parallel=False, micro_batch=2, global_batch=2))
    found = [op for op in a_pass.layers if isinstance(op, Collective)]
    assert [op.exchange for op in found] == ["all_reduce"] * 2  # and as many backward
    assert {op.payload_bytes() for op in found} == {2 * 2 * 2048 * 1024}
    _, spread = passes(gpt(), Layout(tp=4, micro_batch=2, global_batch=2))
    assert [op.exchange for op in spread.layers if isinstance(op, Collective)] == ["reduce_scatter", "all_gather"] * 2
    assert {op.payload_bytes() for op in spread.layers if isinstance(op, Collective)} == {2 * 2 * 2048 * 1024}


@pytest.mark.parametrize("zero, elements", [(0, 2), (1, 2), (2, 2), (3, 2)])
def test_replicas_exchange_two_elements_a_parameter_and_round(zero, elements):
    n, psi = 8, 1000
    exchange = data_collectives(Held(psi, 0), Layout(dp=n, global_batch=n, zero=zero), ZERO_PAPER)
    sent = sum(sum(op.wire_bytes()) for ops in exchange for op in ops)
    assert sent == pytest.approx(2 * elements * psi * (n - 1) / n)


def test_letting_weights_go_costs_a_third_element():
    model, fast = gpt(4096, 32, 8), A100
    times = []
    for zero, reshard in ((1, True), (3, False), (3, True)):
        recipe = ZERO_PAPER._replace(overlap=ZERO_PAPER.overlap._replace(data=0))
        layout = Layout(dp=8, global_batch=8, zero=zero, reshard=reshard)
        times.append(evaluate_step(setup(model, layout, recipe, hardware=fast)).seconds.exposed.data)
    assert times[0] == pytest.approx(times[1])
    assert times[2] == pytest.approx(1.5 * times[0], rel=0.01)  # 3Ψ for 2Ψ


def test_no_weights_are_gathered_with_zero_off():
    assert data_collectives(Held(1000, 0), Layout(dp=8, global_batch=8, zero=0), Recipe()).weights == []


def test_inputs_of_column_split_products_are_kept_once_with_sequence_parallelism():
    layout = Layout(tp=8, micro_batch=1, global_batch=1)
    at, a_pass = passes(gpt(), layout)
    for op, size in zip(a_pass.layers, kept(a_pass.layers, layout, at.recipe), strict=True):
        if op.facts.split == "columns":
            assert size == 2 * 2048 * 1024 / 8


def test_rows_of_experts_are_kept_on_each_gpu_that_computes_them():
    """A token's copies for two experts go to the GPUs that hold these, an eighth to each of tp·dp = 8."""
    layout = Layout(tp=2, dp=4, ep=8, global_batch=4)
    at, a_pass = passes(load_model("mixtral-8x7b"), layout, Recipe(), 2048)
    sizes = kept(a_pass.layers, layout, at.recipe)
    first = [size for op, size in zip(a_pass.layers, sizes, strict=True) if op.name == "experts_gate_up_proj"]
    assert first == [2 * 2048 * (2 * 4) * 4096 / 8]  # bytes, of four ranks' sequences, two copies a token
