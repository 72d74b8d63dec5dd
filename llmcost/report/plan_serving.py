"""A plan to serve as tables."""

from __future__ import annotations

from llmcost.ground.units import seconds, significant
from llmcost.report.tables import Table
from llmcost.search.plan_serving import AXES, ServingPlan

UNFIT = {
    "links": "use links between GPUs or nodes that no source gives; a spec of your own may (interconnect, fabric)."
}
BOUNDS = {
    "memory": "memory",
    "ttft": "time to the first token",
    "tpot": "time a token",
    "requests": "no more were tried",
}


def serving_tables(found: ServingPlan) -> list[Table]:
    """The best, then what became of the others."""
    question, w = found.question, found.question.workload
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
            *((f"${significant(each.price_per_million_tokens or 0)}",) if priced else ()),
            BOUNDS[each.bound],
        )
        for place, each in enumerate(found.best, start=1)
    ]
    columns = (
        "",
        "tokens/s a GPU",
        "first token",
        "each other",
        *AXES,
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
