"""The marks of a chart: bars, lines, maps, spans and timelines in the axes of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from llmcost.ground.units import significant
from llmcost.report.charts import DASHED, Bars, Line, Panel
from llmcost.report.palette import LIGHT, Palette
from llmcost.report.wrapping import fill

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

DASHES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
assert len(DASHES) == DASHED
MOST_LABELLED = 15  # bars of a panel that have labels
MOST_LETTERS = 130  # of names of groups side by side, the longest taken for all; more stand aslant
MOST_WIDE = 5  # groups of bars whose names have room in full size
PALE, DEEP = 0.08, 0.6  # how much of its colour the lightest and the darkest field of a map have
LONG = 28  # letters of a name beside bars that lie, in a line
FIELDS = 46  # points of letters, times how many fields of a map stand side by side
NARROW = 0.018  # share of a timeline that a slot needs for its text
FAR = 0.15  # what a place beside a mark costs more than the one before it; covering another mark costs 1
PLACES = [(dx, dy) for far in (1, 2, 3.2, 4.6) for dx, dy in (
    (6 * far, -9 * far), (6 * far, 7 * far), (-6 * far, 7 * far), (-6 * far, -9 * far), (0, 11 * far), (0, -13 * far),
)]  # points beside a mark where its text may stand, the nearest first  # fmt: skip
PAPER: ContextVar[Palette] = ContextVar("paper", default=LIGHT)
paper_now = PAPER.get  # the colours of what is being drawn


def colour_of(number: int) -> str:
    """The colour of a series on the paper that is drawn on."""
    return paper_now().series[number % len(paper_now().series)]


def dashes_of(number: int) -> Literal["-", "--", ":"]:
    """The dashes of a series: others once all colours are taken."""
    return DASHES[number // len(paper_now().series) % len(DASHES)]


def make_logarithmic(axes: Axes, which: tuple[bool, bool]) -> None:
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


def plain(value: float, _: int | None = None) -> str:
    """A tick's value, without an exponent."""
    return f"{value:,.10g}"


def _stacks(panel: Panel) -> list[tuple[Bars, list[float]]]:
    """Bars, each with where they begin: at the end of those before, or at 0."""
    ends, found = [0.0] * len(panel.groups), []
    for bars in panel.bars:
        found.append((bars, list(ends)))
        if panel.stacked:
            ends = [end + (height or 0) for end, height in zip(ends, bars.heights, strict=True)]
    return found


def _faces(bars: Bars) -> list[str]:
    solid = bars.solid or [True] * len(bars.heights)
    return [colour_of(bars.number) if each else paper_now().paper for each in solid]


def draw_bars(axes: Axes, panel: Panel) -> None:
    """Draw a panel's bars on each other or side by side in each group, with labels where they are few."""
    from matplotlib.ticker import FuncFormatter

    beside = 1 if panel.stacked else len(panel.bars)
    width, groups = (0.8 if len(panel.groups) > 1 or beside > 1 else 0.4) / beside, len(panel.groups)
    for place, (bars, bottoms) in enumerate(_stacks(panel)):
        beside_middle = 0.0 if panel.stacked else (place - (beside - 1) / 2) * width
        at = [group + beside_middle for group in range(groups)]
        heights = [height or 0 for height in bars.heights]
        edge = paper_now().paper if panel.stacked and all(bars.solid or [True]) else colour_of(bars.number)
        drawn = axes.bar(at, heights, 0.9 * width, bottoms, color=_faces(bars), edgecolor=edge, linewidth=0.8)
        if not panel.stacked and len(panel.bars) * groups <= MOST_LABELLED:
            labels = ["" if height is None else significant(height) for height in bars.heights]
            axes.bar_label(drawn, labels, fontsize=7, padding=2)
    if groups == 1 and panel.stacked:
        axes.set_xlim(-0.6, 0.6)
    axes.set_xticks(range(groups), panel.groups, fontsize=9 if groups <= MOST_WIDE else 7)
    if groups * max(len(line) for name in panel.groups for line in name.splitlines() or [""]) > MOST_LETTERS:
        axes.tick_params("x", rotation=60)
        for label in axes.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(visible=False, axis="x")
    if panel.limit is not None:
        name, height = panel.limit
        axes.axhline(height, color=paper_now().ink, linewidth=1, linestyle="--")
        axes.set_ylim(top=1.08 * max(height, axes.get_ylim()[1] / 1.05))
        axes.annotate(name, (0.99, height), xycoords=("axes fraction", "data"), xytext=(0, 3),
                      textcoords="offset points", ha="right", fontsize=8)  # fmt: skip


