"""What each `model_type` of a Hugging Face config is made of: the files of specs/architectures, read strictly.

A file holds the types of one family, and no type stands in two files. Parsing YAML is slow: only the type that is asked
for is parsed, with the types that it is `like`. specs/architectures/README.md describes the language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmcost.model.blocks import MIXERS, MLPS, STREAMS, CrossAttention
from llmcost.specs.importer import patterns
from llmcost.specs.importer.names import SYNONYMS
from llmcost.specs.importer.values import plain_values
from llmcost.specs.models import KINDS, LAYER, MODEL, SCHEMA
from llmcost.specs.reader import Document, Key, parse_yaml, read_text, read_yaml
from llmcost.specs.schema import FLAG, SIZE, TEXT, Schema, choice, mapping, record, several, shown, validate

Architecture = dict[str, Any]

FOLDER = Path(__file__).resolve().parent.parent / "architectures"
HARMLESS_KEYS = "harmless_keys.yaml"  # of all types: read by keys.py
_CLASS_ENDING = re.compile(r"(ForCausalLM|ForConditionalGeneration|LMHeadModel|Model)$")
_TYPE = re.compile(r"^([^\s#:]+):", re.MULTILINE)
ANY: Schema = {"type": "any"}
LARGEST = 10**9  # of a size
# Words of layers that are understood without more: attention, over all keys or fewer.
USUAL_WORDS = ("full_attention", "sliding_attention", "chunked_attention", "indexed_attention")
# Words that a field may have here and not in a spec: importer/layers.py computes a value for them.
RULES = {
    "attention_output_bias": ("last-layer",),
    "intermediate_size": ("two-thirds",),
    "shared_expert_intermediate_size": ("dense",),
    "ngram_rows": ("hashed",),
    "message_rank": ("looped",),
    "qk_rope_head_dim": ("of-rope-layers",),
    "qk_nope_head_dim": ("all-of-nope-layers",),
    "shared_latent": ("of-another-source",),
}
# The fields of a spec that an architecture does not say: they come from the config, or are made here.
NOT_SAID = {"name", "title", "source", "aliases", "released", "notes", "published", "dtype", "layers", "hidden_size"}
NOT_SAID |= {
    "counted",
    "unread",
    "unknown_keys",
    "head",
    "num_labels",
    "label_bias",
    "pooler_size",
    "num_hidden_layers",
    "weight_format",
    "encoder",
    "quantized_lm_head",
    "table_formats",
    "wider_bytes",
    "unquantized",
    "formats",
    "reuses_weights",
}


def _fields_of(schema: Schema) -> dict[str, Schema]:
    return {name: field["schema"] for name, field in schema["fields"].items() if name not in NOT_SAID}


FIELDS = _fields_of(SCHEMA)  # of the model and of every layer
LAYER_FIELDS = {name: schema for name, schema in LAYER.items() if name not in NOT_SAID}
OF_A_LAYER = {"experts": ANY, "reused_after": ANY, "consists_of": several(TEXT)}
LIST = record({"key": TEXT, "words": mapping(TEXT)}, {})
KEYS = record(
    {},
    {
        "inner": TEXT,
        "renamed": mapping(TEXT),
        "names": record({}, dict.fromkeys(SYNONYMS, several(TEXT))),
        "defaults": mapping(ANY),
        "lists": record({}, {"layer_types": LIST, "mlp_layer_types": LIST}),
        "same": mapping(choice(*SYNONYMS)),
        "equal": mapping(TEXT),
        "neutral": mapping(ANY),
        "unused": several(TEXT),
        "never_zero": several(TEXT),
        "never_null": several(TEXT),
        "even": several(TEXT),
        "by_layer": several(TEXT),
        "alike": mapping(ANY),
        "divides": mapping(TEXT),
        "below": mapping(TEXT),
        "positions": mapping(TEXT),
        "flags": several(TEXT),
        "needs": mapping(TEXT),
        "words": mapping(several(TEXT)),
    },
)
ARCHITECTURE = record(
    {},
    dict.fromkeys(FIELDS, ANY)
    | {
        "like": TEXT,
        "reference": TEXT,
        "classes": several(TEXT),
        "other_classes": several(TEXT),
        "layer_types": ANY,
        "order": record({"cycle": several(TEXT)}, {"begin": several(TEXT)}),
        "first_layer": record({}, dict.fromkeys(LAYER_FIELDS, ANY)),
        "layers": mapping(record({}, dict.fromkeys(LAYER_FIELDS, ANY) | OF_A_LAYER)),
        "window_if": TEXT,
        "last_full": FLAG,
        "layers_each": SIZE,
        "experts": ANY,
        "one_expert_is_dense": FLAG,
        "shared_kv": record({"last": TEXT}, {"double_mlp_if": TEXT}),
        "repeated": record({"from": TEXT, "times": TEXT}, {"layers": TEXT, "to": TEXT}),
        "whole_heads": FLAG,
        "encoder": FLAG,
        "pools": FLAG,
        "encoder_decoder": FLAG,
        "has_towers": FLAG,
        "label_transform": FLAG,
        "encoder_stack": ANY,
        "encoder_part": TEXT,
        "both_ways": record({}, dict.fromkeys(LAYER_FIELDS, ANY)),
        "decoder_alone": record({}, dict.fromkeys(FIELDS, ANY)),
        "position_padding": ANY,
        "embedding_projection_always": FLAG,
        "modules": mapping(TEXT),
        "keys": KEYS,
    },
)
FILE = mapping(ARCHITECTURE)
JOINED = ("layers", "keys", "modules", "encoder_stack")  # of two types that are alike, entry by entry


def architecture(kind: str) -> Architecture | None:
    """What a type is made of; None if no file has it. Raises SpecError if its file has a mistake there."""
    for path in sorted(_files(), key=lambda path: path.name[:2] != kind[:2]):  # those that begin as the type does first
        if kind in (types := _types(path)):
            return _architecture(path, kind, types)
    return None


def of_encoder(family: Architecture) -> Architecture:
    """What the encoder of a type is made of: as its decoder, but for what `encoder_stack` says."""
    crossing = (name for name in CrossAttention._fields if name.startswith("cross_"))
    without = ("encoder_decoder", "encoder_stack", "encoder_part", *crossing)
    plain = {name: said for name, said in family.items() if name not in without} | {"encoder": True}
    return {name: said for name, said in _both(plain, family["encoder_stack"]).items() if said is not None}


def type_of_class(named: Any) -> str | None:
    """The type whose class a config's `architectures` names first, where no `model_type` says it; None if none is.

    A class is known by the `reference` or the `classes` of a type, or by a type's name: QWenLMHeadModel is qwen's.
    """
    name = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
    if name is None:
        return None
    types = {kind: text for path in _files() for kind, text in _types(path).items()}
    plain = _CLASS_ENDING.sub("", name).lower()
    same = [kind for kind in types if kind.replace("_", "").replace("-", "") == plain]
    says = re.compile(rf"^  (reference: {re.escape(name)}$|classes: .*\b{re.escape(name)}\b)", re.MULTILINE)
    return next((kind for kind in (*same, *(kind for kind in types if says.search(types[kind])))), None)


def all_types() -> dict[str, Path]:
    """Every type and the file that it stands in, all of them checked.

    Raises SpecError if a file has a mistake or a type stands in two.
    """
    found: dict[str, Path] = {}
    for path in _files():
        document, types = read_yaml(path), _types(path)
        for kind in document.data:
            if kind in found:
                raise document.error((kind,), f"this type stands in {found[kind].name} as well")
            if kind not in types:
                raise document.error((kind,), "a type stands at the beginning of a line, without quotes")
            _architecture(path, kind, types)
            found[kind] = path
    return found


def _files() -> list[Path]:
    found = (path for path in FOLDER.iterdir() if path.suffix == ".yaml" and path.name != HARMLESS_KEYS)
    return sorted(found, key=lambda path: path.name)


@lru_cache(maxsize=64)  # a search imports many configs
def _types(path: Path) -> dict[str, str]:
    """Every type of a file with its part of the text, after as many empty lines as stand before it."""
    text = read_text(path)
    starts = [(match[1], match.start()) for match in _TYPE.finditer(text)]
    ends = [start for _, start in starts[1:]] + [len(text)]
    return {
        kind: "\n" * text.count("\n", 0, start) + text[start:end]
        for (kind, start), end in zip(starts, ends, strict=True)
    }


def _architecture(path: Path, kind: str, types: dict[str, str]) -> Architecture:
    """What a type is made of, with what it takes over from another; without nulls, which mean the plain case."""
    document = parse_yaml(types[kind], str(path))
    entry: Architecture = validate(document, FILE)[kind]
    _check(document, kind, entry)
    if "like" in entry:
        order, other = list(types), entry["like"]
        if other not in order[: order.index(kind)]:
            raise document.error((kind, "like"), f"{other!r} is no type that stands before it in this file")
        entry = _both(_architecture(path, other, types), entry)
    entry = {name: said for name, said in entry.items() if said is not None}
    _refuse_unused(document, kind, entry)
    return entry


def _both(base: Architecture, entry: Architecture) -> Architecture:
    """What a type's entry says, and what another one says where it says nothing."""
    whole = base | entry
    for section in JOINED:
        if section in base and entry.get(section) is not None:
            whole[section] = base[section] | {
                name: _joined(base[section].get(name), said) for name, said in entry[section].items()
            }
    return whole


