"""Whatever a user hands in, the answer is one clear message and an exit code, never a traceback."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.errors import InputError
from llmcost.model.spec import ModelSpec
from llmcost.specs.hardware import HardwareSpec, load_hardware_file
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.keys import DEFAULTS
from llmcost.specs.models import load_model_file, model_from
from llmcost.specs.reader import LARGEST_FILE

ROOT = Path(__file__).resolve().parents[2]
MODEL = (ROOT / "models" / "llama3-8b.yaml").read_text(encoding="utf-8")
CHIP = (ROOT / "hardware" / "rtx4090.yaml").read_text(encoding="utf-8")
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


def refused(answer, *words):
    """Exit code 2, one line on stderr with these words, nothing on stdout."""
    assert answer.code == 2, answer
    assert answer.out == ""
    assert answer.err.startswith("llmcost: ")
    assert answer.err.count("\n") == 1, f"more than one message: {answer.err}"
    for word in words:
        assert word in answer.err


def refused_usage(answer, *words):
    """Exit code 2, typer's usage and one error on stderr, nothing on stdout."""
    assert answer.code == 2, answer
    assert answer.out == ""
    *_, last = answer.err.splitlines()
    assert last.startswith("Error: ")
    for word in words:
        assert word in last


# -- names ------------------------------------------------------------------------------------------


def test_an_unknown_model_lists_the_nearest_names(cli):
    refused(cli("estimate", "lama3-8b"), "unknown model 'lama3-8b'", "nearest: llama3-8b")


def test_an_unknown_gpu_lists_the_nearest_names(cli):
    refused(cli("estimate", "gpt2", "--hw", "rtx4091"), "unknown hardware 'rtx4091'", "nearest: rtx4090")


@pytest.mark.parametrize(
    "name", ["", "zzzzzz", "a" * 300, "a/" + "b" * 5000, "../llama3-8b", "models", "a\0b", "\udcff", "llama3-8b\n"]
)
def test_names_of_any_kind_are_unknown_and_nothing_worse(cli, name):
    answer = cli("estimate", "gpt2", "--hw", name)
    assert (answer.code, answer.out) == (2, "")
    assert any(said in answer.err for said in ("unknown hardware", "no such file or folder", "a value is missing"))
    assert cli("estimate", name).code == 2 or name == "llama3-8b\n"


@pytest.mark.parametrize("command", ["explain", "ops", "models"])
def test_every_command_that_takes_a_model_refuses_an_unknown_one(cli, command):
    refused(cli(command, "lama3-8b"), "nearest: llama3-8b")


# -- spec files -------------------------------------------------------------------------------------

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


