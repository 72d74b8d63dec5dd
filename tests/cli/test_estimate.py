"""The command line: the JSON that scripts rely on, by its keys, the other formats, exit codes, the page."""

import csv
import fcntl
import io
import json
import os
import re
import shlex
import struct
import subprocess
import sys
import termios
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmcost import __version__
from llmcost.formulas.quantities import QUANTITIES

ROOT = Path(__file__).resolve().parents[2]
WHOLE, ERROR, TIME, FLAG, TEXT = "whole", "error", "time", "flag", "text"

# Every key of the contract, with the type of its figure. `hardware` and what follows from it may be null.
COUNTS = {
    "schema": TEXT,
    "model.name": TEXT,
    **{
        f"model.params.{part}": WHOLE
        for part in ("total", "active", "embedding", "attention", "mlp", "norm", "lm_head")
    },
    **{f"workload.{size}": WHOLE for size in ("batch", "context", "prompt", "tp", "pp", "dp", "ep", "gpus")},
    **{f"workload.{kind}": TEXT for kind in ("dtype", "weight_dtype", "kv_dtype")},
    **{f"flops.per_token.{part}": WHOLE for part in ("linear", "attention", "lm_head", "total")},
    "flops.prefill.full": WHOLE,
    "flops.prefill.causal": WHOLE,
    "kv_cache.bytes": WHOLE,
    "kv_cache.bytes_per_token": WHOLE,
    **{
        f"memory.{part}_bytes": WHOLE
        for part in ("weights", "kv_cache", "kv_cache_least", "activation", "used", "total")
    },
    **{f"traffic.decode.{part}_bytes": WHOLE for part in ("weight", "kv_cache", "total")},
}
FIT = {
    "hardware.name": TEXT,
    "memory.overhead_bytes": WHOLE,
    "memory.set_aside_bytes": WHOLE,
    "memory.capacity_bytes": WHOLE,
    "memory.fits": FLAG,
    "memory.max_batch": WHOLE,
    "memory.max_context": WHOLE,
}
FROM_BANDWIDTH = {
    f"decode.{basis}.{figure}": TIME
    for basis in ("textbook", "limit")
    for figure in ("seconds_per_step", "tokens_per_s")
}
FROM_PEAK = {
    **{
        f"prefill.{basis}.{figure}": TIME
        for basis in ("textbook", "limit", "expected")
        for figure in ("seconds", "tokens_per_s")
    },
    **{f"decode.expected.{figure}": TIME for figure in ("seconds_per_step", "tokens_per_s")},
    "decode.limited_by": TEXT,
    **{
        f"training.{basis}.{figure}": TIME
        for basis in ("textbook", "limit", "expected")
        for figure in ("tokens_per_s", "gpu_years")
    },
}
TRUST = {
    f"{phase}.expected.{key}": kind
    for phase in ("prefill", "decode")
    for key, kind in (("basis", TEXT), ("error", ERROR))
}
IS = {
    WHOLE: lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= 0,
    ERROR: lambda x: x is None or (isinstance(x, float) and x > 0),  # None: too few such figures were published
    TIME: lambda x: isinstance(x, int | float) and not isinstance(x, bool) and x > 0,
    FLAG: lambda x: isinstance(x, bool),
    TEXT: lambda x: isinstance(x, str) and x != "",
}
MISSING = object()
ON_REQUEST = ("request.", "serving.", "encoding.", "offload.")  # sections that are there if an option asks for them


def at(document, path):
    """The figure at a path of keys; MISSING if there is none."""
    for key in path.split("."):
        document = document[key] if isinstance(document, dict) and key in document else MISSING
    return document


def holds(document, keys):
    """The keys whose figure is absent or of another type: none of them, if the contract is kept."""
    return {path: at(document, path) for path, kind in keys.items() if not IS[kind](at(document, path))}


def answer_of(cli, *arguments):
    """The one JSON document of a run that succeeded."""
    answer = cli(*arguments, "--json")
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


# -- estimate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hw", ["rtx4090", "h100-sxm", "v100-16gb-sxm", "mi300x", "tpu-v5e"])
@pytest.mark.parametrize("model", ["gpt2", "llama3-8b", "llama3.2-1b", "llama3.1-405b"])
def test_every_key_of_the_contract_is_there_on_a_gpu_whose_figures_are_known(cli, model, hw):
    result = answer_of(cli, "estimate", model, "--hw", hw)
    assert holds(result, COUNTS | FIT | FROM_BANDWIDTH | FROM_PEAK | TRUST) == {}
    assert (result["schema"], result["model"]["name"], result["hardware"]["name"]) == ("llmcost.estimate/1", model, hw)
    assert result["workload"]["output"] is None
    assert result["decode"]["limited_by"] in ("capacity", "compute", "memory bandwidth", "network", "launch")


@pytest.mark.parametrize("model", ["gpt2-xl", "llama2-70b"])
def test_without_a_gpu_the_counts_are_there_and_what_needs_one_is_null(cli, model):
    result = answer_of(cli, "estimate", model)
    assert holds(result, COUNTS | TRUST) == {}
    assert result["hardware"] is None
    unknown = [path for path in FIT | FROM_BANDWIDTH | FROM_PEAK if path != "hardware.name"]
    assert {path: at(result, path) for path in unknown} == dict.fromkeys(unknown)


def test_without_a_known_peak_what_needs_it_is_null_and_the_rest_is_there(cli):
    result = answer_of(cli, "estimate", "llama3-8b", "--hw", "m5")  # no source has its matrix rate
    assert holds(result, COUNTS | FIT | FROM_BANDWIDTH | TRUST) == {}
    assert {path: at(result, path) for path in FROM_PEAK} == dict.fromkeys(FROM_PEAK)


def test_a_model_that_is_too_large_is_answered_with_fits_false_and_exit_code_0(cli):
    result = answer_of(cli, "estimate", "llama3.1-405b", "--hw", "rtx4090")  # 810 GB of weights, 24 GB of memory
    assert (result["memory"]["fits"], result["memory"]["max_batch"], result["memory"]["max_context"]) == (False, 0, 0)
    assert result["decode"]["limited_by"] == "capacity"
    assert "\nDOES NOT FIT " in cli("estimate", "llama3.1-405b", "--hw", "rtx4090").out


