"""The main job: a model, a GPU and a workload in, every figure out.

`evaluate` is the calculation. It never looks at what its sizes are, so it gives numbers, arrays and formulas alike.
`estimate` fills in defaults, refuses what contradicts itself and puts numbers in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from llmcost.ground.algebra import Number, is_one, least, maximum
from llmcost.ground.errors import InputError
from llmcost.ground.options import check_options
from llmcost.machine.chip import Chip, chip_of
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.reached import efficiency_for
from llmcost.machine.training_shares import trained_by
from llmcost.model.architecture import head, operators
from llmcost.model.counting import PassCost, cache_bytes_per_token, count_params, count_pass, kept_bytes
from llmcost.model.sizes import ElementBytes, Load, activation_dtype, element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.pipeline import Server, Stages, filled, rank_share
from llmcost.parallel.rules import layout_of
from llmcost.serving.batching import serving
from llmcost.serving.memory import serving_memory
from llmcost.serving.options import DEGREES, LAYOUT, MIXES, SIZES, Options, Workload
from llmcost.serving.phases import decode, decode_step, prefill, prefill_seconds, request
from llmcost.serving.repeated import Repeated
from llmcost.serving.results import Estimate, Flops, Hardware, KvCache, Memory, Model, PassFlops, PhaseTraffic
from llmcost.serving.training_rates import training
from llmcost.specs.hardware import HardwareSpec, joined_by

SCHEMA = "llmcost.estimate/1"
DEFAULT_CONTEXT = 8192  # tokens

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
            answer: Estimate = calculate(*sizes)
            return answer
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


def machine_of(hardware: HardwareSpec | None, w: Workload) -> tuple[ElementBytes, Chip, Efficiency]:
    """What times rest on besides the model and the sizes: bytes of elements, the chip's figures, shares reached.

    Raises SpecError or InputError for a profile that cannot be used.
    """
    if hardware is not None:
        hardware = joined_by(hardware, w.link)
    return (
        element_bytes(w.weight_dtype, w.dtype, w.kv_dtype, w.head_dtype),
        chip_of(hardware, w.dtype, w.kv_dtype, w.attention_dtype),
        efficiency_for(hardware, w.profile, w.dtype, w.weight_dtype, w.launch),
    )


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
    server = server_of(model, size, chip, efficiency, w)
    alone = is_one(w.gpus)

    one_pass = Load(w.batch, w.prompt, w.prompt)  # all prompts at once
    prompts = server.whole(one_pass)
    layers_cost = count_pass([*prompts.first, *prompts.layers])
    prompt_cost = layers_cost.plus(count_pass(prompts.last))
    forward_cost = layers_cost.plus(count_pass(head(model, size, w.batch, w.prompt)))
    if alone:
        prompt_share, prompt_time = prompt_cost, server.times(prompts, one_pass)
    else:
        prompt_share, prompt_time = _prompts_on_a_gpu(server, w)

    step = decode_step(server, w, w.context)
    whole_step = step.share.operators() if alone else operators(model, size, Load(w.batch, 1, w.context, decode=True))
    step_cost = step.cost if alone else count_pass(whole_step)

    params = count_params(whole_step)
    cache = KvCache(kept_bytes(whole_step), cache_bytes_per_token(whole_step))
    memory = serving_memory(server, w, step, cache, prompt_is_context)
    prompt_seconds = prefill_seconds(server, w, prompt_time)
    prefilled = prefill(server, w, prompt_share, forward_cost.flops(causal=False), prompt_seconds)
    trained = training_reached(hardware, w) if trained is None else trained
    card = hardware and Hardware(hardware.name, hardware.title, chip.peak, chip.bandwidth, chip.capacity, chip.on_chip)
    return Estimate(
        schema=SCHEMA,
        model=Model(model.name, model.title, params),
        hardware=card,
        workload=w,
        flops=Flops(
            per_token=step_cost.token_flops(w.batch),
            prefill=PassFlops(prompt_cost.flops(causal=False), prompt_cost.flops(causal=True)),
            forward=PassFlops(forward_cost.flops(causal=False), forward_cost.flops(causal=True)),
        ),
        kv_cache=cache,
        memory=memory,
        traffic=PhaseTraffic(step.cost.traffic()),
        prefill=prefilled,
        decode=decode(server, w, step, memory.fits),
        request=None if w.output is None else request(server, w, prefilled),
        serving=serving(server, w, _memory_of_a_mix(server, w, cache, memory)) if w.is_mix() else None,
        training=training(server, one_pass, forward_cost, params.total, w.tokens, trained, w.mfu),
    )


def _prompts_on_a_gpu(server: Server, w: Workload) -> tuple[PassCost, Stages | None]:
    """All prompts of a rank in one pass: what each GPU needs at least, and the expected time."""
    load = Load(rank_share(w.batch, w.dp), w.prompt, w.prompt)
    share = server.share(load)
    return server.cost(share, load).over(server.pp), server.times(share, load)


def _memory_of_a_mix(server: Server, w: Workload, cache: KvCache, memory: Memory) -> Memory:
    """What the fullest GPU holds of a mix: where a rank's experts see others' tokens, with a prompt on every rank."""
    if is_one(w.dp):
        return memory
    w = w._replace(batch=maximum(w.batch, least([*w.at_most(), w.dp])))
    server = server_of(*server[:4], w)
    return serving_memory(server, w, decode_step(server, w, w.context), cache, prompt_is_context=False)


def training_reached(hardware: HardwareSpec | None, w: Workload) -> Efficiency:
    """What kernels reach where the model is trained on one GPU, as `llmcost train` takes it."""
    return trained_by(hardware, w.profile, w.dtype, 1)


def workload_of(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Workload:
    """The options with the defaults filled in. Raises InputError where they make no sense."""
    context, prompt = _check_sizes(model, options)
    if options.batch_prompts and options.chunk is not None:
        raise InputError("--batch-prompts: either all prompts at once, or chunks of them (--chunk)")
    if options.profile is not None and hardware is None:
        raise InputError(f"--profile {options.profile}: it says what a GPU reaches; give the GPU too, with --hw")
    layout = layout_of(model, hardware, *(getattr(options, name) for name in LAYOUT))
    dtype = options.dtype or default_dtype(hardware)
    for flag, asked in (("--dtype", options.dtype), ("--attention-dtype", options.attention_dtype)):
        if asked and hardware and hardware.peak and hardware.peak_of(asked) is None:
            known = ", ".join([*hardware.peak, *hardware.vector_peak])
            raise InputError(f"{flag} {asked}: no source gives {hardware.title} a peak for it; it has {known}")
    return options._replace(
        context=context,
        prompt=prompt,
        dtype=dtype,
        weight_dtype=options.weight_dtype or model.weight_format or dtype,
        kv_dtype=options.kv_dtype or activation_dtype(dtype),
        attention_dtype=options.attention_dtype or activation_dtype(dtype),
        gpus=layout.gpus(),
        gpus_per_node=layout.gpus_per_node,
        **{name: getattr(layout, name) for name in DEGREES},
    )


def _check_sizes(model: ModelSpec, options: Options) -> tuple[Number, Number]:
    """Context and prompt. Raises InputError where a size makes no sense, or the model or context is too short."""
    longest, out = model.max_position_embeddings, options.output or 0
    if options.output is not None and not 1 <= out < longest:
        raise InputError(f"--output {out}: at least 1, and less than the {longest:,} positions that {model.name} takes")
    context, prompt = lengths(model, options)
    if not 1 <= context <= longest:
        raise InputError(
            f"--context {context}: {model.name} takes 1 to {longest:,} positions (max_position_embeddings)"
        )
    if not 1 <= prompt <= context - out:
        room = f"the context of {context:,}" + (f" less the output of {out:,}" if out else "")
        raise InputError(f"--prompt {prompt}: at least 1 and at most {room}")
    check_options(options)
    for name in MIXES:
        if getattr(options, name) is not None and options.output is None:
            told = f"--{name} {getattr(options, name):g}"
            raise InputError(f"{told}: a mix of requests needs the tokens that each gives, --output")
    return context, prompt


def lengths(model: ModelSpec, options: Options) -> tuple[Number, Number]:
    """Context and prompt in tokens, with their defaults.

    Without a prompt, it is the context less the output. Without a context, it is prompt and output together; where one
    of these is not given either, DEFAULT_CONTEXT, or all positions of a model that has fewer.
    """
    context, prompt, out = options.context, options.prompt, options.output
    if context is None:
        context = min(model.max_position_embeddings, DEFAULT_CONTEXT) if prompt is None or out is None else prompt + out
    if prompt is None:
        prompt = context if out is None else context - out
    return context, prompt


def server_of(model: ModelSpec, size: ElementBytes, chip: Chip, efficiency: Efficiency, w: Workload) -> Server:
    """What runs the passes of a workload, in its layout, with its batch spread over the data-parallel ranks."""
    layout = Layout(w.tp, w.pp, w.dp, w.ep, gpus_per_node=w.gpus_per_node, sequence_parallel=False)
    share = filled(w.batch, rank_share(w.batch, w.dp), layout)
    return Server(model, size, chip, efficiency, layout, share, every=w.logits == "all")


def default_dtype(hardware: HardwareSpec | None) -> str:
    """What engines compute in unless told otherwise: bf16, or fp16 where the GPU has a peak for that alone."""
    only_fp16 = hardware is not None and "fp16" in hardware.peak and "bf16" not in hardware.peak
    return "fp16" if only_fp16 else "bf16"
