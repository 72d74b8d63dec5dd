"""A mix of requests under continuous batching: what its steps have in them, and where it must agree with the rest."""

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost import StepTime, load_hardware, load_model
from llmcost.formulas.serving import symbolic_estimate
from llmcost.ground.errors import InputError
from llmcost.ground.symbols import Expression
from llmcost.ground.symbols import evaluate as value_of
from llmcost.machine.chip import chip_of
from llmcost.machine.reached import efficiency_for
from llmcost.model.architecture import operators
from llmcost.model.counting import count_params, count_pass
from llmcost.model.sizes import Load, element_bytes
from llmcost.parallel.layout import Layout
from llmcost.parallel.pipeline import Server
from llmcost.serving.batching import Tokens, joined
from llmcost.serving.estimate import estimate, evaluate, prompt_is_context, workload_of
from llmcost.serving.options import Options as AllOptions
from llmcost.serving.phases import decode_step
from llmcost.serving.results import leaves
from llmcost.serving.room import preempted
from llmcost.serving.speculation import accepted_tokens
from llmcost.specs.optimised import OPTIMISED

Options = partial(AllOptions, engine=OPTIMISED)  # the arithmetic of a mix, without the host of a program
H100, LLAMA = load_hardware("h100-sxm"), load_model("llama3.1-8b")
REACHED = efficiency_for(H100, None, "bf16", "bf16")
BF16 = element_bytes("bf16", "bf16", "bf16")


def server(model):
    return Server(model, BF16, chip_of(H100, "bf16", "bf16"), REACHED, Layout())


def mix(model=LLAMA, **options):
    return estimate(model, H100, Options(**options)).serving


# -- the joint step ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["llama3.1-8b", "mixtral-8x7b", "deepseek-v2-lite", "gemma-2-9b", "jamba-1.5-mini", "qwen3-next-80b-a3b"]
)
def test_a_joint_step_computes_what_its_two_parts_do_and_reads_weights_once(name):
    model = load_model(name)
    tokens = Tokens(decoding=16, context=700, begin=2, prompt=300, output=800)
    pass_, _ = joined(server(model), tokens, server(model).whole(tokens.decode_load()))
    both = count_pass(pass_.operators())
    parts = [count_pass(operators(model, BF16, load)) for load in (Load(16, 1, 700, decode=True), Load(2, 300, 300))]
    together = parts[0].plus(parts[1])
    assert both.flops(causal=True) == pytest.approx(together.flops(causal=True))
    assert both.cache_bytes == pytest.approx(together.cache_bytes)
    assert max(part.weight_bytes for part in parts) <= both.weight_bytes < together.weight_bytes
    one = count_params(operators(model, BF16, Load(1, 1, 1, decode=True)))
    assert count_params(pass_.operators()).mlp == one.mlp  # no kernel for all tokens is there twice


def test_attention_of_decode_and_of_prompts_stay_apart():
    tokens = Tokens(decoding=16, context=700, begin=2, prompt=300, output=800)
    pass_, load = joined(server(LLAMA), tokens, server(LLAMA).whole(tokens.decode_load()))
    assert [op.name for op in pass_.layers].count("attention") == 2
    assert load.b * load.s == 16 + 2 * 300
    (lm_head,) = [op for op in pass_.last if op.name == "lm_head"]
    assert lm_head.b * lm_head.s == 16 + 2  # logits of every token of decode, and of the last of each prompt


# -- the steady state -------------------------------------------------------------------------------


def test_one_request_at_a_time_takes_what_a_request_takes():
    """The next comes when it has gone."""
    e = estimate(LLAMA, H100, Options(prompt=1000, output=200, concurrency=1))
    assert e.serving.expected.latency_seconds == pytest.approx(e.request.expected.latency_seconds, rel=2e-3)
    assert e.serving.expected.requests_per_s == pytest.approx(1 / e.serving.expected.latency_seconds)
    assert e.serving.expected.tpot_seconds == pytest.approx(e.request.expected.tpot_seconds, rel=1e-3)