def test_every_option_arrives_in_the_workload(cli):
    arguments = "-b 3 -c 2k --prompt 1k --dtype fp16 --weight-dtype int8 --kv-dtype fp8 --mfu 0.4 --tokens 1.5T"
    arguments += " --memory-utilization 0.8"
    workload = answer_of(cli, "estimate", "llama3-8b", "--hw", "rtx4090", *arguments.split())["workload"]
    assert workload == {
        "batch": 3,
        "context": 2048,
        "prompt": 1024,
        "output": None,
        "dtype": "fp16",
        "weight_dtype": "int8",
        "kv_dtype": "fp8",
        "attention_dtype": "fp16",
        "mfu": 0.4,
        "memory_utilization": 0.8,
        "tokens": 1_500_000_000_000,
        **dict.fromkeys(("tp", "pp", "dp", "ep", "gpus"), 1),
        "gpus_per_node": 8,
        "chunk": 2048,
        **dict.fromkeys(("concurrency", "rate", "requests", "link", "head_dtype", "free_memory_fraction", "profile")),
        **dict.fromkeys(("offload", "host", "prefix_hit", "speculate")),
        "accept": 0.8,
        "draft": "mtp",
        **dict.fromkeys(("engine", "max_num_seqs", "images", "image_size", "audio")),
        **dict.fromkeys(("batch_prompts", "communicator", "reserve_output"), False),
        "cuda_graphs": True,
        "logits": "last",
        "routing": "uniform",
    }
    arguments = "-c 2k --output 100 --concurrency 1K --chunk 512 --tp 2 --pp 2 --dp 3 --gpus-per-node 4 --gpus 12"
    workload = answer_of(cli, "estimate", "llama3-8b", "--hw", "rtx4090", *arguments.split())["workload"]
    expected = {
        "output": 100,
        "prompt": 1948,
        "concurrency": 1000,
        "chunk": 512,
        "tp": 2,
        "pp": 2,
        "dp": 3,
        "ep": 1,
        "gpus": 12,
        "gpus_per_node": 4,
    }
    assert {key: workload[key] for key in expected} == expected
    arguments = "--output 9 --rate 2.5 --requests 40 --no-cuda-graphs --link pcie4 --head-dtype int8 --logits all"
    arguments += " --free-memory-fraction 0.7 --batch-prompts --communicator --reserve-output"
    workload = answer_of(cli, "estimate", "llama3-8b", "--hw", "rtx4090", *arguments.split())["workload"]
    expected = {
        "rate": 2.5,
        "requests": 40,
        "cuda_graphs": False,
        "link": "pcie4",
        "head_dtype": "int8",
        "logits": "all",
        "free_memory_fraction": 0.7,
        "batch_prompts": True,
        "communicator": True,
        "reserve_output": True,
    }
    assert {key: workload[key] for key in expected} == expected


@pytest.mark.parametrize(("model", "context"), [("gpt2", 1024), ("llama3-8b", 8192), ("llama3.1-8b", 8192)])
def test_the_context_is_the_models_maximum_or_8192_and_the_prompt_follows_it(cli, model, context):
    workload = answer_of(cli, "estimate", model)["workload"]
    assert (workload["context"], workload["prompt"]) == (context, context)
    shorter = answer_of(cli, "estimate", model, "-c", 512)["workload"]
    assert (shorter["context"], shorter["prompt"]) == (512, 512)


def test_the_dtype_is_bf16_or_fp16_where_the_gpu_has_a_peak_for_that_alone(cli):
    assert (
        answer_of(cli, "estimate", "gpt2", "--hw", "v100-32gb-sxm")["workload"]["dtype"] == "fp16"
    )  # Volta has no bf16
    assert answer_of(cli, "estimate", "gpt2", "--hw", "h200")["workload"]["dtype"] == "bf16"
    assert answer_of(cli, "estimate", "gpt2")["workload"]["dtype"] == "bf16"


