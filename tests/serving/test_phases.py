"""Inference on several GPUs and of whole requests: layouts, pipeline stages, chunks, growing contexts."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmcost import Options, estimate, load_hardware, load_model
from llmcost.formulas.operators import operator_rows
from llmcost.formulas.serving import symbolic_estimate
from llmcost.ground.symbols import Expression
from llmcost.ground.symbols import evaluate as value_of
from llmcost.machine.chip import chip_of
from llmcost.machine.reached import efficiency_for
from llmcost.model.architecture import operators
from llmcost.model.counting import stored_bytes
from llmcost.model.sizes import Load, element_bytes
from llmcost.parallel.layout import Layout
from llmcost.parallel.pipeline import Server, Stages, schedule, two_of
from llmcost.parallel.rules import broken, layout_of, shape_of
from llmcost.serving.estimate import evaluate, prompt_is_context, workload_of
from llmcost.serving.phases import decode_step
from llmcost.serving.results import leaves
from llmcost.serving.server import server_of

H100, LLAMA, MIXTRAL = load_hardware("h100-sxm"), load_model("llama3.1-8b"), load_model("mixtral-8x7b")
REACHED = efficiency_for(H100, None, "bf16", "bf16")
BF16 = element_bytes("bf16", "bf16", "bf16")
DEGREES = ("tp", "pp", "dp", "ep")


def server():
    """Llama on one GPU."""
    return Server(LLAMA, BF16, chip_of(H100, "bf16", "bf16"), REACHED, Layout())


# -- layouts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "layout"),
    [
        ({}, (1, 1, 1, 1)),
        ({"gpus": 8}, (8, 1, 1, 1)),
        ({"gpus": 16}, (8, 2, 1, 1)),  # stages across nodes
        ({"gpus": 2}, (2, 1, 1, 1)),
        ({"gpus": 16, "pp": 1}, (16, 1, 1, 1)),
        ({"gpus": 16, "pp": 4}, (4, 4, 1, 1)),
        ({"gpus": 16, "tp": 4}, (4, 4, 1, 1)),
        ({"gpus": 16, "dp": 4}, (4, 1, 4, 1)),
        ({"gpus": 4, "gpus_per_node": 2}, (2, 2, 1, 1)),
        ({"tp": 2, "pp": 4, "dp": 3}, (2, 4, 3, 1)),
        ({"ep": 8}, (1, 1, 8, 8)),  # data-parallel attention, the experts over all
        ({"ep": 8, "tp": 2}, (2, 1, 4, 8)),
        ({"ep": 8, "tp": 8}, (8, 1, 1, 8)),
        ({"ep": 2, "dp": 4}, (1, 1, 4, 2)),
        ({"gpus": 8, "ep": 8}, (1, 1, 8, 8)),
    ],
)
def test_degrees_that_are_not_given_follow_from_the_others(asked, layout):
    options = dict.fromkeys(("gpus", *DEGREES, "gpus_per_node")) | asked
    found = layout_of(MIXTRAL, H100, None, **options)
    assert found[:4] == layout
    assert found.gpus() == layout[0] * layout[1] * layout[2]


def test_a_node_is_as_large_as_the_gpus_spec_says():
    nothing = dict.fromkeys(("gpus", *DEGREES, "gpus_per_node"))
    assert layout_of(LLAMA, load_hardware("gb200"), None, **nothing).gpus_per_node == 72
    assert layout_of(LLAMA, None, None, **nothing).gpus_per_node == 8


def test_kv_heads_may_be_fewer_than_gpus():
    assert broken(Layout(tp=32), shape_of(LLAMA)) is None  # 8 KV heads, each on four GPUs


# -- sums and stages --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.integers(1, 64))
def test_counts_are_the_whole_models_however_it_is_divided(tp, pp, dp, batch):
    alone = dict(leaves(estimate(LLAMA, H100, Options(batch=batch))))
    split = dict(leaves(estimate(LLAMA, H100, Options(batch=batch, tp=tp, pp=pp, dp=dp))))
    whole = [path for path in alone if path.startswith(("model", "flops", "kv_cache", "training"))]
    assert {path for path in whole if alone[path] != split[path]} == set()


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([LLAMA, MIXTRAL]),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
    st.integers(1, 99),
)
def test_expected_is_never_faster_than_the_limit_on_several_gpus(model, tp, pp, dp, batch):
    e = estimate(model, H100, Options(batch=batch, tp=tp, pp=pp, dp=dp, prompt=700, output=50))
    assert e.prefill.expected.seconds > e.prefill.limit.seconds
    assert e.decode.expected.seconds_per_step > e.decode.limit.seconds_per_step
    assert e.request.expected.latency_seconds > e.request.limit.latency_seconds
    together = batch / e.decode.expected.seconds_per_step / (tp * pp * dp)
    assert e.decode.expected.tokens_per_s_per_gpu >= together * (1 - 1e-9)
    if batch % dp == 0:  # else ranks that have a sequence less wait for nobody
        assert e.decode.expected.tokens_per_s_per_gpu == pytest.approx(together)


@pytest.mark.parametrize("degree", ["tp", "pp", "dp"])
def test_the_gpus_of_a_degree_hold_the_cache_of_all_sequences(degree):
    e = estimate(LLAMA, H100, Options(batch=16, **{degree: 4}))
    assert e.memory.kv_cache_bytes * 4 == e.kv_cache.bytes


def test_the_fullest_stage_holds_its_layers_and_the_larger_end():
    """Both ends have a table of v·h; the last has the final norm too."""
    ops = {op.name: op for op in operators(LLAMA, BF16, Load(1, 1, 1))}
    table, norm = ops["lm_head"].stored_bytes(), ops["final_norm"].stored_bytes()
    layers = stored_bytes(operators(LLAMA, BF16, Load(1, 1, 1))) - 2 * table - norm
    assert estimate(LLAMA, H100, Options(pp=4)).memory.weights_bytes == layers / 4 + table + norm


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([LLAMA, MIXTRAL, *map(load_model, ("gemma-2-9b", "gpt-oss-20b", "deepseek-v2-lite"))]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 200),
    st.integers(1, 8000),
    st.sampled_from([None, 333]),
)  # fmt: skip
def test_it_fits_up_to_the_largest_batch_of_all_gpus(model, tp, pp, dp, ep, batch, context, chunk):
    chosen = Options(batch=batch, context=context, tp=tp, pp=pp, dp=dp, ep=ep, chunk=chunk)
    assume(broken(Layout(tp, pp, dp, ep), shape_of(model)) is None)
    memory = estimate(model, H100, chosen).memory
    assert memory.fits == (chosen.batch <= memory.max_batch)
    assume(0 < memory.max_batch < 10**8)
    assert estimate(model, H100, chosen._replace(batch=memory.max_batch)).memory.fits
    assert not estimate(model, H100, chosen._replace(batch=memory.max_batch + 1)).memory.fits


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.integers(1, 300), st.sampled_from([None, 333]))
def test_it_fits_up_to_the_largest_context_of_all_gpus(tp, pp, batch, chunk):
    """The prompt is the context, and its last page may be begun."""
    memory = estimate(LLAMA, H100, Options(batch=batch, context=100, tp=tp, pp=pp, chunk=chunk)).memory
    assume(0 < memory.max_context < LLAMA.max_position_embeddings)
    longest = Options(batch=batch, context=memory.max_context, tp=tp, pp=pp, chunk=chunk)
    assert estimate(LLAMA, H100, longest).memory.fits
    assert not estimate(LLAMA, H100, longest._replace(context=memory.max_context + 1)).memory.fits


def test_a_tied_lm_head_that_is_not_with_the_embedding_keeps_a_copy():
    model = load_model("llama3.2-1b")
    table = model.vocab_size * model.hidden_size * 2
    one, four = (estimate(model, H100, Options(pp=pp)).memory.weights_bytes for pp in (1, 4))
    norm = model.hidden_size * 2
    assert four == (one - table - norm) / 4 + table + norm


def test_a_pipeline_of_one_is_no_pipeline():
    stages = Stages(1.0, 8.0, 2.0, 0.5, 1, 1)
    assert (stages.through(), stages.slowest(), stages.round(1), stages.one_behind_the_other(3)) == (11, 11, 11, 33)


def test_passes_go_through_stages_one_behind_the_other():
    """Four stages of 2 s in the layers; the last one has 2 s of LM head and 0.5 s of receiving, so 4.5 s."""
    stages = Stages(1.0, 8.0, 2.0, 0.5, 4, 1 / 4)
    assert stages.through() == 1 + 8 + 2 + 3 * 0.5
    assert stages.slowest() == 2 + 2 + 0.5
    assert stages.one_behind_the_other(10) == 12.5 + 9 * 4.5
    assert stages.one_behind_the_other(10, largest=2) == 12.5 + 9 * 4.5 + (12.5 - 4.5)  # filled by twice as many tokens
    assert stages.round(1) == 12.5  # alone in the pipeline
    assert stages.round(4) == 4 * 4.5  # the last stage is never idle
    assert stages._replace(share=3 / 8).slowest() == 3 + 2 + 0.5  # where one has three of eight layers


def test_an_array_of_stages_agrees_with_each_of_them():
    array = Stages(1.0, 8.0, 2.0, 0.5, np.array([1.0, 2.0, 4.0]), np.array([1.0, 1 / 2, 1 / 4]))
    each = [Stages(1.0, 8.0, 2.0, 0.5, pp, 1 / pp) for pp in (1, 2, 4)]
    for figure in (
        Stages.through,
        Stages.slowest,
        lambda s: s.round(np.minimum(2, s.pp)),
        lambda s: s.one_behind_the_other(3),
    ):
        np.testing.assert_allclose(figure(array), [figure(stages) for stages in each])


def test_a_sequence_alone_goes_through_all_stages_and_many_fill_them():
    """One token has to pass every layer, on whichever GPU; so many as there are stages do it at the same time."""
    alone, one, four = (
        estimate(LLAMA, H100, Options(batch=b, pp=pp)).decode.limit for b, pp in ((1, 1), (1, 4), (4, 4))
    )
    assert one.seconds_per_step == four.seconds_per_step == alone.seconds_per_step
    assert four.tokens_per_s == 4 * alone.tokens_per_s


def test_stages_divide_a_prefill_evenly_at_best():
    one, four = (estimate(LLAMA, H100, Options(batch=8, pp=pp)).prefill.limit.seconds for pp in (1, 4))
    assert four == pytest.approx(one / 4)


def test_data_parallel_ranks_take_the_time_of_the_fullest():
    """10 sequences on 4 ranks: 3, 3, 2, 2. Those of 2 are done earlier and go on."""
    fullest, others, split = (estimate(LLAMA, H100, Options(batch=b, dp=dp)) for b, dp in ((3, 1), (2, 1), (10, 4)))
    assert split.decode.expected.seconds_per_step == fullest.decode.expected.seconds_per_step
    rates = [each.decode.expected.tokens_per_s for each in (fullest, others)]
    assert split.decode.expected.tokens_per_s == pytest.approx(2 * sum(rates))


def test_experts_of_idle_ranks_have_no_tokens_of_theirs():
    """A sequence on one of 8 ranks: two experts of each layer are touched, a quarter of one on each of 8 GPUs."""
    w = workload_of(MIXTRAL, H100, Options(ep=8))
    ops = decode_step(server_of(MIXTRAL, BF16, chip_of(H100, w.dtype, w.kv_dtype), REACHED, w), w, 100).share.layers
    (experts,) = [op for op in ops if op.name == "experts_gate_up_proj"]
    assert experts.b == 1
    assert experts.touched() == pytest.approx(2 / 8)


@pytest.mark.parametrize(("ep", "sequences"), [(1, 4), (3, 10), (9, 29)])
def test_experts_see_the_sequences_of_the_ranks_that_share_them(ep, sequences):
    """29 sequences on 9 ranks, two of 4 and seven of 3. Each has all experts, three share them, or all nine do."""
    model = MIXTRAL._replace(
        layers=tuple(layer._replace(mlp=layer.mlp._replace(num_experts=9)) for layer in MIXTRAL.layers)
    )
    w = workload_of(model, H100, Options(batch=29, dp=9, ep=ep))
    ops = decode_step(server_of(model, BF16, chip_of(H100, w.dtype, w.kv_dtype), REACHED, w), w, 100).share.layers
    assert [op.b for op in ops if op.name == "experts_down_proj"] == [pytest.approx(sequences)]


def test_experts_take_room_for_the_tokens_of_all_ranks_beside_a_full_prompt_of_each():
    """What one sequence on 8 ranks leaves free, eight do not: a GPU's experts then see eight prompts at once."""
    one, eight = (estimate(MIXTRAL, H100, Options(batch=batch, ep=8)).memory for batch in (1, 8))
    k, h, f, up = 2, 4096, 14_336, 2 * 14_336
    token = (
        2 * (k / 8) * max(h + up, up + f)
    )  # bytes of the largest kernel of an eighth of the experts, for a token of any rank
    assert eight.activation_bytes == 8192 * (2 * h + 8 * token)  # the residual stream beside it
    assert one.activation_bytes < eight.activation_bytes
    assert one.max_batch == eight.max_batch


