"""Writing files: each is written whole or not at all, whatever ends the program meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import isdir
from pathlib import Path

from llmcost.ground.errors import InputError


def write_file(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all. Raises InputError where it cannot be written."""
    with draft_of(path) as draft:
        draft.write_text(text, "utf-8")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Raises InputError where `path` is a folder or cannot be written: at once, not after hours of computing.
    """
    if not path.name or isdir(path):
        raise InputError(f"{path}: is a folder")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.touch()
        yield draft
        draft.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)