def leaves_of(document, prefix=""):
    """Every figure of the JSON with its path."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("hw", [["--hw", "rtx4090"], ["--hw", "m5"], []])
def test_csv_carries_every_figure_of_the_json(cli, hw):
    answer = cli("estimate", "gpt2", *hw, "--csv")
    assert (answer.code, answer.err) == (0, "")
    header, *rows = csv.reader(io.StringIO(answer.out))
    assert header == ["quantity", "value", "unit"]
    expected = {
        path: "" if value is None else str(value) for path, value in leaves_of(answer_of(cli, "estimate", "gpt2", *hw))
    }
    assert {path: value for path, value, _ in rows} == expected
    asked = {path: quantity.unit for path, quantity in QUANTITIES.items() if not path.startswith(ON_REQUEST)}
    assert {path: unit for path, _, unit in rows if path in QUANTITIES} == asked


def test_markdown_is_tables_whose_rows_have_as_many_cells_as_their_heads(cli):
    answer = cli("estimate", "llama3-8b", "--hw", "rtx4090", "--breakdown", "--markdown")
    assert (answer.code, answer.err) == (0, "")
    assert "| Parameters | 8.03 B | 8,030,261,248 |" in answer.out
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", answer.out, re.MULTILINE)]
    assert len(tables) == 5  # the answer, speeds, counts, operators of prefill and of decode
    for table in tables:
        assert {line.count("|") for line in table} == {table[0].count("|")}
    assert [
        line for line in answer.out.splitlines() if line.startswith("    ")
    ] == []  # Markdown would show them as code


def test_a_breakdown_adds_the_operators_of_prefill_and_decode(cli):
    plain = answer_of(cli, "estimate", "llama3-8b", "--hw", "rtx4090")
    full = answer_of(cli, "estimate", "llama3-8b", "--hw", "rtx4090", "--breakdown")
    operators = full.pop("operators")
    assert full == plain
    for phase in ("prefill", "decode"):
        assert operators[phase] == answer_of(cli, "ops", "llama3-8b", "--hw", "rtx4090", "--phase", phase)["operators"]
    page = cli("estimate", "llama3-8b", "--hw", "rtx4090", "--breakdown").out
    assert page.startswith(cli("estimate", "llama3-8b", "--hw", "rtx4090").out)
    assert "Operators of prefill" in page
    assert "Operators of decode" in page


def test_a_breakdown_as_csv_has_a_row_an_operator_and_phase(cli):
    header, *rows = csv.reader(io.StringIO(cli("estimate", "gpt2", "--breakdown", "--csv").out))
    assert header[:2] == ["phase", "operator"]
    names = [row["operator"] for row in answer_of(cli, "ops", "gpt2")["operators"]]
    assert [row[:2] for row in rows] == [[phase, name] for phase in ("prefill", "decode") for name in names]


# -- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("llama3-8b", "llama3-8b"),
        ("Llama-3-8B", "llama3-8b"),
        ("LLAMA3_8B", "llama3-8b"),
        ("meta-llama/Meta-Llama-3-8B", "llama3-8b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3-8b"),
        ("openai-community/gpt2", "gpt2"),
        ("llama3.1-8b", "llama3.1-8b"),
        ("llama31-8b", "llama3.1-8b"),
        (str(ROOT / "models" / "gpt2.yaml"), "gpt2"),
    ],
)
def test_a_model_answers_to_its_name_its_hub_id_and_its_path(cli, typed, name):
    assert answer_of(cli, "estimate", typed)["model"]["name"] == name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("4090", "rtx4090"),
        ("RTX 4090", "rtx4090"),
        ("h100", "h100-sxm"),
        ("H100-SXM", "h100-sxm"),
        (str(ROOT / "hardware" / "l4.yaml"), "l4"),
    ],
)
def test_a_gpu_answers_to_its_name_its_aliases_and_its_path(cli, typed, name):
    assert answer_of(cli, "estimate", "gpt2", "--hw", typed)["hardware"]["name"] == name


# -- ops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gpt2", "llama3-8b"])
@pytest.mark.parametrize("phase", ["prefill", "decode", "train"])
def test_operators_sum_to_the_total_and_the_total_is_that_of_the_estimate(cli, model, phase):
    options = [model, "--hw", "rtx4090", "--batch", 3, "--context", 700]
    result = answer_of(cli, "ops", *options, "--phase", phase)
    assert (result["schema"], result["model"], result["phase"]) == ("llmcost.ops/1", model, phase)
    rows, estimate = result["operators"], answer_of(cli, "estimate", *options, "--chunk", 10**6)  # prompts in one piece

    for figure in ("flops", "params", "bytes"):
        assert sum(row[figure] for row in rows) == result["total"][figure]
    assert all(row["flops"] == row["executions"] * row["flops_each"] for row in rows)
    assert all(row["params"] == row["executions"] * row["params_each"] for row in rows)
    assert sum(row["share"] for row in rows) == pytest.approx(1)

    assert result["total"]["params"] == estimate["model"]["params"]["total"]
    flops = {
        "prefill": estimate["flops"]["prefill"]["full"],
        "decode": 3 * estimate["flops"]["per_token"]["total"],  # a token of each of 3 sequences
        "train": estimate["flops"]["forward"]["full"],
    }
    assert result["total"]["flops"] == flops[phase]
    times = {
        "prefill": estimate["prefill"]["expected"]["seconds"],
        "decode": estimate["decode"]["expected"]["seconds_per_step"],
        "train": 3 * 700 / estimate["training"]["expected"]["tokens_per_s"],
    }
    assert sum(row["seconds"] for row in rows) == pytest.approx(times[phase])


def test_operators_without_a_gpu_have_no_times(cli):
    rows = answer_of(cli, "ops", "gpt2")["operators"]
    assert {(row["seconds"], row["share"]) for row in rows} == {(None, None)}


def test_operators_name_their_shapes_in_letters_and_in_numbers(cli):
    rows = {row["operator"]: row for row in answer_of(cli, "ops", "gpt2", "--batch", 2, "--context", 512)["operators"]}
    assert rows["up_proj"]["shape"] == "(b, s, h) × (h, i) → (b, s, i)"
    assert rows["up_proj"]["sizes"] == "(2, 512, 768) × (768, 3072) → (2, 512, 3072)"
    assert rows["up_proj"]["flops_formula"] == "2·b·s·h·i"
    assert rows["up_proj"]["executions"] == 12  # layers


def test_operators_as_csv_and_markdown_have_the_rows_of_the_json(cli):
    rows = answer_of(cli, "ops", "gpt2")["operators"]
    header, *lines = csv.reader(io.StringIO(cli("ops", "gpt2", "--csv").out))
    assert header == list(rows[0])
    assert [line[0] for line in lines] == [row["operator"] for row in rows]
    markdown = cli("ops", "gpt2", "--markdown").out
    assert [row["operator"] for row in rows if f"| {row['operator']} |" not in markdown] == []


# -- explain ----------------------------------------------------------------------------------------


def test_explaining_everything_gives_every_figure_with_the_value_of_the_estimate(cli):
    arguments = ["llama3-8b", "--hw", "rtx4090", "--output", 64, "--concurrency", 4]
    result = answer_of(cli, "explain", *arguments)
    assert (result["schema"], result["model"]) == ("llmcost.explain/1", "llama3-8b")
    assert [each["quantity"] for each in result["explanations"]] == [
        path
        for path in QUANTITIES
        if not path.startswith(("encoding.", "offload."))
        and path != "memory.sampler_bytes"  # of images; a host; an engine
    ]
    estimate = answer_of(cli, "estimate", *arguments)
    for each in result["explanations"]:
        assert each["value"] == pytest.approx(at(estimate, each["quantity"])), each["quantity"]
        assert all(each[key] for key in ("what", "letters", "sizes", "source")), each["quantity"]
        assert each["unit"] == QUANTITIES[each["quantity"]].unit


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "llama.cpp"])
def test_explaining_everything_under_an_engine_gives_its_figures(cli, engine):
    """Its kernels have forms of time of their own, and vLLM a sampler."""
    arguments = ["llama3.1-8b", "--hw", "h100", "--engine", engine]
    estimate = answer_of(cli, "estimate", *arguments)
    explained = {each["quantity"]: each["value"] for each in answer_of(cli, "explain", *arguments)["explanations"]}
    assert explained == {path: pytest.approx(at(estimate, path)) for path in explained}
    assert explained.keys() >= {"prefill.expected.seconds", "decode.expected.seconds_per_step"}
    assert ("memory.sampler_bytes" in explained) is (engine == "vllm")


def test_explaining_without_a_gpu_gives_the_figures_that_need_none(cli):
    found = {each["quantity"] for each in answer_of(cli, "explain", "gpt2")["explanations"]}
    estimate = answer_of(cli, "estimate", "gpt2")
    assert found == {path for path in QUANTITIES if at(estimate, path) not in (None, MISSING)}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("kv_cache.bytes", ["kv_cache.bytes"]),
        ("flops.prefill", ["flops.prefill.full", "flops.prefill.causal"]),
        ("bytes_per_token", ["kv_cache.bytes_per_token"]),
    ],
)
def test_a_quantity_is_asked_for_by_its_path_the_head_or_the_tail_of_it(cli, asked, found):
    assert [each["quantity"] for each in answer_of(cli, "explain", "gpt2", asked)["explanations"]] == found


def test_an_explanation_reads_formula_sizes_value_source_and_letters(cli):
    answer = cli("explain", "gpt2", "kv_cache.bytes")
    assert (answer.code, answer.err) == (0, "")
    assert "= 2·L·b·c·h·Bkv\n" in answer.out
    assert "= 2·12·1·1,024·768·2\n" in answer.out
    assert "= 37,748,736 B (37.7 MB)\n" in answer.out  # 2·12·1024·768·2
    assert "source: slides" in answer.out
    assert "L = 12: layers" in answer.out


def test_an_explanation_gives_every_letter_of_its_formula_and_none_of_another_figures(cli):
    shown = cli("explain", "llama3-8b", "decode.expected.tokens_per_s", "--hw", "h100").out
    assert "  = b / decode.expected.seconds_per_step\n" in shown
    assert shown.partition("\nwhere\n")[2] == "  b = 1: batch: sequences\n"
    assert "with " not in shown
    assert "where" not in cli("explain", "llama3-8b", "memory.total_bytes", "--hw", "h100").out  # it has no letters


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "llama3-8b", "running", "--hw", "h100", "--output", 64, "--concurrency", 4),
        ("train", "llama3-8b", "--hw", "h100", "--gpus", 8, "--explain", "expected.step_seconds"),
        ("train", "llama3-8b", "--hw", "h100", "--gpus", 8, "--explain", "with_interruptions.wall_seconds"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_figure_is_explained_by_its_own_name(cli, arguments):
    each = answer_of(cli, *arguments)["explanations"][0]
    assert not each["quantity"].endswith(each["letters"])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["kv"], "kv_cache.bytes_per_token"),
        (["weights"], "memory.weights_bytes"),
        (["权重"], "memory.weights_bytes"),
        (["vram"], "memory.used_bytes"),
        (["显存"], "memory.total_bytes"),
        (["ffn"], "model.params.mlp"),
        (["计算量"], "flops.per_token.total"),
        (["kv", "cache", "per", "token"], "kv_cache.bytes_per_token"),
        (["roofline", "--hw", "h100"], "decode.bound.memory_seconds"),
        (["屋顶线", "--hw", "h100"], "decode.bound.compute_seconds"),
        (["首字延迟", "--hw", "h100"], "prefill.expected.seconds"),
        (["ITL", "--hw", "h100", "--output", 9, "--concurrency", 2], "serving.expected.tpot_seconds"),
        (["吞吐量", "--hw", "h100"], "decode.expected.tokens_per_s"),
        (["Adam"], "training.state_bytes"),
        (["time to first token", "--hw", "h100"], "prefill.expected.seconds"),
        (["latency", "--hw", "h100"], "decode.expected.seconds_per_step"),
        (["latency", "--hw", "h100", "--output", 9], "request.expected.latency_seconds"),
        (["inter-token latency", "--hw", "h100"], "decode.expected.seconds_per_step"),
        (["decode speed", "--hw", "h100"], "decode.expected.tokens_per_s"),
        (["推理速度", "--hw", "h100"], "decode.expected.tokens_per_s"),
        (["解码延迟", "--hw", "h100"], "decode.expected.seconds_per_step"),
        (["arithmetic intensity", "--hw", "h100"], "decode.bound.memory_seconds"),
        (["算术强度", "--hw", "h100"], "decode.bound.memory_seconds"),
        (["MFU", "--hw", "h100"], "prefill.textbook.seconds"),
        (["how many users", "--hw", "h100"], "memory.max_batch"),
        (["显存占用", "--hw", "h100"], "memory.used_bytes"),
        (["量化"], "memory.weights_bytes"),
    ],
    ids=lambda words: words[0],
)
def test_a_quantity_is_found_by_words_in_english_and_chinese(cli, words, found):
    answer = cli("explain", "llama3-8b", *words)
    assert (answer.code, answer.err) == (0, "")
    assert re.search(rf"^{re.escape(found)}(?: |:)", answer.out, re.MULTILINE), answer.out


def test_a_chinese_word_finds_what_the_english_one_does(cli):
    english, chinese = (answer_of(cli, "explain", "llama3-8b", words) for words in ("KV cache", "KV缓存"))
    assert [each["quantity"] for each in english["explanations"]] == [
        each["quantity"] for each in chinese["explanations"]
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("serving.running", "give --output, and --concurrency, --rate or --requests"),
        ("request", "give --output"),
        ("offload.read_bytes", "give --offload and --host"),
        ("price", "estimate --price answers that"),
        ("HFU", "llmcost mfu answers that"),
    ],
)
def test_what_has_no_value_here_says_what_would_give_it(cli, words, why):
    answer = cli("explain", "llama3-8b", words, "--hw", "h100")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert why in answer.err


def test_words_of_one_figure_explain_it_and_words_of_several_list_them(cli):
    alone = cli("explain", "llama3-8b", "参数量").out
    assert alone == cli("explain", "llama3-8b", "model.params.total").out
    listed = cli("explain", "llama3-8b", "weights").out
    assert listed.startswith("weights: ")
    assert "= " not in listed
    assert len(answer_of(cli, "explain", "llama3-8b", "weights")["explanations"]) == listed.count("\n") - 2
    said = [line.split()[0] for line in cli("explain", "llama3-8b", "flops").out.splitlines() if line[:6] == "flops."]
    assert "flops.prefill.full" in "\n".join(said)


def test_a_ceiling_is_written_as_one(cli):
    """Pages of 16 tokens: 8,192 of them are 512 pages, 8,193 one more."""
    shown = cli("explain", "llama3-8b", "memory.kv_cache_bytes").out
    assert "·⌈c / 16⌉\n" in shown
    assert "⌊" not in shown
    (page,) = answer_of(cli, "explain", "llama3.1-8b", "memory.kv_cache_bytes", "-c", 8193)["explanations"]
    assert page["value"] == 513 * 16 * page["legend"]["L"]["value"] * 2 * 8 * 128 * 2


@pytest.mark.parametrize(
    "quantity", ["decode.expected.seconds_per_step", "prefill.expected.seconds", "serving.expected.tpot_seconds"]
)
def test_parts_of_a_long_time_sum_to_it(cli, quantity):
    asked = ["deepseek-v3", quantity, "--hw", "h200", "--tp", 8, "--output", 99, "--concurrency", 9]
    (each,) = answer_of(cli, "explain", *asked)["explanations"]
    sums = {quantity: each["value"]} | {entry["name"]: entry["value"] for entry in each["where"]}
    assert each["parts"]
    for name, parts in each["parts"].items():
        assert sum(part["value"] for part in parts) == pytest.approx(sums[name]), name
        assert all(part["letters"] for part in parts)
    shown = cli("explain", *asked).out
    for name, parts in each["parts"].items():
        assert all(part["name"] in shown for part in parts), name
    assert max(map(len, shown.splitlines())) <= 110


def test_every_formula_is_latex_that_can_be_set(cli):
    """By matplotlib's own reader of LaTeX's mathematics, an independent one; it knows no \\,."""
    from matplotlib.mathtext import MathTextParser

    reader = MathTextParser("path")
    for asked in (["llama3-8b", "--hw", "rtx4090"], ["gpt2", "--hw", "h100", "--tp", 2, "--output", 9, "-b", 3]):
        page = cli("explain", *asked, "--latex").out
        formulas = re.findall(r"^\\\[\n(.*?)\n\\\]$", page, re.MULTILINE | re.DOTALL)
        assert len(formulas) >= len(answer_of(cli, "explain", *asked)["explanations"])
        for formula in {" ".join(each.split()) for each in formulas if len(each) < 1500}:
            reader.parse(f"${formula}$")
    assert r"\mathrm{kv\_cache.bytes} = 2 \, L \, b \, c \, h \, B_{\mathrm{kv}}" in page


def test_one_form_is_chosen_for_an_explanation(cli, tmp_path):
    for forms, words in (
        (["--latex", "--json"], "--latex and --json"),
        (["--html", tmp_path / "x.html", "--latex"], "--latex and --html"),
    ):
        answer = cli("explain", "gpt2", "kv_cache.bytes", *forms)
        assert (answer.code, answer.out, answer.err) == (2, "", f"llmcost: {words}: choose one\n")
    assert not any(tmp_path.iterdir())


class Page(HTMLParser):
    """The places that a page has, and those that its links lead to."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, _, attrs):
        self.places += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("quantity", ["decode.expected.tokens_per_s", "serving.expected.tpot_seconds", "memory"])
