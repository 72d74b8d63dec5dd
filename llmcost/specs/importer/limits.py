"""Values of a config that its type cannot have: each is refused by its own key, before or after layers are read.

What a type's rules say of its keys (specs/architectures/README.md), and what the reference's class takes for them
(importer/defaults.json): kinds of values, hidden sizes that heads divide, and heads of an even width.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llmcost.specs.importer.keys import Keys
from llmcost.specs.importer.values import keys_of

KINDS = {  # of values in a config, in words
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "list": "a list",
    "dict": "an object", "null": "null",
}  # fmt: skip
NEEDED = ("hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "intermediate_size")  # never 0
ODD_HEADS = 4  # the reference lets heads of so few be odd


def refuse_values(keys: Keys) -> None:
    """Refuse values that a key cannot have, whatever the others are. Raises SpecError."""
    for key, problem in (*_by_rules(keys), *_words(keys), *_flags(keys), *_other_kinds(keys)):
        raise keys.error(key, problem)


def refuse_contradictions(keys: Keys, depth: int) -> None:
    """Refuse sizes that contradict each other or the depth. Raises SpecError. No key counts as looked at by this."""
    asked = set(keys.asked)
    checks = (_sums, _divisors, _offsets, _no_heads, _broken_heads)
    for key, problem in (found for check in checks for found in check(keys)):
        raise keys.error(key, problem)
    for key in keys.rules.get("by_layer", ()):
        entries = keys.given.get(key, [None] * depth)
        if not isinstance(entries, list) or len(entries) < depth:
            raise keys.error(key, f"expected a list of {depth} entries, one a layer")
    keys.asked.clear()
    keys.asked.update(asked)


Problems = Iterator[tuple[str, str]]  # a key, and what is wrong with it


def _by_rules(keys: Keys) -> Problems:
    """Sizes that are 0, null or odd."""
    rules, given = keys.rules, keys.given
    for key in rules.get("never_zero", ()):
        outer, _, inner = key.partition(".")
        value = given.get(outer)
        value = value.get(inner) if inner and isinstance(value, dict) else value
        if outer in given and (value == 0 or (inner and not isinstance(value, int))):
            yield key, f"must be above 0, got {_shown(value)}"
    yield from ((key, "expected a value, got null") for key in rules.get("never_null", ()) if given.get(key, 0) is None)
    for key in rules.get("even", ()):
        for value in _entries(given.get(key, 2)):
            if kind_of(value) != "int" or value < 1 or value % 2:
                yield key, f"expected an even number above 0, got {_shown(value)}"


def _words(keys: Keys) -> Problems:
    """Words that a key cannot be, and keys that may be true only where others are."""
    rules, given = keys.rules, keys.given
    for key, words in rules.get("words", {}).items():
        for value in _entries(given.get(key, words[0])):
            if ("null" if value is None else value) not in words:
                yield key, f"expected {' or '.join(words)}, got {_shown(value)}"
    for key, other in rules.get("needs", {}).items():
        if given.get(key) and not given.get(other):
            yield key, f"expected false, since {other} is not true"


def _flags(keys: Keys) -> Problems:
    """Flags that are neither true nor false; null is false, but where true is the default, which could mean either."""
    for key, value in [*keys.given.items()]:
        rule = key in keys.rules.get("flags", ())
        null = value is None and not rule and not keys.defaults.get(key)
        if (rule or keys.is_flag(key)) and value not in (True, False) and not null:
            yield key, f"expected true or false, got {_shown(value)}"
        if value is None and keys.defaults.get(key) is False:
            keys.given[key] = False


def _other_kinds(keys: Keys) -> Problems:
    """Values of a kind that the reference's class does not take for their key, and negative sizes."""
    for kinds, named in keys.defaults.get("accepts", {}).items():
        for key in keys.given.keys() & named.split():
            value, words = keys.given[key], kinds.split()
            if value != "auto" and kind_of(value) not in words:
                yield key, f"expected {' or '.join(KINDS[word] for word in words)}, got {_shown(value)}"
            least = min(0, keys.defaults[key]) if kind_of(keys.defaults.get(key)) == "int" else 0
            if kind_of(value) == "int" and value < least:
                needed = any(key in keys.names(name) for name in NEEDED)
                yield key, f"expected a whole number {'above 0' if needed else f'from {least} on'}, got {value}"


def _sums(keys: Keys) -> Problems:
    """Sums and products of keys that have to be what another value is; of keys that are left open, nothing is said."""
    for said, other in keys.rules.get("alike", {}).items():
        named = keys_of(f"={said}")
        if any(keys.get(key) is None and keys.given.get(key, "") is not None for key in named):
            continue
        one, two = keys.value(f"={said}"), keys.value(other)
        if one != two:
            yield next((key for key in named if key in keys.given), named[0]), f"{said} is {one}, expected {two}"


def _divisors(keys: Keys) -> Problems:
    for key, other in keys.rules.get("divides", {}).items():
        size, whole = keys.whole(key), keys.value(other)
        if size and whole % size:
            yield key, f"expected a divisor of {whole}, got {size}"


def _offsets(keys: Keys) -> Problems:
    for key, other in keys.rules.get("below", {}).items():
        if keys.whole(key) >= keys.whole(other):
            yield key, f"expected a number below {other}, {keys.whole(other)}, got {keys.whole(key)}"


def _no_heads(keys: Keys) -> Problems:
    for name in ("num_attention_heads", "num_key_value_heads"):
        for key in keys.names(name):
            if kind_of(keys.given.get(key)) == "int" and keys.given[key] == 0:
                yield key, "must be above 0, got 0"


def _broken_heads(keys: Keys) -> Problems:
    """A hidden size that the heads do not divide, and rotary heads of an odd width, where the class refuses them."""
    heads, hidden = keys.field("num_attention_heads"), keys.field("hidden_size")
    counted = kind_of(heads) == kind_of(hidden) == "int" and heads > 0
    if keys.defaults.get("whole") and counted and hidden % heads:
        yield "hidden_size", f"{heads} heads do not divide {hidden}, which {keys.type} needs"
    for key in keys.defaults.get("even", ()):
        width = keys.field(key)
        width = hidden // heads if width is None and counted else width
        odd = kind_of(width) == "int" and width > ODD_HEADS and width % 2
        if odd and "partial_rotary_factor" not in json.dumps(keys.given):
            yield key, f"rotary positions need heads of an even width, got {width}"


def kind_of(value: Any) -> str:
    """The kind of a value in a config, by the words of KINDS."""
    kinds = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict"}
    return kinds.get(type(value), "null")


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]
