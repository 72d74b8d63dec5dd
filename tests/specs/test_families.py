"""Every causal language model type of the installed transformers: our count is the reference's, or we refuse.

The reference implementation is built on torch's meta device, by default and at small sizes with every flag turned
over; small ones run on the CPU for FLOPs and caches. docs/architectures.md lists the types, and is written here.
"""

import json
import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from config_defaults import defaults_of, wrappers
from huggingface_hub.errors import StrictDataclassError
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)
from transformers.models.gemma3n import modeling_gemma3n
from transformers.models.musicgen.modeling_musicgen import MusicgenForCausalLM
from transformers.models.musicgen_melody.modeling_musicgen_melody import MusicgenMelodyForCausalLM

from llmcost.ground.errors import InputError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.architectures import all_types, architecture
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.keys import DEFAULTS, is_harmless
from llmcost.specs.importer.towers import FAMILIES as TOWERS
from llmcost.specs.importer.wrappers import WRAPPERS
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


@pytest.mark.parametrize("kind", OURS)
def test_the_reference_that_stands_beside_a_type_is_the_class_that_it_is_compared_with(kind):
    assert architecture(kind)["reference"] == MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]


@pytest.mark.parametrize("kind", COMPARED)
def test_the_default_configuration_counts_as_the_reference(kind):
    config = default_config(kind)
    assert total(imported(config)) == parameters(reference(config))


READ = {word for kind in OURS for word in re.findall(r"\w+", str(architecture(kind)))}
# Keys that the reference computes anew when it reads a config, from others that it has changed by then.
COMPUTED_AGAIN = {("bailing_hybrid", "linear_head_dim")}


@pytest.mark.parametrize("kind", COMPARED)
def test_a_key_left_out_stands_for_its_default_or_is_missed(kind):
    config = as_saved(default_config(kind))
    unread = {key for key in config if is_harmless(key)} - READ  # whatever their value
    whole = total(model_from(document_of(config, "config.json", "tested")))
    kept = {"model_type", "architectures", *GIVEN.get(kind, {}), *(key for of, key in COMPUTED_AGAIN if of == kind)}
    for key in config.keys() - kept - unread:
        try:
            rest = {name: value for name, value in config.items() if name != key}
            left = model_from(document_of(rest, "config.json", "tested"))
        except InputError:
            continue
        assert total(left) == whole, key


@pytest.mark.parametrize("kind", TEXT_MODELS)
def test_the_text_model_of_a_multimodal_type_counts_as_the_reference(kind, monkeypatch):
    config = default_config(kind)
    if kind == "gemma3n":  # whose tower needs a package beside torch
        build = modeling_gemma3n.AutoModel.from_config
        without = {"from_config": lambda part: torch.nn.Module() if "vision" in part.model_type else build(part)}
        monkeypatch.setattr(modeling_gemma3n, "AutoModel", SimpleNamespace(**without))
    theirs = {
        id(each): each
        for name, each in reference(getattr(config, "decoder", config)).named_parameters()
        if not OTHER_MODULES & set(name.split("."))
    }
    assert text_of(imported(config)) == sum(each.numel() for each in theirs.values())


# Text models of types that are no causal type by themselves: the wrapper, and sizes at which it can be built.
SMALL_LAYERS = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "vocab_size": 160, "head_dim": 16}
SMALL_LATENT = {"kv_lora_rank": 28, "q_lora_rank": 20, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 20}
INSIDE = {
    "step3p7": SMALL_LAYERS
    | {
        "model_type": "step3p5",
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_sliding_attention_heads": 6,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "share_expert_dim": 48,
        "sliding_window": 8,
    },
    "mistral3": SMALL_LAYERS
    | SMALL_LATENT
    | {
        "model_type": "mistral4",
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "first_k_dense_replace": 1,
    },
}
SPARSE = {
    "model_type": "mistral_large4_text", "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 4,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "index_head_dim": 16,
    "index_n_heads": 3, "pad_token_id": 0,
}  # fmt: skip
INSIDE["mistral_large4"] = (
    SMALL_LAYERS
    | SMALL_LATENT
    | SPARSE
    | {"kv_source_layers": [0, 0, 2, 2, 4, 4, 4, 7], "indexer_types": ["full", "shared"] * 4, "q_lora_rank": None}
)
INSIDE["glm5_next"] = (
    SMALL_LAYERS
    | SMALL_LATENT
    | SPARSE
    | {"model_type": "glm5_next_text", "qk_rope_head_dim": 0, "linear_head_dim": 8, "linear_num_heads": 4}
)


