"""A profile: what was measured on one GPU, what was fitted to it, and how far off the fit is on what it never saw.

It is one JSON document with a row in each line. Measurements are kept in profiles and nowhere else: they never change a
hardware spec.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, get_args

from llmcost.ground.units import BITS
from llmcost.model import operators
from llmcost.model.operators import UNSAID, Operator
from llmcost.model.operators.base import NOT_SIZES
from llmcost.model.operators.routing import routing_of
from llmcost.specs.json_text import document_of
from llmcost.specs.reader import Document, read_text
from llmcost.specs.schema import (
    FLAG,
    SIZE,
    TEXT,
    WORDS,
    Schema,
    choice,
    mapping,
    maybe,
    number,
    record,
    several,
    shown,
    validate,
    whole,
)  # fmt: skip

FORMAT = "llmcost.profile/1"
# The classes of operators that bench times: rows name them.
MEASURED = (
    "Attention",
    "CausalConv",
    "Collective",
    "Elementwise",
    "Gemm",
    "GroupedGemm",
    "Lookup",
    "Scan",
    "TokenProduct",
)
STATUSES = ("ok", "oom", "skipped", "wrong", "failed", "throttled")
MOST_ROWS = 5000
# Kinds of kernels. Attention over latents is timed and not fitted: engines run FlashMLA, more than twice as fast as
# what is timed here.
FITTED = ("gemm", "grouped_gemm", "attention_prefill", "attention_decode", "elementwise", "norm", "node")
COUNT = whole(0, 10**9)
# Of the sizes of operators.
MAY_BE_0 = ("reads", "writes", "weights", "streamed", "w", "every", "mean_read", "top", "dense", "dense_keys")
AMOUNT = number(0, 1e9)
RATE = number(1, 1e20)  # FLOP/s or bytes/s
TIME = number(1e-6, 1e12)  # µs
DTYPE = choice(*BITS)
BLOCKED = "fp8-block128"  # products in fp8 with a scale for every 128 × 128 weights, and for 128 activations of a row
PRECISION = choice(*BITS, BLOCKED)
FACT = maybe({"type": "union", "choices": [WORDS, FLAG, whole(0, 10**15), number(0, 1e15)], "mode": "left_to_right"})

TIMED = {"median_us": TIME, "p05_us": TIME, "p95_us": TIME, "samples": COUNT, "timer": WORDS}
STATE = {"sm_mhz": COUNT, "mem_mhz": COUNT, "watts": AMOUNT, "temp_c": COUNT, "slowdown": several(WORDS)}
ROW = record(
    required={"suite": TEXT, "name": TEXT, "dtype": PRECISION, "status": choice(*STATUSES)},
    optional={
        "operator": choice(*MEASURED), "routing": WORDS, "sizes": mapping({"type": "any"}), "backward": FLAG,
        "heldout": FLAG, "reason": WORDS, "way": WORDS, "others": mapping(FACT), "cache": WORDS, **TIMED, **STATE,
    },
)  # fmt: skip
STEP = record(
    required={
        "model": TEXT, "phase": choice("decode", "prefill", "train"), "batch": SIZE, "tokens": SIZE,
        "dtype": DTYPE, "status": choice(*STATUSES),
    },
    optional={
        "tp": SIZE, "layers": SIZE, "of_layers": SIZE, "operators_us": AMOUNT, "predicted_us": maybe(AMOUNT),
        "heldout": FLAG, "reason": WORDS, **TIMED, **STATE,
    },
)  # fmt: skip
ERROR = record(required={"points": COUNT, "mean": AMOUNT, "worst": AMOUNT}, optional={})
SHARE = number(1e-6, 10)  # of a peak; of one that is but the best measured it may be above 1
FIT = record(
    required={
        "compute": SHARE,
        "memory": SHARE,
        "launch_us": number(0, 1e6),
        "half": AMOUNT,
        "fitted": ERROR,
        "heldout": maybe(ERROR),
    },
    optional={"overlap": number(1, 100), "backward": number(0.1, 100), "ranks": COUNT, "cached": number(0, 10)},
)
DEVICE = record(
    required={"kind": WORDS, "name": TEXT, "backend": WORDS, "arch": WORDS},
    optional={
        **dict.fromkeys(("units", "l2_bytes", "memory_bytes"), maybe(whole(0, 10**15))),
        "driver": WORDS,
        **dict.fromkeys(("power_limit_w", "default_power_limit_w"), AMOUNT),
        **dict.fromkeys(("max_sm_mhz", "max_mem_mhz"), COUNT),
        **dict.fromkeys(("ecc", "mig"), maybe(FLAG)),
    },
)
SCHEMA = record(
    required={
        "schema": choice(FORMAT),
        "name": TEXT,
        "hardware": maybe(TEXT),
        "created": TEXT,
        "scope": choice("quick", "full", "chosen"),
        "complete": FLAG,
        "device": DEVICE,
        "environment": mapping(FACT),
        "state": record(
            required={"contended": maybe(WORDS), "slowdown": several(WORDS)}, optional={**STATE, "seconds": AMOUNT}
        ),
        "peaks": record(
            required={"flops_per_s": mapping(RATE, DTYPE), "bytes_per_s": maybe(RATE), "source": WORDS}, optional={}
        ),
        "fit": mapping(mapping(FIT, PRECISION), choice(*FITTED)),
        "steps": several(STEP, MOST_ROWS),
        "rows": several(ROW, MOST_ROWS),
    },
    optional={"between_us": AMOUNT, "wait_us": AMOUNT},
)


class Error(NamedTuple):
    """How far predictions are off: how many there are, and the mean and the worst of |predicted / measured - 1|."""

    points: int
    mean: float
    worst: float


class Fit(NamedTuple):
    """What one kind of kernel reaches in one data type: the numbers of machine/efficiency.py's formula."""

    compute: float  # e_c, share of the peak
    memory: float  # e_m, share of the bandwidth
    launch_us: float  # t0, µs
    half: float  # s_half, tokens; 0 where the kind has none
    fitted: Error  # on the rows that it was fitted to
    heldout: Error | None  # on rows that it never saw; None where there are none
    overlap: float = 2  # p
    backward: float = 1  # times that a backward pass takes what its work says
    ranks: int = 0  # of collectives: the most GPUs among which they were measured
    cached: float = 0  # of kernels that stream: share of the bandwidth for what half of the L2 holds; 0: the same


