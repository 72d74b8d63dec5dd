"""The arithmetic that works on numbers, arrays and symbols alike."""

import numpy as np
import pytest

from llmcost.ground import algebra
from llmcost.ground.arrays import play
from llmcost.ground.recording import Tape
from llmcost.ground.symbols import symbol


def test_of_equal_numbers_the_first_is_named_on_arrays_as_on_numbers():
    assert algebra.name_of_least({"a": 2, "b": 1, "c": 1}) == "b"
    names = algebra.name_of_least({"a": np.array([1.0, 2.0]), "b": np.array([1.0, 1.0]), "c": 0.5 + np.array([0, 1])})
    assert names.tolist() == ["c", "b"]  # 0.5 is least; 1 comes before 1.5
    assert algebra.name_of_least({"a": symbol("b", 4, "batch"), "b": 1}) is None


def test_words_are_chosen_place_by_place_also_when_they_are_recorded():
    condition = np.array([True, False])
    assert algebra.either(True, "yes", "no") == "yes"
    assert algebra.either(condition, None, "no").tolist() == [None, "no"]
    tape = Tape()
    x = tape.input("x")
    word = algebra.either(x <= 1, algebra.name_of_least({"x": x, "two": 2}), "large")
    (words,) = play(tape.program([word]), {"x": np.array([0.0, 3.0])})
    assert words.tolist() == ["x", "large"]


@pytest.mark.parametrize(
    ("x", "y", "up", "down"), [(7, 2, 4, 3), (8, 2, 4, 4), (7.5, 2.5, 3, 3), (1, 3, 1, 0)], ids=str
)
def test_what_counts_something_is_rounded_to_an_int(x, y, up, down):
    assert (algebra.ceil_div(x, y), algebra.floor_div(x, y)) == (up, down)
    assert type(algebra.ceil_div(x, y)) is type(algebra.floor_div(x, y)) is int
    arrays = np.array([x], float), np.array([y], float)
    assert (algebra.ceil_div(*arrays).tolist(), algebra.floor_div(*arrays).tolist()) == ([up], [down])


def test_whole_numbers_that_divide_stay_whole():
    assert type(algebra.divide(8, 2)) is int
    assert algebra.divide(7, 2) == 3.5


def test_the_largest_and_least_of_arrays_are_those_of_each_place():
    columns = [np.array([1.0, 5.0]), 3, np.array([2.0, 4.0])]
    assert algebra.largest(columns).tolist() == [3, 5]
    assert algebra.least(columns).tolist() == [1, 3]
    assert algebra.largest([1, 3.5, 2]) == 3.5


def test_zero_is_absent_and_a_symbol_never_is():
    assert [algebra.present(size) for size in (0, 0.0, 1, np.zeros(1), symbol("w", 0, "window"))] == [0, 0, 1, 1, 1]
    assert [algebra.is_one(size) for size in (1, 1.0, True, np.ones(1), symbol("t", 1, "GPUs"))] == [1, 0, 0, 0, 0]


def test_the_value_beside_the_largest_key_is_that_of_numbers_arrays_and_recordings():
    assert algebra.of_largest([1, 3, 3], ["a", "b", "c"]) == "b"  # the first of equal ones
    keys, values = [np.array([1.0, 5.0]), np.array([2.0, 4.0])], [10.0, np.array([20.0, 30.0])]
    assert algebra.of_largest(keys, values).tolist() == [20, 10]
    tape = Tape()
    found = algebra.of_largest([tape.input("x"), 2.0], [tape.input("x") * 2, 7.0])
    (played,) = play(tape.program([found]), {"x": np.array([1.0, 3.0])})
    assert played.tolist() == [7, 6]
    with pytest.raises(ValueError, match="do not tell"):
        algebra.of_largest([symbol("a", 1, "one"), 2], [1, 2])
