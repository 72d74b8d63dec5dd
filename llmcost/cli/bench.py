"""`llmcost bench`: time this machine's kernels, or show, compare and plot what was measured before."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmcost.bench import PHASES, SUITES, require_torch
from llmcost.cli import options as o
from llmcost.cli.command import Argument, Given, Takes
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, flag, word
from llmcost.serving.options import Options

if TYPE_CHECKING:
    from llmcost.bench.session import Session
    from llmcost.report.tables import Table
    from llmcost.specs.profile import Profile

INTERRUPTED = 130
SHOWN_ABOVE = 0.1  # changes that are listed where no threshold is asked for


def bench(
    model: Annotated[
        str | None, Argument("MODEL", "Time this model's operators and a whole pass of it instead of suites.")
    ] = None,
    *,
    suite: Annotated[
        str | None, Option(f"{', '.join(SUITES)}; several with commas.", metavar="NAME,...", default="all of them")
    ] = None,
    full: Annotated[
        bool | None, flag("More cases, in 8 minutes; one and a half without.", long="--full/--quick", default="--quick")
    ] = None,
    plan: Annotated[bool, flag("Only say what would be measured, with bytes and time.")] = False,
    phase: Annotated[str | None, word("With MODEL: what kind of pass.", PHASES, default=PHASES[0])] = None,
    sizes: Annotated[
        Given,
        Takes(
            Options,
            only=("batch", "context", "tp"),
            changed={
                "batch": {"help": "With MODEL: sequences at a time."},
                "context": {
                    "help": "With MODEL: cached tokens of decode, or those of a sequence.",
                    "default": "the model's maximum or 8192, on a CPU 128",
                },
                "tp": {
                    "help": "With MODEL: GPUs that share it, under torchrun a process each.",
                    "default": "as many as torchrun started",
                },
            },
        ),
    ],
    dtype: Annotated[
        str | None, Option("With MODEL: bf16, fp16 or fp32.", metavar="TYPE", default="bf16, on a CPU fp32")
    ] = None,
    engine: Annotated[
        str | None,
        Option(
            "With MODEL: time this engine itself, with random weights (transformers, vllm, sglang).",
            metavar="NAME|FILE",
        ),
    ] = None,
    hw: Annotated[str | None, Option("The GPU's spec, where the device's name is not known.", metavar="HW")] = None,
    profile: Annotated[
        str | None,
        Option(
            "With MODEL: predict by this profile.", metavar="FILE", default="the one shipped for the GPU, if there is"
        ),
    ] = None,
    device: Annotated[
        str | None, word("What to time.", ("cuda", "mps", "cpu"), default="the GPU that is there; cuda is ROCm too")
    ] = None,
    output: Annotated[
        str | None,
        Option(
            "Where to write the profile. With --show: write it fitted anew.",
            metavar="FILE",
            short="-o",
            default="profile-NAME-TIME.json after suites",
        ),
    ] = None,
    resume: Annotated[
        str | None, Option("Go on with an interrupted run: measure only what its file lacks.", metavar="FILE")
    ] = None,
    show: Annotated[
        str | None, Option("Show a profile that was measured before, and measure nothing.", metavar="FILE")
    ] = None,
    compare: Annotated[
        str | None,
        Option("Also show what is faster or slower than in this profile; with --show, only that.", metavar="OLD"),
    ] = None,
    fail_above: Annotated[
        str | None,
        Option("With --compare: exit 1 if a kernel is clearly slower by more than, e.g., 5%.", metavar="PERCENT"),
    ] = None,
    plot: Annotated[
        str | None, Option("Draw charts into a folder, as SVG (needs matplotlib).", metavar="FOLDER")
    ] = None,
    files: Annotated[o.Files, Takes(o.Files, only=("html",))],
    rows: Annotated[bool, flag("Also list every kernel.")] = False,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Time real kernels on this machine's GPU, show what it reaches, and write a profile for `estimate`.

    Examples: llmcost bench; llmcost bench llama3-8b -b 16 -c 8k; llmcost bench llama3-8b --engine transformers
    """
    from llmcost.specs.profile import load_profile

    of_a_pass = {"phase": phase, "dtype": dtype, "profile": profile} | sizes
    measuring = {
        "suite": suite,
        "plan": plan,
        "full": full,
        "hw": hw,
        "device": device,
        "resume": resume,
        "engine": engine,
    } | of_a_pass
    unmeasured = {
        "profile": profile,
        "resume": resume,
        "output": output,
        "compare": compare,
        "plot": plot,
        "html": files.html,
        "rows": rows,
    }
    threshold = _threshold(compare, fail_above)
    old = None if compare is None else load_profile(Path(compare))  # before anything is measured
    _check_places(output, plot, (compare, profile, model))
    files.ready(*[each for each in (model, hw, profile, show, resume, compare, output) if each is not None])

    def report(profile: "Profile", before: "list[Table] | None" = None) -> None:
        _report(profile, old, threshold, fail_above, plot, files, rows, form, before)

    if show is not None:
        _refuse(f"--show {show} measures nothing: leave {{}} out", {"MODEL": model} | _named(measuring))
        _refuse("--compare with --show lists changes alone: leave {} out", {"--rows": rows and compare is not None})
        report(_shown(Path(show), output))
        return
    _refuse("--plan only says what would be measured: leave {} out", _named(unmeasured) if plan else {})
    if model is None:
        of_suites = "suites have sizes and data types of their own"
        _refuse(f"{{}} is of a whole pass: give its MODEL too; {of_suites}", _named(of_a_pass))
    elif suite is not None:
        raise InputError(f"--suite {suite}: either suites or a model")
    if engine is not None:
        kept = unmeasured | {
            "tp": sizes.get("tp"),
            "suite": suite,
            "plan": plan,
            "full": full,
            "phase": phase,
            "fail-above": fail_above,
        }
        _refuse(f"--engine {engine} times prompts and decode steps of one engine: leave {{}} out", _named(kept))
        _time_engine(engine, model, sizes, dtype, hw, device, form)
        return
    require_torch(plan=plan)
    session = _session(model, suite, bool(full), phase or PHASES[0], sizes, dtype, hw, device, output, resume)
    if plan:
        _show_plan(session, form)
        return
    _end_as_by_ctrl_c()
    measured = session.run()
    session.runner.tell("")
    if session.silent:
        return
    tables = _pass_tables(measured, profile) if model else []
    try:
        report(measured, tables)
    finally:
        session.write(measured)
    if not measured.complete:
        raise typer.Exit(INTERRUPTED)
    timed = [row for row in measured.measured() if row.median_us]
    if not timed or any(row.status in ("wrong", "failed") for row in measured.measured()):
        raise typer.Exit(1)  # something went wrong, or nothing could be timed at all


