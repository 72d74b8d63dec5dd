"""Charts as data. How they are drawn is in drawing.py, how they are written to files in saving.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llmcost.report.palette import LIGHT

DASHED = 3  # ways to draw a line of one colour
MOST = len(LIGHT.series) * DASHED  # lines that can be told apart


class Line(NamedTuple):
    """Points that a line joins. `number` chooses its colour and dashes; marks are hollow where `solid` is False.

    `marker`: "" for none. `faint`: thin and without marks. `joined`: False for points alone. `notes`: text beside the
    points, which is moved where it would cover another.
    """

    label: str
    number: int
    x: Sequence[float]
    y: Sequence[float]
    solid: Sequence[bool] = ()
    marker: str = "o"
    faint: bool = False
    joined: bool = True
    notes: Sequence[str] = ()


class Bars(NamedTuple):
    """One bar in each of a panel's `groups`; it is hollow where `solid` is False. A height of None is not known."""

    label: str
    number: int
    heights: Sequence[float | None]
    solid: Sequence[bool] = ()


class Span(NamedTuple):
    """A horizontal line of one of a panel's `groups` from `low` to `high`, with a mark at `middle`."""

    label: str
    number: int
    low: float
    middle: float
    high: float


class Cell(NamedTuple):
    """A field of a map: its place in the panel's `groups` (across) and `rows` (down), and its text.

    `shade`: from 0 to 1, how dark it is; None: a field that is not possible.
    """

    column: int
    row: int
    text: str
    shade: float | None


class Slot(NamedTuple):
    """A time of one of a panel's `rows` from `start` to `end`, with a text inside it where there is room."""

    label: str
    number: int
    row: int
    start: float
    end: float
    text: str = ""


class Panel(NamedTuple):
    """One pair of axes: lines, bars, spans below each other, a map of cells or a timeline of slots.

    `note` stands below the title. `log`: which axes are logarithmic, x and y. `limit`: a name and a height that bars
    are held against. `stacked`: bars of a group stand on each other; `sideways`: they lie. `within`: the ends of the x
    axis of spans, which reach no further.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line] = ()
    bars: Sequence[Bars] = ()
    groups: Sequence[str] = ()
    note: str = ""
    log: tuple[bool, bool] = (True, True)
    spans: Sequence[Span] = ()
    limit: tuple[str, float] | None = None
    stacked: bool = False
    sideways: bool = False
    cells: Sequence[Cell] = ()
    slots: Sequence[Slot] = ()
    rows: Sequence[str] = ()
    within: tuple[float, float] = (0.2, 5)

    def labels(self) -> dict[str, int]:
        """What a legend tells apart: names, each with the number of its colour."""
        drawn: tuple[Line | Bars | Span | Slot, ...] = (*self.lines, *self.bars, *self.spans, *self.slots)
        return {each.label: each.number for each in drawn if each.label}


class Chart(NamedTuple):
    """Panels under a title. `caption`: where the figures come from, a line each."""

    title: str
    panels: Sequence[Panel]
    caption: Sequence[str] = ()


def said_chart(chart: Chart, say: Callable[[str], str]) -> Chart:
    """A chart whose every text is as `say` has it."""
    panels = [_said(panel, say) for panel in chart.panels]
    return Chart(say(chart.title), panels, [say(line) for line in chart.caption])


def _said(panel: Panel, say: Callable[[str], str]) -> Panel:
    def each(parts: Sequence[Any]) -> list[Any]:
        return [part._replace(label=say(part.label)) for part in parts]

    lines = [line._replace(notes=[*map(say, line.notes)]) for line in each(panel.lines)]
    return panel._replace(
        title=say(panel.title),
        x=say(panel.x),
        y=say(panel.y),
        note=say(panel.note),
        groups=[*map(say, panel.groups)],
        rows=[*map(say, panel.rows)],
        bars=each(panel.bars),
        spans=each(panel.spans),
        slots=each(panel.slots),
        lines=lines,
        limit=None if panel.limit is None else (say(panel.limit[0]), panel.limit[1]),
        cells=[cell._replace(text=say(cell.text)) for cell in panel.cells],
    )
