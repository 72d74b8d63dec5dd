"""Operators: the kernels that a good engine runs, as sizes and nothing else.

Each says what it stores, computes and moves in one execution; `count` says how often a forward pass
runs it. Time, efficiency and printing are functions elsewhere. All sizes may be ints, arrays or symbols.

Counted as FLOPs: multiplications and additions of matrix products, 2·m·n·k each, nothing else
(as both source documents and torch's FLOP counter do). Norms, activations, rotary embeddings, softmax
and lookups are counted by the bytes they move.
"""

from llmcost.model.operators.base import PARTS, Operator, Part, Shape, Span
from llmcost.model.operators.exchange import Collective
from llmcost.model.operators.products import Gemm, GroupedGemm, TokenProduct
from llmcost.model.operators.sequence import Attention, CausalConv, Scan, TokenShift
from llmcost.model.operators.streams import Elementwise, Lookup, Stored

__all__ = [
    "PARTS",
    "Attention",
    "CausalConv",
    "Collective",
    "Elementwise",
    "Gemm",
    "GroupedGemm",
    "Lookup",
    "Operator",
    "Part",
    "Scan",
    "Shape",
    "Span",
    "Stored",
    "TokenProduct",
    "TokenShift",
]
