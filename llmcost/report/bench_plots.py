"""Charts of a profile: a roofline with the measured kernels, GEMM over rows, bandwidth over size."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llmcost.bench.rates import RowRates
from llmcost.bench.summary import Summary
from llmcost.ground.errors import InputError
from llmcost.report.charts import MOST, Chart, Line, Panel
from llmcost.report.saving import require_matplotlib, save
from llmcost.specs.profile import Profile

MOST_LINES = 10  # of the chart of GEMM: weights
ROOF = 6  # the number of its colour
KINDS = {"gemm": "GEMM", "grouped": "experts", "prefill": "attention, prompt", "decode": "attention, decode"}


def check(folder: Path) -> None:
    """Raise InputError where `folder` is something else, or where matplotlib is missing."""
    require_matplotlib()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--plot {folder}: no folder")


def write_plots(found: Summary, folder: Path) -> list[Path]:
    """Draw each chart into a file of a folder, and give their paths.

    Raises InputError as `check` does, or where nothing can be written.
    """
    check(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    chart, written = bench_chart(found), []
    for panel in chart.panels:
        path = folder / f"{found.profile.name.replace(' ', '-')}-{panel.title.split(',')[0].lower()}.svg"
        save(path, chart._replace(panels=[panel]))
        written.append(path)
    return written


def bench_chart(found: Summary) -> Chart:
    """What a profile has kernels of: roofline, GEMM, bandwidth."""
    profile = found.profile
    panels = [panel for panel in (_roofline(found), _gemm(found), _bandwidth(found)) if panel.lines]
    caption = [f"Measured: {profile.created}, {profile.scope}", f"Peaks: {profile.peaks['source']}"]
    return Chart(f"{profile.name}, {profile.date}", panels, caption)


def _timed(found: Summary, suite: str, dtype: str | None = None) -> list[RowRates]:
    """Kernels of a suite that have a time; what they reached in bytes or FLOPs a second is known."""
    rows = (each for each in found.rows if each.row.suite == suite and each.row.median_us and each.row.operator)
    return [each for each in rows if not each.row.backward and dtype in (None, each.row.dtype)]


def _main_dtype(profile: Profile) -> str:
    return "bf16" if any(row.dtype == "bf16" for row in profile.rows) else "fp32"


def _roofline(found: Summary) -> Panel:
    profile = found.profile
    dtype = _main_dtype(profile)
    peak, bandwidth = profile.peaks["flops_per_s"].get(dtype), profile.peaks["bytes_per_s"]
    lines = []
    for number, (suite, label) in enumerate(KINDS.items()):
        rows = [each for each in _timed(found, suite, dtype) if each.flops and each.bytes and each.flops_per_s]
        x, y = [each.flops / each.bytes for each in rows], [(each.flops_per_s or 0.0) / 1e12 for each in rows]
        if rows:
            lines.append(Line(label, number, x, y, marker=".", joined=False))
    if lines and peak and bandwidth:
        ridge = peak / bandwidth
        ends = (0.5, ridge, 100 * ridge)
        lines.append(Line("", ROOF, ends, [min(x * bandwidth, peak) / 1e12 for x in ends], faint=True))
    return Panel(
        "Roofline", "arithmetic intensity, FLOPs a byte", f"TFLOP/s, {dtype}", lines, note="thin: peak and bandwidth"
    )


def _gemm(found: Summary) -> Panel:
    profile = found.profile
    dtype = _main_dtype(profile)
    peak = profile.peaks["flops_per_s"].get(dtype)
    points: dict[str, list[tuple[float, float]]] = {}
    for each in _timed(found, "gemm", dtype):
        sizes = each.row.sizes
        if not each.row.heldout and each.flops_per_s:
            rate = 100 * each.flops_per_s / peak if peak else each.flops_per_s / 1e12
            points.setdefault(f"N {sizes['n']}, K {sizes['k']}", []).append((sizes["b"] * sizes["s"], rate))
    y = f"% of the {dtype} peak" if peak else f"TFLOP/s, {dtype}"
    lines = _lines(list(points.items())[:MOST_LINES])
    return Panel("GEMM, over rows", "rows of the input", y, lines, log=(True, False))


def _bandwidth(found: Summary) -> Panel:
    profile = found.profile
    points: dict[str, list[tuple[float, float]]] = {}
    for each in _timed(found, "memory"):
        points.setdefault(each.row.name, []).append((each.bytes / 1e6, (each.bytes_per_s or 0.0) / 1e9))
    lines = _lines(list(points.items())[:MOST])
    peak = profile.peaks["bytes_per_s"]
    if lines and peak:
        ends = [min(x for line in lines for x in line.x), max(x for line in lines for x in line.x)]
        lines.append(Line("", ROOF, ends, [peak / 1e9] * 2, faint=True))
    note = "thin: the peak" if peak else ""
    return Panel("Bandwidth, over size", "MB read and written", "GB/s", lines, note=note, log=(True, False))


def _lines(series: Iterable[tuple[str, list[tuple[float, float]]]]) -> list[Line]:
    """A line a name, along ascending sizes."""
    return [
        Line(label, number, [x for x, _ in sorted(points)], [y for _, y in sorted(points)])
        for number, (label, points) in enumerate(series)
    ]
