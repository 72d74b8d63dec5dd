"""How answers reach stdout; progress, warnings and errors go to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from llmcost.ground.errors import not_finite
from llmcost.ground.files import draft_of
from llmcost.report.tables import Table, print_tables, to_markdown, width_of
from llmcost.report.words import told_message
from llmcost.report.wrapping import fill

if TYPE_CHECKING:
    from llmcost.formulas.explanations import Explanations

SILENT = 2.0  # seconds that a command computes before it says so


@contextmanager
def waiting(what: str, progress: Callable[[], str] = str) -> Iterator[None]:
    """While a block takes longer than two seconds, say on a terminal's stderr that it goes on, and since when.

    `progress`: how far it is, in words.
    """
    if not sys.stderr.isatty():
        yield
        return
    from threading import Event, Thread

    done, began = Event(), monotonic()

    def tell() -> None:
        pause = SILENT
        while not done.wait(pause):
            line = f"llmcost: {what}{progress()}, {monotonic() - began:.0f} s"
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            pause = 1.0

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
        if monotonic() - began >= SILENT:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Say something of the answer on stderr, in one line; on a terminal broken between words."""
    print("\n".join(fill(f"llmcost: {told_message(text)}", width_of(sys.stderr), "  ")), file=sys.stderr)


def write(text: str, unknown: Sequence[str] = ()) -> None:
    """Write a text to stdout as it is, and to stderr what was left out of the model's config."""
    for warning in warnings_of(unknown):
        say(f"warning: {warning}")
    sys.stdout.write(text)


def warnings_of(unknown: Sequence[str]) -> list[str]:
    """What an answer says of keys of a config that were not understood and left out (--allow-unknown)."""
    if not unknown:
        return []
    return [f"--allow-unknown: {', '.join(unknown)}: not understood and left out, so that any figure may be wrong"]


def show_json(document: dict[str, Any], unknown: Sequence[str] = ()) -> None:
    """Print one JSON document, indented, in base units."""
    import json

    from llmcost.serving.results import to_dict  # whole numbers of bytes and counts without a point

    if unknown:
        document = document | {"unknown_keys": [*unknown], "warnings": warnings_of(unknown)}
    try:
        text = json.dumps(to_dict(document), indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise not_finite() from None
    write(text + "\n", unknown)


def show_tables(tables: Iterable[Table], markdown: bool, unknown: Sequence[str] = ()) -> None:
    """Print tables as Markdown, or as they suit the terminal or pipe; a warning of what was left out stands below."""
    if unknown:
        tables = [*tables, Table("", ("",), "l", (), tuple(f"Warning: {each}" for each in warnings_of(unknown)))]
    if markdown:
        write(to_markdown(tables))
    else:
        print_tables(tables)


def show_explanations(
    found: Explanations, by_words: str = "", *, as_json: bool, as_latex: bool = False, unknown: Sequence[str] = ()
) -> None:
    """Print how figures come about, to be read, as a JSON document or as LaTeX.

    `by_words`: those that found them, where no path did: of several figures there is a list.
    """
    from llmcost.report.explain import explanation_table, explanation_text, latex_text

    if as_json:
        show_json(found.to_dict(), unknown)
    elif by_words and len(found.explanations) > 1 and not as_latex:
        show_tables([explanation_table(found, by_words)], False, unknown)
    else:
        text = latex_text if as_latex else explanation_text
        write(text(found, width_of(sys.stdout)) + "\n", unknown)


def write_pieces(pieces: Iterable[str], output: Path | None) -> None:
    """Write text a piece at a time, to stdout or into a file, which appears when it is whole. Raises InputError."""
    if output is None:
        for piece in pieces:
            write(piece)
        return
    with draft_of(output) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        for piece in pieces:
            file.write(piece)