def test_each_name_on_a_page_leads_to_what_it_is(cli, tmp_path, quantity):
    file = tmp_path / "page.html"
    asked = ["llama3-8b", quantity, "--hw", "h100", "--tp", 2, "--output", 99, "--concurrency", 9]
    answer = cli("explain", *asked, "--html", file)
    assert (answer.code, answer.out, answer.err) == (0, "", f"llmcost: wrote {file}\n")
    page = Page(file.read_text("utf-8"))
    assert len(set(page.places)) == len(page.places)
    assert {link.removeprefix("#") for link in page.links} <= set(page.places)
    for each in answer_of(cli, "explain", *asked)["explanations"]:
        figure, inner = each["quantity"], {entry["name"] for entry in each["where"]}
        assert {figure, *(letter.replace(" ", "_") for letter in each["legend"])} <= set(page.places)
        assert {f"{figure}:{name}".replace(" ", "_") for name in inner - set(page.places)} <= set(page.places)
    assert "used in" in page.text


def test_nothing_of_a_model_reaches_a_page_unescaped(cli, tmp_path):
    spec = (ROOT / "models" / "gpt2.yaml").read_text("utf-8")
    file, page = tmp_path / "my.yaml", tmp_path / "page.html"
    file.write_text(re.sub("^title: .*", "title: <script>x</script>", spec, flags=re.MULTILINE), "utf-8")
    assert cli("explain", file, "kv_cache.bytes", "--html", page).code == 0
    assert "<script" not in page.read_text("utf-8")
    assert "&lt;script&gt;" in page.read_text("utf-8")


