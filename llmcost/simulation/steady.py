"""The estimate of a mix of requests, simulated where the formula of its steady state is known not to hold.

Beside the simulator, the formula's times are within a tenth where less arrives than `BUSY` of what is answered at most,
where few of a benchmark's requests run at a time, and where all that are in flight have room (tests/simulation/
test_steady.py). Elsewhere a run of the simulator takes its place: as many requests as `llmcost simulate` takes with the
same options, drawn alike. Where that would take longer than a second or so, the formula's answer stays, and says why.
"""

from __future__ import annotations

from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options, Workload
from llmcost.serving.results import Estimate, Serving, Simulated
from llmcost.simulation.traffic import requests_of
from llmcost.specs.hardware import HardwareSpec

BUSY = 0.7  # share of the load that is answered at most, from which on queues depend on how requests happen to come
BUSY_PROMPTS = 0.6  # likewise of GPUs that run prompts alone, in a closed loop
FEW = 0.1  # share of a run's requests that run at a time, from which on most of it is its beginning and its end
MOST_REQUESTS, MOST_STEPS = 5_000, 25_000  # of a run: the steps take 20 to 40 microseconds each
SATURATION, ENDS, MEMORY, PROMPTS = "saturation", "beginning and end", "memory", "prompts"  # why the formula fails


def steady(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Estimate:
    """Every figure, as `estimate` gives them, with a mix's times by the simulator where the formula does not hold.

    Raises InputError where the options contradict the model or themselves.
    """
    found = estimate(model, hardware, options)
    if hardware is None or found.serving is None or found.serving.expected.ttft_seconds is None:
        return found
    because = beyond(found.workload, found.serving)
    if because is None or not found.memory.fits:
        return found
    requests = requests_of(options)
    if not _short(found.workload, found.serving, requests):
        return found._replace(serving=found.serving._replace(simulated=Simulated(because, None, None)))
    return found._replace(serving=_simulated(model, hardware, options, found.serving, because))


def beyond(w: Workload, s: Serving) -> str | None:
    """Why the formula is not enough for a mix of requests; None where it is."""
    if w.rate is not None:
        if s.load_share is not None and s.load_share >= BUSY:
            return SATURATION
        return ENDS if s.running >= FEW * requests_of(w) else None
    if s.pools is not None and s.pools.prefill.busy_share >= BUSY_PROMPTS:
        return PROMPTS
    whole = 1 if w.reserve_output else (w.prompt + w.output) / (w.prompt + w.output / 2)
    return MEMORY if s.max_concurrency is not None and w.concurrency * whole > s.max_concurrency else None


def _short(w: Workload, s: Serving, requests: int) -> bool:
    """Whether a run of so many requests takes about a second at most: by its requests, and the steps of all ranks."""
    ranks = w.dp if s.pools is None else s.pools.decode.replicas * w.dp
    return requests <= MOST_REQUESTS and requests * w.output * ranks / s.running <= MOST_STEPS


def _simulated(
    model: ModelSpec, hardware: HardwareSpec, options: Options, formula: Serving, because: str
) -> Serving:
    """The mix with the means of a run in place of the formula's."""
    from llmcost.simulation.options import SimulationOptions  # of the few that are simulated alone
    from llmcost.simulation.run import Run

    run = Run(model, hardware, one_way(options), SimulationOptions())
    for _ in run.served():
        pass
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
    return formula._replace(expected=expected, simulated=Simulated(because, times.requests, ttft.p50))


def one_way(options: Options) -> Options:
    """The options of a run, to which requests come in one way: at a rate, `concurrency` bounds those of each rank."""
    if options.rate is None or options.concurrency is None:
        return options
    most = max(1, options.concurrency // (options.dp or 1))
    return options._replace(concurrency=None, max_num_seqs=min(most, options.max_num_seqs or most))
