"""Released configs against the listings of their checkpoints, where a listing has more than a model's own layers too.

The totals are those that the hub's API gives for a checkpoint's safetensors, as they stand in data/hf_models.json of
github.com/AlexsJones/llmfit. The configs have the keys and sizes of the config.json of that name; where a public file
quotes them, it is named.
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


def total(config):
    model = model_from(document_of(config, "config.json", "model", None, json.dumps(config)))
    return estimate(model, None, Options(context=1)).model.params.total


@pytest.mark.parametrize("name", EXACT)
def test_a_released_config_has_the_parameters_of_its_listing(name):
    listed, config = EXACT[name]
    assert total(config) == listed


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
