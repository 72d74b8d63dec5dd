"""Quantised checkpoints: the bytes of their weights are those of the tensors in such checkpoints.

The tensors are listed here one by one.

Each lister says, for a linear layer of k inputs and n outputs, which tensors its format stores (shape, bits an
element), as the format's own library writes them. Norms, the embedding and the LM head stay in 16 bits.
"""

import json

import pytest

from llmcost.ground.errors import InputError, SpecError
from llmcost.model.formats import FORMATS
from llmcost.model.sizes import element_bytes
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

H, I, L, A, G, D, V = 1024, 2048, 4, 8, 2, 128, 1000
LLAMA = {
    "model_type": "llama",
    "hidden_size": H,
    "intermediate_size": I,
    "num_hidden_layers": L,
    "num_attention_heads": A,
    "num_key_value_heads": G,
    "vocab_size": V,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
ATTENTION = [(H, A * D), (H, G * D), (H, G * D), (A * D, H)]  # q, k, v, o: inputs, outputs
MLP = [(H, I), (H, I), (I, H)]


def awq_or_gptq(k, n, bits, group):
    groups = 1 if group == -1 else k // group
    return [(k * n, bits), (groups * n, 16), (groups * n, bits)]  # qweight, scales, qzeros


def compressed(k, n, bits, group, symmetric=True):
    return [(k * n, bits), (k // group * n, 16), *([] if symmetric else [(k // group * n, bits)])]


def channel(k, n, bits, scale):
    return [(k * n, bits), (n, scale)]


def block128(k, n):
    return [(k * n, 8), (k // 128 * (n // 128), 32)]


def nf4(k, n, double):
    blocks = k * n // 64
    return [(k * n, 4), *([(blocks, 8), (blocks // 256, 32)] if double else [(blocks, 32)])]


def scheme(bits, kind, strategy, group=None, symmetric=True):
    weights = {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": group, "symmetric": symmetric}
    return {
        "quant_method": "compressed-tensors",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


BNB = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": False,
}
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
AWQ, GPTQ = CASES["awq-4-128"][0], CASES["gptq-4-128"][0]


def read(config, quantization):
    return model_from(document_of(config | {"quantization_config": quantization}, "config.json", "tested"))


def weights(spec):
    return estimate(spec, None, Options(context=1)).memory.weights_bytes


def bits(layers, tensors):
    return sum(count * size for k, n in layers for count, size in tensors(k, n))


PLAIN = 2 * (2 * V * H + (2 * L + 1) * H)  # embedding, LM head and norms, in bytes


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


def gptq4(k, n):
    return awq_or_gptq(k, n, 4, 128)


def gptq8(k, n):
    return awq_or_gptq(k, n, 8, 128)


def fp8(k, n):
    return channel(k, n, 8, 16)


def w4a16(k, n):
    return compressed(k, n, 4, 128)


def group(names, *weights):
    (found,) = scheme(*weights)["config_groups"].values()
    return found | {"targets": names}


ROUNDED = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": False}
PROJECTIONS = [f"model.layers.1.self_attn.{x}_proj" for x in "qkvo"]


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (
            GPTQ | {"dynamic": {r"+:.*\.mlp": {"bits": 8}, r"-:.*layers\.0\.self_attn": {}}},
            L * bits(MLP, gptq8) + (L - 1) * bits(ATTENTION, gptq4) + 16 * sum(k * n for k, n in ATTENTION),
        ),
        (
            ROUNDED | {"extra_config": {name: {"bits": 8} for name in PROJECTIONS}},  # of one layer of four
            L * bits(MLP, gptq4) + (L - 1) * bits(ATTENTION, gptq4) + bits(ATTENTION, gptq8),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "ignore": ["lm_head"],
                "config_groups": {
                    "group_0": group(["re:.*self_attn.*"], 8, "float", "channel"),
                    "group_1": group(["re:.*mlp.*"], 4, "int", "group", 128),
                },
            },
            L * (bits(ATTENTION, fp8) + bits(MLP, w4a16)),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "ignore": ["lm_head"],
                "config_groups": {
                    "group_0": group(["re:.*down_proj"], 8, "float", "channel"),
                    "group_1": group(["Linear"], 4, "int", "group", 128),
                },
            },
            L * (bits(ATTENTION + MLP[:2], w4a16) + bits(MLP[2:], fp8)),
        ),
    ],
)
def test_mixed_precision_is_read_layer_by_layer(quantization, expected):
    spec = read(LLAMA, quantization)
    assert weights(spec) == pytest.approx(PLAIN + expected / 8, rel=1e-12)
    given = estimate(spec, None, Options(context=1, weight_dtype="int8")).memory.weights_bytes
    left = sum(
        each.count * 2 * sum(k * n for k, n in ATTENTION) for each in spec.layers if "attention" in each.unquantized
    )
    count = L - sum(each.count for each in spec.layers if "attention" in each.unquantized)
    plain = L * sum(k * n for k, n in MLP) + count * sum(k * n for k, n in ATTENTION)
    assert given == PLAIN + left + plain  # a given format is that of all that is quantised


def mlx(k, n, size=4):
    return [(k * n, size), (k * n // 64, 16), (k * n // 64, 16)]


def test_mlx_quantises_tables_too_and_sets_bits_by_names(cli, tmp_path):
    """4 bits with a scale and a bias of 16 for 64 weights; down_proj of one layer in 6."""
    own = {"model.layers.2.mlp.down_proj": {"bits": 6, "group_size": 64}}
    said = {"group_size": 64, "bits": 4, **own}
    config = LLAMA | {"quantization": said, "quantization_config": said}
    spec = model_from(document_of(config, "config.json", "tested"))
    tables = 2 * bits([(V * H, 1)], mlx)
    layers = L * bits(ATTENTION + MLP, mlx) + 2 * I * H  # two bits more of one down_proj
    norms = 2 * (2 * L + 1) * H
    assert weights(spec) == pytest.approx((tables + layers) / 8 + norms, rel=1e-12)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config), "utf-8")
    text = cli("import", file).out
    (tmp_path / "spec.yaml").write_text(text, "utf-8")
    assert "formats: [down_proj=mlx-6bit-g64]" in text or "- down_proj=mlx-6bit-g64" in text
    assert cli("estimate", tmp_path / "spec.yaml").code == 0
    other = cli("check", tmp_path / "spec.yaml").code
    (tmp_path / "spec.yaml").write_text(text.replace("=mlx-6bit-g64", "=int5"), "utf-8")
    assert (other, cli("check", tmp_path / "spec.yaml").code) == (0, 1)


def test_experts_may_have_a_format_of_their_own():
    """DeepSeek-V4: linear layers in FP8, routed experts in MXFP4."""
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    both, one = (read({"model_type": "deepseek_v4", **more}, fp8) for more in ({"expert_dtype": "fp4"}, {}))
    (layer,) = {layer.mlp for layer in one.layers}
    experts = 3 * one.hidden_size * layer.moe_intermediate_size * layer.num_experts * one.num_hidden_layers
    assert both.weight_format == "fp8-block128+mxfp4"
    assert weights(one) - weights(both) == pytest.approx(experts * (8 + 32 / 128**2 - 4.25) / 8)


def test_nvfp4_experts_of_a_checkpoint_in_fp8_are_named_by_a_key_of_their_own():
    """nvidia/DeepSeek-V4-Flash-NVFP4: its other keys are about the experts, and say no more of what is in FP8."""
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    of_experts = {
        "moe_quant_algo": "NVFP4", "quant_algo": "MIXED_PRECISION", "group_size": 16, "kv_cache_quant_algo": None,
        "ignore": ["*.attn.*", "*.ffn.shared_experts.*", "head", "mtp.*"],
        "quantized_layers": {"layers.0.ffn.experts": {"quant_algo": "NVFP4", "group_size": 16}},
    }  # fmt: skip
    config = {"model_type": "deepseek_v4", "expert_dtype": "fp4"}
    spec = read(config, fp8 | of_experts)
    assert spec.weight_format == "fp8-block128+nvfp4"
    assert not any(layer.unquantized for layer in spec.layers)
    with pytest.raises(InputError, match="moe_quant_algo: expected NVFP4, got 'IQ3'"):
        read(config, fp8 | {"moe_quant_algo": "IQ3"})


def test_experts_beside_the_mlp_are_not_the_mlp():
    """Gemma 4's experts stand beside an MLP that every token takes: leaving that alone leaves them quantised."""
    config = {
        "model_type": "gemma4_text",
        "enable_moe_block": True,
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 64,
    }
    spec = read(
        config, scheme(4, "float", "tensor_group", 16) | {"ignore": ["lm_head", "model.language_model.layers.*.mlp*"]}
    )
    assert {layer.unquantized for layer in spec.layers} == {("shared_experts",)}


def test_mxfp4_is_of_experts_alone():
    spec = read(
        {"model_type": "gpt_oss"},
        {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]},
    )
    assert {layer.unquantized for layer in spec.layers} == {("attention",)}


def test_a_quantised_lm_head_is_counted_as_such():
    everything = scheme(8, "float", "channel") | {"ignore": []}
    less = weights(read(LLAMA, CASES["fp8-dynamic"][0])) - weights(read(LLAMA, everything))
    assert less == 2 * V * H - (V * H + 2 * V)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "hqq", "bits": 4}, "quant_method hqq, bits 4"),
        (GPTQ | {"bits": 5}, "bits 5"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "MIXED_PRECISION"),
        (GPTQ | {"outliers": 3}, "quantization_config.outliers: not understood"),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["gadget"]},
            "leaves 'gadget' as it is",
        ),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": "gate"},
            "expected a list of names",
        ),
        (scheme(4, "int", "group", 128) | {"ignore": ["re:(a+)+$"]}, "too complicated"),
        (scheme(4, "int", "group", 128) | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "not understood"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(quantization, words):
    with pytest.raises(InputError, match="quantization_config") as refusal:
        read(LLAMA, quantization)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "bits_a_weight"),
    [
        ("q4_0", 4.5),
        ("q4_1", 5),
        ("q5_0", 5.5),
        ("q5_1", 6),
        ("q8_0", 8.5),
        ("q2_k", 2.625),
        ("q3_k", 3.4375),
        ("q4_k", 4.5),
        ("q6_k", 6.5625),
    ],
)
def test_gguf_formats_are_as_large_as_llama_cpp_says(name, bits_a_weight):
    """The comments beside the blocks in ggml-common.h, written by others than the sizes that ours come from."""
    assert FORMATS[name].bits_a_weight == bits_a_weight


