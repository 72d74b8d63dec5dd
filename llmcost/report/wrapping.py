"""How wide a text is on a terminal, and where it may be broken."""

from __future__ import annotations

import re
from unicodedata import east_asian_width

LONG = 32  # letters of a word from which it may be broken behind one of its own marks
BEHIND = re.compile(r".+?(?:[/·×,;)=&?_|+-]|$)")  # a long word's pieces: a formula's factors, an address's folders
COMMAND = re.compile(r"llmcost [a-z]+ \S+ --.+")  # to be typed, to the end of its line
ON = " \\"  # behind a line of a command that goes on below, as a shell reads it
CHINESE = re.compile(  # a letter with the marks at it, or what stands between such letters
    r"[(“《（]?[\u4e00-\u9fff][\u3000-\u303f\uff00-\uffef,.;:)”]*|[^\u4e00-\u9fff]+?(?=[(“《（]?[\u4e00-\u9fff]|$)"
)


def wide(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese letters take two."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(each) in "WF" else 1 for each in text)


def fill(text: str, width: int | None, below: str = "") -> list[str]:
    """Lines of a text, broken between words; a long word also behind its marks. `below` begins all but the first.

    A command at its end can be pasted, broken or not.
    """
    if width is None or wide(text) <= width:
        return [text]
    if COMMAND.search(text):
        lines = _broken(text, width - len(ON), below)
        first = next(place for place, line in enumerate(lines) if "llmcost " in f"{line} ")
        return [*lines[:first], *(line + ON for line in lines[first:-1]), lines[-1]]
    return _broken(text, width, below)


def _broken(text: str, width: int, below: str) -> list[str]:
    """Lines of a text that has no command in it, or of one without the marks that join its lines."""
    indent = text[: len(text) - len(text.lstrip(" "))]
    lines, line, begun = [], indent, False
    for word in re.findall(r" *[^ ]+", text[len(indent) :]):
        bare = word.lstrip(" ")
        for number, piece in enumerate(pieces(bare)):
            added = word[: len(word) - len(bare)] + piece if begun and not number else piece
            if begun and wide(line) + wide(added) > width:
                lines.append(line)
                line, added = below, piece
            line, begun = line + added, True
    return [*lines, line]


def pieces(word: str) -> list[str]:
    """A word, or the pieces of a long one: the factors of a formula, the folders of an address.

    Chinese may be broken behind every letter; a mark stays with the letter that it closes or opens.
    """
    if not word.isascii():
        return [
            piece for run in CHINESE.findall(word) for piece in ([run] if len(run) <= LONG else BEHIND.findall(run))
        ]
    return [word] if len(word) <= LONG else BEHIND.findall(word)
