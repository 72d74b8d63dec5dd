"""Qwen's towers: patches of an image in its own shape, four of which become one token."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.specs.importer.towers.parts import (
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

# The pixels between which images are kept, by the preprocessor_config.json of released models:
# Qwen/Qwen2-VL-7B-Instruct and Qwen/Qwen2.5-VL-7B-Instruct (min_pixels, max_pixels), Qwen/Qwen3-VL-8B-Instruct
# (shortest_edge, longest_edge).
QWEN_PIXELS = {"least": 3136, "most": 12_845_056}
QWEN3_PIXELS = {"least": 65_536, "most": 16_777_216}


def qwen2(config: dict[str, Any], hidden: int) -> Towers:
    """Qwen2-VL: full attention, and names of its own for some keys."""
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


def qwen2_5(config: dict[str, Any], hidden: int, kind: str = "qwen2_5_vl_vision", *, projects: bool = False) -> Towers:
    """Qwen2.5-VL: gated MLPs, and windows in all layers but some; `projects`: behind it comes a linear layer more."""
    v = Part(config.get("vision_config"), kind)
    h, merge, patch = v.size("hidden_size"), v.size("spatial_merge_size"), v.size("patch_size")
    depth, window = v.size("depth"), v.size("window_size")
    full = v.get("fullatt_block_indexes")
    if not isinstance(full, list):
        raise LeftOutError("its fullatt_block_indexes are no list")
    channels = v.size("in_channels")
    for name in ("in_chans", "spatial_patch_size"):
        v.read.add(name)
    wide, out, more = h * merge * merge, v.size("out_hidden_size"), []
    if projects:
        more = [linear("projector", out, hidden, "merged", bias=True)]
    else:
        v.out("out_hidden_size", hidden)
    seen = len({each for each in full if isinstance(each, int) and 0 <= each < depth})
    found = [
        linear(
            "patch_embedding", channels * v.size("temporal_patch_size") * patch * patch, h, "patches", split="columns"
        ),
        *encoder(
            h,
            v.size("num_heads"),
            v.size("intermediate_size"),
            depth,
            affine=1,
            gated=True,
            windows=depth - seen,
            kv_heads=v.size("num_key_value_heads") if kind == "exaone4_5_vision" else 0,
        ),
        norm("merger_norm", h, affine=1),
        *projector("merger", wide, wide, out),
        *more,
    ]
    v.refuse_what_is_left()
    across = window // merge // patch * merge
    if not across:
        raise LeftOutError("its window_size is less than one token")
    return [tower(VISION, "resized", found, patch_size=patch, merge=merge, window=across, **QWEN_PIXELS)]


def qwen3(config: dict[str, Any], hidden: int, kind: str = "qwen3_vl_vision") -> Towers:
    """Qwen3-VL and Qwen3.5: learned positions; Qwen3-VL projects the states of some layers besides."""
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


FAMILIES: Families = {
    "exaone4_5": partial(qwen2_5, kind="exaone4_5_vision"),
    "hyperclovax_vision_v2": partial(qwen2_5, projects=True),
    "cosmos3_omni": qwen3,
    "qwen2_vl": qwen2,
    "qwen2_5_vl": qwen2_5,
    "qwen3_vl": qwen3,
    "qwen3_vl_moe": qwen3,
    "qwen3_5": partial(qwen3, kind="qwen3_5_vision"),
    "qwen3_5_moe": partial(qwen3, kind="qwen3_5_vision"),
    "qwen4_exp": partial(qwen3, kind="qwen3_5_vision"),
}
