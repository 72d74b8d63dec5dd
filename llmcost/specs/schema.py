"""Strict validation of spec files, by pydantic's engine.

Schemas are written as pydantic-core's own dictionaries. Building pydantic's models from annotations would take 150 ms
of every process, as much as everything else that `llmcost estimate` does. Nothing is converted: `true` is not 1, `1e9`
written as text is not a number, and an unknown key is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import SchemaValidator, ValidationError

from llmcost.specs.reader import Document

Schema = dict[str, Any]

SIZE: Schema = {"type": "int", "strict": True, "gt": 0, "le": 10**9}
FLAG: Schema = {"type": "bool", "strict": True}
TEXT: Schema = {"type": "str", "strict": True, "min_length": 1, "max_length": 500}


def choice(*words: str) -> Schema:
    """The schema of a text that is one of these words."""
    return {"type": "literal", "expected": list(words)}


def several(item: Schema) -> Schema:
    """The schema of a list of at most 100 such items."""
    return {"type": "list", "items_schema": item, "strict": True, "max_length": 100}


def mapping(item: Schema) -> Schema:
    """The schema of a mapping from at most 100 words of the writer's choice to such items."""
    return {"type": "dict", "keys_schema": TEXT, "values_schema": item, "strict": True, "max_length": 100}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    """The schema of a mapping that has all `required` fields, any of the `optional` ones, and no others."""
    fields = {
        name: {"type": "typed-dict-field", "schema": schema, "required": name in required}
        for name, schema in {**required, **optional}.items()
    }
    return {"type": "typed-dict", "fields": fields, "extra_behavior": "forbid", "strict": True}


def validate(document: Document, schema: Schema) -> dict[str, Any]:
    """The document's data, if it fits the schema. Raises SpecError about the first thing that does not.

    A value that is wrong comes before a field that is missing.
    """
    try:
        validated: dict[str, Any] = SchemaValidator(schema).validate_python(document.data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = min(problems, key=lambda problem: problem["type"] == "missing")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        words = _in_words(first, schema, yaml=document.origin is None)
        raise document.error(tuple(first["loc"]), words + more) from None
    return validated


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
    if kind in ("greater_than", "less_than_equal"):
        return f"must be {'above' if kind == 'greater_than' else 'at most'} {next(iter(context.values())):,}, {got}"
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
        if "fields" in schema:
            schema = schema["fields"][key]["schema"]
        else:
            schema = schema.get("items_schema") or schema["values_schema"]
    close = get_close_matches(str(name), schema.get("fields", {}), n=1)
    return f"; did you mean {close[0]}?" if close else ""
