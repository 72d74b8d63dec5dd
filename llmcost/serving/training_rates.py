"""Training on the three bases: forward and backward of a micro-batch, and what the whole run takes."""

from __future__ import annotations

from llmcost.ground.algebra import Number, named
from llmcost.machine import textbook
from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.timing import bound, rate
from llmcost.model.counting import PASSES, PassCost
from llmcost.model.sizes import Load
from llmcost.serving.results import ExpectedTrainingRate, TrainingRate, TrainingRates


def training(
    forward: PassCost,
    load: Load,
    params: Number,
    tokens: Number,
    chip: Chip,
    efficiency: Efficiency,
    kernels: Number,
    mfu: Number,
) -> TrainingRates:
    """Tokens a second of one GPU, and the GPU-years of a run. Optimizer, communication and recomputation are left out.

    `forward`: the forward pass of `load`, logits of all positions. `params`: of the whole model. `tokens`: the length
    of the whole run. `kernels`: expected seconds of all forward and backward kernels. The limit reads each weight once.
    """
    in_a_pass = load.b * load.s
    once = bound(forward._replace(cache_bytes=0), chip, "flops.forward.causal", "weights_touched")
    floor = once._replace(compute_seconds=None if once.compute_seconds is None else PASSES * once.compute_seconds)
    by_rule = None
    if chip.peak is not None:
        full = named("flops.forward.full", forward.flops(causal=False))
        prefill_rate = rate(in_a_pass, textbook.prefill_seconds(full, chip.peak, mfu))
        by_rule = textbook.training_tokens_per_s(named("prefill.textbook.tokens_per_s", prefill_rate))
    best = rate(in_a_pass, named("training_limit_seconds", floor.seconds()))
    expected = rate(in_a_pass, named("training_expected_seconds", kernels))
    return TrainingRates(
        textbook=TrainingRate(by_rule, _years(tokens, named("training.textbook.tokens_per_s", by_rule))),
        limit=TrainingRate(best, _years(tokens, named("training.limit.tokens_per_s", best))),
        expected=ExpectedTrainingRate(
            expected,
            _years(tokens, named("training.expected.tokens_per_s", expected)),
            efficiency.basis,
            None,  # no published run was predicted by this sum of kernels
        ),
        state_bytes=textbook.training_bytes(named("model.params.total", params)),
    )


def _years(tokens: Number, tokens_per_s: Number) -> Number:
    """GPU-years of so many tokens; None where the rate is not known."""
    return None if tokens_per_s is None else textbook.gpu_years(tokens, tokens_per_s)
