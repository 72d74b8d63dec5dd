"""The keys of one Hugging Face config: by which names they are read, and which are left over.

A key is left over if no value or rule of the type's architecture looked at it, it changes no count in any type
(specs/architectures/harmless_keys.yaml), and it is not at the value that its type has by default: it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import copy
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmcost.ground.errors import NoSuchKeyError, SpecError, shortened
from llmcost.specs.importer.architectures import (
    FOLDER,
    HARMLESS_KEYS,
    Architecture,
    architecture,
    of_encoder,
    type_of_class,
)
from llmcost.specs.importer.beside import Beside
from llmcost.specs.importer.names import DRAFTS, FORMER_WORDS, LAYER_LISTS, NEUTRAL, OTHER_PARTS, SYNONYMS, WITH_WEIGHTS
from llmcost.specs.importer.values import NotWholeError, evaluate, keys_of
from llmcost.specs.json_text import line_of
from llmcost.specs.reader import Key, read_yaml
from llmcost.specs.schema import mapping, validate

LARGEST = 10**9
MOST_LISTED = 10_000  # entries of a list that only the code that comes with a config reads, layer by layer
FLAGS = ("tie_word_embeddings", "attention_bias", "mlp_bias")  # true or false in every type
HEADS = ("num_key_value_heads", "head_dim")  # fields that may follow from others
DEFAULTS = Path(__file__).with_name("defaults.json")  # model_type -> its config's defaults, for keys left out


@lru_cache(maxsize=2)
def harmless_keys(folder: Path = FOLDER) -> frozenset[str]:
    """Keys that change no count of parameters, FLOPs or bytes, whatever the type and their value."""
    document = read_yaml(folder / HARMLESS_KEYS)
    words = {"type": "str", "strict": True, "min_length": 1}
    return frozenset(" ".join(validate(document, mapping(words)).values()).split())


@lru_cache(maxsize=64)
def class_defaults(kind: str) -> dict[str, Any]:
    """What the reference's config class has for keys that a config leaves out.

    A type stands on a line of its own, indented by one: the rest of the file need not be parsed.
    """
    text = DEFAULTS.read_text("utf-8")
    _, found, rest = text.partition(f"\n {json.dumps(kind)}: ")
    defaults: dict[str, Any] = json.JSONDecoder().raw_decode(rest)[0] if found else {}
    return defaults


def is_harmless(key: str) -> bool:
    """Whether a key changes no count in any type: by its name, or by how it begins or ends."""
    beginnings, endings = _patterns()
    return key in harmless_keys() or key.startswith(beginnings) or key.endswith(endings)


@lru_cache(maxsize=2)
def _patterns() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """How harmless keys begin, and how they end, of those with a star in the place of the rest."""
    keys = sorted(harmless_keys())
    return tuple(key[:-1] for key in keys if key[-1] == "*"), tuple(key[1:] for key in keys if key[0] == "*")


class Keys:
    """One config while it is read: which keys were asked for, which are left over.

    `place` is where these keys stand in the text: ("text_config",), or () for the top. `allow_unknown`: keys that are
    left out where they are not understood, but for those that are sizes of blocks in other types. `beside`: the
    file that has the quantisation, if that is another.
    """

    def __init__(
        self,
        config: dict[str, Any],
        file: str,
        kind: str | None = None,
        text: str = "",
        place: tuple[str, ...] = (),
        allow_unknown: Sequence[str] = (),
        beside: Beside | None = None,
    ) -> None:
        self.file, self.text, self.place, self.beside = file, text, place, beside
        self.allowed = frozenset(allow_unknown)
        self.left_out: list[str] = []  # keys that are not understood, and allowed
        self.type = kind or config.get("model_type")
        family = architecture(self.type) if isinstance(self.type, str) else None
        if family is None and kind is None and (named := _type_by_class(config)):
            self.type, family = named, architecture(named)
        if family is None:
            problem = (
                f"the architecture {shortened(str(self.type))!r} is not understood"
                if self.type
                else "this key is missing"
            )
            raise self.error("model_type", problem)
        self.family: Architecture = family
        self.rules: dict[str, Any] = family.get("keys", {})  # how this type's keys are read
        self.has_class = bool(of_class := class_defaults(str(self.type)))
        self.defaults: dict[str, Any] = of_class | self.rules.get("defaults", {})
        self.given = self._flat(config)
        self.matching = 0  # steps that matching module names has taken (importer/quantization.py)
        self.own: dict[str, Any] = {}  # what the config says of the layer that is being read alone
        self.asked: set[str] = {*LAYER_LISTS, "mlp_layer_types", *self.rules.get("unused", ())}

    def is_flag(self, key: str) -> bool:
        """Whether a key that may change a count is true or false: of the text "false", neither would be right."""
        usual = key in FLAGS or isinstance(self.defaults.get(key), bool)
        return usual and not is_harmless(key)

    def error(self, key: str, problem: str) -> SpecError:
        """The error that names one key, its line and what is wrong with it."""
        first, *rest = key.split(".")
        if first == "quantization_config" and self.beside is not None:
            file, text, place = self.beside
            field = (*place, *rest)
            return SpecError(file, line_of(text, field) if field else 1, ".".join(field), problem)
        return SpecError(self.file, line_of(self.text, (*self.place, first, *rest)), key, problem)

    def origin(self, path: tuple[Key, ...]) -> tuple[str, int]:
        """The key that a spec's field was read from, and its line."""
        field = next((key for key in reversed(path) if isinstance(key, str)), "")
        values = [traits.get(field) for traits in (self.family, *self.family.get("layers", {}).values())]
        looked_up = [key for value in values for key in keys_of(value)]
        names = self.names(field) if field in SYNONYMS else ()
        key = next((key for key in (*looked_up, *names) if key in self.given), field)
        return key, line_of(self.text, (*self.place, key))

    def of_encoder(self) -> Keys:
        """The same config read for its encoder; keys that are looked at there are looked at here as well.

        An encoder whose keys are in a part of the config is read there.
        """
        part = self.family.get("encoder_part")
        if part is None:
            found = copy(self)
        elif isinstance(config := self.get(part) or {}, dict):
            found = Keys(config, self.file, self.type, self.text, (*self.place, part), tuple(self.allowed), self.beside)
        else:
            raise self.error(part, "expected an object of keys and values")
        found.family = of_encoder(self.family)
        found.rules = found.family.get("keys", {})
        found.asked.update(found.rules.get("unused", ()))
        return found

    def sees_both_ways(self, both_ways: bool | None) -> None:
        """Take what the architecture says of layers where tokens see those after them."""
        if both_ways:
            self.family = self.family | self.family.get("both_ways", {})

    def get(self, key: str) -> Any:
        """The value of a key, or the type's default."""
        outer, _, inner = key.partition(".")
        if inner and outer != self.rules.get("inner"):
            value = self.get(outer)
            return value.get(inner) if isinstance(value, dict) else None
        self.asked.add(key)
        value = self.own.get(key, self.given.get(key, self.defaults.get(key)))
        return None if value == "auto" else value

    def names(self, field: str) -> tuple[str, ...]:
        """The keys that may hold a spec's field."""
        return tuple(self.rules.get("names", {}).get(field, SYNONYMS[field]))

    def field(self, name: str) -> Any:
        """A spec's field, under whichever name this config has it.

        Of several usual names, only those that the type has defaults for are read, as its reference does; of a type's
        own names the first that is there. Where its reference's class has no KV heads, it looks at no sizes of heads:
        these are read where they are the usual ones, and else not understood.
        """
        keys, own = self.names(name), name in self.rules.get("names", {})
        if name in HEADS and name not in self.family and self._has_plain_heads(keys):
            keys = tuple(key for key in keys if self.given.get(key) == self._plain_heads(name))
        named = [key for key in keys if own or self.defaults.get(key) is not None]
        for place in (self.own, self.given):
            for key in named or keys:
                if key in place and not (own and place[key] is None):
                    self.asked.update(keys)
                    return place[key]
        return next((value for key in named if (value := self.get(key)) is not None), None)

    def _has_plain_heads(self, names: tuple[str, ...]) -> bool:
        """Whether the reference's class has neither KV heads nor the key of these names."""
        own = self.rules.get("names", {}).keys()
        without = self.defaults.keys().isdisjoint({*names, *SYNONYMS["num_key_value_heads"]})
        return self.has_class and without and own.isdisjoint(HEADS)

    def _plain_heads(self, name: str) -> Any:
        """As many KV heads as heads, or the width of a head where all are as wide as the hidden size together."""
        heads, hidden = self.field("num_attention_heads"), self.field("hidden_size")
        if name == "num_key_value_heads":
            return heads
        return hidden // heads if isinstance(heads, int) and isinstance(hidden, int) and heads else None

    def is_given(self, name: str) -> bool:
        """Whether the config itself has a spec's field, under any of its names."""
        return any(key in self.given for key in self.names(name))

    def number(self, name: str) -> int:
        """A spec's field that must be there, a whole number above 0."""
        value = self.field(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        names = self.names(name)
        key = next((key for key in names if key in self.given), names[0])
        if value is None:
            raise self.error(key, "this key is missing")
        raise self.error(key, f"expected a whole number above 0, got {json.dumps(value)[:40]}")

    def whole(self, key: str, default: int = 0) -> int:
        """A whole number, or the default where the key is not there."""
        value = self.get(key)
        if value is not None and (not isinstance(value, int) or not 0 <= value < LARGEST):
            raise self.error(key, f"expected a whole number, got {json.dumps(value)[:40]}")
        return default if value is None else value

    def trait(self, name: str, plain: Any = None) -> Any:
        """What the architecture says of a field, looked up in the config; the plain value where it says nothing."""
        return self.value(self.family.get(name, plain))

    def value(self, said: Any) -> Any:
        """What a value of the architecture comes to for this config (importer/values.py)."""
        try:
            return evaluate(said, self.get)
        except NotWholeError as wrong:
            raise self.error(wrong.key, wrong.problem) from None

    def listed(self, key: str, depth: int | None = None) -> list[Any] | None:
        """A list with an entry a layer, if the config itself has it, under this name or another, by today's words.

        `key` is layer_types or mlp_layer_types. With `depth`, any other number of entries is refused.
        """
        other = key
        words: dict[Any, str] = dict(FORMER_WORDS) if key == LAYER_LISTS[0] else {}
        if key in self.rules.get("lists", {}):
            rule = self.rules["lists"][key]
            other = rule["key"]
            words = {int(word) if word.isdigit() else word: meant for word, meant in rule["words"].items()}
        names = LAYER_LISTS if key == LAYER_LISTS[0] else (key,)
        kinds = next((self.given[name] for name in names if self.given.get(name) is not None), None)
        if isinstance(self.given.get(other), list):
            self.asked.add(other)
            kinds = self.given[other] if kinds is None else kinds
        if kinds is None:
            return None
        drafts = next((self.given[key] for key in DRAFTS if isinstance(self.given.get(key), int)), 0)
        most = MOST_LISTED if kinds is self.given.get(other) and other != key else (depth or 0) + drafts
        if depth and isinstance(kinds, list) and depth < len(kinds) <= most:
            kinds = kinds[:depth]  # the layers of multi-token prediction come last
        if not isinstance(kinds, list | str) or (depth is not None and len(kinds) != depth):
            raise self.error(key, f"expected a list of {depth} entries, one a layer" if depth else "expected a list")
        strange = next((each for each in kinds if not isinstance(each, str | int)), None)
        if strange is not None:
            raise self.error(key, f"expected words or numbers, got {json.dumps(strange)[:40]}")
        return [words.get(each, each) for each in kinds]

    def refuse_what_is_left(self, given: dict[str, Any]) -> None:
        """Refuse the first key that might change a count and that nothing here looked at."""
        for key, value in given.items():
            if value is None or (self._is_looked_at(key) and (value not in WITH_WEIGHTS or key in self.asked)):
                continue
            if not self._is_neutral(key, value):
                shown = json.dumps(value)[:60]
                known = {*self.defaults, *(name for field in SYNONYMS for name in self.names(field))} - {*given}
                near = get_close_matches(key, sorted(known), n=1, cutoff=0.8)
                problem = f"not understood for {self.type}: it might change a count (the value is {shown})"
                self.leave_out(key, problem + "".join(f"; did you mean {each}?" for each in near))

    def leave_out(self, key: str, problem: str) -> None:
        """Leave out a key that is not understood, if that is allowed; a size that the type has no use for never is."""
        if any(key in names for names in SYNONYMS.values()):
            raise self.error(key, problem)
        if key not in self.allowed:
            raise self.error(
                key, f"{problem}{'' if problem.endswith('?') else ';'} --allow-unknown {key} leaves it out"
            )
        if key not in self.left_out:
            self.left_out.append(key)

    def refuse_what_is_not_there(self) -> None:
        """Refuse a key to leave out that the config has not. Raises InputError."""
        quantized = self.given.get("quantization_config")
        inner = {f"quantization_config.{key}" for key in quantized} if isinstance(quantized, dict) else set()
        own = {key for each in (self.given.get("per_layer_config") or {}).values() for key in each}
        absent = next(iter(sorted(self.allowed - self.given.keys() - inner - own)), None)
        if absent is not None:
            raise NoSuchKeyError([absent], f"{self.file} has no such key")

    def read_anyway(self) -> list[str]:
        """Notes on keys that may be left out, and are read, as they are understood."""
        read = sorted((self.allowed & self.given.keys()) - {*self.left_out})
        return [f"--allow-unknown {key}: it is understood, and read as without that" for key in read]

    def _is_looked_at(self, key: str) -> bool:
        """Whether a key was read, or need not be read."""
        known = key in self.asked or key in DRAFTS or key in OTHER_PARTS
        return known or is_harmless(key) or key.endswith("_token_id")

    def _is_neutral(self, key: str, value: Any) -> bool:
        """Whether a key has a value at which it changes no count."""
        same, equal, neutral = (self.rules.get(name, {}) for name in ("same", "equal", "neutral"))
        return (
            _is_default(value, self.defaults.get(key))
            or _is_default(value, NEUTRAL.get(key))
            or self._says_nothing_new(key, value)
            or (key in same and _is_all(value, self.field(same[key])))
            or (key in equal and _is_all(value, self.value(equal[key])))
            or (key in neutral and _is_all(value, neutral[key]))
        )

    def _says_nothing_new(self, key: str, value: Any) -> bool:
        """Whether a key leaves out what its type does not know anyway, or repeats what is known of it."""
        if key in ("attention_bias", "mlp_bias"):
            return bool(self.trait(key, plain=False)) is value
        if key in ("qk_norm", "use_qk_norm") and value is True:
            return bool(self.trait("qk_norm"))
        if key == "max_window_layers" and not self.given.get("use_sliding_window"):
            return True
        if key in self.defaults:
            return False
        return not value or any(self.field(field) == value for field in self._repeated_by(key))

    def _repeated_by(self, key: str) -> Iterator[str]:
        """The fields that a key may hold and that were read under another name."""
        for field, names in SYNONYMS.items():
            if key in names and self.asked & set(names) - {key}:
                yield field

    def _flat(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config with the keys of its inner part beside the others, and by the names that are read."""
        key, renamed = self.rules.get("inner"), self.rules.get("renamed", {})
        inner = config.get(key) if key else None
        if isinstance(inner, dict):
            config = {name: value for name, value in config.items() if name != key}
            config |= {f"{key}.{name}": value for name, value in inner.items()}
        for name, real in self.defaults.get("attribute_map", {}).items():  # transformers reads either
            if name in config and real not in config:
                config = {key: value for key, value in config.items() if key != name} | {real: config[name]}
        others = {name: value for name, value in config.items() if name not in renamed}
        return others | {renamed[name]: config[name] for name in renamed if name in config}


def _type_by_class(config: dict[str, Any]) -> str | None:
    """The type whose class `architectures` names, or the class of the code that `auto_map` has beside the config."""
    found = type_of_class(config.get("architectures"))
    code = config.get("auto_map")
    if found is None and isinstance(code, dict):
        found = type_of_class([str(code.get("AutoModelForCausalLM")).rpartition(".")[2]])
    return found


def _is_all(value: Any, neutral: Any) -> bool:
    """Whether a value, or every entry of a list, is the neutral one."""
    return all(each == neutral for each in value) if isinstance(value, list) else bool(value == neutral)


def _is_default(value: Any, default: Any) -> bool:
    """Whether a value is its type's default; of an inner config, every key that might change a count."""
    if isinstance(value, dict) and isinstance(default, dict):
        return all(
            is_harmless(key) or inner is None or _is_default(inner, default.get(key)) for key, inner in value.items()
        )
    return default is not None and bool(value == default)
