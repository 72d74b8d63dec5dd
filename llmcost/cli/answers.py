"""`llmcost estimate`, `explain`, `ops`: questions about one model."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from llmcost.cli import launching
from llmcost.cli import options as o
from llmcost.cli.command import Argument, Takes
from llmcost.cli.launching import LaunchAlone, LogAlone
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, as_typed, flag, word
from llmcost.serving.options import BASES, LAYOUT, MIXES, OF_A_MIX, PHASES, Options

if TYPE_CHECKING:
    from llmcost.formulas.explanations import Explanations
    from llmcost.formulas.operators import PhaseOperators
    from llmcost.formulas.serving import Explanation
    from llmcost.model.spec import ModelSpec
    from llmcost.report.estimate_shown import Shown
    from llmcost.report.page import Reported
    from llmcost.report.tables import Table
    from llmcost.search.prices import Cost
    from llmcost.serving.results import Estimate, Simulated
    from llmcost.specs.hardware import HardwareSpec

# What no operator of one pass depends on: requests, and what memory is left for.
BEYOND_A_PASS = (
    *MIXES, "output", "chunk", "max_num_seqs", "mfu", "tokens", "memory_utilization", "free_memory_fraction",
    "mem_fraction_static", "batch_prompts", "communicator", "reserve_output", *OF_A_MIX,
)  # fmt: skip
OF_CONTEXT = {"c", "s"}  # letters of formulas: what the context and the prompt are
IDLE = ("context", "mfu", "tokens", "logits")  # options that no request of a mix depends on
UNDER_LOAD = "serving.expected."  # figures of a mix that estimate simulates where their formula is rough
POINTS = 8  # of the curve of a figure along the context


def estimate(
    model: o.ModelName,
    *,
    hw: o.OptionalHardware = None,
    options: Annotated[Options, Takes(Options)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    breakdown: Annotated[bool, flag("Also every operator of prefill and decode.")] = False,
    launch: LaunchAlone = False,
    log: LogAlone = False,
    basis: Annotated[
        str | None,
        word(
            "Whose times the tables have; textbook: those of the course documents, with training.",
            (*BASES, "all"),
            default="limit and expected",
        ),
    ] = None,
    training: Annotated[bool, flag("Also training on one GPU, by the prompt's length.")] = False,
    files: Annotated[o.Files, Takes(o.Files)],
    money: Annotated[Money, Takes(Money)],
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Whether MODEL fits a GPU and how fast it is there; parameters, FLOPs, memory, traffic.

    Example: llmcost estimate llama3-8b --hw rtx4090
    """
    from shlex import join

    from llmcost.report.estimate import estimate_rows, estimate_tables
    from llmcost.serving.estimate import refuse_idle_link, refuse_of_a_gpu
    from llmcost.simulation.steady import steady
    from llmcost.specs.catalog import load_hardware

    spec, chip = o.load_model(model, kind, options, allow_unknown), None if hw is None else load_hardware(hw)
    refuse_of_a_gpu(options, chip)
    refuse_idle_link(options)
    _refuse_of_tables(basis, hw, form, training=training)
    wanted = ["--launch"] * launch + ["--log"] * log
    launching.check(wanted=wanted, others=["--breakdown"] * breakdown + [*files.places()])
    if wanted and chip is None:
        raise InputError(f"{wanted[0]}: on which GPU? name one with --hw")
    _check_files(files, model, hw)
    result = steady(spec, chip, options)
    o.note_torn(spec, result.workload)
    cost = _cost(result, chip, money)
    more: Callable[[], dict[str, Any]] = dict
    if chip is not None and launching.is_program(result.workload.engine, chip, wanted):
        from llmcost.serving.launch_figures import Asked

        asked = Asked(spec, chip, result.workload, result.memory, model)
        if wanted:
            launching.show(form, asked, wanted)
            return
        more = partial(launching.launch_document, asked)
    priced = {} if cost is None else {"cost": cost._asdict()}

    def would_fit() -> list[tuple[str, list[str]]]:
        return [] if chip is None or result.memory.fits else _remedies(spec, chip, options, result)

    def document() -> dict[str, Any]:
        remedies = [{"what": what, "options": typed} for what, typed in would_fit()]
        return result.to_dict() | more() | priced | ({"remedies": remedies} if remedies else {})

    def tables() -> "list[Table]":
        named = [model, "--hw", str(hw), *(["--as", kind] if kind else [])]
        named += [word for key in allow_unknown for word in ("--allow-unknown", key)]
        remedies = tuple((what, join(["llmcost", "estimate", *named, *asks])) for what, asks in would_fit())
        if chip is not None and not result.memory.fits and not remedies:
            remedies = (("another GPU", join(["llmcost", "fit", model])),)
        mix = result.serving
        run = "" if mix is None or mix.simulated is None else _run(spec, options, named, mix.simulated)
        shown = _shown(options, basis, training=training)
        engine = _usual(options, result, chip)
        return estimate_tables(spec, result, shown._replace(cost=cost, remedies=remedies, run=run, engine=engine))

    if chip is not None:
        files.write_report(partial(_reported, spec, chip, options, result), tables)
    if not breakdown:
        form.show(
            document,
            lambda: (("quantity", "value", "unit"), estimate_rows(result, cost)),
            tables,
            spec.unknown_keys,
        )
        return
    from llmcost.formulas.operators import OperatorRow, phase_operators
    from llmcost.report.ops import operator_table

    phases = {phase: phase_operators(spec, chip, options, phase) for phase in ("prefill", "decode")}
    rows = [(phase, *row) for phase, each in phases.items() for row in each.operators]
    form.show(
        lambda: document() | {"operators": {phase: each.rows() for phase, each in phases.items()}},
        lambda: (("phase", *OperatorRow._fields), rows),
        lambda: [
            *tables(),
            *(operator_table(f"Operators of {name}", phases[name]) for name in phases),
        ],
        spec.unknown_keys,
    )


