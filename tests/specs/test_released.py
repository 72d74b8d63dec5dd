"""Released configs, in their own words: the parameters are those of the checkpoint's listing.

Each has the keys and sizes of the config.json of that name on Hugging Face, without those that every config has. Text
models alone.
"""

import json

import pytest

from llmcost.ground.errors import SpecError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of, read_config
from llmcost.specs.models import model_from

USUAL = {
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}
GLM = {
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "apply_query_key_layer_scaling": True,
    "apply_residual_connection_post_layernorm": False,
    "attention_softmax_in_fp32": True,
    "bias_dropout_fusion": True,
    "ffn_hidden_size": 13696,
    "fp32_residual_connection": False,
    "hidden_size": 4096,
    "kv_channels": 128,
    "layernorm_epsilon": 1e-5,
    "model_type": "chatglm",
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 32,
    "original_rope": True,
    "post_layer_norm": True,
    "rmsnorm": True,
}
LLAMA_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32}
K3_LAYERS = range(1, 94)
K3_FULL = [*range(4, 93, 4), 93]
MIMO = [0 if at == 0 or at % 6 == 5 else 1 for at in range(48)]
MINICPM = {
    "model_type": "minicpm", "hidden_size": 2304, "intermediate_size": 5760, "num_hidden_layers": 40, "scale_emb": 12,
    "num_attention_heads": 36, "num_key_value_heads": 36, "vocab_size": 122753, "max_position_embeddings": 4096,
    "dim_model_base": 256, "scale_depth": 1.4,
}  # fmt: skip
GLM_SPARSE = range(3, 45, 4)
QWEN_FULL = range(3, 48, 4)
RELEASED = {
    # By transformers 5.24's class built with these keys: 177,392,830,576 with its tower.
    "Qwen/Qwen3.8-Flash-Next": (176_943_899_520, {
        "architectures": ["Qwen4ExpForConditionalGeneration"], "model_type": "qwen4_exp", "text_config": {
            "model_type": "qwen4_exp_text", "attention_bias": False, "full_attention_interval": 4, "hc_count": 4,
            "hc_lowrank": 320, "head_dim": 256, "heads_per_ngram": 8, "hidden_size": 2560, "indexer_budget": 2048,
            "indexer_compress_ratio": 4, "indexer_head_dim": 128, "indexer_kv_heads": 1, "indexer_n_heads": 4,
            "layer_types": ["full_attention" if at in QWEN_FULL else "linear_attention" for at in range(48)],
            "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
            "linear_num_value_heads": 48, "linear_value_head_dim": 128, "make_ngram_vocab_size_divisible_by": 128,
            "max_position_embeddings": 262144, "moe_intermediate_size": 640, "ngram_size": 3,
            "ngram_vocab_size_base": 20000000, "num_attention_heads": 24, "num_experts": 512, "num_experts_per_tok": 10,
            "num_hidden_layers": 48, "num_key_value_heads": 2, "output_gate_type": "sigmoid",
            "partial_rotary_factor": 0.25, "ple_conv_kernel_size": 4, "ple_embed_dim": 2560, "ple_layer_ids": [2],
            "shared_expert_intermediate_size": 640, "split_ngram_parts": 128, "tie_word_embeddings": False,
            "vocab_size": 248320,
        },
    }),
    # By transformers 5.24's class built with these keys.
    "zai-org/GLM-5.3-Flash": (313_326_799_870, {
        "architectures": ["Glm5NextForConditionalGeneration"], "model_type": "glm5_next", "text_config": {
            "model_type": "glm5_next_text", "first_k_dense_replace": 3, "hc_mult": 4, "head_dim": 0,
            "hidden_size": 4096,
            "index_head_dim": 128, "index_kpool": 4, "index_kpool_always_select_tail": True,
            "index_kpool_compress": True, "index_n_heads": 32, "index_topk": 2048, "indexer_types": ["full"] * 45,
            "intermediate_size": 12288, "kv_lora_rank": 512,
            "layer_types": [
                "deepseek_sparse_attention" if at in GLM_SPARSE else "linear_attention" for at in range(45)
            ],
            "linear_attn_config": {
                "full_attn_layers": [*GLM_SPARSE], "gate_lower_bound": -5.0, "head_dim": 128, "num_heads": 64,
                "short_conv_kernel_size": 4,
            },
            "max_position_embeddings": 1048576, "mhc": True, "mla_use_nope": True,
            "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 42, "moe_intermediate_size": 2048, "n_group": 1,
            "n_routed_experts": 288, "n_shared_experts": 1, "num_attention_heads": 64, "num_experts_per_tok": 8,
            "num_hidden_layers": 45, "num_key_value_heads": 64, "num_nextn_predict_layers": 1, "q_lora_rank": 1536,
            "qk_head_dim": 256, "qk_nope_head_dim": 256, "qk_rope_head_dim": 0, "swiglu_limit": 10.0, "topk_group": 1,
            "v_head_dim": 256, "vocab_size": 154880,
        },
    }),
    "moonshotai/Kimi-K3": (2_779_484_395_776, {
        "architectures": ["KimiK3ForConditionalGeneration"], "model_type": "kimi_k3", "tie_word_embeddings": False,
        "vision_config": {"vt_num_hidden_layers": 27}, "text_config": {
            "model_type": "kimi_linear", "activation_situ_beta": 4.0, "activation_situ_linear_beta": 25.0,
            "attn_res_block_size": 12, "first_k_dense_replace": 1, "hidden_size": 7168, "intermediate_size": 33792,
            "kv_lora_rank": 512, "latent_moe_use_norm": True, "max_position_embeddings": 1048576,
            "mla_use_nope": True, "mla_use_output_gate": True, "moe_intermediate_size": 3072, "moe_layer_freq": 1,
            "moe_renormalize": True, "num_attention_heads": 96, "num_experts": 896, "num_experts_per_token": 16,
            "num_hidden_layers": 93, "num_key_value_heads": 96, "num_shared_experts": 2, "q_lora_rank": 1536,
            "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "routed_expert_hidden_size": 3584, "v_head_dim": 128,
            "tie_word_embeddings": False, "vocab_size": 163840, "linear_attn_config": {
                "full_attn_layers": K3_FULL, "kda_layers": [at for at in K3_LAYERS if at not in K3_FULL],
                "gate_lower_bound": -5.0, "head_dim": 128, "num_heads": 96, "short_conv_kernel_size": 4,
                "use_full_rank_gate": True,
            },
        },
    }),
    "XiaomiMiMo/MiMo-V2.5": (308_778_768_832, {
        "model_type": "mimo_v2", "add_full_attention_sink_bias": False, "add_swa_attention_sink_bias": True,
        "attention_bias": False, "attention_projection_layout": "fused_qkv", "attention_value_scale": 0.707,
        "hidden_size": 4096, "head_dim": 192, "v_head_dim": 128, "hybrid_block_size": None, "swa_rope_theta": 10000,
        "hybrid_layer_pattern": MIMO, "intermediate_size": 16384, "layernorm_epsilon": 1e-5,
        "max_position_embeddings": 1048576, "moe_intermediate_size": 2048, "moe_layer_freq": [0] + [1] * 47,
        "n_routed_experts": 256, "n_shared_experts": None, "num_attention_heads": 64, "num_experts_per_tok": 8,
        "num_hidden_layers": 48, "num_key_value_heads": 4, "num_nextn_predict_layers": 3, "sliding_window_size": 128,
        "swa_head_dim": 192, "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8, "swa_v_head_dim": 128,
        "tie_word_embeddings": False, "vocab_size": 152576, "vision_config": {"hidden_size": 1280},
    }),
    # Of its 70 layers 10 see all keys.
    "XiaomiMiMo/MiMo-V2.5-Pro": (1_021_248_099_840, {
        "model_type": "mimo_v2", "add_full_attention_sink_bias": False, "add_swa_attention_sink_bias": True,
        "attention_bias": False, "attention_projection_layout": "fused_qkv", "hidden_size": 6144, "head_dim": 192,
        "v_head_dim": 128, "hybrid_layer_pattern": [int(at % 7 > 0) for at in range(70)], "intermediate_size": 16384,
        "max_position_embeddings": 1048576, "moe_intermediate_size": 2048, "moe_layer_freq": [0] + [1] * 69,
        "n_routed_experts": 384, "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 70,
        "num_key_value_heads": 8, "sliding_window_size": 128, "swa_num_key_value_heads": 8, "vocab_size": 152576,
        "tie_word_embeddings": False,
    }),
    # The layers of DeepSeek-V4-Flash: 0731 has other stages that draft, under keys of its own, with a ratio for each.
    "deepseek-ai/DeepSeek-V4-Flash-0731": (284_332_230_231, {
        "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "attention_bias": False,
        "compress_ratios": [0, 0, *[4, 128] * 20, 4, 0, 0, 0], "compress_rope_theta": 160000, "dspark_block_size": 5,
        "dspark_markov_rank": 256, "dspark_noise_token_id": 128799, "dspark_target_layer_ids": [40, 41, 42],
        "hc_mult": 4, "head_dim": 512, "hidden_size": 4096, "index_head_dim": 128,
        "index_n_heads": 64, "index_topk": 512, "max_position_embeddings": 1048576, "moe_intermediate_size": 2048,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_attention_heads": 64, "num_experts_per_tok": 6,
        "num_hash_layers": 3, "num_hidden_layers": 43, "num_key_value_heads": 1, "num_nextn_predict_layers": 1,
        "o_groups": 8, "o_lora_rank": 1024, "q_lora_rank": 1024, "qk_rope_head_dim": 64, "rope_scaling": {
            "beta_fast": 32, "beta_slow": 1, "factor": 16, "original_max_position_embeddings": 65536, "type": "yarn",
        },
        "scoring_func": "sqrtsoftplus", "sliding_window": 128, "swiglu_limit": 10.0, "tie_word_embeddings": False,
        "topk_method": "noaux_tc", "vocab_size": 129280,
    }),
    "THUDM/chatglm2-6b": (6_243_584_000, GLM | {"num_layers": 28, "padded_vocab_size": 65024, "seq_length": 32768}),
    "THUDM/glm-4-9b-chat": (9_399_951_360, GLM | {
        "num_layers": 40, "num_hidden_layers": 40, "padded_vocab_size": 151552, "seq_length": 131072, "rope_ratio": 500,
    }),
    "Qwen/Qwen-7B": (7_721_324_544, {
        "model_type": "qwen", "attn_dropout_prob": 0.0, "bf16": False, "hidden_size": 4096, "intermediate_size": 22016,
        "kv_channels": 128, "no_bias": True, "num_attention_heads": 32, "num_hidden_layers": 32, "seq_length": 8192,
        "tie_word_embeddings": False, "use_dynamic_ntk": True, "use_flash_attn": "auto", "use_logn_attn": True,
        "vocab_size": 151936,
    }),
    # By its own code, before its sizes went by other names.
    "codefuse-ai/CodeFuse-DevOps-Model-7B-Chat": (7_721_324_544, {
        "model_type": "qwen", "activation": "swiglu", "ffn_hidden_size": 22016, "kv_channels": 128, "n_embd": 4096,
        "n_head": 32, "n_inner": None, "n_layer": 32, "n_positions": 6144, "no_bias": True, "pos_emb": "rotary",
        "padded_vocab_size": 151936, "params_dtype": "torch.bfloat16", "seq_length": 2048, "tie_word_embeddings": False,
        "use_dynamic_ntk": True, "use_flash_attn": True, "use_logn_attn": True, "vocab_size": 151936,
    }),
    # Qwen-7B with a picture's part beside it.
    "Qwen/Qwen-VL-Chat": (7_721_324_544, {
        "model_type": "qwen", "emb_dropout_prob": 0.0, "hidden_size": 4096, "intermediate_size": 22016,
        "kv_channels": 128, "no_bias": True, "num_attention_heads": 32, "num_hidden_layers": 32, "seq_length": 1024,
        "tie_word_embeddings": False, "use_flash_attn": False, "visual": {"heads": 16, "layers": 48, "width": 1664},
        "vocab_size": 151936,
    }),
    # Qwen2 7B with 128 tokens more that are read alone; by a sum over modeling_molmo.py.
    "allenai/Molmo-7B-D-0924": (7_615_616_512 + 128 * 3584, {
        "model_type": "molmo", "attention_layer_norm": False, "clip_qkv": None, "embedding_size": 152064,
        "hidden_size": 3584, "intermediate_size": 37888, "layer_norm_type": "rms", "max_position_embeddings": 4096,
        "norm_after": False, "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
        "qkv_bias": True, "tie_word_embeddings": False, "use_position_ids": True, "vocab_size": 152064,
        "weight_tying": False,
    }),
    # Phi-4-mini with adapters beside it.
    "microsoft/Phi-4-multimodal-instruct": (3_836_021_760, {
        "model_type": "phi4mm", "architectures": ["Phi4MMForCausalLM"], "audio_processor": {"name": "cascades"},
        "embd_layer": {"embedding_cls": "image_audio"}, "full_attn_mod": 1, "hidden_size": 3072,
        "intermediate_size": 8192, "interpolate_factor": 1, "max_position_embeddings": 131072,
        "num_attention_heads": 24, "num_hidden_layers": 32, "num_key_value_heads": 8, "partial_rotary_factor": 0.75,
        "speech_lora": {"r": 320}, "tie_word_embeddings": True, "vision_lora": {"r": 256}, "vocab_size": 200064,
    }),
    "internlm/internlm-7b": (7_321_948_160, LLAMA_7B | {
        "model_type": "internlm", "bias": True, "max_position_embeddings": 2048, "vocab_size": 103168,
        "rotary": {"base": 10000, "type": "dynamic"}, "tie_word_embeddings": False,
    }),
    "baichuan-inc/Baichuan-7B": (7_000_559_616, LLAMA_7B | {
        "model_type": "baichuan", "max_position_embeddings": 4096, "vocab_size": 64000, "tie_word_embeddings": False,
    }),
    "baichuan-inc/Baichuan2-13B-Base": (13_896_668_160, {
        "model_type": "baichuan", "hidden_size": 5120, "intermediate_size": 13696, "model_max_length": 4096,
        "num_attention_heads": 40, "num_hidden_layers": 40, "tie_word_embeddings": False, "vocab_size": 125696,
        "z_loss_weight": 0,
    }),
    "openbmb/MiniCPM-2B-sft-bf16": (2_724_880_896, MINICPM),
    "deepseek-ai/deepseek-moe-16b-base": (16_375_728_128, {
        "model_type": "deepseek", "first_k_dense_replace": 1, "hidden_size": 2048, "intermediate_size": 10944,
        "max_position_embeddings": 4096, "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_routed_experts": 64,
        "n_shared_experts": 2, "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 28,
        "num_key_value_heads": 16, "scoring_func": "softmax", "tie_word_embeddings": False, "vocab_size": 102400,
    }),
    "inclusionAI/Ling-lite-1.5": (16_801_974_272, {
        "model_type": "bailing_moe", "first_k_dense_replace": 0, "hidden_size": 2048, "intermediate_size": 1408,
        "max_position_embeddings": 32768, "moe_intermediate_size": 1408, "num_experts": 64, "num_shared_experts": 2,
        "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 28, "num_key_value_heads": 4,
        "norm_head": False, "norm_softmax": False, "output_dropout": 0.0, "use_bias": False, "use_qkv_bias": False,
        "tie_word_embeddings": False, "vocab_size": 126464,
    }),
    "mistralai/Mamba-Codestral-7B-v0.1": (7_285_403_648, {
        "model_type": "mamba2", "chunk_size": 256, "conv_kernel": 4, "expand": 2, "head_dim": 64, "hidden_size": 4096,
        "intermediate_size": 8192, "n_groups": 8, "norm_before_gate": True, "num_heads": 128, "num_hidden_layers": 64,
        "rms_norm": True, "state_size": 128, "tie_word_embeddings": False, "time_step_limit": [0.0, "Infinity"],
        "time_step_rank": 256, "use_bias": False, "use_conv_bias": True, "vocab_size": 32768,
    }),
}  # fmt: skip