@pytest.mark.parametrize("wrapper", INSIDE)
@pytest.mark.parametrize("tied", [True, False])
def test_a_text_model_that_has_no_class_of_its_own_counts_as_inside_its_wrapper(wrapper, tied):
    config = AutoConfig.for_model(wrapper, text_config=INSIDE[wrapper], tie_word_embeddings=tied)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    theirs = {
        id(each): each
        for name, each in model.named_parameters()
        if not OTHER_MODULES & set(name.split(".")) and "vision" not in name and "visual" not in name
    }
    spec = model_from(document_of(config.to_dict(), "config.json", "tested"))
    assert text_of(spec) == sum(each.numel() for each in theirs.values())


@pytest.mark.parametrize("kind", SMALL_ENOUGH)
def test_a_small_configuration_counts_as_the_reference(kind):
    config = small_config(kind)
    assert total(imported(config)) == parameters(reference(config))


# DeepSeek-V4's layers that choose experts by a hash of the token have a table of them in its place.
CORRECTED = [kind for kind in SMALL_ENOUGH if kind != "deepseek_v4"]


@pytest.mark.parametrize("kind", CORRECTED)
def test_numbers_that_correct_the_choice_of_experts_are_loaded_as_the_reference_has_them(kind):
    """Buffers of fp32, an expert and layer each, that are no parameters: with them weights are as large as its own."""
    config = small_config(kind)
    theirs = [
        each.numel() * each.element_size()
        for name, each in reference(config).named_buffers()
        if name.endswith(("e_score_correction_bias", "expert_bias"))
    ]
    layers = imported(config).layers
    stored = [each for each in layers if not each.reuses_weights]
    experts = [(each.count, each.mlp) for each in stored if getattr(each.mlp, "correction_bias", False)]
    assert sum(4 * count * (mlp.num_experts + mlp.zero_expert_num) for count, mlp in experts) == sum(theirs)


FLAGS = (
    "tie_word_embeddings attention_bias mlp_bias use_bias bias use_qkv_bias qkv_bias use_qk_norm qk_layernorm "
    "use_parallel_residual parallel_attn multi_query alibi attention_out_bias lm_head_bias use_sliding_window gating"
)


@pytest.mark.parametrize("kind", SMALL_ENOUGH)
def test_every_flag_turned_over_counts_as_the_reference_or_is_refused(kind):
    default = default_config(kind).to_dict()
    for flag in FLAGS.split():
        if not isinstance(default.get(flag), bool):
            continue
        try:
            config = small_config(kind, **{flag: not default[flag]})
            model = reference(config)
        except (ValueError, StrictDataclassError):
            continue  # transformers refuses it itself
        try:
            spec = imported(config)
        except InputError as error:
            assert flag in str(error)
            continue
        assert total(spec) == parameters(model), flag


# Keys that are harmless but in types whose blocks read them: xielu has weights, an electra has token types, and so on.
READ_BY_SOME = {"hidden_act", "type_vocab_size", "cross_attention_hidden_size"}


@pytest.mark.parametrize("kind", SMALL_ENOUGH)
def test_harmless_keys_change_no_name_and_no_shape_of_the_references_parameters(kind):
    """All of them at once; what the reference cannot be built with is left as it is."""

    def shapes(changes):
        return {name: each.shape for name, each in reference(small_config(kind, **changes)).named_parameters()}

    small, changes = small_config(kind).to_dict(), {}
    for key in {key for key in small if is_harmless(key)} - READ_BY_SOME:
        value = small[key]
        if type(value) not in (bool, int, float):
            continue
        changes[key] = not value if isinstance(value, bool) else value + 1
        try:
            small_config(kind, **changes)
        except (ValueError, TypeError, NotImplementedError, StrictDataclassError):
            del changes[key]
    try:
        changed = shapes(changes)
    except (ValueError, TypeError, RuntimeError, AssertionError):  # one that is not implemented, too
        pytest.skip("the reference cannot be built with all of them at once")
    assert changed == shapes({}), changes


OTHER_SIZES = {64: (48, 96, 128), 4: (1, 2, 3, 5, 6, 8), 2: (1, 4), 24: (8, 16, 40), 160: (100, 177)}


@pytest.mark.parametrize("kind", SMALL_ENOUGH)
def test_a_random_configuration_counts_as_the_reference_or_is_refused(kind):
    """Three times, up to five sizes and flags at once, as released configurations differ from the defaults."""
    chance, small = random.Random(kind), small_config(kind).to_dict()
    changeable = sorted(
        key for key in small if (key in SIZES or isinstance(small[key], bool)) and not key.endswith("_token_id")
    )
    for _ in range(3):
        changes = {
            key: chance.choice((True, False))
            if isinstance(small[key], bool)
            else chance.choice(OTHER_SIZES.get(small[key], (small[key],)))
            for key in chance.sample(changeable, min(len(changeable), 5))
            if small[key] is not None
        }
        try:
            config = small_config(kind, **changes)
            model = reference(config)
        except (
            ValueError,
            StrictDataclassError,
            RuntimeError,
            TypeError,
            ZeroDivisionError,
            IndexError,
            KeyError,
            AssertionError,
        ):
            continue  # transformers cannot build it
        try:
            spec = imported(config)
        except InputError:
            continue
        assert total(spec) == parameters(model), changes


