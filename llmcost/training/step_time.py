"""How long a training step takes: micro-batches through a pipeline, exchanges that nothing hides, the update.

    step = m·t + bubble + exposed gradients and weights + optimizer

with t the fullest stage's forward and backward pass (and what is recomputed) of one of m micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, maximum, minimum, named, present
from llmcost.machine.timing import exchange_seconds, kernel_seconds
from llmcost.model.lora import is_trained
from llmcost.model.operators import Collective, Gemm, GroupedGemm, Operator
from llmcost.parallel.training_layout import Layout, Stage, stage_of
from llmcost.training.activations import halved
from llmcost.training.exchanges import Held, attentions, context_exchange, data_exchange, stage_exchange
from llmcost.training.memory import fullest, share_recomputed, trained_part
from llmcost.training.passes import Pass, Setup, kernels

NEWTON_SCHULZ = 5  # iterations of Muon, three products each of a matrix's shape (kellerjordan.github.io/posts/muon)


class Exposed(NamedTuple):
    """Seconds of exchanges that no computation hides, by what exchanges."""

    tensor: Number = 0
    context: Number = 0
    expert: Number = 0
    pipeline: Number = 0
    data: Number = 0

    def total(self) -> Number:
        """All of them."""
        return self.tensor + self.context + self.expert + self.pipeline + self.data


class Direction(NamedTuple):
    """Seconds of one direction of one micro-batch through operators: products (and scans), elementwise kernels, exchanges."""

    products: Number
    elementwise: Number
    tensor: Number
    expert: Number

    def total(self) -> Number:
        """One after the other."""
        return self.products + self.elementwise + self.tensor + self.expert

    def times(self, factor: Number) -> Direction:
        """So many of them."""
        return Direction(*[factor * each for each in self])

    def plus(self, other: Direction) -> Direction:
        """Both."""
        return Direction(*[ours + theirs for ours, theirs in zip(self, other, strict=True)])

    def largest(self, other: Direction) -> Direction:
        """The larger of each: what the fullest stage has."""
        return Direction(*[maximum(ours, theirs) for ours, theirs in zip(self, other, strict=True)])


class Part(NamedTuple):
    """A part of a micro-batch's way through a stage. `weight` is what of the backward pass waits for nothing: weights' gradients."""

    forward: Direction
    backward: Direction
    weight: Number


class StepSeconds(NamedTuple):
    """A step by cause; they add up to `total`. Matrix products are `compute`, elementwise kernels `memory`."""

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
    ahead: list[Number] = [0, 0, 0, 0]
    back: list[Number] = [0, 0, 0, 0]
    weight: Number = 0
    for op, time in zip(run, times, strict=True):
        if isinstance(op, Collective):
            kind, shown = (
                (3, at.recipe.overlap.expert) if op.exchange == "all_to_all" else (2, at.recipe.overlap.tensor)
            )
            forward = behind = time * (1 - shown)
        else:
            trained = is_trained(op, at.recipe.lora)
            kind = 1 if op.kind in ("elementwise", "norm") else 0
            forward, behind = time, op.backward(frozen=not trained) * time
            weight = weight + time if isinstance(op, (Gemm, GroupedGemm)) and trained else weight
        ahead[kind], back[kind] = ahead[kind] + forward, back[kind] + behind
    return Part(Direction(*ahead), Direction(*back), weight)


def left_of(exchange: Number, beside: Number, share: Number) -> Number:
    """What an exchange costs that runs beside computation: at most `share` of it is hidden, and no more than there is
    to hide it.

    The rest is what it slows the computation down by, with which it shares memory and multiprocessors, and what
    starts too late.
    """
    return exchange - minimum(beside, share * exchange)


def step_seconds(at: Setup, a_pass: Pass) -> StepSeconds:
    """A whole step, expected."""
    layout, recipe = at.layout, at.recipe
    parts = [part_of(ops, at) for ops in a_pass]
    stage = stage_of(layout, at.model.num_hidden_layers, 0)
    share, m = stage.layers / at.model.num_hidden_layers, layout.micro_batches()
    single, several = maximum(0, 2 - layout.pp), minimum(1, layout.pp - 1)
    ahead = _stage([part.forward for part in parts], share, single)
    back = _stage([part.backward for part in parts], share, single)

    again = _recomputed(at, a_pass, parts[0].forward, stage)
    context = _context(at, a_pass)
    pipeline = 0
    if present(layout.pp - 1):
        send = exchange_seconds(
            stage_exchange(at.model.hidden_size, at.seq, layout, recipe), at.chip.links, at.efficiency
        )
        pipeline = 2 * layout.vp * several * send * (1 - recipe.overlap.pipeline)
    one = named("breakdown.micro_batch", ahead.total() + back.total() + share * (again + context) + pipeline)

    bubble: Number = 0
    if present(layout.pp - 1):
        through = (
            sum([part.forward.total() + part.backward.total() for part in parts])
            + again
            + context
            + layout.pp * pipeline
        )
        bubble = maximum(0, through - one) / layout.vp
    if (
        layout.schedule == "zero-bubble"
    ):  # gradients of weights fill it: (p-1)(F + B - 2W) is left (arXiv 2401.10241, table 2)
        bubble = bubble * (1 - 2 * share * parts[0].weight / one)

    held = fullest(a_pass, layout, at.model.num_hidden_layers)
    trained = fullest(trained_part(a_pass, recipe), layout, at.model.num_hidden_layers)
    data = _data(at, held, trained, ahead.total(), back.total() + share * again)
    stream = at.chip.bandwidth * at.efficiency.kernels["elementwise"].memory
    added = (
        (trained.dense + trained.experts) * 2 * recipe.grad_bytes / stream
    )  # gradients, read and written once a micro-batch
    update = optimizer_seconds(at, trained, stream)
    exposed = Exposed(
        m * (ahead.tensor + back.tensor), m * share * context, m * (ahead.expert + back.expert), m * pipeline, data
    )
    compute, memory = m * (ahead.products + back.products), m * (ahead.elementwise + back.elementwise + added)
    parts_of_it = {
        "compute": compute,
        "memory": memory,
        "recompute": m * share * again,
        "exposed": exposed.total(),
        "bubble": bubble,
    }
    total = sum([named(f"breakdown.{name}", value) for name, value in (parts_of_it | {"optimizer": update}).items()])
    return StepSeconds(total, compute, memory, m * share * again, exposed, bubble, update, one)


def _stage(parts: list[Direction], share: Number, single: Number) -> Direction:
    """The fullest stage: its layers and the larger of embedding and head, or both on a single stage."""
    layers, embedding, head = parts
    ends = (embedding.plus(head.times(single))).largest(head.plus(embedding.times(single)))
    return layers.times(share).plus(ends)


def _recomputed(at: Setup, a_pass: Pass, layers: Direction, stage: Stage) -> Number:
    """Forward work of all layers that the backward pass does again (kept.chosen says what "selective" does)."""
    again = share_recomputed(at.layout, stage)
    if at.layout.recompute == "none":
        return 0
    if at.layout.recompute == "full":
        return again * layers.total()
    if at.recipe.attention == "unfused":
        return again * part_of(attentions(a_pass.layers), at).forward.total()
    return again * (part_of(halved(a_pass.layers), at).forward.products / 2 + layers.elementwise)


def _context(at: Setup, a_pass: Pass) -> Number:
    """Exposed exchanges between parts of a sequence, forward and backward (twice as much), of all layers.

    A ring's run beside the attention of the part that is there already; gathering and all-to-all stand before and
    after it.
    """
    exposed: Number = 0
    if not present(at.layout.cp - 1):
        return exposed
    share = at.recipe.overlap.context if at.layout.context == "ring" else 0
    for op in attentions(a_pass.layers):
        sent = op.count * exchange_seconds(context_exchange(op, at.layout), at.chip.links, at.efficiency)
        beside = part_of([op], at)
        returned = sent if at.layout.context == "ulysses" else 2 * sent
        exposed = (
            exposed + left_of(sent, beside.forward.total(), share) + left_of(returned, beside.backward.total(), share)
        )
    return exposed


def _data(at: Setup, held: Held, trained: Held, ahead: Number, back: Number) -> Number:
    """Exposed exchanges between replicas of a step.

    Gradients go beside the backward pass: of the last micro-batch, or of each where they are divided (ZeRO-2,
    ZeRO-3). Weights come beside the forward pass of the first, or of each with ZeRO-3, and once more for the backward
    pass if they were let go. In a pipeline, weights stay gathered and gradients whole until the last micro-batch.
    """
    layout, share = at.layout, at.recipe.overlap.data
    exchange = data_exchange(held, layout, at.recipe, trained)
    gradients, weights = (sum([exchange_seconds(op, at.chip.links, at.efficiency) for op in ops]) for ops in exchange)
    rounds = maximum(1, maximum(0, 2 - layout.pp) * layout.micro_batches())
    again = weights if layout.zero == 3 and layout.reshard else 0
    adding, handing = left_of(gradients + again, back, share), left_of(weights, ahead, share)
    return (rounds if layout.zero >= 2 else 1) * adding + (rounds if layout.zero == 3 else 1) * handing


def optimizer_seconds(at: Setup, held: Held, stream: Number) -> Number:
    """The update by its traffic, each rank its part where the optimizer is divided.

    Muon's five iterations X ← aX + (bA + cA²)X, A = XXᵀ, are besides at most 6h FLOPs a parameter each.
    """
    seconds = optimizer_traffic(at, held) / stream
    if at.recipe.optimizer == "muon":
        flops = NEWTON_SCHULZ * 6 * at.model.hidden_size * updated(at.layout, held)
        seconds = seconds + flops / (at.chip.plain_peak * at.efficiency.kernels["gemm"].compute)
    return seconds


def updated(layout: Layout, held: Held) -> Number:
    """Parameters that one GPU updates."""
    parts = ((held.dense, layout.replicas()), (held.experts, layout.expert_replicas()))
    return sum([divide(count, layout.sharded(replicas)) if layout.zero else count for count, replicas in parts])


def optimizer_traffic(at: Setup, held: Held) -> Number:
    """Bytes that one GPU moves to update its parameters."""
    return updated(at.layout, held) * at.recipe.update_bytes()
