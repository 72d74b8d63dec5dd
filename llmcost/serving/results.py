"""The answer: every figure of an estimate, in base units. Field names are the keys of `--json`.

None means not known, or not to be had without a GPU.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.machine.defaults import Launch
from llmcost.machine.timing import Bound
from llmcost.model.counting import Params, TokenFlops, Traffic


class Model(NamedTuple):
    """The model's name and its parameters."""

    name: str
    title: str
    params: Params


class Hardware(NamedTuple):
    """The GPU's name and the three figures that times and fit rest on."""

    name: str
    title: str
    peak_flops_per_s: Number
    bandwidth_bytes_per_s: Number
    memory_bytes: Number


class Workload(NamedTuple):
    """What was computed: the options with the defaults filled in."""

    batch: Number
    context: Number
    prompt: Number
    output: Number  # None: no request is followed to its end
    dtype: str
    weight_dtype: str
    kv_dtype: str
    mfu: Number
    memory_utilization: Number
    tokens: Number
    tp: Number = 1
    pp: Number = 1
    dp: Number = 1
    ep: Number = 1
    gpus: Number = 1
    gpus_per_node: Number = 8
    chunk: Number = None  # None: prompts in one piece
    concurrency: Number = None  # requests in flight; None: as many as there are
    rate: Number = None  # requests a second that arrive; None: one comes where another ends, or all are there at once
    requests: Number = None  # of a batch job, or that arrive in all; None: without end
    launch: Launch = "graph"
    link: str | None = None
    head_dtype: str | None = None
    logits: str = "last"
    free_memory_fraction: Number = None  # of what the model leaves; None: memory_utilization holds
    batch_prompts: bool = False
    communicator: bool = False
    reserve_output: bool = False

    def is_mix(self) -> bool:
        """Whether there is a mix of requests."""
        return any(amount is not None for amount in (self.concurrency, self.rate, self.requests))

    def at_most(self) -> list[Number]:
        """Bounds on the requests that are in flight at a time, as far as they are given."""
        return [amount for amount in (self.concurrency, self.requests) if amount is not None]


class PassFlops(NamedTuple):
    """FLOPs of a forward pass: with every (query, key) pair, and with those that a causal mask leaves."""

    full: Number
    causal: Number


class Flops(NamedTuple):
    """`per_token`: at context c, all keys seen. `prefill`: logits of the last token. `forward`: logits of all."""

    per_token: TokenFlops
    prefill: PassFlops
    forward: PassFlops


class KvCache(NamedTuple):
    """The cache of the whole batch at its context, and what one token adds to it."""

    bytes: Number
    bytes_per_token: Number


class Memory(NamedTuple):
    """Bytes on the fullest GPU. Without a GPU, what depends on its memory is None. The largest batch is that of all
    GPUs.

    `overhead`: what is set aside, and the runtime's own.
    """

    weights_bytes: Number
    kv_cache_bytes: Number
    activation_bytes: Number
    runtime_bytes: Number
    overhead_bytes: Number
    total_bytes: Number
    capacity_bytes: Number
    usable_bytes: Number
    fits: Number
    max_batch: Number
    max_context: Number


class PhaseTraffic(NamedTuple):
    """Compulsory bytes of a decode step, on one GPU."""

    decode: Traffic


class Rate(NamedTuple):
    """Time of a pass, and tokens a second of all GPUs and of one."""

    seconds: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number


class ExpectedRate(NamedTuple):
    """The same as it should run; what that rests on, and the error this basis has shown."""

    seconds: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    basis: str
    error: float | None


class Prefill(NamedTuple):
    """The whole prompt of the whole batch."""

    textbook: Rate
    limit: Rate
    expected: ExpectedRate
    bound: Bound
    limited_by: str | None


class StepRate(NamedTuple):
    """Time of one decode step, and tokens a second: of the whole batch, of one GPU, of one sequence."""

    seconds_per_step: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    tokens_per_s_per_user: Number


class ExpectedStepRate(NamedTuple):
    """The same as it should run; what that rests on, and the error this basis has shown."""

    seconds_per_step: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    tokens_per_s_per_user: Number
    basis: str
    error: float | None


class Decode(NamedTuple):
    """One decode step of the batch at the context."""

    textbook: StepRate
    limit: StepRate
    expected: ExpectedStepRate
    bound: Bound
    limited_by: str | None


class RequestTimes(NamedTuple):
    """Time to the first token, mean time of each other one, to the last one; output tokens a second of the whole batch."""

    ttft_seconds: Number
    tpot_seconds: Number
    latency_seconds: Number
    output_tokens_per_s: Number


class Request(NamedTuple):
    """A batch of requests that begin together and give `output` tokens each."""

    textbook: RequestTimes
    limit: RequestTimes
    expected: RequestTimes


class ServingRates(NamedTuple):
    """A second: requests, output tokens, tokens in and out, output tokens of one GPU."""

    requests_per_s: Number
    output_tokens_per_s: Number
    total_tokens_per_s: Number
    output_tokens_per_s_per_gpu: Number


class ServingTimes(NamedTuple):
    """The same as it should run; time to the first token, of each other one, to the last one."""

    requests_per_s: Number
    output_tokens_per_s: Number
    total_tokens_per_s: Number
    output_tokens_per_s_per_gpu: Number
    ttft_seconds: Number
    tpot_seconds: Number
    latency_seconds: Number


class Serving(NamedTuple):
    """A mix of requests under continuous batching: how many run at a time, what keeps it at that, how many have room."""

    running: Number
    max_concurrency: Number
    limited_by: str | None  # concurrency, memory or chunk
    limit: ServingRates
    expected: ServingTimes


class TrainingRate(NamedTuple):
    """Tokens a second of one GPU, and GPU-years of 365 days for the tokens asked for."""

    tokens_per_s: Number
    gpu_years: Number


class ExpectedTrainingRate(NamedTuple):
    """The same as it should run; what that rests on, and the error this basis has shown."""

    tokens_per_s: Number
    gpu_years: Number
    basis: str
    error: float | None


class Training(NamedTuple):
    """Forward and backward on sequences of the prompt's length on one GPU, without optimizer step and communication.

    `state_bytes`: weights, gradients and Adam's state at the textbook's 16 bytes a parameter.
    """

    textbook: TrainingRate
    limit: TrainingRate
    expected: ExpectedTrainingRate
    state_bytes: Number


class Estimate(NamedTuple):
    """Everything `llmcost estimate` answers."""

    schema: str
    model: Model
    hardware: Hardware | None
    workload: Workload
    flops: Flops
    kv_cache: KvCache
    memory: Memory
    traffic: PhaseTraffic
    prefill: Prefill
    decode: Decode
    request: Request | None
    serving: Serving | None
    training: Training


def to_dict(result: Any) -> Any:
    """A result as plain data for JSON: nested mappings; whole floats of bytes and counts as integers."""
    if hasattr(result, "_asdict"):
        return {key: to_dict(value) for key, value in zip(result._fields, result, strict=True)}
    if isinstance(result, dict):
        return {key: to_dict(value) for key, value in result.items()}
    if isinstance(result, tuple | list):
        return [to_dict(value) for value in result]
    if isinstance(result, float) and result.is_integer() and result > 1:
        return int(result)
    return result


def leaves(result: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure with its path, as in the JSON: `flops.per_token.linear`."""
    for key, value in zip(result._fields, result, strict=True):
        if hasattr(value, "_asdict"):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
