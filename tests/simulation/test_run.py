"""Whole runs: beside the steady state of `estimate`, as documents, as traces, in little memory."""

import itertools
import json
import random
import tracemalloc
from functools import partial
from statistics import fmean, pstdev

import pytest

from llmcost import StepTime, simulate
from llmcost.ground.errors import InputError
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.simulation.chrome_trace import ChromeTrace
from llmcost.simulation.histograms import LogNormal
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.results import Timeline, Times
from llmcost.simulation.run import Run
from llmcost.specs.catalog import load_hardware, load_model


def middle_rate(run, output):
    """Output tokens a second between the first and the last quarter of the answers."""
    last = sorted(done.last for done in run.served())
    low, high = len(last) // 4, 3 * len(last) // 4
    return (high - low) * output / (last[high] - last[low])


@pytest.mark.parametrize(
    ("model", "hardware", "options"),
    [
        ("llama3.1-8b", "h100", Options(concurrency=128, prompt=1024, output=1024, engine="vllm")),
        ("llama3.1-8b", "h100", Options(concurrency=4, prompt=8192, output=128, engine="vllm")),
        ("llama3.1-8b", "h100", Options(concurrency=256, prompt=128, output=512)),
        ("llama3.1-8b", "h100", Options(concurrency=1, prompt=1024, output=256, engine="trtllm")),
        ("gpt-oss-120b", "h100", Options(concurrency=64, prompt=1024, output=512, engine="optimised")),
        ("gemma-2-9b", "h100", Options(concurrency=16, prompt=4096, output=512)),
        ("qwen3-30b-a3b", "h100", Options(concurrency=64, prompt=1024, output=512, tp=2)),
        ("llama3.3-70b", "h100", Options(concurrency=64, prompt=1024, output=512, tp=4)),
        ("llama3.3-70b", "h100", Options(concurrency=64, prompt=1024, output=512, pp=4)),
        ("llama3.1-8b", "h100", Options(concurrency=32, prompt=1024, output=512, engine="vllm", speculate=3)),
        ("llama3.1-8b", "h100", Options(concurrency=32, prompt=1024, output=512, engine="sglang", speculate=3)),
        ("llama3.1-8b", "h100", Options(concurrency=16, prompt=1024, output=512, speculate=3, draft="llama3.2-1b")),
        ("llama3.1-8b", "h100", Options(concurrency=32, prompt=2048, output=256, engine="vllm", prefix_hit=0.75)),
        ("llama3.1-8b", "h100", Options(concurrency=32, prompt=8192, output=256, prefix_hit=0.5, speculate=2)),
    ],
)
def test_throughput_at_fixed_lengths_is_that_of_the_steady_state(model, hardware, options):
    """Within 3 %, with lengths that the formula knows to be fixed, and those that it takes to differ.

    Where prompts run alone those of fixed lengths all begin together and wait for no step of others: 4 of 170 steps.
    """
    spec, chip = load_model(model), load_hardware(hardware)
    run = Run(spec, chip, options._replace(requests=max(30, 10 * options.concurrency)), SimulationOptions())
    answered = middle_rate(run, options.output)
    for share in (None, 1):
        steady = estimate(spec, chip, options._replace(range_ratio=share)).serving.expected.output_tokens_per_s
        assert answered == pytest.approx(steady, rel=0.06 if options.engine == "sglang" and share is None else 0.03)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("llama3.1-8b", Options(concurrency=64, prompt=1024, output=512)),
        ("llama3.1-8b", Options(concurrency=16, prompt=8192, output=1024)),
        ("qwen3-32b", Options(concurrency=128, prompt=1024, output=128, tp=2)),
        ("gpt-oss-120b", Options(concurrency=64, prompt=1024, output=256, tp=2)),
    ],
)
def test_requests_of_one_length_go_in_rounds_where_prompts_run_alone_as_the_formula_says(model, options):
    spec, chip, options = load_model(model), load_hardware("h100"), options._replace(engine="sglang", range_ratio=1)
    steady, run = estimate(spec, chip, options).serving.expected, simulate(spec, chip, options)
    assert run.ttft_seconds.mean == pytest.approx(steady.ttft_seconds, rel=0.02)
    assert run.tpot_seconds.mean == pytest.approx(steady.tpot_seconds, rel=0.02)


