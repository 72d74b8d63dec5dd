"""How much of a chip each kind of kernel reaches, and where that figure comes from.

A kernel takes T = t0 + ((F / (P·e_c))^p + (B / (BW·e_m))^p)^(1/p). That is a launch cost t0 and a smooth maximum of two
times: F FLOPs at the share e_c of the peak P, and B bytes at the share e_m of the bandwidth BW. The exponent p says how
far the two overlap: with 1 they take place one after the other; the larger it is, the closer T comes to the longer of
them alone. It is 2 where no profile says otherwise. Attention of a prompt reaches e_c only on long sequences; for s
tokens it reaches e_c·s / (s + s_half). So do products of experts, in training, with s rows of each expert.

An `Efficiency` has these figures for every kind of kernel, and timing.py asks it. There are three sources of one:
`default_for`, from the figures of defaults.py, for serving and for single kernels; training_shares.py, for training;
and calibration.py, from a measured profile, in place of either (in serving by way of `in_an_engine`). reached.py
chooses between profile and defaults.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, get_args

from llmcost.ground.algebra import Number, maximum, minimum, more_than
from llmcost.ground.units import BITS
from llmcost.machine.defaults import BASIS, DATA_CENTRE, DEFAULTS, ENGINE, FAMILIES, Launch
from llmcost.machine.loading import loaded_by_sms
from llmcost.machine.power import paid_for
from llmcost.model.formats import FORMATS
from llmcost.model.operators import Collective, Gemm, GroupedGemm, Kind, Operator
from llmcost.model.sizes import activation_dtype
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.library import Library

if TYPE_CHECKING:
    from llmcost.machine.nearby import Nearby  # few engines' files have runs

KERNELS: tuple[str, ...] = get_args(Kind)  # kinds that an Efficiency has figures for


class Kernel(NamedTuple):
    """What one kind of kernel reaches. Of a collective: the share of the link, and the seconds of an empty one."""

    compute: Number  # e_c, share of the peak
    memory: Number  # e_m, share of the bandwidth, or of the link
    launch_seconds: Number  # t0
    half: Number = 0  # s_half, tokens, or rows of an expert, at which half of e_c is reached
    overlap: Number = 2  # p, the exponent of the smooth maximum
    backward: Number = 1  # times that its backward pass takes what its work says (Operator.backward)
    # Where other kernels run around this one, and move bytes of their own:
    unpacked_above: Number = None  # rows above which weights are unpacked to the activations' type first; None: never
    pair_bytes: Number = None  # of scores, a (query, key) pair and head, where attention is not fused; None: it is
    # Of kernels that stream: the share of the bandwidth at which their first bytes move, those that a cache holds
    cached: Number = None
    cache_bytes: Number = 0
    # Of a collective that was measured: among how many GPUs, and what holds among more of them
    ranks: Number = None
    beyond: "Kernel | None" = None

    def among(self, ranks: Number) -> "Kernel":
        """What a collective among so many GPUs reaches: where more were not measured, what holds `beyond`."""
        if self.beyond is None:
            return self
        more = more_than(ranks, self.ranks)
        return self._replace(
            memory=self.memory + more * (self.beyond.memory - self.memory),
            launch_seconds=self.launch_seconds + more * (self.beyond.launch_seconds - self.launch_seconds),
        )


class Host(NamedTuple):
    """Seconds on an engine's host that its GPUs wait for, and what it puts into their queues at a time."""

    step: Number = 0  # of each step: choosing what runs, preparing it, taking what comes out
    sequence: Number = 0  # of each sequence in a step
    layer: Number = 0  # in which a layer's kernels are started one by one: the layer takes at least as long
    expert_layer: Number = 0  # as `layer`, of one with experts, whose tokens the host counts before it goes on
    prompts: Number = 0  # in which the layers' kernels of a step with prompts are started, which no CUDA graph holds
    request: Number = 0  # of each request before its first step: receiving it, answering it
    token: Number = 0  # of each token of its prompt, before its first step too: text is cut into tokens
    lag: Number = 0  # steps of others that pass besides until a first token is out: the host works ahead of the GPUs
    looks: Number = 1  # steps of decode from one look at new requests to the next, where prompts run alone
    looks_few: Number = None  # the same with few requests in flight (parallel.pipeline.FEW); None: as many
    in_flight: Number = None  # pieces of a prompt that follow each other through stages before it waits; None: all


