"""The towers that a multimodal config describes, as lists of operators: exact, or left out with the reason.

One function reads the towers of a family, named by the config's `model_type`, as the reference builds them
(github.com/huggingface/transformers, src/transformers/models/…, v5). Keys that a config leaves out are the reference's
own (tower_defaults.json). A key that is not understood and is not at that value leaves the towers out, and the answer
says so: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmcost.model.tower_tokens import LARGEST_SIDE, SECOND
from llmcost.specs.importer import conformers, minicpm_towers
from llmcost.specs.importer.tower_parts import (
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


def towers_of(config: dict[str, Any], hidden: int) -> Towers:
    """The towers of a whole config whose text model is `hidden` wide. Raises LeftOutError with the reason."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise LeftOutError(f"towers of {str(kind)[:40]} are not known" if kind else "of which type is not told")
    try:
        return family(config, hidden)
    except (ZeroDivisionError, OverflowError) as error:
        raise LeftOutError("its sizes contradict each other") from error


# -- families -------------------------------------------------------------------------------------------

VISION = "vision_tower"
# The pixels between which images are kept, by the preprocessor_config.json of released models:
# Qwen/Qwen2-VL-7B-Instruct and Qwen/Qwen2.5-VL-7B-Instruct (min_pixels, max_pixels), Qwen/Qwen3-VL-8B-Instruct
# (shortest_edge, longest_edge), zai-org/GLM-4.1V-9B-Thinking.
QWEN_PIXELS = {"least": 3136, "most": 12_845_056}
QWEN3_PIXELS = {"least": 65_536, "most": 16_777_216}
GLM_PIXELS = {"least": 12_544, "most": 9_633_792}


def _qwen2(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "qwen2_vl_vision")
    h, merge, patch = v.size("embed_dim"), v.size("spatial_merge_size"), v.size("patch_size")
    ratio = v.get("mlp_ratio")
    if not isinstance(ratio, int | float) or not 0 < ratio < 100:
        raise LeftOutError("its mlp_ratio is no number")
    channels = v.size("in_channels")
    for name in ("in_chans", "spatial_patch_size"):  # older names, which the reference does not read
        v.read.add(name)
    wide = h * merge * merge
    found = [
        linear(
            "patch_embedding", channels * v.size("temporal_patch_size") * patch * patch, h, "patches", split="columns"
        ),
        *encoder(h, v.size("num_heads"), int(h * ratio), v.size("depth")),
        norm("merger_norm", h),
        *projector("merger", wide, wide, v.out("hidden_size", hidden)),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, **QWEN_PIXELS)]


def _qwen2_5(config: dict[str, Any], hidden: int, kind: str = "qwen2_5_vl_vision") -> Towers:
    v = Part(config.get("vision_config"), kind)
    h, merge, patch = v.size("hidden_size"), v.size("spatial_merge_size"), v.size("patch_size")
    depth, window = v.size("depth"), v.size("window_size")
    full = v.get("fullatt_block_indexes")
    if not isinstance(full, list):
        raise LeftOutError("its fullatt_block_indexes are no list")
    channels = v.size("in_channels")
    for name in ("in_chans", "spatial_patch_size"):
        v.read.add(name)
    wide, seen = h * merge * merge, len({each for each in full if isinstance(each, int) and 0 <= each < depth})
    found = [
        linear(
            "patch_embedding", channels * v.size("temporal_patch_size") * patch * patch, h, "patches", split="columns"
        ),
        *encoder(
            h, v.size("num_heads"), v.size("intermediate_size"), depth, affine=1, gated=True, windows=depth - seen
        ),
        norm("merger_norm", h, affine=1),
        *projector("merger", wide, wide, v.out("out_hidden_size", hidden)),
    ]
    v.refuse_what_is_left()
    across = window // merge // patch * merge
    if not across:
        raise LeftOutError("its window_size is less than one token")
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, window=across, **QWEN_PIXELS)]


