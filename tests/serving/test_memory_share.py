"""The share of the memory that an engine may use: each engine sets one of three, and SGLang computes its own."""

import numpy as np
import pytest

from llmcost.ground.errors import InputError
from llmcost.parallel.layout import Layout
from llmcost.search.question import ask_serving
from llmcost.search.serving_layouts import placed
from llmcost.serving.estimate import estimate
from llmcost.serving.launch import log_of
from llmcost.serving.launch_figures import Asked
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_engine, load_hardware, load_model
from llmcost.specs.engine import engine_from
from llmcost.specs.reader import SpecError, parse_yaml

MIB, GIB = 2**20, 2**30
LLAMA, DEEPSEEK = load_model("llama3.1-8b"), load_model("deepseek-r1")
H100, H200, B200, A10 = (load_hardware(name) for name in ("h100-sxm", "h200", "b200", "a10"))


def memory_of(model, hardware, engine="sglang", **options):
    return estimate(model, hardware, Options(engine=engine, **options)).memory


def share(reserved_mib, hardware, times=1):
    """1 less what is reserved over the memory, to a thousandth."""
    usable = hardware.usable_memory.value
    return round(1 - reserved_mib * MIB / usable, 3) * times


@pytest.mark.parametrize(
    ("model", "hardware", "options", "reserved"),
    [  # MiB: 512, 1.5 a token of the chunk, 2 a captured batch, 128 a GPU; SGLang 0.5.9, _handle_gpu_memory_settings
        (LLAMA, H100, {}, 512 + 1.5 * 8192 + 2 * 256 + 128),
        (LLAMA, H100, {"chunk": 2048}, 10 * 1024),  # at least, above 60 GiB: 512 + 3072 + 512 + 128 is less
        (LLAMA, H100, {"tp": 4, "gpus": 4}, 512 + 1.5 * 8192 + 2 * 512 + 4 * 128),
        (LLAMA, A10, {"context": 512}, 512 + 1.5 * 2048 + 2 * 24 + 128),  # 4.2 GiB: below 60 GiB nothing is the least
        (LLAMA, A10, {"context": 512, "chunk": 512}, 512 + 1.5 * 2048 + 2 * 24 + 128),  # 2,048 tokens at least
        (LLAMA, A10, {"context": 512, "tp": 4}, 512 + 1.5 * 2048 + 2 * 80 + 4 * 128),
        (LLAMA, A10, {"context": 512, "tp": 2, "pp": 2}, 512 + 1.5 * 2048 + 2 * 24 + 4 * 128),
        (DEEPSEEK, B200, {"tp": 8}, 512 + 1.5 * 16384 + 2 * 512 + 8 * 128),
        (DEEPSEEK, H200, {"tp": 8, "speculate": 1, "concurrency": 4, "output": 9}, 512 + 12288 + 1024 + 1024 + 2048),
        (DEEPSEEK, H200, {"dp": 8, "ep": 8}, 512 + 12288 + 1024 + 1024 + 512 * 8 * 4.5),
    ],
)
def test_sglang_leaves_what_its_rule_says(model, hardware, options, reserved):
    found = memory_of(model, hardware, **options)
    assert found.mem_fraction_static == pytest.approx(share(reserved, hardware), abs=1e-12)


@pytest.mark.parametrize(
    ("model", "options", "reserved"),
    [  # 0.5.23: prompts' graphs too, 50 lengths up to 4,096 and one for every 512 tokens from there on
        (LLAMA, {}, 512 + 1.5 * 8192 + 2 * 256 + 128 + 8 * (50 + 8)),
        (LLAMA, {"chunk": 16384}, 512 + 1.5 * 16384 + 2 * 256 + 128 + 8 * (50 + 24)),
        (LLAMA, {"max_num_seqs": 64}, 512 + 1.5 * 8192 + 2 * 64 + 128 + 8 * 58),  # graphs of no more than may run
        (LLAMA, {"cuda_graphs": False}, 512 + 1.5 * 8192 + 128),
        (LLAMA, {"pp": 2}, 512 + 1.5 * 8192 + 2 * 256 + 2 * 128),  # in stages, prompts have no graphs
        (DEEPSEEK, {"tp": 8}, 512 + 1.5 * 8192 + 2 * 512 + 8 * 128 + 1536),  # of latents, prompts' graphs take 1.5 GiB
        (  # beside them 1 GiB of DeepEP's in prompts' graphs, 2 in decode's, and 4.5 MiB a captured batch and rank
            *(DEEPSEEK, {"dp": 8, "ep": 8, "all2all": "deepep"}),
            512 + 1.5 * 8192 + 2 * 512 + 8 * 128 + 1536 + 1024 + 2048 + 4.5 * 512 * 8,
        ),
    ],
)
def test_sglang_0_5_23_has_a_rule_of_its_own(model, options, reserved):
    found = memory_of(model, H200, engine="sglang-0.5.23", **options)
    assert found.mem_fraction_static == pytest.approx(share(reserved, H200), abs=1e-12)