def test_requests_of_one_token_are_prompts_alone():
    found = mix(prompt=2000, output=1, concurrency=1).expected
    prompt = estimate(LLAMA, H100, Options(prompt=2000, context=2000)).prefill.expected.seconds
    assert found.output_tokens_per_s == pytest.approx(
        1 / prompt, rel=0.02
    )  # and a kernel of attention with nothing to do a layer
    assert found.ttft_seconds == pytest.approx(prompt, rel=0.02)


def test_long_outputs_are_decode_alone():
    """A token in, 4,000 out: a step of 32 sequences at their mean context."""
    w, batch = workload_of(LLAMA, H100, Options(batch=32, context=4001, prompt=1)), 32
    step = decode_step(server(LLAMA), w, 2000).seconds.fullest
    assert mix(prompt=1, output=4000, concurrency=batch).expected.output_tokens_per_s == pytest.approx(
        batch / step, rel=0.01
    )


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4000),
    st.integers(1, 1000),
    st.integers(1, 3000),
    st.sampled_from([None, 256, 2048]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
)
def test_littles_law_and_the_limit(prompt, output, concurrency, chunk, tp, pp, dp):
    """Requests in flight are those that come a second times how long each stays (up to the fullest rank's share)."""
    s = mix(prompt=prompt, output=output, concurrency=concurrency, chunk=chunk, tp=tp, pp=pp, dp=dp)
    x = s.expected
    if concurrency % dp == 0 and s.running == concurrency:  # else the first ones find room: less than Little's law says
        assert x.requests_per_s * x.latency_seconds == pytest.approx(concurrency, rel=1e-9)
    assert x.total_tokens_per_s == pytest.approx(x.requests_per_s * (prompt + output))
    assert x.output_tokens_per_s < s.limit.output_tokens_per_s
    assert 0 < s.running <= concurrency
    assert s.running <= s.max_concurrency
    assert x.tpot_seconds >= 0
    assert x.ttft_seconds > 0


def test_a_single_token_leaves_no_time_for_others():
    x = mix(prompt=1315, output=1, concurrency=1, chunk=256).expected  # of this mix rounding made less than nothing
    assert x.tpot_seconds == 0
    assert x.latency_seconds == x.ttft_seconds


def test_the_limit_holds_where_decode_alone_touches_few_experts():
    """A prompt touches all experts once; spread over the steps of decode it would touch more each time."""
    found = mix(load_model("mixtral-8x22b"), prompt=50, output=5, concurrency=1, tp=8)
    assert found.expected.output_tokens_per_s < found.limit.output_tokens_per_s


def test_memory_holds_back_what_chunk_and_concurrency_do_not():
    few, many = mix(prompt=1000, output=500, concurrency=8), mix(prompt=1000, output=500, concurrency=10**5)
    assert (few.limited_by, few.running) == ("concurrency", 8)
    assert (many.limited_by, many.running) == ("memory", many.max_concurrency)
    assert few.max_concurrency == many.max_concurrency
    assert many.expected.tpot_seconds < many.expected.ttft_seconds  # most of them wait in line
    small = mix(prompt=1000, output=10, concurrency=300, chunk=512)
    assert small.limited_by == "chunk"
    assert small.running < 300
    assert mix(load_model("llama3.1-405b"), prompt=10, output=10, concurrency=10).max_concurrency == 0


def test_the_cache_has_room_for_requests_of_mean_length_in_pages():
    """What is left beside weights and a prompt's activations, over 128 KiB a token: 1,000 + 250 tokens and 7.5 more."""
    e = estimate(LLAMA, H100, Options(prompt=1000, output=500, concurrency=1))
    m = e.memory
    room = m.usable_bytes - m.overhead_bytes - m.weights_bytes - m.activation_bytes
    assert e.serving.max_concurrency == int(0.99 * room / (2 * 32 * 8 * 128 * 2 * (1000 + 250 + 7.5)))


