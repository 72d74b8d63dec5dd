"""What a serving engine is: where it runs, how it starts kernels, what its host costs, and its defaults.

Every figure stands beside its source, as in the specs of GPUs. What its kernels reach is told as figures of
machine/defaults.py that are others under this engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, floor_div, is_one, minimum
from llmcost.ground.errors import InputError
from llmcost.ground.units import BITS, parse_quantity
from llmcost.specs.engine_command import COMMAND, LOG, Command, LogLine, command_from, log_from
from llmcost.specs.engine_reserve import RESERVE, StaticShare, static_share_from
from llmcost.specs.hardware import SOURCES, Figure, HardwareSpec
from llmcost.specs.library import EXCHANGES
from llmcost.specs.reader import Document
from llmcost.specs.schema import FLAG, SIZE, TEXT, Schema, choice, mapping, number, record, several, validate


def _sourced(value: Schema, **more: Schema) -> Schema:
    return record(required={"value": value, "source": TEXT}, optional={"note": TEXT, **more})


_LIMIT = several(
    _sourced(SIZE, memory_below=TEXT, gpus=several(TEXT), tp_from=SIZE)
)  # the first that is said of the GPU holds
_SHARE = number(0, 1, above=True)
_SIZES = ("in_flight", "prompt", "output", *("tp", "pp", "dp", "ep"))
_RUN = record(
    required={
        **dict.fromkeys(("model", "weights"), TEXT),
        **dict.fromkeys(_SIZES, number(0, 1e9, above=True)),
        "guesses": number(0, 1000),
        **dict.fromkeys(("tokens", "first_token"), number(-10, 10)),
    },
    optional={},
)
OWN_COLLECTIVES = ("custom", "gather", "nccl")  # what engines have besides the libraries of hardware/collectives
MOST_RUNS = 1000  # of one's own that an engine's file keeps
LIMITS = ("chunk", "max_num_seqs", "captures")  # fields that say which GPUs they hold for
SPLITS = ("tp", "pp", "ep")  # ways of splitting one copy of a model
JOINED = (
    "sources",
    "stated",
    "figures",
    "collectives",
    "kv_dtype",
)  # fields that add to those of the engine it is like
NOT_SHARED = ("aliases", "gpu", "errors")  # fields that are of one file alone
REQUIRED = {
    **dict.fromkeys(("name", "title", "version", "url"), TEXT),
    "vendors": several(TEXT),
    "launch": _sourced(choice("graph", "stream")),
    "sources": SOURCES,
}
OPTIONAL = {
    "command": COMMAND,
    "log": LOG,
    "aliases": several(TEXT),
    **dict.fromkeys(("kernels", "kernels_shared", "gpu", "like"), TEXT),
    "formats": several(TEXT),
    "not_on": _sourced(several(TEXT)),
    "layouts": _sourced(several(choice(*SPLITS)) | {"min_length": 1}),
    "beside": _sourced(SIZE),
    "collectives": mapping(_sourced(several(TEXT) | {"min_length": 1}), choice(*EXCHANGES)),
    "kv_dtype": several(
        record(required={"value": choice(*BITS), "weights": TEXT, "source": TEXT}, optional={"note": TEXT})
    ),
    "errors": mapping(_sourced(number(0, 1000)), choice("tpot", "ttft")),
    "figures": mapping(_sourced(number(0, 1e12))),
    **dict.fromkeys(LIMITS, _LIMIT),
    **dict.fromkeys(("memory_utilization", "free_memory_fraction"), _sourced(_SHARE)),
    "activations": _sourced(choice("bf16", "fp16")),
    **dict.fromkeys(("no_server", "no_log"), _sourced(TEXT)),
    "mem_fraction_static": RESERVE,
    **dict.fromkeys(("reserve_output", "cpus", "shared_chunk"), _sourced(FLAG)),
    **dict.fromkeys(("copies_from", "block_size"), _sourced(SIZE)),
    "nearby": record(required={"source": TEXT, "runs": several(_RUN, most=MOST_RUNS)}, optional={"note": TEXT}),
    "quantised_head": _sourced(FLAG),
    "mixed": _sourced(FLAG),
    "sampler": _sourced(number(0, 1000)),
    "notes": several(TEXT),
}
SCHEMA = record(REQUIRED, OPTIONAL)
LIKE_SCHEMA = record({"name": TEXT, "like": TEXT}, REQUIRED | OPTIONAL)  # the rest may be as the other engine has it
BLANK = {"title": "", "version": "", "url": "", "vendors": (), "launch": "", "sources": {}}  # until it is


class NearRun(NamedTuple):
    """A run that an engine was fitted to, and what times like its own take over what the numbers say (nearby.py).

    `in_flight`: mean number of requests that ran at a time, on all ranks. `guesses`: tokens guessed in a step.
    `tokens`, `first_token`: weights in the logarithm of a step's time and of the time to the first token.
    """

    model: str
    weights: str
    in_flight: Number
    prompt: Number
    output: Number
    tp: Number
    pp: Number
    dp: Number
    ep: Number
    guesses: Number
    tokens: Number
    first_token: Number

    def sizes(self) -> tuple[Number, ...]:
        """Sizes by which loads are alike, but for `in_flight`; each above 0."""
        return near_sizes(*self[3:10])


def near_sizes(*of: Number) -> tuple[Number, ...]:
    """Sizes by which loads are alike: from prompt, output (None: not told), tp, pp, dp, ep and guesses.

    Of the lengths these are the mean context and the tokens of an answer.
    """
    prompt, output, *degrees, guesses = of
    context = prompt if output is None else prompt + output / 2
    return context, output, *degrees, 1 + guesses


class Limit(NamedTuple):
    """A default that holds on GPUs of less than so many bytes of memory (None: any), of these names (none: any).

    `gpus`: patterns of names. `tp_from`: GPUs of a stage from which it holds.
    """

    value: int
    memory_below: float | None
    gpus: tuple[str, ...]
    tp_from: int = 1

    def holds(self, hardware: HardwareSpec | None) -> bool:
        """Whether it is said of this GPU; None: of a GPU that nothing is known of."""
        if hardware is None:
            return self.memory_below is None and not self.gpus
        small = self.in_memory(hardware.memory.value)
        named = any(fnmatchcase(hardware.gpu or hardware.name, each) for each in self.gpus)
        return small and (named or not self.gpus)

    def in_memory(self, memory_bytes: Number) -> bool:
        """Whether it is said of GPUs with this memory."""
        return self.memory_below is None or bool(memory_bytes < self.memory_below)


class EngineSpec(NamedTuple):
    """One engine at one version: `command` starts it, `log` are lines that it prints then.

    `figures`: those of machine/defaults.py that are others under it, and what efficiency.from_figures takes besides.
    `kernels`: the engine in whose name kernels were measured, for those of machine/kernels.py; `kernels_shared`: one
    that runs the same kernels and whose times stand for those that were measured with the host's launches. `gpu`: the
    one GPU that its figures are of, where they were fitted to runs on that; `errors`: the mean ones of a token's time
    and of the first token's, on runs that were left out. `stated`: every figure with its source, by the name of its
    field. `mixed`: prompts run in the same step as decode. `beside`: tokens of a pass up to which shared experts run at
    the same time as routed ones. `formats`: of weights that it has kernels for, as patterns of their names; none:
    nothing is said of them. `not_on`: architectures of its vendors' GPUs that it does not run on. `layouts`: the
    degrees that it has, of SPLITS; none: nothing is said of them. `activations`: the type that it computes in unless
    told otherwise; None: what the model and the GPU have. `kv_dtype`: what caches are kept in with weights of a format
    (a pattern of names). `sampler`: bytes a logit that it takes to sample all `max_num_seqs` at once, as it does before
    it sizes its cache. `collectives`: what it has for each kind of exchange (EXCHANGES): libraries that ship
    (hardware/collectives), NCCL, kernels of its own. `cpus`: it runs on CPUs too, and its figures may be taken for
    them. `copies_from`: tokens at a time from which it copies weights out of the host's memory to the GPU; None:
    whenever that is quicker. `nearby`: runs of one's own that times near them follow. `no_server`: why no command
    starts a server of it, `no_log`: what its log says in place of memory. `block_size`: tokens of a page of its KV
    cache; None: as vLLM has it. `memory_utilization`: share of a GPU's memory that it uses unless told otherwise;
    `free_memory_fraction`: its cache's share of what the model leaves; `mem_fraction_static`: the rule by which it
    finds the share for weights and cache. `shared_chunk`: its tokens of prompts a step are those of all data-parallel
    ranks that share experts together. `captures`: the largest batch that decode's CUDA graphs are captured for; larger
    ones are started kernel by kernel, which no time here takes up. `like`: the shipped engine whose facts hold where
    the file says nothing else.
    """

    name: str
    title: str
    version: str
    url: str
    vendors: tuple[str, ...]
    launch: str
    sources: dict[str, dict[str, str]]
    command: Command | None = None
    log: tuple[LogLine, ...] = ()
    aliases: tuple[str, ...] = ()
    kernels: str = ""
    kernels_shared: str = ""
    beside: int | None = None
    collectives: dict[str, tuple[str, ...]] = {}  # noqa: RUF012
    kv_dtype: dict[str, str] = {}  # noqa: RUF012
    gpu: str = ""
    errors: dict[str, float] = {}  # noqa: RUF012
    figures: dict[str, float] = {}  # noqa: RUF012 - a shared empty default that nothing writes to
    chunk: tuple[Limit, ...] = ()
    max_num_seqs: tuple[Limit, ...] = ()
    captures: tuple[Limit, ...] = ()
    memory_utilization: float | None = None
    free_memory_fraction: float | None = None
    mem_fraction_static: StaticShare | None = None
    shared_chunk: bool = False
    reserve_output: bool = False
    quantised_head: bool = False
    mixed: bool = True
    formats: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    activations: str | None = None
    sampler: float = 0
    cpus: bool = False
    copies_from: int | None = None
    nearby: tuple[NearRun, ...] = ()
    no_server: str = ""
    no_log: str = ""
    block_size: int | None = None
    like: str = ""
    notes: tuple[str, ...] = ()
    stated: dict[str, Figure] = {}  # noqa: RUF012

    def runs_on(self, hardware: HardwareSpec) -> bool:
        """Whether it runs on GPUs of this vendor and architecture, or on this CPU, and its figures are of this one."""
        known = self.cpus if hardware.is_cpu() else hardware.vendor in self.vendors
        return known and hardware.architecture not in self.not_on and self.gpu in ("", hardware.name, hardware.gpu)

    def takes(self, weights: str) -> bool:
        """Whether it has kernels for weights in this format, or in those of both kinds of layers, joined by a `+`."""
        return not self.formats or all(
            any(fnmatchcase(each, known) for known in self.formats) for each in weights.split("+")
        )

    def in_stages(self) -> bool:
        """Whether several GPUs can only have layers each."""
        return self.layouts == ("pp",)

    def lacking(self, layout: Any) -> str:
        """The first of SPLITS that a layout has and the engine has not; "" where there is none."""
        lacking = (each for each in SPLITS if self.layouts and each not in self.layouts)
        return next((each for each in lacking if not is_one(getattr(layout, each))), "")

    def without(self, degree: str) -> str:
        """In words, that it has no such degree."""
        known = " and ".join(f"--{each}" for each in self.layouts)
        return f"{self.title} {self.version} (--engine {self.name}) has no --{degree}, but {known}"

    def cache_of(self, weights: str) -> str | None:
        """What the cache is kept in unless told otherwise, with weights of a format; None where nothing is said."""
        kinds = weights.split("+")
        said = (cache for known, cache in self.kv_dtype.items() if any(fnmatchcase(each, known) for each in kinds))
        return next(said, None)

    def default(self, name: str, hardware: HardwareSpec | None) -> int | None:
        """Its default of one of LIMITS on a GPU; None where it has no such bound."""
        limits = (limit for limit in getattr(self, name) if limit.tp_from == 1)
        return next((limit.value for limit in limits if limit.holds(hardware)), None)

    def captured(self, memory_bytes: Number, stage_gpus: Number) -> Number:
        """The largest batch that decode's graphs are captured for on GPUs with this memory; 0 where nothing is said."""
        held = [limit for limit in self.captures if limit.in_memory(memory_bytes) and not limit.gpus]
        one = next((limit for limit in held if limit.tp_from == 1), None)
        if one is None:
            return 0
        alike = (limit for limit in held if limit.tp_from > 1 and limit.memory_below == one.memory_below)
        split = next(alike, None)
        more = 0 if split is None else (split.value - one.value) * minimum(1, floor_div(stage_gpus, split.tp_from))
        return one.value + more


