"""`llmcost accuracy`: how far predictions are from published measurements."""

from __future__ import annotations

from typing import Annotated

import typer

from llmcost.cli import options as o
from llmcost.errors import InputError


def accuracy(
    source: Annotated[str | None, typer.Option("--source", help="Measurements of one source alone, e.g. gpt-fast.")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="Those on one GPU.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Those of one engine, or of one class of engines.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="inference, training or micro; all of them.")] = None,
    worst: Annotated[int, typer.Option("--worst", metavar="N", help="List the N predictions that are furthest off.")] = 0,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """How far predictions are from published measurements, by source, engine and GPU. Exit code 1 if one beats our limit unexplained.

    Example: llmcost accuracy --source gpt-fast --worst 5
    """
    from llmcost.accuracy.score import beating, check, chosen
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.report.accuracy import accuracy_document, accuracy_rows, accuracy_tables
    from llmcost.report.tables import to_csv

    o.one_format(json=json, csv=csv, markdown=markdown)
    if worst < 0:
        raise InputError(f"--worst {worst}: at least 0")
    cases = chosen(source, gpu, engine, kind)
    if json:
        show_json(accuracy_document(cases))
    elif csv:
        rows = accuracy_rows(check(cases))
        write(to_csv(list(rows[0]) if rows else [], [list(row.values()) for row in rows]))
    else:
        show_tables(accuracy_tables(cases, worst), markdown)
    if any(not each.why for each in beating(check(cases))):
        raise typer.Exit(1)
