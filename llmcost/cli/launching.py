"""`--launch` and `--log`: what starts the engine that an answer is of, and what it prints then."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcost.ground.errors import InputError
from llmcost.ground.options import flag

if TYPE_CHECKING:
    from llmcost.cli.options import Form
    from llmcost.serving.launch import Asked, Launch, Logged

SCHEMA = "llmcost.launch/1"
LaunchAlone = Annotated[bool, flag("Print the lines that start the engine so, and nothing else (--engine).")]
LogAlone = Annotated[bool, flag("Print what the engine's log will say when it starts, and nothing else (--engine).")]


def launch_document(asked: "Asked") -> dict[str, Any]:
    """What a JSON document has of an engine: the command that starts it, and the lines of its log."""
    launch, log = _found(asked)
    return {"launch": launch._asdict() | {"arguments": [each._asdict() for each in launch.arguments]}, "log": log}


def check(*, wanted: Sequence[str], engine: str | None, others: Sequence[str] = ()) -> None:
    """Raise InputError where lines are `wanted` by flags, and no engine is named, or `others` are given too."""
    if not wanted:
        return
    if engine is None:
        raise InputError(f"{wanted[0]}: of which engine? name one with --engine: {', '.join(_with_commands())}")
    if others:
        raise InputError(f"{wanted[0]} prints lines alone: leave {others[0]} away")


def show(form: "Form", asked: "Asked", wanted: Sequence[str], before: str = "") -> None:
    """Print the lines that start the engine, and those of its log, as far as they are wanted.

    `before`: a remark that stands before them. Raises InputError where the engine has none, or cannot be told what was
    asked; exits with 1 where the model does not fit.
    """
    from llmcost.report.tables import Table

    launch, log = _found(asked)
    if asked.memory.fits is False:
        raise _no(f"{wanted[0]}: {launch.missing}")
    if launch.missing is not None and "--launch" in wanted:
        known = "" if launch.version else f"; engines that have one: {', '.join(_with_commands())}"
        raise InputError(f"{wanted[0]}: {launch.missing}{known}")
    if not log and "--log" in wanted:
        raise InputError(f"--log: no line of {launch.engine}'s log is known")
    lines = [*([f"# {before}"] if before else []), *launch.lines] if "--launch" in wanted else []
    told = [each.line for each in log] if "--log" in wanted else []
    if not (form.json or form.csv):
        from llmcost.cli.output import write

        text = "\n".join([*lines, *(f"# {line}" if lines else line for line in told)]) + "\n"
        write(f"```\n{text}```\n" if form.markdown else text, asked.model.unknown_keys)
        return
    form.show(
        lambda: {
            "schema": SCHEMA,
            "model": asked.model.name,
            "hardware": asked.hardware.name,
            **launch_document(asked),
        },
        lambda: (("flag", "value", "why", "source"), launch.arguments),
        lambda: [Table("", ("",), "l", ())],
        asked.model.unknown_keys,
    )


def _found(asked: "Asked") -> "tuple[Launch, list[Logged]]":
    from llmcost.serving.launch import launch_of, log_of
    from llmcost.specs.catalog import load_engine

    engine = load_engine(asked.workload.engine)
    return launch_of(engine, asked), log_of(engine, asked)


def _with_commands() -> list[str]:
    """The shipped engines that have a command."""
    from llmcost.specs.catalog import load_engine, names

    return [name for name in names("hardware/engines") if load_engine(name).command is not None]


def _no(message: str) -> typer.Exit:
    """The end of a command whose answer is no, which is said on stderr."""
    typer.echo(f"llmcost: {message}", err=True)
    return typer.Exit(1)
