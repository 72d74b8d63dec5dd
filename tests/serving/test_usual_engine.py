"""The engine of an answer that names none: the rule, chip by question; that it never refuses; that it is one answer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmcost
from llmcost import Options, estimate, load_hardware, load_model
from llmcost.ground.errors import InputError
from llmcost.serving.estimate import under_usual, workload_of
from llmcost.serving.options import WEIGHT_DTYPES
from llmcost.serving.usual_engine import RULES
from llmcost.specs.catalog import load_engine, named_engine, names
from llmcost.specs.optimised import OPTIMISED, parse_engine

MIX = {"prompt": 1024, "output": 128, "concurrency": 8}


@pytest.mark.parametrize(
    ("model", "hw", "asked", "engine"),
    [
        # a batch: no program, but on Apple's chips
        ("llama3-8b", "h100", {}, OPTIMISED),
        ("llama3-8b", "rtx4090", {"output": 100}, OPTIMISED),
        ("llama3-8b", "m4-max", {}, "mlx"),
        ("llama3-8b", "m4-max", {"weight_dtype": "mlx-4bit-g64"}, "mlx"),
        ("llama3-8b", "m4-max", {"weight_dtype": "int4-g128"}, OPTIMISED),  # MLX has no kernels for it
        # a mix: vLLM where it runs
        ("llama3-8b", "h100", MIX, "vllm"),
        ("llama3-8b", "h100", MIX | {"concurrency": None, "rate": 2}, "vllm"),
        ("llama3-8b", "h100", MIX | {"concurrency": None, "requests": 100}, "vllm"),
        ("llama3-8b", "h100", MIX | {"prefill_gpus": 1, "decode_gpus": 1}, "vllm"),
        ("llama3-8b", "rtx4090", MIX, "vllm"),
        ("llama3-8b", "mi300x", MIX, "vllm"),
        ("deepseek-v3", "h200", MIX | {"gpus": 8}, "vllm"),
        ("llama3-8b", "m4-max", MIX, OPTIMISED),  # vLLM does not run there, and MLX is measured in batches
        ("llama3-8b", "trn2", MIX, OPTIMISED),
        # GGUF's formats, whatever is asked
        ("llama3-8b", "rtx4090", {"weight_dtype": "q4_k_m"}, "llama.cpp"),
        ("llama3-8b", "m4-max", {"weight_dtype": "q8_0"}, "llama.cpp"),
        ("llama3-8b", "h100", MIX | {"weight_dtype": "iq4_xs"}, "llama.cpp"),
        ("llama3-8b", "epyc-9654", {"weight_dtype": "q4_k_m"}, "llama.cpp"),
        ("llama3-8b", "rtx4090", {"dtype": "q4_k_m"}, "llama.cpp"),
        ("llama3-8b", "gpu-max-1550", {"weight_dtype": "q4_k_m"}, OPTIMISED),  # no fp16 peak, which llama.cpp needs
        ("mixtral-8x7b", "rtx4090", {"weight_dtype": "q4_k_m", "offload": "experts", "host": "epyc-9654"}, "llama.cpp"),
        ("mixtral-8x7b", "h100", {"weight_dtype": "q4_k_m", "gpus": 8, "ep": 8}, OPTIMISED),  # llama.cpp has no --ep
        ("llama3-8b", "trn2", MIX | {"weight_dtype": "q4_k_m"}, OPTIMISED),
        # other programs' formats are not vLLM's
        ("llama3-8b", "rtx4090", MIX | {"weight_dtype": "exl2-4bit"}, OPTIMISED),  # exllamav2's file has no EXL2
        ("llama3-8b", "h100", MIX | {"weight_dtype": "mlx-4bit-g64"}, OPTIMISED),
        ("llama3-8b", "h100", MIX | {"weight_dtype": "int4-g128"}, "vllm"),
        # tables of kernels hold one law of routing
        ("mixtral-8x7b", "h200", MIX | {"routing": "power-law:1.2"}, OPTIMISED),
        ("mixtral-8x7b", "h200", MIX | {"routing": "uniform"}, "vllm"),
        # what the usual one refuses
        ("deepseek-v3", "h200", MIX | {"gpus": 16, "ep": 8, "all2all": "deepep"}, "vllm"),
        ("deepseek-v3", "h200", MIX | {"gpus": 16, "ep": 8, "all2all": "alltoall"}, OPTIMISED),
        ("mixtral-8x7b", "rtx4090", MIX | {"offload": "experts", "host": "epyc-9654"}, OPTIMISED),
        # a name is a name
        ("llama3-8b", "h100", MIX | {"engine": OPTIMISED}, OPTIMISED),
        ("llama3-8b", "h100", {"engine": "sglang"}, "sglang"),
        ("llama3-8b", None, {}, None),
    ],
)
def test_the_rule(model, hw, asked, engine):
    assert llmcost.estimate(model, hw, **asked).workload.engine == engine


def test_rules_for_decoders_are_for_no_other_model(tmp_path):
    """MLX's and vLLM's errors are of models that give tokens, and have no encoder beside."""
    t5 = {"model_type": "t5", "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    for name, config in (("t5", t5 | {"vocab_size": 128}), ("bert", {"model_type": "bert"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config), "utf-8")
    asked = {"prompt": 64, "output": 16, "concurrency": 4}
    assert llmcost.estimate(tmp_path / "t5", "h100", **asked).workload.engine == OPTIMISED
    assert llmcost.estimate(tmp_path / "t5", "m4-max").workload.engine == OPTIMISED
    assert llmcost.estimate(tmp_path / "bert", "m4-max").workload.engine == OPTIMISED
    assert llmcost.estimate(tmp_path / "bert", "m4-max", weight_dtype="q8_0").workload.engine == "llama.cpp"


def test_rules_name_shipped_engines_and_nothing_is_named_twice():
    assert [rule.engine for rule in RULES] == ["llama.cpp", "exllamav2", "mlx", "vllm"]
    assert {rule.engine for rule in RULES} <= set(names("hardware/engines"))
    assert named_engine(None) is named_engine(OPTIMISED) is None
    assert named_engine("vllm") == load_engine("vllm")


def test_a_profile_of_ones_own_is_asked_without_a_program():
    """What its kernels reached is known; no engine's host and scheduler belong to them."""
    profile = next(iter(sorted((llmcost.specs.catalog.shipped("hardware") / "profiles").glob("*.json"))))
    hw = profile.stem
    assert llmcost.estimate("llama3-8b", hw, **MIX).workload.engine == "vllm"
    assert llmcost.estimate("llama3-8b", hw, profile=str(profile), **MIX).workload.engine == OPTIMISED


