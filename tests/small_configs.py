"""Configurations of transformers' causal types, by default and at small sizes, and their reference implementations."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.models.musicgen.modeling_musicgen import MusicgenForCausalLM
from transformers.models.musicgen_melody.modeling_musicgen_melody import MusicgenMelodyForCausalLM

from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.architectures import all_types
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

FAMILIES = all_types()
TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
OURS = [kind for kind in TYPES if kind in FAMILIES]
# Sizes small enough to run a forward pass in milliseconds, under every name that a config may have for them.
SMALL = {
    64: "hidden_size n_embd d_model emb_dim max_position_embeddings n_positions max_seq_len max_target_positions "
    "attention_chunk_size sliding_window window_size",
    96: "intermediate_size n_inner ffn_dim ffn_hidden_size decoder_ffn_dim dff",
    56: "embedding_size input_embedding_size word_embed_proj_dim",
    80: "intermediate_size_mlp",
    40: "moe_intermediate_size",
    48: "shared_expert_intermediate_size",
    160: "vocab_size decoder_vocab_size vocab_size_per_layer_input",
    4: "num_hidden_layers n_layer n_layers num_layers decoder_layers num_attention_heads n_head n_heads num_heads "
    "attention_heads decoder_attention_heads",
    2: "num_key_value_heads num_kv_heads num_experts_per_tok moe_k moe_topk eos_token_id",
    8: "num_experts num_local_experts n_routed_experts moe_num_experts qk_rope_head_dim rotary_dim",
    24: "head_dim",
    20: "q_lora_rank v_head_dim",
    28: "kv_lora_rank",
    12: "qk_nope_head_dim",
    3: "moe_layer_end_index",
    1: "n_group topk_group bos_token_id",
    0: "pad_token_id",
}
SIZES = {key: size for size, keys in SMALL.items() for key in keys.split()}


SMALL_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
# What a type's own rules ask of its sizes beyond those.
OWN = {
    "axk1": {"num_key_value_heads": 4, "head_dim": 8},
    "axk2": {"num_key_value_heads": 4, "head_dim": 8},
    "deepseek_v2": {"num_key_value_heads": 4, "head_dim": 8, "num_experts_per_tok": 2},
    "deepseek_v3": {"num_key_value_heads": 4, "head_dim": 8},
    "deepseek_v32": {"num_key_value_heads": 4, "head_dim": 8},
    "dots3_note_text": {"num_key_value_heads": 4},
    "glm4_moe_lite": {"num_key_value_heads": 4},
    "glm_moe_dsa": {"num_key_value_heads": 4, "head_dim": 8},
    "helium": {"head_dim": 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"num_key_value_heads": 4, "head_dim": 8, "zero_expert_num": 0},
    "mamba2": {"num_heads": 4, "head_dim": 32},
    "minicpm3": {"num_key_value_heads": 4, "head_dim": 8},
    "sarvam_mla": {"num_key_value_heads": 4, "head_dim": 8},
    "zamba": {"num_hidden_layers": 9},
    "zamba2": {
        "layers_block_type": ["hybrid", "linear_attention", "hybrid", "hybrid"],
        "num_mem_blocks": 2,
        "use_shared_attention_adapter": True,
    },
    "youtu": {"num_key_value_heads": 4, "head_dim": 8},
    "dory": {"n_input_layers": 1, "n_output_layers": 1},
    "git": {"vision_config": {**SMALL_TOWER, "image_size": 32, "patch_size": 8}},
    "phi4_multimodal": {
        "vision_config": {**SMALL_TOWER, "image_size": 32, "patch_size": 8},
        "audio_config": {
            **{name: size for name, size in SMALL_TOWER.items() if name != "num_hidden_layers"},
            **dict.fromkeys(("ext_pw_out_channel", "depthwise_separable_out_channel", "nemo_conv_channels"), 32),
            "num_blocks": 2,
            "input_size": 20,
            "bias_max_distance": 7,
        },
    },
    "zaya": {"num_experts_per_tok": 1},
    "inkling2_loop_text": {
        "num_hidden_layers": 6, "n_layers_per_attn_res_block": 2, "loop_layer_index_start": 2,
        "loop_layer_index_end": 4, "unpadded_vocab_size": 150, "loop_gate_rank": 12,
    },
    "inkling2_text": {"unpadded_vocab_size": 150, "n_layers_per_attn_res_block": 2},
    "qwen4_exp_text": {
        "eos_token_id": 2, "hc_lowrank": 12, "ple_layer_ids": [1, 3], "ngram_vocab_size_base": 200,
        "indexer_head_dim": 16,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 8,
    },
}  # fmt: skip
BY_LAYER = (
    "layer_types",
    "mlp_layer_types",
    "moe_layers",
    "no_rope_layers",
    "layer_rope_theta",
    "num_attention_heads_per_layer",
    "attention_layers",
    "layers_block_type",
)


def small_config(kind, **changes):
    """The type's configuration at small sizes; lists with an entry a layer are left to its own rules."""
    default = default_config(kind).to_dict()
    sizes = {key: size for key, size in SIZES.items() if default.get(key) is not None or key in changes}
    sizes |= {key: None for key in BY_LAYER if key in default} | OWN.get(kind, {})
    if kind == "gpt_neo":
        sizes = {key: size for key, size in sizes.items() if key != "attention_layers"} | {
            "attention_types": [[["global", "local"], 2]]
        }
    return AutoConfig.for_model(kind, **(GIVEN.get(kind, {}) | sizes | changes))


