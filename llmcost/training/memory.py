"""What a training step keeps in the memory of one GPU, by part and by pipeline stage, and what is alive at the peak.

Weights and optimizer are there always. Some moments compete for the peak: the loss, with every activation of the
micro-batches in flight and the logits; the backward pass of the topmost layer, with its gradients (and its
activations, if they are computed again); that of the lowest one, with the gradients of all others; with ZeRO-3 the
end, when embedding and head have their gradients; the update, with all gradients.

FSDP's collectives run in streams of their own. Memory that they took, for gradients and for what is gathered, does not
serve the activations while it is free: what the allocator holds is the most of each, at whatever moments they were.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, divide, is_one, is_plain, largest, maximum, minimum, named, present, sum_of
from llmcost.ground.constants import Constant
from llmcost.machine.process import TRAINING_COMMUNICATORS, TRAINING_CONTEXT
from llmcost.model.architecture import Pass
from llmcost.model.lora import is_quantised, is_trained
from llmcost.model.operators import Operator
from llmcost.model.training_kernels import LOSSES
from llmcost.parallel.layout import Layout, Stage, held_by_gpu, stage_of, telling_gpus, telling_stages
from llmcost.training.activations import chosen, kept
from llmcost.training.communication import Held
from llmcost.training.passes import Setup
from llmcost.training.recipe import Recipe

COPIED = 2  # layers whose inputs are on their way to the host or back: the one that computes and the next
GATHERED = 2  # layers whose weights ZeRO-3 has gathered at once: the one that computes and the next
FRAGMENTS = Constant(
    0.05,
    "held by the allocator beside what is allocated: 3 to 7 % in Megatron-LM (SimuMax's 22 measurements of B200s)",
    spread="1 to 19 % in plain PyTorch (benchmarks/training_steps_h200.json)",
)
COPY_BYTES = 4  # a parameter: unfused Adam copies one moment of all of them at once, in fp32 (torch's foreach)


class Moment(NamedTuple):
    """Bytes alive at one moment beside weights and optimizer; they add up."""

    name: str
    grads: Number
    activations: Number  # kept for backward, of all micro-batches in flight
    logits: Number  # with what the loss makes of them
    gathered: Number  # weights and gradients whole for a while (ZeRO-3)
    working: Number  # gradients of activations and what kernels need

    def total(self) -> Number:
        """The sum of the parts."""
        return self.grads + self.activations + self.logits + self.gathered + self.working


class StageMemory(NamedTuple):
    """Bytes on one GPU of a stage."""

    params: Number
    optimizer: Number
    moments: tuple[Moment, ...]
    beside: Number  # context and communicators
    on_host: Number = 0  # bytes in the host's memory
    streams: bool = False  # whether collectives have memory of their own, as in FSDP
    reserved_share: Number = 1 + FRAGMENTS.value  # what the allocator holds over what it has handed out

    def peak(self) -> Moment:
        """The moment of the peak. Arrays and symbols have no single one: of these it is the loss."""
        totals = [moment.total() for moment in self.moments]
        if not all(map(is_plain, totals)):
            return self.moments[0]
        return self.moments[totals.index(max(totals))]

    def allocated(self) -> Number:
        """What the program's allocator hands out at the peak (torch.cuda.max_memory_allocated)."""
        return self.params + self.optimizer + largest([moment.total() for moment in self.moments])

    def pooled(self) -> Number:
        """What the allocator has handed out in each stream at most, together: as much as `allocated` where one is."""
        if not self.streams:
            return self.allocated()
        of_collectives = [[moment.grads for moment in self.moments], [moment.gathered for moment in self.moments]]
        computing = [moment.activations + moment.logits + moment.working for moment in self.moments]
        return self.params + self.optimizer + sum_of([largest(sizes) for sizes in (*of_collectives, computing)])

    def reserved(self) -> Number:
        """What the allocator holds: what it has handed out, and fragments."""
        return self.pooled() * self.reserved_share

    def total(self) -> Number:
        """What the GPU has in use (nvidia-smi): what the allocator holds, the context and communicators."""
        return self.reserved() + self.beside


def held_by(ops: list[Operator]) -> Held:
    """Parameters of some operators on one GPU."""
    dense = sum([op.count * op.params() for op in ops if op.facts.expert != "routed"])
    return Held(dense, sum([op.count * op.params() for op in ops if op.facts.expert == "routed"]))


