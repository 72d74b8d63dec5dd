"""What an engine does in its own way, as options of an estimate: each changes what it says, and nothing else."""

import numpy as np
import pytest

from llmcost import Options, estimate, load_hardware, load_model
from llmcost.ground.errors import InputError, SpecError
from llmcost.machine.defaults import DEFAULTS
from llmcost.machine.efficiency import Host
from llmcost.machine.process import SERVING_COMMUNICATORS, SERVING_CONTEXT
from llmcost.model.sizes import Load
from llmcost.search.sweep import Sweep
from llmcost.serving.estimate import estimate as at_shares
from llmcost.serving.estimate import workload_of
from llmcost.serving.results import leaves
from llmcost.serving.server import machine_of, server_of
from llmcost.specs.catalog import shipped

A100, H100, LLAMA = load_hardware("a100-80gb-sxm"), load_hardware("h100-sxm"), load_model("llama3-8b")
CASE = Options(batch=4, prompt=500, output=100)


def changed(**options):
    """Figures that an option changes, by path, before and after."""
    before, after = (dict(leaves(estimate(LLAMA, A100, each))) for each in (CASE, CASE._replace(**options)))
    return {path: (before[path], after[path]) for path in before if before[path] != after[path]}


def test_kernels_launched_one_by_one_cost_their_gaps():
    """Eight kernels a layer and what stands around them: so many gaps of a stream in place of a graph's."""
    found = changed(cuda_graphs=False)
    assert all("expected" in path or path == "workload.cuda_graphs" for path in found)
    graph, stream = found["decode.expected.seconds_per_step"]
    gap = DEFAULTS["gap.stream"].value - DEFAULTS["gap.graph"].value
    assert 8 * 32 < (stream - graph) / gap < 16 * 32
    assert stream - graph == pytest.approx(round((stream - graph) / gap) * gap)


def test_the_lm_head_in_another_format_changes_its_bytes_alone():
    found = changed(head_dtype="int8")
    before, after = found["memory.weights_bytes"]
    assert before - after == 128256 * 4096 * (2 - 1)
    before, after = found["traffic.decode.weight_bytes"]
    assert before - after == 128256 * 4096
    assert not any(path.startswith(("flops", "model", "kv_cache")) for path in found)


def test_logits_of_all_tokens_compute_the_head_for_each():
    found = changed(logits="all")
    before, after = found["flops.prefill.full"]
    assert after - before == 2 * 4 * (500 - 1) * 4096 * 128256
    assert found["flops.prefill.full"][1] == estimate(LLAMA, A100, CASE).flops.forward.full
    assert not any(path.startswith("decode") for path in found)


def test_the_prompts_of_a_batch_at_once_hold_the_activations_of_all():
    one, all_ = changed(batch_prompts=True)["memory.activation_bytes"]
    assert all_ == 4 * one
    m = estimate(LLAMA, A100, CASE._replace(batch_prompts=True)).memory
    for batch, fits in ((m.max_batch, True), (m.max_batch + 1, False)):
        assert estimate(LLAMA, A100, CASE._replace(batch_prompts=True, batch=batch)).memory.fits is fits


def test_a_communicator_is_set_up_on_one_gpu_where_asked_for():
    assert changed(communicator=True)["memory.runtime_bytes"] == (
        SERVING_CONTEXT.value,
        SERVING_CONTEXT.value + SERVING_COMMUNICATORS.value,
    )
    two = [estimate(LLAMA, A100, CASE._replace(tp=2, communicator=each)).memory.runtime_bytes for each in (False, True)]
    assert two[0] == two[1]


def test_cards_joined_by_pcie_exchange_over_it():
    """64 GB/s both ways, 32 GB/s one way, in place of 300 GB/s: at the limit of prompts, all else being equal."""
    options = Options(batch=64, prompt=4096, tp=8)
    fast, slow = (estimate(LLAMA, A100, options._replace(link=link)).prefill.bound for link in (None, "pcie4"))
    assert slow.network_seconds / fast.network_seconds == pytest.approx(300 / 32)
    assert slow[:2] == fast[:2]
    fifth = estimate(LLAMA, A100, options._replace(link="pcie5")).prefill.bound
    assert fifth.network_seconds == slow.network_seconds / 2


def test_products_in_fp32_run_on_the_vector_units_of_gpus_whose_matrix_units_lack_it():
    found = estimate(LLAMA, H100, Options(dtype="fp32", prompt=4096, context=4096)).prefill
    flops = estimate(LLAMA, H100, Options(dtype="fp32", prompt=4096, context=4096)).flops.prefill.causal
    assert found.limit.seconds == pytest.approx(flops / H100.vector_peak["fp32"].value)


