"""The documents' formulas against ours, with sympy as the judge.

The engine is run on symbols; what it sums is handed to sympy, which knows nothing of our own algebra
(symbols.py), and must equal the closed form. Then symbols.py itself: what it evaluates is what the numbers give.
"""

from pathlib import Path

import pytest
import sympy
import yaml

from llmcost.formulas.quantities import QUANTITIES
from llmcost.formulas.serving import symbolic_bytes, symbolic_estimate, symbolic_model
from llmcost.ground.symbols import Expression, lift, symbol
from llmcost.ground.symbols import evaluate as value_of
from llmcost.machine import textbook
from llmcost.model.architecture import layer_operators, operators
from llmcost.model.counting import PASSES
from llmcost.model.operators import Gemm, Lookup
from llmcost.model.sizes import Load, element_bytes
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware, load_model, names
from llmcost.specs.optimised import OPTIMISED

# Those of images and sound in prompts are compared in tests/serving/test_encoding.py, of a host in test_offload.py.
OF_TEXT = [path for path in QUANTITIES if not path.startswith(("encoding.", "offload."))]
WALK = yaml.safe_load((Path(__file__).parents[1] / "golden.yaml").read_text(encoding="utf-8"))["walk"]
FORMS = {entry["id"]: entry["formula"] for entry in WALK["closed_forms"]}
L, h, a, g, d, i, v, p, b, s, c, Bw, Bx, Bkv, BW = sympy.symbols("L h a g d i v p b s c Bw Bx Bkv BW", positive=True)
LETTERS = {letter.name: letter for letter in (L, h, a, g, d, i, v, p, b, s, c, Bw, Bx, Bkv, BW)}
FUNCTIONS = {"max": sympy.Max, "min": sympy.Min, "floor": sympy.floor, "ceil": sympy.ceiling, "group": lambda x: x}

GPT2, LLAMA = load_model("gpt2"), load_model("llama3-8b")
SIZE = symbolic_bytes(element_bytes("bf16", "bf16", "bf16"))
WIDE = {i: 4 * h}  # the walk's MLP is four times as wide as its hidden size


def to_sympy(x, letters=LETTERS, known=None):
    """One of our expressions as sympy's, term by term; figures that it refers to by name are put in.

    `known`: what has been put in before, as a figure may stand in many places.
    """
    if not isinstance(x, Expression):
        return sympy.nsimplify(x)
    known = {} if known is None else known
    total = sympy.Integer(0)
    for coefficient, factors in x.terms.values():
        product = sympy.nsimplify(coefficient)
        for atom, power in factors:
            if id(atom) not in known:
                known[id(atom)] = atom_to_sympy(atom, letters, known)
            product *= known[id(atom)] ** sympy.nsimplify(power)
        total += product
    return total


def atom_to_sympy(atom, letters, known):
    if atom.arguments:
        return FUNCTIONS[atom.letter](*(to_sympy(argument, letters, known) for argument in atom.arguments))
    return to_sympy(atom.value, letters, known) if isinstance(atom.value, Expression) else letters[atom.letter]


def parsed(formula):
    return sympy.sympify(str(formula), locals=LETTERS)


def same(ours, theirs):
    return sympy.expand(to_sympy(ours).subs(WIDE) - theirs) == 0


def letters_of(model):
    """The model's sizes as symbols, and a load of b sequences of s new tokens and c keys."""
    return symbolic_model(model), Load(symbol("b", 2, ""), symbol("s", 3, ""), symbol("c", 5, ""))


def walk_operators():
    """The operators of a whole sequence of the walk's model: as many keys as queries, logits of all positions."""
    model, load = letters_of(GPT2)
    return model, operators(model, SIZE, load._replace(c=load.s), logits=load.s)


def gpt2_estimate():
    return symbolic_estimate(GPT2, None, Options())


# -- the walk: GPT-2's block ----------------------------------------------------------------------------


def test_gpt_flops_are_the_closed_form():
    assert same(gpt2_estimate().flops.forward.full, parsed(FORMS["gpt_flops"]))


def test_decoder_flops_are_the_closed_form():
    model, load = letters_of(GPT2)
    load = load._replace(c=load.s)
    layer = list(layer_operators(model, model.layers[0], SIZE, load))
    assert same(
        sum(op.flops(causal=False) for op in layer), parsed(FORMS["decoder_flops"])
    )  # one execution each: one layer


