"""Files of weights beside a config: public checkpoints' totals to the byte, and what explains another total."""

import json
from pathlib import Path

import pytest

from llmcost.specs.catalog import load_model
from llmcost.specs.checkpoint import INDEX, SINGLE, compared, header_of

# Public checkpoints: the total of their listing, and of their config the keys on which counts depend.
PUBLIC = json.loads(Path(__file__).with_name("checkpoints.json").read_text("utf-8"))
H, I, L, A, V = 64, 192, 2, 4, 100
LLAMA = {
    "model_type": "llama",
    "hidden_size": H,
    "intermediate_size": I,
    "num_hidden_layers": L,
    "num_attention_heads": A,
    "num_key_value_heads": A,
    "vocab_size": V,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
ELEMENT = {"BF16": 2, "F32": 4, "U8": 1, "I64": 8}


def tensors():
    """Names and shapes of the checkpoint of `LLAMA`."""
    found = {"model.embed_tokens.weight": [V, H], "lm_head.weight": [V, H], "model.norm.weight": [H]}
    for layer in range(L):
        place = f"model.layers.{layer}."
        found |= {f"{place}{norm}_layernorm.weight": [H] for norm in ("input", "post_attention")}
        found |= {f"{place}self_attn.{name}_proj.weight": [H, H] for name in "qkvo"}
        found |= {f"{place}mlp.{name}_proj.weight": [I, H] for name in ("gate", "up")}
        found[f"{place}mlp.down_proj.weight"] = [H, I]
    return {name: (shape, "BF16") for name, shape in found.items()}


COUNTED = 2 * (2 * V * H + H + L * (2 * H + 4 * H * H + 3 * H * I))


def header(listed):
    """The bytes of a safetensors file without its data."""
    said, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, kind) in listed.items():
        size = ELEMENT[kind]
        for each in shape:
            size *= each
        said[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(said).encode()
    return len(text).to_bytes(8, "little") + text, at


def checkpoint(folder, listed, config=LLAMA, *, index=True, files=True):
    """A folder with a config, and its listing, its files, or both."""
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    data, total = header(listed)
    name = "model-00001-of-00001.safetensors" if index else SINGLE
    if files:
        (folder / name).write_bytes(data)
    if index:
        said = {"metadata": {"total_size": total}, "weight_map": dict.fromkeys(listed, name)}
        (folder / INDEX).write_text(json.dumps(said), "utf-8")
    return folder


def compare(folder):
    return compared(folder / "config.json", load_model(str(folder)))


@pytest.mark.parametrize("name", [name for name in PUBLIC if "total_size" in PUBLIC[name]])
def test_the_count_is_the_listing_of_a_public_checkpoint(tmp_path, name):
    public = PUBLIC[name]
    (tmp_path / "config.json").write_text(json.dumps(public["config"]), "utf-8")
    listed = {"metadata": {"total_size": public["total_size"]}, "weight_map": {}}
    if "untied" in public:  # whose config says nothing of it: the listing does
        listed["weight_map"]["lm_head.weight"] = "a.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(listed), "utf-8")
    found = compare(tmp_path)
    assert found.listed_bytes - found.counted_bytes == public.get("more", 0), public.get("why")
    assert found.equal == ("more" not in public)


@pytest.mark.parametrize("name", [name for name in PUBLIC if "file_size" in PUBLIC[name]])
def test_the_count_is_the_size_of_a_public_file_but_for_its_header(tmp_path, name):
    """A header names every tensor with its type, shape and place: some 100 to 160 bytes each."""
    public = PUBLIC[name]
    (tmp_path / "config.json").write_text(json.dumps(public["config"]), "utf-8")
    (tmp_path / INDEX).write_text('{"metadata": {"total_size": 1}, "weight_map": {}}', "utf-8")
    header = public["file_size"] - compare(tmp_path).counted_bytes - public["more"]
    assert 100 < header / public["tensors"] < 160, public["why"]


def test_ten_of_them_and_more_are_equal_to_the_byte_and_as_many_are_quantised():
    said = [json.dumps(public["config"]) for public in PUBLIC.values()]
    assert sum("total_size" in public and "more" not in public for public in PUBLIC.values()) >= 10
    assert sum("quantization" in text for text in said) >= 10
    assert all(public["source"].startswith("https://") for public in PUBLIC.values())


@pytest.mark.parametrize("how", [{}, {"files": False}, {"index": False}])
def test_an_index_or_headers_alone_or_both_check_the_bytes(tmp_path, how):
    found = compare(checkpoint(tmp_path, tensors(), **how))
    assert (found.counted_bytes, found.listed_bytes, found.equal) == (COUNTED, COUNTED, True)
    assert found.said == f"{found.listing} lists {COUNTED:,} bytes, as counted"


def test_without_files_of_weights_there_is_nothing_to_compare(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), "utf-8")
    assert compare(tmp_path) is None


