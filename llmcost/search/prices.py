"""What tokens cost: GPU-hours over the tokens that they give, at a rate that makes use of the GPUs.

One rule holds for `fit` and `compare`: output tokens are priced at the largest batch that has room, prompts not
counted; where requests under load are asked for (--concurrency, --rate, --requests), at their output. `plan --serve`
prices the output of the requests in flight that it finds.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, minimum
from llmcost.ground.options import MOST
from llmcost.ground.units import HOUR
from llmcost.machine.power import basis_of, drawn_by
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.power import share_of
from llmcost.serving.results import Estimate
from llmcost.specs.hardware import HardwareSpec


class Sold(NamedTuple):
    """Output tokens a second of all GPUs; None where nothing fits, or a rate is not known.

    most: of decode at the largest batch. served: under the load that was asked for. price_per_million_tokens: dollars,
    of `served` where there is a load, else of `most`; None without a price. joules_per_million_tokens: of the same.
    power_share: of its TDP that a GPU draws as it gives them.
    """

    most_tokens_per_s: Number
    served_tokens_per_s: Number
    price_per_million_tokens: Number
    joules_per_million_tokens: Number
    power_share: Number = None


class Cost(NamedTuple):
    """What a million tokens cost in dollars and joules; None where a price, a rate or the GPU's power is not known.

    Under a load output tokens bear all of it, or all tokens together. Without one, prompts are priced by the prefill
    that was asked for, output by its decode steps. `..._of_mix`: a load's cost shared between input and output by the
    time that each takes: prompts what their prefill alone needs (`prompt_share` of the time), output the rest; the two
    add up to the whole.
    """

    price_per_gpu_hour: float | None
    dollars_per_million_prompt_tokens: Number
    dollars_per_million_output_tokens: Number
    dollars_per_million_tokens: Number
    joules_per_million_prompt_tokens: Number
    joules_per_million_output_tokens: Number
    joules_per_million_tokens: Number
    prompt_share: Number = None
    dollars_per_million_input_tokens_of_mix: Number = None
    dollars_per_million_output_tokens_of_mix: Number = None
    joules_per_million_input_tokens_of_mix: Number = None
    joules_per_million_output_tokens_of_mix: Number = None
    power_share: Number = None  # of its TDP that a GPU draws as output is made
    power_basis: str = ""


def cost_of(e: Estimate, chip: HardwareSpec, price: float | None, pue: float) -> Cost:
    """What an estimate's tokens cost, where it fits. `price`, `pue`: as in `cost_of_rates`."""
    if e.memory.fits:
        return cost_of_rates(e, chip, price, pue)
    return Cost(price, None, None, None, None, None, None)


def cost_of_rates(e: Estimate, chip: HardwareSpec, price: float | None, pue: float) -> Cost:
    """The same, whether it fits or not.

    `price`: dollars a GPU-hour; `pue`: the data centre's energy over its GPUs'.
    """
    prompts, output, both = e.prefill.expected.tokens_per_s, e.decode.expected.tokens_per_s, None
    if e.serving is not None:
        prompts, output, both = None, e.serving.expected.output_tokens_per_s, e.serving.expected.total_tokens_per_s
    elif e.request is not None:
        prompts, output = None, e.request.expected.output_tokens_per_s
    an_hour = None if price is None else price * e.workload.all_gpus()
    prefill, decode, basis = share_of(e, chip, output=False), share_of(e, chip), basis_of(drawn_by(chip))
    watts = [power(chip, e.workload.all_gpus(), pue, share) for share in (prefill, decode, decode)]
    dollars = [price_per_million_tokens(an_hour, each) for each in (prompts, output, both)]
    joules = [joules_per_million_tokens(*each) for each in zip(watts, (prompts, output, both), strict=True)]
    alone = e.prefill.expected.tokens_per_s
    cost = Cost(price, dollars[0], dollars[1], dollars[2], joules[0], joules[1], joules[2])
    cost = cost._replace(power_share=decode, power_basis=basis)
    if both is None or output is None or alone is None:
        return cost
    share = minimum(1, (both - output) / alone)
    if e.workload.prefill_gpus is not None:  # GPUs of their own
        share = e.workload.prefill_gpus / e.workload.all_gpus()
    parts = (share / (both - output), (1 - share) / output)
    of_output = (dollars[1], joules[1])
    inputs, outputs = ([None if whole is None else whole * output * part for whole in of_output] for part in parts)
    return Cost(*cost[:7], share, inputs[0], outputs[0], inputs[1], outputs[1], decode, basis)


class StepCost(NamedTuple):
    """What a step of training on answers costs: dollars and joules of it, and of a million of its tokens."""

    price_per_gpu_hour: float | None
    dollars_per_step: Number
    joules_per_step: Number
    dollars_per_million_tokens: Number
    joules_per_million_tokens: Number
    power_share: Number = None  # of its TDP that a GPU draws on average
    power_basis: str = ""


def cost_of_step(
    chip: HardwareSpec,
    gpus: Number,
    seconds: Number,
    tokens: Number,
    price: float | None,
    pue: float,
    power_share: Number = 1,
) -> StepCost:
    """What GPUs cost that a step holds so long. `price`, `pue`: as in `cost_of_rates`."""
    dollars = None if price is None else price * gpus * seconds / HOUR
    watts, basis = power(chip, gpus, pue, power_share), basis_of(drawn_by(chip))
    joules = None if watts is None else watts * seconds
    of_tokens = [None if x is None else x / tokens * 10**6 for x in (dollars, joules)]
    return StepCost(price, dollars, joules, of_tokens[0], of_tokens[1], power_share, basis)


def power(chip: HardwareSpec, gpus: Number, pue: float = 1, share: Number = 1) -> Number:
    """Watts of GPUs at a share of their TDP, and what the data centre draws beside; None where no source gives it."""
    return None if chip.tdp is None else chip.tdp.value * share * gpus * pue


def joules_per_million_tokens(watts: Number, tokens_per_s: Number) -> Number:
    """Joules for a million tokens; None where power or rate is not known."""
    return None if watts is None or tokens_per_s is None else watts / tokens_per_s * 10**6


def sold(
    model: ModelSpec,
    chip: HardwareSpec,
    options: Options,
    e: Estimate,
    price: float | None,
    basis: str = "expected",
    pue: float = 1,
) -> Sold:
    """What an estimate's GPUs give when they are used, and its price. `price`: dollars a GPU-hour."""
    if not e.memory.fits:
        return Sold(None, None, None, None)
    largest = estimate(model, chip, options._replace(batch=min(e.memory.max_batch, MOST)))
    most = getattr(largest.decode, basis).tokens_per_s
    load = getattr(e.serving, basis, None)  # the textbook has no rule for a mix
    served = None if load is None else load.output_tokens_per_s
    an_hour, rate = None if price is None else price * e.workload.all_gpus(), most if e.serving is None else served
    share = share_of(largest if e.serving is None else e, chip)
    joules = joules_per_million_tokens(power(chip, e.workload.all_gpus(), pue, share), rate)
    return Sold(most, served, price_per_million_tokens(an_hour, rate), joules, share)


def price_per_million_tokens(price_per_hour: Number, tokens_per_s: Number) -> Number:
    """Dollars for a million tokens, of GPUs that are never idle; None where price or rate is not known.

    `price_per_hour`: dollars an hour of all GPUs together, which give `tokens_per_s` together.
    """
    return None if price_per_hour is None or tokens_per_s is None else price_per_hour / (tokens_per_s * HOUR) * 10**6
