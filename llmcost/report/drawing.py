"""How charts are drawn: by matplotlib, which nothing else needs, in one style for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from llmcost.ground.units import significant
from llmcost.report.charts import DASHED, Bars, Chart, Line, Panel
from llmcost.report.fonts import readable
from llmcost.report.palette import LIGHT, THEMES, Palette
from llmcost.report.svg import compact
from llmcost.report.wrapping import fill, wide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

DASHES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
assert len(DASHES) == DASHED
WIDE, HIGH, LOW = 5.2, 4.6, 2.6  # inches of a panel; LOW: of one with a few bars that lie
ROW = 0.17  # inches of a span
BAR = 0.26  # inches of a bar that lies
MOST_LABELLED = 15  # bars of a panel that have labels
MOST_LETTERS = 130  # of names of groups side by side, the longest taken for all; more stand aslant
MOST_WIDE = 5  # groups of bars whose names have room in full size
LETTERS = 24  # of a caption in an inch
PALE, DEEP = 0.08, 0.6  # how much of its colour the lightest and the darkest field of a map have
MOST_SLOTS = 150  # of a timeline that is no wider than other panels
MOST_BESIDE = 3  # panels side by side; four stand in two rows
LEGEND = 0.19  # inches of a row of a legend for all panels
CAPTION = 0.135  # inches of a line of the sources
LONG = 28  # letters of a name beside bars that lie, in a line
FIELDS = 46  # points of letters, times how many fields of a map stand side by side
NARROW = 0.018  # share of a timeline that a slot needs for its text
FAR = 0.15  # what a place beside a mark costs more than the one before it; covering another mark costs 1
PLACES = [(dx, dy) for far in (1, 2, 3.2, 4.6) for dx, dy in (
    (6 * far, -9 * far), (6 * far, 7 * far), (-6 * far, 7 * far), (-6 * far, -9 * far), (0, 11 * far), (0, -13 * far),
)]  # points beside a mark where its text may stand, the nearest first  # fmt: skip


_PAPER: ContextVar[Palette] = ContextVar("paper", default=LIGHT)
_paper = _PAPER.get  # the colours of what is being drawn


def draw(chart: Chart, kind: str, theme: str = "light") -> bytes:
    """A file of a format (`kind`): panels side by side, under a title and above their legends and the sources.

    `theme`: the paper, of THEMES; SVG has both, and takes the one that its reader prefers. Words are in the language
    that is spoken, as far as there is a font for them.
    """
    before = _PAPER.set(LIGHT if kind == "svg" else THEMES[theme])
    try:
        return _drawn(*readable(chart, kind), kind)
    finally:
        _PAPER.reset(before)


def _drawn(chart: Chart, families: Sequence[str], kind: str) -> bytes:
    from warnings import catch_warnings, filterwarnings

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = chart.panels
    columns = len(panels) if len(panels) <= MOST_BESIDE else 2
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    widths = [max(map(_width, panels[place::columns])) for place in range(columns)]
    width = sum(widths)
    caption = [line for text in chart.caption for line in fill(text, int(LETTERS * width))]
    shared = _shared(panels)
    across = max(1, min(len(shared), int(width / (0.45 + 0.075 * max(map(wide, shared), default=0)))))
    legend = LEGEND * -(-len(shared) // across)
    below = CAPTION * len(caption)
    high = sum(max(map(_height, row)) for row in rows) + below + legend
    with rc_context(_settings(families)), catch_warnings():
        filterwarnings("ignore", "Glyph .* missing from font")  # of SVG, whose reader has fonts of its own
        figure = Figure(figsize=(width, high), layout="constrained", facecolor=_paper().paper)
        if chart.title:
            title = "\n".join(fill(chart.title, int(0.6 * LETTERS * width)))
            figure.suptitle(title, fontsize=12, x=0.01, ha="left")
        sources = "\n".join(caption)
        figure.text(0.01, 0.06 / high, sources, fontsize=7, color=_paper().soft, va="bottom", in_layout=False)
        rect = (0, (below + legend) / high, 1, 1 - (below + legend) / high)
        figure.get_layout_engine().set(rect=rect)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(len(rows), columns, squeeze=False, width_ratios=widths)
        pairs = list(zip(grid.flat, panels, strict=False))
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in pairs:
            _draw_panel(axes, panel)
            if not shared:
                _draw_legend(axes, panel.labels())
        if shared:
            figure.legend(
                _handles(shared), shared, loc="lower left", bbox_to_anchor=(0, below / high), ncols=across,
                frameon=False, fontsize=8,
            ).set_in_layout(False)  # fmt: skip
        if any(line.notes for panel in panels for line in panel.lines):
            figure.draw_without_rendering()  # after which it is known where points are
            for axes, panel in pairs:
                _write_notes(axes, panel.lines)
        metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
        file = BytesIO()
        figure.savefig(file, format=kind, dpi=160, metadata=metadata)
    drawn = file.getvalue()
    return compact(drawn.decode()).encode() if kind == "svg" else drawn


def _settings(families: Sequence[str]) -> dict[Any, Any]:
    """What matplotlib is told of fonts and colours."""
    paper = _paper()
    return {
        "font.family": families,
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.facecolor": paper.paper,
        "savefig.facecolor": paper.paper,
        "svg.hashsalt": "llmcost",
        "svg.fonttype": "none",
        "text.parse_math": False,  # a $ in a title is a dollar
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), paper.ink),
    }


def _width(panel: Panel) -> float:
    """Inches of a panel; a timeline of many slots is wide."""
    return WIDE * min(max(1, len(panel.slots) / MOST_SLOTS), 1.8)


def _height(panel: Panel) -> float:
    """Inches of a panel, with room for all that stands below each other in it; few bars that lie need little."""
    if panel.sideways:
        bars = len(panel.groups) * (1 if panel.stacked else len(panel.bars))
        return max(LOW, 1.6 + BAR * bars)
    return max(HIGH, 1.2 + ROW * len(panel.spans), 1.6 + ROW * len(panel.rows))


def _shared(panels: Sequence[Panel]) -> dict[str, int]:
    """The labels of all panels, where each that has some has the same; else none."""
    labels = [panel.labels() for panel in panels if len(panel.labels()) > 1]
    alike = len(panels) > 1 and len(labels) == len(panels) and all(each == labels[0] for each in labels)
    return labels[0] if alike else {}


def _draw_legend(axes: Axes, labels: Mapping[str, int]) -> None:
    """A legend below one panel."""
    from matplotlib.transforms import ScaledTranslation

    if len(labels) > 1:
        longest = max(map(wide, labels))
        inches = 0.46 if axes.get_xlabel() else 0.3
        place = axes.transAxes + ScaledTranslation(0, -inches, axes.figure.dpi_scale_trans)
        axes.legend(
            _handles(labels), labels, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=place, frameon=False,
            fontsize=8, ncols=3 if longest < 22 else 2 if longest < 36 else 1, borderaxespad=0, borderpad=0,
            columnspacing=1.2,
        )  # fmt: skip


def _handles(labels: Mapping[str, int]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=_colour(number), linestyle=_dashes(number), linewidth=2.5) for number in labels.values()
    ]


def _colour(number: int) -> str:
    return _paper().series[number % len(_paper().series)]


def _dashes(number: int) -> Literal["-", "--", ":"]:
    return DASHES[number // len(_paper().series) % len(DASHES)]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter

    note = fill(panel.note, int(14 * _width(panel))) if panel.note else []
    axes.set_title(panel.title, loc="left", pad=8 + 10 * max(len(note), 1))
    axes.annotate(
        "\n".join(note),
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8,
        color=_paper().soft,
    )
    axes.set(xlabel=panel.x, ylabel=panel.y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=_paper().grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for line in panel.lines:
        _draw_line(axes, line)
    if panel.lines:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(_plain))
        _make_logarithmic(axes, panel.log)
    if panel.bars and panel.sideways:
        _draw_lying_bars(axes, panel)
    elif panel.bars:
        _draw_bars(axes, panel)
    if panel.spans:
        _draw_spans(axes, panel)
    if panel.cells:
        _draw_map(axes, panel)
    if panel.slots:
        _draw_timeline(axes, panel)


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


def _plain(value: float, _: int | None = None) -> str:
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
    return [_colour(bars.number) if each else _paper().paper for each in solid]


def _draw_bars(axes: Axes, panel: Panel) -> None:
    """Draw a panel's bars on each other or side by side in each group, with labels where they are few."""
    from matplotlib.ticker import FuncFormatter

    beside = 1 if panel.stacked else len(panel.bars)
    width, groups = (0.8 if len(panel.groups) > 1 or beside > 1 else 0.4) / beside, len(panel.groups)
    for place, (bars, bottoms) in enumerate(_stacks(panel)):
        beside_middle = 0.0 if panel.stacked else (place - (beside - 1) / 2) * width
        at = [group + beside_middle for group in range(groups)]
        heights = [height or 0 for height in bars.heights]
        edge = _paper().paper if panel.stacked and all(bars.solid or [True]) else _colour(bars.number)
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
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.grid(visible=False, axis="x")
    if panel.limit is not None:
        name, height = panel.limit
        axes.axhline(height, color=_paper().ink, linewidth=1, linestyle="--")
        axes.set_ylim(top=1.08 * max(height, axes.get_ylim()[1] / 1.05))
        axes.annotate(name, (0.99, height), xycoords=("axes fraction", "data"), xytext=(0, 3),
                      textcoords="offset points", ha="right", fontsize=8)  # fmt: skip


