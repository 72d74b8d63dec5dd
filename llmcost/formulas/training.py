"""How a figure of `llmcost train` comes about: the engine of training, run on symbols instead of numbers."""

from __future__ import annotations

from llmcost.formulas.serving import (
    DEGREES,
    Explanation,
    explanation_of,
    matches,
    symbolic_chip,
    symbolic_degree,
    symbolic_efficiency,
    symbolic_model,
)
from llmcost.formulas.training_quantities import QUANTITIES
from llmcost.ground.errors import InputError, UnknownFigureError
from llmcost.ground.symbols import symbol
from llmcost.machine.efficiency import Efficiency
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.rules import check, shape_of
from llmcost.serving.results import leaves
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.results import Train
from llmcost.training.train import Options, answer_of, setup_of

MORE_DEGREES = DEGREES | {"cp": "GPUs that a sequence is split over", "vp": "chunks of layers a stage"}


def symbolic_layout(layout: Layout) -> Layout:
    """A layout in letters; a degree of 1 stays 1, as nothing is divided."""
    degrees = {name: symbolic_degree(getattr(layout, name), name, meaning) for name, meaning in MORE_DEGREES.items()}
    return layout._replace(
        micro_batch=symbol("b", layout.micro_batch, "sequences of a micro-batch"),
        global_batch=symbol("B", layout.global_batch, "sequences of a step"),
        node=symbol("node", layout.node, "GPUs in a node"),
        **degrees,
    )


def symbolic_train(
    model: ModelSpec, hardware: HardwareSpec, options: Options, efficiency: Efficiency | None = None
) -> Train:
    """The answer of `train` with a formula in place of every number. Raises InputError as `train` does."""
    at, chosen = setup_of(model, hardware, options, efficiency)
    check(at.layout, shape_of(model), at.seq)
    letters = at._replace(
        model=symbolic_model(model),
        layout=symbolic_layout(at.layout),
        seq=symbol("s", at.seq, "tokens of a sequence"),
        chip=symbolic_chip(at.chip),
        efficiency=symbolic_efficiency(at.efficiency),
    )
    asked = options._replace(
        tokens=symbol("D", options.tokens, "training tokens"),
        mfu=symbol("mfu", options.mfu, "assumed share of the peak"),
        price=options.price and symbol("price", options.price, "dollars a GPU-hour"),
    )
    return answer_of(letters, hardware, asked, chosen)


def explain_training(
    model: ModelSpec, hardware: HardwareSpec, options: Options, quantity: str, efficiency: Efficiency | None = None
) -> list[Explanation]:
    """How one figure comes about, or each figure of a group.

    Raises InputError for a figure that does not exist, or that cannot be had without a price.
    """
    wanted = [path for path in QUANTITIES if matches(quantity, path)]
    if not wanted:
        raise UnknownFigureError(quantity, QUANTITIES)
    known = dict(leaves(symbolic_train(model, hardware, options, efficiency)))
    found = [explanation_of(path, known[path], QUANTITIES[path], []) for path in wanted if known.get(path) is not None]
    if not found:
        raise InputError(f"{quantity} cannot be had here: give --price")
    return found
