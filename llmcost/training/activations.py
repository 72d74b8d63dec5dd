"""What operators keep of a micro-batch's forward pass until its backward pass: bytes of one GPU.

A product keeps its input, which the gradient of its weight needs. Attention keeps q, k, v, its output and a sum for
each query. A norm keeps the sum that it normalises, a gated activation both its inputs. `saved_bytes` and the facts of
an operator say so. A tensor that several kernels of a block read, by the name that their facts give it, is counted
once, with the first that keeps it. With the masks of dropout, scores in memory, as many KV heads as query heads and a
plain MLP of 4h, this is sbh(34 + 5as/h) of arXiv 2205.05198, equation 1, and its table 2 on more GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmcost.ground.algebra import Number, divide, maximum
from llmcost.model.lora import is_trained
from llmcost.model.operators import (
    OWN,
    Attention,
    Communication,
    Elementwise,
    ExpertTraffic,
    Gemm,
    GroupedGemm,
    Operator,
)
from llmcost.parallel.layout import Layout
from llmcost.training.recipe import Recipe

STATISTIC = 4  # bytes a query and head: the log of the sum of exponentials (arXiv 2307.08691, section 3.1)
STATISTICS = "statistics"  # as the name of a tensor
MASK = 1  # bytes an element of a dropout mask
EAGER_RMS = 4 + 2  # bytes an element of an RMSNorm's input that plain PyTorch keeps: a copy in fp32, the result in bf16
WEIGHTED = "weighted sum"
BLOCK_INPUT = "input"  # as the name of the tensor that a block's first products read
CAST = " in few bits"  # of a tensor's name: the copy that products in fp8 read
Saved = list[tuple[str, Number]]


def kept(ops: Sequence[Operator], layout: Layout, recipe: Recipe, norm: str = "rms") -> list[Number]:
    """Bytes that one execution of each operator keeps, in the order of the operators, which is that in which they run.

    `norm`: the model's kind of norm.
    """
    found: list[Number] = []
    there: set[str] = set()
    for op in ops:
        if op.facts.opens:
            there = set()
        mine: Number = 0
        for tensor, size in saved(op, layout, recipe, norm):
            if tensor not in there:
                mine = mine + size
            if tensor not in ("", OWN, STATISTICS):
                there.add(tensor)
        found.append(mine)
    return found


def saved(op: Operator, layout: Layout, recipe: Recipe, norm: str) -> Saved:
    """The tensors that the backward pass of one execution needs, with their bytes; those without a name are its own."""
    if isinstance(op, (Gemm, GroupedGemm)):
        return _of_product(op, layout, recipe)
    if isinstance(op, Attention):
        return _of_attention(op, layout, recipe)
    if isinstance(op, Elementwise) and (recipe.kernels == "eager" or recipe.dropout):
        return _of_elementwise(op, recipe, norm)
    if op.facts.computes == "activation" and recipe.narrow_activations and recipe.input_bytes() < recipe.param_bytes():
        return [(tensor, divide(size, op.Bx) * max(1, recipe.input_bytes())) for tensor, size in _by_name(op)]
    return _by_name(op)


def _by_name(op: Operator) -> Saved:
    """The tensor that the facts of an operator name as kept for its backward pass."""
    shared, own = op.saved_bytes()
    return [(op.facts.reads, shared), ("", own)]


def _of_product(op: Gemm | GroupedGemm, layout: Layout, recipe: Recipe) -> Saved:
    """A product's input, unless its weight is frozen; as a copy in fewer bits where it computes in fewer."""
    if not is_trained(op, recipe.lora):
        return []
    whole, _ = op.saved_bytes()
    # With sequence parallelism a rank keeps its own tokens of an input that all ranks read, and gathers the rest again.
    # Rows of routed experts were copied for the GPUs that hold them.
    if layout.sequence_parallel and op.facts.split == "columns" and op.facts.expert != "routed":
        whole = divide(whole, layout.tp)
    if op.part == "lm_head" or recipe.input_bytes() >= recipe.param_bytes():
        return [(op.facts.reads, whole)]
    tensor = op.facts.reads if op.facts.reads == OWN else op.facts.reads + CAST
    return [(tensor, divide(whole, op.Bx) * recipe.input_bytes())]