def test_amds_gpus_have_a_smaller_share_for_long_requests():
    card = load_hardware("mi300x")
    short, long = (memory_of(LLAMA, card, context=each).mem_fraction_static for each in (8192, 8193))
    assert long == pytest.approx(0.85 * short)


def test_weights_and_cache_take_their_share_of_what_the_runtime_leaves():
    """KV tokens: the share of what the runtime leaves, less weights, in pages of one token of 128 KiB."""
    for options in ({}, {"mem_fraction_static": 0.7}):
        found = estimate(LLAMA, H100, Options(engine="sglang", context=8192, **options))
        m = found.memory
        room = m.mem_fraction_static * (m.usable_bytes - m.runtime_bytes) - m.weights_bytes
        lines = log_of(load_engine("sglang"), Asked(LLAMA, H100, found.workload, m, "x"))
        assert f"max_total_num_tokens={int(room // 131072)}" in lines[-1].line
        beside = m.usable_bytes - m.runtime_bytes - m.weights_bytes - m.activation_bytes - m.set_aside_bytes
        assert beside == pytest.approx(room)


def test_a_share_of_the_users_own_wins():
    by_rule = memory_of(LLAMA, H100)
    told = memory_of(LLAMA, H100, memory_utilization=0.9)
    assert told.mem_fraction_static is None
    assert told.set_aside_bytes == pytest.approx(0.1 * told.usable_bytes, rel=1e-6)
    assert memory_of(LLAMA, H100, mem_fraction_static=0.6).set_aside_bytes > by_rule.set_aside_bytes


def test_a_share_that_leaves_too_little_for_activations_leaves_none_free():
    m = memory_of(LLAMA, H100, mem_fraction_static=1)
    assert m.set_aside_bytes == 0


def test_the_more_a_server_reserves_the_less_it_runs():
    shares = [memory_of(LLAMA, H100, chunk=chunk).mem_fraction_static for chunk in (8192, 16384, 32768)]
    assert shares == sorted(shares, reverse=True)
    assert len({*shares}) == 3


def test_ranks_that_share_experts_have_a_chunk_together():
    of = Options(engine="sglang", dp=8, ep=8)
    assert estimate(DEEPSEEK, H200, of).workload.chunk == 8192 // 8
    assert estimate(DEEPSEEK, H200, of._replace(chunk=4096)).workload.chunk == 4096  # of each, where it is said
    assert estimate(DEEPSEEK, H200, of._replace(engine="vllm")).workload.chunk == 8192


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"engine": "trtllm", "memory_utilization": 0.8},
            "--memory-utilization 0.8: TensorRT-LLM (--engine trtllm) has no such share; give --free-memory-fraction",
        ),
        ({"engine": "lmdeploy", "memory_utilization": 0.8}, "give --free-memory-fraction"),
        ({"engine": "lmdeploy", "mem_fraction_static": 0.8}, "give --free-memory-fraction"),
        ({"engine": "vllm", "mem_fraction_static": 0.8}, "no such share; give --memory-utilization"),
        (
            {"mem_fraction_static": 0.8, "memory_utilization": 0.9},
            "--memory-utilization 0.9: --mem-fraction-static 0.8 says it in another way; give one of them",
        ),
        ({"free_memory_fraction": 0.8, "memory_utilization": 0.9}, "give one of them"),
        ({"mem_fraction_static": 1.5}, "--mem-fraction-static 1.5: a share"),
    ],
)
def test_a_share_that_the_engine_does_not_set_is_refused(options, problem):
    with pytest.raises(InputError) as refusal:
        estimate(LLAMA, H100, Options(**options))
    assert problem in str(refusal.value)


RULE = (
    "like: sglang\nvendors: [NVIDIA]\nlaunch: {value: graph, source: own}\nsources:\n  own: {title: runs of my own}\n"
)
HEAD = 'name: mine\ntitle: Mine\nversion: "1"\nurl: https://example.org\n'


