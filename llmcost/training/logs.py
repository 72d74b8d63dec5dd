"""Logs of training programs: what a step took, and the tokens a second of one GPU that follow.

torchtitan   step: 10  loss: 6.1  memory: 49.66GiB(52.28%)  tps: 5,593  tflops: 323.92  mfu: 32.75%; tps are tokens a
             second of one GPU (torchtitan/components/metrics.py, https://github.com/pytorch/torchtitan).
Megatron-LM  iteration 71/ 100 | … elapsed time per iteration (ms): 5361.6 | throughput per GPU (TFLOP/s/GPU): 243.6 |
             … | global batch size: 128 | (megatron/training/training.py, https://github.com/NVIDIA/Megatron-LM; also
             Megatron-Bridge and Megatron-DeepSpeed). Its list of arguments says seq_length and world_size; a line
             of a rank says memory (MB) | … | max reserved: 61250.0 (report_memory, utils.py).
MaxText      completed step: 5, seconds: 1.2, TFLOP/s/device: 400.1, Tokens/s/device: 9000.1
             (src/maxtext/common/metric_logger.py, https://github.com/AI-Hypercomputer/maxtext).
nanoGPT      iter 10: loss 3.1, time 120.3ms, mfu 38.2%; tokens per iteration will be: 491,520 (train.py,
             https://github.com/karpathy/nanoGPT).
HF Trainer   {'train_runtime': 94.1, 'train_samples_per_second': 21.2, 'train_tokens_per_second': 43500.2, …} in what it
             prints, trainer_state.json or all_results.json: of all GPUs, over the whole run (speed_metrics in
             src/transformers/trainer_utils.py, https://github.com/huggingface/transformers). Where it counted no
             tokens, each sample is one sequence of full length.

All ranks may write the same step: a step is one. What the first step of a log took is left out, for it compiles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from llmcost.ground.errors import InputError, SpecError, shortened
from llmcost.specs.reader import read_text

LARGEST = 200_000_000  # bytes of a log that are read
HF_TRAINER = "HF Trainer"
MOST = 1e12  # of anything that a log says
NUMBER = r"(-?[\d,]*\.?\d+(?:[eE][-+]?\d+)?|nan|-?inf)"
COLOUR = re.compile(r"\x1b\[[\d;]*m")
QUOTE = r"[\"']"


def _field(words: str, sign: str = r":\s*") -> re.Pattern[str]:
    """A pattern of a number behind some words."""
    return re.compile(words + sign + NUMBER)


class Program(NamedTuple):
    """What a program's log looks like. `step`: a line of it; `fields`: numbers in such a line, by what they are.

    tokens_per_s: of one GPU; all_tokens_per_s and sequences_per_s: of all. `told`: what stands elsewhere in the log.
    `counts`: the convention by which it counts FLOPs, where that does not depend on its version. `memory`: where a line
    says the most that the allocator of a GPU held, and the bytes of its unit.
    """

    name: str
    step: re.Pattern[str]
    fields: Mapping[str, re.Pattern[str]]
    told: Mapping[str, re.Pattern[str]] = MappingProxyType({})
    counts: str | None = None
    memory: tuple[re.Pattern[str], int] | None = None


PROGRAMS = (
    Program(
        "torchtitan",
        re.compile(r"\bstep:\s*(\d+)\b.*\b(?:tps|wps):\s*[\d,]"),
        {
            "tokens_per_s": _field(r"\b(?:tps|wps)"),
            "tflops": _field(r"\btflops"),
            "mfu": _field(r"\bmfu"),
        },
        counts="torchtitan",
        memory=(re.compile(r"\bstep:\s*\d+\b.*\bmemory:\s*" + NUMBER + "GiB"), 2**30),
    ),
    Program(
        "MaxText",
        re.compile(r"completed step:\s*(\d+)\b.*Tokens/s/device:"),
        {
            "seconds": _field(r"\bseconds"),
            "tokens_per_s": _field(r"Tokens/s/device"),
            "tflops": _field(r"TFLOP/s/device"),
        },
    ),
    Program(
        "Megatron-LM",
        re.compile(r"\biteration\s+(\d+)\s*/\s*\d+ \|.*elapsed time per iteration \(ms\)"),
        {
            "milliseconds": _field(r"elapsed time per iteration \(ms\)"),
            "sequences": _field(r"global batch size"),
            "tflops": _field(r"(?:throughput per GPU \(TFLOP/s/GPU\)|TFLOPs)"),
        },
        {
            "seq": _field(r"^\s*(?:\[.*?\]:?)?\s*seq_length", r"\s\.+\s*"),
            "gpus": _field(r"^\s*(?:\[.*?\]:?)?\s*world_size", r"\s\.+\s*"),
        },
        memory=(_field(r"\bmemory \(MB\) \|.*\bmax reserved"), 2**20),
    ),
    Program(
        "nanoGPT",
        re.compile(r"\biter (\d+): loss .*\btime [\d.]+ms"),
        {"milliseconds": _field(r"\btime", r" "), "mfu": _field(r"\bmfu", r" ")},
        {"tokens": _field(r"tokens per iteration will be")},
        counts="nanogpt",
    ),
    Program(
        HF_TRAINER,
        re.compile(QUOTE + "()train_runtime" + QUOTE),
        {
            "seconds_in_all": _field(f"{QUOTE}train_runtime{QUOTE}"),
            "all_tokens_per_s": _field(f"{QUOTE}train_tokens_per_second{QUOTE}"),
            "sequences_per_s": _field(f"{QUOTE}train_samples_per_second{QUOTE}"),
        },
    ),
)


class Log(NamedTuple):
    """What a log says of its run: medians over steps.

    seconds: of a step; sequences: of a step; tflops, mfu: as it printed them; memory_bytes: the most that
    one GPU's allocator held; seq, gpus, tokens (of a step): where it tells them. None for what it does not say.
    """

    file: str
    program: str
    steps: int
    tokens_per_s: float | None = None
    seconds: float | None = None
    sequences: float | None = None
    all_tokens_per_s: float | None = None
    sequences_per_s: float | None = None
    tflops: float | None = None
    mfu: float | None = None
    memory_bytes: float | None = None
    seq: int | None = None
    gpus: int | None = None
    tokens: int | None = None
    counts: str | None = None

    def tokens_per_s_per_gpu(self, seq: int, gpus: int | None) -> float | None:
        """Tokens a second of one GPU; None where only a printed share tells them.

        Raises InputError for a length or a number of GPUs that the log contradicts, or for none where it needs them.
        """
        for name, given, told in (("seq", seq, self.seq), ("gpus", gpus, self.gpus)):
            if told is not None and given is not None and told != given:
                raise InputError(f"--{name} {given}: {self.file} says {told:,}")
        if self.tokens_per_s is not None:
            if gpus is not None:
                raise InputError(f"--gpus {gpus}: {self.file} gives the throughput of one GPU")
            return self.tokens_per_s
        rate = self.all_tokens_per_s
        if rate is None and self.sequences_per_s is not None:
            rate = self.sequences_per_s * seq
        if rate is None and self.seconds is not None:
            tokens = self.tokens if self.sequences is None else self.sequences * seq
            rate = None if tokens is None else tokens / self.seconds
        if rate is None:
            return None
        devices = gpus or self.gpus
        if devices is None:
            raise InputError(f"--gpus: on how many GPUs did it run? {self.file} gives the throughput of all together")
        return rate / devices


def read_log(path: Path) -> Log:
    """The steps of a training program's log. Raises SpecError, with the line, for one that has none that is known."""
    lines = [COLOUR.sub("", line) for line in read_text(path, LARGEST).splitlines()]
    text = _joined(lines)
    for program in PROGRAMS:
        found = [(number, line, match) for number, line in text if (match := program.step.search(line))]
        if found:
            steps = [(match[1] or number, _numbers(str(path), number, line, program)) for number, line, match in found]
            return _log(str(path), program, steps, lines)
    known = ", ".join(program.name for program in PROGRAMS)
    raise SpecError(str(path), 0, "", f"no step of a training program that is known in it; known: {known}")


