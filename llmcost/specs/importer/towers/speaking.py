"""The part of a model that speaks: Qwen's omni models, CSM and Moshi.

It is a talker, which is a language model of sounds, and what makes waves.

Its weights are counted, and what it computes is not: how long an answer is spoken is no part of a text model's work.
What turns codes into waves is counted at the sizes that its class has by default, which released models keep.
"""

from __future__ import annotations

from typing import Any

from llmcost.specs.importer.towers.parts import Families, LeftOutError, Operators, Part, Towers, table, tower

TALKER = "talker"
# Parameters of classes at their defaults, built on torch's meta device (src/transformers/models/qwen2_5_omni, v5:
# Qwen2_5OmniToken2WavDiTModel, Qwen2_5OmniToken2WavBigVGANModel; qwen3_omni_moe: Qwen3OmniMoeCode2Wav).
OF_WAVES = {
    "qwen2_5_omni_dit": 333_607_760,
    "qwen2_5_omni_bigvgan": 115_443_504,
    "qwen3_omni_moe_code2_wav": 216_016_577,
}
# Keys of a talker that name tokens, or say how positions are counted.
OF_TOKENS = ("_id", "_index", "_ids")
NO_SIZE = (
    "layer_types", "max_position_embeddings", "max_window_layers", "position_id_per_seconds", "seconds_per_chunk",
    "sliding_window", "spatial_merge_size", "use_sliding_window", "accept_hidden_layer", "rope_theta", "speaker_id",
    "tts_text_start_token_id", "vision_start_token_id", "norm_topk_prob", "num_experts_per_tok",
)  # fmt: skip


