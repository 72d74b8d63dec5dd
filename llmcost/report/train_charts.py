"""What `llmcost train --plot` draws: the step by cause, the memory of each pipeline stage, and its timeline."""

from __future__ import annotations

from collections.abc import Sequence

from llmcost.ground.units import counted, scaled, seconds
from llmcost.report.charts import Bars, Panel, Slot
from llmcost.report.train import MEMORY, causes, stage_name
from llmcost.training.results import Train
from llmcost.training.timeline import Turn

KINDS = ("forward", "backward", "gradients of weights")


def train_panels(answer: Train, turns: Sequence[Turn]) -> list[Panel]:
    """The expected step by cause, memory by stage and part, and of a pipeline when each stage runs what."""
    panels = [_step(answer), _memory(answer)]
    return [*panels, _timeline(answer, turns)] if turns else panels


def _step(answer: Train) -> Panel:
    names, times = zip(*causes(answer), strict=True)
    total = answer.breakdown.total
    note = f"{seconds(total)} expected, {seconds(answer.limit.step_seconds)} at the limit; MFU {answer.mfu:.1%}"
    note = f"{answer.run.tokens_per_step:,} tokens a step; {note}"
    return Panel("Step by cause", "seconds", "", bars=[Bars("", 0, times)], groups=names, note=note, sideways=True)


def _memory(answer: Train) -> Panel:
    memory, stages = answer.memory, answer.memory.stages
    parts = {label: [getattr(stage, field) / 1e9 for stage in stages] for label, field, _ in MEMORY}
    bars = [Bars(label, number, heights) for number, (label, heights) in enumerate(parts.items()) if max(heights)]
    verdict = "fits in" if memory.total_bytes <= memory.usable_bytes else "DOES NOT FIT in"
    several = len(stages) > 1
    return Panel(
        "Memory of a GPU by part",
        "pipeline stage" if several else "",
        "GB",
        bars=bars,
        groups=[stage_name(answer, stage) if several else "each GPU" for stage in stages],
        note=f"{scaled(memory.total_bytes, 'B')} at its peak {verdict} {scaled(memory.usable_bytes, 'B')}",
        limit=(f"usable {scaled(memory.usable_bytes, 'B')}", memory.usable_bytes / 1e9),
        stacked=True,
    )


def _kind(turn: Turn) -> int:
    return 0 if turn.forward else 2 if turn.weights else 1


def _timeline(answer: Train, turns: Sequence[Turn]) -> Panel:
    slots = [
        Slot(
            KINDS[_kind(each)],
            _kind(each),
            each.stage,
            each.start,
            each.end,
            str(each.micro_batch + 1),
        )
        for each in turns
    ]
    shown, all_of_them = 1 + max(each.micro_batch for each in turns), answer.layout.micro_batches
    some = "" if shown == all_of_them else f"as if {shown} of the {all_of_them:,} micro-batches were all"
    chunks = "" if answer.layout.vp == 1 else f"{counted(answer.layout.vp, 'chunk')} a stage"
    bubble = answer.breakdown.bubble / answer.breakdown.total
    note = "; ".join(
        [*filter(None, (some, chunks)), f"empty: waiting; the bubble of the whole step is {bubble:.1%} of it"]
    )
    rows = [f"stage {stage + 1}" for stage in range(answer.layout.pp)]
    return Panel("Pipeline timeline", "seconds", "", slots=slots, rows=rows, note=note)
