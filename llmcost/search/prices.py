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
from llmcost.machine.power import Draw, basis_of, drawn_by, share_drawn
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import Estimate
from llmcost.specs.hardware import HardwareSpec


class Sold(NamedTuple):
    """Output tokens a second of all GPUs; None where nothing fits, or a rate is not known.

    most: of decode at the largest batch. served: under the load that was asked for. price_per_million_tokens: dollars,
    of `served` where there is a load, else of `most`; None without a price. joules_per_million_tokens: of the same.
    """

    most_tokens_per_s: Number
    served_tokens_per_s: Number
    price_per_million_tokens: Number
    joules_per_million_tokens: Number


class Cost(NamedTuple):
    """What a million tokens cost in dollars and joules; None where a price, a rate or the GPU's power is not known.

    Under a load output tokens bear all of it, or all tokens in and out together. Without one, prompts are priced by
    the prefill that was asked for, output by its decode steps.
    """

    price_per_gpu_hour: float | None
    dollars_per_million_prompt_tokens: Number
    dollars_per_million_output_tokens: Number
    dollars_per_million_tokens: Number
    joules_per_million_prompt_tokens: Number
    joules_per_million_output_tokens: Number
    joules_per_million_tokens: Number
    power_share: Number = None  # of its TDP that a GPU draws as output is made
    power_basis: str = ""


def cost_of(e: Estimate, chip: HardwareSpec, price: float | None, pue: float) -> Cost:
    """What an estimate's tokens cost. `price`: dollars a GPU-hour; `pue`: the data centre's energy over its GPUs'."""
    prompts, output, both = e.prefill.expected.tokens_per_s, e.decode.expected.tokens_per_s, None
    if not e.memory.fits:
        prompts = output = None
    elif e.serving is not None:
        prompts, output, both = None, e.serving.expected.output_tokens_per_s, e.serving.expected.total_tokens_per_s
    elif e.request is not None:
        prompts, output = None, e.request.expected.output_tokens_per_s
    an_hour = None if price is None else price * e.workload.gpus
    draw = drawn_by(chip)
    shares = [1.0, 1.0] if draw is None else [_share(draw, e, output=False), _share(draw, e, output=True)]
    watts = [power(chip, e.workload.gpus, pue, share) for share in (shares[0], shares[1], shares[1])]
    dollars = (price_per_million_tokens(an_hour, each) for each in (prompts, output, both))
    joules = map(joules_per_million_tokens, watts, (prompts, output, both))
    return Cost(price, *dollars, *joules)._replace(power_share=shares[1], power_basis=basis_of(draw))


def _share(draw: Draw, e: Estimate, *, output: bool) -> Number:
    """The share of its TDP that a GPU draws as `output` is made (in decode, the request or the load), or in prefill.

    All of it where a time is not known.
    """
    assert e.hardware is not None
    w, peak, bandwidth = e.workload, e.hardware.peak_flops_per_s, e.hardware.bandwidth_bytes_per_s
    prefill, decode = e.prefill.expected.seconds, e.decode.expected.seconds_per_step
    if not (peak and bandwidth and prefill and decode):
        return 1.0
    of_prompts = share_drawn(
        draw, e.memory.weights_bytes / (prefill * bandwidth), e.flops.prefill.causal / (prefill * w.gpus * peak)
    )
    if not output:
        return of_prompts
    if e.serving is not None:
        s, each = e.serving, e.flops.per_token
        moved = (e.memory.weights_bytes + s.kv_cache_bytes) / (s.expected.tpot_seconds * bandwidth)
        return share_drawn(draw, min(1, moved), s.expected.total_tokens_per_s * each.total / (w.gpus * peak))
    of_output = share_drawn(
        draw,
        e.traffic.decode.total_bytes / (decode * bandwidth),
        e.flops.per_token.total * w.batch / (decode * w.gpus * peak),
    )
    if e.request is None:
        return of_output
    first = e.request.expected.ttft_seconds / e.request.expected.latency_seconds
    return first * of_prompts + (1 - first) * of_output


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
    an_hour, rate = None if price is None else price * e.workload.gpus, most if e.serving is None else served
    joules = joules_per_million_tokens(power(chip, e.workload.gpus, pue), rate)
    return Sold(most, served, price_per_million_tokens(an_hour, rate), joules)


def price_per_million_tokens(price_per_hour: Number, tokens_per_s: Number) -> Number:
    """Dollars for a million tokens, of GPUs that are never idle; None where price or rate is not known.

    `price_per_hour`: dollars an hour of all GPUs together, which give `tokens_per_s` together.
    """
    return None if price_per_hour is None or tokens_per_s is None else price_per_hour / (tokens_per_s * HOUR) * 10**6
