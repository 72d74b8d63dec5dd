"""What a training step keeps in the memory of one GPU, by part and by pipeline stage, and what is alive at the peak.

Weights and optimizer are there always. Four moments compete for the peak: the loss, with every activation of the
micro-batches in flight and the logits; the backward pass of the topmost layer, with its gradients (and its
activations, if they are computed again); that of the lowest one, with the gradients of all others; the update, with
all gradients.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, is_plain, largest, maximum, minimum, named, present
from llmcost.model.architecture import Pass
from llmcost.model.lora import is_quantised, is_trained
from llmcost.model.operators import Operator
from llmcost.parallel.layout import Layout, Stage, stage_of
from llmcost.training.activations import chosen, kept
from llmcost.training.exchanges import Held
from llmcost.training.passes import Setup
from llmcost.training.recipe import Recipe

# Bytes a logit alive while the loss is computed, beside those in their own type. "plain": log-softmax of the fp32
# copy and two fp32 gradients, the logits themselves let go (torch's cross_entropy); "in-place": the fp32 copy, all
# else written over it (Megatron-LM, core/tensor_parallel/cross_entropy.py); "compiled": gradients in the logits'
# type; "fused": those are written over the logits.
LOSS_ALIVE = {"plain": 4 + 4 + 4 - 2, "in-place": 4, "compiled": 2, "fused": 0}
GATHERED = 2  # layers whose weights ZeRO-3 has gathered at once: the one that computes and the next
GIB = 2**30
# CUDA context with its kernels: 0.75 GiB on an H200 (torch 2.11, benchmarks/training_steps_h200.json), 0.47 on an
# A100 (torch 2.1.1). Communicators: 1.5 GiB after the first exchange of two GPUs, "expect 1-2" (both
# stas00/ml-engineering, training/performance/README.md).
CONTEXT = 0.75 * GIB
COMMUNICATORS = 1.5 * GIB
# Of what is allocated, held by the allocator beside it: 3 to 7 % in Megatron-LM (SimuMax's 22 measurements of B200s),
# 1 to 19 % in plain PyTorch (benchmarks/training_steps_h200.json).
FRAGMENTS = 0.05


class Moment(NamedTuple):
    """Bytes alive at one moment beside weights and optimizer; they add up."""

    name: str
    grads: Number
    activations: Number  # kept for backward, of all micro-batches in flight
    logits: Number  # with what the loss makes of them
    gathered: Number  # weights and gradients whole for a while (ZeRO-3)
    working: Number  # gradients of activations and what kernels need

    def total(self) -> Number:
        """All of it."""
        return self.grads + self.activations + self.logits + self.gathered + self.working


class StageMemory(NamedTuple):
    """Bytes on one GPU of a stage."""

    params: Number
    optimizer: Number
    moments: tuple[Moment, ...]
    beside: Number  # context and communicators

    def peak(self) -> Moment:
        """The moment of the peak. Of arrays and symbols, which have no single one, the loss."""
        totals = [moment.total() for moment in self.moments]
        return (
            self.moments[max(range(len(totals)), key=totals.__getitem__)]
            if all(map(is_plain, totals))
            else self.moments[0]
        )

    def allocated(self) -> Number:
        """What the program's allocator hands out at the peak (torch.cuda.max_memory_allocated)."""
        return self.params + self.optimizer + largest([moment.total() for moment in self.moments])

    def reserved(self) -> Number:
        """What the allocator holds."""
        return self.allocated() * (1 + FRAGMENTS)

    def total(self) -> Number:
        """What the GPU has in use (nvidia-smi)."""
        return self.reserved() + self.beside


def held_by(ops: list[Operator]) -> Held:
    """Parameters of some operators on one GPU."""
    dense = sum([op.count * op.params() for op in ops if op.facts.expert != "routed"])
    return Held(dense, sum([op.count * op.params() for op in ops if op.facts.expert == "routed"]))


def trained_part(a_pass: Pass, recipe: Recipe) -> Pass:
    """Operators whose weights are trained: all, or adapters."""
    return (
        a_pass if recipe.lora is None else Pass(*[[op for op in ops if is_trained(op, recipe.lora)] for ops in a_pass])
    )


def stage_params(a_pass: Pass, stage: Stage, layers: Number) -> Held:
    """Parameters of one stage on one GPU; kinds of layers count as spread evenly over the stages.

    A tied head away from the embedding has a copy of its weights (Megatron-LM).
    """
    inside, share = held_by(a_pass.layers), stage.layers / layers
    tied = sum([op.k * op.n for op in a_pass.last if getattr(op, "tied", False)])  # type: ignore[attr-defined]
    ends = stage.first * held_by(a_pass.first).dense + stage.last * (
        held_by(a_pass.last).dense + (1 - stage.first) * tied
    )
    return Held(share * inside.dense + ends, share * inside.experts if present(inside.experts) else 0)


def fullest(a_pass: Pass, layout: Layout, layers: Number) -> Held:
    """The parameters of the stage that holds most: the first or the last."""
    first, last = (stage_params(a_pass, stage_of(layout, layers, index), layers) for index in (0, layout.pp - 1))
    return Held(maximum(first.dense, last.dense), first.experts)