def _qwen3(config: dict[str, Any], hidden: int, kind: str = "qwen3_vl_vision") -> Towers:
    v = Part(config.get("vision_config"), kind)
    h, merge, patch = v.size("hidden_size"), v.size("spatial_merge_size"), v.size("patch_size")
    wide, out = h * merge * merge, v.out("out_hidden_size", hidden)
    deep = v.get("deepstack_visual_indexes") or []
    if not isinstance(deep, list):
        raise LeftOutError("its deepstack_visual_indexes are no list")
    if kind == "qwen3_5_vision" and deep:
        raise LeftOutError("its deepstack_visual_indexes are not understood")
    found = [
        linear(
            "patch_embedding", v.size("in_channels") * v.size("temporal_patch_size") * patch * patch, h, "patches",
            bias=True, split="columns",
        ),
        table("position_embedding", v.size("num_position_embeddings") * h),
        *encoder(h, v.size("num_heads"), v.size("intermediate_size"), v.size("depth")),
        norm("merger_norm", h),
        *projector("merger", wide, wide, out),
        norm("deepstack_norm", wide, "merged", count=len(deep)),
        *projector("deepstack_merger", wide, wide, out, count=len(deep)),
    ]  # fmt: skip
    v.refuse_what_is_left()
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, **QWEN3_PIXELS)]


def _qwen3_5(config: dict[str, Any], hidden: int) -> Towers:
    return _qwen3(config, hidden, "qwen3_5_vision")


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


