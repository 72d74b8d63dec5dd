"""The gap between a measured step and the predicted one, operator by operator, from a profiler's trace.

Products with weights, attention and collectives are found in a trace by the names of their kernels and, where the trace
has them, by the sizes of their operands. Between two of them everybody's programs run other elementwise kernels, more
of them or fewer. So these are not told apart: all that runs between two such anchors stands beside all that the model
needs there. What the model needs nowhere is listed by name, and so is the time in which the GPU waits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import NamedTuple

from llmcost.bench.traces import GpuKernel
from llmcost.ground.errors import InputError
from llmcost.machine.calibration import executions
from llmcost.model.operators import Attention, Collective, Gemm, GroupedGemm, Operator, Stored
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.pipeline import rank_share
from llmcost.serving.estimate import estimate, workload_of
from llmcost.serving.options import Options
from llmcost.serving.server import machine_of, server_of
from llmcost.specs.hardware import HardwareSpec

# Words in the names of kernels in lower case; the first that fits decides. Of cuBLAS (nvjet, xmma, s16816), CUTLASS,
# cuDNN, FlashAttention, FlashInfer, FlashMLA, DeepGEMM, NCCL, and Triton's as torch, vLLM and SGLang name them.
NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tail", ("splitkreduce", "splitk_reduce", "lean_reduction")),
    ("collective", ("nccl", "cross_device_reduce", "allreduce", "all_reduce", "allgather", "all_gather", "multimem")),
    (
        "attention",
        (
            "flash_fwd", "flashattn", "flash::", "fmha", "sdpa", "mla", "attention_kernel", "paged_attention",
            "unified_attention", "batchdecode", "batchprefill", "decodewith", "prefillwith", "fwd_grouped_kernel",
            "fwd_kernel_stage", "attn_fwd", "splitkv", "flash_decode", "kernel_unified",
        ),
    ),
    ("elementwise", ("triton_poi", "triton_red", "triton_per")),  # before `mm`: their names list all that they fuse
    ("product", ("fused_moe", "grouped_gemm", "grouped_mm", "nvjet", "gemm", "gemv", "xmma", "cutlass", "triton_mm",
                 "triton_tem", "wgmma", "marlin", "machete", "matmul", "s16816", "s1688")),
)  # fmt: skip
SAMPLING = ("sampl", "argmax", "topk", "multinomial", "softmax", "cumsum", "sort")  # behind a step's last product
FEWEST_FOUND = 0.8  # of a model's products and attentions, in a trace that is one of this model
MUCH = 0.15  # share of a step's predicted time
ROUNDING = 1e-9  # of a step, less than which nothing is told apart
WIDE = ("sgemm", "_f32f32_f32f32_", "simt")  # a product in fp32, which none of a 16-bit model's layers is
PARTS = {"qkv_proj": 3, "gate_up_proj": 2}  # products that programs may run one after the other


class GapRow(NamedTuple):
    """Operators that are measured together, and how often a step runs them; seconds of a step."""

    operators: str
    executions: int
    kernels: int
    measured_seconds: float
    predicted_seconds: float


class OtherKernel(NamedTuple):
    """A kernel that no operator of the model stands for: how often a step runs it, and its seconds."""

    name: str
    executions: float
    seconds: float


class Gap(NamedTuple):
    """A measured step beside a predicted one; all in seconds of one step.

    span: from the start of the first kernel to the end of the last. busy: of it while a kernel ran. exposed: while
    nothing but collectives ran. doubts: why the trace may be of something else than what was asked about.
    """

    model: str
    phase: str
    basis: str
    steps: int
    rows: tuple[GapRow, ...]
    others: tuple[OtherKernel, ...]
    span_seconds: float
    busy_seconds: float
    exposed_seconds: float
    predicted_seconds: float
    predicted_kernel_seconds: float
    doubts: tuple[str, ...] = ()

    @property
    def idle_seconds(self) -> float:
        """While the GPU waited for its host, or for other GPUs without a kernel."""
        return self.span_seconds - self.busy_seconds

    def causes(self) -> list[tuple[str, float]]:
        """What a step takes longer for than predicted, the largest first: a name, and seconds."""
        found = [(row.operators, row.measured_seconds - row.predicted_seconds) for row in self.rows]
        found.append(("the GPU waits between kernels", self.idle_seconds - self.predicted_idle_seconds))
        found.append(("kernels that the model does not need", sum(each.seconds for each in self.others)))
        return sorted(found, key=lambda each: -abs(each[1]))

    @property
    def predicted_idle_seconds(self) -> float:
        """What the prediction leaves to the host, between kernels or in place of them."""
        rest = self.predicted_seconds - self.predicted_kernel_seconds
        return rest if rest > ROUNDING * self.predicted_seconds else 0.0


def gap(kernels: Sequence[GpuKernel], model: ModelSpec, hardware: HardwareSpec, options: Options, phase: str) -> Gap:
    """A trace of decode steps, or of prompts, beside the prediction of one such step.

    Raises InputError for a trace that lacks too many of the model's products and attentions to be one of it.
    """
    w = workload_of(model, hardware, options)
    size, chip, efficiency = machine_of(hardware, w)
    server = server_of(model, size, chip, efficiency, w)
    sequences = rank_share(w.batch, w.dp)
    decode = phase == "decode"
    load = Load(sequences, 1, w.context, decode=True) if decode else Load(sequences, w.prompt, w.prompt)
    ops = server.share(load).operators()
    times = server.seconds_of(ops)
    if times is None:
        raise InputError(f"{hardware.name}: a peak or a bandwidth that a prediction needs is not known")
    timed = [(op, float(time)) for op, time in zip(ops, times, strict=True) if not isinstance(op, Stored)]
    walk = Walk([op for op, _ in timed])
    walk.through(kernels)
    if walk.anchored < FEWEST_FOUND * walk.steps * len(walk.anchors):
        raise InputError(
            f"{model.name}: {walk.steps * len(walk.anchors):,} products with weights and attentions belong to a trace "
            f"like this, {walk.anchored:,} are in it: of another model, phase or layout?"
        )
    answer = estimate(model, hardware, options)
    whole = answer.decode.expected.seconds_per_step if decode else answer.prefill.expected.seconds
    start, end = kernels[0].start, max(each.end for each in kernels)
    busy = _covered(kernels)
    alone = busy - _covered([each for each in kernels if kind_of(each.name) != "collective"])
    steps, rows = walk.steps, tuple(walk.rows([time for _, time in timed]))
    return Gap(
        model.name, phase, efficiency.basis, steps, rows, tuple(walk.unneeded()), (end - start) / steps, busy / steps,
        alone / steps, float(whole), sum(time for _, time in timed), tuple(_doubts(kernels, hardware, load, rows)),
    )  # fmt: skip


def _doubts(kernels: Sequence[GpuKernel], hardware: HardwareSpec, load: Load, rows: Sequence[GapRow]) -> Iterator[str]:
    """Why the trace may be of something else than was asked about: by its GPU's name, and sizes, or else times."""
    yield from _of_another_gpu(kernels, hardware)
    products = [each.shapes for each in kernels if len(each.shapes) > 1 and kind_of(each.name) == "product"]
    phase = "decode" if load.decode else "prefill"
    if products:
        yield from _of_other_tokens(products, int(load.b * load.s), phase)
    else:
        yield from _too_fast(rows, phase)


