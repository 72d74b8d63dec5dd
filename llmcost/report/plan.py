"""A plan as tables, rows and a document: the best layouts, why the others lose, what is illegal."""

from __future__ import annotations

from typing import Any

from llmcost.ground.units import scaled, seconds, significant
from llmcost.parallel.training_layout import Layout
from llmcost.report.tables import Table
from llmcost.search.causes import CAUSES
from llmcost.search.plan_training import SCHEMA, Candidate, Cell, Plan, Question, price_of, step_of

COLUMNS = ("tp", "pp", "vp", "cp", "ep", "dp", "zero", "micro_batch", "recompute")


def plan_tables(question: Question, found: Plan) -> list[Table]:
    """The best, then why the rest lose, then which rules the illegal ones break."""
    grid = [_grid(found)] if len(found.grid) > 1 else []
    others = [_others(question, found)] if found.timed > 1 else []
    return [_best(question, found), *grid, *others, *([_illegal(found)] if found.illegal else [])]


def _best(question: Question, found: Plan) -> Table:
    batch = f"{question.base.global_batch:,} sequences of {question.seq:,} tokens a step"
    lora = question.recipe.lora
    trained = "" if lora is None else f", LoRA of rank {lora.rank}"
    title = f"{question.model.title} on {question.gpus:,} × {question.hardware.title}: {question.recipe.dtype}{trained}, {batch}"
    fit = f"{found.fit:,} of {found.timed:,} legal layouts fit in {scaled(question.usable, 'B')} a GPU."
    if not found.best:
        none = (
            "No layout is legal."
            if found.spreads
            else f"None of the degrees asked for multiply to {question.gpus:,} GPUs."
        )
        return Table(title, (), "", (), (fit if found.timed else none,))
    first, priced = found.best[0], question.price is not None
    rows = []
    for place, each in enumerate(found.best, start=1):
        slower = f"+{each.step_seconds / first.step_seconds - 1:.1%}: {CAUSES[each.cause]}" if each.cause else ""
        figures = (
            seconds(each.step_seconds),
            f"{_rate(question, each):,.0f}",
            f"{_mfu(question, each):.1%}",
            scaled(each.memory_bytes, "B"),
            *((f"${significant(price_of(question, each.step_seconds))}",) if priced else ()),
        )
        rows.append((str(place), *figures, *[str(value) for value in _axes(each.layout)], slower))
    columns = (
        "",
        "step",
        "tokens/s a GPU",
        "MFU",
        "memory",
        *(("a million tokens",) if priced else ()),
        *(name.replace("_", " ") for name in COLUMNS),
        "slower by, for",
    )
    return Table(title, columns, "r" * (len(columns) - 2) + "ll", rows, (fit,))


def _grid(found: Plan) -> Table:
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


def _cell(cell: Cell) -> str:
    return f"+{scaled(cell.missing_bytes, 'B')}" if cell.step_seconds is None else seconds(cell.step_seconds)


def _others(question: Question, found: Plan) -> Table:
    rows = [
        (CAUSES[each.cause], f"{each.layouts:,}", seconds(each.fastest_seconds), seconds(each.median_seconds))
        for each in found.lost
    ]
    notes = tuple(_too_large(question, found, each) for each in found.too_large)
    missing = found.timed - found.fit
    if missing:
        rows.append(("memory: they do not fit", f"{missing:,}", "", ""))
    return Table(
        "Why the others lose", ("most more spent on", "layouts", "fastest step", "median"), "lrrr", rows, notes
    )


def _too_large(question: Question, found: Plan, each: Candidate) -> str:
    layout = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in zip(COLUMNS, _axes(each.layout), strict=True)
    )
    least = "" if found.best else "Least memory: " if each is found.too_large[0] else "Fastest: "
    faster = "Faster, if it fitted: " if found.best else least
    over = scaled(each.memory_bytes - question.usable, "B")
    return (
        f"{faster}{seconds(each.step_seconds)} with {layout} needs {scaled(each.memory_bytes, 'B')}, {over} too much."
    )


def _illegal(found: Plan) -> Table:
    rows = [(each.rule, f"{each.layouts:,}") for each in found.illegal]
    total = sum(each.layouts for each in found.illegal)
    title = f"Illegal: {total:,} of {found.spreads:,} ways to spread tp, cp, pp, dp and ep"
    return Table(title, ("the rule they break first, as one of them does", "ways"), "lr", rows)


def plan_rows(question: Question, found: Plan) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The best layouts as CSV: headings and rows in base units."""
    priced = question.price is not None
    price = ("price_per_million_tokens",) if priced else ()
    headings = ("step_seconds", "tokens_per_s_per_gpu", "mfu", "memory_bytes", *COLUMNS, "cause", *price)
    rows = [
        (
            each.step_seconds,
            _rate(question, each),
            _mfu(question, each),
            each.memory_bytes,
            *_axes(each.layout),
            each.cause,
            *((price_of(question, each.step_seconds),) if priced else ()),
        )
        for each in found.best
    ]
    return headings, rows


def plan_document(question: Question, found: Plan) -> dict[str, Any]:
    """The JSON document."""
    headings, rows = plan_rows(question, found)
    return {
        "schema": SCHEMA,
        "model": question.model.name,
        "hardware": question.hardware.name,
        "gpus": question.gpus,
        "global_batch": question.base.global_batch,
        "seq": question.seq,
        "usable_bytes": question.usable,
        "layouts": {"spreads": found.spreads, "legal": found.timed, "fit": found.fit},
        "best": [dict(zip(headings, row, strict=True)) for row in rows],
        "lost": [each._asdict() for each in found.lost],
        "too_large": [
            {
                "step_seconds": each.step_seconds,
                "memory_bytes": each.memory_bytes,
                "excess_bytes": each.memory_bytes - question.usable,
            }
            | dict(zip(COLUMNS, _axes(each.layout), strict=True))
            for each in found.too_large
        ],
        "grid": [each._asdict() for each in found.grid],
        "illegal": [each._asdict() for each in found.illegal],
    }


def _axes(layout: Layout) -> tuple[Any, ...]:
    return tuple(getattr(layout, name) for name in COLUMNS)


def _rate(question: Question, each: Candidate) -> float:
    return float(question.base.global_batch * question.seq / each.step_seconds / question.gpus)


def _mfu(question: Question, each: Candidate) -> float:
    return float(step_of(question, each.layout).mfu())
