"""Prefill, decode and whole requests on the three bases (machine/timing.py): textbook, limit, expected."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, floor_div, is_one, maximum, minimum, named, present
from llmcost.machine import textbook
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.timing import Bound, binding, bound, rate
from llmcost.model.architecture import Pass
from llmcost.model.counting import PassCost
from llmcost.model.sizes import Load
from llmcost.parallel.pipeline import Server, Stages, in_flight, mean, mean_share, rank_share, schedule, two_of
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


class RankSeconds(NamedTuple):
    """Seconds of a pass on the fullest data-parallel ranks, and on the others, which have a sequence less.

    `others` is None where all ranks wait for the fullest: where they share experts, or there is only one.
    """

    fullest: Number
    others: Number = None

    def rate(self, w: Workload, each: Number) -> Number:
        """Tokens a second of all ranks together, `each` of every sequence; None where the time is not known."""
        if self.others is None:
            return rate(w.batch if is_one(each) else w.batch * each, self.fullest)
        ranks = w.batch - w.dp * floor_div(w.batch, w.dp)  # those that have one sequence more than the others
        on_fullest = named("sequences_on_fullest", rank_share(w.batch, w.dp) * ranks)
        return each * (on_fullest / self.fullest + (w.batch - on_fullest) / self.others)


def alone(w: Workload) -> bool:
    """Whether data-parallel ranks wait for nobody: structure, as no rank shares experts."""
    return not is_one(w.dp) and is_one(w.ep)


def share_of_others(w: Workload) -> Number:
    """The sequences of a rank that has not the most of them."""
    return maximum(1, floor_div(w.batch, w.dp))


def prefill(
    server: Server, w: Workload, cost: PassCost, full: Number, expected: RankSeconds, seen: Number = 0
) -> Prefill:
    """The prompts of all sequences on the three bases, logits of the last position of each only.

    `cost`: what one GPU computes and must move on average. `full`: the textbook's FLOPs, of every (query, key) pair of
    the whole batch with the logits of all positions; the textbook takes GPUs to divide them evenly. `seen`:
    FLOPs of towers on images and sound, which `cost` and `expected` have too.
    """
    chip, efficiency = server.chip, server.efficiency
    names = ("flops.prefill.causal", "prefill_bytes")
    if not is_one(w.gpus):
        names = ("prefill_flops_a_gpu", "prefill_bytes_a_gpu")
    floor = bound(cost, chip, *names)
    limit = floor.seconds()
    by_rule = None
    if chip.peak is not None:
        peak = chip.peak if is_one(w.gpus) else chip.peak * w.gpus
        computed = named("flops.forward.full", full)
        computed = computed + named("encoding.flops", seen) if present(seen) else computed
        by_rule = textbook.prefill_seconds(computed, peak, w.mfu)

    def rates(basis: str, of_ranks: RankSeconds) -> Rate:
        named_ranks = of_ranks._replace(fullest=named(f"prefill.{basis}.seconds", of_ranks.fullest))
        all_gpus = named_ranks.rate(w, w.prompt)
        sequences = named_ranks.rate(w, 1)
        return Rate(of_ranks.fullest, all_gpus, _a_gpu(w, "prefill", basis, all_gpus), sequences)

    return Prefill(
        textbook=rates("textbook", RankSeconds(by_rule)),
        limit=rates("limit", RankSeconds(limit)),
        expected=ExpectedRate(*rates("expected", expected), efficiency.basis, efficiency.band("prefill").mean_error),
        bound=floor,
        limited_by=binding(floor, fits=True),
    )


def prefill_seconds(server: Server, w: Workload, whole: Stages | None) -> RankSeconds:
    """Expected seconds of all prompts of a rank; None where a figure of the GPU is not known.

    `whole`: those of one pass with all prompts of the fullest rank, where they are run at once.
    """
    fullest = _prompts_seconds(server, w, rank_share(w.batch, w.dp), whole)
    if fullest is None or not alone(w):
        return RankSeconds(fullest)
    sequences = share_of_others(w)
    load = Load(sequences, w.prompt, w.prompt)
    at_once = server.times(server.share(load), load)
    return RankSeconds(fullest, named("prefill_seconds_of_others", _prompts_seconds(server, w, sequences, at_once)))


def _prompts_seconds(server: Server, w: Workload, sequences: Number, whole: Stages | None) -> Number:
    """Expected seconds of the prompts of so many sequences on a rank; `whole`: of one pass with all of them.

    Chunks see more and more of the prompt before them: two of them stand for the mean. The stages of a pipeline fill
    and empty with whole chunks, however few tokens the last one has.
    """
    groups, chunks, at_once = schedule(sequences, w.prompt, w.chunk, server.pp)
    if is_one(groups) and is_one(chunks):
        return None if whole is None else server.with_host(whole.through(), sequences)
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
    largest = 1 if is_one(server.pp) or w.chunk is None else maximum(1, divide(minimum(w.prompt, w.chunk), s))
    seconds = logits_once.one_behind_the_other(
        full * chunks, server.in_flight(), largest, lambda seconds: server.with_host(seconds, at_once)
    )
    if not present(rest):
        return seconds
    load = Load(rest, w.prompt, w.prompt)  # of prompts that are not cut: a piece of one is a group by itself
    last = server.times(server.share(load), load)
    return None if last is None else seconds + minimum(1, rest) * server.with_host(last.slowest(), rest)


class DecodeStep(NamedTuple):
    """A decode step of the fullest data-parallel rank."""

    load: Load  # of one of the parts of the batch that are in flight
    share: Pass  # one GPU's operators of each stage
    cost: PassCost  # what they compute and move
    least: PassCost  # the same where sequences are spread evenly over ranks and parts
    seconds: RankSeconds  # expected, until every sequence has its token


def decode_step(server: Server, w: Workload, context: Number, over: tuple[Number, Number] | None = None) -> DecodeStep:
    """One token for each sequence at this context, as many parts of the batch in flight as there are stages.

    `over`: the steps that it is the mean of, as of a Load.
    """
    sequences = rank_share(w.batch, w.dp)
    parts, load = _pass_of(server, sequences, context, over, w.prompt)
    share = server.share(load)
    stages, cost = server.times(share, load), server.cost(share, load)
    seconds = RankSeconds(None if stages is None else server.with_host(stages.round(parts), sequences))
    if stages is not None and alone(w):
        seconds = seconds._replace(others=_step_of_others(server, w, context, over))
    return DecodeStep(load, share, cost, _least(server, w, context, over, cost), seconds)


def _pass_of(
    server: Server, sequences: Number, context: Number, over: tuple[Number, Number] | None, prompt: Number
) -> tuple[Number, Load]:
    """Into how many parts so many sequences are cut, and the largest of them as a load."""
    parts = in_flight(sequences, server.pp)
    of_a_pass = named("sequences_a_pass", rank_share(sequences, parts))
    return parts, Load(of_a_pass, 1, context, decode=True, over=over, memory=prompt)


def _step_of_others(server: Server, w: Workload, context: Number, over: tuple[Number, Number] | None) -> Number:
    """Expected seconds of a decode step of a rank that has not the most sequences; what it needs is known."""
    parts, load = _pass_of(server, share_of_others(w), context, over, w.prompt)
    stages = server.times(server.share(load), load)
    assert stages is not None
    return server.with_host(stages.round(parts), load.b)


def _least(
    server: Server, w: Workload, context: Number, over: tuple[Number, Number] | None, cost: PassCost
) -> PassCost:
    """What a decode step needs at least where every rank and part of it has the same share, of `cost` if only one."""
    if is_one(w.dp) and is_one(server.pp):
        return cost
    mean = mean_share(w.batch, w.dp)
    of_a_pass = named("mean_of_a_pass", divide(mean, in_flight(mean, server.pp)))
    load = Load(of_a_pass, 1, context, decode=True, over=over, memory=w.prompt)
    evenly = server.on_average(w.batch, mean)
    return evenly.cost(evenly.share(load), load)


def decode(server: Server, w: Workload, step: DecodeStep, fits: Number, at: str = "") -> Decode:
    """One token for each of b sequences, each of which sees its c keys, on the three bases.

    `fits`: whether the memory does. `at`: what formulas call a context other than the workload's. On a chip whose peak
    is not known the limit is that of the memory alone: still one that nobody beats, or none where caches hold it all.
    """
    chip, efficiency = server.chip, server.efficiency
    names = (f"step_flops[{at}]", f"step_bytes[{at}]") if at else ("decode_flops", _least_bytes_name(step))
    floor = bound(step.least, chip, *names, passes=server.pp)
    limit = floor.seconds()
    if chip.peak is None:
        limit = floor.memory_seconds if present(floor.memory_seconds) else None
    by_rule = None
    if chip.bandwidth is not None:
        cache = named("cache_bytes" if at else "traffic.decode.kv_cache_bytes", step.cost.cache_bytes, at)
        by_rule = textbook.decode_seconds(named("linear_and_head_bytes", step.cost.linear_bytes), cache, chip.bandwidth)

    def rates(basis: str, of_ranks: RankSeconds) -> StepRate:
        seconds = of_ranks.fullest
        each = seconds if at else named(f"decode.{basis}.seconds_per_step", seconds)
        others = named("step_seconds_of_others", of_ranks.others, at)
        everyone = RankSeconds(each, others).rate(w, 1)
        return StepRate(seconds, everyone, _a_gpu(w, "decode", basis, everyone), rate(1, each))

    return Decode(
        textbook=rates("textbook", RankSeconds(by_rule)),
        limit=rates("limit", RankSeconds(limit)),
        expected=ExpectedStepRate(
            *rates("expected", step.seconds), efficiency.basis, efficiency.band("decode").mean_error
        ),
        bound=floor,
        limited_by=binding(floor, fits),
    )


def no_decode(efficiency: Efficiency) -> Decode:
    """Of a model that gives no tokens: no figure is known."""
    none = StepRate(None, None, None, None)
    expected = ExpectedStepRate(*none, efficiency.basis, efficiency.error)
    return Decode(none, none, expected, Bound(None, None, None), None)


def _least_bytes_name(step: DecodeStep) -> str:
    """What formulas call the bytes of the limit: those of the step itself, unless fewer would do."""
    alike = step.least is step.cost and not present(step.cost.spared_bytes)
    return "traffic.decode.total_bytes" if alike else "least_step_bytes"


def _mean_of(one: Number, other: Number) -> Number:
    """The mean of two times; None where one is not known."""
    return None if one is None or other is None else (one + other) / 2


def request(server: Server, w: Workload, prompts: Prefill, prompts_of_others: Number) -> Request:
    """The whole batch at once: its prompts, then a token at a time, each step a token longer than the one before.

    Prefill gives the first token. Of the others' steps the mean is taken at two contexts (pipeline.two_of): of expected
    times, and, for the limit, of FLOPs and bytes. `prompts_of_others`: expected seconds of the prompts of ranks that
    have not the most sequences (`RankSeconds`).
    """
    assert w.output is not None
    steps = w.output - 1
    over = (w.prompt, maximum(1, steps))
    early, late = (decode_step(server, w, w.prompt + place, over) for place in two_of(steps))
    seconds = RankSeconds(*map(_mean_of, early.seconds, late.seconds))
    mean_step = early._replace(
        cost=early.cost.mean_with(late.cost, 2), least=early.least.mean_with(late.least, 2), seconds=seconds
    )
    answers = decode(server, w, mean_step, fits=True, at="mean")

    def times(basis: str) -> RequestTimes:
        first = named(f"prefill.{basis}.seconds", getattr(prompts, basis).seconds)
        if basis == "expected" and first is not None:
            first = first + server.request_seconds(w.prompt)
        each = getattr(answers, basis).seconds_per_step
        if first is None or each is None:
            return RequestTimes(None, None, None, None)
        latency = first + steps * named(f"request.{basis}.tpot_seconds", each)
        whole = RankSeconds(named(f"request.{basis}.latency_seconds", latency))
        if basis == "expected" and prompts_of_others is not None:
            whole = whole._replace(others=prompts_of_others + steps * seconds.others)
        return RequestTimes(first, each, latency, whole.rate(w, w.output))

    return Request(*[times(basis) for basis in Request._fields])


def _a_gpu(w: Workload, phase: str, basis: str, tokens_per_s: Number) -> Number:
    """Tokens a second of one GPU, of those that all have together."""
    if tokens_per_s is None or is_one(w.gpus):
        return tokens_per_s
    return named(f"{phase}.{basis}.tokens_per_s", tokens_per_s) / w.gpus
