"""What has to fit on a GPU to serve a model, and how far it can be filled.

Weights, the KV cache of every sequence at its full context in whole pages, the activations alive at the worst moment,
what the runtime holds, and what is set aside for fragmentation and all else: 1 - u of what the driver reports, u being
the `--memory-utilization` of serving engines (each engine's file has its default).
Of several GPUs it is the fullest: the pipeline stage with the embedding or the LM head, whichever is larger, of the
data-parallel rank with the most sequences.

An engine that measures its activations before it sizes the cache does so with as many sequences as it may ever run, and
samples a token of each: the sampler's tensors (logits in fp32, probabilities, random numbers) can be the most of them.

`--free-memory-fraction` says what is set aside in another way, that of TensorRT-LLM's free_gpu_memory_fraction: all but
this share of what weights, activations and runtime leave. `--mem-fraction-static`, SGLang's, says it in a third way:
weights and cache take this share of what the runtime leaves, activations have to do with the rest (memory_share.py).
"""

from functools import reduce
from typing import Any, NamedTuple

from llmcost.ground.algebra import (
    Number,
    divide,
    floor_div,
    is_one,
    largest,
    maximum,
    minimum,
    named,
    present,
)
from llmcost.machine.process import SERVING_COMMUNICATORS, SERVING_CONTEXT
from llmcost.model.architecture import Pass
from llmcost.model.counting import cache_bytes_per_token, kept_bytes, stored_bytes
from llmcost.parallel.offload import largest_copy, on_gpu, on_host
from llmcost.parallel.pipeline import Server, rank_share, shared_by
from llmcost.serving.caches import CacheBound, allocation
from llmcost.serving.loading import loaded_bytes
from llmcost.serving.memory_share import mem_fraction_static
from llmcost.serving.options import Workload
from llmcost.serving.phases import DecodeStep
from llmcost.serving.results import KvCache, Memory
from llmcost.specs.catalog import named_engine


class StepPeak(NamedTuple):
    """Bytes of activations alive at the worst kernel of a decode step: inside the layers, and with the LM head."""

    layers: Number
    head: Number


def step_peak(step: Pass, residual: Number) -> StepPeak:
    """The peak of a decode step: the residual stream and the largest kernel's inputs and outputs.

    residual: bytes of the residual stream.
    """
    layers = largest([op.io_bytes() for op in [*step.first, *step.layers] if op.facts.role != "constant"])
    head = largest([layers, *[op.io_bytes() for op in step.last if op.facts.role != "constant"]])
    return StepPeak(residual + layers, residual + head)


def runtime_bytes(w: Workload) -> Number:
    """What the process holds beside the model: its context, and communicators where GPUs work together.

    Data-parallel ranks that share no experts do not. `communicator`: they are set up on one GPU, too.
    """
    if w.communicator:
        return SERVING_CONTEXT.value + SERVING_COMMUNICATORS.value
    if is_one(w.gpus):
        return SERVING_CONTEXT.value
    return SERVING_CONTEXT.value + SERVING_COMMUNICATORS.value * minimum(1, w.tp * w.pp * w.ep - 1)


def sampler_bytes(server: Server, w: Workload) -> Number:
    """What the engine's sampler takes when it samples all `max_num_seqs` at once; 0 where no engine is said to do so.

    No more sequences than tokens of a step can have a token each. Every GPU of a tensor-parallel group has all logits.
    """
    engine = named_engine(w.engine)
    if engine is None or not engine.sampler or w.max_num_seqs is None or not server.model.generates:
        return 0
    sequences = w.max_num_seqs if w.chunk is None else minimum(w.max_num_seqs, w.chunk)
    return named("memory.sampler_bytes", engine.sampler * sequences * server.model.vocab_size)


