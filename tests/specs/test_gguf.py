"""GGUF files: a spec equal to the shipped model's, the file's own bytes, and one message for what cannot be read.

The files are written by tests/gguf_files.py, tensor by tensor; the shipped models are the oracle of their sizes.
"""

import json
import re
import struct

import gguf_files as files
import pytest

from llmcost.ground.errors import InputError, SpecError
from llmcost.model.architecture import forward, layer_operators, operators
from llmcost.model.card import params_of
from llmcost.model.formats import FORMATS, format_of
from llmcost.model.sizes import Load, element_bytes
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_model
from llmcost.specs.gguf import TENSORS, read_header


def qwen2():
    return files.dense(
        "qwen2", h=2048, layers=36, a=16, g=2, d=128, i=11008, v=151936, context=32768, tied=True, bias=True
    )


def qwen3():
    return files.dense("qwen3", h=4096, layers=36, a=32, g=8, d=128, i=12288, v=151936, context=40960, qk_norm=True)


def gemma3():
    window = {"gemma3.attention.sliding_window": 1024}
    return files.dense(
        "gemma3", h=3840, layers=48, a=16, g=8, d=256, i=15360, v=262208, context=131072, tied=True, qk_norm=True,
        sandwich=True, extra=window,
    )  # fmt: skip


def gemma2():
    window = {"gemma2.attention.sliding_window": 4096}
    return files.dense(
        "gemma2", h=3584, layers=42, a=16, g=8, d=256, i=14336, v=256000, context=8192, tied=True, sandwich=True,
        extra=window,
    )  # fmt: skip


def llama31():
    return files.dense("llama", h=4096, layers=32, a=32, g=8, d=128, i=14336, v=128256, context=131072, rope=64)


def without(tensors, *endings):
    return [each for each in tensors if not each[0].endswith(endings)]


def experts(layer, h, f, count, kind="q4_k", down="q6_k"):
    return [
        (f"blk.{layer}.ffn_gate_inp.weight", (h, count), "f32"),
        (f"blk.{layer}.ffn_gate_exps.weight", (h, f, count), kind),
        (f"blk.{layer}.ffn_up_exps.weight", (h, f, count), kind),
        (f"blk.{layer}.ffn_down_exps.weight", (f, h, count), down),
    ]


def qwen3_moe():
    h, layers, count, f = 2048, 48, 128, 768
    metadata, tensors = files.dense(
        "qwen3moe", h=h, layers=layers, a=32, g=4, d=128, i=6144, v=151936, context=40960, qk_norm=True
    )
    tensors = without(tensors, "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")
    tensors += [each for layer in range(layers) for each in experts(layer, h, f, count)]
    said = {"expert_count": count, "expert_used_count": 8, "expert_feed_forward_length": f}
    return metadata | {f"qwen3moe.{key}": value for key, value in said.items()}, tensors


def mixtral():
    h, layers, count, i = 4096, 32, 8, 14336
    metadata, tensors = files.dense("llama", h=h, layers=layers, a=32, g=8, d=128, i=i, v=32000, context=32768)
    tensors = without(tensors, "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")
    tensors += [each for layer in range(layers) for each in experts(layer, h, i, count)]
    return metadata | {"llama.expert_count": count, "llama.expert_used_count": 2}, tensors


