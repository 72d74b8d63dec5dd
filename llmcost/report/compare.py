"""What `llmcost compare` prints and draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmcost.report.charts import Bars, Panel
from llmcost.report.estimate_shown import arrivals
from llmcost.report.figures import cell, draws
from llmcost.report.tables import Table, under
from llmcost.search.compare import Entry

COLUMNS = 4  # entries side by side; more stand below
NAMES = {"model.name": "model", "hardware.name": "hw", "workload.engine": "engine"}
FIGURES = {
    "model.params.total": "parameters",
    "model.params.active": "  active",
    "kv_cache.bytes_per_token": "KV cache a token",
    "memory.used_bytes": "memory used a GPU",
    "memory.weights_bytes": "  weights",
    "memory.set_aside_bytes": "  set aside beside it",
    "memory.total_bytes": "  both",
    "memory.fits": "  fits",
    "memory.max_batch": "  largest batch",
    "prefill.textbook.tokens_per_s": "prefill tokens/s, textbook",
    "prefill.limit.tokens_per_s": "  limit",
    "prefill.expected.tokens_per_s": "  expected",
    "prefill.expected.error": "  off by, on average",
    "derived.prefill_share_of_limit": "  of the limit",
    "decode.textbook.tokens_per_s": "decode tokens/s, textbook",
    "decode.limit.tokens_per_s": "  limit",
    "decode.expected.tokens_per_s": "  expected",
    "decode.expected.error": "  off by, on average",
    "derived.decode_share_of_limit": "  of the limit",
    "decode.limited_by": "  limited by",
    "derived.decode_tokens_per_joule": "  tokens per joule",
    "derived.most_tokens_per_s": "  at most, at the largest batch",
    "request.expected.latency_seconds": "a request: all of it",  # with --output
    "request.expected.output_tokens_per_s": "  output tokens/s of the batch",
    "serving.expected.output_tokens_per_s": "requests in flight: output tokens/s",  # with --concurrency
    "serving.expected.ttft_seconds": "  TTFT",
    "serving.expected.tpot_seconds": "  TPOT",
    "derived.price_per_million_prompt_tokens": "$ a million prompt tokens",
    "derived.price_per_million_output_tokens": "$ a million output tokens, GPUs in full use",
}
ENGINE = "workload.engine"
SERVED = {  # what is drawn of requests under load: path -> title, unit, what the figure is multiplied by
    "serving.expected.output_tokens_per_s": ("Output under load", "tokens/s", 1),
    "serving.expected.ttft_seconds": ("TTFT under load", "ms", 1e3),
    "serving.expected.tpot_seconds": ("TPOT under load", "ms", 1e3),
}
PRICED = tuple(path for path in FIGURES if path.startswith("derived.price"))


def figures_of(entry: Entry) -> dict[str, Any]:
    """Names and figures of an entry by path, in the order shown, as in the JSON."""
    known = entry.figures()
    return {path: known[path] for path in (*NAMES, *FIGURES) if path in known}


def names_shown(entries: Sequence[Entry]) -> list[str]:
    """The paths of the names that tell entries apart: the engine where they differ in it."""
    several = len({entry.estimate.workload.engine for entry in entries}) > 1
    return [path for path in NAMES if path != ENGINE or several]


def comparison_rows(entries: Sequence[Entry]) -> tuple[tuple[str, ...], list[list[Any]]]:
    """A row an entry as CSV: headings, and figures in base units."""
    known = [figures_of(entry) for entry in entries]
    headings = tuple(NAMES.get(path, path) for path in known[0])
    return headings, [list(each.values()) for each in known]


def comparison_tables(entries: Sequence[Entry], priced: bool) -> list[Table]:
    """A column an entry, a few side by side."""
    named = under(*(entry.estimate.workload.engine for entry in entries))
    title = f"At {_workload(entries)}{named}; tokens/s of the whole batch"
    shown = {path: label for path, label in FIGURES.items() if priced or path not in PRICED}
    known, heading = figures_of(entries[0]), names_shown(entries)
    tables = []
    for start in range(0, len(entries), COLUMNS):
        columns = [figures_of(entry) for entry in entries[start : start + COLUMNS]]
        heads = ("", *("\n".join(column[name] for name in heading) for column in columns))
        rows = [(label, *(_cell(path, column) for column in columns)) for path, label in shown.items() if path in known]
        tables.append(Table("" if start else title, heads, "l" + "r" * len(columns), rows, apart=True))
    return [*tables, Table("", ("",), "l", (), tuple(_bases(entries)))]


def _bases(entries: Sequence[Entry]) -> list[str]:
    """What the expected figures of each GPU rest on, and where the textbook is faster than the limit."""
    kinds: dict[str, dict[str, None]] = {}
    for e in (entry.estimate for entry in entries):
        if e.hardware is not None:
            kinds.setdefault(e.decode.expected.basis, {})[e.hardware.name] = None
    lines = [f"Expected by {kind}: {', '.join(names)}." for kind, names in kinds.items()]
    known = [(each.derived, each.estimate.hardware) for each in entries]
    lines += draws(
        (by.power_basis, chip.name, float(by.power_share))
        for by, chip in known
        if chip is not None and by.decode_tokens_per_joule is not None
    )
    beyond = [
        f"{e.model.name} on {e.hardware.name}"
        for e in (entry.estimate for entry in entries)
        if e.hardware is not None and not {"prefill", "decode"}.isdisjoint(e.beyond_limit())
    ]
    lines += _simulated(entries)
    if beyond:
        lines.append(
            f"Textbook faster than the limit, since its rule counts FLOPs or bytes alone: {', '.join(beyond)}."
        )
    return lines


def _simulated(entries: Sequence[Entry]) -> list[str]:
    """Which of the mixes of requests are simulated, and which by a formula that is rough there."""
    told: dict[str, list[str]] = {}
    for e in (entry.estimate for entry in entries):
        if e.hardware is not None and e.serving is not None and e.serving.simulated is not None:
            ran = e.serving.simulated.requests is not None
            how = "simulated" if ran else "by a formula that is rough here (llmcost simulate)"
            told.setdefault(how, []).append(f"{e.model.name} on {e.hardware.name}{under(e.workload.engine)}")
    return [f"Requests in flight {how}: {', '.join(names)}." for how, names in told.items()]


def _workload(entries: Sequence[Entry]) -> str:
    """What all entries have in common."""
    w = entries[0].estimate.workload
    gpus = f"{w.all_gpus():,} GPUs, " if w.all_gpus() > 1 else ""
    if w.prefill_gpus is not None:
        gpus += f"{w.prefill_gpus:,} for prompts, "
    load = f", output {w.output:,}, {arrivals(w)}" if w.is_mix() else ""
    return f"{gpus}batch {w.batch:,}, context {w.context:,}, prompt {w.prompt:,}{load}"


def _cell(path: str, column: dict[str, Any]) -> str:
    gives_none = column["decode.expected.tokens_per_s"] is None and column["prefill.expected.tokens_per_s"] is not None
    if column[path] is None and "decode" in path and gives_none:
        return "none"  # it gives no tokens
    if path.endswith(".expected.error") and column[path.replace("error", "tokens_per_s")] is None:
        return cell(path, None)  # of a figure that is not known, no error is
    return "does not fit" if path in PRICED and column["memory.fits"] is False else cell(path, column[path])


def comparison_panels(entries: Sequence[Entry], priced: bool) -> list[Panel]:
    """Bars of how fast each entry is, and of what a token costs: dollars where there are prices, else joules.

    How fast: requests under load, where so many are in flight; else prefill and decode.
    """
    known, shown_names = [figures_of(entry) for entry in entries], names_shown(entries)
    places: dict[str, dict[str, dict[str, Any]]] = {}  # GPU, and engine where they differ -> model -> figures
    for each in known:
        place = " under ".join(each[name] for name in shown_names if name != "model.name")
        places.setdefault(place, {})[each["model.name"]] = each
    models = list(dict.fromkeys(each["model.name"] for each in known))
    note = f"expected; {_workload(entries)}; hollow: does not fit"
    shown = {path: text for path, text in SERVED.items() if all(each.get(path) is not None for each in known)} or {
        "prefill.expected.tokens_per_s": ("Prefill", "tokens/s", 1),
        "decode.expected.tokens_per_s": ("Decode", "tokens/s", 1),
    }
    if priced:
        shown["derived.price_per_million_output_tokens"] = ("A million output tokens", "$", 1)
    else:
        shown["derived.decode_tokens_per_joule"] = ("Decode", "tokens per joule", 1)
    panels = []
    for path, (title, unit, scale) in shown.items():
        bars = []
        for number, (place, of) in enumerate(places.items()):
            columns = [of.get(model, {}) for model in models]
            heights = [None if each.get(path) is None else scale * each[path] for each in columns]
            bars.append(Bars(place, number, heights, [bool(each.get("memory.fits")) for each in columns]))
        panels.append(Panel(title, "", unit, bars=bars, groups=models, note=note))
    return panels
