"""How many points a second a sweep makes, on one core: as a command, figures alone by the size of a block, and as CSV.

    python benchmarks/sweep.py [--models llama3-8b mixtral-8x7b] [--points 2000000]

A point has the columns that `llmcost sweep` prints by default. The best of five runs, recording of the engine included,
and of the command its start too. numpy computes element by element in one thread, so this is one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import llmcost.search.sweep
from llmcost import Options, estimate, load_hardware, load_model
from llmcost.report.sweep import csv_pieces
from llmcost.search.sweep import Sweep
from llmcost.search.sweep_rows import METRICS

COLUMNS = ("hardware.name", "workload.batch", "workload.context", *METRICS)
COMMAND = "llama3-8b --hw h100 --batch 1..1000 --context 1000..8000:7"
ROWS = 1000 * 1001
BLOCKS = (1024, 4096, 16_384, 65_536, 262_144)


def best(action: Callable[[], object], runs: int = 5) -> float:
    """The fewest seconds of a few runs, of this process: what else the machine does is not counted."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds)


def command(form: str) -> tuple[float, float]:
    """Wall seconds and processor seconds that the command takes to write a million rows, the best of five runs each."""
    line = [sys.executable, "-m", "llmcost", "sweep", *COMMAND.split(), form]
    samples = []
    for _ in range(5):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(line, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own command
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        samples.append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    walls, processor = zip(*samples, strict=True)
    return min(walls), min(processor)


def grid(name: str, points: int) -> Sweep:
    """A thousand batches at evenly spread contexts."""
    model = load_model(name)
    step = max(1, model.max_position_embeddings * 1000 // points)
    return Sweep(
        model,
        [load_hardware("h100")],
        {"batch": range(1, 1001), "context": range(1, model.max_position_embeddings + 1, step)},
    )


def figures(sweep: Sweep) -> None:
    """Every column of every point, block by block."""
    for _, _columns in sweep.blocks(COLUMNS):
        pass


def written(sweep: Sweep) -> None:
    """The same as CSV, into nothing."""
    columns = dict(zip(COLUMNS, COLUMNS, strict=True))
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        nowhere.writelines(csv_pieces(columns, (block for _, block in sweep.blocks(COLUMNS))))


def loop(sweep: Sweep) -> None:
    """The same figures, an estimate a point, for the first thousand points."""
    for batch in range(1, 1001):
        estimate(sweep.model, sweep.structures[0].hardware, Options(batch=batch))


def main() -> None:
    """Print a table of the times of each sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["llama3-8b", "mixtral-8x7b", "gpt-oss-20b", "deepseek-v3"])
    parser.add_argument("--points", type=int, default=2_000_000)
    chosen = parser.parse_args()
    print(f"llmcost sweep {COMMAND}: {ROWS:,} rows")
    for form in ("--csv", "--json"):
        wall, processor = command(form)
        print(f"  {form:6} {wall:5.2f} s ({ROWS / wall:,.0f} rows/s), of the processor {processor:5.2f} s")
    print(f"\nPython {platform.python_version()}, numpy {np.__version__}, {platform.machine()}; points/s on one core")
    print(f"{'model':16}" + "".join(f"{f'blocks of {size:,}':>19}" for size in BLOCKS) + f"{'as CSV':>12}{'loop':>10}")
    usual = llmcost.search.sweep.BLOCK
    for name in chosen.models:
        sweep, rates = grid(name, chosen.points), []
        for size in BLOCKS:
            llmcost.search.sweep.BLOCK = size
            rates.append(len(sweep) / best(lambda sweep=sweep: figures(sweep)))
        llmcost.search.sweep.BLOCK = usual
        csv, one = (
            len(sweep) / best(lambda sweep=sweep: written(sweep), runs=1),
            1000 / best(lambda sweep=sweep: loop(sweep), runs=3),
        )
        print(f"{name:16}" + "".join(f"{rate:19,.0f}" for rate in rates) + f"{csv:12,.0f}{one:10,.0f}")


if __name__ == "__main__":
    main()
