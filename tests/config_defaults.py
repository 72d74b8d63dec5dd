"""Writes llmcost/specs/importer/defaults.json: what keys that a config.json leaves out stand for, by model type.

And wrappers.json beside it: what config classes do that have a text model inside. And towers/defaults.json: the same
for the towers beside a text model; an entry is added to it by hand, empty, or with the keys of a whole config to hold.

    python tests/config_defaults.py

A released config often has only the keys that differ from its type's defaults, and the importer may not import
transformers to look the others up. The table holds, for each type of specs/architectures, the defaults of transformers'
config class as it declares them: a key that the class computes from others is null here, and its architecture says
how it follows. Left out are keys that change no count, lists with an entry a layer (architectures have their rules)
and the configs of other parts of a multimodal model. `attribute_map` holds the other names that the class
takes for its keys.
"""

import dataclasses
import json
import re
import types
import typing
from contextlib import suppress
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from llmcost.specs.importer.architectures import all_types, architecture
from llmcost.specs.importer.keys import DEFAULTS, is_harmless
from llmcost.specs.importer.names import LAYER_LISTS, OTHER_PARTS
from llmcost.specs.importer.towers import FAMILIES
from llmcost.specs.importer.towers.parts import DEFAULTS as TOWERS
from llmcost.specs.importer.towers.parts import HARMLESS
from llmcost.specs.importer.wrappers import TEXT, WRAPPERS
from llmcost.specs.importer.wrappers import TIED as TIE

# Released under a name that transformers has not, or whose class has them inside `text_config` today.
SAME_CLASS = {
    "baichuan": "llama",
    "dflash": "qwen3",
    "eagle": "llama",
    "eagle3": "llama",
    "jina_bert": "bert",
    "new": "gte",
    "nvembed": "mistral",
    "phi4mm": "phi3",
    "qwen3_asr_text": "qwen3",
    "deepseek": "llama",
    "gemma4_assistant": "gemma4_text",
    "gemma4_unified_assistant": "gemma4_unified_text",
    "florence2_language": "bart",
    "internlm2": "llama",
    "kimi_k2": "deepseek_v3",
    "minicpm": "llama",
    "mimo": "qwen2",
    "mimo_v2": "mimo_v2_flash",
    "minimax_m3": "minimax_m3_vl_text",
    "qwen2_vl": "qwen2_vl_text",
    "qwen3_8_flash_next_text": "qwen4_exp_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
}
# Whose encoder and decoder have a config each, of the same defaults.
TWO_PARTS = ("t5gemma", "t5gemma2")
# Of no class's keys: all have to be there.
WITHOUT_CLASS = {
    *("bailing_moe", "bailing_moe_v2", "chatglm", "hunyuan", "internlm", "molmo", "nemotron-nas", "qwen", "rwkv7"),
}
BY_LAYER = {*LAYER_LISTS, "mlp_layer_types", "moe_layers", "no_rope_layers", "per_layer_config"}


def defaults_of(kind: str) -> dict[str, Any]:
    """The defaults of one type, as the table has them."""
    if kind in WITHOUT_CLASS:
        return {}
    config, read = AutoConfig.for_model(SAME_CLASS.get(kind, kind)), _looked_up(architecture(kind))
    if kind in TWO_PARTS:
        config = type(config.decoder)()
    others = dict(sorted(config.attribute_map.items()))
    declared = {others.get(field.name, field.name): field.default for field in dataclasses.fields(config)}
    values = {
        key: value for key, value in config.to_dict().items() if key in declared and (_counts(key) or key in read)
    }
    found = {
        key: _plain(None if _is_computed(declared[key], value) else value) for key, value in sorted(values.items())
    }
    found |= {"attribute_map": others} if others else {}
    if kind in SAME_CLASS:  # whose own code takes what it takes
        return found
    return found | {"accepts": accepted(config, others)} | limits(kind, config)


KINDS = {int: "int", float: "float", bool: "bool", str: "str", list: "list", tuple: "list", dict: "dict"}
KINDS |= {type(None): "null"}
_PLAIN = ("int", "float", "bool", "str")
LIBRARYS = ("architectures", "dtype", "id2label", "label2id", "problem_type", "transformers_version")


