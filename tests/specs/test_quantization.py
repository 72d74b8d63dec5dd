"""Quantised checkpoints: the bytes of their weights are those of the tensors in such checkpoints, listed one by one."""

import pytest
from stored_tensors import (
    ATTENTION,
    AWQ,
    BNB,
    GPTQ,
    LLAMA,
    MLP,
    PLAIN,
    A,
    D,
    H,
    I,
    L,
    V,
    awq_or_gptq,
    bits,
    block128,
    channel,
    compressed,
    nf4,
    read,
    scheme,
    weights,
)

from llmcost.ground.errors import SpecError
from llmcost.serving.estimate import estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

CASES = {
    f"{method}-{bits}-{group}": (
        {"quant_method": method, "bits": bits, "group_size": group},
        lambda k, n, bits=bits, group=group: awq_or_gptq(k, n, bits, group),
    )
    for method in ("gptq", "awq")
    for bits in (2, 3, 4, 8)
    for group in (32, 64, 128, -1)
} | {
    "fp8": ({"quant_method": "fp8"}, lambda k, n: [(k * n, 8)]),
    "fp8-block": ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, block128),
    "fbgemm": ({"quant_method": "fbgemm_fp8"}, lambda k, n: channel(k, n, 8, 32)),
    "fp8-dynamic": (scheme(8, "float", "channel"), lambda k, n: channel(k, n, 8, 16)),
    "w8a8": (scheme(8, "int", "channel"), lambda k, n: channel(k, n, 8, 16)),
    "w4a16": (scheme(4, "int", "group", 128), lambda k, n: compressed(k, n, 4, 128)),
    "w4a16-asymmetric": (
        scheme(4, "int", "group", 32, symmetric=False),
        lambda k, n: compressed(k, n, 4, 32, symmetric=False),
    ),
    "nvfp4": (scheme(4, "float", "tensor_group", 16), lambda k, n: [(k * n, 4), (k // 16 * n, 8)]),
    "modelopt-nvfp4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]},
        lambda k, n: [(k * n, 4), (k // 16 * n, 8)],
    ),
    "modelopt-fp8": (
        {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]},
        lambda k, n: [(k * n, 8)],
    ),
    "hqq": (
        {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}},
        lambda k, n: [(k * n, 4), (k * n // 64, 16), (k * n // 64, 16)],
    ),
    "torchao": (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {}}}},
        lambda k, n: [(k * n, 4), (k * n // 128, 16), (k * n // 128, 16)],
    ),
    "torchao-by-name": (
        {"quant_method": "torchao", "quant_type": "int8_weight_only"},
        lambda k, n: channel(k, n, 8, 16),
    ),
    "quark-fp8": (
        {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}}},
        lambda k, n: [(k * n, 8)],
    ),
    "quark-mxfp4": (
        {
            "quant_method": "quark",
            "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32}},
            "exclude": ["lm_head"],
        },
        lambda k, n: [(k * n, 4), (k * n // 32, 8)],
    ),
    "nf4": (BNB, lambda k, n: nf4(k, n, double=False)),
    "nf4-double": (BNB | {"bnb_4bit_use_double_quant": True}, lambda k, n: nf4(k, n, double=True)),
    "int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, lambda k, n: channel(k, n, 8, 32)),
    "fp8-block-64": (
        {"quant_method": "fp8", "weight_block_size": [64, 64]},
        lambda k, n: [(k * n, 8), (k // 64 * (n // 64), 32)],
    ),
    "modelopt-int4": (
        {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 128, "ignore": ["lm_head"]},
        lambda k, n: [(k * n, 4), (k // 128 * n, 32)],
    ),
    "modelopt-int8": (
        {"quant_method": "modelopt", "quant_algo": "W8A8_SQ_PER_CHANNEL", "ignore": ["lm_head"]},
        lambda k, n: channel(k, n, 8, 32),
    ),
    "modelopt-mxfp4": (
        {"quant_method": "modelopt", "quant_algo": "W4A8_MXFP4_FP8", "ignore": ["lm_head"]},
        lambda k, n: [(k * n, 4), (k // 32 * n, 8)],
    ),
    "torchao-float8": (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}}},
        lambda k, n: channel(k, n, 8, 32),
    ),
    "torchao-float8-tensor": (
        {"quant_method": "torchao", "quant_type": "float8_dynamic_activation_float8_weight"},
        lambda k, n: [(k * n, 8)],
    ),
    # ISTA-DASLab's 1x16 and 2x8: a code of 16 bits, or two of 8, for 8 weights, and codebooks of 65,536 or 256 vectors.
    "aqlm-1x16": (
        {"quant_method": "aqlm", "in_group_size": 8, "num_codebooks": 1, "nbits_per_codebook": 16},
        lambda k, n: [(k * n // 8, 16), (65536 * 8, 16), (n, 16)],
    ),
    "aqlm-2x8": (
        {"quant_method": "aqlm", "in_group_size": 8, "num_codebooks": 2, "nbits_per_codebook": 8},
        lambda k, n: [(2 * k * n // 8, 8), (2 * 256 * 8, 16), (n, 16)],
    ),
    "aqlm-1x12-in-16-bits": (
        {"quant_method": "aqlm", "nbits_per_codebook": 12},
        lambda k, n: [(k * n // 8, 16), (4096 * 8, 16), (n, 16)],
    ),
    "higgs": (
        {"quant_method": "higgs", "bits": 4, "p": 2, "group_size": 256, "hadamard_size": 1024},
        lambda k, n: [(k * n // 4, 16), (k // 256 * n, 16), (16, 16), (16 * 16 * 2, 16)],
    ),
    "quanto-int8": ({"quant_method": "quanto", "weights": "int8"}, lambda k, n: channel(k, n, 8, 16)),
    "quanto-int2": (
        {"quant_method": "quanto", "weights": "int2", "activations": None},
        lambda k, n: [(k * n, 2), (k // 128 * n, 16), (k // 128 * n, 16)],
    ),
    "eetq": ({"quant_method": "eetq", "weights": "int8"}, lambda k, n: channel(k, n, 8, 16)),
    "bitnet": (
        {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"},
        lambda k, n: [(k * n // 4, 8)],
    ),
    "metal": (
        {"quant_method": "metal", "bits": 4, "group_size": 64},
        lambda k, n: [(k * n, 4), (k // 64 * n, 16), (k // 64 * n, 16)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_the_tensors_in_the_checkpoint(case):
    quantization, tensors = CASES[case]
    spec = read(LLAMA, quantization)
    assert weights(spec) == pytest.approx(PLAIN + L * bits(ATTENTION + MLP, tensors) / 8, rel=1e-12)
    assert estimate(spec).model.params == estimate(model_from(document_of(LLAMA, "config.json", "plain"))).model.params


@pytest.mark.parametrize(
    ("quantization", "attention", "mlp"),
    [
        (AWQ | {"modules_to_not_convert": ["self_attn", "lm_head"]}, 0, L),
        (AWQ | {"modules_to_not_convert": ["model.layers.1.mlp", "model.layers.3.self_attn"]}, L - 1, L - 1),
        (GPTQ | {"dynamic": {r"-:.*\.self_attn": {}}}, 0, L),
        (GPTQ | {"modules_to_not_convert": [f"model.layers.0.mlp.{x}_proj" for x in ("gate", "up", "down")]}, L, L - 1),
    ],
)
def test_layers_that_are_left_alone_keep_their_16_bits(quantization, attention, mlp):
    def tensors(k, n):
        return awq_or_gptq(k, n, 4, 128)

    quantised = attention * bits(ATTENTION, tensors) + mlp * bits(MLP, tensors)
    plain = (L - attention) * sum(k * n for k, n in ATTENTION) + (L - mlp) * sum(k * n for k, n in MLP)
    assert weights(read(LLAMA, quantization)) == pytest.approx(PLAIN + quantised / 8 + 2 * plain, rel=1e-12)


def exl3(k, n, wide):
    return [(k // 16 * (n // 16) * 16 * wide, 16), (k, 16), (n, 16)]  # trellis, suh, svh


def test_exl3_has_a_head_of_its_own_width():
    said = {"quant_method": "exl3", "version": "0.0.2", "bits": 4.0, "head_bits": 6, "out_scales": "auto"}
    spec = read(LLAMA, said)
    quantised = L * bits(ATTENTION + MLP, lambda k, n: exl3(k, n, 4)) + bits([(H, V)], lambda k, n: exl3_head(k, n, 6))
    assert weights(spec) == pytest.approx(PLAIN - 2 * V * H + quantised / 8, rel=1e-12)


def exl3_head(k, n, wide):
    return [(k * n * wide, 1), (k, 16), (n, 16)]


VPTQ = {
    "vector_lens": [-1, 8],
    "num_centroids": [-1, 65536],
    "num_res_centroids": [-1, 256],
    "group_num": 1,
    "outlier_size": 0,
    "indices_as_float": False,
    "is_indice_packed": True,
    "enable_norm": True,
    "enable_perm": True,
    "bias": False,
}


def vptq_layers(**changes):
    """Each layer's entry: sizes beside what all have."""
    names = [*(f"self_attn.{x}_proj" for x in "qkvo"), *(f"mlp.{x}_proj" for x in ("gate", "up", "down"))]
    found = {}
    for layer in range(L):
        for name, (k, n) in zip(names, ATTENTION + MLP, strict=True):
            sizes = {"in_features": k, "out_features": n, "group_size": k}
            found[f"model.layers.{layer}.{name}"] = VPTQ | sizes | changes
    return found


def vptq(k, n):
    indices = (n // 8 * -(-k * (16 + 8) // 32), 32)
    return [
        indices,
        (65536 * 8, 16),
        (256 * 8, 16),
        (k, 16),
        (k, 16),
        (k, 16),
    ]  # centroids, residual, order, scale, bias


def test_vptq_has_the_sizes_of_every_layer_in_its_config():
    spec = read(LLAMA, {"quant_method": "vptq", "config_for_layers": vptq_layers()})
    assert weights(spec) == pytest.approx(PLAIN + L * bits(ATTENTION + MLP, vptq) / 8, rel=1e-12)


def test_vptq_with_outliers_has_centroids_for_them():
    few = vptq_layers(outlier_size=128, vector_lens=[4, 8], num_centroids=[4096, 65536], num_res_centroids=[-1, -1])
    for each in few.values():
        each["group_size"] -= 128
    spec = read(LLAMA, {"quant_method": "vptq", "config_for_layers": few})

    def tensors(k, n):
        return [
            (n // 8 * -(-(k - 128) * 16 // 32), 32), (65536 * 8, 16), (k, 16), (k, 16), (k, 16),
            (4096 * 4, 16), (n // 4 * 128, 16),
        ]  # fmt: skip

    assert weights(spec) == pytest.approx(PLAIN + L * bits(ATTENTION + MLP, tensors) / 8, rel=1e-12)


REFUSED = {
    "exl2": {"quant_method": "exl2", "bits": 9.0, "head_bits": 6},
    "exl3": {"quant_method": "exl3", "bits": "4", "head_bits": 6},
    "SpQR": {"quant_method": "spqr", "beta1": 16, "beta2": 16, "bits": 3, "shapes": {}},
    "FP-Quant": {"quant_method": "fp_quant", "forward_dtype": "mxfp4"},
    "SINQ": {"quant_method": "sinq", "nbits": 4},
    "FourOverSix": {"quant_method": "fouroversix"},
    "aqlm": {"quant_method": "aqlm", "out_group_size": 2},
    "bitnet": {"quant_method": "bitnet", "quantization_mode": "online"},
    "higgs": {"quant_method": "higgs", "bits": 5},
    "head_bits": {"quant_method": "exl3", "bits": 4, "head_bits": 6.5},
    "vptq": {"quant_method": "vptq", "config_for_layers": {"model.layers.0.mlp.up_proj": {"in_features": 5}}},
    "says nothing of a part": {
        "quant_method": "vptq",
        "config_for_layers": {name: each for name, each in vptq_layers().items() if "k_proj" not in name},
    },
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_a_config_does_not_determine_is_refused_by_name(said):
    with pytest.raises(SpecError, match=said):
        read(LLAMA, REFUSED[said])


def test_a_pattern_names_experts_or_what_stands_beside_them():
    """Kimi K2 Thinking's list: routed experts alone are in 4 bits."""
    ignore = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]
    spec = read({"model_type": "deepseek_v3", "vocab_size": V}, scheme(4, "int", "group", 32) | {"ignore": ignore})
    assert {layer.unquantized for layer in spec.layers} == {("attention", "mlp"), ("attention", "shared_experts")}


def test_single_linear_layers_may_be_left_alone():
    """As NVIDIA leaves MLA's down-projections, and Unsloth single down_proj."""
    spec = read(
        LLAMA, BNB | {"llm_int8_skip_modules": ["model.layers.1.mlp.down_proj", "model.layers.2.self_attn.o_proj"]}
    )
    assert sorted(layer.unquantized for layer in spec.layers) == [(), ("down_proj",), ("o_proj",)]
    quantised = L * bits(ATTENTION + MLP, lambda k, n: nf4(k, n, double=False)) / 8
    more = (2 - 4.5 / 8) * (I * H + A * D * H)
    assert weights(spec) == pytest.approx(PLAIN + quantised + more, rel=1e-12)
