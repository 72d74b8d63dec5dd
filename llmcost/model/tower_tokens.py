"""How many tokens an image or a sound has, in the layers of a tower and in the prompt, by the rule of its family.

Each rule is that of the reference's image or audio processor (github.com/huggingface/transformers, src/transformers/
models/…, v5): how it resizes or cuts an image, and how many tokens stand for it. Line breaks and separators between
tiles count where the processor puts them; marks before and after an image do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias

Rule: TypeAlias = Literal[
    "resized",
    "resized-frames",
    "square",
    "longest-edge",
    "tiles",
    "tiles-or-resized",
    "tiles-together",
    "budget",
    "canvas",
    "navit",
    "whisper",
    "audio-chunks",
    "whisper-once",
    "audio-windows",
    "slices",
    "splits",
    "unknown",
]
AUDIO = ("whisper", "audio-chunks", "whisper-once", "audio-windows")
Place: TypeAlias = tuple[float, float]  # sequences, and tokens of each
NOTHING: Place = (0, 0)
SECOND = 100  # mel frames a second: hops of 160 samples at 16 kHz (WhisperFeatureExtractor)
PIECE = 30  # seconds of sound that Whisper's encoder reads (arXiv 2212.04356, section 2.2)
LARGEST_SIDE = 4096  # pixels of an image that Idefics 3 takes in (MAX_IMAGE_SIZE)
LARGEST_RATIO = 200  # of the longer side to the shorter, beyond which Qwen's processors refuse an image


class Tokens(NamedTuple):
    """Of one image or sound: sequences and tokens of each, where patches or frames come in, in layers, and behind them.

    `windows`: where layers see windows alone; windows that are cut off at the border count with their own pairs, so
    that both figures are means. `half`, `quarter`, `eighth`: behind so many halvings, of both sides of an image or of a
    sound's length with what pads it. `prompt`: tokens that stand for it in the prompt.
    """

    patches: Place
    layers: Place
    windows: Place
    merged: Place
    frames: Place
    prompt: int
    half: Place = NOTHING
    quarter: Place = NOTHING
    eighth: Place = NOTHING


class NotTakenError(ValueError):
    """An image or a sound that the processor refuses."""


def tokens_of(tower: Any, size: tuple[float, ...]) -> Tokens:
    """The tokens of an image (width and height in pixels) or a sound (seconds). Raises NotTakenError."""
    return RULES[tower.rule](tower, *size)


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


def _between(
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
    h, w = _between(high, wide, tower.patch_size * tower.merge, tower.least, tower.most)
    return _of_a_grid(tower, h // tower.patch_size, w // tower.patch_size)


def _resized_frames(tower: Any, wide: float, high: float) -> Tokens:
    """GLM-4V: image_processing_glm4v.py, which counts an image as two frames, and enlarges what is below a patch."""
    factor = tower.patch_size * tower.merge
    if high < factor or wide < factor:
        scale = max(factor / high, factor / wide)
        high, wide = int(high * scale), int(wide * scale)
    h, w = _between(high, wide, factor, tower.least / 2, tower.most / 2)
    return _of_a_grid(tower, h // tower.patch_size, w // tower.patch_size)


def _square(tower: Any, *_: float) -> Tokens:
    """Every image is scaled to one size (SigLIP, CLIP): Gemma 3, LLaVA 1.5."""
    side = tower.image_size // tower.patch_size
    found = _of_a_grid(tower, side, side, tower.out or None)
    return found._replace(merged=(1, found.prompt))


def _longest_edge(tower: Any, wide: float, high: float) -> Tokens:
    """Pixtral, Mistral 3: image_processing_pixtral.py; each row of tokens ends with one for the line break."""
    ratio = max(high / tower.image_size, wide / tower.image_size)
    if ratio > 1:
        high, wide = max(1, math.floor(high / ratio)), max(1, math.floor(wide / ratio))
    factor = tower.patch_size * tower.merge
    rows, columns = (int((side - 1) // factor) + 1 for side in (high, wide))
    return _of_a_grid(tower, rows * tower.merge, columns * tower.merge, rows * (columns + 1))


def _tiles(tower: Any, wide: float, high: float) -> Tokens:
    """InternVL: image_processing_got_ocr2.py, get_optimal_tiled_canvas; of several tiles a thumbnail comes along."""
    tiles = math.prod(_grid(tower.image_size, wide, high, range(tower.least, tower.most + 1)))
    return _of_tiles(tower, tiles + 1 if tiles > 1 else 1)


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


def _tiles_or_resized(tower: Any, wide: float, high: float) -> Tokens:
    """LFM2-VL: image_processing_lfm2_vl.py. Up to `most` tokens an image is resized; larger ones become 2 to 10 tiles.

    Tiles of `image_size` pixels come with the resized image as a thumbnail, and each of them with a mark before it.
    Padding to the largest number of patches is not counted.
    """
    factor = tower.patch_size * tower.merge
    least, most = tower.least * factor**2, tower.most * factor**2
    h, w = _between(high, wide, factor, least, most, smallest=factor, any_ratio=True)
    small = (h // tower.patch_size) * (w // tower.patch_size)
    across, down = (max(tower.patch_size, round(side / factor) * factor) for side in (wide, high))
    tiles = 0
    if across * down > 2 * most:
        tiles = math.prod(_grid(tower.image_size, wide, high, range(2, 11)))
    side = tower.image_size // tower.patch_size
    patches, pairs = tiles * side**2 + small, tiles * side**4 + small**2
    layers, merged = (patches * patches / pairs, pairs / patches), patches // tower.merge**2
    return Tokens((1, patches), layers, layers, (1, merged), NOTHING, merged + (tiles + 1 if tiles else 0))


def _of_tiles(tower: Any, tiles: int, separators: int = 0) -> Tokens:
    """So many tiles of one size, each a sequence of its own."""
    side = tower.image_size // tower.patch_size
    patches, merged = side * side, (side // tower.merge) ** 2
    layers = (tiles, patches + tower.extra)
    return Tokens((tiles, patches), layers, layers, (tiles, merged), NOTHING, tiles * merged + separators)


def _slices(tower: Any, wide: float, high: float) -> Tokens:
    """MiniCPM-V: the image resized, and up to `most` slices of it (image_processing_minicpmv4_6.py).

    Its patches are merged twice. Where the rule has `out`, they become so many tokens a slice instead, by a resampler:
    its queries see the patches of their slice, of which there are evenly many at frames. In the prompt each slice
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
        return Tokens(whole, whole, whole, merged, evenly, len(sizes) * tower.out + apart)
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


