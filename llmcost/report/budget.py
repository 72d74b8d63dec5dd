"""What scaling laws make of a budget, as tables."""

from __future__ import annotations

from llmcost.ground.units import amount, significant
from llmcost.report.tables import Table
from llmcost.training.scaling import Budget


def _times(value: float) -> str:
    """How many times, in digits that can be read."""
    return significant(value) if value < 1e6 else f"{value:.0e}"


def budget_tables(answer: Budget) -> list[Table]:
    """A row for each law, then what a given model is worth."""
    rows = [
        (
            each.law,
            amount(each.params, 3),
            amount(each.tokens, 3),
            f"{each.tokens_per_param:.1f}",
            f"{each.loss:.3f}",
            f"{each.fitted_from_flops:.0e} to {each.fitted_to_flops:.0e}"
            + (f", stretched {_times(each.stretched)} times" if each.stretched > 1 else ""),
        )
        for each in answer.laws
    ]
    title = f"{answer.flops:.3g} training FLOPs"
    if answer.gpu_hours is not None and answer.mfu is not None:
        title += f": {answer.gpu_hours:,.0f} hours of {answer.hardware} at {answer.mfu:.0%} of its bf16 peak"
    notes = tuple(f"{each.law}: {each.source}{'; ' if each.note else ''}{each.note}" for each in answer.laws)
    columns = ("law", "parameters", "tokens", "tokens a parameter", "loss", "fitted on FLOPs")
    tables = [Table(title, columns, "lrrrrl", rows, (*notes, "loss: nats a token by chinchilla-3's surface."))]
    worth = answer.worth
    if worth is not None:
        spare = worth.flops / worth.least_flops
        words = f"{amount(worth.params, 3)} parameters on {amount(worth.tokens, 3)} tokens: {worth.flops:.3g} FLOPs, "
        words += (
            f"loss {worth.loss:.3f}; the best split reaches that with {worth.least_flops:.3g}, {spare:.2f} times less"
        )
        tables.append(Table("", ("",), "l", (), (words,)))
    return tables
