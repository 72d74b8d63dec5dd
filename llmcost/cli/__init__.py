"""The command line: each command parses, calls one function and renders one result."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module

import typer

from llmcost.ground.errors import InputError

COMMANDS = {  # command -> its module, in the order of the help
    **dict.fromkeys(("estimate", "explain", "ops"), "answers"),
    "fit": "fit",
    "sweep": "sweep",
    "compare": "compare",
    "train": "training",
    "plan": "plan",
    "mfu": "mfu",
    "accuracy": "accuracy",
    "bench": "bench",
    **dict.fromkeys(("models", "hardware", "import", "check"), "catalog"),
}


def app_of(commands: Iterable[str]) -> typer.Typer:
    """The program with these commands: typer takes a few milliseconds for each, so one that was asked for comes alone."""
    app = typer.Typer(
        name="llmcost",
        help="What a large language model costs: parameters, FLOPs, memory, speed, training days, exactly counted and honestly predicted.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: rich's takes 100 ms more to load
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in commands:
        module = import_module(f"llmcost.cli.{COMMANDS[name]}")
        app.command(name)(getattr(module, "import_" if name == "import" else name))
    app.callback(invoke_without_command=True)(version)
    return app


def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:
    """What a large language model costs: parameters, FLOPs, memory, speed, training days, exactly counted and honestly predicted."""
    if show:
        from llmcost.ground import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; bad input is one message on stderr and exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without × or µ shows a ? there
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        try:
            app_of([asked] if asked in COMMANDS else COMMANDS)(prog_name="llmcost")
        finally:
            sys.stdout.flush()
    except InputError as error:
        print(f"llmcost: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk; a closed pipe ends quietly in typer
        print(f"llmcost: cannot write: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer must not fail once more at exit
        sys.exit(1)
