"""The question of `llmcost mfu`: the MFU that everyone would print for a throughput, or for another's MFU."""

from typing import Any, NamedTuple

from llmcost.ground.errors import InputError, check_number, check_share
from llmcost.ground.html import html_table
from llmcost.ground.units import significant
from llmcost.machine.chip import chip_of
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import workload_of
from llmcost.serving.options import Options
from llmcost.serving.results import to_dict
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.conventions import (
    CONVENTIONS,
    RECOMPUTE,
    Counts,
    Utilization,
    counts_of,
    find_convention,
    tokens_per_s,
    utilization,
)
from llmcost.training.setup import sequence_of

SCHEMA = "llmcost.mfu/1"


class Utilizations(NamedTuple):
    """The answer of `llmcost mfu`: a throughput, and MFU and HFU of it under every convention."""

    schema: str
    model: str
    hardware: str
    seq: int
    dtype: str
    recompute: str
    tokens_per_s_per_gpu: float
    conventions: tuple[Utilization, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost mfu --json`."""
        document: dict[str, Any] = to_dict(self)
        return document

    def rows(self) -> list[dict[str, Any]]:
        """A row for each convention: MFU and HFU as shares of 1."""
        return [each._asdict() for each in self.conventions]

    def __repr__(self) -> str:
        """In one line, by our own convention."""
        own = next(each for each in self.conventions if each.convention == "llmcost")
        rate = f"{significant(self.tokens_per_s_per_gpu)} tokens/s a GPU"
        return f"<MFU of {self.model} on {self.hardware} at {rate}: {own.mfu:.1%}, HFU {own.hfu:.1%}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


def utilizations(
    model: ModelSpec,
    hardware: HardwareSpec,
    seq: int | None = None,
    throughput: float | None = None,
    printed: float | None = None,
    convention: str | None = None,
    recompute: str = "none",
    dtype: str | None = None,
    tflops: float | None = None,
) -> Utilizations:
    """MFU and HFU under every convention.

    They are those of a throughput in tokens a second of a GPU, or of an MFU (`printed`, a share of 1) or `tflops` of a
    GPU together with the `convention` under which they were printed. Raises InputError for none of these, for several,
    or for a length, a data type or a recomputation that there is not.
    """
    w = workload_of(model, hardware, Options(context=sequence_of(model, seq), dtype=dtype, weight_dtype="bf16"))
    peak = chip_of(hardware, w.dtype, w.kv_dtype).peak
    if peak is None:
        known = ", ".join(hardware.peak) or "none"
        raise InputError(f"--dtype {w.dtype}: no source gives the peak of {hardware.name} in it; known: {known}")
    if recompute not in RECOMPUTE:
        raise InputError(f"--recompute {recompute}: one of {', '.join(RECOMPUTE)}")
    k = counts_of(model, w.context)
    if tflops is not None:
        each = _behind(tflops, k, peak, convention, alone=throughput is None and printed is None)
    else:
        each = _throughput(k, peak, throughput, printed, convention)
    found = tuple(utilization(one, k, each, peak, recompute) for one in CONVENTIONS.values())
    return Utilizations(SCHEMA, model.name, hardware.name, w.context, w.dtype, recompute, each, found)


def _throughput(
    k: Counts, peak: float, throughput: float | None, printed: float | None, convention: str | None
) -> float:
    """Tokens a second of a GPU: the given ones, or those behind a printed MFU. Raises InputError."""
    if throughput is not None and printed is None and convention is None:
        check_number("--tokens-per-s", throughput)
        if throughput == 0:
            raise InputError("--tokens-per-s 0: above 0")
        return throughput
    if throughput is not None or printed is None or convention is None:
        raise InputError("either --tokens-per-s, or --mfu and its --convention")
    check_share("--mfu", printed)
    return float(tokens_per_s(printed, find_convention(convention), k, peak))


def _behind(tflops: float, k: Counts, peak: float, convention: str | None, *, alone: bool) -> float:
    """Tokens a second of a GPU behind TFLOPS as a program logs them: over the FLOPs that it counts of a token.

    Raises InputError where more than that is given, or no convention.
    """
    if not alone or convention is None:
        raise InputError(
            "--tflops: as which program counts? give --convention too, and neither --tokens-per-s nor --mfu"
        )
    check_number("--tflops", tflops)
    if tflops == 0:
        raise InputError("--tflops 0: above 0")
    counted = utilization(find_convention(convention), k, 1, peak)
    return float(tflops * 1e12 / counted.model_flops_per_token)
