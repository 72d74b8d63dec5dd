"""Nine mistakes that calculators of this kind repeat, each with the figures that it would get wrong.

1 GB taken for GiB              4 LM head left out               7 experts read as a dense MLP
2 sparse or non-tensor peaks    5 grouped heads dropped          8 latent attention read as grouped
3 tied embeddings twice         6 causal mask not used           9 attention scores sent to memory
"""

from pathlib import Path

import pytest
from uniform import CLASSIC, changed, size

from llmcost.ground.errors import SpecError
from llmcost.ground.units import parse_quantity, scaled
from llmcost.model.architecture import operators
from llmcost.model.operators import Attention
from llmcost.model.sizes import Load, element_bytes
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import find, load_hardware, load_model, names
from llmcost.specs.models import model_from
from llmcost.specs.reader import parse_yaml

BF16 = element_bytes("bf16", "bf16", "bf16")
LLAMA = load_model("llama3-8b")
GIB = 2**30


def step_of(spec, b=1, c=8192, s=1):
    return operators(spec, BF16, Load(b, s, c))


def attention_of(spec, **load):
    (op,) = [op for op in step_of(spec, **load) if isinstance(op, Attention)]
    return op


# -- the arithmetic of published counts: what most of the nine show in first ----------------------------


def llama(v, h, i, layers, kv, tied=False):
    """Embedding, head and last norm; a layer: q and o (h·h), k and v (h·kv), gate, up and down (h·i), two norms."""
    return (1 if tied else 2) * v * h + layers * (2 * h * h + 2 * h * kv + 3 * h * i + 2 * h) + h


def gpt2(v, positions, h, layers):
    """Tied embedding, positions, last LayerNorm; a layer: 12·h², 9·h biases (3 + 1 + 4 + 1), two LayerNorms of 2·h."""
    return v * h + positions * h + layers * (12 * h * h + 9 * h + 2 * 2 * h) + 2 * h


