"""A Hugging Face config.json as a model spec: exact, or refused with the key that is not understood.

No code that comes with a config is ever run, and transformers is not needed. A file of specs/architectures says what
each `model_type` is made of; `keys.py` and `layers.py` read its keys. A key is refused, since it might change a count,
unless it is understood, known to change no count, or at the value that its type has by default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from os.path import isdir
from pathlib import Path
from typing import Any

from llmcost.ground.errors import SpecError, shortened
from llmcost.model.blocks import STREAMS
from llmcost.specs.importer.beside import Beside, quantization_beside
from llmcost.specs.importer.heads import head_of
from llmcost.specs.importer.keys import Keys
from llmcost.specs.importer.layers import layers_of
from llmcost.specs.importer.limits import refuse_contradictions, refuse_values
from llmcost.specs.importer.names import DRAFTS, LAYER_LISTS
from llmcost.specs.importer.sentence_transformers import MODULES, notes_beside
from llmcost.specs.importer.wrappers import TIED, TWO_PARTS, classes_named, text_model, with_text_inside
from llmcost.specs.json_text import line_of, parse_json
from llmcost.specs.reader import Document, read_text

# Sizes that a released config has, under one name or another.
MAIN_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size")
LARGEST_CONFIG = 10_000_000  # bytes: lists of quantised layers can be long
DTYPE = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
# Fields of the model, and what they are where an architecture says nothing of them.
PLAIN: dict[str, Any] = {
    "position_embedding": "rotary",
    "norm": "rms",
    "embedding_norm": False,
    "input_only_tokens": None,
    "type_vocab_size": None,
    "rotary_table": None,
    "embedding_scales": None,
    "target_embedding": False,
    "final_norm": True,
    "head_size": None,
    "head_transform": False,
    "head_without_bias": False,
    "pooler": False,
    "idle_pooler": False,
    "lm_head_bias": False,
}

EMBEDDER = "embedder"  # in the place of a type: as its bare model
OF_AN_ENCODER = ("position_embedding", "norm", "embedding_norm", "final_norm")


def read_config(
    path: Path, kind: str | None = None, allow_unknown: Sequence[str] = (), *, strict: bool = True
) -> Document:
    """The spec that a config.json (or the folder that holds one) describes. Raises SpecError naming the key.

    `kind`: the model_type as which it is read, or that it is an embedder, as what lies beside it may say too.
    `allow_unknown`: keys that are left out where they are not understood. `strict`: also for a quantisation that is not
    understood, which the spec otherwise says is unread.
    """
    file = path / "config.json" if isdir(path) else path
    text = read_text(file, LARGEST_CONFIG)
    config = parse_json(text, str(file), from_python=True)
    name = (file.parent.name if file.name == "config.json" else file.stem) or "model"
    if TIED not in config and has_a_head(file.with_name("model.safetensors.index.json")):
        config[TIED] = False
    beside = None
    if found := quantization_beside(file, config):
        config["quantization_config"], beside = found
    behind = notes_beside(file) if kind in (None, EMBEDDER) else []
    if kind == EMBEDDER or (kind is None and file.with_name(MODULES).is_file()):
        bare = without_head(config)
        if kind == EMBEDDER and not str(bare.get("architectures")).endswith("Model']"):
            named = shortened(str(config.get("architectures")))
            raise SpecError(str(file), line_of(text, ("architectures",)), "architectures", f"{named} is no embedder's")
        config, kind = bare, None
    document = document_of(config, str(file), name, kind, text, allow_unknown, beside=beside, strict=strict)
    if behind:
        document.data["notes"] = [*document.data.get("notes", ()), *behind]
    return document


def without_head(config: dict[str, Any]) -> dict[str, Any]:
    """The config of an embedder that names the class with a head, from which it was made, with the bare one's name."""
    match config.get("architectures"):
        case [str(named)] if found := re.fullmatch(r"(\w+?)(ForCausalLM|LMHeadModel|ForMaskedLM)", named):
            return config | {"architectures": [f"{found[1]}Model"], "embeds": named}
        case None:
            return config | {"architectures": ["Model"], "embeds": "its class"}
        case _:
            return config


def has_a_head(index: Path) -> bool:
    """Whether the list of a checkpoint's tensors beside the config has an LM head, which then is not the embedding.

    transformers does not tie two weights that are both there, whatever a config class has by default.
    """
    small = index.is_file() and index.stat().st_size <= LARGEST_CONFIG
    with suppress(SpecError):  # a list that cannot be read is no reason to refuse the config
        return small and 'lm_head.weight"' in read_text(index, LARGEST_CONFIG)
    return False


