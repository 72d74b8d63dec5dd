"""The engine that is no program: a well-optimised one, whose kernels reach what is usual on every chip.

It has no file, and no scheduler or host of its own; `--engine optimised` asks for it.
"""

from llmcost.ground.options import parse_name

OPTIMISED = "optimised"  # in place of an engine's name


def parse_engine(text: str) -> str:
    """A name of an engine, or a path to one; OPTIMISED however it is spelled. Raises ValueError for a list."""
    return OPTIMISED if text.lower() in (OPTIMISED, "optimized") else parse_name(text)