def _time_engine(
    name: str, model: str | None, sizes: Given, dtype: str | None, hw: str | None, device: str | None, form: o.Form
) -> None:
    """Time an engine with a model of random weights, and show it beside the engine's prediction."""
    from llmcost.bench import require_torch

    if model is None:
        raise InputError(f"--engine {name}: give the MODEL that it is to run")

    require_torch()
    from llmcost.bench.device import find_device
    from llmcost.bench.engines import compared
    from llmcost.bench.session import pass_asked
    from llmcost.report.bench_engine import COLUMNS, document, engine_table, flat
    from llmcost.specs.catalog import load_engine

    found = find_device(device)
    asked = pass_asked(model, PHASES[0], sizes.get("batch", 1), sizes.get("context"), dtype, found)
    run = compared(load_engine(name), name, asked, hw, found)
    form.show(lambda: document(run), lambda: (COLUMNS, flat(run)), lambda: [engine_table(run)])


def _check_places(output: str | None, plot: str | None, inputs: tuple[str | None, ...]) -> None:
    """Refuse, before anything is measured, what cannot be written. What is shown may be fitted anew in its place."""
    if output is not None:
        from llmcost.ground.files import refuse_input

        refuse_input(Path(output), *inputs)
    if plot is not None:
        from llmcost.report.bench_plots import check

        check(Path(plot))


def _end_as_by_ctrl_c() -> None:
    """Let the end of a scheduler's time, or of a terminal, stop a run as Ctrl-C does: what was measured is kept."""
    for ending in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, ending, signal.SIGTERM)
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _named(given: Mapping[str, object]) -> dict[str, object]:
    """Options by their names on the command line."""
    return {f"--{name}": value for name, value in given.items()}


def _refuse(message: str, given: Mapping[str, object]) -> None:
    """Raise InputError for the first that is given; `message` has a place for its name."""
    for name, value in given.items():
        if value is not None and (value is not False or name == "--full"):
            raise InputError(message.format(name))


def _session(
    model: str | None,
    suite: str | None,
    full: bool,
    phase: str,
    sizes: Given,
    dtype: str | None,
    hw: str | None,
    device: str | None,
    output: str | None,
    resume: str | None,
) -> "Session":
    """A run as asked for; there is torch. Raises InputError, and NoDeviceError without a device."""
    from llmcost.bench.device import find_device
    from llmcost.bench.session import BenchRequest, Session, pass_asked, suites_asked

    suites = suites_asked(suite)
    found = find_device(device)
    batch, context = sizes.get("batch", 1), sizes.get("context")
    tp = sizes.get("tp")
    passes = () if model is None else (pass_asked(model, phase, batch, context, dtype, found, tp),)
    target, earlier = (None if each is None else Path(each) for each in (output, resume))
    return Session(found, BenchRequest(suites, full, hw, target, passes, earlier))


