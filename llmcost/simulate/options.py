"""What may be chosen of a simulation, beside what `estimate` takes."""

from typing import Annotated, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, Word, count, number, share
from llmcost.ground.units import parse_milliseconds


def _above_zero(option: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise InputError(f"{option} {value:g}: a number above 0")


def _limit(what: str) -> Option:
    return number(f"The longest {what} that counts as served in time.", "MS", parse_milliseconds, default="any")


class SimulationOptions(NamedTuple):
    """Traffic, and what counts as served in time. `ttft`, `tpot`, `latency`: milliseconds."""

    trace: Annotated[
        Word, Option("Requests: CSV or JSON lines of input_tokens, output_tokens, arrival_s.", metavar="FILE")
    ] = None
    burstiness: Annotated[
        float,
        number("Shape of the gaps at a --rate: 1 Poisson, less in bursts, more evenly.", "K", check=_above_zero),
    ] = 1.0
    range_ratio: Annotated[float, share("Lengths are drawn from this share of --prompt and --output to all of it.")] = (
        1.0
    )
    kv_tokens: Annotated[
        int | None, count("Tokens that the KV cache has room for.", "TOKENS", default="what the memory leaves")
    ] = None
    seed: Annotated[int, count("Seed of what is drawn.", least=0)] = 0
    ttft: Annotated[float | None, _limit("TTFT")] = None
    tpot: Annotated[float | None, _limit("TPOT")] = None
    latency: Annotated[float | None, _limit("time to the last token")] = None
