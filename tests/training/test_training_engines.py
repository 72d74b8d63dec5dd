"""Training engines: what they choose, what their figures do, and the runs that were published with their layouts."""

import pytest

from llmcost.ground.errors import InputError, SpecError
from llmcost.ground.units import HOUR
from llmcost.parallel.layout import Layout, held_by_gpu
from llmcost.specs.catalog import load_hardware, load_model, load_training_engine, names
from llmcost.training.activations import chosen
from llmcost.training.options import Options, parse_modules
from llmcost.training.passes import forward_pass
from llmcost.training.setup import setup_of
from llmcost.training.step import evaluate_step
from llmcost.training.step_time import bubble_seconds, left_of
from llmcost.training.train import train

H100, H200, H800 = (load_hardware(name) for name in ("h100", "h200", "h800"))
ENGINES = names("hardware/engines/training")


def answer(model, hardware, **options):
    return train(load_model(model), hardware, Options(**options))


def step(model, hardware, **options):
    return evaluate_step(setup_of(load_model(model), hardware, Options(**options), None)[0])


@pytest.mark.parametrize("schedule", [None, "dualpipe"])
def test_deepseek_v3_takes_the_hours_that_its_authors_paid_for_and_fits_as_it_did(schedule):
    # arXiv 2412.19437, table 1 and section 3.2: 2,664K H800 hours of pre-training on 14.8T tokens, pp 16 and ep 64
    run = answer(
        "deepseek-v3", H800, gpus=2048, tokens=14_800 * 10**9, pp=16, ep=64, dp=128, dtype="fp8", schedule=schedule
    )
    assert run.gpu_hours == pytest.approx(2.664e6, rel=0.15)
    assert run.memory.fits
    assert run.run.tokens_per_step == 15_360 * 4_096  # section 4.2
    assert run.layout.recompute == "selective"  # norms and up-projections of latents (section 3.2.3)


def test_deepseek_v3_s_hours_come_out_with_nothing_said_of_its_layout_and_data_type():
    run = answer("deepseek-v3", H800, gpus=2048, tokens=14_800 * 10**9)
    assert run.run.dtype == "fp8"  # as it was trained
    assert run.gpu_hours == pytest.approx(2.664e6, rel=0.15)
    assert run.layout.ep > 8  # more GPUs than a node has
    assert run.memory.total_bytes <= 0.95 * run.memory.usable_bytes  # experts do not get equally many tokens


def test_a_data_type_that_the_gpu_lacks_is_not_taken_from_the_model_s_own_run():
    a100 = answer("deepseek-v3", load_hardware("a100"), gpus=2048, tokens=10**9)
    assert (a100.run.dtype, answer("llama3.1-405b", H100, gpus=1024, tokens=10**9).run.dtype) == ("bf16", "bf16")


@pytest.mark.parametrize(
    ("layout", "seq", "tflops", "within"),
    [  # arXiv 2407.21783, table 4
        ({"tp": 8, "pp": 16, "dp": 64}, 8192, 430, 0.08),
        ({"tp": 8, "pp": 16, "dp": 128}, 8192, 400, 0.08),
        ({"tp": 8, "pp": 16, "cp": 16, "dp": 8}, 131072, 380, 0.15),
    ],
)
def test_llama_3_405b_runs_as_its_authors_measured(layout, seq, tflops, within):
    run = step("llama3.1-405b", H100, seq=seq, **layout)
    assert run.flops.model / run.seconds.total / run.gpus == pytest.approx(tflops * 1e12, rel=within)
    assert run.tokens == 2**24  # "16M tokens a batch" whatever the sequence is


def test_the_layout_of_llama_3_405b_is_found():
    run = answer("llama3.1-405b", H100, gpus=16384)
    assert (run.layout.tp, run.layout.pp, run.layout.dp, run.layout.cp) == (8, 16, 128, 1)


