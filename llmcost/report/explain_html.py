"""Explanations as a page: each name in a formula leads to what it is, and from there to where it is used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise

from llmcost.formulas.serving import Explanation
from llmcost.ground.units import seconds
from llmcost.report.explain import value_text
from llmcost.report.words import spoken, told

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}"
    "section{border-top:1px solid #8886;margin-top:1.5rem}"
    "table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;vertical-align:top}"
    ":target{background:#fd06}.by{color:GrayText;font-size:.85rem}"
)
NAME = r"(?<![A-Za-z0-9_.\]])(?:{names})(?![A-Za-z0-9_\[])"  # a whole name in a formula


def with_referred(asked: Iterable[Explanation], known: Mapping[str, Explanation]) -> list[Explanation]:
    """The figures asked for, then those that their formulas name, and so on."""
    found, waiting = {}, list(asked)
    while waiting:
        each = waiting.pop(0)
        if each.quantity not in found:
            found[each.quantity] = each
            waiting += [known[name] for name, *_ in each.where if name in known]
    return list(found.values())


class Links:
    """Names in formulas as links to where the page says what they are, and what uses each of them.

    Figures and letters have one place. An intermediate result has one in the section of each figure that names it: two
    figures may call different things alike.
    """

    def __init__(self, figures: Sequence[Explanation]) -> None:
        self.figures = {each.quantity for each in figures}
        self.inner = {each.quantity: {name for name, *_ in each.where} - self.figures for each in figures}
        names = {*self.figures, *(letter for each in figures for letter in each.legend)}.union(*self.inner.values())
        longest_first = sorted(names, key=lambda name: (-len(name), name))
        self.pattern = re.compile(NAME.format(names="|".join(map(re.escape, longest_first))))
        self.used: dict[str, dict[str, str]] = {}  # place -> name and place of what uses it

    def place(self, name: str, figure: str) -> str:
        """Where a name that stands in a figure's section is told."""
        return f"{figure}:{name}".replace(" ", "_") if name in self.inner[figure] else name.replace(" ", "_")

    def formula(self, text: str, figure: str, by: str) -> str:
        """A formula of `by`, in a figure's section, with its names as links."""
        places = [0, *(place for match in self.pattern.finditer(text) for place in match.span()), len(text)]
        html = ""
        for number, (start, end) in enumerate(pairwise(places)):
            piece = text[start:end]
            if number % 2:
                place = self.place(piece, figure)
                self.used.setdefault(place, {})[by] = self.place(by, figure)
                html += f'<a href="#{escape(place)}">{escape(piece)}</a>'
            else:
                html += escape(piece)
        return f"<code>= {html}</code>"

    def told(self, html: str) -> str:
        """The page with what uses each place, which is known when all formulas have been read."""

        def users(match: re.Match[str]) -> str:
            links = (f'<a href="#{escape(at)}">{escape(by)}</a>' for by, at in self.used.get(match[1], {}).items())
            text = ", ".join(links)
            return f'<span class="by">{told("used in")} {text}</span>' if text else ""

        return re.sub(r"\0(.*?)\0", users, html)


def explanation_page(title: str, explanations: Iterable[Explanation]) -> str:
    """One file that needs no other: a section a figure, then the letters."""
    figures = list(explanations)
    links = Links(figures)
    legend = {letter: entry for each in figures for letter, entry in each.legend.items()}
    body = [line for each in figures for line in _figure(each, links)]
    body.append(f"<section><h2>{told('Letters')}</h2><table>")
    for letter, (value, meaning) in legend.items():
        body.append(
            _row(letter, letter.replace(" ", "_"), f"= {escape(value_text(value, ''))}: {escape(told(meaning))}")
        )
    body.append("</table></section>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    page = f"<head>{head}<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
    return f'<!doctype html><html lang="{spoken()}">{page}\n{links.told(chr(10).join(body))}\n</body></html>\n'


def _figure(each: Explanation, links: Links) -> Iterator[str]:
    """A section: what the figure is, its formula or its parts, intermediate results, its value, its source."""
    name = each.quantity
    yield f'<section id="{escape(name)}"><h2><code>{escape(name)}</code></h2>'
    yield f"<p>{escape(told(each.what))} {_users(name)}</p>"
    parts = each.parts.get(name) if each.unit == "s" else None
    if parts:
        yield "<table>"
        for part in parts:
            formula = links.formula(part.letters, name, name)
            yield f"<tr><td>{escape(told(part.name))}</td><td>{seconds(part.value)}</td><td>{formula}</td></tr>"
        yield "</table>"
    else:
        yield f"<p>{links.formula(each.letters, name, name)}<br><code>= {escape(each.sizes)}</code></p>"
    yield f"<p><strong>{escape(told(f'= {value_text(each.value, each.unit)}'))}</strong></p><table>"
    for inner, letters, _, value in each.where:
        if inner in links.inner[name]:
            formula = links.formula(letters, name, inner)
            yield _row(inner, links.place(inner, name), f"{formula}<br>= {escape(value_text(value, ''))}")
    yield f'</table><p class="by">{told("source")}: {escape(each.source)}</p>'
    for entry in each.published:
        yield f"<p>{escape(told(f'{entry.document} {entry.printed}: {entry.why}'))}</p>"
    yield "</section>"


def _row(name: str, place: str, html: str) -> str:
    return f'<tr id="{escape(place)}"><td><code>{escape(name)}</code></td><td>{html} {_users(place)}</td></tr>'


def _users(place: str) -> str:
    """Where the page will say what uses a place (`Links.told`); no text has such letters."""
    return f"\0{place}\0"
