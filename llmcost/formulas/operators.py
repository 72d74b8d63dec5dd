"""Every operator of a phase as one GPU runs it: shapes and FLOPs in letters beside numbers, bytes, and its time."""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.formulas.serving import symbolic_bytes, symbolic_model, symbolic_workload
from llmcost.ground.algebra import Number, is_one
from llmcost.ground.errors import InputError, check_word
from llmcost.ground.html import html_table
from llmcost.ground.symbols import symbol
from llmcost.ground.units import scaled, seconds
from llmcost.model.operators import Communication, Operator, Shape
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.pipeline import Server, in_flight, rank_share
from llmcost.serving.encoding import inputs, with_towers
from llmcost.serving.estimate import training_reached, workload_of
from llmcost.serving.options import PHASES, Options
from llmcost.serving.server import machine_of, server_of
from llmcost.serving.training_rates import both_ways, forward_kernels
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.ops/1"


class OperatorRow(NamedTuple):
    """One operator of a pass; figures are those of all its executions unless the name says otherwise."""

    operator: str
    part: str
    executions: int
    shape: str  # matrix products in letters, or the array of a collective
    sizes: str  # the same in numbers
    flops_formula: str  # one execution, every pair
    params_formula: str  # one execution
    flops_each: int  # one execution, every pair
    params_each: int
    flops: int
    causal_flops: int  # of the pairs that a causal mask leaves: what is computed in `seconds`
    params: int
    bytes: int
    intensity: float  # causal FLOPs a byte
    seconds: float | None
    share: float | None
    flops_per_s: float | None  # of what is computed, in training with the backward pass

    @property
    def bytes_each(self) -> float:
        """Bytes that one execution moves."""
        return self.bytes / self.executions


class OperatorTotal(NamedTuple):
    """All operators of a phase together. Seconds are None without a GPU, or where a figure of it is not known."""

    flops: int
    causal_flops: int
    params: int
    bytes: int
    intensity: float
    seconds: float | None


class PhaseOperators(NamedTuple):
    """Everything that `llmcost ops` answers: a row an operator, and their totals."""

    schema: str
    model: str
    counted: str  # what of the model
    phase: str
    operators: tuple[OperatorRow, ...]
    total: OperatorTotal

    def to_dict(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return self._asdict() | {"operators": self.rows(), "total": self.total._asdict()}

    def rows(self) -> list[dict[str, Any]]:
        """A row an operator, in base units."""
        return [row._asdict() for row in self.operators]

    def __repr__(self) -> str:
        """How many operators a phase has, their FLOPs and their time in one line."""
        total = self.total
        time = "" if total.seconds is None else f", {seconds(total.seconds)}"
        count = f"{len(self.operators)} operators of {self.model}"
        return f"<{count}, {self.phase}: {scaled(total.flops, 'FLOP')}{time}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


def phase_operators(model: ModelSpec, hardware: HardwareSpec | None, options: Options, phase: str) -> PhaseOperators:
    """Every operator of a phase, and their totals.

    Raises InputError for a phase that does not exist, and as `estimate` does.
    """
    check_word("--phase", phase, PHASES)
    if phase == "train" and model.encoder is not None:
        raise InputError(f"--phase train: {model.name} is an encoder and a decoder, whose training is not counted")
    rows = operator_rows(model, hardware, options, phase)
    figures = ("flops", "causal_flops", "params", "bytes")
    flops, causal, params, moved = (sum(getattr(row, figure) for row in rows) for figure in figures)
    known = [row.seconds for row in rows if row.seconds is not None]
    total = OperatorTotal(flops, causal, params, moved, causal / moved, sum(known) if known else None)
    return PhaseOperators(SCHEMA, model.name, model.counted or "all", phase, tuple(rows), total)


def operator_rows(model: ModelSpec, hardware: HardwareSpec | None, options: Options, phase: str) -> list[OperatorRow]:
    """Every operator of a phase, as one GPU of each pipeline stage runs it on the sequences that go through at a time.

    `train` counts forward FLOPs and bytes, and times forward and backward.
    """
    w = workload_of(model, hardware, options)
    size, chip, efficiency = machine_of(hardware, w)
    sequences = rank_share(w.batch, w.dp)
    if phase == "decode":
        load = Load(rank_share(sequences, in_flight(sequences, w.pp)), 1, w.context, decode=True)
        load = load._replace(memory=w.prompt)
        letters = Load(symbol("b", load.b, "batch"), 1, symbol("c", w.context, "context"), decode=True)
        letters = letters._replace(memory=symbol("s", w.prompt, "tokens of the prompt"))
    else:
        load, s = Load(sequences, w.prompt, w.prompt, cached=phase != "train"), symbol("s", w.prompt, "tokens")
        letters = Load(symbol("b", load.b, "batch"), s, s, cached=load.cached)
    server = server_of(model, size, chip, efficiency, w)
    symbols = server_of(symbolic_model(model), symbolic_bytes(size), chip, efficiency, symbolic_workload(w))
    if phase == "train":
        ops, symbolic = forward_kernels(server, load), forward_kernels(symbols, letters)
        times = both_ways(server, ops, training_reached(hardware, w))
    else:
        ops, symbolic = _on_a_gpu(server, load), _on_a_gpu(symbols, letters)
        given = inputs(server.model, w) if phase == "prefill" else []
        if given:
            ops, symbolic = with_towers(ops, server, given, load.b), with_towers(symbolic, symbols, given, letters.b)
        times = server.seconds_of(ops)
    return [
        _row(op, letter, time, sum(times) if times else None, back=phase == "train")
        for op, letter, time in zip(ops, symbolic, times or [None] * len(ops), strict=True)
        if op.count  # 0: of tokens that this load does not have
    ]


def _on_a_gpu(server: Server, load: Load) -> list[Operator]:
    share = server.share(load).operators()
    return share if is_one(server.pp) else [*share, *server.hop(load)]


def _row(op: Operator, letters: Operator, time: Number, total: Number, *, back: bool) -> OperatorRow:
    """The row of an operator that takes `time` of `total` seconds; `back`: with its backward pass."""
    flops, causal = op.count * op.flops(causal=False), op.count * op.flops(causal=True)
    computed = causal * (1 + op.backward()) if back else causal
    moved = op.count * op.moved_bytes()
    return OperatorRow(
        operator=op.name,
        part=op.part,
        executions=op.count,
        shape=_shapes(letters),
        sizes=_shapes(op),
        flops_formula=str(letters.flops(causal=False)),
        params_formula=str(letters.params()),
        flops_each=op.flops(causal=False),
        params_each=op.params(),
        flops=flops,
        causal_flops=causal,
        params=op.count * op.params(),
        bytes=moved,
        intensity=causal / moved if moved else 0.0,
        seconds=time,
        share=None if time is None else time / total,
        flops_per_s=computed / time if time and computed else None,
    )


def _shapes(op: Operator) -> str:
    """The matrix products of an operator, or the array of a collective."""
    if isinstance(op, Communication):
        rows, width = op.array()
        return f"({rows}, {width}) among {op.among()} GPUs"
    return "; ".join(_product(*shapes) for _, *shapes in op.shapes())


def _product(left: Shape, right: Shape, result: Shape) -> str:
    return f"{_shape(left)} × {_shape(right)} → {_shape(result)}"


def _shape(shape: Shape) -> str:
    return f"({', '.join(str(size) for size in shape)})"
