"""Towers that take an image as it is: Inkling, Inkling 2, Fuyu, GLM-5.3, Cosmos 3 Edge.

Parameters and FLOPs are those of the reference implementation, tokens those of its image processors.
"""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import TEXT, config_of, parameters, reference, towers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, FuyuForCausalLM, InklingForConditionalGeneration
from transformers.models.cosmos3_edge.image_processing_pil_cosmos3_edge import smart_resize as resized_by_cosmos
from transformers.models.glm5_next.image_processing_pil_glm5_next import smart_resize as aligned_by_glm
from transformers.models.inkling.modeling_inkling import plan_out_scales

from llmcost.ground.errors import InputError
from llmcost.model.counting import count_pass
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.towers.inkling import planned
from llmcost.specs.importer.towers.parts import LeftOutError
from llmcost.specs.models import model_from

SIDES = st.integers(1, 4000)
TILES = {"patch_size": 12, "temporal_patch_size": 2, "n_layers": 6, "text_hidden_size": 64}
CODES = {"n_mel_bins": 5, "mel_vocab_size": 7, "text_hidden_size": 64}


def inkling(**changed):
    """The configuration of a small Inkling, with other keys of its vision tower."""
    text = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 320, "unpadded_vocab_size": 320}
    return AutoConfig.for_model("inkling_mm_model", text_config=text, vision_config=TILES | changed, audio_config=CODES)


def flops_of(call):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("changed", [{}, {"patch_size": 20}, {"temporal_patch_size": 3}, {"num_channels": 1}], ids=str)
def test_inkling_folds_patches_with_the_parameters_and_the_flops_of_the_reference(changed):
    config = inkling(**changed)
    with torch.device("meta"):
        model = InklingForConditionalGeneration._from_config(config)
    sees, hears = towers(config)
    assert sees.params() + hears.params() == parameters(model, towers=True)
    v = config.vision_config
    found = sees.tokens((5 * v.patch_size - 1, 2 * v.patch_size + 1))
    assert found.prompt == 3 * 5  # rows that are padded, and columns that are whole with one more
    pixels = torch.zeros(15, v.temporal_patch_size, v.patch_size, v.patch_size, v.num_channels, device="meta")
    expected = flops_of(lambda: model.model.get_image_features(pixels))
    assert count_pass(sees.running(1, found, 2)).flops(causal=False) == expected
    assert hears.tokens((1.01,)).prompt == math.ceil(1.01 / 0.05)


@pytest.mark.parametrize("depth", [6, 8, 24])  # as many layers as scales, and more
@pytest.mark.parametrize(("patch", "frames"), [(40, 2), (36, 2), (14, 1), (20, 3)])
def test_layers_of_inkling_lie_between_the_scales_that_the_reference_plans(patch, frames, depth):
    expected = [(int(t), int(h), int(c)) for t, h, _, c in plan_out_scales(frames, patch, depth, 3)]
    assert planned(patch, frames, 3, depth) == expected


def test_the_four_layers_of_the_released_inkling():
    """thinkingmachines/Inkling: as scipy's linear_sum_assignment, which its code asks, has them."""
    assert planned(40, 2, 3, 4) == [(1, 1, 3), (1, 5, 128), (1, 10, 320), (1, 40, 4800), (2, 40, 614400)]


@pytest.mark.parametrize(("patch", "frames", "channels", "depth"), [(2, 1, 1, 2), (8, 4, 4, 2), (1, 1, 3, 3)])
def test_layers_of_inkling_between_scales_that_are_as_near_are_left_out(patch, frames, channels, depth):
    sizes = {"patch_size": patch, "temporal_patch_size": frames, "num_channels": channels, "n_layers": depth}
    with pytest.raises(LeftOutError):
        towers(inkling(**sizes))


def test_inkling_2_sees_each_patch_and_a_class_with_the_flops_of_the_reference():
    config = config_of("inkling2")
    (tower,) = towers(config)
    model = reference(config, "cpu")
    tokens = tower.tokens((23, 17))  # 8 pixels a token
    assert tokens.prompt == 3 * 3
    assert tokens.layers == (1, 36 + 1)
    grid = {"pixel_values": torch.zeros(9, 8, 8, 3), "image_grid_thw": torch.tensor([[1, 3, 3]])}
    ours = count_pass(tower.running(1, tokens, 2)).flops(causal=False)
    assert ours == flops_of(lambda: model.model.get_image_features(**grid))


def test_layers_that_run_again_lie_within_the_depth():
    whole = json.loads(json.dumps(config_of("inkling2_loop").to_dict()))
    whole["text_config"]["loop_layer_index_end"] = 4
    with pytest.raises(InputError, match="loop_layer_index_end: 4 is beyond its 3 layers"):
        model_from(document_of(whole, "config.json", "looped"))


@pytest.mark.parametrize(("kind", "inputs"), [("glm5_next", (60, 96)), ("cosmos3_edge", (60, 48))])
def test_towers_of_patches_have_the_flops_of_the_reference(kind, inputs):
    config = config_of(kind)
    (tower,) = towers(config)
    model = reference(config, "cpu")
    patches, elements = inputs
    grid = {"pixel_values": torch.zeros(patches, elements), "image_grid_thw": torch.tensor([[1, 10, 6]])}
    free = tower._replace(least=1)
    ours = count_pass(free.running(1, free.tokens((24, 40)), 2)).flops(causal=False)
    inner = model if hasattr(model, "get_image_features") else model.model
    assert ours == flops_of(lambda: inner.get_image_features(**grid))


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_glm_5_3_pads_images_to_whole_tokens_as_its_processor_does(width, height):
    (tower,) = towers(config_of("glm5_next", {"patch_size": 14}))
    rows, columns = aligned_by_glm(2, height, width, 2, 28, 16, 8000)
    assert tower.tokens((width, height)).prompt == rows * columns // 28**2


@given(st.integers(40, 4000), st.integers(40, 4000))
@settings(deadline=None, max_examples=60)
def test_cosmos_3_edge_resizes_images_as_its_processor_does(width, height):
    (tower,) = towers(config_of("cosmos3_edge", {"patch_size": 16}))
    rows, columns = resized_by_cosmos(1, height, width, 1, 32, 256 * 256, 4096 * 4096)
    assert tower.tokens((width, height)).prompt == rows * columns // 32**2


def fuyu():
    text = {key: size for key, size in TEXT.items() if key not in ("num_key_value_heads", "head_dim")}
    return AutoConfig.for_model("fuyu", text_config=text | {"model_type": "persimmon"}, patch_size=6)


def test_fuyu_is_counted_whole_and_each_row_of_its_patches_ends_with_a_break():
    config = fuyu()
    with torch.device("meta"):
        expected = parameters(FuyuForCausalLM._from_config(config))
    keys = json.loads(json.dumps(config.to_dict())) | {"architectures": ["FuyuForCausalLM"]}
    model = model_from(document_of(keys, "config.json", "fuyu"))
    found = estimate(model, None, Options(context=400, prompt=400, images=1, image_size="60x33"))
    assert found.model.params.total == expected
    assert found.encoding.prompt_tokens == 6 * (10 + 1)
    assert found.encoding.flops == 2 * 60 * 6 * 6 * 3 * 64
    scaled = model.towers[0].tokens((3840, 2000))  # to 1,920 × 1,000
    assert scaled.prompt == 167 * (320 + 1)
