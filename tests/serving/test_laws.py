"""What must hold of an estimate for every model, GPU and workload: sums, growth, bounds, one list of operators."""

import pytest
from drawn import BASES, bytes_of, cases, chips, laws, models, spread_cases
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from uniform import changed, is_gated, size

from llmcost.formulas.operators import PHASES, operator_rows
from llmcost.model.architecture import forward
from llmcost.model.counting import count_pass
from llmcost.model.sizes import Load, element_bytes
from llmcost.serving.estimate import Options, estimate, workload_of
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware, load_model


def costs(e):
    """What a pass costs, by name: every figure that can only grow with a size."""
    w = e.workload
    numbers = {
        path: value for path, value in leaves(e) if path.startswith(("model.params", "flops", "kv_cache", "traffic"))
    }
    numbers |= {
        f"memory.{part}": getattr(e.memory, part)
        for part in ("weights_bytes", "kv_cache_bytes", "activation_bytes", "total_bytes")
    }
    numbers |= {f"prefill.{basis}": getattr(e.prefill, basis).seconds for basis in BASES}
    numbers |= {f"decode.{basis}": getattr(e.decode, basis).seconds_per_step for basis in BASES}
    numbers |= {f"training.{basis}": w.batch * w.prompt / getattr(e.training, basis).tokens_per_s for basis in BASES}
    return numbers


# -- sums -------------------------------------------------------------------------------------------


@laws
@given(cases())
def test_parts_sum_to_the_total(case):
    e = estimate(*case)
    p, f, m, t = e.model.params, e.flops.per_token, e.memory, e.traffic.decode
    assert p.total == p.embedding + p.attention + p.mlp + p.norm + p.lm_head
    assert f.total == f.linear + f.attention + f.lm_head
    assert t.total_bytes == t.weight_bytes + t.kv_cache_bytes
    parts = (m.weights_bytes, m.kv_cache_bytes, m.activation_bytes, m.runtime_bytes)
    assert m.used_bytes == pytest.approx(sum(parts), rel=1e-12)
    assert m.total_bytes == pytest.approx(m.used_bytes + m.set_aside_bytes, rel=1e-12)
    assert m.overhead_bytes == pytest.approx(m.runtime_bytes + m.set_aside_bytes, rel=1e-12)
    assert e.kv_cache.bytes == t.kv_cache_bytes == e.kv_cache.bytes_per_token * e.workload.batch * e.workload.context
    pages = -(-e.workload.context // 16)  # of 16 tokens, the last one begun
    assert m.kv_cache_bytes == e.kv_cache.bytes_per_token * e.workload.batch * 16 * pages


@settings(deadline=None, max_examples=25)
@given(cases(), st.sampled_from(PHASES))
def test_operators_sum_to_the_estimate(case, phase):
    model, chip, chosen = case
    chosen = chosen._replace(chunk=10**9)  # the rows are those of one pass
    rows, e = operator_rows(model, chip, chosen, phase), estimate(model, chip, chosen)
    w = e.workload
    flops = {
        "prefill": e.flops.prefill.full,
        "decode": w.batch * e.flops.per_token.total,
        "train": e.flops.forward.full,
    }
    times = {
        "prefill": e.prefill.expected.seconds,
        "decode": e.decode.expected.seconds_per_step,
        "train": w.batch * w.prompt / e.training.expected.tokens_per_s,
    }
    assert sum(row.params for row in rows) == e.model.params.total
    assert sum(row.flops for row in rows) == flops[phase]
    assert sum(row.seconds for row in rows) == pytest.approx(times[phase], rel=1e-12)
    assert sum(row.share for row in rows) == pytest.approx(1, rel=1e-12)
    peak = max(each.value for each in chip.peak.values())
    assert all((row.flops_per_s or 0) <= peak * (1 + 1e-12) for row in rows)  # of the pairs that it computes
    assert all(row.causal_flops <= row.flops for row in rows)


@laws
@given(cases())
def test_logits_of_all_tokens_differ_from_those_of_the_last_by_the_lm_heads(case):
    model, _, _ = case
    e = estimate(*case)
    w = e.workload
    others = (
        2 * w.batch * (w.prompt - 1) * model.hidden_size * model.vocab_size
    )  # one h·v product for each other position
    assert e.flops.forward.full - e.flops.prefill.full == others
    assert e.flops.forward.causal - e.flops.prefill.causal == others


# -- growth -----------------------------------------------------------------------------------------

GROWS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "num_attention_heads",  # by another query head a KV head
    "num_key_value_heads",  # by another group of heads
)


