"""The page that `llmcost train` prints."""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.ground.units import DAY, HOUR, amount, scaled, seconds, significant
from llmcost.machine.timing import kernel_seconds
from llmcost.model.backward import backward
from llmcost.model.lora import is_trained
from llmcost.model.operators import Collective, Operator, Stored
from llmcost.report.tables import Table
from llmcost.serving.results import leaves
from llmcost.training.activations import kept
from llmcost.training.passes import Setup, forward_pass, kernels
from llmcost.training.results import StageBytes, Train

MOMENTS = {
    "loss": "at the loss",
    "backward": "in the backward pass of the topmost layer",
    "end": "in the backward pass of the lowest layer",
    "update": "at the optimizer's update",
}


LARGE = 1e5  # kWh from which on energy is told in MWh
SHOWN = ("6n", "palm", "megatron-bridge")  # conventions named beside the MFU


class Row(NamedTuple):
    """One operator of a micro-batch on one GPU, all its executions: seconds forward and backward, bytes kept for backward."""

    name: str
    where: str
    times: float
    forward_seconds: float
    backward_seconds: float
    kept_bytes: float


def train_tables(answer: Train) -> list[Table]:
    """The layout, the three bases, the step by cause, the memory by part and stage, and what they mean in words."""
    run, layout = answer.run, answer.layout
    title = (
        f"{answer.model.title} on {run.gpus:,} × {answer.hardware.title}: {run.dtype}, {run.optimizer}, "
        f"{layout.global_batch:,} × {run.seq:,} tokens a step"
    )
    tables = [Table(title, ("", ""), "ll", _layout(answer)), _bases(answer), _causes(answer), _memory(answer)]
    if len(answer.memory.stages) > 1:
        tables.append(_stages(answer))
    tables.append(_interruptions(answer))
    return [*tables, Table("", ("",), "l", (), tuple(_notes(answer)))]


def train_rows(answer: Train) -> list[tuple[str, Any]]:
    """Every figure as (path, value), for CSV."""
    return [(path, value) for path, value in leaves(answer) if not isinstance(value, tuple)]


def operator_rows(at: Setup) -> list[Row]:
    """Every operator of one micro-batch, of all layers."""
    rows = []
    for where, ops in zip(("embedding", "layers", "head"), forward_pass(at), strict=True):
        for op in ops:
            if isinstance(op, Stored):
                continue
            run = kernels([op], at.model, at.recipe)
            ahead = sum(kernel_seconds(run, at.chip, at.efficiency) or ())
            behind = ahead * (
                1 if isinstance(op, Collective) else backward(op, frozen=not is_trained(op, at.recipe.lora))
            )
            rows.append(Row(op.name, where, op.count, ahead, behind, op.count * _kept(op, at)))
    return rows


def _kept(op: Operator, at: Setup) -> float:
    return float(kept(op, at.layout, at.recipe, at.model.norm))


def operator_table(rows: list[Row]) -> Table:
    """The same to be read."""
    total = sum(row.forward_seconds + row.backward_seconds for row in rows)
    cells = [
        (
            f"{row.name}" + (f" × {row.times:,.0f}" if row.times != 1 else ""),
            seconds(row.forward_seconds) if row.forward_seconds else "",
            seconds(row.backward_seconds) if row.backward_seconds else "",
            f"{(row.forward_seconds + row.backward_seconds) / total:.1%}",
            scaled(row.kept_bytes, "B") if row.kept_bytes else "",
        )
        for row in rows
    ]
    return Table(
        "One micro-batch on one GPU, all layers", ("operator", "forward", "backward", "share", "kept"), "lrrrr", cells
    )


