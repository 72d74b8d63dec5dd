"""Charts as data, and how they are drawn: by matplotlib, which nothing else needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.files import draft_of
from llmcost.ground.units import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
# Eight colours that colour-blind people can tell apart: M. Okabe, K. Ito, "Color Universal Design" (2008), with grey in
# place of yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#777777", "#000000")
DASHES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
MOST = len(COLOURS) * len(DASHES)  # lines that can be told apart
MOST_LABELLED = 15  # bars of a panel that have labels
ROW = 0.17  # inches of a span
MOST_LETTERS = 130  # of names of groups side by side, the longest taken for all; more stand aslant
MOST_WIDE = 5  # groups of bars whose names have room in full size


class Line(NamedTuple):
    """Points that a line joins. `number` chooses its colour and dashes; marks are hollow where `solid` is False.

    `marker`: "" for none.
    """

    label: str
    number: int
    x: Sequence[float]
    y: Sequence[float]
    solid: Sequence[bool] = ()
    marker: str = "o"
    faint: bool = False  # thin and without marks
    notes: Sequence[str] = ()  # text beside the points


class Bars(NamedTuple):
    """One bar in each of a panel's `groups`; it is hollow where `solid` is False. A height of None is not known."""

    label: str
    number: int
    heights: Sequence[float | None]
    solid: Sequence[bool]


class Span(NamedTuple):
    """A horizontal line of one of a panel's `groups` from `low` to `high`, with a mark at `middle`."""

    label: str
    number: int
    low: float
    middle: float
    high: float


class Panel(NamedTuple):
    """One pair of axes with lines, bars, or spans below each other. `log`: which axes are logarithmic, x and y.

    `note` stands below the title. `within`: the ends of the x axis of spans, which reach no further.
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
    within: tuple[float, float] = (0.2, 5)


def check(path: Path) -> str:
    """The format that the name of a chart's file asks for. Raises InputError for another, or without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot {path}: the name ends in one of {', '.join(FORMATS)}")
    require_matplotlib()
    return path.suffix.lower().removeprefix(".")


def require_matplotlib() -> None:
    """Raise InputError where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install matplotlib")


def save(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Draw panels into a file, which is written whole or not at all.

    Raises InputError as `check` does, or where the file cannot be written.
    """
    kind = check(path)
    with draft_of(path) as draft:
        draw(draft, kind, title, panels)


def draw(path: Path, kind: str, title: str, panels: Sequence[Panel]) -> None:
    """Draw panels side by side, under a title and above one legend for all, into a file of a format (`kind`)."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "svg.hashsalt": "llmcost",
        "svg.fonttype": "none",
        "text.parse_math": False,  # a $ in a title is a dollar
    }
    with rc_context(settings):
        rows = max(len(panel.spans) for panel in panels)
        figure = Figure(figsize=(5.2 * len(panels), max(4.6, 1.2 + ROW * rows)), layout="constrained")
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw_panel(axes, panel)
        kinds = [kind for panel in panels for kind in (panel.lines, panel.bars, panel.spans)]
        drawn = [(each.label, each.number) for kind in kinds for each in kind]
        _draw_legend(figure, {label: number for label, number in drawn if label})
        metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
        figure.savefig(path, format=kind, dpi=160, metadata=metadata)


def _draw_legend(figure: Figure, labels: Mapping[str, int]) -> None:
    from matplotlib.lines import Line2D

    if len(labels) > 1:
        handles = [
            Line2D([], [], color=_colour(number), linestyle=_dashes(number), linewidth=2.5)
            for number in labels.values()
        ]
        figure.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _dashes(number: int) -> Literal["-", "--", ":"]:
    return DASHES[number // len(COLOURS) % len(DASHES)]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", pad=18)
    axes.annotate(
        panel.note,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8,
        color="#555555",
    )
    axes.set(xlabel=panel.x, ylabel=panel.y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for line in panel.lines:
        _draw_line(axes, line)
    if panel.lines:
        _make_logarithmic(axes, panel.log)
    if panel.bars:
        _draw_bars(axes, panel)
    if panel.spans:
        _draw_spans(axes, panel)


def _make_logarithmic(axes: Axes, which: tuple[bool, bool]) -> None:
    """Make x, y or both logarithmic, with ticks at 1, 2 and 5 of each decade where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, name, wanted in ((axes.xaxis, "xscale", which[0]), (axes.yaxis, "yscale", which[1])):
        if not wanted:
            continue
        axes.set(**{name: "log"})
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 2000 * low else (1,), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:.0e}"))
        axis.set_minor_formatter(NullFormatter())


def _draw_bars(axes: Axes, panel: Panel) -> None:
    """Draw a panel's bars side by side in each group, with labels where they are few."""
    from matplotlib.ticker import FuncFormatter

    width, groups = 0.8 / len(panel.bars), len(panel.groups)
    for place, bars in enumerate(panel.bars):
        beside_middle = (place - (len(panel.bars) - 1) / 2) * width
        at = [group + beside_middle for group in range(groups)]
        heights = [height or 0 for height in bars.heights]
        faces = [_colour(bars.number) if solid else "white" for solid in bars.solid]
        drawn = axes.bar(at, heights, 0.9 * width, color=faces, edgecolor=_colour(bars.number))
        if len(panel.bars) * groups <= MOST_LABELLED:
            labels = ["" if height is None else significant(height) for height in bars.heights]
            axes.bar_label(drawn, labels, fontsize=7, padding=2)
    axes.set_xticks(range(groups), panel.groups, fontsize=9 if groups <= MOST_WIDE else 7)
    if groups * max(len(line) for name in panel.groups for line in name.splitlines() or [""]) > MOST_LETTERS:
        axes.tick_params("x", rotation=60)
        for label in axes.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(visible=False, axis="x")


def _draw_spans(axes: Axes, panel: Panel) -> None:
    """Draw a panel's spans below each other, each with its name, around a line at 1."""
    low, high = panel.within
    for place, span in enumerate(panel.spans):
        left, middle, right = (min(max(each, low), high) for each in (span.low, span.middle, span.high))
        axes.plot((left, right), (place, place), color=_colour(span.number), linewidth=2.5, solid_capstyle="round")
        axes.plot((middle,), (place,), "o", markersize=5, color="white", markeredgecolor=_colour(span.number), zorder=3)
    axes.axvline(1, color="#000000", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(panel.groups)), panel.groups, fontsize=7)
    axes.set_xlim(low, high)
    axes.set_ylim(len(panel.groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    _make_logarithmic(axes, panel.log)


def _draw_line(axes: Axes, line: Line) -> None:
    colour, dashes = _colour(line.number), _dashes(line.number)
    if line.faint:
        axes.plot(line.x, line.y, dashes, color=colour, linewidth=0.9, alpha=0.5)
        return
    axes.plot(line.x, line.y, dashes, color=colour, linewidth=1.4)
    if not line.marker:
        return
    solid = line.solid or [True] * len(line.x)
    for inside, face in ((True, colour), (False, "white")):
        chosen = [place for place, each in enumerate(solid) if each is inside]
        x, y = [line.x[place] for place in chosen], [line.y[place] for place in chosen]
        axes.plot(x, y, line.marker, markersize=4.5, markerfacecolor=face, markeredgecolor=colour, zorder=3)
    for place, note in enumerate(line.notes):
        axes.annotate(
            note,
            (line.x[place], line.y[place]),
            xytext=(4, -9),
            textcoords="offset points",
            fontsize=7,
            color="#555555",
        )
