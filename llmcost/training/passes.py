"""The forward pass of a micro-batch on one GPU, in the three parts that a pipeline puts on different stages.

A backward pass needs no list of its own: an operator's `backward` says how many executions of itself it is. Its
collectives send as much as those of the forward pass: an all-gather's gradient is a reduce-scatter, and the other way
round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, divide, present
from llmcost.ground.constants import Constant
from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import Efficiency
from llmcost.model import verify
from llmcost.model.architecture import Pass, embedding, head, layer_operators, predictors
from llmcost.model.lora import with_adapters, with_expansion
from llmcost.model.operators import OWN, Attention, Elementwise, Facts, Gemm, Operator
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.spec import ModelSpec
from llmcost.model.training_kernels import SOFTMAX, Context, loss_operator, with_casts, with_sorts
from llmcost.parallel.layout import Layout
from llmcost.parallel.split import shard
from llmcost.training.recipe import Recipe

# How many times as much memory plain PyTorch moves as one fused kernel, running a kernel for every operation.
EAGER = {
    "rms": Constant(
        42 / 8, "residual addition, copy to fp32, square, mean, product, copy back, product with the weight"
    ),
    "layer": Constant(10 / 8, "LayerNorm is one kernel, the residual addition before it another"),
    "layer-no-bias": Constant(10 / 8, "as layer"),
    "none": Constant(1, "a norm without weights is one kernel"),
    "activation": Constant(10 / 6, "activation and product: 10 bytes an element for 6"),
    "pointwise": Constant(10 / 6, "as activation"),
    "weighted sum": Constant(10 / 6, "as activation"),
    "rotary": Constant(20 / 4, "negation of a half, concatenation, two products, sum: 20 bytes an element for 4"),
    "softmax": Constant(20 / 4, "scaling, mask, copy to fp32, softmax, copy back: 20 bytes an element for 4"),
}

ALL_DIVIDED = 3  # the stage of ZeRO that divides weights too

PART = Facts("tokens", OWN)  # of unfused attention, which GPUs have divided already


class Divided(NamedTuple):
    """What differs where all states are divided (ZeRO-3) and another engine is usual: what it computes, reaches, sends.

    `context_parallel`: how parts of a sequence exchange keys and values.
    """

    recipe: Recipe
    efficiency: Efficiency
    context_parallel: Context


class Setup(NamedTuple):
    """What a step depends on: a model, how it is spread and run, the tokens of a sequence, the GPU, its efficiency.

    `divided`: of the engine that is usual where all states are divided, if it is another one.
    `slowest`: the place of the stage that takes longest, where sizes are symbols, which do not tell it.
    """

    model: ModelSpec
    layout: Layout
    recipe: Recipe
    seq: Number
    chip: Chip
    efficiency: Efficiency
    divided: Divided | None = None
    slowest: int | None = None

    def resolved(self) -> Setup:
        """The setup with the engine's ways that hold for its layout."""
        if self.divided is None or self.layout.zero < ALL_DIVIDED:
            return self._replace(divided=None)
        recipe, efficiency, context_parallel = self.divided
        layout = self.layout._replace(context_parallel=context_parallel)
        return self._replace(layout=layout, recipe=recipe, efficiency=efficiency, divided=None)


def forward_pass(at: Setup) -> Pass:
    """One micro-batch's forward pass on one GPU with its collectives; the loss stands behind the LM head.

    Modules that predict further tokens, with their share of head and loss, are dealt out with the layers: who trains
    them lays out stages so that none is slower for them.

    Each context-parallel rank has its part of every sequence. Tokens are sent to experts in 16 bits, as Megatron-Core
    sends them (megatron/core/transformer/moe/fused_a2a.py), or as the recipe says: DeepSeek sends fp8 (arXiv
    2412.19437, section 3.3.3).
    """
    model, layout, recipe, seq = at[:4]
    Bx = recipe.param_bytes()
    size = ElementBytes(Bx, Bx, Bx)
    narrow = recipe.sent_bytes()
    sent = size if narrow is None else size._replace(Bd=narrow)
    part, b = divide(seq, layout.cp), layout.micro_batch
    layers: list[Operator] = []
    for layer in model.without_formats().layers:
        layers += layer_operators(model, layer, size, Load(b, seq, seq, cached=False))
    if recipe.mtp:
        layers += predictors(model.without_formats(), recipe.mtp, size, Load(b, seq, seq, cached=False))
    if recipe.lora is not None:
        layers = with_adapters(layers, recipe.lora)
    if verify.ON:
        verify.training_pass(layers)
    if present(layout.cp - 1):
        layers = [op.context_divided(layout.cp, part) for op in layers]
    if recipe.lora is not None:
        layers = with_expansion(layers, recipe.lora)
    cross_entropy = loss_operator(recipe.loss, model.vocab_size, layout.tp, b, part)
    last = [*shard(head(model, size, b, part), layout, size, gather_logits=False), cross_entropy]
    further = [_shared(op, recipe.mtp) for op in last] if recipe.mtp else []
    return Pass(
        first=shard(embedding(model, size, Load(b, part, part)), layout, size),
        layers=[*shard(layers, layout, sent), *further],
        last=last,
    )


def _shared(op: Any, times: int) -> Operator:
    """An operator of the head that runs so many times more, with the weights of the first."""
    more: Operator = op._replace(count=times)
    return more._replace(tied=True) if isinstance(more, Gemm) else more


def kernels(ops: Sequence[Operator], model: ModelSpec, recipe: Recipe) -> Sequence[Operator]:
    """The kernels that a recipe runs for these operators.

    Tokens are sorted by expert before the first product of routed experts, inputs of products in fp8 and fp4 cast;
    unfused attention is three kernels; plain PyTorch's elementwise kernels move more.
    """
    run = with_sorts(ops)
    if recipe.attention == "unfused":
        run = [kernel for op in run for kernel in (unfused(op, recipe) if isinstance(op, Attention) else [op])]
    if recipe.input_bytes() < recipe.param_bytes():
        run = with_casts(run, recipe.input_bytes())
    if recipe.kernels == "eager":
        run = [eager(op, model.norm) for op in run]
    if verify.ON:
        verify.recipe_pass(run)
    return run


def unfused(op: Attention, recipe: Recipe) -> tuple[Operator, ...]:
    """Attention in three kernels that write scores to memory: every (query, key) pair, whatever the mask leaves.

    Keys and values are counted once for all query heads and sequences, which is little beside the scores. With dropout,
    probabilities are read and written once more, and a mask of one byte is written.
    """
    b, Bx = op.b * op.a, op.Bx
    passes = EAGER["softmax"].value if recipe.kernels == "eager" else 1
    reads, writes = (passes + 1, passes + 1 + 1 / Bx) if recipe.dropout else (passes, passes)
    return (
        Gemm("attention_scores", "attention", op.count, b, op.s, op.d, op.c, False, True, Bx, Bx, PART),
        Elementwise("attention_softmax", "attention", op.count, b, op.s, reads * op.c, writes * op.c, 0, Bx, SOFTMAX),
        Gemm("attention_values", "attention", op.count, b, op.s, op.c, op.dv, False, True, Bx, Bx, PART),
    )


def eager(op: Operator, norm: str) -> Operator:
    """An elementwise kernel as plain PyTorch runs it: more passes over memory. Launches that takes are left out.

    A softmax is left as it is: `unfused` and `loss` know its passes themselves.
    """
    if not isinstance(op, Elementwise) or op.facts.computes == "softmax":
        return op
    passes = EAGER[norm if op.part == "norm" else op.facts.computes].value
    return op._replace(reads=op.reads * passes, writes=op.writes * passes)