def _of_another_gpu(kernels: Sequence[GpuKernel], hardware: HardwareSpec) -> Iterator[str]:
    """A doubt where the trace names a GPU whose number is not in the name of the one that was asked about."""
    gpu = kernels[0].gpu
    numbers = [word for word in re.findall(r"[a-z]*\d+[a-z]*", gpu.lower()) if not word.endswith("gb")]
    ours = f"{hardware.name} {hardware.title} {' '.join(hardware.aliases)}".lower()
    if numbers and numbers[0] not in ours:
        yield f"the trace is of {gpu}, and --hw is {hardware.title}"


def _of_other_tokens(products: Sequence[tuple[tuple[int, ...], ...]], tokens: int, phase: str) -> Iterator[str]:
    """A doubt where most products have another number of rows than a step that was asked about has tokens."""
    most = Counter(prod(shapes[0][:-1]) for shapes in products).most_common(1)[0][0]
    if most != tokens:
        asked = "decode step of this batch" if phase == "decode" else "prefill of this batch and prompt"
        yield f"most products in the trace are of {most:,} tokens, and a {asked} has {tokens:,}"


def _too_fast(rows: Sequence[GapRow], phase: str) -> Iterator[str]:
    """A doubt where what takes much of a step took less than half of what is predicted of it."""
    whole = sum(row.predicted_seconds for row in rows)
    for row in rows:
        if row.measured_seconds and row.predicted_seconds > max(MUCH * whole, 2 * row.measured_seconds):
            yield f"{row.operators} took less than half of what {phase} of this batch and length is predicted to take"
            return


