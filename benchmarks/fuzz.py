"""Wrong and hostile input without end: each is answered, or refused in one message, within bounds.

    python benchmarks/fuzz.py [--inputs 100000] [--seed 0] [--kind KIND] [--show NUMBER]

An input (benchmarks/hostile.py) is a file of real facts after a few accidents (a config.json, the spec of a model or
of a GPU, an engine, a profile, requests, results, logs, published measurements) with a command that reads it, or a
command line of words that stand in no order. It follows from the seed and its number, so `--show NUMBER` makes it
again, prints it and runs it. Inputs run a thousand to a process, whose memory is limited. A fault is: an exception, an
exit code that is none of ours, NaN or Infinity on stdout, characters that steer a terminal, a refusal that is not one
line, 10 s of computing, more than a gigabyte.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hostile import KINDS, Input, made, profiles, sources, specs

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 10  # of computing that one input may take
BYTES = 10**9  # of memory that a process of inputs may take
WAIT = 200  # seconds without a sign of life after which a process is ended
EACH = 1000  # inputs of one process
QUOTED = re.compile(r"""(["'])[^"'\n]*\1""")
NO_NUMBER = re.compile(r"(?<![\w.-])(nan|NaN|-?inf|-?Infinity(?! [A-Z]))(?![\w-])")  # AMD has an Infinity Cache
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

# -- running them ---------------------------------------------------------------------------------------------


class TooLongError(BaseException):
    """An input has computed for longer than it may; no handler of the program takes it for one of its own."""


def fault_of(given: Input) -> str:
    """What is wrong with the answer to an input, with a traceback where there is one; "" where nothing is."""
    from llmcost.accuracy import cases
    from llmcost.cli import main

    Path(given.file).write_text(given.text, "utf-8", errors="surrogatepass")
    cases.source_cases.cache_clear()
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["llmcost", *given.words]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except TooLongError:
        return f"more than {SECONDS} s\n{''.join(traceback.format_exc()[-1500:])}"
    except BaseException:  # noqa: BLE001 - that is what is looked for
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return fault_in(code, out.getvalue(), err.getvalue())


def fault_in(code: int, out: str, err: str) -> str:
    """What is wrong with an exit code and with what was printed."""
    lines = err.rstrip("\n").split("\n")
    if code not in (0, 1, 2, 3):
        return f"exit code {code}"
    out = QUOTED.sub("", out)  # what `check` repeats of a file
    if (found := NO_NUMBER.search(out)) and "no number" not in out:
        return f"not a number: {out[max(found.start() - 80, 0) : found.end() + 20]!r}"
    if found := STEERS.search(out + err):
        return f"steers a terminal: {(out + err)[max(found.start() - 80, 0) : found.end() + 20]!r}"
    if code == 2 and not (lines[-1].startswith("Error: ") or (lines[-1].startswith("llmcost: ") and not out)):
        return f"no refusal in one line: {err[:300]!r}, after {out[:100]!r}"
    if code == 2 and len(lines[-1]) > 2000:
        return f"a message of {len(lines[-1])} characters: {lines[-1][:300]!r}"
    return ""


def most_memory() -> int:
    """The most bytes of memory that this process has had; of the one that started it, which Linux adds, nothing."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = [line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def run_child(seed: int, first: int, last: int, kind: str | None) -> None:
    """Run inputs in this process, in a folder of its own; a line of JSON on stdout for each that begins, and fault."""

    def too_long(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGPROF, too_long)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    from llmcost.accuracy import cases, models, score

    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("published").mkdir()
        for beside in cases.BESIDE:
            shutil.copy(cases.FOLDER / f"{beside}.yaml", "published")
        sources(), specs("models/*.yaml"), profiles()  # before the folder is another one
        for module in (cases, models, score):
            module.FOLDER = Path(folder, "published")
        for number in range(first, last):
            print(json.dumps({"number": number}), file=told, flush=True)
            kind_of, given = made(seed, number, kind)
            began = time.process_time()
            fault = fault_of(given)
            most = most_memory()
            if most > BYTES:
                fault = fault or f"{most / 1e6:,.0f} MB of memory"
            if fault:
                said = {"number": number, "kind": kind_of, "words": given.words, "fault": fault}
                print(json.dumps(said | {"seconds": time.process_time() - began}), file=told, flush=True)
            if most > BYTES:
                break
        print(json.dumps({"number": number + 1, "bytes": most}), file=told, flush=True)
        os.chdir("/")


def faults(seed: int, inputs: int, kind: str | None = None, first: int = 0) -> Iterator[dict[str, Any]]:
    """Every fault among so many inputs, as it is found. Processes of a thousand run one after another."""
    number, end = first, first + inputs
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "100",
    }  # fmt: skip
    while number < end:
        span = f"{number}:{min(number + EACH, end)}"
        command = [sys.executable, __file__, "--seed", str(seed), "--child", span, *(["--kind", kind] if kind else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:  # noqa: S603 - this file
            assert child.stdout is not None
            began, waiting = number, True
            while waiting:
                if not select.select([child.stdout], [], [], WAIT)[0]:
                    child.kill()
                    yield {"number": number, "kind": kind, "fault": f"no sign of life in {WAIT} s"}
                    break
                line = child.stdout.readline()
                waiting = bool(line)
                if line:
                    said = json.loads(line)
                    number = said["number"]
                    if "fault" in said:
                        yield said
            child.wait()
            if child.returncode:
                ended = (child.stderr.read() if child.stderr else b"").decode("utf-8", "replace")[-1500:]
                if waiting is False:
                    yield {"number": number, "kind": kind, "fault": f"the process ended ({child.returncode}): {ended}"}
                number += 1
            assert number > began, "no input was run"


def show(seed: int, number: int, kind: str | None) -> None:
    """Print the input of a number and what comes of it."""
    _, given = made(seed, number, kind)
    print(f"{given.file}:\n{given.text[:20000]}\n\nllmcost {' '.join(given.words)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("published").mkdir()
        print(fault_of(given) or "no fault")
        os.chdir("/")


def main() -> int:
    """Run the inputs asked for; list the faults by what they are. Exit code 1 where there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS))
    parser.add_argument("--show", type=int, help="only the input of this number")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        first, last = map(int, asked.child.split(":"))
        run_child(asked.seed, first, last, asked.kind)
        return 0
    if asked.show is not None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        show(asked.seed, asked.show, asked.kind)
        return 0
    began, seen = time.monotonic(), Counter[str]()
    for each in faults(asked.seed, asked.inputs, asked.kind, asked.first):
        last = each["fault"].rstrip().splitlines()
        where = [line.strip() for line in last if line.startswith("  File") and "llmcost" in line][-1:]
        cause = " ".join([*(where or last[:1]), last[-1]])[:300]
        seen[cause] += 1
        if seen[cause] <= 3:
            words = " ".join(each.get("words", []))[:200]
            print(f"{each['number']} {each.get('kind')}: llmcost {words}\n    {cause}", flush=True)
    print(
        f"{asked.inputs:,} inputs, {sum(seen.values())} faults of {len(seen)} kinds, {time.monotonic() - began:.0f} s"
    )
    for cause, times in seen.most_common():
        print(f"{times:6} {cause}")
    return int(bool(seen))


if __name__ == "__main__":
    sys.exit(main())