def test_a_sweep_takes_what_arrives_as_an_axis():
    options = {"prompt": [1000], "output": [200], "rate": [1.0, 10.0, 25.0, 1000.0]}
    sweep = Sweep(LLAMA, [H100], options)
    (_, columns), *_ = sweep.blocks(["serving.running", "serving.expected.ttft_seconds"])
    for place, rate in enumerate(options["rate"]):
        alone = at_shares(LLAMA, H100, Options(prompt=1000, output=200, rate=rate)).serving
        np.testing.assert_allclose(columns["serving.running"][place], alone.running, rtol=1e-9)
        np.testing.assert_allclose(columns["serving.expected.ttft_seconds"][place], alone.expected.ttft_seconds)


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"rate": 0.0, "output": 5}, "--rate 0: more than 0 requests a second"),
        ({"rate": float("nan"), "output": 5}, "--rate nan: more than 0"),
        ({"rate": 2.0}, "--rate 2: a mix of requests needs the tokens that each gives, --output"),
        ({"requests": 10}, "--requests 10: a mix of requests needs"),
        ({"requests": 0, "output": 5}, "--requests 0: at least 1"),
        ({"free_memory_fraction": 1.5}, "--free-memory-fraction"),
        ({"link": "nvlink"}, "--link nvlink: one of pcie3, pcie4, pcie5"),
        ({"head_dtype": "int5"}, "--head-dtype int5: one of"),
        ({"logits": "some"}, "--logits some: one of last, all"),
        ({"batch_prompts": True, "chunk": 512}, "--batch-prompts: either all prompts at once, or chunks"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, problem):
    with pytest.raises(InputError) as refusal:
        estimate(LLAMA, H100, Options(**options))
    assert problem in str(refusal.value)


# -- the sampler --------------------------------------------------------------------------------------

GIB = 2**30


@pytest.mark.parametrize(
    "name, gpu, gib",
    [  # what vLLM 0.10 measured before it sized its cache: the links are in its engine's file
        ("gpt-oss-120b", "h100-sxm", 0.9 * 79.19 - 65.97 + 2.14),  # "Available KV cache memory: -2.14 GiB"
        ("gemma-3-4b", "b200", 9.96),  # "9.96 GiB for peak activation"
    ],
)
def test_an_engine_that_samples_all_its_requests_at_once_takes_what_its_log_says(name, gpu, gib):
    memory = estimate(load_model(name), load_hardware(gpu), Options(engine="vllm-0.10")).memory
    assert memory.activation_bytes == memory.sampler_bytes
    assert memory.sampler_bytes == pytest.approx(gib * GIB, rel=0.04)


def test_gpt_oss_does_not_start_on_one_h100_where_vllm_said_so(cli):
    """vllm-project/vllm#23278: at 0.9 no room is left; #27508: at 0.95 there is some, 1.71 GiB of it."""
    model, short, enough = load_model("gpt-oss-120b"), 0.9, 0.95
    runs = [estimate(model, H100, Options(engine="vllm-0.10", memory_utilization=u)).memory for u in (short, enough)]
    assert [each.fits for each in runs] == [False, True]
    held = runs[1].weights_bytes + runs[1].activation_bytes + runs[1].runtime_bytes
    assert 0.95 * runs[1].usable_bytes - held == pytest.approx(1.71 * GIB, abs=0.6 * GIB)
    assert estimate(model, H100, Options()).memory.fits  # of an engine that does not sample so many
    shown = cli("estimate", "gpt-oss-120b", "--hw", "h100", "--engine", "vllm-0.10").out
    assert "activations              7.95 GB   the sampler, 1,024 sequences at once (--max-num-seqs)" in shown


def test_an_engine_uses_its_own_share_of_the_memory_unless_told_another(cli):
    def shares(engine, share=None):
        options = Options(engine=engine, memory_utilization=share)
        found = estimate(LLAMA, H100, options)
        return found.workload.memory_utilization, 1 - found.memory.set_aside_bytes / found.memory.usable_bytes

    for engine, share in ((None, 0.9), ("ideal", 0.9), ("vllm", 0.9), ("vllm-0.33", 0.92)):  # as their files say
        assert shares(engine) == (share, pytest.approx(share))
        assert shares(engine, 0.5) == (0.5, pytest.approx(0.5))
    shown = cli("estimate", "llama3-8b", "--hw", "h100", "--engine", "trtllm").out
    assert "all else (--free-memory-fraction 0.9)" in shown  # of what the model leaves, and no share of the whole


