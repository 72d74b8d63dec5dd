"""The answer of `llmcost accuracy`: predictions against measurements by source, engine and GPU, and what stands out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from llmcost.accuracy.bands import KindErrors, by_kind, with_nameless
from llmcost.accuracy.cases import Case, class_of
from llmcost.accuracy.fit_defaults import role_of
from llmcost.accuracy.left_out import LeftOut, left_out
from llmcost.accuracy.score import Check, Fits, Group, beating, by_engine, by_gpu, by_source, fit_calls, group, worst
from llmcost.ground.html import html_table

SCHEMA = "llmcost.accuracy/1"
OPTIMISED = ("optimised", "kernel", "training")  # classes of engines that predictions stand for


class Scoreboard(NamedTuple):
    """How far predictions are off. `by_gpu` and `worst` are of OPTIMISED classes alone; `worst`: furthest off first.

    `by_kind`: what answers state beside their figures; nothing where a profile was asked for. `left_out`: training by
    shares that were chosen without each group, where that was asked for.
    """

    cases: int
    by_source: list[Group]
    by_engine: list[Group]
    by_gpu: list[Group]
    by_kind: list[KindErrors]
    fits: list[Fits]
    beating: list[Check]
    worst: list[Check]
    figures: list[dict[str, Any]]
    left_out: list[LeftOut] = []  # noqa: RUF012 - a shared empty default that nothing writes to

    def rows(self) -> list[dict[str, Any]]:
        """A row a figure, in base units."""
        return self.figures

    def to_dict(self) -> dict[str, Any]:
        """The document of `llmcost accuracy --json`, in base units."""
        return {
            "schema": SCHEMA,
            "cases": self.cases,
            "by_source": _documents(self.by_source, ("source", "class", "quantity", "defaults")),
            "by_engine": _documents(self.by_engine, ("class", "engine")),
            "by_gpu": _documents(self.by_gpu, ("gpu",)),
            "by_kind": _documents(self.by_kind, ("basis", "engine", "family", "models", "phase")),
            "fits": _documents(self.fits, ("source",)),
            "beating_limit": [{"case": each.case.name, "why": each.why} for each in self.beating],
            "figures": self.figures,
            "left_out": [each.to_dict() for each in self.left_out],
        }

    def __repr__(self) -> str:
        """In one line: how many figures, whether fits were called right, what beats the limit."""
        right, called = sum(each.right for each in self.fits), sum(each.cases for each in self.fits)
        fits = f", {right:,} of {called:,} called right whether they fit" if called else ""
        beating = f"{len(self.beating)} beat the limit"
        return f"<Scoreboard of {self.cases:,} cases: {len(self.figures):,} figures{fits}, {beating}>"

    def _repr_html_(self) -> str:
        names = ("source", "class", "quantity", "defaults")
        return html_table(repr(self), _documents(self.by_source, names))


def scoreboard(
    cases: Sequence[Case],
    checks: Sequence[Check],
    number_of_worst: int = 0,
    *,
    profile: str | None = None,
    leave_out: str | None = None,
) -> Scoreboard:
    """Checks of some cases in groups. Memory is in those by source alone. `profile`: what they were predicted by.

    `leave_out`: the groups of training runs that are left out of the fit in turn (left_out.GROUPS).
    """
    timed = [each for each in checks if each.answer.quantity != "memory_bytes"]
    optimised = [each for each in checks if class_of(each.case) in OPTIMISED]
    return Scoreboard(
        cases=len(cases),
        by_source=group(checks, by_source),
        by_engine=group(timed, by_engine),
        by_gpu=group([each for each in timed if class_of(each.case) in OPTIMISED], by_gpu),
        by_kind=by_kind(with_nameless(checks)) if profile is None else [],
        fits=fit_calls(cases, lambda case: (case.source.name,)),
        beating=beating(checks),
        worst=worst(optimised, number_of_worst) if number_of_worst else [],
        figures=[_figure(each) for each in checks],
        left_out=[] if leave_out is None else left_out(leave_out, {case.name for case in cases}),
    )


def _figure(each: Check) -> dict[str, Any]:
    case, answer = each.case, each.answer
    return {
        "case": case.name,
        "source": case.source.name,
        "engine": case.settings["engine"],
        "class": class_of(case),
        "gpu": case.settings["gpu"],
        "gpus": case.settings["gpus"],
        "model": case.settings["model"],
        "quantity": answer.quantity,
        "measured": answer.measured,
        "expected": answer.expected,
        "limit": answer.limit,
        "beats_limit": answer.beats_limit,
        "defaults": role_of(case),
    }


def _documents(groups: Iterable[Group | Fits | KindErrors], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Groups as dicts, with the parts of `of` under these names."""
    return [
        dict(zip(names, each.of, strict=True)) | {name: value for name, value in each._asdict().items() if name != "of"}
        for each in groups
    ]