def _refuse_of_tables(basis: str | None, hw: str | None, form: o.Form, *, training: bool) -> None:
    """Raise InputError for an option of tables where there is none, or where no GPU gives times."""
    for name, given in ((f"--basis {basis}", basis is not None), ("--training", training)):
        if given and (form.json or form.csv):
            raise InputError(f"{name}: of the tables; JSON and CSV have every basis, and training")
        if given and hw is None:
            raise InputError(f"{name}: times need a GPU; give it too, with --hw")


def _check_files(files: o.Files, model: str, hw: str | None) -> None:
    """Raise InputError for charts and reports that cannot be made or written."""
    for option, path in files.places().items():
        if hw is None:
            raise InputError(f"{option} {path}: times and memory need a GPU; give it too, with --hw")
    files.ready(model, *([] if hw is None else [hw]))


def _reported(spec: "ModelSpec", chip: "HardwareSpec", options: Options, result: "Estimate") -> "Reported":
    """What an estimate's picture and report are made of."""
    from llmcost.formulas.operators import phase_operators
    from llmcost.machine.bands import UNDER_LOAD
    from llmcost.report.estimate_charts import estimate_panels
    from llmcost.report.figures import off_by
    from llmcost.report.ops import operator_table
    from llmcost.report.page import Reported

    phases = ("prefill",) if result.traffic.decode.total_bytes is None else ("prefill", "decode")
    found = {phase: phase_operators(spec, chip, options, phase) for phase in phases}
    bands = {phase: getattr(result.accuracy, phase) for phase in phases}
    under_load = {name: getattr(result.accuracy, name) for name in UNDER_LOAD if result.serving}
    errors = [f"{off_by(band)} in {phase}" for phase, band in bands.items() if band.mean_error is not None]
    return Reported(
        f"{spec.title} on {result.workload.all_gpus():,} × {chip.title}",
        estimate_panels(result, found),
        spec,
        chip,
        result.prefill.expected.basis,
        result.workload._asdict(),
        bands | under_load,
        f"{', '.join(errors)}, on average" if errors else "",
        [operator_table(f"Operators of {phase}", each) for phase, each in found.items()],
    )


def _cost(result: "Estimate", chip: "HardwareSpec | None", money: Money) -> "Cost | None":
    """What tokens cost, where money is asked about. Raises InputError where no GPU has a price."""
    from llmcost.search.prices import cost_of

    if not money.asked():
        return None
    if chip is None:
        raise InputError("--price, --kwh and --pue: of a GPU; give it too, with --hw")
    return cost_of(result, chip, money.price_of(chip), money.pue)


def _shown(options: Options, basis: str | None, *, training: bool) -> "Shown":
    """What the tables show: what was asked for, the textbook too where its MFU was, training where its tokens were."""
    from llmcost.report.estimate_shown import Shown

    usual = Options()
    bases = Shown().bases if basis is None else BASES if basis == "all" else (basis,)
    if options.mfu != usual.mfu and "textbook" not in bases:
        bases = ("textbook", *bases)
    return Shown(bases, training or basis == "textbook" or options.tokens != usual.tokens)


def _usual(options: Options, result: "Estimate", chip: "HardwareSpec | None") -> tuple[str, ...]:
    """What is said of the engine, where nobody named it."""
    from llmcost.report.engines import usual_engine_note
    from llmcost.serving.usual_engine import usual_of

    if chip is None or options.engine is not None:
        return ()
    return tuple(usual_engine_note(usual_of(result.workload.engine, chip)))


