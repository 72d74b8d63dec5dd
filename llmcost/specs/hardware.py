"""What a GPU is: its memory, its bandwidth and a dense peak for each data type, each figure with its source."""

from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.units import BITS, parse_quantity
from llmcost.specs.reader import Document, Key, read_yaml
from llmcost.specs.schema import SIZE, TEXT, Schema, choice, mapping, record, several, validate

FIGURE: Schema = {  # whose text `parse_quantity` reads
    "type": "custom-error",
    "schema": TEXT,
    "custom_error_type": "figure",
    "custom_error_message": "expected a figure with its unit, as in 24 GB, 1008 GB/s, 165 TFLOPS or 450 W",
}


def _sourced(value: Schema) -> Schema:
    """A value that must name its source, and may have a note."""
    return record(required={"value": value, "source": TEXT}, optional={"note": TEXT})


MEASURES = {  # figures that are written with a unit, and the base unit that they are read in
    "memory": "B",
    "usable_memory": "B",
    "bandwidth": "B/s",
    "interconnect": "B/s",
    "fabric": "B/s",
    "l2": "B",
    "l3": "B",
    "tdp": "W",
    "drive_read": "B/s",
    "drive_write": "B/s",
    "drive_memory": "B",
}
DRIVES = ("drive_read", "drive_write", "drive_memory")
LINKS = ("interconnect", "fabric")
USUAL_NODE = 8  # GPUs in a box, where no source says
OWN = "own"  # the source of a figure that stands without one
DEVICES = ("gpu", "cpu")  # the first where nothing else is said
COUNTS = ("launch_year", "sm_count", "node_gpus")
LINK = record(required={"kind": TEXT, "value": FIGURE, "source": TEXT}, optional={"note": TEXT})
SOURCES = mapping(record(required={"title": TEXT}, optional={"url": TEXT}))
PEAKS = record(required={}, optional={dtype: _sourced(FIGURE) for dtype in BITS})
SCHEMA = record(
    required={
        "name": TEXT,
        "title": TEXT,
        "vendor": TEXT,
        "memory": _sourced(FIGURE),
        "sources": SOURCES,
    },
    optional={
        "device": choice(*DEVICES),
        "architecture": TEXT,
        "aliases": several(TEXT),
        "usable_memory": _sourced(FIGURE),
        "bandwidth": _sourced(FIGURE),
        "peak": PEAKS,
        "vector_peak": PEAKS,
        **dict.fromkeys(LINKS, LINK),
        **dict.fromkeys(("l2", "l3"), _sourced(FIGURE)),
        "tdp": _sourced(FIGURE),
        **dict.fromkeys(DRIVES, _sourced(FIGURE)),
        **{count: _sourced(SIZE) for count in COUNTS},
        "notes": several(TEXT),
    },
)


# A system (a box, a cloud's machine, a cluster): GPUs of one kind, so many in a node, and a network between nodes.
SYSTEM = record(
    required={
        "name": TEXT,
        "title": TEXT,
        "gpu": TEXT,
        "node_gpus": _sourced(SIZE),
        "fabric": LINK,
        "sources": SOURCES,
    },
    optional={
        "aliases": several(TEXT),
        "interconnect": LINK,
        "notes": several(TEXT),
        **dict.fromkeys(DRIVES, _sourced(FIGURE)),
    },
)


# Link -> its name, and bytes a second of 16 lanes, both ways (PCI-SIG's 8, 16, 32 GT/s a lane, rounded up).
PCIE = {
    "pcie3": ("PCIe 3.0 x16", 32 * 10**9),
    "pcie4": ("PCIe 4.0 x16", 64 * 10**9),
    "pcie5": ("PCIe 5.0 x16", 128 * 10**9),
}


class Figure(NamedTuple):
    """One number of a data sheet: in base units, as it was written, the name of its source, and a note."""

    value: int | float
    written: str
    source: str
    note: str = ""


