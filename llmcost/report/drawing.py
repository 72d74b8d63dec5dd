"""How charts are drawn: by matplotlib, which nothing else needs, in one style for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from llmcost.report.charts import Chart, Panel
from llmcost.report.drawing_marks import (
    PAPER,
    colour_of,
    dashes_of,
    draw_bars,
    draw_line,
    draw_lying_bars,
    draw_map,
    draw_spans,
    draw_timeline,
    make_logarithmic,
    paper_now,
    plain,
    write_notes,
)
from llmcost.report.fonts import readable
from llmcost.report.palette import LIGHT, THEMES
from llmcost.report.svg import compact
from llmcost.report.wrapping import fill, wide

if TYPE_CHECKING:
    from matplotlib.axes import Axes


WIDE, HIGH, LOW = 5.2, 4.6, 2.6  # inches of a panel; LOW: of one with a few bars that lie
ROW = 0.17  # inches of a span
BAR = 0.26  # inches of a bar that lies
LETTERS = 24  # of a caption in an inch
MOST_SLOTS = 150  # of a timeline that is no wider than other panels
MOST_BESIDE = 3  # panels side by side; four stand in two rows
LEGEND = 0.19  # inches of a row of a legend for all panels
CAPTION = 0.135  # inches of a line of the sources


def draw(chart: Chart, kind: str, theme: str = "light") -> bytes:
    """A file of a format (`kind`): panels side by side, under a title and above their legends and the sources.

    `theme`: the paper, of THEMES; SVG has both, and takes the one that its reader prefers. Words are in the language
    that is spoken, as far as there is a font for them.
    """
    before = PAPER.set(LIGHT if kind == "svg" else THEMES[theme])
    try:
        return _drawn(*readable(chart, kind), kind)
    finally:
        PAPER.reset(before)


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
        figure = Figure(figsize=(width, high), layout="constrained", facecolor=paper_now().paper)
        if chart.title:
            title = "\n".join(fill(chart.title, int(0.6 * LETTERS * width)))
            figure.suptitle(title, fontsize=12, x=0.01, ha="left")
        sources = "\n".join(caption)
        figure.text(0.01, 0.06 / high, sources, fontsize=7, color=paper_now().soft, va="bottom", in_layout=False)
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
                write_notes(axes, panel.lines)
        metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
        file = BytesIO()
        figure.savefig(file, format=kind, dpi=160, metadata=metadata)
    drawn = file.getvalue()
    return compact(drawn.decode()).encode() if kind == "svg" else drawn


def _settings(families: Sequence[str]) -> dict[Any, Any]:
    """What matplotlib is told of fonts and colours."""
    paper = paper_now()
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
        Line2D([], [], color=colour_of(number), linestyle=dashes_of(number), linewidth=2.5)
        for number in labels.values()
    ]


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
        color=paper_now().soft,
    )
    axes.set(xlabel=panel.x, ylabel=panel.y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=paper_now().grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for line in panel.lines:
        draw_line(axes, line)
    if panel.lines:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(plain))
        make_logarithmic(axes, panel.log)
    if panel.bars and panel.sideways:
        draw_lying_bars(axes, panel)
    elif panel.bars:
        draw_bars(axes, panel)
    if panel.spans:
        draw_spans(axes, panel)
    if panel.cells:
        draw_map(axes, panel)
    if panel.slots:
        draw_timeline(axes, panel)
