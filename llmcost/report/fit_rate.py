"""What `llmcost fit --rate --ttft --tpot` prints."""

from __future__ import annotations

from llmcost.ground.units import seconds, significant
from llmcost.report.fit import reasons
from llmcost.report.tables import Table, differing
from llmcost.search.fit_rate import RateOffers


def fit_rate_table(title: str, found: RateOffers) -> Table:
    """The set-ups that keep the limits, the cheapest first; without prices those with the fewest GPUs."""
    priced = any(offer.price_per_hour is not None for offer in found.offers)
    apart = any(offer.prompt_replicas is not None for offer in found.offers)
    engines = differing(offer.engine for offer in found.offers)
    words = ["GPUs", "", "weights", *["engine"] * engines, "replicas"]
    heads = [*words, *["for prompts"] * apart]
    heads += [f"TTFT {found.at}", f"TPOT {found.at}", "tokens/s", "busy"]
    heads += ["$/hour", "$/M tokens"] * priced
    rows = [
        (
            str(offer.gpus),
            offer.title,
            offer.weight_dtype,
            *((offer.engine or "",) if engines else ()),
            _replicas(offer.replicas, offer.tp, offer.pp),
            *([_replicas(offer.prompt_replicas, offer.prompt_tp, offer.prompt_pp)] * apart),
            *("–" if time is None else seconds(time) for time in (offer.ttft_seconds, offer.tpot_seconds)),
            significant(offer.output_tokens_per_s),
            f"{offer.busy_share:.0%}",
            *((_dollars(offer.price_per_hour), _dollars(offer.price_per_million_tokens)) if priced else ()),
        )
        for offer in found.offers
    ]
    limits = {"TTFT": found.ttft_seconds, "TPOT": found.tpot_seconds}
    told = ", ".join(f"{name} {seconds(limit)}" for name, limit in limits.items() if limit is not None)
    share = f"{found.at} of {found.rate:g} requests a second"
    left_out = reasons(found.left_out, len(found.left_out) + len(found.offers))
    if not rows:
        return Table(title, ("",), "l", (), (f"No set-up keeps {told} for {share}.", *left_out))
    notes = (f"{share} keep {told}; simulated request by request.", *left_out)
    return Table(title, tuple(heads), "r" + "l" * (len(words) - 2) + "r" * (len(heads) - len(words) + 1), rows, notes)


def _replicas(number: int | None, tp: int | None, pp: int | None) -> str:
    """How many replicas there are, and their degrees; nothing of none."""
    if number is None or pp is None:
        return ""
    return f"{number} × tp {tp}" + (f", pp {pp}" if pp > 1 else "")


def _dollars(amount: float | None) -> str:
    return "–" if amount is None else f"{amount:,.2f}"
