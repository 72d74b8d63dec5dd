"""How far an engine's kernels, or shares of a GPU's peaks, are from tables of measured kernels, table by table.

Where the engine has numbers of its kernels on the GPU (kernels.py), rows are priced by them, and each row's own variant
comes first. Where it has none, and by a profile, they are priced by the shares that `estimate` takes then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmcost.accuracy.collector import (
    LATENT,
    Group,
    Table,
    possible,
    rows_of,
    seconds_of,
    stand_ins,
    tables_of,
)
from llmcost.accuracy.collector_modules import module_efficiency, seconds_by_operator
from llmcost.accuracy.collector_tables import READERS, SENT, left_out, read_groups
from llmcost.ground.errors import SpecError, UnknownNameError
from llmcost.machine.chip import chip_of, links_of
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.exchanges import experts_seconds
from llmcost.machine.forms_sequence import module_seconds
from llmcost.machine.kernel_times import NCCL
from llmcost.machine.kernels import Kernels, load_kernels
from llmcost.machine.reached import efficiency_for
from llmcost.machine.timing import kernel_seconds
from llmcost.model.operators import UNIFORM, Attention, Collective, ExpertTraffic, Gemm, GroupedGemm, Operator
from llmcost.specs.catalog import load_engine, load_hardware, load_library
from llmcost.specs.engine import EngineSpec

SCHEMA = "llmcost.calibrate.score/1"
STORED = {"int8-weights": "int8", "int4-weights": "int4", "mxfp4-weights": "mxfp4", "mxfp4-fp8": "mxfp4"}
NO_FORM, NO_GPU = "no form of time for this table", "a GPU that is not known"


class TableScore(NamedTuple):
    """Errors |predicted / measured - 1| of a table's rows; None where no row was priced.

    `impossible`: rows that are faster than the GPU allows, which are left out. `unpriced`: rows without a prediction.
    """

    rows: int
    median_error: float | None
    mean_error: float | None
    median_ratio: float | None
    impossible: int
    unpriced: int


class KernelScores(NamedTuple):
    """The scores of all tables: by what they measure, and file by file. `reasons`: why rows have no prediction."""

    engine: str
    profile: str | None
    tables: dict[str, TableScore]
    files: dict[str, TableScore]
    reasons: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As a JSON document."""
        scores = {
            name: {key: score._asdict() for key, score in getattr(self, name).items()} for name in ("tables", "files")
        }
        return {
            "schema": SCHEMA,
            "engine": self.engine,
            "profile": self.profile,
            **scores,
            "unpriced_reasons": self.reasons,
        }


class _Rows(NamedTuple):
    """What comes of a group or table: predicted over measured, and the rows that have none, by the reason."""

    ratios: list[Any]
    impossible: list[int]
    unpriced: Counter[str]

    def score(self) -> TableScore:
        counts = (sum(self.impossible), self.unpriced.total())
        if not self.ratios:
            return TableScore(0, None, None, None, *counts)
        ratios = np.concatenate(self.ratios)
        off = np.abs(ratios - 1)
        return TableScore(len(ratios), float(np.median(off)), float(off.mean()), float(np.median(ratios)), *counts)


def score_tables(folder: Path, engine: str | None, hw: str | None, profile: str | None) -> KernelScores:
    """The scores of all tables of a folder, by an engine or a profile, or by the engine that each table is of.

    `hw`: the GPU that all of them are of, whatever their folders are called. Raises InputError for what is no table,
    UnknownNameError for an engine or a GPU that is none.
    """
    asked = None if engine is None else load_engine(engine)
    place = None if hw is None else load_hardware(hw).name
    found: dict[str, _Rows] = defaultdict(lambda: _Rows([], [], Counter()))
    files: dict[str, _Rows] = {}
    for table in tables_of(folder):
        rows = _Rows([], [], Counter())
        for part in _scored(table, asked, place or table.gpu, profile):
            rows.ratios.extend(part.ratios)
            rows.impossible.extend(part.impossible)
            rows.unpriced.update(part.unpriced)
        files[table.name] = rows
        whole = found[table.kind]
        whole.ratios.extend(rows.ratios)
        whole.impossible.extend(rows.impossible)
        whole.unpriced.update(rows.unpriced)
    reasons: Counter[str] = Counter()
    for rows in found.values():
        reasons.update(rows.unpriced)
    words = asked.name if asked is not None else "none" if profile is not None else "each table's own"
    return KernelScores(
        words,
        profile,
        {name: rows.score() for name, rows in sorted(found.items())},
        {name: rows.score() for name, rows in files.items()},
        dict(reasons.most_common()),
    )


