"""Segment Anything's encoder (arXiv 2304.02643) where it reads images: GOT-OCR, DeepSeek-OCR, DeepSeek-VL 7B.

Its layers see windows, padded to whole ones, and some see the whole image; each has tables of relative positions, one
for rows and one for columns. Two convolutions behind it halve the sides twice.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.specs.importer.towers.encoders import encoder_of
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
    table,
    tower,
)
from llmcost.specs.importer.towers.tiles import deepseek_vl2


def sam(v: Part, *, ratio: bool = False) -> Operators:
    """Patches, positions, layers, and the neck that narrows what they hand on.

    `ratio`: whether its mlp_ratio says how wide the MLPs are where its mlp_dim does not.
    """
    h, patch, side, depth = v.size("hidden_size"), v.size("patch_size"), v.side(), v.size("num_hidden_layers")
    heads, window, whole = v.size("num_attention_heads"), v.size("window_size", least=0), v.get("global_attn_indexes")
    if h % heads or not isinstance(whole, list | tuple) or not all(isinstance(at, int) for at in whole):
        raise LeftOutError("its heads or its global_attn_indexes are not understood")
    middle = _middle(v, h) if ratio else v.size("mlp_dim")
    seeing_all = len({at for at in whole if 0 <= at < depth}) if window else depth
    qkv_bias, placed = v.flag("qkv_bias"), v.flag("use_rel_pos")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        *([table("position_embedding", side * side * h)] if v.flag("use_abs_pos") else []),
        norm("attention_norm", h, count=depth),
    ]
    for count, at, seen, prefix in (
        (seeing_all, "layers", side, ""),
        (depth - seeing_all, "windows", window, "window_"),
    ):
        if count:
            found += _attention(h, heads, seen, count, at, prefix, qkv_bias=qkv_bias, placed=placed)
    return [
        *found,
        norm("mlp_norm", h, count=depth),
        linear("up_proj", h, middle, bias=True, split="columns", count=depth),
        {"name": "activation", "at": "layers", "count": depth, "width": middle, "weights": 0},
        linear("down_proj", middle, h, bias=True, split="rows", count=depth),
        *neck(v),
    ]


def _middle(v: Part, h: int) -> int:
    """How wide its MLPs are: mlp_dim, or else its ratio of the channels."""
    v.read.update(("mlp_ratio", "scale"))
    if v.given.get("mlp_dim") is not None:
        return v.size("mlp_dim")
    ratio = v.get("mlp_ratio")
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 100 or not int(h * ratio):
        raise LeftOutError("its mlp_ratio is no number")
    return int(h * ratio)


def _attention(
    h: int, heads: int, seen: int, count: int, at: str, prefix: str, *, qkv_bias: bool, placed: bool
) -> Operators:
    """Attention of `count` layers, whose tables have an entry for each distance between `seen` rows, and columns."""
    d = h // heads
    each: dict[str, Any] = {"at": at, "count": count}
    positions: dict[str, Any] = {
        "across": heads,
        "weights": (seen - 1) * d,
    }  # beside the products, which use as many rows as are seen
    return [
        linear(f"{prefix}qkv_proj", h, 3 * h, bias=qkv_bias, split="columns", **each),
        *(linear(f"{prefix}{name}_positions", d, seen, **each, **positions) for name in ("row", "column") if placed),
        {"name": f"{prefix}attention", **each, "heads": heads, "head_dim": d},
        linear(f"{prefix}o_proj", h, h, bias=True, split="rows", **each),
    ]


def neck(v: Part) -> Operators:
    """Two convolutions, each with a norm behind it."""
    h, out = v.size("hidden_size"), v.size("output_channels")
    return [
        linear("neck", h, out),
        norm("neck_norm", out),
        linear("neck_convolution", 9 * out, out),
        norm("last_norm", out),
    ]


def _halvings(channels: int, middle: int, out: int, times: int = 1) -> Operators:
    return [
        linear("first_halving", 9 * channels, middle, "half", across=times),
        linear("second_halving", 9 * middle, out, "quarter", across=times),
    ]


# -- GOT-OCR --------------------------------------------------------------------------------------------


def _got(config: dict[str, Any], hidden: int, kind: str = "got_ocr2_vision") -> Towers:
    v = Part(config.get("vision_config"), kind)
    channels = v.size("output_channels")
    found = [
        *sam(v),
        *_halvings(channels, 2 * channels, hidden),
        linear("projector", hidden, hidden, "merged", bias=True),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "halved-twice", found, **_sizes(v))]


def _sizes(v: Part) -> dict[str, int]:
    return {
        "patch_size": v.size("patch_size"),
        "image_size": v.size("image_size"),
        "window": v.size("window_size", least=0),
    }


# -- DeepSeek-VL 7B -----------------------------------------------------------------------------------


def _deepseek_vl(config: dict[str, Any], hidden: int) -> Towers:
    """SigLIP and SAM beside each other; SAM's neck is stored twice, once for the first of its layers that sees all.

    The states of both necks are scaled to four times SigLIP's sides and then halved twice.
    """
    eye = encoder_of(config.get("vision_config"), "siglip_vision_model", "siglip_vision_model")
    v = Part(config.get("high_res_vision_config"), "sam_vision_model")
    channels, half = v.size("output_channels"), hidden // 2
    found = [
        *({**op, "at": LOW.get(op["at"], op["at"])} for op in eye.operators),
        *({**op, "name": f"high_{op['name']}"} for op in (*sam(v, ratio=True), *neck(v))),
        *_halvings(channels, 2 * channels, 4 * channels, times=2),
        table("share_of_the_first", 1),
        linear("first_projector", eye.width, half, "merged", bias=True),
        linear("second_projector", 4 * channels, half, "merged", bias=True),
        linear("projector", hidden, hidden, "merged", bias=True),
    ]
    if hidden % 2:
        raise LeftOutError("the text model's hidden size is odd")
    eye.part.refuse_what_is_left()
    v.read.add("num_pos_feats")
    v.refuse_what_is_left()
    return [tower(VISION, "seen-twice", found, **_sizes(v), merge=eye.part.side())]


LOW = {"patches": "keys", "layers": "keys"}  # where SigLIP's layers run, beside SAM's


# -- DeepSeek-OCR 2 -----------------------------------------------------------------------------------

OCR_QUERIES = 144 + 256  # for tiles of 768 pixels and images of 1,024 (modeling_deepseek_ocr2.py)
OCR_TILE, OCR_TILES = 768, 6  # pixels a side of a tile, and the most of them (image_processing_deepseek_ocr2.py)


def _ocr2(config: dict[str, Any], hidden: int) -> Towers:
    """DeepSeek-OCR 2: SAM's patches and queries that are stored pass through layers of a language model."""
    whole = config.get("vision_config")
    if not isinstance(whole, dict):
        raise LeftOutError("its config is not there")
    both = Part(whole, "deepseek_ocr2_vision")
    both.read.update(("sam_config", "encoder_config"))
    v = Part(whole.get("sam_config", {}), "deepseek_ocr2_sam_vision_model")
    e = Part(whole.get("encoder_config", {}), "deepseek_ocr2_encoder")
    first, last = _downsampled(v, [512, 896])
    h, heads, middle, depth = (
        e.size(key) for key in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    )
    kv = e.size("num_key_value_heads") if e.given.get("num_key_value_heads") else heads
    if last != h or h % heads or heads % kv:
        raise LeftOutError("the widths of its two encoders contradict each other")
    d = h // heads
    if e.given.get("head_dim", d) != d:
        raise LeftOutError("its head_dim is not understood")
    e.read.update(("vocab_size", "max_position_embeddings", "use_sliding_window", "sliding_window", "layer_types"))
    e.read.update(("max_window_layers", "head_dim", "tie_word_embeddings"))
    found = [
        *sam(v, ratio=True),
        *_halvings(v.size("output_channels"), first, last),
        table("queries", OCR_QUERIES * h),
        *encoder(
            *(h, heads, middle, depth), affine=1, biases="qkv", gated=True, kv_heads=kv, prefix="query_", at="keys"
        ),
        norm("query_norm", h, "keys", affine=1),
        linear("projector", h, hidden, "merged", bias=True),
        table("separator", hidden),
    ]
    v.refuse_what_is_left()
    e.refuse_what_is_left()
    both.refuse_what_is_left()
    return [tower(VISION, "tiles-and-queries", found, **_sizes(v), least=2, most=OCR_TILES, out=OCR_TILE)]