def test_the_sampler_counts_the_requests_that_may_run_and_no_more_than_tokens_of_a_step():
    """vLLM 0.19: logits in 16 and in 32 bits, probabilities and random numbers, 14 bytes for each of 128,256 tokens."""

    def memory(**options):
        return estimate(LLAMA, H100, Options(engine="vllm", **options)).memory

    assert memory().sampler_bytes == 14 * 1024 * 128_256
    assert memory(max_num_seqs=64).sampler_bytes == 14 * 64 * 128_256
    assert memory(chunk=16).sampler_bytes == 14 * 16 * 128_256
    assert estimate(LLAMA, H100, Options()).memory.sampler_bytes is None
    assert memory(max_num_seqs=1).activation_bytes == estimate(LLAMA, H100, Options(chunk=8192)).memory.activation_bytes


@pytest.mark.parametrize("options", [{"tp": 1}, {"tp": 2, "dp": 2}, {"batch_prompts": True}])
def test_the_largest_batch_and_context_leave_the_samplers_room(options):
    chosen = Options(engine="vllm-0.10", context=4096, **options)
    found = estimate(LLAMA, H100, chosen).memory
    assert estimate(LLAMA, H100, chosen._replace(batch=found.max_batch)).memory.fits
    assert not estimate(
        LLAMA, H100, chosen._replace(batch=found.max_batch + chosen.dp if chosen.dp else found.max_batch + 1)
    ).memory.fits
    longest = Options(engine="vllm-0.10", batch=64, **options)
    most = estimate(LLAMA, H100, longest).memory.max_context
    assert estimate(LLAMA, H100, longest._replace(context=min(most, 8192))).memory.fits


def server(host, **options):
    """A server of Llama 3 8B on an H100 whose engine's host takes so long."""
    w = workload_of(LLAMA, H100, Options(prompt=1000, output=100, **options))
    size, chip, reached = machine_of(H100, w)
    return server_of(LLAMA, size, chip, reached._replace(host=host), w)


def test_gpus_wait_for_the_hosts_work_on_a_step_and_on_each_sequence_in_it():
    """Of 10 sequences: 10 ms and 1 + 10 · 0.1 to wait for are 12."""
    assert server(Host(step=1e-3, sequence=1e-4)).with_host(10e-3, 10) == pytest.approx(12e-3)
    assert server(None).with_host(10e-3, 10) == 10e-3


def test_prompts_that_run_alone_hold_up_everyone_that_decodes():
    """SGLang's 31 others each run a prompt of their own while a request decodes: their times are in its tokens'."""
    of = {"prompt": 4000, "output": 1000, "engine": "sglang"}
    found = estimate(LLAMA, H100, Options(concurrency=32, **of)).serving.expected
    alone = estimate(LLAMA, H100, Options(batch=32, prompt=4000, output=1000, engine="sglang")).request.expected
    prompt = estimate(LLAMA, H100, Options(batch=1, **of)).prefill.expected.seconds
    assert found.tpot_seconds == pytest.approx(alone.tpot_seconds + 31 * prompt / 999, rel=0.05)


def test_where_prompts_run_alone_one_token_is_a_prompt_and_short_outputs_leave_none_in_a_queue():
    of = {"prompt": 4000, "engine": "sglang"}
    one = at_shares(LLAMA, H100, Options(concurrency=1, output=1, **of)).serving.expected
    prompt = estimate(LLAMA, H100, Options(batch=1, output=1, **of)).request.expected
    assert one.ttft_seconds == one.latency_seconds == pytest.approx(prompt.ttft_seconds)
    assert one.tpot_seconds == 0
    two = estimate(LLAMA, H100, Options(concurrency=16, output=2, **of)).serving
    assert (two.running, two.limited_by) == (16, "concurrency")


def test_requests_that_end_soon_after_each_other_begin_together_where_prompts_run_alone():
    """The shorter answers are, the less apart they end: of 3 tokens all within the time that gathers them, always."""
    of = {"concurrency": 16, "prompt": 4096, "engine": "sglang"}

    def first_token(output, **also):
        return estimate(LLAMA, H100, Options(output=output, **of, **also)).serving.expected.ttft_seconds

    long, short, shortest = (first_token(output) for output in (2000, 200, 3))
    assert long < short < shortest
    assert shortest == pytest.approx(first_token(3, range_ratio=1), rel=0.05)