def test_gpt_params_are_the_closed_form_and_what_it_leaves_out():
    """The walk counts weight matrices, and the embedding once; it leaves out biases, norms and learned positions."""
    _, ops = walk_operators()
    matrices = sum(op.count * op._replace(bias=False).params() for op in ops if isinstance(op, Gemm))
    tokens = sum(op.params() for op in ops if isinstance(op, Lookup) and op.name == "token_embedding")
    assert same(matrices + tokens, parsed(FORMS["gpt_params"]))

    biases = L * (3 * h + h + 4 * h + h)  # qkv, projection, up, down
    norms = L * 2 * 2 * h + 2 * h  # two a layer and one at the end, a weight and a bias each
    positions = p * h
    assert same(gpt2_estimate().model.params.total, parsed(FORMS["gpt_params"]) + biases + norms + positions)


def test_flops_a_parameter_and_token_are_exactly_two_by_the_walks_approximation():
    ratio = parsed(FORMS["gpt_flops_for_large_h"]) / (parsed(FORMS["gpt_params"]) * b * s)
    assert (
        sympy.simplify(ratio)
        == parsed(FORMS["forward_flops_a_parameter_and_token"])
        == textbook.FORWARD_FLOPS_PER_PARAM
    )


def test_the_walks_approximation_drops_what_vanishes_beside_a_large_hidden_size():
    assert sympy.limit(parsed(FORMS["gpt_flops"]) / parsed(FORMS["gpt_flops_for_large_h"]), h, sympy.oo) == 1


def test_our_flops_a_parameter_and_token_tend_to_two_six_and_eight():
    """Attention, biases, norms and positions vanish beside a large hidden size.

    The backward pass is two forward passes, recomputation one more.
    """
    found = gpt2_estimate()
    flops = to_sympy(found.flops.forward.full).subs(WIDE)
    params = to_sympy(found.model.params.total).subs(WIDE)
    limit = sympy.limit(flops / (params * b * s), h, sympy.oo)
    assert limit == parsed(FORMS["forward_flops_a_parameter_and_token"]) == 2
    assert limit * PASSES == parsed(FORMS["training_flops_a_parameter_and_token"]) == textbook.TRAINING_FLOPS_PER_PARAM
    assert (
        limit * (PASSES + 1) == parsed(FORMS["training_flops_with_recomputation"]) == textbook.RECOMPUTE_FLOPS_PER_PARAM
    )


@pytest.mark.parametrize("row", WALK["gemm_table"], ids=lambda row: row["id"])
def test_the_gemm_table_comes_out_row_by_row(row):
    _, ops = walk_operators()
    (op,) = [op for op in ops if op.name == row["operator"]]
    (shapes,) = [each[1:] for each in op.shapes() if each[0] == row["product"]]
    other = (
        row["other"][1:] if isinstance(op, Gemm) else row["other"]
    )  # the page writes weights with a b that they do not have
    for ours, theirs in zip(shapes, (row["input"], other, row["output"]), strict=True):
        assert len(ours) == len(theirs)
        assert all(same(size, parsed(printed)) for size, printed in zip(ours, theirs, strict=True))
    # 2·m·n·k of the shapes themselves: the output's elements, each a sum over the input's last size
    elements = sympy.prod([to_sympy(size) for size in shapes[2]])
    assert same(2 * elements * to_sympy(shapes[0][-1]), parsed(row["flops"]))
    # weights alone, and the LM head's though they are the embedding's
    assert same(
        op._replace(bias=False, tied=False).params() if isinstance(op, Gemm) else op.params(), parsed(row["params"])
    )


def test_the_gemm_table_is_all_that_computes():
    """Its rows sum to the operators' FLOPs, so no product of ours is missing from it and no other has FLOPs."""
    _, ops = walk_operators()
    rows = {
        name: sum(parsed(row["flops"]) for row in WALK["gemm_table"] if row["operator"] == name)
        for name in {op.name for op in ops}
    }
    assert all(same(op.flops(causal=False), rows[op.name]) for op in ops)
    assert len([name for name, flops in rows.items() if flops != 0]) == 6  # attention is two rows in one kernel


def test_every_closed_form_of_golden_yaml_is_used_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in FORMS if f'FORMS["{name}"]' not in text] == []


# -- the slides: Llama's block --------------------------------------------------------------------------