# -- models, hardware, check ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["models", "hardware"])
def test_the_list_has_a_row_for_every_shipped_spec_in_every_format(cli, kind):
    names = {path.stem for path in (ROOT / kind).glob("*.yaml")}
    result = answer_of(cli, kind)
    assert result["schema"] == f"llmcost.{kind}/1"
    assert {row["name"] for row in result[kind]} == names
    assert len(result[kind]) == len(names)
    header, *rows = csv.reader(io.StringIO(cli(kind, "--csv").out))
    assert header == list(result[kind][0])
    assert {row[0] for row in rows} == names
    assert {line.split()[0] for line in cli(kind).out.splitlines()[1:] if line} >= names
    assert cli(kind, "--markdown").out.count("\n|") >= len(names)


def test_the_list_of_models_counts_parameters_as_the_estimate_does(cli):
    rows = {row["name"]: row["params"] for row in answer_of(cli, "models")["models"]}
    assert rows["llama3-8b"] == answer_of(cli, "estimate", "llama3-8b")["model"]["params"]["total"]


def test_one_model_is_shown_in_full_with_its_source(cli):
    page = cli("models", "gpt2").out
    assert "124,439,808" in page
    assert "()" not in page
    assert "https://huggingface.co/openai-community/gpt2" in page
    spec = answer_of(cli, "models", "gpt2")
    assert (spec["name"], spec["num_hidden_layers"], spec["tie_word_embeddings"]) == ("gpt2", 12, True)


