"""An engine that was timed here beside its prediction, as a table, as rows and as a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmcost.bench.engines import STEPS, Compared
from llmcost.ground.units import seconds
from llmcost.report.tables import Table

COLUMNS = ("what", "measured_seconds", "predicted_seconds", "off")


def flat(found: Compared) -> list[tuple[str, float, float | None, float | None]]:
    """Rows for CSV: the prompts of the batch together, and a decode step."""
    pairs = (
        ("prompts", found.run.prefill_seconds, found.predicted_prefill_seconds),
        ("decode step", found.run.step_seconds, found.predicted_step_seconds),
    )
    return [(what, took, guess, guess / took - 1 if guess and took else None) for what, took, guess in pairs]


def engine_table(found: Compared) -> Table:
    """The table of one engine: measured, predicted, and how far apart."""
    asked = found.asked
    title = f"{asked.model} on {found.run.version}: {asked.dtype}, batch {asked.b:,}, prompts of {asked.c:,} tokens"
    notes = (
        f"Random weights, greedy, on {found.device}. Decode steps: the mean of {STEPS} after the prompts.",
        f"Predicted: {found.basis}."
        if found.basis
        else "No prediction: no spec has this device's name (--hw names one).",
    )
    return Table(title, ("", "measured", "predicted", "off"), "lrrr", list(_words(found)), notes)


def _words(found: Compared) -> Iterator[tuple[str, ...]]:
    for what, took, guess, off in flat(found):
        yield what, seconds(took), "–" if guess is None else seconds(guess), "–" if off is None else f"{off:+.0%}"


def document(found: Compared) -> dict[str, Any]:
    """The document of `bench MODEL --engine … --json`."""
    asked = found.asked
    return {
        "schema": "llmcost.bench_engine/1",
        "engine": found.engine,
        "version": found.run.version,
        "device": found.device,
        "model": asked.model,
        "workload": {"batch": asked.b, "prompt": asked.c, "dtype": asked.dtype, "decode_steps": STEPS},
        "basis": found.basis,
        **{what.replace(" ", "_"): {"measured_seconds": took, "predicted_seconds": guess, "off": off}
           for what, took, guess, off in flat(found)},
    }  # fmt: skip