class Row(NamedTuple):
    """One operator timed, or the `reason` why it was not (`status`).

    `suite` and `name` say where it belongs, `operator` and `sizes` which operator it is. `way` is the fastest way to
    run it that was found; `others` has what the other ways took in µs, or why they were not timed. `cache` says what
    was in the cache. Times are µs a call: the median, the 5th and the 95th percentile of the samples. Clocks, power,
    temperature and what held the clocks back (`slowdown`) were read while it ran. `routing`: the law by which tokens
    choose experts, where it is not uniform.
    """

    suite: str
    name: str
    dtype: str
    status: str
    operator: str = ""
    sizes: dict[str, Any] = {}  # noqa: RUF012 - nothing writes to it
    backward: bool = False
    heldout: bool = False
    reason: str = ""
    way: str = ""
    others: dict[str, Any] = {}  # noqa: RUF012
    cache: str = ""
    median_us: float | None = None
    p05_us: float | None = None
    p95_us: float | None = None
    samples: int | None = None
    timer: str = ""
    sm_mhz: int | None = None
    mem_mhz: int | None = None
    watts: float | None = None
    temp_c: int | None = None
    slowdown: tuple[str, ...] = ()
    routing: str = ""

    def op(self) -> Operator:
        """The operator that was timed, as the rest of the program counts it."""
        made: Operator = getattr(operators, self.operator)(**self.sizes)
        return made._replace(facts=UNSAID._replace(routing=routing_of(self.routing))) if self.routing else made

    def key(self) -> tuple[object, ...]:
        """What is equal in two rows that time the same work."""
        return (self.suite, self.name, self.dtype, self.operator, self.backward, self.op() if self.operator else None)


