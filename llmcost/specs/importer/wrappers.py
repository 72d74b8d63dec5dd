"""The text model inside a config that wraps it: of a multimodal model, or of a part of one.

`wrappers.json` has what transformers' config classes of such types do (written by tests/config_defaults.py): the type
of a text model that names none, which `tie_word_embeddings` holds where the wrapper and the text model may both say
one, and what the wrapper has for keys that the text model leaves out. Code that comes with a config is not in it: there
the text model decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmcost.specs.importer.architectures import architecture
from llmcost.specs.importer.drafts import as_draft
from llmcost.specs.importer.keys import class_defaults
from llmcost.specs.importer.names import OTHER_PARTS, SYNONYMS

WRAPPERS = Path(__file__).with_name("wrappers.json")  # model_type -> [type of its text model, how embeddings are tied]
TEXT = ("text_config", "llm_config", "language_config", "thinker_config", "llm_cfg")  # where a text model usually is
TIED = "tie_word_embeddings"
# Drafts of another model, with projections from its hidden size and into it: refused by their names, or read as one.
NOT_ALONE = ("muse_glimmer_assistant",)
READ_AS_ONE = ("gemma4_assistant", "gemma4_unified_assistant")
# Parts that are no text model, by their keys.
OTHERS = re.compile("encoder|vision|image|audio|speech|talker|token2|code2|draft|quantization")
# MiniCPM-V's own code has its text model's keys at the top of the config. Of which type it is, by the model's version
# (openbmb/MiniCPM-V-2_6, MiniCPM-V-4, MiniCPM-V-4_5, MiniCPM-o-2_6: configuration_minicpm.py), and the keys of others.
IN_ONE = {
    "minicpmv": {"2.6": "qwen2", "4.0": "llama", "4": "llama", "4.5": "qwen3"},
    "minicpmo": {"2.6": "qwen2", "4.5": "qwen3"},
}
# LLaVA's own code likewise, whose class names the text model's (github.com/LLaVA-VL/LLaVA-NeXT).
OF_LLAVA = {
    "LlavaLlamaForCausalLM": "llama",
    "LlavaMistralForCausalLM": "mistral",
    "LlavaQwenForCausalLM": "qwen2",
}
NOT_TEXT = re.compile(
    "vision|image|slice|audio|tts|listen|chunk_input|patch_size|query_num|init_|stream_input|batch_3d_resampler"
    "|version|auto_map|_name_or_path|mm_|video|faster|force_sample|pos_skipping|time_instruction"
)
DEEPEST = 3  # wrappers one in another
WHOLE = ["Qwen2_5OmniModel"]  # a class of the whole, with its head, for all that it is called as a bare model is
RELEASED_IN_ONE = ("hunyuan_vl", "glm4v", "glm4v_moe")  # whose text model's keys stand at the top
FORMER = {"lfm2-vl": "lfm2_vl"}  # names of types in the code that first came with a config
TWO_PARTS = ("t5gemma", "t5gemma2")  # whose decoder's keys are in one part, and whose encoder's in another


def text_model(config: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...], str]:
    """The config of the text model alone, the keys that it stands under from outside in, and what is counted.

    The last is empty where the text model is all that the config describes.
    """
    inner, place = _inside(config, 0)
    levels = _levels(config, place)
    others = [words for part, words in OTHER_PARTS.items() if any(level.get(part) for level in levels)]
    alone = f"the text model alone, without {' and '.join(others) or 'the other parts of its config'}"
    return inner, place, alone if others or place else ""


def with_text_inside(config: dict[str, Any]) -> dict[str, Any]:
    """A config with its text model in a part of its own, where its type has the text model's keys beside the others."""
    if (draft := as_draft(config)) is not None:
        return draft
    kind = str(config.get("model_type"))
    if kind == "bert" and "feed_forward_type" in config:
        return config | {"model_type": "jina_bert"}  # whose code comes with it
    if kind == "nvembed" and isinstance(text := config.get(TEXT[0]), dict):
        return text | {name: said for name, said in config.items() if name != TEXT[0]}
    if kind in TWO_PARTS:
        return with_the_decoder_outside(config)
    if kind in RELEASED_IN_ONE and TEXT[0] not in config:
        return with_the_rest_inside(config)
    if kind in FORMER:
        return config | {"model_type": FORMER[kind]}
    if kind in TEXT_MODELS:
        place, rewritten = TEXT_MODELS[kind]
        text = config.get(place, {})
        return config | {place: rewritten(text)} if isinstance(text, dict) else config
    named = str(config.get("architectures")).strip("[']")
    inside = OF_LLAVA.get(named) or IN_ONE.get(kind, {}).get(str(config.get("version", "2.6")))
    if inside is None or TEXT[0] in config:
        return config
    text = {key: value for key, value in config.items() if key == "initializer_range" or not NOT_TEXT.search(key)}
    others = {key: value for key, value in config.items() if key not in text}
    return others | {"model_type": kind, TEXT[0]: text | {"model_type": inside, "architectures": None}}


