"""Towers that hear by Whisper's layers: Voxtral, Qwen2-Audio, and those of Qwen's omni models, which see too."""

from __future__ import annotations

from typing import Any

from llmcost.model.sound_tokens import SECOND
from llmcost.specs.importer.towers import qwen
from llmcost.specs.importer.towers.parts import (
    Families,
    LeftOutError,
    Operators,
    Part,
    Towers,
    encoder,
    linear,
    norm,
    projector,
    table,
    tower,
)


def _whisper(v: Part, h: int, heads: int, middle: int, depth: int) -> Operators:
    """Whisper's encoder: two convolutions over mel frames, the second of stride 2, fixed positions, layers, a norm."""
    v.must_be("max_source_positions", 1500)
    return [
        linear("first_convolution", 3 * v.size("num_mel_bins"), h, "frames", bias=True, split="columns"),
        linear("second_convolution", 3 * h, h, bias=True),
        table("position_embedding", 1500 * h),
        *encoder(h, heads, middle, depth, biases="qv out up down"),
        norm("final_norm", h),
    ]


def _voxtral(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("audio_config"), "voxtral_encoder")
    h, middle = v.size("hidden_size"), v.size("intermediate_size")
    if middle % h:
        raise LeftOutError("its intermediate_size is no multiple of its hidden_size")
    v.read.update(("vocab_size", "head_dim", "num_key_value_heads"))
    if v.given.get("num_key_value_heads", v.size("num_attention_heads")) != v.size("num_attention_heads"):
        raise LeftOutError("its num_key_value_heads are not understood")
    if v.given.get("head_dim", h // v.size("num_attention_heads")) != h // v.size("num_attention_heads"):
        raise LeftOutError("its head_dim is not understood")
    found = [
        *_whisper(v, h, v.size("num_attention_heads"), middle, v.size("num_hidden_layers")),
        *projector("projector", middle, hidden, hidden, bias=False),
    ]
    v.refuse_what_is_left()
    return [tower("audio_tower", "whisper", found, image_size=1500, merge=middle // h)]


def _qwen2_audio(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("audio_config"), "qwen2_audio_encoder")
    h, heads = v.size("d_model"), v.size("encoder_attention_heads")
    found = [
        *_whisper(v, h, heads, v.size("encoder_ffn_dim"), v.size("encoder_layers")),
        linear("projector", h, hidden, "merged", bias=True),
    ]
    v.refuse_what_is_left()
    return [tower("audio_tower", "whisper-once", found, image_size=1500, merge=2)]


def _inside(config: dict[str, Any]) -> dict[str, Any]:
    """The part of Qwen's omni models that reads, of a config that has a part that speaks too."""
    inner = config.get("thinker_config")
    return inner if isinstance(inner, dict) else config


def _omni_audio(config: dict[str, Any], kind: str) -> tuple[Part, Operators, int]:
    """The layers of an omni model's audio tower, which are Whisper's but for positions that are not stored."""
    v = Part(_inside(config).get("audio_config"), kind)
    h, heads, depth = v.size("d_model"), v.size("encoder_attention_heads"), v.size("encoder_layers")
    v.read.update(("max_source_positions", "conv_chunksize"))
    return v, encoder(h, heads, v.size("encoder_ffn_dim"), depth, biases=OMNI_BIASES[kind]), h


OMNI_BIASES = {"qwen2_5_omni_audio_encoder": "qv out up down", "qwen3_omni_moe_audio_encoder": "qkv out up down"}


def _qwen2_5_omni(config: dict[str, Any], hidden: int) -> Towers:
    kind = "qwen2_5_omni_audio_encoder"
    v, layers, h = _omni_audio(config, kind)
    out = v.out("output_dim", hidden)
    found = [
        linear("first_convolution", 3 * v.size("num_mel_bins"), h, "frames", bias=True, split="columns"),
        linear("second_convolution", 3 * h, h, bias=True),
        *layers,
        norm("final_norm", h, "merged"),
        linear("projector", h, out, "merged", bias=True),
        table("begin_and_end", 2 * out),
    ]
    frames = 2 * v.size("n_window")
    v.refuse_what_is_left()
    audio = tower("audio_tower", "audio-chunks", found, image_size=frames, merge=2)
    return [*qwen.qwen2_5(_inside(config), hidden, "qwen2_5_omni_vision_encoder"), audio]


def _qwen3_omni(config: dict[str, Any], hidden: int) -> Towers:
    kind = "qwen3_omni_moe_audio_encoder"
    v, layers, h = _omni_audio(config, kind)
    channels, bins = v.size("downsample_hidden_size"), v.size("num_mel_bins")
    places, shapes = ("half", "quarter", "eighth"), []
    for place, inputs in zip(places, (1, channels, channels), strict=True):
        bins = (bins + 1) // 2  # each has a stride of 2
        shapes.append(linear(f"{place}_convolution", 9 * inputs, channels, place, bias=True, across=bins))
    chunk, window = 2 * v.size("n_window"), v.size("n_window_infer")
    found = [
        *shapes,
        linear("convolved", channels * bins, h, "eighth"),
        *layers,
        norm("final_norm", h),
        *projector("projector", h, h, v.out("output_dim", hidden)),
    ]
    v.refuse_what_is_left()
    vision = qwen.qwen3(_inside(config), hidden, "qwen3_omni_moe_vision_encoder")
    if chunk != SECOND or window < chunk:  # the number of tokens is written for chunks of one second
        return [*vision, tower("audio_tower", "unknown", found)]
    return [*vision, tower("audio_tower", "audio-windows", found, image_size=chunk, window=window // chunk)]


FAMILIES: Families = {
    "qwen2_5_omni": _qwen2_5_omni,
    "qwen2_5_omni_thinker": _qwen2_5_omni,
    "qwen3_omni_moe": _qwen3_omni,
    "qwen3_omni_moe_thinker": _qwen3_omni,
    "qwen2_audio": _qwen2_audio,
    "voxtral": _voxtral,
}
