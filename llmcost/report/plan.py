"""A plan to train as tables: the best layouts, why the others lose, what is illegal."""

from __future__ import annotations

from llmcost.ground.units import counted, scaled, seconds, significant
from llmcost.report.tables import Table
from llmcost.search.causes import CAUSES
from llmcost.search.plan_training import GridCell, TrainingCandidate, TrainingPlan


def plan_tables(found: TrainingPlan) -> list[Table]:
    """The best, then why the rest lose, then which rules the illegal ones break."""
    tables = [_best(found)]
    if found.programs:
        tables.append(_programs(found))
    if len(found.grid) > 1:
        tables.append(_grid(found))
    if found.timed > 1:
        tables.append(_others(found))
    if found.illegal:
        tables.append(_illegal(found))
    return tables


def _best(found: TrainingPlan) -> Table:
    """The fastest layouts that fit, each with what it spends more on than the first; or why there is none."""
    question = found.question
    place = f"{question.model.title} on {question.gpus:,} × {question.hardware.title}"
    batch = f"{counted(question.base.global_batch, 'sequence')} of {question.seq:,} tokens a step"
    lora = question.recipe.lora
    trained = "" if lora is None else f", LoRA of rank {lora.rank}"
    stages = question.base.stages
    dealt = "" if stages is None else f", stages of {','.join(map(str, stages))} layers"
    title = f"{place}: {question.recipe.dtype}{trained}, {batch}{dealt}"
    fit = f"{found.fit:,} of {counted(found.timed, 'legal layout')} fit in {scaled(question.usable, 'B')} a GPU."
    if not found.best:
        spread = f"None of the degrees asked for multiply to {counted(question.gpus, 'GPU')}."
        none = "No layout is legal." if found.spreads else spread
        return Table(title, (), "", (), (fit if found.timed else none,))
    first, priced = found.best[0], question.price is not None
    rows = []
    for number, each in enumerate(found.best, start=1):
        slower = f"+{each.step_seconds / first.step_seconds - 1:.1%}: {CAUSES[each.cause]}" if each.cause else ""
        figures = (
            seconds(each.step_seconds),
            f"{each.tokens_per_s_per_gpu:,.0f}",
            f"{each.mfu:.1%}",
            scaled(each.memory_bytes, "B"),
            *((f"${significant(each.price_per_million_tokens or 0)}",) if priced else ()),
        )
        rows.append((str(number), *figures, *map(str, each.axes(question.axes()).values()), slower))
    columns = (
        "",
        "step",
        "tokens/s a GPU",
        "MFU",
        "memory",
        *(("a million tokens",) if priced else ()),
        *(name.replace("_", " ") for name in question.axes()),
        "slower by, for",
    )
    shown = ("step", "tokens/s a GPU", "MFU", "memory", "slower by, for")
    return Table(title, columns, "r" * (len(columns) - 2) + "ll", rows, (fit,), last=shown)


def _programs(found: TrainingPlan) -> Table:
    """The best step of each way to compute that was compared."""
    asked, rows = found.question.programs, []
    fastest = min(each.step_seconds for each in found.programs if each.step_seconds is not None)
    for each in found.programs:
        step = each.step_seconds
        slower = f"+{step / fastest - 1:.1%}: {CAUSES[each.cause]}" if step is not None and each.cause else ""
        best = "does not fit" if step is None else seconds(step)
        rows.append((*map(str, each.axes.values()), best, f"{each.fit:,}", slower))
    columns = (*(name.replace("_", " ") for name in asked), "best step", "layouts that fit", "slower by, for")
    return Table("The best step of each way to compute", columns, "l" * len(asked) + "rrl", rows)


def _grid(found: TrainingPlan) -> Table:
    """Degrees of tensor parallelism down, of pipelines across."""
    cells = {(cell.tp, cell.pp): _cell(cell) for cell in found.grid}
    degrees, stages = sorted({cell.tp for cell in found.grid}), sorted({cell.pp for cell in found.grid})
    columns = [f"pp {pp}" for pp in stages]
    rows = [(f"tp {tp}", *[cells.get((tp, pp), "") for pp in stages]) for tp in degrees]
    lacking = any(cell.step_seconds is None for cell in found.grid)
    notes = ("With a plus: nothing there fits, and the smallest needs so much more.",) if lacking else ()
    return Table(
        "The best step by tensor-parallel GPUs and pipeline stages",
        ("", *columns),
        "l" + "r" * len(columns),
        rows,
        notes,
    )


def _cell(cell: GridCell) -> str:
    return f"+{scaled(cell.missing_bytes, 'B')}" if cell.step_seconds is None else seconds(cell.step_seconds)


def _others(found: TrainingPlan) -> Table:
    rows = [
        (CAUSES[each.cause], f"{each.layouts:,}", seconds(each.fastest_seconds), seconds(each.median_seconds))
        for each in found.lost
    ]
    notes = tuple(_too_large(found, each) for each in found.too_large)
    missing = found.timed - found.fit
    if missing:
        rows.append(("memory: they do not fit", f"{missing:,}", "", ""))
    return Table(
        "Why the others lose", ("most more spent on", "layouts", "fastest step", "median"), "lrrr", rows, notes
    )


def _too_large(found: TrainingPlan, each: TrainingCandidate) -> str:
    """A layout that does not fit: one that would be faster than the best, or, where none fits, least or fastest."""
    least = "Least memory" if each is found.too_large[0] else "Fastest"
    which = "Faster, if it fitted" if found.best else least
    layout = ", ".join(f"{axis.replace('_', ' ')} {value}" for axis, value in each.axes(found.question.axes()).items())
    needs, over = scaled(each.memory_bytes, "B"), scaled(each.excess_bytes, "B")
    return f"{which}: {seconds(each.step_seconds)} with {layout} needs {needs}, {over} too much."


def _illegal(found: TrainingPlan) -> Table:
    rows = [(each.rule, f"{each.layouts:,}") for each in found.illegal]
    total = sum(each.layouts for each in found.illegal)
    title = f"Illegal: {total:,} of {found.spreads:,} ways to spread tp, cp, pp, dp and ep"
    return Table(title, ("the rule they break first, as one of them does", "ways"), "lr", rows)