def stage_memory(at: Setup, a_pass: Pass, index: Number) -> StageMemory:
    """Memory of one GPU of stage `index`, first 0, last p - 1."""
    layout, layers = at.layout, at.model.num_hidden_layers
    stage = stage_of(layout, layers, index)
    recipe, held = at.recipe, stage_params(a_pass, stage, layers)
    trained = stage_params(trained_part(a_pass, recipe), stage, layers)
    few, saved = quantised(at, a_pass, stage)
    params = _divided(held, layout, recipe.param_bytes(), from_stage=3) - _divided(few, layout, saved, from_stage=3)
    grads = _divided(trained, layout, recipe.grad_bytes, from_stage=2)
    optimizer = _divided(trained, layout, recipe.optimizer_bytes(), from_stage=1)
    before = (
        grads if recipe.grad_buffer else grads * minimum(1, layout.micro_batches() - 1)
    )  # from earlier micro-batches

    layer, some, _ = layer_kept(at, a_pass)
    again = share_recomputed(layout, stage)
    whole = layer + stage.first * _kept(a_pass.first, at)
    each = stage.layers * (again * some + (1 - again) * layer) + stage.first * _kept(a_pass.first, at)
    waiting = (stage.in_flight - 1) * each
    stored = (held.dense + held.experts) * recipe.param_bytes() - (few.dense + few.experts) * saved
    weights, gradient = _gathered(stored, trained, stage, at)
    logits, in_head = stage.last * _logits(at), stage.last * _kept(a_pass.last, at)
    working = largest([op.io_bytes() for op in a_pass.layers])
    return StageMemory(
        params,
        optimizer,
        (
            Moment("loss", before, waiting + each + in_head, logits, weights, 0),
            Moment(
                "backward",
                before,
                waiting + each + minimum(1, again * stage.layers) * (layer - some),
                0,
                weights + gradient,
                working,
            ),
            Moment("end", _grads_behind(grads, before, stage), waiting + whole, 0, weights + gradient, working),
            Moment("update", grads, waiting, 0, gradient, _temporaries(trained, at)),
        ),
        CONTEXT + COMMUNICATORS * minimum(1, layout.gpus() - 1),
    )


def _grads_behind(grads: Number, before: Number, stage: Stage) -> Number:
    """Gradients that are there when the backward pass comes to its last layer."""
    return maximum(before, grads * (1 - minimum(1, 1 / stage.layers)))


def layer_kept(at: Setup, a_pass: Pass) -> tuple[Number, Number, Number]:
    """What an average layer has of one micro-batch: all that its backward pass needs, what is kept, its input alone.

    The input is 2bsh bytes, of which a rank keeps its tokens with sequence parallelism.
    """
    layout, layers = at.layout, at.model.num_hidden_layers
    every = named("kept_a_layer", _kept(a_pass.layers, at) / layers)
    tokens = layout.micro_batch * divide(at.seq, layout.cp)
    spread = layout.tp if layout.sequence_parallel else 1
    inputs = divide(tokens * at.model.hidden_size, spread) * at.recipe.param_bytes()
    if layout.recompute == "none":
        return every, every, inputs
    if layout.recompute == "full":
        return every, inputs, inputs
    outputs = chosen(a_pass.layers, layout, at.recipe, at.model.norm)
    some = sum([op.count * each for op, each in zip(a_pass.layers, outputs, strict=True)]) / layers
    return every, some + (inputs if at.recipe.attention == "fused" else 0), inputs


def _divided(held: Held, layout: Layout, size: Number, *, from_stage: int) -> Number:
    """A state of `size` bytes a parameter, divided over the replicas from that stage of ZeRO on."""
    parts = ((held.dense, layout.replicas()), (held.experts, layout.expert_replicas()))
    return sum(
        [size * (divide(count, layout.sharded(n)) if layout.zero >= from_stage else count) for count, n in parts]
    )


def quantised(at: Setup, a_pass: Pass, stage: Stage) -> tuple[Held, Number]:
    """Parameters of a stage that are kept in few bits, and the bytes that each does without."""
    lora = at.recipe.lora
    if lora is None or lora.frozen_bits is None:
        return Held(0, 0), 0
    few = Pass([], [op for op in a_pass.layers if is_quantised(op, lora)], [])
    return stage_params(few, stage, at.model.num_hidden_layers), at.recipe.param_bytes() - lora.frozen_bits / 8


def _gathered(stored: Number, trained: Held, stage: Stage, at: Setup) -> tuple[Number, Number]:
    """With ZeRO-3, weights and gradients that are whole; `stored`: bytes of all weights.

    Weights of two layers, or of all if they are kept; gradients of one, or in a pipeline of all, until its last
    micro-batch.
    """
    layout, recipe = at.layout, at.recipe
    if layout.zero < 3:
        return 0, 0
    one = minimum(stage.layers, 1) / stage.layers
    piped = minimum(1, layout.pp - 1)
    weights = stored * (minimum(stage.layers, GATHERED) / stage.layers if layout.reshard else 1)
    return weights, (trained.dense + trained.experts) * (piped + (1 - piped) * one) * recipe.reduce_bytes


def _temporaries(held: Held, at: Setup) -> Number:
    """Unfused Adam makes a copy of one moment for all parameters at once (torch's foreach)."""
    return _divided(held, at.layout, 4, from_stage=1) if at.recipe.optimizer == "adam-unfused" else 0


def _kept(ops: list[Operator], at: Setup) -> Number:
    each = kept(ops, at.layout, at.recipe, at.model.norm)
    return sum([op.count * size for op, size in zip(ops, each, strict=True)])


def share_recomputed(layout: Layout, stage: Stage) -> Number:
    """Of a stage's layers, those of which something is computed again."""
    if layout.recompute == "none":
        return 0
    return 1 if layout.recompute_layers is None else minimum(1, layout.recompute_layers / stage.layers)


def _logits(at: Setup) -> Number:
    """Logits of one micro-batch on one GPU, and what the loss makes of them."""
    tokens = at.layout.micro_batch * divide(at.seq, at.layout.cp)
    return tokens * divide(at.model.vocab_size, at.layout.tp) * (at.recipe.param_bytes() + LOSS_ALIVE[at.recipe.loss])