# Totals as the weights on Hugging Face have them; where no weights exist or only a rounded count is
# published (GPT-3, arXiv 2005.14165, table 2.1: 175.0B), by the same arithmetic.
PUBLISHED = {
    "gpt2": (gpt2(50257, 1024, 768, 12), 124_439_808),
    "gpt2-medium": (gpt2(50257, 1024, 1024, 24), 354_823_168),
    "gpt2-large": (gpt2(50257, 1024, 1280, 36), 774_030_080),
    "gpt2-xl": (gpt2(50257, 1024, 1600, 48), 1_557_611_200),
    "nanogpt-124m": (gpt2(50304, 1024, 768, 12), 124_439_808 + (50304 - 50257) * 768),  # GPT-2 with 47 rows of padding
    "gpt3-175b": (gpt2(50257, 2048, 12288, 96), 174_604_259_328),
    "llama1-7b": (llama(32000, 4096, 11008, 32, 4096), 6_738_415_616),
    "llama1-13b": (llama(32000, 5120, 13824, 40, 5120), 13_015_864_320),
    "llama1-33b": (llama(32000, 6656, 17920, 60, 6656), 32_528_943_616),
    "llama1-65b": (llama(32000, 8192, 22016, 80, 8192), 65_285_660_672),
    "llama2-7b": (llama(32000, 4096, 11008, 32, 4096), 6_738_415_616),
    "llama2-13b": (llama(32000, 5120, 13824, 40, 5120), 13_015_864_320),
    "llama2-70b": (llama(32000, 8192, 28672, 80, 8 * 128), 68_976_648_192),
    "llama3-8b": (llama(128256, 4096, 14336, 32, 8 * 128), 8_030_261_248),
    "llama3-70b": (llama(128256, 8192, 28672, 80, 8 * 128), 70_553_706_496),
    "llama3.1-8b": (llama(128256, 4096, 14336, 32, 8 * 128), 8_030_261_248),
    "llama3.1-70b": (llama(128256, 8192, 28672, 80, 8 * 128), 70_553_706_496),
    "llama3.3-70b": (llama(128256, 8192, 28672, 80, 8 * 128), 70_553_706_496),
    "llama3.1-405b": (llama(128256, 16384, 53248, 126, 8 * 128), 405_853_388_800),
    "llama3.2-1b": (llama(128256, 2048, 8192, 16, 8 * 64, tied=True), 1_235_814_400),
    "llama3.2-3b": (llama(128256, 3072, 8192, 28, 8 * 128, tied=True), 3_212_749_824),
    "slides-llama3-1b": (llama(128256, 2048, 5504, 24, 8 * 128), 1_639_024_640),
    "slides-llama3-405b": (llama(128256, 12288, 49152, 128, 8 * 128), 276_959_342_592),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameter_count_is_the_published_one_to_the_last(name):
    by_hand, published = PUBLISHED[name]
    assert by_hand == published
    assert estimate(load_model(name)).model.params.total == published


# A model that is added without a line above would go unchecked; MoE and other families get tests of their own.
def test_every_shipped_model_of_these_families_has_its_published_count_here():
    assert {name for name in CLASSIC if name.startswith(("gpt", "nanogpt", "llama", "slides"))} == set(PUBLISHED)


# -- 1 GB taken for GiB ---------------------------------------------------------------------------------


def test_1_a_gb_is_a_thousand_million_bytes_and_a_gib_two_to_the_thirty():
    assert parse_quantity("80 GB", "B") == 80 * 1000**3
    assert parse_quantity("80 GiB", "B") == 80 * 1024**3
    assert parse_quantity("165 TFLOPS", "FLOPS") == 165 * 1000**4
    assert parse_quantity("1008 GB/s", "B/s") == 1008 * 1000**3
    assert scaled(GIB, "B") == "1.07 GB"


def test_1_a_card_of_24_gb_does_not_hold_what_24_gib_would():
    """Between 24·10⁹ and 24·2³⁰ bytes there are 1.8 GB, more than a sequence of 8192 tokens of Llama 3 8B."""
    sequences = 7
    card = load_hardware("rtx4090")._replace(usable_memory=None, vendor="another")  # of whose cards no source says more
    found = estimate(LLAMA, card, Options(batch=sequences, memory_utilization=1.0)).memory
    assert 24 * 10**9 < found.total_bytes < 24 * GIB
    assert not found.fits
    assert found.max_batch == sequences - 1


def test_1_times_divide_bytes_by_bytes_a_second_of_the_same_kind():
    found = estimate(LLAMA, load_hardware("rtx4090"))
    assert found.decode.bound.memory_seconds == found.traffic.decode.total_bytes / (1008 * 1000**3)
    assert found.prefill.bound.compute_seconds == found.flops.prefill.causal / (165 * 1000**4)


# -- 2 sparse or non-tensor peaks -----------------------------------------------------------------------

# Dense 16-bit rate with fp32 accumulation = SMs · multiply-adds an SM and clock · 2 FLOPs · boost clock. The
# multiply-adds are those of NVIDIA's architecture white papers (dense); with sparsity all would be twice as many, and
# on GeForce with fp16 accumulation too.
TENSOR_CORES = {  # SMs, dense multiply-adds an SM and clock, boost clock in MHz
    "v100-32gb-sxm": (80, 512, 1530),
    "a100-40gb-sxm": (108, 1024, 1410),
    "a100-80gb-sxm": (108, 1024, 1410),
    "a100-80gb-pcie": (108, 1024, 1410),
    "a40": (84, 512, 1740),
    "rtx3090": (82, 256, 1695),
    "rtx4090": (128, 256, 2520),
    "l4": (58, 512, 2040),
    "l40s": (142, 512, 2490),
    "rtx6000-ada": (142, 512, 2505),
    "h100-sxm": (132, 2048, 1830),
    "h100-pcie": (114, 2048, 1620),
    "h200": (132, 2048, 1830),
    "gh200": (132, 2048, 1830),
    "rtx5090": (170, 256, 2407),
}
# The same as the data sheets print it: dense, TFLOPS. In brackets what has been taken for it.
DATA_SHEETS = {
    "h100-sxm": 989,  # (1979 with sparsity; 67, the vector rate of fp32)
    "l40s": 362,  # (733 with sparsity)
    "gh200": 989,  # (1979 with sparsity)
    "rtx5090": 209.5,  # (419 with fp16 accumulation, 838 with sparsity as well)
    "rtx3090": 71,  # (142 with fp16 accumulation)
    "a100-80gb-sxm": 312,  # (624 with sparsity; 19.5, the vector rate of fp32)
}


@pytest.mark.parametrize("name", TENSOR_CORES)
def test_2_the_16_bit_peak_is_what_the_tensor_cores_multiply_at_their_boost_clock(name):
    sms, multiply_adds, mhz = TENSOR_CORES[name]
    peak = load_hardware(name).peak["fp16"].value
    assert peak == pytest.approx(sms * multiply_adds * 2 * mhz * 1e6, rel=0.005)  # data sheets round to three figures


@pytest.mark.parametrize("name", DATA_SHEETS)
def test_2_the_16_bit_peak_is_the_dense_one_of_the_data_sheet(name):
    peak = load_hardware(name).peak
    assert peak["bf16"].value == pytest.approx(DATA_SHEETS[name] * 1e12, rel=0.001)
    assert peak["fp16"].value == peak["bf16"].value


def nvidia_with(dtype):
    specs = [load_hardware(name) for name in names("hardware")]
    return [spec.name for spec in specs if spec.vendor == "NVIDIA" and dtype in spec.peak]


@pytest.mark.parametrize("name", nvidia_with("fp8"))
def test_2_fp8_is_twice_bf16_and_not_four_times_as_where_one_of_the_two_is_sparse(name):
    peak = load_hardware(name).peak
    assert peak["fp8"].value / peak["bf16"].value == pytest.approx(
        2, rel=0.015
    )  # 733 / 362.05 on the L40S, as its sheet rounds


# Where the matrix units give a type as much as the vector units give fp32, say so here, with the reason.
SAME_AS_VECTOR_FP32 = {
    # GeForce and A10G: tensor cores give tf32 half of their 16-bit rate with fp32 accumulation, which is what the
    # CUDA cores give fp32
    ("rtx3090", "tf32"),
    ("a10g", "tf32"),
    ("rtx4090", "tf32"),
    ("rtx5090", "tf32"),
    ("rtx5080", "tf32"),
    ("rtx5070-ti", "tf32"),
    ("rtx5070", "tf32"),
    ("rtx4090-d", "tf32"),
    ("rtx4080-super", "tf32"),
    ("rtx4070", "tf32"),
    ("rtx4070-super", "tf32"),
    ("rtx4060-ti-16gb", "tf32"),
    ("rtx4060", "tf32"),
    ("rtx3060-12gb", "tf32"),
    # L40 and L20: their 16-bit rate with fp32 accumulation is halved as on GeForce
    ("l40", "tf32"),
    ("l20", "tf32"),
    # NVIDIA's fp64 tensor cores: twice the vector fp64, which is half of the vector fp32
    ("a100-40gb-pcie", "fp64"),
    ("a100-40gb-sxm", "fp64"),
    ("a100-80gb-pcie", "fp64"),
    ("a100-80gb-sxm", "fp64"),
    ("a30", "fp64"),
    ("h100-sxm", "fp64"),
    ("h100-pcie", "fp64"),
    ("h100-nvl", "fp64"),
    ("h200", "fp64"),
    # CDNA 3 and 4: the same rate in packed vector fp32 and in matrix fp32; CDNA 3's matrix fp64 is the same again
    ("mi300x", "fp32"),
    ("mi300x", "fp64"),
    ("mi355x", "fp32"),
}


def test_2_no_matrix_peak_is_a_vector_rate_by_mistake():
    same = set()
    for name in names("hardware"):
        spec = load_hardware(name)
        vector = spec.vector_peak.get("fp32")
        same |= {(name, dtype) for dtype, rate in spec.peak.items() if vector and rate.value == vector.value}
    assert same == SAME_AS_VECTOR_FP32
    assert not any(dtype in ("bf16", "fp16", "fp8", "int8", "fp4", "int4") for _, dtype in same)


@pytest.mark.parametrize("name", names("hardware"))
def test_2_a_16_bit_matrix_peak_is_well_above_the_vector_rates(name):
    """At least twice: GeForce and A10G have just that with fp32 accumulation, every other chip here has more."""
    spec = load_hardware(name)
    vector = [rate.value for rate in spec.vector_peak.values()]
    for dtype in ("bf16", "fp16"):
        if vector and dtype in spec.peak:
            assert spec.peak[dtype].value >= 1.99 * max(vector)


def test_2_times_use_the_peak_of_the_matrix_units():
    found = estimate(LLAMA, load_hardware("a100-80gb-sxm"))
    assert found.hardware.peak_flops_per_s == 312 * 10**12  # 19.5 would make a prefill 16 times as long
    assert found.prefill.bound.compute_seconds == found.flops.prefill.causal / (312 * 10**12)


# -- 3 tied embeddings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "v", "h"), [("llama3.2-1b", 128256, 2048), ("llama3.2-3b", 128256, 3072), ("gpt2", 50257, 768)]
)
def test_3_a_tied_matrix_is_stored_once_and_still_computed_and_read(name, v, h):
    tied = load_model(name)
    assert tied.tie_word_embeddings
    one, two = estimate(tied), estimate(tied._replace(tie_word_embeddings=False))
    assert one.model.params.lm_head == 0
    assert two.model.params.lm_head == v * h
    assert two.model.params.total - one.model.params.total == v * h
    assert two.memory.weights_bytes - one.memory.weights_bytes == 2 * v * h  # bf16
    assert one.flops == two.flops
    assert one.flops.per_token.lm_head == 2 * v * h
    assert one.traffic == two.traffic


