"""Libraries that GPUs exchange data by (DeepEP, NVLink SHARP): what starts them, what they reach, when they are taken.

Numbers are of public measurements, with their source beside each, as in the specs of GPUs.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from llmcost.specs.hardware import SOURCES, HardwareSpec
from llmcost.specs.reader import Document
from llmcost.specs.schema import FLAG, SIZE, TEXT, Schema, choice, number, record, several, validate

EXCHANGES = ("experts", "all_reduce")


def _sourced(value: Schema) -> Schema:
    return record(required={"value": value, "source": TEXT}, optional={"note": TEXT})


_SHARE = number(0, 1, above=True)
SCHEMA = record(
    required={
        **dict.fromkeys(("name", "title", "version", "url"), TEXT),
        "exchange": choice(*EXCHANGES),
        "links": _sourced(several(TEXT)),
        "sources": SOURCES,
        "ways": several(
            record(
                required={"node": _sourced(_SHARE)},
                optional={
                    **dict.fromkeys(("tokens", "gpus", "bytes"), _sourced(SIZE)),
                    "copies": _sourced(choice("expert", "gpu")),
                    "links": _sourced(several(TEXT)),
                    "inside": _sourced(FLAG),
                    **dict.fromkeys(("start", "peer", "expert", "token"), _sourced(number(0, 1))),
                    "ramp": _sourced(_SHARE),
                    "fabric": _sourced(_SHARE),
                },
            )
        ),
    },
    optional={"multiprocessors": _sourced(SIZE)},
)


class Way(NamedTuple):
    """One way of an exchange: `node` and `fabric` are shares of what a GPU sends a second in one direction.

    `start`: seconds of an empty one; None: as of other exchanges. `peer`: more for each further GPU. `ramp`: the
    exponent by which the start and sending add up, (start^ramp + sending^ramp)^(1/ramp): below 1 where arrays of
    middling size reach less of a link. Of experts, `tokens`: of a GPU, at most, `copies`: a token goes to each of its
    experts by itself, or once to each GPU that has one, `expert`: seconds more for each expert of the layer, `token`:
    for each token of a GPU, whatever its width. Of an all-reduce, `gpus` and `bytes`: at least. `links`: patterns of
    the kinds of links that the figures are of; none: of all that the library runs over. `inside`: they are of GPUs that
    share a node.
    """

    node: float
    fabric: float | None = None
    start: float | None = None
    tokens: float | None = None
    copies: str = "gpu"
    gpus: float = 2
    bytes: float = 0
    links: tuple[str, ...] = ()
    inside: bool = False
    expert: float = 0
    token: float = 0
    ramp: float = 1
    peer: float = 0


class Library(NamedTuple):
    """One library: its ways of one kind of exchange (EXCHANGES); of experts the first that tokens have room in.

    `links`: patterns of the kinds of links inside a node that it runs over. `multiprocessors`: of a GPU, those that it
    takes from computation beside it; None: as any other.
    """

    name: str
    title: str
    version: str
    url: str
    exchange: str
    links: tuple[str, ...]
    ways: tuple[Way, ...]
    sources: dict[str, dict[str, str]]
    multiprocessors: float | None = None

    def runs_over(self, hardware: HardwareSpec) -> bool:
        """Whether GPUs of this kind are joined by links that it runs over."""
        return _among(self.links, hardware)

    def on(self, hardware: HardwareSpec) -> Library:
        """The same with the ways that hold on GPUs of this kind."""
        return self._replace(ways=tuple(way for way in self.ways if not way.links or _among(way.links, hardware)))


def _among(links: tuple[str, ...], hardware: HardwareSpec) -> bool:
    return any(fnmatchcase(hardware.interconnect_kind, each) for each in links)


def library_from(document: Document) -> Library:
    """The library that a document describes. Raises SpecError, also for a source that the file does not list."""
    fields = validate(document, SCHEMA)

    def taken(entry: dict[str, Any], *path: str | int) -> Any:
        if entry["source"] not in fields["sources"]:
            raise document.error((*path, "source"), f"{entry['source']!r} is not one of this file's sources")
        value = entry["value"]
        return tuple(value) if isinstance(value, list) else value

    ways = tuple(
        Way(**{name: taken(entry, "ways", at, name) for name, entry in way.items()})
        for at, way in enumerate(fields.pop("ways"))
    )
    fields["links"] = tuple(taken(fields["links"], "links"))
    if "multiprocessors" in fields:
        fields["multiprocessors"] = taken(fields["multiprocessors"], "multiprocessors")
    return Library(**fields, ways=ways)