def _scored(table: Table, asked: EngineSpec | None, gpu: str, profile: str | None) -> Iterator[_Rows]:
    """What comes of each group of a table, and of the rows that are in none."""
    count = rows_of(table)
    reason = left_out(table)
    if table.kind not in READERS or reason or not gpu:
        reason = f"{table.kind}: {reason}" if reason else NO_FORM
        yield _Rows([], [], Counter({reason if gpu else NO_GPU: count}))
        return
    engine = asked
    if engine is None and profile is None and table.engine != NCCL:
        try:
            engine = load_engine(table.engine)
        except UnknownNameError:
            yield _Rows([], [], Counter({f"no engine is called {table.engine}": count}))
            return
    for group in read_groups(table, gpu):
        count -= len(group.seconds)
        rows = possible(group)
        impossible, left = len(group.seconds) - len(rows.seconds), Counter[str]()
        if not len(rows.seconds):
            yield _Rows([], [impossible], left)
            continue
        with np.errstate(all="ignore"):  # of sizes that are none, which are told below
            seconds = _seconds(rows, engine, gpu, profile)
        if seconds is None:
            left[f"no numbers of {group.form} {group.variant.partition('/')[0]} on {gpu}"] += len(rows.seconds)
            yield _Rows([], [impossible], left)
        elif np.all(np.isfinite(seconds) & (seconds > 0)):
            yield _Rows([seconds / rows.seconds], [impossible], left)
        else:
            raise SpecError(str(table.path), 0, "", f"{group.variant}: a row's sizes are none that a kernel can have")
    if count and table.kind not in SENT:  # rows of those have a time for each way, and are of several numbers of SMs
        yield _Rows([], [], Counter({f"a data type, routing or link of {table.kind} that has no form": count}))


def _seconds(group: Group, engine: EngineSpec | None, gpu: str, profile: str | None) -> Any:
    """Predicted seconds of a group's rows; None where there are no numbers of its kernel, and no shares."""
    own = NCCL if group.form == "collective" and not group.variant.startswith("custom") else ""
    name = own or (engine.kernels if engine is not None else "")
    known = load_kernels(name, gpu) if name and profile is None else None
    if group.form == "module":
        return _module_seconds(group, engine, profile, known)
    if group.form == "sent":
        return _sent_seconds(group, gpu)
    if known is not None:
        fit = known.find(group.form, group.variant, *stand_ins(group.variant))
        return None if fit is None else seconds_of(group, fit.numbers)
    return _by_shares(group, engine, gpu, profile)


def _module_seconds(group: Group, engine: EngineSpec | None, profile: str | None, known: Kernels | None) -> Any:
    """Seconds of whole modules: their operators, and what those do not stand for where it was measured."""
    times = seconds_by_operator(group, module_efficiency(group, engine, profile))
    fit = None if known is None else known.find("module", group.variant)
    kernels = None if times is None else sum(times.values())
    return kernels if fit is None or kernels is None else module_seconds(fit.numbers, kernels)


