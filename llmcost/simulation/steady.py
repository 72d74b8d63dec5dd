"""The estimate of a mix of requests, simulated where the formula of its steady state is known not to hold.

Beside the simulator, the formula's times are within a tenth where less arrives than `BUSY` of what is answered at most,
where few of a benchmark's requests run at a time, where all that are in flight have room, and where prompts that delay
others take a small part of the time (tests/simulation/test_steady.py). Elsewhere a run of the simulator takes its
place, that of `llmcost simulate` with the same options. Where nothing tells how lengths differ, they do as the formula
has it. Where the run would take longer than a second or so, the formula's answer stays, and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import estimate, lengths
from llmcost.serving.options import Options, Workload
from llmcost.serving.results import Estimate, Serving, Simulated
from llmcost.serving.room import cached_tokens
from llmcost.serving.turns import SHORTEST, longest_length
from llmcost.simulation.traffic import requests_of
from llmcost.specs.catalog import named_engine
from llmcost.specs.hardware import HardwareSpec

if TYPE_CHECKING:
    from llmcost.simulation.run import Run

BUSY = 0.7  # share of the load that is answered at most, from which on queues depend on how requests happen to come
BUSY_PROMPTS = 0.25  # share of the time that prompts take, at a rate and in loops where decode waits for them
BUSY_POOL = 0.6  # likewise of the GPUs that run nothing else
FEW = 0.1  # share of a run's requests that run at a time, from which on most of it is its beginning and its end
MOST_REQUESTS, MOST_STEPS = 5_000, 30_000  # of a run: the steps take 20 to 40 microseconds each
SATURATION, ENDS, MEMORY, PROMPTS = "saturation", "beginning and end", "memory", "prompts"  # why the formula fails


def steady(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Estimate:
    """Every figure, as `estimate` gives them, with a mix's times by the simulator where the formula does not hold.

    Raises InputError where the options contradict the model or themselves.
    """
    found = estimate(model, hardware, options)
    simulated = rough(found, options)
    if hardware is None or found.serving is None or simulated is None:
        return found
    if simulated.requests is None:
        return found._replace(serving=found.serving._replace(simulated=simulated))
    asked = options._replace(engine=found.workload.engine)
    return found._replace(serving=_simulated(model, hardware, asked, found.serving, simulated.because))


def rough(found: Estimate, options: Options) -> Simulated | None:
    """Why the formula of an estimate's mix does not hold, and of how many requests a run would be; None where it does.

    Nothing is run: the figures of a run are None.
    """
    s, w = found.serving, found.workload
    if found.hardware is None or s is None or s.expected.ttft_seconds is None:
        return None
    because = beyond(found, w, s)
    engine = named_engine(w.engine)
    own_runs = engine is not None and engine.nearby  # which the formula follows, and a run does not
    if because is None or own_runs or not found.memory.fits:
        return None
    requests = requests_of(options)
    return Simulated(because, requests if _short(w, s, requests) else None)


def beyond(e: Estimate, w: Workload, s: Serving) -> str | None:
    """Why the formula is not enough for a mix of requests, `s` of an estimate with workload `w`; None where it is."""
    whole = 1 if w.reserve_output else (w.prompt + w.output) / (w.prompt + w.output / 2)
    if w.rate is not None:
        if s.load_share is not None and s.load_share >= BUSY:
            return SATURATION
        if s.running >= FEW * requests_of(w):
            return ENDS
    elif s.max_concurrency is not None and w.concurrency * whole > s.max_concurrency:
        return MEMORY
    if s.pools is not None:
        return PROMPTS if s.pools.prefill.busy_share >= BUSY_POOL else None
    engine = named_engine(w.engine)
    beside = w.rate is None and (engine is None or engine.mixed)
    return None if beside or prompts_share(e, w, s) < BUSY_PROMPTS else PROMPTS


def prompts_share(e: Estimate, w: Workload, s: Serving) -> Number:
    """The share of a rank's time that prompts take, one by one."""
    computed = (w.prompt - cached_tokens(w)) * (1 if w.range_ratio is None else (1 + w.range_ratio) / 2)
    return s.expected.requests_per_s / w.dp * computed / e.prefill.expected.tokens_per_s


def _short(w: Workload, s: Serving, requests: int) -> bool:
    """Whether a run of so many requests takes about a second at most: by its requests, and the steps of all ranks."""
    ranks = w.dp if s.pools is None else s.pools.decode.replicas * w.dp
    return requests <= MOST_REQUESTS and requests * w.output * ranks / s.running <= MOST_STEPS


def _simulated(model: ModelSpec, hardware: HardwareSpec, options: Options, formula: Serving, because: str) -> Serving:
    """The mix with the means of a run in place of the formula's. Raises InputError where a request has no room."""
    asked = as_run(model, options)
    try:
        run = _run(model, hardware, asked)
    except InputError:
        if options.range_ratio is not None:
            raise
        asked = as_run(model, options._replace(range_ratio=1.0))  # of drawn lengths the longest have no room
        run = _run(model, hardware, asked)
    times = run.times
    seconds, ttft = times.last - times.first, times.spread("ttft")
    expected = formula.expected._replace(
        requests_per_s=times.requests / seconds,
        output_tokens_per_s=times.output / seconds,
        total_tokens_per_s=(times.input + times.output) / seconds,
        output_tokens_per_s_per_gpu=times.output / seconds / run.gpus,
        ttft_seconds=ttft.mean,
        tpot_seconds=times.spread("tpot").mean or 0.0,
        latency_seconds=times.spread("latency").mean,
    )
    drawn = (asked.prompt, asked.output, asked.range_ratio)
    return formula._replace(expected=expected, simulated=Simulated(because, times.requests, *drawn, ttft.p50))


def _run(model: ModelSpec, hardware: HardwareSpec, asked: Options) -> Run:
    """A run whose requests are all answered."""
    from llmcost.simulation.options import SimulationOptions  # of the few that are simulated alone
    from llmcost.simulation.run import Run

    run = Run(model, hardware, asked, SimulationOptions())
    for _ in run.served():
        pass
    return run


def as_run(model: ModelSpec, options: Options) -> Options:
    """The options of a run, to which requests come in one way: at a rate, `concurrency` bounds those of each rank.

    Lengths that nothing tells differ by SPREAD, with those of the options as their means, where the model takes them.
    """
    if options.rate is not None and options.concurrency is not None:
        most = max(1, options.concurrency // (options.dp or 1))
        options = options._replace(concurrency=None, max_num_seqs=min(most, options.max_num_seqs or most))
    options = options._replace(prompt=lengths(model, options)[1], context=None)
    if options.range_ratio is not None:
        return options
    longest = [longest_length(length) for length in (options.prompt, options.output)]
    if model.encoder is not None or sum(longest) > model.max_position_embeddings:
        return options._replace(range_ratio=1.0)
    return options._replace(prompt=longest[0], output=longest[1], range_ratio=SHORTEST)
