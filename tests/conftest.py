"""What the tests share: running the command line in this process or as its own, and snapshots of what it prints.

A snapshot is a file in tests/snapshots. After an intended change of output, write them anew and read the diff:

    pytest tests/cli --update-snapshots
"""

from __future__ import annotations

import contextlib
import io
import os

os.environ.pop("LLMCOST_LANG", None)
os.environ["LLMCOST_VERIFY"] = "1"  # before llmcost is imported: every pass is verified (model/verify.py)
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is: the small products here only wait for each other's threads

import subprocess
import sys
from math import inf
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from llmcost.cli import main
from llmcost.model import verify
from llmcost.report import words
from llmcost.serving import repeated

# No test fails because a machine is slow: a drawn example may take as long as it takes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOTS = Path(__file__).resolve().parent / "snapshots"


class Answer(NamedTuple):
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    """Each test begins in English, whatever one before it has chosen."""
    monkeypatch.setattr(words, "_spoken", "en")


def run_in_process(*arguments: object) -> Answer:
    """`llmcost ARGUMENTS` here: fast, and an exception that would be a traceback is raised as it is."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["llmcost", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    assert isinstance(code, int), f"an exit code that is no number: {code!r}"
    return Answer(code, out.getvalue(), err.getvalue())


def run_as_process(*arguments: object, timeout: float = 60, **environment: str) -> Answer:
    """`python -m llmcost ARGUMENTS` as a user starts it, with pipes for stdout and stderr."""
    command = [sys.executable, "-m", "llmcost", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=timeout, check=False, env=os.environ | environment
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", autouse=True)
def calculated():
    """Calculate every estimate of a test, however often it is asked.

    Compiled estimates have their own tests: tests/serving/test_repeated.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeated, "WORTH", inf)
        yield


WORTH = repeated.WORTH


@pytest.fixture(scope="module")
def as_users_have_it():
    """Answers without the checks of each pass, and compiled where that is worth it: what a user has, and quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "ON", False)
        patch.setattr(repeated, "WORTH", WORTH)
        yield


@pytest.fixture(scope="session")
def cli():
    """The command line in this process: cli("estimate", "gpt2") -> Answer."""
    return run_in_process


@pytest.fixture(scope="session")
def process():
    """The command line as a process of its own, for what only shows there."""
    return run_as_process


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """A folder for the whole run: a property test writes one file over and over."""
    return tmp_path_factory.mktemp("scratch")


def pytest_addoption(parser):
    parser.addoption(
        "--update-snapshots", action="store_true", help="write tests/snapshots anew instead of comparing with them"
    )


@pytest.fixture
def snapshot(request):
    """snapshot(name, text): the text is what tests/snapshots/name holds, byte for byte."""

    def compare(name: str, text: str) -> None:
        path = SNAPSHOTS / name
        if request.config.getoption("--update-snapshots"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare
