"""Training on the three bases: forward and backward of a micro-batch, and what the whole run takes."""

from __future__ import annotations

from llmcost import textbook
from llmcost.adapters import EXPANSIONS
from llmcost.algebra import Number, named
from llmcost.counting import PassCost
from llmcost.efficiency import Efficiency
from llmcost.operators import Attention, Gemm, GroupedGemm, Lookup, Operator
from llmcost.results import ExpectedTrainingRate, Training, TrainingRate
from llmcost.sizes import Load
from llmcost.timing import Chip, bound, rate

PASSES = 3  # FLOPs of forward and backward in forward passes: gradients of inputs and weights cost one each


def training(
    forward: PassCost,
    load: Load,
    params: Number,
    tokens: Number,
    chip: Chip,
    efficiency: Efficiency,
    kernels: Number,
    mfu: Number,
) -> Training:
    """Tokens a second of one GPU, activations kept; the optimizer step and communication are left out.

    `forward` computes the logits of all positions; `kernels` is the expected time of forward and backward
    kernels. The limit reads each weight once. `tokens` is the length of the whole run.
    """
    batch = load.b * load.s
    once = bound(forward._replace(cache_bytes=0), chip, "flops.forward.causal", "weights_touched")
    floor = once._replace(compute_seconds=None if once.compute_seconds is None else PASSES * once.compute_seconds)
    by_rule = None
    if chip.peak is not None:
        prefill_rate = rate(batch, textbook.prefill_seconds(named("flops.forward.full", forward.flops(causal=False)), chip.peak, mfu))
        by_rule = textbook.training_tokens_per_s(named("prefill.textbook.tokens_per_s", prefill_rate))
    best = rate(batch, named("training_limit_seconds", floor.seconds()))
    expected = rate(batch, named("training_expected_seconds", kernels))
    return Training(
        textbook=TrainingRate(by_rule, _years(tokens, named("training.textbook.tokens_per_s", by_rule))),
        limit=TrainingRate(best, _years(tokens, named("training.limit.tokens_per_s", best))),
        expected=ExpectedTrainingRate(
            expected,
            _years(tokens, named("training.expected.tokens_per_s", expected)),
            efficiency.basis,
            efficiency.error,
        ),
        state_bytes=textbook.training_bytes(named("model.params.total", params)),
    )


def backward(op: Operator, *, frozen: bool = False) -> Number:
    """The backward pass of an operator, in executions of its forward one.

    A GEMM has two of its size (gradients of input and of weight); FlashAttention recomputes the scores:
    five products for two (arXiv 2205.14135, algorithm 4); a streaming kernel reads and writes about
    twice as much; a lookup scatters once. A frozen weight has no gradient, and is expanded once more if it is quantised.
    """
    if isinstance(op, Attention):
        return 2.5
    if isinstance(op, Lookup):
        return 0 if frozen else 1
    once = (frozen and isinstance(op, (Gemm, GroupedGemm))) or op.name in EXPANSIONS
    return 1 if once else 2


def _years(tokens: Number, tokens_per_s: Number) -> Number:
    return None if tokens_per_s is None else textbook.gpu_years(tokens, tokens_per_s)
