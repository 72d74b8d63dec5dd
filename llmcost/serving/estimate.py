"""The main job: a model, a GPU and a workload in, every figure out.

`evaluate` is the calculation. It never looks at what its sizes are, so it gives numbers, sweeps and
formulas alike. `estimate` fills in defaults, refuses what contradicts itself and puts numbers in.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, is_one, least, maximum
from llmcost.ground.errors import InputError, check_count, check_share
from llmcost.machine import textbook
from llmcost.machine.chip import Chip, chip_of
from llmcost.machine.defaults import Launch
from llmcost.machine.efficiency import DEFAULT_LAUNCH, Efficiency
from llmcost.machine.reached import efficiency_for
from llmcost.machine.timing import kernel_seconds
from llmcost.model.architecture import Pass, head, operators
from llmcost.model.backward import backward
from llmcost.model.counting import PassCost, cache_bytes_per_token, count_params, count_pass, kept_bytes
from llmcost.model.formats import FORMATS
from llmcost.model.operators import Operator
from llmcost.model.sizes import ElementBytes, Load, activation_dtype, element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import layout_of
from llmcost.parallel.pipeline import Server, Stages, filled, rank_share
from llmcost.parallel.split import Plan
from llmcost.serving.batching import serving
from llmcost.serving.memory import serving_memory
from llmcost.serving.phases import decode, decode_step, prefill, prefill_seconds, request
from llmcost.serving.results import Estimate, Flops, Hardware, KvCache, Memory, Model, PassFlops, PhaseTraffic, Workload
from llmcost.serving.training_rates import training
from llmcost.specs.hardware import PCIE, HardwareSpec, joined_by

SCHEMA = "llmcost.estimate/1"
DEFAULT_CONTEXT = 8192
COMPUTE_DTYPES = ("bf16", "fp16", "fp8", "int8", "fp4", "tf32", "fp32")
STORAGE_DTYPES = ("bf16", "fp16", "fp8", "int8", "int4", "fp4", "fp32")
WEIGHT_DTYPES = ("bf16", "fp16", "fp32", *FORMATS)
LAUNCHES = ("graph", "stream")
LOGITS = ("last", "all")
MIXES = ("concurrency", "rate", "requests")  # options that ask for a mix of requests
LARGEST = 10**9  # sequences in a batch


class Options(NamedTuple):
    """What the user may choose; None stands for the default named beside it."""

    batch: int = 1
    context: int | None = None  # the model's maximum or 8192, whichever is less
    prompt: int | None = None  # the context
    dtype: str | None = None  # bf16, or fp16 where the GPU has a peak for that alone
    weight_dtype: str | None = None  # the format of the model's weights, or dtype
    kv_dtype: str | None = None  # dtype
    mfu: float = textbook.END_TO_END_MFU
    memory_utilization: float = 0.9  # vLLM's default
    tokens: int = 15 * 10**12  # the slides' training run
    output: int | None = None  # no request is followed to its end
    chunk: int | None = None  # prompts in one piece
    gpus: int | None = None  # the product of the degrees
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    gpus_per_node: int | None = None  # what the GPU's spec says, or 8
    concurrency: int | None = None  # no mix of requests
    profile: str | None = None  # the one shipped for the GPU, if there is one
    rate: float | None = None  # requests a second that arrive: no open mix of requests
    requests: int | None = None  # of a batch job, or of a run at a rate: no end
    launch: Launch = DEFAULT_LAUNCH  # how the engine starts kernels: replayed from CUDA graphs, or one by one
    link: str | None = None  # between the GPUs of a node: the fastest that the GPU's spec has
    head_dtype: str | None = None  # the format of the embedding
    logits: str = "last"  # of a prompt's last token, as engines do; or of all, as a plain forward pass does
    free_memory_fraction: float | None = None  # memory_utilization says what is set aside
    batch_prompts: bool = False  # memory holds one prompt's activations at a time, not those of the whole batch's
    communicator: bool = False  # NCCL is set up where there are several GPUs, not on one as well
    reserve_output: bool = False  # requests begin where their mean length has room, not all their output


def estimate(
    model: ModelSpec,
    hardware: HardwareSpec | None = None,
    options: Options = Options(),  # noqa: B008
    efficiency: Efficiency | None = None,
) -> Estimate:
    """Every figure for one model on one GPU; without a GPU, those that need none.

    `efficiency`: shares and launch costs in place of the profile's or the defaults. Raises InputError where the
    options contradict the model or themselves.
    """
    workload = workload_of(model, hardware, options)
    return estimate_workload(model, hardware, workload, prompt_is_context(options), options.profile, efficiency)


def estimate_workload(
    model: ModelSpec,
    hardware: HardwareSpec | None,
    w: Workload,
    prompt_is_context: bool,
    profile: str | None = None,
    efficiency: Efficiency | None = None,
) -> Estimate:
    """Every figure for a workload, whose sizes may be numbers or arrays."""
    size, chip, by_profile = machine_of(hardware, w, profile)
    return evaluate(model, hardware, size, w, chip, efficiency or by_profile, prompt_is_context)


def machine_of(
    hardware: HardwareSpec | None, w: Workload, profile: str | None
) -> tuple[ElementBytes, Chip, Efficiency]:
    """What times rest on besides the model and the sizes: bytes an element, the chip's figures, the shares of them."""
    if hardware is not None:
        hardware = joined_by(hardware, w.link)
    return (
        element_bytes(w.weight_dtype, w.dtype, w.kv_dtype, w.head_dtype),
        chip_of(hardware, w.dtype, w.kv_dtype),
        efficiency_for(hardware, profile, w.dtype, w.weight_dtype, w.launch),
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
) -> Estimate:
    """All figures, from sizes that may be numbers, arrays or symbols."""
    server = Server(model, size, chip, efficiency, plan_of(w), w.pp, every=w.logits == "all")
    alone = is_one(w.gpus)

    one_prompt = Load(w.batch, w.prompt, w.prompt)
    prompts, every = server.whole(one_prompt), head(model, size, w.batch, w.prompt)
    layers_cost = count_pass([*prompts.first, *prompts.layers])
    prompt_cost, forward_cost = layers_cost.plus(count_pass(prompts.last)), layers_cost.plus(count_pass(every))
    kernels = server.kernels(prompts)
    prompt_share, prompt_time = (
        (prompt_cost, server.stages(prompts, kernels, one_prompt)) if alone else _prompts_on_a_gpu(server, w)
    )

    step = decode_step(server, w, w.context)
    whole_step = step.share.operators() if alone else operators(model, size, Load(w.batch, 1, w.context, decode=True))
    step_cost = step.cost if alone else count_pass(whole_step)

    params = count_params(whole_step)
    cache = KvCache(kept_bytes(whole_step), cache_bytes_per_token(whole_step))
    memory = serving_memory(server, w, step, cache, prompt_is_context)
    prefilled = prefill(
        server, w, prompt_share, forward_cost.flops(causal=False), prefill_seconds(server, w, prompt_time)
    )
    return Estimate(
        schema=SCHEMA,
        model=Model(model.name, model.title, params),
        hardware=None
        if hardware is None
        else Hardware(hardware.name, hardware.title, chip.peak, chip.bandwidth, chip.capacity),
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
        training=training(
            forward_cost,
            one_prompt,
            params.total,
            w.tokens,
            chip,
            efficiency,
            both_ways_seconds(server, prompts, every, kernels),
            w.mfu,
        ),
    )


