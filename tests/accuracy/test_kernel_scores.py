"""Tables of measured kernels: what their rows mean, and how far an engine's numbers are from them."""

import builtins
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmcost.accuracy.collector import fullest_share, gpu_of, seconds_of, tables_of
from llmcost.accuracy.collector_tables import read_groups
from llmcost.machine.kernels import load_kernels

GEMM = {"gemm_dtype": ["bfloat16"] * 4, "m": [1, 64, 4096, 64], "n": [4096] * 4, "k": [4096] * 4}
ATTENTION = {
    "batch_size": [8, 8], "isl": [1, 1], "step": [1023, 4095], "num_heads": [32, 32], "num_key_value_heads": [8, 8],
    "head_dim": [128, 128], "attn_dtype": ["bfloat16"] * 2, "kv_cache_dtype": ["bfloat16", "fp8"],
}  # fmt: skip


@pytest.fixture
def ask(cli):
    """A command's answer as its JSON document."""

    def asked(*arguments):
        answer = cli(*arguments, "--json")
        assert answer.code == 0, answer.err
        return json.loads(answer.out)

    return asked


def write(folder, name, columns, gpu="h200_sxm"):
    place = folder / gpu
    place.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), place / f"{name}.parquet")


def priced(folder, name, columns, factor=1.0):
    """A table whose times are a factor times what vLLM's own numbers say."""
    write(folder, name, columns | {"latency": [1.0] * len(next(iter(columns.values())))})
    (table,) = [each for each in tables_of(folder) if each.path.stem == name]
    known, found = load_kernels("vllm", "h200"), []
    for group in read_groups(table, "h200"):
        fit = known.find(group.form, group.variant)
        found += list(seconds_of(group, fit.numbers) * 1e3 * factor)
    write(folder, name, columns | {"latency": found})


@pytest.mark.parametrize("exponent", [1.01, 1.2])
@pytest.mark.parametrize(("experts", "topk"), [(8, 2), (128, 8), (256, 8)])
def test_the_fullest_gpu_has_as_many_rows_as_drawn_shares_give_it(experts, topk, exponent):
    """Shares of experts are drawn 300 times by a power law between 1 and 0.8 of the tokens."""
    draw, drawn, asked = np.random.default_rng(0), [], []
    for tokens in (64, 1024, 16384):
        for parts in (1, 2, 8, 64):
            if experts % parts == 0:
                end, rest = 0.8 * tokens, 1 - exponent
                shares = (1 + (end**rest - 1) * draw.random((300, experts))) ** (1 / rest)
                of_gpus = shares.reshape(300, parts, -1).sum(2) / shares.mean(1, keepdims=True)
                drawn.append(of_gpus.max(1).mean() / (experts / parts))
                asked.append(fullest_share(*map(np.float64, (tokens, experts, topk, parts, exponent))))
    errors = np.abs(np.array(asked) / drawn - 1)
    assert errors.mean() < 0.06
    assert errors.max() < 0.2


def test_a_table_is_off_by_what_it_was_made_off_by(tmp_path, ask):
    priced(tmp_path, "gemm-vllm-0.24.0", GEMM, factor=1.25)
    found = ask("calibrate", tmp_path, "--score")
    # predicted over measured is 1 / 1.25
    assert found["tables"]["gemm"] == {
        "rows": 4, "median_error": pytest.approx(0.2), "mean_error": pytest.approx(0.2),
        "median_ratio": pytest.approx(0.8), "impossible": 0, "unpriced": 0,
    }  # fmt: skip
    assert found["files"]["h200_sxm/gemm-vllm-0.24.0"]["rows"] == 4


def test_another_engine_prices_the_same_rows_otherwise(tmp_path, ask):
    priced(tmp_path, "gemm-vllm-0.24.0", GEMM)
    own = ask("calibrate", tmp_path, "--score")["tables"]["gemm"]["mean_error"]
    assert own == pytest.approx(0, abs=1e-9)
    for engine in ("sglang", "ideal"):
        assert ask("calibrate", tmp_path, "--score", "--engine", engine)["tables"]["gemm"]["mean_error"] > 0.01


def test_rows_faster_than_the_gpu_are_left_out_and_counted(tmp_path, ask):
    # 4096 × 4096 weights of 2 bytes at 4.8e12 bytes/s are 7 µs; 1 µs is faster than that
    write(tmp_path, "gemm-vllm-0.24.0", GEMM | {"latency": [0.001, 0.02, 0.3, 0.02]})
    score = ask("calibrate", tmp_path, "--score")["tables"]["gemm"]
    assert (score["rows"], score["impossible"]) == (3, 1)


