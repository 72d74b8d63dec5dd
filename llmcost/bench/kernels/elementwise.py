"""Elementwise kernels: norms, activations, rotary embedding, softmax, sums, lookups, and copies of memory.

An operator says how many elements it reads and writes; its name says what it computes with them. What has no name
here is run as a sum that reads and writes as many. Each is tried as Triton (where it is installed), compiled by
torch, and as torch's own kernels one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Case, Index, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.model.operators import Elementwise, Lookup

CHECKED_ROWS = 64
EPS = 1e-6
HALF_HEAD = 32  # channels turned with as many others


class Stream(NamedTuple):
    """What one elementwise kernel computes; `cold` operands come from memory, the others from the kernel before."""

    name: str
    function: Callable[..., Any]
    hot: tuple[tuple[int, ...], ...]
    cold: tuple[tuple[int, ...], ...] = ()


def stream_of(op: Elementwise) -> Stream:
    """The kernel that an operator means, and the shapes of its operands."""
    t, reads, writes, weights = int(op.b * op.s), int(op.reads), int(op.writes), int(op.weights)
    if op.name in MEMORY:
        count, function = MEMORY[op.name]
        return Stream(op.name, function, (), ((t, reads // count if count else writes),) * max(count, 1))
    width = reads // 2
    if op.part == "norm" and reads == writes and weights in (width, 2 * width):
        return Stream("residual and norm", add_norm, ((t, width),) * 2, ((width,),) * (weights // width))
    if op.part == "norm" and reads == writes:
        each = weights if weights and reads % weights == 0 else reads
        return Stream("norm", norm, ((t, reads // each, each),), ((each,),) if each == weights else ())
    if op.name.endswith("activation"):
        return (
            Stream("silu and product", gated, ((t, reads),))
            if reads == 2 * writes
            else Stream("gelu", functional.gelu, ((t, reads),))
        )
    if op.name.startswith("rotary") and reads % (2 * HALF_HEAD) == 0:
        angles = (t, 1, HALF_HEAD)
        return Stream("rotary", rotary, ((t, reads // (2 * HALF_HEAD), 2, HALF_HEAD), angles, angles))
    if op.name == "experts_sum" and reads % writes == 0:
        return Stream("weighted sum", weighted_sum, ((t, reads // writes, writes), (t, reads // writes, 1)))
    if op.name == "softmax":
        return Stream("softmax", softmax, ((t, reads),))
    return Stream("stream", _streaming(writes), ((t, reads),))


def add_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Norm of the sum (RMSNorm; LayerNorm where there is a bias), and the sum."""
    total = x + residual
    if bias is None:
        return norm(total, weight), total
    return functional.layer_norm(total, (weight.shape[0],), weight, bias), total


def norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """RMSNorm over the last dimension, in float32 inside."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)
    return (wide if weight is None else wide * weight).to(x.dtype)


def gated(x: Tensor) -> Tensor:
    """SiLU of the first half times the second."""
    gate, up = x.chunk(2, dim=-1)
    return functional.silu(gate) * up


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Every channel turned with its partner."""
    left, right = x.unbind(2)
    return torch.stack([left * cos - right * sin, right * cos + left * sin], dim=2)


def weighted_sum(x: Tensor, share: Tensor) -> Tensor:
    """Experts' outputs by their weights."""
    return (x * share).sum(1)


def softmax(x: Tensor) -> Tensor:
    """Over the last dimension."""
    return x.softmax(-1)


def _streaming(writes: int) -> Callable[[Tensor], Tensor]:
    def stream(x: Tensor) -> Tensor:
        reads = x.shape[-1]
        out = x[:, : min(reads, writes)]
        if reads > writes:
            out = out + x[:, writes:].sum(-1, keepdim=True)
        return out + 1 if reads >= writes else torch.cat([out, out[:, :1].expand(-1, writes - reads)], -1)

    return stream


# Name of a memory test -> buffers it is given, and what it does with them. Writing is given the one it writes.
MEMORY: dict[str, tuple[int, Callable[..., Any]]] = {
    "read": (1, lambda x: x.sum(dtype=torch.float32)),
    "write": (0, lambda x: x.fill_(1.5)),
    "copy": (1, torch.clone),
    "triad": (2, lambda x, y: torch.add(x, y, alpha=3.0)),
}


def operands(op: Elementwise, dtype: str, device: Device) -> Operands:
    """As the kernel's shapes say."""
    if dtype == "fp8":
        raise UnsupportedError("activations are streamed in 16 or 32 bits")
    stream = stream_of(op)
    return Operands(*(tuple(device.normal(shape, dtype) for shape in shapes) for shapes in (stream.hot, stream.cold)))


def expected(op: Elementwise, given: Operands) -> tuple[Index, Tensor]:
    """The first rows; of a sum over everything and of a fill, all."""
    stream = stream_of(op)
    if op.name in MEMORY:
        return (), stream.function(*(each.float() for each in given.cold))
    rows = [each[:CHECKED_ROWS].float() for each in given.hot]
    answer = stream.function(*rows, *(each.float() for each in given.cold))
    return (slice(CHECKED_ROWS),), answer[0] if isinstance(answer, tuple) else answer


def ways(case: Case, device: Device) -> dict[str, Way]:
    """Triton, torch's compiler, torch's own kernels."""
    op: Any = case.op
    stream = stream_of(op)
    found = {}
    if device.graphs and find_spec("triton"):
        from llmcost.bench.kernels.elementwise_triton import KERNELS

        if stream.name in KERNELS and len(stream.cold) < 2:
            found["triton"] = Way(_forward(KERNELS[stream.name]))
    if op.name == "copy":
        return found | {"clone": Way(_forward(torch.clone)), "copy_": Way(_copy)}
    if op.name in MEMORY:
        return found | {"torch": Way(_forward(stream.function))}
    return found | compiled(stream.name, stream.function, device)


def compiled(name: str, function: Callable[..., Any], device: Device) -> dict[str, Way]:
    """A function as torch's compiler fuses it, and as torch's own kernels."""
    found = {"compiled": Way(_forward(_compiled(name, function)), compiles=True)} if device.graphs else {}
    return found | {"eager": Way(_forward(function))}


def _forward(function: Any) -> Callable[..., Any]:
    return lambda _op, *given: function(*given)


@lru_cache(maxsize=64)
def _compiled(_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled once for one token and once for any number of them, for each width."""
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
    """Random rows, and the table."""
    if dtype == "fp8":
        raise UnsupportedError("tables are kept in 16 or 32 bits")
    return Operands(
        (torch.randint(op.rows, (op.b * op.s,), device=device.kind),), (device.normal((op.rows, op.width), dtype),)
    )


def lookup_ways(_case: Case, _device: Device) -> dict[str, Way]:
    """The gather under its two names in torch."""
    return {
        "embedding": Way(lambda _op, ids, table: functional.embedding(ids, table)),
        "index_select": Way(lambda _op, ids, table: table[ids]),
    }


STREAM = Kind(operands, expected, ways)
LOOKUP = Kind(
    lookup_operands,
    lambda _op, given: ((slice(CHECKED_ROWS),), given.cold[0][given.hot[0][:CHECKED_ROWS]].float()),
    lookup_ways,
)
