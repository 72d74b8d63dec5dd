"""Images and sound in prompts: what towers add to prefill and to memory, and what they leave as it is."""

import pytest

from llmcost.formulas.operators import phase_operators
from llmcost.formulas.serving import explain
from llmcost.ground.errors import InputError
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from
from llmcost.training.options import Options as TrainingOptions
from llmcost.training.train import train

H100 = load_hardware("h100-sxm")
TOWER = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
    "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31], "in_channels": 3,
}  # fmt: skip
CONFIG = {
    "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    "max_position_embeddings": 128000, "vision_config": TOWER,
}  # fmt: skip
MODEL = model_from(document_of(CONFIG, "config.json", "qwen2.5-vl-7b"))
TEXT = Options(batch=2, prompt=4096, context=8192)
SEEN = TEXT._replace(images=2, image_size="1120x840")
LAYERS, PATCHES = 32, 80 * 60  # of an image of 1120 x 840 pixels in patches of 14


def tower_flops(patches):
    """FLOPs of one image by hand; its sides divide into windows of 8 patches but for half a window below."""
    h, i, merged = 1280, 3420, patches // 4
    linear = 2 * patches * (1176 * h + LAYERS * (4 * h * h + 3 * h * i)) + 2 * merged * (5120 * 5120 + 5120 * 3584)
    window_pairs = (10 * 8**2) * (7 * 8**2 + 4**2)  # 80 = 10·8, 60 = 7·8 + 4
    pairs = 4 * patches * patches + (LAYERS - 4) * window_pairs
    return linear + 4 * h * pairs


def test_images_add_their_towers_flops_to_prefill_and_to_nothing_else():
    text, seen = estimate(MODEL, H100, TEXT), estimate(MODEL, H100, SEEN)
    added = 2 * 2 * tower_flops(PATCHES)  # two sequences of two images
    assert seen.encoding.flops == added
    assert seen.encoding.prompt_tokens == 2 * PATCHES // 4
    assert seen.flops.prefill.causal - text.flops.prefill.causal == added
    assert seen.flops.forward == text.flops.forward
    for basis in ("textbook", "limit", "expected"):
        assert getattr(seen.prefill, basis).seconds > getattr(text.prefill, basis).seconds
    halved = added / (0.5 * 989.4e12)  # the textbook's half of the peak
    assert seen.prefill.textbook.seconds - text.prefill.textbook.seconds == pytest.approx(halved)
    assert seen.prefill.expected.seconds > seen.prefill.limit.seconds
    assert (seen.decode, seen.kv_cache, seen.memory, seen.training) == (
        text.decode, text.kv_cache, text.memory, text.training,
    )  # fmt: skip
    assert text.encoding is None


def test_weights_in_memory_include_towers_and_a_decode_step_does_not_read_them():
    alone = MODEL.text_alone()
    whole, text = estimate(MODEL, H100, TEXT), estimate(alone, H100, TEXT)
    towers = whole.model.params.towers
    assert towers == sum(tower.params() for tower in MODEL.towers) == 676_550_144
    assert whole.memory.weights_bytes - text.memory.weights_bytes == 2 * towers
    assert whole.traffic == text.traffic
    assert whole.model.params.active == text.model.params.active
    assert (text.model.params.text, text.model.params.towers) == (text.model.params.total, 0)


def test_towers_stay_in_the_activations_type_where_weights_are_quantised():
    whole, text = (estimate(model, H100, TEXT._replace(weight_dtype="int4")) for model in (MODEL, MODEL.text_alone()))
    assert whole.memory.weights_bytes - text.memory.weights_bytes == 2 * whole.model.params.towers


def test_tensor_parallel_gpus_divide_a_towers_layers():
    one, two = (estimate(MODEL, H100, SEEN._replace(tp=tp)) for tp in (1, 2))
    alone = [estimate(MODEL.text_alone(), H100, TEXT._replace(tp=tp)) for tp in (1, 2)]
    held = [each.memory.weights_bytes - text.memory.weights_bytes for each, text in zip((one, two), alone, strict=True)]
    assert 0.5 < held[1] / held[0] < 0.55  # norms, biases and tables stay whole
    assert two.encoding.flops == one.encoding.flops
    assert two.prefill.expected.seconds < one.prefill.expected.seconds


@pytest.mark.parametrize("options", [SEEN, SEEN._replace(dp=2), SEEN._replace(pp=2), SEEN._replace(tp=2, pp=2)])
def test_formulas_give_the_prefill_that_is_computed(options):
    found = estimate(MODEL, H100, options)
    explained = {each.quantity: each.value for each in explain(MODEL, H100, options)}
    for path in ("prefill.limit.seconds", "prefill.expected.seconds"):
        basis = getattr(found.prefill, path.split(".")[1])
        assert explained[path] == pytest.approx(basis.seconds)
    assert explained["encoding.flops"] == found.encoding.flops
    assert explained["model.params.towers"] == found.model.params.towers


def test_operators_of_prefill_have_each_parameter_once_with_images_and_without():
    for options in (TEXT, SEEN):
        rows = phase_operators(MODEL, H100, options, "prefill")
        assert rows.total.params == estimate(MODEL, None, TEXT).model.params.total
        assert rows.total.flops == estimate(MODEL, H100, options).flops.prefill.full


def test_a_run_of_training_counts_the_text_model_alone_and_says_so():
    whole = train(MODEL, H100, TrainingOptions(seq=1024, gpus=8))
    alone = train(MODEL.text_alone(), H100, TrainingOptions(seq=1024, gpus=8))
    assert whole == alone
    assert whole.model.counted == "the text model alone, without the vision tower"


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (MODEL, SEEN._replace(images=4), "--prompt 4,096: the images and sound in it are 4,800 tokens"),
        (MODEL, TEXT._replace(image_size="10x10"), "--image-size 10x10: of how many images?"),
        (MODEL, TEXT._replace(images=1, image_size="10000x10"), "more than 200 times the other"),
        (MODEL, TEXT._replace(audio=3), "--audio 3: qwen2.5-vl-7b has no tower for it"),
        (MODEL.text_alone(), TEXT._replace(images=1), "--images 1: qwen2.5-vl-7b has no tower for it"),
        (MODEL, SEEN._replace(output=16, concurrency=4), "--images: what towers add to a mix of requests"),
        (MODEL, TEXT._replace(images=1, image_size="wide"), "--image-size wide: width and height in pixels"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_message(model, options, message):
    with pytest.raises(InputError, match="^" + message.replace("?", r"\?") if message.startswith("--") else message):
        estimate(model, H100, options)
