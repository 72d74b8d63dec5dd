"""Operators priced by an engine's own kernels, where there are numbers of them (kernels.py).

An `EngineKernels` stands for one engine on one GPU, with layers that compute in some type on weights kept in a format.
What it has no numbers for it leaves to the caller: elementwise kernels, scans, sparse attention, other nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from llmcost.ground.algebra import (
    Number,
    is_one,
    largest,
    least,
    maximum,
    minimum,
    more_than,
    number_behind,
    present,
    sum_of,
)
from llmcost.ground.constants import Constant
from llmcost.ground.units import BITS
from llmcost.machine.chip import links_of
from llmcost.machine.efficiency import family_of
from llmcost.machine.forms_attention import collective_seconds, decode_seconds, prefill_seconds
from llmcost.machine.forms_products import WIDTHS, Figures, expert_product_seconds, product_seconds
from llmcost.machine.kernel_sequences import (
    absorbed_seconds,
    dense_below,
    indexer_seconds,
    recurrent_seconds,
    sparse_attention_seconds,
    sparse_of,
    to_all_keys,
    word_of,
)
from llmcost.machine.kernels import Fitted, Kernels, figures_of, load_kernels
from llmcost.model.formats import FORMATS
from llmcost.model.operators import Attention, CausalConv, Collective, Elementwise, Gemm, GroupedGemm, Operator, Scan
from llmcost.model.sizes import activation_dtype
from llmcost.specs.hardware import HardwareSpec

USUAL_HEAD = 128  # size of heads that names of variants do not say
WIDEST = 32  # query heads of a KV head that most kernels take together at most
BLOCKS = "fp8-block128"
EIGHT_BITS = ("fp8", BLOCKS)  # checkpoints call both fp8, and engines take the kernel that is faster
MXFP4, MARLIN = "mxfp4-weights", "marlin"
NVFP4 = "nvfp4"
_LAYERS = "LLMServingSim, profiler/perf: layers of Llama-3.1-8B in vLLM 0.19 on RTX PRO 6000 and RTX 4090"
START = Constant(2.2e-6, f"norms and rotary embeddings of few tokens take 1.9 to 2.8 µs: {_LAYERS}", "seconds")
IN_L2 = Constant(2.4, f"times the bandwidth: norms of 2,048 tokens move 69 MB in 16 and 28 µs: {_LAYERS}")
FROM_MEMORY = Constant(0.9, f"of the bandwidth: activations of 2,048 tokens move 176 MB in 94 and 169 µs: {_LAYERS}")
LAST_BLOCKS = Constant(
    0.4,
    "share of what the longest sequence takes beyond the mean: blocks of ShareGPT's lengths handed out to 188 SMs that "
    "share a bandwidth of 1.49 TB/s, 26 GB/s a block: 0.6 of 16 sequences, 0.5 of 32, 0.45 of 64, 0.3 of 200",
)
NCCL = "nccl"  # the folder of collectives that engines share
LARGEST_OWN = 8 << 20  # bytes that engines' own all-reduce takes at most; NCCL takes more


ExpertSizes = tuple[Number, Number, Number, Number, Number, Number]  # tokens, their rows, groups, n, k, hidden


class EngineKernels(NamedTuple):
    """The kernels of an engine on a GPU, and what its layers compute in, keep weights in and cache.

    wait: seconds that the GPUs of a collective wait for the last of them. select: seconds an expert, of choosing those
    of each token by the router's scores. beside: tokens of a pass up to which shared experts run beside the routed
    ones. joined: prompts and the sequences that decode beside them are in one kernel for attention, that of prompts.
    normed: an all-reduce adds the residual and takes the norm behind it too, up to LARGEST_OWN bytes. marlin: experts
    on weights in mxfp4 take the kernels of that name, by the numbers for that format or for int4, not Triton's.
    padded: experts on weights in fp8 with scales of blocks run through an array in which each one's rows begin at a
    multiple of so many; 0: they do not. padded_tp: on so many tensor-parallel GPUs at most. few: 1 on so few, else 0.
    usual: in decode, experts that are spread over data-parallel ranks take the kernel of their format that most rows of
    the tables are of, and not the fastest one. spread: 1 where they are, else 0. quantised: the kernels before products
    in nvfp4 write their outputs in that type already.
    block: bytes/s at which one block of threads reads the cache, where a sequence's keys are not divided among several;
    0: they are.
    dense: prompts of no more keys than an indexer chooses attend to all of them, by the kernel for that.
    """

    own: Kernels
    shared: Kernels | None  # NCCL's
    hardware: HardwareSpec
    compute: str
    weights: str
    cache: str
    wait: float = 0
    select: float = 0
    beside: int = 0
    joined: bool = False
    normed: bool = False
    marlin: bool = False
    padded: float = 0
    padded_tp: float = inf
    few: Number = 1
    usual: bool = False
    spread: Number = 0
    quantised: bool = False
    block: float = 0
    dense: bool = False

    def on(self, tp: Number, ep: Number) -> EngineKernels:
        """The same on so many tensor-parallel GPUs, with experts spread over so many: of several ranks if more."""
        here = self._replace(spread=more_than(ep, tp)) if self.usual else self
        return here._replace(few=1 - more_than(tp, self.padded_tp)) if self.padded else here

    def together(self, operators: Sequence[Operator], seconds: Sequence[Number]) -> list[Number]:
        """Seconds of one execution of each operator of a pass, where not each is a kernel that runs by itself.

        Products that read the same tensor, and of which every GPU has all, are one kernel: each has its share of it.
        Shared experts run beside the routed ones. The router is followed by the choice of each token's experts. Where
        one kernel has all attention of a step with prompts, sequences that decode are prompts of one token in it.
        Norms behind a residual are part of the all-reduce before them, where the engine's kernel for it does that.
        """
        found = [
            once + self.select * op.n if isinstance(op, Gemm) and op.facts.role == "router" else once
            for op, once in zip(operators, seconds, strict=True)
        ]
        for at, (op, beside) in enumerate(pairwise(operators if self.joined else ())):
            if isinstance(op, Attention) and op.decode and beside.name == op.name:
                of_prompts = self._prefill(op)
                found[at] = found[at] if of_prompts is None else of_prompts
        if self.normed:
            self._in_the_all_reduce(operators, found)
        for block in blocks(operators):
            self._as_one_kernel(operators, found, block)
            if self.beside:
                self._beside_routed(operators, found, block)
        return found

    def _in_the_all_reduce(self, operators: Sequence[Operator], found: list[Number]) -> None:
        """Leave out the norms behind a residual that the all-reduce before them takes on its way."""
        before = None
        for at, op in enumerate(operators):
            if isinstance(op, Collective) and op.exchange == "all_reduce":
                before = op
            elif before is not None and isinstance(op, Elementwise) and op.kind == "norm" and op.facts.saves == "half":
                small = 1 - more_than(before.payload_bytes(), LARGEST_OWN)
                found[at] = found[at] * (1 - self.within(before) * minimum(1, before.ranks - 1) * small)

    def _as_one_kernel(self, operators: Sequence[Operator], found: list[Number], block: Sequence[int]) -> None:
        whole = {at: op for at in block if isinstance(op := operators[at], Gemm) and _is_whole(op)}
        for reads in dict.fromkeys(op.facts.reads for op in whole.values()):
            same = {at: op for at, op in whole.items() if op.facts.reads == reads}
            outputs = sum_of(op.n for op in same.values())
            merged = None if len(same) < 2 else self.seconds(next(iter(same.values()))._replace(n=outputs))
            for at, op in same.items() if merged is not None else ():
                found[at] = merged * op.n / outputs

    def _beside_routed(self, operators: Sequence[Operator], found: list[Number], block: Sequence[int]) -> None:
        """Shared experts' times less what runs at the same time: no faster than all bytes and FLOPs of both allow."""
        shared, routed = ([at for at in block if operators[at].facts.expert == kind] for kind in ("shared", "routed"))
        products = [op for at in shared if isinstance(op := operators[at], Gemm)]
        f = self._figures(self.compute)
        if not products or not routed or f is None:
            return
        both = [operators[at] for at in (*shared, *routed)]
        moved, flops = sum_of(op.moved_bytes() for op in both), sum_of(op.flops(causal=True) for op in both)
        alone, theirs = (sum_of(found[at] for at in some) for some in (shared, routed))
        together = largest([alone, theirs, moved / f.bandwidth, flops / f.peak])
        hidden = minimum(alone, maximum(0, alone + theirs - together))  # rounded sums could hide more than there is
        few = 1 - more_than(products[0].b * products[0].s, self.beside)
        for at in shared:
            found[at] = found[at] * (1 - few * hidden / alone)

    def seconds(self, op: Operator) -> Number | None:
        """Seconds of one execution of an operator; None where the engine's kernel for it was not fitted."""
        if isinstance(op, Gemm):
            return self._product(op)
        if isinstance(op, GroupedGemm):
            absorbed = absorbed_seconds(op, self.own, self.hardware, self.compute)
            return self._expert_product(op) if absorbed is None else absorbed
        if isinstance(op, (Scan, CausalConv)):
            return recurrent_seconds(op, self.own, self.hardware)
        if isinstance(op, Attention):
            return self._attended(op)
        if isinstance(op, Elementwise):
            around = op.facts.expert == "routed" or op.facts.computes == "weighted sum"
            # The experts' numbers hold what is done around them.
            return 0 if around and self.own.fits.get("experts") else self._elementwise(op)
        return self._collective(op) if isinstance(op, Collective) else None

    def unmeasured(self, operators: Sequence[Operator]) -> tuple[str, ...]:
        """Kinds of kernels among these that the engine has no numbers of, in words: shares of the peaks price them."""
        kinds = {op: word for op in operators if (word := word_of(op))}
        return tuple(dict.fromkeys(word for op, word in kinds.items() if self.seconds(op) is None))

    def longest_seconds(self, operators: Sequence[Operator]) -> Number:
        """Seconds of decode for each key that the longest sequence has more than the mean one.

        Of layers that read all of them. A block of threads has a KV head of a sequence; those of the longest ones end
        last, when the others' have left most of the GPU idle.
        """
        if not self.block:
            return 0
        keys = [op for op in operators if isinstance(op, Attention) and op.decode and op.span == "all"]
        return sum_of(op.count * op.cached / op.kv_heads * op.Bkv for op in keys) * LAST_BLOCKS.value / self.block

    def within(self, op: Collective) -> Number:
        """1 where a collective stays inside a node, else 0: of layouts side by side an array."""
        return 1 - more_than(op.stride * op.ranks, op.node)

    def _elementwise(self, op: Elementwise) -> Number | None:
        """A kernel that moves bytes alone: as far as they have room there, to and from the L2 cache."""
        if self.hardware.bandwidth is None or self.hardware.l2 is None or not family_of(self.hardware).endswith("GDDR"):
            return None  # measured on cards whose memory is far slower than their L2 cache
        moved, bandwidth, room = op.moved_bytes(), self.hardware.bandwidth.value, self.hardware.l2.value
        near = minimum(moved, room) / (bandwidth * IN_L2.value)
        return START.value + near + maximum(0, moved - room) / (bandwidth * FROM_MEMORY.value)

    def _figures(self, width: str) -> Figures | None:
        return figures_of(self.hardware, width)

    def _product(self, op: Gemm) -> Number | None:
        plain = op.part == "lm_head" or op.facts.role == "router"
        for name in ("bf16",) if plain else product_formats(self.compute, self.weights.partition("+")[0]):
            fit, f = self.own.find("product", name), self._figures(WIDTHS[name].compute)
            if fit is not None and f is not None and not fit.by_host():
                ready = self.quantised and name == NVFP4
                numbers = fit.numbers._replace(quantise_memory=0) if ready else fit.numbers
                return product_seconds(numbers, f, op.b * op.s, op.n, op.k, WIDTHS[name])
        return None

    def _expert_product(self, op: GroupedGemm) -> Number | None:
        """Routed experts alone, by the fastest of the engine's kernels for their format, which it picks by trial.

        Groups that every token takes are other kernels.
        """
        if op.facts.expert != "routed":
            return None
        rows, hidden = op.b * op.s * op.active, op.n if op.facts.last else op.k
        spread = self.spread if is_one(op.s) else 0  # of prompts the faster kernel is nearer to what runs take
        sizes = (op.b * op.s, rows, op.groups, op.n, op.k, hidden)
        even = op.facts.routing.corrected
        names = product_formats(self.compute, self.weights.rpartition("+")[2])
        if names[0] in EIGHT_BITS:
            names = EIGHT_BITS
        found = self._fastest_experts(names, sizes, spread, even=even)
        if found is None or not self.padded or self.weights.rpartition("+")[2] != BLOCKS:
            return found
        return found + self.few * (self._fastest_experts((BLOCKS,), sizes, padded=self.padded) - found)

    def _fastest_experts(
        self,
        names: Sequence[str],
        sizes: ExpertSizes,
        spread: Number = 0,
        *,
        padded: float = 0,
        even: bool = False,
    ) -> Number | None:
        """By the fastest of the kernels; by the usual one of a format where experts are spread (1, or 0: not)."""
        times, usual = [], []
        for name in names:
            if (f := self._figures(WIDTHS[name].compute)) is None:
                continue
            for fit in self.own.kernels_of("experts", name, MARLIN if self.marlin and name == MXFP4 else ""):
                x = fit.numbers
                time = expert_product_seconds(x, f, *sizes, WIDTHS[name], padded=padded, corrected=even)
                times.append(time)
                usual += [time] if fit is self.own.find("experts", name) else []
        if not times:
            return None
        fastest = least(times)
        if not present(spread) or not usual or len(usual) == len(times):
            return fastest
        return fastest + spread * (least(usual) - fastest)

    def _attention(self, form: str, op: Attention, ends: tuple[str, ...]) -> tuple[Fitted, Figures] | None:
        """The numbers of attention and the figures of the type that its queries are in."""
        if (op.mean_of or op.span) in ("chunk", "top") or present(op.every):
            return None
        cache = "fp8" if BITS.get(self.cache, 16) == 8 else "bf16"
        narrow = ("fp8", "bf16") if BITS[self.compute] < 16 else ("bf16", "fp8")
        for end in ends:
            for queries in narrow if cache == "fp8" else ("bf16",):
                fit, f = self.own.find(form, f"{queries}/{cache}{end}"), self._figures(queries)
                if fit is not None and f is not None and not fit.by_host():
                    return fit, f
        return None

    def _attended(self, op: Attention) -> Number | None:
        if op.name == "indexer":
            return indexer_seconds(op, self.own, self.hardware)
        found = sparse_attention_seconds(op, self.own, self.hardware)
        if found is None:
            return None if sparse_of(op) else self._decode(op) if op.decode else self._prefill(op)
        if not self.dense or op.decode or not (op.span == "top" or present(op.top)):
            return found
        return dense_below(op, found, self._prefill(to_all_keys(op)))

    def _prefill(self, op: Attention) -> Number | None:
        found = self._attention("prefill", op, _ends(op))
        if found is None:
            return None
        fit, f = found
        return prefill_seconds(fit.numbers, f, **prefill_sizes(op))

    def _decode(self, op: Attention) -> Number | None:
        queries, keys = number_behind(op.a), number_behind(op.kv_heads)
        wide = None not in (queries, keys) and queries > WIDEST * keys and not _is_latent(op)
        found = self._attention("decode", op, ("/wide", *_ends(op)) if wide else _ends(op))
        if found is None:
            return None
        fit, f = found
        return decode_seconds(fit.numbers, f, **decode_sizes(op))

    def _collective(self, op: Collective) -> Number | None:
        """A collective inside a node: an engine's own all-reduce where it has one, else NCCL's."""
        link = links_of(self.hardware).node_bytes_per_s
        if link is None or not present(self.within(op)):
            return None
        payload = op.payload_bytes()
        shared = self.shared.find("collective", op.exchange) if self.shared is not None else None
        own = self.own.find("collective", "custom_all_reduce") if op.exchange == "all_reduce" else None
        times = [collective_seconds(fit.numbers, link, payload, op.ranks) for fit in (own, shared) if fit is not None]
        if not times:
            return None
        wait = self.wait * minimum(1, op.ranks - 1)
        if len(times) < 2:
            return times[0] + wait
        too_large = more_than(payload, LARGEST_OWN)
        return times[0] * (1 - too_large) + times[1] * too_large + wait


