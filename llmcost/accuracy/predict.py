"""A case in, predictions out: what the product answers to its question, beside each figure that was measured.

Which figure of the answer a measurement is, stands in ANSWERS: a new kind of measurement is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

from llmcost.accuracy.ask import Figures, asked, best_of, gpu_of, options_of
from llmcost.accuracy.cases import Case
from llmcost.accuracy.kernels import kernel_time, operator_of
from llmcost.accuracy.runs import step_of
from llmcost.ground.algebra import Number
from llmcost.machine.chip import usable_bytes
from llmcost.machine.timing import rate
from llmcost.serving.results import Estimate

Read: TypeAlias = Callable[[Any], tuple[Number, Number]]  # of an Estimate: a figure as expected, and at best


class Answer(NamedTuple):
    """One measured figure and what was predicted for it, in the figure's own unit; None where nothing could be."""

    quantity: str
    measured: float
    expected: Number
    limit: Number

    @property
    def is_rate(self) -> bool:
        """Whether more is faster."""
        return "per_s" in self.quantity

    @property
    def ratio(self) -> Number:
        """Predicted over measured."""
        return None if self.expected is None else self.expected / self.measured

    @property
    def beats_limit(self) -> bool:
        """Whether what was measured is faster than the limit allows; a part in a million is rounding."""
        if self.limit is None:
            return False
        fastest: bool = (
            self.measured > self.limit * (1 + 1e-6) if self.is_rate else self.measured < self.limit * (1 - 1e-6)
        )
        return fastest


def answers(case: Case, profile: str | None = None, figures: Figures | None = None) -> list[Answer]:
    """Every figure of a case that the product has an answer to.

    By a profile, by the one that ships for the GPU or by the defaults, as `estimate` does; or by other `figures` in
    place of the defaults.
    """
    if case.source.kind == "micro":
        return list(kernel(case, profile, figures))
    if case.source.kind == "training":
        return list(training(case))
    return list(inference(case, profile, figures))


def kernel(case: Case, profile: str | None, figures: Figures | None) -> Iterator[Answer]:
    """One kernel: its time, or its FLOPs a second."""
    expected, least = kernel_time(case, profile, figures)
    if "seconds" in case.measured:
        yield Answer("seconds", case.measured["seconds"], expected, least)
    if "flops_per_s" in case.measured:
        flops = operator_of(case).flops(causal=True)
        yield Answer("flops_per_s", case.measured["flops_per_s"], rate(flops, expected), rate(flops, least))


def training(case: Case) -> Iterator[Answer]:
    """A training step's time, as the source has it, and its memory on the fullest GPU. Shares of training are training/shares.py's."""
    step = step_of(case)
    if step is None or case.settings["oom"]:
        return
    optimizer = step.seconds.optimizer if case.settings["task"] == "forward-backward" else 0
    seconds, least = step.seconds.total - optimizer, step.bound.compute_seconds if optimizer else step.bound.seconds()
    work = {
        "tokens_per_s": step.tokens,
        "tokens_per_s_per_gpu": step.tokens / step.gpus,
        "samples_per_s": case.settings["global_batch"],
        "model_flops_per_s_per_gpu": step.flops.model / step.gpus,
        "flops_per_s_per_gpu": step.flops.hardware / step.gpus,
    }
    rates = [name for name in work if name in case.measured]
    if "step_seconds" in case.measured:
        yield Answer("step_seconds", case.measured["step_seconds"], seconds, least)
    elif rates:  # the first alone: the others are the same measurement in other units
        amount, measured = work[rates[0]], case.measured[rates[0]]
        yield Answer(rates[0], measured, rate(amount, seconds), rate(amount, least))
    held = {"tensors": "allocated", "reserved": "reserved", "process": "total"}[case.source.memory]
    for quantity, method in (("memory_bytes", held), ("reserved_bytes", "reserved")):
        if quantity in case.measured:
            most = max(getattr(stage, method)() for stage in (step.first, step.last))
            yield Answer(quantity, case.measured[quantity], most, None)


