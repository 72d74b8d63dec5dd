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
from typing import Literal, NamedTuple, TextIO

from llmcost.ground.errors import not_finite
from llmcost.report.words import told
from llmcost.report.wrapping import fill, pieces, wide
from llmcost.specs.optimised import OPTIMISED

GAP = 3  # spaces between columns
COMFORT = 24  # letters that a column of text keeps a line, where it has so many
BELOW = 4  # spaces before what a narrow terminal shows below its row
BOLD, DIM, RED, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m"
_FORMULA = re.compile(r"[=+\-@\t\r](?!\d+(\.\d+)?( ?%)?$)")  # how text begins that is one; a number is none
_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")  # what begins a tag or an entity


def under(*engines: str | None) -> str:
    """The end of what a title says answers: the engines, if any; OPTIMISED in words where it is alone."""
    named = list(dict.fromkeys(each for each in engines if each))
    if named == [OPTIMISED]:
        return " under an optimised engine"
    return f" under {', '.join(named)}" if named else ""


def differing(engines: Iterable[str | None]) -> bool:
    """Whether rows are of several engines, so that each has to say which."""
    return len({*engines}) > 1


class Alarm(str):
    """The text of a cell that stands out where there are colours."""

    __slots__ = ()


class Table(NamedTuple):
    """Rows of text under headings, with a title above them and notes below.

    `align` has a letter for each column: l or r. A cell may hold several lines. Leading spaces in the first cell indent
    a row below the one that it belongs to. `last`: headings of columns that stay beside the first on a narrow terminal
    when the others have gone below their rows; without any, columns go from the right. `apart`: columns that have no
    room follow as another table instead, for those that are read downwards.
    """

    title: str
    columns: tuple[str, ...]
    align: str
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    apart: bool = False


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables: on a terminal as wide as it is, wrapped there; into a file or a pipe as plain text, not wrapped.

    What a terminal makes of colours, rich knows: those that it has, none under NO_COLOR, and how Windows is told.
    """
    width = width_of(sys.stdout)
    if width is None:
        sys.stdout.write(to_text(tables))
        return
    from rich.console import Console
    from rich.text import Text

    bare = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"  # rich alone would keep bold and dim
    colours: Literal["auto"] | None = None if bare else "auto"
    console = Console(width=width, color_system=colours, highlight=False, markup=False, emoji=False)
    console.print(Text.from_ansi(to_text(tables, width, coloured=True)), soft_wrap=True, end="")


def width_of(stream: TextIO) -> int | None:
    """Columns of the terminal that is written to; None where it is none, and nothing is wrapped."""
    if not stream.isatty():
        return None
    from shutil import get_terminal_size

    return get_terminal_size().columns


def to_text(tables: Iterable[Table], width: int | None = None, coloured: bool = False) -> str:
    """Tables as text, with an empty line between them.

    `width`: of the lines at most; None: each column is as wide as its widest line. Where columns have no room, text is
    wrapped at words; then columns go below their rows, from the right. No word is broken, nothing is left out.
    """
    return "\n\n".join("\n".join(_lines(told_table(table), width, coloured)) for table in tables) + "\n"


def told_table(table: Table) -> Table:
    """A table in the language that is spoken."""
    return table._replace(
        title=told(table.title),
        columns=tuple(map(told, table.columns)),
        rows=[
            tuple(Alarm(told(cell)) if isinstance(cell, Alarm) else told(cell) for cell in row) for row in table.rows
        ],
        notes=tuple(map(told, table.notes)),
        last=tuple(map(told, table.last)),
    )


def _lines(table: Table, width: int | None, coloured: bool) -> Iterator[str]:
    """The lines of a table."""
    for line in fill(table.title, width) if table.title else ():
        yield _styled(line, BOLD, coloured)
    columns = list(range(len(table.columns)))
    least = [_least(table, k) for k in columns] if table.rows and width is not None else []
    parts = _parts(columns, least, width) if table.apart and width is not None else [columns]
    for number, part in enumerate(parts if table.rows else ()):
        yield from [""] * bool(number)
        kept = part if width is None else _kept(table, part, least, width)
        widths = [max(map(wide, [*_texts(table, k), *table.columns[k].split("\n")])) for k in kept]
        if width is not None:
            widths = _narrowed(widths, [least[k] for k in kept], width)
        below = [k for k in part if k not in kept]
        yield from _grid(table, kept, widths, below, width, coloured)
    for note in table.notes:
        yield from _hanging(note, width)


def _styled(line: str, style: str, coloured: bool) -> str:
    return f"{style}{line}{PLAIN}" if coloured and style and line else line


def _hanging(note: str, width: int | None) -> list[str]:
    """A note wrapped to a width; lines after the first begin where its words do: after an indent, or a term and gap."""
    indent = re.match(r"\S+ {2,}| *", note)
    return fill(note, width, " " * len(indent[0]) if indent else "")


def _parts(columns: Sequence[int], least: Sequence[int], width: int) -> Iterator[list[int]]:
    """Columns of tables below each other: the first, and as many others as have room."""
    first, *rest = columns
    while rest:
        shown = [first, rest.pop(0)]
        while rest and _needed([*shown, rest[0]], least) <= width:
            shown.append(rest.pop(0))
        yield shown


def _needed(columns: Sequence[int], least: Sequence[int]) -> int:
    """How wide columns have to be beside each other."""
    return sum(least[k] for k in columns) + GAP * (len(columns) - 1)


def _kept(table: Table, columns: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """The columns that have room beside each other; the others go below their rows."""
    kept = list(columns)
    for column in sorted(kept[:0:-1], key=lambda k: table.columns[k] in table.last):
        if _needed(kept, least) <= width:
            break
        kept.remove(column)
    return kept


def _texts(table: Table, column: int) -> list[str]:
    """The lines of a column's cells."""
    return [line for row in table.rows for line in row[column].split("\n")]


