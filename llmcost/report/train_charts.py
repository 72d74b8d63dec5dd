"""What `llmcost train --plot` draws: the step by cause, and the memory of each pipeline stage by part."""

from __future__ import annotations

from llmcost.ground.units import scaled, seconds
from llmcost.report.charts import Bars, Panel
from llmcost.report.train import MEMORY, causes, stage_name
from llmcost.training.results import Train


def train_panels(answer: Train) -> list[Panel]:
    """The expected step by cause, and memory by stage and part."""
    names, times = zip(*causes(answer), strict=True)
    total = answer.breakdown.total
    step = Panel(
        "Step by cause",
        "",
        "seconds",
        bars=[Bars("", 6, times, [True] * len(times))],
        groups=[name.replace(", ", "\n").replace(" ", "\n") for name in names],
        note=f"{seconds(total)} expected; MFU {answer.mfu:.1%}",
    )
    memory, stages = answer.memory, answer.memory.stages
    parts = {label: [getattr(stage, field) / 1e9 for stage in stages] for label, field, _ in MEMORY}
    kept = {label: heights for label, heights in parts.items() if max(heights)}
    bars = [Bars(label, number, heights, [True] * len(stages)) for number, (label, heights) in enumerate(kept.items())]
    verdict = "fits in" if memory.fits else "does not fit in"
    several = len(stages) > 1
    return [
        step,
        Panel(
            "Memory of a GPU by part",
            "pipeline stage" if several else "",
            "GB",
            bars=bars,
            groups=[stage_name(answer, stage) if several else "each" for stage in stages],
            note=f"{scaled(memory.total_bytes, 'B')} at its peak {verdict} {scaled(memory.usable_bytes, 'B')}",
        ),
    ]