def document_of(
    config: dict[str, Any],
    file: str,
    name: str,
    kind: str | None = None,
    text: str = "",
    allow_unknown: Sequence[str] = (),
    *,
    beside: Beside | None = None,
    strict: bool = True,
    weights: Callable[[list[dict[str, Any]]], dict[str, Any]] | None = None,
) -> Document:
    """The config's data in the form of a spec; `text` is the file's, for the lines in messages.

    `beside`: the file that the quantisation comes from, if that is another. `weights`: gives every
    layer its formats and returns those of the model, where a file of weights says them.
    """
    refuse_what_is_no_part(config, file, text)
    whole = with_text_inside(config)
    config, place, counted = text_model(whole)
    config = as_hugging_face_has_it(config)
    if "block_configs" in config:
        config = of_searched_layers(config, file, text)
    keys = of_the_class(Keys(config, file, kind, text, place, allow_unknown, beside), classes_named(whole, place))
    refuse_values(keys)
    notes = assumed(keys, config, kind)
    depth = depth_of(keys)
    data: dict[str, Any] = {
        "name": name,
        "title": name,
        "source": file,
        "dtype": dtype_of(keys),
        "hidden_size": keys.field("hidden_size"),
        "num_hidden_layers": depth,
        "vocab_size": keys.trait("vocab_size") or keys.field("vocab_size"),
        "max_position_embeddings": positions_of(keys),
        "tie_word_embeddings": bool(keys.trait("tie_word_embeddings", "=tie_word_embeddings")),
        **{field: keys.trait(field, plain) for field, plain in PLAIN.items()},
    }
    if (data["input_only_tokens"] or 0) < 0 and (rows := keys.value("=unpadded_vocab_size")):
        raise keys.error("unpadded_vocab_size", f"{rows:,} rows of the head are more than the vocabulary has")
    data["input_only_tokens"] = data["input_only_tokens"] or None
    data |= tables(keys, data)
    data |= head_of(keys, classes_named(whole, place))
    keys.sees_both_ways(data.get("bidirectional"))
    layers = layers_of(keys, depth)
    refuse_contradictions(keys, depth)
    data["num_hidden_layers"] = len(layers)  # of which one of theirs may be several
    if weights is not None:
        data |= weights(layers)
    if keys.get("quantization_config"):
        from llmcost.specs.importer import quantization  # compiles many patterns, which most configs do without

        try:
            data |= quantization.quantization(keys, layers)
        except SpecError as error:
            if strict:
                raise
            data["unread"] = str(error)
            for layer in layers:
                layer.pop("unquantized", None)
        notes += quantization.notes_of(keys.get("quantization_config"))
    data |= grouped(layers) | streams(keys)
    if has_encoder(keys, classes_named(whole, place)):
        data["encoder"] = encoder_of(keys)
    data |= what_is_counted(whole, data, counted, has_towers="has_towers" in keys.family)
    keys.refuse_what_is_left(keys.given)
    keys.refuse_what_is_not_there()
    data["notes"] = [*notes, *keys.read_anyway()] or None
    data["unknown_keys"] = keys.left_out or None
    return Document(file, {key: value for key, value in data.items() if value is not None}, {}, keys.origin)


def refuse_what_is_no_part(config: dict[str, Any], file: str, text: str) -> None:
    """Refuse an encoder or a decoder that is no object, of a type that has a part of its config for each."""
    for part in ("encoder", "decoder") if config.get("model_type") in TWO_PARTS else ():
        if not isinstance(said := config.get(part), dict | None):
            problem = f"expected an object of keys and values, got {shortened(str(said))}"
            raise SpecError(file, line_of(text, (part,)), part, problem)


def of_the_class(keys: Keys, named: Any) -> Keys:
    """The keys as the class that `architectures` names reads them: an encoder's, or a decoder's that stands alone."""
    if "encoder_stack" in keys.family and str(named).endswith("EncoderModel']"):
        return keys.of_encoder()
    if "CausalLM" in str(named):
        keys.family = keys.family | keys.family.get("decoder_alone", {})
    return keys


def assumed(keys: Keys, config: dict[str, Any], kind: str | None) -> list[str]:
    """Notes for the spec: what of the config is left out, and what is read that it does not say."""
    notes = [
        f"{key}: {config[key]}. The layers that draft further tokens are left out." for key in DRAFTS if config.get(key)
    ]
    if named := keys.get("embeds"):
        notes.append(f"An embedder: its bare model is counted, without what {named} has behind its layers.")
    if isinstance(said := config.get("model_type"), str) and kind is None and said != keys.type:
        notes.append(f"model_type {shortened(said)!r} is not known: read as {keys.type}, by the name of its class.")
    filled = [name for name in MAIN_SIZES if not keys.is_given(name)]
    if filled:
        notes.append(f"Not in the config, so as {keys.type} has it by default: {', '.join(filled)}.")
    return notes


