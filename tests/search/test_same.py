"""The same question gets the same answer: what several commands answer is one figure, whatever the options are."""

import json

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from llmcost import Options, estimate, load_hardware, load_model
from llmcost.formulas.operators import phase_operators
from llmcost.ground.errors import InputError
from llmcost.parallel.layout import DEGREES, Layout
from llmcost.search.compare import compare
from llmcost.search.fit import Precision, fit
from llmcost.search.plan_serving import serve
from llmcost.search.question import ask_serving
from llmcost.search.sweep import Sweep
from llmcost.serving.estimate import estimate as formula
from llmcost.serving.results import leaves

MODELS = ("gpt2", "llama3-8b", "mixtral-8x7b", "gpt-oss-20b", "deepseek-v3")
CHIPS = (
    "rtx4090",
    "v100-32gb-sxm",
    "a100-80gb-sxm",
    "h100-sxm",
    "h200",
    "b200",
    "mi300x",
    "m2-ultra",
    "jetson-orin-nano-8gb",
)
# Figures of a fit's row -> their paths in an estimate.
OFFERED = {
    **{name: f"workload.{name}" for name in ("gpus", *DEGREES, "dtype", "weight_dtype", "kv_dtype")},
    **{name: f"memory.{name}" for name in ("fits", "weights_bytes", "usable_bytes", "max_batch", "max_context")},
    "prefill_tokens_per_s": "prefill.expected.tokens_per_s",
    "decode_tokens_per_s": "decode.expected.tokens_per_s",
    "decode_tokens_per_s_per_user": "decode.expected.tokens_per_s_per_user",
    "served_tokens_per_s": "serving.expected.output_tokens_per_s",
    "expected_basis": "decode.expected.basis",
    "error": "decode.expected.error",
}
RATES = tuple(name for name in OFFERED if "tokens_per_s" in name)  # None where nothing fits

questions = st.fixed_dictionaries(
    {
        "batch": st.sampled_from([1, 3, 64]),
        "prompt": st.sampled_from([16, 500]),
        "output": st.sampled_from([2, 100]),
    },
    optional={
        "concurrency": st.sampled_from([1, 7, 300]),
        "gpus": st.sampled_from([2, 8, 16]),
        "dtype": st.sampled_from(["bf16", "fp16", "fp8", "fp32"]),
        "weight_dtype": st.sampled_from(["bf16", "fp8", "fp8-block128", "nvfp4", "int4-g128"]),
        "kv_dtype": st.sampled_from(["fp8", "bf16"]),
        "chunk": st.sampled_from([8, 200]),
        "cuda_graphs": st.just(False),
        "memory_utilization": st.sampled_from([0.5, 1]),
    },
)


def same(found, wanted):
    """Equal, or as near as sums in another order are."""
    return found == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, int | float) else wanted)


@settings(max_examples=60)
@given(model=st.sampled_from(MODELS), chip=st.sampled_from(CHIPS), asked=questions)
@example("deepseek-v3", "h200", {"batch": 1, "prompt": 8191, "output": 1, "gpus": 8})
@example("deepseek-v3", "h100-sxm", {"batch": 16, "prompt": 500, "output": 100, "gpus": 16, "concurrency": 320})
@example("llama3-8b", "h100-sxm", {"batch": 3, "prompt": 500, "output": 2, "weight_dtype": "fp8"})
@example("llama3-8b", "v100-32gb-sxm", {"batch": 3, "prompt": 500, "output": 2, "weight_dtype": "bf16"})
def test_estimate_compare_fit_sweep_and_plan_answer_alike(model, chip, asked):
    spec, hardware, options = load_model(model), load_hardware(chip), Options(**asked)
    precision = Precision(options.dtype, options.weight_dtype)
    number = options.gpus or 1
    try:
        e = estimate(spec, hardware, options)
    except InputError as refusal:
        with pytest.raises(InputError) as by_compare:
            compare([spec], [hardware], options)
        with pytest.raises(InputError) as by_sweep:
            Sweep(spec, [hardware], {name: [value] for name, value in asked.items()})
        assert str(by_compare.value) == str(by_sweep.value) == str(refusal)
        found = fit(spec, [hardware], options._replace(dtype=None, weight_dtype=None), [number], [precision])
        assert not found.offers
        return
    figures = dict(leaves(e))

    (entry,) = compare([spec], [hardware], options, {"": 2.0}).entries
    assert entry.estimate == e

    found = fit(spec, [hardware], options._replace(dtype=None, weight_dtype=None), [number], [precision], {"": 2.0})
    (offer,) = found.offers
    for name, path in OFFERED.items():
        known = figures.get(path) if e.memory.fits or name not in RATES else None
        assert getattr(offer, name) == known, name
    assert offer.price_per_million_tokens == entry.derived.price_per_million_output_tokens
    assert offer.most_tokens_per_s == entry.derived.most_tokens_per_s

    paths = [path for path in figures if not path.startswith("schema")]
    grid = Sweep(spec, [hardware], {name: [value] for name, value in asked.items()})
    ((_, row),) = grid.blocks(paths)
    for path in paths:
        assert same(row[path].tolist()[0], figures[path]), path