def _shown(path: Path, output: str | None) -> "Profile":
    """A profile measured before, fitted anew where it is to be written; that of an unfinished run is fitted here."""
    from llmcost.bench.fit_profile import fitted
    from llmcost.ground.files import write_file
    from llmcost.specs.profile import load_profile, profile_text

    profile = load_profile(path)
    if output is None and profile.fit:
        return profile
    profile = fitted(profile)
    if output is not None:
        write_file(Path(output), profile_text(profile))
        from llmcost.cli.output import say

        say(f"wrote {output}")
    return profile


def _threshold(compare: str | None, fail_above: str | None) -> float:
    """The share by which a time must change to be listed, or to fail. Raises InputError."""
    if fail_above is None:
        return SHOWN_ABOVE
    if compare is None:
        raise InputError("--fail-above needs --compare OLD")
    try:
        share = float(fail_above.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share < 100:
        raise InputError(f"--fail-above {fail_above}: a percentage such as 5%")
    return share


def _show_plan(session: "Session", form: o.Form) -> None:
    """Print what a run would measure, and about how long it would take."""
    from llmcost.ground.units import scaled
    from llmcost.report.tables import Table

    outline, columns = session.outline(), ("suite", "cases", "largest_bytes", "seconds")
    suites = [dict(zip(columns, each, strict=True)) for each in outline]
    rows = [(suite, f"{count:,}", scaled(bytes_, "B"), f"{seconds:.0f} s") for suite, count, bytes_, seconds in outline]
    rows.append(("all", "", "", f"{sum(seconds for *_, seconds in outline):.0f} s"))
    title = f"Would be measured on {session.device.name}"
    notes = ("Times are rough: the more ways to run a kernel are installed, the longer it takes to choose one.",)
    table = Table(title, ("suite", "cases", "largest", "about"), "lrrr", rows, notes)
    document = {"schema": "llmcost.bench_plan/1", "device": session.device.name, "suites": suites}
    form.show(lambda: document, lambda: (columns, outline), lambda: [table])


def _pass_tables(measured: "Profile", profile: str | None) -> "list[Table]":
    """A table of each measured pass: its operators beside what `estimate` predicts."""
    from llmcost.bench.summary import measured_passes
    from llmcost.report.bench_rows import pass_table

    return [pass_table(each) for each in measured_passes(measured, profile)]


def _report(
    measured: "Profile",
    old: "Profile | None",
    threshold: float,
    fail_above: str | None,
    plot: str | None,
    files: o.Files,
    rows: bool,
    form: o.Form,
    before: "list[Table] | None",
) -> None:
    """Print a profile, after the tables `before`; where that is None, a comparison with `old` is shown alone."""
    from llmcost.bench.differences import differences, slower
    from llmcost.bench.summary import summary_of
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.report import bench_compare
    from llmcost.report.bench import bench_tables
    from llmcost.report.bench_rows import COLUMNS, flat_rows
    from llmcost.report.tables import to_csv, to_text
    from llmcost.specs.profile import profile_text

    found = [] if old is None else differences(old, measured)
    summary = summary_of(measured)
    changed = [] if old is None else [bench_compare.compare_table(old, measured, found, threshold)]
    alone = bool(changed) and before is None
    columns, differing = bench_compare.COLUMNS, bench_compare.flat_differences(found)
    if alone and form.json:
        measurements = [dict(zip(columns, each, strict=True)) for each in differing]
        show_json({"schema": "llmcost.bench_compare/1", "name": measured.name, "measurements": measurements})
    elif alone and form.csv:
        write(to_csv(columns, differing))
    elif form.json or form.csv:
        write(profile_text(measured) if form.json else to_csv(COLUMNS, flat_rows(summary.rows)))
        print(to_text(changed), end="", file=sys.stderr)
    else:
        show_tables(changed if alone else [*(before or []), *bench_tables(summary, rows=rows), *changed], form.markdown)
    if files.places():
        from llmcost.report.bench import bench_sections
        from llmcost.report.bench_plots import bench_chart

        files.write(
            lambda: bench_chart(summary),
            lambda: [*(before or []), *bench_tables(summary, rows=rows), *changed],
            lambda: bench_sections(summary),
        )
    if plot is not None:
        from llmcost.cli.output import say
        from llmcost.report.bench_plots import write_plots

        for path in write_plots(summary, Path(plot)):
            say(f"wrote {path}")
    if fail_above is not None and slower(found, threshold):
        raise typer.Exit(1)
