"""Rules that pick some of a model's layers by their positions, as specs/families.py writes them.

    all, none
    every:N         the N-th, the 2N-th, … (all, if there is no such N)
    at:N:O:F        those whose position modulo N is O, and the first F
    zamba:N:O       as "at", from the third layer on, and the third layer
    after:F:D       all but the first F (D, if there is no such key); "before:F": the first F
    in:LIST         those whose positions a list has; no list means none, for "in-or-all" all, for "in:LIST:N" each N-th
    numbered:LIST   the same, counted from 1, from a list that must be there
    cycle:LIST      those at which a list, repeated, says "attention"
    repeat:LIST     those that a list of [words, times] calls anything but "local"
    if:KEY          all, if the key is true
    step:N          every N-th, without those of `mlp_only_layers`; "range": by Ernie's three keys
    listed          the config has to list them itself

N, O, F and D are numbers or keys of the config, a LIST is a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Keys that a rule looks at without naming them.
_ALSO = {"step": ("mlp_only_layers",), "range": ("moe_layer_interval", "moe_layer_start_index", "moe_layer_end_index")}


def keys_of(rule: str) -> list[str]:
    """The keys that a rule looks at."""
    named = [word for word in rule.split(":")[1:] if not word.isdigit()]
    return [*named, *_ALSO.get(rule.split(":", maxsplit=1)[0], ())]


def picks(rule: str, position: int, depth: int, get: Callable[[str], Any]) -> bool:
    """Whether a rule picks the layer at this position; LookupError names the key without which that is open.

    ValueError says what is wrong with the key.
    """
    name, *words = rule.split(":")
    values = [int(word) if word.isdigit() else get(word) for word in words]
    if name in ("at", "zamba", "numbered", "cycle", "repeat") and None in values:
        raise LookupError(words[values.index(None)])
    if name in _BY_POSITION:
        return bool(_BY_POSITION[name](position, *values))
    if name == "step":
        step, dense = values[0] or 1, get("mlp_only_layers") or []
        return position not in dense and (position + 1) % step == 0
    if name == "range":
        first, last, step = get("moe_layer_start_index"), get("moe_layer_end_index"), get("moe_layer_interval")
        return bool((position + 1) % step == 0 and first <= position <= (depth - 1 if last == -1 else last))
    raise LookupError("layer_types")  # "listed"


def _every(position: int, step: Any) -> bool:
    return not isinstance(step, int) or step < 1 or (position + 1) % step == 0


def _at(position: int, period: int, offset: int, first: int = 0) -> bool:
    return position < first or position % period == offset


def _after(position: int, first: int | None, default: int = 0) -> bool:
    return position >= (default if first is None else first)


def _repeat(position: int, pattern: Any) -> bool:
    try:
        words = [word for cycle, times in pattern for word in cycle * times]
    except (TypeError, ValueError):
        raise ValueError("expected a list of [kinds, times]") from None
    if position >= len(words):
        raise ValueError(f"describes {len(words)} layers, there are more")
    return bool(words[position] != "local")


_BY_POSITION: dict[str, Callable[..., Any]] = {
    "all": lambda _: True,
    "none": lambda _: False,
    "if": lambda _, value: value,
    "every": _every,
    "at": _at,
    "zamba": lambda position, period, offset: position == 2 or (position > 2 and _at(position - 3, period, offset)),
    "after": _after,
    "before": lambda position, first: position < (first or 0),
    "in": lambda position, places, step=0: (
        position in places if places is not None else step > 0 and _every(position, step)
    ),
    "in-or-all": lambda position, places: places is None or position in places,
    "numbered": lambda position, numbers: position + 1 in numbers,
    "repeat": _repeat,
    "cycle": lambda position, words: words[position % len(words)] == "attention",
}
