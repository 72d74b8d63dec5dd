"""Experts: linear layers of which each token takes a few, computed in one grouped kernel or one after the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.model.operators import GroupedGemm, TokenProduct


@lru_cache(maxsize=64)
def routing(tokens: int, groups: int, active: int) -> tuple[int, ...]:
    """How many rows each group has, where each token draws its groups with equal chances."""
    if groups == active:
        return (tokens,) * groups
    draw = random.Random(0)  # noqa: S311 - a workload, no secret
    counts = [0] * groups
    for _ in range(tokens):
        for group in draw.sample(range(groups), active):
            counts[group] += 1
    return tuple(counts)


def operands(op: GroupedGemm, dtype: str, device: Device) -> Operands:
    """Rows in the order of their groups, (rows, k), and the groups' weights, (groups, k, n)."""
    if dtype == "fp8" or op.bias or int(op.active) != op.active:
        raise UnsupportedError("no grouped kernel here for fp8, for biases, or for a share of a choice")
    x = device.normal((int(op.b * op.s * op.active), op.k), dtype)
    return Operands((x,), (device.normal((op.groups, op.k, op.n), dtype, op.k**-0.5),))


def expected(op: GroupedGemm, given: Operands) -> tuple[Index, Tensor]:
    """The answer for the rows of the first group that has any."""
    counts = routing(op.b * op.s, op.groups, op.active)
    group = next(number for number, count in enumerate(counts) if count)
    return (slice(counts[group]),), given.hot[0][: counts[group]].float() @ given.cold[0][group].float()


def ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """A loop over the groups that have rows; the grouped kernel with weights in either layout; one batched product.

    The last needs groups that all have as many rows.
    """
    op: Any = case.op
    counts = routing(op.b * op.s, op.groups, op.active)
    found = {"loop of linear": Way(_loop(counts))}
    if device.backend == "cuda" and hasattr(torch, "_grouped_mm") and case.dtype == "bf16":
        ends = torch.tensor(list(accumulate(counts)), device=device.kind, dtype=torch.int32)
        found["grouped_mm k,n"] = Way(lambda _op, x, weight: torch._grouped_mm(x, weight, offs=ends))  # noqa: SLF001
        found["grouped_mm n,k"] = Way(
            lambda _op, x, weight: torch._grouped_mm(x, weight.transpose(1, 2), offs=ends),  # noqa: SLF001
            lambda weight: (weight.transpose(1, 2).contiguous(),),
        )
    if len(set(counts)) == 1:
        found["bmm"] = Way(lambda op, x, weight: torch.bmm(x.view(op.groups, -1, op.k), weight).view(-1, op.n))
    return found


def _loop(counts: tuple[int, ...]) -> Callable[..., Tensor]:
    """A function that computes one product after the other, for each group that has rows."""
    starts = [0, *accumulate(counts)]

    def run(op: GroupedGemm, x: Tensor, weight: Tensor) -> Tensor:
        rows = {group: slice(starts[group], starts[group + 1]) for group, count in enumerate(counts) if count}
        if x.requires_grad or weight.requires_grad:  # gradients need outputs of their own
            return torch.cat([x[part] @ weight[group] for group, part in rows.items()])
        out = torch.empty((x.shape[0], op.n), device=x.device, dtype=x.dtype)
        for group, part in rows.items():
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
