"""The answer: every figure of an estimate, in base units. Field names are the keys of `--json`.

None means not known, or not to be had without a GPU.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.html import html_table
from llmcost.ground.units import amount, scaled, significant
from llmcost.machine.efficiency import Band
from llmcost.machine.timing import Bound
from llmcost.model.counting import Params, TokenFlops, Traffic
from llmcost.model.spec import ModelSpec
from llmcost.serving.options import Workload

NOTICED = 0.01  # share by which the textbook is faster than the limit before that is said


class Model(NamedTuple):
    """The model's name, its parameters, what of it these are, in words, and the positions that it was made for.

    `mixed_weights`: layers have formats of their own beside the workload's, as a checkpoint has them.
    """

    name: str
    title: str
    params: Params
    counted: str
    max_position_embeddings: Number
    mixed_weights: bool = False


def model_of(model: ModelSpec, params: Params) -> Model:
    """What an answer says of its model."""
    return Model(
        model.name, model.title, params, model.counted or "all", model.max_position_embeddings, model.has_own_formats()
    )


class Hardware(NamedTuple):
    """The GPU's name and maker, and the figures that times and fit rest on; `cache_bytes`: of its shared caches."""

    name: str
    title: str
    vendor: str
    peak_flops_per_s: Number
    bandwidth_bytes_per_s: Number
    memory_bytes: Number
    cache_bytes: Number = 0


class PassFlops(NamedTuple):
    """FLOPs of a forward pass: with every (query, key) pair, and with those that a causal mask leaves."""

    full: Number
    causal: Number


class Flops(NamedTuple):
    """`per_token`: at context c, all keys seen. `prefill`: logits of the last token, with images and sound.

    `forward`: of text, logits of all tokens.
    """

    per_token: TokenFlops
    prefill: PassFlops
    forward: PassFlops


class KvCache(NamedTuple):
    """The cache of the whole batch at its context, and what one token adds to it."""

    bytes: Number
    bytes_per_token: Number


class Encoding(NamedTuple):
    """What towers do for the prompts of a whole batch.

    `prompt_tokens`: of a sequence's prompt, those that stand for images and sound. `flops`: of all sequences.
    """

    prompt_tokens: int
    flops: Number


class Memory(NamedTuple):
    """Bytes on the fullest GPU; what depends on the GPU's memory is None without a GPU.

    `weights_bytes`, `kv_cache_bytes`: as engines load and allocate them; `kv_cache_least_bytes`: the keys and values
    that are needed, without pages and padding. `used_bytes`: all that the process holds; `set_aside_bytes`: what it
    leaves free; `total_bytes`: both, which must fit. `overhead_bytes`: what is set aside and what the runtime holds.
    `sampler_bytes`: what an engine's sampler takes, one of the moments of which `activation_bytes` is the worst.
    `mem_fraction_static`: the share of what the runtime leaves that weights and cache take, under engines that set it.
    `max_batch`: sequences of all GPUs together that fit with this context. `max_context`: tokens that fit with this
    batch.
    """

    weights_bytes: Number
    kv_cache_bytes: Number
    kv_cache_least_bytes: Number
    activation_bytes: Number
    runtime_bytes: Number = None
    used_bytes: Number = None
    set_aside_bytes: Number = None
    overhead_bytes: Number = None
    total_bytes: Number = None
    capacity_bytes: Number = None
    usable_bytes: Number = None
    fits: Number = None
    max_batch: Number = None
    max_context: Number = None
    sampler_bytes: Number = None
    mem_fraction_static: Number = None


class Offloaded(NamedTuple):
    """What is in the host's memory, and what goes between it and the GPU's.

    `usable_bytes`: of the host's memory. `read_bytes`: of it in a decode step. `sent_bytes_per_step` and
    `sent_bytes_of_prefill`: over the link in a decode step, and for all prompts; None where a time is not known.
    `link_bytes_per_s`: that copies reach.
    """

    host: str
    weights_bytes: Number
    kv_cache_bytes: Number
    usable_bytes: Number
    fits: Number
    read_bytes: Number
    sent_bytes_per_step: Number
    sent_bytes_of_prefill: Number
    link_bytes_per_s: Number


