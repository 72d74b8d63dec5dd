"""`llmcost train`: a whole run, from what a user says."""

from __future__ import annotations

from typing import Any

from llmcost.ground.algebra import Number, is_plain, maximum, named
from llmcost.ground.errors import InputError
from llmcost.ground.options import check_options
from llmcost.ground.units import DAY, HOUR
from llmcost.machine import textbook
from llmcost.machine.efficiency import Efficiency
from llmcost.model.architecture import forward, operators
from llmcost.model.counting import Params, count_params
from llmcost.model.lora import check_lora, trainable_params
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout, stage_of
from llmcost.parallel.rules import check, shape_of
from llmcost.serving.estimate import DEFAULT_CONTEXT
from llmcost.serving.results import Hardware, Model
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.automatic import automatic, cheapest_change, enough_gpus
from llmcost.training.conventions import CONVENTIONS, HALF_PRECISION, Utilization, counts_of, utilization
from llmcost.training.interruptions import InterruptedRun, Terms, check_terms, run_of
from llmcost.training.memory import StageMemory, share_recomputed, stage_memory
from llmcost.training.options import Options, layout_given, recipe_of, reliability_of
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.results import ExpectedRates, Rates, Spread, StageBytes, Train, TrainingWorkload, TrainMemory
from llmcost.training.shares import training_efficiency
from llmcost.training.step import Step, evaluate, training_chip

SCHEMA = "llmcost.train/1"
BATCH_TOKENS = 4 * 2**20  # Llama 3 405B begins with 4M tokens a batch (arXiv 2407.21783, section 3.4.1)
MOST = 10**9  # of anything a user may count


def train(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options = Options(),  # noqa: B008
    efficiency: Efficiency | None = None,
) -> Train:
    """Every figure of a run. Raises InputError where options contradict each other, the model or the GPU."""
    at, chosen = setup_of(model, hardware, options, efficiency)
    check(at.layout, shape_of(model), at.seq)
    answer = answer_of(at, hardware, options, chosen)
    if answer.memory.fits:
        return answer
    change = cheapest_change(at, at.chip.usable)
    if change is not None:
        return answer._replace(change=change.words)
    gpus = enough_gpus(at, at.layout.gpus(), at.chip.usable)
    return answer._replace(change="" if gpus is None else f"--gpus {gpus} and the layout left open")


def setup_of(
    model: ModelSpec, hardware: HardwareSpec, options: Options, efficiency: Efficiency | None
) -> tuple[Setup, bool]:
    """The options with the defaults filled in, and whether degrees were chosen. Raises InputError where they make no sense."""
    check_options(options)
    recipe, given = recipe_of(options, hardware), layout_given(options)
    if recipe.lora is not None:
        check_lora(forward(model, HALF_PRECISION, Load(1, 1, 1)).layers, recipe.lora)
    seq = min(model.max_position_embeddings, DEFAULT_CONTEXT) if options.seq is None else options.seq
    if not 1 <= seq <= model.max_position_embeddings:
        raise InputError(
            f"--seq {seq}: {model.name} takes 1 to {model.max_position_embeddings:,} positions (max_position_embeddings)"
        )
    gpus = options.gpus or given.get("tp", 1) * given.get("cp", 1) * given.get("pp", 1) * given.get("dp", 1)
    base = Layout(gpus_per_node=hardware.gpus_in_a_node())._replace(**given)
    base = _data_parallel(base, gpus, given)
    batch = _batch(options, base, gpus, seq)
    base = base._replace(global_batch=batch)
    reached = efficiency or training_efficiency(hardware, options.profile, recipe, gpus)
    chip = training_chip(hardware, recipe, base._replace(dp=gpus, tp=1, cp=1, pp=1))
    at = Setup(model, base, recipe, seq, chip, reached)
    if {"tp", "pp", "zero", "recompute"} <= given.keys():
        return at, False
    return at._replace(layout=automatic(at, gpus, given, chip.usable)), True


