"""How many points a second a sweep makes, on one core: figures alone, by the size of a block, and written as CSV.

    python benchmarks/sweep.py [--models llama3-8b mixtral-8x7b] [--points 2000000]

A point has the columns that `llmcost sweep` prints by default. The best of five runs, recording of the engine included.
numpy computes element by element in one thread, so this is one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import llmcost.search.sweep
from llmcost import Options, estimate, load_hardware, load_model
from llmcost.cli.sweep import METRICS
from llmcost.report.sweep import csv_pieces
from llmcost.search.sweep import Sweep

COLUMNS = ("hardware.name", "workload.batch", "workload.context", *METRICS)
BLOCKS = (1024, 4096, 16_384, 65_536, 262_144)


def best(action: Callable[[], object], runs: int = 5) -> float:
    """The fewest seconds of a few runs, of this process: what else the machine does is not counted."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds)


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
        estimate(sweep.model, sweep.cases[0].hardware, Options(batch=batch))


def main() -> None:
    """Print a table of the times of each sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["llama3-8b", "mixtral-8x7b", "gpt-oss-20b", "deepseek-v3"])
    parser.add_argument("--points", type=int, default=2_000_000)
    chosen = parser.parse_args()
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}; points a second on one core"
    )
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