def draw_lying_bars(axes: Axes, panel: Panel) -> None:
    """Draw bars from the left, a group a row, the first on top; each group's sum stands behind it."""
    from matplotlib.ticker import FuncFormatter

    groups = range(len(panel.groups))
    ends = [0.0] * len(groups)
    for bars, lefts in _stacks(panel):
        widths = [height or 0 for height in bars.heights]
        for row, face in enumerate(_faces(bars)):
            if widths[row]:
                colour = colour_of(bars.number)
                axes.barh(row, widths[row], 0.75, lefts[row], color=face, edgecolor=colour, linewidth=0.8)
        ends = [max(end, left + width) for end, left, width in zip(ends, lefts, widths, strict=True)]
    for row, end in zip(groups, ends, strict=True):
        text = f"{end:,.0f}" if float(end).is_integer() else significant(end)
        axes.annotate(text, (end, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(groups, ["\n".join(_wrapped(name)) for name in panel.groups], fontsize=8)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 1.14 * max(ends) or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(visible=False, axis="y")


def _wrapped(name: str) -> list[str]:
    return [line for part in name.splitlines() for line in fill(part, LONG)]


def draw_spans(axes: Axes, panel: Panel) -> None:
    """Draw a panel's spans below each other, each with its name, around a line at 1."""
    low, high = panel.within
    for place, span in enumerate(panel.spans):
        left, middle, right = (min(max(each, low), high) for each in (span.low, span.middle, span.high))
        colour, hollow = colour_of(span.number), paper_now().paper
        axes.plot((left, right), (place, place), color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot((middle,), (place,), "o", markersize=5, color=hollow, markeredgecolor=colour, zorder=3)
    axes.axvline(1, color=paper_now().ink, linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(panel.groups)), panel.groups, fontsize=7)
    axes.set_xlim(low, high)
    axes.set_ylim(len(panel.groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    make_logarithmic(axes, panel.log)


def draw_map(axes: Axes, panel: Panel) -> None:
    """Draw a field for each cell, the darker the more its shade, with its text."""
    from matplotlib.patches import Rectangle

    size = max(5.5, min(9, FIELDS / len(panel.groups)))
    for cell in panel.cells:
        corner = (cell.column - 0.48, cell.row - 0.48)
        if cell.shade is None:
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor="none", edgecolor=paper_now().grid))
        else:
            alpha = PALE + (DEEP - PALE) * cell.shade
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=colour_of(0), alpha=alpha, linewidth=0))
        axes.text(
            cell.column, cell.row, cell.text, ha="center", va="center", fontsize=size,
            color=paper_now().soft if cell.shade is None else paper_now().ink,
            fontweight="bold" if cell.shade == 1 else "normal",
        )  # fmt: skip
    axes.set_xticks(range(len(panel.groups)), panel.groups)
    axes.set_yticks(range(len(panel.rows)), panel.rows)
    axes.set_xlim(-0.5, len(panel.groups) - 0.5)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_timeline(axes: Axes, panel: Panel) -> None:
    """Draw slots as boxes, a row below the other; texts where the narrowest that has one has room for it."""
    from matplotlib.ticker import FuncFormatter

    end = max(slot.end for slot in panel.slots)
    for number in sorted({slot.number for slot in panel.slots}):
        for row in range(len(panel.rows)):
            times = [
                (slot.start, slot.end - slot.start) for slot in panel.slots if (slot.number, slot.row) == (number, row)
            ]
            high, paper = (row - 0.42, 0.84), paper_now().paper
            axes.broken_barh(times, high, facecolor=colour_of(number), edgecolor=paper, linewidth=0.3)
    texts = [slot for slot in panel.slots if slot.text]
    if all(slot.end - slot.start >= NARROW * end * len(slot.text) for slot in texts):
        for slot in texts:
            axes.text((slot.start + slot.end) / 2, slot.row, slot.text, ha="center", va="center", fontsize=6.5,
                      color=paper_now().paper)  # fmt: skip
    axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize=9 if len(panel.rows) <= MOST_WIDE else 7)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_xlim(0, end)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(FuncFormatter(plain))


