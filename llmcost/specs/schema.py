"""Strict validation of spec files, by pydantic's engine.

Schemas are written as pydantic-core's own dictionaries: building pydantic's models from annotations
takes 150 ms of every process, as much as everything else `llmcost estimate` does together.
Nothing is converted: `true` is not 1, `1e9` written as text is not a number, an unknown key is refused.
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
    """One of these words."""
    return {"type": "literal", "expected": list(words)}


def several(item: Schema) -> Schema:
    """A list of such items."""
    return {"type": "list", "items_schema": item, "strict": True, "max_length": 100}


def mapping(item: Schema) -> Schema:
    """A mapping from words to such items."""
    return {"type": "dict", "keys_schema": TEXT, "values_schema": item, "strict": True, "max_length": 100}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Schema:
    """A mapping with exactly these fields."""
    fields = {
        name: {"type": "typed-dict-field", "schema": schema, "required": True} for name, schema in required.items()
    }
    fields |= {
        name: {"type": "typed-dict-field", "schema": schema, "required": False} for name, schema in optional.items()
    }
    return {"type": "typed-dict", "fields": fields, "extra_behavior": "forbid", "strict": True}


def validate(document: Document, schema: Schema) -> dict[str, Any]:
    """The document's data if it fits the schema; otherwise a SpecError about the first thing that does not."""
    try:
        validated: dict[str, Any] = SchemaValidator(schema).validate_python(document.data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = min(problems, key=lambda problem: problem["type"] == "missing")  # what is wrong before what is absent
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        path = tuple(key for key in first["loc"])
        raise document.error(path, _in_words(first, schema, yaml=document.origin is None) + more) from None
    return validated


def _in_words(problem: Any, schema: Schema, *, yaml: bool) -> str:
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
    """A value of the wrong kind, as messages name it."""
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    return (
        f"{value:,}"[:60] if isinstance(value, int | float) else f"a {'mapping' if isinstance(value, dict) else 'list'}"
    )


def _number_hint(value: Any) -> str:
    """YAML 1.1 reads 1e9 and 1_000 as text: say so, and how to write it."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ""
    return f": YAML reads that as text, write {int(number)}" if abs(number) < 1e18 and number.is_integer() else ""


def _nearest(path: tuple[int | str, ...], schema: Schema) -> str:
    from difflib import get_close_matches

    *parents, name = path
    for key in parents:  # down to the mapping that the key stands in
        schema = (
            schema["fields"][key]["schema"]
            if "fields" in schema
            else schema.get("items_schema") or schema["values_schema"]
        )
    close = get_close_matches(str(name), schema.get("fields", {}), n=1)
    return f"; did you mean {close[0]}?" if close else ""
