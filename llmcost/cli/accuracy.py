"""`llmcost accuracy`: how far predictions are from published measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcost.cli import options as o
from llmcost.ground.errors import InputError


def accuracy(
    source: Annotated[str | None, typer.Option("--source", help="Measurements of one source alone, e.g. gpt-fast.")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Those on one GPU.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Those of one engine, or of one class of engines.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", metavar="FILE", help="By this profile, not by the defaults.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="inference, training or micro; all of them.")] = None,
    worst: Annotated[int, typer.Option("--worst", metavar="N", help="List the N predictions that are furthest off.")] = 0,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:  # fmt: skip
    """How far predictions are from published measurements, by source, engine and GPU. Exit code 1 if one beats our
    limit unexplained.

    Example: llmcost accuracy --source gpt-fast --worst 5
    """
    from llmcost.accuracy.score import check, chosen
    from llmcost.accuracy.scoreboard import scoreboard
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.report.accuracy import accuracy_tables
    from llmcost.report.tables import to_csv
    from llmcost.specs.profile import load_profile

    o.one_format(json=json, csv=csv, markdown=markdown)
    if worst < 0:
        raise InputError(f"--worst {worst}: at least 0")
    if profile is not None:
        gpu = gpu or load_profile(Path(profile)).hardware
    cases = chosen(source, gpu, engine, kind)
    board = scoreboard(cases, check(cases, profile), worst)
    if json:
        show_json(board.to_dict())
    elif csv:
        rows = board.rows()
        write(to_csv(list(rows[0]) if rows else [], [list(row.values()) for row in rows]))
    else:
        show_tables(accuracy_tables(board), markdown)
    if any(not each.why for each in board.beating):
        raise typer.Exit(1)
