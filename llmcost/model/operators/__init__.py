"""Operators: the kernels that a good engine runs, as sizes and nothing else.

Each says what it stores, computes and moves in one execution; `count` says how often a forward pass runs it, and
`facts` what else is true of it (facts.py). Time, efficiency and printing are functions elsewhere. All sizes may be
ints, arrays or symbols.

Counted as FLOPs: multiplications and additions of matrix products, 2·m·n·k each, and nothing else, as both source
documents and torch's FLOP counter do. Norms, activations, rotary embeddings, softmax and lookups are counted by the
bytes that they move.
"""

from llmcost.model.operators.base import PARTS, Kind, Operator, Part, Scope, Shape, Span, sizes_of
from llmcost.model.operators.collective import AvoidableCollective, Collective, Communication, ExpertTraffic
from llmcost.model.operators.elementwise import Buffer, Elementwise, Lookup, Stored, Wider
from llmcost.model.operators.facts import EVERYWHERE, INPUT, OWN, UNSAID, Facts
from llmcost.model.operators.products import Gemm, GroupedGemm, TokenProduct
from llmcost.model.operators.routing import LAWS, UNIFORM, Routing
from llmcost.model.operators.sequence import Attention, CausalConv, Scan, TokenShift

__all__ = [
    "EVERYWHERE",
    "INPUT",
    "LAWS",
    "OWN",
    "PARTS",
    "UNIFORM",
    "UNSAID",
    "Attention",
    "AvoidableCollective",
    "Buffer",
    "CausalConv",
    "Collective",
    "Communication",
    "Elementwise",
    "ExpertTraffic",
    "Facts",
    "Gemm",
    "GroupedGemm",
    "Kind",
    "Lookup",
    "Operator",
    "Part",
    "Routing",
    "Scan",
    "Scope",
    "Shape",
    "Span",
    "Stored",
    "TokenProduct",
    "TokenShift",
    "Wider",
    "sizes_of",
]