def inference(case: Case, profile: str | None, figures: Figures | None) -> Iterator[Answer]:
    """What `estimate` answers to the case's options; where these are not told, for a queue of requests the limit alone."""
    of, measured = case.settings, case.measured
    options = options_of(case, profile)
    answer = asked(case, options, figures)
    if options is None and of["phase"] == "offline":
        best = asked(case, best_of(case, profile))
        limit = best and best.request and rate(best.workload.batch, best.request.limit.tpot_seconds)
        yield Answer("output_tokens_per_s", measured["output_tokens_per_s"], None, limit)
        return
    if not of["oom"] and not (options is None and of["phase"] == "online"):
        for quantity, figure in ANSWERS.get(of["phase"], {}).items():
            untold = quantity == "first_token_seconds" and of["phase"] == "online" and of["rate"] is None
            if quantity in measured and not untold:  # the order in which prompts of a batch job are taken
                yield Answer(quantity, measured[quantity], *((None, None) if answer is None else figure(answer)))
    if "memory_bytes" in measured:
        process = case.source.memory == "process"
        yield Answer("memory_bytes", measured["memory_bytes"], answer and _held(answer, process=process), None)


def _held(answer: Estimate, *, process: bool) -> Number:
    """What GPUs of a pipeline hold together, as much as the fullest of them; with what the process has beside the model."""
    memory = answer.memory
    return answer.workload.pp * (
        memory.weights_bytes
        + memory.kv_cache_bytes
        + memory.activation_bytes
        + (memory.runtime_bytes if process else 0)
    )


def _prefill(field: str) -> Read:
    return lambda e: (getattr(e.prefill.expected, field), getattr(e.prefill.limit, field))


def _request(field: str) -> Read:
    return lambda e: (getattr(e.request.expected, field), getattr(e.request.limit, field))


def _mix(field: str) -> Read:
    return lambda e: (getattr(e.serving.expected, field), getattr(e.serving.limit, field))


def _in_mix(field: str) -> Read:
    """A time of a request among others, which is at best that of a request alone."""
    return lambda e: (getattr(e.serving.expected, field), getattr(e.request.limit, field))


def _decoded(e: Any) -> tuple[Number, Number]:
    """Tokens of the whole batch while each of its sequences gets one."""
    batch, request = e.workload.batch, e.request
    return rate(batch, request.expected.tpot_seconds), rate(batch, request.limit.tpot_seconds)


ANSWERS: dict[str | None, dict[str, Read]] = {
    "decode": {"decode_tokens_per_s": _decoded},
    "prefill": {
        "first_token_seconds": _prefill("seconds"),
        "latency_seconds": _prefill("seconds"),
        "prefill_tokens_per_s": _prefill("tokens_per_s"),
    },
    "request": {
        "latency_seconds": _request("latency_seconds"),
        "first_token_seconds": _request("ttft_seconds"),
        "token_seconds": _request("tpot_seconds"),
        "output_tokens_per_s": _request("output_tokens_per_s"),
    },
    "offline": {"output_tokens_per_s": _mix("output_tokens_per_s")},
    "online": {
        "output_tokens_per_s": _mix("output_tokens_per_s"),
        "total_tokens_per_s": _mix("total_tokens_per_s"),
        "requests_per_s": _mix("requests_per_s"),
        "token_seconds": _in_mix("tpot_seconds"),
        "first_token_seconds": _in_mix("ttft_seconds"),
    },
}


def fits(case: Case) -> bool | None:
    """Whether a case fits its GPUs, all of whose memory may be used."""
    if case.source.kind == "training":
        told = case.settings["recompute"] is not None
        step = step_of(case) if told and case.settings["task"] != "forward-backward" else None  # which has no optimizer
        return None if step is None else step.memory_bytes() <= usable_bytes(gpu_of(case.settings["gpu"]))
    options = options_of(case)
    if options is None or options.output is None:
        return None
    answer = asked(case, options._replace(memory_utilization=1))
    return None if answer is None else answer.memory.fits
