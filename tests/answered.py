"""Answers as tests read them: a JSON document, its figures by their paths, what a terminal is shown."""

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MISSING = object()


def at(document, path):
    """The figure at a path of keys; MISSING if there is none."""
    for key in path.split("."):
        document = document[key] if isinstance(document, dict) and key in document else MISSING
    return document


def answer_of(cli, *arguments):
    """The one JSON document of a run that succeeded."""
    answer = cli(*arguments, "--json")
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


def leaves_of(document, prefix=""):
    """Every figure of the JSON with its path."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def on_a_terminal(arguments, columns, **environment):
    """What a run writes to a terminal of so many columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = {
        key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR")
    }
    command = [sys.executable, "-m", "llmcost", *arguments]
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs, env=variables | {"TERM": "xterm"} | environment
    ) as run:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    assert run.returncode == 0
    return written.decode().replace("\r\n", "\n")