@pytest.mark.parametrize(
    ("seq", "recompute", "seconds", "bytes_"), [(8192, "full", 1.070, 69.6e9), (4096, "none", 0.470, 87.7e9)]
)
@pytest.mark.parametrize("engine", [None, "fsdp2"])
def test_fsdp2_of_llama_3_8b_on_two_h200s_is_as_measured(seq, recompute, seconds, bytes_, engine):
    run = answer(
        "llama3-8b", H200, gpus=2, zero=3, seq=seq, recompute=recompute, global_batch=2, tokens=10**9, engine=engine
    )
    assert run.run.engine == "torchtitan"
    assert run.step_seconds == pytest.approx(seconds, rel=0.08)
    assert run.memory.allocated_bytes == pytest.approx(bytes_, rel=0.05)


def test_a_step_has_about_four_million_tokens_where_nothing_is_known_of_the_model_s_own_run():
    for gpus in (8, 1024, 16384):
        run = answer("llama3-8b", H100, gpus=gpus)
        assert run.run.tokens_per_step == 4 * 2**20


def test_long_sequences_are_cut_by_default():
    # 131,072 tokens of an 8B model keep 131072 · 32 · (34 · 4096) bytes: 584 GB, 73 GB on each of 8 GPUs
    run = answer("llama3.1-8b", H100, gpus=64, seq=131072)
    assert run.layout.cp > 1
    assert run.memory.fits
    assert answer("llama3.1-8b", H100, gpus=64, seq=8192).layout.cp == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_beats_the_limit(engine):
    spec = load_training_engine(engine)
    gpu = H100 if spec.runs_on(H100) else load_hardware("tpu-v5p")
    for model in ("llama3-8b", "qwen3-30b-a3b"):
        run = answer(model, gpu, gpus=64, global_batch=512, engine=engine)
        assert run.run.engine == engine
        assert run.step_seconds > run.limit.step_seconds


def test_the_usual_engine_follows_from_the_gpu_and_the_recipe():
    def usual(hardware, **options):
        return answer("qwen3-0.6b", load_hardware(hardware), gpus=1, tokens=10**9, **options).run.engine

    assert usual("h100", zero=1) == usual("mi300x", zero=1) == "megatron-core"
    assert usual("h100", zero=3) == "torchtitan"
    assert usual("tpu-v5e") == "maxtext"
    assert usual("rtx4090") == usual("h100", lora_rank=16) == "hf-trainer"


def test_an_engine_that_does_not_run_there_is_refused_with_the_vendors():
    with pytest.raises(InputError, match=r"--engine nemo: runs on GPUs of NVIDIA, not on AMD Instinct MI300X"):
        answer("llama3-8b", load_hardware("mi300x"), gpus=8, engine="nemo")


def test_a_data_type_that_an_engine_does_not_have_is_refused_by_name_and_not_taken():
    old = {"gpus": 2048, "tokens": 10**9, "engine": "megatron-deepspeed-2022"}
    with pytest.raises(InputError, match=r"--dtype fp8: Megatron-DeepSpeed 2022 has none; it has fp16, bf16, fp32"):
        answer("llama3-8b", H100, dtype="fp8", **old)
    assert answer("deepseek-v3", H800, **old).run.dtype == "bf16"


def test_recomputation_and_sequence_parallelism_that_an_engine_lacks_are_refused_and_not_chosen():
    """Korthikanti 2022 came after: the fork's arguments know whole checkpoints of activations alone."""
    old = {"gpus": 384, "tp": 4, "pp": 12, "global_batch": 2048, "engine": "megatron-deepspeed-2022"}
    with pytest.raises(InputError, match=r"--recompute selective: .* has no such kind; it has none, full"):
        answer("bloom-176b", load_hardware("a100-80gb"), recompute="selective", **old)
    with pytest.raises(InputError, match="--sequence-parallel: Megatron-DeepSpeed 2022 has none"):
        answer("bloom-176b", load_hardware("a100-80gb"), sequence_parallel=True, **old)
    layout = answer("bloom-176b", load_hardware("a100-80gb"), micro_batch=2, seq=2048, **old).layout
    assert (layout.recompute, layout.sequence_parallel) == ("full", False)


def test_what_the_user_says_of_kernels_and_overlap_stands_above_the_engine():
    at, _ = setup_of(load_model("llama3-8b"), H100, Options(gpus=8, zero=1, kernels="eager", overlap="data=0.1"), None)
    engine = load_training_engine("megatron-core")
    assert (at.recipe.kernels, at.recipe.loss, at.recipe.overlap.data) == ("eager", "plain", 0.1)
    assert at.recipe.overlap.pipeline == engine.overlap["pipeline"]


def test_no_more_communication_is_hidden_than_there_is_computation():
    assert left_of(10, 100, 0.8) == pytest.approx(2)
    assert left_of(10, 3, 0.8) == 7
    assert left_of(10, 3, 0) == 10


def test_a_small_model_waits_for_its_host():
    # 28 layers, two passes, 1.5 ms each at least, in each of two micro-batches of 128 tokens
    run = step(
        "qwen3-0.6b", load_hardware("a100"), gpus=1, seq=128, global_batch=2, engine="megatron-deepspeed-2022", zero=0
    )
    layers = 28 * 2 * 1.5e-3
    assert run.seconds.total > 2 * layers
    assert 0 < run.seconds.host < 2 * layers


def test_fsdp2_steps_of_small_models_on_one_h200_take_as_long_as_their_host():
    # Measured on 2026-11-28, torch 2.11: 16 layers of 2,048, 512 tokens: 79 ms, of which kernels are a small part
    run = step("llama3.2-1b", H200, gpus=1, zero=3, seq=512, global_batch=1, recompute="none", engine="fsdp2")
    assert run.seconds.total == pytest.approx(0.079, rel=0.12)
    assert run.seconds.total >= 0.03 + 2 * 16 * 1.35e-3


def test_an_engine_of_the_user_s_own_is_read_with_its_sources(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ntitle: Mine\nversion: '1'\nurl: https://example.org\nvendors: [NVIDIA]\n"
        "shares: {Hopper: {products: {value: 0.5, source: log}}}\nsources: {log: {title: a log}}\n"
    )
    at, _ = setup_of(load_model("llama3-8b"), H100, Options(gpus=8, zero=1, engine=str(path)), None)
    assert at.efficiency.kernels["gemm"].compute == 0.5
    path.write_text(path.read_text().replace("source: log", "source: nowhere"))
    with pytest.raises(SpecError, match=r"mine.yaml:6: shares.Hopper.products.source: 'nowhere' is not one"):
        load_training_engine(str(path))


def test_a_gpu_of_dualpipe_has_a_stage_from_either_end_and_half_as_many_of_both_in_flight():
    # 61 layers in 16 stages of 4 are 3 fewer than these hold: the outermost GPU has 8 - 3
    layout = Layout(pp=16, dp=1, global_batch=64, schedule="dualpipe")
    outermost, inner = held_by_gpu(layout, 61, 0), held_by_gpu(layout, 61, 1)
    assert (outermost.layers, outermost.first, outermost.last) == (5, 1, 1)
    assert (inner.layers, inner.first, inner.last, inner.in_flight) == (8, 0, 0, 17 / 2)


def test_the_bubbles_of_a_pipeline_are_those_of_arxiv_2412_19437_table_2():
    # F = 1, B = 2 of which W = 1, 16 stages: 15·(F + B); 15·(F + B - 2W); (16/2 - 1)·(F&B + B - 3W), F&B = F + B
    layout = Layout(pp=16, dp=1, global_batch=64)
    for schedule, units in (("1f1b", 15 * 3), ("zero-bubble", 15 * 1), ("dualpipe", 7 * 2)):
        assert bubble_seconds(layout._replace(schedule=schedule), 16 * 3, 3, 2, 1) == pytest.approx(units)


def test_named_recomputation_keeps_what_no_kernel_can_make_again():
    # A layer of Llama keeps, of a token: what both norms add up (2·2h bytes), q, k and v (2·(h + 2·g·d)), attention's
    # output (2h) and statistic (4a), gate and up (2·2f). Norms' and the activation's outputs are made again.
    at, _ = setup_of(load_model("llama3-8b"), H100, Options(gpus=1, recompute="selective", seq=1024, zero=0), None)
    h, a, g, d, f = 4096, 32, 8, 128, 14336
    kept = chosen(forward_pass(at).layers, at.layout, at.recipe, at.model.norm)
    of_a_layer = sum(op.count * each for op, each in zip(forward_pass(at).layers, kept, strict=True)) / 32
    assert of_a_layer == 1024 * (4 * h + 2 * (h + 2 * g * d) + 2 * h + 4 * a + 4 * f)


def test_named_recomputation_of_latents_costs_their_up_projections():
    # 61 layers, 128 heads: queries of 192 from a latent of 1,536; keys and values of 128 each from one of 512
    more = {"gpus": 64, "pp": 1, "ep": 64, "dtype": "fp8", "zero": 1, "global_batch": 64, "mtp_layers": 0}
    again, none = (step("deepseek-v3", H800, recompute=kind, **more) for kind in ("selective", "none"))
    up = 2 * 61 * 128 * (1536 * 192 + 512 * 256)
    assert (again.flops.hardware - none.flops.hardware) / again.tokens == pytest.approx(up)
    assert again.memory_bytes() < none.memory_bytes()


def test_hours_of_llama_3_1_405b_are_those_of_its_card():
    # 30.84M H100 hours of about 15.6T tokens, restarts included
    run = answer("llama3.1-405b", H100, gpus=16384, tokens=15_600 * 10**9)
    assert run.with_interruptions.gpu_hours == pytest.approx(30.84e6, rel=0.1)
    assert run.gpu_hours * HOUR < run.with_interruptions.gpu_hours * HOUR


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "hf-trainer", "pp": 2}, "--pp 2: Hugging Face Trainer 4.57 has no pipeline parallelism; it has"),
        ({"engine": "hf-trainer", "stages": (16, 16)}, "--pp 2: Hugging Face Trainer"),
        ({"engine": "deepspeed", "pp": 2, "vp": 2}, "--vp 2: DeepSpeed 0.18.9 has no interleaved stages"),
        ({"engine": "deepspeed", "pp": 2, "schedule": "dualpipe"}, "--schedule dualpipe: DeepSpeed .* it has 1f1b"),
        ({"engine": "deepspeed", "dtype": "fp8"}, "--dtype fp8: DeepSpeed 0.18.9 has none; it has bf16, fp16, fp32"),
        ({"engine": "torchtitan", "zero": 1}, "--zero 1: torchtitan 0.1 has no such stage; it has 0, 2, 3; nearest: 0"),
        ({"engine": "unsloth", "zero": 3}, "--zero 3: Unsloth .* it has 0; nearest: 0"),
        ({"engine": "llm-foundry", "tp": 2}, "has no tensor parallelism; it has --dp alone; nearest: 1"),
        ({"engine": "megatron-core", "zero": 3, "offload": "weights"}, "--offload weights: .* it offloads optimizer"),
    ],
)
def test_what_a_named_engine_lacks_is_refused_by_name(options, says):
    with pytest.raises(InputError, match=says):
        step("llama3-8b", H100, gpus=8, **options)


def test_a_layout_that_is_chosen_takes_as_long_as_the_same_one_that_is_given():
    # With ZeRO-3 the usual engine is torchtitan, which gathers the parts of a sequence; megatron-core passes them on.
    told = {"gpus": 8, "tp": 4, "cp": 2, "recompute": "none", "micro_batch": 2, "global_batch": 8}
    chosen = answer("llama4-scout", load_hardware("h20"), **told)
    assert (chosen.layout.zero, chosen.layout.chosen) == (3, True)
    given = answer("llama4-scout", load_hardware("h20"), **told, pp=1, ep=chosen.layout.ep, zero=3)
    assert given.expected == chosen.expected


def test_a_layout_that_is_chosen_has_only_what_the_named_engine_has():
    run = answer("llama3-70b", H100, gpus=64, tokens=10**9, engine="llm-foundry")
    assert (run.layout.tp, run.layout.pp, run.layout.cp) == (1, 1, 1)
    alone = answer("llama3-8b", H100, gpus=8, tokens=10**9, engine="torchtitan")
    assert alone.layout.zero == 3  # there is no ZeRO-1
    piped = answer("llama3-8b", H100, gpus=8, tokens=10**9, engine="torchtitan", pp=2)
    assert (piped.layout.zero, piped.layout.reshard) == (3, False)