def with_the_rest_inside(config: dict[str, Any]) -> dict[str, Any]:
    """HunyuanOCR and GLM-4.1V as they are released: all keys but the whole's are the text model's.

    So configuration_hunyuan_vl.py and convert_glm4v_mgt_weights_to_hf.py (src/transformers/models/…) write them.
    """
    whole = ("model_type", "architectures", TIED, "quantization_config", "quantization", *OTHER_PARTS)
    outside = {name: said for name, said in config.items() if name in whole or "token" in name}
    return outside | {TEXT[0]: {name: said for name, said in config.items() if name not in outside}}


def with_plain_attention(text: dict[str, Any]) -> dict[str, Any]:
    """DeepSeek-OCR's text model (modeling_deepseekv2.py that comes with it): without MLA its attention is Llama's."""
    if text.get("use_mla", True) is not False or text.get("model_type", "deepseek_v2") != "deepseek_v2":
        return text
    latent = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "use_mla")
    kept = {name: said for name, said in text.items() if name not in latent}
    return {"first_k_dense_replace": 0} | kept | {"model_type": "deepseek", "architectures": None}


def with_experts_of_words(text: dict[str, Any]) -> dict[str, Any]:
    """ERNIE 4.5 VL's text model with the width of its experts for words, beside that of those for images."""
    match text.get("moe_intermediate_size") or [1536, 512]:  # as configuration_ernie4_5_vl_moe.py has it
        case [int(width), int(of_images)]:
            widths = {"moe_intermediate_size": None, "word_experts_size": width, "image_experts_size": of_images}
            return {"model_type": "ernie4_5_vl_moe_text"} | text | widths
        case _:
            return text


def with_a_table_of_its_own(text: dict[str, Any]) -> dict[str, Any]:
    """Florence-2's text model: BART, whose head is tied as the whole says, and its encoder's table as itself says."""
    if text.get("model_type", "bart") not in ("bart", "florence2_language"):
        return text
    return text | {"model_type": "florence2_language", "shared_embeddings": text.get(TIED, True)}


# Where the text model of a type stands, and what makes of its config one that is read.
TEXT_MODELS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "deepseek_vl_v2": ("language_config", with_plain_attention),
    "ernie4_5_vl_moe": (TEXT[0], with_experts_of_words),
    "florence2": (TEXT[0], with_a_table_of_its_own),
}


def with_the_decoder_outside(config: dict[str, Any]) -> dict[str, Any]:
    """A config whose decoder has a part of its own with the decoder's keys at the top, and its encoder's text model.

    How embeddings are tied stands at the top. What the encoder has beside text stays beside the decoder's keys.
    """
    parts = {name: part for name in ("decoder", "encoder") if isinstance(part := config.get(name, {}), dict)}
    if len(parts) < 2:
        return config
    whole = {name: said for name, said in config.items() if name not in (*parts, "vocab_size")}
    decoder = {name: said for name, said in parts["decoder"].items() if name not in ("architectures", "model_type")}
    tied = {TIED: config[TIED]} if TIED in config else {}
    text = parts["encoder"].get("text_config", parts["encoder"])
    beside = (*OTHER_PARTS, "mm_tokens_per_image")
    others = {name: said for name, said in parts["encoder"].items() if name in beside}
    if config["model_type"] == "t5gemma2":
        others.setdefault("vision_config", {"model_type": "siglip_vision_model"})  # which its class always has
    if isinstance(text, dict):
        usual = {} if others else {"hidden_size": class_defaults(config["model_type"])["hidden_size"]}
        text = usual | {name: said for name, said in text.items() if name != "model_type"} | tied
    return {**whole, **decoder, **tied, **others, "encoder": text}


