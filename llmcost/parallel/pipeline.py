"""Passes through pipeline stages, on the GPUs of one data-parallel rank.

Every stage has the same share of each kind of layer, or some have a layer more; the first has the embedding too, the
last the LM head. As in GPipe (arXiv 1811.06965), a batch is cut into parts that go through the stages one behind the
other. In decode there are as many parts as stages; none can begin its next token before its last one has come out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llmcost.ground.algebra import (
    Number,
    ceil_div,
    divide,
    floor_div,
    is_one,
    maximum,
    minimum,
    more_than,
    named,
    present,
    sum_of,
)
from llmcost.ground.constants import Constant
from llmcost.machine.chip import Chip
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.timing import collective_seconds, kernel_seconds
from llmcost.model.architecture import Pass, forward
from llmcost.model.counting import PassCost, count_pass
from llmcost.model.operators import Attention, Collective, Operator, Scan
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.offload import Offload
from llmcost.parallel.split import on_the_busiest, shard

FEW = Constant(
    16,
    "InferenceMAX's scripts for SGLang on B200 and B300 have it look every 10 steps below so many requests in flight, "
    "and every 30 from there on (SCHEDULER_RECV_INTERVAL)",
    "requests",
)


class Server(NamedTuple):
    """What runs passes: everything that their time depends on but the load.

    `filled`: sequences that the ranks which share experts have, on average, over those of the fullest rank. `every`:
    prompts have the logits of every position computed, not of their last alone. `offload`: what is in the host's
    memory. `gathers`: each GPU gets all tokens, of whose experts it has some or not, and sums come back by
    reduce-scatter. `page`: tokens of a page of the KV cache.
    """

    model: ModelSpec
    size: ElementBytes
    chip: Chip
    efficiency: Efficiency
    layout: Layout
    filled: Number = 1
    every: bool = False
    offload: Offload | None = None
    gathers: bool = False
    page: int = 1

    @property
    def pp(self) -> Number:
        """How many pipeline stages there are."""
        return self.layout.pp

    @property
    def fullest(self) -> Number:
        """Layers of the stages that have most, where stages cannot all have as many."""
        return ceil_div(self.model.num_hidden_layers, self.pp)

    def stage_share(self) -> Number:
        """The share of the layers that is on a stage with the most of them. Kinds of layers count as spread evenly."""
        return 1 if is_one(self.pp) else self.fullest / self.model.num_hidden_layers

    def on_a_stage(self, of_all_layers: Number) -> Number:
        """Of an amount of all layers, what one of the fullest stages has."""
        return of_all_layers if is_one(self.pp) or not present(of_all_layers) else of_all_layers * self.stage_share()

    def whole(self, load: Load) -> Pass:
        """A pass of the whole model before GPUs divide it."""
        whole = forward(self.model, self.size, load, load.s if self.every or load.decode else 1)
        return whole if self.offload is None else self.offload.marked(whole, load)

    def divided(self, whole: Pass) -> Pass:
        """One GPU's share of a whole pass, with the collectives, all stages one after the other."""
        if self.layout.stage_is_one_gpu():
            return whole
        everywhere = self.gathers or (self.chip.links is not None and self.chip.links.over_pcie)
        return Pass(
            *[
                shard(operators, self.layout, self.size, filled=self.filled, everywhere=everywhere)
                for operators in whole
            ]
        )

    def without_offload(self) -> Server:
        """The same with all of the model on the GPU."""
        return self if self.offload is None else self._replace(offload=None, chip=self.chip._replace(beside=None))

    def on_average(self, sequences: Number, mean: Number) -> Server:
        """The server of a rank that has the `mean` of so many sequences."""
        return (
            self if is_one(self.layout.dp) else self._replace(filled=minimum(1, filled(sequences, mean, self.layout)))
        )

    def share(self, load: Load) -> Pass:
        """One GPU's share of a pass with this load, all stages one after the other."""
        return self.divided(self.whole(load))

    def hop(self, load: Load) -> list[Collective]:
        """The communication from one stage to the next, at every border between stages.

        Each GPU of a stage sends its part of the residual stream; the tensor-parallel group behind gathers the parts.
        """
        at, rows, h, Bx = self.layout, load.b * load.s, self.model.hidden_size, self.size.Bx
        times, part = at.pp - 1, divide(rows, at.tp)
        send = Collective("stage_send", "mlp", times, "send", part, h, at.pp, at.stage_gpus(), at.gpus_per_node, Bx)
        return [
            send,
            Collective("stage_all_gather", "mlp", times, "all_gather", rows, h, at.tp, 1, at.gpus_per_node, Bx),
        ]

    def cost(self, share: Pass, load: Load) -> PassCost:
        """FLOPs and bytes that a pass needs at least, all stages one after the other."""
        return count_pass(share.operators() if is_one(self.pp) else [*share.operators(), *self.hop(load)])

    def kernels(self, share: Pass) -> list[Number] | None:
        """Expected seconds of every operator; None where a figure of the chip or its links is not known."""
        return self.seconds_of(share.operators())

    def seconds_of(self, operators: list[Operator]) -> list[Number] | None:
        """Expected seconds of each of some operators of one GPU, where experts are on the busiest one."""
        seconds = kernel_seconds(on_the_busiest(operators, self.layout), self.chip, self.efficiency)
        if self.offload is None or seconds is None:
            return seconds
        hosted = self._on_the_host(operators)
        return None if hosted is None else list(map(self.offload.seconds, operators, seconds, hosted))

    def _on_the_host(self, operators: list[Operator]) -> list[Number] | None:
        """Expected seconds of each of some operators on the host's CPU; None where a figure of it is not known."""
        assert self.offload is not None
        return kernel_seconds(operators, self.offload.host.chip, self.offload.host.efficiency)

    def over_the_link(self, load: Load) -> Number:
        """Bytes between the host's memory and the GPU's in a pass; None where a time is not known that decides it."""
        assert self.offload is not None
        operators = self.whole(load).operators()
        seconds, hosted = kernel_seconds(operators, self.chip, self.efficiency), self._on_the_host(operators)
        if seconds is None or hosted is None:
            return None
        return sum_of(map(self.offload.sent, operators, seconds, hosted))

    def stages(self, share: Pass, kernels: list[Number] | None, load: Load) -> Stages | None:
        """Expected seconds of a pass from those of its operators."""
        hop = self.hop_seconds(load)
        if kernels is None or hop is None:
            return None
        before, after = len(share.first), len(share.first) + len(share.layers)
        first, layers, last = (sum_of(part) for part in (kernels[:before], kernels[before:after], kernels[after:]))
        host = self.efficiency.host
        if host is not None and present(host.layer):
            layers = maximum(layers, host.layer * self.model.num_hidden_layers)
        if host is not None and present(host.prompts) and _has_prompts(share.layers):
            layers = maximum(layers, host.prompts)
        return Stages(first, layers, last, hop, self.pp, self.stage_share())

    def with_host(self, seconds: Number, sequences: Number, of: str = "") -> Number:
        """Seconds of a step with so many sequences that the GPUs take `seconds` for, where they wait for a host."""
        host = self.efficiency.host
        if host is None or seconds is None:
            return seconds
        waits = host.step + host.sequence * sequences
        return seconds + named("host_seconds", waits, of) if present(waits) else seconds

    def of_near_runs(self, in_flight: Number) -> Number:
        """Times what its figures say that a step takes by near runs of one's own, with so many requests on a rank."""
        nearby = self.efficiency.nearby
        return 1 if nearby is None else nearby.tokens(in_flight * self.layout.dp)

    def request_seconds(self, prompt: Number) -> Number:
        """Seconds on the engine's host before a request of so many tokens can start; 0 where none is asked about."""
        host = self.efficiency.host
        if host is None:
            return 0
        return host.request + host.token * prompt if present(host.token) else host.request

    def lag(self) -> Number:
        """Steps of others that pass besides until a first token is out; 0 where no engine is asked about."""
        return 0 if self.efficiency.host is None else self.efficiency.host.lag

    def looks(self, in_flight: Number) -> Number:
        """Steps of decode from one look at new requests to the next, with so many in flight; 1 without an engine.

        Data-parallel ranks that share experts look each time (SGLang, managers/scheduler_recv_skipper.py).
        """
        host = self.efficiency.host
        if host is None or is_one(host.looks):
            return 1
        looks = host.looks
        if host.looks_few is not None and in_flight is not None:
            looks = host.looks_few + more_than(in_flight, FEW.value - 1) * (host.looks - host.looks_few)
        sharing = minimum(1, self.layout.expert_ranks() - 1)
        return 1 + (1 - sharing) * (looks - 1)

    def in_flight(self) -> Number:
        """Pieces of a prompt that follow each other through the stages before the host waits; None: all of them."""
        return None if self.efficiency.host is None else self.efficiency.host.in_flight

    def hop_seconds(self, load: Load) -> Number:
        """Expected seconds from one stage to the next; None where a link is not known."""
        if is_one(self.pp):
            return 0
        seconds = [collective_seconds(op, self.chip.links, self.efficiency) for op in self.hop(load)]
        return None if any(each is None for each in seconds) else sum_of(seconds)

    def times(self, share: Pass, load: Load) -> Stages | None:
        """Expected seconds of a pass from one GPU's share of it; None where a figure is not known."""
        return self.stages(share, self.kernels(share), load)


