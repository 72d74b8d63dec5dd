"""Every causal language model type of the installed transformers: our count is the reference's, or we refuse.

The reference implementation is built on torch's meta device, by default and at small sizes with every flag turned
over; small ones run on the CPU for FLOPs and caches.
"""

import random
import re
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from small_configs import (
    COMPARED,
    DIFFERENT_FLOPS,
    GIVEN,
    OTHER_MODULES,
    OURS,
    SIZES,
    SMALL_ENOUGH,
    TEXT_MODELS,
    as_saved,
    default_config,
    imported,
    parameters,
    reference,
    small_config,
    text_of,
    total,
)
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.models.gemma3n import modeling_gemma3n

from llmcost.ground.errors import InputError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.architectures import architecture
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.keys import is_harmless
from llmcost.specs.models import model_from


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
