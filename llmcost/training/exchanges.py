"""Exchanges of a training step beside those that operators need.

Gradients and weights between replicas, keys and values between parts of a sequence, activations between pipeline
stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, maximum, minimum, present
from llmcost.model.operators import Attention, Collective, Operator
from llmcost.model.operators.exchange import Exchange
from llmcost.parallel.layout import Layout
from llmcost.training.recipe import Recipe


class Held(NamedTuple):
    """Parameters that one GPU computes with: of dense layers, and of experts, which other ranks hold too."""

    dense: Number
    experts: Number


class DataExchange(NamedTuple):
    """What replicas exchange: gradients added up, weights handed round (each a list, dense ones and experts')."""

    gradients: list[Collective]
    weights: list[Collective]


def data_exchange(held: Held, layout: Layout, recipe: Recipe, trained: Held | None = None) -> DataExchange:
    """Once around: Ψ parameters cost 2Ψ elements on the wire, as one all-reduce or as reduce-scatter and all-gather.

    (ZeRO, arXiv 1910.02054, section 7.) States divided over fewer ranks than there are replicas (hybrid) add an
    all-reduce of each rank's part among the groups (arXiv 2304.11277, section 3.2.2). Only what is trained (None:
    all) has gradients; frozen weights are handed round where they are divided (ZeRO-3).
    """
    trained = held if trained is None else trained
    gradients: list[Collective] = []
    weights: list[Collective] = []
    expert_stride = minimum(layout.expert_group(), layout.stage_gpus())
    for name, whole, count, replicas, stride in (
        ("dense", held.dense, trained.dense, layout.replicas(), layout.tp),
        ("experts", held.experts, trained.experts, layout.expert_replicas(), expert_stride),
    ):
        if not present(whole):
            continue
        if layout.zero == 0:
            gradients.append(_whole(name, "all_reduce", count, replicas, stride, layout, recipe.reduce_bytes))
            continue
        group = layout.sharded(replicas)
        gradients.append(_whole(name, "reduce_scatter", count, group, stride, layout, recipe.reduce_bytes))
        weights.append(
            _whole(
                name, "all_gather", whole if layout.zero == 3 else count, group, stride, layout, recipe.param_bytes()
            )
        )
        if layout.shard is not None:
            between = divide(replicas, group)
            gradients.append(
                _whole(name, "all_reduce", count / group, between, stride * group, layout, recipe.reduce_bytes)
            )
    return DataExchange(gradients, weights)


def _whole(
    name: str, kind: Exchange, count: Number, ranks: Number, stride: Number, layout: Layout, size: Number
) -> Collective:
    return Collective(f"{name}_{kind}", "mlp", 1, kind, count, 1, ranks, stride, layout.node, size)


def context_exchange(op: Attention, layout: Layout) -> Collective:
    """What one attention exchanges forward between the parts of a sequence.

    ring (arXiv 2310.01889, section 3) and all-gather (Llama 3, arXiv 2407.21783, section 3.3.2): every part's keys
    and values reach every rank; twice as much comes back as their gradients and they themselves. ulysses (arXiv
    2309.14509, section 3): queries, keys, values and outputs change from parts of the sequence to shares of the
    heads, and back.
    """
    whole_heads = op.a * layout.cp
    keys = maximum(op.streamed, op.cached)
    tokens = op.b * op.c
    if layout.context == "ulysses":
        width = whole_heads * (op.d + op.dv) + keys
        rows = divide(tokens, layout.cp)
        return Collective(
            "context_all_to_all",
            "attention",
            op.count,
            "all_to_all",
            rows,
            width,
            layout.cp,
            layout.tp,
            layout.node,
            op.Bx,
        )
    return Collective(
        "context_all_gather",
        "attention",
        op.count,
        "all_gather",
        tokens,
        keys,
        layout.cp,
        layout.tp,
        layout.node,
        op.Bx,
    )


def stage_exchange(hidden: Number, seq: Number, layout: Layout, recipe: Recipe) -> Collective:
    """One micro-batch's activations on their way to the next stage: 2bsh/t bytes.

    A tensor-parallel rank sends its part of the tokens (arXiv 2104.04473, section 4.1: scatter-gather).
    """
    rows = divide(layout.micro_batch * seq, layout.cp * layout.tp)
    stride = layout.stage_gpus()
    return Collective(
        "stage_send", "mlp", 1, "send", rows, hidden, layout.pp, stride, layout.node, recipe.param_bytes()
    )


def attentions(ops: Sequence[Operator]) -> list[Attention]:
    """The operators that look across parts of a sequence."""
    return [op for op in ops if isinstance(op, Attention)]
