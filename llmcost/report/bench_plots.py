"""Charts of a profile as SVG files: a roofline with the measured kernels, GEMM over rows, bandwidth over size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmcost.bench.rates import RowRates
from llmcost.bench.summary import Summary
from llmcost.ground.errors import InputError
from llmcost.report.charts import require_matplotlib
from llmcost.specs.profile import Profile

MOST_LINES = 10  # of the chart of GEMM: weights
KINDS = {"gemm": "GEMM", "grouped": "experts", "prefill": "attention, prompt", "decode": "attention, decode"}


def check(folder: Path) -> None:
    """Raise InputError where `folder` is something else, or where matplotlib is missing."""
    require_matplotlib()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--plot {folder}: no folder")


def write_plots(found: Summary, folder: Path) -> list[Path]:
    """Draw the three charts into a folder, and give their paths.

    Raises InputError as `check` does, or where nothing can be written.
    """
    check(folder)
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "llmcost"
    from matplotlib import pyplot as plt

    written, profile = [], found.profile
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in (("roofline", _roofline), ("gemm", _gemm), ("bandwidth", _bandwidth)):
            figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
            draw(axes, found)
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


def _timed(found: Summary, suite: str, dtype: str | None = None) -> list[RowRates]:
    """Kernels of a suite that have a time; what they reached in bytes or FLOPs a second is known."""
    rows = (each for each in found.rows if each.row.suite == suite and each.row.median_us and each.row.operator)
    return [each for each in rows if not each.row.backward and dtype in (None, each.row.dtype)]


def _main_dtype(profile: Profile) -> str:
    return "bf16" if any(row.dtype == "bf16" for row in profile.rows) else "fp32"


def _roofline(axes: Any, found: Summary) -> None:
    profile = found.profile
    dtype = _main_dtype(profile)
    peak, bandwidth = profile.peaks["flops_per_s"].get(dtype), profile.peaks["bytes_per_s"]
    for suite, label in KINDS.items():
        rows = _timed(found, suite, dtype)
        reached = [(each.flops_per_s or 0.0) / 1e12 for each in rows]
        axes.scatter([each.flops / each.bytes for each in rows], reached, s=12, label=label)
    if peak and bandwidth:
        ridge = peak / bandwidth
        ends = (0.5, ridge, 100 * ridge)
        axes.plot(
            ends,
            [min(x * bandwidth, peak) / 1e12 for x in ends],
            color="black",
            label=f"peaks: {profile.peaks['source']}",
        )
    intensity = "arithmetic intensity, FLOPs a byte"
    axes.set(xscale="log", yscale="log", xlabel=intensity, ylabel=f"TFLOPS, {dtype}")


def _gemm(axes: Any, found: Summary) -> None:
    profile = found.profile
    dtype = _main_dtype(profile)
    peak = profile.peaks["flops_per_s"].get(dtype) or 1e12
    lines: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for each in _timed(found, "gemm", dtype):
        sizes = each.row.sizes
        if not each.row.heldout:
            point = (sizes["b"] * sizes["s"], (each.flops_per_s or 0.0) / peak)
            lines.setdefault((sizes["n"], sizes["k"]), []).append(point)
    for (n, k), points in list(lines.items())[:MOST_LINES]:
        axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=f"N {n}, K {k}")
    axes.set(xscale="log", xlabel="rows", ylabel=f"share of the {dtype} peak")


def _bandwidth(axes: Any, found: Summary) -> None:
    profile = found.profile
    lines: dict[str, list[tuple[float, float]]] = {}
    for each in _timed(found, "memory"):
        lines.setdefault(each.row.name, []).append((each.bytes, (each.bytes_per_s or 0.0) / 1e9))
    for name, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=name)
    if profile.peaks["bytes_per_s"]:
        axes.axhline(profile.peaks["bytes_per_s"] / 1e9, color="black", label="peak")
    axes.set(xscale="log", xlabel="bytes read and written", ylabel="GB/s")
