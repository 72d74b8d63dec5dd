"""Configs that are wrong, or made to take for ever: one message, soon, or the right answer."""

import json
import resource
import time

import pytest

from llmcost.ground.errors import SpecError
from llmcost.specs.importer.huggingface import document_of, read_config
from llmcost.specs.models import model_from

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 99}
GPT_NEO = {"model_type": "gpt_neo", "hidden_size": 64, "num_heads": 4, "num_layers": 24, "vocab_size": 99}
GPT_NEO |= {"max_position_embeddings": 64, "intermediate_size": None}
MOE = LLAMA | {"model_type": "qwen3_moe", "num_key_value_heads": 4, "head_dim": 16, "intermediate_size": 64}
MOE |= {"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1}


def read(config):
    """The model that a config describes."""
    return model_from(document_of(config, "config.json", "model", None, json.dumps(config, indent=1)))


def quantized(ignore, layers=2):
    """A Llama of 8-bit weights but for what is ignored."""
    weights = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
    scheme = {"quant_method": "compressed-tensors", "ignore": ignore}
    groups = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    return LLAMA | {"num_hidden_layers": layers, "quantization_config": scheme | groups}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LLAMA | {"tie_word_embeddings": "false"}, 'tie_word_embeddings: expected true or false, got "false"'),
        (LLAMA | {"tie_word_embeddings": "no"}, "tie_word_embeddings: expected true or false"),
        (
            LLAMA | {"model_type": "big_bird", "attention_type": "sparse"},
            'expected block_sparse or original_full, got "sp',
        ),
        (LLAMA | {"model_type": "big_bird", "attention_type": None}, "attention_type: expected block_sparse or"),
        (LLAMA | {"model_type": "big_bird", "block_size": 0}, "block_size: must be above 0, got 0"),
        (LLAMA | {"model_type": "longt5", "encoder_attention_type": 3}, "encoder_attention_type: expected local or tr"),
        (LLAMA | {"attention_bias": []}, "attention_bias: expected true or false"),
        (LLAMA | {"torch_dtype": "float12"}, "torch_dtype: 'float12' is not understood: float32, bfloat16, float16"),
        (LLAMA | {"dtype": 16}, "dtype: '16' is not understood"),
        (MOE | {"layer_types": ["full_attention", {"a": 1}]}, 'layer_types: expected words or numbers, got {"a": 1}'),
        (LLAMA | {"per_layer_config": {"١": {}}}, "per_layer_config: expected the numbers of layers as keys"),
        (GPT_NEO | {"attention_types": [["global", 24]]}, "attention_types: expected a list of [kinds, times]"),
        (
            quantized([]) | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": "false"}},
            "quantization_config.load_in_8bit: expected true or false",
        ),
    ],
)
def test_what_is_of_a_wrong_type_is_refused_by_its_key(config, words):
    with pytest.raises(SpecError) as refused:
        read(config)
    assert words in str(refused.value)


