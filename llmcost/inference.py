"""Prefill and decode on the three bases."""

from __future__ import annotations

from llmcost import textbook
from llmcost.algebra import Number, named
from llmcost.counting import PassCost
from llmcost.efficiency import Efficiency
from llmcost.results import Decode, ExpectedRate, ExpectedStepRate, Prefill, Rate, StepRate
from llmcost.sizes import Load
from llmcost.timing import Chip, binding, bound, rate


def prefill(prompt: PassCost, full: Number, load: Load, chip: Chip, efficiency: Efficiency, kernels: Number, mfu: Number) -> Prefill:
    """The whole prompt of every sequence, logits of the last position only.

    `kernels` is the expected time of its kernels; the textbook basis takes `full` FLOPs: every (query, key)
    pair, and the logits of all positions.
    """
    tokens = load.b * load.s
    floor = bound(prompt, chip, "flops.prefill.causal", "prefill_bytes")
    limit = floor.seconds()
    by_rule = None if chip.peak is None else textbook.prefill_seconds(named("flops.forward.full", full), chip.peak, mfu)
    return Prefill(
        textbook=Rate(by_rule, rate(tokens, named("prefill.textbook.seconds", by_rule))),
        limit=Rate(limit, rate(tokens, named("prefill.limit.seconds", limit))),
        expected=ExpectedRate(kernels, rate(tokens, named("prefill.expected.seconds", kernels)), efficiency.basis, efficiency.error),
        bound=floor,
        limited_by=binding(floor, fits=True),
    )


def decode(step: PassCost, load: Load, chip: Chip, efficiency: Efficiency, kernels: Number, fits: Number) -> Decode:
    """One token for each of b sequences, each of which sees its c keys.

    On a chip whose peak is not known the limit is that of the memory alone: still one that nobody beats.
    """
    floor = bound(step, chip, "decode_flops", "traffic.decode.total_bytes")
    limit = floor.memory_seconds if chip.peak is None else floor.seconds()
    by_rule = None
    if chip.bandwidth is not None:
        cache = named("traffic.decode.kv_cache_bytes", step.cache_bytes)
        by_rule = textbook.decode_seconds(named("linear_and_head_bytes", step.linear_bytes), cache, chip.bandwidth)
    return Decode(
        textbook=StepRate(by_rule, rate(load.b, named("decode.textbook.seconds_per_step", by_rule))),
        limit=StepRate(limit, rate(load.b, named("decode.limit.seconds_per_step", limit))),
        expected=ExpectedStepRate(
            kernels, rate(load.b, named("decode.expected.seconds_per_step", kernels)), efficiency.basis, efficiency.error
        ),
        bound=floor,
        limited_by=binding(floor, fits),
    )
