"""Laws of routing: how many experts, GPUs and nodes tokens need, against counting every case and against drawing."""

from itertools import combinations
from random import Random
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.symbols import evaluate, symbol
from llmcost.model.operators.routing import UNIFORM, Routing, power_law, routing_of


def hit(choice, places, experts):
    """How many of equal parts of the experts a choice of them is in."""
    return len({expert * places // experts for expert in choice})


@pytest.mark.parametrize("places", [1, 2, 4, 8])
@pytest.mark.parametrize("chosen", [1, 2, 3, 8])
def test_places_of_a_token_are_the_mean_over_all_its_choices(places, chosen):
    counted = mean(hit(choice, places, 8) for choice in combinations(range(8), chosen))
    assert UNIFORM.places(places, 8, chosen) == pytest.approx(counted)


@pytest.mark.parametrize(
    ("places", "groups", "left"), [(2, 4, 2), (4, 4, 1), (4, 4, 3), (12, 4, 2), (1, 6, 5), (3, 6, 2)]
)
def test_groups_bound_the_places_of_a_token(places, groups, left):
    """12 experts in groups, 2 chosen out of those groups that are left: every choice of groups, of experts in them."""
    size = 12 // groups
    counted = mean(
        hit(choice, places, 12)
        for kept in combinations(range(groups), left)
        for choice in combinations([e for e in range(12) if e // size in kept], 2)
    )
    assert Routing(n_group=groups, topk_group=left).places(places, 12, 2) == pytest.approx(counted)


def test_deepseek_v3_sends_a_token_to_fewer_than_four_nodes():
    """4 of 8 groups, a group a node: 4·(1 - C(96, 8)/C(128, 8)) nodes; 8 experts anywhere would need 5.2."""
    limited = Routing(n_group=8, topk_group=4).places(8, 256, 8)
    missed = np.prod([(96 - i) / (128 - i) for i in range(8)])
    assert limited == pytest.approx(4 * (1 - missed)) == pytest.approx(3.629, abs=1e-3)
    assert UNIFORM.places(8, 256, 8) > 5.2


def test_uniform_routing_touches_what_independent_tokens_do():
    """Every pair of tokens over 6 experts, 2 each."""
    pairs = list(combinations(range(6), 2))
    counted = mean(len({*one, *other}) for one in pairs for other in pairs)
    assert UNIFORM.touched(6, 2, 2) == pytest.approx(counted) == pytest.approx(6 * (1 - (2 / 3) ** 2))


def test_balanced_routing_touches_all_that_there_are_choices_for():
    assert Routing("balanced").touched(256, 8, 8) == 64
    assert Routing("balanced").touched(256, 8, 1000) == 256
    assert Routing("balanced", spread=8).busiest(32, 1, 100) == 1


def sampled_loads(tokens, experts, chosen, exponent, draw):
    """Tokens of each expert as the public tables' collectors draw them, without their rounding."""
    low, high = (1, 0.8 * tokens) if tokens * chosen > experts else (0.01, 2)
    bend = 1 - exponent
    loads = [((high**bend - low**bend) * draw.random() + low**bend) ** (1 / bend) for _ in range(experts)]
    return [load * tokens * chosen / sum(loads) for load in loads]


@pytest.mark.parametrize(("tokens", "exponent"), [(8, 1.01), (64, 1.01), (512, 1.01), (512, 1.2), (4096, 1.2)])
def test_a_power_law_has_the_loads_of_the_public_kernel_tables(tokens, exponent):
    """Their largest, their median, and how many experts at least one token takes, over 200 of their samples."""
    draw, shares = Random(1), power_law(256, 8, tokens, exponent)
    samples = [sorted(sampled_loads(tokens, 256, 8, exponent, draw)) for _ in range(200)]
    assert sum(shares) == pytest.approx(8, rel=1e-2)
    assert shares[128] * tokens == pytest.approx(mean(each[128] for each in samples), rel=0.1)
    assert shares[-1] * tokens == pytest.approx(mean(each[-1] for each in samples), rel=0.1)
    touched = Routing("power-law", exponent).touched(256, 8, tokens)
    assert touched == pytest.approx(
        mean(sum(1 - (1 - x / tokens) ** tokens for x in each) for each in samples), rel=0.03
    )


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([8, 64, 256]),
    st.integers(1, 8),
    st.integers(1, 5000),
    st.sampled_from(["balanced", "power-law:0.5", "power-law:1", "power-law:1.01", "power-law:2"]),
)
def test_no_law_touches_fewer_than_one_token_does_nor_more_than_there_are(experts, chosen, tokens, law):
    touched = routing_of(law).touched(experts, chosen, tokens)
    assert chosen * (1 - 1e-9) <= touched <= min(experts, chosen * tokens) * (1 + 1e-9)


@pytest.mark.parametrize(("experts", "chosen", "sets", "tokens"), [(64, 4, 8, 64), (256, 8, 32, 512), (8, 2, 8, 256)])
def test_the_busiest_by_chance_is_what_drawing_gives(experts, chosen, sets, tokens):
    draw, fullest = Random(2), []
    for _ in range(200):
        loads = [0] * sets
        for _ in range(tokens):
            for expert in draw.sample(range(experts), chosen):
                loads[expert * sets // experts] += 1
        fullest.append(max(loads) * sets / (tokens * chosen))
    busiest = UNIFORM._replace(spread=sets).busiest(experts / sets, chosen / sets, tokens)
    assert busiest == pytest.approx(mean(fullest), rel=0.03)


def test_a_steeper_law_fills_the_busiest_more():
    loads = [Routing("power-law", a, spread=32).busiest(8, 8 / 32, 4096) for a in (0, 0.5, 1.01, 1.5)]
    assert loads == sorted(loads)
    assert 1 < loads[0] < loads[-1]


def test_one_formula_answers_for_numbers_arrays_and_symbols():
    law, places, tokens = Routing("power-law", 1.01, n_group=8, topk_group=4), [1, 2, 4, 32], [1, 64, 4096]
    alone = [law.places(each, 256, 8) for each in places]
    assert law.places(np.array(places, float), 256, 8) == pytest.approx(alone)
    E = symbol("E", 256, "experts")
    assert evaluate(law.places(4, E, 8)) == pytest.approx(alone[2])
    assert str(law.places(4, E, 8)) == "places_hit(4, E, 8, 8, 4)"
    touched = [law.touched(256, 8, each) for each in tokens]
    assert law.touched(256, 8, np.array(tokens, float)) == pytest.approx(touched)
    assert evaluate(law.touched(E, 8, 64)) == pytest.approx(touched[1])


@pytest.mark.parametrize("text", ["", "zipf", "power-law", "power-law:", "power-law:-1", "power-law:nan", "uniform:2"])
def test_what_is_no_law_is_refused(text):
    with pytest.raises(ValueError, match="none of uniform, balanced, or power-law:A"):
        routing_of(text)
