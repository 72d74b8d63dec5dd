"""From what a user asks of `llmcost plan` to a question that can be searched: checked, with defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from llmcost.ground.errors import InputError, check_count, check_share
from llmcost.ground.options import check_options, declared
from llmcost.machine.power import drawn_by
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.stages import check_stages, in_words
from llmcost.search.plan_training import TrainingQuestion
from llmcost.search.serving_layouts import ServingQuestion, links_within
from llmcost.search.space import Choices
from llmcost.serving.estimate import check_all2all, estimate, workload_of
from llmcost.serving.options import DEGREES, MOST_GPUS
from llmcost.serving.options import Options as ServingOptions
from llmcost.specs.catalog import named_engine
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.optimised import OPTIMISED
from llmcost.training.engine import engine_of, held_by_engine
from llmcost.training.options import Options
from llmcost.training.setup import (
    divided_of,
    efficiency_of,
    recipe_of,
    refuse_experts,
    refuse_sending,
    sequence_of,
    usual_batch,
)
from llmcost.training.step import training_chip

MOST_PROGRAMS = 64
PROMPT, OUTPUT = 1024, 256  # tokens of a request


def ask(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options,
    held: Mapping[str, tuple[Any, ...]] = {},
    memory_utilization: float | None = None,
    programs: Mapping[str, tuple[Any, ...]] = {},
) -> TrainingQuestion:
    """A training run whose layout is to be found, with the defaults filled in.

    `held`: axes with the values that they may take. `memory_utilization`: the share of a GPU's memory that may be used;
    None: all. `programs`: kernels and overlaps that are compared, each with each. Raises InputError for what has no
    answer whatever the layout.
    """
    check_options(options)
    refuse_experts(model, options)
    if held.get("ep") == (1,):
        refuse_sending(options, 1)
    _check_held(held, Options)
    _check_held(programs, Options)
    ways = [dict(zip(programs, each, strict=True)) for each in product(*programs.values())]
    if len(ways) > MOST_PROGRAMS:
        raise InputError(f"--kernels times --overlap: {len(ways)} ways to run; at most {MOST_PROGRAMS}")
    if ways != [{}]:
        first, *others = (ask(model, hardware, options._replace(**way), held, memory_utilization) for way in ways)
        several = tuple(name for name, values in programs.items() if len(values) > 1)
        asked = [one._replace(programs=several, program=way) for one, way in zip((first, *others), ways, strict=True)]
        return asked[0]._replace(others=tuple(asked[1:]))
    recipe, seq, gpus = recipe_of(model, hardware, options), sequence_of(model, options.seq), options.gpus
    check_count("--gpus", gpus, MOST_GPUS)
    engine = engine_of(hardware, options)
    chosen = {name: getattr(options, name) for name in ("schedule", "context_parallel") if getattr(options, name)}
    node = options.gpus_per_node or hardware.gpus_in_a_node()
    batch = options.global_batch or usual_batch(model, seq, gpus)
    share = 1 if memory_utilization is None else memory_utilization
    check_share("--memory-utilization", share)
    chip = training_chip(hardware, recipe, Layout(dp=gpus, gpus_per_node=node))
    chip = chip._replace(links=links_within(chip.links, gpus, node))
    if options.engine is not None:
        held = held_by_engine(engine, held, options)
    held = {**held, **_stages_held(model, options.stages, held)}
    return TrainingQuestion(
        model,
        hardware,
        gpus,
        seq,
        base=Layout(**engine.layout() | chosen, global_batch=batch, gpus_per_node=node, stages=options.stages),
        usable=chip.usable * share,
        chip=chip,
        efficiency=efficiency_of(hardware, options, recipe, gpus, engine),
        divided=divided_of(model, hardware, options, gpus),
        recipe=recipe,
        choices=Choices(**held),
        price=options.price,
    )


def ask_serving(
    model: ModelSpec,
    hardware: HardwareSpec,
    gpus: int,
    options: ServingOptions,
    held: Mapping[str, tuple[Any, ...]] = {},
    speculate: tuple[int, ...] = (),
    ttft_ms: float | None = None,
    tpot_ms: float | None = None,
    price: float | None = None,
    pue: float = 1,
    *,
    apart: bool = False,
) -> ServingQuestion:
    """Requests that are to be served by a layout that is to be found.

    `held`: axes with the values that they may take. `speculate`: numbers of tokens that may be guessed in a step, of
    which the best is found. `ttft_ms`, `tpot_ms`: the longest milliseconds to the first token,
    and of each other one. `price`: dollars a GPU-hour; `pue`: the data centre's energy over its GPUs'. `apart`: prompts
    may run on GPUs of their own. Raises InputError as `estimate` does.
    """
    if not model.generates:
        raise InputError(f"--serve: {model.name} gives no tokens; estimate has the sequences a second of a batch")
    check_count("--gpus", gpus, MOST_GPUS)
    if apart and gpus < 2:
        raise InputError(f"--apart: splits the GPUs, and --gpus {gpus} is one; nearest: --gpus 2")
    if options.offload is not None and gpus > 1:
        raise InputError(f"--offload {options.offload}: it is counted beside one GPU alone, not {gpus}")
    _check_held(held, ServingOptions)
    for option, limit in (("--ttft", ttft_ms), ("--tpot", tpot_ms)):
        if limit is not None and not limit > 0:
            raise InputError(f"{option} {limit:g}: milliseconds above 0")
    options = options._replace(prompt=options.prompt or PROMPT, output=options.output or OUTPUT)
    options._replace(speculate=max(speculate, default=options.speculate)).refuse_alone()
    workload = _served(model, hardware, options, held)
    degrees = {axis: held[axis] for axis in DEGREES if axis in held}
    limits = (ttft_ms and ttft_ms / 1000, tpot_ms and tpot_ms / 1000)
    flops = None
    if price is not None and drawn_by(hardware) is not None:
        one = workload.without_mix()._replace(batch=1, output=None)
        flops = estimate(model, None, one).flops.per_token.total
    engine = named_engine(workload.engine)
    return ServingQuestion(
        *(model, hardware, gpus, workload, *limits, degrees, speculate, apart),
        price=price,
        pue=pue,
        flops_a_token=flops,
        shared_chunk=options.chunk is None and engine is not None and engine.shared_chunk,
    )


def _served(
    model: ModelSpec, hardware: HardwareSpec, options: ServingOptions, held: Mapping[str, tuple[Any, ...]]
) -> ServingOptions:
    """The workload of requests that are to be served in some layout, with the engine named that serves them.

    Raises InputError as `workload_of` does, and for a library of exchanges that the engine lacks.
    """
    library = options.all2all
    alone = options._replace(all2all=None)
    workload = workload_of(model, hardware, alone, mix=True)
    try:
        return _sending(model, hardware, workload._replace(all2all=library), held, named=options.engine is not None)
    except InputError:
        if options.engine is not None or workload.engine == OPTIMISED:
            raise
    workload = workload_of(model, hardware, alone._replace(engine=OPTIMISED))  # nobody named the other
    return _sending(model, hardware, workload._replace(all2all=library), held, named=False)


def _sending(
    model: ModelSpec,
    hardware: HardwareSpec,
    w: ServingOptions,
    held: Mapping[str, tuple[Any, ...]],
    *,
    named: bool,
) -> ServingOptions:
    """The workload. Raises InputError where its engine lacks its library of exchanges.

    Also, unless the engine was `named`, where it lacks a degree that is held.
    """
    engine = named_engine(w.engine)
    if w.all2all is not None:  # whether tokens go to other GPUs' experts is for each layout to say
        check_all2all(model, hardware, w._replace(ep=max(held.get("ep", (2,)))), engine)
    least = Layout(**{axis: min(held[axis]) for axis in ("tp", "pp", "ep") if axis in held})
    if engine is not None and not named and (degree := engine.lacking(least)):
        raise InputError(f"--{degree} {getattr(least, degree)}: {engine.without(degree)}")
    return w


def _stages_held(
    model: ModelSpec, stages: tuple[int, ...] | None, held: Mapping[str, tuple[Any, ...]]
) -> dict[str, tuple[Any, ...]]:
    """The axes that chosen stages hold: as many stages, and one chunk of each unless others are asked for.

    Raises InputError where they do not suit the model, or these axes.
    """
    if stages is None:
        return {}
    if "dualpipe" in held.get("schedule", ()):
        raise InputError("--schedule dualpipe: has two equal stages on a GPU; leave out --stages")
    chunks = held.get("vp", (1,))
    for vp in chunks:
        check_stages(stages, model.num_hidden_layers, vp, model.name)
    pp = held.get("pp", (len(stages),))
    if len(stages) not in pp:
        typed = ",".join(map(str, pp))
        raise InputError(f"--pp {typed}: --stages {in_words(stages)} are {len(stages)}; leave one of them out")
    return {"pp": (len(stages),), "vp": chunks}


def _check_held(held: Mapping[str, tuple[Any, ...]], options: type) -> None:
    """Raise InputError for a value of an axis that makes no sense whatever the model."""
    known = declared(options)
    for name, values in held.items():
        for value in values:
            known[name].check(known[name].flag, value)