def _prompts_on_a_gpu(server: Server, w: Workload) -> tuple[PassCost, Stages | None]:
    """All prompts of a rank in one pass: what each GPU needs at least, and what the pass takes."""
    load = Load(rank_share(w.batch, w.dp), w.prompt, w.prompt)
    share = server.share(load)
    return server.cost(share, load).over(server.pp), server.times(share, load)


def _memory_of_a_mix(server: Server, w: Workload, cache: KvCache, memory: Memory) -> Memory:
    """Where the experts of a rank see others' tokens: what it holds when each of them runs a prompt, for want of a larger batch."""
    if is_one(w.dp):
        return memory
    w = w._replace(batch=maximum(w.batch, least([*w.at_most(), w.dp])))
    server = server._replace(plan=plan_of(w))
    return serving_memory(server, w, decode_step(server, w, w.context), cache, prompt_is_context=False)


def both_ways_seconds(server: Server, prompts: Pass, every: list[Operator], kernels: list[Number] | None) -> Number:
    """Expected seconds of forward and backward kernels on one GPU, one after the other."""
    at_every = kernel_seconds(every, server.chip, server.efficiency)
    if kernels is None or at_every is None:
        return None
    below = [*prompts.first, *prompts.layers]
    timed = zip([*below, *every], [*kernels[: len(below)], *at_every], strict=True)
    return sum([(1 + backward(op)) * time for op, time in timed])