@pytest.mark.parametrize(("name", "twice"), [("llama3.2-1b", 1_498_482_688), ("llama3.2-3b", 3_606_752_256)])
def test_3_the_count_is_not_the_one_with_the_embedding_twice(name, twice):
    """1.498B for Llama 3.2 1B and 3.61B for 3B are seen in the field; 1.236B and 3.21B are true."""
    spec = load_model(name)
    assert twice - spec.vocab_size * spec.hidden_size == estimate(spec).model.params.total


# -- 4 LM head left out ---------------------------------------------------------------------------------


def test_4_the_lm_head_is_in_params_flops_memory_and_traffic():
    v, h = 128256, 4096
    head = v * h
    found = estimate(LLAMA, load_hardware("rtx4090"))
    assert found.model.params.lm_head == head
    assert (
        found.flops.per_token.total - found.flops.per_token.linear - found.flops.per_token.attention == 2 * head
    )  # not 1·: a MAC is 2
    params = found.model.params
    assert found.memory.weights_bytes == 2 * (params.embedding + params.attention + params.mlp + params.norm + head)
    layers = 2 * (params.attention + params.mlp + params.norm)
    assert (
        found.traffic.decode.weight_bytes == layers + 2 * head + 2 * h
    )  # and the one row of the embedding that is looked up


