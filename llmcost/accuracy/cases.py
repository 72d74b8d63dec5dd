"""The published measurements: one YAML file a source, a header and its rows as CSV, strictly read.

A column that a file lacks has its default (one GPU, no parallelism); an empty cell is not known. Measured
columns keep the unit that the source prints in their names and are in base units once read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import SpecError, shortened
from llmcost.ground.units import BITS
from llmcost.model.formats import FORMATS
from llmcost.model.training_kernels import CONTEXTS, KERNELS, LOSSES, RECOMPUTED, SCHEDULES
from llmcost.parallel.layout import RECOMPUTE
from llmcost.parallel.stages import ACCOUNT_FOR
from llmcost.specs.catalog import PACKAGE, names
from llmcost.specs.hardware import PCIE
from llmcost.specs.reader import Document, read_yaml
from llmcost.specs.schema import FLAG, SIZE, TEXT, Schema, choice, mapping, maybe, number, record, several, validate
from llmcost.training.recipe import OPTIMIZERS, Imbalance, Overlap

FOLDER = PACKAGE / "accuracy" / "published"
BESIDE = ("engines", "explained", "models")  # files of the folder that are no sources
KINDS = ("inference", "training", "micro")
PHASES = ("decode", "prefill", "request", "offline", "online", "fit")
CLASSES = ("optimised", "serving", "llama.cpp", "eager", "training")  # of engines
LARGEST = 10**9  # of anything that is counted

WORDS = (  # columns of text
    *("phase", "task", "op", "model", "gpu", "engine", "weights", "compute", "kv", "sharding", "recompute", "offload"),
    *("optimizer", "precision_recipe", "software", "submitter", "where", "link", "remark"),
)
COUNTS = (  # columns of whole numbers, zero allowed
    *("gpus", "tp", "pp", "vp", "cp", "ep", "dp", "batch", "prompt", "requests", "seq", "micro_batch", "global_batch"),
    *("concurrency", "prefill_gpus", "prefill_tp", "prefill_ep", "decode_gpus"),
    *("count", "m", "n", "k", "heads", "kv_heads", "head_dim", "v_head_dim", "context"),
)
NUMBERS = ("output", "rate", "range_ratio")  # columns of numbers: mean lengths, requests a second, least share
FLAGS = ("oom", "sequence_parallel")
DEFAULTS: dict[str, Any] = {
    "oom": False,
    **dict.fromkeys(("gpus", "tp", "pp", "cp", "ep", "dp", "count", "batch"), 1),
}
RUN = (
    "gpu",
    "gpus",
    "model",
    "engine",
    "phase",
    "weights",
    "compute",
    "kv",
    "batch",
    "ep",
)  # what every measurement of inference says
_ATTENTION = ("batch", "context", "heads", "kv_heads", "head_dim", "v_head_dim")
SIZES_OF = {  # kernel -> the columns of its sizes
    "gemm": ("m", "n", "k"),
    "prefill-attention": _ATTENTION,
    "decode-attention": _ATTENTION,
    **dict.fromkeys(("all-reduce", "silu-product", "gelu", "layer-norm", "softmax", "rms-norm"), ("m", "n")),
}
KNOWN = {  # column -> its words
    "phase": PHASES,
    "op": tuple(SIZES_OF),
    "link": tuple(PCIE),
    "sharding": ("none", "zero1", "zero2", "zero3"),
    "recompute": RECOMPUTE,
}
VARIED = {  # column -> words of it that hold a number
    "sharding": re.compile(r"zero1-groups-[1-9]\d{0,5}"),
    "recompute": re.compile(r"[1-9]\d{0,5}-layers"),
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
    "states_gb": ("state_bytes", 1e9),
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
_CELL = maybe({"type": "union", "choices": [TEXT, {"type": "int", "strict": True}]})
_PROGRAM = record(  # how a training program runs: fields of parallel.layout.Layout and training.recipe.Recipe
    required={},
    optional={
        "attention": choice("fused", "unfused"),
        "kernels": choice(*KERNELS),
        "loss": choice(*LOSSES),
        "recompute": choice(*RECOMPUTE),
        "schedule": choice(*SCHEDULES),
        "layout": choice("chosen"),  # by `llmcost train`, as for who says nothing of it
        "context_parallel": choice(*CONTEXTS),
        "account_for": choice(*ACCOUNT_FOR),
        "recomputed": several(choice(*RECOMPUTED)),
        **dict.fromkeys(
            (
                "dropout",
                "grad_buffer",
                "master_weights",
                "reshard",
                "sequence_parallel",
                "early_stop",
                "cuda_graphs",
                "drop_tokens",
            ),
            FLAG,
        ),
        **dict.fromkeys(("grad_bytes", "reduce_bytes"), number(0, 64)),
        **dict.fromkeys(("gpus_per_node", "etp", "mtp"), SIZE),
        "engine": TEXT,
        "optimizer": choice(*OPTIMIZERS),
        "fabric_gb_per_s": number(1e-6, 1e9),
        "overlap": mapping(number(0, 1), choice(*Overlap._fields)),
        "imbalance": mapping(number(1, 10), choice(*Imbalance._fields)),
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
        "classes": mapping(TEXT, choice(*CLASSES)),
        "engines": mapping(
            record(
                required={"class": choice(*CLASSES), "launch": choice("graph", "stream"), "why": TEXT},
                optional={
                    **dict.fromkeys(("head", "reserve_output", "narrow_attention"), FLAG),
                    "free_memory_fraction": number(0, 1, above=True),
                    "logits": choice("last", "all"),
                    "spec": TEXT,
                    "chunk": SIZE,
                },
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
    """One measurement: how it was run (None: not known) and what was measured, in base units.

    `nameless`: it is asked about without an engine's name, of whichever engine it is.
    """

    source: Source
    row: int
    settings: dict[str, Any]
    measured: dict[str, float]
    nameless: bool = False

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
    columns = next(reader, [])
    _refuse_columns(document, [*columns, *shared])
    common = {name: "" if value is None else str(value) for name, value in shared.items()}
    return tuple(
        _case(document, source, number, columns, cells, common) for number, cells in enumerate(reader, start=1)
    )


@lru_cache(maxsize=1)
def engines() -> dict[str, dict[str, Any]]:
    """Engine -> its class, and options of `estimate`.

    `head`: it quantises the LM head too. `narrow_attention`: it computes attention in the cache's type.
    """
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


def file_of(case: Case) -> str:
    """The engine's file that a case is asked with; "" where it has none, or is asked about without a name."""
    shipped = engines()[engine_of(case)].get("spec", "") if case.source.kind == "inference" else ""
    name: str = case.settings.get("spec", shipped)  # a file of one's own, of score.of_engine
    return "" if case.nameless else name


