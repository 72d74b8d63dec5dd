"""How many tokens an image has that is cut into tiles: in the layers of a tower, and in the prompt.

Each family has a rule, which is that of the reference's image processor, as in image_tokens.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

from llmcost.model.image_tokens import ONE_SIZE, between
from llmcost.model.token_places import NOTHING, NotTakenError, Place, Tokens

LARGEST_SIDE = 4096  # pixels of an image that Idefics 3 takes in (MAX_IMAGE_SIZE)


def _tiles(tower: Any, wide: float, high: float) -> Tokens:
    """InternVL, Aya Vision: image_processing_got_ocr2.py, get_optimal_tiled_canvas; of several tiles a thumbnail comes.

    Each has `marks` beside it in the prompt.
    """
    tiles = math.prod(_grid(tower.image_size, wide, high, range(tower.least, tower.most + 1)))
    tiles += tiles > 1
    return _of_tiles(tower, tiles, separators=tiles * tower.marks)


def _grid(side: int, wide: float, high: float, tiles: range) -> tuple[int, int]:
    """How many tiles across and down, of so many in all, come closest to the shape of an image.

    Of equal ones the later one counts, with more tiles, if the image has more than half of their pixels.
    """
    grids = [grid for grid in product(range(1, tiles[-1] + 1), repeat=2) if grid[0] * grid[1] in tiles]
    best, nearest = (1, 1), math.inf
    for across, down in sorted(grids, key=math.prod):
        away = abs(wide / high - across / down)
        larger = wide * high > 0.5 * side**2 * across * down
        if away < nearest or (away == nearest and larger):
            best, nearest = (across, down), away
    return best


def _of_tiles(tower: Any, tiles: int, separators: int = 0) -> Tokens:
    """So many tiles of one size, each a sequence of its own."""
    side = tower.image_size // tower.patch_size
    patches, merged = side * side, (side // tower.merge) ** 2
    layers = (tiles, patches + tower.extra)
    return Tokens((tiles, patches), layers, layers, (tiles, merged), NOTHING, tiles * merged + separators)


def _tiles_or_resized(tower: Any, wide: float, high: float) -> Tokens:
    """LFM2-VL: image_processing_lfm2_vl.py. Up to `most` tokens an image is resized; larger ones become 2 to 10 tiles.

    Tiles of `image_size` pixels come with the resized image as a thumbnail, and each of them with a mark before it.
    Padding to the largest number of patches is not counted.
    """
    factor = tower.patch_size * tower.merge
    least, most = tower.least * factor**2, tower.most * factor**2
    h, w = between(high, wide, factor, least, most, smallest=factor, any_ratio=True)
    small = (h // tower.patch_size) * (w // tower.patch_size)
    across, down = (max(tower.patch_size, round(side / factor) * factor) for side in (wide, high))
    tiles = 0
    if across * down > 2 * most:
        tiles = math.prod(_grid(tower.image_size, wide, high, range(2, 11)))
    side = tower.image_size // tower.patch_size
    patches, pairs = tiles * side**2 + small, tiles * side**4 + small**2
    layers, merged = (patches * patches / pairs, pairs / patches), patches // tower.merge**2
    return Tokens((1, patches), layers, layers, (1, merged), NOTHING, merged + (tiles + 1 if tiles else 0))


def _tiles_and_whole(tower: Any, wide: float, high: float) -> Tokens:
    """DeepSeek-OCR: the image whole, and `least` to `most` tiles of `out` pixels where a side is longer than one.

    dynamic_preprocess of deepseek-ai/DeepSeek-OCR, modeling_deepseekocr.py. Sides are halved twice behind the layers;
    at keys are what is left and a token before it, at windows whole windows.
    """
    across, down, sides = _whole_and_tiles(tower, wide, high)
    halves = [(side + 1) // 2 for side in sides]
    left = [((half + 1) // 2) ** 2 for half in halves]
    patches = sum(side**2 for side in sides)
    windows = (sum((-(-side // tower.window)) ** 2 for side in sides), tower.window**2)
    quarter, short = (1, sum(left)), halves[-1] // 2
    whole = halves[0] // 2
    prompt = whole * (whole + 1) + 1 + (down * short * (across * short + 1) if across else 0)
    layers = _evenly([side**2 for side in sides])
    seen = _evenly([each + 1 for each in left])
    places = {"half": (1, sum(half**2 for half in halves)), "quarter": quarter, "keys": seen}
    return Tokens((1, patches), layers, windows, quarter, NOTHING, prompt, **places)


def _whole_and_tiles(tower: Any, wide: float, high: float) -> tuple[int, int, list[int]]:
    """Tiles across and down, and the patches a side of the whole and of each of them."""
    across = down = 0
    if max(wide, high) > tower.out:
        across, down = _grid(tower.out, wide, high, range(tower.least, tower.most + 1))
    return across, down, [tower.image_size // tower.patch_size] + [tower.out // tower.patch_size] * (across * down)


def _tiles_and_queries(tower: Any, wide: float, high: float) -> Tokens:
    """DeepSeek-OCR 2: image_processing_deepseek_ocr2.py. As many queries as patches are left see these and each other.

    They are its tokens, with a separator behind all.
    """
    found = _tiles_and_whole(tower, wide, high)
    _, _, sides = _whole_and_tiles(tower, wide, high)
    left = [(-(-side // 4)) ** 2 for side in sides]
    return found._replace(prompt=sum(left) + 1, keys=_evenly([2 * each for each in left]))


def _seen_twice(tower: Any, *_: float) -> Tokens:
    """DeepSeek-VL 7B: every image in two sizes, whose encoders hand on `merge` tokens a side.

    image_processing_deepseek_vl_hybrid.py. At keys are the patches of the smaller one; windows are padded.
    """
    side, seen = tower.image_size // tower.patch_size, tower.merge
    layers, merged = (1, side * side), (1, seen * seen)
    windows = ((-(-side // tower.window)) ** 2, tower.window**2) if tower.window else layers
    half = (1, 4 * seen * seen)
    return Tokens(layers, layers, windows, merged, NOTHING, seen * seen, half=half, quarter=merged, keys=merged)


def _evenly(sequences: list[int]) -> Place:
    """Sequences of equal length with as many tokens, and as many pairs of them, as these have."""
    tokens, pairs = sum(sequences), sum(each**2 for each in sequences)
    return tokens * tokens / pairs, pairs / tokens


def _slices(tower: Any, wide: float, high: float) -> Tokens:
    """MiniCPM-V: the image resized, and up to `most` slices of it (image_processing_minicpmv4_6.py).

    Its patches are merged twice. Where the rule has `out`, they become so many tokens a slice instead, by a resampler:
    its queries see the patches of their slice, of which there are evenly many at keys. In the prompt each slice
    stands between two marks, and breaks stand between their rows.
    """
    unit = tower.patch_size * tower.merge
    rows, columns = _grid_of_slices(tower, wide, high)
    sizes = [_resized_slice(tower, wide, high, unit, enlarge=not rows)]
    if rows:
        across, down = (max(round(side / parts) * parts, parts) for side, parts in ((wide, columns), (high, rows)))
        sizes += [_resized_slice(tower, across / columns, down / rows, unit, enlarge=True)] * (rows * columns)
    each = [high * wide for high, wide in sizes]
    patches, pairs = sum(each), sum(one * one for one in each)
    whole = (patches * patches / pairs, pairs / patches)
    apart = 2 * (len(sizes) - 1) + max(0, rows - 1)
    if tower.out:
        evenly, merged = (len(sizes), patches / len(sizes)), (len(sizes), tower.out)
        return Tokens(whole, whole, whole, merged, NOTHING, len(sizes) * tower.out + apart, keys=evenly)
    half, quarter = (whole[0], whole[1] / 4), (1, patches // tower.merge**2)
    return Tokens(whole, whole, (patches / 4, 4), quarter, NOTHING, quarter[1] + apart, half=half, quarter=quarter)


def _grid_of_slices(tower: Any, wide: float, high: float) -> tuple[int, int]:
    """Rows and columns of the slices that come closest to the shape of an image; none of one as small as a slice."""
    wanted = min(math.ceil(wide * high / tower.image_size**2), tower.most)
    if wanted <= 1:
        return 0, 0
    best, nearest = (1, 1), math.inf
    for slices in (wanted - 1, wanted, wanted + 1):
        for rows in range(1, slices + 1):
            if 1 < slices <= tower.most and slices % rows == 0:
                away = abs(math.log(wide / high) - math.log(slices // rows / rows))
                if away < nearest or (away == nearest and rows > best[0]):
                    best, nearest = (rows, slices // rows), away
    return best


def _resized_slice(tower: Any, wide: float, high: float, unit: int, *, enlarge: bool) -> tuple[int, int]:
    """Patches down and across of a slice, or of the whole image, with about the area of a slice at most."""
    if enlarge or wide * high > tower.image_size**2:
        ratio = wide / high
        high = int(tower.image_size / math.sqrt(ratio))
        wide = int(high * ratio)
    down, across = (max(round(side / unit) * unit, unit) for side in (high, wide))
    return down // tower.patch_size, across // tower.patch_size


def _splits(tower: Any, wide: float, high: float) -> Tokens:
    """Idefics 3 and SmolVLM: tiles of `image_size`, the longer side `most`, and the whole image as one more.

    image_processing_idefics3.py; processing_idefics3.py for two marks a tile, a break a row, and three of the whole.
    """
    side, (long, short) = tower.image_size, (max(wide, high), min(wide, high))
    less = int(tower.most * short / long)
    less += less % 2
    largest = -(-min(tower.most, LARGEST_SIDE) // side)
    fewest = -(-max(1, int(largest * side * max(1, less) / tower.most)) // side)
    found = _of_tiles(tower, largest * fewest + 1)
    rows = largest if high > wide else fewest
    return found._replace(prompt=found.prompt + 2 * largest * fewest + rows + 3)


def _tiles_together(tower: Any, *_: float) -> Tokens:
    """Llama 3.2 Vision: every image is as many tiles as the encoder takes, and empty ones are computed too.

    image_processing_mllama.py. In layers a tile's patches and its class come in eights, and see those of all tiles;
    behind them the padding is left out. In the prompt an image is one token.
    """
    patches = (tower.image_size // tower.patch_size) ** 2
    each = patches + tower.extra
    padded = -(-each // 8) * 8
    tiles = tower.most
    layers = (1, tiles * padded)
    return Tokens((tiles, patches), layers, layers, (1, tiles * each), NOTHING, 1)


def _canvas(tower: Any, wide: float, high: float) -> Tokens:
    """Llama 4: image_processing_llama4.py, get_best_fit, and processing_llama4.py for the separators.

    Command A Vision: image_processing_cohere2_vision.py, the same but for `marks` beside each tile instead.
    """
    grids = [grid for grid in product(range(1, tower.most + 1), repeat=2) if grid[0] * grid[1] <= tower.most]
    side = tower.image_size
    scales = {grid: min(grid[0] * side / high, grid[1] * side / wide) for grid in grids}
    enlarging = [scale for scale in scales.values() if scale >= 1]
    chosen = min(enlarging) if enlarging else max(scales.values())
    down, across = min((grid for grid in grids if scales[grid] == chosen), key=lambda grid: grid[0] * grid[1])
    tiles = down * across
    if tower.marks:
        tiles += tiles > 1
        return _of_tiles(tower, tiles, separators=tiles * tower.marks)
    if tiles == 1:
        return _of_tiles(tower, 1)
    return _of_tiles(tower, tiles + 1, separators=down * (across - 1) + down)


def _grids(tower: Any, wide: float, high: float) -> Tokens:
    """LLaVA-NeXT and LLaVA-OneVision: the image whole, and in one of `grids` of tiles.

    processing_llava_next.py, processing_llava_onevision.py: what pads the grid to the image's shape is left away behind
    the projector, a break stands behind each row, and beyond `most` tiles the grid is scaled down.
    """
    patches = tower.image_size // tower.patch_size
    rows, columns = _best_grid(tower, wide, high)
    tiles = rows * columns + 1
    down, across = patches * rows, patches * columns
    if wide / high > across / down:
        down -= (down - int(round(high * (across / wide), 7))) // 2 * 2
    else:
        across -= (across - int(round(wide * (down / high), 7))) // 2 * 2
    ratio = math.sqrt(down * across / (tower.most * patches**2)) if tower.most else 0
    if ratio > SCALED_DOWN:
        down, across = int(down // ratio), int(across // ratio)
    layers = (tiles, patches**2 + tower.extra)
    return Tokens((tiles, patches**2), layers, layers, (tiles, patches**2), NOTHING, patches**2 + down * (across + 1))


def _grids_and_whole(tower: Any, wide: float, high: float) -> Tokens:
    """DeepSeek-VL2: the image whole and in one of `grids` of tiles, each padded to whole tokens.

    get_num_image_tokens of vLLM's deepseek_vl2.py: a break stands behind each row of both, a mark between them. Of more
    than two images in a prompt each is whole alone, which is not counted.
    """
    patches = tower.image_size // tower.patch_size
    side = -(-patches // tower.merge)
    rows, columns = _best_grid(tower, wide, high)
    tiles = rows * columns + 1
    layers = (tiles, patches**2)
    prompt = side * (side + 1) + rows * side * (columns * side + 1) + 1
    return Tokens(layers, layers, layers, (tiles, side * side), NOTHING, prompt)


SCALED_DOWN = 1.1  # times more patches a side than OneVision's grids may have, beyond which they are scaled down


def _best_grid(tower: Any, wide: float, high: float) -> tuple[int, int]:
    """Rows and columns of the grid that keeps most of an image, and of those the least pixels besides."""

    def kept(grid: tuple[int, int]) -> tuple[float, float]:
        down, across = (tiles * tower.image_size for tiles in grid)
        scale = min(across / wide, down / high)
        pixels = min(int(wide * scale) * int(high * scale), wide * high)
        return pixels, pixels - down * across

    best: tuple[int, int] = max(tower.grids, key=kept)
    return best


def _sliding(tower: Any, wide: float, high: float) -> Tokens:
    """Step-3.7: the image whole, and windows of it that are resized to `window` pixels; each stands between two marks.

    image_processing_step3p7.py, `_plan_patches`: how many windows by the image's shape; a break behind each row of
    them but the last. Two convolutions of stride 2 come behind the layers.
    """
    if min(wide, high) < THIN and max(wide, high) > THIN_RATIO * min(wide, high):
        wide = high = max(wide, high)
    if max(wide, high) > tower.most:
        scale = tower.most / max(wide, high)
        wide, high = int(wide * scale), int(high * scale)
    across, down = _windows(tower, wide, high)
    sides = [tower.image_size // tower.patch_size] + [tower.window // tower.patch_size] * (across * down)
    patches, pairs = sum(side**2 for side in sides), sum(side**4 for side in sides)
    layers = (patches * patches / pairs, pairs / patches)
    half, quarter = (sum(((side - 1) // by + 1) ** 2 for side in sides) for by in (2, 4))
    prompt = quarter + 2 * across * down + max(0, down - 1)
    return Tokens((1, patches), layers, layers, (1, quarter), NOTHING, prompt, half=(1, half), quarter=(1, quarter))


THIN, THIN_RATIO = 32, 4  # pixels of the shorter side, and the ratio, beyond which Step-3.7 pads an image to a square

LONG, ROUNDED_UP = 1.5, 0.2  # the ratio from which a small image has windows; the rest that makes one more of them


def _windows(tower: Any, wide: float, high: float) -> tuple[int, int]:
    """Windows across and down; none of an image that is as small as the whole and not long."""
    short, long = min(wide, high), max(wide, high)
    if long <= tower.image_size:
        window = short if long / short > LONG else 0
    else:
        window = min(short, tower.window) if long / short > THIN_RATIO else tower.window
    if not window:
        return 0, 0
    across, down = (
        max(1, int(side // window + (side >= window and side % window > ROUNDED_UP * window))) for side in (wide, high)
    )
    return across, down


def _crops(tower: Any, wide: float, high: float) -> Tokens:
    """Phi-4 multimodal: the image whole, and `most` crops at most that cover it; four patches become one token.

    image_processing_phi4_multimodal.py: the image is not enlarged beyond the crops' border on its shorter side, and
    what pads it there is left away behind the layers. A break stands behind each row, a mark between both parts.
    """
    side, patches = tower.image_size, tower.image_size // tower.patch_size
    across, down = math.ceil(wide / side), math.ceil(high / side)
    if across * down > tower.most:
        across, down = _grid(side, wide, high, range(1, tower.most + 1))
    scale = min(across * side / wide, down * side / high)
    padded = [parts * side - int(given * scale) for given, parts in ((wide, across), (high, down))]
    if across * side / wide < down * side / high:
        padded[0] = 0
    else:
        padded[1] = 0
    if min(across * side - padded[0], down * side - padded[1]) < SMALLEST_CROP:
        raise NotTakenError("less than 10 pixels of one side are left, which the processor refuses")
    columns, rows = (
        -(-(parts * patches - (pad // tower.patch_size)) // 2)
        for parts, pad in zip((across, down), padded, strict=True)
    )
    token, tiles = -(-patches // 2), across * down + 1
    layers = (tiles, patches**2)
    prompt = token * (token + 1) + 1 + rows * (columns + 1)
    return Tokens((tiles, patches**2), layers, layers, (1, prompt), NOTHING, prompt)


SMALLEST_CROP = 10  # pixels


def _covering(tower: Any, wide: float, high: float) -> Tokens:
    """Ovis 2: the image whole, and the fewest tiles that show nine tenths of it; between and behind them stand marks.

    image_processing_ovis2.py, get_min_tile_covering_grid: how much of a tile's part is shown, where its longer side is
    scaled to `image_size`.
    """
    grids = [
        (down, across) for down, across in product(range(1, tower.most + 1), repeat=2) if down * across <= tower.most
    ]
    shown = {grid: _shown(tower.image_size, int(wide), int(high), *grid) for grid in sorted(grids, key=math.prod)}
    enough = [grid for grid, share in shown.items() if share > COVERED]
    if enough:
        down, across = min(enough, key=lambda grid: (math.prod(grid), -shown[grid]))
    else:
        down, across = min(shown, key=lambda grid: (-shown[grid], math.prod(grid)))
    tiles = down * across
    return _of_tiles(tower, tiles + 1 if tiles > 1 else 1, separators=tiles)


def _overlapping(tower: Any, wide: float, high: float) -> Tokens:
    """Molmo 2: the image whole, and crops whose borders overlap; each window of 2 x 2 patches becomes one token.

    image_processing_molmo2.py: crops are `image_size` pixels, of which MARGIN patches on each side are seen by their
    neighbours too. processing_molmo2.py: a break behind each row, and two marks between both parts. At keys are the
    patches of each window, which its mean looks at, at windows.
    """
    patches = tower.image_size // tower.patch_size
    step, edges = (patches - 2 * MARGIN) * tower.patch_size, 2 * MARGIN * tower.patch_size
    grids = sorted(
        (grid for grid in product(range(1, tower.most + 1), repeat=2) if math.prod(grid) <= tower.most),
        key=lambda grid: (math.prod(grid), grid[0]),
    )
    if min(wide, high) <= edges:
        raise NotTakenError(f"a side is no longer than {edges} pixels, which the processor's crops overlap by")
    scales = {grid: min(grid[0] * step / (high - edges), grid[1] * step / (wide - edges)) for grid in grids}
    enlarging = {grid: scale for grid, scale in scales.items() if scale >= 1}
    down, across = min(enlarging, key=lambda grid: scales[grid]) if enlarging else max(scales, key=lambda g: scales[g])
    rows, columns = (-(-(parts * (patches - 2 * MARGIN) + 2 * MARGIN) // 2) for parts in (down, across))
    small, crops = -(-patches // 2), down * across + 1
    tokens = small * small + rows * columns
    layers = (crops, patches**2)
    prompt = small * (small + 1) + rows * (columns + 1) + 2
    return Tokens((crops, patches**2), layers, (tokens, 1), (1, tokens), NOTHING, prompt, keys=(tokens, 4))


MARGIN = 4  # patches on each side of a crop


def _stages(tower: Any, *_: float) -> Tokens:
    """Florence-2: every image is scaled to one size, whose sides are halved from stage to stage of the encoder.

    At keys are the places of a window, at positions the channels of a group, which see each other. The prompt has the
    last stage's places and their mean.
    """
    side = tower.image_size // tower.patch_size
    patches, half, quarter, eighth = ((1, (side >> stage) ** 2) for stage in range(4))
    out = (1, eighth[1] + 1)
    seen: dict[str, Place] = {"keys": (1, tower.window**2), "positions": (1, tower.extra)}
    return Tokens(patches, patches, patches, out, NOTHING, out[1], half=half, quarter=quarter, eighth=eighth, **seen)


COVERED = 0.9  # of an image's pixels


def _shown(side: int, wide: int, high: int, down: int, across: int) -> float:
    """The share of an image that tiles of `side` pixels show, where the last of a row or column takes the rest."""

    def pixels(long: float, short: float) -> float:
        return side * (short / long * side) if long > side else long * short  # in the reference's order

    heights = [high // down] * (down - 1) + [high - high // down * (down - 1)]
    widths = [wide // across] * (across - 1) + [wide - wide // across * (across - 1)]
    return sum(pixels(max(h, w), min(h, w)) for h in heights for w in widths) / (wide * high)


TILES: dict[str, tuple[Callable[..., Tokens], tuple[str, ...]]] = {
    "tiles-and-queries": (_tiles_and_queries, (*ONE_SIZE, "window", "least", "most", "out")),
    "seen-twice": (_seen_twice, (*ONE_SIZE, "merge")),
    "crops-that-overlap": (_overlapping, (*ONE_SIZE, "most")),
    "stages": (_stages, (*ONE_SIZE, "window", "extra")),
    "tiles-and-whole": (_tiles_and_whole, (*ONE_SIZE, "window", "least", "most", "out")),
    "tiles": (_tiles, (*ONE_SIZE, "least", "most")),
    "tiles-or-resized": (_tiles_or_resized, (*ONE_SIZE, "least", "most")),
    "tiles-together": (_tiles_together, (*ONE_SIZE, "most")),
    "crops": (_crops, (*ONE_SIZE, "most")),
    "covering": (_covering, (*ONE_SIZE, "most")),
    "canvas": (_canvas, (*ONE_SIZE, "most")),
    "grids": (_grids, (*ONE_SIZE, "grids")),
    "grids-and-whole": (_grids_and_whole, (*ONE_SIZE, "grids")),
    "sliding": (_sliding, (*ONE_SIZE, "window", "most")),
    "slices": (_slices, (*ONE_SIZE, "most")),
    "splits": (_splits, (*ONE_SIZE, "most")),
}
