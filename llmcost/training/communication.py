"""Communication of a training step beside the collectives that operators need.

Gradients and weights between replicas, keys and values between parts of a sequence, activations between pipeline
stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, maximum, minimum, present
from llmcost.ground.constants import Constant
from llmcost.model.operators import Attention, Collective, Operator
from llmcost.model.operators.collective import CollectiveKind
from llmcost.parallel.layout import Layout
from llmcost.training.recipe import Recipe

HOP = {  # seconds in which a ring hands on a piece, to the next GPU of a node and to the next node
    "node": Constant(
        3.4e-6, "NVIDIA/nccl, src/graph/tuning.cc: hwLat of rings over NVLink, protocol Simple", "seconds"
    ),
    "fabric": Constant(9.6e-6, "the same, over the network (14 in later versions)", "seconds"),
}


class Held(NamedTuple):
    """Parameters that one GPU computes with: of dense layers, and of experts, which other ranks hold too."""

    dense: Number
    experts: Number


class DataCollectives(NamedTuple):
    """What replicas send each other: gradients that are added up, and weights that are gathered.

    Each a list: of dense parameters, and of experts', which have other replicas.
    """

    gradients: list[Collective]
    weights: list[Collective]


def data_collectives(held: Held, layout: Layout, recipe: Recipe, trained: Held | None = None) -> DataCollectives:
    """Collectives between replicas, once each; `held`: parameters of one GPU, `trained`: those that have gradients.

    Ψ parameters cost 2Ψ elements on the wire, as one all-reduce or as reduce-scatter and all-gather (ZeRO, arXiv
    1910.02054, section 7). States divided over fewer ranks than there are replicas (hybrid) add an all-reduce of each
    rank's part among the groups (arXiv 2304.11277, section 3.2.2). Frozen weights are gathered only where they are
    divided (ZeRO-3). Where every rank gets all sums and keeps its part, ZeRO-1 and 2 cost 3Ψ. `trained` None: all.
    """
    trained = held if trained is None else trained
    expert_stride = minimum(layout.expert_group(), layout.stage_gpus())
    found = DataCollectives([], [])
    if present(held.dense):
        _add(found, "dense", held.dense, trained.dense, layout.replicas(), layout.tp, layout, recipe)
    if present(held.experts):
        _add(found, "experts", held.experts, trained.experts, layout.expert_replicas(), expert_stride, layout, recipe)
    return found


def ring_seconds(op: Collective) -> Number:
    """Seconds of an empty collective: a ring hands a piece on from GPU to GPU, and in an all-reduce twice.

    As NCCL reckons it (ncclTopoTuneModel): of the steps, one a GPU but the first, as many cross nodes as there are
    nodes but one.
    """
    nodes = op.far()
    once = (op.ranks - nodes) * HOP["node"].value + (nodes - 1) * HOP["fabric"].value
    return 2 * once if op.exchange == "all_reduce" else once


def collectives_of(op: Collective, layers: Number, layout: Layout, recipe: Recipe) -> Number:
    """In how many collectives the parameters of one are sent: one a layer and one of all else, or one a bucket.

    `layers`: of a stage. With ZeRO-3 layers are gathered one by one, whatever the buckets are.
    """
    if layout.zero == 3 or not recipe.buckets():
        return layers + 1
    bucket = maximum(recipe.bucket or 0, (recipe.bucket_a_rank or 0) * op.ranks)
    return maximum(1, op.rows / bucket)


def _add(
    found: DataCollectives,
    name: str,
    held: Number,
    trained: Number,
    replicas: Number,
    stride: Number,
    layout: Layout,
    recipe: Recipe,
) -> None:
    """Add those of one kind of parameters, whose replicas are `stride` ranks apart."""

    def collective(kind: CollectiveKind, elements: Number, ranks: Number, apart: Number, size: Number) -> Collective:
        return Collective(f"{name}_{kind}", "mlp", 1, kind, elements, 1, ranks, apart, layout.gpus_per_node, size)

    group = layout.sharded(replicas)
    gathered = {0: 0, 3: held}.get(layout.zero, trained)
    if present(gathered):
        found.weights.append(collective("all_gather", gathered, group, stride, recipe.param_bytes()))
    if not present(trained):
        return
    if layout.zero == 0:
        found.gradients.append(collective("all_reduce", trained, replicas, stride, recipe.reduce_bytes))
        return
    added: CollectiveKind = "all_reduce" if recipe.whole_gradients and layout.zero < 3 else "reduce_scatter"
    found.gradients.append(collective(added, trained, group, stride, recipe.reduce_bytes))
    if layout.shard is not None:
        groups, apart = divide(replicas, group), stride * group
        found.gradients.append(collective("all_reduce", trained / group, groups, apart, recipe.reduce_bytes))


def context_collective(op: Attention, layout: Layout) -> Collective:
    """The collective of one attention between the parts of a sequence, in the forward pass.

    ring (arXiv 2310.01889, section 3) and all-gather (Llama 3, arXiv 2407.21783, section 3.3.2): every part's keys
    and values reach every rank; twice as much comes back as their gradients and they themselves. ulysses (arXiv
    2309.14509, section 3): queries, keys, values and outputs change from parts of the sequence to shares of the
    heads, and back.
    """
    keys, tokens = maximum(op.streamed, op.cached), op.b * op.c
    kind: CollectiveKind = "all_gather"
    rows, width = tokens, keys
    if layout.context_parallel == "ulysses":
        kind = "all_to_all"
        whole_heads = op.a * layout.cp
        rows, width = divide(tokens, layout.cp), whole_heads * (op.d + op.dv) + keys
    name = f"context_{kind}"
    return Collective(name, "attention", op.count, kind, rows, width, layout.cp, layout.tp, layout.gpus_per_node, op.Bx)


def stage_send(hidden: Number, seq: Number, layout: Layout, recipe: Recipe) -> Collective:
    """One micro-batch's activations on their way to the next stage: 2bsh/t bytes.

    A tensor-parallel rank sends its part of the tokens (arXiv 2104.04473, section 4.1: scatter-gather).
    """
    rows, size = divide(layout.micro_batch * seq, layout.cp * layout.tp), recipe.param_bytes()
    return Collective(
        "stage_send", "mlp", 1, "send", rows, hidden, layout.pp, layout.stage_gpus(), layout.gpus_per_node, size
    )


def attentions(ops: Sequence[Operator]) -> list[Attention]:
    """The operators that look across parts of a sequence."""
    return [op for op in ops if isinstance(op, Attention)]
