"""Where answers go: stdout, and nothing else does."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmcost.ground.errors import not_finite
from llmcost.ground.files import draft_of
from llmcost.report.tables import Table, print_tables, to_markdown


def write(text: str) -> None:
    """Text to stdout."""
    sys.stdout.write(text)


def show_json(document: Any) -> None:
    """One JSON document."""
    import json

    try:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise not_finite() from None
    write(text + "\n")


def show_tables(tables: Iterable[Table], markdown: bool) -> None:
    """Tables as Markdown, or to the terminal."""
    if markdown:
        write(to_markdown(tables))
    else:
        print_tables(tables)


def write_pieces(pieces: Iterable[str], output: Path | None) -> None:
    """Text a piece at a time, to stdout or into a file."""
    if output is None:
        for piece in pieces:
            write(piece)
        return
    with draft_of(output) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        for piece in pieces:
            file.write(piece)
