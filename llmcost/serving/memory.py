"""What has to fit on a GPU to serve a model, and how far it can be filled.

Weights, the KV cache of every sequence at its full context in whole pages, the activations alive at the worst moment,
what the runtime holds, and what is set aside for fragmentation and all else: 1 - u of what the driver reports, u being
the `--memory-utilization` of serving engines (0.9 is vLLM's default, docs.vllm.ai, `gpu_memory_utilization`).
Of several GPUs it is the fullest: the pipeline stage with the embedding or the LM head, whichever is larger, of the
data-parallel rank with the most sequences.

`--free-memory-fraction` says what is set aside in another way, that of TensorRT-LLM's free_gpu_memory_fraction: all but
this share of what weights, activations and runtime leave.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

from llmcost.ground.algebra import (
    Number,
    ceil_div,
    divide,
    floor_div,
    is_one,
    largest,
    maximum,
    minimum,
    named,
    present,
)
from llmcost.model.architecture import Pass
from llmcost.model.counting import cache_bytes_per_token, kept_bytes, state_bytes, stored_bytes
from llmcost.model.operators import Attention, Gemm, Operator
from llmcost.parallel.pipeline import Server, rank_share, shared_by
from llmcost.parallel.split import EXPERTS
from llmcost.serving.phases import Step
from llmcost.serving.results import KvCache, Memory, Workload

PAGE = 16  # tokens of a page of the KV cache: vLLM's block_size on CUDA (docs.vllm.ai, CacheConfig; PagedAttention, arXiv 2309.06180)
# CUDA context with torch's kernels, and what a process holds more once it has exchanged with another over NCCL: 0.55
# and 2.00 GiB on an A100 (stas00/ml-engineering, training/performance/README.md, "torch.distributed memory usage").
CONTEXT_BYTES = 55 * 2**30 // 100
EXCHANGE_BYTES = 145 * 2**30 // 100


class StepPeak(NamedTuple):
    """Bytes of activations alive at the worst kernel of a decode step: inside the layers, and with the LM head."""

    layers: Number
    head: Number


def step_peak(step: Pass, residual: Number) -> StepPeak:
    """The residual stream plus the largest kernel's inputs and outputs."""
    layers = largest([op.io_bytes() for op in [*step.first, *step.layers]])
    head = largest([layers, *[op.io_bytes() for op in step.last]])
    return StepPeak(residual + layers, residual + head)


def stage_bytes(share: Pass, pp: Number) -> Number:
    """Weights of the fullest stage. Where the LM head is not with the embedding whose weights it has, it keeps a copy."""
    if is_one(pp):
        return stored_bytes(share.operators())
    first, layers, last = (stored_bytes(operators) for operators in share)
    tied = sum([op.k * op.n * op.Bw for op in share.last if isinstance(op, Gemm) and op.tied])
    apart = minimum(1, pp - 1)
    return layers / pp + apart * maximum(first, last + tied) + (1 - apart) * (first + last)


class CacheBound(NamedTuple):
    """Never less than the cache takes: so many bytes for any context, and so many more a position, in whole pages."""

    fixed: Number
    position: Number

    def positions(self, room: Number, longest: Number) -> Number:
        """Positions that surely have room; where none takes more than the one before, all or none."""
        if present(self.position):
            return PAGE * floor_div(room - self.fixed, PAGE * self.position)
        return longest * minimum(1, floor_div(room, self.fixed)) if present(self.fixed) else longest

    def beside_a_prompt(self, room: Number, in_prompt: Number) -> Number:
        """The same where each position is one more of the prompt too: as many full pages as have room, then a part of one."""
        both = floor_div(room - self.fixed, self.position + in_prompt)
        if not present(self.position):
            return both
        full = PAGE * floor_div(both, PAGE)
        more = floor_div(room - self.fixed - (full + PAGE) * self.position, in_prompt)
        return maximum(full, minimum(full + PAGE, more))


def cache_bounds(step: Sequence[Operator], sequences: Number, states: Number) -> list[CacheBound]:
    """The cache as if every attention layer grew with the context, and as if those with a window had it full."""
    own = [op for op in step if isinstance(op, Attention) and not op.shared]
    windowed = [op for op in own if op.span in ("window", "chunk")]
    growing = [op for op in own if op.span not in ("window", "chunk")]
    bounds = [CacheBound(states, named("cache_a_position", sequences * cache_bytes_per_token(own) if own else 0))]
    if windowed:
        full = states + sum([op.count * sequences * op.w * op.cache_bytes_per_token() for op in windowed])
        position = sequences * cache_bytes_per_token(growing) if growing else 0
        bounds.append(CacheBound(named("full_windows", full), named("cache_a_position", position, "growing layers")))
    return bounds


