"""`llmcost train`: a training run."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from llmcost.cli import options as o
from llmcost.cli.command import Takes
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, flag
from llmcost.ground.units import amount
from llmcost.training.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcost.formulas.serving import Explanation
    from llmcost.model.spec import ModelSpec
    from llmcost.report.charts import Chart
    from llmcost.report.page import Reported
    from llmcost.specs.hardware import HardwareSpec
    from llmcost.training.results import Train

MOST_OF_A_STEP = 128 * 2**20  # tokens; published runs have at most half of it (DeepSeek-V3: 63M, arXiv 2412.19437)


def train(
    model: o.ModelName,
    *,
    hw: o.Hardware,
    options: Annotated[Options, Takes(Options, without=("price", "pue"))],
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
    from llmcost.report.train import operator_table, train_rows, train_tables
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware
    from llmcost.training.breakdown import MicroBatchRow, micro_batch_rows
    from llmcost.training.setup import setup_of
    from llmcost.training.train import train as compute

    spec, chip = o.load_model(model, kind, options, allow_unknown, text_alone=True), load_hardware(hw)
    options = options._replace(price=money.price_of(chip, options.power_share), pue=money.pue)
    if explain is not None:
        from llmcost.cli.output import show_explanations
        from llmcost.formulas.explanations import Explanations
        from llmcost.formulas.finding import at_path
        from llmcost.formulas.training import explain_training
        from llmcost.formulas.training_quantities import QUANTITIES

        if form.csv or form.markdown or breakdown or files.html is not None:
            raise InputError("--explain: as text, or with --json, and with --plot")
        files.ready(model, hw)
        found = explain_training(spec, chip, options, explain)
        files.write(partial(_drawn, spec, chip, options, found))
        words = "" if at_path(explain, QUANTITIES) else explain
        show_explanations(Explanations(spec.name, tuple(found)), words, as_json=form.json, unknown=spec.unknown_keys)
        return
    files.ready(model, hw)
    with waiting("choosing the layout"):
        answer = compute(spec, chip, options)
    if options.global_batch is not None and answer.run.tokens_per_step > MOST_OF_A_STEP:
        asked = f"--global-batch {options.global_batch:,} counts sequences"
        step = f"{amount(answer.run.tokens_per_step)} tokens a step"
        say(f"note: {asked}: of {answer.run.seq:,} tokens each, {step}")
    files.write_report(partial(_reported, spec, chip, options, answer), lambda: train_tables(answer))
    if not breakdown:
        form.show(
            lambda: to_dict(answer),
            lambda: (("quantity", "value"), train_rows(answer)),
            lambda: train_tables(answer),
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