def workload_of(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Workload:
    """The options with the defaults filled in. Raises InputError where they make no sense."""
    context, prompt = _lengths(model, options)
    check_count("--batch", options.batch, LARGEST)
    check_share("--mfu", options.mfu)
    check_share("--memory-utilization", options.memory_utilization)
    if options.free_memory_fraction is not None:
        check_share("--free-memory-fraction", options.free_memory_fraction)
    for name, amount in (
        ("--tokens", options.tokens),
        ("--chunk", options.chunk),
        ("--concurrency", options.concurrency),
        ("--requests", options.requests),
    ):
        if amount is not None and amount < 1:
            raise InputError(f"{name} {amount}: at least 1")
    if options.batch_prompts and options.chunk is not None:
        raise InputError("--batch-prompts: either all prompts at once, or chunks of them (--chunk)")
    if options.rate is not None and not 0 < options.rate < float("inf"):
        raise InputError(f"--rate {options.rate}: more than 0 requests a second")
    for name in MIXES:
        if getattr(options, name) is not None and options.output is None:
            told = f"--{name} {getattr(options, name):g}"
            raise InputError(f"{told}: a mix of requests needs the tokens that each gives, --output")
    _known(options.launch, DEFAULT_LAUNCH, LAUNCHES, "--launch")
    degrees = (options.gpus, options.tp, options.pp, options.dp, options.ep, options.gpus_per_node)
    layout = layout_of(model, hardware, *degrees)
    dtype = _known(options.dtype, default_dtype(hardware), COMPUTE_DTYPES, "--dtype")
    if options.dtype and hardware and hardware.peak and hardware.peak_of(dtype) is None:
        known = ", ".join([*hardware.peak, *hardware.vector_peak])
        raise InputError(f"--dtype {dtype}: no source gives {hardware.title} a peak for it; it has {known}")
    return Workload(
        batch=options.batch,
        context=context,
        prompt=prompt,
        output=options.output,
        dtype=dtype,
        weight_dtype=_known(options.weight_dtype, model.weight_format or dtype, WEIGHT_DTYPES, "--weight-dtype"),
        kv_dtype=_known(options.kv_dtype, activation_dtype(dtype), STORAGE_DTYPES, "--kv-dtype"),
        mfu=options.mfu,
        memory_utilization=options.memory_utilization,
        tokens=options.tokens,
        tp=layout.tp,
        pp=layout.pp,
        dp=layout.dp,
        ep=layout.ep,
        gpus=layout.gpus(),
        gpus_per_node=layout.gpus_per_node,
        chunk=options.chunk,
        concurrency=options.concurrency,
        rate=options.rate,
        requests=options.requests,
        launch=options.launch,
        link=options.link and _known(options.link, "", tuple(PCIE), "--link"),
        head_dtype=options.head_dtype and _known(options.head_dtype, "", WEIGHT_DTYPES, "--head-dtype"),
        logits=_known(options.logits, "last", LOGITS, "--logits"),
        free_memory_fraction=options.free_memory_fraction,
        batch_prompts=options.batch_prompts,
        communicator=options.communicator,
        reserve_output=options.reserve_output,
    )


def _lengths(model: ModelSpec, options: Options) -> tuple[int, int]:
    """Context and prompt. Raises InputError where the model, or the context, is too short for them."""
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
    return context, prompt


def lengths(model: ModelSpec, options: Options) -> tuple[Number, Number]:
    """Context and prompt: without a prompt it is the context less what comes out; without a context both together are."""
    context, prompt, out = options.context, options.prompt, options.output
    if context is None:
        context = min(model.max_position_embeddings, DEFAULT_CONTEXT) if prompt is None or out is None else prompt + out
    if prompt is None:
        prompt = context if out is None else context - out
    return context, prompt


def plan_of(w: Workload) -> Plan:
    """How the GPUs of a pipeline stage divide its layers."""
    plan = Plan(w.tp, w.dp, w.ep, node=w.gpus_per_node)
    return plan._replace(filled=filled(w.batch, rank_share(w.batch, w.dp), plan))


def default_dtype(hardware: HardwareSpec | None) -> str:
    """What engines compute in unless told otherwise: bf16, or fp16 where the GPU has a peak for that alone."""
    only_fp16 = hardware is not None and "fp16" in hardware.peak and "bf16" not in hardware.peak
    return "fp16" if only_fp16 else "bf16"


def _known(asked: str | None, default: str, known: tuple[str, ...], option: str) -> str:
    if asked is None:
        return default
    if not all(word in known for word in asked.split("+", 1 if option == "--weight-dtype" else 0)):
        raise InputError(f"{option} {asked}: one of {_nearest(asked, known)}")
    return asked


def _nearest(asked: str, known: tuple[str, ...]) -> str:
    """The known words; of many, those that are like what was asked for, or the first and where to find the others."""
    if len(known) <= 10:
        return ", ".join(known)
    from difflib import get_close_matches

    near = get_close_matches(asked.lower().replace("-", "_"), known, n=6, cutoff=0.5)
    return ", ".join(near) if near else f"{', '.join(known[:9])} or another format of docs/conventions.md"
