"""Forms of time of sparse attention, indexers, recurrences and whole modules: arithmetic, and laws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.machine import forms_sequence
from llmcost.machine.forms_products import Figures
from llmcost.machine.forms_sequence import Choice, Module, Recurrence, Scores, Sparse

# 100 SMs of 1e12 FLOP/s each, 1e12 bytes/s.
F = Figures(peak=1e14, bandwidth=1e12, sms=100)
SPARSE = Sparse(
    launch=5e-6, compute=0.5, memory=1, overlap=20, start=1e-6, draw=1e10, absent=0.5, heads=64, parts=4, split=2e-6
)
SCORES = Scores(launch=3e-6, compute=0.5, memory=1, overlap=20, key=1e-9, row=1e-7)
CHOICE = Choice(launch=2e-6, memory=1, overlap=20, row=1e-6, key=1e-10)
RECURRENCE = Recurrence(launch=3e-6, moved=2, states=3, overlap=20, step=1e-6, block=1e-6, head=1e-7)


def sparse(queries, keys=1000, places=0, heads=64, read=0):
    return forms_sequence.sparse_seconds(SPARSE, F, queries, keys, places, heads, 100, 100, 200, read)


def test_a_querys_keys_take_their_flops_and_are_gathered_by_one_block():
    # 200 queries of 64 heads are 200 blocks, two waves. A key takes 64 × 2 × 200 FLOPs at half of an SM's 1e12,
    # 51.2 ns, and 20 ns for its 200 bytes; 1,000 of them 71.2 µs, and a block 1 µs besides.
    assert sparse(200) == pytest.approx(5e-6 + 2 * (1e-6 + 1000 * 71.2e-9), rel=1e-2)


def test_fewer_heads_than_a_block_has_take_as_long():
    assert sparse(200, heads=8) == pytest.approx(sparse(200, heads=64), rel=1e-2)
    assert sparse(200, heads=65) == pytest.approx(5e-6 + 2 * (sparse(200) - 5e-6), rel=2e-2)


def test_few_queries_have_their_keys_split():
    # 25 blocks leave room for 4 parts: 250 keys, and the parts are added up
    assert sparse(25) == pytest.approx(5e-6 + 1e-6 + 250 * 71.2e-9 + 2e-6, rel=1e-2)


def test_a_place_without_a_key_takes_its_share():
    # of 1,000 places 600 have a key; half of the time of the other 400
    assert sparse(200, keys=600, places=1000) == pytest.approx(5e-6 + 2 * (1e-6 + 800 * 71.2e-9), rel=1e-2)


def test_scores_take_their_flops_rows_and_bytes_or_the_longest_block():
    def time(queries, pairs, read=0):
        return forms_sequence.scores_seconds(SCORES, F, queries, pairs, 64, 128, 132, read)

    # 1e8 pairs of 64 × 128 × 2 FLOPs at 5e13: 32.8 ms, and 10,000 rows of 100 ns over 100 SMs
    assert time(10_000, 1e8) == pytest.approx(3e-6 + 1e8 * 16384 / 5e13 + 10_000 * 1e-9, rel=1e-2)
    # one query over 1e6 keys: its block alone, 1 ns a key; the scores of 4 bytes take 4 µs
    assert time(1, 1e6) == pytest.approx(3e-6 + 1e-3, rel=1e-2)


def test_the_choice_takes_a_block_a_query_or_the_scores_bytes():
    assert forms_sequence.choice_seconds(CHOICE, F, 150, 150 * 1e3) == pytest.approx(2e-6 + 2 * (1e-6 + 1e-7), rel=1e-2)
    slow = CHOICE._replace(memory=0.001)
    assert forms_sequence.choice_seconds(slow, F, 150, 150 * 1e3) == pytest.approx(2e-6 + 1.5e5 * 4 / 1e9, rel=1e-2)


def test_a_recurrence_moves_its_bytes_or_waits_for_its_chunks():
    def time(batch, tokens, io, state):
        return forms_sequence.recurrence_seconds(RECURRENCE, F, batch, tokens, 32, io, state)

    assert time(64, 1, 1e6, 1e9) == pytest.approx(3e-6 + (2e6 + 3e9) / 1e12, rel=1e-2)  # a step: its states
    assert time(1, 6400, 0, 0) == pytest.approx(3e-6 + 100 * 1e-6, rel=1e-2)  # one sequence: 100 chunks, in a row
    # 50 sequences of 32 heads: 1,600 blocks of 100 chunks each over 100 SMs
    assert time(50, 6400, 0, 0) == pytest.approx(3e-6 + 1600 * (1e-7 + 100 * 1e-6) / 100, rel=1e-2)


def test_a_module_takes_its_kernels_or_the_host_that_starts_them():
    x = Module(launch=1e-5, host=1e-3, overlap=20, compute=0.9)
    assert forms_sequence.module_seconds(x, 1e-4) == pytest.approx(1e-3)
    assert forms_sequence.module_seconds(x, 1e-2) == pytest.approx(9e-3 + 1e-5)


SIZE = st.integers(1, 20000)


@settings(deadline=None, max_examples=200)
@given(queries=SIZE, keys=SIZE, heads=st.integers(1, 128), more=st.integers(1, 500), which=st.sampled_from("qkh"))
def test_more_queries_keys_or_heads_never_take_less(queries, keys, heads, more, which):
    large = [size + more * (which == name) for name, size in zip("qkh", (queries, keys, heads), strict=True)]

    def time(queries, keys, heads):
        return sparse(queries, keys, heads=heads, read=queries)

    assert time(*large) >= time(queries, keys, heads) * (1 - 1e-12)


@settings(deadline=None, max_examples=200)
@given(batch=st.integers(1, 500), tokens=SIZE, more=st.integers(1, 500), which=st.sampled_from("bt"))
def test_more_sequences_or_tokens_never_take_less(batch, tokens, more, which):
    def time(batch, tokens):
        return forms_sequence.recurrence_seconds(RECURRENCE, F, batch, tokens, 8, batch * tokens * 100, batch * 1e5)

    large = (batch + more * (which == "b"), tokens + more * (which == "t"))
    assert time(*large) >= time(batch, tokens) * (1 - 1e-12)
