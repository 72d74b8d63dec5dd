"""What holds a model, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence

from llmcost.ground.units import scaled, significant
from llmcost.parallel.layout import DEGREES
from llmcost.report.figures import UNKNOWN, degrees_of
from llmcost.report.tables import Table
from llmcost.search.fit import Offer

WORDS = ("GPUs", "", "computes in", "weights in")
FIGURES = ("weights", "memory", "batch", "context", "prefill", "decode", "decode at most")


def fit_table(title: str, offers: Sequence[Offer], batch: int, basis: str, *, priced: bool) -> Table:
    """A row for each offer: the GPUs, the precision, how far memory reaches, what it gives.

    A column of requests in flight where they were asked for, a column of prices where there are prices.
    """
    served = any(offer.served_tokens_per_s is not None for offer in offers)
    last = ("requests",) * served + ("a million output tokens",) * priced
    rows = [_cells(offer, served=served, priced=priced) for offer in offers]
    user = "one sequence" if batch == 1 else f"{batch:,} sequences"
    is_priced = ", which is priced" * priced
    most = f"; requests: output of those in flight{is_priced}" if served else is_priced
    notes = (
        "weights, memory: of one GPU. batch, context: the largest that have room.",
        f"prefill, decode: tokens/s of all GPUs, {basis}, at {user}; decode at most: at the largest batch{most}.",
    )
    align = "l" * len(WORDS) + "r" * (len(FIGURES) + len(last))
    return Table(title, (*WORDS, *FIGURES, *last), align, rows, notes if rows else ("No GPU asked about holds it.",))


def _cells(offer: Offer, *, served: bool, priced: bool) -> tuple[str, ...]:
    rates = [offer.prefill_tokens_per_s, offer.decode_tokens_per_s, offer.most_tokens_per_s]
    if served:
        rates.append(offer.served_tokens_per_s)
    shown = [_rate(rate) for rate in rates]
    if offer.prefill_tokens_per_s is not None and offer.decode_tokens_per_s is None:  # it gives no tokens
        shown[1:] = ["none"] * len(shown[1:])
    return (
        f"{offer.gpus} × {offer.hardware}",
        degrees_of(offer, DEGREES),
        offer.dtype,
        offer.weight_dtype,
        scaled(offer.weights_bytes, "B"),
        scaled(offer.usable_bytes, "B"),
        f"{offer.max_batch:,}",
        f"{offer.max_context:,}",
        *shown,
        *[_price(offer)] * priced,
    )


def _rate(tokens_per_s: float | None) -> str:
    return UNKNOWN if tokens_per_s is None else significant(tokens_per_s)


def _price(offer: Offer) -> str:
    price = offer.price_per_million_tokens
    return UNKNOWN if price is None else f"${significant(price)}"
