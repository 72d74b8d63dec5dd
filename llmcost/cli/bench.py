"""`llmcost bench`: time this machine's kernels, or show, compare and plot what was measured before."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmcost.cli import options as o
from llmcost.ground.errors import InputError

if TYPE_CHECKING:
    from llmcost.bench.session import Session
    from llmcost.report.tables import Table
    from llmcost.specs.profile import Profile

INTERRUPTED = 130
SHOWN_ABOVE = 0.1  # changes that are listed where no threshold is asked for
PHASES = ("decode", "prefill", "train")
Model = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="Time this model's operators and a whole pass of it instead of suites."),
]


def bench(
    model: Model = None,
    suite: Annotated[str | None, typer.Option("--suite", metavar="NAMES", help="gemm, ceiling, prefill, decode, memory, elementwise, grouped, launch, collectives, step; several with commas.")] = None,
    full: Annotated[bool, typer.Option("--full/--quick", help="Minutes instead of a minute and a half.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="What would be measured, with bytes and time; measures nothing.")] = False,
    phase: Annotated[str, typer.Option("--phase", help="With MODEL: decode, prefill or train.")] = "decode",
    batch: o.Batch = 1,
    context: o.PassTokens = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="With MODEL: bf16, fp16 or fp32; bf16, on a CPU fp32.")] = None,
    hw: Annotated[str | None, typer.Option("--hw", metavar="HW", help="The spec to compare with, where the device's name is not known.")] = None,
    profile: o.ProfilePath = None,
    device: Annotated[str | None, typer.Option("--device", help="cuda (ROCm too), mps or cpu; the GPU that is there.")] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write the profile; profile-NAME-TIME.json after suites. With --show: fitted anew.")] = None,
    resume: Annotated[str | None, typer.Option("--resume", metavar="FILE", help="Go on with an interrupted run: measure only what its file lacks.")] = None,
    show: Annotated[str | None, typer.Option("--show", metavar="FILE", help="Show a profile measured before; measures nothing.")] = None,
    compare: Annotated[str | None, typer.Option("--compare", metavar="OLD", help="What became faster or slower than in this profile; with --show, that alone.")] = None,
    fail_above: Annotated[str | None, typer.Option("--fail-above", metavar="PERCENT", help="With --compare: exit 1 if anything is clearly slower by more, e.g. 5%.")] = None,
    plot: Annotated[str | None, typer.Option("--plot", metavar="FOLDER", help="Charts as SVG files.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Also every row.")] = False,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:  # fmt: skip
    """Time real kernels on this machine's GPU: what it reaches, how well that is predicted, and a profile for
    `estimate`.

    Examples: llmcost bench; llmcost bench llama3-8b -b 16 -c 8k; llmcost bench --show hardware/profiles/h200.json
    """
    from llmcost.specs.profile import load_profile

    o.one_format(json=json, csv=csv, markdown=markdown)
    threshold = _threshold(compare, fail_above)
    old = None if compare is None else load_profile(Path(compare))  # before anything is measured
    if plot is not None:
        from llmcost.report.bench_plots import check

        check(Path(plot))
    if show is not None:
        _refuse_both(show, model, suite, plan)
        shown = _shown(Path(show), output)
        _report(shown, old, threshold, fail_above, plot, rows, json=json, csv=csv, markdown=markdown, alone=True)
        return
    session = _session(model, suite, full, phase, batch, context, dtype, hw, device, output, resume)
    if plan:
        _show_plan(session, markdown)
        return
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # what a scheduler sends at the end of its time, kept like Ctrl-C
    measured = session.run()
    session.runner.tell("")
    if session.silent:
        return
    tables = _pass_tables(measured, profile) if model else []
    try:
        _report(measured, old, threshold, fail_above, plot, rows, json=json, csv=csv, markdown=markdown, before=tables)
    finally:
        session.write(measured)
    if not measured.complete:
        raise typer.Exit(INTERRUPTED)
    if any(row.status in ("wrong", "failed") for row in measured.measured()):
        raise typer.Exit(1)


def _session(
    model: str | None, suite: str | None, full: bool, phase: str, batch: int, context: int | None, dtype: str | None,
    hw: str | None, device: str | None, output: str | None, resume: str | None,
) -> Session:  # fmt: skip
    """A run as asked for. Raises InputError, and NoDeviceError without torch or a device."""
    if model is not None and suite is not None:
        raise InputError(f"--suite {suite}: either suites or a model")
    if phase not in PHASES:
        raise InputError(f"--phase {phase}: one of {', '.join(PHASES)}")
    of_a_pass = {
        "--phase": phase != PHASES[0],
        "--batch": batch != 1,
        "--context": context is not None,
        "--dtype": dtype is not None,
    }
    for option, given in of_a_pass.items():
        if given and model is None:
            raise InputError(
                f"{option} is of a whole pass: give its MODEL too; suites have sizes and data types of their own"
            )
    if device not in (None, "cuda", "mps", "cpu"):
        raise InputError(f"--device {device}: one of cuda, mps, cpu")
    from llmcost.bench import require_torch

    require_torch()
    from llmcost.bench.device import find_device
    from llmcost.bench.session import BenchRequest, Session, pass_asked, suites_asked

    suites = suites_asked(suite)
    found = find_device(device)
    passes = () if model is None else (pass_asked(model, phase, batch, context, dtype, found),)
    target, earlier = (None if each is None else Path(each) for each in (output, resume))
    return Session(found, BenchRequest(suites, full, hw, target, passes, earlier))


def _shown(path: Path, output: str | None) -> Profile:
    """A profile measured before; fitted where it is that of an unfinished run, and anew where it is to be written."""
    from llmcost.bench.fit_profile import fitted
    from llmcost.ground.files import write_file
    from llmcost.specs.profile import load_profile, profile_text

    profile = load_profile(path)
    if output is None and profile.fit:
        return profile
    profile = fitted(profile)
    if output is not None:
        write_file(Path(output), profile_text(profile))
        print(f"llmcost: wrote {output}", file=sys.stderr)
    return profile


def _refuse_both(show: str, model: str | None, suite: str | None, plan: bool) -> None:
    for name, given in (("MODEL", model), ("--suite", suite), ("--plan", plan)):
        if given:
            raise InputError(f"--show {show} measures nothing: leave {name} out")


def _threshold(compare: str | None, fail_above: str | None) -> float:
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


def _show_plan(session: Session, markdown: bool) -> None:
    from llmcost.cli.output import show_tables
    from llmcost.ground.units import scaled
    from llmcost.report.tables import Table

    found = [
        (suite, f"{count:,}", scaled(bytes_, "B"), f"{seconds:.0f} s")
        for suite, count, bytes_, seconds in session.outline()
    ]
    total = f"{sum(seconds for *_, seconds in session.outline()):.0f} s"
    title = f"Would be measured on {session.device.name}"
    notes = ("Times are rough: how long choosing among the ways takes depends on how many are installed.",)
    show_tables(
        [Table(title, ("suite", "cases", "largest", "about"), "lrrr", [*found, ("all", "", "", total)], notes)],
        markdown,
    )


def _pass_tables(measured: Profile, profile: str | None) -> list[Table]:
    """Each pass operator by operator, beside what `estimate` says of it."""
    from llmcost.bench.summary import measured_passes
    from llmcost.report.bench_rows import pass_table

    return [pass_table(each) for each in measured_passes(measured, profile)]


def _report(
    measured: Profile, old: Profile | None, threshold: float, fail_above: str | None, plot: str | None, rows: bool,
    *, json: bool, csv: bool, markdown: bool, before: list[Table] | None = None, alone: bool = False,
) -> None:  # fmt: skip
    from llmcost.bench.differences import differences, slower
    from llmcost.bench.summary import summary_of
    from llmcost.cli.output import show_tables, write
    from llmcost.report.bench import bench_tables
    from llmcost.report.bench_compare import compare_table
    from llmcost.report.bench_rows import COLUMNS, flat_rows
    from llmcost.report.tables import to_csv
    from llmcost.specs.profile import profile_text

    found = [] if old is None else differences(old, measured)
    summary = summary_of(measured)
    if json:
        write(profile_text(measured))
    elif csv:
        write(to_csv(COLUMNS, flat_rows(summary.rows)))
    else:
        changed = [] if old is None else [compare_table(old, measured, found, threshold)]
        tables = changed if changed and alone else [*(before or []), *bench_tables(summary, rows=rows), *changed]
        show_tables(tables, markdown)
    if plot is not None:
        from llmcost.report.bench_plots import write_plots

        for path in write_plots(summary, Path(plot)):
            print(f"llmcost: wrote {path}", file=sys.stderr)
    if fail_above is not None and slower(found, threshold):
        raise typer.Exit(1)
