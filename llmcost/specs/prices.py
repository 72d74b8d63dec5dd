"""A list of prices of GPU-hours: a YAML file of the user's own, with a date and a source beside every price.

    prices:
      h100: {dollars: 2.5, date: 2026-11-01, source: https://example.com/prices}

None ships: prices change from day to day and from buyer to buyer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_hardware
from llmcost.specs.reader import read_yaml
from llmcost.specs.schema import TEXT, mapping, number, record, validate

EXAMPLE = "prices: {h100: {dollars: 2.5, date: 2026-11-01, source: https://example.com}}"
MOST_DOLLARS = 10**6  # a GPU-hour
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
SCHEMA = record(
    required={"prices": mapping(record({"dollars": number(0, MOST_DOLLARS), "date": TEXT, "source": TEXT}, {}))},
    optional={},
)


class Price(NamedTuple):
    """Dollars of a GPU-hour, when they were asked, and by whom."""

    dollars: float
    date: str
    source: str


def read_prices(path: Path) -> dict[str, Price]:
    """The prices of a file by the name of the GPU. Raises SpecError or InputError, with file, line and field."""
    document = read_yaml(path)
    if "prices" not in document.data:
        raise document.error(("prices",), f"this field is missing; a list of prices is {EXAMPLE}")
    prices: dict[str, Price] = {}
    for name, entry in validate(document, SCHEMA)["prices"].items():
        if not DATE.fullmatch(entry["date"]):
            raise document.error(("prices", name, "date"), "a day, as in 2026-11-01")
        try:
            gpu = load_hardware(name).name
        except InputError as error:
            raise document.error(("prices", name), str(error)) from None
        if gpu in prices:
            raise document.error(("prices", name), f"a second price of {gpu}")
        prices[gpu] = Price(**entry)
    return prices
