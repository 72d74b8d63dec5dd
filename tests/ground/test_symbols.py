"""Symbols: they print formulas, and have no truth value."""

import pytest

from llmcost.ground.algebra import maximum, minimum
from llmcost.ground.symbols import evaluate, show, symbol


def test_a_symbol_has_no_truth_value():
    b = symbol("b", 4, "batch")
    for question in (
        lambda: bool(b),
        lambda: bool(b <= 8),
        lambda: bool(2 * b + 1),
        lambda: max(b, b + 1),
        lambda: b and 1,
    ):
        with pytest.raises(TypeError):
            question()


def test_a_symbol_says_why_it_has_no_truth_value():
    with pytest.raises(TypeError, match="branch on structure, never on a size"):
        bool(symbol("b", 4, "batch"))


def test_a_formula_prints_in_the_authors_order_and_with_its_sizes():
    h, i, t = symbol("h", 4096, "hidden"), symbol("i", 14336, "MLP"), symbol("t", 8, "GPUs")
    formula = 2 * h * i + i * h - h / (2 * t)
    assert show(formula, sizes=False) == "3·h·i − h / (2·t)"
    assert show(formula, sizes=True) == "3·4,096·14,336 − 4,096 / (2·8)"
    assert evaluate(formula) == 3 * 4096 * 14336 - 4096 // 16
    assert show((h + i) ** 0.5 * h**-2, sizes=False) == "√(h + i) / h²"


def test_a_max_of_a_max_is_one_and_no_size_is_below_zero():
    a, b = symbol("a", 4, "heads"), symbol("b", 2, "batch")
    assert show(maximum(maximum(a, b), a), sizes=False) == "max(a, b)"
    assert maximum(a, a) == a
    assert minimum(a, 0) == 0
    assert show(minimum(a, b - 1), sizes=False) == "min(a, b − 1)"


def test_a_power_of_a_size_to_itself_keeps_both():
    b = symbol("b", 3, "batch")
    assert show(b**b, sizes=False) == "(b)^(b)"
    assert evaluate(b**b) == 27


def test_a_root_of_a_sum_that_cancels_is_0_and_not_complex():
    """0.1·3 + 0.2·3 - 0.9 in floats is 1e-16 below 0 or above, by the order of its terms."""
    x, y = symbol("x", 3, "a size"), symbol("y", 9, "three of it")
    for left in (0.1 * x + 0.2 * x - 0.1 * y, 0.1 * y - 0.1 * x - 0.2 * x):
        assert evaluate(left**1.45) == pytest.approx(0, abs=1e-20)
        assert isinstance(evaluate(left**1.45), float | int)
    assert str((x + y) ** 0.5) == "√(x + y)"
    assert evaluate((x + y) ** 0.5) == 12**0.5
