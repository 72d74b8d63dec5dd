"""What a training engine is: its kernels, what overlaps in it, what its host costs, what it keeps in memory.

Every figure stands beside its source, as in the specs of serving engines. What it says nothing of is as in
training/recipe.py and machine/training_shares.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.model.training_kernels import CONTEXTS, KERNELS, LOSSES, RECOMPUTED, SCHEDULES
from llmcost.specs.hardware import SOURCES, Figure, HardwareSpec
from llmcost.specs.reader import Document
from llmcost.specs.schema import FLAG, TEXT, Schema, choice, mapping, number, record, several, validate

OVERLAPS = ("tensor", "context", "expert", "pipeline", "data")
HOST = ("host_step_seconds", "host_layer_seconds", "host_expert_layer_seconds", "collective_seconds")
HAS = ("dtypes", "degrees", "schedules", "zero", "recomputes", "offloads", "experts")
LAYOUT = ("schedule", "context_parallel", "sequence_parallel")
SHARES = ("products", "fp8", "attention", "grouped", "links")


def _sourced(value: Schema) -> Schema:
    return record(required={"value": value, "source": TEXT}, optional={"note": TEXT})


_SHARE, _BYTES = number(0, 1), number(0, 64)
CHOICES: dict[str, Schema] = {  # fields that stand for one choice of a recipe or a layout
    "kernels": choice(*KERNELS),
    "loss": choice(*LOSSES),
    "attention": choice("fused", "unfused"),
    "schedule": choice(*SCHEDULES),
    "context_parallel": choice(*CONTEXTS),
    **dict.fromkeys(
        ("dropout", "grad_buffer", "master_weights", "narrow_activations", "early_stop", "whole_gradients"), FLAG
    ),
    **dict.fromkeys(("grad_bytes", "reduce_bytes", "moment_bytes", "dispatch_bytes"), _BYTES),
    **dict.fromkeys(("bucket", "bucket_a_rank"), number(1, 10**12)),
    "recomputed": several(choice(*RECOMPUTED)),
    "dtypes": several(choice("bf16", "fp16", "fp8", "fp4", "fp32")),
    "degrees": several(choice("dp", "tp", "pp", "vp", "cp", "ep")),
    "schedules": several(choice(*SCHEDULES)),
    "zero": several(number(0, 3), 4),
    "recomputes": several(choice("none", "selective", "full")),
    "sequence_parallel": FLAG,
    "offloads": several(choice("optimizer", "weights", "activations", "nvme")),
    "experts": several(TEXT),
    **dict.fromkeys(HOST, number(0, 1)),
    "error": number(0, 100),
    "reserved_share": number(0.5, 2),
}
SCHEMA = record(
    required={**dict.fromkeys(("name", "title", "version", "url"), TEXT), "vendors": several(TEXT), "sources": SOURCES},
    optional={
        "aliases": several(TEXT),
        "notes": several(TEXT),
        "overlap": mapping(_sourced(_SHARE), choice(*OVERLAPS)),
        "shares": mapping(mapping(_sourced(number(0, 1, above=True)), choice(*SHARES))),
        **{name: _sourced(schema) for name, schema in CHOICES.items()},
    },
)


class TrainingEngine(NamedTuple):
    """One training engine at one version.

    `choices`: those of CHOICES that it makes, by name; HAS among them: data types that products compute in, degrees of
    parallelism, schedules, stages of ZeRO, kinds of recomputation, what can be offloaded and the libraries that send
    tokens to experts (hardware/collectives), where it does not have all. `overlap`: the share
    of each kind of communication that costs no time. `shares`: by GPU, or the first word of its architecture, what
    kernels reach in place of training_shares.py.
    Seconds of its host (HOST): in which it starts the kernels of a layer's forward pass, as many again for the backward
    one; beside all layers in a step; and what every collective inside a node waits for it.
    `stated`: every figure with its source, by the name of its field.
    """

    name: str
    title: str
    version: str
    url: str
    vendors: tuple[str, ...]
    sources: dict[str, dict[str, str]]
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    choices: dict[str, Any] = {}  # noqa: RUF012 - shared empty defaults that nothing writes to
    overlap: dict[str, float] = {}  # noqa: RUF012
    shares: dict[str, dict[str, float]] = {}  # noqa: RUF012
    stated: dict[str, Figure] = {}  # noqa: RUF012

    def runs_on(self, hardware: HardwareSpec) -> bool:
        """Whether it runs on GPUs of this vendor."""
        return hardware.vendor in self.vendors

    def recipe(self) -> dict[str, Any]:
        """What it says of a recipe, by the names of its fields."""
        beside = (*LAYOUT, *HAS, *HOST, "error")
        return {name: value for name, value in self.choices.items() if name not in beside}

    def layout(self) -> dict[str, Any]:
        """What it says of a layout, by the names of its fields."""
        return {name: self.choices[name] for name in LAYOUT if name in self.choices}


def training_engine_from(document: Document) -> TrainingEngine:
    """The engine that a document describes. Raises SpecError, also for a source that the file does not list."""
    fields = validate(document, SCHEMA)
    stated: dict[str, Figure] = {}

    def taken(path: tuple[str, ...], entry: dict[str, Any]) -> Any:
        if entry["source"] not in fields["sources"]:
            raise document.error((*path, "source"), f"{entry['source']!r} is not one of this file's sources")
        value = tuple(entry["value"]) if isinstance(entry["value"], list) else entry["value"]
        written = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        stated[".".join(path)] = Figure(
            value if isinstance(value, int | float) else 0, written, entry["source"], entry.get("note", "")
        )
        return value

    choices = {name: taken((name,), fields.pop(name)) for name in CHOICES if name in fields}
    overlap = {kind: taken(("overlap", kind), entry) for kind, entry in fields.pop("overlap", {}).items()}
    shares = {
        family: {kind: taken(("shares", family, kind), entry) for kind, entry in kinds.items()}
        for family, kinds in fields.pop("shares", {}).items()
    }
    lists = {name: tuple(fields.get(name, ())) for name in ("vendors", "aliases", "notes")}
    return TrainingEngine(**fields | lists, choices=choices, overlap=overlap, shares=shares, stated=stated)
