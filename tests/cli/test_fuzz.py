"""A part of benchmarks/fuzz.py: hostile input of each kind is answered, or refused in one message, within bounds."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import fuzz

INPUTS = 100  # of each kind; the same ones every time


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_hostile_input_is_answered_or_refused_within_bounds(kind):
    assert list(fuzz.faults(seed=0, inputs=INPUTS, kind=kind)) == []


def test_a_fault_is_found():
    """What the fuzz looks for, it sees."""
    assert not fuzz.fault_in(0, "fits: yes\n", "")
    assert "not a number" in fuzz.fault_in(0, "rate  nan\n", "")
    assert "not a number" in fuzz.fault_in(0, '"rate": Infinity', "")
    assert "terminal" in fuzz.fault_in(2, "", "llmcost: \x1b]0;mine\x07\n")
    assert "one line" in fuzz.fault_in(2, "half a table\n", "llmcost: no\n")
    assert "exit code" in fuzz.fault_in(134, "", "")


def test_an_exception_is_a_fault(monkeypatch, tmp_path):
    def broken():
        return 1 / 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llmcost.cli.main", broken)
    assert "ZeroDivisionError" in fuzz.fault_of(fuzz.Input("x.json", "{}", ["estimate", "x.json"]))