def speaking(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The part that speaks of a whole omni model; none of a config without one, or whose keys are not understood."""
    if not speaks(config):
        return []
    parts = _talker2 if config.get("model_type") == "qwen2_5_omni" else _talker3
    try:
        return [tower(TALKER, "speaks", parts(config))]
    except LeftOutError:
        return []


def speaks(config: dict[str, Any]) -> bool:
    """Whether a config has a talker that is not turned off."""
    return "talker_config" in config and config.get("enable_audio_output", True) is not False


# -- models of speech ----------------------------------------------------------------------------------

MIMI = 79_308_609  # parameters of transformers' MimiModel at its defaults, built on torch's meta device


def _csm(config: dict[str, Any], hidden: int) -> Towers:
    """CSM: a decoder of the codes of one frame, and Mimi, which turns codes into waves."""
    t, tied = _part(config.get("depth_decoder_config") or {}, "csm_depth_decoder_model"), Part(config, "csm")
    h, books, words = (t.size(key) for key in ("hidden_size", "num_codebooks", "vocab_size"))
    if (books, words) != tuple(tied.size(key) for key in ("num_codebooks", "vocab_size")):
        raise LeftOutError("the codes of its depth_decoder_config are not those of the whole")
    t.must_be("backbone_hidden_size", hidden)
    for key in ("attention_bias", "mlp_bias"):
        t.must_be(key, expected=False)
    found = [
        *([] if tied.flag("tie_codebooks_embeddings") else [table("embedding", books * words * hidden)]),
        table("projection", hidden * h),
        table("layers", _attention(t, h) + 3 * h * t.size("intermediate_size"))
        | {"count": t.size("num_hidden_layers")},
        table("norm_and_heads", h + (books - 1) * h * words),
        _mimi(config.get("codec_config")),
    ]
    t.refuse_what_is_left()
    return [tower(TALKER, "speaks", found)]


def _moshi(config: dict[str, Any], hidden: int) -> Towers:
    """Moshi: tables of both sides' codes, a decoder of the codes of one frame with layers for each, and Mimi."""
    if "ForCausalLM" in str(config.get("architectures")):
        return []
    t, whole = _part(config.get("depth_decoder_config") or {}, "moshi_depth"), Part(config, "moshi")
    h, books, middle, rows = (t.size(key) for key in ("hidden_size", "num_codebooks", "ffn_dim", "audio_vocab_size"))
    heads = t.size("num_attention_heads")
    kv = t.size("num_key_value_heads") if t.get("num_key_value_heads") is not None else heads
    d = t.size("head_dim") if t.get("head_dim") is not None else h // heads
    words = t.size("vocab_size")
    if config.get("depth_decoder_config") is not None:
        words = whole.size("vocab_size")  # which its class writes over the part's own
    if rows != whole.size("audio_vocab_size") or books != whole.size("num_codebooks"):
        raise LeftOutError("the codes of its depth_decoder_config are not those of the whole")
    t.must_be("input_size", hidden)
    t.must_be("tie_word_embeddings", expected=False)
    layer = books * (h * (2 * heads + 2 * kv) * d + h * middle + middle // 2 * h) + 2 * h
    found = [
        table("codes", 2 * books * (rows + 1) * hidden),
        table("embedding", (words + 1) * h + (books - 1) * (rows + 1) * h),
        table("projections", books * h * hidden),
        table("layers", layer) | {"count": t.size("num_hidden_layers")},
        table("heads", books * rows * h),
        _mimi(config.get("audio_encoder_config")),
    ]
    t.refuse_what_is_left()
    return [tower(TALKER, "speaks", found)]


def _mimi(config: Any) -> dict[str, Any]:
    """Mimi at its class's defaults."""
    _part(config or {}, "mimi").refuse_what_is_left()
    return table("mimi", MIMI)


FAMILIES: Families = {"csm": _csm, "moshi": _moshi}


def _part(config: Any, kind: str) -> Part:
    """A part of a talker, whose tokens' numbers change no count."""
    part = Part(config, kind)
    part.read.update(key for key in part.given if key.endswith(OF_TOKENS) or key in NO_SIZE)
    return part


def _waves(config: Any, kind: str) -> dict[str, Any]:
    """What makes waves, where all its keys are the class's defaults."""
    _part(config or {}, kind).refuse_what_is_left()
    return table(kind.rpartition("_")[2], OF_WAVES[kind])


def _talker2(config: dict[str, Any]) -> Operators:
    t = _part(config["talker_config"], "qwen2_5_omni_talker")
    h, wide, words, depth = (
        t.size(key) for key in ("hidden_size", "embedding_size", "vocab_size", "num_hidden_layers")
    )
    t.must_be("tie_word_embeddings", expected=False)
    waves = config.get("token2wav_config") or {}
    if not isinstance(waves, dict):
        raise LeftOutError("its token2wav_config is no object")
    found = [
        table("projection", wide * h + h),
        table("embedding", words * wide),
        table("layers", _attention(t, h, biases=True) + 3 * h * t.size("intermediate_size")) | {"count": depth},
        table("norm_and_head", h + h * words),
        _waves(waves.get("dit_config"), "qwen2_5_omni_dit"),
        _waves(waves.get("bigvgan_config"), "qwen2_5_omni_bigvgan"),
    ]
    t.refuse_what_is_left()
    return found


def _attention(t: Part, h: int, *, biases: bool = False, normed: bool = False) -> int:
    """Weights of a layer beside its MLP: attention and two norms."""
    heads, kv = t.size("num_attention_heads"), t.size("num_key_value_heads")
    d = t.size("head_dim") if t.get("head_dim") is not None else h // heads
    wide = (heads + 2 * kv) * d
    return h * wide + heads * d * h + 2 * h + wide * biases + 2 * d * normed


def _talker3(config: dict[str, Any]) -> Operators:
    """Experts in each layer, one of which all tokens pass; and a small model that predicts further codes."""
    whole = _part(config["talker_config"], "qwen3_omni_moe_talker")
    t = _part(whole.given.get("text_config"), "qwen3_omni_moe_talker_text")
    p = _part(whole.given.get("code_predictor_config"), "qwen3_omni_moe_talker_code_predictor")
    whole.read.update(("text_config", "code_predictor_config", "num_code_groups"))
    for part in (whole, t, p):
        part.must_be("tie_word_embeddings", expected=False)
    h, words, depth = (t.size(key) for key in ("hidden_size", "vocab_size", "num_hidden_layers"))
    wide, states = t.size("intermediate_size"), whole.size("thinker_hidden_size")
    named = "num_experts" if "num_experts" in t.given else "num_local_experts"  # two names of one key
    experts, width, shared = (
        t.size(key) for key in (named, "moe_intermediate_size", "shared_expert_intermediate_size")
    )
    t.read.update(("decoder_sparse_step", "mlp_only_layers"))  # every layer of its class has experts
    mlp = h * experts + 3 * h * (width * experts + shared) + h
    t.must_be("attention_bias", expected=False)
    p.must_be("attention_bias", expected=False)
    q, rows, codes = p.size("hidden_size"), p.size("vocab_size"), p.size("num_code_groups") - 1
    each = _attention(p, q, normed=True) + 3 * q * p.size("intermediate_size")
    found = [
        table("projections", 2 * (states * wide + wide + wide * h + h)),
        table("embedding", words * h),
        table("layers", _attention(t, h, normed=True) + mlp) | {"count": depth},
        table("norm_and_head", h + h * words),
        table("code_layers", each) | {"count": p.size("num_hidden_layers")},
        table("code_tables", 2 * rows * q * codes + q),
        _waves(config.get("code2wav_config"), "qwen3_omni_moe_code2_wav"),
    ]
    for part in (whole, t, p):
        part.refuse_what_is_left()
    return found
