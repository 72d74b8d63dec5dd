"""Tokens of images and sound, and what towers compute for them: as the reference's processors and layers have it."""

import ast
import json
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import config_of, omni, reference, towers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig
from transformers.image_processing_utils import select_best_resolution
from transformers.models.gemma3n.configuration_gemma3n import Gemma3nAudioConfig
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nAudioEncoder
from transformers.models.phi4_multimodal.configuration_phi4_multimodal import Phi4MultimodalAudioConfig
from transformers.models.phi4_multimodal.modeling_phi4_multimodal import Phi4MultimodalAudioModel

from llmcost.model.counting import count_pass
from llmcost.model.token_places import NotTakenError
from llmcost.model.towers import Tower, TowerOperator
from llmcost.specs.importer.towers import towers_of
from llmcost.specs.importer.towers.parts import DEFAULTS

# -- tokens ---------------------------------------------------------------------------------------------


def functions_of(family, *names):
    """Functions of the reference's image processor, taken from its source: importing it needs torchvision."""
    folder = Path(transformers.__file__).parent / "models" / family
    tree = ast.parse((folder / f"image_processing_{family}.py").read_text("utf-8"))
    found = {"math": math, "torch": torch, "defaultdict": defaultdict}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            node.decorator_list, node.returns, node.args.defaults = [], None, node.args.defaults
            for each in node.args.args:
                each.annotation = None
            exec(compile(ast.Module([node], []), family, "exec"), found)
    return [found[name] for name in names]


SIDES = st.integers(20, 5000)


