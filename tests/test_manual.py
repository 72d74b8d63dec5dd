"""The manual page, made of the commands' declarations.

`pytest tests/test_manual.py --update-snapshots` writes docs/llmcost.1 anew.
"""

import inspect
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llmcost.cli import ABOUT
from llmcost.cli.command import COMMANDS, Argument, function_of, parameters
from llmcost.ground import __version__

PAGE = Path(__file__).resolve().parent.parent / "docs" / "llmcost.1"
EXIT = {
    0: "done; estimate answers so where a model does not fit, too",
    1: "ran, and the answer is no",
    2: "usage or bad input: one message with file, line and field",
    3: "no device that can be used",
    130: "interrupted",
}


def escaped(text):
    """Text as troff prints it: hyphens that may be copied, no line that begins as a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def manual():
    """The page in the man macros."""
    lines = [
        f'.TH LLMCOST 1 "" "llmcost {__version__}" "User Commands"',
        ".SH NAME",
        "llmcost \\- what a large language model costs",
        ".SH SYNOPSIS",
        ".B llmcost",
        "COMMAND [OPTIONS] [ARGS]...",
        ".SH DESCRIPTION",
        escaped(ABOUT),
        ".SH COMMANDS",
    ]
    for name in COMMANDS:
        function = function_of(name)
        known = parameters(function).values()
        usage = [each.what.usage() for each in known if isinstance(each.what, Argument)]
        what, *more = inspect.getdoc(function).split("\n\n")
        lines += [f".SS {escaped(' '.join([name, *usage]))}", escaped(" ".join(what.split()))]
        for paragraph in more:
            lines += [".PP", escaped(" ".join(paragraph.split()))]
        for each in known:
            typed, means = each.help()
            lines += [".TP", f".B {escaped(typed)}", escaped(means)]
    lines += [".SH EXIT STATUS"]
    for code, means in EXIT.items():
        lines += [".TP", f".B {code}", escaped(means)]
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        ".B LLMCOST_LANG",
        escaped("The language of tables and explanations, en or zh, where no --lang is given."),
        ".TP",
        ".B NO_COLOR",
        escaped("Plain text on terminals too."),
    ]
    return "\n".join(lines) + "\n"


def test_the_manual_page_is_what_the_commands_declare(request):
    if request.config.getoption("--update-snapshots"):
        PAGE.write_text(manual(), "utf-8")
    assert PAGE.read_text("utf-8") == manual()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_in_the_manual_page(command):
    text = PAGE.read_text("utf-8").replace("\\-", "-")
    section = re.search(rf"^\.SS {command}\b.*?(?=^\.S[SH] )", text, re.MULTILINE | re.DOTALL)[0]
    flags = [
        each.what.flag for each in parameters(function_of(command)).values() if not isinstance(each.what, Argument)
    ]
    assert [flag for flag in flags if flag.split("/")[0] not in section] == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_manual_page_is_sound_troff():
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Kutf8", "-Tutf8", str(PAGE)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
