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
from contextlib import suppress
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from llmcost.specs.importer.architectures import all_types, architecture
from llmcost.specs.importer.keys import DEFAULTS, harmless_keys
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
    "qwen2_5_vl": "qwen2_5_vl_text",
}
# Whose encoder and decoder have a config each, of the same defaults.
TWO_PARTS = ("t5gemma", "t5gemma2")
# Of no class's keys: all have to be there.
WITHOUT_CLASS = {"bailing_moe", "bailing_moe_v2", "chatglm", "hunyuan", "internlm", "nemotron-nas", "qwen", "rwkv7"}
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
    return found | ({"attribute_map": others} if others else {})


def _looked_up(said: Any) -> set[str]:
    """Every key that a value of an architecture is computed from."""
    if isinstance(said, dict | list):
        return {key for each in (said.values() if isinstance(said, dict) else said) for key in _looked_up(each)}
    return set(re.split("[-+*/]", said[1:])) if isinstance(said, str) and said.startswith("=") else set()


def _is_computed(declared: Any, value: Any) -> bool:
    return declared in (None, "auto") and not isinstance(value, dict)  # an inner config starts as None as well


def _counts(key: str) -> bool:
    return not (key in harmless_keys() or key in BY_LAYER or key in OTHER_PARTS or key.endswith("_token_id"))


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
    "blip-2": "within",
    "instructblip": "within",
    "instructblipvideo": "within",
    "llama4": "within",
    "mllama": "never",
    "ovis2": "tied alone",
    "qwen2_audio": "never",
    "step3p7": "only outside",
    "voxtral": "never",
}


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
                rule = BUILT.get(kind) or TIED.get(results)
                found |= {kind: [inner, rule]} if rule else {}
    return found


def _tied(kind: str, key: str, inner: str, outer: dict[str, bool], text: dict[str, bool]) -> str:
    config = AutoConfig.for_model(kind, **outer, **{key: {"model_type": inner, **text}})
    return {True: "T", False: "F"}.get(getattr(config, TIE, None), "N")


def towers(known: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each type in a table the defaults of today: of a tower all keys that may count, of a whole those it has."""
    parts: dict[str, Any] = {}
    for kind in FAMILIES:
        with suppress(ValueError):  # whose code comes with it
            whole = AutoConfig.for_model(kind)
            parts |= {each.model_type: type(each) for each in _inside(whole)}
    found = {}
    for kind, keys in sorted(known.items()):
        part = parts.get(kind) or (None if keys and "model_type" not in keys else type(AutoConfig.for_model(kind)))
        default = (part() if part else AutoConfig.for_model(kind)).to_dict()
        mine = (
            {key for key, value in default.items() if value is not None and key not in {*HARMLESS, *BY_LAYER}}
            if part
            else keys
        )
        found[kind] = {key: default[key] for key in sorted({*mine, *(("model_type",) if part else ())})}
    return found


def _inside(whole: Any) -> list[Any]:
    """The configs inside one, and those inside these."""
    parts = [part for name in type(whole).sub_configs if (part := getattr(whole, name)) is not None]
    return [each for part in parts for each in (part, *_inside(part))]


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
