"""Operators and a chip in, seconds out.

There are three bases for a time:

textbook   the source documents' rules (textbook.py): an assumed share of the peak, every byte at full bandwidth
limit      no implementation is faster: all FLOPs at the peak of their data type, all compulsory bytes at full
           bandwidth, all communicated bytes at full link bandwidth, all three at the same time
expected   operator by operator: a launch cost, and the shares of the peaks that its kind of kernel reaches
           (efficiency.py)

The limit of a pass is its `bound`; its expected time is the sum of its `kernel_seconds`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from llmcost.ground.algebra import (
    Number,
    Symbolic,
    either,
    is_one,
    is_plain,
    largest,
    maximum,
    minimum,
    more_than,
    name_of_least,
    named,
    present,
    sum_of,
)
from llmcost.machine.chip import Chip, Links
from llmcost.machine.efficiency import Efficiency, Kernel
from llmcost.machine.exchanges import experts_seconds, reduced_seconds
from llmcost.model.counting import PassCost, count_pass
from llmcost.model.operators import (
    Attention,
    Collective,
    Communication,
    Elementwise,
    ExpertTraffic,
    Gemm,
    GroupedGemm,
    Operator,
    Stored,
    TokenProduct,
)

LIMITS = ("compute", "memory bandwidth", "network", "the host's memory")  # in the order of a Bound

LEVELS = ("node", "fabric")  # of links, as kernels of an Efficiency
PEAKS = ("peak", "plain_peak", "attention_peak", "cached_peak")  # of a Chip


class Bound(NamedTuple):
    """The seconds that a pass needs at least: for its FLOPs, for its bytes of memory, for those between GPUs.

    And for what the host's memory has, where a part of the model is there. All may overlap perfectly. None where a
    peak, the bandwidth or a link is not known.
    """

    compute_seconds: Number
    memory_seconds: Number
    network_seconds: Number = 0
    host_seconds: Number = 0

    def seconds(self) -> Number:
        """The largest of them; None where one of them is not known."""
        if _unknown(self):
            return None
        times = [self.compute_seconds, self.memory_seconds]
        times += [each for each in (self.network_seconds, self.host_seconds) if present(each)]
        return largest(times)


def bound(cost: PassCost, chip: Chip, flops: str, moved: str, passes: Number = 1) -> Bound:
    """What a pass needs at least; `flops` and `moved` are the names under which formulas print its FLOPs and bytes.

    `passes`: of how many passes through one GPU each it is the sum, through the stages of a pipeline or on one of them.
    """
    links = chip.links or Links(None, None)
    communication = (
        ("node", cost.node_bytes, links.node_bytes_per_s),
        ("fabric", cost.fabric_bytes, links.fabric_bytes_per_s),
    )
    network = [_over(named("exchanged", sent, of=where), rate) for where, sent, rate in communication if present(sent)]
    mine, hosts = cost, 0
    if chip.beside is not None:
        host = chip.beside.chip
        mine, theirs = cost.on_gpu(), _from_memory(cost.on_host(), host, f"host_{moved}", passes)
        chip, hosts = _together(chip, host), _over(theirs, host.bandwidth)
    return Bound(
        _least_compute(cost, chip, flops),
        _over(_from_memory(mine, chip, moved, passes), chip.bandwidth),
        None if _unknown(network) else largest([0, *network]),
        hosts,
    )


def _together(chip: Chip, host: Chip) -> Chip:
    """The chip with the peaks of both: whatever the one does not compute, the other may."""
    pairs = [(getattr(chip, peak), getattr(host, peak)) for peak in PEAKS]
    peaks: list[Any] = [None if own is None else own if theirs is None else own + theirs for own, theirs in pairs]
    return chip._replace(**dict(zip(PEAKS, peaks, strict=True)))


def _from_memory(cost: PassCost, chip: Chip, name: str, passes: Number) -> Number:
    """Bytes of weights and KV cache that a pass must read from memory.

    Weights that fit into the caches on the chip stay there from one pass to the next, and so does a KV cache that fits
    beside them. What does not fit is read in whole: it runs through the caches in order, and pushes itself out before
    it is needed again.
    """
    moved = named(name, cost.least_bytes())
    if not present(chip.on_chip):
        return moved
    held, weights = passes * chip.on_chip, named("weight_bytes", moved - cost.cache_bytes, name)
    weights_stay = named("weights_stay", 1 - more_than(weights, held), name)
    return named("from_memory", more_than(moved, held) * (moved - weights_stay * weights), name)


def _least_compute(cost: PassCost, chip: Chip, name: str) -> Number:
    """Seconds of all FLOPs (causal), each at the peak of its data type; None where one is not known.

    Attention's is the cache's type, or its own where that is faster; fp16 is added up in fp16 where that is; of linear
    layers on weights of fp4 it is the fastest type that holds these.
    """
    if chip.half_sums is not None:
        own = chip.half_sums if chip.attention_peak is chip.plain_peak else chip.attention_peak
        chip = chip._replace(peak=chip.half_sums, plain_peak=chip.half_sums, attention_peak=own)
    linear = chip.peak if chip.least_peak is None else chip.least_peak
    if linear is chip.plain_peak is chip.attention_peak and chip.cached_peak is None:
        return _over(named(name, cost.flops(causal=True)), chip.peak)
    attention = chip.attention_peak
    if attention is not None and chip.cached_peak is not None:
        attention = maximum(attention, chip.cached_peak)
    parts = (
        (cost.linear_flops, linear),
        (cost.causal_flops, attention),
        (cost.head_flops, chip.plain_peak),
    )
    times = [_over(flops, peak) for flops, peak in parts]
    return None if _unknown(times) else sum_of(times)


def kernel_seconds(operators: Iterable[Operator], chip: Chip, efficiency: Efficiency) -> list[Number] | None:
    """Expected seconds of each operator, of all its executions together; 0 for parameters that are only stored.

    None where a peak, the bandwidth or a link that they need is not known.
    """
    if _unknown((chip.peak, chip.plain_peak, chip.attention_peak, chip.bandwidth)):
        return None
    operators = list(operators)
    seconds: list[Number] = []
    symbolic = isinstance(chip.bandwidth, Symbolic)
    for op in operators:
        if isinstance(op, Stored):
            seconds.append(0)
            continue
        own = None if efficiency.own is None else efficiency.own.seconds(op)
        if isinstance(op, Communication):
            once = _exchange_seconds(op, own, chip.links, efficiency)
            if once is None:
                return None
        elif own is not None:
            once = named("kernel", own, of=op.name)
        else:
            peak = chip.plain_peak if efficiency.apart(op) else chip.peak_of(op)
            once = _kernel_seconds(op, peak, chip.bandwidth, efficiency.of(op), symbolic=symbolic)
        slower = efficiency.slower.get(op.kind)
        seconds.append(once if slower is None else slower * once)
    if efficiency.own is not None:
        seconds = efficiency.own.together(operators, seconds)
    return [0 if isinstance(op, Stored) else op.count * once for op, once in zip(operators, seconds, strict=True)]


def _exchange_seconds(op: Communication, own: Number, links: Links | None, efficiency: Efficiency) -> Number:
    """Expected seconds of an exchange: by the engine's `own` kernel as far as it holds, else over the links."""
    within: Number = 0
    if own is not None:
        within = efficiency.own.within(op) if efficiency.own is not None and isinstance(op, Collective) else 1
    if is_one(within):
        return named("kernel", own, of=op.name)
    across = collective_seconds(op, links, efficiency)
    if across is None or own is None:
        return None if across is None else named("exchange", across, of=op.name)
    return named("kernel", across + within * (own - across), of=op.name)


