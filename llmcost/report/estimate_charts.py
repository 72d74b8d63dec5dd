"""What `llmcost estimate --plot` and `ops --plot` draw: memory, times by operator, and the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from llmcost.formulas.operators import OperatorRow, PhaseOperators
from llmcost.ground.units import counted, scaled, seconds
from llmcost.report.charts import Bars, Line, Panel
from llmcost.serving.results import Estimate

MEMORY = {  # parts of `memory` in the JSON document, which add up to its total
    "weights": "weights_bytes",
    "KV cache": "kv_cache_bytes",
    "activations": "activation_bytes",
    "runtime": "runtime_bytes",
    "set aside": "set_aside_bytes",
}
MOST_ROWS = 12  # operators with a bar of their own: those that take longest
MOST_NAMED = 14  # operators that are named in a roofline
ROOF = 6  # the number of its colour


def estimate_panels(e: Estimate, operators: Mapping[str, PhaseOperators]) -> list[Panel]:
    """Memory of a GPU by part against what it has, and the kernels of each phase by operator. `operators`: by phase."""
    m = e.memory
    verdict = "fits" if m.fits else "DOES NOT FIT"
    if e.serving is not None and m.fits:
        verdict += f"; room for {counted(int(e.serving.max_concurrency), 'request')} at a time"
    parts = [
        Bars(f"{name} {scaled(getattr(m, field), 'B')}", number, [getattr(m, field) / 1e9])
        for number, (name, field) in enumerate(MEMORY.items())
        if getattr(m, field)
    ]
    panels = [
        Panel(
            "Memory of a GPU",
            "",
            "GB",
            bars=parts,
            groups=[f"batch {e.workload.batch:,}, context {e.workload.context:,}"],
            note=f"{scaled(m.total_bytes, 'B')} of {scaled(m.usable_bytes, 'B')}: {verdict}",
            limit=(f"usable {scaled(m.usable_bytes, 'B')}", m.usable_bytes / 1e9),
            stacked=True,
        )
    ]
    times = {
        "prefill": (e.prefill.expected.seconds, e.prefill.limit.seconds, e.prefill.limited_by),
        "decode": (e.decode.expected.seconds_per_step, e.decode.limit.seconds_per_step, e.decode.limited_by),
    }
    for phase, found in operators.items():
        expected, limit, bound = times[phase]
        if expected is not None and found.total.seconds:
            name = "Prefill" if phase == "prefill" else "A decode step"
            note = f"{seconds(expected)} expected, {seconds(limit)} at the limit; bound by {bound}"
            panels.append(time_panel(f"{name} by operator", note, found.operators))
    return panels


def time_panel(title: str, note: str, rows: Sequence[OperatorRow]) -> Panel:
    """Milliseconds of the kernels of one GPU, an operator a row, those that take longest on top."""
    parts = _parts(rows)
    times: dict[tuple[str, str], float] = {}  # operators of different kinds of layers, together
    for row in rows:
        times[row.operator, row.part] = times.get((row.operator, row.part), 0) + 1e3 * (row.seconds or 0)
    timed = sorted(((time, *name) for name, time in times.items() if time), reverse=True)
    most = MOST_ROWS if len(timed) > MOST_ROWS + 1 else len(timed)
    shown, others = timed[:most], timed[most:]
    names = [name for _, name, _ in shown] + [f"{len(others)} others"] * bool(others)
    bars = []
    for number, part in enumerate(parts):
        heights = [time if of == part else None for time, _, of in shown]
        heights += [sum(time for time, _, of in others if of == part)] * bool(others)
        bars.append(Bars(part, number, heights))
    return Panel(title, "ms of kernels on one GPU", "", bars=bars, groups=names, note=note, stacked=True, sideways=True)


def operator_panels(found: PhaseOperators, peak: float, bandwidth: float, dtype: str) -> list[Panel]:
    """The operators that compute under the GPU's roofline, and the time of all of them.

    `peak`: FLOPs a second; `bandwidth`: bytes a second.
    """
    rows = [row for row in found.operators if row.flops_per_s and row.intensity > 0]
    longest = sorted(rows, key=lambda row: -(row.seconds or 0))[:MOST_NAMED]
    lines = []
    for number, part in enumerate(_parts(found.operators)):
        own = [row for row in rows if row.part == part]
        names = [row.operator if row in longest else "" for row in own]
        names = [name if name not in names[:place] else "" for place, name in enumerate(names)]
        x, y = [row.intensity for row in own], [(row.flops_per_s or 0) / 1e12 for row in own]
        if own:
            lines.append(Line(part, number, x, y, joined=False, notes=names))
    ridge = peak / bandwidth
    ends = [min([ridge / 4, *(row.intensity for row in rows)]), ridge, max([4 * ridge, *(r.intensity for r in rows)])]
    lines.append(Line("", ROOF, ends, [min(peak, each * bandwidth) / 1e12 for each in ends], faint=True))
    roof = f"roof: {scaled(peak, 'FLOP/s')} in {dtype}, {scaled(bandwidth, 'B/s')}"
    total = "" if found.total.seconds is None else f"{seconds(found.total.seconds)} in all"
    return [
        Panel(f"Roofline, {found.phase}", "arithmetic intensity, FLOPs a byte", "TFLOP/s", lines, note=roof),
        time_panel("Time by operator", total, found.operators),
    ]


def _parts(rows: Iterable[OperatorRow]) -> list[str]:
    """The parts of the model that operators are of, as it runs them: each has its place's colour in every panel."""
    return list(dict.fromkeys(row.part for row in rows))
