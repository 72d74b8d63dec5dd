"""A plan to serve as tables, rows and a document."""

from __future__ import annotations

from typing import Any

from llmcost.ground.units import seconds, significant
from llmcost.report.tables import Table
from llmcost.search.plan_serving import SCHEMA, Candidate, Question, ServingPlan, price_of

UNFIT = {
    "links": "use links between GPUs or nodes that no source gives; a spec of your own may (interconnect, fabric)."
}
COLUMNS = ("tp", "pp", "dp", "ep")
BOUNDS = {
    "memory": "memory",
    "ttft": "time to the first token",
    "tpot": "time a token",
    "requests": "no more were tried",
}


def serving_tables(question: Question, found: ServingPlan) -> list[Table]:
    """The best, then what became of the others."""
    w = question.workload
    lengths = f"{w.prompt:,} tokens in and {w.output:,} out"
    title = f"{question.model.title} on {question.gpus:,} × {question.hardware.title}, {w.weight_dtype} weights: requests of {lengths}"
    limits = [
        f"{name} at most {seconds(each)}"
        for name, each in (("first token", question.ttft), ("each other", question.tpot))
        if each
    ]
    priced = question.price is not None
    rows = [
        (
            str(place),
            f"{each.tokens_per_s_per_gpu:,.0f}",
            seconds(each.ttft_seconds),
            seconds(each.tpot_seconds),
            *[str(degree) for degree in each.layout[:4]],
            f"{each.concurrency:,}",
            f"{each.max_concurrency:,}",
            f"{each.replicas:,}",
            *((f"${significant(price_of(question, each.tokens_per_s_per_gpu))}",) if priced else ()),
            BOUNDS[each.bound],
        )
        for place, each in enumerate(found.best, start=1)
    ]
    columns = (
        "",
        "tokens/s a GPU",
        "first token",
        "each other",
        *COLUMNS,
        "in flight",
        "room for",
        "replicas",
        *(("a million output tokens",) if priced else ()),
        "what keeps it from more",
    )
    notes = [f"{found.legal:,} legal layouts; {', '.join(limits) or 'no limits on time'}."]
    notes += [
        f"{count:,} {UNFIT.get(name) or f'serve nobody: {BOUNDS[name]} with one request a rank.'}"
        for name, count in found.unfit.items()
    ]
    notes += [f"{each.layouts:,} are illegal; the first: {each.rule}." for each in found.illegal]
    return [Table(title, columns if rows else (), "r" * (len(columns) - 1) + "l" if rows else "", rows, tuple(notes))]


def serving_rows(question: Question, found: ServingPlan) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The best layouts as CSV: headings and rows in base units, with dollars where there is a price."""
    figures, priced = Candidate._fields[1:], question.price is not None
    headings = (*COLUMNS, *figures, *(("price_per_million_tokens",) if priced else ()))
    prices = [(price_of(question, each.tokens_per_s_per_gpu),) if priced else () for each in found.best]
    return headings, [(*each.layout[:4], *each[1:], *price) for each, price in zip(found.best, prices, strict=True)]


def serving_document(question: Question, found: ServingPlan) -> dict[str, Any]:
    """The JSON document."""
    headings, rows = serving_rows(question, found)
    w = question.workload
    return {
        "schema": SCHEMA,
        "model": question.model.name,
        "hardware": question.hardware.name,
        "gpus": question.gpus,
        "prompt": w.prompt,
        "output": w.output,
        "chunk": w.chunk,
        "dtype": w.dtype,
        "weight_dtype": w.weight_dtype,
        "kv_dtype": w.kv_dtype,
        "ttft_seconds": question.ttft,
        "tpot_seconds": question.tpot,
        "legal": found.legal,
        "best": [dict(zip(headings, row, strict=True)) for row in rows],
        "unfit": found.unfit,
        "illegal": [each._asdict() for each in found.illegal],
    }
