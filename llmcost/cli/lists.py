"""Options that take lists and ranges, as those of `llmcost.cli.options` take one value each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from llmcost.ground.errors import InputError
from llmcost.ground.units import parse_count

if TYPE_CHECKING:
    from fractions import Fraction

    from llmcost.ground.ranges import Axis, Names, Read
    from llmcost.specs.hardware import HardwareSpec

List: TypeAlias = list[str] | None  # the option each time it stands: a second time is refused

Hardware = Annotated[
    list[str], typer.Option("--hw", metavar="HW,...", help="GPUs: shipped names, aliases, or paths to YAML specs.")
]
Batch = Annotated[List, typer.Option("-b", "--batch", metavar="LIST", help="Sequences at a time; 1.")]
Context = Annotated[
    List,
    typer.Option(
        "-c",
        "--context",
        metavar="LIST",
        help="Cached tokens at which decode is evaluated; the model's maximum or 8192.",
    ),
]
Prompt = Annotated[
    List, typer.Option("--prompt", metavar="LIST", help="Tokens of the prompt; the context less the output.")
]
Output = Annotated[
    List, typer.Option("--output", metavar="LIST", help="Tokens that a request gives: its whole time, too.")
]
Chunk = Annotated[List, typer.Option("--chunk", metavar="LIST", help="Tokens of prompts that run at a time; all.")]
Concurrency = Annotated[
    List, typer.Option("--concurrency", metavar="LIST", help="Requests in flight at any time, with --output.")
]
Gpus = Annotated[List, typer.Option("--gpus", metavar="LIST", help="GPUs in all; the product of the degrees.")]
Tp = Annotated[List, typer.Option("--tp", metavar="LIST", help="Tensor parallelism: GPUs that a layer is split over.")]
Pp = Annotated[List, typer.Option("--pp", metavar="LIST", help="Pipeline parallelism: stages, each with its layers.")]
Dp = Annotated[List, typer.Option("--dp", metavar="LIST", help="Data parallelism: ranks, each with its sequences.")]
Ep = Annotated[List, typer.Option("--ep", metavar="LIST", help="Expert parallelism: GPUs that share experts.")]
GpusPerNode = Annotated[
    List, typer.Option("--gpus-per-node", metavar="LIST", help="GPUs that the fast links join; as its spec says, or 8.")
]
Dtype = Annotated[List, typer.Option("--dtype", metavar="LIST", help="Data types of computing and activations; bf16.")]
WeightDtype = Annotated[
    List, typer.Option("--weight-dtype", metavar="LIST", help="Data types of the weights; that of computing.")
]
KvDtype = Annotated[
    List, typer.Option("--kv-dtype", metavar="LIST", help="Data types of the KV cache; that of computing.")
]
Mfu = Annotated[
    List, typer.Option("--mfu", metavar="LIST", help="Shares of the peak that the textbook basis assumes; 0.5.")
]
MemoryUtilization = Annotated[
    List, typer.Option("--memory-utilization", metavar="LIST", help="Shares of the GPU's memory that may be used; 0.9.")
]
Tokens = Annotated[List, typer.Option("--tokens", metavar="LIST", help="Lengths of the training run; 15T.")]

Price = Annotated[
    List,
    typer.Option("--price", metavar="[HW=]DOLLARS", help="A GPU-hour, of all GPUs or of one kind; may be repeated."),
]


def _length(text: str) -> int:
    return parse_count(text, 1024)


def decimal(text: str) -> Fraction:
    """A number such as 0.9 or 2.5, exactly. Raises ValueError."""
    from fractions import Fraction

    if not re.fullmatch(r"\d{0,9}\.?\d{1,9}", text, re.ASCII):
        raise ValueError(f"expected a number such as 0.9, got {text[:30]!r}")
    return Fraction(text)


READ: Mapping[str, Read] = {
    **dict.fromkeys(("context", "prompt", "output", "chunk"), _length),
    **dict.fromkeys(("batch", "concurrency", "tokens", "gpus", "tp", "pp", "dp", "ep", "gpus_per_node"), parse_count),
    **dict.fromkeys(("mfu", "memory_utilization"), decimal),
}
"""How each option that takes numbers reads one. The others take names."""


def once(option: str, given: List) -> str | None:
    """What stands behind an option. Raises InputError where it stands twice."""
    if given is not None and len(given) > 1:
        raise InputError(
            f"{option} is given {len(given)} times: give it once, with a list ({option} {','.join(given)})"
        )
    return given[0] if given else None


def axes(given: Mapping[str, List]) -> dict[str, Axis | Names]:
    """The options that are given, each with what it lists: numbers, not spelled out yet, or names."""
    from llmcost.ground.ranges import parse_axis, parse_names

    found: dict[str, Axis | Names] = {}
    for name, texts in given.items():
        option = f"--{name.replace('_', '-')}"
        text = once(option, texts)
        if text is not None:
            found[name] = parse_axis(option, text, READ[name]) if name in READ else parse_names(option, text)
    return found


def load_chips(given: list[str]) -> list[HardwareSpec]:
    """The GPUs of --hw, which may be repeated. Raises InputError where one comes twice, under whatever name."""
    from llmcost.ground.ranges import distinct, parse_names
    from llmcost.specs.catalog import load_hardware

    chips = [load_hardware(name) for name in parse_names("--hw", ",".join(given)).names]
    distinct("--hw", [chip.name for chip in chips])
    return chips


def prices_of(texts: Sequence[str], chips: Iterable[HardwareSpec]) -> dict[str, float]:
    """Dollars a GPU-hour by the name of the GPU, one of those asked about, "" for all."""
    from llmcost.specs.catalog import load_hardware

    prices, known = {}, {"", *(chip.name for chip in chips)}
    for text in texts:
        name, _, dollars = text.rpartition("=")
        try:
            value = float(dollars)
        except ValueError:
            value = -1
        if not 0 <= value < 10**6:
            raise InputError(f"--price {text}: dollars a GPU-hour, as in 2.5 or h100=2.5")
        priced = load_hardware(name).name if name else ""
        if priced not in known:
            raise InputError(f"--price {text}: {priced} is not among the GPUs asked about (--hw)")
        prices[priced] = value
    return prices
