"""What a shell offers behind the tab key."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmcost.cli.command import ASKS, COMMANDS, function_of, parameters
from llmcost.cli.completion import SCRIPTS, offered
from llmcost.serving.options import WEIGHT_DTYPES
from llmcost.specs.catalog import names

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ([], [*COMMANDS, "--help", "--version"]),
        (["est"], ["estimate"]),
        (["--v"], ["--version"]),
        (["estimate", ""], names("models")),
        (["estimate", "llama3-"], ["llama3-8b", "llama3-70b"]),
        (["compare", "gpt2,llama3-7"], ["gpt2,llama3-70b"]),
        (["estimate", "gpt2", "--hw", "rtx4060"], ["rtx4060", "rtx4060-ti-16gb"]),
        (["estimate", "gpt2", "--hw", "=", "rtx4060-"], ["rtx4060-ti-16gb"]),  # as bash says --hw=rtx4060-
        (["estimate", "gpt2", "--hw=rtx4060-"], ["--hw=rtx4060-ti-16gb"]),
        (["fit", "gpt2", "--hw", "rtx4090,rtx4060-"], ["rtx4090,rtx4060-ti-16gb"]),
        (["estimate", "gpt2", "--weight-dtype", ""], [*WEIGHT_DTYPES]),
        (["estimate", "gpt2", "--basis", "t"], ["textbook"]),
        (["simulate", "gpt2", "--no-"], ["--no-cuda-graphs", "--no-prefix-caching"]),
        (["models", "gpt2-x"], ["gpt2-xl"]),
        (["hardware", "l4"], ["l4", "l40", "l40s"]),
        (["engines", "vllm"], ["vllm", "vllm-0.2", "vllm-0.6", "vllm-0.10", "vllm-0.12", "vllm-0.33"]),
        (["explain", "gpt2", "kv_cache.bytes_"], ["kv_cache.bytes_per_token"]),
        (["completion", "z"], ["zsh"]),
        (["estimate", "./my-mod"], []),  # the shell's own: files
        (["bench", "--show", ""], []),
        (["estimate", "gpt2", "--price", "p"], []),
    ],
)
def test_what_may_stand_in_place_of_the_last_word_is_offered(typed, found):
    assert offered(typed) == found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_offered(command):
    shown = offered([command, "-"])
    assert len(shown) > 1 or command == "completion"
    assert {
        each.what.flag.split("/")[0] for each in parameters(function_of(command)).values() if hasattr(each.what, "flag")
    } <= {*shown}


def in_bash(line, **environment):
    """What bash offers at the end of a line, by the script that the program prints."""
    program = f'llmcost() {{ "{sys.executable}" -m llmcost "$@"; }}'
    ask = f"{program}\n{SCRIPTS['bash']}\nCOMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); _llmcost; "
    done = subprocess.run(
        ["bash", "-c", ask + 'printf "%s\\n" "${COMPREPLY[@]}"'],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return done.stdout.split()


def test_bash_offers_it():
    assert in_bash("llmcost estimate llama3-7") == ["llama3-70b"]
    assert in_bash("llmcost estimate gpt2 --hw ''")[:2] == names("hardware")[:2]


def test_asking_loads_no_more_than_declarations():
    words = "from llmcost.cli.completion import offered\nimport sys\noffered(['estimate', 'gpt2', '--hw', ''])\n"
    heavy = "assert not {'numpy', 'torch', 'rich', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", words + heavy], check=True, cwd=ROOT)


def test_a_shell_that_is_not_known_is_refused(cli):
    answer = cli("completion", "tcsh")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "llmcost: SHELL tcsh: one of bash, zsh, fish\n"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_each_script_asks_the_program(cli, shell):
    assert f"{ASKS}=1" in cli("completion", shell).out
