"""A sweep as a result: which columns its rows have, the rows as dicts, the document."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from llmcost.ground.arrays import Array
from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.search.sweep import COST, SHAPES, Sweep
from llmcost.serving.options import SIZES

SCHEMA = "llmcost.sweep/1"
ALWAYS = ("batch", "context")  # options shown whether they are given or not
METRICS = (
    "memory.fits",
    "memory.total_bytes",
    "prefill.expected.tokens_per_s",
    "decode.expected.tokens_per_s",
    "decode.expected.seconds_per_step",
    "decode.limited_by",
)
OF_REQUESTS = ("request.expected.latency_seconds", "request.expected.output_tokens_per_s")  # with an output
TOKENS = (("prompt_tokens", "output_tokens"), ("output_tokens", "tokens"))  # of prompts and steps; of requests
OF_A_MIX = tuple(  # with a concurrency, a rate or requests
    f"serving.expected.{figure}" for figure in ("output_tokens_per_s", "ttft_seconds", "tpot_seconds")
)
LOAD = "serving.load_share"  # with a rate


def axes_of(given: Collection[str]) -> dict[str, str]:
    """The options that rows tell, each with the path of its value: those given, and those always told."""
    shown = [name for name in (*SHAPES, *SIZES) if name in given or name in ALWAYS]
    return {"hw": "hardware.name"} | {name: f"workload.{name}" for name in shown}


def engine_told(grid: Sweep, axes: Mapping[str, str]) -> dict[str, str]:
    """The column of the engine, where GPUs have different ones by default."""
    named = {structure.options.engine for structure in grid.structures}
    return {} if "engine" in axes or len(named) == 1 else {"engine": "workload.engine"}


def metrics_of(grid: Sweep, asked: Sequence[str] | None) -> list[str]:
    """The paths of the figures asked for, or of the usual ones. Raises InputError for one that does not exist."""
    if asked is not None:
        return [grid.find(name) for name in asked]
    more = next((paths for paths in (OF_A_MIX, OF_REQUESTS) if paths[0] in grid.figures), ())
    costs = (f"{COST}{unit}_per_million_{of}" for unit in ("dollars", "joules") for of in TOKENS[bool(more)])
    if more == OF_A_MIX and any(structure.options.rate is not None for structure in grid.structures):
        more = (*more, LOAD)
    return [*METRICS, *more, *(path for path in costs if path in grid.figures and _is_told(grid, path))]


def _is_told(grid: Sweep, path: str) -> bool:
    """Dollars where a GPU has a price, joules always."""
    return grid.money is not None and ("joules" in path or bool(grid.money.prices))


def head_of(grid: Sweep, combinations: int) -> dict[str, Any]:
    """What the JSON document of a sweep begins with, before its rows."""
    model = grid.model
    return {"schema": SCHEMA, "model": model.name, "counted": model.counted or "all", "combinations": combinations}


class SweepRows:
    """Every combination of a sweep that makes sense, with the figures asked for.

    They are computed anew each time one goes through them. `columns`: the path of the figure under each heading.
    """

    def __init__(self, grid: Sweep, given: Collection[str], metrics: Sequence[str] | None = None) -> None:
        self.grid = grid
        axes = axes_of(given)
        self.columns = axes | engine_told(grid, axes) | {path: path for path in metrics_of(grid, metrics)}

    def __len__(self) -> int:
        return self.grid.legal()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _, block in self.grid.blocks(list(self.columns.values())):
            yield from _rows(self.columns, block)

    def rows(self) -> list[dict[str, Any]]:
        """A row a combination, in base units."""
        return list(self)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost sweep --json`."""
        return head_of(self.grid, len(self)) | {"rows": self.rows()}

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame, a column a figure. Raises InputError where pandas is not installed."""
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise InputError("to_pandas() needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.rows(), columns=list(self.columns))

    def __repr__(self) -> str:
        hardware = dict.fromkeys(structure.hardware.name for structure in self.grid.structures)
        return f"<Sweep of {self.grid.model.name} on {', '.join(hardware)}: {len(self):,} combinations>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


def _rows(columns: Mapping[str, str], block: Mapping[str, Array]) -> Iterable[dict[str, Any]]:
    values = [[_plain(value) for value in block[path].tolist()] for path in columns.values()]
    return (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))


def _plain(value: Any) -> Any:
    """A float without a fraction as an int, anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
