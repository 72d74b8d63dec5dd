"""Planning to serve: the layout and batch that give most tokens a second a GPU within limits on waiting.

Requests of one length arrive evenly, as many as leave (continuous batching). A rank runs a decode step for its sequences, and between
steps the whole prompt of each request that arrives:

    a token of each sequence   t = step + b·p/o      b sequences of a rank, p a prompt's time on its busiest stage, o tokens out
    to the first token         the prompt through all stages, after the step that is running

Figures of prompts and steps are those of `llmcost estimate`. A replica has tp·pp·dp GPUs; data-parallel ranks are counted only as far
as experts are spread over them, as others would be replicas of their own. GPUs that make no whole replica are idle.
"""

from __future__ import annotations

from itertools import product
from math import gcd
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmcost.algebra import Number
from llmcost.counting import cache_bytes_per_token, kept_bytes
from llmcost.efficiency import Efficiency, default_for
from llmcost.errors import InputError
from llmcost.estimate import chip_of
from llmcost.inference import decode_step
from llmcost.layout import Layout, problems
from llmcost.memory import serving_memory
from llmcost.parallel import Plan
from llmcost.pipeline import Server, two_of
from llmcost.results import KvCache, Workload
from llmcost.sizes import Load, element_bytes
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.model import ModelSpec

SCHEMA = "llmcost.plan-serving/1"
Column: TypeAlias = NDArray[np.float64]
OCTAVES = 12  # 4,096 sequences of a rank at most
PER_OCTAVE = 8  # batches tried between one and its double


class Question(NamedTuple):
    """What is to be served: `workload` has lengths, data types and node; None: no limit. Seconds."""

    model: ModelSpec
    hardware: HardwareSpec
    gpus: int
    workload: Workload
    ttft: float | None = None
    tpot: float | None = None
    held: dict[str, tuple[int, ...]] = {}  # noqa: RUF012 - axis -> values that it may take
    efficiency: Efficiency | None = None  # the defaults of the GPU

    def output(self) -> int:
        """Tokens that a request gives."""
        assert self.workload.output is not None
        return int(self.workload.output)


class Served(NamedTuple):
    """Figures of some layouts, each with a batch: seconds, bytes a GPU, output tokens a second of a replica."""

    prompt_seconds: Number
    step_seconds: Number
    ttft_seconds: Number
    tpot_seconds: Number
    tokens_per_s: Number
    memory_bytes: Number
    fits: Number


class Candidate(NamedTuple):
    """A layout with its best batch; `bound`: what keeps the batch from growing. Tokens a second are of all GPUs, idle ones included."""

    layout: Layout
    batch: int
    replicas: int
    tokens_per_s_per_gpu: float
    prompt_seconds: float
    step_seconds: float
    ttft_seconds: float
    tpot_seconds: float
    memory_bytes: float
    bound: str


class Broken(NamedTuple):
    """A rule, as the first layout that breaks it does, and how many break it."""

    rule: str
    layouts: int


class ServingPlan(NamedTuple):
    """The best layouts by tokens a second a GPU; of the others, why they serve not even one sequence a rank."""

    legal: int
    best: list[Candidate]
    unfit: dict[str, int]  # LIMITS -> layouts
    illegal: list[Broken]


LIMITS = ("memory", "ttft", "tpot")


def plan_serving(question: Question, top: int) -> ServingPlan:
    """The `top` best layouts, each with its best batch. Raises InputError where a figure of the GPU or its links is not known."""
    layouts, illegal = spreads(question)
    found: list[Candidate] = []
    unfit = dict.fromkeys(LIMITS, 0)
    for several in (False, True):  # one GPU needs no link, which may not be known
        group = [layout for layout in layouts if (layout.gpus() > 1) is several]
        if group:
            _add(question, group, found, unfit)
    best = sorted(found, key=lambda each: (-each.tokens_per_s_per_gpu, each.layout.gpus()))
    return ServingPlan(len(layouts), best[:top], {name: count for name, count in unfit.items() if count}, illegal)