def test_a_pool_that_is_too_small_costs_what_is_computed_again():
    """The formula leaves preemption out; what is computed again stays a small share of the run."""
    spec, chip = load_model("llama3.1-8b"), load_hardware("rtx4090")
    options = Options(concurrency=64, prompt=1024, output=256, engine="vllm", requests=640)
    run = Run(spec, chip, options, SimulationOptions())
    steady = estimate(spec, chip, options._replace(requests=None)).serving.expected.output_tokens_per_s
    assert 0.9 * steady < middle_rate(run, 256) < steady
    assert 0 < run.result().recomputed_tokens < 0.2 * run.result().input_tokens


def test_the_document_has_every_figure_that_scripts_rely_on():
    found = simulate("llama3.1-8b", "h100", rate=20, requests=50, ttft=1000, price=2.0, timeline=True)
    document = json.loads(json.dumps(found.to_dict(), default=str))
    assert document["schema"] == "llmcost.simulate/1"
    assert (document["requests"], document["output_tokens"]) == (50, 50 * 256)
    for name in ("ttft_seconds", "tpot_seconds", "latency_seconds"):
        assert set(document[name]) == {"mean", "p50", "p90", "p95", "p99"}
    assert document["goodput"] == 1
    hours = found.duration_seconds / 3600
    assert found.dollars_per_million_output_tokens == pytest.approx(2 * hours / (50 * 256 / 1e6))
    assert found.joules_per_million_output_tokens == pytest.approx(700 * found.duration_seconds / (50 * 256 / 1e6))
    assert document["timeline"][-1]["answered"] <= 50


def test_percentiles_are_those_of_numpy():
    import numpy as np

    run = Run(load_model("llama3.1-8b"), load_hardware("h100"), Options(rate=20, requests=57), SimulationOptions())
    seen = [done.ttft for done in run.served()]
    expected = [np.mean(seen), *np.quantile(seen, [0.5, 0.9, 0.95, 0.99])]
    assert list(run.result().ttft_seconds) == pytest.approx(expected)


