"""How GPUs divide a model: the operators of one GPU, and the collectives between GPUs.

Tensor parallelism (Megatron-LM, arXiv 1909.08053, section 3): a layer's first products are split by columns or heads,
its last by rows, whose partial sums an all-reduce adds up. With sequence parallelism (arXiv 2205.05198, section
4.2.2) what lies between is split by tokens, and the all-reduce becomes an all-gather before and a reduce-scatter
after. Expert parallelism (GShard, arXiv 2006.16668): each GPU has whole experts, and tokens of other data-parallel
ranks travel there and back.

An operator's facts say how it is split. An operator whose facts do not say it is refused: nothing is divided by guess.
A fused projection of queries, keys and values counts as split evenly, even where there are fewer KV heads than GPUs
and each GPU keeps a copy of one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from llmcost.ground.algebra import Number, divide, is_one, present
from llmcost.model import verify
from llmcost.model.operators import AvoidableCollective, Collective, ExpertTraffic, GroupedGemm, Operator
from llmcost.model.operators.collective import CollectiveKind
from llmcost.model.sizes import ElementBytes
from llmcost.parallel.layout import Layout

SENT_AS_KEPT = ElementBytes(2, 2, 2)  # tokens go to experts in the type that activations have


def shard(
    operators: Iterable[Any],
    layout: Layout,
    size: ElementBytes = SENT_AS_KEPT,
    *,
    gather_logits: bool = True,
    filled: Number = 1,
    everywhere: bool = False,
) -> list[Operator]:
    """One GPU's share of a pass over the batch of its data-parallel rank, with the collectives where they stand.

    `size`: bytes of what is sent to experts. `gather_logits`: whether the logits of all GPUs are gathered; a loss that
    works on split logits does without. `filled`: sequences of the ranks that share experts, on average, over those of
    the fullest, whose share this is. `everywhere`: engines send each token to all GPUs that share experts. Raises
    ValueError for an operator whose facts do not say how it is split.
    """
    if layout.stage_is_one_gpu():
        return list(operators)
    found: list[Operator] = []
    operators = list(operators)
    for op in operators:
        found.append(_expert(op, layout, filled) if op.facts.expert == "routed" else _dense(op, layout))
        found += _collectives(op, layout, size, everywhere=everywhere)
        if gather_logits and op.part == "lm_head" and op.facts.split == "columns":
            found.append(AvoidableCollective(*_collective("logits_all_gather", op, layout, "all_gather")))
    if verify.ON:
        verify.split_pass(operators, found)
    return found


def _dense(op: Operator, layout: Layout) -> Operator:
    """The share that one GPU of a tensor-parallel group has of an operator, routed experts apart."""
    split = op.facts.split
    if split == "tokens":
        return op.tokens_divided(layout.tp) if layout.sequence_parallel else op
    if split == "columns":
        return op.columns_divided(layout.tp)
    if split in ("rows", "table"):
        return op.rows_divided(layout.tp)
    if split == "heads":
        return op.heads_divided(layout.tp)
    raise ValueError(f"{op.name}: its facts do not say how GPUs divide it")


def _expert(op: Any, layout: Layout, filled: Number) -> Operator:
    """The share that one GPU has of an operator of routed experts.

    It has some of the experts, or a part of each, and runs the tokens of all data-parallel ranks that share them.
    """
    facts = op.facts
    if facts.role == "expansion":  # of a weight, whatever the tokens are
        share: Operator = op.heads_divided(layout.expert_group())
        return share
    b = op.b * layout.expert_ranks()
    op = op._replace(b=b if is_one(filled) else b * filled)
    if facts.split == "heads":
        return cast("Operator", op.heads_divided(layout.expert_group()))
    some = op._replace(
        groups=divide(op.groups, layout.ep),
        active=divide(op.active, layout.ep),
        facts=facts._replace(routing=facts.routing._replace(spread=layout.ep)),
    )
    if facts.split == "tokens":  # an adapter: whole for each expert
        return cast("Operator", some)
    parts = layout.expert_tp()
    return cast("Operator", some.rows_divided(parts) if facts.split == "rows" else some.columns_divided(parts))


def _collectives(op: Any, layout: Layout, size: ElementBytes, *, everywhere: bool) -> Iterator[Operator]:
    """The collectives after an operator: sums of its output, and tokens sent to experts and back."""
    name, facts = op.name, op.facts
    if facts.summed:
        if layout.sequence_parallel:  # the all-gather stands before the next block, which begins where this one ends
            yield _collective(f"{name}_reduce_scatter", op, layout, "reduce_scatter")
            yield _collective(f"{name}_all_gather", op, layout, "all_gather")
        else:
            summed = _collective(f"{name}_all_reduce", op, layout, "all_reduce")
            yield AvoidableCollective(*summed) if facts.split == "table" else summed
    if facts.sums:
        rows, at = op.b * op.s, layout
        yield Collective(
            f"{name}_all_reduce", op.part, op.count, "all_reduce", rows, facts.sums, at.tp, 1, at.gpus_per_node, 4
        )
    apart = not is_one(layout.ep) or layout.etp is not None  # else a tensor-parallel group has all experts
    if apart and facts.expert == "routed" and facts.split in ("columns", "rows"):
        yield _to_or_from_experts(op, layout, size, everywhere=everywhere)


def _to_or_from_experts(op: Any, layout: Layout, size: ElementBytes, *, everywhere: bool) -> ExpertTraffic:
    """Tokens on their way to the first product of their experts, or what its last one makes of them on its way back.

    They are sent as they are computed with, and come back as activations.
    """
    first = op.facts.split == "columns"
    return ExpertTraffic(
        name="experts_dispatch" if first else "experts_combine",
        part=op.part,
        count=op.count,
        rows=divide(op.b * op.s, layout.tp),
        width=op.k if first else op.n,
        experts=op.groups,
        active=op.active,
        ep=layout.ep,
        etp=layout.expert_tp(),
        tp=layout.tp,
        node=layout.gpus_per_node,
        Bx=size.Bd if first and present(size.Bd) else op.Bx,
        Bl=size.Bm if present(size.Bm) else op.Bx,
        everywhere=everywhere,
        routing=op.facts.routing,
    )


def _collective(name: str, op: Any, layout: Layout, exchange: CollectiveKind) -> Collective:
    """A collective on all of an operator's output, in a tensor-parallel group."""
    rows, width = op.b * op.s, op.output_width()
    return Collective(name, op.part, op.count, exchange, rows, width, layout.tp, 1, layout.gpus_per_node, op.Bx)


def on_the_busiest(operators: Iterable[Any], layout: Layout) -> list[Any]:
    """One GPU's share of a pass where the GPU is the one whose experts get the most tokens: others wait for it.

    That follows from the law of routing. Communication is left as it is.
    """
    if is_one(layout.ep):
        return list(operators)
    found: list[Any] = []
    load: Number = 1
    for op in operators:
        if op.facts.expert != "routed":
            found.append(op)
            continue
        if isinstance(op, GroupedGemm):
            load = op.facts.routing.busiest(op.groups, op.active, op.b * op.s)
        found.append(op._replace(b=op.b * load))
    return found
