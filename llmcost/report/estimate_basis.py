"""What the figures of an estimate rest on, below its tables."""

from __future__ import annotations

from llmcost.ground.units import scaled
from llmcost.machine.defaults import BASIS
from llmcost.machine.efficiency import OWN_RUNS
from llmcost.report.estimate_shown import Shown, generates
from llmcost.report.figures import UNKNOWN, band_in_words
from llmcost.serving.results import NOTICED, Estimate, Hardware

NAMES = {"ttft": "TTFT", "tpot": "TPOT"}


def notes_of(e: Estimate, shown: Shown) -> list[str]:
    """What training would keep, where it is shown."""
    assert e.hardware is not None
    if not shown.training or e.prefill.limited_by is None:
        return []
    state = f"{scaled(e.training.state_bytes, 'B')} of weights, gradients and Adam's moments (16 bytes a parameter)"
    short = "" if e.training.state_bytes <= e.hardware.memory_bytes else ", more than one such GPU has"
    speed = "Its speed is that of a micro-batch forward and backward on one GPU; llmcost train times whole steps."
    return [
        f"Training would keep {state}{short}.",
        *([] if e.training.limit.tokens_per_s is None else [speed]),
    ]


def lacking(e: Estimate, chip: Hardware) -> str:
    """The figure of the GPU that no source gives, without which there is no time."""
    if chip.bandwidth_bytes_per_s is None:
        return "The memory bandwidth of this GPU"
    if chip.peak_flops_per_s is None:
        return f"The dense {e.workload.dtype} peak of this GPU"
    return "How fast such GPUs reach each other, in a node or between nodes,"


def bases_of(e: Estimate, shown: Shown) -> list[str]:
    """What the bases that are shown mean, and how far off expected figures were."""
    decode = "; decode at full bandwidth" * generates(e)
    both_ways = e.flops.prefill.causal == e.flops.prefill.full
    pairs = "all" if both_ways else "causal"
    placed = "" if e.offload is None else "; all on the GPU"
    limit = f"limit     no implementation is faster: {pairs} pairs at peak, compulsory bytes at full bandwidth"
    textbook = f"textbook  {e.workload.mfu:.0%} of peak (--mfu) and every (query, key) pair{decode}{placed}"
    said = {
        "textbook": [textbook, *_beyond_limit(e)],
        "limit": [limit, *_held_on_chip(e)],
        "expected": [*_expected(e.decode.expected.basis), *_unmeasured(e), *_errors(e), *shown.engine],
    }
    return [line for basis in shown.bases for line in said[basis]]


def _held_on_chip(e: Estimate) -> list[str]:
    """What the limit leaves in the chip's caches, where that is all weights or more."""
    assert e.hardware is not None
    chip, floor = e.hardware, e.decode.bound.memory_seconds
    if floor is None or e.traffic.decode.total_bytes is None:
        return []
    here = e.traffic.decode.total_bytes - (e.offload.read_bytes if e.offload is not None else 0)
    if floor >= here / chip.bandwidth_bytes_per_s * (1 - NOTICED):
        return []
    return [f"          what fits the chip's caches ({scaled(chip.cache_bytes, 'B')}) is not read from memory again"]


def _beyond_limit(e: Estimate) -> list[str]:
    """Where the textbook is faster than the limit, which it may be by its definition."""
    phases = e.beyond_limit()
    if not phases:
        return []
    return [f"          faster than the limit in {' and '.join(phases)}: its rule counts FLOPs or bytes alone"]


def _expected(basis: str) -> list[str]:
    """What expected times rest on: a profile, or the defaults."""
    if basis != BASIS:
        return [f"expected  kernel by kernel, {basis}"]
    return ["expected  kernel by kernel, at the shares of peak and bandwidth that others measured of such kernels"]


def _unmeasured(e: Estimate) -> list[str]:
    """The kinds of kernels that stand on no measurement of the engine's own."""
    if e.unmeasured is None:
        return []
    return [f"          not measured, at usual shares of peak and bandwidth: {e.unmeasured}"]


def _errors(e: Estimate) -> list[str]:
    """How far off each kind of expected figure was on published runs, or that too few are known."""
    phases = ["prefill", "decode"] + ["throughput", "ttft", "tpot"] * (e.serving is not None)
    said = [f"{NAMES.get(phase, phase):12}{band_in_words(getattr(e.accuracy, phase))}" for phase in phases]
    if not generates(e):
        said = [f"{'whole batch':12}{band_in_words(e.accuracy.prefill)}"]
    kind = e.accuracy.prefill.of
    if not kind:
        of = "by a profile of your own" if e.offload is None else "of a model that is partly on the host"
        return [f"error     {UNKNOWN}: no published run was predicted {of}"]
    if kind == OWN_RUNS:
        known = [each for each in said if UNKNOWN not in each]
        return [f"error     {kind}:", *(f"          {each}" for each in known)]
    whose = "optimised engines'" if e.workload.of_no_program() else f"under {e.workload.engine},"
    return [
        f"error     {whose} published runs of {kind} that no share was fitted to:",
        *(f"          {each}" for each in said),
    ]
