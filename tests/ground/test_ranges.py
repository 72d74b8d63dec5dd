"""Lists and ranges of an option's values, as the command line writes them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcost.ground.errors import InputError
from llmcost.ground.ranges import parse_axis
from llmcost.ground.units import parse_count, parse_decimal


@pytest.mark.parametrize(
    "text, values",
    [
        ("8", [8]),
        ("1,2,8", [1, 2, 8]),
        ("1..5", [1, 2, 3, 4, 5]),
        ("1..64:16", [1, 17, 33, 49]),
        ("8..32:8", [8, 16, 24, 32]),
        ("1..256:x4", [1, 4, 16, 64, 256]),
        ("1..100:x3", [1, 3, 9, 27, 81]),
        ("3..3", [3]),
        ("1, 2, 4..6, 8..32:x2", [1, 2, 4, 5, 6, 8, 16, 32]),
        ("1k..4k:1k", [1024, 2048, 3072, 4096]),
        ("64,1..3", [64, 1, 2, 3]),
    ],
)
def test_a_list_means(text, values):
    axis = parse_axis("--context", text, lambda each: parse_count(each, 1024))
    assert axis.size() == len(values)
    assert list(axis.values()) == values


def test_steps_of_decimals_are_exact():
    assert list(parse_axis("--mfu", "0.1..0.5:0.1", parse_decimal).values()) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert sum([Fraction("0.1")] * 3) != 0.1 + 0.1 + 0.1  # as floats would make them


@given(st.integers(1, 10**6), st.integers(0, 2000), st.integers(1, 100))
def test_a_range_is_pythons(first, more, step):
    axis = parse_axis("--batch", f"{first}..{first + more}:{step}", parse_count)
    assert list(axis.values()) == list(range(first, first + more + 1, step))
    assert axis.size() == len(axis.values())


def test_a_billion_values_are_counted_without_being_listed():
    assert parse_axis("--batch", "1..1000000000", parse_count).size() == 10**9


@given(st.text(alphabet="0123456789.,:xkK- ", max_size=12))
def test_any_text_is_values_or_one_message(text):
    try:
        assert parse_axis("--batch", text, parse_count).size() > 0
    except InputError as refusal:
        assert str(refusal).startswith("--batch")