def tower_of(kind, tower=(), whole=()):
    (found,) = towers(config_of(kind, tower, whole))
    return found


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_qwen_resizes_images_as_its_processor_does(width, height):
    (resize,) = functions_of("qwen2_vl", "smart_resize")
    tower = tower_of("qwen2_5_vl", {"patch_size": 14, "window_size": 112})
    if max(width, height) > 200 * min(width, height):
        return
    h, w = resize(height, width, 28, 3136, 12_845_056)
    found = tower.tokens((width, height))
    assert found.layers == (1, h * w // 14**2)
    assert found.prompt == h * w // 28**2


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_gemma_4_resizes_images_as_its_processor_does(width, height):
    (resize,) = functions_of("gemma4", "get_aspect_ratio_preserving_size")
    for kind, tower in (("gemma4", {"patch_size": 16}), ("gemma4_unified", {"patch_size": 16})):
        h, w = resize(height, width, 16, 280 * 9, 3)
        found = tower_of(kind, tower).tokens((width, height))
        assert found.layers == (1, h * w // (16**2 if kind == "gemma4" else 48**2))
        assert found.prompt == h * w // 48**2


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_glm_resizes_images_as_its_processor_does(width, height):
    (resize,) = functions_of("glm4v", "smart_resize")
    if max(width, height) > 200 * min(width, height):
        return
    h, w = resize(2, height, width, 2, 28, 12_544, 9_633_792)
    assert tower_of("glm4v", {"patch_size": 14}).tokens((width, height)).prompt == h * w // 28**2


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_kimi_resizes_and_pads_images_as_its_processor_does(width, height):
    (resize,) = functions_of("kimi_k25", "navit_resize")
    _, (h, w) = resize(height, width, patch_size=14, merge_kernel_size=2, max_patches=16_384, max_size_per_side=512)
    assert tower_of("kimi_k25", {"patch_size": 14}).tokens((width, height)).prompt == h * w // 28**2


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_internvl_cuts_images_into_the_tiles_that_its_processor_does(width, height):
    ratios, canvas = functions_of("got_ocr2", "get_all_supported_aspect_ratios", "get_optimal_tiled_canvas")
    canvas.__globals__["get_all_supported_aspect_ratios"] = ratios
    across, down = canvas((height, width), (448, 448), 1, 12)
    tiles = across * down + (across * down > 1)
    found = tower_of("internvl", {"image_size": [448, 448], "patch_size": [14, 14]}).tokens((width, height))
    assert found.layers == (tiles, 32 * 32 + 1)
    assert found.prompt == tiles * 256


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=100)
def test_llama4_puts_images_on_the_canvas_that_its_processor_does(width, height):
    names = ("get_factors", "find_supported_resolutions", "get_best_fit")
    factors, resolutions, fit = functions_of("llama4", *names)
    resolutions.__globals__["get_factors"] = factors
    known = torch.tensor(resolutions(16, SimpleNamespace(height=336, width=336)), dtype=torch.int64)
    h, w = (int(side) // 336 for side in fit((height, width), known))
    tiles = h * w + 1 if h * w > 1 else 1
    separators = h * w if h * w > 1 else 0  # one behind each tile: between columns, or at the end of a row
    found = tower_of("llama4", {"image_size": 336, "patch_size": 14}).tokens((width, height))
    assert found.layers == (tiles, 24 * 24 + 1)
    assert found.prompt == tiles * 144 + separators


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_pixtral_ends_every_row_of_tokens_with_a_break(width, height):
    scale = max(1.0, width / 1540, height / 1540)
    w, h = (-(-math.floor(side / scale) // 28) for side in (width, height))
    tower = tower_of("mistral3", {"patch_size": 14, "image_size": 1540})
    assert tower.tokens((width, height)).prompt == (max(w, 1) + 1) * max(h, 1)


class LfmProcessor:
    """The methods of LFM2-VL's image processor that say how an image is cut, taken from its source."""

    def __init__(self):
        names = ("find_closest_aspect_ratio", "round_by_factor")
        self.closest, rounded = functions_of("lfm2_vl", *names)
        folder = Path(transformers.__file__).parent / "models" / "lfm2_vl"
        tree = ast.parse((folder / "image_processing_lfm2_vl.py").read_text("utf-8"))
        (kind,) = [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == "Lfm2VlImageProcessor"]
        scope = {"math": math, "round_by_factor": rounded}
        for node in kind.body:
            if isinstance(node, ast.FunctionDef) and node.name in ("smart_resize", "_is_image_too_large"):
                node.returns = None
                exec(compile(ast.Module([node], []), "lfm2_vl", "exec"), scope)
        self.resize, self.large = scope["smart_resize"], scope["_is_image_too_large"]

    def tokens(self, width, height):
        w, h = self.resize(self, height, width, 2, 64, 256, 16)
        thumbnail = (h // 32) * (w // 32)
        if not self.large(self, height, width, 256, 16, 2, 2.0):
            return thumbnail
        ratios = [(w, h) for w in range(1, 11) for h in range(1, 11) if 2 <= w * h <= 10]
        across, down = self.closest(width / height, sorted(ratios, key=math.prod), width, height, 512)
        return across * down * 256 + thumbnail + across * down + 1  # with a mark before each tile and the thumbnail


LFM = LfmProcessor()


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_lfm_cuts_images_as_its_processor_does(width, height):
    tower = tower_of("lfm2_vl", {"patch_size": 16})
    assert tower.tokens((width, height)).prompt == LFM.tokens(width, height)


def test_gemma_has_as_many_tokens_for_any_image():
    tower = tower_of("gemma3", {"image_size": 896, "patch_size": 14}, {"mm_tokens_per_image": 256})
    for size in ((10, 10), (3000, 200)):
        assert tower.tokens(size).layers == (1, 64 * 64)
        assert tower.tokens(size).prompt == 256


def test_voxtral_hears_pieces_of_thirty_seconds_each_of_375_tokens():
    tower = tower_of("voxtral")
    assert tower.tokens((30.0,)).prompt == 375  # 1,500 positions, four of which become one token
    assert tower.tokens((31.0,)).prompt == 750


# -- FLOPs ----------------------------------------------------------------------------------------------

MERGED_PATCHES = 3 * 2 * 4 * 4  # elements of a patch: channels, frames, pixels


def grid_inputs(height, width):
    patches = (height // 4) * (width // 4)
    grid = torch.tensor([[1, height // 4, width // 4]])
    return {"pixel_values": torch.zeros(patches, MERGED_PATCHES), "image_grid_thw": grid}


def square_inputs(height, width):
    return {"pixel_values": torch.zeros(1, 3, height, width)}


def tiled_inputs(height, width):
    tiles = (height // 32) * (width // 32) + 1
    return {"pixel_values": torch.zeros(1, tiles, 3, 32, 32), "image_sizes": torch.tensor([[height, width]])}


def patch_inputs(height, width):
    grid = torch.tensor([[1, height // 4, width // 4]])
    return {"pixel_values": torch.zeros((height // 4) * (width // 4), 3, 4, 4), "image_grid_thw": grid}


RUN = {
    "qwen2_vl": (grid_inputs, (40, 24)),
    "qwen2_5_vl": (grid_inputs, (40, 24)),
    "qwen3_vl": (grid_inputs, (40, 24)),
    "qwen3_vl_moe": (grid_inputs, (40, 24)),
    "qwen3_5": (grid_inputs, (40, 24)),
    "qwen3_5_moe": (grid_inputs, (40, 24)),
    "glm4v": (grid_inputs, (40, 24)),
    "glm4v_moe": (grid_inputs, (40, 24)),
    "gemma3": (square_inputs, (64, 64)),
    "llava": (square_inputs, (32, 32)),
    "llama4": (square_inputs, (32, 32)),
    "internvl": (square_inputs, (32, 32)),
    "mistral3": (lambda h, w: {**square_inputs(h, w), "image_sizes": torch.tensor([[h, w]])}, (32, 24)),
    "aya_vision": (square_inputs, (32, 32)),
    "blip-2": (square_inputs, (32, 32)),
    "cohere2_vision": (square_inputs, (32, 32)),
    "deepseek_vl": (square_inputs, (32, 32)),
    "exaone4_5": (grid_inputs, (40, 24)),
    "glm_ocr": (grid_inputs, (40, 24)),
    "hyperclovax_vision_v2": (grid_inputs, (40, 24)),
    "idefics2": (lambda h, w: {"pixel_values": torch.ones(1, 1, 3, h, w)}, (40, 24)),
    "llava_next": (tiled_inputs, (64, 32)),
    "llava_onevision": (tiled_inputs, (64, 32)),
    "minimax_m3_vl": (grid_inputs, (40, 24)),
    "lighton_ocr": (lambda h, w: {**square_inputs(h, w), "image_sizes": torch.tensor([[h, w]])}, (32, 24)),
    "paddleocr_vl": (patch_inputs, (40, 24)),
    "qianfan_ocr": (square_inputs, (32, 32)),
    "step3p7": (
        lambda *_: {
            "pixel_values": torch.zeros(1, 3, 32, 32),
            "pixel_values_local": torch.zeros(6, 3, 24, 24),
            "num_local_patches": torch.tensor([6]),
        },
        (64, 32),
    ),
    "video_llama_3": (
        lambda h, w: {
            "pixel_values": torch.zeros((h // 4) * (w // 4), 48),
            "image_grid_thw": torch.tensor([[1, h // 4, w // 4]]),
            "image_merge_sizes": torch.tensor([1]),
        },
        (40, 24),
    ),
    "vipllava": (square_inputs, (32, 32)),
    "kimi_k25": (
        lambda h, w: {
            "pixel_values": torch.zeros((h // 4) * (w // 4), 3, 4, 4),
            "image_grid_thw": torch.tensor([[1, h // 4, w // 4]]),
        },
        (40, 24),
    ),
}


def of_the_reference(config, inputs):
    model = reference(config, "cpu").requires_grad_(requires_grad=False)
    inner = model if hasattr(model, "get_image_features") else model.model
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = inner.get_image_features(**inputs)
        projector = getattr(model, "multi_modal_projector", None)
        if config.model_type == "llama4":  # which projects outside
            projector(found.last_hidden_state)
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", RUN)
def test_a_tower_has_the_flops_of_the_reference(kind):
    inputs, (height, width) = RUN[kind]
    config = config_of(kind)
    (tower,) = towers(config)
    free = tower._replace(least=1) if tower.least > 100 else tower  # so that the small image keeps its size
    free = free._replace(window=24) if kind == "step3p7" else free  # and its windows are smaller than it
    ours = count_pass(free.running(1, free.tokens((width, height)), 2)).flops(causal=False)
    assert ours == pytest.approx(of_the_reference(config, inputs(height, width)), rel=1e-9)


@pytest.mark.parametrize("kind", ["minicpmv4_6", "minicpmv4_7"])
@pytest.mark.parametrize("size", [(448, 448), (700, 300)])
def test_minicpm_cuts_images_as_its_processor_does_with_the_flops_of_the_reference(kind, size):
    config = config_of(kind, {"num_hidden_layers": 3, "patch_size": 14, "image_size": 980}, {"insert_layer_id": 1})
    (tower,) = towers(config)
    sizes, model = minicpm_sizes(*size), reference(config, "cpu")
    patches = sum(h * w for h, w in sizes)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.get_image_features(torch.zeros(1, 3, 14, 14 * patches), target_sizes=torch.tensor(sizes))
    tokens = tower.tokens(size)
    assert count_pass(tower.running(1, tokens, 2)).flops(causal=False) == pytest.approx(counter.get_total_flops())
    slices, rows = len(sizes) - 1, tokens_rows(size)
    assert tokens.prompt == patches // 16 + 2 * slices + max(0, rows - 1)


def minicpm_sizes(width, height):
    """Patches down and across of an image and its slices, by the methods of the reference's image processor."""
    find, refine, grid = MINICPM_METHODS
    rows_columns = grid(SELF, (height, width), 9, 448)
    h, w = find(SELF, (height, width), 448, 14, downsample_mode="16x", allow_upscale=rows_columns is None)
    sizes = [[h // 14, w // 14]]
    if rows_columns:
        rows, columns = rows_columns
        h, w = refine(SELF, (height, width), rows_columns, 448, 14, downsample_mode="16x", allow_upscale=True)
        sizes += [[h // rows // 14, w // columns // 14]] * (rows * columns)
    return sizes


def tokens_rows(size):
    rows_columns = MINICPM_METHODS[2](SELF, size[::-1], 9, 448)
    return rows_columns[0] if rows_columns else 0


def methods_of(family, *names):
    """Methods of the reference's image processor, taken from its source, as functions."""
    folder = Path(transformers.__file__).parent / "models" / family
    return methods_in(folder / f"image_processing_{family}.py", *names)


def methods_in(path, *names):
    tree = ast.parse(path.read_text("utf-8"))
    found = {"math": math, "SizeDict": SimpleNamespace}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in (*names, "ensure_divide"):
            node.returns, node.decorator_list = None, []
            for each in node.args.args:
                each.annotation = None
            exec(compile(ast.Module([node], []), path.name, "exec"), found)
    return [found[name] for name in names]


MINICPM_METHODS = methods_of("minicpmv4_6", "find_best_resize", "get_refine_size", "get_sliced_grid")
SELF = SimpleNamespace(find_best_resize=lambda **keys: MINICPM_METHODS[0](SELF, **keys))


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_minicpm_slices_any_image_as_its_processor_does(width, height):
    config = config_of("minicpmv4_6", {"num_hidden_layers": 3, "patch_size": 14, "image_size": 980})
    (tower,) = towers(config)
    sizes = [h * w for h, w in minicpm_sizes(width, height)]
    found = tower.tokens((width, height))
    assert found.layers[0] * found.layers[1] == pytest.approx(sum(sizes))
    assert found.layers[0] * found.layers[1] ** 2 == pytest.approx(sum(each * each for each in sizes))
    assert found.prompt >= sum(sizes) // 16


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
@given(SIDES, SIDES)
@settings(deadline=None, max_examples=100)
def test_idefics_splits_images_as_its_processor_does(kind, width, height):
    """The longer side becomes 4 tiles of 364 pixels; seq + 3 for the whole image, seq + 2 a tile, 1 a row."""
    sizes = {"image_size": 364, "patch_size": 14, "size": {"longest_edge": 1456}}
    (tower,) = towers(config_of(kind, sizes, {"scale_factor": 2}))
    names = ("_resize_output_size_rescale_to_max_len", "_resize_output_size_scale_below_upper_bound")
    rescale, bound = functions_of("idefics3", *names)
    h, w = bound(*rescale(height, width, max_len=1456), max_len=4096)
    (resize,) = methods_of("idefics3", "resize_for_vision_encoder")
    seen = SimpleNamespace(resize=lambda *_, size, resample: size)  # noqa: ARG005
    size = SimpleNamespace(size=lambda: (3, h, w))
    resized = resize(seen, size, 364)
    rows, columns = resized.height // 364, resized.width // 364
    each = (364 // 14 // 2) ** 2
    found = tower.tokens((width, height))
    assert found.layers == (rows * columns + 1, 26 * 26)
    assert found.prompt == each + 3 + rows * (columns * (each + 2) + 1)


def test_qwen2_audio_hears_thirty_seconds_with_the_flops_of_the_reference():
    config = config_of("qwen2_audio")
    (tower,) = towers(config)
    model = reference(config, "cpu")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        heard = model.model.audio_tower(torch.zeros(1, 16, 3000)).last_hidden_state
        model.model.multi_modal_projector(heard)
    for seconds, heard in ((30.0, 750), (12.0, 300), (0.5, 12)):
        tokens = tower.tokens((seconds,))
        frames = int(100 * seconds)
        assert tokens.prompt == heard == ((frames - 1) // 2 + 1 - 2) // 2 + 1
        assert count_pass(tower.running(1, tokens, 2)).flops(causal=False) == counter.get_total_flops()
    with pytest.raises(NotTakenError, match="30 seconds"):
        tower.tokens((31.0,))


@pytest.mark.parametrize("frames", [100, 37, 250, 800, 1733, 3000])
def test_qwen3_omni_hears_windows_of_chunks_with_the_flops_of_the_reference(frames):
    config = omni("qwen3_omni_moe_thinker")
    tower = next(each for each in towers(config) if each.hears)
    model = reference(config, "cpu")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = model.get_audio_features(
            torch.zeros(1, 16, frames), feature_attention_mask=torch.ones(1, frames, dtype=torch.long)
        )
    tokens = tower.tokens((frames / 100,))
    assert tokens.prompt == len(getattr(found, "last_hidden_state", found))
    assert count_pass(tower.running(1, tokens, 2)).flops(causal=False) == pytest.approx(counter.get_total_flops())


def test_voxtrals_tower_has_the_flops_of_the_reference():
    config = config_of("voxtral")
    (tower,) = towers(config)
    model = reference(config, "cpu")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.get_audio_features(torch.zeros(1, 16, 3000))
    ours = count_pass(tower.running(1, tower.tokens((12.0,)), 2)).flops(causal=False)
    assert ours == counter.get_total_flops()


# -- tiles, windows and queries -------------------------------------------------------------------------


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_llava_lays_images_on_the_grid_that_its_processors_do(width, height):
    for kind, side, patch in (("llava_next", 336, 14), ("llava_onevision", 384, 14)):
        points = json.loads(DEFAULTS.read_text("utf-8"))[kind]["image_grid_pinpoints"]
        tower = tower_of(kind, {"image_size": side, "patch_size": patch}, {"image_grid_pinpoints": points})
        best = select_best_resolution((height, width), points)
        path = Path(transformers.__file__).parent / "models" / kind / f"processing_{kind}.py"
        (unpadded,) = methods_in(path, "_get_unpadded_features")
        most = SimpleNamespace(vision_aspect_ratio="anyres_max_9")
        grid = side // patch
        features, breaks = unpadded(most, height, width, grid, grid, best[0] // side, best[1] // side)
        found = tower.tokens((width, height))
        assert found.prompt == grid * grid + features + breaks
        assert found.layers[0] == 1 + (best[0] // side) * (best[1] // side)


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_step_plans_windows_as_its_processor_does(width, height):
    extreme, plan = methods_of("step3p7", "_is_extreme_aspect", "_plan_patches")
    processor = SimpleNamespace(_is_extreme_aspect=extreme, max_image_size=3024)
    across, down = plan(processor, width, height, 728, 504)[3:5]
    tower = tower_of("step3p7", {"image_size": 728, "patch_size": 14})
    breaks = max(0, down - 1)
    assert tower.tokens((width, height)).prompt == 169 + across * down * (81 + 2) + breaks  # (728/56)², (504/56)²


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_command_a_vision_and_ovis_cut_images_as_their_processors_do(width, height):
    known, canvas = functions_of("cohere2_vision", "get_all_supported_aspect_ratios", "get_optimal_tiled_canvas")
    canvas.__globals__.update(get_all_supported_aspect_ratios=known, np=np)
    tiles = math.prod(canvas((height, width), (512, 512), 1, 12))
    tiles += tiles > 1
    tower = tower_of("cohere2_vision", {"image_size": 512, "patch_size": 16})
    assert tower.tokens((width, height)).prompt == tiles * (16 * 16 + 1)  # with a break each
    names = ("get_all_supported_aspect_ratios", "compute_patch_covering_area", "split_image_into_grid")
    *rest, covering = functions_of("ovis2", *names, "get_min_tile_covering_grid")
    covering.__globals__.update({each.__name__: each for each in rest})
    tiles = math.prod(covering((height, width), 448, 12))
    tower = tower_of("ovis2", {"image_size": 448, "patch_size": 14, "hidden_stride": 2})
    assert tower.tokens((width, height)).layers == (tiles + (tiles > 1), 32 * 32)


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=60)
def test_phi_4_covers_images_with_the_crops_that_its_processor_does(width, height):
    closest, process = methods_of("phi4_multimodal", "find_closest_aspect_ratio", "dynamic_preprocess")
    seen = SimpleNamespace(find_closest_aspect_ratio=lambda *given: closest(None, *given))
    process.__globals__.update(
        torch=torch, tvF=SimpleNamespace(resize=lambda image, _: image, pad=lambda image, *_, **__: image)
    )
    image = torch.zeros(1, 1, 1).expand(1, height, width)
    try:
        _, mask = process(seen, image, 448, 14, 32)
    except ValueError:
        with pytest.raises(NotTakenError):
            phi4("vision").tokens((width, height))
        return
    rows, columns = mask[0::2, 0].sum(), mask[0, 0::2].sum()
    found = phi4("vision").tokens((width, height))
    assert found.prompt == 256 + 1 + 16 + int(rows * columns) + int(rows)
    assert found.layers == (mask.numel() // 1024 + 1, 1024)


def test_idefics_2_makes_an_image_of_any_shape_a_fixed_number_of_tokens():
    """At most 980 pixels a side, at least 378: 70 by 52 patches of 1024 by 768 pixels, and 64 queries."""
    tower = tower_of("idefics2", {"patch_size": 14})._replace(out=64)
    found = tower.tokens((1024, 768))
    assert (found.layers, found.prompt, found.keys) == ((1, 70 * 52), 64, (1, 70 * 52 + 64))


# -- sound: conformers, and Whisper's kin -------------------------------------------------------------------


def phi4(part, **sizes):
    config = AutoConfig.for_model("phi4_multimodal").to_dict()
    config["audio_config"] |= sizes
    each = towers_of(config, 3072)[part == "audio"]
    return Tower(**each | {"operators": tuple(TowerOperator(**op) for op in each["operators"])})


def heard(tower, seconds, leaves_out="nothing"):
    kernels = [op for op in tower.running(1, tower.tokens((seconds,)), 2) if leaves_out not in op.name]
    return count_pass(kernels).flops(causal=False)


@pytest.mark.parametrize("seconds", [3.0, 0.5])
def test_gemma_4_hears_with_the_flops_of_the_reference(seconds):
    audio = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "output_proj_dims": 48}
    config = config_of("gemma4", {}, {"audio_config": audio | {"subsampling_conv_channels": [128, 8]}})
    tower = towers(config)[1]
    frames = (int(16_000 * seconds) + 160 - 321) // 160 + 1
    model, mask = reference(config, "cpu").requires_grad_(requires_grad=False), torch.ones(1, frames, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        found = model.model.get_audio_features(torch.zeros(1, frames, 128), mask)
    assert tower.tokens((seconds,)).prompt == found.last_hidden_state.shape[1]
    assert heard(tower, seconds) == pytest.approx(counter.get_total_flops())
    with pytest.raises(NotTakenError, match="30 seconds"):
        tower.tokens((31.0,))


def test_gemma_3n_hears_with_the_flops_of_the_reference_and_has_as_many_tokens_for_any_sound():
    sizes = {"hidden_size": 32, "conf_num_hidden_layers": 2, "conf_num_attention_heads": 4}
    inner = Gemma3nAudioConfig(**sizes, sscp_conv_channel_size=[16, 8])
    whole = AutoConfig.for_model("gemma3n").to_dict() | {"audio_config": inner.to_dict()}
    each = towers_of(whole, whole["text_config"]["hidden_size"])[1]
    tower = Tower(**each | {"operators": tuple(TowerOperator(**op) for op in each["operators"])})
    frames = (48_000 - 513) // 160 + 1
    encoder = Gemma3nAudioEncoder(inner).requires_grad_(requires_grad=False)
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, frames, 128), torch.zeros(1, frames, dtype=torch.bool))
    assert heard(tower, 3.0, "projector") == pytest.approx(counter.get_total_flops())
    assert tower.tokens((3.0,)).prompt == tower.tokens((20.0,)).prompt == 188


@pytest.mark.parametrize("seconds", [3.0, 45.0])
def test_phi_4_hears_with_the_flops_of_the_reference(seconds):
    """But for the frames that its convolutions add at an end and take away again: 2 of them, as the kernel is 3."""
    sizes = {"hidden_size": 32, "num_blocks": 2, "num_attention_heads": 4, "intermediate_size": 48}
    sizes |= {"ext_pw_out_channel": 32, "depthwise_separable_out_channel": 32, "nemo_conv_channels": 16}
    inner = Phi4MultimodalAudioConfig(**sizes)
    inner._attn_implementation = "eager"
    encoder, tower = Phi4MultimodalAudioModel(inner).requires_grad_(requires_grad=False).eval(), phi4("audio", **sizes)
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, (int(16_000 * seconds) - 400) // 160 + 1, 80), None)
    sequences = tower.tokens((seconds,)).layers[0]
    padded = 2 * 2 * sequences * 2 * (3 * 32 + 32 * 32)
    assert heard(tower, seconds, "projector") == pytest.approx(counter.get_total_flops() - padded)


def test_gemma_4_without_encoders_hears_forty_milliseconds_a_token():
    config = config_of("gemma4_unified", {}, {"audio_config": {"audio_embed_dim": 640}})
    tower = towers(config)[1]
    assert [tower.tokens((seconds,)).prompt for seconds in (0.04, 1.0, 30.0)] == [1, 25, 750]
    assert heard(tower, 1.0) == 2 * 25 * 640 * 64


@pytest.mark.parametrize("frames", [100, 250, 800, 1733])
def test_qwen3_asr_hears_as_qwen3_omni_does(frames):
    config = config_of("qwen3_asr")
    (tower,) = towers(config)
    padded = -(-frames // 100) * 100
    mask = torch.zeros(1, padded, dtype=torch.long)
    mask[:, :frames] = 1
    model = reference(config, "cpu").requires_grad_(requires_grad=False)
    with FlopCounterMode(display=False) as counter:
        found = model.get_audio_features(torch.zeros(1, 16, padded), input_features_mask=mask)
    assert tower.tokens((frames / 100,)).prompt == len(found.pooler_output)
    assert heard(tower, frames / 100) == pytest.approx(counter.get_total_flops())


def test_glm_asr_hears_padded_pieces_and_has_tokens_for_what_is_sound():
    config = config_of("glmasr")
    (tower,) = towers(config)
    model, mask = reference(config, "cpu").requires_grad_(requires_grad=False), torch.zeros(1, 3000, dtype=torch.long)
    mask[:, :1200] = 1
    with FlopCounterMode(display=False) as counter:
        found = model.get_audio_features(torch.zeros(1, 16, 3000), mask)
    assert tower.tokens((12.0,)).prompt == len(found.pooler_output) == 150
    assert heard(tower, 12.0) == counter.get_total_flops()


@pytest.mark.parametrize("seconds", [2.0, 7.3])
def test_granite_hears_blocks_and_asks_windows_of_them(seconds):
    """The reference computes what is the same for all windows once: queries up to where they look at the first one."""
    config = config_of("granite_speech")
    (tower,) = towers(config)
    frames = (int(16_000 * seconds) // 160 + 1) // 2
    model = reference(config, "cpu").requires_grad_(requires_grad=False)
    with FlopCounterMode(display=False) as counter:
        found = model.get_audio_features(torch.zeros(1, frames, 12))
    windows = -(-frames // 15)
    assert tower.tokens((seconds,)).prompt == 3 * windows == found.pooler_output.shape[1]
    once = 3 * (2 * 5 * 24 * 24 + 4 * 3 * 24)  # of 3 queries of 24 channels: q, k, v, o and the next q, and attention
    assert heard(tower, seconds) - (windows - 1) * once == pytest.approx(counter.get_total_flops())
