"""How long a training step takes: micro-batches through a pipeline, communication that nothing hides, the update.

    step = m·t + bubble + exposed gradients and weights + optimizer

with t the fullest stage's forward and backward pass (and what is recomputed) of one of m micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, maximum, minimum, named, present
from llmcost.ground.constants import Constant
from llmcost.machine.timing import collective_seconds, kernel_seconds
from llmcost.model.architecture import Pass
from llmcost.model.lora import is_trained
from llmcost.model.operators import Collective, Gemm, GroupedGemm, Operator
from llmcost.parallel.layout import Layout, Stage, stage_of
from llmcost.training.activations import halved
from llmcost.training.communication import Held, attentions, context_collective, data_collectives, stage_send
from llmcost.training.memory import fullest, share_recomputed, trained_part
from llmcost.training.passes import Setup, kernels

NEWTON_SCHULZ = Constant(
    5, "Muon, three products each of a matrix's shape: kellerjordan.github.io/posts/muon", "iterations"
)


class Exposed(NamedTuple):
    """Seconds of communication that no computation hides, by what communicates."""

    tensor: Number = 0
    context: Number = 0
    expert: Number = 0
    pipeline: Number = 0
    data: Number = 0

    def total(self) -> Number:
        """The sum over all causes."""
        return self.tensor + self.context + self.expert + self.pipeline + self.data


class Direction(NamedTuple):
    """Seconds of one direction (forward or backward) of one micro-batch through operators, by kind of kernel.

    tensor, expert: exposed communication of tensor parallelism and of experts.
    """

    products: Number  # and scans
    elementwise: Number
    tensor: Number
    expert: Number

    def total(self) -> Number:
        """All kernels one after the other."""
        return self.products + self.elementwise + self.tensor + self.expert

    def times(self, factor: Number) -> Direction:
        """The same repeated, `factor` times."""
        return Direction(*[factor * each for each in self])

    def plus(self, other: Direction) -> Direction:
        """The one and then the other."""
        return Direction(*[ours + theirs for ours, theirs in zip(self, other, strict=True)])

    def largest(self, other: Direction) -> Direction:
        """The larger of each kind: what the fullest stage has."""
        return Direction(*[maximum(ours, theirs) for ours, theirs in zip(self, other, strict=True)])


class Part(NamedTuple):
    """Seconds of some operators, both directions of one micro-batch.

    weight: of the backward pass, gradients of weights. No other kernel waits for them.
    """

    forward: Direction
    backward: Direction
    weight: Number


class StepSeconds(NamedTuple):
    """A step by cause; the causes add up to `total`. Products are `compute`, elementwise kernels `memory`."""

    total: Number
    compute: Number
    memory: Number
    recompute: Number
    exposed: Exposed
    bubble: Number
    optimizer: Number
    micro_batch: Number  # one micro-batch on the fullest stage, forward and backward


def part_of(ops: Sequence[Operator], at: Setup) -> Part:
    """Both directions of some operators on one GPU."""
    run = kernels(ops, at.model, at.recipe)
    times = kernel_seconds(run, at.chip, at.efficiency)
    assert times is not None  # what is not known was refused before
    ahead, back = dict.fromkeys(Direction._fields, 0), dict.fromkeys(Direction._fields, 0)
    weight: Number = 0
    for op, time in zip(run, times, strict=True):
        if isinstance(op, Collective):
            kind = "expert" if op.exchange == "all_to_all" else "tensor"
            forward = behind = time * (1 - getattr(at.recipe.overlap, kind))
        else:
            kind = "elementwise" if op.kind in ("elementwise", "norm") else "products"
            trained = is_trained(op, at.recipe.lora)
            forward, behind = time, op.backward(frozen=not trained) * time
            weight = weight + time if isinstance(op, (Gemm, GroupedGemm)) and trained else weight
        ahead[kind] = ahead[kind] + forward
        back[kind] = back[kind] + behind
    return Part(Direction(**ahead), Direction(**back), weight)


def left_of(sent: Number, beside: Number, share: Number) -> Number:
    """Exposed seconds of communication that takes `sent` seconds and runs beside computation of `beside` seconds.

    At most `share` of it is hidden, and no more than there is computation to hide it. The rest is what it slows the
    computation down by, with which it shares memory and multiprocessors, and what starts too late.
    """
    return sent - minimum(beside, share * sent)


def step_seconds(at: Setup, a_pass: Pass) -> StepSeconds:
    """Expected seconds of a whole step by cause, from the forward pass of one micro-batch."""
    layout, layers = at.layout, at.model.num_hidden_layers
    inside, first, last = (part_of(ops, at) for ops in (a_pass.layers, a_pass.first, a_pass.last))
    stage = stage_of(layout, layers, 0)
    share, m = stage.layers / layers, layout.micro_batches()
    ahead = _stage(first.forward, inside.forward, last.forward, share, layout)
    back = _stage(first.backward, inside.backward, last.backward, share, layout)

    again = _recomputed(at, a_pass, inside.forward, stage)
    context = _context(at, a_pass)
    pipeline = _sends(at)
    one = named("breakdown.micro_batch", ahead.total() + back.total() + share * (again + context) + pipeline)

    all_stages = sum([part.forward.total() + part.backward.total() for part in (inside, first, last)])
    through = all_stages + again + context + layout.pp * pipeline
    bubble = _bubble(layout, through, one, share * inside.weight)

    held, trained = (fullest(each, layout, layers) for each in (a_pass, trained_part(a_pass, at.recipe)))
    data = _data(at, held, trained, ahead.total(), back.total() + share * again)
    bytes_per_s = at.chip.bandwidth * at.efficiency.kernels["elementwise"].memory
    added = (trained.dense + trained.experts) * 2 * at.recipe.grad_bytes / bytes_per_s  # gradients, read and written
    update = optimizer_seconds(at, trained, bytes_per_s)

    compute = m * (ahead.products + back.products)
    memory = m * (ahead.elementwise + back.elementwise + added)
    recompute = m * share * again
    exposed = Exposed(
        tensor=m * (ahead.tensor + back.tensor),
        context=m * share * context,
        expert=m * (ahead.expert + back.expert),
        pipeline=m * pipeline,
        data=data,
    )
    causes = {
        "compute": compute,
        "memory": memory,
        "recompute": recompute,
        "exposed": exposed.total(),
        "bubble": bubble,
        "optimizer": update,
    }
    total = sum([named(f"breakdown.{name}", value) for name, value in causes.items()])
    return StepSeconds(total, compute, memory, recompute, exposed, bubble, update, one)


def _stage(first: Direction, layers: Direction, last: Direction, share: Number, layout: Layout) -> Direction:
    """The fullest stage: its `share` of the layers and the larger of embedding and head, or both on a single stage."""
    single = maximum(0, 2 - layout.pp)  # 1 without a pipeline, else 0
    ends = first.plus(last.times(single)).largest(last.plus(first.times(single)))
    return layers.times(share).plus(ends)


def _sends(at: Setup) -> Number:
    """Exposed seconds that a micro-batch's activations and their gradients are on the way to and from the next stage.

    Each chunk of layers sends once in each direction.
    """
    layout = at.layout
    if not present(layout.pp - 1):
        return 0
    send = stage_send(at.model.hidden_size, at.seq, layout, at.recipe)
    seconds = collective_seconds(send, at.chip.links, at.efficiency)
    several = minimum(1, layout.pp - 1)
    return 2 * layout.vp * several * seconds * (1 - at.recipe.overlap.pipeline)


def _bubble(layout: Layout, through: Number, one: Number, weight: Number) -> Number:
    """Seconds that the fullest stage waits for others, where a micro-batch takes `through` seconds through all stages.

    `one`: seconds of the micro-batch on that stage, of which `weight` are gradients of weights. An interleaved
    schedule waits for a chunk instead of a stage. Gradients of weights can fill the bubble (zero bubble): of it
    (p-1)(F + B - 2W) is left (arXiv 2401.10241, table 2).
    """
    bubble = maximum(0, through - one) / layout.vp if present(layout.pp - 1) else 0
    return bubble * (1 - 2 * weight / one) if layout.schedule == "zero-bubble" else bubble


def _recomputed(at: Setup, a_pass: Pass, layers: Direction, stage: Stage) -> Number:
    """Forward seconds of all layers that the backward pass does again (activations.chosen says what is kept)."""
    again = share_recomputed(at.layout, stage)
    if at.layout.recompute == "none":
        return 0
    if at.layout.recompute == "full":
        return again * layers.total()
    if at.recipe.attention == "unfused":
        return again * part_of(attentions(a_pass.layers), at).forward.total()
    return again * (part_of(halved(a_pass.layers), at).forward.products / 2 + layers.elementwise)


def _context(at: Setup, a_pass: Pass) -> Number:
    """Exposed seconds between parts of a sequence, of all layers: forward, and backward twice as much.

    A ring sends beside the attention of the part that is there already; all-gather and all-to-all stand before and
    after it.
    """
    exposed: Number = 0
    if not present(at.layout.cp - 1):
        return exposed
    share = at.recipe.overlap.context if at.layout.context == "ring" else 0
    for op in attentions(a_pass.layers):
        sent = op.count * collective_seconds(context_collective(op, at.layout), at.chip.links, at.efficiency)
        returned = sent if at.layout.context == "ulysses" else 2 * sent
        beside = part_of([op], at)
        exposed = exposed + left_of(sent, beside.forward.total(), share)
        exposed = exposed + left_of(returned, beside.backward.total(), share)
    return exposed


def _data(at: Setup, held: Held, trained: Held, ahead: Number, back: Number) -> Number:
    """Exposed seconds of communication between replicas, of a step.

    Gradients go beside the backward pass (`back` seconds): of the last micro-batch, or of each where they are divided
    (ZeRO-2, ZeRO-3). Weights come beside the forward pass (`ahead` seconds) of the first, or of each with ZeRO-3, and
    once more for the backward pass if they were let go. In a pipeline, weights stay gathered and gradients whole until
    the last micro-batch.
    """
    layout, share = at.layout, at.recipe.overlap.data
    sent = data_collectives(held, layout, at.recipe, trained)
    gradients, weights = (sum([collective_seconds(op, at.chip.links, at.efficiency) for op in ops]) for ops in sent)
    weights_again = weights if layout.zero == 3 and layout.reshard else 0
    adding = left_of(gradients + weights_again, back, share)
    handing = left_of(weights, ahead, share)
    alone = maximum(0, 2 - layout.pp)  # 1 without a pipeline, else 0
    rounds = maximum(1, alone * layout.micro_batches())
    return (rounds if layout.zero >= 2 else 1) * adding + (rounds if layout.zero == 3 else 1) * handing


def optimizer_seconds(at: Setup, held: Held, bytes_per_s: Number) -> Number:
    """Seconds of the update by its traffic, each rank its part where the optimizer is divided.

    Muon's five iterations X ← aX + (bA + cA²)X, A = XXᵀ, are besides at most 6h FLOPs a parameter each.
    """
    seconds = optimizer_traffic(at, held) / bytes_per_s
    if at.recipe.optimizer == "muon":
        flops = NEWTON_SCHULZ.value * 6 * at.model.hidden_size * updated(at.layout, held)
        seconds = seconds + flops / (at.chip.plain_peak * at.efficiency.kernels["gemm"].compute)
    return seconds


def updated(layout: Layout, held: Held) -> Number:
    """Parameters that one GPU updates: all that it holds, or its part of them where the optimizer is divided."""
    if not layout.zero:
        return held.dense + held.experts
    dense = divide(held.dense, layout.sharded(layout.replicas()))
    return dense + divide(held.experts, layout.sharded(layout.expert_replicas()))


def optimizer_traffic(at: Setup, held: Held) -> Number:
    """Bytes that one GPU moves to update its parameters."""
    return updated(at.layout, held) * at.recipe.update_bytes()
