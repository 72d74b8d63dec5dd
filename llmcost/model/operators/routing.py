"""Where routers send tokens: how many experts, GPUs and nodes tokens need, and how full the busiest GPU is.

Counts and expected times take one of three laws of routing:

uniform      each token's experts are drawn at random, all alike, from the groups that its router leaves. What tokens
             touch is then the most of all laws.
balanced     every expert gets equally many tokens.
power-law:A  the loads of experts follow a bounded power law, as in the public tables of kernel times: a load x has a
             density of x^-A between 1 and 0.8 times the tokens, or between 0.01 and 2 where there are fewer choices
             than experts (ai-dynamo/aiconfigurator, collector/helper.py, `power_law_logits_v3`). Here the loads are the
             law's quantiles, not a sample.

How many GPUs or nodes one token goes to is that of uniform routing under each law. The limit takes none of them: its
tokens are all alike, and their experts are where the tokens are.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, expm1, floor, lgamma, log1p, sqrt
from typing import NamedTuple

from llmcost.ground.algebra import Number, minimum, of_numbers

LAWS = ("uniform", "balanced", "power-law")
SHUFFLES = 16  # random placements of experts, over which the busiest GPU's load is averaged
BLOM = 0.375  # of the expected largest of n normal variates: Blom, Statistical Estimates and Transformed Beta-Variables


class Routing(NamedTuple):
    """A law of routing, and what it is about.

    `exponent`: of a power law. `n_group`, `topk_group`: a token's experts come from the best `topk_group` of `n_group`
    groups of experts (DeepSeek-V3, arXiv 2412.19437, section 2.1.2); 0: from all. `spread`: sets of GPUs that the
    experts are spread over; an operator of one set has its share of experts and of a token's choices. `corrected`: a
    bias is added to the scores where experts are chosen, which training moves so that all get as many tokens (section
    2.1.2 too).
    """

    law: str = "uniform"
    exponent: Number = 0
    n_group: Number = 0
    topk_group: Number = 0
    spread: Number = 1
    corrected: bool = False

    def touched(self, experts: Number, chosen: Number, tokens: Number) -> Number:
        """Experts of one set that tokens are expected to use; `experts`, `chosen`: those of the set."""
        if self.law == "balanced":
            return minimum(experts, chosen * tokens)
        if self.law == "uniform":
            return experts * (1 - (1 - chosen / experts) ** tokens)
        of_all = (experts * self.spread, chosen * self.spread, tokens, self.exponent)
        return of_numbers(touched_by_power_law, *of_all) / self.spread

    def places(self, places: Number, experts: Number, chosen: Number) -> Number:
        """Of equal parts of all experts, those that one token is expected to need."""
        return of_numbers(places_hit, places, experts, chosen, self.n_group, self.topk_group)

    def busiest(self, experts: Number, chosen: Number, tokens: Number) -> Number:
        """The expected load of the busiest set of GPUs over the mean; `experts`, `chosen`: of one set."""
        if self.law == "balanced":
            return 1
        of_all = (experts * self.spread, chosen * self.spread, tokens, self.spread)
        if self.law == "uniform":
            return of_numbers(busiest_by_chance, *of_all)
        return of_numbers(busiest_by_power_law, *of_all, self.exponent)


UNIFORM = Routing()
STEEPEST = 10  # exponents beyond would put all tokens on one expert


def routing_of(text: str) -> Routing:
    """The law that a text names: uniform, balanced, or power-law:A. Raises ValueError in words for any other."""
    law, _, exponent = text.partition(":")
    if law in LAWS[:2] and not exponent:
        return Routing(law)
    try:
        steepness = float(exponent) if law == "power-law" else -1.0
    except ValueError:
        steepness = -1.0
    if not 0 <= steepness <= STEEPEST:
        known = f"{', '.join(LAWS[:2])}, or power-law:A with A from 0 to {STEEPEST}, as in power-law:1.01"
        raise ValueError(f"none of {known}")
    return Routing(law, steepness)


def routing_words(routing: Routing) -> str:
    """The text that `routing_of` reads as the same law."""
    return f"{routing.law}:{routing.exponent:g}" if routing.law == "power-law" else routing.law


def missed(experts: float, part: float, chosen: float) -> float:
    """The chance that none of the `chosen` experts is in a part of all.

    C(experts - part, chosen) / C(experts, chosen). Sizes that are no whole numbers lie between those that are.
    """
    if chosen <= 0 or part <= 0:
        return 1.0
    left = experts - part
    if left < chosen:
        return 0.0
    return exp(lgamma(left + 1) + lgamma(experts - chosen + 1) - lgamma(left - chosen + 1) - lgamma(experts + 1))


@lru_cache(maxsize=4096)
def places_hit(places: float, experts: float, chosen: float, n_group: float, topk_group: float) -> float:
    """Of `places` equal parts of the experts, the expected number of those that one token's experts are in."""
    part = experts / places
    if not 0 < topk_group < n_group:
        return places * (1 - missed(experts, part, chosen))
    group = experts / n_group
    allowed = topk_group * group
    if part <= group:
        return places * topk_group / n_group * (1 - missed(allowed, part, chosen))
    below = floor(part / group)
    over = part / group - below
    whole = [_missed_groups(below + more, group, chosen, n_group, topk_group) for more in (0, 1)[: 2 if over else 1]]
    return places * (1 - sum(share * each for share, each in zip((1 - over, over), whole, strict=False)))


