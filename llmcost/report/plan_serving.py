"""A plan to serve as tables."""

from __future__ import annotations

from collections.abc import Sequence

from llmcost.ground.units import counted, seconds, significant
from llmcost.report.estimate_times import ROUGH
from llmcost.report.figures import UNKNOWN, of_tdp
from llmcost.report.tables import Table, under
from llmcost.search.plan_serving import AXES, ServingPlan
from llmcost.search.serving_layouts import ServingCandidate
from llmcost.search.serving_runs import CHECKED

NO_LINK = "use links whose rate no source gives; a spec may (interconnect, fabric)."
BOUNDS = {
    "memory": "memory",
    "max_num_seqs": "requests that the engine runs at a time",
    "ttft": "TTFT",
    "tpot": "TPOT",
    "requests": "no more were tried",
    "split": "GPUs that run prompts",
}


def serving_tables(found: ServingPlan) -> list[Table]:
    """The best layouts, each with the requests in flight that it serves; what became of the others."""
    question, w = found.question, found.question.workload
    place = f"{question.model.title} on {question.gpus:,} × {question.hardware.title}{under(w.engine)}"
    title = f"{place}, {w.weight_dtype} weights: requests of {w.prompt:,} tokens in and {w.output:,} out"
    priced, guessed = question.price is not None, any(each.speculate for each in found.best)
    apart = any(each.prefill_gpus for each in found.best)
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
            *((str(each.speculate),) if guessed else ()),
            *((_prompts(each),) if apart else ()),
            *(_cost(each) if priced else ()),
            BOUNDS[each.bound],
        )
        for place, each in enumerate(found.best, start=1)
    ]
    columns = (
        "",
        "tokens/s a GPU",
        "TTFT",
        "TPOT",
        *AXES,
        "in flight",
        "room for",
        "replicas",
        *(("guessed",) if guessed else ()),
        *(("for prompts",) if apart else ()),
        *(("a million output tokens", "energy in MJ") if priced else ()),
        "limited by",
    )
    if not rows:
        return [Table(title, (), "", (), tuple(_notes(found)))]
    return [Table(title, columns, "r" * (len(columns) - 1) + "l", rows, tuple(_notes(found)))]


def _prompts(each: ServingCandidate) -> str:
    """The GPUs that run prompts apart from decode, and their layout."""
    if each.prefill_gpus is None:
        return "–"
    degrees = {"tp": each.prefill_tp, "pp": each.prefill_pp, "ep": each.prefill_ep}
    told = ", ".join(f"{name} {degree}" for name, degree in degrees.items() if degree != 1)
    return f"{counted(each.prefill_gpus, 'GPU')}{f' ({told})' if told else ''}"


def _cost(each: ServingCandidate) -> tuple[str, str]:
    """Dollars and megajoules of a million output tokens."""
    joules = each.joules_per_million_tokens
    energy = UNKNOWN if joules is None else significant(joules / 10**6)
    return f"${significant(each.price_per_million_tokens or 0)}", energy


def _rough(found: ServingPlan) -> list[str]:
    """Which layouts are simulated, which are by a formula that is rough for them, and which miss a limit."""
    places: dict[tuple[bool, str], list[int]] = {}
    for place, each in enumerate(found.best, start=1):
        if each.rough is not None:
            places.setdefault((each.simulated_requests is not None, ROUGH[each.rough]), []).append(place)
    notes = []
    for (ran, why), those in sorted(places.items(), reverse=True):
        how = "Simulated, as a formula is rough there" if ran else "By a formula that is rough there"
        notes.append(f"{how} ({why}): {_numbered(those)}.")
    if any(not ran for ran, _ in places):
        notes.append("llmcost simulate runs every request of one layout.")
    if missed := [place for place, each in enumerate(found.best, start=1) if found.question.within(each) < 1]:
        notes.append(f"Beyond a limit in the simulator: {_numbered(missed)}.")
    if len(found.best) > CHECKED:
        notes.append(f"Whether the formula is rough is told of the first {CHECKED} alone.")
    return notes


def _numbered(places: Sequence[int]) -> str:
    """Numbers of rows, those that follow each other as a span."""
    spans: list[list[int]] = []
    for place in places:
        if spans and place == spans[-1][-1] + 1:
            spans[-1].append(place)
        else:
            spans.append([place])
    return ", ".join(f"{each[0]} to {each[-1]}" if len(each) > 2 else ", ".join(map(str, each)) for each in spans)


def _notes(found: ServingPlan) -> list[str]:
    """How many layouts are legal under which limits, and why some serve nobody or are illegal."""
    times = (("TTFT", found.question.ttft), ("TPOT", found.question.tpot))
    limits = ", ".join(f"{name} at most {seconds(each)}" for name, each in times if each)
    splits = ", and splits of the GPUs between two of them" * found.question.apart
    notes = [f"{counted(found.legal, 'legal layout')}{splits}; {limits or 'no limits on time'}."]
    if found.question.price is not None and found.best:
        w, first = found.question.workload, found.best[0]
        joules = first.joules_per_million_tokens
        shared = first._replace(
            price_per_million_tokens=(first.price_per_million_tokens or 0) * w.output / (w.prompt + w.output),
            joules_per_million_tokens=None if joules is None else joules * w.output / (w.prompt + w.output),
        )
        dollars, energy = _cost(shared)
        notes.append(f"Of the first, a million tokens in and out together: {dollars} and {energy} MJ.")
        if joules is not None:
            notes.append(f"MJ: megajoules {of_tdp(first.power_basis, *(each.power_share for each in found.best))}.")
    notes += _rough(found)
    for name, count in found.unfit.items():
        why = NO_LINK if name == "links" else f"serve nobody: {BOUNDS[name]} with one request a rank."
        notes.append(f"{count:,} {why}")
    return notes + [f"{counted(each.layouts, 'is', 'are')} illegal; the first: {each.rule}." for each in found.illegal]