def _refuse_columns(document: Document, columns: list[str]) -> None:
    """Raise SpecError for a column that is not known, or stands twice."""
    known = {*WORDS, *COUNTS, *NUMBERS, *FLAGS, *MEASURES}
    for name in columns:
        if name not in known:
            raise document.error(("rows",), f"{shortened(name)!r} is not a column that is understood")
        if columns.count(name) > 1:
            raise document.error(("rows",), f"the column {name!r} stands twice")


def _case(
    document: Document, source: Source, number: int, columns: list[str], cells: list[str], common: dict[str, str]
) -> Case:
    if len(cells) != len(columns):
        raise document.error(("rows",), f"row {number} has {len(cells)} cells for {len(columns)} columns")

    def wrong(problem: str) -> SpecError:
        return document.error(("rows",), f"row {number}: {problem}")

    settings, measured = _read(source.kind, common | dict(zip(columns, cells, strict=True)), wrong)
    if settings["remark"] not in (None, *source.remarks):
        raise wrong(f"{shortened(settings['remark'])!r} is not one of this file's remarks")
    for name in _needed(source.kind, settings):
        if settings[name] is None:
            raise wrong(f"{name} is missing")
    if settings["phase"] == "offline" and not settings["oom"] and "output_tokens_per_s" not in measured:
        raise wrong("output_tokens_per_s is missing")
    case = Case(source, number, settings, measured)
    if source.kind == "inference" and engine_of(case) not in engines():
        raise wrong(f"engine cannot be {shortened(settings['engine'])!r}: it is not in engines.yaml")
    return case


def _read(
    kind: str, text: dict[str, str], wrong: Callable[[str], SpecError]
) -> tuple[dict[str, Any], dict[str, float]]:
    """The settings and the measured quantities of a row, by the texts of its columns."""
    settings: dict[str, Any] = {name: DEFAULTS.get(name) for name in (*WORDS, *COUNTS, *NUMBERS, *FLAGS)}
    measured = {}
    for name, cell in text.items():
        try:
            if name not in MEASURES:
                settings[name] = _value(kind, name, cell)
            elif cell:
                quantity, unit = MEASURES[name]
                measured[quantity] = _between(float(cell), 1e-12, 1e18) * unit
        except (ValueError, KeyError):
            raise wrong(f"{name} cannot be {shortened(cell)!r}") from None
    return settings, measured


def _needed(kind: str, settings: dict[str, Any]) -> tuple[str, ...]:
    """The columns that say what was run, which no row of this kind may leave open."""
    if kind == "micro":
        return ("gpu", "gpus", "compute", "op", *SIZES_OF.get(settings["op"], ()))
    if kind == "training":
        return ("gpu", "model", "task")
    if settings["phase"] in ("offline", "online", "request"):
        return (*RUN, "output")
    return RUN


def _value(kind: str, column: str, cell: str) -> Any:
    """What a cell of a column says; None where it is empty. Raises ValueError for what cannot be."""
    if not cell:
        return None
    if column in WORDS:
        known = _known(kind, column)
        if known is not None and cell not in known and not (column in VARIED and VARIED[column].fullmatch(cell)):
            raise ValueError
        return cell
    if column in FLAGS:
        return {"yes": True, "no": False}[cell]
    if column in COUNTS:
        return _between(int(cell), 0 if column == "prompt" else 1)
    return _between(float(cell), 1e-9)


def _between(value: Any, least: float, most: float = LARGEST) -> Any:
    if not least <= value <= most:
        raise ValueError
    return value


def _known(kind: str, column: str) -> Collection[str] | None:
    """What a column of words may say in measurements of a kind; None: anything."""
    if column == "gpu" or (column == "model" and kind != "micro"):
        return _names(column)
    if column in ("weights", "kv", "compute") and kind != "training":
        return BITS if kind == "micro" else BITS.keys() | FORMATS.keys()
    return KNOWN.get(column)


@lru_cache(maxsize=2)
def _names(column: str) -> frozenset[str]:
    """The GPUs that have a spec, or the models that have one or a shape."""
    if column == "gpu":
        return frozenset(names("hardware") + names("hardware/systems"))
    return frozenset(names("models")) | read_yaml(FOLDER / "models.yaml").data.keys()
