"""What may be chosen of a simulation, beside what `estimate` takes."""

from typing import Annotated, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, Word, count, flag, number, word
from llmcost.ground.units import parse_decimal, parse_milliseconds
from llmcost.serving.options import Pue
from llmcost.simulation.cluster import ROUTERS
from llmcost.simulation.histograms import HISTOGRAMS
from llmcost.specs.hardware import PCIE


def _above_zero(option: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise InputError(f"{option} {value:g}: a number above 0")


def _limit(what: str) -> Option:
    return number(f"The longest {what} that counts as served in time.", "MS", parse_milliseconds, default="any")


class SimulationOptions(NamedTuple):
    """Traffic, replicas, and what counts as served in time. `ttft`, `tpot`, `latency`: milliseconds."""

    trace: Annotated[
        Word,
        Option(
            "Requests of a file: CSV or JSON lines of input_tokens, output_tokens, arrival_s; Mooncake's, Azure's, "
            "ShareGPT's, or results of vLLM's and SGLang's benchmarks.",
            metavar="FILE",
        ),
    ] = None
    lengths: Annotated[
        Word,
        word(
            "Draw lengths from a published histogram.",
            tuple(HISTOGRAMS),
            default="--prompt and --output",
        ),
    ] = None
    burstiness: Annotated[
        float,
        number("Shape of the gaps at a --rate: 1 Poisson, less in bursts, more evenly.", "K", check=_above_zero),
    ] = 1.0
    log_normal: Annotated[
        float | None,
        number(
            "Lengths are log-normal: their standard deviation over their means, --prompt and --output.",
            "SHARE",
            check=_above_zero,
            default="all alike",
        ),
    ] = None
    prefixes: Annotated[int, count("How many different beginnings the drawn prompts share.")] = 1
    prefix_caching: Annotated[bool, flag("Find beginnings of prompts in the KV cache.")] = True
    kv_tokens: Annotated[
        int | None, count("Tokens that the KV cache of a replica has room for.", "TOKENS", default="what memory leaves")
    ] = None
    kv_host: Annotated[
        float,
        number("GiB of the host's memory that keep what a replica's KV cache loses.", "GIB", default="none"),
    ] = 0.0
    host_link: Annotated[
        Word, word("What joins each GPU to the host.", tuple(PCIE), default="the GPU's own link, where that is PCIe")
    ] = None
    adapters: Annotated[
        int, count("LoRA adapters in memory at a time, as vLLM's max-loras: of all linear layers.", least=0)
    ] = 0
    adapter_rank: Annotated[int, count("Rank that each adapter has room for.", most=4096)] = 16
    router: Annotated[str, word("Which of the data-parallel replicas serves a request.", ROUTERS)] = ROUTERS[1]
    seed: Annotated[int, count("Seed of what is drawn.", least=0)] = 0
    ttft: Annotated[float | None, _limit("TTFT")] = None
    tpot: Annotated[float | None, _limit("TPOT")] = None
    latency: Annotated[float | None, _limit("time to the last token")] = None
    price: Annotated[float | None, number("Dollars a GPU-hour.", "DOLLARS", parse_decimal)] = None
    pue: Pue = 1
    timeline: Annotated[bool, flag("JSON: also queue, running requests and cache over time.")] = False
