"""Pages that are made of the code, and the site: reference, glossary, every page in its menu, no broken link.

`pytest tests/test_pages.py --update-snapshots` writes docs/reference.md and docs/glossary.md anew.
"""

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import llmcost
from llmcost.cli.command import COMMANDS, function_of, parameters
from llmcost.formulas import quantities, training_quantities
from llmcost.report.phrases import translated

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
GLOSSARY = yaml.safe_load((ROOT / "tests" / "glossary.yaml").read_text("utf-8"))
KNOWN = {"estimate": quantities.QUANTITIES, "train": training_quantities.QUANTITIES}


def reference():
    """docs/reference.md: every figure by its path, and every public function with its docstring."""
    lines = [
        "# Reference",
        "",
        "Made of the code. A path names a figure in the JSON, in `explain`, in `compare` and `sweep`.",
    ]
    for command, known in KNOWN.items():
        lines += ["", f"## Figures of `llmcost {command}`", "", "| path | unit | what | source |", "|---|---|---|---|"]
        cells = [(f"`{path}`", each.unit, each.what, each.source) for path, each in known.items()]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    lines += ["", "## Python"]
    for name in llmcost.__all__:
        what = getattr(llmcost, name)
        if inspect.isfunction(what):
            parts = [
                str(each.replace(annotation=inspect.Parameter.empty))
                for each in inspect.signature(what).parameters.values()
            ]
            signature = f"{name}({', '.join(parts)})"
            lines += ["", f"### {name}", "", "```text", signature, "", inspect.getdoc(what), "```"]
    return "\n".join(lines) + "\n"


def glossary():
    """docs/glossary.md: a word, its Chinese, what it means, and the figure or option that has it."""
    lines = [
        "# Glossary",
        "",
        "The words of tables and pages, and how `--lang zh` says them. The last column is a figure, as `llmcost",
        "explain` has it, an option or a command.",
        "",
        "| word | 中文 | what it means | where |",
        "|---|---|---|---|",
    ]
    for each in GLOSSARY:
        term = each["term"]
        lines.append(f"| {term} | {translated(term, 'zh')} | {each['means']} | `{each['where']}` |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name, make", [("reference.md", reference), ("glossary.md", glossary)])
def test_the_page_is_what_the_code_says(name, make, request):
    if request.config.getoption("--update-snapshots"):
        (DOCS / name).write_text(make(), "utf-8")
    assert (DOCS / name).read_text("utf-8") == make()


def test_every_word_of_the_glossary_leads_to_something_that_there_is():
    flags = {flag for name in COMMANDS for each in parameters(function_of(name)).values() for flag in flags_of(each)}
    paths = {".".join(path.split(".")[:end]) for path in quantities.QUANTITIES for end in range(1, 5)}
    for each in GLOSSARY:
        where = each["where"]
        if where.startswith("llmcost "):
            assert where.split()[1] in COMMANDS
        else:
            assert where in (flags if where.startswith("--") else paths), where


def flags_of(parameter):
    return getattr(parameter.what, "flag", "").split("/")


def test_the_glossary_is_in_alphabetical_order_without_twins():
    terms = [each["term"].lower() for each in GLOSSARY]
    assert terms == sorted(set(terms))


# -- the site ---------------------------------------------------------------------------------------


def menu(entry):
    """The pages of the site's menu."""
    if isinstance(entry, str):
        return [entry]
    return [page for each in (entry if isinstance(entry, list) else entry.values()) for page in menu(each)]


def test_every_page_is_in_the_menu_of_the_site_once():
    pages = menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(pages) == sorted(page.name for page in DOCS.glob("*.md"))


def test_every_heading_that_a_link_names_is_there():
    """Of links inside a page and between pages."""
    wrong = []
    for page in DOCS.glob("*.md"):
        for file, anchor in re.findall(r"\]\(([\w.]*)#([^)]+)\)", page.read_text("utf-8")):
            text = (DOCS / (file or page.name)).read_text("utf-8")
            headings = {slug(each) for each in re.findall(r"^#+ (.*)", text, re.MULTILINE)}
            if anchor not in headings | set(re.findall(r'<a id="([^"]+)">', text)):
                wrong.append((page.name, file, anchor))
    assert wrong == []


def slug(heading):
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="mkdocs-material is not installed: pip install '.[docs]'"
)
def test_the_site_is_built_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "course" / "index.html").is_file()
