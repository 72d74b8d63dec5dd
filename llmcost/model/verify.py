"""What must hold of a list of operators after each pass over it: which may stand there, and what their facts must say.

Each stage is a list of claims (as in tinygrad's uop/spec.py). A list of which one does not hold is a mistake of a block
or of a pass, never of a user: it is found where it is made, not in a number that is a little off. Nothing is checked
unless the environment says LLMCOST_VERIFY=1, as the tests do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from llmcost.ground.algebra import is_plain
from llmcost.model.operators import Communication, Elementwise, Gemm, GroupedGemm, Lookup, Operator, Scan, Stored

ON = os.environ.get("LLMCOST_VERIFY") == "1"
PRODUCTS = (Gemm, GroupedGemm)


class WrongListError(AssertionError):
    """A list of operators that no pass may hand on."""


class Claim(NamedTuple):
    """What must hold of each operator in the lists of a stage."""

    says: str
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
    Claim("its facts must say how GPUs divide it", lambda op: op.facts.split != "unsaid"),
    Claim("its class must know how to be divided as its facts say", _can),
    Claim(
        "a product must name the tensor that it reads", lambda op: bool(op.facts.reads) or not isinstance(op, PRODUCTS)
    ),
    Claim(
        "only products have linear layers packed in them", lambda op: isinstance(op, PRODUCTS) or not op.facts.modules
    ),
    Claim("a table is looked up", lambda op: op.facts.split != "table" or isinstance(op, Lookup)),
)
ALONE = (
    Claim("a pass that is not split has no collective", lambda op: not isinstance(op, Communication)),
    Claim("widths must be those of the packed layers and add up to the outputs", _widths_fit),
)
UNTRAINED = (Claim("adapters come with training", lambda op: op.facts.role not in ("adapter", "expansion")),)
TRAINED = (
    Claim("what is trained must say what its backward pass needs", lambda op: op.saved_bytes() is not None),
    Claim("it must say how large its output is", lambda op: op.output_bytes() is not None),
)
RUN = (
    Claim("what is stored and not run is not measured", lambda op: not isinstance(op, Stored)),
    Claim("it must be of a kind of kernels", lambda op: op.kind is not None),
)


def check(ops: Iterable[Operator], *stages: Sequence[Claim]) -> None:
    """Raise WrongListError, naming the first operator of which a claim does not hold, and the claim."""
    for op in ops:
        for claim in (claim for stage in stages for claim in stage):
            if not claim.holds(op):
                raise WrongListError(f"{op.name} ({type(op).__name__}): {claim.says}")


def forward_pass(ops: Sequence[Operator]) -> None:
    """Check a pass on one GPU, as blocks list it."""
    check(ops, ALONE, COMPLETE, UNTRAINED)


def training_pass(ops: Sequence[Operator]) -> None:
    """Check layers as they are trained, before GPUs divide them.

    Kernels that keep a tensor of one name between them must agree on its size.
    """
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
    """Check one GPU's share of a pass: the same kernels in the same order, and partial sums are added up."""
    check(share, COMPLETE)
    kernels = [op.name for op in share if not isinstance(op, Communication)]
    if kernels != [op.name for op in whole]:
        raise WrongListError("a split pass must have the kernels of the whole one, in its order")
    for place, op in enumerate(share):
        behind = [each.exchange for each in share[place + 1 : place + 3] if isinstance(each, Communication)]
        summed = behind[:1] == ["all_reduce"] or behind == ["reduce_scatter", "all_gather"]
        if op.facts.summed and not summed:
            raise WrongListError(f"{op.name} ({type(op).__name__}): its partial sums must be added up behind it")


def measured_pass(ops: Sequence[Operator]) -> None:
    """Check kernels that are timed on a GPU."""
    check(ops, ALONE, RUN)


def recipe_pass(ops: Sequence[Operator]) -> None:
    """Check the kernels that a training recipe runs in the place of others."""
    check(ops, COMPLETE, (RUN[1],))
