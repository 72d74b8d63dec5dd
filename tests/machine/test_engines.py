"""What engines do in a way of their own: unpacked weights, unfused scores, pieces of a prompt, and what they lack."""

import re
from itertools import product

import pytest

from llmcost import Options, estimate, load_hardware, load_model
from llmcost.accuracy import fit_defaults
from llmcost.accuracy.bands import by_kind, with_nameless
from llmcost.accuracy.cases import file_of, load_cases
from llmcost.accuracy.score import check
from llmcost.ground.errors import InputError, SpecError
from llmcost.machine.chip import Chip, chip_of
from llmcost.machine.efficiency import Efficiency, Kernel, from_figures
from llmcost.machine.engine_names import unknown_names
from llmcost.machine.timing import kernel_seconds
from llmcost.model.operators import Attention, Gemm
from llmcost.parallel.pipeline import Stages
from llmcost.search.fit import fit
from llmcost.specs.catalog import load_engine, names, shipped
from llmcost.specs.optimised import OPTIMISED

CHIP = Chip(1e12, 1e12, 1e12, 1e9, 1e9)
LLAMA = load_model("llama3-8b")
VENDORS = {"NVIDIA": "rtx4080", "AMD": "mi300x", "Apple": "m3-max", "Intel": "arc-b580"}
FORMATS = ("fp16", "q4_k_m", "int4-g128-zp", "int8", "mlx-4bit-g64", "mlc-q4", "int4-g32-bf16-zp")


def seconds(op, kernel):
    return kernel_seconds([op], CHIP, Efficiency({op.kind: kernel}, ""))[0]


@pytest.mark.parametrize(("rows", "unpacked"), [(32, False), (33, True)])
def test_weights_that_are_unpacked_first_are_written_and_read_in_16_bits(rows, unpacked):
    op = Gemm("up", "mlp", 1, rows, 1, 4096, 1024, False, False, 0.5, 2)
    plain = Kernel(0.5, 0.5, 0)
    extra = 2 * 2 * 4096 * 1024 / (1e9 * 0.5)  # two bytes a weight, twice, at half of the bandwidth
    assert seconds(op, plain._replace(unpacked_above=32)) == pytest.approx(seconds(op, plain) + unpacked * extra)


def test_attention_that_is_not_fused_computes_every_pair_and_moves_its_scores():
    """Four heads of 64 over 100 tokens: 100 · 100 pairs each, 4 · 64 FLOPs and 16 bytes a pair."""
    sizes = {"b": 1, "s": 100, "c": 100, "a": 4, "d": 64, "dv": 64, "cached": 0, "streamed": 0, "w": 0}
    kind = {"span": "all", "sinks": False, "shared": False, "kv_heads": 4, "decode": False, "latent": False}
    op = Attention("attention", "attention", 1, **sizes, Bx=0, Bkv=0, **kind)
    pairs = 4 * 100 * 100
    assert seconds(op, Kernel(0.5, 0.8, 0, pair_bytes=16)) == pytest.approx(
        pairs * 4 * 64 / (1e12 * 0.5) + pairs * 16 / (1e9 * 0.8)
    )


def test_a_card_computes_no_more_than_its_power_pays_for():
    """An RTX 4080 has 320 W; at 4 pJ a FLOP that is 80 TFLOPS, less than nine tenths of its 97.5."""
    card = load_hardware("rtx4080")
    figures = {**fit_defaults.FIGURES, "gemm.compute": 0.9, "flop.joules": 4e-12}
    reached = from_figures(figures, card, "bf16", "bf16", "graph").kernels["gemm"].compute
    assert reached * card.peak["bf16"].value == pytest.approx(320 / 4e-12)
    idle = from_figures({**figures, "flop.joules": 1e-12}, card, "bf16", "bf16", "graph").kernels["gemm"].compute
    assert idle == 0.9


def test_stages_are_empty_before_the_next_batch_of_pieces_begins():
    """Two stages of a second each: eight pieces take 9 s one behind the other, 10 s in two batches of four."""
    stages = Stages(0, 2, 0, 0, 2, 0.5)
    assert stages.one_behind_the_other(8) == 2 + 7
    assert stages.one_behind_the_other(8, 4) == 2 * (2 + 3)
    assert stages.one_behind_the_other(8, 8) == stages.one_behind_the_other(8)


