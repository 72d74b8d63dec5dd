"""The question of `llmcost mfu`: the MFU that everyone would print for a throughput, another's MFU, or a log."""

from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError, check_number, check_share
from llmcost.ground.html import html_table
from llmcost.ground.units import significant
from llmcost.machine.chip import chip_of
from llmcost.machine.power import drawn_by, share_drawn
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import workload_of
from llmcost.serving.options import Options
from llmcost.serving.results import to_dict
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.conventions import (
    CONVENTIONS,
    OWN,
    RECOMPUTE,
    Counts,
    Utilization,
    counts_of,
    find_convention,
    tokens_per_s,
    utilization,
)
from llmcost.training.logs import Log, read_log
from llmcost.training.setup import sequence_of

SCHEMA = "llmcost.mfu/1"
SAME = 0.02  # share by which what a log prints may differ from a convention that it is said to follow


class Logged(NamedTuple):
    """What a log says of itself: medians over its steps but the first.

    `tflops`: of one GPU, `mfu`: a share of 1, both as the program printed them. `convention`: the one by which its own
    counts come out within 2 %, and `ratio`, its TFLOPS or MFU over those of that convention; of none, the nearest one's
    ratio. None for what the log does not say.
    """

    file: str
    program: str
    steps: int
    step_seconds: float | None
    memory_bytes: float | None
    tflops: float | None
    mfu: float | None
    convention: str | None
    ratio: float | None


class Utilizations(NamedTuple):
    """The answer of `llmcost mfu`: a throughput, and MFU and HFU of it under every convention.

    `assumed`: the convention by which TFLOPS were taken to be counted, where nobody said it.
    """

    schema: str
    model: str
    hardware: str
    seq: int
    dtype: str
    recompute: str
    tokens_per_s_per_gpu: float
    conventions: tuple[Utilization, ...]
    log: Logged | None = None
    assumed: str | None = None

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

    def power_share(self, hardware: HardwareSpec) -> float:
        """The share of its TDP that a GPU draws which computes so much; the time in which memory binds is not known."""
        draw = drawn_by(hardware)
        causal = next(each for each in self.conventions if CONVENTIONS[each.convention].pairs == "causal")
        return 1 if draw is None else float(share_drawn(draw, 0, causal.hfu))

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
    log: str | Path | None = None,
    gpus: int | None = None,
) -> Utilizations:
    """MFU and HFU under every convention.

    They are those of a throughput in tokens a second of a GPU, or of an MFU (`printed`, a share of 1) or `tflops` of a
    GPU together with the `convention` under which they were printed (`tflops` alone: ours), or of the steps in a
    training program's `log`, on
    so many `gpus` where it does not tell. Raises InputError for none of these, for several, or for a length, a data
    type or a recomputation that there is not; SpecError for a log without steps.
    """
    read = None if log is None else _read(log, throughput, printed, tflops)
    if read is None and gpus is not None:
        raise InputError(f"--gpus {gpus}: a throughput of a GPU alone is asked about; several are for --log")
    if read is not None and seq is None:
        seq = read.seq
    w = workload_of(model, hardware, Options(context=sequence_of(model, seq), dtype=dtype, weight_dtype="bf16"))
    peak = chip_of(hardware, w.dtype, w.kv_dtype).peak
    if peak is None:
        known = ", ".join(hardware.peak) or "none"
        raise InputError(f"--dtype {w.dtype}: no source gives the peak of {hardware.name} in it; known: {known}")
    if recompute not in RECOMPUTE:
        raise InputError(f"--recompute {recompute}: one of {', '.join(RECOMPUTE)}")
    k = counts_of(model, w.context)
    if read is not None:
        each = _logged(read, k, peak, convention, w.context, gpus)
    elif tflops is not None:
        each = _behind(tflops, k, peak, convention, alone=throughput is None and printed is None)
    else:
        each = _throughput(k, peak, throughput, printed, convention)
    found = tuple(utilization(one, k, each, peak, recompute) for one in CONVENTIONS.values())
    assumed = OWN if tflops is not None and convention is None else None
    logged = read and _said(read, found)
    return Utilizations(SCHEMA, model.name, hardware.name, w.context, w.dtype, recompute, each, found, logged, assumed)


def _read(log: str | Path, *others: float | None) -> Log:
    """The steps of a log. Raises InputError where a throughput is given beside it."""
    if any(other is not None for other in others):
        raise InputError("--log: it tells the throughput; leave out --tokens-per-s, --mfu and --tflops")
    return read_log(Path(log))


def _logged(log: Log, k: Counts, peak: float, convention: str | None, seq: int, gpus: int | None) -> float:
    """Tokens a second of a GPU by a log, or behind the TFLOPS or MFU that it prints. Raises InputError."""
    if convention is None:
        rate = log.tokens_per_s_per_gpu(seq, gpus)
        if rate is not None:
            return rate
    counted = convention or log.counts
    if log.tflops is not None and counted is not None:
        return _behind(log.tflops, k, peak, counted, alone=True)
    if log.mfu is not None and counted is not None:
        return _throughput(k, peak, None, log.mfu, counted)
    raise InputError(f"{log.file}: it tells neither tokens a second nor from what they follow")


def _said(log: Log, found: tuple[Utilization, ...]) -> Logged:
    """What a log says, beside the convention by which its own TFLOPS or MFU come out: its program's before others."""
    ratios: dict[str, float] = {}
    for each in found:
        if log.tflops is not None:
            ratios[each.convention] = log.tflops * 1e12 / (each.mfu * each.peak_flops_per_s)
        elif log.mfu is not None:
            ratios[each.convention] = log.mfu / each.mfu
    same = [name for name, ratio in ratios.items() if abs(ratio - 1) <= SAME]
    convention = log.counts if log.counts in same else min(same, key=lambda name: abs(ratios[name] - 1), default=None)
    ratio = ratios[convention] if convention else min(ratios.values(), key=lambda ratio: abs(ratio - 1), default=None)
    return Logged(
        log.file, log.program, log.steps, log.seconds, log.memory_bytes, log.tflops, log.mfu, convention, ratio
    )


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
        raise InputError("either --tokens-per-s, or --mfu or --tflops and its --convention, or --log")
    check_share("--mfu", printed)
    return float(tokens_per_s(printed, find_convention(convention), k, peak))


def _behind(tflops: float, k: Counts, peak: float, convention: str | None, *, alone: bool) -> float:
    """Tokens a second of a GPU behind TFLOPS as a program logs them: over the FLOPs that it counts of a token.

    Without a convention they are counted as ours, every product and every pair. Raises InputError where more is given.
    """
    if not alone:
        raise InputError("--tflops: says the throughput; leave out --tokens-per-s and --mfu")
    check_number("--tflops", tflops)
    if tflops == 0:
        raise InputError("--tflops 0: above 0")
    counted = utilization(find_convention(convention or OWN), k, 1, peak)
    return float(tflops * 1e12 / counted.model_flops_per_token)
