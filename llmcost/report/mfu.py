"""MFU and HFU under every convention, as a table."""

from __future__ import annotations

from llmcost.ground.units import scaled, significant
from llmcost.model.spec import ModelSpec
from llmcost.report.figures import of_tdp
from llmcost.report.tables import Table
from llmcost.search.prices import StepCost
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.conventions import CONVENTIONS, Convention
from llmcost.training.logs import HF_TRAINER
from llmcost.training.utilization import Logged, Utilizations

PAIRS = {"none": "no attention", "all": "all pairs", "half": "half of the pairs", "causal": "causal pairs"}
RECOMPUTED = {
    "none": "HFU: no recomputation",
    "selective": "HFU: attention is recomputed",
    "full": "HFU: all layers are recomputed",
}


def utilization_table(
    model: ModelSpec, hardware: HardwareSpec, answer: Utilizations, cost: StepCost | None = None
) -> Table:
    """A row for each convention: its MFU and HFU, the model FLOPs that it counts, what it counts, and who uses it."""
    rows = []
    for each in answer.conventions:
        convention = CONVENTIONS[each.convention]
        rows.append(
            (
                convention.name,
                f"{each.mfu:.2%}",
                f"{each.hfu:.2%}",
                scaled(each.model_flops_per_token, "FLOP"),
                counted(convention),
                convention.used_by,
            )
        )
    rate = f"{answer.tokens_per_s_per_gpu:,.0f} tokens/s a GPU"
    title = f"{model.title} on {hardware.title}: {rate}, sequences of {answer.seq:,}, {answer.dtype}"
    notes = [RECOMPUTED[answer.recompute], *_of_log(answer.log)]
    if answer.assumed is not None:
        notes.append(
            f"TFLOPS taken as {answer.assumed} counts them; --convention says as which program they were counted"
        )
    if cost is not None and cost.dollars_per_million_tokens is not None:
        hour = f"${significant(cost.price_per_gpu_hour or 0)} a GPU-hour"
        notes.append(f"A million tokens cost ${significant(cost.dollars_per_million_tokens)} at {hour}")
    if cost is not None and cost.joules_per_million_tokens is not None:
        energy = scaled(cost.joules_per_million_tokens, "J").replace("KJ", "kJ")
        notes.append(f"A million tokens take {energy}, GPUs {of_tdp(cost.power_basis, cost.power_share)}")
    causal = next(each.mfu for each in answer.conventions if each.convention == "megatron-bridge")
    if causal > 1:
        too_much = f"More than the peak of {answer.dtype}, even with causal pairs alone"
        notes.append(f"{too_much}: is the rate that of one GPU, in that data type?")
    columns = ("convention", "MFU", "HFU", "FLOPs a token", "what counts", "used by")
    return Table(title, columns, "lrrrll", rows, tuple(notes))


def _of_log(log: Logged | None) -> list[str]:
    """What a log says, and as whose convention its own figures come out."""
    if log is None:
        return []
    said = [f"{log.step_seconds:.3g} s a step"] if log.step_seconds is not None else []
    said += [f"{log.tflops:,.1f} TFLOPS a GPU"] if log.tflops is not None else []
    said += [f"MFU {log.mfu:.2%}"] if log.mfu is not None else []
    said += [f"{log.memory_bytes / 1e9:.1f} GB at most"] if log.memory_bytes is not None else []
    steps = (
        "whole run" if log.program == HF_TRAINER else "1 step" if log.steps == 1 else f"median of {log.steps:,} steps"
    )
    notes = [f"{log.file} ({log.program}, {steps}){': ' if said else ''}{', '.join(said)}"]
    if log.ratio is not None:
        off = f"{log.ratio - 1:+.1%}"
        unknown = f"by no convention here (nearest {off}): are model, --seq, --gpus and GPU those of the run?"
        notes.append(f"What it printed is counted {f'by {log.convention} ({off})' if log.convention else unknown}")
    return notes


def counted(convention: Convention) -> str:
    """What a convention counts, in a few words."""
    weights = "products" if convention.parameters is None else f"6 a parameter ({convention.parameters})"
    peak = "" if convention.peak is None else f", of {convention.peak / 1e12:g} TFLOPS"
    return f"{weights}, {PAIRS[convention.pairs]}{peak}"