def accepted(config: Any, others: dict[str, str]) -> dict[str, str]:
    """The keys that may change a count, by the kinds of value that the reference's class accepts for them."""
    kinds: dict[str, list[str]] = {}
    said = {field.name: field.type for field in dataclasses.fields(config)}
    with suppress(NameError):  # annotations that are texts, of names that stand elsewhere
        said |= typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        key = others.get(field.name, field.name)
        named = _kinds(said[field.name])
        if named and _counts(key) and key not in LIBRARYS:
            kinds.setdefault(" ".join(sorted(named)), []).append(key)
    return {named: " ".join(sorted(keys)) for named, keys in sorted(kinds.items())}


def _kinds(said: Any) -> set[str]:
    """The kinds of JSON that a field's annotation allows; none where it allows anything."""
    if isinstance(said, str):
        words = {word.strip() for word in said.split("|")}
        return {"null" if word == "None" else word for word in words} if words <= {*_PLAIN, "None"} else set()
    inner = typing.get_args(said)
    if typing.get_origin(said) in (typing.Union, types.UnionType):
        each = [_kinds(part) for part in inner]
        return {kind for part in each for kind in part} if all(each) else set()
    if typing.get_origin(said) is typing.Literal:
        return {KINDS[type(word)] for word in inner}
    plain = typing.get_origin(said) or said
    if plain in KINDS:
        return {KINDS[plain]}
    return {"dict"} if isinstance(plain, type) and plain.__module__.startswith("transformers") else set()


def limits(kind: str, config: Any) -> dict[str, Any]:
    """What the class refuses: `whole`, a hidden size that the heads do not divide; `even`, heads of an odd width."""
    size = config.to_dict().get("hidden_size")
    whole = isinstance(size, int) and _is_refused(kind, "hidden_size", size + 1, "not a multiple of the number of att")
    even = [key for key in ("head_dim", "qk_rope_head_dim") if _is_refused(kind, key, 25, "an even rotary dimension")]
    return ({"whole": True} if whole else {}) | ({"even": even} if even else {})


def _is_refused(kind: str, key: str, value: int, words: str) -> bool:
    try:
        AutoConfig.for_model(kind, **{key: value})
    except Exception as refused:  # noqa: BLE001
        return words in str(refused)
    return False


def _looked_up(said: Any) -> set[str]:
    """Every key that a value of an architecture is computed from."""
    if isinstance(said, dict | list):
        return {key for each in (said.values() if isinstance(said, dict) else said) for key in _looked_up(each)}
    return set(re.split("[-+*/]", said[1:])) if isinstance(said, str) and said.startswith("=") else set()


def _is_computed(declared: Any, value: Any) -> bool:
    return declared in (None, "auto") and not isinstance(value, dict)  # an inner config starts as None as well


def _counts(key: str) -> bool:
    return not (is_harmless(key) or key in BY_LAYER or key in OTHER_PARTS or key.endswith("_token_id"))


def _plain(value: Any) -> Any:
    """As JSON has it, without the keys of inner configs that change no count."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in sorted(value.items(), key=str) if _counts(str(key))}
    return value


# What `tie_word_embeddings` comes to for (wrapper, text model) of nothing, true and false each.
TIED = {
    "FFFTTTFFF": "untied",
    "TTTTTTFFF": "tied",
    "FTFTTTFTF": "either",
    "TTTTTTTTF": "unless both",
    "FTFTTTFFF": "outside",
    "NNNTTTFFF": "outside",  # else as its text model
}


# What the classes do when they are built, where that is not what their configs say: as test_wrappers.py finds it.
BUILT = {
    "within": ("blip-2", "emu3", "instructblip", "instructblipvideo", "llama4"),
    "never": (
        "audioflamingo3", "cosmos3_edge", "inkling_mm_model", "mllama", "musicflamingo", "nemo_speechlm", "omniasr",
        "qwen2_audio", "vibevoice_asr", "voxtral",
    ),
    "tied alone": ("ovis2",),
    "only outside": ("muse_glimmer", "step3p7"),
}  # fmt: skip


def wrappers() -> dict[str, list[str]]:
    """Types with a text model inside: that model's type, and how embeddings are tied."""
    found = {}
    for kind in sorted(CONFIG_MAPPING_NAMES):
        with suppress(ValueError, TypeError, AttributeError, StrictDataclassError):  # one that needs arguments
            sample = AutoConfig.for_model(kind)
            key = next(key for key in (*TEXT, "") if not key or key in type(sample).sub_configs)
            if key:
                inner, said = getattr(sample, key).model_type, ({}, {TIE: True}, {TIE: False})
                results = "".join(_tied(kind, key, inner, outer, text) for outer in said for text in said)
                rule = next((rule for rule, kinds in BUILT.items() if kind in kinds), TIED.get(results))
                found |= {kind: [inner, rule, *_filled_in(kind, key, inner)]} if rule else {}
    return found


