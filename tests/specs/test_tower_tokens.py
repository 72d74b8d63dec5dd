"""Tokens of images and sound, and what towers compute for them: as the reference's processors and layers have it."""

import ast
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_towers import config_of, omni, reference, towers
from torch.utils.flop_counter import FlopCounterMode

from llmcost.model.counting import count_pass
from llmcost.model.token_places import NotTakenError

# -- tokens ---------------------------------------------------------------------------------------------


def functions_of(family, *names):
    """Functions of the reference's image processor, taken from its source: importing it needs torchvision."""
    folder = Path(transformers.__file__).parent / "models" / family
    tree = ast.parse((folder / f"image_processing_{family}.py").read_text("utf-8"))
    found = {"math": math, "torch": torch, "defaultdict": defaultdict}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            node.decorator_list, node.returns = [], None
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
    "kimi_k25": (
        lambda h, w: {
            "pixel_values": torch.zeros((h // 4) * (w // 4), 3, 4, 4),
            "image_grid_thw": torch.tensor([[1, h // 4, w // 4]]),
        },
        (40, 24),
    ),
}


def of_the_reference(config, inputs):
    model = reference(config, "cpu")
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
    ours = count_pass(free.running(1, free.tokens((width, height)), 2)).flops(causal=False)
    assert ours == pytest.approx(of_the_reference(config, inputs(height, width)), rel=1e-9)


@pytest.mark.parametrize("kind", ["minicpmv4_6", "minicpmv4_7"])
@pytest.mark.parametrize("size", [(448, 448), (200, 900), (1344, 1000), (3000, 500)])
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
    tree = ast.parse((folder / f"image_processing_{family}.py").read_text("utf-8"))
    found = {"math": math, "SizeDict": SimpleNamespace}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in (*names, "ensure_divide"):
            node.returns = None
            for each in node.args.args:
                each.annotation = None
            exec(compile(ast.Module([node], []), family, "exec"), found)
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
