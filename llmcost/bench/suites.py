"""What is measured: lists of operators with their sizes, for a quick run, a full one, or a CPU's small one.

The fit never sees a case that is `heldout`. These have shapes of other models; the fit is then asked for their times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from llmcost.bench.device import Device
from llmcost.bench.kernels import KernelCase
from llmcost.bench.kernels.collective import COLLECTIVES, ranks
from llmcost.ground.units import BITS
from llmcost.model.operators import Attention, Collective, Elementwise, Gemm, GroupedGemm, Lookup, Part
from llmcost.model.operators.routing import routing_of
from llmcost.model.sizes import bytes_of, computed_in
from llmcost.specs.profile import BLOCKED

Item = TypeVar("Item")


class Point(NamedTuple):
    """One case of a suite: a kernel to time."""

    suite: str
    case: KernelCase
    heldout: bool = False


class StepPoint(NamedTuple):
    """One whole pass of a model to time.

    It is a decode step of b sequences at context c, or a prompt or a training pass of b sequences of c tokens. `tp`
    GPUs share the model.
    """

    model: str
    phase: str
    b: int
    c: int
    dtype: str = "bf16"
    heldout: bool = True
    tp: int = 1


class Scope(NamedTuple):
    """How much is measured on a device, and in which data type."""

    device: Device
    full: bool

    @property
    def small(self) -> bool:
        """Whether the device is a CPU, which gets small sizes."""
        return self.device.kind == "cpu"

    @property
    def dtype(self) -> str:
        """The data type that models are computed in on this device."""
        return "fp32" if self.small else "bf16"

    @property
    def bytes(self) -> int | float:
        """Bytes of an element of that data type."""
        return bytes_of(BITS[self.dtype])

    def pick(self, quick: list[Item], more: list[Item], small: list[Item]) -> list[Item]:
        """Items of a quick run, and with them those that a full run has more; or those of a CPU's."""
        if self.small:
            return small
        return quick + more if self.full else quick


# Sizes N, K of weights: of Llama 3 70B, whole and as shares of eight GPUs; of Llama 3 8B, Llama 2 13B, Gemma 2 2B,
# Yi 34B and DeepSeek-V3.
WEIGHTS = [(6144, 4096), (57344, 8192), (8192, 28672), (1280, 8192)]
MORE_WEIGHTS = [
    (4096, 4096), (28672, 4096), (4096, 14336), (8192, 1024), (27648, 5120), (5120, 13824), (18432, 2304), (2304, 9216),
    (40960, 7168), (2112, 7168),
]  # fmt: skip
ROWS, MORE_ROWS = [1, 16, 128, 1024, 4096], [64, 256, 8192]
LM_HEAD, LM_HEAD_ROWS = (128256, 4096), 256
HELD_OUT, MORE_HELD_OUT = [(10240, 8192), (12288, 5120)], [(4096, 7168), (8192, 2752)]
HELD_OUT_ROWS = [1, 48, 320, 3072]
SQUARE = (8192, 8192, 8320)
# The shapes at which mamf-finder (stas00/ml-engineering) found the best rates of several GPUs: M, N, then K.
CEILING = [(m, n, k) for m, n in ((1024, 10240), (2048, 2048), (4096, 4096), (8192, 8192)) for k in (5120, 8320, 13312)]


def gemm(scope: Scope) -> Iterator[Point]:
    """Products of one token to a large prompt with the weights of common models; shapes held out; fp8 and fp16."""
    weights, rows = scope.pick(WEIGHTS, MORE_WEIGHTS, [(96, 64), (128, 256)]), scope.pick(ROWS, MORE_ROWS, [1, 16, 64])
    for m in sorted(rows):  # the light ones first: they run at other clocks
        for n, k in weights:
            yield _gemm(m, n, k, scope.dtype)
    for m in scope.pick(HELD_OUT_ROWS, [], [24]):
        for n, k in scope.pick(HELD_OUT, MORE_HELD_OUT, [(80, 48)]):
            yield _gemm(m, n, k, scope.dtype, heldout=True)
    if not scope.small:
        yield from _gemm_of_gpus(scope, rows)


def _gemm_of_gpus(scope: Scope, rows: list[int]) -> Iterator[Point]:
    for m in scope.pick(ROWS[:1], [m for m in rows[1:] if m <= LM_HEAD_ROWS], []):
        yield _gemm(m, *LM_HEAD, scope.dtype)
    for dtype, quick_rows, some in (("fp8", ROWS[::4], WEIGHTS), (BLOCKED, [], WEIGHTS), ("fp16", [], WEIGHTS[:2])):
        for n, k in some:
            for m in ROWS if scope.full else quick_rows:
                yield _gemm(m, n, k, dtype)
    for dtype in (scope.dtype, "fp8", "fp16"):
        yield _gemm(*SQUARE, dtype)
    for m in scope.pick([], HELD_OUT_ROWS, []):
        yield _gemm(m, *HELD_OUT[0], "fp8", heldout=True)
        yield _gemm(m, *HELD_OUT[0], BLOCKED, heldout=True)