def _data_parallel(base: Layout, gpus: int, given: dict[str, Any]) -> Layout:
    """Data parallelism takes the GPUs that the other degrees leave. Raises InputError where they do not multiply to them."""
    used = base.tp * base.cp * base.pp
    degrees = " times ".join(f"--{name} {given[name]}" for name in ("tp", "cp", "pp", "dp") if name in given)
    if gpus % used:
        below, above = gpus // used * used, -(-gpus // used) * used
        nearest = above if not below or above - gpus < gpus - below else below
        raise InputError(f"{degrees} is {used} GPUs a replica, which do not divide --gpus {gpus}; nearest: {nearest}")
    if "dp" in given and given["dp"] * used != gpus:
        raise InputError(
            f"{degrees} is {given['dp'] * used} GPUs, and --gpus is {gpus}; with these the nearest --dp is {gpus // used}"
        )
    return base._replace(dp=gpus // used)


def _batch(options: Options, base: Layout, gpus: int, seq: int) -> int:
    """The global batch asked for, or sequences of about 4M tokens, a multiple of what runs at a time."""
    if options.global_batch is not None:
        return int(options.global_batch)
    at_once = int(base.micro_batch) * gpus // int(base.tp * base.cp * base.pp)
    return max(at_once, BATCH_TOKENS // seq // at_once * at_once)


def answer_of(at: Setup, hardware: HardwareSpec, options: Options, chosen: bool) -> Train:
    """All figures, from sizes that may be numbers or symbols."""
    step = evaluate(at)
    size = ElementBytes(at.recipe.param_bytes(), at.recipe.param_bytes(), at.recipe.param_bytes())
    params = count_params(operators(at.model, size, Load(1, 1, 1)))
    trained = _trained(at, params)
    steps = options.tokens / step.tokens
    expected = _rates(named("step_seconds", step.seconds.total), step, steps, options.price)
    active = named("model.params.active", params.active)
    books = [
        _rates(
            textbook.training_seconds(active, step.tokens, step.gpus, at.chip.peak, options.mfu, each),
            step,
            steps,
            options.price,
        )
        for each in (textbook.TRAINING_FLOPS_PER_PARAM, textbook.RECOMPUTE_FLOPS_PER_PARAM)
    ]
    error = at.efficiency.error
    low, high = (expected.days * (1 + sign * (error or 0)) for sign in (-1, 1))
    return Train(
        schema=SCHEMA,
        model=Model(at.model.name, at.model.title, params),
        hardware=Hardware(hardware.name, hardware.title, at.chip.peak, at.chip.bandwidth, at.chip.capacity),
        run=TrainingWorkload(
            step.gpus,
            at.seq,
            options.tokens,
            step.tokens,
            steps,
            at.recipe.dtype,
            at.recipe.optimizer,
            trained,
            at.recipe.lora,
            options.mfu,
        ),
        layout=_spread(at.layout, chosen),
        **expected._asdict(),
        mfu=step.mfu(),
        hfu=step.hfu(),
        textbook=books[0],
        textbook_recompute=books[1],
        limit=_rates(step.bound.seconds(), step, steps, options.price),
        expected=ExpectedRates(*expected, at.efficiency.basis, error, low, high),
        breakdown=step.seconds,
        flops=step.flops,
        memory=_memory(at, step),
        change=None,
        conventions=_conventions(at, step),
        with_interruptions=_interrupted(
            step, hardware, options, trained * (at.recipe.param_bytes() + at.recipe.optimizer_bytes())
        ),
    )


def _trained(at: Setup, params: Params) -> Number:
    """Parameters that are trained, of the whole model."""
    lora = at.recipe.lora
    return (
        params.total
        if lora is None
        else trainable_params(forward(at.model, HALF_PRECISION, Load(1, 1, 1)).layers, lora)
    )


def _conventions(at: Setup, step: Step) -> tuple[Utilization, ...]:
    """MFU and HFU as everyone counts them."""
    layout, each = at.layout, step.tokens_per_s() / step.gpus
    share = (
        share_recomputed(layout, stage_of(layout, at.model.num_hidden_layers, 0)) if layout.recompute != "none" else 1
    )
    frozen, k = at.recipe.lora is not None, counts_of(at.model, at.seq)
    return tuple(
        utilization(one, k, each, at.chip.peak, layout.recompute, share, frozen=frozen) for one in CONVENTIONS.values()
    )


def _interrupted(step: Step, hardware: HardwareSpec, options: Options, checkpoint_bytes: Number) -> InterruptedRun:
    """The run as it goes with failures and checkpoints of what is trained. Raises InputError for terms that make no sense."""
    reliability = reliability_of(options)
    terms = Terms(options.price, None if hardware.tdp is None else hardware.tdp.value, options.power_share, options.pue)
    if is_plain(step.gpus) and is_plain(checkpoint_bytes):
        check_terms(step.gpus, checkpoint_bytes, reliability, terms)
    return run_of(options.tokens, step.tokens, step.seconds.total, step.gpus, checkpoint_bytes, reliability, terms)


def _rates(seconds: Number, step: Step, steps: Number, price: Number | None) -> Rates:
    days = steps * seconds / DAY
    gpu_hours = days * (DAY // HOUR) * step.gpus
    rate = step.tokens / seconds
    return Rates(seconds, rate, rate / step.gpus, days, gpu_hours, None if price is None else gpu_hours * price)


def _spread(layout: Layout, chosen: bool) -> Spread:
    fields = layout._asdict() | {
        "etp": layout.expert_tp(),
        "micro_batches": layout.micro_batches(),
        "gpus_per_node": layout.gpus_per_node,
        "chosen": chosen,
    }
    return Spread(**{name: fields[name] for name in Spread._fields})


def _memory(at: Setup, step: Step) -> TrainMemory:
    """The fuller of first and last stage, whose parts add up, and every kind of stage."""
    a_pass, layout = forward_pass(at), at.layout
    last = layout.pp - 1
    indices = sorted({0, min(1, last), last}) if isinstance(layout.pp, int) else [0]
    stages = tuple(_stage_bytes(at, stage_memory(at, a_pass, index), index) for index in indices)
    fullest = max(stages, key=lambda stage: stage.total_bytes) if isinstance(layout.pp, int) else stages[0]
    parts = fullest._asdict()
    total = maximum(step.first.total(), step.last.total())
    allocated = maximum(step.first.allocated(), step.last.allocated())
    return TrainMemory(
        **{name: parts[name] for name in TrainMemory._fields if name in parts and name != "total_bytes"},
        total_bytes=total,
        allocated_bytes=allocated,
        capacity_bytes=at.chip.capacity,
        usable_bytes=at.chip.usable,
        fits=total <= at.chip.usable,
        stages=stages,
    )


def _stage_bytes(at: Setup, memory: StageMemory, index: Number) -> StageBytes:
    peak = memory.peak()
    parts = (memory.params, peak.grads, memory.optimizer, peak.activations, peak.logits, peak.gathered, peak.working)
    total = memory.total()
    layers = stage_of(at.layout, at.model.num_hidden_layers, index).layers
    return StageBytes(index, layers, *parts, total - sum(parts), total, peak.name)