def spare_positions(context: Number) -> Number:
    """Positions of a sequence's last page that it does not fill."""
    return PAGE * ceil_div(context, PAGE) - context


def runtime_bytes(w: Workload) -> Number:
    """What the process holds beside the model: its context, and buffers to exchange with other GPUs where it has to,
    or has set them up all the same (`communicator`).
    """
    if w.communicator:
        return CONTEXT_BYTES + EXCHANGE_BYTES
    if is_one(w.gpus):
        return CONTEXT_BYTES
    return CONTEXT_BYTES + EXCHANGE_BYTES * minimum(1, w.tp * w.pp * w.ep - 1)


class SharedExperts(NamedTuple):
    """Activations of experts that see the tokens of several data-parallel ranks, which need not all be full.

    Bytes for a token: `residual` on its own rank, `each` in the experts. `ranks` share them, with so many `sequences`
    in all.
    """

    ranks: Number
    sequences: Number
    residual: Number
    each: Number

    def in_prompt(self) -> Number:
        """For a token of a prompt, of which every rank runs one at a time, if it has one."""
        return self.residual + self.each * minimum(self.sequences, self.ranks)

    def in_step(self, of_a_rank: Number) -> Number:
        """For a decode step of all sequences."""
        return self.residual * of_a_rank + self.each * self.sequences

    def most(self, room: Number, cache: Number, prompt_tokens: Number) -> Number:
        """Sequences of all the ranks that have room: as many as fill every rank alike, then of one more a rank those that still have."""
        ranks, residual, each = self.ranks, self.residual, self.each
        full = floor_div(room, cache + residual + ranks * each)
        in_step = maximum(ranks * full, floor_div(room - (full + 1) * (cache + residual), each))
        full = floor_div(room - prompt_tokens * (residual + ranks * each), cache)
        first = floor_div(room - cache - prompt_tokens * residual, prompt_tokens * each)
        return minimum(in_step, maximum(ranks * full, minimum(ranks, first)))


class Held(NamedTuple):
    """What the fullest GPU holds, of its sequences: bytes, those of activations a token of a prompt and of a whole
    step.

    `experts`: where they see the tokens of other data-parallel ranks, and are not in `own_prompt` and `own_step`.
    """

    sequences: Number
    weights: Number
    cache: Number
    prompt_tokens: Number  # that run at a time
    own_prompt: Number
    own_step: Number
    experts: SharedExperts | None
    bounds: list[CacheBound]
    together: bool = False  # the prompts of all sequences run at a time

    def in_prompt(self) -> Number:
        """Activations for a token of a prompt, or of each of those that run together."""
        own = self.own_prompt if self.experts is None else maximum(self.own_prompt, self.experts.in_prompt())
        return self.sequences * own if self.together else own

    def in_step(self) -> Number:
        """Activations of a decode step."""
        return self.own_step if self.experts is None else maximum(self.own_step, self.experts.in_step(self.sequences))

    def activations(self) -> Number:
        """At the worst moment: a prompt, or a decode step."""
        return maximum(self.prompt_tokens * self.in_prompt(), self.in_step())

    def largest_batch(self, room: Number, dp: Number) -> Number:
        """Sequences of this context on all ranks that have room beside a prompt, and with what a step of them needs."""
        sequence = named("cache_a_sequence", named("memory.kv_cache_bytes", self.cache) / self.sequences)
        if self.together:
            prompt = self.prompt_tokens * self.in_prompt() / self.sequences
            return floor_div(room, sequence + maximum(prompt, self.in_step() / self.sequences)) * dp
        after_prompt = named("room_beside_a_prompt", room - self.prompt_tokens * self.own_prompt)
        most = minimum(floor_div(after_prompt, sequence), floor_div(room, sequence + self.own_step / self.sequences))
        if self.experts is None:
            return most * dp
        ranks = self.experts.ranks
        return floor_div(minimum(most * ranks, self.experts.most(room, sequence, self.prompt_tokens)) * dp, ranks)

    def largest_context(self, room: Number, longest: Number, *, grows: bool, chunk: Number) -> Number:
        """Positions that have room beside a step and beside the prompt, which `grows` with them up to a chunk, or stays."""
        after_step = named("room_beside_a_step", room - self.in_step())
        tokens, in_prompt = self.prompt_tokens if not grows else chunk, self.in_prompt()
        after_prompt = None if tokens is None else named("room_beside_a_prompt", room - tokens * in_prompt)
        found = []
        for bound in self.bounds:
            beside = bound.beside_a_prompt(room, in_prompt) if grows else 0
            if after_prompt is not None:
                fixed = bound.positions(after_prompt, longest)
                beside = maximum(minimum(chunk, beside), fixed) if grows else fixed
            found.append(minimum(beside, bound.positions(after_step, longest)))
        return minimum(reduce(maximum, found), longest)