@laws
@given(cases(), st.sampled_from(GROWS), st.integers(1, 1000))
def test_costs_never_fall_as_a_size_of_the_model_grows(case, field, more):
    model, chip, chosen = case
    if field == "num_attention_heads":
        larger = changed(model, num_attention_heads=size(model, field) + more * size(model, "num_key_value_heads"))
    elif field == "num_key_value_heads":
        group = size(model, "num_attention_heads") // size(model, field)
        kv_heads = size(model, field) + more
        larger = changed(model, num_key_value_heads=kv_heads, num_attention_heads=kv_heads * group)
    else:
        larger = changed(model, **{field: size(model, field) + more})
    before, after = estimate(model, chip, chosen), estimate(larger, chip, chosen)
    assert [path for path, cost in costs(before).items() if costs(after)[path] < cost * (1 - 1e-12)] == []
    assert after.memory.max_batch <= before.memory.max_batch
    if field != "max_position_embeddings":  # which is what caps the context
        assert after.memory.max_context <= before.memory.max_context


@laws
@given(cases(), st.data())
def test_costs_never_fall_as_the_batch_or_the_context_grows(case, data):
    model, chip, chosen = case
    before = estimate(*case)
    batch = estimate(model, chip, chosen._replace(batch=chosen.batch + data.draw(st.integers(1, 500))))
    context = data.draw(st.integers(chosen.context, model.max_position_embeddings))
    longer = estimate(model, chip, chosen._replace(context=context))
    for after in (batch, longer):
        assert [path for path, cost in costs(before).items() if costs(after)[path] < cost * (1 - 1e-12)] == []
    assert batch.memory.max_context <= before.memory.max_context
    assert longer.memory.max_batch <= before.memory.max_batch


@laws
@given(cases(), st.integers(1, 50))
def test_every_count_is_linear_in_the_layers(case, step):
    """What is below and above the layers is constant, and every layer costs the same."""
    model, chip, chosen = case
    first, second, third = (
        costs(estimate(changed(model, num_hidden_layers=1 + k * step), chip, chosen)) for k in range(3)
    )
    exact = [
        path for path in first if path.startswith(("model.params", "kv_cache", "flops", "traffic", "memory.weights"))
    ]
    assert [path for path in exact if third[path] - second[path] != second[path] - first[path]] == []
    for path in ("prefill.expected", "decode.expected", "training.expected"):
        assert third[path] - first[path] == pytest.approx(2 * (second[path] - first[path]), rel=1e-9)


# -- bounds -----------------------------------------------------------------------------------------


@laws
@given(cases())
def test_expected_is_never_faster_than_the_limit(case):
    e = estimate(*case)
    assert e.prefill.expected.seconds > e.prefill.limit.seconds
    assert e.decode.expected.seconds_per_step > e.decode.limit.seconds_per_step
    assert e.training.expected.tokens_per_s < e.training.limit.tokens_per_s


@laws
@given(cases())
def test_the_textbooks_decode_is_never_slower_than_bandwidth_allows_all_compulsory_bytes(case):
    e = estimate(*case)
    assert e.decode.textbook.seconds_per_step <= e.decode.bound.memory_seconds  # it leaves norms and embedding out


@laws
@given(cases())
def test_a_causal_mask_never_adds_pairs(case):
    e = estimate(*case)
    assert e.flops.prefill.causal <= e.flops.prefill.full
    assert e.flops.forward.causal <= e.flops.forward.full
    assert (e.flops.prefill.causal == e.flops.prefill.full) == (e.workload.prompt == 1)


@laws
@given(cases())
def test_one_query_sees_every_key_causal_or_not(case):
    model, chip, chosen = case
    w = workload_of(model, chip, chosen)
    z, load = bytes_of(w), Load(w.batch, 1, w.context)
    step = count_pass(forward(model, z, load).operators())
    assert step.flops(causal=True) == step.flops(causal=False)


