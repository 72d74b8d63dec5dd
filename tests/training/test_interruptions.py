"""A run: days, money, energy, and what failures and checkpoints leave of the time."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcost.ground.errors import InputError
from llmcost.ground.symbols import evaluate, symbol
from llmcost.training.interruptions import (
    CHECKPOINT_BYTES_PER_S,
    DAY,
    HOUR,
    Reliability,
    Terms,
    best_interval,
    check_terms,
    goodput,
    run_of,
)

LLAMA3_STATE = 405.853e9 * 14  # bf16 weights, fp32 weights and two moments


def test_llama_3_as_published():
    """16,384 H100s, 54 days: 419 interruptions, over 90 % of the time effective (arXiv 2407.21783, 3.3.4)."""
    run = run_of(54 * DAY, 1, 0.9, 16_384, LLAMA3_STATE)  # so many steps that progress is nine tenths of 54 days
    assert run.interruptions.failures == pytest.approx(419, rel=0.05)
    assert run.interruptions.job_mtbf_seconds == pytest.approx(3.09 * HOUR, rel=0.01)
    assert 0.9 < run.interruptions.goodput.progress < 0.95


@pytest.mark.parametrize(
    "gpus, days_per_failure, hours_per_gpu",
    [(1024, 7.9 / 24, 8_090), (8, 47.7, 9_158)],  # arXiv 2410.21680: measured at 1,024 A100s and at 8
)
def test_failures_scale_with_gpus(gpus, days_per_failure, hours_per_gpu):
    reliability = Reliability(gpu_mtbf_seconds=hours_per_gpu * HOUR)
    run = run_of(10**9, 10**6, 1, gpus, 1e12, reliability)
    assert run.interruptions.job_mtbf_seconds / DAY == pytest.approx(days_per_failure, rel=0.01)


@pytest.mark.parametrize(
    "params, terabytes, gpus, seconds, rate",
    [
        (176.2e9, 2.3, 384, 40, 57.5e9 / 384),  # BLOOM: stas00/ml-engineering, training/fault-tolerance
        (1008e9, 13.8, 3072, 50, CHECKPOINT_BYTES_PER_S.value),  # Megatron-LM: arXiv 2104.04473, section 5.10
    ],
)
def test_checkpoints_as_published(params, terabytes, gpus, seconds, rate):
    size = 14 * params
    assert size == pytest.approx(terabytes * 1e12, rel=0.08)  # 13 and 13.7 bytes a parameter as printed
    run = run_of(10**12, 10**6, 10, gpus, size, Reliability(checkpoint_bytes_per_s=rate))
    assert run.interruptions.checkpoint_seconds == pytest.approx(seconds, rel=0.08)


def test_days_gpu_hours_energy_and_money_by_hand():
    """100 steps of 36 s on 10 GPUs of 700 W at $2: an hour on the wall, 10 GPU-hours, nearly without failures."""
    terms = Terms(dollars_per_gpu_hour=2, tdp_watts=700, power_share=0.9, pue=1.1, grams_per_kwh=400)
    run = run_of(1000, 10, 36, 10, 1.0, Reliability(gpu_mtbf_seconds=1e15, restart_seconds=0), terms)
    assert (run.steps, run.training_seconds) == (100, 3600)
    assert run.wall_seconds == pytest.approx(3600)
    assert run.days == pytest.approx(1 / 24)
    assert run.gpu_hours == pytest.approx(10)
    assert run.dollars == pytest.approx(20)
    assert run.energy_joules == pytest.approx(10 * 700 * 0.9 * 1.1 * 3600)
    assert run.carbon_grams == pytest.approx(10 * 0.7 * 0.9 * 1.1 * 400)


def test_a_begun_step_counts_whole_and_what_is_not_known_stays_unknown():
    run = run_of(1001, 10, 1, 1, 1e9)
    assert run.steps == 101
    assert run.energy_joules is run.dollars is run.carbon_grams is None


def simulated(interval, write, restart, mtbf, segments, seed):
    """Share of progress in a run with failures drawn at random: an independent count."""
    draw = random.Random(seed)
    clock, failure = 0.0, draw.expovariate(1 / mtbf)
    for _ in range(segments):
        waiting = False
        while True:
            end = clock + (restart if waiting else interval + write)
            if failure < end:
                clock, waiting, failure = failure, True, failure + draw.expovariate(1 / mtbf)
                continue
            clock = end
            if not waiting:
                break
            waiting = False
    return segments * interval / clock


@pytest.mark.parametrize("interval, write, restart, mtbf", [(100, 5, 20, 1000), (300, 30, 0, 400), (50, 1, 200, 500)])
def test_goodput_is_what_a_simulation_gives(interval, write, restart, mtbf):
    assert goodput(interval, write, restart, mtbf).progress == pytest.approx(
        simulated(interval, write, restart, mtbf, 40_000, 1), rel=0.02
    )


def test_goodput_is_close_to_the_published_approximation_where_failures_are_few():
    """(1 - (R + τ/2)/M) / (1 + w/τ), arXiv 2410.21680."""
    interval, write, restart, mtbf = 600, 10, 300, 100_000
    approximation = (1 - (restart + interval / 2) / mtbf) / (1 + write / interval)
    assert goodput(interval, write, restart, mtbf).progress == pytest.approx(approximation, rel=1e-3)


SECONDS = st.floats(1, 1e5)


@given(interval=SECONDS, write=SECONDS, restart=st.floats(0, 1e5), mtbf=st.floats(1e5, 1e9))
def test_shares_of_the_time_are_shares_and_add_up(interval, write, restart, mtbf):
    good = goodput(interval, write, restart, mtbf)
    assert sum(good) == pytest.approx(1)
    assert all(share >= -1e-9 for share in good)


@given(write=st.floats(1, 1e3), mtbf=st.floats(1e6, 1e9), factor=st.floats(0.3, 3))
def test_no_other_interval_is_much_better_than_youngs(write, mtbf, factor):
    best = best_interval(write, mtbf)
    assert goodput(best * factor, write, 60, mtbf).progress <= goodput(best, write, 60, mtbf).progress * (
        1 + write / mtbf + 1e-3
    )


@given(mtbf=st.floats(1e6, 1e12), gpus=st.integers(1, 10_000))
def test_more_failures_never_make_a_run_shorter(mtbf, gpus):
    seldom = run_of(10**12, 10**6, 1, gpus, 1e9, Reliability(gpu_mtbf_seconds=2 * mtbf, interval_seconds=600))
    often = run_of(10**12, 10**6, 1, gpus, 1e9, Reliability(gpu_mtbf_seconds=mtbf, interval_seconds=600))
    assert often.wall_seconds >= seldom.wall_seconds >= seldom.training_seconds


@pytest.mark.parametrize(
    "reliability, terms, message",
    [
        (Reliability(gpu_mtbf_seconds=0), Terms(), "--mtbf-hours: above 0"),
        (Reliability(interval_seconds=0), Terms(), "--checkpoint-minutes: above 0"),
        (Reliability(interval_seconds=-1), Terms(), "--checkpoint-minutes: above 0"),
        (Reliability(checkpoint_bytes_per_s=float("nan")), Terms(), "--checkpoint-gb-per-s: above 0"),
        (Reliability(restart_seconds=-1), Terms(), "--restart-minutes: not below 0"),
        (Reliability(), Terms(dollars_per_gpu_hour=-2), "--price -2: dollars"),
        (Reliability(), Terms(power_share=1.2), "--power-share 1.2: a share of 1"),
        (Reliability(), Terms(pue=0.9), "--pue 0.9: the data centre's energy"),
        (Reliability(gpu_mtbf_seconds=HOUR, restart_seconds=HOUR), Terms(), "it gets nowhere"),
    ],
)
def test_terms_that_make_no_sense_are_refused(reliability, terms, message):
    with pytest.raises(InputError, match=message):
        check_terms(1000, 1e12, reliability, terms)


def test_the_same_formula_serves_arrays_and_symbols():
    many = goodput(np.array([100.0, 300.0]), 5.0, 20.0, 1000.0)
    assert list(many.progress) == pytest.approx([goodput(each, 5, 20, 1000).progress for each in (100, 300)])
    assert evaluate(goodput(symbol("τ", 100, "seconds"), 5, 20, 1000).progress) == pytest.approx(
        goodput(100, 5, 20, 1000).progress
    )
