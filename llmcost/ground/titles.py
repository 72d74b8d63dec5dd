"""Titles of models, GPUs and sources that were read: names, which no translation changes."""

_READ: set[str] = set()


def keep(*titles: str) -> None:
    """Note titles as names. One of a single word is none: it may be a word of the language."""
    _READ.update(title for title in titles if " " in title)


def kept() -> frozenset[str]:
    """Every title that was noted."""
    return frozenset(_READ)