def test_exchanges_may_be_what_binds():
    slow = H100._replace(interconnect=H100.interconnect._replace(value=10**8))
    assert estimate(LLAMA, slow, Options(tp=8, batch=64)).decode.limited_by == "network"
    assert estimate(LLAMA, H100._replace(interconnect=None), Options(tp=8)).decode.expected.seconds_per_step is None


# -- prompts in chunks, requests --------------------------------------------------------------------


@given(st.integers(1, 1000), st.lists(st.integers(-5, 5), min_size=4, max_size=4))
def test_two_places_stand_for_all_of_a_cubic(count, coefficients):
    def cubic(x):
        return sum(c * x**k for k, c in enumerate(coefficients))

    near, far = two_of(count)
    exact = sum(map(cubic, range(1, count + 1)))
    scale = sum(abs(c) * count ** (k + 1) for k, c in enumerate(coefficients))
    assert count * (cubic(near) + cubic(far)) / 2 == pytest.approx(exact, abs=1e-9 * scale)


def test_prompts_are_cut_into_chunks_and_joined_up_to_one():
    assert schedule(sequences=10, prompt=1000, chunk=None, pp=1) == (1, 1, 10)  # all at once
    assert schedule(sequences=10, prompt=1000, chunk=None, pp=4) == (10, 1, 1)  # one behind the other
    assert schedule(sequences=10, prompt=1000, chunk=512, pp=1) == (10, 2, 1)
    assert schedule(sequences=10, prompt=1000, chunk=4096, pp=1) == (3, 1, 4)  # four at a time


