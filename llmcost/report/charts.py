"""Charts as data, and the one function that draws them (with matplotlib, which only this needs)."""

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
# Eight colours that the colour-blind tell apart: M. Okabe, K. Ito, "Color Universal Design" (2008), yellow replaced
# by grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#777777", "#000000")
DASHES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
MOST = len(COLOURS) * len(DASHES)  # lines that can be told apart
MOST_LABELLED = 15  # bars of a panel
MOST_WIDE = 5  # groups whose names have room in full size


class Line(NamedTuple):
    """Points joined by a line. `number` chooses colour and dashes; marks are hollow where `solid` says no."""

    label: str
    number: int
    x: Sequence[float]
    y: Sequence[float]
    solid: Sequence[bool] = ()
    marker: str = "o"
    faint: bool = False  # thin and without marks
    notes: Sequence[str] = ()  # beside the points


class Bars(NamedTuple):
    """One bar for each of a panel's `groups`, None where it is not known; hollow where `solid` says no."""

    label: str
    number: int
    heights: Sequence[float | None]
    solid: Sequence[bool]


class Panel(NamedTuple):
    """One pair of axes, both logarithmic for lines."""

    title: str
    x: str
    y: str
    lines: Sequence[Line] = ()
    bars: Sequence[Bars] = ()
    groups: Sequence[str] = ()
    note: str = ""


def check(path: Path) -> str:
    """The format that a chart file's name asks for. Raises InputError for others, and without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot {path}: the name ends in one of {', '.join(FORMATS)}")
    require_matplotlib()
    return path.suffix.lower().removeprefix(".")


def require_matplotlib() -> None:
    """Raise InputError where it is not installed."""
    if find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib: pip install matplotlib")


def save(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Draw panels into a file, whole or not at all. Raises InputError as `check` does, or where it cannot be written."""
    kind = check(path)
    with draft_of(path) as draft:
        draw(draft, kind, title, panels)


def draw(path: Path, kind: str, title: str, panels: Sequence[Panel]) -> None:
    """The panels side by side under a title, one legend for all, into a file of that format."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "svg.hashsalt": "llmcost",
        "svg.fonttype": "none",
    }
    with rc_context(settings):
        figure = Figure(figsize=(5.2 * len(panels), 4.6), layout="constrained")
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw_panel(axes, panel)
        drawn = [(each.label, each.number) for panel in panels for kind in (panel.lines, panel.bars) for each in kind]
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
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

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
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 2000 * low else (1,), numticks=12))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:.0e}"))
            axis.set_minor_formatter(NullFormatter())
    for place, bars in enumerate(panel.bars):
        width = 0.8 / len(panel.bars)
        at = [group + (place - (len(panel.bars) - 1) / 2) * width for group in range(len(panel.groups))]
        faces = [_colour(bars.number) if solid else "white" for solid in bars.solid]
        drawn = axes.bar(
            at, [height or 0 for height in bars.heights], 0.9 * width, color=faces, edgecolor=_colour(bars.number)
        )
        if len(panel.bars) * len(panel.groups) <= MOST_LABELLED:
            labels = ["" if height is None else significant(height) for height in bars.heights]
            axes.bar_label(drawn, labels, fontsize=7, padding=2)
    if panel.bars:
        axes.set_xticks(range(len(panel.groups)), panel.groups, fontsize=9 if len(panel.groups) <= MOST_WIDE else 7)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.grid(visible=False, axis="x")


def _draw_line(axes: Axes, line: Line) -> None:
    colour, dashes = _colour(line.number), _dashes(line.number)
    if line.faint:
        axes.plot(line.x, line.y, dashes, color=colour, linewidth=0.9, alpha=0.5)
        return
    axes.plot(line.x, line.y, dashes, color=colour, linewidth=1.4)
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
