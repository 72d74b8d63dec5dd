"""What holds a model, as a person reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llmcost.ground.units import counted, scaled, significant
from llmcost.parallel.layout import DEGREES
from llmcost.report.figures import UNKNOWN, degrees_of, draws
from llmcost.report.tables import Table, differing
from llmcost.search.fit import LeftOut, Offer, Offers

MOST_REASONS = 4  # that are shown for what is left out
WORDS = ("GPUs", "", "computes in", "weights in")
FIGURES = ("weights", "memory", "batch", "context", "prefill", "decode", "decode at most")


def fit_table(title: str, found: Offers, offers: Sequence[Offer], *, priced: bool) -> Table:
    """A row for some of the offers: the GPUs, the precision, how far memory reaches, what it gives.

    A column of requests in flight where they were asked for, a column of prices where there are prices.
    """
    batch, basis = found.batch, found.basis
    served = any(offer.served_tokens_per_s is not None for offer in offers)
    last = ("requests",) * served + ("a million output tokens", "energy in MJ") * priced
    engines = differing(offer.engine for offer in offers)
    rows = [_cells(offer, served=served, priced=priced, named=engines) for offer in offers]
    user = "one sequence" if batch == 1 else f"{batch:,} sequences"
    is_priced = ", which is priced" * priced
    most = f"; requests: output of those in flight, by a formula{is_priced}" if served else is_priced
    notes = [
        "weights, memory: of one GPU. batch, context: the largest that have room.",
        f"prefill, decode: tokens/s of all GPUs, {basis}, at {user}; decode at most: at the largest batch{most}.",
        *(_draws(offers) if priced else ()),
        f"In order: {found.order}.",
        *_bases(offers, basis),
        *reasons(found.left_out, len(found.left_out) + len(found.offers)),
    ]
    words = (*WORDS, *("engine",) * engines)
    align = "l" * len(words) + "r" * (len(FIGURES) + len(last))
    return Table(
        title,
        (*words, *FIGURES, *last),
        align,
        rows,
        notes=tuple(notes)
        if rows
        else ("No GPU asked about holds it.", *reasons(found.left_out, len(found.left_out) + len(found.offers))),
        last=("weights in", "batch", "decode", "decode at most", *last),
    )


def _bases(offers: Sequence[Offer], basis: str) -> list[str]:
    """What the expected rates of each kind of GPU rest on, and how far such decode rates were off."""
    kinds: dict[str, dict[str, None]] = {}
    for offer in offers:
        off = "errors not known" if offer.error is None else f"decode {offer.error:.0%} off on average"
        kinds.setdefault(f"{offer.expected_basis}, {off}", {})[offer.hardware] = None
    return [f"Expected by {kind}: {', '.join(names)}." for kind, names in kinds.items()] if basis == "expected" else []


def _draws(offers: Sequence[Offer]) -> list[str]:
    """What energy is counted of, and what each kind of GPU draws of its TDP."""
    known = [each for each in offers if each.joules_per_million_tokens is not None]
    return [
        "MJ: megajoules of a million output tokens (--pue for the data centre's).",
        *draws((each.power_basis, each.hardware, float(each.power_share)) for each in known),
    ]


def reasons(left_out: Sequence[LeftOut], tried: int) -> list[str]:
    """What makes no offer, of so many that were tried, by the reason that is given, the most frequent first."""
    if not left_out:
        return []
    first = Counter(each.why for each in left_out).most_common(MOST_REASONS)
    others = len(left_out) - sum(number for _, number in first)
    more = [f"  {others:,}: other reasons (--json has all)"] if others else []
    asked = f"{len(left_out):,} of {counted(tried, 'combination')}"
    return [f"Left out, {asked}:", *(f"  {number:,}: {why}" for why, number in first), *more]


def _cells(offer: Offer, *, served: bool, priced: bool, named: bool) -> tuple[str, ...]:
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
        *((offer.engine or "",) if named else ()),
        scaled(offer.weights_bytes, "B"),
        scaled(offer.usable_bytes, "B"),
        f"{offer.max_batch:,}",
        f"{offer.max_context:,}",
        *shown,
        *([_price(offer), _megajoules(offer)] if priced else []),
    )


def _rate(tokens_per_s: float | None) -> str:
    return UNKNOWN if tokens_per_s is None else significant(tokens_per_s)


def _megajoules(offer: Offer) -> str:
    joules = offer.joules_per_million_tokens
    return UNKNOWN if joules is None else significant(joules / 10**6)


def _price(offer: Offer) -> str:
    price = offer.price_per_million_tokens
    return UNKNOWN if price is None else f"${significant(price)}"
