"""The share of the memory that an engine may use, of which there are three: of each engine one.

vLLM's `--memory-utilization` is of all of it, TensorRT-LLM's `--free-memory-fraction` of what the model leaves, for the
cache. SGLang's `--mem-fraction-static` is of what the runtime leaves, for weights and cache; activations and CUDA
graphs have the rest. It is the user's, or by the engine's own rule (specs/engine_reserve.py), put in numbers here.
SGLang divides what it reserves by what nvidia-smi reports; it is divided here by what the driver reports to a process,
0.5 % less, which changes the share by 0.001 at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from llmcost.ground.algebra import Number, floor_div, maximum, minimum, named, number_behind, present, sum_of
from llmcost.ground.errors import InputError
from llmcost.ground.options import declared
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.pipeline import Server
from llmcost.serving.options import USUAL_UTILIZATION, Options, Workload
from llmcost.serving.speculation import WAYS
from llmcost.specs.catalog import named_engine
from llmcost.specs.engine import EngineSpec
from llmcost.specs.engine_reserve import Factor, StaticShare, Term, TowerFactor

SHARES = ("memory_utilization", "free_memory_fraction", "mem_fraction_static")
DECIMALS = 1000  # the share is rounded to a thousandth, as SGLang rounds it


def with_shares(options: Options, engine: EngineSpec) -> Options:
    """The options with the engine's own share of the memory, where the user gives none.

    By a rule of the engine's, none is filled in: it follows from the layout. Raises InputError for a share that it
    does not have.
    """
    told = {name: share for name in SHARES if (share := getattr(options, name)) is not None}
    if "memory_utilization" in told and engine.free_memory_fraction is not None:
        _refuse("memory_utilization", told, engine, "free_memory_fraction")
    if "mem_fraction_static" in told and engine.mem_fraction_static is None:
        own = "memory_utilization" if engine.free_memory_fraction is None else "free_memory_fraction"
        _refuse("mem_fraction_static", told, engine, own)
    if told:
        return options
    return options._replace(
        memory_utilization=engine.memory_utilization, free_memory_fraction=engine.free_memory_fraction
    )


def _refuse(name: str, told: Mapping[str, Number], engine: EngineSpec, own: str) -> NoReturn:
    """Raise InputError for a share that the engine does not set; `own`: the one that it does."""
    known = declared(Options)
    typed = known[name].typed(told[name])
    raise InputError(f"{typed}: {engine.title} (--engine {engine.name}) has no such share; give {known[own].flag}")


def refuse_two_shares(options: Options) -> None:
    """Raise InputError where two shares of the memory are given, of which one would change nothing."""
    known = declared(Options)
    told = [known[name].typed(getattr(options, name)) for name in SHARES if getattr(options, name) is not None]
    if len(told) > 1:
        raise InputError(f"{told[0]}: {told[1]} says it in another way; give one of them")


def utilization_of(options: Options) -> Number:
    """The share of all memory that holds; None where the engine's rule or a share of another kind holds."""
    told = [share for name in SHARES if (share := getattr(options, name)) is not None]
    engine = named_engine(options.engine)
    rule = engine is not None and engine.mem_fraction_static is not None
    return options.memory_utilization if told or rule else USUAL_UTILIZATION


def mem_fraction_static(server: Server, w: Workload) -> Number:
    """The share, of what the runtime leaves, for weights and cache; None where another share of the memory holds."""
    engine = named_engine(w.engine)
    if w.mem_fraction_static is not None or engine is None:
        return w.mem_fraction_static
    rule, usable = engine.mem_fraction_static, server.chip.usable
    if rule is None or usable is None or w.memory_utilization is not None or w.free_memory_fraction is not None:
        return None
    memory = number_behind(usable)
    amounts = _amounts(server, w, rule, engine.captured(memory, w.tp * sharing_ranks(server.model, server.layout)))
    true = _conditions(server, w)
    reserved: Number = 0
    for term in rule.reserve:
        if not {*term.when} <= true or memory <= term.memory_above:
            continue
        of = _of(term, amounts)
        reserved = maximum(reserved, of) if term.floor else reserved + of
    share = floor_div(DECIMALS * (1 - named("memory.reserved", reserved) / usable) + 0.5, 1) / DECIMALS
    for factor in rule.times:
        if {*factor.when} <= true:
            share = share * _times(factor, server.model, w.context)
    return named("memory.mem_fraction_static", minimum(1, maximum(0, share)))


