"""Which figures are asked for: by a path, by a part of one, or by words in English or Chinese."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llmcost.formulas.quantities import Quantity

WORD = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]+")  # Chinese beside Latin letters is a word of its own
FILLERS = {"a", "an", "and", "how", "in", "is", "many", "much", "of", "on", "per", "the", "to", "what"}
SAME = {"缓存": "cache", "激活": "activation", "权重": "weight"}  # Chinese words, and the English of paths for them

ELSEWHERE = {  # words of what other commands and options answer
    ("hfu", "tflops"): "llmcost mfu",
    ("price", "money", "dollar", "$", "价格", "费用"): "estimate --price",
    ("energy", "joule", "power", "watt", "能耗", "电费"): "estimate --kwh",
    ("epoch", "optimizer", "step"): "llmcost train",
}


def wanted(asked: str, known: Mapping[str, Quantity]) -> list[str]:
    """The figures that are asked for: by a path, the head or the tail of one, or by words; none where nothing matches.

    Every word has to begin one of the path, of what the figure is, of its other words, or of its source; a Chinese one
    may stand anywhere. Those that have all of them in the path or the other words alone stand first. Where no figure
    has all of several words, those that have most of them are meant.
    """
    found_at = at_path(asked, known)
    if found_at:
        return found_at
    words = _words(asked)
    if not words:
        return []
    found = {path: _rank(words, path, quantity) for path, quantity in known.items()}
    if not any(found.values()) and "." not in asked and (len(words) > 1 or not words[0].isascii()):
        found = {path: _most(words, path, quantity) for path, quantity in known.items()}
        best = max(found.values())
        found = {path: rank for path, rank in found.items() if rank == best}
    return sorted((path for path, rank in found.items() if rank), key=lambda path: -found[path])


def at_path(asked: str, known: Mapping[str, Quantity]) -> list[str]:
    """The figures whose path is asked for, or the head or the tail of it."""
    return [path for path in known if path == asked or path.startswith(f"{asked}.") or path.endswith(f".{asked}")]


def _words(asked: str) -> list[str]:
    """The words that say something; all of them where none does."""
    words = WORD.findall(asked.casefold())
    return [word for word in words if word not in FILLERS] or words


def _rank(words: list[str], path: str, quantity: Quantity) -> int:
    """2 where a figure is called by all of the words, 1 where they are said of it, else 0."""
    called = f"{path} {quantity.also}"
    said = f"{called} {quantity.what} {quantity.source}"
    return 2 if all(_has(called, word) for word in words) else int(all(_has(said, word) for word in words))


def _most(words: list[str], path: str, quantity: Quantity) -> int:
    """How many of the words a figure is called by, of a Chinese one any two letters."""
    called = f"{path} {quantity.also}"
    return sum(any(_has(called, part) for part in _parts(word)) for word in words)


def _parts(word: str) -> list[str]:
    return [word] if word.isascii() else [word[at : at + 2] for at in range(max(1, len(word) - 1))]


def _has(text: str, word: str) -> bool:
    """Whether a word begins one of a text, its plural s aside; a Chinese one may stand anywhere in it."""
    text = text.casefold()
    if word in text and not word.isascii():
        return True
    word = SAME.get(word, word)
    stem = word.removesuffix("s") or word
    return word.isascii() and any(each.startswith(stem) for each in re.split(r"[^\w]+|_", text))


def elsewhere(asked: str) -> str:
    """Where what is no figure of an estimate is answered; "" where that is not known."""
    asked = asked.casefold()
    found = [where for words, where in ELSEWHERE.items() if any(word in asked for word in words)]
    return f"; {found[0]} answers that" if found else ""