@settings(max_examples=40)
@given(
    model=st.sampled_from(MODELS),
    chip=st.sampled_from(CHIPS[1:-1]),
    asked=questions.filter(lambda asked: "gpus" not in asked),
    gpus=st.sampled_from([1, 2, 8, 16]),
)
def test_plan_serves_as_estimate_does_in_the_layout_that_estimate_finds(model, chip, asked, gpus):
    spec, hardware = load_model(model), load_hardware(chip)
    try:
        w = estimate(spec, hardware, Options(**asked | {"gpus": gpus})).workload
    except InputError:
        assume(False)
    each = asked.pop("concurrency", 5)
    asked.pop("batch")
    found = formula(spec, hardware, Options(**asked, gpus=gpus, concurrency=each * w.dp))
    w, mix = found.workload, found.serving  # of the engine that serves mixes
    assume(mix.expected.output_tokens_per_s is not None)
    assume(mix.max_concurrency is None or mix.max_concurrency >= 1)  # plan offers no layout that holds none
    layout = Layout(w.tp, w.pp, w.dp, w.ep, gpus_per_node=w.gpus_per_node)
    question = ask_serving(spec, hardware, gpus, Options(**asked))
    planned = question.workload
    assert (planned.dtype, planned.weight_dtype, planned.kv_dtype) == (w.dtype, w.weight_dtype, w.kv_dtype)
    served = serve(question, [layout], np.array([[float(each)]]))
    for ours, theirs in (
        (served.ttft_seconds, mix.expected.ttft_seconds),
        (served.tpot_seconds, mix.expected.tpot_seconds),
        (served.tokens_per_s, mix.expected.output_tokens_per_s),
        (served.max_concurrency, mix.max_concurrency),
    ):
        assert same(float(ours[0, 0]), theirs)


@settings(max_examples=40)
@given(model=st.sampled_from(MODELS), chip=st.sampled_from(CHIPS[:-1]), asked=questions, link=st.booleans())
def test_the_operators_of_one_gpu_add_up_to_its_pass(model, chip, asked, link):
    """On one GPU, whatever is chosen of types, launches and links: `ops` lists what `estimate` times."""
    chosen = Options(**{name: value for name, value in asked.items() if name not in ("gpus", "chunk", "concurrency")})
    chosen = chosen._replace(chunk=10**6)  # prompts in one piece, as `ops` lists them
    chosen = chosen._replace(head_dtype="fp8", link="pcie4" if link else None)
    spec, hardware = load_model(model), load_hardware(chip)
    try:
        e = estimate(spec, hardware, chosen)
    except InputError:
        assume(False)
    assert phase_operators(spec, hardware, chosen, "prefill").total.seconds == pytest.approx(e.prefill.expected.seconds)
    decode = phase_operators(spec, hardware, chosen, "decode").total.seconds
    assert decode == pytest.approx(e.decode.expected.seconds_per_step)


# -- right values, as they are typed ----------------------------------------------------------------


def test_a_checkpoint_is_computed_in_its_own_type_where_the_gpu_can(cli):
    """DeepSeek-V3 is kept in fp8: H200s compute in it, A100s unpack it to bf16. 8-bit weights are half the bytes."""
    for chip, dtype in (("h200", "fp8"), ("a100", "bf16")):
        found = json.loads(cli("estimate", "deepseek-v3", "--hw", chip, "--gpus", 8, "--json").out)
        assert (found["workload"]["dtype"], found["workload"]["weight_dtype"]) == (dtype, "fp8-block128")
    assert (
        estimate(load_model("llama3-8b"), load_hardware("b200"), Options(weight_dtype="nvfp4")).workload.dtype == "fp4"
    )
    assert (  # an AMD GPU computes in fp4 with the scales of mxfp4, not with those of nvfp4
        estimate(load_model("llama3-8b"), load_hardware("mi355x"), Options(weight_dtype="nvfp4")).workload.dtype
        == "bf16"
    )
    assert (
        estimate(load_model("llama3-8b"), None, Options(weight_dtype="fp8")).workload.dtype == "bf16"
    )  # no GPU is known
    assert estimate(load_model("llama3-8b"), load_hardware("h200")).workload.dtype == "bf16"


def test_sixteen_gpus_hold_61_layers_in_every_command(cli):
    """Stages of 31 and 30 layers, each in a node of its own."""
    for command in ("estimate", "compare"):
        found = json.loads(cli(command, "deepseek-v3", "--hw", "h100", "--gpus", 16, "--json").out)
        w = found.get("entries", [found])[0]["workload"]
        assert [w[name] for name in DEGREES] == [8, 2, 1, 1]
    found = json.loads(cli("fit", "deepseek-v3", "--hw", "h100", "--gpus", 16, "--json").out)
    assert {tuple(offer[name] for name in DEGREES) for offer in found["offers"]} == {(8, 2, 1, 1)}
    (row,) = json.loads(cli("sweep", "deepseek-v3", "--hw", "h100", "--gpus", 16, "--json").out)["rows"]
    assert row["decode.expected.tokens_per_s"] > 0


def test_the_load_and_the_single_pass_say_of_which_batch_they_are(cli):
    shown = cli("estimate", "llama3-8b", "--hw", "h100", "--prompt", 1000, "--output", 100, "--concurrency", 32).out
    assert "One prompt pass and one decode step at batch 1, whatever the load (which stands above):" in shown
    assert shown.startswith(
        "Llama 3 8B on NVIDIA H100 SXM5 80GB under vllm: bf16, 32 requests in flight, 1,000 tokens in and 100 out\n"
    )
    assert "whatever the load" not in cli("estimate", "llama3-8b", "--hw", "h100", "-b", 32).out