class StepRow(NamedTuple):
    """A whole pass of a model timed, or the reason why it was not.

    `phase` is decode, prefill or train; `tokens` are those of a sequence, or the context of a decode step. `tp` GPUs
    shared the model. `layers` of `of_layers` were run, as many as memory has room for. Beside its time stand the sum of
    its operators' own times (`operators_us`) and what the fit says (`predicted_us`), all in µs. The other columns are
    those of `Row`.
    """

    model: str
    phase: str
    batch: int
    tokens: int
    dtype: str
    status: str
    layers: int | None = None
    of_layers: int | None = None
    operators_us: float | None = None
    predicted_us: float | None = None
    heldout: bool = False
    reason: str = ""
    median_us: float | None = None
    p05_us: float | None = None
    p95_us: float | None = None
    samples: int | None = None
    timer: str = ""
    sm_mhz: int | None = None
    mem_mhz: int | None = None
    watts: float | None = None
    temp_c: int | None = None
    slowdown: tuple[str, ...] = ()
    tp: int = 1

    def key(self) -> tuple[object, ...]:
        """What is equal in two rows that time the same work."""
        return (*self[:5], self.tp)


class Profile(NamedTuple):
    """What one run measured on one GPU, and what was fitted to it.

    `hardware` names the spec whose peaks the fitted shares are shares of; it is None for a device without a spec, whose
    shares are of the best that was measured (`peaks` says so). `scope` is quick, full or chosen; a run that was stopped
    early is not `complete`. `fit` has a Fit for a kind of kernel and a data type. `between_us`: what a kernel takes in
    a pass of many kinds over what it takes among its like, µs; `wait_us`: the same of a collective, whose GPUs wait
    for the slowest of them.
    """

    name: str
    hardware: str | None
    created: str
    scope: str
    complete: bool
    device: dict[str, Any]
    environment: dict[str, Any]
    state: dict[str, Any]
    peaks: dict[str, Any]
    fit: dict[str, dict[str, Fit]]
    steps: tuple[StepRow, ...]
    rows: tuple[Row, ...]
    between_us: float = 0
    wait_us: float = 0

    @property
    def date(self) -> str:
        """The day on which it was measured, as 2026-11-24."""
        return self.created[:10]

    def near_bytes(self) -> int:
        """What the L2 holds of data that every multiprocessor reads: one of its halves, as each keeps a copy."""
        return int(self.device.get("l2_bytes") or 0) // 2

    def measured(self) -> list[Row | StepRow]:
        """Every row: those of single kernels, then those of whole passes."""
        return [*self.rows, *self.steps]

    def cautions(self) -> list[str]:
        """Why not to trust it: the run was stopped early, others used the GPU, or a fault held the GPU back."""
        troubles = {
            "interrupted": not self.complete,
            "of a GPU in use": self.state["contended"],
            "of a GPU held back": self.state["slowdown"],
        }
        return [words for words, true in troubles.items() if true]


def load_profile(path: Path) -> Profile:
    """Read and check the profile in a file. Raises SpecError with file and field."""
    return profile_from(document_of(read_text(path), str(path)))


def load_fits(path: Path, *, passes: bool = False) -> Profile:
    """A profile of ours without its rows, which are nearly all of the file; `passes`: with those of whole passes."""
    head, steps, rest = read_text(path).partition('\n"steps": [')  # as `profile_text` writes it
    measured, rows, _ = rest.partition('\n"rows": [')
    if not rows:
        return load_profile(path)
    kept = f"{steps}{measured}" if passes else '"steps": [],'
    return profile_from(document_of(f'{head}{kept} "rows": []}}', str(path)))


