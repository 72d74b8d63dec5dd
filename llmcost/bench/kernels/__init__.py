"""How each kind of operator is run. A module a kind: operands, the right answer, and the ways that are tried."""

from __future__ import annotations

from llmcost.bench.kernels.attention import ATTENTION
from llmcost.bench.kernels.base import Case, Kind, Operands, Tensor, UnsupportedError, Way
from llmcost.bench.kernels.elementwise import LOOKUP, STREAM
from llmcost.bench.kernels.exchange import EXCHANGE
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
    Elementwise: STREAM,
    Lookup: LOOKUP,
    CausalConv: CONV,
    Scan: SCAN,
    Collective: EXCHANGE,
}


def kind_of(op: Operator) -> Kind:
    """The kind that runs it. Raises UnsupportedError."""
    kind = KINDS.get(type(op))
    if kind is None:
        raise UnsupportedError(f"no kernel for {type(op).__name__}")
    return kind


__all__ = ["Case", "Operands", "Tensor", "UnsupportedError", "Way", "kind_of"]
