"""Tables of kernels and modules that come in some models alone: what their rows mean, and by what they are priced."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmcost.accuracy.collector import seconds_of, tables_of
from llmcost.accuracy.collector_modules import kernels_group, operators_of
from llmcost.accuracy.collector_tables import LEFT_OUT, READERS, read_groups
from llmcost.machine.chip import chip_of
from llmcost.machine.forms_sequence import module_seconds
from llmcost.machine.kernels import load_kernels
from llmcost.machine.reached import efficiency_for
from llmcost.machine.timing import kernel_seconds
from llmcost.model.architecture import layer_operators
from llmcost.model.sizes import Load, element_bytes
from llmcost.specs.catalog import load_engine, load_hardware, load_model


def write(folder, name, columns, gpu="h200_sxm"):
    place = folder / gpu
    place.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), place / f"{name}.parquet")


def groups_of(folder, name, columns, gpu="h200_sxm"):
    write(folder, name, columns, gpu)
    (table,) = [each for each in tables_of(folder) if each.path.stem == name]
    return list(read_groups(table, table.gpu))


def scored(cli, folder):
    answer = cli("calibrate", folder, "--score", "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


LINEAR = {
    "d_conv": [4] * 2, "num_k_heads": [16] * 2, "head_k_dim": [128] * 2, "num_v_heads": [32] * 2,
    "head_v_dim": [128] * 2, "batch_size": [1, 64], "seq_len": [4096, 1], "phase": ["context", "generation"],
}  # fmt: skip
QUERIES = {"batch_size": [1, 32], "isl": [2048, 1], "step": [4096, 8191], "num_heads": [64] * 2, "tp_size": [1] * 2}
KERNELS = {
    "mla_bmm-sglang-0.5.14": {
        "op_name": ["mla_gen_pre", "mla_gen_post"], "bmm_dtype": ["fp8", "bfloat16"], "num_tokens": [64, 64],
        "num_heads": [16, 128],
    },
    "gdn-vllm-0.24.0": LINEAR | {"op_name": ["gdn"] * 2, "kernel_source": ["chunk_gated", "fused_recurrent"]},
    "kda-sglang-0.5.16": LINEAR | {"op_name": ["kda"] * 2, "kernel_source": ["chunk_kda", "fused_recurrent_kda"]},
    "mamba2-trtllm-1.3.0rc20": {
        "op_name": ["mamba2"] * 2, "kernel_source": ["causal_conv1d_fn", "causal_conv1d_update"], "d_conv": [4] * 2,
        "phase": ["context", "generation"], "batch_size": [1, 64], "seq_len": [4096, 1], "nheads": [64] * 2,
        "head_dim": [64] * 2, "d_state": [128] * 2, "n_groups": [8] * 2,
    },
    "glm5_dsa_attn_module-sglang-0.5.14": QUERIES,
    "glm5_mqa_logits_module-sglang-0.5.14": QUERIES | {"op_name": ["glm5_mqa_logits_module"] * 2},
    "dsv4_paged_mqa_logits_module-vllm-0.24.0": QUERIES | {"op_name": ["dsv4_paged_mqa_logits_module"] * 2},
    "glm5_topk_module-sglang-0.5.14": QUERIES | {"score_mode": ["top_last", "flat"]},
    "dsv4_hca_attn_module-vllm-0.24.0": QUERIES,
    "wideep_context_moe-sglang-0.5.10": {
        "op_name": ["moe_context"] * 2, "moe_dtype": ["fp8_block"] * 2, "num_tokens": [4096] * 2,
        "hidden_size": [7168] * 2, "inter_size": [2048] * 2, "topk": [8] * 2, "num_experts": [256] * 2,
        "moe_tp_size": [1] * 2, "moe_ep_size": [8] * 2, "distribution": ["uniform", "power_law_1.01"],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_a_table_is_off_by_what_it_was_made_off_by(tmp_path, cli, name):
    """Times that are 1.25 times what the engine's own numbers say: all are predicted at 0.8 of them."""
    columns = KERNELS[name]
    known = load_kernels(name.split("-")[1], "h200")
    slow = {"latency": [1e6] * 2}
    first = groups_of(tmp_path, name, columns | slow)
    assert sum(len(group.seconds) for group in first) == 2
    times = np.zeros(2)
    for row in range(2):
        one = {key: [value[row]] for key, value in (columns | slow).items()}
        (group,) = groups_of(tmp_path, name, one)
        fit = known.find(group.form, group.variant)
        times[row] = seconds_of(group, fit.numbers)[0] * 1e3 * 1.25
    write(tmp_path, name, columns | {"latency": times})
    score = scored(cli, tmp_path)["tables"][name.split("-")[0]]
    assert (score["rows"], score["unpriced"], score["impossible"]) == (2, 0, 0)
    assert score["median_error"] == pytest.approx(0.2)