def profile_from(document: Document) -> Profile:
    """The profile that a document holds. Raises SpecError, also for a document of another version's format."""
    version = document.data.get("schema")
    if version != FORMAT:
        raise document.error(
            ("schema",),
            f"a profile of this version says {FORMAT!r}, this one {shown(version)}: measure again (llmcost bench)",
        )
    data = validate(document, SCHEMA)
    fits = {kind: {dtype: _fit(entry) for dtype, entry in by_type.items()} for kind, by_type in data["fit"].items()}
    _refuse_sizes(document, data["rows"])
    for table in ("rows", "steps"):
        for position, row in enumerate(data[table]):
            if row["status"] in ("ok", "throttled") and not {"median_us", "p05_us", "p95_us"} <= row.keys():
                raise document.error((table, position), f"a row that is {row['status']} has its three times")
    steps = tuple(StepRow(**each | {"slowdown": tuple(each.get("slowdown", ()))}) for each in data["steps"])
    rows = tuple(Row(**each | {"slowdown": tuple(each.get("slowdown", ()))}) for each in data["rows"])
    del data["schema"]
    return Profile(**data | {"fit": fits, "steps": steps, "rows": rows})


def _fit(entry: dict[str, Any]) -> Fit:
    heldout = entry["heldout"]
    return Fit(**entry | {"fitted": Error(**entry["fitted"]), "heldout": Error(**heldout) if heldout else None})


def _refuse_sizes(document: Document, rows: list[dict[str, Any]]) -> None:
    """Refuse rows whose sizes are not those of their operators: unknown, missing, or not of their type."""
    for operator in {row["operator"] for row in rows if "operator" in row}:
        given = {number: row.get("sizes", {}) for number, row in enumerate(rows) if row.get("operator") == operator}
        of_each = mapping(_sizes_of(getattr(operators, operator)), whole(0, MOST_ROWS), MOST_ROWS)
        validate(document, of_each, given, lambda path: ("rows", path[0], "sizes", *path[1:]))
        for position, sizes in given.items():
            if sizes.get("active", 0) > sizes.get("groups", sizes.get("active", 0)):
                place = ("rows", position, "sizes", "active")
                raise document.error(place, f"{sizes['active']:,} of {sizes['groups']:,} groups cannot be active")


def _sizes_of(kind: Any) -> Schema:
    """The schema of an operator's sizes, by the types of its fields."""
    annotated = kind.__mro__[1].__annotations__  # those of the named tuple that it derives from
    fields = {name: _size(name, of) for name, of in annotated.items() if name not in NOT_SIZES}
    optional = {name: fields[name] for name in kind._field_defaults if name in fields}
    return record({name: fields[name] for name in fields.keys() - optional.keys()}, optional)


def _size(name: str, of: Any) -> Schema:
    if of in (bool, str):
        return FLAG if of is bool else WORDS
    if words := get_args(of):
        return choice(*words)
    if name.startswith("B"):  # bytes of an element
        return number(0, 16, above=True)
    return whole(0, 10**12) if name in MAY_BE_0 else whole(1, 10**12)


def profile_text(profile: Profile) -> str:
    """The profile as JSON with a row in each line, which reads back as the same profile."""
    head: dict[str, Any] = {"schema": FORMAT} | profile._asdict()
    head["fit"] = {kind: {dtype: _plain(fit) for dtype, fit in fits.items()} for kind, fits in profile.fit.items()}
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in head.items()
        if key not in ("steps", "rows")
    ]
    for name, rows in (("steps", profile.steps), ("rows", profile.rows)):
        listed = ",\n".join("  " + json.dumps(_without_defaults(row), ensure_ascii=False) for row in rows)
        lines.append(f'"{name}": [\n{listed}\n]')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _plain(fit: Fit) -> dict[str, Any]:
    return fit._asdict() | {"fitted": fit.fitted._asdict(), "heldout": fit.heldout and fit.heldout._asdict()}


def _without_defaults(row: Row | StepRow) -> dict[str, Any]:
    """The columns of a row that say something: those that differ from what they are when left out."""
    return {
        key: value
        for key, value in row._asdict().items()
        if key not in row._field_defaults or value != row._field_defaults[key]
    }
