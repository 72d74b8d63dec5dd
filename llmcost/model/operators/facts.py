"""Facts: what is true of a kernel beside its sizes, said where the kernel is made.

How several GPUs divide it, what its backward pass keeps, which linear layers of a checkpoint are packed in it: whoever
asks reads it here, and nobody keeps a list of kernels' names. Facts are made once, as constants beside the block that
uses them: operators are made millions of times in a sweep.
"""

from typing import Literal, NamedTuple, TypeAlias

from llmcost.ground.algebra import Number
from llmcost.model.operators.routing import UNIFORM, Routing

Split: TypeAlias = Literal["columns", "rows", "heads", "tokens", "table", "unsaid"]
Saves: TypeAlias = Literal["reads", "half", "rest", "nothing"]
Computes: TypeAlias = Literal["pointwise", "activation", "rotary", "weighted sum", "softmax"]
Expert: TypeAlias = Literal["", "routed", "shared"]
Role: TypeAlias = Literal["", "router", "positions", "adapter", "expansion", "constant"]

INPUT = "input"  # the tensor that a block takes in, behind its norm
OWN = "own"  # a tensor that no other kernel keeps: mostly what the kernel before wrote


class OnHost(NamedTuple):
    """Of a kernel whose weights are in the host's memory: the share of its executions, and the tokens of each."""

    share: Number
    tokens: Number


class Facts(NamedTuple):
    """What is true of a kernel, whatever its sizes are.

    `split`: how tensor parallelism divides it (Megatron-LM, arXiv 1909.08053, section 3).
        columns: a product's outputs. rows: a product's inputs, so that its outputs are partial sums. heads: the heads
        or channels of what stands between such products. tokens: it is the same on every GPU; with sequence
        parallelism each has its share of the tokens. table: rows of a table, each token being looked up where its row
        is. unsaid: nothing was said, which whoever divides it refuses.
    `reads`: the name of the tensor that it reads and that its backward pass needs. Kernels of a block that read a
        tensor of the same name keep it once between them; of a product, a name or `OWN` has to be given.
    `writes`: the name of its output, where its own backward pass needs that too (fused attention).
    `saves`: which of its inputs an elementwise kernel or a scan needs for its backward pass. reads: all (the tensor
        `reads`, if that is named). half: half of them: of a residual addition with the norm behind it, the sum. rest:
        the tensor `reads` (if named; it is as large as the output), and all inputs beyond the output's size. nothing.
    `computes`: what an elementwise kernel does, for which plain PyTorch needs more passes over memory.
    `expert`: of a mixture's routed experts, or of those that every token takes.
    `role`: router (never quantised, never adapted), positions (a table of them), adapter (of LoRA: trained beside
        frozen weights), expansion (of quantised weights, before each use), constant (it computes what is the model's
        own, as much for any batch).
    `modules`: the linear layers of a checkpoint that are packed in it, separated by blanks, once for each way in which
        checkpoints name them. Empty: one that has the operator's own name. The first naming is LoRA's.
    `widths`: outputs of each module of the first naming, all GPUs together; empty: equal ones.
    `last`: the product whose output no gradient needs, the last of an MLP.
    `opens`: a new tensor enters the block here: what was kept before under the same names is another's.
    `sums`: numbers of 4 bytes a token that a tensor-parallel group adds up in the midst of it, such as the squares
        that a norm over all of its heads needs.
    `routing`: of routed experts, where their tokens go.
    `host`: of what stands in the host's memory, how much of it.
    """

    split: Split
    reads: str = ""
    writes: str = ""
    saves: Saves = "reads"
    computes: Computes = "pointwise"
    expert: Expert = ""
    role: Role = ""
    modules: tuple[str, ...] = ()
    widths: tuple[Number, ...] = ()
    last: bool = False
    opens: bool = False
    sums: int = 0
    routing: Routing = UNIFORM
    host: OnHost | None = None

    @property
    def summed(self) -> bool:
        """Whether a tensor-parallel group adds up its outputs. Experts' partial sums wait for the sum over experts."""
        return (self.split in ("rows", "table") and not self.expert) or self.computes == "weighted sum"

    def module(self, part: str) -> str:
        """What `unquantized` of a spec calls the layers that it is one of."""
        return {"": part, "routed": "experts", "shared": "shared_experts"}[self.expert]


UNSAID = Facts("unsaid")  # of kernels that are measured alone
EVERYWHERE = Facts("tokens")