def test_the_errata_of_a_model_keep_their_keys_in_its_json(cli):
    published = answer_of(cli, "models", "llama3-8b")["published"]
    assert published
    assert all({"quantity", "printed", "document", "why"} <= set(entry) for entry in published)


def test_one_gpu_is_shown_in_full_with_its_sources(cli):
    page = cli("hardware", "rtx4090").out
    assert "165 TFLOPS" in page
    assert "[slides]" in page
    spec = answer_of(cli, "hardware", "4090")
    assert spec["name"] == "rtx4090"
    assert spec["memory"] == {"value": 24_000_000_000, "written": "24 GB", "source": "slides", "note": ""}


def test_the_peaks_of_a_gpu_keep_their_keys_in_its_json(cli):
    peak = answer_of(cli, "hardware", "rtx4090")["peak"]["bf16"]
    assert (peak["value"], peak["written"], peak["source"]) == (165 * 10**12, "165 TFLOPS", "slides")


def test_what_is_not_known_of_a_gpu_is_said_in_every_format(cli):
    (row,) = [row for row in answer_of(cli, "hardware")["hardware"] if row["name"] == "m5"]
    assert row["bf16_flops_per_s"] is None
    assert "–" in next(line for line in cli("hardware").out.splitlines() if line.startswith("m5"))
    assert "not known" in cli("hardware", "m5").out


def test_check_says_what_a_sound_file_describes(cli):
    paths = [ROOT / "models" / "gpt2.yaml", ROOT / "hardware" / "h200.yaml"]
    answer = cli("check", *paths)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{paths[0]}: model gpt2, sound\n{paths[1]}: hardware h200, sound\n"
    results = answer_of(cli, "check", *paths)
    assert results["schema"] == "llmcost.check/1"
    assert [(each["ok"], each["kind"], each["name"]) for each in results["results"]] == [
        (True, "model", "gpt2"),
        (True, "hardware", "h200"),
    ]


# -- the program ------------------------------------------------------------------------------------


def test_version_is_the_packages(cli):
    assert cli("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("command", [[], ["estimate"], ["explain"], ["ops"], ["models"], ["hardware"], ["check"]])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help(cli, command, flag):
    answer = cli(*command, flag)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: {' '.join(['llmcost', *command])}")


def test_every_option_of_every_command_has_a_line_of_help(cli):
    for command in ("estimate", "explain", "ops", "models", "hardware", "check"):
        options = cli(command, "--help").out.partition("Options:\n")[2]
        lines = re.split(r"\n  (?=-)", options.strip())
        assert len(lines) >= 2  # at least --json and --help
        assert [line for line in lines if not re.search(r"\s{2,}\S.*", line, re.DOTALL)] == []


def test_without_arguments_help_is_printed(cli):
    answer = cli()
    assert "Usage: llmcost" in answer.out + answer.err
    assert answer.code in (0, 2)


def test_the_program_runs_as_a_process_and_writes_the_answer_alone_to_stdout(process, cli):
    arguments = ("estimate", "llama3-8b", "--hw", "rtx4090", "--json")
    assert process(*arguments) == cli(*arguments)


def test_a_pipe_gets_plain_text_however_the_terminal_is_set(process, cli):
    arguments = ("estimate", "llama3-8b", "--hw", "rtx4090")
    assert process(*arguments, COLUMNS="40", TERM="xterm-256color", FORCE_COLOR="1") == cli(*arguments)


def test_an_encoding_without_our_letters_costs_letters_and_not_the_answer(process):
    answer = process("estimate", "gpt2", "--hw", "rtx4090", PYTHONIOENCODING="ascii")
    assert (answer.code, answer.err) == (0, "")
    assert "124,439,808" in answer.out


def test_a_full_disk_is_one_message():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "llmcost", "models"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "llmcost: cannot write: No space left on device\n")


