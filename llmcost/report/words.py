"""The language of tables and explanations. JSON and CSV, for programs, are English."""

from __future__ import annotations

import os
import re

from llmcost.ground.errors import check_word

LANGUAGES = ("en", "zh")
VARIABLE = "LLMCOST_LANG"  # in the environment: the language where no --lang is given

_spoken = "en"
_THINGS = (
    "answer block case combination expert figure GPU image kernel layer layout model node operator piece point "
    "preemption prompt replica request row run second sequence stage step table token user"
)
# Of sizes (`× 1`) too, and of no part of a number (`1,001`, `0.1`).
_SAID_OF_ONE = {"1 run at": "1 runs at", "1 request that run,": "1 request that runs,", "1 were ": "1 was "}
_IT_DOES = re.compile("|".join(rf"(?<![\w.,]){re.escape(each)}" for each in _SAID_OF_ONE))
_ONE_OF_SEVERAL = re.compile(rf"(?<![\w.,])(1 (?:{_THINGS.replace(' ', '|')}))s\b(?!/)")


def speak(language: str | None) -> None:
    """Choose the language of what is said from now on; None: that of the environment, else English.

    Raises InputError for one that the program does not know.
    """
    global _spoken  # noqa: PLW0603  a process answers one user
    named = language or os.environ.get(VARIABLE) or "en"
    check_word("--lang" if language else VARIABLE, named, LANGUAGES)
    _spoken = named


def spoken() -> str:
    """The language that is spoken."""
    return _spoken


def of_one(text: str) -> str:
    """An English text in which one of a thing is not told as several: `1 tokens in` is `1 token in`."""
    if "1 " not in text:
        return text
    return _IT_DOES.sub(lambda match: _SAID_OF_ONE[match[0]], _ONE_OF_SEVERAL.sub(r"\1", text))


def told_message(text: str) -> str:
    """The message of an error, or a note beside an answer, in the language that is spoken."""
    if _spoken == "en":
        return of_one(text)
    from llmcost.report import messages

    return messages.told_message(text, _spoken)


def told(text: str) -> str:
    """A text in the language that is spoken."""
    if _spoken == "en":
        return of_one(text)
    from llmcost.report.phrases import translated

    return translated(text, _spoken)