def _joined(one: Any, other: Any) -> Any:
    """Two mappings or two lists joined; of anything else, the second."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | other
    return one + other if isinstance(one, list) and isinstance(other, list) else other


def _check(document: Document, kind: str, entry: Architecture) -> None:
    """Refuse values, words and rules that are not known."""
    _check_fields(document, (kind,), entry)
    for word, layer in entry.get("layers", {}).items():
        _check_fields(document, (kind, "layers", word), layer)
    _check_fields(document, (kind, "first_layer"), entry.get("first_layer", {}))
    for section in ("both_ways", "decoder_alone"):
        _check_fields(document, (kind, section), entry.get(section, {}))
    if entry.get("encoder_stack") is not None:
        _check_stack(document, kind, entry["encoder_stack"])
    types = entry.get("layer_types", "listed")
    if types == "listed":
        return
    if not isinstance(types, dict) or len(types) != 2 or list(types.values())[1] != "others":
        problem = "expected `listed`, or two words: one with the rule that picks its layers, and one with `others`"
        raise document.error((kind, "layer_types"), problem)
    word = next(iter(types))
    _check_rule(document, (kind, "layer_types", word), types[word])


def _check_stack(document: Document, kind: str, said: Any) -> None:
    """Refuse what an entry could not say either, in what it says of its encoder."""

    def origin(inner: tuple[Key, ...]) -> tuple[str, int]:
        error = document.error((kind, "encoder_stack", *inner), "")
        return error.field, error.line

    validate(Document(document.file, said, {}, origin), ARCHITECTURE)
    _check_fields(document, (kind, "encoder_stack"), said)


def _check_fields(document: Document, path: tuple[Key, ...], entry: dict[str, Any]) -> None:
    for name, said in entry.items():
        if name in FIELDS or name in ("reused_after", "position_padding"):
            _check_value(document, (*path, name), FIELDS.get(name, SIZE), said)
        elif name == "experts":
            _check_rule(document, (*path, name), said)


def _check_value(document: Document, path: tuple[Key, ...], schema: Schema, said: Any) -> None:
    """Refuse an unknown form of a value, and a plain value that the field cannot have."""
    try:
        values = list(plain_values(said))
    except ValueError as wrong:
        inner, problem = wrong.args
        raise document.error((*path, *inner), problem) from None
    if path[-1] in KINDS and (not values or not {value for _, value in values} <= {*schema["expected"]}):
        raise document.error(path, f"expected {', '.join(map(repr, schema['expected']))}, got {shown(said)}")
    words = [*schema.get("expected", ()), *RULES.get(str(path[-1]), ())]
    kind = schema["type"]
    for inner, value in values:
        is_flag, is_size = type(value) is bool, type(value) is int and 0 <= value <= LARGEST
        if value is None or value in words or (kind == "bool" and is_flag) or (kind == "int" and is_size):
            continue
        plain = {"bool": ["true or false"], "int": ["a whole number"]}.get(kind, [])
        expected = ", ".join([*plain, *map(repr, words)])
        raise document.error((*path, *inner), f"expected {expected}, or a value that is looked up, got {shown(value)}")


def _check_rule(document: Document, path: tuple[Key, ...], rule: Any) -> None:
    """Refuse a rule that importer/patterns.py does not know."""
    if isinstance(rule, str) and rule in patterns.WORDS:
        return
    schema = patterns.schema_of(rule) if isinstance(rule, dict) else None
    if schema is None:
        raise document.error(path, f"not a rule that is understood: {str(rule)[:60]!r}")

    def origin(inner: tuple[Key, ...]) -> tuple[str, int]:
        error = document.error((*path, *inner), "")
        return error.field, error.line

    validate(Document(document.file, rule, {}, origin), schema)
    if "without" in rule:
        _check_rule(document, (*path, "without"), rule["without"])


def _refuse_unused(document: Document, kind: str, whole: Architecture) -> None:
    """Refuse a field that no block of the type has, and a word of a layer that says nothing of it."""
    layers: dict[str, Architecture] = whole.get("layers", {})
    plain = {"mixer": "attention", "mlp": "gated"} | whole
    everywhere = _used(plain)
    for word, layer in layers.items():
        used = _used(plain | layer)
        everywhere |= used
        for name in layer:
            if name in LAYER_FIELDS and name not in used:
                raise document.error((kind, "layers", word, name), "no block of this layer has a use for it")
    for streams in STREAMS:
        everywhere |= set(streams._fields) if streams._fields[0] in whole else set()
    for name in whole:
        if (name in LAYER_FIELDS or name in MODEL) and name not in everywhere:
            raise document.error((kind, name), "no block of this type has a use for it")
    for path, word in _words_named(whole):
        if word not in layers and word not in USUAL_WORDS:
            raise document.error((kind, *path), f"`layers` does not say what layers of the word {word!r} are made of")


def _words_named(whole: Architecture) -> Iterator[tuple[tuple[Key, ...], str]]:
    """The words of layers that an architecture uses, each with its place."""
    types = whole.get("layer_types")
    for word in types if isinstance(types, dict) else ():
        yield ("layer_types", word), word
    for part, words in whole.get("order", {}).items():
        yield from ((("order", part, position), word) for position, word in enumerate(words))
    for each, layer in whole.get("layers", {}).items():
        parts = layer.get("consists_of", ())
        yield from ((("layers", each, "consists_of", position), word) for position, word in enumerate(parts))


def _used(layer: dict[str, Any]) -> set[str]:
    """The fields of a layer's blocks."""
    words = [str(kind) for _, kind in plain_values(layer["mlp"])]
    mixers = [str(kind) for _, kind in plain_values(layer["mixer"])]
    blocks = [*(MIXERS[word] for word in mixers), *(MLPS[word] for word in words)]
    blocks += [MLPS["experts"]] if "experts" in layer else []
    blocks += [CrossAttention] if "cross_attention_size" in layer else []
    return {"mixer", "mlp", "norms", "residual_scales", *(field for block in blocks for field in block._fields)}
