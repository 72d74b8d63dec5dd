"""Tokens on their way to experts and back: against sending every token, and against DeepEP's own measurements."""

from itertools import combinations
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost import load_hardware, load_model
from llmcost.machine.chip import links_of
from llmcost.machine.efficiency import default_for
from llmcost.machine.timing import collective_seconds
from llmcost.model.architecture import operators
from llmcost.model.counting import count_pass
from llmcost.model.operators import AvoidableCollective, ExpertTraffic
from llmcost.model.operators.routing import UNIFORM, Routing
from llmcost.model.sizes import Load, element_bytes
from llmcost.parallel.layout import Layout
from llmcost.parallel.split import shard

LIMITED = Routing(n_group=8, topk_group=4)
H100 = load_hardware("h100-sxm")


def traffic(ep, node, rows=1, width=1, experts=8, active=2, etp=1, tp=1, Bx=1, Bl=1, everywhere=False, routing=UNIFORM):
    sizes = (rows, width, experts, active, ep, etp, tp, node, Bx, Bl, everywhere, routing)
    return ExpertTraffic("experts_dispatch", "mlp", 1, *sizes)


def copies(choice, source, ep, etp, tp, node, experts):
    """Copies of one token over the links of nodes and between nodes, sent as DeepEP sends them.

    The `tp` GPUs of the source's group have it. It goes to one GPU of each other node, and on from there.
    """
    holders = {expert * ep // experts * etp + part for expert in choice for part in range(etp)}
    group = set(range(source - source % tp, source - source % tp + tp))
    at_home = {gpu // node for gpu in group}
    needing = {gpu // node for gpu in holders} - at_home
    landing = {there * node + source % node for there in needing}
    return len(holders - group - landing), len(needing)


@pytest.mark.parametrize(
    ("ep", "etp", "tp", "node"),
    [(2, 1, 1, 8), (8, 1, 1, 8), (8, 1, 1, 4), (8, 1, 1, 2), (4, 2, 1, 4), (4, 2, 2, 4), (8, 1, 2, 4), (4, 1, 1, 1)],
)
@pytest.mark.parametrize("active", [1, 2, 3])
def test_a_token_crosses_once_to_each_node_and_gpu_that_has_one_of_its_experts(ep, etp, tp, node, active):
    """The mean over all choices of 8 experts and all GPUs that have the token. Each of a group's sends its part."""
    every = [
        copies(choice, source, ep, etp, tp, node, 8)
        for choice in combinations(range(8), active)
        for source in range(ep * etp)
    ]
    inside, outside = traffic(ep, node, active=active, etp=etp, tp=tp).wire_bytes()
    assert outside == pytest.approx(mean(far for _, far in every))
    assert inside == pytest.approx(mean(near for near, _ in every))


def test_deepseek_v3_on_four_nodes_by_hand():
    """Of 4 nodes, each with 2 of 8 groups: missed if none of its groups is among the 4 kept (15/70), or none of the
    experts is in one of two (40/70 · C(96, 8)/C(128, 8)) or in two (15/70 · C(64, 8)/C(128, 8)).
    """

    def chance(part):
        missed = 1.0
        for i in range(8):
            missed *= (128 - part - i) / (128 - i)
        return missed

    nodes = 4 * (1 - 15 / 70 - 40 / 70 * chance(32) - 15 / 70 * chance(64))
    gpus = 32 * (4 / 8) * (1 - chance(8))
    sent = traffic(32, 8, rows=4096, width=7168, experts=256, active=8, Bx=1 + 4 / 128, routing=LIMITED)
    payload = 4096 * 7168 * (1 + 4 / 128)
    assert sent.wire_bytes() == pytest.approx((payload * gpus * 7 / 8, payload * nodes * 3 / 4))


@pytest.mark.parametrize(("nodes", "measured"), [(2, 90e9), (4, 61e9)])
def test_expected_times_are_those_that_deepep_measured(nodes, measured):
    """github.com/deepseek-ai/DeepEP, README.md: 8,192 tokens of 7,168 elements, fp8, 8 experts of 256, NICs of 400
    Gb/s. Its bandwidth counts what stays in the node too.
    """
    sent = traffic(8 * nodes, 8, rows=8192, width=7168, experts=256, active=8, Bx=1 + 4 / 128)
    seconds = collective_seconds(sent, links_of(H100), default_for(H100))
    logical = 8192 * 7168 * (1 + 4 / 128) * UNIFORM.places(nodes, 256, 8)
    assert logical / seconds == pytest.approx(measured, rel=0.03)


def test_the_least_is_nothing_where_all_experts_of_a_token_have_room_beside_it():
    assert traffic(32, 8, experts=256, active=8, routing=LIMITED).least_bytes() == (0, 0)


def test_what_has_no_room_beside_a_token_must_be_sent_whatever_the_luck():
    """256 GPUs with one expert each: 8 GPUs need the token, one has it, and all 8 are in one node."""
    assert traffic(256, 8, rows=10, width=3, experts=256, active=8, Bx=2, Bl=2).least_bytes() == (10 * 3 * 2 * 7, 0)
    # Four to a node: one other node, whose first GPU needs no link of a node.
    assert traffic(256, 4, experts=256, active=8).least_bytes() == (6, 1)


def test_over_pcie_every_token_goes_everywhere():
    """An all-gather: each of 8 GPUs sends its 5 tokens of 16 bytes to 7 others."""
    assert traffic(8, 8, rows=5, width=16, everywhere=True).wire_bytes() == (5 * 16 * 7, 0)


@settings(deadline=None, max_examples=200)
@given(
    *[st.sampled_from([1, 2, 4, 8, 16])] * 2,
    st.sampled_from([1, 2]),
    st.sampled_from([1, 4, 8]),
    st.integers(1, 16),
    st.sampled_from([UNIFORM, Routing(n_group=4, topk_group=2), Routing("balanced")]),
    st.booleans(),
)
def test_no_library_sends_less_than_the_least(ep, tp, etp, node, active, routing, everywhere):
    if (ep * etp) % tp:
        return
    active = min(active, 8) if routing.n_group else active
    op = traffic(ep, node, experts=16, active=active, etp=etp, tp=tp, routing=routing, everywhere=everywhere)
    assert all(sent >= least - 1e-9 >= -1e-9 for sent, least in zip(op.wire_bytes(), op.least_bytes(), strict=True))


def dispatched(model, dtype, **layout):
    size = element_bytes(dtype, dtype, "bf16")
    ops = operators(load_model(model), size, Load(2, 64, 64))
    return {op.name: op for op in shard(ops, Layout(sequence_parallel=False, **layout), size)}


def test_tokens_go_out_as_they_are_computed_with_and_come_back_as_activations():
    ops = dispatched("deepseek-v3", "fp8", dp=32, ep=32)
    out, back = ops["experts_dispatch"], ops["experts_combine"]
    assert (out.Bx, back.Bx) == (1 + 4 / 128, 2)
    assert (out.Bl, back.Bl) == (1, 1)
    assert (out.rows, out.width, out.active) == (2 * 64, 7168, 8)
    plain = dispatched("deepseek-v3", "bf16", dp=32, ep=32)
    assert plain["experts_dispatch"].Bx == plain["experts_dispatch"].Bl == 2


def test_a_tensor_parallel_group_that_has_all_experts_sends_no_tokens():
    assert "experts_dispatch" not in dispatched("mixtral-8x7b", "bf16", tp=8)
    assert dispatched("mixtral-8x7b", "bf16", tp=8, ep=8)["experts_dispatch"].wire_bytes() == (0, 0)


def test_the_limit_gathers_no_logits_and_sums_no_embedding():
    """Two sums of b·s·h elements a layer are left, of which switches send 7/8 of each GPU's once."""
    size = element_bytes("bf16", "bf16", "bf16")
    ops = shard(operators(load_model("llama3-8b"), size, Load(2, 64, 64)), Layout(tp=8, sequence_parallel=False), size)
    avoided = {op.name for op in ops if isinstance(op, AvoidableCollective)}
    assert avoided == {"token_embedding_all_reduce", "logits_all_gather"}
    assert all(sum(op.wire_bytes()) > 0 for op in ops if op.name in avoided)
    assert count_pass(ops).node_bytes == 32 * 2 * (2 * 64 * 4096 * 2) * 7 / 8
