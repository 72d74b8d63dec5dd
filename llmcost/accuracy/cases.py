"""The published measurements: one YAML file a source, a header and its rows as CSV, strictly read.

A column that a file lacks has its default (one GPU, no parallelism); an empty cell is not known. Measured
columns keep the unit that the source prints in their names and are in base units once read.
"""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.specs.catalog import PACKAGE
from llmcost.specs.reader import Document, read_yaml
from llmcost.specs.schema import FLAG, TEXT, Schema, choice, mapping, record, several, validate

FOLDER = PACKAGE / "accuracy" / "published"
BESIDE = ("engines", "explained", "models")  # files of the folder that are no sources
KINDS = ("inference", "training", "micro")
PHASES = ("decode", "prefill", "request", "offline", "online", "fit")

WORDS = (  # columns of text
    *("phase", "task", "op", "model", "gpu", "engine", "weights", "compute", "kv", "sharding", "recompute", "offload"),
    *("optimizer", "precision_recipe", "software", "submitter", "where", "link", "remark"),
)
COUNTS = (  # columns of whole numbers, zero allowed
    *("gpus", "tp", "pp", "vp", "cp", "ep", "dp", "batch", "prompt", "requests", "seq", "micro_batch", "global_batch"),
    *("count", "m", "n", "k", "heads", "kv_heads", "head_dim", "v_head_dim", "context"),
)
NUMBERS = ("output", "rate")  # columns of numbers: mean lengths, requests a second
FLAGS = ("oom", "sequence_parallel")
DEFAULTS: dict[str, Any] = {
    "oom": False,
    **dict.fromkeys(("gpus", "tp", "pp", "cp", "ep", "dp", "count", "batch"), 1),
}
MEASURES: dict[str, tuple[str, float]] = {  # column -> quantity in base units, and the unit's size
    "latency_ms": ("latency_seconds", 1e-3),
    "ttft_ms": ("first_token_seconds", 1e-3),
    "tpot_ms": ("token_seconds", 1e-3),
    "itl_ms": ("token_seconds", 1e-3),
    "time_us": ("seconds", 1e-6),
    "step_s": ("step_seconds", 1),
    "forward_s": ("forward_seconds", 1),
    "memory_gb": ("memory_bytes", 1e9),
    "memory_gib": ("memory_bytes", 2**30),
    "reserved_gib": ("reserved_bytes", 2**30),
    "output_tokens_per_s": ("output_tokens_per_s", 1),
    "total_tokens_per_s": ("total_tokens_per_s", 1),
    "prefill_tokens_per_s": ("prefill_tokens_per_s", 1),
    "decode_tokens_per_s": ("decode_tokens_per_s", 1),
    "requests_per_s": ("requests_per_s", 1),
    "tokens_per_s": ("tokens_per_s", 1),
    "tokens_per_s_per_gpu": ("tokens_per_s_per_gpu", 1),
    "samples_per_s": ("samples_per_s", 1),
    "tflops": ("flops_per_s", 1e12),
    "tflops_per_gpu": ("model_flops_per_s_per_gpu", 1e12),
    "hardware_tflops_per_gpu": ("flops_per_s_per_gpu", 1e12),
    "mfu_percent": ("mfu", 1e-2),
    "hfu_percent": ("hfu", 1e-2),
    "gpu_hours": ("gpu_seconds", 3600),
    "trained_tokens": ("trained_tokens", 1),
}

_LONG: Schema = {"type": "str", "strict": True, "min_length": 1}
_CELL: Schema = {"type": "nullable", "schema": {"type": "union", "choices": [TEXT, {"type": "int", "strict": True}]}}
NUMBER: Schema = {"type": "union", "choices": [{"type": "int", "strict": True}, {"type": "float", "strict": True}]}
_PROGRAM = record(  # how a training program runs: fields of parallel.layout.Layout and training.recipe.Recipe
    required={},
    optional={
        **dict.fromkeys(("attention", "kernels", "loss", "context_parallel", "recompute"), TEXT),
        **dict.fromkeys(("dropout", "grad_buffer", "master_weights", "reshard", "sequence_parallel"), FLAG),
        **dict.fromkeys(("grad_bytes", "reduce_bytes", "gpus_per_node", "fabric_gb_per_s"), NUMBER),
        "overlap": mapping(NUMBER),
    },
)
SCHEMA = record(
    required={
        **dict.fromkeys(("title", "by", "url", "date", "licence", "measures"), TEXT),
        "kind": choice(*KINDS),
        "trust": choice("high", "medium"),
        "rows": _LONG,
    },
    optional={
        **dict.fromkeys(("file", "commit"), TEXT),
        "memory": choice("tensors", "reserved", "process"),
        "notes": several(TEXT),
        "remarks": mapping(TEXT),
        "shared": mapping(_CELL),
        "program": mapping(_PROGRAM),
    },
)
ENGINES = record(
    required={
        "classes": mapping(TEXT),
        "engines": mapping(
            record(
                required={"class": TEXT, "launch": choice("graph", "stream"), "why": TEXT},
                optional={"head": FLAG, "free_memory_fraction": NUMBER, "reserve_output": FLAG, "logits": TEXT},
            )
        ),
    },
    optional={},
)


