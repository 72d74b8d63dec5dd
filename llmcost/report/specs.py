"""What is known: lists of models, GPUs and engines, and one of them in full with its sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmcost.ground.titles import keep
from llmcost.ground.units import scaled, seconds
from llmcost.report.tables import Table
from llmcost.specs.engine import EngineSpec
from llmcost.specs.hardware import Figure, HardwareSpec
from llmcost.specs.training_engine import TrainingEngine

UNKNOWN = "–"
# Fields of a model.
TOLD_APART = ("name", "title", "published", "notes", "aliases", "encoder", "layers", "params", "num_hidden_layers")


def models_table(rows: list[dict[str, object]]) -> Table:
    """The list of models, a row each: parameters and sizes."""
    cells = [tuple(UNKNOWN if value is None else _cell(value) for value in row.values()) for row in rows]
    columns = ("model", "parameters", "layers", "hidden", "heads", "KV heads", "FFN", "max seq", "vocab", "released")
    return Table("", columns, "lrrrrrrrrl", cells)


def cpus_table(rows: list[dict[str, object]]) -> Table:
    """The list of CPUs, as that of GPUs."""
    said = "Of CPUs, peaks are what AVX-512 or matrix units do in all cores; the memory is what is plugged in."
    return hardware_table(rows, "CPU", "cores", said)


def hardware_table(
    rows: list[dict[str, object]],
    device: str = "GPU",
    parts: str = "SMs",
    said: str = "Dense peaks of the matrix units, fp32 accumulation for bf16 and fp16.",
) -> Table:
    """The list of GPUs, a row each: memory, peaks and links. `parts`: what `sm_count` counts."""
    units = {
        device: "",
        "memory": "B",
        "bandwidth": "B/s",
        **dict.fromkeys(("bf16", "fp16", "fp8", "int8", "fp4"), "FLOPS"),
        "interconnect": "B/s",
        parts: "",
        "L2": "B",
        "L3": "B",
        "watts": "",
        "year": "",
    }
    cells = [tuple(_scaled(*pair) for pair in zip(row.values(), units.values(), strict=True)) for row in rows]
    return Table(
        "",
        tuple(units),
        "l" + "r" * (len(units) - 1),
        cells,
        (f"{said} –: no source found, or the {device} has none.",),
    )


def systems_table(rows: list[dict[str, object]]) -> Table:
    """The list of systems, a row each: their GPUs, and the networks in a node and between nodes."""
    cells = [
        tuple(_scaled(value, "B/s" if name.endswith("_per_s") else "") for name, value in row.items()) for row in rows
    ]
    columns = ("system", "", "GPU", "GPUs in a node", "in the node", "between nodes", "")
    return Table("", columns, "lllrrlr", cells, ("Rates are of one GPU, in one direction.",))


def engines_table(rows: list[dict[str, object]]) -> Table:
    """The list of engines, a row each: where they run, their defaults, what they were scored at."""
    shown = ("name", "title", "version", "vendors", "chunk", "max_num_seqs", "error")
    cells = []
    for row in rows:
        keep(str(row["version"]))
        error = "not scored" if row["error"] is None else f"{row['error']:.0%}"
        cells.append((*(UNKNOWN if row[name] is None else _cell(row[name]) for name in shown[:-1]), error))
    columns = ("engine", "", "version", "runs on", "chunk", "requests", "error")
    note = "chunk: tokens of prompts a step; requests: at a time, at most; both on the largest GPUs."
    scored = (
        "error: mean of a token's time, on published runs that had no part in a fit; on which GPUs: llmcost accuracy."
    )
    return Table("", columns, "llllrrr", cells, (note, scored))


def training_engines_table(rows: list[dict[str, object]]) -> Table:
    """The list of training engines, a row each."""
    cells = []
    for row in rows:
        host = row["host_seconds_a_layer"]
        started = UNKNOWN if not isinstance(host, float) else seconds(host)
        cells.append((*(str(row[name]) for name in ("name", "title", "version", "vendors", "kernels")), started))
    columns = ("training engine", "", "version", "runs on", "kernels", "host a layer")
    note = "host a layer: in which the host starts the kernels of one layer's forward pass."
    return Table("", columns, "lllllr", cells, (note,))


def engine_table(e: EngineSpec | TrainingEngine) -> Table:
    """One engine, each figure with its source and note."""
    keep(e.title, e.version, *e.notes, *(f.note for f in e.stated.values()), *(s["title"] for s in e.sources.values()))
    rows = [(name, f.written, f.source, f.note) for name, f in e.stated.items()]
    notes = [f"[{name}] {' '.join((each['title'], each.get('url', ''))).strip()}" for name, each in e.sources.items()]
    version = f" {e.version}" if e.version else ""
    title = f"{e.title}{version} ({', '.join((e.name, *e.aliases))}), on GPUs of {', '.join(e.vendors)}: {e.url}"
    return Table(title, ("", "", "source", "note"), "lrll", rows, (*e.notes, *notes))


def model_table(document: Mapping[str, Any]) -> Table:
    """One model spec, field by field, of its document."""
    rows = [
        (field, _cell(value))
        for field, value in document.items()
        if field not in TOLD_APART and value not in ("", 0, "none", "lm", ())
    ]
    rows.insert(1, ("parameters", f"{document['params']:,}"))
    rows += _of_layers(document["layers"])
    if "encoder" in document:
        rows += [
            (f"encoder's {field}", _cell(value))
            for field, value in document["encoder"].items()
            if field != "layers" and value not in (0, "none")
        ]
        rows += _of_layers(document["encoder"]["layers"], "encoder's ")
    notes = tuple(f"Note: {note}" for note in document["notes"])
    notes += tuple(
        f"{each['document']} {each['printed']} for {each['quantity']}: {each['why']}" for each in document["published"]
    )
    names = ", ".join((document["name"], *document["aliases"]))
    return Table(f"{document['title']} ({names})", ("", ""), "ll", rows, notes)


def _of_layers(layers: list[Mapping[str, Any]], whose: str = "") -> list[tuple[str, str]]:
    """The rows of each kind of layer."""
    rows = []
    for kind, layer in enumerate(layers, start=1):
        rows.append((f"{whose}layers of kind {kind}" if len(layers) > 1 else f"{whose}layers", f"{layer['count']:,}"))
        rows += [
            (f"  {field}", _cell(value)) for field, value in _of_a_layer(layer).items() if value not in (0, "none")
        ]
    return rows


def _of_a_layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Kinds of its blocks, then their sizes and flags."""
    mixer, mlp = layer["mixer"], layer["mlp"]
    kinds = {"mixer": mixer["kind"], "mlp": mlp["kind"], "norms": layer["norms"]}
    crossed = layer.get("cross_attention", {})
    sizes = {field: value for field, value in (*mixer.items(), *mlp.items()) if field != "kind"}
    kinds |= {field: layer[field] for field in ("unquantized", "formats") if field in layer}
    return kinds | sizes | {field: crossed[field] for field in ("cross_attention_size",) if field in crossed}


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
        ("cores" if h.is_cpu() else "SMs", h.sm_count),
        ("L2", h.l2),
        *([("L3", h.l3)] if h.l3 else []),
        ("TDP", h.tdp),
        *([("drives of a node, read", h.drive_read)] if h.drive_read else []),
        *([("drives of a node, written", h.drive_write)] if h.drive_write else []),
        *([("drives of a node", h.drive_memory)] if h.drive_memory else []),
        ("launched", h.launch_year),
    ]
    rows = [(name, "not known", "", "") if f is None else (name, f.written, f.source, f.note) for name, f in figures]
    keep(*(note for *_, note in rows))  # prose of specs is English
    notes = [f"[{name}] {' '.join((each['title'], each.get('url', ''))).strip()}" for name, each in h.sources.items()]
    architecture = f", {h.architecture}" if h.architecture else ""
    title = f"{h.title} ({', '.join((h.name, *h.aliases))}), {h.vendor}{architecture}"
    return Table(title, ("", "", "source", "note"), "lrll", rows, (*h.notes, *notes))


def _scaled(value: Any, unit: str) -> str:
    """A figure of a GPU in a unit, or as it is where it has none."""
    if value is None:
        return UNKNOWN
    return scaled(value, unit) if unit else str(value)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "_asdict"):
        return ", ".join(f"{name.replace('_', ' ')} {_cell(each)}" for name, each in value._asdict().items())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
