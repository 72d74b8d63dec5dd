"""Logs of training as questions: what a log tells of its layout, and what is said beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import lexists
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError, SpecError, shortened
from llmcost.ground.options import declared
from llmcost.model.spec import ModelSpec
from llmcost.parallel.rules import check, shape_of
from llmcost.specs.catalog import names
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.log_settings import Told, settings_of
from llmcost.training.logs import HF_TRAINER, Log, read_log
from llmcost.training.options import Options
from llmcost.training.passes import Setup
from llmcost.training.setup import setup_of

ENGINES = {  # what a log is of -> the engines that write such logs, the usual one first
    "torchtitan": ("torchtitan",),
    "Megatron-LM": ("megatron-core", "nemo", "megatron-deepspeed-2022"),
    "MaxText": ("maxtext",),
    HF_TRAINER: ("hf-trainer", "deepspeed"),
}
NEEDED = ("gpus", "zero", "recompute")
PLAIN = {"tp": 1, "pp": 1, "micro_batch": 1}  # where nothing is said


class TrainingRun(NamedTuple):
    """A log, the setup of its run, and tokens a second of one GPU that it measured."""

    log: Log
    at: Setup
    tokens_per_s: float

    def seconds(self) -> float:
        """Of a step."""
        at = self.at.layout
        return float(at.global_batch * self.at.seq / at.gpus() / self.tokens_per_s)


def split_settings(text: str) -> tuple[Path, dict[str, Any]]:
    """A file and what is typed behind it, as `run.log@tp=2,micro-batch=4`. Raises InputError for no such option."""
    name, mark, typed = text.rpartition("@")
    if lexists(text) or not mark or "=" not in typed:
        return Path(text), {}
    known, found = declared(Options), {}
    for part in typed.split(","):
        option, _, value = part.strip().partition("=")
        field = option.replace("-", "_")
        if field not in known or known[field].read is None or field in ("engine", "tokens", "price"):
            raise InputError(f"{text}: {shortened(option)!r} is no option of a layout, as tp=2 is")
        if field in found:
            raise InputError(f"{text}: {option} comes twice")
        try:
            found[field] = known[field].one(value)
        except InputError as error:
            raise InputError(f"{text}: {error}") from None
    return Path(name), found


def runs_of(
    files: Sequence[str], given: Mapping[str, Any], model: ModelSpec, hardware: HardwareSpec, engine: str
) -> list[TrainingRun]:
    """The runs of some logs under an engine. `given`: options of all runs.

    Raises SpecError, with the line, for a log of more than one run or one that an option contradicts, and InputError
    for what neither tells.
    """
    found = []
    for text in files:
        path, own = split_settings(text)
        log, told = read_log(path), settings_of(path)
        said = {name: each.value for name, each in told.items()} | dict(given) | own
        stages = {"pp": len(said["stages"])} if said.get("stages") else {}
        chosen = PLAIN | stages | said
        for name, each in told.items():
            if chosen[name] != each.value:
                raise _contradicted(path, name, each, chosen[name])
        for name in NEEDED:
            if name not in chosen:
                raise InputError(f"{path}: it does not tell --{name}; say it, or {path}@{name}=…")
        found.append(_run(path, log, chosen, model, hardware, engine))
    return found


def _contradicted(path: Path, name: str, told: Told, said: Any) -> SpecError:
    option = f"--{name.replace('_', '-')}"
    return SpecError(str(path), told.line, name, f"the log says {told.value}; {option} says {said}")


def _run(
    path: Path, log: Log, chosen: dict[str, Any], model: ModelSpec, hardware: HardwareSpec, engine: str
) -> TrainingRun:
    """One run. Where nothing says how large the batch is, a step is one micro-batch of each rank."""
    if "global_batch" not in chosen:
        ranks = chosen["gpus"] // (chosen["tp"] * chosen["pp"] * chosen.get("cp", 1))
        chosen["global_batch"] = max(1, ranks) * chosen["micro_batch"]
    try:
        at, _ = setup_of(model, hardware, Options(engine=engine, **chosen), None)
        check(at.layout, shape_of(model), at.seq)
        a_gpu = log.tokens_per_s is not None
        rate = log.tokens_per_s_per_gpu(at.seq, None if a_gpu else chosen["gpus"])
    except SpecError:
        raise
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if rate is None:
        raise InputError(f"{path}: it tells neither tokens a second nor from what they follow")
    return TrainingRun(log, at, rate)


def engine_of_logs(files: Sequence[str], given: str | None) -> str:
    """The engine of some logs: the given one, or the usual one of the program that wrote them. Raises InputError."""
    programs = {log.program: log for log in (read_log(split_settings(text)[0]) for text in files)}
    if len(programs) > 1:
        first, second, *_ = programs.values()
        raise InputError(
            f"{second.file}: of {second.program}, and {first.file} of {first.program}: one engine at a time"
        )
    ((program, log),) = programs.items()
    engines = ENGINES.get(program, ())
    if given is None:
        if not engines:
            raise InputError(f"{log.file}: of {program}, which is no engine here: say --engine")
        return engines[0]
    if engines and given in names("hardware/engines/training") and given not in engines:
        raise InputError(f"{log.file}: of {program}; --engine {given} writes no such logs; {' or '.join(engines)} does")
    return given