def classes_named(config: dict[str, Any], place: tuple[str, ...]) -> Any:
    """The `architectures` that says what stands behind the layers of the text model that is at a place of a config.

    It is the wrapper's, unless that is a bare model, and a part of it names a head.
    """
    named = [said for level in _levels(config, place) if (said := level.get("architectures")) not in (None, [], WHOLE)]
    return next((said for said in named if not str(said).endswith("Model']")), named[0] if named else None)


def _levels(config: dict[str, Any], place: tuple[str, ...]) -> list[dict[str, Any]]:
    """A config and the parts at each key of a place, from outside in."""
    levels = [config]
    for key in place:
        levels.append(levels[-1][key])
    return levels


def _inside(config: dict[str, Any], depth: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The config of the text model, with what its wrappers say of it, and the keys that it stands under."""
    key = None if depth == DEEPEST else _place(config)
    if key is None or config.get("model_type") in NOT_ALONE:  # such a type is refused by its name
        return config, ()
    kind, tied, filled = _rule(config)
    if config.get("model_type") in READ_AS_ONE:
        if not str(config[key].get("model_type", "gemma4")).startswith("gemma4"):
            return config, ()  # another text model inside, which is refused
        return config[key] | {name: value for name, value in config.items() if name != key}, (key,)
    inner, place = _inside(filled | config[key], depth + 1)
    if config.get("model_type") == "paligemma":  # whose answers see what came before, though its prompts see all
        ours = ("use_bidirectional_attention", "num_image_tokens")
        inner = {name: value for name, value in inner.items() if name not in ours}
    outer: dict[str, Any] = {name: config[name] for name in ("quantization_config", "quantization") if name in config}
    outer |= {"model_type": kind or config.get("model_type"), "architectures": config.get("architectures")}
    outside, inside = (False if level.get(TIED, "left out") is None else level.get(TIED) for level in (config, inner))
    embeddings = {TIED: said} if (said := _tied(tied, outside, inside)) is not None else {}
    return outer | {name: value for name, value in inner.items() if name != TIED} | embeddings, (key, *place)


def _place(config: dict[str, Any]) -> str | None:
    """The key of the text model inside a config; None if the config is that of a text model itself."""
    named = next((key for key in TEXT if isinstance(config.get(key), dict)), None)
    if named or any(key in config for key in SYNONYMS["hidden_size"]):
        return named
    inside = (key for key, value in config.items() if isinstance(value, dict) and not OTHERS.search(key))
    return next((key for key in inside if _is_text(config[key])), None)


def _is_text(part: dict[str, Any]) -> bool:
    """Whether a part of a config is a text model: one that has a vocabulary and a hidden size."""
    return "vocab_size" in part and any(key in part for key in SYNONYMS["hidden_size"])


def _rule(config: dict[str, Any]) -> tuple[str | None, str, dict[str, Any]]:
    """Of a wrapper: the type of its text model, how embeddings are tied, and what it has for keys that are left out.

    The text model decides where its own class is named, or where no class is and the wrapper's type, which is one of
    text models too, has no other part.
    """
    kind, named = config.get("model_type"), config.get("architectures")
    _, found, rest = WRAPPERS.read_text("utf-8").partition(f"\n {json.dumps(kind)}: ")
    if not found:
        return None, "inside", {}
    inner, tied, *filled = json.JSONDecoder().raw_decode(rest)[0]
    alone = config.keys().isdisjoint(OTHER_PARTS) and architecture(str(kind)) is not None
    return (inner, "inside" if ("ForCausalLM" in str(named) if named else alone) else tied, filled[0] if filled else {})


def _tied(rule: str, outside: Any, inside: Any) -> Any:
    """Whether embeddings are tied, of what the wrapper and the text model say; None where it is the text's default.

    What is neither true nor false is handed on, to be refused.
    """
    said = [each for each in (outside, inside) if each is not None]
    strange = next((each for each in said if not isinstance(each, bool)), None)
    if strange is not None:
        return strange
    if rule == "either":
        return any(said)
    if rule == "unless both":
        return said != [False, False]
    if rule == "within":
        return inside
    if rule in ("never", "only outside"):
        return rule != "never" and outside is True
    if rule == "tied alone":  # untied, its head has rows of its own, which are not counted
        return outside is not False or "false: a head with rows of its own"
    if rule == "inside":
        return said[-1] if said else None
    if outside is None:
        return inside if rule == "outside" else rule == "tied"
    return outside
