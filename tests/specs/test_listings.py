"""Released configs against the listings of their checkpoints, where a listing has more than a model's own layers too.

The totals are those that the hub's API gives for a checkpoint's safetensors, as they stand in data/hf_models.json of
github.com/AlexsJones/llmfit and of github.com/sammcj/llmfit. The configs have the keys and sizes of the config.json of
that name; where a public file quotes them, it is named.
"""

import json

import pytest

from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from


def of(positions, depth):
    """Types of layers: full attention at some positions, convolutions elsewhere."""
    return ["full_attention" if at in positions else "conv" for at in range(depth)]


LFM2 = {
    "model_type": "lfm2", "num_key_value_heads": 8, "vocab_size": 65536, "num_hidden_layers": 16, "conv_L_cache": 3,
    "block_auto_adjust_ff_dim": True, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
}  # fmt: skip
EYES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
EXACT = {
    # sizes: a public test of a port of it to Trainium, which quotes the config.json
    "arcee-ai/Trinity-Large-Thinking": (398_635_286_016, {
        "model_type": "afmoe", "hidden_size": 3072, "intermediate_size": 12288, "moe_intermediate_size": 3072,
        "num_attention_heads": 48, "num_dense_layers": 6, "num_experts": 256, "num_experts_per_tok": 4,
        "num_hidden_layers": 60, "num_key_value_heads": 8, "sliding_window": 4096, "head_dim": 128,
        "vocab_size": 200192, "num_shared_experts": 1, "global_attn_every_n_layers": 4, "score_func": "sigmoid",
        "mup_enabled": True, "use_grouped_mm": True, "tie_word_embeddings": False,
    }),
    "LiquidAI/LFM2-350M": (354_483_968, LFM2 | {
        "hidden_size": 1024, "num_attention_heads": 16, "block_ff_dim": 6656,
    }),
    "LiquidAI/LFM2-700M": (742_489_344, LFM2 | {
        "hidden_size": 1536, "num_attention_heads": 24, "block_ff_dim": 10240,
    }),
    "LiquidAI/LFM2-1.2B": (1_170_340_608, LFM2 | {
        "hidden_size": 2048, "num_attention_heads": 32, "block_ff_dim": 12288,
    }),
    "LiquidAI/LFM2-2.6B": (2_569_272_320, {
        "model_type": "lfm2", "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": 30, "block_ff_dim": 10752, "block_auto_adjust_ff_dim": False, "vocab_size": 65536,
        "layer_types": of((2, 6, 10, 14, 18, 22, 26, 29), 30),
    }),
    "LiquidAI/LFM2-8B-A1B": (8_339_929_856, {
        "model_type": "lfm2_moe", "hidden_size": 2048, "intermediate_size": 7168, "moe_intermediate_size": 1792,
        "num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 65536,
        "num_dense_layers": 2, "num_experts": 32, "num_experts_per_tok": 4, "use_expert_bias": True,
        "conv_L_cache": 3, "layer_types": of((2, 6, 10, 14, 18, 21), 24),
    }),
}  # fmt: skip


EXACT |= {
    "tiiuae/Falcon-H1-0.5B-Base": (521_411_104, {
        "model_type": "falcon_h1", "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 36,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 32784, "mamba_d_conv": 4,
        "mamba_d_head": 64, "mamba_d_ssm": 1536, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1,
        "mamba_n_heads": 24, "mamba_rms_norm": False, "mamba_conv_bias": True, "mamba_proj_bias": False,
        "projectors_bias": False, "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
    }),
    **{
        f"LiquidAI/LFM2-VL-{size}": (listed, {
            "model_type": "lfm2_vl", "architectures": ["Lfm2VlForConditionalGeneration"], "downsample_factor": 2,
            "projector_bias": True, "projector_use_layernorm": True, "projector_hidden_size": 2560,
            "text_config": LFM2 | dict(zip(("hidden_size", "num_attention_heads", "block_ff_dim"), text, strict=True)),
            "vision_config": {
                "model_type": "siglip2_vision_model", "vision_use_head": False, "patch_size": 16, "num_patches": 256,
                **dict(zip(EYES, eyes, strict=True)),
            },
        })
        for size, listed, text, eyes in (
            ("450M", 450_822_656, (1024, 16, 6656), (768, 3072, 12, 12)),
            ("1.6B", 1_584_804_000, (2048, 32, 12288), (1152, 4304, 16, 26)),
        )
    },
}  # fmt: skip


def total(config):
    model = model_from(document_of(config, "config.json", "model", None, json.dumps(config)))
    return estimate(model, None, Options(context=1)).model.params.total


@pytest.mark.parametrize("name", EXACT)
def test_a_released_config_has_the_parameters_of_its_listing(name):
    listed, config = EXACT[name]
    assert total(config) == listed


def test_step_3_5_has_the_parameters_of_its_listing():
    """stepfun-ai/Step-3.5-Flash: with a bias of the router for each expert, and three layers that draft.

    Such a layer joins two states, each with a norm; has a sliding layer's attention, of 96 heads with a gate each, and
    a dense MLP; and a norm and a head of its own.
    """
    kinds = (["full_attention"] + 3 * ["sliding_attention"]) * 11 + ["full_attention"]
    config = {
        "model_type": "step3p5", "hidden_size": 4096, "intermediate_size": 11264, "num_hidden_layers": 45,
        "num_attention_heads": 64, "num_attention_groups": 8, "head_dim": 128, "vocab_size": 128896,
        "moe_num_experts": 288, "moe_top_k": 8, "moe_intermediate_size": 1280, "share_expert_dim": 1280,
        "moe_layers_enum": ",".join(map(str, range(3, 45))), "layer_types": kinds, "sliding_window": 512,
        "use_head_wise_attn_gate": True, "tie_word_embeddings": False,
        "attention_other_setting": {
            "attention_type": "sliding_attention", "num_attention_heads": 96, "num_attention_groups": 8,
            "head_dim": 128,
        },
    }  # fmt: skip
    h, inner = 4096, 96 * 128
    attention = 2 * h * inner + 2 * h * 8 * 128 + h * 96 + 2 * 128
    draft = 2 * h * h + 2 * h + attention + 2 * h + 3 * h * 11264 + h + 128896 * h
    assert total(config) + 42 * 288 + 3 * draft == 199_384_301_376


