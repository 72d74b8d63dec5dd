"""`llmcost estimate`, `explain`, `ops`: questions about one model."""

from __future__ import annotations

from typing import Annotated

import typer

from llmcost.cli import options as o


def estimate(
    model: o.ModelName,
    hw: o.OptionalHardware = None,
    batch: o.Batch = 1,
    context: o.Context = None,
    prompt: o.Prompt = None,
    dtype: o.Dtype = None,
    weight_dtype: o.WeightDtype = None,
    kv_dtype: o.KvDtype = None,
    kind: o.ReadAs = None,
    mfu: o.Mfu = 0.5,
    memory_utilization: o.MemoryUtilization = 0.9,
    tokens: o.Tokens = 15 * 10**12,
    output: o.Output = None,
    chunk: o.Chunk = None,
    gpus: o.Gpus = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    dp: o.Dp = None,
    ep: o.Ep = None,
    gpus_per_node: o.GpusPerNode = None,
    concurrency: o.Concurrency = None,
    profile: o.ProfilePath = None,
    rate: Annotated[float | None, typer.Option("--rate", metavar="R", help="Requests a second that arrive.")] = None,
    requests: Annotated[
        int | None, typer.Option("--requests", metavar="N", help="A batch job of so many requests.")
    ] = None,
    launch: Annotated[str, typer.Option("--launch", help="graph or stream: how the engine starts kernels.")] = "graph",
    link: Annotated[str | None, typer.Option("--link", help="pcie3, pcie4 or pcie5: what joins a node's GPUs.")] = None,
    head_dtype: Annotated[str | None, typer.Option("--head-dtype", help="Format of the LM head.")] = None,
    logits: Annotated[str, typer.Option("--logits", help="last or all: of which tokens of a prompt.")] = "last",
    free_memory_fraction: Annotated[
        float | None, typer.Option("--free-memory-fraction", help="Of what the model leaves.")
    ] = None,
    batch_prompts: Annotated[bool, typer.Option("--batch-prompts", help="All prompts at once.")] = False,
    communicator: Annotated[bool, typer.Option("--communicator", help="NCCL on one GPU too.")] = False,
    reserve_output: Annotated[
        bool, typer.Option("--reserve-output", help="Room for all of a request's output.")
    ] = False,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Also every operator of prefill and decode.")] = False,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """Parameters, FLOPs, memory, traffic and speed of MODEL on a GPU.

    Example: llmcost estimate llama3-8b --hw rtx4090
    """
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.report.estimate import estimate_rows, estimate_tables
    from llmcost.report.tables import to_csv
    from llmcost.serving.estimate import Options
    from llmcost.serving.estimate import estimate as compute
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware, load_model

    o.one_format(json=json, csv=csv, markdown=markdown)
    spec, chip = load_model(model, kind), None if hw is None else load_hardware(hw)
    sizes = (batch, context, prompt, dtype, weight_dtype, kv_dtype, mfu, memory_utilization, tokens, output, chunk)
    chosen = Options(*sizes, gpus, tp, pp, dp, ep, gpus_per_node, concurrency, profile, rate, requests)._replace(
        launch=launch,  # type: ignore[arg-type]
        link=link,
        head_dtype=head_dtype,
        logits=logits,
        free_memory_fraction=free_memory_fraction,
        batch_prompts=batch_prompts,
        communicator=communicator,
        reserve_output=reserve_output,
    )
    result = compute(spec, chip, chosen)
    if csv and not breakdown:
        write(to_csv(("quantity", "value", "unit"), estimate_rows(result)))
        return
    phases = {}
    if breakdown:
        from llmcost.report.ops import Row, operator_rows, operator_table

        phases = {phase: operator_rows(spec, chip, chosen, phase) for phase in ("prefill", "decode")}
        if csv:
            rows = [(phase, *row) for phase, each in phases.items() for row in each]
            write(to_csv(("phase", *Row._fields), rows))
            return
    if json:
        operators = {phase: [to_dict(row) for row in rows] for phase, rows in phases.items()}
        show_json(to_dict(result) | ({"operators": operators} if operators else {}))
        return
    tables = estimate_tables(spec, result)
    tables += [operator_table(f"Operators of {phase}", rows) for phase, rows in phases.items()]
    show_tables(tables, markdown)


def explain(
    model: o.ModelName,
    quantity: Annotated[
        str | None, typer.Argument(help="A figure by its JSON path, e.g. flops.per_token.linear; all of them.")
    ] = None,
    hw: o.OptionalHardware = None,
    batch: o.Batch = 1,
    context: o.Context = None,
    prompt: o.Prompt = None,
    dtype: o.Dtype = None,
    weight_dtype: o.WeightDtype = None,
    kv_dtype: o.KvDtype = None,
    kind: o.ReadAs = None,
    mfu: o.Mfu = 0.5,
    memory_utilization: o.MemoryUtilization = 0.9,
    tokens: o.Tokens = 15 * 10**12,
    output: o.Output = None,
    chunk: o.Chunk = None,
    gpus: o.Gpus = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    dp: o.Dp = None,
    ep: o.Ep = None,
    gpus_per_node: o.GpusPerNode = None,
    concurrency: o.Concurrency = None,
    profile: o.ProfilePath = None,
    json: o.Json = False,
) -> None:
    """How a figure of `estimate` comes about: formula in letters, with sizes, value, source.

    Example: llmcost explain llama3-8b kv_cache.bytes
    """
    from llmcost.cli.output import show_json, write
    from llmcost.formulas.serving import explain as compute
    from llmcost.report.explain import explanation_document, explanation_text
    from llmcost.serving.estimate import Options
    from llmcost.specs.catalog import load_hardware, load_model

    spec, chip = load_model(model, kind), None if hw is None else load_hardware(hw)
    sizes = (batch, context, prompt, dtype, weight_dtype, kv_dtype, mfu, memory_utilization, tokens, output, chunk)
    chosen = Options(*sizes, gpus, tp, pp, dp, ep, gpus_per_node, concurrency, profile)
    found = compute(spec, chip, chosen, quantity)
    if json:
        show_json(explanation_document(spec.name, found))
    else:
        write(explanation_text(found) + "\n")


def ops(
    model: o.ModelName,
    hw: o.OptionalHardware = None,
    phase: Annotated[
        str,
        typer.Option("--phase", help="prefill, decode or train (logits of every token, time of forward and backward)."),
    ] = "prefill",
    batch: o.Batch = 1,
    context: o.Context = None,
    prompt: o.Prompt = None,
    dtype: o.Dtype = None,
    weight_dtype: o.WeightDtype = None,
    kv_dtype: o.KvDtype = None,
    kind: o.ReadAs = None,
    gpus: o.Gpus = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    dp: o.Dp = None,
    ep: o.Ep = None,
    gpus_per_node: o.GpusPerNode = None,
    profile: o.ProfilePath = None,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """Every operator of MODEL: shapes, FLOPs, parameters, bytes, intensity; with a GPU, time and share.

    Example: llmcost ops gpt2 --phase train --batch 12
    """
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.ground.errors import InputError
    from llmcost.report.ops import PHASES, Row, operator_rows, operator_table
    from llmcost.report.tables import to_csv
    from llmcost.serving.estimate import Options
    from llmcost.specs.catalog import load_hardware, load_model

    o.one_format(json=json, csv=csv, markdown=markdown)
    if phase not in PHASES:
        raise InputError(f"--phase {phase}: one of {', '.join(PHASES)}")
    spec, chip = load_model(model, kind), None if hw is None else load_hardware(hw)
    chosen = Options(batch, context, prompt, dtype, weight_dtype, kv_dtype, profile=profile)
    rows = operator_rows(
        spec, chip, chosen._replace(gpus=gpus, tp=tp, pp=pp, dp=dp, ep=ep, gpus_per_node=gpus_per_node), phase
    )
    if json:
        total = {
            "flops": sum(r.flops for r in rows),
            "params": sum(r.params for r in rows),
            "bytes": sum(r.bytes for r in rows),
        }
        show_json(
            {
                "schema": "llmcost.ops/1",
                "model": spec.name,
                "phase": phase,
                "operators": [r._asdict() for r in rows],
                "total": total,
            }
        )
    elif csv:
        write(to_csv(Row._fields, rows))
    else:
        where = " on one GPU" * any(degree not in (None, 1) for degree in (gpus, tp, pp, dp, ep))
        title = f"{spec.title}, {phase}{where}: FLOPs of every (query, key) pair; FLOPs, parameters and bytes are of one execution"
        show_tables([operator_table(title, rows)], markdown)
