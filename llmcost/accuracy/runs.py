"""A measured training run as a step: its layout and recipe, from the case and from what its source says."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, get_args

from llmcost.accuracy.ask import gpu_of
from llmcost.accuracy.cases import Case
from llmcost.accuracy.models import spec_of
from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.units import HOUR
from llmcost.machine.training_shares import Shares
from llmcost.parallel.layout import Layout, Recompute
from llmcost.parallel.rules import check, shape_of
from llmcost.parallel.stages import dealt_out
from llmcost.specs.catalog import load_training_engine
from llmcost.specs.hardware import Figure, HardwareSpec
from llmcost.training.engine import recipe_under
from llmcost.training.memory import stage_memory
from llmcost.training.options import Options
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.recipe import Imbalance, Recipe, check_recipe
from llmcost.training.setup import setup_of
from llmcost.training.shares import shares_for, training_efficiency
from llmcost.training.step import Step, evaluate_step, training_chip, training_step
from llmcost.training.train import train

RUN_GPUS = 2048  # of a run: LLaMA's (arXiv 2302.13971, section 2.4)
TASKS = ("pretrain", "sft", "forward-backward")  # those of whole models, all of whose weights are trained
DTYPES = {"mxfp8": "fp8", "nvfp4": "fp4"}  # recipes that differ in their scales alone
PHYSICAL = (
    "gpus",
    "tp",
    "cp",
    "pp",
    "dp",
    "ep",
    "seq",
    "global_batch",
    "micro_batch",
    "compute",
)  # what a prediction needs to be told
ZERO = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3}
# Fields of a source's `program` that are options of the layout; all others are the recipe's.
LAYOUT = ("gpus_per_node", "reshard", "context_parallel", "sequence_parallel", "schedule", "etp")


class Run(NamedTuple):
    """A training run whose layout is known; `fabric`: GB/s a GPU between nodes, where the source tells it."""

    gpu: str
    model: str
    layout: Layout
    recipe: Recipe
    seq: int
    engine: str | None
    fabric: float | None

    def hardware(self) -> HardwareSpec:
        """Its GPU, in the network that it had."""
        found = gpu_of(self.gpu)
        return found if self.fabric is None else found._replace(fabric=Figure(self.fabric * 10**9, "between nodes", ""))

    def step(self, known: Shares | None = None, *, shares_of_its_own: bool = True) -> Step | None:
        """Its step, as `llmcost train` has it; `known`: shares in place of those of the GPU's generation.

        None for a layout that the engine does not know, a data type or a link that the GPU's spec lacks.
        """
        model, hardware = spec_of(self.model), self.hardware()
        if model is None:
            return None
        try:
            check(self.layout, shape_of(model), self.seq)
            check_recipe(self.recipe)
            engine = None if self.engine is None else load_training_engine(self.engine)
            asked = engine is not None
            if engine is not None and not shares_of_its_own:
                engine = engine._replace(shares={})
            gpus = self.layout.gpus()
            reached = training_efficiency(hardware, None, self.recipe, gpus, engine, asked=asked, known=known)
            return training_step(model, hardware, self.layout, self.recipe, self.seq, reached)
        except InputError:
            return None


_step = lru_cache(maxsize=2048)(Run.step)


def step_of(case: Case) -> Step | None:
    """The step of a run; None where too little of it is known."""
    if "layout" in program_of(case):
        return _chosen_step(case.settings["model"], case.settings["gpu"], _asked(case.settings))
    run = run_of(case)
    return None if run is None else _step(run)


def states_of(case: Case) -> Number | None:
    """Bytes of weights, gradients and optimizer on a GPU, the mean over a pipeline's stages; None as `step_of`."""
    run = run_of(case)
    model = None if run is None else spec_of(run.model)
    if run is None or model is None:
        return None
    chip = training_chip(run.hardware(), run.recipe, run.layout)
    at = Setup(model, run.layout, run.recipe, run.seq, chip, shares_for(run.hardware(), run.recipe))
    a_pass = forward_pass(at)
    stages = [stage_memory(at, a_pass, index) for index in range(run.layout.pp)]
    return sum(each.params + each.optimizer + each.peak().grads for each in stages) / run.layout.pp


