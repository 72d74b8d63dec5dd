"""Weights as released checkpoints keep them: parts of one kernel in several formats, lists of tensors, files beside."""

import json

import pytest

from llmcost.ground.errors import InputError, SpecError
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_model
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

H, I, L, A, G, D, V = 512, 1024, 4, 8, 2, 64, 1000
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
    "torch_dtype": "bfloat16",
}
LINEAR = {  # inputs, outputs
    "self_attn.q_proj": (H, A * D), "self_attn.k_proj": (H, G * D), "self_attn.v_proj": (H, G * D),
    "self_attn.o_proj": (A * D, H), "mlp.gate_proj": (H, I), "mlp.up_proj": (H, I), "mlp.down_proj": (I, H),
}  # fmt: skip
SIZES = {name: k * n for name, (k, n) in LINEAR.items()}
WHOLE = sum(SIZES.values())
NORMS = 2 * (2 * L + 1) * H
TABLE = V * H


def read(quantization, config=LLAMA):
    given = config | {"quantization_config": quantization}
    return model_from(document_of(given, "config.json", "model", None, json.dumps(given, indent=1)))


def weights(model):
    return estimate(model, None, Options(context=1024)).memory.weights_bytes


# -- parts of one kernel in formats of their own -----------------------------------------------------------
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
FOUR = 4 + 20 / 128  # bits of a weight with a scale of 16 and a zero point of 4 for 128 of them


@pytest.mark.parametrize("alone", [("self_attn.v_proj",), ("mlp.up_proj",), ("self_attn.q_proj", "self_attn.k_proj")])
def test_a_part_of_a_kernel_may_keep_its_16_bits(alone):
    model = read(AWQ | {"modules_to_not_convert": [f"model.layers.1.{name}" for name in alone]})
    plain = sum(SIZES[name] for name in alone)
    expected = (L * WHOLE - plain) * FOUR / 8 + 2 * plain + 4 * TABLE + NORMS
    assert weights(model) == pytest.approx(expected, rel=1e-12)


def test_mlx_sets_bits_of_values_and_of_both_tables():
    """Mixed recipes of mlx-lm: values and down projections of some layers, embedding and head, in 6 bits."""
    six = {"group_size": 64, "bits": 6}
    own = {"model.layers.0.self_attn.v_proj": six, "model.layers.0.mlp.down_proj": six, "lm_head": six}
    model = read({"group_size": 64, "bits": 4, "mode": "affine", "model.embed_tokens": six} | own)
    wide = SIZES["self_attn.v_proj"] + SIZES["mlp.down_proj"] + 2 * TABLE
    assert weights(model) == ((L * WHOLE + 2 * TABLE) * 4.5 + 2 * wide) / 8 + NORMS


def test_a_channels_scale_is_not_known_of_a_part():
    said = {"quant_method": "compressed-tensors", "ignore": ["lm_head", "model.layers.1.self_attn.v_proj"]}
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}
    with pytest.raises(SpecError, match="names a part of qkv_proj alone"):
        read(said | {"config_groups": {"group_0": group}})


def test_a_module_that_holds_linear_layers_is_none_that_compressed_tensors_ignores():
    """Its names are whole: a list of all that was left alone has a module beside the linear layers inside it."""
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}}
    said = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    plain, holding = (read(said | {"ignore": ["lm_head", *more]}) for more in ([], ["model.layers.1.self_attn"]))
    assert weights(plain) == weights(holding)
    assert weights(read(said | {"ignore": ["lm_head", "model.layers.1.self_attn.o_proj"]})) > weights(plain)


# -- methods -------------------------------------------------------------------------------------------------
KINDS = {
    "AutoRound, symmetric": ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}, FOUR),
    "AutoRound MXFP4": (
        {"quant_method": "auto-round", "bits": 4, "group_size": 32, "data_type": "mx_fp"},
        4 + 8 / 32,
    ),
    "AutoRound MXFP8": ({"quant_method": "auto-round", "bits": 8, "group_size": 32, "data_type": "mx_fp"}, 8 + 8 / 32),
    "AutoRound NVFP4": ({"quant_method": "auto-round", "bits": 4, "group_size": 16, "data_type": "nv_fp"}, 4 + 8 / 16),
    "EXL2": ({"quant_method": "exl2", "bits": 4.25, "head_bits": 6}, 4.25),
    "EXL3, an average": ({"quant_method": "exl3", "bits": 2.25, "head_bits": 6}, 2.25),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_bits_a_weight(kind):
    said, each = KINDS[kind]
    head = 16 if "EXL" not in kind else 6
    scales = 16 * (H + V) if "EXL3" in kind else 0  # of the head: an input's and an output's
    expected = (L * WHOLE * each + TABLE * (16 + head) + scales) / 8 + NORMS
    assert weights(read(said)) == pytest.approx(expected, rel=1e-12)