def test_a_gguf_file_of_llama_3_1_8b_is_as_large_as_published():
    """4.58 GiB in Q4_K_M, 7.95 GiB in Q8_0 (tools/quantize/README.md of llama.cpp), embedding and LM head included."""
    from llmcost.specs.catalog import load_model

    spec = load_model("llama3.1-8b")
    for name, gib in (("q4_k_m", 4.58), ("q8_0", 7.95)):
        assert estimate(spec, None, Options(weight_dtype=name)).memory.weights_bytes / 2**30 == pytest.approx(
            gib, rel=2e-3
        )


@pytest.mark.parametrize(
    ("name", "bits", "table", "head"),
    [  # bits: tools/quantize/README.md of llama.cpp; types of the tables: src/llama-quant.cpp
        ("q5_k_m", 5.7036, 5.5, 6.5625),
        ("q4_k_m", 4.8944, 4.5, 6.5625),
        ("q3_k_s", 3.6429, 3.4375, 6.5625),
        ("q2_k_s", 2.9697, 2.625, 6.5625),
        ("iq2_m", 2.9294, 3.4375, 5.5),
    ],
)
def test_the_tables_of_a_gguf_mix_are_in_the_types_that_llama_cpp_gives_them(name, bits, table, head):
    """Of Llama 3.1 8B the whole file has the bits that were measured; a shared table is in the LM head's type."""
    from llmcost.specs.catalog import load_model

    spec = load_model("llama3.1-8b")
    weights = estimate(spec, None, Options(weight_dtype=name)).memory.weights_bytes
    norms = (2 * 32 + 1) * 4096 * 2  # bytes: in 16 bits, where the mix's average is of all weights
    assert 8 * (weights - norms) / 8_030_261_248 == pytest.approx(bits, rel=2e-4)
    size = element_bytes(name, "bf16", "bf16")
    assert (8 * size.table(), 8 * size.head(), 8 * size.table(tied=True)) == (table, head, head)


