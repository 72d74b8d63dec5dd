"""How fast llmcost answers: whole processes beside importing its dependencies alone, and estimates a second in one
process.

    python benchmarks/speed.py [--runs 15]

Commands take turns, so that a change of the machine's speed meets all of them; times are medians of wall time.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time

# As users run it: .pyc files are written once and read from then on.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
BASELINE = "importing its dependencies"
COMMANDS = {
    BASELINE: [sys.executable, "-c", "import typer, pydantic, rich, yaml"],
    "llmcost --help": [sys.executable, "-m", "llmcost", "--help"],
    "llmcost estimate llama3-8b --hw rtx4090": [
        sys.executable,
        "-m",
        "llmcost",
        "estimate",
        "llama3-8b",
        "--hw",
        "rtx4090",
    ],
}


def once(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident megabytes of one run."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, ENVIRONMENT, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere, 1)])
    _, status, usage = os.wait4(child, 0)
    taken = time.perf_counter() - start
    os.close(nowhere)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    # On Linux a child starts from its parent's peak: this script imports llmcost only when the processes are done.
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB on Linux
    return taken, usage.ru_maxrss * unit / 1e6


def processes(runs: int) -> None:
    """Print a line for each command."""
    for command in COMMANDS.values():
        once(command)  # files into the page cache, .pyc files written
    samples = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            samples[name].append(once(command))
    baseline = statistics.median(taken for taken, _ in samples[BASELINE])
    print(f"{'process':42} {'median':>9} {'fastest':>9} {'ratio':>6} {'peak memory':>12}")
    for name, taken in samples.items():
        median, fastest = statistics.median(t for t, _ in taken), min(t for t, _ in taken)
        print(
            f"{name:42} {median * 1e3:6.0f} ms {fastest * 1e3:6.0f} ms {median / baseline:6.2f} {max(m for _, m in taken):9.1f} MB"
        )


def estimates(at_least: float) -> None:
    """Print how many scalar estimates a second one process makes."""
    from llmcost import Options, estimate, load_hardware, load_model

    model, chip = load_model("llama3-8b"), load_hardware("rtx4090")
    done, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < at_least:
        estimate(model, chip, Options(batch=1 + done % 64))
        done += 1
    print(f"\nin one process: {done / taken:,.0f} estimates/s ({taken / done * 1e6:,.0f} µs each)")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="runs of each command")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to make estimates")
    chosen = parser.parse_args()
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {chosen.runs} runs each\n"
    )
    processes(chosen.runs)
    estimates(chosen.seconds)


if __name__ == "__main__":
    main()
