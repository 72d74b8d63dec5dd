"""How long a training step takes: micro-batches through a pipeline, exposed communication, the optimizer's update.

    step = m·t + bubble + exposed communication between replicas + optimizer

m: micro-batches of a step. t: seconds of one of them on the fullest stage, forward and backward, with recomputation and
the communication inside. Exposed is communication that does not overlap with computation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, is_one, largest, maximum, minimum, named, of_largest, present, sum_of
from llmcost.ground.constants import Constant
from llmcost.machine.timing import collective_seconds, kernel_seconds
from llmcost.model.architecture import Pass
from llmcost.model.lora import is_trained
from llmcost.model.operators import Attention, Collective, Communication, Gemm, GroupedGemm, Operator
from llmcost.parallel.layout import Layout, Stage, run_by_gpu, stage_of, telling_gpus
from llmcost.training.activations import closing, computed_again, halved
from llmcost.training.communication import (
    Held,
    attentions,
    collectives_of,
    context_collective,
    data_collectives,
    ring_seconds,
    stage_send,
)
from llmcost.training.memory import fullest, layer_inputs, share_recomputed, share_recomputed_of_all, trained_part
from llmcost.training.passes import Setup, forward_pass, kernels
from llmcost.training.recipe import PACKED, OnHost, Recipe

EXCHANGING = Constant(
    20,
    "those that move tokens to experts and back while others compute (arXiv 2412.19437, section 3.2.2)",
    "multiprocessors of a GPU",
)
MULTIPROCESSORS = Constant(132, "of an H800, as of an H100 (arXiv 2412.19437, section 3.2.2)", "of a GPU")
NEWTON_SCHULZ = Constant(
    5, "Muon, three products each of a matrix's shape: kellerjordan.github.io/posts/muon", "iterations"
)


class Exposed(NamedTuple):
    """Seconds of communication that does not overlap with computation, by kind of parallelism.

    data: gradients and weights between replicas; the other kinds are those of a micro-batch, all together.
    """

    tensor: Number = 0
    context: Number = 0
    expert: Number = 0
    pipeline: Number = 0
    data: Number = 0

    def total(self) -> Number:
        """The sum over all causes."""
        return self.tensor + self.context + self.expert + self.pipeline + self.data


class Direction(NamedTuple):
    """Seconds of some operators in one direction, forward or backward, of one micro-batch, by kind of kernel.

    products: matrix products, attention and scans. tensor, expert: exposed communication of tensor parallelism and of
    experts. host: in which kernels wait for the program that starts them.
    """

    products: Number
    elementwise: Number
    tensor: Number
    expert: Number
    host: Number = 0

    def total(self) -> Number:
        """All kernels one after the other."""
        return self.products + self.elementwise + self.tensor + self.expert + self.host

    def times(self, factor: Number) -> Direction:
        """The same repeated, `factor` times."""
        return Direction(*[factor * each for each in self])

    def plus(self, other: Direction) -> Direction:
        """The one and then the other."""
        return Direction(*[ours + theirs for ours, theirs in zip(self, other, strict=True)])


class Part(NamedTuple):
    """Seconds of some operators in both directions of one micro-batch.

    weight: the part of the backward pass that computes gradients of weights, for which no other kernel waits.
    """

    forward: Direction
    backward: Direction
    weight: Number


class StepSeconds(NamedTuple):
    """Seconds of a step by cause; the causes add up to `total`.

    compute: products, attention and scans. memory: elementwise kernels, and gradients that are added up. host: in which
    kernels wait for the program that starts them. micro_batch: not a cause, but one micro-batch on the slowest stage,
    forward and backward; stages: the same of every stage of which one is the slowest (layout.telling_gpus).
    """

    total: Number
    compute: Number
    memory: Number
    recompute: Number
    exposed: Exposed
    bubble: Number
    optimizer: Number
    micro_batch: Number
    host: Number = 0
    stages: tuple[Number, ...] = ()


def part_of(ops: Sequence[Operator], at: Setup) -> Part:
    """Both directions of some operators on one GPU, one kernel after the other, all their executions."""
    run = kernels(ops, at.model, at.recipe)
    times = kernel_seconds(run, at.chip, at.efficiency)
    assert times is not None  # what is not known was refused before
    ahead, back = (dict.fromkeys(Direction._fields, 0) for _ in range(2))
    weight: Number = 0
    for op, alike in zip(run, times, strict=True):
        time = alike * _waiting(op, at)
        if isinstance(op, Communication):
            kind = "expert" if op.exchange == "all_to_all" else "tensor"
            forward = behind = time
        else:
            kind = "elementwise" if op.kind in ("elementwise", "norm") else "products"
            trained = is_trained(op, at.recipe.lora)
            forward, behind = time, at.efficiency.behind(op, frozen=not trained) * time
            if trained and isinstance(op, (Gemm, GroupedGemm)):
                weight = weight + time
        ahead[kind] = ahead[kind] + forward
        back[kind] = back[kind] + behind
    return Part(_exposed(Direction(**ahead), at), _exposed(Direction(**back), at), weight)


def _waiting(op: Operator, at: Setup) -> Number:
    """How many times as long as the mean rank the fullest one takes with an operator that is no communication."""
    over, few = at.recipe.imbalance, is_one(at.layout.ep)
    if op.facts.expert == "routed":
        return 1 if few else 1 + (over.expert - 1) * minimum(1, at.layout.ep - 1)
    if isinstance(op, Attention) and present(over.context - 1):
        return 1 + (over.context - 1) * minimum(1, at.seq / PACKED)
    return 1


def _exposed(sent: Direction, at: Setup) -> Direction:
    """One direction with what is exposed of its communication, that of experts beside what tensor parallelism left.

    What overlaps of experts' exchange takes multiprocessors from the computation beside it, and so still costs a part.
    """
    library, overlap = at.efficiency.libraries.get("experts"), at.recipe.overlap
    taken = EXCHANGING.value if library is None or library.multiprocessors is None else library.multiprocessors
    beside = sent.products + sent.elementwise
    tensor = left_of(sent.tensor, beside, overlap.tensor)
    expert = left_of(sent.expert, beside - (sent.tensor - tensor), overlap.expert)
    expert = expert + (sent.expert - expert) * (taken / MULTIPROCESSORS.value)
    return sent._replace(tensor=tensor, expert=expert)


def _started(at: Setup) -> Number:
    """Seconds in which the host starts the kernels of all layers, in one direction; 0 where no engine is known."""
    host, experts = at.efficiency.host, at.model.expert_layers()
    return 0 if host is None else host.layer * (at.model.num_hidden_layers - experts) + host.expert_layer * experts


def _with_host(inside: Part, at: Setup, context: tuple[Number, Number]) -> Part:
    """The layers, each of whose passes takes at least as long as the host takes to start its kernels.

    What is exposed of `context` parallelism, forward and backward, is a part of that time.
    """
    if at.efficiency.host is None:
        return inside
    least = _started(at)

    def waits(one: Direction, sent: Number) -> Direction:
        return one._replace(host=maximum(0, least - one.total() - sent))

    return inside._replace(forward=waits(inside.forward, context[0]), backward=waits(inside.backward, context[1]))


def left_of(sent: Number, beside: Number, share: Number) -> Number:
    """Exposed seconds of communication that takes `sent` seconds and runs beside computation of `beside` seconds.

    At most `share` of it overlaps, and no more than there is computation. The rest is what starts too late, and what it
    slows the computation down by, with which it shares memory and multiprocessors.
    """
    if not (present(sent) and present(share)):
        return sent
    return sent - minimum(beside, share * sent)


def step_seconds(at: Setup, a_pass: Pass) -> StepSeconds:
    """Expected seconds of a whole step by cause, from the forward pass of one micro-batch."""
    layout, layers = at.layout, at.model.num_hidden_layers
    first, inside, last = (part_of(ops, at) for ops in a_pass)
    sent_by_context = _context(at, a_pass)
    inside = _with_host(inside, at, sent_by_context)
    context, pipeline = sum_of(sent_by_context), _sends(at)
    all_again = _recomputed(at, a_pass, inside.forward)
    all_again = all_again + _inputs_awaited(at, inside, all_again)

    def timed(stage: Stage) -> tuple[Direction, Direction, Number, Number]:
        """Both directions of a stage, what it computes again, and its whole micro-batch."""
        share, again = stage.layers / layers, share_recomputed(layout, stage) * all_again
        ahead = _stage(first.forward, inside.forward, last.forward, share, stage)
        back = _stage(first.backward, inside.backward, last.backward, share, stage)
        return ahead, back, again, ahead.total() + back.total() + share * (again + context) + pipeline

    each = [run_by_gpu(layout, layers, index) for index in telling_gpus(layout)]
    times = [timed(one)[-1] for one in each]
    stage = each[at.slowest] if at.slowest is not None else _slowest(each, times)
    ahead, back, again, seconds = timed(stage)
    share, m, one = stage.layers / layers, layout.micro_batches(), named("breakdown.micro_batch", seconds)

    all_stages = sum_of([part.forward.total() + part.backward.total() for part in (inside, first, last)])
    through = all_stages + share_recomputed_of_all(layout, layers) * all_again + context + layout.pp * pipeline

    held, trained = (fullest(each, layout, layers) for each in (a_pass, trained_part(a_pass, at.recipe)))
    bytes_per_s = at.chip.bandwidth * at.efficiency.kernels["gemm"].memory
    adding_up = _adding_up(at, trained, share * inside.weight, bytes_per_s)
    lengthened = adding_up if at.recipe.kernels == "vendor" else 0  # its products, beside which gradients are sent
    if at.efficiency.host is not None:  # the backward pass takes as long as the host or longer, with it
        back = back._replace(host=maximum(0, back.host - adding_up))
    exposed = Exposed(
        tensor=m * (ahead.tensor + back.tensor),
        context=m * share * context,
        expert=m * (ahead.expert + back.expert),
        pipeline=m * pipeline,
        data=_data(at, held, trained, ahead.total(), back.total() + share * again + lengthened),
    )
    causes = {
        "compute": m * (ahead.products + back.products),
        "memory": m * (ahead.elementwise + back.elementwise + adding_up),
        "recompute": m * share * again,
        "exposed": exposed.total(),
        "bubble": bubble_seconds(layout, through, one, back.total() + share * again, share * inside.weight),
        "optimizer": optimizer_seconds(at, trained, bytes_per_s),
    }
    if at.efficiency.host is not None:
        waits = m * (ahead.host + back.host)
        least = at.efficiency.host.step + 2 * m * share * _started(at)
        causes["host"] = maximum(waits, least - sum_of([*causes.values()]))
    total = sum_of([named(f"breakdown.{name}", value) for name, value in causes.items()])
    return StepSeconds(total=total, micro_batch=one, stages=tuple(times), **causes | {"exposed": exposed})


def _slowest(stages: Sequence[Stage], seconds: Sequence[Number]) -> Stage:
    """The stage that takes longest."""
    if len(stages) == 1:
        return stages[0]
    return Stage(*[of_largest(seconds, values) for values in zip(*stages, strict=True)])


def _adding_up(at: Setup, trained: Held, weight: Number, bytes_per_s: Number) -> Number:
    """Seconds in which one micro-batch's gradients are added up: each sum is read and written once.

    The vendor's kernels do it in the products that compute the gradients, of `weight` seconds, beside their FLOPs
    (Megatron-LM, --no-gradient-accumulation-fusion leaves that out): what is left is what these take longer.
    """
    seconds = (trained.dense + trained.experts) * 2 * at.recipe.grad_bytes / bytes_per_s
    if at.recipe.kernels != "vendor":
        return seconds
    return (weight * weight + seconds * seconds) ** 0.5 - weight


def slowest_stage(at: Setup) -> int:
    """The place among telling_gpus of the one that takes longest."""
    times = step_seconds(at, forward_pass(at)).stages
    return max(range(len(times)), key=times.__getitem__)


def _stage(first: Direction, layers: Direction, last: Direction, share: Number, stage: Stage) -> Direction:
    """One direction of a stage: its `share` of the layers, with what it has of embedding and LM head."""
    return layers.times(share).plus(first.times(stage.first)).plus(last.times(stage.last))


def _sends(at: Setup) -> Number:
    """Exposed seconds of one micro-batch between two stages: activations forward, their gradients backward.

    Each chunk of layers sends once in each direction. 0 without a pipeline.
    """
    layout = at.layout
    if not present(layout.pp - 1):
        return 0
    send = stage_send(at.model.hidden_size, at.seq, layout, at.recipe)
    seconds = collective_seconds(send, at.chip.links, at.efficiency)
    several = minimum(1, layout.pp - 1)
    return 2 * layout.vp * several * seconds * (1 - at.recipe.overlap.pipeline)


def bubble_seconds(layout: Layout, through: Number, one: Number, back: Number, weight: Number) -> Number:
    """Seconds that the fullest stage waits for others, where a micro-batch takes `through` seconds through all stages.

    `one`: seconds of the micro-batch on that stage, of which `weight` are gradients of weights. An interleaved
    schedule waits for a chunk instead of a stage. Gradients of weights can fill the bubble (zero bubble): of it
    (p-1)(F + B - 2W) is left (arXiv 2401.10241, table 2); with DualPipe, whose two stages a GPU run beside each other,
    (p/2-1)(F&B + B - 3W), B being `back` (arXiv 2412.19437, table 2).
    """
    if layout.schedule == "dualpipe" and present(layout.pp - 1):
        return maximum(0, layout.pp / 2 - 1) * maximum(0, one + back - 3 * weight)
    bubble = maximum(0, through - one) / layout.vp if present(layout.pp - 1) else 0
    return bubble * (1 - 2 * weight / one) if layout.schedule == "zero-bubble" else bubble


def _recomputed(at: Setup, a_pass: Pass, layers: Direction) -> Number:
    """Forward seconds that the backward pass of one micro-batch spends again, if it does so in all layers of the model.

    `layers`: their forward pass. What is kept, and so not computed again, is said in activations.chosen.
    """
    if at.layout.recompute == "none":
        return 0
    if at.layout.recompute == "full":
        left_out = part_of(closing(a_pass.layers), at).forward.total() if at.recipe.early_stop else 0
        again = layers.total() - layers.host - left_out
        return again if at.efficiency.host is None else maximum(again, _started(at))
    if at.recipe.recomputed:
        return part_of([op for op in a_pass.layers if computed_again(op, at.recipe)], at).forward.total()
    if at.recipe.attention == "unfused":
        return part_of(attentions(a_pass.layers), at).forward.total()
    return part_of(halved(a_pass.layers), at).forward.products / 2 + layers.elementwise


def _inputs_awaited(at: Setup, inside: Part, again: Number) -> Number:
    """Seconds that the layers of the model wait for their inputs on the way to the host and back, of one micro-batch.

    They go down beside the forward pass, and come up beside the backward pass, which computes `again` seconds more.
    """
    host = at.recipe.host
    if host is None or not host.inputs:
        return 0
    sent = at.model.num_hidden_layers * layer_inputs(at) / host.copies
    return maximum(0, sent - inside.forward.total()) + maximum(0, sent - inside.backward.total() - again)


def _context(at: Setup, a_pass: Pass) -> tuple[Number, Number]:
    """Exposed seconds of context parallelism of one micro-batch through all layers of the model: forward, backward.

    A ring sends beside the attention of the part that has arrived already; an all-gather or all-to-all stands before
    and after attention. Backward, a ring and an all-gather send twice as much (communication.context_collective).
    """
    ahead: Number = 0
    behind: Number = 0
    if not present(at.layout.cp - 1):
        return ahead, behind
    share = at.recipe.overlap.context if at.layout.context_parallel == "ring" else 0
    for op in attentions(a_pass.layers):
        sent = op.count * collective_seconds(context_collective(op, at.layout), at.chip.links, at.efficiency)
        returned = sent if at.layout.context_parallel == "ulysses" else 2 * sent
        beside = part_of([op], at)
        ahead = ahead + left_of(sent, beside.forward.total(), share)
        behind = behind + left_of(returned, beside.backward.total(), share)
    return ahead, behind


def _data(at: Setup, held: Held, trained: Held, ahead: Number, back: Number) -> Number:
    """Exposed seconds of communication between replicas, of a step.

    `held`, `trained`: parameters of the fullest stage. Gradients are sent beside the backward pass (`back` seconds) of
    the last micro-batch, or of each where they are divided (ZeRO-2, ZeRO-3). Weights are gathered beside the forward
    pass (`ahead` seconds) of the first, or of each with ZeRO-3, and once more for the backward pass if they were let
    go. In a pipeline, weights stay gathered and gradients whole until the last micro-batch; an interleaved one still
    has p micro-batches of all other chunks before it when a chunk's gradients are complete. Every collective takes the
    time in which a ring of all ranks hands on a piece. Whole gradients (Recipe) are waited for.
    """
    layout, share = at.layout, at.recipe.overlap.data
    waited = at.recipe.whole_gradients and layout.zero < 3
    sent = data_collectives(held, layout, at.recipe, trained)
    all_layers = at.model.num_hidden_layers
    layers = stage_of(layout, all_layers, 0).layers if layout.stages is None else max(layout.stages)

    def seconds(op: Collective) -> Number:
        pieces = collectives_of(op, layers, layout, at.recipe)
        return collective_seconds(op, at.chip.links, at.efficiency) + pieces * ring_seconds(op)

    gradients, weights = (sum_of([seconds(op) for op in ops]) for ops in sent)
    host = at.recipe.host
    if host is not None and host.weights:  # a rank's own part comes from its host first
        comes = host.copies if host.drives is None else min(host.copies, host.drives[0])
        weights = weights + updated(layout, held) * at.recipe.param_bytes() / comes
    weights_again = weights if layout.zero == 3 and layout.reshard else 0
    chunks = maximum(1, layout.pp * (layout.vp - 1) / layout.vp)
    behind = gradients if waited else left_of(gradients + weights_again, back * chunks, share)
    before = left_of(weights, ahead * chunks, share)
    alone = maximum(0, 2 - layout.pp)  # 1 without a pipeline, else 0
    rounds = maximum(1, alone * layout.micro_batches())
    return (rounds if layout.zero >= 2 else 1) * behind + (rounds if layout.zero == 3 else 1) * before


def optimizer_seconds(at: Setup, held: Held, bytes_per_s: Number) -> Number:
    """Seconds of the optimizer's update by its traffic; each rank updates its part where the optimizer is divided.

    What is on a host is updated there (training/offload.py).

    Muon's five iterations X ← aX + (bA + cA²)X, A = XXᵀ, take at most 6h FLOPs a parameter each, and are added.
    """
    host = at.recipe.host
    if host is not None:
        here = updated(at.layout, held) * (1 - host.share) * at.recipe.update_bytes() / bytes_per_s
        away = updated(at.layout, held) * host.share * _seconds_on_host(at.recipe, host)
        return maximum(here, away) if host.share < 1 else away
    seconds = updated(at.layout, held) * at.recipe.update_bytes() / bytes_per_s
    if at.recipe.optimizer == "muon":
        flops = NEWTON_SCHULZ.value * 6 * at.model.hidden_size * updated(at.layout, held)
        seconds = seconds + flops / (at.chip.plain_peak * at.efficiency.kernels["gemm"].compute)
    return seconds


def _seconds_on_host(recipe: Recipe, host: OnHost) -> Number:
    """Seconds in which a parameter is updated on the host: its gradient goes down, states are updated, it comes up.

    On drives the gradient is written and read, too, and so are weights that stand there.
    """
    down, up = recipe.grad_bytes / host.copies, recipe.param_bytes() / host.copies
    cpu, drives = recipe.update_bytes() / host.bandwidth, 0
    if host.drives is not None:
        read, write = host.drives
        moved = recipe.away_bytes()
        drives = moved / read + (moved + (recipe.param_bytes() if host.weights else 0)) / write
    return largest([down, up, cpu, drives]) if host.overlap else down + cpu + up + drives


def updated(layout: Layout, held: Held) -> Number:
    """Parameters that one GPU updates: all that it holds, or its part of them where the optimizer is divided."""
    if not layout.zero:
        return held.dense + held.experts
    dense = divide(held.dense, layout.sharded(layout.replicas()))
    return dense + divide(held.experts, layout.sharded(layout.expert_replicas()))