def _of_attention(op: Attention, layout: Layout, recipe: Recipe) -> Saved:
    """Queries, keys and values of a rank's own part of the sequence; output and statistic, or the scores."""
    queries, keys = op.saved_bytes()
    inputs = [(op.facts.reads, queries), ("", divide(keys, layout.cp))]
    if recipe.attention == "unfused":
        return [*inputs, ("", scores(op, recipe))]
    output = [(op.facts.writes, op.output_bytes())] if op.facts.writes else []
    return [*inputs, *output, (STATISTICS, statistic(op))]


def _of_elementwise(op: Elementwise, recipe: Recipe, norm: str) -> Saved:
    """What an elementwise kernel keeps where plain PyTorch makes copies, or dropout its masks.

    A branch goes through dropout before the norm that opens the next block.
    """
    tokens, eager, facts = op.b * op.s, recipe.kernels == "eager", op.facts
    if op.part == "norm" and facts.saves == "half":
        each = EAGER_RMS if eager and norm == "rms" else op.Bx
        return [("", tokens * op.reads / 2 * (each + (MASK if recipe.dropout and facts.opens else 0)))]
    more: Number = 0
    if eager and facts.computes == "activation":  # of a gated one the activated gate is kept too
        more = maximum(0, op.reads - op.writes)
    if eager and facts.computes == "weighted sum":  # weighted, then added up: torch keeps what goes into both
        more = op.reads
    return [*_by_name(op), ("", tokens * more * op.Bx)]


def closing(ops: Sequence[Operator]) -> list[Operator]:
    """What ends the layers behind the last tensor that a gradient needs: an MLP's last product, what is sent of it.

    What experts give is needed, for the gradient of the weights of their sum.
    """
    found: list[Operator] = []
    behind = False
    for op in ops:
        product = isinstance(op, Gemm) and op.facts.last and not op.facts.expert
        behind = product or (behind and isinstance(op, Communication))
        if behind:
            found.append(op)
    return found


def computed_again(op: Operator, recipe: Recipe) -> bool:
    """Whether selective recomputation computes an operator again, of the kinds in `recipe.recomputed`.

    norm: all norms. mla_up_proj: what makes queries, keys and values of a latent. activation: of MLPs and experts.
    expert_sum: the weighted sum of what experts give, which is spared where the weight goes into the activation.
    These are Megatron-Core's --recompute-modules layernorm, mla_up_proj and moe_act, and DeepSeek-V3's (arXiv
    2412.19437, section 3.2.3). core_attn, mlp, moe and shared_experts are whole modules, tokens' ways to experts and
    back among them, collectives of tensor parallelism not.
    """
    kinds = recipe.recomputed
    if _of_whole_module(op, recipe) or (isinstance(op, Attention) and "core_attn" in kinds):
        return True
    if op.kind == "norm":
        return "norm" in kinds
    if isinstance(op, Gemm):
        latent = op.part == "attention" and op.facts.split == "columns" and op.facts.reads != BLOCK_INPUT
        return latent and "mla_up_proj" in kinds
    computes = op.facts.computes if isinstance(op, Elementwise) else ""
    return (computes == "activation" and "activation" in kinds) or (computes == WEIGHTED and "expert_sum" in kinds)


def _of_whole_module(op: Operator, recipe: Recipe) -> bool:
    """Whether an operator belongs to an MLP or to experts that are computed again as a whole."""
    kinds, expert = recipe.recomputed, op.facts.expert
    if op.part != "mlp" or not {"mlp", "moe", "shared_experts"} & {*kinds}:
        return False
    if expert == "shared":
        return "shared_experts" in kinds
    if expert == "routed" or isinstance(op, ExpertTraffic):
        return "moe" in kinds
    if isinstance(op, Communication):
        return False
    dense = op.facts.split in ("columns", "heads", "rows")  # a router and the sum over experts see whole tokens
    return ("mlp" if dense else "moe") in kinds