def read(config):
    return model_from(document_of(config, "config.json", "model", None, json.dumps(config, indent=1)))


def total(config):
    return estimate(read(config), None, Options(context=1)).model.params.total


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_config_has_the_parameters_of_its_checkpoint(name):
    parameters, config = RELEASED[name]
    assert total(USUAL | config) == parameters


# Of RWKV-7 World (arXiv 2503.14456, table of sizes): layers, hidden size, ranks of decay, rate, value and gate.
RWKV = {
    191_034_624: (12, 768, 64, 64, 32, 128),
    450_767_872: (24, 1024, 64, 64, 32, 128),
    1_527_404_544: (24, 2048, 96, 96, 64, 256),
    2_947_735_040: (32, 2560, 96, 96, 64, 320),
}


@pytest.mark.parametrize("parameters", RWKV)
def test_rwkv_7_has_the_parameters_of_its_papers_table(parameters):
    depth, hidden, *ranks = RWKV[parameters]
    names = ("decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim", "gate_low_rank_dim")
    config = {"model_type": "rwkv7", "hidden_size": hidden, "intermediate_size": 4 * hidden, "vocab_size": 65536}
    config |= {"num_hidden_layers": depth, "head_dim": 64, "attn": None, "norm_first": True, "norm_bias": True}
    assert total(config | dict(zip(names, ranks, strict=True))) == parameters


