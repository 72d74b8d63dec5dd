"""What tokens cost: GPU-hours over the tokens that they give, at a rate that makes use of the GPUs.

One rule holds for `fit` and `compare`: output tokens are priced at the largest batch that has room, prompts not
counted; where requests under load are asked for (--concurrency, --rate, --requests), at their output. `plan --serve`
prices the output of the requests in flight that it finds.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.options import MOST
from llmcost.ground.units import HOUR
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import Estimate
from llmcost.specs.hardware import HardwareSpec


class Sold(NamedTuple):
    """Output tokens a second of all GPUs; None where nothing fits, or a rate is not known.

    most: of decode at the largest batch. served: under the load that was asked for. price_per_million_tokens: dollars,
    of `served` where there is a load, else of `most`; None without a price.
    """

    most_tokens_per_s: Number
    served_tokens_per_s: Number
    price_per_million_tokens: Number


def sold(
    model: ModelSpec, chip: HardwareSpec, options: Options, e: Estimate, price: float | None, basis: str = "expected"
) -> Sold:
    """What an estimate's GPUs give when they are used, and its price. `price`: dollars a GPU-hour."""
    if not e.memory.fits:
        return Sold(None, None, None)
    largest = estimate(model, chip, options._replace(batch=min(e.memory.max_batch, MOST)))
    most = getattr(largest.decode, basis).tokens_per_s
    load = getattr(e.serving, basis, None)  # the textbook has no rule for a mix
    served = None if load is None else load.output_tokens_per_s
    an_hour = None if price is None else price * e.workload.gpus
    return Sold(most, served, price_per_million_tokens(an_hour, most if e.serving is None else served))


def price_per_million_tokens(price_per_hour: Number, tokens_per_s: Number) -> Number:
    """Dollars for a million tokens, of GPUs that are never idle; None where price or rate is not known.

    `price_per_hour`: dollars an hour of all GPUs together, which give `tokens_per_s` together.
    """
    return None if price_per_hour is None or tokens_per_s is None else price_per_hour / (tokens_per_s * HOUR) * 10**6
