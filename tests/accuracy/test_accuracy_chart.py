"""The scoreboard as a chart, and the one on docs/accuracy.md, of the figures on docs/scoreboard.md."""

import re
from html import unescape
from pathlib import Path

import pytest

from llmcost.accuracy.scoreboard import scoreboard
from llmcost.report.accuracy_charts import accuracy_panels, speed

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def figure(quantity, expected, measured, source="a", kind="serving"):
    values = {"quantity": quantity, "expected": expected, "measured": measured}
    return values | {"source": source, "class": kind, "engine": None}


def test_a_time_that_is_predicted_too_short_and_a_rate_that_is_too_high_are_too_fast():
    assert speed(figure("output_tokens_per_s", 300, 200)) == 1.5
    assert speed(figure("token_seconds", 200, 300)) == 1.5


def test_a_span_has_the_median_and_eight_of_ten_figures():
    rates = [figure("output_tokens_per_s", ratio, 10) for ratio in range(5, 16)]  # 0.5, 0.6 to 1.5
    more = [figure("memory_bytes", 9, 1), figure("token_seconds", None, 1), figure("seconds", 2, 4, "b", "kernel")]
    by_source, by_engine = accuracy_panels(scoreboard([], [])._replace(figures=[*rates, *more]))
    assert by_source.groups == by_engine.groups == ["a (11)", "b (1)"]  # neither memory nor what is not predicted
    assert [span.label for span in by_source.spans] == ["serving", "kernel"]
    assert by_source.spans[0][2:] == pytest.approx((0.6, 1.0, 1.4))
    assert by_source.spans[1][2:] == (2, 2, 2)


def test_the_picture_on_the_page_is_of_the_figures_in_its_tables():
    """`llmcost accuracy --plot docs/accuracy.svg` draws it: each engine stands in it with as many predictions."""
    drawn = (DOCS / "accuracy.svg").read_text("utf-8")
    words = {unescape(word) for word in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)}
    page = (DOCS / "scoreboard.md").read_text("utf-8")
    table = page.split("\nBy engine\n")[1].split("\n\n")[0].splitlines()[1:]
    rows = [re.split(r" {2,}", line.strip()) for line in table]
    shown = [
        f"{engine} ({predicted})"
        for _, engine, _, predicted, *_ in rows
        if engine not in ("single kernels", "not said")
    ]
    assert len(shown) > 40
    assert {each for each in shown if not each.endswith("(0)")} - words == set()


def test_accuracy_draws_what_it_prints(cli, tmp_path):
    path = tmp_path / "one.svg"
    assert cli("accuracy", "--source", "gpt-fast", "--plot", path).code == 0
    assert "gpt-fast (33)" in path.read_text("utf-8")
    answer = cli("accuracy", "--source", "gpt-fast", "--plot", tmp_path / "one.bmp")
    assert (answer.code, answer.out) == (2, "")
    assert "the name ends in one of .png, .svg, .pdf" in answer.err
