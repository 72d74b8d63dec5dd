"""A tower of CLIP, SigLIP or Pixtral, and what projects its patches: LLaVA, Gemma 3, PaliGemma, GIT, Mistral 3."""

from __future__ import annotations

from typing import Any

from llmcost.specs.importer.towers.parts import (
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
    siglip,
    table,
    tower,
)


def _gemma3(config: dict[str, Any], hidden: int) -> Towers:
    v, whole = Part(config.get("vision_config"), "siglip_vision_model"), Part(config, "gemma3")
    v.must_be("model_type", "siglip_vision_model")
    h, out, patch = v.size("hidden_size"), whole.size("mm_tokens_per_image"), v.size("patch_size")
    found = [
        *siglip(v),
        norm("projector_norm", h, "merged", affine=1),
        linear("projector", h, hidden, "merged"),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "square", found, patch_size=patch, image_size=v.size("image_size"), out=out)]


def _paligemma(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "siglip_vision_model")
    v.must_be("model_type", "siglip_vision_model")
    v.read.update(("vocab_size", "projection_dim", "num_image_tokens", "projector_hidden_act"))
    wide = Part(config, "paligemma").out("projection_dim", hidden)
    found = [*siglip(v), linear("projector", v.size("hidden_size"), wide, bias=True)]
    v.refuse_what_is_left()
    return [tower(VISION, "square", found, patch_size=v.size("patch_size"), image_size=v.size("image_size"))]


def _git(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config") or {}, "git_vision_model")
    if config.get("num_image_with_embedding") is not None:
        raise LeftOutError("its num_image_with_embedding is not understood")
    v.read.update(("vocab_size", "projection_dim"))
    h, patch, side = v.size("hidden_size"), v.size("patch_size"), v.size("image_size") // v.size("patch_size")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        table("class_and_positions", (side * side + 2) * h),
        norm("first_norm", h),
        *encoder(h, v.size("num_attention_heads"), v.size("intermediate_size"), v.size("num_hidden_layers")),
        norm("final_norm", h),
        linear("projector", h, hidden, bias=True),
        norm("projector_norm", hidden),
    ]
    v.refuse_what_is_left()
    sizes = {"patch_size": patch, "image_size": v.size("image_size"), "extra": 1, "out": side * side + 1}
    return [tower(VISION, "square", found, **sizes)]


def _llava(config: dict[str, Any], hidden: int) -> Towers:
    v, whole = Part(config.get("vision_config"), "clip_vision_model"), Part(config, "llava")
    v.must_be("model_type", "clip_vision_model")
    v.read.update(("projection_dim", "vocab_size"))
    whole.must_be("vision_feature_select_strategy", "default")
    layer = whole.get("vision_feature_layer")
    depth = v.size("num_hidden_layers")
    if not isinstance(layer, int) or not -depth <= layer <= -1:
        raise LeftOutError("its vision_feature_layer is not understood")
    h, patch, side = v.size("hidden_size"), v.size("patch_size"), v.size("image_size") // v.size("patch_size")
    heads, middle = v.size("num_attention_heads"), v.size("intermediate_size")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        table("class_and_positions", (side * side + 2) * h),
        norm("first_norm", h),
        *encoder(h, heads, middle, depth),
        norm("final_norm", h, "none"),
        *projector("projector", h, hidden, hidden, bias=whole.flag("multimodal_projector_bias")),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "square", found, patch_size=patch, image_size=v.size("image_size"), extra=1)]


def _pixtral(v: Part) -> Operators:
    v.must_be("model_type", "pixtral")
    v.read.add("vocab_size")
    h, patch = v.size("hidden_size"), v.size("patch_size")
    heads, d = v.size("num_attention_heads"), v.size("head_dim") if "head_dim" in v.given else 0
    if d and d * heads != h:
        raise LeftOutError("its head_dim is not that of its channels")
    layers = encoder(
        h, heads, v.size("intermediate_size"), v.size("num_hidden_layers"), affine=1, biases="", gated=True
    )
    return [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        norm("first_norm", h, affine=1),
        *layers,
    ]


def _mistral3(config: dict[str, Any], hidden: int) -> Towers:
    v, whole = Part(config.get("vision_config"), "pixtral"), Part(config, "mistral3")
    whole.must_be("vision_feature_layer", -1)
    h, merge, bias = v.size("hidden_size"), whole.size("spatial_merge_size"), whole.flag("multimodal_projector_bias")
    found = [
        *_pixtral(v),
        norm("projector_norm", h, affine=1),
        linear("patch_merger", h * merge * merge, h, "merged"),
        *projector("projector", h, hidden, hidden, bias=bias),
    ]
    sizes = {"patch_size": v.size("patch_size"), "image_size": v.size("image_size"), "merge": merge}
    v.refuse_what_is_left()
    return [tower(VISION, "longest-edge", found, **sizes)]


def _pixtral_llava(config: dict[str, Any], hidden: int) -> Towers:
    """LLaVA with Pixtral's tower, as Pixtral 12B is stored."""
    v, whole = Part(config.get("vision_config"), "pixtral"), Part(config, "llava")
    whole.must_be("vision_feature_layer", -1)
    whole.must_be("vision_feature_select_strategy", "full")
    bias = whole.flag("multimodal_projector_bias")
    found = [*_pixtral(v), *projector("projector", v.size("hidden_size"), hidden, hidden, bias=bias)]
    sizes = {"patch_size": v.size("patch_size"), "image_size": v.size("image_size")}
    v.refuse_what_is_left()
    return [tower(VISION, "longest-edge", found, **sizes)]


def _llava_of_any_tower(config: dict[str, Any], hidden: int) -> Towers:
    inner = config.get("vision_config")
    kind = inner.get("model_type") if isinstance(inner, dict) else None
    return _pixtral_llava(config, hidden) if kind == "pixtral" else _llava(config, hidden)


FAMILIES: Families = {
    "gemma3": _gemma3,
    "git": _git,
    "paligemma": _paligemma,
    "llava": _llava_of_any_tower,
    "mistral3": _mistral3,
}
