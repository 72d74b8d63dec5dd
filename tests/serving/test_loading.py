"""Weights as engines load them, memory that is used and set aside, prompts in chunks: by what engines logged."""

import json
import re

import pytest

from llmcost.ground.errors import InputError
from llmcost.ground.options import SYNONYMS
from llmcost.machine.chip import usable_bytes
from llmcost.model.architecture import forward
from llmcost.model.counting import stored_bytes
from llmcost.model.sizes import ElementBytes, Load
from llmcost.parallel.layout import Layout
from llmcost.parallel.rules import broken, shape_of, torn
from llmcost.search.fit import fit
from llmcost.serving.estimate import estimate, usual_chunk
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model, names

GIB = 2**30
H100, RTX3090 = load_hardware("h100-sxm"), load_hardware("rtx3090")
LLAMA = load_model("llama3.1-8b")


def weights(name, **options):
    return estimate(load_model(name), H100, Options(**options)).memory.weights_bytes


def test_experts_in_mxfp4_are_padded_to_the_kernels_tile():
    """gpt-oss-120b, 2,880 wide: padded to 2,944 channels and 3,072 (vLLM: 65.97 GiB, vllm-project/vllm#23278)."""
    assert weights("gpt-oss-120b") == pytest.approx(65.97 * GIB, rel=0.002)
    plain = forward(load_model("gpt-oss-120b"), ElementBytes(2, 2, 2, Be=17 / 32), Load(1, 1, 1)).operators()
    added = 36 * 128 * (3 * (2944 * 3072 - 2880**2) * 17 / 32 + (2 * 64 + 192) * 2)  # and biases
    assert weights("gpt-oss-120b") == pytest.approx(stored_bytes(plain) + added)


def test_a_gpu_keeps_a_whole_kv_head():
    """4 KV heads of 128 on 8 GPUs: a head a GPU, where an even share is half a one; 94 layers, keys and values."""
    eight = estimate(load_model("qwen3-235b-a22b"), H100, Options(tp=8))
    even = forward(load_model("qwen3-235b-a22b"), ElementBytes(2, 2, 2), Load(1, 1, 1))
    copies = 94 * 4096 * 2 * 128 / 2 * 2
    everywhere = 94 * (2 * 4096 + 2 * 128 + 4096 * 128) + 4096  # norms and routers
    whole = stored_bytes(even.operators())
    share = (whole - 2 * everywhere) / 8 + 2 * everywhere
    assert eight.memory.weights_bytes == pytest.approx(share + copies, rel=1e-4)


def test_stages_with_a_layer_more_are_the_fullest():
    """80 layers on three GPUs: 27, 27 and 26; the embedding is on the first, the LM head on the last."""
    parts = forward(load_model("llama3-70b"), ElementBytes(2, 2, 2), Load(1, 1, 1))
    layers, last = stored_bytes(parts.layers), stored_bytes(parts.last)
    first = stored_bytes(parts.first)
    assert weights("llama3-70b", pp=3) == pytest.approx(max(27 / 80 * layers + first, 26 / 80 * layers + last))
    assert weights("llama3-70b", pp=4) == pytest.approx(20 / 80 * layers + max(first, last))


def test_what_is_used_and_what_is_set_aside_are_two_figures():
    """A 0.6B model on a B200: 0.1 of its memory is set aside, whatever is used."""
    m = estimate(load_model("qwen3-0.6b"), load_hardware("b200"), Options()).memory
    assert m.used_bytes < 4e9
    assert m.set_aside_bytes == pytest.approx(0.1 * m.usable_bytes, rel=1e-9)
    assert m.total_bytes == m.used_bytes + m.set_aside_bytes


def test_the_page_and_the_comparison_tell_both(cli):
    page = cli("estimate", "qwen3-0.6b", "--hw", "b200").out
    assert re.search(r"^Memory used +2\.\d+ GB", page, re.MULTILINE)
    assert re.search(r"^Memory set aside +19\.2 GB", page, re.MULTILINE)
    assert re.search(r"prompts 8,192 tokens at a time", page)
    table = cli("compare", "qwen3-0.6b", "--hw", "b200").out
    assert "memory used a GPU" in table
    assert "set aside" in table


# -- chunks -----------------------------------------------------------------------------------------


def test_prompts_run_in_the_chunks_of_vllms_server():
    """8,192 tokens with the memory of an H100, 2,048 with less and on A100s (vllm/engine/arg_utils.py)."""
    asked = ("h100-sxm", "mi300x", "a100-80gb-sxm", "rtx3090")
    assert [usual_chunk(load_hardware(name)) for name in asked] == [8192, 8192, 2048, 2048]
    assert estimate(LLAMA, RTX3090, Options(context=20_000)).workload.chunk == 2048
    assert estimate(LLAMA, RTX3090, Options(batch_prompts=True)).workload.chunk is None


def test_a_context_that_vllm_runs_in_chunks_is_found(cli):
    """Llama 3.1 8B on one RTX 3090 (vllm-project/vllm#10517): 35,000 tokens run in chunks; 29,000 whole ones do not."""
    offers = fit(LLAMA, [RTX3090], Options(context=35_000), gpus=[1]).holding()
    assert "bf16" in {offer.weight_dtype for offer in offers}
    whole = estimate(LLAMA, RTX3090, Options(context=29_000, chunk=29_000)).memory
    assert not whole.fits
    assert whole.usable_bytes == pytest.approx(23.58 * GIB, rel=1e-9)
    assert whole.weights_bytes == pytest.approx(14.9888 * GIB, rel=0.003)  # "Loading model weights took 14.9888 GB"
    found = json.loads(cli("fit", "llama3.1-8b", "--hw", "rtx3090", "--gpus", 1, "-c", 35_000, "--json").out)
    assert any(each["fits"] for each in found["offers"])


