"""What holds a model, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence

from llmcost.ground.units import scaled, significant
from llmcost.parallel.layout import DEGREES
from llmcost.report.tables import Table
from llmcost.search.fit import Offer

UNKNOWN = "not known"


def fit_table(title: str, offers: Sequence[Offer], batch: int, basis: str, *, priced: bool) -> Table:
    """A row an offer: the GPUs, the precision, how far memory reaches, what it gives."""
    served = any(offer.served_tokens_per_s is not None for offer in offers)
    columns = [
        "GPUs",
        "",
        "computes in",
        "weights in",
        "weights",
        "memory",
        "batch",
        "context",
        "prefill",
        "decode",
        "decode at most",
    ]
    cells = [
        (
            f"{offer.gpus} × {offer.hardware}",
            _layout(offer),
            offer.dtype,
            offer.weight_dtype,
            scaled(offer.weights_bytes, "B"),
            scaled(offer.usable_bytes, "B"),
            f"{offer.max_batch:,}",
            f"{offer.max_context:,}",
            *(_rate(rate) for rate in (offer.prefill_tokens_per_s, offer.decode_tokens_per_s, offer.most_tokens_per_s)),
        )
        + ((_rate(offer.served_tokens_per_s),) if served else ())
        + ((_price(offer),) if priced else ())
        for offer in offers
    ]
    if served:
        columns.append("requests")
    if priced:
        columns.append("a million output tokens")
    user = "one sequence" if batch == 1 else f"{batch:,} sequences"
    notes = (
        "weights, memory: of one GPU. batch, context: the largest that have room.",
        f"prefill, decode: tokens/s of all GPUs, {basis}, at {user}; decode at most: at the largest batch"
        + ", which is priced." * (priced and not served)
        + f"; requests: output of those in flight{', which is priced' * priced}." * served,
    )
    return Table(
        title,
        tuple(columns),
        "llll" + "r" * (len(columns) - 4),
        cells,
        notes if cells else ("No GPU asked about holds it.",),
    )


def _layout(offer: Offer) -> str:
    degrees = [f"{name} {getattr(offer, name)}" for name in DEGREES if getattr(offer, name) > 1]
    return ", ".join(degrees)


def _rate(tokens_per_s: float | None) -> str:
    return UNKNOWN if tokens_per_s is None else significant(tokens_per_s)


def _price(offer: Offer) -> str:
    price = offer.price_per_million_tokens
    return UNKNOWN if price is None else f"${significant(price)}"