def trained_part(a_pass: Pass, recipe: Recipe) -> Pass:
    """The operators of a pass whose weights are trained: all of them, or adapters alone."""
    if recipe.lora is None:
        return a_pass
    return Pass(*[[op for op in ops if is_trained(op, recipe.lora)] for ops in a_pass])


def stage_params(a_pass: Pass, stage: Stage, layers: Number) -> Held:
    """Parameters of one stage on one GPU. Kinds of layers count as spread evenly over the stages.

    A tied head away from the embedding has a copy of its weights (Megatron-LM).
    """
    head: list[Any] = a_pass.last
    inside, share = held_by(a_pass.layers), stage.layers / layers
    tied = sum([op.k * op.n for op in head if getattr(op, "tied", False)])
    last = held_by(a_pass.last).dense + (1 - stage.first) * tied
    ends = stage.first * held_by(a_pass.first).dense + stage.last * last
    return Held(share * inside.dense + ends, share * inside.experts if present(inside.experts) else 0)


def fullest(a_pass: Pass, layout: Layout, layers: Number) -> Held:
    """The parameters of the stage that holds most: the first or the last, unless stages were chosen one by one."""
    each = [stage_params(a_pass, stage_of(layout, layers, index), layers) for index in telling_stages(layout)]
    experts = each[0].experts if layout.stages is None else largest([one.experts for one in each])
    return Held(largest([one.dense for one in each]), experts)


def stage_memory(at: Setup, a_pass: Pass, index: Number) -> StageMemory:
    """Memory of one GPU of stage `index`, first 0, last p - 1.

    With DualPipe every stage is on two GPUs, which divide its optimizer between them.
    """
    layout, recipe, layers = at.layout, at.recipe, at.model.num_hidden_layers
    stage = held_by_gpu(layout, layers, index)
    copies = 2 if layout.schedule == "dualpipe" and layout.zero and not is_one(layout.pp) else 1
    held = stage_params(a_pass, stage, layers)
    trained = stage_params(trained_part(a_pass, recipe), stage, layers)
    few, saved = quantised(at, a_pass, stage)
    params = _divided(held, layout, recipe.param_bytes(), from_zero=3) - _divided(few, layout, saved, from_zero=3)
    stored = (held.dense + held.experts) * recipe.param_bytes() - (few.dense + few.experts) * saved
    optimizer_bytes = recipe.optimizer_bytes()
    on_host: Number = 0
    if recipe.host is not None and recipe.host.inputs:
        on_host = stage.in_flight * stage.layers * share_recomputed(layout, stage) * layer_inputs(at)
    elif recipe.host is not None:
        on_host = _divided(trained, layout, recipe.host.share * recipe.away_bytes() / copies, from_zero=1)
        optimizer_bytes = (1 - recipe.host.share) * optimizer_bytes
        if recipe.host.weights:
            on_host, params = on_host + params, 0
    if masters_alone(layout, recipe) and (recipe.host is None or recipe.host.inputs):
        params = params + _divided(trained, layout, recipe.master_bytes() - recipe.param_bytes(), from_zero=3)
        optimizer_bytes = recipe.moments_bytes()
    return StageMemory(
        params=params,
        optimizer=_divided(trained, layout, optimizer_bytes / copies, from_zero=1),
        moments=_moments(at, a_pass, stage, stored, trained),
        on_host=on_host,
        streams=masters_alone(layout, recipe),
        reserved_share=reserved_share(recipe),
        beside=TRAINING_CONTEXT.value + TRAINING_COMMUNICATORS.value * minimum(1, layout.gpus() - 1),
    )


def all_stages(at: Setup, a_pass: Pass) -> list[StageMemory]:
    """Memory of the stages of which one is the fullest, the first and the last at the ends."""
    return [stage_memory(at, a_pass, index) for index in telling_gpus(at.layout)]


def reserved_share(recipe: Recipe) -> Number:
    """What a program's allocator holds over what it has handed out."""
    return 1 + FRAGMENTS.value if recipe.reserved_share is None else recipe.reserved_share


def masters_alone(layout: Layout, recipe: Recipe) -> bool:
    """Whether trained weights at rest are the fp32 masters, 16 bytes a parameter in all, and 16-bit ones are gathered.

    So it is with FSDP, which keeps weights and gradients alike (torch.distributed.fsdp, MixedPrecisionPolicy), but not
    with ZeRO-3 of 16-bit gradients (arXiv 1910.02054), which keeps weights of 16 bits beside the masters.
    """
    return layout.zero == 3 and recipe.master_bytes() > 0 and recipe.grad_bytes == recipe.master_bytes()


