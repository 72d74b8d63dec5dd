"""Experts: linear layers of which each token takes a few, computed in one grouped kernel or one after the other."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.model.operators import UNIFORM, GroupedGemm, Routing, TokenProduct
from llmcost.model.operators.routing import power_law


@lru_cache(maxsize=64)
def routing(tokens: int, groups: int, active: int, law: Routing = UNIFORM) -> tuple[int, ...]:
    """How many rows each group has, where each token draws its groups with the chances of a law."""
    if groups == active:
        return (tokens,) * groups
    if law.law == "balanced":
        filled = [tokens * active * number // groups for number in range(groups + 1)]
        return tuple(after - before for before, after in pairwise(filled))
    draw = random.Random(0)  # noqa: S311 - a workload, no secret
    shares = power_law(groups, active, tokens, law.exponent) if law.law == "power-law" else None
    counts = [0] * groups
    for _ in range(tokens):
        if shares is None:
            chosen = draw.sample(range(groups), active)
        else:  # without repetition, in proportion to the shares (Efraimidis and Spirakis, 2006)
            chosen = sorted(range(groups), key=lambda group: math.log(draw.random()) / shares[group])[-active:]
        for group in chosen:
            counts[group] += 1
    return tuple(counts)


def operands(op: GroupedGemm, dtype: str, device: Device) -> Operands:
    """Rows in the order of their groups, (rows, k); the groups' weights, (groups, k, n), and biases, (groups, n).

    Biases of products in fp8 are 16 bits wide.
    """
    if int(op.active) != op.active:
        raise UnsupportedError("no grouped kernel here for a share of a choice")
    x = device.normal((int(op.b * op.s * op.active), op.k), dtype)
    weight = device.normal((op.groups, op.k, op.n), dtype, op.k**-0.5)
    bias = (device.normal((op.groups, op.n), "bf16" if dtype == "fp8" else dtype),) if op.bias else ()
    return Operands((x,), (weight, *bias))


def _counts(op: Any) -> tuple[int, ...]:
    return routing(op.b * op.s, op.groups, op.active, op.facts.routing)


def expected(op: GroupedGemm, given: Operands) -> tuple[Index, Tensor]:
    """The answer for the rows of the first group that has any."""
    counts = _counts(op)
    group = next(number for number, count in enumerate(counts) if count)
    weight, *bias = (each[group].float() for each in given.cold)
    return (slice(counts[group]),), given.hot[0][: counts[group]].float() @ weight + sum(bias)


def ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """A loop over the groups that have rows; the grouped kernel with weights in either layout; one batched product.

    The last needs groups that every token takes. In fp8 there is the grouped kernel alone.
    """
    op: Any = case.op
    counts = _counts(op)
    ends = torch.tensor(list(accumulate(counts)), device=device.kind, dtype=torch.int32)
    plus = _bias_of_rows(counts, device)
    if case.dtype == "fp8":
        return {"scaled_grouped_mm": Way(_scaled(op, ends, plus, device), _columns_first)}
    found = {"loop of linear": Way(_loop(counts))}
    if device.backend == "cuda" and hasattr(torch, "_grouped_mm") and case.dtype == "bf16":
        found["grouped_mm k,n"] = Way(lambda _op, x, w, *bias: plus(torch._grouped_mm(x, w, offs=ends), *bias))  # noqa: SLF001
        found["grouped_mm n,k"] = Way(
            lambda _op, x, w, *bias: plus(torch._grouped_mm(x, w.transpose(1, 2), offs=ends), *bias),  # noqa: SLF001
            _columns_first,
        )
    if op.groups == op.active:
        found["bmm"] = Way(
            lambda op, x, w, *bias: plus(torch.bmm(x.view(op.groups, -1, op.k), w).view(-1, op.n), *bias)
        )
    return found


def _columns_first(weight: Tensor, *bias: Tensor) -> tuple[Tensor, ...]:
    """The weights stored as (groups, n, k)."""
    return (weight.transpose(1, 2).contiguous(), *bias)


def _bias_of_rows(counts: tuple[int, ...], device: Device) -> Callable[..., Tensor]:
    """A function that adds to each row the bias of its group, where there are biases."""
    groups = torch.arange(len(counts), device=device.kind)
    group_of = groups.repeat_interleave(torch.tensor(counts, device=device.kind))
    return lambda product, *bias: product + bias[0].index_select(0, group_of) if bias else product


def _scaled(op: GroupedGemm, ends: Tensor, plus: Callable[..., Tensor], device: Device) -> Callable[..., Tensor]:
    """The grouped kernel of products in fp8: a scale for each row and for each column of a group's weights, here 1."""
    if device.backend != "cuda" or op.k % 16 or op.n % 16 or not hasattr(torch, "_scaled_grouped_mm"):
        raise UnsupportedError("grouped products in fp8 run on CUDA alone, with k and n in sixteens")
    rows = torch.ones(int(op.b * op.s * op.active), device=device.kind)
    columns = torch.ones((op.groups, op.n), device=device.kind)

    def run(_op: GroupedGemm, x: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        product = torch._scaled_grouped_mm(  # noqa: SLF001
            x, weight.transpose(1, 2), rows, columns, offs=ends, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return plus(product, *bias)

    return run


def _loop(counts: tuple[int, ...]) -> Callable[..., Tensor]:
    """A function that computes one product after the other, for each group that has rows."""
    starts = [0, *accumulate(counts)]

    def run(op: GroupedGemm, x: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        rows = {group: slice(starts[group], starts[group + 1]) for group, count in enumerate(counts) if count}
        if x.requires_grad or weight.requires_grad:  # gradients need outputs of their own
            return torch.cat([x[part] @ weight[g] + (bias[0][g] if bias else 0) for g, part in rows.items()])
        out = torch.empty((x.shape[0], op.n), device=x.device, dtype=x.dtype)
        for group, part in rows.items():
            if bias:
                torch.addmm(bias[0][group], x[part], weight[group], out=out[part])
            else:
                torch.mm(x[part], weight[group], out=out[part])
        return out

    return run


def product_operands(op: TokenProduct, dtype: str, device: Device) -> Operands:
    """Two activations to multiply for each token: (tokens, m, k) and (tokens, k, n)."""
    tokens = op.b * op.s
    return Operands(
        (device.normal((tokens, op.m, op.k), dtype), device.normal((tokens, op.k, op.n), dtype, op.k**-0.5)), ()
    )


GROUPED = Kind(operands, expected, ways)
PRODUCT = Kind(
    product_operands,
    lambda _op, given: ((slice(1),), given.hot[0][:1].float() @ given.hot[1][:1].float()),
    lambda _case, _device: {"bmm": Way(lambda _op, x, y: torch.bmm(x, y))},
)
