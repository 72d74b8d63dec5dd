"""The alphabet: one letter a size, the source documents' letters where they have one, in docs, tests and output.

A spec's fields keep Hugging Face's names; formulas print the letters. Where kinds of layers differ in a size,
its letter gets the kind's number: L1, L2. A block may bring letters of its own (`letters`); a size that has none
prints under its own name.
"""

from typing import Any

ALPHABET: dict[str, tuple[str, str]] = {
    "hidden_size": ("h", "hidden size"),
    "vocab_size": ("v", "vocabulary"),
    "max_position_embeddings": ("p", "positions, at most"),
    "input_only_tokens": ("vi", "tokens that are never predicted"),
    "position_offset": ("p0", "rows of the position table before the first position"),
    "embedding_size": ("e", "embedding size"),
    "type_vocab_size": ("vt", "token types"),
    "wider_bytes": ("Wx", "bytes of weights without a format beyond those of activations"),
    "head_size": ("t", "input size of the LM head"),
    "cross_attention_size": ("hx", "hidden size of the encoder"),
    "count": ("L", "layers"),
    "num_attention_heads": ("a", "attention heads"),
    "num_key_value_heads": ("g", "KV heads"),
    "head_dim": ("d", "head size"),
    "v_head_dim": ("dv", "head size of values"),
    "sliding_window": ("w", "sliding window"),
    "local_window": ("w", "keys of a neighbourhood"),
    "global_tokens": ("sg", "tokens that see all"),
    "summary_tokens": ("m", "tokens of a sum"),
    "own_tokens": ("so", "tokens of the encoder's own"),
    "attention_chunk_size": ("w", "attention chunk"),
    "intermediate_size": ("i", "MLP size"),
    "activation_weights": ("wa", "learned weights of an activation"),
    "num_adapters": ("n", "adapters"),
    "adapter_size": ("r", "adapter size"),
    "num_experts": ("E", "experts"),
    "num_experts_per_tok": ("k", "experts a token takes"),
    "moe_intermediate_size": ("f", "MLP size of an expert"),
    "shared_expert_intermediate_size": ("fs", "MLP size of the shared experts"),
    "n_group": ("Eg", "groups of experts"),
    "topk_group": ("kg", "groups that a token's experts come from"),
    "zero_expert_num": ("Ez", "experts that compute nothing"),
    "q_lora_rank": ("rq", "rank of queries"),
    "kv_lora_rank": ("rkv", "rank of the cached latent"),
    "qk_nope_head_dim": ("dn", "head size without rotary embedding"),
    "qk_rope_head_dim": ("dr", "head size with rotary embedding"),
    "moe_latent_size": ("hm", "size that the experts work in"),
    "mamba_expand": ("x", "channels of a state space over h"),
    "mamba_intermediate_size": ("im", "channels of a state space"),
    "mamba_d_state": ("n", "state size"),
    "mamba_d_conv": ("kc", "tokens that a convolution spans"),
    "mamba_dt_rank": ("rdt", "rank of the steps"),
    "mamba_n_heads": ("am", "heads of a state space"),
    "mamba_d_head": ("dm", "channels of a head of a state space"),
    "mamba_n_groups": ("gm", "groups of heads of a state space"),
    "linear_num_heads": ("al", "heads of linear attention"),
    "linear_head_dim": ("dl", "head size of linear attention"),
    "linear_num_key_heads": ("akl", "key heads of linear attention"),
    "linear_num_value_heads": ("avl", "value heads of linear attention"),
    "linear_key_head_dim": ("dkl", "key size of linear attention"),
    "linear_value_head_dim": ("dvl", "value size of linear attention"),
    "linear_conv_kernel_dim": ("kc", "tokens that a convolution spans"),
    "linear_gate_rank": ("rg", "rank of gates"),
    "lru_width": ("u", "channels of the recurrence"),
    "lru_blocks": ("ub", "blocks of channels of the recurrence"),
    "conv1d_width": ("kc", "tokens that a convolution spans"),
    "conv_L_cache": ("kc", "tokens that a convolution spans"),
    "compress_rate": ("m", "tokens of a compressed key"),
    "o_groups": ("go", "groups of the output projection"),
    "o_lora_rank": ("ro", "rank of a group's output"),
    "index_topk": ("wi", "keys that the indexer leaves"),
    "index_n_heads": ("ai", "heads of the indexer"),
    "index_head_dim": ("di", "head size of the indexer"),
    "attention_hidden_size": ("u", "channels of the time mixing"),
    "mlp_adapter_rank": ("r", "rank of adapters"),
    "qkv_adapter_rank": ("r", "rank of adapters"),
    "image_mlp_size": ("ii", "MLP size of layers that look at an image"),
    "input_gate_rank": ("ri", "rank of the gates on a block's input"),
    "hidden_size_per_layer_input": ("hl", "size of a layer's own input"),
    "vocab_size_per_layer_input": ("vl", "vocabulary of the layers' own inputs"),
    "altup_num_inputs": ("na", "streams of AltUp"),
    "laurel_rank": ("rl", "rank of LAuReL"),
    "hc_mult": ("nh", "streams of hyper-connections"),
}
"""Field of a spec -> its letter and what it is. Of the workload and the chip: b batch, s new tokens of a sequence, c
context (keys that the last of them sees), D training tokens; P peak, BW bandwidth, M memory, u share of it in use,
mfu assumed share of the peak; e_c, e_m shares of P and BW that a kernel reaches, t0 its launch time."""


def letter_of(owner: Any, field: str) -> tuple[str, str]:
    """The letter of a size and what it is, as its block says, or the alphabet, or else its name in words."""
    own: dict[str, tuple[str, str]] = owner.letters() if hasattr(owner, "letters") else {}
    return own.get(field) or ALPHABET.get(field) or (field, field.replace("_", " "))
