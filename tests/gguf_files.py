"""GGUF files that tests write: headers of released models, tensor by tensor, with the types that llama.cpp gives them.

The names and shapes are those of gguf-py/gguf/constants.py and conversion/*.py of llama.cpp; the header is laid out as
ggml's docs/gguf.md has it. Weights are not written, unless a test asks for them.
"""

import struct

from llmcost.model.operators import Buffer

TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "q4_k": 12, "q5_k": 13, "q6_k": 14, "bf16": 30, "mxfp4": 39}
BLOCK_BYTES = {  # weights of a block, and its bytes with scales and minima (ggml-common.h)
    "f32": (1, 4), "f16": (1, 2), "q4_0": (32, 18), "q8_0": (32, 34), "q4_k": (256, 144), "q5_k": (256, 176),
    "q6_k": (256, 210), "bf16": (1, 2), "mxfp4": (32, 17),
}  # fmt: skip


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_of(value):
    """A value of metadata behind its type: a truth value, a number, a text, or a list of one kind of these."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    kind = value_of(value[0])[:4]
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(value)) + b"".join(value_of(each)[4:] for each in value)


def header(metadata, tensors, version=3, magic=b"GGUF"):
    """The bytes of a header; `tensors`: (name, shape with the innermost size first, type)."""
    parts = [magic, struct.pack("<IQQ", version, len(tensors), len(metadata))]
    parts += [text(key) + value_of(value) for key, value in metadata.items()]
    offset = 0
    for name, shape, kind in tensors:
        parts.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TYPES[kind], offset))
        offset += -(-bytes_of(shape, kind) // 32) * 32
    return b"".join(parts)


def bytes_of(shape, kind):
    weights, size = BLOCK_BYTES[kind]
    elements = 1
    for each in shape:
        elements *= each
    return elements // weights * size


def written(path, metadata, tensors, **how):
    path.write_bytes(header(metadata, tensors, **how))
    return path


def total_bytes(tensors):
    return sum(bytes_of(shape, kind) for _, shape, kind in tensors)


def more_bits(layer, layers):
    """Where llama.cpp's Q4_K_M has attn_v and ffn_down in Q6_K (use_more_bits of src/llama-quant.cpp)."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def dense(arch, *, h, layers, a, g, d, i, v, context, tied=False, bias=False, extra=None, qk_norm=False, rope=0,
          sandwich=False, head="q6_k", table="q4_k"):  # fmt: skip
    """A Llama-like model in Q4_K_M: what is alike in llama, qwen2, qwen3 and gemma files."""
    metadata = {
        "general.architecture": arch,
        "general.name": f"a {arch}",
        f"{arch}.block_count": layers,
        f"{arch}.context_length": context,
        f"{arch}.embedding_length": h,
        f"{arch}.feed_forward_length": i,
        f"{arch}.attention.head_count": a,
        f"{arch}.attention.head_count_kv": g,
        f"{arch}.attention.key_length": d,
        f"{arch}.attention.value_length": d,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{arch}.rope.freq_base": 1e6,
        "tokenizer.ggml.tokens": ["a", "bc", ""],
        "tokenizer.ggml.scores": [0.5, 0.25, 0.0],
    } | (extra or {})
    tensors = [("token_embd.weight", (h, v), head if tied else table), ("output_norm.weight", (h,), "f32")]
    tensors += [] if tied else [("output.weight", (h, v), head)]
    tensors += [("rope_freqs.weight", (rope,), "f32")] if rope else []
    for layer in range(layers):
        wide = "q6_k" if more_bits(layer, layers) else "q4_k"
        for name, shape, kind in (
            ("attn_norm.weight", (h,), "f32"),
            ("attn_q.weight", (h, a * d), "q4_k"),
            ("attn_k.weight", (h, g * d), "q4_k"),
            ("attn_v.weight", (h, g * d), wide),
            ("attn_output.weight", (a * d, h), "q4_k"),
            *([(f"attn_{x}.bias", (n * d,), "f32") for x, n in (("q", a), ("k", g), ("v", g))] if bias else []),
            *([(f"attn_{x}_norm.weight", (d,), "f32") for x in "qk"] if qk_norm else []),
            *([(f"post_{x}_norm.weight", (h,), "f32") for x in ("attention", "ffw")] if sandwich else []),
            ("ffn_norm.weight", (h,), "f32"),
            ("ffn_gate.weight", (h, i), "q4_k"),
            ("ffn_up.weight", (h, i), "q4_k"),
            ("ffn_down.weight", (i, h), wide),
        ):
            fits = shape[0] % BLOCK_BYTES[kind][0] == 0  # where not, llama.cpp takes a type of smaller blocks
            tensors.append((f"blk.{layer}.{name}", shape, kind if fits else "q8_0"))
    return metadata, tensors


