"""Run by .ci/run under the lowest and the newest typer: what a user sees is what the tested environment shows.

python any_typer.py TESTED_PYTHON
"""

import subprocess
import sys
from importlib.metadata import version

ASKED = (
    ["--help"],
    ["--version"],
    ["estimate", "--help"],
    ["train", "--help"],
    ["estimate", "llama3-8b", "--hw", "rtx4090", "--json"],
    ["sweep", "gpt2", "--hw", "h100,a100", "--batch", "1..4:x2", "--csv"],
    ["estimate", "gpt2", "--batch", "many"],
    ["estimate", "gpt2", "--batch"],
    ["estimate", "gpt2", "--nonsense"],
    ["train", "gpt2"],
    ["fit"],
)


def answer(python, arguments):
    """Exit code, stdout, and whether there is a message on stderr; its words may be typer's."""
    done = subprocess.run(
        [python, "-m", "llmcost", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "80", "PATH": ""},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, bool(done.stderr)


for asked in ASKED:
    here, there = answer(sys.executable, asked), answer(sys.argv[1], asked)
    assert here == there, f"llmcost {' '.join(asked)} under typer {version('typer')}: {here} instead of {there}"
print(f"typer {version('typer')}: the same answers")
