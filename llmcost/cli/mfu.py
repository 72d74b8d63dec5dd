"""`llmcost mfu`: a throughput as everyone's MFU, and anyone's MFU as a throughput."""

from __future__ import annotations

from typing import Annotated

import typer

from llmcost.cli import options as o


def mfu(
    model: o.ModelName,
    hw: o.Hardware,
    seq: o.Seq = None,
    tokens_per_s: Annotated[float | None, typer.Option("--tokens-per-s", help="Tokens a second of one GPU.")] = None,
    printed: Annotated[
        float | None, typer.Option("--mfu", metavar="SHARE", help="Instead: an MFU as printed, e.g. 0.4125.")
    ] = None,
    convention: Annotated[
        str | None, typer.Option("--convention", metavar="NAME", help="The convention behind --mfu.")
    ] = None,
    recompute: Annotated[
        str, typer.Option("--recompute", help="Activations computed again: none, selective (attention) or full.")
    ] = "none",
    dtype: o.Dtype = None,
    kind: o.ReadAs = None,
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """MFU and HFU of a training throughput under every convention in use.

    Example: llmcost mfu llama3-8b --hw h100 --tokens-per-s 9000
    """
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.report.mfu import utilization_table
    from llmcost.report.tables import to_csv
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware, load_model
    from llmcost.training.conventions import Utilization
    from llmcost.training.utilization import utilizations

    o.one_format(json=json, csv=csv, markdown=markdown)
    spec, chip = load_model(model, kind), load_hardware(hw)
    answer = utilizations(spec, chip, seq, tokens_per_s, printed, convention, recompute, dtype)
    if json:
        show_json(to_dict(answer))
    elif csv:
        write(to_csv(Utilization._fields, answer.conventions))
    else:
        show_tables([utilization_table(spec, chip, answer)], markdown)