PARTS = {"musicgen_decoder": MusicgenForCausalLM, "musicgen_melody_decoder": MusicgenMelodyForCausalLM}


def reference(config, device="meta"):
    """The reference implementation, in products that torch's counter sees: no fused attention, experts one by one."""
    with torch.device(device):
        if config.model_type in PARTS:
            return PARTS[config.model_type](config)
        return AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", experts_implementation="eager"
        ).eval()


def parameters(model):
    return sum(parameter.numel() for parameter in {id(each): each for each in model.parameters()}.values())


def as_saved(config):
    """The config as a causal language model of its type is saved with it."""
    return config.to_dict() | {"architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]]}


def imported(config):
    return model_from(document_of(as_saved(config), "config.json", "tested"))


# What the reference needs and its default configuration leaves open.
GIVEN = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "dbrx": {"attn_config": {"kv_n_heads": 4, "rope_theta": 1e4, "clip_qkv": 8}},
    "deepseek_v2": {"num_experts_per_tok": 6},
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 16, "moe_topk": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "gemma4_assistant": {"text_config": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}},
}
GIVEN["qwen4_exp_text"] = {
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 128, "indexer_budget": 2048,
    "indexer_compress_ratio": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
}  # fmt: skip
GIVEN["qwen4_exp"] = {"text_config": GIVEN["qwen4_exp_text"]}
# Multimodal types: their text model is compared, of which it is said that it is all that is counted.
TEXT_MODELS = ["dots3_note", "emu3", "fuyu", "gemma3", "gemma4", "gemma4_unified", "got_ocr2", "llama4", "mllama"]
TEXT_MODELS += ["gemma3n", "moss_transcribe_diarize", "musicgen", "musicgen_melody"]
OTHER_MODULES = {"multi_modal_projector", "vision_embed_tokens", "vision_tower", "audio_tower"}
OTHER_MODULES |= {"embed_vision", "embed_audio"}
# Types that are refused, and what they have that no block here has.
WHY = {
    "blt": "patches of bytes, between an encoder and a decoder of their own",
    "prophetnet": "several streams that predict further tokens",
    "reformer": "attention by hashing, reversible layers",
    "xlnet": "two streams of attention, relative positions",
}


def default_config(kind):
    return AutoConfig.for_model(kind, **GIVEN.get(kind, {}))


# What the reference does otherwise, by type: each is left out of one comparison and named.
OTHER_PARAMETERS = {
    "longcat_flash": "the reference also allocates gate and up projections for experts that return their input",
}
NOT_SMALL = {
    "gemma3n_text": "shares keys and values among the last 15 layers, whatever their number",
    "gemma4_assistant": "has its sizes in a config inside its own",
    "gemma4_unified_assistant": "has its sizes in a config inside its own",
}
OTHER_FLOPS = {
    "a scan in chunks, with products inside a chunk": """bamba falcon_h1 granitemoehybrid kimi_linear minimax
        nemotron_h olmo_hybrid xlstm lara_mini zamba2 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next
        qwen4_exp qwen4_exp_text""",
    "a scan whose update is no matrix product": "falcon_mamba jamba mamba rwkv zamba",
    "a convolution over the padding too": "inkling_text inkling2_text inkling2_loop_text lfm2_moe lfm3 recurrent_gemma",
    "every expert for every token": "llama4_text",
    "scores of the same keys twice": "diffllama",
    "tokens of a prompt of its own before the text": "cpmant",
    "experts for all tokens, where its router, by chance, lets none skip them": "zaya",
    "a pooler on the first token": "big_bird",
    "nothing at these sizes: it does not run": "bailing_hybrid dbrx mamba2 xmod",
}
DIFFERENT_FLOPS = {kind for kinds in OTHER_FLOPS.values() for kind in kinds.split()}
COMPARED = [kind for kind in OURS if kind not in OTHER_PARAMETERS]
SMALL_ENOUGH = [kind for kind in COMPARED if kind not in NOT_SMALL]


def text_of(spec):
    return estimate(spec, None, Options(context=1)).model.params.text


def total(spec):
    return estimate(spec, None, Options(context=1)).model.params.total
