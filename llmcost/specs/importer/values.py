"""Values of an architecture's fields: written out, or looked up in a model's config.

specs/architectures/README.md describes the forms that a value has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

Get = Callable[[str], Any]

_OPERATORS = re.compile("[-+*/]")
_CONDITION = {"if", "is", "begins", "then", "else"}
_EITHER, _DISTINCT, _SHARE, _HAS = {"either"}, {"distinct"}, {"share", "of"}, {"has", "word"}
MOST = 10**9  # of a share of a size
MOST_ENTRIES = 10_000  # of a list


class NotWholeError(Exception):
    """A key that arithmetic needs holds no whole number, or a divisor below 1; says which key, and the problem."""

    def __init__(self, key: str, value: Any, least: str = "", kind: str = "a whole number") -> None:
        self.key = key
        wrong = f"expected {kind}{least}, got {json.dumps(value)[:40]}"
        self.problem = "this key is missing" if value is None else wrong
        super().__init__(f"{key}: {self.problem}")


def evaluate(said: Any, get: Get) -> Any:
    """What a value comes to for one config, whose keys `get` looks up. Raises NotWholeError."""
    if isinstance(said, str) and said.startswith("="):
        return _sum(said[1:], get) if _OPERATORS.search(said) else get(said[1:])
    if not isinstance(said, dict):
        return said
    if "either" in said:
        found = None
        for each in said["either"]:
            found = evaluate(each, get)
            if found:
                break
        return found
    if "share" in said:
        return _share(said, get)
    if "distinct" in said:
        entries = get(said["distinct"])
        return len({str(each) for each in entries}) if isinstance(entries, list) else None
    if "has" in said:
        entries = get(said["has"])
        return isinstance(entries, list) and said["word"] in entries
    key = get(said["if"])
    holds = str(key) == str(said["is"]) if "is" in said else key
    if "begins" in said:
        holds = str(key).startswith(said["begins"])
    return evaluate(said.get("then" if holds else "else"), get)


def keys_of(said: Any) -> list[str]:
    """The keys that a value is computed from, in order; not those that only decide which of two it is."""
    if isinstance(said, str) and said.startswith("="):
        return [word for word in _OPERATORS.split(said[1:]) if not word.isdecimal()]
    if not isinstance(said, dict):
        return []
    if "share" in said:
        return [said[name] for name in ("share", "of", "multiple") if name in said]
    if "distinct" in said or "has" in said:
        return [said.get("distinct") or said["has"]]
    return [key for each in (*said.get("either", ()), said.get("then"), said.get("else")) for key in keys_of(each)]


def plain_values(said: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every plain value that a field may have, with its place; those that are looked up are left out.

    Raises ValueError with (place, problem) for what has none of a value's forms.
    """
    if isinstance(said, str) and said.startswith("="):
        if not all(word.isdecimal() or _is_key(word) for word in _OPERATORS.split(said[1:])):
            raise ValueError(path, f"expected =key, or keys and numbers with + - * / between them, got {said[:60]!r}")
    elif not isinstance(said, dict):
        yield path, said
    elif said.keys() == _EITHER and isinstance(said["either"], list) and len(said["either"]) > 1:
        for position, each in enumerate(said["either"]):
            yield from plain_values(each, (*path, "either", position))
    elif (
        (said.keys() == _DISTINCT and _is_key(said["distinct"]))
        or (said.keys() == _HAS and _is_key(said["has"]))
        or (said.keys() - {"multiple"} == _SHARE and all(map(_is_key, said.values())))
    ):
        return
    elif said.keys() <= _CONDITION and _is_key(said.get("if")) and ("then" in said or "else" in said):
        for side in ("then", "else"):
            yield from plain_values(said.get(side), (*path, side))
    else:
        problem = (
            "expected a value, {if: key, then: …, else: …}, {either: [value, value]}, {distinct: key}, "
            "{has: key, word: text} or {share: key, of: key, multiple: key}"
        )
        raise ValueError(path, problem)


def _is_key(word: Any) -> bool:
    return isinstance(word, str) and all(part.isidentifier() for part in word.split("."))


def _share(said: dict[str, str], get: Get) -> int:
    """A size times a factor, rounded down, or up to a multiple. Raises NotWholeError."""
    size, factor = get(said["of"]), get(said["share"])
    multiple = get(said["multiple"]) if "multiple" in said else None
    for name, value, kinds in (("of", size, int), ("share", factor, int | float), ("multiple", multiple, int | None)):
        if not isinstance(value, kinds) or (value is not None and not 0 < value < MOST):
            raise NotWholeError(said[name], value, " above 0", "a number" if name == "share" else "a whole number")
    if multiple is None:
        return int(size * factor)
    return int((size * factor + multiple - 1) // multiple * multiple)


def _sum(text: str, get: Get) -> int | list[int]:
    """Products with + and - between them; of a list that a key holds, one for each entry."""
    listed = next((value for word in _OPERATORS.split(text) if isinstance(value := get(word), list)), None)
    if listed is not None:
        return [
            _whole_sum(text, lambda key, place=place: _entry(get(key), place))  # type: ignore[misc]
            for place in range(min(len(listed), MOST_ENTRIES))
        ]
    return _whole_sum(text, get)


def _entry(value: Any, place: int) -> Any:
    if not isinstance(value, list):
        return value
    return value[place] if place < len(value) else None


def _whole_sum(text: str, get: Get) -> int:
    signed = re.findall(r"([-+]?)([^-+]+)", text)
    return sum(-_product(product, get) if sign == "-" else _product(product, get) for sign, product in signed)


def _product(text: str, get: Get) -> int:
    """Whole numbers and keys with * and / between them, from left to right."""
    result = 1
    for sign, name in re.findall(r"([*/]?)([^*/]+)", text):
        number = int(name) if name.isdecimal() else get(name)
        if not isinstance(number, int) or (sign == "/" and number < 1):
            raise NotWholeError(name, number, " above 0" if sign == "/" else "")
        result = result // number if sign == "/" else result * number
    return result
