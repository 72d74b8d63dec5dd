"""Writing files: each is written whole or not at all, whatever ends the program meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmcost.ground.errors import InputError


def write_file(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all. Raises InputError where it cannot be written."""
    with draft_of(path) as draft:
        draft.write_text(text, "utf-8")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` to write to; it takes the place of `path` when the block ends without an error.

    It has the mode of the file that it replaces, or that of any new file. Where `path` is a symbolic link, the file
    that it leads to is replaced. A device or a pipe is no file to replace: it is written to as it stands. Raises
    InputError where `path` is a folder or cannot be written: at once, not after hours of computing.
    """
    with _said_of(path):
        before = _status(path)
        if before is not None and not stat.S_ISREG(before.st_mode):
            yield path
            return
        target = Path(os.path.realpath(path))
        draft = _empty_draft(target, before)
        try:
            yield draft
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raise InputError where `draft_of` would: what takes long to compute is not begun for a place like that."""
    with _said_of(path):
        before = _status(path)
        if before is None or stat.S_ISREG(before.st_mode):
            _empty_draft(Path(os.path.realpath(path)), before).unlink()


def refuse_input(path: Path, *inputs: str | Path | None) -> None:
    """Raise InputError where writing to `path` would replace one of the files that a command reads."""
    for each in inputs:
        with suppress(OSError, ValueError):  # one of them is no file
            if each is not None and path.samefile(each):
                raise InputError(f"{path}: is what is read here; choose another file to write to")


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """Errors of the system as InputError, with the path."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _status(path: Path) -> os.stat_result | None:
    """What stands at a path, links followed; None where nothing does. Raises InputError for a folder, and OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except ValueError as error:  # a NUL in the path
        raise OSError(str(error)) from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path}: is a folder")
    if not os.access(path, os.W_OK):
        raise PermissionError(0, "Permission denied")
    return found


def _empty_draft(target: Path, before: os.stat_result | None) -> Path:
    """A new file in the folder of a target, with the mode that the target is to have. Raises OSError."""
    from tempfile import mkstemp  # 5 ms that a command without a file does not need

    handle, name = mkstemp(prefix=".llmcost-", dir=target.parent)
    os.close(handle)
    if before is None:
        umask = os.umask(0)  # it is read by setting it
        os.umask(umask)
    Path(name).chmod(0o666 & ~umask if before is None else stat.S_IMODE(before.st_mode))
    return Path(name)
