"""What GPU-hours and their electricity cost, as a user says it: options of every command that has a time."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, number
from llmcost.ground.units import KILOWATT, parse_decimal
from llmcost.serving.options import Pue

if TYPE_CHECKING:
    from llmcost.specs.hardware import HardwareSpec

LISTS = (".yaml", ".yml")  # how the name of a file with prices ends


class Money(NamedTuple):
    """Prices, and what a kWh costs. Without any, nothing is said of money."""

    price: Annotated[
        Sequence[str],
        Option(
            "Dollars a GPU-hour: of all GPUs (2.5), of some (h100=2.5,h200=3.2), or a YAML file with a price list.",
            metavar="PRICE,...",
            repeated=True,
        ),
    ] = ()
    kwh: Annotated[
        float | None,
        number(
            "Dollars a kWh, beside the price: of GPUs at their TDP; in train, rl and mfu of what they draw.", "DOLLARS"
        ),
    ] = None
    pue: Pue = 1

    def asked(self) -> bool:
        """Whether money or energy is asked about."""
        return bool(self.price) or self.kwh is not None or self.pue != 1

    def refuse_lone_pue(self) -> None:
        """Raise InputError for a factor of energy where only dollars are told, and a kWh has no price."""
        if self.pue != 1 and self.kwh is None:
            raise InputError(f"--pue {self.pue:g}: the energy that --kwh prices; give --kwh too")

    def price_of(self, chip: "HardwareSpec", power_share: float = 1) -> float | None:
        """Dollars of a GPU-hour with its electricity; None where nothing is said of either.

        `power_share`: a GPU's mean draw, of its TDP. Raises InputError for a price that makes no sense, or a GPU whose
        power no source gives.
        """
        if self.kwh is not None and chip.tdp is None:
            raise InputError(f"--kwh {self.kwh:g}: no source gives the power (TDP) of {chip.title}")
        return self.prices([chip], power_share).get(chip.name)

    def prices(self, chips: "Iterable[HardwareSpec]", power_share: float = 1) -> dict[str, float]:
        """Dollars of a GPU-hour with its electricity by the name of the GPU, as far as they are known.

        Raises InputError for a price that makes no sense, or of a GPU that is not asked about.
        """
        chips = list(chips)
        said = _said(self.price, {chip.name for chip in chips})
        found = {}
        for chip in chips:
            hour = said.get(chip.name, said.get("", None if self.price else 0.0))
            power = self._power(chip, power_share)
            if hour is not None and power is not None and (self.price or self.kwh is not None):
                found[chip.name] = hour + power
        return found

    def _power(self, chip: "HardwareSpec", power_share: float) -> float | None:
        """Dollars of the electricity of a GPU-hour; None where no source gives the GPU's power."""
        if self.kwh is None:
            return 0.0
        return None if chip.tdp is None else chip.tdp.value * power_share * self.pue / KILOWATT * self.kwh


def _said(texts: Sequence[str], known: set[str]) -> dict[str, float]:
    """Dollars by the name of the GPU, "" for all others; what a file says of GPUs that are asked about is noted."""
    prices: dict[str, float] = {}
    for text in (part.strip() for each in texts for part in each.split(",")):
        if text.endswith(LISTS):
            from llmcost.cli.output import say
            from llmcost.specs.prices import read_prices

            listed = read_prices(Path(text))
            found = {name: price.dollars for name, price in listed.items() if name in known}
            for name, dollars in found.items():
                of = f"of {listed[name].date}, {listed[name].source}"
                say(f"note: {name}: ${dollars:g} a GPU-hour, {of}")
            if not found:
                raise InputError(f"--price {text}: has no price of {' or '.join(sorted(known))}")
        else:
            found = dict([_typed(text, known)])
        for name in found:
            if name in prices:
                raise InputError(f"--price {text}: a second price of {name or 'all GPUs'}")
        prices |= found
    return prices


def _typed(text: str, known: set[str]) -> tuple[str, float]:
    """A price as typed, `2.5` or `h100=2.5`: the GPU's name, "" for all, and dollars. Raises InputError."""
    from llmcost.specs.catalog import load_hardware
    from llmcost.specs.prices import MOST_DOLLARS

    name, _, dollars = text.rpartition("=")
    try:
        value = float(parse_decimal(dollars))
    except (ValueError, OverflowError):
        value = -1
    if not 0 <= value < MOST_DOLLARS:
        raise InputError(f"--price {text}: dollars a GPU-hour, from 0 on, as in 2.5 or h100=2.5, or a .yaml file")
    priced = load_hardware(name).name if name else ""
    if priced and priced not in known:
        raise InputError(f"--price {text}: {priced} is not among the GPUs asked about (--hw)")
    return priced, value
