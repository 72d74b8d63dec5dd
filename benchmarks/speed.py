"""How fast llmcost answers, as whole processes and in one process.

Processes stand beside those that import its dependencies alone; in one process, estimates a second are counted.

    python benchmarks/speed.py [--runs 15]

Commands take turns, so that a change of the machine's speed meets all of them; times are medians of wall time. An
estimate that is asked over and over with other sizes is compiled (serving/repeated.py); one that is asked once is
calculated.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmcost import Options
    from llmcost.model.spec import ModelSpec
    from llmcost.specs.hardware import HardwareSpec

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
            f"{name:42} {median * 1e3:6.0f} ms {fastest * 1e3:6.0f} ms {median / baseline:6.2f} "
            f"{max(m for _, m in taken):9.1f} MB"
        )


def estimates(at_least: float) -> None:
    """Print how many estimates a second one process makes: asked over and over, and calculated each time anew."""
    from llmcost import Options, estimate, load_hardware, load_model
    from llmcost.serving import repeated
    from llmcost.serving.estimate import estimate_workload, prompt_is_context, workload_of

    mix = {"prompt": 1024, "output": 256, "concurrency": 64}
    asked = (
        ("llama3-8b", "rtx4090", {}),
        ("llama3-8b", "h100", mix),
        ("deepseek-v3", "h200", mix | {"gpus": 8}),
        ("deepseek-v3", "h200", mix | {"dp": 8, "ep": 8}),
    )
    print(f"\n{'estimates/s in one process':76} {'over and over':>14} {'each anew':>10}")
    for name, gpu, options in asked:
        model, chip = load_model(name), load_hardware(gpu)

        def anew(chosen: Options, model: ModelSpec = model, chip: HardwareSpec = chip) -> None:
            estimate_workload(model, chip, workload_of(model, chip, chosen), prompt_is_context(chosen))

        def again(chosen: Options, model: ModelSpec = model, chip: HardwareSpec = chip) -> None:
            estimate(model, chip, chosen)

        for batch in range(2, 4 + repeated.WORTH):  # until it is compiled
            again(Options(batch=batch, **options))
        rates = [
            rate(action, [Options(batch=2 + n % 64, **options) for n in range(64)], at_least)
            for action in (again, anew)
        ]
        called = " ".join([name, gpu, *(f"--{option} {value}" for option, value in options.items())])
        print(f"{called:76} {rates[0]:14,.0f} {rates[1]:10,.0f}")


def rate(action: Callable[[Options], None], options: list[Options], at_least: float) -> float:
    """Calls a second of processor time, the best of four stretches."""
    best = 0.0
    for _ in range(4):
        done, start = 0, time.process_time()
        while (taken := time.process_time() - start) < at_least / 4:
            for each in options:
                action(each)
            done += len(options)
        best = max(best, done / taken)
    return best


def main() -> None:
    """Time processes, then estimates in one process, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="runs of each command")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to make estimates")
    chosen = parser.parse_args()
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{chosen.runs} runs each\n"
    )
    processes(chosen.runs)
    estimates(chosen.seconds)


if __name__ == "__main__":
    main()
