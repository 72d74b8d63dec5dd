"""Collectives between GPUs, by torch.distributed: every rank runs them at once, started by torchrun."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import torch
import torch.distributed as dist

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.model.operators import Collective
from llmcost.model.operators.collective import CollectiveKind


def ranks() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of torchrun's processes this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def join(device: Device) -> None:
    """Meet the other ranks, and leave them when the process ends.

    Otherwise threads that still wait for other ranks would make the process crash.
    """
    dist.init_process_group("nccl" if device.kind == "cuda" else "gloo")
    atexit.register(dist.destroy_process_group)


def slowest(seconds: float) -> float:
    """The largest of the figures that all ranks have."""
    every: list[float] = [0.0] * dist.get_world_size()
    dist.all_gather_object(every, seconds)
    return max(every)


def operands(op: Collective, dtype: str, device: Device) -> Operands:
    """A rank's array before the collective: a part of the payload for an all-gather, the whole one for the others."""
    if ranks() != op.ranks:
        raise UnsupportedError(f"an exchange among {op.ranks}, started with {ranks()}")
    if ranks() == 1:
        raise UnsupportedError("one process: torchrun --nproc-per-node N -m llmcost bench --suite collectives")
    count = int(op.rows * op.width)
    return Operands((device.normal((count // op.ranks if op.exchange == "all_gather" else count,), dtype),), ())


def all_reduce(_op: Collective, x: Tensor) -> Tensor:
    """The sum of all ranks' arrays, in place, as engines do it."""
    dist.all_reduce(x)
    return x


def one_shot(_op: Collective, x: Tensor) -> Tensor:
    """The sum of all ranks' arrays: each puts its own where all can read, and reads those of all."""
    symmetric = torch.ops.symm_mem.one_shot_all_reduce_copy
    return cast("Tensor", symmetric(_shared(x.numel(), x.dtype), x.reshape(-1), "sum", _world().group_name)).reshape(
        x.shape
    )


def two_shots(_op: Collective, x: Tensor) -> Tensor:
    """The sum of all ranks' arrays: each adds up one part of them, and then reads the other parts."""
    room = _shared(x.numel(), x.dtype)
    torch.ops.symm_mem.two_shot_all_reduce_(room.copy_(x.reshape(-1)), "sum", _world().group_name)
    return room.reshape(x.shape)


@lru_cache(maxsize=64)
def _shared(count: int, dtype: torch.dtype) -> Tensor:
    """Room for so many numbers that all ranks reach (torch's symmetric memory); every rank asks for it at once."""
    from torch.distributed import _symmetric_memory as symmetric

    room = symmetric.empty(count, dtype=dtype, device=torch.device("cuda", torch.cuda.current_device()))
    symmetric.rendezvous(room, _world())
    return room


def _world() -> dist.ProcessGroup:
    """The group of all ranks."""
    assert dist.group.WORLD is not None  # they have met
    return dist.group.WORLD


def all_gather(op: Collective, x: Tensor) -> Tensor:
    """The parts of all ranks, one after the other."""
    out = x.new_empty(x.numel() * op.ranks)
    dist.all_gather_into_tensor(out, x)
    return out


def reduce_scatter(op: Collective, x: Tensor) -> Tensor:
    """The part of the sum of all ranks' arrays that is meant for this rank."""
    out = x.new_empty(x.numel() // op.ranks)
    dist.reduce_scatter_tensor(out, x)
    return out


def all_to_all(_op: Collective, x: Tensor) -> Tensor:
    """From each rank the part that is meant for this one."""
    out = torch.empty_like(x)
    dist.all_to_all_single(out, x)
    return out


COLLECTIVES: dict[CollectiveKind, Callable[[Collective, Tensor], Tensor]] = {
    "all_reduce": all_reduce, "all_gather": all_gather, "reduce_scatter": reduce_scatter, "all_to_all": all_to_all,
}  # fmt: skip


def expected(op: Collective, given: Operands) -> tuple[Index, Tensor]:
    """The answer, computed from all ranks' arrays, which are fetched one after the other.

    They are copies, as the collective may work in place.
    """
    mine = given.hot[0].float()
    every = [torch.empty_like(mine) for _ in range(op.ranks)]
    for rank, each in enumerate(every):
        dist.broadcast(each.copy_(mine) if rank == dist.get_rank() else each, rank)
    part = slice(dist.get_rank() * mine.numel() // op.ranks, (dist.get_rank() + 1) * mine.numel() // op.ranks)
    total = torch.stack(every).sum(0)
    right = {
        "all_reduce": total,
        "all_gather": torch.cat(every),
        "reduce_scatter": total[part],
        "all_to_all": torch.cat([e[part] for e in every]),
    }
    return (), right[op.exchange]


def ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """The library by which torch runs collectives on such a device, in a graph and eagerly.

    An all-reduce inside a node of NVIDIA's GPUs may also go through memory that all of them reach.
    """
    op: Any = case.op
    run = COLLECTIVES[op.exchange]
    if not device.graphs:
        return {"gloo": Way(run)}
    found = {"nccl": Way(run)}
    if op.exchange == "all_reduce" and device.backend == "cuda":
        found |= {"symmetric memory, one shot": Way(one_shot), "symmetric memory, two shots": Way(two_shots)}
    return found | {"nccl, eager": Way(run, eager=True)}


COLLECTIVE = Kind(operands, expected, ways)