# Of each type's default, one key changed: the reference refuses it, or counts it in a way of its own.
ODD = [
    ("led", "decoder_attention_heads", 13, "decoder_attention_heads: 13 heads of 78 do not fill it"),
    ("led", "attention_window", 0, "attention_window: expected an even number above 0, got 0"),
    ("led", "attention_window", 511, "attention_window: expected an even number above 0, got 511"),
    ("led", "encoder_layerdrop", 0.5, None),
    ("big_bird", "num_random_blocks", -1, "num_random_blocks: expected a whole number from 0 on, got -1"),
    ("switch_transformers", "num_sparse_decoder_layers", -1, "num_sparse_decoder_layers: expected a whole number"),
    ("longt5", "local_radius", 0, "local_radius: must be above 0, got 0"),
    ("longt5", "feed_forward_proj", "foo", "feed_forward_proj: expected relu or gelu or gelu_new or silu"),
    ("deberta-v2", "pos_att_type", "foo", 'pos_att_type: expected null or c2p or p2c, got "foo"'),
    ("fsmt", "src_vocab_size", 0, "src_vocab_size: must be above 0, got 0"),
    ("t5gemma", "decoder", [], "decoder: expected an object of keys and values, got []"),
    ("mt5", "is_gated_act", None, "is_gated_act: expected true or false, got null"),
    ("bert", "add_cross_attention", True, "add_cross_attention: expected false, since is_decoder is not true"),
    ("bert", "hidden_size", "768", 'hidden_size: expected a whole number, got "768"'),
    ("gpt2", "n_layer", 12.0, "n_layer: expected a whole number, got 12.0"),
    ("llama", "hidden_size", 4097, "hidden_size: 32 heads do not divide 4097, which llama needs"),
    ("gemma", "tie_word_embeddings", None, "tie_word_embeddings: expected true or false, got null"),
    ("qwen3", "head_dim", 127, "head_dim: rotary positions need heads of an even width, got 127"),
    ("bamba", "mamba_d_head", 32, "mamba_d_head: mamba_n_heads*mamba_d_head is 4096, expected 8192"),
    ("zamba", "n_mamba_heads", 3, "n_mamba_heads: expected a divisor of 7424, got 3"),
    ("jamba", "attn_layer_offset", 8, "attn_layer_offset: expected a number below attn_layer_period, 8, got 8"),
    ("laguna", "num_attention_heads_per_layer", [4], "num_attention_heads_per_layer: a list of 1 entries"),
    ("deepseek_v3", "v_head_dim", None, "v_head_dim: expected a value, got null"),
    ("deepseek_v4", "compress_rates", {}, "compress_rates.compressed_sparse_attention: must be above 0, got null"),
    ("mistral", "num_attention_heads", 0, "num_attention_heads: "),
    ("qwen3", "layer_types", ["full_attention"], "layer_types: 1 entries for 32 layers, which qwen3 has by default"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "key", "value", "words"), ODD)
def test_an_odd_value_is_refused_by_its_own_key_or_changes_nothing(kind, key, value, words):
    config = {"model_type": kind, key: value}
    if words is None:
        assert read(config) == read({"model_type": kind})
        return
    with pytest.raises(SpecError) as refused:
        read(config)
    assert words in str(refused.value)


def test_a_flag_may_be_true_false_or_left_open():
    assert [read(LLAMA | {"tie_word_embeddings": said}).tie_word_embeddings for said in (True, False, None)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("digits", [41, 5000])
def test_a_number_without_end_is_one_message(tmp_path, digits):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA).replace("64", "9" * digits) if digits < 4300 else '{"a": ' + "9" * digits + "}")
    with pytest.raises(SpecError, match=rf"a number of {digits:,} digits$"):
        read_config(file)


def test_a_pattern_of_layers_is_not_spelled_out():
    """24 layers of a pattern that describes 200 million."""
    usual = read(GPT_NEO | {"attention_types": [[["global", "local"], 12]]})
    assert read(GPT_NEO | {"attention_types": [[["global", "local"], 10**8]]}) == usual
    with pytest.raises(SpecError, match="describes 22 layers, there are more"):
        read(GPT_NEO | {"attention_types": [[["global", "local"], 11], [["local"], 0]]})


LONG = {
    "optional again and again": quantized(["re:" + "[a-z._0-9]?" * 60 + "!"]),
    "anything again and again": quantized(["re:" + ".*" * 5 + "!"]),
    "a group of repetitions": quantized(["re:(a*)*b"]),
    "two ways again and again": quantized(["re:" + "(a|a)" * 40]),
    "5,000 wildcards for 1,000 layers": quantized([f"*a{number}*" for number in range(5000)], 1000),
    "300 slow wildcards": quantized([f"*a*{number}*x*y*z*" for number in range(300)], 1000),
    "a million layers that have no experts": MOE | {"num_hidden_layers": 1000, "mlp_only_layers": [*range(10**6)]},
    "100,000 names": quantized([f"model.layers.0.self_attn.q_proj{number}" for number in range(100_000)]),
}


@pytest.mark.parametrize("name", LONG)
def test_what_would_take_for_ever_is_refused_within_bounds(name):
    """The bounds are counted, not measured: seconds of this process's own work are far below those asked for."""
    before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SpecError):
        read(LONG[name])
    assert time.process_time() - before < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 500_000  # kB


@pytest.mark.parametrize("wrong", [10**30, [1], {"a": 1}, "x"])
@pytest.mark.parametrize("key", ["strategy", "num_bits", "type", "group_size"])
def test_a_scheme_that_is_written_wrongly_is_not_understood(key, wrong):
    config = quantized([])
    config["quantization_config"]["config_groups"]["group_0"]["weights"][key] = wrong
    if key != "group_size":  # which a scheme of channels does not look at
        with pytest.raises(SpecError, match="this kind of quantisation"):
            read(config)


