"""The options that commands share, each defined once, named as serving and training engines name theirs."""

from __future__ import annotations

from typing import Annotated

import typer

from llmcost.errors import InputError
from llmcost.units import parse_count


def _length(text: str) -> int:
    return _parsed(text, 1024)


def _amount(text: str) -> int:
    return _parsed(text, 1000)


def _parsed(text: str | int, thousand: int) -> int:
    if isinstance(text, int):  # a default passes through the parser too
        return text
    try:
        return parse_count(text, thousand)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped name (llmcost models), a YAML spec, a config.json, or a hub id.")
]
ReadAs = Annotated[
    str | None, typer.Option("--as", metavar="TYPE", help="Read a config as one of this model_type, e.g. llama; you answer for it.")
]
OptionalHardware = Annotated[str | None, typer.Option("--hw", metavar="HW", help="A GPU: shipped name, alias, or a path to a YAML spec.")]
Batch = Annotated[int, typer.Option("-b", "--batch", parser=_amount, metavar="SEQUENCES", help="Sequences at a time.")]
Context = Annotated[
    int | None,
    typer.Option(
        "-c", "--context", parser=_length, metavar="TOKENS", help="Cached tokens at which decode is evaluated; the model's maximum or 8192."
    ),
]
Prompt = Annotated[int | None, typer.Option("--prompt", parser=_length, metavar="TOKENS", help="Tokens of the prompt; the context.")]
Output = Annotated[
    int | None, typer.Option("--output", parser=_length, metavar="TOKENS", help="Tokens that a request gives: its whole time, too.")
]
Chunk = Annotated[
    int | None,
    typer.Option("--chunk", parser=_length, metavar="TOKENS", help="Tokens of prompts that run at a time, as max-num-batched-tokens; all."),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", parser=_amount, metavar="REQUESTS", help="In flight at any time: a mix of requests, with --output."),
]
Gpus = Annotated[int | None, typer.Option("--gpus", help="GPUs in all; the product of the degrees. Alone: --tp in a node, --pp across.")]
Tp = Annotated[int | None, typer.Option("--tp", metavar="DEGREE", help="Tensor parallelism: GPUs that a layer is split over.")]
Pp = Annotated[int | None, typer.Option("--pp", metavar="DEGREE", help="Pipeline parallelism: stages, each with its layers.")]
Dp = Annotated[int | None, typer.Option("--dp", metavar="DEGREE", help="Data parallelism: ranks, each with its sequences; --ep over --tp.")]
Ep = Annotated[
    int | None, typer.Option("--ep", metavar="DEGREE", help="Expert parallelism: those of a stage's tp·dp GPUs that share experts.")
]
GpusPerNode = Annotated[int | None, typer.Option("--gpus-per-node", help="GPUs that the fast links join; as the GPU's spec says, or 8.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Data type of computing and activations; bf16, or fp16 where the GPU lacks it.")]
WeightDtype = Annotated[str | None, typer.Option("--weight-dtype", help="Data type of the linear layers' weights; that of computing.")]
KvDtype = Annotated[str | None, typer.Option("--kv-dtype", help="Data type of the KV cache; that of computing.")]
Mfu = Annotated[float, typer.Option("--mfu", help="Share of the peak that the textbook basis assumes.")]
MemoryUtilization = Annotated[float, typer.Option("--memory-utilization", help="Share of the GPU's memory that may be used, as vLLM's.")]
Tokens = Annotated[int, typer.Option("--tokens", parser=_amount, metavar="TOKENS", help="Length of the training run, e.g. 15T.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document in base units.")]
Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated values in base units.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Markdown tables.")]


def one_format(**chosen: bool) -> None:
    """Refuse more than one of --json, --csv, --markdown."""
    asked = [f"--{name}" for name, value in chosen.items() if value]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)}: choose one")