@pytest.mark.parametrize("kind", [kind for kind in SMALL_ENOUGH if kind not in DIFFERENT_FLOPS])
def test_a_forward_pass_has_the_flops_of_torchs_counter(kind):
    config = small_config(kind)
    b, s = 2, 16
    model = reference(config, "cpu")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones(b, s, dtype=torch.long), use_cache=False)
    assert estimate(imported(config), None, Options(batch=b, context=s)).flops.forward.full == counter.get_total_flops()


LISTS = ("layer_types", "mlp_layer_types", "moe_layers", "no_rope_layers")


@pytest.mark.parametrize("kind", COMPARED)
def test_a_config_without_its_lists_of_layers_has_the_same_layers_or_is_refused(kind):
    """Released configs often leave them out, and the reference fills them in by rules of each type's own."""
    config = as_saved(default_config(kind))
    whole = model_from(document_of(config, "config.json", "whole")).layers
    for left_out in [LISTS, *[(name,) for name in LISTS]]:
        try:
            short = model_from(
                document_of({key: config[key] for key in config if key not in left_out}, "config.json", "short")
            ).layers
        except InputError as error:
            assert "is missing" in str(error)
            continue
        assert sorted(map(str, short)) == sorted(map(str, whole))


CACHES = [
    "llama",
    "mistral",
    "ministral3",
    "qwen2",
    "qwen3",
    "phi3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "cohere",
    "cohere2",
    "olmo",
    "olmo2",
    "olmo3",
    "granite",
    "smollm3",
    "stablelm",
    "starcoder2",
    "glm",
    "glm4",
    "seed_oss",
    "exaone4",
    "ernie4_5",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "olmoe",
    "granitemoe",
    "gpt_oss",
    "minimax_m2",
    "gpt2",
    "gpt_neox",
    "gptj",
    "falcon",
    "bloom",
    "opt",
]


@pytest.mark.parametrize("kind", CACHES)
def test_the_cache_is_as_large_as_the_references(kind):
    """In fp32, below the sizes of windows (of which the reference keeps one token less, the newest being at hand)."""
    config = small_config(kind)
    b, c = 2, 16
    with torch.no_grad():
        cache = reference(config, "cpu")(torch.ones(b, c, dtype=torch.long), use_cache=True).past_key_values
    kept = sum(
        tensor.numel() * tensor.element_size() for layer in cache.layers for tensor in (layer.keys, layer.values)
    )
    assert estimate(imported(config), None, Options(batch=b, context=c, dtype="fp32")).kv_cache.bytes == kept


def test_every_type_that_is_refused_has_a_reason():
    assert {kind for kind in TYPES if kind not in FAMILIES} - {*TEXT_MODELS} == WHY.keys()


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in FAMILIES])
def test_a_type_that_is_not_understood_is_refused_by_name(kind):
    with pytest.raises(InputError, match=f"model_type: the architecture '{kind}' is not understood"):
        document_of({"model_type": kind, "hidden_size": 64}, "config.json", "refused")


LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 160,
}
# Released with code of their own: what they are in Llama's or another type's keys.
AS_OTHERS = {
    "internlm2": (
        {"bias": True, "num_key_value_heads": 2},
        "llama",
        {"attention_bias": True, "num_key_value_heads": 2},
    ),
    "baichuan": ({"model_max_length": 64, "tie_word_embeddings": False}, "llama", {"tie_word_embeddings": False}),
    "minicpm": ({"scale_emb": 12}, "llama", {"tie_word_embeddings": True}),
    "mimo": (
        {"attention_bias": True, "num_nextn_predict_layers": 1, "num_key_value_heads": 2},
        "qwen2",
        {"num_key_value_heads": 2},
    ),
    "qwen": (
        {"intermediate_size": 192, "kv_channels": 16, "no_bias": True, "seq_length": 64, "tie_word_embeddings": False},
        "qwen2",
        {"tie_word_embeddings": False, "num_key_value_heads": 4},
    ),
    "chatglm": (
        {
            "num_layers": 3,
            "ffn_hidden_size": 96,
            "padded_vocab_size": 160,
            "kv_channels": 16,
            "seq_length": 64,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "add_qkv_bias": True,
            "add_bias_linear": False,
            "rmsnorm": True,
        },
        "qwen2",
        {"tie_word_embeddings": False, "num_key_value_heads": 2},
    ),
}


