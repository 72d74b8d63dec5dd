"""What `llmcost accuracy --plot` draws: how far predictions are from what was measured, in one look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmcost.accuracy.score import percentile
from llmcost.accuracy.scoreboard import Scoreboard
from llmcost.report.charts import Panel, Span

CLASSES = ("optimised", "serving", "llama.cpp", "eager", "kernel", "training")  # a colour each, in this order
INNER = 0.8  # share of a group's figures that its span holds
TITLE = "Predicted over measured speed"
CAPTION = "Measured: each figure's address stands beside it in the package's files of published results"
X = "predicted over measured speed;\nright of 1 we say faster than it was"


def accuracy_panels(board: Scoreboard) -> list[Panel]:
    """Charts by source and by engine: the median of each and where 80 % of its figures lie. Memory is left out."""
    speeds = [(each, speed(each)) for each in board.figures if each["expected"] and each["quantity"] != "memory_bytes"]
    return [
        _panel("By source", [(each["class"], each["source"], ratio) for each, ratio in speeds]),
        _panel("By engine", [(each["class"], each["engine"] or each["source"], ratio) for each, ratio in speeds]),
    ]


def speed(figure: Mapping[str, Any]) -> float:
    """Predicted over measured speed of a figure, be it a rate or a time."""
    ratio: float = figure["expected"] / figure["measured"]
    return ratio if "per_s" in figure["quantity"] else 1 / ratio


def _panel(title: str, ratios: list[tuple[str, str, float]]) -> Panel:
    """Spans of groups, those of a class together; `ratios`: class, group and ratio of every figure."""
    groups: dict[tuple[int, str], list[float]] = {}
    for kind, name, ratio in ratios:
        groups.setdefault((CLASSES.index(kind), name), []).append(ratio)
    ordered = sorted(groups.items())
    ends = ((1 - INNER) / 2, 0.5, (1 + INNER) / 2)
    spans = [Span(CLASSES[number], number, *(percentile(of, share) for share in ends)) for (number, _), of in ordered]
    names = [f"{name} ({len(of):,})" for (_, name), of in ordered]
    note = f"mark: the median; bar: {INNER:.0%} of the figures (how many)"
    return Panel(title, X, "", groups=names, note=note, log=(True, False), spans=spans)