def ceiling(scope: Scope) -> Iterator[Point]:
    """Products in search of the highest rate, timed as others do it: each call alone, the cache flushed in between."""
    for m, n, k in scope.pick(CEILING[4:9:2], CEILING[:4] + CEILING[5:8:2] + CEILING[9:], [(32, 64, 48)]):
        yield _gemm(m, n, k, scope.dtype)._replace(suite="ceiling")


def _gemm(m: int, n: int, k: int, dtype: str, *, heldout: bool = False) -> Point:
    size = bytes_of(BITS[computed_in(dtype)])
    return Point(
        "gemm", KernelCase(Gemm("gemm", "mlp", 1, m, 1, k, n, bias=False, tied=False, Bw=size, Bx=size), dtype), heldout
    )


Heads = tuple[int, int, int]  # query heads, KV heads, head size
HEADS: list[Heads] = [(32, 8, 128)]
MORE_HEADS: list[Heads] = [(64, 8, 128), (8, 1, 128), (16, 16, 128)]
HELD_OUT_HEADS: Heads = (40, 8, 128)
EVERY_WAY = ((1, 2048), (16, 8192))  # batch, tokens: where flex attention, compiled for each shape, is tried too


def prefill(scope: Scope) -> Iterator[Point]:
    """Causal attention of whole prompts, forward and backward."""
    lengths = scope.pick([(4, 512), (1, 2048), (1, 8192)], [(16, 128), (1, 4096), (1, 32768)], [(2, 32), (1, 64)])
    for heads in scope.pick(HEADS, MORE_HEADS, [(4, 2, 16)]):
        for b, s in lengths:
            yield _attention(scope, "prefill", b, s, heads)
    for b, s in scope.pick([(1, 6144)], [(1, 1536), (1, 12288)], [(1, 48)]):
        yield _attention(scope, "prefill", b, s, (4, 4, 16) if scope.small else HELD_OUT_HEADS, heldout=True)
    for b, s in scope.pick(lengths[1:2], [lengths[0], *lengths[2:]], lengths):
        yield _attention(scope, "prefill", b, s, (4, 2, 16) if scope.small else HEADS[0], backward=True)


def decode(scope: Scope) -> Iterator[Point]:
    """Attention of a decode step: one new token of each of b sequences, over a cache of c tokens."""
    most = 2**23  # keys of one head: 34 GB of cache at most
    for heads in scope.pick(HEADS, MORE_HEADS, [(4, 2, 16), (4, 1, 16)]):
        for b in scope.pick([1, 16, 128], [64], [1, 4]):
            for c in scope.pick([1024, 8192], [512, 32768], [16, 64]):
                if b * c * heads[1] <= most:
                    yield _attention(scope, "decode", b, c, heads)
    for b, c in scope.pick([(1, 2048), (32, 6144)], [(1, 24576), (8, 3072), (96, 1536)], [(2, 48)]):
        yield _attention(scope, "decode", b, c, (6, 2, 16) if scope.small else HELD_OUT_HEADS, heldout=True)
    yield from _latent_decode(scope)


def _latent_decode(scope: Scope) -> Iterator[Point]:
    for a in scope.pick([128], [32], [4]):  # DeepSeek-V3's heads over its latents, all of them and a quarter
        for b in scope.pick([1, 64], [16, 128], [2]):
            for c in scope.pick([4096], [1024, 16384], [32]):
                if b * c <= 2**20:
                    yield _latents(scope, b, c, a)
    for b, c in scope.pick([(16, 2048)], [(1, 8192), (64, 4096)], []):
        yield _latents(scope, b, c, 64, heldout=True)


def _latents(scope: Scope, b: int, c: int, a: int, *, heldout: bool = False) -> Point:
    """A decode step over a latent cache of 512 + 64 elements a token (of a CPU's runs: 16 + 8), in absorbed form."""
    (dv, d), size = (16, 24) if scope.small else (512, 576), scope.bytes
    op = Attention(
        "attention", "attention", 1, b, 1, c, a, d, dv, cached=d, streamed=0, span="all", w=0,
        sinks=False, shared=False, Bx=size, Bkv=size, kv_heads=1, decode=True, latent=True,
    )  # fmt: skip
    return Point("decode", KernelCase(op, scope.dtype), heldout)