def test_a_data_parallel_rank_serves_its_share():
    one, two = mix(prompt=500, output=100, concurrency=32), mix(prompt=500, output=100, concurrency=64, dp=2)
    assert two.expected.output_tokens_per_s == pytest.approx(2 * one.expected.output_tokens_per_s)
    assert two.expected.tpot_seconds == pytest.approx(one.expected.tpot_seconds)
    assert two.expected.output_tokens_per_s_per_gpu == pytest.approx(one.expected.output_tokens_per_s)


# -- requests at a rate -----------------------------------------------------------------------------


def in_flight(rate, **options):
    """Little's law by bisection on mixes of a given concurrency: as many as arrive while one is answered."""
    low, high = 1, 2000
    while high - low > 1:
        middle = (low + high) // 2
        answered = mix(concurrency=middle, **options).expected.requests_per_s
        low, high = (middle, high) if answered < rate else (low, middle)
    return low, high


@pytest.mark.parametrize("options", [{}, {"chunk": 700}, {"tp": 2, "pp": 2}, {"dp": 2}])
@pytest.mark.parametrize("rate", [3.0, 12.0, 20.0])
def test_as_many_are_in_flight_as_arrive_while_one_is_answered(rate, options):
    """A loop that answers as many has one more: a request of it sees all but itself. Its prompts come together, too."""
    of = {"prompt": 1000, "output": 200} | options
    found = mix(rate=rate, **of)
    low, high = in_flight(rate, **of)
    ranks = of.get("dp", 1)  # of which bisection fills one more than the other
    assert 0.85 * (low - 1) - ranks < found.running < 1.03 * high + ranks
    assert found.limited_by == "rate"
    assert found.expected.requests_per_s == pytest.approx(rate, rel=1e-6)
    assert found.expected.output_tokens_per_s == pytest.approx(200 * rate, rel=1e-6)


ENDLESS = 10**8  # requests, among which those at the start do not count


def test_a_request_that_comes_waits_for_half_a_step_and_behind_other_prompts():
    """Prompts keep the server busy for rho, their rate times the time of one: rho / 2 (1 - rho) of them are waiting."""
    found = mix(rate=12.0, prompt=1000, output=200)
    step = StepTime(LLAMA, H100, Options())
    prompt = step(found.running, 1100, 1, 1000, 1000)
    busy = 12 * prompt
    waits = found.expected.latency_seconds / 200 / 2 + busy / (2 * (1 - busy)) * prompt
    assert found.expected.ttft_seconds == pytest.approx(waits + prompt, rel=0.05)


def test_prompts_of_a_loop_run_with_those_that_came_when_they_did():
    """Of 32 requests, 8.2 of which the chunk has room for, the first all at once, a tenth of all.

    Later those that began together end within half of their steps, times the root of how often they have begun.
    """
    found, step = mix(concurrency=32, prompt=1000, output=200).expected, StepTime(LLAMA, H100, Options())
    most = (8192 - 31.84) / 1000
    together = [most] + [1 + 31 / max(1, 0.5 * 200 * round_**0.5) for round_ in range(1, 10)]
    own = [step(31.84, 1100, each, 1000, 1000) for each in together]
    first = (32 - most) / 2 * own[0] / most
    assert found.ttft_seconds == pytest.approx((sum(own) + first) / 10, rel=0.05)


def test_of_a_loop_of_one_length_those_that_began_together_always_begin_together():
    """Groups of 8 follow each other: a step with 8 prompts of them computes no more than the run's requests need."""
    mixed, alike = (mix(concurrency=64, prompt=1000, output=200, range_ratio=share) for share in (None, 1.0))
    assert alike.expected.requests_per_s < mixed.expected.requests_per_s  # fewer steps of decode run beside prompts
    step, most = StepTime(LLAMA, H100, Options()), (8192 - 63.7) / 1000
    steps = 200 * step(63.7, 1100) + 64 / most * (step(63.7, 1100, most, 1000, 1000) - step(63.7, 1100))
    assert alike.expected.latency_seconds == pytest.approx(steps, rel=0.01)


