"""Planning to serve: the layout, and the requests in flight, that give most tokens a second a GPU.

Every layout is evaluated in the steady state of `llmcost estimate --concurrency` (serving/batching.py), on arrays: so
many requests of one length are in flight at any time. The answer is the most that keep every limit on TTFT and TPOT. A
replica has tp·pp·dp GPUs; data-parallel ranks are counted only as far as experts are spread over them, as others would
be replicas of their own. GPUs that make no whole replica are idle.
"""

from __future__ import annotations

from itertools import product
from math import gcd, inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.ground.units import counted
from llmcost.machine.chip import links_of
from llmcost.parallel.layout import DEGREES, Layout
from llmcost.parallel.rules import broken, shape_of
from llmcost.search.plan_apart import plan_apart
from llmcost.search.serving_layouts import ServingCandidate, ServingQuestion, candidate_of, placed, shares_drawn
from llmcost.search.space import Broken, Column, degrees_in_words
from llmcost.serving.batching import serving
from llmcost.serving.room import of_mean_lengths
from llmcost.serving.server import speculation_of
from llmcost.specs.catalog import named_engine

SCHEMA = "llmcost.plan-serving/1"
AXES = DEGREES
OCTAVES = 12  # 4,096 requests of a rank at most
PER_OCTAVE = 8  # numbers tried between one and its double
COUNTS = 513  # numbers tried, from the most that keep the limits down to half of them


class Served(NamedTuple):
    """Figures of some layouts, each with several numbers of requests in flight: arrays of (layouts, numbers).

    `tokens_per_s`: output tokens of a replica. `max_concurrency`: requests that have room in it. `power_share`: of its
    TDP that a GPU draws.
    """

    ttft_seconds: Number
    tpot_seconds: Number
    tokens_per_s: Number
    max_concurrency: Number
    fits: Number
    power_share: Number


class ServingPlan(NamedTuple):
    """The best layouts by tokens a second a GPU; of the others, why they serve not even one request a rank."""

    question: ServingQuestion
    legal: int
    best: list[ServingCandidate]
    unfit: dict[str, int]  # LIMITS, or links that no source gives -> layouts
    illegal: list[Broken]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what a row of `rows` has, in order."""
        figures = ServingCandidate._fields[1:] if self.question.price is not None else ServingCandidate._fields[1:-4]
        return (*AXES, *figures)

    def rows(self) -> list[dict[str, Any]]:
        """The best layouts, the most tokens a second first, in base units."""
        known = [each._asdict() | each.layout._asdict() for each in self.best]
        return [{name: figures[name] for name in self.columns} for figures in known]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost plan --serve --json`."""
        question, w = self.question, self.question.workload
        return {
            "schema": SCHEMA,
            "model": question.model.name,
            "hardware": question.hardware.name,
            "engine": w.engine,
            "gpus": question.gpus,
            "prompt": w.prompt,
            "output": w.output,
            "chunk": w.chunk,
            "dtype": w.dtype,
            "weight_dtype": w.weight_dtype,
            "kv_dtype": w.kv_dtype,
            "ttft_seconds": question.ttft,
            "tpot_seconds": question.tpot,
            "legal": self.legal,
            "best": self.rows(),
            "unfit": self.unfit,
            "illegal": [each._asdict() for each in self.illegal],
        }

    def __hash__(self) -> int:  # a list or a dictionary in it has none
        return hash(repr(self))

    def __repr__(self) -> str:
        """In one line, with the best layout."""
        asked = self.question
        where = f"{asked.model.name} on {asked.gpus:,} × {asked.hardware.name}"
        if not self.best:
            return f"<Plan for serving {where}: none of {counted(self.legal, 'legal layout')} will do>"
        first = self.best[0]
        speed = f"{first.tokens_per_s_per_gpu:,.0f} tokens/s a GPU"
        best = f"{degrees_in_words(first.layout)} × {first.replicas:,}, {speed}"
        return f"<Plan for serving {where}: {counted(self.legal, 'legal layout')}, best {best}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


LIMITS = ("memory", "max_num_seqs", "ttft", "tpot")