def test_moshiko_has_the_parameters_of_its_listing():
    """kmhf/hf-moshiko: its codec's 32 books are kept as sums of 2048 codes of 256, with how often each was used."""
    config = {"model_type": "moshi", "architectures": ["MoshiForConditionalGeneration"], "audio_vocab_size": 2048}
    assert total(config) + 32 * (2048 * 256 + 2048 + 1) == 7_783_880_545


def latent(h, rq, rkv, heads, nope, rope, v):
    """Weights of multi-head latent attention with its two norms."""
    queries = h * rq + rq + rq * heads * (nope + rope)
    return queries + h * (rkv + rope) + rkv + rkv * heads * (nope + v) + heads * v * h


def test_command_a_vision_has_the_parameters_of_its_listing():
    """CohereLabs/command-a-vision-07-2025: Command A's text model, SigLIP and a projector of 36,864."""
    text = {"model_type": "cohere2", "hidden_size": 12288, "intermediate_size": 36864, "num_hidden_layers": 64}
    text |= {"num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 256000}
    seen = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "image_size": 512}
    seen |= {"patch_size": 16, "num_attention_heads": 16, "num_hidden_layers": 27, "vision_use_head": False}
    config = {"model_type": "cohere2_vision", "text_config": text, "vision_config": seen, "downsample_factor": 2}
    assert total(config | {"alignment_intermediate_size": 36864}) == 111_867_525_360


def test_step_3_7_names_the_keys_of_its_tower_otherwise():
    """The same tower under the names of transformers and of the released config.json, whose MLP follows a ratio."""
    text = {"model_type": "step3p5"}
    released = {"model_type": "perception_encoder", "width": 1536, "layers": 47, "heads": 16, "mlp_ratio": 8960 / 1536}
    released |= {"use_cls_token": False, "use_ln_post": False, "ls_init_value": 0.1, "output_dim": None}
    whole = {"model_type": "step3p7", "text_config": text, "projector_bias": False, "image_token_len": 169}
    named = {"hidden_size": 1536, "num_hidden_layers": 47, "num_attention_heads": 16, "mlp_ratio": 8960 / 1536}
    size = {"image_size": 728, "patch_size": 14}
    tower = 1_981_014_784  # of the reference, at its defaults
    alone = total(text)
    assert (
        total(whole | {"vision_config": released | size})
        == total(whole | {"vision_config": named | size})
        == alone + tower
    )


def test_dots_llm1_lists_the_biases_of_its_routers_besides():
    """rednote-hilab/dots.llm1.inst: 61 layers with a bias for each of 128 experts, which is a buffer."""
    config = {"model_type": "dots1", "hidden_size": 4096, "n_routed_experts": 128, "n_shared_experts": 2}
    config |= {"num_experts_per_tok": 6, "first_k_dense_replace": 1, "tie_word_embeddings": False}
    assert total(config) + 61 * 128 == 142_774_381_696


def test_glm_5_lists_a_layer_that_drafts_and_the_biases_of_its_routers_besides():
    """zai-org/GLM-5 and 5.1: the layer is one with experts, and a projection of two states with three norms."""
    h, di, ai = 6144, 128, 32
    indexer = 2048 * ai * di + h * (di + ai) + 2 * di
    experts = 3 * h * 2048 * (256 + 1) + 256 * h
    layer = latent(h, 2048, 512, 64, 192, 64, 256) + indexer + experts + 2 * h
    drafts = layer + 2 * h * h + 3 * h
    assert total({"model_type": "glm_moe_dsa"}) + drafts + (75 + 1) * 256 == 753_864_139_008


def test_longcat_flash_lists_a_dense_layer_that_drafts_with_an_embedding_of_its_own():
    """meituan-longcat/LongCat-Flash-Chat, and a bias for each of 512 experts and 256 that return their input."""
    h = 6144
    drafts = latent(h, 1536, 512, 64, 128, 64, 128) + 3 * h * 12288 + 2 * h * h + 131072 * h + 5 * h
    assert total({"model_type": "longcat_flash"}) + drafts + 28 * (512 + 256) == 561_862_880_256


def test_mimo_v2_flash_lists_three_layers_that_draft_and_the_scales_of_its_blocks_besides():
    """XiaomiMiMo/MiMo-V2-Flash: its fp8 weights have a scale for each 128 × 128 elements, and its outputs none.

    The layers that draft see windows and have dense MLPs, two norms of states more, and a projection of both. In
    layers that see everything each of the 4 KV heads has blocks of its own: 192 rows of keys are two of them.
    """
    h, middle, experts = 4096, 16384, 47 * 256
    q, out = 64 * 192, 64 * 128
    keys_and_values = {4: 4 * (192 + 128), 8: 8 * (192 + 128)}
    drafts = 3 * (h * (q + keys_and_values[8] + out) + 64 + 3 * h * middle + 2 * h * h + 5 * h)
    windows = (39 + 3) * (q + keys_and_values[8])
    whole = 9 * (q + 4 * (2 * 128 + 128))
    rows = windows + whole + experts * 3 * 2048 + (1 + 3) * 3 * middle
    assert total({"model_type": "mimo_v2_flash"}) + drafts + experts + rows * h // 128**2 == 309_785_318_400