def test_an_average_is_said():
    assert read(KINDS["EXL2"][0]).notes == (
        "EXL2 gives each layer bits of its own; what is counted is the average, 4.25 bits a weight.",
    )


def test_the_head_of_a_tied_model_in_exl_is_stored_once_more():
    said = {"quant_method": "exl2", "bits": 4, "head_bits": 8}
    assert weights(read(said, LLAMA | {"tie_word_embeddings": True})) == weights(read(said))


def torchao(default, **more):
    rules = {"_default": default, **more}
    config = {"_type": "ModuleFqnToConfig", "_version": 1, "_data": {"module_fqn_to_config": rules}}
    return {"quant_method": "torchao", "quant_type": {"default": config}, "untie_embedding_weights": True}


BY_GROUP = {
    "_type": "Int8DynamicActivationIntxWeightConfig",
    "_data": {
        "weight_dtype": {"_type": "torch.dtype", "_data": "int4"},
        "weight_granularity": {"_type": "PerGroup", "_data": {"group_size": 32}},
    },
}
BY_ROW = {"_type": "IntxWeightOnlyConfig", "_data": {"granularity": {"_type": "PerAxis", "_data": {"axis": 0}}}}


def test_torchao_sets_formats_by_names():
    """4 bits kept one a byte, with a scale in 16 and a zero point in 8; the embedding in 8 with both for each row."""
    model = read(torchao(BY_GROUP, **{"model.embed_tokens": BY_ROW, "re:.*o_proj": None}))
    plain = L * SIZES["self_attn.o_proj"]
    linear = (L * WHOLE - plain) * (8 + 24 / 32) / 8 + 2 * plain
    assert weights(model) == pytest.approx(linear + TABLE + 3 * V + 2 * TABLE + NORMS, rel=1e-12)


