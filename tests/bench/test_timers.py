"""Samples as seconds a call."""

import pytest

from llmcost.bench.device import Reading
from llmcost.bench.timers import Timing, quantile


def test_quantiles_lie_between_neighbours():
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([7.0], 0.95) == 7.0


def test_timings_of_a_graph_are_seconds_a_call(bench):
    timing = bench.clock.summary([4.0, 2.0, 6.0], 2, "graph", Reading())
    assert timing == Timing(2.0, pytest.approx(1.1), pytest.approx(2.9), 3, "graph", Reading())
