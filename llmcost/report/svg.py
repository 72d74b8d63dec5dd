"""Pictures as matplotlib writes them, made small: a style is written once, and has the colours of dark paper too."""

from __future__ import annotations

import re
from itertools import count

from llmcost.report.palette import DARK, LIGHT

_UNREAD = (  # what no reader of a picture shows
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>"
    r'| id="(?:figure|axes|patch|line2d|text|legend|xtick|ytick|matplotlib|[A-Z]\w*Collection)[\w.]*"'
)
_TURNED_BY_NOTHING = r' transform="rotate\(-0 [^"]*\)"'
_NUMBER = re.compile(r"\d+\.\d{2,}")
_STYLE = re.compile(r'style="([^"]+)"')
_COLOURS = dict(
    zip(*((each.paper, each.ink, each.soft, each.grid, *each.series) for each in (LIGHT, DARK)), strict=True)
)


_FAMILY = re.compile(r"font-family:(?:'[^']*'|[^;'])*;?")
_FAMILIES = "'DejaVu Sans',Verdana,'Noto Sans CJK SC','PingFang SC','Microsoft YaHei',sans-serif"


def compact(svg: str) -> str:
    """The same picture with nothing that is not seen, its places to a tenth of a point, and styles as classes.

    Colours of light paper become those of dark paper where the reader prefers it.
    """
    svg = re.sub(f"{_UNREAD}|{_TURNED_BY_NOTHING}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg.strip()).replace("> <", "><")
    svg = _within_tags(svg)
    while (fewer := re.sub(r"<g>((?:(?!<g\b|</g>).)*)</g>", r"\1", svg)) != svg:
        svg = fewer
    names: dict[str, str] = {}
    numbers = count()

    def named(found: re.Match[str]) -> str:
        style = _FAMILY.sub("", found[1].replace("; ", ";").replace(": ", ":"))
        if style not in names:
            names[style] = f"s{next(numbers)}"
        return f'class="{names[style]}"'

    svg = _STYLE.sub(named, svg)
    light = "".join(f".{name}{{{style}}}" for style, name in names.items())
    dark = "".join(f".{name}{{{_dark(style)}}}" for style, name in names.items() if _dark(style))
    style = f"<style>text{{font-family:{_FAMILIES}}}{light}@media(prefers-color-scheme:dark){{{dark}}}</style>"
    head, mark, rest = svg.partition("<defs>")
    return f"{head}{style}{mark}{rest}\n"


def _within_tags(svg: str) -> str:
    """Places with one digit behind the point; texts stay as they are."""
    parts = re.split(r"(<[^>]*>)", svg)
    return "".join(
        _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), part) if part[:1] == "<" else part
        for part in parts
    )


def _dark(style: str) -> str:
    """What of a style has another colour on dark paper."""
    parts = [part.partition(":") for part in style.split(";")]
    return ";".join(f"{what}:{_COLOURS[value]}" for what, _, value in parts if value in _COLOURS)
