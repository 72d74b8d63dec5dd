"""Configs of multimodal models as they were released: with keys of earlier code, other names, other places."""

import json

import pytest
from small_towers import config_of, omni, part_of

from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.towers import towers_of
from llmcost.specs.importer.towers.parts import LeftOutError
from llmcost.specs.models import model_from

# Keys that released configs have in the part of a tower, beyond those of the reference's class: google/gemma-4-26B-A4B,
# MiniMaxAI/MiniMax-M3, google/paligemma2-3b-pt-224, mistral-community/pixtral-12b, Qwen/Qwen2-Audio-7B-Instruct,
# HuggingFaceTB/SmolVLM-Instruct, Qwen/Qwen3-Omni-30B-A3B-Instruct.
BESIDES = {
    "gemma4": {"global_head_dim": 72, "image_seq_length": 280, "add_cross_attention": False},
    "minimax_m3_vl": {
        "model_type": "clip_vision_model", "projection_dim": 6144, "vocab_size": 32000, "rope_mode": "3d",
        "position_embedding_type": "rope", "vision_segment_max_frames": 4, "img_token_compression_config": {
            "image_token_compression_method": "patch_merge", "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
    },
    "paligemma": {"num_image_tokens": 256, "num_positions": 256, "projector_hidden_act": "gelu_fast"},
    "llava": {"is_composition": True, "tie_word_embeddings": False},
    "qwen2_audio": {"init_std": 0.02, "num_hidden_layers": 2, "tie_encoder_decoder": False},
    "idefics3": {"model_type": "idefics3", "use_base_siglip": True, "size": {"longest_edge": 128}},
}  # fmt: skip


@pytest.mark.parametrize("kind", BESIDES)
def test_what_a_released_config_says_of_no_weight_leaves_no_tower_out(kind):
    whole = config_of(kind).to_dict()
    usual = towers_of(whole, 64)
    said = whole | {part_of(kind): whole[part_of(kind)] | BESIDES[kind]}
    found = towers_of(said, 64)
    assert [each["operators"] for each in found] == [each["operators"] for each in usual]
    with pytest.raises(LeftOutError, match="adapter_layers"):
        towers_of(whole | {part_of(kind): whole[part_of(kind)] | {"adapter_layers": 3}}, 64)


@pytest.mark.parametrize(("key", "value"), [("rope_mode", "2d"), ("img_token_compression_config", {"spatial": 4})])
def test_minimax_m3_with_another_code_than_its_own_is_left_out(key, value):
    whole = config_of("minimax_m3_vl").to_dict()
    with pytest.raises(LeftOutError, match=key):
        towers_of(whole | {"vision_config": whole["vision_config"] | {key: value}}, 64)


def test_gemma_4_has_as_many_tokens_of_an_image_as_its_config_allows():
    whole = config_of("gemma4").to_dict()
    for said, tokens in ((None, 280), (70, 70)):
        (tower,) = towers_of(whole | {"vision_config": whole["vision_config"] | {"default_output_length": said}}, 64)
        assert tower["most"] == 9 * tokens  # patches, nine a token


def test_a_depth_that_is_said_twice_in_two_ways_leaves_the_tower_out():
    whole = config_of("qwen2_audio").to_dict()
    with pytest.raises(LeftOutError, match="encoder_layers"):
        towers_of(whole | {"audio_config": whole["audio_config"] | {"num_hidden_layers": 7}}, 64)


def test_a_text_model_at_the_top_of_glms_config_and_lfm2_vls_first_name_are_read():
    """As zai-org/GLM-4.1V-9B-Thinking and LiquidAI/LFM2-VL-1.6B were first released."""
    whole = json.loads(json.dumps(config_of("glm4v").to_dict()))
    flat = {name: said for name, said in whole.items() if name != "text_config"} | {
        name: said for name, said in whole["text_config"].items() if name not in ("model_type", "architectures")
    }
    small = json.loads(json.dumps(config_of("lfm2_vl").to_dict()))
    for usual, other in ((whole, flat), (small, small | {"model_type": "lfm2-vl"})):
        read = [model_from(document_of(each, "config.json", "small")) for each in (usual, other)]
        assert read[0].towers == read[1].towers
        assert read[0].towers
        counted = [estimate(model, None, Options(context=64)).model.params for model in read]
        assert counted[0] == counted[1]


def test_the_class_of_the_first_omni_model_has_a_head_for_all_its_name():
    """Qwen/Qwen2.5-Omni-7B names Qwen2_5OmniModel, which is the whole model, not a bare one."""
    whole = {"architectures": ["Qwen2_5OmniModel"], "model_type": "qwen2_5_omni"}
    whole |= {"thinker_config": json.loads(json.dumps(omni("qwen2_5_omni_thinker").to_dict()))}
    model = model_from(document_of(whole, "config.json", "omni"))
    assert estimate(model, None, Options(context=64)).model.params.lm_head == 320 * 64


def test_grids_that_are_no_list_are_as_good_as_none():
    config = config_of("llava_onevision").to_dict() | {"image_grid_pinpoints": 5}
    (eye,) = towers_of(config, 64)
    assert eye["rule"] == "unknown"
