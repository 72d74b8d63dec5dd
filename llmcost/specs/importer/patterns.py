"""Rules that pick some of a model's layers by their positions, as architectures' files write them.

specs/architectures/README.md describes them. A rule is a word, or a mapping in which one key names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmcost.specs.schema import FLAG, SIZE, TEXT, Schema, record, several

Rule = str | dict[str, Any]
Get = Callable[[str], Any]

MOST_ENTRIES = 10_000  # of a list that says which layers are meant
WORDS = ("all", "none", "listed")


def _count(least: int) -> Schema:
    """A key of the config, or a whole number."""
    return {
        "type": "custom-error",
        "schema": {"type": "union", "choices": [{"type": "int", "strict": True, "ge": least}, TEXT]},
        "custom_error_type": "count",
        "custom_error_message": "expected a key or a whole number",
    }


COUNT = _count(0)
# What may stand beside the word that names a rule, and which of it has to.
BESIDE: dict[str, tuple[dict[str, Schema], dict[str, Schema]]] = {
    "from": ({"from": COUNT, "to": _count(-1), "every": COUNT}, {}),
    "every": ({"every": COUNT}, {"except": TEXT}),
    "period": ({"period": COUNT, "offset": COUNT}, {"first": COUNT, "begin": several(FLAG)}),
    "after": ({"after": COUNT}, {"default": SIZE}),
    "before": ({"before": COUNT}, {}),
    "at": ({"at": TEXT}, {"without": {"type": "any"}}),
    "numbers": ({"numbers": TEXT}, {}),
    "cycle": ({"cycle": TEXT, "word": TEXT}, {}),
    "runs": ({"runs": TEXT, "word": TEXT}, {}),
    "spread": ({"spread": COUNT}, {"step": TEXT}),
    "if": ({"if": TEXT}, {}),
}
_NO_KEYS = ("begin", "word", "without")


def schema_of(rule: dict[str, Any]) -> Schema | None:
    """What a rule may say, by the word that names it; None if no word does."""
    name = next((name for name in BESIDE if name in rule), None)
    if name is None:
        return None
    required, optional = BESIDE[name]
    return record(required, optional if name == "if" else {**optional, "if": TEXT})


def keys_of(rule: Rule) -> list[str]:
    """The keys that a rule looks at."""
    if isinstance(rule, str):
        return []
    named = [word for name, word in rule.items() if isinstance(word, str) and name not in _NO_KEYS]
    return [*named, *keys_of(rule.get("without", "none"))]


def picks(rule: Rule, position: int, depth: int, get: Get) -> bool:
    """Whether a rule picks the layer at this position of so many.

    Raises LookupError with the name of a key that is needed and missing, ValueError with what is wrong with the rule's
    first key.
    """
    if isinstance(rule, str):
        if rule == "listed":
            raise LookupError("layer_types")
        return rule == "all"
    if "if" in rule and not get(rule["if"]):
        return False
    name = next(name for name in BESIDE if name in rule)
    return bool(_PICKS[name](rule, position, depth, get))


def _value(rule: dict[str, Any], name: str, get: Get) -> Any:
    """The number that a rule writes out, or the value of the key that it names; None where there is none."""
    said = rule.get(name)
    return get(said) if isinstance(said, str) else said


def _needed(rule: dict[str, Any], name: str, get: Get) -> Any:
    """The same. Raises LookupError where there is none."""
    value = _value(rule, name, get)
    if value is None:
        raise LookupError(rule[name])
    return value


def _every(rule: dict[str, Any], position: int, depth: int, get: Get) -> Any:
    step, excepted = _value(rule, "every", get), _short(_value(rule, "except", get)) or []
    if isinstance(step, str):  # EXAONE writes LLLG: three local layers and a global one, and the last is global
        if not {*step} <= {"L", "G"} or not step:
            raise ValueError("expected a whole number, or a text of L and G")
        return step[position % len(step)] == "G" or position == depth - 1
    return position not in excepted and (step is None or step < 1 or (position + 1) % step == 0)


def _from(rule: dict[str, Any], position: int, depth: int, get: Get) -> Any:
    first, last, step = (_needed(rule, name, get) for name in ("from", "to", "every"))
    return (position + 1) % step == 0 and first <= position <= (depth - 1 if last == -1 else last)


def _period(rule: dict[str, Any], position: int, _: int, get: Get) -> Any:
    period, offset, begin = _needed(rule, "period", get), _needed(rule, "offset", get), rule.get("begin", ())
    if position < len(begin):
        return begin[position]
    return position < (_value(rule, "first", get) or 0) or (position - len(begin)) % period == offset


def _after(rule: dict[str, Any], position: int, _: int, get: Get) -> Any:
    first = _value(rule, "after", get)
    return position >= (rule.get("default", 0) if first is None else first)


def _at(rule: dict[str, Any], position: int, depth: int, get: Get) -> Any:
    places = get(rule["at"])
    if isinstance(places, str):  # Step-3.5 writes "3,4,5"
        places = [int(place) for place in places.split(",") if place.strip()]
    places = _short(places)
    return picks(rule.get("without", "none"), position, depth, get) if places is None else position in places


def _spread(rule: dict[str, Any], position: int, depth: int, get: Get) -> Any:
    """So many layers, a step apart from the second one on: where there are none, the step is the whole depth."""
    count, step = _needed(rule, "spread", get), _value(rule, "step", get)
    if step is None:
        step = depth // count if count else depth
    return step == 1 or (step > 0 and position % step == 1)


def _cycle(rule: dict[str, Any], position: int, _: int, get: Get) -> Any:
    words = _needed(rule, "cycle", get)
    return words[position % len(words)] == rule["word"]


def _runs(rule: dict[str, Any], position: int, _: int, get: Get) -> Any:
    described = 0
    for run in _short(_needed(rule, "runs", get)):
        match run:
            case [[*cycle], int(times)] if times >= 0:
                if position < described + len(cycle) * times:
                    return cycle[(position - described) % len(cycle)] == rule["word"]
                described += len(cycle) * times
            case _:
                raise ValueError("expected a list of [kinds, times]")
    raise ValueError(f"describes {described} layers, there are more")


def _short(entries: Any) -> Any:
    """A list, refused where it is longer than any model is deep: each layer looks through it."""
    if isinstance(entries, list) and len(entries) > MOST_ENTRIES:
        raise ValueError(f"a list of {len(entries):,} entries: at most {MOST_ENTRIES:,} are read")
    return entries


_PICKS: dict[str, Callable[[dict[str, Any], int, int, Get], Any]] = {
    "from": _from,
    "every": _every,
    "period": _period,
    "after": _after,
    "before": lambda rule, position, _, get: position < (_value(rule, "before", get) or 0),
    "at": _at,
    "spread": _spread,
    "numbers": lambda rule, position, _, get: position + 1 in _short(_needed(rule, "numbers", get)),
    "cycle": _cycle,
    "runs": _runs,
    "if": lambda *_: True,
}