class Stages(NamedTuple):
    """Seconds of one pass through `pp` pipeline stages, by where they are spent."""

    first: Number  # before the layers
    layers: Number  # of all stages together
    last: Number  # after the layers
    hop: Number  # from one stage to the next
    pp: Number
    share: Number  # of the layers, on the stage that has most of them

    def through(self) -> Number:
        """Seconds from the beginning of the first stage to the end of the last."""
        inside = self.first + self.layers + self.last
        return inside if is_one(self.pp) else inside + (self.pp - 1) * self.hop

    def slowest(self) -> Number:
        """Seconds of a pass in the stage that the others wait for: with most layers and the longer of the two ends."""
        if is_one(self.pp):
            return self.through()
        several = minimum(1, self.pp - 1)  # 1 from two stages on; a single one has both ends
        ends = maximum(self.first, self.last) + (1 - several) * minimum(self.first, self.last)
        return self.layers * self.share + ends + several * self.hop

    def one_behind_the_other(
        self,
        passes: Number,
        at_a_time: Number = None,
        largest: Number = 1,
        each: Callable[[Number], Number] = lambda seconds: seconds,
    ) -> Number:
        """Seconds of several passes one behind the other, until the last has come out.

        `at_a_time`: passes after which the stages have to be empty before the next ones begin; None: all of them.
        `largest`: the tokens of the largest of them, which fills and empties the stages, over those of the mean one.
        `each`: what a pass takes that the GPUs take so many seconds for, where an engine's host is at work.
        """
        first = self.through()
        if not is_one(largest):
            first = first + (largest - 1) * (first - self.slowest())
        if is_one(passes):
            return each(first)
        begun = 1 if at_a_time is None else ceil_div(passes, at_a_time)
        return begun * each(first) + (passes - begun) * each(self.slowest())

    def round(self, passes: Number, of: str = "") -> Number:
        """Seconds in which each of several passes in flight comes out once.

        It has to go through all stages, and the slowest stage has to run all of them.
        """
        if is_one(self.pp):
            return self.through()
        return maximum(named("through_stages", self.through(), of), passes * named("slowest_stage", self.slowest(), of))


