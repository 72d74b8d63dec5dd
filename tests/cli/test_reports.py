"""`--html`: one file to hand on, with pictures, tables, assumptions, sources, errors; nothing in it runs or steers."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmcost.report import page as page_module
from llmcost.report.charts import Chart
from llmcost.report.page import assumptions, page
from llmcost.report.tables import Alarm, Table

pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "docs" / "profiles" / "h100-sxm.json"
REPORTS = {
    "estimate": ["estimate", "llama3-8b", "--hw", "h100", "-b", "8"],
    "train": ["train", "llama3-8b", "--hw", "h100", "--gpus", "8"],
    "plan": ["plan", "llama3-8b", "--hw", "h100", "--gpus", "8", "--global-batch", "64"],
    "serve": ["plan", "llama3-8b", "--hw", "h100", "--gpus", "2", "--serve"],
    "simulate": ["simulate", "llama3-8b", "--hw", "h100", "--rate", "4", "--requests", "20"],
    "bench": ["bench", "--show", PROFILE],
}
PLOTS = {
    "ops": ["ops", "gpt2", "--hw", "h100"],
    "compare": ["compare", "gpt2", "llama3-8b", "--hw", "h100"],
    "sweep": ["sweep", "gpt2", "--hw", "h100", "-b", "1,2"],
    "accuracy": ["accuracy", "--source", "gpt-fast"],
}
EMPTY = ("meta", "img", "br")


class Reader(HTMLParser):
    """Tags with their attributes, text, and whether each tag that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(text):
    found = Reader(text)
    assert found.open == []
    return found


@pytest.fixture
def quick(monkeypatch):
    """Pictures that are not drawn: drawing is tested in report/, and a page of each command below has real ones."""
    monkeypatch.setattr(page_module, "draw", lambda *_: b"<svg/>")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", REPORTS)
def test_a_report_is_one_file_that_loads_and_runs_nothing(cli, tmp_path, command):
    path = tmp_path / "report.html"
    assert cli(*REPORTS[command], "--html", path).code == 0
    text = path.read_text("utf-8")
    found = read(text)
    names = {tag for tag, _ in found.tags}
    assert {"h1", "img", "table"} <= names
    assert names.isdisjoint({"script", "link", "iframe", "object", "form", "base"})
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
        assert attributes.get("href", "https://").startswith("https://")
    assert not re.search(r"url\(|@import", text)
    assert all(attributes["alt"] for tag, attributes in found.tags if tag == "img")
    assert {"Assumptions", "How far off such figures have been", "Sources"} <= set(found.words)
    assert "" not in [row.strip() for row in re.findall(r"<h2>(.*?)</h2>", text)]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", ["estimate", "train"])
def test_a_report_has_what_is_printed_with_its_errors(cli, tmp_path, command):
    path = tmp_path / "report.html"
    printed = cli(*REPORTS[command], "--html", path).out
    words = " ".join(" ".join(read(path.read_text("utf-8")).words).split())
    for line in printed.splitlines():
        for cell in re.split(r" {2,}", line.strip()):
            assert " ".join(cell.split()) in words
    assert "% on average" in words


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", REPORTS)
def test_a_report_is_chinese_where_it_is_asked_for(cli, tmp_path, command):
    path = tmp_path / "report.html"
    assert cli(*REPORTS[command], "--html", path, "--lang", "zh").code == 0
    text = path.read_text("utf-8")
    assert '<html lang="zh">' in text
    assert {"假设", "此类数字以往的误差", "来源"} <= set(read(text).words)
    assert [each for each in ("Assumptions", "Sources", "How far", "Memory", "expected") if f">{each}" in text] == []


def test_what_a_spec_says_stays_text_in_a_report(cli, tmp_path):
    bad = "<img src=x onerror=alert(1)>&lt;"
    spec = (ROOT / "models" / "gpt2.yaml").read_text("utf-8")
    title = re.search("^title: .*$", spec, re.MULTILINE)[0]
    source = re.search("^source: .*$", spec, re.MULTILINE)[0]
    model = tmp_path / "m<b>.yaml"
    model.write_text(
        spec.replace(title, f'title: "{bad}"').replace(source, f'source: "https://x.example/\\"{bad}"'), "utf-8"
    )
    path = tmp_path / "report.html"
    for command in (("estimate",), ("train", "--gpus", "2")):
        assert cli(command[0], model, "--hw", "h100", *command[1:], "--html", path).code == 0
        found = read(path.read_text("utf-8"))
        assert bad in " ".join(found.words)
        assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in found.tags)
        assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]


