"""Towers of Inkling, Inkling 2 and Fuyu: patches of an image as it is, without being scaled to any size."""

from __future__ import annotations

import math
from itertools import accumulate, combinations, pairwise
from operator import mul
from typing import Any

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

LARGEST_PATCH = 1024  # pixels a side that are believed


# -- Inkling ----------------------------------------------------------------------------------------------------------


def _inkling(config: dict[str, Any], hidden: int) -> Towers:
    """Patches whose places are folded into channels, layer by layer; sound as codes of mel bins that are looked up."""
    v, a = Part(config.get("vision_config"), "inkling_vision"), Part(config.get("audio_config"), "inkling_audio")
    for key in ("hidden_size", "num_attention_heads"):  # which its class has and does not use
        v.read.add(key)
    v.out("text_hidden_size", hidden)
    a.out("text_hidden_size", hidden)
    seen = [*_folded(v, hidden), norm("final_norm", hidden, affine=1)]
    codes = a.size("n_mel_bins") * a.size("mel_vocab_size")
    heard = [table("codes", codes * hidden), norm("norm", hidden, "merged", affine=1)]
    v.refuse_what_is_left()
    a.refuse_what_is_left()
    return [tower(VISION, "cut", seen, patch_size=v.size("patch_size")), tower(AUDIO, "hops", heard, image_size=HOP)]


HOP = 800  # samples of a token: 0.05 s (feature_extraction_inkling.py)


def _folded(v: Part, hidden: int) -> Operators:
    """Layers between scales, each of which folds so many frames, rows and columns into channels."""
    patch, frames, channels, depth = (
        v.size(key) for key in ("patch_size", "temporal_patch_size", "num_channels", "n_layers")
    )
    if not 1 < patch <= LARGEST_PATCH or frames > LARGEST_PATCH or depth > LARGEST_PATCH:
        raise LeftOutError("its sizes are beyond what is read")
    scales = planned(patch, frames, channels, depth)
    found: Operators = []
    for at, ((t, side, c), (to_t, to_side, to_c)) in enumerate(pairwise(scales)):
        last = at == depth - 1
        places = (frames // to_t) * (patch // to_side) ** 2  # of a patch, behind this layer
        inputs, outputs = c * (to_t // t) * (to_side // side) ** 2, hidden if last else to_c
        found.append(linear(f"fold_{at + 1}", inputs, outputs, across=places))
        if not last:
            width = {"width": places * outputs, "weights": outputs}
            found.append({"name": f"fold_norm_{at + 1}", "at": "layers", **width})
    return found


def planned(patch: int, frames: int, channels: int, depth: int) -> list[tuple[int, int, int]]:
    """Frames, pixels a side and channels at each of depth + 1 scales, as `plan_out_scales` of modeling_inkling.py.

    Scales grow by the prime factors of a patch's side, the largest first, then by those of its frames. Each layer takes
    the scale whose elements are nearest to an even growth in logarithms; where layers are fewer than scales, no scale
    is taken twice, and the sum of these distances is least.
    """
    sides, times = (list(accumulate(_primes(number)[::-1], mul)) for number in (patch, frames))
    wide = [(1, 1, channels)] + [(1, h, 64 * math.ceil(h * h * channels / 64)) for h in sides]
    side = sides[-1]
    scales = wide + [(t, side, 64 * side * side * channels * t) for t in times]  # so many, not rounded to 64
    sizes = [math.log(t * h * h) for t, h, _ in scales]
    total = math.log(patch * patch * frames * channels)
    costs = [[abs(total * at / depth - size) for size in sizes] for at in range(depth + 1)]
    taken = [_nearest(row) for row in costs] if depth >= len(scales) else _assigned(costs)
    taken[0], taken[-1] = 0, len(scales) - 1
    return [scales[each] for each in taken]


def _nearest(row: list[float]) -> int:
    """The column of least cost. Raises LeftOutError where two are as near: rounding decides there."""
    best, *others = sorted(range(len(row)), key=row.__getitem__)
    if any(row[each] - row[best] < ROUNDING for each in others):
        raise LeftOutError("two scales of its layers are as near as each other")
    return best


ROUNDING = 1e-5  # of logarithms, which the reference takes as 32-bit floats


def _primes(number: int) -> list[int]:
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found


def _assigned(costs: list[list[float]]) -> list[int]:
    """A column for each row, each once, of least cost; as both rise, the best one rises too.

    Raises LeftOutError where another is as good.
    """
    columns = len(costs[0])
    best: list[tuple[float, list[int]]] = [(0.0, [])] * (columns + 1)  # of the first columns alone
    for row in costs:
        before, best = best, [(math.inf, [])]
        for column in range(columns):
            cost, taken = before[column]
            best.append(min(best[column], (cost + row[column], [*taken, column])))
    taken = best[-1][1]
    free = set(range(columns)) - set(taken)
    moves = [row[to] - row[at] for row, at in zip(costs, taken, strict=True) for to in free]
    swaps = [
        one[b] + other[a] - one[a] - other[b]
        for (one, a), (other, b) in combinations(zip(costs, taken, strict=True), 2)
    ]
    if min(moves + swaps) < ROUNDING:
        raise LeftOutError("two scales of its layers are as near as each other")
    return taken


# -- Inkling 2 --------------------------------------------------------------------------------------------------------


def _inkling2(config: dict[str, Any], hidden: int) -> Towers:
    """A token for a class before the patches of an image, scales of both branches, four patches to a token."""
    v = Part(config.get("vision_config"), "inkling2_vision")
    h, heads, depth, patch, merge = (
        v.size(key)
        for key in ("hidden_size", "num_attention_heads", "num_hidden_layers", "patch_size", "spatial_merge_size")
    )
    ratio = v.get("mlp_ratio")
    if not isinstance(ratio, int | float) or not 0 < ratio < 100:
        raise LeftOutError("its mlp_ratio is no number")
    middle = int(h * ratio) if v.get("intermediate_size") is None else v.size("intermediate_size")
    v.read.add("layer_scale_init_value")  # with which scales begin that are there whatever it is
    wide, inner, out = h * merge * merge, v.size("projection_hidden_dim"), v.out("text_hidden_size", hidden)
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        table("class_and_positions", (v.size("posemb_grid_size") ** 2 + 2) * h),
        norm("first_norm", h),
        *encoder(h, heads, middle, depth, scales=2 * h),
        *projector("projector", wide, inner, out, bias=v.flag("projector_bias")),
    ]
    v.refuse_what_is_left()
    return [tower(VISION, "padded", found, patch_size=patch, merge=merge, extra=1)]


# -- Fuyu -------------------------------------------------------------------------------------------------------------


def _fuyu(config: dict[str, Any], hidden: int) -> Towers:
    """Patches are projected into the text model, and nothing else is there."""
    whole = Part(config, "fuyu")
    patch = whole.size("patch_size")
    pixels = whole.size("num_channels") * patch * patch
    return [tower(VISION, "rows", [linear("projector", pixels, hidden, "merged", bias=True)], patch_size=patch)]


FAMILIES: Families = {
    "fuyu": _fuyu,
    "inkling2": _inkling2,
    "inkling2_loop": _inkling2,
    "inkling_mm_model": _inkling,
}
