"""How a model, its batch and its states lie across GPUs, to serve and to train alike.

Ranks are numbered as in Megatron-LM: GPUs of a tensor-parallel group are neighbours, then come context- and
data-parallel ranks (which expert parallelism uses too), then pipeline stages. rules.py says which layouts are legal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number, ceil_div, divide, floor_div, is_one, maximum, minimum, named, present
from llmcost.model.training_kernels import Context, Schedule

DEGREES = ("tp", "pp", "dp", "ep")
"""The degrees that serving has, in the order of `Layout`'s fields."""

Recompute = Literal["none", "selective", "full"]
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
ZERO = (0, 1, 2, 3)


class Layout(NamedTuple):
    """Degrees of parallelism (numbers, arrays or symbols; 1 where an axis is not used) and choices (one value for all).

    tp, pp, dp, ep, cp: GPUs of a tensor-parallel group, pipeline stages, data-parallel ranks, GPUs that share the
    experts, parts of a sequence. `gpus_per_node`: those that fast links join. `etp`: GPUs that an expert is split over
    (None: tp, or what ep leaves of it). `sequence_parallel`: between its products, a tensor-parallel group splits the
    tokens.

    Serving needs nothing else. Training does:
    vp: chunks of layers that a stage holds (interleaved schedule from 2 on). `micro_batch`, `global_batch`: sequences.
    zero: 0 all states on every data-parallel rank; 1 optimizer divided; 2 gradients too; 3 weights too (FSDP).
    `reshard`: with ZeRO-3, weights are freed after the forward pass and gathered again for the backward pass.
    `shard`: over how many data-parallel ranks states are divided (None: all), replicated over the rest (hybrid).
    `recompute_layers`: layers of a stage that are recomputed (None: all). `context_parallel`: how parts of a sequence
    see each other. `stages`: layers of each pipeline stage, the first and the last of which may have none; None: as
    even as can be.
    """

    tp: Number = 1
    pp: Number = 1
    dp: Number = 1
    ep: Number = 1
    cp: Number = 1
    gpus_per_node: Number = 8
    etp: Number | None = None
    sequence_parallel: bool = True
    vp: Number = 1
    micro_batch: Number = 1
    global_batch: Number = 1
    zero: int = 1
    reshard: bool = True
    shard: Number | None = None
    recompute: Recompute = "none"
    recompute_layers: Number | None = None
    schedule: Schedule = "1f1b"
    context_parallel: Context = "ring"
    stages: tuple[int, ...] | None = None

    def gpus(self) -> Number:
        """GPUs that run one copy of the program: the product of the degrees."""
        return self.tp * self.cp * self.pp * self.dp

    def stage_gpus(self) -> Number:
        """GPUs that work on one pipeline stage; experts are spread over these."""
        return self.tp * self.cp * self.dp

    def replicas(self) -> Number:
        """GPUs that hold the same part of a dense layer; in training they add up their gradients.

        Ranks that share a sequence count as data-parallel ones.
        """
        return self.cp * self.dp

    def stage_is_one_gpu(self) -> bool:
        """Whether no operator is divided and no tokens travel: structure, never true of arrays and symbols."""
        return is_one(self.tp) and is_one(self.dp) and is_one(self.ep) and is_one(self.cp)

    def expert_tp(self) -> Number:
        """GPUs that an expert is split over, by columns and rows."""
        return minimum(self.tp, divide(self.stage_gpus(), self.ep)) if self.etp is None else self.etp

    def expert_group(self) -> Number:
        """GPUs that hold all experts once."""
        return self.ep * self.expert_tp()

    def expert_ranks(self) -> Number:
        """Data-parallel ranks that share experts: these see the tokens of all of them."""
        return divide(self.expert_group(), self.tp)

    def expert_replicas(self) -> Number:
        """GPUs that hold the same part of the same experts."""
        return divide(self.stage_gpus(), self.expert_group())

    def micro_batches(self) -> Number:
        """Micro-batches that each pipeline runs in a training step."""
        return named("micro_batches", divide(self.global_batch, self.dp * self.micro_batch))

    def sharded(self, replicas: Number) -> Number:
        """Over how many of its replicas a training state is divided, if ZeRO divides it."""
        return replicas if self.shard is None else minimum(replicas, self.shard)


