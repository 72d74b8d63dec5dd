"""Charts of a profile as SVG files: the roofline with the measured kernels, GEMM over rows, bandwidth over size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmcost.ground.errors import InputError
from llmcost.report.bench_rows import rate, row_bytes, row_flops
from llmcost.report.charts import require_matplotlib
from llmcost.specs.profile import Profile, Row

MOST_LINES = 10  # weights in the chart of GEMM
KINDS = {"gemm": "GEMM", "grouped": "experts", "prefill": "attention, prompt", "decode": "attention, decode"}


def check(folder: Path) -> None:
    """Raise InputError where charts cannot be put: no folder, or no matplotlib to draw them."""
    require_matplotlib()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--plot {folder}: no folder")


def write_plots(profile: Profile, folder: Path) -> list[Path]:
    """The three charts. Raises InputError as `check` does, or where nothing can be written."""
    check(folder)
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "llmcost"
    from matplotlib import pyplot as plt

    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in (("roofline", _roofline), ("gemm", _gemm), ("bandwidth", _bandwidth)):
            figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
            draw(axes, profile)
            axes.set_title(f"{profile.name}, {profile.date}")
            axes.grid(alpha=0.3)
            axes.legend()
            path = folder / f"{profile.name.replace(' ', '-')}-{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            plt.close(figure)
            written.append(path)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return written


def _timed(profile: Profile, suite: str, dtype: str | None = None) -> list[Row]:
    rows = (row for row in profile.rows if row.suite == suite and row.median_us and row.operator and not row.backward)
    return [row for row in rows if dtype in (None, row.dtype)]


def _main_dtype(profile: Profile) -> str:
    return "bf16" if any(row.dtype == "bf16" for row in profile.rows) else "fp32"


def _roofline(axes: Any, profile: Profile) -> None:
    dtype = _main_dtype(profile)
    peak, bandwidth = profile.peaks["flops_per_s"].get(dtype), profile.peaks["bytes_per_s"]
    for suite, label in KINDS.items():
        rows = _timed(profile, suite, dtype)
        reached = [rate(row_flops(row), row) / 1e12 for row in rows]
        axes.scatter([row_flops(row) / row_bytes(row) for row in rows], reached, s=12, label=label)
    if peak and bandwidth:
        ridge = peak / bandwidth
        ends = (0.5, ridge, 100 * ridge)
        axes.plot(
            ends,
            [min(x * bandwidth, peak) / 1e12 for x in ends],
            color="black",
            label=f"peaks: {profile.peaks['source']}",
        )
    axes.set(xscale="log", yscale="log", xlabel="FLOPs a byte", ylabel=f"TFLOPS, {dtype}")


def _gemm(axes: Any, profile: Profile) -> None:
    dtype = _main_dtype(profile)
    peak = profile.peaks["flops_per_s"].get(dtype) or 1e12
    lines: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for row in _timed(profile, "gemm", dtype):
        if not row.heldout:
            point = (row.sizes["b"] * row.sizes["s"], rate(row_flops(row), row) / peak)
            lines.setdefault((row.sizes["n"], row.sizes["k"]), []).append(point)
    for (n, k), points in list(lines.items())[:MOST_LINES]:
        axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=f"N {n}, K {k}")
    axes.set(xscale="log", xlabel="rows", ylabel=f"share of the {dtype} peak")


def _bandwidth(axes: Any, profile: Profile) -> None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in _timed(profile, "memory"):
        lines.setdefault(row.name, []).append((row_bytes(row), rate(row_bytes(row), row) / 1e9))
    for name, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=name)
    if profile.peaks["bytes_per_s"]:
        axes.axhline(profile.peaks["bytes_per_s"] / 1e9, color="black", label="peak")
    axes.set(xscale="log", xlabel="bytes read and written", ylabel="GB/s")
