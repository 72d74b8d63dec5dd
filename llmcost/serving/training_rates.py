"""Training on the three bases: forward and backward of a micro-batch, and what the whole run takes."""

from __future__ import annotations

from llmcost.ground.algebra import Number, is_one, named, sum_of
from llmcost.machine import textbook
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.timing import bound, kernel_seconds, rate
from llmcost.model.counting import PASSES, PassCost, count_pass
from llmcost.model.operators import Operator
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.training_kernels import USUAL_LOSS, loss_operator, with_sorts
from llmcost.parallel.layout import Layout
from llmcost.parallel.pipeline import Server
from llmcost.serving.results import ExpectedTrainingRate, TrainingRate, TrainingRates

ALONE = Layout()  # a single GPU


def forward_kernels(server: Server, load: Load) -> list[Operator]:
    """A micro-batch's forward pass with its loss, as GPUs divide it; weights are kept in the activations' type."""
    model, Bx = server.model, server.size.Bx
    in_one_type = server._replace(model=model.text_alone(), size=ElementBytes(Bx, Bx, Bx), every=True)
    every = with_sorts(in_one_type.share(load._replace(cached=False)).operators())
    sends = [] if is_one(server.pp) else server.hop(load)
    return [*every, loss_operator(USUAL_LOSS, model.vocab_size, server.layout.tp, load.b, load.s), *sends]


def both_ways(server: Server, kernels: list[Operator], reached: Efficiency) -> list[Number] | None:
    """Expected seconds of each of these kernels, forward and backward; None where a figure is not known.

    Attention computes in the activations' type: there is no cache.
    """
    chip = server.chip._replace(attention_peak=server.chip.plain_peak, cached_peak=None, least_peak=None)
    times = kernel_seconds(kernels, chip, reached)
    return None if times is None else [(1 + reached.behind(op)) * time for op, time in zip(kernels, times, strict=True)]


def training(
    server: Server, load: Load, forward: PassCost, params: Number, tokens: Number, reached: Efficiency, mfu: Number
) -> TrainingRates:
    """Tokens a second of one GPU alone, and the GPU-years of a run, without optimizer step and recomputation.

    `forward`: the forward pass of `load`, logits of all positions. `params`: of the whole model. `tokens`: the length
    of the whole run. `reached`: what kernels reach in training. The limit reads each weight once.
    """
    in_a_pass, chip = load.b * load.s, server.chip._replace(cached_peak=None, least_peak=None)
    kernels = forward_kernels(server._replace(layout=ALONE, filled=1), load)
    times = both_ways(server, kernels, reached)
    once = bound(count_pass(kernels)._replace(cache_bytes=0), chip, "flops.forward.causal", "weights_touched")
    floor = once._replace(compute_seconds=None if once.compute_seconds is None else PASSES * once.compute_seconds)
    by_rule = None
    if chip.peak is not None:
        full = named("flops.forward.full", forward.flops(causal=False))
        prefill_rate = rate(in_a_pass, textbook.prefill_seconds(full, chip.peak, mfu))
        by_rule = textbook.training_tokens_per_s(named("prefill.textbook.tokens_per_s", prefill_rate))
    best = rate(in_a_pass, named("training_limit_seconds", floor.seconds()))
    expected = rate(in_a_pass, named("training_expected_seconds", None if times is None else sum_of(times)))
    return TrainingRates(
        textbook=TrainingRate(by_rule, _years(tokens, named("training.textbook.tokens_per_s", by_rule))),
        limit=TrainingRate(best, _years(tokens, named("training.limit.tokens_per_s", best))),
        expected=ExpectedTrainingRate(
            expected,
            _years(tokens, named("training.expected.tokens_per_s", expected)),
            reached.basis,
            None,  # no published run was predicted by this sum of kernels
        ),
        state_bytes=textbook.training_bytes(named("model.params.total", params)),
    )


def unknown_training(params: Number, reached: Efficiency) -> TrainingRates:
    """Of a model with an encoder, whose training is not counted: its states alone."""
    none = TrainingRate(None, None)
    return TrainingRates(
        textbook=none,
        limit=none,
        expected=ExpectedTrainingRate(None, None, reached.basis, None),
        state_bytes=textbook.training_bytes(named("model.params.total", params)),
    )


def _years(tokens: Number, tokens_per_s: Number) -> Number:
    """GPU-years of so many tokens; None where the rate is not known."""
    return None if tokens_per_s is None else textbook.gpu_years(tokens, tokens_per_s)
