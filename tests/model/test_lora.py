"""LoRA's trainable parameters, as peft counts them, from the operator list."""

import pytest

from llmcost.ground.errors import InputError
from llmcost.model.architecture import forward
from llmcost.model.lora import ALL_LINEAR, ATTENTION_TARGETS, NF4_BITS, Lora, adapters, check_lora, trainable_params
from llmcost.model.sizes import ElementBytes, Load
from llmcost.specs.catalog import load_model


def layers_of(name):
    return forward(load_model(name), ElementBytes(2, 2, 2), Load(1, 8, 8)).layers


@pytest.mark.parametrize(
    "model, rank, targets, expected",
    [
        # peft's own print of Llama 2 7B: "trainable params: 4,194,304 || all params: 6,742,609,920"
        ("llama2-7b", 8, ATTENTION_TARGETS, 4_194_304),
        # Llama 3 8B: q and o of (4096, 4096), k and v of (4096, 1024), three of 4096 and 14336, 32 layers
        ("llama3-8b", 16, (ALL_LINEAR,), 32 * 16 * (2 * 8192 + 2 * 5120 + 3 * 18432)),
        # Llama 2 70B, one adapter beside the fused QKV product and one beside the output: 80 layers
        ("llama2-70b", 16, ("qkv_proj", "o_proj"), 80 * 16 * ((8192 + 10240) + (8192 + 8192))),
        # Mixtral 8x7B: each of eight experts has its own
        ("mixtral-8x7b", 4, ("experts_gate_proj", "experts_down_proj"), 32 * 8 * 4 * 2 * (4096 + 14336)),
        # latent attention, DeepSeek V2 Lite: queries of 16·192 from 2048 in 27 layers
        ("deepseek-v2-lite", 8, ("q_proj",), 27 * 8 * (2048 + 16 * 192)),
    ],
)
def test_trainable_parameters(model, rank, targets, expected):
    assert trainable_params(layers_of(model), Lora(rank, targets)) == expected


@pytest.mark.parametrize(
    "model", ["llama3-8b", "gpt2", "gemma3-27b", "qwen2.5-7b", "gpt-oss-20b", "granite-4.0-h-small"]
)
def test_parts_of_a_fused_product_have_its_outputs(model):
    layers = layers_of(model)
    for op in layers:
        if op.name in ("qkv_proj", "gate_up_proj"):
            parts = [each for each in adapters(layers, Lora(1, (ALL_LINEAR,))) if each.operator == op.name]
            assert sum(each.n * each.count for each in parts) == sum(
                each.n * each.count for each in layers if each.name == op.name
            )


def test_parameters_are_linear_in_the_rank_and_add_up_over_targets():
    layers = layers_of("llama3-8b")
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert trainable_params(layers, Lora(64, names)) == 64 * trainable_params(layers, Lora(1, names))
    assert trainable_params(layers, Lora(2, names)) == sum(trainable_params(layers, Lora(2, (name,))) for name in names)
    assert trainable_params(layers, Lora(2, names)) == trainable_params(layers, Lora(2, (ALL_LINEAR,)))


def test_four_bit_weights_take_what_the_paper_says():
    assert pytest.approx(4.127, abs=5e-4) == NF4_BITS


@pytest.mark.parametrize(
    "lora, message",
    [
        (Lora(0, ATTENTION_TARGETS), "--lora-rank 0: at least 1"),
        (Lora(8, ("q",)), "--lora-targets q: one of all-linear, q_proj, k_proj"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused(lora, message):
    with pytest.raises(InputError, match=message):
        check_lora(layers_of("llama3-8b"), lora)
