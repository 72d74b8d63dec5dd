"""Models and GPUs side by side, at the same workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.spec import ModelSpec
from llmcost.search.fit import price_per_million_tokens
from llmcost.serving.estimate import DEFAULT_CONTEXT, estimate
from llmcost.serving.options import Options
from llmcost.serving.results import Estimate
from llmcost.specs.hardware import HardwareSpec


class Derived(NamedTuple):
    """What follows from an estimate's expected rates. None where it is not known, and costs also where the model does
    not fit.

    `share_of_limit`: the expected rate over the one that no implementation beats. `per_watt`: of the GPUs' rated
    power (TDP), not of what they draw. Dollars are those of the GPUs' hours, fully used: a million tokens of prompts,
    or of output.
    """

    prefill_share_of_limit: Number
    decode_share_of_limit: Number
    decode_tokens_per_s_per_watt: Number
    price_per_million_prompt_tokens: Number
    price_per_million_output_tokens: Number


class Entry(NamedTuple):
    """One model on one GPU."""

    estimate: Estimate
    derived: Derived


def compare(
    models: Sequence[ModelSpec],
    hardware: Sequence[HardwareSpec],
    options: Options,
    prices: Mapping[str, float] | None = None,
) -> list[Entry]:
    """Every model on every GPU. Raises InputError where the options do not suit a model or a GPU.

    `prices` are dollars a GPU-hour by name of GPU, "" for all others.
    Without a context, all are compared at prompt and output, or at the one that each would have by itself: the shortest.
    """
    if options.context is None and (options.prompt is None or options.output is None):
        options = options._replace(context=min(DEFAULT_CONTEXT, *(model.max_position_embeddings for model in models)))
    entries, known = [], prices or {}
    for model in models:
        for chip in hardware:
            found = estimate(model, chip, options)
            entries.append(Entry(found, derived(found, chip, known.get(chip.name, known.get("")))))
    return entries


def derived(e: Estimate, chip: HardwareSpec, price: float | None) -> Derived:
    """Shares, rates a watt and costs of one estimate."""
    prefill, decode = e.prefill.expected.tokens_per_s, e.decode.expected.tokens_per_s
    gpus = e.workload.gpus
    paid = price * gpus if price is not None and e.memory.fits else None
    watts = chip.tdp and chip.tdp.value * gpus
    return Derived(
        prefill_share_of_limit=_ratio(prefill, e.prefill.limit.tokens_per_s),
        decode_share_of_limit=_ratio(decode, e.decode.limit.tokens_per_s),
        decode_tokens_per_s_per_watt=_ratio(decode, watts),
        price_per_million_prompt_tokens=price_per_million_tokens(paid, prefill),
        price_per_million_output_tokens=price_per_million_tokens(paid, decode),
    )


def _ratio(x: Number, y: Number) -> Number:
    return None if x is None or y is None else x / y