SLOWER: dict[str, tuple[str, ...]] = {  # figure of an engine -> the kinds of kernels whose times it multiplies
    "time.kernels": KERNELS,  # but for those of the groups below that have a figure too
    "time.products": ("gemm",),
    "time.experts": ("grouped_gemm",),
    "time.prompt_attention": ("attention_prefill",),
    "time.decode_attention": ("attention_decode", "attention_latent"),
    "time.elementwise": ("elementwise", "norm", "scan"),
    "time.communication": ("node", "fabric"),
}
SHARES = ("share.compute", "share.memory")  # figures of an engine that multiply what kernels reach, up to all of it
UNQUANTISED = "unquantised"  # linear layers that keep the activations' type where others are quantised: the LM head
OWN_RUNS = "runs of one's own that were left out of the fit"  # what an error is of that an engine's file states
OWN_PASSES = "whole passes that the profile's fit never saw"  # what an error is of that a profile states


class Band(NamedTuple):
    """How far off figures like one that is asked about were, on runs that had no part in the prediction.

    Mean and median of |predicted / published - 1|, None where too few were published (or none: `figures` 0); `sources`:
    that published them; `of`: the kind of figures in words.
    """

    mean_error: float | None = None
    median_error: float | None = None
    figures: int = 0
    sources: int = 0
    of: str = ""


class OwnKernels(Protocol):
    """Kernels with forms of time of their own, such as an engine's (kernel_times.py)."""

    def seconds(self, op: Operator) -> Number | None:
        """Seconds of one execution of an operator; None where it has no kernel for it."""

    def together(self, operators: Sequence[Operator], seconds: Sequence[Number]) -> list[Number]:
        """Seconds of each operator of a pass, where some run in one kernel or at the same time."""

    def unmeasured(self, operators: Sequence[Operator]) -> tuple[str, ...]:
        """Kinds of kernels among these that it has none for, in words."""

    def longest_seconds(self, operators: Sequence[Operator]) -> Number:
        """Seconds of decode for each key that the longest sequence has more than the mean one."""

    def within(self, op: Collective) -> Number:
        """1 where the time of a collective holds, inside a node, else 0; of layouts side by side an array."""

    def on(self, tp: Number, ep: Number) -> "OwnKernels":
        """The same on so many tensor-parallel GPUs, with experts spread over so many."""


class Efficiency(NamedTuple):
    """What every kind of kernel reaches, what these figures rest on, and the errors that this basis has shown.

    `error`: the mean that the basis itself states, as a user's own profile does. `bands`: of each kind of figure
    (bands.py), where published runs say more. `host`: what an engine takes between the kernels; None where none is
    asked about. `kernels` may tell linear layers that are not quantised (UNQUANTISED) from the others.
    `own` kernels come before the figures of their kind, for the operators that they know. `mixed`: prompts run in the
    steps in which others decode; else alone, and decode waits. `slower`: how many times as long as all of these say
    kernels of a kind take, where runs of one's own have shown that. `libraries`: by which GPUs exchange data, for each
    kind of exchange that there is one of. `nearby`: runs of one's own that times near theirs follow.
    """

    kernels: Mapping[str, Kernel]
    basis: str
    error: float | None = None
    bands: Mapping[str, Band] = {}
    host: Host | None = None
    own: OwnKernels | None = None
    mixed: bool = True
    slower: Mapping[str, Number] = {}
    libraries: Mapping[str, Library] = {}
    nearby: "Nearby | None" = None

    def band(self, phase: str) -> Band:
        """How far off figures of a phase were: by published runs, else as the basis itself states it."""
        return self.bands.get(phase) or (Band() if self.error is None else Band(self.error, of=OWN_PASSES))

    def apart(self, op: Operator) -> bool:
        """Whether an operator is a linear layer that is not quantised, of which other figures hold."""
        plain = self.kernels.get(UNQUANTISED)
        if plain is None or plain == self.kernels["gemm"]:
            return False
        return isinstance(op, (Gemm, GroupedGemm)) and op.Bw is op.Bx

    def of(self, op: Operator) -> Kernel:
        """What the kernel of an operator reaches."""
        return self.kernels[UNQUANTISED if self.apart(op) else op.kind]

    def behind(self, op: Operator, *, frozen: bool = False) -> Number:
        """The backward pass of an operator, in times of its forward one. `frozen`: its weights have no gradients."""
        return op.backward(frozen=frozen) * self.of(op).backward


DEFAULT_LAUNCH: Launch = "graph"
OF_ENGINES = (  # figures that engines may have besides those that the defaults have too
    *("weight_only.compute", "vector.compute", "half_sums.compute", "unpacked_above", "attention.pair_bytes"),
    *("flop.joules", "sm_bandwidth", "narrow.sm_bandwidth", "narrow.of_int8", "gemm.of_int8"),
    *("collective.wait", "experts.select", "attention.joined", "attention.block", "attention.dense", "norm.joined"),
    *("experts.marlin", "experts.padded", "experts.padded_tp", "experts.usual", "quantise.joined"),
    *("room.first", "room.least", "room.steps", "room.again", "room.most"),
    *(*SLOWER, *SHARES, *(f"host.{name}" for name in Host._fields)),
)
FIGURES = {name: default.value for name, default in DEFAULTS.items()}


