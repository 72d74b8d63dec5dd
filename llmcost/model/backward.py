"""What a backward pass costs, in executions of the forward operators."""

from __future__ import annotations

from llmcost.ground.algebra import Number
from llmcost.model.lora import EXPANSIONS
from llmcost.model.operators import Attention, Gemm, GroupedGemm, Lookup, Operator

PASSES = 3  # FLOPs of forward and backward in forward passes: gradients of inputs and weights cost one each


def backward(op: Operator, *, frozen: bool = False) -> Number:
    """The backward pass of an operator, in executions of its forward one.

    A GEMM has two of its size (gradients of input and of weight); FlashAttention recomputes the scores: five products
    for two (arXiv 2205.14135, algorithm 4); a streaming kernel reads and writes about twice as much; a lookup
    scatters once. A frozen weight has no gradient, and is expanded once more if it is quantised.
    """
    if isinstance(op, Attention):
        return 2.5
    if isinstance(op, Lookup):
        return 0 if frozen else 1
    once = (frozen and isinstance(op, (Gemm, GroupedGemm))) or op.name in EXPANSIONS
    return 1 if once else 2
