"""Charts as files: pictures, and pages that need no other file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from llmcost.ground.errors import InputError
from llmcost.ground.files import draft_of
from llmcost.report.charts import Chart
from llmcost.report.drawing import draw
from llmcost.report.page import page

FORMATS = (".png", ".svg", ".pdf", ".html")


def check(path: Path) -> str:
    """The format that the name of a chart's file asks for. Raises InputError for another, or without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot {path}: the name ends in one of {', '.join(FORMATS)}")
    require_matplotlib()
    return path.suffix.lower().removeprefix(".")


def require_matplotlib(option: str = "--plot") -> None:
    """Raise InputError where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise InputError(f"{option} needs matplotlib: pip install matplotlib")


def save(path: Path, chart: Chart, theme: str = "light") -> None:
    """Draw a chart into a file, which is written whole or not at all; .html is a page that needs no other file.

    `theme`: the paper of .png and .pdf; .svg and .html take the one that their reader prefers.
    Raises InputError as `check` does, or where the file cannot be written.
    """
    kind = check(path)
    with draft_of(path) as draft:
        if kind == "html":
            draft.write_text(page(chart), "utf-8")
        else:
            draft.write_bytes(draw(chart, kind, theme))
