"""From what a user asks of a training run to a setup that can be evaluated: checked, with defaults filled in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from llmcost.ground.algebra import Number, is_one
from llmcost.ground.constants import Constant
from llmcost.ground.errors import InputError
from llmcost.ground.options import check_options, declared
from llmcost.ground.units import HOUR, counted
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.exchanges import check_reach
from llmcost.model.architecture import forward
from llmcost.model.lora import check_lora, lora_of
from llmcost.model.operators import Operator
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.model.training_kernels import MODULES
from llmcost.parallel.layout import Layout
from llmcost.parallel.stages import check_stages, dealt_out, in_words
from llmcost.serving.estimate import DEFAULT_CONTEXT, check_positions, default_dtype
from llmcost.serving.options import GATHER
from llmcost.specs.catalog import load_library
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.automatic import ALL, automatic
from llmcost.training.conventions import HALF_PRECISION
from llmcost.training.engine import axes_of, engine_of, given_by, recipe_under, refuse_idle, refuse_lacking
from llmcost.training.interruptions import Reliability
from llmcost.training.offload import offloaded
from llmcost.training.options import LAYOUT, Options
from llmcost.training.passes import ALL_DIVIDED, Divided, Setup
from llmcost.training.recipe import DTYPES, PRODUCTION, Recipe, overlap_of
from llmcost.training.shares import training_efficiency
from llmcost.training.step import training_chip

if TYPE_CHECKING:
    from llmcost.specs.training_engine import TrainingEngine
    from llmcost.training.results import Spread

LEFT_AWAY = 0.05  # of the usual tokens of a step, at most, for the GPUs to share them evenly
DEALT = ("--first-stage-layers", "--last-stage-layers", "--account-for")
BATCH_TOKENS = Constant(
    4 * 2**20, "Llama 3 405B begins with 4M tokens a batch (arXiv 2407.21783, section 3.4.1)", "tokens of a step"
)


RUN_TOKENS = Constant(15 * 10**12, "Llama 3, over 15T tokens (arXiv 2407.21783, section 1)", "tokens of a run")
ADAPTER_TOKENS = Constant(
    1875 * 16 * 512,
    "QLoRA's Guanaco 65B: 1,875 steps of 16 sequences of 512 tokens (arXiv 2305.14314, table 9)",
    "tokens of a run",
)


def with_tokens(options: Options) -> Options:
    """The options with the length of the run: as given, or that of a known one, of adapters a fine-tune's."""
    usual = RUN_TOKENS if options.lora_rank is None else ADAPTER_TOKENS
    return options if options.tokens is not None else options._replace(tokens=int(usual.value))


def setup_of(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options,
    efficiency: Efficiency | None,
    needs: Callable[[Setup], Number] | None = None,
) -> tuple[Setup, bool]:
    """The options with the defaults filled in, and whether degrees of the layout were chosen for the user.

    `needs`: bytes of a GPU in a layout, where more is there than what trains. Raises InputError where the options make
    no sense.
    """
    check_options(options)
    model = model.text_alone()
    refuse_experts(model, options)
    if options.reshard is not None and options.zero != 3:
        said = "reshard" if options.reshard else "no-reshard"
        raise InputError(f"--{said}: whether weights that --zero 3 gathers are let go; give --zero 3 too")
    _refuse_alone(options)
    engine = engine_of(hardware, options)
    lacking: dict[str, int] = {}
    axes = ALL
    if options.engine is not None:
        refuse_lacking(engine, options)
        lacking, axes = given_by(engine), axes_of(engine)
    refuse_idle(engine, options)
    recipe = recipe_of(model, hardware, options)
    given = (
        ({} if options.recompute_modules is None else {"recompute": "selective"})
        | lacking
        | layout_given(options)
        | _stages_given(model, options)
    )
    seq = sequence_of(model, options.seq)
    asked = Layout(gpus_per_node=hardware.gpus_in_a_node())._replace(**engine.layout() | given)
    gpus = options.gpus or asked.gpus()
    base = _data_parallel(asked, gpus, given)
    batch_of = None
    if options.global_batch is None:
        batch_of = partial(batch_of_a_layout, usual_batch(model, seq, gpus))
        base = base._replace(global_batch=batch_of(base.micro_batch * base.dp))
    reached = efficiency or efficiency_of(hardware, options, recipe, gpus, engine)
    divided = None if efficiency is not None else divided_of(model, hardware, options, gpus)
    chip = training_chip(hardware, recipe, base._replace(dp=gpus, tp=1, cp=1, pp=1))
    at = Setup(model, base, recipe, seq, chip, reached, divided)
    if {"tp", "pp", "zero", "recompute"} <= given.keys():
        refuse_sending(options, at.layout.ep)
        return at.resolved(), False
    at = at._replace(layout=automatic(at, gpus, given, chip.usable, batch_of, needs, axes)).resolved()
    refuse_idle(engine_of(hardware, options, at.layout.zero), options)
    refuse_sending(options, at.layout.ep)
    return at, True