def shared_experts(server: Server, w: Workload, share: Pass) -> SharedExperts | None:
    """Experts of a decode step that see the tokens of other data-parallel ranks; None where there are none."""
    experts: list[Any] = [op for op in share.layers if op.name in EXPERTS]
    if is_one(w.dp) or not experts:
        return None
    return SharedExperts(
        ranks=named("ranks_that_share_experts", server.plan.expert_ranks()),
        sequences=named("sequences_of_the_experts", shared_by(w.batch, server.plan)),
        residual=server.model.hidden_size * server.size.Bx,
        each=named("activations_an_expert_token", largest([op._replace(b=1).io_bytes() for op in experts])),
    )


def held(server: Server, w: Workload, step: Step, kv: KvCache) -> Held:
    """From the operators of a decode step, of the part of the batch that goes through the stages together."""
    sequences, share = rank_share(w.batch, w.dp), step.share
    parts = divide(sequences, step.load.b)

    def on_a_stage(of_all_layers: Number) -> Number:
        stage = of_all_layers if is_one(w.pp) else of_all_layers / w.pp
        return stage if is_one(parts) else stage * parts

    experts = shared_experts(server, w, share)
    own = share if experts is None else share._replace(layers=[op for op in share.layers if op.name not in EXPERTS])
    peak = step_peak(own, step.load.b * server.model.hidden_size * server.size.Bx)
    states = named("states", on_a_stage(state_bytes(share.layers)))
    bounds = cache_bounds(share.layers, sequences if is_one(w.pp) else sequences / w.pp, states)
    filled = named("kv_cache.bytes", kv.bytes) if is_one(w.gpus) else on_a_stage(kept_bytes(share.layers))
    return Held(
        sequences=sequences,
        weights=stage_bytes(share, w.pp),
        cache=filled + named("spare_positions", spare_positions(w.context)) * bounds[-1].position,
        prompt_tokens=w.prompt if w.chunk is None else minimum(w.prompt, w.chunk),
        own_prompt=named(
            "activations_a_prompt_token", peak.layers / step.load.b
        ),  # in the layers all grow with the tokens
        own_step=named("activations_a_step", peak.head if is_one(parts) else peak.head * parts),
        experts=experts,
        bounds=bounds,
        together=w.batch_prompts,
    )


def serving_memory(server: Server, w: Workload, step: Step, kv: KvCache, prompt_is_context: bool) -> Memory:
    """Memory to decode the batch after prefilling its prompts one sequence at a time, each in one piece or in chunks;
    or all of them at once (`batch_prompts`).

    The largest batch keeps the context; the largest context keeps the batch (and takes the prompt along
    where the prompt is the context) and stays within the positions that the model was made for.
    """
    has, usable = held(server, w, step, kv), server.chip.usable
    weights, activations = named("memory.weights_bytes", has.weights), has.activations()
    used = weights + named("memory.kv_cache_bytes", has.cache) + named("memory.activation_bytes", activations)
    if usable is None:
        return Memory(has.weights, has.cache, activations, None, None, used, None, None, None, None, None)
    runtime = runtime_bytes(w)
    budget = floor_div(usable * w.memory_utilization, 1)
    if w.free_memory_fraction is not None:
        budget = usable - (1 - w.free_memory_fraction) * maximum(0, usable - runtime - weights - activations)
    overhead = usable - budget + runtime
    total = used + named("memory.overhead_bytes", overhead)
    room = named("room", budget - runtime - weights)
    longest = has.largest_context(room, server.model.max_position_embeddings, grows=prompt_is_context, chunk=w.chunk)
    return Memory(
        weights_bytes=has.weights,
        kv_cache_bytes=has.cache,
        activation_bytes=activations,
        runtime_bytes=runtime,
        overhead_bytes=overhead,
        total_bytes=total,
        capacity_bytes=server.chip.capacity,
        usable_bytes=usable,
        fits=total <= usable,
        max_batch=maximum(0, has.largest_batch(room, w.dp)),
        max_context=maximum(0, longest),
    )
