"""The course page: every figure of the two documents, in their order, with the command that gives it, in two languages.

`pytest tests/test_course.py --update-snapshots` writes docs/course.md and docs/course.zh.md anew, and draws their
pictures, a file a language.
"""

import re
import shlex
from functools import cache
from html import unescape
from pathlib import Path

import pytest
import yaml
from conftest import run_in_process

from llmcost.ground.units import significant
from llmcost.report import saving
from llmcost.report.phrases import translated

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = yaml.safe_load((ROOT / "tests" / "golden.yaml").read_text("utf-8"))
COURSE = yaml.safe_load((ROOT / "tests" / "course.yaml").read_text("utf-8"))
PAGES = {"en": ROOT / "docs" / "course.md", "zh": ROOT / "docs" / "course.zh.md"}
PICTURES = ROOT / "docs" / "pictures" / "course"
SECTIONS = [(document["id"], section) for document in COURSE["documents"] for section in document["sections"]]
FIGURES = [(document, section, figure) for document, section in SECTIONS for figure in section.get("figures", ())]
ENTRIES = {entry["id"]: entry for document in GOLDEN.values() for entry in document["figures"]}


@cache
def printed(command, language):
    """What a command prints into a pipe."""
    answer = run_in_process(*shlex.split(command)[1:], *(["--lang", language] if language != "en" else []))
    assert (answer.code, answer.err) == (0, "")
    return answer.out.rstrip()


def excerpt(section, language):
    lines = printed(section["command"], language).splitlines()
    kept = [line for line in lines if re.search(section.get("lines", ""), line)]
    assert kept
    return "\n".join(line.rstrip() for line in kept)


def how(figure):
    """How a figure follows from what is printed, as a person writes it."""
    text = re.sub(r" \* 10\*\*(\d+)", lambda match: f"e{match[1]}", str(figure["is"]))
    return re.sub(r"\d[\d_]*", lambda match: f"{int(match[0]):,}" if "_" in match[0] else match[0], text).replace(
        "*", "×"
    )


def page(language):
    """The page in a language."""
    lines = [f"# {COURSE['title'][language]}", "", COURSE["intro"][language]]
    heads = " | ".join(COURSE["head"][language])
    for document in COURSE["documents"]:
        lines += ["", f"## {document['title'][language]}", ""]
        links = [
            f"[{label(figure, language)}: {shown(figure)}](#{figure['id']})"
            for section in document["sections"]
            for figure in section.get("figures", ())
        ]
        lines.append(" · ".join(links))
        for section in document["sections"]:
            lines += ["", f"### {section['title'][language]}", ""]
            if "text" in section:
                lines += [section["text"][language], ""]
            command = section["command"] + (f" --lang {language}" if language != "en" else "")
            lines += ["```sh", command, "```", "", "```", excerpt(section, language), "```"]
            if section.get("figures"):
                lines += ["", f"| {heads} |", "|---|---:|---:|---|---|---|"]
                lines += [row(figure, section, language) for figure in section["figures"]]
            if "table" in section:
                lines += ["", *table(document["id"], section["table"], language)]
            for name in section.get("pictures", ()):
                alt = f"{section['title'][language]}: {name}"
                lines += ["", f'<a id="picture-{name}"></a>![{alt}](pictures/course/{file_of(name, language)})', ""]
                lines += ["```sh", f"llmcost {typed(name, language)} --plot {name}.svg", "```"]
    return "\n".join(lines) + "\n"


def label(figure, language):
    return figure["label"][language]


def shown(figure):
    entry = ENTRIES[figure["id"]]
    return f"{entry['prints']} {entry['unit']}".strip()


def file_of(name, language):
    return f"{name}.svg" if language == "en" else f"{name}.{language}.svg"


def typed(name, language):
    return COURSE["pictures"][name] + (f" --lang {language}" if language != "en" else "")


def row(figure, section, language):
    entry = ENTRIES[figure["id"]]
    why = entry.get("why", "") if language == "en" else figure.get("slip", "")
    slip = f"**{why}**" if entry["verdict"] == "erratum" else why
    name = f'<a id="{figure["id"]}"></a>{label(figure, language)}'
    seen = " / ".join(f"[{part}](#picture-{picture})" for part, picture in seen_in(figure, section))
    return f"| {name} | {shown(figure)} | {entry['exact']:,} | `{how(figure)}` | {seen} | {slip} |"


def seen_in(figure, section):
    """As what a figure is seen, and in which picture; of a quotient, both."""
    parts, pictures = figure["seen"], figure.get("in", section["pictures"][0])
    return [*zip(parts, pictures, strict=True)] if isinstance(parts, list) else [(parts, pictures)]


