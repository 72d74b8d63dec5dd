"""Simulations of several rates, layouts and GPUs, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.ground.together import Together
from llmcost.ground.units import counted
from llmcost.model.spec import ModelSpec
from llmcost.serving.options import Options
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.results import Simulation, Spread
from llmcost.simulation.run import simulate
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.simulations/1"
MOST_RUNS = 10_000
FIGURES = (
    *("gpus", "requests_per_s", "output_tokens_per_s", "goodput", "overloaded", "preemptions", "cache_hit_rate"),
    *("dollars_per_million_output_tokens", "joules_per_million_output_tokens"),
)
TIMES = ("ttft_seconds", "tpot_seconds", "latency_seconds")


class Asked(NamedTuple):
    """One run: a GPU, the options that differ between runs, and the answer, or why there is none."""

    hardware: str
    chosen: dict[str, Any]
    found: Simulation | None
    why_not: str = ""

    def row(self) -> dict[str, Any]:
        """What was chosen, figures, and times with their percentiles, in base units; None where there is no answer."""
        row = {"hw": self.hardware, **self.chosen}
        row |= {name: getattr(self.found, name, None) for name in FIGURES}
        for name in TIMES:
            spread = getattr(self.found, name, None) or Spread(*[None] * len(Spread._fields))
            row |= {f"{name}.{each}": value for each, value in spread._asdict().items()}
        return row


class Simulations(NamedTuple):
    """Everything that `llmcost simulate` answers of several runs; `varied`: the options that differ between them."""

    model: str
    varied: tuple[str, ...]
    runs: tuple[Asked, ...]
    interrupted: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """A row a run that has an answer."""
        return [each.row() for each in self.runs if each.found is not None]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        runs = [{"hardware": each.hardware, **each.chosen, **each.found.to_dict()} for each in self.runs if each.found]
        left_out = [
            {"hardware": each.hardware, **each.chosen, "reason": each.why_not} for each in self.runs if not each.found
        ]
        return {
            "schema": SCHEMA,
            "model": self.model,
            "varied": list(self.varied),
            "interrupted": self.interrupted,
            "runs": runs,
            "left_out": left_out,
        }

    def __repr__(self) -> str:
        """In one line: how many runs."""
        return f"<Simulations of {self.model}: {counted(len(self.rows()), 'run')} over {', '.join(self.varied)}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


def runs_of(
    model: ModelSpec,
    chips: Sequence[HardwareSpec],
    options: Options,
    chosen: SimulationOptions,
    varied: Mapping[str, Sequence[Any]],
    prices: Mapping[str, float],
    together: Together,
) -> Iterator[Asked]:
    """Every GPU with every combination of the values that vary, in order; each as `simulate` gives it alone.

    `prices`: dollars a GPU-hour by name. Raises InputError for too many runs.
    """
    points = [dict(zip(varied, each, strict=True)) for each in product(*varied.values())]
    if len(points) * len(chips) > MOST_RUNS:
        raise InputError(f"{len(points) * len(chips):,} runs, above {MOST_RUNS:,}: choose fewer values")
    asked = [(chip, point) for chip in chips for point in points]
    arguments = (
        (model, chip, options._replace(**point), chosen._replace(price=prices.get(chip.name))) for chip, point in asked
    )
    for (chip, point), (found, why_not) in zip(asked, together.results(_run, arguments), strict=True):
        yield Asked(chip.name, point, found, why_not)


def _run(
    model: ModelSpec, chip: HardwareSpec, options: Options, chosen: SimulationOptions
) -> tuple[Simulation | None, str]:
    """One run without its timeline; the reason where options contradict each other or the model."""
    try:
        return simulate(model, chip, options, chosen)._replace(timeline=()), ""
    except InputError as refusal:
        return None, str(refusal)
