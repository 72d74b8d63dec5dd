"""The gap of a trace: kernels put to operators, in traces that were made on an H200 and in some made up here."""

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmcost.bench.gap import OtherKernel, gap, kind_of
from llmcost.bench.traces import GpuKernel, read_trace
from llmcost.ground.errors import InputError, SpecError
from llmcost.report.gap import document, gap_tables
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model

TRACES = Path(__file__).parent / "traces"  # Qwen3-0.6B by transformers 5.17 on an H200, torch 2.11, shapes recorded
LAYERS = 28
H200 = load_hardware("h200")


def of(name, phase, **options):
    return gap(read_trace(TRACES / f"{name}.json.gz"), load_model("qwen3-0.6b"), H200, Options(**options), phase)


@pytest.mark.parametrize("name", ["eager-decode", "eager-prefill", "compiled-decode"])
def test_every_product_of_a_real_trace_is_found_and_no_second_is_lost(name):
    """Queries, keys and values are three products there, gate and up two, whether shapes are known or not."""
    decode = name.endswith("decode")
    load = {"batch": 4, "context": 1024} if decode else {"batch": 1, "prompt": 1024}
    found = of(name, "decode" if decode else "prefill", **load)
    kernels = {row.operators: (row.executions, row.kernels) for row in found.rows}
    assert found.steps == 1
    assert kernels["qkv_proj"] == (LAYERS, 3 * LAYERS)
    assert kernels["gate_up_proj"] == (LAYERS, 2 * LAYERS)
    assert kernels["o_proj"] == (LAYERS, LAYERS)
    assert kernels["lm_head"] == (1, 1)
    assert kernels["attention"][1] in (LAYERS, 2 * LAYERS)  # in one kernel, or split and put together
    every = sum(each.seconds for each in read_trace(TRACES / f"{name}.json.gz"))
    put = sum(row.measured_seconds for row in found.rows) + sum(each.seconds for each in found.others)
    assert put == pytest.approx(every)
    assert found.busy_seconds == pytest.approx(every)  # one stream: no two kernels at once
    assert found.span_seconds == pytest.approx(found.busy_seconds + found.idle_seconds)


def test_what_an_eager_loop_costs_is_waiting_and_what_a_graph_saves_too():
    eager, compiled = (of(name, "decode", batch=4, context=1024) for name in ("eager-decode", "compiled-decode"))
    assert eager.causes()[0][0] == "the GPU waits between kernels"
    assert eager.idle_seconds > 15 * eager.busy_seconds  # a loop in Python under a profiler
    assert compiled.idle_seconds < compiled.busy_seconds
    assert sum(row.predicted_seconds for row in eager.rows) == pytest.approx(eager.predicted_kernel_seconds)
    wide = [each for each in eager.others if "sgemm" in each.name]
    assert [each.executions for each in wide] == [1]  # angles of the rotary embedding, in fp32: no layer's product


def made_up(layers=2, steps=3, start=0.0, shapes=True, comm=0.0):
    """Steps of a model of two layers, each kernel of 1 ms and 1 ms after the one before."""
    kernels, at = [], start

    def add(name, *dims, took=1e-3):
        nonlocal at
        kernels.append(GpuKernel(name, at, took, tuple(dims) if shapes else ()))
        at += took + 1e-3

    for _ in range(steps):
        add("indexSelect")
        for _ in range(layers):
            add("rms_norm_kernel")
            add("nvjet_qkv", (2, 64), (64, 128))
            add("flash_fwd_splitkv_kernel")
            add("flash_fwd_splitkv_combine_kernel")
            add("nvjet_o", (2, 64), (64, 64))
            if comm:
                add("ncclDevKernel_AllReduce", took=comm)
            add("rms_norm_kernel")
            add("nvjet_gate_up", (2, 64), (64, 256))
            add("act_and_mul_kernel")
            add("nvjet_down", (2, 128), (128, 64))
            if comm:
                add("ncclDevKernel_AllReduce", took=comm)
        add("rms_norm_kernel")
        add("gemv_head", (2, 64), (64, 1000))
    return kernels


@pytest.fixture
def small(tmp_path):
    fields = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 1000,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(fields))
    return load_model(str(tmp_path / "config.json"))


@pytest.mark.parametrize("shapes", [True, False])
def test_several_steps_are_told_apart_and_a_step_is_their_mean(small, shapes):
    found = gap(made_up(shapes=shapes), small, H200, Options(batch=2, context=64), "decode")
    assert found.steps == 3
    rows = {row.operators: row for row in found.rows}
    for name, kernels in (("qkv_proj", 2), ("attention", 4), ("down_proj", 2), ("lm_head", 1)):
        assert rows[name].kernels == kernels
        assert rows[name].measured_seconds == pytest.approx(kernels * 1e-3)
    assert not found.others
    in_a_step = 1 + 2 * 9 + 2  # kernels
    assert found.busy_seconds == pytest.approx(in_a_step * 1e-3)
    assert found.idle_seconds == pytest.approx((3 * in_a_step - 1) / 3 * 1e-3)


