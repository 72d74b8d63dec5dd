"""Reading figures with units and counts, and printing them for people."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.units import (
    amount,
    counted,
    parse_count,
    parse_decimal,
    parse_quantity,
    scaled,
    seconds,
    significant,
)

# -- figures with units -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("24 GB", "B", 24 * 10**9),
        ("24GB", "B", 24 * 10**9),
        ("16 GiB", "B", 16 * 2**30),
        ("512 KiB", "B", 512 * 2**10),
        ("72 MB", "B", 72 * 10**6),
        ("100 B", "B", 100),
        ("1008 GB/s", "B/s", 1008 * 10**9),
        ("3.35 TB/s", "B/s", 3_350_000_000_000),
        ("165 TFLOPS", "FLOPS", 165 * 10**12),
        ("660.6 TOPS", "FLOPS", 660_600_000_000_000),
        ("4.5 PFLOPS", "FLOPS", 4_500_000_000_000_000),
        ("450 W", "W", 450),
        ("1.2 KW", "W", 1200),
    ],
)
def test_a_figure_with_its_unit_is_read_in_base_units(text, unit, value):
    assert parse_quantity(text, unit) == value


def test_a_figure_with_a_fraction_stays_a_whole_number_where_it_is_one():
    assert isinstance(parse_quantity("1.1 TB", "B"), int)  # 1.1 * 10**12 as floats is 1100000000000.0001
    assert parse_quantity("989.4 TFLOPS", "FLOPS") == 989_400_000_000_000
    assert parse_quantity("0.5 B", "B") == 0.5


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("24", "B"),
        ("GB", "B"),
        ("24 gb", "B"),
        ("24 GB ", "B"),
        (" 24 GB", "B"),
        ("24  GB", "B"),
        ("-24 GB", "B"),
        ("+24 GB", "B"),
        ("1e3 GB", "B"),
        ("24 GB/s", "B"),
        ("24 GB", "B/s"),
        ("24 GiB/s", "B/s"),  # rates are decimal
        ("165 TFLOP", "FLOPS"),
        ("165 TFLOPS/s", "FLOPS"),
        ("165 TiFLOPS", "FLOPS"),
        ("450 Watt", "W"),
        ("24 XB", "B"),
        ("1,008 GB/s", "B/s"),
        ("24. GB", "B"),
        (".5 GB", "B"),
        ("٢٤ GB", "B"),
        ("nan GB", "B"),
        ("1" * 16 + " GB", "B"),
        ("", "B"),
    ],
)
def test_anything_else_is_refused_with_an_example(text, unit):
    with pytest.raises(ValueError, match="expected a figure with its unit, as in"):
        parse_quantity(text, unit)


@pytest.mark.parametrize("text", ["0 GB", "0.00 GB"])
def test_a_figure_of_nothing_is_refused(text):
    with pytest.raises(ValueError, match="must be above 0"):
        parse_quantity(text, "B")


# -- counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8192", 8192),
        ("8k", 8000),
        ("8K", 8000),
        ("15T", 15 * 10**12),
        ("1.5T", 1_500_000_000_000),
        ("300B", 300 * 10**9),
        ("300G", 300 * 10**9),
        ("7m", 7 * 10**6),
        ("0.5k", 500),
        ("1,000,000", 10**6),
        ("1,024", 1024),
        ("12,345.5k", 12_345_500),
        ("100,000", 100_000),
        ("1_000", 1000),
        ("1e3", 1000),
        ("1.5e12", 1_500_000_000_000),
        ("0", 0),
    ],
)
def test_a_count_is_read_in_powers_of_ten(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("8k", 8192), ("128K", 131072), ("1m", 2**20), ("0.5k", 512), ("1000", 1000)]
)
def test_a_length_is_read_in_powers_of_1024(text, value):
    assert parse_count(text, 1024) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "8kk",
        "8 k",
        "-8",
        "+8",
        "1.5x",
        "1e-3",
        "1_0",
        "١٢٣",
        "0x10",
        "nan",
        "٣",
        "1.",
        "9" * 31,
        "1,2,4",
        "8,16",
        "1,5T",
        "1,0000",
        ",100",
        "1000,000",
        "1,024,",
        "024",
        "0,123",
    ],
)
def test_a_count_that_is_none_is_refused_with_examples(text):
    with pytest.raises(ValueError, match="expected a number such as 8192, 8k or 15T"):
        parse_count(text)


@pytest.mark.parametrize(("text", "thousand"), [("1.5", 1000), ("1.0001k", 1000), ("0.3k", 1024)])
def test_a_count_that_is_not_whole_is_refused(text, thousand):
    with pytest.raises(ValueError, match="expected a whole number"):
        parse_count(text, thousand)


# -- printing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (16_060_522_496, "B", "16.1 GB"),
        (19_304_284_160, "FLOP", "19.3 GFLOP"),
        (999, "B", "999 B"),
        (1000, "B", "1.00 KB"),
        (64, "B", "64.0 B"),
        (0, "B", "0 B"),
        (999_400_000, "B", "999 MB"),
        (999_960_000, "B", "1.00 GB"),  # what would round to 1,000 MB
        (9_996_000, "B", "10.0 MB"),  # three figures, not 10.00
        (1_008 * 10**9, "B/s", "1.01 TB/s"),
        (165 * 10**12, "FLOPS", "165 TFLOPS"),
        (3.35e21, "FLOP", "3,350 EFLOP"),  # the largest prefix there is
        (-2_000_000, "B", "-2.00 MB"),
    ],
)
def test_a_figure_is_printed_with_three_figures_and_a_decimal_prefix(value, unit, text):
    assert scaled(value, unit) == text


@pytest.mark.parametrize(
    ("count", "text"), [(8_030_261_248, "8.03 B"), (266_240, "266 K"), (15 * 10**12, "15.0 T"), (124_439_808, "124 M")]
)
def test_parameters_and_tokens_are_printed_as_people_count_them(count, text):
    assert amount(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1.00"),
        (62.66, "62.7"),
        (4274.3, "4,274"),
        (0.0314, "0.0314"),
        (0.00099999, "0.00100"),
        (9.999, "10.0"),
        (99.96, "100"),
    ],
)
def test_a_number_is_printed_to_three_figures_and_whole_above_that(value, text):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.92, "1.92 s"),
        (0.016, "16.0 ms"),
        (5e-6, "5.00 µs"),
        (3.2e-9, "3.20 ns"),
        (7200, "7,200 s"),
        (0.99996, "1.00 s"),
        (0, "0 s"),
    ],
)
def test_a_duration_is_printed_in_the_unit_a_person_would_say(value, text):
    assert seconds(value) == text


@settings(deadline=None, max_examples=100)
@given(st.floats(1e-6, 1e20))
def test_a_printed_figure_is_within_half_a_percent_of_the_value(value):
    """Three figures: at worst 1.00 for 1.005, half a percent."""
    powers = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
    figure, prefix = scaled(value, "").replace(",", "").split(" ")
    assert float(figure) * powers[prefix] == pytest.approx(value, rel=0.00501)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 999_999), st.integers(0, 3), st.sampled_from(["K", "M", "G", "T"]))
def test_a_figure_is_read_exactly_as_it_is_written(figure, decimals, prefix):
    """No float comes between: 1.1 TB is 1,100,000,000,000 bytes."""
    text = f"{figure // 10**decimals}.{figure % 10**decimals:0{decimals}d}" if decimals else str(figure)
    power = {"K": 3, "M": 6, "G": 9, "T": 12}[prefix] - decimals
    assert parse_quantity(f"{text} {prefix}B", "B") == figure * 10**power


def test_one_of_a_thing_has_no_s():
    assert [counted(n, "request") for n in (0, 1, 2000)] == ["0 requests", "1 request", "2,000 requests"]
    assert counted(2, "is", "are") == "2 are"


@pytest.mark.parametrize("text", ["1e9", "1E9", "1000000000"])
def test_a_decimal_may_have_an_exponent(text):
    assert parse_decimal(text) == 10**9
    assert parse_decimal("2.5e-3") == Fraction(1, 400)


def test_a_decimal_is_one_that_a_float_can_be():
    assert float(parse_decimal("999999999999999e99")) < 1e115
    for text in ("1e400", "1e-400"):
        with pytest.raises(ValueError, match=f"expected a number such as 0.9, got '{text}'"):
            parse_decimal(text)


def test_a_number_below_0_is_told_from_none():
    with pytest.raises(ValueError, match=r"expected a number from 0 on, got '-1'"):
        parse_decimal("-1")
    with pytest.raises(ValueError, match=r"expected a number such as 0\.9, got '--1'"):
        parse_decimal("--1")