def _layout(answer: Train) -> list[tuple[str, str]]:
    at = answer.layout
    degrees = [
        f"{name} {value}"
        for name, value in at._asdict().items()
        if name in ("tp", "cp", "pp", "vp", "dp", "ep") and value != 1
    ]
    words = [", ".join(degrees) or "one GPU", f"ZeRO-{at.zero}" if at.zero else "states on every GPU"]
    if at.tp != 1 and at.sequence_parallel:
        words.append("sequence parallel")
    batches = f"{at.micro_batches:,} micro-batches of {at.micro_batch:,}"
    layers = "" if at.recompute_layers is None else f" of {at.recompute_layers} layers a stage"
    again = "nothing computed again" if at.recompute == "none" else f"{at.recompute} recomputation{layers}"
    return [("Layout", "; ".join([*words, batches, again])), *_adapters(answer)]


def _adapters(answer: Train) -> list[tuple[str, str]]:
    lora, trained = answer.run.lora, answer.run.trained_params
    if lora is None:
        return []
    bits = "" if lora.frozen_bits is None else f"; frozen weights of the layers in {lora.frozen_bits:.2f} bits"
    share = f"{trained:,} parameters trained, {trained / answer.model.params.total:.2%} of the model's"
    return [("LoRA", f"rank {lora.rank} on {', '.join(lora.targets)}: {share}{bits}")]


def _bases(answer: Train) -> Table:
    bases = (answer.textbook, answer.textbook_recompute, answer.limit, answer.expected)
    columns = ("", "textbook 6ND", "textbook 8ND", "limit", "expected")
    rows = [
        ("Step", *(seconds(basis.step_seconds) for basis in bases)),
        ("Tokens a second", *(f"{basis.tokens_per_s:,.0f}" for basis in bases)),
        ("  a GPU", *(f"{basis.tokens_per_s_per_gpu:,.0f}" for basis in bases)),
        (
            f"{amount(answer.run.tokens, 3).replace(' ', '')} tokens",
            *(f"{significant(basis.days)} days" for basis in bases),
        ),
        ("  GPU-hours", *(f"{basis.gpu_hours:,.0f}" for basis in bases)),
    ]
    if answer.dollars is not None:
        price = answer.dollars / answer.gpu_hours
        rows.append(("  dollars", *(f"{basis.gpu_hours * price:,.0f}" for basis in bases)))
    return Table("", columns, "lrrrr", rows)


def causes(answer: Train) -> list[tuple[str, float]]:
    """What the expected step goes into, as far as it shows, with its seconds."""
    b = answer.breakdown
    exposed = [(f"exchanges, {name}", value) for name, value in b.exposed._asdict().items()]
    parts = [("matrix products", b.compute), ("streaming kernels", b.memory), ("recomputation", b.recompute), *exposed]
    return [
        part for part in (*parts, ("pipeline bubble", b.bubble), ("optimizer", b.optimizer)) if part[1] > b.total * 5e-5
    ]


def _causes(answer: Train) -> Table:
    total = answer.breakdown.total
    rows = [
        ("Step, expected", seconds(total), ""),
        *((f"  {name}", seconds(value), f"{value / total:.1%}") for name, value in causes(answer)),
    ]
    return Table("", ("", "", ""), "lrr", rows)


def _memory(answer: Train) -> Table:
    m = answer.memory
    verdict = "fits" if m.fits else "DOES NOT FIT"
    rows = [
        (
            "Memory of a GPU",
            scaled(m.total_bytes, "B"),
            f"of {scaled(m.usable_bytes, 'B')}: {verdict}; peak {MOMENTS[m.peak]}",
        )
    ]
    parts = (
        ("weights", m.params_bytes, ""),
        ("gradients", m.grads_bytes, ""),
        ("optimizer", m.optimizer_bytes, "moments and master weights"),
        ("activations", m.activation_bytes, "kept for the backward pass, of all micro-batches in flight"),
        ("logits and loss", m.logits_bytes, ""),
        ("gathered", m.gathered_bytes, "weights and gradients whole for a while"),
        ("working", m.working_bytes, "gradients of activations, the largest kernel"),
        ("beside them", m.overhead_bytes, "CUDA context, communicators, fragments"),
    )
    rows += [(f"  {name}", scaled(value, "B"), note) for name, value, note in parts if value]
    return Table("", ("", "", ""), "lrl", rows)