def test_an_interrupt_exits_with_130(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmcost.specs.catalog.load_model", interrupted)
    assert cli("estimate", "gpt2").code == 130


def on_a_terminal(arguments, columns, **environment):
    """What a run writes to a terminal of so many columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = {
        key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR")
    }
    command = [sys.executable, "-m", "llmcost", *arguments]
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs, env=variables | {"TERM": "xterm"} | environment
    ) as run:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    assert run.returncode == 0
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_gets_style_and_its_own_width():
    page = on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=70)
    assert "\x1b[1m" in page  # a bold title
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in page.splitlines()) <= 70


def test_what_a_term_means_stays_behind_it_on_a_narrow_terminal():
    page = on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=80, NO_COLOR="1")
    lines = page[page.rindex("limit     ") :].splitlines()
    terms = [line.split()[0] for line in lines if not line.startswith(" " * len("limit     "))]
    assert terms == ["limit", "expected", "error"]
    assert len(lines) > 7


def test_no_color_gives_plain_text_on_a_terminal():
    assert "\x1b" not in on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=100, NO_COLOR="1")


# -- the page ---------------------------------------------------------------------------------------


def test_the_page_of_an_estimate_as_plain_text(cli, snapshot):
    snapshot("estimate-llama3-8b-rtx4090.txt", cli("estimate", "llama3-8b", "--hw", "rtx4090").out)


def test_the_page_of_an_estimate_on_a_terminal_of_100_columns(snapshot):
    from llmcost import estimate, load_hardware, load_model
    from llmcost.report.estimate import estimate_tables
    from llmcost.report.tables import to_text

    model = load_model("llama3-8b")
    page = to_text(estimate_tables(model, estimate(model, load_hardware("rtx4090"))), 100, coloured=True)
    snapshot("estimate-llama3-8b-rtx4090.ansi", page)


# -- the answer first -------------------------------------------------------------------------------


MISFITS = [
    ["llama3-70b", "--hw", "rtx4090"],
    ["llama3-70b", "--hw", "h100", "--kv-dtype", "fp16"],
    ["llama3-8b", "--hw", "rtx4090", "-b", 8],
    ["llama3.1-8b", "--hw", "rtx4090", "-c", "60k"],
    ["llama3.1-405b", "--hw", "h100", "--tp", 4],
    ["mixtral-8x7b", "--hw", "l40s", "--prompt", "1k", "--output", 99, "--concurrency", 4],
    ["llama3-8b", "--hw", "m3"],
    ["mixtral-8x7b", "--hw", "rtx4090", "--engine", "llama.cpp", "--dtype", "q4_k_m"],
    ["llama3-70b", "--hw", "rtx4090", "--offload", "layers:20", "--host", "epyc-9654"],
]


def answer_above(page):
    """The lines between the title and the first empty line, by their first words."""
    lines = page.split("\n\n")[0].splitlines()[1:]
    return {line.split("   ")[0]: line for line in lines}


def test_the_answer_stands_above_all_tables(cli):
    """Three lines, whose figures are those of the JSON: memory, batch, times, rate, limits."""
    asked = ["estimate", "llama3-8b", "--hw", "rtx4090"]
    found, said = answer_of(cli, *asked), answer_above(cli(*asked).out)
    assert [*said] == ["Fits", "Speed", "Binds"]
    assert f"{found['memory']['used_bytes'] / 1e9:.1f} GB used of" in said["Fits"]
    assert f"up to batch {found['memory']['max_batch']}" in said["Fits"]
    ttft, step = found["prefill"]["expected"]["seconds"], found["decode"]["expected"]["seconds_per_step"]
    assert f"TTFT {ttft:.2f} s, TPOT {step * 1e3:.1f} ms; {1 / step:.1f} tokens/s" in said["Speed"]
    assert f"prefill, {found['prefill']['limited_by']}; decode, {found['decode']['limited_by']}" in said["Binds"]


def test_the_answer_is_of_the_load_that_was_asked_for(cli):
    asked = ["estimate", "llama3-8b", "--hw", "h100", "--prompt", 1000, "--output", 200, "--concurrency", 32]
    mix, said = answer_of(cli, *asked)["serving"], answer_above(cli(*asked).out)
    assert f"room for {mix['max_concurrency']} requests" in said["Fits"]
    times = (mix["expected"][f"{name}_seconds"] * 1e3 for name in ("ttft", "tpot"))
    assert "TTFT {:.1f} ms, TPOT {:.1f} ms".format(*times) in said["Speed"]
    assert f"{mix['expected']['output_tokens_per_s']:,.0f} tokens/s out" in said["Speed"]


@pytest.mark.parametrize(
    ("arguments", "answers"),
    [
        (["llama3-8b"], ["Weighs"]),
        (["llama3-8b", "--hw", "m5"], ["Fits", "Not known"]),  # no source gives its peak
        (["llama3-70b", "--hw", "rtx4090"], ["DOES NOT FIT", "Would fit", "or", "Speed", "Binds"]),
    ],
)
def test_the_answer_says_what_can_be_said(cli, arguments, answers):
    assert [*answer_above(cli("estimate", *arguments).out)] == answers


def test_more_requests_than_are_answered_stand_in_the_answer(cli):
    asked = ("estimate", "llama3-8b", "--hw", "rtx4090", "--prompt", "500", "--output", "100")
    over = cli(*asked, "--rate", "20").out.splitlines()
    answered = json.loads(cli(*asked, "--rate", "20", "--json").out)["serving"]["expected"]["requests_per_s"]
    assert over[2].startswith(f"OVERLOADED   20 requests/s arrive, {answered:.3g} requests/s are answered")
    assert "OVERLOADED" not in cli(*asked, "--rate", str(answered / 2)).out


def test_memory_under_a_load_is_that_of_the_requests_that_run(cli):
    asked = ("estimate", "llama3-8b", "--hw", "h100", "--prompt", "2000", "--output", "500", "--concurrency", "64")
    document = json.loads(cli(*asked, "--json").out)
    pages = 16  # tokens, half of the last of which is empty on average
    mean = (2000 + 500 / 2 + (pages - 1) / 2) * document["kv_cache"]["bytes_per_token"]
    assert document["serving"]["kv_cache_bytes"] == 64 * mean
    m = document["memory"]
    used = m["used_bytes"] - m["kv_cache_bytes"] + 64 * mean
    shown = " ".join(cli(*asked).out.split())
    assert f"Memory used {used / 1e9:.1f} GB" in shown
    assert f"room for {document['serving']['max_concurrency']} requests at a time, each half answered" in shown


def test_training_and_the_textbook_are_for_who_asks(cli):
    asked = ["estimate", "llama3-8b", "--hw", "rtx4090"]
    plain = cli(*asked).out
    assert "raining" not in plain
    assert "textbook" not in plain
    assert "\nTraining " in cli(*asked, "--training").out
    assert "\n  2.0T tokens " in cli(*asked, "--tokens", "2T").out  # who says how long asks
    course = cli(*asked, "--basis", "textbook").out
    assert "\nTraining " in course
    assert "\nFLOPs of prefill         150 TFLOP   1 × 8,192 tokens, all pairs;" in course
    assert ("expected" in course, "limit" in course) == (False, False)
    heads = {each: cli(*asked, *each).out for each in ((), ("--basis", "all"), ("--mfu", "0.4"))}
    columns = {each: re.search(r"^ +(.*)  off by$", page, re.MULTILINE)[1].split() for each, page in heads.items()}
    assert columns[()] == ["limit", "expected"]
    assert columns["--basis", "all"] == columns["--mfu", "0.4"] == ["textbook", "limit", "expected"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--basis", "textbook"], "--basis textbook: times need a GPU"),
        (["--training"], "--training: times need a GPU"),
        (["--hw", "h100", "--training", "--json"], "--training: of the tables"),
        (["--hw", "h100", "--basis", "all", "--csv"], "--basis all: of the tables"),
    ],
)
def test_what_is_of_tables_of_times_is_refused_without_them(cli, more, words):
    answer = cli("estimate", "llama3-8b", *more)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert words in answer.err


pytest.mark.parametrize("arguments", MISFITS, ids=lambda each: " ".join(map(str, each)))


@pytest.mark.parametrize("arguments", MISFITS, ids=lambda each: " ".join(map(str, each)))
def test_each_command_that_would_fit_does_fit_as_it_is_shown(cli, arguments):
    page = cli("estimate", *arguments).out
    commands = re.findall(r"^(?:Would fit|or) +.*?: llmcost (.*)$", page, re.MULTILINE)
    assert commands
    assert [each for each in commands if not answer_of(cli, *shlex.split(each))["memory"]["fits"]] == []


def test_smaller_weights_come_before_more_gpus_and_a_much_shorter_context_last(cli):
    """70 B parameters: 35 GB in 4 bits on cards of 24 GB, 140 GB in 16. 85 of 102 GB are a cache of 64 × 8,192."""
    said = cli("estimate", "llama3-70b", "--hw", "rtx4090").out
    assert "or             weights in int4-g128 on 4 GPUs: " in said
    assert "or             8 GPUs: " in said
    said = cli("estimate", "llama3-8b", "--hw", "rtx4090", "-b", 64).out
    assert [said.index(each) for each in ("8 GPUs: ", "a batch of ", "a context of ")] == sorted(
        said.index(each) for each in ("8 GPUs: ", "a batch of ", "a context of ")
    )
    assert "Would fit      a batch of 5: " in cli("estimate", "llama3-8b", "--hw", "rtx4090", "-b", 7).out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("llama3-70b --hw rtx4090 --dtype q4_k_m", "layers"),
        ("llama3-70b --hw rtx4090 --dtype q4_k_m --offload layers:9 --host epyc-9654", "layers"),
        ("mixtral-8x7b --hw rtx4090 --dtype q4_k_m --engine llama.cpp", "experts"),
    ],
)
def test_no_more_is_left_to_a_host_than_has_to_be(cli, arguments, part):
    page = cli("estimate", *arguments.split()).out
    command = re.search(r": llmcost (estimate .*--offload .*)$", page, re.MULTILINE)[1]
    count = int(re.search(rf"--offload {part}:(\d+)", command)[1])
    assert ("epyc-9654" in command) is ("epyc-9654" in arguments)  # the host that was asked about
    one_less = command.replace(f"{part}:{count}", f"{part}:{count - 1}")
    assert [answer_of(cli, *shlex.split(each))["memory"]["fits"] for each in (command, one_less)] == [True, False]


def test_a_mac_is_not_told_to_be_several_and_another_gpu_is_named_where_nothing_helps(cli):
    assert "Would fit      weights in fp8: " in cli("estimate", "llama3-8b", "--hw", "m3").out
    assert "--gpus" not in cli("estimate", "llama3-8b", "--hw", "m3").out
    assert "Would fit      another GPU: llmcost fit llama3-70b\n" in cli("estimate", "llama3-70b", "--hw", "m1").out


def test_what_does_not_fit_is_red_on_a_terminal():
    page = on_a_terminal(["estimate", "llama3-70b", "--hw", "rtx4090"], columns=80)
    assert "\x1b[1;31mDOES NOT FIT\x1b[0m" in page
    assert "\x1b[1;31m" not in on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=80)


def test_what_is_not_known_of_a_model_is_null(cli):
    """Latent attention has no KV heads, and no source dates BLOOM's release here; tables show a dash."""
    known = {each["name"]: each for each in json.loads(cli("models", "--json").out)["models"]}
    assert known["deepseek-r1"]["kv_heads"] is None
    assert known["bloom-176b"]["released"] is None
    assert all(value != "" for each in known.values() for value in each.values())


def test_what_8_bit_layers_leave_in_16_bits_is_said(cli):
    assert "linear layers fp8, the rest bf16" in cli("estimate", "llama3-8b", "--hw", "h100", "--dtype", "fp8").out


@pytest.mark.parametrize(("own", "others"), [("--max-num-seqs", []), ("", ["--engine", "vllm-0.6"])])
def test_what_keeps_running_requests_at_an_engines_most_is_said(cli, own, others):
    asked = [own, 256] if own else others
    shown = cli(
        "estimate", "llama3.1-8b", "--hw", "h100", *asked, "--concurrency", 300, "--prompt", "1k", "--output", 256
    )
    assert shown.code == 0
    assert not others or shown.out.startswith("Llama 3.1 8B on NVIDIA H100 SXM5 80GB under vllm-0.6: ")
    assert "256 run at a time, the most that run at a time (--max-num-seqs)" in " ".join(shown.out.split())


def test_layouts_side_by_side_have_an_engines_own_collectives(cli):
    """One of them crosses nodes, another does not: each has the time that it has when asked alone."""
    shown = cli("plan", "llama3.1-8b", "--hw", "h100", "--gpus", 16, "--serve", "--engine", "vllm", "--json")
    assert shown.code == 0, shown.err
    best = json.loads(shown.out)["best"]
    assert len({each["tp"] * each["pp"] for each in best}) > 3
    for each in best:
        layout = ["--tp", each["tp"], "--pp", each["pp"], "--dp", each["dp"], "--concurrency", each["concurrency"]]
        asked = ["--prompt", 1024, "--output", 256, "--engine", "vllm", *layout, "--json"]
        alone = json.loads(cli("estimate", "llama3.1-8b", "--hw", "h100", *asked).out)["serving"]["expected"]
        assert each["tokens_per_s_per_gpu"] == pytest.approx(alone["output_tokens_per_s_per_gpu"], rel=1e-9), layout
