"""What is asked of a plan to serve, what it answers of one layout, and what runs layouts, as arrays."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from llmcost.ground.algebra import Number, floor_div, maximum
from llmcost.machine.chip import Links
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.power import basis_of, drawn_by
from llmcost.model.counting import cache_bytes_per_token, kept_bytes
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import DEGREES, Layout
from llmcost.parallel.pipeline import Server
from llmcost.search.prices import joules_per_million_tokens, power, price_per_million_tokens
from llmcost.search.space import Column
from llmcost.serving.apart import replica_ranks
from llmcost.serving.memory import serving_memory
from llmcost.serving.memory_share import sharing_ranks
from llmcost.serving.options import Workload
from llmcost.serving.phases import decode_step
from llmcost.serving.power import share_under_load
from llmcost.serving.results import KvCache, Memory
from llmcost.serving.server import machine_of, server_of
from llmcost.specs.hardware import HardwareSpec


class ServingQuestion(NamedTuple):
    """What is to be served.

    `workload`: lengths, data types and node. `ttft`, `tpot`: the longest seconds to the first token and of each other
    one; None: no limit. `held`: axes with the values that they may take.
    """

    model: ModelSpec
    hardware: HardwareSpec
    gpus: int
    workload: Workload
    ttft: float | None = None
    tpot: float | None = None
    held: dict[str, tuple[int, ...]] = {}  # noqa: RUF012 - it is only read
    speculate: tuple[int, ...] = ()  # tokens that may be guessed in a step; none: as the workload says
    apart: bool = False  # whether prompts may run on GPUs of their own
    efficiency: Efficiency | None = None  # by the workload's profile
    price: float | None = None  # dollars a GPU-hour
    pue: float = 1  # the data centre's energy over its GPUs'
    flops_a_token: float | None = None  # of each token in and out; None: nobody asks what they draw
    shared_chunk: bool = False  # the workload's chunk is of all ranks together that share experts

    def chunk_of(self, ranks: Number) -> Number:
        """Tokens of prompts a step and rank, where so many share experts; None: all of them."""
        chunk = self.workload.chunk
        return maximum(1, floor_div(chunk, ranks)) if self.shared_chunk and chunk is not None else chunk

    def within(self, each: ServingCandidate) -> float:
        """The least limit over its figure: below 1 where a layout misses a limit."""
        limits = ((self.ttft, each.ttft_seconds), (self.tpot, each.tpot_seconds))
        return min((limit / figure for limit, figure in limits if limit is not None), default=1.0)


class ServingCandidate(NamedTuple):
    """A layout with the most requests in flight on a replica.

    `tokens_per_s_per_gpu`: output tokens, over all GPUs, idle ones included. `bound`: what keeps it from more requests,
    one of LIMITS, or "requests" where none does. Where prompts run apart, `layout` and `replicas` are of the GPUs that
    decode, and `concurrency` is of all together; `bound` may be "split": more would need more GPUs for prompts.
    `rough`: why the formula is for this mix, if it is (simulation/steady.py); `simulated_requests`: of the run that its
    figures are of then; None: they are the formula's. `price_per_million_tokens`: dollars for output tokens; None: no
    price.
    """

    layout: Layout
    concurrency: int
    replicas: int
    tokens_per_s_per_gpu: float
    ttft_seconds: float
    tpot_seconds: float
    max_concurrency: int
    bound: str
    speculate: int = 0  # tokens that are guessed in a step
    prefill_gpus: int | None = None  # that run prompts apart, in replicas of the three below; None: beside decode
    prefill_tp: int | None = None
    prefill_pp: int | None = None
    prefill_ep: int | None = None
    rough: str | None = None
    simulated_requests: int | None = None
    price_per_million_tokens: float | None = None
    joules_per_million_tokens: float | None = None  # idle GPUs included
    power_share: float = 1  # of its TDP that a GPU draws on average
    power_basis: str = ""


def candidate_of(
    question: ServingQuestion,
    layout: Layout,
    *,
    concurrency: int,
    replicas: int,
    tokens_per_s: float,
    ttft: float,
    tpot: float,
    room: int,
    bound: str,
    prompts: Layout | None = None,
    prompt_gpus: int | None = None,
    power_share: float = 1,
) -> ServingCandidate:
    """A layout with its figures and what they cost. `prompts`: where they run apart, in which layout.

    `power_share`: that GPUs draw which are not idle.
    """
    a_gpu, draw = tokens_per_s / question.gpus, drawn_by(question.hardware)
    used = (replicas * int(layout.gpus()) + (prompt_gpus or 0)) / question.gpus
    drawn = 1 if draw is None else used * power_share + (1 - used) * draw.idle
    return ServingCandidate(
        layout,
        concurrency=concurrency,
        replicas=replicas,
        tokens_per_s_per_gpu=a_gpu,
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        max_concurrency=room,
        bound=bound,
        speculate=question.workload.speculate or 0,
        prefill_gpus=prompt_gpus,
        **({} if prompts is None else {f"prefill_{axis}": getattr(prompts, axis) for axis in ("tp", "pp", "ep")}),
        price_per_million_tokens=price_per_million_tokens(question.price, a_gpu),
        joules_per_million_tokens=joules_per_million_tokens(power(question.hardware, 1, question.pue, drawn), a_gpu),
        power_share=drawn,
        power_basis=basis_of(draw),
    )


def workload_of_candidate(question: ServingQuestion, each: ServingCandidate) -> Workload:
    """The workload of `estimate` on a layout: of one replica, or of all GPUs together where prompts run apart."""
    degrees = {axis: getattr(each.layout, axis) for axis in DEGREES}
    gpus = int(each.layout.gpus())
    chunk = question.chunk_of(sharing_ranks(question.model, each.layout))
    w = question.workload._replace(
        **degrees, chunk=chunk, speculate=each.speculate or None, gpus=gpus, concurrency=each.concurrency
    )
    if degrees["ep"] == 1:
        w = w._replace(all2all=None)  # no tokens go to other GPUs
    if each.prefill_gpus is None:
        return w
    prompts = {name: getattr(each, name) for name in ("prefill_gpus", "prefill_tp", "prefill_pp", "prefill_ep")}
    ranks = replica_ranks(each.prefill_tp or 1, each.prefill_ep or 1)
    return w._replace(
        gpus=None, dp=None, decode_gpus=each.replicas * gpus, prefill_chunk=question.chunk_of(ranks), **prompts
    )


def shares_drawn(question: ServingQuestion, reading: Number, tpot: Number, computed: Number) -> Number:
    """The share of its TDP that a GPU draws, by layout; all of it where nobody asks, or none was measured.

    reading: seconds of reading once what it holds. computed: tokens a second of a GPU, in and out.
    """
    draw, peak = drawn_by(question.hardware), machine_of(question.hardware, question.workload)[1].peak
    if draw is None or peak is None or question.flops_a_token is None:
        return 1
    return share_under_load(draw, reading, tpot, question.flops_a_token * computed / peak)


def links_within(links: Links | None, gpus: int, node: int) -> Links | None:
    """Links of so many GPUs: those that none of them uses are never waited for, known or not."""
    if links is None:
        return None
    near = inf if gpus == 1 and links.node_bytes_per_s is None else links.node_bytes_per_s
    far = inf if gpus <= node and links.fabric_bytes_per_s is None else links.fabric_bytes_per_s
    return links._replace(node_bytes_per_s=near, fabric_bytes_per_s=far)


def placed(question: ServingQuestion, group: list[Layout], share: Column) -> tuple[Server, Workload, Memory]:
    """What runs these layouts, that have all one GPU, or all several; the workload on them, and what the fullest holds.

    share: requests a rank, an array of (layouts, numbers).
    """
    model, w = question.model, question.workload
    alone = all(layout.gpus() == 1 for layout in group)  # then degrees are plain: 1 is structure
    degrees = np.array([layout[: len(DEGREES)] for layout in group], float)[:, :, None] * np.ones(share.shape[1])
    tp, pp, dp, ep = (1, 1, 1, 1) if alone else (degrees[:, axis] for axis in range(4))
    size, chip, efficiency = machine_of(question.hardware, w)
    chip = chip._replace(links=links_within(chip.links, max(layout.gpus() for layout in group), int(w.gpus_per_node)))
    w = w._replace(batch=dp, concurrency=share * dp, tp=tp, pp=pp, dp=dp, ep=ep, gpus=tp * pp * dp)
    server = server_of(model, size, chip, question.efficiency or efficiency, w)
    w = w._replace(chunk=question.chunk_of(sharing_ranks(model, server.layout)))
    step = decode_step(server, w, w.context)
    operators = step.share.operators()
    kept = KvCache(kept_bytes(operators), cache_bytes_per_token(operators))
    return server, w, serving_memory(server, w, step, kept, prompt_is_context=False)
