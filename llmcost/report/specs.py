"""What is known: lists of models and GPUs, and one of them in full with its sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmcost.ground.units import scaled
from llmcost.model.architecture import operators
from llmcost.model.blocks import MIXERS, MLPS, Block
from llmcost.model.counting import count_params
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.report.tables import Table
from llmcost.specs.hardware import Figure, HardwareSpec

UNKNOWN = "–"


def params_of(model: ModelSpec) -> int:
    """All parameters."""
    total: int = count_params(operators(model, element_bytes("bf16", "bf16", "bf16"), Load(1, 1, 1))).total
    return total


def model_rows(models: Iterable[ModelSpec]) -> list[dict[str, object]]:
    """The slides' table of structures, a row a model, with the exact parameter count."""
    return [
        {
            "name": m.name,
            "params": params_of(m),
            "layers": m.num_hidden_layers,
            "hidden": m.hidden_size,
            "heads": _each(m, "num_attention_heads"),
            "kv_heads": _each(m, "num_key_value_heads"),
            "ffn": _each(m, "moe_intermediate_size", "intermediate_size"),
            "max_seq": m.max_position_embeddings,
            "vocab": m.vocab_size,
            "released": m.released or None,
        }
        for m in models
    ]


def _each(model: ModelSpec, *fields: str) -> int | str | None:
    """The value that all kinds of layers share, or each of them; None where no block has it."""
    blocks = [block for layer in model.layers for block in (layer.mixer, layer.mlp)]
    distinct = list(
        dict.fromkeys(getattr(block, field) for block in blocks for field in fields if hasattr(block, field))
    )
    return distinct[0] if len(distinct) == 1 else "/".join(str(value) for value in distinct) or None


def model_document(m: ModelSpec) -> dict[str, object]:
    """One model spec as plain data: its own fields, and each kind of layer with those of its blocks."""
    layers = [
        {
            "count": layer.count,
            "norms": layer.norms,
            "mixer": block_document(layer.mixer),
            "mlp": block_document(layer.mlp),
        }
        for layer in m.layers
    ]
    published = [each._asdict() for each in m.published]
    return m._asdict() | {
        "params": params_of(m),
        "num_hidden_layers": m.num_hidden_layers,
        "layers": layers,
        "published": published,
    }


def block_document(block: Block) -> dict[str, object]:
    """A block as plain data: its kind, its sizes and flags."""
    kinds = {kind: name for registry in (MIXERS, MLPS) for name, kind in registry.items()}
    return {"kind": kinds[type(block)]} | block._asdict()


def models_table(rows: list[dict[str, object]]) -> Table:
    """The list of models."""
    cells = [tuple(UNKNOWN if value is None else _cell(value) for value in row.values()) for row in rows]
    columns = ("model", "parameters", "layers", "hidden", "heads", "KV heads", "FFN", "max seq", "vocab", "released")
    return Table("", columns, "lrrrrrrrrl", cells)


def hardware_rows(chips: Iterable[HardwareSpec]) -> list[dict[str, object]]:
    """A row a GPU, in base units; None is not known."""
    return [
        {
            "name": h.name,
            "memory_bytes": h.memory.value,
            "bandwidth_bytes_per_s": _value(h.bandwidth),
            **{f"{dtype}_flops_per_s": _value(h.peak.get(dtype)) for dtype in ("bf16", "fp16", "fp8", "int8", "fp4")},
            "interconnect_bytes_per_s": _value(h.interconnect),
            "sm_count": _value(h.sm_count),
            "l2_bytes": _value(h.l2),
            "tdp_watts": _value(h.tdp),
            "launch_year": _value(h.launch_year),
        }
        for h in chips
    ]


def hardware_table(rows: list[dict[str, object]]) -> Table:
    """The list of GPUs."""
    units = ("", "B", "B/s", *["FLOPS"] * 5, "B/s", "", "B", "", "")
    cells = [
        tuple(
            UNKNOWN if value is None else scaled(value, unit) if unit and isinstance(value, int | float) else str(value)
            for value, unit in zip(row.values(), units, strict=True)
        )
        for row in rows
    ]
    columns = (
        "GPU",
        "memory",
        "bandwidth",
        "bf16",
        "fp16",
        "fp8",
        "int8",
        "fp4",
        "interconnect",
        "SMs",
        "L2",
        "watts",
        "year",
    )
    note = (
        "Dense peaks of the matrix units, fp32 accumulation for bf16 and fp16. –: no source found, or the GPU has none."
    )
    return Table("", columns, "l" + "r" * 12, cells, (note,))