def engine_of(rule):
    return engine_from(parse_yaml(HEAD + RULE + "mem_fraction_static:\n" + rule, "mine.yaml"), load_engine)


def test_an_engine_of_ones_own_may_have_a_rule():
    engine = engine_of("  reserve: [{value: 7 GiB, source: own}]\n")
    assert [term.bytes for term in engine.mem_fraction_static.reserve] == [7 * GIB]
    assert engine.stated["mem_fraction_static.reserve"].source == "own"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("  reserve: [{value: 7 GiB}]\n", "mem_fraction_static.reserve.0.source: this field is missing"),
        ("  reserve: [{value: 7 GiB, source: none}]\n", "'none' is not one of this file's sources"),
        ("  reserve: [{value: 7, source: own}]\n", "mem_fraction_static.reserve.0.value"),
        ("  reserve: [{value: 7 apples, source: own}]\n", "mem_fraction_static.reserve.0.value"),
        ("  reserve: [{value: 7 GiB, each: [layers], source: own}]\n", "reserve.0.each.0: must be 'chunk'"),
        ("  reserve: []\n", "mem_fraction_static.reserve"),
        ("  share: 0.8\n", "mem_fraction_static.share: not a field"),
    ],
)
def test_a_rule_that_says_nothing_understood_is_refused_with_its_field(rule, problem):
    with pytest.raises(SpecError) as refusal:
        engine_of(rule)
    assert problem in str(refusal.value)


def test_a_factor_by_the_size_of_a_tower_holds_where_there_is_one(tmp_path):
    """Written without `when: [tower]` too."""
    tower = "{layers: 9999, hidden_size: 9999, slope: 1, least: 0.8, most: 9}"
    rule = f"  reserve: [{{value: 8 GiB, source: own}}]\n  times: [{{value: 1, tower: {tower}, source: own}}]\n"
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + RULE + "mem_fraction_static:\n" + rule, "utf-8")
    assert memory_of(LLAMA, H100, str(path)).mem_fraction_static == share(8 * 1024, H100)


def test_a_plan_finds_the_share_of_every_layout():
    """Layouts are evaluated together, in arrays: each has the share that an estimate of it alone has."""
    question = ask_serving(DEEPSEEK, H200, 8, Options(engine="sglang", prompt=1000, output=200))
    degrees = ("tp", "pp", "dp", "ep")
    layouts = [(8, 1, 1, 8), (1, 1, 8, 8), (2, 1, 4, 8), (4, 2, 1, 1)]
    group = [Layout(**dict(zip(degrees, each, strict=True))) for each in layouts]
    _, w, memory = placed(question, group, np.ones((len(group), 1)))
    for at, layout in enumerate(layouts):
        of = dict(zip(degrees, layout, strict=True))
        alone = estimate(DEEPSEEK, H200, Options(engine="sglang", context=1200, prompt=1000, **of))
        assert memory.mem_fraction_static[at, 0] == alone.memory.mem_fraction_static
        assert w.chunk[at, 0] == alone.workload.chunk


def test_what_does_not_fit_by_the_engines_own_rule_may_by_a_share_that_is_asked_for():
    """DeepSeek-V3 in fp8 on four GB200: 169 of 199 GB are weights, and SGLang's rule gives 0.859 of them."""
    from llmcost.search.remedies import remedies

    model, gb200 = load_model("deepseek-v3"), load_hardware("gb200")
    asked = Options(engine="sglang", tp=4, gpus=4, prompt=1024, output=1024, concurrency=8)
    found = estimate(model, gb200, asked)
    assert found.memory.fits is False
    first = remedies(model, gb200, asked, found)[0]
    assert first.options == asked._replace(mem_fraction_static=0.88)
    assert estimate(model, gb200, first.options).memory.fits


@pytest.mark.parametrize("engine", ["sglang", "sglang-0.5.23"])
def test_the_share_of_a_model_with_latents_is_explained(cli, engine):
    """Sizes are letters there: whether the cache keeps latents is told by what there is, not by how large it is."""
    asked = ("--hw", "h200", "--tp", "8", "--engine", engine)
    answer = cli("explain", "deepseek-v3", "memory.mem_fraction_static", *asked)
    assert answer.code == 0, answer.err
    assert f"{memory_of(load_model('deepseek-v3'), H200, engine, tp=8).mem_fraction_static:g}" in answer.out