def _missed_groups(groups: int, group: float, chosen: float, n_group: float, topk_group: float) -> float:
    """The chance that none of a token's experts is in a part of so many whole groups.

    The sum over how many of the part's groups are among the `topk_group` that are left.
    """

    def ways(of: float, take: float) -> float:
        return 0.0 if take > of or take < 0 else exp(lgamma(of + 1) - lgamma(take + 1) - lgamma(of - take + 1))

    taken = range(min(groups, int(topk_group)) + 1)
    chances = [ways(groups, n) * ways(n_group - groups, topk_group - n) / ways(n_group, topk_group) for n in taken]
    return sum(chance * missed(topk_group * group, n * group, chosen) for n, chance in zip(taken, chances, strict=True))


@lru_cache(maxsize=256)
def power_law(experts: float, chosen: float, tokens: float, exponent: float) -> tuple[float, ...]:
    """The share of the tokens that each expert gets, the least wanted first; together `chosen`, of none more than 1.

    What an expert would get beyond all tokens goes to the others.
    """
    least, most = (1.0, 0.8 * tokens) if tokens * chosen > experts else (0.01, 2.0)
    count, bend = int(experts), 1 - exponent
    steps = [(place + 0.5) / count for place in range(count)]
    if abs(bend) < 1e-9:
        loads = [least * (most / least) ** u for u in steps]
    else:
        loads = [((most**bend - least**bend) * u + least**bend) ** (1 / bend) for u in steps]
    full = 0
    while full < chosen and loads[count - full - 1] * (chosen - full) > sum(loads[: count - full]):
        full += 1
    rest = loads[: count - full]
    return (*[(chosen - full) * load / sum(rest) for load in rest], *[1.0] * full)


def touched_by_power_law(experts: float, chosen: float, tokens: float, exponent: float) -> float:
    """Experts that at least one of the tokens is expected to take."""
    shares = power_law(experts, chosen, tokens, exponent)
    return sum(1.0 if share >= 1 else -expm1(tokens * log1p(-share)) for share in shares)


def busiest_by_power_law(experts: float, chosen: float, tokens: float, sets: float, exponent: float) -> float:
    """The load of the fullest of equal sets of experts over the mean one, where experts are dealt out at random."""
    shares, each = list(power_law(experts, chosen, tokens, exponent)), max(1, round(experts / sets))
    from random import Random  # needed by few

    draw, fullest = Random(0), 0.0  # noqa: S311 - no secret
    for _ in range(SHUFFLES):
        draw.shuffle(shares)
        fullest += max(sum(shares[start : start + each]) for start in range(0, len(shares), each))
    return max(1.0, fullest / SHUFFLES / (sum(shares) / sets))


def busiest_by_chance(experts: float, chosen: float, tokens: float, sets: float) -> float:
    """The load of the fullest of equal sets of experts over the mean one, where each token draws its experts at random.

    A set's load is about normal; of n such loads, the largest is expected where a share (n - 3/8) / (n + 1/4) lies
    below.
    """
    if sets <= 1 or experts <= 1 or tokens <= 0:
        return 1.0
    from statistics import NormalDist  # needed by few

    mean = tokens * chosen / sets
    variance = mean * (1 - 1 / sets) * (experts - chosen) / (experts - 1)
    above = NormalDist().inv_cdf((sets - BLOM) / (sets - 2 * BLOM + 1))
    return 1 + above * sqrt(max(0.0, variance)) / mean
