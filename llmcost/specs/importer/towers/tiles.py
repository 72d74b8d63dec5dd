"""Towers that cut an image into tiles: Idefics 3, Llama 3.2 and 4, InternVL, LFM2-VL."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.model.tile_tokens import LARGEST_SIDE
from llmcost.specs.importer.towers.encoders import encoder_of, pooling_head
from llmcost.specs.importer.towers.parts import (
    LARGEST,
    VISION,
    Families,
    LeftOutError,
    Part,
    Towers,
    encoder,
    linear,
    norm,
    projector,
    table,
    tower,
)


def _idefics3(config: dict[str, Any], hidden: int) -> Towers:
    eye = encoder_of(config.get("vision_config"), "idefics3_vision", "idefics3_vision", "smolvlm_vision")
    v, scale = eye.part, Part(config, "idefics3").size("scale_factor")
    found = [*eye.operators, linear("projector", eye.width * scale * scale, hidden, "merged")]
    side = v.size("image_size")
    longest = (v.given.get("size") or {}).get("longest_edge", 4 * side)
    v.refuse_what_is_left()
    if not isinstance(longest, int) or not side <= longest <= LARGEST_SIDE or v.side() % scale:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "splits", found, **eye.sizes(), merge=scale, most=longest)]


def _mllama(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "mllama_vision_model")
    h, patch, tiles = v.size("hidden_size"), v.size("patch_size"), v.size("max_num_tiles")
    patches, out = v.side() ** 2 + 1, v.size("vision_output_dim")
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
        table("class_and_positions", (v.side() ** 2 + 2) * h),
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


def _internvl(config: dict[str, Any], hidden: int, kind: str = "internvl") -> Towers:
    v, whole = Part(config.get("vision_config"), f"{kind}_vision"), Part(config, kind)
    v.must_be("use_mask_token", expected=False)
    v.must_be("use_absolute_position_embeddings", expected=True)
    whole.must_be("vision_feature_layer", -1)
    whole.must_be("vision_feature_select_strategy", "default")
    ratio = whole.get("downsample_ratio")
    if not isinstance(ratio, int | float) or not 0 < ratio <= 1 or (1 / ratio) % 1:
        raise LeftOutError("its downsample_ratio is not one over a whole number")
    merge, h, patch, side = int(1 / ratio), v.size("hidden_size"), v.size("patch_size"), v.size("image_size")
    norms, pooled = v.get("norm_type"), v.flag("use_mean_pooling")
    if norms not in ("layer_norm", "rms_norm"):
        raise LeftOutError("its norm_type is not understood")
    affine = 2 if norms == "layer_norm" else 1
    biases = "out up down" + " qkv" * v.flag("attention_bias")
    v.read.add("layer_scale_init_value")  # with which scales begin that are there whatever it is
    wide = h * merge * merge
    scales = 2 * h + 2 * h * v.flag("use_qk_norm")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("class_and_positions", (v.side() ** 2 + 2) * h),
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
        table("class_and_positions", (v.side() ** 2 + 2) * h),
        *encoder(h, heads, middle, depth, affine=2 if kind == "layer_norm" else 1, biases=biases, scales=scales),
        norm("projector_norm", 4 * h, "merged"),
        *projector("projector", 4 * h, hidden, hidden),
    ]
    v.read.update(("use_mean_pooling", "num_channels"))
    if not v.given.get("use_moe"):  # InternVL 2.5 and 3 say of experts what they would be
        v.read.update(OF_NO_EXPERTS)
    v.refuse_what_is_left()
    sizes: dict[str, Any] = {"patch_size": patch, "image_size": side, "merge": 2, "extra": 1} | tiles
    return [tower(VISION, "tiles", found, **sizes) if known else tower(VISION, "unknown", found)]


OF_NO_EXPERTS = (
    "capacity_factor", "eval_capacity_factor", "laux_allreduce", "moe_coeff_ratio", "moe_intermediate_size",
    "moe_output_scale", "noisy_gate_policy", "num_experts", "num_routed_experts", "num_shared_experts",
    "shared_expert_intermediate_size", "use_moe", "use_residual", "use_rts", "use_weighted_residual",
)  # fmt: skip


def _cohere2(config: dict[str, Any], hidden: int, kind: str = "cohere2_vision") -> Towers:
    """Command A Vision and Aya Vision: SigLIP on tiles, and a gated projector of four patches beside each other."""
    eye, whole = (
        encoder_of(config.get("vision_config"), "siglip_vision_model", "siglip_vision_model"),
        Part(config, kind),
    )
    merge, aya = whole.size("downsample_factor"), kind == "aya_vision"
    wide = eye.width * merge * merge
    middle = (
        whole.given.get("alignment_intermediate_size", hidden) if aya else whole.size("alignment_intermediate_size")
    )
    if not isinstance(middle, int) or not 1 < middle < LARGEST or middle % 2 or eye.part.side() % merge:
        raise LeftOutError("its alignment_intermediate_size or its downsample_factor is not understood")
    if aya:
        whole.must_be("vision_feature_layer", -1)
        whole.must_be("vision_feature_select_strategy", "full")
    found = [
        *eye.operators,
        *([norm("projector_norm", wide, "merged")] if aya else []),
        linear("projector_gate_up", wide, middle, "merged", bias=True, split="columns"),
        linear("projector_down", middle // 2, hidden, "merged", bias=True, split="rows"),
    ]
    eye.part.refuse_what_is_left()
    rule = "tiles" if aya else "canvas"
    return [tower(VISION, rule, found, **eye.sizes(), merge=merge, marks=1, **({"least": 1} if aya else {}), most=12)]


def _ovis2(config: dict[str, Any], hidden: int) -> Towers:
    """Ovis 2: AIMv2 says how likely each word of a visual vocabulary is, and its embeddings are mixed by that."""
    v = Part(config.get("vision_config"), "ovis2_vision")
    h, heads, middle, depth = (
        v.size(key) for key in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    )
    patch, merge, words = v.size("patch_size"), v.size("hidden_stride"), v.size("vocab_size")
    named = words - v.size("num_visual_indicator_tokens")
    v.read.add("tokenize_function")
    if named < 1 or v.side() % merge:
        raise LeftOutError("its vocab_size or its hidden_stride is not understood")
    biases = " ".join(["qkv out"] * v.flag("qkv_bias") + ["up down"] * v.flag("mlp_bias"))
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", v.side() ** 2 * h),
        norm("first_norm", h, affine=1),
        *encoder(h, heads, middle, depth, affine=1, biases=biases, gated=True),
        norm("final_norm", h, affine=1),
        linear("visual_head", h * merge * merge, named, "merged", split="columns"),
        norm("visual_head_norm", named, "merged"),
        linear("visual_embedding", words, Part(config, "ovis2").out("hidden_size", hidden), "merged", split="rows"),
    ]
    side = v.size("image_size")
    v.refuse_what_is_left()
    return [tower(VISION, "covering", found, patch_size=patch, image_size=side, merge=merge, most=OVIS_TILES)]


OVIS_TILES = 12  # image_processing_ovis2.py, max_patches


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


LFM3_PIXELS = {"least": 3136, "most": 1_003_520}  # image_processing_qwen2_vl.py, which is its processor too
# DeepSeek-VL2's encoder and projector where its config leaves keys out (transformers_utils/configs/deepseek_vl2.py of
# vLLM, which has the model's own), and values that are understood.
VL2_EYES = {"width": 1024, "layers": 24, "heads": 16, "patch_size": 16, "image_size": 384, "mlp_ratio": 4}
VL2_FIXED = {"global_pool": "map", "ignore_head": True, "class_token": False, "num_classes": 0}
VL2_PROJECTOR = {
    "projector_type": "downsample_mlp_gelu", "depth": 2, "mlp_ratio": 1, "downsample_ratio": 2, "token_pooling": False,
}  # fmt: skip
VL2_UNREAD = ("model_name", "weight_init", "deterministic", "num_recomputing_layers", "use_checkpoint", "hybrid_align")


def deepseek_vl2(config: dict[str, Any], hidden: int) -> Towers:
    """DeepSeek-VL2: SigLIP with a pooling head that never runs, on the image whole and in a grid of tiles."""
    v, p = Part(config.get("vision_config"), "vision"), Part(config.get("projector_config") or {}, "mlp_projector")
    v.defaults, p.defaults = VL2_EYES | VL2_FIXED, VL2_PROJECTOR | {"input_dim": 1152, "n_embed": 2048}
    for part, fixed in ((v, VL2_FIXED), (p, VL2_PROJECTOR)):
        for key, expected in fixed.items():
            part.must_be(key, expected)
    v.read.update(VL2_UNREAD)
    h, depth, heads, patch, ratio = (
        *(v.size(key) for key in ("width", "layers", "heads", "patch_size")),
        v.get("mlp_ratio"),
    )
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 100:
        raise LeftOutError("its mlp_ratio is no number")
    p.out("n_embed", hidden)
    p.must_be("input_dim", h)
    middle, side = int(h * ratio), v.size("image_size")
    if config.get("tile_tag", "2D") != "2D":
        raise LeftOutError("its tile_tag is not understood")
    found = [
        linear("patch_embedding", 3 * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", v.side() ** 2 * h),
        *encoder(h, heads, middle, depth),
        norm("final_norm", h),
        table("pooling_head", pooling_head(h, middle)),
        *projector("projector", 4 * h, hidden, hidden),
        table("break_and_separator", 2 * hidden),
    ]
    v.refuse_what_is_left()
    p.refuse_what_is_left()
    grids = []
    for grid in config.get("candidate_resolutions") or ():
        match grid:
            case [int(across), int(high)] if 0 < side <= min(high, across) and high % side == across % side == 0:
                grids.append([high // side, across // side])
            case _:
                raise LeftOutError("its candidate_resolutions are not understood")
    if not grids:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "grids-and-whole", found, patch_size=patch, image_size=side, merge=2, grids=grids)]


LFM_SIZES = (
    "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size", "num_hidden_layers",
)  # fmt: skip


def _lfm3(config: dict[str, Any], hidden: int) -> Towers:
    """LFM3-VL: LFM's layers on patches, most with convolutions over both sides, of each channel by itself."""
    v, whole = Part(config.get("vision_config"), "lfm3_vl_vision"), Part(config, "lfm3_vl")
    h, heads, kv, middle, depth = (v.size(key) for key in LFM_SIZES)
    kinds = v.given.get("layer_types") or ["conv" if at < 2 or at % 2 else "full_attention" for at in range(depth)]
    if not isinstance(kinds, list | tuple) or len(kinds) != depth or h % heads or heads % kv:
        raise LeftOutError("its layer_types or its heads are not understood")
    v.read.add("layer_types")
    d, convolved = h // heads, sum(kind == "conv" for kind in kinds)
    patch, merge, kernel = v.size("patch_size"), v.size("spatial_merge_size"), v.size("conv_kernel_size")
    wide, inner, bias = h * merge * merge, whole.size("projector_hidden_size"), whole.flag("projector_bias")
    attends: dict[str, Any] = {"count": depth - convolved}
    found = [
        linear("patch_embedding", v.size("in_channels") * v.size("temporal_patch_size") * patch**2, h, "patches"),
        norm("first_norm", h, affine=1),
        norm("mixer_norm", h, affine=1, count=depth),
        linear("qkv_proj", h, (heads + 2 * kv) * d, split="columns", **attends),
        norm("qk_norm", 2 * d, affine=1, **attends),
        {"name": "attention", "at": "layers", "heads": heads, "head_dim": d, **attends},
        linear("o_proj", h, h, split="rows", **attends),
        linear("conv_in_proj", h, 3 * h, split="columns", count=convolved),
        linear("convolution", kernel * kernel, h, count=convolved),
        linear("conv_out_proj", h, h, split="rows", count=convolved),
        norm("mlp_norm", h, affine=1, count=depth),
        linear("gate_up_proj", h, 2 * middle, split="columns", count=depth),
        linear("down_proj", middle, h, split="rows", count=depth),
        norm("projector_norm", h),
        *projector("projector", wide, inner, hidden, bias=bias),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, **LFM3_PIXELS)]


FAMILIES: Families = {
    "aya_vision": partial(_cohere2, kind="aya_vision"),
    "cohere2_vision": _cohere2,
    "ovis2": _ovis2,
    "qianfan_ocr": partial(_internvl, kind="qianfan_ocr"),
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
    "mllama": _mllama,
    "llama4": _llama4,
    "internvl": _internvl,
    "internvl_chat": _internvl_chat,
    "lfm2_vl": _lfm2,
    "lfm3_vl": _lfm3,
}