def engine_from(document: Document, load: Callable[[str], EngineSpec]) -> EngineSpec:
    """The engine that a document describes, with what the one that it is like says beside, which `load` finds.

    Raises SpecError, also for a source that the file does not list.
    """
    own = _said_in(document)
    return own if not own.like else _beside(document, own, load)


def _beside(document: Document, own: EngineSpec, load: Callable[[str], EngineSpec]) -> EngineSpec:
    """An engine with the facts of the shipped one that it is like, where its own file says nothing else.

    Raises SpecError where there is no such engine, it is like another one, or both have a source of the same name.
    """
    try:
        base = load(own.like)
    except InputError as error:
        raise document.error(("like",), str(error)) from None
    if base.like:
        raise document.error(("like",), f"{own.like!r}: name a shipped engine that says everything itself")
    for name in own.sources.keys() & base.sources.keys():
        raise document.error(("sources", name), f"the engine {own.like} has a source of this name: take another one")
    others = {*base._fields} - document.data.keys() - {*NOT_SHARED, *JOINED}
    joined = {name: getattr(base, name) | getattr(own, name) for name in JOINED}
    said = document.data.keys() - {*JOINED}
    inherited = {name: each for name, each in base.stated.items() if re.split("[.,]", name)[0] not in said}
    joined["stated"] = own.stated | {name: each for name, each in inherited.items() if name not in own.stated}
    return own._replace(**{name: getattr(base, name) for name in others}, **joined)


