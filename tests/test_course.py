"""The course page: every figure of the two documents, in their order, with the command that gives it, in two languages.

`pytest tests/test_course.py --update-snapshots` writes docs/course.md and docs/course.zh.md anew.
"""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import run_in_process

from llmcost.report.phrases import translated

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = yaml.safe_load((ROOT / "tests" / "golden.yaml").read_text("utf-8"))
COURSE = yaml.safe_load((ROOT / "tests" / "course.yaml").read_text("utf-8"))
PAGES = {"en": ROOT / "docs" / "course.md", "zh": ROOT / "docs" / "course.zh.md"}
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
    name, by_print, by_exact, by_how, by_slip = COURSE["head"][language]
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
                lines += ["", f"| {name} | {by_print} | {by_exact} | {by_how} | {by_slip} |", "|---|---:|---:|---|---|"]
                lines += [row(figure, language) for figure in section["figures"]]
            if "table" in section:
                lines += ["", *table(document["id"], section["table"], language)]
            if "picture" in section:
                picture = section["picture"]
                lines += ["", f"![{section['title'][language]}]({picture['file']})", ""]
                lines += ["```sh", f"{picture['command']} --plot {Path(picture['file']).name}", "```"]
    return "\n".join(lines) + "\n"


def label(figure, language):
    return figure["label"][language]


def shown(figure):
    entry = ENTRIES[figure["id"]]
    return f"{entry['prints']} {entry['unit']}".strip()


def row(figure, language):
    entry = ENTRIES[figure["id"]]
    why = entry.get("why", "") if language == "en" else figure.get("slip", "")
    slip = f"**{why}**" if entry["verdict"] == "erratum" else why
    name = f'<a id="{figure["id"]}"></a>{label(figure, language)}'
    return f"| {name} | {shown(figure)} | {entry['exact']:,} | `{how(figure)}` | {slip} |"


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


@pytest.mark.parametrize(
    "picture", [each["picture"] for _, each in SECTIONS if "picture" in each], ids=lambda each: each["file"]
)
def test_a_picture_is_drawn_by_its_command(picture, tmp_path, request):
    file = (
        PAGES["en"].parent / picture["file"] if request.config.getoption("--update-snapshots") else tmp_path / "a.svg"
    )
    answer = run_in_process(*shlex.split(picture["command"])[1:], "--plot", str(file))
    assert answer.code == 0
    drawn, shown = (written(path) for path in (file, PAGES["en"].parent / picture["file"]))
    assert drawn == shown  # the words of both: lines differ by a hair where fonts do
    assert len(drawn) > 10


def written(picture):
    """The words of an SVG."""
    return re.findall(r">([^<>]+)</text>", picture.read_text("utf-8"))


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