class HardwareSpec(NamedTuple):
    """One GPU (or one die of it, or one TPU chip), or one CPU. A figure that no source gives is None or absent.

    `peak` has the dense rates of the matrix units by data type, in FLOP/s, with fp32 accumulation for fp16 and bf16.
    `vector_peak` has the rates outside the matrix units, at which types that these lack are computed. `memory` is what
    the vendor calls it, in bytes (24 GB = 24e9), `usable_memory` what its driver reports to a process. `interconnect`
    is the fastest link to other chips: bytes a second, both directions and all links added up. It joins `node_gpus`
    of them in the usual box. `fabric` is the usual network between boxes: bytes a second of one GPU in one direction.
    `l2` and `l3` (AMD's Infinity Cache) are the caches that all of the chip shares, in bytes. Of a CPU the matrix units
    are those of its cores, or what AVX-512 has for products; `sm_count` has its cores, `memory` what is plugged in.
    `drive_read`, `drive_write`, `drive_memory`: bytes a second and bytes of all NVMe drives of a node.
    The share of these figures that a kernel reaches is no property of the chip, and is never kept here.
    """

    name: str
    title: str
    vendor: str
    memory: Figure
    sources: dict[str, dict[str, str]]
    bandwidth: Figure | None = None
    peak: dict[str, Figure] = {}  # noqa: RUF012 - a shared empty default that nothing writes to
    vector_peak: dict[str, Figure] = {}  # noqa: RUF012
    interconnect: Figure | None = None
    interconnect_kind: str = ""
    node_gpus: Figure | None = None
    fabric: Figure | None = None
    fabric_kind: str = ""
    l2: Figure | None = None
    tdp: Figure | None = None
    launch_year: Figure | None = None
    sm_count: Figure | None = None
    architecture: str = ""
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    usable_memory: Figure | None = None
    gpu: str = ""  # of a system: the GPU that it has
    l3: Figure | None = None
    device: str = DEVICES[0]
    drive_read: Figure | None = None
    drive_write: Figure | None = None
    drive_memory: Figure | None = None

    def is_cpu(self) -> bool:
        """Whether it is a CPU, whose memory is the machine's own."""
        return self.device == "cpu"

    def peak_of(self, dtype: str) -> Figure | None:
        """FLOP/s of products in this type: of the matrix units, or, where they lack it (fp32), outside them."""
        return self.peak.get(dtype) or self.vector_peak.get(dtype)

    def on_chip_bytes(self) -> int | float:
        """Bytes that the chip's shared caches hold; 0 where no source says."""
        return sum(cache.value for cache in (self.l2, self.l3) if cache is not None)

    def gpus_in_a_node(self) -> int:
        """How many GPUs the fast links join: what a source says, or as many as the usual box has."""
        return int(self.node_gpus.value) if self.node_gpus else USUAL_NODE


def joined_by(hardware: HardwareSpec, link: str | None) -> HardwareSpec:
    """The same GPU where the cards of a node reach each other by this link (a key of PCIE); None: by its fastest."""
    if link is None:
        return hardware
    kind, rate = PCIE[link]
    return hardware._replace(interconnect=Figure(rate, kind, ""), interconnect_kind=kind)


def load_hardware_file(path: Path) -> HardwareSpec:
    """Read and check the spec of one GPU. Raises SpecError with file, line and field."""
    return hardware_from(read_yaml(path))


def hardware_from(document: Document) -> HardwareSpec:
    """The GPU that a document describes, its figures in base units. Raises SpecError, also for an unknown source."""
    document = document._replace(data=_with_own_figures(document.data))
    fields = _resolved(document, validate(document, SCHEMA))
    for table in ("peak", "vector_peak"):
        rates = fields.get(table, {})
        fields[table] = {dtype: _figure(document, (table, dtype), rate, "FLOPS") for dtype, rate in rates.items()}
    return HardwareSpec(**fields)


def _with_own_figures(data: dict[str, Any]) -> dict[str, Any]:
    """The data, with figures that stand without a source (`memory: 64 GB`) as the user's own."""

    def own(value: Any) -> Any:
        return {"value": value, "source": OWN} if isinstance(value, str | int) else value

    found = {name: own(value) if name in {*MEASURES, *COUNTS} else value for name, value in data.items()}
    for table in ("peak", "vector_peak"):
        if isinstance(data.get(table), dict):
            found[table] = {dtype: own(rate) for dtype, rate in data[table].items()}
    for link in LINKS:
        if isinstance(data.get(link), str | int):
            found[link] = {"kind": link, **found[link]}
    sources = data.get("sources", {})
    if found != data and isinstance(sources, dict):
        sources = {OWN: {"title": "as written, without a source"}, **sources}
    return found | {"sources": sources}


def system_from(document: Document, gpu: HardwareSpec) -> HardwareSpec:
    """A GPU as it stands in the system that a document describes, with the system's node and network.

    Raises SpecError.
    """
    fields = _resolved(document, validate(document, SYSTEM))
    fields["sources"] = gpu.sources | fields["sources"]
    fields["title"] = f"{gpu.title} in {fields['title']}"  # one of the system's GPUs, not all that it has
    fields |= {"gpu": gpu.name, "notes": (*fields["notes"], *gpu.notes)}
    return gpu._replace(**fields)


def _resolved(document: Document, fields: dict[str, Any]) -> dict[str, Any]:
    """Validated fields with figures in base units and lists as tuples; the tables of peaks are left as they are."""
    for name in LINKS:
        if name in fields:
            fields[f"{name}_kind"] = fields[name]["kind"]
    for name, unit in (MEASURES | dict.fromkeys(COUNTS, "")).items():
        if name in fields:
            fields[name] = _figure(document, (name,), fields[name], unit)
    for name in ("aliases", "notes"):
        fields[name] = tuple(fields.get(name, ()))
    return fields


def _figure(document: Document, path: tuple[Key, ...], entry: dict[str, Any], unit: str) -> Figure:
    """The figure of an entry, read in a base unit, or as a plain count where `unit` is empty. Raises SpecError."""
    if entry["source"] not in document.data["sources"]:
        raise document.error((*path, "source"), f"{entry['source']!r} is not one of this file's sources")
    written = entry["value"]
    if not unit:
        return Figure(written, str(written), entry["source"], entry.get("note", ""))
    try:
        return Figure(parse_quantity(written, unit), written, entry["source"], entry.get("note", ""))
    except ValueError as error:
        raise document.error((*path, "value"), str(error)) from None