def gpt_oss():
    h, layers, a, g, d, count, v = 2880, 24, 64, 8, 64, 32, 201088
    metadata, tensors = files.dense(
        "gpt-oss", h=h, layers=layers, a=a, g=g, d=d, i=h, v=v, context=131072, bias=True, table="bf16", head="bf16"
    )
    plain = re.compile(r"attn_(q|k|v|output)\.weight")
    tensors = [(name, shape, "bf16" if plain.search(name) else kind) for name, shape, kind in tensors]
    tensors = without(tensors, "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")
    for layer in range(layers):
        tensors += experts(layer, h, h, count, "mxfp4", "mxfp4")
        tensors += [
            (f"blk.{layer}.ffn_gate_inp.bias", (count,), "f32"),
            *[(f"blk.{layer}.ffn_{x}_exps.bias", (h, count), "f32") for x in ("gate", "up", "down")],
            (f"blk.{layer}.attn_output.bias", (h,), "f32"),
            (f"blk.{layer}.attn_sinks.weight", (a,), "f32"),
        ]
    said = {"expert_count": count, "expert_used_count": 4, "expert_feed_forward_length": h}
    said |= {"attention.sliding_window": 128, "rope.scaling.type": "yarn", "rope.scaling.factor": 32.0}
    said |= {"rope.scaling.original_context_length": 4096}
    return metadata | {f"gpt-oss.{key}": value for key, value in said.items()}, tensors


def deepseek_v2_lite(*, split=True):
    """MLA without a latent of the queries; `split`: keys' and values' expansions apart, as since April 2025."""
    h, layers, a, rkv, dn, dr, dv, count, f, v = 2048, 27, 16, 512, 128, 64, 128, 64, 1408, 102400
    metadata, tensors = files.dense("deepseek2", h=h, layers=layers, a=a, g=1, d=1, i=10944, v=v, context=163840)
    tensors = without(tensors, "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight")
    dense_mlp = re.compile(r"blk\.[1-9]\d*\.ffn_(gate|up|down)\.weight")
    tensors = [each for each in tensors if not dense_mlp.fullmatch(each[0])]
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors += [
            (f"{block}attn_q.weight", (h, a * (dn + dr)), "q4_k"),
            (f"{block}attn_kv_a_mqa.weight", (h, rkv + dr), "q4_k"),
            (f"{block}attn_kv_a_norm.weight", (rkv,), "f32"),
            (f"{block}attn_output.weight", (a * dv, h), "q4_k"),
        ]
        if split:
            tensors += [
                (f"{block}attn_k_b.weight", (dn, rkv, a), "q8_0"),
                (f"{block}attn_v_b.weight", (rkv, dv, a), "q4_k"),
            ]
        else:
            tensors.append((f"{block}attn_kv_b.weight", (rkv, a * (dn + dv)), "q6_k"))
        if layer:
            tensors += experts(layer, h, f, count, "q4_k", "q8_0")
            tensors += [
                (f"{block}ffn_gate_shexp.weight", (h, 2 * f), "q4_k"),
                (f"{block}ffn_up_shexp.weight", (h, 2 * f), "q4_k"),
                (f"{block}ffn_down_shexp.weight", (2 * f, h), "q6_k"),
            ]
    said = {"expert_count": count, "expert_used_count": 6, "expert_shared_count": 2, "expert_feed_forward_length": f}
    said |= {"leading_dense_block_count": 1, "attention.kv_lora_rank": rkv, "rope.dimension_count": dr}
    if split:
        said |= {"attention.key_length": rkv + dr, "attention.value_length": rkv}
        said |= {"attention.key_length_mla": dn + dr, "attention.value_length_mla": dv}
    else:
        said |= {"attention.head_count_kv": a, "attention.key_length": dn + dr, "attention.value_length": dv}
    return metadata | {f"deepseek2.{key}": value for key, value in said.items()}, tensors


def phi3():
    """Queries, keys and values in one tensor, and gate and up in another."""
    h, layers, i, v = 3072, 32, 8192, 32064
    metadata, tensors = files.dense("phi3", h=h, layers=layers, a=32, g=32, d=96, i=i, v=v, context=4096)
    del metadata["phi3.attention.key_length"], metadata["phi3.attention.value_length"]  # are not written of it
    tensors = without(tensors, "attn_q.weight", "attn_k.weight", "attn_v.weight", "ffn_gate.weight", "ffn_up.weight")
    for layer in range(layers):
        tensors += [
            (f"blk.{layer}.attn_qkv.weight", (h, 3 * h), "q5_k"),
            (f"blk.{layer}.ffn_up.weight", (h, 2 * i), "q4_k"),
        ]
    return metadata | {"phi3.attention.sliding_window": 2047}, tensors