def _refuse_alone(options: Options) -> None:
    """Raise InputError for how a degree communicates where that degree is 1."""
    for option, value, degree in (
        ("schedule", options.schedule, "pp"),
        ("context-parallel", options.context_parallel, "cp"),
    ):
        if value is not None and getattr(options, degree) == 1:
            raise InputError(f"--{option} {value}: changes nothing with --{degree} 1; nearest: --{degree} 2")


def refuse_experts(model: ModelSpec, options: Options) -> None:
    """Raise InputError for what is said of experts where the model has none."""
    if model.has_experts():
        return
    for each in [*["--drop-tokens"] * options.drop_tokens, *_of_sending(options)]:
        raise InputError(f"{each}: of experts, and {model.name} has none")
    of_experts = [name for name in options.recompute_modules or () if name in ("moe", "moe_act", "shared_experts")]
    if of_experts:
        raise InputError(f"--recompute-modules {of_experts[0]}: of experts, and {model.name} has none")


def refuse_unused(model: ModelSpec, options: Options, layout: Layout | Spread) -> None:
    """Raise InputError for what is said of a kind of parallelism, or of experts, that the run does not have."""
    for name, degree in (("schedule", "pp"), ("context_parallel", "cp"), ("sequence_parallel", "tp")):
        said = getattr(options, name)
        if said is not None and is_one(getattr(layout, degree)):
            raise InputError(f"{declared(Options)[name].typed(said)}: it changes nothing where --{degree} is 1")
    factor = PRODUCTION.expert if options.imbalance is None else options.imbalance.expert
    if factor not in (1, PRODUCTION.expert) and not model.has_experts():
        raise InputError(f"--imbalance expert={factor:g}: of experts, and {model.name} has none")


def _of_sending(options: Options) -> list[str]:
    """What is asked of tokens on their way to experts, as it is typed."""
    sent = {"--all2all": options.all2all, "--dispatch-dtype": options.dispatch_dtype}
    return [f"{flag} {value}" for flag, value in sent.items() if value is not None]


def refuse_sending(options: Options, ep: Number) -> None:
    """Raise InputError for what is asked of tokens on their way to experts where every GPU has all experts."""
    for each in _of_sending(options) if is_one(ep) else ():
        raise InputError(f"{each}: of tokens that go to experts on other GPUs, and --ep is 1; nearest: --ep 2")


def efficiency_of(
    hardware: HardwareSpec, options: Options, recipe: Recipe, gpus: int, engine: TrainingEngine
) -> Efficiency:
    """What kernels reach in a run under an engine, whether it was named or is the usual one."""
    named = options.engine is not None
    reached = training_efficiency(hardware, options.profile, recipe, gpus, engine, asked=named)
    if options.all2all is None:
        return reached
    if options.all2all == GATHER:
        raise InputError(f"--all2all {GATHER}: no engine that trains sends tokens so here; leave it out, or: alltoall")
    library = load_library(options.all2all)
    check_reach(library, hardware)
    return reached._replace(libraries={"experts": library})