def table(document, kind, language):
    rows = GOLDEN[document][kind]
    sizes = {"model_table": "row", "symbol_table": "symbols"}
    if kind in sizes:
        keys = list(rows[0][sizes[kind]])
        head = ["", *(key.replace("_", " ").replace("ffn", "FFN") for key in keys)]
        body = [[each["id"], *(f"{each[sizes[kind]].get(key, '')}" for key in keys)] for each in rows]
    elif kind == "gemm_table":
        head = COURSE["products"][language]
        body = [
            [
                each["id"],
                *(f"({', '.join(each[side])})" for side in ("input", "other", "output")),
                each["flops"],
                each["params"],
            ]
            for each in rows
        ]
    else:
        head, body = ["", ""], [[each["id"].replace("_", " "), each["formula"]] for each in rows]
    said = [translated(cell, language) if language != "en" else cell for cell in head]
    cells = [[str(cell).replace("*", "\\*") for cell in each] for each in body]
    return ["| " + " | ".join(each) + " |" for each in (said, ["---"] * len(head), *cells)]


@pytest.mark.parametrize("language", PAGES)
def test_the_page_is_what_the_commands_print(language, request):
    made = page(language)
    if request.config.getoption("--update-snapshots"):
        PAGES[language].write_text(made, "utf-8")
    assert PAGES[language].read_text("utf-8") == made


@pytest.mark.parametrize("language", PAGES)
@pytest.mark.parametrize("name", COURSE["pictures"])
def test_a_picture_is_of_what_its_command_answers(name, language, monkeypatch, request):
    """Every text of the chart is in the file; drawing it is not done again."""
    place, charts = PICTURES / file_of(name, language), []
    if request.config.getoption("--update-snapshots"):
        place.parent.mkdir(exist_ok=True)
        assert run_in_process(*shlex.split(typed(name, language)), "--plot", str(place)).code == 0
    monkeypatch.setattr(saving, "save", lambda _path, chart, _theme: charts.append(chart))
    assert run_in_process(*shlex.split(COURSE["pictures"][name]), "--plot", "a.svg").code == 0
    drawn = "".join(words(place)).replace(" ", "")
    said = texts(charts[0], language)
    assert len(said) > 5
    assert [each for each in said if each.replace(" ", "") not in drawn] == []
    assert place.stat().st_size < 25_000


def texts(chart, language):
    """What a chart has written: titles, axes, notes, names and, at the ends of bars that lie, their heights."""
    found = [chart.title, *chart.caption]
    for panel in chart.panels:
        labels = [*panel.labels()]
        found += [panel.title, panel.x, panel.y, panel.note, *labels * (len(labels) > 1), *panel.groups, *panel.rows]
        ends = zip(*(bars.heights for bars in panel.bars), strict=True) if panel.sideways else ()
        found += [significant(sum(height or 0 for height in heights)).removesuffix(".0") for heights in ends]
    found = [line for text in found for line in text.split("\n") if line]
    return [translated(each, language) for each in found] if language != "en" else found


def words(picture):
    return [unescape(each) for each in re.findall(r">([^<>]+)</text>", picture.read_text("utf-8"))]


@pytest.mark.parametrize(
    "figure, section",
    [(figure, section) for _, section, figure in FIGURES],
    ids=lambda each: each.get("id"),
)
def test_a_figure_is_seen_in_its_picture(figure, section):
    for part, picture in seen_in(figure, section):
        drawn = " ".join(words(PICTURES / file_of(picture, "en")))
        numbers = re.findall(r"\d[\d,]*\.\d+|\d[\d,]+", part)
        assert numbers
        assert [each for each in numbers if each not in drawn] == []


def test_every_picture_stands_on_the_page():
    assert {name for _, section in SECTIONS for name in section.get("pictures", ())} == {*COURSE["pictures"]}


@pytest.mark.parametrize("document", GOLDEN)
def test_every_figure_is_there_once_in_the_documents_order(document):
    figures = [figure["id"] for where, _, figure in FIGURES if where == document]
    assert figures == [entry["id"] for entry in GOLDEN[document]["figures"]]
    assert {section["table"] for where, section in SECTIONS if where == document and "table" in section} == {
        key for key in GOLDEN[document] if key not in ("title", "figures")
    }


def test_every_slip_is_told_in_chinese_too():
    told = {figure["id"] for _, _, figure in FIGURES if "slip" in figure}
    assert told == {key for key, entry in ENTRIES.items() if "why" in entry}


@pytest.mark.parametrize(
    "figure, section", [(figure, section) for _, section, figure in FIGURES], ids=lambda each: each.get("id")
)
def test_a_figure_follows_from_what_its_command_prints(figure, section):
    value = eval(str(figure["is"]), {"__builtins__": {}})
    assert value == pytest.approx(ENTRIES[figure["id"]]["exact"], rel=1e-5)
    if not figure.get("round"):
        output = printed(section["command"], "en")
        numbers = re.findall(r"(?<![\d*])\d[\d_]*_[\d_.]*\d|\d+\.\d{3,}", str(figure["is"]))
        missing = [number for number in numbers if number.replace("_", ",") not in output]
        assert missing == []
