"""The cheapest set-ups that serve requests at a rate within limits on TTFT and TPOT, found by simulation.

A set-up is a kind of GPU, a precision, so many GPUs of a replica, and the fewest replicas of it whose slowest requests
keep the limits. How many that may be is guessed from the steady state of `estimate`: the rate over what one replica
answers when it is full. From there on replicas are added or taken away, and each number is simulated. Prompts may run
apart from decode, on replicas of their own (rate_apart.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count, product
from math import ceil
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError, check_word
from llmcost.ground.html import html_table
from llmcost.ground.options import check_options
from llmcost.ground.together import Together
from llmcost.ground.units import counted
from llmcost.model.spec import ModelSpec
from llmcost.search.fit import GPUS, LeftOut, Precision, usual_precisions
from llmcost.search.rate_apart import fewest_apart
from llmcost.search.rate_offers import LEAST, TIMES_GUESSED, Asked, RateOffer
from llmcost.serving.apart import check_apart
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import to_dict
from llmcost.simulation.cluster import MOST_REPLICAS, Cluster
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.results import Spread
from llmcost.simulation.run import Replicas, Run, kind_of, mean_lengths, traffic_of
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.fit_rate/1"


class RateOffers(NamedTuple):
    """Everything `llmcost fit --rate --ttft --tpot` answers: the cheapest first, or those with the fewest GPUs.

    `prompt`, `output`: tokens of the mean request.
    """

    model: str
    rate: float
    prompt: int
    output: int
    at: str
    ttft_seconds: float | None
    tpot_seconds: float | None
    offers: tuple[RateOffer, ...]
    left_out: tuple[LeftOut, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row an offer, in base units."""
        return [to_dict(offer) for offer in self.offers]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        lists = {"offers": self.rows(), "left_out": [to_dict(each) for each in self.left_out]}
        return {"schema": SCHEMA} | self._asdict() | lists

    def __repr__(self) -> str:
        """In one line, with the first."""
        if not self.offers:
            return f"<Offers for {self.model} at {self.rate:g} requests/s: none keeps the limits>"
        first = self.offers[0]
        return f"<Offers for {self.model} at {self.rate:g} requests/s: first {first.gpus} × {first.hardware}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


def fit_rate(
    model: ModelSpec,
    hardware: Iterable[HardwareSpec],
    options: Options,
    chosen: SimulationOptions,
    at: str = "p99",
    gpus: Sequence[int] = GPUS,
    precisions: Sequence[Precision] | None = None,
    prices: dict[str, float] | None = None,
    together: Together = Together(jobs=1),  # noqa: B008
    told: Callable[[str], None] | None = None,
    *,
    apart: bool = False,
) -> RateOffers:
    """The set-ups that hold `--rate` within the limits of `chosen` (milliseconds), of each precision and replica.

    `gpus`: of a replica. `prices`: dollars a GPU-hour by name, "" for all others. `together`: where set-ups are
    simulated; what each gives does not depend on it. `told`: is called with each set-up that has been tried. `apart`:
    also set-ups that run prompts apart from decode. Raises InputError where no rate or no limit is given.
    """
    if options.rate is None:
        raise InputError("--ttft and --tpot are limits of requests that arrive at a rate; give --rate too")
    check_word("--at", at, Spread._fields)
    check_options(chosen)
    traffic_of(model, options, chosen)  # options that contradict each other do so for every set-up
    prompt, output = mean_lengths(model, options, chosen)
    ways: tuple[tuple[int, ...], ...] = ((), tuple(gpus)) if apart else ((),)
    if apart:
        check_apart(model, options._replace(output=output, requests=None), "--apart")
    asked = [
        (
            Asked(model, chip, options._replace(gpus=number, **precision._asdict()), chosen, at, _price(chip, prices)),
            prompt_gpus,
        )
        for prompt_gpus, chip, number, precision in product(
            ways, hardware, gpus, precisions or usual_precisions(model, options.engine)
        )
    ]
    offers: list[RateOffer] = []
    left_out: list[LeftOut] = []
    for (one, prompt_gpus), answer in zip(asked, together.results(_offered, asked), strict=True):
        if told is not None:
            split = ", prompts apart" if prompt_gpus else ""
            told(f"{one.options.gpus} × {one.chip.name}, weights {one.options.weight_dtype}{split}")
        if isinstance(answer, RateOffer):
            offers.append(answer)
        else:
            left_out.append(answer)
    found = {
        (each.hardware, each.tp, each.pp, each.dtype, each.weight_dtype, each.prompt_tp, each.prompt_pp): each
        for each in offers
    }
    ranked = sorted(found.values(), key=lambda each: (each.price_per_hour or 0, each.gpus))
    ttft, tpot = [None if limit is None else limit / 1000 for limit in (chosen.ttft, chosen.tpot)]
    return RateOffers(model.name, options.rate, prompt, output, at, ttft, tpot, tuple(ranked), tuple(left_out))


def _price(chip: HardwareSpec, prices: dict[str, float] | None) -> float | None:
    known = prices or {}
    return known.get(chip.name, known.get(""))


def _offered(asked: Asked, prompt_gpus: Sequence[int]) -> RateOffer | LeftOut:
    """The offer of one kind of replica, or why there is none. `prompt_gpus`: of replicas for prompts; none: no such."""
    options = asked.options
    try:
        asked = asked._replace(options=asked.under_usual())
        return fewest_apart(asked, prompt_gpus) if prompt_gpus else _fewest(asked)
    except InputError as refusal:
        why = f"prompts apart: {refusal}" if prompt_gpus else str(refusal)
        return LeftOut(asked.chip.name, options.gpus, options.dtype, options.weight_dtype, why)


def _fewest(asked: Asked) -> RateOffer:
    """The fewest replicas that keep the limits. Raises InputError where none do."""
    model, chip, options, chosen, *_ = asked
    kind = kind_of(model, chip, asked.of_means(), chosen)
    steady = estimate(model, chip, asked.of_means()._replace(requests=LEAST)).serving
    answered = None if steady is None else steady.expected.requests_per_s
    if not answered:
        raise InputError(f"{chip.title}: no source gives all figures that a step's time takes")
    guess = max(1, ceil(options.rate / answered))
    if TIMES_GUESSED * guess > MOST_REPLICAS:
        most = f"more than the {MOST_REPLICAS // TIMES_GUESSED:,} replicas that are simulated"
        raise InputError(f"{most} would be needed for {options.rate:g} requests a second; ask for a part of the rate")
    tried: dict[int, Run] = {}

    def holds(replicas: int) -> bool:
        if replicas not in tried:
            gpus, pool = replicas * kind.step.workload.gpus, kind.pool(count(), chosen.router, replicas)
            tried[replicas] = asked.simulated(gpus, Cluster(pool))
        return asked.keeps(tried[replicas])

    low, high = 0, guess
    while not holds(high):
        low, high = high, high + max(1, high // 2)
        if high > TIMES_GUESSED * guess:
            worst, on = asked.told(tried[low]), counted(options.gpus, "GPU")
            raise InputError(
                f"{counted(low, 'replica')} of {on} {'does' if low == 1 else 'do'} not keep the limits: {worst}"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return asked.offer(tried[high], Replicas(kind, high))
