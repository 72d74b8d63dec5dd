"""The engine that trains: which one it is, and what it makes of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmcost.ground.errors import InputError
from llmcost.parallel.layout import RECOMPUTE, ZERO
from llmcost.specs.catalog import load_training_engine
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.recipe import Overlap, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcost.specs.training_engine import TrainingEngine

USUAL = {"NVIDIA": "megatron-core", "AMD": "megatron-core", "Google": "maxtext"}  # vendor -> engine
DIVIDED = "torchtitan"  # what trains with all states divided (FSDP)
OTHERWISE = "hf-trainer"  # of other vendors, of GPUs that only PCIe joins, and of adapters


def usual_engine(hardware: HardwareSpec, options: Any, zero: int | None) -> str:
    """What is run on such a GPU today where nobody says otherwise."""
    usual = USUAL.get(hardware.vendor, OTHERWISE)
    if usual != USUAL["NVIDIA"]:
        return usual
    if hardware.interconnect_kind.startswith("PCIe") or options.lora_rank is not None:
        return OTHERWISE
    computes = load_training_engine(DIVIDED).choices.get("dtypes", ())
    return DIVIDED if zero == 3 and (options.dtype is None or options.dtype in computes) else usual


def engine_of(hardware: HardwareSpec, options: Any, zero: int | None = None) -> TrainingEngine:
    """The engine that the options name, or the usual one at a stage of ZeRO (None: theirs).

    Raises InputError where it does not run on the GPU.
    """
    if hardware.is_cpu():
        raise InputError(f"--hw {hardware.name}: training is counted on GPUs, and {hardware.title} is a CPU")
    if options.engine is None:
        return load_training_engine(usual_engine(hardware, options, options.zero if zero is None else zero))
    engine = load_training_engine(options.engine)
    if not engine.runs_on(hardware):
        known = ", ".join(engine.vendors)
        raise InputError(f"--engine {engine.name}: runs on GPUs of {known}, not on {hardware.title}")
    return engine


DEGREES = {"tp": "tensor", "pp": "pipeline", "cp": "context", "ep": "expert"}


def refuse_lacking(engine: TrainingEngine, options: Any) -> None:
    """Raise InputError, by name, for what is asked of an engine that does not have it."""
    title, has = f"{engine.title} {engine.version}", engine.choices
    known = has.get("degrees")
    asked = {**{name: getattr(options, name) for name in DEGREES}, "vp": options.vp}
    if options.stages is not None:
        asked["pp"] = len(options.stages)
    for name, value in asked.items():
        if known is not None and name not in known and value is not None and value > 1:
            kind = "interleaved stages" if name == "vp" else f"{DEGREES[name]} parallelism"
            others = ", ".join(f"--{each}" for each in known if each != "dp") or "--dp alone"
            raise InputError(f"--{name} {value}: {title} has no {kind}; it has {others}; nearest: 1")
    schedules = has.get("schedules")
    if options.schedule is not None and schedules is not None and options.schedule not in schedules:
        raise InputError(f"--schedule {options.schedule}: {title} has none; it has {', '.join(schedules)}")
    stages = zeros_of(engine)
    if options.zero is not None and options.zero not in stages:
        nearest = min(stages, key=lambda each: abs(each - options.zero))
        known = ", ".join(map(str, stages))
        raise InputError(f"--zero {options.zero}: {title} has no such stage; it has {known}; nearest: {nearest}")
    _refuse_memory_habits(engine, options)
    libraries = has.get("experts")
    if options.all2all is not None and libraries is not None and options.all2all not in libraries:
        raise InputError(f"--all2all {options.all2all}: {title} has {', '.join(libraries)}")
    offloads = has.get("offloads")
    wanted = [options.offload] + ["nvme"] * (options.offload_to == "nvme")
    for each in wanted:
        if each is not None and offloads is not None and each not in offloads:
            option = "--offload-to" if each == "nvme" else "--offload"
            raise InputError(f"{option} {each}: {title} does not; it offloads {', '.join(offloads)}")


def _refuse_memory_habits(engine: TrainingEngine, options: Any) -> None:
    """Raise InputError for a kind of recomputation, or for sequence parallelism, that an engine does not have."""
    title, kinds = f"{engine.title} {engine.version}", recomputes_of(engine)
    if options.recompute is not None and options.recompute not in kinds:
        raise InputError(f"--recompute {options.recompute}: {title} has no such kind; it has {', '.join(kinds)}")
    if options.sequence_parallel and engine.choices.get("sequence_parallel") is False:
        raise InputError(f"--sequence-parallel: {title} has none; leave it out")


def refuse_idle(engine: TrainingEngine, options: Any) -> None:
    """Raise InputError for CUDA graphs, which spare the host's time, under an engine whose host's time is not known."""
    if options.cuda_graphs and not {"host_layer_seconds", "host_expert_layer_seconds"} & engine.choices.keys():
        of = f"{engine.title} {engine.version}"
        raise InputError(f"--cuda-graphs: spare the host's time, which is not known of {of}: leave it out")


def given_by(engine: TrainingEngine) -> dict[str, int]:
    """Degrees that an engine lacks, which are 1."""
    known = engine.choices.get("degrees")
    return {} if known is None else {name: 1 for name in (*DEGREES, "vp") if name not in known}


def zeros_of(engine: TrainingEngine) -> tuple[int, ...]:
    """Stages of ZeRO that an engine has: 0 none, 1 optimizer divided, 2 gradients too, 3 weights too."""
    return tuple(int(each) for each in engine.choices.get("zero", ZERO))


def recomputes_of(engine: TrainingEngine) -> tuple[str, ...]:
    """Kinds of recomputation that an engine has, least first."""
    return tuple(engine.choices.get("recomputes", RECOMPUTE))


def axes_of(engine: TrainingEngine) -> dict[str, tuple[Any, ...]]:
    """The fields of a layout that an engine bounds, with the values that it has."""
    lacking: dict[str, tuple[Any, ...]] = {name: (degree,) for name, degree in given_by(engine).items()}
    if engine.choices.get("sequence_parallel") is False:
        lacking["sequence_parallel"] = (False,)
    return {**lacking, "zero": zeros_of(engine), "recompute": recomputes_of(engine)}


def held_by_engine(engine: TrainingEngine, held: Mapping[str, Any], asked: Any) -> dict[str, tuple[Any, ...]]:
    """The axes of a search with the values that an engine has. Raises InputError for asked ones that it has not.

    `held`: axes with the values that were asked for; `asked`: the options beside.
    """
    for name, values in held.items():
        for value in values if name in (*DEGREES, "vp", "zero", "schedule", "recompute") else ():
            refuse_lacking(engine, asked._replace(**{name: value}))
    refuse_lacking(engine, asked)
    return {name: values for name, values in axes_of(engine).items() if name != "sequence_parallel"} | dict(held)


def recipe_under(engine: TrainingEngine) -> Recipe:
    """How a program computes under an engine; what it says nothing of as any program does."""
    return Recipe(**engine.recipe(), overlap=Overlap()._replace(**engine.overlap))