DRAFT = {"model.layers.2.eh_proj.weight": ([H, 2 * H], "BF16")}
CAUSES = {
    "layers that draft": (DRAFT, 2 * 2 * H * H),
    "encoders": ({"visual.patch_embed.weight": ([H, 12], "BF16")}, 2 * 12 * H),
    "buffers": ({"model.layers.0.self_attn.rotary_emb.inv_freq": ([8], "F32")}, 32),
    "weights in 32 bits": ({"model.norm.weight": ([H], "F32")}, 2 * H),
}


@pytest.mark.parametrize("what", CAUSES)
def test_a_difference_is_explained_by_the_tensors_that_make_it(tmp_path, what):
    more, size = CAUSES[what]
    found = compare(checkpoint(tmp_path, tensors() | more))
    assert found.listed_bytes - found.counted_bytes == size
    assert what in found.said
    assert f"{size:,} bytes" in found.said
    assert next(iter(more)) in found.said
    assert "explains" not in found.said


def test_without_headers_the_tensors_are_named_all_the_same(tmp_path):
    found = compare(checkpoint(tmp_path, tensors() | DRAFT, files=False))
    assert "layers that draft further tokens, model.layers.2.eh_proj.weight and the like (1 tensors)" in found.said


def test_what_no_tensor_explains_is_said(tmp_path):
    listed = tensors() | DRAFT
    del listed["model.layers.0.mlp.up_proj.weight"]
    found = compare(checkpoint(tmp_path, listed))
    assert f"{2 * H * I:,} bytes fewer that nothing here explains" in found.said


def test_a_head_that_is_stored_beside_the_embedding_it_equals_is_named(tmp_path):
    tied = checkpoint(tmp_path, tensors(), LLAMA | {"tie_word_embeddings": True}, index=False)
    found = compare(tied)
    assert found.listed_bytes - found.counted_bytes == 2 * V * H
    assert "an LM head that is the embedding once more" in found.said


def test_check_import_and_estimate_say_it(tmp_path, cli):
    folder = str(checkpoint(tmp_path, tensors()))
    said = f"lists {COUNTED:,} bytes, as counted"
    assert said in cli("check", folder).out
    assert said in cli("import", folder).out
    assert "lists" not in cli("estimate", folder).err  # what is as it should be is not told
    answer = json.loads(cli("check", folder, "--json").out)["results"][0]["weights"]
    assert (answer["equal"], answer["listed_bytes"]) == (True, COUNTED)
    checkpoint(tmp_path, tensors() | DRAFT)
    answers = [cli(word, folder) for word in ("check", "import", "estimate", "ops")]
    answers.append(cli("fit", folder, "--hw", "rtx4090"))
    assert all(answer.code == 0 for answer in answers)
    assert all("layers that draft further tokens" in answer.out + answer.err for answer in answers)
    assert not json.loads(cli("check", folder, "--json").out)["results"][0]["weights"]["equal"]


def broken(folder):
    """Listings and headers that cannot be read, each beside the same config."""
    index, single = folder / INDEX, folder / SINGLE
    for text in ("", "{", "[]", "[" * 100_000, '{"metadata": {"total_size": -1}, "weight_map": {}}', "\x00" * 100):
        yield index, text.encode()
    yield index, b"\xff\xfe{}"
    for total in ('"many"', "1e400", "true", "[1]", str(2**70)):
        yield index, f'{{"metadata": {{"total_size": {total}}}, "weight_map": {{}}}}'.encode()
    yield index, b'{"metadata": {"total_size": 5}}'
    yield single, b""
    yield single, b"\x01"
    yield single, (2**63).to_bytes(8, "little") + b"{}"
    yield single, (50).to_bytes(8, "little") + b"{}"
    for said in (
        {"a": 1},
        {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 5]}},
        {"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 5]}},
    ):
        text = json.dumps(said).encode()
        yield single, len(text).to_bytes(8, "little") + text


def test_a_listing_that_cannot_be_read_is_said_and_the_config_is_used(tmp_path, cli):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), "utf-8")
    for file, data in broken(tmp_path):
        file.write_bytes(data)
        answer = cli("estimate", str(tmp_path))
        assert answer.code == 0, (data[:80], answer.err)
        assert answer.err.count("\n") == 1, (data[:80], answer.err)
        assert "cannot be compared" in answer.err, (data[:80], answer.err)
        file.unlink()


def test_pointers_to_large_files_are_no_files(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), "utf-8")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    for name in (INDEX, SINGLE):
        (tmp_path / name).write_bytes(pointer)
    assert compare(tmp_path) is None


def test_files_outside_the_folder_are_not_read(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    checkpoint(folder, tensors() | DRAFT)
    index = json.loads((folder / INDEX).read_text("utf-8"))
    outside = tmp_path / "secret"
    outside.write_text("top secret", "utf-8")
    index["weight_map"] |= {"a": "../secret", "b": str(outside)}
    (folder / INDEX).write_text(json.dumps(index), "utf-8")
    assert "secret" not in compare(folder).said


def test_a_header_gives_each_tensors_bytes(tmp_path):
    path = tmp_path / SINGLE
    path.write_bytes(header({"a": ([3, 5], "BF16"), "b": ([], "I64")})[0])
    found = header_of(path)
    assert {name: (each.bytes, each.elements) for name, each in found.items()} == {"a": (30, 15), "b": (8, 1)}