def engine_kernels(
    engine: str, hardware: HardwareSpec, compute: str, weights: str, cache: str, shared_with: str = ""
) -> EngineKernels | None:
    """The kernels of an engine on a GPU, by its own tables or its family's; None where there are none.

    `shared_with`: an engine that runs the same kernels; its numbers stand for those that hold the host's launches.
    """
    name = hardware.gpu or hardware.name
    own, others = load_kernels(engine, name), load_kernels(shared_with, name) if shared_with else None
    if own is None:
        return None
    own = own if others is None else own.without_host(others)
    shared = load_kernels(NCCL, name)
    if own.of != name and links_of(hardware).over_pcie:
        # Through another host, and of another generation: what cards of the family reach says nothing of it.
        own, shared = own._replace(fits={form: fits for form, fits in own.fits.items() if form != "collective"}), None
    return EngineKernels(own, shared, hardware, compute, weights, cache)


def product_formats(compute: str, weights: str) -> tuple[str, ...]:
    """The formats of kernels.py for products that compute in a type on weights of a format: the nearest first."""
    if weights in WIDTHS:
        return (weights,)
    bits = FORMATS[weights].bits if weights in FORMATS else BITS[weights]
    if BITS[compute] == 4:
        return ("nvfp4",)
    if BITS[compute] == 8:
        return ("mxfp4-fp8",) if bits < 8 else ("int8",) if compute == "int8" else ("fp8",)
    if bits >= 16 and activation_dtype(compute) == compute:
        return ("bf16",)
    return (
        ("int8-weights",) if bits >= 8 else ("mxfp4-weights", "int4-weights") if "mx" in weights else ("int4-weights",)
    )