def _attention(
    scope: Scope, suite: str, b: int, c: int, heads: Heads, *, heldout: bool = False, backward: bool = False
) -> Point:
    (a, g, d), size, step = heads, scope.bytes, suite == "decode"
    op = Attention(
        "attention", "attention", 1, b, 1 if step else c, c, a, d, d, cached=2 * g * d, streamed=0, span="all", w=0,
        sinks=False, shared=False, Bx=size, Bkv=size, kv_heads=g, decode=step,
    )  # fmt: skip
    every = scope.full and not backward and heads == HEADS[0] and (b, c) in EVERY_WAY
    return Point(suite, KernelCase(op, scope.dtype, backward, every), heldout)


def memory(scope: Scope) -> Iterator[Point]:
    """Reading, writing and copying a buffer, and adding two into a third; of 64 KiB to 4 GiB."""
    for name, reads, writes in (("read", 1, 0), ("write", 0, 1), ("copy", 1, 1), ("triad", 2, 1)):
        for size in scope.pick([2**20, 2**26, 2**30], [2**16, 2**23, 2**28, 2**32], [2**16, 2**20]):
            count = size // int(scope.bytes)
            yield _elementwise(scope, name, 1, reads * count, writes * count, suite="memory")


def elementwise(scope: Scope) -> Iterator[Point]:
    """The elementwise kernels between the matrix products, at the sizes of one token, of a batch and of a prompt."""
    tokens = scope.pick([1, 64, 4096], [16, 256, 1024], [1, 8])
    vocabulary = 512 if scope.small else 128256
    for h, i in scope.pick([(4096, 14336)], [(8192, 28672)], [(64, 128)]):
        for t in tokens:
            yield from _between_products(scope, t, h, i)
            table = Lookup("token_embedding", "embedding", 1, t, 1, vocabulary, h, scope.bytes)
            yield Point("elementwise", KernelCase(table, scope.dtype))
    for t, h, i in scope.pick([], [(4096, 4096, 14336)], [(8, 64, 128)]):
        for point in _between_products(scope, t, h, i):
            yield point._replace(case=point.case._replace(backward=True))
    for t in scope.pick([], tokens[:2], tokens[:1]):
        yield _elementwise(scope, "softmax", t, vocabulary, vocabulary)
    h, i, t = (80, 96, 4) if scope.small else (5120, 13824, 192)
    yield _elementwise(scope, "mlp_norm", t, 2 * h, 2 * h, h, part="norm", heldout=True)
    yield _elementwise(scope, "activation", t, 2 * i, i, heldout=True)


