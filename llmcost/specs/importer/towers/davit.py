"""Florence-2: DaViT (arXiv 2204.03645), whose layers see windows of places and groups of channels by turns.

Its four stages halve the sides of an image. The code that comes with microsoft/Florence-2-large has other names for
some keys.
"""

from __future__ import annotations

from typing import Any

from llmcost.specs.importer.towers.parts import (
    VISION,
    Families,
    LeftOutError,
    Operators,
    Part,
    Towers,
    linear,
    norm,
    projector,
    table,
    tower,
)

LISTS = ("depths", "patch_size", "patch_stride", "patch_padding", "embed_dim", "num_heads", "num_groups")
NAMES = {"dim_embed": "embed_dim"}  # of the code that comes with the models
IMAGE, STRIDES = 768, [4, 2, 2, 2]  # pixels a side (preprocessor_config.json of microsoft/Florence-2-large)
PLACES = ("patches", "half", "quarter", "eighth")  # of the four stages
RATIO = 4.0  # of the MLPs, in the code that comes with the models


def _florence(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(_renamed(config.get("vision_config")), "florence_vision")
    sizes = {name: _listed(v, name) for name in LISTS}
    normed = v.get("patch_prenorm")
    stages = len(sizes["embed_dim"])
    if any(len(each) != stages for each in sizes.values()) or not isinstance(normed, list | tuple):
        raise LeftOutError("its lists of stages are not equally long")
    if len(normed) != stages or not all(isinstance(each, bool) for each in normed):
        raise LeftOutError("its patch_prenorm is no list of true and false")
    ratio, bias = v.get("mlp_ratio"), v.flag("qkv_bias")
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 100:
        raise LeftOutError("its mlp_ratio is no number")
    window = v.size("window_size")
    found: Operators = []
    before = v.size("in_channels")
    for stage in range(stages):
        size = {name: each[stage] for name, each in sizes.items()}
        found += _stage(size, before, stage, int(size["embed_dim"] * ratio), first=normed[stage], bias=bias)
        before = size["embed_dim"]
    out = v.out("projection_dim", hidden)
    rows = v.size("max_position_embeddings")
    v.read.add("max_temporal_embeddings")  # fixed, and not stored
    found += [
        table("position_embedding", rows * before),
        linear("projector", before, out, "merged"),
        norm("projector_norm", out, "merged"),
    ]
    v.refuse_what_is_left()
    groups = {h // each for h, each in zip(sizes["embed_dim"], sizes["num_groups"], strict=True)}
    halved = stages == len(PLACES) and sizes["patch_stride"] == STRIDES and len(groups) == 1
    if not halved or IMAGE // 32 % window:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "stages", found, patch_size=4, image_size=IMAGE, window=window, extra=groups.pop())]


def _stage(size: dict[str, int], before: int, stage: int, middle: int, *, first: bool, bias: bool) -> Operators:
    """Patches of a stage, and its blocks: attention in windows, and attention among channels."""
    h, heads, groups = size["embed_dim"], size["num_heads"], size["num_groups"]
    if h % heads or h % groups:
        raise LeftOutError(f"{h} channels do not divide into {heads} heads and {groups} groups")
    if not middle:
        raise LeftOutError("its mlp_ratio is no number")
    at = PLACES[min(stage, len(PLACES) - 1)]
    each: dict[str, Any] = {"at": at, "count": 2 * size["depths"]}
    some: dict[str, Any] = {"at": at, "count": size["depths"]}
    name = f"stage_{stage + 1}"
    return [
        linear(f"{name}_patches", before * size["patch_size"] ** 2, h, at, bias=True, split="columns"),
        norm(f"{name}_patches_norm", before if first else h, at),
        linear(f"{name}_convolutions", 9, h, at, bias=True, count=4 * size["depths"]),  # of each channel by itself
        norm(f"{name}_norms", h, at, count=4 * size["depths"]),
        linear(f"{name}_qkv_proj", h, 3 * h, bias=bias, split="columns", **each),
        {"name": f"{name}_attention", **some, "sees": "keys", "heads": heads, "head_dim": h // heads},
        {
            "name": f"{name}_attention_of_channels",
            **some,
            "sees": "positions",
            "heads": groups,
            "head_dim": h // groups,
        },
        linear(f"{name}_o_proj", h, h, bias=True, split="rows", **each),
        *projector(f"{name}_mlp", h, middle, h, **each),
    ]


def _renamed(part: Any) -> Any:
    """The keys under the reference's names."""
    if not isinstance(part, dict) or part.get("model_type") != "davit":
        return part
    given = {NAMES.get(key, key): said for key, said in part.items()} | {"model_type": "florence_vision"}
    positions, times = given.pop("image_pos_embed", None), given.pop("visual_temporal_embedding", None)
    match positions, times:
        case (
            {"type": "learned_abs_2d", "max_pos_embeddings": int(rows)},
            {"type": "COSINE", "max_temporal_embeddings": int(frames)},
        ):
            given |= {"max_position_embeddings": rows, "max_temporal_embeddings": frames}
        case _:
            raise LeftOutError("its positions are not understood")
    if given.pop("image_feature_source", None) != ["spatial_avg_pool", "temporal_avg_pool"]:
        raise LeftOutError("its image_feature_source is not understood")
    given.pop("enable_checkpoint", None)
    return given | {"mlp_ratio": RATIO, "qkv_bias": True}


def _listed(v: Part, key: str) -> list[int]:
    """A list of whole numbers, one a stage."""
    said = v.get(key)
    if not isinstance(said, list | tuple) or not 0 < len(said) < 10:
        raise LeftOutError(f"its {key} is no list of sizes")
    if any(not isinstance(each, int) or isinstance(each, bool) or not 0 <= each < 10**6 for each in said):
        raise LeftOutError(f"its {key} is no list of sizes")
    if key != "patch_padding" and not all(said):
        raise LeftOutError(f"its {key} is no list of sizes")
    return list(said)


FAMILIES: Families = {"florence2": _florence}
