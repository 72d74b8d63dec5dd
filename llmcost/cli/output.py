"""Where answers go: stdout, and nothing else does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os.path import isdir
from pathlib import Path
from typing import Any

from llmcost.errors import InputError
from llmcost.report.tables import Table, print_tables, to_markdown


def write(text: str) -> None:
    """Text to stdout."""
    sys.stdout.write(text)


def show_json(document: Any) -> None:
    """One JSON document."""
    import json

    write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


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


def write_file(path: Path, text: str) -> None:
    """A file, whole or not at all. Raises InputError if it cannot be written."""
    with draft_of(path) as draft:
        draft.write_text(text, "utf-8")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, moved there once it is whole. Raises InputError if it cannot be written."""
    if not path.name or isdir(path):
        raise InputError(f"{path}: is a folder")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.touch()  # before hours of computing
        yield draft
        draft.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)
