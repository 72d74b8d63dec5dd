"""`llmcost plan`: the best layout for a training step or to serve, and why the others lose."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcost.cli import launching
from llmcost.cli import options as o
from llmcost.cli.command import Given, Takes, spelled_out
from llmcost.cli.launching import LaunchAlone
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError
from llmcost.ground.options import count, flag, number
from llmcost.ground.units import parse_milliseconds
from llmcost.serving.options import DEGREES
from llmcost.serving.options import Options as ServingOptions
from llmcost.training.options import Options

if TYPE_CHECKING:
    from llmcost.machine.efficiency import Band
    from llmcost.report.charts import Panel
    from llmcost.report.page import Reported
    from llmcost.report.tables import Table
    from llmcost.search.plan_serving import ServingPlan
    from llmcost.search.plan_training import TrainingPlan
    from llmcost.search.serving_layouts import ServingCandidate, ServingQuestion
    from llmcost.serving.launch_figures import Asked

AXES = ("tp", "pp", "vp", "cp", "ep", "dp", "zero", "micro_batch", "recompute")  # what is searched
LISTS = (*AXES, "schedule", "kernels")  # of which several values may be given
PROGRAMS = ("kernels", "overlap")  # ways to compute, of which several may be compared
HELD = ("context_parallel", "stages")  # one for all layouts
RECIPE = (
    *("optimizer", "unfused_attention", "kernels", "overlap", "lora_rank", "lora_targets", "qlora"),
    *("recompute_modules", "cuda_graphs", "drop_tokens", "dispatch_dtype", "imbalance", "mtp_layers"),
)
OVERLAP = {
    "help": "Shares of communication that cost no time, as tensor=0.5,data=1; given again: all of them are compared.",
    "repeated": True,
    "value": (),
}
BOTH = ("tp", "pp", "ep", "dp", "gpus_per_node", "profile", "all2all")  # options of training that serving has, too


def plan(
    model: o.ModelName,
    *,
    hw: o.Hardware,
    gpus: Annotated[int, count("GPUs of the run.")],
    training: Annotated[
        Given,
        Takes(
            Options,
            only=("seq", "global_batch", "gpus_per_node", *HELD, *LISTS, *RECIPE, "profile", "all2all"),
            lists=LISTS,
            changed={name: {"default": "all that are legal"} for name in AXES} | {"overlap": OVERLAP},
        ),
    ],
    serve: Annotated[bool, flag("Plan to serve requests, not to train.")] = False,
    serving: Annotated[
        Given,
        Takes(
            ServingOptions,
            only=(
                *("dtype", "prompt", "output", "chunk", "engine", "weight_dtype", "kv_dtype", "routing"),
                *("memory_utilization", "offload", "host", "prefix_hit", "range_ratio", "speculate", "accept", "draft"),
            ),
            lists=("speculate",),
            changed={
                "prompt": {"help": "With --serve: tokens of a prompt.", "default": "1024"},
                "output": {"help": "With --serve: tokens of an answer.", "default": "256"},
                "memory_utilization": {"default": "1; with --serve the engine's own, or 0.9"},
                "engine": {
                    "help": "The engine that trains or, with --serve, serves: a shipped name or a YAML spec.",
                    "default": "the usual one",
                },
            },
        ),
    ],
    money: Annotated[Money, Takes(Money)],
    ttft: Annotated[
        float | None,
        number("With --serve: the longest TTFT, time to the first token.", "MS", parse_milliseconds, default="any"),
    ] = None,
    tpot: Annotated[
        float | None,
        number("With --serve: the longest TPOT, time of each other token.", "MS", parse_milliseconds, default="any"),
    ] = None,
    apart: Annotated[bool, flag("With --serve: also split the GPUs, to run prompts apart from decode.")] = False,
    top: Annotated[int, count("Layouts to list.")] = 10,
    launch: LaunchAlone = False,
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    files: Annotated[o.Files, Takes(o.Files)],
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """The fastest of every legal layout to train MODEL, or with --serve to serve it, and why the others lose.

    With --serve: the layout, and the requests in flight, that give most tokens a second a GPU within --ttft and --tpot.

    Example: llmcost plan llama3-70b --hw h100 --gpus 1024 --global-batch 1024
    """
    from llmcost.cli.output import waiting
    from llmcost.report.plan import plan_tables
    from llmcost.report.plan_serving import serving_tables
    from llmcost.search.plan_serving import ServingPlan
    from llmcost.search.plan_training import TrainingPlan
    from llmcost.search.plan_training import plan as plan_training
    from llmcost.search.question import ask, ask_serving
    from llmcost.specs.catalog import load_hardware

    _refuse_twice(training.get("overlap", ()))
    limits = {name: limit for name, limit in (("ttft", ttft), ("tpot", tpot)) if limit is not None}
    _refuse_others(training, serving | limits | ({"apart": True} if apart else {}), serve=serve)
    spec = o.load_model(model, kind, training | serving, allow_unknown, text_alone=not serve)
    chip = load_hardware(hw)
    if launch and not serve:
        raise InputError("--launch: of serving; give --serve too")
    launching.check(wanted=["--launch"] * launch, others=[*files.places()])
    files.ready(model, hw)
    guesses = spelled_out({"speculate": serving.pop("speculate")}, ServingOptions) if "speculate" in serving else {}
    held = spelled_out({name: training.pop(name) for name in LISTS if name in training}, Options)
    programs = {name: tuple(each) for name in PROGRAMS if (each := held.pop(name, training.pop(name, ())))}
    found: ServingPlan | TrainingPlan
    if serve:
        guessed, price = guesses.get("speculate", ()), money.price_of(chip)
        if price is None:
            money.refuse_lone_pue()
        of = (ServingOptions(**serving, **training), held, guessed, ttft, tpot, price, money.pue)
        asked = ask_serving(spec, chip, gpus, *of, apart=apart)
        found, whole = _to_serve(asked, top)
        reported = partial(_serving_reported, whole)
    else:
        money.refuse_lone_pue()
        kinds: dict[str, Any] = {name: serving.get(name) for name in ("dtype", "engine")}
        options = Options(gpus=gpus, price=money.price_of(chip), **kinds, **training)
        with waiting("trying layouts"):
            asked_of = ask(spec, chip, options, held, serving.get("memory_utilization"), programs)
            found = plan_training(asked_of, top)
        reported = partial(_training_reported, found, options)

    def tables() -> "list[Table]":
        return serving_tables(found) if isinstance(found, ServingPlan) else plan_tables(found)

    files.write_report(reported, tables)
    more: dict[str, Any] = {}
    if isinstance(found, ServingPlan) and found.best and _by_program(found, launch=launch):
        best = _asked(asked, found.best[0], model)
        if launch:
            launching.show(form, best, ["--launch"])
            return
        more = launching.launch_document(best) if form.json else {}
    form.show(
        lambda: found.to_dict() | more,
        lambda: (found.columns, [list(row.values()) for row in found.rows()]),
        tables,
        spec.unknown_keys,
    )
    if not found.best:
        raise typer.Exit(1)


def _by_program(found: "ServingPlan", *, launch: bool) -> bool:
    """Whether an engine serves that is started. Raises InputError where it is to be launched and is none."""
    return launching.is_program(found.question.workload.engine, found.question.hardware, ["--launch"] * launch)


def _to_serve(asked: "ServingQuestion", top: int) -> "tuple[ServingPlan, ServingPlan]":
    """The best layouts, simulated where their formula is rough, and every layout that serves, by the formula."""
    from llmcost.cli.output import waiting
    from llmcost.search.plan_serving import plan_serving
    from llmcost.search.serving_runs import with_runs

    with waiting("trying layouts"):
        whole = plan_serving(asked)
    with waiting("simulating the best"):
        return with_runs(whole, top), whole


def _refuse_twice(overlaps: Sequence[str]) -> None:
    """Raise InputError for the same overlap given twice."""
    for each in overlaps:
        if overlaps.count(each) > 1:
            raise InputError(f"--overlap {each}: comes twice")


def _training_reported(found: "TrainingPlan", options: Options) -> "Reported":
    """What the picture and the report of a plan to train are made of."""
    from llmcost.report.plan_charts import training_panels
    from llmcost.training.passes import Setup
    from llmcost.training.train import band_of_run

    asked = found.question
    layout = found.best[0].layout if found.best else asked.base._replace(dp=asked.gpus)
    at = Setup(asked.model, layout, asked.recipe, asked.seq, asked.chip, asked.efficiency, asked.divided).resolved()
    bands = {"time of the best step": band_of_run(at, asked.hardware, options)}
    base = {name: getattr(asked.base, name) for name in ("global_batch", *HELD)}
    given = {"gpus": asked.gpus, "seq": asked.seq} | base
    assumed = given | asked.recipe._asdict() | {"price": asked.price}
    return _reported(found, training_panels(found), at.efficiency.basis, assumed, bands)


def _serving_reported(whole: "ServingPlan") -> "Reported":
    """What the picture and the report of a plan to serve are made of; `whole`: with all layouts that serve anybody."""
    from llmcost.machine.bands import UNDER_LOAD
    from llmcost.report.plan_charts import serving_panels
    from llmcost.search.pareto import points
    from llmcost.serving.estimate import with_bands
    from llmcost.serving.server import machine_of

    asked = whole.question
    _, _, reached = machine_of(asked.hardware, asked.workload)
    reached = with_bands(reached, asked.model, asked.hardware, asked.workload)
    bands = {phase: reached.band(phase) for phase in UNDER_LOAD}
    limits = {"ttft": asked.ttft, "tpot": asked.tpot, "price": asked.price, "pue": asked.pue}
    assumed = asked.workload._asdict() | dict.fromkeys((*DEGREES, "batch", "gpus")) | {"gpus": asked.gpus} | limits
    return _reported(whole, serving_panels(whole, points(asked)), reached.basis, assumed, bands)


def _reported(
    found: "ServingPlan | TrainingPlan",
    panels: "list[Panel]",
    basis: str,
    assumed: dict[str, Any],
    bands: "dict[str, Band]",
) -> "Reported":
    from llmcost.report.page import Reported

    question = found.question
    title = f"{question.model.title} on {question.gpus:,} × {question.hardware.title}"
    return Reported(title, panels, question.model, question.hardware, basis, assumed, bands)


def _asked(question: "ServingQuestion", best: "ServingCandidate", name: str) -> "Asked":
    """What is launched where a layout is taken, with the requests in flight that keep the limits."""
    from llmcost.search.serving_layouts import workload_of_candidate
    from llmcost.serving.estimate import estimate
    from llmcost.serving.launch_figures import Asked

    beside = best.prefill_gpus is None
    w = workload_of_candidate(question, best)
    w = w._replace(max_num_seqs=ceil(best.concurrency / best.layout.dp) if beside else None)
    found = estimate(question.model, question.hardware, w)
    return Asked(question.model, question.hardware, found.workload, found.memory, name, servers=best.replicas)


def _refuse_others(training: Given, serving: Given, *, serve: bool) -> None:
    """Raise InputError for an option of the other kind of plan."""
    both = (*BOTH, "dtype", "engine", "memory_utilization")
    for name in training if serve else serving:
        if name not in both:
            option = f"--{name.replace('_', '-')}"
            other = "of training, and --serve plans to serve" if serve else "of serving; give --serve too"
            raise InputError(f"{option}: {other}")
