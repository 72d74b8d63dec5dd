"""Files out: whole or not at all, whatever ends the program while it writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import isdir
from pathlib import Path

from llmcost.ground.errors import InputError


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
