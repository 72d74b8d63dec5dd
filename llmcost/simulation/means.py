"""A run of requests at its means: what bound each phase, and what its GPUs drew.

Taken are the mean number of requests that decode at a time (Little's law) and their mean lengths.
"""

from __future__ import annotations

from llmcost.ground.algebra import Number
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import estimate
from llmcost.serving.power import share_of_run
from llmcost.serving.results import Estimate
from llmcost.simulation.cluster import Cluster
from llmcost.simulation.results import Times
from llmcost.simulation.steptime import StepTime
from llmcost.specs.hardware import HardwareSpec


def at_the_means(model: ModelSpec, hardware: HardwareSpec, cluster: Cluster, times: Times) -> tuple[Estimate, Estimate]:
    """A replica that runs prompts, and one that decodes: the same kind, unless prompts run apart."""
    prompt, output = (max(1, round(tokens / times.requests)) for tokens in (times.input, times.output))
    decoding = (sum(times.seen["latency"]) - sum(times.seen["ttft"])) / (times.last - times.first)
    found = []
    for pool in (cluster.pool, cluster.decode or cluster.pool):
        step, a_rank = pool.units[0].step_seconds, decoding / len(pool.router.replicas)
        assert isinstance(step, StepTime)
        w = step.workload.without_mix()
        sizes = {"batch": max(1, round(a_rank)) * w.dp, "prompt": prompt, "context": prompt + output // 2}
        found.append(estimate(model, hardware, w._replace(**sizes, output=None)))
    return found[0], found[1]


def power_share(hardware: HardwareSpec, cluster: Cluster, times: Times, decode: Estimate, gpus: int) -> Number:
    """The mean draw of the GPUs, as a share of their TDP; `decode`: a replica at the means."""
    replicas = cluster.replicas()
    return share_of_run(
        hardware,
        decode,
        tokens=times.input + times.output + sum(each.recomputed - each.hits for each in replicas),
        steps=sum(each.steps for each in replicas) / len(replicas),
        seconds=times.last - times.first,
        gpus=gpus,
    )