def stage_name(answer: Train, stage: StageBytes) -> str:
    """Where in the pipeline it stands: of those between the first and the last, the second keeps most."""
    last = answer.layout.pp - 1
    return (
        "first" if stage.stage == 0 else "last" if stage.stage == last else "second" if last > 1 else str(stage.stage)
    )


def _stages(answer: Train) -> Table:
    rows = [
        (
            stage_name(answer, s),
            f"{s.layers:,.0f}",
            *(scaled(v, "B") for v in (s.params_bytes, s.activation_bytes, s.total_bytes)),
            MOMENTS[s.peak],
        )
        for s in answer.memory.stages
    ]
    return Table("", ("stage", "layers", "weights", "activations", "total", "peak"), "lrrrrl", rows)


def _interruptions(answer: Train) -> Table:
    """The run on the calendar: failures, checkpoints, energy, money."""
    run = answer.with_interruptions
    at, good = run.interruptions, run.interruptions.goodput
    useful = f"{good.progress:.1%} of the time is progress"
    lost = f"one in {_span(at.job_mtbf_seconds)}; restarts take {good.restarts:.1%} of the time, work done again {good.lost:.1%}"
    written = (
        f"every {_span(at.interval_seconds)}, in {_span(at.checkpoint_seconds)}: {good.checkpoints:.1%} of the time"
    )
    rows = [
        ("With interruptions", f"{significant(run.days)} days", f"{run.gpu_hours:,.0f} GPU-hours; {useful}"),
        ("  failures", f"{at.failures:,.0f}", lost),
        ("  checkpoints", scaled(at.checkpoint_bytes, "B"), written),
    ]
    if run.energy_joules is not None:
        kwh = run.energy_joules / 3.6e6
        amount_used = f"{significant(kwh)} kWh" if kwh < LARGE else f"{significant(kwh / 1000)} MWh"
        rows.append(("  energy", amount_used, "TDP times --power-share times --pue"))
    if run.dollars is not None:
        rows.append(("  dollars", f"{run.dollars:,.0f}", ""))
    return Table("", ("", "", ""), "lrl", rows)


def _span(value: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("days", DAY), ("hours", HOUR), ("minutes", 60)):
        if value >= 2 * size:
            return f"{significant(value / size)} {unit}"
    return seconds(value)


def _notes(answer: Train) -> list[str]:
    e = answer.expected
    notes = []
    if answer.change is not None:
        found = (
            f"The cheapest change that makes it fit: {answer.change}."
            if answer.change
            else "No change tried makes it fit."
        )
        notes.append(f"{found} Times are of such a GPU, large enough.")
    if answer.layout.chosen:
        notes.append("What was not given of the layout was chosen: the fastest usual one that fits.")
    band = (
        ""
        if e.error is None
        else f"; mean error {e.error:.0%}: {significant(e.days_low)} to {significant(e.days_high)} days"
    )
    full = "" if answer.run.lora is None else "; of all parameters trained"
    others = ", ".join(f"{each.mfu:.1%} {each.convention}" for each in answer.conventions if each.convention in SHOWN)
    return [
        *notes,
        f"MFU {answer.mfu:.1%}, HFU {answer.hfu:.1%}, expected, of every (query, key) pair; HFU counts what is computed again.",
        f"MFU as others count: {others} (llmcost mfu).",
        f"textbook  FLOPs a parameter and token over {answer_mfu(answer):.0%} of peak (--mfu): 6, or 8 with recomputation{full}",
        "limit     causal FLOPs at peak, nothing computed again, all traffic beside it: no implementation is faster",
        f"expected  {e.basis}{band}",
    ]


def answer_mfu(answer: Train) -> float:
    """The share of the peak that the textbook basis assumes."""
    flops = 6 * answer.model.params.active * answer.run.tokens_per_step
    return float(flops / (answer.textbook.step_seconds * answer.run.gpus * answer.hardware.peak_flops_per_s))
