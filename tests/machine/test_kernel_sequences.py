"""Operators of some models alone, priced by an engine's numbers: which are taken, and which kernels have none."""

import json

import pytest

from llmcost import estimate
from llmcost.machine import forms_sequence, kernel_sequences
from llmcost.machine.kernels import figures_of, load_kernels
from llmcost.machine.reached import efficiency_for
from llmcost.model.architecture import operators
from llmcost.model.operators import Attention
from llmcost.model.sizes import Load, element_bytes
from llmcost.specs.catalog import load_engine, load_hardware, load_model

H200 = load_hardware("h200")


def ops(model, load, cache="bf16", form="bf16"):
    compute = "fp8" if form.startswith("fp8") else "bf16"
    found = operators(load_model(model), element_bytes(form, compute, cache), load)
    return {op.name: op for op in found}


def own(engine, cache="bf16", form="bf16"):
    compute = "fp8" if form.startswith("fp8") else "bf16"
    return efficiency_for(H200, None, compute, form, "graph", load_engine(engine), cache).own


DECODE = Load(16, 1, 8192, decode=True)
PROMPT = Load(1, 8192, 8192)


def test_decode_to_chosen_latents_takes_the_sizes_of_latents_and_of_the_choice():
    op = ops("deepseek-v3.2", DECODE)["attention"]
    sizes = kernel_sequences.sparse_sizes(op)
    assert (sizes["queries"], sizes["keys"], sizes["places"], sizes["d"], sizes["dv"]) == (16, 2048, 2048, 576, 512)
    fit = load_kernels("sglang", "h200").find("sparse", "latent/decode")
    expected = forms_sequence.sparse_seconds(fit.numbers, figures_of(H200, "bf16"), **sizes)
    assert own("sglang").seconds(op) == pytest.approx(expected)
    eight = ops("deepseek-v3.2", DECODE, "fp8")["attention"]
    assert kernel_sequences.sparse_variants(eight)[:2] == ("latent/decode/fp8", "latent/decode")


def test_a_prompt_attends_to_latents_as_decode_does():
    """Its keys and values would be of 192 and 128 elements; the kernel has the latents' 576 and 512."""
    sizes = kernel_sequences.sparse_sizes(ops("deepseek-v3.2", PROMPT)["attention"])
    assert (sizes["d"], sizes["dv"]) == (576, 512)
    # the first 2,048 queries see all keys before them: 2048 · 2049 / 2 pairs, the others 2,048 each
    assert sizes["keys"] == pytest.approx((2048 * 2049 / 2 + 6144 * 2048) / 8192)


def test_a_short_prompt_attends_to_all_keys_where_the_engine_does_so():
    short = ops("deepseek-v3.2", Load(1, 1024, 1024))["attention"]
    sglang = own("sglang")
    dense = sglang._replace(dense=False).seconds(short)
    assert sglang.seconds(short) == pytest.approx(sglang._prefill(short._replace(span="all")))
    assert sglang.seconds(short) < dense
    long = ops("deepseek-v3.2", PROMPT)["attention"]
    assert sglang.seconds(long) == pytest.approx(sglang._replace(dense=False).seconds(long))


def test_latents_of_keys_and_values_of_one_size_are_latents_still():
    """GLM-5's queries and values have 256 elements both: no compressed key, which is its value too."""
    assert kernel_sequences.sparse_of(ops("glm-5", PROMPT)["attention"]) == "latent"
    assert kernel_sequences.sparse_of(ops("deepseek-v4-flash", PROMPT)["compressed_attention"]) == "compressed"
    assert kernel_sequences.sparse_of(ops("minimax-m3", PROMPT)["attention"]) in ("", "grouped")
    assert kernel_sequences.sparse_of(ops("llama3.1-8b", PROMPT)["attention"]) == ""


def test_an_indexer_is_its_scores_and_the_choice_by_them():
    op = ops("deepseek-v3.2", PROMPT)["indexer"]
    known = load_kernels("sglang", "h200")
    pairs = 8192 * 8193 / 2
    scored = forms_sequence.scores_seconds(
        known.find("scores", "prompts").numbers, figures_of(H200, "fp8"), 8192, pairs, 64, 128, 256, 8192
    )
    chosen = forms_sequence.choice_seconds(known.find("choice", "top").numbers, figures_of(H200, "bf16"), 8192, pairs)
    assert own("sglang").seconds(op) == pytest.approx(scored + chosen)


@pytest.mark.parametrize(("model", "decode", "prompt"), [("qwen3.6-35b-a3b", "delta/decode", "delta/prefill")])
def test_linear_attention_has_a_kernel_for_steps_and_one_for_prompts(model, decode, prompt):
    for load, variant in ((DECODE, decode), (PROMPT, prompt)):
        scan = ops(model, load)["scan"]
        assert kernel_sequences.recurrence_of(scan) == variant
        fit = load_kernels("vllm", "h200").find("recurrence", variant)
        expected = forms_sequence.recurrence_seconds(
            fit.numbers, figures_of(H200, "bf16"), load.b, load.s, 32, scan.io_bytes(), scan.cache_bytes()
        )
        assert own("vllm").seconds(scan) == pytest.approx(expected)


