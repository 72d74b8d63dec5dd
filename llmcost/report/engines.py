"""What is said of an engine that nobody named: that it is the usual one, and how to ask for another."""

from __future__ import annotations

from llmcost.serving.usual_engine import Usual
from llmcost.specs.optimised import OPTIMISED


def usual_engine_note(usual: Usual) -> list[str]:
    """A line about an engine that was taken as none was named; none where there is nothing to choose."""
    if not usual.others:
        return []
    others = ", ".join(usual.others)
    if usual.engine == OPTIMISED:
        return [f"engine    none in particular; of those that people run here: --engine {others}"]
    return [f"engine    default: {usual.engine}; another: --engine {others}; none in particular: --engine optimised"]