class PhaseTraffic(NamedTuple):
    """Compulsory bytes of a decode step, on one GPU."""

    decode: Traffic


class Rate(NamedTuple):
    """Time of a pass, tokens a second of all GPUs and of one, and sequences a second of all."""

    seconds: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    sequences_per_s: Number


class ExpectedRate(NamedTuple):
    """The same as expected; what the expectation rests on, and the mean error that this basis has shown."""

    seconds: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    sequences_per_s: Number
    basis: str
    error: float | None


class Prefill(NamedTuple):
    """The prompts of the whole batch on three bases; `bound`: floors of one GPU; `limited_by`: the highest of them."""

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
    """The same as expected; what the expectation rests on, and the mean error that this basis has shown."""

    seconds_per_step: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    tokens_per_s_per_user: Number
    basis: str
    error: float | None


class Decode(NamedTuple):
    """One decode step of the batch at the context on three bases; `bound` and `limited_by` as of prefill."""

    textbook: StepRate
    limit: StepRate
    expected: ExpectedStepRate
    bound: Bound
    limited_by: str | None


class RequestTimes(NamedTuple):
    """Seconds to the first token (TTFT), of each other one on average (TPOT), and to the last one (latency).

    `output_tokens_per_s`: of the whole batch.
    """

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
    """Requests, output tokens, tokens in and out, and output tokens of one GPU, each a second."""

    requests_per_s: Number
    output_tokens_per_s: Number
    total_tokens_per_s: Number
    output_tokens_per_s_per_gpu: Number


class ServingTimes(NamedTuple):
    """The same as expected; mean seconds to the first token, of each other one, and to the last one.

    `basis`, `error`: what the expectation rests on, and the mean error that such throughputs have shown.
    """

    requests_per_s: Number
    output_tokens_per_s: Number
    total_tokens_per_s: Number
    output_tokens_per_s_per_gpu: Number
    ttft_seconds: Number
    tpot_seconds: Number
    latency_seconds: Number
    basis: str
    error: float | None


class Pool(NamedTuple):
    """GPUs that run prompts, or that decode, in so many `replicas` of a layout.

    `busy_share`: of what the pool could do: of prompts, or of the requests that it has room for; None: not known.
    """

    gpus: Number
    replicas: Number
    tp: Number
    pp: Number
    dp: Number
    ep: Number
    busy_share: Number


class Pools(NamedTuple):
    """Prompts apart from decode. `prompt_seconds`: from a prompt's arrival to its end; `sent_seconds`: of its cache."""

    prefill: Pool
    decode: Pool
    prompt_seconds: Number
    sent_seconds: Number


class Simulated(NamedTuple):
    """Why the formula of a mix is not enough, and the run of so many requests that `expected` is of in its place.

    `prompt`, `output`: tokens of the longest requests, of which others have `range_ratio` at least. `ttft_p50_seconds`:
    the median. None where there is no such run, as it would take too long.
    """

    because: str
    requests: int | None = None
    prompt: int | None = None
    output: int | None = None
    range_ratio: float | None = None
    ttft_p50_seconds: float | None = None


class Serving(NamedTuple):
    """A mix of requests under continuous batching.

    `running`: how many run at a time on all GPUs. `max_concurrency`: how many have room for their caches, each half
    answered. `kv_cache_bytes`: of those that run on the fullest GPU. `pools`: None where prompts run beside decode;
    where they do not, `running` and what follows it are of the GPUs that decode. `draft_bytes`: weights of what guesses
    tokens on the fullest GPU, beside the model's own; None where nothing does that has any. `load_share`:
    requests that arrive at a rate, over those that are answered at most. `simulated`: None where `expected` is the
    formula's, and holds.
    """

    running: Number
    max_concurrency: Number
    kv_cache_bytes: Number
    limited_by: str | None  # what keeps `running` at that: concurrency, requests, memory, chunk, rate or prefill
    limit: ServingRates
    expected: ServingTimes
    pools: Pools | None = None
    draft_bytes: Number = None
    load_share: Number = None
    simulated: Simulated | None = None