@pytest.mark.parametrize("size", ["x", {"a": 1}, [1]])
def test_a_size_that_is_none_is_refused_before_kernels_are_named(size):
    with pytest.raises(SpecError, match="intermediate_size"):
        read(quantized([]) | {"intermediate_size": size})


@pytest.mark.parametrize(
    "ignore",
    [
        [rf"re:.*layers\.{position}\.self_attn\..*" for position in range(60)],
        [f"model.layers.{position}.self_attn.{name}_proj" for position in range(60) for name in "qkvo"],
        [r"re:.*layers.*self_attn.*(q_proj|k_proj|v_proj|o_proj)$"],
        ["*.self_attn.*"],
    ],
)
def test_the_usual_ways_to_leave_all_attention_as_it_is_are_read(ignore):
    (layer,) = read(quantized(ignore, 60)).layers
    assert layer.unquantized == ("attention",)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        (LLAMA | {"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 8.0}}, 32_768),
        (LLAMA | {"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "linear", "factor": 2.5}}, 5120),
        (LLAMA | {"max_position_embeddings": 4096, "rope_scaling": {"type": "linear"}}, 4096),
        (LLAMA | {"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
    ],
)
def test_linear_interpolation_multiplies_positions(config, positions):
    """As in longchat and vicuna-16k: the config has the positions before interpolation."""
    assert read(config).max_position_embeddings == positions


# -- keys that are not understood ----------------------------------------------------------------------


def left_out(config, *keys):
    """The model that a config describes, these of its keys left out where they are not understood."""
    return model_from(document_of(config, "config.json", "model", None, json.dumps(config, indent=1), keys))


def test_a_key_that_is_not_understood_is_refused_by_name_with_the_option_that_leaves_it_out():
    with pytest.raises(SpecError, match=r"config.json:7: strange: not understood for llama.*--allow-unknown strange"):
        read(LLAMA | {"strange": 3})
    assert left_out(LLAMA | {"strange": 3}, "strange") == read(LLAMA)._replace(unknown_keys=("strange",))


def test_a_key_of_a_quantisation_may_be_left_out_too():
    config = quantized([])
    config["quantization_config"]["strange"] = 1
    assert left_out(config, "quantization_config.strange").unknown_keys == ("quantization_config.strange",)


@pytest.mark.parametrize(
    ("contradiction", "key"),
    [
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"kv_lora_rank": 16}, "kv_lora_rank"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
    ],
)
def test_leaving_out_what_is_not_understood_silences_no_contradiction(contradiction, key):
    with pytest.raises(SpecError, match=key):
        left_out(LLAMA | contradiction, key)


QWEN4 = {"model_type": "qwen4_exp_text", "indexer_n_heads": 4, "indexer_head_dim": 128, "indexer_budget": 2048}
QWEN4 |= {"indexer_compress_ratio": 64, "indexer_kv_heads": 1}


def test_the_heads_of_an_indexer_that_its_class_cannot_have_are_a_contradiction():
    assert read(QWEN4).layers
    with pytest.raises(SpecError, match="indexer_kv_heads is 2, expected 1"):
        left_out(QWEN4 | {"indexer_kv_heads": 2}, "indexer_kv_heads")


@pytest.mark.parametrize(
    "keys",
    [
        {"mup_base": 256, "mup_attn_multiplier": 2.0, "route_scale": 2.5, "route_type": "top"},
        {"unsloth_fixed": True, "unsloth_version": "2026.1.1", "_commit_hash": "a", "transformers.js_config": {"a": 1}},
        {"use_flash_attention_2": True, "use_sdpa": False, "pad_token": "<pad>", "learning_rate": 1e-5, "bf16": True},
        {"max_window_layers": 28, "use_sliding_window": False},
        {"max_window_layers": 28},
        {"_num_mtp_layers": 1, "mtp_share_layers": True},
        {"qk_norm": False},
        {
            "rmsnorm_eps": 1e-6,
            "ffn_dropout": 0.1,
            "trl_version": "1.0",
            "router_z_loss_coef": 0.01,
            "ignore_index": -100,
        },
    ],
)
def test_keys_that_change_no_count_are_read_over(keys):
    assert read(LLAMA | keys)._replace(notes=()) == read(LLAMA)._replace(notes=())


def test_norms_of_queries_and_keys_may_be_said_where_the_type_has_them():
    assert read(MOE | {"qk_norm": True}) == read(MOE | {"use_qk_norm": True}) == read(MOE)
    for key in ("qk_norm", "use_qk_norm"):
        with pytest.raises(SpecError, match=key):
            read(LLAMA | {key: True})


def test_a_window_that_a_type_does_not_know_is_not_read_over():
    with pytest.raises(SpecError, match="window"):
        read(LLAMA | {"max_window_layers": 28, "use_sliding_window": True, "sliding_window": 32})


def test_a_maximum_of_no_positions_is_not_said_to_be_missing():
    with pytest.raises(SpecError, match="max_position_embeddings: must be above 0, got 0"):
        read(LLAMA | {"max_position_embeddings": 0})


def test_a_key_that_is_understood_is_read_all_the_same():
    found = left_out(LLAMA | {"attention_bias": True}, "attention_bias")
    assert found._replace(notes=()) == read(LLAMA | {"attention_bias": True})
    assert found.notes == ("--allow-unknown attention_bias: it is understood, and read as without that",)


def test_a_key_that_is_like_another_is_said_to_be_before_the_option_that_leaves_it_out():
    config = {key: value for key, value in LLAMA.items() if key != "num_hidden_layers"} | {"num_hiden_layers": 3}
    with pytest.raises(SpecError, match=r"did you mean num_hidden_layers\? --allow-unknown num_hiden_layers leaves it"):
        read(config)


@pytest.mark.parametrize(
    "named",
    [
        {"architectures": ["LlamaForCausalLM"]},
        {
            "architectures": ["BrandNewForCausalLM"],
            "auto_map": {"AutoModelForCausalLM": "a/b--modeling_x.LlamaForCausalLM"},
        },
    ],
)
def test_a_type_that_is_not_known_is_read_by_the_name_of_its_class_and_that_is_said(named):
    config = LLAMA | {"model_type": "brand_new"} | named
    note = "model_type 'brand_new' is not known: read as llama, by the name of its class."
    assert read(config) == read(LLAMA)._replace(notes=(note, *read(LLAMA).notes))
    with pytest.raises(SpecError, match="the architecture 'brand_new' is not understood"):
        read(
            LLAMA
            | {"model_type": "brand_new", "architectures": ["BrandNewForCausalLM"], "auto_map": {"AutoModel": "x.Y"}}
        )


@pytest.mark.parametrize(("key", "usual", "other"), [("num_key_value_heads", 4, 2), ("head_dim", 16, 32)])
@pytest.mark.parametrize("kind", ["gpt_neox", "bert"])
def test_sizes_of_heads_that_the_reference_does_not_look_at_may_only_be_the_usual_ones(kind, key, usual, other):
    config = {"model_type": kind, "hidden_size": 64, "num_attention_heads": 4}
    assert read(config | {key: usual}) == read(config)
    with pytest.raises(SpecError, match=f"{key}: not understood for {kind}"):
        read(config | {key: other})


@pytest.mark.parametrize("empty", [None, {}])
def test_where_no_layer_has_keys_of_its_own_all_heads_are_alike(empty):
    """Left out, Gemma 4's full attention has heads of 512 by its type's rule; empty, it has those of the others."""
    left_out, said = (
        model_from(document_of({"model_type": "gemma4_unified_text", **keys}, "config.json", "gemma"))
        for keys in ({}, {"per_layer_config": empty})
    )
    assert {layer.mixer.head_dim for layer in left_out.layers} == {256, 512}
    assert {layer.mixer.head_dim for layer in said.layers} == {256}


def test_shared_blocks_whose_heads_do_not_fill_their_input_are_refused():
    """Zamba2's adapters are as wide as the stream and the embedding, and are added to all heads together."""
    config = {"model_type": "zamba2", "layer_types": ["hybrid"] * 54, "num_attention_heads": 36}
    with pytest.raises(SpecError, match="36 heads of 142 do not fill it"):
        document_of(config, "config.json", "zamba")