class SharedExperts(NamedTuple):
    """Activations of experts that see the tokens of several data-parallel ranks, which need not all have as many.

    ranks: that share the experts. sequences: of all of them together. residual: bytes a token takes on its own rank.
    each: bytes it takes in the experts, on every rank.
    """

    ranks: Number
    sequences: Number
    residual: Number
    each: Number

    def in_prompt(self) -> Number:
        """Bytes of activations for a token of a prompt. Every rank that has a sequence runs one prompt at a time."""
        return self.residual + self.each * minimum(self.sequences, self.ranks)

    def in_step(self, of_a_rank: Number) -> Number:
        """Bytes of activations of a decode step of all sequences, `of_a_rank` of them on the fullest rank."""
        return self.residual * of_a_rank + self.each * self.sequences

    def most(self, room: Number, cache: Number, prompt_tokens: Number) -> Number:
        """Sequences of all the ranks together that fit into `room` bytes a rank; `cache`: bytes of one sequence.

        They must fit in a decode step and while every rank runs a prompt of so many tokens. In a step the ranks are
        filled alike; then some of them take one sequence more, as long as the experts have room for its activations.
        Beside prompts the ranks are filled alike too; where not even one sequence a rank fits, as many ranks have one
        as the experts have room for the prompts of.
        """
        ranks, residual, each = self.ranks, self.residual, self.each
        alike = floor_div(room, cache + residual + ranks * each)
        left_for_experts = room - (alike + 1) * (cache + residual)
        in_step = maximum(ranks * alike, floor_div(left_for_experts, each))

        alike = floor_div(room - prompt_tokens * (residual + ranks * each), cache)
        left_for_experts = room - cache - prompt_tokens * residual
        ranks_with_one = minimum(ranks, floor_div(left_for_experts, prompt_tokens * each))
        beside_prompts = maximum(ranks * alike, ranks_with_one)
        return minimum(in_step, beside_prompts)


class HeldBytes(NamedTuple):
    """What the fullest GPU holds, in bytes, with what its largest batch and context follow from.

    `own_prompt` and `own_step` are activations that need no other rank's tokens. Where experts see those of other
    data-parallel ranks, their activations stand in `experts` alone.
    """

    sequences: Number  # of the fullest rank
    weights: Number
    cache: Number  # of all its sequences, as allocated
    in_flight: Number  # of `cache`, what the sequence has beside its own share whose prompt runs
    least_cache: Number  # the keys, values and states themselves
    prompt_tokens: Number  # that run at a time
    own_prompt: Number  # a token of a prompt
    own_step: Number  # a whole decode step
    experts: SharedExperts | None
    bounds: list[CacheBound]
    together: bool = False  # the prompts of all sequences run at a time
    sampler: Number = 0

    def in_prompt(self) -> Number:
        """Bytes of activations for a token of a prompt, or for one of each of the prompts that run together."""
        own = self.own_prompt if self.experts is None else maximum(self.own_prompt, self.experts.in_prompt())
        return self.sequences * own if self.together else own

    def in_step(self) -> Number:
        """Bytes of activations of a decode step."""
        return self.own_step if self.experts is None else maximum(self.own_step, self.experts.in_step(self.sequences))

    def activations(self) -> Number:
        """Bytes of activations at the worst moment: while a prompt runs, a decode step, or the sampler."""
        alive = maximum(self.prompt_tokens * self.in_prompt(), self.in_step())
        return maximum(alive, self.sampler) if present(self.sampler) else alive

    def largest_batch(self, room: Number, dp: Number) -> Number:
        """Sequences of this context on all `dp` ranks whose caches fit into `room` bytes a rank.

        They must fit beside the activations of a prompt, beside those of a decode step of them all, and beside the
        sampler's. Where a model keeps no cache of its own, a sequence counts as one byte: its activations alone then
        limit the batch.
        """
        sequence: Number = 1
        if any(map(present, self.bounds[0][:2])):
            cache = named("memory.kv_cache_bytes", self.cache)
            if present(self.in_flight):
                cache, room = cache - self.in_flight, room - self.in_flight
            sequence = named("cache_a_sequence", cache / self.sequences)
        found = self._beside_activations(room, sequence, dp)
        return minimum(found, floor_div(room - self.sampler, sequence) * dp) if present(self.sampler) else found

    def _beside_activations(self, room: Number, sequence: Number, dp: Number) -> Number:
        """The same beside prompts and decode steps; `sequence`: bytes of the cache of one."""
        if self.together:
            prompt = self.prompt_tokens * self.in_prompt() / self.sequences
            return floor_div(room, sequence + maximum(prompt, self.in_step() / self.sequences)) * dp
        after_prompt = named("room_beside_a_prompt", room - self.prompt_tokens * self.own_prompt)
        beside_a_prompt = floor_div(after_prompt, sequence)
        in_a_step = floor_div(room, sequence + self.own_step / self.sequences)
        of_a_rank = minimum(beside_a_prompt, in_a_step)
        if self.experts is None:
            return of_a_rank * dp
        of_the_experts = self.experts.most(room, sequence, self.prompt_tokens)
        of_the_group = minimum(of_a_rank * self.experts.ranks, of_the_experts)
        return floor_div(of_the_group * dp, self.experts.ranks)

    def largest_context(self, room: Number, longest: Number, *, grows: bool, chunk: Number) -> Number:
        """The most positions, `longest` at most, that every sequence of the batch can have in `room` bytes.

        They must fit beside a decode step, the sampler and a prompt. The prompt `grows` with them, as far as a `chunk`
        (None: without end), or stays as it is. Each bound of the cache is on the safe side: the roomiest one counts.
        """
        in_step = maximum(self.in_step(), self.sampler) if present(self.sampler) else self.in_step()
        after_step = named("room_beside_a_step", room - in_step)
        beside_a_prompt = self._beside_a_prompt(room, longest, grows=grows, chunk=chunk)
        found = [
            minimum(beside, bound.positions(after_step, longest))
            for bound, beside in zip(self.bounds, beside_a_prompt, strict=True)
        ]
        return minimum(reduce(maximum, found), longest)

    def _beside_a_prompt(self, room: Number, longest: Number, *, grows: bool, chunk: Number) -> list[Number]:
        """The most positions beside the activations of a prompt, by each bound of the cache."""
        in_prompt = self.in_prompt()
        grown = [bound.beside_a_prompt(room, in_prompt) for bound in self.bounds] if grows else []
        tokens = chunk if grows else self.prompt_tokens
        if tokens is None:
            return grown
        after_prompt = named("room_beside_a_prompt", room - tokens * in_prompt)
        fixed = [bound.positions(after_prompt, longest) for bound in self.bounds]
        if not grows:
            return fixed
        return [maximum(minimum(chunk, short), long) for short, long in zip(grown, fixed, strict=True)]


