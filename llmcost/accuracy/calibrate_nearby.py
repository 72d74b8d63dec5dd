"""What a fit's numbers leave of runs, as weights by which times near these runs are multiplied (machine/nearby.py).

A run's rest is log(measured / predicted). At another load the most likely rest is the mean of a Gaussian process: the
weights w = (K + NOISE·I)^-1 · rests, with K the closeness of runs to each other. Times of tokens have rests of their
own, and so have times to the first token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llmcost.machine.nearby import closeness
from llmcost.specs.engine import NearRun

NOISE = 0.09  # the part of a rest that its run has to itself, over what it shares with like ones; both as variances
LARGEST = 1.0  # rest; what is farther off is no rest but another thing that was measured
DIGITS = 4

Floats = Any  # arrays of float64


class Rests(NamedTuple):
    """Weights of runs, (n): of times of tokens and of times to the first token. Zeros: nothing is known of these."""

    tokens: Floats
    first_token: Floats

    def any(self) -> bool:
        """Whether a time is multiplied at all."""
        return bool(self.tokens.any() or self.first_token.any())

    def without(self, *, first_token: bool) -> Rests:
        """The same where one kind of times stays as the numbers say."""
        return self._replace(**{"first_token" if first_token else "tokens": np.zeros(len(self.tokens))})

    def factors(self, close: Floats, first: Floats) -> Floats:
        """By what times are multiplied, (m), of which `first` (m) are to the first token; `close` (m, n)."""
        return np.exp(np.where(first, close @ self.first_token, close @ self.tokens))


def closeness_of(runs: Sequence[NearRun | None]) -> Floats:
    """How alike runs are to each other, (n, n); 0 for those of other models, and for those without one load."""
    found = np.zeros((len(runs), len(runs)))
    sizes = [None if run is None else (run.in_flight, *run.sizes()) for run in runs]
    for row, one in enumerate(runs):
        for column, other in enumerate(runs[: row + 1]):
            if one is not None and other is not None and (one.model, one.weights) == (other.model, other.weights):
                found[row, column] = found[column, row] = closeness(*sizes[row], *sizes[column])  # type: ignore[misc]
    return found


def rests_of(close: Floats, rests: Floats, of: Floats, first: Floats) -> Rests:
    """The weights of n runs, of m rests; `of` (m): of which run, `first` (m): whether of a time to the first token."""
    return Rests(_weights(close, rests[~first], of[~first]), _weights(close, rests[first], of[first]))


def _weights(close: Floats, rests: Floats, of: Floats) -> Floats:
    """Weights of n runs by the mean rest of each that has one, and whose load is known."""
    found = np.zeros(len(close))
    runs = np.array([run for run in np.unique(of) if close[run, run]], dtype=int)
    if len(runs):
        means = np.array([np.clip(rests[of == run], -LARGEST, LARGEST).mean() for run in runs])
        found[runs] = np.linalg.solve(close[np.ix_(runs, runs)] + NOISE * np.eye(len(runs)), means)
    return found


def weighed(runs: Sequence[NearRun | None], rests: Rests) -> tuple[NearRun, ...]:
    """The runs with their weights, of those that have any."""
    found = []
    for run, tokens, first in zip(runs, rests.tokens, rests.first_token, strict=True):
        if run is not None and (tokens or first):
            found.append(run._replace(tokens=round(float(tokens), DIGITS), first_token=round(float(first), DIGITS)))
    return tuple(found)