def test_a_state_of_rwkv_7_is_a_matrix_a_head():
    """768 / 64 heads with 64 · 64 numbers of four bytes, in each of 12 layers."""
    config = {"model_type": "rwkv7", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    config |= {"head_dim": 64, "decay_low_rank_dim": 64, "a_low_rank_dim": 64, "v_low_rank_dim": 32, "vocab_size": 99}
    model = read(config | {"gate_low_rank_dim": 128})
    states = 12 * 12 * 64 * 64 * 4
    shifted = 12 * 2 * 768 * 2  # the token before, of both mixes
    assert estimate(model, None, Options(context=1000)).kv_cache.bytes == states + shifted


def test_minicpm_moe_has_eight_mlps_and_a_router_in_the_place_of_each():
    """Of 40 layers: seven more MLPs of 3·2304·5760, a router of 2304·8."""
    dense, _ = RELEASED["openbmb/MiniCPM-2B-sft-bf16"]
    experts = MINICPM | {"num_experts": 8, "num_experts_per_tok": 2}
    assert total(experts) == dense + 40 * (7 * 3 * 2304 * 5760 + 2304 * 8)


# -- the type, where `model_type` is missing or another ---------------------------------------------------

LLAMA = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA |= {"vocab_size": 160, "max_position_embeddings": 64, "num_key_value_heads": 4}


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("LlamaForCausalLM", "llama"),
        ("Qwen2ForCausalLM", "qwen2"),
        ("MistralForCausalLM", "mistral"),
        ("InternLMForCausalLM", "internlm"),
        ("Step3p5ForCausalLM", "step3p5"),
        ("GPT2LMHeadModel", "gpt2"),
        ("NemotronForCausalLM", "nemotron"),
        ("HunYuanForCausalLM", "hunyuan"),
        ("XverseForCausalLM", "llama"),
    ],
)
@pytest.mark.parametrize("said", [{}, {"model_type": "of_my_own"}])
def test_the_class_names_the_type_where_the_config_does_not(named, kind, said):
    found, plain = (read(LLAMA | each) for each in (said | {"architectures": [named]}, {"model_type": kind}))
    assert found._replace(notes=()) == plain._replace(notes=())


