"""From a case to predictions: what `estimate`, or a training step, answers beside each figure that was measured.

ANSWERS says which figure of an estimate a measurement is compared with: a new kind of measurement is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

from llmcost.accuracy.ask import Figures, asked, best_of, gpu_of, options_of
from llmcost.accuracy.cases import Case
from llmcost.accuracy.kernels import kernel_time, operator_of
from llmcost.accuracy.runs import hours_of, states_of, step_of
from llmcost.ground.algebra import Number
from llmcost.machine.chip import usable_bytes
from llmcost.machine.timing import rate
from llmcost.serving.results import Estimate
from llmcost.training.step import Step

Read: TypeAlias = Callable[[Any], tuple[Number, Number]]  # of an Estimate: a figure as expected, and at best

ROUNDING = 1e-6  # of a measurement


class Answer(NamedTuple):
    """One measured figure and what was predicted for it, in the figure's own unit; None where nothing could be."""

    quantity: str
    measured: float
    expected: Number
    limit: Number

    @property
    def is_rate(self) -> bool:
        """Whether the figure is a rate, of which more is faster; otherwise it is a time, or memory."""
        return "per_s" in self.quantity

    @property
    def ratio(self) -> Number:
        """Predicted over measured; None where nothing was predicted."""
        return None if self.expected is None else self.expected / self.measured

    @property
    def beats_limit(self) -> bool:
        """Whether what was measured is faster than the limit allows, by more than rounding."""
        if self.limit is None:
            return False
        over: float = self.measured / self.limit if self.is_rate else self.limit / self.measured
        return over > 1 + ROUNDING


def answers(case: Case, profile: str | None = None, figures: Figures | None = None) -> list[Answer]:
    """A prediction for every figure of a case that there is one for.

    It goes by `profile`, or as `estimate` does by the profile that ships for the GPU, or by the defaults; `figures`
    stand in place of the defaults.
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
    """A training step's time or rate, in the source's unit, and memory of the fullest GPU; of a whole run its hours."""
    if "gpu_seconds" in case.measured:
        hours = hours_of(case)
        if hours is not None:
            yield Answer("gpu_seconds", case.measured["gpu_seconds"], *hours)
        return
    step = step_of(case)
    if step is None or case.settings["oom"]:
        return
    timed = time_of(case, step)
    if timed is not None:
        yield timed
    held = {"tensors": "allocated", "reserved": "reserved", "process": "total"}[case.source.memory]
    for quantity, method in (("memory_bytes", held), ("reserved_bytes", "reserved")):
        if quantity in case.measured:
            most = max(getattr(stage, method)() for stage in step.stages())
            yield Answer(quantity, case.measured[quantity], most, None)
    states = None if "state_bytes" not in case.measured else states_of(case)
    if states is not None:
        yield Answer("state_bytes", case.measured["state_bytes"], states, None)


def time_of(case: Case, step: Step) -> Answer | None:
    """The time or rate of a run's step, in the source's unit: the first alone where it tells it in several."""
    seconds, least = step.seconds.total, step.bound.seconds()
    if case.settings["task"] == "forward-backward":
        seconds, least = seconds - step.seconds.optimizer, step.bound.compute_seconds
    if "step_seconds" in case.measured:
        return Answer("step_seconds", case.measured["step_seconds"], seconds, least)
    work = {
        "tokens_per_s": step.tokens,
        "tokens_per_s_per_gpu": step.tokens / step.gpus,
        "samples_per_s": case.settings["global_batch"],
        "model_flops_per_s_per_gpu": step.flops.model / step.gpus,
        "flops_per_s_per_gpu": step.flops.hardware / step.gpus,
    }
    name = next((name for name in work if name in case.measured), None)
    if name is None:
        return None
    return Answer(name, case.measured[name], rate(work[name], seconds), rate(work[name], least))


def inference(case: Case, profile: str | None, figures: Figures | None) -> Iterator[Answer]:
    """What `estimate` answers to the case's options. Where no source tells these, a batch job has a limit alone."""
    of, measured = case.settings, case.measured
    options = options_of(case, profile)
    if options is None and of["phase"] == "offline":
        best = asked(case, best_of(case, profile))
        limit = best and best.request and rate(best.workload.batch, best.request.limit.tpot_seconds)
        yield Answer("output_tokens_per_s", measured["output_tokens_per_s"], None, limit)
        return
    answer = asked(case, options, figures)
    if not of["oom"] and not (options is None and of["phase"] == "online"):
        for quantity, figure in ANSWERS.get(of["phase"], {}).items():
            # In which order the prompts of a batch job run, no source tells.
            no_order = of["phase"] == "online" and of["rate"] is None and of["concurrency"] is None
            untold = quantity == "first_token_seconds" and no_order
            if quantity in measured and not untold:
                yield Answer(quantity, measured[quantity], *((None, None) if answer is None else figure(answer)))
    if "memory_bytes" in measured:
        process = case.source.memory == "process"
        yield Answer("memory_bytes", measured["memory_bytes"], answer and _held(answer, process=process), None)


def _held(answer: Estimate, *, process: bool) -> Number:
    """Bytes of all GPUs of a pipeline, each as full as the fullest; `process`: with CUDA context and buffers."""
    memory = answer.memory
    model = memory.weights_bytes + memory.kv_cache_bytes + memory.activation_bytes
    return answer.workload.pp * (model + (memory.runtime_bytes if process else 0))


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
    """Tokens a second of the whole batch, from the mean time of a decode step."""
    batch, request = e.workload.batch, e.request
    if request is None:  # no output was told
        return None, None
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
    """Whether a case should fit its GPUs with all of their memory in use; None where too little of it is known.

    A forward and backward pass alone keeps no optimizer's states, which a step counts: nothing is said of one.
    """
    if case.source.kind == "training":
        if case.settings["recompute"] is None or case.settings["task"] == "forward-backward":
            return None
        step = step_of(case)
        return None if step is None else step.memory_bytes() <= usable_bytes(gpu_of(case.settings["gpu"]))
    options = options_of(case) if case.source.kind == "inference" else None  # of a kernel nothing is said
    if options is None or options.output is None:
        return None
    answer = asked(case, options._replace(free_memory_fraction=1))
    return None if answer is None else answer.memory.fits
