"""Tensors of quantised checkpoints, one by one, and a small model to keep in them.

Each lister says, for a linear layer of k inputs and n outputs, which tensors its format stores (shape, bits an
element), as the format's own library writes them. Norms, the embedding and the LM head stay in 16 bits.
"""

from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

H, I, L, A, G, D, V = 1024, 2048, 4, 8, 2, 128, 1000
LLAMA = {
    "model_type": "llama",
    "hidden_size": H,
    "intermediate_size": I,
    "num_hidden_layers": L,
    "num_attention_heads": A,
    "num_key_value_heads": G,
    "vocab_size": V,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
ATTENTION = [(H, A * D), (H, G * D), (H, G * D), (A * D, H)]  # q, k, v, o: inputs, outputs
AWQ, GPTQ = ({"quant_method": method, "bits": 4, "group_size": 128} for method in ("awq", "gptq"))
MLP = [(H, I), (H, I), (I, H)]


def awq_or_gptq(k, n, bits, group):
    groups = 1 if group == -1 else k // group
    return [(k * n, bits), (groups * n, 16), (groups * n, bits)]  # qweight, scales, qzeros


def compressed(k, n, bits, group, symmetric=True):
    return [(k * n, bits), (k // group * n, 16), *([] if symmetric else [(k // group * n, bits)])]


def channel(k, n, bits, scale):
    return [(k * n, bits), (n, scale)]


def block128(k, n):
    return [(k * n, 8), (k // 128 * (n // 128), 32)]


def nf4(k, n, double):
    blocks = k * n // 64
    return [(k * n, 4), *([(blocks, 8), (blocks // 256, 32)] if double else [(blocks, 32)])]


def scheme(bits, kind, strategy, group=None, symmetric=True):
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": group, "symmetric": symmetric}
    return {
        "quant_method": "compressed-tensors",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


BNB = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": False,
}


def read(config, quantization):
    return model_from(document_of(config | {"quantization_config": quantization}, "config.json", "tested"))


def weights(spec):
    return estimate(spec, None, Options(context=1)).memory.weights_bytes


def bits(layers, tensors):
    return sum(count * size for k, n in layers for count, size in tensors(k, n))


PLAIN = 2 * (2 * V * H + (2 * L + 1) * H)  # embedding, LM head and norms, in bytes


def gptq4(k, n):
    return awq_or_gptq(k, n, 4, 128)


def gptq8(k, n):
    return awq_or_gptq(k, n, 8, 128)


def fp8(k, n):
    return channel(k, n, 8, 16)


def w4a16(k, n):
    return compressed(k, n, 4, 128)


def group(names, *weights):
    (found,) = scheme(*weights)["config_groups"].values()
    return found | {"targets": names}