def test_a_type_that_is_understood_is_not_overruled_by_a_class():
    config = LLAMA | {"model_type": "llama", "architectures": ["GPT2LMHeadModel"]}
    assert read(config) == read(LLAMA | {"model_type": "llama"})


@pytest.mark.parametrize(
    "named", [None, [], [3], "LlamaForCausalLM", ["NoSuchForCausalLM"], ["LlamaForCausalLMMedusa"]]
)
def test_a_class_that_says_nothing_leaves_the_type_missing(named):
    with pytest.raises(SpecError, match="model_type: this key is missing"):
        read(LLAMA | {"architectures": named})


# -- wrappers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"model_type": "llava", "text_config": inner},
        lambda inner: {"model_type": "internvl_chat", "llm_config": inner},
        lambda inner: {"model_type": "deepseek_vl_v2", "language_config": inner},
        lambda inner: {"model_type": "llava_llama", "hidden_size": 64, "llm_cfg": inner, "vision_tower_cfg": {"a": 1}},
        lambda inner: inner | {"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"], "mm_hidden_size": 8},
        lambda inner: {"model_type": "of_my_own", "my_decoder": inner, "vision_config": {"hidden_size": 8}},
        lambda inner: {"model_type": "b", "text_encoder": LLAMA | {"model_type": "t5"}, "decoder": inner},
        lambda inner: {"model_type": "a", "thinker_config": {"model_type": "b", "text_config": inner}},
    ],
)
def test_a_text_model_is_found_under_any_name(wrap):
    inner = LLAMA | {"model_type": "llama", "tie_word_embeddings": False}
    assert read(wrap(inner)).layers == read(inner).layers