def test_tables_without_a_form_and_types_without_numbers_are_counted(tmp_path, ask):
    write(tmp_path, "unheard-vllm-0.24.0", {"batch_size": [1, 2], "latency": [0.1, 0.1]})
    write(tmp_path, "gemm-vllm-0.24.0", GEMM | {"gemm_dtype": ["bfloat16", "fp3", "fp3", "fp3"], "latency": [0.02] * 4})
    found = ask("calibrate", tmp_path, "--score")
    assert found["tables"]["unheard"]["unpriced"] == 2
    assert found["tables"]["unheard"]["median_error"] is None
    assert (found["tables"]["gemm"]["rows"], found["tables"]["gemm"]["unpriced"]) == (1, 3)
    assert sum(found["unpriced_reasons"].values()) == 5


def test_attention_over_a_cache_is_told_by_the_types_of_queries_and_cache(tmp_path):
    write(tmp_path, "generation_attention-vllm-0.24.0", ATTENTION | {"latency": [0.1, 0.2]})
    (table,) = tables_of(tmp_path)
    groups = {group.variant: group for group in read_groups(table, "h200")}
    assert groups.keys() == {"bf16/bf16", "bf16/fp8"}
    assert groups["bf16/fp8"].sizes["keys"] == np.array([4096])


@pytest.mark.parametrize(
    ("folder", "name"), [("h200_sxm", "h200"), ("rtx_pro_6000_server", "rtx-pro-6000"), ("x9", "")]
)
def test_a_folder_is_named_after_its_gpu(folder, name):
    assert gpu_of(folder) == name


def test_a_gpu_that_is_told_stands_in_for_the_folders_name(tmp_path, ask):
    write(tmp_path, "gemm-vllm-0.24.0", GEMM | {"latency": [0.05] * 4}, gpu="mine")
    assert ask("calibrate", tmp_path, "--score")["tables"]["gemm"]["rows"] == 0
    assert ask("calibrate", tmp_path, "--score", "--hw", "h200")["tables"]["gemm"]["rows"] > 0


@pytest.mark.parametrize("time", [0.0, -1.0, float("nan")])
def test_a_row_without_a_time_is_refused_with_its_number(tmp_path, cli, time):
    write(tmp_path, "gemm-vllm-0.24.0", GEMM | {"latency": [0.05, 0.05, time, 0.05]})
    answer = cli("calibrate", tmp_path, "--score")
    assert (answer.code, "latency: row 3:" in answer.err) == (2, True)


def test_a_missing_column_and_a_file_that_is_no_table_are_named(tmp_path, cli):
    write(tmp_path, "gemm-vllm-0.24.0", {"m": [1], "latency": [0.05]})
    assert "gemm-vllm-0.24.0.parquet: n: this column is missing" in cli("calibrate", tmp_path, "--score").err
    (tmp_path / "h200_sxm" / "gemm-vllm-0.24.0.parquet").write_text("no", "utf-8")
    assert "not a Parquet file" in cli("calibrate", tmp_path, "--score").err
    (tmp_path / "h200_sxm" / "gemm.parquet").write_text("no", "utf-8")
    assert "not named TABLE-ENGINE-VERSION.parquet" in cli("calibrate", tmp_path, "--score").err


@pytest.mark.parametrize("kind", ["gemm", "mla_context_module", "mamba2", "glm5_mqa_logits_module"])
def test_a_table_without_rows_has_no_score(tmp_path, ask, kind):
    write(tmp_path, f"{kind}-vllm-0.24.0", GEMM | {"op_name": ["x"] * 4, "latency": [0.05] * 4})
    (path,) = tmp_path.glob("*/*")
    parquet.write_table(parquet.read_table(path).slice(0, 0), path)
    score = ask("calibrate", tmp_path, "--score")["tables"][kind]
    assert (score["rows"], score["mean_error"], score["unpriced"]) == (0, None, 0)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (GEMM | {"latency": ["fast"] * 4}, "latency: a column holds no numbers"),
        (GEMM | {"k": [-4096] * 4, "latency": [0.05] * 4}, "bf16: a row's sizes are none that a kernel can have"),
    ],
)
def test_columns_of_what_is_no_number_are_refused_with_their_file(tmp_path, cli, columns, told):
    write(tmp_path, "gemm-vllm-0.24.0", columns)
    answer = cli("calibrate", tmp_path, "--score")
    assert (answer.code, f"gemm-vllm-0.24.0.parquet: {told}" in answer.err) == (2, True), answer.err


def test_a_column_that_stands_twice_is_refused(tmp_path, cli):
    write(tmp_path, "gemm-vllm-0.24.0", GEMM | {"latency": [0.05] * 4})
    (path,) = tmp_path.glob("*/*")
    table = parquet.read_table(path)
    parquet.write_table(table.append_column("m", table.column("n")), path)
    answer = cli("calibrate", tmp_path, "--score")
    assert (answer.code, "m: this column stands twice" in answer.err) == (2, True), answer.err


def test_without_pyarrow_one_message_says_how_to_install_it(tmp_path, cli, monkeypatch):
    write(tmp_path, "gemm-vllm-0.24.0", GEMM | {"latency": [0.05] * 4})
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    answer = cli("calibrate", tmp_path, "--score")
    assert answer.code == 2
    assert "pip install 'llmcost-calculator[parquet]'" in answer.err