def plan_serving(question: ServingQuestion, top: int | None = None) -> ServingPlan:
    """The `top` best layouts, or all, by the formula of their mix, each with the most requests in flight.

    A layout stands there once for each number of tokens that may be guessed.

    Raises InputError where a figure of the GPU is not known, and for prompts apart from a decode that there is not.
    """
    if question.apart and question.workload.output == 1:
        raise InputError("--output 1: nothing is decoded; leave --apart away")
    if question.apart and _sent_over(question) is None:
        raise InputError("--apart: no source gives the speed of the links that keys and values are sent over")
    layouts, illegal = spreads(question)
    timed = [layout for layout in layouts if linked(question, layout)]
    found: list[ServingCandidate] = []
    unfit = dict.fromkeys(LIMITS, 0) | {"links": len(layouts) - len(timed)}
    guesses = question.speculate or (question.workload.speculate,)
    for several, guessed in product((False, True), guesses):
        group = [layout for layout in timed if (layout.gpus() > 1) is several]
        if group:
            _add(question._replace(workload=question.workload._replace(speculate=guessed)), group, found, unfit)
    if question.apart:
        for guessed in guesses:
            of_means = of_mean_lengths(question.workload)._replace(speculate=guessed)
            found += plan_apart(question._replace(workload=of_means), timed)
    best = sorted(found, key=lambda each: (-each.tokens_per_s_per_gpu, each.layout.gpus()))
    why_not = {name: count for name, count in unfit.items() if count}
    return ServingPlan(question, len(layouts), best[:top], why_not, illegal)


def _sent_over(question: ServingQuestion) -> Number:
    """Bytes a second of the links between GPUs that run prompts and those that decode; None: not known."""
    links = links_of(question.hardware)
    return links.node_bytes_per_s if question.gpus <= question.workload.gpus_per_node else links.fabric_bytes_per_s


