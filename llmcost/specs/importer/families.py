"""What each `model_type` of a Hugging Face config is made of, as data.

An entry says how a type differs from the plain case (grouped attention, rotary positions, RMSNorm before each
block, gated MLP, no biases). Values are a spec's (specs/model.py), with ways to look into the config:

    "=key", "=outer.key"        the value of that key, or of a key inside it
    "=2*key", "=1+key/other"    computed from left to right, in whole numbers
    "=#key"                     of a list, how many different ones
    ("key", then, otherwise)    one of two, as the key is true or not; ("key=word", …) as it is that word

A value that is None is that of the plain case; a size of 0 is none at all; a list has an entry a layer.

Where layers differ, each has a word, as `layer_types` lists them:

    words     what layers of a word are made of, where that is not what the entry says of all
    kinds     the word of plain layers and that of the others, by default "full_attention" and "sliding_attention"
    pattern   a rule that picks the plain ones where the config has no list (by default all), of specs/patterns.py
    order     or the words themselves, as a beginning and a cycle
    expands   a word for several layers of ours, whose words stand there
    reused_after                how many layers of a word have weights of their own; the others use those again
    lists     another name that `layer_types` or `mlp_layer_types` goes by, and its values
    window_if the key without which all layers are plain; `last_full`: the last one is, whatever the list says

and `experts` is a rule that picks those with experts where there is no `mlp_layer_types`. Beside it:

    expert_size, shared         keys of an expert's MLP size and of the shared experts' (a count of experts, "size:KEY",
              or "dense": the dense layers' MLP)
    intermediate_size           a dense MLP's, where it is not the plain key's ("two thirds": LFM2's rule)
    one_is_dense                a single expert is a dense MLP

And where a type has more than layers, or other keys:

    kv_shared the key that counts the last layers that use earlier ones' keys and values
    layers_each                 layers of ours in one of theirs
    streams   what stands beside the residual stream, by its first size
    inner     a key whose own keys are read as "inner.key"
    renamed   keys by another name that wins
    names     the keys that hold a field, where they are others than usual (keys.SYNONYMS)
    same      keys that may only repeat a field
    neutral   keys that change no count at this value (or where a list has nothing else)
    modules   names of modules for quantization.py, where they are others than usual
    defaults  of keys that the reference's config class does not have
    unused    keys that change no count of this type, whatever their value
    tie_word_embeddings         False or True where the reference never or always ties them
    cross_attention             whether there is one, or the encoder's hidden size
    attention_output_bias       "last": of the last layer alone
    expansion                   a dense MLP's size in hidden sizes, where no key gives the size
    position_padding            the last row of the position table that is no position
    whole_heads                 all heads together are as wide as the hidden size, or the reference does not run
    never_zero                  keys that the reference takes at their word where they are 0: refused

Checked against the reference implementation of every type: tests/specs/test_families.py.
"""

from __future__ import annotations

from typing import Any

Family = dict[str, Any]

_LLAMA: Family = {"attention_bias": "=attention_bias", "mlp_bias": "=mlp_bias"}
_LAYER_NORM: Family = {"norm": "layer", "mlp": "plain"}
_BIASED: Family = {"attention_bias": True, "mlp_bias": True}
_QWEN: Family = {
    "attention_bias": True,
    "attention_output_bias": False,
    "pattern": "before:max_window_layers",
    "window_if": "use_sliding_window",
}
_ATTENTION: Family = {"attention_bias": "=attention_bias"}
_DEEPSEEK: Family = {
    "mixer": "latent",
    **_ATTENTION,
    "experts": "after:first_k_dense_replace",
    "shared": "n_shared_experts",
}
_LINEAR = ("full_attention", "linear_attention")
_ENDLESS = 10**9  # positions, where nothing in the model ends
_MAMBA: Family = {
    "mixer": "mamba",
    "mlp": "none",
    "mamba_expand": "=expand",
    "mamba_intermediate_size": "=intermediate_size",
    "mamba_d_state": "=state_size",
    "mamba_d_conv": "=conv_kernel",
    "mamba_dt_rank": "=time_step_rank",
    "mamba_conv_bias": "=use_conv_bias",
    "mamba_proj_bias": "=use_bias",
    "position_embedding": "none",
    "max_position_embeddings": _ENDLESS,
    "never_zero": "time_step_rank",
    "unused": "d_inner mixer_rms_eps fused_add_norm rms_norm ssm_cfg pad_vocab_size_multiple",
}
_SHARED: Family = {"mlp": "adapted", "on_embedding": True}
_MAMBA2: Family = {
    "mixer": "mamba2",
    "mamba_n_heads": "=mamba_n_heads",
    "mamba_d_head": "=mamba_d_head",
    "mamba_n_groups": "=mamba_n_groups",
    "mamba_d_state": "=mamba_d_state",
    "mamba_d_conv": "=mamba_d_conv",
    "mamba_conv_bias": "=mamba_conv_bias",
    "mamba_proj_bias": "=mamba_proj_bias",
    "mamba_out_bias": "=mamba_proj_bias",
}
_GATED_DELTA: Family = {
    "mixer": "gated-delta",
    "linear_num_key_heads": "=linear_num_key_heads",
    "linear_num_value_heads": "=linear_num_value_heads",
    "linear_key_head_dim": "=linear_key_head_dim",
    "linear_value_head_dim": "=linear_value_head_dim",
    "linear_conv_kernel_dim": "=linear_conv_kernel_dim",
}
_QWEN_HYBRID: Family = {
    **_ATTENTION,
    "qk_norm": "head",
    "attention_gate": "channel",
    "words": {"linear_attention": {**_GATED_DELTA, "state_fp32": ("mamba_ssm_dtype=float32", True, False)}},
    "kinds": _LINEAR,
    "pattern": "every:full_attention_interval",
    "defaults": {
        "full_attention_interval": 4,
        "attn_output_gate": True,
        "mlp_only_layers": [],
        "use_sliding_window": False,
    },
    "unused": "mtp_num_hidden_layers mtp_use_dedicated_embeddings",
}
_SHORT_CONV: Family = {"mixer": "short-conv", "conv_L_cache": "=conv_L_cache", "conv_bias": "=conv_bias"}
_HEAVY, _SPARSE = "heavily_compressed_attention", "compressed_sparse_attention"
_INDEXED: Family = {**_DEEPSEEK, "kinds": ("indexed_attention", "sliding_attention")}
_GEMMA4: Family = {
    **_ATTENTION,
    "qk_norm": "head",
    "norms": "sandwich",
    "pattern": "every:6",
    "last_full": True,
    "kv_shared": "num_kv_shared_layers",
    "double_when_shared": "=use_double_wide_mlp",
    "words": {
        "full_attention": {
            "head_dim": ("per_layer_config", None, ("global_head_dim", "=global_head_dim", 512)),
            "num_key_value_heads": (
                "per_layer_config",
                None,
                ("attention_k_eq_v", "=num_global_key_value_heads", None),
            ),
            "keys_and_values": ("attention_k_eq_v", "tied", "own"),
        }
    },
}
_ROUTED: Family = {"experts": "after:first_k_dense_replace", "shared": "n_shared_experts"}
_GLM_MOE: Family = {**_ROUTED, **_ATTENTION, "attention_output_bias": False, "qk_norm": ("use_qk_norm", "head", "none")}