def _sent_seconds(group: Group, gpu: str) -> Any:
    """Seconds of tokens on their way to experts or back, by the library's way for such exchanges inside a node."""
    hardware, of = load_hardware(gpu), group.sizes
    name, way, _ = group.variant.split("/")
    library = load_library(name).on(hardware)
    copies = "expert" if way == "low latency" else "gpu"
    ways = [each._replace(tokens=None) for each in library.ways if each.inside and each.copies == copies]
    if not ways:
        return None
    Bx, gpus = of["each"], of["gpus"]
    sizes = (of["rows"], of["width"], of["experts"], of["active"], gpus, 1, 1, gpus, Bx, Bx)
    op = ExpertTraffic("sent", "mlp", 1, *sizes, everywhere=False, routing=UNIFORM)
    links = efficiency_for(hardware, None, "bf16", "bf16").kernels
    only = library._replace(ways=tuple(ways[:1]))
    return experts_seconds(only, op, links_of(hardware), links["node"], links["fabric"])


def _by_shares(group: Group, engine: EngineSpec | None, gpu: str, profile: str | None) -> Any:
    """Seconds by shares of the GPU's peaks and bandwidth, as an engine without tables or a profile has them."""
    hardware, name = load_hardware(gpu), group.variant.partition("/")[0]
    width = group.sizes.get("width")
    compute = "bf16" if width is None else width.compute
    weights = compute if width is None else STORED.get(name, name)
    launch: Any = engine.launch if engine is not None else "graph"
    efficiency: Efficiency = efficiency_for(hardware, profile, compute, weights, launch, engine, alone=True)
    chip = chip_of(hardware, compute, "fp8" if group.sizes.get("cache_bytes") == 1 else "bf16")
    operators = _operators(group)
    if operators is None:
        return None
    times = kernel_seconds(operators, chip, efficiency._replace(own=None))
    return None if times is None else sum(times) + np.zeros(len(group.seconds))


def _operators(group: Group) -> Iterable[Operator] | None:
    """The rows of a group as operators whose sizes are arrays; None for kernels that only engines' numbers price."""
    of = group.sizes
    if group.form in ("sparse", "scores", "choice", "recurrence") or "groups" in of:
        return None
    if group.form == "product":
        Bw, Bx = of["width"].weight, of["width"].activation
        return [Gemm("product", "mlp", 1, 1, of["m"], of["k"], of["n"], bias=False, tied=False, Bw=Bw, Bx=Bx)]
    if group.form in ("experts", "spread"):
        Bw, Bx = of["width"].weight, of["width"].activation
        own, hidden, inter = of["experts"] / of["parts"], of["hidden"], of["inter"]
        sizes = {"groups": own, "active": of["topk"] / of["parts"], "bias": False, "Bw": Bw, "Bx": Bx}
        return [
            GroupedGemm("first", "mlp", 1, 1, of["tokens"], hidden, (of["products"] - 1) * inter, **sizes),
            GroupedGemm("second", "mlp", 1, 1, of["tokens"], inter, hidden, **sizes),
        ]
    if group.form == "collective":
        exchange = "all_reduce" if group.variant.startswith("custom") else group.variant
        return [Collective("sum", "mlp", 1, exchange, of["payload"] / 2, 1, of["gpus"], 1, of["gpus"], 2)]  # type: ignore[arg-type]
    windowed = isinstance(of["window"], np.ndarray)
    kind: dict[str, Any] = {"span": "window" if windowed else "all", "w": of["window"], "Bx": 2, "streamed": 0}
    kind |= {"sinks": False, "shared": False, "Bkv": of["cache_bytes"], "kv_heads": of["kv_heads"]}
    if group.form == "prefill":
        cached = of["kv_heads"] * (of["d"] + of["dv"])
        sizes = {"s": of["queries"], "d": of["d"], "dv": of["dv"], "cached": cached}
    else:
        latent = group.variant.endswith("/latent")
        size = {"d": LATENT, "dv": 512} if latent else dict.fromkeys(("d", "dv"), of["cached"] / 2)
        sizes = {"s": 1, "cached": of["kv_heads"] * of["cached"], "decode": True, "latent": latent} | size
    return [Attention("attention", "attention", 1, b=of["batch"], c=of["keys"], a=of["heads"], **sizes, **kind)]