def blocks(operators: Sequence[Operator]) -> list[list[int]]:
    """The places of the operators of each kind of layer: a layer begins anew with a name that it has already."""
    found: list[list[int]] = [[]]
    names: set[str] = set()
    for at, op in enumerate(operators):
        if op.name in names:
            found.append([])
            names.clear()
        found[-1].append(at)
        names.add(op.name)
    return found


def prefill_sizes(op: Attention) -> dict[str, Number]:
    """The sizes that the form of attention of prompts takes."""
    window = op.w if op.span == "window" else 0
    sizes = {"batch": op.b, "queries": op.s, "keys": op.c, "heads": op.a, "d": op.d, "dv": op.dv, "window": window}
    return sizes | {"kv_heads": op.a if _is_latent(op) else op.kv_heads, "cache_bytes": op.Bkv}


def decode_sizes(op: Attention) -> dict[str, Number]:
    """The sizes that the form of attention over a cache takes."""
    sizes = {"batch": op.b, "keys": op.c, "heads": op.a, "kv_heads": op.kv_heads, "cached": op.cached / op.kv_heads}
    return sizes | {"window": op.w if op.span == "window" else 0, "cache_bytes": op.Bkv}


def _is_whole(op: Operator) -> bool:
    """Whether every GPU of a group has all of a quantisable product: those of a latent."""
    return op.facts.split == "tokens" and not op.facts.role and not op.facts.expert


def _is_latent(op: Attention) -> bool:
    """Whether keys and values come from a latent, or are of two sizes, as there."""
    return (op.latent and present(op.streamed)) or (op.d is not op.dv and bool(op.d != op.dv))


def _ends(op: Attention) -> tuple[str, ...]:
    """The ends of a variant's name for an attention, the nearest first."""
    if _is_latent(op):
        return ("/latent",) if op.decode else ("/latent/module", "/latent")
    head = number_behind(op.d)
    size = f"/{head}" if head not in (None, USUAL_HEAD) else ""
    if op.span == "window":
        return tuple(dict.fromkeys((f"/window{size}", "/window", size, "")))
    return (size, "") if size else ("",)