# -- lists of tensors beside a config ------------------------------------------------------------------------
def stored(widths):
    """EXL3's quantization_config.json: every module with its tensors, as exllamav3 writes them."""
    found = {"model.embed_tokens": {"stored_tensors": {"weight": {"shape": [V, H], "n_bytes": 2 * V * H}}}}
    for name, (k, n, bits) in widths.items():
        tensors = {
            f"{name}.suh": {"shape": [k], "n_bytes": 2 * k, "dtype": "torch.float16"},
            f"{name}.svh": {"shape": [n], "n_bytes": 2 * n, "dtype": "torch.float16"},
            f"{name}.mcg": {"shape": [], "n_bytes": 4, "dtype": "torch.int32"},
            f"{name}.trellis": {"shape": [k // 16, n // 16, 16 * bits], "n_bytes": k * n * bits // 8},
        }
        found[name] = {"stored_tensors": tensors, "quant_format": "exl3", "bits_per_weight": bits}
    return found


def exl3_layers():
    """Bits from 2 to 4, which differ inside a kernel too."""
    found = {"lm_head": (H, V // 16 * 16, 6)}
    for layer in range(L):
        for place, (name, (k, n)) in enumerate(LINEAR.items()):
            found[f"model.layers.{layer}.{name}"] = (k, n, 2 + (layer + place) % 3)
    return found


EXL3 = {"quant_method": "exl3", "bits": 3.0, "head_bits": 6, "version": "0.0.32"}


def released(folder, config, beside, name="quantization_config.json"):
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / name).write_text(json.dumps(beside, indent=1), "utf-8")
    return folder


def test_exl3s_list_of_tensors_gives_every_layer_its_bytes(tmp_path):
    """Whatever the average says: trellis, scales of inputs and outputs, and a number of four bytes a matrix."""
    layers = exl3_layers()
    config = LLAMA | {"vocab_size": V // 16 * 16, "quantization_config": EXL3 | {"bits": 2.75}}
    model = load_model(str(released(tmp_path, config, EXL3 | {"tensor_storage": stored(layers)})))
    expected = sum(k * n * bits // 8 + 2 * k + 2 * n + 4 for k, n, bits in layers.values())
    assert weights(model) == pytest.approx(expected + 2 * (V // 16 * 16) * H + NORMS, rel=1e-12)
    assert not model.notes


def without(key):
    return {name: each for name, each in stored(exl3_layers()).items() if name != key}


def changed(**tensor):
    found = stored(exl3_layers())
    name = "model.layers.2.mlp.up_proj"
    found[name]["stored_tensors"][f"{name}.trellis"] |= tensor
    return found


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (without("model.layers.2.mlp.up_proj"), "says nothing of a part of gate_up_proj of layer 2"),
        (changed(n_bytes="many"), "expected n_bytes and shape"),
        (changed(n_bytes=-5), "expected n_bytes and shape"),
        (changed(shape=[2**40, 2**40, 64]), "out of reach"),
        (changed(shape=[[1], 2]), "expected n_bytes and shape"),
        ([1, 2], "expected an object of modules"),
        ("all", "expected an object of modules"),
    ],
)
def test_a_list_of_tensors_that_is_not_whole_is_refused_with_its_file(tmp_path, cli, storage, words):
    folder = released(tmp_path, LLAMA | {"quantization_config": EXL3}, EXL3 | {"tensor_storage": storage})
    answer = cli("import", folder)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert f"{tmp_path}/quantization_config.json:" in answer.err
    assert "tensor_storage" in answer.err


BESIDE = {
    "quantize_config.json": {"bits": 4, "group_size": 128, "desc_act": True, "sym": True, "damp_percent": 0.01},
    "quant_config.json": {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"},
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_older_libraries_wrote_beside_a_config_is_read(tmp_path, name):
    model = load_model(str(released(tmp_path, LLAMA, BESIDE[name], name)))
    assert model.weight_format == "int4-g128-zp"


def test_what_other_libraries_call_the_same_is_let_be(tmp_path):
    """Of exported encoders: how they were quantised for another file."""
    released(tmp_path, LLAMA, {"per_channel": True, "reduce_range": True}, "quantize_config.json")
    assert not load_model(str(tmp_path)).weight_format


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"bits": 5, "group_size": 128}, ":1: this kind of quantisation (quant_method gptq, bits 5, group_size 128)"),
        ({"bits": 4, "group_size": 128, "weird": 1}, ":4: weird: not understood"),
        ({"bits": 4, "group_size": 128, "sym": "yes"}, ":4: sym: expected true or false"),
    ],
)
def test_an_error_of_such_a_file_names_it_and_its_line(tmp_path, cli, beside, said):
    answer = cli("estimate", released(tmp_path, LLAMA, beside, "quantize_config.json"))
    assert (answer.code, answer.out) == (2, "")
    assert f"{tmp_path}/quantize_config.json{said}" in answer.err
    assert answer.err.count("\n") == 1


HOSTILE = {
    "bits of many digits": {"quant_method": "exl2", "bits": 1e308, "head_bits": 6},
    "bits that are a text": {"quant_method": "exl3", "bits": "4", "head_bits": 6},
    "bits that are a list": {"quant_method": "exl3", "bits": [4, 4], "head_bits": 6},
    "bits that are true": {"quant_method": "exl3", "bits": True, "head_bits": 6},
    "a head of a list": {"quant_method": "exl2", "bits": 4, "head_bits": [6]},
    "modes of MLX": {"bits": 4, "group_size": 64, "mode": "mxfp5"},
    "a table of MLX": {"bits": 4, "group_size": 64, "lm_head": {"bits": 7, "group_size": 64}},
    "a table that is a text": {"bits": 4, "group_size": 64, "lm_head": "q4"},
    "rules of torchao": torchao({"_type": "Int5WeightOnlyConfig", "_data": {}}),
    "a rule that is no object": torchao(BY_GROUP, **{"model.embed_tokens": 5}),
    "a kind of AutoRound": {"quant_method": "auto-round", "bits": 4, "group_size": 32, "data_type": ["mx_fp"]},
    "a group of AutoRound": {"quant_method": "auto-round", "bits": 8, "group_size": {"a": 1}, "data_type": "fp"},
    "two formats of one part": {
        "quant_method": "auto-round",
        "bits": 4,
        "group_size": 128,
        "extra_config": {
            "model.layers.0.self_attn.v_proj": {"bits": 8},
            "re:.*v_proj": {"bits": 2},
        },
    },
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_cannot_be_is_refused_in_one_message(what):
    with pytest.raises(InputError, match="quantization_config"):
        read(HOSTILE[what])
