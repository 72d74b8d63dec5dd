"""`--launch` and `--log`: what starts the engine that an answer is of, and what it prints then."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcost.ground.errors import InputError
from llmcost.ground.options import flag
from llmcost.specs.optimised import OPTIMISED

if TYPE_CHECKING:
    from llmcost.cli.options import Form
    from llmcost.serving.launch import Launch
    from llmcost.serving.launch_figures import Asked
    from llmcost.specs.hardware import HardwareSpec

LaunchAlone = Annotated[bool, flag("Print the lines that start the engine so, and nothing else (--engine).")]
LogAlone = Annotated[bool, flag("Print what the engine's log will say when it starts, and nothing else (--engine).")]


def launch_document(asked: "Asked") -> dict[str, Any]:
    """What a JSON document has of an engine: the command that starts it, and the lines of its log."""
    return _found(asked).part()


def check(*, wanted: Sequence[str], others: Sequence[str] = ()) -> None:
    """Raise InputError where lines are `wanted` by flags, and `others` are given too."""
    if wanted and others:
        raise InputError(f"{wanted[0]} prints lines alone: leave {others[0]} away")


def is_program(engine: str | None, hardware: "HardwareSpec", wanted: Sequence[str]) -> bool:
    """Whether an answer's engine is one that is started. Raises InputError where it is none, and lines are `wanted`."""
    if engine not in (None, OPTIMISED):
        return True
    if wanted:
        known = _with_commands(hardware)
        if not known:
            raise InputError(f"{wanted[0]}: no engine is known that is started on {hardware.title}")
        raise InputError(f"{wanted[0]}: of which engine? name one with --engine: {', '.join(known)}")
    return False


def show(form: "Form", asked: "Asked", wanted: Sequence[str], before: str = "") -> None:
    """Print the lines that start the engine, or those of its log, or the former with the latter as remarks.

    `before`: a remark that stands before them. Raises InputError where the engine has none, or cannot be told what was
    asked; exits with 1 where the model does not fit.
    """
    from llmcost.cli.output import write

    found = _found(asked)
    _refuse(found, asked, wanted)
    lines = [*([f"# {before}"] if before else []), *found.lines] if "--launch" in wanted else []
    told = [each.line for each in found.log] if "--log" in wanted else []
    text = "\n".join([*lines, *(f"# {line}" if lines else line for line in told)]) + "\n"
    if form.json or form.csv:
        rows = (("flag", "value", "why", "source"), found.arguments) if lines else (("line", "source"), found.log)
        form.show(found.to_dict, lambda: rows, tuple, asked.model.unknown_keys)
    else:
        write(f"```\n{text}```\n" if form.markdown else text, asked.model.unknown_keys)


def _refuse(found: "Launch", asked: "Asked", wanted: Sequence[str]) -> None:
    """Raise InputError, or end with exit code 1, where there is nothing to print."""
    if asked.memory.fits is False:
        typer.echo(f"llmcost: {wanted[0]}: {found.missing}", err=True)
        raise typer.Exit(1)
    if found.missing is not None and "--launch" in wanted:
        raise InputError(f"--launch: {found.missing}")
    if not found.log and "--log" in wanted:
        from llmcost.specs.catalog import load_engine

        engine = load_engine(asked.workload.engine)
        if engine.no_log:
            raise InputError(f"--log: {engine.title} prints nothing of memory when it starts: {engine.no_log}")
        raise InputError(f"--log: no line of {found.engine}'s log is known")


def _found(asked: "Asked") -> "Launch":
    from llmcost.serving.launch import launch_of
    from llmcost.specs.catalog import load_engine

    return launch_of(load_engine(asked.workload.engine), asked)


def _with_commands(hardware: "HardwareSpec") -> list[str]:
    """The shipped engines that have a command and run on a chip, those that people run there first."""
    from llmcost.serving.usual_engine import usual_of
    from llmcost.specs.catalog import load_engine, names

    engines = map(load_engine, names("hardware/engines"))
    known = [each.name for each in engines if each.command is not None and each.runs_on(hardware)]
    first = [name for name in usual_of(OPTIMISED, hardware).others if name in known]
    return [*first, *(name for name in known if name not in first)]
