"""JSON in, with the line of every key.

Python's own reader forgets the lines, and of two equal keys keeps the last one without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llmcost.ground.errors import SpecError
from llmcost.specs.reader import Document, Key

TOO_DEEP = "nested too deeply"
LONGEST_NUMBER = 40  # digits of a whole number, as in YAML
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:\n]')


def loaded(text: str | bytes, **hooks: Any) -> Any:
    """What a JSON text holds. Raises ValueError where it is none, and also where it is nested too deeply to be read."""
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def parse_json(text: str, file: str, *, from_python: bool = False) -> dict[str, Any]:
    """The one JSON object that a text holds; `file` is what messages call it.

    `from_python`: Infinity and NaN, which Python writes and JSON has not, are read as these words instead of refused.

    Raises SpecError, with the line, for anything else and for a key that stands twice in an object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise _twice(text, file)
        return found

    def whole(digits: str) -> int:
        if len(digits) > LONGEST_NUMBER:  # none of a model's, and Python may refuse to print it
            raise _unusable(text, file, digits, f"a number of {len(digits):,} digits")
        return int(digits)

    def no_number(word: str) -> str:
        if from_python:
            return word
        raise _unusable(text, file, word, f"{word} is no number of JSON's")

    try:
        config = loaded(text, object_pairs_hook=unique, parse_int=whole, parse_constant=no_number)
    except json.JSONDecodeError as error:
        raise SpecError(file, error.lineno, "", f"not valid JSON: {error.msg}") from None
    except ValueError as error:
        raise SpecError(file, 0, "", f"not usable: {error}") from None
    if not isinstance(config, dict):
        raise SpecError(file, 1, "", "expected an object of keys and values")
    return config


def _unusable(text: str, file: str, word: str, problem: str) -> SpecError:
    """The error that names the line of a number that cannot be read."""
    found = re.search(rf"(?<![\w\"]){re.escape(word)}", text)
    return SpecError(file, text.count("\n", 0, found.start()) + 1 if found else 0, "", f"not usable: {problem}")


def places(text: str) -> Iterator[tuple[tuple[Key, ...], int]]:
    """The path of every key of a valid JSON text, with its line, in the order of the text."""
    line, word = 1, ""
    path: list[Key] = []  # of every open bracket, the key or the position in the list that is being read
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark == "\n":
            line += 1
        elif mark in "{[":
            path.append("" if mark == "{" else 0)
        elif mark in "}]":
            path.pop()
        elif mark == "," and isinstance(position := path[-1], int):
            path[-1] = position + 1
        elif mark == ":":
            path[-1] = word
            yield tuple(path), line
        elif mark != ",":
            word = json.loads(mark) if "\\" in mark else mark[1:-1]


def document_of(text: str, file: str) -> Document:
    """The document of a JSON text that holds one object. Raises SpecError.

    Lines are looked for when a message needs one.
    """

    def origin(path: tuple[Key, ...]) -> tuple[str, int]:
        found = list(places(text))
        ends = (len(path) - cut for cut in range(len(path)))
        lines = (line for end in ends for place, line in found if place[:end] == path[:end])
        return ".".join(map(str, path)), next(lines, 1)

    return Document(file, parse_json(text, file), {}, origin)


def line_of(text: str, path: tuple[Key, ...]) -> int:
    """The line of the key at a path; else the first line of the same key elsewhere; else 0."""
    elsewhere = 0
    for place, line in places(text):
        if place == path:
            return line
        if place[-1] == path[-1]:
            elsewhere = elsewhere or line
    return elsewhere


def _twice(text: str, file: str) -> SpecError:
    """The error about the first key that stands at a path where it has stood before."""
    seen: set[tuple[Key, ...]] = set()
    for path, line in places(text):
        if path in seen:
            return SpecError(file, line, ".".join(map(str, path)), "this key stands twice")
        seen.add(path)
    return SpecError(file, 0, "", "a key stands twice")