def test_what_corrects_the_choice_of_experts_is_loaded_and_no_parameter():
    """DeepSeek-V3: 58 layers with a number in fp32 for each of 256 experts, on every GPU."""
    model = load_model("deepseek-v3")
    without = model._replace(layers=tuple(_uncorrected(layer) for layer in model.layers))
    for tp in (1, 8):
        found, other = (estimate(each, None, Options(tp=tp)) for each in (model, without))
        assert found.memory.weights_bytes - other.memory.weights_bytes == 58 * 256 * 4
        assert found.model.params == other.model.params
    assert found.model.params.total == 671_026_404_352  # as the reference counts it


def _uncorrected(layer):
    has = hasattr(layer.mlp, "correction_bias")
    return layer._replace(mlp=layer.mlp._replace(correction_bias=False)) if has else layer


# -- layouts that an engine cannot load -------------------------------------------------------------


def test_a_shard_is_whole_blocks_of_quantised_weights():
    """1,536 channels of an expert on 8 GPUs are 192, one block of 128 and a half; with ep 8 experts stay whole."""
    model = load_model("qwen3-235b-a22b")
    with pytest.raises(InputError, match=r"--tp 8 leaves a GPU parts of the 1,536 channels .* 128 .*; nearest: 4$"):
        estimate(model, H100, Options(tp=8, weight_dtype="fp8-block128"))
    blocks = shape_of(model, "fp8-block128")
    assert broken(Layout(tp=8, ep=8), blocks) is None
    assert broken(Layout(tp=4), blocks) is None
    assert broken(Layout(tp=8), shape_of(model, "fp8")) is None
    offers = fit(model, [H100], Options(), gpus=[8]).offers
    assert {each.weight_dtype for each in offers} >= {"bf16", "fp8"}


@pytest.mark.parametrize(
    "name, tp, weights, words",
    [  # vllm-project/vllm#21695, #28829 and intel/auto-round#643 ran these
        ("qwen2.5-72b", 2, "awq", r"the 29,568 MLP channels .* 128 that share a scale; nearest: 1$"),  # 231 groups
        ("qwen3-30b-a3b", 4, "gptq", r"the 768 channels of an expert .* 128 .*; nearest: 2$"),  # 6 groups
        ("qwen2.5-0.5b", 2, "gptq", r"the 896 channels of all attention heads .* 128 .*; nearest: 1$"),  # 7 groups
    ],
)
def test_a_shard_is_whole_groups_of_quantised_weights(cli, name, tp, weights, words):
    """Groups lie along the input: a GPU's part of it must hold whole ones, or an engine does not load the weights.

    A checkpoint that is only asked about can be padded when it is made, and that is said.
    """
    model = load_model(name)
    released = model._replace(weight_format=SYNONYMS[weights])
    with pytest.raises(InputError, match=words):
        estimate(released, H100, Options(tp=tp))
    assert estimate(released, H100, Options(gpus=tp)).workload.tp < tp  # another layout is found
    said = cli("estimate", name, "--hw", "h100", "--tp", tp, "--weight-dtype", weights)
    assert said.code == 0
    assert re.search(f"note: --tp {tp} leaves a GPU parts of {words.partition(';')[0]}: .* padded when", said.err)
    assert "note" not in cli("estimate", name, "--hw", "h100", "--tp", tp, "--weight-dtype", "int4-channel").err


def test_what_is_padded_when_it_is_loaded_or_not_quantised_is_no_bound():
    """gpt-oss: 2,880/8 = 360 channels an expert, 11.25 groups of 32, which are padded; its attention is in bf16."""
    model = load_model("gpt-oss-120b")
    assert broken(Layout(tp=8), shape_of(model, "mxfp4")) is None
    assert torn(model, "mxfp4", Layout(tp=8)) is None
    assert "2,880 channels of an expert" in torn(model, "int4-g32", Layout(tp=8))
    kimi = shape_of(load_model("kimi-k2.5"), "int4-g32")
    assert {each.channels for each in kimi.scaled} == {"channels of an expert"}


# -- what a process sees ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, gib",
    [
        ("rtx3090", 23.58), ("rtx4090", 23.52), ("h100-sxm", 79.11), ("v100-32gb-sxm", 31.74), ("t4", 14.75),
        ("rtx-a6000", 47.53), ("a40", 44.4), ("h800-sxm", 79.11), ("h20", 95.11), ("b200", 178.35),
        ("rtx4070", 12 * 0.98), ("mi325x", 256), ("gb10", 128e9 / GIB),
    ],
)  # fmt: skip
def test_usable_memory_is_what_a_process_sees(name, gib):
    """By sources; else the vendor's GB are GiB where those of its other cards are; not where the CPU shares them."""
    assert usable_bytes(load_hardware(name)) == pytest.approx(gib * GIB, rel=1e-6)


def test_no_card_of_nvidias_has_more_than_the_gib_it_is_sold_with():
    for name in names("hardware"):
        chip = load_hardware(name)
        if chip.vendor == "NVIDIA" and not chip.memory.note.startswith("unified"):
            assert 0.9 * chip.memory.value < usable_bytes(chip) < chip.memory.value / 1e9 * GIB, name
