"""How many tokens a sound has, in the layers of a tower and in the prompt, by the rule of its family.

Each rule is that of the reference's feature extractor and processor (github.com/huggingface/transformers,
src/transformers/models/…, v5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llmcost.model.token_places import NOTHING, NotTakenError, Tokens

SECOND = 100  # mel frames a second: hops of 160 samples at 16 kHz (WhisperFeatureExtractor)
HOP = 160  # samples from one frame to the next
SAMPLES = 16_000  # a second
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


def _whisper_heard(tower: Any, seconds: float) -> Tokens:
    """GLM-ASR: pieces of 30 seconds, padded; the prompt has as many tokens as each is long (processing_glmasr.py)."""
    found = _whisper(tower, seconds)
    frames, piece = _frames(seconds), PIECE * SECOND
    whole, rest = divmod(frames, piece)
    heard = whole * (tower.image_size // tower.merge) + -(-rest // 2) // tower.merge
    return found._replace(prompt=max(1, heard))


def _whisper_as_long(tower: Any, seconds: float) -> Tokens:
    """MiniCPM-o (processing_minicpmo.py): pieces of 30 seconds, padded to the longest; a token is the mean of some.

    `merge`: positions of a token. How many tokens there are is counted of the whole, not of its pieces.
    """
    frames = max(1, -(-_samples(seconds) // HOP))
    heard = ((frames - 1) // 2 + 1 - tower.merge) // tower.merge + 1
    if heard < 1:
        raise NotTakenError("it is shorter than one token")
    pieces = -(-frames // (PIECE * SECOND))
    longest = min(frames, PIECE * SECOND)
    layers = (pieces, (longest - 1) // 2 + 1)
    return Tokens(layers, layers, layers, (1, heard), (pieces, longest), heard)


def _granite(tower: Any, seconds: float) -> Tokens:
    """Granite Speech (feature_extraction_granite_speech.py): two frames beside each other, in blocks of `image_size`.

    Each `window` of them becomes `out` tokens; the last block and the last window are padded.
    """
    heard = (_samples(seconds) // HOP + 1) // 2
    if not heard:
        raise NotTakenError("it is shorter than two frames")
    blocks, windows = -(-heard // tower.image_size), -(-heard // tower.window)
    layers, merged, keys = (1, heard), (windows, tower.out), (windows, tower.window)
    return Tokens(layers, layers, (blocks, tower.image_size), merged, layers, windows * tower.out, keys=keys)


def _blocks(tower: Any, seconds: float, frames: int) -> Tokens:
    """Gemma's conformer: so many mel frames, halved twice, in blocks whose positions see `window` of them.

    Every `merge`-th position is handed on. `image_size`: positions of a block; `extra`: distances that it embeds;
    `out`: tokens in the prompt, where they are the same for any sound.
    """
    if seconds > PIECE:
        raise NotTakenError(f"it hears the first {PIECE} seconds alone")
    if frames < 1:
        raise NotTakenError("it is shorter than one frame")
    half, quarter = _halved(frames, 1), _halved(frames, 2)
    blocks, handed = -(-quarter // tower.image_size), -(-quarter // tower.merge)
    layers, block, keys = (1, quarter), (blocks, tower.image_size), (blocks, tower.window)
    places = {"half": (1, half), "quarter": layers, "keys": keys, "positions": (1, tower.extra)}
    return Tokens(layers, layers, block, (1, handed), (1, frames), tower.out or handed, **places)


def _blocks_of_3n(tower: Any, seconds: float) -> Tokens:
    """Gemma 3n (feature_extraction_gemma3n.py): windows of 513 samples, the sound padded to a multiple of 128."""
    return _blocks(tower, seconds, (-(-_samples(seconds) // 128) * 128 - 513) // HOP + 1)


def _blocks_of_4(tower: Any, seconds: float) -> Tokens:
    """Gemma 4 (processing_gemma4.py): windows of 321 samples, half of one before the first."""
    return _blocks(tower, seconds, (_samples(seconds) + 160 - 321) // HOP + 1)


def _pieces_of_sound(tower: Any, seconds: float) -> Tokens:
    """Gemma 4 without encoders (processing_gemma4_unified.py): so many samples are projected as they are."""
    if seconds > PIECE:
        raise NotTakenError(f"it hears the first {PIECE} seconds alone")
    pieces = (1, -(-_samples(seconds) // tower.image_size))
    return Tokens(pieces, pieces, pieces, pieces, NOTHING, pieces[1])


def _hops(tower: Any, seconds: float) -> Tokens:
    """Inkling (feature_extraction_inkling.py): a token for so many samples, the last one padded."""
    hops = (1, max(1, -(-_samples(seconds) // tower.image_size)))
    return Tokens(hops, hops, hops, hops, NOTHING, hops[1])


def _thrice_halved(tower: Any, seconds: float) -> Tokens:
    """Phi-4 multimodal (feature_extraction_phi4_multimodal.py): windows of 400 samples, thrice halved.

    What is longer than `window` positions is cut into sequences of so many, the last one padded.
    """
    frames = max(1, (_samples(seconds) - 400) // HOP + 1)
    half, quarter, eighth = (_halved(frames, times) for times in (1, 2, 3))
    layers = (1, eighth) if eighth <= tower.window else (-(-eighth // tower.window), tower.window)
    heard = (1, eighth)
    return Tokens(heard, layers, layers, heard, (1, frames), eighth, half=(1, half), quarter=(1, quarter), eighth=heard)


def _samples(seconds: float) -> int:
    """Samples of a sound at 16 kHz."""
    return int(round(seconds * SAMPLES, 3))


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
    "whisper-heard": (_whisper_heard, ("image_size",)),
    "whisper-as-long": (_whisper_as_long, ("image_size",)),
    "granite": (_granite, ("image_size", "window", "out")),
    "blocks-3n": (_blocks_of_3n, ("image_size", "window", "extra")),
    "blocks-4": (_blocks_of_4, ("image_size", "window", "extra")),
    "pieces-of-sound": (_pieces_of_sound, ("image_size",)),
    "hops": (_hops, ("image_size",)),
    "thrice-halved": (_thrice_halved, ("window",)),
}