def _canvas(tower: Any, wide: float, high: float) -> Tokens:
    """Llama 4: image_processing_llama4.py, get_best_fit, and processing_llama4.py for the separators."""
    grids = [grid for grid in product(range(1, tower.most + 1), repeat=2) if grid[0] * grid[1] <= tower.most]
    side = tower.image_size
    scales = {grid: min(grid[0] * side / high, grid[1] * side / wide) for grid in grids}
    enlarging = [scale for scale in scales.values() if scale >= 1]
    chosen = min(enlarging) if enlarging else max(scales.values())
    down, across = min((grid for grid in grids if scales[grid] == chosen), key=lambda grid: grid[0] * grid[1])
    tiles = down * across
    if tiles == 1:
        return _of_tiles(tower, 1)
    return _of_tiles(tower, tiles + 1, separators=down * (across - 1) + down)


def _navit(tower: Any, wide: float, high: float) -> Tokens:
    """Kimi K2.5: image_processing_kimi_k25.py, navit_resize; the sides are padded to whole tokens."""
    patch, largest = tower.patch_size, tower.image_size
    patches = max(1, high // patch) * max(1, wide // patch)
    scale = min(1, math.sqrt(tower.most / patches), largest * patch / high, largest * patch / wide)
    factor = patch * tower.merge
    h, w = (min(max(1, int(side * scale)), largest * patch) for side in (high, wide))
    return _of_a_grid(tower, -(-h // factor) * tower.merge, -(-w // factor) * tower.merge)


def _whisper(tower: Any, seconds: float) -> Tokens:
    """Voxtral: pieces of 30 seconds, the last one padded; each becomes the same number of tokens."""
    pieces = math.ceil(seconds / PIECE)
    positions = tower.image_size  # of a piece, behind a convolution of stride 2
    merged = positions // tower.merge
    layers = (pieces, positions)
    return Tokens(layers, layers, layers, (pieces, merged), (pieces, 2 * positions), pieces * merged)


def _audio_chunks(tower: Any, seconds: float) -> Tokens:
    """Qwen2.5-Omni: chunks of 2 seconds, whose positions see each other alone; two of them become one token."""
    frames = _frames(seconds)
    whole, rest = divmod(frames, tower.image_size)
    each, last = (tower.image_size - 1) // 2 + 1, (rest - 1) // 2 + 1 if rest else 0
    positions, pairs = whole * each + last, whole * each**2 + last**2
    layers = (positions * positions / pairs, pairs / positions)
    merged = max(1, positions // tower.merge)
    return Tokens(layers, layers, layers, (1, merged), (1, frames), merged)


def _whisper_once(tower: Any, seconds: float) -> Tokens:
    """Qwen2-Audio: one piece of 30 seconds, padded; the prompt has as many tokens as the sound is long.

    processing_qwen2_audio.py; its feature extractor cuts off what is longer.
    """
    if seconds > PIECE:
        raise NotTakenError(f"it hears the first {PIECE} seconds alone")
    positions = tower.image_size
    layers, heard = (1, positions), -(-_frames(seconds) // 2)
    return Tokens(layers, layers, layers, (1, positions // tower.merge), (1, 2 * positions), max(1, heard // 2))


def _audio_windows(tower: Any, seconds: float) -> Tokens:
    """Qwen3-Omni: chunks of 1 second, three times halved; positions see those of their window of some chunks.

    modeling_qwen3_omni_moe.py: the last chunk is padded to the longest before its convolutions, and not behind them.
    """
    frames = _frames(seconds)
    whole, rest = divmod(frames, tower.image_size)
    chunks, longest = whole + bool(rest), min(frames, tower.image_size)
    half, quarter, eighth = (_halved(longest, times) for times in (1, 2, 3))
    positions = whole * eighth + (_halved(rest, 3) if rest else 0)
    full, left = divmod(positions, tower.window * eighth)
    pairs = full * (tower.window * eighth) ** 2 + left**2
    layers = (positions * positions / pairs, pairs / positions)
    padded = {"half": (chunks, half), "quarter": (chunks, quarter), "eighth": (chunks, eighth)}
    return Tokens(layers, layers, layers, (1, positions), (1, frames), positions, **padded)


def _frames(seconds: float) -> int:
    """Mel frames of a sound, one at least."""
    return max(1, int(round(seconds * SECOND, 6)))  # 17.33 s are 1,733 frames: the product is a little less


def _halved(length: int, times: int) -> int:
    """What is left of a length behind so many convolutions of stride 2."""
    for _ in range(times):
        length = (length + 1) // 2
    return length


def _unknown(tower: Any, *size: float) -> Tokens:
    raise NotImplementedError(tower.name)


RULES: dict[str, Callable[..., Tokens]] = {
    "resized": _resized,
    "resized-frames": _resized_frames,
    "square": _square,
    "longest-edge": _longest_edge,
    "tiles": _tiles,
    "tiles-or-resized": _tiles_or_resized,
    "tiles-together": _tiles_together,
    "budget": _budget,
    "canvas": _canvas,
    "navit": _navit,
    "whisper": _whisper,
    "audio-chunks": _audio_chunks,
    "whisper-once": _whisper_once,
    "audio-windows": _audio_windows,
    "slices": _slices,
    "splits": _splits,
    "unknown": _unknown,
}
# Sizes of a tower without which a rule makes no sense.
PIXELS = ("patch_size", "least", "most")
NEEDED: dict[str, tuple[str, ...]] = {
    "resized": PIXELS,
    "resized-frames": PIXELS,
    "square": ("patch_size", "image_size"),
    "longest-edge": ("patch_size", "image_size"),
    "tiles": ("patch_size", "image_size", "least", "most"),
    "canvas": ("patch_size", "image_size", "most"),
    "tiles-together": ("patch_size", "image_size", "most"),
    "budget": ("patch_size", "most"),
    "navit": ("patch_size", "image_size", "most"),
    "whisper": ("image_size",),
    "audio-chunks": ("image_size",),
    "whisper-once": ("image_size",),
    "audio-windows": ("image_size", "window"),
    "slices": ("patch_size", "image_size", "most"),
    "splits": ("patch_size", "image_size", "most"),
    "tiles-or-resized": ("patch_size", "image_size", "least", "most"),
    "unknown": (),
}