def run_of(case: Case) -> Run | None:
    """A run in its own layout; None where too little of it is told."""
    of, program = case.settings, program_of(case)
    recompute, layers = _recomputed(of["recompute"] or program.get("recompute"))
    sharding, _, groups = (of["sharding"] or "none").partition("-groups-")
    spec = spec_of(of["model"])
    known = of["task"] in TASKS and all(of[name] for name in PHYSICAL)
    if spec is None or not known or recompute is None or of["offload"] not in (None, "none"):
        return None
    degrees = [of[name] for name in ("tp", "pp", "cp", "dp")]
    if None in degrees or prod(degrees) != of["gpus"]:
        return None
    engine = load_training_engine(program["engine"]) if "engine" in program else None
    said: dict[str, Any] = {"gpus_per_node": gpu_of(of["gpu"]).gpus_in_a_node()}
    said |= {} if engine is None else engine.layout()
    said |= {name: program[name] for name in LAYOUT if name in program}
    if of["sequence_parallel"] is not None:
        said["sequence_parallel"] = of["sequence_parallel"]
    layout = Layout(
        **{name: of[name] for name in ("tp", "cp", "pp", "dp", "ep", "micro_batch", "global_batch")},
        vp=of["vp"] or 1,
        zero=ZERO[sharding],
        shard=int(groups) if groups else None,
        recompute=recompute,
        recompute_layers=layers,
        **{"sequence_parallel": False, **said},
    )
    if "account_for" in program:
        counted = dealt_out(spec.num_hidden_layers, layout.pp, layout.vp, None, None, program["account_for"])
        layout = layout._replace(stages=counted)
    not_of_recipe = (*LAYOUT, "overlap", "imbalance", "account_for", "recompute", "fabric_gb_per_s", "engine")
    choices = {name: value for name, value in program.items() if name not in not_of_recipe}
    if "recomputed" in choices:
        choices["recomputed"] = tuple(choices["recomputed"])
    recipe = Recipe() if engine is None else recipe_under(engine)
    overlap = recipe.overlap._replace(**program.get("overlap", {}))
    imbalance = Imbalance(**program.get("imbalance", {}))
    dtype = DTYPES.get(of["compute"], of["compute"])
    recipe = recipe._replace(dtype=dtype, overlap=overlap, imbalance=imbalance, **choices)
    fabric = program.get("fabric_gb_per_s")
    return Run(of["gpu"], of["model"], layout, recipe, of["seq"], program.get("engine"), fabric)


def _asked(of: dict[str, Any]) -> Options:
    """What a user would ask of a run of which little is told. GPUs that no source counts are taken as RUN_GPUS."""
    return Options(
        gpus=of["gpus"] or RUN_GPUS, tokens=1, seq=of["seq"], dtype=of["compute"], global_batch=of["global_batch"]
    )


@lru_cache(maxsize=256)
def _chosen_step(name: str, gpu: str, options: Options) -> Step | None:
    """The step of a run in the layout that is chosen for who says nothing of it; None where none is legal."""
    model = spec_of(name)
    try:
        return None if model is None else evaluate_step(setup_of(model, gpu_of(gpu), options, None)[0])
    except InputError:
        return None


def hours_of(case: Case) -> tuple[Number, Number] | None:
    """GPU-seconds of a whole run as `llmcost train` answers by default, with failures, and at least.

    None where the model's shape is not known. What no source tells of the GPUs is taken as RUN_GPUS.
    """
    of, model = case.settings, spec_of(case.settings["model"])
    if model is None or "trained_tokens" not in case.measured:
        return None
    tokens = round(case.measured["trained_tokens"])
    try:
        answer = train(model, gpu_of(of["gpu"]), _asked(of)._replace(tokens=tokens))
    except InputError:
        return None
    return answer.with_interruptions.gpu_hours * HOUR, answer.limit.gpu_hours * HOUR


def program_of(case: Case) -> dict[str, Any]:
    """What the source says of how the program runs, with what the case's remark and data type change of it."""
    every = case.source.program
    return (
        every.get("all", {})
        | every.get(case.settings["remark"] or "", {})
        | every.get(case.settings["compute"] or "", {})
    )


def _recomputed(word: str | None) -> tuple[Recompute | None, int | None]:
    """What `none`, `selective`, `full` or `5-layers` means: the kind, and the layers a stage where not all."""
    if word is not None and word.endswith("-layers"):
        return "full", int(word.removesuffix("-layers"))
    return next(((known, None) for known in get_args(Recompute) if known == word), (None, None))
