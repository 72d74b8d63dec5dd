"""The main job of `llmcost train`: a model, GPUs and options in, every figure of a training run out.

`answer_of` is the calculation: it never looks at what its sizes are, so it gives numbers and formulas alike. `train`
gives it numbers, and says what would make a run fit.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmcost.ground.algebra import Number, is_plain, largest, named, present
from llmcost.ground.errors import InputError
from llmcost.ground.units import DAY, HOUR
from llmcost.machine import textbook
from llmcost.machine.bands import TRAINING, bands_for, trained_on
from llmcost.machine.efficiency import OWN_RUNS, Band, Efficiency
from llmcost.machine.power import Draw, basis_of, drawn_by, share_drawn
from llmcost.model.architecture import operators
from llmcost.model.counting import count_params
from llmcost.model.lora import trainable_params
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout, held_by_gpu, telling_stages
from llmcost.parallel.rules import check, shape_of
from llmcost.serving.results import Hardware, model_of
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.automatic import ALL, cheapest_change, enough_gpus
from llmcost.training.conventions import CONVENTIONS, OWN, Utilization, counts_of, utilization
from llmcost.training.engine import axes_of, engine_of, given_by
from llmcost.training.interruptions import InterruptedRun, Terms, check_terms, run_of
from llmcost.training.memory import StageMemory, share_recomputed_of_all, stage_memory
from llmcost.training.options import Options
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.results import ExpectedRates, Rates, Spread, StageBytes, Train, TrainingWorkload, TrainMemory
from llmcost.training.setup import layers_of_a_token, reliability_of, setup_of, with_tokens
from llmcost.training.step import Step, evaluate_step

SCHEMA = "llmcost.train/1"


def train(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options = Options(),  # noqa: B008
    efficiency: Efficiency | None = None,
) -> Train:
    """Every figure of a run; where it does not fit, also the cheapest single change after which it does.

    `efficiency`: shares and launch costs in place of the profile's or the defaults. Raises InputError where options
    contradict each other, the model or the GPU.
    """
    options = with_tokens(options)
    at, chosen = setup_of(model, hardware, options, efficiency)
    check(at.layout, shape_of(model), at.seq)
    answer = answer_of(at, hardware, options, chosen, band_of_run(at, hardware, options))
    if answer.memory.fits:
        return answer
    engine = engine_of(hardware, options)
    lacking, axes = ({}, ALL) if options.engine is None else (given_by(engine), axes_of(engine))
    change = cheapest_change(at, at.chip.usable, axes)
    if change is not None:
        return answer._replace(change=change.words)
    gpus = enough_gpus(at, at.layout.gpus(), at.chip.usable, lacking, axes)
    return answer._replace(change="" if gpus is None else f"--gpus {gpus} and the layout left open")


def answer_of(at: Setup, hardware: HardwareSpec, options: Options, chosen: bool, band: Band) -> Train:
    """All figures, from sizes that may be numbers or symbols.

    `chosen`: whether the layout was chosen for the user. `band`: how far off such runs were.
    """
    recipe, step = at.recipe, evaluate_step(at)
    size = ElementBytes(recipe.param_bytes(), recipe.param_bytes(), recipe.param_bytes())
    params = count_params(operators(at.model, size, Load(1, 1, 1)))
    trained = params.total if recipe.lora is None else trainable_params(layers_of_a_token(at.model), recipe.lora)
    steps = options.tokens / step.tokens

    def rates(seconds: Number) -> Rates:
        days = steps * seconds / DAY
        gpu_hours = days * (DAY // HOUR) * step.gpus
        tokens_per_s = step.tokens / seconds
        dollars = None if options.price is None else gpu_hours * options.price
        return Rates(seconds, tokens_per_s, tokens_per_s / step.gpus, days, gpu_hours, dollars)

    def by_rule(flops_per_param: Number) -> Rates:
        active, terms = named("model.params.active", params.active), (step.tokens, step.gpus, at.chip.peak, options.mfu)
        if recipe.lora is None:
            return rates(textbook.training_seconds(active, *terms, flops_per_param))
        frozen = textbook.training_seconds(active, *terms, flops_per_param - textbook.GRADIENT_FLOPS_PER_PARAM)
        return rates(frozen + textbook.training_seconds(trained, *terms, flops_per_param))

    expected, error = rates(named("step_seconds", step.seconds.total)), band.mean_error
    low, high = (None if error is None else expected.days * (1 + sign * error) for sign in (-1, 1))
    return Train(
        schema=SCHEMA,
        model=model_of(at.model, params),
        hardware=Hardware(
            *(hardware.name, hardware.title, hardware.vendor),
            *(at.chip.peak, at.chip.bandwidth, at.chip.capacity, at.chip.on_chip),
        ),
        run=TrainingWorkload(
            gpus=step.gpus,
            seq=at.seq,
            tokens=options.tokens,
            tokens_per_step=step.tokens,
            steps=steps,
            dtype=recipe.dtype,
            optimizer=recipe.optimizer,
            trained_params=trained,
            lora=recipe.lora,
            engine=engine_of(hardware, options, at.layout.zero).name,
            all2all=options.all2all,
            dispatch_dtype=options.dispatch_dtype,
            mfu_assumed=options.mfu,
        ),
        layout=_spread(at.layout, chosen, experts=present(at.model.expert_layers())),
        **expected._asdict(),
        mfu=step.mfu(),
        hfu=step.hfu(),
        textbook=by_rule(textbook.TRAINING_FLOPS_PER_PARAM),
        textbook_recompute=by_rule(textbook.RECOMPUTE_FLOPS_PER_PARAM),
        limit=rates(step.bound.seconds()),
        expected=ExpectedRates(*expected, at.efficiency.basis, error, low, high),
        breakdown=step.seconds if at.layout.stages else step.seconds._replace(stages=()),
        flops=step.flops,
        memory=_memory(at, step),
        change=None,
        conventions=_conventions(at, step),
        with_interruptions=_interrupted(
            step, hardware, options, trained * (recipe.param_bytes() + recipe.optimizer_bytes())
        ),
        accuracy=band,
    )


def band_of_run(at: Setup, hardware: HardwareSpec, options: Options) -> Band:
    """How far off published runs like this one were: on as many GPUs, of this family, dense or with experts.

    Where too few are known, and by a profile of the user's own, it is what a profile has measured itself, if there is
    one. Of adapters none was predicted: they have no band.
    """
    gpus, reached = at.layout.gpus(), at.efficiency
    if at.recipe.lora is not None:
        return Band()
    if options.profile is not None:
        return reached.band("")
    engine = engine_of(hardware, options, at.layout.zero)
    if "error" in engine.choices and (hardware.gpu or hardware.name) in engine.shares:
        return Band(engine.choices["error"], of=OWN_RUNS)
    phase = trained_on(gpus, hardware.gpus_in_a_node())
    found = bands_for(reached, hardware, experts=at.model.has_experts(), phases=(phase,), engine=TRAINING)[phase]
    return found if found.mean_error is not None or reached.error is None else reached.band("")


def _conventions(at: Setup, step: Step) -> tuple[Utilization, ...]:
    """MFU and HFU of the step under every convention in use; under our own they are those of the step itself."""
    layout, each = at.layout, step.tokens_per_s() / step.gpus
    share = share_recomputed_of_all(layout, at.model.num_hidden_layers)
    frozen, k = at.recipe.lora is not None, counts_of(at.model, at.seq)
    flops = (step.flops.model / step.tokens, step.flops.hardware / step.tokens)
    own = Utilization(OWN, *flops, at.chip.peak, step.mfu(), step.hfu())
    others = (one for one in CONVENTIONS.values() if one.name != OWN)
    return own, *(utilization(one, k, each, at.chip.peak, layout.recompute, share, frozen=frozen) for one in others)


def _interrupted(step: Step, hardware: HardwareSpec, options: Options, checkpoint_bytes: Number) -> InterruptedRun:
    """The run with failures and checkpoints, which have `checkpoint_bytes`: all states of what is trained.

    Raises InputError for terms that make no sense.
    """
    reliability = reliability_of(options)
    watts = None if hardware.tdp is None else hardware.tdp.value
    if options.carbon is not None and watts is None:
        raise InputError(f"--carbon {options.carbon:g}: no source gives the power (TDP) of {hardware.title}")
    draw, given = drawn_by(hardware), options.power_share is not None
    share = options.power_share if given else 1 if draw is None else named("power_share", share_of_step(draw, step))
    terms = Terms(options.price, watts, share, options.pue, options.carbon, basis_of(draw, given=given))
    if is_plain(step.gpus) and is_plain(checkpoint_bytes):
        check_terms(step.gpus, checkpoint_bytes, reliability, terms)
    return run_of(options.tokens, step.tokens, step.seconds.total, step.gpus, checkpoint_bytes, reliability, terms)


def share_of_step(draw: Draw, step: Step) -> Number:
    """The share of its TDP that a GPU draws in a step: by its FLOPs, and by the time in which its memory binds."""
    flops, parts = step.flops, ("total", "memory", "optimizer")
    total, memory, optimizer = (named(f"breakdown.{part}", getattr(step.seconds, part)) for part in parts)
    known = (named(f"flops.{kind}", getattr(flops, kind)) for kind in ("causal", "hardware", "model"))
    causal, hardware, model = known
    computed = (causal + hardware - model) / (total * step.gpus * step.peak)
    return share_drawn(draw, (memory + optimizer) / total, computed)


def _spread(layout: Layout, chosen: bool, *, experts: bool) -> Spread:
    """The layout as results tell it; no GPUs split an expert where a model has none."""
    fields = layout._asdict() | {
        "etp": layout.expert_tp() if experts else 1,
        "micro_batches": layout.micro_batches(),
        "chosen": chosen,
    }
    return Spread(**{name: fields[name] for name in Spread._fields})


def _memory(at: Setup, step: Step) -> TrainMemory:
    """Memory of the fullest stage, and of every stage that differs: the first, one like all in between, the last.

    All of them where layers were dealt out one by one.

    Formulas, which cannot tell which one is the fullest, show the first stage's parts.
    """
    a_pass, layout = forward_pass(at), at.layout
    last = layout.pp - 1
    indices: Sequence[Number] = sorted({0, min(1, last), last}) if isinstance(layout.pp, int) else [0]
    if layout.stages is not None:
        indices = telling_stages(layout)
    stages = tuple(_stage_bytes(at, stage_memory(at, a_pass, index), index) for index in indices)
    numbers = all(is_plain(stage.total_bytes) for stage in stages)
    fullest = max(stages, key=lambda stage: stage.total_bytes) if numbers else stages[0]
    parts = fullest._asdict()
    total, allocated = step.memory_bytes(), largest([stage.allocated() for stage in step.stages()])
    host, on_host = at.recipe.host, largest([stage.on_host for stage in step.stages()])
    return TrainMemory(
        **{name: parts[name] for name in TrainMemory._fields if name in parts and name != "total_bytes"},
        total_bytes=total,
        allocated_bytes=allocated,
        capacity_bytes=at.chip.capacity,
        usable_bytes=at.chip.usable,
        fits=total <= at.chip.usable
        if host is None or host.usable is None
        else total <= at.chip.usable and on_host <= host.usable,
        stages=stages,
        host_bytes=on_host,
        host_usable_bytes=0 if host is None or host.usable is None else host.usable,
        host_place="" if host is None else host.place(),
    )


def _stage_bytes(at: Setup, memory: StageMemory, index: Number) -> StageBytes:
    """Memory of stage `index` at its peak, part by part; overhead is the total less all other parts."""
    peak = memory.peak()
    parts = (memory.params, peak.grads, memory.optimizer, peak.activations, peak.logits, peak.gathered, peak.working)
    total = memory.total()
    layers = held_by_gpu(at.layout, at.model.num_hidden_layers, index).layers
    return StageBytes(index, layers, *parts, total - sum(parts), total, peak.name)
