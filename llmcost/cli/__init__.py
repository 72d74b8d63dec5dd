"""The command line: each command parses, calls one function and renders one result."""

from __future__ import annotations

import os
import sys

import typer

from llmcost.cli.accuracy import accuracy
from llmcost.cli.answers import estimate, explain, ops
from llmcost.cli.bench import bench
from llmcost.cli.catalog import check, hardware, import_, models
from llmcost.cli.compare import compare
from llmcost.cli.fit import fit
from llmcost.cli.mfu import mfu
from llmcost.cli.plan import plan
from llmcost.cli.sweep import sweep
from llmcost.cli.training import train
from llmcost.errors import InputError

app = typer.Typer(
    name="llmcost",
    help="What a large language model costs: parameters, FLOPs, memory, speed, training days, exactly counted and honestly predicted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich's takes 100 ms more to load
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (estimate, explain, ops, fit, sweep, compare, train, plan, mfu, accuracy, bench, models, hardware, import_, check):
    app.command(command.__name__.rstrip("_"))(command)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:
    """What a large language model costs: parameters, FLOPs, memory, speed, training days, exactly counted and honestly predicted."""
    if show:
        from llmcost import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; bad input is one message on stderr and exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without × or µ shows a ? there
    try:
        try:
            app(prog_name="llmcost")
        finally:
            sys.stdout.flush()
    except InputError as error:
        print(f"llmcost: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk; a closed pipe ends quietly in typer
        print(f"llmcost: cannot write: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer must not fail once more at exit
        sys.exit(1)
