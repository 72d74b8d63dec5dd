"""Which rule says how many tokens an image or a sound has, and which sizes of a tower it needs."""

from __future__ import annotations

from typing import Any

from llmcost.model.image_tokens import IMAGES
from llmcost.model.sound_tokens import SOUNDS
from llmcost.model.tile_tokens import TILES
from llmcost.model.token_places import NotTakenError, Tokens


def _unknown(tower: Any, *size: float) -> Tokens:
    raise NotImplementedError(tower.name)


# Rule -> what counts, and the sizes of a tower without which it makes no sense.
RULES = {**IMAGES, **TILES, **SOUNDS, "unknown": (_unknown, ()), "speaks": (_unknown, ())}


def tokens_of(tower: Any, size: tuple[float, ...]) -> Tokens:
    """The tokens of an image (width and height in pixels) or a sound (seconds). Raises NotTakenError."""
    count, _ = RULES[tower.rule]
    tokens = count(tower, *size)
    if not tokens.patches[0] * tokens.patches[1]:
        raise NotTakenError("no patch of it is left at the size that the processor makes of it")
    return tokens
