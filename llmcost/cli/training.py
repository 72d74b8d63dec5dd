"""`llmcost train`: a training run."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

from llmcost.cli import options as o
from llmcost.cli.command import Takes
from llmcost.cli.money import Money
from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, flag, number
from llmcost.ground.units import amount, parse_count
from llmcost.training.options import Options
from llmcost.training.scaling import one_budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcost.formulas.serving import Explanation
    from llmcost.model.spec import ModelSpec
    from llmcost.report.charts import Chart
    from llmcost.report.page import Reported
    from llmcost.specs.hardware import HardwareSpec
    from llmcost.training.results import Train
    from llmcost.training.scaling import Budget

MOST_OF_A_STEP = 128 * 2**20  # tokens; published runs have at most half of it (DeepSeek-V3: 63M, arXiv 2412.19437)


def _flops(option: str, value: float) -> None:
    """Raise InputError for a budget that is none."""
    one_budget({option: value})


class Budgeted(NamedTuple):
    """What a run may take, in place of its tokens."""

    budget: Annotated[
        Number,
        number(
            "Instead of --tokens: training FLOPs, as 1e24; without MODEL: what laws call best for them.",
            "FLOPS",
            check=_flops,
        ),
    ] = None
    gpu_hours: Annotated[
        Number, number("Instead: GPU-hours, of --hw, with failures and checkpoints.", "HOURS", parse_count)
    ] = None
    dollars: Annotated[Number, number("Instead: dollars of such hours, at --price each.", "DOLLARS", parse_count)] = (
        None
    )


def train(
    model: o.OptionalModel = None,
    *,
    hw: Annotated[
        str | None,
        Option(
            "A GPU or a system of them: shipped name, alias, or a path to a YAML spec; needed but for --budget alone.",
            metavar="HW",
        ),
    ] = None,
    options: Annotated[Options, Takes(Options, without=("price", "pue"))],
    may: Annotated[Budgeted, Takes(Budgeted)],
    money: Annotated[Money, Takes(Money)],
    files: Annotated[o.Files, Takes(o.Files)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    explain: Annotated[
        str | None,
        Option("How a figure comes about, by its JSON path (breakdown.bubble) or words (气泡).", metavar="FIGURE"),
    ] = None,
    breakdown: Annotated[bool, flag("Also every operator of a micro-batch.")] = False,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Step, MFU, memory, days and GPU-hours of training MODEL on many GPUs.

    What is not given of the layout is chosen: the fastest usual one that fits.

    Example: llmcost train llama3-8b --hw h100 --gpus 8 --tokens 15T
    """
    from llmcost.cli.output import say, waiting
    from llmcost.report.budget import budget_tables
    from llmcost.report.train import operator_table, train_rows, train_tables
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware
    from llmcost.training.breakdown import MicroBatchRow, micro_batch_rows
    from llmcost.training.setup import refuse_unused, setup_of
    from llmcost.training.train import train as compute

    if model is None:
        others = [f"--{name}" for name, value in (files._asdict() | {"explain": explain}).items() if value is not None]
        _budget_alone(may, hw, options, money, form, others=others)
        return
    if hw is None:
        raise InputError("--hw: on which GPU? this option is required")
    spec, chip = o.load_model(model, kind, options, allow_unknown, text_alone=True), load_hardware(hw)
    drawn = options.power_share
    if drawn is None:
        drawn = 1 if money.kwh is None else compute(spec, chip, options).with_interruptions.power_share
    options = options._replace(price=money.price_of(chip, drawn), pue=money.pue)
    spends = None
    if any(each is not None for each in may):
        with waiting("choosing the layout"):
            options, spends = _with_budget(may, spec, chip, options)
    if explain is not None and (form.csv or form.markdown or breakdown or files.html is not None):
        raise InputError("--explain: as text, or with --json, and with --plot")
    files.ready(model, hw)
    with waiting("choosing the layout"):
        answer = compute(spec, chip, options)
    refuse_unused(spec, options, answer.layout)
    if options.global_batch is not None and answer.run.tokens_per_step > MOST_OF_A_STEP:
        asked = f"--global-batch {options.global_batch:,} counts sequences"
        step = f"{amount(answer.run.tokens_per_step)} tokens a step"
        say(f"note: {asked}: of {answer.run.seq:,} tokens each, {step}")
    if explain is not None:
        from llmcost.cli.output import show_explanations
        from llmcost.formulas.explanations import Explanations
        from llmcost.formulas.finding import at_path
        from llmcost.formulas.training import explain_training
        from llmcost.formulas.training_quantities import QUANTITIES

        found = explain_training(spec, chip, options, explain)
        files.write(partial(_drawn, spec, chip, options, found))
        words = "" if at_path(explain, QUANTITIES) else explain
        explained = Explanations(spec.name, tuple(found), options.engine)
        show_explanations(explained, words, as_json=form.json, unknown=spec.unknown_keys)
        return
    files.write_report(partial(_reported, spec, chip, options, answer), lambda: train_tables(answer))
    if not breakdown:
        form.show(
            lambda: to_dict(answer) | ({} if spends is None else {"budget": to_dict(spends)}),
            lambda: (("quantity", "value"), train_rows(answer)),
            lambda: [*train_tables(answer), *([] if spends is None else budget_tables(spends))],
            spec.unknown_keys,
        )
        return
    rows = micro_batch_rows(setup_of(spec, chip, options, None)[0])
    form.show(
        lambda: to_dict(answer) | {"operators": to_dict(rows)},
        lambda: (MicroBatchRow._fields, rows),
        lambda: [*train_tables(answer), operator_table(rows)],
        spec.unknown_keys,
    )


