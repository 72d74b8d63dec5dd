"""Charts as pictures: colours, texts that stand free, legends, formats."""

import re
from colorsys import rgb_to_hls
from html import unescape
from pathlib import Path
from shutil import copyfile

import pytest

from llmcost.report import fonts
from llmcost.report import palette as palette_module
from llmcost.report.charts import Bars, Cell, Chart, Line, Panel, Slot, Span
from llmcost.report.palette import DARK, LIGHT
from llmcost.report.saving import save

pytest.importorskip("matplotlib")

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES = re.findall(r"<!-- picture: llmcost (.*) -->", (DOCS / "pictures.md").read_text("utf-8"))

ONE = Panel("lines", "x", "y", [Line("a", 0, [1, 2], [3, 4], notes=["first", "second"])])
EVERY = [
    ONE,
    Panel("bars", "", "GB", bars=[Bars("a", 0, [1, None]), Bars("b", 1, [2, 3], [True, False])], groups=["g", "h"]),
    Panel("stack", "", "GB", bars=[Bars("a", 0, [1])], groups=["g"], stacked=True, limit=("usable", 2)),
    Panel("lying", "ms", "", bars=[Bars("a", 0, [1, 2])], groups=["g", "h"], sideways=True),
    Panel("spans", "x", "", spans=[Span("a", 0, 0.5, 1, 2)], groups=["g"], log=(True, False)),
    Panel("map", "pp", "tp", cells=[Cell(0, 0, "1 s", 1.0), Cell(1, 0, "+1 GB", None)], groups=["1", "2"], rows=["1"]),
    Panel("times", "s", "", slots=[Slot("f", 0, 0, 0, 1, "1"), Slot("b", 1, 0, 1, 3, "1")], rows=["stage 1"]),
]


