"""The fewest GPUs that serve a rate within limits with prompts apart from decode, found by simulation.

A replica that decodes has the GPUs asked for; one that runs prompts as many as make the fewest GPUs in all. How many
of both is guessed from the steady state of `estimate`, which knows means. From there on replicas are added where a
limit is not kept, and taken away where all are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.units import counted
from llmcost.search.rate_offers import TIMES_GUESSED, Asked, RateOffer
from llmcost.serving.apart import plain_pools
from llmcost.serving.estimate import estimate, workload_of
from llmcost.serving.options import Options, Workload
from llmcost.serving.results import Pools, Serving
from llmcost.simulation.cluster import MOST_REPLICAS
from llmcost.simulation.run import Replicas, Run, cluster_apart, kind_of, limits_of

ENOUGH = 0.999  # share of the rate that a steady state answers which keeps up with it


class Counts(NamedTuple):
    """Replicas that run prompts, and that decode."""

    prompts: int
    decode: int

    def more(self, pools: Pools, beyond: Sequence[str]) -> Counts:
        """The same with more of those that hold requests up: decode where tokens take too long, else the busier."""
        decode = "tpot" in beyond or pools.prefill.busy_share < (pools.decode.busy_share or 0)
        place, number = ("decode", self.decode) if decode else ("prompts", self.prompts)
        return self._replace(**{place: number + max(1, number // 4)})


class Steady(NamedTuple):
    """A kind of replica for prompts and one for decode, and how many of each the steady state needs."""

    prompts: Workload
    decode: Workload
    counts: Counts

    @property
    def gpus(self) -> Number:
        """GPUs of all of them."""
        return self.counts.prompts * self.prompts.gpus + self.counts.decode * self.decode.gpus


def fewest_apart(asked: Asked, prompt_gpus: Sequence[int]) -> RateOffer:
    """The offer with the fewest GPUs, replicas for prompts having one of `prompt_gpus` numbers of them.

    Each number is simulated that the steady state does not need more GPUs for than the best one has had, in the order
    of that. Raises InputError where none keeps the limits.
    """
    guesses, refused = [], []
    for gpus in prompt_gpus:
        try:
            guesses.append(_steady(asked, gpus))
        except InputError as refusal:
            refused.append(refusal)
    best: RateOffer | None = None
    for guess in sorted(guesses, key=lambda each: each.gpus):
        if best is not None and guess.gpus > best.gpus:
            break
        trial = Trial(asked, guess)
        try:
            found = trial.offer(trial.shrunk(trial.grown()))
        except InputError as refusal:
            refused.append(refusal)
            continue
        if best is None or found.gpus < best.gpus:
            best = found
    if best is None:
        raise refused[0]
    return best


class Trial:
    """Numbers of replicas that are simulated, from the guess of the steady state on."""

    def __init__(self, asked: Asked, guess: Steady) -> None:
        self.asked, self.guess = asked, guess
        self.kinds = [
            kind_of(asked.model, asked.chip, _plain(asked)._replace(gpus=w.gpus), asked.chosen)
            for w in (guess.prompts, guess.decode)
        ]
        self.tried: dict[Counts, Run] = {}

    def grown(self) -> Counts:
        """Enough replicas. Raises InputError where TIMES_GUESSED the guess are not."""
        counts, guess = self.guess.counts, self.guess
        while not self._holds(counts):
            here = guess._replace(counts=counts)
            pools = _serving(self.asked, here).pools
            assert pools is not None
            found = counts.more(pools, self.asked.beyond(self.tried[counts]))
            if any(more > TIMES_GUESSED * number for more, number in zip(found, guess.counts, strict=True)):
                raise InputError(f"{_told(here)} do not keep the limits: {self.asked.told(self.tried[counts])}")
            counts = found
        return counts

    def shrunk(self, counts: Counts) -> Counts:
        """What is left of enough replicas when those that are not needed are taken away, the larger ones first."""
        for place in sorted(Counts._fields, key=lambda name: -getattr(self.guess, name).gpus):
            while (number := getattr(counts, place)) > 1 and self._holds(
                fewer := counts._replace(**{place: number - 1})
            ):
                counts = fewer
        return counts

    def offer(self, counts: Counts) -> RateOffer:
        """The offer of so many replicas."""
        return self.asked.offer(self.tried[counts], *reversed(self._pools(counts)))

    def _pools(self, counts: Counts) -> list[Replicas]:
        return [Replicas(kind, number) for kind, number in zip(self.kinds, counts, strict=True)]

    def _holds(self, counts: Counts) -> bool:
        if counts not in self.tried:
            asked, (prompts, decode) = self.asked, self._pools(counts)
            cluster = cluster_apart(prompts, decode, asked.chosen.router, layerwise=asked.options.layerwise)
            self.tried[counts] = asked.simulated(*cluster)
        return self.asked.keeps(self.tried[counts])


def _told(steady: Steady) -> str:
    """How many replicas, in words."""
    prompts, decode = (
        f"{counted(number, 'replica')} of {counted(w.gpus, 'GPU')}"
        for number, w in zip(steady.counts, (steady.prompts, steady.decode), strict=True)
    )
    return f"{prompts} for prompts and {decode} for decode"


def _plain(asked: Asked) -> Options:
    """The options of a replica alone."""
    return plain_pools(asked.of_means())


def _steady(asked: Asked, prompt_gpus: int) -> Steady:
    """How many replicas the steady state needs. Raises InputError where none are enough, or one has no room."""
    limits, counts = limits_of(asked.chosen), Counts(1, 1)
    prompts, decode = (
        workload_of(asked.model, asked.chip, _plain(asked)._replace(gpus=gpus))
        for gpus in (prompt_gpus, asked.options.gpus)
    )
    while max(counts) * TIMES_GUESSED <= MOST_REPLICAS:
        steady = Steady(prompts, decode, counts)
        found = _serving(asked, steady)
        times = {"ttft": found.expected.ttft_seconds, "tpot": found.expected.tpot_seconds}
        beyond = [name for name, limit in limits.items() if name in times and times[name] > limit]
        assert found.pools is not None
        if found.expected.requests_per_s >= ENOUGH * asked.options.rate:
            if "ttft" in beyond and found.pools.prefill.busy_share * counts.prompts < 1 / TIMES_GUESSED:
                raise InputError(f"one prompt alone takes {1000 * times['ttft']:,.0f} ms to its first token")
            if not beyond:
                return steady
        counts = counts.more(found.pools, beyond)
    most = f"more than {MOST_REPLICAS // TIMES_GUESSED:,} replicas"
    raise InputError(f"{most} would be needed for {asked.options.rate:g} requests a second")


def _serving(asked: Asked, steady: Steady) -> Serving:
    """The steady state of so many replicas at the rate asked for. Raises InputError where there is none."""
    first, second = steady.prompts, steady.decode
    options = _plain(asked)._replace(
        rate=asked.options.rate,
        layerwise=asked.options.layerwise,
        gpus=None,
        tp=second.tp,
        pp=second.pp,
        ep=second.ep,
        **{f"prefill_{name}": getattr(first, name) for name in ("tp", "pp", "ep")},
        prefill_gpus=steady.counts.prompts * first.gpus,
        decode_gpus=steady.counts.decode * second.gpus,
    )
    found = estimate(asked.model, asked.chip, options)
    if not found.memory.fits or found.serving is None:
        raise InputError(f"{asked.model.name} does not fit on {counted(second.gpus, 'GPU')}")
    return found.serving
