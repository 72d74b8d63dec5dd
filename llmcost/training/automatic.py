"""Layouts that are chosen for a user: the fastest usual one that fits, and the cheapest change that makes one fit.

`llmcost plan` searches all layouts; those tried here are few enough to evaluate one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import inf
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, largest, present
from llmcost.ground.constants import Constant
from llmcost.machine.chip import Links
from llmcost.parallel.layout import RECOMPUTE, ZERO, Layout
from llmcost.parallel.rules import Shape, broken, divisors, shape_of
from llmcost.training.memory import all_stages, stage_memory
from llmcost.training.passes import ALL_DIVIDED, Setup, forward_pass
from llmcost.training.step import Step, evaluate_step

TENSOR = (1, 2, 4, 8)  # tensor-parallel GPUs that are tried
PART_TOKENS = 8192  # of a sequence that is cut at least: Llama 3's at 131,072 (arXiv 2407.21783, table 4)
CHUNKS = 4  # of layers that a stage has at most
EXPERT_NODES = 8  # that experts are spread over at most: DeepSeek-V3's 64 GPUs (arXiv 2412.19437, section 3.2)
ROOM = Constant(
    0.05,
    "of a GPU's memory that a chosen layout of a model with experts leaves free if one can: they do not get equally "
    "many tokens, which no count of memory knows; 3 % is what it is off in the median for SimuMax's runs on B200s",
)


ALL: Mapping[str, Sequence[Any]] = {"zero": ZERO, "recompute": RECOMPUTE}  # what an engine may have


class Change(NamedTuple):
    """A layout that differs from the asked one in one option (`words`, as it is typed), with its step."""

    words: str
    layout: Layout
    step: Step


def automatic(
    at: Setup,
    gpus: int,
    given: dict[str, Any],
    capacity: float,
    batch_of: Callable[[int], int] | None = None,
    needs: Callable[[Setup], Number] | None = None,
    axes: Mapping[str, Sequence[Any]] = ALL,
) -> Layout:
    """The fastest usual layout that fits; if none does, the one that needs the least memory.

    All have the fields that are `given`. Tried are 1, 2, 4 and 8 tensor-parallel GPUs of a node; pipelines of 1, 2, 4,
    … stages, interleaved and not; long sequences cut into parts (context parallelism); experts on as many GPUs of a
    node as divide them, or of 2, 4, 8 nodes; ZeRO-1, and without a pipeline ZeRO-3; and as little recomputation as
    fits. `capacity`: bytes of a GPU, of which ROOM is left beside experts where a layout can. `batch_of`: the default
    batch of so many sequences at once, None where it is given: it grows only where no layout fits with the smallest.
    `needs`: bytes of a GPU in a setup, where more is there than what trains. `axes`: stages of ZeRO and kinds of
    recomputation that there are; where ZeRO-1 is not, ZeRO-3 is tried with a pipeline too, whose weights stay gathered.

    Who asks for ZeRO-3 and no other degree means data parallelism alone (FSDP): where legal, nothing else is tried.
    """
    shape = shape_of(at.model)
    room = (1 - ROOM.value if shape.experts else 1) * capacity
    fewest = at.layout.global_batch if batch_of is None else batch_of(1)
    best: tuple[tuple[bool, bool, bool, float], Layout] | None = None
    for spread in _tried(at, shape, gpus, given, axes, batch_of):
        for layout in spread:
            here = at._replace(layout=layout)
            step = evaluate_step(here)
            memory = step.memory_bytes() if needs is None else needs(here.resolved())
            fits, roomy = memory <= capacity, memory <= room
            costs = step.seconds.total / layout.global_batch if fits else memory
            rank = (not fits, layout.global_batch > fewest, not roomy, costs)
            if best is None or rank < best[0]:
                best = rank, layout
            if roomy:
                break
    return at.layout if best is None else best[1]


def _tried(
    at: Setup,
    shape: Shape,
    gpus: int,
    given: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    batch_of: Callable[[int], int] | None = None,
) -> Iterator[Iterator[Layout]]:
    """The legal layouts that `automatic` tries, those that differ in what is recomputed together, the least first."""
    if given.get("zero") == 3 and not {"tp", "pp", "dp", "ep"} & given.keys():
        replicas = at.layout._replace(tp=1, pp=1, dp=gpus // at.layout.cp, vp=1, zero=3)
        if gpus % at.layout.cp == 0 and broken(replicas, shape, at.seq) is None:
            given = {**given, "tp": 1, "pp": 1}

    def recomputing(spread: Layout) -> Iterator[Layout]:
        for recompute in [given["recompute"]] if "recompute" in given else axes["recompute"]:
            layout = spread._replace(recompute=recompute)
            if batch_of is not None:
                layout = layout._replace(global_batch=batch_of(layout.micro_batch * layout.dp))
            if broken(layout, shape, at.seq) is not None:
                return
            yield layout

    return map(recomputing, _spreads(at.layout, shape, gpus, given, at.seq, axes["zero"]))


def _spreads(
    base: Layout, shape: Shape, gpus: int, given: Mapping[str, Any], seq: int, zeros: Sequence[int]
) -> Iterator[Layout]:
    """The layouts that are tried, without their recomputation: degrees that multiply to the GPUs, chunks and ZeRO."""
    powers_of_two = [p for p in divisors(gpus) if p & (p - 1) == 0 and p <= shape.layers]

    def choices(axis: str, usual: list[int]) -> list[int]:
        return [given[axis]] if axis in given else usual

    degrees = product(
        choices("tp", [t for t in TENSOR if t <= base.gpus_per_node]),
        choices("pp", powers_of_two),
        choices("cp", [1] if "dp" in given else _parts(seq)),
    )
    for tp, pp, cp in degrees:
        used = tp * pp * cp
        if gpus % used or ("dp" in given and given["dp"] * used != gpus):
            continue
        spread = base._replace(tp=tp, pp=pp, cp=cp, dp=gpus // used)
        more = product(
            choices("ep", _expert_degrees(spread, shape)),
            choices("vp", _chunks(shape.layers, pp)),
            choices("zero", _stages_of_zero(zeros, pp)),
        )
        for ep, vp, zero in more:
            keeps = "zero" not in given and zero == ALL_DIVIDED and pp > 1  # as a pipeline has it
            yield spread._replace(ep=ep, vp=vp, zero=zero, reshard=spread.reshard and not keeps)


def _stages_of_zero(zeros: Sequence[int], pp: int) -> list[int]:
    """The stages of ZeRO that are tried: 1, and without a pipeline 3; where there are none of these, 3, else 0."""
    usual = [each for each in ([1, 3] if pp == 1 else [1]) if each in zeros]
    return usual or [ALL_DIVIDED if ALL_DIVIDED in zeros else 0]


def _expert_degrees(spread: Layout, shape: Shape) -> list[int]:
    """Over how many GPUs experts may be spread: as many of a node as divide them, or all of 2, 4 or 8 nodes."""
    if not shape.experts:
        return [1]
    ranks = spread.stage_gpus()
    inside = max(e for e in divisors(min(ranks, spread.gpus_per_node)) if shape.experts[0] % e == 0)
    nodes = [2**n for n in range(1, EXPERT_NODES.bit_length())]
    beyond = [inside * n for n in nodes if ranks % (inside * n) == 0 and shape.experts[0] % (inside * n) == 0]
    return [inside, *beyond]


def _parts(seq: int) -> list[int]:
    """Into how many parts a sequence may be cut: of at least PART_TOKENS, which short ones have whole."""
    return [n for n in (1, 2, 4, 8, 16, 32, 64) if n == 1 or seq // n >= PART_TOKENS]


def _chunks(layers: int, stages: int) -> list[int]:
    """How many chunks a stage may have: one, or as many as the layers of the fullest stage divide into."""
    most = -(-layers // stages) if stages > 1 else 1
    return sorted({1, max((n for n in divisors(most) if n <= CHUNKS and n * stages <= layers), default=1)})


def changes(at: Setup, shape: Shape) -> Iterator[tuple[str, Layout]]:
    """Layouts that differ in one option and may need less memory, each with that option as it is typed."""
    here = at.layout
    for recompute in RECOMPUTE[RECOMPUTE.index(here.recompute) + 1 :]:
        yield f"--recompute {recompute}", here._replace(recompute=recompute, recompute_layers=None)
    for zero in range(here.zero + 1, 4):
        yield f"--zero {zero}", here._replace(zero=zero)
    if present(here.tp - 1) and not here.sequence_parallel:
        yield "--sequence-parallel", here._replace(sequence_parallel=True)
    for smaller in [n for n in divisors(here.micro_batch) if n < here.micro_batch]:
        yield f"--micro-batch {smaller}", here._replace(micro_batch=smaller)
    most = {"tp": here.gpus_per_node, "pp": shape.layers, "cp": here.dp, "ep": max(shape.experts, default=1)}
    for degree, at_most in most.items():
        factor = 2
        while (value := factor * getattr(here, degree)) <= at_most:
            if degree == "pp" and here.stages is not None:
                break
            if degree == "ep":
                yield f"--ep {value}", here._replace(ep=value)
            elif here.dp % factor == 0:
                yield f"--{degree} {value}", here._replace(**{degree: value, "dp": here.dp // factor})
            factor *= 2


def cheapest_change(at: Setup, capacity: float, axes: Mapping[str, Sequence[Any]] = ALL) -> Change | None:
    """Of the single changes after which the layout fits, the one with the shortest step; None if there is none.

    `axes`: fields of the layout with the values that there are.
    """
    shape = shape_of(at.model)
    found: Change | None = None
    for words, layout in changes(at, shape):
        if (
            all(getattr(layout, name) in values for name, values in axes.items())
            and broken(layout, shape, at.seq) is None
        ):
            step = evaluate_step(at._replace(layout=layout))
            if step.memory_bytes() <= capacity and (found is None or step.seconds.total < found.step.seconds.total):
                found = Change(words, layout, step)
    return found


def enough_gpus(
    at: Setup, gpus: int, capacity: float, given: Mapping[str, Any], axes: Mapping[str, Sequence[Any]] = ALL
) -> int | None:
    """How many GPUs, doubled again and again, are enough for a usual layout to fit; None if 1,024 times are not.

    The batch grows to a multiple of the GPUs. There are never more GPUs than the links that are known join. `given`,
    `axes`: as in `automatic`.
    """
    node = at.layout.gpus_per_node
    links = at.chip.links or Links(None, None)
    known = inf if links.fabric_bytes_per_s else node if links.node_bytes_per_s else 1
    shape, alone = shape_of(at.model), at._replace(layout=Layout(gpus_per_node=node)).resolved()
    states = stage_memory(alone, forward_pass(alone), 0).optimizer  # no layout divides them over more than all GPUs

    def fits(layout: Layout) -> bool:
        here = at._replace(layout=layout).resolved()
        return bool(largest([each.total() for each in all_stages(here, forward_pass(here))]) <= capacity)

    for factor in (2**n for n in range(1, 11)):
        more = gpus * factor
        if more > known:
            return None
        if states > more * capacity:
            continue
        batch = -(-at.layout.global_batch // more) * more
        base = Layout(gpus_per_node=node, global_batch=batch, sequence_parallel=at.layout.sequence_parallel)
        if any(
            fits(layout) for spread in _tried(at._replace(layout=base), shape, more, given, axes) for layout in spread
        ):
            return int(more)
    return None
