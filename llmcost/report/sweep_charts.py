"""What `llmcost sweep --plot` draws: throughput against latency, time against what varies, phases under the roofline.

Where requests are in flight (--concurrency, --rate), it draws what they see instead of single steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmcost.ground.errors import InputError
from llmcost.ground.units import significant
from llmcost.report.charts import MOST, Line, Panel
from llmcost.serving.options import SIZES

MOST_POINTS = 10**4
PEAK, BANDWIDTH, FITS = "hardware.peak_flops_per_s", "hardware.bandwidth_bytes_per_s", "memory.fits"
STEP, BEST_STEP, RATE = (
    "decode.expected.seconds_per_step",
    "decode.limit.seconds_per_step",
    "decode.expected.tokens_per_s",
)
PROMPT = "prefill.expected.seconds"
PHASES = {  # phase: the least that its FLOPs take, the least that its bytes take, what it should take, its mark
    "decode": ("decode.bound.compute_seconds", "decode.bound.memory_seconds", STEP, "o"),
    "prefill": ("prefill.bound.compute_seconds", "prefill.bound.memory_seconds", PROMPT, "^"),
}
OUTPUT, TTFT, TPOT = (
    f"serving.expected.{figure}" for figure in ("output_tokens_per_s", "ttft_seconds", "tpot_seconds")
)
SERVED = (FITS, OUTPUT, TTFT, TPOT)  # where requests are in flight
SHARE = "mfu"  # the option whose value the textbook basis alone rests on
TEXTBOOK = {phase: f"{phase}.textbook.tokens_per_s" for phase in ("prefill", "training")}
PATHS = (
    PEAK,
    BANDWIDTH,
    FITS,
    STEP,
    BEST_STEP,
    RATE,
    "workload.batch",
    *(path for phase in PHASES.values() for path in phase[:3]),
    *TEXTBOOK.values(),
)

Row = Mapping[str, Any]


def sweep_panels(axes: Mapping[str, str], rows: Sequence[Row]) -> list[Panel]:
    """The charts of a sweep's rows. `axes` has the options that were chosen, each with the path of its value.

    A line runs along the batch, or where there is only one along the first size that varies; each combination of the
    others is a line of its own. Raises InputError where nothing is known or the lines are too many.
    """
    served = OUTPUT in rows[0]
    known = [row for row in rows if all(row[path] is not None for path in (SERVED if served else PATHS))]
    if not known:
        raise InputError("--plot: nothing to draw, as no time is known")
    varying = {name: path for name, path in axes.items() if len({row[path] for row in known}) > 1}
    sizes = [name for name, path in varying.items() if not isinstance(known[0][path], str)]
    along = next((name for name in (*SIZES, *sizes) if name in sizes), "batch")
    others = {name: path for name, path in varying.items() if name != along}
    series: dict[str, list[Row]] = {}
    for row in known:
        label = ", ".join(_label(name, row[path]) for name, path in others.items())
        series.setdefault(label, []).append(row)
    if len(series) > MOST:
        drawn = f"{len(series):,} lines ({' × '.join(others)})"
        raise InputError(f"--plot: {drawn}, of which {MOST} can be told apart: choose fewer values")
    if along == SHARE:
        return _against_share(series, axes[along])
    if served:
        return _of_requests(series, along, axes[along])
    panels = [_against_size(series, along, axes[along]), _roofline(series)]
    return [_against_latency(series), *panels] if along == "batch" else panels


def chart_title(model: str, axes: Mapping[str, str], rows: Sequence[Row]) -> str:
    """The model and what is the same at all points."""
    fixed = {name: {row[path] for row in rows} for name, path in axes.items()}
    return ", ".join([model, *(_label(name, *values) for name, values in fixed.items() if len(values) == 1)])


def _label(name: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{name.replace('_', ' ')} {value:,}"


def _against_latency(series: Mapping[str, list[Row]]) -> Panel:
    lines = [
        _line(number, label, rows, [1e3 * row[STEP] for row in rows], [row[RATE] for row in rows])
        for number, (label, rows) in enumerate(series.items())
    ]
    lines[0] = lines[0]._replace(notes=[f"{row['workload.batch']:,}" for row in next(iter(series.values()))])
    note = "beside points: batch; hollow: does not fit"
    return Panel("Throughput against latency", "ms a token: one decode step", "tokens/s of the batch", lines, note=note)


def _of_requests(series: Mapping[str, list[Row]], along: str, path: str) -> list[Panel]:
    """Output of all GPUs against TPOT, and TTFT against what varies."""
    trade, waiting = [], []
    for number, (label, rows) in enumerate(series.items()):
        sizes = [row[path] for row in rows]
        output, tpot, ttft = ([row[figure] for row in rows] for figure in (OUTPUT, TPOT, TTFT))
        notes = [] if number else [f"{size:,}" for size in sizes]
        trade.append(_line(number, label, rows, [1e3 * each for each in tpot], output)._replace(notes=notes))
        waiting.append(_line(number, label, rows, sizes, [1e3 * each for each in ttft]))
    name = along.replace("_", " ")
    note = f"beside points: {name}; hollow: does not fit"
    return [
        Panel("Output against TPOT, under load", "ms a token (TPOT)", "output tokens/s of all GPUs", trade, note=note),
        Panel(f"TTFT against {name}", name, "ms to the first token (TTFT)", waiting, note="hollow: does not fit"),
    ]


def _against_size(series: Mapping[str, list[Row]], along: str, path: str) -> Panel:
    lines = []
    for number, (label, rows) in enumerate(series.items()):
        sizes = [row[path] for row in rows]
        lines.append(_line(number, label, rows, sizes, [1e3 * row[STEP] for row in rows]))
        lines.append(Line("", number, sizes, [1e3 * row[BEST_STEP] for row in rows], faint=True))
    name = along.replace("_", " ")
    return Panel(
        f"Time against {name}", name, "ms of a decode step", lines, note="thin: the limit; hollow: does not fit"
    )


def _against_share(series: Mapping[str, list[Row]], path: str) -> list[Panel]:
    """What the textbook makes of a share of the peak: the FLOPs a second that are left, and tokens of each phase."""
    left, tokens = [], []
    for number, (label, rows) in enumerate(series.items()):
        shares = [row[path] for row in rows]
        rates = [row[path] * row[PEAK] / 1e12 for row in rows]
        left.append(_line(number, label, rows, shares, rates)._replace(notes=[significant(rate) for rate in rates]))
        for place, (phase, rate) in enumerate(TEXTBOOK.items()):
            if all(row[rate] is not None for row in rows):
                name = ", ".join(filter(None, (label, phase)))
                y = [row[rate] for row in rows]
                line = _line(len(TEXTBOOK) * number + place, name, rows, shares, y)
                tokens.append(line._replace(notes=[f"{each:,.0f}" for each in y]))
    axis, note = "share of the peak (--mfu)", "hollow: does not fit"
    return [
        Panel("What is left of the peak", axis, "TFLOP/s a GPU", left, note=note, log=(False, False)),
        Panel("Textbook rates", axis, "tokens/s", tokens, note=note, log=(False, False)),
    ]


def _roofline(series: Mapping[str, list[Row]]) -> Panel:
    """Expected FLOPs a second of one GPU against arithmetic intensity: causal FLOPs over compulsory bytes, by phase."""
    lines: list[Line] = []
    roofs: dict[tuple[float, float], tuple[int, list[float]]] = {}
    for number, (label, rows) in enumerate(series.items()):
        peak, bandwidth = rows[0][PEAK], rows[0][BANDWIDTH]
        for compute, memory, time, marker in PHASES.values():
            intensity = [row[compute] * peak / (row[memory] * bandwidth) for row in rows]
            reached = [row[compute] * peak / row[time] / 1e12 for row in rows]
            lines.append(_line(number, label, rows, intensity, reached)._replace(marker=marker))
            roofs.setdefault((peak, bandwidth), (number, []))[1].extend(intensity)
    for (peak, bandwidth), (number, reached_at) in roofs.items():
        ridge = peak / bandwidth
        ends = [min(*reached_at, ridge / 2), ridge, max(*reached_at, 2 * ridge)]
        lines.append(Line("", number, ends, [min(peak, each * bandwidth) / 1e12 for each in ends], faint=True))
    return Panel(
        "Roofline",
        "arithmetic intensity, FLOPs a compulsory byte",
        "TFLOP/s a GPU",
        lines,
        note="● decode, ▲ prefill; thin: peak and bandwidth",
    )


def _line(number: int, label: str, rows: Sequence[Row], x: Sequence[float], y: Sequence[float]) -> Line:
    return Line(label, number, x, y, [row[FITS] for row in rows])