@pytest.mark.parametrize(
    ("kind", "outside", "inside", "tied"),
    [
        ("llava", None, True, True),  # either
        ("llava", False, True, True),
        ("gemma3", None, False, True),  # the wrapper, whose default is true
        ("gemma3", False, True, False),
        ("qwen3_vl", None, True, False),  # the wrapper, whose default is false
        ("qwen3_vl", True, False, True),
        ("mllama", True, True, False),  # nothing
        ("llama4", True, False, False),  # the class of the text model inside
        ("llama4", False, True, True),
        ("paddleocr_vl", False, None, True),  # two that say no
        ("paddleocr_vl", False, False, False),
        ("step3p7", None, True, False),
        ("internvl_chat", False, True, True),  # code of its own: the text model
        ("internvl_chat", True, None, True),
    ],
)
def test_embeddings_are_tied_as_the_reference_ties_them(kind, outside, inside, tied):
    inner, whole = LLAMA | {"model_type": "llama"}, {"model_type": kind}
    for part, said in ((inner, inside), (whole, outside)):
        part.update({} if said is None else {"tie_word_embeddings": said})
    assert read(whole | {"text_config": inner}).tie_word_embeddings is tied


@pytest.mark.parametrize(
    ("named", "tied"), [("Qwen3_5ForCausalLM", False), ("Qwen3_5ForConditionalGeneration", True), (None, False)]
)
def test_where_the_class_of_the_text_model_alone_is_built_the_text_model_decides(named, tied):
    inner = {"model_type": "qwen3_5_text", "num_hidden_layers": 4, "tie_word_embeddings": False}
    config = {"model_type": "qwen3_5", "tie_word_embeddings": True, "text_config": inner}
    assert read(config | {"architectures": named and [named]}).tie_word_embeddings is tied