def falcon():
    """Falcon 7B: one key-value head, one norm a layer, no gate; 4544 = 142·32 columns suit q4_0 and q8_0 alone."""
    h, layers, d, v = 4544, 32, 64, 65024
    metadata, _ = files.dense("falcon", h=h, layers=layers, a=71, g=1, d=d, i=4 * h, v=v, context=2048)
    tensors = [("token_embd.weight", (h, v), "q4_0"), ("output_norm.weight", (h,), "f32")]
    tensors += [("output_norm.bias", (h,), "f32")]
    for layer in range(layers):
        tensors += [
            (f"blk.{layer}.attn_norm.weight", (h,), "f32"),
            (f"blk.{layer}.attn_norm.bias", (h,), "f32"),
            (f"blk.{layer}.attn_qkv.weight", (h, h + 2 * d), "q4_0"),
            (f"blk.{layer}.attn_output.weight", (h, h), "q4_0"),
            (f"blk.{layer}.ffn_up.weight", (h, 4 * h), "q4_0"),
            (f"blk.{layer}.ffn_down.weight", (4 * h, h), "q4_0"),
        ]
    return metadata, tensors


RELEASED = {  # a shipped model -> what writes its GGUF file
    "llama3-8b": files.llama3_8b,
    "llama3.1-8b": llama31,
    "qwen2.5-3b": qwen2,
    "qwen3-8b": qwen3,
    "gemma-2-9b": gemma2,
    "gemma-3-12b": gemma3,
    "qwen3-30b-a3b": qwen3_moe,
    "mixtral-8x7b": mixtral,
    "gpt-oss-20b": gpt_oss,
    "deepseek-v2-lite": deepseek_v2_lite,
    "phi-3-mini": phi3,
    "falcon-7b": falcon,
}


def plain(model):
    """The layers of a model, merged where they differ in formats alone, and the sizes around them."""
    kinds = {}
    for layer in model.layers:
        key = layer._replace(count=0, formats=(), unquantized=())
        kinds[key] = kinds.get(key, 0) + layer.count
    fields = ("hidden_size", "vocab_size", "tie_word_embeddings", "position_embedding", "norm", "lm_head_bias")
    return kinds, [getattr(model, field) for field in fields]


@pytest.mark.parametrize("name", RELEASED)
def test_a_file_gives_the_spec_of_the_released_model_and_its_own_bytes(tmp_path, name):
    metadata, tensors = RELEASED[name]()
    model = load_model(str(files.written(tmp_path / f"{name}.gguf", metadata, tensors)))
    shipped = load_model(name)
    assert plain(model) == plain(shipped)
    assert params_of(model) == params_of(shipped)
    e = estimate(model, None, Options())
    assert round(e.memory.weights_bytes) == files.total_bytes(tensors)
    assert e.model.mixed_weights


