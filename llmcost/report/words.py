"""The language of tables and explanations. JSON and CSV, for programs, are English."""

from __future__ import annotations

import os

from llmcost.ground.errors import check_word

LANGUAGES = ("en", "zh")
VARIABLE = "LLMCOST_LANG"  # in the environment: the language where no --lang is given

_spoken = "en"


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


def told_message(text: str) -> str:
    """The message of an error, or a note beside an answer, in the language that is spoken."""
    if _spoken == "en":
        return text
    from llmcost.report import messages

    return messages.told_message(text, _spoken)


def told(text: str) -> str:
    """A text in the language that is spoken."""
    if _spoken == "en":
        return text
    from llmcost.report.phrases import translated

    return translated(text, _spoken)