def test_a_rate_below_one_request_at_a_time_is_one_request_alone():
    of = {"prompt": 1000, "output": 200}
    alone, found = mix(concurrency=1, **of).expected, mix(rate=0.01, **of)
    assert found.running == pytest.approx(0.01 * alone.latency_seconds, rel=0.01)  # 1.3 % of the time another one runs
    assert found.expected.requests_per_s == pytest.approx(0.01)
    assert found.expected.tpot_seconds == pytest.approx(alone.tpot_seconds, rel=0.01)


def test_more_than_can_be_answered_fills_the_memory_and_leaves_a_line():
    of = {"prompt": 1000, "output": 200, "reserve_output": True}  # nothing is preempted
    full = mix(concurrency=mix(concurrency=1, **of).max_concurrency, **of).expected
    endless, some, more = (mix(rate=1000.0, requests=requests, **of) for requests in (None, 2000, 4000))
    assert endless.limited_by == "memory"
    assert endless.expected.requests_per_s == pytest.approx(full.requests_per_s, rel=0.02)  # a loop's come together
    assert endless.limit.requests_per_s < 1000
    waits = [each.expected.ttft_seconds - endless.expected.ttft_seconds for each in (some, more)]
    for each, wait, requests in zip((some, more), waits, (2000, 4000), strict=True):
        line = requests - each.running  # half of them came before the mean one
        assert wait == pytest.approx(line / 2 * (1 / endless.expected.requests_per_s - 1 / 1000), rel=0.02)


def test_a_run_ends_when_its_last_request_is_answered():
    of = {"prompt": 1000, "output": 200}
    found = mix(rate=4.0, requests=100, **of).expected
    once_it_runs = found.latency_seconds - found.tpot_seconds / 2  # without the wait for the step under way
    assert 100 / found.requests_per_s == pytest.approx(100 / 4 + once_it_runs, rel=1e-3)


@pytest.mark.parametrize(
    ("concurrency", "again", "run"),
    [
        (90, 0.76 * 1024 / 1.07, 1),  # as many wait as make it all; prompts are once as long as outputs
        (30, 0.5 * 0.76 * 1024 / 1.07, 1 - 0.19 * 0.5**2),  # half of each length is output
        (22, 0, 1),  # all of them at their full length, a third more than the mean one, have room
    ],
)
def test_a_loop_of_more_than_have_room_computes_again_what_it_preempts(concurrency, again, run):
    options = Options(concurrency=concurrency, prompt=1024, output=1024)
    bounds = {"concurrency": concurrency, "memory": 30}
    assert preempted(options, bounds, 0.75, 1.0) == (pytest.approx(again), pytest.approx(run))
    assert preempted(options._replace(reserve_output=True), bounds, 0.75, 1.0) == (0, 1)
    assert preempted(options._replace(concurrency=None, rate=9.0), bounds, 0.75, 1.0) == (0, 1)


# -- a batch job ------------------------------------------------------------------------------------


def test_a_job_is_its_waves_and_a_last_smaller_one():
    of = {"prompt": 1000, "output": 200, "memory_utilization": 0.5, "reserve_output": True}  # nothing is preempted
    most = mix(concurrency=1, **of).max_concurrency
    seconds = {
        running: mix(concurrency=running, **of).expected.latency_seconds  # of all of them, when none waits
        for running in (most, 7)
    }
    found = mix(requests=3 * most + 7, **of)
    assert (found.running, found.limited_by) == (most, "memory")
    duration = 3 * seconds[most] + seconds[7]
    together = 0.05  # what a loop's prompts lose by coming together, as those of a job do in its first steps alone
    assert found.expected.requests_per_s == pytest.approx((3 * most + 7) / duration, rel=together)
    assert found.expected.ttft_seconds is found.expected.latency_seconds is None
    whole = mix(requests=3 * most, **of).expected
    assert whole.requests_per_s == pytest.approx(most / seconds[most], rel=together)  # nothing is left over
    assert whole.requests_per_s > found.expected.requests_per_s  # the seven wait for steps that few share


def test_a_job_of_a_client_with_so_many_at_a_time():
    of = {"prompt": 1000, "output": 200}
    there, job = mix(concurrency=50, **of), mix(concurrency=50, requests=500, **of)
    assert job.running == there.running == 50
    assert job.expected == pytest.approx(there.expected)


