"""The limit is a lower bound on time: below what is expected, what was measured, and what any schedule could reach.

Its oracle is a schedule that wastes nothing. It runs the operators of every pass of a request, each step of decode by
itself, and keeps one resource busy without a pause: the one that has most to do.
"""

import pytest
from drawn import bytes_of, cases, laws, spread_cases
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from uniform import changed

from llmcost.formulas.operators import operator_rows
from llmcost.machine.chip import chip_of
from llmcost.model.architecture import operators
from llmcost.model.operators import Attention
from llmcost.model.sizes import Load
from llmcost.serving.estimate import Options, estimate, workload_of
from llmcost.specs.catalog import load_hardware, load_model, names
from llmcost.specs.hardware import Figure
from llmcost.training.options import Options as TrainingOptions
from llmcost.training.recipe import Imbalance
from llmcost.training.train import train

CLOSE = 1 + 1e-9  # rounding of floats


@st.composite
def requests(draw):
    """A model whose layers may see a window or a chunk alone, a GPU, and a request that crosses their borders."""
    model, chip, chosen = draw(cases())
    span = draw(st.sampled_from(["all", "sliding_window", "attention_chunk_size"]))
    if span != "all":
        model = changed(model, **{span: draw(st.integers(1, 64))})
    model = model._replace(max_position_embeddings=256)
    prompt, output = draw(st.integers(1, 150)), draw(st.integers(1, 40))
    return model, chip, chosen._replace(context=None, prompt=prompt, output=output)


def busy(model, chip, w, load):
    """Seconds that a pass keeps the GPU's units and its memory busy at least, from its operators one by one."""
    size, peaks = bytes_of(w), chip_of(chip, w.dtype, w.kv_dtype)
    computing = moving = 0
    for op in operators(model, size, load):
        attention = max(peaks.attention_peak, peaks.cached_peak or 0)
        peak = attention if op.scope == "sequence" else peaks.plain_peak if op.part == "lm_head" else peaks.peak
        computing += op.count * op.flops(causal=True) / peak
        moving += op.count * (op.weight_bytes() + op.cache_bytes()) / peaks.bandwidth
    return computing, moving


@laws
@given(requests())
def test_no_request_takes_longer_at_the_limit_than_in_a_schedule_that_wastes_nothing(case):
    model, chip, chosen = case
    w, found = workload_of(model, chip, chosen), estimate(*case).request.limit
    prompt = max(busy(model, chip, w, Load(w.batch, w.prompt, w.prompt)))
    steps = [busy(model, chip, w, Load(w.batch, 1, w.prompt + k, decode=True)) for k in range(1, w.output)]
    tokens = max(sum(computing for computing, _ in steps), sum(moving for _, moving in steps))
    assert found.ttft_seconds <= prompt * CLOSE
    assert found.latency_seconds <= (prompt + tokens) * CLOSE
    if w.output > 1:
        assert found.tpot_seconds >= tokens / len(steps) / CLOSE  # and it is no lower: the bound is as high as can be


@laws
@given(requests(), st.integers(1, 8))
def test_no_mix_is_slower_at_the_limit_than_in_a_schedule_that_wastes_nothing(case, concurrency):
    """Requests that begin together, again and again: as many prompts in one pass, then their steps."""
    model, chip, chosen = case
    chip = chip._replace(memory=Figure(10**15, "drawn", "a test"))  # there is room for all of them
    chosen = chosen._replace(batch=concurrency, concurrency=concurrency)
    w, found = workload_of(model, chip, chosen), estimate(model, chip, chosen).serving.limit
    loads = [Load(concurrency, w.prompt, w.prompt)]
    loads += [Load(concurrency, 1, w.prompt + k, decode=True) for k in range(1, w.output)]
    passes = [busy(model, chip, w, load) for load in loads]
    seconds = max(sum(computing for computing, _ in passes), sum(moving for _, moving in passes))
    assert found.requests_per_s >= concurrency / seconds / CLOSE


@laws
@given(st.sampled_from(["window", "chunk", "top"]), st.integers(1, 40), st.integers(0, 200), st.integers(1, 100))
def test_a_mean_step_reads_and_computes_what_the_steps_do_on_average(span, w, first, steps):
    sizes = {"b": 1, "s": 1, "c": first + 1, "a": 4, "d": 8, "dv": 8, "cached": 16, "streamed": 0, "Bx": 2, "Bkv": 2}
    op = Attention("attention", "attention", 1, span=span, w=w, sinks=False, shared=False, decode=True, **sizes)
    each = [op._replace(c=first + k) for k in range(1, steps + 1)]
    mean = op.over(first, steps)
    assert mean.cache_bytes() == pytest.approx(sum(one.cache_bytes() for one in each) / steps, rel=1e-12)
    assert mean.flops(causal=True) == pytest.approx(sum(one.flops(causal=True) for one in each) / steps, rel=1e-12)


