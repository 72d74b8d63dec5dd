"""Which layouts are legal: one set of rules for serving, training and the planners.

Every rule works on plain numbers, and elementwise on arrays, so that a planner can check all layouts at once. Only for
plain numbers does a broken rule have a message, with the nearest legal values.

A tensor-parallel group divides heads and the channels of MLPs (Megatron-LM, arXiv 1909.08053, section 3).
As in engines, vocabularies are padded, KV heads are copied where there are fewer of them than GPUs, and some pipeline
stages may have a layer more than others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import gcd, isqrt
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div, is_plain
from llmcost.ground.errors import InputError, check_count
from llmcost.model.formats import FORMATS
from llmcost.model.spec import ModelSpec
from llmcost.model.training_kernels import CONTEXTS, SCHEDULES
from llmcost.parallel.layout import RECOMPUTE, ZERO, Layout
from llmcost.parallel.stages import check_stages
from llmcost.specs.hardware import USUAL_NODE, HardwareSpec

MOST = 10**6  # GPUs
AT_LEAST_ONE = ("tp", "cp", "pp", "dp", "ep", "vp", "micro_batch", "global_batch", "gpus_per_node")


class Scaled(NamedTuple):
    """So many channels, whose weights share a scale by the `block`: what a GPU has of them must be whole blocks."""

    channels: str  # what they are
    size: int
    block: int
    of_experts: bool = False


class Shape(NamedTuple):
    """The sizes of a model that its layout must divide: those of all kinds of layers, each size once."""

    name: str
    layers: int
    heads: tuple[int, ...]
    state_heads: tuple[int, ...]  # of state spaces and linear attention
    kv_heads: tuple[int, ...]
    widths: tuple[int, ...]  # channels of MLPs and shared experts
    expert_widths: tuple[int, ...]  # channels of a routed expert
    experts: tuple[int, ...]
    scaled: tuple[Scaled, ...] = ()  # channels whose weights share scales


def shape_of(model: ModelSpec, weights: str | None = None) -> Shape:
    """The sizes of a model that its layout must divide, with weights in a format (None: in none with blocks)."""
    return Shape(
        model.name,
        model.num_hidden_layers,
        model.block_sizes("num_attention_heads"),
        model.block_sizes("mamba_n_heads", "linear_num_heads", "linear_num_key_heads", "linear_num_value_heads"),
        model.block_sizes("num_key_value_heads"),
        model.block_sizes("intermediate_size", "shared_expert_intermediate_size"),
        model.block_sizes("moe_intermediate_size"),
        model.block_sizes("num_experts"),
        tuple(dict.fromkeys(_scaled(model, weights or "", as_released=weights == model.weight_format))),
    )


def torn(model: ModelSpec, weights: str, layout: Layout) -> str | None:
    """What a layout tears apart of a checkpoint that is only asked about, in words; None where all groups stay whole.

    Who makes such a checkpoint pads its channels, as Qwen2.5-72B's in 4 bits has 29,696 of them for 29,568.
    """
    scaled = tuple(dict.fromkeys(_scaled(model, weights, as_released=True)))
    rules = _block_rules(layout, shape_of(model)._replace(scaled=scaled))
    problem = next((rule.problem(layout) for rule in rules if not rule.holds), None)
    return problem and f"{problem}: engines load such weights only if they were padded when they were made"


def _scaled(model: ModelSpec, weights: str, *, as_released: bool) -> Iterator[Scaled]:
    """The channels that a tensor-parallel group divides and whose weights share scales in blocks, in this format.

    Inputs of an attention's output projection, outputs and inputs of an MLP and of a routed expert. What is no multiple
    of blocks as a whole ends in a smaller one, and is left out. So are groups along the input, but of a checkpoint that
    was released in this format: others can be padded.
    """
    linear, _, experts = weights.partition("+")
    kinds = [FORMATS.get(each) for each in (linear, experts or linear)]
    block, of_experts = (kind.block if kind and (as_released or kind.square) else 1 for kind in kinds)
    for layer in model.layers:
        mixer, mlp = layer.mixer, layer.mlp
        heads, width = getattr(mixer, "num_attention_heads", 0), getattr(mixer, "v_head_dim", 0)
        found = (
            ("attention", Scaled("channels of all attention heads", heads * width, block)),
            ("mlp", Scaled("MLP channels", getattr(mlp, "intermediate_size", 0), block)),
            ("shared_experts", Scaled("MLP channels", getattr(mlp, "shared_expert_intermediate_size", 0), block)),
            ("experts", Scaled("channels of an expert", getattr(mlp, "moe_intermediate_size", 0), of_experts, True)),
        )
        for part, each in found:
            if each.size and each.block > 1 and each.size % each.block == 0 and part not in layer.unquantized:
                yield each


class Rule(NamedTuple):
    """One rule, checked for one layout or for arrays of layouts.

    axis: the field of `Layout` that the message begins with. holds: whether the layout keeps the rule. says: the
    rest of the message, after the axis and its value. legal: values of the axis that keep the rule.
    """

    axis: str
    holds: Any
    says: str
    legal: Iterable[int] = ()

    def problem(self, layout: Layout) -> str:
        """What is wrong with a layout of plain numbers that breaks the rule."""
        return f"--{self.axis.replace('_', '-')} {getattr(layout, self.axis)}{self.says}"

    def message(self, layout: Layout) -> str:
        """The problem with the nearest legal value below, and above where that is at most four times as much."""
        value = getattr(layout, self.axis)
        fewer = [each for each in self.legal if each < value]
        more = [each for each in self.legal if value < each <= 4 * value]
        nearest = " or ".join(f"{each:,}" for each in [*sorted(fewer)[-1:], *sorted(more)[:1]])
        return f"{self.problem(layout)}; nearest: {nearest}" if nearest else self.problem(layout)


def divides(part: Number, whole: Number) -> Any:
    """Whether `part` divides `whole`, elementwise for arrays."""
    return floor_div(whole, part) * part == whole


@lru_cache(maxsize=1024)
def divisors(whole: int) -> tuple[int, ...]:
    """All divisors of a number, ascending."""
    small = [n for n in range(1, isqrt(whole) + 1) if whole % n == 0]
    return tuple(sorted({*small, *(whole // n for n in small)}))


@lru_cache(maxsize=256)
def tensor_degrees(shape: Shape) -> tuple[int, ...]:
    """Every legal degree of tensor parallelism, ascending; none where a model has nothing that bounds it."""
    common = gcd(*shape.heads, *shape.state_heads, *shape.widths)
    return tuple(t for t in divisors(common) if all(kv % t == 0 or t % kv == 0 for kv in shape.kv_heads))


def rules(layout: Layout, shape: Shape, seq: Number | None = None) -> Iterator[Rule]:
    """Every rule that a layout must keep. `seq`: tokens of a training sequence; None: the layout is for serving."""
    yield from _tensor_rules(layout, shape)
    if seq is None:
        says = f" is more than the {shape.layers:,} layers of {shape.name}"
        yield Rule("pp", layout.pp <= shape.layers, says, range(1, shape.layers + 1))
    else:
        yield from _pipeline_rules(layout, shape)
        yield from _sequence_rules(layout, shape, seq)
    yield from _expert_rules(layout, shape)
    yield from _block_rules(layout, shape)
    if seq is not None:
        yield from _state_rules(layout)


def _block_rules(at: Layout, shape: Shape) -> Iterator[Rule]:
    """Channels that a GPU has are whole blocks, or groups, of quantised weights.

    vLLM refuses others: "the output_size of gate's and up's weight is not divisible by weight quantization block_n"
    (vllm/model_executor/layers/quantization/fp8.py), and of AWQ and GPTQ, whose groups lie along the input, "the input
    size is not aligned with the quantized weight shape" (vllm-project/vllm#21695: 29,568 channels of an MLP on 2 GPUs;
    #28829: 768 of an expert on 4).
    """
    for each in shape.scaled:
        says = f" leaves a GPU parts of the {each.size:,} {each.channels} of {shape.name} that are no multiple of "
        says += f"the {each.block} that share a scale"
        legal = {*divisors(each.size // each.block)} & {*tensor_degrees(shape)}
        parts = at.expert_tp() if each.of_experts else at.tp
        yield Rule("tp", divides(parts * each.block, each.size), says, legal)


def _tensor_rules(at: Layout, shape: Shape) -> Iterator[Rule]:
    """A tensor-parallel group divides heads and channels; of KV heads a GPU has its share or a copy of one."""
    legal = tensor_degrees(shape)
    parts = ((shape.heads, "attention heads"), (shape.state_heads, "state heads"), (shape.widths, "MLP channels"))
    for sizes, what in parts:
        for size in sizes:
            yield Rule("tp", divides(at.tp, size), f" does not divide the {size:,} {what} of {shape.name}", legal)
    for size in shape.kv_heads:
        says = f" neither divides the {size:,} KV heads of {shape.name} nor is a multiple of them"
        yield Rule("tp", divides(at.tp, size) | divides(size, at.tp), says, legal)


def _pipeline_rules(at: Layout, shape: Shape) -> Iterator[Rule]:
    """Every chunk of a stage has a layer; micro-batches fill the batch, and the rounds of an interleaved schedule."""
    enough = at.pp * at.vp <= shape.layers
    if at.stages is not None:
        if is_plain(at.vp):
            check_stages(at.stages, shape.layers, at.vp, shape.name)
        yield Rule("pp", at.pp == len(at.stages), f": --stages are {len(at.stages)}", (len(at.stages),))
        yield Rule("schedule", at.schedule != "dualpipe", " has two equal stages on a GPU; leave out --stages")
    else:
        axis, other = ("vp", "pp") if is_plain(at.pp) and at.pp <= shape.layers and at.vp > 1 else ("pp", "vp")
        times = getattr(at, other)
        says = f" times --{other} {_figure(times)} is more than the {shape.layers:,} layers of {shape.name}"
        yield Rule(axis, enough, says, range(1, shape.layers // times + 1) if is_plain(times) else ())
    yield Rule("vp", (at.vp == 1) | (at.pp > 1), " interleaves pipeline stages, and --pp is 1", (1,))

    if at.schedule != "1f1b":
        yield Rule("vp", at.vp == 1, f" interleaves stages, which --schedule {at.schedule} does not", (1,))
    if at.schedule == "dualpipe":
        says = " is odd: with --schedule dualpipe a GPU has a stage from either end"
        yield Rule("pp", (at.pp == 1) | divides(2, at.pp), says, _even(shape.layers))

    at_once = at.dp * at.micro_batch
    ranks = f"{_figure(at.dp)} data-parallel ranks times --micro-batch {_figure(at.micro_batch)}"
    whole, says = divides(at_once, at.global_batch), f" is not a multiple of {ranks}"
    yield Rule("global_batch", whole, says, _multiples(at_once, at.global_batch))

    batches = at.micro_batches()
    says = f" makes {_figure(batches)} micro-batches: with --vp they must be a multiple of --pp {_figure(at.pp)}"
    whole_rounds = (at.vp == 1) | divides(at.pp, batches)
    yield Rule("global_batch", whole_rounds, says, _multiples(at_once * at.pp, at.global_batch))


def _sequence_rules(at: Layout, shape: Shape, seq: Number) -> Iterator[Rule]:
    """Parts of a sequence are equally long, and with Ulysses the heads are dealt out among them."""
    yield Rule("cp", divides(at.cp, seq), f" does not divide --seq {_figure(seq)}", _divisors(seq))
    if at.sequence_parallel:
        part = divide(seq, at.cp)
        says = f" does not divide the {_figure(part)} tokens of a sequence's part"
        yield Rule("tp", divides(at.tp, part), says, {*_divisors(part)} & {*tensor_degrees(shape)})
    if at.context_parallel == "ulysses":
        for size in shape.heads:
            says = f" times --tp {_figure(at.tp)} does not divide the {size:,} attention heads of {shape.name}"
            yield Rule("cp", divides(at.tp * at.cp, size), says, _divisors(divide(size, at.tp)))


def _expert_rules(at: Layout, shape: Shape) -> Iterator[Rule]:
    """Every GPU has the same number of whole experts, or of equal parts of them, and a stage a whole number of sets."""
    if not shape.experts:
        says = f": {shape.name} has no experts"
        yield Rule("ep", at.ep == 1, says, (1,))
        if at.etp is not None:
            yield Rule("etp", at.etp == 1, says, (1,))
        return
    for count in shape.experts:
        says = f" does not divide the {count:,} experts of {shape.name}"
        yield Rule("ep", divides(at.ep, count), says, divisors(gcd(*shape.experts)))
    gpus = at.stage_gpus()
    stage = f"the {_figure(gpus)} GPUs of a pipeline stage"
    yield Rule("ep", divides(at.ep, gpus), f" does not divide {stage}", _divisors(gpus))

    sets_fit = divides(at.expert_group(), gpus)
    if at.etp is None:
        yield Rule("ep", sets_fit, f" with --tp {_figure(at.tp)} does not divide {stage}")
    for size in shape.expert_widths:
        whole, channels = divides(at.expert_tp(), size), f"the {size:,} channels of an expert of {shape.name}"
        if at.etp is not None:
            yield Rule("etp", whole, f" does not divide {channels}", divisors(size))
        else:
            says = (
                f" with --ep {_figure(at.ep)} splits experts over {_figure(at.expert_tp())} GPUs, which do not divide"
            )
            yield Rule("tp", whole, f"{says} {channels}")
    if at.etp is not None:
        says = f" times --ep {_figure(at.ep)} does not divide {stage}"
        yield Rule("etp", sets_fit, says, _divisors(divide(gpus, at.ep)))


def _state_rules(at: Layout) -> Iterator[Rule]:
    """Which ZeRO stages work in a pipeline, over how many replicas states divide, how many layers can be recomputed."""
    if at.zero == 2:
        says = " adds up gradients after every micro-batch, which no engine does in a pipeline"
        yield Rule("zero", at.pp == 1, says, (1,) if at.reshard else (1, 3))
    if at.zero == 3 and at.reshard:
        refusal = "which engines refuse in a pipeline (--no-reshard keeps them gathered)"
        yield Rule("zero", at.pp == 1, f" gathers weights for every micro-batch, {refusal}", (1,))
    if at.shard is not None:
        replicas = at.replicas()
        says = f" does not divide the {_figure(replicas)} replicas"
        yield Rule("shard", divides(at.shard, replicas), says, _divisors(replicas))
    if at.recompute_layers is not None:
        yield Rule("recompute_layers", at.recompute != "none", ": with --recompute selective or full")
        yield Rule("recompute_layers", at.recompute_layers >= 0, ": not below 0", (0,))


def _even(most: int) -> range:
    """Even numbers up to `most`."""
    return range(2, most + 1, 2)


def _figure(x: Number) -> str:
    """A plain number in a message; nothing for arrays, which have no message."""
    return str(x) if is_plain(x) else ""


def _divisors(whole: Number) -> tuple[int, ...]:
    """The divisors of a plain whole number; none for anything else."""
    return divisors(whole) if isinstance(whole, int) else ()


def _multiples(step: Number, near: Number) -> tuple[int, ...]:
    """The multiples of `step` on both sides of a number."""
    if not (isinstance(step, int) and isinstance(near, int)):
        return ()
    return (max(step, near // step * step), near // step * step + step)


def broken(layout: Layout, shape: Shape, seq: int | None = None) -> Rule | None:
    """The first rule that a layout of plain numbers breaks; None where it is legal."""
    return next((rule for rule in rules(layout, shape, seq) if not rule.holds), None)


def check(layout: Layout, shape: Shape, seq: int | None = None) -> None:
    """Raise InputError for the first rule that is broken, or for a choice that is none. `seq` as in `rules`."""
    for name in AT_LEAST_ONE:
        if getattr(layout, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(layout, name)}: at least 1")
    if layout.zero not in ZERO:
        raise InputError(f"--zero {layout.zero}: one of 0, 1, 2, 3")
    for option, value, known in (
        ("recompute", layout.recompute, RECOMPUTE),
        ("schedule", layout.schedule, SCHEDULES),
        ("context-parallel", layout.context_parallel, CONTEXTS),
    ):
        if value not in known:
            raise InputError(f"--{option} {value}: one of {', '.join(known)}")
    rule = broken(layout, shape, seq)
    if rule is not None:
        raise InputError(rule.message(layout))


def layout_of(
    model: ModelSpec,
    hardware: HardwareSpec | None,
    weights: str | None,
    gpus: int | None,
    tp: int | None,
    pp: int | None,
    dp: int | None,
    ep: int | None,
    gpus_per_node: int | None,
) -> Layout:
    """The serving layout that the options ask for; a degree that is None follows from the others.

    `ep` without `dp` means data-parallel attention, with the experts spread over all. Of a number of GPUs alone, the
    first legal of `_filling` is taken. `weights`: their format. Raises InputError where none is legal.
    """
    node = gpus_per_node or (hardware.gpus_in_a_node() if hardware else USUAL_NODE)
    plain = Layout(gpus_per_node=node, sequence_parallel=False)
    if gpus is tp is pp is dp is ep is gpus_per_node is None:
        return plain
    given = {"--gpus": gpus, "--tp": tp, "--pp": pp, "--dp": dp, "--ep": ep, "--gpus-per-node": gpus_per_node}
    for option, degree in given.items():
        if degree is not None:
            check_count(option, degree, MOST)
    ranks = dp or max(1, (ep or 1) // (tp or 1))
    ways = [(tp or 1, pp or 1, ranks, ep or 1)]
    if gpus is not None:
        ways = list(_filling(gpus, tp, pp, ranks, ep, node, experts_anywhere=pp is dp is ep is None))
    shape = shape_of(model, weights)
    layouts = [Layout(*way, gpus_per_node=node, sequence_parallel=False) for way in ways]
    layout = layouts[0]
    if gpus not in (None, layout.gpus()):
        raise InputError(f"--gpus {gpus}: tp·pp·dp = {layout.tp}·{layout.pp}·{layout.dp} is {layout.gpus():,}")
    legal = next((each for each in layouts if broken(each, shape) is None), None)
    if legal is not None:
        return legal
    rule = broken(layout, shape)
    assert rule is not None
    if tp is not None or gpus is None:
        raise InputError(rule.message(layout))
    origin = f"--gpus {gpus} is --tp {layout.tp} --pp {layout.pp}"
    others = {
        f"--tp {gpus}": plain._replace(tp=gpus),
        f"--ep {gpus}": plain._replace(dp=gpus, ep=gpus),
        f"--dp {gpus}": plain._replace(dp=gpus),
    }
    legal_ones = [option for option, each in others.items() if broken(each, shape) is None]
    instead = f"; legal on as many GPUs: {' or '.join(legal_ones)}" if legal_ones else ""
    raise InputError(f"{origin}; {rule.problem(layout)}{instead}")


def _filling(
    gpus: int, tp: int | None, pp: int | None, dp: int, ep: int | None, node: int, *, experts_anywhere: bool
) -> Iterator[tuple[int, int, int, int]]:
    """Degrees tp, pp, dp, ep that fill so many GPUs, the best first.

    A degree that is not given takes what the others leave. Where neither tp nor pp is given, tensor parallelism fills
    a node as far as it can, and every stage is on nodes of its own. Last, where nothing speaks against it
    (`experts_anywhere`), experts lie on all GPUs, each group of tp with its own sequences.
    """
    known = (tp or 1) * (pp or 1) * dp
    if gpus % known:
        raise InputError(f"--gpus {gpus}: not a multiple of {known:,}, the product of the other degrees")
    rest = gpus // known
    if tp is None and pp is None:
        inside = [n for n in range(min(rest, node), 0, -1) if rest % n == 0]
        yield from ((n, rest // n, dp, ep or 1) for n in inside)
    elif tp is None:
        yield rest, pp or 1, dp, ep or 1
    else:
        yield tp, pp or rest, dp, ep or 1
    if experts_anywhere:
        yield tp or 1, 1, gpus // (tp or 1), gpus
