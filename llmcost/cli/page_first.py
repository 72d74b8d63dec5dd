"""What the page without a server shows on a first visit: answered as it is built, for Python takes seconds to start."""

from collections.abc import Iterator
from typing import Any

from llmcost.cli.page import FIRST, LANGUAGES, answer, as_json, controls, reply


def first_answers() -> str:
    """Pairs of a question, letter by letter as main.js asks it, and its reply, as JSON; in each language.

    The estimate, the operators of both phases, the curve along batches, and the formula of every figure.
    """
    return as_json([*_pairs()]).decode()


def _pairs() -> Iterator[tuple[str, str]]:
    asked: dict[str, Any] = {"options": {name: FIRST[name] for name in controls() if name in FIRST}, "file": None}
    [found] = answer({"ask": "estimate", **asked})["documents"]
    batches = [str(2**power) for power in range(found["memory"]["max_batch"].bit_length())]
    for lang in LANGUAGES:
        yield _replied({"ask": "estimate", **asked, "lang": lang})
        for phase in ("prefill", "decode"):
            yield _replied({"ask": "ops", **asked, "phase": phase, "lang": lang})
        yield _replied({"ask": "estimate", **asked, "vary": ["batch", batches], "lang": lang})
        told = answer({"ask": "explain", **asked, "lang": lang})  # of all at once, which takes no longer than one
        [every] = told["documents"]
        for each in every["explanations"]:
            alone = told | {"documents": [every | {"explanations": [each]}]}
            yield _text({"ask": "explain", **asked, "quantity": each["quantity"], "lang": lang}), _text(alone)


def _replied(question: dict[str, Any]) -> tuple[str, str]:
    asked = _text(question)
    return asked, reply(asked)


def _text(document: dict[str, Any]) -> str:
    return as_json(document).decode()