def test_fp16_is_added_up_in_fp16_at_best_where_that_is_faster():
    """Of the RTX 4090 twice as fast as in fp32 (330.3 TFLOPS), of an L40S as fast."""
    flops = estimate(LLAMA, load_hardware("rtx4090"), Options(dtype="fp16", prompt=4096)).flops.prefill.causal
    best = {}
    for gpu, dtype in product(("rtx4090", "l40s"), ("fp16", "bf16")):
        prompt = estimate(LLAMA, load_hardware(gpu), Options(dtype=dtype, prompt=4096)).prefill
        best[gpu, dtype] = flops / prompt.limit.seconds
    assert best["rtx4090", "fp16"] == pytest.approx(660.6e12 / 2)
    assert best["rtx4090", "bf16"] == pytest.approx(165e12)
    assert best["l40s", "fp16"] == best["l40s", "bf16"]


@pytest.mark.parametrize("engine", names("hardware/engines"))
def test_no_engine_is_expected_to_be_faster_than_the_limit(engine):
    spec = load_engine(engine)
    asked = 0
    for gpu in (load_hardware(gpu) for vendor, gpu in VENDORS.items() if vendor in spec.vendors):
        for weights in filter(spec.takes, FORMATS):
            e = estimate(LLAMA, gpu, Options(engine=engine, weight_dtype=weights, prompt=1000, output=100, batch=4))
            for part in (e.prefill, e.decode):
                assert part.expected[0] >= part.limit[0], (engine, gpu.name, weights)
            asked += 1
    assert asked


@pytest.mark.parametrize(
    ("engine", "model", "degrees", "said"),
    [
        (
            "exllamav2",
            "llama3-8b",
            {"tp": 2},
            "--tp 2: ExLlamaV2 0.0.8 of 2023 (--engine exllamav2) has no --tp, but --pp",
        ),
        ("gpt-fast", "llama3-8b", {"pp": 2}, "--pp 2: gpt-fast 2024 (--engine gpt-fast) has no --pp, but --tp"),
        ("vllm-0.6", "mixtral-8x7b", {"tp": 2, "ep": 2}, "has no --ep, but --tp and --pp"),
    ],
)
def test_a_layout_that_an_engine_lacks_is_refused_with_those_that_it_has(engine, model, degrees, said):
    with pytest.raises(InputError) as refused:
        estimate(load_model(model), load_hardware("h100"), Options(engine=engine, **degrees))
    assert said in str(refused.value)


