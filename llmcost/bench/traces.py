"""Kernels that ran on a GPU, read from a profiler's trace: torch's Chrome trace, or what Nsight Systems exports.

Chrome traces are those of `torch.profiler` (`export_chrome_trace`), also gzipped. Of Nsight Systems, the SQLite file of
`nsys export` and the CSV of `nsys stats --report cuda_gpu_trace` are read. Sizes of operands are known where torch
recorded shapes (`record_shapes=True`) and the kernel was started by an operator, not replayed from a graph.
"""

from __future__ import annotations

import csv
import gzip
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import SpecError, shortened
from llmcost.specs.json_text import parse_json
from llmcost.specs.reader import read_text

LARGEST_TRACE = 2**29  # bytes of a trace's text
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
CSV_COLUMNS = ("Start (ns)", "Duration (ns)", "Name")
CSV_GPU = "Device"
LONGEST = 1e20  # of a time in a trace, in its unit
MOST_STEPS = 20_000  # millions of a database's steps
TABLE = "CUPTI_ACTIVITY_KIND_KERNEL"
GPUS = "SELECT DISTINCT name FROM TARGET_INFO_GPU"
QUERY = (
    "SELECT k.start, k.end - k.start, n.value FROM CUPTI_ACTIVITY_KIND_KERNEL k "
    "JOIN StringIds n ON n.id = k.demangledName ORDER BY k.start"
)


class GpuKernel(NamedTuple):
    """One kernel: its name, when it began and how long it ran (seconds), the shapes of its operator's operands.

    `gpu`: the name of the GPU that it ran on, as its driver has it; "" where the trace does not say.
    """

    name: str
    start: float
    seconds: float
    shapes: tuple[tuple[int, ...], ...] = ()
    gpu: str = ""

    @property
    def end(self) -> float:
        """When it ended."""
        return self.start + self.seconds


def read_trace(path: Path) -> list[GpuKernel]:
    """The kernels of one GPU in a trace, in the order of their start. Raises SpecError for a file without any."""
    read = {".sqlite": _of_sqlite, ".csv": _of_csv}.get(path.suffix, _of_chrome)
    found: Iterable[GpuKernel] = read(path)
    kernels = sorted((each for each in found if each.seconds > 0), key=lambda each: each.start)
    if not kernels:
        raise SpecError(str(path), 0, "", "no kernel of a GPU is in this trace")
    return kernels


def _of_chrome(path: Path) -> Iterable[GpuKernel]:
    text = _unpacked(path) if path.suffix == ".gz" else read_text(path, LARGEST_TRACE)
    document = parse_json(text, str(path), from_python=True)
    events, gpu = document.get("traceEvents"), _gpu_of(document.get("deviceProperties"))
    if not isinstance(events, list):
        raise SpecError(str(path), 0, "traceEvents", "a Chrome trace has a list of events there")
    shapes = {
        called: _shapes(event["args"].get("Input Dims"))
        for event in events
        if isinstance(event, dict) and event.get("cat") == "cpu_op" and (called := _called(event)) is not None
    }
    for number, event in enumerate(events):
        if isinstance(event, dict) and event.get("cat") in ON_GPU:
            place = f"traceEvents.{number}"
            start, took = (_time(event.get(key), path, f"{place}.{key}") / 1e6 for key in ("ts", "dur"))
            if not isinstance(event.get("name"), str):
                raise SpecError(str(path), 0, f"{place}.name", "a kernel without a name")
            of_operator = shapes.get(_called(event) or "", ())
            yield GpuKernel(event["name"], start, took, of_operator, gpu)


def _gpu_of(devices: Any) -> str:
    """The name of the GPUs that a Chrome trace lists, where all have the same."""
    known = [each.get("name") for each in devices if isinstance(each, dict)] if isinstance(devices, list) else []
    return str(known[0]) if known and known[0] and known.count(known[0]) == len(known) else ""


def _called(event: dict[str, Any]) -> int | str | None:
    """The number that an event shares with the operator that started it; None where it has none."""
    found = event.get("args")
    number = found.get("External id") if isinstance(found, dict) else None
    return number if isinstance(number, int | str) else None


def _time(value: Any, path: Path, field: str, line: int = 0) -> float:
    """A time as a number of the trace's unit. Raises SpecError for anything else."""
    try:
        found = nan if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        found = nan
    if not 0 <= found < LONGEST:
        said = "nothing" if value is None else repr(shortened(str(value)))
        raise SpecError(str(path), line, field, f"expected a time of at least 0, found {said}")
    return found


def _unpacked(path: Path) -> str:
    """The text of a gzipped file. Raises SpecError for another file, and for one that would be too large."""
    try:
        with gzip.open(path) as file:
            data = file.read(LARGEST_TRACE + 1)
    except (OSError, EOFError) as error:
        raise SpecError(str(path), 0, "", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST_TRACE:
        raise SpecError(str(path), 0, "", f"a trace of more than {LARGEST_TRACE:,} bytes")
    return data.decode("utf-8", "replace")


def _shapes(dims: Any) -> tuple[tuple[int, ...], ...]:
    """Shapes of an operator's operands; lists of tensors and what is no tensor are left out."""
    if not isinstance(dims, list):
        return ()
    whole = [each for each in dims if isinstance(each, list) and each and all(isinstance(size, int) for size in each)]
    return tuple(map(tuple, whole))


def _of_sqlite(path: Path) -> Iterable[GpuKernel]:
    if not path.is_file():
        raise SpecError(str(path), 0, "", "no such file")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            _stop_after(base, MOST_STEPS)
            gpu = _gpu_in(base)
            return [
                GpuKernel(
                    str(name),
                    _time(start, path, f"{TABLE}.start") / 1e9,
                    _time(took, path, f"{TABLE}.end") / 1e9,
                    gpu=gpu,
                )
                for start, took, name in base.execute(QUERY)
            ]
    except (sqlite3.Error, TypeError) as error:
        raise SpecError(str(path), 0, TABLE, f"no export of Nsight Systems: {error}") from None


def _gpu_in(base: sqlite3.Connection) -> str:
    """The name of the GPUs of an export, where it says one."""
    try:
        known = base.execute(GPUS).fetchmany(2)
    except sqlite3.Error:
        return ""
    return str(known[0][0]) if len(known) == 1 else ""


def _stop_after(base: sqlite3.Connection, steps: int) -> None:
    """Have a database give up after so many millions of its machine's steps: a view may never end."""
    left = iter(range(steps))
    base.set_progress_handler(lambda: next(left, None) is None, 1_000_000)


def _of_csv(path: Path) -> Iterable[GpuKernel]:
    lines = read_text(path, LARGEST_TRACE).splitlines()
    header = next((number for number, line in enumerate(lines) if all(each in line for each in CSV_COLUMNS)), None)
    if header is None:
        wanted = ", ".join(CSV_COLUMNS)
        raise SpecError(str(path), 1, "", f"no line with the columns {wanted} (nsys stats --report cuda_gpu_trace)")
    return _rows(path, header, csv.DictReader(lines[header:]))


def _rows(path: Path, header: int, rows: Iterable[dict[str, Any]]) -> Iterator[GpuKernel]:
    start, took, name = CSV_COLUMNS
    for number, row in enumerate(rows, header + 2):
        began, lasted = (_time(row[each], path, each, number) / 1e9 for each in (start, took))
        yield GpuKernel(row[name] or "", began, lasted, gpu=row.get(CSV_GPU) or "")
