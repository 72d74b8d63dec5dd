"""Answers as pages of one file: charts, tables, what was assumed and where it comes from, and how far off it may be.

A page needs no other file and runs no script. All text is escaped; only web addresses become links.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from llmcost.ground import __version__
from llmcost.ground.units import significant
from llmcost.machine.efficiency import Band
from llmcost.model.spec import ModelSpec
from llmcost.report.charts import Chart, Panel
from llmcost.report.drawing import draw
from llmcost.report.figures import band_in_words
from llmcost.report.palette import DARK, LIGHT, Palette
from llmcost.report.sources import caption, sources_of
from llmcost.report.tables import Alarm, Table, told_table
from llmcost.report.words import spoken, told
from llmcost.specs.hardware import HardwareSpec

NAMES = {"throughput": "tokens/s under load", "ttft": "TTFT under load", "tpot": "TPOT under load"}


class Reported(NamedTuple):
    """What the picture and the report of an answer on one kind of GPU are made of.

    `basis` and `error`: of its times, as the caption says. `assumed`: options by name. `bands`: errors of such figures.
    `more`: tables that the report has and the terminal has not.
    """

    title: str
    panels: Sequence[Panel]
    model: ModelSpec
    hardware: HardwareSpec
    basis: str
    assumed: Mapping[str, object]
    bands: Mapping[str, Band]
    error: str = ""
    more: Sequence[Table] = ()

    def chart(self) -> Chart:
        """The picture, with its sources below."""
        return Chart(self.title, self.panels, caption(self.model, self.hardware, self.basis, self.error))

    def sections(self) -> list[Table]:
        """What stands behind the tables of the answer."""
        sources = source_table(sources_of(self.model, self.hardware))
        return [*self.more, assumptions(self.assumed), error_table(self.bands), sources]


def _variables(palette: Palette) -> str:
    names = ("paper", "ink", "soft", "grid", "alarm")
    return ";".join(f"--{name}:{getattr(palette, name)}" for name in names)


STYLE = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;"
    "color:var(--ink);background:var(--paper)}"
    "h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}"
    "figure{margin:0;display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr))}"
    "figure img{width:100%;max-width:44rem}"
    ".wide{overflow-x:auto;margin:.8rem 0}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th{color:var(--soft);font-weight:normal;vertical-align:bottom;white-space:pre-line}"
    "td,th{padding:.15rem 1.2rem .15rem 0;text-align:left;vertical-align:top;white-space:pre-line}"
    "td.r{white-space:pre}td.r,th.r{text-align:right}tr{border-bottom:1px solid var(--grid)}.in{padding-left:1.2rem}"
    ".alarm{color:var(--alarm);font-weight:bold}.note,footer,figcaption{color:var(--soft);font-size:.85rem}"
    "a{color:inherit}p.note{margin:.2rem 0;white-space:pre-wrap}td a,figcaption{overflow-wrap:anywhere}"
    "@media print{h2{break-after:avoid}img,tr{break-inside:avoid}}"
)


def page(chart: Chart, tables: Iterable[Table] = (), sections: Iterable[Table] = ()) -> str:
    """A page with a chart's title, its panels as pictures, then tables, then `sections`, each with a heading.

    Nothing of it depends on the day it is made.
    """
    title = escape(told(chart.title))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = [f"<h1>{title}</h1>", *_pictures(chart)]
    body += [line for table in (*tables, *sections) for line in table_html(told_table(table))]
    body.append(f"<footer><p>llmcost {escape(__version__)}</p></footer>")
    lines = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="{spoken()}"><head>{head}<style>{STYLE}</style></head>'
        f"<body>\n{lines}\n</body></html>\n"
    )


def _pictures(chart: Chart) -> Iterator[str]:
    """A picture a panel, as wide as there is room, which changes its colours with the page; the sources below."""
    yield "<figure>"
    for panel in chart.panels:
        picture = b64encode(draw(Chart("", [panel]), "svg")).decode()
        seen = escape(f"{told(panel.title)}. {told(panel.note)}".strip())
        yield f'<img alt="{seen}" src="data:image/svg+xml;base64,{picture}">'
    yield "</figure>"
    if chart.caption:
        yield f"<figcaption>{'<br>'.join(escape(told(line)) for line in chart.caption)}</figcaption>"


def table_html(table: Table) -> Iterator[str]:
    """A table under its title, with its notes below."""
    if table.title:
        yield f"<h2>{escape(table.title)}</h2>"
    if table.rows:
        sides = [' class="r"' if side == "r" else "" for side in table.align]
        yield '<div class="wide"><table>'
        if any(table.columns):
            heads = "".join(f"<th{side}>{escape(name)}</th>" for side, name in zip(sides, table.columns, strict=True))
            yield f"<thead><tr>{heads}</tr></thead>"
        yield "<tbody>"
        for row in table.rows:
            yield f"<tr>{''.join(_cell(text, side) for text, side in zip(row, table.align, strict=True))}</tr>"
        yield "</tbody></table></div>"
    for note in table.notes:
        yield f'<p class="note">{escape(note)}</p>'


def _cell(text: str, side: str) -> str:
    """A cell: an alarm stands out, leading spaces indent it, an address of the web is a link."""
    bare = text.strip(" ")
    names = [*["r"] * (side == "r"), *["in"] * text.startswith(" "), *["alarm"] * isinstance(text, Alarm)]
    shown = escape(bare)
    if bare.startswith("https://") and not any(letter.isspace() for letter in bare):
        shown = f'<a href="{shown}" rel="noreferrer">{shown}</a>'
    kind = f' class="{" ".join(names)}"' if names else ""
    return f"<td{kind}>{shown}</td>"


def assumptions(given: Mapping[str, object]) -> Table:
    """What an answer takes for granted: every option by its name, as it was given or chosen."""
    known = {name.replace("_", " "): value for name, value in given.items() if value not in (None, "", ())}
    return Table("Assumptions", ("option", "value"), "ll", [(name, _value(value)) for name, value in known.items()])


def _value(value: object) -> str:
    """An option's value as text; of several, or of a record, each."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, tuple):
        names: Sequence[str] = getattr(value, "_fields", ())
        texts = [_value(each) for each in value]
        heads = [f"{name.replace('_', ' ')} " for name in names] or [""] * len(texts)
        return ", ".join(head + text for head, text in zip(heads, texts, strict=True))
    return str(value)


def error_table(bands: Mapping[str, Band]) -> Table:
    """How far off published figures of each kind were."""
    rows = [(NAMES.get(name, name), band_in_words(band), band.of) for name, band in bands.items()]
    return Table("How far off such figures have been", ("figure", "error", "of"), "lll", rows)


def source_table(rows: Sequence[tuple[str, str, str]]) -> Table:
    """Sources as `sources.sources_of` gives them."""
    return Table("Sources", ("of", "what", "where"), "lll", rows)
