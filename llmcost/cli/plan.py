"""`llmcost plan`: the best layout for a training step or to serve, and why the others lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcost.cli import options as o
from llmcost.ground.errors import InputError

if TYPE_CHECKING:
    from llmcost.model.spec import ModelSpec
    from llmcost.report.tables import Table
    from llmcost.specs.hardware import HardwareSpec
    from llmcost.training.recipe import Recipe


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
    optimizer: o.Optimizer = "adam",
    lora_rank: o.LoraRank = None,
    lora_targets: o.LoraTargets = None,
    qlora: o.Qlora = False,
    serve: Annotated[bool, typer.Option("--serve", help="Plan to serve requests, not to train.")] = False,
    prompt: Annotated[
        int | None,
        typer.Option("--prompt", parser=o.length, metavar="TOKENS", help="Of a request, with --serve; 1024."),
    ] = None,
    output: Annotated[
        int | None,
        typer.Option("--output", parser=o.length, metavar="TOKENS", help="That a request gives, with --serve; 256."),
    ] = None,
    chunk: o.Chunk = None,
    ttft: Annotated[
        float | None,
        typer.Option("--ttft", metavar="MS", help="With --serve, the longest time to the first token; any."),
    ] = None,
    tpot: Annotated[
        float | None,
        typer.Option("--tpot", metavar="MS", help="With --serve, the longest time of each other token; any."),
    ] = None,
    dtype: o.Dtype = None,
    weight_dtype: o.WeightDtype = None,
    kv_dtype: o.KvDtype = None,
    memory_utilization: Annotated[
        float | None,
        typer.Option(
            "--memory-utilization", help="Share of the GPU's memory that may be used; 1, or 0.9 with --serve."
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Layouts to list.")] = 10,
    kind: o.ReadAs = None,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """The fastest layout of a training step of MODEL on GPUs, of every legal one, and why the others lose.

    With --serve, the layout and the requests in flight that give most tokens a second a GPU within limits on waiting.

    Example: llmcost plan llama3-70b --hw h100 --gpus 1024 --global-batch 1024
    """
    from llmcost.model.lora import lora_of
    from llmcost.search.question import refuse_others
    from llmcost.specs.catalog import load_hardware, load_model
    from llmcost.training.recipe import Recipe

    o.one_format(json=json, csv=csv, markdown=markdown)
    if top < 1:
        raise InputError(f"--top {top}: at least 1")
    axes = {"tp": tp, "pp": pp, "vp": vp, "cp": cp, "ep": ep, "dp": dp, "zero": zero, "micro_batch": micro_batch}
    training = {
        "seq": seq,
        "global_batch": global_batch,
        "recompute": recompute,
        "lora_rank": lora_rank,
        **{name: axes[name] for name in ("vp", "cp", "zero", "micro_batch")},
    }
    serving = {
        "prompt": prompt,
        "output": output,
        "chunk": chunk,
        "ttft": ttft,
        "tpot": tpot,
        "weight_dtype": weight_dtype,
        "kv_dtype": kv_dtype,
    }
    refuse_others(training if serve else serving, serve=serve)
    spec, chip = load_model(model, kind), load_hardware(hw)
    shown = (top, json, csv, markdown)
    if serve:
        limits = (prompt, output, chunk, ttft, tpot)
        found = _serving(
            spec, chip, gpus, gpus_per_node, limits, (dtype, weight_dtype, kv_dtype), memory_utilization, axes, shown
        )
    else:
        recipe = Recipe(
            o.training_dtype(dtype, chip.peak), optimizer, lora=lora_of(lora_rank, lora_targets, qlora=qlora)
        )
        terms = (gpus, global_batch, seq, gpus_per_node, memory_utilization, recipe)
        found = _training(spec, chip, terms, axes, recompute, shown)
    if not found:
        raise typer.Exit(1)


def _training(
    spec: ModelSpec,
    chip: HardwareSpec,
    terms: tuple[int, int | None, int | None, int | None, float | None, Recipe],
    axes: dict[str, str | None],
    recompute: str | None,
    shown: tuple[int, bool, bool, bool],
) -> bool:
    """Search, show, and say whether anything was found."""
    from llmcost.report.plan import plan_tables
    from llmcost.search.plan_training import plan as search
    from llmcost.search.question import ask

    found = search(ask(spec, chip, *terms, axes, recompute), shown[0])
    _show(found, plan_tables, shown)
    return bool(found.best)


def _serving(
    spec: ModelSpec,
    chip: HardwareSpec,
    gpus: int,
    node: int | None,
    limits: tuple[int | None, int | None, int | None, float | None, float | None],
    dtypes: tuple[str | None, str | None, str | None],
    memory_utilization: float | None,
    axes: dict[str, str | None],
    shown: tuple[int, bool, bool, bool],
) -> bool:
    """The same for serving."""
    from llmcost.report.plan_serving import serving_tables
    from llmcost.search.plan_serving import plan_serving
    from llmcost.search.question import ask_serving

    found = plan_serving(ask_serving(spec, chip, gpus, node, limits, dtypes, memory_utilization, axes), shown[0])
    _show(found, serving_tables, shown)
    return bool(found.best)


def _show(found: Any, tables: Callable[[Any], list[Table]], shown: tuple[int, bool, bool, bool]) -> None:
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.report.tables import to_csv

    _, json, csv, markdown = shown
    if json:
        show_json(found.to_dict())
    elif csv:
        write(to_csv(found.columns, [list(row.values()) for row in found.rows()]))
    else:
        show_tables(tables(found), markdown)
