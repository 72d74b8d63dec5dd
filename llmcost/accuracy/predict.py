"""A case in, predictions out: what the engine expects and its limit, beside each figure that was measured.

One small function a phase, in a table: a new kind of measurement is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from llmcost.accuracy.cases import Case
from llmcost.accuracy.kernels import kernel_time, operator_of
from llmcost.accuracy.runs import step_of
from llmcost.accuracy.setups import Reach, Seconds, Setup, by_default, gpu_of, setup_of, usable_bytes

CACHE_SHARE = 0.9  # of the memory that weights leave: TensorRT-LLM's free_gpu_memory_fraction, by default


class Answer(NamedTuple):
    """One measured figure and what was predicted for it, in the figure's own unit; None where nothing could be."""

    quantity: str
    measured: float
    expected: float | None
    limit: float | None

    @property
    def is_rate(self) -> bool:
        """Whether more is faster."""
        return "per_s" in self.quantity

    @property
    def ratio(self) -> float | None:
        """Predicted over measured."""
        return None if self.expected is None else self.expected / self.measured

    @property
    def beats_limit(self) -> bool:
        """Whether what was measured is faster than the limit allows; a part in a million is rounding."""
        if self.limit is None:
            return False
        return self.measured > self.limit * (1 + 1e-6) if self.is_rate else self.measured < self.limit * (1 - 1e-6)


def answers(case: Case, reach: Reach = by_default) -> list[Answer]:
    """Every figure of a case that the engine has an answer to; `reach`: the default shares and launch costs, or others in their place."""
    if case.source.kind == "micro":
        return list(kernel(case, reach))
    if case.source.kind == "training":
        return list(training(case))
    predictor = PREDICTORS.get(case.settings["phase"])
    found = [] if predictor is None or case.settings["oom"] else list(predictor(case, reach))
    if "memory_bytes" in case.measured:
        found.append(Answer("memory_bytes", case.measured["memory_bytes"], memory(case), None))
    return found


def kernel(case: Case, reach: Reach) -> Iterator[Answer]:
    """One kernel: its time, or its FLOPs a second."""
    run = kernel_time(case, reach)
    if "seconds" in case.measured:
        yield _time(case, "seconds", run)
    if "flops_per_s" in case.measured:
        yield _rate(case, "flops_per_s", operator_of(case).flops(causal=True), run)


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
        yield _time(case, "step_seconds", Seconds(seconds, least))
    elif rates:  # the first alone: the others are the same measurement in other units
        yield _rate(case, rates[0], work[rates[0]], Seconds(seconds, least))
    held = {"tensors": "allocated", "reserved": "reserved", "process": "total"}[case.source.memory]
    for quantity, method in (("memory_bytes", held), ("reserved_bytes", "reserved")):
        if quantity in case.measured:
            yield Answer(
                quantity,
                case.measured[quantity],
                max(getattr(stage, method)() for stage in (step.first, step.last)),
                None,
            )


def decode(case: Case, reach: Reach) -> Iterator[Answer]:
    """Tokens a second of a batch that decodes, at the context halfway through."""
    setup, of = setup_of(case, reach), case.settings
    step = setup and setup.step(of["batch"], (of["prompt"] or 0) + of["output"] / 2)
    yield _rate(case, "decode_tokens_per_s", of["batch"], step)


def prefill(case: Case, reach: Reach) -> Iterator[Answer]:
    """A batch's whole prompt; a plain forward pass computes the logits of every position.

    Stages of a pipeline can work on different parts of a prompt at a time, which the limit allows for.
    """
    setup, of = setup_of(case, reach), case.settings
    every = of["prompt"] if case.engine == "transformers-eager" else 1
    run = setup and setup.prompt(of["batch"], of["prompt"], every)
    run = run and Seconds(run.expected, run.limit / of["pp"])
    for quantity in ("first_token_seconds", "latency_seconds"):
        if quantity in case.measured:
            yield _time(case, quantity, run)
    if "prefill_tokens_per_s" in case.measured:
        yield _rate(case, "prefill_tokens_per_s", of["batch"] * of["prompt"], run)


def request(case: Case, reach: Reach) -> Iterator[Answer]:
    """A batch that starts and ends together: its prompts, which give the first token, then a step for each of the others."""
    setup, of = setup_of(case, reach), case.settings
    first = setup and setup.prompt(of["batch"], of["prompt"])
    step = setup and setup.step(of["batch"], of["prompt"] + of["output"] / 2)
    whole = first and step and first.plus(step.times(of["output"] - 1))
    parts = {"latency_seconds": whole, "first_token_seconds": first, "token_seconds": step}
    for quantity, part in parts.items():
        if quantity in case.measured:
            yield _time(case, quantity, part)
    if "output_tokens_per_s" in case.measured:
        yield _rate(case, "output_tokens_per_s", of["batch"] * of["output"], whole)


def offline(case: Case, reach: Reach) -> Iterator[Answer]:
    """All requests queued at once: what is computed while a sequence comes in and one goes out, as many at a time as
    memory holds.

    Where prompts or degrees are not told, the limit alone: tokens of empty prompts on all GPUs, weights read for
    nothing.
    """
    of = case.settings
    setup = setup_of(case, reach)
    if setup is None or of["prompt"] is None:
        best = setup_of(case, reach, tp=1)
        step = best and best.step(LARGE, of["output"] / 2)
        limit = step and LARGE * of["gpus"] / step.limit
        yield Answer("output_tokens_per_s", case.measured["output_tokens_per_s"], None, limit)
    else:
        yield _rate(case, "output_tokens_per_s", 1, _served(setup, case))