def test_4_prefill_computes_the_logits_of_one_position_and_training_of_all():
    s = 8192
    found = estimate(LLAMA).flops
    assert found.forward.full - found.prefill.full == (s - 1) * 2 * 128256 * 4096
    assert found.forward.causal - found.prefill.causal == (s - 1) * 2 * 128256 * 4096


def test_4_the_embedding_is_looked_up_not_read_and_not_multiplied():
    """A batch of 5 reads 5 rows of 4096 in bf16, and no FLOP is booked for it."""
    (lookup,) = [op for op in step_of(LLAMA, b=5) if op.part == "embedding"]
    assert lookup.weight_bytes() == 5 * 4096 * 2
    assert lookup.flops(causal=False) == lookup.flops(causal=True) == 0


# -- 5 grouped heads ------------------------------------------------------------------------------------

MODELS = {name: load_model(name) for name in CLASSIC}
GROUPED = [
    name for name, spec in MODELS.items() if size(spec, "num_key_value_heads") < size(spec, "num_attention_heads")
]


def test_5_the_models_known_to_group_their_heads_do():
    assert {"llama2-70b", "llama3-8b", "llama3-70b", "llama3.1-405b", "llama3.2-1b"} <= set(GROUPED)
    assert {"llama2-7b", "llama2-13b", "llama1-65b", "gpt2"}.isdisjoint(GROUPED)


