"""What is wrong with an input, in another language: the messages of errors as templates, and what is said instead.

    messages.zh.json     {"joints": {"{}; nearest: {}": "{}；最接近的：{}", ...},
                          "messages": {"expected a whole number, got {}": "应为整数，得到的是 {}", ...}}

{} stands for anything, which may be a message too; [] for a name or an option with its value. A joint holds messages
together. What is in front of a message (an option and its value; a file, its line and its field) stays.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

_HOLE = re.compile(r"\{\}|\[\]")
_HOLES = {"{}": "(.+?)", "[]": r"(-*[\w.,-]+(?: \d+)?)"}


class Template(NamedTuple):
    """The pattern of an English message, how many letters it fixes, and what is said instead."""

    pattern: re.Pattern[str]
    letters: int
    said: str


def told_message(text: str, language: str) -> str:
    """The message of an error in a language; as it is where the language has none for it.

    The first joint that fits is taken; else, of the messages that end where the text ends, the one that fixes most.
    """
    if language == "en":
        return text
    joints, messages = _templates(language)
    for joint in joints:
        if match := joint.pattern.fullmatch(text):
            return _filled(joint, match, language)
    starts = [0, *(colon.end() for colon in re.finditer(": ", text))]
    found = [
        (each.letters, start, each, match)
        for start in starts
        for each in messages
        if (match := each.pattern.fullmatch(text, start))
    ]
    if not found:
        return text
    _, start, template, match = max(found, key=lambda each: each[:2])
    front = f"{text[: start - 2]}：" if start else ""
    return front + _filled(template, match, language)


def _filled(template: Template, match: re.Match[str], language: str) -> str:
    return template.said.format(*(told_message(part, language) for part in match.groups()))


@cache
def _templates(language: str) -> tuple[tuple[Template, ...], tuple[Template, ...]]:
    """Joints and messages."""
    data = json.loads(Path(__file__).with_name(f"messages.{language}.json").read_text("utf-8"))
    joints, messages = (tuple(_template(*each) for each in data[part].items()) for part in ("joints", "messages"))
    return joints, messages


def _template(english: str, said: str) -> Template:
    fixed, holes = _HOLE.split(english), [*_HOLE.findall(english), ""]
    pattern = "".join(re.escape(words) + _HOLES.get(hole, "") for words, hole in zip(fixed, holes, strict=True))
    return Template(re.compile(pattern, re.DOTALL), sum(map(len, fixed)), said)