def test_an_engine_that_keeps_room_for_all_output_runs_fewer():
    of = {"prompt": 1000, "output": 1000, "requests": 10**5}
    mean, full = mix(**of), mix(reserve_output=True, **of)
    assert full.running / mean.running == pytest.approx((1500 + 7.5) / (2000 + 7.5), rel=0.01)


def test_a_share_of_what_the_model_leaves_is_set_aside_in_place_of_one_of_all():
    of = {"prompt": 1000, "output": 200}
    e = estimate(LLAMA, H100, Options(free_memory_fraction=0.9, **of))
    m = e.memory
    left = m.usable_bytes - m.weights_bytes - m.activation_bytes - m.runtime_bytes
    assert m.overhead_bytes == pytest.approx(m.runtime_bytes + 0.1 * left)
    assert mix(free_memory_fraction=1, requests=10**5, **of).running > mix(requests=10**5, **of).running


# -- one formula for numbers, arrays and symbols ----------------------------------------------------


@pytest.mark.parametrize(
    "name, values, others",
    [
        ("rate", (0.01, 3.0, 20.0, 500.0), {}),
        ("rate", (3.0, 500.0), {"requests": 300}),
        ("requests", (1, 300, 5000), {}),
    ],
)
def test_a_sweep_over_what_arrives_equals_the_loop(name, values, others):
    chosen = Options(prompt=1500, output=200, **others | {name: values[0]})
    w = workload_of(LLAMA, H100, chosen)._replace(**{name: np.array(values, dtype=np.float64)})
    sweep = dict(
        leaves(evaluate(LLAMA, H100, BF16, w, chip_of(H100, w.dtype, w.kv_dtype), REACHED, prompt_is_context(chosen)))
    )
    loop = [dict(leaves(estimate(LLAMA, H100, chosen._replace(**{name: value})))) for value in values]
    for path in loop[0]:
        if path.startswith("serving.") and loop[0][path] is not None and not isinstance(loop[0][path], str):
            figures = [each[path] for each in loop]
            np.testing.assert_allclose(np.broadcast_to(sweep[path], len(values)), figures, rtol=1e-9, err_msg=path)
    words = np.broadcast_to(sweep["serving.limited_by"], len(values))
    assert list(words) == [each["serving.limited_by"] for each in loop]


def test_a_rate_has_no_formula_and_says_so():
    with pytest.raises(InputError, match="--rate 3: how many requests are in flight is found step by step"):
        symbolic_estimate(LLAMA, H100, Options(prompt=800, output=50, rate=3.0))


@pytest.mark.parametrize("chunk", [None, 700])
def test_a_sweep_over_concurrencies_equals_the_loop(chunk):
    chosen = Options(prompt=1500, output=200, chunk=chunk, concurrency=1)
    values = (1, 10, 100, 1000)
    w = workload_of(LLAMA, H100, chosen)._replace(concurrency=np.array(values, dtype=np.float64))
    sweep = dict(
        leaves(evaluate(LLAMA, H100, BF16, w, chip_of(H100, w.dtype, w.kv_dtype), REACHED, prompt_is_context(chosen)))
    )
    loop = [dict(leaves(estimate(LLAMA, H100, chosen._replace(concurrency=value)))) for value in values]
    for path in loop[0]:
        if path.startswith("serving.") and loop[0][path] is not None and not isinstance(loop[0][path], str):
            np.testing.assert_allclose(
                np.broadcast_to(sweep[path], 4), [each[path] for each in loop], rtol=1e-12, err_msg=path
            )


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 40},
        {"concurrency": 40, "tp": 2, "pp": 2, "dp": 2},
        {"concurrency": 40, "chunk": 300},
        {"requests": 5000, "free_memory_fraction": 0.9, "reserve_output": True},
        {"requests": 100, "concurrency": 40, "head_dtype": "fp8", "logits": "all", "batch_prompts": True, "batch": 2},
    ],
)
def test_the_formula_of_a_mix_evaluates_to_the_figure(options):
    case = LLAMA, H100, Options(prompt=800, output=50, **options)
    figures, formulas = dict(leaves(estimate(*case))), dict(leaves(symbolic_estimate(*case)))
    for path, formula in formulas.items():
        if isinstance(formula, Expression) and path.startswith("serving"):
            assert float(value_of(formula)) == pytest.approx(float(figures[path]), rel=1e-9), path


