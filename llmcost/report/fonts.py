"""Letters that a picture can have: Chinese ones where a font of this machine has them."""

from __future__ import annotations

import re
from functools import cache

from llmcost.report.charts import Chart, said_chart
from llmcost.report.words import spoken, told

LATIN = "DejaVu Sans"  # matplotlib brings it
FILES = re.compile(  # of fonts with Chinese letters, as systems name them, the plain ones alone
    r"(NotoSans(CJK|SC|TC).*(Regular|VF)|SourceHanSans.*Regular|PingFang|Hiragino Sans GB|STHeiti Medium|msyh|simhei|"
    r"simsun|wqy-(zenhei|microhei)|DroidSansFallback(Full)?|Arial Unicode)\.(ttf|ttc|otf)$",
    re.IGNORECASE,
)
LETTERS = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")
MISSING = "Chinese letters are left out: no font of this machine has them"


def readable(chart: Chart, kind: str) -> tuple[Chart, list[str]]:
    """A chart whose letters have a font, and the names of fonts; `kind`: the format of the file.

    The words are in the language that is spoken. Where no font has Chinese letters, they are left out, which the
    caption says. SVG is shown with the fonts of its reader.
    """
    shown = said_chart(chart, told) if spoken() != "en" else chart
    if not LETTERS.search(repr(shown)):
        return shown, [LATIN]
    found = chinese_font()
    if found is not None or kind == "svg":
        return shown, [LATIN, *([found] if found else [])]
    plain = said_chart(chart, lambda text: re.sub(r" +(?=[ ,;:.]|$)", "", LETTERS.sub("", text)).strip())
    return plain._replace(caption=[*plain.caption, MISSING]), [LATIN]


@cache
def chinese_font() -> str | None:
    """The name of a font of this machine that has Chinese letters."""
    from logging import ERROR, getLogger

    from matplotlib.font_manager import findSystemFonts, fontManager, get_font

    getLogger("matplotlib.font_manager").setLevel(ERROR)  # it warns where the font has no bold letters

    for path in sorted(findSystemFonts()):
        if FILES.search(path):
            fontManager.addfont(path)
            return get_font(path).family_name
    return None
