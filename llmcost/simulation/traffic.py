"""Requests: from a trace, or drawn by rate, concurrency and lengths.

A source of requests is an iterator, so that a million of them take no memory. In a closed loop a request arrives when
another one is answered: its time of arrival is None until then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from llmcost.serving.options import Options

USUAL_REQUESTS = 1000  # at a rate, as vLLM's and SGLang's benchmarks ask for (--num-prompts)
TIMES_CONCURRENCY = 10  # requests of a closed loop, over those in flight


class Request(NamedTuple):
    """One request: when it arrives (seconds; None: when another one is answered), tokens in and out.

    `prefix`: names and tokens of the parts that its prompt begins with and others may begin with too.
    """

    arrival: float | None
    prompt: int
    output: int
    line: int = 0  # of a trace: where it stands
    prefix: tuple[tuple[Hashable, int], ...] = ()


class Lengths(NamedTuple):
    """How many tokens requests have: the same each, or evenly drawn from a share of it up to all of it.

    ratio: the least share, as `--random-range-ratio` of the engines' own benchmarks (0.8: 80 to 100 %). shared: the
    share of a prompt that others begin with too, in one of so many `prefixes`. histogram: draws tokens in and out.
    """

    prompt: int
    output: int
    ratio: float = 1.0
    shared: float = 0.0
    prefixes: int = 1
    histogram: Callable[[random.Random], tuple[int, int]] | None = None

    def draw(self, drawn: random.Random) -> tuple[int, int]:
        """Tokens in and out of one request."""
        if self.histogram is not None:
            return self.histogram(drawn)
        if self.ratio == 1:
            return self.prompt, self.output
        return self._between(self.prompt, drawn), self._between(self.output, drawn)

    def request(self, arrival: float | None, drawn: random.Random) -> Request:
        """One request that arrives then."""
        prompt, output = self.draw(drawn)
        if not self.shared:
            return Request(arrival, prompt, output)
        name = drawn.randrange(self.prefixes) if self.prefixes > 1 else 0
        return Request(arrival, prompt, output, 0, ((name, round(self.shared * prompt)),))

    def _between(self, most: int, drawn: random.Random) -> int:
        return drawn.randint(max(1, math.ceil(most * self.ratio)), most)


def requests_of(options: Options) -> int:
    """Requests of a run in all, which come at a rate or in a closed loop."""
    return options.requests or (USUAL_REQUESTS if options.rate is not None else TIMES_CONCURRENCY * options.concurrency)


def at_a_rate(rate: float, burstiness: float, lengths: Lengths, requests: int, seed: int) -> Iterator[Request]:
    """Requests at random times: gaps of a gamma distribution with mean 1/rate.

    burstiness: its shape, as in vLLM's benchmark; 1: a Poisson process; smaller: in bursts; larger: evenly.
    """
    drawn, at = _drawn(seed), 0.0
    for _ in range(requests):
        yield lengths.request(at, drawn)
        at += drawn.gammavariate(burstiness, 1 / (rate * burstiness))


def closed_loop(concurrency: int, lengths: Lengths, requests: int, seed: int) -> Iterator[Request]:
    """So many at a time: the first ones all at once, each other one when one is answered."""
    drawn = _drawn(seed)
    for number in range(requests):
        yield lengths.request(0.0 if number < concurrency else None, drawn)


def retimed(
    requests: Iterable[Request], rate: float | None, burstiness: float, concurrency: int | None, seed: int
) -> Iterator[Request]:
    """The requests of a trace at other times: at a rate, or so many at a time."""
    drawn, at = _drawn(seed), 0.0
    for number, request in enumerate(requests):
        if rate is not None:
            yield request._replace(arrival=at)
            at += drawn.gammavariate(burstiness, 1 / (rate * burstiness))
        else:
            yield request._replace(arrival=0.0 if concurrency is None or number < concurrency else None)


def first(requests: Iterator[Request], number: int | None) -> Iterator[Request]:
    """So many of the requests; None: all."""
    return requests if number is None else islice(requests, number)


def _drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - lengths and gaps, no secrets