def _budget_alone(
    may: Budgeted, hw: str | None, options: Options, money: Money, form: o.Form, others: list[str]
) -> None:
    """What laws call best for a budget, of no model. Raises InputError for options that say how a model runs."""
    from llmcost.cli.budget import show_budget
    from llmcost.ground.options import as_typed

    if not any(each is not None for each in may):
        raise InputError("MODEL: of which model? or --budget 1e24, for what scaling laws call best")
    mfu = options.mfu
    typed = [*as_typed(options._replace(mfu=Options().mfu)), *others]
    if typed:
        raise InputError(f"{typed[0]}: of the run of a model; name a MODEL, or leave it out")
    show_budget(may.budget, may.gpu_hours, may.dollars, hw, money, mfu, None, form)


def _with_budget(may: Budgeted, spec: "ModelSpec", chip: "HardwareSpec", options: Options) -> "tuple[Options, Budget]":
    """The options with the tokens that a budget buys for a model, and what laws say of it.

    FLOPs buy tokens of 6 a parameter that a token uses, as the laws count; hours and dollars as many whole steps as
    they pay for with failures and checkpoints. Raises InputError for several budgets, tokens beside one, or dollars
    without a price.
    """
    from llmcost.training.scaling import budget as compute
    from llmcost.training.train import train as run

    name, value = one_budget({"--budget": may.budget, "--gpu-hours": may.gpu_hours, "--dollars": may.dollars})
    if options.tokens is not None:
        raise InputError(f"--tokens: follow from {name}; give the one or the other")
    if may.dollars is not None and not options.price:
        raise InputError("--dollars: needs --price, the dollars of a GPU-hour")
    trial = run(spec, chip, options._replace(tokens=10**9))
    active, a_step = trial.model.params.active, trial.run.tokens_per_step
    hours = may.dollars / options.price if may.dollars is not None else may.gpu_hours
    paid = trial.with_interruptions
    tokens = may.budget / (6 * active) if hours is None else hours * paid.steps // paid.gpu_hours * a_step
    if tokens < a_step:
        raise InputError(f"{name} {value:g}: less than a step of {a_step:,} tokens takes")
    flops = 6 * active * tokens
    return options._replace(tokens=int(tokens)), compute(flops, model=(float(active), float(int(tokens))))


def _drawn(spec: "ModelSpec", chip: "HardwareSpec", options: Options, found: "Sequence[Explanation]") -> "Chart":
    """Figures of a run beside others of their kind."""
    from llmcost.formulas.training_quantities import QUANTITIES
    from llmcost.report.charts import Chart
    from llmcost.report.explain_charts import Known, explanation_panels
    from llmcost.report.sources import caption
    from llmcost.serving.results import leaves
    from llmcost.training.train import train as compute

    answer = compute(spec, chip, options)
    panels = explanation_panels(found, Known(dict(leaves(answer)), QUANTITIES))
    title = f"{answer.model.title} on {answer.run.gpus:,} × {answer.hardware.title}"
    return Chart(title, panels, caption(spec, chip, answer.expected.basis))


def _reported(spec: "ModelSpec", chip: "HardwareSpec", options: Options, answer: "Train") -> "Reported":
    """What a step's picture and report are made of."""
    from llmcost.report.figures import band_in_words
    from llmcost.report.page import Reported
    from llmcost.report.train import operator_table
    from llmcost.report.train_charts import train_panels
    from llmcost.training.breakdown import micro_batch_rows
    from llmcost.training.setup import setup_of
    from llmcost.training.timeline import timeline

    rows = micro_batch_rows(setup_of(spec, chip, options, None)[0])
    found = answer.run._asdict() | answer.layout._asdict()
    return Reported(
        f"{answer.model.title} on {answer.run.gpus:,} × {answer.hardware.title}",
        train_panels(answer, timeline(answer, rows)),
        spec,
        chip,
        answer.expected.basis,
        {name: found.get(name, given) for name, given in options._asdict().items()},
        {"time of a step": answer.accuracy},
        "" if answer.accuracy.mean_error is None else band_in_words(answer.accuracy),
        [operator_table(rows)],
    )
