"""`llmcost plan`: the best layout for a training step, and why the others lose."""

from __future__ import annotations

from typing import Annotated

import typer

from llmcost.cli import options as o
from llmcost.errors import InputError


def _axis(name: str, what: str) -> typer.models.OptionInfo:
    """An axis of layouts that may be held at some values."""
    option: typer.models.OptionInfo = typer.Option(f"--{name}", metavar="N[,N...]", help=f"{what}; all that are legal.")
    return option


def plan(
    model: o.ModelName,
    hw: o.Hardware,
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", help="GPUs of the run.")],
    seq: o.Seq = None,
    global_batch: o.GlobalBatch = None,
    gpus_per_node: o.GpusPerNode = None,
    tp: Annotated[str | None, _axis("tp", "Tensor-parallel GPUs")] = None,
    pp: Annotated[str | None, _axis("pp", "Pipeline stages")] = None,
    vp: Annotated[str | None, _axis("vp", "Chunks a stage, interleaved")] = None,
    cp: Annotated[str | None, _axis("cp", "GPUs that share a sequence")] = None,
    ep: Annotated[str | None, _axis("ep", "GPUs that share the experts")] = None,
    dp: Annotated[str | None, _axis("dp", "Data-parallel ranks")] = None,
    zero: Annotated[str | None, _axis("zero", "Stages of ZeRO (3 is FSDP)")] = None,
    micro_batch: Annotated[str | None, _axis("micro-batch", "Sequences of a micro-batch")] = None,
    recompute: Annotated[
        str | None, typer.Option("--recompute", metavar="KIND[,KIND...]", help="none, selective, full; all of them.")
    ] = None,
    dtype: o.Dtype = None,
    optimizer: o.Optimizer = "adam",
    memory_utilization: Annotated[
        float, typer.Option("--memory-utilization", help="Share of the GPU's memory that may be used; what is beside it is counted.")
    ] = 1,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Layouts to list.")] = 10,
    kind: o.ReadAs = None,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """The fastest layout of a training step of MODEL on GPUs, of every legal one, and why the others lose.

    Example: llmcost plan llama3-70b --hw h100 --gpus 1024 --global-batch 1024
    """
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.plan.question import ask
    from llmcost.plan.search import plan as search
    from llmcost.report.plan import plan_document, plan_rows, plan_tables
    from llmcost.report.tables import to_csv
    from llmcost.specs.catalog import load_hardware, load_model

    o.one_format(json=json, csv=csv, markdown=markdown)
    if top < 1:
        raise InputError(f"--top {top}: at least 1")
    axes = {"tp": tp, "pp": pp, "vp": vp, "cp": cp, "ep": ep, "dp": dp, "zero": zero, "micro_batch": micro_batch}
    spec, chip = load_model(model, kind), load_hardware(hw)
    terms = (gpus, global_batch, seq, gpus_per_node, memory_utilization, o.training_dtype(dtype, chip.peak), optimizer)
    question = ask(spec, chip, *terms, axes, recompute)
    found = search(question, top)
    if json:
        show_json(plan_document(question, found))
    elif csv:
        write(to_csv(*plan_rows(question, found)))
    else:
        show_tables(plan_tables(question, found), markdown)
    if not found.best:
        raise typer.Exit(1)