def as_hugging_face_has_it(config: dict[str, Any]) -> dict[str, Any]:
    """The config with what MLX and MLC call otherwise under the usual names: quantisation, and the longest context.

    MLX writes the same under `quantization` and `quantization_config`. MLC's q0 formats quantise nothing.
    """
    if "context_window_size" in config and "max_position_embeddings" not in config:
        config = config | {"max_position_embeddings": config["context_window_size"]}
    config = {key: value for key, value in config.items() if key != "context_window_size"}
    if isinstance(scores := config.get("pos_att_type"), str):
        config["pos_att_type"] = [word.strip() for word in scores.lower().split("|")]
    if config.get("per_layer_config", "left out") in (None, {}):
        config["per_layer_config"] = {"0": {}}  # empty, no layer has keys of its own; left out, the type's rule holds
    said, others = config.get("quantization"), config.get("quantization_config")
    if isinstance(said, dict) and others in (None, said):
        found: dict[str, Any] | None = said
    elif isinstance(said, str) and others is None:
        found = None if said.startswith("q0") else {"quant_method": "mlc", "format": said}
    else:
        return config
    return {key: value for key, value in config.items() if key != "quantization"} | {"quantization_config": found}


def of_searched_layers(config: dict[str, Any], file: str, text: str) -> dict[str, Any]:
    """The config with lists of layers in the place of `block_configs`. Raises SpecError."""
    from llmcost.specs.importer.searched import as_lists

    try:
        return as_lists(config)
    except ValueError as wrong:
        raise SpecError(file, line_of(text, ("block_configs",)), "block_configs", str(wrong)) from None


def positions_of(keys: Keys) -> Any:
    """The longest context: of a config that scales its rotary angles, so many times the positions before that.

    As vLLM's `_get_and_verify_max_len` has it (github.com/vllm-project/vllm, vllm/config/model.py): linear, dynamic and
    YaRN multiply, longrope and Llama 3 do not, and Gemma 3's configs say the longer one already. What was before is
    `original_max_position_embeddings` where that stands; never less than the config's own maximum.
    """
    own = keys.field("max_position_embeddings")
    positions = own or keys.trait("max_position_embeddings") or own
    scaling = next((said for key in ("rope_scaling", "rope_parameters") if isinstance(said := keys.get(key), dict)), {})
    scales = {"linear", "dynamic", "yarn"} & {str(scaling.get("type")), str(scaling.get("rope_type"))}
    factor, before = scaling.get("factor"), scaling.get("original_max_position_embeddings", positions)
    turned = keys.trait("position_embedding", "rotary") == "rotary" and not str(keys.type).startswith("gemma3")
    if not scales or not turned or not isinstance(factor, int | float):
        return positions
    if not isinstance(positions, int) or not isinstance(before, int) or not 1 < factor < 1000:
        return positions
    return max(positions, int(before * factor))


def dtype_of(keys: Keys) -> str:
    """The number format of the weights; bf16 where it is not said. One that a spec cannot have is refused."""
    key = "dtype" if keys.get("dtype") else "torch_dtype"
    said = str(keys.get(key) or "bfloat16").removeprefix("torch.")
    if said not in DTYPE:
        raise keys.error(key, f"{said[:40]!r} is not understood: {', '.join(DTYPE)}")
    return DTYPE[said]


def what_is_counted(whole: dict[str, Any], data: dict[str, Any], counted: str, *, has_towers: bool) -> dict[str, Any]:
    """What of a config's models is counted, in words, and the towers; nothing to say where it has a text model alone.

    `has_towers`: whether the class of the causal language model has them too.
    """
    if data.get("target_embedding"):
        read = "tables" if data["tie_word_embeddings"] else "embedding"
        return {"counted": f"the draft model alone, which reads its target's {read}"}
    counted = counted or ("the text model alone" if has_towers else "")
    if not counted:
        return {}
    said = {"counted": counted}
    return said | with_towers(whole, data | said, everywhere=has_towers)


# Whose class is not that of the text model alone.
WHOLE_MODELS = ("DeepseekOCRForCausalLM", "DeepseekVLV2ForCausalLM", "FuyuForCausalLM")


def with_towers(whole: dict[str, Any], data: dict[str, Any], *, everywhere: bool = False) -> dict[str, Any]:
    """The towers beside a text model, and what is counted then; what is not understood stays left out, and is said.

    `everywhere`: also where the class is that of a causal language model.
    """
    from llmcost.specs.importer import towers  # few configs have any
    from llmcost.specs.importer.towers.parts import LeftOutError
    from llmcost.specs.importer.towers.speaking import TALKER, speaks

    named = str(whole.get("architectures"))
    if "ForCausalLM" in named and not everywhere and not any(each in named for each in WHOLE_MODELS):
        return {}  # the class of the text model alone
    try:
        found = towers.towers_of(whole, data["hidden_size"])
        if not found:
            return {}
    except LeftOutError as why:
        return {"counted": f"{data['counted']} ({why})"}
    names = " and ".join(f"the {each['name'].replace('_', ' ')}" for each in found)
    projectors = "its projector" if len(found) == 1 else "their projectors"
    counted = f"the text model and {names} with {projectors}, kept in the activations' type"
    silent = not any(each["name"] == TALKER for each in found)
    untold = silent and (speaks(whole) or (whole.get("tts_config") and whole.get("init_tts", True)))
    return {"towers": found, "counted": counted + ", without the part that speaks" * bool(untold)}


