"""Lengths of requests that differ: quantiles of published traces, from which lengths are drawn, or log-normal.

Quantiles are derived from Microsoft's public traces of Azure's LLM services in November 2023 (CC-BY; "Splitwise", ISCA
2024): https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md, 19,366 conversations and
8,819 requests of a coding assistant. Tokens in and out are drawn independently; between two quantiles evenly.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from math import log, log1p, sqrt
from typing import NamedTuple

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Histogram(NamedTuple):
    """Tokens in and out of requests at QUANTILES."""

    prompt: tuple[int, ...]
    output: tuple[int, ...]

    def draw(self, drawn: random.Random) -> tuple[int, int]:
        """Tokens in and out of one request."""
        return _at(self.prompt, drawn.random()), _at(self.output, drawn.random())


def _at(values: tuple[int, ...], share: float) -> int:
    """The value below which this share lies."""
    place = min(bisect_right(QUANTILES, share), len(QUANTILES) - 1)
    low, high = QUANTILES[place - 1], QUANTILES[place]
    inside = (share - low) / (high - low)
    return max(1, round(values[place - 1] + inside * (values[place] - values[place - 1])))


class LogNormal(NamedTuple):
    """Tokens in and out of requests whose logarithms are normal, with these means.

    spread: the standard deviation over the mean; the logarithm's variance is ln(1 + spread²).
    """

    prompt: int
    output: int
    spread: float

    def draw(self, drawn: random.Random) -> tuple[int, int]:
        """Tokens in and out of one request."""
        variance = log1p(self.spread**2)
        prompt, output = (
            max(1, round(drawn.lognormvariate(log(mean) - variance / 2, sqrt(variance))))
            for mean in (self.prompt, self.output)
        )
        return prompt, output


HISTOGRAMS = {
    "azure-conv": Histogram(
        (2, 29, 181, 207, 387, 403, 703, 1020, 1071, 1130, 1315, 2734, 4083, 4142, 14050),
        (7, 16, 41, 54, 77, 91, 103, 129, 177, 384, 400, 424, 451, 601, 1000),
    ),
    "azure-code": Histogram(
        (3, 17, 75, 147, 386, 770, 1075, 1469, 1909, 2433, 3192, 5186, 7302, 7436, 7437),
        (6, 6, 6, 7, 8, 9, 11, 13, 16, 20, 29, 55, 90, 252, 1899),
    ),
}