def _run(spec: "ModelSpec", options: Options, named: Sequence[str], ran: "Simulated") -> str:
    """What to type for the run of a mix whose formula is rough; "" where a run leaves out what was asked.

    `named`: the model and the GPU, as the user calls them. `ran`: the run that figures are of, if there was one.
    """
    from shlex import join

    from llmcost.cli.simulate import WITHOUT
    from llmcost.simulation.steady import as_run
    from llmcost.simulation.traffic import requests_of

    usual = Options()
    asked = as_run(spec, options)
    if ran.requests is not None:
        asked = asked._replace(prompt=ran.prompt, output=ran.output, range_ratio=ran.range_ratio)
    asked = asked._replace(requests=requests_of(options), **{name: getattr(usual, name) for name in IDLE})
    if any(getattr(asked, name) != getattr(usual, name) for name in WITHOUT):
        return ""
    return join(["llmcost", "simulate", *named, *as_typed(asked)])


def _remedies(
    spec: "ModelSpec", chip: "HardwareSpec", options: Options, result: "Estimate"
) -> list[tuple[str, list[str]]]:
    """What would make a model fit, each with the options that ask for it."""
    from llmcost.search.remedies import remedies

    return [(each.what, as_typed(each.options)) for each in remedies(spec, chip, options, result)]


