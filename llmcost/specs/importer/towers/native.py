"""Towers that take images in their own shape, besides Qwen's: GLM, MiniMax, Step, PaddleOCR, Kimi and others."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.specs.importer.towers.encoders import siglip
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
    wide, side = v.size("intermediate_size"), v.side()
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
        *_glm_merger(out, wide),
    ]  # fmt: skip
    v.refuse_what_is_left()
    return [tower(VISION, "resized-frames", found, patch_size=patch, merge=merge, **GLM_PIXELS)]


def _glm_ocr(config: dict[str, Any], hidden: int, kind: str = "glm_ocr_vision") -> Towers:
    """GLM-OCR and GLM-5.3: norms of queries and keys in the place of positions, and biases throughout."""
    v = Part(config.get("vision_config"), kind)
    h, merge, patch = v.size("hidden_size"), v.size("spatial_merge_size"), v.size("patch_size")
    heads, middle, depth = v.size("num_heads"), v.size("intermediate_size"), v.size("depth")
    out, channels = v.out("out_hidden_size", hidden), v.size("in_channels")
    v.read.add("image_size")
    newer = kind == "glm5_next_vision"
    wide = v.size("projection_intermediate_size") if newer else out * channels
    v.read.update({"swiglu_limit"} if newer else ())
    pixels = channels * v.size("temporal_patch_size") * patch * patch
    biases = "qkv out up down" if v.flag("attention_bias") else ""
    found = [
        linear("patch_embedding", pixels, h, "patches", bias=True, split="columns"),
        *encoder(h, heads, middle, depth, affine=1, biases=biases, gated=True, scales=2 * (h // heads)),
        norm("final_norm", h, affine=1),
        linear("downsample", h * merge * merge, out, "merged", bias=True),
        *_glm_merger(out, wide),
    ]
    v.refuse_what_is_left()
    rule = ("aligned", GLM5_TOKENS) if newer else ("resized-frames", GLM_PIXELS)
    return [tower(VISION, rule[0], found, patch_size=patch, merge=merge, **rule[1])]


# Tokens that GLM-5.3 has of an image (image_processing_glm5_next.py, min_image_tokens and max_image_tokens).
GLM5_TOKENS = {"least": 16, "most": 8000}


def _glm_merger(out: int, wide: int) -> Operators:
    return [
        linear("merger_proj", out, out, "merged"),
        norm("merger_norm", out, "merged"),
        linear("merger_gate_up", out, 2 * wide, "merged", split="columns"),
        linear("merger_down", wide, out, "merged", split="rows"),
    ]


# -- MiniMax M3, Step-3.7, PaddleOCR-VL, VideoLLaMA 3 ----------------------------------------

# Pixels of an image by the reference's image processors: least and most.
MINIMAX_PIXELS = {"least": 3136, "most": 451_584}
PADDLE_PIXELS = {"least": 147_456, "most": 2_359_296}
VIDEO_LLAMA_PIXELS = {"least": 3136, "most": 1_003_520}
STEP_WINDOW, STEP_LARGEST = 504, 3024  # pixels a side of a window of an image, and of an image (the same, of step3p7)


def _sizes(v: Part) -> tuple[int, int, int, int]:
    """Channels, heads, MLP and depth under their usual names."""
    names = ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    h, heads, middle, depth = (v.size(key) for key in names)
    return h, heads, middle, depth


def _minimax(config: dict[str, Any], hidden: int) -> Towers:
    """Each patch is projected to the text model's width; four of them beside each other are, once more."""
    v, whole = Part(config.get("vision_config"), "minimax_m3_vl_vision"), Part(config, "minimax_m3_vl")
    h, heads, middle, depth = _sizes(v)
    patch, merge, wide = v.size("patch_size"), v.size("spatial_merge_size"), whole.size("projector_hidden_size")
    if whole.given.get("merged_hidden_size", hidden * merge * merge) != hidden * merge * merge:
        raise LeftOutError("its merged_hidden_size is not that of the patches that become one token")
    pixels = v.size("num_channels") * v.size("temporal_patch_size") * patch * patch
    v.read.add("image_size")
    for key, expected in MINIMAX_CODE.items():
        if key in v.given:
            v.must_be(key, expected)
    found = [
        linear("patch_embedding", pixels, h, "patches", split="columns"),
        norm("first_norm", h),
        *encoder(h, heads, middle, depth),
        *projector("projector", h, wide, hidden, at="layers"),
        *projector("merger", hidden * merge * merge, wide, hidden),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, **MINIMAX_PIXELS)]