CHIPS = [*names("hardware"), *names("hardware/systems"), *names("hardware/cpus")]
questions = st.fixed_dictionaries(
    {},
    optional={
        "weight_dtype": st.sampled_from(WEIGHT_DTYPES),
        "dtype": st.sampled_from(["bf16", "fp16", "fp8", "q4_k_m"]),
        "kv_dtype": st.sampled_from(["fp8", "q8_0"]),
        "gpus": st.sampled_from([2, 8]),
        "tp": st.sampled_from([1, 2]),
        "pp": st.sampled_from([1, 2]),
        "ep": st.sampled_from([1, 4]),
        "all2all": st.sampled_from(["deepep", "alltoall", "gather"]),
        "offload": st.sampled_from(["layers:4", "experts"]),
        "host": st.just("epyc-9654"),
        "routing": st.just("balanced"),
        "chunk": st.just(512),
    },
)


def answer_of(model, hardware, options):
    """The estimate, or the message of its refusal."""
    try:
        return estimate(model, hardware, options)
    except InputError as refusal:
        return str(refusal)


@settings(max_examples=150)
@given(
    model=st.sampled_from(["llama3-8b", "mixtral-8x7b", "gpt-oss-20b"]),
    chip=st.sampled_from(CHIPS),
    asked=questions,
    mix=st.booleans(),
)
def test_no_answer_is_refused_for_an_engine_that_nobody_named(model, chip, asked, mix):
    spec, hardware = load_model(model), load_hardware(chip)
    if mix and spec.generates:
        asked = asked | {"prompt": 200, "output": 20, "concurrency": 4}
    options = Options(**asked)
    usual = answer_of(spec, hardware, options)
    plain = answer_of(spec, hardware, options._replace(engine=OPTIMISED))
    if isinstance(plain, str):
        assert usual == plain  # the same words: nothing is said of the engine that was tried
        return
    assert not isinstance(usual, str)
    engine = usual.workload.engine
    assert answer_of(spec, hardware, options._replace(engine=engine)) == usual  # as if it had been named
    if not hardware.peak or hardware.peak_of(usual.workload.dtype) is not None:  # what has no peak is not asked for
        again = answer_of(spec, hardware, usual.workload)
        assert again.workload == usual.workload  # a filled workload is the same question