def _kernel_seconds(op: Operator, peak: Number, bandwidth: Number, kernel: Kernel, *, symbolic: bool) -> Number:
    """Expected seconds of one execution of a kernel: the formula of efficiency.py."""
    flops = op.flops(causal=kernel.pair_bytes is None)  # attention that is not fused computes every pair
    moved = op.moved_bytes()
    if symbolic:
        flops, moved = named("F", flops, of=op.name), named("B", moved, of=op.name)
    share = kernel.compute
    if isinstance(op, (Attention, GroupedGemm)) and present(kernel.half):
        rows = op.s if isinstance(op, Attention) else op.b * op.s * op.active / op.groups
        share = share * rows / (rows + kernel.half)
    compute = flops / (peak * share)
    memory = moved / (bandwidth * kernel.memory)
    if kernel.cached is not None:
        memory = memory + minimum(moved, kernel.cache_bytes) / bandwidth * (1 / kernel.cached - 1 / kernel.memory)
    seconds = kernel.launch_seconds + _overlapped(compute, memory, kernel.overlap)
    beside = _moved_beside(op, kernel)
    return seconds + beside / (bandwidth * kernel.memory) if present(beside) else seconds


def _moved_beside(op: Operator, kernel: Kernel) -> Number:
    """Bytes that kernels of their own move around this one: of weights that are unpacked first, of unfused scores."""
    if isinstance(op, (Gemm, GroupedGemm)) and kernel.unpacked_above is not None:
        weights = op.k * op.n if isinstance(op, Gemm) else op.touched() * op.k * op.n
        return more_than(op.b * op.s, kernel.unpacked_above) * 2 * weights * op.Bx  # written, and read again
    if isinstance(op, Attention) and kernel.pair_bytes is not None:
        return op.b * op.a * op.pairs(causal=False) * kernel.pair_bytes
    return 0


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
    """The smooth maximum of two times: their sum for an exponent of 1, the longer one for a large exponent."""
    if is_plain(exponent) and exponent == 2:
        return (compute * compute + memory * memory) ** 0.5  # the fastest way, which most estimates take
    return (compute**exponent + memory**exponent) ** (1 / exponent)