def test_a_gguf_mix_of_a_model_with_a_large_shared_table_has_more_bits():
    """Gemma 3 4B in Q4_K_M: 2.31 GiB, 5.12 bits, as llama.cpp printed (ggml-org/llama.cpp#22790)."""
    from llmcost.specs.catalog import load_model

    spec = load_model("gemma3-4b")
    weights = estimate(spec, None, Options(weight_dtype="q4_k_m")).memory.weights_bytes
    assert weights / 2**30 == pytest.approx(2.31, rel=4e-3)
    assert 8 * weights / 5.12 == pytest.approx(3.88e9, rel=4e-3)  # parameters


QWEN3_30B = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
    "vocab_size": 151_936, "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144,
    "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1,
    "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_ATTENTION = 2048 * (4096 + 512 + 512) + 4096 * 2048
QWEN_ROUTED, QWEN_ROUTER = 128 * 3 * 768 * 2048, 128 * 2048
QWEN_BESIDE = 2 * 2 * 151_936 * 2048 + 2 * (48 * (2 * 2048 + 2 * 128) + 2048)  # tables and norms in bf16
QWEN_PROJECTIONS = [f"model.layers.{layer}.self_attn.{name}_proj" for layer in range(48) for name in "qkvo"]
QWEN_GATES, QWEN_EXPERTS = ([f"model.layers.{layer}.mlp.{name}" for layer in range(48)] for name in ("gate", "experts"))
QWEN_AUTO_ROUND = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}