def divided_of(model: ModelSpec, hardware: HardwareSpec, options: Options, gpus: int) -> Divided | None:
    """What differs under the engine that is usual with ZeRO-3; None where it is that of all other layouts."""
    engine = engine_of(hardware, options, ALL_DIVIDED)
    if engine.name == engine_of(hardware, options).name:
        return None
    recipe = recipe_of(model, hardware, options, ALL_DIVIDED)
    layout = Layout(**engine.layout() | layout_given(options))
    return Divided(recipe, efficiency_of(hardware, options, recipe, gpus, engine), layout.context_parallel)


def _data_parallel(asked: Layout, gpus: int, given: dict[str, Any]) -> Layout:
    """The layout with as many data-parallel ranks as the other degrees leave GPUs for.

    Raises InputError where the degrees that were `given` do not multiply to the GPUs.
    """
    replica = asked.tp * asked.cp * asked.pp
    degrees = " times ".join(f"--{name} {given[name]}" for name in ("tp", "cp", "pp", "dp") if name in given)
    if gpus % replica:
        below, above = gpus // replica * replica, -(-gpus // replica) * replica
        nearest = above if not below or above - gpus < gpus - below else below
        raise InputError(
            f"{degrees} is {replica} GPUs a replica, which do not divide --gpus {gpus}; nearest: {nearest}"
        )
    ranks = gpus // replica
    if given.get("dp", ranks) != ranks:
        raise InputError(
            f"{degrees} is {asked.gpus()} GPUs, and --gpus is {gpus}; with these the nearest --dp is {ranks}"
        )
    return asked._replace(dp=ranks)


def layout_given(options: Options) -> dict[str, Any]:
    """The fields of the layout that the user chose, with their values."""
    chosen = {name: getattr(options, name) for name in LAYOUT}
    return {name: value for name, value in chosen.items() if value is not None}


def _stages_given(model: ModelSpec, options: Options) -> dict[str, Any]:
    """Layers of each stage and how many stages that are, where the options say anything of it.

    Raises InputError where they contradict each other or the model.
    """
    dealt = (options.first_stage_layers, options.last_stage_layers, options.account_for)
    asked = next((name for name, value in zip(DEALT, dealt, strict=True) if value is not None), None)
    layers, stages = model.num_hidden_layers, options.stages
    if stages is None and asked is None:
        return {}
    if stages is not None and asked is not None:
        raise InputError(f"--stages: says layers of every stage; leave out {asked}")
    if stages is None:
        if options.pp is None or options.pp < 2:
            raise InputError(f"{asked}: of how many stages? give --pp, at least 2")
        stages = dealt_out(layers, options.pp, options.vp or 1, *dealt)
    if options.pp not in (None, len(stages)):
        raise InputError(
            f"--stages {in_words(stages)}: {counted(len(stages), 'stage', 'stages')}, and --pp is {options.pp}"
        )
    check_stages(stages, layers, options.vp or 1, model.name)
    return {"stages": stages, "pp": len(stages), "vp": options.vp or 1}


