"""Which GPUs hold a model: kinds of GPUs, numbers of them and precisions, with what they give and cost.

An offer is one kind of GPU, so many of them, one precision: an estimate, with the layout and the data types that
`estimate` takes for so many GPUs and such weights. What `estimate` refuses is left out, and said. Tokens are priced as
prices.py says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError, check_count, check_word
from llmcost.ground.html import html_table
from llmcost.machine.power import basis_of, drawn_by
from llmcost.model.sizes import element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.search.prices import sold
from llmcost.serving.estimate import check_mix, estimate, workload_of
from llmcost.serving.options import BASES, COMPUTE_DTYPES, Options
from llmcost.serving.results import to_dict
from llmcost.specs.catalog import named_engine
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.fit/1"
GPUS = (1, 2, 4, 8)
MOST_GPUS = 10**4
# What checkpoints are deployed in; of a model that is kept in another format, that one and what is smaller.
WEIGHTS: tuple[str, ...] = ("bf16", "fp8", "int4-g128")
OWN_WEIGHTS = (  # of engines that have formats of their own
    *("q8_0", "q4_k_m"),
    *("mlx-8bit-g64", "mlx-4bit-g64"),
    *("mlc-q4", "int8", "int4-g32-bf16-zp"),
)


ORDERS = {True: "the cheapest million output tokens first", False: "the fewest GPUs first, of as many the fastest"}


class Precision(NamedTuple):
    """Data types of computing and of weights; None: as `estimate` chooses them for the model and the GPU."""

    dtype: str | None
    weight_dtype: str | None


class LeftOut(NamedTuple):
    """So many GPUs of a kind that make no offer in some data types, and why."""

    hardware: str
    gpus: int
    dtype: str | None
    weight_dtype: str | None
    why: str


class Offer(NamedTuple):
    """GPUs that might hold the model.

    Bytes are of one GPU; tokens a second and dollars of all. Rates are None where a peak is not known, or nothing fits.
    """

    hardware: str
    title: str
    gpus: int
    tp: int
    pp: int
    dp: int
    ep: int
    dtype: str
    weight_dtype: str
    kv_dtype: str
    fits: bool
    weights_bytes: Number
    usable_bytes: Number
    max_batch: int
    max_context: int
    prefill_tokens_per_s: Number  # of the batch asked for
    decode_tokens_per_s: Number
    decode_tokens_per_s_per_user: Number
    most_tokens_per_s: Number  # decode at the largest batch
    served_tokens_per_s: Number  # output of the requests that were asked for (--concurrency), which is priced
    engine: str | None  # whose rates these are
    price_per_gpu_hour: Number
    price_per_million_tokens: Number
    joules_per_million_tokens: Number  # of the tokens that are priced
    power_share: Number  # of its TDP that a GPU draws then
    power_basis: str
    expected_basis: str  # what the expected rates rest on
    error: float | None  # mean error that expected decode of this kind has shown


class Offers(NamedTuple):
    """Everything `llmcost fit` answers: every offer, whether it holds the model or not, and what makes no offer."""

    model: str
    basis: str
    offers: tuple[Offer, ...]
    batch: int  # as asked for
    context: int
    counted: str  # what of the model
    left_out: tuple[LeftOut, ...]
    order: str  # of `holding`, in words

    def holding(self) -> list[Offer]:
        """Those that hold the model, in the order of `ranked`."""
        return ranked(offer for offer in self.offers if offer.fits)

    def rows(self) -> list[dict[str, Any]]:
        """A row an offer, in base units."""
        return [to_dict(offer) for offer in self.offers]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost fit --json`."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "counted": self.counted,
            "basis": self.basis,
            "order": self.order,
            "offers": self.rows(),
            "left_out": [to_dict(each) for each in self.left_out],
        }

    def __repr__(self) -> str:
        """In one line, with the best that holds the model."""
        found = self.holding()
        if not found:
            return f"<Offers for {self.model}: none of {len(self.offers)} holds it>"
        best = f"{found[0].gpus} × {found[0].hardware} with weights in {found[0].weight_dtype}"
        return f"<Offers for {self.model}: {len(found)} of {len(self.offers)} hold it, first {best}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), [to_dict(offer) for offer in self.holding()])


def fit(
    model: ModelSpec,
    hardware: Iterable[HardwareSpec],
    options: Options = Options(),  # noqa: B008
    gpus: Sequence[int] = GPUS,
    precisions: Sequence[Precision] | None = None,
    prices: dict[str, float] | None = None,
    basis: str = "expected",
    pue: float = 1,
) -> Offers:
    """Every offer, whether it holds the model or not, and what `estimate` refuses.

    `prices` are dollars a GPU-hour by name of GPU, "" for all others; `pue`: the data centre's energy over its GPUs'.
    Raises InputError where the options make no sense.
    """
    check_word("--basis", basis, BASES)
    for number in gpus:
        check_count("--gpus", number, MOST_GPUS)
    check_mix(model, options)  # of what was asked, before engines are named
    wanted = usual_precisions(model, options.engine) if precisions is None else precisions
    first = wanted[0].weight_dtype
    plain = workload_of(model, None, options._replace(profile=None, weight_dtype=first))
    offers: dict[tuple[Any, ...], Offer] = {}
    left_out = []
    for chip, number, precision in product(hardware, gpus, wanted):
        chosen = options._replace(gpus=number, **precision._asdict())
        try:
            w = workload_of(model, chip, chosen)
        except InputError as refusal:
            left_out.append(LeftOut(chip.name, number, *precision, str(refusal)))
            continue
        price = (prices or {}).get(chip.name, (prices or {}).get(""))
        same = (chip.name, number, w.dtype, w.weight_dtype)  # the model's own type may be one of the usual ones
        if same not in offers:
            offers[same] = _offer(model, chip, chosen._replace(engine=w.engine), price, basis, pue)
    counted = model.counted or "all"
    order = ORDERS[any(offer.price_per_million_tokens is not None for offer in offers.values())]
    found = tuple(offers.values())
    return Offers(model.name, basis, found, plain.batch, plain.context, counted, tuple(left_out), order)


def usual_precisions(model: ModelSpec, engine: str | None = None) -> list[Precision]:
    """What the model is kept in, and what weights are often made smaller to; of an engine, what it has kernels for."""
    own, known = bytes_of_a_weight(model.weight_format or WEIGHTS[0]), WEIGHTS
    if (spec := named_engine(engine)) is not None and spec.formats:
        known = tuple(each for each in (*WEIGHTS, *OWN_WEIGHTS) if spec.takes(each))
    return [Precision(None, weights) for weights in (None, *(each for each in known if bytes_of_a_weight(each) < own))]


def precisions_of(
    model: ModelSpec, options: Options, dtypes: Sequence[str] | None = None, weights: Sequence[str] | None = None
) -> list[Precision]:
    """Every data type of computing asked for with every format of weights, or the usual ones of what is not asked for.

    Raises InputError where one, or an option, makes no sense on any GPU.
    """
    formats = [each for each in dtypes or () if each not in COMPUTE_DTYPES]  # --dtype q4_0 is a format of weights
    if formats:
        dtypes, weights = [each for each in dtypes or () if each not in formats], [*(weights or ()), *formats]
    if model.unread and weights is None:
        workload_of(model, None, options)  # which refuses it
    usual = [each.weight_dtype for each in usual_precisions(model, options.engine)]
    wanted = usual if weights is None else weights
    found = [Precision(dtype, each) for dtype in dtypes or (None,) for each in wanted]
    for dtype, each in found:
        workload_of(model, None, options._replace(dtype=dtype, weight_dtype=each, profile=None))
    return found


def bytes_of_a_weight(weights: str) -> Number:
    """Bytes that a weight takes in this format, scales included."""
    return element_bytes(weights, "bf16", "bf16").Bw


def _offer(
    model: ModelSpec, chip: HardwareSpec, options: Options, price: float | None, basis: str, pue: float
) -> Offer:
    """What so many GPUs at this precision give: memory and rates of the batch asked for, and decode at the largest one.

    `price`: dollars a GPU-hour.
    """
    e = estimate(model, chip, options)
    w, m, fits = e.workload, e.memory, e.memory.fits
    prefill, decode = getattr(e.prefill, basis), getattr(e.decode, basis)
    at_most = sold(model, chip, options, e, price, basis, pue)
    return Offer(
        hardware=chip.name,
        title=chip.title,
        gpus=w.gpus,
        tp=w.tp,
        pp=w.pp,
        dp=w.dp,
        ep=w.ep,
        dtype=w.dtype,
        weight_dtype=w.weight_dtype,
        kv_dtype=w.kv_dtype,
        fits=fits,
        weights_bytes=m.weights_bytes,
        usable_bytes=m.usable_bytes,
        max_batch=m.max_batch,
        max_context=m.max_context,
        prefill_tokens_per_s=prefill.tokens_per_s if fits else None,
        decode_tokens_per_s=decode.tokens_per_s if fits else None,
        decode_tokens_per_s_per_user=decode.tokens_per_s_per_user if fits else None,
        most_tokens_per_s=at_most.most_tokens_per_s,
        served_tokens_per_s=at_most.served_tokens_per_s,
        engine=w.engine,
        price_per_gpu_hour=price,
        price_per_million_tokens=at_most.price_per_million_tokens,
        joules_per_million_tokens=at_most.joules_per_million_tokens,
        power_share=at_most.power_share,
        power_basis=basis_of(drawn_by(chip)),
        expected_basis=e.decode.expected.basis,
        error=e.decode.expected.error,
    )


def best(offers: Iterable[Offer]) -> list[Offer]:
    """Of each kind of GPU the fewest that hold the model, at the widest precision that so many hold."""
    first: dict[str, Offer] = {}
    for offer in offers:
        if offer.fits and (offer.hardware not in first or offer.gpus < first[offer.hardware].gpus):
            first[offer.hardware] = offer
    return list(first.values())


def ranked(offers: Iterable[Offer]) -> list[Offer]:
    """The cheapest first where prices are known; else the fewest GPUs, then the fastest."""

    def key(offer: Offer) -> tuple[float, int, float]:
        price = offer.price_per_million_tokens
        return (float("inf") if price is None else price, offer.gpus, -(offer.most_tokens_per_s or 0))

    return sorted(offers, key=key)
