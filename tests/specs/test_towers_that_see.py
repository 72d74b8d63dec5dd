"""Towers whose images are cut or halved in ways of their own: tokens and FLOPs are those of the reference."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import config_of, reference, towers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from llmcost.ground.errors import InputError
from llmcost.model.counting import count_pass
from llmcost.model.towers import Tower, TowerOperator
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.towers import towers_of
from llmcost.specs.models import model_from

PIXELS = st.integers(120, 4000)


def counted(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def flops(tower, size):
    return count_pass(tower.running(1, tower.tokens(size), 2)).flops(causal=False)


def read(config):
    """The towers of a config as the reference saves it."""
    found = towers_of(config.to_dict(), config.get_text_config().hidden_size)
    return [Tower(**each | {"operators": tuple(TowerOperator(**op) for op in each["operators"])}) for each in found]


def meta(named, config):
    with torch.device("meta"):
        return getattr(transformers, named)._from_config(config, attn_implementation="eager").eval()


def image(side):
    return torch.zeros(1, 3, side, side, device="meta")


def test_florence_sees_windows_and_groups_of_channels_with_the_flops_of_the_reference():
    config = AutoConfig.for_model("florence2")
    model = meta("Florence2ForConditionalGeneration", config)
    (tower,) = read(config)
    assert tower.tokens((500, 700)).prompt == 24**2 + 1
    assert flops(tower, (500, 700)) == counted(lambda: model.get_image_features(image(768))) == 380_985_933_824


def test_lfm3_convolves_patches_with_the_flops_of_the_reference():
    config = config_of("lfm3_vl")
    model, (tower,) = reference(config, "cpu"), towers(config)
    tokens = tower.tokens((80, 64))
    rows, columns = 64 // 4, 80 // 4
    assert tokens.patches == (1, rows * columns)
    pixels = torch.zeros(rows * columns, 3 * config.vision_config.temporal_patch_size * 4 * 4)
    expected = counted(lambda: model.model.get_image_features(pixels, torch.tensor([[1, rows, columns]])))
    assert flops(tower, (80, 64)) == expected


def molmo(**whole):
    tower = {"image_size": [378, 378], "patch_size": 14, "num_position_embeddings": 729}
    return config_of("molmo2", tower, whole)


MOLMO = towers(molmo())[0]


@settings(max_examples=60, deadline=None)
@given(PIXELS, PIXELS)
def test_molmo_cuts_images_into_crops_that_overlap_as_its_processor_does(width, height):
    from transformers.models.molmo2.image_processing_molmo2 import Molmo2ImageProcessor

    (low, columns, rows, wide), crops = Molmo2ImageProcessor().get_image_grid_and_crops(height, width)
    tokens = MOLMO.tokens((width, height))
    assert tokens.patches == (crops, 27 * 27)
    assert tokens.merged == (1, low * columns + rows * wide)
    assert tokens.prompt == low * (columns + 1) + rows * (wide + 1) + 2


def test_molmo_sees_and_pools_with_the_flops_of_the_reference():
    config = molmo()
    model = reference(config, "cpu").model
    tokens = MOLMO.tokens((150, 200))
    crops, pooled = tokens.patches[0], tokens.merged[1]
    adapter = next(each for each in model.modules() if type(each).__name__ == "Molmo2Adapter")
    seen = counted(lambda: model.vision_tower(torch.zeros(crops, 729, 588)))
    windows = torch.zeros(pooled, 4, dtype=torch.long)
    states = torch.zeros(crops, 729, 2 * config.vision_config.hidden_size)
    assert flops(MOLMO, (150, 200)) == seen + counted(lambda: adapter(states, windows))


def test_molmo_refuses_an_image_that_its_crops_would_overlap_by_more_than_it_has():
    model = MOLMO
    with pytest.raises(ValueError, match="no longer than 112 pixels"):
        model.tokens((112, 500))


def test_ernie_resamples_patches_with_the_flops_of_the_reference():
    from transformers.models.ernie4_5_vl_moe import modeling_ernie4_5_vl_moe as code

    text = {"hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2, "moe_num_experts": 4}
    vision = {"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 96}
    config = AutoConfig.for_model("ernie4_5_vl_moe", vision_config=vision, text_config=text)
    keys = config.to_dict()
    keys["text_config"]["image_experts_size"] = 512
    (found,) = towers_of(keys, 48)
    tower = Tower(**found | {"operators": tuple(TowerOperator(**op) for op in found["operators"])})
    encoder = code.Ernie4_5_VLMoeVisionTransformerPretrainedModel(config.vision_config)
    encoder.set_attn_implementation("eager")
    resampler = code.Ernie4_5_VLMoeVariableResolutionResamplerModel(config)
    grid = torch.tensor([[1, 20, 40]])
    expected = counted(lambda: encoder(torch.zeros(800, 588), grid))
    assert flops(tower, (560, 280)) == expected + counted(lambda: resampler(torch.zeros(800, 64), grid))
    assert tower.tokens((560, 280)).prompt == 200


def test_deepseek_vl_sees_an_image_in_two_sizes_with_the_flops_of_the_reference():
    config = AutoConfig.for_model("deepseek_vl_hybrid", vision_config={"vision_use_head": False})
    model = meta("DeepseekVLHybridForConditionalGeneration", config)
    (tower,) = read(config)
    expected = counted(lambda: model.model.get_image_features(image(224), image(1024)))
    assert flops(tower, (500, 700)) == expected
    assert tower.tokens((500, 700)).prompt == 14 * 14


def test_deepseek_ocr_2_asks_queries_with_the_flops_of_the_reference():
    from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2VisionModel

    encoder = {"hidden_size": 896, "num_hidden_layers": 2, "num_attention_heads": 14, "num_key_value_heads": 2}
    config = AutoConfig.for_model(
        "deepseek_ocr2", text_config={"hidden_size": 1280}, vision_config={"encoder_config": encoder}
    )
    with torch.device("meta"):
        model = DeepseekOcr2VisionModel._from_config(config.vision_config, attn_implementation="eager").eval()
    (tower,) = read(config)
    whole, tile = (counted(lambda side=side: model(image(side))) for side in (1024, 768))
    for size, tiles in (((600, 600), 0), ((1700, 2200), 6)):
        tokens = 256 + 144 * tiles
        assert tower.tokens(size).prompt == tokens + 1
        expected = whole + tiles * tile + 2 * tokens * 896 * 1280
        # tables of positions are counted as long as those of the whole image, where tiles use fewer rows
        assert flops(tower, size) == pytest.approx(expected, rel=0.001 if tiles else 1e-12)


# Parameters of the class, and FLOPs of its get_image_features on one image by torch's counter, with timm 1.0.31.
CONVOLVED = {"gemma3n": (7_818_517_072, 873_630_433_280), "fast_vlm": (7_762_651_744, 498_921_635_840)}
CLASSES = {"gemma3n": "Gemma3nForConditionalGeneration", "fast_vlm": "FastVlmForConditionalGeneration"}


@pytest.mark.parametrize("kind", CONVOLVED)
def test_encoders_of_convolutions_have_the_parameters_and_the_flops_that_timm_builds(kind):
    keys = AutoConfig.for_model(kind).to_dict() | {"architectures": [CLASSES[kind]]}
    model = model_from(document_of(keys, "config.json", kind))
    parameters, expected = CONVOLVED[kind]
    assert estimate(model, None, Options(context=16)).model.params.total == parameters
    assert flops(model.towers[0], (300, 500)) == expected
    assert estimate(model, None, Options(context=300, images=1)).encoding.prompt_tokens == 256


def test_an_encoder_of_convolutions_with_branches_kept_apart_is_left_out():
    keys = AutoConfig.for_model("fast_vlm").to_dict() | {"architectures": [CLASSES["fast_vlm"]]}
    keys["vision_config"]["model_args"] = {}
    model = model_from(document_of(keys, "config.json", "fast_vlm"))
    assert not model.towers
    with pytest.raises(InputError, match="no tower for it that is counted here"):
        estimate(model, None, Options(context=300, images=1))


GRIDS = [[384 * across, 384 * down] for across in range(1, 10) for down in range(1, 10) if across * down <= 9]
VL2_TEXT = {
    "architectures": ["DeepseekV2ForCausalLM"], "first_k_dense_replace": 1, "hidden_size": 1280, "q_lora_rank": None,
    "intermediate_size": 6848, "kv_lora_rank": None, "lm_head": True, "max_position_embeddings": 4096, "n_group": 1,
    "model_type": "deepseek_v2", "moe_intermediate_size": 896, "n_routed_experts": 64, "n_shared_experts": 2,
    "num_attention_heads": 10, "num_experts_per_tok": 6, "num_hidden_layers": 12, "num_key_value_heads": 10,
    "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "rm_head": False, "topk_group": 1, "topk_method": "greedy",
    "use_mla": False, "v_head_dim": 0, "vocab_size": 129280,
}  # fmt: skip
VL2 = {
    "architectures": ["DeepseekVLV2ForCausalLM"], "model_type": "deepseek_vl_v2", "candidate_resolutions": GRIDS,
    "global_view_pos": "head", "tile_tag": "2D", "language_config": VL2_TEXT,
    "projector_config": {"model_type": "mlp_projector", "n_embed": 1280},
    "vision_config": {
        "layers": 27, "mlp_ratio": 3.7362, "model_name": "siglip_so400m_patch14_384", "model_type": "vision",
        "patch_size": 14, "width": 1152,
    },
}  # fmt: skip


def test_deepseek_vl2_has_siglip_as_timm_builds_it_and_tiles_of_14_x_14_tokens():
    """Parameters and FLOPs of 27 x 27 patches are of create_model("vit_so400m_patch14_siglip_384", num_classes=0)."""
    model = model_from(document_of(VL2, "config.json", "vl2"))
    (tower,) = model.towers
    joined = 4 * 1152 * 1280 + 1280 + 1280 * 1280 + 1280 + 2 * 1280
    assert tower.params() == 428_225_600 + joined
    assert estimate(model, None, Options(context=16)).model.params.total == 3_370_501_440  # the hub says 3.37B
    tokens = tower.tokens((300, 300))  # whole, and as one tile
    assert tokens.prompt == 14 * 15 + 14 * 15 + 1
    seen = [op for op in tower.running(1, tokens, 2) if "projector" not in op.name]
    assert count_pass(seen).flops(causal=False) == 2 * 666_448_114_176
    assert tower.tokens((1100, 300)).prompt == 14 * 15 + 14 * (3 * 14 + 1) + 1


@pytest.mark.parametrize("part", [{"projector_config": {"depth": 3}}, {"candidate_resolutions": [[384, 400]]}])
def test_deepseek_vl2_with_other_parts_than_are_understood_is_left_out(part):
    assert not model_from(document_of(VL2 | part, "config.json", "vl2")).towers
