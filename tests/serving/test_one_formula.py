"""One formula for numbers, arrays and symbols: a sweep equals the loop, a printed formula the figure."""

import numpy as np
import pytest
from drawn import cases, laws, spread_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.formulas.serving import symbolic_estimate
from llmcost.ground.symbols import Expression
from llmcost.ground.symbols import evaluate as value_of
from llmcost.machine.chip import chip_of
from llmcost.machine.efficiency import default_for
from llmcost.model.sizes import element_bytes
from llmcost.serving.estimate import estimate, evaluate, workload_of
from llmcost.serving.options import Options
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware, load_model


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def sweep_equals_loop(model, chip, chosen, field, values):
    """Every figure of one run on an array of `field`, beside those of a run for each value."""
    w = workload_of(model, chip, chosen)
    sizes = element_bytes(w.weight_dtype, w.dtype, w.kv_dtype)
    array = np.array(values, dtype=np.float64)
    swept = w._replace(**{field: array}, **({"prompt": array} if field == "context" and chosen.prompt is None else {}))
    shares = default_for(chip, w.dtype, w.weight_dtype)
    sweep = dict(
        leaves(evaluate(model, chip, sizes, swept, chip_of(chip, w.dtype, w.kv_dtype), shares, chosen.prompt is None))
    )
    loop = [dict(leaves(estimate(model, chip, chosen._replace(**{field: value})))) for value in values]
    compared = 0
    for path in loop[0]:
        scalars = [figures[path] for figures in loop]
        if path.startswith("workload") or not all(is_number(x) or isinstance(x, bool) for x in scalars):
            continue
        exact = [float(x) for x in scalars]  # FLOPs may be integers that no array of integers holds
        np.testing.assert_allclose(np.broadcast_to(sweep[path], array.shape), exact, rtol=1e-12, err_msg=path)
        compared += 1
    assert compared > 40  # every figure but names and words


def formula_is_figure(*case):
    """The formula of every figure, with its sizes put in, is that figure."""
    figures, formulas = dict(leaves(estimate(*case))), dict(leaves(symbolic_estimate(*case)))
    assert figures.keys() == formulas.keys()
    compared = 0
    for path, formula in formulas.items():
        if isinstance(formula, Expression) and not path.startswith("workload"):
            assert float(value_of(formula)) == pytest.approx(float(figures[path]), rel=1e-8), path
            compared += 1
    assert compared > 40


@laws
@given(cases(), st.lists(st.integers(1, 4096), min_size=1, max_size=4))
def test_a_sweep_over_batches_equals_the_loop(case, batches):
    sweep_equals_loop(*case, "batch", batches)


@settings(deadline=None, max_examples=25)
@given(spread_cases(), st.lists(st.integers(1, 4096), min_size=1, max_size=4))
def test_a_sweep_over_batches_of_any_layout_equals_the_loop(case, batches):
    sweep_equals_loop(*case, "batch", batches)


@laws
@given(cases(prompt=False), st.data())
def test_a_sweep_over_contexts_equals_the_loop(case, data):
    model, chip, chosen = case
    contexts = data.draw(st.lists(st.integers(1, model.max_position_embeddings), min_size=1, max_size=4))
    sweep_equals_loop(model, chip, chosen, "context", contexts)


@settings(deadline=None, max_examples=25)
@given(cases() | spread_cases())
def test_the_formula_that_is_printed_evaluates_to_the_figure(case):
    formula_is_figure(*case)


@pytest.mark.parametrize("model", ["gpt-oss-20b", "falcon-7b"])  # heads of 64; 71 heads that share one of the cache
def test_a_formula_takes_the_numbers_that_an_engine_has_for_heads_of_a_size(model):
    formula_is_figure(load_model(model), load_hardware("h100"), Options(batch=8, context=1024, engine="vllm"))
