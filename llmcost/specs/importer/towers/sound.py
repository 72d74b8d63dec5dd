"""Towers that hear by Whisper's layers: Voxtral, Qwen2-Audio, GLM-ASR, Qwen's omni models, Granite Speech."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.model.sound_tokens import SECOND
from llmcost.specs.importer.towers import qwen
from llmcost.specs.importer.towers.parts import (
    AUDIO,
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
from llmcost.specs.importer.towers.queries import qformer
from llmcost.specs.importer.towers.speaking import speaking


def whisper(v: Part, h: int, heads: int, middle: int, depth: int) -> Operators:
    """Whisper's encoder: two convolutions over mel frames, the second of stride 2, fixed positions, layers, a norm."""
    v.must_be("max_source_positions", 1500)
    return [
        *_convolved(v, h),
        table("position_embedding", 1500 * h),
        *encoder(h, heads, middle, depth, biases="qv out up down"),
        norm("final_norm", h),
    ]


def _convolved(v: Part, h: int) -> Operators:
    """Two convolutions over mel frames, the second of stride 2."""
    return [
        linear("first_convolution", 3 * v.size("num_mel_bins"), h, "frames", bias=True, split="columns"),
        linear("second_convolution", 3 * h, h, bias=True),
    ]


def _depth(v: Part) -> int:
    """Layers, which some configs say twice."""
    depth = v.size("encoder_layers")
    if v.get("num_hidden_layers") is not None and v.size("num_hidden_layers") != depth:
        raise LeftOutError("its num_hidden_layers are not its encoder_layers")
    return depth


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
        *whisper(v, h, v.size("num_attention_heads"), middle, v.size("num_hidden_layers")),
        *projector("projector", middle, hidden, hidden, bias=False),
    ]
    v.refuse_what_is_left()
    return [tower(AUDIO, "whisper", found, image_size=1500, merge=middle // h)]


def _qwen2_audio(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("audio_config"), "qwen2_audio_encoder")
    h, heads = v.size("d_model"), v.size("encoder_attention_heads")
    found = [
        *whisper(v, h, heads, v.size("encoder_ffn_dim"), _depth(v)),
        linear("projector", h, hidden, "merged", bias=True),
    ]
    v.refuse_what_is_left()
    return [tower(AUDIO, "whisper-once", found, image_size=1500, merge=2)]


def _inside(config: dict[str, Any]) -> dict[str, Any]:
    """The part of Qwen's omni models that reads, of a config that has a part that speaks too."""
    inner = config.get("thinker_config")
    return inner if isinstance(inner, dict) else config


def _omni_audio(config: dict[str, Any], kind: str) -> tuple[Part, Operators, int]:
    """The layers of an omni model's audio tower, which are Whisper's but for positions that are not stored."""
    v = Part(_inside(config).get("audio_config"), kind)
    h, heads, depth = v.size("d_model"), v.size("encoder_attention_heads"), _depth(v)
    v.read.update(("max_source_positions", "conv_chunksize"))
    return v, encoder(h, heads, v.size("encoder_ffn_dim"), depth, biases=OMNI_BIASES[kind]), h


OMNI_BIASES = {
    "qwen2_5_omni_audio_encoder": "qv out up down",
    "qwen3_omni_moe_audio_encoder": "qkv out up down",
    "qwen3_asr_encoder": "qkv out up down",
}


def _qwen2_5_omni(config: dict[str, Any], hidden: int) -> Towers:
    kind = "qwen2_5_omni_audio_encoder"
    v, layers, h = _omni_audio(config, kind)
    out = v.out("output_dim", hidden)
    found = [
        *_convolved(v, h),
        *layers,
        norm("final_norm", h, "merged"),
        linear("projector", h, out, "merged", bias=True),
        table("begin_and_end", 2 * out),
    ]
    frames = 2 * v.size("n_window")
    v.refuse_what_is_left()
    audio = tower(AUDIO, "audio-chunks", found, image_size=frames, merge=2)
    return [*qwen.qwen2_5(_inside(config), hidden, "qwen2_5_omni_vision_encoder"), audio, *speaking(config)]


def _qwen3_omni(config: dict[str, Any], hidden: int) -> Towers:
    v, layers, h = _omni_audio(config, "qwen3_omni_moe_audio_encoder")
    audio = _in_windows(v, layers, h, v.out("output_dim", hidden))
    return [*qwen.qwen3(_inside(config), hidden, "qwen3_omni_moe_vision_encoder"), audio, *speaking(config)]


def _qwen3_asr(config: dict[str, Any], hidden: int) -> Towers:
    v, layers, h = _omni_audio(config, "qwen3_asr_encoder")
    v.read.add("max_position_embeddings")
    return [_in_windows(v, layers, h, v.out("output_dim", hidden))]


def _in_windows(v: Part, layers: Operators, h: int, out: int) -> dict[str, Any]:
    """The audio tower of Qwen3-Omni and Qwen3-ASR: three convolutions over frames and mel bins, layers in windows."""
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
        *projector("projector", h, h, out),
    ]
    v.refuse_what_is_left()
    if chunk != SECOND or window < chunk:  # the number of tokens is written for chunks of one second
        return tower(AUDIO, "unknown", found)
    return tower(AUDIO, "audio-windows", found, image_size=chunk, window=window // chunk)


def _glmasr(config: dict[str, Any], hidden: int) -> Towers:
    """GLM-ASR: Whisper's layers with rotary positions; four states beside each other are projected."""
    v = Part(config.get("audio_config"), "glmasr_encoder")
    h, heads, middle, depth = (
        v.size(key) for key in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    )
    if middle != GLM_MERGES * h or v.size("num_key_value_heads") != heads:
        raise LeftOutError("its intermediate_size or num_key_value_heads is not understood")
    v.read.update(("max_position_embeddings", "head_dim", "partial_rotary_factor"))
    found = [
        *_convolved(v, h),
        *encoder(h, heads, middle, depth, biases="qv out up down"),
        norm("final_norm", h),
        *projector("projector", middle, 2 * hidden, hidden),
    ]
    v.refuse_what_is_left()
    return [tower(AUDIO, "whisper-heard", found, image_size=1500, merge=GLM_MERGES)]


def _flamingo(config: dict[str, Any], hidden: int, kind: str) -> Towers:
    """Audio Flamingo 3 and Music Flamingo: Whisper's layers, of whose states the mean of two is projected."""
    v, bias = Part(config.get("audio_config"), "audioflamingo3_encoder"), Part(config, kind).flag("projector_bias")
    h, heads, middle, depth = (
        v.size(key) for key in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    )
    found = [*whisper(v, h, heads, middle, depth), *projector("projector", h, hidden, hidden, bias=bias)]
    v.refuse_what_is_left()
    return [tower(AUDIO, "whisper-heard", found, image_size=1500, merge=2)]


GLM_MERGES = 4  # states that become one token (modeling_glmasr.py, merge_factor)


# -- Granite Speech -----------------------------------------------------------------------------------------


def _granite(config: dict[str, Any], hidden: int, kind: str = "granite_speech") -> Towers:
    """A conformer whose positions see their block, and a Q-Former with some queries for each window of them."""
    v, q, whole = (
        Part(config.get("encoder_config"), f"{kind}_encoder"),
        Part(config.get("projector_config"), "blip_2_qformer"),
        Part(config, "granite_speech"),
    )
    h, heads, d, depth = (v.size(key) for key in ("hidden_dim", "num_heads", "dim_head", "num_layers"))
    block, window, rate = v.size("context_size"), whole.size("window_size"), whole.size("downsample_rate")
    out, width, queries = v.size("output_dim"), q.size("hidden_size"), window // rate
    q.must_be("model_type", "blip_2_qformer")
    taken = v.get("cat_hidden_layers") or []
    if not isinstance(taken, list | tuple) or not all(type(at) is int and 0 <= at < depth for at in taken):
        raise LeftOutError("its cat_hidden_layers are not understood")
    if not queries:
        raise LeftOutError("its window_size is less than its downsample_rate")
    found = [
        linear("frames_projection", v.size("input_dim"), h, bias=True),
        *_granite_layers(v, h, heads, d, depth),
        linear("labels", h, out, bias=True),
        linear("labels_back", out, h, bias=True),
        table("queries", queries * width),
        *qformer(q, h * (len(taken) + 1), sees="keys", text=q.flag("use_qformer_text_input")),
        linear("projector", width, hidden, "merged", bias=True),
    ]
    v.refuse_what_is_left()
    q.refuse_what_is_left()
    return [tower(AUDIO, "granite", found, image_size=block, window=window, out=queries)]


def _granite_layers(v: Part, h: int, heads: int, d: int, depth: int) -> Operators:
    """Blocks of attention are padded: so are its queries and keys."""
    each: dict[str, Any] = {"count": depth}
    middle, inner = v.size("feedforward_mult") * h, heads * d
    channels, kernel = v.size("conv_expansion_factor") * h, v.size("conv_kernel_size")
    block: dict[str, Any] = {"at": "windows", "heads": heads, "head_dim": d, **each}
    mlps = [
        op
        for name in ("mlp_in", "mlp_out")
        for op in (norm(f"{name}_norm", h, **each), *projector(name, h, middle, h, at="layers", **each))
    ]
    return [
        *mlps,
        norm("attention_norm", h, **each),
        linear("qkv_proj", h, 3 * inner, "windows", split="columns", **each),
        {"name": "attention", **block},
        {"name": "position_scores", **block, "scores": True},
        {"name": "position_embedding", "at": "none", **each, "weights": (2 * v.size("max_pos_emb") + 1) * d},
        linear("o_proj", inner, h, bias=True, split="rows", **each),
        norm("conv_norm", h, **each),
        linear("conv_in_proj", h, 2 * channels, bias=True, **each),
        linear("conv", kernel, channels, **each),
        norm("conv_batch_norm", channels, **each),
        linear("conv_out_proj", channels, h, bias=True, **each),
        norm("last_norm", h, **each),
    ]


FAMILIES: Families = {
    "glmasr": _glmasr,
    "audioflamingo3": partial(_flamingo, kind="audioflamingo3"),
    "granite_speech": _granite,
    "granite_speech_plus": partial(_granite, kind="granite_speech_plus"),
    "musicflamingo": partial(_flamingo, kind="musicflamingo"),
    "qwen3_asr": _qwen3_asr,
    "qwen2_5_omni": _qwen2_5_omni,
    "qwen2_5_omni_thinker": _qwen2_5_omni,
    "qwen3_omni_moe": _qwen3_omni,
    "qwen3_omni_moe_thinker": _qwen3_omni,
    "qwen2_audio": _qwen2_audio,
    "voxtral": _voxtral,
}
