"""Released multimodal models: their parameters are those of the checkpoints' listings."""

from pathlib import Path

import pytest
import torch
from small_towers import config_of, reference, towers
from torch.utils.flop_counter import FlopCounterMode

from llmcost.model.counting import count_pass
from llmcost.model.token_places import Tokens
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.catalog import load_hardware
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.towers import FAMILIES as EVERY_FAMILY
from llmcost.specs.models import model_from

# -- released models ------------------------------------------------------------------------------------

GEMMA_TOWER = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16, "image_size": 896, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
QWEN2_5_TOWER = {
    "depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "in_chans": 3,
    "out_hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2, "temporal_patch_size": 2,
}  # fmt: skip
QWEN3_TOWER = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "in_channels": 3, "patch_size": 16,
    "out_hidden_size": 4096, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24], "model_type": "qwen3_vl",
}  # fmt: skip
INTERN = {
    "model_type": "intern_vit_6b", "hidden_size": 1024, "image_size": 448, "intermediate_size": 4096,
    "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "qkv_bias": True, "qk_normalization": False,
    "norm_type": "layer_norm", "use_flash_attn": True, "initializer_factor": 1.0,
}  # fmt: skip
# Config as released -> parameters as the listing of its checkpoint on the hub has them. Six of these figures stand in
# public repositories that quote such listings or count a loaded model; InternVL3-8B's stands there for fine-tuned
# checkpoints of its shapes alone, and its own page says 15.9 GB of 16 bits (internvl.readthedocs.io, InternVL 3.0).
RELEASED = {
    "Qwen2.5-VL-7B-Instruct": (
        {
            "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
            "max_position_embeddings": 128000, "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "vision_config": QWEN2_5_TOWER,
        },
        8_292_166_656,
    ),
    "Qwen3-VL-8B-Instruct": (
        {
            "model_type": "qwen3_vl", "tie_word_embeddings": False,
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "text_config": {
                "model_type": "qwen3_vl_text", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
                "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
                "max_position_embeddings": 262144,
            },
            "vision_config": QWEN3_TOWER,
        },
        8_767_123_696,
    ),
    "InternVL3-8B": (
        {
            "model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "downsample_ratio": 0.5,
            "force_image_size": 448, "dynamic_image_size": True, "use_thumbnail": True, "min_dynamic_patch": 1,
            "max_dynamic_patch": 12, "select_layer": -1, "vision_config": INTERN,
            "llm_config": {
                "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584,
                "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
                "num_key_value_heads": 4, "vocab_size": 151674, "tie_word_embeddings": False,
                "max_position_embeddings": 32768,
            },
        },
        7_944_373_760,
    ),
    "gemma-3-4b-it": (
        {
            "model_type": "gemma3", "mm_tokens_per_image": 256, "architectures": ["Gemma3ForConditionalGeneration"],
            "text_config": {
                "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
                "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208,
                "max_position_embeddings": 131072, "sliding_window": 1024,
            },
            "vision_config": GEMMA_TOWER,
        },
        4_300_079_472,
    ),
    "Llama-3.2-11B-Vision-Instruct": (
        {
            "model_type": "mllama", "architectures": ["MllamaForConditionalGeneration"],
            "text_config": {
                "model_type": "mllama_text_model", "hidden_size": 4096, "intermediate_size": 14336,
                "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
                "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38], "max_position_embeddings": 131072,
                "tie_word_embeddings": False,
            },
            "vision_config": {"model_type": "mllama_vision_model", "image_size": 560, "hidden_size": 1280},
        },
        10_670_220_835,
    ),
    "Mistral-Small-3.1-24B-Instruct-2503": (
        {
            "model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"], "spatial_merge_size": 2,
            "multimodal_projector_bias": False, "vision_feature_layer": -1, "tie_word_embeddings": False,
            "text_config": {
                "model_type": "mistral", "hidden_size": 5120, "intermediate_size": 32768, "num_hidden_layers": 40,
                "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
                "max_position_embeddings": 131072, "sliding_window": None,
            },
            "vision_config": {
                "model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                "num_attention_heads": 16, "image_size": 1540, "patch_size": 14, "head_dim": 64,
            },
        },
        24_011_361_280,
    ),
    "Llama-4-Scout-17B-16E-Instruct": (
        {
            "model_type": "llama4", "architectures": ["Llama4ForConditionalGeneration"],
            "text_config": {"model_type": "llama4_text", "num_hidden_layers": 48, "num_local_experts": 16},
            "vision_config": {
                "model_type": "llama4_vision_model", "hidden_size": 1408, "image_size": 336, "intermediate_size": 5632,
                "num_attention_heads": 16, "num_hidden_layers": 34, "patch_size": 14, "projector_input_dim": 4096,
                "projector_output_dim": 4096, "vision_output_dim": 4096, "pixel_shuffle_ratio": 0.5,
            },
        },
        108_641_793_536,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_model_has_the_parameters_of_its_checkpoint(name):
    config, listed = RELEASED[name]
    params = estimate(model_from(document_of(config, "config.json", name)), None, Options(context=1)).model.params
    assert params.text + params.towers == params.total == listed


def test_the_page_names_every_type_whose_towers_are_counted():
    page = (Path(__file__).parents[2] / "docs" / "conventions.md").read_text("utf-8")
    section = page.partition("## Images and sound")[2].partition("\n## ")[0]
    assert [kind for kind in EVERY_FAMILY if f"`{kind}`" not in section] == []


def test_llama_3_2_looks_at_images_with_the_flops_and_the_cache_of_the_reference():
    """Its reference also multiplies masks of the tiles' patches by each other: 72 a tile, with class and padding."""
    config = config_of("mllama")
    model, spec = reference(config, "cpu"), model_from(document_of(config.to_dict(), "config.json", "mllama"))
    b, s, seen = 2, 24, 4 * 72
    tokens = torch.full((b, s), 3)
    image = {
        "pixel_values": torch.zeros(b, 1, 4, 3, 32, 32),
        "aspect_ratio_ids": torch.ones(b, 1, dtype=torch.long),
        "aspect_ratio_mask": torch.ones(b, 1, 4, dtype=torch.long),
    }
    with FlopCounterMode(display=False) as prompts, torch.no_grad():
        found = model(tokens, **image, cross_attention_mask=torch.ones(b, s, 1, 4, dtype=torch.long), use_cache=True)
    asked = Options(batch=b, prompt=s, context=s, images=1, dtype="fp32", logits="all")
    ours = estimate(spec, None, asked)
    assert ours.flops.prefill.full == prompts.get_total_flops() - 2 * b * seen * seen
    kept = [each for layer in found.cache.layers for each in (layer.keys, layer.values)]
    assert ours.kv_cache.bytes == sum(each.numel() * 4 for each in kept)
    mask = torch.ones(b, s + 1, 1, 4, dtype=torch.long)
    with FlopCounterMode(display=False) as step, torch.no_grad():
        model(tokens[:, :1], cache=found.cache, cross_attention_mask=mask, use_cache=True)
    later = estimate(spec, None, asked._replace(context=s + 1))
    assert later.flops.per_token.total * b == step.get_total_flops()
    without = estimate(spec, None, Options(batch=b, prompt=s, context=s, dtype="fp32"))
    assert without.kv_cache.bytes == ours.kv_cache.bytes - 2 * b * 4 * 65 * 2 * 16 * 4  # 2 KV heads of 16, 65 a tile
    assert without.model.params.total == ours.model.params.total


def test_what_images_add_to_the_cache_is_held_by_every_sequence_of_the_batch():
    spec = model_from(document_of(config_of("mllama").to_dict(), "config.json", "mllama"))
    gpu = load_hardware("h100")
    plain, seen = (estimate(spec, gpu, Options(prompt=64, batch=8, images=images)).memory for images in (None, 2))
    assert seen.kv_cache_bytes - plain.kv_cache_bytes == 8 * 2 * (4 * 65) * 2 * 2 * 16 * 2
    assert seen.max_batch < plain.max_batch


def test_gemma_4_sees_an_image_with_the_flops_of_the_reference():
    """But for the mean of each token's patches, which the reference computes as a product with ones and zeros."""
    config = config_of("gemma4", {"patch_size": 16})
    (tower,) = towers(config)
    model = reference(config).model
    rows, columns = 6, 9  # patches
    tokens = tower.tokens((columns * 16 * 100, rows * 16 * 100))
    assert tokens.prompt == tokens.merged[1] == tokens.layers[1] // 9 <= 280
    vision = model.vision_tower.to_empty(device="cpu").float()
    patches = torch.zeros(1, rows * columns, 3 * 16 * 16)
    places = torch.tensor([[column, row] for row in range(rows) for column in range(columns)])[None]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        vision(patches, places)
    grid = Tokens((1, rows * columns), (1, rows * columns), (1, rows * columns), (1, 6), (0, 0), 6)
    ours = count_pass([op for op in tower.running(1, grid, 2) if not op.name.endswith("projector")])
    mean = 2 * (rows * columns // 9) * (rows * columns) * 32
    assert ours.flops(causal=False) == counter.get_total_flops() - mean


def test_minicpm_2_6_has_the_parameters_of_its_checkpoint():
    """Its text model's keys stand at the top of its config. The files are 4.87, 4.93, 4.33 and 2.06 GB of bf16.

    huggingface.co/jchevallard/MiniCPM-V-2_6/tree/main, a copy of openbmb's.
    """
    text = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    text |= {"num_key_value_heads": 4, "vocab_size": 151666, "tie_word_embeddings": False, "image_size": 448}
    tower = {"hidden_size": 1152, "image_size": 980, "intermediate_size": 4304, "model_type": "siglip"}
    tower |= {"num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14}
    own = {"version": 2.6, "query_num": 64, "drop_vision_last_layer": False, "slice_config": {"max_slice_nums": 9}}
    config = {"model_type": "minicpmv", "architectures": ["MiniCPMV"], "vision_config": tower} | text | own
    model = model_from(document_of(config, "config.json", "minicpm"))
    found = estimate(model, None, Options(context=4096, images=1, image_size="1344x1344"))
    assert found.model.params.total == 8_099_175_152
    assert 2 * found.model.params.total == pytest.approx(4.87e9 + 4.93e9 + 4.33e9 + 2.06e9, abs=0.02e9)
    assert found.encoding.prompt_tokens == 640 + 2 * 9 + 2  # ten slices of 64 tokens with marks and breaks
    drops = model_from(document_of(config | {"drop_vision_last_layer": True}, "config.json", "minicpm"))
    layer = 4 * (1152**2 + 1152) + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152
    assert model.towers[0].params() - drops.towers[0].params() == layer
