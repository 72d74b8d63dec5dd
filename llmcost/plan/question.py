"""From what a user says to a question that can be searched."""

from __future__ import annotations

from typing import Any

from llmcost.errors import InputError
from llmcost.estimate import DEFAULT_CONTEXT
from llmcost.plan.search import Question
from llmcost.plan.space import Choices
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.model import ModelSpec
from llmcost.training.answer import BATCH_TOKENS, MOST, NODE
from llmcost.training.layout import RECOMPUTE, ZERO, Layout
from llmcost.training.recipe import Recipe, check_recipe

LONGEST = 10  # digits of a degree


def ask(
    model: ModelSpec,
    hardware: HardwareSpec,
    gpus: int,
    global_batch: int | None,
    seq: int | None,
    node: int | None,
    memory_utilization: float,
    dtype: str,
    optimizer: str,
    axes: dict[str, str | None],
    recompute: str | None,
) -> Question:
    """Defaults filled in. Raises InputError for what has no answer whatever the layout."""
    longest = model.max_position_embeddings
    seq = min(longest, DEFAULT_CONTEXT) if seq is None else seq
    if not 1 <= seq <= longest:
        raise InputError(f"--seq {seq}: {model.name} takes 1 to {longest:,} positions (max_position_embeddings)")
    node = (int(hardware.node_gpus.value) if hardware.node_gpus else NODE) if node is None else node
    batch = max(1, BATCH_TOKENS // seq) if global_batch is None else global_batch
    for name, value in (("gpus", gpus), ("global-batch", batch), ("gpus-per-node", node)):
        if not 1 <= value <= MOST:
            raise InputError(f"--{name} {value}: at least 1 and at most {MOST:,}")
    if not 0 < memory_utilization <= 1:
        raise InputError(f"--memory-utilization {memory_utilization:g}: a share of 1, above 0")
    recipe = Recipe(dtype=dtype, optimizer=optimizer)
    check_recipe(recipe)
    usable = hardware.memory.value * memory_utilization
    return Question(model, hardware, gpus, seq, Layout(global_batch=batch, node=node), usable, recipe, _choices(axes, recompute))


def _choices(axes: dict[str, str | None], recompute: str | None) -> Choices:
    """Axes held at the values that a user lists."""
    chosen: dict[str, Any] = {axis: _values(axis, text) for axis, text in axes.items() if text is not None}
    if recompute is not None:
        chosen["recompute"] = tuple(recompute.split(","))
        for each in chosen["recompute"]:
            if each not in RECOMPUTE:
                raise InputError(f"--recompute {each}: one of {', '.join(RECOMPUTE)}")
    return Choices(**chosen)


def _values(axis: str, text: str) -> tuple[int, ...]:
    option = f"--{axis.replace('_', '-')}"
    if not all(each.isascii() and each.isdigit() and len(each) < LONGEST for each in text.split(",")):
        raise InputError(f"{option} {text}: a whole number, or several as 1,2,4")
    values = tuple(int(each) for each in text.split(","))
    for value in values:
        if axis == "zero" and value not in ZERO:
            raise InputError(f"{option} {value}: one of 0, 1, 2, 3")
        if axis != "zero" and value < 1:
            raise InputError(f"{option} {value}: at least 1")
    return values
