"""Lengths of requests that differ: quantiles of published traces, from which lengths are drawn, or log-normal.

Tokens in and out are drawn independently; between two quantiles evenly. Each histogram says what it is derived from.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from math import log, log1p, sqrt
from typing import NamedTuple

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Histogram(NamedTuple):
    """Tokens in and out of requests at QUANTILES. `of`: which requests these are; `source`: where they stand."""

    of: str
    source: str
    prompt: tuple[int, ...]
    output: tuple[int, ...]

    def draw(self, drawn: random.Random) -> tuple[int, int]:
        """Tokens in and out of one request."""
        return _at(self.prompt, drawn.random()), _at(self.output, drawn.random())

    def mean(self) -> tuple[int, int]:
        """Tokens in and out of the mean request."""
        return _mean(self.prompt), _mean(self.output)

    def longest(self) -> int:
        """Tokens in and out of the longest request together."""
        return self.prompt[-1] + self.output[-1]

    def told(self) -> str:
        """Whose lengths these are, and where they stand."""
        return f"{self.of}: {self.source}"


def _at(values: tuple[int, ...], share: float) -> int:
    """The value below which this share lies."""
    place = min(bisect_right(QUANTILES, share), len(QUANTILES) - 1)
    low, high = QUANTILES[place - 1], QUANTILES[place]
    inside = (share - low) / (high - low)
    return max(1, round(values[place - 1] + inside * (values[place] - values[place - 1])))


def _mean(values: tuple[int, ...]) -> int:
    """The mean of what is drawn, in whole tokens."""
    steps = zip(QUANTILES, QUANTILES[1:], values, values[1:], strict=False)
    return round(sum((end - start) * (low + high) / 2 for start, end, low, high in steps))


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


AZURE = "https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md (CC-BY)"
HISTOGRAMS = {
    "sharegpt": Histogram(
        "first turn and answer of ShareGPT's conversations, as the engines' benchmarks take them: 15,510 of the first "
        "17,671, in tokens of OpenAI's cl100k_base",
        "https://huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered, "
        "ShareGPT_V3_unfiltered_cleaned_split.json, made of https://huggingface.co/datasets/RyokoAI/ShareGPT52K (CC0)",
        (4, 5, 8, 10, 16, 26, 48, 106, 212, 314, 428, 603, 754, 879, 1024),
        (4, 4, 8, 11, 20, 36, 75, 134, 207, 276, 353, 491, 633, 771, 1856),
    ),
    "azure-conv": Histogram(
        "19,366 conversations of an Azure LLM service in November 2023",
        AZURE,
        (2, 29, 181, 207, 387, 403, 703, 1020, 1071, 1130, 1315, 2734, 4083, 4142, 14050),
        (7, 16, 41, 54, 77, 91, 103, 129, 177, 384, 400, 424, 451, 601, 1000),
    ),
    "azure-code": Histogram(
        "8,819 requests of a coding assistant on an Azure LLM service in November 2023",
        AZURE,
        (3, 17, 75, 147, 386, 770, 1075, 1469, 1909, 2433, 3192, 5186, 7302, 7436, 7437),
        (6, 6, 6, 7, 8, 9, 11, 13, 16, 20, 29, 55, 90, 252, 1899),
    ),
    "mooncake-conv": Histogram(
        "12,031 turns of Kimi's conversations, each with all that was said before",
        "https://github.com/kvcache-ai/Mooncake, FAST25-release/traces/conversation_trace.jsonl (Apache-2.0)",
        (891, 894, 901, 964, 1662, 3263, 4993, 6909, 9570, 13196, 17869, 27367, 39549, 85401, 126195),
        (1, 3, 10, 24, 100, 213, 291, 350, 399, 447, 504, 597, 698, 1120, 2000),
    ),
}
