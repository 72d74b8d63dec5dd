"""Where the tokens of an image or a sound are: in the layers of a tower, behind them, and in the prompt."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Place: TypeAlias = tuple[float, float]  # sequences, and tokens of each
NOTHING: Place = (0, 0)


class Tokens(NamedTuple):
    """Of one image or sound: sequences and tokens of each, where patches or frames come in, in layers, and behind them.

    `windows`: where layers see windows alone; windows that are cut off at the border count with their own pairs, so
    that both figures are means. `half`, `quarter`, `eighth`: behind so many halvings, of both sides of an image or of a
    sound's length with what pads it. `keys`: what queries see that see no whole sequence: a resampler's patches and
    queries, or a block's frames. `positions`: distances that are embedded. `prompt`: tokens that stand for it in the
    prompt.
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
    keys: Place = NOTHING
    positions: Place = NOTHING


class NotTakenError(ValueError):
    """An image or a sound that the processor refuses."""
