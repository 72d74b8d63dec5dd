"""The main job: a model, a GPU and a workload in, every figure out.

`evaluate` is the calculation. It never looks at what its sizes are, so it gives numbers, sweeps and
formulas alike. `estimate` fills in defaults, refuses what contradicts itself and puts numbers in.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost import textbook
from llmcost.algebra import Number
from llmcost.architecture import body, head, operators
from llmcost.counting import (
    cache_bytes_per_token,
    count_params,
    count_pass,
    kept_bytes,
    stored_bytes,
)
from llmcost.efficiency import DEFAULT, Efficiency
from llmcost.errors import InputError
from llmcost.formats import FORMATS
from llmcost.inference import decode, prefill
from llmcost.memory import serving_memory
from llmcost.operators import Operator
from llmcost.results import Estimate, Flops, Hardware, KvCache, Model, PassFlops, PhaseTraffic, Workload
from llmcost.sizes import ElementBytes, Load, activation_dtype, element_bytes
from llmcost.specs.hardware import Figure, HardwareSpec
from llmcost.specs.model import ModelSpec
from llmcost.timing import Chip, Links, kernel_seconds
from llmcost.training import backward, training

SCHEMA = "llmcost.estimate/1"
DEFAULT_CONTEXT = 8192
COMPUTE_DTYPES = ("bf16", "fp16", "fp8", "int8", "fp4", "tf32", "fp32")
STORAGE_DTYPES = ("bf16", "fp16", "fp8", "int8", "int4", "fp4", "fp32")
WEIGHT_DTYPES = ("bf16", "fp16", "fp32", *FORMATS)
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


def estimate(model: ModelSpec, hardware: HardwareSpec | None = None, options: Options = Options()) -> Estimate:  # noqa: B008
    """Every figure for one model on one GPU; without a GPU, those that need none.

    Raises InputError where the options contradict the model or themselves.
    """
    workload = workload_of(model, hardware, options)
    size = element_bytes(workload.weight_dtype, workload.dtype, workload.kv_dtype)
    chip = chip_of(hardware, workload)
    return evaluate(model, hardware, size, workload, chip, DEFAULT, options.prompt is None)


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
    one_step = Load(w.batch, 1, w.context, decode=True)
    one_prompt = Load(w.batch, w.prompt, w.prompt)
    step = operators(model, size, one_step)
    layers = body(model, size, one_prompt)
    last, every = head(model, size, w.batch, 1), head(model, size, w.batch, w.prompt)

    step_cost, layers_cost = count_pass(step), count_pass(layers)
    prompt_cost, forward_cost = layers_cost.plus(count_pass(last)), layers_cost.plus(count_pass(every))
    step_time, prompt_time, forward_time = expected_times(step, layers, last, every, chip, efficiency)

    params = count_params(step)
    cache = KvCache(kept_bytes(step), cache_bytes_per_token(step))
    memory = serving_memory(model, size, w, step, stored_bytes(step), cache, chip.capacity, prompt_is_context)
    return Estimate(
        schema=SCHEMA,
        model=Model(model.name, model.title, params),
        hardware=None if hardware is None else Hardware(hardware.name, hardware.title, chip.peak, chip.bandwidth, chip.capacity),
        workload=w,
        flops=Flops(
            per_token=step_cost.token_flops(w.batch),
            prefill=PassFlops(prompt_cost.flops(causal=False), prompt_cost.flops(causal=True)),
            forward=PassFlops(forward_cost.flops(causal=False), forward_cost.flops(causal=True)),
        ),
        kv_cache=cache,
        memory=memory,
        traffic=PhaseTraffic(step_cost.traffic()),
        prefill=prefill(prompt_cost, forward_cost.flops(causal=False), one_prompt, chip, efficiency, prompt_time, w.mfu),
        decode=decode(step_cost, one_step, chip, efficiency, step_time, memory.fits),
        training=training(forward_cost, one_prompt, params.total, w.tokens, chip, efficiency, forward_time, w.mfu),
    )


def expected_times(
    step: list[Operator], layers: list[Operator], last: list[Operator], every: list[Operator], chip: Chip, efficiency: Efficiency
) -> tuple[Number, Number, Number]:
    """Expected seconds of a decode step, a prefill, and a training pass forward and backward; kernels one after the other."""
    in_step = kernel_seconds(step, chip, efficiency)
    in_layers = kernel_seconds(layers, chip, efficiency)
    at_last, at_every = kernel_seconds(last, chip, efficiency), kernel_seconds(every, chip, efficiency)
    if in_step is None or in_layers is None or at_last is None or at_every is None:
        return None, None, None
    both_ways = sum([(1 + backward(op)) * time for op, time in zip(layers + every, in_layers + at_every, strict=True)])
    return sum(in_step), sum(in_layers) + sum(at_last), both_ways


def workload_of(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Workload:
    """The options with the defaults filled in. Raises InputError where they make no sense."""
    longest = model.max_position_embeddings
    context = min(longest, DEFAULT_CONTEXT) if options.context is None else options.context
    prompt = context if options.prompt is None else options.prompt
    if not 1 <= options.batch <= LARGEST:
        raise InputError(f"--batch {options.batch}: at least 1 and at most {LARGEST:,}")
    if not 1 <= context <= longest:
        raise InputError(f"--context {context}: {model.name} takes 1 to {longest:,} positions (max_position_embeddings)")
    if not 1 <= prompt <= context:
        raise InputError(f"--prompt {prompt}: at least 1 and at most the context of {context:,}")
    for name, share in (("--mfu", options.mfu), ("--memory-utilization", options.memory_utilization)):
        if not 0 < share <= 1:
            raise InputError(f"{name} {share:g}: a share of 1, above 0")
    if options.tokens < 1:
        raise InputError(f"--tokens {options.tokens}: at least 1")
    dtype = _known(options.dtype, _default_dtype(hardware), COMPUTE_DTYPES, "--dtype")
    return Workload(
        batch=options.batch,
        context=context,
        prompt=prompt,
        output=None,
        dtype=dtype,
        weight_dtype=_known(options.weight_dtype, model.weight_format or dtype, WEIGHT_DTYPES, "--weight-dtype"),
        kv_dtype=_known(options.kv_dtype, activation_dtype(dtype), STORAGE_DTYPES, "--kv-dtype"),
        mfu=options.mfu,
        memory_utilization=options.memory_utilization,
        tokens=options.tokens,
    )


def chip_of(hardware: HardwareSpec | None, w: Workload) -> Chip:
    """The GPU's figures for a workload's data types; what is not known stays None.

    Attention computes in the cache's type where the GPU does, else in that of the activations.
    """
    if hardware is None:
        return Chip(None, None, None, None, None)
    plain = activation_dtype(w.dtype)
    cached = w.kv_dtype if w.kv_dtype in hardware.peak else plain
    peak, plain_peak, attention_peak = (_value(hardware.peak.get(dtype)) for dtype in (w.dtype, plain, cached))
    return Chip(peak, plain_peak, attention_peak, _value(hardware.bandwidth), hardware.memory.value, links_of(hardware))


def links_of(hardware: HardwareSpec) -> Links:
    """How fast GPUs of this kind reach each other."""
    both_ways = _value(hardware.interconnect)
    return Links(both_ways and both_ways / 2, _value(hardware.fabric))


def _value(figure: Figure | None) -> Number:
    return None if figure is None else figure.value


def _default_dtype(hardware: HardwareSpec | None) -> str:
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
