"""`llmcost accuracy`: how far predictions are from published measurements."""

from pathlib import Path
from typing import Annotated

import typer

from llmcost.cli import options as o
from llmcost.cli.command import Takes
from llmcost.ground.options import Option, count


def accuracy(
    *,
    source: Annotated[
        str | None, Option("Measurements of one source alone, e.g. gpt-fast.", default="all of them")
    ] = None,
    gpu: Annotated[str | None, Option("Measurements on one GPU.", default="all of them")] = None,
    engine: Annotated[
        str | None,
        Option(
            "Runs of one engine (llmcost engines), predicted by its file if one is named; or of a class of engines.",
            default="all of them",
        ),
    ] = None,
    profile: Annotated[str | None, Option("Predict by this profile instead of the defaults.", metavar="FILE")] = None,
    kind: Annotated[str | None, Option("inference, training or micro.", metavar="KIND", default="all of them")] = None,
    files: Annotated[o.Files, Takes(o.Files, only=o.DRAWN)],
    leave_out: Annotated[
        str | None,
        Option(
            "Also predict training by shares chosen without each source, engine or gpu in turn.",
            metavar="GROUP",
            default="none is left out",
        ),
    ] = None,
    worst: Annotated[int, count("Also list the N predictions that are furthest off.", least=0)] = 0,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """How far predictions are from published measurements, by source, engine and GPU.

    Exit code 1 if a measurement beats our limit and no reason for it is known.

    Example: llmcost accuracy --source gpt-fast --worst 5
    """
    from llmcost.accuracy.left_out import check_group
    from llmcost.accuracy.score import check, chosen
    from llmcost.accuracy.scoreboard import scoreboard
    from llmcost.cli.output import waiting
    from llmcost.report.accuracy import accuracy_tables
    from llmcost.report.accuracy_charts import CAPTION, TITLE, accuracy_panels
    from llmcost.report.charts import Chart
    from llmcost.specs.profile import load_profile

    files.ready(*([] if profile is None else [profile]))
    if profile is not None:
        gpu = gpu or load_profile(Path(profile)).hardware
    cases = chosen(source, gpu, engine, kind)
    if leave_out is not None:
        check_group(leave_out, cases)
    with waiting("predicting what was measured"):
        board = scoreboard(cases, check(cases, profile), worst, profile=profile, leave_out=leave_out)
    title = f"{TITLE}: {len(board.figures):,} published figures"
    files.write(lambda: Chart(title, accuracy_panels(board), [CAPTION]))
    rows = board.rows()
    form.show(
        board.to_dict,
        lambda: (list(rows[0]) if rows else [], [list(row.values()) for row in rows]),
        lambda: accuracy_tables(board, engine),
    )
    if any(not each.why for each in board.beating):
        raise typer.Exit(1)
