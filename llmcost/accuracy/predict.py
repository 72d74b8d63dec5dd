"""A case in, predictions out: what the engine expects and its limit, beside each figure that was measured.

One small function a phase, in a table: a new kind of measurement is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from llmcost.accuracy.cases import Case, engines
from llmcost.accuracy.models import spec_of
from llmcost.algebra import Number
from llmcost.architecture import body, head
from llmcost.counting import count_pass, kept_bytes, stored_bytes
from llmcost.efficiency import Efficiency, default_for
from llmcost.estimate import links_of
from llmcost.memory import step_peak
from llmcost.operators import Lookup, Operator
from llmcost.parallel import Plan, shard
from llmcost.sizes import ElementBytes, Load, activation_dtype, element_bytes
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.model import ModelSpec
from llmcost.timing import Chip, bound, kernel_seconds
from llmcost.units import HEAD_BITS, TABLE_BITS


class Answer(NamedTuple):
    """One measured figure and what was predicted for it, in the figure's own unit; None where nothing could be."""

    quantity: str
    measured: float
    expected: float | None
    limit: float | None


class Pass(NamedTuple):
    """Seconds of one pass through the model: as expected, and at least."""

    expected: float
    limit: float

    def times(self, count: float) -> Pass:
        """So many of them, one after the other."""
        return Pass(count * self.expected, count * self.limit)

    def plus(self, other: Pass) -> Pass:
        """This one and then the other."""
        return Pass(self.expected + other.expected, self.limit + other.limit)


class Setup(NamedTuple):
    """A model as a case ran it: on which chip, in which types, how divided."""

    model: ModelSpec
    hardware: HardwareSpec
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

    def run(self, load: Load, positions: Number = 1) -> Pass | None:
        """Time of one pass; None where a figure of the chip that it needs is not known."""
        operators = self.operators(load, positions)
        seconds = kernel_seconds(operators, self.chip, self.efficiency)
        least = bound(count_pass(operators), self.chip, "", "").seconds()
        return None if seconds is None or least is None else Pass(sum(seconds), least)

    def step(self, batch: Number, context: Number) -> Pass | None:
        """One decode step."""
        return self.run(Load(batch, 1, context, decode=True))

    def prompt(self, batch: Number, length: Number, positions: Number = 1) -> Pass | None:
        """A whole prompt of every sequence."""
        return self.run(Load(batch, length, length), positions)


def setup_of(case: Case) -> Setup | None:
    """How a case ran; None where its model's shape is not known."""
    of = case.settings
    model = spec_of(of["model"])
    if model is None or of["tp"] is None or of["pp"] is None:
        return None
    return _setup(of["model"], of["gpu"], of["weights"], of["compute"], of["kv"], of["tp"], of["pp"], case.engine)


@lru_cache(maxsize=256)
def _setup(name: str, gpu: str, weights: str, compute: str, kv: str, tp: int, pp: int, engine: str) -> Setup:
    model, hardware = spec_of(name), load_hardware(gpu)
    assert model is not None
    size = element_bytes(weights, compute, kv)
    whole = engines()[engine].get("head", False)
    return Setup(
        model=model,
        hardware=hardware,
        chip=chip_of(hardware, compute, kv),
        size=size,
        head_bytes=HEAD_BITS.get(weights, 8 * size.Bw) / 8 if whole else size.Bx,
        table_bytes=TABLE_BITS[weights] / 8 if weights in TABLE_BITS else size.Bx,
        plan=Plan(tp=tp, node=max(tp, hardware.node_gpus.value if hardware.node_gpus else 8)),
        stages=pp,
        efficiency=default_for(hardware),
    )


def chip_of(hardware: HardwareSpec, compute: str, kv: str) -> Chip:
    """The GPU's figures for these types; where its matrix units lack one, the rate outside them."""
    peaks = {name: rate.value for name, rate in (hardware.vector_peak | hardware.peak).items()}
    plain = activation_dtype(compute)
    attention = kv if kv in hardware.peak else plain
    bandwidth = hardware.bandwidth and hardware.bandwidth.value
    return Chip(peaks.get(compute), peaks.get(plain), peaks.get(attention), bandwidth, hardware.memory.value, links_of(hardware))


# -- one function a phase ---------------------------------------------------------------------------------


def decode(case: Case) -> Iterator[Answer]:
    """Tokens a second of a batch that decodes, at the context halfway through."""
    setup, of = setup_of(case), case.settings
    step = setup and setup.step(of["batch"], (of["prompt"] or 0) + of["output"] / 2)
    yield _rate(case, "decode_tokens_per_s", of["batch"], step)


def prefill(case: Case) -> Iterator[Answer]:
    """Time of a batch's whole prompt, or its tokens a second; a plain forward pass computes all logits."""
    setup, of = setup_of(case), case.settings
    every = of["prompt"] if case.engine == "transformers-eager" else 1
    run = setup and setup.prompt(of["batch"], of["prompt"], every)
    for quantity in case.measured:
        if quantity == "prefill_tokens_per_s":
            stages = of["pp"]  # work on different parts of the prompt at a time, at best
            yield _rate(case, quantity, of["batch"] * of["prompt"], run and Pass(run.expected, run.limit / stages))
        elif quantity in ("first_token_seconds", "latency_seconds"):
            yield _time(case, quantity, run)


def request(case: Case) -> Iterator[Answer]:
    """A batch that starts and ends together: its prompts, then the steps that are left."""
    setup, of = setup_of(case), case.settings
    first = setup and setup.prompt(of["batch"], of["prompt"])
    step = setup and setup.step(of["batch"], of["prompt"] + of["output"] / 2)
    whole = first and step and first.plus(step.times(of["output"] - 1))
    for quantity in case.measured:
        if quantity == "latency_seconds":
            yield _time(case, quantity, whole)
        elif quantity == "output_tokens_per_s":
            yield _rate(case, quantity, of["batch"] * of["output"], whole)
        elif quantity == "first_token_seconds":
            yield _time(case, quantity, first)
        elif quantity == "token_seconds":
            yield _time(case, quantity, step)


PREDICTORS: dict[str, Callable[[Case], Iterator[Answer]]] = {"decode": decode, "prefill": prefill, "request": request}


def answers(case: Case) -> list[Answer]:
    """Every figure of a case that can be predicted."""
    predictor = PREDICTORS.get(case.settings["phase"] or case.settings["op"] or "")
    return [] if predictor is None else list(predictor(case))


def _time(case: Case, quantity: str, run: Pass | None) -> Answer:
    return Answer(quantity, case.measured[quantity], run and run.expected, run and run.limit)


def _rate(case: Case, quantity: str, amount: float, run: Pass | None) -> Answer:
    return Answer(quantity, case.measured[quantity], run and amount / run.expected, run and amount / run.limit)
