"""Elementwise kernels: norms, activations, rotary embedding, softmax, sums, lookups, and copies of memory.

An operator says how many elements it reads and writes, and its name says what it computes with them. One with a name
that is not known here is run as a sum that reads and writes as many elements. Each is tried in Triton (where that is
installed), compiled by torch, and as torch's own kernels one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.model.operators import Elementwise, Lookup

CHECKED_ROWS = 64
EPS = 1e-6
HALF_HEAD = 32  # channels of a head that rotary embedding turns, each with a partner


class Computation(NamedTuple):
    """What one elementwise kernel computes, and the shapes of its operands.

    `cold` operands come from memory, `hot` ones from the kernel before.
    """

    name: str
    function: Callable[..., Any]
    hot: tuple[tuple[int, ...], ...]
    cold: tuple[tuple[int, ...], ...] = ()


def computation_of(op: Elementwise) -> Computation:
    """What an operator computes, by its name, its part of the model and its sizes."""
    t, reads, writes, weights = int(op.b * op.s), int(op.reads), int(op.writes), int(op.weights)
    if op.name in MEMORY:
        count, function = MEMORY[op.name]
        return Computation(op.name, function, (), ((t, reads // count if count else writes),) * max(count, 1))
    width = reads // 2
    if op.part == "norm" and reads == writes and weights in (width, 2 * width):
        return Computation("residual and norm", add_norm, ((t, width),) * 2, ((width,),) * (weights // width))
    if op.part == "norm" and reads == writes:
        each = weights if weights and reads % weights == 0 else reads
        return Computation("norm", norm, ((t, reads // each, each),), ((each,),) if each == weights else ())
    if op.name.endswith("activation"):
        name, function = ("silu and product", gated) if reads == 2 * writes else ("gelu", functional.gelu)
        return Computation(name, function, ((t, reads),))
    if op.name.startswith("rotary") and reads % (2 * HALF_HEAD) == 0:
        angles = (t, 1, HALF_HEAD)
        return Computation("rotary", rotary, ((t, reads // (2 * HALF_HEAD), 2, HALF_HEAD), angles, angles))
    if op.name == "experts_sum" and reads % writes == 0:
        return Computation("weighted sum", weighted_sum, ((t, reads // writes, writes), (t, reads // writes, 1)))
    if op.name == "softmax":
        return Computation("softmax", softmax, ((t, reads),))
    return Computation("sum", _sum_of_width(writes), ((t, reads),))


def add_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The norm of a sum (RMSNorm, or LayerNorm where there is a bias), and the sum; all (tokens, width)."""
    total = x + residual
    if bias is None:
        return norm(total, weight), total
    return functional.layer_norm(total, (weight.shape[0],), weight, bias), total


def norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """RMSNorm over the last dimension, computed in float32."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)
    return (wide if weight is None else wide * weight).to(x.dtype)


def gated(x: Tensor) -> Tensor:
    """SiLU of the first half of each row, times the second half: (tokens, 2·width) to (tokens, width)."""
    gate, up = x.chunk(2, dim=-1)
    return functional.silu(gate) * up


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each channel turned with its partner by an angle: x is (tokens, heads, 2, half)."""
    left, right = x.unbind(2)
    return torch.stack([left * cos - right * sin, right * cos + left * sin], dim=2)


def weighted_sum(x: Tensor, share: Tensor) -> Tensor:
    """The outputs of each token's experts, (tokens, experts, width), added up by their weights."""
    return (x * share).sum(1)


def softmax(x: Tensor) -> Tensor:
    """The softmax over the last dimension."""
    return x.softmax(-1)


def _sum_of_width(writes: int) -> Callable[[Tensor], Tensor]:
    """A function that reads every element of a row and writes so many: those that there are too many are added up."""

    def summed(x: Tensor) -> Tensor:
        reads = x.shape[-1]
        out = x[:, : min(reads, writes)]
        if reads > writes:
            out = out + x[:, writes:].sum(-1, keepdim=True)
        return out + 1 if reads >= writes else torch.cat([out, out[:, :1].expand(-1, writes - reads)], -1)

    return summed


