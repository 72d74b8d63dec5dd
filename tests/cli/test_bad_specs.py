"""A spec that cannot be used is refused with file, line and field, whatever is wrong with it, and by `check` too."""

import json
import os
import re

import pytest
from refusals import CHIP, MODEL, refused

from llmcost.specs.reader import LARGEST_FILE

BOMB = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [*{before}, *{before}]\n" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def line_of(text, key):
    """Where a key stands, counted from 1."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if re.match(rf"\s*{key}:", line))


def model_with(field, value):
    """The shipped Llama 3 8B with one field written differently."""
    changed, count = re.subn(rf"(?m)^{field}: .*$", lambda _: f"{field}: {value}", MODEL)
    assert count == 1
    return changed


def chip_with(before, after):
    """The shipped RTX 4090 with one piece of text replaced."""
    assert CHIP.count(before) == 1
    return CHIP.replace(before, after)


def without(text, field):
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(f"{field}:"))


# claim: (text of the file, line to blame or 0, field to blame or "", words of the message)
MODELS = {
    "unknown field": (
        MODEL + "hiden_size: 1\n",
        len(MODEL.splitlines()) + 1,
        "hiden_size",
        "did you mean hidden_size?",
    ),
    "missing field": (without(MODEL, "vocab_size"), 1, "vocab_size", "this field is missing"),
    "text for a number": (
        model_with("hidden_size", "big"),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "got the text 'big'",
    ),
    "quoted number": (
        model_with("hidden_size", '"4096"'),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "expected a whole number",
    ),
    "1e9 is text in YAML": (
        model_with("vocab_size", "1e9"),
        line_of(MODEL, "vocab_size"),
        "vocab_size",
        "write 1000000000",
    ),
    "1_000 is text here": (
        model_with("vocab_size", "1_000"),
        line_of(MODEL, "vocab_size"),
        "vocab_size",
        "expected a whole number",
    ),
    "0x10 is text here": (
        model_with("vocab_size", "0x10"),
        line_of(MODEL, "vocab_size"),
        "vocab_size",
        "the text '0x10'",
    ),
    "60:00 is text here": (
        model_with("vocab_size", "60:00"),
        line_of(MODEL, "vocab_size"),
        "vocab_size",
        "the text '60:00'",
    ),
    "true for a number": (model_with("hidden_size", "true"), line_of(MODEL, "hidden_size"), "hidden_size", "got true"),
    "number for a flag": (
        model_with("mlp_bias", "1"),
        line_of(MODEL, "mlp_bias"),
        "mlp_bias",
        "expected true or false, got 1",
    ),
    "yes for a flag": (model_with("mlp_bias", "yes"), line_of(MODEL, "mlp_bias"), "mlp_bias", "the text 'yes'"),
    "fraction for a size": (
        model_with("hidden_size", "4096.5"),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "4,096.5",
    ),
    "negative size": (
        model_with("hidden_size", "-4096"),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "must be above 0",
    ),
    "zero layers": (
        model_with("num_hidden_layers", "0"),
        line_of(MODEL, "num_hidden_layers"),
        "num_hidden_layers",
        "must be above 0",
    ),
    "nothing for a size": (model_with("hidden_size", ""), line_of(MODEL, "hidden_size"), "hidden_size", "got nothing"),
    "nan": (model_with("hidden_size", ".nan"), line_of(MODEL, "hidden_size"), "hidden_size", "'.nan'"),
    "inf": (model_with("hidden_size", ".inf"), line_of(MODEL, "hidden_size"), "hidden_size", "'.inf'"),
    "inf as a word": (model_with("hidden_size", "inf"), line_of(MODEL, "hidden_size"), "hidden_size", "'inf'"),
    "float too large for one": (
        model_with("hidden_size", "1.0e+999"),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "whole number, got inf",
    ),
    "10 digits": (
        model_with("hidden_size", "9" * 10),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "at most 1,000,000,000",
    ),
    "40 digits": (
        model_with("hidden_size", "9" * 40),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "at most 1,000,000,000",
    ),
    "5000 digits": (
        model_with("hidden_size", "9" * 5000),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "expected a whole number",
    ),
    "list for a size": (model_with("hidden_size", "[1]"), line_of(MODEL, "hidden_size"), "hidden_size", "got a list"),
    "mapping for a size": (
        model_with("hidden_size", "{a: 1}"),
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "got a mapping",
    ),
    "text for a list": (model_with("aliases", "x"), line_of(MODEL, "aliases"), "aliases", "expected a list"),
    "number among texts": (
        model_with("aliases", "[x, 4090]"),
        line_of(MODEL, "aliases"),
        "aliases.1",
        "expected text, got 4,090",
    ),
    "unknown word": (model_with("norm", "batch"), line_of(MODEL, "norm"), "norm", "must be 'rms', 'layer'"),
    "501 letters": (model_with("title", "x" * 501), line_of(MODEL, "title"), "title", "at most 500"),
    "empty text": (model_with("title", '""'), line_of(MODEL, "title"), "title", "at least 1"),
    "heads that cannot share": (
        model_with("num_key_value_heads", "5"),
        line_of(MODEL, "num_key_value_heads"),
        "num_key_value_heads",
        "32 attention heads cannot share 5 KV heads evenly",
    ),
    "hidden size without head_dim": (
        without(model_with("hidden_size", "4100"), "head_dim"),  # 4100 = 128·32 + 4
        line_of(MODEL, "hidden_size"),
        "hidden_size",
        "4100 does not divide into 32 heads",
    ),
    "duplicate key": (MODEL + "hidden_size: 5\n", len(MODEL.splitlines()) + 1, "hidden_size", "this key stands twice"),
    "tag on a value": (
        model_with("title", "!!python/name:os.system x"),
        line_of(MODEL, "title"),
        "title",
        "is not used in specs",
    ),
    "tag on a list": (
        model_with("aliases", '!!python/object/apply:os.system ["true"]'),
        line_of(MODEL, "aliases"),
        "aliases",
        "python/object/apply",
    ),
    "tag on a key": (
        MODEL + "!!python/name:os.system x: 1\n",
        len(MODEL.splitlines()) + 1,
        "x",
        "is not used in specs",
    ),
    "alias": (
        model_with("name", "&n llama").replace("title: Llama 3 8B", "title: *n"),
        2,
        "title",
        "write the value out",
    ),
    "alias to nothing": (model_with("title", "*n"), 2, "", "undefined alias"),
    "merge key": ("base: &b {a: 1}\n<<: *b\n", 2, "<<", "write the value out"),
    "bomb of aliases": (BOMB, 2, "b.0", "write the value out"),
    "key that is a list": ("? [a, b]\n: 1\n", 1, "", "a key must be a plain word"),
    "key over two lines": ('"a\\nb": 1\n', 1, "", "a key must be a plain word"),
    "key of 101 letters": ("k" * 101 + ": 1\n", 1, "", "a key must be a plain word"),
    "list at top level": ("- name: a\n", 1, "", "expected a mapping"),
    "one word": ("hello\n", 1, "", "expected a mapping"),
    "two documents": ("name: a\n---\nname: b\n", 2, "", "another document"),
    "tab": ("name: a\ntitle:\n\t- b\n", 3, "", "not valid YAML"),
    "open bracket": ("name: [a\ntitle: b\n", 2, "", "not valid YAML"),
    "NUL byte": ("name: a\0b\n", 0, "", "not valid YAML"),
    "empty": ("", 0, "", "the file is empty"),
    "comments alone": ("# a model\n", 0, "", "the file is empty"),
}
CHIPS = {
    "unknown field": (CHIP + "cuda_cores: 16384\n", len(CHIP.splitlines()) + 1, "cuda_cores", "not a field"),
    "unknown dtype": (chip_with("  fp8: {", "  fp9: {"), line_of(CHIP, "fp8"), "peak.fp9", "did you mean fp8?"),
    "misspelt field of a figure": (
        chip_with("memory: {value: 24 GB, source", "memory: {value: 24 GB, sorce"),
        line_of(CHIP, "memory"),
        "memory.sorce",
        "did you mean source?",
    ),
    "missing memory": (without(CHIP, "memory"), 1, "memory", "this field is missing"),
    "number without its unit": (chip_with("24 GB", "24"), line_of(CHIP, "memory"), "memory.value", "got 24"),
    "another unit": (
        chip_with("1008 GB/s", "1008 GHz"),
        line_of(CHIP, "bandwidth"),
        "bandwidth.value",
        "as in '1008 GB/s'",
    ),
    "binary prefix of a rate": (
        chip_with("1008 GB/s", "1008 GiB/s"),
        line_of(CHIP, "bandwidth"),
        "bandwidth.value",
        "'1008 GiB/s'",
    ),
    "negative memory": (chip_with("24 GB", "-24 GB"), line_of(CHIP, "memory"), "memory.value", "'-24 GB'"),
    "no memory": (chip_with("24 GB", "0 GB"), line_of(CHIP, "memory"), "memory.value", "must be above 0"),
    "memory of 400 digits": (
        chip_with("24 GB", "9" * 400 + " GB"),
        line_of(CHIP, "memory"),
        "memory.value",
        "expected a figure",
    ),
    "peak of 400 digits": (
        chip_with("value: 330.3 TFLOPS", "value: " + "9" * 400 + ".1 FLOPS"),
        line_of(CHIP, "fp8"),
        "peak.fp8.value",
        "expected a figure",
    ),
    "unknown source": (
        chip_with("24 GB, source: slides", "24 GB, source: web"),
        line_of(CHIP, "memory"),
        "memory.source",
        "'web' is not one",
    ),
    "peak as a bare number": (
        chip_with("int8: {value: 660.6 TOPS, source: ada}", "int8: 660"),
        line_of(CHIP, "int8"),
        "peak.int8.value",
        "expected a figure with its unit, as in 24 GB, 1008 GB/s, 165 TFLOPS or 450 W, got 660",
    ),
    "year as text": (
        chip_with("{value: 2022,", "{value: '2022',"),
        line_of(CHIP, "launch_year"),
        "launch_year.value",
        "whole number",
    ),
}


def place(path, line, field):
    """How a message begins: file, line and field, those that apply."""
    return f"{path}{f':{line}' if line else ''}: {f'{field}: ' if field else ''}"


@pytest.mark.parametrize(("text", "line", "field", "words"), MODELS.values(), ids=MODELS)
def test_a_bad_model_spec_is_refused_with_file_line_and_field(cli, tmp_path, text, line, field, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    answer = cli("estimate", path)
    refused(answer, words)
    assert answer.err.startswith(f"llmcost: {place(path, line, field)}")

    checked = cli("check", path)
    assert (checked.code, checked.out) == (1, answer.err.removeprefix("llmcost: "))
    (result,) = json.loads(cli("check", path, "--json").out)["results"]
    assert (result["ok"], result["line"], result["field"]) == (False, line, field)


@pytest.mark.parametrize(("text", "line", "field", "words"), CHIPS.values(), ids=CHIPS)
def test_a_bad_hardware_spec_is_refused_with_file_line_and_field(cli, tmp_path, text, line, field, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    answer = cli("estimate", "gpt2", "--hw", path)
    refused(answer, words)
    assert answer.err.startswith(f"llmcost: {place(path, line, field)}")
    checked = cli("check", path)
    assert (checked.code, checked.out) == (1, answer.err.removeprefix("llmcost: "))


def test_a_spec_with_several_faults_counts_the_rest(cli, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(without(without(model_with("hidden_size", "-1"), "vocab_size"), "title"), encoding="utf-8")
    refused(cli("estimate", path), "hidden_size: must be above 0, got -1 (and 2 more)")  # two fields are missing


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: " + "[" * 21 + "]" * 21])
def test_deep_nesting_is_refused_before_it_can_take_the_process_down(process, tmp_path, text):
    path = tmp_path / "deep.yaml"
    path.write_text(text, encoding="utf-8")
    refused(process("estimate", path), f"{path}:1: nested more than 20 deep")


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xfen\0a\0m\0e\0", bytes(range(128, 256))],
    ids=["image", "utf-16", "bytes"],
)
def test_a_binary_file_is_refused(cli, tmp_path, data):
    path = tmp_path / "bad.yaml"
    path.write_bytes(data)
    refused(cli("estimate", path), f"{path}: not a text file")
    assert cli("check", path).code == 1


def test_a_file_of_100_mb_is_refused_unread(cli, tmp_path):
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    refused(cli("estimate", path), f"{path}: a spec of 100,000,000 bytes: at most {LARGEST_FILE:,} are read")
    assert cli("check", path).code == 1


def test_a_directory_is_refused(cli, tmp_path):
    refused(cli("estimate", tmp_path), f"{tmp_path}/config.json: no such file")
    refused(cli("estimate", "llama3-8b", "--hw", f"{tmp_path}/"), f"{tmp_path}: not a file")
    assert cli("check", tmp_path).code == 1


def test_a_pipe_is_refused_without_waiting_for_it(process, tmp_path):
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    refused(process("estimate", path, timeout=20), f"{path}: not a file")
    assert process("check", path, timeout=20).code == 1


def test_a_loop_of_symbolic_links_is_refused(cli, tmp_path):
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)
    refused(cli("estimate", path), f"{path}: cannot be read: Too many levels of symbolic links")
    assert cli("check", path).code == 1


@pytest.mark.parametrize("name", ["missing.yaml", "missing/deeper.yaml", "x" * 300 + ".yaml"])
def test_a_missing_file_is_refused_by_every_command(cli, tmp_path, name):
    path = tmp_path / name
    refused(cli("estimate", path), str(path))
    refused(cli("estimate", "gpt2", "--hw", path), str(path))
    refused(cli("check", path), f"{path}: no such file")


def test_check_reports_every_file_and_fails_if_one_is_bad(cli, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(MODEL, encoding="utf-8")
    bad.write_text(MODEL + "x: 1\n", encoding="utf-8")
    answer = cli("check", good, bad, good)
    assert answer.code == 1
    assert [
        line.startswith(str(path)) for line, path in zip(answer.out.splitlines(), (good, bad, good), strict=True)
    ] == [True] * 3
    assert cli("check", good, good).code == 0