def test_options_under_the_usual_engine_stay_what_they_were():
    model, hardware = load_model("llama3-8b"), load_hardware("h100")
    options = Options(**MIX)
    named = under_usual(model, hardware, options)
    assert named == options._replace(engine="vllm")
    assert under_usual(model, hardware, named) == named
    assert under_usual(model, None, options) == options
    assert under_usual(model, hardware, Options()).engine == OPTIMISED
    assert workload_of(model, hardware, Options(), mix=True).engine == "vllm"  # of a simulation, say
    w = workload_of(model, hardware, options)
    assert workload_of(model, hardware, w.without_mix()).engine == "vllm"  # the mix's own, not a batch's


@pytest.mark.parametrize("text", ["optimised", "Optimised", "optimized"])
def test_optimised_is_read_however_it_is_spelled(text):
    assert parse_engine(text) == OPTIMISED


def test_optimised_is_no_program(cli):
    for command, why in (
        ("bench llama3-8b --device cpu", "it is no program that could be started or timed; name one, as vllm"),
        ("train llama3-8b --hw h100 --gpus 8", "this engine serves: it is for llmcost estimate, "),
        ("estimate llama3-8b --hw h100 --launch", "--launch: of which engine? name one with --engine: "),
    ):
        answer = cli(*command.split(), "--engine", OPTIMISED)
        assert answer.code == 2, answer
        assert why in answer.err
    with pytest.raises(InputError, match="is no program"):
        llmcost.launch("llama3-8b", "h100", OPTIMISED)


def test_options_of_a_mix_or_an_engine_need_one_that_is_a_program():
    for engine in (None, OPTIMISED):
        with pytest.raises(InputError, match="of a mix of requests, or of an engine"):
            llmcost.estimate("llama3-8b", "h100", engine=engine, max_num_seqs=4)
        with pytest.raises(InputError, match="of a mix of requests, or of an engine"):
            llmcost.fit("llama3-8b", "m4-max", engine=engine, max_num_seqs=4)
    with pytest.raises(InputError, match="of a mix of requests, or of an engine"):
        llmcost.sweep("llama3-8b", "m4-max", max_num_seqs=[4, 8])
    assert llmcost.estimate("llama3-8b", "h100", max_num_seqs=4, **MIX).workload.engine == "vllm"


# -- what is printed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (
            "estimate llama3-8b --hw h100",
            "Llama 3 8B on NVIDIA H100 SXM5 80GB under an optimised engine: bf16, batch 1, context 8,192",
        ),
        (
            "estimate llama3-8b --hw h100 --prompt 1k --output 128 --concurrency 8",
            "Llama 3 8B on NVIDIA H100 SXM5 80GB under vllm: bf16, 8 requests in flight, 1,024 tokens in and 128 out",
        ),
        (
            "estimate llama3-8b --hw rtx4090 --weight-dtype q4_k_m",
            "Llama 3 8B on NVIDIA GeForce RTX 4090 under llama.cpp: fp16, weights q4_k_m, KV cache fp16, batch 1, ",
        ),
        ("estimate llama3-8b", "Llama 3 8B: bf16, batch 1, context 8,192"),
        ("simulate llama3-8b --hw h100 --rate 2 --requests 20", "Llama 3 8B on NVIDIA H100 SXM5 80GB under vllm: "),
        ("simulate llama3-8b --hw h100 --rate 2,3 --requests 20", "Llama 3 8B under vllm: what requests see"),
        ("compare llama3-8b --hw h100,m4-max", "At batch 1, context 8,192, prompt 8,192 under optimised, mlx; "),
        ("compare llama3-8b --hw h100,h200", "At batch 1, context 8,192, prompt 8,192 under an optimised engine; "),
        ("sweep llama3-8b --hw h100,m4-max --batch 1,2", "Llama 3 8B under optimised, mlx: 4 combinations"),
        ("fit llama3-8b --hw h100", "Llama 3 8B under an optimised engine: GPUs that hold it at batch 1, "),
        (
            "fit llama3-8b --hw h100,m4-max --prompt 1k --output 128 --concurrency 8 --weight-dtype bf16",
            "Llama 3 8B under vllm, optimised: GPUs that hold it at batch 1, context 1,152",
        ),
        ("plan llama3-8b --hw h100 --gpus 1 --serve", "Llama 3 8B on 1 × NVIDIA H100 SXM5 80GB under vllm, bf16 "),
        ("ops llama3-8b --hw h100", "Llama 3 8B under an optimised engine, prefill: FLOPs of every "),
        ("explain llama3-8b kv_cache.bytes --hw m4-max", "kv_cache.bytes under mlx: "),
        ("explain llama3-8b kv_cache.bytes", "kv_cache.bytes: "),
    ],
)
def test_the_first_line_names_the_engine(cli, arguments, first):
    answer = cli(*arguments.split())
    assert answer.code == 0, answer.err
    assert answer.out.startswith(first)