def test_a_chunked_prefill_takes_the_sum_of_its_chunks():
    w = workload_of(LLAMA, H100, Options(prompt=4096, chunk=512, context=4096))
    s = server()
    loads = [Load(1, 512, 512 * (k + 1)) for k in range(8)]
    passes = [s.times(s.share(load), load) for load in loads]
    exact = sum(each.first + each.layers for each in passes) + passes[-1].last  # logits of the last chunk alone
    whole = estimate(LLAMA, H100, Options(prompt=4096, context=4096)).prefill.expected.seconds
    chunked = estimate(LLAMA, H100, Options(prompt=4096, chunk=512, context=4096)).prefill.expected.seconds
    assert w.chunk == 512
    assert chunked == pytest.approx(exact, rel=1e-3)
    assert chunked > whole


@pytest.mark.parametrize("output", [1, 2, 3, 100])
def test_a_request_takes_its_prefill_and_every_step(output):
    e = estimate(LLAMA, H100, Options(batch=4, prompt=1000, output=output, context=2000))
    w, s = workload_of(LLAMA, H100, Options(batch=4, prompt=1000, context=2000)), server()
    steps = sum(decode_step(s, w, 1000 + k).seconds.fullest for k in range(1, output))
    assert e.request.expected.latency_seconds == pytest.approx(e.prefill.expected.seconds + steps, rel=1e-5)
    assert isinstance(e.request.expected.tpot_seconds, float)
    assert e.request.expected.ttft_seconds == e.prefill.expected.seconds
    assert e.request.expected.output_tokens_per_s == pytest.approx(4 * output / e.request.expected.latency_seconds)


