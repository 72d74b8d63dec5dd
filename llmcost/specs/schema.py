"""Strict validation of spec files, by pydantic's engine.

Schemas are written as pydantic-core's own dictionaries. Building pydantic's models from annotations would take 150 ms
of every process, as much as everything else that `llmcost estimate` does. Nothing is converted: `true` is not 1, `1e9`
written as text is not a number, and an unknown key is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic_core import SchemaValidator, ValidationError

from llmcost.ground.errors import UNPRINTABLE
from llmcost.specs.reader import Document, Key

Schema = dict[str, Any]
Path: TypeAlias = tuple[Key, ...]

SIZE: Schema = {"type": "int", "strict": True, "gt": 0, "le": 10**9}
FLAG: Schema = {"type": "bool", "strict": True}
TEXT: Schema = {"type": "str", "strict": True, "min_length": 1, "max_length": 500}
WORDS: Schema = TEXT | {"min_length": 0}
BOUNDS = {"greater_than": "above", "greater_than_equal": "at least", "less_than_equal": "at most"}


def choice(*words: str) -> Schema:
    """The schema of a text that is one of these words."""
    return {"type": "literal", "expected": list(words)}


def maybe(item: Schema) -> Schema:
    """The schema of such an item or null."""
    return {"type": "nullable", "schema": item}


def number(least: float, most: float, *, above: bool = False) -> Schema:
    """The schema of a number, whole or not, from `least` or `above` it to `most`: neither NaN nor infinite."""
    lower = "gt" if above else "ge"
    ints = {"type": "int", "strict": True, lower: math.floor(least) if above else math.ceil(least), "le": int(most)}
    floats = {"type": "float", "strict": True, lower: least, "le": most}
    union = {"type": "union", "choices": [ints, floats]}
    words = f"expected a number {'above' if above else 'from'} {least:g} {'and at most' if above else 'to'} {most:g}"
    return {"type": "custom-error", "schema": union, "custom_error_type": "number", "custom_error_message": words}


def whole(least: int, most: int) -> Schema:
    """The schema of a whole number from `least` to `most`."""
    return {"type": "int", "strict": True, "ge": least, "le": most}


def several(item: Schema, most: int = 100) -> Schema:
    """The schema of a list of at most so many such items."""
    return {"type": "list", "items_schema": item, "strict": True, "max_length": most}


def mapping(item: Schema, keys: Schema = TEXT, most: int = 100) -> Schema:
    """The schema of a mapping from at most so many words, of the writer's choice or of `keys`, to such items."""
    return {"type": "dict", "keys_schema": keys, "values_schema": item, "strict": True, "max_length": most}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    """The schema of a mapping that has all `required` fields, any of the `optional` ones, and no others."""
    fields = {
        name: {"type": "typed-dict-field", "schema": schema, "required": name in required}
        for name, schema in {**required, **optional}.items()
    }
    return {"type": "typed-dict", "fields": fields, "extra_behavior": "forbid", "strict": True}


def validate(
    document: Document, schema: Schema, data: Any = None, path_of: Callable[[Path], Path] = tuple
) -> dict[str, Any]:
    """The document's data, if it fits the schema. Raises SpecError about the first thing that does not.

    A value that is wrong comes before a field that is missing. Text has to be printable, as it will be printed. `data`:
    another view of the document's data, where `path_of` says which path of the document a path of the view is.
    """
    data = document.data if data is None else data
    try:
        validated: dict[str, Any] = SchemaValidator(schema).validate_python(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = min(problems, key=lambda problem: problem["type"] == "missing")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        words = _in_words(first, schema, yaml=document.origin is None)
        raise document.error(path_of(first["loc"]), words + more) from None
    if path := _unprintable(validated):
        raise document.error(path_of(path), "this text holds characters that cannot be printed")
    return validated


def _unprintable(value: Any) -> Path | None:
    """The path of a text, of a key or of a value, that holds what does not show but steers a terminal; else None."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        if isinstance(key, str) and not key.isprintable() and UNPRINTABLE.search(key):
            return (key,)
        if isinstance(entry, str):
            if not entry.isprintable() and UNPRINTABLE.search(entry):
                return (key,)
        elif isinstance(entry, dict | list) and (found := _unprintable(entry)):
            return (key, *found)
    return None


def _in_words(problem: Any, schema: Schema, *, yaml: bool) -> str:
    """One problem of pydantic's as this program says it; `yaml`: whether YAML's own reading may have caused it."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    got = f"got {shown(value)}"
    if kind == "missing":
        return "this field is missing"
    if kind == "extra_forbidden":
        return f"not a field that is understood{_nearest(problem['loc'], schema)}"
    if kind == "literal_error":
        return f"must be {context['expected']}, {got}"
    if kind == "int_type":
        return f"expected a whole number, {got}{_number_hint(value) if yaml else ''}"
    if kind in BOUNDS:
        return f"must be {BOUNDS[kind]} {next(iter(context.values())):,}, {got}"
    if kind == "too_short":
        return "expected a list of one or more, got none"
    if kind == "number":
        return f"{problem['msg']}, {got}"
    expected = {
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "a mapping",
    }.get(kind)
    return f"expected {expected}, {got}" if expected else f"{problem['msg'][0].lower()}{problem['msg'][1:]}, {got}"


def shown(value: Any) -> str:
    """A value as a message shows it: text shortened, true and false as YAML writes them, a list or mapping unopened."""
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, int | float):
        return f"{value:,}"[:60]
    return "a mapping" if isinstance(value, dict) else "a list"


def _number_hint(value: Any) -> str:
    """How to write a number that YAML 1.1 reads as text, such as 1e9 or 1_000; "" for any other value."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ""
    return f": YAML reads that as text, write {int(number)}" if abs(number) < 1e18 and number.is_integer() else ""


def _nearest(path: tuple[int | str, ...], schema: Schema) -> str:
    """A field with a name like the last key of a path, of the mapping that this key stands in; "" if there is none."""
    from difflib import get_close_matches

    *parents, name = path
    for key in parents:
        if schema["type"] == "nullable":
            schema = schema["schema"]
        schema = (
            schema["fields"][key]["schema"]
            if "fields" in schema
            else schema.get("items_schema") or schema["values_schema"]
        )
    schema = schema["schema"] if schema["type"] == "nullable" else schema
    close = get_close_matches(str(name), schema.get("fields", {}), n=1)
    return f"; did you mean {close[0]}?" if close else ""
