"""A table as data, and the ways to print it: on a terminal, as plain text, as Markdown; and rows as CSV."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from math import isfinite
from typing import TYPE_CHECKING, Literal, NamedTuple

from llmcost.ground.errors import not_finite

if TYPE_CHECKING:
    from rich.table import Table as RichTable

GAP = 3  # spaces between columns
_FORMULA = re.compile(r"[=+\-@\t\r](?!\d+(\.\d+)?( ?%)?$)")  # how text begins that is one; a number is none
_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")  # what begins a tag or an entity


class Table(NamedTuple):
    """Rows of text under headings, with a title above them and notes below.

    `align` has a letter for each column: l or r. A cell may hold several lines. Leading spaces in the first cell indent
    a row below the one that it belongs to.
    """

    title: str
    columns: tuple[str, ...]
    align: str
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables: on a terminal as wide as it is, wrapped there; into a file or a pipe as plain text, not wrapped."""
    if sys.stdout.isatty():
        _print_rich(tables)
    else:
        sys.stdout.write(to_text(tables))


def to_text(tables: Iterable[Table]) -> str:
    """Tables as plain text, each column as wide as its widest line, with an empty line between tables."""
    return "\n\n".join("\n".join(_lines(table)) for table in tables) + "\n"


def _lines(table: Table) -> Iterator[str]:
    """The lines of a table as plain text."""
    if table.title:
        yield table.title
    headings = [table.columns] if any(table.columns) else []
    rows = [[cell.split("\n") for cell in row] for row in (*headings, *table.rows)]
    widths = [max(len(line) for cell in column for line in cell) for column in zip(*rows, strict=True)]
    for row in rows:
        for texts in zip_longest(*row, fillvalue=""):
            padded = [
                text.rjust(width) if side == "r" else text.ljust(width)
                for text, width, side in zip(texts, widths, table.align, strict=True)
            ]
            yield (" " * GAP).join(padded).rstrip()
    yield from table.notes


def _print_rich(tables: Iterable[Table]) -> None:
    """Print tables on the terminal, with colours unless NO_COLOR is set."""
    from rich.console import Console
    from rich.text import Text

    # With NO_COLOR alone, rich would keep bold and dim.
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(color_system=colours, highlight=False, markup=False, emoji=False)
    if console.width < 1:  # COLUMNS=0
        from shutil import get_terminal_size

        console.width = get_terminal_size().columns
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.title:
            console.print(Text(table.title, style="bold"))
        if table.rows:
            gaps = GAP * (len(table.columns) - 1)
            widths = _widths(table, console.width - gaps)
            needed = sum(widths) + gaps
            page = console
            if needed > console.width:
                page = Console(color_system=colours, highlight=False, markup=False, width=needed)
            page.print(_grid(table, widths))
        for note in table.notes:
            console.print(Text(_hanging(note, console.width)))


def _grid(table: Table, widths: Sequence[int]) -> RichTable:
    """A table's headings and rows as rich's table, with columns of these widths."""
    from rich.table import Table as RichTable

    grid = RichTable(
        box=None, pad_edge=False, show_header=any(table.columns), header_style="dim", padding=(0, GAP, 0, 0)
    )
    for column, side, width in zip(table.columns, table.align, widths, strict=True):
        grid.add_column(column, justify="right" if side == "r" else "left", width=width)
    for row in table.rows:
        grid.add_row(*row)
    return grid


def _hanging(note: str, width: int) -> str:
    """A note wrapped to a width; lines after the first begin where its words do: after an indent, or a term and gap."""
    import re
    import textwrap

    indent = re.match(r"\S+ {2,}| *", note)
    below = " " * len(indent[0]) if indent else ""
    return textwrap.fill(note, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)


def _widths(table: Table, room: int) -> list[int]:
    """Widths of the columns in so much room: the widest columns give way first, as far as their words allow.

    Where the words alone need more, each column is as wide as it needs, and the terminal wraps lines: no figure is cut.
    """
    columns = [[heading, *cells] for heading, cells in zip(table.columns, zip(*table.rows, strict=True), strict=True)]
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    least = [max((len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    if sum(least) > room:
        return widths
    while sum(widths) > room:
        _, widest = max((width, k) for k, width in enumerate(widths) if width > least[k])
        widths[widest] -= 1
    return widths


def to_markdown(tables: Iterable[Table]) -> str:
    """Tables as Markdown, with titles in bold and notes as paragraphs."""
    lines: list[str] = []
    for table in tables:
        if table.title:
            lines += [f"**{_without_html(table.title)}**", ""]
        if table.rows:
            lines.append(_markdown_row(table.columns))
            lines.append("|" + "|".join("---:" if side == "r" else "---" for side in table.align) + "|")
            lines += [_markdown_row(row) for row in table.rows]
            lines.append("")
        for number, note in enumerate(map(_without_html, table.notes)):
            if number and note.startswith(" "):  # it goes on with the note before; after a blank line it would be code
                lines[-1] = note.strip()
            else:
                lines.append(note)
            lines.append("")
    return "\n".join(lines)


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values under a line of headings; what is not known is an empty field.

    Text that a spreadsheet would take for a formula has an apostrophe before it. Raises InputError for what is no
    finite number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()


def csv_cell(value: object) -> object:
    """A value as a field of CSV: see `to_csv`."""
    if value is None:
        return ""
    if isinstance(value, float) and not isfinite(value):
        raise not_finite()
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _markdown_row(cells: Sequence[str]) -> str:
    """A row of Markdown's table, in which indents and breaks of lines are kept."""
    return "| " + " | ".join(map(_markdown_cell, cells)) + " |"


def _markdown_cell(cell: str) -> str:
    text = cell.lstrip()
    indent = "&nbsp;&nbsp;" * ((len(cell) - len(text)) // 2)
    return indent + _without_html(text).replace("|", "\\|").replace("\n", "<br>")


def _without_html(text: str) -> str:
    """Text that Markdown shows as it is, where it would make a tag or a character of it."""
    return _HTML.sub(lambda found: "&lt;" if found[0] == "<" else "&amp;", text)
