"""From what a user says to a question that can be searched."""

from __future__ import annotations

from typing import Any

from llmcost.ground.errors import InputError, check_count, check_share
from llmcost.model.architecture import forward
from llmcost.model.lora import check_lora
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.training_layout import RECOMPUTE, ZERO, Layout
from llmcost.search.plan_serving import Question as ServingQuestion
from llmcost.search.plan_serving import links_within
from llmcost.search.plan_training import Question
from llmcost.search.space import Choices
from llmcost.serving.estimate import DEFAULT_CONTEXT, workload_of
from llmcost.serving.options import Options
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.conventions import HALF_PRECISION
from llmcost.training.recipe import Recipe, check_recipe
from llmcost.training.step import training_chip
from llmcost.training.train import BATCH_TOKENS, MOST, reached_by

PROMPT, OUTPUT = 1024, 256  # tokens of a request
MOST_GPUS = 10**6
LONGEST = 10  # digits of a degree


def ask(
    model: ModelSpec,
    hardware: HardwareSpec,
    gpus: int,
    global_batch: int | None,
    seq: int | None,
    node: int | None,
    memory_utilization: float | None,
    recipe: Recipe,
    axes: dict[str, str | None],
    recompute: str | None,
) -> Question:
    """Defaults filled in. Raises InputError for what has no answer whatever the layout."""
    longest = model.max_position_embeddings
    seq = min(longest, DEFAULT_CONTEXT) if seq is None else seq
    if not 1 <= seq <= longest:
        raise InputError(f"--seq {seq}: {model.name} takes 1 to {longest:,} positions (max_position_embeddings)")
    node = hardware.gpus_in_a_node() if node is None else node
    batch = max(gpus, BATCH_TOKENS // seq // max(1, gpus) * gpus) if global_batch is None else global_batch
    for name, value, most in (("gpus", gpus, MOST_GPUS), ("global-batch", batch, MOST), ("gpus-per-node", node, MOST)):
        check_count(f"--{name}", value, most)
    share = 1 if memory_utilization is None else memory_utilization
    check_share("--memory-utilization", share)
    check_recipe(recipe)
    if recipe.lora is not None:
        check_lora(forward(model, HALF_PRECISION, Load(1, 1, 1)).layers, recipe.lora)
    chip = training_chip(hardware, recipe, Layout(dp=gpus, node=node))
    chip = chip._replace(links=links_within(chip.links, gpus, node))
    base, reached = Layout(global_batch=batch, node=node), reached_by(hardware, recipe, gpus, None)
    return Question(
        model, hardware, gpus, seq, base, chip.usable * share, chip, reached, recipe, _choices(axes, recompute)
    )


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


def refuse_others(given: dict[str, Any], *, serve: bool) -> None:
    """Raise InputError for an option of the other kind of plan."""
    for name, value in given.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{option}: of training, and --serve plans to serve"
                if serve
                else f"{option}: of serving; give --serve too"
            )


def ask_serving(
    model: ModelSpec,
    hardware: HardwareSpec,
    gpus: int,
    node: int | None,
    limits: tuple[int | None, int | None, int | None, float | None, float | None],
    dtypes: tuple[str | None, str | None, str | None],
    memory_utilization: float | None,
    axes: dict[str, str | None],
) -> ServingQuestion:
    """`limits`: tokens in, out and of a chunk, longest milliseconds to the first and to each other token.

    Raises InputError as `estimate` does.
    """
    prompt, output, chunk, ttft, tpot = limits
    check_count("--gpus", gpus, MOST_GPUS)
    for option, limit in (("--ttft", ttft), ("--tpot", tpot)):
        if limit is not None and not limit > 0:
            raise InputError(f"{option} {limit:g}: milliseconds above 0")
    dtype, weight_dtype, kv_dtype = dtypes
    options = Options(
        prompt=PROMPT if prompt is None else prompt,
        output=OUTPUT if output is None else output,
        chunk=chunk,
        dtype=dtype,
        weight_dtype=weight_dtype,
        kv_dtype=kv_dtype,
        memory_utilization=Options().memory_utilization if memory_utilization is None else memory_utilization,
        gpus_per_node=node,
    )
    workload = workload_of(model, hardware, options)
    held = {axis: _values(axis, text) for axis in ("tp", "pp", "dp", "ep") if (text := axes[axis]) is not None}
    return ServingQuestion(model, hardware, gpus, workload, ttft and ttft / 1000, tpot and tpot / 1000, held)