def mean(ones: Stages | None, others: Stages | None) -> Stages | None:
    """The mean of two passes' seconds, place by place; None where one of them is not known."""
    if ones is None or others is None:
        return None
    first, layers, last, hop = ((one + other) / 2 for one, other in zip(ones[:4], others[:4], strict=True))
    return Stages(first, layers, last, hop, ones.pp, ones.share)


def rank_share(amount: Number, ranks: Number) -> Number:
    """The part of an amount that the fullest of several data-parallel ranks gets."""
    return amount if is_one(ranks) else ceil_div(amount, ranks)


def mean_share(amount: Number, ranks: Number) -> Number:
    """The part of an amount that a data-parallel rank gets on average, of those that get any: at least 1."""
    return amount if is_one(ranks) else maximum(1, divide(amount, ranks))


def shared_by(amount: Number, layout: Layout) -> Number:
    """The part of an amount that the ranks which share experts get together, in the fullest group of them."""
    return rank_share(amount * layout.expert_ranks(), layout.dp)


def filled(amount: Number, fullest: Number, layout: Layout) -> Number:
    """What a rank of those that share experts has on average, over what the `fullest` rank has."""
    return 1 if is_one(layout.dp) else divide(shared_by(amount, layout), fullest * layout.expert_ranks())


def in_flight(sequences: Number, pp: Number) -> Number:
    """Parts that a rank's batch is cut into for decode: one a stage, and at least a sequence in each."""
    return 1 if is_one(pp) else minimum(sequences, pp)


class Schedule(NamedTuple):
    """How prompts are run: in `groups` one behind the other, the prompts of each in `chunks` pieces.

    at_once: sequences of each group, of which the last may have fewer.
    """

    groups: Number
    chunks: Number
    at_once: Number


def schedule(sequences: Number, prompt: Number, chunk: Number, pp: Number) -> Schedule:
    """How a rank runs its prompts: all at once, or through pipeline stages one behind the other.

    Of chunks: as many whole prompts at once as fill one chunk, or each prompt in pieces of one. `chunk`: tokens; None:
    prompts are not cut.
    """
    if chunk is None:
        if is_one(pp):
            return Schedule(1, 1, sequences)
        several = minimum(1, pp - 1)  # 1 from two stages on, else 0
        return Schedule(1 + several * (sequences - 1), 1, sequences - several * (sequences - 1))
    at_once = minimum(sequences, maximum(1, floor_div(chunk, prompt)))
    return Schedule(ceil_div(sequences, at_once), ceil_div(prompt, chunk), at_once)


def two_of(count: Number) -> tuple[Number, Number]:
    """The two places in 1 … count whose mean is the mean over all, exactly for polynomials up to the third degree.

    Gauss's rule for sums: the mean of 1 … n, and as far on either side as their standard deviation.
    """
    middle, deviation = (count + 1) / 2, (maximum(0, count * count - 1) / 12) ** 0.5
    return middle - deviation, middle + deviation


def _has_prompts(layers: list[Operator]) -> bool:
    """Whether a pass computes prompts, alone or beside sequences that decode."""
    return any(
        not op.decode if isinstance(op, Attention) else isinstance(op, Scan) and not is_one(op.s) for op in layers
    )
