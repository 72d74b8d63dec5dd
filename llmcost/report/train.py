"""The page that `llmcost train` prints."""

from __future__ import annotations

from typing import Any

from llmcost.ground.units import DAY, HOUR, amount, counted, scaled, seconds, significant
from llmcost.report.figures import band_in_words, context_of, degrees_of
from llmcost.report.tables import Alarm, Table
from llmcost.serving.results import leaves
from llmcost.training.breakdown import MicroBatchRow
from llmcost.training.results import StageBytes, Train

MOMENTS = {
    "loss": "at the loss",
    "backward": "in the backward pass of the topmost layer",
    "end": "in the backward pass of the lowest layer",
    "ends": "when embedding and head have their gradients",
    "update": "at the optimizer's update",
}
MEMORY = (  # parts of a GPU's memory: name, field, what it is
    ("weights", "params_bytes", ""),
    ("gradients", "grads_bytes", ""),
    ("optimizer", "optimizer_bytes", "moments, and master weights that are not the weights themselves"),
    ("activations", "activation_bytes", "kept for the backward pass, of all micro-batches in flight"),
    ("logits and loss", "logits_bytes", ""),
    ("gathered", "gathered_bytes", "weights and gradients whole for a while"),
    ("working", "working_bytes", "gradients of activations, the largest kernel"),
    ("overhead", "overhead_bytes", "{context}, communicators, fragmentation"),
)
LARGE = 1e5  # kWh from which on energy is shown in MWh
SHOWN = ("6n", "palm", "megatron-bridge")  # conventions shown beside the MFU
LEAST_SHOWN = 5e-5  # of the step: a cause that takes less is left out


