"""How a figure of `llmcost train` comes about: the engine of training, run on symbols instead of numbers."""

from __future__ import annotations

from typing import Any

from llmcost.formulas.finding import wanted
from llmcost.formulas.serving import (
    Explanation,
    explanation_of,
    symbolic_chip,
    symbolic_efficiency,
    symbolic_model,
    symbolic_options,
)
from llmcost.formulas.training_quantities import QUANTITIES
from llmcost.ground.errors import InputError, UnknownFigureError
from llmcost.ground.options import declared
from llmcost.ground.symbols import symbol
from llmcost.machine.efficiency import Efficiency
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.rules import check, shape_of
from llmcost.serving.options import DEGREES
from llmcost.serving.results import leaves
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.options import LAYOUT, Options
from llmcost.training.results import Train
from llmcost.training.setup import setup_of, with_tokens
from llmcost.training.step_time import slowest_stage
from llmcost.training.train import answer_of, band_of_run


def symbolic_layout(layout: Layout) -> Layout:
    """The layout in the letters that its options declare; a degree of 1 is structure, as are chosen stages."""
    told = () if layout.stages is None else ("pp",)
    sizes = {name: (getattr(layout, name), declared(Options)[name]) for name in LAYOUT}
    letters: dict[str, Any] = {
        name: symbol(option.letter, value, option.meaning)
        for name, (value, option) in sizes.items()
        if option.letter and name not in told and not (value == 1 and name in (*DEGREES, "cp", "vp"))
    }
    return layout._replace(**letters)


def symbolic_train(
    model: ModelSpec, hardware: HardwareSpec, options: Options, efficiency: Efficiency | None = None
) -> Train:
    """The answer of `train` with a formula in place of every number. Raises InputError as `train` does."""
    options = with_tokens(options)
    at, chosen = setup_of(model, hardware, options, efficiency)
    check(at.layout, shape_of(model), at.seq)
    letters = at._replace(
        model=symbolic_model(model),
        layout=symbolic_layout(at.layout),
        seq=symbol("s", at.seq, "tokens of a sequence"),
        chip=symbolic_chip(at.chip),
        efficiency=symbolic_efficiency(at.efficiency),
        slowest=slowest_stage(at),
    )
    return answer_of(letters, hardware, symbolic_options(options), chosen, band_of_run(at, hardware, options))


def explain_training(
    model: ModelSpec, hardware: HardwareSpec, options: Options, quantity: str, efficiency: Efficiency | None = None
) -> list[Explanation]:
    """How one figure comes about, or each figure of a group, or that has some words.

    Raises InputError for a figure that does not exist, or that needs a price or another option.
    """
    asked = wanted(quantity, QUANTITIES)
    if not asked:
        raise UnknownFigureError(quantity, QUANTITIES)
    known = dict(leaves(symbolic_train(model, hardware, options, efficiency)))
    found = [explanation_of(path, known[path], QUANTITIES[path], []) for path in asked if known.get(path) is not None]
    if not found:
        why = (
            "too few runs of this kind were published"
            if quantity.startswith("expected.days")
            else f"give {QUANTITIES[asked[0]].source}"
        )
        raise InputError(f"{quantity} cannot be had here: {why}")
    return found