def online(case: Case, reach: Reach) -> Iterator[Answer]:
    """Requests that come at a rate: as many are under way as come in while one is answered (Little's law), until
    memory is full.

    A run ends when its last request is answered. The first token waits for the iteration under way, half of it on
    average.
    """
    of = case.settings
    setup = setup_of(case, reach)
    token = None if setup is None or of["prompt"] is None else _served(setup, case)
    if setup is None or token is None:
        return
    prompt, output, requests = of["prompt"], of["output"], of["requests"]
    step = _under_way(setup, of["rate"] or LARGE, case)
    first = setup.prompt(1, prompt)
    if step is None or first is None:
        return
    answer = first.plus(step.times(output - 1))
    arriving = requests / of["rate"] if of["rate"] else 0
    run = Seconds(
        max(arriving + answer.expected, requests * output * token.expected),
        max(arriving, requests * output * token.limit),
    )
    for quantity, amount in (
        ("output_tokens_per_s", output),
        ("total_tokens_per_s", prompt + output),
        ("requests_per_s", 1),
    ):
        if quantity in case.measured:
            yield _rate(case, quantity, requests * amount, run)
    if "token_seconds" in case.measured:
        yield _time(case, "token_seconds", Seconds(step.expected, setup.step(1, prompt).limit))  # type: ignore[union-attr]
    if "first_token_seconds" in case.measured and of["rate"]:
        yield _time(case, "first_token_seconds", Seconds(first.expected + step.expected / 2, first.limit))


LARGE = 10**9  # sequences among which one reading of the weights vanishes


def _under_way(setup: Setup, rate: float, case: Case) -> Seconds | None:
    """The iteration at which as many sequences are answered as come in, by bisection on how many are under way."""
    prompt, output = case.settings["prompt"], case.settings["output"]
    low, high = 1.0, min(setup.concurrency(prompt + output, CACHE_SHARE), float(case.settings["requests"]))
    for _ in range(40):
        batch = (low * high) ** 0.5
        step = setup.mixed(batch, prompt, output)
        if step is None:
            return None
        low, high = (batch, high) if batch < rate * output * step.expected else (low, batch)
    return setup.mixed(low, prompt, output)


def _served(setup: Setup, case: Case) -> Seconds | None:
    """Seconds that a generated token takes of all GPUs together, at the concurrency that memory allows."""
    of = case.settings
    prompt, output, stages = of["prompt"], of["output"], of["pp"]
    replicas = of["gpus"] / (of["tp"] * stages)  # those that share experts alone count as replicas
    waiting = (of["requests"] or LARGE) / replicas
    kept = min(setup.concurrency(prompt + output, CACHE_SHARE), waiting)  # engines keep room for a request's last token
    most = min(setup.concurrency(prompt + output / 2, 1), waiting)
    if kept < 1:
        return None
    full, best = setup.mixed(kept / stages, prompt, output), setup.mixed(most / stages, prompt, output)
    left = waiting % kept  # requests that start together end together: a last wave of fewer takes longer than its share
    rest = setup.mixed(max(left, 1) / stages, prompt, output)
    if full is None or best is None or rest is None:
        return None
    longer = max(0, rest.expected - left / kept * full.expected) / waiting
    return Seconds((full.expected / kept + longer) / replicas, best.limit / most / replicas)


def memory(case: Case) -> float | None:
    """Bytes on all GPUs at the end of the run, with what the process has beside its tensors where the source counts it."""
    setup, of = setup_of(case), case.settings
    if setup is None:
        return None
    return setup.memory(of["batch"], of["prompt"], int(of["prompt"] + of["output"]), case.source.memory == "process")


def fits(case: Case) -> bool | None:
    """Whether a case fits its GPUs, layers spread evenly over the stages."""
    if case.source.kind == "training":
        told = (
            case.settings["recompute"] is not None and case.settings["task"] != "forward-backward"
        )  # which keeps no optimizer
        step = step_of(case) if told else None
        return None if step is None else step.memory_bytes() <= usable_bytes(gpu_of(case.settings["gpu"]))
    setup, of = setup_of(case), case.settings
    if setup is None or of["batch"] is None or of["output"] is None:
        return None
    return setup.fits(of["batch"], of["prompt"] or 0, int((of["prompt"] or 0) + of["output"]), of["gpus"])


PREDICTORS: dict[str | None, Callable[[Case, Reach], Iterator[Answer]]] = {
    "decode": decode,
    "prefill": prefill,
    "request": request,
    "offline": offline,
    "online": online,
}


def _time(case: Case, quantity: str, run: Seconds | None) -> Answer:
    return Answer(quantity, case.measured[quantity], run and run.expected, run and run.limit)


def _rate(case: Case, quantity: str, amount: float, run: Seconds | None) -> Answer:
    return Answer(quantity, case.measured[quantity], run and amount / run.expected, run and amount / run.limit)