# -- options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch", "0"], "--batch 0: at least 1"),
        (["--batch", 10**12], "at most 1,000,000,000"),
        (["--context", "0"], "--context 0"),
        (["--context", "100", "--prompt", "101"], "--prompt 101: at least 1 and at most the context of 100"),
        (["--prompt", "0"], "--prompt 0"),
        (["--mfu", "0"], "--mfu 0: a share of 1, above 0"),
        (["--mfu", "1.5"], "--mfu 1.5"),
        (["--mfu", "-0.5"], "--mfu -0.5"),
        (["--mfu", "nan"], "--mfu nan"),
        (["--mfu", "inf"], "--mfu inf"),
        (["--memory-utilization", "0"], "--memory-utilization 0"),
        (["--memory-utilization", "nan"], "--memory-utilization nan"),
        (["--memory-utilization", "1.01"], "--memory-utilization 1.01"),
        (["--tokens", "0"], "--tokens 0: at least 1"),
        (["--dtype", "nonsense"], "--dtype nonsense: one of bf16, fp16"),
        (["--weight-dtype", "fp7"], "--weight-dtype fp7: one of"),
        (["--kv-dtype", "BF17"], "--kv-dtype BF17: one of"),
        (["--json", "--csv"], "--json and --csv: choose one"),
        (["--json", "--csv", "--markdown"], "--json and --csv and --markdown: choose one"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(cli, options, words):
    refused(cli("estimate", "llama3-8b", "--hw", "rtx4090", *options), words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tokens", "1.5x"], "expected a number such as 8192, 8k or 15T, got '1.5x'"),
        (["--tokens", "-5"], "got '-5'"),
        (["--batch", "-1"], "got '-1'"),
        (["--tokens", "1.5"], "expected a whole number"),
        (["--tokens", "9" * 31], "expected a number"),
        (["--context", "٣"], "expected a number"),  # a digit, but not one of ours
        (["--context", "8kk"], "got '8kk'"),
        (["--batch", "many"], "many"),
        (["--batch", "9" * 5000], "--batch"),
        (["--mfu", "half"], "half"),
        (["--batch", "1,2,4"], "--batch 1,2,4: one value here; lists are for llmcost sweep"),
        (["--batch", "1..4"], "--batch 1..4: one value here; lists are for llmcost sweep"),
        (["--gpus", "8,16"], "--gpus 8,16: one value here; lists are for llmcost fit and llmcost sweep"),
        (["--tokens", "1,5T"], "--tokens 1,5T: one value here"),
        (["--dtype", "bf16,fp8"], "--dtype bf16,fp8: one value here; lists are for llmcost fit and llmcost sweep"),
        (["--profile", "/nope"], "--profile /nope: it says what a GPU does; give the GPU too, with --hw"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_by_name(cli, options, words):
    refused(cli("estimate", "llama3-8b", *options), words)


@pytest.mark.parametrize("words", [["--nonsense"], ["--batch"], ["second"]])
def test_what_is_no_option_or_has_no_value_is_refused_with_the_usage(cli, words):
    refused_usage(cli("estimate", "llama3-8b", *words), *words)


def test_a_missing_model_and_an_unknown_command_are_usage_errors(cli):
    refused_usage(cli("estimate"), "MODEL")
    refused_usage(cli("check"), "PATH")
    refused_usage(cli("nonsense"), "nonsense")


def test_an_unknown_phase_lists_the_known_ones(cli):
    refused(cli("ops", "gpt2", "--phase", "backward"), "--phase backward: one of prefill, decode, train")


def test_an_unknown_quantity_lists_the_nearest(cli):
    refused(cli("explain", "gpt2", "kv_cahce.bytes"), "nearest: kv_cache.bytes")
    for nothing in ("", " ", "."):
        refused(cli("explain", "gpt2", nothing), "no figure")


def test_a_quantity_that_needs_a_gpu_says_so(cli):
    refused(cli("explain", "gpt2", "decode.limit.tokens_per_s"), "give a GPU with --hw")
    refused(cli("explain", "gpt2", "prefill.limit.tokens_per_s", "--hw", "m5"), "its peak or bandwidth is not known")


def test_a_peak_that_is_not_known_leaves_times_unknown_and_is_no_error(cli):
    answer = cli("estimate", "llama3-8b", "--hw", "m5", "--json")  # no source has its matrix rate
    assert answer.code == 0
    result = json.loads(answer.out)
    assert result["hardware"]["peak_flops_per_s"] is None
    assert [result["prefill"][basis]["seconds"] for basis in ("textbook", "limit", "expected")] == [None] * 3
    assert [result["training"][basis]["gpu_years"] for basis in ("textbook", "limit", "expected")] == [None] * 3
    assert result["decode"]["expected"]["tokens_per_s"] is None
    assert result["decode"]["limit"]["tokens_per_s"] > 0  # the bandwidth is known, and bounds it alone
    page = cli("estimate", "llama3-8b", "--hw", "m5")
    assert page.code == 0
    assert "not known" in page.out


def test_a_data_type_that_the_gpu_lacks_is_refused_with_those_that_it_has(cli):
    refused(
        cli("estimate", "llama3-8b", "--hw", "a100-80gb-sxm", "--dtype", "fp8"),
        "--dtype fp8",
        "NVIDIA A100 80GB",
        "bf16, fp16, int8",
    )
    assert (
        cli("estimate", "llama3-8b", "--hw", "a100-80gb-sxm", "--weight-dtype", "fp8").code == 0
    )  # kept in it, computed in bf16


# -- several GPUs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (
            "llama3-8b",
            ["--tp", 3],
            "--tp 3 does not divide the 32 attention heads of llama3-8b; nearest: 2 or 4",
        ),
        ("llama3-8b", ["--tp", 64], "nearest: 32"),
        ("falcon-7b", ["--tp", 2], "--tp 2 does not divide the 71 attention heads of falcon-7b; nearest: 1"),
        (
            "phi-4",
            ["--tp", 4],
            "--tp 4 neither divides the 10 KV heads of phi-4 nor is a multiple of them; nearest: 2 or 5",
        ),
        (
            "llama3-8b",
            ["--pp", 33],
            "--pp 33 is more than the 32 layers of llama3-8b; nearest: 32",
        ),
        ("llama3-8b", ["--ep", 2], "--ep 2: llama3-8b has no experts"),
        (
            "mixtral-8x7b",
            ["--ep", 3],
            "--ep 3 does not divide the 8 experts of mixtral-8x7b; nearest: 2 or 4",
        ),
        ("mixtral-8x7b", ["--ep", 8, "--dp", 4], "--ep 8 does not divide the 4 GPUs of a pipeline stage; nearest: 4"),
        ("llama3-8b", ["--gpus", 8, "--tp", 3], "--gpus 8: not a multiple of 3, the product of the other degrees"),
        ("llama3-8b", ["--gpus", 8, "--tp", 2, "--pp", 2], "--gpus 8: tp·pp·dp = 2·2·1 is 4"),
        (
            "llama3-8b",
            ["--gpus", 320],
            (
                "--gpus 320 is --tp 8 --pp 40; --pp 40 is more than the 32 layers of llama3-8b; "
                "legal on as many GPUs: --dp 320"
            ),
        ),
        (
            "qwen2.5-7b",
            ["--gpus", 120],
            "--gpus 120 is --tp 8 --pp 15; --tp 8 does not divide the 28 attention heads of qwen2.5-7b",
        ),
        ("llama3-8b", ["--tp", 0], "--tp 0: at least 1"),
        ("llama3-8b", ["--gpus", 10**9], "--gpus 1000000000: at least 1 and at most 1,000,000"),
        ("llama3-8b", ["--gpus-per-node", 0], "--gpus-per-node 0"),
        ("llama3-8b", ["--chunk", 0], "--chunk 0: at least 1"),
        (
            "llama3-8b",
            ["--concurrency", 4],
            "--concurrency 4: a mix of requests needs the tokens that each gives, --output",
        ),
        ("llama3-8b", ["--concurrency", 0, "--output", 4], "--concurrency 0: at least 1"),
        ("llama3-8b", ["--output", 0], "--output 0: at least 1"),
        (
            "llama3-8b",
            ["--output", "8k"],
            "--prompt 0: at least 1 and at most the context of 8,192 less the output of 8,192",
        ),
        ("gpt2", ["--context", "1025"], "--context 1025: gpt2 takes 1 to 1,024 positions"),  # a table of 1,024 rows
        ("gpt2", ["--prompt", "1k", "--output", 1], "--context 1025: gpt2 takes 1 to 1,024 positions"),
        (
            "llama3-8b",
            ["--prompt", 100, "-c", 150, "--output", 51],
            "--prompt 100: at least 1 and at most the context of 150 less",
        ),
    ],
)
def test_a_layout_or_length_that_makes_no_sense_is_refused_with_the_rule(cli, model, options, words):
    refused(cli("estimate", model, "--hw", "h100", *options), words)
    refused(cli("explain", model, "--hw", "h100", *options), words)