def test_5_keys_and_values_of_llama3_8b_are_those_of_8_heads_everywhere():
    layers, h, d, query_heads, kv_heads, c = 32, 4096, 128, 32, 8, 8192
    found = estimate(LLAMA, load_hardware("rtx4090"))
    k_and_v = 2 * h * kv_heads * d
    assert found.model.params.attention == layers * (2 * h * h + k_and_v)
    mlp = 3 * h * 14336
    assert found.flops.per_token.linear == 2 * layers * (2 * h * h + k_and_v + mlp)
    assert found.kv_cache.bytes_per_token == 2 * layers * kv_heads * d * 2  # 131,072; with 32 heads 524,288
    assert found.traffic.decode.kv_cache_bytes == c * 131072  # read once for a group of 4 query heads, not 4 times
    assert found.flops.per_token.attention == layers * query_heads * d * c * 4  # scores are those of all 32 query heads


@pytest.mark.parametrize("name", GROUPED)
def test_5_grouping_divides_cache_and_traffic_and_leaves_attention_flops(name):
    grouped = load_model(name)
    heads, kv_heads = size(grouped, "num_attention_heads"), size(grouped, "num_key_value_heads")
    full = changed(grouped, num_key_value_heads=heads)
    share = heads // kv_heads
    few, many = estimate(grouped), estimate(full)
    assert many.kv_cache.bytes == share * few.kv_cache.bytes
    assert many.traffic.decode.kv_cache_bytes == share * few.traffic.decode.kv_cache_bytes
    assert many.flops.per_token.attention == few.flops.per_token.attention
    missing = 2 * grouped.hidden_size * size(grouped, "head_dim") * (heads - kv_heads)  # of k and v, a layer
    assert many.model.params.total - few.model.params.total == grouped.num_hidden_layers * missing
    assert many.flops.per_token.linear - few.flops.per_token.linear == 2 * grouped.num_hidden_layers * missing


def test_5_the_biases_of_keys_and_values_are_grouped_too():
    """q of 32 heads, k and v of 8, o: 4096 + 2·1024 + 4096 biases a layer."""
    with_bias = estimate(changed(LLAMA, attention_bias=True)).model.params.total
    assert with_bias - estimate(LLAMA).model.params.total == 32 * (4096 + 2 * 8 * 128 + 4096)


# -- 6 causal mask --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("s", "c"), [(1, 1), (1, 100), (7, 7), (3, 10), (64, 64), (10, 10_000)])
def test_6_a_causal_mask_leaves_the_pairs_one_can_count(s, c):
    """Query q of s stands at position c - s + q and sees all keys up to itself."""
    visible = sum(1 for query in range(s) for key in range(c) if key <= c - s + query)
    attention = attention_of(LLAMA, s=s, c=c)
    assert attention.pairs(causal=True) == visible
    assert attention.flops(causal=True) == 4 * 32 * 128 * visible
    assert attention.pairs(causal=False) == s * c


def test_6_a_prompt_has_half_the_pairs_and_half_the_diagonal_more():
    s, layers, width = 8192, 32, 32 * 128
    found = estimate(LLAMA).flops.prefill
    dropped = s * s - s * (s + 1) // 2
    assert found.full - found.causal == layers * 4 * width * dropped


def test_6_the_limit_of_a_prefill_rests_on_the_causal_pairs_and_the_textbook_on_all():
    found = estimate(LLAMA, load_hardware("rtx4090"))
    assert found.prefill.limit.seconds == found.flops.prefill.causal / 165e12
    assert found.prefill.textbook.seconds == pytest.approx(found.flops.forward.full / (0.5 * 165e12), rel=1e-15)


def test_6_the_mask_takes_nothing_from_a_decode_step():
    """The one new token is the last: it sees every key."""
    for op in step_of(LLAMA):
        assert op.flops(causal=True) == op.flops(causal=False)


