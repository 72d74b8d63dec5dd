"""Names in an engine's file that must be known: of vendors and GPUs, of formats, figures, families and tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from fnmatch import filter as matching

from llmcost.ground.units import BITS
from llmcost.machine.defaults import DATA_CENTRE, FAMILIES
from llmcost.machine.efficiency import FIGURES, OF_ENGINES
from llmcost.model.formats import FORMATS
from llmcost.specs.catalog import known_values, names, shipped
from llmcost.specs.engine import LIMITS, OWN_COLLECTIVES, EngineSpec

LINKS = ("PCIe",)  # where figures of collectives may be others
TAKEN = {*OF_ENGINES, *(name.partition("@")[0] for name in FIGURES)}  # figures that predictions take
NEAR = 0.6  # how much alike a mistyped name and the one that is meant are at least, of 1
NO_DIGITS = str.maketrans("", "", "0123456789")


Unknown = tuple[tuple[str, ...], str]  # the path of a field, and what is wrong with it


def unknown_names(engine: EngineSpec) -> Iterator[Unknown]:
    """The fields of an engine that name something unknown, and what is wrong, in words.

    A vendor or an architecture of which no GPU ships may be that of a GPU of one's own: it is refused where it is
    nearly one that ships, but for the number of a generation.
    """
    yield from _unknown_gpus(engine)
    yield from _unknown_figures(engine)
    formats = {*FORMATS, *BITS}
    for each in engine.formats:
        if not matching(formats, each):
            yield ("formats",), f"{each!r}: no format of weights has such a name; nearest: {_near(each, formats)}"
    tables = {path.name for path in (shipped("hardware") / "kernels").iterdir()}
    for field in ("kernels", "kernels_shared"):
        if (value := getattr(engine, field)) and value not in tables:
            yield (field,), f"{value!r}: there are kernel tables of {', '.join(sorted(tables))}"
    libraries = {*OWN_COLLECTIVES, *names("hardware/collectives")}
    for kind, said in engine.collectives.items():
        for each in said:
            if each not in libraries:
                yield ("collectives", kind), f"{each!r}: known are {', '.join(sorted(libraries))}"


def _unknown_gpus(engine: EngineSpec) -> Iterator[Unknown]:
    for field, kind in (("vendors", "vendor"), ("not_on", "architecture")):
        known = known_values("hardware", kind)
        letters = {each.translate(NO_DIGITS) for each in known}
        for value in getattr(engine, field):
            if value not in known and value.translate(NO_DIGITS) not in letters and (near := _near(value, known, NEAR)):
                yield (field,), f"{value!r}: no GPU is of this {kind}; nearest: {near}"
    gpus = names("hardware")
    for field in LIMITS:
        for each in (pattern for limit in getattr(engine, field) for pattern in limit.gpus):
            if not matching(gpus, each):
                yield (field,), f"{each!r}: no GPU has such a name; nearest: {_near(each, gpus)}"


def _unknown_figures(engine: EngineSpec) -> Iterator[Unknown]:
    families = {*FAMILIES.values(), *(family for family, _ in DATA_CENTRE.values()), *LINKS}
    families |= {f"{architecture} GDDR" for architecture in DATA_CENTRE} | {*FORMATS, *BITS}  # some hold for a format
    for name in engine.figures:
        figure, _, family = name.partition("@")
        if figure not in TAKEN:
            yield ("figures", name), f"not one that predictions take; nearest: {_near(figure, TAKEN)}"
        elif family and family not in families:
            yield (
                ("figures", name),
                f"{family!r} is no family of GPUs and no format; nearest: {_near(family, families)}",
            )


def _near(name: str, known: Collection[str], cutoff: float = 0.0) -> str:
    """The three names that are most like this one, whatever their case."""
    plain = {each.lower(): each for each in sorted(known)}
    return ", ".join(plain[each] for each in get_close_matches(name.lower(), plain, n=3, cutoff=cutoff))
