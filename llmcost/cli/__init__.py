"""The command line: each command parses, calls one function and renders one result."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmcost.cli.command import ASKS, COMMANDS, Commands, add, function_of
from llmcost.ground.errors import InputError

ABOUT = (
    "What a large language model costs: parameters, FLOPs, memory, speed, training days, "
    "exactly counted and honestly predicted."
)


def app_of(asked: str) -> typer.Typer:
    """The program with the command that was asked for; without one, with a line of help for each command."""
    app = typer.Typer(
        cls=Commands,
        name="llmcost",
        help=ABOUT,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: rich's takes 100 ms more to load
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(version)
    if asked in COMMANDS:
        add(app, asked, function_of(asked))
    else:
        for name in COMMANDS:
            app.command(name, help=function_of(name).__doc__)(lambda: None)
    return app


def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Print the version, if asked to."""
    if show:
        from llmcost.ground import __version__

        print(__version__)
        raise typer.Exit


def _say(text: str) -> None:
    from llmcost.cli.output import say  # needed where something is wrong

    say(text)


def main() -> None:
    """Run the command line; bad input is one message on stderr and exit code 2."""
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open(encoding="utf-8")  # where it is closed, writing to it will say so
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without × or µ shows a ? there
    if ASKS in os.environ:
        from llmcost.cli.completion import offered

        print("\n".join(offered(sys.argv[1:])))
        return
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        try:
            app_of(asked)(prog_name="llmcost")
        finally:
            sys.stdout.flush()
    except InputError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk; a closed pipe ends quietly in typer
        _say(f"cannot write: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer must not fail once more at exit
        sys.exit(1)