def _least(table: Table, column: int) -> int:
    """How wide a column has to be: for its figures as they are, for some words of its text, for a heading's words."""
    texts = _texts(table, column)
    widest = max(map(wide, texts))
    least = max((wide(piece) for text in texts for word in text.split() for piece in pieces(word)), default=0)
    cells = widest if table.align[column] == "r" else max(least, min(widest, COMFORT))
    return max([cells, *map(wide, table.columns[column].split())])


def _narrowed(widths: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Widths of columns that have so much room: the widest give way first, as far as `least` allows."""
    found, room = list(widths), width - GAP * (len(widths) - 1)
    if len(found) == 1:
        return [min(found[0], max(room, 1))]
    while sum(found) > room:
        _, widest = max((each, k) for k, each in enumerate(found) if each > least[k])
        found[widest] -= 1
    return found


def _grid(
    table: Table,
    kept: Sequence[int],
    widths: Sequence[int],
    below: Sequence[int],
    width: int | None,
    coloured: bool,
) -> Iterator[str]:
    """The rows under their headings; what the columns `below` hold stands below each row."""
    sides = [table.align[k] for k in kept]
    if any(table.columns[k] for k in kept):
        yield from _row([table.columns[k] for k in kept], sides, widths, DIM, coloured)
    for row in table.rows:
        yield from _row([row[k] for k in kept], sides, widths, "", coloured)
        told = ", ".join(_told(table.columns[k], row[k]) for k in below if row[k])
        indent = " " * (len(row[0]) - len(row[0].lstrip(" ")) + BELOW)
        yield from fill(indent + told, width, indent) if told else ()


def _told(heading: str, cell: str) -> str:
    """A cell below its row: its heading and its lines in one."""
    return " ".join([*heading.split("\n"), "; ".join(cell.split("\n"))]).strip()


def _row(
    cells: Sequence[str], sides: Sequence[str], widths: Sequence[int], style: str, coloured: bool
) -> Iterator[str]:
    """The lines of a row, each cell wrapped to its column's width."""
    columns = [
        [line for part in cell.split("\n") for line in fill(part, width, " " * (len(part) - len(part.lstrip(" "))))]
        for cell, width in zip(cells, widths, strict=True)
    ]
    styles = [style or (RED if isinstance(cell, Alarm) else "") for cell in cells]
    for texts in zip_longest(*columns, fillvalue=""):
        line, spaces = "", 0
        for text, side, width, styled in zip(texts, sides, widths, styles, strict=True):
            beside = width - wide(text)
            if text:
                line += " " * (spaces + beside * (side == "r")) + _styled(text, styled, coloured)
                spaces = beside * (side == "l") + GAP
            else:
                spaces += width + GAP
        yield line


def to_markdown(tables: Iterable[Table]) -> str:
    """Tables as Markdown, with titles in bold and notes as paragraphs."""
    lines: list[str] = []
    for table in map(told_table, tables):
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