def test_the_engine_is_named_in_chinese_too(cli):
    batch, mix = ("llama3-8b", "--hw", "h100"), ("--prompt", 1024, "--output", 128, "--concurrency", 8)
    said = cli("estimate", *batch, "--lang", "zh").out.splitlines()
    assert "，优化引擎：bf16" in said[0]
    assert said[-1].endswith("不指定程序；此处常用的有：--engine vllm, sglang, trtllm")
    said = cli("estimate", *batch, *mix, "--lang", "zh").out.splitlines()
    assert "，引擎 vllm" in said[0]
    assert said[-1].endswith("默认 vllm；换一个：--engine sglang；不指定程序：--engine optimised")


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        ("h100", "engine    none in particular; of those that people run here: --engine vllm, sglang, trtllm"),
        ("mi300x", "engine    none in particular; of those that people run here: --engine vllm, sglang"),
        ("rtx4090", None),
        ("m4-max", "engine    default: mlx; another: --engine llama.cpp; none in particular: --engine optimised"),
        ("h100 --engine vllm", None),
        ("h100 --engine optimised", None),
        (
            "h100 --prompt 1k --output 128 --concurrency 8",
            "engine    default: vllm; another: --engine sglang; none in particular: --engine optimised",
        ),
    ],
)
def test_one_line_says_what_else_may_be_asked(cli, arguments, note):
    said = cli("estimate", "llama3-8b", "--hw", *arguments.split()).out.splitlines()
    found = [line for line in said if line.startswith("engine ")]
    assert found == ([] if note is None else [note])


def test_a_run_says_so_too(cli):
    asked = ("simulate", "llama3-8b", "--hw", "h100", "--rate", 2, "--requests", 20)
    assert "engine    default: vllm; another: --engine sglang; " in cli(*asked).out
    assert "default: vllm" not in cli(*asked, "--engine", "vllm").out


def test_documents_hold_the_name(cli):
    def document(*arguments):
        return json.loads(cli(*arguments, "--json").out)

    batch, mix = ("llama3-8b", "--hw", "h100"), ("--prompt", 1024, "--output", 128, "--concurrency", 8)
    assert document("estimate", *batch)["workload"]["engine"] == OPTIMISED
    assert "launch" not in document("estimate", *batch)
    served = document("estimate", *batch, *mix)
    assert served["workload"]["engine"] == "vllm"
    assert served["launch"]["command"].startswith("vllm serve ")
    assert served == document("estimate", *batch, *mix, "--engine", "vllm")
    assert document("estimate", "llama3-8b")["workload"]["engine"] is None
    entries = document("compare", "llama3-8b", "--hw", "h100,m4-max")["entries"]
    assert [each["workload"]["engine"] for each in entries] == [OPTIMISED, "mlx"]
    assert {each["engine"] for each in document("fit", *batch, *mix)["offers"]} == {"vllm"}
    assert document("plan", *batch, "--gpus", 1, "--serve")["engine"] == "vllm"
    ran = document("simulate", *batch, "--rate", 2, "--requests", 20)
    assert (ran["engine"], ran["workload"]["engine"]) == ("vllm", "vllm")
    rows = document("sweep", "llama3-8b", "--hw", "h100,m4-max", "--batch", "1")["rows"]
    assert [row["engine"] for row in rows] == [OPTIMISED, "mlx"]
    assert "engine" not in document("sweep", *batch, "--batch", "1,2")["rows"][0]  # all alike
    assert document("explain", "llama3-8b", "kv_cache.bytes", "--hw", "m4-max")["engine"] == "mlx"