def luminance(colour):
    """Of a colour, relative to white: WCAG 2.2, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_has_contrast_of_4_5_and_colours_of_2_on_their_paper(palette):
    """WCAG 2.2, 1.4.3: 4.5 for text."""
    assert all(contrast(each, palette.paper) >= 4.5 for each in (palette.ink, palette.soft, palette.alarm))
    assert all(contrast(each, palette.paper) >= 2 for each in palette.series)


def test_a_series_keeps_its_hue_on_dark_paper_and_no_two_are_alike():
    for light, dark in zip(LIGHT.series[:6], DARK.series[:6], strict=True):
        hues = [
            rgb_to_hls(*(int(each[place : place + 2], 16) / 255 for place in (1, 3, 5)))[0] for each in (light, dark)
        ]
        assert abs(hues[0] - hues[1]) < 0.06
    for palette in (LIGHT, DARK):
        assert len(set(palette.series)) == len(palette.series)


@pytest.mark.parametrize("panel", EVERY, ids=lambda panel: panel.title)
def test_each_kind_of_panel_takes_the_palette_for_dark_paper(panel, tmp_path):
    """Every colour that is drawn is one of the light palette, and each of those has its dark one."""
    save(tmp_path / "x.svg", Chart("title", [panel], ["source"]))
    drawn = (tmp_path / "x.svg").read_text("utf-8")
    light, dark = (drawn.split("</style>")[0]).split("@media(prefers-color-scheme:dark)")
    used, instead = (set(re.findall(r"(?:fill|stroke):(#[0-9a-f]{6})", part)) for part in (light, dark))
    palettes = [(each.paper, each.ink, each.soft, each.grid, *each.series) for each in (LIGHT, DARK)]
    dark_of = dict(zip(*palettes, strict=True))
    assert instead == {dark_of[each] for each in used - {"#000000"}}  # matplotlib's own, of clip paths
    assert "style=" not in drawn
    for text in ("title", panel.title, "source"):
        assert text in drawn


def test_a_picture_is_the_same_each_time(tmp_path):
    drawn = []
    for ending, panels in (("svg", EVERY[::2]), ("svg", EVERY[::2]), ("html", [ONE]), ("html", [ONE])):
        save(tmp_path / f"x.{ending}", Chart("title", panels))
        drawn.append((tmp_path / f"x.{ending}").read_bytes())
    assert drawn[0] == drawn[1]
    assert drawn[2] == drawn[3]


def test_texts_beside_points_stand_apart(tmp_path):
    """Six points on one spot: their texts cover each other nowhere."""
    names = [f"operator_{number}" for number in range(6)]
    line = Line("a", 0, [10.0] * 6, [10.0] * 6, joined=False, notes=names)
    ends = Line("", 0, [1, 100], [1, 100], faint=True)
    save(tmp_path / "x.svg", Chart("", [Panel("p", "x", "y", [line, ends])]))
    drawn = (tmp_path / "x.svg").read_text("utf-8")
    found = re.findall(r'text-anchor: (\w+)[^>]*?translate\(([\d.]+) ([\d.]+)\)[^>]*>(operator_\d)<|'
                       r'x="([\d.]+)" y="([\d.]+)"[^>]*>(operator_\d)<', drawn)  # fmt: skip
    heights = sorted(float(each[2] or each[5]) for each in found)
    assert len(heights) == 6
    places = {(float(each[1] or each[4]) // 30, float(each[2] or each[5]) // 7) for each in found}
    assert len(places) == 6


def test_panels_with_the_same_labels_share_a_legend_and_others_have_their_own(tmp_path):
    pair = [Line("one", 0, [1, 2], [1, 2]), Line("two", 1, [1, 2], [2, 1])]
    shared = Chart("", [Panel("p", "x", "y", pair), Panel("q", "x", "y", pair)])
    apart = Chart("", [Panel("p", "x", "y", pair), Panel("q", "x", "y", [*pair, Line("three", 2, [1], [1])])])
    for chart, times in ((shared, 1), (apart, 2)):
        save(tmp_path / "x.svg", chart)
        assert (tmp_path / "x.svg").read_text("utf-8").count(">one<") == times


def test_lines_that_lie_in_the_last_place_are_drawn_as_png_and_pdf_too(tmp_path):
    for ending, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        save(tmp_path / f"x.{ending}", Chart("title", EVERY[3:]))
        assert (tmp_path / f"x.{ending}").read_bytes().startswith(start)


def test_dark_paper_is_the_palettes_in_a_png_too(tmp_path):
    from matplotlib.image import imread

    save(tmp_path / "x.png", Chart("title", [ONE]), "dark")
    corner = [round(255 * each) for each in imread(tmp_path / "x.png")[0, -1, :3]]
    assert "#{:02x}{:02x}{:02x}".format(*corner) == DARK.paper


def test_chinese_letters_are_left_out_and_said_to_be_where_no_font_has_them(monkeypatch):
    monkeypatch.setattr(fonts, "chinese_font", lambda: None)
    chart = Chart("Qwen 通义千问", [ONE._replace(note="方阵, 12")], ["Course slides, 典型 (Tsinghua)"])
    shown, families = fonts.readable(chart, "png")
    assert (shown.title, shown.panels[0].note, families) == ("Qwen", ", 12", [fonts.LATIN])
    assert [*shown.caption] == ["Course slides, (Tsinghua)", fonts.MISSING]
    assert fonts.readable(chart, "svg")[0] == chart


def test_a_picture_of_one_panel_takes_few_kilobytes(tmp_path):
    save(tmp_path / "x.svg", Chart("title", [EVERY[3]]))
    assert (tmp_path / "x.svg").stat().st_size < 8000


def words_of(path):
    return sorted(unescape(word) for word in re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text("utf-8")))


@pytest.mark.parametrize("line", PICTURES)
def test_the_pictures_on_the_page_are_of_the_answers_as_they_are(line, cli, tmp_path, request):
    """Every word and number in them; `--update-snapshots` draws them anew."""
    *arguments, _, place = line.split()
    path = tmp_path / "x.svg"
    assert cli(*arguments, "--plot", path).code == 0
    shown = DOCS.parent / place
    if request.config.getoption("--update-snapshots"):
        copyfile(path, shown)
    assert words_of(shown) == words_of(path)


@pytest.mark.parametrize(("palette", "place"), [(LIGHT, 0), (DARK, 1)], ids=["light", "dark"])
def test_the_page_in_the_browser_has_the_colours_of_the_charts(palette, place):
    """The style sheet gives colours for light paper first, then for dark; it has a line where charts have a grid."""
    sheet = (Path(palette_module.__file__).parent / "web" / "page.css").read_text("utf-8")
    found = [each[place] for name in ("paper", "ink", "soft", "line", "alarm") if (each := colours_of(sheet, name))]
    assert found == [palette.paper, palette.ink, palette.soft, palette.grid, palette.alarm]
    series = [colours_of(sheet, f"c{number}")[place] for number in range(7)]
    assert series == [*palette.series[:7]]


def colours_of(sheet, name):
    """Every value of a variable of a style sheet, in its order."""
    return re.findall(rf"--{name}: (#[0-9a-f]{{6}});", sheet)