def has_encoder(keys: Keys, named: Any) -> bool:
    """Whether the encoder of a type that has one is there too: unless `architectures` names its decoder alone."""
    return "encoder_stack" in keys.family and "CausalLM" not in str(named)


def encoder_of(keys: Keys) -> dict[str, Any]:
    """The encoder in the form of a spec."""
    own = keys.of_encoder()
    refuse_values(own)
    if keys.trait("cross_merged"):
        for name in ("hidden_size", "vocab_size"):
            if own.field(name) != keys.field(name):
                raise own.error(name, f"the decoder's is {keys.field(name)}, with whose weights this encoder is read")
    fields: dict[str, Any] = {
        "hidden_size": own.field("hidden_size"),
        "num_hidden_layers": depth_of(own),
        "max_position_embeddings": positions_of(own),
        "mel_bins": own.trait("mel_bins"),
        **{name: own.trait(name, PLAIN[name]) for name in OF_AN_ENCODER},
    }
    fields |= {"position_offset": own.trait("position_offset") or None}
    fields |= {name: own.trait(name) or None for name in ("vocab_size", "own_tokens")}
    fields |= grouped(layers_of(own, fields["num_hidden_layers"]))
    refuse_contradictions(own, fields["num_hidden_layers"])
    if "encoder_part" in keys.family:
        own.refuse_what_is_left(own.given)
    return {name: value for name, value in fields.items() if value is not None}


def depth_of(keys: Keys) -> int:
    """How many layers: where every layer's type is listed, the list may stand alone."""
    kinds = keys.listed(LAYER_LISTS[0])
    counted = kinds is None or any(key in keys.given for key in keys.names("num_hidden_layers"))
    depth = keys.number("num_hidden_layers") * keys.family.get("layers_each", 1) if counted else len(kinds or ())
    usual = next((keys.defaults[key] for key in keys.names("num_hidden_layers") if keys.defaults.get(key)), depth)
    if not counted and usual != depth:
        raise keys.error(LAYER_LISTS[0], f"{depth} entries for {usual} layers, which {keys.type} has by default")
    if not 0 < depth <= 10_000:
        raise keys.error("num_hidden_layers", f"{depth:,} layers: at least 1 and at most 10,000 are read")
    return depth


def grouped(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Equal layers with their count; where all are equal, they are the model's."""
    kinds: list[dict[str, Any]] = []
    counts: list[int] = []
    for layer in layers:
        if layer in kinds:
            counts[kinds.index(layer)] += 1
        else:
            kinds.append(layer)
            counts.append(1)
    if len(kinds) == 1:
        return kinds[0]
    return {"layers": [{"count": count, **kind} for count, kind in zip(counts, kinds, strict=True)]}


def tables(keys: Keys, data: dict[str, Any]) -> dict[str, Any]:
    """Widths of the embedding and the head where they are not the hidden size; rows of the position table."""
    found: dict[str, Any] = {"position_offset": keys.trait("position_offset") or None}
    width = keys.trait("embedding_size")
    if width is not None and (width != data["hidden_size"] or keys.family.get("embedding_projection_always")):
        found |= {"embedding_size": width, "embedding_projection": keys.trait("embedding_projection")}
    if data["head_size"] == data["hidden_size"] and not data["head_transform"]:
        found["head_size"] = None
    padding = keys.trait("position_padding")
    if padding is not None:  # the table's first rows, up to this one, are no positions
        if not isinstance(padding, int):
            raise keys.error("pad_token_id", "expected a whole number")
        found["position_offset"] = padding + 1
        found["max_position_embeddings"] = keys.number("max_position_embeddings") - padding - 1
    return found


def streams(keys: Keys) -> dict[str, Any]:
    """The sizes of what stands beside the residual stream, of those kinds whose first size the architecture says."""
    found: dict[str, Any] = {}
    for kind in STREAMS:
        if kind._fields[0] in keys.family:
            sizes = {name: keys.trait(name) for name in kind._fields}
            found |= sizes if sizes[kind._fields[0]] else {}
    if found.get("ngram_rows") == "hashed":
        from llmcost.specs.importer import ngrams  # few models have any

        found["ngram_rows"] = ngrams.rows_of(keys)
    return found