def family_of(hardware: HardwareSpec | None) -> str:
    """The family of GPUs that a GPU shares default figures with; "" where there is none."""
    if hardware is None:
        return ""
    family, prefixes = DATA_CENTRE.get(hardware.architecture, ("", ()))
    if family:
        has_hbm = (hardware.gpu or hardware.name).startswith(prefixes)
        return family if has_hbm else f"{hardware.architecture} GDDR"
    return FAMILIES.get(hardware.architecture, "CPU" if hardware.is_cpu() else "")


def _bits(weights: str) -> float:
    """Bits of a linear layer's weight in this format, or of the narrower of two: routed experts' stands after a `+`."""
    return min(FORMATS[each].bits if each in FORMATS else BITS[each] for each in weights.split("+"))


def _wider(hardware: HardwareSpec | None, compute: str) -> float:
    """The peak of the activations' type over that of the type that is computed in; 0 where one is not known."""
    peaks = [hardware and hardware.peak.get(dtype) for dtype in (activation_dtype(compute), compute)]
    return peaks[0].value / peaks[1].value if peaks[0] and peaks[1] else 0


def default_for(
    hardware: HardwareSpec | None, compute: str = "bf16", weights: str = "bf16", launch: Launch = DEFAULT_LAUNCH
) -> Efficiency:
    """The defaults for a GPU (None: an unknown one), for layers that compute in one type on weights kept in another.

    `launch`: kernels are replayed from a CUDA graph ("graph"), launched one by one from C++ ("stream"), or one kernel
    is timed alone, its launch not counted ("alone").
    """
    return from_figures(FIGURES, hardware, compute, weights, launch)


def from_figures(
    figures: Mapping[str, float], hardware: HardwareSpec | None, compute: str, weights: str, launch: Launch
) -> Efficiency:
    """The defaults of `default_for`, from a table of figures that are named as those of defaults.py are.

    Those of an engine may have more: `weight_only.compute`, the share of the peak on weights that a product unpacks;
    `vector.compute`, the share of the vector units' peak, where the matrix units lack the type;
    `half_sums.compute`, the share of the rate of fp16 products added up in fp16, on NVIDIA's GPUs half of int8's;
    `narrow.of_int8` and `gemm.of_int8`, shares of the int8 peak where products are computed by that;
    `unpacked_above` and `attention.pair_bytes`, as a `Kernel` has them; `flop.joules`, the energy of a product's FLOP,
    of which a card's power pays for so many a second; `sm_bandwidth`, the bytes a second that one SM draws at most, and
    `narrow.sm_bandwidth` of weights that it unpacks; `host.step` and the like, the figures of a `Host`, which may be of
    a family or of one format of weights alone (`host.request@mxfp4`); those of SLOWER, by which all times of a group of
    kernels are multiplied, and those of SHARES, by which the shares of the peak and of the bandwidth are.
    """
    family = family_of(hardware)
    over_pcie = hardware is not None and hardware.interconnect_kind.startswith("PCIe")
    link = "PCIe" if over_pcie else family

    def of(name: str, where: str = family) -> float:
        return figures.get(f"{name}@{where}", figures[name])

    def own(name: str) -> Number:
        return figures.get(f"{name}@{family}", figures.get(name))

    narrow = BITS[compute] < 16
    narrow_weights = _bits(weights) < BITS[activation_dtype(compute)]
    gap = 0 if launch == "alone" else of(f"gap.{launch}")
    start, start_small = of("launch") + gap, of("launch_small") + gap
    empty = "exchange.stream" if over_pcie or launch == "stream" else "exchange.graph"

    paid = 1 if hardware is None else paid_for(hardware)  # an engine's own figures of Hopper are of cards of few watts
    product = Kernel(of("gemm.compute") * paid, of("gemm.memory"), start)
    quantised = product._replace(memory=of("narrow.memory")) if narrow_weights else product
    if narrow:
        widened = of("gemm.compute") * _wider(hardware, compute)  # no slower than at the activations' peak
        quantised = quantised._replace(compute=maximum(of("narrow.compute"), widened) * paid)
    elif hardware is not None:
        product, quantised = (
            _under_an_engine(kernel, own, hardware, compute, narrow=fewer)
            for kernel, fewer in ((product, False), (quantised, narrow_weights))
        )
    elementwise = Kernel(1, of("elementwise.memory"), start_small)
    kernels = {
        "gemm": quantised,
        "grouped_gemm": quantised,
        UNQUANTISED: product,
        "attention_prefill": Kernel(
            of("attention.compute") * paid,
            of("gemm.memory"),
            start,
            of("attention.half"),
            pair_bytes=own("attention.pair_bytes"),
        ),
        **dict.fromkeys(
            ("attention_decode", "attention_latent"), Kernel(of("gemm.compute"), of("attention.memory"), start)
        ),
        "scan": Kernel(of("gemm.compute"), of("elementwise.memory"), start),
        "elementwise": elementwise,
        "norm": elementwise,
        "node": Kernel(1, of("link.share", link), of(empty, link)),
        "fabric": Kernel(1, of("fabric.share"), of("fabric.launch")),
    }
    if any(name in figures for name in SHARES):
        of_peak, of_bandwidth = (figures.get(name, 1.0) for name in SHARES)
        kernels = {
            kind: kernel
            if kind in ("node", "fabric")
            else kernel._replace(
                compute=minimum(maximum(1, kernel.compute), kernel.compute * of_peak),  # above 1: sums in fp16
                memory=minimum(1, kernel.memory * of_bandwidth),
            )
            for kind, kernel in kernels.items()
        }
    kernels = {kind: within_sms(kind, kernel, hardware) for kind, kernel in kernels.items()}
    kept = weights.rpartition("+")[2]
    stated = {name: own(f"host.{name}") for name in Host._fields}
    host = {name: figures.get(f"host.{name}@{kept}", said) for name, said in stated.items() if said is not None}
    slower: dict[str, Number] = {
        kind: figures[name] for name, kinds in SLOWER.items() if name in figures for kind in kinds
    }
    return Efficiency(kernels, BASIS, host=Host(**host) if host else None, slower=slower)