V3 = {"gpus": 2048, "pp": 16, "ep": 64, "tp": 1, "zero": 1, "dtype": "bf16", "engine": "megatron-core"}


def of_modules(*modules):
    return step("deepseek-v3", H800, **V3, recompute_modules=modules)


def test_modules_are_recomputed_by_megatron_s_names():
    usual = step("deepseek-v3", H800, **V3, recompute="selective")
    named = of_modules("layernorm", "mla_up_proj", "moe_act")
    assert named.memory_bytes() == usual.memory_bytes()
    assert named.seconds == usual.seconds


def test_whole_modules_cost_their_forward_pass_and_keep_their_input_alone():
    none, full = (step("deepseek-v3", H800, **V3, recompute=kind) for kind in ("none", "full"))
    mlps, attention = of_modules("mlp", "moe"), of_modules("core_attn")
    everything = of_modules("mlp", "moe", "core_attn", "layernorm", "mla_up_proj")
    for found in (mlps, attention, everything):
        assert full.memory_bytes() < found.memory_bytes() < none.memory_bytes()
        assert 0 < found.seconds.recompute < full.seconds.recompute
    assert everything.memory_bytes() < min(mlps.memory_bytes(), attention.memory_bytes())


def test_an_mlp_that_is_recomputed_computes_its_three_products_once_more():
    layout = {"gpus": 8, "tp": 1, "pp": 1, "zero": 1, "engine": "megatron-core"}
    whole = step("llama3-8b", H100, **layout, recompute_modules=("mlp",))
    plain = step("llama3-8b", H100, **layout, recompute="none")
    # 2 FLOPs a weight and token, of 3 products of 4,096 x 14,336 in each of 32 layers
    expected = 2 * 3 * 4096 * 14_336 * 32 * whole.tokens
    assert whole.flops.hardware - plain.flops.hardware == pytest.approx(expected)


def test_modules_beside_another_recomputation_are_refused():
    with pytest.raises(InputError, match="--recompute-modules: of --recompute selective, not of full"):
        step("llama3-8b", H100, gpus=8, recompute_modules=("mlp",), recompute="full")


@pytest.mark.parametrize("text", ["foo", "mlp,mlp", ""])
def test_a_module_that_megatron_does_not_have_is_told_so(text):
    with pytest.raises(ValueError, match=r"is none of|comes twice"):
        parse_modules(text)


def test_cuda_graphs_are_refused_where_the_host_s_time_is_not_known():
    with pytest.raises(InputError, match=r"--cuda-graphs: spare .* not known of NVIDIA NeMo"):
        answer("llama3-8b", H100, gpus=8, tokens=10**9, engine="nemo", cuda_graphs=True)


FP4 = {"gpus": 64, "global_batch": 256, "zero": 1, "recompute": "none"}


@pytest.mark.parametrize(
    ("gpu", "layout", "measured"),
    [("gb300", {"tp": 1, "pp": 4, "vp": 5}, 7296), ("gb200", {"tp": 2, "pp": 4, "vp": 5}, 4864)],
)
def test_products_in_fp4_are_as_fast_as_published(gpu, layout, measured):
    """Llama 3 70B in NVFP4 by Megatron-Bridge 26.04.01 (docs/performance-summary.md): no number was chosen by them."""
    run = step("llama3-70b", load_hardware(gpu), dtype="fp4", **FP4, **layout)
    assert run.tokens_per_s() / 64 == pytest.approx(measured, rel=0.25)


def test_fp4_keeps_inputs_of_products_with_their_scales_and_reads_each_twice_to_cast_it():
    gb200 = load_hardware("gb200")
    narrow, wide = (step("llama3-70b", gb200, dtype=dtype, tp=2, pp=4, vp=5, **FP4) for dtype in ("fp4", "fp8"))
    assert narrow.seconds.total < wide.seconds.total
    assert narrow.seconds.memory > wide.seconds.memory  # casts: 2 reads of 16 bits for 1, and 2 writes of 4.5 for 8
    kept = [each.first.peak().activations for each in (narrow, wide)]
    assert kept[0] < kept[1]
    with pytest.raises(InputError, match="no known peak for fp4"):
        step("llama3-8b", H100, gpus=8, dtype="fp4")