def recipe_of(model: ModelSpec, hardware: HardwareSpec, options: Options, zero: int | None = None) -> Recipe:
    """How the program computes.

    Raises InputError for options of adapters without their rank, for adapters that the model has no product for, and
    for a data type that the engine does not have.
    """
    engine = engine_of(hardware, options, zero)
    recipe, had = recipe_under(engine), engine.choices.get("dtypes", DTYPES)
    if options.dtype is not None and options.dtype not in had:
        raise InputError(f"--dtype {options.dtype}: {engine.title} {engine.version} has none; it has {', '.join(had)}")
    if options.kernels is not None:
        recipe = recipe._replace(kernels=options.kernels)
        recipe = recipe._replace(loss="plain" if options.kernels == "eager" else recipe.loss)
    if options.recompute_modules is not None:
        if options.recompute not in (None, "selective"):
            raise InputError(f"--recompute-modules: of --recompute selective, not of {options.recompute}")
        kinds = [kind for name in options.recompute_modules for kind in MODULES[name]]
        recipe = recipe._replace(recomputed=tuple(dict.fromkeys(kinds)))
    if options.unfused_attention:
        recipe = recipe._replace(attention="unfused")
    recipe = recipe._replace(cuda_graphs=options.cuda_graphs, drop_tokens=options.drop_tokens)
    recipe = recipe._replace(dispatch=options.dispatch_dtype)
    trained_so = 0 if model.trained is None or options.lora_rank is not None else model.trained.mtp
    recipe = recipe._replace(mtp=trained_so if options.mtp_layers is None else options.mtp_layers)
    imbalance = options.imbalance or PRODUCTION
    recipe = recipe._replace(imbalance=imbalance._replace(expert=1.0) if options.drop_tokens else imbalance)
    if options.overlap is not None:
        asked = options.overlap
        recipe = recipe._replace(overlap=overlap_of(asked, recipe.overlap) if isinstance(asked, str) else asked)
    recipe = recipe._replace(
        dtype=options.dtype or usual_dtype(model, hardware, had),
        optimizer=options.optimizer,
        lora=lora_of(options.lora_rank, options.lora_targets, qlora=options.qlora),
    )
    recipe = recipe._replace(host=offloaded(hardware, options, options.gpus or hardware.gpus_in_a_node()))
    if recipe.lora is not None:
        check_lora(layers_of_a_token(model), recipe.lora)
    return recipe


def usual_dtype(model: ModelSpec, hardware: HardwareSpec, had: Sequence[str] = DTYPES) -> str:
    """What matrix products compute in where nothing is said: as the model was trained, where GPU and engine can.

    Else bf16, or fp16 where the GPU has a peak for that alone. `had`: the engine's types.
    """
    own = None if model.trained is None else model.trained.dtype
    return own if own is not None and own in hardware.peak and own in had else default_dtype(hardware)


def layers_of_a_token(model: ModelSpec) -> list[Operator]:
    """Operators of a model's layers for one token: enough to count its weights."""
    return forward(model, HALF_PRECISION, Load(1, 1, 1)).layers


def sequence_of(model: ModelSpec, seq: int | None) -> int:
    """Tokens of a sequence: as given, as the model was trained, or DEFAULT_CONTEXT as far as it has positions.

    Raises InputError for more than a table of positions has rows for.
    """
    if model.encoder is not None:
        raise InputError(f"{model.name}: an encoder and a decoder, whose training is not counted; estimate serves it")
    if seq is None:
        return min(int(model.max_position_embeddings), DEFAULT_CONTEXT) if model.trained is None else model.trained.seq
    check_positions("--seq", model, seq)
    return seq


def usual_batch(model: ModelSpec, seq: int, gpus: int) -> int:
    """Sequences of a step where none are given: as the model was trained, or about BATCH_TOKENS, in whole sequences.

    The GPUs share them evenly, or as large a part of these as leaves away at most LEFT_AWAY of the tokens.
    """
    tokens = int(BATCH_TOKENS.value) if model.trained is None else model.trained.batch_tokens
    whole = max(1, tokens // seq)
    shared = (whole // part * part for part in range(min(gpus, whole), 0, -1) if gpus % part == 0)
    return next(each for each in shared if each >= (1 - LEFT_AWAY) * whole)


def batch_of_a_layout(usual: int, at_once: int) -> int:
    """The usual sequences of a step on a layout that runs so many at once: of these the most that are a multiple."""
    return max(at_once, usual // at_once * at_once)


def reliability_of(options: Options) -> Reliability:
    """Failures and checkpoints in base units; what is not given as published."""
    units = {
        "gpu_mtbf_seconds": (options.mtbf_hours, HOUR),
        "restart_seconds": (options.restart_minutes, 60),
        "interval_seconds": (options.checkpoint_minutes, 60),
        "checkpoint_bytes_per_s": (options.checkpoint_gb_per_s, 1e9),
    }
    return Reliability(**{name: value * unit for name, (value, unit) in units.items() if value is not None})
