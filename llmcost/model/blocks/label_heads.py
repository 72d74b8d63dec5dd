"""What some classes have before their labels, and adapters that a model brings for its tasks.

These stand beside the layers as streams do (`streams.py`): a model has those whose first size it says.
"""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.model.blocks.builder import ON_EVERY_GPU, TOKENS, Builder
from llmcost.model.operators import EVERYWHERE, Operator, Stored


class RewardGates(NamedTuple):
    """Weights of `reward_objectives` rewards, by an MLP on one state of the prompt (ArmoRM, arXiv 2406.12845).

    It has a layer of `gate_hidden_size`, `gate_inner_layers` more of them, and one to the objectives. The rewards are
    multiplied by a matrix and summed with these weights and a scale.
    (huggingface.co/RLHFlow/ArmoRM-Llama3-8B-v0.1, modeling_custom.py)
    """

    reward_objectives: Number
    gate_hidden_size: Number
    gate_inner_layers: Number = 0

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002 - as every stream's
        """No kernel."""
        yield from ()

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:
        """The MLP on one position of each sequence, the rewards' matrix, and the sum."""
        n, size, one = self.reward_objectives, self.gate_hidden_size, build._replace(load=build.load._replace(s=1))
        yield one.gemm("gate_in_proj", "lm_head", build.hidden, size, ON_EVERY_GPU, bias=True)
        if present(self.gate_inner_layers):
            inner = one._replace(count=self.gate_inner_layers)
            yield inner.gemm("gate_inner_proj", "lm_head", size, size, ON_EVERY_GPU, bias=True)
        yield one.gemm("gate_out_proj", "lm_head", size, n, ON_EVERY_GPU, bias=True)
        yield one.gemm("reward_transform", "lm_head", n, n, ON_EVERY_GPU)
        yield one.elementwise("reward_sum", "lm_head", 2 * n, 1, TOKENS, weights=1)


class AnswerMlp(NamedTuple):
    """An MLP of `answer_mlp_size` with a norm behind it, on every token before its two labels (BigBird)."""

    answer_mlp_size: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:
        """Up, activation, down and norm."""
        h, size = build.hidden, self.answer_mlp_size
        yield build.gemm("answer_up_proj", "lm_head", h, size, ON_EVERY_GPU, bias=True)
        yield build.elementwise("answer_activation", "lm_head", size, size, TOKENS)
        yield build.gemm("answer_down_proj", "lm_head", size, h, ON_EVERY_GPU, bias=True)
        yield build.elementwise("answer_norm", "norm", 2 * h, h, TOKENS, weights=2 * h)


class TaskAdapters(NamedTuple):
    """Low-rank additions to every linear layer and table, one set a task (Jina 3, arXiv 2409.10173).

    `task_adapter_widths`: inputs and outputs of all layers and tables together. A request's task adds a product of two
    such matrices to the weights, or none: they are stored, and what that takes is left out.
    """

    task_adapters: Number
    task_adapter_rank: Number
    task_adapter_widths: Number

    def before(self, build: Builder, depth: Number) -> Iterator[Operator]:  # noqa: ARG002
        """The matrices, stored."""
        weights = self.task_adapters * self.task_adapter_rank * self.task_adapter_widths
        yield Stored("task_adapters", "mlp", 1, weights, build.bytes.Bx, EVERYWHERE)

    def inside(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()

    def after(self, build: Builder) -> Iterator[Operator]:  # noqa: ARG002
        """No kernel."""
        yield from ()
