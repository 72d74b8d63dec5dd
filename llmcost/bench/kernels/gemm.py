"""Linear layers: both layouts of a stored weight, on each of torch's BLAS libraries; fp8 by scaled_mm."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear

from llmcost.bench.device import Device
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.model.operators import Gemm
from llmcost.model.sizes import computed_in
from llmcost.specs.profile import BLOCKED

CHECKED_ROWS = 32
FP8_FAMILIES = ("sm_89", "sm_90", "sm_100", "sm_103", "sm_120", "gfx942", "gfx950")  # have units for 8-bit floats


def operands(op: Gemm, dtype: str, device: Device) -> Operands:
    """The input (tokens, k), the weight (n, k), small enough for products near 1, and the bias (n)."""
    dtype = computed_in(dtype)
    x = device.normal((op.b * op.s, op.k), dtype)
    weight = device.normal((op.n, op.k), dtype, op.k**-0.5)
    return Operands((x,), (weight, device.normal((op.n,), dtype)) if op.bias else (weight,))


def expected(_op: Gemm, given: Operands) -> tuple[Index, Tensor]:
    """The first rows of the product."""
    x, weight, *bias = given.hot[0], *given.cold
    return (slice(CHECKED_ROWS),), linear(x[:CHECKED_ROWS].float(), weight.float(), *(b.float() for b in bias))


def ways(case: KernelCase, device: Device) -> dict[str, Way]:
    """The weight stored as (n, k) or (k, n), on each library; in fp8 one way alone, and one with scales in blocks."""
    if computed_in(case.dtype) == "fp8":
        return _fp8_ways(case.op, device, blocks=case.dtype == BLOCKED)
    found = {"cublas n,k": Way(_linear), "cublas k,n": Way(_product, _transposed)}
    if device.backend == "cuda":
        return found | {"cublaslt k,n": Way(_on_lt(_product), _transposed)}
    name = {"rocm": "blas", "mps": "mps", "cpu": "blas"}[device.backend]
    return {way.replace("cublas", name): how for way, how in found.items()}


def _linear(_op: Gemm, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return linear(x, weight, bias)


def _product(_op: Gemm, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x @ weight if bias is None else torch.addmm(bias, x, weight)


def _transposed(weight: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    return (weight.t().contiguous(), *rest)


def _on_lt(run: Any) -> Any:
    def on_lt(op: Gemm, *given: Tensor) -> Tensor:
        before = torch.backends.cuda.preferred_blas_library()
        torch.backends.cuda.preferred_blas_library("cublaslt")
        try:
            answer: Tensor = run(op, *given)
        finally:
            torch.backends.cuda.preferred_blas_library(before)
        return answer

    return on_lt


def _fp8_ways(op: Any, device: Device, *, blocks: bool) -> dict[str, Way]:
    if not device.arch.split(":")[0].startswith(FP8_FAMILIES):
        raise UnsupportedError(f"no 8-bit matrix units known on {device.arch}")
    if op.k % 16 or op.n % 16 or op.bias:
        raise UnsupportedError("scaled_mm wants k and n in sixteens and no bias")
    if blocks:
        return {"scaled_mm, blocks": Way(_in_blocks(op, device))}
    one = torch.ones((), device=device.kind)

    def scaled(_op: Gemm, x: Tensor, weight: Tensor) -> Tensor:
        return torch._scaled_mm(x, weight.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True)  # noqa: SLF001

    return {"scaled_mm": Way(scaled)}


def _in_blocks(op: Any, device: Device) -> Any:
    """Products with a scale, here 1, for 128 × 128 weights and for 128 activations of a row.

    cuBLAS takes rows in fours, and wants the activations' scales with neighbouring rows beside each other (CUDA 12.9).
    """
    if not hasattr(torch.nn.functional, "scaled_mm") or op.k % 128 or op.n % 128:
        raise UnsupportedError("scales in blocks want torch.nn.functional.scaled_mm, and k and n in 128s")
    from torch.nn.functional import ScalingType, scaled_mm

    rows, across = int(op.b * op.s), op.k // 128
    more = -rows % 4
    of_x = torch.ones((across, rows + more), device=device.kind).t()
    of_weights = torch.ones((op.n // 128, across + -across % 4), device=device.kind).t()

    def run(_op: Gemm, x: Tensor, weight: Tensor) -> Tensor:
        padded = torch.cat([x, x[:1].expand(more, -1)]) if more else x
        recipes = ScalingType.BlockWise1x128, ScalingType.BlockWise128x128
        product = scaled_mm(padded, weight.t(), of_x, recipes[0], of_weights, recipes[1], output_dtype=torch.bfloat16)
        return product[:rows]

    return run


GEMM = Kind(operands, expected, ways)
