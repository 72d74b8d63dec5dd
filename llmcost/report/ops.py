"""The operator table: the nanoGPT walk's GEMM table, for any model, with every operator and a total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llmcost.formulas.serving import symbolic_bytes, symbolic_model, symbolic_workload
from llmcost.ground.algebra import Number, is_one
from llmcost.ground.symbols import symbol
from llmcost.ground.units import scaled, seconds
from llmcost.machine.timing import kernel_seconds
from llmcost.model.backward import backward
from llmcost.model.operators import Collective, Operator, Shape
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.pipeline import Server, in_flight, rank_share
from llmcost.report.tables import Table
from llmcost.serving.estimate import Options, machine_of, plan_of, workload_of
from llmcost.specs.hardware import HardwareSpec

PHASES = ("prefill", "decode", "train")


class Row(NamedTuple):
    """One operator of a pass; figures are those of all its executions unless the name says otherwise."""

    operator: str
    part: str
    executions: int
    shape: str  # matrix products in letters, or what GPUs exchange
    sizes: str  # the same in numbers
    flops_formula: str  # one execution, every pair
    params_formula: str  # one execution
    flops_each: int  # one execution, every pair
    params_each: int
    flops: int
    params: int
    bytes: int
    intensity: float
    seconds: float | None
    share: float | None


def operator_rows(model: ModelSpec, hardware: HardwareSpec | None, options: Options, phase: str) -> list[Row]:
    """Every operator of a phase, as one GPU of each pipeline stage runs it, on as many sequences as go through at a
    time.

    `train` counts forward FLOPs and bytes, and times forward and backward.
    """
    w = workload_of(model, hardware, options)
    size, chip, efficiency = machine_of(hardware, w, options.profile)
    sequences = rank_share(w.batch, w.dp)
    if phase == "decode":
        load = Load(rank_share(sequences, in_flight(sequences, w.pp)), 1, w.context, decode=True)
        letters = Load(symbol("b", load.b, "batch"), 1, symbol("c", w.context, "context"), decode=True)
    else:
        load, s = Load(sequences, w.prompt, w.prompt), symbol("s", w.prompt, "tokens")
        letters = Load(symbol("b", load.b, "batch"), s, s)
    everywhere = phase == "train" or w.logits == "all"
    ops = _on_a_gpu(Server(model, size, chip, efficiency, plan_of(w), w.pp, everywhere), load)
    named = symbolic_workload(w)
    symbols = Server(
        symbolic_model(model), symbolic_bytes(size), chip, efficiency, plan_of(named), named.pp, everywhere
    )
    symbolic = _on_a_gpu(symbols, letters)
    times = kernel_seconds(ops, chip, efficiency)
    if times is not None and phase == "train":
        times = [time * (1 + backward(op)) for op, time in zip(ops, times, strict=True)]
    return [
        _row(op, letter, time, sum(times) if times else None)
        for op, letter, time in zip(ops, symbolic, times or [None] * len(ops), strict=True)
    ]


def _on_a_gpu(server: Server, load: Load) -> list[Operator]:
    share = server.share(load).operators()
    return share if is_one(server.pp) else [*share, *server.hop(load)]


def _row(op: Operator, letters: Operator, time: Number, total: Number) -> Row:
    flops = op.count * op.flops(causal=False)
    moved = op.count * op.moved_bytes()
    return Row(
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
        params=op.count * op.params(),
        bytes=moved,
        intensity=flops / moved if moved else 0.0,
        seconds=time,
        share=None if time is None else time / total,
    )


def _shapes(op: Operator) -> str:
    """Its matrix products, or what is exchanged."""
    if isinstance(op, Collective):
        return f"({op.rows}, {op.width}) among {op.ranks} GPUs"
    return "; ".join(_product(*shapes) for _, *shapes in op.shapes())


def _product(left: Shape, right: Shape, result: Shape) -> str:
    return f"{_shape(left)} × {_shape(right)} → {_shape(result)}"


def _shape(shape: Shape) -> str:
    return f"({', '.join(str(size) for size in shape)})"


def operator_table(title: str, rows: Sequence[Row]) -> Table:
    """The rows as a page: shapes in letters above the same in numbers, FLOPs and parameters likewise, a total below."""
    timed = any(row.seconds is not None for row in rows)
    columns = ("operator", "×", "shapes", "FLOPs", "parameters", "bytes", "FLOP/B") + (
        ("time", "share") if timed else ()
    )
    cells: list[tuple[str, ...]] = []
    for row in rows:
        shapes = "\n".join(
            line for pair in zip(row.shape.split("; "), row.sizes.split("; "), strict=True) for line in pair
        )
        cells.append(
            (
                row.operator,
                f"{row.executions:,}",
                shapes,
                f"{row.flops_formula}\n{row.flops_each:,}" if row.flops else "",
                f"{row.params_formula}\n{row.params_each:,}" if row.params else "",
                scaled(row.bytes / row.executions, "B") if row.bytes else "",
                f"{row.intensity:,.1f}" if row.flops else "",
            )
            + ((seconds(row.seconds or 0.0), f"{row.share:.1%}") if timed else ())
        )
    total: list[Any] = [sum(row.flops for row in rows), sum(row.params for row in rows), sum(row.bytes for row in rows)]
    last = (
        "total",
        "",
        "each × its count",
        f"{total[0]:,}",
        f"{total[1]:,}",
        scaled(total[2], "B"),
        f"{total[0] / total[2]:,.1f}",
    )
    cells.append(last + ((seconds(sum(row.seconds or 0.0 for row in rows)), "100%") if timed else ()))
    return Table(title, columns, "lrlrrrr" + "rr" * timed, cells)