def _draw_lying_bars(axes: Axes, panel: Panel) -> None:
    """Draw bars from the left, a group a row, the first on top; each group's sum stands behind it."""
    from matplotlib.ticker import FuncFormatter

    groups = range(len(panel.groups))
    ends = [0.0] * len(groups)
    for bars, lefts in _stacks(panel):
        widths = [height or 0 for height in bars.heights]
        for row, face in enumerate(_faces(bars)):
            if widths[row]:
                colour = _colour(bars.number)
                axes.barh(row, widths[row], 0.75, lefts[row], color=face, edgecolor=colour, linewidth=0.8)
        ends = [max(end, left + width) for end, left, width in zip(ends, lefts, widths, strict=True)]
    for row, end in zip(groups, ends, strict=True):
        text = f"{end:,.0f}" if float(end).is_integer() else significant(end)
        axes.annotate(text, (end, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(groups, ["\n".join(_wrapped(name)) for name in panel.groups], fontsize=8)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 1.14 * max(ends) or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.grid(visible=False, axis="y")


def _wrapped(name: str) -> list[str]:
    return [line for part in name.splitlines() for line in fill(part, LONG)]


def _draw_spans(axes: Axes, panel: Panel) -> None:
    """Draw a panel's spans below each other, each with its name, around a line at 1."""
    low, high = panel.within
    for place, span in enumerate(panel.spans):
        left, middle, right = (min(max(each, low), high) for each in (span.low, span.middle, span.high))
        axes.plot((left, right), (place, place), color=_colour(span.number), linewidth=2.5, solid_capstyle="round")
        axes.plot(
            (middle,), (place,), "o", markersize=5, color=_paper().paper, markeredgecolor=_colour(span.number), zorder=3
        )
    axes.axvline(1, color=_paper().ink, linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(panel.groups)), panel.groups, fontsize=7)
    axes.set_xlim(low, high)
    axes.set_ylim(len(panel.groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    _make_logarithmic(axes, panel.log)


def _draw_map(axes: Axes, panel: Panel) -> None:
    """Draw a field for each cell, the darker the more its shade, with its text."""
    from matplotlib.patches import Rectangle

    size = max(5.5, min(9, FIELDS / len(panel.groups)))
    for cell in panel.cells:
        corner = (cell.column - 0.48, cell.row - 0.48)
        if cell.shade is None:
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor="none", edgecolor=_paper().grid))
        else:
            alpha = PALE + (DEEP - PALE) * cell.shade
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=_colour(0), alpha=alpha, linewidth=0))
        axes.text(
            cell.column, cell.row, cell.text, ha="center", va="center", fontsize=size,
            color=_paper().soft if cell.shade is None else _paper().ink,
            fontweight="bold" if cell.shade == 1 else "normal",
        )  # fmt: skip
    axes.set_xticks(range(len(panel.groups)), panel.groups)
    axes.set_yticks(range(len(panel.rows)), panel.rows)
    axes.set_xlim(-0.5, len(panel.groups) - 0.5)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_timeline(axes: Axes, panel: Panel) -> None:
    """Draw slots as boxes, a row below the other; texts where the narrowest that has one has room for it."""
    from matplotlib.ticker import FuncFormatter

    end = max(slot.end for slot in panel.slots)
    for number in sorted({slot.number for slot in panel.slots}):
        for row in range(len(panel.rows)):
            times = [
                (slot.start, slot.end - slot.start) for slot in panel.slots if (slot.number, slot.row) == (number, row)
            ]
            high, paper = (row - 0.42, 0.84), _paper().paper
            axes.broken_barh(times, high, facecolor=_colour(number), edgecolor=paper, linewidth=0.3)
    texts = [slot for slot in panel.slots if slot.text]
    if all(slot.end - slot.start >= NARROW * end * len(slot.text) for slot in texts):
        for slot in texts:
            axes.text((slot.start + slot.end) / 2, slot.row, slot.text, ha="center", va="center", fontsize=6.5,
                      color=_paper().paper)  # fmt: skip
    axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize=9 if len(panel.rows) <= MOST_WIDE else 7)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_xlim(0, end)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))


