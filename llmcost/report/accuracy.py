"""The scoreboard: predictions beside published measurements, by source, engine and GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from llmcost.accuracy.cases import Case, class_of
from llmcost.accuracy.fit_defaults import role_of
from llmcost.accuracy.score import Check, Fits, Group, beating, by_engine, by_gpu, by_source, fit_calls, group, worst
from llmcost.ground.units import significant
from llmcost.report.tables import Table

UNKNOWN = "–"
FIGURES = ("figures", "predicted", "ratio", "median error", "90 % within", "beat limit")
RATIO = "ratio: predicted over measured, median. Errors: |predicted / measured - 1|. 90 % within: of the figures."
CLASSES = (
    "Predictions stand for an engine of the class optimised, which launches its kernels as the engine measured does. The other",
    "classes are shown for how far they are from it: an eager loop in Python, a scheduler between steps, other arithmetic.",
)
ROLES = "fitted: some of the figures had a part in a default. scored: none had."
OPTIMISED = ("optimised", "kernel", "training")


def accuracy_tables(cases: list[Case], checks: list[Check], number_of_worst: int) -> list[Table]:
    """Everything that `llmcost accuracy` prints of some cases and their checks."""
    tables = [
        _groups(
            "By source",
            ("source", "engine class", "measured", "defaults"),
            "llll",
            checks,
            by_source,
            (RATIO, ROLES, *CLASSES),
        ),
        _groups("By engine", ("class", "engine"), "ll", _timed(checks), by_engine),
        _groups(
            "By GPU, optimised engines, single kernels and training",
            ("GPU",),
            "l",
            [c for c in _timed(checks) if _optimised(c)],
            by_gpu,
        ),
        _fits(fit_calls(cases, lambda case: (case.source.name,))),
        _faster(beating(checks)),
    ]
    if number_of_worst:
        tables.append(_worst(worst([c for c in checks if _optimised(c)], number_of_worst)))
    return [table for table in tables if table.rows or table.notes]


def accuracy_document(cases: list[Case], checks: list[Check]) -> dict[str, object]:
    """The same as plain data, and every figure."""
    return {
        "schema": "llmcost.accuracy/1",
        "cases": len(cases),
        "by_source": _documents(group(checks, by_source), ("source", "class", "quantity", "defaults")),
        "by_engine": _documents(group(_timed(checks), by_engine), ("class", "engine")),
        "by_gpu": _documents(group([c for c in _timed(checks) if _optimised(c)], by_gpu), ("gpu",)),
        "fits": [
            dict(zip(("source",), each.of, strict=True)) | _plain(each)
            for each in fit_calls(cases, lambda case: (case.source.name,))
        ],
        "beating_limit": [{"case": each.case.name, "why": each.why} for each in beating(checks)],
        "figures": accuracy_rows(checks),
    }


def accuracy_rows(checks: Iterable[Check]) -> list[dict[str, object]]:
    """One row a figure, in base units."""
    return [
        {
            "case": each.case.name,
            "source": each.case.source.name,
            "engine": each.case.settings["engine"],
            "class": class_of(each.case),
            "gpu": each.case.settings["gpu"],
            "gpus": each.case.settings["gpus"],
            "model": each.case.settings["model"],
            "quantity": each.answer.quantity,
            "measured": each.answer.measured,
            "expected": each.answer.expected,
            "limit": each.answer.limit,
            "beats_limit": each.answer.beats_limit,
            "defaults": role_of(each.case),
        }
        for each in checks
    ]


def _timed(checks: list[Check]) -> list[Check]:
    return [each for each in checks if each.answer.quantity != "memory_bytes"]


def _optimised(each: Check) -> bool:
    return class_of(each.case) in OPTIMISED


def _groups(
    title: str,
    columns: tuple[str, ...],
    align: str,
    checks: list[Check],
    key: Callable[[Check], tuple[str, ...]],
    notes: tuple[str, ...] = (),
) -> Table:
    rows = [(*(word.replace("_", " ") for word in each.of), *_figures(each)) for each in group(checks, key)]
    return Table(title, (*columns, *FIGURES), align + "r" * len(FIGURES), rows, notes)


def _figures(each: Group) -> tuple[str, ...]:
    ratio = UNKNOWN if each.median_ratio is None else f"{each.median_ratio:.2f}"
    beat = (
        f"{each.beat_limit}"
        if each.beat_limit == 0 or not each.unexplained
        else f"{each.beat_limit}, {each.unexplained} unexplained"
    )
    return (
        f"{each.figures:,}",
        f"{each.predicted:,}",
        ratio,
        _percent(each.median_error),
        _percent(each.p90_error),
        beat,
    )


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1%}"


def _fits(calls: list[Fits]) -> Table:
    rows = [
        (*each.of, f"{each.cases:,}", f"{each.right:,}", f"{each.out_of_memory:,}", f"{each.out_of_memory_right:,}")
        for each in calls
    ]
    notes = []
    if calls:
        cases, right = sum(each.cases for each in calls), sum(each.right for each in calls)
        notes = [f"Of {cases:,} cases {right:,} were called right: {right / cases:.1%}."]
    columns = ("source", "cases", "called right", "out of memory", "of these called right")
    return Table("Whether it fits", columns, "lrrrr", rows, tuple(notes))


def _faster(checks: list[Check]) -> Table:
    rows = [
        (each.case.name, each.answer.quantity.replace("_", " "), _over(each), each.why or "NOT EXPLAINED")
        for each in checks
    ]
    notes = () if rows else ("No measurement beats our limit.",)
    return Table("Measurements that beat our limit", ("case", "measured", "by", "why"), "llrl", rows, notes)


def _over(each: Check) -> str:
    limit, measured = each.answer.limit or 1, each.answer.measured
    return _percent((measured / limit if each.answer.is_rate else limit / measured) - 1)


def _worst(checks: list[Check]) -> Table:
    rows = [
        (
            each.case.name,
            each.case.settings["engine"] or "",
            each.case.settings["model"] or each.case.settings["op"] or "",
            f"{each.case.settings['gpus']} x {each.case.settings['gpu']}",
            each.answer.quantity.replace("_", " "),
            significant(each.answer.measured),
            significant(each.answer.expected or 0),
            f"{each.answer.ratio:.2f}",
        )
        for each in checks
    ]
    columns = ("case", "engine", "model or kernel", "GPUs", "measured", "is", "predicted", "ratio")
    return Table("Furthest off, optimised engines, single kernels and training", columns, "lllllrrr", rows)


def _documents(groups: list[Group], names: tuple[str, ...]) -> list[dict[str, object]]:
    return [dict(zip(names, each.of, strict=True)) | _plain(each) for each in groups]


def _plain(each: Group | Fits) -> dict[str, object]:
    return {name: value for name, value in each._asdict().items() if name != "of"}
