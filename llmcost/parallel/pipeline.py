"""Passes through pipeline stages, on the GPUs of one data-parallel rank.

Every stage has the same share of each kind of layer; the embedding stands before the first, the LM head in the last.
What is in flight follows GPipe (arXiv 1811.06965): a batch is cut into parts that go through the stages one behind the
other. Of decode as many as there are stages, none of which can begin its next token before it has come out.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, ceil_div, divide, floor_div, is_one, maximum, minimum, named
from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.timing import exchange_seconds, kernel_seconds
from llmcost.model.architecture import Pass, forward
from llmcost.model.counting import PassCost, count_pass
from llmcost.model.operators import Collective
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.split import Plan, shard


class Server(NamedTuple):
    """What runs passes: everything that their time depends on but the load. `pp`: pipeline stages.

    `every`: prompts have the logits of every position computed, not of their last alone.
    """

    model: ModelSpec
    size: ElementBytes
    chip: Chip
    efficiency: Efficiency
    plan: Plan
    pp: Number
    every: bool = False

    def whole(self, load: Load) -> Pass:
        """A pass of the whole model."""
        return forward(self.model, self.size, load, load.s if self.every else 1)

    def divided(self, whole: Pass) -> Pass:
        """A pass as one GPU of each stage runs it, one stage after the other."""
        one = is_one(self.plan.tp) and is_one(self.plan.dp) and is_one(self.plan.ep)
        return whole if one else Pass(*[shard(operators, self.plan) for operators in whole])

    def share(self, load: Load) -> Pass:
        """One GPU's part of a pass with this load."""
        return self.divided(self.whole(load))

    def hop(self, load: Load) -> list[Collective]:
        """From one stage to the next: each GPU of a stage sends its part of the residual stream, the next gathers the parts."""
        plan, rows, h, Bx = self.plan, load.b * load.s, self.model.hidden_size, self.size.Bx
        times = self.pp - 1
        part = divide(rows, plan.tp)
        send = Collective("stage_send", "mlp", times, "send", part, h, self.pp, plan.tp * plan.dp, plan.node, Bx)
        return [send, Collective("stage_all_gather", "mlp", times, "all_gather", rows, h, plan.tp, 1, plan.node, Bx)]

    def cost(self, share: Pass, load: Load) -> PassCost:
        """What a pass needs at least, all stages one after the other."""
        return count_pass(share.operators() if is_one(self.pp) else [*share.operators(), *self.hop(load)])

    def kernels(self, share: Pass) -> list[Number] | None:
        """Expected seconds of every operator; None where a figure of the chip or its links is not known."""
        return kernel_seconds(share.operators(), self.chip, self.efficiency)

    def stages(self, share: Pass, kernels: list[Number] | None, load: Load) -> Stages | None:
        """Expected seconds of a pass from those of its operators."""
        hop = self.hop_seconds(load)
        if kernels is None or hop is None:
            return None
        before, after = len(share.first), len(share.first) + len(share.layers)
        return Stages(sum(kernels[:before]), sum(kernels[before:after]), sum(kernels[after:]), hop, self.pp)

    def hop_seconds(self, load: Load) -> Number:
        """Expected seconds from one stage to the next; None where a link is not known."""
        if is_one(self.pp):
            return 0
        exchanges = [exchange_seconds(op, self.chip.links, self.efficiency) for op in self.hop(load)]
        return None if any(each is None for each in exchanges) else sum(exchanges)

    def times(self, share: Pass, load: Load) -> Stages | None:
        """Expected seconds of a pass from its operators."""
        return self.stages(share, self.kernels(share), load)


class Stages(NamedTuple):
    """Seconds of one pass: before the layers, in all layers, after them, from one stage to the next; and stages."""

    first: Number
    layers: Number
    last: Number
    hop: Number
    pp: Number

    def through(self) -> Number:
        """From the first stage to the last."""
        inside = self.first + self.layers + self.last
        return inside if is_one(self.pp) else inside + (self.pp - 1) * self.hop

    def slowest(self) -> Number:
        """In the stage that the others wait for."""
        if is_one(self.pp):
            return self.through()
        several = minimum(1, self.pp - 1)
        ends = maximum(self.first, self.last) + (1 - several) * minimum(self.first, self.last)
        return self.layers / self.pp + ends + several * self.hop

    def one_behind_the_other(self, passes: Number) -> Number:
        """So many passes, until the last has come out."""
        return self.through() if is_one(passes) else self.through() + (passes - 1) * self.slowest()

    def round(self, passes: Number, of: str = "") -> Number:
        """So many passes in flight, until each has come out once more: it is through, and every stage has had all."""
        if is_one(self.pp):
            return self.through()
        return maximum(named("through_stages", self.through(), of), passes * named("slowest_stage", self.slowest(), of))


def mean(ones: Stages | None, others: Stages | None) -> Stages | None:
    """Halfway between two passes."""
    if ones is None or others is None:
        return None
    first, layers, last, hop = ((one + other) / 2 for one, other in zip(ones[:4], others[:4], strict=True))
    return Stages(first, layers, last, hop, ones.pp)


def rank_share(amount: Number, ranks: Number) -> Number:
    """What the fullest of several ranks has of something."""
    return amount if is_one(ranks) else ceil_div(amount, ranks)


def shared_by(amount: Number, plan: Plan) -> Number:
    """What the ranks that share experts have together of something: the fullest of their groups."""
    return rank_share(amount * plan.expert_ranks(), plan.dp)


def filled(amount: Number, fullest: Number, plan: Plan) -> Number:
    """What ranks that share experts have on average, over what the `fullest` rank has."""
    return 1 if is_one(plan.dp) else divide(shared_by(amount, plan), fullest * plan.expert_ranks())


def in_flight(sequences: Number, pp: Number) -> Number:
    """Parts that a rank's batch is cut into for decode: one a stage, of a sequence at least."""
    return 1 if is_one(pp) else minimum(sequences, pp)


class Schedule(NamedTuple):
    """How prompts are run: in `groups` of sequences one behind the other, each in so many `chunks`."""

    groups: Number
    chunks: Number


def schedule(sequences: Number, prompt: Number, chunk: Number, pp: Number) -> Schedule:
    """All prompts of a rank at once; of pipeline stages one behind the other; of chunks as many as fill one, or parts of one."""
    if chunk is not None:
        at_once = minimum(sequences, maximum(1, floor_div(chunk, prompt)))
        return Schedule(ceil_div(sequences, at_once), ceil_div(prompt, chunk))
    return Schedule(1 if is_one(pp) else 1 + minimum(1, pp - 1) * (sequences - 1), 1)


def two_of(count: Number) -> tuple[Number, Number]:
    """The two places in 1 … count whose mean is the mean over all, exactly for polynomials up to the third degree.

    Gauss's rule for sums: the mean of 1 … n, and as far on either side as their standard deviation.
    """
    middle, deviation = (count + 1) / 2, (maximum(0, count * count - 1) / 12) ** 0.5
    return middle - deviation, middle + deviation
