"""The scoreboard: predictions beside published measurements, by source, engine and GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from statistics import fmean, median

from llmcost.accuracy.bands import KindErrors
from llmcost.accuracy.left_out import LeftOut
from llmcost.accuracy.score import Check, Fits, Group
from llmcost.accuracy.scoreboard import Scoreboard
from llmcost.ground.units import significant
from llmcost.machine.bands import FEWEST
from llmcost.report.tables import Table, under

UNKNOWN = "–"
FIGURES = ("figures", "predicted", "ratio", "median error", "90 % within", "beat limit")
RATIO = "ratio: predicted over measured, median. Errors: |predicted / measured - 1|. 90 % within: of the figures."
CLASSES = (
    "Predictions are by the measured engine's own file (llmcost engines). One without a file is predicted as an engine",
    "of the class optimised that starts kernels as it does: errors of other classes tell how far they are from that.",
)
COLUMNS = {  # of the summary -> the phases that it sums up
    "a token": ("decode", "tpot"),
    "a prompt": ("prefill",),
    "TTFT under load": ("ttft",),
}
LAST = "throughput, training"
SUMMED = (
    f"Mean of |predicted / published - 1| over runs that had no part in a fit; families of GPUs with {FEWEST} figures "
    "and more."
)
LEFT_OUT = "Errors: median of |predicted / measured - 1| of times. speed: predicted over measured, median."
_SHIPPED, _ERRORS = attrgetter("shipped"), attrgetter("errors")
ROLES = "fitted: some of the figures had a part in a default. scored: none had."


def accuracy_tables(board: Scoreboard, engine: str | None = None) -> list[Table]:
    """The tables of `llmcost accuracy`: errors by group, calls whether a model fits, what beats the limit or is off.

    `engine`: whose runs alone were asked for.
    """
    sources = ("source", "engine class", "measured", "defaults")
    tables = [
        summary(board.by_kind),
        _groups(f"By source{under(engine)}", sources, "llll", board.by_source, (RATIO, ROLES, *CLASSES)),
        _groups("By engine", ("class", "engine"), "ll", board.by_engine),
        _groups("By GPU, optimised engines, single kernels and training", ("GPU",), "l", board.by_gpu),
        _kinds(board.by_kind),
        _fits(board.fits),
        _faster(board.beating),
    ]
    if board.left_out:
        tables.append(_left_out(board.left_out))
    if board.worst:
        tables.append(_worst(board.worst))
    return [table for table in tables if table.rows or table.notes]


def _groups(
    title: str, columns: tuple[str, ...], align: str, groups: Iterable[Group], notes: tuple[str, ...] = ()
) -> Table:
    """A row for each group, under `columns` for what it is of and FIGURES."""
    rows = [(*(word.replace("_", " ") for word in each.of), *_figures(each)) for each in groups]
    return Table(title, (*columns, *FIGURES), align + "r" * len(FIGURES), rows, notes)


def _figures(each: Group) -> tuple[str, ...]:
    ratio = UNKNOWN if each.median_ratio is None else f"{each.median_ratio:.2f}"
    beat = f"{each.beat_limit}" + (f", {each.unexplained} unexplained" if each.unexplained else "")
    errors = (_percent(each.median_error), _percent(each.p90_error))
    return (f"{each.figures:,}", f"{each.predicted:,}", ratio, *errors, beat)


def summary(kinds: Iterable[KindErrors]) -> Table:
    """One row an engine: the mean error of each kind of figure on each family of GPUs, as answers state it.

    Dense models and those with experts together, weighted by their figures; kinds of too few figures are left out.
    """
    found: dict[str, dict[str, dict[str, list[KindErrors]]]] = {}
    for each in kinds:
        _, engine, family, _, phase = each.of
        column = next((column for column, phases in COLUMNS.items() if phase in phases), LAST)
        if each.figures >= FEWEST:
            found.setdefault(engine, {}).setdefault(column, {}).setdefault(family, []).append(each)
    rows = [
        (engine, *(_by_family(columns.get(column, {})) for column in (*COLUMNS, LAST)))
        for engine, columns in sorted(found.items())
    ]
    return Table("How far off answers are, by engine", ("engine", *COLUMNS, LAST), "lllll", rows, (SUMMED,))


def _by_family(families: Mapping[str, Sequence[KindErrors]]) -> str:
    """Each family of GPUs with its error, the least one first."""
    errors = {
        family: fmean([each.mean_error for each in parts], [each.figures for each in parts])
        for family, parts in families.items()
    }
    return ", ".join(f"{family} {error:.0%}" for family, error in sorted(errors.items(), key=itemgetter(1))) or UNKNOWN


def _kinds(kinds: Iterable[KindErrors]) -> Table:
    """The errors that answers state."""
    rows = [
        (
            phase,
            models,
            family,
            engine,
            basis,
            f"{each.figures:,}",
            f"{each.sources:,}",
            f"{each.mean_error:.0%}",
            f"{each.median_error:.0%}",
        )
        for each in kinds
        for basis, engine, family, models, phase in [each.of]
    ]
    columns = ("phase", "models", "GPUs", "engine", "rests on", "figures", "sources", "mean error", "median error")
    title = f"By kind of case, as answers state it from {FEWEST} figures on: scored ones, each measurement once"
    return Table(title, columns, "lllllrrrr", sorted(rows))


def _left_out(groups: list[LeftOut]) -> Table:
    """Training by shares that were chosen without each group, beside those that ship."""
    rows = [
        (
            each.group,
            each.models,
            f"{len(each.errors):,}",
            _percent(median(each.shipped)),
            _percent(median(each.errors)),
            f"{each.speed:.2f}",
        )
        for each in groups
    ]
    notes = [_all_left_out(groups, models) for models in dict.fromkeys(each.models for each in groups)]
    columns = ("left out", "models", "runs", "error as shipped", "error without it", "speed without it")
    return Table("Training, each group left out of the fit in turn", columns, "llrrrr", rows, (*notes, LEFT_OUT))


def _all_left_out(groups: list[LeftOut], models: str) -> str:
    """The errors of all runs of such models together."""
    of = [each for each in groups if each.models == models]
    shipped, errors = ([error for each in of for error in pick(each)] for pick in (_SHIPPED, _ERRORS))
    runs, off, without = f"{len(errors):,}", _percent(median(shipped)), _percent(median(errors))
    if models == "experts":
        return f"All {runs} runs with experts: {off} off as shipped, {without} left out."
    return f"All {runs} runs of dense models: {off} off as shipped, {without} left out."


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
    """By how much the measurement is faster than the limit."""
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
