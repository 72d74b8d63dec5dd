"""The main job: a model, a GPU and a workload in, every figure out.

`evaluate` is the calculation. It never looks at what its sizes are, so it gives numbers, arrays and formulas alike.
`estimate` fills in defaults, refuses what contradicts itself and puts numbers in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from llmcost.ground.algebra import Number, is_one, least, maximum, minimum
from llmcost.ground.errors import InputError
from llmcost.ground.options import check_options, declared
from llmcost.machine.bands import SERVING, bands_for
from llmcost.machine.chip import Chip, usable_bytes
from llmcost.machine.efficiency import OWN_RUNS, Band, Efficiency, family_of
from llmcost.machine.exchanges import check_reach
from llmcost.machine.training_shares import trained_by
from llmcost.model.architecture import head, operators
from llmcost.model.counting import PassCost, Traffic, cache_bytes_per_token, count_params, count_pass, kept_bytes
from llmcost.model.formats import ROTARY_PART
from llmcost.model.sizes import ElementBytes, Load, activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.parallel.pipeline import Server, Stages, mean_share, rank_share
from llmcost.parallel.rules import layout_of
from llmcost.serving.apart import (
    Decoding,
    apart_of,
    check_apart,
    naming_prompts,
    pool_options,
    prompts_workload,
    serving_apart,
)
from llmcost.serving.batching import serving
from llmcost.serving.encoding import check_inputs, encode
from llmcost.serving.memory import serving_memory
from llmcost.serving.memory_share import refuse_two_shares, sharing_ranks, utilization_of, with_shares
from llmcost.serving.offloading import check_offload, offloaded
from llmcost.serving.options import (
    AT_ONCE,
    CHUNK,
    COMPUTE_DTYPES,
    DEGREES,
    GATHER,
    LARGE_MEMORY,
    LAYOUT,
    MIXES,
    OF_A_GPU,
    OF_A_MIX,
    OF_PROMPTS,
    SIZES,
    SMALL_CHUNK,
    Options,
    Workload,
)
from llmcost.serving.phases import decode, decode_step, no_decode, prefill, prefill_seconds, request
from llmcost.serving.repeated import Repeated
from llmcost.serving.results import (
    Accuracy,
    Estimate,
    Flops,
    Hardware,
    KvCache,
    Memory,
    PassFlops,
    PhaseTraffic,
    Serving,
    model_of,
)
from llmcost.serving.room import of_mean_lengths
from llmcost.serving.server import machine_of, server_of, speculation_of
from llmcost.serving.training_rates import training, unknown_training
from llmcost.serving.usual_engine import usual_engine
from llmcost.specs.catalog import engines_for, load_engine, load_library, named_engine
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.optimised import OPTIMISED

if TYPE_CHECKING:
    from llmcost.specs.engine import EngineSpec

SCHEMA = "llmcost.estimate/1"
PASSES = ("prefill", "decode")  # phases of SERVING that are no mix of requests
DEFAULT_CONTEXT = 8192  # tokens
BOTH = "encoders with decoders"
COMPUTED = {"fp8": "fp8", "nvfp4": "fp4"}  # formats of weights that linear layers compute in as they are -> that type
SCALES_NVFP4 = (
    "NVIDIA",
)  # vendors whose units for fp4 take nvfp4's scales; others' unpack it (vllm-project/vllm#35733)

_sizes: Callable[[Options], tuple[Number, ...]] = attrgetter(*SIZES)
_others: Callable[[Options], tuple[Any, ...]] = attrgetter(*[each for each in Options._fields if each not in SIZES])
_repeated = Repeated()


def estimate(
    model: ModelSpec,
    hardware: HardwareSpec | None = None,
    options: Options = Options(),  # noqa: B008
    efficiency: Efficiency | None = None,
) -> Estimate:
    """Every figure for one model on GPUs of one kind; without a GPU, those that need none.

    What is asked over and over with other sizes is recorded once, compiled and called. `efficiency`: shares and launch
    costs in place of the profile's or the defaults. Raises InputError where the options contradict the model or
    themselves.
    """
    if options.profile is None and efficiency is None:  # a file of the user's may change
        sizes = _sizes(options)
        kind = (_others(options), *[(size.__class__, size == 1) for size in sizes])
        calculate = _repeated.function((model, hardware), kind, lambda: _compiled(model, hardware, options))
        if calculate is not None:
            _check_sizes(model, options)
            check_mix(model, options)
            answer: Estimate = calculate(*sizes)
            return answer
    check_mix(model, options)
    workload = workload_of(model, hardware, options)
    return estimate_workload(model, hardware, workload, prompt_is_context(options), efficiency)


def _compiled(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Callable[..., Estimate]:
    """The estimate as a function of its sizes; 1 and None are structure and stay as they are."""
    from llmcost.ground.compiling import compiled  # needed by few: what is asked once is calculated
    from llmcost.ground.recording import Tape

    tape = Tape()
    given = {name: getattr(options, name) for name in SIZES}
    sizes = {name: tape.input(name) for name, size in given.items() if size is not None and size != 1}
    w = with_sizes(model, hardware, options, sizes)
    return compiled(tape, SIZES, estimate_workload(model, hardware, w, prompt_is_context(options)))


def with_sizes(
    model: ModelSpec, hardware: HardwareSpec | None, options: Options, sizes: Mapping[str, Number]
) -> Workload:
    """The workload with some sizes, which may be arrays or symbols, in place of those that the options have."""
    context, prompt = lengths(model, options._replace(**sizes))
    return workload_of(model, hardware, options)._replace(**{**sizes, "context": context, "prompt": prompt})


def estimate_workload(
    model: ModelSpec,
    hardware: HardwareSpec | None,
    w: Workload,
    prompt_is_context: bool,
    efficiency: Efficiency | None = None,
) -> Estimate:
    """Every figure for a workload, whose sizes may be numbers or arrays."""
    size, chip, reached = machine_of(hardware, w)
    return evaluate(model, hardware, size, w, chip, efficiency or reached, prompt_is_context)


def prompt_is_context(options: Options) -> bool:
    """Whether a longer context is a longer prompt."""
    return options.prompt is None and options.output is None


def evaluate(
    model: ModelSpec,
    hardware: HardwareSpec | None,
    size: ElementBytes,
    w: Workload,
    chip: Chip,
    efficiency: Efficiency,
    prompt_is_context: bool,
    trained: Efficiency | None = None,
) -> Estimate:
    """All figures, from sizes that may be numbers, arrays or symbols.

    `prompt_is_context`: whether the prompt grows along where the largest context is looked for. `trained`: what kernels
    reach in training; None: by the GPU's profile or the defaults.
    """
    if w.weight_dtype != model.weight_format:
        model = model.without_formats()
    efficiency = with_bands(efficiency, model, hardware, w)
    server = server_of(model, size, chip, efficiency, w)
    model = server.model
    alone = is_one(w.gpus)

    one_pass = Load(w.batch, w.prompt, w.prompt)  # all prompts at once
    prompts = server.whole(one_pass)
    layers_cost = count_pass([*prompts.first, *prompts.layers])
    prompt_cost = layers_cost.plus(count_pass(prompts.last))
    scored = w.prompt if model.encoder is None else 1
    forward_cost = layers_cost.plus(count_pass(head(model, size, w.batch, scored)))
    if alone:
        prompt_share, prompt_time = prompt_cost, server.times(prompts, one_pass)
    else:
        prompt_share, prompt_time = _prompts_on_a_gpu(server, w)

    encoded = encode(server, w)
    if encoded is not None:
        prompt_cost, prompt_share = prompt_cost.plus(encoded.whole), prompt_share.plus(encoded.share)

    step = decode_step(server, w, w.context)
    everyone = Load(w.batch, 1, w.context, decode=True, memory=w.prompt)
    whole_step = step.share.operators() if alone else operators(model, size, everyone)
    step_cost = step.cost if alone else count_pass(whole_step)

    alike = [op for op in whole_step if op.facts.role != "constant"]  # what is the model's own is no token's
    of_tokens = step_cost if len(alike) == len(whole_step) else count_pass(alike)

    params = count_params(whole_step)
    cache = KvCache(kept_bytes(whole_step), cache_bytes_per_token(whole_step))
    # Where no keys are kept, a token's activations hold its own key alone, not all that it sees.
    alive = step if model.generates else decode_step(server, w, 1)
    memory = serving_memory(server, w, alive, cache, prompt_is_context)
    prompt_seconds = prefill_seconds(server, w, prompt_time)
    if encoded is not None:
        prompt_seconds = encoded.after(prompt_seconds)
    seen = 0 if encoded is None else encoded.answer.flops
    prefilled = prefill(server, w, prompt_share, forward_cost.flops(causal=False), prompt_seconds, seen)
    trained = training_reached(hardware, w) if trained is None else trained
    card = hardware and Hardware(
        *(hardware.name, hardware.title, hardware.vendor),
        *(chip.peak, chip.bandwidth, chip.capacity, chip.on_chip),
    )
    return Estimate(
        schema=SCHEMA,
        model=model_of(model, params),
        hardware=card,
        workload=w,
        flops=Flops(
            per_token=of_tokens.token_flops(w.batch),
            prefill=PassFlops(prompt_cost.flops(causal=False), prompt_cost.flops(causal=True)),
            forward=PassFlops(forward_cost.flops(causal=False), forward_cost.flops(causal=True)),
        ),
        kv_cache=cache,
        memory=memory,
        traffic=PhaseTraffic(step.cost.traffic() if model.generates else Traffic(None, None, None)),
        prefill=prefilled,
        decode=decode(server, w, step, memory.fits) if model.generates else no_decode(efficiency),
        request=None if w.output is None else request(server, w, prefilled, prompt_seconds.others),
        serving=_serving(server, hardware, w, _memory_of_a_mix(server, w, cache, memory)) if w.is_mix() else None,
        training=unknown_training(params.text, trained)
        if model.encoder
        else training(server.without_offload(), one_pass, forward_cost, params.text, w.tokens, trained, w.mfu),
        accuracy=Accuracy._make([*[efficiency.band(phase) for phase in SERVING], Band()]),
        encoding=None if encoded is None else encoded.answer,
        offload=None if server.offload is None else offloaded(server, w, step),
        unmeasured=None
        if efficiency.own is None
        else ", ".join(efficiency.own.unmeasured([*prompts.layers, *whole_step])) or None,
    )


def with_bands(efficiency: Efficiency, model: ModelSpec, hardware: HardwareSpec | None, w: Workload) -> Efficiency:
    """The same with the errors that it has shown on published runs.

    By a profile of the user's own there are none, nor of models that are partly on the host; of encoders with decoders,
    and of requests with tokens that are guessed, or cached before, no published run is known, and none is compared
    whose prompts run apart.
    """
    if hardware is None or w.profile is not None or w.offload is not None:
        return efficiency
    if model.encoder is not None:
        return efficiency._replace(bands=dict.fromkeys(SERVING, Band(of=BOTH)))
    engine = named_engine(w.engine)
    compared = SERVING if w.prefix_hit is w.prefill_gpus is None and not w.speculate else PASSES
    if engine is not None and engine.errors:
        own = _own_bands(engine.errors)
        return efficiency._replace(bands={phase: own[phase] for phase in compared})
    experts, name = model.has_experts(), OPTIMISED if engine is None else engine.name
    return efficiency._replace(bands=bands_for(efficiency, hardware, experts=experts, phases=compared, engine=name))


def _own_bands(errors: Mapping[str, float]) -> dict[str, Band]:
    """The errors that an engine's file states of a user's own runs; throughput goes with a token's time."""
    known = {**errors, **({"throughput": errors["tpot"]} if "tpot" in errors else {})}
    return {phase: Band(known.get(phase), of=OWN_RUNS) for phase in SERVING}