def _draw_line(axes: Axes, line: Line) -> None:
    colour, dashes = _colour(line.number), _dashes(line.number)
    if line.faint:
        axes.plot(line.x, line.y, dashes, color=colour, linewidth=0.9, alpha=0.5)
        return
    if line.joined:
        axes.plot(line.x, line.y, dashes, color=colour, linewidth=1.4)
    if not line.marker:
        return
    solid = line.solid or [True] * len(line.x)
    for inside, face in ((True, colour), (False, _paper().paper)):
        chosen = [place for place, each in enumerate(solid) if each is inside]
        x, y = [line.x[place] for place in chosen], [line.y[place] for place in chosen]
        axes.plot(x, y, line.marker, markersize=4.5, markerfacecolor=face, markeredgecolor=colour, zorder=3)


def _write_notes(axes: Axes, lines: Sequence[Line]) -> None:
    """Write the texts beside points, each at the nearest place where it covers no point and no other text."""
    from matplotlib.transforms import Bbox

    points = [(x, y) for line in lines if line.marker and not line.faint for x, y in zip(line.x, line.y, strict=True)]
    marks = [axes.transData.transform(point) for point in points]
    taken = [(Bbox.from_bounds(x - 3, y - 3, 6, 6), 1.0) for x, y in marks]  # boxes, each with what covering it costs
    frame, scale = axes.get_window_extent(), axes.figure.dpi / 72
    arrow = {"arrowstyle": "-", "color": _paper().soft, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    for line in lines:
        for x, y, note in zip(line.x, line.y, line.notes, strict=False):
            if note:
                offset, box = _free(axes.transData.transform((x, y)), note, scale, taken, frame)
                taken.append((box, 4.0))
                side = "left" if offset[0] > 0 else "right" if offset[0] < 0 else "center"
                axes.annotate(
                    note, (x, y), offset, textcoords="offset points", fontsize=7, color=_paper().soft, ha=side,
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