# Pixels of an image (image_processing_cosmos3_edge.py); of the two frames that the rule counts, twice as many.
COSMOS_PIXELS = {"least": 2 * 65_536, "most": 2 * 16_777_216}


def _cosmos3_edge(config: dict[str, Any], hidden: int) -> Towers:
    """SigLIP 2 without a head that pools, and a projector of four patches beside each other."""
    v, whole = Part(config.get("vision_config"), "cosmos3_edge_vision"), Part(config, "cosmos3_edge")
    h, heads, middle, depth = _sizes(v)
    patch, merge = v.size("patch_size"), v.size("spatial_merge_size")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", v.size("num_patches") * h),
        *encoder(h, heads, middle, depth),
        norm("final_norm", h),
        norm("projector_norm", h),
        *projector("projector", h * merge * merge, whole.size("projector_hidden_size"), hidden),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized-frames", found, patch_size=patch, merge=merge, **COSMOS_PIXELS)]


# What the released config says besides, of the code that comes with it, and only that is understood.
MINIMAX_CODE = {
    "position_embedding_type": "rope",
    "rope_mode": "3d",
    "img_token_compression_config": {
        "image_token_compression_method": "patch_merge", "spatial_merge_size": 2, "temporal_patch_size": 2,
    },
}  # fmt: skip

# Names of keys of Step-3.7's tower as it is released, and the values of others that are understood.
STEP_NAMES = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
STEP_CODE = {
    "use_cls_token": False, "use_ln_post": False, "use_ln_pre": True, "use_abs_posemb": True, "use_rope2d": True,
    "pool_type": "none",
}  # fmt: skip


def _step(config: dict[str, Any], hidden: int) -> Towers:
    """Two convolutions of stride 2 follow the layers, with twice the channels each; a ratio gives the MLP's width."""
    part = config.get("vision_config")
    given = {STEP_NAMES.get(key, key): value for key, value in part.items()} if isinstance(part, dict) else part
    v, bias = Part(given, "step3p5_vision"), Part(config, "step3p7").flag("projector_bias")
    for key in STEP_CODE.keys() & v.given.keys():
        v.must_be(key, STEP_CODE[key])
    h, heads, depth = v.size("hidden_size"), v.size("num_attention_heads"), v.size("num_hidden_layers")
    patch, side, ratio = v.size("patch_size"), v.size("image_size"), v.get("mlp_ratio")
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 100 or not int(h * ratio):
        raise LeftOutError("its mlp_ratio is no number")
    v.read.update(("intermediate_size", "layer_scale_init_value", "ls_init_value", "max_position_embeddings"))
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        table("position_embedding", v.side() ** 2 * h),
        norm("first_norm", h),
        *encoder(h, heads, int(h * ratio), depth, scales=2 * h),
        linear("first_downsampler", 9 * h, 2 * h, "half", bias=True),
        linear("second_downsampler", 18 * h, 4 * h, "quarter", bias=True),
        linear("projector", 4 * h, hidden, "merged", bias=bias),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "sliding", found, patch_size=patch, image_size=side, window=STEP_WINDOW, most=STEP_LARGEST)]


def _paddle(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "paddleocr_vl_vision")
    h, patch, merge = v.size("hidden_size"), v.size("patch_size"), v.size("spatial_merge_size")
    wide = h * merge * merge
    found = [
        *siglip(v, pools=False).operators,
        norm("projector_norm", h),
        *projector("projector", wide, wide, hidden),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, **PADDLE_PIXELS)]