def system_rows(systems: Iterable[HardwareSpec]) -> list[dict[str, object]]:
    """A row a system, in base units; rates are of one GPU in one direction."""
    return [
        {
            "name": h.name,
            "title": h.title,
            "gpu": h.gpu,
            "node_gpus": _value(h.node_gpus),
            "node_bytes_per_s": h.interconnect.value / 2 if h.interconnect else None,
            "fabric": h.fabric_kind,
            "fabric_bytes_per_s": _value(h.fabric),
        }
        for h in systems
    ]


def systems_table(rows: list[dict[str, object]]) -> Table:
    """The list of systems."""

    def shown(name: str, value: Any) -> str:
        return UNKNOWN if value is None else scaled(value, "B/s") if name.endswith("_per_s") else str(value)

    cells = [tuple(shown(name, value) for name, value in row.items()) for row in rows]
    columns = ("system", "", "GPU", "GPUs in a node", "in the node", "between nodes", "")
    return Table("", columns, "lllrrlr", cells, ("Rates are of one GPU, in one direction.",))


def model_table(model: ModelSpec) -> Table:
    """One model spec, field by field."""
    hidden = ("name", "title", "published", "notes", "aliases", "layers")
    rows = [
        (field, _cell(value))
        for field, value in model._asdict().items()
        if field not in hidden and value not in ("", 0, "none", ())
    ]
    rows.insert(1, ("parameters", f"{params_of(model):,}"))
    for kind, layer in enumerate(model.layers, start=1):
        rows.append((f"layers of kind {kind}" if len(model.layers) > 1 else "layers", f"{layer.count:,}"))
        kinds = {
            "mixer": block_document(layer.mixer)["kind"],
            "mlp": block_document(layer.mlp)["kind"],
            "norms": layer.norms,
        }
        own = kinds | layer.mixer._asdict() | layer.mlp._asdict()
        if layer.cross_attention is not None:
            own["cross_attention_size"] = layer.cross_attention._asdict()["cross_attention_size"]
        rows += [(f"  {field}", _cell(value)) for field, value in own.items() if value not in (0, "none")]
    notes = tuple(f"Note: {note}" for note in model.notes)
    notes += tuple(f"{entry.document} {entry.printed} for {entry.quantity}: {entry.why}" for entry in model.published)
    return Table(f"{model.title} ({', '.join((model.name, *model.aliases))})", ("", ""), "ll", rows, notes)


def chip_table(h: HardwareSpec) -> Table:
    """One GPU, each figure with its source and note."""
    figures: list[tuple[str, Figure | None]] = [
        ("memory", h.memory),
        ("memory, as drivers report it", h.usable_memory),
        ("bandwidth", h.bandwidth),
    ]
    figures += [(f"peak {dtype}", rate) for dtype, rate in h.peak.items()]
    figures += [(f"vector {dtype}", rate) for dtype, rate in h.vector_peak.items()]
    kind = f" ({h.interconnect_kind})" if h.interconnect_kind else ""
    fabric = f" ({h.fabric_kind})" if h.fabric_kind else ""
    figures += [
        (f"interconnect{kind}", h.interconnect),
        ("GPUs in a node", h.node_gpus),
        (f"fabric{fabric}", h.fabric),
        ("SMs", h.sm_count),
        ("L2", h.l2),
        ("TDP", h.tdp),
        ("launched", h.launch_year),
    ]
    rows = [(name, "not known", "", "") if f is None else (name, f.written, f.source, f.note) for name, f in figures]
    notes = [
        f"[{name}] {source['title']}{' ' + source['url'] if 'url' in source else ''}"
        for name, source in h.sources.items()
    ]
    title = (
        f"{h.title} ({', '.join((h.name, *h.aliases))}), {h.vendor}{', ' + h.architecture if h.architecture else ''}"
    )
    return Table(title, ("", "", "source", "note"), "lrll", rows, (*h.notes, *notes))


def _value(figure: Figure | None) -> int | float | None:
    return None if figure is None else figure.value


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