def test_a_step_of_chunked_attention_reads_the_chunk_so_far():
    """At the 8,193rd token a chunk of 8,192 has just begun: 36 of 48 layers read one key, 12 all of them."""
    chosen = Options(batch=128, context=8193, gpus=8, dtype="fp8", kv_dtype="fp8")
    found = estimate(load_model("llama4-maverick"), load_hardware("h200"), chosen)
    one_head = 128 * 2 * 128  # sequences, keys and values of the one KV head of 8 that a GPU holds, a byte each
    assert found.traffic.decode.kv_cache_bytes == one_head * (12 * 8193 + 36 * 1)
    longer = estimate(load_model("llama4-maverick"), load_hardware("h200"), chosen._replace(context=8192))
    assert longer.traffic.decode.kv_cache_bytes == one_head * 48 * 8192  # a token before, all of them the whole chunk


@settings(deadline=None, max_examples=100)
@given(spread_cases(), st.integers(1, 60), st.integers(1, 9))
def test_expected_is_never_faster_than_the_limit_in_any_layout(case, output, concurrency):
    model, chip, chosen = case
    assume(model.max_position_embeddings > output + 1)
    prompt = min(chosen.prompt or chosen.context, model.max_position_embeddings - output)
    chosen = chosen._replace(context=None, prompt=prompt, output=output, concurrency=concurrency)
    e = estimate(model, chip, chosen)
    assert e.prefill.expected.seconds >= e.prefill.limit.seconds / CLOSE
    assert e.decode.expected.seconds_per_step >= e.decode.limit.seconds_per_step / CLOSE
    assert e.request.expected.latency_seconds >= e.request.limit.latency_seconds / CLOSE
    assert e.serving.expected.output_tokens_per_s <= e.serving.limit.output_tokens_per_s * CLOSE
    assert e.training.expected.tokens_per_s <= e.training.limit.tokens_per_s * CLOSE


# -- caches on the chip -----------------------------------------------------------------------------

GPT2 = load_model("gpt2")


def test_what_fits_the_chips_caches_is_not_read_from_memory():
    """gpt2's 247 MB of weights and 38 MB of cache in the 288 MiB of an MI300X; 69.7 MB in q4_0 in the 72 MB of Ada."""
    both = estimate(GPT2, load_hardware("mi300x")).decode
    assert both.bound.memory_seconds == 0
    assert both.limited_by == "compute"
    weights = estimate(GPT2, load_hardware("rtx4090"), Options(weight_dtype="q4_0"))
    assert weights.decode.bound.memory_seconds == weights.traffic.decode.kv_cache_bytes / 1008e9
    neither = estimate(GPT2, load_hardware("rtx4090"))
    assert neither.decode.bound.memory_seconds == neither.traffic.decode.total_bytes / 1008e9


@laws
@given(cases(), st.integers(1, 10**12))
def test_a_cache_on_the_chip_makes_no_limit_slower(case, cache):
    model, chip, chosen = case
    without, beside = estimate(*case), estimate(model, chip._replace(l2=Figure(cache, "drawn", "a test")), chosen)
    traffic = without.traffic.decode
    assert beside.prefill.limit.seconds <= without.prefill.limit.seconds
    expected = 0 if traffic.total_bytes <= cache else without.decode.bound.memory_seconds
    if traffic.weight_bytes <= cache < traffic.total_bytes:
        expected = traffic.kv_cache_bytes / chip.bandwidth.value
    assert beside.decode.bound.memory_seconds == expected


# -- data types -------------------------------------------------------------------------------------

COMPUTES_FP8 = [name for name in names("hardware") if {"fp8", "bf16"} <= set(load_hardware(name).peak)]


@pytest.mark.parametrize("name", COMPUTES_FP8)
def test_weights_in_fp8_are_read_no_slower_where_fp8_computes_on_them(name):
    chip, model = load_hardware(name), load_model("llama3-70b")
    if chip.bandwidth is None:
        pytest.skip("no source gives its bandwidth")
    computing, alone = (
        estimate(model, chip, options) for options in (Options(dtype="fp8"), Options(weight_dtype="fp8"))
    )
    assert computing.traffic.decode.weight_bytes == alone.traffic.decode.weight_bytes
    assert computing.decode.expected.seconds_per_step <= alone.decode.expected.seconds_per_step * CLOSE


@pytest.mark.parametrize("gpu", ["h100", "rtx4090", "a100-80gb-sxm", "h200"])
def test_what_is_not_quantised_takes_as_long_whatever_the_others_are_kept_in(gpu):
    """The LM head of llama3-8b stays in bf16 in all of these."""

    def head(weight_dtype):
        rows = operator_rows(load_model("llama3-8b"), load_hardware(gpu), Options(weight_dtype=weight_dtype), "decode")
        return next(row.seconds for row in rows if row.operator == "lm_head")

    assert head("int4") == head("fp8") == head("bf16")


