"""Sharding: one GPU's operators, and the collectives between GPUs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost import load_model
from llmcost.machine.chip import Chip, Links
from llmcost.machine.timing import bound
from llmcost.model.architecture import operators
from llmcost.model.counting import count_pass, stored_bytes
from llmcost.model.operators import UNSAID, Collective, Communication
from llmcost.model.sizes import Load, element_bytes
from llmcost.parallel.layout import Layout
from llmcost.parallel.split import shard
from llmcost.specs.catalog import names

BF16 = element_bytes("bf16", "bf16", "bf16")
PROMPT, STEP = Load(2, 64, 64), Load(2, 1, 64, decode=True)


def collectives(model, plan, load=PROMPT):
    return {
        op.name: op for op in shard(operators(load_model(model), BF16, load), plan) if isinstance(op, Communication)
    }


@pytest.mark.parametrize("name", names("models"))
def test_every_operator_of_every_model_has_a_rule(name):
    model = load_model(name)
    for load in (PROMPT, STEP):
        shard(
            operators(model, BF16, load), Layout(tp=2, sequence_parallel=False)
        )  # an error names an operator without one


def test_an_operator_without_a_rule_is_an_error():
    (op, *_) = operators(load_model("gpt2"), BF16, PROMPT)
    with pytest.raises(ValueError, match="unheard_of: its facts do not say"):
        shard([op._replace(name="unheard_of", facts=UNSAID)], Layout(tp=2, sequence_parallel=False))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["llama3-8b", "gpt2-xl", "gemma-2-9b", "mistral-7b"]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 64),
)
def test_tensor_parallel_shares_sum_to_the_whole(name, tp, batch):
    """Every product and every cached byte stands on one GPU alone; only norms stand on all."""
    ops = operators(load_model(name), BF16, Load(batch, 32, 32))
    whole, one = count_pass(ops), count_pass(shard(ops, Layout(tp=tp, gpus_per_node=8, sequence_parallel=False)))
    assert one.flops(causal=True) * tp == pytest.approx(whole.flops(causal=True))
    assert one.cache_bytes * tp == pytest.approx(whole.cache_bytes)
    norms = sum(op.count * op.stored_bytes() for op in ops if op.part == "norm" or op.name == "position_embedding")
    biases = sum(op.count * op.n * 2 for op in ops if getattr(op, "bias", False) and op.facts.split == "rows")
    assert (stored_bytes(shard(ops, Layout(tp=tp, sequence_parallel=False))) - norms - biases) * tp == pytest.approx(
        stored_bytes(ops) - norms - biases
    )


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]))
def test_shares_of_experts_sum_to_the_whole(tp, dp, ep):
    """However experts lie across tp·dp GPUs, all tokens of all data-parallel ranks are computed once.

    All copies of the experts are equal.
    """
    if (tp * dp) % ep:
        return
    ops = [op for op in operators(load_model("mixtral-8x7b"), BF16, PROMPT) if op.facts.expert == "routed"]
    plan = Layout(tp=tp, dp=dp, ep=ep, sequence_parallel=False)
    share = [op for op in shard(ops, plan) if not isinstance(op, Collective)]
    flops, stored = sum(op.count * op.flops(causal=True) for op in share), stored_bytes(share)
    copies = tp * dp / plan.expert_group()
    assert flops * tp == pytest.approx(
        sum(op.count * op.flops(causal=True) for op in ops)
    )  # of dp ranks with a batch each
    assert stored * tp * dp == pytest.approx(copies * stored_bytes(ops))


def test_a_layer_needs_two_all_reduces_forward():
    """Megatron-LM, arXiv 1909.08053, section 3: one after attention, one after the MLP, of b·s·h elements each."""
    found = collectives("llama3-8b", Layout(tp=8, gpus_per_node=8, sequence_parallel=False))
    b, s, h, layers = 2, 64, 4096, 32
    sums = [op for op in found.values() if op.exchange == "all_reduce" and op.count == layers]
    assert sorted(op.name for op in sums) == ["down_proj_all_reduce", "o_proj_all_reduce"]
    assert {op.payload_bytes() for op in sums} == {b * s * h * 2}
    assert sums[0].wire_bytes() == (2 * (7 / 8) * b * s * h * 2, 0)  # a ring sends 2(n-1)/n of the array


def test_a_norm_over_all_heads_adds_up_squares_of_queries_and_keys_across_gpus():
    """Two numbers of 4 bytes a token: 7 x 2 x 4 = 56 bytes; OLMo 2's GPUs each have a part of the heads."""
    of = operators(load_model("olmo-2-7b"), element_bytes("bf16", "bf16", "bf16"), Load(7, 1, 100, decode=True), 1)
    sums = [op for op in shard(of, Layout(tp=4)) if op.name == "qk_norm_all_reduce"]
    assert [(op.count, op.payload_bytes()) for op in sums] == [(32, 56)]
    per_head = operators(load_model("qwen3-8b"), element_bytes("bf16", "bf16", "bf16"), Load(7, 1, 100, decode=True), 1)
    assert not [op for op in shard(per_head, Layout(tp=4)) if op.name.startswith("qk_norm_")]