HIDDEN = {a: h / d}  # the slides write H·H where heads times head size is the hidden size
LLAMA_FORMS = [
    ("model.params.mlp", 3 * h * i * L),
    ("model.params.attention", (2 * h * h + 2 * h * g * d) * L),
    ("model.params.embedding", v * h),
    ("model.params.lm_head", v * h),
    ("flops.per_token.linear", 2 * (3 * h * i * L + (2 * h * h + 2 * h * g * d) * L)),
    ("flops.per_token.attention", 4 * L * a * d * c),
    ("flops.per_token.lm_head", 2 * v * h),
    ("kv_cache.bytes_per_token", 2 * L * g * d * Bkv),
    ("kv_cache.bytes", 2 * L * g * d * c * Bkv * b),
]


@pytest.mark.parametrize(("path", "formula"), LLAMA_FORMS, ids=[path for path, _ in LLAMA_FORMS])
def test_the_slides_formulas_are_what_the_engine_sums(path, formula):
    found = dict(leaves(symbolic_estimate(LLAMA, None, Options())))
    assert sympy.expand((to_sympy(found[path]) - formula).subs(HIDDEN)) == 0


def test_the_slides_decode_reads_linear_layers_head_and_cache():
    gpu = load_hardware("rtx4090")
    ours = to_sympy(symbolic_estimate(LLAMA, gpu, Options()).decode.textbook.seconds_per_step)
    read = (3 * h * i * L + (2 * h * h + 2 * h * g * d) * L) * Bw + v * h * Bx + 2 * L * g * d * c * Bkv * b
    assert sympy.simplify((ours - read / BW).subs(HIDDEN)) == 0


def test_a_causal_mask_leaves_half_the_pairs_and_half_the_diagonal():
    model, load = letters_of(LLAMA)
    (op,) = [op for op in operators(model, SIZE, load) if op.name == "attention"]
    query = sympy.Symbol("query", integer=True)
    seen = sympy.summation(
        c - s + query, (query, 1, s)
    )  # the last of the s queries sees all c keys, the one before it one fewer
    assert sympy.expand(to_sympy(op.flops(causal=True)) - 4 * b * a * d * seen) == 0


# -- our own algebra ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hardware", [None, "rtx4090", "m5", "v100-32gb-sxm"])  # all figures; no peak; no bf16
@pytest.mark.parametrize("name", names("models"))
def test_every_formula_evaluates_to_the_number(name, hardware):
    model, gpu = load_model(name), hardware and load_hardware(hardware)
    sizes = {"batch": 3, "context": 777, "prompt": 555, "output": 99, "concurrency": 7}
    options = Options(**sizes, weight_dtype="int4", engine="optimised")  # int4 has half bytes
    numbers, formulas = (dict(leaves(f(model, gpu, options))) for f in (estimate, symbolic_estimate))
    for path in OF_TEXT:
        number, formula = numbers[path], value_of(formulas[path])
        if isinstance(number, int | bool | None):
            assert formula == number, path
        else:
            assert formula == pytest.approx(number, rel=1e-12, abs=0), path


def test_whole_numbers_stay_whole_through_the_formulas():
    """No number becomes a float: a 405B model's prefill of 131072 tokens is past 2⁵³, where floats lose units."""
    model = load_model("llama3.1-405b")
    options = Options(context=131072)
    number = estimate(model, None, options).flops.forward.full
    assert number > 2**53
    assert type(number) is int
    assert value_of(symbolic_estimate(model, None, options).flops.forward.full) == number


NONE_HERE = ("memory.fits", "memory.mem_fraction_static", "memory.sampler_bytes", "serving.draft_bytes")


@pytest.mark.parametrize("path", [path for path in OF_TEXT if path not in NONE_HERE])
def test_sympy_gets_our_number_from_our_formula(path):
    """Functions, powers and references included: sympy computes in fractions, we in floats."""
    model, gpu = load_model("llama3.2-3b"), load_hardware("a100-80gb-sxm")
    options = Options(batch=2, context=1000, prompt=600, output=90, concurrency=6, engine=OPTIMISED)
    formula = dict(leaves(symbolic_estimate(model, gpu, options)))[path]
    value = sympy.sympify(to_sympy(formula, sizes_in(formula))).evalf(30)
    assert float(value) == pytest.approx(dict(leaves(estimate(model, gpu, options)))[path], rel=1e-12, abs=0)


def sizes_in(formula, seen=None):
    """The value of every letter, in fractions; `seen`: figures whose letters are known already."""
    sizes, seen = {}, set() if seen is None else seen
    for atom in lift(formula).atoms():
        if id(atom) in seen:
            continue
        seen.add(id(atom))
        inside = isinstance(atom.value, Expression)
        sizes |= sizes_in(atom.value, seen) if inside else {atom.letter: sympy.nsimplify(atom.value)}
    return sizes