def kind_of(name: str) -> str:
    """What a kernel is by its name: product, tail (the end of one), attention, collective, or elementwise."""
    low = name.lower()
    return next((kind for kind, words in NAMES if any(word in low for word in words)), "elementwise")


def _covered(kernels: Iterable[GpuKernel]) -> float:
    """Seconds in which at least one of the kernels ran."""
    total, until = 0.0, float("-inf")
    for each in kernels:
        total += max(0.0, each.end - max(each.start, until))
        until = max(until, each.end)
    return total


class Walk:
    """Goes through a trace and the model's operators side by side, and puts each kernel to an operator.

    `anchors` are operators whose kernels are known by name, in the order in which a step runs them; each is a place in
    the list of operators. Other operators are between two anchors.
    """

    def __init__(self, ops: Sequence[Operator]) -> None:
        self.ops = list(ops)
        places = {id(op): place for place, op in enumerate(self.ops)}
        order = [places[id(op)] for op in executions(self.ops)]
        self.anchors = [
            place for place in order if isinstance(self.ops[place], (Gemm, GroupedGemm, Attention, Collective))
        ]
        self.between = list(self._between(order))
        self.at, self.left, self.steps = (
            -1,
            0.0,
            1,
        )  # the anchor that was met last; columns of its product still to come
        self.anchored = 0
        self.seconds: dict[tuple[int, ...], float] = {}
        self.counts: Counter[tuple[int, ...]] = Counter()
        self.others: dict[str, tuple[int, float]] = {}

    def _between(self, order: list[int]) -> Iterator[tuple[int, ...]]:
        """The operators before each anchor, and at the end those after the last."""
        waiting: list[int] = []
        for place in order:
            if isinstance(self.ops[place], (Gemm, GroupedGemm, Attention, Collective)):
                yield tuple(waiting)
                waiting = []
            else:
                waiting.append(place)
        yield tuple(waiting)

    def through(self, kernels: Sequence[GpuKernel]) -> None:
        """Put every kernel of a trace to an operator, to those between two anchors, or to none."""
        known = any(kind_of(each.name) == "product" and len(each.shapes) > 1 for each in kernels)
        parts = {} if known else self._parts(kernels)
        for each in kernels:
            kind = kind_of(each.name)
            if kind == "product" and any(word in each.name.lower() for word in WIDE):
                self._other(each)
            elif kind == "tail":
                self._add((self.anchors[self.at],) if self.at >= 0 else (), each)
            elif kind == "elementwise":
                self._add(self._around(each), each)
            elif not self._meets(each, kind, parts):
                self._other(each)

    def _around(self, kernel: GpuKernel) -> tuple[int, ...]:
        """The operators between the anchor that was met last and the next one, of which a kernel may be.

        After the last anchor of a step come the choice of tokens, which no operator stands for, and the next step.
        """
        after = self.between[self.at + 1]
        if after or self.at < len(self.anchors) - 1 or any(word in kernel.name.lower() for word in SAMPLING):
            return after
        return self.between[0]

    def _meets(self, kernel: GpuKernel, kind: str, parts: dict[int, int]) -> bool:
        """Whether a kernel is one of the anchor that was met last, or of one that is to come."""
        if self.at >= 0 and self._goes_on(kernel, kind):
            self._add((self.anchors[self.at],), kernel)
            return True
        for ahead in range(self.at + 1, self.at + 1 + len(self.anchors)):
            place = self.anchors[ahead % len(self.anchors)]
            if self._is(self.ops[place], kernel, kind):
                if ahead >= len(self.anchors):
                    self.steps += 1
                self.at = ahead % len(self.anchors)
                self.left = _columns(self.ops[place]) - _width(kernel) if kernel.shapes else parts.get(place, 1) - 1
                self.anchored += 1
                self._add((place,), kernel)
                return True
        return False

    def _goes_on(self, kernel: GpuKernel, kind: str) -> bool:
        """Whether a kernel goes on with the last anchor: attention in several kernels, a product in parts, experts."""
        op = self.ops[self.anchors[self.at]]
        if isinstance(op, Attention):
            return kind == "attention" and self._no_other_attention_next()
        if isinstance(op, GroupedGemm):
            return bool(kernel.shapes) and self._is(op, kernel, kind)
        if not isinstance(op, Gemm) or kind != "product" or self.left <= 0:
            return False
        if kernel.shapes and not self._is(op, kernel, kind):
            return False
        self.left -= _width(kernel) if kernel.shapes else 1
        return True

    def _no_other_attention_next(self) -> bool:
        following = self.anchors[self.at + 1 : self.at + 2]
        return not following or not isinstance(self.ops[following[0]], Attention)

    def _is(self, op: Operator, kernel: GpuKernel, kind: str) -> bool:
        """Whether a kernel of a kind, of operands whose shapes may be known, may be one of an operator's."""
        if isinstance(op, Attention):
            return kind == "attention"
        if isinstance(op, Collective):
            return kind == "collective"
        if kind != "product" or not isinstance(op, (Gemm, GroupedGemm)):
            return False
        return not kernel.shapes or any(op.k in shape and _width(kernel) <= op.n for shape in kernel.shapes)

    def _parts(self, kernels: Sequence[GpuKernel]) -> dict[int, int]:
        """Kernels that each product takes, where no shapes are known: as many as fit their number in a whole step."""
        found = sum(
            kind_of(each.name) == "product" and not any(w in each.name.lower() for w in WIDE) for each in kernels
        )
        attention = sum(isinstance(self.ops[place], Attention) for place in self.anchors)
        groups = _runs(kind_of(each.name) == "attention" for each in kernels if kind_of(each.name) != "tail")
        steps = max(1, round(groups / attention)) if attention else 1
        names = {place: self.ops[place].name for place in self.anchors}
        for split in ((), ("gate_up_proj",), ("qkv_proj",), ("qkv_proj", "gate_up_proj")):
            parts = {place: PARTS[name] for place, name in names.items() if name in split}
            plain = [place for place in self.anchors if isinstance(self.ops[place], (Gemm, GroupedGemm))]
            if sum(parts.get(place, 1) for place in plain) * steps == found:
                return parts
        return {}

    def _add(self, places: tuple[int, ...], kernel: GpuKernel) -> None:
        if not places:
            self._other(kernel)
            return
        self.seconds[places] = self.seconds.get(places, 0.0) + kernel.seconds
        self.counts[places] += 1

    def _other(self, kernel: GpuKernel) -> None:
        count, seconds = self.others.get(kernel.name, (0, 0.0))
        self.others[kernel.name] = (count + 1, seconds + kernel.seconds)

    def rows(self, times: Sequence[float]) -> Iterator[GapRow]:
        """A row for each anchor and for what is between two, in the order of a step, found in the trace or not."""
        together = [
            each for pair in zip(self.between, [*((p,) for p in self.anchors), ()], strict=True) for each in pair
        ]
        for places, often in Counter(each for each in together if each).items():
            names = ", ".join(dict.fromkeys(self.ops[place].name for place in places))
            guess = often * sum(times[place] / float(self.ops[place].count) for place in places)
            yield GapRow(
                names, often, round(self.counts[places] / self.steps), self.seconds.get(places, 0.0) / self.steps, guess
            )

    def unneeded(self) -> Iterator[OtherKernel]:
        """Kernels that no operator stands for, those that take longest first."""
        for name, (count, seconds) in sorted(self.others.items(), key=lambda item: -item[1][1]):
            yield OtherKernel(name, count / self.steps, seconds / self.steps)


def _width(kernel: GpuKernel) -> int:
    """Columns of a product's answer: the size of the second operand that the first has not."""
    first, second = kernel.shapes[0], kernel.shapes[-1] if len(kernel.shapes) > 1 else kernel.shapes[0]
    return second[-1] if first[-1] != second[-1] or first[-1] == second[0] else second[0]


def _columns(op: Operator) -> float:
    return float(op.n) if isinstance(op, (Gemm, GroupedGemm)) else 0.0


def _runs(flags: Iterable[bool]) -> int:
    """How many runs of True there are."""
    before, runs = False, 0
    for flag in flags:
        runs += flag and not before
        before = flag
    return runs
