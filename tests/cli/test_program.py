"""The program: lists of what ships, help, exit codes, pipes and terminals."""

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from answered import ROOT, answer_of, on_a_terminal

from llmcost import __version__

# -- models, hardware, check ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["models", "hardware"])
def test_the_list_has_a_row_for_every_shipped_spec_in_every_format(cli, kind):
    names = {path.stem for path in (ROOT / kind).glob("*.yaml")}
    result = answer_of(cli, kind)
    assert result["schema"] == f"llmcost.{kind}/1"
    assert {row["name"] for row in result[kind]} == names
    assert len(result[kind]) == len(names)
    header, *rows = csv.reader(io.StringIO(cli(kind, "--csv").out))
    assert header == list(result[kind][0])
    assert {row[0] for row in rows} == names
    assert {line.split()[0] for line in cli(kind).out.splitlines()[1:] if line} >= names
    assert cli(kind, "--markdown").out.count("\n|") >= len(names)


def test_the_list_of_models_counts_parameters_as_the_estimate_does(cli):
    rows = {row["name"]: row["params"] for row in answer_of(cli, "models")["models"]}
    assert rows["llama3-8b"] == answer_of(cli, "estimate", "llama3-8b")["model"]["params"]["total"]


def test_one_model_is_shown_in_full_with_its_source(cli):
    page = cli("models", "gpt2").out
    assert "124,439,808" in page
    assert "()" not in page
    assert "https://huggingface.co/openai-community/gpt2" in page
    spec = answer_of(cli, "models", "gpt2")
    assert (spec["name"], spec["num_hidden_layers"], spec["tie_word_embeddings"]) == ("gpt2", 12, True)


def test_the_errata_of_a_model_keep_their_keys_in_its_json(cli):
    published = answer_of(cli, "models", "llama3-8b")["published"]
    assert published
    assert all({"quantity", "printed", "document", "why"} <= set(entry) for entry in published)


def test_one_gpu_is_shown_in_full_with_its_sources(cli):
    page = cli("hardware", "rtx4090").out
    assert "165 TFLOPS" in page
    assert "[slides]" in page
    spec = answer_of(cli, "hardware", "4090")
    assert spec["name"] == "rtx4090"
    assert spec["memory"] == {"value": 24_000_000_000, "written": "24 GB", "source": "slides", "note": ""}


def test_the_peaks_of_a_gpu_keep_their_keys_in_its_json(cli):
    peak = answer_of(cli, "hardware", "rtx4090")["peak"]["bf16"]
    assert (peak["value"], peak["written"], peak["source"]) == (165 * 10**12, "165 TFLOPS", "slides")


def test_what_is_not_known_of_a_gpu_is_said_in_every_format(cli):
    (row,) = [row for row in answer_of(cli, "hardware")["hardware"] if row["name"] == "jetson-orin-nano-8gb"]
    assert row["bf16_flops_per_s"] is None
    assert "–" in next(line for line in cli("hardware").out.splitlines() if line.startswith("jetson-orin-nano-8gb"))
    assert "not known" in cli("hardware", "jetson-orin-nano-8gb").out


def test_check_says_what_a_sound_file_describes(cli):
    paths = [ROOT / "models" / "gpt2.yaml", ROOT / "hardware" / "h200.yaml"]
    answer = cli("check", *paths)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{paths[0]}: model gpt2, sound\n{paths[1]}: hardware h200, sound\n"
    results = answer_of(cli, "check", *paths)
    assert results["schema"] == "llmcost.check/1"
    assert [(each["ok"], each["kind"], each["name"]) for each in results["results"]] == [
        (True, "model", "gpt2"),
        (True, "hardware", "h200"),
    ]


# -- the program ------------------------------------------------------------------------------------


def test_version_is_the_packages(cli):
    assert cli("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("command", [[], ["estimate"], ["explain"], ["ops"], ["models"], ["hardware"], ["check"]])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help(cli, command, flag):
    answer = cli(*command, flag)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: {' '.join(['llmcost', *command])}")


def test_every_option_of_every_command_has_a_line_of_help(cli):
    for command in ("estimate", "explain", "ops", "models", "hardware", "check"):
        options = cli(command, "--help").out.partition("Options:\n")[2]
        lines = re.split(r"\n  (?=-)", options.strip())
        assert len(lines) >= 2  # at least --json and --help
        assert [line for line in lines if not re.search(r"\s{2,}\S.*", line, re.DOTALL)] == []


def test_without_arguments_help_is_printed(cli):
    answer = cli()
    assert "Usage: llmcost" in answer.out + answer.err
    assert answer.code in (0, 2)


def test_the_program_runs_as_a_process_and_writes_the_answer_alone_to_stdout(process, cli):
    arguments = ("estimate", "llama3-8b", "--hw", "rtx4090", "--json")
    assert process(*arguments) == cli(*arguments)


def test_a_pipe_gets_plain_text_however_the_terminal_is_set(process, cli):
    arguments = ("estimate", "llama3-8b", "--hw", "rtx4090")
    assert process(*arguments, COLUMNS="40", TERM="xterm-256color", FORCE_COLOR="1") == cli(*arguments)


def test_an_encoding_without_our_letters_costs_letters_and_not_the_answer(process):
    answer = process("estimate", "gpt2", "--hw", "rtx4090", PYTHONIOENCODING="ascii")
    assert (answer.code, answer.err) == (0, "")
    assert "124,439,808" in answer.out


def test_a_full_disk_is_one_message():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "llmcost", "models"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "llmcost: cannot write: No space left on device\n")


def test_an_interrupt_exits_with_130(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmcost.specs.catalog.load_model", interrupted)
    assert cli("estimate", "gpt2").code == 130


def test_a_terminal_gets_style_and_its_own_width():
    page = on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=70)
    assert "\x1b[1m" in page  # a bold title
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in page.splitlines()) <= 70


def test_what_a_term_means_stays_behind_it_on_a_narrow_terminal():
    page = on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=80, NO_COLOR="1")
    lines = page[page.rindex("limit     ") :].splitlines()
    terms = [line.split()[0] for line in lines if not line.startswith(" " * len("limit     "))]
    assert terms == ["limit", "expected", "error"]
    assert len(lines) > 7


def test_no_color_gives_plain_text_on_a_terminal():
    assert "\x1b" not in on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=100, NO_COLOR="1")
