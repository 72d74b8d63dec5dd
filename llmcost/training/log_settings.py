"""What a training program's log says of how its run was laid out; a log of several runs is refused.

Megatron-LM lists its arguments at the start, one a line (megatron/training/arguments.py, _print_args); other programs'
logs say little. A setting that comes with two values, a batch that changes, steps that begin again and steps of two
programs are of more than one run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import SpecError
from llmcost.specs.reader import read_text
from llmcost.training.logs import COLOUR, LARGEST, PROGRAMS

ARGUMENT = re.compile(r"^\s*(?:\[.*?\]:?)?\s*(\w+) \.{3,} (\S+)\s*$")
BATCH = re.compile(r"global batch size:\s*(\d+)")


class Told(NamedTuple):
    """A setting and the line that says it."""

    value: Any
    line: int


def _flag(text: str) -> bool | None:
    return {"True": True, "False": False}.get(text)


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) > 0 else None


SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {  # Megatron-LM's argument -> our option, and how it is read
    "tensor_model_parallel_size": ("tp", _count),
    "pipeline_model_parallel_size": ("pp", _count),
    "virtual_pipeline_model_parallel_size": ("vp", _count),
    "context_parallel_size": ("cp", _count),
    "expert_model_parallel_size": ("ep", _count),
    "expert_tensor_parallel_size": ("etp", _count),
    "micro_batch_size": ("micro_batch", _count),
    "global_batch_size": ("global_batch", _count),
    "seq_length": ("seq", _count),
    "world_size": ("gpus", _count),
    "decoder_first_pipeline_num_layers": ("first_stage_layers", _count),
    "decoder_last_pipeline_num_layers": ("last_stage_layers", _count),
    "sequence_parallel": ("sequence_parallel", _flag),
    "use_distributed_optimizer": ("zero", {"True": 1, "False": 0}.get),
    "recompute_granularity": ("recompute", {"None": "none", "full": "full", "selective": "selective"}.get),
    "bf16": ("dtype", lambda text: "bf16" if text == "True" else None),
    "fp16": ("dtype", lambda text: "fp16" if text == "True" else None),
}


def settings_of(path: Path) -> dict[str, Told]:
    """What a log says of its run's layout, by the names of our options.

    Raises SpecError, with the line, for a log of more than one run.
    """
    found: dict[str, Told] = {}
    first, latest = None, 0
    for number, line in enumerate(read_text(path, LARGEST).splitlines(), start=1):
        told = dict(_of_line(COLOUR.sub("", line)))
        step = told.pop("step", None)
        if step is not None:
            first, latest = step if first is None else first, max(latest, step)
            if step == first < latest:
                raise SpecError(str(path), number, "step", f"{step} again, after {latest}: a log of more than one run")
        for name, value in told.items():
            before = found.setdefault(name, Told(value, number))
            if before.value != value:
                says = f"is {value} here and {before.value} in line {before.line}: a log of more than one run"
                raise SpecError(str(path), number, name, says)
    found.pop("program", None)
    return found


def _of_line(line: str) -> Iterator[tuple[str, Any]]:
    """The settings that a line tells; of a step the program and the batch."""
    argument = ARGUMENT.match(line)
    if argument is not None:
        name, read = SETTINGS.get(argument[1], ("", None))
        value = None if read is None else read(argument[2])
        if value is not None:
            yield name, value
        return
    program, step = next(((each, found) for each in PROGRAMS if (found := each.step.search(line))), (None, None))
    if program is not None and step is not None:
        yield "program", program.name
        if step[1]:
            yield "step", int(step[1])
        batch = BATCH.search(line)
        if batch is not None:
            yield "global_batch", int(batch[1])