def spreads(question: ServingQuestion) -> tuple[list[Layout], list[Broken]]:
    """Legal layouts of at most so many GPUs, and the rules that others break.

    Each has as many data-parallel ranks as its experts are spread over.
    """
    model, gpus, node = question.model, question.gpus, int(question.workload.gpus_per_node)
    degrees = sorted({n for n in range(1, gpus + 1) if gpus % n == 0} | {2**n for n in range(gpus.bit_length())})
    experts = any(getattr(layer.mlp, "num_experts", 0) for layer in model.layers)
    legal: list[Layout] = []
    illegal: dict[str, Broken] = {}
    shape = shape_of(model, question.workload.weight_dtype)
    engine = named_engine(question.workload.engine)
    for tp, pp, ep in product(degrees, degrees, degrees if experts else (1,)):
        layout = Layout(tp, pp, ep // gcd(ep, tp), ep, gpus_per_node=node)
        if layout.gpus() > gpus or any(getattr(layout, axis) not in values for axis, values in question.held.items()):
            continue
        rule = broken(layout, shape)
        if engine is not None and (degree := engine.lacking(layout)):
            axis, why = f"engine {degree}", engine.without(degree)
        elif rule is not None:
            axis, why = rule.axis, rule.message(layout)
        else:
            legal.append(layout)
            continue
        first = illegal.get(axis, Broken(why, 0))
        illegal[axis] = first._replace(layouts=first.layouts + 1)
    return legal, list(illegal.values())


def _add(question: ServingQuestion, group: list[Layout], found: list[ServingCandidate], unfit: dict[str, int]) -> None:
    """Add each layout to `found`, with the requests that it serves fastest within every limit; or count it as `unfit`.

    The most that it keeps every limit with are found on a coarse scale first, then among all numbers between two of its
    places. From half of that on, fewer may be faster: near a full cache some are preempted, and computed again.
    """
    coarse = np.unique(np.round(2 ** np.linspace(0, OCTAVES, PER_OCTAVE * OCTAVES + 1)))
    last, missed = _last_allowed(question, group, np.tile(coarse, (len(group), 1)))
    for failed in np.flatnonzero(last < 0):
        unfit[missed[failed]] += 1
    rest = np.flatnonzero(last >= 0)
    if not len(rest):
        return
    kept = [group[row] for row in rest]
    low = coarse[last[rest]]
    high = coarse[np.minimum(last[rest] + 1, len(coarse) - 1)]
    fine = np.minimum(low[:, None] + np.arange(np.max(high - low) + 1), high[:, None])
    place, missed = _last_allowed(question, kept, fine)
    most = fine[np.arange(len(kept)), place]
    half = np.ceil(most / 2)[:, None]
    numbers = np.round(half + (most[:, None] - half) * np.linspace(1, 0, COUNTS))
    served = serve(question, kept, numbers)
    fastest = np.argmax(served.tokens_per_s, axis=1)
    for row, (layout, place_of) in enumerate(zip(kept, fastest, strict=True)):
        ttft, tpot, tokens, room, _, drawn = (float(figure[row, place_of]) for figure in served)
        replicas = question.gpus // layout.gpus()
        found.append(
            candidate_of(
                question,
                layout,
                concurrency=int(numbers[row, place_of]) * layout.dp,
                replicas=replicas,
                tokens_per_s=replicas * tokens,
                ttft=ttft,
                tpot=tpot,
                room=int(room),
                bound=missed[row] or "requests",
                power_share=drawn,
            )
        )


def _last_allowed(question: ServingQuestion, group: list[Layout], share: Column) -> tuple[NDArray[np.intp], list[str]]:
    """For each layout, the place of the largest number of requests a rank that keeps every limit, and what ends there.

    share: numbers of requests a rank, ascending, an array of (layouts, numbers). The place is -1 where even the first
    misses a limit. What ends there is the limit that the next number misses, "" where there is no next one.
    """
    served = serve(question, group, share)
    most_at_a_time = question.workload.max_num_seqs  # more would wait; a fuller queue serves nobody faster
    within = [served.fits.astype(bool), share <= (inf if most_at_a_time is None else most_at_a_time)]
    for limit, figure in ((question.ttft, served.ttft_seconds), (question.tpot, served.tpot_seconds)):
        within.append(np.ones_like(within[0]) if limit is None else figure <= limit)
    good = np.all(within, axis=0)
    last = np.where(good.all(axis=1), share.shape[1], np.argmin(good, axis=1)) - 1  # up to the first that is not
    missed = []
    for row, following in enumerate(last + 1):
        kept = [following == share.shape[1] or bool(each[row, following]) for each in within]
        missed.append("" if all(kept) else LIMITS[kept.index(False)])
    return last, missed


def linked(question: ServingQuestion, layout: Layout) -> bool:
    """Whether the links that a layout uses are known."""
    links = links_of(question.hardware)
    near = layout.gpus() == 1 or links.node_bytes_per_s is not None
    return near and (layout.gpus() <= layout.gpus_per_node or links.fabric_bytes_per_s is not None)


def serve(question: ServingQuestion, group: list[Layout], share: Column) -> Served:
    """Figures of layouts that have all one GPU, or all several. Raises InputError where one of them is not known.

    share: requests a rank, an array of (layouts, numbers).
    """
    server, w, memory = placed(question, group, share)
    mix = serving(server, w, memory, speculation_of(question.hardware, w))
    if mix.expected.output_tokens_per_s is None:
        raise InputError(f"{question.hardware.name}: no source gives its peak in {w.dtype} or its bandwidth")
    found = Served(
        ttft_seconds=mix.expected.ttft_seconds,
        tpot_seconds=mix.expected.tpot_seconds,
        tokens_per_s=mix.expected.output_tokens_per_s,
        max_concurrency=mix.max_concurrency,
        fits=memory.fits & (w.concurrency <= mix.max_concurrency),
        power_share=shares_drawn(
            question,
            (memory.weights_bytes + mix.kv_cache_bytes) / server.chip.bandwidth,
            mix.expected.tpot_seconds,
            mix.expected.total_tokens_per_s / w.gpus,
        ),
    )
    return Served(*[np.broadcast_to(np.asarray(figure), share.shape) for figure in found])
