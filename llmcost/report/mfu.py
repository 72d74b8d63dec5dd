"""MFU and HFU under every convention, as a table."""

from llmcost.ground.units import scaled
from llmcost.model.spec import ModelSpec
from llmcost.report.tables import Table
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.conventions import CONVENTIONS, Convention
from llmcost.training.utilization import Utilizations


def utilization_table(model: ModelSpec, hardware: HardwareSpec, answer: Utilizations) -> Table:
    """One row a convention."""
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
    title = f"{model.title} on {hardware.title}: {answer.tokens_per_s_per_gpu:,.0f} tokens/s a GPU, sequences of {answer.seq:,}, {answer.dtype}"
    again = {
        "none": "HFU: nothing computed again",
        "selective": "HFU: attention computed again",
        "full": "HFU: all layers computed again",
    }[answer.recompute]
    notes = [again]
    if next(each for each in answer.conventions if each.convention == "megatron-bridge").mfu > 1:
        notes.append(
            f"More than the peak of {answer.dtype}, even of causal pairs alone: is the rate that of one GPU, in that data type?"
        )
    columns = ("convention", "MFU", "HFU", "FLOPs a token", "what counts", "used by")
    return Table(title, columns, "lrrrll", rows, tuple(notes))


def counted(convention: Convention) -> str:
    """What a convention counts, in a few words."""
    weights = "products" if convention.parameters is None else f"6 a parameter ({convention.parameters})"
    pairs = {"none": "no attention", "all": "all pairs", "half": "half of the pairs", "causal": "causal pairs"}[
        convention.pairs
    ]
    peak = "" if convention.peak is None else f", of {convention.peak / 1e12:g} TFLOPS"
    return f"{weights}, {pairs}{peak}"
