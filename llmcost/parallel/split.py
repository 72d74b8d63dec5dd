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
from typing import Any, NamedTuple, cast

from llmcost.ground.algebra import Number, divide, is_one, maximum, minimum
from llmcost.model import verify
from llmcost.model.operators import Collective, Operator
from llmcost.model.operators.exchange import Exchange


class Plan(NamedTuple):
    """Degrees of parallelism: tp, dp, and ep GPUs that share experts, out of the tp·dp that work on one pipeline stage.

    Experts are split by columns and rows too, over `expert_tp` GPUs: `etp`, or (None) as many as the other layers or
    as the experts leave. `node`: GPUs that the fast links join. GPUs of a tensor-parallel group are neighbours.
    `filled`: sequences that the ranks which share experts have, on average, over those of the fullest.
    """

    tp: Number = 1
    dp: Number = 1
    ep: Number = 1
    sequence_parallel: bool = False
    node: Number = 1
    etp: Number | None = None
    filled: Number = 1

    def expert_tp(self) -> Number:
        """GPUs that an expert is split over."""
        if self.etp is not None:
            return self.etp
        return minimum(self.tp, divide(self.tp * self.dp, self.ep))

    def expert_group(self) -> Number:
        """GPUs that hold all experts once."""
        return self.ep * self.expert_tp()

    def expert_ranks(self) -> Number:
        """Data-parallel ranks that share experts, all of whose tokens these see."""
        return divide(self.expert_group(), self.tp)


SINGLE = Plan()


def shard(operators: Iterable[Any], plan: Plan, *, gather_logits: bool = True) -> list[Operator]:
    """One GPU's share of a pass over the batch of its data-parallel rank, with the exchanges where they stand.

    Of a loss that is computed on split logits, `gather_logits` is left out.
    """
    if all(degree.__class__ is int for degree in plan[:3]) and plan[:3] == SINGLE[:3]:
        return list(operators)
    found: list[Operator] = []
    operators = list(operators)
    for op in operators:
        found.append(_expert(op, plan) if op.facts.expert == "routed" else _dense(op, plan))
        found += _exchanges(op, plan)
        if gather_logits and op.part == "lm_head" and op.facts.split == "columns":
            found.append(_exchange("logits_all_gather", op, plan, "all_gather"))
    if verify.ON:
        verify.split_pass(operators, found)
    return found


def _dense(op: Operator, plan: Plan) -> Operator:
    """A dense layer's operator on one GPU of a tensor-parallel group."""
    split = op.facts.split
    if split == "tokens":
        return op.tokens_divided(plan.tp) if plan.sequence_parallel else op
    if split == "columns":
        return op.columns_divided(plan.tp)
    if split in ("rows", "table"):
        return op.rows_divided(plan.tp)
    if split == "heads":
        return op.heads_divided(plan.tp)
    raise ValueError(f"{op.name}: its facts do not say how GPUs divide it")


def _expert(op: Any, plan: Plan) -> Operator:
    """Routed experts on one GPU: its share of the experts, and of each, on the tokens of all data-parallel ranks that share them."""
    facts = op.facts
    if facts.role == "expansion":  # a weight is of no token
        share: Operator = op.heads_divided(plan.expert_group())
        return share
    b = op.b * plan.expert_ranks()
    op = op._replace(b=b if is_one(plan.filled) else b * plan.filled)
    if facts.split == "heads":
        return cast("Operator", op.heads_divided(plan.expert_group()))
    some = op._replace(groups=divide(op.groups, plan.ep), active=divide(op.active, plan.ep))
    if facts.split == "tokens":  # an adapter: whole for each expert
        return cast("Operator", some)
    parts = plan.expert_tp()
    return cast("Operator", some.rows_divided(parts) if facts.split == "rows" else some.columns_divided(parts))


def _exchanges(op: Any, plan: Plan) -> Iterator[Operator]:
    """The exchanges that an operator's output needs, or its experts' input."""
    name, facts = op.name, op.facts
    if facts.summed:
        if plan.sequence_parallel:  # the all-gather stands before the next block, which begins where this one ends
            yield _exchange(f"{name}_reduce_scatter", op, plan, "reduce_scatter")
            yield _exchange(f"{name}_all_gather", op, plan, "all_gather")
        else:
            yield _exchange(f"{name}_all_reduce", op, plan, "all_reduce")
    if facts.expert == "routed" and facts.split in ("columns", "rows"):
        first = facts.split == "columns"
        yield Collective(
            "experts_dispatch" if first else "experts_combine",
            op.part,
            op.count,
            "all_to_all",
            divide(op.b * op.s, plan.tp) * op.active,
            op.k if first else op.n,
            maximum(plan.expert_ranks(), 1),
            plan.tp,
            plan.node,
            op.Bx,
        )


def _exchange(name: str, op: Any, plan: Plan, exchange: Exchange) -> Collective:
    """An exchange of all of an operator's output within a tensor-parallel group."""
    rows, width = op.b * op.s, op.output_width()
    return Collective(name, op.part, op.count, exchange, rows, width, plan.tp, 1, plan.node, op.Bx)
