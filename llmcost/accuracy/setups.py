"""How a case ran: its model on its chip, in its data types, divided as it was; and how long a pass through it takes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from llmcost.accuracy.cases import Case, engine_of, engines
from llmcost.accuracy.models import spec_of
from llmcost.algebra import Number
from llmcost.architecture import body, head
from llmcost.counting import count_pass, kept_bytes, stored_bytes
from llmcost.defaults import Launch
from llmcost.efficiency import FIGURES, Efficiency, from_figures
from llmcost.estimate import links_of
from llmcost.memory import AT_THE_HEAD, step_peak
from llmcost.operators import Attention, Collective, Lookup, Operator
from llmcost.parallel import Plan, shard
from llmcost.sizes import ElementBytes, Load, activation_dtype, element_bytes
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import Figure, HardwareSpec
from llmcost.specs.model import ModelSpec
from llmcost.timing import Chip, bound, kernel_seconds
from llmcost.units import HEAD_BITS, TABLE_BITS

REPORTED = 2**30 / 10**9  # drivers report GiB for what vendors call GB: 81,559 MiB on an H100 80GB, 24,564 on an RTX 4090
# CUDA context with the kernels of torch; the same once a process has set up NCCL: on an A100 (stas00/ml-engineering,
# training/performance/README.md, "torch.distributed memory usage").
CONTEXT_BYTES = 0.55 * 2**30
EXCHANGE_BYTES = 2.0 * 2**30
PCIE = Figure(64 * 10**9, "64 GB/s", "")  # both ways, where the cards were joined by nothing faster


class Pass(NamedTuple):
    """Seconds of one pass through the model: as expected, and at least."""

    expected: float
    limit: float

    def times(self, count: float) -> Pass:
        """So many of them, one after the other."""
        return Pass(count * self.expected, count * self.limit)

    def plus(self, other: Pass) -> Pass:
        """The one and then the other."""
        return Pass(self.expected + other.expected, self.limit + other.limit)


class Setup(NamedTuple):
    """A model as a case ran it: on which chip, in which types, how divided."""

    model: ModelSpec
    chip: Chip
    size: ElementBytes
    head_bytes: Number  # an element of the LM head
    table_bytes: Number  # an element of the embedding
    plan: Plan
    stages: int
    efficiency: Efficiency

    def operators(self, load: Load, positions: Number = 1) -> list[Operator]:
        """One GPU's operators of a pass through all layers, logits at so many positions a sequence."""
        found = [*body(self.model, self.size, load), *head(self.model, self.size, load.b, positions)]
        return [self._in_own_type(op) for op in shard(found, self.plan)]

    def _in_own_type(self, op: Operator) -> Operator:
        if op.name == "lm_head":
            return op._replace(Bw=self.head_bytes)  # type: ignore[attr-defined,no-any-return]
        if isinstance(op, Lookup) and op.name == "token_embedding":
            return op._replace(Bx=self.table_bytes)
        return op

    def step(self, batch: Number, context: Number) -> Pass | None:
        """One decode step."""
        return self.time([*self.operators(Load(batch, 1, context, decode=True)), *self._handed_on(batch, self.stages - 1)])

    def prompt(self, batch: Number, length: Number, positions: Number = 1) -> Pass | None:
        """A whole prompt of every sequence."""
        return self.time([*self.operators(Load(batch, length, length), positions), *self._handed_on(batch * length, self.stages - 1)])

    def mixed(self, batch: Number, prompt: float, output: float) -> Pass | None:
        """One iteration of continuous batching: a token of each sequence, and the prompts of those that take the place of finished ones.

        Linear layers run once over all these tokens; attention of prompts and of single tokens are kernels of their own. In a
        pipeline, whose stages work on as many such iterations at a time, the slowest sets the pace: the last, which has the head.
        """
        coming = batch / output
        tokens = batch + coming * prompt
        everything = self.operators(Load(tokens, 1, prompt + output / 2, decode=True))
        prompts = [op for op in self.operators(Load(coming, prompt, prompt)) if isinstance(op, Attention)]
        found = [self._at_pace(_of_tokens(op, batch, coming)) for op in everything]
        return self.time([*found, *prompts, *self._handed_on(tokens, self.stages)])

    def _at_pace(self, op: Operator) -> Operator:
        return op._replace(count=op.count * self.stages) if op.name in AT_THE_HEAD else op  # type: ignore[attr-defined]

    def _handed_on(self, tokens: Number, times: int) -> list[Operator]:
        """Activations on their way from stage to stage."""
        if self.stages == 1:
            return []
        ends = (2, 1, self.plan.node, self.size.Bx)
        return [Collective("stage_send", "mlp", times, "send", tokens, self.model.hidden_size, *ends)]

    def time(self, operators: list[Operator]) -> Pass | None:
        """Time of these operators; None where a figure of the chip that they need is not known."""
        seconds = kernel_seconds(operators, self.chip, self.efficiency)
        least = bound(count_pass(operators), self.chip, "", "").seconds()
        return None if seconds is None or least is None else Pass(sum(seconds), least)

    def concurrency(self, tokens: float, share: float) -> float:
        """Sequences of so many tokens whose cache takes this share of what the weights leave, on the GPUs that share the model."""
        step = self.operators(Load(1, 1, 1, decode=True))
        cache: float = sum(op.count * op.cache_bytes_per_token() for op in step if isinstance(op, Attention))
        room: float = share * (self.chip.capacity * self.stages - stored_bytes(step))
        return room / (cache * tokens)

    def memory(self, batch: int, prompt: int, context: int) -> float:
        """Bytes on all GPUs of a pipeline: weights, cache at the end, activations of the prompts of the whole batch."""
        step = self.operators(Load(batch, 1, context, decode=True))
        prompts = self.operators(Load(batch, max(prompt, 1), max(prompt, 1)))
        residual = batch * max(prompt, 1) * self.model.hidden_size * self.size.Bx
        alive: float = max(step_peak(step, 0).head, step_peak(prompts, residual).layers)
        return stored_bytes(step) + kept_bytes(step) + alive * self.stages  # type: ignore[no-any-return]