_LEARNED: Family = {**_LAYER_NORM, **_BIASED, "position_embedding": "learned"}
_BERT: Family = {
    **_LEARNED,
    "type_vocab_size": "=type_vocab_size",
    "embedding_norm": True,
    "norms": "post",
    "final_norm": False,
    "head_size": "=hidden_size",
    "head_transform": True,
    "lm_head_bias": True,
    "tie_word_embeddings": True,  # untied, the reference stores the LM head's bias twice: refused
    "cross_attention": "=add_cross_attention",
}
_ROBERTA: Family = {**_BERT, "position_padding": "=pad_token_id"}
# Decoders of encoder-decoder models, by themselves.
_DECODER: Family = {
    **_LEARNED,
    "cross_attention": True,
    "names": {
        "hidden_size": ("d_model",),
        "num_hidden_layers": ("decoder_layers",),
        "num_attention_heads": ("decoder_attention_heads",),
        "intermediate_size": ("decoder_ffn_dim",),
    },
    "unused": "add_cross_attention encoder_layers encoder_attention_heads encoder_ffn_dim num_hidden_layers num_attention_heads "
    "add_bias_logits add_final_layer_norm classif_dropout extra_pos_embeddings force_bos_token_to_be_generated "
    "normalize_before normalize_embedding save_step static_position_embeddings",
}
_BART: Family = {**_DECODER, "norms": "post", "final_norm": False, "embedding_norm": True, "position_offset": 2}
_SPARSE_KEYS = {
    "sparse_num_index_heads": "index_n_heads",
    "sparse_index_dim": "index_head_dim",
    "sparse_block_size": "index_block_size",
    "sparse_topk_blocks": "index_topk_blocks",
    "sparse_local_block": "index_local_blocks",
}
_MINIMAX_M3: Family = {
    "qk_norm": "head",
    "experts": "after:first_k_dense_replace",
    "expert_size": "intermediate_size",
    "intermediate_size": "=dense_intermediate_size",
    "shared": "size:shared_intermediate_size",
    "inner": "sparse_attention_config",
    "renamed": {f"sparse_attention_config.{key}": name for key, name in _SPARSE_KEYS.items()},
    "lists": {
        "layer_types": ("sparse_attention_config.sparse_attention_freq", {0: "full_attention", 1: "minimax_m3_sparse"}),
        "mlp_layer_types": ("moe_layer_freq", {0: "dense", 1: "sparse"}),
    },
    "words": {
        "minimax_m3_sparse": {
            "index_topk": "=index_block_size*index_topk_blocks",
            "index_n_heads": "=index_n_heads",
            "index_head_dim": "=index_head_dim",
        }
    },
    "same": {"moe_intermediate_size": "intermediate_size"},
    "neutral": {"use_qk_norm": True, "qk_norm_type": "per_head", "use_routing_bias": True, "n_shared_experts": 1}
    | {"sparse_attention_config.use_sparse_attention": True},
    "unused": "first_k_dense_replace use_gemma_norm "
    + " ".join(
        f"sparse_attention_config.sparse_{name}" for name in ("disable_index_value", "init_block", "score_type")
    ),
}

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": {"pattern": "none"},
    "ministral": {"pattern": "none"},
    "ministral3": {"pattern": "none"},
    "exaone": _LLAMA,
    "nemotron": {**_LLAMA, **_LAYER_NORM},
    "hunyuan_v1_dense": {**_ATTENTION, "qk_norm": "head"},
    "qwen2": _QWEN,
    "qwen3": {
        **_ATTENTION,
        "qk_norm": "head",
        "pattern": "before:max_window_layers",
        "window_if": "use_sliding_window",
    },
    "internlm3": {"attention_bias": "=qkv_bias", "attention_output_bias": "=bias", "mlp_bias": "=bias"},
    "granite": _LLAMA,
    "granite_swa": {**_LLAMA, "attention_sinks": True, "pattern": "at:4:0"},
    "smollm3": {**_LLAMA, "window_if": "use_sliding_window"},
    "olmo": {**_ATTENTION, "norm": "none"},
    "olmo2": {**_ATTENTION, "norms": "post", "qk_norm": "full"},
    "olmo3": {**_ATTENTION, "norms": "post", "qk_norm": "full", "pattern": "every:4"},
    "phi3": {"pattern": "none"},
    "phi": {
        **_LAYER_NORM,
        **_BIASED,
        "norms": "parallel",
        "lm_head_bias": True,
        "qk_norm": ("qk_layernorm", "head-bias", "none"),
    },
    "stablelm": {
        "norm": "layer",
        "attention_bias": "=use_qkv_bias",
        "attention_output_bias": False,
        "norms": ("use_parallel_residual", "parallel", "pre"),
        "qk_norm": ("qk_layernorm", "full", "none"),
    },
    "glm": {"attention_bias": "=attention_bias", "attention_output_bias": False},
    "glm4": {"attention_bias": "=attention_bias", "attention_output_bias": False, "norms": "sandwich"},
    "cohere": {**_ATTENTION, "norm": "layer-no-bias", "norms": "parallel", "qk_norm": ("use_qk_norm", "full", "none")},
    "cohere2": {
        **_ATTENTION,
        "norm": "layer-no-bias",
        "norms": "parallel",
        "pattern": "every:sliding_window_pattern",
        "defaults": {"sliding_window_pattern": 4},
    },
    "gemma": _ATTENTION,
    "gemma2": {**_ATTENTION, "norms": "sandwich", "pattern": "every:2"},
    "gemma3_text": {
        **_ATTENTION,
        "norms": "sandwich",
        "qk_norm": "head",
        "pattern": "every:sliding_window_pattern",
        "defaults": {"sliding_window_pattern": 6},
        "unused": "_sliding_window_pattern",
    },
    "vaultgemma": {**_ATTENTION, "pattern": "every:2"},
    "exaone4": {"norms": "post", "qk_norm": "head", "pattern": "every:sliding_window_pattern"},
    "seed_oss": {
        "attention_bias": "=attention_bias",
        "attention_output_bias": "=attention_out_bias",
        "mlp_bias": "=mlp_bias",
    },
    "ernie4_5": {"attention_bias": "=use_bias", "mlp_bias": "=use_bias"},
    "helium": {**_LLAMA, "attention_output_bias": False, "whole_heads": True},
    "arcee": {**_LLAMA, "mlp": "plain"},
    "cwm": {"pattern": "at:4:0"},
    "jais2": {**_LLAMA, "norm": "layer", "mlp": "plain"},
    "nanochat": {"mlp": "plain", "norm": "none", **_ATTENTION},
    "gpt2": _LEARNED,
    "gpt_bigcode": {
        **_LEARNED,
        "num_key_value_heads": ("multi_query", 1, "=n_head"),
        "unused": "num_key_value_heads inference_runner max_batch_size max_sequence_length pad_key_length pre_allocate_kv_cache "
        "scale_attention_softmax_in_fp32 validate_runner_input",
    },
    "gpt_neo": {
        **_LAYER_NORM,
        "attention_output_bias": True,
        "mlp_bias": True,
        "position_embedding": "learned",
        "pattern": "repeat:attention_types",
        "defaults": {"attention_types": [[["global", "local"], 12]]},
        "unused": "attention_layers",
    },
    "gpt_neox": {
        **_LAYER_NORM,
        "attention_bias": "=attention_bias",
        "mlp_bias": True,
        "unused": "use_parallel_residual",
    },
    "gptj": {**_LAYER_NORM, "mlp_bias": True, "norms": "parallel", "lm_head_bias": True},
    "codegen": {**_LAYER_NORM, "mlp_bias": True, "norms": "parallel", "lm_head_bias": True},
    "starcoder2": {**_LAYER_NORM, "attention_bias": "=use_bias", "mlp_bias": "=use_bias", "pattern": "none"},
    "bloom": {
        **_LAYER_NORM,
        **_BIASED,
        "position_embedding": "alibi",
        "max_position_embeddings": 2048,
        "embedding_norm": True,
        "renamed": {"n_embed": "hidden_size"},
    },
    "mpt": {
        "whole_heads": True,
        "norm": "layer-no-bias",
        "mlp": "plain",
        "position_embedding": "alibi",
        "unused": "embedding_fraction init_config learned_pos_emb tokenizer_name verbose",
    },
    "mixtral": {"experts": "all", "expert_size": "intermediate_size", "pattern": "none"},
    "qwen2_moe": {
        **_QWEN,
        "experts": "step:decoder_sparse_step",
        "shared": "size:shared_expert_intermediate_size",
        "shared_expert_gate": True,
    },
    "qwen3_moe": {
        **_ATTENTION,
        "qk_norm": "head",
        "experts": "step:decoder_sparse_step",
        "pattern": "before:max_window_layers",
        "window_if": "use_sliding_window",
        "neutral": {"use_qk_norm": True},
    },
    "olmoe": {
        **_ATTENTION,
        "qk_norm": "full",
        "experts": "all",
        "expert_size": "intermediate_size",
        "whole_heads": True,
    },
    "flex_olmo": {
        **_ATTENTION,
        "norms": "post",
        "qk_norm": "full",
        "experts": "all",
        "expert_size": "intermediate_size",
    },
    "granitemoe": {**_ATTENTION, "experts": "all", "expert_size": "intermediate_size"},
    "gpt_oss": {
        "attention_bias": "=attention_bias",
        "attention_sinks": True,
        "experts": "all",
        "expert_size": "intermediate_size",
        "expert_bias": True,
        "router_bias": True,
        "pattern": "every:2",
    },
    "minimax_m2": {
        "qk_norm": "full",
        "experts": "all",
        "expert_size": "intermediate_size",
        "neutral": {"use_qk_norm": True, "qk_norm_type": "per_layer", "use_routing_bias": True, "attn_type_list": 1},
        "unused": "use_mtp mtp_transformer_layers",
    },
    "mimo": _QWEN,
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "glm4_moe": _GLM_MOE,
    "glm4_moe_lite": {**_DEEPSEEK, "experts": "after:first_k_dense_replace:1"},
    "solar_open": _ROUTED,
    "sarvam_moe": {
        **_ROUTED,
        "attention_bias": "=attention_bias",
        "attention_output_bias": False,
        "qk_norm": ("use_qk_norm", "head", "none"),
    },
    "sarvam_mla": _DEEPSEEK,
    "dots1": {**_ROUTED, **_ATTENTION, "qk_norm": "head", "pattern": "before:max_window_layers"},
    "hunyuan_v1_moe": {
        **_ATTENTION,
        "qk_norm": "head",
        "experts": "all",
        "expert_size": "intermediate_size",
        "shared": "size:intermediate_size",
        "names": {"head_dim": ("head_dim", "attention_head_dim")},
        "same": {"moe_intermediate_size": "intermediate_size"},
        "neutral": {
            "use_qk_norm": True,
            "num_shared_expert": 1,
            "norm_type": "rms",
            "use_mixed_mlp_moe": True,
            "use_rotary_pos_emb": True,
        },
        "unused": "anyres_pooling_size anyres_vit_max_image_size cla_share_factor class_num dense_list im_end_id mask_init_id pad_id "
        "pool_type",
    },
    "minicpm3": {"mixer": "latent", **_ATTENTION, "mlp_bias": "=mlp_bias"},
    "youtu": {"mixer": "latent", **_ATTENTION, "mlp_bias": "=mlp_bias"},
    "afmoe": {
        "attention_gate": "channel",
        "norms": "sandwich",
        "qk_norm": "head",
        "experts": "after:num_dense_layers",
        "shared": "num_shared_experts",
        "router_bias": True,
        "pattern": "every:global_attn_every_n_layers",
    },
    "apertus1p5_text": {
        **_ATTENTION,
        "mlp": "plain",
        "mlp_bias": "=mlp_bias",
        "qk_norm": "head",
        "activation_weights": 2,
        "vocab_size": ("output_vocab_size", "=output_vocab_size", "=vocab_size"),
        "input_only_tokens": ("output_vocab_size", "=vocab_size-output_vocab_size", None),
    },
    "lara_mini": {
        "qk_norm": "head",
        "words": {"linear_attention": _GATED_DELTA},
        "order": (
            (),
            ("linear_attention", "sliding_attention", "linear_attention", "full_attention", "sliding_attention"),
        ),
        "experts": "all",
        "shared": "size:shared_expert_intermediate_size",
    },
    "apertus": {**_ATTENTION, "mlp": "plain", "mlp_bias": "=mlp_bias", "qk_norm": "head", "activation_weights": 2},
    "aria_text": {
        **_LLAMA,
        "experts": "all",
        "expert_size": "intermediate_size",
        "shared": "moe_num_shared_experts",
        "shared_bias": "=mlp_bias",
    },
    "bitnet": {**_ATTENTION, "sub_norm": True, "whole_heads": True},
    "cohere2_moe": {
        **_ATTENTION,
        "norm": "layer-no-bias",
        "norms": "parallel",
        "experts": "all",
        "expert_size": "intermediate_size",
        "shared": "num_shared_experts",
        "pattern": "every:sliding_window_pattern",
    },
    "ernie4_5_moe": {
        "experts": "range",
        "shared": "moe_num_shared_experts",
        "router_bias": True,
    },
    "exaone_moe": {
        "qk_norm": "head",
        "experts": "after:first_k_dense_replace",
        "shared": "num_shared_experts",
        "pattern": "every:sliding_window_pattern",
    },
    "granitemoe_swa": {
        **_ATTENTION,
        "experts": "all",
        "expert_size": "intermediate_size",
        "shared": "size:shared_intermediate_size",
        "attention_sinks": True,
        "pattern": "at:4:0",
    },
    "granitemoeshared": {
        **_ATTENTION,
        "experts": "all",
        "expert_size": "intermediate_size",
        "shared": "size:shared_intermediate_size",
    },
    "hy_v3": {
        **_ATTENTION,
        "qk_norm": "head",
        "experts": "after:1",
        "shared": "num_shared_experts",
        "never_zero": "num_shared_experts",
    },
    "hyperclovax": {**_LLAMA, "norms": ("use_post_norm", "sandwich", "pre")},
    "iquestcoder": _LLAMA,
    "kolibri1": {
        **_ATTENTION,
        "qk_norm": "head",
        "norms": "sandwich",
        "experts": "all",
        "shared": "size:shared_expert_intermediate_size",
        "pattern": "every:5",
    },
    "laguna": {
        **_ATTENTION,
        "num_attention_heads": ("num_attention_heads_per_layer", "=num_attention_heads_per_layer", None),
        "attention_gate": ("gating=True", "head", ("gating=per-head", "head", "channel")),
        "qk_norm": "head",
        "router_bias": True,
        "unused": "num_attention_heads",
        "experts": "after:1",
        "shared": "size:shared_expert_intermediate_size",
    },
    "llama4_text": {
        **_ATTENTION,
        "unused": "use_qk_norm",  # a norm without weights
        "pattern": "every:4",
        "kinds": ("full_attention", "chunked_attention"),
        "experts": "in:moe_layers:interleave_moe_layer_step",
        "expert_size": "intermediate_size",
        "intermediate_size": "=intermediate_size_mlp",
        "shared": "size:intermediate_size",
    },
    "mellum": {**_ATTENTION, "qk_norm": "head", "experts": "all"},
    "persimmon": {**_LAYER_NORM, **_BIASED, "qk_norm": ("qk_layernorm", "head-bias", "none")},
    "phimoe": {
        **_ATTENTION,
        "norm": "layer",
        "experts": "all",
        "expert_size": "intermediate_size",
        "lm_head_bias": "=lm_head_bias",
        "pattern": "none",
    },
    "falcon": {
        **_LAYER_NORM,
        "attention_bias": "=bias",
        "mlp_bias": "=bias",
        "norms": (
            "parallel_attn",
            (
                "new_decoder_architecture",
                ("num_ln_in_parallel_attn", ("num_ln_in_parallel_attn=2", "pre", "parallel"), "pre"),
                "parallel",
            ),
            "pre",
        ),
        "num_key_value_heads": (
            "new_decoder_architecture",
            "=num_kv_heads",
            ("multi_query", 1, "=num_attention_heads"),
        ),
        "position_embedding": ("alibi", "alibi", "rotary"),
        "unused": "num_kv_heads",
    },
    "mamba": _MAMBA,
    "falcon_mamba": {**_MAMBA, "mamba_norm": "plain"},
    "mamba2": {
        "mixer": "mamba2",
        "mlp": "none",
        "mamba_n_heads": "=num_heads",
        "mamba_d_head": "=head_dim",
        "mamba_n_groups": "=n_groups",
        "mamba_d_state": "=state_size",
        "mamba_d_conv": "=conv_kernel",
        "mamba_conv_bias": "=use_conv_bias",
        "mamba_proj_bias": "=use_bias",
        "mamba_out_bias": "=use_bias",
        "position_embedding": "none",
        "max_position_embeddings": _ENDLESS,
        "unused": "expand time_step_rank intermediate_size rms_norm norm_before_gate",
    },
    "jamba": {
        "never_zero": "mamba_dt_rank",
        "words": {
            "linear_attention": {
                "mixer": "mamba",
                "mamba_expand": "=mamba_expand",
                "mamba_d_state": "=mamba_d_state",
                "mamba_d_conv": "=mamba_d_conv",
                "mamba_dt_rank": "=mamba_dt_rank",
                "mamba_conv_bias": "=mamba_conv_bias",
                "mamba_proj_bias": "=mamba_proj_bias",
                "mamba_norm": "weighted",
            }
        },
        "kinds": _LINEAR,
        "pattern": "at:attn_layer_period:attn_layer_offset",
        "experts": "at:expert_layer_period:expert_layer_offset",
        "one_is_dense": True,
        "expert_size": "intermediate_size",
        "position_embedding": "none",
    },
    "zamba": {
        "tie_word_embeddings": True,  # untied, the reference ties no shared layers either: refused
        "position_embedding": "none",
        "words": {
            "linear_attention": {
                **_MAMBA,
                **{f"mamba_{name}": f"=mamba_{name}" for name in ("expand", "d_state", "d_conv", "dt_rank")},
            }
            | {
                "mamba_intermediate_size": None,
                "mamba_conv_bias": "=mamba_conv_bias",
                "mamba_proj_bias": "=mamba_proj_bias",
            },
            "shared_transformer": {**_SHARED, "reused_after": 1},
        },
        "expands": {"hybrid": ["shared_transformer", "linear_attention"]},
        "kinds": ("hybrid", "linear_attention"),
        "pattern": "zamba:attn_layer_period:attn_layer_offset",
        "names": {"head_dim": ("attention_head_dim",)},
        "never_zero": "mamba_dt_rank",
        "unused": "hidden_mamba_act n_mamba_heads attention_hidden_size",
    },
    "zamba2": {
        "tie_word_embeddings": True,  # untied, the reference ties no shared layers either: refused
        "neutral": {"use_shared_mlp_adapter": True},
        "position_embedding": ("use_mem_rope", "rotary", "none"),
        "words": {
            "linear_attention": {
                "mixer": "mamba2",
                "mlp": "none",
                "mamba_n_heads": "=n_mamba_heads",
                "mamba_d_head": "=mamba_expand*hidden_size/n_mamba_heads",
                "mamba_n_groups": "=mamba_ngroups",
                "mamba_d_state": "=mamba_d_state",
                "mamba_d_conv": "=mamba_d_conv",
                "mamba_proj_bias": "=add_bias_linear",
                "mamba_out_bias": "=add_bias_linear",
            },
            "shared_transformer": {
                **_SHARED,
                "head_dim": "=2*hidden_size/num_attention_heads",
                "reused_after": "=num_mem_blocks",
                "mlp_bias": "=add_bias_linear",
                "mlp_adapter_rank": "=adapter_rank",
                "qkv_adapter_rank": ("use_shared_attention_adapter", "=adapter_rank", 0),
            },
        },
        "expands": {"hybrid": ["shared_transformer", "linear_attention"]},
        "kinds": ("hybrid", "linear_attention"),
        "pattern": "listed",
        "unused": "chunk_size use_conv_bias use_mem_eff_path use_long_context mamba_headdim attention_hidden_size attention_head_dim "
        "kv_channels num_query_groups hybrid_layer_ids ffn_hidden_size",
    },
    "rwkv": {
        "mixer": "time-mix",
        "mlp": "channel-mix",
        "norm": "layer",
        "attention_hidden_size": "=attention_hidden_size",
        "embedding_norm": True,
        "position_embedding": "none",
        "max_position_embeddings": _ENDLESS,
        "names": {"max_position_embeddings": ()},
        "unused": "context_length rescale_every",
    },
    "mllama_text_model": {
        "words": {
            "cross_attention": {"mixer": "idle", "mlp": "none", "norms": "none", "idle_mlp_size": "=intermediate_size"},
        },
        "kinds": ("cross_attention", "full_attention"),
        "pattern": "in:cross_attention_layers",
        "defaults": {"cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38]},
        "input_only_tokens": 8,
    },
    "dbrx": {
        "norm": "layer-no-bias",
        "num_key_value_heads": "=attn_config.kv_n_heads",
        "experts": "all",
        "num_experts": "=ffn_config.moe_num_experts",
        "num_experts_per_tok": "=ffn_config.moe_top_k",
        "expert_size": "ffn_config.ffn_hidden_size",
        "whole_heads": True,
    },
    "bamba": {
        **_LLAMA,
        "words": {"linear_attention": _MAMBA2},
        "kinds": _LINEAR,
        "pattern": "in:attn_layer_indices",
        "unused": "mamba_expand attn_rotary_emb",
    },
    "falcon_h1": {
        "never_zero": "mamba_n_groups",
        **_LLAMA,
        **_MAMBA2,
        "mixer": "attention-mamba2",
        "mamba_gate_norm": "=mamba_rms_norm",
        "mamba_out_bias": "=projectors_bias",
        "defaults": {"mamba_use_mlp": True},
        "unused": "mamba_expand mamba_d_ssm mlp_expansion_factor",
    },
    "nemotron_h": {
        "never_zero": "moe_shared_expert_intermediate_size",
        "tie_word_embeddings": False,
        "position_embedding": "none",
        "pattern": "listed",
        "mlp_bias": "=mlp_bias",
        "words": {
            "linear_attention": {
                "mixer": "mamba2",
                "mlp": "none",
                "mamba_n_heads": "=mamba_num_heads",
                "mamba_d_head": "=mamba_head_dim",
                "mamba_n_groups": "=n_groups",
                "mamba_d_state": "=ssm_state_size",
                "mamba_d_conv": "=conv_kernel",
                "mamba_conv_bias": "=use_conv_bias",
                "mamba_proj_bias": "=use_bias",
                "mamba_out_bias": "=use_bias",
                "state_fp32": ("mamba_ssm_cache_dtype=float32", True, False),
            },
            "full_attention": {"mlp": "none"},
            "mlp": {"mixer": "none", "mlp": "plain"},
            "moe": {
                "mixer": "none",
                "experts": "all",
                "shared": "size:moe_shared_expert_intermediate_size",
                "shared_bias": "=mlp_bias",
                "expert_gated": False,
                "moe_latent_size": "=moe_latent_size",
            },
        },
        "renamed": {
            "mamba_n_groups": "n_groups",
            "mamba_d_conv": "conv_kernel",
            "mamba_expand": "expand",
            "mamba_conv_bias": "use_conv_bias",
            "num_local_experts": "n_routed_experts",
        },
        "unused": "expand mamba_proj_bias sliding_window attention_bias attention_head_dim time_step_rank num_nextn_predict_layers "
        "mtp_layers_block_type mtp_hybrid_override_pattern",
    },
    "granitemoehybrid": {
        **_ATTENTION,
        "words": {"linear_attention": _MAMBA2},
        "pattern": "listed",
        "position_embedding": ("position_embedding_type=rope", "rotary", "none"),
        "experts": "if:num_local_experts",
        "expert_size": "intermediate_size",
        "intermediate_size": "=shared_intermediate_size",
        "shared": "size:shared_intermediate_size",
        "unused": "mamba_expand init_method normalization_function",
    },
    "qwen3_next": {
        **_QWEN_HYBRID,
        "experts": "step:decoder_sparse_step",
        "shared": "size:shared_expert_intermediate_size",
        "shared_expert_gate": True,
    },
    "qwen3_5": _QWEN_HYBRID,
    "qwen3_5_text": _QWEN_HYBRID,
    "qwen3_5_moe": {
        **_QWEN_HYBRID,
        "experts": "all",
        "shared": "size:shared_expert_intermediate_size",
        "shared_expert_gate": True,
    },
    "qwen3_5_moe_text": {
        **_QWEN_HYBRID,
        "experts": "all",
        "shared": "size:shared_expert_intermediate_size",
        "shared_expert_gate": True,
    },
    "olmo_hybrid": {
        **_ATTENTION,
        "norms": "post",
        "qk_norm": "full",
        "words": {
            "linear_attention": {
                **_GATED_DELTA,
                "norms": "pre",
                "linear_num_key_heads": ("linear_num_key_heads", "=linear_num_key_heads", "=num_attention_heads"),
                "linear_num_value_heads": ("linear_num_value_heads", "=linear_num_value_heads", "=num_attention_heads"),
            }
        },
        "pattern": "listed",
    },
    "kimi_linear": {
        "tie_word_embeddings": False,
        **_ATTENTION,
        "mixer": "latent",
        "experts": "after:first_k_dense_replace",
        "shared": "num_shared_experts",
        "words": {
            "linear_attention": {
                "mixer": "gated-delta",
                "linear_num_key_heads": "=linear_num_heads",
                "linear_num_value_heads": "=linear_num_heads",
                "linear_key_head_dim": "=linear_head_dim",
                "linear_value_head_dim": "=linear_head_dim",
                "linear_conv_kernel_dim": "=linear_conv_kernel_dim",
                "linear_decay": "channel",
                "linear_gate_rank": "=linear_head_dim",
            }
        },
        "kinds": _LINEAR,
        "pattern": "numbered:linear_attn_config.full_attn_layers",
        "inner": "linear_attn_config",
        "renamed": {
            "linear_attn_config.head_dim": "linear_head_dim",
            "linear_attn_config.num_heads": "linear_num_heads",
            "linear_attn_config.short_conv_kernel_size": "linear_conv_kernel_dim",
        },
        "defaults": {"first_k_dense_replace": 1, "moe_layer_freq": 1},
        "unused": "linear_attn_config.kda_layers mla_use_nope num_nextn_predict_layers",
    },
    "bailing_hybrid": {
        "tie_word_embeddings": False,
        **_ATTENTION,
        "mixer": "latent",
        "q_lora_rank": 0,
        "attention_gate": "head",
        "experts": "after:first_k_dense_replace",
        "shared": "num_shared_experts",
        "words": {
            "linear_attention": {
                "mixer": "gated-delta",
                "linear_num_key_heads": ("linear_num_heads", "=linear_num_heads", "=num_attention_heads"),
                "linear_num_value_heads": ("linear_num_heads", "=linear_num_heads", "=num_attention_heads"),
                "linear_key_head_dim": "=head_dim",
                "linear_value_head_dim": "=head_dim",
                "linear_conv_kernel_dim": "=short_conv_kernel_size",
                "linear_decay": "channel",
            }
        },
        "kinds": _LINEAR,
        "pattern": "every:layer_group_size",
        "renamed": {
            "linear_head_dim": "head_dim",
            "linear_conv_kernel_dim": "short_conv_kernel_size",
            "n_shared_experts": "num_shared_experts",
            "num_experts_per_tok": "num_experts_per_token",
            "num_mtp_layers": "num_nextn_predict_layers",
        },
        "unused": "num_nextn_predict_layers",
    },
    "recurrent_gemma": {
        **_ATTENTION,
        "attention_output_bias": True,
        "mlp_bias": True,
        "intermediate_size": "=intermediate_size/2",
        "max_position_embeddings": _ENDLESS,
        "words": {
            "linear_attention": {
                "mixer": "rg-lru",
                "lru_width": "=lru_width",
                "lru_blocks": "=num_attention_heads",
                "conv1d_width": "=conv1d_width",
            },
        },
        "kinds": ("sliding_attention", "linear_attention"),
        "pattern": "cycle:block_types",
        "unused": "head_dim _block_types embeddings_scale_by_sqrt_dim",
    },
    "minimax": {
        "words": {
            "linear_attention": {
                "mixer": "lightning",
                "linear_num_heads": "=num_attention_heads",
                "linear_head_dim": "=head_dim",
            }
        },
        "kinds": _LINEAR,
        "pattern": "at:2:0",
        "experts": "all",
        "expert_size": "intermediate_size",
        "defaults": {"shared_intermediate_size": 0, "postnorm": True},
        "unused": "shared_moe_mode",
    },
    "lfm2": {
        "qk_norm": "head",
        "words": {"conv": _SHORT_CONV},
        "kinds": ("full_attention", "conv"),
        "pattern": "in-or-all:full_attn_idxs",
        "intermediate_size": "two thirds",
        "renamed": {"tie_embedding": "tie_word_embeddings", "block_ff_dim": "intermediate_size"},
        "unused": "block_dim block_mlp_init_scale block_norm_eps block_out_init_scale block_use_swiglu block_use_xavier_init "
        "conv_dim conv_dim_out conv_use_xavier_init use_pos_enc theta",
    },
    "lfm2_moe": {
        "qk_norm": "head",
        "words": {"conv": _SHORT_CONV},
        "pattern": "listed",
        "experts": "after:num_dense_layers",
        "renamed": {"tie_embedding": "tie_word_embeddings"},
        "unused": "use_expert_bias",
    },
    "lfm3": {
        **_ATTENTION,
        "qk_norm": "head",
        "attention_gate": ("use_attention_gate", "head", "none"),
        "norms": ("use_sandwich_norm", "sandwich", "pre"),
        "words": {"conv": _SHORT_CONV},
        "pattern": "listed",
    },
    "mimo_v2_flash": {
        "never_zero": "v_head_dim",
        "neutral": {"add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False},
        "same": {
            "swa_num_attention_heads": "num_attention_heads",
            "swa_head_dim": "head_dim",
            "swa_v_head_dim": "v_head_dim",
        },
        "unused": "attention_chunk_size attention_value_scale layernorm_epsilon",
        "v_head_dim": "=v_head_dim",
        "attention_bias": "=attention_bias",
        "attention_output_bias": False,
        "pattern": "at:6:5:1",
        "experts": "after:1",
        "lists": {
            "layer_types": ("hybrid_layer_pattern", {0: "full_attention", 1: "sliding_attention"}),
            "mlp_layer_types": ("moe_layer_freq", {0: "dense", 1: "sparse"}),
        },
        "words": {
            "sliding_attention": {
                "num_key_value_heads": (
                    "swa_num_key_value_heads",
                    "=swa_num_key_value_heads",
                    "=2*num_key_value_heads",
                ),
                "attention_sinks": True,
                "sliding_window": ("sliding_window_size", "=1+sliding_window_size", None),
            }
        },
    },
    "deepseek_v32": _INDEXED,
    "glm_moe_dsa": _INDEXED,
    "axk1": {
        "mixer": "latent",
        **_ATTENTION,
        "experts": "after:first_k_dense_replace:1",
        "shared": "n_shared_experts",
        "output_norm": True,
    },
    "axk2": {
        **_INDEXED,
        "experts": "after:first_k_dense_replace:1",
        "attention_gate": "latent",
        "input_gate_rank": "=gated_norm_rank",
    },
    "minimax_m3_vl_text": _MINIMAX_M3,
    "minimax_m3": _MINIMAX_M3,
    # Released with code of their own: blocks as in Llama, by other keys.
    "internlm2": {"attention_bias": "=bias", "mlp_bias": False},
    "baichuan": {"renamed": {"model_max_length": "max_position_embeddings"}, "unused": "z_loss_weight"},
    "minicpm": {"defaults": {"tie_word_embeddings": True}, "unused": "scale_emb dim_model_base scale_depth"},
    "qwen": {
        "attention_bias": True,
        "attention_output_bias": False,
        "intermediate_size": "=intermediate_size/2",
        "head_dim": "=kv_channels",
        "neutral": {"no_bias": True, "use_dynamic_ntk": True, "use_logn_attn": True, "use_flash_attn": "auto"},
        "unused": "bf16 fp16 fp32 layer_norm_epsilon onnx_safe seq_length softmax_in_fp32 use_cache_kernel use_cache_quantization",
        "names": {"max_position_embeddings": ("max_position_embeddings", "seq_length")},
    },
    "chatglm": {
        "attention_bias": "=add_qkv_bias",
        "attention_output_bias": "=add_bias_linear",
        "mlp_bias": "=add_bias_linear",
        "head_dim": "=kv_channels",
        "num_key_value_heads": ("multi_query_attention", "=multi_query_group_num", "=num_attention_heads"),
        "names": {
            "vocab_size": ("padded_vocab_size",),
            "num_hidden_layers": ("num_layers",),
            "intermediate_size": ("ffn_hidden_size",),
            "max_position_embeddings": ("seq_length",),
        },
        "norm": ("rmsnorm", "rms", "layer"),
        "norms": ("apply_residual_connection_post_layernorm", None, "pre"),
        "neutral": {"post_layer_norm": True, "original_rope": True},
        "defaults": {"rmsnorm": True, "multi_query_attention": False, "tie_word_embeddings": False},
        "unused": "attention_softmax_in_fp32 classifier_dropout fp32_residual_connection interleaved_qkv layernorm_epsilon max_length "
        "multi_query_group_num prefix_projection pre_seq_len quantization_bit apply_query_key_layer_scaling rope_ratio vocab_size",
    },
    "deepseek": {**_ROUTED, **_ATTENTION},
    # The text model alone; the reference counts the encoders too.
    "phi4_multimodal": {"pattern": "none"},
    "qwen2_vl": _QWEN,
    "qwen2_vl_text": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen2_5_vl_text": _QWEN,
    "qwen2_5_omni_text": _QWEN,
    "qwen3_vl_text": {**_ATTENTION, "qk_norm": "head"},
    "qwen3_vl_moe_text": {**_ATTENTION, "qk_norm": "head", "experts": "step:decoder_sparse_step"},
    "qwen3_omni_moe_text": {**_ATTENTION, "qk_norm": "head", "experts": "step:decoder_sparse_step"},
    "glm4v_text": {"attention_bias": True, "attention_output_bias": False, "norms": "sandwich"},
    "glm4v_moe_text": {**_ROUTED, "attention_bias": "=attention_bias", "attention_output_bias": False},
    "glm_ocr_text": {"norms": "sandwich"},
    "glm_image_text": {"attention_bias": "=attention_bias", "attention_output_bias": False, "norms": "sandwich"},
    "paddleocr_vl_text": {"attention_bias": "=use_bias", "mlp_bias": "=use_bias"},
    "granite4_vision_text": _LLAMA,
    "granite_docling_text": _LLAMA,
    "hunyuan_vl_text": {**_ATTENTION, "qk_norm": "head"},
    "cosmos3_edge_text": {**_LLAMA, "mlp": "plain"},
    "emu3_text_model": _LLAMA,
    "deepseek_v4": {
        "never_zero": "hc_mult index_topk",
        "mixer": "compressed",
        "unused": "compress_rope_theta num_hash_layers qk_rope_head_dim",
        "neutral": {"n_shared_experts": 1},
        "o_groups": "=o_groups",
        "o_lora_rank": "=o_lora_rank",
        "sliding_window": "=sliding_window",
        "attention_sinks": True,
        "experts": "all",
        "shared": "size:moe_intermediate_size",
        "streams": ("hc_mult",),
        "hc_mixing": True,
        "lists": {"layer_types": ("compress_ratios", {0: "sliding_attention", 4: _SPARSE, 128: _HEAVY})},
        "order": ((_HEAVY, _HEAVY), (_HEAVY, _SPARSE)),
        "words": {
            _HEAVY: {"compress_rate": f"=compress_rates.{_HEAVY}"},
            _SPARSE: {
                "compress_rate": f"=compress_rates.{_SPARSE}",
                "index_topk": "=index_topk",
                "index_n_heads": "=index_n_heads",
                "index_head_dim": "=index_head_dim",
            },
        },
    },
    "dots3_note_text": {
        **_INDEXED,
        "experts": "after:first_k_dense_replace:1",
        "shared": "size:shared_experts_intermediate_size",
        "pattern": "at:4:1:2",
        "attention_gate": "head",
        "rotary_key_norm": True,
        "defaults": {"sliding_window": 512},
        "unused": "swa_num_key_value_heads",
        "words": {
            "sliding_attention": {
                name: ("per_layer_config", None, (f"swa_{name}", f"=swa_{name}", size))
                for name, size in {
                    "num_attention_heads": 64,
                    "q_lora_rank": 1024,
                    "kv_lora_rank": 1024,
                    "qk_nope_head_dim": 192,
                    "qk_rope_head_dim": 64,
                    "v_head_dim": 128,
                }.items()
            }
        },
    },
    "hy_v4": {
        "never_zero": "hc_mult",
        **_INDEXED,
        "experts": "after:1",
        "index_topk_freq": 4,
        "attention_gate": "channel",
        "attention_sinks": True,
        "streams": ("hc_mult",),
        "hc_mixing": False,
    },
    # The reference also allocates weights of the zero experts, which return their input: 560.66 B is without them.
    "longcat_flash": {
        "mixer": "latent",
        **_ATTENTION,
        "layers_each": 2,
        "experts": "at:2:0",
        "expert_size": "expert_ffn_hidden_size",
        "shared": "size:ffn_hidden_size",
        "zero_expert_num": "=zero_expert_num",
    },
    "flint": {
        **_ATTENTION,
        "attention_sinks": True,
        "qk_norm": "head",
        "pattern": "at:4:1:2",
        "last_full": True,
        "experts": "step:decoder_sparse_step",
        "defaults": {"mlp_only_layers": [0, 1]},
        "shared": "size:shared_expert_intermediate_size",
    },
    "diffllama": {**_ATTENTION, "differential": True},
    "gemma3n_text": {
        **_ATTENTION,
        "qk_norm": "head",
        "norms": "sandwich",
        "pattern": "every:5",
        "kv_shared": "num_kv_shared_layers",
        "streams": ("hidden_size_per_layer_input", "altup_num_inputs"),
    },
    "gemma4_text": {
        **_GEMMA4,
        "experts": "if:enable_moe_block",
        "shared": "dense",
        "modules": {"experts": "experts.0", "shared_experts": "mlp"},
        "router_scales": True,
        "branch_norms": True,
        "streams": ("hidden_size_per_layer_input",),
    },
    "gemma4_unified_text": _GEMMA4,
    "gpt-sw3": _LEARNED,
    "gpt_neox_japanese": {
        **_LAYER_NORM,
        "attention_output_bias": "last",
        "expansion": "=intermediate_multiple_size",
        "whole_heads": True,
    },
    "opt": {
        **_LEARNED,
        "attention_bias": "=enable_bias",
        "mlp_bias": "=enable_bias",
        "norm": ("layer_norm_elementwise_affine", "layer", "none"),
        "norms": ("do_layer_norm_before", "pre", "post"),
        "final_norm": ("do_layer_norm_before", ("_remove_final_layer_norm", False, True), False),
        "position_offset": 2,
        "embedding_size": "=word_embed_proj_dim",
        "embedding_projection": "tokens",
        "head_size": "=word_embed_proj_dim",
    },
    "xglm": {**_LAYER_NORM, **_BIASED, "position_embedding": "none", "cross_attention": "=add_cross_attention"},
    "biogpt": {**_LEARNED, "position_offset": 2},
    "ctrl": {**_LAYER_NORM, **_BIASED, "position_embedding": "none", "lm_head_bias": True, "whole_heads": True},
    "openai-gpt": {**_LEARNED, "norms": "post", "final_norm": False},
    "bert": _BERT,
    "bert-generation": {**_BERT, "type_vocab_size": None, "head_size": None, "head_transform": False},
    "big_bird": {
        **_BERT,
        "attention_bias": "=use_bias",
        "attention_output_bias": True,
        "pooler": True,
        "unused": "attention_type block_size num_random_blocks",
    },
    "ernie": {**_BERT, "unused": "task_type_vocab_size"},
    "electra": {
        "whole_heads": True,
        **_BERT,
        "embedding_size": "=embedding_size",
        "embedding_projection": "sum",
        "head_size": "=embedding_size",
        "tie_word_embeddings": "=tie_word_embeddings",
    },
    "roformer": {
        "whole_heads": True,
        **_BERT,
        "position_embedding": "rotary",
        "rotary_table": True,
        "unused": "rotary_value",
        "embedding_size": "=embedding_size",
        "embedding_projection": "sum",
        "head_size": "=embedding_size",
    },
    "rembert": {
        **_BERT,
        "embedding_size": "=input_embedding_size",
        "embedding_projection": "sum",
        "embedding_projection_always": True,
        "head_size": "=output_embedding_size",
        "tie_word_embeddings": False,
        "unused": "tie_word_embeddings",
    },
    "megatron-bert": {**_BERT, "norms": "pre", "embedding_norm": False, "final_norm": True},
    "roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "data2vec-text": _ROBERTA,
    "roberta-prelayernorm": {**_ROBERTA, "norms": "pre", "final_norm": True},
    "xmod": {
        **_ROBERTA,
        "norms": ("pre_norm", "pre", "post"),
        "final_norm": "=pre_norm",
        "num_adapters": "=#languages",
        "adapter_size": "=hidden_size/adapter_reduction_factor",
        "unused": "adapter_reuse_layer_norm default_language ln_before_adapter",
    },
    "xlm-roberta-xl": {**_ROBERTA, "norms": "pre", "final_norm": True, "embedding_norm": False},
    "bart": _BART,
    "plbart": _BART,
    "mvp": _BART,
    "mbart": {**_BART, "norms": "pre", "final_norm": True},
    "blenderbot": {**_BART, "norms": "pre", "final_norm": True, "embedding_norm": False, "position_offset": 0},
    "pegasus": {**_BART, "norms": "pre", "final_norm": True, "embedding_norm": False, "position_offset": 0},
    "blenderbot-small": {**_BART, "position_offset": 0},
    "marian": {
        **_BART,
        "embedding_norm": False,
        "position_offset": 0,
        "same": {"decoder_vocab_size": "vocab_size"},
        "unused": _DECODER["unused"] + " share_encoder_decoder_embeddings",
    },
    "bigbird_pegasus": {
        **_BART,
        "norms": "pre",
        "position_offset": 0,
        "tie_word_embeddings": False,
        "unused": _DECODER["unused"] + " attention_type block_size num_random_blocks tie_word_embeddings",
        "attention_bias": "=use_bias",
    },
    "trocr": {
        **_BART,
        "cross_attention": ("cross_attention_hidden_size", "=cross_attention_hidden_size", True),
        "embedding_norm": "=layernorm_embedding",
        "position_embedding": ("use_learned_position_embeddings", "learned", "none"),
    },
    "whisper": {
        **_DECODER,
        "no_key_bias": True,
        "names": {**_DECODER["names"], "max_position_embeddings": ("max_target_positions",)},
        "unused": _DECODER["unused"]
        + (
            " alignment_heads apply_spec_augment classifier_proj_size lang_ids mask_feature_length "
            "mask_feature_min_masks mask_feature_prob mask_time_length mask_time_min_masks mask_time_prob "
            "max_source_positions median_filter_width num_mel_bins use_weighted_layer_sum"
        ),
    },
    "xlm": {
        **_LEARNED,
        "norms": "post",
        "final_norm": False,
        "embedding_norm": True,
        "lm_head_bias": True,
        "type_vocab_size": ("use_lang_emb", ("n_langs=1", None, "=n_langs"), None),
        "names": {"hidden_size": ("emb_dim",)},
        "same": {"n_words": "vocab_size"},
    },
    "moshi": {
        "intermediate_size": "=ffn_dim/2",
        "input_only_tokens": 1,
        "tie_word_embeddings": False,
        "unused": "audio_encoder_config audio_vocab_size depth_decoder_config num_codebooks sliding_window",
    },
}