def llama3_8b():
    return dense("llama", h=4096, layers=32, a=32, g=8, d=128, i=14336, v=128256, context=8192)


# A tensor for each kernel of a shipped model, where its name says nothing that a test is after.
KERNELS = {
    "qkv_proj": "attn_qkv", "q_proj": "attn_q", "o_proj": "attn_output", "gate_up_proj": "ffn_up", "up_proj": "ffn_up",
    "down_proj": "ffn_down", "router": "ffn_gate_inp", "shared_expert_gate": "ffn_gate_inp_shexp",
    "experts_gate_up_proj": "ffn_gate_up_exps", "experts_down_proj": "ffn_down_exps",
    "shared_gate_up_proj": "ffn_up_shexp", "shared_down_proj": "ffn_down_shexp", "q_a_proj": "attn_q_a",
    "q_b_proj": "attn_q_b", "kv_a_proj": "attn_kv_a_mqa", "kv_b_proj": "attn_kv_b", "delta_in_proj": "ssm_in",
    "delta_out_proj": "ssm_out", "indexer_q_proj": "indexer.attn_q_b", "indexer_k_weights_proj": "indexer.attn_k",
    "conv_in_proj": "shortconv.in_proj", "conv_out_proj": "shortconv.out_proj",
    "attention_gate_proj": "attn_gate", "mamba_in_proj": "ssm_in", "mamba_out_proj": "ssm_out",
    "experts_up_proj": "ffn_up_exps", "shared_up_proj": "ffn_up_shexp", "latent_in_proj": "ffn_latent_down",
    "latent_out_proj": "ffn_latent_up",
}  # fmt: skip


def drawn_from(model, arch, kernels_of, said):
    """A header in Q8_0 with the tensors of a model's kernels, and what the conversion of its type writes.

    `kernels_of`: the kernels of one layer by its kind. Sizes of attention are those of the first layer that has it.
    """
    kinds = [layer for layer in model.layers for _ in range(layer.count)]
    attention = next(layer.mixer for layer in model.layers if hasattr(layer.mixer, "num_attention_heads"))
    sizes = attention._asdict()
    dense = next((layer.mlp.intermediate_size for layer in model.layers if hasattr(layer.mlp, "intermediate_size")), 1)
    metadata = {
        "block_count": len(kinds),
        "context_length": model.max_position_embeddings,
        "embedding_length": model.hidden_size,
        "feed_forward_length": dense,
        "attention.head_count": sizes["num_attention_heads"],
        "attention.head_count_kv": sizes.get("num_key_value_heads", 1),
        "attention.key_length": sizes.get("head_dim", 1),
    } | said
    width = model.embedding_size or model.hidden_size
    tensors = [("token_embd.weight", (width, model.vocab_size + model.input_only_tokens), "f16")]
    tensors += [] if model.tie_word_embeddings else [("output.weight", (model.hidden_size, model.vocab_size), "f16")]
    around, layers = kernels_of
    rest = sum(op.params() for op in around if op.name not in ("token_embedding", "lm_head"))
    tensors += [("output_norm.weight", (rest,), "f32")] if rest else []
    for place, kind in enumerate(kinds):
        for op in layers[kind]:
            name = KERNELS.get(op.name)
            if isinstance(op, Buffer):
                tensors.append((f"blk.{place}.exp_probs_b.bias", (op.weights,), "f32"))
                continue
            if name is None:
                if op.params():
                    norm = "attn_q_norm" if op.name == "qk_norm" else op.name
                    tensors.append((f"blk.{place}.{norm}.weight", (op.params(),), "f32"))
                continue
            groups = getattr(op, "groups", 1)
            tensors.append((f"blk.{place}.{name}.weight", (op.k, op.n, groups), "f16"))
            if op.bias:
                tensors.append((f"blk.{place}.{name}.bias", (op.n, groups), "f32"))
    return {"general.architecture": arch} | {f"{arch}.{key}": value for key, value in metadata.items()}, tensors
