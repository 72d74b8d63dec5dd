"""What GPUs draw as they serve, as a share of their TDP, by the law of their kind (machine/power.py).

All of the TDP is taken where no draw of the GPU was measured, or a time is not known.
"""

from __future__ import annotations

from llmcost.ground.algebra import Number, maximum, minimum
from llmcost.machine.power import Draw, drawn_by, share_drawn
from llmcost.serving.results import Estimate
from llmcost.specs.hardware import HardwareSpec


def share_of(e: Estimate, hardware: HardwareSpec, *, output: bool = True) -> Number:
    """The share that a GPU draws as output is made (in decode, the request or the load), or else in prefill."""
    draw, card = drawn_by(hardware), e.hardware
    if draw is None or card is None or card.peak_flops_per_s is None or card.bandwidth_bytes_per_s is None:
        return 1
    w, peak, bandwidth = e.workload, card.peak_flops_per_s, card.bandwidth_bytes_per_s
    prefill, decode = e.prefill.expected.seconds, e.decode.expected.seconds_per_step
    if prefill is None or decode is None:
        return 1
    of_prompts = share_drawn(
        draw, e.memory.weights_bytes / (prefill * bandwidth), e.flops.prefill.causal / (prefill * w.gpus * peak)
    )
    if not output:
        return of_prompts
    if e.serving is not None:
        s = e.serving
        held, rate = e.memory.weights_bytes + s.kv_cache_bytes, s.expected.total_tokens_per_s
        flops = rate * e.flops.per_token.total / w.all_gpus()
        return share_under_load(draw, held / bandwidth, s.expected.tpot_seconds, flops / peak)
    of_output = share_drawn(
        draw,
        e.traffic.decode.total_bytes / (decode * bandwidth),
        e.flops.per_token.total * w.batch / (decode * w.gpus * peak),
    )
    if e.request is None:
        return of_output
    first = e.request.expected.ttft_seconds / e.request.expected.latency_seconds
    return first * of_prompts + (1 - first) * of_output


def share_of_run(
    hardware: HardwareSpec, decode: Estimate, *, tokens: Number, steps: Number, seconds: Number, gpus: Number
) -> Number:
    """The mean share that GPUs draw in a run that was simulated, those that wait included.

    `tokens`: that were computed, in and out. `steps`: of a replica, each of which reads what a step of `decode` reads.
    """
    draw, card = drawn_by(hardware), decode.hardware
    moved = decode.traffic.decode.total_bytes
    if draw is None or card is None or moved is None or None in (card.peak_flops_per_s, card.bandwidth_bytes_per_s):
        return 1
    computing = tokens * decode.flops.per_token.total / (gpus * seconds * card.peak_flops_per_s)
    return share_drawn(draw, minimum(1, steps * moved / (seconds * card.bandwidth_bytes_per_s)), computing)


def share_under_load(draw: Draw, reading: Number, tpot: Number, computing: Number) -> Number:
    """The share that a GPU draws which answers requests all the time.

    `reading`: seconds in which it could read once all that it holds of weights and caches, as it does for each token of
    `tpot` seconds; where nothing is decoded, all the time. `computing`: FLOPs a second of all tokens, in and out, over
    its peak.
    """
    return share_drawn(draw, reading / maximum(reading, tpot), computing)
