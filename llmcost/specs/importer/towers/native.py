"""Towers that take images in their own shape besides Qwen's: GLM's and Kimi's."""

from __future__ import annotations

from functools import partial
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
    table,
    tower,
)

# Pixels between which zai-org/GLM-4.1V-9B-Thinking keeps an image of two frames (preprocessor_config.json).
GLM_PIXELS = {"least": 12_544, "most": 9_633_792}


def _glm4v(config: dict[str, Any], hidden: int, kind: str = "glm4v_vision") -> Towers:
    v = Part(config.get("vision_config"), kind)
    h, merge, patch, out = (
        v.size(key) for key in ("hidden_size", "spatial_merge_size", "patch_size", "out_hidden_size")
    )
    v.out("out_hidden_size", hidden)
    wide, side = v.size("intermediate_size"), v.size("image_size") // v.size("patch_size")
    biases = "qkv" if v.flag("attention_bias") else ""
    found = [
        linear(
            "patch_embedding", v.size("in_channels") * v.size("temporal_patch_size") * patch * patch, h, "patches",
            bias=True, split="columns",
        ),
        norm("first_norm", h, affine=1),
        table("position_embedding", side * side * h),
        *encoder(h, v.size("num_heads"), out, v.size("depth"), affine=1, biases=biases, gated=True),
        norm("final_norm", h, affine=1),
        linear("downsample", h * merge * merge, out, "merged", bias=True),
        linear("merger_proj", out, out, "merged"),
        norm("merger_norm", out, "merged"),
        linear("merger_gate_up", out, 2 * wide, "merged", split="columns"),
        linear("merger_down", wide, out, "merged", split="rows"),
    ]  # fmt: skip
    v.refuse_what_is_left()
    return [tower(VISION, "resized-frames", found, patch_size=patch, merge=merge, **GLM_PIXELS)]


# Keys of the code that comes with Kimi's models, at the values that are understood.
KIMI_CODE = {"merge_type": "sd2_tpool", "mm_projector_type": "patchmerger", "pos_emb_type": "divided_fixed"}


def _moonvit(config: dict[str, Any], hidden: int) -> tuple[Part, Operators, int, int]:
    """Kimi's encoder and projector, with its patches' size and how many a side become one token.

    The code that comes with the models names some keys vt_… and init_….
    """
    part = config.get("vision_config")
    named = part if isinstance(part, dict) else {}
    v = Part({key.removeprefix("vt_").removeprefix("init_"): value for key, value in named.items()}, "kimi_k25_vision")
    for key, expected in KIMI_CODE.items():
        if key in v.given:
            v.must_be(key, expected)
    for key, size in (("mm_hidden_size", v.size("hidden_size")), ("text_hidden_size", hidden)):
        if key in v.given:
            v.must_be(key, size)
    h, patch, merge = v.size("hidden_size"), v.size("patch_size"), v.size("merge_kernel_size")
    wide = h * merge * merge
    found = [
        linear("patch_embedding", 3 * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", v.size("pos_emb_height") * v.size("pos_emb_width") * h),
        *encoder(h, v.size("num_attention_heads"), v.size("intermediate_size"), v.size("num_hidden_layers")),
        norm("final_norm", h),
        norm("projector_norm", h),
        *projector("projector", wide, wide, hidden),
    ]
    v.read.update(("pos_emb_time", "video_attn_type", "projector_hidden_act", "projector_ln_eps"))
    v.refuse_what_is_left()
    return v, found, patch, merge


def _kimi_k25(config: dict[str, Any], hidden: int) -> Towers:
    v, found, patch, merge = _moonvit(config, hidden)
    if Part(config, "kimi_k25").size("projection_hidden_size") != v.size("hidden_size"):
        raise LeftOutError("its projection_hidden_size is not that of its tower")
    return [tower(VISION, "navit", found, patch_size=patch, image_size=512, merge=merge, most=16_384)]


def _kimi_vl(config: dict[str, Any], hidden: int) -> Towers:
    _, found, patch, merge = _moonvit(config, hidden)
    # in_token_limit of the processor of moonshotai/Kimi-VL-A3B-Instruct; the Thinking model of June 2025 takes more
    return [tower(VISION, "navit", found, patch_size=patch, image_size=512, merge=merge, most=4096)]


FAMILIES: Families = {
    "glm4v": _glm4v,
    "glm46v": _glm4v,
    "glm4v_moe": partial(_glm4v, kind="glm4v_moe_vision"),
    "kimi_k25": _kimi_k25,
    "kimi_vl": _kimi_vl,
}
