"""GGUF files of architectures whose layers differ, or that are not shipped: the metadata give the spec of the config.

The tensors are one a kernel of ours (tests/gguf_files.py), so that what is tested is how metadata are read. What
conversions write of a type stands in conversion/*.py of llama.cpp.
"""

import json

import gguf_files as files
import pytest

from llmcost.ground.errors import SpecError
from llmcost.model.architecture import forward, layer_operators
from llmcost.model.card import params_of
from llmcost.model.sizes import Load, element_bytes
from llmcost.specs.catalog import load_model
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

SMALL = {
    "hidden_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2, "num_hidden_layers": 6, "vocab_size": 512,
    "intermediate_size": 640, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip
EXPERTS = {"expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 96}
SHARED = {"expert_shared_count": 1, "expert_shared_feed_forward_length": 96, "leading_dense_block_count": 1}
ROUTED = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 96}
MIXED = ["conv", "conv", "full_attention", "conv", "full_attention", "conv"]
KV_HEADS = [2 if kind == "full_attention" else 0 for kind in MIXED]
TYPES = {  # an architecture -> a config of its type, and what its conversion writes beside heads and widths
    "bailingmoe": (
        ROUTED | {"model_type": "bailing_moe", "num_shared_experts": 1, "first_k_dense_replace": 1, "use_bias": False,
                  "use_qkv_bias": False},
        EXPERTS | SHARED,
    ),
    "bailingmoe2": (
        ROUTED | {"model_type": "bailing_moe_v2", "num_shared_experts": 1, "first_k_dense_replace": 1, "head_dim": 32,
                  "use_bias": False, "use_qkv_bias": False, "use_qk_norm": True},
        EXPERTS | SHARED,
    ),
    "afmoe": (
        ROUTED | {"model_type": "afmoe", "num_shared_experts": 1, "num_dense_layers": 1, "head_dim": 32,
                  "sliding_window": 128, "global_attn_every_n_layers": 4},
        EXPERTS | SHARED | {"attention.sliding_window": 128},
    ),
    "exaone-moe": (
        ROUTED | {"model_type": "exaone_moe", "num_shared_experts": 1, "first_k_dense_replace": 1, "head_dim": 32,
                  "sliding_window": 128, "sliding_window_pattern": 4},
        EXPERTS | SHARED | {"attention.sliding_window": 128},
    ),
    "hunyuan-moe": (
        {"model_type": "hunyuan_v1_moe", "num_experts": 8, "moe_topk": 2, "head_dim": 32, "intermediate_size": 96,
         "use_qk_norm": True},
        EXPERTS | {"expert_shared_feed_forward_length": 96},
    ),
    "minicpm": ({"model_type": "minicpm", "scale_emb": 12}, {"embedding_scale": 12.0}),
    "lfm2": (
        {"model_type": "lfm2", "block_auto_adjust_ff_dim": False, "conv_L_cache": 3, "layer_types": MIXED},
        {"attention.head_count_kv": KV_HEADS, "shortconv.l_cache": 3},
    ),
    "lfm2moe": (
        ROUTED | {"model_type": "lfm2_moe", "num_dense_layers": 2, "conv_L_cache": 3, "layer_types": MIXED},
        EXPERTS | {"attention.head_count_kv": KV_HEADS, "shortconv.l_cache": 3, "leading_dense_block_count": 2},
    ),
}  # fmt: skip


def read(config):
    return model_from(document_of(config, "config.json", "model", None, json.dumps(config)))


def merged(model):
    kinds = {}
    for layer in model.layers:
        key = layer._replace(count=0, formats=(), unquantized=())
        kinds[key] = kinds.get(key, 0) + layer.count
    return kinds


def written(path, model, arch, said):
    size, load = element_bytes("bf16", "bf16", "bf16"), Load(1, 1, 1)
    whole = forward(model, size, load)
    layers = {layer: [*layer_operators(model, layer, size, load)] for layer in model.layers}
    return files.written(path, *files.drawn_from(model, arch, ([*whole.first, *whole.last], layers), said))


def same(path, model, arch, said):
    found = load_model(str(written(path, model, arch, said)))
    return merged(found) == merged(model) and params_of(found) == params_of(model)


@pytest.mark.parametrize("arch", TYPES)
def test_metadata_give_the_spec_of_the_config(tmp_path, arch):
    config, said = TYPES[arch]
    assert same(tmp_path / "a.gguf", read(SMALL | config), arch, said)


def of_layers(model, number):
    """One number for every layer of a model, by its kind."""
    return [number(layer) for layer in model.layers for _ in range(layer.count)]


def heads(layer):
    return getattr(layer.mixer, "num_key_value_heads", 0)


def scan(model):
    """What is written of Mamba 2."""
    (mixer, *_) = [layer.mixer for layer in model.layers if hasattr(layer.mixer, "mamba_n_heads")]
    return {
        "ssm.conv_kernel": mixer.mamba_d_conv, "ssm.state_size": mixer.mamba_d_state,
        "ssm.group_count": mixer.mamba_n_groups, "ssm.time_step_rank": mixer.mamba_n_heads,
        "ssm.inner_size": mixer.mamba_n_heads * mixer.mamba_d_head,
        "attention.head_count_kv": of_layers(model, heads),
    }  # fmt: skip


def routed(model):
    (mlp, *_) = [layer.mlp for layer in model.layers if hasattr(layer.mlp, "num_experts")]
    return {
        "expert_count": mlp.num_experts, "expert_used_count": mlp.num_experts_per_tok,
        "expert_feed_forward_length": mlp.moe_intermediate_size,
        "expert_shared_feed_forward_length": mlp.shared_expert_intermediate_size, "expert_shared_count": 1,
    } | ({"moe_latent_size": mlp.moe_latent_size} if getattr(mlp, "moe_latent_size", 0) else {})  # fmt: skip


def width(layer):
    """The width of a layer that is an MLP alone, and 0 of another."""
    alone = not (hasattr(layer.mixer, "num_key_value_heads") or hasattr(layer.mixer, "mamba_n_heads"))
    size = getattr(layer.mlp, "moe_intermediate_size", 0) or getattr(layer.mlp, "intermediate_size", 0)
    return size if alone else 0


def granite(model):
    size = routed(model)["expert_feed_forward_length"]
    return scan(model) | routed(model) | {"feed_forward_length": size, "rope.scaling.finetuned": False}


def nemotron(model):
    return scan(model) | {"feed_forward_length": of_layers(model, width)}


def gemma4(model):
    kinds = {layer.mixer.sliding_window > 0: layer.mixer for layer in model.layers}
    local, full = kinds[True], kinds[False]
    return {
        "attention.head_count_kv": of_layers(model, heads), "attention.sliding_window": local.sliding_window,
        "attention.sliding_window_pattern": of_layers(model, lambda layer: layer.mixer.sliding_window > 0),
        "attention.key_length": full.head_dim, "attention.key_length_swa": local.head_dim,
        "embedding_length_per_layer_input": 0, "attention.shared_kv_layers": 0,
    }  # fmt: skip


RELEASED = {
    "granite-4.0-h-tiny": ("granitehybrid", granite),
    "nemotron-h-8b": ("nemotron_h", nemotron),
    "nemotron-3-nano-30b-a3b": ("nemotron_h_moe", lambda model: nemotron(model) | routed(model)),
    "nemotron-3-super-120b-a12b": ("nemotron_h_moe", lambda model: nemotron(model) | routed(model)),
    "gemma-4-31b": ("gemma4", gemma4),
    "ernie-4.5-21b-a3b": ("ernie4_5-moe", lambda model: routed(model) | {
        "expert_shared_count": 2, "leading_dense_block_count": 1, "interleave_moe_layer_step": 1}),
    "glm-5": ("glm-dsa", lambda model: routed(model) | {
        "attention.kv_lora_rank": 512, "rope.dimension_count": 64, "attention.key_length": 576,
        "attention.value_length": 512, "attention.key_length_mla": 256, "attention.value_length_mla": 256,
        "attention.q_lora_rank": 2048, "leading_dense_block_count": 3, "expert_group_count": 1,
        "expert_group_used_count": 1, "attention.indexer.head_count": 32, "attention.indexer.key_length": 128,
        "attention.indexer.top_k": 2048}),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_metadata_give_the_released_model(tmp_path, name):
    arch, said = RELEASED[name]
    model = load_model(name)
    assert same(tmp_path / "a.gguf", model, arch, said(model))


def test_a_list_that_is_none_of_whole_numbers_is_refused_by_its_key(tmp_path):
    config, said = TYPES["lfm2"]
    path = written(tmp_path / "a.gguf", read(SMALL | config), "lfm2", said | {"attention.head_count_kv": [0.5] * 6})
    with pytest.raises(SpecError, match="head_count_kv"):
        load_model(str(path))


@pytest.mark.parametrize("heads", [[2, 0], [0] * 6, [2] * 60, ["two"] * 6])
def test_a_list_of_another_length_or_kind_is_refused(tmp_path, heads):
    config, said = TYPES["lfm2"]
    path = written(tmp_path / "a.gguf", read(SMALL | config), "lfm2", said | {"attention.head_count_kv": heads})
    with pytest.raises(SpecError):
        load_model(str(path))
