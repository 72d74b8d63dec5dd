"""How a command refuses bad input: one message, exit code 2, nothing on stdout; and shipped specs to be damaged."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = (ROOT / "models" / "llama3-8b.yaml").read_text(encoding="utf-8")
CHIP = (ROOT / "hardware" / "rtx4090.yaml").read_text(encoding="utf-8")


def refused(answer, *words):
    """Exit code 2, one line on stderr with these words, nothing on stdout."""
    assert answer.code == 2, answer
    assert answer.out == ""
    assert answer.err.startswith("llmcost: ")
    assert answer.err.count("\n") == 1, f"more than one message: {answer.err}"
    for word in words:
        assert word in answer.err


def refused_usage(answer, *words):
    """Exit code 2, typer's usage and one error on stderr, nothing on stdout."""
    assert answer.code == 2, answer
    assert answer.out == ""
    *_, last = answer.err.splitlines()
    assert last.startswith("Error: ")
    for word in words:
        assert word in last