def test_lines_that_start_the_default_engine(cli):
    asked = ("estimate", "llama3-8b", "--hw", "h100", "--prompt", 1024, "--output", 128, "--concurrency", 8)
    assert cli(*asked, "--launch") == cli(*asked, "--launch", "--engine", "vllm")
    assert cli(*asked, "--log") == cli(*asked, "--log", "--engine", "vllm")
    ran = ("simulate", "llama3-8b", "--hw", "h100", "--rate", 2)
    assert cli(*ran, "--launch") == cli(*ran, "--launch", "--engine", "vllm")
    planned = ("plan", "llama3-8b", "--hw", "h100", "--gpus", 1, "--serve")
    assert cli(*planned, "--launch") == cli(*planned, "--launch", "--engine", "vllm")
    assert (
        cli("fit", "llama3-8b", "--hw", "m4-max", "--launch", "--weight-dtype", "fp16")
        .out.splitlines()[1]
        .startswith("mlx_lm.server ")
    )


def test_a_mix_without_a_name_is_the_same_in_every_command():
    asked = {"prompt": 1024, "output": 128, "concurrency": 64}
    named = llmcost.estimate("llama3-8b", "h100", engine="vllm", **asked)
    assert llmcost.estimate("llama3-8b", "h100", **asked) == named
    (entry,) = llmcost.compare("llama3-8b", "h100", **asked).entries
    assert entry.estimate == named
    path = "serving.expected.tpot_seconds"
    (row,) = llmcost.sweep("llama3-8b", "h100", metrics=[path], **asked).rows()
    assert row[path] == pytest.approx(named.serving.expected.tpot_seconds)
    (found,) = llmcost.explain("llama3-8b", path, "h100", **asked).explanations
    assert found.value == pytest.approx(named.serving.expected.tpot_seconds)
    offers = [
        llmcost.fit("llama3-8b", "h100", gpus=1, weight_dtype="bf16", engine=engine, **asked)
        for engine in (None, "vllm")
    ]
    assert offers[0] == offers[1]
    runs = [llmcost.simulate("llama3-8b", "h100", engine=engine, requests=100, **asked) for engine in (None, "vllm")]
    assert runs[0] == runs[1]
    plans = [llmcost.plan_serving("llama3-8b", "h100", gpus=2, engine=engine) for engine in (None, "vllm")]
    assert plans[0].best == plans[1].best
    steps = [llmcost.StepTime("llama3-8b", "h100", engine=engine) for engine in (None, "vllm")]
    assert steps[0](decoding=8, context=1000) == steps[1](decoding=8, context=1000)


def test_a_plan_takes_no_engine_that_lacks_what_is_held():
    """llama.cpp has no --ep, vLLM sends no tokens by NCCL's all-to-all: neither was named, so neither refuses."""

    def engine(**asked):
        return llmcost.plan_serving("mixtral-8x7b", "h200", gpus=8, **asked).question.workload.engine

    assert engine(weight_dtype="q4_k_m") == "llama.cpp"
    assert engine(weight_dtype="q4_k_m", ep=8) == OPTIMISED
    assert engine(all2all="deepep") == "vllm"
    assert engine(all2all="alltoall") == OPTIMISED
    with pytest.raises(InputError, match="--all2all alltoall: vLLM"):
        engine(all2all="alltoall", engine="vllm")


def test_optimised_is_listed_and_offered(cli):
    listed = json.loads(cli("engines", "--json").out)["engines"]
    assert (listed[0]["name"], listed[0]["title"]) == (OPTIMISED, "none in particular: a well-optimised one")
    assert listed[0]["error"] is not None
    assert cli("engines", "optimized").out.startswith("none in particular: a well-optimised one")