def test_without_a_gpu_or_without_its_peak_the_times_are_not_known():
    for hardware in (None, load_hardware("m5")._replace(peak={}, vector_peak={})):
        found = estimate(LLAMA, hardware, Options(prompt=100, output=100, concurrency=4)).serving
        assert found.expected[:7] == (None,) * 7
        assert found.running == 4


def test_a_job_on_more_ranks_than_it_may_have_in_flight_runs_no_faster_than_a_stream():
    """Of 4 ranks 2 have a request each, whatever waits: 500 waves of two requests."""
    asked = {"prompt": 1000, "output": 256, "dp": 4, "concurrency": 2}
    stream, job = (estimate(LLAMA, H100, Options(**asked, **more)).serving for more in ({}, {"requests": 1000}))
    assert job.expected.requests_per_s == pytest.approx(stream.expected.requests_per_s)
    assert job.expected.requests_per_s <= job.limit.requests_per_s


@pytest.mark.parametrize(("tokens", "accept", "given"), [(1, 0.5, 1.5), (3, 0.8, 2.952), (4, 1, 5), (4, 0, 1)])
def test_a_step_gives_the_tokens_up_to_the_first_wrong_guess(tokens, accept, given):
    """1 + A + … + Aᴷ: the k-th guess counts if it and all before it are right."""
    assert accepted_tokens(tokens, accept) == pytest.approx(given)


def test_guesses_that_are_always_wrong_cost_time_and_give_nothing():
    options = Options(concurrency=16, prompt=1000, output=200)
    plain, wrong = (
        estimate(LLAMA, H100, each).serving.expected for each in (options, options._replace(speculate=3, accept=0.0))
    )
    assert wrong.output_tokens_per_s < plain.output_tokens_per_s


def test_a_shared_beginning_is_held_once_and_not_computed():
    options = Options(concurrency=10_000, prompt=1600, output=400)
    plain, shared = (estimate(LLAMA, H100, each).serving for each in (options, options._replace(prefix_hit=0.5)))
    own = 1600 + 200 + 7.5  # tokens of a request on average, half of the last page empty
    assert shared.max_concurrency == pytest.approx(plain.max_concurrency * own / (own - 800), rel=0.01)
    assert shared.expected.output_tokens_per_s > plain.expected.output_tokens_per_s
    none = estimate(LLAMA, H100, options._replace(prefix_hit=0.0)).serving
    assert none.expected.output_tokens_per_s == pytest.approx(plain.expected.output_tokens_per_s)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(speculate=2), "--speculate 2: of a mix of requests"),
        (Options(prefix_hit=0.5), "--prefix-hit 0.5: of a mix of requests"),
        (Options(rate=1.0, output=9, draft="ngram"), "--draft ngram: it changes nothing alone"),
        (Options(rate=1.0, output=9, prefix_hit=1.5), "a share from 0 to 1"),
    ],
)
def test_what_is_guessed_or_cached_is_of_a_mix(options, said):
    with pytest.raises(InputError, match=re.escape(said)):
        estimate(LLAMA, H100, options)


def test_a_mix_that_does_not_fit_is_answered_as_if_there_were_enough_memory():
    """As the verdict says of its speeds: all that are asked for run, expected and at most."""
    model, chip = load_model("llama3-70b"), load_hardware("h100-sxm")
    found = estimate(model, chip, AllOptions(prompt=1024, output=1024, concurrency=8, engine="sglang"))
    assert found.memory.fits is False
    assert found.serving.max_concurrency == 0
    assert 7.5 < found.serving.running <= 8
    assert found.serving.expected.requests_per_s <= found.serving.limit.requests_per_s
