"""Requests: from a trace, or drawn by rate, concurrency and lengths.

A source of requests is an iterator, so that a million of them take no memory. In a closed loop a request arrives when
another one is answered: its time of arrival is None until then.
"""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError, SpecError, shortened

LARGEST_FIELD = 10**6  # characters of a line of a trace that are read
COLUMNS = ("input_tokens", "output_tokens", "arrival_s")
MOST_TOKENS = 10**9  # of a request


class Request(NamedTuple):
    """One request: when it arrives (seconds; None: when another one is answered), tokens in and out."""

    arrival: float | None
    prompt: int
    output: int
    line: int = 0  # of a trace: where it stands


class Lengths(NamedTuple):
    """How many tokens requests have: the same each, or evenly drawn from a share of it up to all of it.

    ratio: the least share, as `--random-range-ratio` of the engines' own benchmarks (0.8: 80 to 100 %).
    """

    prompt: int
    output: int
    ratio: float = 1.0

    def draw(self, random_: random.Random) -> tuple[int, int]:
        """Tokens in and out of one request."""
        if self.ratio == 1:
            return self.prompt, self.output
        return self._between(self.prompt, random_), self._between(self.output, random_)

    def _between(self, most: int, random_: random.Random) -> int:
        return random_.randint(max(1, math.ceil(most * self.ratio)), most)


def at_a_rate(rate: float, burstiness: float, lengths: Lengths, requests: int, seed: int) -> Iterator[Request]:
    """Requests at random times: gaps of a gamma distribution with mean 1/rate.

    burstiness: its shape, as in vLLM's benchmark; 1: a Poisson process; smaller: in bursts; larger: evenly.
    """
    drawn, at = random.Random(seed), 0.0  # noqa: S311 - lengths and gaps, no secrets
    for _ in range(requests):
        yield Request(at, *lengths.draw(drawn))
        at += drawn.gammavariate(burstiness, 1 / (rate * burstiness))


def closed_loop(concurrency: int, lengths: Lengths, requests: int, seed: int) -> Iterator[Request]:
    """So many at a time: the first ones all at once, each other one when one is answered."""
    drawn = random.Random(seed)  # noqa: S311 - as above
    for number in range(requests):
        yield Request(0.0 if number < concurrency else None, *lengths.draw(drawn))


def read_trace(path: Path) -> Iterator[Request]:
    """The requests of a CSV or JSON-lines file, in the order of arrival. Raises SpecError with line and field."""
    try:
        file = path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        rows = _json_rows if path.suffix in (".jsonl", ".ndjson", ".json") else _csv_rows
        last = 0.0
        for line, row in rows(path, file):
            request = _request(str(path), line, row)
            if request.arrival is not None and request.arrival < last:
                problem = f"{request.arrival:g} comes before the request above it ({last:g}); sort them by arrival"
                raise SpecError(str(path), line, "arrival_s", problem)
            last = request.arrival or 0.0
            yield request


def _csv_rows(path: Path, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(file)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise SpecError(str(path), 1, missing[0], f"this column is missing; a trace has {', '.join(COLUMNS)}")
    try:
        for row in reader:
            yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise SpecError(str(path), reader.line_num + 1, "", str(error)) from None


def _json_rows(path: Path, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text[:LARGEST_FIELD])
        except ValueError as error:
            raise SpecError(str(path), number, "", f"no JSON: {error}") from None
        if not isinstance(row, dict):
            raise SpecError(str(path), number, "", "expected a JSON object a line")
        for name in COLUMNS:
            if name not in row:
                raise SpecError(str(path), number, name, f"this field is missing; a trace has {', '.join(COLUMNS)}")
        yield number, row


def _request(file: str, line: int, row: dict[str, Any]) -> Request:
    def number(name: str, read: Callable[[Any], Any], least: float) -> Any:
        text = row[name]
        try:
            value = math.nan if isinstance(text, bool) else read(text)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not least <= value < MOST_TOKENS:
            raise SpecError(file, line, name, f"cannot be {shortened(str(text))!r}: a number of {least:g} or more")
        return value

    return Request(
        number("arrival_s", float, 0), number("input_tokens", _whole, 1), number("output_tokens", _whole, 1), line
    )


def _whole(text: Any) -> int:
    value = float(text)
    if not value.is_integer():
        raise ValueError
    return int(value)
