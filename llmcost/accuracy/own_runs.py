"""Runs of result files as questions: what the files tell of how they were run, and what options say beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os.path import lexists
from typing import Any

from llmcost.accuracy.calibrate import Question
from llmcost.accuracy.result_files import LOADS, Run
from llmcost.ground.errors import InputError, SpecError, UnknownNameError, shortened
from llmcost.model.spec import ModelSpec
from llmcost.serving.estimate import workload_of
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model, names
from llmcost.specs.hardware import HardwareSpec

SAME = 0.02  # share by which tokens that are told and asked for may differ
NARROW = re.compile(r"[-_](fp8|nvfp4|fp4|mxfp4|awq|gptq|int4|int8|w4a16|w8a8)([-_].*)?$", re.IGNORECASE)
FROM_FILES = ("tp", "pp", "dp", "ep", "gpus", "dtype", "weight_dtype", "kv_dtype", "chunk", "max_num_seqs", *LOADS)
ALL_AT_ONCE = ("sglang", "llama.cpp")  # whose benchmarks of one batch run all prompts in one pass


def questions_of(
    runs: Sequence[Run], given: Mapping[str, Any], model: ModelSpec | None, hardware: HardwareSpec | None
) -> list[Question]:
    """The runs as questions. `given`: options of the user's; `model`, `hardware`: theirs, None where they say none.

    `kv_tokens` among the options is of requests one by one alone. Raises SpecError, with the run's place, for what
    contradicts that, for several models or GPUs, and for what neither the file nor an option tells.
    """
    found: list[Question] = []
    kv_tokens = given.get("kv_tokens")
    for run in runs:
        mine, chip = _model_of(run, model, given), _hardware_of(run, hardware)
        if kv_tokens is not None and run.phase != "trace":
            raise run.wrong("", "--kv-tokens: it is for files with requests one by one")
        if found and mine.name != found[0].model.name:
            raise run.wrong("model", f"a run of {mine.name} beside runs of {found[0].model.name}: one model at a time")
        if found and chip.name != found[0].hardware.name:
            raise run.wrong("hw", f"a run on {chip.name} beside runs on {found[0].hardware.name}: one GPU at a time")
        options = _options_of(run, {name: given[name] for name in given if name != "kv_tokens"}, mine)
        try:
            workload_of(mine, chip, options)
        except SpecError:
            raise
        except InputError as error:
            raise run.wrong("", str(error)) from None
        found.append(Question(run, mine, chip, options, kv_tokens))
    return found


def engine_of(runs: Sequence[Run], given: str | None) -> str:
    """The engine that runs are of: the one that is given, or that their files name. Raises InputError."""
    told = {run.told["engine"]: run for run in reversed(runs) if "engine" in run.told}
    if given is None:
        if not told:
            raise InputError("--engine: of which engine are these runs? the files do not say")
        if len(told) > 1:
            raise InputError(f"runs of {' and '.join(sorted(told))}: one engine at a time, or say --engine")
        return str(next(iter(told)))
    if given in names("hardware/engines"):
        for name, run in told.items():
            if name != given.split("-")[0] and name in names("hardware/engines"):
                raise run.wrong("engine", f"a run of {name}; --engine says {given}")
    return given


def _model_of(run: Run, given: ModelSpec | None, options: Mapping[str, Any]) -> ModelSpec:
    """The model of a run. Raises SpecError where none is told that is known, or another one than `given`."""
    name = run.told.get("model")
    told, narrow = _known_model(str(name)) if name else (None, "")
    if narrow and "weight_dtype" not in {**run.told, **options} and not (given and given.weight_format):
        raise run.wrong("model", f"{shortened(str(name))!r} keeps its weights in {narrow}: say --weight-dtype")
    if given is not None:
        if told is not None and told.name != given.name:
            raise run.wrong("model", f"{shortened(str(name))!r} is {told.name}; --model says {given.name}")
        return given
    if told is None:
        said = f"{shortened(str(name))!r} is not known by name" if name else "the file does not tell it"
        raise run.wrong("model", f"{said}: say --model")
    return told


def _known_model(name: str) -> tuple[ModelSpec | None, str]:
    """The model that a name of a result file means, and the format of weights in that name; no hub is asked."""
    if name.endswith((".yaml", ".yml", ".json")) or lexists(f"{name}/config.json"):
        return load_model(name), ""
    last = name.rstrip("/").rpartition("/")[2]
    narrow = NARROW.search(last)
    for each, kind in ((last, ""), (NARROW.sub("", last), narrow[1].lower() if narrow else "")):
        try:
            return load_model(each), kind
        except UnknownNameError:
            continue
    return None, ""


def _hardware_of(run: Run, given: HardwareSpec | None) -> HardwareSpec:
    """The GPU of a run. Raises SpecError where none is told that is known, or another one than `given`."""
    name, told = run.told.get("hw"), None
    if name:
        try:
            told = load_hardware(str(name).split(", ")[0])
        except UnknownNameError:
            told = None
    if given is not None:
        if told is not None and told.name not in {given.name, given.gpu}:
            raise run.wrong("hw", f"{shortened(str(name))!r} is {told.name}; --hw says {given.name}")
        return given
    if told is None:
        said = f"{shortened(str(name))!r} is not known by name" if name else "the file does not tell the GPU"
        raise run.wrong("hw", f"{said}: say --hw")
    return told


def _options_of(run: Run, given: Mapping[str, Any], model: ModelSpec) -> Options:
    """The options of a run but for its engine. Raises SpecError where a file and an option contradict each other."""
    told: dict[str, Any] = {name: run.told[name] for name in FROM_FILES if name in run.told}
    told |= {name: max(1, round(run.told[name])) for name in ("prompt", "output") if name in run.told}
    for name, value in told.items():
        if name in given and given[name] != value:
            raise run.wrong(name, f"the file says {value}; --{name.replace('_', '-')} says {given[name]}")
    chosen = {**told, **given}
    if "mean_concurrency" in run.told and not any(name in chosen for name in ("concurrency", "rate")):
        chosen["concurrency"] = max(1, round(run.told["mean_concurrency"]))
    if "weight_dtype" not in chosen and not model.weight_format:
        if "model_type" in run.told and "quantised" not in run.told:
            kind = shortened(str(run.told["model_type"]))
            raise run.wrong(
                "model_type", f"in which format {kind!r} keeps its weights is not known: say --weight-dtype"
            )
        if "quantised" in run.told:
            chosen["weight_dtype"] = run.told["quantised"]
    if run.phase == "trace":
        _refuse(run, given, (*LOADS, "prompt", "output"), "each request of this file says its own")
        return Options(**chosen)
    _check_told(run, chosen)
    if run.phase == "mix":
        _refuse(run, given, LOADS[:1], "requests of this run come and go: --concurrency, --rate or --requests")
    else:
        _refuse(run, given, LOADS[1:], "this run is of one batch that starts together")
        chosen["batch_prompts"] = run.told.get("engine") in ALL_AT_ONCE
    return Options(**chosen)


def _refuse(run: Run, given: Mapping[str, Any], options: Sequence[str], why: str) -> None:
    """Raise SpecError for an option that says nothing of such a run."""
    for name in options:
        if name in given:
            raise run.wrong("", f"--{name}: {why}")


def _check_told(run: Run, chosen: Mapping[str, Any]) -> None:
    """Raise SpecError where neither the file nor an option tells lengths or load, or where they contradict a sum."""
    needed = {"prompt": ("prompt",), "batch": ("batch", "prompt", "output")}
    for name in needed.get(run.phase, ("prompt", "output")):
        if chosen.get(name) is None:
            raise run.wrong("", f"the file does not tell it: say --{name}")
    if run.phase == "mix" and not any(name in chosen for name in LOADS[1:]):
        raise run.wrong("", "the file does not tell how requests came: say --concurrency, --rate or --requests")
    if "tokens" in run.told:
        asked = chosen["prompt"] + chosen["output"]
        if abs(asked / run.told["tokens"] - 1) > SAME:
            problem = f"a request has {run.told['tokens']:.0f} tokens; --prompt and --output say {asked}"
            raise run.wrong("total_num_tokens", problem)
