"""How a case is put to `estimate`: its model, its GPU, and the options that a user would give.

Nothing is computed here. A case has no answer where no source tells its degrees or lengths, or where `estimate` refuses
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from llmcost.accuracy.cases import Case, engine_of, engines, file_of
from llmcost.accuracy.models import spec_of
from llmcost.ground.errors import InputError
from llmcost.ground.options import MOST
from llmcost.machine.efficiency import from_figures
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import Estimate
from llmcost.serving.server import started
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import HardwareSpec, joined_by
from llmcost.specs.optimised import OPTIMISED

MIXES = ("offline", "online")  # phases of continuous batching
Figures = Mapping[str, float]  # the defaults, or others in their place


@lru_cache(maxsize=128)
def gpu_of(name: str) -> HardwareSpec:
    """A GPU's spec, read once."""
    return load_hardware(name)


def options_of(case: Case, profile: str | None = None) -> Options | None:
    """The options that a case was run with; None where the source does not tell enough.

    Mean lengths are rounded to whole tokens. A run from an empty context begins with one token.
    """
    of, engine = case.settings, engines()[engine_of(case)]
    if of["tp"] is None or of["pp"] is None or of["prompt"] is None:
        return None
    prompt, output = max(1, of["prompt"]), of["output"] and round(of["output"])
    options = _run(case, profile)._replace(
        prompt=prompt, tp=of["tp"], pp=of["pp"], dp=of["gpus"] // (of["tp"] * of["pp"]), ep=of["ep"]
    )
    if of["phase"] == "prefill":
        whole, logits = engine["class"] == "eager", engine.get("logits", "last")  # eager code runs all prompts at once
        return options._replace(batch=of["batch"], context=prompt, logits=logits, batch_prompts=whole)
    if of["phase"] not in MIXES:
        process = case.source.memory == "process"  # with what it has set up to reach other GPUs, on a single one too
        return options._replace(batch=of["batch"], output=output, batch_prompts=True, communicator=process)
    rooms = {name: engine[name] for name in ("free_memory_fraction", "reserve_output", "chunk") if name in engine}
    if of["prefill_gpus"] is not None:  # in a closed loop too; tp and ep are those of decode
        pools = {name: of[name] for name in ("prefill_gpus", "prefill_tp", "prefill_ep", "decode_gpus")}
        return options._replace(output=output, concurrency=of["concurrency"], dp=None, pp=None, **pools)
    if of["concurrency"] is not None:  # a closed loop, as a benchmark runs it
        return options._replace(output=output, concurrency=of["concurrency"], range_ratio=of["range_ratio"])
    return options._replace(output=output, rate=of["rate"], requests=of["requests"] or MOST, **rooms)


def best_of(case: Case, profile: str | None = None) -> Options:
    """Options of a bound on any run with this output: a prompt of one token, every GPU a replica, an endless batch."""
    of = case.settings
    return _run(case, profile)._replace(batch=MOST, prompt=1, output=round(of["output"]), dp=of["gpus"])


def asked(case: Case, options: Options | None, figures: Figures | None = None) -> Estimate | None:
    """The answer of `estimate`, by the options' profile or the defaults, or by other `figures`. None: there is none."""
    if options is None or spec_of(case.settings["model"]) is None:
        return None
    name, gpu = case.settings["model"], case.settings["gpu"]
    return answered(name, gpu, options) if figures is None else _by_figures(name, gpu, options, figures)


@lru_cache(maxsize=8192)
def answered(name: str, gpu: str, options: Options) -> Estimate | None:
    """The answer for a model and a GPU by their names. It is kept, as several figures of several cases need it."""
    return _by_figures(name, gpu, options, None)


def _by_figures(name: str, gpu: str, options: Options, figures: Figures | None) -> Estimate | None:
    model, hardware, efficiency = spec_of(name), gpu_of(gpu), None
    assert model is not None
    if figures is not None:
        joined = joined_by(hardware, options.link)
        efficiency = from_figures(figures, joined, str(options.dtype), str(options.weight_dtype), started(options))
    try:
        return estimate(model, hardware, options, efficiency)
    except InputError:  # layers that do not divide into as many stages, or a link between pools that is not known
        return None


def _run(case: Case, profile: str | None) -> Options:
    """The options that all questions about a case have: data types, what the engine does, the link."""
    of, engine = case.settings, engines()[engine_of(case)]
    return Options(
        dtype=of["compute"],
        weight_dtype=of["weights"],
        kv_dtype=of["kv"],
        attention_dtype=of["kv"] if engine.get("narrow_attention") and of["kv"] in gpu_of(of["gpu"]).peak else None,
        cuda_graphs=engine["launch"] == "graph",
        engine=file_of(case) or OPTIMISED,
        head_dtype=of["weights"] if engine.get("head") else None,
        link=of["link"] if of["gpus"] > 1 else None,
        profile=profile,
    )