MODULE = {
    "model": ["deepseek-ai/DeepSeek-V3"] * 2, "gemm_type": ["fp8_block", "bfloat16"],
    "kv_cache_dtype": ["bfloat16"] * 2, "num_heads": [16] * 2, "batch_size": [8] * 2, "isl": [1] * 2,
    "step": [4095] * 2, "op_name": ["mla_generation_module"] * 2, "latency": [0.1] * 2,
}  # fmt: skip


def test_a_module_is_the_sum_of_the_operators_that_an_estimate_has(tmp_path, cli):
    """DeepSeek-V3's mixer with an eighth of its heads, by TensorRT-LLM's kernels: as the estimate's own code says."""
    hardware, engine, spec = load_hardware("h200"), load_engine("trtllm"), load_model("deepseek-v3")
    predicted = []
    for form, compute in (("fp8-block128", "fp8"), ("bf16", "bf16")):
        layer = spec.layers[0]
        share = layer._replace(count=1, mixer=layer.mixer._replace(num_attention_heads=16))
        size, load = element_bytes(form, compute, "bf16"), Load(8, 1, 4096, decode=True)
        ops = list(layer_operators(spec, share, size, load))
        ops = ops[1 : [op.name for op in ops].index("mlp_norm")]
        reached = efficiency_for(hardware, None, compute, form, engine.launch, engine, "bf16", alone=True)
        predicted.append(sum(kernel_seconds(ops, chip_of(hardware, compute, "bf16"), reached)))
    groups = groups_of(tmp_path, "mla_generation_module-trtllm-1.3.0rc20", MODULE)
    found = {group.sizes["format"]: kernels_group(group, engine).sizes["kernels"][0] for group in groups}
    assert [found["fp8-block128"], found["bf16"]] == pytest.approx(predicted)
    fit = load_kernels("trtllm", "h200").find("module", "mla_generation_module")
    times = [module_seconds(fit.numbers, seconds) * 1e3 for seconds in predicted]
    write(tmp_path, "mla_generation_module-trtllm-1.3.0rc20", MODULE | {"latency": times})
    assert scored(cli, tmp_path)["tables"]["mla_generation_module"]["median_error"] == pytest.approx(0, abs=1e-9)


def names_of(folder, name, columns):
    (group,) = groups_of(folder, name, columns)
    return [op.name for op in operators_of(group)]


def test_modules_have_the_indexer_and_the_compressors_of_their_models(tmp_path):
    row = {key: value[:1] for key, value in MODULE.items()}
    chosen = row | {"model": ["zai-org/GLM-5"], "op_name": ["dsa_generation_module"]}
    assert "indexer" in names_of(tmp_path, "dsa_generation_module-vllm-0.24.0", chosen)
    chosen |= {"op_name": ["dsa_generation_module_skip_indexer"]}
    assert "indexer" not in names_of(tmp_path, "dsa_generation_module-vllm-0.24.0", chosen)
    light = row | {"model": ["sgl-project/DeepSeek-V4-Flash-FP8"], "op_name": ["dsv4_csa"], "compress_ratio": [4]}
    assert {"indexer", "compressed_attention"} <= set(names_of(tmp_path, "dsv4_csa_context_module-vllm-1", light))
    heavy = names_of(tmp_path, "dsv4_hca_context_module-vllm-1", light | {"compress_ratio": [128]})
    assert "indexer" not in heavy
    assert {"window_attention", "compressed_attention"} <= set(heavy)


