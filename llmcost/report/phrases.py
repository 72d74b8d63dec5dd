"""How a text is said in another language: English phrases, and what stands for each.

    words.zh.json     {"kept": ["token", ...], "phrases": {"{} used of {}": "占用 {}，共 {}", ...}}

A text is read from its beginning: where a phrase begins, the longest one that fits is replaced; what is no phrase stays
as it is. So figures, names, options and formulas stay, and a sentence made of known pieces needs no entry of its own.
{} stands for one figure with its unit, or one name; ^...$ is a phrase that is a whole text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from llmcost.ground.titles import kept as kept_titles
from llmcost.report.wrapping import COMMAND, wide

_UNIT = r"(?:[kKMGTPE]?i?B|[kMGTPEZ]?(?:FLOP|MAC)[sS]?|[mµn]?s|[kMGT]|min|h|%|M?W|[kM]?J|[kM]Wh|[GT]?B/s|tokens?/s)"
_NUMBER = r"[-−+~<>≈]?\$?\d(?:[\d,]*\d)?(?:\.\d+)?[A-Za-zµ%×]*"
_NAME = r"(?!(?:a|and|are|at|by|for|in|is|of|on|or|the|to|with) )[^\s,;()]*[^\s,;():.]"
_VALUE = rf"(?:{_NUMBER}|{_NAME})(?: {_UNIT}(?![\w/]))?"
_HEAD = re.compile(r"[A-Za-z]+|\S")  # what phrases are filed under
_VALUE_AT = re.compile(rf"({_VALUE})\s*([A-Za-z]*)")
_NAME_AT = re.compile(rf"({_NUMBER}|{_NAME})\s*([A-Za-z]*)")
_CHUNK = re.compile(r"\s|[(«\"]|[^\s(«\"]+")  # where a phrase may begin
_ENGLISH = re.compile(r"[A-Za-z][a-z]+(?:[-'/][A-Za-z]?[a-z]+)*")  # no name of a thing, option, unit or figure
_MARKS = ".,;:()«»\"'?!"
_CHINESE = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_MARK = re.compile(  # at Chinese letters: marks with the space behind them, a full stop, needless spaces
    rf"(?<={_CHINESE})([,;:]) ?(?!\S*://)|([,;:]) (?={_CHINESE})|(?<={_CHINESE}) (?={_CHINESE})| (?=[，；：])"
    r"|(?<!\d)(\.)$"
)
FOREIGN = 2  # words that a text may have and still is translated
_WIDE = {",": "，", ";": "；", ":": "：", ".": "。"}


class Phrase(NamedTuple):
    """An English phrase, and what is said instead."""

    english: str
    said: str


class Language(NamedTuple):
    """Phrases by what they begin with, and English words that are said so in this language too."""

    phrases: dict[str, list[Phrase]]
    kept: frozenset[str]


@cache
def translated(text: str, language: str) -> str:
    """A text in a language, titles and commands as they are. Words moved apart to stand below each other still do."""
    return "\n".join(_up_to_a_command(line, _language(language)) for line in text.split("\n"))


def untold(text: str, language: str) -> list[str]:
    """The English words of a text that the language has no phrase for."""
    known, found = _language(language), []
    for part in re.split(r"\n|  +", text):
        for piece, phrase, values in _pieces(part, known):
            if phrase is None and _is_untold(piece, known):
                found.append(piece.strip(_MARKS))
            found += [each for each in values if _is_untold(each, known) and _value(each, known) == each]
    return found


def _is_untold(piece: str, known: Language) -> bool:
    word = piece.strip(_MARKS)
    return _ENGLISH.fullmatch(word) is not None and word.lower() not in known.kept


@cache
def _language(language: str) -> Language:
    data = json.loads(Path(__file__).with_name(f"words.{language}.json").read_text("utf-8"))
    phrases: dict[str, list[Phrase]] = {}
    for english, said in data["phrases"].items():
        phrases.setdefault(_filed(english.lstrip("^")), []).append(Phrase(english, said))
    return Language(phrases, frozenset(data["kept"]))


def _filed(english: str) -> str:
    """What a phrase is filed under: its first word in small letters, or {} and the word behind it."""
    head = re.match(r"\{\}\s*[A-Za-z]*|[A-Za-z]+|.", english)
    assert head is not None
    return re.sub(r"\s", "", head[0].lower())


@cache
def _compiled(english: str) -> re.Pattern[str]:
    """The pattern of a phrase, made when a text first has its first word."""
    return re.compile(_pattern(english))


def _pattern(english: str) -> str:
    """A phrase as a pattern: either case at its beginning, whole words alone, a figure or a name for each {}."""
    if english[0] == "^":
        return rf"\A{_pattern(english[1:-1])}\Z"
    pieces = [re.escape(piece) for piece in english.split("{}")]
    if pieces[0] and english[0].isalpha():
        pieces[0] = f"[{english[0].upper()}{english[0].lower()}]" + pieces[0][1:]
    end = r"(?![\w/=@-]|\.\w)" if english[-1].isalnum() else ""
    return f"({_VALUE})".join(pieces) + end


def _line(line: str, known: Language) -> str:
    """A line whose words begin where they did, if the words before have room; spaces at its beginning are kept."""
    parts = re.split(r"(  +)", line)
    said, column = "", 0  # of the original
    for words, gap in zip(parts[::2], [*parts[1::2], ""], strict=True):
        said += _said(words, known)
        column += wide(words) + len(gap)
        if gap:
            said += " " * max(column - wide(said), 2)
    return said


def _up_to_a_command(line: str, known: Language) -> str:
    """A line in the language; a command at its end, which is to be typed, stays."""
    typed = COMMAND.search(line)
    return _around_titles(line, known) if typed is None else _around_titles(line[: typed.start()], known) + typed[0]


def _around_titles(line: str, known: Language) -> str:
    """A line in the language, without a change in the titles of models, GPUs and sources."""
    parts = re.split(_titles(kept_titles()), line)
    return "".join(part if place % 2 else _line(part, known) for place, part in enumerate(parts))


@cache
def _titles(kept: frozenset[str]) -> re.Pattern[str]:
    """What finds titles, the longest first; nothing where there are none."""
    return re.compile("(" + ("|".join(map(re.escape, sorted(kept, key=len, reverse=True))) or r"(?!)") + ")")


def _said(text: str, known: Language) -> str:
    """A text in the language; prose that it has no words for, as notes of specs, stays whole."""
    pieces = [*_pieces(text, known)]
    foreign = [
        piece for piece, phrase, _ in pieces if phrase is None and piece[0].islower() and _is_untold(piece, known)
    ]
    if len(foreign) > FOREIGN:
        return text
    return _with_marks("".join(piece if phrase is None else phrase for piece, phrase, _ in pieces))


def _with_marks(text: str) -> str:
    """A text with the marks that Chinese has, where there is Chinese."""
    if not re.search(_CHINESE, text):
        return text
    return _MARK.sub(lambda found: _WIDE.get(found[1] or found[2] or found[3] or "", ""), text)


def _pieces(text: str, known: Language) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """The pieces of a text, each with its translation and what stood for {} in it; None for one that stays as it is."""
    place = 0
    while place < len(text):
        found = _match(text, place, known)
        if found is not None:
            match, said = found
            values = match.groups()
            yield match[0], said.format(*(_value(each, known) for each in values)) if values else said, values
            place = match.end()
            continue
        chunk = _CHUNK.match(text, place)
        assert chunk is not None
        yield chunk[0], None, ()
        place = chunk.end()


def _value(text: str, known: Language) -> str:
    """What stands for {}: a figure or a name as it is, a word in the language."""
    return _line(text, known) if _ENGLISH.fullmatch(text) else text


def _match(text: str, place: int, known: Language) -> tuple[re.Match[str], str] | None:
    """The longest phrase that begins with this word, or else with this figure or name, and what is said instead."""
    head = _HEAD.match(text, place)
    if head is None:
        return None
    behind = (_VALUE_AT.match(text, place), _NAME_AT.match(text, place))
    figures = ["{}" + value[2].lower() for value in behind if value is not None and not _ENGLISH.fullmatch(value[1])]
    for heads in ([head[0].lower()], dict.fromkeys(figures)):
        found = [
            (match, phrase.said)
            for each in heads
            for phrase in known.phrases.get(each, ())
            if (match := _compiled(phrase.english).match(text, place))
        ]
        if found:
            return max(found, key=lambda each: (len(each[0][0]), each[0].re.pattern[:2] == r"\A", -each[0].re.groups))
    return None