def train_tables(answer: Train) -> list[Table]:
    """The layout, the three bases, the step by cause, the memory by part and stage, and what they mean in words."""
    run, layout = answer.run, answer.layout
    title = (
        f"{answer.model.title} on {run.gpus:,} × {answer.hardware.title}: {run.engine}, {run.dtype}, {run.optimizer}, "
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


def operator_table(rows: list[MicroBatchRow]) -> Table:
    """The operators of a micro-batch: forward and backward time of all executions, and bytes kept for backward."""
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
    columns = ("operator", "forward", "backward", "share", "kept")
    return Table("One micro-batch on one GPU, all layers", columns, "lrrrr", cells)


def _layout(answer: Train) -> list[tuple[str, str]]:
    at = answer.layout
    degrees = degrees_of(at, ("tp", "cp", "pp", "vp", "dp", "ep"))
    words = [degrees or "one GPU", f"ZeRO-{at.zero}" if at.zero else "states on every GPU"]
    if at.zero == 3 and not at.reshard:
        words.append("weights stay gathered")
    if at.stages is not None:
        words.append(f"stages of {','.join(map(str, at.stages))} layers")
    if at.tp != 1 and at.sequence_parallel:
        words.append("sequence parallel")
    if sent := [each for each in (answer.run.all2all, answer.run.dispatch_dtype) if each is not None]:
        words.append(f"tokens to experts: {', '.join(sent)}")
    batches = f"{counted(at.micro_batches, 'micro-batch', 'micro-batches')} of {at.micro_batch:,}"
    layers = "" if at.recompute_layers is None else f" of {at.recompute_layers} layers a stage"
    recomputation = "no recomputation" if at.recompute == "none" else f"{at.recompute} recomputation{layers}"
    return [("Layout", "; ".join([*words, batches, recomputation])), *_adapters(answer)]


def _adapters(answer: Train) -> list[tuple[str, str]]:
    """The line on LoRA, where there is one."""
    lora, trained = answer.run.lora, answer.run.trained_params
    if lora is None:
        return []
    bits = "" if lora.frozen_bits is None else f"; frozen weights of the layers in {lora.frozen_bits:.2f} bits"
    share = f"{trained:,} parameters trained, {trained / answer.model.params.total:.2%} of the model's"
    return [("LoRA", f"rank {lora.rank} on {', '.join(lora.targets)}: {share}{bits}")]


def _bases(answer: Train) -> Table:
    bases = (answer.textbook, answer.textbook_recompute, answer.limit, answer.expected)
    rules = ("textbook 6ND", "textbook 8ND") if answer.run.lora is None else ("textbook 4ND", "textbook 6ND")
    columns = ("", *rules, "limit", "expected")
    length = f"{amount(answer.run.tokens, 3).replace(' ', '')} tokens"
    rows = [
        ("Step", *(seconds(basis.step_seconds) for basis in bases)),
        ("Tokens a second", *(f"{basis.tokens_per_s:,.0f}" for basis in bases)),
        ("  a GPU", *(f"{basis.tokens_per_s_per_gpu:,.0f}" for basis in bases)),
        (length, *(_length(basis.days) for basis in bases)),
        ("  GPU-hours", *(_whole(basis.gpu_hours) for basis in bases)),
    ]
    if answer.dollars is not None:
        rows.append(("  dollars", *(_whole(basis.dollars or 0) for basis in bases)))
    return Table("", columns, "lrrrr", rows, last=("expected",))


def _whole(value: float) -> str:
    """An amount without decimals, or where it is small to three figures."""
    return f"{value:,.0f}" if value >= 100 or value == 0 else significant(value)


def causes(answer: Train) -> list[tuple[str, float]]:
    """Seconds of the expected step by cause, without causes that round to 0 %; of communication, what nothing hides."""
    b = answer.breakdown
    parts = (
        ("matrix products", b.compute),
        ("elementwise kernels", b.memory),
        ("waiting for the host", b.host),
        ("recomputation", b.recompute),
        *((f"communication, {name}", value) for name, value in b.exposed._asdict().items()),
        ("pipeline bubble", b.bubble),
        ("optimizer", b.optimizer),
    )
    return [(name, value) for name, value in parts if value > b.total * LEAST_SHOWN]


def _causes(answer: Train) -> Table:
    total = answer.breakdown.total
    rows = [
        ("Step, expected", seconds(total), ""),
        *((f"  {name}", seconds(value), f"{value / total:.1%}") for name, value in causes(answer)),
    ]
    return Table("", ("", "", ""), "lrr", rows)


def _memory(answer: Train) -> Table:
    m = answer.memory
    fits = m.total_bytes <= m.usable_bytes  # of the GPU alone: its host or drives say so for themselves
    room = f"of {scaled(m.usable_bytes, 'B')}: {'fits' if fits else 'DOES NOT FIT'}; peak {MOMENTS[m.peak]}"
    context = context_of(answer.hardware)
    parts = [(name, getattr(m, field), note.format(context=context)) for name, field, note in MEMORY]
    rows = [("Memory of a GPU", scaled(m.total_bytes, "B"), room if fits else Alarm(room))]
    rows += [(f"  {name}", scaled(value, "B"), note) for name, value, note in parts if value]
    if m.host_place:
        holds = not m.host_usable_bytes or m.host_bytes <= m.host_usable_bytes
        there = f"of {scaled(m.host_usable_bytes, 'B')}{'' if holds else ': DOES NOT FIT'}"
        there = there if m.host_usable_bytes else "of what --nvme-tb says"
        name = f"{m.host_place[0].upper()}{m.host_place[1:]}, a GPU"
        rows.append((name, scaled(m.host_bytes, "B"), there if holds else Alarm(there)))
    return Table("", ("", "", ""), "lrl", rows)


def stage_name(answer: Train, stage: StageBytes) -> str:
    """Which stage of the pipeline it is. The second stands for all between first and last, as it keeps most of them."""
    if stage.stage == 0:
        return "first"
    if stage.stage == answer.layout.pp - 1:
        return "last"
    return "second" if answer.layout.stages is None else f"{stage.stage + 1:,}"


def _stages(answer: Train) -> Table:
    rows = []
    took: list[tuple[str, ...]] = [(seconds(each),) for each in answer.breakdown.stages]
    took = took or [()] * len(answer.memory.stages)
    for stage, time in zip(answer.memory.stages, took, strict=True):
        shown = (stage.params_bytes, stage.activation_bytes, stage.total_bytes)
        sizes = (scaled(value, "B") for value in shown)
        rows.append((stage_name(answer, stage), f"{stage.layers:,.0f}", *time, *sizes, MOMENTS[stage.peak]))
    times = ("a micro-batch",) if answer.breakdown.stages else ()
    columns = ("stage", "layers", *times, "weights", "activations", "total", "peak")
    return Table("", columns, "l" + "r" * (len(columns) - 2) + "l", rows)


def _interruptions(answer: Train) -> Table:
    """The run on the calendar: failures, checkpoints, energy, money."""
    run = answer.with_interruptions
    at, good = run.interruptions, run.interruptions.goodput
    hours = f"{run.gpu_hours:,.0f}" if run.gpu_hours >= 10 else significant(run.gpu_hours)
    spent = f"{hours} GPU-hours; {good.progress:.1%} of the time is progress"
    restarts = f"restarts take {good.restarts:.1%} of the time, work done again {good.lost:.1%}"
    written = f"every {_span(at.interval_seconds)}, in {_span(at.checkpoint_seconds)}"
    rows = [
        ("With interruptions", _length(run.days), spent),
        ("  failures", f"{at.failures:,.0f}", f"one in {_span(at.job_mtbf_seconds)}; {restarts}"),
        ("  checkpoints", scaled(at.checkpoint_bytes, "B"), f"{written}: {good.checkpoints:.1%} of the time"),
    ]
    if run.energy_joules is not None:
        kwh = run.energy_joules / 3.6e6
        energy = f"{significant(kwh)} kWh" if kwh < LARGE else f"{significant(kwh / 1000)} MWh"
        rows.append(("  energy", energy, f"{run.power_share:.0%} of TDP times --pue; {run.power_basis}"))
    if run.dollars is not None:
        rows.append(("  dollars", f"{run.dollars:,.0f}", ""))
    if run.carbon_grams is not None:
        tonnes = run.carbon_grams / 1e6
        carbon = f"{significant(tonnes)} t" if tonnes >= 1 else f"{significant(1000 * tonnes)} kg"
        rows.append(("  CO2", carbon, "the energy times --carbon"))
    return Table("", ("", "", ""), "lrl", rows)


SPANS = (("days", DAY), ("hours", HOUR), ("minutes", 60))


def _span(value: float) -> str:
    """Seconds in the largest unit of which there are at least two."""
    for unit, size in SPANS:
        if value >= 2 * size:
            return f"{significant(value / size)} {unit}"
    return seconds(value)


def _length(days: float) -> str:
    """How long a run takes: in days, or where that is less than one, in the unit that a person would use."""
    return f"{significant(days)} days" if days >= 1 else _span(days * DAY)


def _from_to(low: float, high: float) -> str:
    """Days in which a run may end, in one unit."""
    unit, size = next((each for each in SPANS if high * DAY >= 2 * each[1]), ("s", 1))
    return f"{significant(low * DAY / size)} to {significant(high * DAY / size)} {unit}"


def _notes(answer: Train) -> list[str]:
    """What would make it fit, what was chosen, MFU by convention, and what the bases are."""
    e = answer.expected
    notes = []
    if answer.change is not None:
        change = f"The cheapest change that makes it fit: {answer.change}."
        found = change if answer.change else "No change tried makes it fit."
        notes.append(f"{found} The times are those of such a GPU with enough memory.")
    if answer.layout.chosen:
        found = "What was not given of the layout was chosen: the fastest usual one that fits."
        none = "What was not given of the layout was chosen: no usual one fits; this needs the least."
        notes.append(found if answer.change is None else none)
    kind = f" ({answer.accuracy.of})" if answer.accuracy.of else ""
    days = "" if e.error is None else f"; {_from_to(e.days_low, e.days_high)}"
    rule = "6, or 8 with recomputation"
    if answer.run.lora is not None:
        rule = "4 of frozen and 6 of trained ones, or 6 and 8 with recomputation"
    share = f"{answer.run.mfu_assumed:.0%} of peak (--mfu)"
    others = ", ".join(f"{each.mfu:.1%} {each.convention}" for each in answer.conventions if each.convention in SHOWN)
    return [
        *notes,
        f"MFU {answer.mfu:.1%}, HFU {answer.hfu:.1%}, expected, of every (query, key) pair; HFU counts recomputation.",
        f"MFU as others count: {others} (llmcost mfu).",
        f"textbook  FLOPs a parameter and token over {share}: {rule}",
        "limit     no implementation is faster: causal FLOPs at peak, no recomputation, all traffic at the same time",
        f"expected  {e.basis}, and what {answer.run.engine} does in its own way",
        f"error     {band_in_words(answer.accuracy)}{kind}{days}",
    ]
