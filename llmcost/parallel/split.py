"""How GPUs divide a model: one GPU's operators, and the exchanges between them.

Tensor parallelism (Megatron-LM, arXiv 1909.08053, section 3): a layer's first products are split by columns or heads,
its last by rows, whose partial sums an all-reduce adds up. With sequence parallelism (arXiv 2205.05198, section
4.2.2) what lies between is split by tokens, and the all-reduce becomes an all-gather before and a reduce-scatter
after. Expert parallelism (GShard, arXiv 2006.16668): whole experts to a GPU; tokens of other data-parallel ranks
travel there and back.

An operator's facts say how it is split; one of which nothing was said is an error, so that nothing new is divided by
guess. A fused projection of queries, keys and values counts as split evenly even where KV heads are
fewer than GPUs and each keeps a copy of one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from llmcost.ground.algebra import Number, divide, is_one, maximum
from llmcost.model import verify
from llmcost.model.operators import Collective, Operator
from llmcost.model.operators.exchange import Exchange
from llmcost.parallel.layout import Layout


def shard(
    operators: Iterable[Any], layout: Layout, *, gather_logits: bool = True, filled: Number = 1
) -> list[Operator]:
    """One GPU's share of a pass over the batch of its data-parallel rank, with the collectives where they stand.

    Of a loss that is computed on split logits, `gather_logits` is left out. `filled`: sequences that the ranks which
    share experts have, on average, over those of the fullest rank, whose share this is. Raises ValueError for an
    operator of which nothing was said.
    """
    if layout.stage_is_one_gpu():
        return list(operators)
    found: list[Operator] = []
    operators = list(operators)
    for op in operators:
        found.append(_expert(op, layout, filled) if op.facts.expert == "routed" else _dense(op, layout))
        found += _exchanges(op, layout)
        if gather_logits and op.part == "lm_head" and op.facts.split == "columns":
            found.append(_exchange("logits_all_gather", op, layout, "all_gather"))
    if verify.ON:
        verify.split_pass(operators, found)
    return found


def _dense(op: Operator, layout: Layout) -> Operator:
    """A dense layer's operator on one GPU of a tensor-parallel group."""
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
    """Routed experts on one GPU: its share of the experts, and of each, on the tokens of all data-parallel ranks that share them."""
    facts = op.facts
    if facts.role == "expansion":  # a weight is of no token
        share: Operator = op.heads_divided(layout.expert_group())
        return share
    b = op.b * layout.expert_ranks()
    op = op._replace(b=b if is_one(filled) else b * filled)
    if facts.split == "heads":
        return cast("Operator", op.heads_divided(layout.expert_group()))
    some = op._replace(groups=divide(op.groups, layout.ep), active=divide(op.active, layout.ep))
    if facts.split == "tokens":  # an adapter: whole for each expert
        return cast("Operator", some)
    parts = layout.expert_tp()
    return cast("Operator", some.rows_divided(parts) if facts.split == "rows" else some.columns_divided(parts))


def _exchanges(op: Any, layout: Layout) -> Iterator[Operator]:
    """The exchanges that an operator's output needs, or its experts' input."""
    name, facts = op.name, op.facts
    if facts.summed:
        if layout.sequence_parallel:  # the all-gather stands before the next block, which begins where this one ends
            yield _exchange(f"{name}_reduce_scatter", op, layout, "reduce_scatter")
            yield _exchange(f"{name}_all_gather", op, layout, "all_gather")
        else:
            yield _exchange(f"{name}_all_reduce", op, layout, "all_reduce")
    if facts.expert == "routed" and facts.split in ("columns", "rows"):
        first = facts.split == "columns"
        yield Collective(
            "experts_dispatch" if first else "experts_combine",
            op.part,
            op.count,
            "all_to_all",
            divide(op.b * op.s, layout.tp) * op.active,
            op.k if first else op.n,
            maximum(layout.expert_ranks(), 1),
            layout.tp,
            layout.gpus_per_node,
            op.Bx,
        )


def _exchange(name: str, op: Any, layout: Layout, exchange: Exchange) -> Collective:
    """An exchange of all of an operator's output within a tensor-parallel group."""
    rows, width = op.b * op.s, op.output_width()
    return Collective(name, op.part, op.count, exchange, rows, width, layout.tp, 1, layout.gpus_per_node, op.Bx)