def test_a_batch_that_cannot_fit_is_an_answer(cli):
    result = json.loads(cli("estimate", "llama3-8b", "--hw", "h100", "--tp", 8, "--batch", 10**6, "--json").out)
    assert (result["memory"]["fits"], result["decode"]["limited_by"]) == (False, "capacity")
    assert 0 < result["memory"]["max_batch"] < 10**6


# -- anything at all --------------------------------------------------------------------------------

JUNK = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**12), max_value=10**12)
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "24 GB",
            "1e9",
            "165 TFLOPS",
            "0 B",
            "rms",
            "-0.0",
            "1 ",
            "9" * 400 + ".1 GB",
            "&a",
            "!!int 3",
            "~",
            "yes",
            "\x1b[31m",
        ]
    )
    | st.dates()
    | st.binary(max_size=5)
)
VALUES = st.recursive(
    JUNK,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
YAML_LIKE = st.text(alphabet="{}[]:-&*!|>'\"%@#\n\t ,?.<=abnexyz019\0\x85\u2028\ufeffé", max_size=60)


def paths_in(data, path=()):
    """The path of every entry of nested mappings and lists."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from paths_in(value, (*path, key))


@st.composite
def mutated(draw, text):
    """A valid spec after one to three accidents: a field dropped, renamed, retyped, added."""
    data = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(list(paths_in(data))))
        target = data
        for key in parents:
            target = target[key]
        accident = draw(st.sampled_from(["drop", "rename", "retype", "add"]))
        if accident == "retype":
            target[last] = draw(VALUES)
        elif accident == "drop":
            del target[last]
        elif isinstance(target, dict):
            target[draw(st.text(max_size=8) | st.sampled_from(["hiden_size", "peek", "value"]))] = (
                target.pop(last) if accident == "rename" else draw(VALUES)
            )
        if not data:
            break
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)


def answered_cleanly(cli, path):
    """Loader, `estimate` and `check` take the file or say in one line what is wrong with it, and agree."""
    loaded = {}
    for kind, load in (("model", load_model_file), ("hardware", load_hardware_file)):
        try:
            loaded[kind] = load(path)
        except InputError as error:
            assert str(error).startswith(str(path))
    assert all(isinstance(spec, ModelSpec | HardwareSpec) for spec in loaded.values())

    for kind, arguments in (
        ("model", ("estimate", path, "--hw", "rtx4090")),
        ("hardware", ("estimate", "gpt2", "--hw", path)),
    ):
        answer = cli(*arguments)
        if kind in loaded:
            assert (answer.code, answer.err) == (0, "")
            assert answer.out
        else:
            refused(answer)
    checked = cli("check", path)
    assert (checked.code, checked.err) == ((0, "") if loaded else (1, ""))
    assert checked.out.count("\n") == 1


@settings(deadline=None, max_examples=70)
@given(text=mutated(MODEL) | mutated(CHIP))
def test_a_damaged_spec_gets_a_clean_answer(cli, scratch, text):
    path = scratch / "damaged.yaml"
    path.write_text(text, encoding="utf-8")
    answered_cleanly(cli, path)


@settings(deadline=None, max_examples=70)
@given(data=YAML_LIKE.map(str.encode) | st.text(max_size=50).map(str.encode) | st.binary(max_size=50))
def test_any_bytes_get_a_clean_answer(cli, scratch, data):
    path = scratch / "any.yaml"
    path.write_bytes(data)
    answered_cleanly(cli, path)


@settings(deadline=None, max_examples=40)
@given(document=VALUES.filter(lambda value: not isinstance(value, bytes)))
def test_any_json_gets_a_clean_answer(cli, scratch, document):
    path = scratch / "any.json"
    path.write_text(json.dumps(document, default=str), encoding="utf-8")
    answered_cleanly(cli, path)


# -- configs of other makers ------------------------------------------------------------------------

CONFIG = """{
  "model_type": "mixtral",
  "hidden_size": 64,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "intermediate_size": 96,
  "num_hidden_layers": 2,
  "num_local_experts": 4,
  "num_experts_per_tok": 2,
  "vocab_size": 160
}
"""


@pytest.mark.parametrize(
    ("before", "after", "line", "key"),
    [
        ('"hidden_size": 64', '"hidden_size": -64', 3, "hidden_size: "),
        ('"hidden_size": 64', '"hidden_size": [64]', 3, "hidden_size: "),
        (
            '"num_attention_heads": 4',
            '"num_attention_heads": 1',
            5,
            "num_key_value_heads: 1 attention heads cannot share 2 KV heads evenly",
        ),
        ('"intermediate_size": 96', '"intermediate_size": "96"', 6, "intermediate_size: "),
        ('"num_hidden_layers": 2', f'"num_hidden_layers": {10**30}', 7, "num_hidden_layers: "),
        (
            '"num_local_experts": 4',
            '"num_local_experts": 1',
            9,
            "num_experts_per_tok: a token cannot take 2 of 1 experts",
        ),
        ('"vocab_size": 160', '"vocab_size": 160,\n  "hidden_size": 64', 11, "hidden_size: this key stands twice"),
        ('"vocab_size": 160', '"vocab_size": 160,\n  "gadget_size": 3', 11, "gadget_size: not understood for mixtral"),
        (
            '"vocab_size": 160',
            '"vocab_size": 160,\n "quantization_config": {\n  "gadget": 3}',
            12,
            "quantization_config.gadget: not understood",
        ),
        ('"model_type": "mixtral"', '"model_type": ["mixtral"]', 2, "model_type: "),
        ('"vocab_size": 160\n}', '"vocab_size": 1', 11, "not valid JSON"),
    ],
)
def test_a_bad_config_is_refused_with_file_line_and_key(cli, tmp_path, before, after, line, key):
    path = tmp_path / "config.json"
    assert before in CONFIG
    path.write_text(CONFIG.replace(before, after), encoding="utf-8")
    refused(cli("estimate", path), f"{path}:{line}: {key}")


def test_the_line_is_that_of_the_text_model(cli, tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": 3,\n "text_config":\n' + CONFIG.replace("64", "-64") + "}", encoding="utf-8")
    refused(cli("estimate", path), f"{path}:5: hidden_size: expected a whole number above 0, got -64")


def test_code_that_a_config_names_is_never_run(cli, tmp_path):
    (tmp_path / "modeling_evil.py").write_text("raise SystemExit(99)\n", encoding="utf-8")
    path = tmp_path / "config.json"
    path.write_text(
        CONFIG.replace('"model_type"', '"auto_map": {"AutoConfig": "modeling_evil.Evil"},\n  "model_type"'),
        encoding="utf-8",
    )
    assert cli("estimate", path).code == 0
    path.write_text(path.read_text("utf-8").replace("mixtral", "evil"), encoding="utf-8")
    refused(cli("estimate", path), f"{path}:3: model_type: the architecture 'evil' is not understood")


def test_a_config_that_is_a_loop_of_symbolic_links_is_refused(cli, tmp_path):
    path = tmp_path / "config.json"
    path.symlink_to(path)
    refused(cli("estimate", path), f"{path}: cannot be read: Too many levels of symbolic links")


HOSTILE = st.sampled_from(
    [
        -1,
        0,
        10**30,
        1.5,
        True,
        None,
        "x",
        "",
        [],
        [1],
        [[]],
        {},
        {"a": 1},
        float("inf"),
        10**8,
        "auto",
        ["full_attention"],
    ]
)
DEFAULT_CONFIGS = json.loads(DEFAULTS.read_text("utf-8"))


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(sorted(DEFAULT_CONFIGS)), data=st.data())
def test_a_config_of_any_type_with_wrong_values_gets_a_clean_answer(kind, data):
    """Whatever stands where a number belongs: a spec, or one message; never another exception."""
    config = {"model_type": kind, **DEFAULT_CONFIGS[kind]}
    for _ in range(data.draw(st.integers(1, 3))):
        config[data.draw(st.sampled_from(sorted(config)))] = data.draw(HOSTILE)
    try:
        model_from(document_of(config, "config.json", "hostile"))
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "arguments", [("import", "./nope"), ("estimate", "/nowhere/at/all"), ("estimate", "llama3-8b", "--hw", "../nope")]
)
def test_a_path_that_leads_nowhere_is_no_name(cli, arguments):
    answer = cli(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"llmcost: {arguments[-1]}: no such file or folder\n"
