"""Every command on terminals of 60 and 80 columns: no line is longer, no word is broken, nothing is lost."""

import contextlib
import io
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from llmcost.cli import main
from llmcost.cli.command import COMMANDS
from llmcost.report.phrases import untold
from llmcost.report.tables import to_text
from llmcost.report.words import VARIABLE
from llmcost.report.wrapping import LONG, fill, wide

ROOT = Path(__file__).resolve().parents[2]
WHOLE = {
    "import",
    "check",
    "completion",
    "calibrate",
    "web",
}  # documents, scripts, and messages of a file and line: as they are
SHOWN = [
    "estimate llama3-8b",
    "estimate llama3-8b --hw rtx4090 --basis all --training --breakdown",
    "estimate llama3-70b --hw rtx4090",
    "estimate mixtral-8x7b --hw h100 --tp 2 --prompt 1k --output 200 --concurrency 32",
    "explain llama3-8b",
    "explain deepseek-v3 decode --hw h200 --tp 8",
    "ops llama3-8b --hw h100",
    "ops deepseek-v3 --phase decode",
    "fit llama3-70b --hw h100,l40s --price 2",
    "fit llama3-8b --gpus 1",
    "sweep llama3-8b --hw h100 --batch 1..8:x2",
    "compare llama3-8b qwen3-8b --hw h100,mi300x --batch 16 --price h100=2.5 --price mi300x=2",
    "simulate llama3.1-8b --hw h100 --rate 12 --requests 20 --ttft 500 --price 2",
    "train llama3-8b --hw h100 --gpus 8 --tokens 15T --price 2 --breakdown",
    "train llama3-8b --hw h100 --gpus 8 --explain breakdown",
    "rl llama3.1-8b --hw h100 --gpus 8 --rollout-gpus 8 --algorithm ppo --output 128",
    "plan llama3-8b --hw h100 --gpus 8 --global-batch 64 --price 2 --top 3",
    "plan llama3-8b --hw h100 --gpus 8 --serve --price 2 --top 3",
    "budget 1e24 --params 70B --tokens 2T",
    "mfu llama3-8b --hw h100 --tokens-per-s 9000",
    "accuracy --source gpt-fast --worst 2",
    f"bench --show {ROOT / 'hardware' / 'profiles' / 'h200.json'} --rows",
    f"gap {ROOT / 'tests' / 'bench' / 'traces' / 'compiled-decode.json.gz'} qwen3-0.6b --hw h200 -b 4 -c 1k",
    "models",
    "models deepseek-v3",
    "hardware",
    "hardware h100",
    "engines",
    "engines vllm",
]


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self):
        return True


def shown(arguments, monkeypatch, width=None):
    """What a command prints, to a pipe or to a terminal of so many columns, without colours."""
    out = io.StringIO() if width is None else Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "argv", ["llmcost", *arguments.split()])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        main()
    return out.getvalue()


SPECS = [path for folder in ("models", "hardware", "hardware/engines") for path in (ROOT / folder).rglob("*.yaml")]
TITLES = [" ".join(re.findall(r"^(?:title|version): (.*)", path.read_text("utf-8"), re.MULTILINE)) for path in SPECS]
NAMES = {*re.findall(r"[A-Za-z-]+", " ".join([*TITLES, *(path.stem for path in SPECS)]))}
TOLD_BY_SPECS = {"models deepseek-v3", "hardware", "hardware h100", "engines vllm"}  # notes and sources, as written


@pytest.mark.parametrize("arguments", SHOWN)
def test_in_chinese_no_english_word_is_left_and_no_line_is_longer_than_the_terminal(arguments, monkeypatch):
    tables = []
    monkeypatch.setenv(VARIABLE, "zh")
    if not arguments.startswith("explain") and "--explain" not in arguments:
        monkeypatch.setattr("llmcost.cli.output.print_tables", tables.extend)
    explained = shown(arguments, monkeypatch)
    plain, *pages = [
        to_text(tables, width) if tables else shown(arguments, monkeypatch, width) for width in (None, 80, 60)
    ]
    assert re.search(r"[\u4e00-\u9fff]", plain)
    if arguments not in TOLD_BY_SPECS:
        said = re.sub(r"^  出处: .*|^.* = [^:\n]*|^.*  = .*", "", explained or plain, flags=re.MULTILINE)
        assert [word for word in untold(said, "zh") if word not in NAMES] == [], "no Chinese in report/words.zh.json"
    for width, page in zip((80, 60), pages, strict=True):
        assert [line for line in page.splitlines() if wide(line) > width] == []
        assert Counter(re.findall(r"[\u4e00-\u9fff]", plain)) - Counter(page) == Counter()


def words(text):
    """Words, without the marks that join what stands below a row; none that is long enough to be broken."""
    return [word.strip(",;") for word in text.split() if len(word) <= LONG]


@pytest.mark.parametrize("arguments", SHOWN)
def test_no_line_is_longer_than_the_terminal_and_no_word_is_broken_or_lost(arguments, monkeypatch):
    plain = shown(arguments, monkeypatch)
    assert plain
    for width in (80, 60):
        page = shown(arguments, monkeypatch, width)
        assert [line for line in page.splitlines() if wide(line) > width] == []
        if "explain" not in arguments:  # a pipe too breaks formulas, elsewhere
            assert Counter(words(plain)) - Counter(words(page)) == Counter()
        pieces = [piece for word in plain.split() for piece in re.findall(r"[A-Za-z0-9]{3,}", word)]
        assert [piece for piece in pieces if piece not in page] == []


@pytest.mark.parametrize(
    "arguments",
    ["estimate llama3-8b --hw h100 -c 256k", "estimate llama3-8b --dtype nonsense", "compare gpt2 --hw h100 --price x"],
)
def test_what_is_said_beside_an_answer_is_no_wider_than_the_terminal(arguments, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "argv", ["llmcost", *arguments.split()])
    said = Terminal()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main()
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("llmcost: ")
    assert [line for line in lines if wide(line) > 60] == []


def test_every_command_is_shown():
    assert {each.split()[0] for each in SHOWN} | WHOLE == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_no_wider_than_the_terminal(command, monkeypatch):
    for width in (80, 60):
        page = shown(f"{command} --help", monkeypatch, width)
        assert [line for line in page.splitlines() if wide(line) > width] == []


def test_a_long_word_is_broken_behind_its_own_marks_and_a_short_one_never():
    formula = "2·b·s·h·a·d+4·b·s·h·g·d+2·b·c·a·d"
    assert fill(f"a {formula}", 20, "  ") == ["a 2·b·s·h·a·d+4·b·s·", "  h·g·d+2·b·c·a·d"]
    assert fill("hand-written twenty-four", 14) == ["hand-written", "twenty-four"]
    assert fill("参数量 参数量", 8) == ["参数量", "参数量"]  # each letter takes two columns


def test_a_pipe_gets_whole_lines(monkeypatch):
    assert max(map(len, shown("hardware", monkeypatch).splitlines())) > 100