@pytest.mark.parametrize(("tensors", "tied"), [(["lm_head.weight"], False), (["embed_tokens.weight"], True)])
def test_a_head_in_the_checkpoints_list_is_not_the_embedding(tmp_path, tensors, tied):
    """Mistral 3's config class ties where nothing is said, and its checkpoints have a head."""
    config = {"model_type": "mistral3", "text_config": LLAMA | {"model_type": "mistral"}}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    listed = {"weight_map": {f"language_model.{name}": "model.safetensors" for name in tensors}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed), "utf-8")
    assert model_from(read_config(tmp_path)).tie_word_embeddings is tied


def test_a_text_model_without_a_type_has_the_one_of_its_wrapper():
    assert read({"model_type": "llava", "text_config": LLAMA}) == read(
        {"model_type": "llava", "text_config": LLAMA | {"model_type": "llama"}}
    )


def test_a_draft_that_needs_another_model_is_refused_by_name():
    with pytest.raises(SpecError, match="the architecture 'muse_glimmer_assistant' is not understood"):
        read({"model_type": "muse_glimmer_assistant", "text_config": LLAMA | {"model_type": "llama"}})
    with pytest.raises(SpecError, match="text_config: not understood for gemma4_assistant"):
        read({"model_type": "gemma4_assistant", "text_config": LLAMA | {"model_type": "llama"}})


# -- lists that are longer than the model is deep, and those that say it in other ways -------------------


def test_layers_of_multi_token_prediction_at_the_end_of_a_list_are_left_out():
    _, mimo = RELEASED["XiaomiMiMo/MiMo-V2.5"]
    longer = mimo | {"hybrid_layer_pattern": [*MIMO, 1, 1, 1], "moe_layer_freq": [0] + [1] * 50}
    assert read(longer) == read(mimo)


STEP = LLAMA | {"model_type": "step3p5", "num_hidden_layers": 4, "n_routed_experts": 8, "moe_intermediate_size": 16}


@pytest.mark.parametrize("said", ["2,3", [2, 3]])
def test_layers_with_experts_may_be_listed_as_a_text(said):
    """Without the list, the first three are dense."""
    assert [layer.count for layer in read(STEP | {"moe_layers_enum": said}).layers] == [2, 2]
    assert [layer.count for layer in read(STEP).layers] == [3, 1]