def _between_products(scope: Scope, t: int, h: int, i: int) -> Iterator[Point]:
    """The kernels of a layer between its products, for t tokens of h elements and MLPs i wide."""
    yield _elementwise(scope, "mlp_norm", t, 2 * h, 2 * h, h, part="norm")
    yield _elementwise(scope, "activation", t, 2 * i, i)
    yield _elementwise(scope, "rotary_cache_write", t, h + h // 2, h + h // 2)


def _elementwise(
    scope: Scope, name: str, t: int, reads: int, writes: int, weights: int = 0,
    *, part: Part = "mlp", suite: str = "elementwise", heldout: bool = False,
) -> Point:  # fmt: skip
    op = Elementwise(name, part, 1, t, 1, reads, writes, weights, scope.bytes)
    return Point(suite, KernelCase(op, scope.dtype), heldout)


Experts = tuple[int, int, int, int]  # experts, those a token takes, k, n


def grouped(scope: Scope) -> Iterator[Point]:
    """Products of experts: of Mixtral 8x7B and GLM-4.5-Air; held out, of DeepSeek-V2-Lite."""
    more: list[Experts] = [(8, 2, 14336, 4096), (128, 8, 4096, 2816), (128, 8, 1408, 4096)]
    for experts in scope.pick([(8, 2, 4096, 28672)], more, [(4, 2, 32, 64)]):
        for t in scope.pick([1, 64, 2048], [16, 256, 8192], [1, 16]):
            yield _grouped(scope, t, experts)
    for experts in scope.pick([], more[1:], []):
        for t in (16, 256, 2048):
            yield _grouped(scope, t, experts, "fp8")
        for t, law in ((64, "balanced"), (64, "power-law:1.2"), (2048, "power-law:1.2")):
            yield _by_law(_grouped(scope, t, experts), law)
    for t in scope.pick([1, 128, 4096], [], [8]):
        yield _grouped(scope, t, (4, 1, 48, 32) if scope.small else (64, 6, 2048, 2816), heldout=True)


def _by_law(point: Point, law: str) -> Point:
    """The case where tokens choose experts by a law: all experts alike, or some far more often."""
    op: Any = point.case.op
    skewed = op._replace(facts=op.facts._replace(routing=routing_of(law)))
    return point._replace(case=point.case._replace(op=skewed))


def _grouped(scope: Scope, t: int, experts: Experts, dtype: str = "", *, heldout: bool = False) -> Point:
    (groups, active, k, n), dtype = experts, dtype or scope.dtype
    size = bytes_of(BITS[dtype])
    op = GroupedGemm("experts", "mlp", 1, t, 1, k, n, groups, active, bias=False, Bw=size, Bx=size)
    return Point("grouped", KernelCase(op, dtype), heldout)


def collectives(scope: Scope) -> Iterator[Point]:
    """Collectives among the ranks that torchrun started, of 8 KiB to 1 GiB."""
    together = ranks()
    for exchange in COLLECTIVES:
        for size in scope.pick([2**13, 2**20, 2**26], [2**16, 2**18, 2**23, 2**28, 2**30], [2**13, 2**16]):
            count = size // int(scope.bytes) // together * together
            op = Collective(exchange, "mlp", 1, exchange, 1, count, together, 1, together, scope.bytes)
            yield Point("collectives", KernelCase(op, scope.dtype))


CASES: dict[str, Callable[[Scope], Iterator[Point]]] = {
    "gemm": gemm, "ceiling": ceiling, "prefill": prefill, "decode": decode, "memory": memory,
    "elementwise": elementwise, "grouped": grouped, "collectives": collectives,
}  # fmt: skip

# Models none of whose matrices is in the suites above, so that what the fit says of their passes is a prediction.
STEP_MODELS = ["llama3.2-3b", "qwen3-4b", "qwen2.5-7b", "mistral-nemo-12b"]
SEEN_MODEL, SEEN_LOADS = "llama3-8b", [(1, 512), (16, 1024)]  # the fit may see these: what passes add to kernels
STEP_LOADS = [(1, 512), (1, 32768), (8, 2048), (16, 8192), (64, 4096), (256, 1024)]
EXPERTS_MODELS = ["qwen3-30b-a3b", "deepseek-v2-lite"]  # in full runs
EXPERTS_LOADS = [(1, 8192), (16, 2048), (64, 4096), (256, 1024)]


SHARED_MODELS = ["qwen2.5-7b", "llama3.2-3b", "mistral-nemo-12b", "qwen3-30b-a3b"]  # between GPUs
SHARED_LOADS = [(1, 8192), (8, 2048), (64, 4096), (256, 1024)]


def steps(scope: Scope) -> Iterator[StepPoint]:
    """Whole passes of whole models: decode steps, prompts and training passes; under torchrun of shared models."""
    if ranks() > 1:
        yield from _shared_steps(scope)
        return
    loads = {
        "decode": scope.pick([(1, 8192)], STEP_LOADS, [(1, 16)]),
        "prefill": scope.pick([(1, 8192)], [(1, 2048)], []),
        "train": scope.pick([], [(1, 4096)], []),
    }
    for phase, each in loads.items():
        for model in scope.pick(STEP_MODELS[:1], [] if phase == "train" else STEP_MODELS[1:], ["nanogpt-124m"]):
            for b, c in each:
                yield StepPoint(model, phase, b, c, scope.dtype)
    for b, c in scope.pick([], SEEN_LOADS, []):
        yield StepPoint(SEEN_MODEL, "decode", b, c, scope.dtype, heldout=False)
    for model in scope.pick([], EXPERTS_MODELS, []):
        for b, c in EXPERTS_LOADS:
            yield StepPoint(model, "decode", b, c, scope.dtype)


def _shared_steps(scope: Scope) -> Iterator[StepPoint]:
    """Decode steps and prompts of models that all ranks share by tensor parallelism."""
    for b, c in scope.pick([], SEEN_LOADS, []):
        yield StepPoint(SEEN_MODEL, "decode", b, c, scope.dtype, heldout=False, tp=ranks())
    for model in scope.pick(SHARED_MODELS[:1], SHARED_MODELS[1:], ["nanogpt-124m"]):
        for b, c in scope.pick(SHARED_LOADS[:1], SHARED_LOADS[1:], [(1, 16)]):
            yield StepPoint(model, "decode", b, c, scope.dtype, tp=ranks())
        for b, c in scope.pick([(1, 2048)], [], []):
            yield StepPoint(model, "prefill", b, c, scope.dtype, tp=ranks())