def _said_in(document: Document) -> EngineSpec:
    """The engine that a document describes by itself. Raises SpecError."""
    fields = BLANK | validate(document, LIKE_SCHEMA) if "like" in document.data else validate(document, SCHEMA)
    stated: dict[str, Figure] = {}

    def check_source(path: tuple[Any, ...], entry: dict[str, Any]) -> None:
        if entry["source"] not in fields["sources"]:
            raise document.error((*path, "source"), f"{entry['source']!r} is not one of this file's sources")

    def taken(path: tuple[Any, ...], entry: dict[str, Any]) -> Any:
        check_source(path, entry)
        value = entry["value"]
        where = "".join(f", {word}" for word in _where(entry))
        name = ".".join(str(key) for key in path if not isinstance(key, int))
        stated[f"{name}{where}"] = Figure(value, _written(value), entry["source"], entry.get("note", ""))
        return value

    for name, entry in list(fields.items()):
        if isinstance(entry, dict) and "value" in entry:
            fields[name] = taken((name,), entry)
    for name in LIMITS:
        fields[name] = tuple(
            Limit(
                taken((name, at), each),
                _below(document, name, at, each),
                tuple(each.get("gpus", ())),
                each.get("tp_from", 1),
            )
            for at, each in enumerate(fields.get(name, ()))
        )
    kept = fields.get("kv_dtype", ())
    fields["kv_dtype"] = {each["weights"]: taken(("kv_dtype", at), each) for at, each in enumerate(kept)}
    for field in ("figures", "errors"):
        fields[field] = {name: taken((field, name), entry) for name, entry in fields.get(field, {}).items()}
    kinds = fields.get("collectives", {}).items()
    fields["collectives"] = {kind: tuple(taken(("collectives", kind), entry)) for kind, entry in kinds}
    if "nearby" in fields:
        check_source(("nearby",), fields["nearby"])
        fields["nearby"] = tuple(NearRun(**run) for run in fields["nearby"]["runs"])
    fields["mem_fraction_static"] = static_share_from(document, fields.get("mem_fraction_static"), taken)
    fields["command"] = command_from(document, fields.get("command"))
    fields["log"] = log_from(document, fields.get("log", []))
    for name in ("vendors", "aliases", "formats", "not_on", "layouts", "notes"):
        fields[name] = tuple(fields.get(name, ()))
    return EngineSpec(**fields, stated=stated)