# -- 7, 8 architectures that are not ours to guess ------------------------------------------------------

DENSE = Path(find("models", "llama3-8b")).read_text(encoding="utf-8")
EXPERTS = {
    "num_local_experts": 8,  # Mixtral
    "num_experts_per_tok": 2,
    "n_routed_experts": 256,  # DeepSeek
    "n_shared_experts": 1,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
    "num_experts": 128,  # Qwen3, OLMoE
    "decoder_sparse_step": 1,
    "router_aux_loss_coef": 0.001,
}
LATENT = {
    "kv_lora_rank": 512,  # DeepSeek-V2, V3
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
}


def test_the_same_file_without_such_a_key_is_read():
    assert model_from(parse_yaml(DENSE, "dense.yaml")).name == "llama3-8b"


def refused(key, value):
    """What the loader says about a dense spec with this key under it."""
    with pytest.raises(SpecError) as problem:
        model_from(parse_yaml(f"{DENSE}{key}: {value}\n", "model.yaml"))
    return problem.value


@pytest.mark.parametrize("key", EXPERTS)
def test_7_a_key_of_mixtures_of_experts_is_refused_by_name_and_line_not_read_as_dense(key):
    """Mixtral 8x7B read as dense has 13 GiB of weights; it has 87."""
    problem = refused(key, EXPERTS[key])
    assert problem.field == key
    assert problem.line == DENSE.count("\n") + 1
    assert "not a field that is understood" in str(problem) or "no use for it in a layer of `mixer: attention`" in str(
        problem
    )
    assert problem.exit_code == 2


@pytest.mark.parametrize("key", LATENT)
def test_8_a_key_of_latent_attention_is_refused_by_name_and_line_not_read_as_grouped(key):
    """DeepSeek-V2-Lite's cache read as grouped heads is 7 times what it is."""
    problem = refused(key, LATENT[key])
    assert problem.field == key
    assert problem.line == DENSE.count("\n") + 1
    assert "no use for it in a layer of `mixer: attention`" in str(problem)


@pytest.mark.parametrize("key", ["layer_types", "num_nextn_predict_layers", "linear_num_value_heads"])
def test_7_8_other_keys_that_would_change_the_count_are_refused_too(key):
    assert refused(key, 4).field == key


# -- 9 attention scores sent to memory ------------------------------------------------------------------


def test_9_attention_moves_queries_outputs_keys_and_values_and_no_scores():
    """8192 tokens of Llama 3 8B: 32 heads of 128 in and out, 8 heads of keys and of values, 2 bytes each."""
    s = 8192
    attention = attention_of(LLAMA, s=s, c=s)
    assert attention.moved_bytes() == s * (2 * 32 * 128 + 2 * 8 * 128) * 2
    assert attention.moved_bytes() < s * s * 32 * 2 / 20  # the scores alone are 4.3 GB a layer, 25 times as much


@pytest.mark.parametrize("name", CLASSIC)
def test_9_twice_the_sequence_moves_twice_the_bytes_and_computes_four_times_as_much(name):
    short, long = (attention_of(load_model(name), s=s, c=s) for s in (512, 1024))
    assert long.moved_bytes() == 2 * short.moved_bytes()
    assert long.flops(causal=False) == 4 * short.flops(causal=False)


def test_9_activations_of_a_prompt_grow_with_its_length_and_hold_no_scores():
    """The largest kernel is act(gate)·up: 2·14336 in and 14336 out, beside a residual stream of 4096; 2 bytes each."""
    found = estimate(LLAMA, None, Options(context=8192)).memory.activation_bytes
    assert found == 8192 * (4096 + 3 * 14336) * 2


def test_9_a_whole_prefill_of_llama3_8b_moves_less_than_its_scores_alone_would():
    """633 GB is one calculator's, with scores written and read in every layer; those of 32 layers, once, are 137 GB."""
    s = 8192
    scores = 32 * 32 * s * s * 2
    attention = attention_of(LLAMA, s=s, c=s)
    assert attention.count * attention.moved_bytes() < scores / 20
