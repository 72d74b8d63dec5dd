"""`estimate`: the JSON that scripts rely on, by its keys, the other formats, names, the page."""

import csv
import io
import re

import pytest
from answered import ROOT, answer_of, at, leaves_of

from llmcost.formulas.quantities import QUANTITIES

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
ON_REQUEST = ("request.", "serving.", "encoding.", "offload.")  # sections that are there if an option asks for them


def holds(document, keys):
    """The keys whose figure is absent or of another type: none of them, if the contract is kept."""
    return {path: at(document, path) for path, kind in keys.items() if not IS[kind](at(document, path))}


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
    result = answer_of(cli, "estimate", "qwen3-0.6b", "--hw", "jetson-orin-nano-8gb")  # no source has its rate of bf16
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
        "mem_fraction_static": None,
        **dict.fromkeys(("offload", "host", "prefix_hit", "speculate", "range_ratio")),
        **dict.fromkeys(("prefill_gpus", "decode_gpus", "prefill_tp", "prefill_pp", "prefill_ep", "prefill_chunk")),
        "layerwise": False,
        "accept": 0.8,
        "draft": "mtp",
        "engine": "optimised",
        **dict.fromkeys(("max_num_seqs", "images", "image_size", "audio", "all2all")),
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
    arguments = (
        "--output 9 --rate 2.5 --requests 40 --no-cuda-graphs --tp 2 --link pcie4 --head-dtype int8 --logits all"
    )
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
    share = answer_of(cli, "estimate", "llama3-8b", "--hw", "rtx4090", "--mem-fraction-static", 0.8)["workload"]
    assert (share["mem_fraction_static"], share["memory_utilization"]) == (0.8, None)


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


@pytest.mark.parametrize("hw", [["--hw", "rtx4090"], ["--hw", "jetson-orin-nano-8gb"], []])
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


def test_requests_at_a_rate_on_gpus_whose_links_no_source_gives_are_told_as_not_known(cli):
    asked = ["gpt-oss-20b", "--hw", "mi50-32gb", "--gpus", 4, "--rate", 1, "--prompt", 17, "--output", 100]
    for engine in ([], ["--engine", "sglang"]):
        answer = cli("estimate", *asked, *engine)
        assert answer.code == 0
        assert "Continuous batching: how many run at a time is not known" in answer.out
        assert "None" not in answer.out
