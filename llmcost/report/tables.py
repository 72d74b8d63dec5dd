"""A table as data, and the three ways to print it."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

GAP = 3  # spaces between columns


class Table(NamedTuple):
    """Rows of text under headings; leading spaces indent a row below the one it belongs to.

    `align` has a letter a column: l or r. A cell may hold several lines.
    """

    title: str
    columns: tuple[str, ...]
    align: str
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def print_tables(tables: Iterable[Table]) -> None:
    """To the terminal, as wide as it is and wrapped there; into a file or a pipe as plain text, nothing wrapped."""
    if sys.stdout.isatty():
        _print_rich(tables)
    else:
        sys.stdout.write(to_text(tables))


def to_text(tables: Iterable[Table]) -> str:
    """Plain text, each column as wide as its widest line."""
    blocks = []
    for table in tables:
        lines = [table.title] if table.title else []
        cells = [
            [cell.split("\n") for cell in row]
            for row in ([table.columns] if any(table.columns) else []) + list(table.rows)
        ]
        widths = (
            [max(len(line) for row in cells for line in row[k]) for k in range(len(table.columns))] if cells else []
        )
        for row in cells:
            for height in range(max(len(cell) for cell in row)):
                line = [cell[height] if height < len(cell) else "" for cell in row]
                padded = [
                    text.rjust(w) if side == "r" else text.ljust(w)
                    for text, w, side in zip(line, widths, table.align, strict=True)
                ]
                lines.append((" " * GAP).join(padded).rstrip())
        blocks.append("\n".join([*lines, *table.notes]))
    return "\n\n".join(blocks) + "\n"


def _print_rich(tables: Iterable[Table]) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    colours: Literal["auto"] | None = (
        None if os.environ.get("NO_COLOR") else "auto"
    )  # rich alone would keep bold and dim
    console = Console(color_system=colours, highlight=False, markup=False, emoji=False)
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.title:
            console.print(Text(table.title, style="bold"))
        if table.rows:
            widths = _widths(table, console.width - GAP * (len(table.columns) - 1))
            grid = RichTable(
                box=None, pad_edge=False, show_header=any(table.columns), header_style="dim", padding=(0, GAP, 0, 0)
            )
            for column, side, width in zip(table.columns, table.align, widths, strict=True):
                grid.add_column(column, justify="right" if side == "r" else "left", width=width)
            for row in table.rows:
                grid.add_row(*row)
            whole = sum(widths) + GAP * (len(widths) - 1)
            page = (
                console
                if whole <= console.width
                else Console(color_system=colours, highlight=False, markup=False, width=whole)
            )
            page.print(grid)
        for note in table.notes:
            console.print(Text(_hanging(note, console.width)))


def _hanging(note: str, width: int) -> str:
    """A note wrapped below where its words begin: behind an indent, or behind a term and a gap."""
    import re
    import textwrap

    indent = re.match(r"\S+ {2,}| *", note)
    below = " " * len(indent[0]) if indent else ""
    return textwrap.fill(note, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)


def _widths(table: Table, room: int) -> list[int]:
    """Widths of the columns in so much room: the widest give way first, as far as their words allow.

    Where the words alone are wider, each column has what it needs, and the terminal wraps the lines: no figure is cut.
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
    """The same as Markdown."""
    lines: list[str] = []
    for table in tables:
        if table.title:
            lines += [f"**{table.title}**", ""]
        if table.rows:
            lines.append(_markdown_row(table.columns))
            lines.append("|" + "|".join("---:" if side == "r" else "---" for side in table.align) + "|")
            lines += [_markdown_row(row) for row in table.rows]
            lines.append("")
        for number, note in enumerate(table.notes):
            if number and note.startswith(
                " "
            ):  # goes on with the one before; four spaces after a blank line would be code
                lines[-1] = note.strip()
            else:
                lines.append(note)
            lines.append("")
    return "\n".join(lines)


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values; what is not known is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()


def _markdown_row(cells: Sequence[str]) -> str:
    shown = (cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells)
    return "| " + " | ".join("&nbsp;&nbsp;" * ((len(c) - len(c.lstrip())) // 2) + c.lstrip() for c in shown) + " |"
