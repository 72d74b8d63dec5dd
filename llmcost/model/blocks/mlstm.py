"""The matrix memory of xLSTM (arXiv 2405.04517; as in xLSTM 7B, arXiv 2503.13427)."""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div
from llmcost.model.blocks.builder import CHANNELS, COLUMNS_OF_INPUT, ROWS, Builder
from llmcost.model.operators import Operator

IN = COLUMNS_OF_INPUT._replace(modules=("q k v ogate_preact", "qkv_opreact"))
GATES = COLUMNS_OF_INPUT._replace(modules=("igate_preact fgate_preact", "ifgate_preact"))
OUT = ROWS._replace(modules=("out_proj",))


class MatrixLstm(NamedTuple):
    """Each of `mlstm_heads` heads keeps a matrix of its keys' by its values' size, with an input and a forget gate.

    `mlstm_keys`, `mlstm_values`: sizes of all heads together. A normaliser, which sums the keys, is one more column of
    the matrix; the running maximum of the gates' exponents, a number a head, is left out. `state_fp32`: the
    matrices are kept in 32 bits whatever the activations are.
    """

    mlstm_heads: Number
    mlstm_keys: Number
    mlstm_values: Number
    state_fp32: bool = False

    def source(self) -> str:
        """Where what it keeps of a token is described."""
        return "xLSTM, arXiv 2405.04517"

    def operators(self, build: Builder) -> Iterator[Operator]:
        """Projection to q, k, v and output gate, gates, scan, norm and gate, output projection."""
        heads, keys, values = self.mlstm_heads, self.mlstm_keys, self.mlstm_values
        yield build.gemm("mlstm_in_proj", "attention", build.hidden, 2 * (keys + values), IN)
        yield build.gemm("mlstm_gates_proj", "attention", build.hidden, 2 * heads, GATES, bias=True)
        yield build.scan(
            heads,
            divide(keys, heads),
            divide(values, heads) + 1,
            CHANNELS,
            reads=2 * keys + values + 2 * heads,
            writes=values,
            fp32=self.state_fp32,
        )
        weights = heads * floor_div(values, heads)
        yield build.elementwise("mlstm_gate", "norm", 2 * values, values, CHANNELS, weights=weights)
        yield build.gemm("mlstm_out_proj", "attention", values, build.hidden, OUT)