def _without_computed_again(ops: Sequence[Operator], layout: Layout, recipe: Recipe, norm: str) -> list[Number]:
    """Bytes that one execution of each operator keeps, without the outputs of what is computed again.

    Attention's output, which it needs itself, is cast again for the product that reads it.
    """
    found: list[Number] = []
    before: list[Operator] = []
    there: set[str] = set()
    for op in ops:
        if op.facts.opens:
            there, before = set(), []
        mine: Number = 0
        for tensor, size in saved(op, layout, recipe, norm):
            if tensor not in there and not _made_again(op, tensor, before, recipe):
                mine = mine + size
            if tensor not in ("", OWN, STATISTICS):
                there |= {tensor, tensor + CAST}
        if isinstance(op, Attention) and "core_attn" in recipe.recomputed:
            mine = mine - scores(op, recipe)
        found.append(mine)
        before.append(op)
    return found


def _made_again(op: Operator, tensor: str, before: Sequence[Operator], recipe: Recipe) -> bool:
    """Whether a tensor that an operator would keep is made again by one of those `before` it in its block.

    The products behind a norm or an activation read what that gives, attention what the products of latents give. Rows
    of tokens that came from other GPUs are kept.
    """
    if _of_whole_module(op, recipe):
        return not tensor.startswith(BLOCK_INPUT)
    if isinstance(op, Attention) and tensor == STATISTICS and "core_attn" in recipe.recomputed:
        return True
    if isinstance(op, Elementwise):
        return op.facts.computes == WEIGHTED and computed_again(op, recipe)
    if isinstance(op, Attention):
        products = any(computed_again(each, recipe) for each in before if isinstance(each, Gemm))
        return products and tensor not in (op.facts.writes, STATISTICS)
    makers = [each for each in before if isinstance(each, Elementwise) and each.facts.computes != "rotary"]
    arrived = op.facts.expert == "routed" and op.facts.split == "columns"
    attended = isinstance(before[-1], Attention) if before else False
    return bool(makers) and not arrived and not attended and computed_again(makers[-1], recipe)


def chosen(ops: Sequence[Operator], layout: Layout, recipe: Recipe, norm: str = "rms") -> list[Number]:
    """Bytes that one execution of each operator keeps with selective recomputation, beside the layer's input.

    Of unfused attention the scores are computed again and all else is kept (arXiv 2205.05198, section 5). Fused
    attention leaves no scores; there every elementwise kernel is computed again, and every second product, as
    torchtitan does (distributed/activation_checkpoint.py). Kept are the outputs of every other product, of a block's
    last one in any case, and of attention, scans and all else that is neither. With `recipe.recomputed` it is what
    `computed_again` says.
    """
    if recipe.recomputed:
        return _without_computed_again(ops, layout, recipe, norm)
    if recipe.attention == "unfused":
        again = [scores(op, recipe) if isinstance(op, Attention) else 0 for op in ops]
        return [size - less for size, less in zip(kept(ops, layout, recipe, norm), again, strict=True)]
    return [_output_kept(op, layout) for op in ops]


def _output_kept(op: Operator, layout: Layout) -> Number:
    """Bytes of an operator's output, as far as it is not computed again."""
    share = {"always": 0, "every second": 0.5, "never": 1}[op.again]
    if not share:
        return 0
    added_up = op.facts.split == "rows" and op.facts.expert != "routed"  # which sequence parallelism leaves spread
    spread = layout.tp if layout.sequence_parallel and added_up else 1
    return share * divide(op.output_bytes(), spread) + (statistic(op) if isinstance(op, Attention) else 0)


def halved(ops: Sequence[Operator]) -> list[Operator]:
    """The products of which selective recomputation beside fused attention runs every second one again."""
    return [op for op in ops if op.again == "every second"]


def statistic(op: Attention) -> Number:
    """Bytes that fused attention keeps to compute its probabilities again."""
    return op.b * op.s * op.a * STATISTIC


def scores(op: Attention, recipe: Recipe) -> Number:
    """Bytes of the probabilities, and with dropout of its mask and what it leaves; 0 where they stay on the chip.

    5as²b bytes in all. Plain PyTorch takes the softmax in fp32 and keeps that too.
    """
    if recipe.attention == "fused":
        return 0
    in_fp32 = 4 if recipe.kernels == "eager" and op.Bx < 4 else 0
    dropped = MASK + op.Bx if recipe.dropout else 0
    return op.b * op.s * op.a * op.c * (op.Bx + in_fp32 + dropped)