Placed: TypeAlias = tuple[Setup, HardwareSpec]


def _of_tokens(op: Operator, batch: Number, coming: Number) -> Operator:
    """An operator of an iteration's tokens: attention works for those that decode, the head for them and the ends of prompts."""
    if isinstance(op, Attention):
        return op._replace(b=batch)
    if isinstance(op, Collective):
        return op._replace(rows=batch + coming) if op.part == "lm_head" else op
    return op._replace(b=batch + coming) if op.name in AT_THE_HEAD else op  # type: ignore[attr-defined]


def setup_of(case: Case, figures: Mapping[str, float] = FIGURES, tp: int | None = None) -> Setup | None:
    """How a case ran; None where its model's shape is not known, or how it was divided and `tp` does not say it.

    `figures`: shares and launch costs, the defaults or others in their place.
    """
    of = case.settings
    tp, pp = tp or of["tp"], 1 if tp else of["pp"]
    if spec_of(of["model"]) is None or tp is None or pp is None:
        return None
    degrees = (tp, pp, of["dp"], of["ep"])
    types = (of["weights"], of["compute"], of["kv"])
    setup, hardware = _setup(of["model"], of["gpu"], types, degrees, engine_of(case), of["link"])
    if figures is FIGURES:
        return setup
    return setup._replace(efficiency=from_figures(figures, hardware, of["compute"], of["weights"], launch_of(case)))


def launch_of(case: Case) -> Launch:
    """How the engine of a case starts its kernels; single kernels were timed as they run, exchanges as PyTorch starts them."""
    if case.source.kind == "micro":
        return "stream" if case.settings["op"] == "all-reduce" else "alone"
    launch: Launch = engines()[engine_of(case)]["launch"]
    return launch


@lru_cache(maxsize=512)
def _setup(name: str, gpu: str, types: tuple[str, str, str], degrees: tuple[int, int, int, int], engine: str, link: str | None) -> Placed:
    (weights, compute, kv), (tp, pp, dp, ep) = types, degrees
    model, hardware = spec_of(name), gpu_of(gpu)
    assert model is not None
    if link == "pcie":
        hardware = hardware._replace(interconnect=PCIE, interconnect_kind="PCIe 4.0 x16")
    size = element_bytes(weights, compute, kv)
    whole = engines()[engine].get("head", False)
    launch: Launch = engines()[engine]["launch"]
    setup = Setup(
        model=model,
        chip=chip_of(hardware, compute, kv),
        size=size,
        head_bytes=HEAD_BITS.get(weights, 8 * size.Bw) / 8 if whole else size.Bx,
        table_bytes=TABLE_BITS[weights] / 8 if weights in TABLE_BITS else size.Bx,
        plan=Plan(tp=tp, dp=dp, ep=ep, node=max(tp * dp, hardware.node_gpus.value if hardware.node_gpus else 8)),
        stages=pp,
        efficiency=from_figures(FIGURES, hardware, compute, weights, launch),
    )
    return setup, hardware


@lru_cache(maxsize=128)
def gpu_of(name: str) -> HardwareSpec:
    """A GPU's spec, read once."""
    return load_hardware(name)


def chip_of(hardware: HardwareSpec, compute: str, kv: str) -> Chip:
    """The GPU's figures for these types; where its matrix units lack one, the rate outside them."""
    peaks = {name: rate.value for name, rate in (hardware.vector_peak | hardware.peak).items()}
    plain = activation_dtype(compute)
    attention = kv if kv in hardware.peak else plain
    bandwidth, capacity = hardware.bandwidth and hardware.bandwidth.value, hardware.memory.value * REPORTED
    return Chip(peaks.get(compute), peaks.get(plain), peaks.get(attention), bandwidth, capacity, links_of(hardware))