def test_cells_of_a_page_are_escaped_and_alarms_stand_out():
    table = Table(
        "<i>", ("<a>", "b"), "lr", [("  <b>", Alarm("DOES <NOT> FIT")), ("javascript:x", "http://x")], ("<u>",)
    )
    text = page(Chart("<t>", []), [table], [assumptions({"batch_prompts": 1000, "none": None, "dtype": "<x>"})])
    assert '<td class="in">&lt;b&gt;</td><td class="r alarm">DOES &lt;NOT&gt; FIT</td>' in text
    assert "batch prompts</td><td>1,000" in text
    assert "none" not in text
    assert "<a " not in text
    assert {tag for tag, _ in read(text).tags}.isdisjoint({"i", "b", "u", "a", "t"})


@pytest.mark.parametrize("command", [*PLOTS, *[name for name in REPORTS if name != "bench"]])
def test_every_command_draws_a_page_too(cli, tmp_path, command):
    path = tmp_path / "chart.html"
    assert cli(*(PLOTS | REPORTS)[command], "--plot", path).code == 0
    tags = [tag for tag, _ in read(path.read_text("utf-8")).tags]
    assert tags.count("img") >= 1
    assert "figcaption" in tags


@pytest.mark.parametrize("command", [*PLOTS, *REPORTS])
@pytest.mark.parametrize(
    "file, message",
    [
        ("x.bmp", "the name ends in "),
        ("x", "the name ends in "),
        ("no/such/folder/x.html", "cannot be written"),
        ("there.html", "there.html: is a folder"),
    ],
)
def test_files_that_cannot_be_made_are_refused_before_anything_is_written(cli, tmp_path, command, file, message):
    (tmp_path / "there.html").mkdir()
    for option in ("--plot", "--html"):
        if (option == "--plot" and command == "bench") or (option == "--html" and command in PLOTS):
            continue
        answer = cli(*(PLOTS | REPORTS)[command], option, tmp_path / file)
        assert (answer.code, answer.out) == (2, "")
        assert message in answer.err
        assert len(answer.err.splitlines()) == 1
        assert [each.name for each in tmp_path.iterdir()] == ["there.html"]


def test_one_file_is_not_written_twice_nor_over_what_is_read(cli, tmp_path):
    path = tmp_path / "x.html"
    answer = cli(*REPORTS["estimate"], "--plot", path, "--html", path)
    assert (answer.code, answer.out) == (2, "")
    assert "choose two files" in answer.err
    model = tmp_path / "model.html"
    model.write_text((ROOT / "models" / "gpt2.yaml").read_text("utf-8"), "utf-8")
    link = tmp_path / "m.yaml"
    link.symlink_to(model)
    answer = cli("estimate", link, "--hw", "h100", "--html", model)
    assert answer.code == 2
    assert "is what is read here" in answer.err


@pytest.mark.parametrize(
    "command",
    [
        ("estimate",),
        ("plan", "--gpus", "2", "--serve"),
        ("simulate", "--rate", "4", "--requests", "20"),
    ],
)
@pytest.mark.parametrize("option", ["--plot", "--html"])
def test_lines_alone_come_without_files(cli, tmp_path, command, option):
    given = ("llama3-8b", "--hw", "h100", "--engine", "vllm", "--launch", option, tmp_path / "x.html")
    answer = cli(command[0], *given, *command[1:])
    assert (answer.code, answer.out) == (2, "")
    assert f"--launch prints lines alone: leave {option} away" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_computation_that_fails_leaves_the_file_as_it_was(cli, tmp_path):
    path = tmp_path / "x.html"
    path.write_text("before", "utf-8")
    assert cli("train", "llama3-8b", "--hw", "h100", "--gpus", "8", "--tp", "3", "--html", path).code == 2
    assert [each.read_text("utf-8") for each in tmp_path.iterdir()] == ["before"]