class Stage(NamedTuple):
    """One pipeline stage of a training run.

    layers: how many it runs. first, last: 1 where it has the embedding, the head, else 0. in_flight: micro-batches
    whose activations it holds at once.
    """

    layers: Number
    first: Number
    last: Number
    in_flight: Number


def telling_stages(layout: Layout) -> Sequence[Number]:
    """Places of the stages of which one has the largest figures: the first and the last, or all if they were chosen."""
    return (0, layout.pp - 1) if layout.stages is None else range(len(layout.stages))


def telling_gpus(layout: Layout) -> Sequence[Number]:
    """The same of GPUs. With DualPipe they are the first and the second, as the last has what the first one has."""
    if is_one(layout.pp):
        return (0,)
    return (0, minimum(1, layout.pp - 1)) if layout.schedule == "dualpipe" else telling_stages(layout)


def run_by_gpu(layout: Layout, layers: Number, index: Number) -> Stage:
    """What the GPUs at place `index` run of a micro-batch: their stage, or with DualPipe the mean of their two."""
    held = held_by_gpu(layout, layers, index)
    if layout.schedule != "dualpipe" or is_one(layout.pp):
        return held
    return held._replace(layers=held.layers / 2, first=held.first / 2, last=held.last / 2)


def stage_of(layout: Layout, layers: Number, index: Number) -> Stage:
    """Stage `index` of the pipeline, counted from 0, with the layers that the layout says, or as even as can be.

    Where chunks do not divide the layers, those left over are dealt out one a chunk, in turn to every stage, so that
    the last stages may have one less than the first ones. With DualPipe, where a GPU has a stage from either end, all
    count as the fullest (held_by_gpu).
    In 1F1B stage i of p holds p - i micro-batches (arXiv 2104.04473, section 2.2.1), or all m where that is fewer.
    Interleaved, rank i runs 2(p - i - 1) + (v - 1)p + 1 chunks of 1/v stage before its first backward chunk
    (Megatron-LM, core/pipeline_parallel/schedules.py): p(1 + (p-1)/(pv)) stages on the first one (arXiv 2205.05198,
    section 4.2.3).
    """
    p, v = layout.pp, layout.vp
    if layout.stages is not None:
        of_a_stage = layout.stages[index]
    elif is_one(v):
        of_a_stage = ceil_div(layers, p)
    else:
        in_every_chunk = floor_div(layers, p * v)
        of_a_stage = v * in_every_chunk + ceil_div(layers - p * v * in_every_chunk, p)
    stages_behind = p - index - 1
    if layout.stages is None and layout.schedule != "dualpipe" and present(index) and not is_one(p):
        with_one_less = p * of_a_stage - layers
        of_a_stage = of_a_stage - minimum(1, maximum(0, with_one_less - stages_behind))
    interleaved = minimum(1, v - 1)  # 1 from two chunks on, else 0
    chunks_in_flight = (1 + interleaved) * stages_behind + (v - 1) * p + 1
    ends = (maximum(0, 1 - index), maximum(0, index - p + 2))
    if layout.stages is not None:
        ends = (int(index == 0), int(index == len(layout.stages) - 1))
    return Stage(
        layers=named("layers_a_stage", of_a_stage),
        first=ends[0],
        last=ends[1],
        in_flight=named("in_flight", minimum(chunks_in_flight / v, layout.micro_batches())),
    )


def held_by_gpu(layout: Layout, layers: Number, index: Number) -> Stage:
    """What the GPUs at place `index` of a pipeline hold: stage `index`, or two stages with DualPipe.

    There a GPU has a stage from either end, the outermost the embedding and the head, and p + 1 micro-batches of a
    stage in flight, half as many of both (arXiv 2412.19437, table 2). What the stages could hold more than the model
    has is spared on the outermost GPU.
    """
    stage = stage_of(layout, layers, index)
    if layout.schedule != "dualpipe" or is_one(layout.pp):
        return stage
    outermost = maximum(stage.first, stage.last)
    spared = minimum(2 * stage.layers - 1, layout.pp * stage.layers - layers)
    in_flight = minimum((layout.pp + 1) / 2, layout.micro_batches())
    return Stage(2 * stage.layers - outermost * spared, outermost, outermost, in_flight)