@pytest.mark.parametrize("kind", AS_OTHERS)
def test_types_with_code_of_their_own_are_what_they_are_in_other_keys(kind):
    keys, other, others = AS_OTHERS[kind]
    ours, theirs = (
        model_from(document_of({"model_type": name, **LLAMA, **given}, "config.json", "x"))
        for name, given in ((kind, keys), (other, others))
    )
    assert ours.layers == theirs.layers
    assert total(ours) == total(theirs)


@pytest.mark.parametrize(
    "more",
    [{"num_local_experts": 8}, {"num_experts_per_tok": 2}, {"kv_lora_rank": 16}, {"q_lora_rank": 8}, {"v_head_dim": 8}],
)
def test_what_a_type_does_not_know_is_refused_and_never_silently_dense(more):
    with pytest.raises(InputError, match=next(iter(more))):
        document_of({"model_type": "llama", **LLAMA, **more}, "config.json", "x")


def test_wrappers_have_the_text_models_and_tie_embeddings_as_transformers_has_it():
    """The table is written by `python tests/config_defaults.py`."""
    assert json.loads(WRAPPERS.read_text("utf-8")) == wrappers()


def is_encoder(kind):
    return bool(architecture(kind).get("encoder"))


def of_both(kind):
    """What is known of a type that has an encoder and a decoder, in words."""
    if kind not in FAMILIES:
        return "refused"
    if "encoder_stack" in architecture(kind):
        return "exact"
    return "its decoder alone, as " + architecture(kind)["reference"]


def architectures_page():
    """docs/architectures.md: every type with what is known of it."""
    rows = []
    for kind in TYPES:
        if kind in TEXT_MODELS:
            status = "exact, the text model inside it" + ", and its towers" * (kind in TOWERS)
        elif kind in OTHER_PARAMETERS:
            status = f"counted otherwise: {OTHER_PARAMETERS[kind]}"
        elif kind in FAMILIES:
            differs = next((what for what, kinds in OTHER_FLOPS.items() if kind in kinds.split()), None)
            status = "exact" + (f"; FLOPs not compared, the reference computes {differs}" if differs else "")
        else:
            status = f"refused: {WHY[kind]}"
        rows.append(f"| {kind} | {status} |")
    both = sorted({*MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES})
    others = sorted(set(FAMILIES) - set(TYPES) - set(both))
    inside = {kind: text for kind, (text, *_) in json.loads(WRAPPERS.read_text("utf-8")).items() if kind not in TYPES}
    return "\n".join(
        [
            "# Architectures",
            "",
            f"Every causal language model type of transformers {transformers.__version__}, and how its `config.json`",
            "is read: *exact*, the parameters of its default configuration are the reference implementation's, to the",
            "last one; *refused*, with a message that names it.",
            f"{len(COMPARED) + len(TEXT_MODELS)} of {len(TYPES)} types are exact.",
            "Generated by `tests/specs/test_families.py`, which compares them.",
            "",
            "Read besides, as text models inside multimodal configs, under other names, or released with code of their",
            f"own: {', '.join(others)}.",
            "",
            "| causal model_type | |",
            "|---|---|",
            *rows,
            "",
            "Encoders are read as their `architectures` says, with a pooler, labels or the head for masked words",
            f"([conventions.md](conventions.md)): {', '.join(kind for kind in sorted(FAMILIES) if is_encoder(kind))}.",
            "",
            "Encoders with decoders ([conventions.md](conventions.md#encoders-with-decoders)): *exact*, the parameters",
            "of both stacks are the reference's; of the others what is read, or that they are refused.",
            "",
            "| encoder-decoder model_type | |",
            "|---|---|",
            *(f"| {kind} | {of_both(kind)} |" for kind in both if kind not in {*inside, *TEXT_MODELS}),
            "",
            "Of these multimodal types the text model inside is read, and counted as that type is. Their towers,",
            "which are encoders with projectors, are counted too ([conventions.md](conventions.md#images-and-sound)),",
            "or left out, which every answer says.",
            "",
            "| multimodal model_type | its text model | towers |",
            "|---|---|---|",
            *(
                f"| {kind} | {inside.get(kind, 'its own')} | {'counted' if kind in TOWERS else 'left out'} |"
                for kind in sorted({*(kind for kind, text in inside.items() if text in FAMILIES), *TOWERS})
            ),
            "",
        ]
    )


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_the_table_of_defaults_is_what_transformers_declares(kind):
    """It is written by `python tests/config_defaults.py`."""
    table = json.loads(DEFAULTS.read_text("utf-8"))
    assert table.keys() == FAMILIES.keys()
    assert table[kind] == json.loads(json.dumps(defaults_of(kind)))


def test_the_page_of_architectures_is_up_to_date(request):
    page = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
    if request.config.getoption("--update-snapshots"):
        page.write_text(architectures_page(), "utf-8")
    assert page.read_text("utf-8") == architectures_page()