def test_communication_is_exposed_as_far_as_nothing_else_runs(small):
    kernels = made_up(steps=1, comm=4e-3, shapes=False)
    together = [each._replace(start=each.start - 1e-3) if "nccl" in each.name else each for each in kernels]
    found = gap(together, small, H200, Options(batch=2, context=64, tp=2), "decode")
    rows = {row.operators: row for row in found.rows}
    assert rows["o_proj_all_reduce"].measured_seconds == pytest.approx(2 * 4e-3)
    assert found.exposed_seconds == pytest.approx(4 * 4e-3)  # four of them; each begins as the kernel before it ends
    longer = [each._replace(seconds=each.seconds + 2e-3) if "nvjet_o" in each.name else each for each in together]
    hidden = gap(longer, small, H200, Options(batch=2, context=64, tp=2), "decode")
    assert hidden.exposed_seconds == pytest.approx(4 * 4e-3 - 2 * 2e-3)


def test_a_kernel_of_no_known_operator_has_no_shapes(tmp_path):
    kernel = {"cat": "kernel", "name": "k", "ts": 0, "dur": 1}
    events = [{"cat": "cpu_op", "args": {"External id": [1]}}, kernel | {"args": {"External id": {"a": 1}}}, kernel]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": events}), "utf-8")
    assert [each.shapes for each in read_trace(path)] == [(), ()]


def test_names_of_kernels_of_many_programs():
    for name, kind in (
        ("nvjet_sm90_tst_64x8_64x16_4x1_v_bz_TNT", "product"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "product"),
        ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_32x6_tn", "product"),
        ("fused_moe_kernel", "product"),
        ("void deep_gemm::sm90_fp8_gemm_1d2d_impl<7168u>", "product"),
        ("void cublasLt::splitKreduce_kernel<32, 16>", "tail"),
        ("void flash::flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128>>", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", "attention"),
        ("BatchDecodeWithPagedKVCacheKernel", "attention"),
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "collective"),
        ("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>", "collective"),
        ("void vllm::rms_norm_kernel<c10::BFloat16>", "elementwise"),
        ("triton_red_fused__scaled_dot_product_mm_add_mean", "elementwise"),
    ):
        assert kind_of(name) == kind, name


def test_exports_of_nsight_systems_are_read(tmp_path, small):
    kernels = made_up(steps=1, shapes=False)
    lines = ["Generating report", "Start (ns),Duration (ns),CorrId,Name"]
    lines += [f"{each.start * 1e9:.0f},{each.seconds * 1e9:.0f},1,{each.name}" for each in kernels]
    (tmp_path / "trace.csv").write_text("\n".join(lines))
    base = sqlite3.connect(tmp_path / "trace.sqlite")
    base.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
    base.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, demangledName INTEGER)")
    for number, each in enumerate(kernels):
        base.execute("INSERT INTO StringIds VALUES (?, ?)", (number, each.name))
        times = round(each.start * 1e9), round(each.end * 1e9)
        base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, ?)", (*times, number))
    base.commit()
    base.close()
    for name in ("trace.csv", "trace.sqlite"):
        read = read_trace(tmp_path / name)
        assert [each.name for each in read] == [each.name for each in kernels]
        assert sum(each.seconds for each in read) == pytest.approx(1e-3 * len(kernels))
        assert gap(read, small, H200, Options(batch=2, context=64), "decode").steps == 1


