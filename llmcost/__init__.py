"""llmcost: what a large language model costs, exactly counted and honestly predicted.

    import llmcost
    llmcost.estimate("llama3-8b", "rtx4090", batch=4)
    # <Estimate llama3-8b on rtx4090: fits, prefill 6,884 tokens/s, decode 161 tokens/s>

A model or a GPU is a name (`llmcost.models()` and `llmcost.hardware()` list them), a path to a spec of your own, or a
loaded spec. Options are keywords, named and in units as on the command line. A result is a named tuple in base units
(bytes, FLOPs, seconds, dollars) with `to_dict()` (the document of `--json`) and `rows()` (for pandas). Bad input raises
`InputError`, a keyword that is no option `TypeError`. docs/python.md explains more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from llmcost.ground import __version__

if TYPE_CHECKING:
    from llmcost.accuracy.scoreboard import Scoreboard
    from llmcost.formulas.explanations import Explanations
    from llmcost.formulas.operators import PhaseOperators
    from llmcost.ground.errors import InputError, SpecError
    from llmcost.model.spec import ModelSpec
    from llmcost.search.compare import Comparison
    from llmcost.search.fit import Offers
    from llmcost.search.plan_serving import ServingPlan
    from llmcost.search.plan_training import TrainingPlan
    from llmcost.search.sweep_rows import SweepRows
    from llmcost.serving.launch import Launch
    from llmcost.serving.options import Options
    from llmcost.serving.results import Estimate
    from llmcost.simulation.results import Simulation
    from llmcost.simulation.steptime import StepTime as Steps
    from llmcost.specs.catalog import load_hardware, load_model
    from llmcost.specs.hardware import HardwareSpec
    from llmcost.training.options import Options as TrainingOptions
    from llmcost.training.reinforcement import Rl
    from llmcost.training.results import Train
    from llmcost.training.utilization import Utilizations

__all__ = [
    "InputError",
    "Options",
    "SpecError",
    "StepTime",
    "__version__",
    "compare",
    "estimate",
    "explain",
    "explain_train",
    "fit",
    "hardware",
    "launch",
    "load_hardware",
    "load_model",
    "mfu",
    "models",
    "ops",
    "plan",
    "plan_serving",
    "rl",
    "scoreboard",
    "simulate",
    "sweep",
    "train",
]

Model: TypeAlias = "str | PathLike[str] | ModelSpec"  # a name, a path, or loaded
Gpu: TypeAlias = "str | PathLike[str] | HardwareSpec"  # likewise

# What is imported on first use: `import llmcost` loads nothing, and a command only what it needs.
_LAZY = {
    "InputError": "llmcost.ground.errors",
    "SpecError": "llmcost.ground.errors",
    "Options": "llmcost.serving.options",
    "load_hardware": "llmcost.specs.catalog",
    "load_model": "llmcost.specs.catalog",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'llmcost' has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return found


def __dir__() -> list[str]:
    return __all__


def estimate(model: Model, hw: Gpu | None = None, options: Options | None = None, **chosen: Any) -> Estimate:
    """Parameters, FLOPs, memory, traffic and, on a GPU, speed of a model, in bytes, FLOPs, seconds and tokens a second.

    Keywords are the fields of `Options`: `batch` in sequences; `context`, `prompt`, `output`, `chunk` in tokens;
    `concurrency`, `requests` in requests, `rate` in requests a second; `dtype`, `weight_dtype`, `kv_dtype`; degrees
    `tp`, `pp`, `dp`, `ep`; and more. Where `options` are given too, keywords change them. Speeds are given on three
    bases: `textbook`, `limit`, `expected`.

        e = estimate("llama3-8b", "h100", batch=16, context=4096)
        e.memory.fits, e.decode.expected.tokens_per_s

    Raises InputError where options contradict each other or the model, or a name is not known; SpecError, which is an
    InputError, for a spec that cannot be used; TypeError for a keyword that is no option.
    """
    from llmcost.simulation.steady import steady

    return steady(_model(model), None if hw is None else _hardware(hw), _serving(options, chosen))


def launch(model: Model, hw: Gpu, engine: str, options: Options | None = None, **chosen: Any) -> Launch:
    """The command that starts an engine so that it serves what `estimate` answers, and what its log says then.

    `engine`: a shipped name or a YAML spec. Keywords are those of `estimate`. Where there is no command, `missing` says
    why.

        launch("llama3.1-8b", "h100", "vllm", prompt=2000, output=500).command

    Raises what `estimate` does.
    """
    from llmcost.serving.launch import launch_of
    from llmcost.serving.launch_figures import Asked
    from llmcost.specs.catalog import load_engine

    e = estimate(model, hw, options, **chosen, engine=engine)
    spec = _model(model)
    place = fspath(model) if isinstance(model, str | PathLike) else spec.name
    return launch_of(load_engine(engine), Asked(spec, _hardware(hw), e.workload, e.memory, place))


def ops(
    model: Model,
    hw: Gpu | None = None,
    phase: str = "prefill",
    options: Options | None = None,
    **chosen: Any,
) -> PhaseOperators:
    """Every operator of a phase as one GPU runs it: shapes, FLOPs, parameters, bytes; with a GPU, seconds and share.

    A row is an operator of one layer, or of the whole model, with the number of times that it runs (`executions`).
    FLOPs and bytes are of all these executions; those that end in `_each` are of one. `phase`: prefill, decode or
    train (forward and backward, logits of every token). Keywords are those of `estimate`.

        pandas.DataFrame(ops("llama3-8b", "h100", "decode", batch=16).rows())

    Raises what `estimate` does, and InputError for another phase.
    """
    from llmcost.formulas.operators import phase_operators

    return phase_operators(_model(model), None if hw is None else _hardware(hw), _serving(options, chosen), phase)


def explain(
    model: Model,
    quantity: str | None = None,
    hw: Gpu | None = None,
    options: Options | None = None,
    **chosen: Any,
) -> Explanations:
    """How figures of `estimate` come about: formula in letters, the same with sizes, value, unit, source.

    `quantity`: a figure by its path in the JSON (`kv_cache.bytes`), or a group of them (`kv_cache`); None: all.
    Keywords are those of `estimate`. Values are in base units.

        explain("llama3-8b", "kv_cache.bytes", hw="rtx4090").explanations[0].letters

    Raises what `estimate` does, and InputError for a figure that does not exist.
    """
    from llmcost.formulas.explanations import Explanations
    from llmcost.formulas.serving import explain as answer
    from llmcost.serving.estimate import under_usual

    spec, chip, asked = _model(model), None if hw is None else _hardware(hw), _serving(options, chosen)
    found = answer(spec, chip, asked, quantity)
    return Explanations(spec.name, tuple(found), under_usual(spec, chip, asked).engine)


def train(model: Model, hw: Gpu, options: TrainingOptions | None = None, **chosen: Any) -> Train:
    """A training run: seconds of a step, MFU, bytes of memory of a GPU, days, GPU-hours, joules, dollars.

    Keywords are the options of `llmcost train`: `gpus`, `tokens` of the run, `seq` in tokens, `micro_batch` and
    `global_batch` in sequences, degrees `tp`, `pp`, `cp`, `ep`, `dp`, `zero`, `recompute`, `optimizer`, `price` in
    dollars a GPU-hour, and more. What is not given of the layout is chosen: the fastest usual one that fits.

        t = train("llama3-70b", "h100", gpus=64, seq=8192, tp=8)
        t.days, t.mfu, t.memory.total_bytes

    Raises InputError where options contradict each other, the model or the GPU, or where the GPU's spec lacks a figure
    that a step needs; TypeError for a keyword that is no option.
    """
    from llmcost.training.train import train as answer

    return answer(_model(model), _hardware(hw), _training(options, chosen))


def rl(model: Model, hw: Gpu, options: TrainingOptions | None = None, **chosen: Any) -> Rl:
    """A step of GRPO, PPO, DPO or distillation: answers are drawn, judged and trained on, weights go back; seconds.

    Keywords are the options of `llmcost rl`: `algorithm`, `prompts`, `samples`, `prompt`, `output` and `longest` in
    tokens, `rollout_gpus`, `rollout_engine`, `teacher`, …; and those of `train` that say how it trains.

        rl("llama3.1-8b", "h100", gpus=16, pp=2, prompts=64, samples=32, output=932).phases.rollout

    Raises InputError where options contradict each other, the model or the GPU; TypeError for a keyword that is no
    option.
    """
    from llmcost.ground.options import declared, given
    from llmcost.training.reinforcement import rl as answer
    from llmcost.training.rl_options import RlOptions

    own = {name: chosen.pop(name) for name in declared(RlOptions) if name in chosen}
    return answer(_model(model), _hardware(hw), _training(options, chosen), RlOptions(**given(RlOptions, own)))


def explain_train(
    model: Model,
    quantity: str,
    hw: Gpu,
    options: TrainingOptions | None = None,
    **chosen: Any,
) -> Explanations:
    """How a figure of `train` comes about: formula in letters, the same with sizes, value, unit, source.

    `quantity`: a figure by its path in the JSON, as `mfu`, or a group of them, as `breakdown`. Keywords are those of
    `train`; what is not given of the layout is chosen as there, and the formula is of that layout.

        explain_train("llama3-8b", "breakdown.bubble", hw="h100", gpus=16, pp=4)

    Raises what `train` does, and InputError for a figure that does not exist.
    """
    from llmcost.formulas.explanations import Explanations
    from llmcost.formulas.training import explain_training

    spec, asked = _model(model), _training(options, chosen)
    return Explanations(spec.name, tuple(explain_training(spec, _hardware(hw), asked, quantity)), asked.engine)


def mfu(
    model: Model,
    hw: Gpu,
    tokens_per_s: float | None = None,
    *,
    seq: int | None = None,
    printed: float | None = None,
    convention: str | None = None,
    recompute: str = "none",
    dtype: str | None = None,
    tflops: float | None = None,
    log: str | Path | None = None,
    gpus: int | None = None,
) -> Utilizations:
    """MFU and HFU, as shares of 1, of a training throughput under every convention in use.

    `tokens_per_s`: of one GPU; or instead a `printed` MFU (a share of 1) or `tflops` of one GPU, and the `convention`
    by which it was counted; or the `log` of a training program, on so many `gpus` where it does not tell.
    `seq`: tokens of a sequence; None: the model's maximum, at most 8,192. `recompute`: none, selective or full.

        mfu("llama3-8b", "h100", 9000).conventions

    Raises InputError for several or none of them, for an unknown convention, or where the GPU's peak is not known.
    """
    from llmcost.training.utilization import utilizations

    return utilizations(
        _model(model), _hardware(hw), seq, tokens_per_s, printed, convention, recompute, dtype, tflops, log, gpus
    )


def fit(
    model: Model,
    hw: Gpu | Iterable[Gpu] | None = None,
    *,
    gpus: int | Sequence[int] = (1, 2, 4, 8),
    dtype: str | Sequence[str] | None = None,
    weight_dtype: str | Sequence[str] | None = None,
    price: float | Mapping[str, float] | None = None,
    basis: str = "expected",
    **chosen: Any,
) -> Offers:
    """Which GPUs hold a model: how many, at which precision, how large a batch and context, how fast, at what price.

    `hw`: GPUs; None: all that are known. `gpus`: numbers of them. `dtype`, `weight_dtype`: one or several. `price`:
    dollars a GPU-hour, of all or by name. `basis`: whose tokens a second are given and priced. Other keywords are those
    of `estimate` but for the degrees, which are chosen. Prices in the result are dollars a million output tokens.

        fit("llama3-70b", ["h100", "l40s"], price={"h100": 2.5, "l40s": 1}).holding()

    Raises what `estimate` does, and InputError for another basis.
    """
    from llmcost.parallel.layout import DEGREES
    from llmcost.search.fit import fit as answer
    from llmcost.search.fit import precisions_of
    from llmcost.serving.options import Options
    from llmcost.specs.catalog import names

    if chosen.keys() & set(DEGREES):
        raise TypeError(f"no option {', '.join(DEGREES)}: fit chooses them")
    spec, options = _model(model), _serving(None, chosen)
    precisions = precisions_of(spec, options, _several(dtype) or None, _several(weight_dtype) or None)
    chips = [_hardware(each) for each in (names("hardware") if hw is None else _each(hw))]
    numbers = _held(Options, ["gpus"], {"gpus": gpus})["gpus"]
    return answer(spec, chips, options, numbers, precisions, _prices(price), basis)


def sweep(
    model: Model,
    hw: Gpu | Iterable[Gpu],
    metrics: Sequence[str] | None = None,
    price: float | Mapping[str, float] | None = None,
    **values: Any,
) -> SweepRows:
    """Every combination of options on every GPU, a row each, in base units; needs numpy.

    Keywords are those of `estimate`, each with one value or several. `metrics`: figures by their path in the JSON, or
    its end; None: memory and speeds. `price`: dollars a GPU-hour, of all or by name of GPU; with it, what tokens cost.
    Combinations that contradict each other are left out.

        sweep("llama3-8b", ["h100", "a100"], batch=[1, 2, 4], context=range(1024, 8193, 1024)).to_pandas()

    Raises InputError for a value that makes no sense by itself, an unknown figure, or where no combination is left;
    TypeError for a keyword that is no option.
    """
    from llmcost.search.sweep import Priced, Sweep
    from llmcost.search.sweep_rows import SweepRows
    from llmcost.serving.options import Options

    lists = _lists(Options, {name: value for name, value in values.items() if value is not None})
    chips, money = [_hardware(each) for each in _each(hw)], None if price is None else Priced(_prices(price))
    return SweepRows(Sweep(_model(model), chips, lists, money), lists, metrics)


def compare(
    models: Model | Iterable[Model],
    hw: Gpu | Iterable[Gpu],
    *,
    price: float | Mapping[str, float] | None = None,
    **chosen: Any,
) -> Comparison:
    """Every model on every GPU at the same batch and context, with dollars a million tokens and tokens per joule.

    `price`: dollars a GPU-hour, of all or by name of GPU. Keywords are those of `estimate`; `engine` may be several.
    Of what a GPU draws: `derived.decode_tokens_per_joule`; of its TDP: `derived.decode_tokens_per_s_per_watt`.

        compare(["llama3-8b", "qwen3-8b"], ["h100", "mi300x"], batch=16).rows()

    Raises what `estimate` does, where options do not suit one of the models or GPUs.
    """
    from llmcost.search.compare import compare as answer

    specs, chips = [_model(each) for each in _each(models)], [_hardware(each) for each in _each(hw)]
    engines = tuple(_each(chosen.pop("engine", ())))
    return answer(specs, chips, _serving(None, chosen), _prices(price), engines)


def simulate(model: Model, hw: Gpu, options: Options | None = None, **chosen: Any) -> Simulation:
    """TTFT, TPOT and latency of every request, by an engine's scheduler, step by step; percentiles in seconds.

    Keywords are the options of `llmcost simulate`: `trace` (a file), or `rate` in requests a second, or `concurrency`;
    `requests`, `prompt`, `output`, `lengths`, `engine`, `dp` and `router`, `prefix_hit`, `speculate`, `prefill_gpus`
    and `decode_gpus`, `seed`; limits `ttft`, `tpot`, `latency` in milliseconds; `price` in dollars a GPU-hour; and
    those of `estimate`.

        simulate("llama3.1-8b", "h100", engine="vllm", rate=12, prompt=1024, output=256).ttft_seconds.p99

    Raises InputError where options contradict each other or the model, SpecError for a trace that cannot be read;
    TypeError for a keyword that is no option.
    """
    from llmcost.ground.options import declared, given
    from llmcost.simulation.options import SimulationOptions
    from llmcost.simulation.run import simulate as answer

    own = {name: chosen.pop(name) for name in declared(SimulationOptions) if name in chosen}
    asked = SimulationOptions(**given(SimulationOptions, own))
    return answer(_model(model), _hardware(hw), _serving(options, chosen), asked)


def StepTime(
    model: Model,
    hw: Gpu,
    options: Options | None = None,
    **chosen: Any,
) -> Steps:
    """Seconds of one step of an engine, as a function of what is in it: for other simulators and schedulers.

    Keywords are those of `estimate`. What comes back is called with numbers: `decoding` sequences, each with `context`
    cached tokens on average, and `prompts` pieces of `tokens` tokens each, whose last sees `keys` keys. A call takes
    some microseconds. `speculate`: tokens that are verified in a step beside the next one, guessed by `draft`: "mtp"
    (a layer of the model's own), "ngram" (in no time), or another model.

        seconds = StepTime("llama3.1-8b", "h100", engine="vllm")
        seconds(decoding=64, context=1500), seconds(decoding=64, context=1500, prompts=1, tokens=512, keys=512)

    Raises what `estimate` does, and InputError where a figure of the GPU is not known.
    """
    from llmcost.simulation.steptime import StepTime as Answer

    return Answer(_model(model), _hardware(hw), _serving(options, chosen))


def plan(
    model: Model,
    hw: Gpu,
    gpus: int,
    *,
    top: int = 10,
    memory_utilization: float | None = None,
    **chosen: Any,
) -> TrainingPlan:
    """The fastest of every legal layout of a training step, and why the others lose; needs numpy. Times are in seconds.

    `tp`, `pp`, `vp`, `cp`, `ep`, `dp`, `zero`, `micro_batch`, `recompute`: one value or several of an axis; without,
    all that are legal. `top`: layouts to list. `memory_utilization`: share of the memory that may be used; None: all.
    Other keywords are those of `train`: `seq` in tokens, `global_batch` in sequences.

        plan("llama3-70b", "h100", gpus=1024, global_batch=1024, tp=[4, 8]).best[0].layout

    Raises InputError for what has no answer whatever the layout; TypeError for a keyword that is no option. Where no
    layout fits, `best` is empty.
    """
    from llmcost.search.plan_training import plan as answer
    from llmcost.search.question import ask
    from llmcost.search.space import Choices
    from llmcost.training.options import Options

    held = _held(Options, Choices._fields, chosen)
    options = _training(None, chosen | {"gpus": gpus})
    return answer(ask(_model(model), _hardware(hw), options, held, memory_utilization), top)


def plan_serving(
    model: Model,
    hw: Gpu,
    gpus: int,
    *,
    top: int = 10,
    ttft: float | None = None,
    tpot: float | None = None,
    price: float | None = None,
    apart: bool = False,
    **chosen: Any,
) -> ServingPlan:
    """The layouts, and the requests in flight, that give most tokens a second a GPU within limits on TTFT and TPOT.

    `prompt`, `output`, `chunk` in tokens (1,024 and 256; as `estimate` has it). `ttft`, `tpot`: the longest time to the
    first token and of each other token, in milliseconds as on the command line (results are in seconds). `tp`, `pp`,
    `dp`, `ep`, `speculate`: one value or several. `price`: dollars a GPU-hour. `apart`: GPUs may also be split, to run
    prompts apart from decode. Other keywords are those of `estimate`. Needs numpy.

        plan_serving("llama3-70b", "h100", gpus=8, ttft=500, tpot=50).best[0].tokens_per_s_per_gpu

    Raises InputError where limits make no sense, or a figure of the GPU is not known; TypeError for a keyword that is
    no option. Where no layout keeps within the limits, `best` is empty.
    """
    from llmcost.search.plan_serving import AXES
    from llmcost.search.plan_serving import plan_serving as answer
    from llmcost.search.question import ask_serving
    from llmcost.search.serving_runs import with_runs
    from llmcost.serving.options import Options

    held = _held(Options, AXES, chosen)
    speculate = _held(Options, ("speculate",), chosen).get("speculate", ())
    options = _serving(None, chosen)
    of = (_model(model), _hardware(hw), gpus, options, held, speculate, ttft, tpot, price)
    return with_runs(answer(ask_serving(*of, apart=apart)), top)


def scoreboard(
    source: str | None = None,
    gpu: str | None = None,
    engine: str | None = None,
    kind: str | None = None,
    profile: str | None = None,
    worst: int = 0,
) -> Scoreboard:
    """How far predictions are from published measurements, by source, engine and GPU (`llmcost accuracy`).

    `source`, `gpu`, `engine`, `kind` (inference, training, micro): measurements of these alone. An engine is a shipped
    one, a file of one, which predicts in its place, or a class of engines. `profile`: a path to predict by instead of
    the defaults. `worst`: how many of those furthest off to list. A row is a measured figure beside `expected` and
    `limit`, all in base units; errors in groups are shares of 1.

        pandas.DataFrame(scoreboard(source="gpt-fast").rows())

    Raises InputError for an unknown name, or where nothing was measured of all of that at once.
    """
    from llmcost.accuracy.score import check, chosen
    from llmcost.accuracy.scoreboard import scoreboard as answer

    cases = chosen(source, gpu, engine, kind)
    return answer(cases, check(cases, profile), worst, profile=profile)


def models() -> list[dict[str, object]]:
    """The models that are known by name, a row each: numbers of parameters, layers, heads, and tokens of context.

    Raises SpecError only if a shipped spec is broken.
    """
    from llmcost.model.card import model_row
    from llmcost.specs.catalog import load_model, names

    return [model_row(load_model(name)) for name in names("models")]


def hardware() -> list[dict[str, object]]:
    """The GPUs that are known by name, a row each: bytes, bytes a second, FLOPs a second, watts; None is not known.

    Raises SpecError only if a shipped spec is broken.
    """
    from llmcost.specs.catalog import load_hardware, names
    from llmcost.specs.listing import hardware_row

    return [hardware_row(load_hardware(name)) for name in names("hardware")]


def _model(model: Model) -> ModelSpec:
    from llmcost.model.spec import ModelSpec
    from llmcost.specs.catalog import load_model

    if isinstance(model, str | PathLike):
        return load_model(fspath(model))
    return model if isinstance(model, ModelSpec) else _no("model", model)


def _hardware(hw: Gpu) -> HardwareSpec:
    from llmcost.specs.catalog import load_hardware
    from llmcost.specs.hardware import HardwareSpec

    if isinstance(hw, str | PathLike):
        return load_hardware(fspath(hw))
    return hw if isinstance(hw, HardwareSpec) else _no("hw", hw)


def _no(argument: str, given: object) -> NoReturn:
    from reprlib import repr as short

    from llmcost.ground.errors import InputError

    raise InputError(f"{argument}: expected a name, a path or a loaded spec, got {short(given)}")


def _each(given: Any) -> list[Any]:
    """One name, path or spec, or several of them, as a list."""
    return [given] if isinstance(given, str | PathLike) or hasattr(given, "_fields") else [*given]


def _serving(options: Options | None, chosen: Mapping[str, Any]) -> Options:
    from llmcost.serving.options import Options as Known

    asked: Options = _with_chosen(Known, options, chosen)
    return asked


def _training(options: TrainingOptions | None, chosen: Mapping[str, Any]) -> TrainingOptions:
    from llmcost.training.options import Options as Known

    asked: TrainingOptions = _with_chosen(Known, options, chosen)
    return asked


def _with_chosen(kind: Any, options: Any, chosen: Mapping[str, Any]) -> Any:
    """The options of a kind, those that stand by themselves in place of their own. Raises InputError."""
    from llmcost.ground.options import given

    if isinstance(options, str):
        from llmcost.ground.errors import InputError

        raise InputError(f"options cannot be {options!r}: an engine is given by its name, engine={options!r}")
    return (kind() if options is None else options)._replace(**given(kind, chosen))


def _held(kind: Any, axes: Iterable[str], chosen: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The axes that a search holds at one value or some, taken out of `chosen`."""
    lists = _lists(kind, {name: chosen.pop(name) for name in axes if name in chosen})
    return {name: tuple(values) for name, values in lists.items()}


def _lists(kind: Any, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """One value or several of each option, as lists of values that make sense for it."""
    from llmcost.ground.options import given

    return {name: [given(kind, {name: each})[name] for each in _several(value)] for name, value in values.items()}


def _several(value: Any) -> list[Any]:
    """One value or several as a list, which is empty for None."""
    if value is None:
        return []
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else [*value]


def _prices(price: float | Mapping[str, float] | None) -> dict[str, float]:
    """Dollars a GPU-hour by the plain name of the GPU, "" for all."""
    if price is None:
        return {}
    return {_hardware(name).name: each for name, each in price.items()} if isinstance(price, Mapping) else {"": price}
