"""How many tokens a sound has, in the layers of a tower and in the prompt, by the rule of its family.

Each rule is that of the reference's feature extractor and processor (github.com/huggingface/transformers,
src/transformers/models/…, v5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llmcost.model.token_places import NotTakenError, Tokens

SECOND = 100  # mel frames a second: hops of 160 samples at 16 kHz (WhisperFeatureExtractor)
PIECE = 30  # seconds of sound that Whisper's encoder reads (arXiv 2212.04356, section 2.2)


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


SOUNDS: dict[str, tuple[Callable[..., Tokens], tuple[str, ...]]] = {
    "whisper": (_whisper, ("image_size",)),
    "whisper-once": (_whisper_once, ("image_size",)),
    "audio-chunks": (_audio_chunks, ("image_size",)),
    "audio-windows": (_audio_windows, ("image_size", "window")),
}