# -- one formula for numbers, arrays and symbols ----------------------------------------------------


def compare(sweep, loop, size):
    compared = 0
    for path in loop[0]:
        scalars = [figures[path] for figures in loop]
        if path.startswith("workload") or not all(isinstance(x, int | float) for x in scalars):
            continue
        np.testing.assert_allclose(
            np.broadcast_to(sweep[path], size), [float(x) for x in scalars], rtol=1e-12, err_msg=path
        )
        compared += 1
    assert compared > 80


@pytest.mark.parametrize("model", [LLAMA, MIXTRAL])
@pytest.mark.parametrize(
    "degree, values", [("tp", (1, 2, 4, 8, 16)), ("pp", (1, 2, 4, 8)), ("dp", (1, 2, 3)), ("chunk", (64, 512, 4096))]
)
def test_a_sweep_over_degrees_equals_the_loop(model, degree, values):
    chosen = Options(batch=24, context=2000, prompt=1500, output=200, chunk=700, tp=2, pp=2)
    w = workload_of(model, H100, chosen)
    array = np.array(values, dtype=np.float64)
    degrees = {name: array if name == degree else float(getattr(w, name)) for name in ("tp", "pp", "dp")}
    swept = w._replace(**{degree: array}, gpus=degrees["tp"] * degrees["pp"] * degrees["dp"])
    sweep = dict(
        leaves(
            evaluate(model, H100, BF16, swept, chip_of(H100, w.dtype, w.kv_dtype), REACHED, prompt_is_context(chosen))
        )
    )
    compare(
        sweep,
        [dict(leaves(estimate(model, H100, chosen._replace(**{degree: value})))) for value in values],
        array.shape,
    )


