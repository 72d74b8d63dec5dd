"""How a training run spreads over GPUs, and the rules that a spread must keep.

Ranks are numbered as Megatron-LM numbers them: GPUs of a tensor-parallel group are neighbours, then come context-,
data- (and with them expert-) parallel ranks, then pipeline stages. The layout of serving is llmcost/layout.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from llmcost.ground.algebra import Number, ceil_div, divide, floor_div, maximum, minimum, named
from llmcost.ground.errors import InputError
from llmcost.model.spec import ModelSpec
from llmcost.parallel.split import Plan

Recompute = Literal["none", "selective", "full"]
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
Schedule = Literal["1f1b", "zero-bubble"]
SCHEDULES: tuple[Schedule, ...] = ("1f1b", "zero-bubble")
Context = Literal["ring", "all-gather", "ulysses"]
CONTEXTS: tuple[Context, ...] = ("ring", "all-gather", "ulysses")
ZERO = (0, 1, 2, 3)


class Layout(NamedTuple):
    """Degrees (numbers, or arrays of them) and choices (structure: one value for all).

    zero: 0 all states on every data-parallel rank; 1 optimizer divided; 2 gradients too; 3 weights too (FSDP).
    `reshard`: with ZeRO-3, weights are let go after the forward pass and gathered again for the backward pass.
    `shard`: over how many data-parallel ranks states are divided (None: all), replicated over the rest (hybrid).
    `etp`: GPUs that an expert is split over (None: tp, or what ep leaves of it). `vp`: model chunks a stage holds
    (interleaved schedule from 2 on). `recompute_layers`: layers of a stage that are recomputed (None: all). `node`:
    GPUs that fast links join.
    """

    tp: Number = 1
    cp: Number = 1
    pp: Number = 1
    dp: Number = 1
    ep: Number = 1
    vp: Number = 1
    micro_batch: Number = 1
    global_batch: Number = 1
    node: Number = 8
    etp: Number | None = None
    zero: int = 1
    reshard: bool = True
    shard: Number | None = None
    sequence_parallel: bool = True
    recompute: Recompute = "none"
    recompute_layers: Number | None = None
    schedule: Schedule = "1f1b"
    context: Context = "ring"

    def gpus(self) -> Number:
        """All of them."""
        return self.tp * self.cp * self.pp * self.dp

    def micro_batches(self) -> Number:
        """Micro-batches that each pipeline runs a step."""
        return named("micro_batches", divide(self.global_batch, self.dp * self.micro_batch))

    def plan(self) -> Plan:
        """What operators need to know. Ranks that share a sequence count as data-parallel ones to the experts."""
        return Plan(self.tp, self.cp * self.dp, self.ep, self.sequence_parallel, self.node, self.etp)

    def replicas(self) -> Number:
        """GPUs that hold the same part of a dense layer: their gradients are added up."""
        return self.cp * self.dp

    def expert_replicas(self) -> Number:
        """GPUs that hold the same part of the same experts."""
        return divide(self.tp * self.cp * self.dp, self.plan().expert_group())

    def sharded(self, replicas: Number) -> Number:
        """Over how many of its replicas a state is divided, where it is."""
        return replicas if self.shard is None else minimum(replicas, self.shard)


class Shape(NamedTuple):
    """What of a model its layout must divide."""

    layers: int
    heads: tuple[int, ...]
    state_heads: tuple[int, ...]  # of state spaces and linear attention
    kv_heads: tuple[int, ...]
    widths: tuple[int, ...]  # of MLPs and experts
    experts: tuple[int, ...]


def shape_of(model: ModelSpec) -> Shape:
    """Gathered over all kinds of layers."""
    return Shape(
        model.num_hidden_layers,
        model.block_sizes("num_attention_heads"),
        model.block_sizes("mamba_n_heads", "linear_num_heads", "linear_num_key_heads", "linear_num_value_heads"),
        model.block_sizes("num_key_value_heads"),
        model.block_sizes("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size"),
        model.block_sizes("num_experts"),
    )


class Rule(NamedTuple):
    """One rule: whether it holds (elementwise for arrays), and what to say where it does not."""

    holds: Any
    problem: str
    legal: Iterable[int]  # legal values of what the problem names first
    value: Any

    def message(self) -> str:
        """The problem with the nearest legal value."""
        nearest = min(self.legal, key=lambda each: (abs(each - self.value), each), default=None)
        return self.problem if nearest is None else f"{self.problem}; nearest: {nearest}"


def divides(part: Number, whole: Number) -> Any:
    """Whether `part` divides `whole`, elementwise for arrays."""
    return floor_div(whole, part) * part == whole


def divisors(whole: int) -> list[int]:
    """All of them, ascending."""
    small = [n for n in range(1, int(whole**0.5) + 1) if whole % n == 0]
    return sorted({*small, *(whole // n for n in small)})


def rules(layout: Layout, shape: Shape, seq: Number) -> Iterator[Rule]:
    """Every rule that engines hold a layout to. `holds` works on arrays; messages are for plain numbers."""
    at = layout
    for name, sizes in (
        ("attention heads", shape.heads),
        ("heads of states", shape.state_heads),
        ("MLP channels", shape.widths),
    ):
        for size in sizes:
            yield Rule(divides(at.tp, size), f"--tp {at.tp} does not divide {size:,} {name}", divisors(size), at.tp)
    for size in shape.kv_heads:
        fair = divides(at.tp, size) | divides(size, at.tp)
        yield Rule(
            fair, f"--tp {at.tp}: neither divides {size} KV heads nor is a multiple of them", divisors(size), at.tp
        )
    yield Rule(
        at.pp * at.vp <= shape.layers,
        f"--pp {at.pp} times --vp {at.vp} is more than the {shape.layers} layers",
        (shape.layers,),
        at.pp,
    )
    yield Rule((at.vp == 1) | (at.pp > 1), f"--vp {at.vp} interleaves pipeline stages, and --pp is 1", (1,), at.vp)
    batches = at.micro_batches()
    yield Rule(
        divides(at.dp * at.micro_batch, at.global_batch),
        f"--global-batch {at.global_batch} is not a multiple of {at.dp} data-parallel ranks times --micro-batch {at.micro_batch}",
        _multiples(at.dp * at.micro_batch, at.global_batch),
        at.global_batch,
    )
    yield Rule(
        (at.vp == 1) | divides(at.pp, batches),
        f"--global-batch {at.global_batch} makes {batches} micro-batches: with --vp they must be a multiple of --pp {at.pp}",
        _multiples(at.dp * at.micro_batch * at.pp, at.global_batch),
        at.global_batch,
    )
    yield Rule(
        divides(at.cp, seq),
        f"--cp {at.cp} does not divide --seq {seq}",
        divisors(seq) if isinstance(seq, int) else (),
        at.cp,
    )
    if at.sequence_parallel:
        whole = divide(seq, at.cp)
        legal = divisors(whole) if isinstance(whole, int) else ()
        yield Rule(
            divides(at.tp, whole), f"--tp {at.tp} does not divide the {whole} tokens of a sequence's part", legal, at.tp
        )
    if at.context == "ulysses":
        for size in shape.heads:
            yield Rule(
                divides(at.tp * at.cp, size),
                f"--cp {at.cp} times --tp {at.tp} does not divide {size} heads",
                divisors(size),
                at.cp,
            )
    yield from _expert_rules(at, shape)
    yield from _sharding_rules(at)


def _expert_rules(at: Layout, shape: Shape) -> Iterator[Rule]:
    if not shape.experts:
        yield Rule(at.ep == 1, f"--ep {at.ep}: the model has no experts", (1,), at.ep)
        if at.etp is not None:
            yield Rule(at.etp == 1, f"--etp {at.etp}: the model has no experts", (1,), at.etp)
        return
    for count in shape.experts:
        yield Rule(divides(at.ep, count), f"--ep {at.ep} does not divide {count} experts", divisors(count), at.ep)
    ranks = at.tp * at.cp * at.dp
    legal = divisors(ranks) if isinstance(ranks, int) else ()
    stage = f"the {ranks} GPUs of a pipeline stage"
    yield Rule((at.ep <= ranks) & divides(at.ep, ranks), f"--ep {at.ep} does not divide {stage}", legal, at.ep)
    if at.etp is None:
        yield Rule(
            divides(at.plan().expert_group(), ranks),
            f"--ep {at.ep} with --tp {at.tp} does not divide {stage}",
            (),
            at.ep,
        )
        return
    for size in shape.widths:
        yield Rule(
            divides(at.etp, size), f"--etp {at.etp} does not divide {size:,} MLP channels", divisors(size), at.etp
        )
    fair = [n for n in legal if ranks % (at.ep * n) == 0]
    yield Rule(
        divides(at.ep * at.etp, ranks), f"--etp {at.etp} times --ep {at.ep} does not divide {stage}", fair, at.etp
    )


def _sharding_rules(at: Layout) -> Iterator[Rule]:
    if at.zero == 2:
        yield Rule(
            at.pp == 1,
            "--zero 2 adds up gradients after every micro-batch, which no engine does in a pipeline",
            (1, 3),
            2,
        )
    if at.zero == 3 and at.reshard:
        problem = "--zero 3 gathers weights for every micro-batch, which engines refuse in a pipeline (--no-reshard keeps them gathered)"
        yield Rule(at.pp == 1, problem, (1,), 3)
    if at.shard is not None:
        replicas = at.replicas()
        fair = divisors(replicas) if isinstance(replicas, int) else ()
        yield Rule(
            divides(at.shard, replicas), f"--shard {at.shard} does not divide the {replicas} replicas", fair, at.shard
        )
    if at.recompute_layers is not None:
        problem = f"--recompute-layers {at.recompute_layers}: with --recompute selective or full"
        yield Rule(at.recompute != "none", problem, (), at.recompute_layers)
        yield Rule(
            at.recompute_layers >= 0,
            f"--recompute-layers {at.recompute_layers}: not below 0",
            (0,),
            at.recompute_layers,
        )


def _multiples(step: Number, near: Number) -> tuple[int, ...]:
    if not (isinstance(step, int) and isinstance(near, int)):
        return ()
    return (max(step, near // step * step), near // step * step + step)


def check(layout: Layout, shape: Shape, seq: Number) -> None:
    """Raise InputError for the first rule that is broken."""
    for name in ("tp", "cp", "pp", "dp", "ep", "vp", "micro_batch", "global_batch", "node"):
        if getattr(layout, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(layout, name)}: at least 1")
    if layout.zero not in ZERO:
        raise InputError(f"--zero {layout.zero}: one of 0, 1, 2, 3")
    for option, value, known in (
        ("recompute", layout.recompute, RECOMPUTE),
        ("schedule", layout.schedule, SCHEDULES),
        ("context-parallel", layout.context, CONTEXTS),
    ):
        if value not in known:
            raise InputError(f"--{option} {value}: one of {', '.join(known)}")
    for rule in rules(layout, shape, seq):
        if not rule.holds:
            raise InputError(rule.message())


class Stage(NamedTuple):
    """A pipeline stage: how many layers it runs, whether it has embedding and head (1 or 0), and micro-batches it holds."""

    layers: Number
    first: Number
    last: Number
    in_flight: Number


def stage_of(layout: Layout, layers: Number, index: Number) -> Stage:
    """Stage `index` of the pipeline, as full as the fullest one: where layers don't divide, others have a chunk less.

    In 1F1B stage i of p holds p - i micro-batches (arXiv 2104.04473, section 2.2.1), or all m where that is fewer.
    Interleaved, rank i runs 2(p - i - 1) + (v - 1)p + 1 chunks of 1/v stage before its first backward chunk
    (Megatron-LM, core/pipeline_parallel/schedules.py): p(1 + (p-1)/(pv)) stages on the first one (arXiv 2205.05198,
    section 4.2.3).
    """
    p, v, m = layout.pp, layout.vp, layout.micro_batches()
    chunk = ceil_div(layers, p * v)
    ahead = p - index - 1
    interleaved = minimum(1, v - 1)  # 1 from two chunks on
    chunks = (1 + interleaved) * ahead + (v - 1) * p + 1
    layers, held = named("layers_a_stage", chunk * v), named("in_flight", minimum(chunks / v, m))
    return Stage(layers, maximum(0, 1 - index), maximum(0, index - p + 2), held)
