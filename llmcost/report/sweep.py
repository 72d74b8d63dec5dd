"""The rows of a sweep: a table, CSV, JSON, Parquet. All but the table are written a block at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llmcost.ground.arrays import Array
from llmcost.ground.errors import InputError
from llmcost.report.figures import cell
from llmcost.report.tables import Table, csv_cell
from llmcost.search.sweep_rows import LOAD
from llmcost.simulation.steady import BUSY

Blocks = Iterable[Mapping[str, Array]]
# Of the workload; tokens may be more than 64 bits hold.
FLOATS = ("mfu", "memory_utilization", "mem_fraction_static", "tokens")


def kind_of(path: str) -> str:
    """What a column holds: text, flag, size (whole, of the workload) or figure."""
    if path == "memory.fits":
        return "flag"
    if path == "schema" or path.endswith((".name", ".title", "dtype", ".limited_by", ".basis", ".of")):
        return "text"
    return "size" if path.startswith("workload.") and path.rpartition(".")[2] not in FLOATS else "figure"


def values_of(column: Array) -> list[Any]:
    """A column as plain Python values, whole numbers as ints."""
    if column.dtype.kind == "f":
        whole = np.floor(column) == column
        if whole.all() and np.abs(column).max(initial=0) < 2**63:
            column = column.astype(np.int64)
        elif whole.any():
            column = column.astype(object)
    values: list[Any] = column.tolist()
    return [_plain(value) for value in values] if column.dtype.kind == "O" else values


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def rows_of(columns: Iterable[str], block: Mapping[str, Array]) -> Iterator[tuple[Any, ...]]:
    """The rows of a block, with the figures at these paths."""
    return zip(*(values_of(block[path]) for path in columns), strict=True)


def texts_of(column: Array, field: Callable[[Any], str]) -> list[str]:
    """A column's values as text. All formats write numbers alike; of others, `field` writes each distinct one once."""
    values = values_of(column)
    if column.dtype.kind == "f" and np.isfinite(column).all():
        return list(map(repr, values))
    known = {value: field(value) for value in set(values)}
    return [known[value] for value in values]


def texts(columns: Iterable[str], block: Mapping[str, Array], field: Callable[[Any], str]) -> Iterator[tuple[str, ...]]:
    """The rows of a block, with the figures at these paths as text."""
    return zip(*(texts_of(block[path], field) for path in columns), strict=True)


def csv_line(row: Iterable[Any]) -> str:
    """A line of values with commas between them, in quotes where they need them; None is an empty field."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue()


def csv_pieces(columns: Mapping[str, str], blocks: Blocks) -> Iterator[str]:
    """Comma-separated values; `columns` has the path of the figure under each heading. Not known is an empty field."""
    yield csv_line(columns)
    for block in blocks:
        rows = texts(columns.values(), block, lambda value: csv_line([csv_cell(value), None]).removesuffix(",\n"))
        yield "".join([f"{line}\n" for line in map(",".join, rows)])


def json_pieces(head: Mapping[str, Any], columns: Mapping[str, str], blocks: Blocks) -> Iterator[str]:
    """One document: the head's keys, then `rows`, an object each."""
    to_json = partial(json.dumps, ensure_ascii=False)
    row = "{" + ", ".join(f"{to_json(heading)}: %s" for heading in columns) + "}"
    yield to_json(head, indent=2)[:-2] + ',\n  "rows": ['
    before = "\n    "
    for block in blocks:
        if rows := ",\n    ".join(map(row.__mod__, texts(columns.values(), block, to_json))):
            yield before + rows
            before = ",\n    "
    yield "\n  ]\n}\n"


def table_of(title: str, columns: Mapping[str, str], blocks: Blocks) -> Table:
    """The rows for people. A heading is the figure's path, a step a line."""
    rows = [tuple(map(cell, columns.values(), row)) for block in blocks for row in rows_of(columns.values(), block)]
    align = "".join("l" if kind_of(path) in ("text", "flag") else "r" for path in columns.values())
    heads = (heading.replace(".", "\n").replace("_per_million_", "\nper_million\n") for heading in columns)
    rough = f"Requests at a rate are by a formula, which is rough where load_share is {BUSY:g} or more"
    if LOAD not in columns.values():
        rough = "Requests in flight are by a formula, which is rough where not all have room for their whole length"
    mixes = any(path.startswith("serving.") for path in columns.values())
    return Table(title, tuple(heads), align, rows, (f"{rough}: llmcost simulate.",) if mixes else ())


def _whole(column: Array) -> Array:
    return column.astype(np.int64) if column.dtype.kind == "f" else column


def write_parquet(path: Path, columns: Mapping[str, str], blocks: Blocks) -> None:
    """A Parquet file, a block a row group: sizes as int64, figures as double. Raises InputError without pyarrow."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError("--parquet needs pyarrow: pip install pyarrow") from None
    types = {"text": pa.string(), "flag": pa.bool_(), "size": pa.int64(), "figure": pa.float64()}
    schema = pa.schema([(heading, types[kind_of(figure)]) for heading, figure in columns.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        for block in blocks:
            arrays = [
                _whole(block[figure]) if kind_of(figure) == "size" else block[figure] for figure in columns.values()
            ]
            writer.write_table(
                pa.Table.from_arrays(
                    [pa.array(each, field.type) for each, field in zip(arrays, schema, strict=True)], schema=schema
                )
            )