@pytest.mark.parametrize(
    "options",
    [{"tp": 4, "pp": 2, "dp": 2}, {"tp": 2, "chunk": 300, "pp": 2}, {"output": 30, "tp": 8, "prompt": 100}, {"ep": 8}],
)
def test_the_formula_of_several_gpus_evaluates_to_the_figure(options):
    case = MIXTRAL, H100, Options(batch=9, context=1000, **options)
    figures, formulas = dict(leaves(estimate(*case))), dict(leaves(symbolic_estimate(*case)))
    assert figures.keys() == formulas.keys()
    for path, formula in formulas.items():
        if isinstance(formula, Expression) and not path.startswith("workload"):
            assert float(value_of(formula)) == pytest.approx(float(figures[path]), rel=1e-9), path


@pytest.mark.parametrize("degrees", [{"tp": 4}, {"tp": 2, "dp": 2}, {"ep": 8}, {"tp": 2, "pp": 4}])
def test_operators_of_one_gpu_sum_to_the_estimate(degrees):
    """Of pipeline stages a single sequence passes all, one after the other."""
    chosen = Options(batch=1 if "pp" in degrees else 8, context=600, **degrees)
    e = estimate(MIXTRAL, H100, chosen)
    decode, prefill = (operator_rows(MIXTRAL, H100, chosen, phase) for phase in ("decode", "prefill"))
    assert sum(row.seconds for row in decode) == pytest.approx(e.decode.expected.seconds_per_step)
    assert sum(row.seconds for row in prefill) == pytest.approx(e.prefill.expected.seconds)
    assert "among" in "".join(row.shape for row in decode)


@pytest.mark.parametrize(
    ("hw", "missing"),
    [("mi250x", "How fast such GPUs reach each other"), ("jetson-orin-nano-8gb", "The dense bf16 peak of this GPU")],
)
def test_what_is_missing_is_named(cli, hw, missing):
    assert f"{missing}" in cli("estimate", "llama3-8b", "--hw", hw, "--tp", 4).out


@pytest.mark.parametrize("pp", [2, 4])
def test_a_token_more_than_a_chunk_makes_no_prompt_faster(pp):
    """An engine cuts 8,193 tokens into 8,192 and 1: the stages wait for the first of these as for all of 8,192."""
    model, gpu = load_model("llama3.1-70b"), load_hardware("h100")
    tokens = (8191, 8192, 8193, 8200, 16384, 16385)
    found = [
        estimate(model, gpu, Options(pp=pp, prompt=n, context=n, chunk=8192)).prefill.expected.seconds for n in tokens
    ]
    assert found == sorted(found)
    assert found[2] == pytest.approx(found[1], rel=0.01)
    assert found[5] == pytest.approx(found[4], rel=0.01)