# Name of a test of memory -> how many buffers it reads, and what it does with them. `write` is given the one it writes.
MEMORY: dict[str, tuple[int, Callable[..., Any]]] = {
    "read": (1, lambda x: x.sum(dtype=torch.float32)),
    "write": (0, lambda x: x.fill_(1.5)),
    "copy": (1, torch.clone),
    "triad": (2, lambda x, y: torch.add(x, y, alpha=3.0)),
}


def operands(op: Elementwise, dtype: str, device: Device) -> Operands:
    """Tensors of random numbers, in the shapes that the computation takes."""
    if dtype == "fp8":
        raise UnsupportedError("elementwise kernels run in 16 or 32 bits")
    computation = computation_of(op)
    return Operands(
        *(tuple(device.normal(shape, dtype) for shape in shapes) for shapes in (computation.hot, computation.cold))
    )


def expected(op: Elementwise, given: Operands) -> tuple[Index, Tensor]:
    """The first rows of the answer; of tests of memory, all of it."""
    computation = computation_of(op)
    if op.name in MEMORY:
        return (), computation.function(*(each.float() for each in given.cold))
    rows = [each[:CHECKED_ROWS].float() for each in given.hot]
    answer = computation.function(*rows, *(each.float() for each in given.cold))
    return (slice(CHECKED_ROWS),), answer[0] if isinstance(answer, tuple) else answer


def ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """Triton's kernel where there is one, what torch's compiler makes, and torch's own kernels."""
    op: Any = case.op
    computation = computation_of(op)
    found = {}
    if device.graphs and find_spec("triton"):
        from llmcost.bench.kernels.elementwise_triton import KERNELS

        if computation.name in KERNELS and len(computation.cold) < 2:
            found["triton"] = Way(_forward(KERNELS[computation.name]))
    if op.name == "copy":
        return found | {"clone": Way(_forward(torch.clone)), "copy_": Way(_copy)}
    if op.name in MEMORY:
        return found | {"torch": Way(_forward(computation.function))}
    return found | compiled(computation.name, computation.function, device)


def compiled(name: str, function: Callable[..., Any], device: Device) -> dict[str, Way]:
    """A function as torch's compiler fuses it (on a GPU), and as torch's own kernels one after the other."""
    found = {"compiled": Way(_forward(_compiled(name, function)), compiles=True)} if device.graphs else {}
    return found | {"eager": Way(_forward(function))}


def _forward(function: Any) -> Callable[..., Any]:
    return lambda _op, *given: function(*given)


@lru_cache(maxsize=64)
def _compiled(_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is compiled, for each width, once for one token and once for any number of them."""
    import torch._dynamo as dynamo
    import torch._functorch.config

    dynamo.config.recompile_limit, dynamo.config.automatic_dynamic_shapes = 256, False
    torch._functorch.config.donated_buffer = False  # noqa: SLF001 - a backward pass is run more than once
    fused = torch.compile(function)

    def run(*given: Tensor) -> Any:
        tokens = given[0].shape[0]
        for each in given:
            if tokens > 1 and each.ndim > 1 and each.shape[0] == tokens:  # not a weight
                dynamo.mark_dynamic(each, 0)
        return fused(*given)

    return run


def _copy(_op: Elementwise, x: Tensor) -> Tensor:
    return torch.empty_like(x).copy_(x)


def lookup_operands(op: Lookup, dtype: str, device: Device) -> Operands:
    """Random numbers of rows (tokens), and the table (rows, width)."""
    if dtype == "fp8":
        raise UnsupportedError("tables are kept in 16 or 32 bits")
    return Operands(
        (torch.randint(op.rows, (op.b * op.s,), device=device.kind),), (device.normal((op.rows, op.width), dtype),)
    )


def lookup_ways(_case: KernelCase, _device: Device) -> dict[str, Way]:
    """The gather of rows, under both of its names in torch."""
    return {
        "embedding": Way(lambda _op, ids, table: functional.embedding(ids, table)),
        "index_select": Way(lambda _op, ids, table: table[ids]),
    }


ELEMENTWISE = Kind(operands, expected, ways)
LOOKUP = Kind(
    lookup_operands,
    lambda _op, given: ((slice(CHECKED_ROWS),), given.cold[0][given.hot[0][:CHECKED_ROWS]].float()),
    lookup_ways,
)
