"""What must hold of a list of operators after each pass over it: which may stand there, and what their facts must say.

Each stage is a list of rules (as in tinygrad's uop/spec.py). A list that breaks one is a mistake of a block or of a
pass, never of a user: it is found where it is made, not in a number that is a little off. Off unless the environment
says LLMCOST_VERIFY=1, as the tests do: a pass then costs nothing but a look at `ON`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from llmcost.ground.algebra import is_plain
from llmcost.model.operators import Collective, Elementwise, Gemm, GroupedGemm, Lookup, Operator, Scan, Stored

ON = os.environ.get("LLMCOST_VERIFY") == "1"
PRODUCTS = (Gemm, GroupedGemm)


class WrongListError(AssertionError):
    """A list of operators that no pass may hand on."""


class Rule(NamedTuple):
    """What must hold of each operator of a stage."""

    claim: str
    holds: Callable[[Any], bool]


def _can(op: Any) -> bool:
    """Whether its class knows the way in which its facts say that it is split."""
    method = {"heads": "heads_divided", "columns": "columns_divided", "rows": "rows_divided", "table": "rows_divided"}
    name = method.get(op.facts.split)
    return name is None or getattr(type(op), name) is not getattr(Operator, name)


def _widths_fit(op: Any) -> bool:
    widths, naming = op.facts.widths, op.facts.modules[:1]
    if not widths:
        return True
    fits = len(widths) == len(" ".join(naming).split())
    return fits and (not all(map(is_plain, (*widths, op.n))) or sum(widths) == op.n)


COMPLETE = (
    Rule("its facts must say how GPUs divide it", lambda op: op.facts.split != "unsaid"),
    Rule("its class must know how to be divided as its facts say", _can),
    Rule(
        "a product must name the tensor that it reads", lambda op: bool(op.facts.reads) or not isinstance(op, PRODUCTS)
    ),
    Rule(
        "only products have linear layers packed in them", lambda op: isinstance(op, PRODUCTS) or not op.facts.modules
    ),
    Rule("a table is looked up", lambda op: op.facts.split != "table" or isinstance(op, Lookup)),
)
ALONE = (
    Rule("GPUs exchange nothing in a pass that is not split", lambda op: not isinstance(op, Collective)),
    Rule("widths must be those of the packed layers and add up to the outputs", _widths_fit),
)
UNTRAINED = (Rule("adapters come with training", lambda op: op.facts.role not in ("adapter", "expansion")),)
TRAINED = (
    Rule("what is trained must say what its backward pass needs", lambda op: op.saved_bytes() is not None),
    Rule("it must say how large its output is", lambda op: op.output_bytes() is not None),
)
RUN = (
    Rule("what is stored and not run is not measured", lambda op: not isinstance(op, Stored)),
    Rule("it must be of a kind of kernels", lambda op: op.kind is not None),
)


def check(ops: Iterable[Operator], *stages: Sequence[Rule]) -> None:
    """Raise WrongListError, naming the first operator that breaks a rule and the rule."""
    for op in ops:
        for rule in (rule for stage in stages for rule in stage):
            if not rule.holds(op):
                raise WrongListError(f"{op.name} ({type(op).__name__}): {rule.claim}")


def forward_pass(ops: Sequence[Operator]) -> None:
    """A pass on one GPU, as blocks list it."""
    check(ops, ALONE, COMPLETE, UNTRAINED)


def training_pass(ops: Sequence[Operator]) -> None:
    """Layers as they are trained, before they are split: besides, kernels that share a kept tensor agree on its size."""
    check(ops, ALONE, COMPLETE, TRAINED)
    sizes: dict[str, Any] = {}
    for op in ops:
        if op.facts.opens:
            sizes = {}
        tensors = [] if isinstance(op, (Elementwise, Scan)) else [(op.facts.reads, op.saved_bytes()[0])]
        for tensor, size in [*tensors, (op.facts.writes, op.output_bytes())]:
            if tensor in ("", "own") or not is_plain(size):
                continue
            if sizes.setdefault(tensor, size) != size:
                raise WrongListError(f"{op.name}: {tensor!r} has {size:,} bytes here and {sizes[tensor]:,} before")


def split_pass(whole: Sequence[Operator], share: Sequence[Operator]) -> None:
    """One GPU's share of a pass: the same kernels in the same order, with sums behind those that have partial ones."""
    check(share, COMPLETE)
    kernels = [op.name for op in share if not isinstance(op, Collective)]
    if kernels != [op.name for op in whole]:
        raise WrongListError("a split pass must have the kernels of the whole one, in its order")
    for place, op in enumerate(share):
        behind = [each.exchange for each in share[place + 1 : place + 3] if isinstance(each, Collective)]
        summed = behind[:1] == ["all_reduce"] or behind == ["reduce_scatter", "all_gather"]
        if op.facts.summed and not summed:
            raise WrongListError(f"{op.name} ({type(op).__name__}): its partial sums must be added up behind it")


def measured_pass(ops: Sequence[Operator]) -> None:
    """Kernels that are timed on a GPU."""
    check(ops, ALONE, RUN)


def recipe_pass(ops: Sequence[Operator]) -> None:
    """The kernels that a recipe of training runs for others."""
    check(ops, COMPLETE, (RUN[1],))
