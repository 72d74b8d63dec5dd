"""What README and docs show is what the program prints: outputs are executed, trees and lists compared.

`pytest tests/test_docs.py --update-snapshots` writes the outputs anew.
"""

import contextlib
import doctest
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_house import ORDER

import llmcost
from llmcost.cli.command import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GOLDEN = yaml.safe_load((ROOT / "tests" / "golden.yaml").read_text("utf-8"))
OUTPUT = re.compile(r"(<!-- output: (.+?) -->\n```\n)(.*?)(```\n)", re.DOTALL)


def run(command: str) -> str:
    arguments = shlex.split(command)
    assert arguments[0] == "llmcost"
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        env={"COLUMNS": "80", "PATH": ""},
    )
    return done.stdout.rstrip() + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_output_shown_is_what_the_command_prints(page, request):
    text = page.read_text("utf-8")
    printed = OUTPUT.sub(lambda match: match[1] + run(match[2]) + match[4], text)
    if request.config.getoption("--update-snapshots") and printed != text:
        page.write_text(printed, "utf-8")
    else:
        assert printed == text


def figures_page():
    """docs/figures.md: every figure of the documents beside the exact one, from tests/golden.yaml."""
    lines = [
        "# The figures of the two course documents",
        "",
        "Each figure that they print, and what it is to the last unit. Where the exact one does not round to the",
        "printed one, the last column says what happened on the page; `llmcost explain` says so too. Generated from",
        "`tests/golden.yaml`, whose every entry `tests/serving/test_golden.py` takes out of the engine, exactly and by",
        "the document's own convention.",
    ]
    for document in GOLDEN.values():
        lines += ["", f"## {document['title']}", "", "| figure | printed | exact | |", "|---|---:|---:|---|"]
        for entry in (*document.get("model_table", ()), *document["figures"]):
            printed = f"{entry['label']}B" if "label" in entry else f"{entry['prints']} {entry['unit']}".strip()
            slip = f"**{entry['why']}**" if entry["verdict"] == "erratum" else entry.get("why", "")
            lines.append(f"| {entry['id'].replace('_', ' ')} | {printed} | {entry['exact']:,} | {slip} |")
        if "gemm_table" in document:
            lines += [
                "",
                "| product | input | other operand | output | FLOPs | parameters |",
                "|---|---|---|---|---|---|",
            ]
            for row in document["gemm_table"]:
                shapes = (f"({', '.join(str(size) for size in row[side])})" for side in ("input", "other", "output"))
                lines.append(
                    f"| {row['id']} | {' | '.join(shapes)} | {row['flops']} | {row['params']} |".replace("*", "\\*")
                )
    return "\n".join(lines) + "\n"


def test_the_page_of_the_documents_figures_is_up_to_date(request):
    page = ROOT / "docs" / "figures.md"
    if request.config.getoption("--update-snapshots"):
        page.write_text(figures_page(), "utf-8")
    assert page.read_text("utf-8") == figures_page()


@pytest.mark.parametrize("page, more", [("README.md", ""), ("README.zh.md", " --lang zh")])
def test_readme_shows_the_main_job(page, more):
    shown = [match[2] for match in OUTPUT.finditer((ROOT / page).read_text("utf-8"))]
    assert shown[0] == f"llmcost estimate llama3-8b --hw rtx4090{more}"


def test_the_chinese_readme_names_commands_that_there_are():
    named = re.findall(r"`llmcost (\w+)", (ROOT / "README.zh.md").read_text("utf-8"))
    assert len(named) > 10
    assert [name for name in named if name not in COMMANDS] == []


def test_the_python_example_of_the_readme_runs():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(done.stdout) > 0


def session(text, known):
    """A Python session as it goes when it is typed: each statement with what it prints."""
    lines = []
    for example in doctest.DocTestParser().get_examples(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(example.source, "page", "single"), known)
            except (TypeError, llmcost.InputError) as error:
                printed.write(f"Traceback (most recent call last):\n    ...\n{type(error).__name__}: {error}\n")
        first, *more = example.source.splitlines()
        lines += [f">>> {first}", *(f"... {line}".rstrip() for line in more), printed.getvalue().rstrip("\n")]
    return "\n".join(line for line in lines if line) + "\n"


def test_the_sessions_on_the_python_page_go_as_shown(request):
    """All of them in one process, in order; `>>>` lines are typed, the rest is what comes back."""
    page, known = ROOT / "docs" / "python.md", {}
    text = page.read_text("utf-8")
    gone = re.sub(r"(?<=```pycon\n)(.*?)(?=```)", lambda match: session(match[1], known), text, flags=re.DOTALL)
    if request.config.getoption("--update-snapshots") and gone != text:
        page.write_text(gone, "utf-8")
    else:
        assert gone == text


def test_every_function_is_on_the_python_page():
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    assert [name for name in llmcost.__all__ if name[0] != "_" and not re.search(rf"\b{name}\b", text)] == []


def test_the_tree_in_the_readme_is_the_tree():
    """Folders at the left, those of the package two further in, in the order in which they may import each other."""
    (tree,) = re.findall(r"```\n(models/ .*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    names = [(line[:2] == "  ", line.split()[0].rstrip("/")) for line in tree.splitlines() if line[:3] != "   "]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert sorted(name for inside, name in names if not inside) == sorted(
        folders - {"build", "dist", "llmcost_calculator.egg-info"}
    )
    inside = [name for inside, name in names if inside]
    assert inside == [name for name in ORDER if not name.startswith("_")]
    assert sorted(inside) == sorted(
        path.name for path in (ROOT / "llmcost").iterdir() if path.is_dir() and path.name != "__pycache__"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_on_the_commands_page_and_in_the_readme(command):
    assert f"<!-- output: llmcost {command} --help -->" in (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert f"llmcost {command}" in (ROOT / "README.md").read_text("utf-8")


def test_help_lists_every_command():
    listed = re.search(r"Commands:\n(.*)", run("llmcost --help"), re.DOTALL)[1]
    assert re.findall(r"^  (\w+)", listed, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("kind, number", [("model", 0), ("hardware", 1)])
def test_the_specs_shown_to_contributors_are_sound(kind, number, tmp_path):
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)[number]
    path = tmp_path / "shown.yaml"
    path.write_text(shown, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "llmcost", "check", str(path)], capture_output=True, text=True, check=True
    )
    assert f": {kind} my-" in done.stdout


def test_every_page_is_listed():
    listed = re.findall(r"^\| \[(\S+)\]", (ROOT / "docs" / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md")


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
