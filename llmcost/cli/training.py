"""`llmcost train`: a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcost.cli import options as o
from llmcost.ground.errors import InputError


def train(
    model: o.ModelName,
    hw: o.Hardware,
    gpus: o.AllGpus = None,
    tokens: o.Tokens = 15 * 10**12,
    seq: o.Seq = None,
    micro_batch: o.MicroBatch = None,
    global_batch: o.GlobalBatch = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    vp: o.Vp = None,
    cp: o.Cp = None,
    ep: o.Ep = None,
    etp: o.Etp = None,
    dp: o.Dp = None,
    zero: o.Zero = None,
    reshard: o.Reshard = None,
    shard: o.Shard = None,
    recompute: o.Recompute = None,
    recompute_layers: o.RecomputeLayers = None,
    sequence_parallel: o.SequenceParallel = None,
    schedule: o.Schedule = None,
    context: o.ContextParallel = None,
    optimizer: o.Optimizer = "adam",
    dtype: o.Dtype = None,
    unfused_attention: Annotated[
        bool, typer.Option("--unfused-attention", help="Scores are written to memory, without FlashAttention.")
    ] = False,
    kernels: o.Kernels = "fused",
    overlap: o.Overlap = None,
    gpus_per_node: o.GpusPerNode = None,
    price: o.Price = None,
    profile: o.TrainingProfile = None,
    plot: o.Plot = None,
    lora_rank: o.LoraRank = None,
    lora_targets: o.LoraTargets = None,
    qlora: o.Qlora = False,
    mtbf_hours: Annotated[
        float | None,
        typer.Option("--mtbf-hours", metavar="HOURS", help="GPU-hours between failures; 50,677, Llama 3's."),
    ] = None,
    restart_minutes: Annotated[
        float | None, typer.Option("--restart-minutes", metavar="MINUTES", help="From a failure to the next step; 10.")
    ] = None,
    checkpoint_minutes: Annotated[
        float | None,
        typer.Option("--checkpoint-minutes", metavar="MINUTES", help="Between checkpoints; what loses the least."),
    ] = None,
    checkpoint_gb_per_s: Annotated[
        float | None,
        typer.Option(
            "--checkpoint-gb-per-s", metavar="GB/S", help="Of one GPU, writing a checkpoint; 0.089, Megatron-LM's."
        ),
    ] = None,
    power_share: Annotated[
        float, typer.Option("--power-share", metavar="SHARE", help="Of its TDP, a GPU's mean draw.")
    ] = 1,
    pue: Annotated[
        float, typer.Option("--pue", metavar="FACTOR", help="Energy of the data centre over that of its GPUs.")
    ] = 1,
    mfu: o.Mfu = 0.5,
    kind: o.ReadAs = None,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain", metavar="FIGURE", help="How a figure comes about, by its JSON path, e.g. breakdown.bubble."
        ),
    ] = None,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Also every operator of a micro-batch.")] = False,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """Step, MFU, memory, days and GPU-hours of training MODEL on many GPUs.

    What is not given of the layout is chosen: the fastest usual one that fits.

    Example: llmcost train llama3-8b --hw h100 --gpus 8 --tokens 15T
    """
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.model.lora import lora_of
    from llmcost.report.tables import to_csv
    from llmcost.report.train import operator_table, train_rows, train_tables
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware, load_model
    from llmcost.training.breakdown import MicroBatchRow, micro_batch_rows
    from llmcost.training.interruptions import reliability_of
    from llmcost.training.recipe import Overlap, Recipe, overlap_of
    from llmcost.training.train import Options, setup_of
    from llmcost.training.train import train as compute

    o.one_format(json=json, csv=csv, markdown=markdown)
    spec, chip = load_model(model, kind), load_hardware(hw)
    layout = {
        "tp": tp, "pp": pp, "vp": vp, "cp": cp, "ep": ep, "etp": etp, "dp": dp, "zero": zero, "reshard": reshard, "shard": shard,
        "recompute": recompute, "recompute_layers": recompute_layers, "sequence_parallel": sequence_parallel, "schedule": schedule,
        "context": context, "micro_batch": micro_batch, "node": gpus_per_node,
    }  # fmt: skip
    recipe = Recipe(
        dtype=o.training_dtype(dtype, chip.peak),
        optimizer=optimizer,
        attention="unfused" if unfused_attention else "fused",
        kernels=kernels,
        loss="plain" if kernels == "eager" else "in-place",
        overlap=Overlap() if overlap is None else overlap_of(overlap),
        lora=lora_of(lora_rank, lora_targets, qlora=qlora),
    )
    reliability = reliability_of(mtbf_hours, restart_minutes, checkpoint_minutes, checkpoint_gb_per_s)
    options = Options(
        gpus, tokens, seq, global_batch, layout, recipe, mfu, price, reliability, power_share, pue, profile
    )
    if explain is not None:
        from llmcost.formulas.explanations import Explanations
        from llmcost.formulas.training import explain_training
        from llmcost.report.explain import explanation_text

        if csv or markdown or breakdown:
            raise InputError("--explain: as text, or with --json")
        found = Explanations(spec.name, tuple(explain_training(spec, chip, options, explain)))
        if json:
            show_json(found.to_dict())
        else:
            write(explanation_text(found) + "\n")
        return
    answer = compute(spec, chip, options)
    if plot is not None:
        from llmcost.report import charts
        from llmcost.report.train_charts import train_panels

        title = f"{answer.model.title} on {answer.run.gpus:,} × {answer.hardware.title}"
        charts.save(Path(plot), title, train_panels(answer))
    rows = micro_batch_rows(setup_of(spec, chip, options, None)[0]) if breakdown else []
    if csv:
        write(to_csv(MicroBatchRow._fields, rows) if breakdown else to_csv(("quantity", "value"), train_rows(answer)))
    elif json:
        show_json(to_dict(answer) | ({"operators": [to_dict(row) for row in rows]} if breakdown else {}))
    else:
        show_tables([*train_tables(answer), *([operator_table(rows)] if breakdown else [])], markdown)
