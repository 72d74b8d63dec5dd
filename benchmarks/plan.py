"""How many training layouts a second of processor time the planner times and weighs, on one core.

Run: python benchmarks/plan.py
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

from llmcost.search.plan_training import plan
from llmcost.search.question import ask
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.options import Options

CASES = (
    ("llama3-70b", 1024, 1024),
    ("llama3.1-405b", 16_384, 2048),
    ("deepseek-v3", 1024, 1024),
    ("llama3.1-405b", 100_000, 4000),
)


def main() -> None:
    """Print a line for each case: its question, and how long the answer took."""
    for name, gpus, batch in CASES:
        asked = ask(load_model(name), load_hardware("h100-sxm"), Options(gpus=gpus, global_batch=batch, seq=4096))
        start = time.process_time()
        found = plan(asked, top=10)
        took = time.process_time() - start
        print(f"{name} on {gpus:,} GPUs: {found.timed:,} layouts in {took:.2f} s, {found.timed / took:,.0f} a second")


if __name__ == "__main__":
    main()
