"""The cheapest set-ups that serve requests at a rate within limits on TTFT and TPOT, found by simulation.

A set-up is a kind of GPU, a precision, so many GPUs of a replica, and the fewest replicas of it whose slowest requests
keep the limits. How many that may be is guessed from the steady state of `estimate`: the rate over what one replica
answers when it is full. From there on replicas are added or taken away, and each number is simulated.
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
from llmcost.search.prices import price_per_million_tokens
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import to_dict
from llmcost.simulation.cluster import MOST_REPLICAS, Cluster
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.results import Spread
from llmcost.simulation.run import Kind, Run, kind_of, mean_lengths, traffic_of
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.fit_rate/1"
SECONDS, LEAST, MOST = 60, 1000, 10000  # requests that are simulated: those of a minute, at least and at most so many
TIMES_GUESSED = 4  # replicas that are tried, over those of the steady state


class RateOffer(NamedTuple):
    """A set-up that holds the limits. Times are seconds, of the share of requests asked for (`at`)."""

    hardware: str
    title: str
    gpus: int
    replicas: int
    tp: int
    pp: int
    dtype: str
    weight_dtype: str
    ttft_seconds: float | None
    tpot_seconds: float | None
    requests_per_s: float
    output_tokens_per_s: float
    busy_share: float
    price_per_hour: float | None
    price_per_million_tokens: float | None


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
) -> RateOffers:
    """The set-ups that hold `--rate` within the limits of `chosen` (milliseconds), of each precision and replica.

    `gpus`: of a replica. `prices`: dollars a GPU-hour by name, "" for all others. `together`: where set-ups are
    simulated; what each gives does not depend on it. `told`: is called with each set-up that has been tried. Raises
    InputError where no rate or no limit is given.
    """
    if options.rate is None:
        raise InputError("--ttft and --tpot are limits of requests that arrive at a rate; give --rate too")
    check_word("--at", at, Spread._fields)
    check_options(chosen)
    traffic_of(model, options, chosen)  # options that contradict each other do so for every set-up
    prompt, output = mean_lengths(model, options, chosen)
    asked = [
        (model, chip, options._replace(gpus=number, **precision._asdict()), chosen, at, _price(chip, prices or {}))
        for chip, number, precision in product(hardware, gpus, precisions or usual_precisions(model, options.engine))
    ]
    offers: list[RateOffer] = []
    left_out: list[LeftOut] = []
    for (_, chip, here, *_), answer in zip(asked, together.results(_offered, asked), strict=True):
        if told is not None:
            told(f"{here.gpus} × {chip.name}, weights {here.weight_dtype}")
        if isinstance(answer, RateOffer):
            offers.append(answer)
        else:
            left_out.append(answer)
    found = {(each.hardware, each.tp, each.pp, each.dtype, each.weight_dtype): each for each in offers}
    ranked = sorted(found.values(), key=lambda each: (each.price_per_hour or 0, each.gpus))
    ttft, tpot = [None if limit is None else limit / 1000 for limit in (chosen.ttft, chosen.tpot)]
    return RateOffers(model.name, options.rate, prompt, output, at, ttft, tpot, tuple(ranked), tuple(left_out))


def _price(chip: HardwareSpec, prices: dict[str, float]) -> float | None:
    return prices.get(chip.name, prices.get(""))


def _offered(
    model: ModelSpec, chip: HardwareSpec, options: Options, chosen: SimulationOptions, at: str, price: float | None
) -> RateOffer | LeftOut:
    """The offer of one kind of replica, or why there is none."""
    try:
        return _fewest(model, chip, options, chosen, at, price)
    except InputError as refusal:
        return LeftOut(chip.name, options.gpus, options.dtype, options.weight_dtype, str(refusal))


def _fewest(
    model: ModelSpec, chip: HardwareSpec, options: Options, chosen: SimulationOptions, at: str, price: float | None
) -> RateOffer:
    """The fewest replicas that keep the limits. Raises InputError where none do."""
    prompt, output = mean_lengths(model, options, chosen)
    mean = options._replace(prompt=prompt, output=output, rate=None, concurrency=None, requests=None)
    kind = kind_of(model, chip, mean, chosen)
    steady = estimate(model, chip, mean._replace(requests=LEAST)).serving
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
            tried[replicas] = _simulated(model, chip, options, chosen, kind, replicas)
        return _within(tried[replicas], chosen, at)

    low, high = 0, guess
    while not holds(high):
        low, high = high, high + max(1, high // 2)
        if high > TIMES_GUESSED * guess:
            worst, on = _told(tried[low], at), counted(options.gpus, "GPU")
            raise InputError(
                f"{counted(low, 'replica')} of {on} {'does' if low == 1 else 'do'} not keep the limits: {worst}"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return _offer(chip, kind, tried[high], high, at, price)


def _simulated(
    model: ModelSpec, chip: HardwareSpec, options: Options, chosen: SimulationOptions, kind: Kind, replicas: int
) -> Run:
    """A run of the traffic on so many replicas."""
    requests = options.requests or max(LEAST, min(MOST, round(SECONDS * options.rate)))
    serves = (replicas * kind.step.workload.gpus, Cluster(kind.pool(count(), chosen.router, replicas)))
    run = Run(model, chip, options._replace(requests=requests), chosen, serves)
    for _ in run.served():
        pass
    return run


def _time(run: Run, name: str, at: str) -> float | None:
    return getattr(run.times.spread(name), at)  # type: ignore[no-any-return]


def _within(run: Run, chosen: SimulationOptions, at: str) -> bool:
    limits = {"ttft": chosen.ttft, "tpot": chosen.tpot, "latency": chosen.latency}
    times = {name: _time(run, name, at) for name, limit in limits.items() if limit is not None}
    return not run.timeline.overloaded() and all(
        time is None or time <= limits[name] / 1000  # type: ignore[operator]
        for name, time in times.items()
    )


def _told(run: Run, at: str) -> str:
    times = {name: _time(run, name, at) for name in ("ttft", "tpot")}
    return ", ".join(f"{at} {name.upper()} {1000 * (time or 0):,.0f} ms" for name, time in times.items())


def _offer(chip: HardwareSpec, kind: Kind, run: Run, replicas: int, at: str, price: float | None) -> RateOffer:
    w, found = kind.step.workload, run.result()
    an_hour = None if price is None else price * found.gpus
    return RateOffer(
        *(chip.name, chip.title, found.gpus, replicas, w.tp, w.pp, w.dtype, w.weight_dtype),
        *(_time(run, "ttft", at), _time(run, "tpot", at)),
        *(found.requests_per_s, found.output_tokens_per_s, found.busy_share),
        *(an_hour, price_per_million_tokens(an_hour, found.output_tokens_per_s)),
    )