def test_an_engine_may_take_another_time_for_requests_of_models_in_one_format():
    """TensorRT-LLM's with experts in mxfp4 start 95 ms sooner; its other figures are the same."""
    options = Options(prompt=1000, output=100, engine="trtllm")
    models = (load_model("gpt-oss-120b"), LLAMA)
    hosts = [machine_of(H100, workload_of(model, H100, options))[2].host for model in models]
    assert [host.request for host in hosts] == [0.005, 0.1]
    assert hosts[0]._replace(request=0.1) == hosts[1]


def with_host(options, model=LLAMA, hardware=H100, **figures):
    """The times of a mix with other figures of the engine's host."""
    reached = machine_of(hardware, workload_of(model, hardware, options))[2]
    changed = reached._replace(host=reached.host._replace(**figures))
    return at_shares(model, hardware, options, changed).serving.expected


def test_a_prompt_of_a_thousand_tokens_is_cut_into_tokens_for_as_long_as_its_figure_says():
    """At a rate the host gathers nobody: TTFT has 1,000 times the seconds of a token more, TPOT nothing."""
    of = Options(rate=1.0, prompt=1000, output=100, engine="vllm")
    plain, cut = with_host(of, token=0), with_host(of, token=2e-5)
    assert cut.ttft_seconds == pytest.approx(plain.ttft_seconds + 1000 * 2e-5, rel=1e-3)
    assert cut.tpot_seconds == pytest.approx(plain.tpot_seconds, rel=1e-3)


def test_a_first_token_lags_by_steps_of_others_and_by_none_of_ones_own():
    of = Options(prompt=1000, output=100, engine="vllm")
    for running, steps in ((1, 0), (16, 3)):
        plain, late = (with_host(of._replace(concurrency=running), lag=lag) for lag in (0, 3))
        assert late.ttft_seconds == pytest.approx(plain.ttft_seconds + steps * late.tpot_seconds, rel=1e-3)
        assert late.tpot_seconds == pytest.approx(plain.tpot_seconds, rel=1e-3)


def test_sglang_looks_for_requests_every_30_steps_on_blackwell_and_every_10_with_few():
    def looks(gpu, in_flight, **layout):
        hardware, of = load_hardware(gpu), Options(prompt=1000, output=100, engine="sglang", **layout)
        model = load_model("deepseek-v3" if layout else "llama3.1-8b")
        w = workload_of(model, hardware, of)
        return server_of(model, *machine_of(hardware, w), w).looks(in_flight)

    assert looks("b200", np.array([1.0, 15.0, 16.0, 64.0])).tolist() == [10, 10, 30, 30]
    assert looks("b300", None) == 30
    assert looks("h200", 64) == 1
    assert looks("b200", 64, ep=8) == 1  # ranks that share experts look in each step


def test_a_request_waits_for_half_of_the_steps_between_two_looks():
    """Short prompts of 8 requests take next to nothing: of 20 steps it waits for 10, not for half of one."""
    of = Options(concurrency=8, prompt=64, output=2000, engine="sglang", range_ratio=0.5)
    each, twentieth = (with_host(of, looks=looks) for looks in (1, 20))
    assert twentieth.ttft_seconds - each.ttft_seconds == pytest.approx(0.9 * 9.5 * each.tpot_seconds, rel=0.1)
    assert with_host(of, looks=40).ttft_seconds > twentieth.ttft_seconds


def test_where_lengths_are_alike_and_prompts_run_alone_all_begin_together():
    """16 prompts of 4,096 tokens are 8 chunks: of 1 to 8 of them a request waits for its own, then for the others'."""
    of = {"prompt": 4096, "output": 512, "engine": "sglang"}
    alike = estimate(LLAMA, H100, Options(concurrency=16, range_ratio=1, **of)).serving.expected
    one = estimate(LLAMA, H100, Options(batch=2, batch_prompts=True, prompt=4096, engine="sglang")).prefill.expected
    host = 0.06 + 4096 * 5e-6
    assert alike.ttft_seconds == pytest.approx(host + (1 + 8) / 2 * one.seconds, rel=0.01)
    steps = estimate(LLAMA, H100, Options(batch=16, **of)).request.expected.tpot_seconds
    assert alike.tpot_seconds == pytest.approx(steps + (8 - 1) / 2 * one.seconds / 511, rel=0.01)