def spreads(question: Question) -> tuple[list[Layout], list[Broken]]:
    """Legal layouts of at most so many GPUs, with the data-parallel ranks that experts take; and the rules that others break."""
    model, gpus, node = question.model, question.gpus, int(question.workload.gpus_per_node)
    degrees = sorted({n for n in range(1, gpus + 1) if gpus % n == 0} | {2**n for n in range(gpus.bit_length())})
    experts = any(getattr(layer.mlp, "num_experts", 0) for layer in model.layers)
    legal: list[Layout] = []
    broken: dict[str, Broken] = {}
    for tp, pp, ep in product(degrees, degrees, degrees if experts else (1,)):
        layout = Layout(tp, pp, ep // gcd(ep, tp), ep, node)
        if layout.gpus() > gpus or any(getattr(layout, axis) not in values for axis, values in question.held.items()):
            continue
        problem = next(problems(model, layout), None)
        if problem is None:
            legal.append(layout)
        else:
            rule = problem.split(" ")[0]  # the option that breaks it
            broken[rule] = Broken(broken[rule].rule if rule in broken else problem, broken[rule].layouts + 1 if rule in broken else 1)
    return legal, list(broken.values())


def _add(question: Question, group: list[Layout], found: list[Candidate], unfit: dict[str, int]) -> None:
    """Find each layout's best batch: first on a coarse scale, then between the last that will do and the first that won't."""
    coarse = np.unique(np.round(2 ** np.linspace(0, OCTAVES, PER_OCTAVE * OCTAVES + 1)))
    share = np.tile(coarse, (len(group), 1))
    last, missed = _last_allowed(question, group, share)
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
    batch = fine[np.arange(len(kept)), place]
    served = serve(question, kept, batch[:, None])
    for row, layout in enumerate(kept):
        replicas = question.gpus // layout.gpus()
        each = Served(*[float(figure[row, 0]) for figure in served])
        bound = missed[row] or "sequences"
        rate = replicas * each.tokens_per_s / question.gpus
        found.append(Candidate(layout, int(batch[row]) * layout.dp, replicas, rate, *each[:4], each.memory_bytes, bound))


def _last_allowed(question: Question, group: list[Layout], share: Column) -> tuple[NDArray[np.intp], list[str]]:
    """For each layout, the place of the largest allowed number of sequences a rank (-1: none), and what the next one misses."""
    served = serve(question, group, share)
    within = [served.fits.astype(bool)]
    for limit, figure in ((question.ttft, served.ttft_seconds), (question.tpot, served.tpot_seconds)):
        within.append(np.ones_like(within[0]) if limit is None else figure <= limit)
    good = np.all(within, axis=0)
    last = np.where(good.all(axis=1), share.shape[1], np.argmin(good, axis=1)) - 1  # up to the first that is not
    missed = []
    for row, place in enumerate(last):
        names = [name for name, each in zip(LIMITS, within, strict=True) if place + 1 < share.shape[1] and not each[row, place + 1]]
        missed.append(names[0] if names else "")
    return last, missed


def serve(question: Question, group: list[Layout], share: Column) -> Served:
    """Figures of layouts with so many sequences a rank: a row a layout, a column a number. Of one GPU the degrees stay plain."""
    model, w = question.model, question.workload
    alone = all(layout.gpus() == 1 for layout in group)
    degrees = np.array(group, float)[:, :4, None] * np.ones(share.shape[1])
    tp, pp, dp, ep = (1, 1, 1, 1) if alone else (degrees[:, axis] for axis in range(4))
    chip, size = chip_of(question.hardware, w), element_bytes(w.weight_dtype, w.dtype, w.kv_dtype)
    efficiency = question.efficiency or default_for(question.hardware, w.dtype, w.weight_dtype)
    server = Server(model, size, chip, efficiency, Plan(tp, dp, ep, node=w.gpus_per_node), pp)
    full = w._replace(batch=share * dp, tp=tp, pp=pp, dp=dp, ep=ep, gpus=tp * pp * dp)

    alone_prompt = Load(1, w.prompt, w.prompt)
    prompt = server.times(server.share(alone_prompt), alone_prompt)
    output = question.output()
    steps = [decode_step(server, full, w.prompt + place).seconds for place in two_of(output - 1)]
    if prompt is None or steps[0] is None:
        raise InputError(f"{question.hardware.name}: no source gives its peak, bandwidth or the links that these layouts need")
    step = sum(steps) / 2
    token = step + share * prompt.slowest() / output
    end = decode_step(server, full, w.context)
    operators = [op for part in end.share for op in part]
    memory = serving_memory(server, full, end, KvCache(kept_bytes(operators), cache_bytes_per_token(operators)), prompt_is_context=False)
    figures = (prompt.through(), step, prompt.through() + step, token, full.batch / token, memory.total_bytes, memory.fits)
    return Served(*[np.broadcast_to(np.asarray(figure), share.shape) for figure in figures])