def _written(value: Any) -> str:
    """A value as its file would have it: 2.6e+10 of a float, not all its zeros, and true of a switch."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:.12g}" if isinstance(value, float) else str(value)
    return f"{value:.6g}" if short.endswith("000000") else short


def _where(limit: dict[str, Any]) -> list[str]:
    """On which GPUs, for which weights, of what or where a figure holds, in words."""
    small = [f"below {limit['memory_below']}"] if "memory_below" in limit else []
    large = [f"above {limit['memory_above']}"] if "memory_above" in limit else []
    split = [f"{limit['tp_from']} GPUs or more"] if "tp_from" in limit else []
    each = [" × ".join(limit["each"])] if "each" in limit else []
    least = ["at least"] if limit.get("floor") else []
    above = [f"above {limit[name]}" for name in ("above", "context_above") if name in limit]
    weights = [limit["weights"]] if "weights" in limit else []
    return [*small, *large, *split, *limit.get("gpus", ()), *weights, *each, *limit.get("when", ()), *least, *above]


def _below(document: Document, name: str, at: int, limit: dict[str, Any]) -> float | None:
    """Bytes of memory below which a default holds. Raises SpecError for another unit."""
    if "memory_below" not in limit:
        return None
    try:
        return float(parse_quantity(limit["memory_below"], "B"))
    except ValueError as error:
        raise document.error((name, at, "memory_below"), str(error)) from None
