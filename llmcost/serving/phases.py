"""Prefill, decode and whole requests on the three bases (machine/timing.py): textbook, limit, expected."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div, is_one, maximum, minimum, named, present
from llmcost.machine import textbook
from llmcost.machine.timing import binding, bound, rate
from llmcost.model.architecture import Pass
from llmcost.model.counting import PassCost
from llmcost.model.sizes import Load
from llmcost.parallel.pipeline import Server, Stages, in_flight, mean, rank_share, schedule, two_of
from llmcost.serving.options import Workload
from llmcost.serving.results import (
    Decode,
    ExpectedRate,
    ExpectedStepRate,
    Prefill,
    Rate,
    Request,
    RequestTimes,
    StepRate,
)


def prefill(server: Server, w: Workload, cost: PassCost, full: Number, expected: Number) -> Prefill:
    """The prompts of all sequences on the three bases, logits of the last position of each only.

    `cost`: what one GPU computes and must move. `full`: the textbook's FLOPs, of every (query, key) pair of the whole
    batch with the logits of all positions; the textbook takes GPUs to divide them evenly. `expected`: seconds.
    """
    chip, efficiency, tokens = server.chip, server.efficiency, w.batch * w.prompt
    names = ("flops.prefill.causal", "prefill_bytes")
    if not is_one(w.gpus):
        names = ("prefill_flops_a_gpu", "prefill_bytes_a_gpu")
    floor = bound(cost, chip, *names)
    limit = floor.seconds()
    by_rule = None
    if chip.peak is not None:
        peak = chip.peak if is_one(w.gpus) else chip.peak * w.gpus
        by_rule = textbook.prefill_seconds(named("flops.forward.full", full), peak, w.mfu)

    def rates(basis: str, seconds: Number) -> Rate:
        all_gpus = rate(tokens, named(f"prefill.{basis}.seconds", seconds))
        return Rate(seconds, all_gpus, _a_gpu(w, "prefill", basis, all_gpus))

    return Prefill(
        textbook=rates("textbook", by_rule),
        limit=rates("limit", limit),
        expected=ExpectedRate(*rates("expected", expected), efficiency.basis, efficiency.error),
        bound=floor,
        limited_by=binding(floor, fits=True),
    )


def prefill_seconds(server: Server, w: Workload, whole: Stages | None) -> Number:
    """Expected seconds of all prompts of the fullest rank; None where a figure of the GPU is not known.

    `whole`: those of one pass with all of them, where they are run at once. Chunks see more and more of the prompt
    before them: two of them stand for the mean.
    """
    sequences = rank_share(w.batch, w.dp)
    groups, chunks, at_once = schedule(sequences, w.prompt, w.chunk, server.pp)
    if is_one(groups) and is_one(chunks):
        return None if whole is None else whole.through()
    full = floor_div(sequences, at_once)  # groups that have as many sequences as run at once
    rest, s = sequences - full * at_once, divide(w.prompt, chunks)
    loads = [Load(at_once, s, w.prompt)]
    if not is_one(chunks):
        loads = [Load(at_once, s, s * place, over=(0, chunks)) for place in two_of(chunks)]
    times = [server.times(server.share(load), load) for load in loads]
    stages = mean(times[0], times[-1])
    if stages is None:
        return None
    logits_once = stages._replace(last=stages.last / chunks)  # the last chunk of a prompt alone has logits
    seconds = logits_once.one_behind_the_other(full * chunks)
    if not present(rest):
        return seconds
    load = Load(rest, w.prompt, w.prompt)  # of prompts that are not cut: a piece of one is a group by itself
    last = server.times(server.share(load), load)
    return None if last is None else seconds + minimum(1, rest) * last.slowest()


class DecodeStep(NamedTuple):
    """A decode step of the fullest data-parallel rank."""

    load: Load  # of one of the parts of the batch that are in flight
    share: Pass  # one GPU's operators of each stage
    cost: PassCost  # what they need at least
    seconds: Number  # expected, until every sequence has its token


def decode_step(server: Server, w: Workload, context: Number, over: tuple[Number, Number] | None = None) -> DecodeStep:
    """One token for each sequence at this context, as many parts of the batch in flight as there are stages.

    `over`: the steps that it is the mean of, as of a Load.
    """
    sequences = rank_share(w.batch, w.dp)
    parts = in_flight(sequences, server.pp)
    load = Load(named("sequences_a_pass", rank_share(sequences, parts)), 1, context, decode=True, over=over)
    share = server.share(load)
    stages = server.times(share, load)
    return DecodeStep(load, share, server.cost(share, load), None if stages is None else stages.round(parts))


def decode(server: Server, w: Workload, step: DecodeStep, fits: Number, at: str = "") -> Decode:
    """One token for each of b sequences, each of which sees its c keys, on the three bases.

    `fits`: whether the memory does. `at`: what formulas call a context other than the workload's. On a chip whose peak
    is not known the limit is that of the memory alone: still one that nobody beats.
    """
    chip, efficiency = server.chip, server.efficiency
    names = (f"step_flops[{at}]", f"step_bytes[{at}]") if at else ("decode_flops", "traffic.decode.total_bytes")
    floor = bound(step.cost, chip, *names, passes=server.pp)
    limit = floor.memory_seconds if chip.peak is None else floor.seconds()
    by_rule = None
    if chip.bandwidth is not None:
        cache = named("cache_bytes" if at else "traffic.decode.kv_cache_bytes", step.cost.cache_bytes, at)
        by_rule = textbook.decode_seconds(named("linear_and_head_bytes", step.cost.linear_bytes), cache, chip.bandwidth)

    def rates(basis: str, seconds: Number) -> StepRate:
        each = seconds if at else named(f"decode.{basis}.seconds_per_step", seconds)
        everyone = rate(w.batch, each)
        return StepRate(seconds, everyone, _a_gpu(w, "decode", basis, everyone), rate(1, each))

    return Decode(
        textbook=rates("textbook", by_rule),
        limit=rates("limit", limit),
        expected=ExpectedStepRate(*rates("expected", step.seconds), efficiency.basis, efficiency.error),
        bound=floor,
        limited_by=binding(floor, fits),
    )


def request(server: Server, w: Workload, prompts: Prefill) -> Request:
    """The whole batch at once: its prompts, then a token at a time, each step a token longer than the one before.

    Prefill gives the first token. Of the others' steps the mean is taken at two contexts (pipeline.two_of): of expected
    times, and, for the limit, of FLOPs and bytes.
    """
    assert w.output is not None
    steps = w.output - 1
    over = (w.prompt, maximum(1, steps))
    early, late = (decode_step(server, w, w.prompt + place, over) for place in two_of(steps))
    seconds = None if early.seconds is None or late.seconds is None else (early.seconds + late.seconds) / 2
    mean_step = early._replace(cost=early.cost.mean_with(late.cost, 2), seconds=seconds)
    answers = decode(server, w, mean_step, fits=True, at="mean")

    def times(basis: str) -> RequestTimes:
        first = named(f"prefill.{basis}.seconds", getattr(prompts, basis).seconds)
        each = getattr(answers, basis).seconds_per_step
        if first is None or each is None:
            return RequestTimes(None, None, None, None)
        latency = first + steps * named(f"request.{basis}.tpot_seconds", each)
        tokens_per_s = rate(w.batch * w.output, named(f"request.{basis}.latency_seconds", latency))
        return RequestTimes(first, each, latency, tokens_per_s)

    return Request(*[times(basis) for basis in Request._fields])


def _a_gpu(w: Workload, phase: str, basis: str, tokens_per_s: Number) -> Number:
    """Tokens a second of one GPU, of those that all have together."""
    if tokens_per_s is None or is_one(w.gpus):
        return tokens_per_s
    return named(f"{phase}.{basis}.tokens_per_s", tokens_per_s) / w.gpus
