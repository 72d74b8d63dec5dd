"""Operators and a chip in, seconds out, on the three bases.

textbook   the source documents' rules: an assumed share of the peak, every byte at full bandwidth
limit      no implementation is faster: all FLOPs at the peak of their type, all compulsory bytes at
full bandwidth, all exchanged bytes at full link bandwidth, perfectly overlapped
expected   operator by operator, with the launch cost and the shares that its kind of kernel reaches
(efficiency.py)
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, Symbolic, either, is_plain, largest, name_of_least, named, present
from llmcost.machine.chip import Chip, Links
from llmcost.machine.efficiency import Efficiency, kind_of
from llmcost.model.counting import PassCost, count_pass
from llmcost.model.operators import Attention, Collective, Elementwise, Operator, Stored, TokenProduct

LIMITS = ("compute", "memory bandwidth", "network")  # in the order of a Bound


class Bound(NamedTuple):
    """The floors of a pass: none can be beaten, and they may overlap. Without exchanges, no time goes into them."""

    compute_seconds: Number
    memory_seconds: Number
    network_seconds: Number = 0

    def seconds(self) -> Number:
        """The largest; None when there is nothing to compare with."""
        if self.compute_seconds is None or self.memory_seconds is None or self.network_seconds is None:
            return None
        return largest(
            [
                self.compute_seconds,
                self.memory_seconds,
                *([self.network_seconds] if present(self.network_seconds) else []),
            ]
        )


def bound(cost: PassCost, chip: Chip, flops: str, moved: str) -> Bound:
    """What a pass needs at least; `flops` and `moved` are the names under which formulas print its FLOPs and bytes."""
    links = chip.links or Links(None, None)
    exchanges = (
        ("node", cost.node_bytes, links.node_bytes_per_s),
        ("fabric", cost.fabric_bytes, links.fabric_bytes_per_s),
    )
    network = [_over(named("exchanged", sent, of=where), rate) for where, sent, rate in exchanges if present(sent)]
    return Bound(
        _least_compute(cost, chip, flops),
        _over(named(moved, cost.weight_bytes + cost.cache_bytes), chip.bandwidth),
        None if _unknown(network) else largest([0, *network]),
    )


def _least_compute(cost: PassCost, chip: Chip, name: str) -> Number:
    if chip.peak is chip.plain_peak is chip.attention_peak:
        return _over(named(name, cost.flops(causal=True)), chip.peak)
    parts = (
        (cost.linear_flops, chip.peak),
        (cost.causal_flops, chip.attention_peak),
        (cost.head_flops, chip.plain_peak),
    )
    times = [_over(flops, peak) for flops, peak in parts]
    return None if _unknown(times) else sum(times)


def kernel_seconds(operators: Iterable[Operator], chip: Chip, efficiency: Efficiency) -> list[Number] | None:
    """Expected time of each operator, all its executions; None where a peak, bandwidth or link it needs is not known."""
    if _unknown((chip.peak, chip.plain_peak, chip.attention_peak, chip.bandwidth)):
        return None
    seconds, kernels = [], efficiency.kernels
    symbolic, one_peak = isinstance(chip.bandwidth, Symbolic), chip.peak is chip.plain_peak is chip.attention_peak
    for op in operators:
        if isinstance(op, Stored):
            seconds.append(0)
            continue
        if isinstance(op, Collective):
            exchange = exchange_seconds(op, chip.links, efficiency)
            if exchange is None:
                return None
            seconds.append(op.count * (named("exchange", exchange, of=op.name) if symbolic else exchange))
            continue
        kernel = kernels[kind_of(op)]
        flops, moved = op.flops(causal=True), op.moved_bytes()
        if symbolic:
            flops, moved = named("F", flops, of=op.name), named("B", moved, of=op.name)
        share = kernel.compute
        if isinstance(op, Attention) and present(kernel.half):
            share = share * op.s / (op.s + kernel.half)
        peak = chip.peak if one_peak else chip.peak_of(op)
        compute, memory = flops / (peak * share), moved / (chip.bandwidth * kernel.memory)
        seconds.append(op.count * (kernel.launch_seconds + _overlapped(compute, memory, kernel.overlap)))
    return seconds


def least_kernel_seconds(op: Operator, chip: Chip) -> Number:
    """What one execution of a kernel takes at least, alone on its GPU; None where a figure of the chip is not known.

    Inputs and outputs of a product with weights, and of attention, may still be in a cache; of a kernel that has
    neither weights nor a KV cache they are all that there is to move.
    """
    cost = count_pass([op._replace(count=1)])
    if isinstance(op, (TokenProduct, Elementwise)):
        cost = cost._replace(cache_bytes=op.io_bytes())
    return bound(cost, chip, "", "").seconds()


def _overlapped(compute: Number, memory: Number, exponent: Number) -> Number:
    """The smooth maximum of two times: their sum for 1, the longer of them for a large exponent."""
    if is_plain(exponent) and exponent == 2:
        return (compute * compute + memory * memory) ** 0.5  # as fast as it gets: most estimates take this one
    return (compute**exponent + memory**exponent) ** (1 / exponent)


def exchange_seconds(op: Collective, links: Links | None, efficiency: Efficiency) -> Number:
    """Expected time of one exchange, inside nodes and between them at once; None where a link that it needs is not known."""
    (inside, outside), (near, far) = op.wire_bytes(), op.levels()
    launch: Number = 0
    sending: list[Number] = []
    for sent, rate, kernel, times in (
        (inside, links and links.node_bytes_per_s, efficiency.kernels["node"], near),
        (outside, links and links.fabric_bytes_per_s, efficiency.kernels["fabric"], far),
    ):
        if present(sent):
            if rate is None:
                return None
            launch = launch + kernel.launch_seconds * times
            sending.append(sent / (rate * kernel.memory))
    return launch + largest(sending) if sending else 0


def binding(floor: Bound, fits: Number) -> Any:
    """What holds a pass back, in words: capacity, compute, memory bandwidth or network; of equal floors the first.

    None if that is not known, and for symbols; an array of words for arrays.
    """
    longest = None
    if not _unknown(floor):
        longest = name_of_least({name: -seconds for name, seconds in zip(LIMITS, floor, strict=True)})
    return longest if fits is None else either(fits, longest, "capacity")


def rate(tokens: Number, seconds: Number) -> Number:
    """Tokens a second; None where the time is not known."""
    return None if seconds is None else tokens / seconds


def _unknown(figures: Iterable[Number]) -> bool:
    return any(figure is None for figure in figures)


def _over(amount: Number, rate: Number) -> Number:
    return None if rate is None else amount / rate
