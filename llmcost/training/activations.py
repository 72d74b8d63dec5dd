"""What operators keep of a micro-batch's forward pass until its backward pass: bytes of one GPU.

Each tensor is counted once, with the operator that reads it for its gradient. A product keeps its input (the gradient
of its weight needs it); attention q, k, v and a sum a query, its output being the next product's input; a norm the
sum that it normalises; a gated activation both its inputs. With the masks of dropout, scores in memory, as many KV
heads as query heads and a plain MLP of 4h, this is sbh(34 + 5as/h) of arXiv 2205.05198, equation 1, and its table 2
on more GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmcost.ground.algebra import Number, divide, maximum, minimum
from llmcost.model.lora import is_trained
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
    Stored,
)
from llmcost.parallel.layout import Layout
from llmcost.parallel.split import COLUMNS, ROWS
from llmcost.training.recipe import Recipe

# Products whose input an earlier operator of the layer keeps already.
SAME_INPUT = frozenset(
    """
    qv_proj attention_gate_proj kv_a_proj shared_gate_up_proj shared_up_proj shared_expert_gate indexer_k_weights_proj
    indexer_qk_proj lora_same_a lora_output_a
    """.split()  # noqa: SIM905 - a table of words
)
# Norms with the residual addition before them: of residual and branch, the sum alone is kept.
RESIDUAL = frozenset(
    ("attention_norm", "mlp_norm", "final_norm", "embedding_norm", "cross_attention_norm", "adapter_norm")
)
DROPPED = ("attention_norm", "mlp_norm")  # the branch that such a norm takes in has gone through dropout
NOTHING = frozenset(
    """
    rotary_cache_write cache_write indexer_rotary_cache_write loss lora_sum lora_columns_sum dequantize experts_dequantize
    """.split()  # noqa: SIM905 - a table of words
)
AFTER_ATTENTION = (
    "o_proj",
    "o_a_proj",
    "cross_o_proj",
)  # their input is attention's output, which its own backward pass needs
STATISTIC = 4  # bytes a query and head: the log of the sum of exponentials (arXiv 2307.08691, section 3.1)
LAST = ("down_proj", "experts_down_proj", "shared_down_proj")  # products whose output no gradient needs
MASK = 1  # bytes an element of a dropout mask
# Bytes an element of a norm's input that plain PyTorch keeps of an RMSNorm: its copy in fp32, and the normalised one
# in bf16.
EAGER_RMS = 4 + 2


def kept(op: Operator, layout: Layout, recipe: Recipe, norm: str = "rms") -> Number:
    """Of one execution; `norm` is the model's kind of norm."""
    if isinstance(op, (Gemm, GroupedGemm)):
        return _product(op, layout, recipe)
    if isinstance(op, Attention):
        return _attention(op, layout, recipe)
    if isinstance(op, Elementwise):
        return _stream(op, recipe, norm)
    if isinstance(op, Scan):
        return op.io_bytes()
    if isinstance(op, Lookup):
        return op.b * op.s * 8  # indices
    return 0 if isinstance(op, (Collective, Stored)) else op.io_bytes() / (2 if isinstance(op, CausalConv) else 1)


def _attention(op: Attention, layout: Layout, recipe: Recipe) -> Number:
    """q, k, v of its own part of the sequence (of a latent, what is expanded from it), and a statistic or the scores."""
    keys = maximum(op.streamed, op.cached)
    inputs = op.b * (op.s * op.a * op.d + divide(op.c, layout.cp) * keys) * op.Bx
    return inputs + (op.b * op.s * op.a * STATISTIC if recipe.attention == "fused" else scores(op, recipe))


def chosen(op: Operator, layout: Layout, recipe: Recipe) -> Number:
    """Of one execution, what selective recomputation keeps beside the layer's input.

    Of unfused attention the scores are computed again and all else is kept (arXiv 2205.05198, section 5). Fused
    attention leaves no scores; there, as torchtitan does (distributed/activation_checkpoint.py), every second product
    is computed again and all that streams: kept are attention's output and those of every other product, of a block's
    last one in any case.
    """
    if recipe.attention == "unfused":
        return kept(op, layout, recipe) - (scores(op, recipe) if isinstance(op, Attention) else 0)
    if isinstance(op, Attention):
        return op.b * op.s * op.a * (op.dv * op.Bx + STATISTIC)
    if isinstance(op, (Gemm, GroupedGemm)):
        active = op.active if isinstance(op, GroupedGemm) and op.name.startswith("experts") else 1
        spread = layout.tp if layout.sequence_parallel and op.name in ROWS else 1
        return (1 if op.name in LAST else 0.5) * op.b * op.s * active * divide(op.n, spread) * op.Bx
    return 0


def halved(ops: Sequence[Operator]) -> list[Operator]:
    """The products of which selective recomputation beside fused attention runs every second one again."""
    return [op for op in ops if isinstance(op, (Gemm, GroupedGemm)) and op.name not in LAST]


def scores(op: Attention, recipe: Recipe) -> Number:
    """Probabilities, and with dropout its mask and what it leaves: 5as²b bytes; none where they stay on the chip.

    Plain PyTorch takes the softmax in fp32 and keeps that too.
    """
    if recipe.attention == "fused":
        return 0
    each = op.Bx + (4 if recipe.kernels == "eager" and op.Bx < 4 else 0) + (MASK + op.Bx if recipe.dropout else 0)
    return op.b * op.s * op.a * op.c * each


def _product(op: Any, layout: Layout, recipe: Recipe) -> Number:
    if op.name in SAME_INPUT or not (
        is_trained(op, recipe.lora) or op.name in AFTER_ATTENTION
    ):  # a frozen weight has no gradient
        return 0
    active = op.active if isinstance(op, GroupedGemm) and op.name.startswith("experts") else 1
    whole = op.b * op.s * op.k * active
    # With sequence parallelism a rank keeps its own tokens of an input that all ranks read, and gathers the rest again.
    if layout.sequence_parallel and op.name in COLUMNS:
        whole = divide(whole, layout.tp)
    return whole * (op.Bx if op.part == "lm_head" else minimum(recipe.input_bytes(), op.Bx))


def _stream(op: Elementwise, recipe: Recipe, norm: str) -> Number:
    if op.name in NOTHING:
        return 0
    tokens, eager = op.b * op.s, recipe.kernels == "eager"
    if op.name in RESIDUAL:
        each = EAGER_RMS if eager and norm == "rms" else op.Bx
        return tokens * op.reads / 2 * (each + (MASK if recipe.dropout and op.name in DROPPED else 0))
    if op.name.endswith("activation") and eager:  # of a gated one the activated gate is kept too
        return tokens * (op.reads + maximum(0, op.reads - op.writes)) * op.Bx
    if op.name == "experts_sum" and eager:  # weighted, then added up: torch keeps what goes into both
        return 2 * tokens * op.reads * op.Bx
    return tokens * op.reads * op.Bx
