"""`llmcost estimate`, `explain`, `ops`: questions about one model."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from llmcost.cli import launching
from llmcost.cli import options as o
from llmcost.cli.command import Argument, Takes
from llmcost.cli.launching import LaunchAlone, LogAlone
from llmcost.ground.errors import InputError
from llmcost.ground.options import flag, word
from llmcost.serving.options import LAYOUT, MIXES, PHASES, Options

# What no operator of one pass depends on: requests, and what memory is left for.
BEYOND_A_PASS = (
    *MIXES, "output", "chunk", "mfu", "tokens", "memory_utilization", "free_memory_fraction",
    "batch_prompts", "communicator", "reserve_output",
)  # fmt: skip


def estimate(
    model: o.ModelName,
    *,
    hw: o.OptionalHardware = None,
    options: Annotated[Options, Takes(Options)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    breakdown: Annotated[bool, flag("Also every operator of prefill and decode.")] = False,
    launch: LaunchAlone = False,
    log: LogAlone = False,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Parameters, FLOPs, memory, traffic and speed of MODEL on a GPU.

    Example: llmcost estimate llama3-8b --hw rtx4090
    """
    from llmcost.report.estimate import estimate_rows, estimate_tables
    from llmcost.serving.estimate import estimate as compute
    from llmcost.serving.estimate import refuse_of_a_gpu
    from llmcost.specs.catalog import load_hardware

    spec, chip = o.load_model(model, kind, options, allow_unknown), None if hw is None else load_hardware(hw)
    refuse_of_a_gpu(options, chip)
    wanted = ["--launch"] * launch + ["--log"] * log
    launching.check(wanted=wanted, engine=options.engine, others=["--breakdown"] * breakdown)
    if wanted and chip is None:
        raise InputError(f"{wanted[0]}: on which GPU? name one with --hw")
    result = compute(spec, chip, options)
    o.note_torn(spec, result.workload)
    more: Callable[[], dict[str, Any]] = dict
    if chip is not None and options.engine is not None:
        from llmcost.serving.launch_figures import Asked

        asked = Asked(spec, chip, result.workload, result.memory, model)
        if wanted:
            launching.show(form, asked, wanted)
            return
        more = partial(launching.launch_document, asked)
    if not breakdown:
        form.show(
            lambda: result.to_dict() | more(),
            lambda: (("quantity", "value", "unit"), estimate_rows(result)),
            lambda: estimate_tables(spec, result),
            spec.unknown_keys,
        )
        return
    from llmcost.formulas.operators import OperatorRow, phase_operators
    from llmcost.report.ops import operator_table

    phases = {phase: phase_operators(spec, chip, options, phase) for phase in ("prefill", "decode")}
    rows = [(phase, *row) for phase, each in phases.items() for row in each.operators]
    form.show(
        lambda: result.to_dict() | more() | {"operators": {phase: each.rows() for phase, each in phases.items()}},
        lambda: (("phase", *OperatorRow._fields), rows),
        lambda: [
            *estimate_tables(spec, result),
            *(operator_table(f"Operators of {name}", phases[name]) for name in phases),
        ],
        spec.unknown_keys,
    )


def explain(
    model: o.ModelName,
    quantity: Annotated[
        str | None, Argument("QUANTITY", "A figure by its JSON path, e.g. flops.per_token.linear.  [default: all]")
    ] = None,
    *,
    hw: o.OptionalHardware = None,
    options: Annotated[Options, Takes(Options)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form, only=("json",))],
) -> None:
    """How a figure of `estimate` comes about: formula in letters, with sizes, value, source.

    Example: llmcost explain llama3-8b kv_cache.bytes
    """
    from llmcost.cli.output import show_explanations
    from llmcost.formulas.explanations import Explanations
    from llmcost.formulas.serving import explain as compute
    from llmcost.serving.estimate import refuse_of_a_gpu
    from llmcost.specs.catalog import load_hardware

    spec, chip = o.load_model(model, kind, options, allow_unknown), None if hw is None else load_hardware(hw)
    refuse_of_a_gpu(options, chip)
    found = Explanations(spec.name, tuple(compute(spec, chip, options, quantity)))
    show_explanations(found, as_json=form.json, unknown=spec.unknown_keys)


def ops(
    model: o.ModelName,
    *,
    hw: o.OptionalHardware = None,
    phase: Annotated[
        str, word("What runs, prompts whole; train has the backward pass in its times, and all logits.", PHASES)
    ] = PHASES[0],
    options: Annotated[Options, Takes(Options, without=BEYOND_A_PASS)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Every operator of MODEL: shapes, FLOPs, parameters, bytes, arithmetic intensity; with a GPU, time and share.

    Example: llmcost ops gpt2 --phase train --batch 12
    """
    from llmcost.formulas.operators import OperatorRow, phase_operators
    from llmcost.report.ops import operator_table
    from llmcost.serving.estimate import refuse_of_a_gpu
    from llmcost.specs.catalog import load_hardware

    spec, chip = o.load_model(model, kind, options, allow_unknown), None if hw is None else load_hardware(hw)
    refuse_of_a_gpu(options, chip)
    found = phase_operators(spec, chip, options, phase)
    where = " on one GPU" * any(getattr(options, name) not in (None, 1) for name in LAYOUT[:-1])
    counted = (
        "FLOPs of every (query, key) pair, rates of those that a causal mask leaves; "
        "FLOPs, parameters and bytes are of one execution"
    )
    title = f"{spec.title}, {phase}{where}: {counted}"
    form.show(
        found.to_dict,
        lambda: (OperatorRow._fields, found.operators),
        lambda: [operator_table(title, found)],
        spec.unknown_keys,
    )
