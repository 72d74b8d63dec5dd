"""What `llmcost plan --plot` draws: the best of each tp and pp as a map, the best layouts, the front of serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llmcost.ground.units import scaled, seconds
from llmcost.report.charts import Bars, Cell, Line, Panel
from llmcost.report.figures import degrees_of
from llmcost.search.causes import CAUSES
from llmcost.search.pareto import Point
from llmcost.search.plan_serving import AXES, ServingPlan
from llmcost.search.plan_training import TrainingPlan
from llmcost.search.serving_layouts import ServingCandidate

FRONT, ALL, REFUSED = 0, 6, 1  # numbers of colours: of the front, of other points, of points beyond a limit
MOST_NAMED = 8  # layouts of a front that are named
MOST_ROWS = 12  # layouts with a bar


def training_panels(found: TrainingPlan) -> list[Panel]:
    """The best step of each tp and pp, the fastest layouts, and why others lose."""
    known = {(cell.tp, cell.pp): cell.step_seconds for cell in found.grid}
    missing = {(cell.tp, cell.pp): f"+{scaled(cell.missing_bytes, 'B')}" for cell in found.grid}
    note = "with a plus: nothing fits, and the smallest needs so much more" if None in known.values() else ""
    panels = [_map("Best step by tp and pp", note, known, seconds, missing, least=True)]
    if found.best:
        names = [degrees_of(each.layout, ("tp", "cp", "pp", "vp", "dp", "ep")) or "one GPU" for each in found.best]
        steps = [each.step_seconds for each in found.best[:MOST_ROWS]]
        panels.append(
            Panel(
                "Fastest layouts",
                "seconds of a step",
                "",
                bars=[Bars("", 0, steps)],
                groups=[_distinct(names, place, found) for place in range(len(steps))],
                note=f"{found.fit:,} of {found.timed:,} legal layouts fit",
                sideways=True,
            )
        )
    if found.lost:
        causes = [CAUSES[each.cause] for each in found.lost]
        bars = [Bars("", 1, [each.layouts for each in found.lost])]
        note = "by what they spend most more time on than the best"
        panels.append(Panel("Why others lose", "layouts", "", bars=bars, groups=causes, note=note, sideways=True))
    return panels


def _distinct(names: Sequence[str], place: int, found: TrainingPlan) -> str:
    """A layout's degrees, with what else tells it from others of the same degrees."""
    if names.count(names[place]) == 1:
        return names[place]
    at = found.best[place].layout
    return f"{names[place]}\nZeRO-{at.zero}, mb {at.micro_batch}, {at.recompute}"


def serving_panels(found: ServingPlan, tried: Sequence[Point]) -> list[Panel]:
    """The front of tokens a second of a GPU and of a user, and the best of each tp and pp within the limits.

    `found`: with all layouts that serve anybody.
    """
    best: dict[tuple[int, int], ServingCandidate] = {}
    for each in found.best:  # the best come first
        best.setdefault((each.layout.tp, each.layout.pp), each)
    rates: dict[tuple[int, int], float | None] = {place: each.tokens_per_s_per_gpu for place, each in best.items()}
    panels = [_front(found, tried)] if tried else []
    if rates:
        note = "tokens/s a GPU, within the limits" if found.question.ttft or found.question.tpot else "tokens/s a GPU"
        panels.append(_map("Best by tp and pp", note, rates, lambda rate: f"{rate:,.0f}", {}, least=False))
    return panels


def _front(found: ServingPlan, tried: Sequence[Point]) -> Panel:
    """Points by what a user and what a GPU gets; a name where the layout of the front changes."""
    front = [each for each in tried if each.front]
    places = [0] + [place for place in range(1, len(front)) if front[place].layout != front[place - 1].layout]
    named = set(places[:: -(-len(places) // MOST_NAMED)])
    notes = [_name(each) if place in named else "" for place, each in enumerate(front)]
    others = [("within the limits", ALL, True), ("beyond a limit", REFUSED, False)]
    if not (found.question.ttft or found.question.tpot):
        others = [("other layouts and loads", ALL, True)]
    lines = [
        _line(label, number, [each for each in tried if each.allowed is allowed and not each.front])._replace(
            joined=False, marker="."
        )
        for label, number, allowed in others
    ]
    lines.append(_line("front", FRONT, front)._replace(notes=notes, solid=[each.allowed for each in front]))
    note = "beside points: layout, requests in flight" + "; hollow: beyond a limit" * (len(others) > 1)
    return Panel(
        "What a GPU gives against what a user gets",
        "tokens/s a user (1 / TPOT)",
        "tokens/s a GPU",
        [line for line in lines if line.x],
        note=note,
    )


def _line(label: str, number: int, of: Sequence[Point]) -> Line:
    return Line(label, number, [each.tokens_per_s_per_user for each in of], [each.tokens_per_s_per_gpu for each in of])


def _name(each: Point) -> str:
    return f"{degrees_of(each.layout, AXES) or 'one GPU'}: {each.concurrency:,}"


def _map(
    title: str,
    note: str,
    known: Mapping[tuple[int, int], float | None],
    text: Callable[[float], str],
    instead: Mapping[tuple[int, int], str],
    *,
    least: bool,
) -> Panel:
    """A field for each degree of tensor (down) and pipeline parallelism (across), the best one darkest."""
    tps, pps = sorted({tp for tp, _ in known}), sorted({pp for _, pp in known})
    values = [value for value in known.values() if value is not None]
    best = (min if least else max)(values, default=1.0)
    cells = []
    for (tp, pp), value in known.items():
        shade = None if value is None else best / value if least else value / best
        shown = instead[tp, pp] if value is None else text(value)
        cells.append(Cell(pps.index(pp), tps.index(tp), shown, shade))
    return Panel(
        title,
        "pipeline stages (pp)",
        "GPUs of tensor parallelism (tp)",
        cells=cells,
        groups=[f"{pp}" for pp in pps],
        rows=[f"{tp}" for tp in tps],
        note=note,
    )
