"""Kernels that training runs beside those of a forward pass, rows sorted by expert and the loss, and its words."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from llmcost.ground.algebra import Number, divide
from llmcost.model.operators import Elementwise, Facts, Gemm, GroupedGemm, Operator

KERNELS = ("fused", "vendor", "eager")
Schedule = Literal["1f1b", "zero-bubble", "dualpipe"]
SCHEDULES: tuple[Schedule, ...] = ("1f1b", "zero-bubble", "dualpipe")
Context = Literal["ring", "all-gather", "ulysses"]
CONTEXTS: tuple[Context, ...] = ("ring", "all-gather", "ulysses")
Losses = Literal["plain", "held", "shifted", "in-place", "cloned", "compiled", "fused"]
# Kinds of operators that may be computed again; the last four whole: attention, MLPs, routed experts, shared ones.
RECOMPUTED = ("norm", "mla_up_proj", "activation", "expert_sum", "core_attn", "mlp", "moe", "shared_experts")
MODULES: dict[str, tuple[str, ...]] = {  # Megatron-Core's --recompute-modules -> these
    "layernorm": ("norm",),
    "mla_up_proj": ("mla_up_proj",),
    "moe_act": ("activation", "expert_sum"),
    "core_attn": ("core_attn",),
    "mlp": ("mlp",),
    "moe": ("moe", "shared_experts"),
    "shared_experts": ("shared_experts",),
}

SOFTMAX = Facts("heads", saves="nothing", computes="softmax")
CAST = Facts("heads", saves="nothing")
SORTED = Facts("heads", expert="routed")


class Loss(NamedTuple):
    """How cross-entropy runs: bytes a logit that it moves forward, and that are alive beside the logits themselves.

    Its backward pass counts as twice the traffic, like every elementwise kernel's. `source`: what the bytes are of.
    """

    moved_bytes: Number
    alive_bytes: Number
    source: str


LOSSES: dict[Losses, Loss] = {
    "plain": Loss(
        12,
        4 + 4 + 4 - 2,
        "torch's cross_entropy of bf16 logits: a copy in fp32 (2 read, 4 written), log-softmax (4 and 4), backward a "
        "gradient of zeros (4), log-softmax's (8 and 4), a copy in bf16 (4 and 2), 36 in all; alive are log-softmax of "
        "the copy and two gradients in fp32, the logits themselves let go",
    ),
    "held": Loss(
        12,
        4 + 4 + 4,
        "as plain, and the program holds the logits that the model returns (`outputs` of Transformers' models)",
    ),
    "shifted": Loss(
        56 / 3,
        4 + 4 + 4 + 4 - 2,
        "as plain, of logits in fp32 that the model returns and the program holds, copied as they are shifted by a "
        "token (8), and so back (12): Transformers until 4.44, modeling_llama.py",
    ),
    "in-place": Loss(
        12,
        4,
        "moves as plain; the fp32 copy, over which all else is written (Megatron-LM, "
        "core/tensor_parallel/cross_entropy.py)",
    ),
    "cloned": Loss(
        12 + 8 / 3,
        4 + 4,
        "as in-place, on a copy of the fp32 copy (bigscience-workshop/Megatron-DeepSpeed, mpu/cross_entropy.py)",
    ),
    "compiled": Loss(2, 2, "logits read twice, gradients written once, in the logits' type"),
    "fused": Loss(2, 0, "as compiled, gradients written over the logits"),
}
USUAL_LOSS: Losses = "in-place"  # unless a recipe says otherwise


def loss_operator(kind: Losses, vocab_size: Number, tp: Number, b: Number, s: Number) -> Operator:
    """Cross-entropy on one GPU's part of the vocabulary; half of what it moves counts as read, half as written."""
    moved = LOSSES[kind].moved_bytes * divide(vocab_size, tp) / 2
    return Elementwise("loss", "lm_head", 1, b, s, moved, moved, 0, 1, SOFTMAX)


def with_sorts(ops: Iterable[Operator]) -> list[Operator]:
    """The operators, with tokens sorted by expert before the first product of routed experts."""
    run: list[Operator] = []
    for op in ops:
        if op.facts.expert == "routed" and op.facts.split == "columns":
            run.append(sorted_rows(op))
        run.append(op)
    return run


def sorted_rows(op: Any) -> Operator:
    """A copy of each token's row for each expert that it takes, in the order of experts."""
    width = op.active * op.k
    return Elementwise("experts_sort", "mlp", op.count, op.b, op.s, width, width, 0, op.Bx, SORTED)


def with_casts(ops: Iterable[Operator], narrow: Number = 1) -> list[Operator]:
    """The operators, with casts to fp8 or fp4 before products of weights, but for the LM head and routers.

    These stay wide. `narrow`: bytes of what is cast.

    The input (k wide) is cast forward, the gradient of the output (n wide) backward: each is read in 16 bits and
    written twice in few, along rows and along columns, as both directions need it (Transformer Engine, performance
    considerations: handling transposes). For fp4 it is read once more before, for the scale of the whole tensor
    (Transformer Engine, NVFP4BlockScaling); its Hadamard transform is taken to be free. An elementwise kernel's
    backward pass counts twice its forward one: k and n are spread over these three.
    """
    run: list[Operator] = []
    reads = 1 if narrow == 1 else 2
    for op in ops:
        if isinstance(op, (Gemm, GroupedGemm)) and op.part != "lm_head" and op.facts.role != "router":
            rows = op.active if isinstance(op, GroupedGemm) else 1
            width = rows * (op.k + op.n) / 3
            sizes = reads * width, 2 * narrow * width / op.Bx
            run.append(Elementwise(f"{op.name}_cast", op.part, op.count, op.b, op.s, *sizes, 0, op.Bx, CAST))
        run.append(op)
    return run
