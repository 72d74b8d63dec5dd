"""What a run measures is what shipped profiles hold."""

import pytest
from bench_setup import GPU, SHIPPED

from llmcost.bench.suites import CASES, Scope, steps
from llmcost.specs.profile import load_profile


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_is_whole_and_of_a_gpu_left_alone(path):
    profile = load_profile(path)
    assert profile.hardware == path.stem
    assert profile.scope == "full"
    assert not profile.cautions()
    assert {row.status for row in profile.measured()} == {"ok"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_a_full_run_measures_is_in_a_shipped_profile(path):
    profile = load_profile(path)
    known = {(row.suite, row.op(), row.dtype, row.backward) for row in profile.rows if row.operator}
    scope = Scope(GPU, full=True)
    for suite in CASES:
        if suite != "collectives":
            assert {
                (suite, point.case.op, point.case.dtype, point.case.backward) for point in CASES[suite](scope)
            } <= known
    assert {(point.model, point.phase, point.b, point.c) for point in steps(scope)} <= {
        step[:4] for step in profile.steps
    }
