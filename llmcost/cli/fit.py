"""`llmcost fit`: which GPUs hold a model."""

from __future__ import annotations

from typing import Annotated

import typer

from llmcost.cli import lists
from llmcost.cli import options as o
from llmcost.ground.errors import InputError

MOST_GPUS = 10**4


def fit(
    model: o.ModelName,
    hw: Annotated[
        list[str] | None, typer.Option("--hw", metavar="LIST", help="GPUs by name, commas between them; all.")
    ] = None,
    gpus: Annotated[str, typer.Option("--gpus", metavar="LIST", help="Numbers of GPUs.")] = "1,2,4,8",
    batch: o.Batch = 1,
    context: o.Context = None,
    prompt: o.Prompt = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", metavar="LIST", help="Data types of computing; the weights' where the GPU has it, or bf16."
        ),
    ] = None,
    weight_dtype: Annotated[
        str | None,
        typer.Option(
            "--weight-dtype",
            metavar="LIST",
            help="Formats of weights; the model's own, and fp8 and int4-g128 where smaller.",
        ),
    ] = None,
    kv_dtype: o.KvDtype = None,
    kind: o.ReadAs = None,
    memory_utilization: o.MemoryUtilization = 0.9,
    price: lists.Price = None,
    basis: Annotated[
        str, typer.Option("--basis", help="textbook, limit or expected: whose rates are shown and priced.")
    ] = "expected",
    json: o.Json = False,
    csv: o.Csv = False,
    markdown: o.Markdown = False,
) -> None:
    """Which GPUs hold MODEL: how many, at which precision, with how large a batch and context, how fast and at what
    price.

    Without --hw, --gpus or --weight-dtype the table has the fewest of each kind that hold it, at the widest precision
    that so many hold; JSON and CSV have all. Exit code 1 if none holds it.

    Example: llmcost fit llama3-70b --hw h100,l40s --price h100=2.5 --price l40s=1
    """
    from llmcost.cli.output import show_json, show_tables, write
    from llmcost.report.fit import fit_table
    from llmcost.report.tables import to_csv
    from llmcost.search.fit import BASES, GPUS, Offer, Precision, best, ranked, usual_precisions
    from llmcost.search.fit import fit as compute
    from llmcost.serving.estimate import workload_of
from llmcost.serving.options import Options
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware, load_model, names

    o.one_format(json=json, csv=csv, markdown=markdown)
    if basis not in BASES:
        raise InputError(f"--basis {basis}: one of {', '.join(BASES)}")
    spec = load_model(model, kind)
    chosen = Options(batch, context, prompt, None, None, kv_dtype, memory_utilization=memory_utilization)
    counts = [_count(each) for each in gpus.split(",")]
    weights = _words(weight_dtype)
    dtypes: list[str | None] = [*_words(dtype)] or [None]
    formats: list[str | None] = [*weights] or [None]
    for each in dtypes:
        for kept in formats:
            workload_of(
                spec, None, chosen._replace(dtype=each, weight_dtype=kept)
            )  # refuses what makes no sense on any GPU
    wanted = weights or [each.weight_dtype for each in usual_precisions(spec)]
    precisions = [Precision(each, kept) for each in dtypes for kept in wanted]
    asked = [name for each in hw or () for name in _words(each)]
    chips = [load_hardware(name) for name in asked or names("hardware")]
    prices = lists.prices_of(price or (), chips)
    offers = compute(spec, chips, chosen, counts, precisions, prices, basis)
    holding = ranked(offer for offer in offers if offer.fits)
    if json:
        show_json(
            {
                "schema": "llmcost.fit/1",
                "model": spec.name,
                "basis": basis,
                "offers": [to_dict(offer) for offer in offers],
            }
        )
    elif csv:
        write(to_csv(Offer._fields, offers))
    else:
        everything = bool(asked or weights or dtype or counts != list(GPUS))
        w = workload_of(spec, None, chosen)
        title = f"{spec.title}: GPUs that hold it at batch {w.batch:,}, context {w.context:,}"
        show_tables(
            [fit_table(title, holding if everything else ranked(best(offers)), batch, basis, priced=bool(prices))],
            markdown,
        )
    if not holding:
        raise typer.Exit(1)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _count(text: str) -> int:
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST_GPUS:
        raise InputError(
            f"--gpus {text}: whole numbers from 1 to {MOST_GPUS:,} with commas between them, as in 1,2,4,8"
        )
    return int(text)
