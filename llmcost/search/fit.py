"""Which GPUs hold a model: kinds of GPUs, numbers of them and precisions, with what they give and cost.

An offer is one kind of GPU, so many of them, one precision. GPUs of a node split each layer as far as heads divide
(tensor parallelism); the rest are pipeline stages, where layers divide; else experts lie on all GPUs, each with its own
sequences (expert and data parallelism). A million output tokens is priced at the largest batch, as GPU-hours over the
tokens of decode, prompts not counted; where requests in flight are asked for, as GPU-hours over their output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import check_count, check_word
from llmcost.ground.html import html_table
from llmcost.ground.options import MOST
from llmcost.ground.units import HOUR
from llmcost.model.sizes import element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import DEGREES, Layout
from llmcost.parallel.rules import broken, shape_of
from llmcost.serving.estimate import default_dtype, estimate, workload_of
from llmcost.serving.options import Options
from llmcost.serving.results import to_dict
from llmcost.specs.catalog import load_engine
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.fit/1"
GPUS = (1, 2, 4, 8)
MOST_GPUS = 10**4
# What checkpoints are deployed in; of a model that is kept in another format, that one and what is smaller.
WEIGHTS = ("bf16", "fp8", "int4-g128")
# Formats of weights that are computed in as they are, where the GPU can; others are unpacked first.
COMPUTED = {"fp8": "fp8", "nvfp4": "fp4"}
BASES = ("textbook", "limit", "expected")


class Precision(NamedTuple):
    """Data types of computing (None: the weights' own where the GPU has it, else the GPU's default) and of weights."""

    dtype: str | None
    weight_dtype: str


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
    served_tokens_per_s: Number  # output of the requests in flight that were asked for (--concurrency), which is priced
    price_per_gpu_hour: Number
    price_per_million_tokens: Number


class Offers(NamedTuple):
    """Everything `llmcost fit` answers: every offer, whether it holds the model or not."""

    model: str
    basis: str
    offers: tuple[Offer, ...]
    batch: int  # as asked for
    context: int
    counted: str  # what of the model

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
            "offers": self.rows(),
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
) -> Offers:
    """Every offer, whether it holds the model or not; where no number of GPUs divides the model, there is none.

    `prices` are dollars a GPU-hour by name of GPU, "" for all others. Raises InputError where the options make no
    sense.
    """
    check_word("--basis", basis, BASES)
    for number in gpus:
        check_count("--gpus", number, MOST_GPUS)
    wanted = usual_precisions(model) if precisions is None else precisions
    offers = []
    engine = None if options.engine is None else load_engine(options.engine)
    for chip in hardware:
        if engine is not None and not engine.runs_on(chip):
            continue
        price = (prices or {}).get(chip.name, (prices or {}).get(""))
        for number in gpus:
            for each in supported(chip, wanted):
                layout = layout_for(model, chip, number, options.gpus_per_node, each.weight_dtype)
                if layout is not None:
                    offers.append(_offer(model, chip, options, layout, each, price, basis))
        w = workload_of(model, None, options._replace(profile=None, weight_dtype=wanted[0].weight_dtype))
    return Offers(model.name, basis, tuple(offers), w.batch, w.context, model.counted or "all")


def usual_precisions(model: ModelSpec) -> list[Precision]:
    """What the model is kept in, and what weights are often made smaller to."""
    own = model.weight_format or WEIGHTS[0]
    return [Precision(None, weights) for weights in (own, *(each for each in WEIGHTS if _bytes(each) < _bytes(own)))]


def precisions_of(
    model: ModelSpec, options: Options, dtypes: Sequence[str] | None = None, weights: Sequence[str] | None = None
) -> list[Precision]:
    """Every data type of computing asked for with every format of weights, or the usual ones of what is not asked for.

    Raises InputError where one, or an option, makes no sense on any GPU.
    """
    if model.unread and weights is None:
        workload_of(model, None, options)  # which refuses it
    wanted = [each.weight_dtype for each in usual_precisions(model)] if weights is None else weights
    found = [Precision(dtype, each) for dtype in dtypes or (None,) for each in wanted]
    for dtype, each in found:
        workload_of(model, None, options._replace(dtype=dtype, weight_dtype=each, profile=None))
    return found


def _bytes(weights: str) -> Number:
    return element_bytes(weights, "bf16", "bf16").Bw


def supported(chip: HardwareSpec, precisions: Iterable[Precision]) -> Iterator[Precision]:
    """Those that the GPU can compute in, their data type filled in."""
    plain = default_dtype(chip)
    for dtype, weights in precisions:
        own = next((each for kind, each in COMPUTED.items() if weights.startswith(kind)), plain)
        computed = dtype or (own if own in chip.peak else plain)
        if computed in chip.peak or not chip.peak:
            yield Precision(computed, plain if weights == WEIGHTS[0] else weights)


def layout_for(
    model: ModelSpec, chip: HardwareSpec, gpus: int, node: int | None = None, weights: str | None = None
) -> Layout | None:
    """The layout of so many GPUs; None where nothing divides.

    As much tensor parallelism as a node has GPUs for and the model allows, the rest pipeline stages; else experts over
    all GPUs. `node`: GPUs of a node; None: as the spec says. `weights`: their format.
    """
    node = node or chip.gpus_in_a_node()
    degrees = [tp for tp in range(min(gpus, node), 0, -1) if gpus % tp == 0]
    layouts = [
        *(Layout(tp, gpus // tp, gpus_per_node=node) for tp in degrees),
        Layout(dp=gpus, ep=gpus, gpus_per_node=node),
    ]
    shape = shape_of(model, weights)
    return next((layout for layout in layouts if broken(layout, shape) is None), None)


def _offer(
    model: ModelSpec,
    chip: HardwareSpec,
    options: Options,
    layout: Layout,
    precision: Precision,
    price: float | None,
    basis: str,
) -> Offer:
    """What so many GPUs at this precision give: memory and rates of the batch asked for, and decode at the largest one.

    `price`: dollars a GPU-hour.
    """
    degrees = {name: getattr(layout, name) for name in DEGREES}
    chosen = options._replace(dtype=precision.dtype, weight_dtype=precision.weight_dtype, **degrees)
    e = estimate(model, chip, chosen)
    m, fits = e.memory, e.memory.fits
    largest = estimate(model, chip, chosen._replace(batch=min(m.max_batch, MOST))) if fits else None
    prefill, decode = getattr(e.prefill, basis), getattr(e.decode, basis)
    most = None if largest is None else getattr(largest.decode, basis).tokens_per_s
    served = getattr(e.serving, basis, None) if fits else None  # the textbook has no rule for a mix
    served_tokens = None if served is None else served.output_tokens_per_s
    priced = most if options.concurrency is None else served_tokens
    return Offer(
        hardware=chip.name,
        title=chip.title,
        gpus=layout.gpus(),
        tp=layout.tp,
        pp=layout.pp,
        dp=layout.dp,
        ep=layout.ep,
        dtype=e.workload.dtype,
        weight_dtype=e.workload.weight_dtype,
        kv_dtype=e.workload.kv_dtype,
        fits=fits,
        weights_bytes=m.weights_bytes,
        usable_bytes=m.usable_bytes,
        max_batch=m.max_batch,
        max_context=m.max_context,
        prefill_tokens_per_s=prefill.tokens_per_s if fits else None,
        decode_tokens_per_s=decode.tokens_per_s if fits else None,
        decode_tokens_per_s_per_user=decode.tokens_per_s_per_user if fits else None,
        most_tokens_per_s=most,
        served_tokens_per_s=served_tokens,
        price_per_gpu_hour=price,
        price_per_million_tokens=price_per_million_tokens(None if price is None else price * layout.gpus(), priced),
    )


def price_per_million_tokens(price_per_hour: Number, tokens_per_s: Number) -> Number:
    """Dollars for a million tokens, of GPUs that are never idle; None where price or rate is not known.

    `price_per_hour`: dollars an hour of all GPUs together, which give `tokens_per_s` together.
    """
    return None if price_per_hour is None or tokens_per_s is None else price_per_hour / (tokens_per_s * HOUR) * 10**6


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