def test_what_is_no_trace_is_said_with_its_file(tmp_path, cli):
    for name, text, words in (
        ("a.json", "{}", "traceEvents: a Chrome trace has a list of events there"),
        ("b.json", '{"traceEvents": []}', "no kernel of a GPU is in this trace"),
        ("c.json", '{"traceEvents": [{"cat": "kernel", "name": "x"}]}', "traceEvents.0.ts: expected a time"),
        *(
            (f"c{number}.json", f'{{"traceEvents": [1, {{"cat": "kernel", {fields}}}]}}', f"traceEvents.1.{words}")
            for number, (fields, words) in enumerate(
                (
                    ('"name": "x", "ts": 0, "dur": -1', "dur: expected a time of at least 0, found '-1'"),
                    ('"name": "x", "ts": 0, "dur": true', "dur: expected a time of at least 0, found 'True'"),
                    ('"name": "x", "ts": NaN, "dur": 1', "ts: expected a time of at least 0, found 'NaN'"),
                    ('"name": "x", "ts": 1e300, "dur": 1', "ts: expected a time of at least 0, found '1e+300'"),
                    ('"name": null, "ts": 0, "dur": 1', "name: a kernel without a name"),
                )
            )
        ),
        ("d.json", "[1, 2", "d.json:1: not valid JSON"),
        ("e.csv", "a,b\n1,2", "no line with the columns Start (ns), Duration (ns), Name"),
        ("f.csv", "Start (ns),Duration (ns),Name\n1,2,x\n1,long,y", "f.csv:3"),
        ("g.sqlite", "nothing", "no export of Nsight Systems"),
        ("h.json.gz", "nothing", "cannot be read"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(SpecError) as refused:
            read_trace(tmp_path / name)
        assert words in str(refused.value)
        answer = cli("gap", tmp_path / name, "qwen3-0.6b", "--hw", "h200")
        assert answer.code == 2
        assert name in answer.err
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(b" " * 2**20))
    with pytest.raises(SpecError, match="not valid JSON"):
        read_trace(bomb)


def test_a_database_whose_kernels_never_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("llmcost.bench.traces.MOST_STEPS", 2)
    path = tmp_path / "endless.sqlite"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE StringIds (id, value)")
        base.execute("INSERT INTO StringIds VALUES (0, 'x')")
        base.execute(
            "CREATE VIEW CUPTI_ACTIVITY_KIND_KERNEL AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT i AS start, i + 1 AS end, i AS demangledName FROM n"
        )
        base.commit()
    with pytest.raises(SpecError, match="no export of Nsight Systems: interrupted"):
        read_trace(path)


def test_a_trace_of_another_model_is_refused():
    kernels = read_trace(TRACES / "eager-decode.json.gz")
    for name in ("qwen3-8b", "mixtral-8x7b"):
        with pytest.raises(InputError, match="of another model, phase or layout"):
            gap(kernels, load_model(name), H200, Options(batch=4, context=1024), "decode")


@pytest.mark.parametrize(
    ("name", "phase", "hw", "load", "doubts"),
    [
        ("eager-decode", "decode", "h200", {"batch": 4, "context": 1024}, []),
        ("compiled-decode", "decode", "h200", {"batch": 4, "context": 1024}, []),
        ("eager-prefill", "prefill", "h200", {"prompt": 1024}, []),
        ("eager-decode", "decode", "h100", {"batch": 4, "context": 1024}, ["the trace is of NVIDIA H200"]),
        ("eager-decode", "decode", "h200", {"batch": 16, "context": 1024}, ["are of 4 tokens, and a decode step of"]),
        ("compiled-decode", "decode", "h200", {"batch": 64, "context": 1024}, ["attention took less than half"]),
        ("compiled-decode", "prefill", "h200", {"prompt": 8192}, ["took less than half of what prefill"]),
    ],
)
def test_a_trace_of_something_else_than_was_asked_is_doubted(name, phase, hw, load, doubts):
    kernels = read_trace(TRACES / f"{name}.json.gz")
    found = gap(kernels, load_model("qwen3-0.6b"), load_hardware(hw), Options(**load), phase)
    assert len(found.doubts) == len(doubts)
    assert all(words in each for words, each in zip(doubts, found.doubts, strict=True))


def test_exports_of_nsight_systems_name_their_gpu(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Start (ns),Duration (ns),Device,Name\n1,2,NVIDIA H200 (0),k\n")
    assert [each.gpu for each in read_trace(path)] == ["NVIDIA H200 (0)"]
    base = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(base)) as made:
        made.executescript(
            "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT, end INT, demangledName INT);"
            "CREATE TABLE StringIds (id INT, value TEXT); CREATE TABLE TARGET_INFO_GPU (name TEXT);"
            "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (1, 3, 7); INSERT INTO StringIds VALUES (7, 'k');"
            "INSERT INTO TARGET_INFO_GPU VALUES ('NVIDIA H200');"
        )
    assert [each.gpu for each in read_trace(base)] == ["NVIDIA H200"]


def test_a_long_name_of_a_kernel_keeps_its_beginning_and_its_end():
    name = f"void begins{'x' * 100}ends()"
    other = OtherKernel(name, 1, 1e-6)
    found = of("compiled-decode", "decode", batch=4, context=1024)._replace(others=(other,))
    (shown,) = [row[2] for row in gap_tables(found)[1].rows]
    assert (shown.startswith("void begins"), shown.endswith("ends()"), "…" in shown) == (True, True, True)
    assert document(found)["others"][0]["name"] == name
