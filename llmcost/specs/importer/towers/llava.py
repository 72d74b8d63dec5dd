"""An encoder of images of one size and what projects its patches: LLaVA and its kin, Gemma 3, PaliGemma, DeepSeek-VL.

LLaVA-NeXT and LLaVA-OneVision cut an image into tiles besides. With Pixtral's encoder images keep their shape.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.model.towers import TowerOperator
from llmcost.specs.importer.towers.encoders import Encoder, clip, encoder_of
from llmcost.specs.importer.towers.parts import (
    VISION,
    Families,
    LeftOutError,
    Part,
    Towers,
    linear,
    norm,
    projector,
    table,
    tower,
)


def _gemma3(config: dict[str, Any], hidden: int) -> Towers:
    eye = encoder_of(config.get("vision_config"), "siglip_vision_model", "siglip_vision_model")
    found = [
        *eye.operators,
        norm("projector_norm", eye.width, "merged", affine=1),
        linear("projector", eye.width, hidden, "merged"),
    ]
    eye.part.refuse_what_is_left()
    out = Part(config, "gemma3").size("mm_tokens_per_image")
    return [tower(VISION, "square", found, **eye.sizes(), out=out)]


def _paligemma(config: dict[str, Any], hidden: int) -> Towers:
    eye = encoder_of(config.get("vision_config"), "siglip_vision_model", "siglip_vision_model")
    eye.part.read.update(("num_image_tokens", "projector_hidden_act"))
    wide = Part(config, "paligemma").out("projection_dim", hidden)
    eye.part.refuse_what_is_left()
    return [tower(VISION, "square", [*eye.operators, linear("projector", eye.width, wide, bias=True)], **eye.sizes())]


def _git(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config") or {}, "git_vision_model")
    if config.get("num_image_with_embedding") is not None:
        raise LeftOutError("its num_image_with_embedding is not understood")
    v.read.update(("vocab_size", "projection_dim"))
    eye = clip(v, last="layers")
    found = [*eye.operators, linear("projector", eye.width, hidden, bias=True), norm("projector_norm", hidden)]
    v.refuse_what_is_left()
    return [tower(VISION, "square", found, **eye.sizes(), out=eye.patches + 1)]


def _deepseek_vl(config: dict[str, Any], hidden: int) -> Towers:
    """DeepSeek-VL, but for its hybrid that has a second encoder: the projector is a linear layer and another."""
    eye = encoder_of(config.get("vision_config"), "siglip_vision_model", "siglip_vision_model")
    eye.part.refuse_what_is_left()
    found = [*eye.operators, *projector("projector", eye.width, hidden, hidden)]
    return [tower(VISION, "square", found, **eye.sizes())]


# -- LLaVA ----------------------------------------------------------------------------------------------


def _states(whole: Part, eye: Encoder) -> int:
    """Of how many layers the states stand beside each other before the projector. Raises LeftOutError."""
    layers, depth = whole.get("vision_feature_layer"), eye.part.size("num_hidden_layers")
    each = layers if isinstance(layers, list | tuple) else [layers]
    if not each or any(not isinstance(at, int) or isinstance(at, bool) or not -depth <= at <= depth for at in each):
        raise LeftOutError("its vision_feature_layer is not understood")
    return len(each)


def _taken(whole: Part, eye: Encoder) -> dict[str, int]:
    """How many of a tile's states are projected, where that is not a state a patch. Raises LeftOutError."""
    strategy = whole.get("vision_feature_select_strategy")
    if strategy == "default" and eye.extra:  # the class is left away
        return {}
    if strategy != "full":
        raise LeftOutError("its vision_feature_select_strategy is not understood")
    return {"out": eye.patches + 1} if eye.extra else {}


def _llava(config: dict[str, Any], hidden: int, kind: str = "llava", usual: str = "clip_vision_model") -> Towers:
    """LLaVA 1.5 and other models of its class, with CLIP, SigLIP or Pixtral."""
    eye, whole = encoder_of(config.get("vision_config"), usual), Part(config, kind)
    wide, bias = _states(whole, eye) * eye.width, whole.flag("multimodal_projector_bias")
    found = [*eye.operators, *projector("projector", wide, hidden, hidden, bias=bias)]
    eye.part.refuse_what_is_left()
    if eye.part.given.get("model_type") == "pixtral":
        whole.must_be("vision_feature_select_strategy", "full")
        return [tower(VISION, "longest-edge", found, **eye.sizes())]
    return [tower(VISION, "square", found, **eye.sizes(), **_taken(whole, eye))]


