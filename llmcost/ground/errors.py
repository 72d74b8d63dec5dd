"""Bad input: exceptions that carry their exit code, and checks that several options share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What does not show but steers a terminal: control characters, separators of lines, marks that turn the direction of
# writing; and halves of characters, which cannot be written. A line's end is none.
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LARGEST_NUMBER = 1e15  # of a rate, a price or a time that is given
LONGEST_SHOWN = 80  # characters of a key or a name in a message


class InputError(Exception):
    """Bad input or usage. The command line prints its message in one line, without a traceback, and exits with 2.

    What is not printable in it is shown as Python would write it.
    """

    exit_code = 2

    def __str__(self) -> str:
        message = super().__str__()
        return printable(message)


class SpecError(InputError):
    """A file that cannot be used: the message says the file, the line and the field.

    `field` is the path of keys inside the file (`peak.bf16.value`); it is empty where the whole file is meant.
    `line` counts from 1; it is 0 where no line is to blame.
    """

    def __init__(self, file: str, line: int, field: str, problem: str) -> None:
        self.file, self.line, self.field, self.problem = file, line, field, problem
        place = f"{file}:{line}" if line else file
        field = shortened(field)
        super().__init__(f"{place}: {field}: {problem}" if field else f"{place}: {problem}")


class NoSuchKeyError(InputError):
    """Keys to leave out of a config that has none of them, or of a file that is none; `keys`: these."""

    def __init__(self, keys: Sequence[str], problem: str) -> None:
        self.keys = frozenset(keys)
        super().__init__(f"--allow-unknown {shortened(', '.join(keys))}: {problem}")


class UnknownNameError(InputError):
    """A model, GPU or source that is not known.

    The message lists the nearest names that are known, and says which command lists all of them.
    """

    def __init__(self, kind: str, name: str, nearest: list[str]) -> None:
        self.nearest = nearest
        hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
        command = {
            "model": "models",
            "hardware": "hardware",
            "engine": "engines",
            "training engine": "engines",
            "source": "accuracy",
        }[kind]
        super().__init__(f"unknown {kind} {shortened(name)!r}{hint} (all of them: llmcost {command})")


class UnknownFigureError(InputError):
    """A figure that is not known: neither a path of the JSON nor the end of one.

    The message lists the nearest of the `known` paths, and ends with `more`.
    """

    def __init__(self, name: str, known: Iterable[str], more: str = "") -> None:
        from difflib import get_close_matches  # 1 ms that no answer needs

        paths = list(known)
        near = get_close_matches(name, [*paths, *{path.rpartition(".")[2] for path in paths}], n=4, cutoff=0.4)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        super().__init__(f"no figure {shortened(name)!r}{hint}{more}")


def printable(text: str) -> str:
    """A text of a user's own, such as a file's name, in one line that steers no terminal."""
    if text.isprintable():
        return text
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text).replace("\n", "\\n")


def shortened(text: str) -> str:
    """A key, a name or a value as a message shows it: at most 80 characters of it."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def not_finite() -> InputError:
    """The error about a figure that is too large to be a number; what is printed is never NaN or infinite."""
    return InputError("a figure is too large to be printed: a size, a rate or a price that was given is out of reach")


def check_number(option: str, value: float) -> None:
    """Raise InputError for a number that is not from 0 to 10^15: also for NaN."""
    if not 0 <= value <= LARGEST_NUMBER:
        raise InputError(f"{option} {value:g}: a number from 0 to {LARGEST_NUMBER:g}")


def check_count(option: str, value: int, most: int, least: int = 1) -> None:
    """Raise InputError for a count below `least` or above `most`."""
    if not least <= value <= most:
        raise InputError(f"{option} {value}: at least {least} and at most {most:,}")


def check_share(option: str, value: float) -> None:
    """Raise InputError for a share that is not above 0 and at most 1."""
    if not 0 < value <= 1:
        raise InputError(f"{option} {value:g}: a share of 1, above 0 and at most 1")


def check_word(option: str, value: str, known: tuple[str, ...], parts: int = 1) -> None:
    """Raise InputError for what is none of the known words, nor up to so many `parts` of them joined by +."""
    if not all(part in known for part in str(value).split("+", parts - 1)):
        raise InputError(f"{option} {shortened(str(value))}: one of {_nearest(str(value), known)}")


def _nearest(asked: str, known: tuple[str, ...]) -> str:
    """The known words; of many, some, and where to find the others.

    Those that begin with what was asked for, shortest first; or else the first ones, and those that are like it.
    """
    if len(known) <= 10:
        return ", ".join(known)
    from difflib import get_close_matches

    word = asked.lower().replace("_", "-")
    begin = [each for each in known if word and each.replace("_", "-").startswith(word)]
    near = [] if begin else get_close_matches(word.replace("-", "_"), known, n=6, cutoff=0.5)
    found = sorted(begin, key=len)[:9] or list(dict.fromkeys((*known[:4], *near)))
    return f"{', '.join(found)} or another format of docs/conventions.md"