class Source(NamedTuple):
    """Where measurements stand, who made them and what they include."""

    name: str
    title: str
    kind: str
    by: str
    url: str
    date: str
    licence: str
    trust: str
    measures: str
    file: str = ""
    commit: str = ""
    memory: str = "tensors"  # handed out by the allocator; `reserved` by it; or all that the `process` has
    notes: tuple[str, ...] = ()
    program: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - of all rows, and what a remark or data type changes of it
    remarks: dict[str, str] = {}  # noqa: RUF012 - a shared empty default that nothing writes to


class Case(NamedTuple):
    """One measurement: how it was run (None: not known) and what was measured, in base units."""

    source: Source
    row: int
    settings: dict[str, Any]
    measured: dict[str, float]

    @property
    def name(self) -> str:
        """Its source and row, as explained.yaml names it."""
        return f"{self.source.name}/{self.row}"

    @property
    def engine(self) -> str:
        """The engine without its version; empty where none is at work."""
        return (self.settings["engine"] or "").split(" ")[0]


def source_names() -> list[str]:
    """Every source, by the name of its file."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in BESIDE)


def load_cases(kind: str | None = None) -> list[Case]:
    """Every case, or those of one kind."""
    found = [case for name in source_names() for case in source_cases(FOLDER / f"{name}.yaml")]
    return [case for case in found if kind in (None, case.source.kind)]


@lru_cache(maxsize=64)
def source_cases(path: Path) -> tuple[Case, ...]:
    """The cases of one file. Raises SpecError, with the line, for what is not understood."""
    document = read_yaml(path)
    fields = validate(document, SCHEMA)
    rows, shared = fields.pop("rows"), fields.pop("shared", {})
    source = Source(name=path.stem, **fields | {"notes": tuple(fields.get("notes", ()))})
    reader = csv.reader(io.StringIO(rows))
    columns = next(reader)
    _refuse_columns(document, [*columns, *shared])
    common = {name: "" if value is None else str(value) for name, value in shared.items()}
    return tuple(
        _case(document, source, number, columns, cells, common) for number, cells in enumerate(reader, start=1)
    )


@lru_cache(maxsize=1)
def engines() -> dict[str, dict[str, Any]]:
    """Engine -> its class, whether it quantises the LM head too (`head`), and options of `estimate`."""
    table: dict[str, dict[str, Any]] = validate(read_yaml(FOLDER / "engines.yaml"), ENGINES)["engines"]
    return table


def class_of(case: Case) -> str:
    """The class of engine that a case was run on; `training` or `kernel` for what has none."""
    if case.source.kind != "inference":
        return "training" if case.source.kind == "training" else "kernel"
    word: str = engines()[engine_of(case)]["class"]
    return word


def engine_of(case: Case) -> str:
    """The entry of engines.yaml that a case belongs to: its engine of just that version, or of any."""
    return case.settings["engine"] if case.settings["engine"] in engines() else case.engine


def _refuse_columns(document: Document, columns: list[str]) -> None:
    """Raise SpecError for a column that is not known, or stands twice."""
    known = {*WORDS, *COUNTS, *NUMBERS, *FLAGS, *MEASURES}
    for name in columns:
        if name not in known:
            raise document.error(("rows",), f"{name!r} is not a column that is understood")
        if columns.count(name) > 1:
            raise document.error(("rows",), f"the column {name!r} stands twice")


def _case(
    document: Document, source: Source, number: int, columns: list[str], cells: list[str], common: dict[str, str]
) -> Case:
    if len(cells) != len(columns):
        raise document.error(("rows",), f"row {number} has {len(cells)} cells for {len(columns)} columns")
    text = common | dict(zip(columns, cells, strict=True))
    settings: dict[str, Any] = {name: DEFAULTS.get(name) for name in (*WORDS, *COUNTS, *NUMBERS, *FLAGS)}
    measured = {}
    for name, cell in text.items():
        try:
            if name in MEASURES:
                if cell:
                    quantity, unit = MEASURES[name]
                    measured[quantity] = float(cell) * unit
            else:
                settings[name] = _value(name, cell)
        except ValueError:
            raise document.error(("rows",), f"row {number}: {name} cannot be {cell!r}") from None
    if settings["remark"] not in (None, *source.remarks):
        raise document.error(("rows",), f"row {number}: {settings['remark']!r} is not one of this file's remarks")
    return Case(source, number, settings, measured)


def _value(column: str, cell: str) -> Any:
    """The value of a cell that is not a measurement; None where it is empty. Raises ValueError."""
    if not cell:
        return None
    if column in WORDS:
        return cell
    if column in FLAGS:
        if cell not in ("yes", "no"):
            raise ValueError("neither yes nor no")
        return cell == "yes"
    return int(cell) if column in COUNTS else float(cell)