@laws
@given(models(), st.integers(1, 64), st.data())
def test_chunks_of_a_prompt_sum_to_the_causal_whole(model, batch, data):
    """s queries after c - s cached tokens, and those before: together the s(s+1)/2 pairs of the whole."""
    whole = data.draw(st.integers(2, 5000))
    first = data.draw(st.integers(1, whole - 1))
    element = element_bytes("bf16", "bf16", "bf16")

    def flops(tokens, keys):
        return count_pass(forward(model, element, Load(batch, tokens, keys)).layers).flops(causal=True)

    assert flops(first, first) + flops(whole - first, whole) == flops(whole, whole)


@laws
@given(cases())
def test_it_fits_up_to_the_largest_batch_and_no_further(case):
    model, chip, chosen = case
    memory = estimate(*case).memory
    assert memory.fits == (chosen.batch <= memory.max_batch)
    assume(memory.max_batch < 10**9)  # the largest that an option takes
    if memory.max_batch:
        assert estimate(model, chip, chosen._replace(batch=memory.max_batch)).memory.fits
    assert not estimate(model, chip, chosen._replace(batch=memory.max_batch + 1)).memory.fits


@settings(deadline=None, max_examples=200)
@given(spread_cases(), st.integers(1, 10**9))
def test_it_fits_up_to_the_largest_batch_of_any_layout_whatever_batch_is_asked(case, batch):
    model, chip, chosen = case
    most = estimate(*case).memory.max_batch
    assume(most < 10**9)
    for asked in (batch, chosen.batch, most, most + 1):
        if asked:
            memory = estimate(model, chip, chosen._replace(batch=asked)).memory
            assert memory.max_batch == most
            assert memory.fits == (asked <= most)


@laws
@given(cases(prompt=False))
def test_it_fits_up_to_the_largest_context_and_no_further(case):
    """The prompt is the context, and grows with it."""
    model, chip, chosen = case
    memory = estimate(*case).memory
    assert memory.fits == (chosen.context <= memory.max_context)
    assert memory.max_context <= model.max_position_embeddings
    if memory.max_context:
        assert estimate(model, chip, chosen._replace(context=memory.max_context)).memory.fits
    if memory.max_context < model.max_position_embeddings:  # not capped
        assert not estimate(model, chip, chosen._replace(context=memory.max_context + 1)).memory.fits


@laws
@given(cases())
def test_beside_a_prompt_it_fits_up_to_the_largest_context_and_no_further(case):
    """The prompt stays as it is."""
    model, chip, chosen = case
    chosen = chosen._replace(prompt=chosen.prompt or chosen.context)
    largest = estimate(model, chip, chosen).memory.max_context
    if largest >= chosen.prompt:
        assert estimate(model, chip, chosen._replace(context=largest)).memory.fits
    if chosen.prompt <= largest + 1 <= model.max_position_embeddings:
        assert not estimate(model, chip, chosen._replace(context=largest + 1)).memory.fits


@laws
@given(cases())
def test_a_rate_is_its_tokens_over_its_time(case):
    e = estimate(*case)
    w = e.workload
    for basis in BASES:
        prefill, decode, training = (getattr(phase, basis) for phase in (e.prefill, e.decode, e.training))
        assert prefill.tokens_per_s == w.batch * w.prompt / prefill.seconds
        assert decode.tokens_per_s == w.batch / decode.seconds_per_step
        assert training.gpu_years == pytest.approx(w.tokens / training.tokens_per_s / (365 * 86400), rel=1e-12)


# -- one list of operators --------------------------------------------------------------------------