def _moments(at: Setup, a_pass: Pass, stage: Stage, stored: Number, trained: Held) -> tuple[Moment, ...]:
    """The moments that compete for the peak of a stage, with `stored` bytes of weights and `trained` parameters.

    Where layers are recomputed, the backward pass of one has all its activations again.
    """
    layout, recipe = at.layout, at.recipe
    grads = _divided(trained, layout, recipe.grad_bytes, from_zero=2)
    earlier = minimum(1, layout.micro_batches() - 1)  # 1 where micro-batches before this one have left gradients
    there = recipe.grad_buffer or (recipe.whole_gradients and layout.zero == 3)
    before = grads if there else grads * earlier
    behind = maximum(before, grads * (1 - _of_one_layer(stage)))  # when the last layer's turn comes

    layer, some, inputs = layer_kept(at, a_pass) if present(stage.layers) else (0, 0, 0)
    again = share_recomputed(layout, stage)
    away = recipe.host is not None and recipe.host.inputs
    passing = minimum(COPIED, again * stage.layers) * inputs if away else 0
    some = 0 if away else some
    embedding, head = stage.first * _kept(a_pass.first, at), stage.last * _kept(a_pass.last, at)
    each = stage.layers * (again * some + (1 - again) * layer) + embedding
    waiting = (stage.in_flight - 1) * each
    restored = minimum(1, again * stage.layers) * (layer - some)

    logits = stage.last * _logits(at)
    working = largest([op.io_bytes() for op in _inside(a_pass)])
    last, most, gradient, of_ends = _gathered(stored, trained, a_pass, stage, at)
    buckets, copies = _copied(trained, layout, recipe)
    buckets = buckets + passing
    found = [
        Moment("loss", before, waiting + each + head, logits, last, buckets),
        Moment("backward", before, waiting + each + restored, 0, most + gradient, working + buckets),
        Moment("end", behind, waiting + (layer + embedding), 0, most + gradient, working + buckets),
        Moment("update", grads, waiting, 0, gradient, copies),
    ]
    if present(of_ends):
        found.insert(3, Moment("ends", grads, waiting, 0, of_ends, buckets))
    return tuple(found)


def _copied(trained: Held, layout: Layout, recipe: Recipe) -> tuple[Number, Number]:
    """Bytes of copies of gradients: in buckets while they are added up, and at the update.

    DeepSpeed fills a bucket and makes one tensor of it (runtime/zero/stage_1_and_2.py, allreduce_bucket); with ZeRO-3
    the bucket stays. Its update with ZeRO-1 and 2 makes one tensor of all gradients, and one in fp32 of that (step).
    """
    if not recipe.whole_gradients or not layout.zero:
        update = _divided(trained, layout, COPY_BYTES, from_zero=1) if recipe.optimizer == "adam-unfused" else 0
        return 0, update
    bucket = minimum(recipe.bucket or 0, trained.dense + trained.experts) * recipe.reduce_bytes
    if layout.zero == 3:
        return bucket, bucket
    return 2 * bucket, _divided(trained, layout, recipe.grad_bytes + COPY_BYTES, from_zero=1)


def layer_kept(at: Setup, a_pass: Pass) -> tuple[Number, Number, Number]:
    """What an average layer has of one micro-batch: all that its backward pass needs, what is kept, its input alone.

    The input is 2bsh bytes, of which a rank keeps its tokens with sequence parallelism.
    """
    layout, layers = at.layout, at.model.num_hidden_layers
    inside = _inside(a_pass)
    every, inputs = named("kept_a_layer", _kept(inside, at) / layers), layer_inputs(at)
    if layout.recompute == "none":
        return every, every, inputs
    if layout.recompute == "full":
        return every, inputs, inputs
    outputs = chosen(inside, layout, at.recipe, at.model.norm)
    some = sum([op.count * each for op, each in zip(inside, outputs, strict=True)]) / layers
    has_input = at.recipe.attention == "unfused" or bool(at.recipe.recomputed)  # among what the operators keep
    return every, some + (0 if has_input else inputs), inputs