def test_streams_are_what_stands_before_and_behind_both_blocks(tmp_path):
    row = {"op_name": ["pre"], "num_tokens": [64], "hidden_size": [4096], "latency": [0.02]}
    assert [name.rpartition("_hc_")[2] for name in names_of(tmp_path, "mhc_module-sglang-0.5.14", row)] == [
        "weights", "sum", "weights", "sum",
    ]  # fmt: skip
    after = names_of(tmp_path, "mhc_module-sglang-0.5.14", row | {"op_name": ["post"]})
    assert [name.rpartition("_hc_")[2] for name in after] == ["mix", "spread", "mix", "spread"]


SENT = {
    "num_token": [4096, 4096], "hidden_size": [7168] * 2, "num_topk": [8] * 2, "num_experts": [256] * 2,
    "dispatch_transmit_us": [300.0, 200.0], "combine_transmit_us": [400.0, 500.0],
}  # fmt: skip


def test_deepep_is_scored_by_its_fastest_number_of_sms_each_way(tmp_path, cli):
    groups = groups_of(tmp_path, "wideep_deepep_normal-sglang-0.5.12", SENT)
    assert {group.variant: list(group.seconds) for group in groups} == {
        "deepep/normal/dispatch": [pytest.approx(200e-6)], "deepep/normal/combine": [pytest.approx(400e-6)],
    }  # fmt: skip
    score = scored(cli, tmp_path)["tables"]["wideep_deepep_normal"]
    assert (score["rows"], score["unpriced"]) == (2, 0)


def test_a_gb200s_times_are_of_the_four_gpus_of_a_tray(tmp_path):
    (first, _) = groups_of(tmp_path, "wideep_deepep_normal-sglang-0.5.12", SENT, gpu="gb200")
    assert first.sizes["gpus"] == 4


def test_tables_that_no_operator_stands_for_say_why(tmp_path, cli):
    write(tmp_path, "computescale-vllm-0.24.0", {"m": [1], "k": [64], "latency": [0.01]})
    write(tmp_path, "msa_context_module-trtllm-1.3.0rc23", MODULE)
    reasons = scored(cli, tmp_path)["unpriced_reasons"]
    assert reasons == {
        f"computescale: {LEFT_OUT['computescale', '', '']}": 1,
        f"msa_context_module: {LEFT_OUT['msa_context_module', 'trtllm', '']}": 2,
    }
    assert {kind for kind, engine, _ in LEFT_OUT if engine} <= set(READERS)


def test_an_engine_without_numbers_prices_what_its_shares_can_and_counts_the_rest(tmp_path, cli):
    row = {key: value[:1] for key, value in MODULE.items()}
    write(tmp_path, "mla_generation_module-trtllm-1.3.0rc20", row)
    for name in ("gdn-vllm-0.24.0", "mla_bmm-sglang-0.5.14", "wideep_context_moe-sglang-0.5.10"):
        write(tmp_path, name, KERNELS[name] | {"latency": [1e3] * 2})
    answer = cli("calibrate", tmp_path, "--score", "--engine", "llama.cpp", "--json")
    assert answer.code == 0, answer.err
    tables = json.loads(answer.out)["tables"]
    assert {name: (each["rows"], each["unpriced"]) for name, each in tables.items()} == {
        "mla_generation_module": (1, 0), "wideep_context_moe": (2, 0), "gdn": (0, 2), "mla_bmm": (0, 2),
    }  # fmt: skip
