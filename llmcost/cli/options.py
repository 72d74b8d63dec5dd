"""The options that commands share, each defined once, named as serving and training engines name theirs."""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated

import typer

from llmcost.ground.errors import InputError
from llmcost.ground.units import parse_count


def length(text: str) -> int:
    """Tokens of a sequence: 8k is 8,192."""
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
    str,
    typer.Argument(metavar="MODEL", help="A shipped name (llmcost models), a YAML spec, a config.json, or a hub id."),
]
ReadAs = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="TYPE", help="Read a config as one of this model_type, e.g. llama; you answer for it."
    ),
]
OptionalHardware = Annotated[
    str | None, typer.Option("--hw", metavar="HW", help="A GPU: shipped name, alias, or a path to a YAML spec.")
]
Batch = Annotated[int, typer.Option("-b", "--batch", parser=_amount, metavar="SEQUENCES", help="Sequences at a time.")]
Context = Annotated[
    int | None,
    typer.Option(
        "-c",
        "--context",
        parser=length,
        metavar="TOKENS",
        help="Cached tokens at which decode is evaluated; the model's maximum or 8192.",
    ),
]
Prompt = Annotated[
    int | None, typer.Option("--prompt", parser=length, metavar="TOKENS", help="Tokens of the prompt; the context.")
]
Output = Annotated[
    int | None,
    typer.Option("--output", parser=length, metavar="TOKENS", help="Tokens that a request gives: its whole time, too."),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        "--chunk",
        parser=length,
        metavar="TOKENS",
        help="Tokens of prompts that run at a time, as max-num-batched-tokens; all.",
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        parser=_amount,
        metavar="REQUESTS",
        help="In flight at any time: a mix of requests, with --output.",
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option("--gpus", help="GPUs in all; the product of the degrees. Alone: --tp in a node, --pp across."),
]
Tp = Annotated[
    int | None, typer.Option("--tp", metavar="DEGREE", help="Tensor parallelism: GPUs that a layer is split over.")
]
Pp = Annotated[
    int | None, typer.Option("--pp", metavar="DEGREE", help="Pipeline parallelism: stages, each with its layers.")
]
Dp = Annotated[
    int | None,
    typer.Option("--dp", metavar="DEGREE", help="Data parallelism: ranks, each with its sequences; --ep over --tp."),
]
Ep = Annotated[
    int | None,
    typer.Option(
        "--ep", metavar="DEGREE", help="Expert parallelism: those of a stage's tp·dp GPUs that share experts."
    ),
]
GpusPerNode = Annotated[
    int | None, typer.Option("--gpus-per-node", help="GPUs that the fast links join; as the GPU's spec says, or 8.")
]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", help="Data type of computing and activations; bf16, or fp16 where the GPU lacks it."),
]
WeightDtype = Annotated[
    str | None, typer.Option("--weight-dtype", help="Data type of the linear layers' weights; that of computing.")
]
KvDtype = Annotated[str | None, typer.Option("--kv-dtype", help="Data type of the KV cache; that of computing.")]
Mfu = Annotated[float, typer.Option("--mfu", help="Share of the peak that the textbook basis assumes.")]
MemoryUtilization = Annotated[
    float, typer.Option("--memory-utilization", help="Share of the GPU's memory that may be used, as vLLM's.")
]
Tokens = Annotated[
    int, typer.Option("--tokens", parser=_amount, metavar="TOKENS", help="Length of the training run, e.g. 15T.")
]
Hardware = Annotated[
    str,
    typer.Option(
        "--hw", metavar="HW", help="A GPU or a system of them: shipped name, alias, or a path to a YAML spec."
    ),
]
Kernels = Annotated[
    str,
    typer.Option(
        "--kernels", metavar="fused|vendor|eager", help="PyTorch's compiled, Transformer Engine's, or plain PyTorch's."
    ),
]
Overlap = Annotated[
    str | None,
    typer.Option(
        "--overlap",
        metavar="NAME=SHARE,…",
        help="Exchanges that cost no time: tensor, context, expert, pipeline, data.",
    ),
]
AllGpus = Annotated[
    int | None, typer.Option("--gpus", parser=_amount, metavar="N", help="All GPUs; the product of the degrees.")
]
Seq = Annotated[
    int | None,
    typer.Option("--seq", parser=length, metavar="TOKENS", help="Tokens of a sequence; the model's maximum or 8192."),
]
MicroBatch = Annotated[
    int | None,
    typer.Option("--micro-batch", metavar="SEQUENCES", help="Sequences that a model replica runs at a time; 1."),
]
GlobalBatch = Annotated[
    int | None,
    typer.Option("--global-batch", parser=_amount, metavar="SEQUENCES", help="Sequences of a step; about 4M tokens."),
]
Vp = Annotated[
    int | None, typer.Option("--vp", metavar="N", help="Chunks of layers a stage (interleaved pipeline); 1.")
]
Cp = Annotated[
    int | None, typer.Option("--cp", metavar="N", help="GPUs that split every sequence (context parallelism); 1.")
]
Etp = Annotated[
    int | None, typer.Option("--etp", metavar="N", help="GPUs that split an expert; --tp, or what --ep leaves of it.")
]
Zero = Annotated[
    int | None,
    typer.Option(
        "--zero", metavar="0|1|2|3", help="Divided over replicas: 1 optimizer, 2 gradients too, 3 weights too (FSDP)."
    ),
]
Reshard = Annotated[
    bool | None,
    typer.Option("--reshard/--no-reshard", help="With --zero 3: weights are let go after the forward pass, or kept."),
]
Shard = Annotated[
    int | None,
    typer.Option("--shard", metavar="N", help="Replicas over which states are divided, the rest being copies; all."),
]
Recompute = Annotated[
    str | None,
    typer.Option("--recompute", metavar="none|selective|full", help="What the backward pass computes again."),
]
RecomputeLayers = Annotated[
    int | None, typer.Option("--recompute-layers", metavar="N", help="Of how many layers a stage; all.")
]
SequenceParallel = Annotated[
    bool | None,
    typer.Option(
        "--sequence-parallel/--no-sequence-parallel", help="Split tokens between the split layers of --tp; yes."
    ),
]
Schedule = Annotated[str | None, typer.Option("--schedule", metavar="1f1b|zero-bubble", help="Of the pipeline; 1f1b.")]
ContextParallel = Annotated[
    str | None,
    typer.Option(
        "--context-parallel", metavar="ring|all-gather|ulysses", help="How --cp exchanges keys and values; ring."
    ),
]
Optimizer = Annotated[str, typer.Option("--optimizer", help="adam, adam-unfused, adam-8bit, muon or sgd.")]
LoraRank = Annotated[
    int | None, typer.Option("--lora-rank", metavar="N", help="Train adapters of this rank; all else is frozen.")
]
LoraTargets = Annotated[
    str | None,
    typer.Option(
        "--lora-targets", metavar="NAME[,NAME...]", help="Products that have one, or all-linear; q_proj,v_proj."
    ),
]
Qlora = Annotated[bool, typer.Option("--qlora", help="Frozen weights of the layers in 4 bits (NF4).")]
Price = Annotated[float | None, typer.Option("--price", metavar="DOLLARS", help="Of a GPU-hour.")]
Plot = Annotated[
    str | None, typer.Option("--plot", metavar="FILE", help="Draw charts, .png or .svg (needs matplotlib).")
]
TrainingProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="A profile measured by llmcost bench; on one GPU, its shipped one, if there is.",
    ),
]
ProfilePath = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="FILE", help="A profile measured by llmcost bench; the GPU's shipped one, if there is."
    ),
]
PassTokens = Annotated[
    int | None,
    typer.Option(
        "-c",
        "--context",
        parser=length,
        metavar="TOKENS",
        help="With MODEL: cached tokens of decode, or those of a sequence.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document in base units.")]
Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated values in base units.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Markdown tables.")]


def one_format(**chosen: bool) -> None:
    """Refuse more than one of --json, --csv, --markdown."""
    asked = [f"--{name}" for name, value in chosen.items() if value]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)}: choose one")


def training_dtype(asked: str | None, known: Container[str]) -> str:
    """The data type asked for, or bf16, or fp16 where the GPU has a peak for that alone."""
    return asked or ("fp16" if "fp16" in known and "bf16" not in known else "bf16")