def explain(
    model: o.ModelName,
    quantity: Annotated[
        Sequence[str],
        Argument(
            "QUANTITY...",
            "A figure by its path in the JSON (kv_cache.bytes), or by words: weights, 参数量.",
            several=True,
            default="all",
        ),
    ] = (),
    *,
    hw: o.OptionalHardware = None,
    options: Annotated[Options, Takes(Options)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    latex: Annotated[bool, flag("The formulas as LaTeX.")] = False,
    html: Annotated[
        str | None, Option("Write a page on which each name leads to what it is and what uses it.", metavar="FILE")
    ] = None,
    files: Annotated[o.Files, Takes(o.Files, only=o.DRAWN)],
    form: Annotated[o.Form, Takes(o.Form, only=("json", "lang"))],
) -> None:
    """How a figure of `estimate` comes about: formula in letters, with sizes, value, source.

    Words that several figures match list them.

    Example: llmcost explain llama3-8b kv_cache.bytes
    """
    from llmcost.cli.output import show_explanations
    from llmcost.formulas.explanations import Explanations
    from llmcost.formulas.finding import at_path
    from llmcost.formulas.quantities import QUANTITIES
    from llmcost.formulas.serving import explain as compute
    from llmcost.serving.estimate import refuse_idle_link, refuse_of_a_gpu, under_usual
    from llmcost.specs.catalog import load_hardware

    spec, chip = o.load_model(model, kind, options, allow_unknown), None if hw is None else load_hardware(hw)
    refuse_of_a_gpu(options, chip)
    refuse_idle_link(options)
    forms = {"--latex": latex, "--json": form.json, "--html": html is not None}
    if sum(forms.values()) > 1:
        raise InputError(f"{' and '.join(name for name, given in forms.items() if given)}: choose one")
    files.ready(model, *([] if hw is None else [hw]))
    asked = " ".join(quantity) if quantity else None
    answers = tuple(compute(spec, chip, options, asked))
    found = Explanations(spec.name, answers, under_usual(spec, chip, options).engine)
    if html is not None:
        _write_page(Path(html), spec, found, {each.quantity: each for each in compute(spec, chip, options)})
        return
    if files.places():
        _draw_figures(files, spec, chip, options, found)
    words = "" if asked is None or at_path(asked, QUANTITIES) else asked
    if chip is not None and any(each.quantity.startswith(UNDER_LOAD) for each in found.explanations):
        _note_rough(spec, chip, options)
    show_explanations(found, words, as_json=form.json, as_latex=latex, unknown=spec.unknown_keys)


def _note_rough(spec: "ModelSpec", chip: "HardwareSpec", options: Options) -> None:
    """Say on stderr where the formula of a mix is rough, and that `estimate` then has other times, if it has."""
    from llmcost.cli.output import say
    from llmcost.serving.estimate import estimate as compute
    from llmcost.simulation.steady import rough

    found = rough(compute(spec, chip, options), options)
    if found is None:
        return
    ran = found.requests
    other = "llmcost simulate runs every request" if ran is None else f"estimate's are of {ran:,} requests simulated"
    say(f"note: the formula of expected times is rough for this mix: {other}")


def _write_page(file: Path, spec: "ModelSpec", found: "Explanations", known: "Mapping[str, Explanation]") -> None:
    """Write the figures found, and those that their formulas name, as a page."""
    from llmcost.cli.output import say, write
    from llmcost.ground.files import write_file
    from llmcost.report.explain_html import explanation_page, with_referred
    from llmcost.report.tables import under

    write("", spec.unknown_keys)
    title = f"{spec.title}{under(found.engine)}"
    write_file(file, explanation_page(title, with_referred(found.explanations, known)))
    say(f"wrote {file}")


def _draw_figures(
    files: o.Files, spec: "ModelSpec", chip: "HardwareSpec | None", options: Options, found: "Explanations"
) -> None:
    """Draw figures beside others of their kind, and how one grows with the context."""
    from llmcost.formulas.quantities import QUANTITIES
    from llmcost.report.charts import Chart
    from llmcost.report.explain_charts import Known, explanation_panels
    from llmcost.report.sources import caption
    from llmcost.report.tables import under
    from llmcost.serving.estimate import estimate as compute
    from llmcost.serving.results import leaves

    result = compute(spec, chip, options)
    curve = []
    if len(found.explanations) == 1 and OF_CONTEXT & found.explanations[0].legend.keys():
        path, whole = found.explanations[0].quantity, result.workload.context
        for context in filter(None, (whole * k // POINTS for k in range(1, POINTS + 1))):
            prompt = options.prompt and min(options.prompt, context)
            other = compute(spec, chip, options._replace(context=context, prompt=prompt))
            curve.append((context, dict(leaves(other))[path]))
    known = Known(dict(leaves(result)), QUANTITIES, [each for each in curve if each[1] is not None])
    panels = explanation_panels(found.explanations, known)
    basis = result.prefill.expected.basis
    below = [f"Model: {spec.source}"] if chip is None else caption(spec, chip, basis)
    place = "" if chip is None else f" on {chip.title}"
    files.write(lambda: Chart(f"{spec.title}{place}{under(found.engine)}", panels, below))


def ops(
    model: o.ModelName,
    *,
    hw: o.OptionalHardware = None,
    phase: Annotated[
        str, word("What runs, prompts whole; train has the backward pass in its times, and all logits.", PHASES)
    ] = PHASES[0],
    options: Annotated[Options, Takes(Options, without=BEYOND_A_PASS)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    files: Annotated[o.Files, Takes(o.Files, only=o.DRAWN)],
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Every operator of MODEL: shapes, FLOPs, parameters, bytes, arithmetic intensity; with a GPU, time and share.

    Example: llmcost ops gpt2 --phase train --batch 12
    """
    from llmcost.formulas.operators import OperatorRow, phase_operators
    from llmcost.report.ops import operator_table
    from llmcost.report.tables import under
    from llmcost.serving.estimate import refuse_idle_link, refuse_of_a_gpu, under_usual
    from llmcost.specs.catalog import load_hardware

    spec, chip = o.load_model(model, kind, options, allow_unknown), None if hw is None else load_hardware(hw)
    refuse_of_a_gpu(options, chip)
    refuse_idle_link(options)
    _check_files(files, model, hw)
    found = phase_operators(spec, chip, options, phase)
    if chip is not None and files.places():
        _draw_operators(files, spec, chip, options, found)
    where = " on one GPU" * any(getattr(options, name) not in (None, 1) for name in LAYOUT[:-1])
    counted = (
        "FLOPs of every (query, key) pair, rates of those that a causal mask leaves; "
        "FLOPs, parameters and bytes are of one execution"
    )
    title = f"{spec.title}{under(under_usual(spec, chip, options).engine)}, {phase}{where}: {counted}"
    form.show(
        found.to_dict,
        lambda: (OperatorRow._fields, found.operators),
        lambda: [operator_table(title, found)],
        spec.unknown_keys,
    )


def _draw_operators(
    files: o.Files, spec: "ModelSpec", chip: "HardwareSpec", options: Options, found: "PhaseOperators"
) -> None:
    """Draw the operators under the roofline of one GPU. Raises InputError where its peaks are not known."""
    from llmcost.report.charts import Chart
    from llmcost.report.estimate_charts import operator_panels
    from llmcost.report.sources import caption
    from llmcost.serving.estimate import estimate as compute

    result = compute(spec, chip, options)
    place = result.hardware
    if place is None or place.peak_flops_per_s is None or place.bandwidth_bytes_per_s is None:
        raise InputError(f"--plot {files.plot}: nothing to draw, as no time is known")
    peaks = (place.peak_flops_per_s, place.bandwidth_bytes_per_s, result.workload.dtype)
    bases = {
        "prefill": result.prefill.expected.basis,
        "decode": result.decode.expected.basis,
        "train": result.training.expected.basis,
    }
    files.write(
        lambda: Chart(
            f"{spec.title} on {chip.title}", operator_panels(found, *peaks), caption(spec, chip, bases[found.phase])
        )
    )