def _prompts_on_a_gpu(server: Server, w: Workload) -> tuple[PassCost, Stages | None]:
    """All prompts of a rank in one pass: what each GPU needs at least, and the expected time on the fullest rank."""
    load = Load(rank_share(w.batch, w.dp), w.prompt, w.prompt)
    share, mean = server.share(load), mean_share(w.batch, w.dp)
    evenly, even_load = server.on_average(w.batch, mean), load._replace(b=mean)
    even_share = share if is_one(w.dp) else evenly.share(even_load)
    return evenly.cost(even_share, even_load).over(server.pp), server.times(share, load)


def _memory_of_a_mix(server: Server, w: Workload, cache: KvCache, memory: Memory) -> Memory:
    """What the fullest GPU holds of a mix: where a rank's experts see others' tokens, with a prompt on every rank."""
    if is_one(w.dp):
        return memory
    w = w._replace(batch=maximum(w.batch, least([*w.at_most(), w.dp])))
    server = server_of(*server[:4], w)
    return serving_memory(server, w, decode_step(server, w, w.context), cache, prompt_is_context=False)


def _serving(server: Server, hardware: HardwareSpec | None, w: Workload, memory: Memory) -> Serving:
    """The mix of requests, on GPUs that run prompts beside decode or apart."""
    guess = speculation_of(hardware, w)
    if w.prefill_gpus is None:
        return serving(server, w, memory, guess)
    w = of_mean_lengths(w)
    wp = prompts_workload(w)
    prompts = server_of(*server[:4], wp)
    apart = apart_of(prompts, wp, Decoding(server._replace(filled=1), w, guess, w.decode_gpus // w.gpus))
    return serving_apart(apart, prompts, wp, memory)


def training_reached(hardware: HardwareSpec | None, w: Workload) -> Efficiency:
    """What kernels reach where the model is trained on one GPU, as `llmcost train` takes it."""
    return trained_by(hardware, w.profile, w.dtype, 1)


def workload_of(
    model: ModelSpec, hardware: HardwareSpec | None, options: Options, *, mix: bool | None = None
) -> Workload:
    """The options with the defaults filled in, the engine's name too. Raises InputError where they make no sense.

    Where no engine is named it is the usual one, unless that refuses what is asked: then OPTIMISED. `mix`: whether it
    is a mix of requests, where the options do not say so.
    """
    if hardware is None or options.engine is not None:
        return _workload_under(model, hardware, options)
    usual = usual_engine(model, hardware, options, mix=mix)
    if usual != OPTIMISED:
        with suppress(InputError):  # nobody named it
            w = _workload_under(model, hardware, options._replace(engine=usual))
            if not hardware.peak or hardware.peak_of(w.dtype) is not None:  # else its times would not be known
                return w
    return _workload_under(model, hardware, options._replace(engine=OPTIMISED))


def under_usual(
    model: ModelSpec, hardware: HardwareSpec | None, options: Options, *, mix: bool | None = None
) -> Options:
    """The options with the engine named that answers them, so that other questions are answered by it too.

    `mix`, and what is raised: as in `workload_of`.
    """
    if hardware is None or options.engine is not None:
        return options
    return options._replace(engine=workload_of(model, hardware, options, mix=mix).engine)


def _workload_under(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Workload:
    """The workload of options that name their engine, or have no GPU. Raises InputError where they make no sense."""
    context, prompt = _check_sizes(model, options)
    if options.prefill_gpus is not None:
        first, second = pool_options(options)
        with naming_prompts(options):
            prompts = workload_of(model, hardware, first.options)
        decoding = workload_of(model, hardware, second.options)
        layout = {f"prefill_{name}": getattr(prompts, name) for name in OF_PROMPTS}
        kept = {name: getattr(options, name) for name in ("prefill_gpus", "decode_gpus", "layerwise")}
        return decoding._replace(**layout, **kept)
    if options.dtype is not None and options.dtype not in COMPUTE_DTYPES:
        options = _of_weights(options)
    if model.encoder is not None and options.chunk is not None:
        raise InputError(f"--chunk {options.chunk:,}: {model.name} has an encoder, which sees a whole prompt at once")
    if options.batch_prompts and options.chunk is not None:
        raise InputError("--batch-prompts: either all prompts at once, or chunks of them (--chunk)")
    if model.unread and options.weight_dtype is None:
        raise InputError(f"{model.unread}; --weight-dtype says what linear layers are kept in, whatever it is")
    if options.profile is not None:
        refuse_of_a_gpu(options, hardware)
    return _filled_in(model, hardware, options, context, prompt)


def _filled_in(
    model: ModelSpec, hardware: HardwareSpec | None, options: Options, context: Number, prompt: Number
) -> Workload:
    """The options, which make sense by themselves, with what follows from the model, the GPU and the engine."""
    dtype = options.dtype or computed_in(options.weight_dtype or model.weight_format, hardware, options.engine)
    weights = options.weight_dtype or model.weight_format or dtype
    if options.kv_dtype in ROTARY_PART and not model.block_sizes("kv_lora_rank"):
        raise InputError(f"--kv-dtype {options.kv_dtype}: a format of latents (MLA), which {model.name} does not cache")
    engine = named_engine(options.engine)
    if engine is not None and engine.in_stages() and options.gpus is not None and options.tp is options.pp is None:
        options = options._replace(tp=1, pp=options.gpus)
    layout = layout_of(model, hardware, weights, *(getattr(options, name) for name in LAYOUT))
    if engine is not None and (degree := engine.lacking(layout)):
        raise InputError(f"--{degree} {getattr(layout, degree)}: {engine.without(degree)}")
    if options.routing != declared(Options)["routing"].value and not model.has_experts():
        raise InputError(f"--routing {options.routing}: of tokens to experts, and {model.name} has none")
    if options.all2all is not None:
        check_all2all(model, hardware, options, engine)
    if hardware is not None and hardware.is_cpu() and not is_one(layout.gpus()):
        told = [f"--{name} {getattr(options, name)}" for name in LAYOUT[:-1] if (getattr(options, name) or 1) != 1]
        raise InputError(f"{', '.join(told)}: {hardware.title} is a CPU, and is counted as one socket alone")
    check_offload(model, hardware, options, layout)
    for flag, asked in (("--dtype", options.dtype), ("--attention-dtype", options.attention_dtype)):
        if asked and hardware and hardware.peak and hardware.peak_of(asked) is None:
            known = ", ".join(dict.fromkeys([*hardware.peak, *hardware.vector_peak]))
            raise InputError(f"{flag} {asked}: no source gives {hardware.title} a peak for it; it has {known}")
    refuse_two_shares(options)
    if engine is not None:
        sharing = int(sharing_ranks(model, layout))
        options = under_engine(options, hardware, weights, model.weight_format or dtype, sharing)
    return options._replace(
        context=context,
        prompt=prompt,
        cuda_graphs=options.cuda_graphs is not False,
        chunk=None if model.encoder else options.chunk or chunk_of(options, hardware),
        dtype=dtype,
        weight_dtype=weights,
        kv_dtype=options.kv_dtype or activation_dtype(dtype),
        memory_utilization=utilization_of(options),
        attention_dtype=options.attention_dtype or activation_dtype(dtype),
        gpus=layout.gpus(),
        gpus_per_node=layout.gpus_per_node,
        **{name: getattr(layout, name) for name in DEGREES},
    )


def check_all2all(model: ModelSpec, hardware: HardwareSpec | None, options: Options, engine: EngineSpec | None) -> None:
    """Raise InputError where no tokens go to other GPUs' experts, or not by this library."""
    asked = f"--all2all {options.all2all}"
    if options.ep is None or is_one(options.ep) or not model.has_experts():
        raise InputError(f"{asked}: of tokens that go to experts on other GPUs; give a model with experts, and --ep")
    known = () if engine is None else engine.collectives.get("experts", ())
    if engine is not None and known and options.all2all not in known:
        raise InputError(f"--all2all {options.all2all}: {engine.title} {engine.version} has {', '.join(known)}")
    if options.all2all != GATHER and hardware is not None:
        check_reach(load_library(options.all2all), hardware)


def chunk_of(options: Options, hardware: HardwareSpec | None) -> int | None:
    """Tokens of prompts that run at a time where no number is given; None: all of them, or as the engine says."""
    return None if options.batch_prompts or named_engine(options.engine) is not None else usual_chunk(hardware)


def _of_weights(options: Options) -> Options:
    """The options where `dtype` is a format of weights, which nothing computes in: that is what weights are kept in."""
    if options.weight_dtype is not None:
        both = f"--dtype {options.dtype}, --weight-dtype {options.weight_dtype}"
        raise InputError(f"{both}: both are formats of weights; nothing computes in {options.dtype}")
    return options._replace(dtype=None, weight_dtype=options.dtype)


def under_engine(options: Options, hardware: HardwareSpec | None, weights: str, own: str, sharing: int = 1) -> Options:
    """The options with an engine's own defaults filled in.

    `own`: the format that weights are in unless asked for. `sharing`: data-parallel ranks that share experts.

    Raises InputError where it does not run on the GPU, or has no kernels for weights in this format.
    """
    engine = load_engine(options.engine)
    if options.engine.endswith((".yaml", ".yml")):
        _refuse_unknown_names(options.engine)
    if hardware is not None and engine.gpu and hardware.vendor in engine.vendors and not engine.runs_on(hardware):
        raise InputError(
            f"--engine {engine.name}: its figures were fitted to runs on {engine.gpu} (its field gpu), "
            f"not on {hardware.title}"
        )
    if hardware is not None and not engine.runs_on(hardware):
        known, there = ", ".join(engine.vendors), ", ".join(engines_for(hardware))
        problem = f"{engine.title} runs on GPUs of {known}, not on {hardware.title}"
        if hardware.architecture in engine.not_on:
            problem = f"{engine.title} {engine.version} does not run on {hardware.architecture}, as {hardware.title} is"
        if hardware.is_cpu():
            problem = f"what is known of it here is of GPUs, and {hardware.title} is a CPU"
        raise InputError(f"--engine {engine.name}: {problem}, for which there are {there}")
    if not engine.takes(weights):
        known = ", ".join(engine.formats)
        raise InputError(f"--engine {engine.name}: {engine.title} has no kernels for {weights} weights; it has {known}")
    chunk = None if options.batch_prompts else engine.default("chunk", hardware)
    if chunk is not None and engine.shared_chunk:
        chunk = max(1, chunk // sharing)
    options = with_shares(options, engine)
    graphs = engine.launch == "graph" and options.offload is None  # no graph holds kernels of the GPU and the host
    return options._replace(
        chunk=options.chunk or chunk,
        max_num_seqs=options.max_num_seqs or engine.default("max_num_seqs", hardware),
        cuda_graphs=graphs if options.cuda_graphs is None else options.cuda_graphs,
        kv_dtype=options.kv_dtype or engine.cache_of(weights),
        reserve_output=options.reserve_output or engine.reserve_output,
        head_dtype=options.head_dtype or (weights if engine.quantised_head and weights != own else None),
    )


def _refuse_unknown_names(path: str) -> None:
    """Raise InputError for a name in an engine's file that is not known, which would change nothing."""
    from llmcost.machine.engine_names import unknown_names  # of files of the user's own alone

    for field, problem in unknown_names(load_engine(path)):
        raise InputError(f"--engine {path}: {'.'.join(field)}: {problem}")


def refuse_of_a_gpu(options: Options, hardware: HardwareSpec | None) -> None:
    """Raise InputError for an option that changes no figure without a GPU, where there is none."""
    for name in OF_A_GPU if hardware is None else ():
        value, option = getattr(options, name), declared(Options)[name]
        if value != option.value:
            raise InputError(f"{option.typed(value)}: it says what a GPU does; give the GPU too, with --hw")


def refuse_idle_link(options: Options) -> None:
    """Raise InputError for what joins GPUs where there is one, and nothing is copied to it from the host."""
    if options.link is None or options.offload is not None or options.prefill_gpus is not None:
        return
    if all(getattr(options, name) in (None, 1) for name in ("gpus", *DEGREES)):
        raise InputError(f"--link {options.link}: it changes nothing on one GPU; give --gpus or --offload too")


def _check_sizes(model: ModelSpec, options: Options) -> tuple[Number, Number]:
    """Context and prompt. Raises InputError where a size makes no sense, or the model or context is too short."""
    out = options.output or 0
    _refuse_generation(model, options)
    if options.output is not None and out < 1:
        raise InputError(f"--output {out}: at least 1")
    context, prompt = lengths(model, options)
    if model.encoder is None:
        check_positions("--context", model, context)
    else:
        check_positions("--prompt", model.encoder, prompt)
        check_positions("--context less --prompt", model, maximum(1, context - prompt))
    if options.prompt is None and not prompt >= 1:
        raise InputError(
            f"--output {out}: no room for a prompt in the context of {context:,}; give --prompt, or a longer --context"
        )
    if not 1 <= prompt <= context - out:
        room = f"the context of {context:,}" + (f" less the output of {out:,}" if out else "")
        raise InputError(f"--prompt {prompt}: at least 1 and at most {room}")
    check_options(options)
    check_inputs(model, options, prompt)
    for name in MIXES:
        if getattr(options, name) is not None and options.output is None:
            told = f"--{name} {getattr(options, name):g}"
            raise InputError(f"{told}: a mix of requests needs the tokens that each gives, --output")
    return context, prompt


def check_mix(model: ModelSpec, options: Options) -> None:
    """Raise InputError for an option of a mix of requests where there is none, or that the model cannot have."""
    options.refuse_alone()
    for name in OF_A_MIX:
        option, value = declared(Options)[name], getattr(options, name)
        if value != option.value and not options.is_mix():
            told = option.typed(value)
            raise InputError(f"{told}: of a mix of requests; give --concurrency, --rate or --requests too")
    for name in AT_ONCE if options.of_no_program() and not options.is_mix() else ():
        option, value = declared(Options)[name], getattr(options, name)
        if value != option.value:
            told = option.typed(value)
            raise InputError(
                f"{told}: of a mix of requests, or of an engine; give --concurrency, --rate, --requests or --engine"
            )
    if options.prefill_gpus is not None:
        check_apart(model, options)
    if options.prefix_hit and model.encoder is not None:
        raise InputError(f"--prefix-hit {options.prefix_hit:g}: {model.name}'s encoder sees a whole prompt at once")


def _refuse_generation(model: ModelSpec, options: Options) -> None:
    """Raise InputError for options of what a model that gives no tokens does not do."""
    for name in ("output", *MIXES, "chunk") if not model.generates else ():
        if getattr(options, name) is not None:
            raise InputError(
                f"--{name} {getattr(options, name):g}: {model.name} gives no tokens: it runs whole sequences at once "
                "(--batch, --context)"
            )


def check_positions(option: str, model: ModelSpec, tokens: int) -> None:
    """Raise InputError for no tokens, or for more than a model with a table of positions has rows for.

    Rotary angles, ALiBi's slopes and recurrences can be computed for any position: beyond `max_position_embeddings`
    the cost is right, whatever the answers are worth.
    """
    longest = model.max_position_embeddings
    if tokens < 1 or (model.has_position_table and tokens > longest):
        rows = ", the rows of its table" if model.has_position_table else ""
        raise InputError(
            f"{option} {tokens}: {model.name} takes 1 to {longest:,} positions (max_position_embeddings{rows})"
        )


def lengths(model: ModelSpec, options: Options) -> tuple[Number, Number]:
    """Context and prompt in tokens, with their defaults.

    Without a prompt, it is the context less the output. Without a context, it is prompt and output together; where one
    of these is not given either, DEFAULT_CONTEXT, or all positions of a model that has fewer. An encoder reads the
    prompt: without one, as many tokens, or all of its own positions.
    """
    context, prompt, out = options.context, options.prompt, options.output
    if context is None and model.encoder is not None:
        prompt = prompt or min(model.encoder.max_position_embeddings, DEFAULT_CONTEXT)
        context = prompt + (out or 0)
    if context is None:
        context = min(model.max_position_embeddings, DEFAULT_CONTEXT) if prompt is None or out is None else prompt + out
    if prompt is None:
        prompt = context if out is None else context - out
        if model.encoder is not None and model.encoder.has_position_table:
            prompt = minimum(prompt, model.encoder.max_position_embeddings)
    return context, prompt


def usual_chunk(hardware: HardwareSpec | None) -> int:
    """Tokens of prompts that engines run at a time unless told otherwise.

    As vLLM's server has it (vllm/engine/arg_utils.py, get_batch_defaults): so many on GPUs with the memory of an H100,
    fewer on others, on A100s and on what is made of them. Without a GPU, as on an H100.
    """
    if hardware is None:
        return CHUNK
    large = usable_bytes(hardware) >= LARGE_MEMORY and family_of(hardware) != "A100"
    return CHUNK if large else SMALL_CHUNK


def computed_in(weights: str | None, hardware: HardwareSpec | None, engine: str | None = None) -> str:
    """What engines compute linear layers in, by the format of their weights, unless told otherwise.

    That is the weights' own type where it is one of COMPUTED and the GPU has a peak for it; other weights are unpacked
    to the type of the activations first: an engine's own, where it has one and is not on a CPU that lacks it.
    """
    own = next((dtype for kind, dtype in COMPUTED.items() if weights and weights.startswith(kind)), None)
    spec = None if weights in ("bf16", "fp32") else named_engine(engine)
    of_engine = None if spec is None else spec.activations
    if of_engine and hardware is not None and hardware.is_cpu() and hardware.peak_of(of_engine) is None:
        of_engine = None
    if own is None or hardware is None or own not in hardware.peak:
        return of_engine or default_dtype(hardware)
    return default_dtype(hardware) if own == "fp4" and hardware.vendor not in SCALES_NVFP4 else own


def default_dtype(hardware: HardwareSpec | None) -> str:
    """What engines keep activations in unless told otherwise: bf16, or fp16 where the GPU has a peak for that alone."""
    only_fp16 = hardware is not None and hardware.peak_of("fp16") is not None and hardware.peak_of("bf16") is None
    return "fp16" if only_fp16 else "bf16"