class TrainingRate(NamedTuple):
    """Tokens a second of one GPU, and GPU-years of 365 days for the tokens asked for."""

    tokens_per_s: Number
    gpu_years: Number


class ExpectedTrainingRate(NamedTuple):
    """The same as expected; what the expectation rests on, and the mean error that this basis has shown."""

    tokens_per_s: Number
    gpu_years: Number
    basis: str
    error: float | None


class TrainingRates(NamedTuple):
    """Forward and backward on sequences of the prompt's length on one GPU, without optimizer step and communication.

    `state_bytes`: weights, gradients and Adam's state at the textbook's 16 bytes a parameter.
    """

    textbook: TrainingRate
    limit: TrainingRate
    expected: ExpectedTrainingRate
    state_bytes: Number


class Accuracy(NamedTuple):
    """How far off expected figures of this kind were on published runs: of prompts, decode, and requests under load.

    `training`: none, as no published run was predicted by it; `llmcost train` predicts whole steps.
    """

    prefill: Band
    decode: Band
    throughput: Band
    ttft: Band
    tpot: Band
    training: Band


class Estimate(NamedTuple):
    """Everything `llmcost estimate` answers.

    `unmeasured`: kinds of kernels that the engine has no measured numbers of, in words: shares of the peaks price them.
    None: there are none.
    """

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
    training: TrainingRates
    accuracy: Accuracy
    encoding: Encoding | None = None
    offload: Offloaded | None = None
    unmeasured: str | None = None

    def beyond_limit(self) -> list[str]:
        """The phases in which the textbook is faster than the limit by a hundredth or more.

        Its rules count one resource alone, FLOPs or bytes, and not all of that.
        """
        times = {
            "prefill": (self.prefill.textbook.seconds, self.prefill.limit.seconds),
            "decode": (self.decode.textbook.seconds_per_step, self.decode.limit.seconds_per_step),
            "training": (self.training.limit.tokens_per_s, self.training.textbook.tokens_per_s),  # faster: the larger
        }
        known = {phase: pair for phase, pair in times.items() if None not in pair}
        return [phase for phase, (less, more) in known.items() if less < (1 - NOTICED) * more]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost estimate --json`."""
        document: dict[str, Any] = to_dict(self)
        return document | {"textbook_beyond_limit": self.beyond_limit()}

    def rows(self) -> list[dict[str, Any]]:
        """A row a figure: its path in the JSON and its value, in base units."""
        figures = [*leaves(self), ("textbook_beyond_limit", self.beyond_limit())]
        return [{"quantity": path, "value": value} for path, value in figures]

    def __repr__(self) -> str:
        """In one line: what, where, whether it fits, how fast it is expected to run."""
        if self.hardware is None:
            params, cache = amount(self.model.params.total), scaled(self.kv_cache.bytes_per_token, "B")
            return f"<Estimate {self.model.name}: {params} parameters, KV cache {cache} a token>"
        gpus = f"{self.workload.all_gpus():,} × " if self.workload.all_gpus() > 1 else ""
        speeds = f"prefill {_rate(self.prefill.expected)}"
        if self.traffic.decode.total_bytes is not None:
            speeds += f", decode {_rate(self.decode.expected)}"
        fits = "fits" if self.memory.fits else "does not fit"
        return f"<Estimate {self.model.name} on {gpus}{self.hardware.name}: {fits}, {speeds}>"

    def _repr_html_(self) -> str:
        rows = [
            {"": name, **{basis: _rate(getattr(rates, basis)) for basis in ("textbook", "limit", "expected")}}
            for name, rates in (("prefill", self.prefill), ("decode", self.decode))
        ]
        return html_table(repr(self), rows if self.hardware else ())


def _rate(of: Any) -> str:
    return "not known" if of.tokens_per_s is None else f"{significant(of.tokens_per_s)} tokens/s"


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