def shared_experts(server: Server, w: Workload, share: Pass) -> SharedExperts | None:
    """The experts of a decode step where they see the tokens of other data-parallel ranks; None where they do not."""
    experts: list[Any] = [op for op in share.layers if op.facts.expert == "routed"]
    if is_one(w.dp) or not experts:
        return None
    return SharedExperts(
        ranks=named("ranks_that_share_experts", server.layout.expert_ranks()),
        sequences=named("sequences_of_the_experts", shared_by(w.batch, server.layout)),
        residual=server.model.hidden_size * server.size.Bx,
        each=named("activations_an_expert_token", largest([op._replace(b=1).io_bytes() for op in experts])),
    )


def held(server: Server, w: Workload, step: DecodeStep, kv: KvCache) -> HeldBytes:
    """What the fullest GPU holds, from the operators of a decode step.

    The step is that of one of the parts of the batch that go through the pipeline stages one behind the other; caches
    and activations of all parts are held at once. Activations of layers grow with the tokens, so that those of a
    prompt's token are those of a sequence in the step.
    """
    sequences, share = rank_share(w.batch, w.dp), step.share
    parts = divide(sequences, step.load.b)
    experts, generates = shared_experts(server, w, share), server.model.generates
    dense = [op for op in share.layers if op.facts.expert != "routed"]
    own = share if experts is None else share._replace(layers=dense)
    peak = step_peak(own, step.load.b * server.model.hidden_size * server.size.Bx)
    prompt_tokens = w.prompt if w.chunk is None else minimum(w.prompt, w.chunk)
    here = share.layers if server.offload is None else on_gpu(share.layers)
    caches = allocation(here, 0 if w.batch_prompts else prompt_tokens, server.page)
    if not is_one(w.pp):
        caches = caches.scaled(server.stage_share())
    least = named("kv_cache.bytes", kv.bytes) if server.offload is None else kept_bytes(here)
    if not is_one(w.gpus):
        least = server.on_a_stage(kept_bytes(share.layers) if is_one(parts) else kept_bytes(share.layers) * parts)
    in_flight = caches.prompt(w.context)
    return HeldBytes(
        sequences=sequences,
        weights=loaded_bytes(server, share, w.weight_dtype),
        cache=sequences * caches.sequence(w.context) + in_flight,
        in_flight=in_flight,
        least_cache=least,
        prompt_tokens=prompt_tokens,
        own_prompt=named("activations_a_prompt_token", (peak.layers if generates else peak.head) / step.load.b),
        own_step=named("activations_a_step", peak.head if is_one(parts) else peak.head * parts),
        experts=experts,
        bounds=caches.bounds(sequences),
        together=w.batch_prompts or not generates or server.model.encoder is not None,
        sampler=sampler_bytes(server, w),
    )


