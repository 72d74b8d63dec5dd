"""The question of `llmcost mfu`: a throughput as everyone's MFU, and anyone's MFU as a throughput."""

from math import inf
from typing import NamedTuple

from llmcost.ground.errors import InputError, check_share
from llmcost.machine.chip import chip_of
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import workload_of
from llmcost.serving.options import Options
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

SCHEMA = "llmcost.mfu/1"


class Utilizations(NamedTuple):
    """Everything `llmcost mfu` answers."""

    schema: str
    model: str
    hardware: str
    seq: int
    dtype: str
    recompute: str
    tokens_per_s_per_gpu: float
    conventions: tuple[Utilization, ...]


def utilizations(
    model: ModelSpec,
    hardware: HardwareSpec,
    seq: int | None = None,
    throughput: float | None = None,
    printed: float | None = None,
    convention: str | None = None,
    recompute: str = "none",
    dtype: str | None = None,
) -> Utilizations:
    """A throughput, in tokens a second of a GPU, or an MFU printed under a convention, under every convention.

    Raises InputError where the question is not one.
    """
    if seq is not None and not 1 <= seq <= model.max_position_embeddings:
        raise InputError(
            f"--seq {seq}: {model.name} takes 1 to {model.max_position_embeddings:,} positions (max_position_embeddings)"
        )
    w = workload_of(model, hardware, Options(context=seq, dtype=dtype))
    peak = chip_of(hardware, w.dtype, w.kv_dtype).peak
    if peak is None:
        raise InputError(
            f"--dtype {w.dtype}: no source gives the peak of {hardware.name} in it; known: {', '.join(hardware.peak) or 'none'}"
        )
    if recompute not in RECOMPUTE:
        raise InputError(f"--recompute {recompute}: one of {', '.join(RECOMPUTE)}")
    k = counts_of(model, w.context)
    each = _throughput(k, peak, throughput, printed, convention)
    found = tuple(utilization(one, k, each, peak, recompute) for one in CONVENTIONS.values())
    return Utilizations(SCHEMA, model.name, hardware.name, w.context, w.dtype, recompute, each, found)


def _throughput(
    k: Counts, peak: float, throughput: float | None, printed: float | None, convention: str | None
) -> float:
    """Tokens a second of a GPU: as given, or those behind a printed MFU."""
    if throughput is not None and printed is None and convention is None:
        if not 0 < throughput < inf:
            raise InputError(f"--tokens-per-s {throughput:g}: above 0")
        return throughput
    if throughput is not None or printed is None or convention is None:
        raise InputError("either --tokens-per-s, or --mfu and its --convention")
    check_share("--mfu", printed)
    return float(tokens_per_s(printed, find_convention(convention), k, peak))