def _vipllava(config: dict[str, Any], hidden: int) -> Towers:
    """ViP-LLaVA: states of several layers beside each other, with a norm; the class is left away."""
    eye, whole = (
        encoder_of(config.get("vision_config"), "clip_vision_model", "clip_vision_model"),
        Part(config, "vipllava"),
    )
    wide = _states(whole, eye) * eye.width
    found = [
        *eye.operators,
        norm("projector_norm", wide, "merged"),
        *projector("projector", wide, hidden, hidden),
    ]
    eye.part.refuse_what_is_left()
    return [tower(VISION, "square", found, **eye.sizes())]


def _video_llava(config: dict[str, Any], hidden: int) -> Towers:
    """Video-LLaVA: one encoder for images, and one like it for videos, which images do not pass."""
    eye, whole = (
        encoder_of(config.get("vision_config"), "clip_vision_model", "clip_vision_model"),
        Part(config, "video_llava"),
    )
    wide, bias = _states(whole, eye) * eye.width, whole.flag("multimodal_projector_bias")
    found = [
        *eye.operators,
        table("encoder_of_videos", sum(TowerOperator(**op).params() for op in eye.operators)),
        *projector("projector", wide, hidden, hidden, bias=bias),
    ]
    eye.part.refuse_what_is_left()
    return [tower(VISION, "square", found, **eye.sizes(), **_taken(whole, eye))]


def _tiled(config: dict[str, Any], hidden: int, kind: str, usual: str) -> Towers:
    """LLaVA-NeXT and LLaVA-OneVision: the image whole, and cut into a grid of tiles, with a break behind each row."""
    eye, whole = (
        encoder_of(config.get("vision_config"), usual, "clip_vision_model", "siglip_vision_model"),
        Part(config, kind),
    )
    wide, bias, taken = _states(whole, eye) * eye.width, whole.flag("multimodal_projector_bias"), _taken(whole, eye)
    found = [*eye.operators, *projector("projector", wide, hidden, hidden, bias=bias), table("break", hidden)]
    eye.part.refuse_what_is_left()
    side, grids, listed = eye.part.size("image_size"), [], whole.get("image_grid_pinpoints")
    for grid in listed if isinstance(listed, list) else ():
        match grid:
            case [int(high), int(across)] if 0 < side <= min(high, across) and high % side == across % side == 0:
                grids.append([high // side, across // side])
            case _:
                return [tower(VISION, "unknown", found)]
    most = whole.get("vision_aspect_ratio") if kind == "llava_onevision" else "anyres_max_0"
    tiles = str(most).removeprefix("anyres_max_")
    if taken or not grids or not tiles.isascii() or not tiles.isdigit() or len(tiles) > 3:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "grids", found, **eye.sizes(), most=int(tiles), grids=grids)]


# -- Pixtral --------------------------------------------------------------------------------------------


def _mistral3(config: dict[str, Any], hidden: int, kind: str = "mistral3") -> Towers:
    """Mistral 3 and 4, and LightOnOCR, whose projector is the same with a bias nowhere."""
    eye, whole = encoder_of(config.get("vision_config"), "pixtral", "pixtral"), Part(config, kind)
    bias = False
    if kind != "lighton_ocr":
        whole.must_be("vision_feature_layer", -1)
        bias = whole.flag("multimodal_projector_bias")
    h, merge = eye.width, whole.size("spatial_merge_size")
    found = [
        *eye.operators,
        norm("projector_norm", h, affine=1),
        linear("patch_merger", h * merge * merge, h, "merged"),
        *projector("projector", h, hidden, hidden, bias=bias),
    ]
    eye.part.refuse_what_is_left()
    return [tower(VISION, "longest-edge", found, **eye.sizes(), merge=merge)]


FAMILIES: Families = {
    "deepseek_vl": _deepseek_vl,
    "gemma3": _gemma3,
    "t5gemma2": _gemma3,
    "git": _git,
    "lighton_ocr": partial(_mistral3, kind="lighton_ocr"),
    "llava": _llava,
    "llava_next": partial(_tiled, kind="llava_next", usual="clip_vision_model"),
    "minimax_vl_01": partial(_tiled, kind="llava_next", usual="clip_vision_model"),
    "llava_next_video": partial(_tiled, kind="llava_next_video", usual="clip_vision_model"),
    "llava_onevision": partial(_tiled, kind="llava_onevision", usual="siglip_vision_model"),
    "mistral3": _mistral3,
    "mistral_large4": _mistral3,
    "paligemma": _paligemma,
    "video_llava": _video_llava,
    "vipllava": _vipllava,
}