def _joined(lines: list[str]) -> list[tuple[int, str]]:
    """The lines with their numbers; of JSON over several lines, each object that holds no other is one line."""
    if not lines or lines[0].strip() not in ("{", "["):
        return list(enumerate(lines, start=1))
    found: list[tuple[int, str]] = []
    start, parts = 1, [""]
    for number, line in enumerate(lines, start=1):
        if line.rstrip().endswith("{"):
            start, parts = number, []
        parts.append(line.strip())
        if line.strip().startswith("}"):
            found.append((start, " ".join(parts)))
            start, parts = number + 1, []
    return found


def _numbers(file: str, number: int, line: str, program: Program) -> dict[str, float]:
    """The numbers of a step, by what they are. Raises SpecError for one that is not above 0."""
    found = {}
    for name, pattern in program.fields.items():
        match = pattern.search(line)
        if match is None or (name == "mfu" and match[1].startswith("-")):  # nanoGPT's first steps have -100 %
            continue
        value = float(match[1].replace(",", ""))
        if not 0 < value < MOST:
            if name in ("tflops", "mfu"):  # rounded to nothing, or not known on that device
                continue
            raise SpecError(file, number, match[0].partition(":")[0].strip(), f"cannot be {shortened(match[1])}")
        found[name] = value
    return found


def _log(file: str, program: Program, steps: list[tuple[object, dict[str, float]]], lines: list[str]) -> Log:
    """Medians over the steps but the first; of a program that says one thing of the whole run, the last of them."""
    names = list(dict.fromkeys(name for name, _ in steps))
    if program.name == HF_TRAINER:
        steps, names = steps[-1:], names[-1:]
    elif len(names) > 1:
        steps, names = [each for each in steps if each[0] != names[0]], names[1:]

    def middle(field: str, scale: float = 1) -> float | None:
        values = [numbers[field] * scale for _, numbers in steps if field in numbers]
        return median(values) if values else None

    told = {}
    for name, pattern in program.told.items():
        match = next((match for line in lines if (match := pattern.search(line))), None)
        if match is not None and float(match[1].replace(",", "")) >= 1:
            told[name] = int(float(match[1].replace(",", "")))
    share = middle("mfu")
    return Log(
        file,
        program.name,
        len(names),
        tokens_per_s=middle("tokens_per_s"),
        seconds=middle("milliseconds", 1e-3) or middle("seconds"),
        sequences=middle("sequences"),
        all_tokens_per_s=middle("all_tokens_per_s"),
        sequences_per_s=middle("sequences_per_s"),
        tflops=middle("tflops"),
        mfu=None if share is None else share / 100,
        memory_bytes=_memory(file, program, lines),
        counts=program.counts,
        **told,
    )


def _memory(file: str, program: Program, lines: list[str]) -> float | None:
    """The most bytes that the allocator of any GPU held. Raises SpecError for a figure that is not above 0."""
    if program.memory is None:
        return None
    pattern, unit = program.memory
    found = []
    for number, line in enumerate(lines, start=1):
        match = pattern.search(line)
        if match is not None:
            value = float(match[1].replace(",", ""))
            if not 0 < value < MOST:
                raise SpecError(file, number, "memory", f"cannot be {shortened(match[1])}")
            found.append(value * unit)
    return max(found, default=None)