@laws
@given(cases())
def test_fusing_projections_and_attention_leaves_parameters_and_flops_of_the_separate_products(case):
    """q, k, v, o, gate, up, down and the two products of attention, each on its own, as a textbook writes them."""
    model, _, _ = case
    e = estimate(*case)
    h, i, c = model.hidden_size, size(model, "intermediate_size"), e.workload.context
    q, kv = (
        size(model, "num_attention_heads") * size(model, "head_dim"),
        size(model, "num_key_value_heads") * size(model, "head_dim"),
    )
    attention = [(h, q), (h, kv), (h, kv), (q, h)]  # q, k, v, o: (inputs, outputs)
    mlp = [(h, i), (h, i), (i, h)] if is_gated(model) else [(h, i), (i, h)]
    layers, p, f = model.num_hidden_layers, e.model.params, e.flops.per_token

    def params(products, bias):
        return layers * sum(inputs * outputs + (outputs if bias else 0) for inputs, outputs in products)

    assert p.attention == params(attention, size(model, "attention_bias"))
    assert p.mlp == params(mlp, size(model, "mlp_bias"))
    assert p.lm_head == (0 if model.tie_word_embeddings else h * model.vocab_size)
    assert f.linear == layers * sum(2 * inputs * outputs for inputs, outputs in attention + mlp)
    assert f.attention == layers * (2 * q * c + 2 * c * q)  # scores of c keys, and c values weighted
    assert f.lm_head == 2 * h * model.vocab_size  # tied or not
    assert e.kv_cache.bytes_per_token == layers * 2 * kv * bytes_of(e.workload).Bkv


@laws
@given(models(), chips())
def test_the_weights_data_type_changes_the_weights_and_what_follows_from_them_alone(model, chip):
    def figures(weight_dtype):
        return dict(leaves(estimate(model, chip, Options(batch=3, dtype="bf16", weight_dtype=weight_dtype))))

    bf16, fp8 = figures("bf16"), figures("fp8")
    follows = {"workload.weight_dtype", "traffic.decode.weight_bytes", "traffic.decode.total_bytes"}
    follows |= {f"memory.{part}_bytes" for part in ("weights", "used", "total")}
    follows |= {f"memory.{part}" for part in ("fits", "max_batch", "max_context")}
    follows |= {path for path in bf16 if path.startswith(("prefill", "decode", "training"))}
    follows -= {
        path
        for path in follows
        if path.startswith(("prefill.textbook", "training.textbook")) or path.endswith("compute_seconds")
    }
    assert {path for path in bf16 if bf16[path] != fp8[path]} <= follows

    q, kv = (
        size(model, "num_attention_heads") * size(model, "head_dim"),
        size(model, "num_key_value_heads") * size(model, "head_dim"),
    )
    products = 3 if is_gated(model) else 2
    linear = (
        model.num_hidden_layers * model.hidden_size * (2 * q + 2 * kv + products * size(model, "intermediate_size"))
    )
    for path in ("memory.weights_bytes", "traffic.decode.weight_bytes"):
        assert bf16[path] - fp8[path] == linear  # a byte less each; biases, norms, embedding and LM head stay


@laws
@given(models(), chips())
def test_the_caches_data_type_changes_the_cache_and_what_follows_from_it_alone(model, chip):
    def figures(kv_dtype):
        return dict(leaves(estimate(model, chip, Options(batch=3, kv_dtype=kv_dtype))))

    bf16, fp8 = figures("bf16"), figures("fp8")
    assert bf16["kv_cache.bytes"] == 2 * fp8["kv_cache.bytes"]
    same = ("model", "flops", "hardware", "prefill.textbook", "training.textbook")
    assert {path for path in bf16 if bf16[path] != fp8[path] and path.startswith(same)} == set()
    assert bf16["memory.weights_bytes"] == fp8["memory.weights_bytes"]
    assert bf16["memory.activation_bytes"] == fp8["memory.activation_bytes"]


@pytest.mark.parametrize("asked", [{"chunk": 1}, {"chunk": 2}, {"chunk": 2, "engine": "vllm"}])
def test_pieces_of_a_prompt_however_small_leave_each_token_its_step(asked):
    """A step reads all weights but the embedding's, in bf16."""
    model, chip = load_model("llama3-8b"), load_hardware("h100")
    loop = Options(prompt=1000, output=100, concurrency=16, **asked)
    weights = 2 * (8_030_261_248 - 128_256 * 4_096)
    assert estimate(model, chip, loop).serving.expected.tpot_seconds >= weights / chip.bandwidth.value