def test_an_empty_list_of_layouts_is_refused(tmp_path):
    """It would say that an engine splits nothing, and be heeded as if it were not there."""
    own = tmp_path / "own.yaml"
    vllm = (shipped("hardware/engines") / "vllm.yaml").read_text(encoding="utf-8")
    own.write_text(vllm.replace("launch: {", "layouts: {value: [], source: docs}\nlaunch: {"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"own\.yaml:7: layouts\.value: expected a list of one or more, got none"):
        load_engine(str(own))


def test_an_engine_with_stages_alone_gives_each_of_several_gpus_layers():
    both = estimate(LLAMA, load_hardware("h100"), Options(engine="exllamav2", gpus=2)).workload
    assert (both.tp, both.pp) == (1, 2)


@pytest.mark.parametrize(
    ("engine", "gpu", "weights", "said"),
    [
        ("mlx", "rtx4090", "fp16", ["runs on GPUs of Apple", "RTX 4090", "llama.cpp", "exllamav2"]),
        ("vllm", "m2-ultra", "fp16", ["not on Apple M2 Ultra", "llama.cpp", "mlx"]),
        ("llama.cpp", "rtx4090", "int4-g128-zp", ["no kernels for int4-g128-zp", "q*"]),
        ("mlx", "m2-ultra", "q4_k_m", ["no kernels for q4_k_m", "mlx-*"]),
        ("trtllm", "rtx4090", "q4_k_m", ["no kernels for q4_k_m", "int4*"]),
        ("trtllm", "t4", "fp16", ["does not run on Turing, as NVIDIA T4 is", "llama.cpp", "vllm"]),
        ("trtllm", "v100", "fp16", ["does not run on Volta", "vllm-0.6"]),
    ],
)
def test_an_engine_that_lacks_a_chip_or_a_format_names_what_would_do(engine, gpu, weights, said):
    with pytest.raises(InputError) as refused:
        estimate(LLAMA, load_hardware(gpu), Options(engine=engine, weight_dtype=weights))
    assert all(word in str(refused.value) for word in said)


@pytest.mark.parametrize(
    ("said", "mistyped", "problem"),
    [
        ("host.step:", "host.stp:", "figures.host.stp: not one that predictions take; nearest: host.step"),
        (
            "attention.memory:",
            "attention.memory@Hoper:",
            "figures.attention.memory@Hoper: 'Hoper' is no family of GPUs",
        ),
        ("vendors: [NVIDIA", "vendors: [Nvidia", "vendors: 'Nvidia': no GPU is of this vendor; nearest: NVIDIA"),
        ("launch:", "kernels: vlm\nlaunch:", "kernels: 'vlm': there are kernel tables of nccl, sglang, trtllm, vllm"),
        ("launch:", "formats: [fp61]\nlaunch:", "formats: 'fp61': no format of weights has such a name; nearest: fp6"),
        (
            "launch:",
            "not_on: {value: [Volat], source: docs}\nlaunch:",
            "not_on: 'Volat': no GPU is of this architecture; nearest: Volta",
        ),
        ("{value: 256,", '{value: 256, gpus: ["a10o-*"],', "max_num_seqs: 'a10o-*': no GPU has such a name"),
    ],
)
def test_a_name_that_is_not_known_is_refused_in_an_engines_file(said, mistyped, problem, tmp_path):
    own = tmp_path / "own.yaml"
    vllm = (shipped("hardware/engines") / "vllm-0.6.yaml").read_text(encoding="utf-8")
    own.write_text(vllm.replace(said, mistyped, 1), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(problem)):
        estimate(LLAMA, load_hardware("h100"), Options(engine=str(own)))


def test_another_generation_and_a_vendor_of_ones_own_may_be_unknown():
    own = load_engine("vllm-0.6")._replace(not_on=("RDNA 9",), vendors=("NVIDIA", "Example Corp"))
    assert not list(unknown_names(own))


@pytest.mark.parametrize("engine", names("hardware/engines"))
def test_shipped_engines_name_nothing_that_is_unknown(engine):
    assert not list(unknown_names(load_engine(engine)))


def test_an_engine_says_which_batches_its_graphs_are_captured_for(cli):
    sglang, later = load_engine("sglang"), load_engine("sglang-0.5.23")
    gpus = [load_hardware(name) for name in ("rtx4080", "rtx5090", "l40s", "h100-sxm", "b200")]
    assert [sglang.default("captures", gpu) for gpu in gpus] == [8, 24, 32, 256, 512]  # 16, 32, 48, 80 and 180 GB
    assert [later.default("captures", gpu) for gpu in gpus] == [8, 48, 32, 256, 512]
    assert load_engine("lmdeploy").default("captures", gpus[0]) is None  # it starts kernels one by one
    assert re.search(r"\ncaptures +128 +streams ", cli("engines", "trtllm").out)


def test_vllm_takes_a100s_alone_for_small_by_their_name():
    """An A800 has as much memory, and another name (get_batch_defaults)."""
    defaults = [load_engine("vllm").default("chunk", load_hardware(gpu)) for gpu in ("a100-80gb-sxm", "a800-80gb-sxm")]
    assert defaults == [2048, 8192]


def test_llama_cpp_computes_in_fp16_unless_told_otherwise():
    card = load_hardware("rtx4090")
    asked = [Options(engine="llama.cpp", weight_dtype="q4_k_m", dtype=dtype) for dtype in (None, "bf16")]
    assert [estimate(LLAMA, card, each).workload.dtype for each in asked] == ["fp16", "bf16"]
    assert estimate(LLAMA, card, Options(weight_dtype="q4_k_m", engine=OPTIMISED)).workload.dtype == "bf16"


def test_macs_have_a_prediction_at_the_rate_of_their_vector_units():
    of = Options(engine="llama.cpp-b2900", weight_dtype="q4_k_m", prompt=512)
    e = estimate(LLAMA, load_hardware("m2-ultra"), of)
    assert chip_of(load_hardware("m2-ultra"), "fp16", "fp16").peak == 27.2e12
    assert e.prefill.expected.tokens_per_s == pytest.approx(994, rel=0.3)  # measured in May 2024: 994 tokens a second


def test_the_committed_figures_of_engines_are_what_the_fit_finds():
    for engine, figures in fit_defaults.fitted_engines().items():
        committed = load_engine(engine).figures
        assert {name: committed[name] for name in figures} == {
            name: pytest.approx(value, rel=0.01) for name, value in figures.items()
        }, engine


def test_runs_of_optimised_engines_score_their_own_name_and_no_name():
    cases = [case for case in load_cases("inference") if case.source.name == "gpt-fast"]
    assert {file_of(case) for case in cases} == {"gpt-fast"}
    assert {file_of(case._replace(nameless=True)) for case in cases} == {""}
    scored = by_kind(with_nameless(check(cases)))
    assert {each.of[1] for each in scored} == {"gpt-fast", OPTIMISED}


@pytest.mark.parametrize(
    ("engine", "gpu", "formats"),
    [
        ("mlx", "m2-ultra", ["fp16", "mlx-8bit-g64", "mlx-4bit-g64"]),
        ("llama.cpp", "rtx4090", ["fp16", "q8_0", "q4_k_m"]),
    ],
)
def test_fit_tries_what_the_engine_has_kernels_for(engine, gpu, formats):
    """8.03 billion parameters at two bytes are 16.1 GB: a single one of these GPUs holds them in any format."""
    offers = fit(LLAMA, [load_hardware(gpu)], Options(engine=engine), gpus=[1]).offers
    assert [offer.weight_dtype for offer in offers] == formats
    assert all(offer.fits for offer in offers)


LIKE = """
name: mine
title: Mine
version: "1"
url: https://example.com/mine
like: vllm
vendors: [NVIDIA]
launch: {value: stream, source: own}
figures:
  host.request: {value: 0.5, source: own}
chunk:
  - {value: 4096, source: own}
sources:
  own: {title: "Mine, README", url: "https://example.com/mine"}
"""


def test_a_file_that_is_like_another_engine_says_only_what_is_different(tmp_path):
    (tmp_path / "mine.yaml").write_text(LIKE, "utf-8")
    mine, base = load_engine(str(tmp_path / "mine.yaml")), load_engine("vllm")
    assert mine.figures == base.figures | {"host.request": 0.5}
    assert [each.value for each in mine.chunk] == [4096]
    assert (mine.launch, mine.vendors, mine.aliases) == ("stream", ("NVIDIA",), ())
    assert (mine.kernels, mine.max_num_seqs, mine.log) == (base.kernels, base.max_num_seqs, base.log)
    assert mine.sources.keys() == base.sources.keys() | {"own"}
    told = [name for name in mine.stated if name.startswith(("chunk", "launch", "figures.host.request"))]
    assert {mine.stated[name].source for name in told} == {"own"}  # nothing of the other's stands beside them
    assert {each.source for each in mine.stated.values()} <= mine.sources.keys()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("like: vllm", "like: vlm", "like: unknown engine 'vlm'; nearest: vllm"),
        ("like: vllm", "like: vllm-0.33", "'vllm-0.33': name a shipped engine that says everything itself"),
        ("like: vllm", "like: mine.yaml", "like: unknown engine 'mine.yaml'"),  # itself, were it read
        ("own", "cli", "sources.cli: the engine vllm has a source of this name: take another one"),
        ("0.5, source: own", "0.5, source: other", "figures.host.request.source: 'other' is not one of this file's"),
    ],
)
def test_what_a_file_is_like_is_a_shipped_engine_and_its_sources_are_its_own(tmp_path, monkeypatch, old, new, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(LIKE.replace(old, new), "utf-8")
    with pytest.raises(SpecError, match=re.escape(problem)) as refusal:
        load_engine(str(tmp_path / "mine.yaml"))
    assert refusal.value.line


def test_a_file_that_is_like_another_engine_needs_a_name_alone(cli, tmp_path):
    """`2e-5` is no number to YAML 1.1, but it is how `llmcost engines` and everybody else write one."""
    path = tmp_path / "mine.yaml"
    notes = "sources: {own: {title: runs of my own}}\nfigures: {host.sequence: {value: 2e-5, source: own}}\n"
    path.write_text(f"name: mine\nlike: vllm\n{notes}", "utf-8")
    mine, base = load_engine(str(path)), load_engine("vllm")
    assert mine.figures == base.figures | {"host.sequence": 2e-5}
    assert mine._replace(name="", like="", sources={}, stated={}, figures={}) == base._replace(
        name="", aliases=(), sources={}, stated={}, figures={}
    )
    assert "engine mine, sound" in cli("check", str(path)).out
    assert "vLLM 0.19 (mine)" in cli("engines", str(path)).out
    path.write_text("name: mine\nlike: vlm\n", "utf-8")
    assert "mine.yaml:2: like: unknown engine 'vlm'; nearest: vllm" in cli("check", str(path)).out
