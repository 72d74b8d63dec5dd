"""Towers of Phi-4 multimodal, Gemma 3n and Gemma 4: their audio encoders are conformers (arXiv 2005.08100).

Such a layer has an MLP, attention, a convolution along the frames, and another MLP. A convolution of each channel by
itself is a linear layer here, of as many inputs as its kernel is long.
"""

from __future__ import annotations

from typing import Any

from llmcost.specs.importer.towers.convolutions import network_of, seen_by
from llmcost.specs.importer.towers.encoders import siglip
from llmcost.specs.importer.towers.parts import (
    AUDIO,
    VISION,
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


def convolved(bins: int, stages: int) -> int:
    """The mel bins that are left after so many convolutions of stride 2."""
    for _ in range(stages):
        bins = (bins + 1) // 2
    return bins


# -- Phi-4 multimodal -------------------------------------------------------------------------------------------------


def phi4(config: dict[str, Any], hidden: int) -> Towers:
    """Its SigLIP encoder with a pooling head that never runs, and its conformer with two projectors."""
    return [_phi4_vision(config, hidden), _phi4_audio(config, hidden)]


def _phi4_vision(config: dict[str, Any], hidden: int) -> dict[str, Any]:
    v = Part(config.get("vision_config") or {}, "phi4_multimodal_vision")
    v.read.update(("crop_size", "feature_layer", "image_token_id"))
    h = v.size("hidden_size")
    found = [
        *siglip(v, pools=True).operators,
        table("separators", 2 * h),
        *projector("projector", h, hidden, hidden),
    ]
    v.refuse_what_is_left()
    sizes = {"patch_size": v.size("patch_size"), "image_size": v.size("image_size"), "most": PHI_CROPS}
    known = v.size("crop_size") == v.size("image_size")
    return tower(VISION, "crops" if known else "unknown", found, **sizes)


PHI_CROPS = 36  # of an image at most (image_processing_phi4_multimodal.py, dynamic_hd)
PHI_WINDOW = 500  # positions that see each other, of a longer sound (modeling_phi4_multimodal.py, max_seq_len)


def _phi4_audio(config: dict[str, Any], hidden: int) -> dict[str, Any]:
    v = Part(config.get("audio_config") or {}, "phi4_multimodal_audio")
    v.read.update(("activation", "audio_token_id", "chunk_size", "conv_activation", "conv_glu_type", "dropout_rate"))
    v.read.update(("feature_layer", "left_chunk", "nemo_activation"))
    v.must_be("depthwise_multiplier", 1)
    h, channels, heads = v.size("hidden_size"), v.size("nemo_conv_channels"), v.size("num_attention_heads")
    stages = v.size("time_reduction").bit_length() - 1
    if 2**stages != v.size("time_reduction") or not stages:
        raise LeftOutError("its time_reduction is no power of 2")
    places = ["half", "quarter", "eighth"] if stages == len(("half", "quarter", "eighth")) else ["none"] * stages
    rate, kept = v.size("downsample_rate"), v.size("nemo_final_size")
    known = "none" not in places and rate == 1 and kept == convolved(v.size("input_size"), stages)
    buckets = v.size("bias_max_distance") * (1 if v.flag("bias_symmetric") else 2)
    found = [
        *(
            op
            for stage, at in enumerate(places)
            for op in _nemo(stage, at, channels, convolved(v.size("input_size"), stage + 1))
        ),
        linear("convolved", channels * kept, h, "patches", bias=True),
        table("position_biases", buckets * heads),
        *_phi4_layers(v, h, heads),
        *projector("projector", h * rate, hidden, hidden),
        *projector("projector_beside_images", h * rate, hidden, hidden, at="none"),
    ]
    v.refuse_what_is_left()
    return tower(AUDIO, "thrice-halved" if known else "unknown", found, window=PHI_WINDOW)


def _nemo(stage: int, at: str, channels: int, bins: int) -> Operators:
    """A convolution of stride 2 over frames and mel bins; but for the first, of each channel and then across them."""
    if not stage:
        return [linear("convolution", 9, channels, at, bias=True, across=bins)]
    name = f"convolution_{stage + 1}"
    return [
        linear(name, 9, channels, at, bias=True, across=bins),
        linear(f"{name}_across", channels, channels, at, bias=True, across=bins),
    ]


def _phi4_layers(v: Part, h: int, heads: int) -> Operators:
    """Its conformer layers, all of whose linear layers have biases."""
    each: dict[str, Any] = {"count": v.size("num_blocks")}
    middle, inner = v.size("intermediate_size"), v.size("ext_pw_out_channel")
    if h % heads:
        raise LeftOutError(f"{h} channels do not divide into {heads} heads")
    if not h == inner == v.size("depthwise_separable_out_channel"):
        raise LeftOutError("the channels of its convolutions are not those of its layers")
    mlps = [
        op
        for name in ("mlp_in", "mlp_out")
        for op in (
            norm(f"{name}_norm", h, **each),
            linear(f"{name}_gate_up_proj", h, 2 * middle, bias=True, split="columns", **each),
            linear(f"{name}_down_proj", middle, h, bias=True, split="rows", **each),
        )
    ]
    return [
        *mlps,
        norm("attention_norm", h, **each),
        linear("qkv_proj", h, 3 * h, bias=True, split="columns", **each),
        {"name": "attention", "at": "layers", **each, "heads": heads, "head_dim": h // heads},
        linear("o_proj", h, h, bias=True, split="rows", **each),
        norm("conv_norm", h, **each),
        linear("conv_in_proj", h, 2 * inner, bias=True, **each),
        {"name": "conv_gate", "at": "layers", **each, "width": inner, "weights": 2 * inner},
        linear("conv", v.size("kernel_size"), h, bias=True, **each),
        linear("conv_middle_proj", h, h, bias=True, **each),
        linear("conv_out_proj", h, inner, bias=True, **each),
        norm("last_norm", h, **each),
    ]


# -- Gemma 3n and Gemma 4 ---------------------------------------------------------------------------------------------


def _conformer(h: int, heads: int, kernel: int, count: int) -> Operators:
    """Layers without biases, with relative positions that are projected."""
    each: dict[str, Any] = {"count": count}
    if h % heads:
        raise LeftOutError(f"{h} channels do not divide into {heads} heads")
    heads_of = each | {"heads": heads, "head_dim": h // heads}
    mlps = [
        op
        for name in ("mlp_in", "mlp_out")
        for op in (
            norm(f"{name}_norms", h, **each),  # before and after: a weight a channel each
            linear(f"{name}_up_proj", h, 4 * h, split="columns", **each),
            linear(f"{name}_down_proj", 4 * h, h, split="rows", **each),
        )
    ]
    return [
        *mlps,
        norm("attention_norms", h, **each),
        linear("qkv_proj", h, 3 * h, split="columns", **each),
        linear("position_proj", h, h, "positions", **each),
        {"name": "attention", "at": "windows", "sees": "keys", **heads_of},
        {"name": "position_scores", "at": "windows", "sees": "positions", "scores": True, **heads_of},
        {"name": "scales", "at": "none", **each, "weights": h // heads},
        linear("o_proj", h, h, split="rows", **each),
        norm("conv_norms", h, **each),
        linear("conv_in_proj", h, 2 * h, **each),
        linear("conv", kernel, h, **each),
        linear("conv_out_proj", h, h, **each),
        norm("last_norm", h, affine=1, **each),
    ]


def _subsampled(channels: Any, bins: int, h: int, *, kept: int = 0) -> Operators:
    """Two convolutions of stride 2 over frames and mel bins, a norm of a weight a channel behind each, a projection.

    `kept`: mel bins behind them by which the projection is sized, where its code does not compute them.
    """
    match channels:
        case [int(one), int(other)] if 0 < one < 10**6 and 0 < other < 10**6:
            return [
                linear("first_convolution", 9, one, "half", across=convolved(bins, 1)),
                table("first_convolution_norm", one),
                linear("second_convolution", 9 * one, other, "quarter", across=convolved(bins, 2)),
                table("second_convolution_norm", other),
                linear("convolved", other * (kept or convolved(bins, 2)), h),
            ]
    raise LeftOutError("the channels of its convolutions are not understood")


def _blocks(part: Part, prefix: str) -> dict[str, int]:
    """Positions of a block, the positions that it sees, and the distances that it embeds, as a tower has them.

    Raises LeftOutError for attention that is no block's.
    """
    size, left, right = (
        part.get(f"{prefix}attention_{key}") for key in ("chunk_size", "context_left", "context_right")
    )
    if not all(isinstance(each, int) and 0 <= each <= LONGEST_BLOCK for each in (size, left, right)) or not size * left:
        raise LeftOutError("the blocks of its attention are not understood")
    return {"image_size": size, "window": size + left - 1 + right, "extra": left + right}


LONGEST_BLOCK = 10_000  # positions that are believed
BINS = 128  # mel bins of a frame (feature_extraction_gemma4.py, feature_size)
TOKENS_OF_3N = 188  # of any sound (processing_gemma3n.py, audio_seq_length)
SOFT_TOKENS = 280  # of an image, at most (image_processing_gemma4.py, max_soft_tokens)


def gemma4(config: dict[str, Any], hidden: int) -> Towers:
    """Gemma 4's towers: those that the config has."""
    found: Towers = []
    if config.get("vision_config") is not None:
        found.append(_gemma4_vision(config, hidden))
    if config.get("audio_config") is not None:
        found.append(_gemma4_audio(config, hidden))
    return found


def _gemma4_vision(config: dict[str, Any], hidden: int) -> dict[str, Any]:
    v = Part(config["vision_config"], "gemma4_vision")
    v.must_be("attention_bias", expected=False)
    v.read.update(("max_position_embeddings", "standardize", "use_clipped_linears"))
    h, heads, d, depth = (
        v.size(key) for key in ("hidden_size", "num_attention_heads", "head_dim", "num_hidden_layers")
    )
    v.must_be("num_key_value_heads", heads)
    patch, merge = v.size("patch_size"), v.size("pooling_kernel_size")
    tokens = SOFT_TOKENS if v.get("default_output_length") is None else v.size("default_output_length")
    layers = encoder(h, heads, v.size("intermediate_size"), depth, biases="", gated=True, head_dim=d, scales=2 * d)
    found = [
        linear("patch_embedding", 3 * patch * patch, h, "patches", split="columns"),
        table("position_embedding", 2 * v.size("position_embedding_size") * h),
        *layers,  # norms before and after, a weight a channel each
        linear("projector", h, hidden, "merged"),
    ]
    v.refuse_what_is_left()
    return tower(VISION, "budget", found, patch_size=patch, merge=merge, most=tokens * merge * merge)


def _gemma4_audio(config: dict[str, Any], hidden: int) -> dict[str, Any]:
    v = Part(config["audio_config"], "gemma4_audio")
    v.read.update(("attention_invalid_logits_value", "attention_logit_cap", "gradient_clipping", "residual_weight"))
    v.read.add("use_clipped_linears")
    h, out, channels = v.size("hidden_size"), v.size("output_proj_dims"), v.get("subsampling_conv_channels")
    kept = channels[0] // 4 if isinstance(channels, list) and channels and isinstance(channels[0], int) else 0
    blocks = _blocks(v, "")
    blocks["extra"] = blocks["window"] // 2 + 1  # as its code has it
    found = [
        *_subsampled(channels, BINS, h, kept=kept),
        *_conformer(h, v.size("num_attention_heads"), v.size("conv_kernel_size"), v.size("num_hidden_layers")),
        linear("output_proj", h, out, bias=True),
        linear("projector", out, hidden, "merged"),
    ]
    v.refuse_what_is_left()
    return tower(AUDIO, "blocks-4", found, **blocks)


def gemma4_unified(config: dict[str, Any], hidden: int) -> Towers:
    """Gemma 4 without encoders: patches and frames are projected into the text model."""
    found: Towers = []
    if config.get("vision_config") is not None:
        v = Part(config["vision_config"], "gemma4_unified_vision")
        h, side = v.size("mm_embed_dim"), v.size("patch_size") * v.size("pooling_kernel_size")
        pixels = 3 * side * side
        v.must_be("output_proj_dims", h)
        operators = [
            norm("patch_norm", pixels, "patches"),
            linear("patch_embedding", pixels, h, "patches", bias=True, split="columns"),
            norm("embedding_norms", h, "patches", affine=4),
            table("position_embedding", 2 * v.size("mm_posemb_size") * h),
            linear("projector", h, hidden, "merged"),
        ]
        v.refuse_what_is_left()
        found.append(tower(VISION, "budget", operators, patch_size=side, most=SOFT_TOKENS))
    if config.get("audio_config") is not None:
        v = Part(config["audio_config"], "gemma4_unified_audio")
        samples = v.size("audio_embed_dim")
        found.append(
            tower(AUDIO, "pieces-of-sound", [linear("projector", samples, hidden, "merged")], image_size=samples)
        )
        v.refuse_what_is_left()
    return found


def gemma3n(config: dict[str, Any], hidden: int) -> Towers:
    """Gemma 3n's MobileNet and its conformer, with the embedding of marks that each has."""
    v = Part(config.get("vision_config") or {}, "gemma3n_vision")
    a = Part(config.get("audio_config") or {}, "gemma3n_audio")
    network = network_of(v, "mobilenetv5_300m_enc")
    v.read.update(("model_args", "vocab_offset"))
    for key, expected in (("sscp_conv_kernel_size", [[3, 3]] * 2), ("sscp_conv_stride_size", [[2, 2]] * 2)):
        a.must_be(key, expected)
    a.read.update(("conf_attention_logit_cap", "conf_residual_weight", "gradient_clipping"))
    a.read.update(("sscp_conv_group_norm_eps", "sscp_conv_eps", "vocab_offset"))
    h, bins = a.size("hidden_size"), a.size("input_feat_size")
    seen = _marks(v, network.channels, hidden)
    heard = [
        *_subsampled(a.get("sscp_conv_channel_size"), bins, h),
        *_conformer(
            h, a.size("conf_num_attention_heads"), a.size("conf_conv_kernel_size"), a.size("conf_num_hidden_layers")
        ),
        *_marks(a, h, hidden),
    ]
    sizes = _blocks(a, "conf_") | {"merge": a.size("conf_reduction_factor"), "out": TOKENS_OF_3N}
    v.refuse_what_is_left()
    a.refuse_what_is_left()
    return [seen_by(network, seen), tower(AUDIO, "blocks-3n", heard, **sizes)]


def _marks(part: Part, wide: int, hidden: int) -> Operators:
    """The embedding of marks, a norm of them and one of what is seen or heard, and the projection of both."""
    return [
        table("marks", part.size("vocab_size") * wide + wide),
        norm("projector_norm", wide, "merged", affine=1),
        linear("projector", wide, hidden, "merged"),
    ]


FAMILIES: Families = {
    "gemma3n": gemma3n,
    "gemma4": gemma4,
    "gemma4_unified": gemma4_unified,
    "phi4_multimodal": phi4,
}
