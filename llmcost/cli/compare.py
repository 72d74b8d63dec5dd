"""`llmcost compare`: models and GPUs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcost.cli import lists
from llmcost.cli import options as o


def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Shipped names, YAML specs, config.json files, or hub ids.")
    ],
    hw: lists.Hardware,
    batch: o.Batch = 1,
    context: o.Context = None,
    prompt: o.Prompt = None,
    dtype: o.Dtype = None,
    weight_dtype: o.WeightDtype = None,
    kv_dtype: o.KvDtype = None,
    kind: o.ReadAs = None,
    mfu: o.Mfu = 0.5,
    memory_utilization: o.MemoryUtilization = 0.9,
    gpus: o.Gpus = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    dp: o.Dp = None,
    ep: o.Ep = None,
    gpus_per_node: o.GpusPerNode = None,
    price: lists.Price = None,
    plot: o.Plot = None,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """Every MODEL on every GPU, side by side at the same batch and context.

    Example: llmcost compare llama3-8b qwen3-8b --hw h100,mi300x --batch 16 --price h100=2.5 --price mi300x=2
    """
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.ground.ranges import distinct
    from llmcost.report.compare import FIGURES, NAMES, comparison_panels, comparison_tables, entry_document, figures_of
    from llmcost.report.tables import to_csv
    from llmcost.search.compare import compare as compute
    from llmcost.serving.options import Options
    from llmcost.specs.catalog import load_model

    o.one_format(json=json, csv=csv, markdown=markdown)
    specs, chips = [load_model(name, kind) for name in models], lists.load_chips(hw)
    distinct("MODEL", [spec.name for spec in specs])
    options = Options(batch, context, prompt, dtype, weight_dtype, kv_dtype, mfu, memory_utilization)
    options = options._replace(gpus=gpus, tp=tp, pp=pp, dp=dp, ep=ep, gpus_per_node=gpus_per_node)
    entries = compute(specs, chips, options, lists.prices_of(price or (), chips))
    if plot is not None:
        from llmcost.report import charts

        charts.save(Path(plot), "Models and GPUs compared", comparison_panels(entries, price is not None))
    if json:
        show_json({"schema": "llmcost.compare/1", "entries": [entry_document(entry) for entry in entries]})
    elif csv:
        write(to_csv((*NAMES.values(), *FIGURES), [list(figures_of(entry).values()) for entry in entries]))
    elif markdown or plot is None:
        show_tables(comparison_tables(entries, price is not None), markdown)
