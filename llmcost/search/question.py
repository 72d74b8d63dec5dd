"""From what a user says to a question that can be searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmcost.ground.errors import InputError, check_count, check_share
from llmcost.ground.options import check_options, declared
from llmcost.model.architecture import forward
from llmcost.model.lora import check_lora
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.search.plan_serving import ServingQuestion, links_within
from llmcost.search.plan_training import TrainingQuestion
from llmcost.search.space import Choices
from llmcost.serving.estimate import DEFAULT_CONTEXT, workload_of
from llmcost.serving.options import DEGREES
from llmcost.serving.options import Options as ServingOptions
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.conventions import HALF_PRECISION
from llmcost.training.options import Options, recipe_of
from llmcost.training.shares import training_efficiency
from llmcost.training.step import training_chip
from llmcost.training.train import BATCH_TOKENS, MOST

PROMPT, OUTPUT = 1024, 256  # tokens of a request
MOST_GPUS = 10**6


def ask(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options,
    held: Mapping[str, tuple[Any, ...]] = {},
    memory_utilization: float | None = None,
) -> TrainingQuestion:
    """A training run whose layout is to be found: `held` has axes with the values that they may take.

    Defaults are filled in. Raises InputError for what has no answer whatever the layout.
    """
    check_options(options)
    _check_held(held, Options)
    gpus, longest, recipe = options.gpus, model.max_position_embeddings, recipe_of(options, hardware)
    seq = min(longest, DEFAULT_CONTEXT) if options.seq is None else options.seq
    if not 1 <= seq <= longest:
        raise InputError(f"--seq {seq}: {model.name} takes 1 to {longest:,} positions (max_position_embeddings)")
    check_count("--gpus", gpus, MOST_GPUS)
    node = options.gpus_per_node or hardware.gpus_in_a_node()
    batch = options.global_batch or max(gpus, BATCH_TOKENS // seq // gpus * gpus)
    check_count("--global-batch", batch, MOST)
    share = 1 if memory_utilization is None else memory_utilization
    check_share("--memory-utilization", share)
    if recipe.lora is not None:
        check_lora(forward(model, HALF_PRECISION, Load(1, 1, 1)).layers, recipe.lora)
    chip = training_chip(hardware, recipe, Layout(dp=gpus, gpus_per_node=node))
    chip = chip._replace(links=links_within(chip.links, gpus, node))
    base = Layout(global_batch=batch, gpus_per_node=node)
    reached = training_efficiency(hardware, options.profile, recipe, gpus)
    choices = Choices(**held)
    return TrainingQuestion(
        model, hardware, gpus, seq, base, chip.usable * share, chip, reached, recipe, choices, options.price
    )


def ask_serving(
    model: ModelSpec,
    hardware: HardwareSpec,
    gpus: int,
    options: ServingOptions,
    held: Mapping[str, tuple[Any, ...]] = {},
    ttft_ms: float | None = None,
    tpot_ms: float | None = None,
    price: float | None = None,
) -> ServingQuestion:
    """Requests that are to be served: `held` has axes with the values that they may take; the longest milliseconds to the
    first and to each other token.

    Raises InputError as `estimate` does.
    """
    check_count("--gpus", gpus, MOST_GPUS)
    _check_held(held, ServingOptions)
    for option, limit in (("--ttft", ttft_ms), ("--tpot", tpot_ms)):
        if limit is not None and not limit > 0:
            raise InputError(f"{option} {limit:g}: milliseconds above 0")
    options = options._replace(prompt=options.prompt or PROMPT, output=options.output or OUTPUT)
    workload = workload_of(model, hardware, options)
    degrees = {axis: held[axis] for axis in DEGREES if axis in held}
    return ServingQuestion(
        model, hardware, gpus, workload, ttft_ms and ttft_ms / 1000, tpot_ms and tpot_ms / 1000, degrees, price=price
    )


def _check_held(held: Mapping[str, tuple[Any, ...]], options: type) -> None:
    """Raise InputError for a value of an axis that makes no sense whatever the model."""
    known = declared(options)
    for name, values in held.items():
        for value in values:
            known[name].check(known[name].flag, value)