def _of(term: Term, amounts: dict[str, Number]) -> Number:
    """Bytes of one term of the reserve."""
    found: Number = term.bytes
    for each in term.each:
        amount = amounts[each]
        found = found * (maximum(amount, term.least) if each == "chunk" and term.least else amount)
    if term.above:
        found = found * _more_than(amounts["captures"], term.above)
    if "sharing" in term.when:
        found = found * _more_than(amounts["sharing_ranks"], 1)
    if "one stage" in term.when:
        found = found * (1 - _more_than(amounts["stages"], 1))
    return found


def _more_than(whole: Number, least: int) -> Number:
    """1 where a whole number is more than another one, else 0."""
    return minimum(1, maximum(0, whole - least))


def sharing_ranks(model: ModelSpec, layout: Layout) -> Number:
    """Data-parallel ranks that share experts."""
    return layout.expert_ranks() if model.has_experts() else 1


def _amounts(server: Server, w: Workload, rule: StaticShare, captures: Number) -> dict[str, Number]:
    """What terms are counted in (EACH); `captures`: the largest batch that graphs are captured for."""
    sharing = sharing_ranks(server.model, server.layout)
    chunk = w.prompt if w.chunk is None else w.chunk * sharing
    if w.max_num_seqs is not None and rule.captures_running:
        captures = minimum(captures, w.max_num_seqs * sharing)
    return {
        "chunk": chunk,
        "captures": captures,
        "prompt_captures": _lengths(rule, chunk),
        "server_gpus": w.tp * sharing * w.pp,
        "sharing_ranks": sharing,
        "stages": w.pp,
    }


def _lengths(rule: StaticShare, chunk: Number) -> Number:
    """How many lengths of prompts up to a chunk's graphs are captured for."""
    found: Number = 0
    for first, *last, step in rule.prompt_captures:
        end = minimum(chunk, last[0]) if last else chunk
        found = found + maximum(0, floor_div(end - first, step) + 1)
    return found


def _conditions(server: Server, w: Workload) -> set[str]:
    """Which of WHEN hold. That ranks share experts, and of stages, is told by their number, which may be an array."""
    model = server.model
    latents = any(present(getattr(layer.mixer, "kv_lora_rank", 0)) for layer in model.layers)
    guesses = bool(w.speculate)
    known = {
        "sharing": True,
        "graphs": w.cuda_graphs,
        "one stage": True,
        "latents": latents,
        "no latents": not latents,
        "deepep": w.all2all == "deepep",
        "mtp": guesses and w.draft == "mtp",
        "draft model": guesses and w.draft not in WAYS,
        "tower": any(not tower.hears for tower in model.towers),
        server.chip.vendor: True,
    }
    return {name for name, holds in known.items() if holds}


def _times(factor: Factor, model: ModelSpec, context: Number) -> Number:
    """What a share is multiplied by."""
    if factor.context_above:
        return 1 - (1 - factor.value) * minimum(1, floor_div(context, factor.context_above + 1))
    return factor.value * (1 if factor.tower is None else _by_tower(factor.tower, model))


def _by_tower(of: TowerFactor, model: ModelSpec) -> Number:
    """The part of a factor that falls with the size of the first tower that sees."""
    tower = next(each for each in model.towers if not each.hears)
    layers = [(op.count, op.heads * op.head_dim) for op in tower.operators if present(op.heads)]
    size = sum_of(count * width**2 for count, width in layers)
    ratio = size / (of.layers * of.hidden_size**2)
    return maximum(of.least, minimum(of.most, 1 - of.slope * (ratio - 1)))