def test_every_second_layer_of_hunyuan_large_reads_the_cache_of_the_one_before():
    """Keys and values of 2 of 4 layers: 2·2·16 elements of two bytes each."""
    hunyuan = LLAMA | {"model_type": "hunyuan", "num_hidden_layers": 4, "num_key_value_heads": 2, "use_cla": True}
    hunyuan |= {"cla_share_factor": 2, "num_experts": 4, "moe_topk": 1, "use_mixed_mlp_moe": True}
    assert estimate(read(hunyuan), None, Options(context=1)).kv_cache.bytes_per_token == 2 * (2 * 2 * 16) * 2
    with pytest.raises(SpecError, match="cla_share_factor"):
        read(hunyuan | {"cla_share_factor": 3})


# -- Nemotron's searched layers ----------------------------------------------------------------------------

NAS = LLAMA | {"model_type": "nemotron-nas", "intermediate_size": None}
WHOLE = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.5}}
WITHOUT = {"attention": {"no_op": True}, "ffn": {"ffn_mult": 3.0}}


def test_searched_layers_have_or_lack_attention_and_their_own_mlps():
    """An MLP is two thirds of ffn_mult hidden sizes, rounded up to 256: 64 and 128 become 256 both."""
    whole, without = read(NAS | {"block_configs": [WHOLE, WITHOUT]}).layers
    assert (whole.mixer.num_key_value_heads, whole.mlp.intermediate_size) == (2, 256)
    assert (type(without.mixer).__name__, without.mlp.intermediate_size) == ("NoBlock", 256)


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ("two", "expected a list"),
        ([WHOLE], "expected a list of 2 entries"),
        ([WHOLE, 3], "layer 1: expected attention and ffn"),
        (
            [WHOLE, WITHOUT | {"attention": {"replace_with_linear": True}}],
            "layer 1: expected attention and ffn, without",
        ),
        (
            [WHOLE, WITHOUT | {"attention": {"n_heads_in_group": 8}}],
            "layer 1: n_heads_in_group: expected a whole number",
        ),
        ([WHOLE, WITHOUT | {"ffn": {"ffn_mult": "wide"}}], "layer 1: ffn_mult: expected a number above 0"),
    ],
)
def test_searched_layers_that_are_not_understood_are_refused(blocks, problem):
    with pytest.raises(SpecError, match=problem):
        read(NAS | {"block_configs": blocks})


# -- files of other libraries --------------------------------------------------------------------------------


def test_mlx_says_bits_and_groups_under_two_names():
    """A weight of 4 bits with a scale and a bias of 16 bits for 64 of them."""
    said = {"group_size": 64, "bits": 4}
    model = read(LLAMA | {"model_type": "llama", "quantization": said, "quantization_config": said})
    assert model.weight_format == "mlx-4bit-g64"
    assert read(LLAMA | {"model_type": "llama", "quantization": said}) == model


def test_mlc_wraps_the_config_and_calls_the_context_otherwise():
    inner = {key: value for key, value in LLAMA.items() if key != "max_position_embeddings"}
    inner |= {"context_window_size": 2048, "prefill_chunk_size": 2048, "tensor_parallel_shards": 1}
    whole = {"model_type": "llama", "quantization": "q4f16_1", "model_config": inner, "vocab_size": 160}
    model = read(whole)
    assert (model.max_position_embeddings, model.weight_format) == (2048, "mlc-q4")
    assert read(whole | {"quantization": "q0f16"}).weight_format == ""


def test_infinity_as_python_writes_it_is_no_number_of_anything(tmp_path):
    file = tmp_path / "config.json"
    mamba = json.dumps(RELEASED["mistralai/Mamba-Codestral-7B-v0.1"][1])
    file.write_text(mamba.replace('"Infinity"', "Infinity"), "utf-8")
    assert model_from(read_config(file)).num_hidden_layers == 64
    file.write_text(mamba.replace("32768", "Infinity"), "utf-8")
    with pytest.raises(SpecError, match="vocab_size"):
        model_from(read_config(file))


def test_an_activation_with_weights_is_no_harmless_value():
    with pytest.raises(SpecError, match="hidden_act: not understood for llama"):
        read(LLAMA | {"model_type": "llama", "hidden_act": "xielu"})
    assert read(LLAMA | {"model_type": "llama", "hidden_act": "relu"}) == read(LLAMA | {"model_type": "llama"})