def collective_seconds(op: Communication, links: Links | None, efficiency: Efficiency) -> Number:
    """Expected seconds of one execution of a collective.

    Its latencies add up; bytes inside a node and bytes between nodes are sent at the same time. None where a link that
    it needs is not known.
    """
    of_experts = efficiency.libraries.get("experts")
    if of_experts is not None and isinstance(op, ExpertTraffic):
        node, fabric = (efficiency.kernels[each] for each in LEVELS)
        return None if links is None else experts_seconds(of_experts, op, links, node, fabric)
    (inside, outside), (any_inside, any_outside) = op.wire_bytes(), op.levels()
    latency: Number = 0
    sending: list[Number] = []
    for sent, link, kernel, anything in (
        (inside, links and links.node_bytes_per_s, efficiency.kernels["node"].among(op.among()), any_inside),
        (outside, links and links.fabric_bytes_per_s, efficiency.kernels["fabric"], any_outside),
    ):
        if present(sent):
            if link is None:
                return None
            latency = latency + kernel.launch_seconds * anything  # 1, or 0: a size decides it
            sending.append(sent / (link * kernel.memory))
    seconds = latency + largest(sending) if sending else 0
    sums = efficiency.libraries.get("all_reduce")
    if sums is None or links is None or op.exchange != "all_reduce" or not isinstance(op, Collective):
        return seconds
    return reduced_seconds(sums, op, links, seconds)


def binding(floor: Bound, fits: Number) -> Any:
    """What holds a pass back, in words: capacity, compute, memory bandwidth or network; of equal ones the first.

    None where that is not known, and for symbols; an array of words for arrays.
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
    """Seconds of an amount at a rate; None where the rate is not known."""
    return None if rate is None else amount / rate