def _filled_in(kind: str, key: str, inner: str) -> list[dict[str, Any]]:
    """What a wrapper's class has for keys that its text model leaves out, where that is not what the text's own has."""
    config = AutoConfig.for_model(kind, **{key: {"model_type": inner}})
    said = getattr(getattr(config, "sub_configs_defaults", {}).get(key), "init_kwargs", None) or {}
    filled, usual = getattr(config, key).to_dict(), AutoConfig.for_model(inner).to_dict()
    counted = {name: value for name, value in said.items() if _counts(name)}
    differ = any(usual.get(name) != filled.get(name) == value for name, value in counted.items())
    return [counted] if differ else []


def _tied(kind: str, key: str, inner: str, outer: dict[str, bool], text: dict[str, bool]) -> str:
    config = AutoConfig.for_model(kind, **outer, **{key: {"model_type": inner, **text}})
    return {True: "T", False: "F"}.get(getattr(config, TIE, None), "N")


def towers(known: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each type in a table the defaults of today: of a tower all keys that may count, of a whole those it has."""
    parts: dict[str, Any] = {}
    for kind in FAMILIES:
        with suppress(ValueError):  # whose code comes with it
            whole = AutoConfig.for_model(kind)
            parts |= {each.model_type or _named(each): each for each in _classes_inside(type(whole))}
            parts |= {each.model_type: type(each) for each in _inside(whole)}
    found = {}
    for kind, keys in sorted(known.items()):
        part = parts.get(kind) or (None if keys and "model_type" not in keys else type(AutoConfig.for_model(kind)))
        default = (part() if part else AutoConfig.for_model(kind)).to_dict()
        mine = (
            {k for k, v in default.items() if not isinstance(v, dict | None) and k not in {*HARMLESS, *BY_LAYER}}
            if part
            else keys
        )
        found[kind] = {key: default[key] for key in sorted({*mine, *(("model_type",) if part else ())})}
    return found


def _inside(whole: Any) -> list[Any]:
    """The configs inside one, and those inside these."""
    parts = [part for name in type(whole).sub_configs if (part := getattr(whole, name)) is not None]
    return [each for part in parts for each in (part, *_inside(part))]


def _classes_inside(whole: Any) -> list[Any]:
    """The classes of the configs inside those of a class, and inside these, that it names."""
    parts = [part for part in whole.sub_configs.values() if part is not AutoConfig]
    return [each for part in parts for each in (part, *_classes_inside(part))]


def _named(part: Any) -> str:
    """The name of a class without a model_type in words."""
    return re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", part.__name__.removesuffix("Config")).lower()


def lines(table: dict[str, Any]) -> str:
    """A table as JSON, an entry a line."""
    return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()) + "\n}\n"


def text() -> str:
    """The whole table, a key a line so that a change shows."""
    return json.dumps({kind: defaults_of(kind) for kind in sorted(all_types())}, indent=1) + "\n"


if __name__ == "__main__":
    DEFAULTS.write_text(text(), "utf-8")
    WRAPPERS.write_text(lines(wrappers()), "utf-8")
    TOWERS.write_text(lines(towers(json.loads(TOWERS.read_text("utf-8")))), "utf-8")