def test_the_same_seed_gives_the_same_run_and_another_one_not():
    runs = [simulate("llama3.1-8b", "h100", rate=20, requests=50, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].ttft_seconds != runs[2].ttft_seconds


def test_overload_that_cannot_drain_is_recognised_and_what_can_be_answered_is_not_called_so():
    assert simulate("llama3.1-8b", "h100", rate=200, requests=2000).overloaded
    assert not simulate("llama3.1-8b", "h100", rate=10, requests=1000).overloaded
    loop = {"concurrency": 32, "dp": 2, "router": "prefix-aware", "prefix_hit": 0.5, "prefixes": 4}  # all at once
    assert not simulate("llama3.1-8b", "h100", engine="vllm", **loop).overloaded


def test_more_replicas_answer_more_and_a_draft_model_answers_sooner():
    one = simulate("llama3.1-8b", "h100", concurrency=128, requests=512)
    two = simulate("llama3.1-8b", "h100", concurrency=128, requests=512, dp=2)
    guessed = simulate("llama3.1-8b", "h100", concurrency=8, requests=64, speculate=3, accept=0.7, draft="llama3.2-1b")
    plain = simulate("llama3.1-8b", "h100", concurrency=8, requests=64)
    assert two.output_tokens_per_s > 1.3 * one.output_tokens_per_s
    assert (two.replicas, two.gpus) == (2, 2)
    assert guessed.tpot_seconds.mean < plain.tpot_seconds.mean
    assert guessed.kv_tokens < plain.kv_tokens  # the draft's weights and cache take memory


def test_verified_tokens_cost_more_than_a_step_and_less_than_as_many_steps():
    plain = StepTime("llama3.1-8b", "h100")
    verified = StepTime("llama3.1-8b", "h100", speculate=3, draft="ngram")
    guessed = StepTime("llama3.1-8b", "h100", speculate=3)  # by a layer of its own, three times
    drafted = StepTime("llama3.1-8b", "h100", speculate=3, draft="llama3.1-8b")
    assert plain(64, 1000) < verified(64, 1000) < guessed(64, 1000) < 4 * plain(64, 1000)
    assert drafted(64, 1000) == pytest.approx(verified(64, 1000) + 3 * plain(64, 1000))
    with pytest.raises(InputError, match="unknown model 'eagle'"):
        StepTime("llama3.1-8b", "h100", speculate=3, draft="eagle")


def test_keys_and_values_are_sent_over_the_links_of_the_spec():
    """8 KV heads of 128, keys and values, 32 layers, bf16: 131,072 bytes a token, over 900 GB/s at most."""
    sent = partial(simulate, "llama3.1-8b", "h100", engine="optimised", rate=1, requests=20, prompt=8192, output=64)
    pools = {"prefill_gpus": 1, "decode_gpus": 1}
    apart, whole = sent(**pools), sent()
    waits = apart.ttft_seconds.p50 - whole.ttft_seconds.p50
    assert 8192 * 131072 / 900e9 < waits < 0.05
    layers = sent(**pools, layerwise=True)
    assert layers.ttft_seconds.p50 < apart.ttft_seconds.p50
    guessed = simulate(
        *("llama3.1-8b", "h100"), rate=1, requests=20, prefill_gpus=1, decode_gpus=1, speculate=2, draft="llama3.2-1b"
    )
    assert guessed.requests == 20


def check_trace_events(events):
    """What the published format asks of each kind of event: its fields and their types; phases begin and end in pairs.

    https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsNchNAySU
    """
    fields = {
        "M": {"name": str, "pid": int, "args": dict},
        "X": {"name": str, "pid": int, "tid": int, "ts": float, "dur": float},
        "C": {"name": str, "pid": int, "ts": float, "args": dict},
        "b": {"name": str, "cat": str, "id": int, "pid": int, "ts": float},
        "e": {"name": str, "cat": str, "id": int, "pid": int, "ts": float},
    }
    begun = {}
    for event in events:
        for name, kind in fields[event["ph"]].items():
            assert isinstance(event[name], kind), (name, event)
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())
        if event["ph"] in "be":
            key = (event["cat"], event["id"], event["name"])
            assert (key in begun) == (event["ph"] == "e")
            assert event["ts"] >= begun.pop(key, 0)
            if event["ph"] == "b":
                begun[key] = event["ts"]
    assert not begun


def test_a_trace_for_perfetto_holds_every_step_and_every_request(tmp_path):
    run = Run(
        load_model("llama3.1-8b"), load_hardware("h100"), Options(rate=20, requests=10, dp=2), SimulationOptions()
    )
    path = tmp_path / "trace.json"
    with path.open("w", encoding="utf-8") as file:
        trace = ChromeTrace(file, run.cluster.units)
        run.told = trace.request
        for _ in run.served():
            pass
        trace.close()
    events = json.loads(path.read_text("utf-8"))
    check_trace_events(events)
    kinds = [event["ph"] for event in events]
    assert kinds.count("X") == run.result().steps
    assert kinds.count("b") == kinds.count("e") == 4 * 10  # with what vLLM's host takes before the queue
    steps = sorted((event["pid"], event["ts"], event["ts"] + event["dur"]) for event in events if event["ph"] == "X")
    for (one, _, end), (other, start, _) in itertools.pairwise(steps):
        assert one != other or round(1000 * start) >= round(1000 * end)  # Perfetto drops one of two that overlap


