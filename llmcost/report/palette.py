"""The colours of every chart, on light paper and on dark: one list for charts, reports and the browser page."""

from __future__ import annotations

from typing import NamedTuple


class Palette(NamedTuple):
    """Colours as #rrggbb. `series`: one a series, in order, which colour-blind people can tell apart.

    `ink`: text and axes. `soft`: notes. `grid`: lines behind. `paper`: what all stands on. `alarm`: a limit that is
    reached.
    """

    paper: str
    ink: str
    soft: str
    grid: str
    alarm: str
    series: tuple[str, ...]


# The series are M. Okabe, K. Ito, "Color Universal Design" (2008), with grey in place of yellow on light paper; on dark
# paper the dark ones are lighter, in the same order of hues, so that a series keeps its name for the eye.
LIGHT = Palette(
    paper="#ffffff",
    ink="#1f2328",
    soft="#59636e",
    grid="#d8dee4",
    alarm="#b3261e",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#777777", "#111111"),
)
DARK = Palette(
    paper="#0d1117",
    ink="#e6edf3",
    soft="#9198a1",
    grid="#30363d",
    alarm="#ff8a80",
    series=("#4da3e0", "#ff8f3d", "#2fc99b", "#e59cc6", "#8fd0f7", "#ffc24d", "#a0a0a0", "#eeeeee"),
)
THEMES = {"light": LIGHT, "dark": DARK}