MOE = ("expert_count", "expert_used_count", "expert_feed_forward_length")
DELTA = {
    "ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 16, "full_attention_interval": 4,
}  # fmt: skip
MLA = {"attention.kv_lora_rank": 512, "rope.dimension_count": 64, "attention.key_length": 576}
MLA |= {"attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128}
# What the conversions write of other types (conversion/*.py), beside heads and widths.
OTHERS = {
    "qwen3-next-80b-a3b": ("qwen3next", dict(zip(MOE, (512, 10, 512), strict=True)) | DELTA
        | {"ssm.time_step_rank": 32, "ssm.inner_size": 4096, "expert_shared_feed_forward_length": 512}),
    "qwen3.5-27b": ("qwen35", DELTA | {"ssm.time_step_rank": 48, "ssm.inner_size": 6144}),
    "qwen3.5-35b-a3b": ("qwen35moe", dict(zip(MOE, (256, 8, 512), strict=True)) | DELTA
        | {"ssm.time_step_rank": 32, "ssm.inner_size": 4096, "expert_shared_feed_forward_length": 512}),
    "glm-4.5-air": ("glm4moe", dict(zip(MOE, (128, 8, 1408), strict=True))
        | {"expert_shared_count": 1, "leading_dense_block_count": 1}),
    "olmo-2-7b": ("olmo2", {}),
    "olmo-3-7b": ("olmo2", {"attention.sliding_window": 4096}),
    "exaone-4-32b": ("exaone4", {"attention.sliding_window": 4096}),
    "granite-3.3-8b": ("granite", {"logit_scale": 16.0}),
    "seed-oss-36b": ("seed_oss", {}),
    "minimax-m2.5": ("minimax-m2", dict(zip(MOE, (256, 8, 1536), strict=True))),
    "smollm3-3b": ("smollm3", {}),
    "glm-4-9b": ("glm4", {}),
    "glm-4-9b-chat": ("chatglm", {}),
    "bloom-176b": ("bloom", {}),
    "gpt2": ("gpt2", {}),
    "gpt-neox-20b": ("gptneox", {"use_parallel_residual": True}),
    "phi-4": ("phi3", {}),
    "yi-34b": ("llama", {}),
    "deepseek-v3": ("deepseek2", dict(zip(MOE, (256, 8, 2048), strict=True)) | MLA
        | {"attention.q_lora_rank": 1536, "expert_shared_count": 1, "leading_dense_block_count": 3,
           "expert_group_count": 8, "expert_group_used_count": 4}),
    "kimi-k2": ("deepseek2", dict(zip(MOE, (384, 8, 2048), strict=True)) | MLA
        | {"attention.q_lora_rank": 1536, "expert_shared_count": 1, "leading_dense_block_count": 1,
           "expert_group_count": 1, "expert_group_used_count": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_metadata_of_other_types_give_the_released_model_too(tmp_path, name):
    """The tensors are one a kernel of ours, so that the sizes alone are what this tests: metadata to spec."""
    arch, said = OTHERS[name]
    shipped = load_model(name)
    size, load = element_bytes("bf16", "bf16", "bf16"), Load(1, 1, 1)
    whole = forward(shipped, size, load)
    layers = {layer: [*layer_operators(shipped, layer, size, load)] for layer in shipped.layers}
    metadata, tensors = files.drawn_from(shipped, arch, ([*whole.first, *whole.last], layers), said)
    model = load_model(str(files.written(tmp_path / "a.gguf", metadata, tensors)))
    assert plain(model) == plain(shipped)
    assert params_of(model) == params_of(shipped)


def test_q4_k_m_of_llama_3_has_the_bits_a_weight_that_llama_cpp_documents(tmp_path):
    metadata, tensors = files.llama3_8b()
    model = load_model(str(files.written(tmp_path / "a.gguf", metadata, tensors)))
    bits = 8 * estimate(model, None, Options()).memory.weights_bytes / 8_030_261_248
    assert bits == pytest.approx(4.8944, abs=5e-5)  # tools/quantize/README.md: Q4_K_M of Llama 3.1 8B
    assert model.weight_format == "q4_k"
    kinds = {layer.formats: layer.count for layer in model.layers}
    assert kinds == {("down_proj=q6_k", "qkv_proj=5*q4_k+q6_k"): 16, (): 16}  # of 4096 + 1024 and 1024 columns
    assert model.table_formats == ("token_embedding=q4_k", "lm_head=q6_k")


def test_older_files_of_mla_have_one_tensor_for_keys_and_values(tmp_path):
    metadata, tensors = deepseek_v2_lite(split=False)
    model = load_model(str(files.written(tmp_path / "a.gguf", metadata, tensors)))
    assert plain(model) == plain(load_model("deepseek-v2-lite"))
    assert round(estimate(model, None, Options()).memory.weights_bytes) == files.total_bytes(tensors)


def test_a_step_reads_keys_and_values_expansions_in_their_own_formats(tmp_path):
    model = load_model(str(files.written(tmp_path / "a.gguf", *deepseek_v2_lite())))
    size = Options()
    e = estimate(model, None, size)
    dn, rkv, dv, a, layers = 128, 512, 128, 16, 27
    step = operators(model, element_bytes("q4_k", "bf16", "bf16"), Load(1, 1, 1, decode=True))
    found = {name: sum(op.count * op.stored_bytes() for op in step if op.name == name) for name in
             ("absorb_key", "absorb_value")}  # fmt: skip
    assert found == {"absorb_key": layers * dn * rkv * a * 34 / 32, "absorb_value": layers * rkv * dv * a * 144 / 256}
    assert e.traffic.decode.weight_bytes < e.memory.weights_bytes


def test_another_format_that_is_asked_for_replaces_the_files(tmp_path):
    path = str(files.written(tmp_path / "a.gguf", *files.llama3_8b()))
    asked, shipped = (estimate(load_model(name), None, Options(weight_dtype="q8_0")) for name in (path, "llama3-8b"))
    assert asked.memory.weights_bytes == shipped.memory.weights_bytes
    assert not asked.model.mixed_weights


def test_a_file_of_16_bits_has_its_norms_in_32(tmp_path):
    metadata, tensors = files.llama3_8b()
    tensors = [(name, shape, kind if kind == "f32" else "f16") for name, shape, kind in tensors]
    model = load_model(str(files.written(tmp_path / "a.gguf", metadata, tensors)))
    norms = 65 * 4096
    assert (model.dtype, model.weight_format, model.wider_bytes) == ("fp16", "fp16", 2 * norms)
    assert estimate(model, None, Options(dtype="fp16")).memory.weights_bytes == 2 * 8_030_261_248 + 2 * norms


def test_the_spec_that_is_imported_says_the_same(tmp_path, cli):
    path = files.written(tmp_path / "a.gguf", *qwen3_moe())
    spec = tmp_path / "a.yaml"
    assert cli("import", str(path), "-o", str(spec)).code == 0
    ours, theirs = (estimate(load_model(str(each)), None, Options()) for each in (path, spec))
    assert ours == theirs


def test_layers_that_draft_are_left_out_and_said(tmp_path):
    metadata, tensors = qwen3()
    metadata |= {"qwen3.block_count": 37, "qwen3.nextn_predict_layers": 1}
    tensors += [("blk.36.attn_q.weight", (4096, 4096), "q4_k"), ("blk.36.nextn.eh_proj.weight", (8192, 4096), "q4_k")]
    model = load_model(str(files.written(tmp_path / "a.gguf", metadata, tensors)))
    assert params_of(model) == params_of(load_model("qwen3-8b"))
    assert any("draft" in note and f"{3 * 4096 * 4096:,}" in note for note in model.notes)


def split(tmp_path, parts=3):
    metadata, tensors = files.llama3_8b()
    cut = [tensors[at::parts] for at in range(parts)]
    names = [tmp_path / f"a-{at + 1:05d}-of-{parts:05d}.gguf" for at in range(parts)]
    for at, (path, some) in enumerate(zip(names, cut, strict=True)):
        said = {"split.no": at, "split.count": parts, "split.tensors.count": len(tensors)}
        files.written(path, said | (metadata if at == 0 else {}), some)
    return names, tensors


def test_a_split_file_is_read_whole_whichever_part_is_named(tmp_path):
    names, tensors = split(tmp_path)
    for path in (*names, tmp_path):  # the folder too
        model = load_model(str(path))
        assert round(estimate(model, None, Options()).memory.weights_bytes) == files.total_bytes(tensors)
        assert model.name == "a"


def test_a_part_that_is_missing_is_named(tmp_path):
    names, _ = split(tmp_path)
    names[1].unlink()
    with pytest.raises(SpecError, match=r"a-00002-of-00003\.gguf: no such file: a part of the model is missing"):
        load_model(str(names[0]))
    renamed = names[0].rename(tmp_path / "b.gguf")
    with pytest.raises(SpecError, match="one of 3 parts"):
        load_model(str(renamed))


def test_of_several_files_in_a_folder_one_has_to_be_named(tmp_path):
    for name in ("a", "b", "mmproj-a"):
        files.written(tmp_path / f"{name}.gguf", *files.llama3_8b())
    with pytest.raises(InputError, match=r"which of its 2 GGUF files\? a\.gguf, b\.gguf"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("form", sorted({form for form, _ in TENSORS.values()}))
def test_blocks_of_every_type_are_whole_bytes(form):
    """So that bytes of tensors are exact: a block's bits are a whole number of bytes."""
    blocks = dict(TENSORS.values())
    assert blocks[form] * format_of(form).bits_a_weight % 8 == 0


def test_a_mix_has_the_bytes_of_its_parts():
    mix = format_of("5*q4_k+q6_k")
    assert mix.bits_a_weight == (5 * FORMATS["q4_k"].bits + FORMATS["q6_k"].bits) / 6
    for wrong in ("", "q4_k+", "0*q4_k+q6_k", "2*q9", "q4_k*2", "+".join(["q4_k"] * 10), "2*q4_k", "int8-channel+q4_k"):
        assert format_of(wrong) is None, wrong


# Bad files: one message each.

H = files.header


def broken():
    metadata, tensors = files.llama3_8b()
    whole = H(metadata, tensors)
    one = [("blk.0.attn_q.weight", (256, 256), "q4_k")]
    yield "no GGUF file", b"PK\x03\x04" + whole[4:]
    yield "no GGUF file", b""
    yield "no GGUF file", b"GG"
    yield "cut off", b"GGUF"
    yield "version 1 of GGUF", H(metadata, tensors, version=1)
    yield "version 99", H(metadata, tensors, version=99)
    yield "big-endian", b"GGUF" + struct.pack(">IQQ", 3, len(tensors), len(metadata)) + whole[24:]
    for length in (10, 23, 30, 100, 300, 900, len(whole) // 2, len(whole) - 1):
        yield "cut off", whole[:length]
    yield "18,446,744,073,709,551,615 tensors", b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 0)
    yield "keys of metadata", b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40)
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    yield "cut off", head + struct.pack("<Q", 2**63) + b"x" * 100
    yield "cut off", head + files.text("k") + struct.pack("<IQ", 8, 2**62)
    yield "cut off", head + files.text("k") + struct.pack("<IIQ", 9, 10, 2**61)
    yield "texts", head + files.text("k") + struct.pack("<IIQ", 9, 8, 2**40)
    yield "cut off: its texts", head + files.text("k") + struct.pack("<IIQ", 9, 8, 10**6) + b"\0" * 8 * 1000
    yield "list of the type 9", head + files.text("k") + struct.pack("<IIQ", 9, 9, 3)
    yield "the type 77", head + files.text("k") + struct.pack("<I", 77)
    yield "no readable name", head + struct.pack("<Q", 0) + b"x" * 100
    yield "no readable name", head + files.text("\x1b]0;title\x07") + files.value_of(1)
    yield "stands twice", b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (files.text("k") + files.value_of(1))
    yield "general.architecture: this key is missing", H({}, one)
    yield "'sorcery' is not understood; known are llama", H({"general.architecture": "sorcery"}, one)
    yield "mmproj", H({"general.architecture": "clip"}, one)
    yield "a vocabulary alone", H(metadata, [])
    for key in ("block_count", "embedding_length", "attention.head_count", "context_length"):
        yield f"llama.{key}", H({name: value for name, value in metadata.items() if name != f"llama.{key}"}, tensors)
        for wrong in ("many", 0, [1, 2], 2**31, -1.5, True):
            yield "", H(metadata | {f"llama.{key}": wrong}, tensors)
    yield "differs from layer to layer", H(metadata | {"llama.feed_forward_length": [1, 2, 3]}, tensors)
    yield "fewer than", H(metadata, [each for each in tensors if each[0] != "blk.3.ffn_up.weight"])
    yield "more than", H(metadata, [*tensors, ("blk.3.ffn_up_again.weight", (4096, 4096), "f32")])
    yield "no linear layer is known", H(metadata, [*tensors, ("blk.3.ffn_up_again.weight", (4096, 4096), "q4_k")])
    yield "stands twice", H(metadata, [*tensors, tensors[5]])
    yield "do not divide into blocks of 256", H(metadata, [("a.weight", (100, 256), "q4_k")])
    yield "out of reach", H(metadata, [("a.weight", (2**40, 2**40), "f32")])
    yield "out of reach", H(metadata, [("a.weight", (0, 4), "f32")])
    yield "dimensions", whole[: whole.index(b"token_embd.weight") + 17] + struct.pack("<I", 2**31) + b"\0" * 999
    broken_type = bytearray(whole)
    at = whole.index(b"token_embd.weight") + 17 + 4 + 16
    broken_type[at : at + 4] = struct.pack("<I", 4)  # Q4_2 was removed in 2023
    yield "the type 4, which is not known", bytes(broken_type)
    yield "cut off: ", whole + b"\0" * 1000  # a few of the weights
    yield "general.alignment", H(metadata | {"general.alignment": 0}, tensors)
    yield "token_embd.weight", H(metadata, [each for each in tensors if each[0] != "token_embd.weight"])


def test_what_cannot_be_read_is_said_in_one_message(tmp_path):
    for place, (said, data) in enumerate(broken()):
        path = tmp_path / f"{place}.gguf"
        path.write_bytes(data)
        with pytest.raises(InputError) as error:
            load_model(str(path))
        message = str(error.value)
        assert str(path) in message, (said, message)
        assert said in message, (said, message)
        assert len(message) < 1500, message
        assert "\n" not in message, message


def test_the_command_line_refuses_in_one_line(tmp_path, cli):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 500)
    for arguments in (("estimate", str(path), "--hw", "rtx4090"), ("import", str(path)), ("models", str(path))):
        answer = cli(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.count("\n") == 1
    answer = cli("check", str(path), "--json")
    assert answer.code == 1
    assert "big-endian" not in json.loads(answer.out)["results"][0]["message"]
    assert cli("estimate", str(tmp_path / "none.gguf"), "--hw", "rtx4090").code == 2


def test_options_of_configs_have_no_use_for_a_gguf_file(tmp_path, cli):
    path = str(files.written(tmp_path / "a.gguf", *files.llama3_8b()))
    for option in (("--as", "llama"), ("--allow-unknown", "x")):
        answer = cli("import", path, *option)
        assert answer.code == 2
        assert "config.json" in answer.err


def test_a_header_is_read_with_or_without_the_weights_behind_it(tmp_path):
    metadata = {"general.architecture": "llama"}
    tensors = [("a.weight", (32,), "f32"), ("b.weight", (32, 2), "q8_0")]
    data = H(metadata, tensors)
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    assert read_header(path).without_data
    path.write_bytes(data + b"\0" * (-len(data) % 32) + b"\0" * (32 * 4 + 2 * 34))
    found = read_header(path)
    assert not found.without_data
    assert found.bytes == 32 * 4 + 2 * 34


def test_texts_where_a_number_belongs_are_not_taken_for_their_number(tmp_path):
    """Lists of texts are not kept, only how many there are: four texts are no four KV heads."""
    metadata, tensors = files.llama3_8b()
    metadata |= {"llama.attention.head_count_kv": ["a", "b", "c", "d"]}
    with pytest.raises(SpecError, match=r"llama\.attention\.head_count_kv: expected a number, or one for every layer"):
        load_model(str(files.written(tmp_path / "a.gguf", metadata, tensors)))