def test_a_long_run_takes_memory_for_its_times_alone():
    """Four times of eight bytes a request, and what is in flight: a million requests take some 50 MB."""
    options = Options(rate=40, requests=5_000, prompt=64, output=16)
    run = Run(load_model("llama3.1-8b"), load_hardware("h100"), options, SimulationOptions())
    served = run.served()
    for _ in range(2_000):
        next(served)
    tracemalloc.start()
    for _ in served:
        pass
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 3_000 * 100


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, "none of them is given"),
        ({"rate": 1, "concurrency": 1}, "--rate and --concurrency"),
        ({"rate": 1, "lengths": "azure-conv", "prompt": 5}, "it draws the lengths"),
        ({"rate": 1, "prefill_gpus": 1}, "give --decode-gpus too"),
        ({"rate": 1, "layerwise": True}, "give --prefill-gpus too"),
        ({"rate": 1, "prefill_gpus": 3, "decode_gpus": 2, "tp": 2}, "no multiple of the 2 GPUs of a replica"),
        ({"rate": 1, "prefill_gpus": 1, "decode_gpus": 1, "dp": 2}, "leave --gpus and --dp away"),
        ({"rate": 1, "prompt": 200_000, "output": 1}, "the model takes 131,072"),
        ({"rate": 1, "kv_tokens": 160}, "takes 80 blocks of the cache, which has 10"),
        ({"rate": 1, "speculate": 1, "accept": 2.0}, "a share from 0 to 1"),
        ({"rate": 1, "speculate": 16}, "at most 15"),
        ({"rate": 1, "router": "random"}, "--router random"),
        ({"rate": 1, "lengths": "mine"}, "--lengths mine"),
        ({"rate": 1, "lengths": "azure-conv", "log_normal": 1.0}, "it draws the lengths, --log-normal too"),
        ({"rate": 1, "log_normal": 1.0, "range_ratio": 0.5}, "leave --log-normal out"),
        ({"rate": 1, "log_normal": 0.0}, "--log-normal 0: a number above 0"),
        ({"rate": 1, "adapter_rank": 8}, "give --adapters too"),
        ({"rate": 1, "adapters": 2, "kv_tokens": 9000}, "leave one of them out"),
        ({"rate": 1, "adapters": 2000}, "no memory is left for its cache"),
        ({"rate": 1, "host_link": "pcie5"}, "give --kv-host too"),
        ({"rate": 1, "kv_host": 9.0}, "what joins NVIDIA H100 SXM5 80GB to its host"),
        ({"rate": 1, "kv_host": 9.0, "host_link": "pcie5", "prefix_caching": False}, "--no-prefix-caching"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(chosen, said):
    with pytest.raises(InputError, match=said):
        simulate("llama3.1-8b", "h100", **chosen)


def test_adapters_take_their_bytes_from_the_cache():
    """All linear layers of 32: q, k, v, o, gate, up, down; rank 64, 2 bytes; a token of the cache takes 131,072 B."""
    sizes = [(4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096), (4096, 14336), (4096, 14336), (14336, 4096)]
    taken = 8 * 32 * 64 * sum(k + n for k, n in sizes) * 2 / 131_072
    asked = {"rate": 1, "requests": 2, "engine": "vllm"}
    plain = simulate("llama3.1-8b", "h100", **asked).kv_tokens
    held = simulate("llama3.1-8b", "h100", **asked, adapters=8, adapter_rank=64).kv_tokens
    assert plain - held == pytest.approx(taken, abs=16)


def test_what_bound_each_phase_is_told():
    free = simulate("llama3.1-8b", "h100", rate=1, requests=20).limited_by
    assert free == ("compute", "memory bandwidth", None)
    full = simulate("llama3.1-8b", "h100", concurrency=64, requests=128, kv_tokens=10_000).limited_by
    assert full.requests == "memory"
    few = simulate("llama3.1-8b", "h100", concurrency=64, requests=128, max_num_seqs=4).limited_by
    assert few.requests == "max_num_seqs"


def test_log_normal_lengths_have_the_mean_and_the_spread_that_are_asked_for():
    drawn = random.Random(1)
    lengths = [LogNormal(1000, 200, 0.5).draw(drawn) for _ in range(20_000)]
    for mean, seen in zip((1000, 200), zip(*lengths, strict=True), strict=True):
        assert fmean(seen) == pytest.approx(mean, rel=0.02)
        assert pstdev(seen) == pytest.approx(0.5 * mean, rel=0.05)


def test_an_encoder_decoder_goes_at_the_pace_of_its_steady_state(tmp_path):
    """Lengths from 80 % on: the mean is 90 % of what is asked; requests do not go on in step with each other."""
    config = {"model_type": "t5", "d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16}
    config |= {"vocab_size": 32128, "feed_forward_proj": "gated-gelu", "is_encoder_decoder": True, "n_positions": 512}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    model, chip = load_model(str(tmp_path / "config.json")), load_hardware("h100")
    steady = estimate(model, chip, Options(concurrency=16, prompt=360, output=90)).serving.expected
    options = Options(concurrency=16, prompt=400, output=100, requests=400, range_ratio=0.8)
    run = Run(model, chip, options, SimulationOptions())
    assert middle_rate(run, 90) == pytest.approx(steady.output_tokens_per_s, rel=0.03)
    with pytest.raises(InputError, match="the model takes 512 in and 512 out"):
        simulate(model, chip, options._replace(prompt=600))


def test_a_model_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="does not fit on"):
        simulate("llama3.3-70b", "h100", rate=1)


def test_a_request_of_a_trace_that_no_cache_has_room_for_is_told_with_its_line(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("input_tokens,output_tokens,arrival_s\n10,5,0\n5000,5,1\n", "utf-8")
    with pytest.raises(InputError, match=r"trace\.csv:3: a request of 5,000 tokens in and 5 out takes 313 blocks"):
        simulate("llama3.1-8b", "h100", trace=str(trace), kv_tokens=2000)


def test_decode_waits_for_its_longest_sequence_where_blocks_of_threads_divide_none():
    """0.4 of what 1,000 keys of 2 × 128 elements in 2 bytes take a block at 26 GB/s, in each of 32 layers."""
    card, hopper = (StepTime("llama3.1-8b", gpu, engine="vllm") for gpu in ("rtx4090", "h100"))
    more = 0.4 * 1000 * 2 * 128 * 2 / 26e9 * 32
    assert card(64, 500, longest=1500) - card(64, 500) == pytest.approx(more)
    assert card(64, 500, longest=500) == card(64, 500)
    assert hopper(64, 500, longest=1500) == hopper(64, 500)


@pytest.mark.parametrize(("prompt", "output", "concurrency"), [(1024, 256, 58), (2048, 1024, 17)])
def test_a_loop_that_preempts_has_the_throughput_of_the_steady_state(prompt, output, concurrency):
    """Within 3 %, where 36 and 16 requests have room."""
    of = {"engine": "vllm", "concurrency": concurrency, "prompt": prompt, "output": output}
    found = simulate("llama3.1-8b", "rtx4090", requests=10 * concurrency, **of)
    steady = estimate(load_model("llama3.1-8b"), load_hardware("rtx4090"), Options(**of)).serving
    assert steady.limited_by == "memory"
    assert found.preemptions > 0
    assert found.output_tokens_per_s == pytest.approx(steady.expected.output_tokens_per_s, rel=0.03)


@pytest.mark.parametrize("step", [1e-4, 0.4])
def test_moments_of_a_timeline_are_evenly_spread_however_long_steps_are(step):
    timeline = Timeline([], Times({}))
    for number in range(30_000):
        timeline.watch(number * step)
    seconds = [each.seconds for each in timeline.moments]
    gaps = [after - before for before, after in itertools.pairwise(seconds)]
    assert 200 <= len(seconds) <= 401
    assert max(gaps) <= 2 * min(gaps) + 2 * step
