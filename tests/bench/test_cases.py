"""A case: every way is checked, and the fastest right one is timed."""

import sys

from bench_setup import GPU

from llmcost.bench.cases import Bench, calls, rotated
from llmcost.bench.kernels import KernelCase, Way, kind_of
from llmcost.bench.runner import Runner
from llmcost.bench.suites import Point
from llmcost.model.operators import Gemm

REFUSED = "RuntimeError: no such shape"


def test_a_wrong_kernel_is_not_timed_and_a_row_says_so(bench, monkeypatch):
    case = KernelCase(Gemm("gemm", "mlp", 1, 4, 1, 32, 16, False, False, 4, 4), "fp32")
    kind = kind_of(case.op)
    ways = {
        "wrong": Way(lambda _op, x, weight: x @ weight.t() + 1),
        "right": Way(lambda _op, x, weight: x @ weight.t()),
    }
    monkeypatch.setitem(
        sys.modules["llmcost.bench.kernels"].KINDS, Gemm, kind._replace(ways=lambda _case, _device: ways)
    )
    measured = bench.measure(case)
    assert measured.way == "right"
    assert measured.others["wrong"].startswith("wrong: relative error")
    del ways["right"]
    runner = Runner(bench, lambda _line: None)
    runner.run_cases([Point("gemm", case)])
    assert runner.rows[0].status == "wrong"


def test_a_quick_run_waits_for_a_compiler_only_where_nothing_else_works(bench, monkeypatch):
    case = KernelCase(Gemm("gemm", "mlp", 1, 4, 1, 32, 16, False, False, 4, 4), "fp32")
    run, kind = lambda _op, x, weight: x @ weight.t(), kind_of(case.op)
    ready, refused = Way(run), Way(lambda *_: (_ for _ in ()).throw(RuntimeError("no such shape")))
    for first, tried in ((ready, {"ready"}), (refused, {"fused"})):
        ways = {"ready": first, "fused": Way(run, compiles=True)}
        monkeypatch.setattr("llmcost.bench.cases.kind_of", lambda _op, ways=ways: kind._replace(ways=lambda *_: ways))
        measured = bench._replace(quick=True).measure(case)
        assert {measured.way} == tried
        assert measured.others == ({"fused": "not tried in a quick run"} if first is ready else {"ready": REFUSED})
        full = bench.measure(case)
        assert {full.way, *full.others} == set(ways)
        assert (REFUSED in full.others.values()) == (first is refused)  # what works is timed


def test_cold_operands_are_elsewhere_in_memory_each_time(bench):
    case = KernelCase(Gemm("gemm", "mlp", 1, 1, 1, 8, 8, False, False, 4, 4), "fp32")
    given = kind_of(case.op).operands(case.op, "fp32", bench.device)
    colds = rotated(given, 3)
    assert len({cold[0].data_ptr() for cold in colds}) == 3
    assert len(calls(case, Way(lambda _op, x, weight: x @ weight.t()), given.hot, colds)) == 3
    assert Bench(GPU, bench.clock)._sets(given) == 256  # a set takes 256 bytes: as many as are allowed


def test_a_way_that_fails_says_why_in_the_librarys_words(bench, monkeypatch):
    def fails(*_given):
        raise RuntimeError("Duplicate GPU detected : rank 0 and rank 1\n  a long trace")

    case = KernelCase(Gemm("gemm", "mlp", 1, 4, 1, 32, 16, False, False, 4, 4), "fp32")
    kind = kind_of(case.op)
    ways = {"library": Way(fails)}
    monkeypatch.setitem(
        sys.modules["llmcost.bench.kernels"].KINDS, Gemm, kind._replace(ways=lambda _case, _device: ways)
    )
    runner = Runner(bench, lambda _line: None)
    runner.run_cases([Point("gemm", case)])
    row = runner.rows[0]
    assert row.status == "skipped"
    assert row.reason == "library: RuntimeError: Duplicate GPU detected : rank 0 and rank 1"