# -- DeepSeek-OCR -------------------------------------------------------------------------------------

# What the code of deepseek-ai/DeepSeek-OCR builds whatever its config says (deepencoder.py, modeling_deepseekocr.py).
OCR_SAM = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_dim": 3072, "image_size": 1024}
OCR_CLIP = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
OCR_SAID = {
    "model_name": "deeplip_b_l", "model_type": "vision", "image_size": 1024, "mlp_ratio": 3.7362,
    "width": {
        "sam_vit_b": {
            "width": 768, "layers": 12, "heads": 12, "downsample_channels": [512, 1024],
            "global_attn_indexes": [2, 5, 8, 11],
        },
        "clip-l-14-224": {"width": 1024, "layers": 24, "heads": 16, "patch_size": 14, "image_size": 224},
    },
}  # fmt: skip
TILE, TILES = 640, 9  # pixels a side of a tile, and the most of them, of which there are two at least


def _ocr(config: dict[str, Any], hidden: int) -> Towers:
    """DeepSeek-OCR: SAM's states pass through CLIP's layers, and both stand beside each other before the projector.

    CLIP's own patches are stored and never computed. A break stands behind each row, a mark behind the whole.
    """
    vision, joined = config.get("vision_config"), config.get("projector_config")
    if isinstance(vision, dict) and "siglip" in str(vision.get("model_name")):
        return deepseek_vl2(config, hidden)
    if not isinstance(vision, dict) or vision.get("model_name") != "deeplip_b_l" or not isinstance(joined, dict):
        raise LeftOutError("its vision_config is not that of DeepSeek-OCR")
    if not _says_no_more(vision, OCR_SAID):
        raise LeftOutError("its vision_config says more than what its code builds, or otherwise")
    h = OCR_CLIP["hidden_size"]
    v = Part(OCR_SAM, "got_ocr2_vision")
    wide = {"input_dim": 2 * h, "n_embed": hidden, "projector_type": "linear"}
    if any(joined.get(key, size) != size for key, size in wide.items()) or config.get("tile_tag", "2D") != "2D":
        raise LeftOutError("its projector_config or its tile_tag is not understood")
    layers = encoder(
        *(OCR_CLIP[key] for key in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")),
        at="keys",
        prefix="clip_",
    )
    found = [
        *sam(v),
        *_halvings(v.size("output_channels"), h // 2, h),
        table("clip_patches", 3 * 14 * 14 * h),
        table("clip_class_and_positions", (16 * 16 + 2) * h),
        norm("clip_first_norm", h, "keys"),
        *layers,
        linear("projector", 2 * h, hidden, "merged", bias=True),
        table("break_and_mark", 2 * hidden),
    ]
    return [tower(VISION, "tiles-and-whole", found, **_sizes(v), least=2, most=TILES, out=TILE)]


def _says_no_more(said: Any, built: Any) -> bool:
    """Whether a part of a config says what is built, or less of it."""
    if isinstance(built, dict):
        return isinstance(said, dict) and all(key in built and _says_no_more(said[key], built[key]) for key in said)
    return bool(said == built)


def _downsampled(v: Part, usual: list[int]) -> tuple[int, int]:
    """Channels behind each of the two convolutions that halve the sides."""
    said = v.get("downsample_channels")
    match usual if said is None else said:
        case [int(first), int(last)] if first > 0 and last > 0:
            return first, last
        case _:
            raise LeftOutError("its downsample_channels are not understood")


FAMILIES: Families = {
    "deepseek_ocr2": _ocr2,
    "deepseek_vl_v2": _ocr,
    "deepseek_vl_hybrid": _deepseek_vl,
    "got_ocr2": _got,
    "pp_chart2table": partial(_got, kind="pp_chart2table_vision"),
}