def test_a_given_format_stands_for_a_quantisation_that_is_not_understood(cli, tmp_path):
    """With a note; without one, or where a spec is made of it, it is refused. Training knows its own formats."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA | {"quantization_config": {"quant_method": "sinq", "bits": 3.5}}), "utf-8")
    problem = "this kind of quantisation (quant_method sinq, bits 3.5) is not understood"
    plain = cli("estimate", file, "--json")
    assert plain.code == 2
    assert problem in plain.err
    assert "--weight-dtype says what linear layers are kept in" in plain.err
    for command in (("estimate",), ("ops",), ("fit", "--hw", "h100"), ("sweep", "--hw", "h100"), ("explain",)):
        answer = cli(command[0], file, *command[1:], "--weight-dtype", "int4-g64")
        assert answer.code == 0, answer.err
        assert problem in answer.err
    assert cli("train", file, "--hw", "h100", "--gpus", 1, "--global-batch", 8).code == 0
    assert cli("mfu", file, "--hw", "h100", "--tokens-per-s", 1).code == 0
    for command in ("import", "check"):
        assert cli(command, file).code in (1, 2)


QWEN_MIXED = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
QWEN_NVFP4 = {"quant_algo": "NVFP4", "group_size": 16}


def _weights(scheme):
    config = QWEN3_30B | {"quantization_config": scheme}
    model = model_from(document_of(config, "config.json", "model"))
    return estimate(model, None, Options(context=1024)).memory.weights_bytes


def test_auto_round_sets_bits_by_names():
    """Attention in 8 bits, routers in 16, the rest in 4; an fp16 scale and a zero point for 128 weights."""
    own = {key: {"bits": 8} for key in QWEN_PROJECTIONS} | {key: {"bits": 16} for key in QWEN_GATES}
    layer = QWEN_ATTENTION * (8 + 24 / 128) / 8 + QWEN_ROUTED * (4 + 20 / 128) / 8 + 2 * QWEN_ROUTER
    assert _weights(QWEN_AUTO_ROUND | {"extra_config": own}) == 48 * layer + QWEN_BESIDE


def test_modelopt_sets_formats_by_names():
    """Attention in FP8; experts in NVFP4, 4 bits and an fp8 scale for 16 weights; routers as they are."""
    own = {key: {"quant_algo": "FP8"} for key in QWEN_PROJECTIONS} | dict.fromkeys(QWEN_EXPERTS, QWEN_NVFP4)
    layer = QWEN_ATTENTION + QWEN_ROUTED * 4.5 / 8 + 2 * QWEN_ROUTER
    assert _weights(QWEN_MIXED | {"quantized_layers": own}) == 48 * layer + QWEN_BESIDE


def test_names_of_every_expert_say_what_those_of_the_first_say():
    first, whole = (
        dict.fromkeys((f"{name}.{expert}" for name in QWEN_EXPERTS for expert in range(experts)), QWEN_NVFP4)
        for experts in (1, 3)
    )
    assert _weights(QWEN_MIXED | {"quantized_layers": whole}) == _weights(QWEN_MIXED | {"quantized_layers": first})


@pytest.mark.parametrize(
    "scheme",
    [
        QWEN_AUTO_ROUND | {"extra_config": [*QWEN_PROJECTIONS]},
        QWEN_AUTO_ROUND | {"extra_config": {"model.layers.1.mlp.experts.5.up_proj": {"bits": 8}}},  # of one expert
        QWEN_MIXED | {"quantized_layers": {key: {"quant_algo": "FP3"} for key in QWEN_PROJECTIONS}},
    ],
)
def test_formats_by_names_that_a_spec_cannot_say_are_refused(scheme):
    with pytest.raises(SpecError, match="quantization_config"):
        _weights(scheme)