def serving_memory(server: Server, w: Workload, step: DecodeStep, kv: KvCache, prompt_is_context: bool) -> Memory:
    """Memory to decode the batch after prefilling its prompts one sequence at a time, each in one piece or in chunks.

    With `batch_prompts` they all run at once.

    The largest batch keeps the context; the largest context keeps the batch (and takes the prompt along
    where the prompt is the context) and stays within the positions that the model was made for, or the context
    that is asked about.
    """
    has, usable = held(server, w, step, kv), server.chip.usable
    weights, activations = named("memory.weights_bytes", has.weights), has.activations()
    used = weights + named("memory.kv_cache_bytes", has.cache) + named("memory.activation_bytes", activations)
    found = Memory(has.weights, has.cache, has.least_cache, activations, used_bytes=used, total_bytes=used)
    if present(has.sampler):
        found = found._replace(sampler_bytes=has.sampler)
    if usable is None:
        return found
    runtime = runtime_bytes(w)
    if server.offload is not None:
        runtime = runtime + largest_copy(step.share.layers)
    used = used + named("memory.runtime_bytes", runtime)
    static = mem_fraction_static(server, w)
    set_aside = set_aside_of(w, usable, runtime, weights, activations, static)
    budget = usable - set_aside
    total = named("memory.used_bytes", used) + named("memory.set_aside_bytes", set_aside)
    room = named("room", budget - runtime - weights)
    positions = maximum(server.model.longest, w.context)
    longest = has.largest_context(room, positions, grows=prompt_is_context, chunk=w.chunk)
    found = found._replace(
        runtime_bytes=runtime,
        mem_fraction_static=static,
        used_bytes=used,
        set_aside_bytes=set_aside,
        overhead_bytes=set_aside + runtime,
        total_bytes=total,
        capacity_bytes=server.chip.capacity,
        usable_bytes=usable,
        fits=total <= usable,
        max_batch=maximum(0, has.largest_batch(room, w.dp)),
        max_context=maximum(0, longest),
    )
    return found if server.offload is None else with_the_host(server, w, step, found)


def set_aside_of(
    w: Workload, usable: Number, runtime: Number, weights: Number, activations: Number, static: Number
) -> Number:
    """Bytes that are left free; `static`: the share of what the runtime leaves for weights and cache, if one is set.

    Of the rest activations take their part.
    """
    if w.free_memory_fraction is not None:
        return (1 - w.free_memory_fraction) * maximum(0, usable - runtime - weights - activations)
    if static is not None:
        return maximum(0, (1 - static) * (usable - runtime) - activations)
    return usable - floor_div(usable * w.memory_utilization, 1)


def with_the_host(server: Server, w: Workload, step: DecodeStep, found: Memory) -> Memory:
    """The same where the host's memory has room for its part too: it fits, or as many sequences, as far as both do."""
    assert server.offload is not None
    usable, there = server.offload.host.chip.usable, on_host(step.share.layers)
    weights, cache = stored_bytes(there), kept_bytes(there)
    most, longest = found.max_batch, found.max_context
    if present(cache):
        room = maximum(0, usable - weights)
        most = minimum(most, floor_div(room * w.batch, cache))
        each = cache_bytes_per_token(there) * w.batch
        if present(each):
            longest = minimum(longest, w.context + floor_div(room - cache, each))
    beyond = maximum(found.total_bytes - found.usable_bytes, weights + cache - usable)
    return found._replace(fits=beyond <= 0, max_batch=most, max_context=maximum(0, longest))