def test_vllms_latent_attention_has_its_own_times_and_a_graphs_launch():
    """Its tables were launched by a host, which takes 0.15 ms: SGLang's kernel has none of that."""
    vllm, sglang = load_kernels("vllm", "h200"), load_kernels("sglang", "h200")
    alone, both = (each.find("decode", "bf16/bf16/latent") for each in (vllm, vllm.without_host(sglang)))
    assert alone.by_host()
    assert not both.by_host()
    assert both.numbers == alone.numbers._replace(launch=sglang.find("decode", "bf16/bf16/latent").numbers.launch)


@pytest.mark.parametrize(
    ("model", "engine", "missing"),
    [
        ("nemotron-3-nano-30b-a3b", "vllm", {"state-space scans", "short convolutions"}),
        ("nemotron-3-nano-30b-a3b", "trtllm", {"state-space scans"}),
        (
            "deepseek-v3.2",
            "trtllm",
            {"indexers", "attention to chosen latents"},
        ),  # of decode: its tables hold the host's launches
        ("deepseek-v3.2", "vllm", set()),
        ("qwen3.6-35b-a3b", "sglang", set()),
        ("llama3.1-8b", "vllm", set()),
    ],
)
def test_an_estimate_names_the_kernels_that_its_engine_has_no_numbers_of(model, engine, missing):
    found = estimate(model, "h200", engine=engine, gpus=8)
    assert set((found.unmeasured or "").split(", ")) - {""} == missing
    assert found.to_dict()["unmeasured"] == found.unmeasured


def test_without_an_engine_nothing_is_said_of_its_kernels(cli):
    assert estimate("nemotron-3-nano-30b-a3b", "h200").unmeasured is None
    said = cli("estimate", "nemotron-3-nano-30b-a3b", "--hw", "h200", "--engine", "vllm").out
    assert "not measured, at usual shares of peak and bandwidth: short convolutions, state-space scans" in said


def test_no_operator_of_sparse_attention_is_faster_than_its_flops_allow():
    for engine in ("vllm", "sglang", "trtllm"):
        for load in (DECODE, PROMPT):
            for op in ops("deepseek-v3.2", load).values():
                if isinstance(op, Attention) and op.name == "attention":
                    seconds = own(engine).seconds(op)
                    assert seconds is None or seconds >= op.flops(causal=True) / H200.peak["bf16"].value


def test_a_sweep_of_a_sparse_model_under_an_engine_is_its_estimates(cli):
    """Experts' rows take an exponential, which sweeps could not compute."""
    asked = ("--hw", "h200", "--gpus", "8", "--engine", "sglang", "--context", "4096", "--json")
    answer = cli("sweep", "deepseek-v3.2", "--batch", "1,64", *asked)
    assert answer.code == 0, answer.err
    for row in json.loads(answer.out)["rows"]:
        found = estimate("deepseek-v3.2", "h200", gpus=8, engine="sglang", context=4096, batch=row["batch"])
        expected = found.decode.expected.seconds_per_step
        assert row["decode.expected.tokens_per_s"] == pytest.approx(row["batch"] / expected)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("model", ["deepseek-v3.2", "minimax-m3"])
def test_attention_to_chosen_keys_takes_as_long_in_the_mean_of_one_pass_as_in_that_pass(cli, engine, model):
    """Sweeps take chunks of prompts as their mean: below 2,048 tokens SGLang's attend to all keys there too."""
    asked = ("--hw", "b200", "--gpus", "8", "--engine", engine, "--output", "100", "--json")
    answer = cli("sweep", model, "--prompt", "100,2000,5000", *asked)
    assert answer.code == 0, answer.err
    for row in json.loads(answer.out)["rows"]:
        found = estimate(model, "b200", gpus=8, engine=engine, prompt=row["prompt"], output=100)
        assert row["prefill.expected.tokens_per_s"] == pytest.approx(found.prefill.expected.tokens_per_s)


def test_of_chunks_whose_keys_are_chosen_the_first_ones_attend_to_all_keys():
    """Chunks of 512 of 4,096 tokens: of eight, four have no more than the 2,048 keys that are chosen."""
    (chunks,) = [
        op
        for op in ops("deepseek-v3.2", Load(1, 512, 512, over=(0, 8))).values()
        if isinstance(op, Attention) and op.name == "attention"
    ]
    assert (chunks.top, chunks.dense, chunks.dense_keys) == (2048, 0.5, 512 * 2.5)
    assert kernel_sequences.dense_below(chunks, 4.0, 2.0) == 3.0
