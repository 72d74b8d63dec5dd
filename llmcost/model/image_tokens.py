"""How many tokens an image has, in the layers of a tower and in the prompt, by the rule of its family.

Each rule is that of the reference's image processor (github.com/huggingface/transformers, src/transformers/models/…,
v5): how it resizes or cuts an image, and how many tokens stand for it. Line breaks and separators between tiles count
where the processor puts them; marks before and after an image do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llmcost.model.token_places import NOTHING, NotTakenError, Place, Tokens

LARGEST_RATIO = 200  # of the longer side to the shorter, beyond which Qwen's processors refuse an image


def _of_a_grid(tower: Any, high: int, wide: int, prompt: int | None = None) -> Tokens:
    """An image of high × wide patches, all of which see each other."""
    patches, merged = high * wide, (high // tower.merge) * (wide // tower.merge)
    windows: Place = (1, patches)
    if tower.window:
        pairs = _squares(high, tower.window) * _squares(wide, tower.window)
        windows = (patches * patches / pairs, pairs / patches)
    layers = (1, patches + tower.extra)
    return Tokens((1, patches), layers, windows, (1, merged), NOTHING, merged if prompt is None else prompt)


def _squares(side: int, window: int) -> int:
    """The sum of squares of the parts that windows cut a side into."""
    whole, rest = divmod(side, window)
    return whole * window * window + rest * rest


def between(
    high: float, wide: float, factor: int, least: float, most: float, *, smallest: int = 0, any_ratio: bool = False
) -> tuple[int, int]:
    """Both sides as multiples of a factor, `smallest` at least, the area within bounds: `smart_resize` of qwen2_vl."""
    if not any_ratio and max(high, wide) > LARGEST_RATIO * min(high, wide):
        raise NotTakenError(f"one side is more than {LARGEST_RATIO} times the other, which the processor refuses")
    h, w = (max(smallest, round(side / factor) * factor) for side in (high, wide))
    if h * w > most:
        beta = math.sqrt(high * wide / most)
        h, w = (max(factor, math.floor(side / beta / factor) * factor) for side in (high, wide))
    elif h * w < least:
        beta = math.sqrt(least / (high * wide))
        h, w = (math.ceil(side * beta / factor) * factor for side in (high, wide))
    return h, w


def _resized(tower: Any, wide: float, high: float) -> Tokens:
    """Qwen2-VL, 2.5-VL, 3-VL, 3.5: image_processing_qwen2_vl.py."""
    h, w = between(high, wide, tower.patch_size * tower.merge, tower.least, tower.most)
    return _of_a_grid(tower, h // tower.patch_size, w // tower.patch_size)


def _resized_frames(tower: Any, wide: float, high: float) -> Tokens:
    """GLM-4V: image_processing_glm4v.py, which counts an image as two frames, and enlarges what is below a patch."""
    factor = tower.patch_size * tower.merge
    if high < factor or wide < factor:
        scale = max(factor / high, factor / wide)
        high, wide = int(high * scale), int(wide * scale)
    h, w = between(high, wide, factor, tower.least / 2, tower.most / 2)
    return _of_a_grid(tower, h // tower.patch_size, w // tower.patch_size)


def _resized_rows(tower: Any, wide: float, high: float) -> Tokens:
    """HunyuanOCR: image_processing_hunyuan_vl.py; a break behind each row, and a mark before and behind the image."""
    found = _resized(tower, wide, high)
    h, w = between(high, wide, tower.patch_size * tower.merge, tower.least, tower.most)
    rows, columns = h // (tower.patch_size * tower.merge), w // (tower.patch_size * tower.merge)
    return found._replace(prompt=rows * (columns + 1) + 2)


def _halved_twice(tower: Any, *_: float) -> Tokens:
    """GOT-OCR: every image is scaled to one size, and its sides are halved twice behind the layers.

    image_processing_got_ocr2.py without cropping. Windows are padded to whole ones.
    """
    side = tower.image_size // tower.patch_size
    half = (side + 1) // 2
    quarter = (half + 1) // 2
    windows = (-(-side // tower.window)) ** 2 if tower.window else 0
    layers, merged = (1, side * side), (1, quarter * quarter)
    seen: Place = (windows, tower.window**2) if windows else layers
    return Tokens(layers, layers, seen, merged, NOTHING, merged[1], half=(1, half * half), quarter=merged)


def _halved_five_times(tower: Any, *_: float) -> Tokens:
    """Gemma 3n, FastVLM: every image is scaled to one size and halved by convolutions, and `out` tokens are left.

    Patches are half the pixels' sides, and so on to keys, a 32nd of them. At windows is the whole image as one place.
    """
    patches, half, quarter, eighth, keys = ((1, (tower.image_size >> times) ** 2) for times in range(1, 6))
    places = {"half": half, "quarter": quarter, "eighth": eighth, "keys": keys}
    return Tokens(patches, patches, (1, 1), (1, tower.out), NOTHING, tower.out, **places)


def _square(tower: Any, *_: float) -> Tokens:
    """Every image is scaled to one size (SigLIP, CLIP): Gemma 3, LLaVA 1.5, BLIP-2.

    At keys are the states that queries look at, and the queries themselves.
    """
    side = tower.image_size // tower.patch_size
    found = _of_a_grid(tower, side, side, tower.out or None)
    return found._replace(merged=(1, found.prompt), keys=(1, found.layers[1] + found.prompt))


def _longest_edge(tower: Any, wide: float, high: float) -> Tokens:
    """Pixtral, Mistral 3: image_processing_pixtral.py; each row of tokens ends with one for the line break."""
    ratio = max(high / tower.image_size, wide / tower.image_size)
    if ratio > 1:
        high, wide = max(1, math.floor(high / ratio)), max(1, math.floor(wide / ratio))
    factor = tower.patch_size * tower.merge
    rows, columns = (int((side - 1) // factor) + 1 for side in (high, wide))
    return _of_a_grid(tower, rows * tower.merge, columns * tower.merge, rows * (columns + 1))


def _budget(tower: Any, wide: float, high: float) -> Tokens:
    """Gemma 4: image_processing_gemma4.py, get_aspect_ratio_preserving_size: as many patches as `most` allows.

    Both sides are whole tokens, rounded down; padding to `most` patches is not counted.
    """
    side = tower.patch_size * tower.merge
    scale = math.sqrt(tower.most * tower.patch_size**2 / (high * wide))
    rows, columns = (math.floor(each * scale / side) for each in (high, wide))
    longest = tower.most // tower.merge**2
    if not rows and not columns:
        raise NotTakenError("nothing of it is left at this size, which the processor refuses")
    if not rows:
        rows, columns = 1, min(math.floor(wide / high), longest)
    elif not columns:
        rows, columns = min(math.floor(high / wide), longest), 1
    return _of_a_grid(tower, rows * tower.merge, columns * tower.merge)


def _navit(tower: Any, wide: float, high: float) -> Tokens:
    """Kimi K2.5: image_processing_kimi_k25.py, navit_resize; the sides are padded to whole tokens."""
    patch, largest = tower.patch_size, tower.image_size
    patches = max(1, high // patch) * max(1, wide // patch)
    scale = min(1, math.sqrt(tower.most / patches), largest * patch / high, largest * patch / wide)
    factor = patch * tower.merge
    h, w = (min(max(1, int(side * scale)), largest * patch) for side in (high, wide))
    return _of_a_grid(tower, -(-h // factor) * tower.merge, -(-w // factor) * tower.merge)


def _resampled(tower: Any, wide: float, high: float) -> Tokens:
    """Idefics 2: an image in its shape, `least` to `most` pixels a side, whose patches become `out` tokens.

    image_processing_idefics2.py, without the splitting that it can do. At keys are the patches and the queries.
    """
    ratio = wide / high
    if wide >= high and wide > tower.most:
        wide, high = tower.most, int(tower.most / ratio)
    elif high > wide and high > tower.most:
        wide, high = int(tower.most * ratio), tower.most
    down, across = (int(max(side, tower.least)) // tower.patch_size for side in (high, wide))
    found = _of_a_grid(tower, down, across, tower.out)
    return found._replace(merged=(1, tower.out), keys=(1, down * across + tower.out))


def _aligned(tower: Any, wide: float, high: float) -> Tokens:
    """GLM-5.3: image_processing_glm5_next.py; both sides padded to whole tokens, `least` to `most` tokens an image."""
    factor = tower.patch_size * tower.merge
    h, w = (-(-int(side) // factor) for side in (high, wide))
    if h * w < tower.least:
        scale = math.sqrt(tower.least * factor**2 / (high * wide))
        h, w = (-(-max(1, math.ceil(side * scale)) // factor) for side in (high, wide))
    if h * w > tower.most:
        h, w = _largest_within(int(high), int(wide), factor, tower.most)
    return _of_a_grid(tower, h * tower.merge, w * tower.merge)


def _largest_within(high: int, wide: int, factor: int, most: int) -> tuple[int, int]:
    """Rows and columns of tokens of the largest image of a shape that has so many at most."""
    low, up, best = 1, high, (1, 1)
    while low <= up:
        middle = (low + up) // 2
        rows, columns = -(-middle // factor), -(-max(1, wide * middle // high) // factor)
        if rows * columns <= most:
            best, low = (rows, columns), middle + 1
        else:
            up = middle - 1
    return best


def _cut(tower: Any, wide: float, high: float) -> Tokens:
    """Inkling: image_processing_inkling.py; patches of the image as it is, a column of them more than are whole."""
    return _of_a_grid(tower, -(-int(high) // tower.patch_size), int(wide) // tower.patch_size + 1)


def _padded(tower: Any, wide: float, high: float) -> Tokens:
    """Inkling 2: image_processing_inkling2.py; the image as it is, padded to whole tokens."""
    side = tower.patch_size * tower.merge
    rows, columns = (-(-int(each) // side) * tower.merge for each in (high, wide))
    return _of_a_grid(tower, rows, columns)


FUYU_HIGH, FUYU_WIDE = 1080, 1920  # pixels that an image has at most (image_processing_fuyu.py)


def _rows(tower: Any, wide: float, high: float) -> Tokens:
    """Fuyu: image_processing_fuyu.py; larger images are scaled down, and each row of patches ends with a break."""
    if wide > FUYU_WIDE or high > FUYU_HIGH:
        scale = min(FUYU_HIGH / high, FUYU_WIDE / wide)
        high, wide = int(high * scale), int(wide * scale)
    rows, columns = (-(-int(side) // tower.patch_size) for side in (high, wide))
    return _of_a_grid(tower, rows, columns, rows * (columns + 1))


PIXELS = ("patch_size", "least", "most")
ONE_SIZE = ("patch_size", "image_size")
IMAGES: dict[str, tuple[Callable[..., Tokens], tuple[str, ...]]] = {
    "aligned": (_aligned, PIXELS),
    "cut": (_cut, ("patch_size",)),
    "padded": (_padded, ("patch_size",)),
    "rows": (_rows, ("patch_size",)),
    "resized": (_resized, PIXELS),
    "resized-rows": (_resized_rows, PIXELS),
    "halved-twice": (_halved_twice, ONE_SIZE),
    "resized-frames": (_resized_frames, PIXELS),
    "resampled": (_resampled, (*PIXELS, "out")),
    "halved-five-times": (_halved_five_times, ("image_size", "out")),
    "square": (_square, ONE_SIZE),
    "longest-edge": (_longest_edge, ONE_SIZE),
    "budget": (_budget, ("patch_size", "most")),
    "navit": (_navit, (*ONE_SIZE, "most")),
}
