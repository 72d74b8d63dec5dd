"""Models and GPUs side by side, at the same workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.html import html_table
from llmcost.machine.power import basis_of, drawn_by
from llmcost.model.spec import ModelSpec
from llmcost.search.prices import Sold, power, price_per_million_tokens, sold
from llmcost.serving.estimate import lengths
from llmcost.serving.options import Options
from llmcost.serving.power import share_of
from llmcost.serving.results import Estimate, leaves, to_dict
from llmcost.simulation.steady import steady
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.compare/1"
SHORT = ("memory.fits", "prefill.expected.tokens_per_s", "decode.expected.tokens_per_s")  # figures in a notebook


class Derived(NamedTuple):
    """What follows from an estimate's expected rates; None where it is not known, and prices where it does not fit.

    `share_of_limit`: the expected rate over the one that no implementation beats. `per_watt`: of the GPUs' rated
    power (TDP), `per_joule` of what they draw, which is `power_share` of it. `most`: of decode at the largest batch.
    `price`: dollars of GPU-hours, fully used, for a million tokens of prompts, or of output as prices.py says.
    """

    prefill_share_of_limit: Number
    decode_share_of_limit: Number
    decode_tokens_per_s_per_watt: Number
    decode_tokens_per_joule: Number
    power_share: Number
    power_basis: str
    most_tokens_per_s: Number
    price_per_million_prompt_tokens: Number
    price_per_million_output_tokens: Number


class Entry(NamedTuple):
    """One model on one GPU, under one engine."""

    estimate: Estimate
    derived: Derived

    def figures(self) -> dict[str, Any]:
        """Every figure by its path, as in the JSON."""
        known = (*leaves(self.estimate), *leaves(self.derived, "derived."))
        return {path: to_dict(value) for path, value in known}

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the whole estimate with what is derived from it."""
        return self.estimate.to_dict() | {"derived": self.derived._asdict()}


class Comparison(NamedTuple):
    """Every model on every GPU, GPU by GPU for each model and engine by engine for each GPU, at the same options."""

    entries: tuple[Entry, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row an entry: every figure by its path in the JSON."""
        return [entry.figures() for entry in self.entries]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost compare --json`."""
        return {"schema": SCHEMA, "entries": [entry.to_dict() for entry in self.entries]}

    def __repr__(self) -> str:
        """In one line, with what decodes fastest."""
        known = [each.estimate for each in self.entries if each.estimate.decode.expected.tokens_per_s is not None]
        if not known:
            return f"<Comparison of {len(self.entries)}>"
        best = max(known, key=lambda e: float(e.decode.expected.tokens_per_s))
        return f"<Comparison of {len(self.entries)}; decodes fastest: {best!r}>"

    def _repr_html_(self) -> str:
        columns = ("model.name", "hardware.name", *SHORT)
        return html_table(repr(self), [{path: row[path] for path in columns} for row in self.rows()])


def compare(
    models: Sequence[ModelSpec],
    hardware: Sequence[HardwareSpec],
    options: Options,
    prices: Mapping[str, float] | None = None,
    engines: Sequence[str] = (),
) -> Comparison:
    """Every model on every GPU. Raises InputError where the options do not suit a model or a GPU.

    `prices` are dollars a GPU-hour by name of GPU, "" for all others. `engines`: those that serve, in place of that of
    the options.
    Without a context, all are compared at prompt and output; without these, at the shortest of the contexts that each
    model would have by itself.
    """
    if options.context is None and (options.prompt is None or options.output is None):
        options = options._replace(context=min(lengths(model, options)[0] for model in models))
    entries, known = [], prices or {}
    for model in models:
        for chip in hardware:
            price = known.get(chip.name, known.get(""))
            for engine in engines or (options.engine,):
                asked = options._replace(engine=engine)
                found = steady(model, chip, asked)
                asked = asked._replace(engine=found.workload.engine)
                entries.append(Entry(found, derived(found, chip, price, sold(model, chip, asked, found, price))))
    return Comparison(tuple(entries))


def derived(e: Estimate, chip: HardwareSpec, price: float | None, at_most: Sold) -> Derived:
    """Shares, rates a watt and costs of one estimate. `price`: dollars a GPU-hour."""
    prefill, decode = e.prefill.expected.tokens_per_s, e.decode.expected.tokens_per_s
    gpus = e.workload.gpus
    paid = price * gpus if price is not None and e.memory.fits else None
    decoding = share_of(e._replace(request=None, serving=None), chip)
    return Derived(
        prefill_share_of_limit=_ratio(prefill, e.prefill.limit.tokens_per_s),
        decode_share_of_limit=_ratio(decode, e.decode.limit.tokens_per_s),
        decode_tokens_per_s_per_watt=_ratio(decode, power(chip, gpus)),
        decode_tokens_per_joule=_ratio(decode, power(chip, gpus, share=decoding)),
        power_share=decoding,
        power_basis=basis_of(drawn_by(chip)),
        price_per_million_prompt_tokens=price_per_million_tokens(paid, prefill),
        most_tokens_per_s=at_most.most_tokens_per_s,
        price_per_million_output_tokens=at_most.price_per_million_tokens,
    )


def _ratio(x: Number, y: Number) -> Number:
    return None if x is None or y is None else x / y