def test_a_narrow_cache_computes_nothing_faster_unless_the_engine_does():
    chip, model, long = load_hardware("h100"), load_model("llama3.1-8b"), Options(context=65536)
    wide, narrow = (estimate(model, chip, long._replace(kv_dtype=dtype)) for dtype in ("bf16", "fp8"))
    assert narrow.training == wide.training
    assert narrow.prefill.expected.seconds == pytest.approx(wide.prefill.expected.seconds, rel=1e-4)  # bytes alone
    engine = estimate(model, chip, long._replace(kv_dtype="fp8", attention_dtype="fp8"))
    assert engine.prefill.expected.seconds < 0.85 * wide.prefill.expected.seconds
    assert engine.prefill.limit == narrow.prefill.limit  # there are such kernels


# -- the same question ------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu", ["h100", "a100-80gb-sxm", "h200", "mi300x"])
@pytest.mark.parametrize("name", ["llama3-8b", "mixtral-8x7b"])
def test_estimate_trains_as_fast_as_train_does(name, gpu):
    model, chip = load_model(name), load_hardware(gpu)
    found = estimate(model, chip, Options(context=4096)).training.expected
    # With ZeRO-3, which is chosen where no stage is named, another engine trains.
    even = Imbalance(1, 1)  # a GPU alone waits for no fuller one
    alone = TrainingOptions(seq=4096, gpus=1, recompute="none", micro_batch=1, zero=0, imbalance=even)
    step = train(model, chip, alone)
    assert found.tokens_per_s == pytest.approx(4096 / step.breakdown.micro_batch, rel=1e-9)


def test_those_that_wait_wait_as_long_as_littles_law_says():
    """49 requests on 8 GPUs, of which some wait: as many are there as come in while one is there, by Little's law.

    Of 490 in all the first that have room do not wait, and those behind them half as long as all that follow. Those
    that are preempted wait for all of it, between two tokens.
    """
    chosen = Options(prompt=6000, output=2000, dp=8, concurrency=49)
    found = estimate(load_model("llama3-8b"), load_hardware("rtx4090"), chosen).serving
    assert found.running < 49
    waiting, first = 49 - found.running, found.running
    waits = waiting * (1 - (first + waiting / 2) / 490)
    there = found.expected.requests_per_s * found.expected.latency_seconds
    assert first + waits < there < first + waits + 0.1 * waiting


def test_the_textbook_is_marked_where_it_is_faster_than_the_limit():
    """A prompt of one token reads all weights, which the textbook's rule for prompts does not count."""
    tiny = estimate(load_model("llama3-8b"), load_hardware("h100"), Options(prompt=1, context=8192))
    assert tiny.prefill.textbook.seconds < tiny.prefill.limit.seconds
    assert "prefill" in tiny.to_dict()["textbook_beyond_limit"]
    usual = estimate(load_model("llama3-8b"), load_hardware("h100"))
    assert usual.to_dict()["textbook_beyond_limit"] == []


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 600), st.sampled_from([1, 2, 4]))
def test_prompts_of_more_sequences_never_take_less_time(batch, prompt, pp):
    model, chip, chosen = load_model("llama3-8b"), load_hardware("h100"), Options(prompt=prompt, chunk=2048, pp=pp)
    times = [estimate(model, chip, chosen._replace(batch=each)).prefill.expected.seconds for each in (batch, batch + 1)]
    assert times[0] <= times[1] * CLOSE


@pytest.mark.parametrize(
    "model, weights, name, fastest",
    [
        ("gpt-oss-120b", None, "b200", "fp4"),  # mxfp4 as released
        ("gpt-oss-120b", None, "mi355x", "fp4"),
        ("gpt-oss-120b", None, "h100-sxm", "fp8"),
        ("gpt-oss-120b", None, "a100-80gb-sxm", "bf16"),  # with neither
        ("llama3-8b", "nvfp4", "h100-sxm", "fp8"),
        ("deepseek-v3", "fp8-block128+mxfp4", "mi350x", "fp4"),
        ("llama3-8b", "int4-g128", "b200", "bf16"),
    ],
)
def test_the_limit_computes_on_weights_of_fp4_at_the_fastest_type_that_holds_them(model, weights, name, fastest):
    """Whatever the engine computes in: the time is that of linear layers at this type's peak, and of the rest."""
    chip = load_hardware(name)
    for dtype in (None, "bf16"):
        found = estimate(load_model(model), chip, Options(weight_dtype=weights, dtype=dtype))
        w = found.workload
        ops = operators(load_model(model), bytes_of(w), Load(1, w.prompt, w.prompt))
        linear = sum(op.count * op.flops(causal=True) for op in ops if op.scope != "sequence" and op.part != "lm_head")
        others = sum(op.count * op.flops(causal=True) for op in ops if op.scope == "sequence" or op.part == "lm_head")
        least = linear / chip.peak[fastest].value + others / chip.peak["bf16"].value
        assert found.prefill.bound.compute_seconds == pytest.approx(least, rel=1e-12)
        assert found.prefill.expected.seconds > found.prefill.limit.seconds