def test_lengths_from_a_share_on_are_shorter_on_average():
    """From 60 % on, the mean is 80 %: of the prompt, of the answer, and of what is held of both."""
    asked = Options(rate=4.0, prompt=1000, output=500, engine="vllm", range_ratio=0.6)
    drawn = estimate(LLAMA, H100, asked).serving
    mean = estimate(LLAMA, H100, asked._replace(prompt=800, output=400, range_ratio=None)).serving
    assert drawn.expected == mean.expected
    assert drawn.kv_cache_bytes == mean.kv_cache_bytes
    with pytest.raises(InputError, match=r"--range-ratio 0\.6: of a mix of requests"):
        estimate(LLAMA, H100, asked._replace(rate=None))


def test_no_length_is_less_than_a_token():
    drawn = Options(concurrency=1, prompt=1, output=1, range_ratio=0.5)
    alike = estimate(LLAMA, H100, drawn._replace(range_ratio=1)).serving.expected
    assert estimate(LLAMA, H100, drawn).serving.expected == alike


def test_a_step_with_a_prompt_waits_for_the_host_that_starts_its_kernels():
    """TensorRT-LLM's graphs hold decode alone: a short prompt takes 20 ms for its layers, a long one what it takes."""
    reached = machine_of(H100, workload_of(LLAMA, H100, CASE._replace(engine="trtllm")))[2]

    def prefill(prompt, least):
        of = CASE._replace(batch=1, prompt=prompt, engine="trtllm")
        host = reached.host._replace(prompts=least)
        return at_shares(LLAMA, H100, of, reached._replace(host=host)).prefill.expected.seconds

    assert reached.host.prompts == 0.02
    head = prefill(8000, 1.0) - 1.0  # the embedding and the LM head of one token
    assert 0 < head < 1e-3
    assert prefill(100, 0.02) == pytest.approx(0.02 + head, rel=0.01)
    assert prefill(8000, 0.02) == prefill(8000, 0) > 0.1


def test_experts_that_are_padded_cost_as_much_however_few_tokens_they_have():
    """vLLM 0.12 on Hopper reads the weights of all experts for one token; with 8 GPUs it does not."""
    model, h200 = load_model("qwen3-235b-a22b"), load_hardware("h200")

    def step(engine, tp, batch=1):
        of = Options(batch=batch, context=1000, tp=tp, ep=tp, weight_dtype="fp8-block128", dtype="fp8", engine=engine)
        server = server_of(model, *machine_of(h200, w := workload_of(model, h200, of)), w)
        experts = [op for op in server.share(Load(batch, 1, 1000, decode=True)).layers if op.facts.expert == "routed"]
        return sum(op.count * server.efficiency.own.seconds(op) for op in experts)

    weights = 94 * 64 * 3 * 4096 * 1536  # of one of two GPUs, a byte each
    assert step("vllm-0.12", 2) > weights / h200.bandwidth.value > step("vllm", 2)
    assert step("vllm-0.12", 2, batch=16) == pytest.approx(step("vllm-0.12", 2), rel=0.05)
    assert step("vllm-0.12", 8) == step("vllm", 8)


def test_caches_are_as_checkpoints_of_four_bits_say_where_the_engine_heeds_them():
    b200, of = load_hardware("b200"), Options(prompt=1000, output=100, weight_dtype="nvfp4")
    kept = {
        engine: estimate(LLAMA, b200, of._replace(engine=engine)).workload.kv_dtype
        for engine in ("vllm", "trtllm", "sglang", None)
    }
    assert kept == {"vllm": "fp8", "trtllm": "fp8", "sglang": "bf16", None: "bf16"}
    assert estimate(LLAMA, b200, of._replace(engine="vllm", kv_dtype="bf16")).workload.kv_dtype == "bf16"
    assert estimate(LLAMA, b200, of._replace(engine="vllm", weight_dtype="bf16")).workload.kv_dtype == "bf16"


def test_a_cache_of_a_type_that_is_none_is_refused_with_its_line(tmp_path):
    text = (shipped("hardware") / "engines" / "vllm.yaml").read_text("utf-8")
    line = next(number for number, each in enumerate(text.splitlines(), start=1) if "value: fp8, weights" in each)
    file = tmp_path / "mine.yaml"
    file.write_text(
        text.replace("name: vllm", "name: mine").replace("value: fp8, weights", "value: fp9, weights"), "utf-8"
    )
    with pytest.raises(SpecError, match="kv_dtype") as error:
        estimate(LLAMA, H100, CASE._replace(engine=str(file)))
    assert f"{file}:{line}:" in str(error.value)
    assert "fp9" in str(error.value)