def _idefics3(config: dict[str, Any], hidden: int) -> Towers:
    kind = "smolvlm_vision" if config.get("model_type") == "smolvlm" else "idefics3_vision"
    v, whole = Part(config.get("vision_config"), kind), Part(config, "idefics3")
    v.read.update(
        ("size", "max_image_size", "use_base_siglip", "tie_word_embeddings")
    )  # which the reference does not use
    h, patch, scale = v.size("hidden_size"), v.size("patch_size"), whole.size("scale_factor")
    heads, middle, side = v.size("num_attention_heads"), v.size("intermediate_size"), v.size("image_size")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", (side // patch) ** 2 * h),
        *encoder(h, heads, middle, v.size("num_hidden_layers")),
        norm("final_norm", h),
        linear("projector", h * scale * scale, hidden, "merged"),
    ]
    longest = (v.given.get("size") or {}).get("longest_edge", 4 * side)
    v.refuse_what_is_left()
    if not isinstance(longest, int) or not side <= longest <= LARGEST_SIDE or (side // patch) % scale:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "splits", found, patch_size=patch, image_size=side, merge=scale, most=longest)]


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


def _mllama(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "mllama_vision_model")
    h, patch, tiles = v.size("hidden_size"), v.size("patch_size"), v.size("max_num_tiles")
    patches, out = (v.size("image_size") // patch) ** 2 + 1, v.size("vision_output_dim")
    ratios, taken = v.get("supported_aspect_ratios"), v.get("intermediate_layers_indices")
    if not isinstance(ratios, list) or not isinstance(taken, list) or out != h * (len(taken) + 1):
        raise LeftOutError("its vision_output_dim is not that of the layers that are taken")
    heads, middle, depth = v.size("attention_heads"), v.size("intermediate_size"), v.size("num_hidden_layers")
    v.read.update(("max_aspect_ratio_id",))
    rows, layers = len(ratios) + 1, v.size("num_global_layers")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        table("class_and_positions", h + patches * h + 1),
        table("tile_positions", rows * tiles * patches * h + 2 * (rows * tiles * h + 1)),
        norm("first_norm", h),
        *encoder(h, heads, middle, depth, biases="up down"),
        norm("final_norm", h),
        *encoder(h, heads, middle, layers, biases="up down", scales=2, prefix="global_"),
        linear("projector", out, hidden, "merged", bias=True),
    ]
    v.refuse_what_is_left()
    sizes = {"patch_size": patch, "image_size": v.size("image_size"), "most": tiles, "extra": 1}
    return [tower(VISION, "tiles-together", found, **sizes)]


def _llama4(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "llama4_vision_model")
    h, patch, side = v.size("hidden_size"), v.size("patch_size"), v.size("image_size")
    ratio = v.get("pixel_shuffle_ratio")
    if not isinstance(ratio, int | float) or not 0 < ratio <= 1 or (1 / ratio) % 1:
        raise LeftOutError("its pixel_shuffle_ratio is not one over a whole number")
    merge = int(1 / ratio)
    v.must_be("multi_modal_projector_bias", expected=False)
    v.must_be("vision_feature_select_strategy", "default")
    v.read.add("vision_feature_layer")
    heads, middle, inner = v.size("num_attention_heads"), v.size("intermediate_size"), v.size("projector_input_dim")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        table("class_and_positions", ((side // patch) ** 2 + 2) * h),
        norm("first_norm", h),
        *encoder(h, heads, middle, v.size("num_hidden_layers")),
        norm("final_norm", h),
        linear("adapter_up", middle, inner, "merged", split="columns"),
        linear("adapter_down", inner, v.size("projector_output_dim"), "merged", split="rows"),
        linear("projector", v.size("vision_output_dim"), hidden, "merged"),
    ]
    if middle != h * merge * merge or not inner == v.size("projector_output_dim") == v.size("vision_output_dim"):
        raise LeftOutError("the sizes of its adapter contradict each other")
    v.refuse_what_is_left()
    return [tower(VISION, "canvas", found, patch_size=patch, image_size=side, merge=merge, most=16, extra=1)]


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


def _internvl(config: dict[str, Any], hidden: int) -> Towers:
    v, whole = Part(config.get("vision_config"), "internvl_vision"), Part(config, "internvl")
    v.must_be("use_mask_token", expected=False)
    v.must_be("use_absolute_position_embeddings", expected=True)
    whole.must_be("vision_feature_layer", -1)
    whole.must_be("vision_feature_select_strategy", "default")
    ratio = whole.get("downsample_ratio")
    if not isinstance(ratio, int | float) or not 0 < ratio <= 1 or (1 / ratio) % 1:
        raise LeftOutError("its downsample_ratio is not one over a whole number")
    merge, h, patch, side = int(1 / ratio), v.size("hidden_size"), v.size("patch_size"), v.size("image_size")
    kind, pooled = v.get("norm_type"), v.flag("use_mean_pooling")
    if kind not in ("layer_norm", "rms_norm"):
        raise LeftOutError("its norm_type is not understood")
    affine = 2 if kind == "layer_norm" else 1
    biases = "out up down" + " qkv" * v.flag("attention_bias")
    scales = 2 * h * bool(v.get("layer_scale_init_value")) if "layer_scale_init_value" in v.given else 2 * h
    v.read.add("layer_scale_init_value")
    wide = h * merge * merge
    scales += 2 * h * v.flag("use_qk_norm")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("class_and_positions", ((side // patch) ** 2 + 2) * h),
        *encoder(
            h, v.size("num_attention_heads"), v.size("intermediate_size"), v.size("num_hidden_layers"),
            affine=affine, biases=biases, scales=scales,
        ),
        *([] if pooled else [norm("final_norm", h)]),
        norm("projector_norm", wide, "merged"),
        *projector("projector", wide, hidden, hidden),
    ]  # fmt: skip
    v.refuse_what_is_left()
    return [tower(VISION, "tiles", found, patch_size=patch, image_size=side, merge=merge, least=1, most=12, extra=1)]


def _internvl_chat(config: dict[str, Any], hidden: int) -> Towers:
    """InternVL in the code that comes with it: InternViT's keys have names of their own, and none is left out."""
    v = Part(config.get("vision_config"), "intern_vit_6b")
    v.must_be("model_type", "intern_vit_6b")
    ratio, kind, select = config.get("downsample_ratio"), v.get("norm_type"), config.get("select_layer", -1)
    if ratio != 0.5 or kind not in ("layer_norm", "rms_norm") or select != -1:
        raise LeftOutError("its downsample_ratio, norm_type or select_layer is not understood")
    h, patch, side, depth = (v.size(key) for key in ("hidden_size", "patch_size", "image_size", "num_hidden_layers"))
    heads, middle = v.size("num_attention_heads"), v.size("intermediate_size")
    if config.get("force_image_size", side) != side:
        raise LeftOutError("its force_image_size is not that of its tower")
    biases = "out up down" + " qkv" * v.flag("qkv_bias")
    scales = 2 * h + 2 * h * v.flag("qk_normalization")
    channels = v.size("num_channels") if "num_channels" in v.given else 3
    tiles = {"least": config.get("min_dynamic_patch"), "most": config.get("max_dynamic_patch")}
    tiled = config.get("dynamic_image_size") is True and config.get("use_thumbnail") is True
    known = tiled and all(isinstance(size, int) and 1 <= size <= 100 for size in tiles.values())
    found = [
        linear("patch_embedding", channels * patch * patch, h, "patches", bias=True, split="columns"),
        table("class_and_positions", ((side // patch) ** 2 + 2) * h),
        *encoder(h, heads, middle, depth, affine=2 if kind == "layer_norm" else 1, biases=biases, scales=scales),
        norm("projector_norm", 4 * h, "merged"),
        *projector("projector", 4 * h, hidden, hidden),
    ]
    v.read.update(("use_mean_pooling", "num_channels"))
    v.refuse_what_is_left()
    sizes: dict[str, Any] = {"patch_size": patch, "image_size": side, "merge": 2, "extra": 1} | tiles
    return [tower(VISION, "tiles", found, **sizes) if known else tower(VISION, "unknown", found)]


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


def _glm4v_moe(config: dict[str, Any], hidden: int) -> Towers:
    return _glm4v(config, hidden, "glm4v_moe_vision")


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


def _lfm2(config: dict[str, Any], hidden: int) -> Towers:
    v, whole = Part(config.get("vision_config"), "siglip2_vision_model"), Part(config, "lfm2_vl")
    v.must_be("model_type", "siglip2_vision_model")
    h, patch, heads = v.size("hidden_size"), v.size("patch_size"), v.size("num_attention_heads")
    middle, inner, factor = (
        v.size("intermediate_size"),
        whole.size("projector_hidden_size"),
        whole.size("downsample_factor"),
    )
    wide, bias = h * factor * factor, whole.flag("projector_bias")
    head = h + 4 * h * h + 4 * h + 2 * h + 2 * h * middle + middle + h
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", v.size("num_patches") * h),
        *encoder(h, heads, middle, v.size("num_hidden_layers")),
        norm("final_norm", h),
        *([table("pooling_head", head)] if v.flag("vision_use_head") else []),
        *([norm("projector_norm", wide, "merged")] if whole.flag("projector_use_layernorm") else []),
        *projector("projector", wide, inner, hidden, bias=bias),
    ]
    v.refuse_what_is_left()
    sizes = {"patch_size": patch, "merge": factor, "image_size": 512, "least": 64, "most": 256}
    return [tower(VISION, "tiles-or-resized", found, **sizes)]


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
    return [*_qwen2_5(_inside(config), hidden, "qwen2_5_omni_vision_encoder"), audio]


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
    vision = _qwen3(_inside(config), hidden, "qwen3_omni_moe_vision_encoder")
    if chunk != SECOND or window < chunk:  # the number of tokens is written for chunks of one second
        return [*vision, tower("audio_tower", "unknown", found)]
    return [*vision, tower("audio_tower", "audio-windows", found, image_size=chunk, window=window // chunk)]


FAMILIES: dict[str, Callable[[dict[str, Any], int], Towers]] = {
    "qwen2_vl": _qwen2,
    "qwen2_5_vl": _qwen2_5,
    "qwen3_vl": _qwen3,
    "qwen3_vl_moe": _qwen3,
    "qwen3_5": _qwen3_5,
    "qwen3_5_moe": _qwen3_5,
    "gemma3": _gemma3,
    "t5gemma2": _gemma3,
    "gemma3n": conformers.gemma3n,
    "gemma4": conformers.gemma4,
    "gemma4_unified": conformers.gemma4_unified,
    "git": _git,
    "paligemma": _paligemma,
    "phi4_multimodal": conformers.phi4,
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
    "llava": _llava_of_any_tower,
    "mllama": _mllama,
    "llama4": _llama4,
    "mistral3": _mistral3,
    "internvl": _internvl,
    "internvl_chat": _internvl_chat,
    "glm4v": _glm4v,
    "glm4v_moe": _glm4v_moe,
    "glm46v": _glm4v,
    "kimi_k25": _kimi_k25,
    "kimi_vl": _kimi_vl,
    "lfm2_vl": _lfm2,
    "minicpmv": minicpm_towers.resampled,
    "minicpmo": minicpm_towers.resampled,
    "minicpmv4_6": minicpm_towers.merged_twice,
    "minicpmv4_7": minicpm_towers.merged_twice,
    "qwen2_5_omni": _qwen2_5_omni,
    "qwen2_5_omni_thinker": _qwen2_5_omni,
    "qwen3_omni_moe": _qwen3_omni,
    "qwen3_omni_moe_thinker": _qwen3_omni,
    "voxtral": _voxtral,
    "qwen2_audio": _qwen2_audio,
}