def _video_llama(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "video_llama_3_vision")
    found = [
        *siglip(v, pools=False, placed=False).operators,
        *projector("projector", v.size("hidden_size"), hidden, hidden),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized", found, patch_size=v.size("patch_size"), **VIDEO_LLAMA_PIXELS)]


# -- HunyuanOCR, ERNIE 4.5 VL --------------------------------------------------------------------------

HUNYUAN_PIXELS = {"least": 262_144, "most": 4_194_304}  # image_processing_hunyuan_vl.py
ERNIE_PIXELS = {"least": 3136, "most": 4_842_768}  # image_processing_ernie4_5_vl_moe.py


# Keys of its tower that change no count: sizes that others give, and limits of its images.
OF_HUNYUAN = (
    "head_dim", "num_key_value_heads", "out_hidden_size", "text_hidden_size", "img_max_token_num", "min_image_size",
    "max_vit_seq_len", "interpolate_mode",
)  # fmt: skip


def _hunyuan(config: dict[str, Any], hidden: int) -> Towers:
    """Four patches become one by a convolution; a break stands behind each row, a mark before and one behind all."""
    v = Part(config.get("vision_config"), "hunyuan_vl_vision")
    h, heads, middle, depth = _sizes(v)
    patch, merge, out = v.size("patch_size"), v.size("spatial_merge_size"), hidden
    side = v.size("max_image_size") // patch
    if h % heads:
        raise LeftOutError(f"{h} channels do not divide into {heads} heads")
    if v.given.get("head_dim", h // heads) != h // heads or v.given.get("num_key_value_heads", heads) not in (heads, 0):
        raise LeftOutError("its heads are not understood")
    v.read.update(OF_HUNYUAN)
    v.must_be("temporal_patch_size", 1)
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", (side * side + 1) * h),
        *encoder(h, heads, middle, depth),
        norm("merger_norm", h, affine=1),
        linear("merger_convolution", h * merge * merge, 2 * h, "merged", bias=True),
        linear("merger_out", 2 * h, 4 * h, "merged", bias=True),
        linear("projector", 4 * h, out, "merged", bias=True),
        table("breaks_and_marks", 4 * h + 3 * out),
        norm("projector_norm", out, "merged", affine=1),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized-rows", found, patch_size=patch, merge=merge, **HUNYUAN_PIXELS)]


def _ernie(config: dict[str, Any], hidden: int) -> Towers:
    """ERNIE 4.5 VL: beside the encoder, experts in the text model's layers that tokens of images go to alone.

    What those compute for an image is not counted: its tokens are among the prompt's, with the experts for words.
    """
    v = Part(config.get("vision_config"), "ernie4_5_vl_moe_vision")
    h, merge, patch, heads = (v.size(key) for key in ("hidden_size", "spatial_merge_size", "patch_size", "num_heads"))
    wide = h * merge * merge
    found = [
        linear("patch_embedding", v.size("in_channels") * patch * patch, h, "patches", split="columns"),
        *encoder(h, heads, v.size("intermediate_size"), v.size("depth")),
        norm("final_norm", h),
        *_resampled("spatial", wide, wide),
        *_resampled("temporal", wide * v.size("temporal_merge_size"), wide),
        linear("projector", wide, hidden, "merged", bias=True),
        norm("projector_norm", hidden, "merged", affine=1),
        _experts_of_images(config.get("text_config"), hidden),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, **ERNIE_PIXELS)]


def _resampled(name: str, wide: int, out: int) -> Operators:
    return [*projector(f"{name}_merger", wide, out, out), norm(f"{name}_merger_norm", out, "merged")]


def _experts_of_images(text: Any, hidden: int) -> dict[str, Any]:
    """The experts that tokens of images go to, each with its row and bias of the router, in all layers that have any.

    How wide they are stands beside the width of those for words (importer/wrappers.py).
    """
    t = Part(text, "ernie4_5_vl_moe_text")
    depth, experts, width = (t.size(key) for key in ("num_hidden_layers", "moe_num_experts", "image_experts_size"))
    kinds = t.given.get("mlp_layer_types")
    sparse = depth - 1 if kinds is None else sum(kind == "sparse" for kind in kinds)
    return table("experts_of_images", 3 * width * hidden + hidden + 1) | {"count": sparse * experts}


# -- Kimi -------------------------------------------------------------------------------------------------

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
    "cosmos3_edge": _cosmos3_edge,
    "glm_ocr": _glm_ocr,
    "glm5_next": partial(_glm_ocr, kind="glm5_next_vision"),
    "minimax_m3_vl": _minimax,
    "paddleocr_vl": _paddle,
    "step3p7": _step,
    "video_llama_3": _video_llama,
    "glm4v": _glm4v,
    "glm46v": _glm4v,
    "glmga": _glm4v,
    "hunyuan_vl": _hunyuan,
    "ernie4_5_vl_moe": _ernie,
    "glm4v_moe": partial(_glm4v, kind="glm4v_moe_vision"),
    "kimi_k25": _kimi_k25,
    "kimi_vl": _kimi_vl,
}