def within_sms(kind: str, kernel: Kernel, hardware: HardwareSpec | None) -> Kernel:
    """A kernel with no more of the bandwidth than the GPU's SMs can draw together."""
    share = 1.0 if hardware is None or kind in ("node", "fabric") else loaded_by_sms(hardware)
    return kernel if share == 1.0 else kernel._replace(memory=minimum(kernel.memory, share))


def _under_an_engine(
    kernel: Kernel, own: Callable[[str], Number], hardware: HardwareSpec, compute: str, *, narrow: bool
) -> Kernel:
    """A product with the figures of an engine's `own`, of `from_figures`. `narrow`: its weights have fewer bits."""
    drawn, half_sums, joules = (own(name) for name in ("sm_bandwidth", "half_sums.compute", "flop.joules"))
    unpacking = own("narrow.sm_bandwidth") if narrow else None
    drawn = drawn if unpacking is None else unpacking
    peak, added_up = hardware.peak_of(compute), compute == "fp16" and hardware.vendor == "NVIDIA"
    int8 = hardware.peak.get("int8") if added_up else None
    if compute not in hardware.peak and (share := own("vector.compute")) is not None:
        kernel = kernel._replace(compute=share)
    if drawn is not None and hardware.sm_count and hardware.bandwidth:
        reached = drawn * hardware.sm_count.value / hardware.bandwidth.value
        kernel = kernel._replace(memory=minimum(kernel.memory, reached))
    of_int8, int8_peak = own("narrow.of_int8" if narrow else "gemm.of_int8"), hardware.peak.get("int8")
    if peak and int8_peak and of_int8 is not None:
        kernel = kernel._replace(compute=of_int8 * int8_peak.value / peak.value)
    elif peak and int8 and half_sums is not None:
        kernel = kernel._replace(compute=half_sums * int8.value / 2 / peak.value)
        kernel = kernel._replace(unpacked_above=own("unpacked_above")) if narrow else kernel
    elif narrow and (share := own("weight_only.compute")) is not None:
        kernel = kernel._replace(compute=share)
    if peak and hardware.tdp and joules is not None and not hardware.is_cpu():
        kernel = kernel._replace(compute=minimum(kernel.compute, hardware.tdp.value / (joules * peak.value)))
    return kernel


def in_an_engine(alone: Efficiency, default: Efficiency, share: float = ENGINE.value) -> Efficiency:
    """What measured kernels reach inside an engine: a share of what they reach alone.

    The rest goes into what the engine does around them. Kernels that have the figures of `default` (scans) stay as they
    are, as these already stand for an engine. Collectives keep those of `default` too: engines bring their own.
    """

    def slower(kernel: Kernel) -> Kernel:
        return kernel._replace(
            compute=kernel.compute * share, memory=kernel.memory * share, launch_seconds=kernel.launch_seconds / share
        )

    kernels = {
        kind: default.kernels[kind] if kind in ("node", "fabric") or kernel is default.kernels[kind] else slower(kernel)
        for kind, kernel in alone.kernels.items()
    }
    return Efficiency(kernels, f"{alone.basis}, in an engine")


DEFAULT = default_for(None)
"""Used for a chip of which nothing is known, not even its family."""
