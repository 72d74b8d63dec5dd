"""The names that a spec's fields go by in Hugging Face configs, and keys that mean the same in every type."""

from typing import Any

# A spec's field -> the names it goes by in configs.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "num_attention_heads": (
        "num_attention_heads",
        "n_head",
        "n_heads",
        "num_heads",
        "attention_heads",
        "decoder_attention_heads",
    ),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "dff", "decoder_ffn_dim"),
    "vocab_size": ("vocab_size",),
    "max_position_embeddings": (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "seq_length",
        "model_max_length",
    ),
    "tie_word_embeddings": ("tie_word_embeddings",),
    "sliding_window": ("sliding_window", "window_size", "attention_window_size"),
    "attention_chunk_size": ("attention_chunk_size",),
    "q_lora_rank": ("q_lora_rank",),
    "kv_lora_rank": ("kv_lora_rank",),
    "qk_nope_head_dim": ("qk_nope_head_dim",),
    "qk_rope_head_dim": ("qk_rope_head_dim",),
    "v_head_dim": ("v_head_dim",),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"),
    "num_experts_per_tok": (
        "num_experts_per_tok",
        "num_experts_per_token",
        "experts_per_token",
        "moe_topk",
        "moe_k",
        "top_k_experts",
    ),
    "moe_intermediate_size": ("moe_intermediate_size",),
}
# Keys that change no count at this value.
NEUTRAL: dict[str, Any] = {
    "add_cross_attention": False,
    "norm_bias": True,
    "position_embedding_type": "absolute",
    "rotary": True,
    "attention_method": "MLA",
    "use_bidirectional_attention": "vision",
    "moe_layer_freq": 1,
    "zero_expert_type": "identity",
    "sliding_window_size": -1,  # of MLC: none
}
# Keys of a multimodal config's other models, and what these are called.
OTHER_PARTS = {
    "vision_config": "the vision encoder",
    "vision_tower_cfg": "the vision encoder",  # VILA
    "visual": "the vision encoder",  # Qwen-VL
    "audio_config": "the audio encoder",
    "speech_config": "the speech encoder",
}
# Activations that have weights: they are no harmless value of a key that says which function is computed.
WITH_WEIGHTS = ("xielu",)
# Layers of multi-token prediction, by any name.
DRAFTS = (
    *("num_nextn_predict_layers", "num_mtp_layers", "_num_mtp_layers", "mtp_num_layers", "mtp_num_hidden_layers"),
    "num_mtp_modules",
)
# The keys that may list every layer's type, and words that they were written in before.
LAYER_LISTS = ("layer_types", "layers_block_type", "hybrid_override_pattern")
FORMER_WORDS = {
    "mamba": "linear_attention",
    "attention": "full_attention",
    "M": "linear_attention",
    "*": "full_attention",
    "E": "moe",
    "-": "mlp",
    "deepseek_sparse_attention": "indexed_attention",
}
