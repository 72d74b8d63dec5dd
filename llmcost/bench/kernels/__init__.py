"""How each kind of operator is run: a module for each, with its operands, the right answer and the ways to run it."""

from __future__ import annotations

from llmcost.bench.kernels.attention import ATTENTION
from llmcost.bench.kernels.base import Index, KernelCase, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.bench.kernels.collective import COLLECTIVE
from llmcost.bench.kernels.elementwise import ELEMENTWISE, LOOKUP
from llmcost.bench.kernels.gemm import GEMM
from llmcost.bench.kernels.grouped import GROUPED, PRODUCT
from llmcost.bench.kernels.state import CONV, SCAN
from llmcost.model.operators import (
    Attention,
    CausalConv,
    Collective,
    Elementwise,
    Gemm,
    GroupedGemm,
    Lookup,
    Operator,
    Scan,
    TokenProduct,
)

KINDS: dict[type, Kind] = {
    Gemm: GEMM,
    GroupedGemm: GROUPED,
    TokenProduct: PRODUCT,
    Attention: ATTENTION,
    Elementwise: ELEMENTWISE,
    Lookup: LOOKUP,
    CausalConv: CONV,
    Scan: SCAN,
    Collective: COLLECTIVE,
}


def kind_of(op: Operator) -> Kind:
    """The kind of kernel that runs an operator. Raises UnsupportedError where there is none."""
    kind = KINDS.get(type(op))
    if kind is None:
        raise UnsupportedError(f"no kernel for {type(op).__name__}")
    return kind


__all__ = ["Index", "KernelCase", "Operands", "Tensor", "UnsupportedError", "Way", "kind_of"]