def test_sequence_parallelism_exchanges_as_much_as_tensor_parallelism():
    """arXiv 2205.05198, section 4.2.2: an all-gather and a reduce-scatter are one all-reduce."""
    ops = operators(load_model("llama3-8b"), BF16, PROMPT)
    plain, parallel = (
        sum(
            op.count * op.wire_bytes()[0]
            for op in shard(ops, Layout(tp=4, gpus_per_node=8, sequence_parallel=sp))
            if isinstance(op, Collective)
        )
        for sp in (False, True)
    )
    assert plain == pytest.approx(parallel)


def test_experts_of_other_ranks_need_tokens_sent_and_those_of_the_same_tensor_parallel_group_none():
    assert collectives("mixtral-8x7b", Layout(tp=8, ep=8, gpus_per_node=8, sequence_parallel=False))[
        "experts_dispatch"
    ].wire_bytes() == (0, 0)
    sent = collectives("mixtral-8x7b", Layout(dp=8, ep=8, gpus_per_node=8, sequence_parallel=False))["experts_dispatch"]
    # b·s tokens to 2 experts each, one a GPU, an eighth of them here.
    assert sent.wire_bytes() == pytest.approx((2 * 64 * 2 * 4096 * 2 * 7 / 8, 0))


def test_a_ring_leaves_each_node_once():
    """16 GPUs in two nodes of 8 have eight rings, each for an eighth of the array.

    A ring has 15 links, of which one leaves each node.
    """
    op = Collective("sum", "mlp", 1, "all_reduce", rows=1000, width=8, ranks=16, stride=1, node=8, Bx=2)
    payload = 16_000
    assert op.wire_bytes() == (2 * payload * 15 / 16, 2 * payload * 15 / 16 / 8)
    assert op.least_bytes() == (
        payload * 7 / 8,
        payload / 8 / 2,
    )  # inside, then each GPU's eighth between the two nodes
    apart = op._replace(ranks=4, stride=8)  # one GPU of each of four nodes
    assert apart.wire_bytes() == (0, 2 * payload * 3 / 4)


@given(
    st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]),
    *[st.sampled_from([1, 2, 8, 64])] * 3,
)
def test_no_collective_sends_less_than_the_least(exchange, ranks, stride, node):
    op = Collective("sum", "mlp", 1, exchange, rows=1000, width=8, ranks=ranks, stride=stride, node=node, Bx=2)
    assert all(sent >= least >= 0 for sent, least in zip(op.wire_bytes(), op.least_bytes(), strict=True))


def test_an_all_to_all_sends_each_byte_once():
    op = Collective("swap", "mlp", 1, "all_to_all", rows=1000, width=8, ranks=16, stride=1, node=8, Bx=2)
    inside, outside = op.wire_bytes()
    assert inside + outside == pytest.approx(16_000 * 15 / 16)


def test_exchanged_bytes_bound_a_pass():
    chip = Chip(1e15, 1e15, 1e15, 1e12, 8e10, Links(node_bytes_per_s=1e11, fabric_bytes_per_s=None))
    ops = shard(
        operators(load_model("llama3-8b"), BF16, PROMPT), Layout(tp=8, gpus_per_node=8, sequence_parallel=False)
    )
    cost = count_pass(ops)
    assert bound(cost, chip, "F", "B").network_seconds == cost.node_bytes / 1e11
    assert (
        sum(op.count * op.wire_bytes()[0] for op in ops if isinstance(op, Collective)) > cost.node_bytes
    )  # switches may add up
    across = count_pass(
        shard(operators(load_model("llama3-8b"), BF16, PROMPT), Layout(tp=16, gpus_per_node=8, sequence_parallel=False))
    )
    assert bound(across, chip, "F", "B").seconds() is None  # the fabric's rate is not known