def draw_line(axes: Axes, line: Line) -> None:
    """The points of a line, with marks and joined as it says."""
    colour, dashes = colour_of(line.number), dashes_of(line.number)
    if line.faint:
        axes.plot(line.x, line.y, dashes, color=colour, linewidth=0.9, alpha=0.5)
        return
    if line.joined:
        axes.plot(line.x, line.y, dashes, color=colour, linewidth=1.4)
    if not line.marker:
        return
    solid = line.solid or [True] * len(line.x)
    for inside, face in ((True, colour), (False, paper_now().paper)):
        chosen = [place for place, each in enumerate(solid) if each is inside]
        x, y = [line.x[place] for place in chosen], [line.y[place] for place in chosen]
        axes.plot(x, y, line.marker, markersize=4.5, markerfacecolor=face, markeredgecolor=colour, zorder=3)


def write_notes(axes: Axes, lines: Sequence[Line]) -> None:
    """Write the texts beside points, each at the nearest place where it covers no point and no other text."""
    from matplotlib.transforms import Bbox

    points = [(x, y) for line in lines if line.marker and not line.faint for x, y in zip(line.x, line.y, strict=True)]
    marks = [axes.transData.transform(point) for point in points]
    taken = [(Bbox.from_bounds(x - 3, y - 3, 6, 6), 1.0) for x, y in marks]  # boxes, each with what covering it costs
    frame, scale = axes.get_window_extent(), axes.figure.dpi / 72
    arrow = {"arrowstyle": "-", "color": paper_now().soft, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    for line in lines:
        for x, y, note in zip(line.x, line.y, line.notes, strict=False):
            if note:
                offset, box = _free(axes.transData.transform((x, y)), note, scale, taken, frame)
                taken.append((box, 4.0))
                side = "left" if offset[0] > 0 else "right" if offset[0] < 0 else "center"
                axes.annotate(
                    note, (x, y), offset, textcoords="offset points", fontsize=7, color=paper_now().soft, ha=side,
                    va="center", arrowprops=arrow,
                )  # fmt: skip


def _free(
    at: Any, note: str, scale: float, taken: Sequence[tuple[Bbox, float]], frame: Bbox
) -> tuple[tuple[float, float], Bbox]:
    """Points beside a mark where a text may stand, and the box that it takes there: the place that costs least."""
    from matplotlib.transforms import Bbox

    wide, high = 4.1 * len(note) * scale, 8 * scale
    tried = []
    for number, offset in enumerate(PLACES):
        x, y = at[0] + offset[0] * scale, at[1] + offset[1] * scale
        left = x if offset[0] > 0 else x - wide if offset[0] < 0 else x - wide / 2
        box = Bbox.from_bounds(left, y - high / 2, wide, high)
        outside = not (frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
        covered = sum(cost for other, cost in taken if box.overlaps(other))
        tried.append((covered + 4 * outside + FAR * number, number, offset, box))
    _, _, offset, box = min(tried, key=lambda each: each[:2])
    return offset, box