def layer_inputs(at: Setup) -> Number:
    """Bytes of a layer's input of one micro-batch on one GPU: 2bsh, or a rank's tokens with sequence parallelism."""
    layout = at.layout
    tokens = layout.micro_batch * divide(at.seq, layout.cp)
    spread = layout.tp if layout.sequence_parallel else 1
    return divide(tokens * at.model.hidden_size, spread) * at.recipe.param_bytes()


def _inside(a_pass: Pass) -> list[Operator]:
    """The layers without heads that predict further tokens: their logits are there once, as those of the LM head."""
    return [op for op in a_pass.layers if op.part != "lm_head"]


def _divided(held: Held, layout: Layout, size: Number, *, from_zero: int) -> Number:
    """Bytes on one GPU of a state of `size` bytes a parameter, divided over the replicas from that stage of ZeRO on."""
    dense, experts = held
    if layout.zero >= from_zero:
        dense = divide(dense, layout.sharded(layout.replicas()))
        experts = divide(experts, layout.sharded(layout.expert_replicas()))
    return size * dense + size * experts


def quantised(at: Setup, a_pass: Pass, stage: Stage) -> tuple[Held, Number]:
    """Parameters of a stage that are kept in few bits, and the bytes that each does without."""
    lora = at.recipe.lora
    if lora is None or lora.frozen_bits is None:
        return Held(0, 0), 0
    few = Pass([], [op for op in a_pass.layers if is_quantised(op, lora)], [])
    return stage_params(few, stage, at.model.num_hidden_layers), at.recipe.param_bytes() - lora.frozen_bits / 8


def _gathered(
    stored: Number, trained: Held, a_pass: Pass, stage: Stage, at: Setup
) -> tuple[Number, Number, Number, Number]:
    """Bytes that ZeRO-3 has whole for a while; `stored`: bytes of all weights.

    Of weights at the loss: embedding and head, which FSDP keeps from the one to the other (torch.distributed.fsdp,
    fully_shard of the whole model); the most of weights: those and two layers; or all at both if they are kept. Of
    gradients: those of one layer, or in a pipeline of all, until its last micro-batch. And weights and gradients of
    embedding and head, which are added up together when the backward pass is through.
    """
    layout, recipe = at.layout, at.recipe
    if layout.zero < 3:
        return 0, 0, 0, 0
    one = _of_one_layer(stage)
    piped = minimum(1, layout.pp - 1)
    ends = stage.first * held_by(a_pass.first).dense + stage.last * held_by(a_pass.last).dense
    whole = ends * recipe.param_bytes()
    inside = (stored - whole) * (minimum(stage.layers, GATHERED) / stage.layers if present(stage.layers) else 1)
    last, most = (whole, whole + inside) if layout.reshard else (stored, stored)
    gradient = (trained.dense + trained.experts) * (piped + (1 - piped) * one) * recipe.reduce_bytes
    of_ends = ends * (recipe.param_bytes() + recipe.reduce_bytes) if recipe.lora is None else 0
    return last, most, gradient, of_ends


def _kept(ops: list[Operator], at: Setup) -> Number:
    """Bytes that some operators keep of one micro-batch for its backward pass, all their executions."""
    each = kept(ops, at.layout, at.recipe, at.model.norm)
    return sum([op.count * size for op, size in zip(ops, each, strict=True)])


def _of_one_layer(stage: Stage) -> Number:
    """Of what a stage's layers have, what one of them has; all of it where there is only the embedding or the head."""
    return minimum(1, 1 / stage.layers) if present(stage.layers) else 1


def share_recomputed(layout: Layout, stage: Stage) -> Number:
    """Of a stage's layers, those of which something is computed again."""
    if layout.recompute == "none" or not present(stage.layers):
        return 0
    return 1 if layout.recompute_layers is None else minimum(1, layout.recompute_layers / stage.layers)


def share_recomputed_of_all(layout: Layout, layers: Number) -> Number:
    """The same of all layers of the model."""
    if layout.stages is None:
        return share_recomputed(layout, stage_of(layout, layers, 0))
    each = [stage_of(layout, layers, index) for index in telling_stages(layout)]
    return sum_of([share_recomputed(layout, one) * one.layers for one in each]) / layers


def _logits(at: Setup) -> Number:
    """Bytes of the logits of one micro-batch on one GPU, and of what the loss makes of them."""
    tokens = at.layout.micro_batch * divide(at.seq, at.layout.cp)
    each = at.recipe.param_bytes() + LOSSES[at.recipe.loss].alive_bytes
    return tokens * divide(at.model.vocab_size, at.layout.tp) * each
